//! Valid packets of every kind, drawn by proptest and written by etherparse: an oracle that shares no code with `wire`.

use std::net::IpAddr;

use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder, PacketBuilderStep,
    TcpHeader, icmpv4,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vnet::wire::{Fragment, Protocol, Transport, Tuple};

/// What a packet says, from which its bytes follow.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) body: Body,
    payload: Vec<u8>,
    fragment: Option<Fragment>,
    /// Words of IPv4 options.
    options: usize,
    extensions: Extensions,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Tcp {
        src_port: u16,
        dst_port: u16,
        flags: u8,
        option_words: usize,
    },
    Udp {
        src_port: u16,
        dst_port: u16,
    },
    Echo {
        id: u16,
        reply: bool,
    },
    /// Destination unreachable, quoting so much of a packet.
    Error {
        quoted: Box<Sample>,
        len: usize,
    },
    Opaque(u8),
}

/// Lengths of IPv6 extension headers, in eights beyond the first.
#[derive(Clone, Debug)]
struct Extensions {
    hop_by_hop: Option<u8>,
    destination: Option<u8>,
    routing: Option<u8>,
    final_destination: Option<u8>,
}

pub(crate) fn sample() -> BoxedStrategy<Sample> {
    prop_oneof![8 => plain(), 1 => error()].boxed()
}

/// Any kind but an ICMP error.
fn plain() -> impl Strategy<Value = Sample> {
    let body = prop_oneof![
        3 => (word(), word(), any::<u8>(), 0..=10usize).prop_map(|(src_port, dst_port, flags, option_words)| Body::Tcp {
            src_port,
            dst_port,
            flags,
            option_words
        }),
        3 => (word(), word()).prop_map(|(src_port, dst_port)| Body::Udp { src_port, dst_port }),
        2 => (word(), any::<bool>()).prop_map(|(id, reply)| Body::Echo { id, reply }),
        1 => prop::sample::select(vec![4, 47, 50, 51, 59, 132]).prop_map(Body::Opaque),
    ];
    let fragment = option::weighted(
        0.25,
        (word(), prop_oneof![Just(0), 3..8000u32], any::<bool>()).prop_map(|(id, eights, more)| Fragment {
            id: u32::from(id),
            offset: eights * 8,
            more: more || eights == 0,
        }),
    );
    let eights = || option::weighted(0.2, 0..4u8);
    let extensions =
        (eights(), eights(), eights(), eights()).prop_map(|(hop_by_hop, destination, routing, final_destination)| {
            Extensions { hop_by_hop, destination, routing, final_destination }
        });
    let options = prop_oneof![3 => Just(0), 1 => 1..=10usize];
    (addresses(), any::<u8>(), body, vec(byte(), 0..64), fragment, options, extensions).prop_map(
        |((src, dst), ttl, body, payload, fragment, options, extensions)| Sample {
            src,
            dst,
            ttl,
            body,
            payload,
            fragment,
            options,
            extensions,
        },
    )
}

fn error() -> impl Strategy<Value = Sample> {
    (plain(), plain(), 0..200usize).prop_map(|(outer, inner, len)| {
        let (src, dst) =
            if outer.src.is_ipv4() == inner.src.is_ipv4() { (outer.src, outer.dst) } else { (inner.dst, inner.src) };
        Sample {
            src,
            dst,
            body: Body::Error { quoted: Box::new(inner), len },
            fragment: None,
            payload: vec![],
            ..outer
        }
    })
}

/// Two addresses of one family.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    let v4 = || [byte(), byte(), byte(), byte()].prop_map(IpAddr::from);
    let v6 = || [word(), word(), word(), word(), word(), word(), word(), word()].prop_map(IpAddr::from);
    prop_oneof![(v4(), v4()), (v6(), v6())]
}

/// Biased to the two representations of zero in one's complement.
pub(crate) fn word() -> BoxedStrategy<u16> {
    prop_oneof![1 => Just(0), 1 => Just(0xffff), 4 => any::<u16>()].boxed()
}

fn byte() -> BoxedStrategy<u8> {
    prop_oneof![1 => Just(0), 1 => Just(0xff), 4 => any::<u8>()].boxed()
}

impl Sample {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ip = PacketBuilder::ip(self.ip_headers());
        let payload = self.payload();
        let mut out = Vec::new();
        if self.is_later_fragment() {
            ip.write(&mut out, IpNumber(self.protocol().0), &payload).expect("written to memory");
            return out;
        }
        match &self.body {
            Body::Tcp { src_port, dst_port, flags, option_words } => {
                ip.tcp_header(tcp_header(*src_port, *dst_port, *flags, *option_words)).write(&mut out, &payload)
            }
            Body::Udp { src_port, dst_port } => ip.udp(*src_port, *dst_port).write(&mut out, &payload),
            Body::Echo { id, reply } => self.write_echo(ip, *id, *reply, &mut out),
            Body::Error { .. } if self.src.is_ipv4() => {
                let unreachable = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
                ip.icmpv4(unreachable).write(&mut out, &payload)
            }
            Body::Error { .. } => {
                let unreachable = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address);
                ip.icmpv6(unreachable).write(&mut out, &payload)
            }
            Body::Opaque(protocol) => ip.write(&mut out, IpNumber(*protocol), &payload),
        }
        .expect("written to memory");
        out
    }

    pub(crate) fn tuple(&self) -> Tuple {
        let (src_port, dst_port) = match self.body {
            _ if self.is_later_fragment() => (0, 0),
            Body::Tcp { src_port, dst_port, .. } | Body::Udp { src_port, dst_port } => (src_port, dst_port),
            Body::Echo { id, .. } => (id, id),
            Body::Error { .. } | Body::Opaque(_) => (0, 0),
        };
        Tuple { src: self.src, dst: self.dst, protocol: self.protocol(), src_port, dst_port }
    }

    /// None where it depends on how much of a packet is quoted.
    pub(crate) fn transport(&self) -> Option<Transport> {
        Some(match &self.body {
            _ if self.is_later_fragment() => Transport::Other,
            Body::Tcp { src_port, dst_port, flags, .. } => {
                Transport::Ports { src: *src_port, dst: *dst_port, tcp_flags: *flags }
            }
            Body::Udp { src_port, dst_port } => Transport::Ports { src: *src_port, dst: *dst_port, tcp_flags: 0 },
            Body::Echo { id, reply } => Transport::Echo { id: *id, reply: *reply },
            Body::Error { quoted, len } => {
                let (at, ported) = (quoted.transport_at(), !quoted.is_later_fragment());
                let enough = if ported { at + 8 } else { at };
                match *len {
                    len if len >= enough => Transport::IcmpError { quoted: Some(quoted.tuple()) },
                    len if len < if quoted.src.is_ipv4() { 20 } else { 40 } => Transport::IcmpError { quoted: None },
                    _ => return None,
                }
            }
            Body::Opaque(_) => Transport::Other,
        })
    }

    /// What a parser should say, after RFC 6946 for a whole packet.
    pub(crate) fn fragment(&self) -> Option<Fragment> {
        self.fragment.filter(|fragment| fragment.offset > 0 || fragment.more)
    }

    pub(crate) fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset > 0)
    }

    /// Where the transport header starts.
    pub(crate) fn transport_at(&self) -> usize {
        self.bytes().len() - self.payload().len() - self.transport_len()
    }

    /// Fragments hold only a part of what it covers; a routing header with segments left hides the destination.
    pub(crate) fn tcp_checksum_is_verified(&self) -> bool {
        let has_destination = self.src.is_ipv4() || self.extensions.routing.is_none_or(|eights| eights < 2);
        matches!(self.body, Body::Tcp { .. }) && self.fragment().is_none() && has_destination
    }

    fn transport_len(&self) -> usize {
        match self.body {
            _ if self.is_later_fragment() => 0,
            Body::Tcp { option_words, .. } => 20 + 4 * option_words,
            Body::Udp { .. } | Body::Echo { .. } | Body::Error { .. } => 8,
            Body::Opaque(_) => 0,
        }
    }

    fn protocol(&self) -> Protocol {
        match self.body {
            Body::Tcp { .. } => Protocol::TCP,
            Body::Udp { .. } => Protocol::UDP,
            Body::Echo { .. } | Body::Error { .. } if self.src.is_ipv4() => Protocol::ICMP,
            Body::Echo { .. } | Body::Error { .. } => Protocol::ICMPV6,
            Body::Opaque(protocol) => Protocol(protocol),
        }
    }

    /// Every fragment carries some, in eights.
    fn payload(&self) -> Vec<u8> {
        let mut payload = match &self.body {
            Body::Error { quoted, len } => {
                let mut bytes = quoted.bytes();
                bytes.truncate(*len);
                bytes
            }
            _ => self.payload.clone(),
        };
        if self.fragment.is_some() {
            let transport_len = self.transport_len();
            payload.resize((transport_len + payload.len() + 1).next_multiple_of(8) - transport_len, 7);
        }
        payload
    }

    fn write_echo(
        &self,
        ip: PacketBuilderStep<IpHeaders>,
        id: u16,
        reply: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), etherparse::err::packet::BuildWriteError> {
        let payload = self.payload();
        match (self.src.is_ipv4(), reply) {
            (true, false) => ip.icmpv4_echo_request(id, 1).write(out, &payload),
            (true, true) => ip.icmpv4_echo_reply(id, 1).write(out, &payload),
            (false, false) => ip.icmpv6_echo_request(id, 1).write(out, &payload),
            (false, true) => ip.icmpv6_echo_reply(id, 1).write(out, &payload),
        }
    }

    fn ip_headers(&self) -> IpHeaders {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (source, destination) = (src.octets(), dst.octets());
                let mut header = Ipv4Header { time_to_live: self.ttl, source, destination, ..Ipv4Header::default() };
                // A router alert where it fits, padded with no-operations.
                let mut options = vec![1; self.options * 4];
                if let Some(alert) = options.first_chunk_mut() {
                    *alert = [148, 4, 0, 0];
                }
                header.options = Ipv4Options::try_from(options.as_slice()).expect("at most ten words");
                if let Some(fragment) = self.fragment {
                    header.identification = fragment.id as u16;
                    header.fragment_offset = frag_offset(fragment);
                    header.more_fragments = fragment.more;
                }
                IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (source, destination) = (src.octets(), dst.octets());
                let header = Ipv6Header { hop_limit: self.ttl, source, destination, ..Ipv6Header::default() };
                IpHeaders::Ipv6(header, self.ipv6_extensions())
            }
            _ => unreachable!("both addresses are drawn from one family"),
        }
    }

    fn ipv6_extensions(&self) -> Ipv6Extensions {
        let Extensions { hop_by_hop, destination, routing, final_destination } = &self.extensions;
        let later = self.is_later_fragment();
        Ipv6Extensions {
            hop_by_hop_options: hop_by_hop.map(options_header),
            // Without a routing header there is no second place for destination options.
            destination_options: destination.map(options_header),
            routing: routing.map(|eights| Ipv6RoutingExtensions {
                routing: routing_header(eights),
                final_destination_options: final_destination.filter(|_| !later).map(options_header),
            }),
            fragment: self.fragment.map(|fragment| Ipv6FragmentHeader {
                next_header: IpNumber(0),
                fragment_offset: frag_offset(fragment),
                more_fragments: fragment.more,
                identification: fragment.id,
            }),
            auth: None,
        }
    }
}

fn tcp_header(src_port: u16, dst_port: u16, flags: u8, option_words: usize) -> TcpHeader {
    let bit = |nth: u8| flags >> nth & 1 == 1;
    let mut header = TcpHeader::new(src_port, dst_port, 1, 1000);
    [header.fin, header.syn, header.rst, header.psh] = [bit(0), bit(1), bit(2), bit(3)];
    [header.ack, header.urg, header.ece, header.cwr] = [bit(4), bit(5), bit(6), bit(7)];
    header.set_options_raw(&vec![1; option_words * 4]).expect("at most ten words");
    header
}

/// One PadN option.
fn options_header(eights: u8) -> Ipv6RawExtHeader {
    let mut options = vec![0; 6 + 8 * usize::from(eights)];
    options[0] = 1;
    options[1] = options.len() as u8 - 2;
    Ipv6RawExtHeader::new_raw(IpNumber(0), &options).expect("a multiple of eight")
}

/// Its segments left are none if it is short.
fn routing_header(eights: u8) -> Ipv6RawExtHeader {
    let mut routing = vec![0; 6 + 8 * usize::from(eights)];
    routing[0] = 4;
    routing[1] = eights / 2;
    Ipv6RawExtHeader::new_raw(IpNumber(0), &routing).expect("a multiple of eight")
}

fn frag_offset(fragment: Fragment) -> IpFragOffset {
    IpFragOffset::try_new((fragment.offset / 8) as u16).expect("13 bits")
}

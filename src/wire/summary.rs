//! A packet's summary for people, copied out of it, since the packet itself is sent on meanwhile.
//!
//! The tuple is the one that the packet path used. `etherparse` decodes the transport header: it knows more messages
//! than the packet path needs, and is slower. It runs for traced packets alone.

use std::fmt;
use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{IcmpEchoHeader, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, TcpHeaderSlice};

use super::transport::Kind;
use super::{Fragment, Packet, Protocol, Tuple, icmp};

/// A packet in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub tuple: Tuple,
    pub detail: Detail,
    pub fragment: Option<Fragment>,
    pub ttl: u8,
    /// In bytes, from the IP header on; a super-packet's whole.
    pub len: u32,
    /// How many packets it is on the wire.
    pub segments: u32,
}

/// The fields of its transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Tcp {
        flags: TcpFlags,
    },
    Udp,
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// Another protocol, a later fragment, or a header that ends early.
    Other,
}

/// The fields of an ICMP or ICMPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    /// None for a type or code without a usual name.
    pub name: Option<&'static str>,
    pub echo: Option<Echo>,
    /// The largest packet that fits, as "packet too big" reports it.
    pub mtu: Option<u32>,
    /// The tuple of the packet that an error is about.
    pub about: Option<Tuple>,
}

/// An echo's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub id: u16,
    pub seq: u16,
}

/// TCP's control bits (RFC 9293, RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl Packet<'_> {
    pub fn summary(&self) -> Summary {
        Summary {
            tuple: *self.tuple(),
            detail: self.detail(),
            fragment: self.fragment(),
            ttl: self.ttl(),
            len: self.len() as u32,
            segments: self.segments(),
        }
    }

    fn detail(&self) -> Detail {
        let bytes = self.transport_bytes();
        let detail = match self.kind() {
            Kind::Tcp => TcpHeaderSlice::from_slice(bytes).ok().map(|tcp| Detail::Tcp { flags: TcpFlags::of(&tcp) }),
            Kind::Udp => Some(Detail::Udp),
            Kind::Echo { .. } | Kind::Icmp => Icmp::decode(bytes, self.protocol()).map(Detail::Icmp),
            Kind::IcmpError => {
                let about = icmp::quoted(bytes, self.protocol());
                Icmp::decode(bytes, self.protocol()).map(|icmp| Detail::Icmp(Icmp { about, ..icmp }))
            }
            Kind::Opaque => None,
        };
        detail.unwrap_or(Detail::Other)
    }
}

impl Icmp {
    fn decode(bytes: &[u8], protocol: Protocol) -> Option<Self> {
        if protocol == Protocol::ICMP {
            let slice = Icmpv4Slice::from_slice(bytes).ok()?;
            Some(Self { kind: slice.type_u8(), code: slice.code_u8(), ..Self::of_v4(&slice.icmp_type()) })
        } else {
            let slice = Icmpv6Slice::from_slice(bytes).ok()?;
            Some(Self { kind: slice.type_u8(), code: slice.code_u8(), ..Self::of_v6(&slice.icmp_type()) })
        }
    }

    fn of_v4(message: &Icmpv4Type) -> Self {
        use DestUnreachableHeader::FragmentationNeeded;
        match message {
            Icmpv4Type::Unknown { .. } => Self::unnamed(),
            Icmpv4Type::EchoRequest(header) => Self::echo("echo request", *header),
            Icmpv4Type::EchoReply(header) => Self::echo("echo reply", *header),
            Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu }) => {
                Self::too_big(u32::from(*next_hop_mtu))
            }
            Icmpv4Type::DestinationUnreachable(_) => Self::named("destination unreachable"),
            Icmpv4Type::Redirect(_) => Self::named("redirect"),
            Icmpv4Type::TimeExceeded(_) => Self::named("time exceeded"),
            Icmpv4Type::ParameterProblem(_) => Self::named("parameter problem"),
            Icmpv4Type::TimestampRequest(_) => Self::named("timestamp request"),
            Icmpv4Type::TimestampReply(_) => Self::named("timestamp reply"),
        }
    }

    fn of_v6(message: &Icmpv6Type) -> Self {
        match message {
            Icmpv6Type::Unknown { .. } => Self::unnamed(),
            Icmpv6Type::EchoRequest(header) => Self::echo("echo request", *header),
            Icmpv6Type::EchoReply(header) => Self::echo("echo reply", *header),
            Icmpv6Type::PacketTooBig { mtu } => Self::too_big(*mtu),
            Icmpv6Type::DestinationUnreachable(_) => Self::named("destination unreachable"),
            Icmpv6Type::TimeExceeded(_) => Self::named("time exceeded"),
            Icmpv6Type::ParameterProblem(_) => Self::named("parameter problem"),
            Icmpv6Type::RouterSolicitation => Self::named("router solicitation"),
            Icmpv6Type::RouterAdvertisement(_) => Self::named("router advertisement"),
            Icmpv6Type::NeighborSolicitation => Self::named("neighbor solicitation"),
            Icmpv6Type::NeighborAdvertisement(_) => Self::named("neighbor advertisement"),
            Icmpv6Type::Redirect => Self::named("redirect"),
        }
    }

    const fn unnamed() -> Self {
        Self { kind: 0, code: 0, name: None, echo: None, mtu: None, about: None }
    }

    const fn named(name: &'static str) -> Self {
        Self { name: Some(name), ..Self::unnamed() }
    }

    const fn echo(name: &'static str, header: IcmpEchoHeader) -> Self {
        Self { echo: Some(Echo { id: header.id, seq: header.seq }), ..Self::named(name) }
    }

    /// Routers older than RFC 1191 leave the field zero.
    fn too_big(mtu: u32) -> Self {
        Self { mtu: (mtu > 0).then_some(mtu), ..Self::named("packet too big") }
    }
}

impl TcpFlags {
    const NAMES: [&'static str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

    fn of(tcp: &TcpHeaderSlice<'_>) -> Self {
        let bits = [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()].into_iter();
        Self(bits.enumerate().fold(0, |flags, (bit, set)| flags | (u8::from(set) << bit)))
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

/// `10.1.1.4:49152 > 10.2.1.10:443 tcp SYN, 60 bytes`
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let later = self.fragment.is_some_and(|fragment| fragment.offset > 0);
        write_tuple(f, &self.tuple, later)?;
        match self.detail {
            Detail::Tcp { flags } => {
                let separators = std::iter::once(" ").chain(std::iter::repeat(","));
                flags.names().zip(separators).try_for_each(|(flag, separator)| write!(f, "{separator}{flag}"))?;
            }
            Detail::Icmp(icmp) => write!(f, " {icmp}")?,
            Detail::Udp | Detail::Other => {}
        }
        write!(f, ", {} bytes", self.len)?;
        if self.segments > 1 {
            write!(f, " in {} segments", self.segments)?;
        }
        if let Some(Fragment { id, offset, more }) = self.fragment {
            write!(f, ", {} fragment of datagram {id} at {offset}", if more { "a" } else { "the last" })?;
        }
        Ok(())
    }
}

/// Addresses, ports where there are some, and the protocol.
fn write_tuple(f: &mut fmt::Formatter<'_>, tuple: &Tuple, later_fragment: bool) -> fmt::Result {
    let Tuple { src, dst, protocol, src_port, dst_port } = *tuple;
    if later_fragment || !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        write!(f, "{src} > {dst} {protocol}")
    } else {
        let (src, dst) = (End(src, src_port), End(dst, dst_port));
        write!(f, "{src} > {dst} {protocol}")
    }
}

struct End(IpAddr, u16);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.0, self.1).fmt(f)
    }
}

/// `echo request, id 7, seq 2` or `packet too big, MTU 1400 (type 3 code 4) about 10.1.1.4:5 > 10.2.1.10:6 udp`
impl fmt::Display for Icmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, code, name, echo, mtu, about } = *self;
        match (name, echo) {
            (Some(name), Some(Echo { id, seq })) => write!(f, "{name}, id {id}, seq {seq}")?,
            (Some(name), None) => {
                f.write_str(name)?;
                if let Some(mtu) = mtu {
                    write!(f, ", MTU {mtu}")?;
                }
                write!(f, " (type {kind} code {code})")?;
            }
            (None, _) => write!(f, "type {kind} code {code}")?,
        }
        let Some(about) = about else { return Ok(()) };
        f.write_str(" about ")?;
        write_tuple(f, &about, false)
    }
}

/// `tcp`, or `protocol 132` where it has no usual name here.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::ICMP => "icmp",
            Self::IPIP => "ipip",
            Self::TCP => "tcp",
            Self::UDP => "udp",
            Self::GRE => "gre",
            Self::ESP => "esp",
            Self::AH => "ah",
            Self::ICMPV6 => "icmp6",
            Self(other) => return write!(f, "protocol {other}"),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::SocketAddr;

    use etherparse::{PacketBuilder, icmpv4, icmpv6};

    use super::super::{Offload, build};
    use super::*;

    fn words(mut bytes: Vec<u8>) -> String {
        Packet::parse(&mut bytes, Offload::default()).unwrap().summary().to_string()
    }

    fn ends(src: &str, dst: &str) -> (SocketAddr, SocketAddr) {
        (src.parse().unwrap(), dst.parse().unwrap())
    }

    #[test]
    fn packets_in_words() {
        let (src, dst) = ends("10.1.1.4:49152", "10.2.1.10:443");
        let syn_ack = build::tcp(dst, src, 0x12, b"");
        assert_eq!(words(syn_ack), "10.2.1.10:443 > 10.1.1.4:49152 tcp SYN,ACK, 40 bytes");
        let query = build::udp(src, dst, b"query");
        assert_eq!(words(query.clone()), "10.1.1.4:49152 > 10.2.1.10:443 udp, 33 bytes");
        let ping = build::icmp_echo(src.ip(), dst.ip(), 7, 2, false);
        assert_eq!(words(ping), "10.1.1.4 > 10.2.1.10 icmp echo request, id 7, seq 2, 28 bytes");
        let error = build::icmp_unreachable(dst.ip(), &query);
        let about = "destination unreachable (type 3 code 1) about 10.1.1.4:49152 > 10.2.1.10:443 udp";
        assert!(words(error).starts_with(&format!("10.2.1.10 > 10.1.1.4 icmp {about}, ")));
        let esp = build::raw(src.ip(), dst.ip(), Protocol::ESP.0, &[0; 12]);
        assert_eq!(words(esp), "10.1.1.4 > 10.2.1.10 esp, 32 bytes");
        let (src, dst) = ends("[fd00::4]:1", "[fd00::5]:53");
        assert_eq!(words(build::udp(src, dst, b"")), "[fd00::4]:1 > [fd00::5]:53 udp, 48 bytes");
    }

    #[test]
    fn icmp_in_words() {
        let (src, dst) = ends("10.1.1.4:5", "10.2.1.10:6");
        let v4 = |message| {
            let (IpAddr::V4(src), IpAddr::V4(dst)) = (src.ip(), dst.ip()) else { panic!("IPv4") };
            let mut bytes = Vec::new();
            PacketBuilder::ipv4(src.octets(), dst.octets(), 64).icmpv4(message).write_to_vec(&mut bytes, &[]).unwrap();
            bytes
        };
        let v6 = |message| {
            let mut bytes = Vec::new();
            PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 255).icmpv6(message).write_to_vec(&mut bytes, &[]).unwrap();
            bytes
        };
        let ends_with = |bytes, end: &str| {
            let words = words(bytes);
            assert!(words.ends_with(end), "{words}");
        };
        let too_big = |next_hop_mtu| {
            v4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu }))
        };
        ends_with(too_big(1400), " icmp packet too big, MTU 1400 (type 3 code 4), 28 bytes");
        ends_with(too_big(0), " icmp packet too big (type 3 code 4), 28 bytes");
        ends_with(
            v6(Icmpv6Type::PacketTooBig { mtu: 1280 }),
            " icmp6 packet too big, MTU 1280 (type 2 code 0), 48 bytes",
        );
        ends_with(v6(Icmpv6Type::NeighborSolicitation), " icmp6 neighbor solicitation (type 135 code 0), 48 bytes");
        let echo = IcmpEchoHeader { id: 7, seq: 9 };
        ends_with(v6(Icmpv6Type::EchoReply(echo)), " icmp6 echo reply, id 7, seq 9, 48 bytes");
        for (message, end) in [
            (
                Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit),
                "time exceeded (type 11 code 0)",
            ),
            (
                Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
                "destination unreachable (type 3 code 3)",
            ),
            (
                Icmpv4Type::ParameterProblem(icmpv4::ParameterProblemHeader::BadLength),
                "parameter problem (type 12 code 2)",
            ),
            (Icmpv4Type::EchoRequest(echo), "echo request, id 7, seq 9"),
            (Icmpv4Type::EchoReply(echo), "echo reply, id 7, seq 9"),
        ] {
            ends_with(v4(message), &format!(" icmp {end}, 28 bytes"));
        }
        for (message, end) in [
            (Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded), "time exceeded (type 3 code 0)"),
            (
                Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port),
                "destination unreachable (type 1 code 4)",
            ),
            (Icmpv6Type::RouterSolicitation, "router solicitation (type 133 code 0)"),
            (Icmpv6Type::EchoRequest(echo), "echo request, id 7, seq 9"),
        ] {
            ends_with(v6(message), &format!(" icmp6 {end}, 48 bytes"));
        }
        let unknown = Icmpv4Type::Unknown { type_u8: 42, code_u8: 1, bytes5to8: [0; 4] };
        ends_with(v4(unknown), " icmp type 42 code 1, 28 bytes");
    }

    #[test]
    fn fragments_and_super_packets_in_words() {
        let (src, dst) = ends("10.1.1.4:5", "10.2.1.10:6");
        let mut bytes = build::udp(src, dst, &[0; 100]);
        let summary = Packet::parse(&mut bytes, Offload::default()).unwrap().summary();
        let fragment = |offset, more| Summary { fragment: Some(Fragment { id: 9, offset, more }), ..summary };
        let first = "10.1.1.4:5 > 10.2.1.10:6 udp, 128 bytes, a fragment of datagram 9 at 0";
        assert_eq!(fragment(0, true).to_string(), first);
        let last = "10.1.1.4 > 10.2.1.10 udp, 128 bytes, the last fragment of datagram 9 at 1480";
        assert_eq!(fragment(1480, false).to_string(), last);
        assert!(Summary { segments: 4, ..summary }.to_string().ends_with("128 bytes in 4 segments"));
    }
}

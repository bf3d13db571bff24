//! A packet's summary for people, copied out of it, since the packet itself is sent on meanwhile.

use std::fmt;
use std::net::IpAddr;

use super::transport::{Kind, field};
use super::{Fragment, Packet, Protocol, Tuple, be16, icmp};

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
    Icmp {
        kind: u8,
        code: u8,
        echo: Option<Echo>,
        /// The tuple of the packet that an error is about.
        about: Option<Tuple>,
    },
    /// Another protocol, or a later fragment.
    Other,
}

/// An echo's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub id: u16,
    pub seq: u16,
    pub reply: bool,
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
        let icmp = |echo, about| Detail::Icmp { kind: bytes[0], code: bytes[1], echo, about };
        match self.kind() {
            Kind::Tcp => Detail::Tcp { flags: TcpFlags(bytes[field::TCP_FLAGS]) },
            Kind::Udp => Detail::Udp,
            Kind::Echo { reply } => {
                let seq = be16(bytes, icmp::field::ECHO_SEQ).unwrap_or_default();
                icmp(Some(Echo { id: self.tuple().src_port, seq, reply }), None)
            }
            Kind::IcmpError => icmp(None, icmp::quoted(bytes, self.protocol())),
            Kind::Icmp => icmp(None, None),
            Kind::Opaque => Detail::Other,
        }
    }
}

impl TcpFlags {
    const NAMES: [&'static str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

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
            Detail::Icmp { kind, code, echo, about } => {
                f.write_str(" ")?;
                write_icmp(f, self.tuple.protocol, kind, code, echo)?;
                if let Some(about) = about {
                    f.write_str(" about ")?;
                    write_tuple(f, &about, false)?;
                }
            }
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

fn write_icmp(f: &mut fmt::Formatter<'_>, protocol: Protocol, kind: u8, code: u8, echo: Option<Echo>) -> fmt::Result {
    if let Some(Echo { id, seq, reply }) = echo {
        return write!(f, "echo {}, id {id}, seq {seq}", if reply { "reply" } else { "request" });
    }
    let name = match (protocol, kind, code) {
        (Protocol::ICMP, 3, 4) | (Protocol::ICMPV6, 2, _) => "packet too big",
        (Protocol::ICMP, 3, _) | (Protocol::ICMPV6, 1, _) => "destination unreachable",
        (Protocol::ICMP, 5, _) => "redirect",
        (Protocol::ICMP, 11, _) | (Protocol::ICMPV6, 3, _) => "time exceeded",
        (Protocol::ICMP, 12, _) | (Protocol::ICMPV6, 4, _) => "parameter problem",
        _ => return write!(f, "type {kind} code {code}"),
    };
    write!(f, "{name} (type {kind} code {code})")
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

//! The header after the IP headers: TCP (RFC 9293), UDP (RFC 768), ICMP, or one that forwarding does not read.

use super::{IpHeader, ParseError, Protocol, Tuple, icmp};

/// The fields of the transport header that forwarding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP or UDP.
    Ports { src: u16, dst: u16, tcp_flags: u8 },
    /// ICMP or ICMPv6 echo.
    Echo { id: u16, reply: bool },
    /// An ICMP error that quotes a packet; `quoted` is that packet's tuple as it was sent. None if it is too short.
    IcmpError { quoted: Option<Tuple> },
    /// No ports: other ICMP, ESP, AH, any other protocol, or a later fragment.
    Other,
}

/// Which transport header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Echo {
        reply: bool,
    },
    IcmpError,
    /// Other ICMP.
    Icmp,
    /// One that is not read, or a later fragment.
    Opaque,
}

/// A checked transport header.
pub(super) struct Segment {
    pub(super) kind: Kind,
    pub(super) header_len: usize,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
}

pub(super) const TCP_HEADER_LEN: usize = 20;
pub(super) const UDP_HEADER_LEN: usize = 8;

/// Where the fields are, from the transport header on.
pub(super) mod field {
    pub(in crate::wire) const SRC_PORT: usize = 0;
    pub(in crate::wire) const DST_PORT: usize = 2;
    pub(in crate::wire) const UDP_LENGTH: usize = 4;
    pub(in crate::wire) const UDP_CHECKSUM: usize = 6;
    pub(in crate::wire) const TCP_FLAGS: usize = 13;
    pub(in crate::wire) const TCP_CHECKSUM: usize = 16;
}

/// `bytes` is the whole IP packet. A first fragment must hold its transport header, or ports that come later could
/// evade the rules (RFC 1858, RFC 7112).
#[inline(always)]
pub(super) fn parse(bytes: &[u8], ip: &IpHeader) -> Result<Segment, ParseError> {
    const OPAQUE: Segment = Segment { kind: Kind::Opaque, header_len: 0, src_port: 0, dst_port: 0 };
    let body = bytes.get(ip.transport_at..).ok_or(ParseError::Malformed)?;
    let offset = ip.fragment.map_or(0, |fragment| fragment.offset);
    match ip.protocol {
        // A later fragment this near the front would overwrite the header that rules have matched (RFC 3128).
        Protocol::TCP if offset > 0 && (offset as usize) < TCP_HEADER_LEN => Err(ParseError::Malformed),
        _ if offset > 0 => Ok(OPAQUE),
        Protocol::TCP => tcp(body),
        Protocol::UDP => udp(body, ip),
        Protocol::ICMP if ip.dst.is_ipv4() => icmp::parse(body, Protocol::ICMP),
        Protocol::ICMPV6 if ip.dst.is_ipv6() => icmp::parse(body, Protocol::ICMPV6),
        _ => Ok(OPAQUE),
    }
}

#[inline]
fn tcp(body: &[u8]) -> Result<Segment, ParseError> {
    let fixed: &[u8; TCP_HEADER_LEN] = body.first_chunk().ok_or(ParseError::Malformed)?;
    let header_len = usize::from(fixed[12] >> 4) * 4;
    if header_len < TCP_HEADER_LEN || header_len > body.len() {
        return Err(ParseError::Malformed);
    }
    let &[s0, s1, d0, d1, ..] = fixed;
    Ok(Segment {
        kind: Kind::Tcp,
        header_len,
        src_port: u16::from_be_bytes([s0, s1]),
        dst_port: u16::from_be_bytes([d0, d1]),
    })
}

/// The UDP length may be less than IP's payload (RFC 9868), more only in a first fragment. Over IPv6 it may be zero,
/// which means all of it (RFC 2675).
#[inline]
fn udp(body: &[u8], ip: &IpHeader) -> Result<Segment, ParseError> {
    let &[s0, s1, d0, d1, l0, l1, _, _] = body.first_chunk().ok_or(ParseError::Malformed)?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let whole = len == 0 && ip.dst.is_ipv6();
    let fits = len >= UDP_HEADER_LEN && (len <= body.len() || ip.fragment.is_some());
    if !whole && !fits {
        return Err(ParseError::Malformed);
    }
    Ok(Segment {
        kind: Kind::Udp,
        header_len: UDP_HEADER_LEN,
        src_port: u16::from_be_bytes([s0, s1]),
        dst_port: u16::from_be_bytes([d0, d1]),
    })
}

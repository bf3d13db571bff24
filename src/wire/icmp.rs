//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and errors with the packet they quote.

use super::transport::{Kind, Segment};
use super::{ParseError, Protocol, Tuple, be16, ipv4, ipv6};

/// Both kernels' and every defined message's minimum.
pub(super) const HEADER_LEN: usize = 8;

/// Where the fields are, from the ICMP header on.
pub(super) mod field {
    pub(in crate::wire) const CHECKSUM: usize = 2;
    pub(in crate::wire) const ECHO_ID: usize = 4;
}

pub(super) const ECHO_REPLY: u8 = 0;
pub(super) const ECHO: u8 = 8;
pub(super) const UNREACHABLE: u8 = 3;
pub(super) const V6_UNREACHABLE: u8 = 1;
pub(super) const V6_ECHO: u8 = 128;
pub(super) const V6_ECHO_REPLY: u8 = 129;

/// `protocol` is ICMP or ICMPv6.
#[inline]
pub(super) fn parse(message: &[u8], protocol: Protocol) -> Result<Segment, ParseError> {
    let &[kind, _, _, _, high, low, _, _] = message.first_chunk().ok_or(ParseError::Malformed)?;
    let kind = classify(kind, protocol);
    let id = if matches!(kind, Kind::Echo { .. }) { u16::from_be_bytes([high, low]) } else { 0 };
    Ok(Segment { kind, header_len: HEADER_LEN, src_port: id, dst_port: id })
}

#[inline]
const fn classify(icmp_type: u8, protocol: Protocol) -> Kind {
    match (protocol, icmp_type) {
        (Protocol::ICMP, ECHO) | (Protocol::ICMPV6, V6_ECHO) => Kind::Echo { reply: false },
        (Protocol::ICMP, ECHO_REPLY) | (Protocol::ICMPV6, V6_ECHO_REPLY) => Kind::Echo { reply: true },
        // Unreachable, source quench, redirect, time exceeded, parameter problem; v6 alike, with packet too big.
        (Protocol::ICMP, 3 | 4 | 5 | 11 | 12) | (Protocol::ICMPV6, 1..=4) => Kind::IcmpError,
        _ => Kind::Icmp,
    }
}

/// The tuple of the packet that an error quotes, from the ICMP header on. None if it quotes too little.
pub(super) fn quoted(message: &[u8], protocol: Protocol) -> Option<Tuple> {
    let packet = message.get(HEADER_LEN..)?;
    let (src, dst, protocol, transport_at, fragment) = if protocol == Protocol::ICMP {
        let fixed = ipv4::Fixed::new(packet)?;
        (fixed.src(), fixed.dst(), fixed.protocol(), fixed.header_len(), fixed.fragment())
    } else {
        let fixed = ipv6::Fixed::new(packet)?;
        let upper = ipv6::Upper::find(packet, fixed.next_header())?;
        (fixed.src(), fixed.dst(), upper.protocol, upper.at, upper.fragment.unwrap_or_default())
    };
    let (src_port, dst_port) =
        if fragment.offset > 0 { (0, 0) } else { quoted_ports(packet.get(transport_at..)?, protocol)? };
    Some(Tuple { src, dst, protocol, src_port, dst_port })
}

/// Routers may quote no more than eight bytes of the transport header: enough for ports and for an echo's identifier.
fn quoted_ports(transport: &[u8], protocol: Protocol) -> Option<(u16, u16)> {
    match protocol {
        Protocol::TCP | Protocol::UDP => Some((be16(transport, 0)?, be16(transport, 2)?)),
        Protocol::ICMP | Protocol::ICMPV6 => match classify(*transport.first()?, protocol) {
            Kind::Echo { .. } => be16(transport, field::ECHO_ID).map(|id| (id, id)),
            _ => Some((0, 0)),
        },
        _ => Some((0, 0)),
    }
}

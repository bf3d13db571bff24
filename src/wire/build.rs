//! Synthetic packets for tests and diagnosis: from the IP header on, with correct checksums.
//!
//! Nothing here is on the packet path: it allocates, and it panics when source and destination are of two families.

use std::net::{IpAddr, SocketAddr};

use super::checksum::Sum;
use super::transport::{self, TCP_HEADER_LEN, UDP_HEADER_LEN};
use super::{Protocol, icmp, ipv4, ipv6};

const TTL: u8 = 64;

/// TCP with a sequence number of zero and the given flags.
pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; TCP_HEADER_LEN];
    put16(&mut header, transport::field::SRC_PORT, src.port());
    put16(&mut header, transport::field::DST_PORT, dst.port());
    header[12] = (TCP_HEADER_LEN as u8 / 4) << 4;
    header[transport::field::TCP_FLAGS] = flags;
    put16(&mut header, 14, u16::MAX);
    let segment = [&header, payload].concat();
    checksummed(src.ip(), dst.ip(), Protocol::TCP, segment, transport::field::TCP_CHECKSUM)
}

pub fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; UDP_HEADER_LEN];
    put16(&mut header, transport::field::SRC_PORT, src.port());
    put16(&mut header, transport::field::DST_PORT, dst.port());
    put16(&mut header, transport::field::UDP_LENGTH, (UDP_HEADER_LEN + payload.len()) as u16);
    let datagram = [&header, payload].concat();
    checksummed(src.ip(), dst.ip(), Protocol::UDP, datagram, transport::field::UDP_CHECKSUM)
}

/// An echo request, or its reply.
pub fn icmp_echo(src: IpAddr, dst: IpAddr, id: u16, seq: u16, reply: bool) -> Vec<u8> {
    let icmp_type = match (src.is_ipv4(), reply) {
        (true, false) => icmp::ECHO,
        (true, true) => icmp::ECHO_REPLY,
        (false, false) => icmp::V6_ECHO,
        (false, true) => icmp::V6_ECHO_REPLY,
    };
    let mut message = vec![0; icmp::HEADER_LEN];
    message[0] = icmp_type;
    put16(&mut message, icmp::field::ECHO_ID, id);
    put16(&mut message, icmp::field::ECHO_ID + 2, seq);
    icmp_message(src, dst, message)
}

/// Host or address unreachable, sent to the source of the packet that it quotes. It quotes as much as a router may.
pub fn icmp_unreachable(from: IpAddr, quoted: &[u8]) -> Vec<u8> {
    // RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c), less the headers in front.
    let (dst, icmp_type, code, quote_max) = match (ipv4::Fixed::new(quoted), ipv6::Fixed::new(quoted)) {
        (Some(fixed), _) => (fixed.src(), icmp::UNREACHABLE, 1, 576 - ipv4::HEADER_LEN - icmp::HEADER_LEN),
        (_, Some(fixed)) => (fixed.src(), icmp::V6_UNREACHABLE, 3, 1280 - ipv6::HEADER_LEN - icmp::HEADER_LEN),
        (None, None) => panic!("the quoted bytes start with an IP header"),
    };
    let mut message = vec![0; icmp::HEADER_LEN];
    message[0] = icmp_type;
    message[1] = code;
    message.extend_from_slice(&quoted[..quoted.len().min(quote_max)]);
    icmp_message(from, dst, message)
}

/// Any protocol; the payload starts with its header and is used as it is.
pub fn raw(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = [0; ipv4::HEADER_LEN];
            header[0] = 0x45;
            put16(&mut header, 2, (ipv4::HEADER_LEN + payload.len()) as u16);
            header[ipv4::field::TTL] = TTL;
            header[9] = protocol;
            header[ipv4::field::SRC..][..4].copy_from_slice(&src.octets());
            header[ipv4::field::DST..][..4].copy_from_slice(&dst.octets());
            let checksum = Sum::of(&header).full();
            put16(&mut header, ipv4::field::CHECKSUM, checksum);
            header.to_vec()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = [0; ipv6::HEADER_LEN];
            header[0] = 0x60;
            put16(&mut header, 4, payload.len() as u16);
            header[6] = protocol;
            header[ipv6::field::HOP_LIMIT] = TTL;
            header[ipv6::field::SRC..][..16].copy_from_slice(&src.octets());
            header[ipv6::field::DST..][..16].copy_from_slice(&dst.octets());
            header.to_vec()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("{src} and {dst} are of two IP versions")
        }
    };
    packet.extend_from_slice(payload);
    packet
}

/// An IPv4 packet in two fragments, cut `at` bytes behind its header: a multiple of eight within its payload.
pub fn fragments(packet: &[u8], at: usize, id: u16) -> [Vec<u8>; 2] {
    let (header, payload) = packet.split_at(ipv4::HEADER_LEN);
    let cut = |payload: &[u8], field: u16| {
        let mut piece = [header, payload].concat();
        let len = piece.len() as u16;
        put16(&mut piece, 2, len);
        put16(&mut piece, 4, id);
        put16(&mut piece, 6, field);
        put16(&mut piece, ipv4::field::CHECKSUM, 0);
        let checksum = Sum::of(&piece[..ipv4::HEADER_LEN]).full();
        put16(&mut piece, ipv4::field::CHECKSUM, checksum);
        piece
    };
    let (first, last) = payload.split_at(at);
    [cut(first, 0x2000), cut(last, at as u16 / 8)]
}

fn icmp_message(src: IpAddr, dst: IpAddr, mut message: Vec<u8>) -> Vec<u8> {
    if src.is_ipv6() {
        return checksummed(src, dst, Protocol::ICMPV6, message, icmp::field::CHECKSUM);
    }
    let checksum = Sum::of(&message).full();
    put16(&mut message, icmp::field::CHECKSUM, checksum);
    raw(src, dst, Protocol::ICMP.0, &message)
}

/// With a checksum over payload and pseudo-header in the zeroed field at `at`.
fn checksummed(src: IpAddr, dst: IpAddr, protocol: Protocol, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = Sum::of(&payload).plus(Sum::of_pseudo_header(src, dst, protocol, payload.len()));
    let checksum = match sum.full() {
        0 if protocol == Protocol::UDP => 0xffff,
        checksum => checksum,
    };
    put16(&mut payload, at, checksum);
    raw(src, dst, protocol.0, &payload)
}

/// Puts a checksum over bytes, and over the pseudo-header of a transport protocol, into the field at `at`.
pub(super) fn put_checksum(bytes: &mut [u8], at: usize, pseudo: Option<(IpAddr, IpAddr, Protocol)>) {
    put16(bytes, at, 0);
    let sum = Sum::of(bytes);
    let sum = match pseudo {
        Some((src, dst, protocol)) => sum.plus(Sum::of_pseudo_header(src, dst, protocol, bytes.len())),
        None => sum,
    };
    let udp = pseudo.is_some_and(|(_, _, protocol)| protocol == Protocol::UDP);
    let checksum = match sum.full() {
        0 if udp => 0xffff,
        checksum => checksum,
    };
    put16(bytes, at, checksum);
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

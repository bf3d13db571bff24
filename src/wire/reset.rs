//! Resets: the segment that ends a TCP connection (RFC 9293 section 3.10.7).
//!
//! One idea: a reset is its tuple and two numbers, written into sixty bytes. A reset that answers a segment is written
//! over that segment, in its own buffer, so refusing a segment on the packet path needs no memory.

use std::net::IpAddr;

use super::checksum::Sum;
use super::transport::{self, Kind, TCP_HEADER_LEN};
use super::{Offload, Packet, Protocol, Tuple, ipv4, ipv6};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

const SEQ: usize = 4;
const ACK_NUMBER: usize = 8;
const DATA_OFFSET: usize = 12;
const TTL: u8 = 64;

/// A segment that ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Its source is the end that it claims to come from.
    pub tuple: Tuple,
    /// The sequence number that the receiver expects next: it ignores any other (RFC 5961 section 3.2).
    pub seq: u32,
    /// The acknowledgement, if it answers a segment without one.
    pub ack: Option<u32>,
}

impl Reset {
    /// The length of the longest reset.
    pub const LEN_MAX: usize = ipv6::HEADER_LEN + TCP_HEADER_LEN;

    /// Writes it from the IP header on; returns its length. Its two addresses are of one IP version.
    pub fn write(&self, to: &mut [u8; Self::LEN_MAX]) -> usize {
        let len = self.write_ip_header(to);
        to[len..][..TCP_HEADER_LEN].copy_from_slice(&self.segment());
        len + TCP_HEADER_LEN
    }

    fn write_ip_header(&self, to: &mut [u8; Self::LEN_MAX]) -> usize {
        to.fill(0);
        match (self.tuple.src, self.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let len = (ipv4::HEADER_LEN + TCP_HEADER_LEN) as u16;
                to[0] = 0x45;
                to[2..4].copy_from_slice(&len.to_be_bytes());
                // Don't fragment.
                to[6] = 0x40;
                to[ipv4::field::TTL] = TTL;
                to[9] = Protocol::TCP.0;
                to[ipv4::field::SRC..][..4].copy_from_slice(&src.octets());
                to[ipv4::field::DST..][..4].copy_from_slice(&dst.octets());
                let checksum = Sum::of(&to[..ipv4::HEADER_LEN]).full();
                to[ipv4::field::CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
                ipv4::HEADER_LEN
            }
            (src, dst) => {
                to[0] = 0x60;
                to[4..6].copy_from_slice(&(TCP_HEADER_LEN as u16).to_be_bytes());
                to[6] = Protocol::TCP.0;
                to[ipv6::field::HOP_LIMIT] = TTL;
                to[ipv6::field::SRC..][..16].copy_from_slice(&v6(src));
                to[ipv6::field::DST..][..16].copy_from_slice(&v6(dst));
                ipv6::HEADER_LEN
            }
        }
    }

    fn segment(&self) -> [u8; TCP_HEADER_LEN] {
        let Tuple { src, dst, src_port, dst_port, .. } = self.tuple;
        let mut header = [0; TCP_HEADER_LEN];
        header[transport::field::SRC_PORT..][..2].copy_from_slice(&src_port.to_be_bytes());
        header[transport::field::DST_PORT..][..2].copy_from_slice(&dst_port.to_be_bytes());
        header[SEQ..][..4].copy_from_slice(&self.seq.to_be_bytes());
        header[ACK_NUMBER..][..4].copy_from_slice(&self.ack.unwrap_or(0).to_be_bytes());
        header[DATA_OFFSET] = (TCP_HEADER_LEN as u8 / 4) << 4;
        header[transport::field::TCP_FLAGS] = if self.ack.is_some() { RST | ACK } else { RST };
        let sum = Sum::of_pseudo_header(src, dst, Protocol::TCP, TCP_HEADER_LEN).plus(Sum::of(&header));
        header[transport::field::TCP_CHECKSUM..][..2].copy_from_slice(&sum.full().to_be_bytes());
        header
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl Packet<'_> {
    /// The sequence number that a segment's sender expects next; None if it acknowledges nothing.
    pub fn acknowledges(&self) -> Option<u32> {
        let segment = self.transport_bytes();
        let says = self.kind() == Kind::Tcp && segment[transport::field::TCP_FLAGS] & ACK != 0;
        says.then(|| number(segment, ACK_NUMBER))
    }

    /// Turns this segment into the reset that its receiver would send back. Returns false and changes nothing unless
    /// TCP follows directly on the IP header, and for a reset, which is never answered.
    pub fn turn_into_reset(&mut self) -> bool {
        let at = self.transport_at();
        let header_len = if self.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        if self.kind() != Kind::Tcp || at != header_len {
            return false;
        }
        let segment = self.transport_bytes();
        let flags = segment[transport::field::TCP_FLAGS];
        if flags & RST != 0 {
            return false;
        }
        let payload = segment.len() - usize::from(segment[DATA_OFFSET] >> 4) * 4;
        let counted = payload as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let tuple = self.tuple().mirrored();
        let reset = match self.acknowledges() {
            Some(seq) => Reset { tuple, seq, ack: None },
            None => Reset { tuple, seq: 0, ack: Some(number(segment, SEQ).wrapping_add(counted)) },
        };
        let mut bytes = [0; Reset::LEN_MAX];
        let len = reset.write(&mut bytes);
        self.truncate(len);
        self.overwrite(0, &bytes[..len]);
        self.set_offload(Offload::default());
        self.set_tuple(tuple);
        true
    }
}

fn number(segment: &[u8], at: usize) -> u32 {
    segment[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::wire::{Offload, build};

    /// RFC 9293 section 3.5.2: what has an ACK gets its number as sequence number; else all that came is acknowledged, of
    /// which SYN and FIN are one each.
    #[test]
    fn a_reset_answers_what_the_segment_says() {
        let (src, dst) = ("10.0.0.4:1000".parse().unwrap(), "10.0.0.5:80".parse().unwrap());
        for (flags, counted) in [(0, 10), (SYN, 11), (FIN, 11), (SYN | FIN, 12)] {
            let mut bytes = build::tcp(src, dst, flags, &[0; 10]);
            let seq = number(&bytes[20..], SEQ);
            let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
            assert!(packet.turn_into_reset());
            let segment = packet.transport_bytes();
            let told = (number(segment, SEQ), number(segment, ACK_NUMBER), segment[transport::field::TCP_FLAGS]);
            assert_eq!(told, (0, seq.wrapping_add(counted), RST | ACK), "flags {flags:#x}");
        }
        let mut bytes = build::tcp(src, dst, ACK, &[0; 10]);
        let acknowledged = number(&bytes[20..], ACK_NUMBER);
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        assert!(packet.turn_into_reset());
        assert_eq!(number(packet.transport_bytes(), SEQ), acknowledged);
        assert!(!packet.turn_into_reset(), "a reset is never answered");
    }
}

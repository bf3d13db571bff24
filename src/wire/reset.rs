//! A TCP segment turned into the reset that answers it (RFC 9293 section 3.10.7.1).
//!
//! One idea: the answer is written over the question, in its own buffer, so that whoever refuses a segment on the packet
//! path needs no memory for it.

use std::net::IpAddr;

use super::checksum::Sum;
use super::transport::{self, Kind, TCP_HEADER_LEN};
use super::{Offload, Packet, Protocol, ipv4};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

const SEQ: usize = 4;
const ACK_NUMBER: usize = 8;
const DATA_OFFSET: usize = 12;
const TTL: u8 = 64;

impl Packet<'_> {
    /// Makes this segment the reset that its receiver would send back. False, and nothing done, for anything but TCP over
    /// IPv4 without options, and for a reset, which is never answered.
    pub fn turn_into_reset(&mut self) -> bool {
        let at = self.transport_at();
        let (IpAddr::V4(_), Kind::Tcp, ipv4::HEADER_LEN) = (self.dst(), self.kind(), at) else { return false };
        let flags = self.bytes()[at + transport::field::TCP_FLAGS];
        if flags & RST != 0 {
            return false;
        }
        let segment = &self.bytes()[at..];
        let number = |at: usize| segment[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let payload = segment.len() - usize::from(segment[DATA_OFFSET] >> 4) * 4;
        let counted = payload as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let (seq, ack, flags) = if flags & ACK != 0 {
            (number(ACK_NUMBER), 0, RST)
        } else {
            (0, number(SEQ).wrapping_add(counted), RST | ACK)
        };
        let tuple = self.tuple().mirrored();
        let mut header = [0; TCP_HEADER_LEN];
        header[transport::field::SRC_PORT..][..2].copy_from_slice(&tuple.src_port.to_be_bytes());
        header[transport::field::DST_PORT..][..2].copy_from_slice(&tuple.dst_port.to_be_bytes());
        header[SEQ..][..4].copy_from_slice(&seq.to_be_bytes());
        header[ACK_NUMBER..][..4].copy_from_slice(&ack.to_be_bytes());
        header[DATA_OFFSET] = (TCP_HEADER_LEN as u8 / 4) << 4;
        header[transport::field::TCP_FLAGS] = flags;
        let sum = Sum::of_pseudo_header(tuple.src, tuple.dst, Protocol::TCP, TCP_HEADER_LEN).plus(Sum::of(&header));
        header[transport::field::TCP_CHECKSUM..][..2].copy_from_slice(&sum.full().to_be_bytes());

        self.truncate(at + TCP_HEADER_LEN);
        self.overwrite(at, &header);
        self.set_offload(Offload::default());
        self.overwrite(2, &((at + TCP_HEADER_LEN) as u16).to_be_bytes());
        // No fragment, and of no datagram that came before.
        self.overwrite(4, &[0, 0, 0x40, 0]);
        self.overwrite(ipv4::field::TTL, &[TTL]);
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src, tuple.dst) else { return false };
        self.overwrite(ipv4::field::SRC, &src.octets());
        self.overwrite(ipv4::field::DST, &dst.octets());
        self.overwrite(ipv4::field::CHECKSUM, &[0, 0]);
        let checksum = Sum::of(&self.bytes()[..at]).full();
        self.overwrite(ipv4::field::CHECKSUM, &checksum.to_be_bytes());
        self.set_tuple(tuple);
        true
    }
}

//! UDP datagrams of one flow, joined into a super-packet that the receiving kernel cuts again.
//!
//! One idea: a [`Frame`] that qualifies differs from the one before only in its payload, so joining is a comparison of
//! headers and one copy. What the kernel would not restore is not joined: fragments, options, checksums that a guest
//! has completed, IPv4 identifications that matter (RFC 6864: those of packets that may be fragmented). The caller
//! decides whether joining pays.

use super::checksum::Sum;
use super::{Offload, Protocol, ipv4, ipv6, transport};

const UDP_LEN: usize = transport::UDP_HEADER_LEN;

/// IPv4's `don't fragment`, in the word of flags and offset.
const DONT_FRAGMENT: u16 = 0x4000;

/// A datagram that may travel in a [`Train`]: its offload header, then a packet that [`super::Packet::parse`] accepted.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    /// Length of the IP header.
    ip_len: usize,
}

/// Datagrams of one flow and one size; the last may be shorter.
#[derive(Debug)]
pub struct Train {
    /// The first frame as it was, then the payloads of the others.
    frame: Box<[u8]>,
    len: usize,
    ip_len: usize,
    /// Payload of each datagram but the last.
    segment: usize,
    packets: u32,
    /// The last datagram was shorter: no other may follow.
    closed: bool,
}

impl<'a> Frame<'a> {
    /// A frame that is a plain UDP datagram with a payload and a checksum still to be completed; None for any
    /// other.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (header, packet) = bytes.split_first_chunk::<{ Offload::LEN }>()?;
        let offload = Offload::decode(header);
        let ip_len = match packet.first()? {
            0x45 if packet.get(9) == Some(&Protocol::UDP.0) && be(packet, 6) & !DONT_FRAGMENT == 0 => ipv4::HEADER_LEN,
            0x60..=0x6f if packet.get(6) == Some(&Protocol::UDP.0) => ipv6::HEADER_LEN,
            _ => return None,
        };
        let plain = offload.flags & Offload::NEEDS_CSUM != 0
            && !offload.is_super_packet()
            && usize::from(offload.csum_start) == ip_len
            && usize::from(offload.csum_offset) == transport::field::UDP_CHECKSUM;
        let len = packet.len().checked_sub(ip_len + UDP_LEN)?;
        let exact = usize::from(be(packet, ip_len + transport::field::UDP_LENGTH)) == UDP_LEN + len;
        (plain && exact && len > 0).then_some(Self { bytes, ip_len })
    }

    fn packet(&self) -> &'a [u8] {
        &self.bytes[Offload::LEN..]
    }

    fn payload(&self) -> &'a [u8] {
        &self.packet()[self.ip_len + UDP_LEN..]
    }

    /// A hash that spreads flows: those of one machine differ in ports and the low bits of addresses.
    pub fn spread(&self) -> usize {
        let ports = u32::from_be_bytes(self.word(self.ip_len));
        let [src, dst] = [8, 4].map(|back| u32::from_be_bytes(self.word(self.ip_len - back)));
        // The golden ratio's fraction: consecutive numbers end far apart in the high bits.
        ((ports ^ src.rotate_left(8) ^ dst.rotate_left(20)).wrapping_mul(0x9e37_79b9) >> 16) as usize
    }

    fn word(&self, at: usize) -> [u8; 4] {
        let packet = self.packet();
        [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]
    }
}

impl Train {
    /// The kernel cuts a super-packet of UDP into no more (`UDP_MAX_SEGMENTS` before 6.10).
    const PACKETS: u32 = 64;

    pub fn new() -> Self {
        let frame = vec![0; Offload::LEN + usize::from(u16::MAX)].into_boxed_slice();
        Self { frame, len: 0, ip_len: 0, segment: 0, packets: 0, closed: false }
    }

    /// How many datagrams wait.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Starts a train with its first datagram.
    pub fn start(&mut self, first: Frame<'_>) {
        self.frame[..first.bytes.len()].copy_from_slice(first.bytes);
        self.len = first.bytes.len();
        self.ip_len = first.ip_len;
        self.segment = first.payload().len();
        self.packets = 1;
        self.closed = false;
    }

    /// Appends a datagram, if the kernel will cut it off again as it was.
    pub fn join(&mut self, next: Frame<'_>) -> bool {
        let payload = next.payload();
        let fits = payload.len() <= self.segment && self.len + payload.len() <= self.frame.len();
        if self.packets == 0 || self.packets == Self::PACKETS || self.closed || !fits || !self.continues(next) {
            return false;
        }
        self.frame[self.len..self.len + payload.len()].copy_from_slice(payload);
        self.len += payload.len();
        self.packets += 1;
        self.closed = payload.len() < self.segment;
        true
    }

    /// Whether a frame has the flow and the headers of those that wait.
    fn continues(&self, next: Frame<'_>) -> bool {
        let (ours, theirs) = (&self.frame[Offload::LEN..], next.packet());
        let same = |from: usize, to: usize| ours[from..to] == theirs[from..to];
        if self.ip_len != next.ip_len || !same(self.ip_len, self.ip_len + 4) {
            return false;
        }
        if self.ip_len == ipv6::HEADER_LEN {
            return same(0, 4) && same(6, ipv6::HEADER_LEN);
        }
        let numbered = be(theirs, 4) == be(ours, 4).wrapping_add(self.packets as u16);
        same(0, 2) && same(6, 10) && same(12, ipv4::HEADER_LEN) && (be(ours, 6) == DONT_FRAGMENT || numbered)
    }

    /// The frame to write: a lone datagram as it came, several as one super-packet. Ends the train.
    pub fn finish(&mut self) -> &[u8] {
        if self.packets > 1 {
            self.couple();
        }
        self.packets = 0;
        &self.frame[..self.len]
    }

    fn couple(&mut self) {
        let (header, packet) = self.frame[..self.len].split_at_mut(Offload::LEN);
        let offload = Offload {
            flags: Offload::NEEDS_CSUM,
            gso_type: Offload::GSO_UDP_L4,
            hdr_len: (self.ip_len + UDP_LEN) as u16,
            gso_size: self.segment as u16,
            csum_start: self.ip_len as u16,
            csum_offset: transport::field::UDP_CHECKSUM as u16,
        };
        header.copy_from_slice(&offload.encode());
        let len_at = self.ip_len + transport::field::UDP_LENGTH;
        let sum_at = self.ip_len + transport::field::UDP_CHECKSUM;
        let udp_len = (packet.len() - self.ip_len) as u16;
        let change = Sum::change(Sum::of_word(be(packet, len_at)), Sum::of_word(udp_len));
        let partial = Sum::from_partial(be(packet, sum_at)).plus(change).partial();
        put(packet, len_at, udp_len);
        put(packet, sum_at, partial);
        if self.ip_len == ipv6::HEADER_LEN {
            put(packet, 4, udp_len);
        } else {
            put(packet, 2, packet.len() as u16);
            put(packet, 10, 0);
            let sum = Sum::of(&packet[..ipv4::HEADER_LEN]).full();
            put(packet, 10, sum);
        }
    }
}

impl Default for Train {
    fn default() -> Self {
        Self::new()
    }
}

/// The field at `at`, zero beyond the end.
fn be(bytes: &[u8], at: usize) -> u16 {
    super::be16(bytes, at).unwrap_or(0)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    use super::super::{Packet, build};
    use super::*;

    /// A frame as a guest's kernel hands it over: the checksum is the pseudo-header's sum.
    fn frame(src: &str, payload: &[u8]) -> Vec<u8> {
        let src: SocketAddr = src.parse().unwrap();
        let dst = SocketAddr::new(if src.is_ipv4() { "10.2.0.4" } else { "fd00::2" }.parse().unwrap(), 53);
        let mut packet = build::udp(src, dst, payload);
        let ip_len = if src.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        let sum = Sum::of_pseudo_header(src.ip(), dst.ip(), Protocol::UDP, packet.len() - ip_len);
        put(&mut packet, ip_len + 6, sum.partial());
        if src.is_ipv4() {
            put(&mut packet, 6, DONT_FRAGMENT);
            put(&mut packet, 10, 0);
            let sum = Sum::of(&packet[..ipv4::HEADER_LEN]).full();
            put(&mut packet, 10, sum);
        }
        let offload =
            Offload { flags: Offload::NEEDS_CSUM, csum_start: ip_len as u16, csum_offset: 6, ..Offload::default() };
        [&offload.encode(), &packet[..]].concat()
    }

    fn joined(frames: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut train = Train::new();
        train.start(Frame::new(&frames[0]).unwrap());
        frames[1..].iter().all(|next| train.join(Frame::new(next).unwrap())).then(|| train.finish().to_vec())
    }

    #[test]
    fn a_train_is_the_super_packet_the_guest_would_have_sent() {
        for src in ["10.1.0.4:1000", "[fd00::1]:1000"] {
            let mut whole = joined(&[frame(src, &[1; 64]), frame(src, &[2; 64]), frame(src, &[3; 10])]).unwrap();
            let (header, packet) = whole.split_first_chunk_mut::<{ Offload::LEN }>().unwrap();
            let offload = Offload::decode(header);
            let expected = frame(src, &[&[1; 64][..], &[2; 64], &[3; 10]].concat());
            assert_eq!(packet, &expected[Offload::LEN..], "one datagram, cut every 64 bytes");
            let packet = Packet::parse(packet, offload).unwrap();
            assert_eq!((packet.segments(), offload.gso_size, offload.gso_type), (3, 64, Offload::GSO_UDP_L4));
        }
    }

    #[test]
    fn a_lone_datagram_leaves_as_it_came() {
        let alone = frame("10.1.0.4:1000", b"alone");
        assert_eq!(joined(std::slice::from_ref(&alone)).unwrap(), alone);
    }

    #[test]
    fn nothing_follows_a_shorter_datagram_and_nothing_longer_joins() {
        let of = |len| frame("10.1.0.4:1000", &vec![0; len]);
        assert!(joined(&[of(64), of(63)]).is_some());
        assert!(joined(&[of(64), of(63), of(63)]).is_none());
        assert!(joined(&[of(64), of(65)]).is_none());
        assert!(joined(&vec![of(1); 64]).is_some());
        assert!(joined(&vec![of(1); 65]).is_none(), "the kernel's limit");
        assert!(joined(&vec![of(1472); 44]).is_some());
        assert!(joined(&vec![of(1472); 45]).is_none(), "IP's limit");
    }

    #[test]
    fn another_flow_or_header_does_not_join() {
        let first = frame("10.1.0.4:1000", &[0; 8]);
        assert!(joined(&[first.clone(), frame("10.1.0.4:1001", &[0; 8])]).is_none());
        assert!(joined(&[first.clone(), frame("10.1.0.5:1000", &[0; 8])]).is_none());
        assert!(joined(&[first.clone(), frame("[fd00::1]:1000", &[0; 8])]).is_none());
        for at in [1, 8] {
            let mut other = first.clone();
            assert!(joined(&[first.clone(), other.clone()]).is_some());
            other[Offload::LEN + at] ^= 1;
            assert!(joined(&[first.clone(), other]).is_none(), "differs at {at}");
        }
    }

    #[test]
    fn identifications_join_when_they_count_on_or_do_not_matter() {
        let numbered = |id: u16, flags: u16| {
            let mut bytes = frame("10.1.0.4:1000", &[0; 8]);
            put(&mut bytes, Offload::LEN + 4, id);
            put(&mut bytes, Offload::LEN + 6, flags);
            bytes
        };
        assert!(joined(&[numbered(0xffff, 0), numbered(0, 0), numbered(1, 0)]).is_some());
        assert!(joined(&[numbered(7, 0), numbered(7, 0)]).is_none());
        assert!(joined(&[numbered(7, DONT_FRAGMENT), numbered(7, DONT_FRAGMENT)]).is_some());
        assert!(Frame::new(&numbered(7, 0x2000)).is_none(), "a fragment");
    }

    #[test]
    fn what_the_kernel_would_not_restore_does_not_qualify() {
        let good = frame("10.1.0.4:1000", &[0; 8]);
        assert!(Frame::new(&good).is_some());
        assert!(Frame::new(&frame("10.1.0.4:1000", &[])).is_none(), "no payload");
        for (at, what) in [(0, "a complete checksum"), (1, "a super-packet"), (Offload::LEN, "options")] {
            let mut other = good.clone();
            other[at] ^= 3;
            assert!(Frame::new(&other).is_none(), "{what}");
        }
        for len in 0..good.len() {
            assert!(Frame::new(&good[..len]).is_none(), "cut to {len}");
        }
    }

    #[test]
    fn flows_that_differ_in_a_port_or_an_address_spread() {
        // The low bytes of source (of IPv4), destination, source port and destination port.
        for (src, low_bytes) in [("10.1.0.4:1000", &[15, 19, 21, 23][..]), ("[fd00::1]:1000", &[39, 41, 43][..])] {
            for &at in low_bytes {
                let place = |byte| {
                    let mut frame = frame(src, &[0; 8]);
                    frame[Offload::LEN + at] = byte;
                    Frame::new(&frame).unwrap().spread() % 64
                };
                let places: BTreeSet<_> = (1..=32).map(place).collect();
                assert!(places.len() > 1, "byte {at} of {src}: {places:?}");
            }
        }
    }
}

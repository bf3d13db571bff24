//! Bytes that no machine should send: parsing never panics, and what it accepts is sound enough to read, edit and parse
//! again.

use std::cell::Cell;
use std::net::IpAddr;

use etherparse::{PacketHeaders, TransportHeader};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vnet::wire::{Offload, Packet, ParseError, Protocol, Transport};

use crate::sample::sample;

/// SplitMix64: hundreds of mutations from one drawn seed, so that a failing case can be replayed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A byte, often a telling one.
    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 16] = [0, 1, 4, 6, 8, 17, 20, 43, 44, 45, 51, 58, 60, 0x45, 0x60, 0xff];
        let byte = self.next() as u8;
        if byte & 1 == 0 { TELLING[usize::from(byte >> 4)] } else { self.next() as u8 }
    }

    fn offload(&mut self, len: usize) -> Offload {
        if self.below(3) == 0 {
            return Offload::default();
        }
        let mut near = || self.below(len + 4) as u16;
        let (hdr_len, gso_size, csum_start, csum_offset) = (near(), near(), near(), near() % 20);
        let flags = [0, 1, 2, 3, 0xff][self.below(5)];
        let gso_type = [0, 0, 0, 1, 3, 4, 5, 0x81, 0x80, self.next() as u8][self.below(10)];
        Offload { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset }
    }

    /// Flips, overwrites, cuts, grows; mends the IPv4 header checksum most times, or little else would be reached.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            // The headers are where it matters.
            let reach = if self.below(4) == 0 { bytes.len() } else { bytes.len().min(64) };
            if reach == 0 {
                return;
            }
            let at = self.below(reach);
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 | 2 => bytes[at] = self.byte(),
                3 => bytes.truncate(at),
                4 => bytes.insert(at, self.byte()),
                _ => bytes.extend([0; 3]),
            }
        }
        if self.below(8) > 0 {
            mend_header_checksum(bytes);
        }
    }
}

fn mend_header_checksum(bytes: &mut [u8]) {
    let header_len = bytes.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4);
    if bytes.first().is_some_and(|byte| byte >> 4 == 4) && header_len >= 20 && bytes.len() >= header_len {
        bytes[10..12].fill(0);
        let mut sum: u32 =
            bytes[..header_len].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        bytes[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
    }
}

/// Reads everything, edits everything, and expects the outcome to be as acceptable as before. Whether it parsed.
fn exercise(bytes: &mut [u8], offload: Offload) -> bool {
    let before = bytes.to_vec();
    let Ok(mut packet) = Packet::parse(bytes, offload) else { return false };
    assert!(packet.len() <= before.len() && !packet.is_empty());
    assert_eq!(packet.bytes(), &before[..packet.len()]);
    assert!((20..=packet.len()).contains(&packet.largest_segment()));
    assert!((1..=packet.len() as u32).contains(&packet.segments()));
    assert_eq!(packet.is_ipv4(), packet.src().is_ipv4());
    let (_, _, _) = (packet.ttl(), packet.fragment(), packet.tuple().mirrored());
    agrees_with_etherparse(&packet);
    let address: IpAddr =
        if packet.is_ipv4() { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    packet.set_src(address);
    packet.set_dst(address);
    packet.set_src_port(0x1234);
    packet.set_dst_port(0xfedc);
    let (tuple, len) = (*packet.tuple(), packet.len());
    let again = Packet::parse(bytes, offload).expect("an edit leaves a packet acceptable");
    assert_eq!((*again.tuple(), again.len()), (tuple, len));
    true
}

/// Where both look: whole TCP and UDP. etherparse knows neither a UDP length of zero nor a total length of zero.
fn agrees_with_etherparse(packet: &Packet<'_>) {
    let Transport::Ports { src, dst, .. } = packet.transport() else { return };
    let Ok(headers) = PacketHeaders::from_ip_slice(packet.bytes()) else { return };
    let theirs = match headers.transport {
        Some(TransportHeader::Tcp(tcp)) => (Protocol::TCP, tcp.source_port, tcp.destination_port),
        Some(TransportHeader::Udp(udp)) => (Protocol::UDP, udp.source_port, udp.destination_port),
        // More extension headers of a kind than it holds, or a fragment: it stops before the transport.
        _ => return,
    };
    assert_eq!((packet.protocol(), src, dst), theirs);
}

/// Of 150,000 a good part gets past the parser: the rest of `exercise` is not idle.
#[test]
fn mutated_packets() {
    const CASES: u32 = 3000;
    const EACH: u32 = 50;
    let accepted = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let outcome = runner.run(&(sample(), any::<u64>()), |(sample, seed)| {
        let mut random = Random(seed);
        let valid = sample.bytes();
        for _ in 0..EACH {
            let mut bytes = valid.clone();
            random.mutate(&mut bytes);
            let offload = random.offload(bytes.len());
            accepted.set(accepted.get() + u32::from(exercise(&mut bytes, offload)));
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    assert!((CASES * EACH / 10..CASES * EACH).contains(&accepted.get()), "{} accepted", accepted.get());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), seed: u64) {
        let mut random = Random(seed);
        for version in [0x45, 0x60, bytes.first().copied().unwrap_or(0)] {
            let mut bytes = bytes.clone();
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            mend_header_checksum(&mut bytes);
            let offload = random.offload(bytes.len());
            exercise(&mut bytes, offload);
        }
    }

    #[test]
    fn every_truncation_is_malformed(sample in sample()) {
        let valid = sample.bytes();
        for len in 0..valid.len() {
            let mut cut = valid[..len].to_vec();
            let parsed = Packet::parse(&mut cut, Offload::default()).err();
            prop_assert_eq!(parsed, Some(ParseError::Malformed), "{} of {} bytes", len, valid.len());
        }
    }

    /// In the IPv4 header behind the version, and in what a TCP checksum covers.
    #[test]
    fn every_flipped_bit_is_found(sample in sample(), bit in 0..8u8) {
        let valid = sample.bytes();
        let header = if sample.src.is_ipv4() { 1..20 } else { 0..0 };
        let payload = if sample.tcp_checksum_is_verified() { sample.transport_at() + 20..valid.len() } else { 0..0 };
        for at in header.chain(payload) {
            let mut bytes = valid.clone();
            bytes[at] ^= 1 << bit;
            prop_assert!(Packet::parse(&mut bytes, Offload::default()).is_err(), "byte {}", at);
        }
    }
}

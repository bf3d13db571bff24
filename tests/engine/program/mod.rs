//! The kernel's program on hostile packets: what it carries is a packet of the flow that was decided, and stays as it is.
//!
//! One idea: the kernel runs the loaded program on bytes of our own (`BPF_PROG_TEST_RUN`), and its counters tell whether it
//! carried them. Then the parser of the pipeline must find that flow in them, and nothing for which packets go up.

use aya::maps::{Array, HashMap as BpfMap, MapData, RingBuf};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, include_bytes_aligned};
use vnet::dataplane::Pattern;
use vnet::sys::clock::monotonic_nanos;
use vnet::sys::flow_cache::{FlowCache, Mark, SLOTS};
use vnet::sys::flow_copies::FlowCopy;
use vnet::wire::{Offload, Packet};
use vnet::worker::{CaptureWatch, Carried};

mod headers;
mod openings;
mod translation;

use super::*;
use crate::hostile::Random;

/// Of the loopback device in a namespace of its own, from which the packets come.
const PORT: u32 = 1;
const EPOCH: u64 = 7;
const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
/// FIN, SYN, RST.
const TURNS: u8 = 7;
/// Where the program's value has its count of packets, and by which marks the flow waits.
const PACKETS: std::ops::Range<usize> = 24..32;
const SLOT: std::ops::Range<usize> = 68..70;
const MARK: std::ops::Range<usize> = 72..76;
const LAST_MARK: std::ops::Range<usize> = 76..80;
/// By which its copies are known, how long they may be, and how many found no room.
const COPIES: std::ops::Range<usize> = 80..84;
const MOST: std::ops::Range<usize> = 84..88;
const MISSED: std::ops::Range<usize> = 40..48;
/// The flow as its receiver sees it, what that adds to a checksum, and whether it does.
const RECEIVED: std::ops::Range<usize> = 88..124;
const SUMS: std::ops::Range<usize> = 124..132;
const TRANSLATED: usize = 132;
/// What TCP's sender has acknowledged.
const EXPECTS: std::ops::Range<usize> = 136..140;
/// What a guest writes, which could be taken for a mark.
const FORGED: [u8; 6] = [1, 0, 1, 0, 0, 0];

type Key = [u8; 44];
type Value = [u8; 144];

/// A program with one flow in its map.
struct Loaded {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    key: Key,
    value: Value,
}

impl Loaded {
    fn new(packet: &mut [u8]) -> Self {
        let mut ebpf = Ebpf::load(include_bytes_aligned!("../../../bpf/flow_cache.bpf.o")).unwrap();
        let mut epoch: Array<_, u64> = ebpf.map_mut("EPOCH").unwrap().try_into().unwrap();
        epoch.set(0, EPOCH, 0).unwrap();
        let mut twins: BpfMap<_, u32, u32> = ebpf.map_mut("TWINS").unwrap().try_into().unwrap();
        twins.insert(PORT, PORT, 0).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("carry").unwrap().try_into().unwrap();
        program.load().unwrap();
        let ring = RingBuf::try_from(ebpf.take_map("COPIES").unwrap()).unwrap();
        let packet = Packet::parse(packet, Offload::default()).unwrap();
        Self { ebpf, ring, key: key(&packet), value: value(&packet) }
    }

    /// Whether the program carries a frame to a device of this MTU; then it comes back as it leaves.
    fn carries(&mut self, frame: &mut [u8], gso_size: u16, mtu: u16) -> bool {
        self.value[52..54].copy_from_slice(&mtu.to_ne_bytes());
        self.put();
        self.run(frame, gso_size);
        self.flow()[PACKETS] != [0; 8]
    }

    fn put(&mut self) {
        let (key, value) = (self.key, self.value);
        self.flows().insert(key, value, 0).unwrap();
    }

    /// Runs the program on a frame, which comes back as it leaves.
    fn run(&mut self, frame: &mut [u8], gso_size: u16) {
        let mut context = [0; 192];
        context[40..44].copy_from_slice(&PORT.to_ne_bytes());
        context[176..180].copy_from_slice(&u32::from(gso_size).to_ne_bytes());
        let given = frame.to_vec();
        let program: &SchedClassifier = self.ebpf.program("carry").unwrap().try_into().unwrap();
        let mut options = TestRunOptions::new();
        (options.data_in, options.data_out, options.ctx_in) = (Some(&given[..]), Some(frame), Some(&context[..]));
        program.test_run(options).unwrap();
    }

    fn flow(&mut self) -> Value {
        let key = self.key;
        self.flows().get(&key, 0).unwrap()
    }

    /// Reports that a marked packet went on its way.
    fn pass(&mut self, mark: Mark) {
        let mut passed: Array<_, u64> = self.ebpf.map_mut("PASSED").unwrap().try_into().unwrap();
        passed.set(mark.slot.into(), u64::from(mark.number), 0).unwrap();
    }

    /// The copies that have been made since the last call, and of which flows.
    fn copies(&mut self) -> Vec<(u32, usize, Vec<u8>)> {
        let mut copies = Vec::new();
        while let Some(item) = self.ring.next() {
            let copy = FlowCopy::decode(&item).unwrap();
            assert!(monotonic_nanos() - copy.at < 60_000_000_000);
            copies.push((copy.flow, copy.len, copy.frame.to_vec()));
        }
        copies
    }

    fn flows(&mut self) -> BpfMap<&mut MapData, Key, Value> {
        self.ebpf.map_mut("FLOWS").unwrap().try_into().unwrap()
    }
}

fn key(packet: &Packet<'_>) -> Key {
    let tuple = packet.tuple();
    let mut key = [0; 44];
    key[..4].copy_from_slice(&PORT.to_ne_bytes());
    key[4] = if tuple.src.is_ipv4() { 4 } else { 6 };
    key[5] = tuple.protocol.0;
    key[6..8].copy_from_slice(&tuple.src_port.to_be_bytes());
    key[8..10].copy_from_slice(&tuple.dst_port.to_be_bytes());
    for (at, address) in [(12, tuple.src), (28, tuple.dst)] {
        match address {
            IpAddr::V4(address) => key[at..at + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => key[at..at + 16].copy_from_slice(&address.octets()),
        }
    }
    key
}

fn value(packet: &Packet<'_>) -> Value {
    let mut value = [0; 144];
    for (at, number) in [(0, EPOCH), (8, 3_600_000_000_000), (16, monotonic_nanos())] {
        value[at..at + 8].copy_from_slice(&number.to_ne_bytes());
    }
    value[48..52].copy_from_slice(&PORT.to_ne_bytes());
    value[54] = packet.ttl();
    value[56..68].copy_from_slice(&ETHERNET);
    value
}

/// What a guest's kernel leaves to its device: the checksum, and with a size the cut into segments.
fn left_undone(bytes: &[u8], gso_size: u16) -> Offload {
    let v6 = bytes[0] >> 4 == 6;
    let (csum_start, protocol) = if v6 { (40, bytes[6]) } else { (20, bytes[9]) };
    let csum_offset = if protocol == 6 { 16 } else { 6 };
    let gso_type = match (gso_size, v6) {
        (0, _) => Offload::GSO_NONE,
        (_, false) => Offload::GSO_TCPV4,
        (_, true) => Offload::GSO_TCPV6,
    };
    Offload { flags: Offload::NEEDS_CSUM, csum_start, csum_offset, gso_type, gso_size, ..Offload::default() }
}

/// Sets the checksum to the sum of the pseudo-header, as a kernel does that leaves the rest to its device.
fn leave_checksum(bytes: &mut [u8], offload: &Offload) {
    let at = usize::from(offload.csum_start);
    let (addresses, protocol) = if bytes[0] >> 4 == 6 { (8..40, bytes[6]) } else { (12..20, bytes[9]) };
    let words = bytes[addresses].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + (bytes.len() - at) as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let field = at + usize::from(offload.csum_offset);
    bytes[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
}

/// A program that knows the flow of a datagram with this many bytes, and what a kernel has left undone of it.
fn with_datagram(len: usize) -> (Loaded, Vec<u8>, Offload) {
    let (src, dst) = ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
    let mut datagram = build::udp(src, dst, &vec![7; len]);
    let loaded = Loaded::new(&mut datagram);
    let offload = left_undone(&datagram, 0);
    leave_checksum(&mut datagram, &offload);
    (loaded, datagram, offload)
}

/// One to three changes: bytes, a cut, more bytes.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(5) {
            // The kernel takes no less for a run of this kind.
            0 => bytes.truncate(at.max(40)),
            1 => bytes.extend_from_slice(&[0; 8]),
            2 => bytes[at] ^= 1 << random.below(8),
            // Headers are few of the bytes.
            3 => bytes[at % 48] ^= 1 << random.below(8),
            _ => bytes[at] = random.below(256) as u8,
        }
    }
}

/// In a namespace of its own, from whose loopback device packets come.
fn inside(test: impl FnOnce() + Send) {
    match Netns::create() {
        Ok(namespace) => namespace.run(test).unwrap(),
        Err(error) if std::env::var_os("CI").is_none() => eprintln!("skipped: no namespaces here: {error}"),
        Err(error) => panic!("not permitted: {error}"),
    }
}

/// Whether a frame went up of a flow that does not wait: without a mark, or with a segment's.
fn went_up(frame: &[u8]) -> bool {
    let to = *frame.first_chunk().unwrap();
    to == [0; 6] || Mark::of(to).is_some_and(|mark| usize::from(mark.slot) >= SLOTS)
}

/// Whether it says that it has ended an entry.
fn has_ended(frame: &[u8]) -> bool {
    Mark::of(*frame.first_chunk().unwrap()).is_some_and(Mark::has_ended)
}

/// No packet is carried while one of its flow that went up has not been sent on; one that always fills its queue waits for
/// so many packets and no more.
#[test]
fn a_flow_waits_for_its_packets_that_went_up() {
    inside(|| {
        let (mut loaded, datagram, _) = with_datagram(100);
        let sent = |loaded: &mut Loaded| {
            let mut frame = [&FORGED[..], &[0; 6], &[8, 0], &datagram].concat();
            loaded.run(&mut frame, 0);
            let destination: [u8; 6] = *frame.first_chunk().unwrap();
            if destination == ETHERNET[..6] { Err("carried") } else { Ok(Mark::of(destination)) }
        };
        let marked = |number| Ok(Some(Mark { slot: 5, number }));
        let (first, last) = (u32::MAX - 1, 4u32);
        loaded.value[52..54].copy_from_slice(&1500u16.to_ne_bytes());
        loaded.value[SLOT].copy_from_slice(&5u16.to_ne_bytes());
        loaded.value[MARK].copy_from_slice(&first.to_ne_bytes());
        loaded.value[LAST_MARK].copy_from_slice(&last.to_ne_bytes());
        loaded.pass(Mark { slot: 5, number: first - 1 });
        loaded.put();
        assert_eq!(sent(&mut loaded), marked(u32::MAX));
        assert_eq!(sent(&mut loaded), marked(0), "numbers begin anew");
        loaded.pass(Mark { slot: 5, number: u32::MAX });
        assert_eq!(sent(&mut loaded), marked(1), "one is still on its way");
        loaded.pass(Mark { slot: 6, number: 1 });
        assert_eq!(sent(&mut loaded), marked(2), "another flow's");
        loaded.pass(Mark { slot: 5, number: 2 });
        assert_eq!(sent(&mut loaded), Err("carried"));
        loaded.pass(Mark { slot: 5, number: 0 });
        assert_eq!(sent(&mut loaded), Err("carried"), "it waits once");
        assert_eq!(loaded.flow()[SLOT], [0; 2], "its slot is free");
        // No packet is reported from here on.
        loaded.pass(Mark { slot: 5, number: first - 1 });
        loaded.put();
        for number in [u32::MAX, 0, 1, 2, 3, 4] {
            assert_eq!(sent(&mut loaded), marked(number));
        }
        assert_eq!(sent(&mut loaded), Err("carried"));
    });
}

/// A copy of each size is whole, or as long as it may be.
#[test]
fn copies_have_room_for_packets_of_every_size() {
    inside(|| {
        for len in [0, 1, 99, 100, 101, 1472, 1473, 1508, 1509, 3000] {
            let (mut loaded, datagram, offload) = with_datagram(len);
            loaded.value[COPIES].copy_from_slice(&1u32.to_ne_bytes());
            loaded.value[MOST].copy_from_slice(&u32::MAX.to_ne_bytes());
            let mut frame = [&FORGED[..], &[0; 6], &[8, 0], &datagram].concat();
            assert!(loaded.carries(&mut frame, 0, 9000));
            assert_eq!(loaded.copies(), [(1, datagram.len(), [&offload.encode()[..], &datagram].concat())]);
        }
    });
}

/// A copy that finds no room is counted, at its flow and for all; the packet is carried.
#[test]
fn copies_without_room_are_counted() {
    inside(|| {
        let (mut loaded, datagram, _) = with_datagram(1400);
        loaded.value[52..54].copy_from_slice(&1500u16.to_ne_bytes());
        loaded.value[COPIES].copy_from_slice(&1u32.to_ne_bytes());
        loaded.value[MOST].copy_from_slice(&1000u32.to_ne_bytes());
        loaded.put();
        let number = |bytes: &[u8]| u64::from_ne_bytes(*bytes.first_chunk().unwrap());
        let mut sent = 0;
        while number(&loaded.flow()[MISSED]) < 5 {
            loaded.run(&mut [&FORGED[..], &[0; 6], &[8, 0], &datagram].concat(), 0);
            sent += 1;
        }
        let missed: Array<_, u64> = loaded.ebpf.map("MISSED").unwrap().try_into().unwrap();
        assert_eq!(missed.get(&0, 0).unwrap(), 5);
        assert_eq!(number(&loaded.flow()[PACKETS]), sent);
        assert_eq!(loaded.copies().len() as u64, sent - 5);
    });
}

/// From then on the program copies nothing.
#[test]
fn a_capture_that_ends_ends_all_entries() {
    inside(|| {
        let cache = Arc::new(FlowCache::load().unwrap());
        let (flows, taps) = (Arc::new(Flows::new(FlowLimits::default())), Arc::default());
        let (snapshot, events) = (Arc::new(ArcSwap::from_pointee(Snapshot::default())), FlowEvents::default());
        let shared = (Arc::clone(&snapshot), Arc::clone(&flows), Arc::clone(&taps));
        let carried = Carried::start(Arc::clone(&cache), shared.0, shared.1, shared.2, events.clone()).unwrap();
        let tables = Tables { snapshot, flows, taps, events, carried: Some(Arc::new(carried)) };
        let capture = CaptureWatch::new(&tables, Pattern::All(Vec::new()), 100);
        let before = cache.epoch();
        drop(capture);
        assert!(cache.epoch() > before);
    });
}

/// Of both headers.
fn headers(bytes: &[u8]) -> u16 {
    let ip = if bytes[0] >> 4 == 6 { 40 } else { 20 };
    (ip + usize::from(bytes[ip + 12] >> 4) * 4) as u16
}

#[test]
fn what_the_program_carries_is_the_flow_that_was_decided() {
    const ROUNDS: usize = 50_000;
    inside(|| {
        for ends in ["10.0.0.1:1000 10.0.0.2:53", "[fd00::1]:1000 [fd00::2]:53"] {
            try_all(ends, ROUNDS);
        }
    });
}

fn try_all(ends: &str, rounds: usize) {
    let (src, dst) = ends.split_once(' ').unwrap();
    let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut random = Random(0x5eed_0001);
    for mut whole in [build::udp(src, dst, &[7; 100]), build::tcp(src, dst, 0x10, &[7; 100])] {
        let mut loaded = Loaded::new(&mut whole);
        let offload = left_undone(&whole, 0);
        leave_checksum(&mut whole, &offload);
        let (mut carried, mut up) = (0, 0);
        loaded.value[COPIES].copy_from_slice(&9u32.to_ne_bytes());
        for round in 0..rounds {
            let mut bytes = whole.clone();
            let is_tcp = bytes[if bytes[0] >> 4 == 6 { 6 } else { 9 }] == 6;
            let gso_size = if is_tcp && round % 4 == 3 { 1 + random.below(120) as u16 } else { 0 };
            if round > 0 {
                mutate(&mut bytes, &mut random);
            }
            let kind: [u8; 2] = if bytes[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
            let mut frame = [&FORGED[..], &[0; 6], &kind, &bytes].concat();
            // About as long as the packets are, or far longer.
            let mtu = if round % 3 == 2 { 60 + random.below(120) as u16 } else { 1500 };
            let most = if round % 5 == 4 { 1 + random.below(200) as u32 } else { u32::MAX };
            loaded.value[MOST].copy_from_slice(&most.to_ne_bytes());
            if !loaded.carries(&mut frame, gso_size, mtu) {
                up += 1;
                assert_eq!(loaded.copies(), []);
                assert!(went_up(&frame), "{frame:02x?}");
                continue;
            }
            carried += 1;
            assert_eq!((&frame[..12], &frame[14..]), (&ETHERNET[..], &bytes[..]), "it stays as it is");
            let offload = left_undone(&bytes, gso_size);
            let hdr_len = if gso_size == 0 { 0 } else { headers(&bytes) };
            let header = Offload { hdr_len, ..offload }.encode();
            let kept = &bytes[..bytes.len().min(most as usize)];
            assert_eq!(loaded.copies(), [(9, bytes.len(), [&header, kept].concat())], "{frame:02x?}");
            let packet = Packet::parse(&mut bytes, offload).unwrap_or_else(|error| panic!("{error:?}: {frame:02x?}"));
            assert_eq!(key(&packet), loaded.key, "{frame:02x?}");
            assert_eq!((packet.ttl(), packet.fragment()), (loaded.value[54], None), "{frame:02x?}");
            assert_eq!(packet.tcp_flags().unwrap_or(0) & TURNS, 0, "{frame:02x?}");
            assert!(packet.len() + 14 == frame.len() && packet.largest_segment() <= mtu.into(), "{frame:02x?}");
        }
        assert!(carried > rounds / 20 && up > rounds / 20, "{carried} carried, {up} up");
    }
}

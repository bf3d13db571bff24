//! Captures: packets with their bytes, as they came and as they left.
//!
//! One idea: workers fill one half of a buffer, and a reader takes it whole and leaves an empty one. The lock between
//! them is held for one copy or one exchange. A full half takes nothing more until it is taken: what comes then is
//! counted, by the port that it came from. No worker waits for the reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::carried::Carried;
use super::counters::MAX_PORTS;
use super::forwarder::Tables;
use super::trace::{Taps, Traced};
use crate::dataplane::{Pattern, PortId, Timestamp};
use crate::sys::clock::monotonic_nanos;
use crate::wire::Offload;

/// Packets that one half holds: at 100,000 a second those of a sixth of a second.
const PACKETS: usize = 16_384;
/// And their bytes.
const BYTES: usize = 24 << 20;
/// What the pipeline may change of a packet is at its beginning.
const HEAD: usize = 192;

/// Decisions among which a packet's is looked for: as many flows can be interleaved without one copy each.
const NEAR: usize = 4;

/// A packet's beginning as it was read: its offload header and the first bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    bytes: [u8; HEAD],
    len: usize,
}

impl Head {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; HEAD], len: 0 }
    }

    pub(super) fn keep(&mut self, frame: &[u8]) {
        self.len = frame.len().min(HEAD);
        self.bytes[..self.len].copy_from_slice(&frame[..self.len]);
    }
}

/// A packet that a capture may want: its leg, its beginning as it came, and all as it left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offered<'a> {
    pub(super) traced: &'a Traced,
    pub(super) head: &'a Head,
    pub(super) frame: &'a [u8],
    /// Bytes of the whole packet, of which the frame may have fewer.
    pub(super) len: usize,
}

impl<'a> Offered<'a> {
    pub(super) const fn whole(traced: &'a Traced, head: &'a Head, frame: &'a [u8]) -> Self {
        Self { traced, head, frame, len: frame.len().saturating_sub(Offload::LEN) }
    }
}

/// Packets and their bytes.
#[derive(Debug, Default)]
pub struct Packets {
    records: Vec<Record>,
    /// Each is kept once for packets between the same addresses with the same steps.
    decisions: Vec<Traced>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Record {
    at: Timestamp,
    decision: usize,
    place: Place,
}

/// Where a packet's bytes are: its beginning as it came, then all as it left.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    head: usize,
    end: usize,
    /// Of the whole packet.
    len: usize,
}

/// One captured packet.
#[derive(Debug)]
pub struct Captured<'a> {
    pub at: Timestamp,
    /// Its place in [`Packets::decisions`].
    pub decision: usize,
    /// Bytes of the whole packet, of which fewer may be kept.
    pub len: usize,
    head: &'a [u8],
    left: &'a [u8],
}

impl<'a> Captured<'a> {
    /// What the kernel left undone, and the packet as its sender wrote it, in two pieces.
    pub fn as_sent(&self) -> (Offload, [&'a [u8]; 2]) {
        // The kernel carries packets as they are.
        if self.head.is_empty() {
            return self.as_left();
        }
        Self::split([self.head, self.left.get(self.head.len()..).unwrap_or_default()])
    }

    /// The same as the router wrote it.
    pub fn as_left(&self) -> (Offload, [&'a [u8]; 2]) {
        Self::split([self.left, &[]])
    }

    fn split([frame, rest]: [&'a [u8]; 2]) -> (Offload, [&'a [u8]; 2]) {
        match frame.split_first_chunk::<{ Offload::LEN }>() {
            Some((header, bytes)) => (Offload::decode(header), [bytes, rest]),
            None => (Offload::default(), [frame, rest]),
        }
    }
}

impl Packets {
    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Captured<'_>> {
        self.records.iter().map(|Record { at, decision, place }| Captured {
            at: *at,
            decision: *decision,
            len: place.len,
            head: &self.bytes[place.start..place.head],
            left: &self.bytes[place.head..place.end],
        })
    }

    /// What was decided on the packets.
    pub fn decisions(&self) -> &[Traced] {
        &self.decisions
    }

    fn put(&mut self, Offered { traced, head, frame, len }: Offered<'_>, snap: usize) -> bool {
        let kept = &frame[..frame.len().min(snap.saturating_add(Offload::LEN))];
        if self.records.len() == PACKETS || self.bytes.len() + head.len + kept.len() > BYTES {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&head.bytes[..head.len]);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(kept);
        let place = Place { start, head: middle, end: self.bytes.len(), len };
        let decision = self.decision(traced);
        self.records.push(Record { at: traced.at, decision, place });
        true
    }

    fn decision(&mut self, traced: &Traced) -> usize {
        let mut lately = self.decisions.iter().enumerate().rev().take(NEAR);
        if let Some((at, _)) = lately.find(|(_, known)| known.is_decided_as(traced)) {
            return at;
        }
        self.decisions.push(traced.clone());
        self.decisions.len() - 1
    }
}

/// What workers know of one capture.
#[derive(Debug)]
pub(super) struct Capture {
    pattern: Pattern,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    snap: usize,
    /// Packets from before are none of it.
    begun: Timestamp,
    filling: Mutex<Packets>,
    /// By port.
    missed: Box<[AtomicU64]>,
}

impl Shared {
    fn filling(&self) -> MutexGuard<'_, Packets> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    pub(super) const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Bytes to keep of a packet.
    pub(super) fn snap(&self) -> usize {
        self.shared.snap
    }

    pub(super) fn wants(&self, traced: &Traced) -> bool {
        traced.at >= self.shared.begun && self.pattern.matches(traced.ingress, &traced.leg)
    }

    /// Counts packets from a port that found no room.
    pub(super) fn miss(&self, port: PortId, packets: u64) {
        if let Some(missed) = self.shared.missed.get(port.0 as usize) {
            missed.fetch_add(packets, Ordering::Relaxed);
        }
    }

    /// Takes those that match.
    pub(super) fn offer<'a>(&self, packets: impl Iterator<Item = Offered<'a>>) {
        let mut filling = None;
        for packet in packets.filter(|packet| self.wants(packet.traced)) {
            if !filling.get_or_insert_with(|| self.shared.filling()).put(packet, self.snap()) {
                self.miss(packet.traced.ingress, 1);
            }
        }
    }
}

/// The reader's end, which ends the capture when this is dropped.
#[derive(Debug)]
pub struct CaptureWatch {
    taps: Arc<ArcSwap<Taps>>,
    carried: Option<Arc<Carried>>,
    capture: Arc<Capture>,
    taken: Packets,
}

impl CaptureWatch {
    /// Captures from now on what matches, with so many bytes of each packet at most.
    pub fn new(tables: &Tables, pattern: Pattern, snap: usize) -> Self {
        let (taps, carried) = (Arc::clone(&tables.taps), tables.carried.clone());
        let begun = Timestamp(monotonic_nanos());
        let missed = (0..MAX_PORTS).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { snap, begun, filling: Mutex::default(), missed });
        let capture = Arc::new(Capture { pattern, shared });
        taps.rcu(|now| now.with_capture(&capture));
        Self { taps, carried, capture, taken: Packets::default() }
    }

    /// Replaces the pattern, when names have got other numbers. False if it is the same.
    pub fn change(&mut self, pattern: Pattern) -> bool {
        if self.capture.pattern == pattern {
            return false;
        }
        let capture = Arc::new(Capture { pattern, shared: Arc::clone(&self.capture.shared) });
        self.taps.rcu(|now| now.without_capture(&self.capture).with_capture(&capture));
        self.capture = capture;
        true
    }

    /// The packets that have come since the last call, in the order in which they came.
    pub fn take(&mut self) -> &Packets {
        if let Some(carried) = &self.carried {
            carried.collect();
        }
        self.taken.records.clear();
        self.taken.decisions.clear();
        self.taken.bytes.clear();
        std::mem::swap(&mut self.taken, &mut *self.capture.shared.filling());
        // Copies come together, behind what workers have read meanwhile.
        self.taken.records.sort_by_key(|record| record.at);
        &self.taken
    }

    /// How many packets from a port found no room, in all.
    pub fn missed(&self, port: PortId) -> u64 {
        self.capture.shared.missed.get(port.0 as usize).map_or(0, |missed| missed.load(Ordering::Relaxed))
    }
}

impl Drop for CaptureWatch {
    fn drop(&mut self) {
        self.taps.rcu(|now| now.without_capture(&self.capture));
        if let Some(carried) = &self.carried {
            carried.invalidate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{FlowLimits, Flows, Recorder};
    use crate::worker::FlowEvents;

    fn traced(port: u32) -> Traced {
        Traced::new(Timestamp(0), 0, PortId(port), Recorder::new())
    }

    fn head(frame: &[u8]) -> Head {
        let mut head = Head::new();
        head.keep(frame);
        head
    }

    #[test]
    fn there_is_room_for_so_many_packets_and_so_many_bytes() {
        let traced = traced(0);
        let put = |packets: &mut Packets, head: &Head, frame: &[u8]| {
            packets.put(Offered::whole(&traced, head, frame), usize::MAX)
        };
        let mut many = Packets::default();
        assert!((0..PACKETS).all(|_| put(&mut many, &Head::new(), &[0; Offload::LEN])));
        assert!(!put(&mut many, &Head::new(), &[0; Offload::LEN]));
        assert_eq!((many.iter().count(), many.decisions().len()), (PACKETS, 1), "one decision for all");
        let quarter = vec![0; BYTES / 4];
        let mut large = Packets::default();
        assert!((0..3).all(|_| put(&mut large, &Head::new(), &quarter)));
        let head = head(&[7; 100]);
        assert!(!put(&mut large, &head, &quarter), "with its head it is too much");
        assert!(put(&mut large, &head, &quarter[100..]) && !put(&mut large, &Head::new(), &[0]));
        assert_eq!((large.iter().count(), large.bytes.len()), (4, BYTES));
    }

    /// Names get other numbers while a capture goes on.
    #[test]
    fn a_capture_with_another_pattern_keeps_what_it_has() {
        let tables = Tables {
            snapshot: Arc::default(),
            flows: Arc::new(Flows::new(FlowLimits::default())),
            taps: Arc::default(),
            events: FlowEvents::default(),
            carried: None,
        };
        let (everything, nothing) = (|| Pattern::All(Vec::new()), || Pattern::Any(Vec::new()));
        let mut watch = CaptureWatch::new(&tables, everything(), 64);
        let offer = |at, port| {
            let traced = Traced { at: Timestamp(at), ..traced(port) };
            let head = Head::new();
            tables.taps.load().offer(&std::iter::once(Offered::whole(&traced, &head, &[0; 40])));
        };
        offer(u64::MAX, 1);
        offer(u64::MAX - 1, 2);
        offer(0, 3);
        assert!(!watch.change(everything()), "it is the same");
        assert!(watch.change(nothing()));
        offer(u64::MAX, 4);
        assert!(watch.change(everything()));
        offer(u64::MAX - 2, 5);
        let ports = |packets: &Packets| -> Vec<_> {
            packets.iter().map(|packet| packets.decisions()[packet.decision].ingress.0).collect()
        };
        assert_eq!(ports(watch.take()), [5, 2, 1], "by their time, without that from before it began");
        assert_eq!(ports(watch.take()), [0; 0], "each is taken once");
        for _ in 0..=PACKETS {
            offer(u64::MAX, 6);
        }
        assert_eq!((watch.missed(PortId(6)), watch.missed(PortId(1))), (1, 0));
        assert_eq!((watch.take().iter().count(), watch.missed(PortId(6))), (PACKETS, 1));
        drop(watch);
        assert!(!tables.taps.load().capture());
    }

    /// As it came is its head with the rest as it left; the kernel's copies have no head.
    #[test]
    fn a_packet_is_kept_as_it_came_and_as_it_left() {
        let traced = traced(0);
        let offload = Offload { hdr_len: 7, ..Offload::default() };
        let (came, left) =
            ([&offload.encode()[..], &[1; 300]].concat(), [&Offload::default().encode()[..], &[2; 300]].concat());
        let mut packets = Packets::default();
        assert!(packets.put(Offered::whole(&traced, &head(&came), &left), 250));
        assert!(packets.put(Offered::whole(&traced, &Head::new(), &left), 1000));
        let all: Vec<_> = packets.iter().collect();
        let (header, [first, rest]) = all[0].as_sent();
        assert_eq!(
            (header.hdr_len, first, rest),
            (7, &[1; HEAD - Offload::LEN][..], &[2; 250 + Offload::LEN - HEAD][..])
        );
        let (header, [all_of_it, nothing]) = all[0].as_left();
        assert_eq!((header.hdr_len, all_of_it, nothing, all[0].len), (0, &[2; 250][..], &[][..], 300));
        assert_eq!(all[1].as_sent().1, [&[2; 300][..], &[]]);
    }

    /// Of the last few decisions each is kept once.
    #[test]
    fn decisions_of_interleaved_flows_are_kept_once() {
        let decided = |flows: u32| {
            let mut packets = Packets::default();
            for round in 0..3 * flows {
                assert!(packets.put(Offered::whole(&traced(round % flows), &Head::new(), &[]), 1));
            }
            let ports: Vec<_> = packets.iter().map(|packet| packets.decisions()[packet.decision].ingress.0).collect();
            assert_eq!(ports, (0..3 * flows).map(|round| round % flows).collect::<Vec<_>>());
            packets.decisions().len()
        };
        assert_eq!([1, 4, 5].map(decided), [1, 4, 15]);
    }
}

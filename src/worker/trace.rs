//! Traces of packets, with the decisions on each.
//!
//! One idea: a list of taps is published beside the tables, and a worker reads it once a batch. While it is empty,
//! tracing costs the packet path nothing more. While it is not, each leg that may match is recorded in a fixed space and
//! offered to each tap that matches, over a channel that never makes a worker wait: what does not fit is counted.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::TryIter;

use super::capture::{Capture, Offered};
use super::lossy::{LossyReceiver, LossySender, lossy};
use crate::dataplane::{Pattern, PortId, Recorder, Timestamp};
use crate::wire::Packet;

/// Records that wait for a tap's reader: about 100 KiB.
const WAITING: usize = 256;

/// A packet's leg.
#[derive(Clone, Debug)]
pub struct Traced {
    pub at: Timestamp,
    /// The generation of the tables that decided; the ids in the steps are theirs.
    pub generation: u64,
    pub ingress: PortId,
    pub leg: Recorder,
    /// From its read to its write, or to the decision to drop it.
    pub took: Duration,
}

impl Traced {
    /// How long it took is set once that is known.
    pub(super) const fn new(at: Timestamp, generation: u64, ingress: PortId, leg: Recorder) -> Self {
        Self { at, generation, ingress, leg, took: Duration::ZERO }
    }

    /// Whether the same was decided on another packet between these addresses.
    pub(super) fn is_decided_as(&self, other: &Self) -> bool {
        let ends = |traced: &Self| traced.leg.packet().map(|packet| (packet.tuple.src, packet.tuple.dst));
        let steps = || self.leg.steps() == other.leg.steps();
        self.ingress == other.ingress && self.generation == other.generation && ends(self) == ends(other) && steps()
    }
}

/// All current taps.
#[derive(Clone, Debug, Default)]
pub struct Taps {
    traces: Vec<Arc<Tap>>,
    captures: Vec<Arc<Capture>>,
}

/// One tap: a pattern, and the channel for packets that match.
#[derive(Debug)]
struct Tap {
    pattern: Pattern,
    records: LossySender<Traced>,
}

/// What taps want of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    None,
    /// So many bytes of each; the packets may stay with the kernel.
    Copies(u32),
    Packets,
}

impl Interest {
    /// Bytes of each copy.
    pub(super) const fn copies(self) -> Option<u32> {
        match self {
            Self::Copies(most) => Some(most),
            Self::None | Self::Packets => None,
        }
    }
}

impl Tap {
    fn wants(&self, traced: &Traced) -> bool {
        self.pattern.matches(traced.ingress, &traced.leg)
    }
}

/// The receiving end of a tap, which ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    taps: Arc<ArcSwap<Taps>>,
    tap: Arc<Tap>,
    records: LossyReceiver<Traced>,
}

impl Taps {
    pub(super) fn is_empty(&self) -> bool {
        self.traces.is_empty() && self.captures.is_empty()
    }

    /// Whether packets' bytes are wanted.
    pub(super) fn capture(&self) -> bool {
        !self.captures.is_empty()
    }

    pub(super) fn with_capture(&self, capture: &Arc<Capture>) -> Self {
        Self { captures: self.captures.iter().chain([capture]).cloned().collect(), ..self.clone() }
    }

    pub(super) fn without_capture(&self, capture: &Arc<Capture>) -> Self {
        let others = self.captures.iter().filter(|other| !Arc::ptr_eq(other, capture));
        Self { captures: others.cloned().collect(), ..self.clone() }
    }

    fn with(&self, tap: &Arc<Tap>) -> Self {
        Self { traces: self.traces.iter().chain([tap]).cloned().collect(), ..self.clone() }
    }

    fn without(&self, tap: &Arc<Tap>) -> Self {
        let others = self.traces.iter().filter(|other| !Arc::ptr_eq(other, tap));
        Self { traces: others.cloned().collect(), ..self.clone() }
    }

    /// Whether a tap may want this packet, which is not decided yet.
    pub(super) fn may_match(&self, ingress: PortId, packet: &Packet<'_>) -> bool {
        let packet = packet.summary();
        self.patterns().any(|pattern| pattern.may_match(ingress, &packet))
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let captures = self.captures.iter().map(|capture| capture.pattern());
        self.traces.iter().map(|tap| &tap.pattern).chain(captures)
    }

    /// What taps want of the packets of a flow on which the same is decided.
    pub(super) fn interest(&self, traced: &Traced) -> Interest {
        if self.traces.iter().any(|tap| tap.wants(traced)) {
            return Interest::Packets;
        }
        let snaps = self.captures.iter().filter(|capture| capture.wants(traced)).map(|capture| capture.snap());
        snaps.max().map_or(Interest::None, |most| Interest::Copies(most.try_into().unwrap_or(u32::MAX)))
    }

    /// Offers a packet that the kernel has carried.
    pub(super) fn offer_copy(&self, packet: Offered<'_>) {
        self.captures.iter().for_each(|capture| capture.offer(std::iter::once(packet)));
    }

    /// Counts packets that the kernel has carried and that found no room.
    pub(super) fn miss(&self, traced: &Traced, packets: u64) {
        let wanting = self.captures.iter().filter(|capture| capture.wants(traced));
        wanting.for_each(|capture| capture.miss(traced.ingress, packets));
    }

    /// Whether a tap wants to know how long packets take: then none is held back.
    pub(super) fn time_packets(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Offers each packet to each tap that matches.
    pub(super) fn offer<'a>(&self, packets: &(impl Iterator<Item = Offered<'a>> + Clone)) {
        self.captures.iter().for_each(|capture| capture.offer(packets.clone()));
        for tap in &self.traces {
            let legs = packets.clone().map(|packet| packet.traced);
            legs.filter(|traced| tap.wants(traced)).for_each(|traced| tap.records.offer(traced.clone()));
        }
    }
}

impl Watch {
    /// Adds a tap: it gets packets from now on.
    pub fn new(taps: Arc<ArcSwap<Taps>>, pattern: Pattern) -> Self {
        let (sender, records) = lossy(WAITING);
        let tap = Arc::new(Tap { pattern, records: sender });
        taps.rcu(|now| now.with(&tap));
        Self { taps, tap, records }
    }

    /// Replaces the pattern, when names have got other numbers. False if it is the same.
    pub fn change(&mut self, pattern: Pattern) -> bool {
        if self.tap.pattern == pattern {
            return false;
        }
        let tap = Arc::new(Tap { pattern, records: self.tap.records.clone() });
        self.taps.rcu(|now| now.without(&self.tap).with(&tap));
        self.tap = tap;
        true
    }

    /// The packets that have arrived. Does not wait.
    pub fn records(&self) -> TryIter<'_, Traced> {
        self.records.drain()
    }

    /// How many matching packets found no room since the last call.
    pub fn missed(&mut self) -> u64 {
        self.records.missed()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.taps.rcu(|now| now.without(&self.tap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{FlowLimits, Flows, Snapshot};
    use crate::worker::{CaptureWatch, FlowEvents, Tables};

    #[test]
    fn a_flow_may_stay_with_the_kernel_unless_a_trace_wants_it() {
        let tables = Tables {
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            flows: Arc::new(Flows::new(FlowLimits::default())),
            taps: Arc::default(),
            events: FlowEvents::default(),
            carried: None,
        };
        let everything = || Pattern::All(Vec::new());
        let interest = |at| {
            let traced = Traced::new(Timestamp(at), 0, PortId(0), Recorder::new());
            tables.taps.load().interest(&traced)
        };
        assert_eq!(interest(u64::MAX), Interest::None);
        let _short = CaptureWatch::new(&tables, everything(), 100);
        let long = CaptureWatch::new(&tables, everything(), 2000);
        assert_eq!(interest(u64::MAX), Interest::Copies(2000));
        assert_eq!(interest(0), Interest::None, "from before");
        drop(long);
        assert_eq!(interest(u64::MAX), Interest::Copies(100));
        let mut trace = Watch::new(Arc::clone(&tables.taps), everything());
        assert_eq!(interest(u64::MAX), Interest::Packets);
        assert!(!trace.change(everything()), "that is what it wants already");
        assert!(trace.change(Pattern::Any(Vec::new())));
        assert_eq!(interest(u64::MAX), Interest::Copies(100), "it wants none of them now");
        assert!(trace.change(everything()) && interest(u64::MAX) == Interest::Packets);
        drop(trace);
        assert_eq!(interest(u64::MAX), Interest::Copies(100));
        assert!(!tables.taps.load().time_packets() && tables.taps.load().capture());
    }
}

//! Captured flows that the kernel carries: the decision on each, to which the kernel's copies bring the bytes.
//!
//! One idea: all packets of a flow that is handed over get the same decision, so it is kept once. The kernel's program
//! copies packets into memory that it shares with this process, and captures get them when one of their readers asks.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::capture::{Head, Offered};
use super::trace::{Taps, Traced};
use crate::dataplane::Timestamp;
use crate::sys::flow_cache::{Flow, FlowCache};

/// What captures want of the kernel.
#[derive(Debug)]
pub(super) struct Copies {
    cache: Arc<FlowCache>,
    taps: Arc<ArcSwap<Taps>>,
    decisions: Decisions,
    /// Of all flows, when copies were taken last.
    missed: u64,
}

/// The decisions, by the numbers of their flows.
#[derive(Debug, Default)]
struct Decisions {
    known: HashMap<u32, Traced, RandomState>,
    last: u32,
    /// Flows that are not carried any more, of which copies may wait.
    over: Vec<u32>,
}

impl Copies {
    pub(super) fn new(cache: Arc<FlowCache>, taps: Arc<ArcSwap<Taps>>) -> Self {
        Self { cache, taps, decisions: Decisions::default(), missed: 0 }
    }

    /// Asks for copies of a flow's packets, so many bytes of each. None if that is not possible.
    pub(super) fn want(&mut self, flow: Flow, traced: Traced, most: u32) -> Option<Flow> {
        self.cache.open_copies().ok()?;
        Some(Flow { copies: self.decisions.add(traced), most, ..flow })
    }

    /// Forgets a flow, once the copies that wait are taken. Zero is none.
    pub(super) fn end(&mut self, copies: u32) {
        if copies != 0 {
            self.decisions.over.push(copies);
        }
    }

    /// Offers the copies that wait to captures. True if some found no room since the last call.
    pub(super) fn collect(&mut self) -> bool {
        let Self { cache, taps, decisions, .. } = self;
        let (taps, head) = (taps.load(), Head::new());
        cache.take_copies(|copy| {
            let Some(traced) = decisions.known.get_mut(&copy.flow) else { return };
            traced.at = Timestamp(copy.at);
            taps.offer_copy(Offered { traced, head: &head, frame: copy.frame, len: copy.len });
        });
        decisions.sweep();
        if decisions.known.is_empty() {
            cache.close_copies();
        }
        let missed = cache.missed();
        std::mem::replace(&mut self.missed, missed) != missed
    }

    /// Counts packets of a flow whose copies found no room.
    pub(super) fn miss(&self, copies: u32, packets: u64) {
        if packets > 0
            && let Some(traced) = self.decisions.known.get(&copies)
        {
            self.taps.load().miss(traced, packets);
        }
    }

    /// How many flows there may be copies of.
    #[cfg(test)]
    pub(super) fn flows(&self) -> usize {
        self.decisions.known.len()
    }
}

impl Decisions {
    /// Returns a number that no other flow has.
    fn add(&mut self, traced: Traced) -> u32 {
        let next = |last: u32| last.wrapping_add(1).max(1);
        self.last = next(self.last);
        while self.known.contains_key(&self.last) {
            self.last = next(self.last);
        }
        self.known.insert(self.last, traced);
        self.last
    }

    /// Forgets flows that are over.
    fn sweep(&mut self) {
        for number in self.over.drain(..) {
            self.known.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{FlowLimits, Flows, Pattern, PortId, Recorder};
    use crate::worker::{CaptureWatch, FlowEvents, Tables};

    fn traced() -> Traced {
        Traced::new(Timestamp(u64::MAX), 0, PortId(3), Recorder::new())
    }

    #[test]
    fn no_two_flows_have_one_number_and_none_has_zero() {
        let mut decisions = Decisions { last: u32::MAX - 1, ..Decisions::default() };
        assert_eq!([(); 2].map(|()| decisions.add(traced())), [u32::MAX, 1]);
        decisions.last = u32::MAX - 1;
        assert_eq!(decisions.add(traced()), 2);
        decisions.over.extend([1, u32::MAX]);
        assert_eq!(decisions.known.len(), 3, "copies may wait");
        decisions.sweep();
        assert_eq!(decisions.known.keys().collect::<Vec<_>>(), [&2]);
        decisions.last = 0;
        assert_eq!(decisions.add(traced()), 1);
    }

    #[test]
    fn a_flow_is_known_until_the_copies_that_wait_are_taken() {
        let Some(cache) = FlowCache::permitted() else { return };
        let mut copies = Copies::new(cache, Arc::default());
        let wanted = [96, 128].map(|most| copies.want(Flow::default(), traced(), most));
        assert_eq!(wanted.map(|flow| flow.map(|flow| (flow.copies, flow.most))), [Some((1, 96)), Some((2, 128))]);
        for (ended, before, after) in [(0, 2, 2), (1, 2, 1), (9, 1, 1), (2, 1, 0)] {
            copies.end(ended);
            assert_eq!(copies.flows(), before, "copies of {ended} may wait");
            assert!(!copies.collect(), "nothing was missed");
            assert_eq!(copies.flows(), after, "{ended}");
        }
    }

    #[test]
    fn what_found_no_room_is_missed_by_the_captures_that_want_the_flow() {
        let Some(cache) = FlowCache::permitted() else { return };
        let (snapshot, flows) = (Arc::default(), Arc::new(Flows::new(FlowLimits::default())));
        let tables = Tables { snapshot, flows, taps: Arc::default(), events: FlowEvents::default(), carried: None };
        let mut copies = Copies::new(cache, Arc::clone(&tables.taps));
        let watch = CaptureWatch::new(&tables, Pattern::All(Vec::new()), 96);
        assert!(copies.want(Flow::default(), traced(), 96).is_some());
        for (flow, packets, missed) in [(1, 0, 0), (1, 5, 5), (2, 7, 5), (1, 1, 6)] {
            copies.miss(flow, packets);
            assert_eq!((watch.missed(PortId(3)), watch.missed(PortId(2))), (missed, 0), "{packets} of {flow}");
        }
    }
}

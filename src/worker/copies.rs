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

/// The decisions, by the numbers of their flows.
#[derive(Debug)]
pub(super) struct Copies {
    cache: Arc<FlowCache>,
    taps: Arc<ArcSwap<Taps>>,
    decided: HashMap<u32, Traced, RandomState>,
    last: u32,
    /// Flows that are not carried any more, of which copies may wait.
    over: Vec<u32>,
    /// Of all flows, when they were read last.
    missed: u64,
}

impl Copies {
    pub(super) fn new(cache: Arc<FlowCache>, taps: Arc<ArcSwap<Taps>>) -> Self {
        Self { cache, taps, decided: HashMap::default(), last: 0, over: Vec::new(), missed: 0 }
    }

    /// Asks for copies of a flow's packets, so many bytes of each.
    pub(super) fn want(&mut self, flow: Flow, traced: Traced, most: u32) -> Flow {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.decided.contains_key(&self.last) {
                break;
            }
        }
        self.decided.insert(self.last, traced);
        Flow { copies: self.last, most, ..flow }
    }

    /// Forgets a flow, once the copies that wait are taken.
    pub(super) fn end(&mut self, copies: u32) {
        if copies != 0 {
            self.over.push(copies);
        }
    }

    /// Offers the copies that wait to captures. True if some found no room since the last call.
    pub(super) fn collect(&mut self) -> bool {
        let Self { cache, taps, decided, over, .. } = self;
        let (taps, head) = (taps.load(), Head::new());
        cache.take_copies(|copy| {
            let Some(traced) = decided.get_mut(&copy.flow) else { return };
            traced.at = Timestamp(copy.at);
            taps.offer_copy(Offered { traced, head: &head, frame: copy.frame, len: copy.len });
        });
        for number in over.drain(..) {
            decided.remove(&number);
        }
        let missed = cache.missed();
        std::mem::replace(&mut self.missed, missed) != missed
    }

    /// Counts packets of a flow whose copies found no room.
    pub(super) fn miss(&self, copies: u32, packets: u64) {
        if packets > 0
            && let Some(traced) = self.decided.get(&copies)
        {
            self.taps.load().miss(traced, packets);
        }
    }
}

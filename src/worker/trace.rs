//! Traces of packets, with the decisions on each.
//!
//! One idea: a list of taps is published beside the tables, and a worker reads it once a batch. While it is empty,
//! tracing costs the packet path nothing more. While it is not, each leg is recorded in a fixed space and offered to
//! each tap that matches, over a channel that never makes a worker wait: what does not fit is counted.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_channel::TryIter;

use super::lossy::{LossyReceiver, LossySender, lossy};
use crate::dataplane::{DropReason, Observer, Pattern, PortId, Recorder, Step, Timestamp};

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
}

/// All current taps.
#[derive(Clone, Debug, Default)]
pub struct Taps(Vec<Arc<Tap>>);

/// One tap: a pattern, and the channel for packets that match.
#[derive(Debug)]
struct Tap {
    pattern: Pattern,
    records: LossySender<Traced>,
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
        self.0.is_empty()
    }

    /// Offers a copy to each tap that matches. `lost` is the reason why a packet that should be delivered was not.
    pub(super) fn offer(&self, mut traced: Traced, lost: Option<DropReason>) {
        if let Some(reason) = lost {
            traced.leg.step(Step::Dropped { reason });
        }
        for tap in self.0.iter().filter(|tap| tap.pattern.matches(traced.ingress, &traced.leg)) {
            tap.records.offer(traced.clone());
        }
    }
}

impl Watch {
    /// Adds a tap: it gets packets from now on.
    pub fn new(taps: Arc<ArcSwap<Taps>>, pattern: Pattern) -> Self {
        let (sender, records) = lossy(WAITING);
        let tap = Arc::new(Tap { pattern, records: sender });
        taps.rcu(|now| Taps(now.0.iter().chain([&tap]).cloned().collect()));
        Self { taps, tap, records }
    }

    /// Replaces the pattern, when names have got other numbers.
    pub fn change(&mut self, pattern: Pattern) {
        if self.tap.pattern == pattern {
            return;
        }
        let tap = Arc::new(Tap { pattern, records: self.tap.records.clone() });
        let others = |now: &Taps| now.0.iter().filter(|other| !Arc::ptr_eq(other, &self.tap)).cloned().collect();
        self.taps.rcu(|now| {
            let mut taps: Vec<_> = others(now);
            taps.push(Arc::clone(&tap));
            Taps(taps)
        });
        self.tap = tap;
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
        self.taps.rcu(|now| Taps(now.0.iter().filter(|other| !Arc::ptr_eq(other, &self.tap)).cloned().collect()));
    }
}

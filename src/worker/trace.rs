//! Packets that somebody wants to see, with what was decided on each.
//!
//! One idea: a list of taps is published beside the tables, and a worker looks at it once a batch. While it is empty the
//! packet path is what it would be without this file. While it is not, each leg is recorded in a fixed space and offered to
//! each tap that wants it, over a channel that never makes a worker wait: what does not fit is counted.

use std::sync::Arc;
use std::sync::mpsc::TryIter;

use arc_swap::ArcSwap;

use super::lossy::{LossyReceiver, LossySender, lossy};
use crate::dataplane::{DropReason, Observer, Pattern, PortId, Recorder, Step, Timestamp};

/// Records that wait for a tap's owner: about 100 KiB.
const WAITING: usize = 256;

/// A packet's leg.
#[derive(Clone, Debug)]
pub struct Traced {
    pub at: Timestamp,
    /// Of the tables that decided, whose numbers the steps are.
    pub generation: u64,
    pub ingress: PortId,
    pub leg: Recorder,
}

/// Everybody who wants to see packets now.
#[derive(Clone, Debug, Default)]
pub struct Taps(Vec<Arc<Tap>>);

/// One who does.
#[derive(Debug)]
struct Tap {
    pattern: Pattern,
    records: LossySender<Traced>,
}

/// The other end of a tap, which ends with it.
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

    /// Gives a copy to each that wants it and has room. `lost` is why a packet that was to be delivered was not.
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
    /// Wants packets from now on.
    pub fn new(taps: Arc<ArcSwap<Taps>>, pattern: Pattern) -> Self {
        let (sender, records) = lossy(WAITING);
        let tap = Arc::new(Tap { pattern, records: sender });
        taps.rcu(|now| Taps(now.0.iter().chain([&tap]).cloned().collect()));
        Self { taps, tap, records }
    }

    /// Wants other packets: names have other numbers now.
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

    /// What has come. Does not wait.
    pub fn records(&self) -> TryIter<'_, Traced> {
        self.records.drain()
    }

    /// How many packets were wanted and found no room, since it was asked last.
    pub fn missed(&mut self) -> u64 {
        self.records.missed()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.taps.rcu(|now| Taps(now.0.iter().filter(|other| !Arc::ptr_eq(other, &self.tap)).cloned().collect()));
    }
}

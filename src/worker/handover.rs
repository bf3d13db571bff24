//! Which flows a worker offers to the kernel, and what it reports of their packets.
//!
//! One idea: a flow is offered with any packet; the program lets it wait until its packets that went up have been sent on.
//! These have marks, which the worker reports at the end of a batch, when it has sent all of it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::dataplane::{Snapshot, Timestamp};
use crate::sys::flow_cache::Mark;

use super::carried::{Carried, Offer};
use super::trace::Traced;

/// Flows that were offered lately, one a slot.
const SLOTS: usize = 1024;
/// Nanoseconds until a flow may be offered again.
const PAUSE: u64 = 10_000_000;

/// One worker's part in handing flows over.
#[derive(Debug)]
pub(super) struct Handover {
    carried: Arc<Carried>,
    /// Of this batch.
    marks: Vec<Mark>,
    lately: Box<[(u64, u64)]>,
    hasher: RandomState,
}

impl Handover {
    /// `batch` frames are read at most before [`Self::end_batch`].
    pub(super) fn new(carried: Arc<Carried>, batch: usize) -> Self {
        let lately = vec![(0, 0); SLOTS].into_boxed_slice();
        Self { carried, marks: Vec::with_capacity(batch), lately, hasher: RandomState::default() }
    }

    /// Read it before the tables.
    pub(super) fn epoch(&self) -> u64 {
        self.carried.epoch()
    }

    /// Offers a flow, unless that was done lately; with what was decided on its packets and how many bytes of each are
    /// wanted, if they are.
    pub(super) fn offer(&mut self, offer: &Offer, copies: Option<(&Traced, u32)>, snapshot: &Snapshot, now: Timestamp) {
        let flow = self.hasher.hash_one((offer.epoch, offer.from.index, offer.leg.tuple()));
        let slot = &mut self.lately[flow as usize % SLOTS];
        let lately = slot.0 == flow && now.0.saturating_sub(slot.1) < PAUSE;
        if offer.leg.turns() || !lately {
            *slot = (flow, now.0);
            self.carried.take(offer, copies, snapshot, now);
        }
    }

    /// Notes the mark of a packet of this batch.
    pub(super) fn note(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Reports the marks: all packets of the batch went on their way.
    pub(super) fn end_batch(&mut self) {
        self.marks.drain(..).for_each(|mark| self.carried.pass(mark));
    }
}

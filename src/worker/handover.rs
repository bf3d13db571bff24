//! Which flows a worker hands to the kernel, and when.
//!
//! One idea: a flow moves while none of its packets waits, so that none is overtaken: at the end of a batch that
//! emptied its port's queue, or after many that did not. A flow that was offered is not offered again for a while.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::dataplane::{Snapshot, Timestamp};

use super::carried::{Carried, Offer};

/// Flows that wait for the end of a batch; others are offered with a later packet.
const WAITING: usize = 64;
/// Batches of 64 that may leave packets in the queue while a flow waits: after these all is read that a queue of 2000 held.
/// More than that is a flood, which loses packets anyway.
const BATCHES: u32 = 32;
/// Flows that were offered lately, one a slot.
const SLOTS: usize = 1024;
/// Nanoseconds until a flow may be offered again.
const PAUSE: u64 = 10_000_000;

/// One worker's flows that wait to be handed over.
#[derive(Debug)]
pub(super) struct Handover {
    carried: Arc<Carried>,
    /// Each with the batches of its port that it has waited for.
    offers: Vec<(Offer, u32)>,
    lately: Box<[(u64, u64)]>,
    hasher: RandomState,
}

impl Handover {
    pub(super) fn new(carried: Arc<Carried>) -> Self {
        let lately = vec![(0, 0); SLOTS].into_boxed_slice();
        Self { carried, offers: Vec::with_capacity(WAITING), lately, hasher: RandomState::default() }
    }

    /// Read it before the tables.
    pub(super) fn epoch(&self) -> u64 {
        self.carried.epoch()
    }

    /// Notes a flow.
    pub(super) fn offer(&mut self, offer: Offer, now: Timestamp) {
        let mark = self.hasher.hash_one((offer.epoch, offer.from.index, offer.leg.tuple()));
        let slot = &mut self.lately[mark as usize % SLOTS];
        let lately = slot.0 == mark && now.0.saturating_sub(slot.1) < PAUSE;
        if self.offers.len() < WAITING && (offer.leg.turns() || !lately) {
            *slot = (mark, now.0);
            self.offers.push((offer, 0));
        }
    }

    /// Hands over what waits from a port, once a batch of that port has `emptied` its queue.
    pub(super) fn end_batch(&mut self, port: u32, emptied: bool, snapshot: &Snapshot, now: Timestamp) {
        let Self { carried, offers, .. } = self;
        let is_ready = |(offer, batches): &mut (Offer, u32)| {
            let is_own = offer.from.index == port;
            *batches += u32::from(is_own);
            is_own && (emptied || *batches >= BATCHES)
        };
        for (offer, _) in offers.extract_if(.., is_ready) {
            carried.take(offer, snapshot, now);
        }
    }
}

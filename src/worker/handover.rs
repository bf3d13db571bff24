//! Which flows a worker offers to the kernel, and what it reports of their packets.
//!
//! One idea: a flow is offered with any packet; the program lets it wait until its packets that went up have been sent on.
//! These have marks, which the worker reports at the end of a batch, when it has sent all of it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::dataplane::{Snapshot, Timestamp};
use crate::sys::flow_cache::Mark;
use crate::wire::Tuple;

use super::carried::Carried;
use super::leg::Offer;
use super::trace::Traced;

/// Flows that may be offered, one a slot.
const SLOTS: usize = 1024;
/// Packets of a flow before it is offered: many connections end sooner, and handing over costs more than a few packets.
const PACKETS: u32 = 4;
/// Nanoseconds until a flow may be offered again; and how long one that has sent fewer packets keeps its slot.
const PAUSE: u64 = 10_000_000;

/// One worker's part in handing flows over.
#[derive(Debug)]
pub(super) struct Handover {
    carried: Arc<Carried>,
    /// Of this batch.
    marks: Vec<Mark>,
    candidates: Box<[Candidate]>,
    hasher: RandomState,
}

/// A flow that has sent packets up lately.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    flow: u64,
    packets: u32,
    /// When it came, or was offered last.
    since: u64,
}

impl Handover {
    /// `batch` frames are read at most before [`Self::end_batch`].
    pub(super) fn new(carried: Arc<Carried>, batch: usize) -> Self {
        let candidates = vec![Candidate::default(); SLOTS].into_boxed_slice();
        Self { carried, marks: Vec::with_capacity(batch), candidates, hasher: RandomState::default() }
    }

    /// Read it before the tables.
    pub(super) fn epoch(&self) -> u64 {
        self.carried.epoch()
    }

    /// Offers a flow once it has sent some packets, unless that was done lately; with what was decided on its packets and
    /// how many bytes of each are wanted, if they are. A packet that begins or ends a connection is reported if the kernel
    /// carried it.
    pub(super) fn offer(&mut self, offer: &Offer, copies: Option<(&Traced, u32)>, snapshot: &Snapshot, now: Timestamp) {
        if offer.leg.answers_plainly() && copies.is_none() {
            self.ask_grant(offer, now);
        }
        let flow = self.hasher.hash_one((offer.epoch, offer.from.index, offer.leg.sent()));
        let candidate = &mut self.candidates[flow as usize % SLOTS];
        let due = if offer.leg.turns() { offer.ended } else { candidate.is_due(flow, now.0) };
        if due {
            self.carried.take(offer, copies, snapshot, now);
        }
    }

    /// Asks for leave to open connections like the one that this packet answers, once a few of them came.
    fn ask_grant(&mut self, answer: &Offer, now: Timestamp) {
        let any = Tuple { dst_port: 0, ..*answer.leg.sent() };
        let kind = self.hasher.hash_one((answer.epoch, answer.from.index, any));
        if self.candidates[kind as usize % SLOTS].is_due(kind, now.0) {
            self.carried.ask_grant(answer, now);
        }
    }

    /// Before a packet of this batch is decided: notes its mark, and learns of the connections that the kernel has opened.
    #[inline]
    pub(super) fn begin(&mut self, mark: Option<Mark>) {
        self.marks.extend(mark);
        self.carried.catch_up();
    }

    /// Reports the marks: all packets of the batch went on their way.
    pub(super) fn end_batch(&mut self) {
        self.marks.drain(..).for_each(|mark| self.carried.pass(mark));
    }
}

impl Candidate {
    /// Counts a packet of a flow, and returns whether to offer the flow now. A flow that is about to be offered keeps its
    /// slot for a while, so two flows in one slot do not keep each other out.
    fn is_due(&mut self, flow: u64, now: u64) -> bool {
        let waited = now.saturating_sub(self.since) >= PAUSE;
        if self.flow != flow {
            if self.packets < PACKETS && !waited {
                return false;
            }
            *self = Self { flow, packets: 0, since: now };
        }
        self.packets = self.packets.saturating_add(1);
        let due = self.packets == PACKETS || self.packets > PACKETS && waited;
        if due {
            self.since = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a flow is offered, of packets at these times.
    fn offered(candidate: &mut Candidate, flow: u64, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        times.into_iter().filter(|now| candidate.is_due(flow, *now)).collect()
    }

    #[test]
    fn a_flow_is_offered_after_some_packets_and_again_after_a_pause() {
        let start = 5 * PAUSE;
        let mut candidate = Candidate::default();
        assert_eq!(offered(&mut candidate, 1, start..start + 10), [start + 3]);
        let again = start + 3 + PAUSE;
        assert_eq!(offered(&mut candidate, 1, again - 2..again + 5), [again]);
        assert_eq!(offered(&mut candidate, 2, again + 6..again + 12), [again + 9], "another takes over");
    }

    #[test]
    fn of_two_flows_in_one_slot_neither_keeps_the_other_out() {
        let start = 5 * PAUSE;
        let mut candidate = Candidate::default();
        let both = (start..start + 40).filter(|now| candidate.is_due(now % 2 + 1, *now)).map(|now| now % 2 + 1);
        let both: std::collections::BTreeSet<_> = both.collect();
        assert_eq!(both.len(), 2);
        let mut candidate = Candidate { flow: 1, packets: 1, since: start };
        assert_eq!(offered(&mut candidate, 2, start..start + 10), [0; 0], "the first may come soon");
        assert_eq!(offered(&mut candidate, 2, start + PAUSE..start + PAUSE + 10).len(), 1, "it did not");
    }

    #[test]
    fn a_slow_flow_is_offered_as_well() {
        let start = 5 * PAUSE;
        let times = (0..6).map(|second| start + second * 1_000_000_000);
        assert_eq!(offered(&mut Candidate::default(), 1, times).len(), 3);
    }
}

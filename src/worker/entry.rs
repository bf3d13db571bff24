//! What the thread of [`Carried`](super::Carried) knows of an entry of the kernel's map.
//!
//! One idea: the kernel counts from the entry's beginning, and what was read before is kept here. So each reading adds the
//! difference to records, mappings and counters.

use crate::dataplane::{Flows, Standing, Timestamp, Traffic};
use crate::sys::flow_cache::Flow;

use super::copies::Copies;
use super::counters::Tally;
use super::grants::Credit;
use super::leg::{Basis, Leg};
use super::slots::Slot;

/// A connection that the kernel opened comes up again if nothing acknowledged it for so long.
const HALF_OPEN: u64 = 1_000_000_000;
/// Bits of [`Flow::signals`] that only an established connection has: anything beside SYN and RST.
const ACKNOWLEDGED: u32 = 2 | 8;

/// A flow in one direction that was handed over.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) leg: Leg,
    pub(super) basis: Basis,
    /// What was added to records and counters so far.
    pub(super) read: Reading,
    /// By which copies of its packets are known, or zero.
    pub(super) copies: u32,
    /// As long as it waits for its packets that went up.
    pub(super) slot: Option<Slot>,
    /// When the kernel opened its connection, if it did.
    pub(super) opened_at: Option<Timestamp>,
    /// Of a connection that the kernel opened, until it is established.
    pub(super) half_open: Option<HalfOpen>,
    /// It carries no more; its counts are read once more, for packets under leg.
    pub(super) over: bool,
}

#[derive(Debug)]
pub(super) struct HalfOpen {
    pub(super) since: Timestamp,
    /// One of the two directions has it.
    pub(super) _credit: Option<Credit>,
}

/// What an entry had carried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) missed: u64,
}

impl Entry {
    pub(super) const fn is_live(flow: &Flow, epoch: u64, now: u64) -> bool {
        flow.epoch == epoch && flow.ended == 0 && now.saturating_sub(flow.last) <= flow.timeout
    }

    /// Whether neither end has acknowledged its connection for a while.
    pub(super) fn is_ignored(&self, now: u64) -> bool {
        self.half_open.as_ref().is_some_and(|half_open| now.saturating_sub(half_open.since.0) > HALF_OPEN)
    }

    /// Adds what it has carried since it was read last; returns what became of its records and mapping.
    pub(super) fn add(&mut self, flow: &Flow, (flows, tally, wanted): (&Flows, &Tally, &Copies)) -> Standing {
        let Self { leg, basis, read, slot, copies, half_open, .. } = self;
        if flow.signals & ACKNOWLEDGED != 0 {
            *half_open = None;
        }
        wanted.miss(*copies, flow.missed - read.missed);
        if flow.slot == 0 {
            *slot = None;
        }
        let traffic = Traffic { packets: flow.packets - read.packets, bytes: flow.bytes - read.bytes };
        let [ingress, egress] = leg.ports().map(|port| tally.port(port));
        ingress.received(traffic.packets, traffic.bytes);
        egress.sent(traffic.packets, traffic.bytes);
        *read = Reading { packets: flow.packets, bytes: flow.bytes, missed: flow.missed };
        leg.add(flows, basis, traffic, flow)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::dataplane::{FlowLimits, NicId, PortId};
    use crate::wire::{Protocol, Tuple};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_opened_connection_is_ignored_after_a_second_unless_it_was_acknowledged() {
        let [src, dst] = [[10, 0, 0, 4], [10, 0, 0, 5]].map(IpAddr::from);
        let sent = Tuple { src, dst, protocol: Protocol::TCP, src_port: 40_000, dst_port: 80 };
        let [leg, _] = Leg::of_opened(sent, [NicId(0), NicId(1)], [PortId(0), PortId(1)], [64; 2]);
        let (basis, _) = leg.basis_of_opened(&Flows::new(FlowLimits::default()), Timestamp(0));
        let half_open = Some(HalfOpen { since: Timestamp(SECOND), _credit: None });
        let read = Reading::default();
        let mut entry = Entry { leg, basis, read, copies: 0, slot: None, opened_at: None, half_open, over: false };
        assert_eq!([0, 2 * SECOND, 2 * SECOND + 1].map(|now| entry.is_ignored(now)), [false, false, true]);
        entry.half_open = None;
        assert!(!entry.is_ignored(u64::MAX));
    }

    #[test]
    fn an_entry_carries_in_its_epoch_until_an_end_or_its_idle_time() {
        let flow = Flow { epoch: 3, last: SECOND, timeout: 4 * SECOND, ..Flow::default() };
        assert_eq!([0, 5 * SECOND, 5 * SECOND + 1].map(|now| Entry::is_live(&flow, 3, now)), [true, true, false]);
        assert!(!Entry::is_live(&flow, 4, SECOND));
        assert!(!Entry::is_live(&Flow { ended: 1, ..flow }, 3, SECOND));
    }
}

//! Connections that the kernel opens by itself: the kinds that it may open, and the records of those that it opened.
//!
//! One idea: the tables decide on a kind of connection once, for all source ports ([`opening`]). The kernel's program then opens
//! one without a worker, and announces it before any of its packets can come up. A worker makes the records of all announced
//! connections before it decides on a packet. The thread of [`Carried`](super::Carried) does so before each request. So no
//! packet of such a flow is decided without its records.
//!
//! Each connection takes of a credit, which is given back once it is established or over. So no flood of them fills the
//! kernel's map, and there is room for every announcement.

use std::collections::HashMap;
use std::io;
use std::iter::zip;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use crate::dataplane::{
    Direction, FlowEvent, FlowRecord, FlowTerms, Flows, NicId, Opening, Passing, Signal, Snapshot, Timestamp, Traffic,
    opening,
};
use crate::sys::flow_cache::{CREDIT, FlowCache, FlowKey, GRANTS_MAX, Grant};
use crate::sys::opened_flows::{OpenedFlow, OpenedFlows};
use crate::wire::Tuple;

use super::flow_events::FlowEvents;
use super::leg::{Leg, Offer, ethernet, key, nanos};

/// Records that are made under one hold of the lock.
const AT_ONCE: usize = 64;
/// Grants that opened no connection for so long are withdrawn, looked at as often.
const IDLE: u64 = 60_000_000_000;
/// A connection's first packet.
const SYN: u8 = 0x02;

/// The kinds of connections that the kernel may open.
#[derive(Debug)]
pub(super) struct Grants {
    cache: Arc<FlowCache>,
    flows: Arc<Flows>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    events: FlowEvents,
    /// Connections whose records are made.
    recorded: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    ring: OpenedFlows,
    /// By number.
    kinds: HashMap<u32, Granted, RandomState>,
    last: u32,
    /// Connections with records, which the kernel's map has and nobody else knows. There is room for all.
    opened: Vec<Opened>,
    swept_at: u64,
}

#[derive(Debug)]
struct Granted {
    kind: Arc<Kind>,
    /// Since when no program finds it. One that has read it before may still open a connection.
    withdrawn_at: Option<u64>,
}

impl Granted {
    fn withdraw(&mut self, cache: &FlowCache, now: u64) {
        if self.withdrawn_at.is_none() {
            cache.revoke(&self.kind.key);
            self.withdrawn_at = Some(now);
        }
    }
}

/// Connections that differ in their source port alone.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) opening: Opening,
    key: FlowKey,
    /// The first packet's, but for its port.
    first: Tuple,
    indexes: [u32; 2],
    ttls: [u8; 2],
    terms: [FlowTerms; 2],
}

/// A connection that the kernel has opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) kind: Arc<Kind>,
    pub(super) at: Timestamp,
    pub(super) src_port: u16,
    /// Of its first packet.
    pub(super) len: u16,
    pub(super) credit: Credit,
}

/// What a connection has taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Credit(Arc<FlowCache>);

impl Drop for Credit {
    fn drop(&mut self) {
        self.0.give_credit();
    }
}

impl Kept {
    fn is_granted(&self, key: &FlowKey) -> bool {
        self.kinds.values().any(|granted| granted.kind.key == *key && granted.withdrawn_at.is_none())
    }
}

impl Opened {
    /// Its ways there and back, and the kernel's key of each.
    pub(super) fn legs(&self) -> [(FlowKey, Leg); 2] {
        let Kind { opening, indexes, ttls, .. } = &*self.kind;
        let legs = Leg::of_opened(self.kind.first(self.src_port), opening.nics, opening.ports, *ttls);
        let keys = [key(indexes[0], legs[0].sent()), key(indexes[1], legs[1].sent())];
        let [there, back] = legs;
        [(keys[0], there), (keys[1], back)]
    }
}

impl Kind {
    const fn first(&self, src_port: u16) -> Tuple {
        Tuple { src_port, ..self.first }
    }
}

impl Grants {
    pub(super) fn new(
        cache: Arc<FlowCache>,
        flows: Arc<Flows>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        events: FlowEvents,
    ) -> io::Result<Self> {
        let (ring, opened) = (cache.opened_flows()?, Vec::with_capacity(CREDIT));
        let kept = Mutex::new(Kept { ring, kinds: HashMap::default(), last: 0, opened, swept_at: 0 });
        Ok(Self { cache, flows, snapshot, events, recorded: AtomicU64::new(0), kept })
    }

    /// Grants the kind of a connection, if its decision is one for each source port. `answer` is how its first packet was
    /// answered. The epoch is that of the answer: it was read before the tables.
    pub(super) fn grant(&self, answer: &Offer, now: Timestamp) {
        if answer.epoch != self.cache.epoch() {
            return;
        }
        let (first, (from, to)) = (answer.leg.sent().mirrored(), (answer.to, answer.from));
        let key = key(from.index, &Tuple { src_port: 0, ..first });
        if self.kept().is_granted(&key) {
            return;
        }
        let (snapshot, [server, client]) = (self.snapshot.load(), answer.leg.ports());
        let Some(opening) = opening(&snapshot, client, &first).filter(|opening| opening.ports == [client, server])
        else {
            return;
        };
        let [near, far] = opening.nics;
        let ttl = |nic, direction| self.flows.records.ttl(nic, direction, &first);
        let (Some(there), Some(back)) = (ttl(near, Direction::Outbound), ttl(far, Direction::Inbound)) else { return };
        let nics = opening.nics.map(|nic| snapshot.nic(nic));
        let terms = nics.map(|nic| nic.flows);
        let (indexes, ttls) = ([from.index, to.index], [there, back]);
        let kind = Kind { opening, key, first, indexes, ttls, terms };
        let mut kept = self.kept();
        if !self.has_room(&kind) || kept.kinds.len() >= GRANTS_MAX {
            return;
        }
        kept.last = kept.last.wrapping_add(1);
        let number = kept.last;
        kept.kinds.insert(number, Granted { kind: Arc::new(kind), withdrawn_at: None });
        let grant = Grant {
            epoch: answer.epoch,
            timeout: nanos(terms[0].timeout_secs.min(terms[1].timeout_secs)),
            last: now.0,
            number,
            out: to.index,
            mtu: [nics[1].mtu, nics[0].mtu],
            ttl: ttls,
            zero: [0; 2],
            ethernet: [ethernet(&to), ethernet(&from)],
        };
        if self.cache.grant(&key, &grant).is_err() {
            kept.kinds.remove(&number);
        }
    }

    /// Whether there is room for the records of all connections that the kernel may open until the next reading (NSG-26).
    pub(super) fn has_room(&self, kind: &Kind) -> bool {
        zip(kind.opening.nics, kind.terms).all(|(nic, terms)| self.flows.records.has_room(nic, terms.share, CREDIT))
    }

    /// Makes the records of all connections that the kernel opened until now. Costs next to nothing where none is new.
    pub(super) fn catch_up(&self) {
        while self.cache.count_opened() != self.recorded.load(Ordering::Acquire) && self.record_some() {}
    }

    /// True if there may be more.
    #[cold]
    fn record_some(&self) -> bool {
        let mut kept = self.kept();
        let Kept { ring, kinds, opened, .. } = &mut *kept;
        let mut some = 0;
        for connection in ring.take(AT_ONCE) {
            some += 1;
            let credit = Credit(Arc::clone(&self.cache));
            let OpenedFlow { at, grant, src_port, len } = connection;
            // A kind is forgotten once no program knows it.
            let Some(kind) = kinds.get(&grant).map(|granted| Arc::clone(&granted.kind)) else { continue };
            let connection = Opened { kind, at: Timestamp(at), src_port, len, credit };
            self.record(&connection);
            opened.push(connection);
        }
        self.recorded.fetch_add(some as u64, Ordering::AcqRel);
        some == AT_ONCE
    }

    /// Makes both records of a connection, or none: then its entries stand on nothing, and are removed.
    fn record(&self, connection: &Opened) {
        let Opened { kind, at, src_port, len, .. } = connection;
        let (snapshot, first) = (self.snapshot.load(), kind.first(*src_port));
        let logged = |nic: NicId| snapshot.nics.get(nic.0 as usize).is_some_and(|nic| nic.flows.logged);
        let followed = self.events.followed();
        let tell = |event: FlowEvent, logged: bool| {
            if logged || followed {
                self.events.tell(event, logged);
            }
        };
        let traffic = Traffic { packets: 1, bytes: (*len).into() };
        let pushed_out = |record: &FlowRecord| tell(FlowEvent::Ended(*record), logged(record.nic));
        let reserve =
            |end: usize| self.flows.records.reserve(kind.opening.nics[end], &kind.terms[end], *at, pushed_out).ok();
        let Some((out, inward)) = reserve(0).zip(reserve(1)) else { return };
        let rooms = [(out, Direction::Outbound), (inward, Direction::Inbound)];
        for (end, (room, direction)) in rooms.into_iter().enumerate() {
            let (nic, terms) = (kind.opening.nics[end], &kind.terms[end]);
            let passing = Passing { traffic, signal: Signal::from_flags(SYN), ttl: kind.ttls[0], at: *at };
            let before = room.admit(direction, &first, kind.opening.deciders[end], passing, terms);
            if !terms.logged && !followed {
                continue;
            }
            if let Some(before) = before {
                tell(FlowEvent::Ended(before), terms.logged);
            }
            let record = self.flows.records.find(nic, direction, &first, *at);
            if let Some(begun) = record.filter(|record| record.begun == *at) {
                tell(FlowEvent::Begun(begun), terms.logged);
            }
        }
    }

    /// The connections with records that the kernel's map has and this call's caller has not: `into` gets all of them.
    pub(super) fn take(&self, into: &mut Vec<Opened>) {
        self.catch_up();
        mem::swap(&mut self.kept().opened, into);
    }

    /// Forgets all kinds. Call once no program knows any: in another epoch, and after [`Self::take`].
    pub(super) fn withdraw_all(&self) {
        let kinds = mem::take(&mut self.kept().kinds);
        for granted in kinds.values() {
            self.cache.revoke(&granted.kind.key);
        }
    }

    /// Withdraws a kind: from now on its connections come up.
    pub(super) fn withdraw(&self, kind: &Arc<Kind>, now: u64) {
        let mut kept = self.kept();
        for granted in kept.kinds.values_mut().filter(|granted| Arc::ptr_eq(&granted.kind, kind)) {
            granted.withdraw(&self.cache, now);
        }
    }

    /// Withdraws kinds without room for their records, and kinds that opened nothing for a while. Forgets those that it
    /// withdrew as long ago.
    pub(super) fn sweep(&self, now: u64) {
        let mut kept = self.kept();
        for granted in kept.kinds.values_mut().filter(|granted| !self.has_room(&granted.kind)) {
            granted.withdraw(&self.cache, now);
        }
        if now.saturating_sub(kept.swept_at) < IDLE {
            return;
        }
        kept.swept_at = now;
        let is_past = |at: u64| now.saturating_sub(at) >= IDLE;
        kept.kinds.retain(|_, granted| !granted.withdrawn_at.is_some_and(is_past));
        for granted in kept.kinds.values_mut() {
            let key = &granted.kind.key;
            if self.cache.find_grant(key).is_none_or(|grant| is_past(grant.last)) {
                granted.withdraw(&self.cache, now);
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

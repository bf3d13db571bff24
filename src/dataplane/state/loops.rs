//! Routing loops: the same packet leaves an interface again and again, each time with fewer hops left (FAB-14).
//!
//! One idea: only guests that forward, sites and gateways count hops. A flow record stores the hops left in the guest's
//! last packet. A packet with fewer is watched here, and so is one that goes from one tunnel into another. A loop is
//! the very same packet, compared by its contents, seen three times in a row with fewer hops. A retransmission has as
//! many hops as before, another path has other packets, and a traceroute sends more and more hops. No packet is dropped
//! for it, as Azure drops none: the packet ends when a guest counts its last hop.
//!
//! Both tables are small and fixed: of two packets with one slot the later is watched, and a new loop replaces the
//! oldest.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use crate::dataplane::{NicId, Timestamp};
use crate::wire::{Packet, Tuple};

use super::lock::Lock;

/// Packets watched at a time; a power of two.
const WATCHED: usize = 1024;
/// Loops remembered.
const FOUND: usize = 64;
/// Times that a packet comes back before it counts as a loop.
const ROUNDS: u8 = 3;
/// Nanoseconds; a packet that comes back later counts as another packet.
const ROUND: u64 = 5_000_000_000;

/// The loops that were seen. Bounded.
#[derive(Debug)]
pub struct LoopTable {
    watched: Box<[Lock<Watched>]>,
    found: Lock<[Option<RoutingLoop>; FOUND]>,
    hasher: RandomState,
}

/// A flow with packets that come back to an interface that they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingLoop {
    /// The interface.
    pub nic: NicId,
    /// The packet as it leaves there.
    pub tuple: Tuple,
    /// Packets that came back.
    pub packets: u64,
    pub last: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    mark: u64,
    ttl: u8,
    rounds: u8,
    at: Timestamp,
}

impl LoopTable {
    pub fn new() -> Self {
        Self {
            watched: std::iter::repeat_with(|| Lock::new(Watched::default())).take(WATCHED).collect(),
            found: Lock::new([None; FOUND]),
            hasher: RandomState::default(),
        }
    }

    /// Watches a packet that leaves a NIC with fewer hops than the one before it, or goes from one tunnel into another.
    #[cold]
    pub(in crate::dataplane) fn watch(&self, nic: NicId, packet: &Packet<'_>, now: Timestamp) {
        let mark = self.hasher.hash_one((nic, packet.tuple(), packet.mark(&self.hasher)));
        let ttl = packet.ttl();
        let mut watched = self.watched[mark as usize % WATCHED].lock();
        let is_round = watched.mark == mark && ttl < watched.ttl && now.0.saturating_sub(watched.at.0) <= ROUND;
        let rounds = if is_round { watched.rounds.saturating_add(1) } else { 0 };
        *watched = Watched { mark, ttl, rounds, at: now };
        drop(watched);
        if rounds == ROUNDS {
            self.find(RoutingLoop { nic, tuple: *packet.tuple(), packets: 1, last: now });
        }
    }

    /// The loops seen recently.
    pub fn found(&self) -> Vec<RoutingLoop> {
        self.found.lock().iter().flatten().copied().collect()
    }

    fn find(&self, one: RoutingLoop) {
        let mut found = self.found.lock();
        let is_known = |known: &Option<RoutingLoop>| known.is_some_and(|it| (it.nic, it.tuple) == (one.nic, one.tuple));
        if let Some(known) = found.iter().position(is_known).and_then(|at| found[at].as_mut()) {
            known.packets += 1;
            known.last = one.last;
            return;
        }
        let oldest = (0..FOUND).min_by_key(|at| found[*at].map(|it| it.last)).expect("there are some");
        found[oldest] = Some(one);
    }
}

impl Default for LoopTable {
    fn default() -> Self {
        Self::new()
    }
}

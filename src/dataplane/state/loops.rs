//! Packets that go round: the same one leaves an interface again and again, each time with fewer hops to go (FAB-14).
//!
//! One idea: guests that forward, sites and gateways count hops, and nothing else does. A flow record knows how many the last
//! packet of its guest had to go; one with fewer is looked at here, and what goes from one tunnel into another. Only the very same packet, by what it carries, three times in a row
//! with fewer hops, is a loop: a repeated one has as many hops, another way has other packets, a trace more and more. Nothing
//! is dropped for it, as Azure drops nothing: the packet ends when a guest has counted its last hop.
//!
//! Both tables are small and fixed: of two packets that fall together the later is watched, and the oldest loop makes room.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use crate::dataplane::{NicId, Timestamp};
use crate::wire::{Packet, Tuple};

use super::lock::Lock;

/// Packets watched at a time; a power of two.
const WATCHED: usize = 1024;
/// Flows that are remembered as going round.
const FOUND: usize = 64;
/// Times that a packet comes back before it is said to go round.
const ROUNDS: u8 = 3;
/// A packet that takes longer for a round is taken for another: nanoseconds.
const ROUND: u64 = 5_000_000_000;

/// What goes round, as far as anybody has seen. Bounded.
#[derive(Debug)]
pub struct LoopTable {
    watched: Box<[Lock<Watched>]>,
    found: Lock<[Option<RoutingLoop>; FOUND]>,
    hasher: RandomState,
}

/// A flow whose packets come back to an interface that they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingLoop {
    /// The interface.
    pub nic: NicId,
    /// As it leaves there.
    pub tuple: Tuple,
    /// Packets that went round.
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

    /// Looks at a packet that leaves a NIC with fewer hops to go than the one before it, or comes out of a tunnel to go into
    /// one.
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

    /// The flows that went round lately.
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

//! Ports of fragmented datagrams: later fragments carry none and use those of the first (FAB-11).
//!
//! One idea: nothing is reassembled. A first fragment stores its ports in a small set of fixed slots. A later one finds
//! them there and is then matched like any packet of its flow. A later fragment that finds none came out of order, and
//! the caller drops it. All workers share the table, since fragments of a datagram may come on different queues.

use std::hash::BuildHasher;
use std::net::IpAddr;

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;

use crate::dataplane::{NicId, Timestamp};
use crate::wire::{Protocol, Tuple};

use super::lock::Lock;

/// Sets of slots, each with its own lock; a power of two.
const SETS: usize = 128;
/// Datagrams in a set; a new one replaces the oldest.
const WAYS: usize = 8;
/// As long as Linux waits for the rest of a datagram (`net.ipv4.ipfrag_time`), in nanoseconds.
const LIFETIME: u64 = 30_000_000_000;

/// Remembers a first fragment's ports so that later fragments follow it. Bounded, oldest out first.
#[derive(Debug)]
pub struct FragmentTable {
    sets: Box<[CachePadded<Lock<Set>>]>,
    hasher: RandomState,
}

type Set = [Option<Datagram>; WAYS];

/// A datagram that arrives in fragments. An appliance forwards what it received, so the sender is part of the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DatagramId {
    sender: NicId,
    src: IpAddr,
    dst: IpAddr,
    protocol: Protocol,
    id: u32,
}

#[derive(Clone, Copy, Debug)]
struct Datagram {
    id: DatagramId,
    src_port: u16,
    dst_port: u16,
    seen: Timestamp,
}

impl FragmentTable {
    pub fn new() -> Self {
        let set = || CachePadded::new(Lock::new([None; WAYS]));
        Self { sets: std::iter::repeat_with(set).take(SETS).collect(), hasher: RandomState::default() }
    }

    /// Stores a first fragment's ports: one at offset 0 with more to come.
    pub fn first(&self, sender: NicId, tuple: &Tuple, id: u32, now: Timestamp) {
        let id = DatagramId::new(sender, tuple, id);
        let datagram = Datagram { id, src_port: tuple.src_port, dst_port: tuple.dst_port, seen: now };
        self.with_set(&id, |set| {
            let place =
                set.iter().position(|slot| slot.is_some_and(|held| held.id == id)).unwrap_or_else(|| oldest(set));
            set[place] = Some(datagram);
        });
    }

    /// A later fragment's tuple with the ports of its first, or `None` if that was not seen recently.
    pub fn later(&self, sender: NicId, tuple: &Tuple, id: u32, now: Timestamp) -> Option<Tuple> {
        let id = DatagramId::new(sender, tuple, id);
        self.with_set(&id, |set| {
            let first = set.iter().flatten().find(|held| held.id == id)?;
            let fresh = now.0.saturating_sub(first.seen.0) <= LIFETIME;
            fresh.then_some(Tuple { src_port: first.src_port, dst_port: first.dst_port, ..*tuple })
        })
    }

    fn with_set<R>(&self, id: &DatagramId, work: impl FnOnce(&mut Set) -> R) -> R {
        let set = self.hasher.hash_one(id) as usize % SETS;
        work(&mut self.sets[set].lock())
    }
}

impl Default for FragmentTable {
    fn default() -> Self {
        Self::new()
    }
}

impl DatagramId {
    const fn new(sender: NicId, tuple: &Tuple, id: u32) -> Self {
        Self { sender, src: tuple.src, dst: tuple.dst, protocol: tuple.protocol, id }
    }
}

/// The slot to reuse: an empty one, else the oldest.
fn oldest(set: &Set) -> usize {
    (0..WAYS).min_by_key(|&slot| set[slot].map(|held| held.seen)).expect("a set has slots")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SENDER: NicId = NicId(1);

    fn first(id: u32) -> Tuple {
        let (src, dst) = (IpAddr::from([10, 0, 0, 4]), IpAddr::from([10, 0, 0, 5]));
        Tuple { src, dst, protocol: Protocol::UDP, src_port: id as u16, dst_port: 53 }
    }

    fn later(id: u32) -> Tuple {
        Tuple { src_port: 0, dst_port: 0, ..first(id) }
    }

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn fab_11_a_later_fragment_takes_its_first_fragments_ports() {
        let table = FragmentTable::new();
        assert_eq!(table.later(SENDER, &later(7), 7, seconds(0)), None, "out of order");
        table.first(SENDER, &first(7), 7, seconds(0));
        assert_eq!(table.later(SENDER, &later(7), 7, seconds(1)), Some(first(7)));
        assert_eq!(table.later(SENDER, &later(7), 8, seconds(1)), None, "another datagram");
        assert_eq!(table.later(NicId(2), &later(7), 7, seconds(1)), None, "another leg");
    }

    #[test]
    fn a_datagram_is_forgotten_after_its_lifetime() {
        let table = FragmentTable::new();
        table.first(SENDER, &first(7), 7, seconds(0));
        assert!(table.later(SENDER, &later(7), 7, seconds(30)).is_some());
        assert!(table.later(SENDER, &later(7), 7, seconds(31)).is_none());
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_and_the_newest_stays() {
        let table = FragmentTable::new();
        let flood = 8 * (SETS * WAYS) as u32;
        for id in 0..flood {
            table.first(SENDER, &first(id), id, Timestamp(u64::from(id)));
        }
        let known = |id: u32| table.later(SENDER, &later(id), id, Timestamp(u64::from(flood))).is_some();
        assert!(known(flood - 1) && !known(0));
        assert!((0..flood).filter(|id| known(*id)).count() <= SETS * WAYS);
    }

    #[test]
    fn a_reused_id_takes_the_newer_ports() {
        let table = FragmentTable::new();
        let renewed = Tuple { src_port: 99, ..first(7) };
        table.first(SENDER, &first(7), 7, seconds(0));
        table.first(SENDER, &renewed, 7, seconds(1));
        assert_eq!(table.later(SENDER, &later(7), 7, seconds(1)), Some(renewed));
    }
}

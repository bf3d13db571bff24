//! The flows of packets that one worker dropped recently, and the rule that denied them.
//!
//! One idea: counters say how often, this says which flows. It is used only when a packet is dropped and holds a fixed
//! number of flows; a new one replaces the one dropped longest ago. It never makes its worker wait: a drop while its
//! own set is being read is counted and not logged.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::dataplane::{DropReason, NicId, PortId, RuleId, Timestamp};
use crate::wire::Tuple;

/// Sets of flows; a power of two.
const SETS: usize = 256;
/// Flows in a set.
const WAYS: usize = 4;

type Set = [Option<Dropped>; WAYS];

/// A flow, and the packets of it that were dropped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub ingress: PortId,
    pub reason: DropReason,
    /// The NIC and rule that denied it, or the NIC without room for it; None where the reason tells all.
    pub by: Option<(NicId, Option<RuleId>)>,
    pub tuple: Tuple,
    pub packets: u64,
    pub last: Timestamp,
}

/// The drop log of one worker.
#[derive(Debug)]
pub struct DropLog {
    sets: Box<[Mutex<Set>]>,
    hasher: RandomState,
}

impl DropLog {
    pub(super) fn new() -> Self {
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        Self { sets, hasher: RandomState::default() }
    }

    /// Adds some packets to those of their flow.
    pub(super) fn note(&self, dropped: Dropped) {
        let set = self.hasher.hash_one((dropped.ingress, dropped.reason, dropped.tuple)) as usize % SETS;
        let Ok(mut set) = self.sets[set].try_lock() else { return };
        let is_same = |one: &Dropped| {
            (one.ingress, one.reason, one.by, one.tuple) == (dropped.ingress, dropped.reason, dropped.by, dropped.tuple)
        };
        if let Some(known) = set.iter_mut().flatten().find(|one| is_same(one)) {
            known.packets += dropped.packets;
            known.last = dropped.last;
            return;
        }
        let oldest = set.iter_mut().min_by_key(|slot| slot.map(|one| one.last)).expect("a set has slots");
        *oldest = Some(dropped);
    }

    /// All flows in the log.
    pub fn list(&self) -> Vec<Dropped> {
        self.sets.iter().flat_map(|set| *lock(set)).flatten().collect()
    }

    /// Another port has this number now.
    pub(super) fn forget(&self, port: PortId) {
        for set in &self.sets {
            let mut slots = lock(set);
            slots.iter_mut().filter(|slot| slot.is_some_and(|one| one.ingress == port)).for_each(|slot| *slot = None);
        }
    }
}

fn lock(set: &Mutex<Set>) -> MutexGuard<'_, Set> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;

    fn dropped(port: u16, at: u64) -> Dropped {
        let (src, dst) = ([10, 0, 0, 4].into(), [10, 0, 0, 5].into());
        let tuple = Tuple { src, dst, protocol: Protocol::UDP, src_port: 1, dst_port: port };
        let (ingress, reason, last) = (PortId(port.into()), DropReason::NsgInbound, Timestamp(at));
        Dropped { ingress, reason, by: None, tuple, packets: 1, last }
    }

    #[test]
    fn packets_of_a_flow_add_up_and_the_oldest_flows_make_room() {
        let log = DropLog::new();
        (0..10).for_each(|at| log.note(dropped(7, at)));
        assert_eq!(log.list(), [Dropped { packets: 10, ..dropped(7, 9) }]);
        log.note(Dropped { reason: DropReason::NoEndpoint, ..dropped(7, 10) });
        assert_eq!(log.list().len(), 2, "another reason");
        (0..20_000).for_each(|port| log.note(dropped(port, 100 + u64::from(port))));
        let ports: Vec<_> = log.list().iter().map(|one| one.tuple.dst_port).collect();
        assert!(ports.len() <= SETS * WAYS && ports.contains(&19_999) && !ports.contains(&7));
        let read = log.sets.iter().map(lock).next();
        (0..20_000).for_each(|port| log.note(dropped(port, 30_000)));
        drop(read);
        let logged = log.list().into_iter().filter(|one| one.last == Timestamp(30_000)).count();
        assert_eq!(logged, (SETS - 1) * WAYS, "only the set that is being read goes without");
        log.forget(PortId(19_999));
        assert!(log.list().iter().all(|one| one.ingress != PortId(19_999)));
    }
}

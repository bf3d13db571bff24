//! Where the tables lead a flow, kept so that it need not be asked for each of its packets.
//!
//! One idea: a [`Path`] is found by what it follows from, the tables, the port and the tuple, and holds as long as the
//! tables do: a publish ends all of them at once. Filters, records, mappings and sizes are asked for every packet, as ever,
//! so nothing that a path says can let a packet through.
//!
//! A worker has its own and shares none. It is bounded, and two flows that meet in one place take turns there at the price
//! of a walk through the pipeline. What has no ports, comes in pieces or passes a gateway is not kept.

mod internet;
mod known_path;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::dataplane::state::flow::key::FlowKey;
use crate::dataplane::{Direction, NicId, Observer, PortId, Snapshot, Timestamp, Verdict};
use crate::wire::{Packet, Protocol};

use super::{Flows, Leg, process, verdict};
use known_path::Path;

/// Flows remembered: a power of two. Of one that is not translated the first 64 bytes of its slot are read, so that they
/// stay in a core's second cache.
const SLOTS: usize = 4096;

/// Where flows go, as one worker has found out: with one table of mappings.
#[derive(Debug)]
pub struct Paths {
    slots: Box<[Slot; SLOTS]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Slot {
    /// Of the flow's packets in this direction, with the port in place of the NIC.
    key: FlowKey,
    /// Of the tables that it was found in.
    generation: u64,
    known: Known,
}

const _: () = assert!(size_of::<Slot>() == 128);

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// That it is there. Many flows are one packet, which is not worth a search.
    Seen,
    Path(Path),
    /// That its packets have no path that could be kept.
    Pathless,
}

impl Paths {
    pub fn new() -> Self {
        let slot = Slot { key: FlowKey::NONE, generation: 0, known: Known::Seen };
        let slots = vec![slot; SLOTS].into_boxed_slice();
        Self { slots: slots.try_into().expect("as many as were made"), hasher: RandomState::default() }
    }

    /// The same as [`process`], for one who meets the same flows again. Where the path is known, the observer is told of
    /// admissions alone.
    #[inline]
    pub fn process<O: Observer>(
        &mut self,
        snapshot: &Snapshot,
        flows: &Flows,
        ingress: PortId,
        now: Timestamp,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Verdict {
        if matches!(packet.protocol(), Protocol::TCP | Protocol::UDP) && packet.fragment().is_none() {
            let key = FlowKey::new(NicId(ingress.0), Direction::Outbound, packet.tuple());
            let slot = &mut self.slots[self.hasher.hash_one(key) as usize % SLOTS];
            if let Some(path) =
                slot.path(snapshot.generation, &key, || Leg { snapshot, flows, now }.path(ingress, packet))
            {
                // Made where it is used: as one for both it is copied.
                let leg = Leg { snapshot, flows, now };
                return verdict(leg.along(path, &key, packet, observer), observer);
            }
        }
        process(snapshot, flows, ingress, now, packet, observer)
    }
}

impl Slot {
    /// What is known of the flow with this key, found out at its second packet. Another flow's place becomes its own.
    #[inline]
    fn path(&mut self, generation: u64, key: &FlowKey, find_out: impl FnOnce() -> Option<Path>) -> Option<&mut Path> {
        if self.generation != generation || self.key != *key {
            (self.key, self.generation, self.known) = (*key, generation, Known::Seen);
            return None;
        }
        if matches!(self.known, Known::Seen) {
            self.known = find_out().map_or(Known::Pathless, Known::Path);
        }
        match &mut self.known {
            Known::Path(path) => Some(path),
            Known::Seen | Known::Pathless => None,
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self::new()
    }
}

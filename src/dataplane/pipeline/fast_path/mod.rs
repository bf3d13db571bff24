//! The fast path: where the tables lead a flow, remembered so that later packets skip the lookups.
//!
//! One idea: a [`Path`] depends on the tables, the port and the tuple only, so it is valid as long as the tables are: a
//! publish ends all paths at once. Filters, records, mappings and sizes are asked for every packet, as in the full
//! walk. So no remembered path lets a packet through that they would drop.
//!
//! Each worker has its own paths and shares none. Their number is bounded; two flows that share a slot evict each
//! other, at the price of a full walk. Protocols without ports, fragments, and flows through a gateway have no path.

mod internet;
mod known_path;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::dataplane::state::flow::key::FlowKey;
use crate::dataplane::{Direction, NicId, Observer, PortId, Snapshot, Timestamp, Verdict};
use crate::wire::{Packet, Protocol};

use super::{Flows, Leg, process, verdict};
use known_path::Path;

/// Most flows remembered: a power of two. For a flow without translation only the first 64 bytes of its slot are read,
/// so these stay in a core's second-level cache.
const SLOTS: usize = 4096;

/// The paths that one worker has found. Always used with the same table of mappings.
#[derive(Debug)]
pub struct Paths {
    slots: Box<[Slot; SLOTS]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Slot {
    /// The flow's key in this direction, with the port in place of the NIC.
    key: FlowKey,
    /// The generation of the tables that it was found in.
    generation: u64,
    known: Known,
}

const _: () = assert!(size_of::<Slot>() == 128);

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// One packet was seen. Many flows have no second one, so no search is made yet.
    Seen,
    Path(Path),
    /// Its packets have no path that can be remembered.
    Pathless,
}

impl Paths {
    pub fn new() -> Self {
        let slot = Slot { key: FlowKey::NONE, generation: 0, known: Known::Seen };
        let slots = vec![slot; SLOTS].into_boxed_slice();
        Self { slots: slots.try_into().expect("as many as were made"), hasher: RandomState::default() }
    }

    /// The same as [`process`], for a caller that meets the same flows again. On a known path the observer receives
    /// admissions only.
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
        if may_be_known(packet) {
            let key = FlowKey::new(NicId(ingress.0), Direction::Outbound, packet.tuple());
            let slot = &mut self.slots[self.hasher.hash_one(key) as usize % SLOTS];
            if let Some(path) =
                slot.path(snapshot.generation, &key, || Leg { snapshot, flows, now }.path(ingress, packet))
            {
                // A second leg, made where it is used: sharing one with the closure above would copy it.
                let leg = Leg { snapshot, flows, now };
                return verdict(leg.forward_on(path, &key, packet, observer), observer);
            }
        }
        process(snapshot, flows, ingress, now, packet, observer)
    }
}

/// Whether a packet's flow may have a path: it has ports, and is whole.
#[inline]
pub(super) fn may_be_known(packet: &Packet<'_>) -> bool {
    matches!(packet.protocol(), Protocol::TCP | Protocol::UDP) && packet.fragment().is_none()
}

impl Slot {
    /// The path of the flow with this key, searched at its second packet. A new flow takes over another's slot.
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

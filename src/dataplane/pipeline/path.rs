//! Where the tables lead a flow, kept so that it need not be asked for each of its packets.
//!
//! One idea: all that a leg within the fabric meets, its filters apart, follows from the tables, the port and the tuple. So
//! it is found by those, and holds as long as the tables do: a publish ends all of it at once. Filters, records and sizes
//! are asked for every packet, as ever, so nothing that a path says can let a packet through.
//!
//! A worker has its own and shares none. It is bounded, and two flows that meet in one place take turns there at the price
//! of a walk through the pipeline. What is translated, leaves the fabric or comes in pieces is not kept.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::admit::Admitted;
use super::route::{Access, Hop, Way};
use super::{Flows, Leg, Subject, check, process, verdict};
use crate::dataplane::flow::key::FlowKey;
use crate::dataplane::{Direction, DropReason, NicId, Observer, PortId, Quiet, Snapshot, Timestamp, Verdict};
use crate::wire::{Packet, Protocol};

/// Flows remembered: a power of two. 64 bytes each, so that they stay in a core's second cache.
const SLOTS: usize = 4096;

/// Where flows go, as one worker has found out.
#[derive(Debug)]
pub struct Paths {
    slots: Box<[Slot; SLOTS]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Of the flow's packets in this direction, with the port in place of the NIC.
    key: FlowKey,
    /// Of the tables that it was found in.
    generation: u64,
    known: Known,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// That it is there. Many flows are one packet, which is not worth a search.
    Seen,
    Path(Path),
    /// That its packets have no path that could be kept.
    Pathless,
}

/// From the sender's NIC to the receiver's device.
#[derive(Clone, Copy, Debug)]
struct Path {
    sender: NicId,
    hop: Hop,
    access: Access,
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
        let leg = Leg { snapshot, flows, now };
        if matches!(packet.protocol(), Protocol::TCP | Protocol::UDP) && packet.fragment().is_none() {
            let key = FlowKey::new(NicId(ingress.0), Direction::Outbound, packet.tuple());
            if let Some(path) = self.find(leg, ingress, &key, packet)
                // A flow of a backend may be translated from now on.
                && !leg.may_answer(path.sender, path.hop)
            {
                return verdict(leg.along(path, &key, packet, observer), observer);
            }
        }
        process(snapshot, flows, ingress, now, packet, observer)
    }

    #[inline]
    fn find(&mut self, leg: Leg<'_>, ingress: PortId, key: &FlowKey, packet: &Packet<'_>) -> Option<Path> {
        let slot = &mut self.slots[self.hasher.hash_one(key) as usize % SLOTS];
        let generation = leg.snapshot.generation;
        if slot.generation != generation || slot.key != *key {
            *slot = Slot { key: *key, generation, known: Known::Seen };
            return None;
        }
        match slot.known {
            Known::Path(path) => Some(path),
            Known::Pathless => None,
            Known::Seen => {
                let path = leg.path(ingress, packet);
                slot.known = path.map_or(Known::Pathless, Known::Path);
                path
            }
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self::new()
    }
}

impl Leg<'_> {
    /// Walks ahead, through all that asks neither records nor rules.
    #[inline(never)]
    fn path(self, ingress: PortId, packet: &Packet<'_>) -> Option<Path> {
        let tuple = packet.tuple();
        check::addresses(packet).ok()?;
        check::protocol(packet).ok()?;
        let sender = check::source(self.snapshot, ingress, &tuple.src).ok()?;
        let Way::Within(hop) = self.route((sender, Admitted::Record), tuple, &mut Quiet).ok()? else { return None };
        let crossing = self.cross(sender, hop.nic(), &mut Quiet).ok()?;
        crossing.enter_from(&tuple.src).ok()?;
        self.deliver(hop, &tuple.dst).ok()?;
        Some(Path { sender, hop, access: crossing.access })
    }

    /// What a path leaves to be asked of each packet.
    #[inline]
    fn along<O: Observer>(
        self,
        path: Path,
        key: &FlowKey,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let Path { sender, hop, access } = path;
        let receiver = hop.nic();
        let subject = Subject::of(packet, None, self.now);
        let admitted_out = self.admit_key(&key.at(sender), sender, Direction::Outbound, &subject, observer)?;
        access.leave(admitted_out)?;
        let admitted_in =
            self.admit_key(&key.turned().at(receiver), receiver, Direction::Inbound, &subject, observer)?;
        access.enter(admitted_in)?;
        self.arrive_at((sender, admitted_out, &subject), (receiver, admitted_in, &subject), packet, observer)
    }
}

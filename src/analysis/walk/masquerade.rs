//! Guests that put an address of their own in place of the source of what they forward.
//!
//! One idea: what a guest's connection tracking remembers of one trip: each flow as it came, and as it went on. Ports stay,
//! as Linux leaves them where nobody else has them.

use std::net::IpAddr;

use crate::model::{NetworkInterface, VmIx};
use crate::wire::{Packet, Tuple};

/// What a guest does to a packet that it sends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analysis) enum GuestStep {
    Unchanged,
    /// The source became its own address.
    Masked(IpAddr),
    /// The destination, its own address, became the one that was masked.
    Restored(IpAddr),
}

/// The flows of a trip that guests have sent on.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Masks(Vec<Mask>);

#[derive(Debug)]
struct Mask {
    vm: VmIx,
    before: Tuple,
    after: Tuple,
}

impl Masks {
    /// Masks a packet that leaves a guest over an interface. One of a version that the interface has no address of goes
    /// on as it is.
    pub(in crate::analysis) fn put(&mut self, vm: VmIx, nic: &NetworkInterface, packet: &mut Packet<'_>) -> GuestStep {
        let before = *packet.tuple();
        let own = nic.addresses.iter().find(|own| own.is_ipv4() == before.src.is_ipv4());
        let Some(own) = own else { return GuestStep::Unchanged };
        packet.set_src(*own);
        self.0.push(Mask { vm, before, after: *packet.tuple() });
        GuestStep::Masked(*own)
    }

    /// Remembers a flow that goes on as it is: its answers do so, too, wherever they go.
    pub(in crate::analysis) fn pass(&mut self, vm: VmIx, packet: &Packet<'_>) -> GuestStep {
        self.0.push(Mask { vm, before: *packet.tuple(), after: *packet.tuple() });
        GuestStep::Unchanged
    }

    /// Gives the answer of a masked flow its destination back; None for a packet of a flow that is new.
    pub(in crate::analysis) fn restore(&self, vm: VmIx, packet: &mut Packet<'_>) -> Option<GuestStep> {
        let asked = packet.tuple().mirrored();
        let mask = self.0.iter().find(|mask| (mask.vm, mask.after) == (vm, asked))?;
        if mask.before == mask.after {
            return Some(GuestStep::Unchanged);
        }
        packet.set_dst(mask.before.src);
        Some(GuestStep::Restored(mask.before.src))
    }
}

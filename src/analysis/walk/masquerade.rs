//! Guests that replace the source of what they forward by their own address (masquerade).
//!
//! One idea: it holds what a guest's connection tracking remembers of one round trip: each flow as it came, and as it
//! was forwarded. Ports stay, as Linux keeps them where they are free.

use std::net::IpAddr;

use crate::model::{NetworkInterface, VmIx};
use crate::wire::{Packet, Tuple};

/// What a guest does to a packet that it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analysis) enum GuestStep {
    Unchanged,
    /// The guest replaced the source by its own address.
    Masked(IpAddr),
    /// The guest replaced the destination, its own address, by the masked source.
    Restored(IpAddr),
}

/// The flows of a round trip that guests have forwarded.
#[derive(Debug, Default)]
pub(in crate::analysis) struct Masks(Vec<Mask>);

#[derive(Debug)]
struct Mask {
    vm: VmIx,
    before: Tuple,
    after: Tuple,
}

impl Masks {
    /// Masks a packet that leaves a guest over an interface. A packet of an IP version that the interface has no
    /// address of is forwarded unchanged.
    pub(in crate::analysis) fn put(&mut self, vm: VmIx, nic: &NetworkInterface, packet: &mut Packet<'_>) -> GuestStep {
        let before = *packet.tuple();
        let own = nic.addresses.iter().find(|own| own.is_ipv4() == before.src.is_ipv4());
        let Some(own) = own else { return GuestStep::Unchanged };
        packet.set_src(*own);
        self.0.push(Mask { vm, before, after: *packet.tuple() });
        GuestStep::Masked(*own)
    }

    /// Remembers a flow that is forwarded unchanged: its answers are forwarded unchanged, too.
    pub(in crate::analysis) fn pass(&mut self, vm: VmIx, packet: &Packet<'_>) -> GuestStep {
        self.0.push(Mask { vm, before: *packet.tuple(), after: *packet.tuple() });
        GuestStep::Unchanged
    }

    /// Restores the destination of a masked flow's answer; None for a packet of a new flow.
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

//! Packets that a subnet peering does not carry: a list of one of its links does not name their subnet.
//!
//! The gap shows in three ways: the peering drops the packet, there is no route to its destination, or
//! tag(VirtualNetwork) does not contain the destination.

use std::net::IpAddr;

use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::model::{SubnetIx, VnetIx};

use super::{Case, Diagnosis};

impl Case<'_> {
    /// The packet reached the peering (PEER-53).
    pub(super) fn unpeered(&self, leg: &Leg) -> Option<Diagnosis> {
        let receiver = leg.receiver()?;
        self.left_out(self.names.subnet(leg.from), self.names.subnet(receiver))
    }

    /// The subnet has no route to an address of a VNet that its own VNet is peered with, or no tag that contains it
    /// (PEER-54).
    pub(super) fn not_joined(&self, own: SubnetIx, home: VnetIx, address: IpAddr) -> Option<Diagnosis> {
        let mut subnets = self.names.network.vnet(home).subnets.iter();
        let subnet = subnets.position(|subnet| subnet.prefixes.iter().any(|range| range.contains(&address)))?;
        self.left_out(own, SubnetIx { vnet: home, subnet })
    }

    /// None if both links name both subnets.
    fn left_out(&self, a: SubnetIx, b: SubnetIx) -> Option<Diagnosis> {
        let network = self.names.network;
        let (ours, theirs) = (self.names.link(a.vnet, b.vnet)?, self.names.link(b.vnet, a.vnet)?);
        let lists = [
            (ours, "localSubnetNames", a, ours.extent.has_local(a.subnet)),
            (ours, "remoteSubnetNames", b, ours.extent.has_remote(b.subnet)),
            (theirs, "localSubnetNames", b, theirs.extent.has_local(b.subnet)),
            (theirs, "remoteSubnetNames", a, theirs.extent.has_remote(a.subnet)),
        ];
        let lacks = lists.into_iter().filter(|(.., named)| !named).map(|(link, list, subnet, _)| {
            format!("peering {}, {list} does not name subnet {}", link.name, subnet_name(network, subnet))
        });
        let lacks: Vec<_> = lacks.collect();
        if lacks.is_empty() {
            return None;
        }
        let mut edit = self.edit();
        edit.join_subnets(a, b);
        edit.join_subnets(b, a);
        let text = if lacks.len() == 1 { "add the subnet to that list" } else { "add the subnets to these lists" };
        Some(Diagnosis::with_fix(lacks.join("; "), text.to_owned(), edit))
    }
}

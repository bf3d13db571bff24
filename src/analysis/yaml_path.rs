//! The place of an object in the topology file: `virtualNetworks[0].subnets[1]`.

use std::net::IpAddr;

use crate::compile::RuleOwner;
use crate::model::{CollectionIx, Network, NetworkInterface, NicIx, NsgIx, RouteTableIx, SubnetIx, VnetIx};

pub(super) fn vnet(vnet: VnetIx) -> String {
    format!("virtualNetworks[{}]", vnet.0)
}

pub(super) fn subnet(subnet: SubnetIx) -> String {
    format!("{}.subnets[{}]", self::vnet(subnet.vnet), subnet.subnet)
}

/// A VNet's own link to another, where the file has it.
pub(super) fn link(network: &Network, own: VnetIx, remote: VnetIx) -> Option<String> {
    let mut at = network.vnet(own).peerings.iter().position(|link| link.remote == remote && !link.implied)?;
    // The file also lists links whose remote network was deleted.
    for lost in network.lost_links.iter().filter(|lost| lost.vnet == own) {
        at += usize::from(lost.place <= at);
    }
    Some(format!("{}.virtualNetworkPeerings[{at}]", vnet(own)))
}

pub(super) fn table(table: RouteTableIx) -> String {
    format!("routeTables[{}]", table.0)
}

pub(super) fn route(table: RouteTableIx, route: usize) -> String {
    format!("{}.routes[{route}]", self::table(table))
}

pub(super) fn nsg(nsg: NsgIx) -> String {
    format!("networkSecurityGroups[{}]", nsg.0)
}

/// A rule, by its index among its owner's rules.
pub(super) fn rule(owner: RuleOwner, rule: usize) -> String {
    match owner {
        RuleOwner::Nsg(nsg) => format!("{}.securityRules[{rule}]", self::nsg(nsg)),
        RuleOwner::Collection(at) => format!("{}.rules[{rule}]", collection(at)),
        RuleOwner::Firewall { cloud, policy } => {
            let policy = policy.map(|policy| format!("[{policy}].rules[{rule}]")).unwrap_or_default();
            format!("privateClouds[{}].distributedFirewall{policy}", cloud.0)
        }
    }
}

pub(super) fn collection(at: CollectionIx) -> String {
    let CollectionIx { manager, configuration, collection } = at;
    format!("networkManagers[{manager}].securityAdminConfigurations[{configuration}].ruleCollections[{collection}]")
}

pub(super) fn nic(network: &Network, nic: NicIx) -> String {
    let vm = network.nic(nic).virtual_machine;
    let at = network.vm(vm).network_interfaces.iter().position(|&own| own == nic);
    format!("virtualMachines[{}].networkInterfaces[{}]", vm.0, at.expect("a machine lists its interfaces"))
}

/// The IP configuration of an interface that has an address: the interface itself, in the short form.
pub(super) fn ip_configuration(network: &Network, nic: NicIx, address: IpAddr) -> String {
    let path = self::nic(network, nic);
    let NetworkInterface { addresses, ip_configurations, .. } = network.nic(nic);
    let at = addresses.iter().position(|own| *own == address).and_then(|at| ip_configurations.get(at));
    at.map_or_else(|| path.clone(), |at| format!("{path}.ipConfigurations[{at}]"))
}

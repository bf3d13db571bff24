//! Peerings that carry nothing, and virtual networks that can never be peered.

use crate::analysis::query::names::Names;
use crate::analysis::yaml_path;
use crate::compile::connected;
use crate::model::{LinkIx, Network, PeeringState, SubnetNames, VirtualNetwork, VnetIx};

use super::Finding;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let vnets = (0..names.network.virtual_networks.len()).map(VnetIx);
    let of = |vnet| {
        let halves = half_links(names.network, vnet).chain(overlap(names.network, vnet));
        halves.chain(one_sided_lists(names.network, vnet)).collect::<Vec<_>>()
    };
    vnets.flat_map(of).collect()
}

/// Links without a connected counterpart.
fn half_links(network: &Network, own: VnetIx) -> impl Iterator<Item = Finding> {
    let is_connected = move |remote| connected(network, own).any(|link| link.remote == remote);
    let halves = network.vnet(own).peerings.iter().filter(move |link| !is_connected(link.remote));
    halves.filter_map(move |link| {
        let (ours, theirs) = (&network.vnet(own).name, &network.vnet(link.remote).name);
        let (rule, state, help) = match link.state {
            PeeringState::Initiated | PeeringState::Connected => (
                "PEER-02",
                "only Initiated",
                format!(
                    "add to {}.virtualNetworkPeerings: {{name: {theirs}-{ours}, remoteVirtualNetwork: {ours}}}",
                    yaml_path::vnet(link.remote)
                ),
            ),
            PeeringState::Disconnected => {
                ("PEER-03", "Disconnected", "delete this link, then create both again".to_owned())
            }
        };
        Some(Finding {
            code: "one-way-peering",
            rule,
            message: format!(
                "peering {} is {state}: {theirs} has no connected link to {ours}, so it carries nothing",
                link.name
            ),
            path: yaml_path::link(network, own, link.remote)?,
            help,
        })
    })
}

/// Subnets that one link of a subnet peering names and the other does not: they take no part.
fn one_sided_lists(network: &Network, own: VnetIx) -> impl Iterator<Item = Finding> {
    let links = network.links().filter(move |at| at.vnet == own);
    let pairs = links.filter_map(|at| Some((at, network.subnet_names(at)?, network.counterpart(at)?)));
    let finding = |(at, ours, other): (LinkIx, SubnetNames, LinkIx)| {
        let theirs = network.subnet_names(other)?;
        let lists = [("localSubnetNames", ours.local, theirs.remote), ("remoteSubnetNames", ours.remote, theirs.local)];
        let (list, subnet) = lists.into_iter().find_map(|(list, ours, theirs)| {
            ours.into_iter().find(|subnet| !theirs.contains(subnet)).map(|subnet| (list, subnet))
        })?;
        let (link, other_name) = (network.link_name(at), network.link_name(other));
        let path = yaml_path::link(network, own, network.link(at).remote)?;
        Some(Finding {
            code: "one-sided-subnet-list",
            rule: "PEER-50",
            message: format!(
                "peering {link} names subnet {subnet} in {list}, and peering {other_name} does not name it: packets of \
                 {subnet} do not cross"
            ),
            path: format!("{path}.{list}"),
            help: "name the same subnets in both links, each from its own side".to_owned(),
        })
    };
    pairs.filter_map(finding).collect::<Vec<_>>().into_iter()
}

/// The first VNet before this one whose ranges overlap its own. Between peers that is an error of the file.
fn overlap(network: &Network, vnet: VnetIx) -> Option<Finding> {
    let own = network.vnet(vnet);
    let linked = |a: &VirtualNetwork, b: VnetIx| a.peerings.iter().any(|link| link.remote == b);
    let before = network.virtual_networks[..vnet.0].iter().enumerate();
    let (other, range) = before
        .filter(|(i, other)| !linked(own, VnetIx(*i)) && !linked(other, vnet))
        .find_map(|(_, other)| Some((other, shared(own, other)?)))?;
    Some(Finding {
        code: "overlapping-networks",
        rule: "ADR-07",
        message: format!("{} and {} overlap in {range}, and nothing connects them", own.name, other.name),
        path: format!("{}.addressSpace", yaml_path::vnet(vnet)),
        help: "Azure allows it, but they can never be peered, nor be reached from one gateway: \
               give one of them other ranges"
            .to_owned(),
    })
}

/// The smaller range of the first two that overlap.
fn shared(a: &VirtualNetwork, b: &VirtualNetwork) -> Option<String> {
    let pairs = a.address_space.iter().flat_map(|a| b.address_space.iter().map(move |b| (a, b)));
    let smaller = pairs.filter_map(|(a, b)| if a.contains(b) { Some(b) } else { b.contains(a).then_some(a) });
    smaller.map(ToString::to_string).next()
}

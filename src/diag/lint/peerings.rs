//! Peerings that carry nothing, and virtual networks that can never be peered.

use crate::compile::connected;
use crate::diag::names::Names;
use crate::diag::yaml_path;
use crate::model::{Network, PeeringState, VirtualNetwork, VnetIx};

use super::Finding;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let vnets = (0..names.network.virtual_networks.len()).map(VnetIx);
    vnets.flat_map(|vnet| half_links(names.network, vnet).chain(overlap(names.network, vnet))).collect()
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

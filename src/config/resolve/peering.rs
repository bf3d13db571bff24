//! Peering links: names, the one other side, overlaps, gateways and state (PEER-01, 02, 07, 20, 30).

use std::collections::HashSet;

use ipnet::IpNet;

use super::Scope;
use super::address::overlaps;
use super::names::{Names, or_unnamed, within};
use crate::config::diagnostic::{At, Report};
use crate::config::document;
use crate::model::{Peering, PeeringState, VirtualNetwork, VnetIx};

/// Stands for a remote that could not be found; that has been reported.
const UNKNOWN: VnetIx = VnetIx(usize::MAX);

/// The links of one virtual network. State and remote space need the other side: [`connect`] sets them.
pub(super) fn links(vnet: &document::VirtualNetwork, scope: &Scope, report: &mut Report) -> Vec<Peering> {
    within(vnet.peerings.len(), 500, "peerings", "LIM-03", vnet.at, report);
    Names::of("peering", vnet.peerings.iter().map(|link| &link.name), report);
    vnet.peerings.iter().map(|link| peering(link, scope, report)).collect()
}

fn peering(link: &document::Peering, scope: &Scope, report: &mut Report) -> Peering {
    let remote_address_space = link.remote_address_space.iter().flat_map(|space| &space.value);
    if let Some(flag) = link.use_remote_gateways.as_ref().filter(|flag| flag.value) {
        report
            .error(flag.at, "the remote virtual network does not have any gateways")
            .code("RemoteVnetHasNoGateways")
            .rule("PEER-30")
            .expected("false, or no `useRemoteGateways`");
    }
    Peering {
        name: or_unnamed(&link.name),
        remote: scope.vnet(&link.remote, report).unwrap_or(UNKNOWN),
        state: PeeringState::Initiated,
        remote_address_space: remote_address_space.map(|range| range.value).collect(),
        allow_virtual_network_access: link.allow_virtual_network_access,
        allow_forwarded_traffic: link.allow_forwarded_traffic,
        allow_gateway_transit: link.allow_gateway_transit,
        use_remote_gateways: link.use_remote_gateways.as_ref().is_some_and(|flag| flag.value),
    }
}

/// Sets what a link has from the other side: the remote's ranges, unless the link states what it last saw, and the state.
pub(super) fn connect(vnets: &mut [VirtualNetwork]) {
    let links: HashSet<(VnetIx, VnetIx)> = pairs(vnets).collect();
    let spaces: Vec<Vec<IpNet>> = vnets.iter().map(|vnet| vnet.address_space.clone()).collect();
    for (local, vnet) in vnets.iter_mut().enumerate() {
        for link in vnet.peerings.iter_mut().filter(|link| link.remote != UNKNOWN) {
            if link.remote_address_space.is_empty() {
                link.remote_address_space.clone_from(&spaces[link.remote.0]);
            }
            if links.contains(&(link.remote, VnetIx(local))) {
                link.state = PeeringState::Connected;
            }
        }
    }
}

fn pairs(vnets: &[VirtualNetwork]) -> impl Iterator<Item = (VnetIx, VnetIx)> {
    let local = |(local, vnet): (usize, &VirtualNetwork)| {
        vnet.peerings.iter().map(move |link| (VnetIx(local), link.remote)).collect::<Vec<_>>()
    };
    vnets.iter().enumerate().flat_map(local)
}

/// What a link may not be, now that both sides are known.
pub(super) fn check(documents: &[document::VirtualNetwork], vnets: &[VirtualNetwork], report: &mut Report) {
    // An overlap concerns both links of a peering; it is told once.
    let mut told = HashSet::new();
    for (local, (vnet, document)) in vnets.iter().zip(documents).enumerate() {
        let local = VnetIx(local);
        let mut remotes: Vec<(VnetIx, At)> = Vec::new();
        for (link, written) in vnet.peerings.iter().zip(&document.peerings) {
            let Some(reference) = written.remote.as_ref().filter(|_| link.remote != UNKNOWN) else { continue };
            if link.remote == local {
                report
                    .error(reference.at, format!("virtual network `{}` cannot be peered with itself", vnet.name))
                    .rule("PEER-01");
            } else if remotes.iter().any(|(other, _)| *other == link.remote) {
                report
                    .error(
                        reference.at,
                        format!("another peering of `{}` goes to `{}`", vnet.name, vnets[link.remote.0].name),
                    )
                    .code("AnotherPeeringAlreadyReferencesRemoteVnet")
                    .rule("PEER-01")
                    .expected("one link from a virtual network to another");
            } else {
                remotes.push((link.remote, reference.at));
            }
        }
        check_overlaps(local, &remotes, vnets, &mut told, report);
    }
}

/// PEER-07: the ranges of a virtual network and of everything it is peered with are apart from each other.
fn check_overlaps(
    local: VnetIx,
    remotes: &[(VnetIx, At)],
    vnets: &[VirtualNetwork],
    told: &mut HashSet<(VnetIx, VnetIx)>,
    report: &mut Report,
) {
    // Party 0 is the virtual network itself, party n the n-th remote.
    let parties: Vec<VnetIx> = std::iter::once(local).chain(remotes.iter().map(|(remote, _)| *remote)).collect();
    let spaces = parties.iter().enumerate();
    let owned: Vec<(IpNet, usize)> =
        spaces.flat_map(|(party, vnet)| vnets[vnet.0].address_space.iter().map(move |range| (*range, party))).collect();
    let ranges: Vec<IpNet> = owned.iter().map(|(range, _)| *range).collect();
    let mut clashes: Vec<((usize, usize), Vec<String>)> = Vec::new();
    for (outer, inner) in overlaps(&ranges) {
        let pair = (owned[outer].1.min(owned[inner].1), owned[outer].1.max(owned[inner].1));
        if pair.0 == pair.1 {
            continue;
        }
        let text = format!("{} and {}", ranges[outer], ranges[inner]);
        match clashes.iter_mut().find(|(other, _)| *other == pair) {
            Some((_, texts)) => texts.push(text),
            None => clashes.push((pair, vec![text])),
        }
    }
    for ((first, second), texts) in clashes {
        let (first_vnet, second_vnet) = (parties[first], parties[second]);
        if first == 0 && !told.insert((first_vnet.min(second_vnet), first_vnet.max(second_vnet))) {
            continue;
        }
        let (first_name, second_name) = (&vnets[first_vnet.0].name, &vnets[second_vnet.0].name);
        // Party 0 comes first, so that the second is always a remote.
        let at = remotes[second - 1].1;
        let diagnostic = if first == 0 {
            let message = format!("`{first_name}` and `{second_name}` cannot be peered: their address spaces overlap");
            report.error(at, message).code("VnetAddressSpacesOverlap")
        } else {
            let local = &vnets[local.0].name;
            let message = format!("`{second_name}` overlaps `{first_name}`, which is peered with `{local}` already");
            report.error(at, message).code("VnetAddressSpaceOverlapsWithAlreadyPeeredVnet")
        };
        diagnostic.rule("PEER-07").help(format!("overlapping: {}", texts.join(", ")));
    }
}

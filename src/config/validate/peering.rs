//! Peering links: names, the one other side and state (PEER-01, 02, 20).

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::schema;
use crate::config::yaml::diagnostic::Report;
use crate::model::{Links, Peering, PeeringState, VirtualNetwork, VnetIx};

use super::names::{Names, or_unnamed, within};
use super::overlaps::{Peered, Reported};
use super::{Scope, classic, cloud, extent};

/// Stands for a remote that could not be found; that has been reported.
pub(super) const UNKNOWN: VnetIx = VnetIx(usize::MAX);

/// The links of one virtual network. State and remote space need the other side: [`connect`] sets them.
pub(super) fn links(own: VnetIx, vnet: &schema::VirtualNetwork, scope: &Scope, report: &mut Report) -> Vec<Peering> {
    within(vnet.peerings.len(), 500, "peerings", "LIM-03", vnet.at, report);
    Names::of("peering", vnet.peerings.iter().map(|link| &link.name), report);
    vnet.peerings.iter().map(|link| peering(own, link, scope, report)).collect()
}

fn peering(own: VnetIx, link: &schema::Peering, scope: &Scope, report: &mut Report) -> Peering {
    let remote = scope.vnet(&link.remote, report);
    let remote_address_space = link.remote_address_space.iter().flat_map(|space| &space.value);
    Peering {
        name: or_unnamed(&link.name),
        remote: remote.unwrap_or(UNKNOWN),
        implied: false,
        state: PeeringState::Initiated,
        extent: extent::extent(own, remote, link, scope, report),
        remote_address_space: remote_address_space.map(|range| range.value).collect(),
        allow_virtual_network_access: link.allow_virtual_network_access,
        allow_forwarded_traffic: link.allow_forwarded_traffic,
        allow_gateway_transit: link.allow_gateway_transit,
        use_remote_gateways: link.use_remote_gateways.as_ref().is_some_and(|flag| flag.value),
    }
}

/// Sets what a link has from the other side: the remote's ranges, unless the link states what it last saw, and the
/// state.
pub(super) fn connect(vnets: &mut [VirtualNetwork]) {
    let links: HashSet<(VnetIx, VnetIx)> = pairs(vnets).collect();
    for own in 0..vnets.len() {
        for i in 0..vnets[own].peerings.len() {
            let link = &vnets[own].peerings[i];
            if link.remote == UNKNOWN {
                continue;
            }
            let seen = link.remote_ranges(&vnets[link.remote.0]);
            let link = &mut vnets[own].peerings[i];
            if link.remote_address_space.is_empty() {
                link.remote_address_space = seen;
            }
            if links.contains(&(link.remote, VnetIx(own))) {
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
pub(super) fn check(
    documents: &[Arc<schema::VirtualNetwork>],
    vnets: &[VirtualNetwork],
    existing: &Links,
    report: &mut Report,
) {
    let mut reported = Reported::new();
    for (own, (vnet, document)) in vnets.iter().zip(documents).enumerate() {
        let own = VnetIx(own);
        let mut peered = Peered { own, links: Vec::new(), vnets, documents, existing };
        for (link, written) in vnet.peerings.iter().zip(&document.peerings) {
            let Some(reference) = written.remote.as_ref().filter(|_| link.remote != UNKNOWN) else { continue };
            let remote = &vnets[link.remote.0];
            if link.remote == own {
                report
                    .error(reference.at, format!("virtual network `{}` cannot be peered with itself", vnet.name))
                    .rule("PEER-01");
            } else if let Some((first, _)) = peered.links.iter().find(|(other, _)| other.remote == link.remote) {
                report
                    .error(
                        reference.at,
                        format!(
                            "Peering {}/{} already references remote virtual network {}. Cannot add another peering \
                             referencing the same remote virtual network",
                            vnet.name, first.name, remote.name
                        ),
                    )
                    .code("AnotherPeeringAlreadyReferencesRemoteVnet")
                    .rule("PEER-01")
                    .expected("one link from a virtual network to another");
            } else {
                peered.links.push((link, reference.at));
                classic::check(link, written, [vnet, remote], report);
                cloud::check(vnet, remote, reference.at, report);
                extent::check(link, written, (vnet, remote), report);
                // Both links are at fault; it is reported at the later one.
                if let Some(other) =
                    remote.peerings.iter().find(|other| other.remote == own && !other.implied && link.remote < own)
                {
                    extent::check_types(link, other, [&vnet.name, &remote.name], reference.at, report);
                }
            }
        }
        for link in vnet.peerings.iter().filter(|link| link.implied) {
            let theirs = vnets[link.remote.0].peerings.iter().zip(&documents[link.remote.0].peerings);
            let site = theirs.filter(|(back, _)| back.remote == own).find_map(|(_, written)| written.remote.as_ref());
            peered.links.extend(site.map(|reference| (link, reference.at)));
        }
        peered.check(&mut reported, report);
    }
}

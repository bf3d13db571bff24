//! What a link joins: complete virtual networks, or the subnets that it names (PEER-50, PEER-52).

use crate::config::schema::{self, SubnetNames};
use crate::config::yaml::diagnostic::{At, Report, clip};
use crate::model::{PeeredSubnets, Peering, PeeringExtent, VirtualNetwork, VnetIx};

use super::Scope;
use super::names::within;

/// LIM-17: both lists of a link together.
const MAX_SUBNETS: usize = 200;

pub(super) fn extent(
    own: VnetIx,
    remote: Option<VnetIx>,
    link: &schema::Peering,
    scope: &Scope,
    report: &mut Report,
) -> PeeringExtent {
    let Some(at) = link.peer_complete_vnets.as_ref().filter(|complete| !complete.value).map(|complete| complete.at)
    else {
        without_effect(link, report);
        return PeeringExtent::CompleteVnets;
    };
    let lists = [&link.local_subnet_names, &link.remote_subnet_names];
    let count = lists.into_iter().flatten().map(|names| names.value.len()).sum();
    within(count, MAX_SUBNETS, "subnets in one peering", "LIM-17", at, report);
    for (key, has) in ["localSubnetNames", "remoteSubnetNames"].into_iter().zip(link.has_subnet_names) {
        if !has {
            report
                .error(at, format!("a peering of subnets needs `{key}`"))
                .rule("PEER-50")
                .expected(format!("`{key}: [SUBNET, …]`, or `peerCompleteVnets: true`"));
        }
    }
    let local = subnets(Some(own), &link.local_subnet_names, scope, report);
    let remote = subnets(remote, &link.remote_subnet_names, scope, report);
    let only_ipv6 = link.only_ipv6.as_ref().is_some_and(|only| only.value);
    PeeringExtent::Subnets(PeeredSubnets { local, remote, only_ipv6 })
}

/// The error about subnets where complete virtual networks are peered.
fn without_effect(link: &schema::Peering, report: &mut Report) {
    let lists = [
        (link.local_subnet_names.as_ref().map(|names| names.at), "localSubnetNames"),
        (link.remote_subnet_names.as_ref().map(|names| names.at), "remoteSubnetNames"),
        (link.only_ipv6.as_ref().filter(|only| only.value).map(|only| only.at), "enableOnlyIPv6Peering"),
    ];
    for (at, key) in lists {
        if let Some(at) = at {
            report
                .warning(at, format!("`{key}` means nothing where complete virtual networks are peered"))
                .rule("PEER-50")
                .help("set `peerCompleteVnets: false`, or leave this out");
        }
    }
}

/// The subnets that one list names; a missing list and an unknown virtual network have been reported.
fn subnets(vnet: Option<VnetIx>, names: &SubnetNames, scope: &Scope, report: &mut Report) -> Vec<usize> {
    let (Some(vnet), Some(names)) = (vnet, names) else { return Vec::new() };
    let mut found = Vec::new();
    for name in &names.value {
        match scope.subnets[vnet.0].named(&name.value, name.at, report) {
            Some(subnet) if found.contains(&subnet) => {
                report.error(name.at, format!("`{}` is named twice", clip(&name.value))).rule("PEER-50");
            }
            Some(subnet) => found.push(subnet),
            None => {}
        }
    }
    found
}

/// What one link may not say of its two virtual networks.
pub(super) fn check(
    link: &Peering,
    written: &schema::Peering,
    (own, remote): (&VirtualNetwork, &VirtualNetwork),
    report: &mut Report,
) {
    let PeeringExtent::Subnets(subnets) = &link.extent else { return };
    let Some(only) = written.only_ipv6.as_ref().filter(|_| subnets.only_ipv6) else { return };
    for (ranges, vnet) in [(link.local_ranges(own), own), (link.remote_ranges(remote), remote)] {
        if ranges.is_empty() {
            report
                .error(only.at, format!("none of the peered subnets of `{}` has an IPv6 range", vnet.name))
                .rule("PEER-50")
                .expected("dual-stack subnets on both sides, or no `enableOnlyIPv6Peering`");
        }
    }
}

/// PEER-52: both links of a peering are of one type.
pub(super) fn check_types(link: &Peering, other: &Peering, names: [&str; 2], at: At, report: &mut Report) {
    let types = [link, other].map(|link| match link.extent {
        PeeringExtent::CompleteVnets => "complete virtual networks",
        PeeringExtent::Subnets(_) => "subnets",
    });
    if types[0] != types[1] {
        let [own, remote] = names;
        report
            .error(
                at,
                format!(
                    "peering {own}/{} peers {}, and peering {remote}/{} peers {}",
                    link.name, types[0], other.name, types[1]
                ),
            )
            .rule("PEER-52")
            .expected("the same `peerCompleteVnets` on both links");
    }
}

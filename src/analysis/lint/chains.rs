//! Chains through appliances whose answers take another path, or that depend on a contested flag.
//!
//! One machine stands for its subnet, and filters are removed: any difference between the two directions is then
//! routing.

use std::collections::HashSet;

use crate::analysis::query::Probe;
use crate::analysis::query::names::{Names, nic_name, subnet_name};
use crate::analysis::query::nodes::{Node, nodes};
use crate::analysis::walk::branches::Branches;
use crate::analysis::walk::round_trip::{RoundTrip, foreign_links};
use crate::analysis::walk::{ScratchFlows, Walk};
use crate::analysis::yaml_path;
use crate::model::{ForwardedMode, NextHopType, Peering, RouteSource, SubnetIx, VnetIx};

use super::Finding;

/// About the number of pairs tried at most: beyond it each subnet is paired only with as many of those after it as its
/// share allows.
const MAX_TRIPS: usize = 50_000;

pub(super) fn findings(names: Names<'_>, open: Names<'_>) -> Vec<Finding> {
    let speakers = speakers(open);
    let steered = |(_, (subnet, _)): &(usize, &(SubnetIx, Node))| has_appliance_route(open, *subnet);
    let askers: Vec<_> = speakers.iter().enumerate().filter(steered).collect();
    let share = MAX_TRIPS.div_ceil(askers.len().max(1));
    let (mut findings, mut scratch) = (Vec::new(), ScratchFlows::new());
    for (i, (_, asker)) in askers {
        for (to, answerer) in speakers.iter().cycle().skip(i + 1).take(share.min(speakers.len() - 1)) {
            findings.extend(pair(names, open, &mut scratch, (asker, *to, answerer)));
        }
    }
    findings
}

fn pair(
    names: Names<'_>,
    open: Names<'_>,
    scratch: &mut ScratchFlows,
    (asker, to, answerer): (&Node, SubnetIx, &Node),
) -> Vec<Finding> {
    let ends = asker.source.meet(open.network, open.compiled, answerer.ends.iter().cloned());
    let Some(ends) = ends else { return Vec::new() };
    let branches = Branches::take(open, scratch, &ends, Probe::Ping);
    let walks = branches.trips().iter().flat_map(RoundTrip::walks);
    let links = walks.flat_map(|walk| foreign_links(open, walk).map(move |(into, link)| (walk, into, link)));
    let off = links.filter(|(_, _, link)| !link.allow_forwarded_traffic);
    let contested = off.filter_map(|(walk, into, link)| contested(names, walk, into, link));
    one_sided(open, asker, answerer, to, &branches).into_iter().chain(contested).collect()
}

/// The first machine of each subnet that is no appliance, or the sender behind its virtual network's one TUN.
fn speakers(names: Names<'_>) -> Vec<(SubnetIx, Node)> {
    let mut spoken_for = HashSet::new();
    let nodes = nodes(names.network, names.compiled).into_iter().filter_map(|node| {
        let nic = node.ends.first()?.nic?;
        // An outside node has no subnet whose routes could be at fault.
        Some((names.home(nic)?, nic, node))
    });
    let ends = nodes.filter(|(_, nic, _)| !names.compiled.snapshot.nic(*nic).forwarding);
    ends.filter(|(subnet, ..)| spoken_for.insert(*subnet)).map(|(subnet, _, node)| (subnet, node)).collect()
}

fn has_appliance_route(names: Names<'_>, subnet: SubnetIx) -> bool {
    let mut rows = names.compiled.effective_routes(subnet).iter();
    rows.any(|row| row.source == RouteSource::User && row.next_hop_type == NextHopType::VirtualAppliance)
}

/// CH-03: the request passes an appliance that the answer does not pass.
fn one_sided(
    names: Names<'_>,
    asker: &Node,
    answerer: &Node,
    subnet: SubnetIx,
    branches: &Branches,
) -> Option<Finding> {
    let (trip, there, back) = branches.trips().iter().find_map(|trip| {
        let back = trip.back.as_ref()?;
        let there = names.via(&trip.forward);
        let symmetric = back.delivered() && trip.asymmetry(names).is_none();
        (!there.is_empty() && !symmetric).then_some((trip, there, back))
    })?;
    let way = names.via(back);
    let answer = match back.outcome.reason() {
        Some(reason) => format!("is dropped ({reason})"),
        None if way.is_empty() => "goes back without it".to_owned(),
        None => format!("goes back through {}", way.join(", ")),
    };
    let (asker, answerer, there) = (&asker.name, &answerer.name, there.join(", "));
    // Where each direction is hashed separately, no route on the answering side mends it.
    let spread = branches.trips().len() > 1 && back.delivered() && !way.is_empty();
    let (some, help) = if spread {
        let help = "share state between these appliances, translate sources there, or use a single one".to_owned();
        ("for some flows ", help)
    } else {
        ("", help(names, subnet, trip))
    };
    Some(Finding {
        code: "one-sided-chain",
        rule: "CH-03",
        message: format!(
            "{asker} reaches {answerer} through {there}, and {some}{answerer}'s answer {answer}: a stateful appliance sees half of the flow"
        ),
        path: format!("{}.routeTable", yaml_path::subnet(subnet)),
        help,
    })
}

fn help(names: Names<'_>, subnet: SubnetIx, trip: &RoundTrip) -> String {
    let src = trip.forward.src;
    let home = trip.forward.legs.first().map(|leg| names.vnet(leg.from));
    let spaces = home.iter().flat_map(|vnet| &names.network.vnet(*vnet).address_space);
    let prefix = spaces.into_iter().find(|prefix| prefix.contains(&src)).map_or(src.into(), |prefix| *prefix);
    let last = trip.forward.appliances().next_back();
    let nic = last.and_then(|nic| names.compiled.sender(nic).nic());
    let address = nic.and_then(|nic| {
        let addresses = &names.network.nic(nic).addresses;
        let address = addresses.iter().find(|address| address.is_ipv4() == src.is_ipv4())?;
        Some(format!("{address} ({})", nic_name(names.network, nic)))
    });
    format!(
        "route {prefix} from subnet {} to {}",
        subnet_name(names.network, subnet),
        address.unwrap_or_else(|| "the appliance".to_owned())
    )
}

/// PEER-23, PEER-24: the link of the entered network decides.
fn contested(names: Names<'_>, walk: &Walk, into: VnetIx, link: &Peering) -> Option<Finding> {
    let network = names.network;
    let effect = match network.emulation.forwarded {
        ForwardedMode::TagOnly => "Azure's documents disagree on whether it is dropped",
        ForwardedMode::Enforce => "it is dropped",
    };
    Some(Finding {
        code: "forwarded-traffic",
        rule: "PEER-23",
        message: format!(
            "forwarded traffic from {} enters {} over peering {}, which does not allow it: {effect}",
            walk.src,
            network.vnet(into).name,
            link.name
        ),
        path: format!("{}.allowForwardedTraffic", yaml_path::link(network, into, link.remote)?),
        help: "set `allowForwardedTraffic: true` on this link".to_owned(),
    })
}

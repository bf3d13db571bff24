//! Routes to appliances that cannot forward: no machine has the address, it is out of reach, it does not forward, or it
//! loops.
//!
//! `compile` finds the interface at a next hop. Whether the packet comes back to the appliance is tried: the appliance
//! sends a packet that the route matches.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::analysis::query::names::{Names, nic_name, subnet_name};
use crate::analysis::query::{Probe, owners};
use crate::analysis::walk::branches::{alike, explore};
use crate::analysis::walk::masquerade::Masks;
use crate::analysis::walk::{Outcome, ScratchFlows, Walk, egress};
use crate::analysis::yaml_path;
use crate::compile::{Sender, difference};
use crate::dataplane::{NextHop, NicId};
use crate::model::{NicIx, RouteState};

use super::Finding;
use super::routes::{Appliance, Use, uses};

/// `open` is the network without its filters.
pub(super) fn findings(names: Names<'_>, open: Names<'_>) -> Vec<Finding> {
    let every = || uses(names).flat_map(|route| route.appliances().into_iter().map(move |next| (route, next)));
    let mut findings: Vec<_> = every().filter_map(|(route, next)| finding(names, &route, &next)).collect();
    // A loop is reported once, wherever it is entered.
    let mut seen = HashSet::new();
    let mut scratch = ScratchFlows::new();
    // From one appliance to one address the path is always the same, so it is walked once.
    let mut tried = HashSet::new();
    let circles = every().filter_map(|(route, next)| {
        let NextHop::Nic(_) = next.hop else { return None };
        let dst = sample(names, &route)?;
        tried.insert((next.hop, dst)).then(|| circle(open, &mut scratch, next.hop, dst))?
    });
    findings.extend(circles.filter_map(|(nics, finding)| seen.insert(nics).then_some(finding)));
    findings
}

fn finding(names: Names<'_>, route: &Use<'_>, next: &Appliance) -> Option<Finding> {
    let appliance = match next.hop {
        NextHop::Unreachable => return Some(unreachable(names, route, next)),
        NextHop::Nic(nic) => nic,
        _ => return None,
    };
    let Sender::Nic(nic) = names.compiled.sender(appliance) else {
        return Some(behind_tun(names, route, appliance, next));
    };
    let found = names.network.nic(nic);
    // A route to the appliance's own address asks for no forwarding.
    if route.row.prefixes[..] == [IpNet::from(next.address)] {
        return None;
    }
    if !found.enable_ip_forwarding {
        return Some(not_forwarding(names, route, nic));
    }
    (!names.network.vm(found.virtual_machine).guest_forwarding).then(|| forgetful_guest(names, route, nic))
}

/// UDR-11 where an interface has the address, UDR-12 where none has.
fn unreachable(names: Names<'_>, route: &Use<'_>, next: &Appliance) -> Finding {
    let address = next.address;
    let own = &names.network.vnet(route.subnet.vnet).name;
    let (rule, owner, help) = match owners(names.compiled, address).next() {
        Some((vnet, nic)) => {
            let remote = &names.network.vnet(vnet).name;
            let owner = format!("{} in {remote}, which {own} is not connected with directly", names.nic(nic));
            ("UDR-11", owner, format!("peer {own} with {remote}, or use an appliance in {own} or in one of its peers"))
        }
        None => (
            "UDR-12",
            "an address that no machine has".to_owned(),
            format!("use the address of an appliance in {own} or in one of its peers"),
        ),
    };
    Finding {
        code: "unreachable-next-hop",
        rule,
        message: format!(
            "{}: next hop {address} is {owner}, so what subnet {} sends there is dropped",
            route.name(names),
            subnet_name(names.network, route.subnet)
        ),
        path: next.path.clone(),
        help,
    }
}

fn behind_tun(names: Names<'_>, route: &Use<'_>, appliance: NicId, next: &Appliance) -> Finding {
    Finding {
        code: "appliance-not-forwarding",
        rule: "NIC-03",
        message: format!(
            "{}: the next hop is behind the one device of subnet {}, where no machine can forward",
            route.name(names),
            names.nic(appliance)
        ),
        path: next.path.clone(),
        help: "give the appliance a network interface of its own, with `enableIPForwarding: true`".to_owned(),
    }
}

fn not_forwarding(names: Names<'_>, route: &Use<'_>, nic: NicIx) -> Finding {
    Finding {
        code: "appliance-not-forwarding",
        rule: "NIC-03",
        message: format!(
            "{} leads to {}, which has no IP forwarding: it drops what is not for its own address",
            route.name(names),
            nic_name(names.network, nic)
        ),
        path: format!("{}.enableIPForwarding", yaml_path::nic(names.network, nic)),
        help: "set `enableIPForwarding: true` on this interface".to_owned(),
    }
}

fn forgetful_guest(names: Names<'_>, route: &Use<'_>, nic: NicIx) -> Finding {
    let vm = names.network.nic(nic).virtual_machine;
    Finding {
        code: "guest-not-forwarding",
        rule: "NIC-05",
        message: format!(
            "{} leads to {}, whose guest does not forward: its kernel drops what its interface lets in",
            route.name(names),
            names.network.vm(vm).name
        ),
        path: format!("virtualMachines[{}].guest.forwarding", vm.0),
        help: "set `guest: {forwarding: true}`, or leave `guest` out".to_owned(),
    }
}

/// UDR-17: the appliance's own routes, or those of the next appliance, bring the packet back (FAB-14). Returns the
/// interfaces of the loop too, sorted.
fn circle(open: Names<'_>, scratch: &mut ScratchFlows, hop: NextHop, dst: IpAddr) -> Option<(Vec<NicId>, Finding)> {
    let Names { network, compiled } = open;
    let NextHop::Nic(appliance) = hop else { return None };
    let Sender::Nic(nic) = compiled.sender(appliance) else { return None };
    let src = *network.nic(nic).addresses.iter().find(|address| address.is_ipv4() == dst.is_ipv4())?;
    let from = compiled.nic_of(egress(network, network.nic(nic).virtual_machine, dst));
    let flow = |id| Probe::Ping.flow(src, dst, id);
    let take = |id| {
        scratch.clear();
        (id, Walk::take(open, scratch, &mut Masks::default(), from, &Probe::Ping.request(src, dst, id)))
    };
    // An appliance's routes may be spread too, so that only some flows loop.
    let walks =
        explore(take, |(id, walk), other| alike(&walk.choices(compiled).collect::<Vec<_>>(), &flow(*id), &flow(other)));
    let walk = walks.into_iter().map(|(_, walk)| walk).find(|walk| matches!(walk.outcome, Outcome::Loop(_)))?;
    let Outcome::Loop(first) = walk.outcome else { return None };
    let start = walk.legs.iter().position(|leg| leg.from == first)?;
    let mut nics: Vec<_> = walk.legs[start..].iter().map(|leg| leg.from).collect();
    let circle: Vec<_> = nics.iter().map(|&nic| open.node(nic)).collect();
    nics.sort_unstable();
    let closing = walk.last();
    let (fib, row, _) = closing.route()?;
    let closing_route =
        uses(open).find(|other| other.subnet == open.subnet(closing.from) && other.row == compiled.route(fib, row))?;
    let (name, subnet) = (closing_route.name(open), subnet_name(network, closing_route.subnet));
    let (rule, message, help) = if circle.len() == 1 {
        let appliance = &circle[0];
        (
            "UDR-17",
            format!(
                "loop at {appliance}: it is in subnet {subnet}, which it serves, so {name} sends its own packets back to it"
            ),
            format!("move {appliance} to a subnet of its own, without this route table"),
        )
    } else {
        (
            "FAB-14",
            format!("loop through {}: {name} closes it in subnet {subnet}", circle.join(", ")),
            format!("leave {dst} out of the routes of one of these appliances' subnets"),
        )
    };
    Some((nics, Finding { code: "routing-loop", rule, message, path: closing_route.path(), help }))
}

/// An address that the subnet sends by this route and not by a longer one.
fn sample(names: Names<'_>, route: &Use<'_>) -> Option<IpAddr> {
    let first =
        route.row.prefixes.first()?.hosts().next().filter(|first| !UNROUTED.iter().any(|out| out.contains(first)));
    if first.is_some_and(|first| route.takes(names, first)) {
        return first;
    }
    let rows = names.compiled.effective_routes(route.subnet).iter();
    let longer = rows.filter(|row| row.state == RouteState::Active && row.prefixes != route.row.prefixes);
    let longer = longer.flat_map(|row| row.prefixes.iter().copied()).filter(|prefix| route.row.prefixes.cover(prefix));
    let holes: Vec<_> = longer.chain(UNROUTED).collect();
    difference(&route.row.prefixes, &holes).iter().find_map(|prefix| prefix.hosts().next())
}

/// Addresses that no guest sends to: this network, loopback, link-local, multicast and beyond.
const UNROUTED: [IpNet; 7] =
    [v4(0, 0, 8), v4(127, 0, 8), v4(169, 254, 16), v4(224, 0, 3), v6(0, 8), v6(0xfe80, 10), v6(0xff00, 8)];

const fn v4(a: u8, b: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length))
}

const fn v6(first: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
}

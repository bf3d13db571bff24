//! User-defined routes that Azure's own longer routes override.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use crate::analysis::query::names::{Names, subnet_name};
use crate::analysis::yaml_path;
use crate::compile::connected;
use crate::dataplane::{Fib, NextHop, VnetId};
use crate::model::{EffectiveRoute, NextHopType, RouteSource, RouteState, RouteTable, RouteTableIx, SubnetIx, VnetIx};

use super::Finding;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let mut taking = None;
    let shadowed = uses(names).filter_map(|route| {
        // A subnet's routes are adjacent.
        let taking = match &mut taking {
            Some((subnet, taking)) if *subnet == route.subnet => taking,
            other => &mut other.insert((route.subnet, taking_precedence(names, route.subnet))).1,
        };
        shadowed(names, &route, taking)
    });
    let far = uses(names).filter(|route| names.network.route_tables[route.table.0].disable_peering_route);
    shadowed.chain(far.filter_map(|route| far_without_peering_routes(names, &route))).collect()
}

/// A user-defined route as one subnet has it.
#[derive(Clone, Copy)]
pub(super) struct Use<'a> {
    pub(super) subnet: SubnetIx,
    pub(super) table: RouteTableIx,
    /// The route's index in the table.
    pub(super) at: usize,
    pub(super) row: &'a EffectiveRoute,
    pub(super) next_hop: NextHop,
    fib: &'a Fib,
}

/// One next hop of a route.
pub(super) struct Appliance {
    pub(super) address: IpAddr,
    pub(super) hop: NextHop,
    pub(super) path: String,
}

/// Every user-defined route in every subnet that has it.
pub(super) fn uses<'a>(names: Names<'a>) -> impl Iterator<Item = Use<'a>> {
    let Names { network, compiled } = names;
    let places = |table: &'a Arc<RouteTable>| -> HashMap<_, _, RandomState> {
        table.routes.iter().enumerate().map(|(at, route)| (&*route.name, at)).collect()
    };
    let places: Rc<[_]> = network.route_tables.iter().map(places).collect();
    let vnets = network.virtual_networks.iter().enumerate();
    let subnets = vnets.flat_map(|(vnet, found)| {
        found
            .subnets
            .iter()
            .enumerate()
            .filter_map(move |(subnet, found)| Some((SubnetIx { vnet: VnetIx(vnet), subnet }, found.route_table?)))
    });
    subnets.flat_map(move |(subnet, table)| {
        let fib = compiled.snapshot.fib(compiled.fib(subnet));
        let rows = compiled.effective_routes(subnet).iter().zip(&*fib.next_hops);
        let places = Rc::clone(&places);
        rows.filter(|(row, _)| row.source == RouteSource::User).filter_map(move |(row, &next_hop)| {
            let at = *places[table.0].get(row.name.as_deref()?)?;
            Some(Use { subnet, table, at, row, next_hop, fib })
        })
    })
}

impl Use<'_> {
    /// `route to-spokes of table via-nva`.
    pub(super) fn name(&self, names: Names<'_>) -> String {
        let table = &names.network.route_tables[self.table.0];
        format!("route {} of table {}", table.routes[self.at].name, table.name)
    }

    pub(super) fn path(&self) -> String {
        yaml_path::route(self.table, self.at)
    }

    /// Whether its subnet sends to an address by this route.
    pub(super) fn takes(&self, names: Names<'_>, address: IpAddr) -> bool {
        let row = self.fib.lpm.lookup(address).map(|row| names.compiled.route(names.compiled.fib(self.subnet), row));
        row.is_some_and(|row| std::ptr::eq(row, self.row))
    }

    /// Its appliances, each with its place in the file.
    pub(super) fn appliances(&self) -> Vec<Appliance> {
        let spread = self.next_hop.spread();
        let hops = spread.map_or(std::slice::from_ref(&self.next_hop), |spread| self.fib.spread(spread).members());
        let members = self.row.next_hop_ip.iter().zip(hops).enumerate();
        let place = |i| {
            if spread.is_some() { format!("nextHop.nextHopIpAddresses[{i}]") } else { "nextHopIpAddress".to_owned() }
        };
        let appliance =
            |(i, (&address, &hop))| Appliance { address, hop, path: format!("{}.{}", self.path(), place(i)) };
        members.map(appliance).collect()
    }
}

/// The rows of a subnet that override user-defined routes by a longer prefix, and where they lead.
fn taking_precedence(names: Names<'_>, subnet: SubnetIx) -> Vec<(&EffectiveRoute, NextHop)> {
    let next_hops = &names.compiled.snapshot.fib(names.compiled.fib(subnet)).next_hops;
    let rows = names.compiled.effective_routes(subnet).iter().zip(&**next_hops);
    rows.map(|(row, hop)| (&**row, *hop)).filter(|(row, _)| takes_precedence(row)).collect()
}

/// UDR-26. A default route is meant for the rest, so it is left out. So is a route to an appliance that is alone in its
/// network: peering with it is meant to reach it directly.
fn shadowed(names: Names<'_>, route: &Use<'_>, taking: &[(&EffectiveRoute, NextHop)]) -> Option<Finding> {
    if route.row.prefixes.iter().all(|prefix| prefix.prefix_len() == 0) {
        return None;
    }
    let is_longer = |row: &EffectiveRoute| {
        let inside = || row.prefixes.iter().all(|prefix| route.row.prefixes.cover(prefix));
        row.state == RouteState::Active && row.prefixes != route.row.prefixes && inside()
    };
    let longer: Vec<_> = taking.iter().filter(|(row, _)| is_longer(row)).collect();
    if longer.is_empty() {
        return None;
    }
    let rows = names.compiled.effective_routes(route.subnet).iter();
    let users = rows.filter(|row| row.source == RouteSource::User && is_longer(row));
    let users: Vec<IpNet> = users.flat_map(|row| row.prefixes.iter().copied()).collect();
    let users = IpNet::aggregate(&users);
    let steered = |prefix: &IpNet| users.iter().any(|user| user.contains(prefix));
    let home = home(names, route);
    let lost = longer.into_iter().filter(|(row, _)| !row.prefixes.iter().all(steered)).filter_map(|(row, hop)| {
        let taker = taker(names, route.subnet, *hop);
        if !matches!(hop, NextHop::Vnet(vnet) if Some(*vnet) == home) {
            return Some((row.prefixes.to_string(), format!("{} ({taker})", row.prefixes)));
        }
        // The hub's own machines are reached directly, past its appliance.
        let (subnet, prefix) =
            served(names, home?).find(|(_, prefix)| row.prefixes.cover(prefix) && !steered(prefix))?;
        let subnet = subnet_name(names.network, subnet);
        Some((prefix.to_string(), format!("{} ({taker}; {subnet} has machines)", row.prefixes)))
    });
    let (ranges, takers): (Vec<_>, Vec<_>) = lost.unzip();
    let first = ranges.first()?;
    Some(Finding {
        code: "shadowed-route",
        rule: "UDR-26",
        message: format!(
            "{} ({}) does not take traffic from subnet {} to {}: a longer route does",
            route.name(names),
            route.row.prefixes,
            subnet_name(names.network, route.subnet),
            takers.join(", ")
        ),
        path: format!("{}.addressPrefix", route.path()),
        help: format!("to steer it, add a route for {first} with the same next hop"),
    })
}

/// The ranges of a network's subnets that have machines that do not forward.
fn served(names: Names<'_>, vnet: VnetId) -> impl Iterator<Item = (SubnetIx, IpNet)> {
    let nics = names.network.network_interfaces.iter();
    let serving = nics.filter(move |nic| nic.subnet.vnet.0 == vnet.0 as usize && !nic.enable_ip_forwarding);
    serving.flat_map(move |nic| {
        let ranges = names.network.subnet(nic.subnet).prefixes.iter();
        let own = ranges.filter(|range| nic.addresses.iter().any(|address| range.contains(address)));
        own.map(|range| (nic.subnet, *range))
    })
}

/// Azure supports `disablePeeringRoute` only with appliances of the subnet's own VNet. Here the owner of the address is
/// the next hop (UDR-12), so such a file works here and may not in Azure.
fn far_without_peering_routes(names: Names<'_>, route: &Use<'_>) -> Option<Finding> {
    let table = &names.network.route_tables[route.table.0];
    let own = route.subnet.vnet;
    let away = |appliance: &Appliance| vnet_of(names, appliance.hop).filter(|vnet| vnet.0 as usize != own.0);
    let mut appliances = route.appliances().into_iter().filter(|_| table.disable_peering_route);
    let (far, path) = appliances.find_map(|appliance| Some((away(&appliance)?, appliance.path)))?;
    let (far, own) = (names.vnet_name(far), &names.network.vnet(own).name);
    Some(Finding {
        code: "peering-routes-disabled",
        rule: "UDR-11",
        message: format!(
            "{} leads to an appliance in {far}, and its table has `disablePeeringRoute: All`: Azure supports that with appliances in {own} only",
            route.name(names)
        ),
        path,
        help: format!("use an appliance in {own}, or leave `disablePeeringRoute` out and add longer routes"),
    })
}

/// System and gateway routes that lead to another network.
fn takes_precedence(row: &EffectiveRoute) -> bool {
    match row.next_hop_type {
        NextHopType::VnetPeering | NextHopType::VnetGlobalPeering => true,
        NextHopType::VirtualNetworkGateway => row.source == RouteSource::VirtualNetworkGateway,
        NextHopType::VnetLocal
        | NextHopType::Internet
        | NextHopType::VirtualAppliance
        | NextHopType::VirtualApplianceEcmp
        | NextHopType::VirtualNetworkServiceEndpoint
        | NextHopType::InterfaceEndpoint
        | NextHopType::None => false,
    }
}

/// The VNet of its appliance; for several appliances, if they share one.
fn home(names: Names<'_>, route: &Use<'_>) -> Option<VnetId> {
    let appliances = route.appliances();
    let mut vnets = appliances.iter().map(|appliance| vnet_of(names, appliance.hop));
    let first = vnets.next()??;
    vnets.all(|vnet| vnet == Some(first)).then_some(first)
}

fn vnet_of(names: Names<'_>, hop: NextHop) -> Option<VnetId> {
    let snapshot = &names.compiled.snapshot;
    let appliance = hop.nic().map(|nic| snapshot.nic(nic).vnet);
    appliance.or_else(|| Some(snapshot.frontend(hop.frontend()?).vnet))
}

fn taker(names: Names<'_>, subnet: SubnetIx, hop: NextHop) -> String {
    let peering =
        hop.vnet().and_then(|vnet| connected(names.network, subnet.vnet).find(|link| link.remote.0 == vnet.0 as usize));
    peering.map_or_else(|| "a gateway".to_owned(), |link| format!("peering {}", link.name))
}

//! A subnet's effective routes: what Azure's listing shows, and where each row leads.
//!
//! One idea: gather every route the subnet could have, then let the rows of one prefix fight it out; a loser stays in
//! the listing as Invalid, except `None` rows, which go. Nothing here looks at a packet or at who owns an address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::{
    EffectiveRoute, Network, NextHopType, Prefixes, PublishedTag, Route, RouteDestination, RouteNextHop, RouteSource,
    RouteState, SubnetIx, TagScope, VnetIx,
};

use super::links::connected;
use super::private_access;
use super::published::{Families, Published};
use super::settle::settle;

/// Private ranges that a subnet drops unless a longer route takes them (SYS-04).
const NONE_PREFIXES: [Ipv4Net; 4] = [v4(10, 0, 8), v4(172, 16, 12), v4(192, 168, 16), v4(100, 64, 10)];

/// Further `None` rows seen in real listings (SYS-07), behind `emulation.extraNoneRoutes`.
const EXTRA_NONE_PREFIXES: [Ipv4Net; 14] = [
    v4(127, 0, 8),
    v4(198, 18, 15),
    v4(157, 59, 16),
    v4(25, 4, 14),
    v4(25, 30, 15),
    v4(25, 33, 16),
    v4(25, 41, 20),
    v4(25, 48, 12),
    v4(40, 108, 17),
    v4(40, 109, 16),
    v4(104, 146, 17),
    v4(104, 147, 16),
    v4(23, 103, 18),
    Ipv4Net::new_assert(Ipv4Addr::new(20, 35, 252, 0), 22),
];

/// One row and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) route: EffectiveRoute,
    pub(super) target: Target,
    /// What the user-defined route's tag covers.
    pub(super) tag: Option<TagScope>,
    /// Those of its prefixes that no other row has taken: what packets are routed by.
    pub(super) in_force: Prefixes,
}

/// Where a route leads, before anyone asks who owns the appliance's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// Into this VNet: the own one or a peer.
    Vnet(VnetIx),
    Appliance(IpAddr),
    /// To one of the row's next hop addresses, by flow.
    Spread,
    Gateway,
    Internet,
    /// An Azure service, over the subnet's service endpoint.
    Service,
    None,
}

/// The rows of a subnet by source, then by prefix (DIAG-02).
pub(super) fn of(network: &Network, subnet: SubnetIx, published: &Published<'_>) -> Vec<Row> {
    let families = families(network, subnet.vnet);
    let users: Vec<_> = user_rows(network, subnet, published, families).collect();
    let mut rows: Vec<_> = local_rows(network, subnet.vnet).chain(internet_rows(network, subnet.vnet)).collect();
    if !peering_routes_disabled(network, subnet) {
        rows.extend(peering_rows(network, subnet.vnet));
    }
    rows.extend(private_access::service_rows(network, subnet, published, families));
    rows.extend(private_access::endpoint_rows(network, subnet, &users));
    rows.extend(users);
    let nones = none_rows(network, &rows);
    rows.extend(nones);
    settle(&mut rows);
    rows.sort_by(|a, b| listed(a).cmp(&listed(b)));
    rows
}

/// One `VnetLocal` row a prefix of the VNet (SYS-02).
fn local_rows(network: &Network, vnet: VnetIx) -> impl Iterator<Item = Row> {
    let space = &network.vnet(vnet).address_space;
    space.iter().map(move |&prefix| system(prefix, NextHopType::VnetLocal, Target::Vnet(vnet)))
}

/// One peering row a prefix of each connected peer (SYS-08).
fn peering_rows(network: &Network, vnet: VnetIx) -> impl Iterator<Item = Row> {
    let own = network.vnet(vnet);
    connected(network, vnet).flat_map(move |link| {
        let local = own.location == network.vnet(link.remote).location;
        let label = if local { NextHopType::VnetPeering } else { NextHopType::VnetGlobalPeering };
        link.remote_address_space.iter().map(move |&prefix| system(prefix, label, Target::Vnet(link.remote)))
    })
}

/// A table may keep the peering routes out of its subnets; which VNets are reachable as next hops stays as it is.
fn peering_routes_disabled(network: &Network, subnet: SubnetIx) -> bool {
    network.subnet(subnet).route_table.is_some_and(|table| network.route_tables[table.0].disable_peering_route)
}

/// The default route of each family the VNet has (SYS-03, FAB-16).
fn internet_rows(network: &Network, vnet: VnetIx) -> impl Iterator<Item = Row> {
    let ipv6 = (families(network, vnet) == Families::Both).then(|| IpNet::from(Ipv6Net::default()));
    let prefixes = [IpNet::from(Ipv4Net::default())].into_iter().chain(ipv6);
    prefixes.map(|prefix| system(prefix, NextHopType::Internet, Target::Internet))
}

/// No VNet is without IPv4 (FAB-16).
fn families(network: &Network, vnet: VnetIx) -> Families {
    let has_ipv6 = network.vnet(vnet).address_space.iter().any(|prefix| matches!(prefix, IpNet::V6(_)));
    if has_ipv6 { Families::Both } else { Families::V4 }
}

fn user_rows(
    network: &Network,
    subnet: SubnetIx,
    published: &Published<'_>,
    families: Families,
) -> impl Iterator<Item = Row> {
    let table = network.subnet(subnet).route_table.map(|table| &network.route_tables[table.0]);
    let routes = table.into_iter().flat_map(|table| &table.routes);
    routes.map(move |route| match route.destination {
        RouteDestination::Prefix(prefix) => user(route, prefix.into(), None, subnet.vnet),
        RouteDestination::Tag(tag) => {
            // An appliance can take packets of its own family alone.
            let appliance = match &route.next_hop {
                RouteNextHop::VirtualAppliance(address) => Some(address),
                RouteNextHop::VirtualApplianceEcmp(addresses) => addresses.first(),
                RouteNextHop::VirtualNetworkGateway
                | RouteNextHop::VnetLocal
                | RouteNextHop::Internet
                | RouteNextHop::None => None,
            };
            let families = appliance.map_or(families, |address| Families::of(*address));
            user(route, published.ranges(&[tag], families), Some(network.service_tag(tag)), subnet.vnet)
        }
    })
}

/// The `None` rows that survive the others: all of them while the default route stays Azure's or drops (SYS-06a),
/// and each unless the VNet covers it (SYS-05) or another row has exactly its prefix (SYS-06b).
fn none_rows(network: &Network, rows: &[Row]) -> Vec<Row> {
    if rows.iter().any(takes_default) {
        return Vec::new();
    }
    let extra: &[Ipv4Net] = if network.emulation.extra_none_routes { &EXTRA_NONE_PREFIXES } else { &[] };
    let covered = |none: IpNet| rows.iter().any(|row| row.route.prefixes.contains(&none) || is_own_space(row, none));
    let prefixes = NONE_PREFIXES.iter().chain(extra).map(|&prefix| IpNet::from(prefix));
    prefixes.filter(|&none| !covered(none)).map(|none| system(none, NextHopType::None, Target::None)).collect()
}

fn is_own_space(row: &Row, prefix: IpNet) -> bool {
    let own = row.route.source == RouteSource::Default && row.route.next_hop_type == NextHopType::VnetLocal;
    own && row.route.prefixes.cover(&prefix)
}

/// Whether a row moves the default route to an appliance or a gateway.
fn takes_default(row: &Row) -> bool {
    let moved = matches!(row.target, Target::Appliance(_) | Target::Spread | Target::Gateway);
    moved && row.route.prefixes.contains(&Ipv4Net::default().into())
}

/// Where a row stands in the listing (DIAG-02).
fn listed(row: &Row) -> (RouteSource, &[IpNet], NextHopType) {
    (row.route.source, &row.route.prefixes, row.route.next_hop_type)
}

pub(super) fn system(prefixes: impl Into<Prefixes>, next_hop_type: NextHopType, target: Target) -> Row {
    let prefixes = prefixes.into();
    let route = EffectiveRoute {
        name: None,
        service_tag: None,
        source: RouteSource::Default,
        state: RouteState::Active,
        prefixes,
        next_hop_type,
        next_hop_ip: Vec::new(),
    };
    Row { in_force: route.prefixes.clone(), route, target, tag: None }
}

fn user(route: &Route, prefixes: Prefixes, tag: Option<&PublishedTag>, own: VnetIx) -> Row {
    let (next_hop_type, target) = match &route.next_hop {
        // Without a gateway the row is listed all the same, with an empty next hop (UDR-14).
        RouteNextHop::VirtualNetworkGateway => (NextHopType::VirtualNetworkGateway, Target::Gateway),
        // A destination outside the VNet's space has no owner there, so it drops (UDR-16).
        RouteNextHop::VnetLocal => (NextHopType::VnetLocal, Target::Vnet(own)),
        RouteNextHop::Internet => (NextHopType::Internet, Target::Internet),
        RouteNextHop::VirtualAppliance(address) => (NextHopType::VirtualAppliance, Target::Appliance(*address)),
        // Listings show it as an ordinary appliance with several addresses.
        RouteNextHop::VirtualApplianceEcmp(_) => (NextHopType::VirtualAppliance, Target::Spread),
        RouteNextHop::None => (NextHopType::None, Target::None),
    };
    let next_hop_ip = match &route.next_hop {
        RouteNextHop::VirtualAppliance(address) => vec![*address],
        RouteNextHop::VirtualApplianceEcmp(addresses) => addresses.clone(),
        RouteNextHop::VirtualNetworkGateway | RouteNextHop::VnetLocal | RouteNextHop::Internet | RouteNextHop::None => {
            Vec::new()
        }
    };
    let route = EffectiveRoute {
        name: Some(route.name.clone()),
        service_tag: tag.map(|tag| tag.name.clone()),
        source: RouteSource::User,
        state: RouteState::Active,
        prefixes,
        next_hop_type,
        next_hop_ip,
    };
    Row { in_force: route.prefixes.clone(), route, target, tag: tag.map(PublishedTag::scope) }
}

const fn v4(a: u8, b: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length)
}

//! A subnet's effective routes: what Azure's listing shows, and where each row leads.
//!
//! One idea: gather every route the subnet could have, then pick one row for each prefix; the others stay in
//! the listing as Invalid, except `None` rows, which go. Nothing here looks at packets or at owners of addresses.

pub(super) mod endpoints;
pub(super) mod fib;
pub(super) mod peering_links;
pub(super) mod prefixes;
mod private_access;
pub(super) mod published;
mod route_selection;
pub(super) mod user_routes;
pub(super) mod vnet_context;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::dataplane::GatewayId;
use crate::model::{EffectiveRoute, NextHopType, Prefixes, RouteSource, RouteState, TagScope, VnetIx};

use super::gateways::InUse;
use super::memo::Same;
use published::Families;
use route_selection::settle;
use user_routes::UserRoutes;
use vnet_context::Surroundings;

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
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Subnets with one table share its rows.
    pub(super) route: Arc<EffectiveRoute>,
    pub(super) target: Target,
    /// What the user-defined route's tag covers.
    pub(super) tag: Option<TagScope>,
    /// Those of its prefixes that no other row has taken: what packets are routed by.
    pub(super) in_force: Prefixes,
}

/// Where a route leads, before the owner of an appliance's address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Into the own VNet.
    Own,
    /// Into a peer.
    Vnet(VnetIx),
    Appliance(IpAddr),
    /// To one of the row's next hop addresses, by flow.
    Spread,
    /// Which; none where a user's route finds none.
    Gateway(Option<GatewayId>),
    Internet,
    /// An Azure service, over the subnet's service endpoint.
    Service,
    None,
}

/// All that a subnet's routes follow from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sources {
    pub(super) surroundings: Same<Surroundings>,
    pub(super) table: Option<Same<UserRoutes>>,
    /// The ranges of each service endpoint.
    pub(super) services: Vec<Same<Prefixes>>,
    /// It has a gateway, which needs routes of its own.
    pub(super) to_peers: bool,
}

impl Sources {
    /// Of what service endpoints do not carry: everything but TCP (SYS-11).
    pub(super) fn beside_tcp(&self) -> Self {
        Self { services: Vec::new(), surroundings: self.surroundings.clone(), table: self.table.clone(), ..*self }
    }
}

/// The rows of a subnet by source, then by prefix (DIAG-02).
pub(super) fn of(sources: &Sources) -> Vec<Row> {
    let Sources { surroundings, table, services, to_peers } = sources;
    let users = table.as_ref().map_or(&[][..], |table| &table.rows);
    let mut rows: Vec<_> = local_rows(surroundings).chain(internet_rows(surroundings)).collect();
    // Which VNets are reachable as next hops stays as it is.
    if !table.as_ref().is_some_and(|table| table.disable_peering_route) {
        rows.extend(peering_rows(surroundings));
    }
    if !table.as_ref().is_some_and(|table| table.disable_gateway_routes) {
        rows.extend(gateway_rows(surroundings, *to_peers));
    }
    rows.extend(private_access::service_rows(services));
    rows.extend(private_access::endpoint_rows(surroundings, users));
    rows.extend(users.iter().map(|row| with_gateway(row, surroundings)));
    rows.extend(none_rows(surroundings, &rows));
    let near = near(&rows);
    // Of one range it is the gateway's row that is Invalid, of a part of it nothing is to be seen (RSEL-08).
    yield_to(&mut rows, |prefix| near.contains(prefix));
    settle(&mut rows);
    yield_to(&mut rows, |prefix| near.iter().any(|space| space.contains(prefix)));
    rows.sort_by(|a, b| listed(a).cmp(&listed(b)));
    rows
}

/// One `VnetLocal` row a prefix of the VNet (SYS-02).
fn local_rows(surroundings: &Surroundings) -> impl Iterator<Item = Row> {
    surroundings.space.iter().map(|&prefix| system(prefix, NextHopType::VnetLocal, Target::Own))
}

/// One peering row a prefix of each connected peer (SYS-08).
fn peering_rows(surroundings: &Surroundings) -> impl Iterator<Item = Row> {
    surroundings
        .peers
        .iter()
        .flat_map(|peer| peer.space.iter().map(|&prefix| system(prefix, peer.label, Target::Vnet(peer.vnet))))
}

/// The default route of each family the VNet has (SYS-03, FAB-16).
fn internet_rows(surroundings: &Surroundings) -> impl Iterator<Item = Row> {
    let ipv6 = (surroundings.families() == Families::Both).then(|| IpNet::from(Ipv6Net::default()));
    let prefixes = [IpNet::from(Ipv4Net::default())].into_iter().chain(ipv6);
    prefixes.map(|prefix| system(prefix, NextHopType::Internet, Target::Internet))
}

/// One row for each prefix that a gateway has a route to (SYS-10), or that a route server has learned from appliances
/// (ARS-08).
fn gateway_rows(surroundings: &Surroundings, to_peers: bool) -> impl Iterator<Item = Row> {
    let row = |prefix: IpNet, target, next_hops: &Vec<IpAddr>| {
        let mut row = system(prefix, NextHopType::VirtualNetworkGateway, target);
        let route = Arc::make_mut(&mut row.route);
        route.source = RouteSource::VirtualNetworkGateway;
        route.next_hop_ip.clone_from(next_hops);
        row
    };
    let InUse { routes, appliances, .. } = &surroundings.gateways;
    let through = appliances.iter().map(move |(prefix, hops)| match hops[..] {
        [one] => row(*prefix, Target::Appliance(one), hops),
        _ => row(*prefix, Target::Spread, hops),
    });
    let to_peers = surroundings.gateways.to_peers.iter().filter(move |_| to_peers);
    routes
        .iter()
        .chain(to_peers)
        .map(move |known| row(known.prefix, Target::Gateway(Some(known.gateway)), &known.next_hops))
        .chain(through)
}

/// A user's route to the gateway has its address, if there is one that it may lead to (UDR-14).
fn with_gateway(row: &Row, surroundings: &Surroundings) -> Row {
    let mut row = row.clone();
    if let (Target::Gateway(_), Some(gateway)) = (row.target, &surroundings.gateways.for_users) {
        row.target = Target::Gateway(Some(gateway.gateway));
        Arc::make_mut(&mut row.route).next_hop_ip.clone_from(&gateway.next_hops);
    }
    row
}

/// The own space and the peers'. What lies there never goes to the gateway, however long its prefix (RSEL-03), and
/// though a user's route has made the system's Invalid (RSEL-05).
fn near(rows: &[Row]) -> Vec<IpNet> {
    let near = |row: &&Row| {
        let system = row.route.source == RouteSource::Default;
        system && matches!(row.target, Target::Own | Target::Vnet(_))
    };
    rows.iter().filter(near).flat_map(|row| row.route.prefixes.iter().copied()).collect()
}

/// Takes their packets from the gateway's rows.
fn yield_to(rows: &mut [Row], taken: impl Fn(&IpNet) -> bool) {
    for row in rows.iter_mut().filter(|row| row.route.source == RouteSource::VirtualNetworkGateway) {
        if row.in_force.iter().any(&taken) {
            row.in_force = Prefixes::Many(Arc::new([]));
        }
    }
}

/// The `None` rows that survive the others: all of them while the default route stays Azure's or drops (SYS-06a),
/// and each unless the VNet covers it (SYS-05) or another row has exactly its prefix (SYS-06b).
fn none_rows(surroundings: &Surroundings, rows: &[Row]) -> Vec<Row> {
    if rows.iter().any(takes_default) {
        return Vec::new();
    }
    let extra: &[Ipv4Net] = if surroundings.extra_none_routes { &EXTRA_NONE_PREFIXES } else { &[] };
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
    let moved = matches!(row.target, Target::Appliance(_) | Target::Spread | Target::Gateway(_));
    moved && row.route.prefixes.contains(&Ipv4Net::default().into())
}

/// A row's position in the listing (DIAG-02).
fn listed(row: &Row) -> (RouteSource, &[IpNet], NextHopType) {
    (row.route.source, &row.route.prefixes, row.route.next_hop_type)
}

pub(super) fn system(prefixes: impl Into<Prefixes>, next_hop_type: NextHopType, target: Target) -> Row {
    let prefixes = prefixes.into();
    let in_force = prefixes.clone();
    let route = EffectiveRoute {
        name: None,
        service_tag: None,
        source: RouteSource::Default,
        state: RouteState::Active,
        prefixes,
        next_hop_type,
        next_hop_ip: Vec::new(),
    };
    Row { route: Arc::new(route), target, tag: None, in_force }
}

const fn v4(a: u8, b: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length)
}

//! The effective route table with ARM's field names (DIAG-01).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::analysis::query::names::subnet_name;
use crate::analysis::query::target;
use crate::compile::Compiled;
use crate::model::{
    CloudIx, Customer, EffectiveRoute, GatewayIx, Network, NextHopType, RouteSource, RouteState, SiteIx, SubnetIx,
    VirtualNetworkGateway,
};

use super::watcher;

/// One row of `az network nic show-effective-route-table`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRow {
    pub name: Option<String>,
    pub disable_bgp_route_propagation: bool,
    pub source: RouteSource,
    pub state: RouteState,
    pub address_prefix: Vec<IpNet>,
    /// The tag that a user-defined route names; its ranges are in `address_prefix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_service_tags: Vec<String>,
    pub next_hop_ip_address: Vec<IpAddr>,
    pub next_hop_type: NextHopType,
}

/// The rows of `NODE`, `NODE/NIC` or `VNET/SUBNET`. Those of a point-to-site client are what its gateway tells it of. What
/// has a router of its own has no such table, and the error says where its routes are.
pub fn routes_of(network: &Network, compiled: &Compiled, target: &str) -> Result<Vec<RouteRow>, String> {
    if let Some((cloud, segment)) = segment(network, target) {
        return Err(watcher::in_segment(network, cloud, segment));
    }
    if let Some(gateway) = gateway(network, target) {
        let subnet = subnet_name(network, gateway.subnet);
        let name = &gateway.name;
        return Err(format!(
            "`{name}` is a virtual network gateway, which has no effective routes of Azure: `vnet bgp learned {name}` prints \
             what BGP brings it, and `vnet routes {subnet}` the routes of its subnet"
        ));
    }
    match network.customer_named(target) {
        Some(Customer::Site(at)) => match network.site(at).client_of {
            Some(gateway) => Ok(of_client(network, compiled, gateway, at)),
            None => Err(elsewhere("site", &network.site(at).name)),
        },
        Some(Customer::Cloud(at)) => Err(elsewhere("private cloud", &network.cloud(at).name)),
        Some(Customer::Segment(..)) | None => Ok(routes(network, compiled, target::subnet(network, target)?)),
    }
}

/// A gateway by its name or one of its instances', where no machine has the name.
fn gateway<'a>(network: &'a Network, target: &str) -> Option<&'a VirtualNetworkGateway> {
    let is_it = |name: &str| name.eq_ignore_ascii_case(target);
    let mut gateways = network.virtual_network_gateways.iter();
    let is_machine = network.virtual_machines.iter().any(|machine| is_it(&machine.name));
    gateways.find(|gateway| !is_machine && (is_it(&gateway.name) || is_it(&gateway.instance_name(1))))
}

/// A segment's node, or `CLOUD/SEGMENT`.
fn segment(network: &Network, target: &str) -> Option<(CloudIx, usize)> {
    if let Some(Customer::Segment(cloud, segment)) = network.customer_named(target) {
        return Some((cloud, segment));
    }
    let (cloud, name) = target.split_once('/')?;
    let (ix, cloud) = network.clouds().find(|(_, one)| one.name.eq_ignore_ascii_case(cloud))?;
    let at = cloud.segments.iter().position(|segment| segment.name.eq_ignore_ascii_case(name))?;
    Some((ix, at))
}

fn elsewhere(what: &str, name: &str) -> String {
    format!(
        "`{name}` is a {what}, which has a router of its own and no effective routes of Azure: `vnet exec {name} -- ip route` \
         prints its routes"
    )
}

/// What a client has over its tunnel, and the instance that the tunnel ends at as listings have it (VPN-44, SYS-09a).
fn of_client(network: &Network, compiled: &Compiled, gateway: GatewayIx, client: SiteIx) -> Vec<RouteRow> {
    let learned = compiled.learned();
    let tunnel = network.tunnels_of(client).next();
    let addresses = network.gateway_addresses(gateway);
    let instance = tunnel.and_then(|tunnel| addresses.get(learned.instance_of(network, tunnel)).copied());
    let is_up = tunnel.is_some_and(|tunnel| learned.tunnel_is_up(network, tunnel));
    let row = |prefix| RouteRow {
        name: None,
        disable_bgp_route_propagation: false,
        source: RouteSource::VirtualNetworkGateway,
        state: if is_up { RouteState::Active } else { RouteState::Invalid },
        address_prefix: vec![prefix],
        destination_service_tags: Vec::new(),
        next_hop_ip_address: instance.into_iter().collect(),
        next_hop_type: NextHopType::VirtualNetworkGateway,
    };
    let mut prefixes = network.client_routes(gateway, learned);
    prefixes.sort_unstable();
    prefixes.into_iter().map(row).collect()
}

/// The rows of a subnet: Default, then gateway, then User rows, each by prefix (DIAG-02).
pub fn routes(network: &Network, compiled: &Compiled, subnet: SubnetIx) -> Vec<RouteRow> {
    let table = network.subnet(subnet).route_table.map(|table| &network.route_tables[table.0]);
    let no_propagation = table.is_some_and(|table| table.disable_bgp_route_propagation);
    let beside = compiled.effective_routes_beside_tcp(subnet);
    let in_force = |row: &mut RouteRow, route: &EffectiveRoute| {
        // A service endpoint carries TCP only (SYS-11): this row is used for all other protocols.
        let same = |other: &EffectiveRoute| {
            (other.source, &other.name, &other.prefixes) == (route.source, &route.name, &route.prefixes)
        };
        if beside.iter().any(|other| other.state == RouteState::Active && same(other)) {
            row.state = RouteState::Active;
        }
    };
    let routes = compiled.effective_routes(subnet).iter();
    let rows = routes.flat_map(|route| {
        let mut rows = rows(route, no_propagation);
        for row in &mut rows {
            in_force(row, route);
        }
        rows
    });
    rows.collect()
}

/// A route learned from gateways and route servers has a row for each next hop, as in Azure (SYS-09a).
fn rows(route: &EffectiveRoute, no_propagation: bool) -> Vec<RouteRow> {
    let row = row(route, no_propagation);
    if route.source != RouteSource::VirtualNetworkGateway || row.next_hop_ip_address.len() < 2 {
        return vec![row];
    }
    let hops = row.next_hop_ip_address.iter();
    hops.map(|hop| RouteRow { next_hop_ip_address: vec![*hop], ..row.clone() }).collect()
}

fn row(route: &EffectiveRoute, disable_bgp_route_propagation: bool) -> RouteRow {
    RouteRow {
        name: route.name.clone(),
        disable_bgp_route_propagation,
        source: route.source,
        state: route.state,
        address_prefix: route.prefixes.to_vec(),
        destination_service_tags: route.service_tag.iter().cloned().collect(),
        next_hop_ip_address: route.next_hop_ip.clone(),
        next_hop_type: route.next_hop_type,
    }
}

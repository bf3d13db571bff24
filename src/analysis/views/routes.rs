//! The effective route table with ARM's field names (DIAG-01).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::{EffectiveRoute, Network, NextHopType, RouteSource, RouteState, SubnetIx};

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

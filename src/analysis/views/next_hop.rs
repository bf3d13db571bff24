//! The question "where would this packet go first?" with Network Watcher's fields (DIAG-04).
//!
//! Only the route is looked up: neither rules nor the machine at the next hop are evaluated.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::subnet_of;
use crate::analysis::query::parse_place;
use crate::compile::Compiled;
use crate::model::{Network, NextHopType, RouteSource};

use super::watcher;

/// What `az network watcher show-next-hop` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHopAnswer {
    pub next_hop_type: NextHopType,
    pub next_hop_ip_address: Option<IpAddr>,
    /// For a route to several appliances, all of them: the flow's hash chooses one, and the question has no flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_hop_ip_addresses: Vec<IpAddr>,
    /// The route table's name, or `System Route`.
    pub route_table_id: String,
}

/// The question in a user's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopQuery {
    /// `NODE`, `NODE/NIC` or `VNET/SUBNET`.
    pub target: String,
    /// One of the target's addresses; None for its first.
    pub source: Option<IpAddr>,
    /// An address, or a node name, which stands for the node's own address.
    pub destination: String,
}

/// Looks a destination up in the routes of the target's subnet.
pub fn next_hop(network: &Network, compiled: &Compiled, query: &NextHopQuery) -> Result<NextHopAnswer, String> {
    let sender = watcher::sender(network, &query.target, query.source)?;
    let subnet = subnet_of(network, sender).ok_or("the Internet has no routes of this network")?;
    let destination = watcher::address(network, &parse_place(&query.destination)?)?;
    let fib = compiled.fib(subnet);
    // A destination of a family that the network does not have has next hop None, as in Azure.
    let Some(route) = compiled.snapshot.fib(fib).lpm.lookup(destination) else {
        return Ok(NextHopAnswer::of(NextHopType::None, &[], None));
    };
    let route = compiled.route(fib, route);
    let table = network.subnet(subnet).route_table.filter(|_| route.source == RouteSource::User);
    let table = table.map(|table| network.route_tables[table.0].name.clone());
    Ok(NextHopAnswer::of(route.next_hop_type, &route.next_hop_ip, table))
}

impl NextHopAnswer {
    fn of(next_hop_type: NextHopType, addresses: &[IpAddr], table: Option<String>) -> Self {
        let route_table_id = table.unwrap_or_else(|| "System Route".to_owned());
        let (next_hop_type, next_hop_ip_address, next_hop_ip_addresses) = match addresses {
            [] => (next_hop_type, None, Vec::new()),
            // The first instance of an active-active gateway stands for both.
            [one] => (next_hop_type, Some(*one), Vec::new()),
            [first, ..] if next_hop_type == NextHopType::VirtualNetworkGateway => {
                (next_hop_type, Some(*first), Vec::new())
            }
            several => (NextHopType::VirtualApplianceEcmp, None, several.to_vec()),
        };
        Self { next_hop_type, next_hop_ip_address, next_hop_ip_addresses, route_table_id }
    }
}

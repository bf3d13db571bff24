//! The question "where would this packet go first?" with Network Watcher's fields (DIAG-04).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::dataplane::NicId;
use crate::model::{Network, NextHopType, RouteSource};

use super::names::subnet_of;

/// What `az network watcher show-next-hop` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHopAnswer {
    pub next_hop_type: NextHopType,
    pub next_hop_ip_address: Option<IpAddr>,
    /// The route table's name, or `System Route`.
    pub route_table_id: String,
}

/// Looks a destination up in the routes of a NIC's subnet; None where no route contains it.
pub fn next_hop(network: &Network, compiled: &Compiled, nic: NicId, destination: IpAddr) -> Option<NextHopAnswer> {
    let subnet = subnet_of(network, compiled.sender(nic));
    let fib = compiled.fib(subnet);
    let route = compiled.route(fib, compiled.snapshot.fibs[fib.0 as usize].lpm.lookup(destination)?);
    let table = network.subnet(subnet).route_table.filter(|_| route.source == RouteSource::User);
    let route_table_id = table.map_or_else(|| "System Route".to_owned(), |t| network.route_tables[t.0].name.clone());
    Some(NextHopAnswer {
        next_hop_type: route.next_hop_type,
        next_hop_ip_address: route.next_hop_ip.first().copied(),
        route_table_id,
    })
}

//! The question "where would this packet go first?" with Network Watcher's fields (DIAG-04).
//!
//! It is about the route alone: neither rules nor whoever stands at the next hop are asked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::{Network, NextHopType, NicIx, RouteSource, SubnetIx};

use super::names::{nic_name, subnet_name};
use super::query::{Place, nic_of, parse_place, primary, vm};
use super::target;

/// What `az network watcher show-next-hop` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHopAnswer {
    pub next_hop_type: NextHopType,
    pub next_hop_ip_address: Option<IpAddr>,
    /// Of a route to several appliances, all of them: which one it is depends on the flow, and the question names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_hop_ip_addresses: Vec<IpAddr>,
    /// The route table's name, or `System Route`.
    pub route_table_id: String,
}

/// What is asked, in a user's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopQuery {
    /// `NODE`, `NODE/NIC` or `VNET/SUBNET`.
    pub target: String,
    /// One of the target's addresses; none for its first.
    pub source: Option<IpAddr>,
    /// An address, or a node for its own.
    pub destination: String,
}

/// Looks a destination up in the routes of the target's subnet.
pub fn next_hop(network: &Network, compiled: &Compiled, query: &NextHopQuery) -> Result<NextHopAnswer, String> {
    let subnet = sender(network, &query.target, query.source)?;
    let destination = destination(network, &query.destination)?;
    let fib = compiled.fib(subnet);
    // A family that the network does not have is routed as what Azure cannot route: to nowhere, by itself.
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
            [one] => (next_hop_type, Some(*one), Vec::new()),
            several => (NextHopType::VirtualApplianceEcmp, None, several.to_vec()),
        };
        Self { next_hop_type, next_hop_ip_address, next_hop_ip_addresses, route_table_id }
    }
}

/// The subnet that the packet leaves from. A machine with several interfaces, one of which forwards, must name the one
/// that is meant (DIAG-06).
fn sender(network: &Network, target: &str, source: Option<IpAddr>) -> Result<SubnetIx, String> {
    let (name, nic) = target.split_once('/').map_or((target, None), |(name, nic)| (name, Some(nic)));
    let Ok(vm) = vm(network, name) else { return bare_subnet(network, target, source) };
    let nics = &network.vm(vm).network_interfaces;
    let nics = match nic {
        None if nics.len() > 1 && nics.iter().any(|&nic| network.nic(nic).enable_ip_forwarding) => {
            let names: Vec<_> = nics.iter().map(|&nic| nic_name(network, nic)).collect();
            return Err(format!("`{name}` has several interfaces and forwards: name one of {}", names.join(", ")));
        }
        None => nics.clone(),
        // A machine and a virtual network may share a name.
        Some(nic) => match nic_of(network, vm, nic) {
            Ok(nic) => vec![nic],
            Err(error) => return bare_subnet(network, target, source).map_err(|_| error),
        },
    };
    let Some(source) = source else {
        let primary = primary(network, vm);
        let nic = if nics.contains(&primary) { primary } else { nics[0] };
        return Ok(network.nic(nic).subnet);
    };
    let owner = nics.iter().find(|&&nic| network.nic(nic).addresses.contains(&source));
    owner.map(|&nic| network.nic(nic).subnet).ok_or_else(|| mismatch(source, target, &addresses(network, &nics)))
}

/// A subnet without a machine in it, or behind its virtual network's one TUN.
fn bare_subnet(network: &Network, target: &str, source: Option<IpAddr>) -> Result<SubnetIx, String> {
    let subnet = target::subnet(network, target)?;
    let prefixes = &network.subnet(subnet).prefixes;
    match source {
        Some(source) if !prefixes.iter().any(|prefix| prefix.contains(&source)) => {
            let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
            Err(mismatch(source, &subnet_name(network, subnet), &prefixes.join(", ")))
        }
        Some(_) | None => Ok(subnet),
    }
}

/// In the words of Network Watcher.
fn mismatch(source: IpAddr, target: &str, expected: &str) -> String {
    format!("SourceIpDoesNotMatchNicIp: {source} is not an address of {target}, expected {expected}")
}

fn addresses(network: &Network, nics: &[NicIx]) -> String {
    let addresses = nics.iter().flat_map(|&nic| &network.nic(nic).addresses);
    addresses.map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// The address that is meant: a node's is the first of its interface.
fn destination(network: &Network, text: &str) -> Result<IpAddr, String> {
    let (name, nic) = match parse_place(text)? {
        Place::Address(address) => return Ok(address),
        Place::Node { name, nic } => (name, nic),
    };
    let vm = vm(network, &name)?;
    let nic = nic.map_or_else(|| Ok(primary(network, vm)), |nic| nic_of(network, vm, &nic))?;
    let address = network.nic(nic).addresses.first();
    address.copied().ok_or_else(|| format!("`{text}` has no address"))
}

//! The targets of Network Watcher's questions, and its errors: `next_hop` and `flow_verify` share them.

use std::net::IpAddr;

use crate::analysis::query::names::{nic_name, subnet_name};
use crate::analysis::query::{QueryEnd, nic_of, primary, target, vm};
use crate::compile::{Compiled, Sender};
use crate::dataplane::NicId;
use crate::model::{CloudIx, Customer, Internet, Network, NicIx, SubnetIx, Tier};

/// The sender that `NODE`, `NODE/NIC` or `VNET/SUBNET` means; a given source address must be its own. A machine that
/// has several interfaces, one of which forwards, must name the interface (DIAG-06).
pub(in crate::analysis) fn sender(network: &Network, target: &str, source: Option<IpAddr>) -> Result<Sender, String> {
    let (name, nic) = target.split_once('/').map_or((target, None), |(name, nic)| (name, Some(nic)));
    if let Some(Customer::Segment(cloud, segment)) = network.customer_named(name) {
        return Err(in_segment(network, cloud, segment));
    }
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
        return Ok(Sender::Nic(nic));
    };
    let owner = nics.iter().find(|&&nic| network.nic(nic).addresses.contains(&source));
    owner.map(|&nic| Sender::Nic(nic)).ok_or_else(|| mismatch(source, target, &addresses(network, &nics)))
}

/// The interface that has a sender's rules: a subnet has none by itself.
pub(in crate::analysis) fn standing(network: &Network, compiled: &Compiled, sender: Sender) -> Result<NicId, String> {
    match sender {
        Sender::Nic(nic) => Ok(compiled.nic_of(nic)),
        Sender::Subnet(subnet) => compiled.subnet_nic(subnet).ok_or_else(|| {
            let subnet = subnet_name(network, subnet);
            format!("nothing stands in `{subnet}` by itself: name a machine or its interface")
        }),
        Sender::Internet | Sender::Tunnel(_) | Sender::Platform(_) | Sender::CircuitLink(..) | Sender::Segment(..) => {
            Err("the Internet and sites have no rules of this network".to_owned())
        }
        Sender::Gateway(_) | Sender::Edge(_) | Sender::CloudRouter(..) => {
            Err("a gateway has no rules (VPN-06)".to_owned())
        }
        Sender::RouteServer(_) => Err("a route server has no rules (NSG-16)".to_owned()),
    }
}

/// The workloads of a private cloud are no machines of a virtual network, and have one next hop.
pub(super) fn in_segment(network: &Network, at: CloudIx, segment: usize) -> String {
    let (cloud, segment) = (network.cloud(at), network.segment(at, segment));
    let (router, address) = (cloud.router_name(Tier::One(segment.router)), segment.gateway_address());
    format!(
        "`{}` is segment {} of private cloud {}, where Network Watcher knows no machine: its next hop is always Tier-1 router \
         {router}, {address} (AVS-06)",
        segment.node, segment.name, cloud.name
    )
}

/// A subnet without a machine, or behind its virtual network's one TUN.
fn bare_subnet(network: &Network, target: &str, source: Option<IpAddr>) -> Result<Sender, String> {
    let subnet = target::subnet(network, target)?;
    match source {
        Some(source) if !network.subnet(subnet).prefixes.iter().any(|prefix| prefix.contains(&source)) => {
            Err(mismatch(source, &subnet_name(network, subnet), &prefixes(network, subnet)))
        }
        Some(_) | None => Ok(Sender::Subnet(subnet)),
    }
}

/// In Network Watcher's words.
fn mismatch(source: IpAddr, target: &str, expected: &str) -> String {
    format!("SourceIpDoesNotMatchNicIp: {source} is not an address of {target}, expected {expected}")
}

fn addresses(network: &Network, nics: &[NicIx]) -> String {
    let addresses = nics.iter().flat_map(|&nic| &network.nic(nic).addresses);
    addresses.map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn prefixes(network: &Network, subnet: SubnetIx) -> String {
    let prefixes = network.subnet(subnet).prefixes.iter();
    prefixes.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The address of the other end: a node's is the first of its interface.
pub(in crate::analysis) fn address(network: &Network, place: &QueryEnd) -> Result<IpAddr, String> {
    let (name, nic) = match place {
        QueryEnd::Address(address) => return Ok(*address),
        QueryEnd::Node { name, nic } => (name, nic),
    };
    if let Some(internet) = network.internet.as_ref().filter(|_| name.eq_ignore_ascii_case(Internet::NAME)) {
        return Ok(internet.addresses[0]);
    }
    if let Some(customer) = network.customer_named(name) {
        let addresses = network.addresses_of_customer(customer);
        return addresses.first().copied().ok_or_else(|| format!("`{place}` has no address"));
    }
    let vm = vm(network, name)?;
    let nic = nic.as_ref().map_or_else(|| Ok(primary(network, vm)), |nic| nic_of(network, vm, nic))?;
    let address = network.nic(nic).addresses.first();
    address.copied().ok_or_else(|| format!("`{place}` has no address"))
}

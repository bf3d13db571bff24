//! Circuits and private clouds of a lab: a namespace for an edge, and two devices for a circuit's customer.
//!
//! One idea: an edge's namespace is its own end, as a gateway's is: its kernel answers for Microsoft's addresses. A customer
//! has what its edge tells it as routes on both devices, the primary before the secondary.

use std::net::IpAddr;

use ipnet::IpNet;

use super::device::{DefaultRoute, Device};
use crate::compile::Learned;
use crate::compile::exchange::Exchange;
use crate::model::{Attachment, CircuitIx, Customer, Network, Side};

/// Of the routes on the primary link; those on the secondary come after.
const METRIC: u32 = 10;

/// Edges and private clouds; whether their kernels forward as for gateways.
pub(super) fn nodes(network: &Network) -> impl Iterator<Item = (&str, bool)> {
    let known = network.circuits().filter(|(_, circuit)| circuit.peering.is_some());
    let edges = known.map(|(_, circuit)| circuit.name.as_str());
    edges.chain(network.private_clouds.iter().map(|cloud| cloud.name.as_str())).map(|name| (name, true))
}

/// The node that one of a circuit's devices stands in, and what the node knows it by, both in lower case.
pub(super) fn names(network: &Network, attachment: Attachment) -> Option<(String, String)> {
    match attachment {
        Attachment::Edge(circuit) => {
            let name = network.circuit(circuit).name.to_lowercase();
            Some((name.clone(), name))
        }
        Attachment::CircuitLink(circuit, side) => {
            let link = network.circuit_link_name(circuit, side).to_lowercase();
            Some((network.customer_name(circuit)?.to_lowercase(), link))
        }
        Attachment::Nic(_)
        | Attachment::Vnet(_)
        | Attachment::Internet
        | Attachment::Gateway(_)
        | Attachment::Tunnel(_)
        | Attachment::Platform(_)
        | Attachment::RouteServer(_) => None,
    }
}

pub(super) fn own_end(network: &Network, circuit: CircuitIx, name: &str) -> Device {
    let addresses = network.edge_addresses(circuit).into_iter().map(IpNet::from);
    Device::new(name, addresses.collect(), DefaultRoute::IfNone)
}

fn takes(network: &Network, circuit: CircuitIx, prefix: &IpNet) -> bool {
    match network.customer(circuit) {
        Some(Customer::Cloud(cloud)) => network.cloud(cloud).takes(prefix),
        Some(Customer::Site(_)) | None => true,
    }
}

pub(super) fn link_end(network: &Network, circuit: CircuitIx, side: Side, name: &str) -> Device {
    let hosts = network.customer_addresses(circuit, side);
    let microsoft = network.circuit(circuit).peering.as_ref().map(|peering| peering.microsoft(side).into());
    // Whoever speaks hears it, and sets its own routes.
    let silent = network.speaker_on(circuit).is_none();
    let told = Exchange::of(network, &Learned::default()).customer(circuit).into_keys();
    let told = told.filter(|prefix| silent && takes(network, circuit, prefix));
    let addresses = hosts.into_iter().map(IpNet::from).collect();
    let routes = told.chain(microsoft.map(|address: IpAddr| address.into())).collect();
    let metric = METRIC * (1 + u32::from(side == Side::Secondary));
    let device = Device::new(name, addresses, DefaultRoute::Via(Vec::new()));
    Device { routes, metric, ..device }
}

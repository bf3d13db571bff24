//! Circuits and private clouds of a lab: a namespace for an edge, and two devices for a circuit's customer.
//!
//! One idea: an edge's namespace is its own end, as a gateway's is: its kernel answers for Microsoft's addresses. A
//! customer that speaks no BGP has the edge's advertised routes on both devices, the primary before the secondary.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::daemon::routers::{NodeNamespace, SilentEnd, SilentLink};
use crate::lab::lifecycle::apply::Lab;
use crate::model::{Attachment, CircuitIx, Network, PrivateCloud, Segment, Side, Tier};
use crate::sys::netns::{self, Netns};

use super::device::{DefaultRoute, Device};
use super::gateway;

/// Of the routes on the first circuit's primary link; those on its secondary come after, then the next circuit's.
const METRIC: u32 = 10;

/// Edges, private clouds, and the routers and segments of these; whether their kernels forward as for gateways.
pub(in crate::lab) fn nodes(network: &Network) -> impl Iterator<Item = (&str, bool)> {
    let known = network.circuits().filter(|(_, circuit)| circuit.peering.is_some());
    let edges = known.map(|(_, circuit)| circuit.name.as_str());
    let clouds = network.private_clouds.iter().map(|cloud| cloud.name.as_str());
    let inside = network.cloud_attachments().filter_map(|attachment| match attachment {
        Attachment::CloudRouter(cloud, tier) => Some((network.cloud(cloud).router_name(tier), true)),
        Attachment::Segment(cloud, segment) => Some((network.segment(cloud, segment).node.as_str(), false)),
        _ => None,
    });
    edges.chain(clouds).map(|name| (name, true)).chain(inside)
}

/// The node that one of a circuit's devices stands in, and what the node knows it by, both in lower case.
pub(in crate::lab) fn names(network: &Network, attachment: Attachment) -> Option<(String, String)> {
    match attachment {
        Attachment::Edge(circuit) => {
            let name = network.circuit(circuit).name.to_lowercase();
            Some((name.clone(), name))
        }
        Attachment::CircuitLink(circuit, side) => {
            let link = network.circuit_link_name(circuit, side).to_lowercase();
            Some((network.customer_name(circuit)?.to_lowercase(), link))
        }
        Attachment::CloudRouter(cloud, tier) => {
            let name = network.cloud(cloud).router_name(tier).to_lowercase();
            Some((name.clone(), name))
        }
        Attachment::Segment(cloud, segment) => {
            let segment = network.segment(cloud, segment);
            Some((segment.node.to_lowercase(), segment.name.to_lowercase()))
        }
        _ => None,
    }
}

pub(in crate::lab) fn own_end(network: &Network, circuit: CircuitIx, name: &str) -> Device {
    let addresses = network.edge_addresses(circuit).into_iter().map(IpNet::from);
    Device::new(name, addresses.collect(), DefaultRoute::IfNone)
}

/// A router of a private cloud. Its kernel answers a segment from its address there, as the ranges say.
pub(in crate::lab) fn router_end(cloud: &PrivateCloud, tier: Tier, name: &str) -> Device {
    let addresses = cloud.router_addresses(tier).into_iter().map(IpNet::V4);
    Device::new(name, addresses.collect(), DefaultRoute::IfNone)
}

/// The workloads of a segment: each address by itself, as everything is behind their router.
pub(in crate::lab) fn segment_end(segment: &Segment, name: &str) -> Device {
    let addresses = segment.addresses.iter().map(|address| IpNet::from(IpAddr::V4(*address)));
    Device::new(name, addresses.collect(), DefaultRoute::IfNone)
}

pub(in crate::lab) fn link_end(network: &Network, circuit: CircuitIx, side: Side, name: &str) -> Device {
    let hosts = network.customer_addresses(circuit, side);
    let microsoft = network.circuit(circuit).peering.as_ref().map(|peering| peering.microsoft(side).into());
    let addresses = hosts.into_iter().map(IpNet::from).collect();
    // The edge's advertised routes come and go ([`Lab::tell_silent`]).
    let routes = microsoft.map(|address: IpAddr| address.into()).into_iter().collect();
    let metric = metric(network, circuit, side);
    let device = Device::new(name, addresses, DefaultRoute::Via(Vec::new()));
    Device { routes, metric, ..device }
}

/// Of one customer's circuits the first has the least.
fn metric(network: &Network, circuit: CircuitIx, side: Side) -> u32 {
    let customer = network.customer(circuit);
    let before = network.circuits().take(circuit.0).filter(|(other, _)| network.customer(*other) == customer).count();
    METRIC + 2 * u32::try_from(before).unwrap_or(u32::MAX / 4) + u32::from(side == Side::Secondary)
}

impl Lab<'_> {
    /// Sets what Azure tells of in the kernels of circuits' customers without BGP and of point-to-site clients. Returns
    /// what did not work.
    pub(in crate::lab) fn tell_silent(&self) -> Vec<String> {
        let network = self.engine.network();
        let silent = network.circuits().filter(|(ix, _)| network.speaker_on(*ix).is_none());
        let links = silent.flat_map(|(ix, circuit)| Side::BOTH.map(|side| (ix, circuit.name.clone(), side)));
        let links =
            links.map(|(ix, circuit, side)| (Attachment::CircuitLink(ix, side), SilentEnd::Link { circuit, side }));
        let gateways = network.gateways().flat_map(|(ix, _)| network.clients_of(ix));
        let clients = gateways.map(|(ix, site)| (Attachment::Tunnel(ix), SilentEnd::Client(site.name.clone())));
        let link = |(attachment, end)| {
            let (path, device) = self.site.guests.far(&network, attachment)?;
            let (namespace, identity) = (Netns::open(&path).ok()?, netns::identity(&path));
            let place = NodeNamespace { namespace, identity, devices: BTreeMap::new() };
            let metric = if let SilentEnd::Client(_) = end { gateway::TUNNEL_METRIC } else { device.metric };
            Some(SilentLink { end, place, device: device.name, metric })
        };
        self.routers.tell_silent(links.chain(clients).filter_map(link).collect())
    }
}

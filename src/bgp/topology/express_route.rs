//! The BGP sessions of ExpressRoute that leave Azure: edges of circuits with their customers (ER-01), and
//! ExpressRoute gateways with the route server beside them (ARS-06).
//!
//! One idea: the [`Exchange`] has the routes inside Azure. These routers advertise them outside with their AS paths,
//! and what others advertise goes into it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::bgp::{AsPath, Asn, Export, Import, Origination, PeerConfig, PeerId, Policy, Source};
use crate::model::{
    AZURE_ASN, BgpSettings, CLOUD_ASN, CircuitIx, EDGE_ASN, GatewayIx, GatewayKind, Learned, Network, PrivatePeering,
    Side, SiteIx,
};

use super::expressroute_rib::{Exchange, ExpressRoutePath};
use super::route_server::beside;
use super::vpn::withheld;
use super::{CIRCUIT, Node, Peer, RETRY, Route, Sink, TUNNEL, next_hops, route};

/// A customer takes what a circuit brings before what a tunnel does (BGP-23).
const PREFERRED: u32 = 100;

/// The edges with customers that speak BGP, and the gateways with a route server.
pub(super) fn borders(network: &Network, learned: &Learned) -> Vec<Node> {
    let speaks = |ix: &CircuitIx| network.speaker_on(*ix).is_some() || network.cloud_on(*ix).is_some();
    let speaking = network.circuits().map(|(ix, _)| ix).filter(speaks);
    let speaking: Vec<_> = speaking.filter(|ix| network.circuit_fault(*ix).is_none()).collect();
    let express = |kind| matches!(kind, GatewayKind::ExpressRoute { .. });
    let gateways = network.gateways().filter(|(_, gateway)| express(gateway.kind));
    let gateways: Vec<_> = gateways.filter(|(_, gateway)| network.route_server_beside(gateway).is_some()).collect();
    if speaking.is_empty() && gateways.is_empty() {
        return Vec::new();
    }
    let exchange = Exchange::of(network, learned);
    let edges = speaking.into_iter().filter_map(|ix| edge((network, learned), &exchange, ix));
    edges.chain(gateways.into_iter().flat_map(|(ix, _)| gateway(network, &exchange, ix))).collect()
}

fn edge((network, learned): (&Network, &Learned), exchange: &Exchange, ix: CircuitIx) -> Option<Node> {
    let circuit = network.circuit(ix);
    let peering = circuit.peering.as_ref()?;
    let customer = network.customer_name(ix)?;
    let policy = |own| Policy {
        import: Import { prefixes_max: u32::try_from(circuit.tier.prefixes()).ok(), ..Import::default() },
        export: Export { next_hops: next_hops(own, None), ..Export::default() },
        ..Policy::default()
    };
    let peer = |side| {
        let ends = [peering.microsoft(side).into(), peering.customer(side).into()];
        link((network, learned), (ix, side), customer, ends, (peering, peering.peer_asn, policy(ends[0])))
    };
    Some(Node {
        name: circuit.name.clone(),
        host: circuit.name.clone(),
        asn: Asn(EDGE_ASN),
        address: peering.microsoft(Side::Primary).into(),
        // Its own number is in front already.
        routes: routes(exchange.customer(ix), 1),
        peers: Side::BOTH.map(peer).into(),
        sink: if network.cloud_on(ix).is_some() { Sink::CloudEdge } else { Sink::Edge },
        foreign: false,
    })
}

fn gateway(network: &Network, exchange: &Exchange, ix: GatewayIx) -> Vec<Node> {
    let gateway = network.gateway(ix);
    let space = network.gateway_space(ix);
    let node = |(instance, address): (usize, IpAddr)| {
        let own = BgpSettings { asn: AZURE_ASN, address };
        let import = Import { refuse_within: space.clone(), ..Import::default() };
        let export = Export { next_hops: next_hops(address, None), withheld: space.clone(), ..Export::default() };
        let policy = Policy { import, export, ..Policy::default() };
        Node {
            name: gateway.instance_name(instance),
            host: gateway.name.clone(),
            asn: Asn(AZURE_ASN),
            address,
            routes: routes(exchange.gateway(ix), 0),
            peers: beside(network, gateway, own, &policy),
            sink: Sink::Beside,
            foreign: false,
        }
    };
    gateway.instances.into_iter().enumerate().map(node).collect()
}

/// What the exchange knows, without the first numbers of each path.
fn routes(paths: BTreeMap<IpNet, Vec<ExpressRoutePath>>, known: usize) -> Vec<Route> {
    let route = |(prefix, paths): (IpNet, Vec<ExpressRoutePath>)| {
        let path = paths.first()?.as_path.get(known..)?;
        let as_path = AsPath::sequence(path.iter().copied().map(Asn));
        Some(Route { prefix, source: Source::Static, origination: Origination { as_path, ..Origination::default() } })
    };
    paths.into_iter().filter_map(route).collect()
}

/// The sessions of a site over its circuits.
pub(super) fn of_site(network: &Network, learned: &Learned, ix: SiteIx) -> Vec<Peer> {
    let site = network.site(ix);
    let ends = site.circuits.iter().filter_map(|end| Some((end, network.circuit(end.circuit).peering.as_ref()?)));
    let peers = ends.flat_map(|(end, peering)| {
        Side::BOTH.map(|side| {
            let addresses = [peering.customer(side).into(), peering.microsoft(side).into()];
            let (advertised, prepend) = network.advertised_over_link(end.circuit, side).unwrap_or_default();
            let export = Export {
                next_hops: next_hops(addresses[0], None),
                prepend,
                withheld: withheld(site, &advertised),
                // A site gives no transit (ER-05).
                refuse_from: vec![TUNNEL, CIRCUIT],
                ..Export::default()
            };
            let import = Import { weight: PREFERRED, ..Import::default() };
            let policy = Policy { group: CIRCUIT, import, export };
            let name = &network.circuit(end.circuit).name;
            link((network, learned), (end.circuit, side), name, addresses, (peering, EDGE_ASN, policy))
        })
    });
    peers.collect()
}

/// The private clouds: one session over each link of their circuits (AVS-07).
pub(super) fn clouds(network: &Network, learned: &Learned) -> impl Iterator<Item = Node> {
    network.clouds().filter_map(move |(_, cloud)| {
        let peering = network.circuit(cloud.circuit).peering.as_ref()?;
        let peer = |side| {
            let ends = [peering.customer(side).into(), peering.microsoft(side).into()];
            // What one link brings does not go back over the other (ER-05).
            let export =
                Export { next_hops: next_hops(ends[0], None), refuse_from: vec![CIRCUIT], ..Export::default() };
            let policy = Policy { group: CIRCUIT, export, ..Policy::default() };
            let edge = &network.circuit(cloud.circuit).name;
            link((network, learned), (cloud.circuit, side), edge, ends, (peering, EDGE_ASN, policy))
        };
        Some(Node {
            name: cloud.name.clone(),
            host: cloud.name.clone(),
            asn: Asn(CLOUD_ASN),
            address: peering.customer(Side::Primary).into(),
            routes: cloud.prefixes().into_iter().map(|prefix| route(prefix, Source::Network)).collect(),
            peers: Side::BOTH.map(peer).into(),
            sink: Sink::Cloud,
            foreign: false,
        })
    })
}

fn link(
    (network, learned): (&Network, &Learned),
    (circuit, side): (CircuitIx, Side),
    node: &str,
    [local, remote]: [IpAddr; 2],
    (peering, asn, policy): (&PrivatePeering, u32, Policy),
) -> Peer {
    let (over, password) = (network.circuit_link_name(circuit, side), peering.shared_key.clone());
    Peer {
        id: PeerId(0),
        up: network.circuit_fault(circuit).is_none() && learned.link_absence(network, circuit, side).is_none(),
        alone: false,
        over,
        node: Some(node.to_owned()),
        local,
        remote,
        there: [local, remote],
        config: PeerConfig { external: true, retry: RETRY, password, policy, ..PeerConfig::new(Asn(asn)) },
    }
}

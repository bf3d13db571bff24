//! The edges of circuits, and the circuits that gateways use, from the routes that they exchange.
//!
//! One idea: to a packet an edge is a gateway outside of virtual networks. It has a table of its own, which leads
//! to its circuit's two links, to gateways and to other edges.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::bgp::topology::circuits;
use crate::bgp::topology::expressroute_rib::{Exchange, NextRouter};
use crate::compile::{Ids, Sender};
use crate::dataplane::{Gateway, GatewayId, NextHop, NicId};
use crate::model::{CircuitIx, ConnectionIx, GatewayIx, Learned, Network, Side, Tier};

use super::private_cloud::router_id;
use super::{fib, gateway_id};

/// Of the edge of a circuit without link addresses: nothing leads to it.
pub(super) const UNKNOWN: NicId = NicId(u32::MAX);

/// Edges come after all gateways.
pub fn edge_id(network: &Network, circuit: CircuitIx) -> GatewayId {
    GatewayId((network.virtual_network_gateways.len() + circuit.0) as u32)
}

/// The connections by which a gateway reaches what, all equal.
pub(in crate::compile) fn routes(exchange: &Exchange, gateway: GatewayIx) -> BTreeMap<IpNet, Vec<ConnectionIx>> {
    let over = |next| match next {
        NextRouter::Edge { over, .. } => over,
        NextRouter::Customer(_) | NextRouter::Gateway(_) => None,
    };
    let all = exchange.gateway(gateway).into_iter();
    let mut routes = BTreeMap::new();
    routes.extend(all.map(|(prefix, paths)| (prefix, paths.iter().filter_map(|way| over(way.next)).collect())));
    routes
}

/// A circuit's edge as packets meet it. One that is down leads nowhere.
pub(in crate::compile) fn edge(
    (network, learned): (&Network, &Learned),
    ids: &Ids,
    exchange: &Exchange,
    circuit: CircuitIx,
) -> Gateway {
    let own = ids.nic(Sender::Edge(circuit));
    let customer = circuits::to_customer((network, learned), exchange, circuit);
    let links =
        |prefix: IpNet| customer.get(&prefix).into_iter().flatten().map(|side| Sender::CircuitLink(circuit, *side));
    let segments = network.cloud_on(circuit).into_iter().flat_map(|(ix, cloud)| {
        let router = NextHop::Gateway(router_id(network, ix, Tier::Zero));
        cloud.segments.iter().map(move |segment| (IpNet::V4(segment.prefix), router))
    });
    let segments: BTreeMap<IpNet, NextHop> = segments.collect();
    let hops = |prefix: IpNet, next| match next {
        // Over either link: behind it the Tier-0 router chooses.
        NextRouter::Customer(_) if let Some(router) = segments.get(&prefix) => {
            links(prefix).take(1).map(|_| *router).collect()
        }
        NextRouter::Customer(_) => links(prefix).filter_map(|link| ids.nic(link)).map(NextHop::Tunnel).collect(),
        NextRouter::Gateway(gateway) => vec![NextHop::Gateway(gateway_id(gateway))],
        NextRouter::Edge { circuit, .. } => vec![NextHop::Gateway(edge_id(network, circuit))],
    };
    let paths = exchange.edge(circuit).into_iter();
    let mut routes: Vec<(IpNet, Vec<NextHop>)> =
        paths.map(|(prefix, paths)| (prefix, paths.iter().flat_map(|way| hops(prefix, way.next)).collect())).collect();
    if network.translated_cloud(circuit).is_some() {
        routes.retain(|(prefix, _)| prefix.prefix_len() > 0);
        routes.push((IpNet::V4(Ipv4Net::default()), vec![NextHop::Internet]));
    }
    if let (Some(own), None) = (own, network.circuit_fault(circuit)) {
        let addresses = network.edge_addresses(circuit);
        routes.extend(addresses.into_iter().map(|address| (address.into(), vec![NextHop::Nic(own)])));
        let links = Side::BOTH.map(|side| (side, ids.nic(Sender::CircuitLink(circuit, side))));
        let peering = network.circuit(circuit).peering.as_ref();
        let at = |(side, link): (Side, Option<_>)| Some((peering?.customer(side), NextHop::Tunnel(link?)));
        let ends = links.into_iter().filter_map(at);
        routes.extend(ends.map(|(address, hop)| (IpAddr::from(address).into(), vec![hop])));
    }
    router_beyond(own, &routes)
}

/// A router outside virtual networks. It forwards by its routes alone.
pub(super) fn router_beyond(own: Option<NicId>, routes: &[(IpNet, Vec<NextHop>)]) -> Gateway {
    Gateway {
        nic: own.unwrap_or(UNKNOWN),
        in_subnet: false,
        tunnels: fib(routes),
        selectors: Box::default(),
        nat: Box::default(),
    }
}

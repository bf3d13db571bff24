//! The edges of circuits, and which circuits gateways go by, out of what they have told each other.
//!
//! One idea: to a packet an edge is a gateway that stands in no virtual network. It has a table of its own, which leads to its
//! circuit's two links, to gateways and to other edges.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::dataplane::{Gateway, GatewayId, NextHop, NicId};
use crate::model::{CircuitIx, ConnectionIx, GatewayIx, Network, Side};

use super::exchange::{Exchange, Toward};
use super::gateways::{fib, gateway_id};
use super::{Ids, Learned, Sender};

/// Of the edge of a circuit whose links have no addresses: nothing leads to it.
const NOBODY: NicId = NicId(u32::MAX);

/// Edges come after all gateways.
pub fn edge_id(network: &Network, circuit: CircuitIx) -> GatewayId {
    GatewayId((network.virtual_network_gateways.len() + circuit.0) as u32)
}

/// Whether a link of a circuit takes packets (ER-02).
pub(super) fn is_up(network: &Network, learned: &Learned, circuit: CircuitIx, side: Side) -> bool {
    learned.link_absence(network, circuit, side).is_none()
}

/// The connections by which a gateway reaches what, all equal.
pub(super) fn routes(exchange: &Exchange, gateway: GatewayIx) -> BTreeMap<IpNet, Vec<ConnectionIx>> {
    let over = |toward| match toward {
        Toward::Edge { over, .. } => over,
        Toward::Customer(_) | Toward::Gateway(_) => None,
    };
    let all = exchange.gateway(gateway).into_iter();
    all.map(|(prefix, ways)| (prefix, ways.iter().filter_map(|way| over(way.toward)).collect())).collect()
}

/// A circuit's edge as packets meet it. One that is down leads nowhere.
pub(super) fn edge(
    (network, learned): (&Network, &Learned),
    ids: &Ids,
    exchange: &Exchange,
    circuit: CircuitIx,
) -> Gateway {
    let own = ids.nic(Sender::Edge(circuit));
    let mut routes: Vec<_> = exchange
        .edge(circuit)
        .into_iter()
        .map(|(prefix, ways)| {
            let hops = ways.iter().flat_map(|way| hops((network, learned), ids, prefix, way.toward)).collect();
            (prefix, hops)
        })
        .collect();
    if let (Some(own), None) = (own, network.circuit_fault(circuit)) {
        let addresses = network.edge_addresses(circuit);
        routes.extend(addresses.into_iter().map(|address| (address.into(), vec![NextHop::Nic(own)])));
        let links = Side::BOTH.map(|side| (side, ids.nic(Sender::CircuitLink(circuit, side))));
        let peering = network.circuit(circuit).peering.as_ref();
        let at = |(side, link): (Side, Option<_>)| Some((peering?.customer(side), NextHop::Tunnel(link?)));
        let ends = links.into_iter().filter_map(at);
        routes.extend(ends.map(|(address, hop)| (IpAddr::from(address).into(), vec![hop])));
    }
    Gateway {
        nic: own.unwrap_or(NOBODY),
        in_subnet: false,
        tunnels: fib(&routes),
        selectors: Box::default(),
        nat: Box::default(),
    }
}

fn hops((network, learned): (&Network, &Learned), ids: &Ids, prefix: IpNet, toward: Toward) -> Vec<NextHop> {
    match toward {
        Toward::Customer(circuit) => {
            let heard = learned.bgp.said.get(&network.circuit(circuit).name);
            let says = |side: &Side| {
                let said = heard.map(|heard| heard.get(&prefix));
                let link = network.circuit_link_name(circuit, *side);
                said.is_none_or(|said| said.is_some_and(|said| said.over.contains(&link)))
            };
            let up = Side::BOTH.into_iter().filter(|side| is_up(network, learned, circuit, *side));
            let links = up.filter(says).filter_map(|side| ids.nic(Sender::CircuitLink(circuit, side)));
            links.map(NextHop::Tunnel).collect()
        }
        Toward::Gateway(gateway) => vec![NextHop::Gateway(gateway_id(gateway))],
        Toward::Edge { circuit, .. } => vec![NextHop::Gateway(edge_id(network, circuit))],
    }
}

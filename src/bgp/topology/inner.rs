//! What ExpressRoute gateways have learned from edges, and over which sessions: inside Azure, where no socket is in the
//! way (BGP-15).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{ConnectionIx, EDGE_ASN, GatewayIx, GatewayKind, Learned, Network, Remote, VirtualNetworkGateway};

use super::circuits::CustomerLinks;
use super::expressroute_rib::{Exchange, ExpressRoutePath, NextRouter, underlay};
use super::view::{Origin, PeerRow, PeerState, RouteRow, WEIGHT};

/// The sessions of ExpressRoute gateways with edges: of each circuit two (ER-01). There are no messages to count.
pub fn gateway_peers(network: &Network, learned: &Learned) -> Vec<PeerRow> {
    let exchange = Exchange::of(network, learned);
    let links = CustomerLinks::of(network, learned, &exchange);
    let gateways = network.gateways().filter(|(_, gateway)| matches!(gateway.kind, GatewayKind::ExpressRoute { .. }));
    gateways.flat_map(|(ix, gateway)| edges((network, learned), (&exchange, &links), (ix, gateway))).collect()
}

fn edges(
    (network, learned): (&Network, &Learned),
    (exchange, links): (&Exchange, &CustomerLinks),
    (ix, gateway): (GatewayIx, &VirtualNetworkGateway),
) -> Vec<PeerRow> {
    let paths = exchange.gateway(ix);
    let received = |over: ConnectionIx, edge: IpAddr| {
        let leads = |prefix, way: &ExpressRoutePath| match way.next {
            NextRouter::Edge { circuit, over: Some(by) } => {
                by == over && links.underlay(circuit, prefix).contains(&edge)
            }
            NextRouter::Edge { over: None, .. } | NextRouter::Customer(_) | NextRouter::Gateway(_) => false,
        };
        paths.iter().filter(|(prefix, paths)| paths.iter().any(|way| leads(prefix, way))).count()
    };
    let row = |over: ConnectionIx, local, neighbor| {
        let fault = learned.why_down(network, over);
        PeerRow {
            node: gateway.name.clone(),
            connection: network.connection(over).name.clone(),
            local_address: local,
            neighbor,
            asn: EDGE_ASN,
            state: if fault.is_none() { PeerState::Connected } else { PeerState::Connecting },
            connected_duration: String::new(),
            routes_received: u32::try_from(received(over, neighbor)).unwrap_or(u32::MAX),
            messages_sent: None,
            messages_received: None,
            last_error: fault,
        }
    };
    let sessions = network.connections_of(ix).filter_map(|(over, connection)| match connection.remote {
        Remote::Circuit(circuit) => Some((over, circuit)),
        Remote::Local(_) | Remote::Gateway(_) | Remote::Client(_) => None,
    });
    let both = |circuit| gateway.instances.into_iter().zip(underlay(circuit));
    sessions
        .flat_map(|(over, circuit)| both(circuit).map(move |(local, edge)| (over, local, edge)))
        .map(|(over, local, edge)| row(over, local, edge))
        .collect()
}

/// A row for each prefix, and each address of an edge that leads there.
pub fn gateway_rows(network: &Network, learned: &Learned) -> Vec<RouteRow> {
    let exchange = Exchange::of(network, learned);
    let links = &CustomerLinks::of(network, learned, &exchange);
    let gateways = network.gateways().filter(|(_, gateway)| matches!(gateway.kind, GatewayKind::ExpressRoute { .. }));
    let mut rows: Vec<_> = gateways
        .flat_map(|(ix, gateway)| {
            let own = network.advertised_space(ix).into_iter().map(|prefix| own(gateway, prefix));
            let paths = exchange.gateway(ix).into_iter();
            let heard = paths.flat_map(|(prefix, paths)| {
                paths.into_iter().flat_map(move |way| heard(gateway, links, prefix, &way)).collect::<Vec<_>>()
            });
            own.chain(heard).collect::<Vec<_>>()
        })
        .collect();
    rows.sort();
    rows
}

fn own(gateway: &VirtualNetworkGateway, network: IpNet) -> RouteRow {
    let [local, _] = gateway.instances;
    RouteRow {
        node: gateway.name.clone(),
        local_address: local,
        network,
        next_hop: None,
        source_peer: local,
        origin: Origin::Network,
        as_path: String::new(),
        weight: WEIGHT,
        refused: None,
    }
}

fn heard(
    gateway: &VirtualNetworkGateway,
    links: &CustomerLinks,
    prefix: IpNet,
    way: &ExpressRoutePath,
) -> Vec<RouteRow> {
    let NextRouter::Edge { circuit, .. } = way.next else { return Vec::new() };
    let path: Vec<_> = way.as_path.iter().map(ToString::to_string).collect();
    let row = |edge| RouteRow {
        next_hop: Some(edge),
        source_peer: edge,
        origin: Origin::EBgp,
        as_path: path.join("-"),
        ..own(gateway, prefix)
    };
    links.underlay(circuit, &prefix).into_iter().map(row).collect()
}

//! What ExpressRoute gateways have learned from edges: inside Azure, where no socket is in the way (BGP-15).

use ipnet::IpNet;

use super::view::{Origin, RouteRow, WEIGHT};
use crate::compile::Learned;
use crate::compile::exchange::{Exchange, Toward, Way, underlay};
use crate::model::{GatewayKind, Network, VirtualNetworkGateway};

/// A row for each prefix, and each address of an edge that leads there.
pub fn gateway_rows(network: &Network, learned: &Learned) -> Vec<RouteRow> {
    let exchange = Exchange::of(network, learned);
    let gateways = network.gateways().filter(|(_, gateway)| matches!(gateway.kind, GatewayKind::ExpressRoute { .. }));
    let mut rows: Vec<_> = gateways
        .flat_map(|(ix, gateway)| {
            let own = network.gateway_space(ix).into_iter().map(|prefix| own(gateway, prefix));
            let ways = exchange.gateway(ix).into_iter();
            let heard = ways.flat_map(|(prefix, ways)| {
                ways.into_iter().flat_map(move |way| heard(gateway, prefix, &way)).collect::<Vec<_>>()
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

fn heard(gateway: &VirtualNetworkGateway, prefix: IpNet, way: &Way) -> Vec<RouteRow> {
    let Toward::Edge { circuit, .. } = way.toward else { return Vec::new() };
    let path: Vec<_> = way.as_path.iter().map(ToString::to_string).collect();
    let row = |edge| RouteRow {
        next_hop: Some(edge),
        source_peer: edge,
        origin: Origin::EBgp,
        as_path: path.join("-"),
        ..own(gateway, prefix)
    };
    underlay(circuit).map(row).into()
}

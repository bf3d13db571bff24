//! Flows through gateways: others carry them as well, by what is reported of their packets.

#[path = "../../support/gateways.rs"]
mod topology;

use vnet::compile::compile;

use super::*;
use topology::{TOPOLOGY, WAYS, Way};

/// The port of a node, the first of several.
fn port(network: &Network, tables: &Compiled, node: &str) -> PortId {
    let is_there = |attachment| match attachment {
        Attachment::Nic(nic) => network.vm(network.nic(nic).virtual_machine).name == node,
        Attachment::Tunnel(tunnel) => network.site_of(tunnel).is_some_and(|site| network.site(site).name == node),
        Attachment::Segment(cloud, at) => network.segment(cloud, at).node == node,
        Attachment::Internet => node == "internet",
        _ => false,
    };
    let found = (0..64).map(PortId).find(|port| tables.ids().attachment(*port).is_some_and(is_there));
    found.unwrap_or_else(|| panic!("no port of {node}"))
}

#[test]
fn fab_05_vpn_15_flows_through_gateways_are_reported_with_their_hops() {
    let network = config::load(TOPOLOGY, "gateways.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
    let tables = compile(&network, &Learned::default(), 1);
    for Way { from: node, src, dst, receiver, at, carried } in WAYS {
        let mut side = Side::new(None);
        let (src, dst): (IpAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let from = port(&network, &tables, node);
        let asks = |flags| build::tcp((src, 1000).into(), dst, flags, b"asks");
        let sent = side.send(&tables, from, Timestamp(1), &asks(SYN));
        let (to, came) = sent.unwrap_or_else(|drop| panic!("{node} {dst}: {drop:?}"));
        // Neither the cloud nor the Internet keeps records: that flow has its mapping at once.
        let first = usize::from(receiver == "internet");
        assert_eq!(side.followed, first, "{node} to {dst}: a first packet");
        side.send(&tables, from, Timestamp(2), &asks(ACK)).unwrap();
        assert_eq!(side.followed, first + usize::from(carried), "{node} to {dst}");
        let mut mappings = 0;
        side.flows.mappings.look(Timestamp(2), |_| mappings += 1);
        assert_eq!(side.mapped, carried && mappings > 0, "{node} to {dst}: it lasts as long as its packets go on");
        if to == port(&network, &tables, "nva") {
            continue;
        }
        let Tuple { src: client, dst: server, src_port, dst_port, .. } = tuple(&came);
        assert_eq!(to, port(&network, &tables, receiver), "{node} to {dst}");
        assert_eq!(SocketAddr::new(server, dst_port), at.parse().unwrap(), "{node} to {dst}");
        let answer = build::tcp((server, dst_port).into(), (client, src_port).into(), SYN | ACK, b"answers");
        let (back, answer) = side.send(&tables, to, Timestamp(3), &answer).unwrap();
        let is_back = (tuple(&answer).src, tuple(&answer).src_port) == (dst.ip(), dst.port());
        assert!(back == from && is_back, "{node} to {dst}: {:?}", tuple(&answer));
        assert_eq!(side.followed, first + 2 * usize::from(carried), "{dst} to {node}");
        assert_eq!(side.mapped, carried && mappings > 0, "{dst} to {node}");
    }
}

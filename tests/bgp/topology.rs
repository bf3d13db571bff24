//! BGP between the routers of a topology: sessions with circuits, and what a route server prefers. What single topologies
//! converge to is in `tests/golden/speakers`.

use std::collections::BTreeSet;
use std::time::Instant;

use vnet::bgp::topology::{advertised_rows, converge, gateway_peers, learned_rows, nodes, peer_rows, refused_rows};
use vnet::compile::compile;
use vnet::model::Learned;
use vnet::{analysis, config};

/// ER-01: an ExpressRoute gateway has two sessions with each circuit; no messages are sent there, and none are counted.
#[test]
fn er_01_a_gateway_has_two_sessions_with_each_circuit() {
    let text = include_str!("../golden/speakers/er-01-two-circuits.yaml");
    let network = config::load(text, "er-01-two-circuits.yaml").unwrap().network;
    let rows = gateway_peers(&network, &converge(&network, Instant::now()).learned());
    let told = rows.iter().map(|row| {
        assert_eq!((row.node.as_str(), row.asn, row.messages_sent, row.messages_received), ("er", 12076, None, None));
        format!("{} {} {}", row.connection, row.neighbor, row.routes_received)
    });
    let each = ["v-x 10.3.129.92 1", "v-x 10.3.129.93 1", "v-z 10.3.129.96 1", "v-z 10.3.129.97 1"];
    assert_eq!(told.collect::<Vec<_>>(), each);
}

/// BGP-15: a session counts the routes that are used, not those that are refused.
#[test]
fn bgp_15_a_session_does_not_count_what_is_refused() {
    let text = include_str!("../golden/speakers/bgp-10-per-path.yaml");
    let network = config::load(text, "bgp-10-per-path.yaml").unwrap().network;
    let now = Instant::now();
    let converged = converge(&network, now);
    let (node, speaker) = converged.nodes().iter().find(|(node, _)| node.name == "dc").unwrap();
    let counted: Vec<_> = peer_rows(node, Some(speaker), now).iter().map(|row| row.routes_received).collect();
    assert_eq!((counted, refused_rows(node, speaker).len()), (vec![1, 1], 2));
}

const THREE_WAYS: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: RouteServerSubnet, addressPrefix: 10.1.0.0/27}
      - {name: GatewaySubnet, addressPrefix: 10.1.1.0/27}
      - {name: s, addressPrefix: 10.1.2.0/24}
publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways:
  - {name: vpn, virtualNetwork: hub, publicIPAddress: p, enableBgp: true}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: hub}
expressRouteCircuits:
  - name: london
    serviceProviderProperties: {peeringLocation: London}
    peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]
localNetworkGateways:
  - {name: near, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65020, bgpPeeringAddress: 172.29.0.1}}
  - {name: far, gatewayIpAddress: 198.51.100.2, bgpSettings: {asn: 65030, bgpPeeringAddress: 172.29.1.1}}
connections:
  - {name: to-near, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: near, sharedKey: k, enableBgp: true}
  - {name: to-far, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: far, sharedKey: k, enableBgp: true}
  - {name: to-dc, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: london}
sites:
  - {name: dc, expressRouteCircuits: [london], addressSpace: [192.168.1.0/24, 192.168.2.0/24], addresses: [192.168.1.1]}
  - {name: near, gatewayIpAddress: 198.51.100.1, addressSpace: [172.29.0.0/24], bgpSettings: {asn: 65020, bgpPeeringAddress: 172.29.0.1}, advertises: [192.168.1.0/24]}
  - {name: far, gatewayIpAddress: 198.51.100.2, addressSpace: [172.29.1.0/24], bgpSettings: {asn: 65030, bgpPeeringAddress: 172.29.1.1}, advertises: [192.168.2.0/24], prepend: 5}
routeServers: [{name: rs, virtualNetwork: hub, hubRoutingPreference: PREFERENCE}]
";

/// BGP-23, ARS-01: what a route server prefers decides which gateway takes a prefix that both know. To one range the tunnel's
/// path is shorter (65020 against 12076-65010), to the other the circuit's.
#[test]
fn bgp_23_a_route_server_prefers_another_way() {
    for (preference, by_circuit) in
        [("ExpressRoute", [true, true]), ("VpnGateway", [false, false]), ("ASPath", [false, true])]
    {
        let text = THREE_WAYS.replace("PREFERENCE", preference);
        let network = config::load(&text, "three-ways.yaml").unwrap().network;
        let compiled = compile(&network, &converge(&network, Instant::now()).learned(), 1);
        let rows = analysis::routes(&network, &compiled, analysis::subnet(&network, "hub/s").unwrap());
        let taken = ["192.168.1.0/24", "192.168.2.0/24"].map(|range| {
            let ways: Vec<_> = rows.iter().filter(|row| row.address_prefix[0].to_string() == range).collect();
            // The two links of the circuit have a row each (SYS-09a).
            let hops: Vec<_> = ways.iter().flat_map(|row| &row.next_hop_ip_address).collect();
            assert_eq!(ways.len(), hops.len(), "one address a row: {ways:?}");
            hops.len() == 2
        });
        assert_eq!(taken, by_circuit, "{preference}: {rows:#?}");
    }
    let default = THREE_WAYS.replace(", hubRoutingPreference: PREFERENCE", "");
    assert_eq!(
        config::load(&default, "d.yaml").unwrap().network.route_servers,
        config::load(&THREE_WAYS.replace("PREFERENCE", "ExpressRoute"), "e.yaml").unwrap().network.route_servers
    );
}

/// A connection's routes are listed once each, in order, however many of its sessions have them.
#[test]
fn what_a_connection_has_learned_is_listed_once() {
    let mut seen = 0;
    for (name, text) in [
        ("four", include_str!("../golden/speakers/vpn-34-four-tunnels.yaml")),
        ("two", include_str!("../golden/speakers/vpn-34-two-links.yaml")),
        ("equal", include_str!("../golden/speakers/bgp-14-equal-paths.yaml")),
        ("circuits", include_str!("../golden/speakers/er-01-two-circuits.yaml")),
    ] {
        let network = config::load(text, name).unwrap().network;
        let learned = converge(&network, Instant::now()).learned();
        for (connection, prefixes) in &learned.bgp.by_connection {
            assert!(prefixes.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {connection} has {prefixes:?}");
            seen += prefixes.len();
        }
    }
    assert!(seen > 8, "{seen} routes");
}

const PAIRS: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: RouteServerSubnet, addressPrefix: 10.1.0.0/27}, {name: GatewaySubnet, addressPrefix: 10.1.1.0/27}]
  - {name: w, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: GatewaySubnet, addressPrefix: 10.2.1.0/27}]}
publicIPAddresses: [{name: p1, sku: Standard}, {name: p2, sku: Standard}, {name: pw, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, activeActive: true, sku: VpnGw2AZ, enableBgp: true, ipConfigurations: [{subnet: hub/GatewaySubnet, publicIPAddress: p1}, {subnet: hub/GatewaySubnet, publicIPAddress: p2}]}
  - {name: far, virtualNetwork: w, sku: VpnGw2AZ, publicIPAddress: pw, enableBgp: true, bgpSettings: {asn: 65020}}
localNetworkGateways: [{name: lng, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}]
connections:
  - {name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: lng, sharedKey: k, enableBgp: true}
  - {name: hub-w, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw, virtualNetworkGateway2: far, sharedKey: k, enableBgp: true}
  - {name: w-hub, connectionType: Vnet2Vnet, virtualNetworkGateway1: far, virtualNetworkGateway2: gw, sharedKey: k, enableBgp: true}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [192.168.1.0/24], sharedKey: k, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
routeServers: [{name: rs, virtualNetwork: hub, allowBranchToBranchTraffic: true}]
";

/// VPN-30: an instance that is away has no session, with its twin, a route server or another gateway as little as with a site;
/// and the others keep theirs.
#[test]
fn vpn_30_nothing_gets_to_or_from_an_instance_that_is_away() {
    let network = config::load(PAIRS, "pairs.yaml").unwrap().network;
    let up = |away: &[&str]| {
        let down = away.iter().map(|name| (*name).to_owned()).collect();
        let nodes = nodes(&network, &Learned { down, ..Learned::default() }).into_iter();
        let ends = nodes.flat_map(|node| node.peers.into_iter().map(move |peer| (node.name.clone(), peer)));
        let ends = ends.filter(|(_, peer)| peer.up).map(|(name, peer)| [name, peer.node.unwrap()]);
        ends.collect::<BTreeSet<_>>()
    };
    let all = up(&[]);
    for end in [["gw", "gw#2"], ["gw", "rs"], ["rs#2", "gw#2"], ["gw#2", "far"], ["far", "gw"], ["dc", "gw#2"]] {
        assert!(all.contains(&end.map(str::to_owned)), "{end:?} of {all:?}");
    }
    for away in [&["gw"][..], &["gw#2"], &["far"], &["gw", "gw#2"]] {
        let is_there = |end: &[String; 2]| end.iter().all(|name| !away.contains(&name.as_str()));
        let rest: BTreeSet<_> = all.iter().filter(|end| is_there(end)).cloned().collect();
        assert_eq!(up(away), rest, "{away:?}");
        assert_ne!(rest, all);
    }
}

/// A prefix that several tunnels lead to is one route.
#[test]
fn a_router_originates_each_prefix_once() {
    for (name, text) in [
        ("active-active", include_str!("../../config/gateway-3-active-active.yaml")),
        ("four-tunnels", include_str!("../golden/speakers/vpn-34-four-tunnels.yaml")),
        ("two-links", include_str!("../../config/two-links.yaml")),
    ] {
        let network = config::load(text, name).unwrap().network;
        for node in nodes(&network, &Learned::default()) {
            let prefixes: BTreeSet<_> = node.routes.iter().map(|route| route.prefix).collect();
            assert_eq!(prefixes.len(), node.routes.len(), "{name}: {} has {:?}", node.name, node.routes);
        }
    }
}

/// Routes are listed in order, whichever of a router's peers has them.
#[test]
fn routes_of_a_router_are_listed_in_order() {
    let text = include_str!("../../config/branch-to-branch.yaml");
    let network = config::load(text, "branch-to-branch.yaml").unwrap().network;
    let converged = converge(&network, Instant::now());
    let mut several = [0; 2];
    for (node, speaker) in converged.nodes() {
        let lists = [learned_rows(node, speaker), advertised_rows(node, speaker, None)];
        for (several, rows) in several.iter_mut().zip(&lists) {
            assert!(rows.is_sorted(), "{rows:#?}");
            let peers: BTreeSet<_> = rows.iter().map(|row| row.source_peer).collect();
            *several += usize::from(peers.len() > 1);
        }
    }
    assert!(several.iter().all(|nodes| *nodes > 1), "{several:?} nodes have routes of several peers");
}

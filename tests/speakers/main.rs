//! What BGP makes of a network, in memory: each topology of this directory has a twin with what every router learns, what it
//! refuses and why, what it tells whom, and what the fabric is to know. `UPDATE_GOLDEN=1` rewrites the twins.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../golden/mod.rs"]
mod golden;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use vnet::bgp::topology::{Converged, RouteRow, advertised_rows, converge, gateway_peers, learned_rows, refused_rows};
use vnet::compile::compile;
use vnet::{analysis, config};

use golden::Golden;

#[test]
fn networks_converge_to_their_golden_twins() {
    let mut golden = Golden::default();
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let loaded = config::load(&text, &case.display().to_string());
        let network =
            loaded.map_err(|errors| errors.render(&text, &case.display().to_string(), false)).unwrap().network;
        let listing = listing(&converge(&network, Instant::now()));
        golden.check(&case.with_extension("txt"), &listing);
    }
    golden.end();
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/speakers")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut cases: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    cases.sort();
    cases
}

fn listing(converged: &Converged) -> String {
    let mut text = String::new();
    for (node, speaker) in converged.nodes() {
        writeln!(text, "{} AS {} at {}", node.name, node.asn, node.address).unwrap();
        write(&mut text, "learned", learned_rows(node, speaker));
        write(&mut text, "refused", refused_rows(node, speaker));
        for peer in &node.peers {
            let to = peer.node.as_deref().unwrap_or("nobody");
            let rows = advertised_rows(node, speaker, Some(peer.remote));
            write(&mut text, &format!("told to {to}"), rows);
        }
    }
    let heard = converged.learned().bgp;
    for (who, said) in heard.by_circuit.iter().chain(&heard.by_gateway) {
        for (prefix, said) in said {
            let path: Vec<_> = said.as_path.iter().map(ToString::to_string).collect();
            let over: Vec<_> = said.over.iter().map(String::as_str).collect();
            writeln!(text, "{who} hears {prefix}, path {}, over {}", path.join("-"), over.join(" ")).unwrap();
        }
    }
    for (connection, prefixes) in heard.by_connection {
        let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        writeln!(text, "over {connection}: {}", prefixes.join(" ")).unwrap();
    }
    text
}

fn write(text: &mut String, what: &str, rows: Vec<RouteRow>) {
    for row in rows {
        let from = row.next_hop.map_or_else(|| "itself".to_owned(), |hop| format!("via {hop}"));
        let path = if row.as_path.is_empty() { String::new() } else { format!(", path {}", row.as_path) };
        let why = row.refused.map_or_else(String::new, |why| format!(": {why}"));
        writeln!(text, "  {what} {} {from}{path}{why}", row.network).unwrap();
    }
}

/// ER-01: an ExpressRoute gateway has two sessions with each circuit; their messages are not counted.
#[test]
fn er_01_a_gateway_has_two_sessions_with_each_circuit() {
    let text = include_str!("er-01-two-circuits.yaml");
    let network = config::load(text, "er-01-two-circuits.yaml").unwrap().network;
    let rows = gateway_peers(&network, &converge(&network, Instant::now()).learned());
    let told = rows.iter().map(|row| {
        assert_eq!((row.node.as_str(), row.asn, row.messages_sent, row.messages_received), ("er", 12076, 0, 0));
        format!("{} {} {}", row.connection, row.neighbor, row.routes_received)
    });
    let each = ["v-x 10.3.129.92 1", "v-x 10.3.129.93 1", "v-z 10.3.129.96 1", "v-z 10.3.129.97 1"];
    assert_eq!(told.collect::<Vec<_>>(), each);
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

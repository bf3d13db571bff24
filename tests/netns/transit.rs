//! From a circuit to a tunnel and back, by sessions that all run: the site on the circuit, the branch behind the tunnel, both
//! gateways and the route server beside them (ARS-06, BGP-22).

use crate::lab::{Lab, eventually, stderr, stdout};

const TOPOLOGY: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: RouteServerSubnet, addressPrefix: 10.1.0.0/27}
      - {name: GatewaySubnet, addressPrefix: 10.1.1.0/27}
      - {name: s, addressPrefix: 10.1.2.0/24}
publicIPAddresses: [{name: p, sku: Standard}, {name: rs, sku: Standard}]
virtualNetworkGateways:
  - {name: vpn, virtualNetwork: hub, publicIPAddress: p, enableBgp: true}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: hub}
expressRouteCircuits:
  - name: london
    serviceProviderProperties: {peeringLocation: London}
    peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]
localNetworkGateways:
  - {name: branch, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65020, bgpPeeringAddress: 172.29.0.1}}
connections:
  - {name: to-branch, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: branch, sharedKey: k, enableBgp: true}
  - {name: to-dc, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: london}
sites:
  - {name: dc, expressRouteCircuits: [london], addressSpace: [192.168.1.0/24], addresses: [192.168.1.10], bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
  - {name: branch, gatewayIpAddress: 198.51.100.1, addressSpace: [172.29.0.0/24], addresses: [172.29.0.10], bgpSettings: {asn: 65020, bgpPeeringAddress: 172.29.0.1}}
routeServers: [{name: rs, virtualNetwork: hub, publicIPAddress: rs, allowBranchToBranchTraffic: true}]
virtualMachines: [{name: app, networkInterfaces: [{subnet: hub/s}]}]
";

/// ARS-06, BGP-22: with a route server that lets branches hear of each other, site and branch reach each other through both
/// gateways; without that each reaches the virtual network alone. BGP-15: the sessions with the circuit's edge are listed, two
/// of them and AS 12076.
#[test]
fn ars_06_from_circuit_to_tunnel() {
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    let reaches = |from: &str, to: &str| lab.exec(from, &["ping", "-c1", "-W1", to]).status.success();
    eventually("the site reaches the branch", || reaches("dc", "172.29.0.10"));
    eventually("the branch reaches the site", || reaches("branch", "192.168.1.10"));
    lab.assert_ping("app", "172.29.0.10");
    lab.assert_ping("app", "192.168.1.10");
    for (from, to) in [("dc", "branch"), ("branch", "dc")] {
        let explained = lab.vnet(&["explain", from, to]);
        assert!(explained.status.success(), "{from} to {to}: {}{}", stdout(&explained), stderr(&explained));
    }
    let peers = lab.data(&["bgp", "peers", "er"]);
    let edges: Vec<_> = peers.as_array().unwrap().iter().filter(|row| row["asn"] == 12076).collect();
    assert_eq!(edges.len(), 2, "{peers}");
    assert!(edges.iter().all(|row| row["state"] == "Connected" && row["routesReceived"] == 1), "{peers}");
    let names = lab.data(&["bgp", "peers", "rs"]);
    let names: Vec<_> = names.as_array().unwrap().iter().map(|row| row["node"].as_str().unwrap()).collect();
    assert!(names.contains(&"rs") && names.contains(&"rs#2"), "each instance by its name: {names:?}");

    let applied = lab.apply(&TOPOLOGY.replace("allowBranchToBranchTraffic: true", "allowBranchToBranchTraffic: false"));
    assert!(applied.status.success(), "{}", stderr(&applied));
    eventually("the site knows nothing of the branch", || !reaches("dc", "172.29.0.10"));
    eventually("the branch knows nothing of the site", || !reaches("branch", "192.168.1.10"));
    lab.assert_ping("app", "172.29.0.10");
    lab.assert_ping("app", "192.168.1.10");
}

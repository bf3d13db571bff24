//! `vnet show circuits` and connections: what is up, and why the rest is not (ER-02, ER-10, ER-18, GR-02, DIAG-12).

use vnet::analysis::{circuits, connections};
use vnet::compile::compile;
use vnet::config;
use vnet::model::{ConnectionStatus, Learned};

/// Two circuits that reach each other, one without a customer, one that is disabled, and one without a peering.
const FILE: &str = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.90.0.0/16], subnets: [{name: s, addressPrefix: 10.90.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.90.255.0/27}]}
publicIPAddresses: [{name: p, ipAddress: 203.0.113.4}]
virtualNetworkGateways:
  - {name: gw, virtualNetwork: v, publicIPAddress: p}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: v}
localNetworkGateways:
  - {name: dc, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [172.16.0.0/16]}
  - {name: nowhere, gatewayIpAddress: 198.51.100.2, localNetworkAddressSpace: [172.17.0.0/16]}
expressRouteCircuits:
  - name: x
    sku: Premium
    authorizations: [{name: mine, authorizationKey: k}, {name: reached, authorizationKey: r}, {name: spare, authorizationKey: s}]
    peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]
  - name: y
    sku: Premium
    peerings:
      - peeringType: AzurePrivatePeering
        peerASN: 65020
        primaryPeerAddressPrefix: 172.30.1.0/30
        secondaryPeerAddressPrefix: 172.30.1.4/30
        vlanId: 10
        connections: [{name: reach, peerExpressRouteCircuitPeering: x, addressPrefix: 172.31.0.0/29, authorizationKey: r}]
  - {name: idle, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.2.0/30, secondaryPeerAddressPrefix: 172.30.2.4/30, vlanId: 10}]}
  - {name: off, peerings: [{peeringType: AzurePrivatePeering, state: Disabled, peerASN: 65010, primaryPeerAddressPrefix: 172.30.3.0/30, secondaryPeerAddressPrefix: 172.30.3.4/30, vlanId: 10}]}
  - {name: bare, serviceProviderProvisioningState: Provisioning}
connections:
  - {name: to-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc, sharedKey: k}
  - {name: to-nowhere, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: nowhere, sharedKey: k}
  - {name: to-x, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: x, authorizationKey: k}
  - {name: to-off, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: off}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [172.16.0.0/16]}
  - {name: office, expressRouteCircuits: [x], addressSpace: [192.168.90.0/24]}
  - {name: branch, expressRouteCircuits: [y], addressSpace: [192.168.91.0/24]}
";

/// What each circuit and each connection says, without these links.
fn told(down: &[&str]) -> Vec<String> {
    let network = config::load(FILE, "circuits.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
    let learned = Learned { down: down.iter().map(|name| (*name).to_owned()).collect(), ..Learned::default() };
    let compiled = compile(&network, &learned, 1);
    let mut lines = Vec::new();
    for row in circuits(&network, &compiled) {
        lines.push(format!("{} {} {}", row.name, row.service_provider_provisioning_state, row.state));
        for link in row.links {
            lines.push(format!("  {} {}: {}", link.name, link.up, link.reason.unwrap_or_default()));
        }
        for one in row.authorizations {
            lines.push(format!("  {} {}", one.name, one.authorization_use_status));
        }
        for one in row.virtual_network_connections {
            lines.push(format!("  from {}", one.name));
        }
        for one in row.connections {
            let reason = one.reason.unwrap_or_default();
            lines.push(format!("  {} to {} {}: {reason}", one.name, one.peer, one.circuit_connection_status));
        }
    }
    for row in connections(&network, &compiled) {
        let up = row.connection_status == ConnectionStatus::Connected;
        assert_eq!(up, row.reason.is_none());
        let reason = row.reason.unwrap_or_default();
        let (gateway, kind) = (row.virtual_network_gateway, row.connection_type);
        lines.push(format!("{} {kind} from {gateway} to {}: {reason}", row.name, row.remote));
    }
    lines
}

#[test]
fn er_18_each_circuit_says_what_it_has_and_why_it_is_down() {
    let (disabled, not_provisioned) = (
        "the circuit's AzurePrivatePeering is Disabled (ER-18)",
        "the provider has not provisioned the circuit (ER-18)",
    );
    let idle = "no site or private cloud is connected to it";
    let expected = [
        "x Provisioned Enabled",
        "  x-primary true: ",
        "  x-secondary true: ",
        "  mine InUse",
        "  reached InUse",
        "  spare Available",
        "  from to-x",
        "y Provisioned Enabled",
        "  y-primary true: ",
        "  y-secondary true: ",
        "  reach to x Connected: ",
        "idle Provisioned Enabled",
        &format!("  idle-primary false: {idle}"),
        &format!("  idle-secondary false: {idle}"),
        "off Provisioned Disabled",
        &format!("  off-primary false: {disabled}"),
        &format!("  off-secondary false: {disabled}"),
        "  from to-off",
        "bare Provisioning None",
        &format!("  bare-primary false: {not_provisioned}"),
        &format!("  bare-secondary false: {not_provisioned}"),
        "to-dc IPsec from gw to dc: ",
        "to-nowhere IPsec from gw to nowhere: no site has the local network gateway's gatewayIpAddress",
        "to-x ExpressRoute from er to x: ",
        &format!("to-off ExpressRoute from er to off: {disabled}"),
    ];
    assert_eq!(told(&[]), expected);
}

/// ER-02: with one link down the other carries all; with both, nothing passes the circuit.
#[test]
fn er_02_a_circuit_is_away_with_both_its_links() {
    let about = |down: &[&str]| -> Vec<String> {
        let links = ["  x-primary", "  x-secondary", "  reach to", "to-x "];
        told(down).into_iter().filter(|line| links.iter().any(|link| line.starts_with(link))).collect()
    };
    let one = about(&["x-primary"]);
    assert!(one[0].starts_with("  x-primary false: "), "{one:?}");
    assert_eq!(one[1..], ["  x-secondary true: ", "  reach to x Connected: ", "to-x ExpressRoute from er to x: "]);
    for (down, circuit) in [(["x-primary", "x-secondary"], "x"), (["y-primary", "y-secondary"], "y")] {
        let both = about(&down);
        assert!(
            both[2].starts_with(&format!("  reach to x Disconnected: both links of {circuit} are down: ")),
            "{both:?}"
        );
        let expected = if circuit == "x" {
            "to-x ExpressRoute from er to x: both links of x are down: "
        } else {
            "to-x ExpressRoute from er to x: "
        };
        assert!(both[3].starts_with(expected) && (circuit == "x") == both[3].contains("both links"), "{both:?}");
    }
}

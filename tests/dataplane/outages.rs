//! Tunnels and links that are away: nothing that comes out of one is forwarded (VPN-33, ER-02).

use vnet::compile::compile;
use vnet::config;
use vnet::dataplane::Ingress;
use vnet::model::{Attachment, CircuitIx, ConnectionIx, GatewayIx, Learned, Network, Side};

const FILE: &str = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}, {name: GatewaySubnet, addressPrefix: 10.1.255.0/26}]}
  - {name: w, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24}, {name: GatewaySubnet, addressPrefix: 10.2.255.0/26}]}
publicIPAddresses: [{name: p1, sku: Standard}, {name: p2, sku: Standard}, {name: pw, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, activeActive: true, sku: VpnGw2AZ, ipConfigurations: [{subnet: v/GatewaySubnet, publicIPAddress: p1}, {subnet: v/GatewaySubnet, publicIPAddress: p2}]}
  - {name: far, virtualNetwork: w, sku: VpnGw2AZ, publicIPAddress: pw}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: v}
localNetworkGateways:
  - {name: a, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [172.20.0.0/16]}
  - {name: b, gatewayIpAddress: 198.51.100.2, localNetworkAddressSpace: [172.21.0.0/16]}
connections:
  - {name: v-a, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: a, sharedKey: k}
  - {name: v-b, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: b, sharedKey: k}
  - {name: v-w, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw, virtualNetworkGateway2: far, sharedKey: k}
  - {name: w-v, connectionType: Vnet2Vnet, virtualNetworkGateway1: far, virtualNetworkGateway2: gw, sharedKey: k}
  - {name: v-x, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: x}
expressRouteCircuits:
  - {name: x, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]}
sites:
  - {name: a, gatewayIpAddress: 198.51.100.1, addressSpace: [172.20.0.0/16]}
  - {name: b, gatewayIpAddress: 198.51.100.2, addressSpace: [172.21.0.0/16]}
  - {name: dc, expressRouteCircuits: [x], addressSpace: [192.168.90.0/24]}
";

fn network(file: &str) -> Network {
    config::load(file, "outages.yaml").unwrap_or_else(|errors| panic!("{errors}")).network
}

/// The tunnels and links whose packets are forwarded.
fn up(network: &Network, learned: &Learned) -> Vec<String> {
    let compiled = compile(network, learned, 1);
    let is_up = |at| match compiled.snapshot.ports[compiled.ids().port(at).unwrap().0 as usize] {
        Ingress::Tunnel { up, .. } => up,
        ref other => panic!("{other:?}"),
    };
    let name = |at| match at {
        Attachment::Tunnel(tunnel) => Some(network.connection(tunnel).name.clone()),
        Attachment::CircuitLink(circuit, side) => Some(network.circuit_link_name(circuit, side)),
        _ => None,
    };
    let ends = network.attachments().into_iter().filter_map(|at| Some((at, name(at)?)));
    ends.filter(|(at, _)| is_up(*at)).map(|(_, name)| name).collect()
}

#[test]
fn vpn_33_er_02_what_comes_out_of_a_tunnel_or_link_that_is_away_is_not_forwarded() {
    let plain = network(FILE);
    let down =
        |names: &[&str]| Learned { down: names.iter().map(|name| (*name).to_owned()).collect(), ..Learned::default() };
    let off = |at| Learned { switched_off: [at].into(), ..Learned::default() };
    let tunnel = |name| ConnectionIx(plain.connections.iter().position(|one| one.name == name).unwrap());
    let link = |side| Attachment::CircuitLink(CircuitIx(0), side);
    let gateway = plain.gateway(GatewayIx(0));
    for (learned, away) in [
        (Learned::default(), &[][..]),
        (down(&[&gateway.instance_name(0)]), &["v-a", "v-b"]),
        (down(&[&gateway.instance_name(1)]), &["v-a#2", "v-b#2"]),
        (down(&["x-primary"]), &["x-primary"]),
        (down(&["x-secondary"]), &["x-secondary"]),
        (off(link(Side::Primary)), &["x-primary"]),
        (off(link(Side::Secondary)), &["x-secondary"]),
        (off(Attachment::Tunnel(tunnel("v-b"))), &["v-b"]),
        (off(Attachment::Gateway(GatewayIx(0))), &["v-a", "v-a#2", "v-b", "v-b#2"]),
        (off(Attachment::Gateway(GatewayIx(1))), &[]),
        (off(Attachment::Gateway(GatewayIx(2))), &[]),
    ] {
        let all = ["v-a", "v-a#2", "v-b", "v-b#2", "x-primary", "x-secondary"];
        let expected: Vec<_> = all.into_iter().filter(|name| !away.contains(name)).collect();
        assert_eq!(up(&plain, &learned), expected, "{learned:?}");
    }
    let faulty = |from: &str, to: &str| up(&network(&FILE.replacen(from, to, 1)), &Learned::default());
    assert_eq!(faulty("vlanId: 10}", "vlanId: 10, state: Disabled}"), ["v-a", "v-a#2", "v-b", "v-b#2"]);
    let other_key = faulty("addressSpace: [172.20.0.0/16]}", "addressSpace: [172.20.0.0/16], sharedKey: other}");
    assert_eq!(other_key, ["v-b", "v-b#2", "x-primary", "x-secondary"]);
}

#[test]
fn vpn_33_a_tunnel_to_a_gateway_is_away_with_its_own_instance_or_with_all_of_the_other_s() {
    let plain = network(&FILE.replacen(
        "{name: far, virtualNetwork: w, sku: VpnGw2AZ, publicIPAddress: pw}",
        "{name: far, activeActive: true, sku: VpnGw2AZ, ipConfigurations: [{subnet: w/GatewaySubnet, publicIPAddress: pw}, \
         {subnet: w/GatewaySubnet, publicIPAddress: p3}]}",
        1,
    ).replacen("{name: pw, sku: Standard}", "{name: pw, sku: Standard}, {name: p3, sku: Standard}", 1));
    let [own, far] = [0, 1].map(|gateway| [0, 1].map(|one| plain.gateway(GatewayIx(gateway)).instance_name(one)));
    let is_up = |down: &[&String], switched_off: &[Attachment]| {
        let down = down.iter().map(|name| (*name).clone()).collect();
        let learned = Learned { down, switched_off: switched_off.iter().copied().collect(), ..Learned::default() };
        let tunnels = plain.connections.iter().zip((0..).map(ConnectionIx));
        let tunnels = tunnels.filter(|(one, _)| one.name.starts_with("v-w"));
        tunnels.map(|(one, at)| (one.name.as_str(), learned.tunnel_is_up(&plain, at))).collect::<Vec<_>>()
    };
    assert_eq!(is_up(&[], &[]), [("v-w", true), ("v-w#2", true)]);
    assert_eq!(is_up(&[&own[0]], &[]), [("v-w", false), ("v-w#2", true)]);
    assert_eq!(is_up(&[&own[1]], &[]), [("v-w", true), ("v-w#2", false)]);
    assert_eq!(is_up(&[&far[0]], &[]), [("v-w", true), ("v-w#2", true)]);
    assert_eq!(is_up(&[&far[1]], &[]), [("v-w", true), ("v-w#2", true)]);
    assert_eq!(is_up(&[&far[0], &far[1]], &[]), [("v-w", false), ("v-w#2", false)]);
    assert_eq!(is_up(&[], &[Attachment::Gateway(GatewayIx(1))]), [("v-w", false), ("v-w#2", false)]);
    assert_eq!(is_up(&[], &[Attachment::Gateway(GatewayIx(2))]), [("v-w", true), ("v-w#2", true)]);
}

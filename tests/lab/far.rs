//! The nodes around gateways: sites with several ways in, private clouds, route servers, point-to-site clients.

use crate::kernel::tables;
use crate::lab::{Lab, eventually, has_program, saw, stdout};

/// A site with BGP, one with a tunnel and two circuits, and a private cloud.
const FAR: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.90.0.0/16]
    subnets:
      - {name: app, addressPrefix: 10.90.1.0/24}
      - {name: RouteServerSubnet, addressPrefix: 10.90.2.0/27}
      - {name: GatewaySubnet, addressPrefix: 10.90.255.0/26}
publicIPAddresses: [{name: er-ip, sku: Standard}, {name: vpn-ip, sku: Standard}, {name: rs-ip, sku: Standard}]
routeServers: [{name: rs, virtualNetwork: hub, publicIPAddress: rs-ip}]
virtualNetworkGateways:
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: hub, publicIPAddress: er-ip, sku: ErGw1AZ}
  - {name: vpn, virtualNetwork: hub, publicIPAddress: vpn-ip, sku: VpnGw1, enableBgp: true}
localNetworkGateways:
  - {name: dc, gatewayIpAddress: 198.51.100.50, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.50.1}}
  - {name: both, gatewayIpAddress: 198.51.100.51, localNetworkAddressSpace: [192.168.90.0/24]}
connections:
  - {name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: dc, sharedKey: k, enableBgp: true}
  - {name: hub-both, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: both, sharedKey: k}
  - {name: hub-sddc, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: sddc-circuit, authorizationKey: k}
  - {name: hub-one, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: one}
  - {name: hub-two, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: two}
expressRouteCircuits:
  - name: one
    sku: Premium
    serviceProviderProperties: &provider {serviceProviderName: Equinix, peeringLocation: London, bandwidthInMbps: 1000}
    peerings: [{name: AzurePrivatePeering, peeringType: AzurePrivatePeering, peerASN: 65011,
                primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 100}]
  - name: two
    sku: Premium
    serviceProviderProperties: *provider
    peerings: [{name: AzurePrivatePeering, peeringType: AzurePrivatePeering, peerASN: 65011,
                primaryPeerAddressPrefix: 172.30.1.0/30, secondaryPeerAddressPrefix: 172.30.1.4/30, vlanId: 101}]
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.50, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10], sharedKey: k,
     bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.50.1}}
  - {name: both, gatewayIpAddress: 198.51.100.51, expressRouteCircuits: [one, two], addressSpace: [192.168.90.0/24],
     addresses: [192.168.90.10], sharedKey: k}
privateClouds:
  - name: sddc
    networkBlock: 10.175.0.0/22
    internet: Disabled
    segments: [{name: web, addressPrefix: 10.176.1.0/24, addresses: [10.176.1.10, 10.176.1.11], connectedGateway: T1}]
    authorizations: [{name: hub, authorizationKey: k}]
virtualMachines:
  - {name: app, networkInterfaces: [{name: nic, subnet: hub/app}]}
";

const TABLES: &[(&str, &[&str])] = &[
    (
        "both",
        &[
            "tun0 inet 192.168.90.10/32",
            "er0 inet 192.168.90.10/32",
            "er0 inet 172.30.0.1/32",
            "er1 inet 192.168.90.10/32",
            "er1 inet 172.30.0.5/32",
            "er2 inet 192.168.90.10/32",
            "er2 inet 172.30.1.1/32",
            "er3 inet 192.168.90.10/32",
            "er3 inet 172.30.1.5/32",
            "10.90.0.0/16 dev er0 scope link metric 10",
            "10.90.0.0/16 dev er1 scope link metric 11",
            "10.90.0.0/16 dev er2 scope link metric 12",
            "10.90.0.0/16 dev er3 scope link metric 13",
            "10.90.0.0/16 dev tun0 scope link metric 100",
            "172.30.0.2 dev er0 scope link metric 10",
            "172.30.0.6 dev er1 scope link metric 11",
            "172.30.1.2 dev er2 scope link metric 12",
            "172.30.1.6 dev er3 scope link metric 13",
        ],
    ),
    (
        "dc",
        &[
            "tun0 inet 192.168.50.10/32",
            "tun0 inet 192.168.50.1/32",
            "10.90.0.0/16 via 10.90.255.62 dev tun0 proto bgp metric 20",
            "10.90.255.62 dev tun0 scope link",
            "192.168.90.0/24 via 10.90.255.62 dev tun0 proto bgp metric 20",
        ],
    ),
    ("rs", &["eth0 inet 10.90.2.4/32", "eth0 inet 10.90.2.5/32", "default dev eth0 scope link"]),
    (
        "sddc-T0",
        &[
            "eth0 inet 100.64.0.0/31",
            "default dev eth0 scope link",
            "100.64.0.0/31 dev eth0 proto kernel scope link src 100.64.0.0",
        ],
    ),
    (
        "T1",
        &[
            "eth0 inet 100.64.0.1/31",
            "eth0 inet 10.176.1.1/24",
            "default dev eth0 scope link",
            "10.176.1.0/24 dev eth0 proto kernel scope link src 10.176.1.1",
            "100.64.0.0/31 dev eth0 proto kernel scope link src 100.64.0.1",
        ],
    ),
    ("sddc-web", &["eth0 inet 10.176.1.10/32", "eth0 inet 10.176.1.11/32", "default dev eth0 scope link"]),
    ("sddc-circuit", &["eth0 inet 10.175.0.226/32", "eth0 inet 10.175.0.230/32", "default dev eth0 scope link"]),
];

fn await_tables(lab: &Lab, all: &[(&str, &[&str])]) {
    for (node, expected) in all {
        // BGP takes a moment.
        eventually(&format!("{node} has {expected:#?}"), || {
            let found = tables(lab, node);
            saw(format!("{found:#?}"));
            found == *expected
        });
    }
}

#[test]
fn each_way_into_a_site_has_its_metric_and_routers_of_clouds_their_addresses() {
    let Some(lab) = Lab::up(FAR) else { return };
    await_tables(&lab, TABLES);
    let cloud = tables(&lab, "sddc");
    for line in [
        "er0 inet 10.175.0.2/32",
        "er0 inet 10.175.1.132/32",
        "er0 inet 10.175.0.225/32",
        "er1 inet 10.175.0.229/32",
        "10.90.0.0/16 dev er0 scope link metric 10",
        "10.176.1.0/24 dev er1 scope link metric 11",
        "10.175.0.230 dev er1 scope link metric 11",
    ] {
        assert!(cloud.iter().any(|found| found == line), "no `{line}` in {cloud:#?}");
    }
    if has_program("curl") {
        let page = |at: &str| stdout(&lab.exec("app", &["curl", "-sk", "--max-time", "10", at]));
        assert!(page("https://10.175.0.2/").contains("<title>vCenter of private cloud sddc</title>"));
        assert!(page("https://10.175.0.3/").contains("<title>NSX-T Manager of private cloud sddc</title>"));
        let host = "<title>vMotion of host 10.175.1.133 of private cloud sddc</title>";
        assert!(page("http://10.175.1.133:8000/").contains(host));
    }
    // With its tunnel off the site has the circuits, and with one of these off the others.
    lab.switch("both", "tun0", "down");
    lab.switch("both", "er1", "down");
    eventually("both are off", || stdout(&lab.vnet(&["events"])).matches("DeviceOff").count() == 2);
    lab.switch("both", "er1", "up");
    lab.switch("both", "tun0", "up");
    await_tables(&lab, TABLES);
}

#[test]
fn a_client_is_told_of_the_networks_behind_its_gateway() {
    let Some(lab) = Lab::up(include_str!("../../config/point-to-site.yaml")) else { return };
    let client = |address: &str| {
        let mut lines = vec![format!("tun0 inet {address}/32")];
        lines.extend(
            ["10.1.0.0/16", "10.2.0.0/16", "10.99.0.0/16", "172.16.201.0/24"]
                .map(|range| format!("{range} dev tun0 scope link")),
        );
        // Learned by BGP.
        lines.push("192.168.50.0/24 dev tun0 scope link metric 100".to_owned());
        lines
    };
    for (node, address) in [("laptop", "172.16.201.2"), ("tablet", "172.16.201.20"), ("kiosk", "172.16.201.3")] {
        let expected = client(address);
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        await_tables(&lab, &[(node, &expected)]);
        assert_eq!(crate::kernel::setting(&lab, node, "ipv4/ip_forward"), "0", "a client forwards for nobody");
    }
    let link = crate::kernel::says(&lab, "laptop", "ip link show tun0");
    assert!(link.contains("mtu 1400"), "{link}");
}

/// ARS-06: what a branch's router advertises reaches the circuit's customer by the route server, as long as its gateway is
/// there; and back.
#[test]
fn ars_06_a_circuits_customer_hears_of_the_branch_and_hears_when_it_is_gone() {
    let silent = include_str!("../../config/branch-to-branch.yaml");
    let addresses = "addresses: [192.168.1.10, 172.20.0.10]";
    let speaking =
        silent.replace(addresses, &format!("{addresses}, bgpSettings: {{asn: 65010, bgpPeeringAddress: 192.168.1.1}}"));
    assert_ne!(silent, speaking);
    for text in [silent, &speaking] {
        let Some(lab) = Lab::up(text) else { return };
        let hears =
            |node: &str, range: &str| tables(&lab, node).iter().any(|line| line.starts_with(&format!("{range} ")));
        let both = || hears("dc", "192.168.2.0/24") && hears("branch", "192.168.1.0/24");
        eventually("each hears of the other", both);
        for (fail, back) in [
            (["gateway", "failover", "er", "--seconds", "3600"], ["gateway", "failover", "er", "--seconds", "0"]),
            (["circuit", "fail", "c", "--seconds", "3600"], ["circuit", "fail", "c", "--seconds", "0"]),
        ] {
            lab.data(&fail);
            eventually("the branch hears that it is gone", || !hears("branch", "192.168.1.0/24"));
            lab.data(&back);
            eventually("both are back", both);
        }
        for instance in ["1", "2"] {
            lab.data(&["gateway", "failover", "vpn", "--instance", instance, "--seconds", "3600"]);
        }
        eventually("the circuit's customer hears that it is gone", || !hears("dc", "192.168.2.0/24"));
        for instance in ["1", "2"] {
            lab.data(&["gateway", "failover", "vpn", "--instance", instance, "--seconds", "0"]);
        }
        eventually("both are back", both);
    }
}

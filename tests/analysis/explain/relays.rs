//! Routes that several gateways pass on: the session or tunnel on the way that is down is named, and the fix was tried.

use super::applied::File;
use super::sessions::{mended, one};
use super::*;

/// dc1, gw-sea, gw-lon, and behind it a virtual network.
const CHAIN: &str = include_str!("../../../config/single-point-of-failure.yaml");
/// Three gateways, each with a site and a tunnel to the others.
const TRIANGLE: &str = include_str!("../../../config/three-sites.yaml");
const BRANCHES: &str = include_str!("../../../config/branch-to-branch.yaml");

const LON_SEA: &str = "{name: lon-sea, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-lon, virtualNetworkGateway2: gw-sea, sharedKey: k2, enableBgp: true}";

/// VPN-10, VPN-20, BGP-09, BGP-13, VPN-11: a fault behind the first gateway, seen from both ends.
#[test]
fn a_fault_beyond_the_first_gateway_is_mended() {
    let key = with(CHAIN, LON_SEA, &LON_SEA.replace("k2", "other"));
    let half = with(CHAIN, &format!("  - {LON_SEA}\n"), "");
    let silent = CHAIN.replace("sharedKey: k2, enableBgp: true", "sharedKey: k2");
    let half_silent = with(CHAIN, LON_SEA, &LON_SEA.replace(", enableBgp: true", ""));
    let number = with(CHAIN, "bgpSettings: {asn: 65002}", "bgpSettings: {asn: 65001}");
    let local = with(
        CHAIN,
        "{asn: 65061, bgpPeeringAddress: 192.168.61.1}}\nconn",
        "{asn: 65062, bgpPeeringAddress: 192.168.61.1}}\nconn",
    );
    let enabled = |at: usize| (format!("connections[{at}].enableBgp"), "true".to_owned());
    for ask in [("app-lon", "dc1"), ("dc1", "app-lon")] {
        let fix = mended(&key, ask, "connection sea-lon: the two ends have different shared keys (VPN-10)");
        assert_eq!(fix, one("connections[2].sharedKey", "'k2'"));
        let fix = mended(&half, ask, "connection sea-lon: the other gateway has no connection back (VPN-20)");
        assert_eq!(fix[0].0, "connections[2]");
        let fix = mended(&silent, ask, "connections sea-lon and lon-sea have no `enableBgp`");
        assert_eq!(fix, [enabled(1), enabled(2)]);
        let fix = mended(&half_silent, ask, "connection lon-sea has no `enableBgp`");
        assert_eq!(fix, [enabled(2)]);
        // The gateway without sessions of its own is renumbered.
        let fix = mended(&number, ask, "both ends of connection sea-lon are AS 65001");
        assert_eq!(fix, one("virtualNetworkGateways[1].bgpSettings.asn", "64512"));
    }
    let fix = mended(&local, ("app-lon", "dc1"), "local network gateway dc1-lng has `asn` 65062, and dc1 is AS 65061");
    assert_eq!(fix, one("localNetworkGateways[0].bgpSettings.asn", "65061"));
}

/// BGP-13: routers that are not neighbours refuse each other's routes too.
#[test]
fn bgp_13_one_number_twice_on_a_way() {
    let sites = TRIANGLE.replace("asn: 65062", "asn: 65061");
    let fix =
        mended(&sites, ("dc1", "dc2"), "dc1 and dc2 are both AS 65061, so each refuses what has passed the other");
    let paths: Vec<_> = fix.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    assert_eq!(paths, [("sites[1].bgpSettings.asn", "64512"), ("localNetworkGateways[1].bgpSettings.asn", "64512")]);
    let gateways = with(TRIANGLE, "{asn: 65002}", "{asn: 65001}");
    let fix = mended(&gateways, ("app-lon", "dc1"), "are both AS 65001");
    assert_eq!(fix[0].1, "64512");
    let dead = with(
        TRIANGLE,
        "sharedKey: lon-sea, enableBgp: true}\n  - {name: lon-mum",
        "sharedKey: lon-sea}\n  - {name: lon-mum",
    )
    .replace("sharedKey: lon-mum, enableBgp: true", "sharedKey: lon-mum");
    let fix = mended(
        &dead,
        ("dc1", "dc2"),
        "dc1 has no route to 192.168.62.10 at dc2: connection lon-sea has no `enableBgp`",
    );
    assert_eq!(fix, one("connections[5].enableBgp", "true"));
}

/// VPN-10: of a site's two tunnels the one to the gateway in use is down; it gets the key that the other has.
#[test]
fn vpn_10_a_site_with_two_tunnels_keeps_its_key() {
    let file = include_str!("../../../config/disaster-recovery.yaml");
    let lines: Vec<_> = file.lines().filter(|line| !line.contains("connectionType: Vnet2Vnet")).collect();
    let file = lines.join("\n");
    let tunnel = "{name: dr-dc1, connectionType: IPsec, virtualNetworkGateway1: gw-dr, localNetworkGateway2: dc1-lng, sharedKey: k, enableBgp: true}";
    let other = with(&file, tunnel, &tunnel.replace("sharedKey: k", "sharedKey: other"));
    let fix = mended(&other, ("dc1", "app-dr:443"), "dc1 has no route to 10.71.1.4: connection dr-dc1: the two ends");
    assert_eq!(fix, one("connections[1].sharedKey", "'k'"));
    let apart = with(&file, &format!("  - {tunnel}\n"), "");
    let fix = mended(&apart, ("dc1", "app-dr:443"), "VNet DR-VNET uses gateway gw-dr, which has no way to dc1");
    assert_eq!(fix[0].0, "connections[1]");
    assert!(fix[0].1.ends_with("sharedKey: 'k', enableBgp: true}"), "{fix:?}");
}

/// ARS-06, ER-18: between a circuit and a VPN gateway of one virtual network.
#[test]
fn ars_06_routes_between_branches() {
    let both = [("192.168.1.10", "192.168.2.10"), ("192.168.2.10", "192.168.1.10")];
    let off = with(BRANCHES, "allowBranchToBranchTraffic: true, ", "");
    let key = with(BRANCHES, "sharedKey: k, enableBgp: true}", "sharedKey: x, enableBgp: true}");
    let silent = with(BRANCHES, "sharedKey: k, enableBgp: true}", "sharedKey: k}");
    let absent = with(BRANCHES, "- {name: c, ", "- {name: c, serviceProviderProvisioningState: NotProvisioned, ");
    for ask in both {
        let fix = mended(&off, ask, "route server rs has no allowBranchToBranchTraffic (ARS-06)");
        assert_eq!(fix, one("routeServers[0].allowBranchToBranchTraffic", "true"));
        let fix = mended(&silent, ask, "connection hub-branch has no `enableBgp`");
        assert_eq!(fix, one("connections[1].enableBgp", "true"));
        let fix = mended(&key, ask, "connection hub-branch: the two ends have different shared keys");
        assert_eq!(fix, one("sites[1].sharedKey", ""));
        let fix = mended(&absent, ask, "the provider has not provisioned the circuit (ER-18)");
        assert_eq!(fix, one("expressRouteCircuits[0].serviceProviderProvisioningState", "Provisioned"));
    }
}

/// ARS-06: without a route server nothing passes from a circuit to a tunnel.
#[test]
fn ars_06_a_route_server_is_added_between_branches() {
    let server = "routeServers:\n  - {name: rs, virtualNetwork: hub, publicIPAddress: rs-ip, allowBranchToBranchTraffic: true, hubRoutingPreference: VpnGateway}\n";
    let without = with(BRANCHES, server, "");
    let says = "no route server passes on the routes of gateways er and vpn of VNet hub (ARS-06)";
    let both = [("192.168.1.10", "192.168.2.10"), ("192.168.2.10", "192.168.1.10")];
    let added = "{name: hub-rs, virtualNetwork: hub, publicIPAddress: rs-ip, allowBranchToBranchTraffic: true}";
    let nameless = with(&without, "{name: rs-ip, sku: Standard}, ", "");
    // The subnet is missing, or the tunnel's gateway is another system: this is said, and nothing is changed.
    let placeless = with(&without, "      - {name: RouteServerSubnet, addressPrefix: 10.0.1.0/27}\n", "");
    let foreign = with(&without, "    enableBgp: true\n", "    enableBgp: true\n    bgpSettings: {asn: 65001}\n");
    for ask in both {
        assert_eq!(mended(&without, ask, says), one("routeServers[0]", added));
        let fix = mended(&nameless, ask, says);
        assert_eq!(fix, one("routeServers[0]", &added.replace(", publicIPAddress: rs-ip", "")));
        for yaml in [&placeless, &foreign] {
            let answer = ask_of(yaml, ask);
            let (cause, fix) = (answer.cause.unwrap(), answer.fix.unwrap());
            assert!(cause.contains(says), "{cause}");
            assert!(
                fix.text.ends_with("it needs a RouteServerSubnet, and gateways of AS 65515 (ARS-01)"),
                "{}",
                fix.text
            );
            assert_eq!((fix.checked, fix.changes.len()), (false, 0));
        }
    }
    // Its address is taken where it is there (PIP-01): the network of another has the second one.
    let second = with(
        &with(
            BRANCHES,
            "routeServers:\n",
            "routeServers:\n  - {name: far, virtualNetwork: far, publicIPAddress: far-ip}\n",
        ),
        "virtualNetworks:\n",
        "virtualNetworks:\n  - {name: far, location: x, addressSpace: [10.9.0.0/16], subnets: [{name: RouteServerSubnet, addressPrefix: 10.9.0.0/27}]}\n",
    );
    let second = with(&second, "publicIPAddresses: [", "publicIPAddresses: [{name: far-ip, sku: Standard}, ");
    let own = "  - {name: rs, virtualNetwork: hub, publicIPAddress: rs-ip, allowBranchToBranchTraffic: true, hubRoutingPreference: VpnGateway}\n";
    assert_eq!(mended(&with(&second, own, ""), both[0], says), one("routeServers[1]", added));
}

fn ask_of(yaml: &str, (source, destination): (&str, &str)) -> Explanation {
    File::parse(yaml.split("\ntests:").next().unwrap()).ask(source, destination)
}

//! Packets that leave for the Internet or for the wrong site, where another site has the destination.

use super::applied::File;
use super::sessions::{mended, one};
use super::*;

const FORCED: &str = include_str!("../../../config/forced-tunnelling.yaml");
const ASK: (&str, &str) = ("forced", "198.18.7.7:443");

/// VPN-40: a public address of a site that a default route sends to the gateway is the default site's.
#[test]
fn vpn_40_the_default_site_is_set() {
    let without = with(FORCED, ", gatewayDefaultSite: dc-lng", "");
    let fix = mended(&without, ASK, "it has no `gatewayDefaultSite` (VPN-40)");
    assert_eq!(fix, one("virtualNetworkGateways[0].gatewayDefaultSite", "dc-lng"));
    let wrong = with(FORCED, "gatewayDefaultSite: dc-lng", "gatewayDefaultSite: branch-lng");
    let says = "198.18.7.7 is at dc, but the default site of gateway gw is branch-lng (VPN-40)";
    assert_eq!(mended(&wrong, ASK, says), one("virtualNetworkGateways[0].gatewayDefaultSite", "dc-lng"));
    // Also where no selectors stand in the way, and the packet arrives at the wrong site.
    let arrives = with(&wrong, ", usePolicyBasedTrafficSelectors: true", "");
    assert_eq!(mended(&arrives, ASK, says), one("virtualNetworkGateways[0].gatewayDefaultSite", "dc-lng"));
    // A private address is named by the local network gateway instead.
    let private = with(&without, "[192.168.1.0/24, 198.18.7.0/24]", "[192.168.1.0/24, 192.168.9.0/24]");
    let private = with(&private, "[192.168.1.10, 198.18.7.7]", "[192.168.1.10, 192.168.9.9]");
    let fix = mended(&private, ("forced", "192.168.9.9:443"), "does not name its range (VPN-12)");
    assert_eq!(fix, one("localNetworkGateways[0].localNetworkAddressSpace[1]", "192.168.9.0/24"));
}

/// UDR-30: a packet for a site that leaves for the Internet is led to the gateway.
#[test]
fn udr_30_what_a_site_has_does_not_leave_for_the_internet() {
    let detached = with(FORCED, "addressPrefix: 10.10.1.0/24, routeTable: forced", "addressPrefix: 10.10.1.0/24");
    let internet = with(FORCED, "0.0.0.0/0, nextHopType: VirtualNetworkGateway", "0.0.0.0/0, nextHopType: Internet");
    let says = "198.18.7.7 is at dc, but ";
    assert_eq!(mended(&detached, ASK, says), one("virtualNetworks[0].subnets[0].routeTable", "forced"));
    let fix = mended(&internet, ASK, says);
    assert_eq!(fix[0].0, "routeTables[0].routes[0]");
    assert!(fix[0].1.contains("nextHopType: VirtualNetworkGateway"), "{fix:?}");
    // Without such a table or route, the site's range alone is led there.
    let table = "routes: [{name: all, addressPrefix: 0.0.0.0/0, nextHopType: VirtualNetworkGateway}]";
    let none = with(&detached, table, "routes: []");
    let fix = mended(&none, ASK, says);
    assert!(fix[0].1.contains("addressPrefix: 198.18.7.0/24, nextHopType: VirtualNetworkGateway"), "{fix:?}");
}

/// UDR-30: an appliance's default route leads into the gateway, and the Internet is what was asked for.
#[test]
fn udr_30_a_default_route_leads_back_to_the_internet() {
    let yaml = with(FORCED, ", gatewayDefaultSite: dc-lng", "");
    let fix = mended(&yaml, ("forced", "internet:80"), "gateway gw has no connection that leads to 198.18.0.7");
    assert_eq!(fix[0].0, "routeTables[0].routes[0]");
    assert!(fix[0].1.contains("nextHopType: Internet"), "{fix:?}");
}

/// Two sites behind one gateway.
const SITES: &str = "
virtualNetworks:
  - {name: hub, location: x, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.0.255.0/27}]}
publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways: [{name: gw, virtualNetwork: hub, publicIPAddress: p}]
localNetworkGateways:
  - {name: dc-lng, gatewayIpAddress: 198.51.100.50, localNetworkAddressSpace: [192.168.50.0/24]}
  - {name: br-lng, gatewayIpAddress: 198.51.100.77, localNetworkAddressSpace: [192.168.77.0/24]}
connections:
  - {name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc-lng, sharedKey: a}
  - {name: hub-br, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: br-lng, sharedKey: b}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.50, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]}
  - {name: br, gatewayIpAddress: 198.51.100.77, addressSpace: [192.168.77.0/24], addresses: [192.168.77.10]}
virtualMachines: [{name: vm, networkInterfaces: [{subnet: hub/s}]}]
";

/// VPN-12: ranges that the local network gateway of another site names go where they are.
#[test]
fn vpn_12_a_range_at_the_wrong_site_is_moved() {
    let (dc, br) = ("[192.168.50.0/24]}\n  - {name: br-lng", "[192.168.77.0/24]}\nconn");
    let space = |at: usize| format!("localNetworkGateways[{at}].localNetworkAddressSpace");
    let swapped = with(SITES, dc, &dc.replace("50", "77"));
    let swapped = with(&swapped, br, &br.replace("77", "50"));
    let says = "192.168.50.10 is at dc, but local network gateway br-lng names its range, and br is there (VPN-12)";
    let fix = mended(&swapped, ("vm", "dc:443"), says);
    assert_eq!(fix, [(space(1), "['192.168.77.0/24']".to_owned()), (space(0), "['192.168.50.0/24']".to_owned())]);
    let longer = with(SITES, br, &br.replace("[192.168.77.0/24]", "[192.168.77.0/24, 192.168.50.0/28]"));
    assert_eq!(mended(&longer, ("vm", "dc:443"), says), [(space(1), "['192.168.77.0/24']".to_owned())]);
}

/// VPN-11: a question from a site that nothing leads to has the answer of the question to it.
#[test]
fn vpn_11_a_site_that_nothing_leads_to_is_connected() {
    let moved = with(SITES, "dc-lng, gatewayIpAddress: 198.51.100.50", "dc-lng, gatewayIpAddress: 198.51.100.51");
    let path = "localNetworkGateways[0].gatewayIpAddress";
    for ask in [("dc", "vm:443"), ("192.168.50.10", "vm:443")] {
        let fix = mended(&moved, ask, "dc-lng has gatewayIpAddress 198.51.100.51, which no site has (VPN-11)");
        assert_eq!(fix, one(path, "'198.51.100.50'"));
    }
    assert_eq!(File::parse(&moved).ask("dc", "vm:443").source, "dc (192.168.50.10)");
}

/// VPN-11, BGP-09: a connection that leads to no site is led to the one that is meant; a new one speaks BGP where both
/// its ends do.
#[test]
fn vpn_11_a_connection_to_nothing_is_led_to_the_site() {
    const BGP: &str = include_str!("../../../config/site-to-site-bgp.yaml");
    let local = "  - {name: dc-lng, ";
    let old = "  - {name: old, gatewayIpAddress: 198.51.100.99, bgpSettings: {asn: 65077, bgpPeeringAddress: 192.168.77.1}}\n";
    let astray = with(BGP, local, &format!("{old}{local}"));
    let astray = with(&astray, "localNetworkGateway2: dc-lng", "localNetworkGateway2: old");
    let fix =
        mended(&astray, ("app", "dc:443"), "connection hub-dc leads to local network gateway old, and no site has its");
    assert_eq!(fix, one("connections[0].localNetworkGateway2", "dc-lng"));
    let lines: Vec<_> = BGP.lines().filter(|line| !line.contains("name: hub-dc")).collect();
    let fix = mended(
        &lines.join("\n").replace("connections:\n", ""),
        ("app", "dc:443"),
        "no gateway has a connection to there",
    );
    assert!(fix[0].1.ends_with("sharedKey: 'a-secret', enableBgp: true}"), "{fix:?}");
}

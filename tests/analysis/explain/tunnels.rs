//! Faults of gateways, tunnels and ways out: what `explain` proposes is written into the file, and then the packet arrives.

use super::applied::File;
use super::{SITE, Verdict, changes, with};

const INTERNET: &str = include_str!("../../../config/internet.yaml");

/// The paths that all fixes of a question change, in turn; with them made the packet and its answer arrive.
fn mended(yaml: &str, (source, destination): (&str, &str), cause: &str) -> Vec<String> {
    let file = File::parse(yaml);
    let answer = file.ask(source, destination);
    assert_eq!(answer.verdict, Verdict::Blocked);
    let found = answer.cause.as_deref().unwrap();
    assert!(found.contains(cause), "{found}");
    let further = answer.further.iter().map(|one| (one.cause.as_str(), one.fix.as_ref()));
    let (mut mended, mut paths) = (file, Vec::new());
    for (cause, fix) in std::iter::once((found, answer.fix.as_ref())).chain(further) {
        let fix = fix.unwrap_or_else(|| panic!("no fix: {cause}"));
        assert!(fix.checked, "{cause}: {fix:?}");
        paths.extend(changes(fix).into_iter().map(|(path, _)| path.to_owned()));
        mended = mended.with(fix);
    }
    let after = mended.ask(source, destination);
    assert_eq!(after.verdict, Verdict::Reachable, "{:?} after {paths:?}", after.cause);
    paths
}

/// The line of a file that begins so, taken out.
fn without(yaml: &str, line: &str) -> String {
    assert!(yaml.lines().any(|one| one.trim_start().starts_with(line)), "{line}");
    yaml.lines().filter(|one| !one.trim_start().starts_with(line)).collect::<Vec<_>>().join("\n")
}

/// VPN-10: the site's key gives way to the connection's, so that no answer has a key in it.
#[test]
fn vpn_10_two_keys_become_one() {
    let yaml =
        with(SITE, "addresses: [192.168.50.10], sharedKey: a-secret", "addresses: [192.168.50.10], sharedKey: other");
    for ask in [("app", "dc:443"), ("dc", "app:443")] {
        assert_eq!(mended(&yaml, ask, "the two ends have different shared keys"), ["sites[0].sharedKey"]);
    }
}

#[test]
fn vpn_18_one_end_begins() {
    let yaml =
        with(SITE, "sharedKey: a-secret}\n# What", "sharedKey: a-secret, connectionMode: ResponderOnly}\n# What");
    let site = "addresses: [192.168.50.10], sharedKey: a-secret";
    let yaml = with(&yaml, site, &format!("{site}, connectionMode: ResponderOnly"));
    assert_eq!(mended(&yaml, ("app", "dc:443"), "both ends wait"), ["connections[0].connectionMode"]);
}

#[test]
fn udr_31_the_gateways_own_table_takes_its_routes() {
    let subnet = "{name: GatewaySubnet, addressPrefix: 10.10.255.0/27";
    let yaml = with(SITE, subnet, &format!("{subnet}, routeTable: shut"));
    let yaml = yaml + "routeTables: [{name: shut, disableBgpRoutePropagation: true}]\n";
    for (ask, cause) in [
        (("dc", "app:443"), "the table on GatewaySubnet has disableBgpRoutePropagation"),
        (("app", "dc:443"), "keeps the routes of gateways out"),
    ] {
        assert_eq!(mended(&yaml, ask, cause), ["routeTables[0].disableBgpRoutePropagation"]);
    }
}

/// VPN-11: the other end of a tunnel is a site of the file.
#[test]
fn vpn_11_a_tunnel_without_a_site_gets_one() {
    let yaml = &SITE[..SITE.find("tests:").unwrap()];
    let yaml = without(&without(yaml, "- {name: dc, "), "sites:");
    assert_eq!(mended(&yaml, ("app", "192.168.50.10:443"), "no site has the local network gateway's"), ["sites[0]"]);
}

#[test]
fn vpn_12_a_site_that_no_connection_leads_to_is_connected() {
    let yaml = &without(&SITE[..SITE.find("tests:").unwrap()], "- {name: hub-dc");
    let yaml = without(yaml, "connections:");
    assert_eq!(mended(&yaml, ("app", "dc:443"), "no gateway has a connection to there"), ["connections[0]"]);
    let yaml = without(&without(&yaml, "- {name: dc-lng"), "localNetworkGateways:");
    let paths = mended(&yaml, ("app", "dc:443"), "no gateway has a connection to there");
    assert_eq!(paths, ["localNetworkGateways[0]", "connections[0]"]);
}

/// PEER-30: what is not peered with the gateway's network is peered, then uses its gateway.
#[test]
fn peer_30_a_network_apart_from_the_gateways_is_peered_and_uses_it() {
    let yaml = without(&without(SITE, "- {name: hub-spoke,"), "- {name: spoke-hub,");
    let yaml = yaml.replace("    virtualNetworkPeerings:\n", "");
    let paths = mended(&yaml, ("app", "dc:443"), "is not peered with its VNet hub");
    assert_eq!(paths.len(), 4, "{paths:?}");
}

#[test]
fn vpn_16_selectors_that_leave_a_pair_out_are_taken_off() {
    let yaml = with(
        SITE,
        "sharedKey: a-secret}\n# What",
        "sharedKey: a-secret, usePolicyBasedTrafficSelectors: true}\n# What",
    );
    let space = "addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]";
    let yaml = with(&yaml, space, "addressSpace: [192.168.50.0/24, 192.168.51.0/24], addresses: [192.168.51.10]");
    let paths = mended(&yaml, ("dc", "app:443"), "usePolicyBasedTrafficSelectors does not carry");
    assert_eq!(paths[0], "connections[0].usePolicyBasedTrafficSelectors");
}

/// Two virtual networks that meet over their gateways alone.
const TUNNEL: &str = "
virtualNetworks:
  - {name: a, location: x, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}]}
  - {name: b, location: x, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.2.255.0/27}]}
publicIPAddresses: [{name: a, sku: Standard}, {name: b, sku: Standard}]
virtualNetworkGateways:
  - {name: gw-a, virtualNetwork: a, publicIPAddress: a}
  - {name: gw-b, virtualNetwork: b, publicIPAddress: b}
connections:
  - {name: a-b, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-a, virtualNetworkGateway2: gw-b, sharedKey: k}
  - {name: b-a, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-b, virtualNetworkGateway2: gw-a, sharedKey: k}
virtualMachines: [{name: va, networkInterfaces: [{subnet: a/s}]}, {name: vb, networkInterfaces: [{subnet: b/s}]}]
";

/// VPN-20: the other gateway's connection is missing, or has another key.
#[test]
fn vpn_20_a_connection_back_is_added_or_takes_the_key_over() {
    let alone = without(TUNNEL, "- {name: b-a");
    let other =
        with(TUNNEL, "virtualNetworkGateway2: gw-a, sharedKey: k", "virtualNetworkGateway2: gw-a, sharedKey: other");
    let there = ("va", "vb:443");
    assert_eq!(mended(&alone, there, "connection a-b: the other gateway has no connection back"), ["connections[1]"]);
    assert_eq!(mended(&other, there, "the two ends have different shared keys"), ["connections[1].sharedKey"]);
    // The side without a connection has no route, and is not told to peer instead.
    let down = "meet over connection a-b, which is down: the other gateway has no connection back";
    assert_eq!(mended(&alone, ("vb", "va:443"), down), ["connections[1]"]);
}

/// NAT-01: a private subnet shares the NAT gateway of its virtual network, or has a new one.
#[test]
fn nat_01_a_private_subnet_gets_a_nat_gateway() {
    let ask = ("vault", "internet:443");
    let shared = mended(INTERNET, ask, "defaultOutboundAccess off");
    assert_eq!(shared, ["virtualNetworks[0].subnets[3].natGateway"]);
    let lines = ["natGateways:", "- {name: out,", "- {name: out-ip,"];
    let none = lines.iter().fold(with(INTERNET, ", natGateway: out", ""), |yaml, line| without(&yaml, line));
    let own = mended(&none, ask, "defaultOutboundAccess off");
    assert_eq!(own, ["publicIPPrefixes[0]", "natGateways[0]", "virtualNetworks[0].subnets[3].natGateway"]);
    // No NAT gateway carries a ping.
    let answer = File::parse(INTERNET).ask("vault", "internet");
    assert!(answer.fix.unwrap().changes.is_empty());
}

/// PIP-04: one NSG with one rule opens a public address for what was asked, and for nothing else.
#[test]
fn pip_04_a_closed_public_address_is_opened_for_one_flow() {
    let yaml = with(INTERNET, ", networkSecurityGroup: web", "");
    let yaml = with(&yaml, "destinationPortRange: '443'", "destinationPortRange: '8443'");
    let paths = mended(&yaml, ("internet", "web:443"), "its public address is closed");
    assert_eq!(paths, ["networkSecurityGroups[1]", "virtualMachines[0].networkInterfaces[0].networkSecurityGroup"]);
    let file = File::parse(&yaml);
    let fix = file.ask("internet", "web:443").fix.unwrap();
    let opened = file.with(&fix);
    assert_eq!(opened.ask("internet", "web:80").verdict, Verdict::Blocked);
    assert_eq!(opened.ask("app", "web:80").verdict, Verdict::Reachable, "as before");
}

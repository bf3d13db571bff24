//! BGP sessions, circuits and gateways with one unequal or missing key: the cause names it, and the fix was tried.

use super::applied::File;
use super::*;

const BGP: &str = include_str!("../../../config/site-to-site-bgp.yaml");
const CIRCUITS: &str = include_str!("../../../config/private-cloud-full.yaml");

/// The settings of the site's device, as its entry in the file ends.
const SPEAKER: &str = ", bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.50.1}}\nvirtualM";

/// Asks, makes all changes, asks again; the paths that were changed and their values.
pub(super) fn mended(yaml: &str, (source, destination): (&str, &str), cause: &str) -> Vec<(String, String)> {
    let file = File::parse(yaml.split("\ntests:").next().unwrap());
    let answer = file.ask(source, destination);
    assert_ne!(answer.verdict, Verdict::Reachable);
    let found = answer.cause.as_deref().unwrap();
    assert!(found.contains(cause), "{found}");
    let further = answer.further.iter().map(|one| (one.cause.as_str(), one.fix.as_ref()));
    let (mut mended, mut made) = (file, Vec::new());
    for (cause, fix) in std::iter::once((found, answer.fix.as_ref())).chain(further) {
        let fix = fix.unwrap_or_else(|| panic!("no fix: {cause}"));
        assert!(fix.checked, "{cause}: {fix:?}");
        made.extend(changes(fix).into_iter().map(|(path, value)| (path.to_owned(), value.to_owned())));
        mended = mended.with(fix);
    }
    let after = mended.ask(source, destination);
    assert_eq!(after.verdict, Verdict::Reachable, "{:?} after {made:?}", after.cause);
    made
}

pub(super) fn one(path: &str, value: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), value.to_owned())]
}

/// VPN-11: what the local network gateway says of the device is changed to what the device is.
#[test]
fn vpn_11_the_unequal_key_of_a_session_is_named() {
    let both = [("app", "dc:443"), ("dc", "app:443")];
    let asn = with(BGP, SPEAKER, &SPEAKER.replace("65010", "65011"));
    let address = with(BGP, SPEAKER, &SPEAKER.replace("50.1}", "50.2}"));
    let absent = with(BGP, SPEAKER, "}\nvirtualM");
    for ask in both {
        let fix = mended(&asn, ask, "local network gateway dc-lng has `asn` 65010, and dc is AS 65011");
        assert_eq!(fix, one("localNetworkGateways[0].bgpSettings.asn", "65011"));
        let fix = mended(&address, ask, "has `bgpPeeringAddress` 192.168.50.1, and dc speaks BGP at 192.168.50.2");
        assert_eq!(fix, one("localNetworkGateways[0].bgpSettings.bgpPeeringAddress", "'192.168.50.2'"));
    }
    let fix = mended(&absent, both[0], "dc has no `bgpSettings`");
    assert_eq!(fix, one("sites[0].bgpSettings", "{asn: 65010, bgpPeeringAddress: '192.168.50.1'}"));
}

/// VPN-10: a tunnel that is mended brings what its session then brings, and no further obstacle is met.
#[test]
fn vpn_10_a_mended_tunnel_brings_its_routes() {
    let yaml =
        with(BGP, "addresses: [192.168.50.10], sharedKey: a-secret", "addresses: [192.168.50.10], sharedKey: other");
    for ask in [("app", "dc:443"), ("dc", "app:443")] {
        assert_eq!(mended(&yaml, ask, "different shared keys"), one("sites[0].sharedKey", ""));
    }
    // A connection without a key gets the site's.
    let absent = with(BGP, "sharedKey: a-secret, enableBgp: true}", "enableBgp: true}");
    let fix = mended(&absent, ("app", "dc:443"), "different shared keys");
    assert_eq!(fix, one("connections[0].sharedKey", "'a-secret'"));
}

/// BGP-09: a connection between ends that both have BGP settings.
#[test]
fn bgp_09_a_connection_without_bgp_gets_it() {
    let yaml = with(BGP, "sharedKey: a-secret, enableBgp: true}", "sharedKey: a-secret}");
    let fix = mended(&yaml, ("app", "dc:443"), "connection hub-dc has no `enableBgp`");
    assert_eq!(fix, one("connections[0].enableBgp", "true"));
}

/// TAG-06: a rule denies what the tag leaves out, and the tag follows the routes that the session brings. The session
/// is what is mended.
#[test]
fn tag_06_a_range_that_no_route_leads_to_is_no_fault_of_the_rules() {
    let subnet = "{name: app, addressPrefix: 10.20.1.0/24";
    let yaml = with(BGP, subnet, &format!("{subnet}, networkSecurityGroup: n"));
    let yaml = with(&yaml, "publicIPAddresses:", "networkSecurityGroups: [{name: n}]\npublicIPAddresses:");
    let silent = with(&yaml, "sharedKey: a-secret, enableBgp: true}", "sharedKey: a-secret}");
    let fix = mended(&silent, ("app", "dc:443"), "connection hub-dc has no `enableBgp`");
    assert_eq!(fix, one("connections[0].enableBgp", "true"));
    // A rule that the user wrote denies with or without the way, so both are mended.
    let deny = "{name: deny, priority: 200, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*', \
                sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}";
    let denied = with(&silent, "[{name: n}]", &format!("[{{name: n, securityRules: [{deny}]}}]"));
    let fixes = mended(&denied, ("app", "dc:443"), "rule securityRules/deny: a rule denies tcp/443");
    assert_eq!(fixes.len(), 2);
}

/// What a device does not advertise is not learned; the narrowest list gets the range.
#[test]
fn a_range_that_the_site_leaves_out_is_advertised() {
    let addresses = "addresses: [192.168.50.10], sharedKey";
    let yaml = with(BGP, addresses, "addresses: [192.168.50.10], advertises: [192.168.51.0/24], sharedKey");
    let left_out = "`advertises` of dc leaves 192.168.50.0/24 out";
    assert_eq!(mended(&yaml, ("app", "dc:443"), left_out), one("sites[0].advertises[1]", "192.168.50.0/24"));
    let tunnels =
        "addresses: [192.168.50.10], tunnels: [{connection: hub-dc, advertises: [192.168.51.0/24]}], sharedKey";
    let fix = mended(&with(BGP, addresses, tunnels), ("app", "dc:443"), left_out);
    assert_eq!(fix, one("sites[0].tunnels[0].advertises[1]", "192.168.50.0/24"));
}

/// BGP-13: the gateway gets a number of its own, beside a site as beside another gateway.
#[test]
fn bgp_13_two_ends_with_one_number_get_two() {
    let yaml = with(BGP, "enableBgp: true}\nlocal", "enableBgp: true, bgpSettings: {asn: 65010}}\nlocal");
    for ask in [("app", "dc:443"), ("dc", "app:443")] {
        let fix = mended(&yaml, ask, "both ends of connection hub-dc are AS 65010");
        assert_eq!(fix, one("virtualNetworkGateways[0].bgpSettings.asn", "64512"));
    }
    let between = "
virtualNetworks:
  - {name: a, location: x, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}]}
  - {name: b, location: x, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.2.255.0/27}]}
publicIPAddresses: [{name: a, sku: Standard}, {name: b, sku: Standard}]
virtualNetworkGateways:
  - {name: gw-a, virtualNetwork: a, publicIPAddress: a, enableBgp: true}
  - {name: gw-b, virtualNetwork: b, publicIPAddress: b, enableBgp: true}
connections:
  - {name: a-b, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-a, virtualNetworkGateway2: gw-b, sharedKey: k, enableBgp: true}
  - {name: b-a, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-b, virtualNetworkGateway2: gw-a, sharedKey: k, enableBgp: true}
virtualMachines: [{name: va, networkInterfaces: [{subnet: a/s}]}, {name: vb, networkInterfaces: [{subnet: b/s}]}]
";
    let fix = mended(between, ("va", "vb:443"), "both ends of connection a-b are AS 65515");
    assert_eq!(fix, one("virtualNetworkGateways[0].bgpSettings.asn", "64512"));
}

/// VPN-11: a local network gateway that describes a site gets the site's address; no second one is made.
#[test]
fn vpn_11_a_local_network_gateway_gets_the_address_of_its_site() {
    let fix = one("localNetworkGateways[0].gatewayIpAddress", "'198.51.100.50'");
    for yaml in [BGP, SITE] {
        let yaml = with(yaml, "dc-lng, gatewayIpAddress: 198.51.100.50", "dc-lng, gatewayIpAddress: 198.51.100.51");
        assert_eq!(mended(&yaml, ("app", "dc:443"), "198.51.100.51"), fix);
    }
}

/// ER-18: a circuit's states.
#[test]
fn er_18_a_circuit_is_provisioned_and_its_peering_enabled() {
    let peering = "      - name: AzurePrivatePeering\n";
    let disabled = with(CIRCUITS, peering, &format!("{peering}        state: Disabled\n"));
    let state = "    serviceProviderProvisioningState: NotProvisioned\n";
    let tier = "    sku: {tier: Premium, family: MeteredData}\n";
    let ordered = with(CIRCUITS, tier, &format!("{tier}{state}"));
    for ask in [("app", "dc:443"), ("dc", "app:443"), ("dc", "10.175.0.2:443")] {
        let fix = mended(&disabled, ask, "AzurePrivatePeering is Disabled");
        assert_eq!(fix, one("expressRouteCircuits[0].peerings[0].state", "Enabled"));
        let fix = mended(&ordered, ask, "the provider has not provisioned the circuit");
        assert_eq!(fix, one("expressRouteCircuits[0].serviceProviderProvisioningState", "Provisioned"));
    }
}

/// ER-18: what a private peering would have is not in the file: this is said in words.
#[test]
fn er_18_a_circuit_without_a_private_peering() {
    let start = CIRCUITS.find("    peerings:\n").unwrap();
    let end = start + CIRCUITS[start..].find("vlanId: 100").unwrap();
    let end = end + CIRCUITS[end..].find('\n').unwrap() + 1;
    let without = with(CIRCUITS, &CIRCUITS[start..end], "");
    let answer = File::parse(without.split("\ntests:").next().unwrap()).ask("app", "dc:443");
    let fix = answer.fix.unwrap();
    assert!(answer.cause.unwrap().ends_with("the circuit has no AzurePrivatePeering (ER-18)"));
    assert_eq!((fix.checked, fix.changes.len()), (false, 0));
    assert!(fix.text.starts_with("give circuit er-london an AzurePrivatePeering"), "{}", fix.text);
}

/// ER-10: a missing connection is added, with a key where the circuit asks for one; a wrong key gives way to one that
/// nothing uses.
#[test]
fn er_10_a_gateway_is_connected_to_a_circuit() {
    let line = |name: &str| CIRCUITS.lines().find(|line| line.starts_with(&format!("  - {{name: {name},"))).unwrap();
    let without = |name| CIRCUITS.replace(&format!("{}\n", line(name)), "");
    let connected =
        "{name: hub-er-er-london, connectionType: ExpressRoute, virtualNetworkGateway1: hub-er, peer: er-london}";
    for (ask, cause) in [
        (("app", "dc:443"), "no gateway has a connection to there"),
        (("dc", "app:443"), "no gateway of VNet hub has a connection to circuit er-london"),
    ] {
        assert_eq!(mended(&without("hub-london"), ask, cause), one("connections[1]", connected));
    }
    let connected = "{name: hub-er-sddc-circuit, connectionType: ExpressRoute, virtualNetworkGateway1: hub-er, peer: \
                     sddc-circuit, authorizationKey: '77c1-sddc'}";
    for ask in [("app", "sddc-web:443"), ("sddc-web", "app:443"), ("app", "10.175.0.2:443"), ("10.175.0.2", "app:443")]
    {
        assert_eq!(mended(&without("hub-sddc"), ask, "has a connection to"), one("connections[1]", connected));
        let other = with(CIRCUITS, "authorizationKey: 77c1-sddc}\n#", "authorizationKey: other}\n#");
        let fix = mended(&other, ask, "the circuit has no such authorization");
        assert_eq!(fix, one("connections[1].authorizationKey", "'77c1-sddc'"));
    }
}

/// ER-10: where every key of the circuit is in use, or it has none, the link's own is issued.
#[test]
fn er_10_a_circuit_without_an_unused_key_issues_one() {
    let yaml = with(CIRCUITS, "    authorizations: [{name: for-hub, authorizationKey: 77c1-sddc}]\n", "");
    let fix = mended(&yaml, ("app", "sddc-web:443"), "the circuit has no such authorization");
    assert_eq!(fix, one("privateClouds[0].authorizations[0]", "{name: for-hub-sddc, authorizationKey: '77c1-sddc'}"));
    let yaml = with(CIRCUITS, "    authorizations: [{name: for-sddc, authorizationKey: 3f8a-london}]\n", "");
    let fix = mended(&yaml, ("dc", "10.175.0.2:443"), "the circuit has no such authorization");
    assert_eq!(
        fix,
        one("expressRouteCircuits[0].authorizations[0]", "{name: for-to-dc, authorizationKey: '3f8a-london'}")
    );
}

/// ER-01: the number of the peering follows the customer's.
#[test]
fn er_01_a_peering_has_the_number_of_its_customer() {
    let addresses = "addresses: [192.168.90.10]";
    let speaker = format!("{addresses}, bgpSettings: {{asn: 65099, bgpPeeringAddress: 192.168.90.1}}");
    let fix =
        mended(&with(CIRCUITS, addresses, &speaker), ("app", "dc:443"), "has `peerASN` 65010, and dc is AS 65099");
    assert_eq!(fix, one("expressRouteCircuits[0].peerings[0].peerASN", "65099"));
    let left_out = format!("{addresses}, advertises: [192.168.91.0/24]");
    let fix = mended(&with(CIRCUITS, addresses, &left_out), ("app", "dc:443"), "`advertises` of dc leaves");
    assert_eq!(fix, one("sites[0].advertises[1]", "192.168.90.0/24"));
}

/// GR-04: circuits that nothing joins; between two of the file it is written at the peering.
#[test]
fn gr_04_two_circuits_are_joined_by_global_reach() {
    let reach = "      - {name: to-dc, peerExpressRouteCircuit: er-london, authorizationKey: 3f8a-london}\n";
    let without = with(CIRCUITS, &format!("    globalReachConnections:\n{reach}"), "");
    let joined = "{name: to-er-london, peerExpressRouteCircuit: er-london, authorizationKey: '3f8a-london'}";
    for ask in [("dc", "10.175.0.2:443"), ("sddc-web", "dc:443")] {
        let fix = mended(&without, ask, "no Global Reach joins circuits");
        assert_eq!(fix, one("privateClouds[0].globalReachConnections[0]", joined));
    }
    let other = with(CIRCUITS, "authorizationKey: 3f8a-london}\nint", "authorizationKey: other}\nint");
    let fix = mended(&other, ("dc", "10.175.0.2:443"), "Global Reach to-dc: the circuit has no such authorization");
    assert_eq!(fix, one("privateClouds[0].globalReachConnections[0].authorizationKey", "'3f8a-london'"));
}

/// A default route to a gateway with a tunnel to a site.
const DEFAULT: &str = "
virtualNetworks:
  - {name: v, location: x, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24, routeTable: rt}, {name: GatewaySubnet, addressPrefix: 10.0.255.0/27}]}
routeTables: [{name: rt, routes: [{name: all, addressPrefix: 0.0.0.0/0, nextHopType: VirtualNetworkGateway}]}]
publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways: [{name: gw, virtualNetwork: v, publicIPAddress: p}]
localNetworkGateways: [{name: dc-lng, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [192.168.1.0/24]}]
connections: [{name: v-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc-lng, sharedKey: k}]
virtualMachines: [{name: m, networkInterfaces: [{subnet: v/s}]}]
";

/// VPN-40: the rest of the traffic needs a default site. A connection that does not lead there is not blamed.
#[test]
fn vpn_40_a_gateway_without_a_default_site() {
    let site = "sites: [{name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [192.168.1.0/24]}]\n";
    let answer = File::parse(&format!("{DEFAULT}{site}")).ask("m", "198.18.0.1");
    assert!(answer.cause.unwrap().contains("has no `gatewayDefaultSite` (VPN-40)"));
    let fix = answer.fix.unwrap();
    assert!(fix.checked);
    assert_eq!(changes(&fix), [("virtualNetworkGateways[0].gatewayDefaultSite", "dc-lng")]);
    let answer = File::parse(DEFAULT).ask("m", "198.18.0.1");
    let cause = answer.cause.unwrap();
    assert!(cause.contains("gateway gw has no connection that leads to 198.18.0.1"), "{cause}");
    assert!(answer.fix.is_none(), "a site that is not there takes nothing");
    let answer = File::parse(DEFAULT).ask("m", "192.168.1.7");
    assert!(answer.cause.unwrap().contains("connection v-dc: no site has"));
}

//! Routes that the rest of the file shows to be mistakes: they are put right, and nothing is added beside them.

use super::applied::File;
use super::*;

/// Asks, makes the only change that is proposed and asks again: its text, and the changed paths with their values.
pub(super) fn mended(yaml: &str, (source, destination): (&str, &str)) -> (String, Vec<(String, String)>) {
    let file = File::parse(yaml);
    let answer = file.ask(source, destination);
    assert_eq!((answer.verdict, answer.further.len()), (Verdict::Blocked, 0), "{:?}", answer.further);
    let fix = answer.fix.unwrap();
    assert!(fix.checked);
    let after = file.with(&fix).ask(source, destination);
    assert_eq!(after.verdict, Verdict::Reachable, "{:?}", after.cause);
    assert!(!after.warnings.iter().any(|warning| warning.starts_with("asymmetric")), "{:?}", after.warnings);
    let made = changes(&fix).into_iter().map(|(path, value)| (path.to_owned(), value.to_owned())).collect();
    (fix.text, made)
}

fn one(path: &str, value: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), value.to_owned())]
}

const TO_S2: &str =
    "{name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}";
const TO_S1: &str =
    "{name: to-s1, addressPrefix: 10.20.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}";

/// NIC-05: a route to a server is a mistake where other routes name an appliance.
#[test]
fn nic_05_a_route_to_a_server_is_led_to_the_appliance() {
    let at_server = |route: &str| route.replace("10.10.0.4", "10.10.0.5");
    let wrong = with(CHAIN, TO_S2, &at_server(TO_S2));
    for server in [
        "  - {name: files, networkInterfaces: [{subnet: h/s}]}\n",
        "  - {name: files, guest: {forwarding: false}, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}\n",
    ] {
        let (text, changes) = mended(&format!("{wrong}{server}"), ("v1", "v2"));
        assert_eq!(text, "point route to-s2 at nva/eth0 (10.10.0.4), the answer's way");
        assert_eq!(changes, one("routeTables[0].routes[0].nextHopIpAddress", "10.10.0.4"));
    }
    // Two routes lead there: it is meant to be a router (near miss).
    let both = with(&wrong, TO_S1, &at_server(TO_S1)) + "  - {name: nva2, networkInterfaces: [{subnet: h/s}]}\n";
    assert_eq!(mended(&both, ("v1", "v2")).0, "set enableIPForwarding on NIC nva2/eth0");
}

/// UDR-01: the table that the subnet should have is in the file, without a subnet or with others of its kind.
#[test]
fn udr_01_a_table_that_is_there_is_attached() {
    let attached = "attach route table rt-s1 to subnet s1/s: it leads there through nva/eth0 (10.10.0.4)";
    let (text, changes) = mended(&with(CHAIN, ", routeTable: rt-s1", ""), ("v1", "v2"));
    assert_eq!((text.as_str(), changes), (attached, one("virtualNetworks[1].subnets[0].routeTable", "rt-s1")));
    // Two subnets share it, and the hub's own table, with the same route, is not for them.
    let all = TO_S1.replace("10.20.0.0/16", "10.0.0.0/8");
    let shared = with(CHAIN, TO_S2, &all);
    let shared = with(&shared, "routeTable: rt-s2", "routeTable: rt-s1");
    let shared = with(&shared, TO_S1, TO_S2);
    let shared = with(
        &shared,
        "{name: s, addressPrefix: 10.10.0.0/24}",
        "{name: s, addressPrefix: 10.10.0.0/24}, {name: t, addressPrefix: 10.10.1.0/24, routeTable: rt-s2}",
    );
    let lacking = with(&shared, "10.20.0.0/24, routeTable: rt-s1", "10.20.0.0/24");
    assert_eq!(mended(&lacking, ("v1", "v2")).0, attached);
    // A table for another kind of subnet alone is not taken (near miss).
    let other = with(
        &with(&lacking, "routeTable: rt-s1", "routeTable: rt-own"),
        "routeTables:",
        &format!("routeTables:\n  - name: rt-own\n    routes: [{TO_S1}]"),
    );
    let other = other
        .replace("  - name: rt-s1\n", "  - name: rt-none\n")
        .replace(&all, &all.replace("10.0.0.0/8", "172.16.0.0/12"));
    assert_eq!(mended(&other, ("v1", "v2")).0, "route 10.30.0.0/16 from subnet s1/s to nva/eth0 (10.10.0.4)");
}

/// UDR-17: an appliance whose subnet has its spokes' table gets its own, which no subnet has.
#[test]
fn udr_17_an_appliances_own_table_is_attached_in_place_of_its_spokes_table() {
    let route = |name: &str, prefix: &str, hop: &str| {
        format!("{{name: {name}, addressPrefix: {prefix}, nextHopType: VirtualAppliance, nextHopIpAddress: {hop}}}")
    };
    let (a, b) = (route("all", "10.0.0.0/8", "10.10.0.4"), route("all", "10.0.0.0/8", "10.20.0.4"));
    let (n1, n2) = (route("b", "10.21.0.0/16", "10.20.0.4"), route("a", "10.11.0.0/16", "10.10.0.4"));
    let yaml = with(super::routes::TWO_HUBS, "10.11.0.0/24}", "10.11.0.0/24, routeTable: rt-a}");
    let yaml = with(&yaml, "10.21.0.0/24}", "10.21.0.0/24, routeTable: rt-b}");
    let yaml = with(&yaml, "10.10.0.0/24}", "10.10.0.0/24, routeTable: rt-n1}");
    let yaml = with(&yaml, "10.20.0.0/24}", "10.20.0.0/24, routeTable: rt-b}").replace(
        "{name: h1-a, remoteVirtualNetwork: a}",
        "{name: h1-a, remoteVirtualNetwork: a, allowForwardedTraffic: true}",
    ) + &format!(
        "routeTables:\n  - {{name: rt-a, routes: [{a}]}}\n  - {{name: rt-b, routes: [{b}]}}\n  \
         - {{name: rt-n1, routes: [{n1}]}}\n  - {{name: rt-n2, routes: [{n2}]}}\nemulation: {{forwarded: tag-only}}\n"
    );
    let (text, changes) = mended(&yaml, ("va", "vb"));
    assert_eq!(text, "attach route table rt-n2 to subnet h2/nva: it leads there through n1/eth0 (10.10.0.4)");
    assert_eq!(changes, one("virtualNetworks[1].subnets[0].routeTable", "rt-n2"));
}

/// UDR-26: a route for a part of the range where no subnet is gets the range; one for another subnet stays.
#[test]
fn udr_26_a_route_for_an_empty_part_of_the_range_is_widened() {
    let narrow =
        with(CHAIN, "{name: to-s2, addressPrefix: 10.30.0.0/16,", "{name: to-s2, addressPrefix: 10.30.9.0/24,");
    let (text, changes) = mended(&narrow, ("v1", "v2"));
    assert_eq!(text, "set addressPrefix of route to-s2 to 10.30.0.0/16");
    assert_eq!(changes, one("routeTables[0].routes[0].addressPrefix", "10.30.0.0/16"));
    let subnet = "{name: s, addressPrefix: 10.30.0.0/24, routeTable: rt-s2}";
    let used = with(&narrow, subnet, &format!("{subnet}, {{name: t, addressPrefix: 10.30.9.0/24}}"));
    assert_eq!(mended(&used, ("v1", "v2")).0, "route 10.30.0.0/16 from subnet s1/s to nva/eth0 (10.10.0.4)");
}

/// UDR-16: a route to the Internet for what is at a site is led where the table's other routes lead.
#[test]
fn udr_16_a_route_to_a_site_follows_the_other_routes_of_its_table() {
    let through = |name: &str, prefix: &str| {
        format!("{{name: {name}, addressPrefix: {prefix}, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.2.4}}")
    };
    let gateway = "{name: GatewaySubnet, addressPrefix: 10.10.255.0/27";
    let firewall = "{name: fw, addressPrefix: 10.10.2.0/24}\n      - ";
    let yaml = with(SITE, gateway, &format!("{firewall}{gateway}, routeTable: rt-gw"));
    let app = "{name: app, addressPrefix: 10.20.1.0/24";
    let yaml = with(&yaml, app, &format!("{app}, routeTable: rt-app"));
    let tables = format!(
        "routeTables:\n  - {{name: rt-gw, routes: [{}]}}\n  - {{name: rt-app, disableBgpRoutePropagation: true, routes: [{}, \
         {{name: dc, addressPrefix: 192.168.50.0/24, nextHopType: Internet}}]}}\nvirtualMachines:\n  \
         - {{name: fw, networkInterfaces: [{{subnet: hub/fw, privateIPAddress: 10.10.2.4, enableIPForwarding: true}}]}}",
        through("app", "10.20.0.0/16"),
        through("files", "10.10.1.0/24")
    );
    let yaml = format!("emulation: {{forwarded: tag-only}}\n{}", with(&yaml, "virtualMachines:", &tables));
    let yaml = yaml.split("\ntests:").next().unwrap();
    let (text, _) = mended(yaml, ("app", "dc:443"));
    assert_eq!(text, "point route dc at fw/eth0 (10.10.2.4), the answer's way");
    // The answer's routes do not name the appliance: it translates, and the answer comes back to it.
    let yaml = with(yaml, &through("app", "10.20.0.0/16"), "");
    let yaml = with(&yaml, "{name: fw, networkInterfaces", "{name: fw, guest: {masquerade: all}, networkInterfaces");
    let (text, _) = mended(&yaml, ("app", "dc:443"));
    assert_eq!(text, "point route dc at fw/eth0 (10.10.2.4), as other routes of the table do");
}

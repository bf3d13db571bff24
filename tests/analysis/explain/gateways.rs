//! `explain` on networks with VPN gateways: flags, propagation, ranges that a site or a network lacks.

use super::*;

/// PEER-30, PEER-31, PEER-32: without the flags neither the spoke nor the site knows the other; the flags are named, and
/// setting them was tried.
#[test]
fn peer_30_a_spoke_without_transit_names_the_missing_flag() {
    let lacking = "peering spoke-hub has no useRemoteGateways (PEER-30)";
    let flag = ("virtualNetworks[1].virtualNetworkPeerings[0].useRemoteGateways", "true");
    let without = with(SITE, ", useRemoteGateways: true", "");
    let there = ask(&without, "app", "dc");
    assert_eq!(there.verdict, Verdict::Blocked);
    let cause = there.cause.unwrap();
    assert!(
        cause.contains("VNet spoke does not use gateway hub-gw, which leads to dc") && cause.contains(lacking),
        "{cause}"
    );
    assert_eq!(changes(&there.fix.unwrap()), [flag]);
    let back = ask(&without, "dc", "app");
    assert_eq!(back.forward.dropped.as_deref(), Some("NoRouteOnPremises"));
    assert!(back.cause.unwrap().contains(lacking));
    assert_eq!(changes(&back.fix.unwrap()), [flag]);

    let neither = with(&without, ", allowGatewayTransit: true", "");
    let there = ask(&neither, "app", "dc");
    assert!(there.cause.unwrap().contains("peering hub-spoke has no allowGatewayTransit"));
    let transit = ("virtualNetworks[0].virtualNetworkPeerings[0].allowGatewayTransit", "true");
    assert_eq!(changes(&there.fix.unwrap()), [transit, flag]);
}

/// UDR-34: a table that keeps the gateway's routes out is the cause, not the None route.
#[test]
fn udr_34_a_table_without_propagation_is_the_cause() {
    let subnet = "{name: app, addressPrefix: 10.20.1.0/24";
    let yaml = with(SITE, subnet, &format!("{subnet}, routeTable: rt"))
        + "routeTables: [{name: rt, disableBgpRoutePropagation: true}]\n";
    let answer = ask(&yaml, "app", "dc");
    assert!(answer.cause.unwrap().contains("route table rt of subnet spoke/app keeps the routes of gateways out"));
    assert_eq!(changes(&answer.fix.unwrap()), [("routeTables[0].disableBgpRoutePropagation", "false")]);
}

/// RSEL-03, BGP-11: what is at a site in a range of Azure is hidden by the peering's route, and that is what is said.
#[test]
fn rsel_03_a_range_that_the_peering_hides() {
    let yaml =
        with(SITE, "addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]", "addressSpace: [10.20.5.0/24]");
    let answer = ask(
        &with(&yaml, "localNetworkAddressSpace: [192.168.50.0/24]", "localNetworkAddressSpace: [10.20.5.0/24]"),
        "files",
        "dc",
    );
    assert_eq!(answer.forward.dropped.as_deref(), Some("NoEndpoint"));
    let cause = answer.cause.unwrap();
    assert!(cause.contains("10.20.5.1 is at dc, but VNet spoke has its range") && cause.contains("hidden"), "{cause}");
}

/// VPN-11, VPN-12: a device without routes to one network, a local network gateway that does not name an address, and an
/// unused address at the site.
#[test]
fn vpn_12_ranges_that_are_not_configured_are_named() {
    let keys = "addresses: [192.168.50.10], sharedKey: a-secret";
    let yaml = with(SITE, keys, &format!("{keys}, routes: [10.10.0.0/16]"));
    let answer = ask(&yaml, "dc", "app");
    assert!(answer.cause.unwrap().contains("dc has no route to 10.20.1.4: its `routes` leave out VNet spoke"));
    let answer = ask(&yaml, "app", "dc");
    assert!(answer.cause.unwrap().starts_with("on the way back: dc has no route to 10.20.1.4"));

    let space = "addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]";
    let yaml = with(SITE, space, "addressSpace: [192.168.50.0/24, 192.168.51.0/24], addresses: [192.168.51.10]");
    let answer = ask(&yaml, "app", "dc");
    assert!(answer.cause.unwrap().contains("local network gateway dc-lng does not name its range"));
    let answer = ask(SITE, "app", "192.168.50.77");
    assert_eq!(answer.forward.dropped.as_deref(), Some("NoHost"));
    assert!(answer.cause.unwrap().contains("arrives at dc over dc/hub-dc, whose `addresses` do not list it"));
}

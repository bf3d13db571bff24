//! What a fix does beside what it is proposed for: it closes nothing, opens no more than it must, and sends both
//! directions of a flow the same way.

use std::fs;

use vnet::analysis::{Explanation, Fix, Verdict};

use super::applied::{File, closed, opened};
use super::{changes, nodes, with};

fn fixes(answer: &Explanation) -> Vec<&Fix> {
    answer.fix.iter().chain(answer.further.iter().filter_map(|obstacle| obstacle.fix.as_ref())).collect()
}

/// With all fixes; the flow then arrives, and no pair of nodes is worse off: not closed, not on an asymmetric path.
fn mended(file: &File, source: &str, destination: &str) -> (Vec<(String, String)>, File) {
    let answer = file.ask(source, destination);
    let fixes = fixes(&answer);
    assert!(fixes.iter().all(|fix| fix.checked), "{fixes:?}");
    let mended = fixes.iter().fold(file.clone(), |file, fix| file.with(fix));
    let after = mended.ask(source, destination);
    assert_eq!((after.verdict, &after.warnings), (Verdict::Reachable, &vec![]), "{fixes:?}");
    let differences = file.differences(&mended, &[443]);
    assert_eq!(closed(&differences), [], "{fixes:?}");
    for pair in differences.iter().filter_map(|difference| difference.after.as_ref()) {
        let back = pair.back.as_ref().filter(|_| pair.verdict == Verdict::Reachable);
        assert!(back.is_none_or(|back| back.via.iter().eq(pair.forward.via.iter().rev())), "{pair:?}");
    }
    let all = fixes.iter().flat_map(|fix| changes(fix));
    (all.map(|(path, value)| (path.to_owned(), value.to_owned())).collect(), mended)
}

/// CH-03: where the answer's route leads to a gateway, the request is sent there too, not through an appliance.
#[test]
fn ch_03_a_request_goes_by_the_gateway_that_its_answer_passes() {
    let intact = fs::read_to_string("config/hub-gateway.yaml").unwrap();
    let route = "      - {name: spoke2, addressPrefix: 10.2.0.0/16, nextHopType: VirtualNetworkGateway}\n";
    let (missing, nowhere) =
        (with(&intact, route, ""), with(&intact, route, &route.replace("VirtualNetworkGateway", "None")));
    let to_gateway =
        |name: &str| format!("{{name: {name}, addressPrefix: 10.2.0.0/16, nextHopType: VirtualNetworkGateway}}");
    let place = "routeTables[2].routes[1]".to_owned();
    let (changed, _) = mended(&File::parse(&missing), "jobs", "db");
    assert_eq!(changed, [(place.clone(), to_gateway("to-spoke2"))]);
    let (changed, _) = mended(&File::parse(&nowhere), "jobs", "db");
    assert_eq!(changed, [(place.clone(), to_gateway("spoke2"))]);
    // The same for an answer, whose request passed the gateway.
    let (changed, _) = mended(&File::parse(&missing), "db", "jobs:443");
    assert_eq!(changed, [(place, to_gateway("to-spoke2"))]);
    // The sender's network does not use the gateway yet (PEER-30).
    let flag = "remoteVirtualNetwork: hub, useRemoteGateways: true";
    let own = format!("name: spoke1-hub, {flag}");
    let unused = with(&missing, &own, "name: spoke1-hub, remoteVirtualNetwork: hub");
    let (changed, _) = mended(&File::parse(&unused), "jobs", "db");
    let paths: Vec<_> = changed.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["routeTables[2].routes[1]", "virtualNetworks[1].virtualNetworkPeerings[0].useRemoteGateways"]);
}

/// CH-03: what a gateway forwards is sent to the appliance that the answer passes before the gateway.
#[test]
fn ch_03_a_gateways_route_leads_to_the_appliance_that_the_answer_passes() {
    let intact = fs::read_to_string("config/hub-gateway.yaml").unwrap();
    let route = "10.1.1.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}";
    let (changed, after) = mended(&File::parse(&with(&intact, route, "10.1.1.0/24, nextHopType: None}")), "dc", "web");
    assert_eq!(changed, [("routeTables[0].routes[0]".to_owned(), format!("{{name: app, addressPrefix: {route}"))]);
    assert_eq!(nodes(&after.ask("dc", "web").forward), ["dc", "hub-gw", "nva", "web"]);
}

/// PEER-30: a route to a gateway that only a peer has is left, and the peer's gateway is used.
#[test]
fn peer_30_a_route_to_a_gateway_needs_the_peers() {
    let intact = fs::read_to_string("config/hub-gateway.yaml").unwrap();
    let unused = with(
        &intact,
        "name: spoke2-hub, remoteVirtualNetwork: hub, useRemoteGateways: true",
        "name: spoke2-hub, remoteVirtualNetwork: hub",
    );
    for (source, destination) in [("jobs", "db"), ("db", "jobs:443")] {
        let (changed, _) = mended(&File::parse(&unused), source, destination);
        let flag = "virtualNetworks[2].virtualNetworkPeerings[0].useRemoteGateways".to_owned();
        assert_eq!(changed, [(flag, "true".to_owned())]);
    }
}

/// An appliance alone in its subnet; its table has a route that leads back to it, and another.
const LOOP: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{name: nva, addressPrefix: 10.0.0.0/24, routeTable: rt}]
    virtualNetworkPeerings:
      - {name: hub-a, remoteVirtualNetwork: a, allowForwardedTraffic: true}
      - {name: hub-b, remoteVirtualNetwork: b, allowForwardedTraffic: true}
      - {name: hub-c, remoteVirtualNetwork: c, allowForwardedTraffic: true}
  - {name: a, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24, routeTable: spokes}],
     virtualNetworkPeerings: [{name: a-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}]}
  - {name: b, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24, routeTable: spokes}],
     virtualNetworkPeerings: [{name: b-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}]}
  - {name: c, location: westeurope, addressSpace: [10.3.0.0/16], subnets: [{name: s, addressPrefix: 10.3.0.0/24, routeTable: spokes}],
     virtualNetworkPeerings: [{name: c-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}]}
routeTables:
  - name: spokes
    routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.0.4}]
  - name: rt
    routes:
      - {name: b, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.0.4}
      - {name: not-c, addressPrefix: 10.3.0.0/16, nextHopType: None}
virtualMachines:
  - {name: va, networkInterfaces: [{subnet: a/s}]}
  - {name: vb, networkInterfaces: [{subnet: b/s}]}
  - {name: vc, networkInterfaces: [{subnet: c/s}]}
  - {name: nva, networkInterfaces: [{subnet: hub/nva, enableIPForwarding: true}]}
";

/// UDR-17: the route that loops is taken away alone: the rest of the table is meant.
#[test]
fn udr_17_a_route_that_loops_is_removed_and_the_rest_of_its_table_stays() {
    let file = File::parse(LOOP);
    let (changed, mended) = mended(&file, "va", "vb");
    assert_eq!(changed, [("routeTables[1].routes[0]".to_owned(), String::new())]);
    let opened = opened(&file.differences(&mended, &[443]));
    assert!(!opened.is_empty() && opened.iter().all(|(from, to, _)| from != "vc" && to != "vc"), "{opened:?}");
    // A table that also keeps the routes of gateways out is more than its one route.
    let route = "      - {name: not-c, addressPrefix: 10.3.0.0/16, nextHopType: None}\n";
    let alone = with(&with(LOOP, route, ""), "  - name: rt\n", "  - name: rt\n    disableBgpRoutePropagation: true\n");
    assert_eq!(changes(fixes(&File::parse(&alone).ask("va", "vb"))[0]), [("routeTables[1].routes[0]", "")]);
}

/// CH-04: where the appliance's own route leads back to it, and the destination is behind the next hub, the table that
/// the subnet has gets the longer route.
#[test]
fn ch_04_a_loop_before_the_next_hub_is_mended_by_the_longer_route() {
    let spoke = |name: &str, range: u8, hub: &str| {
        format!(
            "  - {{name: {name}, location: westeurope, addressSpace: [10.{range}.0.0/16], subnets: [{{name: s, addressPrefix: \
             10.{range}.0.0/24, routeTable: rt-{name}}}], virtualNetworkPeerings: [{{name: {name}-{hub}, remoteVirtualNetwork: {hub}, \
             allowForwardedTraffic: true}}]}}\n"
        )
    };
    let hub = |name: &str, range: u8, peers: [&str; 2]| {
        let link = |peer| format!("{{name: {name}-{peer}, remoteVirtualNetwork: {peer}, allowForwardedTraffic: true}}");
        format!(
            "  - {{name: {name}, location: westeurope, addressSpace: [10.{range}.0.0/16], subnets: [{{name: nva, addressPrefix: \
             10.{range}.0.0/24, routeTable: rt-{name}}}], virtualNetworkPeerings: [{}]}}\n",
            peers.map(link).join(", ")
        )
    };
    let all = |hop: &str| {
        format!("{{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: {hop}}}")
    };
    let yaml = [
        "virtualNetworks:\n".to_owned(),
        hub("h1", 10, ["a", "h2"]),
        hub("h2", 20, ["b", "h1"]),
        spoke("a", 11, "h1"),
        spoke("b", 21, "h2"),
    ]
    .concat()
        + &format!(
            "routeTables:\n  - {{name: rt-a, routes: [{0}]}}\n  - {{name: rt-b, routes: [{1}]}}\n  - {{name: rt-h1, routes: [{0}]}}\n  \
             - {{name: rt-h2, routes: []}}\n",
            all("10.10.0.4"),
            all("10.20.0.4")
        )
        + "virtualMachines:
  - {name: va, networkInterfaces: [{subnet: a/s}]}
  - {name: vb, networkInterfaces: [{subnet: b/s}]}
  - {name: n1, networkInterfaces: [{subnet: h1/nva, enableIPForwarding: true}]}
  - {name: n2, networkInterfaces: [{subnet: h2/nva, enableIPForwarding: true}]}
";
    let route = |name: &str, range: &str, hop: &str| {
        format!("{{name: {name}, addressPrefix: {range}, nextHopType: VirtualAppliance, nextHopIpAddress: {hop}}}")
    };
    let file = File::parse(&yaml);
    assert!(file.ask("va", "vb").cause.unwrap().starts_with("loop at n1: its own subnet h1/nva uses"));
    let (changed, after) = mended(&file, "va", "vb");
    assert_eq!(
        changed,
        [
            ("routeTables[2].routes[1]".to_owned(), route("to-b", "10.21.0.0/16", "10.20.0.4")),
            ("routeTables[3].routes[0]".to_owned(), route("to-a", "10.11.0.0/16", "10.10.0.4")),
        ]
    );
    assert_eq!(nodes(&after.ask("va", "vb").forward), ["va", "n1", "n2", "vb"]);
}

/// CH-03: the answer takes a way that the request's routes cannot mirror in one step; a route that makes the path
/// asymmetric is described, and is no change.
#[test]
fn ch_03_a_fix_that_makes_the_path_asymmetric_is_no_change() {
    let yaml = "
virtualNetworks:
  - {name: h1, location: westeurope, addressSpace: [10.10.0.0/16], subnets: [{name: nva, addressPrefix: 10.10.0.0/24}],
     virtualNetworkPeerings: [{name: h1-a, remoteVirtualNetwork: a}, {name: h1-b, remoteVirtualNetwork: b}, {name: h1-h2, remoteVirtualNetwork: h2}]}
  - {name: h2, location: westeurope, addressSpace: [10.20.0.0/16], subnets: [{name: nva, addressPrefix: 10.20.0.0/24, routeTable: rt-h2}],
     virtualNetworkPeerings: [{name: h2-b, remoteVirtualNetwork: b}, {name: h2-h1, remoteVirtualNetwork: h1}]}
  - {name: a, location: westeurope, addressSpace: [10.11.0.0/16], subnets: [{name: s, addressPrefix: 10.11.0.0/24}],
     virtualNetworkPeerings: [{name: a-h1, remoteVirtualNetwork: h1, allowForwardedTraffic: true}]}
  - {name: b, location: westeurope, addressSpace: [10.21.0.0/16], subnets: [{name: s, addressPrefix: 10.21.0.0/24, routeTable: rt-b}],
     virtualNetworkPeerings: [{name: b-h1, remoteVirtualNetwork: h1, allowForwardedTraffic: true}, {name: b-h2, remoteVirtualNetwork: h2, allowForwardedTraffic: true}]}
routeTables:
  - {name: rt-b, routes: [{name: a, addressPrefix: 10.11.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.20.0.4}]}
  - {name: rt-h2, routes: [{name: a, addressPrefix: 10.11.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}]}
virtualMachines:
  - {name: va, networkInterfaces: [{subnet: a/s}]}
  - {name: vb, networkInterfaces: [{subnet: b/s}]}
  - {name: n1, networkInterfaces: [{subnet: h1/nva, enableIPForwarding: true}]}
  - {name: n2, networkInterfaces: [{subnet: h2/nva, enableIPForwarding: true}]}
";
    let answer = File::parse(yaml).ask("va", "vb");
    let fix = answer.fix.unwrap();
    assert_eq!(
        fix.text,
        "route 10.21.0.0/16 from subnet a/s to n1/eth0 (10.10.0.4): possible, but it makes the path from va to vb asymmetric"
    );
    assert!(fix.changes.is_empty() && !fix.checked && answer.further.is_empty());
    // Where the other hub is in reach too, the answer's appliance is taken.
    let near = with(
        &with(
            yaml,
            "{name: a-h1, remoteVirtualNetwork: h1, allow",
            "{name: a-h2, remoteVirtualNetwork: h2, allowForwardedTraffic: true}, {name: a-h1, remoteVirtualNetwork: h1, allow",
        ),
        "{name: h2-b, remoteVirtualNetwork: b},",
        "{name: h2-b, remoteVirtualNetwork: b}, {name: h2-a, remoteVirtualNetwork: a},",
    );
    let near = with(
        &near,
        "subnets: [{name: nva, addressPrefix: 10.20.0.0/24, routeTable: rt-h2}]",
        "subnets: [{name: nva, addressPrefix: 10.20.0.0/24}]",
    );
    let (_, after) = mended(&File::parse(&near), "va", "vb");
    assert_eq!(nodes(&after.ask("va", "vb").forward), ["va", "n2", "vb"]);
}

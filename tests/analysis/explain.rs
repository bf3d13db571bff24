//! `explain` on the conformance scenarios: which object each step names, what it calls the cause, and that the fix it
//! proposes was tried.

mod access;
mod alternatives;
mod applied;
mod balancers;
mod beyond;
mod causes;
mod clouds;
mod effects;
mod files;
mod forced;
mod gateways;
mod guests;
mod outbound;
mod places;
mod planted;
mod planted_premises;
mod questions;
mod reasons;
mod relays;
mod routes;
mod sessions;
mod subnet_peering;
mod tables;
mod tunnels;
mod wrong_host;

use std::time::Instant;

use vnet::analysis::{Explanation, Fix, NextHopQuery, Path, StepKind, Verdict, explain, next_hop, parse_query};
use vnet::compile::compile;
use vnet::config;
use vnet::model::{Learned, Network, NextHopType};

fn load(yaml: &str) -> Network {
    config::load(yaml, "test.yaml").unwrap_or_else(|errors| panic!("{errors:?}\n{yaml}")).network
}

fn ask(yaml: &str, source: &str, destination: &str) -> Explanation {
    try_ask(yaml, source, destination).unwrap()
}

fn try_ask(yaml: &str, source: &str, destination: &str) -> Result<Explanation, String> {
    let network = load(yaml);
    let compiled = compile(&network, &Learned::default(), 1);
    explain(&network, &compiled, &parse_query(source, destination)?, Instant::now())
}

fn hop_query(target: &str, source: Option<&str>, destination: &str) -> NextHopQuery {
    let source = source.map(|source| source.parse().unwrap());
    NextHopQuery { target: target.to_owned(), source, destination: destination.to_owned() }
}

/// `node: object` for each step of the kinds that name a decision.
fn objects(path: &Path) -> Vec<String> {
    let steps = path.hops.iter().flat_map(|hop| hop.steps.iter().map(|step| (hop.node.as_str(), step)));
    let decisions = steps.filter(|(_, step)| match step.what {
        StepKind::Filter
        | StepKind::Route
        | StepKind::Peering
        | StepKind::Balance
        | StepKind::Translate
        | StepKind::Forward
        | StepKind::Drop => true,
        StepKind::Send | StepKind::Arrive | StepKind::Deliver => false,
    });
    decisions.map(|(node, step)| format!("{node}: {}", step.object)).collect()
}

fn nodes(path: &Path) -> Vec<&str> {
    path.hops.iter().map(|hop| hop.node.as_str()).collect()
}

/// The object of the last step, which must be a drop.
fn drop_object(path: &Path) -> (&str, &str) {
    let hop = path.hops.last().unwrap();
    let step = hop.steps.last().unwrap();
    assert_eq!(step.what, StepKind::Drop);
    (&hop.node, &step.object)
}

fn changes(fix: &Fix) -> Vec<(&str, &str)> {
    fix.changes.iter().map(|change| (change.path.as_str(), change.value.as_deref().unwrap_or(""))).collect()
}

/// One spelling for another, which must be there.
fn with(yaml: &str, from: &str, to: &str) -> String {
    assert!(yaml.contains(from), "{from} is not in\n{yaml}");
    yaml.replace(from, to)
}

const PAIR: &str = "
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}]
    virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24}]
    virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]
virtualMachines:
  - {name: va, networkInterfaces: [{subnet: a/s}]}
  - {name: vb, networkInterfaces: [{subnet: b/s}]}
";

/// CS-12's spokes around a hub with an appliance; all flags at their defaults.
const CHAIN: &str = "
emulation: {forwarded: tag-only}
virtualNetworks:
  - name: h
    location: westeurope
    addressSpace: [10.10.0.0/16]
    subnets: [{name: s, addressPrefix: 10.10.0.0/24}]
    virtualNetworkPeerings: [{name: h-s1, remoteVirtualNetwork: s1}, {name: h-s2, remoteVirtualNetwork: s2}]
  - name: s1
    location: westeurope
    addressSpace: [10.20.0.0/16]
    subnets: [{name: s, addressPrefix: 10.20.0.0/24, routeTable: rt-s1}]
    virtualNetworkPeerings: [{name: s1-h, remoteVirtualNetwork: h}]
  - name: s2
    location: westeurope
    addressSpace: [10.30.0.0/16]
    subnets: [{name: s, addressPrefix: 10.30.0.0/24, routeTable: rt-s2}]
    virtualNetworkPeerings: [{name: s2-h, remoteVirtualNetwork: h}]
routeTables:
  - name: rt-s1
    routes: [{name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}]
  - name: rt-s2
    routes: [{name: to-s1, addressPrefix: 10.20.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}]
virtualMachines:
  - {name: nva, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}
  - {name: v1, networkInterfaces: [{subnet: s1/s}]}
  - {name: v2, networkInterfaces: [{subnet: s2/s}]}
";

#[test]
fn cs_01_globally_peered_vnets_reach_each_other() {
    let yaml = std::fs::read_to_string("config/contoso-fabrikam.yaml").unwrap();
    let yaml = yaml.replacen("location: westus", "location: eastus", 1);
    let answer = ask(&yaml, "contoso-vm", "fabrikam-vm");
    assert_eq!(answer.verdict, Verdict::Reachable);
    let route = "contoso-vm: system route 10.10.26.0/24 -> VNetGlobalPeering";
    assert!(objects(&answer.forward)[1].starts_with(route), "{:?}", objects(&answer.forward));
    assert_eq!(nodes(answer.back.as_ref().unwrap()), ["fabrikam-vm", "contoso-vm"]);
    assert_eq!((answer.cause, answer.fix, answer.warnings), (None, None, vec![]));
}

#[test]
fn cs_02_a_single_link_is_the_cause() {
    let yaml = with(PAIR, "[{name: b-a, remoteVirtualNetwork: a}]", "[]");
    let answer = ask(&yaml, "va", "vb:443");
    assert_eq!(answer.verdict, Verdict::Blocked);
    assert_eq!(
        objects(&answer.forward),
        ["va: NIC va/eth0", "va: system route 10.0.0.0/8 -> None", "va: system route 10.0.0.0/8 -> None"]
    );
    assert_eq!(answer.forward.dropped.as_deref(), Some("NextHopNone"));
    assert_eq!(answer.cause.unwrap(), "peering a-b is only Initiated: VNet b has no link back to a");
    let fix = answer.fix.unwrap();
    let value = "{name: b-a, remoteVirtualNetwork: a}";
    assert_eq!(changes(&fix), [("virtualNetworks[1].virtualNetworkPeerings[0]", value)]);
    assert!(fix.checked && answer.further.is_empty() && answer.back.is_none());
}

/// A table that keeps the peering's routes out is the cause, not the link, which is fine (SYS-08).
#[test]
fn disabled_peering_routes_are_the_cause() {
    let yaml = with(PAIR, "addressPrefix: 10.1.0.0/24", "addressPrefix: 10.1.0.0/24, routeTable: rt");
    let yaml = yaml + "routeTables: [{name: rt, disablePeeringRoute: All}]";
    let answer = ask(&yaml, "va", "vb");
    assert_eq!((answer.verdict, answer.forward.dropped.as_deref()), (Verdict::Blocked, Some("NextHopNone")));
    let cause = "route table rt of subnet a/s disables the routes of peering a-b, and has no other to 10.2.0.4";
    assert_eq!(answer.cause.as_deref(), Some(cause));
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("routeTables[0].disablePeeringRoute", "None")]);
    assert!(fix.checked && answer.further.is_empty());
}

/// The default rule that denies is a symptom: without the link, b is not in tag(VirtualNetwork) (TAG-11).
#[test]
fn cs_02_with_an_nsg_the_link_is_still_the_cause() {
    let yaml = with(PAIR, "[{name: b-a, remoteVirtualNetwork: a}]", "[]");
    let yaml = with(&yaml, "addressPrefix: 10.1.0.0/24", "addressPrefix: 10.1.0.0/24, networkSecurityGroup: d");
    let answer = ask(&(yaml + "networkSecurityGroups: [{name: d}]\n"), "va", "vb:443");
    let rule = "NSG d on subnet a/s, rule defaultSecurityRules/DenyAllOutBound";
    assert_eq!(drop_object(&answer.forward), ("va", rule));
    assert_eq!(answer.cause.unwrap(), "peering a-b is only Initiated: VNet b has no link back to a");
    assert!(answer.fix.unwrap().checked && answer.further.is_empty());
}

#[test]
fn cs_03_peering_is_not_transitive() {
    let yaml = with(CHAIN, "enableIPForwarding: true", "enableIPForwarding: false");
    let yaml = with(&yaml, ", routeTable: rt-s1", "");
    let yaml = with(&yaml, ", routeTable: rt-s2", "");
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!(drop_object(&answer.forward), ("v1", "system route 10.0.0.0/8 -> None"));
    let cause = "VNet s1 and VNet s2 are not peered: both are peered with h, but peering is not transitive";
    assert_eq!(answer.cause.unwrap(), cause);
    let fix = answer.fix.unwrap();
    assert_eq!(
        changes(&fix),
        [
            ("virtualNetworks[1].virtualNetworkPeerings[1]", "{name: s1-s2, remoteVirtualNetwork: s2}"),
            ("virtualNetworks[2].virtualNetworkPeerings[1]", "{name: s2-s1, remoteVirtualNetwork: s1}"),
        ]
    );
    assert!(fix.checked && answer.further.is_empty());

    let network = load(&yaml);
    let compiled = compile(&network, &Learned::default(), 1);
    let hop = next_hop(&network, &compiled, &hop_query("v1", None, "10.30.0.4")).unwrap();
    assert_eq!((hop.next_hop_type, hop.route_table_id.as_str()), (NextHopType::None, "System Route"));
}

/// With an appliance in the hub the smaller change is a route each way, and the second is found by trying the first.
#[test]
fn cs_03_an_appliance_in_the_hub_is_offered_first() {
    let yaml = with(CHAIN, ", routeTable: rt-s1", "");
    let yaml = with(&yaml, ", routeTable: rt-s2", "");
    // The tables that are left have routes to elsewhere.
    let yaml = with(&yaml, "addressPrefix: 10.30.0.0/16, n", "addressPrefix: 10.31.0.0/16, n");
    let yaml = with(&yaml, "addressPrefix: 10.20.0.0/16, n", "addressPrefix: 10.21.0.0/16, n");
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!(answer.fix.unwrap().text, "route 10.30.0.0/16 from subnet s1/s to nva/eth0 (10.10.0.4)");
    let [back] = &answer.further[..] else { panic!("{:?}", answer.further) };
    assert!(back.cause.starts_with("on the way back: no route back: the request came through nva/eth0 (10.10.0.4)"));
    let fix = back.fix.as_ref().unwrap();
    assert_eq!(fix.text, "route 10.20.0.0/16 from subnet s2/s to nva/eth0 (10.10.0.4)");
    assert!(fix.checked);
}

#[test]
fn cs_12_the_chain_works_both_ways_and_leans_on_a_flag() {
    let answer = ask(CHAIN, "v1", "v2");
    assert_eq!(answer.verdict, Verdict::Reachable);
    let through = "route table rt-s1, route to-s2: 10.30.0.0/16 -> VirtualAppliance 10.10.0.4";
    assert_eq!(
        objects(&answer.forward),
        [
            "v1: NIC v1/eth0".to_owned(),
            format!("v1: {through}"),
            "v1: peering s1-h".to_owned(),
            "nva: NIC nva/eth0".to_owned(),
            "nva: NIC nva/eth0".to_owned(),
            "nva: NIC nva/eth0".to_owned(),
            "nva: system route 10.30.0.0/16 -> VNetPeering (peering h-s2)".to_owned(),
            "nva: peering h-s2".to_owned(),
            "v2: NIC v2/eth0".to_owned(),
        ]
    );
    assert_eq!(nodes(answer.back.as_ref().unwrap()), ["v2", "nva", "v1"]);
    let [there, back] = &answer.warnings[..] else { panic!("{:?}", answer.warnings) };
    assert!(there.starts_with("10.20.0.4 enters VNet s2 over peering s2-h, which has allowForwardedTraffic off"));
    assert!(back.starts_with("10.30.0.4 enters VNet s1 over peering s1-h, which has allowForwardedTraffic off"));
}

/// PEER-23, PEER-24: the receiving spoke's flag counts, the hub's do not.
#[test]
fn cs_12_enforced_each_spokes_own_flag_is_found() {
    let answer = ask(&with(CHAIN, "tag-only", "enforce"), "v1", "v2");
    assert_eq!(drop_object(&answer.forward), ("nva", "peering s2-h, flag allowForwardedTraffic"));
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("virtualNetworks[2].virtualNetworkPeerings[0].allowForwardedTraffic", "true")]);
    let [back] = &answer.further[..] else { panic!("{:?}", answer.further) };
    let cause =
        "on the way back: peering s1-h, flag allowForwardedTraffic is off: 10.30.0.4 is not an address of VNet h";
    assert_eq!(back.cause, cause);
    assert!(fix.checked && back.fix.as_ref().unwrap().checked);
}

#[test]
fn cs_13_an_appliance_without_ip_forwarding() {
    let yaml = with(CHAIN, "enableIPForwarding: true", "enableIPForwarding: false");
    let answer = ask(&yaml, "v1", "v2:80");
    assert_eq!(drop_object(&answer.forward), ("nva", "NIC nva/eth0 without enableIPForwarding"));
    assert_eq!(answer.cause.unwrap(), "NIC nva/eth0 without enableIPForwarding: 10.30.0.4 is not its address");
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("virtualMachines[0].networkInterfaces[0].enableIPForwarding", "true")]);
    assert!(fix.checked && answer.further.is_empty());

    // DIAG-04: the route does not care.
    let network = load(&yaml);
    let compiled = compile(&network, &Learned::default(), 1);
    let hop = next_hop(&network, &compiled, &hop_query("v1", None, "10.30.0.4")).unwrap();
    assert_eq!((hop.next_hop_type, hop.route_table_id.as_str()), (NextHopType::VirtualAppliance, "rt-s1"));
    assert_eq!(hop.next_hop_ip_address, Some("10.10.0.4".parse().unwrap()));
}

/// NIC-05: the fabric's switch and the guest's are two.
#[test]
fn nic_05_a_guest_that_does_not_forward() {
    let yaml = with(CHAIN, "name: nva, networkInterfaces", "name: nva, guest: {forwarding: false}, networkInterfaces");
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!(drop_object(&answer.forward), ("nva", "machine nva without guest forwarding"));
    assert_eq!(answer.forward.dropped.as_deref(), Some("GuestNotForwarding"));
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("virtualMachines[0].guest.forwarding", "true")]);
    assert!(fix.checked && answer.further.is_empty());
}

#[test]
fn cs_14_the_answer_has_no_route_back() {
    let yaml = with(CHAIN, ", routeTable: rt-s2", "");
    let yaml = with(&yaml, "addressPrefix: 10.20.0.0/16, n", "addressPrefix: 10.21.0.0/16, n");
    let answer = ask(&yaml, "v1", "v2:22");
    assert!(answer.forward.delivered);
    let back = answer.back.unwrap();
    assert_eq!(drop_object(&back), ("v2", "system route 10.0.0.0/8 -> None"));
    assert_eq!(
        answer.cause.unwrap(),
        "on the way back: no route back: the request came through nva/eth0 (10.10.0.4), but subnet s2/s has no route to \
         10.20.0.4 through it"
    );
    let fix = answer.fix.unwrap();
    let route =
        "{name: to-s1, addressPrefix: 10.20.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}";
    let table = format!("{{name: s-routes, routes: [{route}]}}");
    assert_eq!(
        changes(&fix),
        [("routeTables[2]", table.as_str()), ("virtualNetworks[2].subnets[0].routeTable", "s-routes")]
    );
    assert!(fix.checked && answer.further.is_empty());
}

#[test]
fn cs_15_a_summary_route_leaves_peers_direct() {
    let yaml = with(CHAIN, "{name: to-s2, addressPrefix: 10.30.0.0/16,", "{name: all, addressPrefix: 10.0.0.0/8,");
    let yaml = yaml + "  - {name: vh, networkInterfaces: [{subnet: h/s}]}\n";
    let direct = ask(&yaml, "v1", "vh");
    assert_eq!(nodes(&direct.forward), ["v1", "vh"]);
    let route = "v1: system route 10.10.0.0/16 -> VNetPeering (peering s1-h)";
    assert_eq!(objects(&direct.forward)[1], route);
    let through = ask(&yaml, "v1", "v2");
    assert_eq!(nodes(&through.forward), ["v1", "nva", "v2"]);
    let route = "v1: route table rt-s1, route all: 10.0.0.0/8 -> VirtualAppliance 10.10.0.4";
    assert_eq!(objects(&through.forward)[1], route);
}

const SITE: &str = include_str!("../../config/site-to-site.yaml");

const ONE_VNET: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.40.0.0/16]
    subnets:
      - {name: zero, addressPrefix: 10.40.0.0/24, routeTable: inspect}
      - {name: nva, addressPrefix: 10.40.9.0/24}
routeTables:
  - name: inspect
    routes: [{name: all, addressPrefix: 10.40.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.40.9.4}]
virtualMachines:
  - {name: x, networkInterfaces: [{subnet: v/zero}]}
  - {name: y, networkInterfaces: [{subnet: v/zero}]}
  - {name: nva, networkInterfaces: [{subnet: v/nva, enableIPForwarding: true}]}
";

#[test]
fn cs_16_neighbours_of_one_subnet_meet_at_the_appliance() {
    let answer = ask(ONE_VNET, "x", "y:80");
    assert_eq!((nodes(&answer.forward), answer.verdict), (vec!["x", "nva", "y"], Verdict::Reachable));
    assert_eq!(nodes(answer.back.as_ref().unwrap()), ["y", "nva", "x"]);
    let own = "10.40.9.4}, {name: own, addressPrefix: 10.40.0.0/24, nextHopType: VnetLocal}]";
    let direct = ask(&with(ONE_VNET, "10.40.9.4}]", own), "x", "y:80");
    assert_eq!(nodes(&direct.forward), ["x", "y"]);
    assert_eq!(objects(&direct.forward)[1], "x: route table inspect, route own: 10.40.0.0/24 -> VnetLocal");
}

#[test]
fn cs_17_a_next_hop_behind_a_second_peering() {
    let yaml =
        with(CHAIN, "nextHopIpAddress: 10.10.0.4}]\n  - name: rt-s2", "nextHopIpAddress: 10.30.0.4}]\n  - name: rt-s2");
    let yaml = with(&yaml, "{name: to-s2, addressPrefix: 10.30.0.0/16,", "{name: default, addressPrefix: 0.0.0.0/0,");
    let answer = ask(&yaml, "v1", "8.8.8.8");
    assert_eq!(answer.forward.dropped.as_deref(), Some("NextHopUnreachable"));
    let route = "route table rt-s1, route default: 0.0.0.0/0 -> VirtualAppliance 10.30.0.4";
    assert_eq!(drop_object(&answer.forward), ("v1", route));
    let cause = format!("{route}: the next hop is in VNet s2, which VNet s1 is not directly peered with");
    assert_eq!(answer.cause.unwrap(), cause);
    assert!(answer.fix.unwrap().checked);
    let further = &answer.further[0];
    assert!(further.cause.ends_with("leads to v2, which does not forward"), "{}", further.cause);
}

/// UDR-12: no interface has the address; the one appliance in reach is proposed.
#[test]
fn udr_12_a_next_hop_that_no_interface_owns() {
    let answer = ask(&with(ONE_VNET, "nextHopIpAddress: 10.40.9.4", "nextHopIpAddress: 10.40.9.44"), "x", "y");
    let route = "route table inspect, route all: 10.40.0.0/16 -> VirtualAppliance 10.40.9.44";
    assert_eq!(answer.cause.unwrap(), format!("{route}: no machine has the next hop's address 10.40.9.44"));
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("routeTables[0].routes[0].nextHopIpAddress", "10.40.9.4")]);
    assert!(fix.checked && answer.further.is_empty());
}

#[test]
fn cs_18_an_appliance_in_its_clients_subnet_is_a_named_loop() {
    let yaml = with(ONE_VNET, "subnet: v/nva, enable", "subnet: v/zero, privateIPAddress: 10.40.0.9, enable");
    let yaml = with(&yaml, "addressPrefix: 10.40.0.0/16, nextHop", "addressPrefix: 0.0.0.0/0, nextHop");
    let yaml = with(&yaml, "nextHopIpAddress: 10.40.9.4", "nextHopIpAddress: 10.40.0.9");
    let answer = ask(&yaml, "x", "8.8.8.8");
    assert_eq!(answer.forward.dropped.as_deref(), Some("Loop"));
    let route = "route table inspect, route all: 0.0.0.0/0 -> VirtualAppliance 10.40.0.9";
    let cause = format!("loop at nva: its own subnet v/zero uses {route}, which leads back to it");
    assert_eq!(answer.cause.unwrap(), cause);
    let fix = answer.fix.unwrap();
    assert_eq!(fix.text, "move nva to a subnet of its own, without that route");
    assert!(fix.changes.is_empty() && !fix.checked);
}

/// UDR-16: the user's own route to nowhere.
#[test]
fn udr_16_a_none_route_is_the_cause() {
    let yaml = with(
        CHAIN,
        "10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4",
        "10.10.0.0/16, nextHopType: None",
    );
    let answer = ask(&yaml, "v1", "nva");
    let route = "route table rt-s1, route to-s2: 10.10.0.0/16 -> None";
    assert_eq!(answer.cause.unwrap(), format!("{route} drops 10.10.0.4"));
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("routeTables[0].routes[0]", "")]);
    assert!(fix.checked && answer.further.is_empty());
}

/// UDR-14: a route to a gateway that is not there, in the way of a peering that is.
#[test]
fn udr_14_a_route_to_a_missing_gateway() {
    let yaml = with(PAIR, "addressPrefix: 10.1.0.0/24", "addressPrefix: 10.1.0.0/24, routeTable: rt");
    let route = "{name: gw, addressPrefix: 10.2.0.0/24, nextHopType: VirtualNetworkGateway}";
    let answer = ask(&format!("{yaml}routeTables: [{{name: rt, routes: [{route}]}}]\n"), "va", "vb");
    let object = "route table rt, route gw: 10.2.0.0/24 -> VirtualNetworkGateway";
    assert_eq!(drop_object(&answer.forward), ("va", object));
    assert_eq!(answer.cause.unwrap(), format!("{object} leads to a gateway, and this network has none: 10.2.0.4"));
    assert!(answer.fix.unwrap().checked && answer.further.is_empty());
}

/// PEER-18: a link that has not seen the peer's new range.
#[test]
fn peer_18_a_stale_link_wants_a_sync() {
    let stale = "{name: a-b, remoteVirtualNetwork: b, remoteAddressSpace: [10.2.128.0/17]}";
    let answer = ask(&with(PAIR, "{name: a-b, remoteVirtualNetwork: b}", stale), "va", "vb");
    assert_eq!(drop_object(&answer.forward), ("va", "system route 10.0.0.0/8 -> None"));
    let cause = "peering a-b does not know the range of 10.2.0.4: VNet b changed its space";
    assert_eq!(answer.cause.unwrap(), cause);
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("virtualNetworks[0].virtualNetworkPeerings[0].remoteAddressSpace", "")]);
    assert!(fix.checked && answer.further.is_empty());
}

#[test]
fn ch_03_an_appliance_on_one_way_only_is_a_warning() {
    let yaml = with(
        CHAIN,
        "routes: [{name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}]",
        "routes: []",
    );
    let peers = "{name: s1-s2, remoteVirtualNetwork: s2}, {name: s1-h, remoteVirtualNetwork: h}";
    let yaml = with(&yaml, "{name: s1-h, remoteVirtualNetwork: h}", peers);
    let peers = "{name: s2-s1, remoteVirtualNetwork: s1}, {name: s2-h, remoteVirtualNetwork: h}";
    let yaml = with(&yaml, "{name: s2-h, remoteVirtualNetwork: h}", peers);
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!(answer.verdict, Verdict::Reachable);
    assert_eq!(nodes(&answer.forward), ["v1", "v2"]);
    assert_eq!(nodes(answer.back.as_ref().unwrap()), ["v2", "nva", "v1"]);
    let warning =
        "asymmetric path: the request passes no appliance, the answer nva; a stateful appliance sees half of the flow";
    assert_eq!(answer.warnings[0], warning);
}

/// A guest answers by its own routes: from a secondary NIC's address through the primary, where it is a foreign source.
#[test]
fn nic_08_a_second_nic_asked_from_another_subnet() {
    let yaml = with(
        PAIR,
        "subnets: [{name: s, addressPrefix: 10.2.0.0/24}]",
        "subnets: [{name: s, addressPrefix: 10.2.0.0/24}, {name: t, addressPrefix: 10.2.1.0/24}]",
    );
    let yaml = with(&yaml, "networkInterfaces: [{subnet: b/s}]", "networkInterfaces: [{subnet: b/s}, {subnet: b/t}]");
    let answer = ask(&yaml, "va", "vb/eth1:80");
    assert!(answer.forward.delivered);
    assert_eq!(drop_object(answer.back.as_ref().unwrap()).0, "vb");
    let cause = "on the way back: the guest answers from NIC vb/eth0, which does not own 10.2.1.4";
    assert_eq!(answer.cause.unwrap(), cause);
    assert!(answer.fix.unwrap().changes.is_empty());
}

/// CS-52: the rule's collection, configuration and manager have names, and the fix stands in the collection.
#[test]
fn adm_01_an_administrators_rule_is_named_and_an_exception_proposed() {
    let yaml = PAIR.to_owned()
        + "
networkManagers:
  - name: org
    networkGroups: [{name: all, staticMembers: [b]}]
    securityAdminConfigurations:
      - name: guardrails
        ruleCollections:
          - name: ssh
            appliesToGroups: [all]
            rules: [{name: no-ssh, priority: 20, direction: Inbound, access: Deny, protocol: Tcp, destinationPortRanges: ['22']}]
";
    let object =
        "security admin configuration guardrails of network manager org on VNet b, rule ruleCollections/ssh/no-ssh";
    let answer = ask(&yaml, "va", "vb:22");
    assert_eq!(drop_object(&answer.forward), ("vb", object));
    assert!(answer.cause.unwrap().starts_with(object));
    let fix = answer.fix.unwrap();
    assert!(fix.checked);
    let value = "{name: allow-tcp-22, priority: 19, direction: Inbound, access: Allow, protocol: Tcp, sources: ['10.1.0.4'], \
                 destinations: ['10.2.0.4'], destinationPortRanges: ['22']}";
    let path = "networkManagers[0].securityAdminConfigurations[0].ruleCollections[0].rules[1]";
    assert_eq!(changes(&fix), [(path, value)]);
    // What is proposed can be written so.
    let exception = with(&yaml, "rules: [{", &format!("rules: [{value}, {{"));
    assert_eq!(ask(&exception, "va", "vb:22").verdict, Verdict::Reachable);
    // Before the first priority there is no room for an exception: the rule moves back.
    let first = ask(&with(&yaml, "priority: 20", "priority: 1"), "va", "vb:22").fix.unwrap();
    let (path, moved) = (path.replace("rules[1]", "rules[0].priority"), value.replace("priority: 19", "priority: 1"));
    assert_eq!(changes(&first)[0], (path.as_str(), "2"));
    assert_eq!((changes(&first)[1].1, first.checked), (moved.as_str(), true));
    // An administrator's rule is final, under any NSG.
    let always = with(&yaml, "access: Deny", "access: AlwaysAllow");
    let filter =
        ask(&always, "va", "vb:22").forward.hops[1].steps.iter().find(|step| step.what == StepKind::Filter).cloned();
    assert_eq!(filter.unwrap().text, "inbound: always allows, no NSG is asked, priority 20");
}

#[test]
fn peer_44_a_missing_peering_with_a_classic_vnet_is_one_link() {
    let vnet = |name: &str, net: u8, model: &str| {
        format!(
            "  - {{name: {name}, location: westeurope{model}, addressSpace: [10.{net}.0.0/16], subnets: [{{name: s, \
             addressPrefix: 10.{net}.1.0/24}}]}}\n"
        )
    };
    let classic = ", deploymentModel: classic";
    let machines = "virtualMachines:\n  - {name: va, networkInterfaces: [{subnet: a/s}]}\n  \
                    - {name: vb, networkInterfaces: [{subnet: b/s}]}\n";
    let yaml = |a: &str, b: &str| format!("virtualNetworks:\n{}{}{machines}", vnet("a", 1, a), vnet("b", 2, b));
    // From either side.
    for (from, to) in [("va", "vb"), ("vb", "va")] {
        let fix = ask(&yaml("", classic), from, to).fix.unwrap();
        let link = "{name: a-b, remoteVirtualNetwork: b}";
        assert_eq!(changes(&fix), [("virtualNetworks[0].virtualNetworkPeerings[0]", link)]);
        assert!(fix.checked);
    }
    let answer = ask(&yaml(classic, classic), "va", "vb");
    assert!(answer.cause.unwrap().contains("both are classic") && answer.fix.is_none());
}

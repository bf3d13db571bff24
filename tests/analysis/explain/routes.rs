//! Fixes that are routes: each hop its own, in the tables that there are, and never a silent choice among appliances.

use vnet::analysis::Verdict;
use vnet::compile::compile;
use vnet::model::{Learned, RouteState, SubnetIx, VnetIx};

use super::applied::{File, closed, opened};
use super::{CHAIN, ONE_VNET, ask, changes, nodes, with};

/// Two hubs with an appliance each, a spoke on either side; no routes between the spokes.
pub(super) const TWO_HUBS: &str = "
virtualNetworks:
  - name: h1
    location: westeurope
    addressSpace: [10.10.0.0/16]
    subnets: [{name: nva, addressPrefix: 10.10.0.0/24}]
    virtualNetworkPeerings: [{name: h1-a, remoteVirtualNetwork: a}, {name: h1-h2, remoteVirtualNetwork: h2}]
  - name: h2
    location: westeurope
    addressSpace: [10.20.0.0/16]
    subnets: [{name: nva, addressPrefix: 10.20.0.0/24}]
    virtualNetworkPeerings: [{name: h2-b, remoteVirtualNetwork: b}, {name: h2-h1, remoteVirtualNetwork: h1}]
  - name: a
    location: westeurope
    addressSpace: [10.11.0.0/16]
    subnets: [{name: s, addressPrefix: 10.11.0.0/24}]
    virtualNetworkPeerings: [{name: a-h1, remoteVirtualNetwork: h1}]
  - name: b
    location: westeurope
    addressSpace: [10.21.0.0/16]
    subnets: [{name: s, addressPrefix: 10.21.0.0/24}]
    virtualNetworkPeerings: [{name: b-h2, remoteVirtualNetwork: h2}]
virtualMachines:
  - {name: va, networkInterfaces: [{subnet: a/s}]}
  - {name: vb, networkInterfaces: [{subnet: b/s}]}
  - {name: n1, networkInterfaces: [{subnet: h1/nva, enableIPForwarding: true}]}
  - {name: n2, networkInterfaces: [{subnet: h2/nva, enableIPForwarding: true}]}
";

/// Every hop lacks its route, the appliances' too; none is sent to itself.
#[test]
fn ch_04_each_hop_of_a_chain_over_two_hubs_gets_its_own_route() {
    let file = File::parse(TWO_HUBS);
    let answer = file.ask("va", "vb");
    let fixes: Vec<_> = answer.fix.iter().chain(answer.further.iter().flat_map(|one| &one.fix)).collect();
    let texts: Vec<_> = fixes.iter().map(|fix| fix.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "route 10.21.0.0/16 from subnet a/s to n1/eth0 (10.10.0.4)",
            "route 10.21.0.0/16 from subnet h1/nva to n2/eth0 (10.20.0.4)",
            "route 10.11.0.0/16 from subnet b/s to n2/eth0 (10.20.0.4)",
            "route 10.11.0.0/16 from subnet h2/nva to n1/eth0 (10.10.0.4)",
        ]
    );
    let mended = fixes.into_iter().fold(file.clone(), |file, fix| file.with(fix));
    let after = mended.ask("va", "vb");
    assert_eq!((after.verdict, nodes(&after.forward)), (Verdict::Reachable, vec!["va", "n1", "n2", "vb"]));
    assert_eq!(nodes(after.back.as_ref().unwrap()), ["vb", "n2", "n1", "va"]);
    let differences = file.differences(&mended, &[]);
    assert!(opened(&differences).iter().all(|(from, to, _)| from.starts_with('v') || to.starts_with('v')));
    assert_eq!(closed(&differences), []);
}

/// UDR-12: of two appliances in reach only the user knows which one is meant.
#[test]
fn udr_12_of_several_appliances_none_is_chosen_silently() {
    let second = "  - {name: nva2, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.40.9.9, enableIPForwarding: true}]}\n";
    let unused = with(ONE_VNET, "nextHopIpAddress: 10.40.9.4", "nextHopIpAddress: 10.40.9.44");
    let fix = ask(&(unused.clone() + second), "x", "y").fix.unwrap();
    let text = "point it at one of the appliances in reach: nva/eth0 (10.40.9.4) or nva2/eth0 (10.40.9.9)";
    assert_eq!((fix.text.as_str(), fix.changes.len(), fix.checked), (text, 0, false));
    // A second that does not forward is none (near misses), neither by its interface nor by its guest.
    for idle in [
        with(second, "enableIPForwarding: true", "enableIPForwarding: false"),
        with(second, "name: nva2", "name: nva2, guest: {forwarding: false}"),
    ] {
        let fix = ask(&(unused.clone() + &idle), "x", "y").fix.unwrap();
        assert_eq!(changes(&fix), [("routeTables[0].routes[0].nextHopIpAddress", "10.40.9.4")]);
    }
    // Another route of the table says which.
    let other = "10.40.9.44}, {name: rest, addressPrefix: 0.0.0.0/0, nextHopType: VirtualAppliance, nextHopIpAddress: 10.40.9.9}]";
    let fix = ask(&(with(&unused, "10.40.9.44}]", other) + second), "x", "y").fix.unwrap();
    assert_eq!(fix.text, "point it at nva2/eth0 (10.40.9.9), as other routes of the table do");
    assert_eq!(changes(&fix), [("routeTables[0].routes[0].nextHopIpAddress", "10.40.9.9")]);
}

/// FAB-14: an end of the flow that forwards is no appliance on its own way: a route there would be a loop.
#[test]
fn fab_14_an_end_that_forwards_is_not_proposed_as_next_hop() {
    let nowhere = with(ONE_VNET, "nextHopIpAddress: 10.40.9.4", "nextHopIpAddress: 10.40.9.44");
    for end in ["x", "y"] {
        let idle = format!("{{name: {end}, networkInterfaces: [{{subnet: v/zero}}]}}");
        let forwards = format!("{{name: {end}, networkInterfaces: [{{subnet: v/zero, enableIPForwarding: true}}]}}");
        let fix = ask(&with(&nowhere, &idle, &forwards), "x", "y").fix.unwrap();
        assert_eq!(changes(&fix), [("routeTables[0].routes[0].nextHopIpAddress", "10.40.9.4")], "{end} forwards");
        assert!(fix.checked);
    }
}

/// Between spokes the answer's route says which appliance is meant, and without one both are named.
#[test]
fn cs_03_the_answers_route_tells_which_appliance() {
    let second = "  - {name: nva2, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}\n";
    // The table has another route: the file does not have the one that is needed.
    let other = with(CHAIN, "{name: to-s2, addressPrefix: 10.30.0.0/16", "{name: to-s2, addressPrefix: 10.31.0.0/16");
    let yaml = with(&other, ", routeTable: rt-s1", "") + second;
    let fix = ask(&yaml, "v1", "v2").fix.unwrap();
    assert_eq!(fix.text, "route 10.30.0.0/16 from subnet s1/s to nva/eth0 (10.10.0.4), the answer's way");
    assert!(fix.checked);
    let fix = ask(&with(&yaml, ", routeTable: rt-s2", ""), "v1", "v2").fix.unwrap();
    assert_eq!(
        fix.text,
        "route 10.30.0.0/16 from subnet s1/s to one of its appliances: nva/eth0 (10.10.0.4) or nva2/eth0 (10.10.0.5)"
    );
    assert!(fix.changes.is_empty() && !fix.checked);
}

/// A route to nowhere is pointed at the appliance that the answer passes: without it the path would be asymmetric.
#[test]
fn udr_16_a_none_route_is_led_where_the_answer_passes() {
    let appliance = "10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4";
    let file = File::parse(&with(CHAIN, appliance, "10.30.0.0/16, nextHopType: None"));
    let answer = file.ask("v1", "v2");
    let fix = answer.fix.unwrap();
    assert_eq!(fix.text, "point route to-s2 at nva/eth0 (10.10.0.4), the answer's way");
    assert!(fix.checked && answer.further.is_empty());
    let after = file.with(&fix).ask("v1", "v2");
    assert_eq!((after.verdict, nodes(&after.forward)), (Verdict::Reachable, vec!["v1", "nva", "v2"]));
    // A route for more stays, and one for what was asked comes before it.
    let file = File::parse(&with(CHAIN, appliance, "10.0.0.0/8, nextHopType: None"));
    let fix = file.ask("v1", "v2").fix.unwrap();
    let added =
        "{name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}";
    assert_eq!(changes(&fix).last().unwrap().1.replace("to-s2-2", "to-s2"), added);
    assert_eq!(file.with(&fix).ask("v1", "v2").verdict, Verdict::Reachable);
    // To the Internet, only the address that was asked for.
    let yaml = with(CHAIN, appliance, "0.0.0.0/0, nextHopType: None") + "internet: {addresses: [203.0.113.9]}\n";
    let fix = File::parse(&yaml).ask("v1", "internet").fix.unwrap();
    let added = "{name: to-s2-except, addressPrefix: 203.0.113.9/32, nextHopType: Internet}";
    assert_eq!(changes(&fix), [("routeTables[0].routes[1]", added)]);
    assert!(fix.checked);
}

/// PEER-07: no peering is proposed with a network that overlaps, nor with one that has such a peer.
#[test]
fn peer_07_no_peering_is_advised_where_ranges_overlap() {
    let alone = |space: &str| {
        format!(
            "virtualNetworks:\n  - {{name: a, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, \
             addressPrefix: 10.1.0.0/24}}]}}\n  - {{name: b, location: westeurope, addressSpace: {space}, subnets: [{{name: s, \
             addressPrefix: 10.2.0.0/24}}]}}\nvirtualMachines:\n  - {{name: va, networkInterfaces: [{{subnet: a/s}}]}}\n  \
             - {{name: vb, networkInterfaces: [{{subnet: b/s}}]}}\n"
        )
    };
    let near = ask(&alone("[10.2.0.0/16]"), "va", "vb");
    assert!(near.fix.unwrap().checked);
    let answer = ask(&alone("[10.2.0.0/16, 10.1.128.0/17]"), "va", "vb");
    assert_eq!(answer.fix, None);
    assert!(answer.cause.unwrap().ends_with("their address spaces overlap, so they cannot be"));
    // A third network is peered with a and has b's range.
    let third = "  - {name: c, location: westeurope, addressSpace: [10.2.128.0/17], subnets: [{name: s, addressPrefix: \
                 10.2.128.0/24}], virtualNetworkPeerings: [{name: c-a, remoteVirtualNetwork: a}]}\nvirtualMachines:";
    let yaml = with(&alone("[10.2.0.0/16]"), "virtualMachines:", third);
    let yaml = with(
        &yaml,
        "addressPrefix: 10.1.0.0/24}]",
        "addressPrefix: 10.1.0.0/24}], virtualNetworkPeerings: [{name: a-c, remoteVirtualNetwork: c}]",
    );
    let answer = ask(&yaml, "va", "vb");
    assert_eq!(answer.fix, None);
    assert!(answer.cause.unwrap().ends_with("VNet a is peered with c, which overlaps, so they cannot be"));
    let apart = ask(&with(&yaml, "10.2.128.0", "10.3.128.0"), "va", "vb");
    assert!(apart.fix.unwrap().checked);
}

/// A summary route that loses to the peering, a filter behind it that lets the appliance's own address alone pass.
const LOST: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: nva, addressPrefix: 10.0.1.0/24}
      - {name: shared, addressPrefix: 10.0.2.0/24, routeTable: rt-hub}
    virtualNetworkPeerings: [{name: hub-one, remoteVirtualNetwork: one}, {name: hub-two, remoteVirtualNetwork: two}]
  - name: one
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24, routeTable: rt-one}, {name: t, addressPrefix: 10.1.1.0/24}]
    virtualNetworkPeerings:
      - {name: one-hub, remoteVirtualNetwork: hub}
      - {name: one-two, remoteVirtualNetwork: two, allowVirtualNetworkAccess: false}
  - name: two
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24, routeTable: rt-two}]
    virtualNetworkPeerings: [{name: two-hub, remoteVirtualNetwork: hub}, {name: two-one, remoteVirtualNetwork: one}]
routeTables:
  - name: rt-hub
    routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]
  - name: rt-one
    routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]
  - name: rt-two
    routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: one/s}]}
  - {name: a2, networkInterfaces: [{subnet: one/t}]}
  - {name: b, networkInterfaces: [{subnet: two/s}]}
  - {name: dns, networkInterfaces: [{subnet: hub/shared}]}
  - {name: nva, networkInterfaces: [{subnet: hub/nva, enableIPForwarding: true}]}
";

/// UDR-26: the link's flag is not to blame where the user meant the appliance; both sides get the longer route, in the
/// tables that they have.
#[test]
fn udr_26_a_route_that_lost_is_the_cause_and_not_the_filter_behind_it() {
    let file = File::parse(LOST);
    let answer = file.ask("a", "b:443");
    assert_eq!(
        answer.cause.unwrap(),
        "route table rt-one, route all: 10.0.0.0/8 -> VirtualAppliance 10.0.1.4 does not take 10.2.0.4: system route \
         10.2.0.0/16 -> VNetPeering (peering one-two) is longer (UDR-26)"
    );
    let fix = answer.fix.unwrap();
    let route = |prefix: &str| {
        format!(
            "{{name: through-appliance, addressPrefix: {prefix}, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}}"
        )
    };
    let (there, back) = (route("10.2.0.0/24"), route("10.1.0.0/24"));
    assert_eq!(
        changes(&fix),
        [("routeTables[1].routes[1]", there.as_str()), ("routeTables[2].routes[1]", back.as_str())]
    );
    assert!(fix.checked && answer.further.is_empty());
    let mended = file.with(&fix);
    let after = mended.ask("a", "b:443");
    assert_eq!((nodes(&after.forward), after.verdict), (vec!["a", "nva", "b"], Verdict::Reachable));
    assert_eq!(nodes(after.back.as_ref().unwrap()), ["b", "nva", "a"]);
    // Only those two subnets meet.
    let differences = file.differences(&mended, &[443]);
    assert!(
        opened(&differences).iter().all(|(from, to, _)| ["a", "b"].contains(&&**from) && ["a", "b"].contains(&&**to))
    );
    assert_eq!(closed(&differences), []);
    // From a subnet without that route the flag is the cause.
    let answer = file.ask("a2", "b:443");
    assert!(answer.cause.unwrap().starts_with("peering one-two, flag allowVirtualNetworkAccess is off"));
}

/// A filter that denies the packet by whichever way it comes is the cause, lost route or not.
#[test]
fn udr_26_a_filter_that_denies_either_way_is_the_cause() {
    let guarded = LOST.replace("{subnet: hub/shared}", "{subnet: hub/shared, networkSecurityGroup: g}")
        + "networkSecurityGroups:
  - name: g
    securityRules:
      - {name: no, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: 10.1.0.0/16,
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
";
    let cause = ask(&guarded, "a", "dns:53").cause.unwrap();
    assert!(cause.starts_with("NSG g on NIC dns/eth0, rule securityRules/no: a rule denies"), "{cause}");
    // The appliance's own address is let in: there the lost route is to blame.
    let masked = with(&guarded, "name: nva, net", "name: nva, guest: {masquerade: all}, net");
    let answer = ask(&masked, "a", "dns:53");
    let cause = answer.cause.unwrap();
    assert!(
        cause.contains("does not take 10.0.2.4: system route 10.0.0.0/16 -> VNetPeering (peering one-hub)"),
        "{cause}"
    );
    // The appliance answers for itself; what the other end begins would be answered by it too.
    let fix = answer.fix.unwrap();
    let paths: Vec<_> = fix.changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!((paths, fix.checked), (vec!["routeTables[1].routes[1]", "routeTables[0].routes[1]"], true));
    let file = File::parse(&masked);
    let mended = file.with(&fix);
    let after = mended.ask("a", "dns:53");
    assert_eq!((after.verdict, nodes(&after.forward)), (Verdict::Reachable, vec!["a", "nva", "dns"]));
    assert_eq!(closed(&file.differences(&mended, &[53])), []);
    // A default route names everything and means the rest.
    let rest = with(
        &masked,
        "  - name: rt-one\n    routes: [{name: all, addressPrefix: 10.0.0.0/8",
        "  - name: rt-one\n    routes: [{name: all, addressPrefix: 0.0.0.0/0",
    );
    let cause = ask(&rest, "a", "dns:53").cause.unwrap();
    assert!(cause.starts_with("NSG g on NIC dns/eth0"), "{cause}");
}

/// NSG-02, NSG-03: a rule's name and priority are its own; where all before the denial are taken, those behind move, in
/// their order.
#[test]
fn nsg_03_an_allow_rule_takes_no_name_and_no_priority_that_is_taken() {
    let guarded = |rules: &str| {
        with(
            super::PAIR,
            "{name: s, addressPrefix: 10.2.0.0/24}",
            "{name: s, addressPrefix: 10.2.0.0/24, networkSecurityGroup: g}",
        ) + &format!("networkSecurityGroups:\n  - name: g\n    securityRules:\n{rules}")
    };
    let rule = |name: &str, priority: u16, direction: &str, access: &str, port: &str| {
        format!(
            "      - {{name: {name}, priority: {priority}, direction: {direction}, access: {access}, protocol: Tcp, \
             sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '{port}'}}\n"
        )
    };
    // The name is taken in the other direction, in any case; the priority is not (NSG-03).
    let yaml =
        guarded(&(rule("Allow-Tcp-22", 199, "Outbound", "Allow", "*") + &rule("no", 200, "Inbound", "Deny", "22")));
    let file = File::parse(&yaml);
    let fix = file.ask("va", "vb:22").fix.unwrap();
    assert!(changes(&fix)[0].1.starts_with("{name: allow-tcp-22-2, priority: 199, direction: Inbound"), "{fix:?}");
    assert_eq!(file.with(&fix).ask("va", "vb:22").verdict, Verdict::Reachable);
    // 100 to 102 are taken; 103 is free, and 104 stays.
    let rules: String = [
        rule("no", 100, "Inbound", "Deny", "22"),
        rule("yes", 101, "Inbound", "Allow", "80"),
        rule("never", 102, "Inbound", "Deny", "*"),
        rule("last", 104, "Inbound", "Allow", "*"),
    ]
    .concat();
    let file = File::parse(&guarded(&rules));
    let answer = file.ask("va", "vb:22");
    let fix = answer.fix.unwrap();
    let moved: Vec<_> = changes(&fix)[..3].iter().map(|(_, priority)| *priority).collect();
    assert_eq!((moved, fix.changes.len(), fix.checked), (vec!["101", "102", "103"], 4, true));
    let mended = file.with(&fix);
    assert_eq!(mended.ask("va", "vb:22").verdict, Verdict::Reachable);
    assert_eq!(
        opened(&file.differences(&mended, &[22, 80])),
        [("va".to_owned(), "vb".to_owned(), "tcp/22".to_owned())]
    );
}

/// SYS-11: a service endpoint takes TCP alone from a user's route, which is in force for the rest and listed so.
#[test]
fn sys_11_a_route_that_is_in_force_beside_tcp_is_listed_as_active() {
    let yaml = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.41.0.0/16]
    subnets: [{name: s, addressPrefix: 10.41.0.0/24, routeTable: drop, serviceEndpoints: [{service: Microsoft.Storage}]}]
routeTables:
  - {name: drop, routes: [{name: one, addressPrefix: 203.0.113.4/32, nextHopType: None}]}
virtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]}]
";
    let network = super::load(yaml);
    let compiled = compile(&network, &Learned::default(), 1);
    let subnet = SubnetIx { vnet: VnetIx(0), subnet: 0 };
    let rows = vnet::analysis::routes(&network, &compiled, subnet);
    let one = rows.iter().find(|row| row.name.as_deref() == Some("one")).unwrap();
    assert_eq!(one.state, RouteState::Active);
    let answer = ask(yaml, "a", "203.0.113.4:53/udp");
    assert!(answer.cause.as_deref().unwrap().contains("route one"), "{:?}", answer.cause);
    // A route that is in force for nothing stays Invalid.
    let covered = yaml.replace("203.0.113.4/32", "10.41.0.0/16").replace("nextHopType: None", "nextHopType: VnetLocal");
    let network = super::load(&covered);
    let compiled = compile(&network, &Learned::default(), 1);
    let rows = vnet::analysis::routes(&network, &compiled, subnet);
    assert!(rows.iter().any(|row| row.state == RouteState::Invalid), "{rows:?}");
}

/// SYS-11: TCP to a service leaves by the subnet's service endpoint, where no lab has the service; so a ping that is not
/// translated is not told to be TCP.
#[test]
fn sys_11_tcp_is_no_advice_where_a_service_endpoint_takes_it() {
    let yaml = "
internet: {addresses: [203.0.113.4, 8.8.8.8]}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.41.0.0/16]
    subnets: [{name: s, addressPrefix: 10.41.0.0/24, serviceEndpoints: [{service: Microsoft.Storage}]}]
publicIPAddresses: [{name: out, sku: Standard}]
natGateways: [{name: nat, publicIpAddresses: [out]}]
virtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]}]
";
    let nat = with(yaml, "0/24, serviceEndpoints", "0/24, natGateway: nat, serviceEndpoints");
    for (yaml, other) in [(yaml, "publicIPAddress, which"), (&nat, "publicIPAddress in")] {
        let text = |destination: &str| ask(yaml, "a", destination).fix.unwrap().text;
        let advised = |protocols: &str| format!("ask with {protocols}, or give 10.41.0.4 a {other}");
        assert!(text("203.0.113.4").starts_with(&advised("UDP")), "{}", text("203.0.113.4"));
        assert!(text("8.8.8.8").starts_with(&advised("TCP or UDP")), "{}", text("8.8.8.8"));
        assert_eq!(ask(yaml, "a", "203.0.113.4:53/udp").verdict, Verdict::Reachable);
        assert_eq!(ask(yaml, "a", "203.0.113.4:443").forward.dropped.as_deref(), Some("NoService"));
    }
}

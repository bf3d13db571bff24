//! Two networks that overlap: a packet for the one reaches the other's machine with that address.

use vnet::analysis::{Verdict, differences, forecast, reach, traffic};

use super::{Learned, ask, compile, drop_object, load, nodes, parse_query, with};

/// `one` and `two` have the same range; `hub` is peered with `one` alone.
const OVERLAP: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{name: s, addressPrefix: 10.0.0.0/24}]
    virtualNetworkPeerings: [{name: hub-one, remoteVirtualNetwork: one}]
  - name: one
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}]
    virtualNetworkPeerings: [{name: one-hub, remoteVirtualNetwork: hub}]
  - name: two
    location: westeurope
    addressSpace: [10.1.0.0/20]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}]
virtualMachines:
  - {name: h, networkInterfaces: [{subnet: hub/s}]}
  - {name: x, networkInterfaces: [{subnet: one/s}]}
  - {name: y, networkInterfaces: [{subnet: two/s}]}
";

#[test]
fn adr_07_another_machine_with_the_address_is_the_wrong_host() {
    let answer = ask(OVERLAP, "h", "y:443");
    assert_eq!(answer.verdict, Verdict::WrongHost);
    assert_eq!((answer.forward.delivered, answer.forward.dropped.as_deref()), (false, Some("WrongHost")));
    assert_eq!((nodes(&answer.forward), answer.back.is_none()), (vec!["h", "x"], true));
    assert_eq!(drop_object(&answer.forward), ("x", "NIC x/eth0"));
    assert_eq!(
        answer.cause.unwrap(),
        "wrong host: x/eth0 has the address 10.1.0.4 too, and the packet is delivered there: VNet one (10.1.0.0/16) \
         overlaps VNet two (10.1.0.0/20), and system route 10.1.0.0/16 -> VNetPeering (peering hub-one) leads to the \
         former (ADR-07)"
    );
    let fix = answer.fix.unwrap();
    assert_eq!(fix.text, "give VNet two or VNet one another range: no route leads to both");
    assert!(fix.changes.is_empty() && !fix.checked);
    // The machine that the route leads to, and the bare address, mean what they get.
    assert_eq!(ask(OVERLAP, "h", "x").verdict, Verdict::Reachable);
    assert_eq!(ask(OVERLAP, "h", "10.1.0.4").verdict, Verdict::Reachable);
    // A machine reaches itself by its own address, though another has it too.
    assert_eq!(ask(OVERLAP, "x", "y").verdict, Verdict::WrongHost);
}

/// The question arrives, and the answer goes to the wrong machine.
#[test]
fn adr_07_the_answer_may_reach_the_wrong_host_too() {
    let two = "addressSpace: [10.1.0.0/20]\n    subnets: [{name: s, addressPrefix: 10.1.0.0/24}]";
    let linked = "addressSpace: [10.1.0.0/20]\n    subnets: [{name: s, addressPrefix: 10.1.0.0/24, routeTable: rt}]\n    \
                  virtualNetworkPeerings: [{name: two-mid, remoteVirtualNetwork: mid, allowForwardedTraffic: true}]";
    let yaml = with(OVERLAP, two, linked);
    let yaml = with(
        &yaml,
        "[{name: hub-one, remoteVirtualNetwork: one}]",
        "[{name: hub-one, remoteVirtualNetwork: one}, {name: hub-mid, remoteVirtualNetwork: mid, allowForwardedTraffic: true}]",
    );
    let yaml = with(
        &yaml,
        "virtualMachines:\n",
        "  - name: mid
    location: westeurope
    addressSpace: [10.9.0.0/16]
    subnets: [{name: s, addressPrefix: 10.9.0.0/24}]
    virtualNetworkPeerings:
      - {name: mid-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}
      - {name: mid-two, remoteVirtualNetwork: two, allowForwardedTraffic: true}
routeTables:
  - name: rt
    routes: [{name: hub, addressPrefix: 10.0.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.9.0.4}]
virtualMachines:
  - {name: nva, networkInterfaces: [{subnet: mid/s, enableIPForwarding: true}]}
",
    );
    let answer = ask(&yaml, "y", "h:80");
    assert_eq!((answer.verdict, answer.forward.delivered), (Verdict::WrongHost, true));
    assert_eq!(answer.back.unwrap().dropped.as_deref(), Some("WrongHost"));
    let cause = answer.cause.unwrap();
    assert!(cause.starts_with("on the way back: wrong host: x/eth0 has the address 10.1.0.4 too"), "{cause}");
}

/// `reach` and `test` say the same, and overlaps where nothing is misled are no matter (near miss).
#[test]
fn adr_07_reach_and_test_know_the_wrong_host() {
    let network = load(OVERLAP);
    let compiled = compile(&network, &Learned::default(), 1);
    let traffic = traffic(&network, None, [].into());
    let matrix = reach(&network, &compiled, &traffic).unwrap();
    let pair = |source: &str, destination: &str| {
        let found = matrix.pairs.iter().find(|pair| pair.source == source && pair.destination == destination);
        found.unwrap().clone()
    };
    assert_eq!(pair("h", "y").verdict, Verdict::WrongHost);
    assert_eq!(pair("h", "y").to_string(), "WrongHost at x/eth0");
    assert_eq!(pair("h", "x").verdict, Verdict::Reachable);
    // `two` has no peering: its machine's questions to the hub are dropped, not misled.
    assert_eq!(pair("y", "h").verdict, Verdict::Blocked);
    let foretold = forecast(&network, &compiled, &parse_query("h", "y").unwrap()).unwrap();
    assert_eq!((foretold.verdict, foretold.dropped.as_deref()), (Verdict::WrongHost, Some("WrongHost")));

    // What leads to the wrong host was not open: that it is dropped in renumbered networks closes nothing.
    let apart = load(&with(OVERLAP, "[10.1.0.0/16]", "[10.2.0.0/16]").replacen("10.1.0.0/24", "10.2.0.0/24", 1));
    let after = reach(&apart, &compile(&apart, &Learned::default(), 1), &traffic).unwrap();
    assert_eq!(after.pairs.iter().find(|pair| pair.destination == "y").unwrap().verdict, Verdict::Blocked);
    assert_eq!(differences(&matrix, &after), []);
}

/// ADR-07: a site that nothing leads to does not get what a machine with its address gets.
#[test]
fn adr_07_a_site_that_nothing_leads_to_is_not_met() {
    let yaml = "
virtualNetworks: [{name: v, location: x, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24}]}]
sites: [{name: sc, gatewayIpAddress: 198.51.100.3, addressSpace: [10.0.0.0/24], addresses: [10.0.0.5]}]
virtualMachines: [{name: x, networkInterfaces: [{subnet: v/s}]}, {name: y, networkInterfaces: [{subnet: v/s}]}]
";
    let answer = ask(yaml, "x", "sc");
    assert_eq!(answer.verdict, Verdict::WrongHost);
    let cause = answer.cause.unwrap();
    assert!(cause.contains("y/eth0 has the address 10.0.0.5 too") && cause.contains("nothing leads to sc"), "{cause}");
    assert_eq!(ask(yaml, "x", "10.0.0.5").verdict, Verdict::Reachable);
    let network = load(yaml);
    let compiled = compile(&network, &Learned::default(), 1);
    let matrix = reach(&network, &compiled, &traffic(&network, None, [].into())).unwrap();
    let to_site = matrix.pairs.iter().filter(|pair| pair.destination == "sc");
    assert!(to_site.clone().count() > 0);
    assert!(to_site.into_iter().all(|pair| pair.verdict == Verdict::WrongHost));
}

//! Questions with answers that depend on the flow's hash: routes to several appliances (RSEL-06), as `explain`, `reach`,
//! `next-hop`, `test` and lint see them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use vnet::analysis::{self, Branch, Explanation, NextHopQuery, Observed, Query};
use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::dataplane::{FlowLimits, Flows, PortId, Quiet, Timestamp, Verdict as Fate, process};
use vnet::model::{self, Learned, Network, NextHopType, NicIx, Verdict};
use vnet::wire::{Offload, Packet, build};

/// Two spokes and a hub with two appliances; each spoke's route to the other is over both.
const SPREAD: &str = "
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
    virtualNetworkPeerings: [{name: s1-h, remoteVirtualNetwork: h, allowForwardedTraffic: true}]
  - name: s2
    location: westeurope
    addressSpace: [10.30.0.0/16]
    subnets: [{name: s, addressPrefix: 10.30.0.0/24, routeTable: rt-s2}]
    virtualNetworkPeerings: [{name: s2-h, remoteVirtualNetwork: h, allowForwardedTraffic: true}]
routeTables:
  - name: rt-s1
    routes:
      - {name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}}
  - name: rt-s2
    routes:
      - {name: to-s1, addressPrefix: 10.20.0.0/16, nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}}
networkSecurityGroups:
  - name: web
    securityRules:
      - {name: https, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: 10.20.0.0/16,
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '443'}
      - {name: rest, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: nva1, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}
  - {name: nva2, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}
  - {name: v1, networkInterfaces: [{subnet: s1/s}]}
  - {name: v2, networkInterfaces: [{subnet: s2/s}]}
";

fn load(yaml: &str) -> (Network, Compiled) {
    let network = config::load(yaml, "test.yaml").unwrap_or_else(|errors| panic!("{errors:?}\n{yaml}")).network;
    let compiled = compile(&network, &Learned::default(), 1);
    (network, compiled)
}

fn ask(yaml: &str, source: &str, destination: &str) -> Explanation {
    let (network, compiled) = load(yaml);
    analysis::explain(&network, &compiled, &analysis::parse_query(source, destination).unwrap(), Instant::now())
        .unwrap()
}

/// One spelling for another, which must be there.
fn with(yaml: &str, from: &str, to: &str) -> String {
    assert!(yaml.contains(from), "{from} is not in\n{yaml}");
    yaml.replace(from, to)
}

/// SPREAD with one of the appliances as by default, without IP forwarding.
fn second_does_not_forward() -> String {
    with(
        SPREAD,
        "nva2, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]",
        "nva2, networkInterfaces: [{subnet: h/s}]",
    )
}

/// Which appliances there and back, and what ends it.
fn ways(branches: &[Branch]) -> BTreeSet<(String, Option<String>, Option<String>)> {
    let way = |branch: &Branch| {
        let back = branch.via_return.as_ref().map(|back| back.join(" "));
        (branch.via.join(" "), back, branch.dropped.clone())
    };
    branches.iter().map(way).collect()
}

fn arrives(there: &str, back: &str) -> (String, Option<String>, Option<String>) {
    (there.to_owned(), Some(back.to_owned()), None)
}

#[test]
fn rsel_06_every_way_is_walked() {
    for destination in ["v2", "v2:443", "v2:53/udp"] {
        let answer = ask(SPREAD, "v1", destination);
        assert_eq!(answer.verdict, Verdict::Reachable);
        let all = [("nva1", "nva1"), ("nva1", "nva2"), ("nva2", "nva1"), ("nva2", "nva2")];
        assert_eq!(ways(&answer.branches), all.map(|(there, back)| arrives(there, back)).into());
        assert_eq!(answer.branches.len(), 4);
        let [warning] = &answer.warnings[..] else { panic!("{:?}", answer.warnings) };
        assert!(warning.starts_with("asymmetric path: each direction of a flow chooses its appliance"), "{warning}");
    }
    assert_eq!(ask(SPREAD, "v1", "nva1").branches, [], "one way is told as ever");
}

/// A branch's port is the proof: real packets of that flow take the way that is told.
#[test]
fn rsel_06_a_branchs_port_goes_its_way() {
    let (network, compiled) = load(SPREAD);
    let answer =
        analysis::explain(&network, &compiled, &analysis::parse_query("v1", "v2:443").unwrap(), Instant::now())
            .unwrap();
    let [nva1, nva2, v1, v2] = [0, 1, 2, 3].map(PortId);
    let (client, server) = ("10.20.0.4".parse().unwrap(), "10.30.0.4".parse().unwrap());
    let names = [(nva1, "nva1"), (nva2, "nva2")];
    let name = |port: PortId| names.iter().find(|(known, _)| *known == port).unwrap().1.to_owned();
    for branch in answer.branches {
        let flows = Flows::new(FlowLimits { per_nic: 100, total: 100 });
        let send = |from, src, dst| {
            let mut bytes = build::tcp(src, dst, 0x10, b"");
            let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
            match process(&compiled.snapshot, &flows, from, Timestamp(0), &mut packet, &mut Quiet) {
                Fate::Forward(port) => name(port),
                Fate::Drop(reason) => panic!("{reason}"),
            }
        };
        let asking = SocketAddr::new(client, branch.source_port);
        let answering = SocketAddr::new(server, 443);
        assert_eq!([send(v1, asking, answering)], branch.via[..]);
        assert_eq!([send(v2, answering, asking)], branch.via_return.unwrap()[..]);
    }
}

#[test]
fn rsel_06_an_appliance_that_does_not_forward_makes_it_depend() {
    let answer = ask(&second_does_not_forward(), "v1", "v2:443");
    assert_eq!(answer.verdict, Verdict::Depends);
    let fates: BTreeSet<_> = answer.branches.iter().map(|branch| branch.dropped.as_deref()).collect();
    assert_eq!(fates, [None, Some("NotForwarding")].into());
    assert_eq!(answer.cause.unwrap(), "NIC nva2/eth0 without enableIPForwarding: 10.30.0.4 is not its address");
    let fix = answer.fix.unwrap();
    assert_eq!(fix.changes[0].path, "virtualMachines[1].networkInterfaces[0].enableIPForwarding");
    assert!(fix.checked && answer.further.is_empty(), "with it every way is open");
    assert_eq!(answer.forward.dropped.as_deref(), Some("NotForwarding"), "the way that is told is one that fails");
}

/// UDR-12: one next hop is an unused address. Of two, one is left.
#[test]
fn udr_12_a_missing_appliance_makes_it_depend() {
    let yaml = SPREAD.replace("10.10.0.5]", "10.10.0.99]");
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!(answer.verdict, Verdict::Depends);
    let route = "route table rt-s1, route to-s2: 10.30.0.0/16 -> VirtualAppliance 10.10.0.4 10.10.0.99";
    assert_eq!(answer.cause.unwrap(), format!("{route}: no machine has the next hop's address 10.10.0.99"));
    let fix = answer.fix.unwrap();
    let change = &fix.changes[0];
    let value =
        "{name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}";
    assert_eq!((change.path.as_str(), change.value.as_deref()), ("routeTables[0].routes[0]", Some(value)));
    assert!(fix.checked);
    let [further] = &answer.further[..] else { panic!("{:?}", answer.further) };
    assert!(further.cause.starts_with("on the way back: route table rt-s2"), "{}", further.cause);
    assert!(further.fix.as_ref().unwrap().checked);

    let three = yaml.replace("10.10.0.4, 10.10.0.99]", "10.10.0.4, 10.10.0.99, 10.10.0.5]");
    let change = &ask(&three, "v1", "v2").fix.unwrap().changes[0];
    assert_eq!(change.path, "routeTables[0].routes[0].nextHop.nextHopIpAddresses[1]");
    assert_eq!(change.value, None);
}

#[test]
fn rsel_06_without_any_good_appliance_it_is_blocked() {
    let yaml = SPREAD.replace("[10.10.0.4, 10.10.0.5]", "[10.10.0.98, 10.10.0.99]");
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!((answer.verdict, answer.branches.len()), (Verdict::Blocked, 2));
}

/// NSG-20, CH-05: at an appliance that has not seen the question, the answer is a new flow.
#[test]
fn ch_05_an_answer_by_the_other_appliance_is_a_new_flow_there() {
    let yaml = with(SPREAD, "addressPrefix: 10.10.0.0/24", "addressPrefix: 10.10.0.0/24, networkSecurityGroup: web");
    let answer = ask(&yaml, "v1", "v2:443");
    assert_eq!(answer.verdict, Verdict::Depends);
    let lost = |there: &str| (there.to_owned(), Some(String::new()), Some("NsgInbound".to_owned()));
    let all = [arrives("nva1", "nva1"), arrives("nva2", "nva2"), lost("nva1"), lost("nva2")];
    assert_eq!(ways(&answer.branches), all.into());
    assert!(answer.cause.unwrap().starts_with("on the way back: NSG web on subnet h/s, rule securityRules/rest"));
}

/// Two stages, 64 members and 3: a flow's way is one of 192.
#[test]
fn rsel_06_stages_multiply() {
    let members: Vec<_> = (0..64).map(|n| format!("10.10.0.{}", 10 + n)).collect();
    let machines: String = (0..64).fold(String::new(), |all, n| {
        let nic = format!("{{subnet: h/s, privateIPAddress: 10.10.0.{}, enableIPForwarding: true}}", 10 + n);
        all + &format!("  - {{name: m{n}, networkInterfaces: [{nic}]}}\n")
    });
    let yaml = with(
        SPREAD,
        "to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}",
        &format!(
            "to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualApplianceEcmp, nextHop: {{nextHopIpAddresses: [{}]}}",
            members.join(", ")
        ),
    );
    let yaml = with(&yaml, "[10.10.0.4, 10.10.0.5]", "[10.10.0.4, 10.10.0.5, 10.10.0.10]") + &machines;
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!((answer.verdict, answer.branches.len()), (Verdict::Reachable, 192));
    assert_eq!(ways(&answer.branches).len(), 192, "no two are the same");
}

#[test]
fn reach_reports_depends_and_lists_the_paths() {
    let (network, compiled) = load(&second_does_not_forward());
    let traffic = analysis::traffic(&network, Some(analysis::Probe::Ping), BTreeSet::new());
    let before = analysis::reach(&network, &compiled, &traffic).unwrap();
    let pair = before.pairs.iter().find(|pair| (&*pair.source, &*pair.destination) == ("v1", "v2")).unwrap();
    assert_eq!(pair.verdict, Verdict::Depends);
    assert_eq!(pair.to_string(), "1 of 3 ways, else NotForwarding at nva2/eth0");

    let (network, compiled) = load(SPREAD);
    let after = analysis::reach(&network, &compiled, &traffic).unwrap();
    let pair = after.pairs.iter().find(|pair| (&*pair.source, &*pair.destination) == ("v1", "v2")).unwrap();
    assert_eq!(pair.to_string(), "through nva1 or through nva2");
    let differences = analysis::differences(&before, &after);
    let told: Vec<_> = differences.iter().map(|d| (d.shift, &*d.source, &*d.destination)).collect();
    assert_eq!(told, [(analysis::Shift::Opens, "v1", "v2"), (analysis::Shift::Opens, "v2", "v1")]);
    let back = analysis::differences(&after, &before);
    assert!(back.iter().all(|difference| difference.shift == analysis::Shift::Closes));
}

/// RSEL-06: appliances in another order are the same ways; one appliance less is another way.
#[test]
fn rsel_06_another_order_of_appliances_reroutes_nothing() {
    let reach = |yaml: &str| {
        let (network, compiled) = load(yaml);
        let traffic = analysis::traffic(&network, Some(analysis::Probe::Ping), BTreeSet::new());
        analysis::reach(&network, &compiled, &traffic).unwrap()
    };
    let before = reach(SPREAD);
    let turned = reach(&with(SPREAD, "[10.10.0.4, 10.10.0.5]", "[10.10.0.5, 10.10.0.4]"));
    assert_eq!(analysis::differences(&before, &turned), []);
    let several = "VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}";
    let one = reach(&with(SPREAD, several, "VirtualAppliance, nextHopIpAddress: 10.10.0.4"));
    let differences = analysis::differences(&before, &one);
    let told: Vec<_> = differences.iter().map(|d| (d.shift, &*d.source, &*d.destination)).collect();
    assert_eq!(told, [(analysis::Shift::Reroutes, "v1", "v2"), (analysis::Shift::Reroutes, "v2", "v1")]);
}

/// Which appliance it is depends on the flow, and the question names none.
#[test]
fn diag_04_of_several_appliances_all_are_named() {
    let (network, compiled) = load(SPREAD);
    let query = NextHopQuery { target: "v1".to_owned(), source: None, destination: "10.30.0.4".to_owned() };
    let answer = analysis::next_hop(&network, &compiled, &query).unwrap();
    let json = serde_json::json!({
        "nextHopType": "VirtualApplianceEcmp", "nextHopIpAddress": null,
        "nextHopIpAddresses": ["10.10.0.4", "10.10.0.5"], "routeTableId": "rt-s1",
    });
    assert_eq!(serde_json::to_value(answer).unwrap(), json);
    let rows = analysis::routes(&network, &compiled, network.nic(NicIx(2)).subnet);
    let row = rows.iter().find(|row| row.name.is_some()).unwrap();
    assert_eq!(row.next_hop_type, NextHopType::VirtualAppliance, "effective routes know one type of appliance");
    assert_eq!(row.next_hop_ip_address.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.10.0.4", "10.10.0.5"]);
}

/// The problems that a test has, with what packets did.
fn problems(yaml: &str, test: &str, observed: Option<&Observed>) -> Vec<String> {
    let (network, compiled) = load(&format!("{yaml}tests:\n  - {test}\n"));
    let test = &network.tests[0];
    let forecast = analysis::forecast(&network, &compiled, &Query::of(&network, test.ends().unwrap())).unwrap();
    let reach = (test.reach().unwrap(), test.packets_only);
    let problems = analysis::judge(&network, reach, &forecast, observed);
    problems.into_iter().map(|problem| problem.text).collect()
}

fn seen(verdict: Verdict, via: &str, via_return: &str) -> Observed {
    let way = |way: &str| Some(way.split_terminator(' ').map(str::to_owned).collect());
    Observed { verdict, via: way(via), via_return: way(via_return), lost: None }
}

#[test]
fn a_test_of_what_depends_fails_and_says_so() {
    let yaml = second_does_not_forward();
    let depends = "it depends on the flow's hash: of 3 ways 1 arrives, the others end with NotForwarding";
    for (expect, via, verdict) in
        [("reachable", "nva1", model::Verdict::Reachable), ("blocked", "", model::Verdict::Blocked)]
    {
        let test = format!("{{from: v1, to: v2, port: 443, expect: {expect}}}");
        let by_model = format!("the file expects {expect}, but the model says {depends}");
        assert_eq!(problems(&yaml, &test, None), [by_model]);
        let by_both = format!("the file expects {expect}, the model says {depends}, the packets say {verdict}");
        assert_eq!(
            problems(&yaml, &test, Some(&seen(verdict, via, via))),
            [by_both],
            "packets of one flow are no defect"
        );
    }
    let astray =
        problems(&yaml, "{from: v1, to: v2, expect: reachable}", Some(&seen(Verdict::Reachable, "nva2", "nva2")));
    assert!(astray[0].starts_with("the model and the packets disagree about the way there"), "{astray:?}");
}

#[test]
fn a_test_of_several_ways_holds_for_each_of_them() {
    let test = |rest: &str| format!("{{from: v1, to: v2, expect: reachable{rest}}}");
    assert_eq!(problems(SPREAD, &test(""), Some(&seen(Verdict::Reachable, "nva1", "nva2"))), [""; 0]);
    let problems = |rest| problems(SPREAD, &test(rest), None);
    assert_eq!(problems(", via: [nva1]"), ["expected the packet to go via nva1, but a flow may go via nva2"]);
    assert_eq!(
        problems(", notVia: [nva2]"),
        [
            "expected the packet not to pass nva2, but a flow may go via nva2",
            "expected the answer not to pass nva2, but a flow may go via nva2",
        ]
    );
}

/// CH-03: no route of the answering side makes two hashes agree, so none is proposed.
#[test]
fn ch_03_lint_says_that_answers_may_pass_another_appliance() {
    let (network, compiled) = load(SPREAD);
    let findings = analysis::lint(&network, &compiled);
    let chain = findings.iter().find(|finding| finding.code == "one-sided-chain").unwrap();
    assert!(chain.message.contains(", and for some flows v2's answer goes back through nva"), "{}", chain.message);
    assert!(chain.help.starts_with("share state between these appliances"), "{}", chain.help);
}

/// CH-03: where the answers of all flows have one way without an appliance, or none, a route is proposed.
#[test]
fn ch_03_lint_proposes_a_route_where_no_answer_is_spread() {
    let (before, after) = SPREAD.split_once("      - {name: to-s1").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    let unanswered =
        format!("{before}      - {{name: to-s1, addressPrefix: 10.20.0.0/16, nextHopType: None}}\n{after}");
    let direct = format!("{before}      - {{name: other, addressPrefix: 10.99.0.0/16, nextHopType: None}}\n{after}");
    let direct = with(
        &direct,
        "allowForwardedTraffic: true}]\n  - name: s2",
        "allowForwardedTraffic: true}, {name: s1-s2, remoteVirtualNetwork: s2}]\n  - name: s2",
    );
    let direct = with(&direct, "[{name: s2-h,", "[{name: s2-s1, remoteVirtualNetwork: s1}, {name: s2-h,");
    for (yaml, way) in
        [(unanswered, "v2's answer is dropped (NextHopNone)"), (direct, "v2's answer goes back without it")]
    {
        let (network, compiled) = load(&yaml);
        let findings = analysis::lint(&network, &compiled);
        let chain = findings.iter().find(|finding| finding.code == "one-sided-chain").unwrap();
        assert!(chain.message.contains(way) && !chain.message.contains("for some flows"), "{}", chain.message);
        assert!(chain.help.starts_with("route 10.20.0.0/16 from subnet s2/s to "), "{}", chain.help);
    }
}

//! Guests with packet filter rules of their own. The model does not evaluate them; a real packet decides.

use super::{Explanation, Verdict, ask};
use vnet::analysis::{LastSeen, PacketResult};

/// `fw` forwards between `web` and `db`, by rules of its own; `db` refuses what comes to it by its network's group.
const FILTERED: &str = r"
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: web, addressPrefix: 10.0.1.0/24, routeTable: around}
      - {name: fw, addressPrefix: 10.0.2.0/24}
      - {name: db, addressPrefix: 10.0.3.0/24, routeTable: back, networkSecurityGroup: db}
routeTables:
  - {name: around, routes: [{name: db, addressPrefix: 10.0.3.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.2.4}]}
  - {name: back, routes: [{name: web, addressPrefix: 10.0.1.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.2.4}]}
networkSecurityGroups:
  - name: db
    securityRules:
      - {name: no-ssh, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '22'}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/web}]}
  - name: fw
    guest: {nftables: 'table ip f { chain c { type filter hook forward priority 0; drop; }; }'}
    networkInterfaces: [{subnet: v/fw, enableIPForwarding: true}]
  - {name: db, networkInterfaces: [{subnet: v/db}]}
";

fn settled(mut explanation: Explanation, verdict: Verdict, lost: Option<(Option<&str>, bool)>) -> Explanation {
    let last_seen = |(at, sent_on): (Option<&str>, bool)| LastSeen {
        at: at.map(str::to_owned),
        sent_on,
        text: "it was lost".into(),
    };
    let result = PacketResult { verdict, via: None, via_return: None, source_port: 40_000, lost: lost.map(last_seen) };
    explanation.settle(result.clone());
    assert_eq!((explanation.verdict, explanation.settled.as_ref()), (verdict, Some(&result)));
    explanation
}

#[test]
fn a_packet_that_arrives_makes_void_what_the_model_had_found() {
    let unsettled = ask(FILTERED, "web", "db:22");
    assert_eq!(unsettled.verdict, Verdict::Depends);
    assert!(unsettled.cause.as_deref().is_some_and(|cause| cause.contains("no-ssh")), "{:?}", unsettled.cause);
    assert!(unsettled.fix.is_some());
    let arrived = settled(unsettled.clone(), Verdict::Reachable, None);
    assert_eq!((arrived.cause, arrived.fix, arrived.further.len()), (None, None, 0));
    // The guest forwarded the packet, so the model's cause holds.
    let lost = settled(unsettled.clone(), Verdict::Blocked, Some((Some("fw"), true)));
    assert_eq!((&lost.cause, &lost.fix), (&unsettled.cause, &unsettled.fix));
    let nowhere = settled(unsettled.clone(), Verdict::Blocked, Some((None, false)));
    assert_eq!((&nowhere.cause, &nowhere.fix), (&unsettled.cause, &unsettled.fix));
}

#[test]
fn a_guest_with_rules_that_kept_the_packet_is_the_cause() {
    let unsettled = ask(FILTERED, "web", "db:22");
    let kept = settled(unsettled, Verdict::Blocked, Some((Some("fw"), false)));
    let cause = kept.cause.unwrap();
    assert!(cause.starts_with("it was lost: fw has firewall rules of its own"), "{cause}");
    let fix = kept.fix.unwrap();
    assert_eq!(
        (fix.text.as_str(), fix.commands.len(), fix.changes.len(), fix.checked),
        ("look at the rules of fw", 1, 0, false)
    );
    assert_eq!(fix.commands[0], "vnet exec fw -- nft list ruleset");
    assert!(kept.further.is_empty());
    // The machine that kept the packet has no rules: the cause is only where the packet was lost.
    let other = settled(ask(FILTERED, "web", "db:443"), Verdict::Blocked, Some((Some("db"), false)));
    assert_eq!((other.cause.as_deref(), other.fix), (Some("it was lost"), None));
}

#[test]
fn only_the_rules_that_a_packet_meets_leave_the_answer_open() {
    for (from, to, verdict) in [
        ("web", "db:443", Verdict::Depends),
        ("db", "web:443", Verdict::Depends),
        ("web", "fw:443", Verdict::Reachable),
        ("fw", "db:443", Verdict::Reachable),
    ] {
        assert_eq!(ask(FILTERED, from, to).verdict, verdict, "{from} to {to}: its rules are at the forward hook");
    }
}

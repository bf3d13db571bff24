//! The runner itself: what is misspelt is not understood, and what is wrong fails, for the reason that it has.

use libtest_mimic::{Failed, Trial};

use crate::lab::{NEVER, SOON};
use crate::scenario::{Scenario, Written};
use crate::stage::Stage;

/// Steps that must not be understood, and what the error says.
const MISSPELT: &[(&str, &str)] = &[
    ("pnig va -> vb: ok", "no such step"),
    ("ping va vb: ok", "`A -> B` or"),
    ("ping va -> vb: okay", "is none of"),
    ("ping va -> vb: ok via", "is none of"),
    ("ping va -> vb: ok direct, via nva", "is none of"),
    ("ping va -> vb: drop@va NextHopNon", "there is no drop reason `NextHopNon`"),
    ("ping va -> vb: drop@va", "a reason is expected"),
    ("ping va -> vb: [ok]", "text is expected"),
    ("tcp va -> vb: ok", "`B:PORT` is expected"),
    ("udp va -> vb:http: ok", "is no port"),
    ("send va -> vb ospf: ok", "is none of ipip"),
    ("send va -> vb udp 68: ok", "`udp SOURCE-PORT DESTINATION-PORT`"),
    ("open flow: udp va -> vb:53", "`tcp A -> B:PORT` is expected"),
    ("routes va: Default Active", "a list is expected"),
    ("rules va: AllowVnetInBound", "a list is expected"),
    ("routes: []", "`routes NODE` or"),
    ("flow-verify va outbound tcp 80: Allow", "`flow-verify NODE DIRECTION PROTOCOL LOCAL REMOTE`"),
    ("peerings va: {}", "`peerings:` is expected"),
    ("explain va -> vb: {verdict: blocked, because: none}", "unknown field `because`"),
    ("flow-log a b: []", "`flow-log:` is expected"),
    ("drops va Nothing: 0", "there is no drop reason"),
    ("learned gw: 10.0.0.0/8", "a list is expected"),
    ("backends lb: {a: well}", "neither up nor down"),
    ("backends lb: up", "is expected"),
    ("peering mv a-b", "`peering rm LINK`"),
    ("apply: v.yaml", "`apply: PATCH` is expected"),
    ("refused: RouteConflict", "`refused: PATCH` is expected"),
    ("{ping va -> vb: ok, ping vb -> va: ok}", "a step is one line"),
];

/// Steps that must fail where `va` reaches `vb` through `nva` and back directly, and what the error says.
const WRONG: &[(&str, &str)] = &[
    ("ping va -> vc: ok", "there is no node `vc`"),
    ("ping va -> vb: drop@va NextHopNone", "it arrived"),
    ("ping va -> 10.2.1.9: answer drop@nva NoEndpoint", "the packet never arrived"),
    ("ping va -> vb: ok direct", "the packet went via nva"),
    ("tcp va -> vb:80: ok back via nva", "the answer went direct"),
    ("udp va -> vb:53: ok via nva nva", "the packet went via nva"),
    ("ping va -> vb: lost@nva", "it arrived"),
    ("ping va -> 10.2.1.9: lost@nva", "the fabric dropped it: NoEndpoint"),
    ("send va -> vb esp: drop@va BlockedProtocol", "it arrived"),
    ("hops va -> vb: [10.2.1.4]", "they are"),
    ("flow none: ok", "no step has opened it"),
    ("open flow: tcp va -> 10.2.1.9:80", "no machine has the destination"),
    ("routes vb: [Default Active 10.2.0.0/16 VnetLocal]", "not expected"),
    ("routes vc: []", "unknown node `vc`"),
    ("rules va: [securityRules/none 10.9.0.0/16]", "no `securityRules/none"),
    ("next-hop va -> vb: VnetLocal System Route", "it is VirtualAppliance 10.0.1.4 rt"),
    ("flow-verify va outbound tcp 50000 10.2.1.4:80: Deny", "it is Allow"),
    ("flow-verify va outbound icmp 50000 10.2.1.4:80: Allow", "expected tcp or udp"),
    ("peerings: {}", "not expected"),
    ("explain va -> vb: {verdict: blocked}", "it is \"reachable\""),
    ("explain va -> vb: {verdict: reachable, warning: a comet}", "no `a comet` in"),
    ("drops va NextHopNone: 7", "there are 0"),
    ("backends lb: {va: up}", "`lb`: there is none"),
    ("learned va: []", "unknown BGP speaker `va`"),
    ("flow-log none: [UserRule_x I A 80]", "there is no flow log `none`"),
    ("lint: [routing-loop UDR-17 routeTables]", "no `routing-loop"),
    ("apply: {routeTables: {rt: {routes: {all: {nextHopIpAddress: 10.0.1.300}}}}}", "10.0.1.300"),
    ("apply: {routeTables: {other: null}}", "the list has no element `other`"),
    ("apply: {emulation: null}", "there is no `emulation` to remove"),
    ("apply: {virtualNetworks: {a: {location: westeurope}}}", "it changes nothing"),
    ("refused RouteConflict: {emulation: {forwarded: enforce}}", "exit code"),
    ("refused RouteConflict: {routeTables: {rt: {routes: {all: {nextHopIpAddress: 10.0.1.300}}}}}", "exit code"),
    ("refused: {emulation: {forwarded: enforce}}", "exit code"),
    ("peering rm a-z", "a-z"),
    ("failover gw: 1", "no gateway `gw`"),
    ("circuit er primary: 1", "no circuit `er`"),
    ("exec va -- echo one: two", "it writes"),
    ("says: nothing", "what was said is"),
];

/// Steps there that wait in vain, and what the error says.
const VAIN: &[(&str, &str)] = &[
    ("ping va -> 10.2.1.9: ok", "drop@nva NoEndpoint]; the packet was seen at [va nva]"),
    ("ping va -> 10.2.1.9: drop@va NoEndpoint", "that never came true"),
    ("ping va -> 10.2.1.9: drop@nva NextHopNone", "that never came true"),
    ("send va -> vb gre: ok", "drop@va BlockedProtocol"),
];

const LAB: &str = "
title: A way through an appliance, and a direct way back
rules: [RSEL-09]
topology:
  virtualNetworks:
    - name: h
      location: westeurope
      addressSpace: [10.0.0.0/16]
      subnets: [{name: s, addressPrefix: 10.0.1.0/24}]
      virtualNetworkPeerings: [{name: h-a, remoteVirtualNetwork: a}, {name: h-b, remoteVirtualNetwork: b}]
    - name: a
      location: westeurope
      addressSpace: [10.1.0.0/16]
      subnets: [{name: s, addressPrefix: 10.1.1.0/24, routeTable: rt}]
      virtualNetworkPeerings: [{name: a-h, remoteVirtualNetwork: h}, {name: a-b, remoteVirtualNetwork: b}]
    - name: b
      location: westeurope
      addressSpace: [10.2.0.0/16]
      subnets: [{name: s, addressPrefix: 10.2.1.0/24}]
      virtualNetworkPeerings: [{name: b-h, remoteVirtualNetwork: h}, {name: b-a, remoteVirtualNetwork: a}]
  routeTables:
    - name: rt
      routes:
        - {name: all, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
  virtualMachines:
    - {name: va, networkInterfaces: [{subnet: a/s}]}
    - {name: vb, networkInterfaces: [{subnet: b/s}]}
    - {name: nva, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}
steps:
  - ping va -> vb: ok via nva, back direct
";

/// Tests of the runner, beside those of the scenarios.
pub(crate) fn tests(permitted: bool) -> Vec<Trial> {
    vec![
        Trial::test("runner: what is misspelt is not understood", misspelt),
        Trial::test("runner: what is wrong fails", wrong).with_ignored_flag(!permitted),
    ]
}

fn misspelt() -> Result<(), Failed> {
    for (step, expected) in MISSPELT {
        let Err(error) = written(step) else { return Err(format!("{step}: is understood").into()) };
        says(step, &error, expected)?;
    }
    for (from, to, expected) in [
        ("title:", "tilte:", "unknown field `tilte`"),
        ("rules: [RSEL-09]", "rules: [RSEL9]", "`RSEL9` is no rule's id"),
        ("ping va -> vb", "pong va -> vb", "step 1: pong va -> vb: no such step"),
        ("steps:\n", "steps: []\nmore:\n", "unknown field `more`"),
    ] {
        let Err(error) = Scenario::parse(&LAB.replace(from, to)) else {
            return Err(format!("{to}: is understood").into());
        };
        says(to, &error, expected)?;
    }
    Ok(())
}

fn wrong() -> Result<(), Failed> {
    let scenario = Scenario::parse(LAB)?;
    let mut stage = Stage::set(&scenario.topology, SOON);
    for right in &scenario.steps {
        stage.take(right)?;
    }
    fails(&mut stage, WRONG)?;
    stage.patience = NEVER;
    fails(&mut stage, VAIN)
}

fn fails(stage: &mut Stage, steps: &[(&str, &str)]) -> Result<(), Failed> {
    for (step, expected) in steps {
        let Err(error) = stage.take(&written(step)?) else { return Err(format!("{step}: passes").into()) };
        says(step, &error.to_string(), expected)?;
    }
    Ok(())
}

fn written(step: &str) -> Result<Written, String> {
    Written::parse(&serde_saphyr::from_str(step).map_err(|error| format!("{step}: {error}"))?)
}

fn says(what: &str, error: &str, expected: &str) -> Result<(), Failed> {
    if error.contains(expected) { Ok(()) } else { Err(format!("{what}: fails, but says: {error}").into()) }
}

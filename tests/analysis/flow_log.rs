//! Flow logs as data: which lines are in which log, with which rule and counters, and that records are what the schemas say.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::{golden, schema};
use serde_json::{Value, json};
use vnet::compile::{Compiled, compile, listed_rules};
use vnet::config::load;
use vnet::dataplane::{Denial, Direction, FlowEvent, FlowRecord, FlowState, NicId, RuleId, Timestamp, Traffic};
use vnet::flow_log::{FlowLogs, LoggedRecord, RuleNames};
use vnet::model::{Learned, Network};
use vnet::wire::{Protocol, Tuple};

/// When the workers' clock began.
const START: u64 = 1_795_262_400_000_000;
const SECOND: u64 = 1_000_000_000;

const LAB: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: a, addressPrefix: 10.0.1.0/24, networkSecurityGroup: outer}
      - {name: b, addressPrefix: 10.0.2.0/24}
networkSecurityGroups:
  - name: outer
    securityRules: [{name: web, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: '*',
      sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '80'}]
  - {name: inner}
networkManagers:
  - name: org
    networkGroups: [{name: all, staticMembers: [v]}]
    securityAdminConfigurations:
      - name: c
        ruleCollections:
          - name: ssh
            appliesToGroups: [all]
            rules: [{name: no-ssh, priority: 1, direction: Inbound, access: Deny, protocol: Tcp, destinationPortRanges: ['22']}]
virtualMachines:
  - {name: one, networkInterfaces: [{subnet: v/a, networkSecurityGroup: inner}]}
  - {name: two, networkInterfaces: [{subnet: v/b}]}
flowLogs:
";

const ALL: &str = "
  - {name: outer, targetResourceId: networkSecurityGroups/outer}
  - {name: inner, targetResourceId: networkSecurityGroups/inner}
  - {name: net, targetResourceId: virtualNetworks/v}
";

const ONE: NicId = NicId(0);
const TWO: NicId = NicId(1);

/// A network with its logs, and the time.
struct Bench {
    network: Network,
    compiled: Compiled,
    rules: HashMap<String, RuleId>,
    logs: FlowLogs,
    now: u64,
}

impl Bench {
    fn new(logs: &str) -> Self {
        let network = load(&format!("{LAB}{logs}"), "lab.yaml").unwrap().network;
        let compiled = compile(&network, &Learned::default(), 1);
        let listed = listed_rules(&network);
        let name = |rule: vnet::compile::ListedRule| {
            let owner = match rule.owner {
                vnet::compile::RuleOwner::Nsg(nsg) => network.network_security_groups[nsg.0].name.as_str(),
                vnet::compile::RuleOwner::Collection(_) | vnet::compile::RuleOwner::Firewall { .. } => "org",
            };
            format!("{owner} {}", rule.name)
        };
        let rules = listed.zip((0..).map(RuleId::new)).map(|(rule, id)| (name(rule), id)).collect();
        let mut flow_logs = FlowLogs::default();
        flow_logs.keep_to(&network, &compiled);
        Self { network, compiled, rules, logs: flow_logs, now: 100 }
    }

    fn rule(&self, name: &str) -> RuleId {
        self.rules[name]
    }

    fn note(&mut self, event: FlowEvent) {
        let (rules, now) = (&self.rules, Timestamp(self.now * SECOND));
        self.logs.note(&event, now, clock, |id| names(rules, id));
    }

    fn go_on(&mut self, record: &FlowRecord) {
        let (rules, now) = (&self.rules, Timestamp(self.now * SECOND));
        self.logs.look();
        self.logs.go_on(record, Duration::from_secs(300), now, clock, |id| names(rules, id));
    }

    /// A flow that begins now.
    fn flow(&self, nic: NicId, admitted: Direction, protocol: Protocol, rules: &[&str]) -> FlowRecord {
        let now = Timestamp(self.now * SECOND);
        FlowRecord {
            nic,
            admitted,
            tuple: tuple(protocol, 80),
            state: FlowState::SynSent,
            refused: false,
            rules: rules.iter().map(|name| self.rule(name)).collect(),
            begun: now,
            last: now,
            sent: Traffic::default(),
            received: Traffic { packets: 1, bytes: 60 },
        }
    }

    fn deny(&self, rule: &str, port: u16) -> FlowEvent {
        let (at, rule) = (Timestamp(self.now * SECOND), Some(self.rule(rule)));
        let (nic, direction) = (ONE, Direction::Inbound);
        FlowEvent::Denied(Denial { at, nic, direction, tuple: tuple(Protocol::TCP, port), rule })
    }

    /// What is written now, by the log's index.
    fn cut(&mut self) -> Vec<(usize, Value)> {
        let records = self.logs.cut(START + self.now * 1_000_000);
        let read = |record: LoggedRecord| {
            let value: Value = serde_json::from_str(&record.text).unwrap();
            let kind = if value.get("properties").is_some() { schema::NSG } else { schema::FLOW };
            schema::check(kind, &json!({"records": [value]}));
            (record.log, value)
        };
        records.into_iter().map(read).collect()
    }

    /// How many tuples are written now.
    fn tuples(&mut self) -> usize {
        let records = self.logs.cut(START + self.now * 1_000_000);
        // Each has its protocol and its direction.
        records.iter().map(|record| record.text.matches(",T,I,").count()).sum()
    }

    /// `RULE TUPLE` of one log, the time from the start of the bench.
    fn lines(&mut self, log: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (_, record) in self.cut().iter().filter(|(of, _)| *of == log) {
            let groups = match record.get("properties") {
                Some(properties) => {
                    list(&properties["flows"]).iter().map(|of| (&of["rule"], &of["flows"][0]["flowTuples"])).collect()
                }
                None => list(&record["flowRecords"]["flows"])
                    .iter()
                    .flat_map(|acl| list(&acl["flowGroups"]))
                    .map(|of| (&of["rule"], &of["flowTuples"]))
                    .collect::<Vec<_>>(),
            };
            for (rule, tuples) in groups {
                let rule = rule.as_str().unwrap();
                lines.extend(list(tuples).iter().map(|tuple| format!("{rule} {}", tuple.as_str().unwrap())));
            }
        }
        lines
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn names(rules: &HashMap<String, RuleId>, id: RuleId) -> Option<RuleNames<'_>> {
    let (name, _) = rules.iter().find(|(_, known)| **known == id)?;
    let (owner, name) = name.split_once(' ')?;
    Some(RuleNames { owner, name })
}

fn clock(at: Timestamp) -> u64 {
    START + at.0 / 1000
}

fn tuple(protocol: Protocol, dst_port: u16) -> Tuple {
    let (src, dst) = ("10.0.2.4".parse().unwrap(), "10.0.1.4".parse().unwrap());
    Tuple { src, dst, protocol, src_port: 50_000, dst_port }
}

#[test]
fn cs_48_the_last_group_that_allows_and_the_one_that_denies_log_it() {
    let mut bench = Bench::new(ALL);
    let both = ["outer securityRules/web", "inner defaultSecurityRules/AllowVnetInBound"];
    let flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &both);
    bench.note(FlowEvent::Begun(flow));
    bench.note(bench.deny("outer defaultSecurityRules/DenyAllInBound", 81));
    let records = bench.cut();
    let rules = |log: usize| -> Vec<&Value> {
        let of_log = records.iter().filter(|(of, _)| *of == log);
        of_log.flat_map(|(_, record)| list(&record["properties"]["flows"])).map(|flows| &flows["rule"]).collect()
    };
    assert_eq!(rules(0), ["DefaultRule_DenyAllInBound"]);
    assert_eq!(rules(1), ["DefaultRule_AllowVnetInBound"]);
}

#[test]
fn diag_07_a_groups_log_tells_states_and_no_icmp() {
    let mut bench = Bench::new(ALL);
    let mut flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &["outer securityRules/web"]);
    bench.note(FlowEvent::Begun(flow));
    bench.note(FlowEvent::Begun(bench.flow(ONE, Direction::Inbound, Protocol::ICMP, &["outer securityRules/web"])));
    bench.now += 5;
    (flow.state, flow.last) = (FlowState::Closed, Timestamp(103 * SECOND));
    (flow.sent, flow.received) = (Traffic { packets: 1, bytes: 66 }, Traffic { packets: 2, bytes: 132 });
    bench.note(FlowEvent::Ended(flow));
    let lines = bench.lines(0);
    assert_eq!(
        lines,
        [
            "UserRule_web 1795262500,10.0.2.4,10.0.1.4,50000,80,T,I,A,B,,,,",
            "UserRule_web 1795262503,10.0.2.4,10.0.1.4,50000,80,T,I,A,E,2,132,1,66",
        ],
        "source to destination first: what the guest received"
    );
}

#[test]
fn diag_07_version_1_tells_beginnings_in_eight_fields() {
    let mut bench = Bench::new("  - {name: o, targetResourceId: networkSecurityGroups/outer, format: {version: 1}}\n");
    let flow = bench.flow(ONE, Direction::Inbound, Protocol::UDP, &["outer securityRules/web"]);
    bench.note(FlowEvent::Begun(flow));
    bench.note(FlowEvent::Ended(flow));
    bench.note(bench.deny("outer securityRules/web", 81));
    assert_eq!(
        bench.lines(0),
        [
            "UserRule_web 1795262500,10.0.2.4,10.0.1.4,50000,80,U,I,A",
            "UserRule_web 1795262500,10.0.2.4,10.0.1.4,50000,81,T,I,D",
        ]
    );
}

#[test]
fn diag_08_and_adm_04_a_networks_log_names_administrators_and_tells_all_protocols() {
    let mut bench = Bench::new(ALL);
    bench.note(bench.deny("org ruleCollections/ssh/no-ssh", 22));
    bench.note(bench.deny("org ruleCollections/ssh/no-ssh", 22));
    bench.note(FlowEvent::Begun(bench.flow(TWO, Direction::Inbound, Protocol::ICMP, &[])));
    let mut lines = bench.lines(2);
    lines.sort();
    assert_eq!(
        lines,
        [
            "no-ssh 1795262500000,10.0.2.4,10.0.1.4,50000,22,6,I,D,NX,0,0,0,0",
            "platformrule 1795262500000,10.0.2.4,10.0.1.4,0,0,1,I,B,NX,0,0,0,0",
        ],
        "an attempt is told once a record"
    );
    bench.note(bench.deny("org ruleCollections/ssh/no-ssh", 22));
    assert_eq!(bench.cut().len(), 1, "an administrator's rule is in no group's log");
}

#[test]
fn diag_09_counters_are_differences() {
    let mut bench = Bench::new(ALL);
    let mut flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &["outer securityRules/web"]);
    bench.note(FlowEvent::Begun(flow));
    flow.state = FlowState::Established;
    let mut told = Vec::new();
    for packets in [10, 14, 14, 20] {
        bench.now += 299;
        bench.go_on(&flow);
        bench.now += 1;
        flow.received = Traffic { packets, bytes: packets * 100 };
        bench.go_on(&flow);
        told.extend(bench.lines(0));
    }
    flow.received = Traffic { packets: 21, bytes: 2_100 };
    bench.note(FlowEvent::Ended(flow));
    told.extend(bench.lines(0));
    let counters: Vec<&str> = told.iter().map(|line| line.split_once(",A,").unwrap().1).collect();
    assert_eq!(
        counters,
        ["B,,,,", "C,10,1000,0,0", "C,4,400,0,0", "C,0,0,0,0", "C,6,600,0,0", "E,1,100,0,0"],
        "every five minutes"
    );
}

/// DIAG-09: its end event carries the last counters.
#[test]
fn diag_09_a_flow_that_was_refused_or_is_closed_does_not_continue() {
    let mut bench = Bench::new(ALL);
    let flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &["outer securityRules/web"]);
    bench.note(FlowEvent::Begun(flow));
    bench.lines(0);
    bench.now += 300;
    let states = [(FlowState::Established, true), (FlowState::Closed, false), (FlowState::Closed, true)];
    for (state, refused) in states {
        bench.go_on(&FlowRecord { state, refused, ..flow });
        assert_eq!(bench.lines(0), Vec::<String>::new(), "{state:?}, refused: {refused}");
    }
    bench.go_on(&flow);
    assert_eq!(bench.lines(0).len(), 1, "one that goes on");
}

/// DIAG-09: the end of a flow may be told two scans after the last one that found it. Then what was reported is forgotten.
#[test]
fn diag_09_an_end_event_two_scans_late_still_counts_from_the_last_report() {
    for (scans, told) in [(2, "E,4,400,0,0"), (3, "E,14,1400,0,0")] {
        let mut bench = Bench::new(ALL);
        let mut flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &["outer securityRules/web"]);
        flow.received = Traffic { packets: 10, bytes: 1_000 };
        bench.now += 300;
        bench.go_on(&flow);
        bench.lines(0);
        (0..scans).for_each(|_| bench.logs.look());
        flow.received = Traffic { packets: 14, bytes: 1_400 };
        bench.note(FlowEvent::Ended(flow));
        let lines = bench.lines(0);
        assert!(lines[0].ends_with(told), "{scans} scans: {lines:?}");
        assert!(lines[0].contains(" 1795262800,"), "an idle flow ends when that is found: {lines:?}");
    }
}

/// Memory is bounded: flows beyond those that are remembered do not continue in a log, and are counted.
#[test]
fn so_many_flows_are_remembered_as_continuing() {
    const ROOM: u32 = 1 << 18;
    let mut bench = Bench::new("\n  - {name: outer, targetResourceId: networkSecurityGroups/outer}\n");
    let flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &["outer securityRules/web"]);
    let other = |n: u32| {
        let dst_port = (n & 0xffff) as u16;
        FlowRecord { tuple: Tuple { src_port: (n >> 16) as u16, dst_port, ..flow.tuple }, ..flow }
    };
    bench.now += 300;
    bench.logs.look();
    let go_on = |bench: &mut Bench, record: &FlowRecord| {
        let (rules, now) = (&bench.rules, Timestamp(bench.now * SECOND));
        bench.logs.go_on(record, Duration::from_secs(300), now, clock, |id| names(rules, id));
    };
    for n in 0..ROOM {
        go_on(&mut bench, &other(n));
        if n % 65_536 == 65_535 {
            assert_eq!(bench.tuples(), 65_536);
        }
    }
    assert_eq!(bench.logs.omitted(), 0);
    go_on(&mut bench, &other(ROOM));
    assert_eq!((bench.logs.omitted(), bench.tuples()), (1, 0));
    bench.now += 300;
    go_on(&mut bench, &other(7));
    assert_eq!((bench.logs.omitted(), bench.tuples()), (1, 1), "those that are remembered go on");
}

/// Memory is bounded: one cut has so many tuples, and what is beyond them is counted.
#[test]
fn a_cut_has_room_for_a_hundred_thousand_tuples() {
    const ROOM: u16 = 50_000;
    let mut bench = Bench::new("\n  - {name: outer, targetResourceId: networkSecurityGroups/outer}\n");
    let rule = "outer defaultSecurityRules/DenyAllInBound";
    for port in (0..ROOM).chain(0..ROOM) {
        bench.note(bench.deny(rule, port));
    }
    // An attempt that is denied again is no news.
    assert_eq!(bench.logs.omitted(), 0);
    assert_eq!(bench.tuples(), usize::from(ROOM));
    for from in [50_000, 50_001] {
        for port in 0..ROOM {
            let FlowEvent::Denied(mut denial) = bench.deny(rule, port) else { unreachable!() };
            denial.tuple.src_port = from;
            bench.note(FlowEvent::Denied(denial));
        }
    }
    assert_eq!(bench.logs.omitted(), 0, "as many as there is room for");
    bench.note(bench.deny(rule, 1));
    assert_eq!(bench.logs.omitted(), 1, "every attempt counts as the first where none can be remembered");
    assert_eq!(bench.tuples(), 2 * usize::from(ROOM));
    bench.note(bench.deny(rule, 1));
    assert_eq!((bench.logs.omitted(), bench.tuples()), (1, 1), "the next cut has room again");
}

#[test]
fn adr_15_each_interface_has_a_mac_address_of_its_own_for_life() {
    let macs = |logs: &str, order: [Direction; 2]| {
        let mut bench = Bench::new(logs);
        for (nic, direction) in [ONE, TWO].into_iter().zip(order) {
            bench.note(FlowEvent::Begun(bench.flow(nic, direction, Protocol::TCP, &[])));
        }
        bench.cut().into_iter().map(|(_, record)| record["macAddress"].clone()).collect::<Vec<_>>()
    };
    let first = macs(ALL, [Direction::Inbound, Direction::Outbound]);
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], first[1]);
    let later = macs("  - {name: renamed, targetResourceId: virtualNetworks/v}\n", [Direction::Outbound; 2]);
    assert_eq!(first, later);
}

/// Each key, in Azure's order, and where Azure has the record.
#[test]
fn diag_07_and_08_whole_records_and_their_files() {
    let mut bench = Bench::new(&ALL.replace("/inner}", "/inner, format: {version: 1}}"));
    let both = ["outer securityRules/web", "inner defaultSecurityRules/AllowVnetInBound"];
    bench.note(FlowEvent::Begun(bench.flow(ONE, Direction::Inbound, Protocol::TCP, &both)));
    bench.note(bench.deny("outer defaultSecurityRules/DenyAllInBound", 81));
    let records = bench.logs.cut(START + 100_000_000);
    let texts = records.iter().map(|record| {
        let (directory, file) = (record.directory.display(), record.file());
        format!("{}: {directory}\n{}\n{}\n", record.log, file.display(), record.text)
    });
    let twin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/analysis/flow_log_records.txt");
    golden::check(&twin, &texts.collect::<String>());
}

#[test]
fn diag_08_the_narrowest_log_hears_of_an_interface() {
    let narrower = "
  - {name: net, targetResourceId: virtualNetworks/v}
  - {name: sub, targetResourceId: virtualNetworks/v/subnets/a}
  - {name: nic, targetResourceId: virtualMachines/two/networkInterfaces/eth0}
";
    let mut bench = Bench::new(narrower);
    for nic in [ONE, TWO] {
        bench.note(FlowEvent::Begun(bench.flow(nic, Direction::Inbound, Protocol::TCP, &[])));
    }
    assert_eq!(bench.cut().iter().map(|(log, _)| *log).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn only_interfaces_of_enabled_logs_tell_and_a_log_that_is_turned_off_forgets() {
    let mut bench = Bench::new("  - {name: s, targetResourceId: virtualNetworks/v/subnets/a}\n");
    let logged = |bench: &Bench| [ONE, TWO].map(|nic| bench.compiled.snapshot.nic(nic).flows.logged);
    assert_eq!(logged(&bench), [true, false]);
    bench.note(FlowEvent::Begun(bench.flow(TWO, Direction::Inbound, Protocol::TCP, &[])));
    assert_eq!(bench.cut(), []);
    let off = Bench::new("  - {name: s, targetResourceId: virtualNetworks/v/subnets/a, enabled: false}\n");
    assert_eq!(logged(&off), [false, false]);
    let mut one = Bench::new(
        "\n  - {name: s, targetResourceId: virtualNetworks/v/subnets/a, enabled: false}
  - {name: t, targetResourceId: virtualNetworks/v/subnets/b}\n",
    );
    assert_eq!(logged(&one), [false, true]);
    one.note(FlowEvent::Begun(one.flow(TWO, Direction::Inbound, Protocol::TCP, &[])));
    assert_eq!(one.lines(1).len(), 1, "one of two that is on");
    bench.logs.keep_to(&off.network, &off.compiled);
    assert!(bench.logs.is_idle());
    bench.note(FlowEvent::Begun(bench.flow(ONE, Direction::Inbound, Protocol::TCP, &[])));
    assert_eq!(bench.cut(), []);
}

/// DIAG-09: what was reported before the log was off is in none of its new files.
#[test]
fn diag_09_a_log_that_is_turned_on_again_counts_from_the_flows_begin() {
    let mut bench = Bench::new(ALL);
    let mut flow = bench.flow(ONE, Direction::Inbound, Protocol::TCP, &["outer securityRules/web"]);
    flow.state = FlowState::Established;
    flow.received = Traffic { packets: 10, bytes: 1_000 };
    bench.now += 300;
    bench.go_on(&flow);
    assert!(bench.lines(0)[0].ends_with(",C,10,1000,0,0"));
    let off = Bench::new(
        &ALL.replace("/outer}", "/outer, enabled: false}")
            .replace("/inner}", "/inner, enabled: false}")
            .replace("/v}", "/v, enabled: false}"),
    );
    bench.logs.keep_to(&off.network, &off.compiled);
    bench.logs.keep_to(&bench.network, &bench.compiled);
    flow.received = Traffic { packets: 14, bytes: 1_400 };
    bench.now += 300;
    bench.go_on(&flow);
    let lines = bench.lines(0);
    assert!(lines[0].ends_with(",C,14,1400,0,0"), "{lines:?}");
}

/// Azure's own samples fit, and what differs from them does not.
#[test]
fn diag_07_and_08_the_schemas_accept_what_azure_writes() {
    let nsg = |tuple: &str| {
        let flows = json!([{"rule": "UserRule_x", "flows": [{"mac": "000D3AF8801A", "flowTuples": [tuple]}]}]);
        json!({"records": [{
            "time": "2018-11-13T12:00:35.3899262Z", "systemId": "a0fca5ce-022c-47b1-9735-89943b42f2fa",
            "macAddress": "000D3AF8801A", "category": "NetworkSecurityGroupFlowEvent",
            "resourceId": "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/G",
            "operationName": "NetworkSecurityGroupFlowEvents", "properties": {"Version": 2, "flows": flows}
        }]})
    };
    for good in [
        "1542110377,10.5.16.4,13.67.143.118,59831,443,T,O,A,B,,,,",
        "1542110437,10.5.16.4,13.67.143.118,59831,443,T,O,A,E,1,66,1,66",
        "1542110402,94.102.49.190,10.5.16.4,28746,443,U,I,D,B,,,,",
        "1487282421,192.0.2.95,10.1.0.4,51529,5358,T,I,D",
    ] {
        schema::check(schema::NSG, &nsg(good));
    }
    for bad in [
        "1542110377,10.5.16.4,13.67.143.118,0,0,I,O,A,B,,,,",
        "1542110377,10.5.16.4,13.67.143.118,59831,443,T,O,A,E,,,,",
        "1542110377,10.5.16.4,13.67.143.118,59831,443,T,O,D,E,1,66,1,66",
        "1542110377000,10.5.16.4,13.67.143.118,59831,443,T,O,A,B,,,,",
    ] {
        assert!(!schema::accepts(schema::NSG, &nsg(bad)), "{bad}");
    }
    assert!(!schema::accepts(schema::NSG, &json!({"records": []})));
    assert!(!schema::accepts(schema::FLOW, &nsg("1487282421,192.0.2.95,10.1.0.4,51529,5358,T,I,D")));
}

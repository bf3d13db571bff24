//! `flow-verify`: which rule of an interface decides, apart from routes and the far end (DIAG-05).

use vnet::analysis::{FlowAccess, FlowProtocol, FlowVerifyAnswer, FlowVerifyQuery, flow_verify, parse_end, parse_port};
use vnet::compile::compile;
use vnet::config;
use vnet::model::{Direction, Learned};

const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");
const GUARDRAILS: &str = include_str!("../../config/guardrails.yaml");
const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// `NODE in|out tcp|udp [ADDRESS:]PORT ADDRESS:PORT`.
fn ask(yaml: &str, question: &str) -> Result<FlowVerifyAnswer, String> {
    let network = config::load(yaml, "test.yaml").unwrap_or_else(|errors| panic!("{errors:?}\n{yaml}")).network;
    let compiled = compile(&network, &Learned::default(), 1);
    let [target, direction, protocol, local, remote] = question.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{question}")
    };
    let (address, port) = local.rsplit_once(':').map_or((None, local), |(address, port)| (Some(address), port));
    let (remote, remote_port) = parse_end(remote).unwrap();
    let query = FlowVerifyQuery {
        target: target.to_owned(),
        direction: if direction == "in" { Direction::Inbound } else { Direction::Outbound },
        protocol: if protocol == "tcp" { FlowProtocol::Tcp } else { FlowProtocol::Udp },
        local_address: address.map(|address| address.trim_matches(['[', ']']).parse().unwrap()),
        local_port: parse_port(port).unwrap(),
        remote,
        remote_port,
    };
    flow_verify(&network, &compiled, &query)
}

/// `Allow RULE` or `Deny RULE`, for each question.
fn check(yaml: &str, cases: &[(&str, &str)]) {
    for (question, expected) in cases {
        let answer = ask(yaml, question).unwrap_or_else(|error| panic!("{question}: {error}"));
        let access = match answer.access {
            FlowAccess::Allow => "Allow",
            FlowAccess::Deny => "Deny",
        };
        let found = [access, answer.rule_name.as_deref().unwrap_or("nothing")].join(" ");
        assert_eq!(found, *expected, "{question}");
    }
}

#[test]
fn diag_05_the_rule_that_decides_is_named() {
    check(
        TIERS,
        &[
            ("db in tcp 5432 app:50000", "Allow securityRules/from-app"),
            ("db in tcp 5432 web:50000", "Deny securityRules/deny-vnet"),
            ("db in udp 5432 app:50000", "Deny securityRules/deny-vnet"),
            ("db in tcp 5432 8.8.8.8:50000", "Deny defaultSecurityRules/DenyAllInBound"),
            ("db out tcp 50000 app:80", "Deny securityRules/deny-out"),
            ("web out tcp 50000 10.40.9.9:80", "Allow defaultSecurityRules/AllowVnetOutBound"),
            ("web out udp 50000 8.8.8.8:53", "Allow defaultSecurityRules/AllowInternetOutBound"),
            // In neither VirtualNetwork nor Internet (CS-31).
            ("web out tcp 50000 172.31.0.100:443", "Deny defaultSecurityRules/DenyAllOutBound"),
            ("web in tcp 9999 168.63.129.16:50000", "Allow defaultSecurityRules/AllowVnetInBound"),
        ],
    );
}

/// Inbound the subnet's NSG comes first and outbound the interface's (NSG-10); both must allow, and the last is named.
#[test]
fn diag_05_both_groups_are_asked() {
    check(
        TIERS,
        &[
            ("db2 in tcp 5432 app:50000", "Deny securityRules/deny-all"),
            ("db2 in tcp 5433 app:50000", "Deny securityRules/deny-vnet"),
            ("db2 out tcp 50000 app:80", "Deny securityRules/deny-out"),
        ],
    );
}

/// ADM-01: of an administrator's Allow the NSGs have the last word.
#[test]
fn diag_05_admin_rules_come_first() {
    check(
        GUARDRAILS,
        &[
            ("web in tcp 22 jump:50000", "Allow securityRules/ssh-to-web"),
            ("web in tcp 22 db:50000", "Deny ruleCollections/ssh/no-ssh"),
            ("web in tcp 9100 monitor:50000", "Allow ruleCollections/agents/metrics"),
            ("web in tcp 9100 jump:50000", "Deny securityRules/web-takes-nothing-else"),
        ],
    );
}

/// NSG-11, NSG-30: where no rule is asked, none is named. A route to nowhere changes nothing.
#[test]
fn diag_05_without_a_rule_none_is_named() {
    check(
        HUB_SPOKE,
        &[("nva in tcp 22 8.8.8.8:50000", "Allow nothing"), ("nva out tcp 50000 172.31.0.9:80", "Allow nothing")],
    );
    check(
        TIERS,
        &[
            ("db out udp 50000 168.63.129.16:53", "Allow nothing"),
            ("db out udp 50000 168.63.129.16:54", "Deny securityRules/deny-out"),
        ],
    );
}

/// As for a next hop: the local address must be the interface's own.
#[test]
fn diag_05_the_local_end_is_the_interfaces_own() {
    check(TIERS, &[("db in tcp 10.40.3.4:5432 app:50000", "Allow securityRules/from-app")]);
    for (question, error) in [
        (
            "db in tcp 10.9.9.9:5432 app:50000",
            "SourceIpDoesNotMatchNicIp: 10.9.9.9 is not an address of db, expected 10.40.3.4",
        ),
        ("bd in tcp 5432 app:50000", "unknown node `bd`: did you mean `db`"),
        ("shop/db in tcp 5432 app:50000", "nothing stands in `shop/db` by itself: name a machine or its interface"),
        ("db in tcp 5432 [fd00::4]:50000", "it has no address of the family of fd00::4"),
        ("db in tcp 10.40.3.4:5432 [fd00::4]:50000", "10.40.3.4 and fd00::4 are of two address families"),
    ] {
        let found = ask(TIERS, question).unwrap_err();
        assert!(found.contains(error), "{question}: {found}");
    }
}

/// An appliance with two interfaces must say which (DIAG-06).
#[test]
fn diag_06_a_forwarding_machine_with_several_interfaces_must_name_one() {
    let second = TIERS.replace(
        "{name: app, networkInterfaces: [{subnet: shop/app}]}",
        "{name: app, networkInterfaces: [{subnet: shop/app}, {subnet: shop/web, enableIPForwarding: true}]}",
    );
    assert_ne!(second, TIERS);
    let error = ask(&second, "app in tcp 8080 web:50000").unwrap_err();
    assert_eq!(error, "`app` has several interfaces and forwards: name one of app/eth0, app/eth1");
    check(
        &second,
        &[
            ("app/eth0 in tcp 8080 web:50000", "Allow securityRules/from-web"),
            ("app/eth1 in tcp 443 web:50000", "Allow securityRules/https"),
        ],
    );
}

/// Behind the one TUN of a virtual network any address of a subnet may be asked about.
#[test]
fn diag_05_behind_one_tun() {
    let yaml = include_str!("../../config/two-vnets.yaml");
    check(yaml, &[("a/default out tcp 10.1.0.4:50000 10.2.0.4:80", "Allow nothing")]);
    let error = ask(yaml, "a/default out tcp 50000 10.2.0.4:80").unwrap_err();
    assert!(error.contains("name one"), "{error}");
}

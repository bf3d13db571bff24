//! Guests with firewall rules of their own: what the model cannot know, real packets say.

use std::process::Command;

use serde_json::{Value, json};
use vnet::sys::netns::Netns;
use vnet::sys::packet_filter::{self, Hook, Rules};

use crate::lab::{Lab, has_program, permitted, stderr, stdout};

/// A hub with a firewall between two spokes; everything goes through it.
const HUB: &str = include_str!("firewall/hub.yaml");
/// Web to db by http and https, pings, everything to the Internet; port 8080 of the firewall is port 80 of web.
const RULES: &str = include_str!("firewall/rules.nft");

/// The hub with rules in its firewall; None if that cannot be.
fn firewall(tests: &str) -> Option<Lab> {
    if !permitted() || !has_program("nft") {
        return None;
    }
    let lab = Lab::up(&format!("{HUB}tests:\n{tests}"))?;
    load(&lab, "fw", RULES);
    Some(lab)
}

fn load(lab: &Lab, node: &str, rules: &str) {
    let file = lab.file.with_extension("nft");
    std::fs::write(&file, rules).unwrap();
    let loaded = lab.exec(node, &["nft", "-f", file.to_str().unwrap()]);
    assert!(loaded.status.success(), "{}", stderr(&loaded));
}

fn explain(lab: &Lab, from: &str, to: &str) -> (Option<i32>, Value) {
    let output = lab.vnet(&["explain", from, to, "-o", "json"]);
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (output.status.code(), answer)
}

#[test]
fn explain_is_settled_by_a_real_packet_where_a_guest_has_rules() {
    let Some(lab) = firewall("") else { return };
    let ways = [
        ("web", "db:443", "reachable", Value::Null),
        ("web", "db:22", "blocked", json!("fw")),
        ("web", "db", "reachable", Value::Null),
        ("web", "db:53/udp", "blocked", json!("fw")),
        ("db", "web:80", "blocked", json!("fw")),
        // The model has no way there without `masquerade`, and the rules have one.
        ("web", "internet:443", "reachable", Value::Null),
        // A port of the firewall that leads to another machine, where only vnet listens.
        ("internet", "203.0.113.80:8080", "reachable", Value::Null),
        ("web", "fw:22", "reachable", Value::Null),
    ];
    for (from, to, verdict, lost) in ways {
        let (code, answer) = explain(&lab, from, to);
        assert_eq!(answer["verdict"], verdict, "{from} {to}: {answer:#}");
        assert_eq!(answer["settled"]["verdict"], verdict);
        assert_eq!(answer["settled"]["lost"]["at"], lost, "{from} {to}: {answer:#}");
        assert_eq!(answer["guestRules"][0]["node"], "fw");
        assert_eq!(code, Some(i32::from(verdict == "blocked")), "{from} {to}");
        assert_eq!(answer["cause"].is_null(), verdict == "reachable", "{from} {to}: {answer:#}");
    }
    let (_, answer) = explain(&lab, "web", "db:443");
    let guest = json!({"node": "fw", "rules": 9, "hooks": ["prerouting", "forward", "postrouting"]});
    assert_eq!(answer["guestRules"], json!([guest]));
    assert_eq!((&answer["settled"]["via"], &answer["settled"]["viaReturn"]), (&json!(["fw"]), &json!(["fw"])));
    let text = stdout(&lab.vnet(&["explain", "web", "db:22"]));
    for part in [
        "the guest forwards it unchanged, if its own 9 firewall rules let it",
        "fw has 9 firewall rules of its own (prerouting, forward, postrouting); this program does not evaluate them",
        "was not answered: fw got the packet and did not send it on",
        "vnet exec fw -- nft list ruleset",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Past rules that are gone the model knows again.
    load(&lab, "fw", "flush ruleset\n");
    let (code, answer) = explain(&lab, "web", "db:22");
    assert_eq!((code, &answer["verdict"], &answer["guestRules"]), (Some(0), &json!("reachable"), &Value::Null));
}

/// A translated flow is followed through the guest's connection tracking.
#[test]
fn a_flow_is_followed_under_the_names_that_a_guest_gives_it() {
    let Some(lab) = firewall("") else { return };
    for (from, to, via) in [("web", "internet:443", json!(["fw"])), ("internet", "203.0.113.80:8080", json!(["fw"]))] {
        let (_, answer) = explain(&lab, from, to);
        assert_eq!(answer["settled"]["via"], via, "{from} {to}: {answer:#}");
        assert_eq!(answer["settled"]["viaReturn"], via, "{from} {to}: {answer:#}");
    }
}

#[test]
fn reach_is_settled_by_real_packets_where_a_guest_has_rules() {
    let Some(lab) = firewall("") else { return };
    let answer = lab.data(&["reach", "-p", "80"]);
    let verdict = |from: &str, to: &str| {
        let pairs = answer["pairs"].as_array().unwrap();
        let pair = pairs.iter().find(|pair| pair["source"] == from && pair["destination"] == to).unwrap();
        assert_eq!(pair["verdict"], pair["settled"]["verdict"], "{pair:#}");
        assert_eq!(pair["guestRules"][0]["node"], "fw", "{pair:#}");
        pair["verdict"].clone()
    };
    assert_eq!(
        [verdict("web", "db"), verdict("db", "web"), verdict("web", "fw")],
        ["reachable", "blocked", "reachable"]
    );
    let matrix = stdout(&lab.vnet(&["reach", "-p", "80"]));
    for part in ["via fw *", "no *", "*: settled by a real packet", "5 of 6 reachable"] {
        assert!(matrix.contains(part), "{part}: {matrix}");
    }
}

#[test]
fn test_takes_the_packets_answer_where_a_guest_has_rules() {
    let tests = "  - {name: web, from: web, to: db, port: 443, expect: reachable, via: [fw], viaReturn: [fw]}
  - {name: no ssh, from: web, to: db, port: 22, expect: blocked}
  - {name: not back, from: db, to: web, port: 80, expect: blocked}
  - {name: out, from: web, to: internet, port: 443, expect: reachable, via: [fw], viaReturn: [fw]}
  - {name: in, from: internet, to: 203.0.113.80, port: 8080, expect: reachable, via: [fw]}
  - {name: wrong, from: web, to: db, port: 23, expect: reachable}
  - {name: wrong way, from: web, to: db, port: 80, expect: reachable, notVia: [fw]}
  - {name: packets alone, from: web, to: fw, port: 22, expect: reachable, packetsOnly: true}
";
    let Some(lab) = firewall(tests) else { return };
    let output = lab.vnet(&["test", "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed = report["tests"].as_array().unwrap().iter().filter(|test| test["passed"] == false);
    let failed: Vec<_> = failed.map(|test| (test["name"].clone(), test["problems"][0]["text"].clone())).collect();
    let lost = "the file expects reachable, the packets say blocked: fw got the packet and did not send it on; \
                the model says that the firewall rules of fw decide";
    let way = "expected the packet not to pass fw, but it goes via fw";
    assert_eq!(failed, [(json!("wrong"), json!(lost)), (json!("wrong way"), json!(way))], "{report:#}");
    assert_eq!((&report["passed"], &report["skipped"]), (&json!(6), &json!(0)));
}

/// Where the model cannot know a guest's rules, a test may ask packets alone.
#[test]
fn packets_alone_are_asked_where_the_file_or_a_switch_says_so() {
    if !permitted() {
        return;
    }
    let tests = "  - {name: alone, from: web, to: internet, port: 443, expect: blocked, packetsOnly: true}
  - {name: both, from: web, to: db, port: 443, expect: reachable, rule: securityRules/all}
";
    let Some(lab) = Lab::up(&format!("{HUB}tests:\n{tests}")) else { return };
    let model = lab.vnet(&["test", "--model-only", lab.file.to_str().unwrap()]);
    assert_eq!(model.status.code(), Some(0), "{}", stderr(&model));
    assert!(stdout(&model).contains("ok 1 - alone # SKIP only real packets are to be asked"), "{}", stdout(&model));
    let packets = lab.vnet(&["test", "--packets-only"]);
    assert_eq!(packets.status.code(), Some(0), "{}{}", stdout(&packets), stderr(&packets));
}

/// Rules of the older tables count, and only where a packet meets them.
#[test]
fn rules_count_where_a_packet_meets_them() {
    if !permitted() || !has_program("nft") || !has_program("iptables-legacy") {
        return;
    }
    let Some(lab) = Lab::up(HUB) else { return };
    let met = |from: &str, to: &str| explain(&lab, from, to).1["guestRules"].clone();
    load(&lab, "fw", "table inet own { chain in { type filter hook input priority filter; tcp dport 22 drop; }; }");
    assert_eq!(met("web", "db:443"), Value::Null);
    assert_eq!(met("web", "fw:443"), json!([{"node": "fw", "rules": 1, "hooks": ["input"]}]));
    // A chain without rules that drops everything is a rule.
    load(
        &lab,
        "fw",
        "flush ruleset; table inet own { chain f { type filter hook forward priority filter; policy drop; }; }",
    );
    assert_eq!(met("web", "db:443"), json!([{"node": "fw", "rules": 1, "hooks": ["forward"]}]));
    assert_eq!(met("web", "fw:443"), Value::Null);
    load(&lab, "fw", "flush ruleset");
    let legacy = |arguments: &[&str]| {
        let done = lab.exec("db", &[&["iptables-legacy"], arguments].concat());
        assert!(done.status.success(), "{}", stderr(&done));
    };
    for rule in
        [&["-N", "own"][..], &["-A", "own", "-p", "tcp", "--dport", "22", "-j", "DROP"], &["-A", "INPUT", "-j", "own"]]
    {
        legacy(rule);
    }
    legacy(&["-P", "FORWARD", "DROP"]);
    assert_eq!(met("web", "db:22"), json!([{"node": "db", "rules": 2, "hooks": ["input"]}]));
    let (code, answer) = explain(&lab, "web", "db:22");
    assert_eq!((code, &answer["settled"]["lost"]["at"]), (Some(1), &json!("db")), "{answer:#}");
    assert_eq!(explain(&lab, "web", "db:23").0, Some(0));
}

/// What jumps reach stands where they come from; tables of bridges and ARP do not matter.
#[test]
fn chains_count_at_the_hooks_that_lead_to_them() {
    if !permitted() || !has_program("nft") {
        return;
    }
    let namespace = Netns::create().unwrap();
    let rules = "table ip a {
            chain x { drop; }
            chain y { counter; jump z; }
            chain z { accept; accept; }
            chain unused { drop; drop; drop; }
            chain f { type filter hook forward priority filter; jump y; }
            chain o { type filter hook output priority filter; tcp dport vmap { 22 : jump x }; }
        }
        table arp b { chain i { type filter hook input priority filter; policy drop; }; }
        table ip6 c { chain p { type filter hook postrouting priority filter; drop; }; }
        table inet known { chain p { type filter hook postrouting priority filter; drop; }; }";
    let load = || Command::new("nft").arg(rules).status().unwrap();
    assert!(namespace.run(load).unwrap().success());
    let counted = |known| {
        let mut counted = namespace.run(|| packet_filter::rules(known)).unwrap().unwrap();
        counted.sort_by_key(|rules| (rules.hooks.clone(), rules.count));
        counted
    };
    let there = |(ipv4, ipv6), hooks: &[Hook], count| Rules { ipv4, ipv6, hooks: hooks.to_vec(), count };
    let (four, six) = ((true, false), (false, true));
    let both = [Hook::Forward, Hook::Output];
    let mut expected = vec![
        there(four, &[Hook::Forward], 1),
        // A map of verdicts may lead to any chain of its table.
        there(four, &both, 2),
        there(four, &both, 2),
        there(four, &[Hook::Output], 1),
        there(four, &[Hook::Output], 1),
        there(four, &[Hook::Output], 3),
        there(six, &[Hook::Postrouting], 1),
    ];
    assert_eq!(counted(Some("known")), expected);
    expected.push(there((true, true), &[Hook::Postrouting], 1));
    assert_eq!(counted(None).len(), expected.len());
}

/// A firewall with a slow script: no packet is sent before its rules are there.
fn slow_firewall(script: &str, tests: &str) -> Option<Lab> {
    if !permitted() || !has_program("nft") {
        return None;
    }
    let lab = Lab::prepared("");
    let rules = lab.file.with_extension("nft");
    std::fs::write(&rules, RULES).unwrap();
    let script = script.replace("RULES", rules.to_str().unwrap());
    let script = format!("      {}\n", script.replace('\n', "\n      "));
    let fw = HUB.replace("  - {name: fw, networkInterfaces: [", "  - name: fw\n    networkInterfaces: [");
    let fw = fw.replace("publicIPAddress: fw-ip}]}\n", &format!("publicIPAddress: fw-ip}}]\n    run: |\n{script}"));
    lab.write(&format!("{fw}tests:\n{tests}"));
    Some(lab)
}

const LET_AND_DROPPED: &str = "  - {from: web, to: db, port: 443, expect: reachable, via: [fw]}
  - {from: web, to: db, port: 22, expect: blocked}
  - {from: web, to: db, port: 23, expect: blocked, packetsOnly: true}
";

/// The lab waits for a script that sleeps before it loads its rules, and for one with a child that loads them later.
#[test]
fn test_waits_for_rules_that_scripts_load() {
    let scripts = ["sleep 1.5\nnft -f RULES", "(sleep 1.5; nft -f RULES) &", "nft -f RULES\nexec sleep infinity"];
    for script in scripts {
        let Some(lab) = slow_firewall(script, LET_AND_DROPPED) else { return };
        let output = lab.test(&[]);
        assert_eq!(output.status.code(), Some(0), "{script}: {}{}", stdout(&output), stderr(&output));
        let waited = stderr(&output).contains("waiting for the programs of fw to end or be quiet");
        assert_eq!(waited, script.contains("sleep 1"), "{script}: {}", stderr(&output));
        assert!(stdout(&output).contains("fw has 9 firewall rules of its own"), "{}", stdout(&output));
    }
}

/// Rules that come later than the wait allows: the model is asked again, and then the packets.
#[test]
fn a_disagreement_is_asked_again_where_rules_have_changed() {
    // The rules come with the first packet of the test that they are about.
    let script = "tcpdump -lni any -c 1 'tcp dst port 22' >/dev/null\nnft -f RULES";
    if !has_program("tcpdump") {
        return;
    }
    // The second takes its time.
    let tests = "  - {name: dropped, from: web, to: db, port: 22, expect: blocked}
  - {from: web, to: 10.82.0.99, port: 443, expect: blocked}\n";
    let Some(lab) = slow_firewall(script, tests) else { return };
    let output = lab.test(&[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("asked twice: firewall rules of guests changed meanwhile"), "{}", stdout(&output));
}

/// A program that ends with an error is a failure of its own, with its last lines, in every format.
#[test]
fn a_program_that_fails_fails_the_tests() {
    let tests = "  - {from: web, to: db, port: 443, expect: reachable}\n";
    let Some(lab) = slow_firewall("sleep 0.5\necho about to fail\nnft -f /nowhere", tests) else { return };
    let junit = lab.file.with_extension("xml");
    let output = lab.test(&["--junit", junit.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    let tap = stdout(&output);
    assert!(tap.starts_with("TAP version 14\n1..2\nok 1 - "), "{tap}");
    for part in ["not ok 2 - program of fw\n  ---\n", "ended: exit status: 1", "- about to fail\n", "/nowhere"] {
        assert!(tap.contains(part), "{part}: {tap}");
    }
    assert!(stderr(&output).contains("1 passed, 0 failed, 1 program failed, "), "{}", stderr(&output));
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(junit.contains(r#"tests="2" failures="1" errors="0""#) && junit.contains("about to fail"), "{junit}");

    // A lab that runs says the same, and `status` with it, until the program is another one.
    assert_eq!(lab.start().status.code(), Some(0), "it fails later than `up` looks");
    let report: Value = serde_json::from_slice(&lab.vnet(&["test", "-o", "json"]).stdout).unwrap();
    assert_eq!(report["failedPrograms"][0]["node"], "fw", "{report:#}");
    let status = lab.vnet(&["status"]);
    assert_eq!(status.status.code(), Some(3), "{}", stderr(&status));
    assert!(stdout(&status).contains("`sh -ec sleep 0.5 …`, ended: exit status: 1\n"), "{}", stdout(&status));
    assert!(stderr(&status).contains("about to fail"), "{}", stderr(&status));
    let events = stdout(&lab.vnet(&["events", "-o", "tsv"]));
    assert!(events.lines().all(|line| line.split('\t').count() == 4), "{events}");
    assert!(events.contains("sleep 0.5 …`: exit status: 1\n"), "{events}");
    let text = std::fs::read_to_string(&lab.file).unwrap().replace("nft -f /nowhere", "exec sleep infinity");
    let applied = lab.apply(&text);
    assert_eq!(applied.status.code(), Some(0), "{}", stderr(&applied));
    assert_eq!(lab.vnet(&["test"]).status.code(), Some(0));
    let status = lab.vnet(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", stderr(&status));
    assert!(stdout(&status).contains("`sh -ec sleep 0.5 …`, runs\n"), "{}", stdout(&status));
}

/// A loop is no start: what a program does for the third time is not waited for, and what it has started before is.
#[test]
fn test_does_not_wait_for_loops() {
    if !has_program("python3") {
        return;
    }
    let sleeps = "exec python3 -c 'import time\nwhile True: time.sleep(0.3)'";
    let scripts = [
        "nft -f RULES\nwhile true; do date; sleep 0.3; done",
        &format!("nft -f RULES\n{sleeps}"),
        "(sleep 2; nft -f RULES) &\nwhile true; do sleep 0.1; done",
    ];
    for script in scripts {
        let Some(lab) = slow_firewall(script, LET_AND_DROPPED) else { return };
        let output = lab.test(&[]);
        assert_eq!(output.status.code(), Some(0), "{script}: {}{}", stdout(&output), stderr(&output));
        assert!(!stderr(&output).contains("not quiet yet"), "{script}: {}", stderr(&output));
        assert!(stdout(&output).contains("fw has 9 firewall rules of its own"), "{script}: {}", stdout(&output));
    }
}

//! `vnet test` in the model alone, as scripts meet it: TAP, JUnit, data, exit codes. With real packets: `tests/netns`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// A topology's file, with these tests in place of its own.
struct Topology {
    dir: TempDir,
}

impl Topology {
    fn hub_spoke(tests: &str) -> Self {
        let (body, _) = HUB_SPOKE.split_once("\ntests:").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lab.yaml"), format!("{body}\ntests:\n{tests}")).unwrap();
        Self { dir }
    }

    fn test(&self, arguments: &[&str]) -> Output {
        vnet(&[&["test", "--model-only", "lab.yaml"], arguments].concat(), self.dir.path())
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap()
    }
}

fn vnet(arguments: &[&str], directory: &Path) -> Output {
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    vnet.args(arguments).current_dir(directory).env_remove("VNET_LAB").env("NO_COLOR", "1").stdin(Stdio::null());
    vnet.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The text of each problem of the only test.
fn problems(test: &str) -> Vec<String> {
    let output = Topology::hub_spoke(&format!("  - {test}\n")).test(&["-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let problems = report["tests"][0]["problems"].as_array().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!problems.is_empty())));
    problems.iter().map(|problem| problem["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_pass() {
    for file in ["config/hub-spoke.yaml", "config/nsg-tiers.yaml"] {
        let output = vnet(&["test", "--model-only", file], Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let stdout = text(&output.stdout);
        let mut lines = stdout.lines();
        assert_eq!(lines.next(), Some("TAP version 14"));
        let count: usize = lines.next().unwrap().strip_prefix("1..").unwrap().parse().unwrap();
        let results: Vec<_> = lines.collect();
        assert_eq!(results.len(), count, "{stdout}");
        for (index, line) in results.iter().enumerate() {
            assert!(line.starts_with(&format!("ok {} - ", index + 1)), "{line}");
        }
        assert!(text(&output.stderr).contains(&format!("{count} passed, 0 failed, in the model alone")));
    }
}

#[test]
fn a_failure_says_why_and_what_to_do() {
    let tests = "  - {from: web, to: db, expect: reachable}\n  \
                 - {name: 'a #1 <b> \\', from: db, to: web, port: 80, protocol: Udp, expect: reachable, rule: securityRules/https}\n  \
                 - {from: web, to: 'fd00::1', expect: blocked}\n";
    let topology = Topology::hub_spoke(tests);
    let output = topology.test(&["--junit", "out.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
TAP version 14
1..3
ok 1 - web to db, ping: reachable
not ok 2 - a \\#1 <b> \\\\
  ---
  problems:
  - \"expected securityRules/https to decide, but: NSG app on subnet spoke1/app, rule ";
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with(expected), "{stdout}");
    assert!(stdout.contains("not ok 3 - web to fd00::1, ping: blocked\n  ---\n  problems:\n"), "{stdout}");
    assert!(stdout.contains("source and destination have no address family in common"), "{stdout}");
    assert!(stdout.ends_with("  ...\n"), "{stdout}");

    let junit = topology.read("out.xml");
    let counts = r#"tests="3" failures="1" errors="1" skipped="0""#;
    assert!(junit.contains(&format!("<testsuite name=\"hub-spoke\" {counts}")), "{junit}");
    assert!(junit.contains("<testcase classname=\"hub-spoke\" name=\"web to db, ping: reachable\" time=\"0.000\"/>"));
    assert!(junit.contains("name=\"a #1 &lt;b&gt; \\\""), "{junit}");
    assert!(junit.contains("type=\"rule\">") && junit.contains("type=\"unasked\">"), "{junit}");
    assert_eq!(junit.matches("<testcase").count(), junit.matches("</testcase>").count() + 1);
}

#[test]
fn every_expectation_can_fail() {
    let blocked = problems("{from: web, to: 10.2.1.99, expect: reachable}");
    assert_eq!(blocked, ["the file expects reachable, but the model says blocked (NoEndpoint)"]);
    let reachable = problems("{from: web, to: db, expect: blocked}");
    assert_eq!(reachable, ["the file expects blocked, but the model says reachable"]);
    let way = problems("{from: web, to: nva, expect: reachable, via: [db], viaReturn: [db]}");
    assert_eq!(
        way,
        [
            "expected the packet to go via db, but it goes past no machine",
            "expected the answer to go via db, but it goes past no machine"
        ]
    );
    let around = problems("{from: web, to: db, expect: reachable, notVia: [nva]}");
    assert_eq!(
        around,
        [
            "expected the packet not to pass nva, but it goes via nva",
            "expected the answer not to pass nva, but it goes via nva"
        ]
    );
    let rule = problems("{from: nva, to: db, port: 22, expect: reachable, rule: securityRules/https}");
    assert_eq!(rule, ["expected securityRules/https to decide, but: no rule does"]);
    assert_eq!(problems("{from: web, to: db, expect: reachable, via: [nva], viaReturn: [NVA]}"), [""; 0]);
}

#[test]
fn a_blocked_packet_has_its_cause_and_fix() {
    let (body, _) = include_str!("../../config/nsg-tiers.yaml").split_once("\ntests:").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tests = "tests: [{from: web, to: db, port: 5432, expect: reachable}]";
    fs::write(dir.path().join("tiers.yaml"), format!("{body}\n{tests}\n")).unwrap();
    let output = vnet(&["test", "--model-only", "tiers.yaml"], dir.path());
    let stdout = text(&output.stdout);
    for part in [
        "the file expects reachable, but the model says blocked (NsgInbound)",
        "rule securityRules/deny-vnet",
        "fix: add an allow rule to NSG db-tier",
        "networkSecurityGroups[2].securityRules[3]",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    let refused = |tests: &str, arguments: &[&str], reason: &str| {
        let output = Topology::hub_spoke(tests).test(arguments);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    };
    refused("  []\n", &[], "lab.yaml has no tests");
    refused("  - {from: web, to: nobody, expect: reachable}\n", &[], "there is no virtual machine `nobody`");
    refused("  - {from: web, to: db, expect: reachable}\n", &["--junit", "no/where.xml"], "cannot write no/where.xml");
}

/// Every file of `config/` with its tests, each of which fails without what it shows. Where only real packets know, the model
/// skips it: `tests/netns/examples.rs` asks those.
/// `-l` is not passed over where it names no lab.
#[test]
fn a_lab_that_is_named_must_run() {
    let topology = Topology::hub_spoke("  - {from: web, to: db, port: 443, expect: reachable}\n");
    let output = vnet(&["-l", "no-such-lab", "test", "--model-only", "lab.yaml"], topology.dir.path());
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no-such-lab"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("leave `-l` out"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn each_test_of_config_fails_without_what_it_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(root.join("config")).unwrap().map(|entry| entry.unwrap().path());
    let mut problems = Vec::new();
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let whole = vnet(&["test", "--model-only", file.to_str().unwrap()], root);
        let without = vnet(&["test", "--model-only", "--without", file.to_str().unwrap()], root);
        for output in [&whole, &without] {
            if output.status.code() != Some(0) {
                problems.push(format!("{name}: {}{}", text(&output.stdout), text(&output.stderr)));
            }
        }
        let mute = text(&without.stdout).lines().filter(|line| line.ends_with("# SKIP it has no `without`")).count();
        if mute > 0 {
            problems.push(format!("{name}: {mute} tests do not say what they show: give them a `without:`"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_test_that_passes_without_what_it_shows_is_found() {
    let shown =
        "{from: web, to: db, port: 443, expect: reachable, without: virtualNetworks/spoke1/subnets/app/routeTable}";
    let idle =
        "{from: web, to: nva, port: 22, expect: reachable, without: virtualNetworks/spoke2/subnets/db/routeTable}";
    let mute = "{from: web, to: nva, port: 22, expect: reachable}";
    let topology = Topology::hub_spoke(&format!("  - {shown}\n  - {idle}\n  - {mute}\n"));
    assert_eq!(topology.test(&[]).status.code(), Some(0));
    let output = topology.test(&["--without"]);
    assert_eq!(output.status.code(), Some(1));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        stdout.contains("ok 1 - web to db, tcp/443: reachable, without virtualNetworks/spoke1/subnets/app/routeTable"),
        "{stdout}"
    );
    assert!(stdout.contains("not ok 2 - "), "{stdout}");
    assert!(stdout.contains("it passes without that, too"), "{stdout}");
    assert!(stdout.contains("ok 3 - web to nva, tcp/22: reachable # SKIP it has no `without`"), "{stdout}");
    assert!(stderr.contains("1 passed, 1 failed, 1 skipped"), "{stderr}");
}

#[test]
fn what_is_left_without_it_must_be_valid() {
    let topology = Topology::hub_spoke(
        "  - {from: web, to: db, expect: reachable, without: virtualNetworks/spoke1/subnets/app/addressPrefix}\n",
    );
    let output = topology.test(&["--without"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("`without` of test 1 leaves a topology that is not valid"),
        "{}",
        text(&output.stderr)
    );
}

/// The model answers what it can: routes, rules, names and shares. The rest is for real packets, unless nothing gets there.
#[test]
fn the_model_answers_what_it_can() {
    let problem = |test: &str| problems(test).concat();
    assert_eq!(problem("{on: web, routes: 10.0.0.0/8 via 10.0.1.4}"), "");
    assert_eq!(
        problem("{on: web, routes: 10.9.0.0/16}"),
        "expected 10.9.0.0/16, but the model says no route for 10.9.0.0/16"
    );
    assert_eq!(problem("{on: web, rules: [https, {name: AllowVnetInBound, access: Allow}]}"), "");
    assert!(problem("{on: web, rules: {absent: https}}").contains("securityRules/https Inbound Allow of priority 100"));
    assert_eq!(problem("{on: web, dns: {name: db, absent: true}}"), "", "names end at the network's border");
    assert_eq!(
        problem("{on: web, dns: {name: web, answer: 10.1.1.9}}"),
        "expected A 10.1.1.9, but the model says A 10.1.1.4"
    );
    assert_eq!(problem("{from: web, to: db, port: 80, flows: {atLeast: 1, over: [nva]}}"), "");
    assert_eq!(
        problem("{from: web, to: db, port: 80, flows: 2}"),
        "expected flows at 2 machines or more, but the model says flows at nva alone"
    );
    let blocked = "but the model says blocked (NoEndpoint)";
    assert_eq!(problem("{from: web, http: 'http://10.2.1.99/'}"), format!("expected status 200, {blocked}"));
    assert_eq!(problem("{from: web, to: 10.2.1.99, latency: 5ms}"), format!("expected less than 5.00 ms, {blocked}"));
    assert!(problem("{from: web, to: 10.2.1.99, throughput: 1Mbit/s}").ends_with(blocked));
    for open in [
        "{from: web, http: 'http://db/'}",
        "{on: web, exec: hostname}",
        "{from: web, to: db, latency: 5ms}",
        "{on: web, routes: 10.0.0.0/8, packetsOnly: true}",
        "{on: web, dns: web, packetsOnly: true}",
    ] {
        let stdout = text(&Topology::hub_spoke(&format!("  - {open}\n")).test(&[]).stdout);
        assert!(stdout.contains("# SKIP "), "{open}: {stdout}");
    }
}

/// What a server of the user's own says is no business of the model.
#[test]
fn names_are_foretold_where_the_platform_alone_is_asked() {
    let topology = Topology::hub_spoke("  - {on: web, dns: {name: web, answer: 10.1.1.9}}\n");
    let wrong = topology.test(&[]);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong.stdout));
    let own = "  - name: spoke1\n    dhcpOptions: {dnsServers: [10.2.1.10]}\n";
    let own = topology.read("lab.yaml").replace("  - name: spoke1\n", own);
    fs::write(topology.dir.path().join("lab.yaml"), own).unwrap();
    let open = text(&topology.test(&[]).stdout);
    assert!(open.contains("# SKIP servers outside the lab answer web"), "{open}");
}

#[test]
fn a_change_is_asked_of_both_files() {
    let topology = Topology::hub_spoke("  - {from: web, to: db, port: 443, during: apply other.yaml}\n");
    let other = |text: String| fs::write(topology.dir.path().join("other.yaml"), text).unwrap();
    let missing = topology.test(&[]);
    assert_eq!(missing.status.code(), Some(2));
    let said = text(&missing.stderr);
    assert!(
        said.contains("error: there is no file other.yaml to apply") && said.contains("= at: tests[0].during"),
        "{said}"
    );
    let (body, _) = HUB_SPOKE.split_once("\ntests:").unwrap();
    other(body.to_owned());
    assert!(
        text(&topology.test(&[]).stdout)
            .contains("ok 1 - web to db: at most 0 lost while other.yaml is applied # SKIP")
    );
    other(
        body.replace("spoke2-hub", "spoke2-elsewhere").replace("enableIPForwarding: true", "enableIPForwarding: false"),
    );
    let broken = topology.test(&[]);
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken.stderr));
    assert!(
        text(&broken.stdout).contains("reachable before other.yaml is applied, blocked"),
        "{}",
        text(&broken.stdout)
    );
    other("virtualNetworks: 1\n".to_owned());
    assert_eq!(topology.test(&[]).status.code(), Some(2), "its mistakes are shown");
}

#[test]
fn a_warning_and_a_skipped_test_fail_nothing() {
    let topology = Topology::hub_spoke(
        "  - {from: web, to: db, expect: blocked, severity: warning}\n  - {from: web, to: db, expect: blocked, skip: later}\n",
    );
    let output = topology.test(&["--junit", "out.xml"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{stdout}");
    assert!(stdout.contains("not ok 1 - web to db, ping: blocked # TODO a warning\n  ---\n"), "{stdout}");
    assert!(stdout.contains("ok 2 - web to db, ping: blocked # SKIP later"), "{stdout}");
    assert!(text(&output.stderr).contains("0 passed, 0 failed, 1 warning, 1 skipped"), "{}", text(&output.stderr));
    let junit = topology.read("out.xml");
    assert!(junit.contains(r#"tests="2" failures="0" errors="0" skipped="2""#), "{junit}");
    assert!(junit.contains("<skipped message=\"warning: the file expects blocked"), "{junit}");
    let report: Value = serde_json::from_slice(&topology.test(&["-o", "json"]).stdout).unwrap();
    assert_eq!((&report["warnings"], &report["tests"][0]["severity"]), (&1.into(), &"warning".into()), "{report:#}");
    assert_eq!(report["tests"][1]["skipped"], "later");
}

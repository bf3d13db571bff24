//! `vnet test` with real packets: both answers, compared; what it starts, it removes.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use vnet::sys::process::{ProcessId, Signal};

use crate::lab::{Lab, SOON, eventually, permitted, stderr, stdout, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");
const DUAL_STACK: &str = include_str!("../../config/dual-stack.yaml");
const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");

/// A topology with other tests than its own.
fn with_tests(topology: &str, tests: &str) -> String {
    let body = topology.split_once("\ntests:").map_or(topology, |(body, _)| body);
    format!("{body}\ntests:\n{tests}")
}

/// Every pair of the example in four ways, and six unused addresses.
fn thirty_tests() -> String {
    let pairs = [("web", "db", true), ("db", "web", true), ("web", "nva", false), ("nva", "web", false)];
    let pairs = pairs.into_iter().chain([("db", "nva", false), ("nva", "db", false)]);
    let probes = ["protocol: Icmp", "port: 443", "port: 22", "protocol: Udp, port: 53"];
    let reachable = pairs.flat_map(|(from, to, through)| {
        let way = if through { "via: [nva], viaReturn: [nva]" } else { "notVia: [web, db]" };
        probes.map(|probe| format!("  - {{from: {from}, to: {to}, {probe}, expect: reachable, {way}}}\n"))
    });
    let unused = [("web", "10.2.1.99"), ("db", "10.1.1.99"), ("nva", "10.1.1.99")];
    let unused = unused.into_iter().flat_map(|(from, to)| {
        ["protocol: Icmp", "port: 443"]
            .map(|probe| format!("  - {{from: {from}, to: {to}, {probe}, expect: blocked}}\n"))
    });
    reachable.chain(unused).collect()
}

#[test]
fn thirty_tests_agree_with_the_model() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&with_tests(HUB_SPOKE, &thirty_tests()));
    let output = test(&lab, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(stdout(&output).lines().filter(|line| line.starts_with("ok ")).count(), 30, "{}", stdout(&output));
}

/// The command's own lab, which must be gone with it.
fn assert_nothing_left(lab: &Lab, pid: u32) {
    let ends_with = format!("-test-{pid}");
    let left = |dir: &str| {
        let entries = fs::read_dir(dir).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(&ends_with)).collect::<Vec<_>>()
    };
    assert_eq!([left("/run/vnet"), left("/run/netns"), left("/etc/netns")].concat(), [""; 0], "of {}", lab.name);
}

/// Runs a file's tests in a lab of their own; fails if that does not end in time.
fn test(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = vnet();
    command.arg("test").arg(&lab.file).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    let deadline = Instant::now() + SOON;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            interrupt(&mut child);
            panic!("it took too long: {}", stderr(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_nothing_left(lab, pid);
    child.wait_with_output().unwrap()
}

fn interrupt(child: &mut Child) {
    ProcessId::of(child.id()).unwrap().signal(Signal::INT).unwrap();
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

#[test]
fn thirty_tests_pass_in_a_lab_of_their_own() {
    if !permitted() {
        return;
    }
    let four = |port: u16| {
        let db = if port == 2 { "reachable" } else { "blocked, rule: securityRules/deny-vnet" };
        format!(
            "  - {{from: app, to: db, port: 543{port}, expect: {db}}}\n  \
             - {{from: web, to: app, port: 808{port}, expect: blocked}}\n  \
             - {{from: app, to: web, port: 44{port}, expect: reachable}}\n  \
             - {{from: app, to: db, protocol: Udp, port: 5{port}, expect: blocked}}\n"
        )
    };
    let tests: String = (1..=7).map(four).collect();
    let two = "  - {from: web, to: app, expect: reachable}\n  - {from: app, to: web, protocol: Udp, port: 53, expect: reachable}\n";
    let lab = Lab::prepared(&with_tests(TIERS, &(tests + two)));
    let output = test(&lab, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).starts_with("TAP version 14\n1..30\nok 1 - "), "{}", stdout(&output));
    assert!(stderr(&output).contains("30 passed, 0 failed, in the model and with real packets"), "{}", stderr(&output));
}

/// The way is seen, not only computed.
#[test]
fn the_way_of_real_packets_is_seen() {
    if !permitted() {
        return;
    }
    let tests = "  - {from: web, to: db, expect: reachable}\n  \
                 - {from: web/eth0, to: db, port: 443, expect: reachable}\n  \
                 - {from: 10.1.1.4, to: db, protocol: Udp, port: 53, expect: reachable}\n  \
                 - {from: web, to: 10.2.1.99, port: 80, expect: blocked, via: [nva]}\n  \
                 - {from: web, to: nva, expect: reachable}\n";
    let lab = Lab::prepared(&with_tests(HUB_SPOKE, tests));
    let report = report(&test(&lab, &["-o", "json"]));
    assert_eq!((&report["passed"], &report["failed"]), (&5.into(), &0.into()), "{report:#}");
    let nva: Value = vec!["nva"].into();
    let none: Value = Vec::<Value>::new().into();
    for (index, back) in [(0, &nva), (1, &nva), (2, &nva), (3, &none)] {
        let packets = &report["tests"][index]["packets"];
        assert_eq!((&packets["via"], &packets["viaReturn"]), (&nva, back), "{packets}");
    }
    assert_eq!(report["tests"][4]["packets"]["via"], none);
}

#[test]
fn both_families_are_asked() {
    if !permitted() {
        return;
    }
    let tests = |address: &str, rule: &str| {
        format!(
            "  - {{from: left, to: '{address}', expect: reachable, rule: securityRules/ping}}\n  \
             - {{from: left, to: '{address}', port: 80, expect: reachable, rule: securityRules/{rule}}}\n  \
             - {{from: left/eth0, to: '{address}', protocol: Udp, port: 53, expect: blocked, rule: securityRules/deny-rest}}\n"
        )
    };
    let tests = tests("10.60.0.4", "web-v4") + &tests("fd00:60::4", "web-v6");
    let lab = Lab::prepared(&with_tests(DUAL_STACK, &tests));
    let output = test(&lab, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains("6 passed, 0 failed"), "{}", stderr(&output));
}

/// A guest that does not do what the model takes it to do: both ends and the way between are looked at.
#[test]
fn a_model_that_differs_from_the_packets_is_a_failure() {
    let tests = "  - {from: web, to: db, expect: reachable}\n  - {from: web, to: db, port: 443, expect: reachable}\n";
    let Some(lab) = Lab::up(&with_tests(HUB_SPOKE, tests)) else { return };
    let setting = |node: &str, setting: &str, value: &str| {
        lab.inside(node, || fs::write(Path::new("/proc/sys/net/ipv4").join(setting), value).unwrap());
    };
    setting("db", "icmp_echo_ignore_all", "1");
    let output = lab.vnet(&["test"]);
    assert_eq!(output.status.code(), Some(1));
    let disagreement = "the model and the packets disagree: the file expects reachable, the model says reachable, the packets say blocked";
    let out = stdout(&output);
    assert!(out.starts_with("TAP version 14\n1..2\nnot ok 1 - web to db, ping: reachable\n"), "{out}");
    assert!(out.contains(disagreement) && out.contains("\nok 2 - web to db, tcp/443: reachable\n"), "{out}");
    assert!(stderr(&output).contains("1 test shows the model to differ from real packets"), "{}", stderr(&output));

    setting("db", "icmp_echo_ignore_all", "0");
    assert_eq!(lab.vnet(&["test"]).status.code(), Some(0));
    // The appliance's own echo answers go on; what it should forward does not.
    setting("nva", "ip_forward", "0");
    let report = report(&lab.vnet(&["test", "-o", "json"]));
    assert_eq!(report["failed"], 2, "{report:#}");
    assert_eq!(report["tests"][0]["problems"][0]["kind"], "defect");
    assert_eq!(report["tests"][0]["packets"]["via"], Value::Array(Vec::new()));
}

/// ADR-07: two machines have one address, and the one that was not meant answers.
#[test]
fn a_packet_for_one_of_two_machines_with_an_address_is_seen_at_the_other() {
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
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}]
virtualMachines:
  - {name: h, networkInterfaces: [{subnet: hub/s}]}
  - {name: x, networkInterfaces: [{subnet: one/s}]}
  - {name: y, networkInterfaces: [{subnet: two/s}]}
";
    let tests = "  - {from: h, to: y, expect: wrongHost}\n  - {from: h, to: y, port: 443, expect: wrongHost}\n  \
                 - {from: h, to: x, port: 80, expect: reachable}\n  - {from: h, to: y, expect: reachable}\n";
    let Some(lab) = Lab::up(&with_tests(OVERLAP, tests)) else { return };
    let output = lab.vnet(&["test", "-o", "json"]);
    let report = report(&output);
    assert_eq!((&report["passed"], &report["failed"]), (&3.into(), &1.into()), "{report:#}");
    let seen = |test: usize| report["tests"][test]["packets"]["verdict"].as_str().unwrap_or_default().to_owned();
    assert_eq!([0, 1, 2, 3].map(seen), ["wrongHost", "wrongHost", "reachable", "wrongHost"]);
    let problem = &report["tests"][3]["problems"];
    assert_eq!(
        problem[0]["text"], "the file expects reachable, but the model and the packets say wrong host (WrongHost)",
        "{problem:#}"
    );
    assert_eq!(problem.as_array().unwrap().len(), 1, "the model and the packets agree: {problem:#}");

    let explained = lab.vnet(&["explain", "h", "y:443", "--verify"]);
    assert_eq!(explained.status.code(), Some(1));
    let text = stdout(&explained);
    assert!(text.contains("verdict  wrong host\n") && text.contains("reached the other machine"), "{text}");
    assert!(stdout(&lab.vnet(&["reach"])).contains("wrong host"));
}

#[test]
fn a_running_lab_is_used_if_it_is_what_the_file_says() {
    let tests = "  - {from: web, to: db, expect: reachable}\n";
    let Some(lab) = Lab::up(&with_tests(HUB_SPOKE, tests)) else { return };
    let used = |output: &Output, passed: &str| {
        let said = stderr(output);
        assert!(said.contains(passed) && said.contains(&format!("real packets in lab {}\n", lab.name)), "{said}");
    };
    used(&test(&lab, &[]), "1 passed");
    // Its tests are not part of the lab; its subnets are.
    let text = fs::read_to_string(&lab.file).unwrap();
    fs::write(&lab.file, format!("{text}  - {{from: db, to: web, expect: reachable}}\n")).unwrap();
    used(&test(&lab, &[]), "2 passed");
    fs::write(&lab.file, text.replace("10.2.1.10", "10.2.1.11")).unwrap();
    let output = test(&lab, &[]);
    assert!(stderr(&output).contains("but not as"), "{}", stderr(&output));
    assert!(stderr(&output).contains("-test-"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
    lab.assert_ping("web", "10.2.1.10");
}

#[test]
fn programs_of_the_machines_are_left_alone() {
    let tests = "  - {from: web, to: db, port: 443, expect: reachable}\n  \
                 - {from: web, to: db, protocol: Udp, port: 53, expect: reachable}\n";
    let Some(lab) = Lab::up(&with_tests(HUB_SPOKE, tests)) else { return };
    let listener = lab.inside("db", || TcpListener::bind("0.0.0.0:443").unwrap());
    // It never answers.
    let silent = lab.inside("db", || UdpSocket::bind("0.0.0.0:53").unwrap());
    let report = report(&lab.vnet(&["test", "-o", "json"]));
    assert_eq!(report["failed"], 0, "{report:#}");
    assert!(report["tests"][1]["notes"][0].as_str().unwrap().contains("a program of the machine has the port"));
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap();
    silent.set_nonblocking(true).unwrap();
    assert_eq!(silent.recv(&mut [0; 64]).unwrap(), 4);
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    if !permitted() {
        return;
    }
    // No answer: it waits as long as for one that is expected.
    let tests = "  - {from: web, to: 10.2.1.99, expect: reachable}\n";
    let lab = Lab::prepared(&with_tests(HUB_SPOKE, tests));
    let mut command = vnet();
    let mut child = command.arg("test").arg(&lab.file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    eventually("its lab is up", || {
        let labs = fs::read_dir("/run/vnet").into_iter().flatten();
        labs.filter_map(Result::ok).any(|lab| {
            lab.file_name().to_string_lossy().ends_with(&format!("-test-{pid}"))
                && lab.path().join("control.sock").exists()
        })
    });
    interrupt(&mut child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    assert_nothing_left(&lab, pid);
}

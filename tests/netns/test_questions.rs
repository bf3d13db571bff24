//! `vnet test` of what a file asks beside reachability, with real packets: each kind passes and fails, and says what was
//! expected and what was seen.

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{ALLOW_RUN, Lab, permitted, stderr, stdout, vnet};

/// Two machines with a server, behind a balancer; and a client.
const PAIR: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{name: app, addressPrefix: 10.0.1.0/24, networkSecurityGroup: app, routeTable: via}]
routeTables:
  - {name: via, routes: [{name: to, addressPrefix: 10.9.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]}
networkSecurityGroups:
  - name: app
    securityRules:
      - {name: closed, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '81'}
loadBalancers:
  - name: pair
    frontendIPConfigurations: [{name: in, subnet: hub/app, privateIPAddress: 10.0.1.100}]
    backendAddressPools: [{name: both}]
    probes: [{name: alive, protocol: Tcp, port: 8080, intervalInSeconds: 5}]
    loadBalancingRules:
      - {name: web, frontendIPConfiguration: in, backendAddressPool: both, probe: alive, protocol: Tcp, frontendPort: 8080, backendPort: 8080}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: hub/app, privateIPAddress: 10.0.1.4, loadBalancerBackendAddressPools: [pair/both]}], run: [python3, -m, http.server, '8080']}
  - {name: web2, networkInterfaces: [{subnet: hub/app, loadBalancerBackendAddressPools: [pair/both]}], run: [python3, -m, http.server, '8080']}
  - {name: cl, networkInterfaces: [{subnet: hub/app}]}
";

/// Another topology of the lab's directory.
fn beside(lab: &Lab, name: &str, topology: &str) {
    fs::write(lab.file.with_file_name(name), lab.named(topology)).unwrap();
}

/// As the entries of a list.
fn listed(tests: &[&str]) -> String {
    tests.iter().flat_map(|test| ["  - ", test, "\n"]).collect()
}

fn asked(tests: &[&str]) -> Option<Lab> {
    asked_in(PAIR, tests)
}

fn asked_in(topology: &str, tests: &[&str]) -> Option<Lab> {
    if !permitted() {
        return None;
    }
    let tests = listed(tests);
    Some(Lab::prepared(&format!("{topology}tests:\n{tests}")))
}

fn test(lab: &Lab, arguments: &[&str]) -> Output {
    vnet().arg("test").arg(&lab.file).args(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

/// All tests of a file pass.
fn pass(tests: &[&str]) {
    pass_in(PAIR, tests);
}

fn pass_in(topology: &str, tests: &[&str]) {
    let Some(lab) = asked_in(topology, tests) else { return };
    let output = test(&lab, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let passed = stdout(&output).lines().filter(|line| line.starts_with("ok ") && !line.contains("SKIP")).count();
    assert_eq!(passed, tests.len(), "{}", stdout(&output));
}

/// Each test fails with these words in its problem.
fn fail(tests: &[(&str, &str)]) {
    fail_in(PAIR, tests);
}

fn fail_in(topology: &str, tests: &[(&str, &str)]) {
    let Some(lab) = asked_in(topology, &tests.iter().map(|(test, _)| *test).collect::<Vec<_>>()) else { return };
    let output = test(&lab, &["-o", "json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    for (index, (test, words)) in tests.iter().enumerate() {
        let problem = report["tests"][index]["problems"][0]["text"].as_str().unwrap_or_default();
        assert!(problem.contains(words), "{test}: {problem}\n{}", report["tests"][index]);
    }
}

#[test]
fn pages_and_names_are_asked_from_a_machine() {
    pass(&[
        "{from: cl, http: 'http://web:8080/'}",
        "{from: cl, http: {url: 'http://10.0.1.100:8080/', status: 200, body: Directory listing}}",
        "{http: {from: cl/eth0, url: 'http://web:8080/none', status: 404}}",
        "{on: cl, dns: web}",
        "{dns: {on: cl, name: web.internal.cloudapp.net, type: A, answer: [10.0.1.4]}}",
        "{on: cl, dns: {name: 10.0.1.4, answer: Web.internal.cloudapp.net.}}",
        "{on: cl, dns: {name: vm.example, absent: true}}",
    ]);
    fail(&[
        ("{from: cl, http: 'http://web:8080/none'}", "expected status 200, but the lab says status 404"),
        (
            "{from: cl, http: {url: 'http://web:8080/', body: welcome}}",
            "expected status 200 and a page with `welcome`, but the lab says status 200 and a page that begins with `<!DOCTYPE",
        ),
        ("{from: cl, http: 'http://web:8081/'}", "but the lab says a refused connection: nothing listens there"),
        ("{from: cl, http: 'http://web:81/', timeout: 500ms}", "but the lab says no connection"),
        (
            "{on: cl, dns: {name: web, answer: 10.0.1.9}}",
            "expected A 10.0.1.9, but the model and the lab say A 10.0.1.4",
        ),
        ("{on: cl, dns: nothing}", "but the model and the lab say no record (REFUSED)"),
        (
            "{on: cl, dns: {name: web, absent: true}}",
            "expected no A record of web, but the model and the lab say A 10.0.1.4",
        ),
    ]);
}

/// A guest that loses what it should answer: nothing in the file says so.
#[test]
fn a_lab_that_differs_from_the_model_is_a_failure_with_both_answers() {
    let quiet = PAIR.replace(", run: [python3, -m, http.server, '8080']", "");
    let tests = "tests:\n  - {from: cl, http: 'http://web:22/', timeout: 500ms}\n";
    let Some(lab) = Lab::up(&format!("{quiet}{tests}")) else { return };
    let lost = lab.exec("web", &["ip", "route", "add", "blackhole", "10.0.1.6/32"]);
    assert!(lost.status.success(), "{}", stderr(&lost));
    let output = lab.vnet(&["test", "-o", "json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let problem = &report["tests"][0]["problems"][0];
    let text = "the model and the lab disagree: the file expects status 200, the model says reachable, the lab says no connection";
    assert_eq!((&problem["kind"], &problem["text"]), (&"defect".into(), &text.into()), "{report:#}");
}

#[test]
fn programs_of_tests_run_in_the_sandbox_and_with_consent() {
    pass(&[
        "{on: cl, exec: hostname}",
        "{exec: {on: cl, command: [hostname], stdout: cl}}",
        "{on: cl, exec: {command: 'touch /etc/vnet-was-here', exit: 1}}",
        "{on: cl, exec: {command: 'exit 7', exit: 7}, after: 100ms}",
    ]);
    fail(&[
        ("{on: cl, exec: 'echo bad >&2; exit 3'}", "expected exit code 0, but the lab says exit code 3 and `bad`"),
        ("{on: cl, exec: {command: echo a, stdout: b}}", "exit code 0 and the output `a`"),
        ("{on: cl, exec: sleep 100, timeout: 200ms}", "but the lab says it did not end in time"),
        ("{on: cl, exec: [no-such-program]}", "cannot run `no-such-program` in cl"),
    ]);
    let Some(lab) = asked(&["{on: cl, exec: 'touch /etc/vnet-was-here'}"]) else { return };
    let refused = vnet().env_remove(ALLOW_RUN).args(["test", lab.file.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stdout(&refused));
    assert!(stderr(&refused).contains("runs code in web, web2, cl: that needs your consent"), "{}", stderr(&refused));
    let left_out =
        vnet().env_remove(ALLOW_RUN).args(["test", "--no-run", lab.file.to_str().unwrap()]).output().unwrap();
    assert_eq!(left_out.status.code(), Some(0), "{}", stderr(&left_out));
    assert!(stdout(&left_out).contains("# SKIP the programs of the file are left out"), "{}", stdout(&left_out));
}

/// A lab that was started without such a program is no way round the question.
#[test]
fn a_running_lab_does_not_answer_for_new_code() {
    let quiet = PAIR.replace(", run: [python3, -m, http.server, '8080']", "");
    let Some(lab) = Lab::up(&format!("{quiet}tests:\n  - {{from: cl, to: web, expect: reachable}}\n")) else { return };
    lab.write(&format!("{quiet}tests:\n  - {{on: cl, exec: hostname}}\n"));
    let refused = vnet().env_remove(ALLOW_RUN).args(["test", lab.file.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stdout(&refused));
    assert!(stderr(&refused).contains("runs code in cl: that needs your consent"), "{}", stderr(&refused));
}

#[test]
fn routes_and_rules_are_those_of_the_model_and_of_the_lab() {
    pass(&[
        "{on: cl, routes: [10.0.0.0/16 VnetLocal, 0.0.0.0/0 Internet, 10.9.0.0/16 via 10.0.1.4]}",
        "{routes: {on: hub/app, contains: {addressPrefix: 10.9.0.0/16, nextHopType: VirtualAppliance, source: User}, absent: 10.8.0.0/16}}",
        "{on: cl, rules: [closed, defaultSecurityRules/DenyAllInBound]}",
        "{rules: {on: cl/eth0, contains: {name: securityRules/closed, access: Deny, priority: 100}}}",
    ]);
    fail(&[
        ("{on: cl, routes: 10.9.0.0/16 via 10.0.1.9}", "the lab say 10.9.0.0/16 VirtualAppliance 10.0.1.4 (User"),
        (
            "{on: cl, routes: 10.8.0.0/16}",
            "expected 10.8.0.0/16, but the model and the lab say no route for 10.8.0.0/16",
        ),
        (
            "{on: cl, routes: 10.9.0.0/16 Internet}",
            "but the model and the lab say 10.9.0.0/16 VirtualAppliance 10.0.1.4 (User, Active)",
        ),
        (
            "{on: cl, routes: {absent: 0.0.0.0/0}}",
            "expected no 0.0.0.0/0, but the model and the lab say 0.0.0.0/0 Internet",
        ),
        (
            "{on: cl, rules: {contains: {name: closed, access: Allow}}}",
            "but the model and the lab say securityRules/closed Inbound Deny of priority 100",
        ),
        ("{on: cl, rules: {absent: closed}}", "expected no closed, but the model and the lab say securityRules/closed"),
    ]);
}

/// On a busy machine a backend is found to be up one probe later. `python3 -m http.server` keeps five connections waiting
/// and lets the kernel drop more; this one keeps all of a test.
#[test]
fn flows_are_shared_over_backends() {
    let patient = "import http.server as h; h.ThreadingHTTPServer.request_queue_size = 128; \
                   h.ThreadingHTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()";
    let topology = PAIR.replace("[python3, -m, http.server, '8080']", &format!("[python3, -c, \"{patient}\"]"));
    assert_ne!(topology, PAIR);
    pass_in(
        &topology,
        &[
            "{from: cl, to: 10.0.1.100, port: 8080, flows: 2, retry: 12}",
            "{flows: {from: cl, to: 10.0.1.100, port: 8080, atLeast: 1, over: [web2], count: 40}, retry: 12}",
        ],
    );
    // A lab each: a connection to a backend itself may have the ports of one that the balancer translated, and what comes
    // back is taken for that one's.
    fail_in(
        &topology,
        &[(
            "{from: cl, to: 10.0.1.100, port: 8080, flows: 3, retry: 12, timeout: 10s}",
            "expected flows at 3 machines or more, but the model and the lab say flows at 2 machines: web, web2",
        )],
    );
    fail_in(
        &topology,
        &[(
            "{from: cl, to: web, port: 8080, flows: 1, timeout: 10s}",
            "but the model and the lab say flows at no machine",
        )],
    );
}

#[test]
fn speed_is_measured_with_a_load() {
    pass(&[
        "{from: cl, to: web, latency: 500ms, retry: 2}",
        "{latency: {from: cl, to: web, p99: 2s}, retry: 2}",
        "{from: cl, to: web, throughput: 1Mbit/s, retry: 2}",
    ]);
    fail(&[
        ("{from: cl, to: web, latency: 1us}", "expected less than 0.00 ms, but the lab says "),
        ("{from: cl, to: web, throughput: 900Gbit/s}", "expected more than 900.00 Gbit/s, but the lab says "),
        ("{from: cl, to: 10.0.1.99, latency: 5ms}", "but the model says blocked (NoEndpoint)"),
    ]);
}

/// One change keeps the path, another breaks it for good; the model knows the second, and packets count both.
#[test]
fn what_a_change_costs_is_counted() {
    let Some(lab) = asked(&[
        "{from: cl, to: web, during: apply kept.yaml}",
        "{from: cl, to: web, port: 22, during: {apply: kept.yaml, loss: 0, for: 500ms}}",
        "{from: cl, to: web, port: 22, packetsOnly: true, during: {apply: broken.yaml, for: 500ms}}",
        "{from: cl, to: web, packetsOnly: true, during: {apply: broken.yaml, loss: 1000, for: 500ms}}",
        "{from: cl, to: web, during: apply broken.yaml}",
        "{from: cl, to: 10.0.1.4, expect: reachable, after: 10ms}",
        "{from: cl, to: web, port: 81, packetsOnly: true, during: {apply: kept.yaml, loss: 1000, for: 500ms}}",
    ]) else {
        return;
    };
    beside(&lab, "kept.yaml", &PAIR.replace("destinationPortRange: '81'", "destinationPortRange: '82'"));
    let gone = PAIR.replace("protocol: Tcp, sourceAddressPrefix", "protocol: '*', sourceAddressPrefix");
    let gone = gone
        .replace("destinationPortRange: '81'", "destinationPortRange: '*'")
        .replace("securityRules:", "flushConnection: true\n    securityRules:");
    beside(&lab, "broken.yaml", &gone);
    let report = report(&test(&lab, &["-o", "json"]));
    let results: Vec<_> = (0..7).map(|index| report["tests"][index]["passed"].as_bool().unwrap()).collect();
    assert_eq!(results, [true, true, false, true, false, true, false], "{report:#}");
    let problem = |index: usize| report["tests"][index]["problems"][0]["text"].as_str().unwrap().to_owned();
    assert!(problem(2).contains("expected 0 packets lost at most, but the lab says "), "{}", problem(2));
    assert!(
        problem(4).contains("the model says reachable before broken.yaml is applied, blocked (NsgInbound) after"),
        "{}",
        problem(4)
    );
    assert!(problem(6).contains("no answer even before the change"), "{}", problem(6));
    let seen = report["tests"][3]["packets"]["answer"].as_str().unwrap();
    let lost: u32 = seen.split(' ').next().unwrap().parse().unwrap();
    assert!(lost > 0, "pings were lost while they were denied: {seen}");
}

/// The user's own lab is left as it is.
#[test]
fn a_lab_that_runs_is_not_changed() {
    // Without a load balancer: what its probes find is a change of the tables, too.
    let (head, rest) = PAIR.split_once("loadBalancers:").unwrap();
    let (_, machines) = rest.split_once("virtualMachines:").unwrap();
    let quiet =
        format!("{head}virtualMachines:{machines}").replace(", loadBalancerBackendAddressPools: [pair/both]", "");
    let quiet = quiet.replace(", run: [python3, -m, http.server, '8080']", "");
    let topology = format!("{quiet}tests:\n  - {{from: cl, to: web, during: apply other.yaml}}\n");
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&topology);
    beside(&lab, "other.yaml", &quiet.replace("'81'", "'82'"));
    let started = lab.start();
    assert!(started.status.success(), "{}", stderr(&started));
    let generation = lab.data(&["status"])["generation"].clone();
    let running = lab.vnet(&["test"]);
    assert!(
        stdout(&running).contains("# SKIP it changes the lab, which is not the test's own"),
        "{}",
        stdout(&running)
    );
    let output = test(&lab, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains("and the tests change it: testing in a copy"), "{}", stderr(&output));
    assert_eq!(lab.data(&["status"])["generation"], generation);
}

#[test]
fn sessions_and_what_they_bring_are_asked() {
    if !permitted() {
        return;
    }
    let example = include_str!("../../config/gateway-2-bgp.yaml");
    let (body, _) = example.split_once("\ntests:").unwrap();
    let asked = |tests: &[&str]| {
        let tests = listed(tests);
        let lab = Lab::prepared(&format!("{body}\ntests:\n{tests}"));
        report(&test(&lab, &["-o", "json"]))
    };
    let passed = asked(&[
        "{on: hub-gw, bgp: dc}",
        "{on: hub-gw, bgp: {peer: hub-dc, prefixes: [192.168.50.0/24, 192.168.51.0/24], absent: 192.168.52.0/24}, timeout: 5s}",
        "{bgp: {on: dc, peer: hub-gw, prefixes: 10.10.0.0/16}, timeout: 5s}",
        "{on: hub-gw, bgp: 192.168.50.1}",
    ]);
    assert_eq!(passed["passed"], 4, "{passed:#}");
    let failed = asked(&[
        "{on: hub-gw, bgp: {peer: dc, prefixes: 192.168.52.0/24}}",
        "{on: hub-gw, bgp: {peer: dc, absent: 192.168.50.0/24}}",
        "{on: hub-gw, bgp: {peer: dc, state: Idle}}",
        "{on: hub-gw, bgp: 192.168.50.9}",
    ]);
    let problem = |index: usize| failed["tests"][index]["problems"][0]["text"].as_str().unwrap_or_default().to_owned();
    let both = "but the model and the lab say";
    assert_eq!(problem(0), format!("expected Connected with 192.168.52.0/24, {both} Connected, not 192.168.52.0/24"));
    assert_eq!(problem(1), format!("expected Connected without 192.168.50.0/24, {both} Connected, 192.168.50.0/24"));
    assert_eq!(problem(2), format!("expected Idle, {both} Connected"));
    assert_eq!(problem(3), format!("expected Connected, {both} no session"));
}

/// What fails at first and passes later is retried; a warning fails nothing; what is skipped says why.
#[test]
fn a_test_has_patience_and_a_severity() {
    let Some(lab) = asked(&[
        "{from: cl, http: 'http://web:9000/', retry: 60, timeout: 500ms}",
        "{from: cl, to: 10.0.1.99, expect: reachable, timeout: 200ms, severity: warning}",
        "{from: cl, to: web, expect: blocked, skip: another day}",
    ]) else {
        return;
    };
    // A server that is late.
    let text = fs::read_to_string(&lab.file).unwrap();
    let late = "run: 'python3 -m http.server 8080 & sleep 12; exec python3 -m http.server 9000'";
    let text = text.replacen("run: [python3, -m, http.server, '8080']", late, 1);
    fs::write(&lab.file, text).unwrap();
    let junit = lab.file.with_file_name("out.xml");
    let output = test(&lab, &["--junit", junit.to_str().unwrap()]);
    let (out, said) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(3), "{out}{said}");
    assert!(out.contains("ok 1 - ") && out.contains("# passed at attempt "), "{out}");
    assert!(out.contains("not ok 2 - cl to 10.0.1.99, ping: reachable # TODO a warning"), "{out}");
    assert!(out.contains("ok 3 - cl to web, ping: blocked # SKIP another day"), "{out}");
    assert!(said.contains("1 passed, 0 failed, 1 warning, 1 skipped"), "{said}");
    let junit = fs::read_to_string(junit).unwrap();
    assert!(junit.contains(r#"tests="3" failures="0" errors="0" skipped="2""#), "{junit}");
    assert!(junit.contains("<skipped message=\"warning: "), "{junit}");
}

#[test]
fn a_test_is_asked_as_late_and_as_often_as_it_says() {
    let tests = "tests:\n  - {from: cl, to: web, expect: reachable, after: 1500ms}\n  \
                 - {on: cl, routes: 10.8.0.0/16, retry: 2}\n";
    let quiet = PAIR.replace(", run: [python3, -m, http.server, '8080']", "");
    let Some(lab) = Lab::up(&format!("{quiet}{tests}")) else { return };
    let start = Instant::now();
    let output = lab.vnet(&["test"]);
    assert!(start.elapsed() >= Duration::from_millis(1500), "{:?}", start.elapsed());
    let out = stdout(&output);
    assert!(out.contains("ok 1 - ") && out.contains("failed in all of 3 attempts"), "{out}");
}

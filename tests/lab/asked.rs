//! What `vnet test`, `bench` and `demo` say of real packets.

use serde_json::Value;

use crate::lab::{Lab, permitted, stderr, stdout, unique, vnet};

const PAIR: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{name: app, addressPrefix: 10.0.1.0/24, networkSecurityGroup: app}, {name: nva, addressPrefix: 10.0.2.0/24}]
routeTables:
  - {name: via, routes: [{name: to, addressPrefix: 10.0.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.7}]}
networkSecurityGroups:
  - name: app
    securityRules:
      - {name: closed, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '81'}
virtualMachines:
  - {name: web, run: [sleep, '1000'], networkInterfaces: [{subnet: hub/app, privateIPAddress: 10.0.1.4}]}
  - {name: cl, networkInterfaces: [{subnet: hub/app, privateIPAddress: 10.0.1.5}]}
tests:
  - {from: cl, to: web, expect: reachable}
  - {from: cl, to: web, port: 80, expect: reachable}
  - {from: cl, to: web, port: 53, protocol: Udp, expect: reachable}
  - {from: cl, to: web, port: 81, expect: blocked, timeout: 300ms}
  - {from: cl, to: web, during: apply kept.yaml}
  - {from: cl, to: web, port: 22, during: {apply: kept.yaml, loss: 0, for: 300ms}}
  - {on: cl, exec: {command: 'echo out; exit 7', exit: 7, stdout: out}}
  - {on: cl, dns: web}
  - {from: cl, to: web, latency: 500ms, retry: 3}
  - {from: cl, to: web, throughput: 1Mbit/s, retry: 3}
  - {from: cl, to: web, port: 81, expect: reachable, timeout: 300ms}
  - {on: cl, exec: 'echo bad >&2; exit 3'}
  - {on: cl, exec: sleep 100, timeout: 300ms}
  - {from: cl, http: 'http://web:8081/', timeout: 500ms}
  - {from: cl, http: 'http://web:81/', timeout: 300ms}
";

#[test]
fn each_kind_of_question_passes_and_fails_with_what_was_seen() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(PAIR);
    let (body, _) = PAIR.split_once("tests:").unwrap();
    std::fs::write(lab.file.with_file_name("kept.yaml"), lab.named(&body.replace("'81'", "'82'"))).unwrap();
    let output = lab.test(&["-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let results: Vec<_> =
        report["tests"].as_array().unwrap().iter().map(|test| test["passed"].as_bool().unwrap()).collect();
    let expected: Vec<_> = (0..15).map(|index| index < 10).collect();
    assert_eq!(results, expected, "{report:#}");
    for (index, words) in [
        (10, "blocked"),
        (11, "expected exit code 0, but the lab says exit code 3 and `bad`"),
        (12, "but the lab says it did not end in time"),
        (13, "but the lab says a refused connection: nothing listens there"),
        (14, "but the lab says no connection"),
    ] {
        let problem = report["tests"][index]["problems"][0]["text"].as_str().unwrap_or_default();
        assert!(problem.contains(words), "{index}: {problem}");
    }
}

#[test]
fn a_bench_measures_all_loads_and_refuses_what_is_blocked() {
    let (body, _) = PAIR.split_once("tests:").unwrap();
    let Some(lab) = Lab::up(body) else { return };
    let all = lab.data(&["bench", "cl", "web", "--seconds", "0.3", "--streams", "2"]);
    assert!(all["tcp"]["bytes"].as_u64().unwrap() > 10_000, "{all}");
    assert!(all["connects"]["count"].as_u64().unwrap() > 0, "{all}");
    let few = lab.data(&["bench", "cl", "web", "--seconds", "0.3", "--only", "udp", "--rate", "500", "--flows", "2"]);
    let sent = few["udp"]["sent"].as_u64().unwrap();
    assert!((2..=400).contains(&sent) && few["udp"]["received"] == sent, "{few}");
}

#[test]
fn a_demo_shows_pings_the_path_and_transfers() {
    if !permitted() {
        return;
    }
    let name = unique("demo");
    let demo = vnet().args(["demo", "-l", &name]).output().unwrap();
    let down = vnet().args(["down", &name]).output().unwrap();
    assert!(demo.status.success() && down.status.success(), "{}{}", stdout(&demo), stderr(&demo));
    let said = stdout(&demo);
    assert!(said.contains("Try next:"), "{said}");
}

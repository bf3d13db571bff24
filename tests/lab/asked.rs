//! What `vnet test`, `bench` and `demo` say of real packets.

use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::lab::{Lab, NEVER, SOON, eventually, has_program, permitted, saw, stderr, stdout, unique, vnet};

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

/// Two servers behind a balancer, and two appliances of which one also sends connections on to another port.
const TRANSLATED: &str = r"
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: a, addressPrefix: 10.0.1.0/24, routeTable: via}
      - {name: b, addressPrefix: 10.0.2.0/24}
      - {name: n, addressPrefix: 10.0.3.0/24}
routeTables:
  - {name: via, routes: [{name: to, addressPrefix: 10.0.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.3.4}]}
loadBalancers:
  - name: pair
    frontendIPConfigurations: [{name: in, subnet: hub/b, privateIPAddress: 10.0.2.100}]
    backendAddressPools: [{name: both}]
    loadBalancingRules:
      - {name: web, frontendIPConfiguration: in, backendAddressPool: both, protocol: Tcp, frontendPort: 80, backendPort: 8080}
virtualMachines:
  - {name: cl, networkInterfaces: [{subnet: hub/a, privateIPAddress: 10.0.1.4}]}
  - {name: srv, run: &serve [python3, -m, http.server, '8080'],
     networkInterfaces: [{subnet: hub/b, privateIPAddress: 10.0.2.4, loadBalancerBackendAddressPools: [pair/both]}]}
  - {name: two, run: *serve, networkInterfaces: [{subnet: hub/b, privateIPAddress: 10.0.2.5, loadBalancerBackendAddressPools: [pair/both]}]}
  - {name: nva, guest: {masquerade: all}, networkInterfaces: [{subnet: hub/n, privateIPAddress: 10.0.3.4, enableIPForwarding: true}]}
  - name: dn
    guest:
      forwarding: true
      masquerade: all
      nftables: |
        table ip t {
          chain c {
            type nat hook prerouting priority -100
            tcp dport 8081 dnat to 10.0.2.4:9090
          }
        }
    networkInterfaces: [{subnet: hub/n, privateIPAddress: 10.0.3.5, enableIPForwarding: true}]
tests:
  - {from: cl, to: srv, port: 90, expect: reachable, via: [nva], viaReturn: [nva]}
  - {from: cl, to: srv, port: 91, protocol: Udp, expect: reachable, via: [nva], viaReturn: [nva]}
  - {from: cl, to: srv, expect: reachable, via: [nva], viaReturn: [nva]}
  - {from: cl, to: dn, port: 8081, expect: reachable, packetsOnly: true}
  - {from: dn, to: 10.0.2.100, port: 80, flows: 2, retry: 5}
  - {from: cl, to: srv, port: 90, expect: reachable, via: [dn]}
  - {from: cl, to: 10.0.2.99, port: 90, expect: reachable, timeout: 300ms}
";

#[test]
fn the_machines_that_forward_are_told_also_where_they_translate() {
    if !permitted() || !has_program("python3") || !has_program("nft") {
        return;
    }
    let lab = Lab::prepared(TRANSLATED);
    let output = lab.test(&["-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let test = |index: usize| &report["tests"][index];
    let passed: Vec<_> = (0..7).map(|index| test(index)["passed"].as_bool().unwrap()).collect();
    assert_eq!(passed, [true, true, true, true, true, false, false], "{report:#}");
    for index in 0..3 {
        assert_eq!(test(index)["packets"]["via"], json!(["nva"]), "{index}");
    }
    // What it asked for it got elsewhere, where nothing listens but the test.
    assert_eq!((&test(3)["packets"]["via"], &test(3)["packets"]["viaReturn"]), (&json!(["dn"]), &json!(["dn"])));
    assert_eq!(test(4)["packets"]["answer"], "flows at 2 machines: srv, two");
    let problem = |index: usize| test(index)["problems"][0]["text"].as_str().unwrap();
    assert_eq!(problem(5), "expected the packet to go via dn, but it goes via nva");
    let blocked = "the file expects reachable, but the model and the packets say blocked (NoEndpoint)";
    assert_eq!((problem(6), &test(6)["packets"]["via"]), (blocked, &json!(["nva"])));
}

/// One that answers probes is up, and is down some probes after it has gone; both are told once.
#[test]
fn a_backend_is_up_while_it_answers_its_probes() {
    let topology = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: in, subnet: v/s, privateIPAddress: 10.1.1.100}]
    backendAddressPools: [{name: all}]
    probes: [{name: alive, protocol: Tcp, port: 9000, intervalInSeconds: 5}]
    loadBalancingRules:
      - {name: web, frontendIPConfiguration: in, backendAddressPool: all, probe: alive, protocol: Tcp, frontendPort: 80, backendPort: 8080}
virtualMachines:
  - {name: up, networkInterfaces: [{subnet: v/s, loadBalancerBackendAddressPools: [lb/all]}]}
  - {name: off, networkInterfaces: [{subnet: v/s, loadBalancerBackendAddressPools: [lb/all]}]}
";
    let Some(lab) = Lab::up(topology) else { return };
    let server = lab.inside("up", || std::net::TcpListener::bind("0.0.0.0:9000").unwrap());
    let health = || {
        let rows = lab.data(&["lb", "lb"]);
        let of = |name: &str| {
            let is_it = |row: &&Value| row["backend"].as_str().unwrap().starts_with(name);
            rows.as_array().unwrap().iter().find(is_it).unwrap()["health"].as_str().unwrap().to_owned()
        };
        (of("up"), of("off"))
    };
    eventually("one is up and one is not", || health() == ("Up".to_owned(), "Down".to_owned()));
    let events = || stdout(&lab.vnet(&["events"]));
    // None, if it answered the first.
    assert!(events().matches("BackendHealthy").count() <= 1, "{}", events());
    drop(server);
    // Some probes later, five seconds apart.
    let deadline = Instant::now() + 6 * SOON;
    while health().0 != "Down" {
        assert!(Instant::now() < deadline, "it is up and answers no probe");
        thread::sleep(NEVER);
    }
    assert!(events().lines().any(|line| line.contains("BackendUnhealthy") && line.contains("up/")), "{}", events());
    // Nobody asks any more where no rule does.
    let (head, rest) = topology.split_once("loadBalancers:").unwrap();
    let machines =
        rest.split_once("virtualMachines:").unwrap().1.replace(", loadBalancerBackendAddressPools: [lb/all]", "");
    lab.apply(&format!("{head}virtualMachines:{machines}"));
    assert_eq!(lab.vnet(&["lb", "lb"]).status.code(), Some(2));
}

/// What the kernel carries by itself is counted as what the workers forward.
#[test]
fn a_transfer_is_counted_once_whoever_carries_it() {
    let (body, _) = PAIR.split_once("tests:").unwrap();
    for device in ["veth", "tun"] {
        let Some(lab) = Lab::up(&format!("emulation: {{device: {device}}}\n{body}")) else { return };
        assert_eq!(lab.tcp("cl", "web", "10.0.1.4", 9000, 4 << 20), Some(4 << 20));
        let row = |node: &str| {
            let rows = lab.data(&["counters"]);
            let row = rows.as_array().unwrap().iter().find(|row| row["node"] == node).unwrap().clone();
            ["rxPackets", "txPackets", "rxBytes", "txBytes"].map(|key| row[key].as_u64().unwrap())
        };
        eventually("all is counted at both ends", || {
            let ([cl_rx, cl_tx, cl_bytes, _], [web_rx, web_tx, _, web_bytes]) = (row("cl"), row("web"));
            saw(format!("{:?} {:?}", row("cl"), row("web")));
            cl_rx >= web_tx && web_rx >= cl_tx && cl_bytes > 4 << 20 && cl_bytes < 5 << 20 && web_bytes <= cl_bytes
        });
        let flows = lab.data(&["flows"]);
        assert!(flows.to_string().contains("9000"), "{flows}");
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

//! Questions to a running lab: what the commands answer is what the file says and what packets did.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use vnet::daemon::api::client::ask;
use vnet::daemon::api::protocol::{Request, Response};

use crate::lab::{Lab, eventually, stderr, stdout, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

fn socket(lab: &Lab) -> PathBuf {
    Path::new("/run/vnet").join(&lab.name).join("control.sock")
}

/// What the same question is answered from the file alone.
fn from_file(lab: &Lab, arguments: &[&str]) -> Value {
    let output = vnet().args(arguments).args(["-o", "json", "-t"]).arg(&lab.file).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn status_describes_the_daemon_and_its_nodes() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let status = lab.data(&["status"]);
    assert_eq!(status["name"], lab.name);
    assert_eq!(status["file"], lab.file.to_str().unwrap());
    assert_eq!(status["generation"], 1);
    assert!(status["workers"].as_u64().unwrap() >= 1, "{status}");
    let node = |name: &str, subnet: &str, address: &str| {
        let interface = json!({"name": "eth0", "device": "eth0", "subnet": subnet, "addresses": [address],
            "publicAddresses": [], "alive": true});
        let namespace = format!("{}-{name}", lab.name);
        json!({"name": name, "namespace": namespace, "powerState": "running", "networkInterfaces": [interface]})
    };
    let nodes = [
        node("web", "spoke1/app", "10.1.1.4"),
        node("db", "spoke2/db", "10.2.1.10"),
        node("nva", "hub/nva", "10.0.1.4"),
    ];
    assert_eq!(status["nodes"], Value::from_iter(nodes));
}

const VERIFY: [&str; 8] =
    ["--direction", "inbound", "--protocol", "tcp", "--local", "443", "--remote", "10.2.1.10:50000"];

#[test]
fn routes_and_explain_answer_as_from_the_file() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    for question in [
        &["routes", "web"][..],
        &["routes", "hub/nva"],
        &["next-hop", "web", "db"],
        &[&["flow-verify", "web"][..], &VERIFY].concat(),
        &["explain", "web", "db:443"],
        &["explain", "hub/nva", "spoke2/db:443"],
        &["reach", "web", "spoke2/db"],
        &["reach"],
        &["reach", "--port", "443"],
    ] {
        assert_eq!(lab.data(question), from_file(&lab, question), "{question:?}");
    }
    // The daemon's network on one side, a file on the other.
    let same = lab.vnet(&["reach", "--diff", lab.file.to_str().expect("UTF-8")]);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), "no difference\n".to_owned()));
    let misspelt = lab.vnet(&["routes", "wbe"]);
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(stderr(&misspelt).contains("did you mean `web`?"), "{}", stderr(&misspelt));
}

#[test]
fn diag_03_rules_count_what_they_decide() {
    let Some(lab) = Lab::up(include_str!("../../config/nsg-tiers.yaml")) else { return };
    let hits = |name: &str| {
        let answer = lab.data(&["rules", "db"]);
        let rules = answer["value"][0]["effectiveSecurityRules"].as_array().unwrap().clone();
        rules.iter().find(|rule| rule["name"] == name).unwrap()["hits"].as_u64().unwrap()
    };
    let before = hits("securityRules/deny-vnet");
    lab.assert_dropped("web", "10.40.3.4", "web", "NsgInbound");
    assert!(hits("securityRules/deny-vnet") > before);
}

#[test]
fn rules_that_decide_nothing_are_listed() {
    let Some(lab) = Lab::up(include_str!("../../config/nsg-tiers.yaml")) else { return };
    let unused = || {
        let rules = lab.data(&["rules", "--unused"]);
        let name = |rule: &Value| format!("{} {}", rule["owner"].as_str().unwrap(), rule["name"].as_str().unwrap());
        rules.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    let (before, denial) = (unused(), "db-tier securityRules/deny-vnet".to_owned());
    assert!(before.contains(&denial), "{before:?}");
    assert!(before.iter().all(|rule| !rule.contains("defaultSecurityRules")), "{before:?}");
    lab.assert_dropped("web", "10.40.3.4", "web", "NsgInbound");
    assert_eq!(unused(), before.into_iter().filter(|rule| *rule != denial).collect::<Vec<_>>());
    // Of one machine: those of the group that is on its subnet.
    let of_db = lab.data(&["rules", "db", "--unused"]);
    let rules = of_db["value"][0]["effectiveSecurityRules"].as_array().unwrap();
    let names: Vec<_> = rules.iter().map(|rule| rule["name"].as_str().unwrap()).collect();
    let expected = unused().into_iter().filter_map(|rule| rule.strip_prefix("db-tier ").map(str::to_owned));
    assert_eq!(names, expected.collect::<Vec<_>>());
    assert!(!names.is_empty());
}

#[test]
fn counters_and_drops_add_up() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.assert_ping("web", "10.2.1.10");
    lab.assert_dropped("web", "10.2.1.99", "nva", "NoEndpoint");
    // A look is not a snapshot: a guest may be sending something of its own just now.
    eventually("every packet was delivered or dropped", || {
        let counters = lab.data(&["counters"]);
        let total =
            |field: &str| -> u64 { counters.as_array().unwrap().iter().map(|row| row[field].as_u64().unwrap()).sum() };
        let drops = lab.data(&["drops", "--all"]);
        let explained: u64 = drops.as_array().unwrap().iter().map(|row| row["packets"].as_u64().unwrap()).sum();
        // There and back through the appliance: four legs at least.
        total("rxPackets") >= 4
            && total("rxPackets") == total("txPackets") + total("drops")
            && total("drops") == explained
            && total("rxBytes") >= 20 * total("rxPackets")
            && total("txBytes") >= 20 * total("txPackets")
    });
    let drops = stdout(&lab.vnet(&["drops"]));
    assert!(drops.lines().any(|row| row.starts_with("nva") && row.contains("No NIC owns the destination")), "{drops}");
}

/// A child that ends with its value.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn following_prints_one_object_a_line_until_the_reader_leaves() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut command = vnet();
    command.args(["-l", &lab.name, "counters", "-f", "-o", "json"]).stdout(Stdio::piped());
    let mut child = Following(command.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();

    let first: Vec<String> = (0..3).map(|_| next()["node"].as_str().unwrap().to_owned()).collect();
    assert_eq!(first, ["web", "db", "nva"]);
    lab.assert_ping("web", "10.2.1.10");
    while next()["node"] != "web" {}

    drop(lines);
    eventually("the program ends", || {
        lab.assert_ping("web", "10.2.1.10");
        child.0.try_wait().unwrap().is_some_and(|status| status.success())
    });
}

/// Those from before the first look are told as well.
#[test]
fn events_tell_what_happens_to_a_lab() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut events = Lines::of(&lab, &["events", "-f"]);
    let mut next = |name: &str| loop {
        let event = events.next();
        if event["event"] == name {
            return event;
        }
    };
    assert_eq!(next("LabStarted")["number"], 1);
    let stopped =
        HUB_SPOKE.replace("- {name: db, networkInterfaces", "- {name: db, powerState: stopped, networkInterfaces");
    lab.apply(&stopped);
    let power = next("PowerChanged");
    assert_eq!((&power["node"], &power["powerState"]), (&"db".into(), &"stopped".into()));
    assert!(lab.vnet(&["peering", "rm", "hub/hub-spoke1"]).status.success());
    let changed = next("NetworkChanged");
    assert_eq!((&changed["created"], &changed["deleted"]), (&Value::from(0), &Value::from(1)));
    let other_side = next("PeeringChanged");
    assert_eq!(
        (&other_side["peering"], &other_side["peeringState"]),
        (&"spoke1/spoke1-hub".into(), &"Disconnected".into())
    );
    assert_eq!(next("PeeringRemoved")["peering"], "hub/hub-spoke1");
    let all = lab.data(&["events"]);
    let numbers: Vec<_> = all.as_array().unwrap().iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let table = stdout(&lab.vnet(&["events"]));
    assert!(table.lines().any(|row| row.contains("PowerChanged") && row.ends_with("Stopped")), "{table}");
}

/// A command that prints lines of JSON, read one by one.
struct Lines {
    child: Following,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn of(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = vnet();
        command.args(["-l", &lab.name]).args(arguments).args(["-o", "json"]);
        let mut child = Following(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

#[test]
fn drops_are_followed_over_changes_until_the_lab_ends() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut drops = Lines::of(&lab, &["drops", "-f"]);
    // The destination of a packet is not always known: what counts is the sum of the reason's rows.
    let mut rows = HashMap::new();
    let mut dropped = |to: &str, at: &str, packets: u64| {
        lab.assert_dropped("web", to, at, "NoEndpoint");
        while rows.values().sum::<u64>() < packets {
            let row = drops.next();
            if row["node"] == at && row["reason"] == "NoEndpoint" {
                rows.insert(row["destinationAddress"].to_string(), row["packets"].as_u64().unwrap());
            }
        }
    };
    dropped("10.2.1.99", "nva", 1);
    // A machine more, and one less: the counters of the others go on.
    let spare = "virtualMachines:\n  - {name: spare, networkInterfaces: [{subnet: spoke1/app}]}";
    lab.apply(&HUB_SPOKE.replace("virtualMachines:", spare));
    dropped("10.2.1.99", "nva", 2);
    lab.apply(HUB_SPOKE);
    dropped("10.2.1.99", "nva", 3);
    lab.down();
    while drops.lines.next().is_some() {}
    let output = drops.child.0.wait().unwrap();
    assert_eq!(output.code(), Some(5));
}

#[test]
fn a_follower_ends_when_its_reader_goes_though_nothing_happens() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut counters = Lines::of(&lab, &["counters", "-f"]);
    counters.next();
    drop(counters.lines);
    eventually("the program ends", || counters.child.0.try_wait().unwrap().is_some_and(|status| status.success()));
}

#[test]
fn a_request_to_stop_ends_the_lab() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    assert_eq!(ask(&socket(&lab), &Request::Shutdown).unwrap(), Response::Stopping);
    eventually("nothing is left", || {
        !socket(&lab).exists() && !Path::new("/run/netns").join(format!("{}-web", lab.name)).exists()
    });
    assert_eq!(lab.vnet(&["status"]).status.code(), Some(5));
}

#[test]
fn nsg_20_and_21_flows_are_shown_once_or_as_each_interface_has_them() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    assert!(lab.vnet(&["exec", "web", "--", "ping", "-c2", "-i0.2", "db"]).status.success());
    let once = lab.data(&["flows", "--protocol", "icmp"]);
    assert_eq!(once.as_array().unwrap().len(), 1, "{once}");
    assert_eq!((&once[0]["node"], &once[0]["alsoAt"]), (&json!("web"), &json!(["nva/eth0", "db/eth0"])), "{once}");
    let flows = lab.data(&["flows", "--protocol", "icmp", "--both"]);
    let place = |flow: &Value| format!("{} {}", flow["node"].as_str().unwrap(), flow["direction"].as_str().unwrap());
    let mut places: Vec<String> = flows.as_array().unwrap().iter().map(place).collect();
    places.sort();
    assert_eq!(places, ["db Inbound", "nva Inbound", "nva Outbound", "web Outbound"]);

    let flows = lab.data(&["flows", "web/eth0", "--address", "10.2.1.10", "--state", "answered"]);
    let flow = &flows[0];
    assert_eq!((&flow["packetsSent"], &flow["packetsReceived"]), (&json!(2), &json!(2)), "{flow}");
    assert_eq!(flow["rules"], json!(["app defaultSecurityRules/AllowVnetOutBound"]));
    assert_eq!(lab.data(&["flows", "db", "--port", "1"]), json!([]));
    assert_eq!(lab.vnet(&["flows", "nobody"]).status.code(), Some(2));
}

/// PIP-01: what an interface is called inside its guest, and its address in the Internet.
#[test]
fn pip_01_status_shows_devices_and_public_addresses() {
    let topology = "
internet: {}
publicIPAddresses: [{name: one, ipAddress: 203.0.113.77}]
virtualNetworks: [{name: v, location: x, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}]
virtualMachines:
  - name: m
    networkInterfaces: [{name: front, subnet: v/s, publicIPAddress: one}, {name: back, subnet: v/s}]
";
    let Some(lab) = Lab::up(topology) else { return };
    let status = lab.data(&["status"]);
    let node = status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "m").unwrap();
    let nics = node["networkInterfaces"].as_array().unwrap().iter();
    let nics: Vec<_> =
        nics.map(|nic| (nic["name"].clone(), nic["device"].clone(), nic["publicAddresses"].clone())).collect();
    assert_eq!(nics[0], ("front".into(), "eth0".into(), serde_json::json!(["203.0.113.77"])));
    assert_eq!(nics[1], ("back".into(), "eth1".into(), serde_json::json!([])));
    let listed = lab.data(&["public-ips"]);
    assert_eq!(listed[0]["usedBy"], serde_json::json!(["m/front (10.1.1.4)"]));
    // An interface that comes later is the next one in its guest.
    lab.apply(&topology.replace("{name: back, subnet: v/s}", "{name: other, subnet: v/s}"));
    let status = lab.data(&["status"]);
    let device = |name: &str| {
        let nics =
            status["nodes"].as_array().unwrap().iter().flat_map(|node| node["networkInterfaces"].as_array().unwrap());
        nics.filter(|nic| nic["name"] == name).map(|nic| nic["device"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(device("other"), ["eth2"], "{status:#}");
    assert_eq!(lab.exec("m", &["cat", "/sys/class/net/eth2/operstate"]).status.code(), Some(0));
}

const GUARDED: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24}]
networkSecurityGroups:
  - name: web
    securityRules:
      - {name: rest, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.4}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.5, networkSecurityGroup: web}]}
";

#[test]
fn drops_name_the_destination_and_the_interface_of_the_rule() {
    let Some(lab) = Lab::up(GUARDED) else { return };
    assert_eq!(lab.data(&["drops"]), json!([]), "what guests' kernels say by themselves is no alarm");
    let counters = lab.data(&["counters"]);
    assert!(counters.as_array().unwrap().iter().all(|row| row["drops"] == row["harmlessDrops"]), "{counters}");
    lab.inside("a", || {
        for port in [5001, 5002] {
            let socket = std::net::UdpSocket::bind(("10.1.1.4", port)).unwrap();
            socket.send_to(b"?", "10.1.1.5:81").unwrap();
        }
    });
    eventually("both were dropped", || lab.drops("a", "NsgInbound") == 2);
    let fields = ["node", "nic", "packets", "destinationAddress", "destinationPort", "by", "rule"];
    let rows = |arguments: &[&str], more: &[&str]| -> Vec<String> {
        let rows = lab.data(arguments);
        let row = |row: &Value| fields.iter().chain(more).map(|field| row[*field].to_string()).collect::<Vec<_>>();
        rows.as_array().unwrap().iter().map(|it| row(it).join(" ").replace('"', "")).collect()
    };
    assert_eq!(rows(&["drops"], &[]), ["a eth0 2 10.1.1.5 81 b/eth0 web securityRules/rest"]);
    let flows = rows(&["drops", "--by", "flow"], &["sourceAddress", "sourcePort"]);
    let expected = |port| format!("a eth0 1 10.1.1.5 81 b/eth0 web securityRules/rest 10.1.1.4 {port}");
    assert_eq!(flows, [expected(5001), expected(5002)]);
}

/// Every probe and every ping is a flow of its own: those of one backend are one row, and pings have their identifiers.
#[test]
fn drops_by_flow_have_one_row_for_a_backends_probes_and_a_pings_identifier() {
    let balancer = "
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: in, subnet: v/s, privateIPAddress: 10.1.1.100}]
    backendAddressPools: [{name: all}]
    probes: [{name: alive, protocol: Tcp, port: 80, intervalInSeconds: 5}]
    loadBalancingRules:
      - {name: web, frontendIPConfiguration: in, backendAddressPool: all, probe: alive, protocol: Tcp, frontendPort: 80, backendPort: 80}
";
    let member = "networkSecurityGroup: web, loadBalancerBackendAddressPools: [lb/all]";
    let Some(lab) = Lab::up(&(GUARDED.replace("networkSecurityGroup: web", member) + balancer)) else { return };
    lab.inside("a", || assert!(crate::lab::ping("10.1.1.5", 64, Duration::from_millis(100)).is_none()));
    eventually("probes were refused", || lab.drops("AzurePlatform", "NsgInbound") >= 3);
    eventually("the ping was dropped", || lab.drops("a", "NsgInbound") == 1);
    let rows = lab.data(&["drops", "--by", "flow"]);
    let of = |node| rows.as_array().unwrap().iter().filter(|row| row["node"] == node).collect::<Vec<_>>();
    let [probes] = of("AzurePlatform")[..] else { panic!("{rows:#}") };
    assert_eq!((&probes["sourceAddress"], &probes["sourcePort"]), (&json!("168.63.129.16"), &Value::Null));
    assert!(probes["packets"].as_u64().unwrap() >= 3 && probes["destinationPort"] == 80, "{probes:#}");
    let [ping] = of("a")[..] else { panic!("{rows:#}") };
    let table = stdout(&lab.vnet(&["drops", "--by", "flow"]));
    assert!(table.contains(&format!("10.1.1.4 id {}  ", ping["sourcePort"])), "{table}");
}

/// SYS-11: what a service endpoint would take if it were TCP says so where it is dropped.
#[test]
fn sys_11_a_ping_to_a_services_address_reports_the_endpoint() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.41.0.0/16]
    subnets: [{name: s, addressPrefix: 10.41.0.0/24, serviceEndpoints: [{service: Microsoft.Storage}]}]
virtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]}]
";
    let Some(lab) = Lab::up(topology) else { return };
    let told = |address: &str| {
        lab.assert_dropped("a", address, "a", "NoInternet");
        let rows = lab.data(&["drops"]);
        let mut rows = rows.as_array().unwrap().iter();
        let row = rows.find(|row| row["destinationAddress"] == address).unwrap().clone();
        row["explanation"].as_str().unwrap().contains("service endpoint to Microsoft.Storage carries TCP alone")
    };
    assert!(told("203.0.113.4"));
    assert!(!told("8.8.8.8"));
}

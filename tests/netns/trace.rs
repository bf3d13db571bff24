//! Real packets seen on their way: the same steps as `explain` foretells, for any number of watchers, however they leave.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vnet::sys::process::{ProcessId, Signal};

use crate::lab::{Lab, eventually, stderr, stdout, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// `vnet trace`, at work: no packet from now on is overlooked.
pub(crate) struct Trace {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Trace {
    pub(crate) fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let before = watchers(lab);
        let mut command = vnet();
        command.args(["-l", &lab.name, "trace", "-o", "json"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let trace = Self { child, lines };
        eventually("the trace has begun", || watchers(lab) > before);
        trace
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// What is left, once it has ended by itself; and its exit code.
    pub(crate) fn rest(&mut self) -> (Vec<Value>, i32) {
        let rest = self.lines.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        (rest, self.child.wait().unwrap().code().unwrap())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that are being told things: their threads in the daemon.
pub(crate) fn watchers(lab: &Lab) -> usize {
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "vnet-follow").count()
}

/// What was decided, without what guests do in between, which is not the fabric's.
fn decisions(path: &Value) -> Vec<Value> {
    let steps = path["hops"].as_array().unwrap().iter().flat_map(|hop| hop["steps"].as_array().unwrap());
    let guests = ["send", "forward", "deliver"];
    steps.filter(|step| !guests.contains(&step["what"].as_str().unwrap())).cloned().collect()
}

#[test]
fn diag_13_a_packet_takes_the_steps_that_explain_foretells() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let foretold = lab.data(&["explain", "web", "db"]);
    let mut trace = Trace::start(&lab, &["-c4", "icmp", "and", "host", "web", "and", "host", "10.2.1.10"]);
    lab.assert_ping("web", "10.2.1.10");
    let (legs, code) = trace.rest();
    assert_eq!(code, 0);
    let from: Vec<&str> = legs.iter().map(|leg| leg["nic"].as_str().unwrap()).collect();
    assert_eq!(from, ["web/eth0", "nva/eth0", "db/eth0", "nva/eth0"]);
    for (way, legs) in [("forward", &legs[..2]), ("return", &legs[2..])] {
        let taken: Vec<Value> = legs.iter().flat_map(decisions).collect();
        assert_eq!(taken, decisions(&foretold[way]), "{way}");
        assert!(legs.iter().all(|leg| leg["delivered"] == true && leg["dropped"].is_null()));
    }
    let packet = &legs[0]["packet"];
    assert_eq!((&packet["protocol"], &packet["ttl"], &packet["icmp"]["type"]), (&"icmp".into(), &64.into(), &8.into()));
    assert_eq!(legs[1]["packet"]["ttl"], 63, "the guest counted a hop");
    assert!(packet["text"].as_str().unwrap().starts_with("10.1.1.4 > 10.2.1.10 icmp echo request, id "));
}

#[test]
fn several_traces_see_each_what_they_want_and_end_when_they_have_it() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut dropped = Trace::start(&lab, &["-c1", "dropped and host 10.2.1.99"]);
    let mut answers = Trace::start(&lab, &["-c2", "icmp and src host db"]);
    assert_eq!(lab.ping("web", "10.2.1.99"), None);
    lab.assert_ping("web", "10.2.1.10");
    let (packets, code) = dropped.rest();
    assert_eq!((code, packets.len()), (0, 1));
    assert_eq!((&packets[0]["dropped"], &packets[0]["node"]), (&"NoEndpoint".into(), &"nva".into()));
    let (packets, code) = answers.rest();
    assert_eq!((code, packets.len()), (0, 2));
    eventually("no watcher is left", || watchers(&lab) == 0);
}

#[test]
fn a_time_limit_ends_a_trace_and_a_count_that_was_not_reached_is_a_no() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let ended = |arguments: &[&str]| lab.vnet(&[&["trace", "--timeout", "0.3"], arguments].concat());
    assert_eq!(ended(&["esp"]).status.code(), Some(0));
    assert_eq!(ended(&["-c1", "esp"]).status.code(), Some(1));
    let unknown = ended(&["node", "wbe"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("did you mean `web`?"), "{}", stderr(&unknown));
}

/// Killed clients leave nothing behind: there is a limit, and it is not reached.
#[test]
fn a_killed_client_ends_its_trace() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    for _ in 0..20 {
        drop(Trace::start(&lab, &[]));
        eventually("its thread ends", || watchers(&lab) == 0);
    }
    lab.assert_ping("web", "10.2.1.10");
}

/// More than can be told: it is said how much is missing, everything is decided, and questions are answered meanwhile.
#[test]
fn a_flood_does_not_starve_other_machines() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut trace = Trace::start(&lab, &["udp", "dst", "port", "7"]);
    let sender = lab.inside("web", || UdpSocket::bind("0.0.0.0:0").unwrap());
    for _ in 0..20_000 {
        // To an unused address. What the guest's own queue drops never comes to the router.
        sender.send_to(b"flood", "10.1.1.99:7").unwrap();
    }
    assert_eq!(lab.data(&["status"])["name"], lab.name);
    lab.assert_ping("web", "10.2.1.10");
    let mut before = 0;
    eventually("everything that came is decided", || {
        thread::sleep(Duration::from_millis(300));
        let now = lab.drops("web", "NoEndpoint");
        std::mem::replace(&mut before, now) == now
    });
    let process = ProcessId::of(trace.child.id()).unwrap();
    let mut complaints = trace.child.stderr.take().unwrap();
    assert!(process.signal(Signal::INT).unwrap());
    let (told, code) = trace.rest();
    assert_eq!(code, 0, "asked to end, it ends well");
    let mut text = String::new();
    complaints.read_to_string(&mut text).unwrap();
    let total = text.lines().last().unwrap_or_default();
    let missed: u64 = total.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0);
    assert!(missed == 0 || total.ends_with("not shown in all"), "{text}");
    let dropped = lab.drops("web", "NoEndpoint");
    assert!(dropped > 1000, "{dropped}");
    assert_eq!(told.len() as u64 + missed, dropped, "{total}");
}

#[test]
fn a_trace_goes_on_over_changes_of_the_lab() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut trace = Trace::start(&lab, &["icmp", "and", "node", "web"]);
    lab.assert_ping("web", "10.0.1.4");
    assert_eq!(trace.next()["nic"], "web/eth0");
    assert_eq!(trace.next()["nic"], "nva/eth0");
    let denied = HUB_SPOKE.replace(
        "securityRules:",
        "securityRules:\n      - {name: shut, priority: 101, \
        direction: Outbound, access: Deny, protocol: Icmp, sourceAddressPrefix: '*', sourcePortRange: '*', \
        destinationAddressPrefix: '*', destinationPortRange: '*'}",
    );
    lab.apply(&denied);
    assert_eq!(lab.ping("web", "10.0.1.4"), None);
    let packet = trace.next();
    assert_eq!((&packet["dropped"], &packet["nic"]), (&"NsgOutbound".into(), &"web/eth0".into()));
    assert!(decisions(&packet)[0]["object"].as_str().unwrap().ends_with("rule securityRules/shut"), "{packet}");
}

#[test]
fn people_get_the_words_of_explain() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let trace = vnet()
        .args(["-l", &lab.name, "trace", "-c1", "--timeout", "10", "dst host 10.2.1.98"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the trace has begun", || watchers(&lab) == 1);
    assert_eq!(lab.ping("web", "10.2.1.98"), None);
    let text = stdout(&trace.wait_with_output().unwrap());
    for line in [
        "10.1.1.4 > 10.2.1.98 icmp echo request",
        "\n  web/eth0\n    send     10.1.1.4 sends to 10.2.1.98\n",
        "[route table via-nva, route to-spokes: 10.0.0.0/8 -> VirtualAppliance 10.0.1.4]\n",
        "\n    deliver  handed to the guest of nva, to forward to 10.2.1.98\n",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

// ---- explain --verify ----

/// What a real packet says to an explanation that ends with this exit code.
fn verified(lab: &Lab, question: &[&str], code: i32) -> Value {
    let output = lab.vnet(&[&["explain", "--verify", "-o", "json"], question].concat());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(output.status.code(), Some(code), "{question:?}: {}", answer["verification"]);
    answer["verification"].clone()
}

#[test]
fn diag_13_a_real_packet_bears_explain_out() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    for (question, legs) in [
        (["web", "db"], (2, 2)),
        (["web/eth0", "db:443"], (2, 2)),
        (["db", "web:53/udp"], (2, 2)),
        (["web", "nva:22"], (1, 1)),
    ] {
        let verification = verified(&lab, &question, 0);
        assert_eq!((&verification["agrees"], &verification["verdict"]), (&true.into(), &"reachable".into()));
        let count = |way: &str| verification[way].as_array().unwrap().len();
        assert_eq!((count("forward"), count("return")), legs, "{question:?}");
    }
    // Blocked is as good an answer, if the packet ends where it should.
    let verification = verified(&lab, &["web", "10.2.1.99:80"], 1);
    assert_eq!((&verification["agrees"], &verification["verdict"]), (&true.into(), &"blocked".into()));
    assert_eq!(verification["forward"][1]["dropped"], "NoEndpoint");
    let text = stdout(&lab.vnet(&["explain", "web", "db:443", "--verify"]));
    assert!(text.contains("\nverified a real packet from port "), "{text}");
}

/// A guest that masquerades is followed, there and back, as the model has it.
#[test]
fn diag_13_a_guest_that_masquerades_is_followed() {
    let masked =
        HUB_SPOKE.replace("enableIPForwarding: true}]", "enableIPForwarding: true}], guest: {masquerade: all}");
    assert_ne!(masked, HUB_SPOKE);
    let Some(lab) = Lab::up(&masked) else { return };
    for question in [["web", "db"], ["web", "db:443"], ["db", "web:53/udp"]] {
        let verification = verified(&lab, &question, 0);
        assert_eq!((&verification["agrees"], &verification["verdict"]), (&true.into(), &"reachable".into()));
        let source = |way: &str, leg: usize| verification[way][leg]["packet"]["sourceIPAddress"].clone();
        assert_eq!(source("forward", 1), "10.0.1.4", "{question:?}");
        assert_eq!(verification["return"].as_array().unwrap().len(), 2, "{question:?}");
    }
}

/// A guest that is not as the file says is what the model cannot know.
#[test]
fn a_guest_that_does_otherwise_is_found_out() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    assert!(lab.exec("nva", &["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]).status.success());
    let verification = verified(&lab, &["web", "db:443"], 1);
    let differences: Vec<&str> =
        verification["differences"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(differences[0], "the model says reachable, the probe was not answered");
    assert!(differences[1].starts_with("there: the model goes on at nva/eth0 `outbound: "), "{differences:?}");
    assert_eq!(differences.len(), 2, "{differences:?}");
}

/// The first machine of a file need not have joined the lab first.
#[test]
fn machines_are_found_after_a_change() {
    let first = "virtualMachines:\n  - {name: first, networkInterfaces: [{subnet: spoke1/app}]}";
    let Some(lab) = Lab::up(&HUB_SPOKE.replace("virtualMachines:", first)) else { return };
    lab.apply(HUB_SPOKE);
    assert_eq!(verified(&lab, &["nva", "db"], 0)["agrees"], true);
    assert_eq!(verified(&lab, &["db", "nva:80"], 0)["agrees"], true);
}

/// The flow that is asked about has its own hash: the model follows that very one.
#[test]
fn rsel_06_a_spread_is_verified_by_the_flow_that_was_sent() {
    let spread = "nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.0.1.4, 10.0.1.5]}";
    let more = "virtualMachines:\n  - {name: nva2, networkInterfaces: [{subnet: hub/nva, \
        privateIPAddress: 10.0.1.5, enableIPForwarding: true}]}";
    let text = HUB_SPOKE.replace("nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4", spread);
    let text = text.split("tests:").next().unwrap().replace("virtualMachines:", more);
    let Some(lab) = Lab::up(&text) else { return };
    for _ in 0..4 {
        assert_eq!(verified(&lab, &["web", "db:443"], 3)["agrees"], true);
    }
}

// ---- explain --live ----

/// A connection goes on though its rule is gone; what a new one would meet is told beside it. Looking changes nothing.
#[test]
fn nsg_22_explain_follows_a_flow_that_goes_on() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let none = lab.vnet(&["explain", "web", "db:443", "--live"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("there is no such flow: web/eth0 has no record of one"), "{}", stderr(&none));

    let listener = lab.inside("db", || TcpListener::bind("10.2.1.10:443").unwrap());
    let client = lab.inside("web", || TcpStream::connect("10.2.1.10:443").unwrap());
    let (server, _) = listener.accept().unwrap();
    let say = |word: &[u8; 4]| {
        (&client).write_all(word).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = [0; 4];
        (&server).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, word);
    };
    say(b"ping");
    let shut = "securityRules:\n      - {name: shut, priority: 101, direction: Outbound, access: Deny, protocol: '*', \
        sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}";
    lab.apply(&HUB_SPOKE.replace("securityRules:", shut));
    say(b"pong");

    assert_eq!(lab.vnet(&["explain", "web", "db:443"]).status.code(), Some(1), "a new flow");
    // A last ACK may be under way still.
    eventually("the connection rests", || {
        lab.data(&["explain", "web", "db:443", "--live"])["flow"]["idleMs"].as_u64() > Some(300)
    });
    let records = lab.data(&["status"])["flows"].clone();
    let live = lab.data(&["explain", "web", "db:443", "--live"]);
    assert_eq!((&live["verdict"], &live["cause"]), (&"reachable".into(), &Value::Null));
    let warning = live["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("a new flow would not get there and back: ") && warning.contains("shut"), "{warning}");
    for way in ["forward", "return"] {
        let filters: Vec<_> = decisions(&live[way]).into_iter().filter(|step| step["what"] == "filter").collect();
        assert_eq!(filters.len(), 4);
        assert!(filters.iter().all(|step| step["text"].as_str().unwrap().ends_with("follows the flow record")));
    }
    assert_eq!(live["flow"]["sourcePort"], client.local_addr().unwrap().port());
    let again = lab.data(&["explain", "web", "db:443", "--live"]);
    assert!(again["flow"]["idleMs"].as_u64() >= live["flow"]["idleMs"].as_u64(), "{}", again["flow"]);
    assert_eq!(again["flow"]["packetsSent"], live["flow"]["packetsSent"]);
    assert_eq!(lab.data(&["status"])["flows"], records);
    let text = stdout(&lab.vnet(&["explain", "web", "db:443", "--live"]));
    assert!(text.contains("\nby the flow from port ") && text.contains(": on record at web/eth0 for "), "{text}");
}

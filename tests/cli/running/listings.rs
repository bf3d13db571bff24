//! Listings and the status: each whole text, and what of it is left out.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;

use serde_json::{Value, json};
use vnet::daemon::api::protocol::{Request, Topic};

use super::{Lab, Told, follow, once, refused};

fn counters() -> Value {
    let row = |node: &str, alive: bool| {
        json!({"node": node, "nic": "eth0", "rxPackets": 1, "rxBytes": 20, "txPackets": 3, "txBytes": 400,
               "drops": 9, "harmlessDrops": 4, "alive": alive})
    };
    json!({"counters": [row("web", true), row("db", false)]})
}

fn drops() -> Value {
    let row = |reason: &str, packets: u64, harmless: bool, flow: Value| {
        let mut row = json!({"node": "web", "nic": "eth0", "reason": reason, "packets": packets, "harmless": harmless,
                             "explanation": "so it is"});
        row.as_object_mut().unwrap().extend(flow.as_object().unwrap().clone());
        row
    };
    let tcp = json!({"protocol": "Tcp", "sourceAddress": "10.0.0.4", "sourcePort": 1000, "destinationAddress": "10.1.0.4",
                     "destinationPort": 443, "by": "db/eth0", "rule": "nsg rule"});
    let ping = json!({"protocol": "Icmp", "sourceAddress": "10.0.0.4", "sourcePort": 7, "destinationAddress": "10.1.0.4",
                      "destinationPort": 7, "by": "db/eth0"});
    let no_id = json!({"protocol": "Icmp", "sourceAddress": "10.0.0.4", "sourcePort": 0, "destinationAddress": "10.1.0.4",
                       "destinationPort": 0});
    let udp = json!({"protocol": "Udp", "destinationAddress": "fd00::4", "destinationPort": 53});
    json!({"drops": [row("NsgInbound", 2, false, tcp), row("NsgInbound", 3, false, ping), row("NoRoute", 4, false, no_id),
                     row("NoRoute", 5, false, udp), row("Multicast", 6, true, json!({}))]})
}

fn events() -> Value {
    json!({"events": [
        {"number": 1, "time": "2026-11-24T20:00:01.5Z", "event": "LabStarted", "lab": "lab", "file": "lab.vnet.yaml"},
        {"number": 2, "time": "2026-11-24T20:00:02Z", "event": "DeviceLost", "interface": "web/eth0"},
    ]})
}

fn lab() -> Lab {
    Lab::start(|request| match request {
        Request::Counters => once(counters()),
        Request::Drops { .. } => once(drops()),
        Request::Events => once(events()),
        Request::Follow(Topic::Counters) => follow([counters(), counters()]),
        Request::Follow(Topic::Drops { .. }) => follow([drops()]),
        Request::Follow(Topic::Events) => follow([events()]),
        other => refused(other),
    })
}

/// A machine's own view, and without the drops that every lab has.
#[test]
fn counters_are_as_the_machine_sees_them() {
    let lab = lab();
    let table = "\
Node    Interface    Sent    Sent Bytes    Received    Received Bytes    Drops    State
------  -----------  ------  ------------  ----------  ----------------  -------  -------
web     eth0         1       20            3           400               5        up
db      eth0         1       20            3           400               5        gone
";
    assert_eq!(lab.prints("counters"), table);
    assert_eq!(lab.prints("counters -o tsv"), "web\teth0\t1\t20\t3\t400\t5\tup\ndb\teth0\t1\t20\t3\t400\t5\tgone\n");
    let data: Value = serde_json::from_str(&lab.prints("counters -o json")).unwrap();
    assert_eq!(data[1]["alive"], false);
    assert_eq!((&data[0]["drops"], &data[0]["harmlessDrops"]), (&json!(9), &json!(4)));
    assert_eq!(lab.asked(), [Request::Counters, Request::Counters, Request::Counters]);
}

#[test]
fn drops_name_the_flow_and_its_rule_and_leave_out_what_is_harmless() {
    let lab = lab();
    let rows = "\
web\teth0\tNsgInbound\t2\tTcp\t10.0.0.4:1000\t10.1.0.4:443\tdb/eth0, nsg rule\tso it is
web\teth0\tNsgInbound\t3\tIcmp\t10.0.0.4 id 7\t10.1.0.4\tdb/eth0\tso it is
web\teth0\tNoRoute\t4\tIcmp\t10.0.0.4\t10.1.0.4\t\tso it is
web\teth0\tNoRoute\t5\tUdp\t\t[fd00::4]:53\t\tso it is
";
    assert_eq!(lab.prints("drops -o tsv"), rows);
    assert_eq!(
        lab.prints("drops --by flow --all -o tsv"),
        format!("{rows}web\teth0\tMulticast\t6\t\t\t\t\tso it is\n")
    );
    assert_eq!(lab.asked(), [Request::Drops { by_flow: false }, Request::Drops { by_flow: true }]);
    let heading = lab.prints("drops").lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(heading, "Node Interface Reason Packets Protocol Source Destination By Explanation");
}

#[test]
fn events_have_their_time_of_day() {
    let rows = "\
20:00:01.5\tLabStarted\tlab\tlab.vnet.yaml
20:00:02\tDeviceLost\tweb/eth0\tpackets for it are dropped until `vnet apply` or SIGHUP
";
    assert_eq!(lab().prints("events -o tsv"), rows);
}

/// Each batch of a listing that is followed is printed as it comes: in json a row a line. It ends with its reader.
#[test]
fn what_is_followed_is_printed_until_nobody_reads() {
    let lab = lab();
    for (words, lines) in [
        (&["counters", "-f", "-o", "json"][..], 4),
        (&["drops", "-f", "-o", "json"], 4),
        (&["drops", "-f", "--all", "-o", "tsv"], 5),
        (&["events", "-f", "-o", "json"], 2),
        (&["events", "--follow"], 5),
    ] {
        let mut child = lab.spawn(words);
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let printed: Vec<_> = stdout.by_ref().take(lines).map(Result::unwrap).collect();
        drop(stdout);
        if words.contains(&"json") {
            assert!(printed.iter().all(|line| serde_json::from_str::<Value>(line).unwrap().is_object()), "{printed:?}");
        }
        assert_eq!(
            printed.last().is_some_and(String::is_empty),
            words.contains(&"--follow"),
            "a line between two tables"
        );
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap() as &mut ChildStderr, &mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}

fn status(changes: impl FnOnce(&mut Value)) -> Value {
    let nic = |name: &str, alive: bool| {
        json!({"name": name, "subnet": "v/s", "addresses": ["10.0.0.4", "fd00::4"], "publicAddresses": ["203.0.113.1"],
               "device": name, "alive": alive})
    };
    let mut status = json!({
        "name": "lab", "file": "lab.vnet.yaml", "pid": 42, "uptimeSeconds": 59, "generation": 3, "workers": 2,
        "device": "veth", "offload": "tcp", "flows": 7,
        "nodes": [
            {"name": "web", "namespace": "lab-web", "powerState": "running", "networkInterfaces": [nic("eth0", true), nic("eth1", false)]},
            {"name": "idle", "namespace": "", "powerState": "stopped", "networkInterfaces": [nic("eth0", false)]},
        ],
    });
    changes(&mut status);
    json!({"status": status})
}

fn status_of(changes: impl Fn(&mut Value) + Send + Sync + 'static) -> Lab {
    Lab::start(move |request| match request {
        Request::Status => once(status(&changes)),
        other => refused(other),
    })
}

const NODES: &str = "
Node    Interface    Device    Subnet    Addresses         Public Addresses    State    Namespace
------  -----------  --------  --------  ----------------  ------------------  -------  -----------
web     eth0         eth0      v/s       10.0.0.4 fd00::4  203.0.113.1         up       lab-web
web     eth1         eth1      v/s       10.0.0.4 fd00::4  203.0.113.1         gone     lab-web
idle    eth0         eth0      v/s       10.0.0.4 fd00::4  203.0.113.1         stopped
";

#[test]
fn a_plain_lab_has_a_short_status() {
    let text = format!(
        "Lab lab from lab.vnet.yaml\nDaemon 42, up 59 s, workers 2, offload tcp, generation 3, flow records 7\n\nDevices veth\n{NODES}"
    );
    let lab = status_of(|_| {});
    assert_eq!(lab.prints("status"), text);
    assert_eq!(lab.prints("status lab"), text);
    let unknown = lab.run("status other");
    assert_eq!((unknown.code, unknown.stderr.as_str()), (5, "error: lab other does not run; running: lab\n"));
}

#[test]
fn the_status_has_balancers_logs_and_programs_and_warns_of_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("db.log");
    std::fs::write(&log, "1\n2\n3\n4\n5\nlast\n").unwrap();
    let path = log.display().to_string();
    let lab = status_of(move |status| {
        status["uptimeSeconds"] = json!(3600 * 25 + 61);
        status["carriedFlows"] = json!(1);
        status["tunInterfaces"] = json!(["web/eth0", "db/eth0"]);
        status["alerts"] = json!(["worker 1 has failed"]);
        status["loadBalancers"] = json!([{"name": "front", "backends": 2, "down": ["db/eth0"]},
                                         {"name": "back", "backends": 1, "down": []}]);
        status["flowLogs"] = json!([
            {"name": "net", "target": "virtualNetworks/v", "enabled": true, "storagePath": "/logs", "records": 2},
            {"name": "off", "target": "virtualNetworks/w", "enabled": false, "storagePath": "/logs", "records": 0},
        ]);
        status["programs"] = json!([
            {"node": "web", "command": "serve", "ended": null, "failed": false, "log": "/nowhere"},
            {"node": "db", "command": "once", "ended": "exit status: 0", "failed": false, "log": "/nowhere"},
            {"node": "db", "command": "bad", "ended": "exit status: 3", "failed": true, "log": path},
        ]);
    });
    let text = format!(
        "Lab lab from lab.vnet.yaml
Daemon 42, up 25 h 1 min, workers 2, offload tcp, generation 3, flow records 7

Devices veth, tun of web/eth0, db/eth0, the kernel carries 1 flow, each direction by itself

Load balancer front, 1 of 2 backends up; not db/eth0
Load balancer back, 1 of 1 backend up
Flow log net of virtualNetworks/v, 2 records below /logs
Program of web, `serve`, runs
Program of db, `once`, ended: exit status: 0
Program of db, `bad`, ended: exit status: 3
{NODES}"
    );
    let ended = lab.run("status");
    assert_eq!((ended.code, ended.stdout), (3, text));
    let warnings =
        "warning: worker 1 has failed\nwarning: `bad` of db ended: exit status: 3\n  2\n  3\n  4\n  5\n  last\n";
    assert_eq!(ended.stderr, warnings);
}

#[test]
fn one_thing_in_the_status_is_enough_for_a_paragraph() {
    let minutes =
        |minutes: u64| format!("up {}, ", if minutes < 60 { format!("{minutes} min") } else { String::new() });
    for (key, value, line) in [
        ("loadBalancers", json!([{"name": "b", "backends": 0, "down": []}]), "Load balancer b, 0 of 0 backends up"),
        (
            "flowLogs",
            json!([{"name": "l", "target": "t", "enabled": true, "storagePath": "/l", "records": 1}]),
            "Flow log l of t, 1 record below /l",
        ),
        (
            "programs",
            json!([{"node": "web", "command": "c", "ended": null, "failed": false, "log": "/l"}]),
            "Program of web, `c`, runs",
        ),
    ] {
        let lab = status_of(move |status| {
            status[key] = value.clone();
            status["notCarried"] = json!("no rights");
            status["uptimeSeconds"] = json!(60 * 59 + 59);
        });
        let text = lab.prints("status");
        assert!(text.contains(&minutes(59)), "{text}");
        assert!(
            text.contains(&format!("\nDevices veth, the kernel carries no flows: no rights\n\n{line}\n{NODES}")),
            "{text}"
        );
    }
}

#[test]
fn a_long_uptime_is_in_days() {
    for (seconds, words) in
        [(0, "0 s"), (60, "1 min"), (3600, "1 h 0 min"), (48 * 3600 - 1, "47 h 59 min"), (48 * 3600, "2 days")]
    {
        let lab = status_of(move |status| status["uptimeSeconds"] = json!(seconds));
        assert!(lab.prints("status").contains(&format!("up {words}, ")), "{seconds}");
    }
}

#[test]
fn labs_are_listed_with_their_state() {
    let lab = status_of(|_| {});
    let pid = std::process::id();
    let width = pid.to_string().len().max(5);
    let table = format!(
        "\
Lab    State    {:width$}  Nodes    File
-----  -------  {}  -------  -------------
lab    running  {pid:<width$}  2        lab.vnet.yaml
",
        "Pid",
        "-".repeat(width)
    );
    assert_eq!(lab.prints("ls"), table);
    // One whose daemon is gone, and one whose file is damaged.
    let record = std::fs::read_to_string(lab.directory("lab").join("lab.json")).unwrap();
    let mut gone: Value = serde_json::from_str(&record).unwrap();
    (gone["lab"], gone["daemon"]["start_time"]) = (json!("gone"), json!(1));
    lab.write("gone", "lab.json", &gone.to_string());
    lab.write("torn", "lab.json", "{");
    lab.directory("empty");
    let rows = format!(
        "gone\tcrashed\t{pid}\t2\tlab.vnet.yaml\nlab\trunning\t{pid}\t2\tlab.vnet.yaml\ntorn\tcrashed\t\t0\t\n"
    );
    assert_eq!(lab.prints("ls -o tsv"), rows);
    assert!(lab.prints("status").starts_with("Lab lab "), "the one that runs");
    let crashed = lab.run("status -l gone");
    assert_eq!(crashed.code, 5);
    assert!(
        crashed.stderr.starts_with("error: lab gone has crashed: its daemon is gone; `vnet up` starts it anew"),
        "{crashed:?}"
    );
    let several = lab.run("down");
    assert_eq!((several.code, several.stdout.as_str()), (2, ""));
    assert!(several.stderr.contains("gone, lab, torn"), "{several:?}");
    // Several that run: one has to be named.
    gone["daemon"] = serde_json::from_str::<Value>(&record).unwrap()["daemon"].clone();
    lab.write("gone", "lab.json", &gone.to_string());
    let several = lab.run("status");
    assert_eq!(several.code, 2);
    assert!(several.stderr.contains("gone, lab"), "{several:?}");
}

/// Answers that the daemon gives to other questions are its fault, refusals the user's.
#[test]
fn a_wrong_answer_is_told() {
    let lab = Lab::start(|request| match request {
        Request::Counters => Told::Once(vnet::daemon::api::protocol::Response::Stopping),
        Request::Drops { .. } => once(json!({"failed": {"message": "no room", "help": "make room"}})),
        other => once(json!({"refused": {"message": format!("asked for {other:?}"), "help": "ask again"}})),
    });
    for (line, code, stderr) in [
        ("counters", 5, "error: the daemon answered something else: Stopping\n"),
        ("drops", 4, "error: no room\nhelp: make room\n"),
        ("events", 2, "error: asked for Events\nhelp: ask again\n"),
    ] {
        let ended = lab.run(line);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (code, "", stderr), "{line}");
    }
}

/// Of a machine's rules those without a hit are left; default rules are not there to be used.
#[test]
fn unused_rules_are_those_of_the_user_without_a_hit() {
    let rule = |name: &str, hits: u64| {
        json!({"name": name, "direction": "Inbound", "priority": 100, "access": "Allow", "protocol": "Tcp", "hits": hits,
               "sourceAddressPrefixes": ["0.0.0.0/0"], "sourcePortRanges": ["0-65535"],
               "destinationAddressPrefixes": ["10.0.0.0/16"], "destinationPortRanges": ["80-80", "90-99"]})
    };
    let group = move |name: &str, hits: u64| {
        json!({"networkSecurityGroup": {"id": name}, "association": {"subnet": {"id": "v/s"}}, "tagMap": {},
               "effectiveSecurityRules": [rule("securityRules/a", hits), rule("securityRules/b", 5), rule("defaultSecurityRules/c", 0)]})
    };
    let lab = |hits: u64| {
        Lab::start(move |request| match request {
            Request::Rules { target } if target == "web" => {
                once(json!({"rules": [group("one", hits), group("two", 1)]}))
            }
            Request::UnusedRules => {
                once(json!({"unusedRules": [{"owner": "one", "direction": "Outbound", "name": "securityRules/x"}]}))
            }
            Request::Rules { .. } => once(json!({"rules": []})),
            Request::Status => once(status(|_| {})),
            other => refused(other),
        })
    };
    let row = "NSG one on subnet v/s\tInbound\t100\tsecurityRules/a\tAllow\tTcp\t*\t*\t10.0.0.0/16\t80 90-99\t0\n";
    assert_eq!(lab(0).prints("rules web --unused -o tsv"), row);
    assert_eq!(lab(0).prints("rules web -o tsv").lines().count(), 6);
    assert_eq!(lab(1).prints("rules web --unused"), "no rule is unused\n");
    let stopped = lab(0).run("rules idle/eth0");
    assert_eq!((stopped.code, stopped.stdout.as_str()), (0, "no NSG and no admin rules: everything is allowed\n"));
    assert_eq!(stopped.stderr, "note: machine idle is stopped: Azure answers for machines that run\n");
    assert_eq!(lab(0).prints("rules --unused -o tsv"), "one\tOutbound\tsecurityRules/x\n");
}

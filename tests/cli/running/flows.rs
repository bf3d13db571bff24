//! `vnet flows`: pages, the limit, what is followed.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};
use vnet::daemon::api::protocol::{FlowFilter, Request, Topic};
use vnet::sys::process::{ProcessId, Signal};

use super::{Lab, ended, follow, once, refused};

fn row(node: &str, direction: &str, port: u16) -> Value {
    json!({
        "node": node, "nic": "eth0", "direction": direction, "protocol": "Tcp",
        "sourceAddress": "10.0.0.4", "sourcePort": port, "destinationAddress": "10.1.0.4", "destinationPort": 443,
        "state": "Established", "access": "Allow", "ageSeconds": 61.4, "idleSeconds": 0.6,
        "packetsSent": 1, "bytesSent": 20, "packetsReceived": 3, "bytesReceived": 400, "rules": [format!("{node} rule")],
    })
}

/// Three pages: the first has both ends of a flow.
fn lab() -> Lab {
    Lab::start(|request| match request {
        Request::Flows { from, .. } => {
            let mut denied = row("web", "Outbound", 3000);
            denied["deniedAt"] = json!("db/eth0");
            (denied["translatedAddress"], denied["translatedPort"]) = (json!("203.0.113.1"), json!(99));
            let (flows, next) = match from {
                None => (vec![row("db", "Inbound", 1000), row("web", "Outbound", 1000)], json!(17)),
                Some(17) => (vec![row("web", "Outbound", 2000)], json!(18)),
                Some(_) => (vec![denied], Value::Null),
            };
            once(json!({"flows": {"flows": flows, "next": next}}))
        }
        Request::Follow(Topic::Flows { .. }) => {
            let change = |event: &str, port| {
                let mut change = row("web", "Outbound", port);
                (change["time"], change["event"]) = (json!("2026-11-24T20:00:01.5Z"), json!(event));
                change
            };
            let news =
                |changes: Vec<Value>, missed: u64| json!({"flowChanges": {"changes": changes, "missed": missed}});
            let begun = vec![change("Running", 1000), change("Begun", 2000)];
            follow([news(begun, 0), news(Vec::new(), 0), news(vec![change("Ended", 1000)], 1), news(Vec::new(), 2)])
        }
        other => refused(other),
    })
}

const ONE: &str = "web\teth0\tOutbound\tTcp\t10.0.0.4:1000\t10.1.0.4:443\t\tdb/eth0\tEstablished\tAllow\t61 s\t1 s\t1 / 20 B\t3 / 400 B\tweb rule, db rule\n";
const TWO: &str = "web\teth0\tOutbound\tTcp\t10.0.0.4:2000\t10.1.0.4:443\t\t\tEstablished\tAllow\t61 s\t1 s\t1 / 20 B\t3 / 400 B\tweb rule\n";
const DENIED: &str = "web\teth0\tOutbound\tTcp\t10.0.0.4:3000\t10.1.0.4:443\t203.0.113.1:99\t\tDenied at db/eth0 by web rule\tAllow\t61 s\t1 s\t1 / 20 B\t3 / 400 B\tweb rule\n";

#[test]
fn flows_are_read_page_by_page_up_to_the_limit() {
    let lab = lab();
    assert_eq!(lab.prints("flows -o tsv"), format!("{ONE}{TWO}{DENIED}"));
    let pages = |filter: &FlowFilter, from: &[Option<u64>]| {
        from.iter().map(|from| Request::Flows { filter: filter.clone(), from: *from }).collect::<Vec<_>>()
    };
    let all = FlowFilter::default();
    assert_eq!(lab.asked(), pages(&all, &[None, Some(17), Some(18)]));
    assert_eq!(lab.prints("flows -n 3 -o tsv"), format!("{ONE}{TWO}{DENIED}"), "as many as there are");
    lab.asked();
    for (limit, flows, asked, words) in [
        ("1", ONE.to_owned(), &[None, Some(17)][..], "1 flow"),
        ("2", format!("{ONE}{TWO}"), &[None, Some(17), Some(18)], "2 flows"),
    ] {
        let answer = lab.run(&format!("flows -n {limit} -o tsv"));
        let note = format!("note: more than {words}: --limit shows more, a filter fewer\n");
        assert_eq!((answer.code, answer.stdout, answer.stderr), (0, flows, note));
        assert_eq!(lab.asked(), pages(&all, asked), "no page more than it takes");
    }
    let both = lab.prints("flows --both -o tsv");
    assert_eq!(both.lines().count(), 4);
    assert!(both.lines().all(|line| line.split('\t').count() == 14), "no column for what no row has: {both}");
    lab.asked();
    lab.prints("flows web/eth0 --address 10.0.0.4 --port 80 --protocol tcp --state established -o json");
    let filter = FlowFilter {
        node: Some("web/eth0".to_owned()),
        address: "10.0.0.4".parse().ok(),
        port: Some(80),
        protocol: Some("tcp".to_owned()),
        state: Some("established".to_owned()),
    };
    assert_eq!(lab.asked(), pages(&filter, &[None, Some(17), Some(18)]));
}

#[test]
fn events_of_flows_are_followed_until_ctrl_c() {
    let lab = lab();
    let mut child = lab.spawn(&["flows", "-f", "-o", "tsv", "web"]);
    let line = |event: &str, port: u16| {
        format!(
            "20:00:01.5\t{event}\tweb\teth0\tOutbound\tTcp\t10.0.0.4:{port}\t10.1.0.4:443\t\tEstablished\tAllow\t61 s\t1 s\t1 / 20 B\t3 / 400 B\tweb rule"
        )
    };
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let missed = |count: &str| format!("note: {count} not shown: events came faster than they could be printed");
    for count in ["1 event", "2 events"] {
        assert_eq!(told.next().unwrap().unwrap(), missed(count));
    }
    ProcessId::of(child.id()).unwrap().signal(Signal::INT).unwrap();
    let answer = ended(child);
    let lines = [line("Running", 1000), line("Begun", 2000), line("Ended", 1000)];
    assert_eq!(
        (answer.code, answer.stdout.lines().collect::<Vec<_>>()),
        (0, lines.iter().map(String::as_str).collect())
    );
    assert_eq!(told.next().map(Result::unwrap), None);
    let filter = FlowFilter { node: Some("web".to_owned()), ..FlowFilter::default() };
    assert_eq!(lab.asked(), [Request::Follow(Topic::Flows { filter })]);
}

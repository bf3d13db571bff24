//! `vnet trace` and `vnet capture`: what is printed or written, how many, and how they end.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use vnet::daemon::api::protocol::{Capture, Captured, Request, Response, Topic};

use super::{Ended, Lab, Told, follow, once, refused};

fn sighting(number: u64, nanos: u64) -> Value {
    json!({
        "time": format!("2026-11-24T20:00:0{number}Z"), "node": "web", "nic": "web/eth0",
        "packet": {"text": format!("packet {number}"), "protocol": "Udp", "sourceIPAddress": "10.0.0.4",
            "destinationIPAddress": "10.1.0.4", "sourcePort": 1, "destinationPort": 2, "tcpFlags": [], "icmp": null,
            "fragment": null, "ttl": 64, "length": 28, "segments": 1},
        "latencyNanos": nanos, "delivered": true, "dropped": null,
        "hops": [{"node": "web", "nic": "web/eth0", "steps": [
            {"what": "send", "object": "NIC web/eth0", "text": "sends it"},
            {"what": "arrive", "object": "NIC db/eth0", "text": "never shown"},
            {"what": "deliver", "object": "NIC db/eth0", "text": "delivered"},
        ]}],
    })
}

fn bytes_that_are_none() -> Value {
    let mut sighting = sighting(9, 0);
    (sighting["packet"], sighting["delivered"], sighting["dropped"]) = (Value::Null, json!(false), json!("Malformed"));
    sighting
}

fn traced(packets: &[Value], missed: u64) -> Value {
    json!({"traced": {"packets": packets, "missed": missed}})
}

/// Nothing, then two packets, then another one and some that are missed.
fn tracing() -> Lab {
    Lab::start(|request| match request {
        Request::Follow(Topic::Trace { .. }) => follow([
            traced(&[], 0),
            traced(&[sighting(1, 900), sighting(2, 1500)], 0),
            traced(&[sighting(3, 1_999_999), bytes_that_are_none()], 1),
        ]),
        other => refused(other),
    })
}

#[test]
fn so_many_packets_are_traced_and_no_more() {
    let lab = tracing();
    let rows = |upto: usize| {
        let rows = [1, 2, 3].map(|n| format!("2026-11-24T20:00:0{n}Z\tweb/eth0\tpacket {n}\tdelivered\n"));
        let none = "2026-11-24T20:00:09Z\tweb/eth0\tbytes that are no IP packet\tMalformed\n".to_owned();
        rows.into_iter().chain([none]).take(upto).collect::<String>()
    };
    for count in [1, 2] {
        assert_eq!(lab.prints(&format!("trace -c {count} -o tsv udp")), rows(count));
    }
    assert_eq!(lab.asked(), vec![Request::Follow(Topic::Trace { filter: "udp".to_owned() }); 2]);
    let notes =
        "note: 1 packet not shown: packets came faster than they could be printed\nnote: 1 packet not shown in all\n";
    for count in [3, 4] {
        let Ended { code, stdout, stderr } = lab.run(&format!("trace -c {count} -o tsv udp"));
        assert_eq!((code, stdout, stderr.as_str()), (0, rows(count), notes));
    }
    // The time is up before the fifth.
    let began = Instant::now();
    let Ended { code, stdout, stderr } = lab.run("trace -c 5 --timeout 0.4 -o tsv");
    assert_eq!((code, stdout, stderr.as_str()), (1, rows(4), notes));
    assert!(began.elapsed().as_secs_f64() >= 0.4);
    assert_eq!(lab.run("trace --timeout 0.4 -o tsv").code, 0, "no number was asked for");
    let json = lab.prints("trace -c 2 -o json");
    assert!(json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{json}");
    for wrong in ["trace -c 0", "trace --summary", "trace --timeout -1", "trace --timeout 4294967296", "trace port"] {
        assert_eq!(lab.run(wrong).code, 2, "{wrong}");
    }
}

#[test]
fn a_traced_packet_is_told_step_by_step() {
    let lab = tracing();
    let steps = "  web/eth0\n    send     sends it\n    deliver  delivered  [NIC db/eth0]\n\n";
    assert_eq!(lab.prints("trace -c 1"), format!("20:00:01  packet 1\n{steps}"));
    let latencies = lab.prints("trace -c 2 --latency");
    assert_eq!(latencies, format!("20:00:01  packet 1  0.9 µs\n{steps}20:00:02  packet 2  1.5 µs\n{steps}"));
    let painted = lab.prints("trace -c 1 --color always");
    assert!(painted.starts_with("\u{1b}[1m\u{1b}[36m20:00:01\u{1b}[0m  packet 1\n"), "{painted:?}");
}

#[test]
fn latencies_are_counted_in_classes_of_powers_of_two() {
    let lab = Lab::start(|request| match request {
        Request::Follow(_) => {
            let times = [999, 1000, 1999, 2000, 3999, 3999, 3999, 16_000];
            follow([traced(&times.map(|nanos| sighting(1, nanos)), 0)])
        }
        other => refused(other),
    });
    let summary = lab.prints("trace --latency --summary -c 8");
    let bar = |len: usize| "#".repeat(len);
    let table = format!(
        "\
From    Below    Packets    Share
------  -------  ---------  ----------------------------------------
0 µs    1 µs     1          {}
1 µs    2 µs     2          {}
2 µs    4 µs     4          {}
4 µs    8 µs     0
8 µs    16 µs    0
16 µs   32 µs    1          {}
",
        bar(10),
        bar(20),
        bar(40),
        bar(10)
    );
    assert_eq!(summary, table);
    let none = Lab::start(|_| follow([traced(&[], 0)]));
    assert_eq!(none.prints("trace --latency --summary --timeout 0.2 -o tsv"), "");
}

/// Each capture: its pieces, with what ends the file if no other follows.
fn capturing(pieces: &[(&'static str, u64, u64, bool)]) -> Lab {
    let pieces = pieces.to_vec();
    Lab::start(move |request| match request {
        Request::Follow(Topic::Capture(_)) => {
            let piece = |&(bytes, packets, missed, full): &(&str, u64, u64, bool)| {
                let (bytes, end) = (bytes.as_bytes().to_vec(), format!("<end {missed}>").into_bytes());
                Response::Captured(Captured { lengths: [bytes.len(), end.len()], bytes, end, packets, missed, full })
            };
            Told::Follow(pieces.iter().map(piece).collect())
        }
        other => refused(other),
    })
}

#[test]
fn a_capture_is_written_whole_with_its_end() {
    let lab = capturing(&[("head ", 0, 0, false), ("one ", 1, 0, false), ("two three ", 2, 3, true)]);
    let answer = lab.run("capture web,db/eth0 tcp port 443 -w - -c 3");
    let note = "note: 3 packets captured, 3 found no room\n";
    assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (0, "head one two three <end 3>", note));
    let asked = |nodes: &[&str], filter: &str, count, snap, cut| {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        Request::Follow(Topic::Capture(Capture { nodes, filter: filter.to_owned(), count, snap, cut }))
    };
    let filter = "(node web or nic db/eth0) and (tcp port 443)";
    assert_eq!(lab.asked(), [asked(&["web", "db/eth0"], filter, Some(3), 262_144, false)]);
    let file = lab.home.path().join("file.pcapng");
    let path = file.to_str().unwrap();
    for (words, wanted) in [
        (&["web,"][..], asked(&["web"], "node web", None, 262_144, false)),
        (&["--all"], asked(&[], "", None, 262_144, false)),
        (&["--all", "--cut", "--snap", "64", "dropped", "and", "udp"], asked(&[], "dropped and udp", None, 64, true)),
    ] {
        let _ = fs::remove_file(&file);
        let answer = lab.run_words(&[&["capture", "-w", path], words].concat());
        assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (0, "", note));
        assert_eq!(fs::read_to_string(&file).unwrap(), "head one two three <end 3>");
        assert_eq!(lab.asked(), [wanted]);
    }
    let nowhere = lab.run("capture web -w /nowhere/file");
    assert_eq!(nowhere.code, 4);
    assert!(nowhere.stderr.starts_with("error: cannot write /nowhere/file: "), "{nowhere:?}");
}

#[test]
fn a_capture_whose_time_is_up_has_its_end_and_says_whether_it_is_all() {
    let lab = capturing(&[("head ", 0, 0, false), ("one ", 1, 0, false)]);
    for (line, code) in [
        ("capture web -c 2 --duration 0.3", 1),
        ("capture web -c 1 --duration 0.3", 0),
        ("capture web --duration 0.3", 0),
    ] {
        let answer = lab.run(line);
        let all = (code, "head one <end 0>", "note: 1 packet captured\n");
        assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), all, "{line}");
    }
}

/// A capture that is refused leaves the file that is there.
#[test]
fn a_refused_capture_writes_nothing() {
    let lab = Lab::start(|_| once(json!({"refused": {"message": "no such node", "help": null}})));
    let file = lab.home.path().join("file.pcapng");
    fs::write(&file, "kept").unwrap();
    let answer = lab.run_words(&["capture", "web", "-w", file.to_str().unwrap()]);
    assert_eq!((answer.code, answer.stderr.as_str()), (2, "error: no such node\n"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

//! Captures: files that others read, with dropped packets and what decided on each; and readers that stop reading.

use std::process::{Command, Stdio};

use serde_json::Value;
use vnet::sys::process::{ProcessId, Signal};

use crate::apply::assert_code;
use crate::lab::{Lab, eventually, stderr, vnet};
use crate::trace::watchers;

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");
const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");

/// Reads a capture file as the draft has it, and prints each packet and each interface's statistics as JSON.
const READER: &str = r#"
import json, struct, sys
data, at, faces, packets = open(sys.argv[1], "rb").read(), 0, [], []
def options(body):
    found, at = {}, 0
    while at + 4 <= len(body):
        code, size = struct.unpack_from("<HH", body, at)
        if code == 0: break
        found[code] = body[at + 4:at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return found
while at < len(data):
    kind, size = struct.unpack_from("<II", data, at)
    body = data[at + 8:at + size - 4]
    assert struct.unpack_from("<I", data, at + size - 4)[0] == size
    if kind == 0x0a0d0d0a:
        assert struct.unpack_from("<IHHq", body) == (0x1a2b3c4d, 1, 0, -1)
    elif kind == 1:
        told = options(body[8:])
        faces.append({"name": told[2].decode(), "about": told[3].decode(), "digits": told[9][0]})
    elif kind == 6:
        face, high, low, kept, whole = struct.unpack_from("<5I", body)
        told = options(body[20 + (kept + 3) // 4 * 4:])
        packets.append({"face": faces[face]["name"], "time": high << 32 | low, "kept": kept - 16, "whole": whole - 16,
            "ip": body[36] >> 4, "ttl": body[44], "way": struct.unpack("<I", told[2])[0], "port4": int.from_bytes(body[58:60], "big"), "comment": told[1].decode()})
    elif kind == 5:
        face = struct.unpack_from("<I", body)[0]
        told = options(body[12:])
        faces[face].update({name: struct.unpack("<Q", told[code])[0] for name, code in
            [("received", 4), ("missed", 5), ("written", 8)]})
    at += size
print(json.dumps({"faces": faces, "packets": packets}))
"#;

fn read(file: &std::path::Path) -> Value {
    let output = Command::new("python3").args(["-c", READER]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a capture writes while something happens, from the first packet on.
pub(crate) fn captured(lab: &Lab, arguments: &[&str], happens: impl FnOnce()) -> (Value, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.pcapng");
    let before = watchers(lab);
    let mut capture = vnet();
    let capture = capture.args(["-l", &lab.name, "capture"]).args(arguments).args(["--duration", "60", "-w"]);
    let mut capture = capture.arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the capture has begun", || watchers(lab) > before && file.exists());
    happens();
    assert!(ProcessId::of(capture.id()).unwrap().signal(Signal::INT).unwrap());
    assert!(capture.wait().unwrap().success());
    (read(&file), folder)
}

#[test]
fn a_file_has_each_packet_at_its_interface_with_what_decided() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let (file, folder) =
        captured(&lab, &["web,db/eth0", "icmp"], || assert_code(&lab.exec("web", &["ping", "-c2", "-i0.2", "db"]), 0));
    let packets = file["packets"].as_array().unwrap();
    assert_eq!(packets.len(), 8, "{file:#}");
    let seen: Vec<_> =
        packets[..4].iter().map(|one| (one["face"].as_str().unwrap(), one["way"].as_u64().unwrap())).collect();
    assert_eq!(seen, [("web/eth0", 2), ("db/eth0", 1), ("db/eth0", 2), ("web/eth0", 1)]);
    // As it was sent, and as it came: the appliance's guest took one hop.
    assert_eq!((&packets[0]["ttl"], &packets[1]["ttl"]), (&64.into(), &63.into()));
    for words in ["delivered", "NSG app on subnet spoke1/app", "route table via-nva, route to-spokes"] {
        assert!(packets[0]["comment"].as_str().unwrap().contains(words), "{}", packets[0]);
    }
    let faces = file["faces"].as_array().unwrap();
    let names: Vec<_> =
        faces.iter().map(|face| (face["name"].as_str().unwrap(), face["about"].as_str().unwrap())).collect();
    assert_eq!(names, [("web/eth0", "interface of web"), ("db/eth0", "interface of db")]);
    assert!(faces.iter().all(|face| face["written"] == 4 && face["missed"] == 0 && face["digits"] == 9), "{file:#}");
    // Nanoseconds since 1970, in order.
    let times: Vec<_> = packets.iter().map(|one| one["time"].as_u64().unwrap()).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(times.is_sorted() && times.iter().all(|time| now - time < 120_000_000_000), "{times:?}");
    others_read_it(&folder.path().join("lab.pcapng"));
}

/// Programs that know the format, where they are installed.
fn others_read_it(file: &std::path::Path) {
    for (program, arguments) in [
        ("tcpdump", vec!["-nr"]),
        ("tshark", vec!["-T", "fields", "-e", "frame.comment", "-e", "frame.interface_name", "-r"]),
    ] {
        let Ok(output) = Command::new(program).args(arguments).arg(file).output() else { continue };
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.lines().count() == 8, "{program}: {}{printed}", stderr(&output));
        if program == "tshark" {
            assert!(printed.contains("route table via-nva") && printed.contains("web/eth0"), "{printed}");
        }
    }
}

#[test]
fn every_dropped_packet_is_in_the_file() {
    let Some(lab) = Lab::up(TIERS) else { return };
    let drops = || -> u64 {
        let rows = lab.data(&["drops"]);
        let denied = |row: &&Value| row["reason"] == "NsgInbound";
        rows.as_array().unwrap().iter().filter(denied).map(|row| row["packets"].as_u64().unwrap()).sum()
    };
    let before = drops();
    let (file, _folder) = captured(&lab, &["--all", "reason", "NsgInbound"], || {
        let _ = lab.exec("web", &["ping", "-c5", "-i0.05", "-W1", "db"]);
    });
    let packets = file["packets"].as_array().unwrap();
    eventually("as many are counted", || drops() - before >= packets.len() as u64);
    assert_eq!(packets.len() as u64, drops() - before);
    assert!(packets.len() >= 5);
    let comment = packets[0]["comment"].as_str().unwrap();
    assert!(comment.starts_with("dropped: NsgInbound\n") && comment.contains("deny-vnet"), "{comment}");
}

#[test]
fn a_capture_ends_after_so_many_packets_and_keeps_so_many_bytes() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.pcapng");
    // A capture that is refused leaves the file that is there.
    std::fs::write(&file, "of before").unwrap();
    assert_code(&lab.vnet(&["capture", "wbe", "-w", file.to_str().unwrap()]), 2);
    assert_eq!(std::fs::read(&file).unwrap(), b"of before");
    std::fs::remove_file(&file).unwrap();
    let before = watchers(&lab);
    let mut capture = vnet();
    let capture = capture.args(["-l", &lab.name, "capture", "web", "-c3", "--snap", "64", "icmp", "-w"]).arg(&file);
    let mut capture = capture.stderr(Stdio::null()).spawn().unwrap();
    eventually("the capture has begun", || watchers(&lab) > before && file.exists());
    assert_code(&lab.exec("web", &["ping", "-c5", "-i0.1", "-s500", "db"]), 0);
    assert!(capture.wait().unwrap().success());
    let read = read(&file);
    let packets = read["packets"].as_array().unwrap();
    assert_eq!(packets.len(), 3);
    assert!(packets.iter().all(|one| one["kept"] == 64 && one["whole"] == 528), "{read:#}");
}

#[test]
fn a_reader_that_stops_reading_disturbs_nothing_and_what_it_missed_is_counted_in_the_file() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let before = watchers(&lab);
    let mut capture = vnet();
    let capture = capture.args(["-l", &lab.name, "capture", "web", "udp", "-w", "-"]);
    let mut capture = capture.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the capture has begun", || watchers(&lab) > before);
    // More than every buffer on the way to a reader holds, however slow the machine is.
    let load = ["bench", "web", "db", "--only", "udp", "--rate", "40000", "--size", "1200", "--seconds", "2"];
    let (mut sent, mut arrived) = (0, 0);
    while sent < 80_000 {
        let bench = lab.data(&load);
        sent += bench["udp"]["sent"].as_u64().unwrap();
        arrived += bench["udp"]["received"].as_u64().unwrap();
    }
    assert_code(&lab.exec("web", &["ping", "-c1", "db"]), 0);
    // It reads again, to the end.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late.pcapng");
    let mut late = std::fs::File::create(&file).unwrap();
    let mut from = capture.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut from, &mut late).unwrap());
    assert!(ProcessId::of(capture.id()).unwrap().signal(Signal::INT).unwrap());
    let said = capture.wait_with_output().unwrap();
    assert!(said.status.success());
    reader.join().unwrap();
    let read = read(&file);
    let count =
        |what: &str| -> u64 { read["faces"].as_array().unwrap().iter().map(|face| face[what].as_u64().unwrap()).sum() };
    assert_eq!(count("written"), read["packets"].as_array().unwrap().len() as u64);
    let missed = count("missed");
    assert!(missed > 0 && count("received") == count("written") + missed, "{}", read["faces"]);
    assert!(count("received") >= arrived, "{arrived} datagrams arrived: {}", read["faces"]);
    assert!(stderr(&said).contains(&format!("{missed} found no room")), "{}", stderr(&said));
}

#[test]
fn super_packets_are_whole_or_cut() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let load = ["bench", "web", "db", "--only", "tcp", "--seconds", "0.2"];
    let largest = |arguments: &[&str]| {
        let (file, _folder) = captured(&lab, &[&["web"], arguments].concat(), || drop(lab.data(&load)));
        file["packets"].as_array().unwrap().iter().map(|one| one["whole"].as_u64().unwrap()).max().unwrap()
    };
    assert!(largest(&[]) > 1500, "whole");
    assert!(largest(&["--cut"]) <= 1500, "cut");
    assert!(largest(&["--cut", "--snap", "96"]) <= 1500, "cut, and of each the beginning");
}

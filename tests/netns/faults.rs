//! What goes wrong under a running lab: the daemon lives, counts and says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::test_kill_process_group;
use vnet::sys::netns::{self, Netns};
use vnet::wire::build;

use crate::capture::send_raw;
use crate::lab::{Lab, eventually, has_program, stderr, stdout};
use crate::life::process_of;

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

fn log(lab: &Lab) -> String {
    fs::read_to_string(Path::new("/run/vnet").join(&lab.name).join("daemon.log")).unwrap_or_default()
}

fn alive(lab: &Lab, node: &str) -> bool {
    let status = lab.data(&["status"]);
    let node = status["nodes"].as_array().unwrap().iter().find(|found| found["name"] == node).unwrap().clone();
    node["networkInterfaces"][0]["alive"].as_bool().unwrap()
}

#[test]
fn a_namespace_deleted_under_us() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.assert_ping("web", "10.2.1.10");
    let place = netns::name_path(&format!("{}-db", lab.name));
    netns::unbind(&place).unwrap();
    eventually("the daemon says so", || log(&lab).contains("the namespace of db/eth0 has gone"));
    lab.assert_ping("web", "10.0.1.4");
    // No program can enter it any more, so nothing goes on in there unseen.
    lab.assert_dropped("web", "10.2.1.10", "nva", "NodeDown");
    assert!(!alive(&lab, "db"));

    // A foreign namespace of that name is left alone, by a change and by the end.
    Netns::create().unwrap().bind(&place).unwrap();
    let theirs = netns::identity(&place);
    let refused = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    lab.assert_ping("web", "10.0.1.4");
    assert!(lab.down().status.success());
    let left = (lab.remains(), netns::identity(&place));
    netns::unbind(&place).unwrap();
    assert_eq!(left, (vec![place], theirs));
}

#[test]
fn a_namespace_deleted_under_us_is_made_anew() {
    let topology =
        HUB_SPOKE.replace("{name: db, network", "{name: db, run: [sh, -c, 'echo $$; exec sleep 1000'], network");
    let Some(lab) = Lab::up(&topology) else { return };
    let output = Path::new("/run/vnet").join(&lab.name).join("programs/db.log");
    let program = || process_of(&lab, "db", fs::read_to_string(&output).ok()?.trim());
    eventually("its program runs", || program().is_some());
    let first = program().unwrap();
    let place = netns::name_path(&format!("{}-db", lab.name));
    let before = netns::identity(&place);
    // As long as it is open, its number is no other's.
    let _open = lab.node("db");
    netns::unbind(&place).unwrap();
    let applied = lab.apply(&topology);
    assert!(
        stdout(&applied).contains("! networkInterfaces        db/eth0: its device was gone"),
        "{}",
        stdout(&applied)
    );
    assert!(netns::identity(&place).is_some_and(|now| Some(now) != before));
    lab.assert_ping("web", "10.2.1.10");
    assert!(alive(&lab, "db"));
    assert!(test_kill_process_group(first).is_err(), "its program did not live on in the dark");
    eventually("its program runs there", || program().is_some_and(|now| now != first));
    assert!(lab.down().status.success());
    assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_interface_deleted_under_us() {
    if !has_program("ip") {
        return;
    }
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let db = format!("{}-db", lab.name);
    let output = Command::new("ip").args(["-n", &db, "link", "delete", "eth0"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    eventually("the daemon says so", || log(&lab).contains("the device of db/eth0 is gone"));
    lab.assert_ping("web", "10.0.1.4");
    lab.assert_dropped("web", "10.2.1.10", "nva", "NodeDown");
    assert!(!alive(&lab, "db"));
    // The file is the same; the lab is not as it says.
    let applied = lab.apply(HUB_SPOKE);
    assert!(stdout(&applied).contains("changed: generation 2"), "{}", stdout(&applied));
    lab.assert_ping("web", "10.2.1.10");
    lab.assert_ping("db", "10.1.1.4");
    assert!(alive(&lab, "db"));
    assert!(stdout(&lab.apply(HUB_SPOKE)).contains("nothing to change"));
}

#[test]
fn a_guest_that_sends_garbage() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let good = build::udp("10.1.1.4:1000".parse().unwrap(), "10.2.1.10:2000".parse().unwrap(), &[7; 64]);
    let sent = 2000;
    // On Ethernet, a burst to a neighbour whose address is not known yet is more than a kernel keeps.
    lab.assert_ping("web", "10.2.1.10");
    lab.inside("web", || {
        for index in 0..sent {
            let mut packet = good.clone();
            // Addresses and lengths stay as the sending kernel insists on them; the rest is spoilt, bit by bit.
            let at = [1, 6, 7, 8, 9, 20, 21, 24, 25, 26, 27][index % 11];
            packet[at] ^= 1 << (index / 11 % 8);
            send_raw(&packet);
        }
    });
    let web = || {
        let counters = lab.data(&["counters"]);
        counters.as_array().unwrap().iter().find(|row| row["node"] == "web").unwrap().clone()
    };
    eventually("all of them are counted", || web()["rxPackets"].as_u64().unwrap() >= sent as u64);
    lab.await_drop("web", "BadChecksum");
    lab.assert_ping("web", "10.2.1.10");
}

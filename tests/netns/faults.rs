//! What goes wrong under a running lab: the daemon lives, counts and says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use vnet::sys::netns;
use vnet::wire::build;

use crate::capture::send_raw;
use crate::lab::{Lab, eventually, has_program, stderr};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

fn log(lab: &Lab) -> String {
    fs::read_to_string(Path::new("/run/vnet").join(&lab.name).join("daemon.log")).unwrap_or_default()
}

#[test]
fn a_namespace_deleted_under_us() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    netns::unbind(&netns::name_path(&format!("{}-db", lab.name))).unwrap();
    eventually("the daemon says so", || log(&lab).contains("the namespace of db was deleted"));
    lab.assert_ping("web", "10.0.1.4");
    assert!(lab.down().status.success());
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
    eventually("the daemon says so", || log(&lab).contains("of db is gone"));
    lab.assert_ping("web", "10.0.1.4");
    lab.assert_dropped("web", "10.2.1.10", "nva", "NodeDown");
    let status = lab.data(&["status"]);
    let node = status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "db").unwrap();
    assert_eq!(node["networkInterfaces"][0]["alive"], false, "{status}");
}

#[test]
fn a_guest_that_sends_garbage() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let good = build::udp("10.1.1.4:1000".parse().unwrap(), "10.2.1.10:2000".parse().unwrap(), &[7; 64]);
    let sent = 2000;
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
    assert!(lab.drops("web", "BadChecksum") > 0, "{}", lab.data(&["drops"]));
    lab.assert_ping("web", "10.2.1.10");
}

//! One device on-premises with two links to one gateway: a session over each, through its own tunnel.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::lab::{Lab, eventually, stdout};

const EXAMPLE: &str = include_str!("../../config/two-links.yaml");
const FIBRE: &str = "192.168.50.1%tun0";
const RADIO: &str = "192.168.50.2%tun1";

/// The states of the sessions at one end, by connection.
fn states(lab: &Lab, node: &str) -> Vec<(String, String)> {
    let rows = lab.data(&["bgp", "peers", node]);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(&row["connection"]), text(&row["state"]))).collect()
}

/// The local ends of the device's sockets of BGP, in a state of TCP.
fn sockets(lab: &Lab, state: &str) -> Vec<String> {
    let shown = stdout(&lab.exec("dc", &["ss", "-Htn", "state", state]));
    let local = |line: &str| line.split_whitespace().nth(2).map(|end| end.rsplit_once(':').unwrap().0.to_owned());
    let mut ends: Vec<_> = shown.lines().filter(|line| line.contains(":179")).filter_map(local).collect();
    ends.sort_unstable();
    ends
}

/// The rows of the machine's routes to the data centre.
fn rows(lab: &Lab) -> usize {
    let routes = lab.data(&["routes", "app"]);
    routes["value"].as_array().unwrap().iter().filter(|row| row["addressPrefix"][0] == "192.168.50.0/24").count()
}

fn both_are_up(lab: &Lab) {
    for node in ["hub-gw", "dc"] {
        eventually("both sessions are up", || {
            states(lab, node) == ["hub-fibre", "hub-radio"].map(|one| (one.to_owned(), "Connected".to_owned()))
        });
    }
    eventually("each session has its own tunnel", || sockets(lab, "established") == [FIBRE, RADIO]);
    eventually("the machine has two equal rows", || rows(lab) == 2);
    eventually("the device uses both tunnels", || {
        let routes = stdout(&lab.exec("dc", &["ip", "route", "show", "10.10.0.0/16"]));
        ["tun0", "tun1"].iter().all(|device| routes.contains(&format!("10.10.255.30 dev {device} ")))
    });
}

/// VPN-34, VPN-36, VPN-33, VPN-17: two peering addresses at one device have a session each, over the tunnel of each. When one
/// link fails, its session and its row go, and traffic takes the other link in both directions.
#[test]
fn vpn_34_two_links_of_one_device() {
    let Some(lab) = Lab::up(&EXAMPLE.replace("name: two-links\n", "")) else { return };
    both_are_up(&lab);
    assert_eq!(sockets(&lab, "listening"), [FIBRE, RADIO]);

    let listener = lab.inside("dc", || TcpListener::bind("192.168.50.10:5000").unwrap());
    let there = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&there, Duration::from_secs(2)).unwrap();
    for (device, left, connection) in [("tun0", RADIO, "hub-fibre"), ("tun1", FIBRE, "hub-radio")] {
        lab.switch("dc", device, "down");
        eventually("the failed link's row is gone", || rows(&lab) == 1);
        eventually("its session is gone", || sockets(&lab, "established") == [left]);
        let ended = (connection.to_owned(), "Connecting".to_owned());
        eventually("the gateway says so", || states(&lab, "hub-gw").contains(&ended));
        // The device's routes follow its session.
        let own = left.split_once('%').unwrap().1;
        eventually("the device uses the other link", || {
            let routes = stdout(&lab.exec("dc", &["ip", "route", "show", "10.10.0.0/16"]));
            routes.starts_with(&format!("10.10.0.0/16 via 10.10.255.30 dev {own} "))
        });
        // More flows than any one way takes by chance.
        (0..32).for_each(|_| drop(lab.inside("app", connect)));
        lab.assert_ping("dc", "10.10.1.4");
        lab.switch("dc", device, "up");
        both_are_up(&lab);
    }
}

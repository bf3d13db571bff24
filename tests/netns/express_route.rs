//! Circuits, Global Reach and a private cloud with real packets: who reaches whom, over how many hops, and what keeps a
//! circuit's links down.

use std::fs;

use crate::lab::{Lab, stderr, stdout};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/expressroute-private-cloud.yaml");

fn example(edit: impl Fn(String) -> String) -> String {
    edit(fs::read_to_string(EXAMPLE).unwrap().replace("name: expressroute\n", ""))
}

fn up(edit: impl Fn(String) -> String) -> Option<Lab> {
    Lab::up(&example(edit))
}

/// Without the lines that have these words.
fn without<'a>(words: &'a [&'a str]) -> impl Fn(String) -> String + 'a {
    move |text| {
        let kept = text.lines().filter(|line| !words.iter().any(|word| line.contains(word)));
        kept.fold(String::new(), |text, line| text + line + "\n")
    }
}

/// The addresses that a node is told of as its own rows of a prefix.
fn next_hops(lab: &Lab, node: &str, prefix: &str) -> Vec<serde_json::Value> {
    let routes = lab.data(&["routes", node]);
    let mut rows = routes["value"].as_array().unwrap().iter();
    let row = rows.find(|row| row["addressPrefix"][0] == prefix && row["source"] == "VirtualNetworkGateway");
    row.map_or_else(Vec::new, |row| row["nextHopIpAddress"].as_array().unwrap().clone())
}

/// ER-01, ER-12, SYS-09a, SYS-10, FAB-05: a virtual network and a site reach each other over gateway and edge, two hops, of
/// which each answers for itself; a listing has an address for each of the two links. AVS-04: the private cloud's managers
/// answer as well.
#[test]
fn er_12_a_site_is_reached_over_a_circuit() {
    let Some(lab) = up(|text| text) else { return };
    for (from, to) in [("app", "192.168.90.10"), ("app", "10.175.0.2"), ("app", "10.175.0.3"), ("app", "10.176.1.10")] {
        let answered = lab.exec(from, &["ping", "-c1", "-W2", to]);
        assert!(stdout(&answered).contains("ttl=62"), "{from} to {to}, two hops: {}", stdout(&answered));
    }
    lab.assert_ping("dc", "10.90.1.4");
    lab.assert_ping("sddc", "10.90.1.4");
    for (ttl, who) in [("1", "10.90.255.12"), ("2", "172.30.0.2")] {
        let expired = lab.exec("app", &["ping", "-c1", "-t", ttl, "-W2", "192.168.90.10"]);
        assert!(stdout(&expired).contains(&format!("From {who}")), "hop {ttl}: {}", stdout(&expired));
    }
    lab.assert_ping("dc", "172.30.0.2");
    assert_eq!(lab.tcp("app", "dc", "192.168.90.10", 5000, 1 << 20), Some(1 << 20), "whole packets fit");
    assert_eq!(next_hops(&lab, "app", "192.168.90.0/24"), ["10.3.129.92", "10.3.129.93"]);
    for (from, to) in [("app", "dc"), ("dc", "app"), ("sddc", "app"), ("dc", "sddc")] {
        let explained = lab.vnet(&["explain", from, to, "--verify"]);
        assert!(explained.status.success(), "{from} to {to}: {}{}", stdout(&explained), stderr(&explained));
    }
}

/// CS-44, CS-45, GR-04, GR-05, AVS-08, AVS-09, ER-05: without Global Reach the private cloud and the site are apart, though one
/// gateway reaches both; with it they reach each other, whether the gateway is connected to the cloud or not.
#[test]
fn cs_45_global_reach_joins_site_and_private_cloud() {
    let reach = ["globalReachConnections:", "{name: to-dc,"];
    let Some(lab) = up(without(&reach)) else { return };
    lab.assert_ping("app", "10.175.0.2");
    lab.assert_ping("app", "192.168.90.10");
    let asked = lab.exec("dc", &["ping", "-c1", "-W1", "10.175.0.2"]);
    assert!(stderr(&asked).contains("Network is unreachable"), "nobody has told the site of it: {asked:?}");
    let explained = lab.vnet(&["explain", "dc", "sddc"]);
    assert!(!explained.status.success() && stdout(&explained).contains("GatewayUnavailable"), "{}", stdout(&explained));
    let applied = lab.apply(&example(without(&["{name: hub-sddc,"])));
    assert!(applied.status.success(), "{}", stderr(&applied));
    for to in ["10.175.0.2", "10.176.1.10"] {
        lab.assert_ping("dc", to);
    }
    lab.assert_ping("sddc", "192.168.90.10");
    lab.assert_dropped("app", "10.175.0.2", "app", "NextHopNone");
    assert_eq!(next_hops(&lab, "app", "10.176.1.0/24").len(), 0, "what a circuit reaches is not told to its gateways");
}

/// ER-10, CS-43: with its authorization a connection goes, and its routes with it; back with it, both are back.
#[test]
fn er_10_without_its_authorization_a_connection_is_down() {
    let Some(lab) = up(|text| text) else { return };
    lab.assert_ping("app", "10.176.1.10");
    let applied = lab.apply(&example(without(&["{name: for-hub,"])));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_dropped("app", "10.176.1.10", "app", "NextHopNone");
    let applied = lab.apply(&example(|text| text));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_ping("app", "10.176.1.10");
}

/// ER-18: nothing passes a circuit that its provider has not provisioned, or whose peering is disabled.
#[test]
fn er_18_a_circuit_that_is_down_carries_nothing() {
    let disabled = |text: String| text.replace("peerASN: 65010", "peerASN: 65010\n        state: Disabled");
    let Some(lab) = up(disabled) else { return };
    lab.assert_dropped("app", "192.168.90.10", "app", "NextHopNone");
    lab.assert_ping("app", "10.175.0.2");
    let bare = |text: String| {
        text.replace("  - name: er-london", "  - name: er-london\n    serviceProviderProvisioningState: Provisioning")
    };
    let applied = lab.apply(&example(bare));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_dropped("app", "192.168.90.10", "app", "NextHopNone");
    let applied = lab.apply(&example(|text| text));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_ping("app", "192.168.90.10");
}

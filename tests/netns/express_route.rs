//! Circuits, Global Reach and a private cloud with real packets: which ends reach each other, over how many hops, and
//! what keeps a circuit's links down.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::lab::{Lab, eventually, has_program, stderr, stdout};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/private-cloud-full.yaml");

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
    let own = |row: &&serde_json::Value| row["addressPrefix"][0] == prefix && row["source"] == "VirtualNetworkGateway";
    let rows: Vec<_> = routes["value"].as_array().unwrap().iter().filter(own).collect();
    let hops = |row: &serde_json::Value| row["nextHopIpAddress"].as_array().unwrap().clone();
    assert!(rows.iter().all(|row| hops(row).len() == 1), "SYS-09a: a row for each address: {rows:?}");
    rows.into_iter().flat_map(hops).collect()
}

/// ER-01, ER-12, SYS-09a, SYS-10, FAB-05: a virtual network and a site reach each other over gateway and edge, two hops, of
/// which each answers for itself; a listing has an address for each of the two links. AVS-04: the private cloud's managers
/// answer as well.
#[test]
fn er_12_a_site_is_reached_over_a_circuit() {
    let Some(lab) = up(|text| text) else { return };
    for (from, to) in [("app", "192.168.90.10"), ("app", "10.175.0.2"), ("app", "10.175.0.3")] {
        let answered = lab.exec(from, &["ping", "-c1", "-W2", to]);
        assert!(stdout(&answered).contains("ttl=62"), "{from} to {to}, two hops: {}", stdout(&answered));
    }
    lab.assert_ping("dc", "10.90.1.4");
    lab.assert_ping("sddc", "10.90.1.4");
    for (ttl, hop) in [("1", "10.90.255.12"), ("2", "172.30.0.2")] {
        let expired = lab.exec("app", &["ping", "-c1", "-t", ttl, "-W2", "192.168.90.10"]);
        assert!(stdout(&expired).contains(&format!("From {hop}")), "hop {ttl}: {}", stdout(&expired));
    }
    lab.assert_ping("dc", "172.30.0.2");
    assert_eq!(lab.tcp("app", "dc", "192.168.90.10", 5000, 1 << 20), Some(1 << 20), "whole packets fit");
    assert_eq!(next_hops(&lab, "app", "192.168.90.0/24"), ["10.3.129.92", "10.3.129.93"]);
    let learned = lab.data(&["bgp", "learned", "hub-er"]);
    let cloud = learned.as_array().unwrap().iter().find(|row| row["network"] == "10.176.1.0/24").unwrap();
    assert_eq!(cloud["asPath"], "12076-398656", "AVS-07: a number of four bytes");
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
    assert!(stderr(&asked).contains("Network is unreachable"), "the site has not learned it: {asked:?}");
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
    // Both lists say so.
    let listed = |arguments: &[&str]| stdout(&lab.vnet(arguments));
    let why = "the circuit has no such authorization (ER-10)";
    assert!(
        listed(&["circuit", "ls"]).contains(&format!("hub-sddc NotConnected: {why}")),
        "{}",
        listed(&["circuit", "ls"])
    );
    let circuits = lab.data(&["circuit", "ls"]);
    let connections = circuits.as_array().unwrap().iter().filter_map(|row| row["virtualNetworkConnections"].as_array());
    let connections: Vec<_> =
        connections.flatten().map(|one| format!("{} {}", one["name"], one["connectionStatus"])).collect();
    assert_eq!(connections, [r#""hub-london" "Connected""#, r#""hub-sddc" "NotConnected""#]);
    let applied = lab.apply(&example(|text| text));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_ping("app", "10.176.1.10");
}

/// ER-18: nothing passes a circuit that its provider has not provisioned, or with its peering disabled.
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

/// A virtual network with a gateway on a circuit, and a tunnel to the same site where `tunnel` says so; the site speaks BGP by
/// itself, by signed sessions.
fn speaking(tunnel: bool) -> String {
    let vpn = "publicIPAddresses: [{name: p, sku: Standard}]
localNetworkGateways: [{name: l, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.90.1}}]
";
    let (vpn, address, gateway, connection) = if tunnel {
        (
            vpn,
            "gatewayIpAddress: 198.51.100.1, ",
            "  - {name: vpn, virtualNetwork: v, publicIPAddress: p, enableBgp: true}\n",
            "  - {name: v-l, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: l, sharedKey: k, enableBgp: true}\n",
        )
    } else {
        ("", "", "", "")
    };
    format!(
        "virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.90.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.90.1.0/24}}, {{name: GatewaySubnet, addressPrefix: 10.90.255.0/27}}]
virtualNetworkGateways:
  - {{name: er, gatewayType: ExpressRoute, virtualNetwork: v}}
{gateway}{vpn}expressRouteCircuits:
  - name: circuit
    peerings: [{{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10, sharedKey: signed}}]
connections:
  - {{name: v-er, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: circuit}}
{connection}sites:
  - {{name: dc, {address}expressRouteCircuits: [circuit], addressSpace: [192.168.90.0/24], addresses: [192.168.90.10], bgpSettings: {{asn: 65010, bgpPeeringAddress: 192.168.90.1}}}}
virtualMachines: [{{name: app, networkInterfaces: [{{subnet: v/s}}]}}]
"
    )
}

/// Where the row to the site leads, when it does.
fn leads(lab: &Lab, to: &[&str]) {
    eventually(&format!("the site is behind {to:?}"), || next_hops(lab, "app", "192.168.90.0/24") == to);
}

fn site_routes(lab: &Lab, hops: &[&str]) {
    eventually(&format!("the site answers over {hops:?}"), || {
        let routes = stdout(&lab.exec("dc", &["ip", "route", "show", "10.90.0.0/16"]));
        routes.matches("via").count() == hops.len() && hops.iter().all(|hop| routes.contains(&format!("via {hop} ")))
    });
}

/// ER-01, ER-02, ER-07: two signed sessions with AS 12076 bring the site's range and take the network's there; one link that
/// breaks interrupts nothing, both do, and all is back with them.
#[test]
fn er_02_a_link_breaks() {
    let Some(lab) = Lab::up(&speaking(false)) else { return };
    leads(&lab, &["10.3.129.92", "10.3.129.93"]);
    site_routes(&lab, &["172.30.0.2", "172.30.0.6"]);
    lab.assert_ping("app", "192.168.90.10");
    lab.assert_ping("dc", "10.90.1.4");
    let peers = lab.data(&["bgp", "peers", "circuit"]);
    let peers = peers.as_array().unwrap().iter();
    let peers: Vec<_> = peers.map(|row| format!("{} {} {}", row["neighbor"], row["asn"], row["state"])).collect();
    assert_eq!(peers, [r#""172.30.0.1" 65010 "Connected""#, r#""172.30.0.5" 65010 "Connected""#]);
    let learned = lab.data(&["bgp", "learned", "er"]);
    let row = learned.as_array().unwrap().iter().find(|row| row["network"] == "192.168.90.0/24").unwrap();
    assert_eq!((&row["asPath"], &row["nextHop"]), (&"12076-65010".into(), &"10.3.129.92".into()));

    let failed = lab.vnet(&["circuit", "fail", "circuit", "primary", "--seconds", "3600"]);
    assert!(failed.status.success(), "{}", stderr(&failed));
    site_routes(&lab, &["172.30.0.6"]);
    for _ in 0..4 {
        lab.assert_ping("app", "192.168.90.10");
        lab.assert_ping("dc", "10.90.1.4");
    }
    let links = &lab.data(&["circuit", "ls"])[0]["links"];
    assert_eq!((&links[0]["up"], &links[1]["up"]), (&false.into(), &true.into()));
    let failed = lab.vnet(&["circuit", "fail", "circuit", "--seconds", "3600"]);
    assert!(failed.status.success(), "{}", stderr(&failed));
    leads(&lab, &[]);
    lab.assert_dropped("app", "192.168.90.10", "app", "NextHopNone");
    let mended = lab.vnet(&["circuit", "fail", "circuit", "--seconds", "0"]);
    assert!(mended.status.success(), "{}", stderr(&mended));
    leads(&lab, &["10.3.129.92", "10.3.129.93"]);
    site_routes(&lab, &["172.30.0.2", "172.30.0.6"]);
    lab.assert_ping("app", "192.168.90.10");
    let events = lab.data(&["events"]);
    let told = |event: &str| events.as_array().unwrap().iter().filter(|one| one["event"] == event).count();
    assert_eq!(
        (told("CircuitLinkFailed"), told("CircuitLinkRestored")),
        (3, 2),
        "mended, which is no failure: {events}"
    );
    let unknown = lab.vnet(&["circuit", "fail", "nothing"]);
    assert!(stderr(&unknown).contains("the lab has: circuit"), "{}", stderr(&unknown));
}

/// ER-02: a site's kernel spreads flows over both links of a circuit, and `--verify` holds each against the link that it took,
/// from either side.
#[test]
fn er_02_flows_on_either_link_are_verified() {
    let Some(lab) = Lab::up(&speaking(false)) else { return };
    leads(&lab, &["10.3.129.92", "10.3.129.93"]);
    site_routes(&lab, &["172.30.0.2", "172.30.0.6"]);
    for (from, to, way) in [("dc", "app", "forward"), ("app", "dc", "return")] {
        let mut taken = BTreeSet::new();
        // Twenty flows by one of two links: one time in a million.
        for port in (5000..).take(20).map(|port| format!("{to}:{port}/udp")) {
            let said = lab.vnet(&["explain", from, &port, "--verify", "-o", "json"]);
            assert!(said.status.success(), "{from} to {port}: {}{}", stdout(&said), stderr(&said));
            let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
            let legs = said["verification"][way].as_array().unwrap().clone();
            taken.extend(legs.iter().filter(|leg| leg["node"] == "dc").map(|leg| leg["nic"].to_string()));
            if taken.len() == 2 {
                break;
            }
        }
        assert_eq!(taken.len(), 2, "{way}: {taken:?}");
    }
}

/// ER-02: a link is down at both ends at once when the customer switches its device off, and back with it.
#[test]
fn er_02_a_link_is_switched_off() {
    let Some(lab) = Lab::up(&speaking(false)) else { return };
    let both = ["172.30.0.2", "172.30.0.6"];
    site_routes(&lab, &both);
    for (device, left) in [("er0", both[1]), ("er1", both[0])] {
        lab.switch("dc", device, "down");
        site_routes(&lab, &[left]);
        // The site's kernel has dropped the route by itself, before the router heard of the device.
        let reasons = |links: &Value| {
            let down = links.as_array().unwrap().iter().filter(|link| link["up"] == false);
            down.map(|link| link["reason"].clone()).collect::<Vec<_>>()
        };
        eventually("one link is down", || {
            reasons(&lab.data(&["circuit", "ls"])[0]["links"]) == ["its device at the far end is switched off"]
        });
        for _ in 0..4 {
            lab.assert_ping("app", "192.168.90.10");
            lab.assert_ping("dc", "10.90.1.4");
        }
        lab.switch("dc", device, "up");
        site_routes(&lab, &both);
    }
}

/// BGP-23, ER-04: a tunnel takes over when both links of the circuit are down, both ways; and what the site says on the circuit
/// comes and goes as it says.
#[test]
fn bgp_23_a_tunnel_takes_over() {
    let Some(lab) = Lab::up(&speaking(true)) else { return };
    leads(&lab, &["10.3.129.92", "10.3.129.93"]);
    site_routes(&lab, &["172.30.0.2", "172.30.0.6"]);
    lab.assert_ping("app", "192.168.90.10");
    assert!(lab.vnet(&["circuit", "fail", "circuit", "--seconds", "3600"]).status.success());
    eventually("the tunnel has the site", || {
        let hops = next_hops(&lab, "app", "192.168.90.0/24");
        hops.len() == 1 && hops[0] != "10.3.129.92"
    });
    site_routes(&lab, &["10.90.255.30"]);
    lab.assert_ping("app", "192.168.90.10");
    assert!(lab.vnet(&["circuit", "fail", "circuit", "--seconds", "0"]).status.success());
    leads(&lab, &["10.3.129.92", "10.3.129.93"]);
    site_routes(&lab, &["172.30.0.2", "172.30.0.6"]);
    lab.assert_ping("app", "192.168.90.10");
    let space = "addressSpace: [192.168.90.0/24]";
    lab.apply(&speaking(true).replace(space, &format!("{space}, advertises: [192.168.90.0/24, 0.0.0.0/0]")));
    eventually("the default route is the site's", || !next_hops(&lab, "app", "0.0.0.0/0").is_empty());
    lab.apply(&speaking(true));
    eventually("it is not", || next_hops(&lab, "app", "0.0.0.0/0").is_empty());
}

/// ER-02: a site that says nothing itself loses nothing either when a link breaks.
#[test]
fn er_02_a_silent_site_takes_the_other_link() {
    let Some(lab) = up(|text| text) else { return };
    lab.assert_ping("app", "192.168.90.10");
    assert!(lab.vnet(&["circuit", "fail", "er-london", "primary", "--seconds", "3600"]).status.success());
    // A kernel takes up to a second to heed a carrier that is gone.
    eventually("the other link is taken", || lab.ping("app", "192.168.90.10").is_some_and(|answer| answer.arrived));
    for _ in 0..4 {
        lab.assert_ping("app", "192.168.90.10");
        lab.assert_ping("dc", "10.90.1.4");
    }
    assert!(lab.vnet(&["circuit", "fail", "er-london", "secondary", "--seconds", "3600"]).status.success());
    lab.assert_dropped("app", "192.168.90.10", "app", "NextHopNone");
    assert!(lab.vnet(&["circuit", "fail", "er-london", "--seconds", "0"]).status.success());
    eventually("it is back", || lab.ping("app", "192.168.90.10").is_some_and(|answer| answer.arrived));
}

/// AVS-03, AVS-04: a private cloud's networks have names, something answers in each, and credentials follow from the lab's
/// name alone.
#[test]
fn avs_03_networks_of_a_private_cloud_by_name() {
    let Some(lab) = up(|text| text) else { return };
    let status = lab.data(&["status"]);
    let cloud = &status["privateClouds"][0];
    let networks =
        ["managementNetwork", "provisioningNetwork", "vmotionNetwork"].map(|key| cloud[key].as_str().unwrap());
    assert_eq!(networks, ["10.175.0.0/26", "10.175.1.0/25", "10.175.1.128/25"]);
    let prefixes = lab.data(&["routes", "app"]);
    for network in networks {
        let mut rows = prefixes["value"].as_array().unwrap().iter();
        assert!(rows.any(|row| row["addressPrefix"][0] == network), "{network} is a route: {prefixes}");
    }
    assert_eq!(cloud["endpoints"]["vcsa"], "https://10.175.0.2/");
    assert_eq!(cloud["endpoints"]["nsxtManager"], "https://10.175.0.3/");
    let hosts = ["hosts", "vmotionHosts"].map(|key| cloud[key].as_array().unwrap().clone());
    assert_eq!(hosts.each_ref().map(Vec::len), [3, 3]);
    for host in hosts.iter().flatten() {
        lab.assert_ping("app", host.as_str().unwrap());
    }
    let credentials = &cloud["adminCredentials"];
    assert_eq!(credentials["madeUp"], true);
    let passwords = ["vcenterPassword", "nsxtPassword"].map(|key| credentials[key].as_str().unwrap());
    assert!(passwords.iter().all(|one| one.starts_with("made-up-")) && passwords[0] != passwords[1], "{credentials}");
    let circuits = lab.data(&["circuit", "ls"]);
    let mut rows = circuits.as_array().unwrap().iter();
    let own = rows.find(|row| row["name"] == "sddc-circuit").unwrap();
    assert_eq!(own["privateCloud"], *cloud, "the same as in `status`");
    let said = stdout(&lab.vnet(&["status"]));
    assert!(said.contains("vMotion      10.175.1.128/25: hosts 10.175.1.132"), "{said}");
    assert!(said.contains("segment      10.176.1.0/24: web, node sddc-web, router sddc-T1 10.176.1.1"), "{said}");
    let routers: Vec<_> = cloud["gateways"].as_array().unwrap().iter().map(|one| one["name"].as_str()).collect();
    assert_eq!(routers, [Some("sddc-T0"), Some("sddc-T1"), Some("sddc-T1-data")], "AVS-06: {cloud}");
}

/// AVS-07, ER-02: a private cloud has a BGP session over each link, with its own four-byte number, from the start. A link that
/// fails ends its session, and `circuit ls` says what is down.
#[test]
fn avs_07_a_private_cloud_speaks_bgp_by_itself() {
    let Some(lab) = up(|text| text) else { return };
    // What the sessions bring is known before they are up.
    lab.assert_ping("app", "10.175.0.2");
    let sessions = |node: &str| -> Vec<Value> { lab.data(&["bgp", "peers", node]).as_array().unwrap().clone() };
    let becomes = |node: &str, what: &str, is: &dyn Fn(&[Value]) -> bool| eventually(what, || is(&sessions(node)));
    let count = |row: &Value, key: &str| row[key].as_u64().unwrap();
    for (node, asn) in [("sddc", 12076), ("sddc-circuit", 398_656)] {
        becomes(node, "two sessions", &|rows| {
            rows.len() == 2 && rows.iter().all(|row| row["state"] == "Connected" && row["asn"] == asn)
        });
        // What is said first, and then the routes.
        becomes(node, "messages both ways", &|rows| {
            rows.iter().all(|row| count(row, "messagesSent") > 2 && count(row, "messagesReceived") > 2)
        });
    }
    becomes("sddc-circuit", "all networks of the cloud, and no others", &|rows| {
        rows.iter().all(|row| row["routesReceived"] == 10)
    });
    let learned = lab.data(&["bgp", "learned", "sddc"]);
    let mut learned = learned.as_array().unwrap().iter();
    assert!(learned.any(|row| row["network"] == "192.168.90.0/24" && row["asPath"] == "12076-65010"), "GR-04");

    assert!(lab.vnet(&["circuit", "fail", "sddc-circuit", "primary", "--seconds", "3600"]).status.success());
    becomes("sddc", "one session is left", &|rows| rows[0]["state"] == "Connecting" && rows[1]["state"] == "Connected");
    lab.assert_ping("sddc-web", "10.90.1.4");
    let connection = || lab.data(&["circuit", "ls"])[1]["virtualNetworkConnections"][0].clone();
    assert_eq!(connection()["connectionStatus"], "Connected");
    assert!(lab.vnet(&["circuit", "fail", "sddc-circuit", "--seconds", "3600"]).status.success());
    assert_eq!(connection()["connectionStatus"], "NotConnected");
    let listed = stdout(&lab.vnet(&["circuit", "ls"]));
    assert!(listed.contains("hub-sddc NotConnected: both links of sddc-circuit are down"), "{listed}");
    let reach = || lab.data(&["circuit", "ls"])[1]["connections"][0].clone();
    assert_eq!(reach()["circuitConnectionStatus"], "Disconnected", "GR-02: nothing reaches the other circuit");
    assert!(reach()["reason"].as_str().unwrap().contains("both links of sddc-circuit are down"), "{}", reach());
    assert!(lab.vnet(&["circuit", "fail", "sddc-circuit", "--seconds", "0"]).status.success());
    assert_eq!(connection()["connectionStatus"], "Connected");
    assert_eq!(reach()["circuitConnectionStatus"], "Connected");
    assert!(lab.vnet(&["circuit", "fail", "er-london", "--seconds", "3600"]).status.success());
    assert!(reach()["reason"].as_str().unwrap().contains("both links of er-london are down"), "at the far end too");
    assert!(lab.vnet(&["circuit", "fail", "er-london", "--seconds", "0"]).status.success());
    becomes("sddc", "both are back", &|rows| rows.iter().all(|row| row["state"] == "Connected"));
}

/// AVS-04, AVS-10: vCenter and NSX-T Manager answer by TLS with one certificate for both, hosts at vMotion's port, and each
/// says what it is, also after 100 clients that say nothing; a program of the file takes their place, and gives it back.
#[test]
fn avs_10_managers_and_hosts_answer_by_themselves() {
    if !["curl", "openssl", "python3"].iter().all(|program| has_program(program)) {
        return;
    }
    let Some(lab) = up(|text| text) else { return };
    let get = |url: &str, more: &[&str]| {
        let asked = lab.exec("app", &[&["curl", "-sk", "-m5", url], more].concat());
        stdout(&asked)
    };
    let silent = "exec python3 -c \"import socket, time; all = [socket.create_connection(('10.175.0.2', 443)) for _ in range(100)]; time.sleep(2)\" &";
    lab.exec("dc", &["sh", "-c", silent]);
    for (url, what) in [
        ("https://10.175.0.2/", "vCenter of private cloud sddc"),
        ("https://10.175.0.3/ui", "NSX-T Manager of private cloud sddc"),
        ("http://10.175.1.132:8000/", "vMotion of host 10.175.1.132 of private cloud sddc"),
        ("http://10.175.1.134:8000/", "vMotion of host 10.175.1.134 of private cloud sddc"),
    ] {
        let page = get(url, &[]);
        assert!(page.contains(&format!("<title>{what}</title>")), "{url}: {page}");
    }
    assert_eq!(get("https://10.175.0.2/", &["-X", "POST", "-o/dev/null", "-w%{http_code}"]), "405");
    assert_eq!(get("http://10.175.0.2:443/", &[]), "", "TLS is needed");
    let shown = lab.exec("app", &["sh", "-c", "echo | openssl s_client -connect 10.175.0.3:443 2>/dev/null | openssl x509 -noout -ext subjectAltName -subject"]);
    let shown = stdout(&shown);
    assert!(shown.contains("IP Address:10.175.0.2, IP Address:10.175.0.3") && shown.contains("CN = sddc."), "{shown}");

    let program = "    internet: Enabled\n    run: exec python3 -m http.server 443 --directory /tmp\n   ";
    let applied = lab.apply(&example(|text| text.replacen("    internet: Enabled", program, 1)));
    assert!(applied.status.success(), "{}", stderr(&applied));
    eventually("the program answers", || get("http://10.175.0.2:443/", &[]).contains("Directory listing"));
    let applied = lab.apply(&example(|text| text));
    assert!(applied.status.success(), "{}", stderr(&applied));
    assert!(get("https://10.175.0.2/", &[]).contains("vCenter"), "by itself again");
}

/// AVS-12: what is counted and recorded of a machine's rules in a running lab: flows by node, hits by rule, drops with the rule;
/// a rule that has gone from the file leaves the rest of the counters.
#[test]
fn avs_12_a_distributed_firewall_is_counted() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/distributed-firewall.yaml")).unwrap();
    let text = text.replace("name: distributed-firewall\n", "");
    let Some(lab) = Lab::up(&text) else { return };
    let hits = |node: &str, direction: &str, rule: &str| {
        let groups = lab.data(&["rules", node])["value"].clone();
        assert_eq!(groups[0]["association"]["privateCloud"]["id"], "sddc");
        let rules = groups[0]["effectiveSecurityRules"].as_array().unwrap().clone();
        let is_it = |row: &&Value| row["name"] == rule && row["direction"] == direction;
        rules.iter().find(is_it).unwrap()["hits"].as_u64().unwrap()
    };
    let clients = "securityPolicies/clients/clients-by-http";
    lab.assert_ping("app", "10.176.1.11");
    assert_eq!(hits("sddc-web1", "Inbound", clients), 1);
    let flows = lab.data(&["flows", "sddc-web1"]);
    let flow = flows.as_array().unwrap().iter().find(|flow| flow["protocol"] == "Icmp").unwrap().clone();
    assert_eq!(
        (&flow["nic"], &flow["direction"], &flow["sourceAddress"]),
        (&"web".into(), &"Inbound".into(), &"10.90.1.4".into())
    );
    assert_eq!(flow["rules"][0], format!("sddc {clients}"), "{flow}");

    let apart = "securityPolicies/three-tier/web-apart";
    lab.exec("sddc-web1", &["ping", "-c1", "-W1", "10.176.1.12"]);
    assert_eq!(hits("sddc-web1", "Outbound", apart), 1);
    assert_eq!(hits("sddc-web2", "Inbound", apart), 0, "it never left its sender");
    let drops = stdout(&lab.vnet(&["drops"]));
    assert!(drops.contains("DistributedFirewall") && drops.contains(&format!("sddc {apart}")), "{drops}");

    let applied = lab.apply(&text.replace("name: quarantine", "name: isolation"));
    assert!(applied.status.success(), "{}", stderr(&applied));
    assert_eq!(hits("sddc-web1", "Inbound", clients), 1, "the rule is the same");
    let unused = stdout(&lab.vnet(&["rules", "--unused"]));
    assert!(unused.contains("isolation/web2-stays-inside") && !unused.contains("clients-by-http"), "{unused}");
}

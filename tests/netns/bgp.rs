//! BGP between a gateway and a site's device, over the tunnel and the kernels' TCP: what is learned is routed by, on both
//! sides, and goes with its session.

use std::fs;
use std::io::{Read, Write};

use serde_json::Value;
use vnet::sys::socket::Origin;

use crate::lab::{Lab, SOON, eventually, stderr, stdout};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/site-to-site-bgp.yaml");

/// Why sessions end with their tunnel.
const NO_TUNNEL: &str = "there is no tunnel any more";

fn example() -> String {
    fs::read_to_string(EXAMPLE).unwrap().replace("name: site-to-site-bgp\n", "")
}

fn apply(lab: &Lab, topology: &str) {
    let applied = lab.apply(topology);
    assert!(applied.status.success(), "{}", stderr(&applied));
}

/// The gateway rows of a node, as prefixes.
fn gateway_rows(lab: &Lab, node: &str) -> Vec<String> {
    let routes = lab.data(&["routes", node]);
    let rows = routes["value"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["nextHopType"] == "VirtualNetworkGateway");
    rows.map(|row| row["addressPrefix"][0].as_str().unwrap().to_owned()).collect()
}

fn learns(lab: &Lab, prefix: &str) {
    eventually(&format!("the spoke learns {prefix}"), || gateway_rows(lab, "app").contains(&prefix.to_owned()));
}

fn forgets(lab: &Lab, prefix: &str) {
    eventually(&format!("the spoke forgets {prefix}"), || !gateway_rows(lab, "app").contains(&prefix.to_owned()));
}

/// Whether the site's kernel has a route.
fn site_knows(lab: &Lab, prefix: &str) -> bool {
    stdout(&lab.exec("dc", &["ip", "route"])).lines().any(|line| line.starts_with(&format!("{prefix} ")))
}

fn session<'a>(peers: &'a Value, node: &str) -> &'a Value {
    peers.as_array().unwrap().iter().find(|row| row["node"] == node).unwrap()
}

/// BGP-10, BGP-14a, BGP-15, PEER-31, PEER-32, SYS-09a, SYS-10: the spoke learns the site's range and the site the spoke's, and
/// both ends say so.
#[test]
fn bgp_10_both_ends_learn() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    eventually("the site knows the spoke", || site_knows(&lab, "10.20.0.0/16"));
    lab.assert_ping("app", "192.168.50.10");
    lab.assert_ping("dc", "10.20.1.4");
    lab.assert_ping("files", "192.168.50.10");
    assert_eq!(gateway_rows(&lab, "app"), ["192.168.50.0/24", "192.168.50.1/32"], "the peer has a row of its own");

    let peers = lab.data(&["bgp", "peers"]);
    let ours = session(&peers, "hub-gw");
    assert_eq!([&ours["localAddress"], &ours["neighbor"]], ["10.10.255.30", "192.168.50.1"]);
    assert_eq!(
        (&ours["asn"], &ours["state"], &ours["routesReceived"]),
        (&65010.into(), &"Connected".into(), &1.into())
    );
    assert!(ours["connectedDuration"].as_str().unwrap().starts_with("00:00:"), "{ours}");
    let learned = lab.data(&["bgp", "learned", "hub-gw"]);
    let row = learned.as_array().unwrap().iter().find(|row| row["network"] == "192.168.50.0/24").unwrap();
    assert_eq!(
        [&row["nextHop"], &row["sourcePeer"], &row["origin"], &row["asPath"]],
        ["192.168.50.1", "192.168.50.1", "EBgp", "65010"]
    );
    assert_eq!(row["weight"], 32768);
    let own = learned.as_array().unwrap().iter().find(|row| row["network"] == "10.20.0.0/16").unwrap();
    assert_eq!((&own["origin"], &own["nextHop"]), (&"Network".into(), &Value::Null));
    let told = lab.data(&["bgp", "advertised", "hub-gw", "192.168.50.1"]);
    let told: Vec<_> = told.as_array().unwrap().iter().map(|row| row["network"].as_str().unwrap()).collect();
    assert_eq!(told, ["10.10.0.0/16", "10.20.0.0/16"]);

    let explained = lab.vnet(&["explain", "app", "dc", "--verify"]);
    assert!(explained.status.success(), "{}{}", stdout(&explained), stderr(&explained));
    let unknown = lab.vnet(&["bgp", "peers", "app"]);
    assert!(stderr(&unknown).contains("hub-gw"), "lists the speakers: {}", stderr(&unknown));
}

/// BGP-12, CS-36, RSEL-02, RSEL-08: what the site says comes and goes without a new session; under its default route the
/// Internet's row is gone.
#[test]
fn cs_36_a_default_route_comes_and_goes() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    let before = lab.data(&["bgp", "peers", "hub-gw"])[0]["messagesSent"].as_u64().unwrap();
    let site = "addressSpace: [192.168.50.0/24]";
    apply(&lab, &example().replace(site, &format!("{site}, advertises: [192.168.50.0/24, 0.0.0.0/0]")));
    learns(&lab, "0.0.0.0/0");
    let routes = lab.data(&["routes", "app"]);
    let internet = routes["value"].as_array().unwrap().iter().filter(|row| row["nextHopType"] == "Internet");
    assert!(internet.clone().all(|row| row["state"] == "Invalid"), "{:?}", internet.collect::<Vec<_>>());
    lab.assert_ping("app", "192.168.50.10");
    apply(&lab, &example());
    forgets(&lab, "0.0.0.0/0");
    let after = &lab.data(&["bgp", "peers", "hub-gw"])[0];
    assert_eq!(after["state"], "Connected");
    assert!(after["messagesSent"].as_u64().unwrap() >= before, "one session all along: {after}");
}

/// VPN-10, VPN-13: without a tunnel there is no session and what it brought is withdrawn, at the site too; the peer's own row
/// stays, and all comes back with the key.
#[test]
fn vpn_13_what_bgp_brought_goes_with_its_tunnel() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    eventually("the site knows the spoke", || site_knows(&lab, "10.20.0.0/16"));
    apply(
        &lab,
        &example()
            .replace("addresses: [192.168.50.10], sharedKey: a-secret", "addresses: [192.168.50.10], sharedKey: b"),
    );
    forgets(&lab, "192.168.50.0/24");
    eventually("the site forgets the spoke", || !site_knows(&lab, "10.20.0.0/16"));
    assert_eq!(gateway_rows(&lab, "app"), ["192.168.50.1/32"]);
    eventually("the session has ended", || lab.data(&["bgp", "peers", "hub-gw"])[0]["state"] == "Connecting");
    apply(&lab, &example());
    learns(&lab, "192.168.50.0/24");
    eventually("the site knows the spoke again", || site_knows(&lab, "10.20.0.0/16"));
    lab.assert_ping("app", "192.168.50.10");
    let events = lab.data(&["events"]);
    let events: Vec<_> = events.as_array().unwrap().iter().filter(|event| event["node"] == "hub-gw").collect();
    let told: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["BgpSessionUp", "BgpSessionDown", "BgpSessionUp"], "{events:?}");
    assert_eq!(events[1]["reason"], NO_TUNNEL);
}

/// The first connection's status, and why it is not connected.
fn connection(lab: &Lab) -> (Value, Value) {
    let row = lab.data(&["gateway", "connections"])[0].clone();
    (row["connectionStatus"].clone(), row["reason"].clone())
}

/// VPN-13, VPN-17: a site's tunnel device that is switched off ends the session at once at both ends, long before the
/// hold time of 180 s, and what it brought goes; switched on again, the device has what it had and all comes back. The
/// gateway's own device does the same.
#[test]
fn vpn_17_a_device_that_is_switched_off() {
    let Some(lab) = Lab::up(&example()) else { return };
    let off = [
        ("dc", "tun0", "dc/hub-dc", "its device at the far end is switched off"),
        ("hub-gw", "eth0", "hub-gw", "the gateway's instance does not work at the moment (VPN-30)"),
    ];
    for (node, device, interface, reason) in off {
        learns(&lab, "192.168.50.0/24");
        eventually("the site knows the spoke", || site_knows(&lab, "10.20.0.0/16"));
        assert_eq!(connection(&lab), ("Connected".into(), Value::Null));
        lab.switch(node, device, "down");
        forgets(&lab, "192.168.50.0/24");
        eventually("the site forgets the spoke", || !site_knows(&lab, "10.20.0.0/16"));
        assert_eq!(connection(&lab), ("NotConnected".into(), reason.into()));
        // The tables go by the device first; then the routers hear of it.
        eventually("the session has ended", || lab.data(&["bgp", "peers", "hub-gw"])[0]["state"] == "Connecting");
        let explained = lab.vnet(&["explain", "app", "192.168.50.1"]);
        assert!(stdout(&explained).contains(reason), "{}", stdout(&explained));
        lab.assert_dropped("app", "192.168.50.1", "app", "GatewayUnavailable");
        lab.switch(node, device, "up");
        learns(&lab, "192.168.50.0/24");
        eventually("the site knows the spoke again", || site_knows(&lab, "10.20.0.0/16"));
        lab.assert_ping("app", "192.168.50.10");
        lab.assert_ping("dc", "10.20.1.4");
        let events = lab.data(&["events"]);
        let told = events.as_array().unwrap().iter().filter(|event| event["interface"] == interface);
        let told: Vec<_> = told.map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(told, ["DeviceOff", "DeviceOn"]);
    }
    let events = lab.data(&["events"]);
    let ended = events.as_array().unwrap().iter().filter(|event| event["event"] == "BgpSessionDown");
    let mut ended: Vec<_> = ended.map(|event| [&event["node"], &event["reason"]]).collect();
    ended.sort_by_key(|[node, _]| node.to_string());
    assert_eq!(ended, [["dc", NO_TUNNEL], ["dc", NO_TUNNEL], ["hub-gw", NO_TUNNEL], ["hub-gw", NO_TUNNEL]]);
}

/// VPN-17: a device that is on again before anyone has looked has lost its routes all the same, so its session begins anew.
#[test]
fn vpn_17_a_device_that_is_off_for_a_moment() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    for round in 1..=5 {
        eventually("the site knows the spoke", || site_knows(&lab, "10.20.0.0/16"));
        lab.flap("dc", "tun0");
        eventually("both ends have noticed", || {
            let events = lab.data(&["events"]);
            let is = |event: &&Value| event["event"] == "BgpSessionDown" && event["reason"] == NO_TUNNEL;
            events.as_array().unwrap().iter().filter(is).count() == 2 * round
        });
    }
    eventually("the site answers again", || lab.ping("app", "192.168.50.10").is_some_and(|answer| answer.arrived));
}

/// The process that speaks BGP has no capabilities; the one that sets the sites' routes has that one alone.
#[test]
fn routers_have_no_power() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", lab.data(&["status"])["pid"])).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        threads.push((field("Name:"), u64::from_str_radix(&field("CapPrm:"), 16).unwrap()));
    }
    let power =
        |name: &str| threads.iter().filter(|(known, _)| known == name).map(|(_, power)| *power).collect::<Vec<_>>();
    assert_eq!(power("vnet-bgp"), [0, 0], "a gateway and a site: {threads:?}");
    assert_eq!(power("vnet-routes"), [1 << 12], "NET_ADMIN: {threads:?}");
}

/// UDR-31: a table on GatewaySubnet without propagation stops the gateway.
#[test]
fn udr_31_without_propagation_a_gateway_does_not_work() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    let subnet = "{name: GatewaySubnet, addressPrefix: 10.10.255.0/27";
    let stopped = example().replace(subnet, &format!("{subnet}, routeTable: rt"))
        + "routeTables: [{name: rt, disableBgpRoutePropagation: true}]\n";
    let applied = lab.apply(&stopped);
    assert!(stderr(&applied).contains("UDR-31"), "{}", stderr(&applied));
    forgets(&lab, "192.168.50.0/24");
    lab.assert_dropped("app", "192.168.50.1", "app", "NextHopNone");
}

/// PEER-35, CS-24: without the flag on the spoke's link neither side knows the other, and the hub's part goes on.
#[test]
fn cs_24_a_spoke_that_stops_using_the_gateway() {
    let Some(lab) = Lab::up(&example()) else { return };
    learns(&lab, "192.168.50.0/24");
    apply(&lab, &example().replace(", useRemoteGateways: true", ""));
    assert_eq!(gateway_rows(&lab, "app"), [""; 0]);
    eventually("the site forgets the spoke", || !site_knows(&lab, "10.20.0.0/16"));
    lab.assert_ping("files", "192.168.50.10");
    lab.assert_ping("app", "10.10.1.4");
    assert_eq!(lab.data(&["bgp", "peers", "hub-gw"])[0]["state"], "Connected", "the same session");
}

/// BGP-13: a site with the gateway's own AS number has no session, both ends say why, and with another number it has one.
#[test]
fn bgp_13_one_number_at_both_ends() {
    let alike = example()
        .replace("asn: 65010", "asn: 65501")
        .replace("VpnGw1, enableBgp: true}", "VpnGw1, enableBgp: true, bgpSettings: {asn: 65501}}");
    let Some(lab) = Lab::up(&alike) else { return };
    let why = "both ends have AS number 65501: give one of them another (BGP-13)";
    eventually("the site has answered the gateway, and both ends say why", || {
        let peers = lab.data(&["bgp", "peers"]);
        let says = |node: &str| session(&peers, node)["lastError"] == why;
        session(&peers, "hub-gw")["messagesReceived"].as_u64() > Some(1) && says("hub-gw") && says("dc")
    });
    let peers = lab.data(&["bgp", "peers"]);
    for node in ["hub-gw", "dc"] {
        let row = session(&peers, node);
        assert_eq!((&row["lastError"], &row["routesReceived"]), (&why.into(), &0.into()), "{row}");
        assert_ne!(row["state"], "Connected");
    }
    assert!(stdout(&lab.vnet(&["bgp", "peers"])).contains(why), "the table says it too");
    assert_eq!(gateway_rows(&lab, "app"), ["192.168.50.1/32"], "the peer alone");
    apply(&lab, &example());
    learns(&lab, "192.168.50.0/24");
}

/// BGP-06: a router that is refused hears why, and then its connection is closed.
#[test]
fn bgp_06_a_refused_connection_is_closed_behind_its_reason() {
    let own = "addresses: [192.168.50.10], sharedKey: a-secret";
    let Some(lab) = Lab::up(&example().replace(own, &format!("{own}, ownRouter: true"))) else { return };
    let site = Origin { device: None, address: Some("192.168.50.1".parse().unwrap()) };
    // Version 4, AS 65099 instead of 65010, three minutes, the site's identifier, no options.
    let body = [&[4][..], &65099_u16.to_be_bytes(), &180_u16.to_be_bytes(), &[192, 168, 50, 1], &[0]].concat();
    let open = [&[0xff; 16][..], &[0, 29, 1], &body].concat();
    let mut heard = Vec::new();
    eventually("the gateway takes a connection", || {
        let connected = lab.inside("dc", || {
            let connecting = site.tcp_towards("10.10.255.30:179".parse().unwrap()).unwrap();
            matches!(connecting.wait(SOON), Ok(Some(()))).then(|| connecting.into_stream())
        });
        let Some(mut stream) = connected else { return false };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        heard.clear();
        // Closed at once where the gateway has a connection of its own under way.
        stream.write_all(&open).is_ok() && stream.read_to_end(&mut heard).is_ok() && heard.len() > 19
    });
    let notification = &heard[heard.len() - 21..];
    assert_eq!((notification[18], &notification[19..]), (3, &[2, 2][..]), "bad peer AS: {heard:?}");
}

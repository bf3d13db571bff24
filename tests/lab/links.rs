//! Gateways' instances and circuits' links that fail, and devices that a person switches off.

use serde_json::Value;

use crate::EVERYTHING;
use crate::kernel::{says, tables};
use crate::lab::{Lab, eventually, saw, stderr, stdout};
use crate::made::assert_tables;

fn count(lab: &Lab, event: &str) -> usize {
    stdout(&lab.vnet(&["events"])).matches(event).count()
}

fn fails(lab: &Lab, arguments: &[&str]) -> Value {
    lab.data(arguments)
}

#[test]
fn a_circuits_link_that_fails_has_no_carrier_and_comes_back() {
    for device in ["veth", "tun"] {
        let Some(lab) = Lab::up(&format!("emulation: {{device: {device}}}\n{EVERYTHING}")) else { return };
        let carrier = |link: &str| says(&lab, "office", &format!("ip link show {link}")).contains("NO-CARRIER");
        let failed = fails(&lab, &["circuit", "fail", "er-london", "primary", "--seconds", "3600"]);
        assert_eq!((&failed["seconds"], failed["away"].as_array().unwrap().len()), (&3600.into(), 1), "{failed}");
        assert!(carrier("er0") && !carrier("er1"), "{device}");
        eventually("its routes are gone", || {
            !tables(&lab, "office").contains(&"10.1.0.0/16 dev er0 scope link metric 10".to_owned())
        });
        let both = fails(&lab, &["circuit", "fail", "er-london", "--seconds", "4000"]);
        assert_eq!(
            (&both["seconds"], both["away"].as_array().unwrap().len()),
            (&3600.into(), 2),
            "an hour at most: {both}"
        );
        assert!(carrier("er0") && carrier("er1"));
        let mended = fails(&lab, &["circuit", "fail", "er-london", "--seconds", "0"]);
        assert_eq!((&mended["seconds"], &mended["down"]), (&0.into(), &serde_json::json!([])), "{mended}");
        eventually("both are back", || !carrier("er0") && !carrier("er1"));
        eventually("so are their routes", || tables(&lab, "office").len() == 10);
        assert_tables(&lab);
        assert_eq!(count(&lab, "CircuitLinkRestored"), 2);
        assert_eq!(count(&lab, "CircuitLinkFailed"), 3, "each link by itself, each time");
        fails(&lab, &["circuit", "fail", "er-london", "secondary", "--seconds", "1"]);
        assert!(carrier("er1"));
        eventually("a second later it is back by itself", || {
            !carrier("er1") && count(&lab, "CircuitLinkRestored") == 3
        });
    }
}

/// What a person has removed by hand is there again after a change, whatever that changes.
#[test]
fn a_change_mends_the_routes_of_a_circuits_site() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let route = "10.1.0.0/16 dev er0 scope link metric 10".to_owned();
    let has_route = || tables(&lab, "office").contains(&route);
    assert!(has_route());
    says(&lab, "office", "ip route del 10.1.0.0/16 dev er0");
    assert!(!has_route());
    lab.apply(&EVERYTHING.replace("powerState: stopped, ", ""));
    eventually("it is there again", has_route);
    assert_eq!(tables(&lab, "office").len(), 10);
}

#[test]
fn a_gateway_that_fails_is_away_for_its_time() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    lab.assert_ping("dc", "10.1.1.5");
    let failed = fails(&lab, &["gateway", "failover", "GW", "--seconds", "3600"]);
    assert_eq!((&failed["what"], &failed["seconds"]), (&"gw".into(), &3600.into()), "{failed}");
    assert_eq!(lab.ping("dc", "10.1.1.5"), None);
    fails(&lab, &["gateway", "failover", "gw", "--seconds", "0"]);
    eventually("it is back", || lab.ping("dc", "10.1.1.5").is_some_and(|answer| answer.arrived));
    eventually("each is told once", || (count(&lab, "GatewayFailover"), count(&lab, "GatewayRestored")) == (2, 1));
    let refused = |arguments: &[&str], why: &str| {
        let output = lab.vnet(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    };
    refused(&["gateway", "failover", "none"], "there is no gateway `none`; the lab has: gw, er");
    refused(&["gateway", "failover", "gw", "--instance", "2"], "gw has one active instance");
    refused(&["circuit", "fail", "none"], "none");
}

/// As a router's session ends with its interface.
#[test]
fn a_tunnel_whose_device_is_off_is_down_until_it_is_on_again() {
    for device in ["veth", "tun"] {
        let Some(lab) = Lab::up(&format!("emulation: {{device: {device}}}\n{EVERYTHING}")) else { return };
        lab.assert_ping("dc", "10.1.1.5");
        lab.switch("dc", "tun0", "down");
        eventually("it is told", || count(&lab, "DeviceOff") == 1);
        lab.switch("dc", "tun0", "up");
        eventually("it is told", || count(&lab, "DeviceOn") == 1);
        assert_tables(&lab);
        lab.assert_ping("dc", "10.1.1.5");
        // Faster than anyone looks.
        lab.flap("office", "er1");
        eventually("its routes are back", || tables(&lab, "office").len() == 10);
        eventually("each is told once", || (count(&lab, "DeviceOff"), count(&lab, "DeviceOn")) == (2, 2));
        assert_tables(&lab);
        // A machine's own interface decides about no tunnel.
        lab.switch("web", "eth0", "down");
        lab.switch("web", "eth0", "up");
        assert_eq!(count(&lab, "DeviceOff"), 2);
    }
}

/// BGP has sessions within a virtual network too, where no tunnel ends: of an instance that is away they end at once.
#[test]
fn sessions_with_a_route_server_end_with_the_instance_that_fails() {
    let Some(lab) = Lab::up(include_str!("../../config/branch-to-branch.yaml")) else { return };
    let disconnected = || -> Vec<(String, String)> {
        let rows = lab.data(&["bgp", "peers"]);
        saw(&rows);
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let rows = rows.as_array().unwrap().iter().filter(|row| row["state"] != "Connected");
        rows.map(|row| (text(row, "node"), text(row, "connection"))).collect()
    };
    eventually("all are connected", || disconnected().is_empty());
    fails(&lab, &["gateway", "failover", "vpn", "--seconds", "3600"]);
    // Between the instances, and with both of the route server, each seen from both ends; and the tunnel's.
    let mut expected =
        [("rs", "vpn"), ("rs#2", "vpn"), ("vpn", "rs"), ("vpn", "rs#2"), ("vpn", "vpn#2"), ("vpn#2", "vpn")]
            .map(|(node, over)| (node.to_owned(), over.to_owned()))
            .to_vec();
    expected.extend([("branch".to_owned(), "hub-branch".to_owned()), ("vpn".to_owned(), "hub-branch".to_owned())]);
    expected.sort();
    let sorted = |mut rows: Vec<_>| {
        rows.sort();
        rows
    };
    eventually("those of the first instance have ended", || sorted(disconnected()) == expected);
    fails(&lab, &["gateway", "failover", "vpn", "--seconds", "0"]);
    eventually("all are connected again", || disconnected().is_empty());
}

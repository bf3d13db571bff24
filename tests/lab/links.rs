//! Gateways' instances and circuits' links that fail, and devices that a person switches off.

use serde_json::Value;

use crate::EVERYTHING;
use crate::kernel::{says, tables};
use crate::lab::{Lab, eventually, stderr, stdout};
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
        fails(&lab, &["circuit", "fail", "er-london", "secondary", "--seconds", "1"]);
        assert!(carrier("er1"));
        eventually("a second later it is back by itself", || {
            !carrier("er1") && count(&lab, "CircuitLinkRestored") == 3
        });
    }
}

#[test]
fn a_gateway_that_fails_is_away_for_its_time() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    lab.assert_ping("dc", "10.1.1.5");
    let failed = fails(&lab, &["gateway", "failover", "GW", "--seconds", "3600"]);
    assert_eq!((&failed["what"], &failed["seconds"]), (&"gw".into(), &3600.into()), "{failed}");
    assert_eq!(lab.ping("dc", "10.1.1.5"), None);
    fails(&lab, &["gateway", "failover", "gw", "--seconds", "0"]);
    lab.assert_ping("dc", "10.1.1.5");
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

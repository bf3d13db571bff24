//! Flows as they begin and end, told to somebody who follows.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::lab::{Lab, eventually, vnet};
use crate::trace::watchers;

const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");

/// `vnet flows -f`, which hears of everything from now on.
struct Flows {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Flows {
    fn follow(lab: &Lab, arguments: &[&str]) -> Self {
        let before = watchers(lab);
        let mut command = vnet();
        command.args(["-l", &lab.name, "flows", "-f", "-o", "json"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        eventually("it follows", || watchers(lab) > before);
        Self { child, lines }
    }

    /// What is told next of this kind.
    fn next(&mut self, event: &str) -> Value {
        let mut told = self.lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        told.find(|told| told["event"] == event).unwrap()
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nsg_20_and_22_a_follower_sees_flows_run_begin_end_and_be_refused() {
    let Some(lab) = Lab::up(TIERS) else { return };
    lab.assert_ping("web", "10.40.2.4");
    let mut flows = Flows::follow(&lab, &["web"]);
    let running = flows.next("Running");
    assert_eq!((&running["protocol"], &running["direction"]), (&json!("Icmp"), &json!("Outbound")));

    assert_eq!(lab.tcp("web", "app", "10.40.2.4", 8080, 5000), Some(5000));
    let begun = flows.next("Begun");
    assert_eq!((&begun["state"], &begun["destinationPort"]), (&json!("SynSent"), &json!(8080)));
    assert_eq!(begun["packetsSent"], 1);
    let ended = flows.next("Ended");
    assert_eq!((&ended["state"], &ended["sourcePort"]), (&json!("Closed"), &begun["sourcePort"]));
    assert!(ended["bytesSent"].as_u64().unwrap() > 5000, "{ended}");

    let mut refused = Flows::follow(&lab, &["db", "--port", "22"]);
    assert_eq!(lab.tcp("web", "db", "10.40.3.4", 22, 0), None);
    let denied = refused.next("Denied");
    assert_eq!((&denied["access"], &denied["rules"]), (&json!("Deny"), &json!(["db-tier securityRules/deny-vnet"])));
}

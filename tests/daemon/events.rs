//! What is told of a change: the whole of it, then links, machines and devices.

use vnet::config;
use vnet::daemon::api::protocol::Changed;
use vnet::daemon::events::of_change;
use vnet::model::{Links, Network};

/// Networks of two virtual networks and a machine, each with these links and in this state, one after another.
fn networks(files: &[(&str, &str, &str)]) -> Vec<Network> {
    let load = |(a, b, power): &(&str, &str, &str)| {
        let vnet = |name: &str, range: &str, remote: &str| {
            let link = if remote.is_empty() {
                String::new()
            } else {
                format!("{{name: to-{remote}, remoteVirtualNetwork: {remote}}}")
            };
            format!(
                "  - {{name: {name}, location: westeurope, addressSpace: [{range}], subnets: [{{name: s, addressPrefix: {range}}}], \
                 virtualNetworkPeerings: [{link}]}}\n"
            )
        };
        let text = format!(
            "name: lab\nvirtualNetworks:\n{}{}virtualMachines:\n  - {{name: web, powerState: {power}, networkInterfaces: [{{subnet: a/s}}]}}\n",
            vnet("a", "10.1.0.0/16", a),
            vnet("b", "10.2.0.0/16", b)
        );
        config::load(&text, "lab.yaml").unwrap().network
    };
    let mut running = Links::default();
    let advance = |file| {
        let network = running.advance(load(file)).unwrap();
        running = Links::of(&network);
        network
    };
    files.iter().map(advance).collect()
}

#[test]
fn a_change_tells_what_became_of_links_machines_and_devices() {
    let all = networks(&[
        ("", "", "running"),
        ("b", "", "running"),
        ("b", "a", "stopped"),
        ("b", "", "stopped"),
        ("b", "", "stopped"),
    ]);
    let told = |from: usize, to: usize, restored: &[&str]| {
        let changed = serde_json::json!({"lab": "lab", "applied": true, "generation": 7, "warnings": [], "restored": restored, "flows": [],
            "changes": [{"action": "create", "type": "t", "name": "1", "properties": []}, {"action": "create", "type": "t", "name": "2", "properties": []},
                        {"action": "update", "type": "t", "name": "3", "properties": []}]});
        let changed: Changed = serde_json::from_value(changed).unwrap();
        let mut told = of_change(&changed, &all[from], &all[to]);
        let whole = told.next().unwrap();
        assert_eq!(whole.to_string(), "generation 7: 2 created, 1 modified, 0 deleted");
        told.map(|one| format!("{} {} {one}", one.name(), one.object()).trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(0, 1, &[]), ["PeeringChanged a/to-b Initiated, FullyInSync"]);
    let connected = ["PeeringChanged a/to-b Connected, FullyInSync", "PeeringChanged b/to-a Connected, FullyInSync"];
    assert_eq!(told(1, 2, &[]), [connected[0], connected[1], "PowerChanged web Stopped"]);
    assert_eq!(told(2, 3, &[]), ["PeeringChanged a/to-b Disconnected, FullyInSync", "PeeringRemoved b/to-a"]);
    assert_eq!(told(3, 4, &["web/eth0"]), ["DeviceRestored web/eth0"], "what stays is not told");
}

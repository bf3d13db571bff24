//! What a listing of flows says of the other end: a translated address, and who refuses the packets.

use std::collections::HashMap;

use vnet::daemon::api::client;
use vnet::daemon::api::protocol::{FlowFilter, FlowRow, Request, Response};

use crate::{CLIENT, LAB, Lab, SERVER, network, received};

fn flows(lab: &Lab, filter: FlowFilter) -> Vec<FlowRow> {
    match lab.ask(&Request::Flows { filter, from: None }) {
        Response::Flows(page) => page.flows,
        other => panic!("{other:?}"),
    }
}

fn of(lab: &Lab, node: &str) -> FlowRow {
    let mut rows = flows(lab, FlowFilter { node: Some(node.to_owned()), ..FlowFilter::default() });
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

/// A backend has its own address, its client the balancer's. The backend's row names what the client knows.
#[test]
fn a_backend_s_flow_has_the_balancer_s_address_beside_its_own() {
    let lab = Lab::start();
    lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.101:53"), b"balanced");
    assert_eq!(received(&lab.guests[SERVER]), b"balanced");
    let (client, server) = (of(&lab, "client"), of(&lab, "server"));
    let told = |row: &FlowRow| {
        let translated = row.translated_address.map(|address| address.to_string()).zip(row.translated_port);
        (row.destination_address.to_string(), row.destination_port, translated)
    };
    assert_eq!(told(&client), ("10.0.2.101".to_owned(), 53, None));
    assert_eq!(told(&server), ("10.0.2.4".to_owned(), 53, Some(("10.0.2.101".to_owned(), 53))));
    // Without a balancer both know the same.
    let plain = Lab::start();
    plain.exchange(1000, b"plain");
    assert_eq!(told(&of(&plain, "server")), ("10.0.2.4".to_owned(), 53, None));
}

/// PIP-01: the Internet knows an interface by its public address, and no port is changed.
#[test]
fn a_flow_with_the_internet_has_the_public_address_of_its_interface() {
    let public = "publicIPAddresses: [{name: one, sku: Standard, ipAddress: 203.0.113.9}]\n\
                  internet: {addresses: [198.51.100.7]}\nflowLogs:";
    let text = LAB
        .replace("flowLogs:", public)
        .replace("privateIPAddress: 10.0.1.4}", "privateIPAddress: 10.0.1.4, publicIPAddress: one}");
    let lab = Lab::start_with(&text);
    lab.send(CLIENT, ("10.0.1.4:1000", "198.51.100.7:53"), b"outside");
    lab.settle(1);
    let row = of(&lab, "client");
    assert_eq!(row.translated_address, Some("203.0.113.9".parse().unwrap()));
    assert_eq!((row.source_port, row.translated_port), (1000, Some(1000)));
    let within = Lab::start_with(&text);
    within.exchange(1000, b"within");
    assert_eq!(of(&within, "client").translated_address, None);
}

/// Where an appliance stands between, the sender's packets have arrived: its row says who refuses them behind that.
#[test]
fn a_flow_that_the_other_end_refuses_names_the_rule_there() {
    let between = "10.0.1.0/24, routeTable: way}\n      - {name: between, addressPrefix: 10.0.3.0/24}";
    let text = LAB.replace("10.0.1.0/24}", between).replace("flowLogs:", &format!("routeTables: [{WAY}]\nflowLogs:"));
    let appliance = "subnet: v/between, privateIPAddress: 10.0.3.5, enableIPForwarding: true";
    let lab = Lab::start_with(&text.replace("subnet: v/servers, privateIPAddress: 10.0.2.5", appliance));
    let pass_on = |port: &str, payload: &[u8]| {
        lab.send(CLIENT, ("10.0.1.4:1000", port), payload);
        assert_eq!(received(&lab.guests[SPARE]), payload);
        lab.send(SPARE, ("10.0.1.4:1000", port), payload);
    };
    pass_on("10.0.2.4:53", b"passes");
    assert_eq!(received(&lab.guests[SERVER]), b"passes");
    let denied = || flows(&lab, FlowFilter { state: Some("denied".to_owned()), ..FlowFilter::default() });
    assert_eq!(denied(), []);
    pass_on("10.0.2.4:9", b"refused");
    lab.settle(4);
    let rows = denied();
    let told: Vec<_> = rows.iter().map(|row| (row.node.as_str(), row.destination_port, row.access.as_str())).collect();
    assert!(told.contains(&("client", 9, "Deny")) && told.iter().all(|(_, port, _)| *port == 9), "{told:?}");
    for row in &rows {
        assert_eq!(row.denied_at.as_deref(), Some("server/eth0"));
        assert!(row.rules.len() == 1 && row.rules[0].ends_with("securityRules/no"), "{:?}", row.rules);
    }
    let passing = flows(&lab, FlowFilter { port: Some(53), ..FlowFilter::default() });
    assert!(passing.iter().all(|row| row.access == "Allow" && row.denied_at.is_none()), "{passing:?}");
}

/// What was answered has arrived, whatever is refused later.
#[test]
fn a_flow_that_was_answered_is_not_told_as_refused() {
    let lab = Lab::start();
    lab.exchange(1000, b"there");
    lab.send(SERVER, ("10.0.2.4:53", "10.0.1.4:1000"), b"back");
    assert_eq!(received(&lab.guests[CLIENT]), b"back");
    let denied = LAB
        .replace("destinationPortRange: '9'}", "destinationPortRange: '*'}")
        .replace("  - name: group\n", "  - name: group\n    flushConnection: true\n");
    lab.engine.publish(lab.engine.prepare(network(&denied)).unwrap(), HashMap::new()).unwrap();
    lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:53"), b"refused");
    lab.settle(3);
    let row = of(&lab, "client");
    assert_eq!((row.access.as_str(), row.denied_at), ("Allow", None));
}

const SPARE: usize = 2;
const WAY: &str = "{name: way, routes: [{name: servers, addressPrefix: 10.0.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.3.5}]}";

#[test]
fn words_that_no_flow_has_are_refused_with_those_there_are() {
    let lab = Lab::start();
    let refused = |filter| client::ask(&lab.socket, &Request::Flows { filter, from: None }).unwrap_err().to_string();
    let word = |text: &str| Some(text.to_owned());
    let all = FlowFilter::default;
    let node = refused(FlowFilter { node: word("nobody"), ..all() });
    assert!(node.contains("`nobody`") && node.contains("client") && node.contains("server"), "{node}");
    let state = refused(FlowFilter { state: word("lost"), ..all() });
    assert!(
        state.starts_with("`lost` is no state of a flow: expected one of ") && state.ends_with(", Denied"),
        "{state}"
    );
    let protocol = refused(FlowFilter { protocol: word("smtp"), ..all() });
    assert_eq!(protocol, "`smtp` is no protocol: expected one of Icmp, Tcp, Udp, Esp, Ah, Icmpv6, or a number");
    lab.exchange(1000, b"one");
    for (name, count) in [("17", 2), ("UDP", 2), ("6", 0)] {
        assert_eq!(flows(&lab, FlowFilter { protocol: word(name), ..all() }).len(), count, "{name}");
    }
    for (name, count) in [("client/eth0", 1), ("CLIENT/ETH0", 1), ("server", 1)] {
        assert_eq!(flows(&lab, FlowFilter { node: word(name), ..all() }).len(), count, "{name}");
    }
}

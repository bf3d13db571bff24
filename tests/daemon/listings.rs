//! What is asked once: counters, drops, flows, the status.

use std::os::fd::{AsFd, AsRawFd};
use std::process::{self, Command};

use vnet::analysis::{Hook, SnatRow};
use vnet::daemon::api::protocol::{FlowFilter, Request, Response, Topic};
use vnet::sys::caps::{self, CapabilitySet};
use vnet::sys::netns::Netns;

use crate::{CLIENT, HEADERS, LAB, Lab, SERVER, next, received};

#[test]
fn every_listing_has_the_same_packets() {
    let lab = Lab::start();
    let mut drops = lab.follow(Topic::Drops { by_flow: false });
    assert_eq!(next(&mut drops), Response::Drops(Vec::new()));
    for payload in [&b"one"[..], b"three", b"fifteen"] {
        lab.exchange(1000, payload);
    }
    lab.send(SERVER, ("10.0.2.4:53", "10.0.1.4:1000"), b"answer");
    assert_eq!(received(&lab.guests[CLIENT]), b"answer");
    lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:9"), b"denied");
    lab.send(CLIENT, ("10.0.1.4:2000", "10.0.2.4:9"), b"denied");
    lab.settle(6);

    let Response::Counters(rows) = lab.ask(&Request::Counters) else { panic!("no counters") };
    let bytes = |packets: usize, payload: usize| (packets as u64, (packets * HEADERS + payload) as u64);
    let told = rows.iter().map(|row| {
        let (received, sent) = ((row.rx_packets, row.rx_bytes), (row.tx_packets, row.tx_bytes));
        (row.node.as_str(), received, sent, row.drops, row.harmless_drops, row.alive)
    });
    let wanted = [
        ("client", bytes(5, 15 + 12), bytes(1, 6), 2, 0, true),
        ("server", bytes(1, 6), bytes(3, 15), 0, 0, true),
        ("spare", bytes(0, 0), bytes(0, 0), 0, 0, true),
        ("AzurePlatform", bytes(0, 0), bytes(0, 0), 0, 0, true),
    ];
    assert_eq!(told.collect::<Vec<_>>(), wanted);

    let no_port: u64 = lab.engine.counters().ports.iter().flat_map(|port| port.no_port).sum();
    assert_eq!(no_port, 0, "these were dropped for another reason");

    let Response::Drops(rows) = lab.ask(&Request::Drops { by_flow: false }) else { panic!("no drops") };
    let told: Vec<_> = rows.iter().map(|row| (row.node.as_str(), row.reason.as_str(), row.packets)).collect();
    assert_eq!(told, [("client", "NsgInbound", 2)]);
    // One or both, as they came.
    loop {
        let Response::Drops(rows) = next(&mut drops) else { panic!("no drops") };
        assert_eq!(rows.len(), 1, "news alone");
        if rows[0].packets == 2 {
            break;
        }
    }
    let Response::Drops(rows) = lab.ask(&Request::Drops { by_flow: true }) else { panic!("no drops") };
    let mut ports: Vec<_> = rows.iter().map(|row| (row.flow.as_ref().unwrap().source_port, row.packets)).collect();
    ports.sort_unstable();
    assert_eq!(ports, [(Some(1000), 1), (Some(2000), 1)]);
}

#[test]
fn flows_are_listed_by_what_is_asked_about() {
    let lab = Lab::start();
    lab.exchange(1000, b"one");
    lab.exchange(2000, b"other");
    let flows = |filter| match lab.ask(&Request::Flows { filter, from: None }) {
        Response::Flows(page) => {
            let told = page.flows.iter().map(|row| (row.node.clone(), row.direction.clone(), row.source_port));
            let mut told: Vec<_> = told.collect();
            told.sort_unstable();
            told
        }
        other => panic!("{other:?}"),
    };
    let row = |node: &str, direction: &str, port| (node.to_owned(), direction.to_owned(), port);
    let all = FlowFilter::default;
    let [one, other] = [1000, 2000].map(|port| [row("client", "Outbound", port), row("server", "Inbound", port)]);
    let [[first, second], [third, fourth]] = [one.clone(), other.clone()];
    assert_eq!(flows(all()), [first.clone(), third.clone(), second.clone(), fourth.clone()]);
    assert_eq!(flows(FlowFilter { port: Some(2000), ..all() }), other);
    assert_eq!(flows(FlowFilter { node: Some("server".to_owned()), ..all() }), [second, fourth]);
    assert_eq!(flows(FlowFilter { address: "10.0.1.4".parse().ok(), port: Some(1000), ..all() }), one);
    assert_eq!(flows(FlowFilter { protocol: Some("tcp".to_owned()), ..all() }), []);
}

#[test]
fn the_status_sums_up_what_the_daemon_knows() {
    let lab = Lab::start();
    lab.exchange(1000, b"one flow");
    let Response::Status(status) = lab.ask(&Request::Status) else { panic!("no status") };
    let balancers: Vec<_> =
        status.load_balancers.iter().map(|it| (it.name.as_str(), it.backends, it.down.len())).collect();
    assert_eq!(balancers, [("first", 2, 0), ("second", 1, 0)], "each once, however many rules it has");
    let generation = lab.engine.published().generation();
    assert_eq!((status.name.as_str(), status.workers, status.generation), ("lab", 1, generation));
    assert_eq!((status.alerts.as_slice(), status.offload.as_str()), (&["look here".to_owned()][..], "tcp+udp"));
    assert_eq!((status.carried_flows, status.flows, status.nodes.len()), (None, 2, 3));
}

/// Each packet that begins a flow, or is refused, is a hit of the rule that decides on it.
#[test]
fn rules_count_what_they_decide() {
    let lab = Lab::start();
    let hits = |name: &str| {
        let Response::Rules(groups) = lab.ask(&Request::Rules { target: "server".to_owned() }) else {
            panic!("no rules")
        };
        let rules = groups.iter().flat_map(|group| &group.effective_security_rules);
        rules.filter(|rule| rule.name.ends_with(name)).find_map(|rule| rule.hits).unwrap()
    };
    let unused = || match lab.ask(&Request::UnusedRules) {
        Response::UnusedRules(rules) => rules.into_iter().map(|rule| rule.name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!((hits("/no"), unused()), (0, vec!["securityRules/no".to_owned()]));
    for (port, payload) in [(1000, b"one"), (1000, b"two"), (2000, b"new")] {
        lab.exchange(port, payload);
    }
    for _ in 0..3 {
        lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:9"), b"denied");
    }
    lab.settle(6);
    assert_eq!((hits("/no"), hits("AllowVnetInBound"), unused()), (3, 2, Vec::new()));
}

/// Rules that a guest has by now are counted in its namespace (root): those of hooks that the packet passes.
#[test]
fn an_explanation_names_guests_with_rules_of_their_own() {
    let has_nft = Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success());
    if !caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) || !has_nft {
        return;
    }
    let [client, server] = [(); 2].map(|()| Netns::create().unwrap());
    let place = |name: &str, namespace: &Netns| {
        (name.to_owned(), format!("/proc/{}/fd/{}", process::id(), namespace.as_fd().as_raw_fd()).into())
    };
    let lab = Lab::start_at(LAB, vec![place("client", &client), place("server", &server)]);
    let met = || {
        let request = Request::Explain { source: "client".to_owned(), destination: "10.0.2.4:53/udp".to_owned() };
        let Response::Explanation(answer) = lab.ask(&request) else { panic!("no explanation") };
        answer.guest_rules.into_iter().map(|guest| (guest.node, guest.rules, guest.hooks)).collect::<Vec<_>>()
    };
    let load = |namespace: &Netns, rules: &str| {
        let nft = || Command::new("nft").arg(rules).status().unwrap();
        assert!(namespace.run(nft).unwrap().success(), "{rules}");
    };
    assert_eq!(met(), []);
    load(
        &server,
        "table inet own { chain in { type filter hook input priority 0; udp dport 53 accept; udp dport 54 drop; }; }",
    );
    assert_eq!(met(), [("server".to_owned(), Some(2), vec![Hook::Input])]);
    load(&client, "table ip own { chain way { type filter hook forward priority 0; drop; }; }");
    assert_eq!(met().len(), 1, "the client forwards nothing");
    load(&client, "table ip more { chain out { type filter hook output priority 0; accept; }; }");
    assert_eq!(met().iter().map(|(node, ..)| node.as_str()).collect::<Vec<_>>(), ["client", "server"]);
}

/// A member of a pool with ports of its own has them whether it uses any or not.
#[test]
fn snat_05_ports_are_told_as_allocated_and_as_used() {
    let outside = "publicIPAddresses: [{name: out, sku: Standard, ipAddress: 203.0.113.9}]\n\
                   internet: {addresses: [198.51.100.7]}\nvirtualMachines:";
    let balancer = "loadBalancers:
  - name: third
    frontendIPConfigurations: [{name: out, publicIPAddress: out}]
    backendAddressPools: [{name: pool}]
    outboundRules: [{name: out, frontendIPConfigurations: [out], backendAddressPool: pool, protocol: Udp, allocatedOutboundPorts: 8}]";
    let text = LAB.replace("virtualMachines:", outside).replace("loadBalancers:", balancer);
    let text = text.replace("[first/pool, second/pool]", "[third/pool]").replace("[first/pool]", "[third/pool]");
    let lab = Lab::start_with(&text);
    let told = || {
        let Response::Snat(rows) = lab.ask(&Request::Snat) else { panic!("no ports") };
        let row = |row: SnatRow| (row.interface, row.allocated_ports, row.used_ports, row.connections, row.failed);
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let row =
        |interface: &str, used, connections| (interface.to_owned(), Some(8), Some(used), Some(connections), Some(0));
    assert_eq!(told(), [row("server/eth0", 0, 0), row("spare/eth0", 0, 0)]);
    for port in [1000, 2000] {
        lab.send(SERVER, (&format!("10.0.2.4:{port}"), "198.51.100.7:53"), b"outside");
    }
    lab.settle(2);
    assert_eq!(told(), [row("server/eth0", 2, 2), row("spare/eth0", 0, 0)]);
}

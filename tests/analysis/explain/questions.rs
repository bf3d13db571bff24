//! What may be asked, and in which words: sources, interfaces, addresses, families.

use super::*;

/// DIAG-04: the source must be the interface's own, and the answer does not depend on rules or owners.
#[test]
fn diag_04_the_source_must_be_the_interfaces_own() {
    let network = load(CHAIN);
    let compiled = compile(&network, &Learned::default(), 1);
    let ask = |target, source, destination| next_hop(&network, &compiled, &hop_query(target, source, destination));
    let by_route = ask("v1", Some("10.20.0.4"), "10.30.9.9").unwrap();
    assert_eq!((by_route.next_hop_type, by_route.route_table_id.as_str()), (NextHopType::VirtualAppliance, "rt-s1"));
    // The subnet, with and without a machine, and the name of the destination instead of its address.
    assert_eq!(ask("s1/s", Some("10.20.0.200"), "v2"), Ok(by_route));
    let peer = ask("v1/eth0", None, "10.10.0.77").unwrap();
    let expected = (NextHopType::VnetPeering, None, "System Route");
    assert_eq!((peer.next_hop_type, peer.next_hop_ip_address, peer.route_table_id.as_str()), expected);
    // There is no IPv6 anywhere.
    assert_eq!(ask("v1", None, "fd00::1").unwrap().next_hop_type, NextHopType::None);

    let error = ask("v1", Some("10.30.0.4"), "10.10.0.4").unwrap_err();
    assert_eq!(error, "SourceIpDoesNotMatchNicIp: 10.30.0.4 is not an address of v1, expected 10.20.0.4");
    let error = ask("s1/s", Some("10.30.0.4"), "10.10.0.4").unwrap_err();
    assert!(error.starts_with("SourceIpDoesNotMatchNicIp: 10.30.0.4"), "{error}");
}

/// DIAG-06: an appliance with two interfaces.
#[test]
fn diag_06_a_forwarding_machine_with_several_interfaces_must_name_one() {
    let subnets = "{name: s, addressPrefix: 10.10.0.0/24}, {name: t, addressPrefix: 10.10.1.0/24, routeTable: rt-s1}";
    let yaml = with(CHAIN, "{name: s, addressPrefix: 10.10.0.0/24}", subnets);
    let plain = yaml + "  - {name: two, networkInterfaces: [{subnet: h/s}, {subnet: h/t}]}\n";
    let forwards = with(&plain, "[{subnet: h/s}, ", "[{subnet: h/s, enableIPForwarding: true}, ");
    let ask = |yaml: &str, target, source| {
        let network = load(yaml);
        let compiled = compile(&network, &Learned::default(), 1);
        next_hop(&network, &compiled, &hop_query(target, source, "10.30.0.4")).map(|answer| answer.route_table_id)
    };
    assert_eq!(ask(&plain, "two", None), Ok("System Route".to_owned()));
    assert_eq!(ask(&plain, "two", Some("10.10.1.4")), Ok("rt-s1".to_owned()));
    assert_eq!(ask(&forwards, "two/eth1", None), Ok("rt-s1".to_owned()));
    let error = ask(&forwards, "two", None).unwrap_err();
    assert_eq!(error, "`two` has several interfaces and forwards: name one of two/eth0, two/eth1");
}

/// Attach mode: a VNet's addresses are asked for by address.
#[test]
fn addresses_behind_a_vnets_one_tun_can_be_asked_for() {
    let yaml = std::fs::read_to_string("config/two-vnets.yaml").unwrap();
    let answer = ask(&yaml, "10.1.0.4", "10.2.0.4:5201");
    assert_eq!(answer.verdict, Verdict::Reachable);
    assert_eq!(nodes(&answer.forward), ["a", "b"]);
    // FAB-03, ADR-01
    let gateway = ask(&yaml, "10.1.0.4", "10.2.0.1");
    assert_eq!(gateway.forward.dropped.as_deref(), Some("NoEndpoint"));
    assert!(gateway.cause.unwrap().starts_with("no machine has the address 10.2.0.1"));
}

/// FAB-16: a dual-stack pair is asked for over the family that both have.
#[test]
fn dual_stack_nodes_use_the_family_of_the_destination() {
    let yaml = std::fs::read_to_string("config/dual-stack.yaml").unwrap();
    let network = load(&yaml);
    let [first, second] = [0, 1].map(|vm| network.virtual_machines[vm].name.clone());
    let address = network.network_interfaces[1].addresses.iter().find(|address| address.is_ipv6()).unwrap();
    let answer = ask(&yaml, &first, &format!("[{address}]:80"));
    assert!(answer.source.contains("::") && answer.destination.starts_with(&second), "{answer:?}");
    assert!(answer.back.is_some());
}

#[test]
fn wrong_questions_are_answered_with_what_was_expected() {
    let error = |source, destination| try_ask(PAIR, source, destination).unwrap_err();
    assert_eq!(error("vaa", "vb"), "unknown node `vaa`: did you mean `va`?");
    assert_eq!(error("va/nic7", "vb"), "unknown interface of va `nic7`: expected one of eth0");
    let none = "no interface of this network has the source address";
    assert_eq!(error("10.9.9.9", "vb"), format!("{none} 10.9.9.9"));
    let hint = "give the file `internet: {}` and ask from `internet`";
    assert_eq!(error("8.8.8.8", "vb:443"), format!("{none} 8.8.8.8: {hint}"));
    let internet = format!("{PAIR}internet: {{}}\n");
    let hint = "ask from `internet`, or list it in `internet: {addresses: [..]}`";
    assert_eq!(try_ask(&internet, "8.8.8.8", "vb:443").unwrap_err(), format!("{none} 8.8.8.8: {hint}"));
    assert_eq!(error("va", "[fd00::1"), "`[fd00::1`: expected `[IPV6]:PORT`, the closing bracket is missing");
    assert_eq!(error("va", "[fd00::1]80"), "`[fd00::1]80`: expected `:PORT` after the bracket, found `80`");
    let protocol = "protocol `sctp`: expected tcp or udp (leave the port away for a ping)";
    assert_eq!(error("va", "vb:80/sctp"), protocol);
    assert_eq!(error("va", ""), "``: expected a node, node/nic or an address");
    assert_eq!(error("va", "fd00::1"), "source and destination have no address family in common");
}

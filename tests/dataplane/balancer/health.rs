//! Probes and the health of backends: down, up, set by hand (LB-10 to LB-17, NSG-31).

use super::*;

#[test]
fn lb_13_lb_14_nsg_31_a_backend_with_rules_that_deny_the_probe_is_down() {
    let mut lab = Lab::new(FILE);
    let tcp_flows: Vec<_> = (1000..1032).map(|port| (port, lab.backend(port))).collect();
    let udp_of = |lab: &Lab, port| lab.send("client", &udp((CLIENT, port), (WEB, 53))).map(|(node, _)| node);
    assert_eq!((1000..1032).map(|port| udp_of(&lab, port)).collect::<BTreeSet<_>>().len(), 2);
    lab.apply(&denied(&["a"]));
    for (port, node) in &tcp_flows {
        assert_eq!(lab.send("client", &tcp((CLIENT, *port), (WEB, 80), ACK)).unwrap().0, *node, "TCP stays");
    }
    assert!((1000..1032).all(|port| udp_of(&lab, port) == Ok("b".to_owned())), "UDP moves");
    assert!((2000..2032).all(|port| lab.backend(port) == "b"), "new flows go elsewhere");
    lab.apply(&denied(&["a", "b"]));
    assert_eq!(lab.send("client", &tcp((CLIENT, 3000), (WEB, 80), SYN)), Err(DropReason::NoHealthyBackend));
    assert_eq!(udp_of(&lab, 1000), Err(DropReason::NoHealthyBackend));
    assert!(lab.send("client", &tcp((CLIENT, 1000), (WEB, 80), ACK)).is_ok(), "two are down, and TCP stays");
}

#[test]
fn lb_10_backends_are_unhealthy_until_their_first_successful_probe() {
    let mut lab = Lab::new(FILE);
    let request = tcp((CLIENT, 1), (WEB, 80), SYN);
    lab.learn(&health(&[]));
    assert_eq!(lab.send("client", &request), Err(DropReason::NoHealthyBackend));
    lab.learn(&health(&["b"]));
    assert!((1..64).all(|port| lab.backend(port) == "b"));
    lab.learn(&health(&["a", "b"]));
    assert_eq!((100..164).map(|port| lab.backend(port)).collect::<BTreeSet<_>>().len(), 2);
    // A rule without a probe needs no healthy backend (LB-09).
    lab.learn(&health(&[]));
    assert!(lab.send("client", &tcp((CLIENT, 1), ("10.1.0.101", 443), SYN)).is_ok());
}

#[test]
fn lb_14_all_backends_get_new_flows_if_none_is_healthy_and_the_probe_allows_it() {
    let mut lab = Lab::new(
        &FILE.replace("name: tcp, protocol: Tcp", "name: tcp, noHealthyBackendsBehavior: AllProbedUp, protocol: Tcp"),
    );
    lab.learn(&health(&[]));
    assert_eq!((1..64).map(|port| lab.backend(port)).collect::<BTreeSet<_>>().len(), 2);
    lab.learn(&health(&["a"]));
    assert!((100..164).all(|port| lab.backend(port) == "a"));
}

#[test]
fn lb_14_lb_16_a_backend_that_is_set_down_gets_no_new_flow_though_all_are_probed_up() {
    let all =
        FILE.replace("name: tcp, protocol: Tcp", "name: tcp, noHealthyBackendsBehavior: AllProbedUp, protocol: Tcp");
    let states = |a: &str, b: &str| {
        let members = [("10.1.1.4", a), ("10.1.1.5", b)];
        let members = members.map(|(address, state)| format!("{{ipAddress: {address}, adminState: {state}}}"));
        let pool = format!("{{name: web, loadBalancerBackendAddresses: [{}]}}", members.join(", "));
        all.replacen("{name: web}]\n    probes", &format!("{pool}]\n    probes"), 1)
    };
    let backends = |file: &str| {
        let mut lab = Lab::new(file);
        lab.learn(&health(&[]));
        let sent = |port| lab.send("client", &tcp((CLIENT, port), (WEB, 80), SYN)).map(|(node, _)| node);
        (1..64).map(sent).collect::<BTreeSet<_>>()
    };
    let ok = |nodes: &[&str]| nodes.iter().map(|node| Ok((*node).to_owned())).collect::<BTreeSet<_>>();
    assert_eq!(backends(&states("None", "None")), ok(&["a", "b"]));
    assert_eq!(backends(&states("None", "Down")), ok(&["a"]), "a probe has no say, its administrator has");
    assert_eq!(backends(&states("Down", "Down")), BTreeSet::from([Err(DropReason::NoHealthyBackend)]));
}

#[test]
fn lb_14_lb_16_tcp_leaves_the_only_backend_of_a_pool_unless_its_administrator_set_it_down() {
    let alone = FILE.replacen(", networkSecurityGroup: b, loadBalancerBackendAddressPools: [lb/web]", "", 1);
    let set = |state: &str| {
        let pool =
            format!("{{name: web, loadBalancerBackendAddresses: [{{ipAddress: 10.1.1.4, adminState: {state}}}]}}");
        alone.replacen("{name: web}]\n    probes", &format!("{pool}]\n    probes"), 1)
    };
    let goes_on = |up: &str, down: &str| {
        let mut lab = Lab::new(up);
        lab.learn(&health(&["a"]));
        assert_eq!(lab.backend(1000), "a");
        lab.apply(down);
        lab.learn(&health(&[]));
        lab.send("client", &tcp((CLIENT, 1000), (WEB, 80), ACK)).map(|(node, _)| node)
    };
    let ended = Err(DropReason::NoMapping);
    assert_eq!(goes_on(&alone, &alone), ended, "its probe has failed");
    assert_eq!(goes_on(&set("None"), &set("None")), ended, "the administrator leaves it to the probe");
    assert_eq!(goes_on(&set("None"), &set("Down")), Ok("a".to_owned()));
}

#[test]
fn lb_10_nsg_31_a_probe_meets_the_rules_of_its_backend_and_is_answered_under_any_routes() {
    const PLATFORM: &str = "168.63.129.16";
    let probe = tcp((PLATFORM, 6000), ("10.1.1.4", 8080), SYN);
    let answer = tcp(("10.1.1.4", 8080), (PLATFORM, 6000), SYN | ACK);
    let lab = Lab::new(&FILE.replace(
        "{name: back, addressPrefix: 10.1.1.0/24}",
        "{name: back, addressPrefix: 10.1.1.0/24, routeTable: back}",
    ));
    assert_eq!(lab.send("a", &answer), Err(DropReason::NoEndpoint), "no probe was sent (FAB-12)");
    assert_eq!(lab.send("platform", &probe), Ok(("a".to_owned(), probe.clone())));
    assert_eq!(lab.send("a", &answer), Ok(("platform".to_owned(), answer.clone())));
    assert_eq!(Lab::new(&denied(&["a"])).send("platform", &probe), Err(DropReason::NsgInbound));
    assert_eq!(
        lab.send("platform", &tcp(("168.63.129.17", 1), ("10.1.1.4", 8080), SYN)),
        Err(DropReason::SpoofedSource)
    );
    assert_eq!(lab.send("platform", &tcp((PLATFORM, 1), ("10.1.1.9", 8080), SYN)), Err(DropReason::NoEndpoint));
    assert_eq!(lab.send("far", &tcp((PLATFORM, 1), ("10.1.1.4", 8080), SYN)), Err(DropReason::SpoofedSource));
}

#[test]
fn lb_17_a_stopped_backend_is_down() {
    let lab =
        Lab::new(&FILE.replace("{name: a, networkInterfaces", "{name: a, powerState: stopped, networkInterfaces"));
    assert!((1000..1032).all(|port| lab.backend(port) == "b"));
}

//! Public load balancers: the Internet asks, and backends answer or begin flows of their own.

use super::*;

/// A public load balancer: the client is `internet`, at 198.18.0.1.
pub(super) const PUBLIC: &str = "
name: public
internet: {addresses: [198.18.0.1, 198.18.0.2]}
publicIPAddresses: [{name: one, ipAddress: 203.0.113.30}, {name: two, ipAddress: 203.0.113.31}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: one, publicIPAddress: one}, {name: two, publicIPAddress: two}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: one, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true, disableOutboundSnat: true}
      - {name: quiet, frontendIPConfiguration: one, backendAddressPool: web, protocol: Tcp, frontendPort: 81, backendPort: 8081, disableOutboundSnat: true}
      - {name: float, frontendIPConfiguration: two, backendAddressPool: web, protocol: Tcp, frontendPort: 443, backendPort: 443, enableFloatingIP: true, disableOutboundSnat: true}
    inboundNatRules:
      - {name: ssh, frontendIPConfiguration: one, protocol: Tcp, frontendPortRangeStart: 2000, frontendPortRangeEnd: 2001, backendAddressPool: web, backendPort: 22}
    outboundRules:
      - {name: out, frontendIPConfigurations: [one], backendAddressPool: web, protocol: All, allocatedOutboundPorts: 1000}
networkSecurityGroups:
  - name: open
    securityRules: [{name: all, priority: 100, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24, networkSecurityGroup: open}]}
virtualMachines:
  - name: a
    networkInterfaces:
      - ipConfigurations:
          - {name: first, subnet: v/s, privateIPAddress: 10.1.1.4, privateIPAllocationMethod: Static, primary: true, loadBalancerBackendAddressPools: [lb/web]}
          - {name: second, subnet: v/s, privateIPAddress: 10.1.1.6, privateIPAllocationMethod: Static}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.5, loadBalancerBackendAddressPools: [lb/web]}]}
";

pub(super) const INTERNET: &str = "198.18.0.1";

const FRONT: &str = "203.0.113.30";

#[test]
fn lb_01_lb_43_the_internet_reaches_a_public_frontend_and_is_answered_by_it() {
    let lab = Lab::new(PUBLIC);
    let mut seen = BTreeSet::new();
    for port in 1000..1032 {
        let (node, bytes) = lab.send("internet", &tcp((INTERNET, port), (FRONT, 80), SYN)).unwrap();
        assert_eq!(bytes, tcp((INTERNET, port), (address(&node), 8080), SYN));
        let answer = lab.send(&node, &tcp((address(&node), 8080), (INTERNET, port), SYN | ACK));
        assert_eq!(answer, Ok(("internet".to_owned(), tcp((FRONT, 80), (INTERNET, port), SYN | ACK))));
        seen.insert(node);
    }
    assert_eq!(seen.len(), 2);
    let closed = Lab::new(&PUBLIC.replace(", networkSecurityGroup: open", ""));
    assert_eq!(closed.send("internet", &tcp((INTERNET, 1), (FRONT, 80), SYN)), Err(DropReason::NoSecurityGroup));
}

#[test]
fn lb_08_each_port_of_a_range_leads_to_one_backend() {
    let lab = Lab::new(PUBLIC);
    for (port, node) in [(2000, "a"), (2001, "b")] {
        let request = lab.send("internet", &tcp((INTERNET, 7), (FRONT, port), SYN));
        assert_eq!(request, Ok((node.to_owned(), tcp((INTERNET, 7), (address(node), 22), SYN))));
        let answer = lab.send(node, &tcp((address(node), 22), (INTERNET, 7), SYN | ACK));
        assert_eq!(answer, Ok(("internet".to_owned(), tcp((FRONT, port), (INTERNET, 7), SYN | ACK))));
    }
    assert_eq!(lab.send("internet", &tcp((INTERNET, 7), (FRONT, 2002), SYN)), Err(DropReason::NoBalancingRule));
}

#[test]
fn lb_25_a_packet_of_an_ended_flow_gets_a_reset_if_the_rule_has_resets() {
    let lab = Lab::new(PUBLIC);
    let (node, bytes) = lab.send("internet", &tcp((INTERNET, 7), (FRONT, 80), ACK)).unwrap();
    assert_eq!(node, "internet");
    // From the frontend, with the bit RST.
    assert_eq!((&bytes[12..16], bytes[33] & 0x04), (&[203, 0, 113, 30][..], 0x04));
    assert_eq!(lab.send("internet", &tcp((INTERNET, 7), (FRONT, 81), ACK)), Err(DropReason::NoMapping));
}

#[test]
fn lb_25_both_ends_of_an_idle_connection_get_a_reset_at_once() {
    let lab = Lab::new(PUBLIC);
    let node = lab.connect(("internet", (INTERNET, 7)), ((FRONT, 80), 8080));
    lab.connect(("internet", (INTERNET, 8)), ((FRONT, 81), 8081));
    // A handshake that was never finished is no connection.
    lab.send("internet", &tcp((INTERNET, 9), (FRONT, 80), SYN)).unwrap();
    let told = [
        ("internet".to_owned(), reset((FRONT, 80), (INTERNET, 7), 5001)),
        (node.clone(), reset((INTERNET, 7), (address(&node), 8080), 1001)),
    ];
    assert_eq!(lab.parted(), told, "and no end of the rule without resets");
    assert_eq!(lab.parted(), [], "once");
}

#[test]
fn lb_25_a_reset_is_reported_with_the_interface_of_the_flow() {
    let lab = Lab::new(PUBLIC);
    let node = lab.connect(("internet", (INTERNET, 7)), ((FRONT, 80), 8080));
    let (late, snapshot) = (Timestamp(lab.now.0 + 300_000_000_000), &lab.compiled.snapshot);
    let mut told = Vec::new();
    lab.flows.mappings.expire(late, usize::MAX, |parted| {
        for end in [End::Far, End::Near] {
            let (mut bytes, mut leg) = ([0; Reset::LEN_MAX], Recorder::new());
            reset_end(snapshot, &lab.flows, (parted, end), late, &mut bytes, &mut leg).unwrap();
            told.extend([leg.steps().first().copied(), leg.steps().last().copied()].map(Option::unwrap));
        }
    });
    let nic = lab.nic(&node);
    let [far, near] = ["internet", &node].map(|end| Step::Delivered { port: lab.port(end) });
    assert_eq!(told, [Step::Reset { nic }, far, Step::Reset { nic }, near]);
}

#[test]
fn lb_25_an_end_in_a_peer_gets_a_reset_and_one_behind_an_appliance_does_not() {
    let resets = FILE.replace("frontendPort: 80, ", "frontendPort: 80, enableTcpReset: true, ");
    let lab = Lab::new(&resets);
    let node = lab.connect(("far", ("10.2.0.4", 7)), ((WEB, 80), 8080));
    let told = [
        ("far".to_owned(), reset((WEB, 80), ("10.2.0.4", 7), 5001)),
        (node.clone(), reset(("10.2.0.4", 7), (address(&node), 8080), 1001)),
    ];
    assert_eq!(lab.parted(), told);
    let mut lab = Lab::new(&resets);
    let node = lab.connect(("far", ("10.2.0.4", 7)), ((WEB, 80), 8080));
    lab.apply(&resets.replace(
        "{name: back, addressPrefix: 10.1.1.0/24}",
        "{name: back, addressPrefix: 10.1.1.0/24, routeTable: via}",
    ));
    assert_eq!(lab.parted(), [(node.clone(), reset(("10.2.0.4", 7), (address(&node), 8080), 1001))]);
}

#[test]
fn lb_25_what_a_backend_began_by_an_outbound_rule() {
    let told = |file: &str| {
        let lab = Lab::new(file);
        let (_, bytes) = lab.send("a", &tcp(("10.1.1.4", 7), (INTERNET, 443), SYN)).unwrap();
        let port = u16::from_be_bytes([bytes[20], bytes[21]]);
        let answer = expecting(tcp((INTERNET, 443), (FRONT, port), SYN | ACK), 5001);
        lab.send("internet", &answer).unwrap();
        lab.send("a", &expecting(tcp(("10.1.1.4", 7), (INTERNET, 443), ACK), 1001)).unwrap();
        (lab.parted(), port)
    };
    let resets = PUBLIC.replace("allocatedOutboundPorts: 1000", "allocatedOutboundPorts: 1000, enableTcpReset: true");
    let (both, port) = told(&resets);
    let far = ("internet".to_owned(), reset((FRONT, port), (INTERNET, 443), 5001));
    let near = ("a".to_owned(), reset((INTERNET, 443), ("10.1.1.4", 7), 1001));
    assert_eq!(both, [far, near]);
    assert_eq!(told(PUBLIC).0, []);
}

#[test]
fn lb_20_floating_over_the_edge() {
    let lab = Lab::new(PUBLIC);
    let request = tcp((INTERNET, 7), ("203.0.113.31", 443), SYN);
    let (node, bytes) = lab.send("internet", &request).unwrap();
    assert_eq!(bytes, request);
    let answer = tcp(("203.0.113.31", 443), (INTERNET, 7), SYN | ACK);
    assert_eq!(lab.send(&node, &answer), Ok(("internet".to_owned(), answer)));
    assert_eq!(lab.send(&node, &tcp((FRONT, 443), (INTERNET, 7), SYN)), Err(DropReason::SpoofedSource));
}

#[test]
fn snat_05_snat_06_each_backend_has_ports_of_its_own_and_none_of_a_rules_block() {
    let lab = Lab::new(PUBLIC);
    let port_of = |node, port| {
        let out = lab.send(node, &tcp((address(node), port), (INTERNET, 443), SYN));
        out.map(|(_, bytes)| u16::from_be_bytes([bytes[20], bytes[21]]))
    };
    let all = |node| (0..1000).map(|port| port_of(node, 10_000 + port)).collect::<Vec<_>>();
    let own: Vec<_> = ["a", "b"].map(|node| all(node).into_iter().flatten().collect::<BTreeSet<_>>()).into();
    // 2000 and 2001 are in the block that begins at 2000, which is of a's share.
    assert_eq!([own[0].len(), own[1].len()], [992, 1000]);
    assert!(own[0].iter().all(|port| (1024..2024).contains(port) && !(2000..2008).contains(port)));
    assert!(own[1].iter().all(|port| (2024..3024).contains(port)));
    assert_eq!(port_of("a", 30_000), Err(DropReason::SnatExhausted));
    let refused = tcp((address("a"), 30_000), (INTERNET, 443), SYN);
    assert_eq!(lab.without_a_port("a", &refused), Some(lab.nic("a")));
    let elsewhere = lab.send("a", &tcp((address("a"), 30_000), ("198.18.0.2", 443), SYN)).unwrap().1;
    assert_eq!(elsewhere[12..16], [203, 0, 113, 30]);
    // The answer finds its way back.
    let port = u16::from_be_bytes([elsewhere[20], elsewhere[21]]);
    let answer = lab.send("internet", &tcp(("198.18.0.2", 443), (FRONT, port), SYN | ACK));
    assert_eq!(answer, Ok(("a".to_owned(), tcp(("198.18.0.2", 443), ("10.1.1.4", 30_000), SYN | ACK))));
}

#[test]
fn snat_07_snat_09_a_rule_serves_outbound_flows_of_its_pool_unless_disabled() {
    let implicit = PUBLIC.replace(", disableOutboundSnat: true", "");
    let (head, tail) = implicit.split_once("    outboundRules").unwrap();
    let lab = Lab::new(&format!("{head}{}", &tail[tail.find("networkSecurityGroups").unwrap()..]));
    let out = |bytes: Vec<u8>| lab.send("a", &bytes).map(|(_, bytes)| bytes[12..15] == [203, 0, 113]);
    assert_eq!(out(tcp(("10.1.1.4", 7), (INTERNET, 443), SYN)), Ok(true));
    // No rule is for UDP; the second IP configuration has no ports (SNAT-09).
    assert_eq!(out(udp(("10.1.1.4", 7), (INTERNET, 53))), Err(DropReason::NoOutbound));
    assert_eq!(out(tcp(("10.1.1.6", 7), (INTERNET, 443), SYN)), Err(DropReason::NoOutbound));
}

/// LB-20, LB-25: a floating address is the backend's as long as a rule says so, in a virtual network and at its edge. Its
/// answers pass the load balancer by, so that of the two ends the client alone has said to it what it expects.
#[test]
fn lb_25_a_floating_address_gets_its_reset_while_it_floats() {
    let ends = [(FILE, ("client", CLIENT), "10.1.0.101"), (PUBLIC, ("internet", INTERNET), "203.0.113.31")];
    for (file, (node, client), frontend) in ends {
        let with = file.replace("enableFloatingIP: true", "enableFloatingIP: true, enableTcpReset: true");
        let mut lab = Lab::new(&with);
        let connect = |lab: &Lab| {
            let backend = lab.send(node, &tcp((client, 7), (frontend, 443), SYN)).unwrap().0;
            lab.send(&backend, &expecting(tcp((frontend, 443), (client, 7), SYN | ACK), 1001)).unwrap();
            lab.send(node, &expecting(tcp((client, 7), (frontend, 443), ACK), 5001)).unwrap();
        };
        connect(&lab);
        assert_eq!(lab.parted(), [(node.to_owned(), reset((frontend, 443), (client, 7), 5001))]);
        connect(&lab);
        lab.apply(&with.replace("enableFloatingIP: true", "enableFloatingIP: false"));
        assert_eq!(lab.parted(), [], "{frontend} does not float any more");
    }
}

/// LB-25: an address that another machine has by now gets no reset for a connection of the one before.
#[test]
fn lb_25_no_reset_goes_to_another_owner_of_an_address() {
    let mut lab = Lab::new(PUBLIC);
    lab.connect(("internet", (INTERNET, 7)), ((FRONT, 80), 8080));
    let swapped =
        PUBLIC.replace("10.1.1.4", "10.1.1.9").replace("10.1.1.5", "10.1.1.4").replace("10.1.1.9", "10.1.1.5");
    lab.apply(&swapped);
    assert_eq!(lab.parted(), []);
}

/// SNAT-07: rules that serve what backends begin bring each of their frontends once.
#[test]
fn snat_07_frontends_of_several_rules_serve_once() {
    let (head, _) = PUBLIC.split_once("    loadBalancingRules:").unwrap();
    let rule = |frontend: &str, port: u16| {
        format!(
            "      - {{name: r{port}, frontendIPConfiguration: {frontend}, backendAddressPool: web, protocol: Tcp, \
             frontendPort: {port}, backendPort: {port}}}\n"
        )
    };
    let own = [rule("two", 80), rule("one", 81), rule("two", 82)].concat();
    let (_, rest) = PUBLIC.split_once("networkSecurityGroups:").unwrap();
    let lab = Lab::new(&format!("{head}    loadBalancingRules:\n{own}networkSecurityGroups:{rest}"));
    let rows = analysis::snat(&lab.network, &lab.compiled, None);
    let rows = rows.iter().filter(|row| row.interface.starts_with("a/") && row.protocol == "Tcp");
    let allocated: Vec<_> = rows.map(|row| (row.public_address.to_string(), row.allocated_ports)).collect();
    let each = |address: &str| (address.to_owned(), Some(1024));
    assert_eq!(allocated, [each(FRONT), each("203.0.113.31")]);
}

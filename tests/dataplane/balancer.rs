//! Load balancers in memory: from a file's rules and pools to the backend that has a flow, and back.
//!
//! Each test sends packets through the tables of one small topology, on a clock of its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use vnet::analysis::{self, Explanation};
use vnet::compile::{Compiled, Ids, compile_numbered};
use vnet::config;
use vnet::dataplane::{
    DropReason, End, FlowLimits, Flows, Paths, PortId, Quiet, Timestamp, Verdict, process, reset_end,
};
use vnet::model::{Attachment, Health, Learned, Network, ProbeKey, Verdict as Answer};
use vnet::wire::{Offload, Packet, Protocol, Reset, Tuple, build};

const FILE: &str = "
name: balancer
loadBalancers:
  - name: lb
    frontendIPConfigurations:
      - {name: web, subnet: v/front, privateIPAddress: 10.1.0.100}
      - {name: float, subnet: v/front, privateIPAddress: 10.1.0.101}
    backendAddressPools: [{name: web}]
    probes: [{name: tcp, protocol: Tcp, port: 8080}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: web, backendAddressPool: web, probe: tcp, protocol: Tcp, frontendPort: 80, backendPort: 8080}
      - {name: dns, frontendIPConfiguration: web, backendAddressPool: web, probe: tcp, protocol: Udp, frontendPort: 53, backendPort: 5353}
      - {name: float, frontendIPConfiguration: float, backendAddressPool: web, protocol: Tcp, frontendPort: 443, backendPort: 443, enableFloatingIP: true}
  - name: nvas
    frontendIPConfigurations: [{name: in, subnet: v/nva, privateIPAddress: 10.1.9.100}]
    backendAddressPools: [{name: nvas}]
    loadBalancingRules:
      - {name: all, frontendIPConfiguration: in, backendAddressPool: nvas, protocol: All, frontendPort: 0, backendPort: 0}
networkSecurityGroups: [{name: a}, {name: b}]
routeTables:
  - name: via
    routes: [{name: far, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.9.100}]
  - name: back
    routes: [{name: near, addressPrefix: 10.1.5.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.9.100}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: front, addressPrefix: 10.1.0.0/24}
      - {name: back, addressPrefix: 10.1.1.0/24}
      - {name: client, addressPrefix: 10.1.5.0/24, routeTable: via}
      - {name: nva, addressPrefix: 10.1.9.0/24}
    virtualNetworkPeerings: [{name: v-far, remoteVirtualNetwork: far, allowForwardedTraffic: true}]
  - name: far
    location: northeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24, routeTable: back}]
    virtualNetworkPeerings: [{name: far-v, remoteVirtualNetwork: v, allowForwardedTraffic: true}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/back, privateIPAddress: 10.1.1.4, networkSecurityGroup: a, loadBalancerBackendAddressPools: [lb/web]}]}
  - {name: b, networkInterfaces: [{subnet: v/back, privateIPAddress: 10.1.1.5, networkSecurityGroup: b, loadBalancerBackendAddressPools: [lb/web]}]}
  - {name: client, networkInterfaces: [{subnet: v/client, privateIPAddress: 10.1.5.4}]}
  - {name: far, networkInterfaces: [{subnet: far/s, privateIPAddress: 10.2.0.4}]}
  - {name: nva1, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.1.9.4, enableIPForwarding: true, loadBalancerBackendAddressPools: [nvas/nvas]}]}
  - {name: nva2, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.1.9.5, enableIPForwarding: true, loadBalancerBackendAddressPools: [nvas/nvas]}]}
";

const CLIENT: &str = "10.1.5.4";
const WEB: &str = "10.1.0.100";
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

struct Lab {
    network: Network,
    compiled: Compiled,
    flows: Flows,
    now: Timestamp,
}

/// Where a packet came out, and what it was then.
type Out = Result<(String, Vec<u8>), DropReason>;

impl Lab {
    fn new(file: &str) -> Self {
        let network = config::load(file, "balancer.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
        let compiled = compile_numbered(&network, &Learned::default(), Ids::in_file_order(&network), 1);
        let flows = Flows::new(FlowLimits { per_nic: 50_000, total: 100_000 });
        Self { network, compiled, flows, now: Timestamp(1) }
    }

    fn pass(&mut self, secs: u64) {
        self.now.0 += secs * 1_000_000_000;
    }

    /// The same flows under another file, with the same interfaces.
    fn apply(&mut self, file: &str) {
        let Self { network, compiled, .. } = Self::new(file);
        (self.network, self.compiled) = (network, compiled);
    }

    /// The same with what probes have found out.
    fn learn(&mut self, learned: &Learned) {
        self.compiled = compile_numbered(&self.network, learned, Ids::in_file_order(&self.network), 1);
    }

    fn node(&self, port: PortId) -> String {
        let nic = match self.compiled.ids().attachment(port) {
            Some(Attachment::Nic(nic)) => nic,
            Some(Attachment::Platform(_)) => return "platform".to_owned(),
            Some(Attachment::Tunnel(_)) => return "site".to_owned(),
            _ => return "internet".to_owned(),
        };
        self.network.vm(self.network.nic(nic).virtual_machine).name.clone()
    }

    fn port(&self, node: &str) -> PortId {
        (0..16).map(PortId).find(|port| self.node(*port) == node).unwrap()
    }

    fn send(&self, node: &str, bytes: &[u8]) -> Out {
        self.send_offloaded(node, bytes, Offload::default()).map(|(node, bytes, _)| (node, bytes))
    }

    fn send_offloaded(
        &self,
        node: &str,
        bytes: &[u8],
        offload: Offload,
    ) -> Result<(String, Vec<u8>, Offload), DropReason> {
        let port = self.port(node);
        let mut bytes = bytes.to_vec();
        let mut packet = Packet::parse(&mut bytes, offload).unwrap();
        match process(&self.compiled.snapshot, &self.flows, port, self.now, &mut packet, &mut Quiet) {
            Verdict::Forward(port) => Ok((self.node(port), packet.bytes().to_vec(), packet.offload())),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// The resets that the ends of idle flows get: their far ends first.
    fn parted(&self) -> Vec<(String, Vec<u8>)> {
        let mut said = Vec::new();
        let late = Timestamp(self.now.0 + 300_000_000_000);
        self.flows.mappings.expire(late, usize::MAX, |parted| {
            for end in [End::Far, End::Near] {
                let mut bytes = [0; Reset::LEN_MAX];
                let snapshot = &self.compiled.snapshot;
                match reset_end(snapshot, &self.flows, (parted, end), late, &mut bytes, &mut Quiet) {
                    Some((packet, Verdict::Forward(port))) => said.push((self.node(port), packet.bytes().to_vec())),
                    Some((_, Verdict::Drop(_))) | None => {}
                }
            }
        });
        said
    }

    /// A whole handshake, and what each end expects next.
    fn connect(&self, client: (&str, (&str, u16)), (frontend, backend_port): ((&str, u16), u16)) -> String {
        let (node, from) = client;
        let backend = self.send(node, &tcp(from, frontend, SYN)).unwrap().0;
        let answer = expecting(tcp((address(&backend), backend_port), from, SYN | ACK), 1001);
        self.send(&backend, &answer).unwrap();
        self.send(node, &expecting(tcp(from, frontend, ACK), 5001)).unwrap();
        backend
    }

    /// The backend that gets the first packet of a flow from this port.
    fn backend(&self, port: u16) -> String {
        self.send("client", &tcp((CLIENT, port), (WEB, 80), SYN)).unwrap().0
    }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn tcp(src: (&str, u16), dst: (&str, u16), flags: u8) -> Vec<u8> {
    build::tcp(at(src.0, src.1), at(dst.0, dst.1), flags, b"data")
}

fn udp(src: (&str, u16), dst: (&str, u16)) -> Vec<u8> {
    build::udp(at(src.0, src.1), at(dst.0, dst.1), b"data")
}

/// A segment that acknowledges all up to a sequence number.
fn expecting(mut segment: Vec<u8>, next: u32) -> Vec<u8> {
    segment[28..32].copy_from_slice(&next.to_be_bytes());
    let (bytes, offload) = partial(segment);
    completed(bytes, offload)
}

fn reset(src: (&str, u16), dst: (&str, u16), seq: u32) -> Vec<u8> {
    let mut bytes = [0; Reset::LEN_MAX];
    let (src, dst) = (at(src.0, src.1), at(dst.0, dst.1));
    let tuple =
        Tuple { src: src.ip(), dst: dst.ip(), protocol: Protocol::TCP, src_port: src.port(), dst_port: dst.port() };
    let len = Reset { tuple, seq, ack: None }.write(&mut bytes);
    bytes[..len].to_vec()
}

fn address(node: &str) -> &'static str {
    if node == "a" { "10.1.1.4" } else { "10.1.1.5" }
}

/// With a rule before the default ones that keeps probes out of these.
fn denied(nodes: &[&str]) -> String {
    let rule = "securityRules: [{name: probes, priority: 100, direction: Inbound, access: Deny, protocol: '*', \
                sourceAddressPrefix: AzureLoadBalancer, sourcePortRange: '*', destinationAddressPrefix: '*', \
                destinationPortRange: '*'}]";
    nodes.iter().fold(FILE.to_owned(), |file, node| {
        file.replace(&format!("{{name: {node}}}"), &format!("{{name: {node}, {rule}}}"))
    })
}

#[test]
fn lb_01_the_backend_sees_the_client_and_the_client_the_frontend() {
    let lab = Lab::new(FILE);
    let (node, bytes) = lab.send("client", &tcp((CLIENT, 5000), (WEB, 80), SYN)).unwrap();
    let own = address(&node);
    assert_eq!(bytes, tcp((CLIENT, 5000), (own, 8080), SYN));
    let answer = lab.send(&node, &tcp((own, 8080), (CLIENT, 5000), SYN | ACK));
    assert_eq!(answer, Ok(("client".to_owned(), tcp((WEB, 80), (CLIENT, 5000), SYN | ACK))));
    let (again, _) = lab.send("client", &tcp((CLIENT, 5000), (WEB, 80), ACK)).unwrap();
    assert_eq!(again, node);
    let own_address = lab.send("client", &tcp((CLIENT, 5000), (own, 8080), SYN));
    assert_eq!(own_address.unwrap().0, node, "a backend has its own address still");
}

/// A backend and a client talk, and where that leads is known; then the client asks for the frontend from the same port.
#[test]
fn lb_01_a_known_path_does_not_hide_a_backends_answer() {
    let port = (5000..6000).find(|port| Lab::new(FILE).backend(*port) == "a").unwrap();
    let lab = Lab::new(FILE);
    let mut paths = Paths::new();
    let (a, snapshot) = ("10.1.1.4", &lab.compiled.snapshot);
    let mut answer = |flags| {
        let mut bytes = tcp((a, 8080), (CLIENT, port), flags);
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        let verdict = paths.process(snapshot, &lab.flows, lab.port("a"), lab.now, &mut packet, &mut Quiet);
        (verdict, packet.src())
    };
    for _ in 0..3 {
        assert_eq!(answer(ACK), (Verdict::Forward(lab.port("client")), at(a, 0).ip()));
    }
    assert_eq!(lab.backend(port), "a", "the flow that the backend has too");
    assert_eq!(answer(SYN | ACK), (Verdict::Forward(lab.port("client")), at(WEB, 0).ip()));
}

#[test]
fn lb_02_only_what_a_rule_takes() {
    let lab = Lab::new(FILE);
    assert_eq!(lab.send("client", &tcp((CLIENT, 1), (WEB, 81), SYN)), Err(DropReason::NoBalancingRule));
    assert_eq!(lab.send("client", &udp((CLIENT, 1), (WEB, 80))), Err(DropReason::NoBalancingRule));
    let ping = build::icmp_echo(CLIENT.parse().unwrap(), WEB.parse().unwrap(), 7, 1, false);
    assert_eq!(lab.send("client", &ping), Err(DropReason::NoBalancingRule));
    let (node, bytes) = lab.send("client", &udp((CLIENT, 1), (WEB, 53))).unwrap();
    assert_eq!(bytes, udp((CLIENT, 1), (address(&node), 5353)));
}

#[test]
fn lb_02_errors_about_a_balanced_flow_quote_what_their_receiver_knows() {
    let lab = Lab::new(FILE);
    let (node, request) = lab.send("client", &udp((CLIENT, 1), (WEB, 53))).unwrap();
    let own: IpAddr = address(&node).parse().unwrap();
    let told = lab.send(&node, &build::icmp_unreachable(own, &request));
    let expected = build::icmp_unreachable(WEB.parse().unwrap(), &udp((CLIENT, 1), (WEB, 53)));
    assert_eq!(told, Ok(("client".to_owned(), expected)));
}

/// A load balancer that a site uses over a VPN; its backends allow nothing in but these requests.
const FROM_AFAR: &str = "
name: afar
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: dns, subnet: hub/web, privateIPAddress: 10.10.1.100}]
    backendAddressPools: [{name: dns}]
    loadBalancingRules:
      - {name: dns, frontendIPConfiguration: dns, backendAddressPool: dns, protocol: Udp, frontendPort: 53, backendPort: 5353}
networkSecurityGroups:
  - name: dns
    securityRules:
      - {name: dns, priority: 100, direction: Inbound, access: Allow, protocol: Udp, sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '5353'}
      - {name: rest, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.10.0.0/16]
    subnets: [{name: web, addressPrefix: 10.10.1.0/24, networkSecurityGroup: dns}, {name: GatewaySubnet, addressPrefix: 10.10.255.0/27}]
publicIPAddresses: [{name: hub-gw-ip, sku: Standard}]
virtualNetworkGateways: [{name: hub-gw, virtualNetwork: hub, publicIPAddress: hub-gw-ip, sku: VpnGw1}]
localNetworkGateways: [{name: dc-lng, gatewayIpAddress: 198.51.100.50, localNetworkAddressSpace: [192.168.50.0/24]}]
connections: [{name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: hub-gw, localNetworkGateway2: dc-lng, sharedKey: a-secret}]
sites: [{name: dc, gatewayIpAddress: 198.51.100.50, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10], sharedKey: a-secret}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: hub/web, privateIPAddress: 10.10.1.4, loadBalancerBackendAddressPools: [lb/dns]}]}
";

#[test]
fn lb_02_lb_41_errors_about_a_balanced_flow_find_its_record_through_a_gateway_both_ways() {
    let lab = Lab::new(FROM_AFAR);
    let [site, front, own] = ["192.168.50.10", "10.10.1.100", "10.10.1.4"];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let quoted = |bytes: &[u8]| {
        let [src, dst] = [&bytes[40..44], &bytes[44..48]].map(|it| IpAddr::from(<[u8; 4]>::try_from(it).unwrap()));
        let [src_port, dst_port] = [48, 50].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        (src, src_port, dst, dst_port)
    };
    let (node, question) = lab.send("site", &udp((site, 7), (front, 53))).unwrap();
    assert_eq!((node.as_str(), &question[16..20]), ("a", &[10, 10, 1, 4][..]));
    // The backend could not take the question.
    let (node, told) = lab.send("a", &build::icmp_unreachable(ip(own), &question)).unwrap();
    assert_eq!((node.as_str(), quoted(&told)), ("site", (ip(site), 7, ip(front), 53)));
    // The site could not take the answer: its error comes in by the flow's record.
    let (_, answer) = lab.send("a", &udp((own, 5353), (site, 7))).unwrap();
    let (node, told) = lab.send("site", &build::icmp_unreachable(ip(site), &answer)).unwrap();
    assert_eq!((node.as_str(), quoted(&told)), ("a", (ip(own), 5353, ip(site), 7)));
    assert_eq!(told[16..20], [10, 10, 1, 4]);
}

#[test]
fn lb_03_lb_04_new_flows_use_every_backend_and_old_ones_stay() {
    let mut lab = Lab::new(FILE);
    let before: Vec<_> = (1000..1064).map(|port| lab.backend(port)).collect();
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 2);
    // Out of the pool: it keeps the flows that it has, and answers for the frontend.
    lab.apply(
        &FILE.replace("networkSecurityGroup: a, loadBalancerBackendAddressPools: [lb/web]", "networkSecurityGroup: a"),
    );
    for (port, node) in (1000..).zip(&before) {
        let on = lab.send("client", &tcp((CLIENT, port), (WEB, 80), ACK)).unwrap().0;
        assert_eq!(on, *node);
        let answer = lab.send(node, &tcp((address(node), 8080), (CLIENT, port), ACK));
        assert_eq!(answer, Ok(("client".to_owned(), tcp((WEB, 80), (CLIENT, port), ACK))));
    }
    assert!((2000..2064).all(|port| lab.backend(port) == "b"));
}

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

/// Of the backends that the probe `tcp` asks.
fn health(up: &[&str]) -> Learned {
    let key = |node: &&str| ProbeKey {
        balancer: "lb".to_owned(),
        probe: "tcp".to_owned(),
        interface: format!("{node}/eth0"),
        address: address(node).parse().unwrap(),
    };
    let up = up.iter().map(|node| (key(node), Health { up: true, since: 0, reason: String::new() }));
    Learned { health: Some(up.collect()), ..Learned::default() }
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
fn lb_25_a_flow_is_forgotten_when_it_was_idle_for_as_long_as_its_rule_says() {
    let (dns, idle) = ("frontendPort: 53, backendPort: 5353", ", idleTimeoutInMinutes: 10");
    for (file, minutes) in [(FILE.to_owned(), 4), (FILE.replace(dns, &format!("{dns}{idle}")), 10)] {
        let mut lab = Lab::new(&file);
        let backends = |lab: &Lab| -> BTreeSet<String> {
            (1..64).map(|port| lab.send("client", &udp((CLIENT, port), (WEB, 53))).unwrap().0).collect()
        };
        let one = BTreeSet::from(["a".to_owned()]);
        lab.learn(&health(&["a"]));
        assert_eq!(backends(&lab), one);
        lab.learn(&health(&["a", "b"]));
        lab.pass(minutes * 60);
        assert_eq!(backends(&lab), one, "within {minutes} minutes they stay");
        lab.pass(minutes * 60 + 1);
        assert_eq!(backends(&lab).len(), 2, "after {minutes} minutes they are new flows");
    }
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
fn lb_20_floating_keeps_the_frontend_s_address() {
    let lab = Lab::new(FILE);
    let request = tcp((CLIENT, 5000), ("10.1.0.101", 443), SYN);
    let (node, bytes) = lab.send("client", &request).unwrap();
    assert_eq!(bytes, request);
    let answer = tcp(("10.1.0.101", 443), (CLIENT, 5000), SYN | ACK);
    assert_eq!(lab.send(&node, &answer), Ok(("client".to_owned(), answer.clone())));
    assert_eq!(lab.send("far", &answer), Err(DropReason::SpoofedSource));
}

#[test]
fn lb_20_explain_takes_a_floating_frontend_s_packet_for_its_backend_s_own() {
    for (file, source, frontend) in [(FILE, "client", "10.1.0.101"), (PUBLIC, "internet", "203.0.113.31")] {
        let lab = Lab::new(file);
        let query = analysis::parse_query(source, &format!("{frontend}:443")).unwrap();
        let answer = analysis::explain(&lab.network, &lab.compiled, &query).unwrap();
        assert_eq!((answer.verdict, answer.cause), (Answer::Reachable, None));
        let needs = ["a", "b"].map(|node| {
            format!(
                "the rule of {frontend} has enableFloatingIP: the guest of {node} needs `ip address add {frontend}/32 dev lo` (LB-20)"
            )
        });
        let told: BTreeSet<_> = answer.warnings.into_iter().collect();
        assert_eq!(told, needs.into());
        let back = answer.back.unwrap();
        assert_eq!(
            back.hops[0].steps[0].text,
            format!("{frontend} sends to {}", if source == "client" { CLIENT } else { INTERNET })
        );
    }
}

#[test]
fn cs_57_lb_40_a_backend_does_not_reach_itself() {
    let lab = Lab::new(FILE);
    let outcomes: Vec<_> = (1000..1040)
        .map(|port| lab.send("a", &tcp(("10.1.1.4", port), (WEB, 80), SYN)).map(|(node, _)| node))
        .collect();
    assert!(outcomes.contains(&Err(DropReason::Hairpin)));
    assert!(outcomes.iter().any(|outcome| *outcome == Ok("b".to_owned())));
    assert!(!outcomes.contains(&Ok("a".to_owned())));
    let query = analysis::parse_query("a", "10.1.0.100:80").unwrap();
    let answer = analysis::explain(&lab.network, &lab.compiled, &query).unwrap();
    assert_eq!(answer.verdict, Answer::Depends);
    let query = analysis::parse_query("client", "10.1.0.100:80").unwrap();
    let answer = analysis::explain(&lab.network, &lab.compiled, &query).unwrap();
    assert_eq!((answer.verdict, answer.branches.len()), (Answer::Reachable, 2));
}

#[test]
fn cs_59_lb_30_lb_32_any_port_passes_an_appliance_unchanged() {
    let lab = Lab::new(FILE);
    let mut seen = BTreeSet::new();
    for port in 1000..1064 {
        for packet in [tcp((CLIENT, port), ("10.2.0.4", port + 1), SYN), udp((CLIENT, port), ("10.2.0.4", 9))] {
            let (node, bytes) = lab.send("client", &packet).unwrap();
            assert_eq!(bytes, packet);
            assert_eq!(lab.send("client", &packet).unwrap().0, node, "it stays");
            assert_eq!(lab.send(&node, &packet).unwrap().0, "far");
            seen.insert(node);
        }
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn cs_73_lb_34_both_directions_pass_the_same_appliance() {
    let lab = Lab::new(FILE);
    for port in 1000..1064 {
        let there = lab.send("client", &tcp((CLIENT, port), ("10.2.0.4", 80), SYN)).unwrap().0;
        let back = lab.send("far", &tcp(("10.2.0.4", 80), (CLIENT, port), SYN | ACK)).unwrap().0;
        assert_eq!(there, back);
    }
    let ping = |src: &str, dst: &str, reply| build::icmp_echo(src.parse().unwrap(), dst.parse().unwrap(), 7, 1, reply);
    let there = lab.send("client", &ping(CLIENT, "10.2.0.4", false)).unwrap().0;
    assert_eq!(lab.send("far", &ping("10.2.0.4", CLIENT, true)).unwrap().0, there);
}

#[test]
fn lb_33_without_ha_ports_only_what_a_rule_takes_passes() {
    let lab =
        Lab::new(&FILE.replace(
            "protocol: All, frontendPort: 0, backendPort: 0",
            "protocol: Tcp, frontendPort: 80, backendPort: 80",
        ));
    assert!(lab.send("client", &tcp((CLIENT, 1), ("10.2.0.4", 80), SYN)).is_ok());
    assert_eq!(lab.send("client", &tcp((CLIENT, 1), ("10.2.0.4", 81), SYN)), Err(DropReason::NoBalancingRule));
    assert_eq!(lab.send("client", &udp((CLIENT, 1), ("10.2.0.4", 80))), Err(DropReason::NoBalancingRule));
}

#[test]
fn lb_46_an_answer_that_a_route_takes_elsewhere_is_left_as_it_is() {
    let lab = Lab::new(&FILE.replace(
        "{name: back, addressPrefix: 10.1.1.0/24}",
        "{name: back, addressPrefix: 10.1.1.0/24, routeTable: back}",
    ));
    let (node, _) = lab.send("client", &tcp((CLIENT, 5000), (WEB, 80), SYN)).unwrap();
    let answer = tcp((address(&node), 8080), (CLIENT, 5000), SYN | ACK);
    let (elsewhere, bytes) = lab.send(&node, &answer).unwrap();
    assert!(elsewhere.starts_with("nva"));
    assert_eq!(bytes, answer);
}

/// Through an appliance that may put its own address in place of what it forwards.
fn astray(masquerade: &str) -> Explanation {
    let (subnet, nva) = (
        "{name: back, addressPrefix: 10.1.1.0/24}",
        "{name: nva1, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.1.9.4, enableIPForwarding: true,",
    );
    assert!(FILE.contains(subnet) && FILE.contains(nva));
    let file = FILE
        .replace(subnet, "{name: back, addressPrefix: 10.1.1.0/24, routeTable: back}")
        .replace("nextHopIpAddress: 10.1.9.100}]\n  - name: back", "nextHopIpAddress: 10.1.9.4}]\n  - name: back")
        .replace(
            "10.1.5.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.9.100",
            "10.1.5.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.9.4",
        )
        .replace(nva, &nva.replace("{name: nva1,", &format!("{{name: nva1, guest: {{masquerade: {masquerade}}},")));
    let lab = Lab::new(&file);
    analysis::explain(&lab.network, &lab.compiled, &analysis::parse_query("client", &format!("{WEB}:80")).unwrap())
        .unwrap()
}

#[test]
fn lb_46_an_answer_that_comes_past_the_balancer_is_none() {
    let answer = astray("false");
    assert_eq!(answer.verdict, Answer::Blocked);
    assert_eq!(answer.back.unwrap().dropped.as_deref(), Some("WrongSource"));
    let cause = answer.cause.unwrap();
    assert!(cause.starts_with("on the way back: the answer comes from 10.1.1."), "{cause}");
    assert!(cause.contains(":8080, and 10.1.0.100:80 was asked; "), "{cause}");
    assert!(cause.ends_with("past load balancer lb, rule http, which alone knows what was asked (LB-46)"), "{cause}");
    let fix = answer.fix.unwrap();
    assert_eq!(
        fix.text,
        "publish the server at nva1 instead, or give subnet v/back a route for 10.1.5.4 that does not lead there"
    );
    assert!(fix.changes.is_empty() && !fix.checked);
}

#[test]
fn lb_46_an_appliance_that_masquerades_answers_under_its_own_address() {
    let answer = astray("all");
    assert_eq!(answer.verdict, Answer::Blocked);
    let cause = answer.cause.unwrap();
    assert!(
        cause.starts_with(
            "on the way back: the answer comes from 10.1.9.4:8080, and 10.1.0.100:80 was asked: the guest of nva1 puts its own address in place of the answer's; "
        ),
        "{cause}"
    );
    assert!(cause.ends_with("(LB-46)"), "{cause}");
}

/// A server with a public address, or behind a public load balancer, with a default route to an appliance.
#[test]
fn lb_46_the_internet_is_not_answered_by_an_appliance() {
    let routed = PUBLIC
        .replace("virtualNetworks:", "routeTables:\n  - {name: all, routes: [{name: all, addressPrefix: 0.0.0.0/0, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.2.4}]}\nvirtualNetworks:")
        .replace("networkSecurityGroup: open}]", "networkSecurityGroup: open, routeTable: all}, {name: n, addressPrefix: 10.1.2.0/24}]")
        .replace("name: two, ipAddress: 203.0.113.31}", "name: two, ipAddress: 203.0.113.31}, {name: w, ipAddress: 203.0.113.32}, {name: n, ipAddress: 203.0.113.33}");
    let machines = |masquerade| {
        format!(
            "{routed}  - {{name: web, networkInterfaces: [{{subnet: v/s, publicIPAddress: w}}]}}\n  - {{name: nva, guest: {{masquerade: {masquerade}}}, networkInterfaces: [{{subnet: v/n, enableIPForwarding: true, publicIPAddress: n}}]}}\n"
        )
    };
    let ask = |masquerade, to: &str| {
        let lab = Lab::new(&machines(masquerade));
        analysis::explain(&lab.network, &lab.compiled, &analysis::parse_query("internet", to).unwrap()).unwrap()
    };
    for (to, balanced) in [("203.0.113.30:80", true), ("203.0.113.32:8080", false)] {
        let masked = ask(true, to);
        assert_eq!(masked.back.unwrap().dropped.as_deref(), Some("WrongSource"));
        let cause = masked.cause.unwrap();
        assert!(cause.contains("the answer comes from 203.0.113.33:8080"), "{cause}");
        assert!(cause.contains(&format!("and {to} was asked: the guest of nva ")), "{cause}");
        assert_eq!(cause.ends_with("(LB-46)"), balanced, "{cause}");
        // An address of the appliance's own would not help.
        let plain = ask(false, to);
        assert_eq!(plain.back.unwrap().dropped.as_deref(), Some("NoOutbound"));
        assert_eq!(plain.cause.unwrap().ends_with("(LB-46)"), balanced);
        let fix = plain.fix.unwrap();
        assert!(fix.changes.is_empty() && fix.text.starts_with("publish the server at nva instead"), "{}", fix.text);
    }
}

#[test]
fn lb_41_a_peered_network_reaches_a_frontend() {
    let lab = Lab::new(FILE);
    let (node, bytes) = lab.send("far", &tcp(("10.2.0.4", 5000), (WEB, 80), SYN)).unwrap();
    assert_eq!(bytes, tcp(("10.2.0.4", 5000), (address(&node), 8080), SYN));
    let answer = lab.send(&node, &tcp((address(&node), 8080), ("10.2.0.4", 5000), SYN | ACK));
    assert_eq!(answer, Ok(("far".to_owned(), tcp((WEB, 80), ("10.2.0.4", 5000), SYN | ACK))));
}

#[test]
fn lb_07_fragments_do_not_reach_a_frontend_and_pass_ha_ports() {
    let lab = Lab::new(FILE);
    // More fragments follow; the identification is of no matter.
    let first = |mut bytes: Vec<u8>| {
        bytes[6] |= 0x20;
        bytes[10..12].fill(0);
        let words = bytes[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = words.sum::<u32>();
        let checksum = !((sum >> 16) as u16 + sum as u16);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    };
    let to_frontend = first(build::udp(at(CLIENT, 1), at(WEB, 53), b"8 octets"));
    assert_eq!(lab.send("client", &to_frontend), Err(DropReason::NotTranslatable));
    let through = first(build::udp(at(CLIENT, 1), at("10.2.0.4", 53), b"8 octets"));
    assert!(lab.send("client", &through).unwrap().0.starts_with("nva"));
}

#[test]
fn lb_17_a_stopped_backend_is_down() {
    let lab =
        Lab::new(&FILE.replace("{name: a, networkInterfaces", "{name: a, powerState: stopped, networkInterfaces"));
    assert!((1000..1032).all(|port| lab.backend(port) == "b"));
}

#[test]
fn lb_44_an_internal_balancer_gives_no_way_out() {
    let lab = Lab::new(&FILE.replace("virtualMachines:", "internet: {}\nvirtualMachines:"));
    assert_eq!(lab.send("a", &tcp(("10.1.1.4", 1), ("198.18.0.1", 80), SYN)), Err(DropReason::NoOutbound));
}

/// A public load balancer: the client is `internet`, at 198.18.0.1.
const PUBLIC: &str = "
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
const INTERNET: &str = "198.18.0.1";
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

/// Over IPv6: an internal load balancer and a public one in a dual-stack subnet; interfaces join by what the pools
/// are for.
const SIX: &str = "
name: six
internet: {addresses: ['2001:db8:ffff::1', 198.18.0.1]}
publicIPAddresses: [{name: six, publicIPAddressVersion: IPv6, ipAddress: '2001:db8:fe::30'}]
loadBalancers:
  - name: in
    frontendIPConfigurations: [{name: six, subnet: v/s, privateIPAddress: 'fd00:1::100', privateIPAddressVersion: IPv6}]
    backendAddressPools: [{name: web}]
    probes: [{name: tcp, protocol: Tcp, port: 8080}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: six, backendAddressPool: web, probe: tcp, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true}
  - name: out
    frontendIPConfigurations: [{name: six, publicIPAddress: six}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: six, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080, disableOutboundSnat: true}
    outboundRules:
      - {name: out, frontendIPConfigurations: [six], backendAddressPool: web, protocol: All, allocatedOutboundPorts: 1000}
networkSecurityGroups:
  - name: open
    securityRules: [{name: all, priority: 100, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16, 'fd00:1::/48'], subnets: [{name: s, addressPrefixes: [10.1.1.0/24, 'fd00:1::/64'], networkSecurityGroup: open}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 'fd00:1::a', loadBalancerBackendAddressPools: [in/web, out/web]}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 'fd00:1::b', loadBalancerBackendAddressPools: [in/web, out/web]}]}
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 'fd00:1::c'}]}
";
const FAR_SIX: &str = "2001:db8:ffff::1";

fn six(node: &str) -> &'static str {
    if node == "a" { "fd00:1::a" } else { "fd00:1::b" }
}

#[test]
fn lb_01_lb_06_a_private_frontend_over_ipv6() {
    let lab = Lab::new(SIX);
    let mut seen = BTreeSet::new();
    for port in 1000..1032 {
        let (node, bytes) = lab.send("client", &tcp(("fd00:1::c", port), ("fd00:1::100", 80), SYN)).unwrap();
        assert_eq!(bytes, tcp(("fd00:1::c", port), (six(&node), 8080), SYN));
        let answer = lab.send(&node, &tcp((six(&node), 8080), ("fd00:1::c", port), SYN | ACK));
        assert_eq!(answer, Ok(("client".to_owned(), tcp(("fd00:1::100", 80), ("fd00:1::c", port), SYN | ACK))));
        seen.insert(node);
    }
    assert_eq!(seen.len(), 2);
    let (node, bytes) = lab.send("client", &tcp(("fd00:1::c", 1), ("fd00:1::100", 80), ACK)).unwrap();
    assert_eq!((node.as_str(), bytes[6], bytes[53]), ("client", 6, 0x04), "reset (LB-25)");
}

#[test]
fn lb_43_snat_05_a_public_frontend_over_ipv6_both_ways() {
    let lab = Lab::new(SIX);
    let front = "2001:db8:fe::30";
    let (node, bytes) = lab.send("internet", &tcp((FAR_SIX, 7), (front, 80), SYN)).unwrap();
    assert_eq!(bytes, tcp((FAR_SIX, 7), (six(&node), 8080), SYN));
    let answer = lab.send(&node, &tcp((six(&node), 8080), (FAR_SIX, 7), SYN | ACK));
    assert_eq!(answer, Ok(("internet".to_owned(), tcp((front, 80), (FAR_SIX, 7), SYN | ACK))));
    // What a backend begins has a port of its share.
    let (to, bytes) = lab.send("b", &udp((six("b"), 7), (FAR_SIX, 53))).unwrap();
    let port = u16::from_be_bytes([bytes[40], bytes[41]]);
    assert!((2024..3024).contains(&port), "{port}");
    assert_eq!((to.as_str(), bytes), ("internet", udp((front, port), (FAR_SIX, 53))));
    let answer = lab.send("internet", &udp((FAR_SIX, 53), (front, port)));
    assert_eq!(answer, Ok(("b".to_owned(), udp((FAR_SIX, 53), (six("b"), 7)))));
    assert_eq!(lab.send("client", &udp(("fd00:1::c", 7), (FAR_SIX, 53))), Err(DropReason::NoOutbound), "SNAT-02");
}

#[test]
fn lb_10_nsg_31_a_probe_over_ipv6_comes_from_the_router_that_guests_know() {
    let lab = Lab::new(SIX);
    let router = "fe80::1234:5678:9abc";
    let probe = tcp((router, 50_000), (six("a"), 8080), SYN);
    assert_eq!(lab.send("platform", &probe), Ok(("a".to_owned(), probe)));
    let answer = tcp((six("a"), 8080), (router, 50_000), SYN | ACK);
    assert_eq!(lab.send("a", &answer), Ok(("platform".to_owned(), answer)));
    assert_eq!(lab.send("a", &tcp((six("a"), 9), (router, 50_001), SYN)), Err(DropReason::NsgOutbound));
    let closed = SIX
        .replace("sourceAddressPrefix: '*'", "sourceAddressPrefix: AzureLoadBalancer")
        .replace("access: Allow", "access: Deny");
    let denied = Lab::new(&closed).send("client", &tcp(("fd00:1::c", 7), ("fd00:1::100", 80), SYN));
    assert_eq!(denied, Err(DropReason::NoHealthyBackend));
}

/// Where a transport's checksum stands, in the packet and in its header.
fn checksum_at(bytes: &[u8]) -> (usize, usize) {
    let offset = if bytes[9] == 6 { 16 } else { 6 };
    (20 + offset, offset)
}

/// The sum of 16-bit words, folded.
fn folded(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum >> 16) as u16 + sum as u16
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0))).sum()
}

/// As a guest's kernel leaves it to its device: the field has the sum of the pseudo-header, not inverted.
fn partial(mut bytes: Vec<u8>) -> (Vec<u8>, Offload) {
    let (at, offset) = checksum_at(&bytes);
    let pseudo = words(&bytes[12..20]) + u32::from(bytes[9]) + (bytes.len() as u32 - 20);
    bytes[at..at + 2].copy_from_slice(&folded(pseudo).to_be_bytes());
    (bytes, Offload { flags: Offload::NEEDS_CSUM, csum_start: 20, csum_offset: offset as u16, ..Offload::default() })
}

/// As the receiving device completes it.
fn completed(mut bytes: Vec<u8>, offload: Offload) -> Vec<u8> {
    assert_eq!((offload.flags, offload.csum_start), (Offload::NEEDS_CSUM, 20));
    let (at, _) = checksum_at(&bytes);
    let sum = !folded(u32::from(folded(words(&bytes[20..]))));
    // UDP has no checksum of zero.
    let sum = if sum == 0 && bytes[9] == 17 { u16::MAX } else { sum };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

proptest! {
    /// The balancer writes what a machine with these addresses and ports would send: checked whole, and with
    /// the checksum left to the device.
    #[test]
    fn lb_01_checksums_are_right_whole_and_left_to_the_device(
        port: u16,
        is_tcp: bool,
        is_partial: bool,
        payload in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        let lab = Lab::new(FILE);
        let packet = |src: (&str, u16), dst: (&str, u16)| {
            let (src, dst) = (at(src.0, src.1), at(dst.0, dst.1));
            if is_tcp { build::tcp(src, dst, SYN, &payload) } else { build::udp(src, dst, &payload) }
        };
        let send = |node: &str, bytes: Vec<u8>| {
            let (bytes, offload) = if is_partial { partial(bytes) } else { (bytes, Offload::default()) };
            let (node, bytes, left) = lab.send_offloaded(node, &bytes, offload).unwrap();
            (node, if is_partial { completed(bytes, left) } else { bytes })
        };
        let (frontend, backend) = if is_tcp { (80, 8080) } else { (53, 5353) };
        let (node, sent) = send("client", packet((CLIENT, port), (WEB, frontend)));
        prop_assert_eq!(sent, packet((CLIENT, port), (address(&node), backend)));
        let (client, answer) = send(&node, packet((address(&node), backend), (CLIENT, port)));
        prop_assert_eq!(client, "client");
        prop_assert_eq!(answer, packet((WEB, frontend), (CLIENT, port)));
    }
}

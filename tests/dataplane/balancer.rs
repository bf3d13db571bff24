//! Load balancers in memory: from a file's rules and pools to the backend that has a flow, and back.
//!
//! Each test sends packets through the tables of one small topology, on a clock of its own.

mod checksums;
mod health;
mod ipv6;
mod other_paths;
mod public;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use proptest::prelude::*;
use vnet::analysis::{self, Explanation};
use vnet::compile::{Compiled, Ids, compile_numbered};
use vnet::config;
use vnet::dataplane::{
    DropReason, End, FlowLimits, Flows, Ingress, NicId, Paths, PortId, Quiet, Recorder, Step, Timestamp, Verdict,
    process, reset_end,
};
use vnet::model::{Attachment, Health, Learned, Network, ProbeKey, Verdict as Answer};
use vnet::wire::{Offload, Packet, Protocol, Reset, Tuple, build};

use checksums::{completed, partial};
use public::{INTERNET, PUBLIC};

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

    /// The interface that has no port left for what this machine sends.
    fn without_a_port(&self, node: &str, bytes: &[u8]) -> Option<NicId> {
        let (mut bytes, mut leg) = (bytes.to_vec(), Recorder::new());
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        process(&self.compiled.snapshot, &self.flows, self.port(node), self.now, &mut packet, &mut leg);
        leg.steps().iter().find_map(|step| match step {
            Step::NoPort { nic } => Some(*nic),
            _ => None,
        })
    }

    fn nic(&self, node: &str) -> NicId {
        match self.compiled.snapshot.ports[self.port(node).0 as usize] {
            Ingress::Nic(nic) => nic,
            ref other => panic!("{other:?}"),
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
        let answer = analysis::explain(&lab.network, &lab.compiled, &query, Instant::now()).unwrap();
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
    let answer = analysis::explain(&lab.network, &lab.compiled, &query, Instant::now()).unwrap();
    assert_eq!(answer.verdict, Answer::Depends);
    let query = analysis::parse_query("client", "10.1.0.100:80").unwrap();
    let answer = analysis::explain(&lab.network, &lab.compiled, &query, Instant::now()).unwrap();
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
fn lb_44_an_internal_balancer_gives_no_way_out() {
    let lab = Lab::new(&FILE.replace("virtualMachines:", "internet: {}\nvirtualMachines:"));
    assert_eq!(lab.send("a", &tcp(("10.1.1.4", 1), ("198.18.0.1", 80), SYN)), Err(DropReason::NoOutbound));
}

proptest! {
    /// The balancer writes what a machine with these addresses and ports would send: checked whole, and with
    /// the checksum left to the device.
    #[test]
    fn lb_01_checksums_are_right_whole_and_left_to_the_device(
        // The host's own is no machine's (FAB-08).
        port in any::<u16>().prop_filter("reserved", |port| *port != 65_330),
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

//! Where a worker remembers that flows go, against a walk through the pipeline for every packet.
//!
//! Two of the same network, each with flows of its own, get the same packets at the same times: one walks, the other
//! remembers. Load balancers, NAT, public addresses, rules and probes change under them, and the fate of a packet,
//! a record or a mapping must be the same. Only the ports of shared addresses differ: they are drawn.

mod followed;
mod gateways;

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use vnet::compile::{Compiled, Ids, RuleIds, Sender, compile_numbered, senders};
use vnet::config;
use vnet::dataplane::{
    Cursor, DropReason, ExpiredConnection, FlowLimits, FlowTable, Flows, Followed, FragmentTable, LoopTable, NatLimits,
    NatTable, Observer, Paths, PortId, Step, Timestamp, Verdict, process,
};
use vnet::model::{Attachment, Health, Learned, Network, NicIx, ProbeKey};
use vnet::wire::{Offload, Packet, Protocol, Tuple, build};

const FILE: &str = "
name: paths
internet: {addresses: [198.18.0.1, 198.18.0.2]}
publicIPAddresses:
  - {name: nat, ipAddress: 203.0.113.10}
  - {name: own, ipAddress: 203.0.113.20}
  - {name: both, ipAddress: 203.0.113.21}
  - {name: front, ipAddress: 203.0.113.30}
  - {name: float, ipAddress: 203.0.113.31}
natGateways: [{name: nat, publicIpAddresses: [nat]}]
loadBalancers:
  - name: in
    frontendIPConfigurations: [{name: in, subnet: v/s, privateIPAddress: 10.1.0.100}, {name: float, subnet: v/s, privateIPAddress: 10.1.0.101}]
    backendAddressPools: [{name: web}]
    probes: [{name: tcp, protocol: Tcp, port: 8080}]
    loadBalancingRules:
      - {name: tcp, frontendIPConfiguration: in, backendAddressPool: web, probe: tcp, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true}
      - {name: quiet, frontendIPConfiguration: in, backendAddressPool: web, probe: tcp, protocol: Tcp, frontendPort: 81, backendPort: 8081}
      - {name: udp, frontendIPConfiguration: in, backendAddressPool: web, probe: tcp, protocol: Udp, frontendPort: 53, backendPort: 5353}
      - {name: float, frontendIPConfiguration: float, backendAddressPool: web, protocol: Tcp, frontendPort: 443, backendPort: 443, enableFloatingIP: true}
  - name: out
    frontendIPConfigurations: [{name: front, publicIPAddress: front}, {name: float, publicIPAddress: float}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: front, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true, disableOutboundSnat: true}
      - {name: udp, frontendIPConfiguration: front, backendAddressPool: web, protocol: Udp, frontendPort: 53, backendPort: 5353, disableOutboundSnat: true}
      - {name: float, frontendIPConfiguration: float, backendAddressPool: web, protocol: Tcp, frontendPort: 443, backendPort: 443, enableFloatingIP: true, disableOutboundSnat: true}
    inboundNatRules:
      - {name: ssh, frontendIPConfiguration: front, protocol: Tcp, frontendPortRangeStart: 2000, frontendPortRangeEnd: 2001, backendAddressPool: web, backendPort: 22}
    outboundRules:
      - {name: out, frontendIPConfigurations: [front], backendAddressPool: web, protocol: All, allocatedOutboundPorts: 1000, enableTcpReset: true}
networkSecurityGroups:
  - name: open
    securityRules: [{name: all, priority: 200, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: s, addressPrefix: 10.1.0.0/24, networkSecurityGroup: open}
      - {name: n, addressPrefix: 10.1.1.0/24, natGateway: nat}
    virtualNetworkPeerings: [{name: v-far, remoteVirtualNetwork: far, allowForwardedTraffic: true}]
  - name: far
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24}]
    virtualNetworkPeerings: [{name: far-v, remoteVirtualNetwork: v, allowForwardedTraffic: true}]
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.4}]}
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.5, loadBalancerBackendAddressPools: [in/web, out/web]}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.6, loadBalancerBackendAddressPools: [in/web, out/web]}]}
  - {name: nat, networkInterfaces: [{subnet: v/n, privateIPAddress: 10.1.1.4}]}
  - {name: own, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.7, publicIPAddress: own}]}
  - {name: both, networkInterfaces: [{subnet: v/n, privateIPAddress: 10.1.1.5, publicIPAddress: both, networkSecurityGroup: open}]}
  - {name: far, networkInterfaces: [{subnet: far/s, privateIPAddress: 10.2.0.4}]}
";

/// With the highest number.
const B: &str = "  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.6, \
                 loadBalancerBackendAddressPools: [in/web, out/web]}]}\n";

/// What is put in place of what, one after the other, and which of the probed backends are up.
const PUBLISHED: [(&str, &str, &[&str]); 9] = [
    ("", "", &["a", "b"]),
    ("10.1.0.6, loadBalancerBackendAddressPools: [in/web, out/web]", "10.1.0.6", &["a", "b"]),
    ("10.1.0.5, loadBalancerBackendAddressPools: [in/web, out/web]", "10.1.0.5", &["a", "b"]),
    ("", "", &["b"]),
    ("", "", &[]),
    (", natGateway: nat", "", &["a", "b"]),
    ("access: Allow", "access: Deny", &["a", "b"]),
    ("privateIPAddress: 10.1.0.5", "privateIPAddress: 10.1.0.50", &["a", "b"]),
    (B, "", &["a"]),
];

/// The first sender, its address and its destination.
const FLOWS: [(&str, Protocol, &str, &str); 24] = [
    ("client", Protocol::TCP, "10.1.0.4:1000", "10.1.0.100:80"),
    ("client", Protocol::TCP, "10.1.0.4:1001", "10.1.0.100:80"),
    ("client", Protocol::TCP, "10.1.0.4:1001", "10.1.0.100:81"),
    ("client", Protocol::UDP, "10.1.0.4:1000", "10.1.0.100:53"),
    ("client", Protocol::UDP, "10.1.0.4:1001", "10.1.0.100:53"),
    ("client", Protocol::TCP, "10.1.0.4:1000", "10.1.0.101:443"),
    ("client", Protocol::TCP, "10.1.0.4:1000", "10.1.0.5:8080"),
    ("far", Protocol::TCP, "10.2.0.4:1000", "10.1.0.100:80"),
    ("far", Protocol::UDP, "10.2.0.4:1000", "10.1.0.100:53"),
    // A backend of its own.
    ("a", Protocol::UDP, "10.1.0.5:1000", "10.1.0.100:53"),
    ("a", Protocol::UDP, "10.1.0.5:5353", "10.1.0.4:1000"),
    ("a", Protocol::TCP, "10.1.0.5:1000", "198.18.0.1:80"),
    ("b", Protocol::UDP, "10.1.0.6:1000", "198.18.0.1:53"),
    ("nat", Protocol::TCP, "10.1.1.4:1000", "198.18.0.1:80"),
    ("nat", Protocol::UDP, "10.1.1.4:1000", "198.18.0.1:53"),
    ("own", Protocol::UDP, "10.1.0.7:1000", "198.18.0.1:53"),
    ("own", Protocol::TCP, "10.1.0.7:1000", "203.0.113.30:80"),
    ("internet", Protocol::TCP, "198.18.0.1:1000", "203.0.113.30:80"),
    ("internet", Protocol::TCP, "198.18.0.1:1000", "203.0.113.30:2000"),
    ("internet", Protocol::UDP, "198.18.0.1:1000", "203.0.113.30:53"),
    ("internet", Protocol::TCP, "198.18.0.1:1000", "203.0.113.31:443"),
    // Its own public address answers, and what it begins leaves by the NAT gateway.
    ("internet", Protocol::UDP, "198.18.0.1:1000", "203.0.113.21:53"),
    ("internet", Protocol::TCP, "198.18.0.1:1000", "203.0.113.21:80"),
    ("both", Protocol::UDP, "10.1.1.5:53", "198.18.0.1:1000"),
];

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// A packet of one of [`FLOWS`], some times.
    Sent {
        flow: usize,
        flags: u8,
        expects: u32,
        times: usize,
        large: bool,
    },
    /// An answer to one that has come somewhere.
    Answered {
        nth: usize,
        flags: u8,
        expects: u32,
        times: usize,
        large: bool,
    },
    /// An ICMP error about one that has come somewhere.
    Refused {
        nth: usize,
    },
    Passed {
        secs: u64,
    },
    Published {
        nth: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let flags = || prop_oneof![Just(SYN), Just(SYN | ACK), Just(ACK), Just(ACK), Just(ACK | 0x01), Just(0x04)];
    let large = || prop_oneof![8 => Just(false), 1 => Just(true)];
    let secs = prop_oneof![0..3_u64, 10..70_u64, 200..310_u64];
    prop_oneof![
        9 => (0..FLOWS.len(), flags(), any::<u32>(), 1..5_usize, large())
            .prop_map(|(flow, flags, expects, times, large)| Event::Sent { flow, flags, expects, times, large }),
        9 => (any::<usize>(), flags(), any::<u32>(), 1..5_usize, large())
            .prop_map(|(nth, flags, expects, times, large)| Event::Answered { nth, flags, expects, times, large }),
        1 => any::<usize>().prop_map(|nth| Event::Refused { nth }),
        3 => secs.prop_map(|secs| Event::Passed { secs }),
        2 => (0..PUBLISHED.len()).prop_map(|nth| Event::Published { nth }),
    ]
}

/// One of the two.
struct Side {
    flows: Flows,
    /// None for the full walk.
    paths: Option<Paths>,
    /// What came, and to which port.
    delivered: Vec<(PortId, Vec<u8>)>,
    /// Packets that were forwarded without a walk, and those that followed records, mappings and tables alone.
    shortened: usize,
    followed: usize,
    /// The last of these followed a mapping too.
    mapped: bool,
}

/// Whether the pipeline was walked through from the start, and what it reported of the packet.
#[derive(Default)]
struct Walked(bool, Option<followed::Report>);

impl Observer for Walked {
    fn step(&mut self, step: Step) {
        self.0 |= matches!(step, Step::Sent { .. });
    }

    fn followed(&mut self, packet: &Packet<'_>, followed: &Followed<'_>) {
        self.1 = Some(followed::Report::new(packet, followed));
    }
}

type Out = Result<(PortId, Vec<u8>), DropReason>;

impl Side {
    fn new(paths: Option<Paths>) -> Self {
        let limits = NatLimits { total: 1_000, ..NatLimits::default() };
        let flows = Flows {
            records: FlowTable::new(FlowLimits { per_nic: 1_000, total: 2_000 }),
            fragments: FragmentTable::new(),
            mappings: NatTable::new(limits),
            loops: LoopTable::new(),
        };
        Self { flows, paths, delivered: Vec::new(), shortened: 0, followed: 0, mapped: false }
    }

    fn send(&mut self, tables: &Compiled, from: PortId, now: Timestamp, bytes: &[u8]) -> Out {
        let mut bytes = bytes.to_vec();
        // What segments expect is written without their checksums.
        let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
        let mut packet = Packet::parse(&mut bytes, vouched).unwrap();
        let (snapshot, mut walked) = (&tables.snapshot, Walked::default());
        let (before, ttl) = (*packet.tuple(), packet.ttl());
        let verdict = match &mut self.paths {
            Some(paths) => paths.process(snapshot, &self.flows, from, now, &mut packet, &mut walked),
            None => process(snapshot, &self.flows, from, now, &mut packet, &mut walked),
        };
        if let Some(report) = walked.1 {
            assert!(matches!(verdict, Verdict::Forward(_)));
            report.check(&self.flows, now, (&before, packet.tuple()), ttl);
            self.followed += 1;
            self.mapped = report.is_mapped();
        }
        match verdict {
            Verdict::Forward(port) => {
                self.shortened += usize::from(!walked.0);
                let out = (port, packet.bytes().to_vec());
                self.delivered.push(out.clone());
                Ok(out)
            }
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// All records, and all mappings but for ports that were drawn.
    fn held(&self, now: Timestamp) -> [Vec<String>; 2] {
        let (mut records, mut from, mut mappings) = (Vec::new(), Some(Cursor::default()), Vec::new());
        while let Some(cursor) = from {
            from = self.flows.records.page(cursor, now, &mut records);
        }
        self.flows.mappings.look(now, |held| {
            let mut held = *held;
            if !held.balanced {
                held.mapped.public.1 = 0;
            }
            mappings.push(format!("{held:?}"));
        });
        for record in &mut records {
            let Tuple { src, dst, src_port, dst_port, .. } = &mut record.tuple;
            for (_, port) in [(src, src_port), (dst, dst_port)].into_iter().filter(|(address, _)| is_public(address)) {
                *port = 0;
            }
        }
        let mut records: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
        records.sort();
        mappings.sort();
        [records, mappings]
    }

    /// The flows with ends that get a reset, but for ports that were drawn.
    fn expire(&self, now: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        self.flows.mappings.expire(now, usize::MAX, |parted| {
            let mut parted: ExpiredConnection = *parted;
            parted.mapped.public.1 = 0;
            told.push(format!("{parted:?}"));
        });
        self.flows.records.expire(now, usize::MAX);
        told.sort();
        told
    }
}

/// Both, and the tables that they have in common.
struct Both {
    network: Network,
    tables: Compiled,
    now: Timestamp,
    walks: Side,
    remembers: Side,
}

impl Both {
    fn new() -> Self {
        let (network, tables) = tables(0, 1);
        let (walks, remembers) = (Side::new(None), Side::new(Some(Paths::new())));
        Self { network, tables, now: Timestamp(1), walks, remembers }
    }

    fn meet(&mut self, event: &Event) {
        match *event {
            Event::Sent { flow, flags, expects, times, large } => {
                let (node, protocol, src, dst) = FLOWS[flow];
                let Some(port) = self.port(node) else { return };
                let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
                let packet = of(protocol, src, dst, (flags, expects), large);
                for _ in 0..times {
                    self.send(port, [&packet, &packet]);
                }
            }
            Event::Answered { nth, flags, expects, times, large } => {
                let Some((port, packets)) = self.delivered(nth) else { return };
                let answers = packets.map(|bytes| {
                    let Tuple { src, dst, protocol, src_port, dst_port } = tuple(&bytes);
                    of(protocol, (dst, dst_port).into(), (src, src_port).into(), (flags, expects), large)
                });
                for _ in 0..times {
                    self.send(port, [&answers[0], &answers[1]]);
                }
            }
            Event::Refused { nth } => {
                let Some((port, packets)) = self.delivered(nth) else { return };
                let errors = packets.map(|bytes| build::icmp_unreachable(tuple(&bytes).dst, &bytes));
                self.send(port, [&errors[0], &errors[1]]);
            }
            Event::Passed { secs } => {
                self.now.0 += secs * 1_000_000_000;
                assert_eq!(self.remembers.expire(self.now), self.walks.expire(self.now));
            }
            Event::Published { nth } => {
                (self.network, self.tables) = tables(nth, self.tables.snapshot.generation + 1);
            }
        }
        assert_eq!(self.remembers.held(self.now), self.walks.held(self.now));
    }

    /// The same packet, as it came to each of the two. Errors are not answered, nor is a port that has been drawn again by
    /// one of the two alone.
    fn delivered(&self, nth: usize) -> Option<(PortId, [Vec<u8>; 2])> {
        let nth = nth.checked_rem(self.walks.delivered.len())?;
        let drawn_again = |side: &Side| {
            let end = |(_, bytes): &(PortId, Vec<u8>)| {
                let Tuple { src, protocol, src_port, .. } = tuple(bytes);
                (src, protocol, src_port)
            };
            let all: Vec<_> = side.delivered.iter().map(end).collect();
            all.iter().map(|end| *end == all[nth]).collect::<Vec<_>>()
        };
        if drawn_again(&self.walks) != drawn_again(&self.remembers) {
            return None;
        }
        let ((port, walked), (_, remembered)) = (&self.walks.delivered[nth], &self.remembers.delivered[nth]);
        let has_ports = matches!(tuple(walked).protocol, Protocol::TCP | Protocol::UDP);
        has_ports.then(|| (*port, [walked.clone(), remembered.clone()]))
    }

    fn send(&mut self, from: PortId, packets: [&[u8]; 2]) {
        let walked = self.walks.send(&self.tables, from, self.now, packets[0]);
        let remembered = self.remembers.send(&self.tables, from, self.now, packets[1]);
        let alike = match (&walked, &remembered) {
            (Ok((port, one)), Ok((other_port, other))) => port == other_port && is_same(one, other),
            (Err(one), Err(other)) => one == other,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        assert!(alike, "{:?} from {from:?}: {walked:?} and {remembered:?}", tuple(packets[0]));
    }

    /// None of an interface that is gone.
    fn port(&self, node: &str) -> Option<PortId> {
        let name = |port| match self.tables.ids().attachment(port)? {
            Attachment::Nic(nic) => Some(self.network.vm(self.network.nic(nic).virtual_machine).name.as_str()),
            Attachment::Internet => Some("internet"),
            _ => None,
        };
        (0..16).map(PortId).find(|port| name(*port) == Some(node))
    }
}

/// But for a port that was drawn, and checksums of errors that quote one.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (drawn, mut other) = (tuple(one), other.to_vec());
    if !matches!(drawn.protocol, Protocol::TCP | Protocol::UDP) {
        return tuple(one) == tuple(&other);
    }
    let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    let mut packet = Packet::parse(&mut other, vouched).unwrap();
    if is_public(&drawn.src) {
        packet.set_src_port(drawn.src_port);
    }
    one == other
}

fn tables(nth: usize, generation: u64) -> (Network, Compiled) {
    let (before, after, up) = PUBLISHED[nth];
    let file = if before.is_empty() { FILE.to_owned() } else { FILE.replacen(before, after, 1) };
    assert!(before.is_empty() || file != FILE);
    let network = config::load(&file, "paths.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
    let key = |node: &str| ProbeKey {
        balancer: "in".to_owned(),
        probe: "tcp".to_owned(),
        interface: format!("{node}/eth0"),
        address: if node == "a" { [10, 1, 0, 5].into() } else { [10, 1, 0, 6].into() },
    };
    let up = up.iter().map(|node| (key(node), Health { up: true, since: 0, reason: String::new() }));
    let learned = Learned { health: Some(up.collect()), ..Learned::default() };
    let compiled = compile_numbered(&network, &learned, numbers(&network), generation);
    (network, compiled)
}

/// As in a file that has `b`, which comes and goes, last of all.
fn numbers(network: &Network) -> Ids {
    let is_b = |nic: NicIx| network.vm(network.nic(nic).virtual_machine).name == "b";
    let (mut senders, mut attachments) = (senders(network), network.attachments());
    senders.sort_by_key(|sender| matches!(sender, Sender::Nic(nic) if is_b(*nic)));
    attachments.sort_by_key(|attachment| matches!(attachment, Attachment::Nic(nic) if is_b(*nic)));
    let (senders, attachments) = (senders.into_iter().map(Some), attachments.into_iter().map(Some));
    Ids::new(senders.collect(), attachments.collect(), RuleIds::in_file_order(network))
}

fn is_public(address: &IpAddr) -> bool {
    address.to_string().starts_with("203.0.113.")
}

/// Too large for any device, or not.
fn of(protocol: Protocol, src: SocketAddr, dst: SocketAddr, (flags, expects): (u8, u32), large: bool) -> Vec<u8> {
    let payload = if large { &[7; 1_500][..] } else { b"data" };
    if protocol == Protocol::UDP {
        return build::udp(src, dst, payload);
    }
    let mut segment = build::tcp(src, dst, flags, payload);
    segment[28..32].copy_from_slice(&expects.to_be_bytes());
    segment
}

fn tuple(bytes: &[u8]) -> Tuple {
    let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    *Packet::parse(&mut bytes.to_vec(), vouched).unwrap().tuple()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn cached_paths_forward_as_the_full_walk_does(events in prop::collection::vec(event(), 1..60)) {
        let mut both = Both::new();
        for event in &events {
            both.meet(event);
        }
    }
}

/// Or the proof above would be one of nothing.
#[test]
fn every_kind_of_flow_is_remembered_both_ways() {
    for (flow, (node, _, _, dst)) in FLOWS.iter().enumerate() {
        let mut both = Both::new();
        let sent = |flags, times| Event::Sent { flow, flags, expects: 1, times, large: false };
        both.meet(&sent(SYN, 1));
        if both.walks.delivered.is_empty() {
            continue;
        }
        both.meet(&sent(ACK, 3));
        let nth = both.walks.delivered.len() - 1;
        both.meet(&Event::Answered { nth, flags: SYN | ACK, expects: 1, times: 3, large: false });
        both.meet(&sent(ACK, 1));
        // What bears a public address inside is not, nor what leaves and comes in again.
        let expected = match *dst {
            "203.0.113.31:443" => 4,
            _ if *node == "own" && dst.starts_with("203") => 0,
            _ => 6,
        };
        assert_eq!(both.remembers.shortened, expected, "{node} to {dst}");
        assert!(both.remembers.followed >= expected, "{node} to {dst}: {} followed", both.remembers.followed);
    }
}

/// On a known path as well, in both directions.
#[test]
fn fab_11_a_packet_too_large_for_its_receiver_is_refused_however_well_its_flow_is_known() {
    for (flow, (node, _, _, dst)) in FLOWS.iter().enumerate() {
        let mut both = Both::new();
        let sent = |flags, times, large| Event::Sent { flow, flags, expects: 1, times, large };
        both.meet(&sent(SYN, 1, false));
        if both.walks.delivered.is_empty() {
            continue;
        }
        both.meet(&sent(ACK, 3, false));
        let nth = both.walks.delivered.len() - 1;
        both.meet(&Event::Answered { nth, flags: SYN | ACK, expects: 1, times: 3, large: false });
        let delivered = both.walks.delivered.len();
        both.meet(&sent(ACK, 2, true));
        both.meet(&Event::Answered { nth, flags: ACK, expects: 1, times: 2, large: true });
        assert_eq!(both.remembers.delivered.len(), delivered, "{node} to {dst}");
    }
}

/// A machine that answered by its own public address and begins the same flow after its record has ended leaves by the NAT
/// gateway.
#[test]
fn nat_02_a_path_by_an_own_public_address_ends_with_the_record_of_its_flow() {
    let mut both = Both::new();
    let flow = FLOWS.iter().position(|(node, _, src, _)| *node == "both" && src.ends_with(":53")).unwrap();
    let asked = FLOWS.iter().position(|(_, _, _, dst)| *dst == "203.0.113.21:53").unwrap();
    let sent = |flow| Event::Sent { flow, flags: 0, expects: 1, times: 3, large: false };
    let last = |both: &Both| tuple(&both.remembers.delivered.last().unwrap().1).src.to_string();
    both.meet(&sent(asked));
    both.meet(&sent(flow));
    assert_eq!(last(&both), "203.0.113.21", "an answer");
    both.meet(&Event::Passed { secs: 400 });
    both.meet(&sent(flow));
    assert_eq!(last(&both), "203.0.113.10", "a flow of its own");
}

/// Within the same tables: a flow that stays with a backend outside its pool ends, and the next one of its ports
/// goes to another.
#[test]
fn lb_04_a_path_follows_its_flow_to_another_backend() {
    let mut moved = 0;
    for (flow, nth) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        let mut both = Both::new();
        let sent = |flags, times| Event::Sent { flow, flags, expects: 1, times, large: false };
        let published = Event::Published { nth };
        for event in [sent(SYN, 1), sent(ACK, 1), published, sent(ACK, 3), sent(0x04, 1), sent(SYN, 1), sent(ACK, 3)] {
            both.meet(&event);
        }
        let ports: Vec<_> = both.walks.delivered.iter().map(|(port, _)| *port).collect();
        moved += usize::from(ports.first() != ports.last());
    }
    assert!(moved > 0);
}

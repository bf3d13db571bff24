//! Security rules over time: random groups, their changes, and packets of flows that meet again and again.
//!
//! The network is small and always the same, so that tuples collide: two machines, an appliance on one of the ways between
//! them, a third machine behind it, and a VNet on a TUN. What changes: rules of groups and administrators, members of
//! application groups, their members, `flushConnection`, TCP tracking, timeouts. After each packet every record of
//! the table is compared with the twin's: its state, times and counters.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use vnet::config::load;
use vnet::dataplane::{Cursor, Direction, DropReason, FlowLimits, FlowRecord, NicId};
use vnet::model::{
    self, Access, AddressPrefix, AdminAccess, Attachment, Network, Nsg, NsgIx, PlatformService, PortRange,
    SecurityProtocol, SecurityRule, ServiceTag, VnetIx,
};
use vnet::wire::Tuple;

use super::Both;
use super::state::{Form, Packet, SECOND};
use super::topology::{Kind, Random, Sent, prefix};

const SEEDS: u64 = 120;
const CHANGES: usize = 20;
const PACKETS: usize = 400;
/// Packets between two looks at all records: what went wrong stays in their counters.
const STRIDE: usize = 4;
/// Of every third seed: no more records than this.
const FEW: usize = 6;
/// Flows that most packets belong to: those that began last.
const RECENT: usize = 10;

const NETWORK: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16, 'fd00::/48']
    virtualNetworkPeerings: [{name: v-w, remoteVirtualNetwork: w}]
    subnets:
      - {name: one, addressPrefixes: [10.0.1.0/24, 'fd00:0:0:1::/64']}
      - {name: two, addressPrefixes: [10.0.2.0/24, 'fd00:0:0:2::/64'], routeTable: rt}
      - {name: nva, addressPrefix: 10.0.9.0/24}
  - name: w
    location: westeurope
    addressSpace: [10.1.0.0/16]
    virtualNetworkPeerings: [{name: w-v, remoteVirtualNetwork: v}]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}]
    attach: {namespace: w, interface: tun0, addresses: [10.1.0.4/24]}
routeTables:
  - name: rt
    routes:
      - {name: a, addressPrefix: 10.0.1.4/32, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.9.4}
      - {name: licensing, addressPrefix: 20.118.99.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.9.4}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/one}]}
  - {name: b, networkInterfaces: [{subnet: v/one}]}
  - {name: c, networkInterfaces: [{subnet: v/two}]}
  - {name: n, networkInterfaces: [{subnet: v/nva, enableIPForwarding: true}]}
";

/// What rules are written with.
const RANGES: [&str; 11] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/15",
    "10.0.1.0/24",
    "10.0.1.4/32",
    "10.0.1.5/32",
    "10.0.2.4/32",
    "10.0.9.4/32",
    "10.1.0.0/24",
    "fd00::/48",
    "fd00:0:0:1::4/128",
];
const GROUPS: usize = 4;

/// NSG-20 to NSG-26 and NSG-30, with ADM-01 to ADM-03, ASG-04 and ASG-05 under way.
#[test]
fn nsg_20_to_nsg_26_records_agree_with_their_history_as_rules_change() {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..SEEDS {
        for (outcome, times) in run(seed) {
            *outcomes.entry(outcome).or_default() += times;
        }
    }
    let expected = [
        "followed",
        "lapsed",
        "error of a flow",
        "opened again",
        "opened again though refused",
        "refused",
        "no longer refused",
        "ended by a change",
        "brought back by a change",
        "forwarded",
        "a service always allowed before a denial",
        DropReason::TcpState.name(),
        DropReason::Fragment.name(),
        DropReason::FlowLimit.name(),
        DropReason::AdminRule.name(),
        DropReason::NsgInbound.name(),
        DropReason::NsgOutbound.name(),
        DropReason::NoEndpoint.name(),
    ];
    for what in expected {
        let times = outcomes.get(what).copied().unwrap_or(0);
        assert!(times >= 25, "`{what}` was hardly reached: {outcomes:?}");
    }
}

/// One network through its changes; how often each thing happened.
fn run(seed: u64) -> BTreeMap<&'static str, usize> {
    let mut random = Random::new(seed);
    let history = random.history();
    let limits = FlowLimits { per_nic: if seed.is_multiple_of(3) { FEW } else { 100_000 }, total: 100_000 };
    let mut both = Both::limited(seed, &history[0], limits);
    let mut flows: Vec<(Attachment, Sent, Attachment)> = Vec::new();
    let mut outcomes: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut changes = history[1..].iter();
    for n in 0..PACKETS {
        if n % (PACKETS / CHANGES) == 0 {
            changes.next().into_iter().for_each(|network| both.change(network));
        }
        if random.chance(5) {
            both.pass(random.pause());
        }
        // Those that a change has ended are few, and have much that can go wrong.
        let refused = both.twin.state.refused();
        let ended: Vec<_> = flows.iter().copied().filter(|flow| refused.contains(&flow.1)).collect();
        let among = if !ended.is_empty() && random.chance(40) { &ended } else { &flows };
        let (from, packet) = random.guarded_packet(&both.attachments, among);
        both.look_at_room();
        let outcome = match both.judge(from, &packet) {
            Ok(to) => {
                remember(&mut flows, packet.starts_flow().then_some((from, packet.sent, to)));
                "forwarded"
            }
            Err(reason) => {
                // What was forwarded once may be met again.
                let before = flows.iter().find(|known| known.1 == packet.sent).copied();
                remember(&mut flows, before);
                reason.name()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
        if n % STRIDE == 0 {
            both.compare_records();
        }
    }
    outcomes.extend(both.twin.state.met);
    outcomes
}

/// Among the recent ones, if it is not there.
fn remember(flows: &mut Vec<(Attachment, Sent, Attachment)>, flow: Option<(Attachment, Sent, Attachment)>) {
    let recent = &flows[flows.len().saturating_sub(RECENT)..];
    let new = flow.filter(|flow| !recent.iter().any(|known| known.1 == flow.1));
    flows.extend(new);
}

impl<'a> Both<'a> {
    fn change(&mut self, network: &'a Network) {
        self.replace(network);
        self.twin.change(network);
    }

    fn pass(&mut self, nanoseconds: u64) {
        self.twin.state.now.0 += nanoseconds;
        for flows in [&self.flows, &self.along.flows] {
            flows.records.expire(self.twin.state.now, usize::MAX);
        }
    }

    /// What the table says of the room that is left.
    fn look_at_room(&mut self) {
        let held = |party| (party, self.flows.records.len_of(self.nic(party)));
        self.twin.state.held = self.twin.parties().into_iter().map(held).collect();
    }

    /// Every record, and how far it has come.
    fn compare_records(&self) {
        let now = self.twin.state.now;
        let (mut records, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.flows.records.page(from, now, &mut records);
        }
        let live = self.twin.state.live().count();
        assert_eq!(records.len(), live, "seed {}, {now:?}: {records:#?}", self.seed);
        let found: HashMap<_, _> = records.iter().map(|found| (key(found), found)).collect();
        for record in self.twin.state.live() {
            let (party, inbound, sent) = record.key;
            let (nic, admitted) = (self.nic(party), if inbound { Direction::Inbound } else { Direction::Outbound });
            let Some(&&found) = found.get(&(nic, admitted, sent.tuple())) else {
                panic!("seed {}, {now:?}: the table has no {record:?}", self.seed);
            };
            let told = FlowRecord {
                nic,
                admitted,
                tuple: sent.tuple(),
                state: record.state(),
                refused: record.refused,
                rules: found.rules,
                begun: record.begun,
                last: record.last(),
                sent: record.traffic(false),
                received: record.traffic(true),
            };
            assert_eq!(found, told, "seed {}, {now:?}: {record:?}", self.seed);
        }
        // A lapsed one may be there until its timer comes up.
        assert!((live..=self.twin.state.records.len()).contains(&self.flows.records.len()));
    }
}

fn key(record: &FlowRecord) -> (NicId, Direction, Tuple) {
    (record.nic, record.admitted, record.tuple)
}

/// Networks.
impl Random {
    /// A network, and what becomes of it change by change.
    fn history(&mut self) -> Vec<Network> {
        let mut network = load(NETWORK, "guarded.yaml").unwrap().network;
        network.service_tags = self.service_tags();
        network.emulation.tcp_state_tracking = self.chance(40);
        network.application_security_groups = (0..2).map(|i| self.asg(i, &network)).collect();
        let flushes = self.chance(65);
        network.network_security_groups = (0..GROUPS).map(|i| self.group(i, &network, flushes)).collect();
        for _ in 0..8 {
            self.attach(&mut network);
        }
        if self.chance(60) {
            self.administrate(&mut network);
        }
        let mut history = vec![network.clone()];
        for _ in 0..CHANGES {
            for _ in 0..=self.below(2) {
                self.alter(&mut network, flushes);
            }
            history.push(network.clone());
        }
        history
    }

    fn alter(&mut self, network: &mut Network, flushes: bool) {
        let (group, nic) = (self.below(GROUPS), self.below(network.network_interfaces.len()));
        match self.below(9) {
            0..=2 => network.network_security_groups[group] = self.group(group, network, flushes),
            3 if flushes => network.network_security_groups[group].flush_connection ^= true,
            3 if self.chance(50) => network.network_managers.clear(),
            3 | 4 => self.administrate(network),
            5 => self.attach(network),
            6 => network.application_security_groups[group % 2] = self.asg(group % 2, network),
            7 => network.network_interfaces[nic].disable_tcp_state_tracking ^= true,
            _ => network.virtual_networks[0].flow_timeout = Duration::from_secs(*self.pick(&[240, 300])),
        }
    }

    fn group(&mut self, index: usize, network: &Network, flushes: bool) -> Nsg {
        let asgs = network.application_security_groups.len();
        let mut group = self.nsg(index, &ranges(), (asgs, network.service_tags.len()));
        group.flush_connection = flushes && self.chance(80);
        if self.chance(60) {
            let denial = self.about_platform(Access::Deny);
            // Priorities are unique (NSG-02); those of `nsg` begin with 100.
            group.rules.push(SecurityRule { name: "platform".to_owned(), priority: 99, ..denial });
        }
        if self.chance(20) {
            group.rules.clear();
        }
        // Else the default rules let a VNet's own packets pass.
        for direction in [model::Direction::Inbound, model::Direction::Outbound] {
            if self.chance(40) {
                group.rules.push(deny_all(direction));
            }
        }
        group
    }

    /// A rule that names one of the platform's services.
    fn about_platform<A>(&mut self, access: A) -> SecurityRule<A> {
        use PlatformService::{Dns, Imds, Lkm};
        // Mostly the same one, so that rules meet.
        let service = *self.pick(&[Dns, Dns, Dns, Dns, Imds, Lkm]);
        SecurityRule {
            name: "platform".to_owned(),
            priority: 1,
            direction: model::Direction::Outbound,
            access,
            protocol: *self.pick(&[
                SecurityProtocol::Any,
                SecurityProtocol::Any,
                SecurityProtocol::Tcp,
                SecurityProtocol::Udp,
            ]),
            source: vec![AddressPrefix::Any],
            source_ports: vec![PortRange::ALL],
            destination: vec![AddressPrefix::Tag(ServiceTag::Platform(service))],
            destination_ports: if self.chance(70) { vec![PortRange::ALL] } else { self.ports() },
        }
    }

    fn administrate(&mut self, network: &mut Network) {
        use AdminAccess::{Allow, AlwaysAllow, Deny};
        network.network_managers = vec![self.manager(0, network, &ranges())];
        if self.chance(80) {
            let access = *self.pick(&[Deny, Allow, AlwaysAllow, AlwaysAllow]);
            // Priorities are unique (ADM-02); those of `manager` end with 8.
            let rule = SecurityRule { priority: *self.pick(&[9, 10]), ..self.about_platform(access) };
            let manager = &mut network.network_managers[0];
            let collection = &mut manager.security_admin_configurations[0].rule_collections[0];
            if access == AlwaysAllow {
                manager.network_groups[0].static_members = vec![VnetIx(0), VnetIx(1)];
                collection.applies_to_groups = vec![0];
            }
            collection.rules.push(rule);
        }
    }

    /// NSG-25: an interface or a subnet gets a group, or loses its own.
    fn attach(&mut self, network: &mut Network) {
        let group = self.chance(75).then(|| NsgIx(self.below(GROUPS)));
        if self.chance(50) {
            let nic = self.below(network.network_interfaces.len());
            network.network_interfaces[nic].network_security_group = group;
        } else {
            let vnet = usize::from(self.chance(25));
            let subnet = self.below(network.virtual_networks[vnet].subnets.len());
            network.virtual_networks[vnet].subnets[subnet].network_security_group = group;
        }
    }
}

fn deny_all(direction: model::Direction) -> SecurityRule {
    SecurityRule {
        name: format!("rest-{direction:?}"),
        priority: 4096,
        direction,
        access: Access::Deny,
        protocol: SecurityProtocol::Any,
        source: vec![AddressPrefix::Any],
        source_ports: vec![PortRange::ALL],
        destination: vec![AddressPrefix::Any],
        destination_ports: vec![PortRange::ALL],
    }
}

fn ranges() -> Vec<IpNet> {
    RANGES.iter().map(|range| prefix(range)).collect()
}

/// Packets and pauses.
impl Random {
    /// Around every time that means something: a linger, a fragment's patience, a timeout, the timer wheel's round.
    fn pause(&mut self) -> u64 {
        let seconds = *self.pick(&[0, 1, 5, 9, 10, 11, 29, 30, 31, 120, 120, 200, 239, 240, 241, 299, 301, 520]);
        seconds * SECOND + *self.pick(&[0, 0, 1, SECOND / 2])
    }

    fn guarded_packet(
        &mut self,
        attachments: &[Attachment],
        flows: &[(Attachment, Sent, Attachment)],
    ) -> (Attachment, Packet) {
        if flows.is_empty() || self.chance(20) {
            let from = *self.pick(attachments);
            let sent = self.first(from);
            return (from, self.form(sent));
        }
        // Lately begun ones most of the time.
        let recent = if self.chance(85) { flows.len().saturating_sub(RECENT) } else { 0 };
        let (from, sent, to) = *self.pick(&flows[recent..]);
        match self.below(10) {
            0..=3 => (from, self.form(sent)),
            4..=7 => (to, self.form(sent.mirrored())),
            8 => (to, self.error(sent)),
            // From wherever, whether it may or not.
            _ => {
                let sent = if self.chance(50) { sent } else { sent.mirrored() };
                (*self.pick(attachments), self.form(sent))
            }
        }
    }

    /// A machine's own address, or a foreign one, to another machine or to the platform.
    fn first(&mut self, from: Attachment) -> Sent {
        const MACHINES: [&str; 6] = ["10.0.1.4", "10.0.1.5", "10.0.2.4", "10.0.9.4", "10.1.0.4", "10.1.0.5"];
        const MACHINES6: [&str; 3] = ["fd00:0:0:1::4", "fd00:0:0:1::5", "fd00:0:0:2::4"];
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = match from {
            Attachment::Nic(nic) => nic.0,
            Attachment::Vnet(_) => 4 + self.below(2),
            Attachment::Platform(_) => {
                let dst = address(MACHINES[self.below(MACHINES.len())]);
                return self.between(address("168.63.129.16"), dst);
            }
            Attachment::Internet
            | Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..) => {
                unreachable!("this network has nothing beyond it")
            }
        };
        if own < MACHINES6.len() && self.chance(20) {
            let dst = (own + 1 + self.below(2)) % MACHINES6.len();
            return self.between(address(MACHINES6[own]), address(MACHINES6[dst]));
        }
        let src = if self.chance(5) { self.below(MACHINES.len()) } else { own };
        if self.chance(30) {
            const SERVICES: [(&str, u16); 7] = [
                ("168.63.129.16", 53),
                ("168.63.129.16", 53),
                ("168.63.129.16", 53),
                ("168.63.129.16", 53),
                ("169.254.169.254", 80),
                ("20.118.99.224", 1688),
                ("23.102.135.246", 1688),
            ];
            let (service, port) = *self.pick(&SERVICES);
            let kind = *self.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp]);
            // Else a port that may be another service's, or the agent's.
            let dst_port = if self.chance(70) { port } else { *self.pick(&[53, 80, 443, 1688, 32526]) };
            return Sent { kind, src: address(MACHINES[src]), dst: address(service), src_port: 50000, dst_port };
        }
        // Never to itself.
        let dst = (src + 1 + self.below(MACHINES.len() - 1)) % MACHINES.len();
        let mut sent = self.between(address(MACHINES[src]), address(MACHINES[dst]));
        if sent.kind == Kind::Ping {
            let id = *self.pick(&[0, 7]);
            (sent.src_port, sent.dst_port) = (id, id);
        }
        sent
    }

    fn form(&mut self, sent: Sent) -> Packet {
        let flags = *self.pick(&[0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x11, 0x04, 0x14, 0x03, 0x06, 0x00, 0xc2]);
        let id = self.below(2) as u16;
        let is_cut = sent.src.is_ipv4() && sent.kind != Kind::Ping && self.chance(12);
        let form = match is_cut {
            true if self.chance(50) => Form::First { flags, id },
            true => Form::Later { id },
            false => Form::Whole(flags),
        };
        Packet { sent, form }
    }

    /// About a packet of a flow, to its sender; now and then to another machine.
    fn error(&mut self, about: Sent) -> Packet {
        let dst = if self.chance(85) || !about.src.is_ipv4() { about.src } else { "10.0.1.5".parse().unwrap() };
        let src = if dst == about.dst { about.src } else { about.dst };
        let sent = Sent { kind: Kind::Ping, src, dst, src_port: 0, dst_port: 0 };
        Packet { sent, form: Form::Error(about) }
    }
}

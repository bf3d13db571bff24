//! A small world in memory: virtual networks, NICs with one port each, and one way to send a packet.
//!
//! Snapshots are made by hand here, so that the pipeline is tested alone. NIC n hangs on port n. Every packet sent is
//! checked against what holds always: the bytes stay as they are, the last step is the verdict, a dropped packet leaves
//! no record.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use vnet::dataplane::{
    Acl, AclId, AclRule, Action, Admission, Direction, Fib, FibId, Filters, FlowLimits, FlowTerms, Flows, Ingress,
    Link, Lpm, LpmBuilder, NextHop, Nic, NicId, Observer, Owner, Paths, PortId, ProtocolMatch, RouteId, RuleId,
    Snapshot, Spread, Step, SubnetId, Timestamp, Translation, Verdict, Vnet, VnetId, process,
};
use vnet::wire::{Offload, Packet, Protocol};

/// Of the snapshot that is made next: what is remembered of tables goes by it.
static GENERATION: AtomicU64 = AtomicU64::new(1);

pub(crate) struct World {
    pub(crate) vnets: Vec<VnetSpec>,
    pub(crate) nics: Vec<NicSpec>,
    pub(crate) spreads: Vec<Spread>,
    acls: Vec<Vec<AclRule>>,
    /// Those with `flushConnection`.
    pub(crate) flushing: Vec<AclId>,
    /// Ports that carry a whole VNet, behind those of the NICs.
    attached: Vec<VnetId>,
    pub(crate) limits: FlowLimits,
}

pub(crate) struct VnetSpec {
    pub(crate) space: Vec<IpNet>,
    pub(crate) links: Vec<(VnetId, LinkSpec)>,
}

/// One VNet's own link to a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkSpec {
    pub(crate) explicit_allow: bool,
    pub(crate) sources: Option<Vec<IpNet>>,
    /// The own subnets that take part, where not all do.
    pub(crate) participants: Option<Vec<u32>>,
}

pub(crate) struct NicSpec {
    vnet: VnetId,
    addresses: Vec<IpNet>,
    port: PortId,
    pub(crate) subnet: u32,
    pub(crate) forwarding: bool,
    pub(crate) mtu: u16,
    pub(crate) outbound: Filters,
    pub(crate) inbound: Filters,
    pub(crate) flows: FlowTerms,
    pub(crate) platform: Filters,
    /// Beside the system routes, and before them where prefixes are equal.
    pub(crate) routes: Vec<(IpNet, NextHop)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let limits = FlowLimits { per_nic: 100, total: 1000 };
        Self {
            vnets: Vec::new(),
            nics: Vec::new(),
            spreads: Vec::new(),
            acls: Vec::new(),
            flushing: Vec::new(),
            attached: Vec::new(),
            limits,
        }
    }

    pub(crate) fn vnet(&mut self, space: &[&str]) -> VnetId {
        self.vnets.push(VnetSpec { space: space.iter().map(|prefix| net(prefix)).collect(), links: Vec::new() });
        VnetId(self.vnets.len() as u32 - 1)
    }

    pub(crate) fn nic(&mut self, vnet: VnetId, addresses: &[&str]) -> NicId {
        let addresses = addresses.iter().map(|address| IpNet::from(address.parse::<IpAddr>().unwrap())).collect();
        let id = self.nics.len() as u32;
        self.nics.push(NicSpec {
            vnet,
            addresses,
            port: PortId(id),
            subnet: 0,
            forwarding: false,
            mtu: 1500,
            outbound: Filters::default(),
            inbound: Filters::default(),
            flows: FlowTerms::default(),
            platform: Filters::default(),
            routes: Vec::new(),
        });
        NicId(id)
    }

    /// An appliance: a NIC with IP forwarding.
    pub(crate) fn appliance(&mut self, vnet: VnetId, address: &str) -> NicId {
        let nic = self.nic(vnet, &[address]);
        self.at(nic).forwarding = true;
        nic
    }

    /// A subnet of an attached VNet; call it after all NICs, once for each port.
    pub(crate) fn attached_subnet(&mut self, vnet: VnetId, prefix: &str) -> NicId {
        let nic = self.nic(vnet, &[]);
        self.at(nic).addresses.push(net(prefix));
        self.attached.push(vnet);
        nic
    }

    pub(crate) fn at(&mut self, nic: NicId) -> &mut NicSpec {
        &mut self.nics[nic.0 as usize]
    }

    pub(crate) fn peer(&mut self, a: VnetId, b: VnetId) {
        self.link(a, b, LinkSpec::default());
        self.link(b, a, LinkSpec::default());
    }

    /// Makes or replaces `of`'s own link to a peer.
    pub(crate) fn link(&mut self, of: VnetId, to: VnetId, link: LinkSpec) {
        let links = &mut self.vnets[of.0 as usize].links;
        links.retain(|(peer, _)| *peer != to);
        links.push((to, link));
        links.sort_by_key(|(peer, _)| *peer);
    }

    pub(crate) fn acl(&mut self, rules: impl IntoIterator<Item = AclRule>) -> AclId {
        self.acls.push(rules.into_iter().collect());
        AclId(self.acls.len() as u32 - 1)
    }

    pub(crate) fn route(&mut self, nic: NicId, prefix: &str, next_hop: NextHop) {
        self.at(nic).routes.push((net(prefix), next_hop));
    }

    pub(crate) fn build(&self) -> Lab {
        let flows = || Flows::new(self.limits);
        let along = Along { paths: RefCell::default(), flows: flows() };
        Lab { snapshot: self.snapshot(), flows: flows(), now: Timestamp(1_000_000_000), along }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let attached_from = self.nics.len() - self.attached.len();
        let nic_ports = (0..attached_from as u32).map(|n| Ingress::Nic(NicId(n)));
        Snapshot {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            ports: nic_ports.chain(self.attached.iter().map(|vnet| Ingress::Vnet(*vnet))).collect(),
            nics: (0_u32..).zip(&self.nics).map(|(n, nic)| nic.build(FibId(n))).collect(),
            fibs: self.nics.iter().map(|nic| self.fib(nic)).collect(),
            acls: (0..).map(AclId).zip(&self.acls).map(|(id, rules)| self.table(id, rules)).collect(),
            vnets: (0..self.vnets.len() as u32).map(|n| self.vnet_tables(VnetId(n))).collect(),
            edge: None,
            frontends: Vec::new(),
            gateways: Vec::new(),
        }
    }

    /// Rules are numbered through all lists.
    fn table(&self, id: AclId, rules: &[AclRule]) -> Acl {
        let before: usize = self.acls[..id.0 as usize].iter().map(Vec::len).sum();
        Acl::new(rules.to_vec()).numbered((before as u32..).map(RuleId::new)).flushing(self.flushing.contains(&id))
    }

    fn fib(&self, nic: &NicSpec) -> Fib {
        let own = &self.vnets[nic.vnet.0 as usize];
        let peers = own.links.iter().map(|(peer, _)| *peer).filter(|peer| self.is_connected(nic.vnet, *peer));
        let mut routes = vec![(net("0.0.0.0/0"), NextHop::Internet), (net("10.0.0.0/8"), NextHop::None)];
        for vnet in peers.chain([nic.vnet]) {
            let space = &self.vnets[vnet.0 as usize].space;
            routes.extend(space.iter().map(|prefix| (*prefix, NextHop::Vnet(vnet))));
        }
        routes.extend(&nic.routes);
        let lpm = routes.iter().enumerate().map(|(n, (prefix, _))| (*prefix, RouteId(n as u32))).collect();
        let next_hops = routes.into_iter().map(|(_, next_hop)| next_hop).collect();
        Fib { lpm, next_hops, spreads: self.spreads.clone().into() }
    }

    fn is_connected(&self, a: VnetId, b: VnetId) -> bool {
        let has = |of: VnetId, to: VnetId| self.vnets[of.0 as usize].links.iter().any(|(peer, _)| *peer == to);
        has(a, b) && has(b, a)
    }

    fn vnet_tables(&self, id: VnetId) -> Vnet {
        let spec = &self.vnets[id.0 as usize];
        let mut owners = LpmBuilder::new();
        for prefix in &spec.space {
            // The gateway's address stands for all reserved ones (ADR-01).
            owners.insert(prefix.hosts().next().unwrap().into(), Owner::Reserved);
        }
        for (n, nic) in (0_u32..).zip(&self.nics).filter(|(_, nic)| nic.vnet == id) {
            for address in &nic.addresses {
                owners.insert(*address, Owner::Nic(NicId(n)));
            }
        }
        let links = spec.links.iter().map(|(peer, link)| (*peer, link.build())).collect();
        Vnet { owners: owners.build(), links, platform: None }
    }
}

impl LinkSpec {
    fn build(&self) -> Link {
        let sources = |prefixes: &Vec<IpNet>| -> Lpm<()> { prefixes.iter().map(|prefix| (*prefix, ())).collect() };
        let participants = self.participants.as_ref().map(|subnets| subnets.iter().copied().map(SubnetId).collect());
        Link { explicit_allow: self.explicit_allow, sources: self.sources.as_ref().map(sources), participants }
    }
}

impl NicSpec {
    fn build(&self, fib: FibId) -> Nic {
        Nic {
            port: self.port,
            vnet: self.vnet,
            subnet: SubnetId(self.subnet),
            fib,
            fib_beside_tcp: fib,
            forwarding: self.forwarding,
            outbound: self.outbound,
            inbound: self.inbound,
            platform: self.platform,
            mtu: self.mtu,
            flows: self.flows,
        }
    }
}

/// A built world, its records and its clock.
pub(crate) struct Lab {
    pub(crate) snapshot: Snapshot,
    pub(crate) flows: Flows,
    pub(crate) now: Timestamp,
    pub(crate) along: Along,
}

/// The same packets once more, through a cache of paths.
pub(crate) struct Along {
    paths: RefCell<Paths>,
    flows: Flows,
}

impl Lab {
    pub(crate) fn send(&self, from: NicId, packet: &[u8]) -> Verdict {
        self.watch(from, packet, Offload::default()).0
    }

    pub(crate) fn send_offloaded(&self, from: NicId, packet: &[u8], offload: Offload) -> Verdict {
        self.watch(from, packet, offload).0
    }

    /// What was decided on the way, in words.
    pub(crate) fn trace(&self, from: NicId, packet: &[u8]) -> String {
        let steps = self.watch(from, packet, Offload::default()).1;
        steps.iter().map(|step| words(*step)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn records(&self) -> usize {
        self.flows.records.len()
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now.0 += seconds * 1_000_000_000;
    }

    fn watch(&self, from: NicId, packet: &[u8], offload: Offload) -> (Verdict, Vec<Step>) {
        let mut bytes = packet.to_vec();
        let mut steps = Steps::default();
        let records = self.records();
        let mut parsed = Packet::parse(&mut bytes, offload).unwrap();
        let verdict = process(&self.snapshot, &self.flows, PortId(from.0), self.now, &mut parsed, &mut steps);
        assert_eq!(bytes, packet, "FAB-05, UDR-13: nothing in a packet is touched");
        let last = match verdict {
            Verdict::Forward(port) => Step::Delivered { port },
            Verdict::Drop(reason) => {
                assert_eq!(self.records(), records, "NSG-22: a blocked attempt leaves no record");
                Step::Dropped { reason }
            }
        };
        assert_eq!(steps.0.last(), Some(&last));
        self.send_along(from, packet, offload, verdict);
        (verdict, steps.0)
    }

    /// A flow's third packet goes along its path at the latest. What has passed passes again and changes nothing else.
    fn send_along(&self, from: NicId, packet: &[u8], offload: Offload, expected: Verdict) {
        let Along { paths, flows } = &self.along;
        let (ingress, mut paths) = (PortId(from.0), paths.borrow_mut());
        for _ in 0..3 {
            let (mut bytes, mut steps) = (packet.to_vec(), Steps::default());
            let mut parsed = Packet::parse(&mut bytes, offload).unwrap();
            let verdict = paths.process(&self.snapshot, flows, ingress, self.now, &mut parsed, &mut steps);
            assert_eq!(verdict, expected, "along a path: {:?}", steps.0);
            assert_eq!(bytes, packet, "FAB-05, UDR-13: nothing in a packet is touched");
            if matches!(verdict, Verdict::Drop(_)) {
                break;
            }
        }
        assert_eq!(flows.records.len(), self.records(), "the same records");
    }
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Observer for Steps {
    fn step(&mut self, step: Step) {
        self.0.push(step);
    }
}

fn words(step: Step) -> String {
    match step {
        Step::Sent { nic } => format!("sent {}", nic.0),
        Step::Admit { nic, direction, admission } => {
            let way = match direction {
                Direction::Inbound => "in",
                Direction::Outbound => "out",
            };
            let why = match admission {
                Admission::Rule { place, acl, rule, allow } => {
                    format!("{place:?} acl {} rule {rule} {}", acl.0, if allow { "allow" } else { "deny" })
                }
                Admission::Record | Admission::Refused | Admission::Platform | Admission::NoFilter => {
                    format!("{admission:?}")
                }
            };
            format!("{way} {}: {why}", nic.0)
        }
        Step::Route { next_hop, .. } => format!("route {next_hop:?}"),
        Step::Cross { from, into, .. } => format!("cross {} to {}", from.0, into.0),
        Step::NoRoom { nic, full } => format!("no room {}: {full:?}", nic.0),
        Step::NoPort { nic } => format!("no port {}", nic.0),
        Step::Arrive { nic } => format!("arrive {}", nic.0),
        Step::Translate(Translation { from, to, .. }) => format!("translate {} to {}", from.0, to.0),
        Step::Balance { backend, .. } => format!("balance to {}", backend.0),
        Step::Reset { nic } => format!("reset {}", nic.0),
        Step::Gateway { nic } => format!("gateway {}", nic.0),
        Step::Delivered { port } => format!("delivered {}", port.0),
        Step::Dropped { reason } => format!("dropped {reason}"),
    }
}

/// A rule that the user wrote, for any protocol and port.
pub(crate) fn rule(action: Action, src: &str, dst: &str) -> AclRule {
    AclRule {
        protocol: ProtocolMatch::Any,
        src: [net(src)].into(),
        dst: [net(dst)].into(),
        src_ports: vec![0..=65535],
        dst_ports: vec![0..=65535],
        action,
        custom: true,
    }
}

pub(crate) fn allow(src: &str, dst: &str) -> AclRule {
    rule(Action::Allow, src, dst)
}

pub(crate) fn allow_port(protocol: Protocol, port: u16) -> AclRule {
    AclRule { protocol: ProtocolMatch::Only(protocol), dst_ports: vec![port..=port], ..allow_all() }
}

pub(crate) fn allow_all() -> AclRule {
    AclRule { action: Action::Allow, ..deny_all() }
}

/// Both families.
pub(crate) fn deny_all() -> AclRule {
    let any: Arc<[IpNet]> = [net("0.0.0.0/0"), net("::/0")].into();
    AclRule { src: any.clone(), dst: any, ..rule(Action::Deny, "::/0", "::/0") }
}

/// One of Azure's own rules.
pub(crate) fn default(rule: AclRule) -> AclRule {
    AclRule { custom: false, ..rule }
}

pub(crate) fn net(prefix: &str) -> IpNet {
    prefix.parse().unwrap()
}

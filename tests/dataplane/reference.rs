//! The proof of the product: the compiled tables and the pipeline against a slow, obvious twin.
//!
//! `topology` makes a random network, `rules` answers each packet straight from Azure's rules: every route compared,
//! every security rule in order of priority, tags by asking whether an address is in them; `state` keeps flow records as
//! their whole history. The same packets go through `compile` and `process`. Both must say the same: forwarded to which
//! device, or dropped for what.

mod guarded;
mod opening;
mod rules;
mod state;
mod steps;
mod topology;

use std::collections::BTreeMap;
use std::time::Instant;

use vnet::analysis::{Probe, Query, QueryEnd, Verdict as Answer, explain};
use vnet::compile::{Compiled, Ids, compile, compile_next};
use vnet::dataplane::{
    AclId, DropReason, FlowLimits, Flows, NicId, Observer, Paths, PortId, Quiet, Snapshot, Step, Timestamp, Verdict,
    process,
};
use vnet::model::{Attachment, Learned, Network, NicIx, SubnetIx, VnetIx};
use vnet::wire::{Offload, Packet as Wire};

use rules::{Party, Twin};
use state::{Form, Packet};
use topology::{Kind, Random, Sent};

const TOPOLOGIES: u64 = 150;
const PACKETS: usize = 300;
/// Each question may compile the network a few times over, to try fixes.
const QUESTIONED: u64 = 40;
const QUESTIONS: usize = 10;
/// The largest network in which every pair of interfaces is asked, and as many destinations for each.
const VNETS: usize = 20;
const DESTINATIONS: usize = 64;
const HISTORIES: u64 = 60;
const STEPS: usize = 12;

#[test]
fn tables_and_pipeline_agree_with_the_rules_as_written() {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..TOPOLOGIES {
        for outcome in compare(seed) {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    // A generator that stops reaching a rule would prove nothing about it.
    let reached = |name: &str| outcomes.get(name).copied().unwrap_or(0);
    let expected = [
        DropReason::SpoofedSource,
        DropReason::AdminRule,
        DropReason::NsgOutbound,
        DropReason::NsgInbound,
        DropReason::NextHopNone,
        DropReason::NextHopUnreachable,
        DropReason::GatewayUnavailable,
        DropReason::NoInternet,
        DropReason::NoEndpoint,
        DropReason::NoService,
        DropReason::NotForwarding,
        DropReason::PeeringAccess,
        DropReason::ForwardedTraffic,
        DropReason::SubnetNotPeered,
    ];
    for reason in expected {
        assert!(reached(reason.name()) >= 20, "{reason} was hardly reached: {outcomes:?}");
    }
    assert!(reached("forwarded") >= 5000, "too little was forwarded: {outcomes:?}");
    assert!(reached("along a path") >= 5000, "too little went along a path: {outcomes:?}");
}

/// On any topology `explain` answers: it never panics, a blocked packet has a cause, and a first obstacle with a
/// tried fix is no longer the first one after it.
#[test]
fn every_question_about_a_random_topology_has_an_answer() {
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..QUESTIONED {
        let mut random = Random::new(seed);
        let network = random.network();
        let compiled = compile(&network, &Learned::default(), 1);
        for _ in 0..QUESTIONS {
            let (_, sent) = random.packet(&network, &network.attachments(), &[]);
            let probe = if sent.src_port == 0 { Probe::Ping } else { Probe::Tcp(sent.dst_port) };
            let query = Query { source: QueryEnd::Address(sent.src), destination: QueryEnd::Address(sent.dst), probe };
            let Ok(answer) = explain(&network, &compiled, &query, Instant::now()) else {
                *answers.entry("no such source").or_default() += 1;
                continue;
            };
            let arrived = answer.forward.delivered && answer.back.as_ref().is_some_and(|back| back.delivered);
            assert_eq!(arrived, answer.verdict == Answer::Reachable, "seed {seed}: {answer:#?}");
            assert_eq!(arrived, answer.cause.is_none(), "seed {seed}: {answer:#?}");
            let tried = answer.fix.as_ref().is_some_and(|fix| fix.checked);
            let next = answer.further.first().map(|obstacle| &obstacle.cause);
            assert!(!tried || next != answer.cause.as_ref(), "seed {seed}: {answer:#?}");
            let kind = if arrived {
                "reachable"
            } else if tried {
                "tried fix"
            } else {
                "no fix"
            };
            *answers.entry(kind).or_default() += 1;
        }
    }
    for kind in ["reachable", "tried fix", "no fix"] {
        assert!(answers.get(kind).is_some_and(|&count| count >= 20), "{kind} is hardly met: {answers:?}");
    }
}

/// Every interface to every other and to 64 destinations anywhere, in networks of up to 20 VNets.
#[test]
fn every_pair_of_interfaces_and_any_destination_agree() {
    let mut pairs = 0;
    for vnets in 2..=VNETS {
        let seed = vnets as u64;
        let mut random = Random::new(seed);
        let network = random.network_of(vnets);
        let mut both = Both::new(seed, &network);
        for (from, nic) in network.network_interfaces.iter().enumerate() {
            let from = Attachment::Nic(NicIx(from));
            if !both.attachments.contains(&from) {
                continue;
            }
            for &src in &nic.addresses {
                for dst in network.network_interfaces.iter().flat_map(|nic| &nic.addresses) {
                    if src.is_ipv4() == dst.is_ipv4() {
                        let _ = both.judge_sent(from, &random.between(src, *dst));
                        pairs += 1;
                    }
                }
                for _ in 0..DESTINATIONS {
                    let dst = random.destination(&network, src.is_ipv4());
                    let _ = both.judge_sent(from, &random.between(src, dst));
                }
            }
        }
    }
    assert!(pairs >= 40_000, "the networks have become small: {pairs} pairs");
}

/// Tables do not depend on what a network was before: nothing but the time a compile takes depends on it.
#[test]
fn what_an_earlier_compile_knew_shows_nowhere() {
    let mut changed = 0;
    for seed in 0..HISTORIES {
        let mut random = Random::new(seed);
        let mut network = random.network();
        let first = network.clone();
        let mut compiled = compile(&network, &Learned::default(), 1);
        for step in 0..STEPS {
            let before = whole(&network, &compiled);
            match random.below(STEPS) {
                0 => network = random.network(),
                1 => network = first.clone(),
                _ => random.step(&mut network),
            }
            let ids = Ids::in_file_order(&network);
            compiled = compile_next(&network, &Learned::default(), ids, 1, &compiled);
            let (found, expected) = (whole(&network, &compiled), whole_of(&network));
            assert!(found == expected, "seed {seed}, step {step}\n{found}\n\n{expected}\n\n{network:#?}");
            changed += usize::from(found != before);
        }
    }
    assert!(changed * 2 > STEPS * HISTORIES as usize, "most steps should change something: {changed}");
}

fn whole_of(network: &Network) -> String {
    whole(network, &compile(network, &Learned::default(), 1))
}

/// All answers that tables can give, down to the last node.
fn whole(network: &Network, compiled: &Compiled) -> String {
    let vnets = network.virtual_networks.iter().enumerate();
    let subnets =
        vnets.flat_map(|(i, vnet)| (0..vnet.subnets.len()).map(move |subnet| SubnetIx { vnet: VnetIx(i), subnet }));
    let routes: Vec<_> = subnets.map(|subnet| (compiled.fib(subnet), compiled.effective_routes(subnet))).collect();
    let acls = (0..compiled.snapshot.acls.len()).map(|acl| compiled.effective_rules(AclId(acl as u32)));
    format!("{:?}\n{routes:?}\n{:?}", compiled.snapshot, acls.collect::<Vec<_>>())
}

/// One topology, one run of packets over shared flow records; what became of each.
fn compare(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let network = random.network();
    let mut both = Both::new(seed, &network);
    let mut outcomes = Vec::new();
    let mut delivered: Vec<(Attachment, Sent)> = Vec::new();
    for _ in 0..PACKETS {
        let (from, sent) = random.packet(&network, &both.attachments, &delivered);
        let found = both.judge_sent(from, &sent);
        outcomes.push(found.map_or_else(|reason| reason.name().to_owned(), |_| "forwarded".to_owned()));
        if let Ok(to) = found {
            delivered.push((to, sent));
        }
    }
    outcomes.extend(std::iter::repeat_n("along a path".to_owned(), both.along.shortened));
    outcomes
}

/// The tables and the twin, side by side.
struct Both<'a> {
    seed: u64,
    network: &'a Network,
    attachments: Vec<Attachment>,
    compiled: Compiled,
    flows: Flows,
    along: Along,
    twin: Twin<'a>,
}

/// The same packets through a cache of paths.
struct Along {
    paths: Paths,
    flows: Flows,
    /// Packets that were forwarded without a walk through the pipeline.
    shortened: usize,
}

/// Whether the pipeline was walked through.
#[derive(Default)]
struct Walked(bool);

impl Observer for Walked {
    fn step(&mut self, step: Step) {
        self.0 |= matches!(step, Step::Sent { .. });
    }
}

impl Along {
    /// Sends a packet three times: at the last it goes along a path if there is one. What has passed passes again and
    /// changes nothing; what was refused may begin a flow when it comes again (NSG-23).
    fn send(&mut self, snapshot: &Snapshot, from: PortId, now: Timestamp, packet: &Packet, expected: Verdict) {
        for _ in 0..3 {
            let (mut bytes, mut walked) = (packet.bytes(), Walked::default());
            let mut packet = Wire::parse(&mut bytes, Offload::default()).unwrap();
            let verdict = self.paths.process(snapshot, &self.flows, from, now, &mut packet, &mut walked);
            assert_eq!(verdict, expected, "along a path, from {from:?}: {:?}", packet.tuple());
            if matches!(verdict, Verdict::Drop(_)) {
                break;
            }
            self.shortened += usize::from(!walked.0);
        }
    }
}

impl<'a> Both<'a> {
    fn new(seed: u64, network: &'a Network) -> Self {
        Self::limited(seed, network, FlowLimits { per_nic: 100_000, total: 100_000 })
    }

    fn limited(seed: u64, network: &'a Network, limits: FlowLimits) -> Self {
        let mut twin = Twin::new(network);
        twin.state.limit = limits.per_nic;
        Self {
            seed,
            network,
            attachments: network.attachments(),
            compiled: compile(network, &Learned::default(), 1),
            flows: Flows::new(limits),
            along: Along { paths: Paths::new(), flows: Flows::new(limits), shortened: 0 },
            twin,
        }
    }

    /// The same with other tables; records stay.
    fn replace(&mut self, network: &'a Network) {
        self.network = network;
        let (ids, generation) = (Ids::in_file_order(network), self.compiled.snapshot.generation + 1);
        self.compiled = compile_next(network, &Learned::default(), ids, generation, &self.compiled);
    }

    /// What both say becomes of an ordinary packet.
    fn judge_sent(&mut self, from: Attachment, sent: &Sent) -> Result<Attachment, DropReason> {
        const ACK: u8 = 0x10;
        self.judge(from, &Packet { sent: *sent, form: Form::Whole(ACK) })
    }

    /// What both say becomes of a packet.
    fn judge(&mut self, from: Attachment, sent: &Packet) -> Result<Attachment, DropReason> {
        let expected = self.twin.judge(from, sent);
        let port = self.attachments.iter().position(|&attachment| attachment == from).unwrap();
        let mut bytes = sent.bytes();
        let mut packet = Wire::parse(&mut bytes, Offload::default()).unwrap();
        let (snapshot, now) = (&self.compiled.snapshot, self.twin.state.now);
        let from_port = PortId(port as u32);
        let verdict = process(snapshot, &self.flows, from_port, now, &mut packet, &mut Quiet);
        self.along.send(snapshot, from_port, now, sent, verdict);
        let found = match verdict {
            Verdict::Forward(PortId(port)) => Ok(self.attachments[port as usize]),
            Verdict::Drop(reason) => Err(reason),
        };
        assert_eq!(found, expected, "seed {}, from {from:?}: {sent:?}\n{:#?}", self.seed, self.network);
        found
    }

    fn nic(&self, party: Party) -> NicId {
        match party {
            Party::Nic(nic) => self.compiled.nic_of(nic),
            Party::Behind(subnet) => self.compiled.subnet_nic(subnet).expect("its VNet is attached"),
        }
    }
}

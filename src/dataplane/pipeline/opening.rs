//! What the tables say of a connection's first packet, if they say it of each source port.
//!
//! One idea: the pipeline itself decides on such a packet and its answer, with no flow known. What it reports shows what it
//! asked. A decision that asked for the source port, or for anything that packets change, is none for others.

use crate::dataplane::{
    Admission, Deciders, Direction, FlowLimits, Ingress, NicId, PortId, Recorder, RuleId, Snapshot, Step, Timestamp,
    Verdict,
};
use crate::wire::{Offload, Packet, Protocol, Tuple, build};

use super::{Flows, process};

/// Flags of TCP (RFC 9293 section 3.1): of a first packet, and of its answer.
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// The most rules that decide on a first packet: at each end an admin rule and two NSGs.
const RULES: usize = 6;

/// What the first packet of any connection from one address to one port of another meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// From where, and to where.
    pub nics: [NicId; 2],
    pub ports: [PortId; 2],
    /// What the record at each end names.
    pub deciders: [Deciders; 2],
    /// The rules that decide on each first packet, and are counted.
    rules: [Option<RuleId>; RULES],
}

impl Opening {
    pub fn rules(&self) -> impl Iterator<Item = RuleId> {
        self.rules.into_iter().flatten()
    }
}

/// Decides on a connection whose first packet comes in on a port, for all source ports. None where the decision depends on
/// the source port, or on anything but tables.
pub fn opening(snapshot: &Snapshot, ingress: PortId, first: &Tuple) -> Option<Opening> {
    // Of a network behind one port, the source decides which NIC sends.
    let Some(Ingress::Nic(sender)) = snapshot.ports.get(ingress.0 as usize) else { return None };
    if first.protocol != Protocol::TCP {
        return None;
    }
    let flows = Flows::new(FlowLimits { per_nic: 2, total: 16 });
    let asked = Asked { snapshot, flows: &flows };
    let (egress, there) = asked.follow(ingress, first, SYN)?;
    let Some(Ingress::Nic(receiver)) = snapshot.ports.get(egress.0 as usize) else { return None };
    let (back, answer) = asked.follow(egress, &first.mirrored(), SYN_ACK)?;
    let nics = [*sender, *receiver];
    // To itself, both ends have one record, where both ports are the same.
    if sender == receiver || back != ingress || asked.asks_src_ports(nics) || is_backend(snapshot, *receiver) {
        return None;
    }
    let mut rules = [None; RULES];
    let decided = there.steps().iter().chain(answer.steps()).filter_map(|step| asked.rule(step));
    rules.iter_mut().zip(decided).for_each(|(slot, rule)| *slot = Some(rule));
    let record = |nic, direction| Some(flows.records.find(nic, direction, first, NOW)?.rules);
    let deciders = [record(*sender, Direction::Outbound)?, record(*receiver, Direction::Inbound)?];
    Some(Opening { nics, ports: [ingress, egress], deciders, rules })
}

/// The trial's own time.
const NOW: Timestamp = Timestamp(1);

/// Whether a load balancer may choose it: then an answer of its may be one of a frontend, which mappings decide.
fn is_backend(snapshot: &Snapshot, nic: NicId) -> bool {
    let rules = snapshot.frontends.iter().flat_map(|frontend| &frontend.rules);
    rules.flat_map(|rule| &rule.members).any(|member| member.nic == nic)
}

/// A trial with tables and no flow.
#[derive(Clone, Copy)]
struct Asked<'a> {
    snapshot: &'a Snapshot,
    flows: &'a Flows,
}

impl Asked<'_> {
    /// Where a packet without payload goes, and the steps there. None if it is dropped, or if anything decides but rules,
    /// records and single routes.
    fn follow(self, ingress: PortId, tuple: &Tuple, flags: u8) -> Option<(PortId, Recorder)> {
        let mut bytes = build::tcp((tuple.src, tuple.src_port).into(), (tuple.dst, tuple.dst_port).into(), flags, &[]);
        let mut packet = Packet::parse(&mut bytes, Offload::default()).ok()?;
        let mut steps = Recorder::new();
        let Verdict::Forward(egress) = process(self.snapshot, self.flows, ingress, NOW, &mut packet, &mut steps) else {
            return None;
        };
        steps.steps().iter().all(|step| self.is_by_tables(step)).then_some((egress, steps))
    }

    fn is_by_tables(self, step: &Step) -> bool {
        match *step {
            Step::Sent { .. } | Step::Cross { .. } | Step::Arrive { .. } | Step::Delivered { .. } => true,
            Step::Admit { admission, .. } => match admission {
                Admission::Record | Admission::NoFilter | Admission::Rule { .. } => true,
                Admission::Refused | Admission::Platform => false,
            },
            Step::Route { fib, route, .. } => self.snapshot.fib(fib).next_hops[route.0 as usize].spread().is_none(),
            Step::Translate(_)
            | Step::Reset { .. }
            | Step::Balance { .. }
            | Step::Gateway { .. }
            | Step::NoRoom { .. }
            | Step::NoPort { .. }
            | Step::Dropped { .. } => false,
        }
    }

    fn rule(self, step: &Step) -> Option<RuleId> {
        match *step {
            Step::Admit { admission: Admission::Rule { acl, rule, .. }, .. } => self.snapshot.acl(acl).id(rule),
            _ => None,
        }
    }

    /// Whether a list that decides at either end may depend on the source port. A list without a match is not reported.
    fn asks_src_ports(self, [sender, receiver]: [NicId; 2]) -> bool {
        let [out, inward] = [self.snapshot.nic(sender).outbound, self.snapshot.nic(receiver).inbound];
        let lists = [out, inward].map(|filters| [filters.admin, filters.nic, filters.subnet]);
        lists.iter().flatten().flatten().any(|acl| self.snapshot.acl(*acl).asks_src_ports())
    }
}

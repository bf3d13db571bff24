//! A packet's path through the network: `dataplane::process` for each leg, and the guest's kernel between legs.
//!
//! One idea: the fabric decides legs, guests join them. A guest that forwards sends the packet on unchanged. A packet
//! that comes back to an interface therefore loops for ever. The caller passes in the flow records: a reply is walked
//! with the records that its request made.

pub(super) mod branches;
pub(super) mod guest_rules;
pub(super) mod masquerade;
pub(super) mod narration;
pub(super) mod outbound;
pub(super) mod outside;
pub(super) mod round_trip;
pub(super) mod unprobed;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::{Compiled, Sender};
use crate::dataplane::{
    AclId, Admission, BalancingRule, Direction, DropReason, FibId, FilterPlace, FlowLimits, FlowTable, Flows,
    FragmentTable, LoopTable, NatLimits, NatTable, NextHop, NicId, PacketEnd, Recorder, RouteId, Spread, Step,
    Timestamp, Translation, Verdict, process,
};
use crate::model::{Customer, Network, NicIx, RouteSource, VmIx, VnetIx};
use crate::wire::{Offload, Packet, Protocol, Tuple};

use super::query::names::Names;
use super::query::{Meant, primary};
use masquerade::{GuestStep, Masks};

/// Legs of one packet: a guest's initial TTL.
const MAX_LEGS: usize = 64;

/// A packet's path from its sender, as far as it came.
#[derive(Debug)]
pub(super) struct Walk {
    /// Never empty.
    pub(super) legs: Vec<Leg>,
    pub(super) outcome: Outcome,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// The packet as it was sent.
    pub(super) first: Tuple,
    /// The packet as it is at the end.
    pub(super) last: Tuple,
}

/// Something that chooses one of several members by a flow's hash.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice<'a> {
    Spread(&'a Spread),
    Rule(&'a BalancingRule),
}

impl Choice<'_> {
    /// The index of the member that gets a flow.
    pub(super) fn share(self, flow: &Tuple) -> usize {
        match self {
            Self::Spread(spread) => spread.share(flow),
            Self::Rule(rule) => rule.share(flow),
        }
    }
}

/// The path from one interface to the next, through the fabric.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) from: NicId,
    /// What its guest did to the packet before sending it; the first sender made the packet itself.
    pub(super) guest: GuestStep,
    /// The packet's source as the leg begins.
    pub(super) src: IpAddr,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered(NicId),
    Dropped(DropReason),
    /// The packet reached a guest that does not own its destination and does not forward (NIC-05).
    GuestDrops(NicId),
    /// The packet came out on-premises or in a private cloud, where no machine has its destination.
    NoHost(NicId),
    /// The site's own device has no route to its destination.
    NoRoute(NicId),
    /// The packet loops: it came back to this interface (FAB-14).
    Loop(NicId),
    /// The packet was delivered to another machine that has the same address (ADR-07).
    WrongHost {
        nic: NicId,
        meant: Meant,
    },
    /// The answer came from another address or port than the request was sent to, so its receiver ignores it (LB-46).
    WrongSource {
        nic: NicId,
        asked: Tuple,
    },
}

impl Outcome {
    /// Why it did not arrive: a drop reason's name, `GuestNotForwarding`, `NoHost`, `NoRouteOnPremises`, `Loop`,
    /// `WrongHost` or `WrongSource`.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Delivered(_) => None,
            Self::Dropped(reason) => Some(reason.name()),
            Self::GuestDrops(_) => Some("GuestNotForwarding"),
            Self::NoHost(_) => Some("NoHost"),
            Self::NoRoute(_) => Some("NoRouteOnPremises"),
            Self::Loop(_) => Some("Loop"),
            Self::WrongHost { .. } => Some("WrongHost"),
            Self::WrongSource { .. } => Some("WrongSource"),
        }
    }
}

impl Walk {
    /// Walks a packet out of an interface.
    pub(super) fn take(names: Names<'_>, scratch: &ScratchFlows, masks: &mut Masks, from: NicId, bytes: &[u8]) -> Self {
        let mut bytes = bytes.to_vec();
        let mut packet = Packet::parse(&mut bytes, Offload::default()).expect("a synthetic packet is well formed");
        let (src, dst, first) = (packet.src(), packet.dst(), *packet.tuple());
        let mut legs: Vec<Leg> = Vec::new();
        if !outside::has_route(names, from, dst) {
            let leg = Leg { from, guest: GuestStep::Unchanged, src, steps: vec![Step::Sent { nic: from }] };
            return Self { legs: vec![leg], outcome: Outcome::NoRoute(from), src, dst, first, last: *packet.tuple() };
        }
        let (mut at, mut guest) = (from, GuestStep::Unchanged);
        let outcome = loop {
            let (leg, verdict) = Leg::take(names.compiled, scratch, (at, guest), &mut packet);
            let arrived = leg.arrived();
            legs.push(leg);
            if let Verdict::Drop(reason) = verdict {
                break Outcome::Dropped(reason);
            }
            let arrived = arrived.expect("a forwarded packet arrives somewhere");
            if legs.last().is_some_and(|leg| leg.floats(names.compiled, packet.dst())) {
                break Outcome::Delivered(arrived);
            }
            match onward(names, arrived, masks, &mut packet) {
                Onward::Here => break Outcome::Delivered(arrived),
                Onward::Nowhere => break Outcome::GuestDrops(arrived),
                Onward::NoHost => break Outcome::NoHost(arrived),
                Onward::Out(next, _) if legs.len() == MAX_LEGS || legs.iter().any(|leg| leg.from == next) => {
                    break Outcome::Loop(next);
                }
                Onward::Out(next, step) => (at, guest) = (next, step),
            }
        };
        let mut last = *packet.tuple();
        if let (Outcome::Dropped(_), Some(leg)) = (&outcome, legs.last()) {
            leg.translate(&mut last);
        }
        Self { legs, outcome, src, dst, first, last }
    }

    /// Checks an answer against the flow that it answers, as the asking guest knows that flow.
    pub(super) fn answering(mut self, asked: &Tuple) -> Self {
        let answers = match asked.protocol {
            Protocol::TCP | Protocol::UDP => (self.last.src, self.last.src_port) == (asked.dst, asked.dst_port),
            _ => self.last.src == asked.dst,
        };
        match self.outcome {
            Outcome::Delivered(nic) if !answers => {
                self.outcome = Outcome::WrongSource { nic, asked: *asked };
                self
            }
            _ => self,
        }
    }

    /// Checks the receiver against the machine that was asked for, if one was.
    pub(super) fn meant_for(mut self, names: Names<'_>, meant: Meant) -> Self {
        if let Outcome::Delivered(nic) = self.outcome
            && !meant.is_met(names, nic)
        {
            self.outcome = Outcome::WrongHost { nic, meant };
        }
        self
    }

    pub(super) fn delivered(&self) -> bool {
        matches!(self.outcome, Outcome::Delivered(_))
    }

    pub(super) fn last(&self) -> &Leg {
        self.legs.last().expect("a walk has at least one leg")
    }

    /// Everything on the path that chose by the flow's hash.
    pub(super) fn choices<'a>(&self, compiled: &'a Compiled) -> impl Iterator<Item = Choice<'a>> {
        let snapshot = &compiled.snapshot;
        let spread = |fib: FibId, route: RouteId| {
            let spread = snapshot.fib(fib).next_hops[route.0 as usize].spread()?;
            Some(Choice::Spread(snapshot.fib(fib).spread(spread)))
        };
        self.legs.iter().flat_map(|leg| &leg.steps).filter_map(move |step| match *step {
            Step::Route { fib, route, .. } => spread(fib, route),
            Step::Balance { frontend, rule, .. } => {
                Some(Choice::Rule(&snapshot.frontend(frontend).rules[rule as usize]))
            }
            _ => None,
        })
    }

    /// The interface whose guest needs the packet's destination on a loopback: it is a floating frontend's address
    /// (LB-20).
    pub(super) fn floats_at(&self, compiled: &Compiled) -> Option<NicId> {
        let floats = self.delivered() && self.last().floats(compiled, self.last.dst);
        self.last().arrived().filter(|_| floats)
    }

    /// The interfaces that forwarded the packet, in order.
    pub(super) fn appliances(&self) -> impl DoubleEndedIterator<Item = NicId> {
        self.legs.iter().skip(1).map(|leg| leg.from)
    }
}

impl Leg {
    fn take(
        compiled: &Compiled,
        scratch: &ScratchFlows,
        (from, guest): (NicId, GuestStep),
        packet: &mut Packet<'_>,
    ) -> (Self, Verdict) {
        let (mut recorder, src) = (Recorder::default(), packet.src());
        let port = compiled.snapshot.nics[from.0 as usize].port;
        let verdict = process(&compiled.snapshot, &scratch.flows, port, scratch.now, packet, &mut recorder);
        (Self { from, guest, src, steps: recorder.steps().to_vec() }, verdict)
    }

    /// Translations that the packet's headers do not show yet: a gateway rewrites a packet only once it is admitted.
    fn translate(&self, packet: &mut Tuple) {
        let has_ports = matches!(packet.protocol, Protocol::TCP | Protocol::UDP);
        for step in &self.steps {
            let Step::Translate(Translation { end, from, to }) = step else { continue };
            let (address, port) = match end {
                PacketEnd::Source => (&mut packet.src, &mut packet.src_port),
                PacketEnd::Destination => (&mut packet.dst, &mut packet.dst_port),
            };
            if *address == from.0 && (!has_ports || *port == from.1) {
                *address = to.0;
                *port = if has_ports { to.1 } else { *port };
            }
        }
    }

    pub(super) fn dropped(&self) -> Option<DropReason> {
        match self.steps.last() {
            Some(Step::Dropped { reason }) => Some(*reason),
            _ => None,
        }
    }

    /// The interface that the packet reached.
    pub(super) fn arrived(&self) -> Option<NicId> {
        self.steps.iter().find_map(|step| if let Step::Arrive { nic } = step { Some(*nic) } else { None })
    }

    /// The last route chosen: a gateway on the path chooses again.
    pub(super) fn route(&self) -> Option<(FibId, RouteId, NextHop)> {
        self.steps.iter().rev().find_map(|step| match *step {
            Step::Route { fib, route, next_hop } => Some((fib, route, next_hop)),
            _ => None,
        })
    }

    /// The interface whose routes chose it: the sender's, or a gateway's.
    pub(super) fn router(&self) -> NicId {
        let chosen = self.steps.iter().rposition(|step| matches!(step, Step::Route { .. }));
        let until = chosen.unwrap_or(self.steps.len());
        self.gateways(until).next_back().unwrap_or(self.from)
    }

    /// The last gateway that forwarded the packet.
    pub(super) fn gateway(&self) -> Option<NicId> {
        self.gateways(self.steps.len()).next_back()
    }

    fn gateways(&self, until: usize) -> impl DoubleEndedIterator<Item = NicId> {
        self.steps[..until].iter().filter_map(|step| if let Step::Gateway { nic } = step { Some(*nic) } else { None })
    }

    /// The rule that denied the packet.
    pub(super) fn denial(&self) -> Option<Denial> {
        self.steps.iter().find_map(|step| match *step {
            Step::Admit { nic, direction, admission: Admission::Rule { place, acl, rule, allow: false } } => {
                Some(Denial { nic, direction, place, acl, rule })
            }
            _ => None,
        })
    }

    /// The two VNets of the last peering that the packet met.
    pub(super) fn crossing(&self) -> Option<(VnetIx, VnetIx)> {
        self.steps.iter().find_map(|step| match *step {
            Step::Cross { from, into, .. } => Some((VnetIx(from.0 as usize), VnetIx(into.0 as usize))),
            _ => None,
        })
    }

    /// The interface that the packet was for, whether it arrived there or not.
    pub(super) fn receiver(&self) -> Option<NicId> {
        let crossed = |step: &Step| if let Step::Cross { receiver, .. } = step { Some(*receiver) } else { None };
        self.arrived().or_else(|| self.steps.iter().find_map(crossed))
    }

    /// Whether a load balancer chose the receiver and left the frontend's address in the packet: it is for the
    /// receiver's own guest (LB-20).
    pub(super) fn floats(&self, compiled: &Compiled, dst: IpAddr) -> bool {
        self.steps.iter().any(|step| match *step {
            Step::Balance { frontend, rule, .. } => {
                let frontend = compiled.snapshot.frontend(frontend);
                frontend.address == dst && frontend.rules[rule as usize].floating
            }
            _ => false,
        })
    }

    fn judged_inbound(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Admit { direction: Direction::Inbound, .. }))
    }

    /// The peering link whose flag dropped the packet: the VNet that owns the link, and the remote one.
    pub(super) fn refusing_link(&self, reason: DropReason) -> Option<(VnetIx, VnetIx)> {
        let (from, into) = self.crossing()?;
        // Both sides may refuse access; the receiver's does so after its inbound rules.
        let receivers = reason == DropReason::ForwardedTraffic || self.judged_inbound();
        Some(if receivers { (into, from) } else { (from, into) })
    }
}

/// A rule that denied a packet, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denial {
    pub(super) nic: NicId,
    pub(super) direction: Direction,
    pub(super) place: FilterPlace,
    pub(super) acl: AclId,
    pub(super) rule: u32,
}

/// Private flow records to walk with, empty again after each [`clear`](Self::clear): making tables costs more than
/// walking.
#[derive(Debug)]
pub(super) struct ScratchFlows {
    flows: Flows,
    now: Timestamp,
}

impl ScratchFlows {
    const RECORDS: usize = 4096;
    /// Longer than any record lives (NSG-24).
    const AGES: u64 = 3_600_000_000_000;

    pub(super) fn new() -> Self {
        let records = FlowTable::new(FlowLimits { per_nic: Self::RECORDS, total: Self::RECORDS });
        let mappings = NatTable::new(NatLimits { total: Self::RECORDS, ..NatLimits::default() });
        let (fragments, loops) = (FragmentTable::new(), LoopTable::new());
        Self { flows: Flows { records, fragments, mappings, loops }, now: Timestamp(0) }
    }

    /// Copies one flow's live records; the originals are neither changed nor refreshed.
    pub(super) fn of(live: &FlowTable, compiled: &Compiled, flow: &Tuple, now: Timestamp) -> Self {
        let scratch = Self { now, ..Self::new() };
        for (nic, _) in compiled.ids().senders() {
            for direction in [Direction::Outbound, Direction::Inbound] {
                live.copy(nic, direction, flow, now, &scratch.flows.records);
            }
        }
        scratch
    }

    /// Moves the clock so far that every record expires, and removes them while there is still room for one round trip.
    pub(super) fn clear(&mut self) {
        self.now = Timestamp(self.now.0 + Self::AGES);
        if self.flows.records.len() > Self::RECORDS / 2 {
            self.flows.records.expire(self.now, usize::MAX);
        }
        if self.flows.mappings.len() > Self::RECORDS / 2 {
            self.flows.mappings.expire(self.now, usize::MAX, |_| ());
        }
    }
}

/// The interface that a guest sends to a destination from: that of its longest route. Routes are those of the subnets
/// that it has an address in (the first interface of several wins) and its own ones. Without any it is the primary
/// interface, which has the default route (NIC-06, NIC-08).
pub(super) fn egress(network: &Network, vm: VmIx, destination: IpAddr) -> NicIx {
    let machine = network.vm(vm);
    let own = machine.guest_routes.iter().filter(|route| route.prefix.contains(&destination));
    let own = own.map(|route| (route.prefix.prefix_len(), route.nic));
    let nics = machine.network_interfaces.iter().rev();
    let on_link = nics.filter_map(|&nic| Some((on_link(network, nic, destination)?.0.prefix_len(), nic)));
    own.chain(on_link).max_by_key(|(length, _)| *length).map_or_else(|| primary(network, vm), |(_, nic)| nic)
}

/// The range that an interface and a destination share, and the interface's first address in it. The guest does not
/// know the subnet's other ranges.
pub(super) fn on_link(network: &Network, nic: NicIx, destination: IpAddr) -> Option<(IpNet, IpAddr)> {
    let nic = network.nic(nic);
    let mut shared = network.subnet(nic.subnet).prefixes.iter().filter(|range| range.contains(&destination));
    shared.find_map(|range| Some((*range, *nic.addresses.iter().find(|address| range.contains(*address))?)))
}

/// The interface that a guest answers from: its own routes choose it, so it may differ from the one that got the
/// request.
pub(super) fn answering(network: &Network, compiled: &Compiled, arrived: NicId, to: IpAddr) -> NicId {
    // The answer takes the same tunnel back where no circuit leads there.
    let by_circuit = |customer| match outside::sender(network, compiled, customer, Some(to)) {
        Some(port) if matches!(compiled.sender(port), Sender::CircuitLink(..)) => port,
        Some(_) | None => arrived,
    };
    match compiled.sender(arrived) {
        Sender::Nic(nic) => compiled.nic_of(egress(network, network.nic(nic).virtual_machine, to)),
        Sender::Tunnel(tunnel) => network.site_of(tunnel).map_or(arrived, |site| by_circuit(Customer::Site(site))),
        Sender::CircuitLink(circuit, _) => network.customer(circuit).map_or(arrived, by_circuit),
        _ => arrived,
    }
}

/// What a guest does with a packet that it received.
enum Onward {
    Here,
    Nowhere,
    NoHost,
    Out(NicId, GuestStep),
}

/// Whether the guest itself advertised this destination to a route server, so that its own subnet would send the packet
/// back to it. Where the guest then delivers the packet is not modelled (ARS-02).
fn announces(Names { network, compiled }: Names<'_>, arrived: NicId, nic: NicIx, flow: &Tuple) -> bool {
    let fib = compiled.snapshot.nic(arrived).fib_of(flow.protocol);
    let route = compiled.snapshot.fib(fib).lpm.lookup(flow.dst).map(|route| compiled.route(fib, route));
    route.is_some_and(|route| {
        let own = |hop: &IpAddr| network.nic(nic).addresses.contains(hop);
        route.source == RouteSource::VirtualNetworkGateway && route.next_hop_ip.iter().any(own)
    })
}

/// As in Linux: the answer of a masked flow gets its destination back before it is routed, and a new flow's source is
/// masked after routing.
fn onward(names: Names<'_>, arrived: NicId, masks: &mut Masks, packet: &mut Packet<'_>) -> Onward {
    let Names { network, compiled } = names;
    let ix = match compiled.sender(arrived) {
        Sender::Nic(ix) => ix,
        Sender::Tunnel(_) | Sender::CircuitLink(..) | Sender::Segment(..) if !names.owns(arrived, packet.dst()) => {
            return Onward::NoHost;
        }
        _ => return Onward::Here,
    };
    let vm = network.nic(ix).virtual_machine;
    let restored = masks.restore(vm, packet);
    if names.owns(arrived, packet.dst()) || announces(names, arrived, ix, packet.tuple()) {
        return Onward::Here;
    }
    if !network.vm(vm).guest_forwarding {
        return Onward::Nowhere;
    }
    let out = egress(network, vm, packet.dst());
    let step = match restored {
        Some(restored) => restored,
        None if network.vm(vm).guest_masquerade.covers(packet.dst()) => masks.put(vm, network.nic(out), packet),
        None => masks.pass(vm, packet),
    };
    Onward::Out(compiled.nic_of(out), step)
}

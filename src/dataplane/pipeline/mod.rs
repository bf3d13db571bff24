//! One leg of a packet: from the NIC that sends it to the one NIC that receives it, in Azure's order.
//!
//! One idea: [`process`] reads aloud. Each stage is a function that returns its result or the reason to drop, and the
//! next stage takes that result as an argument.
//!
//! ```text
//!  fast path (fast_path/)                        full walk (process)
//!  flow known, no trace                          any other packet, and every packet under a trace
//!  -------------------------------------------   ---------------------------------------------------
//!  from memory                                   check     addresses, protocol, source
//!  asked: sender's record, else admin rules,     admit     sender's record, else admin rules,
//!         NIC NSG, subnet NSG                              NIC NSG, subnet NSG
//!  from memory                                   route     next hop, then load balancer, gateway or edge
//!  asked: port mapping; writes the packet        balance   backend, or the frontend of an answer
//!                                                edge      source NAT out, destination NAT in
//!  from memory                                   cross     the peering's links
//!  asked: receiver's record, else admin rules,   admit     receiver's record, else admin rules,
//!         subnet NSG, NIC NSG                              subnet NSG, NIC NSG
//!  asked: MTU, then new records                  arrive    MTU, then new records
//! ```
//!
//! The fast path calls the same functions for all that it asks. Fragments, protocols without ports, and flows through a
//! gateway, the platform or a balanced next hop always take the full walk. `tests/dataplane/paths.rs` holds both to the
//! same result.
//!
//! A leg creates records only when it is delivered (NSG-22). A record that a packet follows counts it at once, dropped
//! later or not: in Azure the host of a NIC does not see what happens to a packet after it was sent. The packet's
//! bytes, TTL included, stay as they are (FAB-05, UDR-13), except for translation at a load balancer, the edge or a
//! tunnel, and hops counted by gateways. An appliance's guest starts the next leg; nothing marks a packet, so nothing
//! here breaks a loop (FAB-14).

mod admit;
mod balance;
mod check;
mod distributed;
mod edge;
mod fast_path;
mod gateway;
mod idle_reset;
mod nsg;
mod opening;
mod packet_view;
mod passed;
mod platform;
mod route;
mod tunnel_nat;

use crate::wire::{Packet, Transport};

use super::{
    Direction, DropReason, FlowEvent, FlowLimits, FlowRecord, FlowTable, Followed, FragmentTable, Ingress, LoopTable,
    MappingSide, NatLimits, NatTable, NicId, Observer, PortId, Room, Snapshot, Step, TableFull, Timestamp, Trail,
    UsedMapping, Verdict,
};
use admit::Admitted;
use packet_view::PacketView;
use passed::Origin;
use route::{Hop, ResolvedHop};

pub use fast_path::Paths;
pub use idle_reset::{End, reset_end};
pub use nsg::evaluate;
pub use opening::{Opening, opening};

/// The mutable state that workers share.
#[derive(Debug)]
pub struct Flows {
    pub records: FlowTable,
    pub fragments: FragmentTable,
    pub mappings: NatTable,
    pub loops: LoopTable,
}

impl Flows {
    pub fn new(limits: FlowLimits) -> Self {
        let mappings = NatTable::new(NatLimits::default());
        let (records, fragments, loops) = (FlowTable::new(limits), FragmentTable::new(), LoopTable::new());
        Self { records, fragments, mappings, loops }
    }
}

/// Decides one leg of a packet that came in on a port, by the full walk. An appliance's guest starts the next leg.
#[inline]
pub fn process<O: Observer>(
    snapshot: &Snapshot,
    flows: &Flows,
    ingress: PortId,
    now: Timestamp,
    packet: &mut Packet<'_>,
    observer: &mut O,
) -> Verdict {
    observer.packet(packet);
    verdict((Leg { snapshot, flows, now }).forward(ingress, packet, observer), observer)
}

/// Reports the outcome of a leg, and turns it into a verdict.
#[inline]
fn verdict<O: Observer>(outcome: Result<PortId, DropReason>, observer: &mut O) -> Verdict {
    match outcome {
        Ok(port) => {
            observer.step(Step::Delivered { port });
            Verdict::Forward(port)
        }
        Err(reason) => {
            observer.step(Step::Dropped { reason });
            Verdict::Drop(reason)
        }
    }
}

/// A NIC that let a packet pass, the direction, and why.
type Passage = (NicId, Direction, Admitted);

/// Only if the passage has no record yet and its packet starts a flow.
#[inline]
fn lacking<'a, 'p>(passage: Option<(Passage, &'a PacketView<'p>)>) -> Option<(Passage, &'a PacketView<'p>)> {
    passage.filter(|((_, _, admitted), view)| !admitted.has_record() && view.starts_flow())
}

/// An echo that is no fragment. Its identifier is used in place of ports.
fn is_whole_echo(packet: &Packet<'_>) -> bool {
    matches!(packet.transport(), Transport::Echo { .. }) && packet.fragment().is_none()
}

/// What every stage may read.
#[derive(Clone, Copy)]
struct Leg<'a> {
    snapshot: &'a Snapshot,
    flows: &'a Flows,
    now: Timestamp,
}

impl<'a> Leg<'a> {
    #[inline]
    fn forward<O: Observer>(
        self,
        ingress: PortId,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let entry = self.snapshot.ports.get(ingress.0 as usize);
        if let Some(Ingress::Platform { nic, vnet }) = entry {
            return self.leave_platform(*nic, *vnet, packet, observer);
        }
        match check::addresses(packet) {
            Err(DropReason::LinkLocal) if check::is_gateways(self.snapshot, ingress, packet.tuple()) => {}
            checked => checked?,
        }
        check::protocol(packet)?;
        match entry {
            Some(Ingress::Internet) => return self.forward_in(packet, observer),
            Some(Ingress::Tunnel { tunnel, gateway, up }) => {
                return self.come_out(*tunnel, (*gateway, *up), packet, observer);
            }
            Some(Ingress::Nic(_) | Ingress::Vnet(_) | Ingress::Platform { .. } | Ingress::Vacant) | None => {}
        }
        let sender = check::source(self.snapshot, ingress, &packet.tuple().src)?;
        observer.step(Step::Sent { nic: sender });
        let of_first = packet_view::tuple_of_first(packet, sender, &self.flows.fragments, self.now)?;
        let view = PacketView::of(packet, of_first.as_ref(), self.now);

        let admitted_out =
            self.admit(&view.key(sender, Direction::Outbound), sender, Direction::Outbound, &view, observer)?;
        let resolved = self.route((sender, admitted_out), view.tuple, observer)?;
        let through = matches!(resolved, ResolvedHop::Through(_));
        let may_be_followed = fast_path::may_be_known(packet) || !through && is_whole_echo(packet);
        let hop = match resolved {
            ResolvedHop::Nic(hop) => hop,
            ResolvedHop::Platform(nic) => {
                return self.reach_platform(nic, (sender, admitted_out), &view, packet, observer);
            }
            ResolvedHop::Internet(edge) => {
                let departure = self.depart(edge, (sender, admitted_out), &view, packet, observer)?;
                let origin = Origin::of(sender, Some(admitted_out), 0, packet);
                return self.leave(edge, (sender, origin), departure, packet, observer);
            }
            ResolvedHop::Frontend(frontend) => {
                let balanced = self.balance(frontend, sender, &view, packet, observer)?;
                return self.to_backend((sender, admitted_out), balanced, packet, observer);
            }
            ResolvedHop::Through(frontend) => Hop::Appliance(self.through(frontend, &view, observer)?),
            ResolvedHop::Gateway(gateway) => {
                let own = Hop::Endpoint(self.snapshot.gateway(gateway).nic);
                let answer = self.may_answer_far(sender).then(|| self.answer(sender, own, &view, packet)).flatten();
                if let Some(answer) = answer {
                    answer.tell(view.tuple, observer);
                }
                let named = answer.map(|answer| answer.rewritten(view.tuple));
                let named = match (&answer, &named) {
                    (Some(answer), Some(tuple)) => view.rewritten(tuple, |tuple| answer.rewritten(tuple)),
                    (None, _) | (_, None) => view.rewritten(view.tuple, |tuple| *tuple),
                };
                let asked = (&view, &named);
                let passed = self.go_through(gateway, (sender, admitted_out), asked, packet, observer)?;
                let trail = Trail::of(*packet.tuple());
                return Ok(passed.conclude((sender, Some(trail)), answer, packet, observer));
            }
        };
        if self.may_answer(sender, hop)
            && let Some(rewrite) = self.answer(sender, hop, &view, packet)
        {
            return self.pass((sender, admitted_out), rewrite, packet, observer);
        }
        let (port, admitted_in) = self.meet(hop, (sender, admitted_out), (&view, &view), packet, observer)?;
        if may_be_followed && admitted_out.has_record() && admitted_in.has_record() {
            let used = through.then(|| UsedMapping { side: MappingSide::Through, nic: hop.nic() });
            observer.followed(packet, &Followed::between_nics(packet.tuple(), [sender, hop.nic()], used));
        }
        Ok(port)
    }

    /// The far end of a leg: across the peering, through the receiver's filters, to its device. `asked` is the packet
    /// as the sender's NIC sees it, `view` as the receiver's does. Also returns how the receiver's NIC let it pass.
    #[inline]
    fn meet<O: Observer>(
        self,
        hop: Hop,
        (sender, admitted_out): (NicId, Admitted),
        (asked, view): (&PacketView<'_>, &PacketView<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<(PortId, Admitted), DropReason> {
        let receiver = hop.nic();
        let crossing = self.cross(sender, receiver, observer)?;
        crossing.access.leave(admitted_out)?;
        crossing.enter_from(&asked.tuple.src)?;
        observer.step(Step::Arrive { nic: receiver });
        self.deliver(hop, &view.tuple.dst)?;
        let admitted_in =
            self.admit(&view.key(receiver, Direction::Inbound), receiver, Direction::Inbound, view, observer)?;
        crossing.access.enter(admitted_in)?;
        let port = self.arrive_at((sender, admitted_out, asked), (receiver, admitted_in, view), packet, observer)?;
        Ok((port, admitted_in))
    }

    /// The last stage, once both NICs let a packet pass: the size check, and the records of a flow that begins.
    #[inline]
    fn arrive_at<O: Observer>(
        self,
        (sender, admitted_out, asked): (NicId, Admitted, &PacketView<'_>),
        (receiver, admitted_in, view): (NicId, Admitted, &PacketView<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        if !admitted_out.has_record() || !admitted_in.has_record() {
            let out = (sender, Direction::Outbound, admitted_out);
            let inward = (receiver, Direction::Inbound, admitted_in);
            self.commit(Some((out, asked)), Some((inward, view)), observer)?;
        }
        Ok(nic.port)
    }

    /// Creates the records that the leg lacks: all or none.
    #[inline(never)]
    fn commit<O: Observer>(
        self,
        sent: Option<(Passage, &PacketView<'_>)>,
        received: Option<(Passage, &PacketView<'_>)>,
        observer: &mut O,
    ) -> Result<(), DropReason> {
        let (sent, received) = (lacking(sent), lacking(received));
        if sent.is_none() && received.is_none() {
            return Ok(());
        }
        let outbound = sent.map(|((nic, ..), _)| self.reserve(nic, observer)).transpose()?;
        let inbound = received.map(|((nic, ..), _)| self.reserve(nic, observer)).transpose()?;
        for (room, passage) in [(outbound, sent), (inbound, received)] {
            if let (Some(room), Some((passage, view))) = (room, passage) {
                self.begin(room, passage, view, observer);
            }
        }
        Ok(())
    }

    /// Reserves room for one more record of a NIC.
    fn reserve<O: Observer>(self, nic: NicId, observer: &mut O) -> Result<Room<'a>, DropReason> {
        let terms = &self.snapshot.nic(nic).flows;
        let pushed_out = |record: &FlowRecord| {
            let owner = self.snapshot.nics.get(record.nic.0 as usize);
            if owner.is_some_and(|nic| observer.wants_flows(&nic.flows)) {
                observer.flow(&FlowEvent::Ended(*record));
            }
        };
        let room = self.flows.records.reserve(nic, terms, self.now, pushed_out);
        room.map_err(|full| {
            observer.step(Step::NoRoom { nic, full });
            match full {
                TableFull::Nic | TableFull::NicShare => DropReason::FlowLimit,
                TableFull::NetworkShare => DropReason::NetworkFlowLimit,
            }
        })
    }

    /// Creates one NIC's record.
    fn begin<O: Observer>(
        self,
        room: Room<'_>,
        (nic, direction, admitted): Passage,
        view: &PacketView<'_>,
        observer: &mut O,
    ) {
        let Some(rules) = admitted.deciders() else { return };
        let terms = &self.snapshot.nic(nic).flows;
        let before = room.admit(direction, view.tuple, rules, view.passing, terms);
        if observer.wants_flows(terms) {
            if let Some(before) = before {
                observer.flow(&FlowEvent::Ended(before));
            }
            // If another worker created it a moment ago, that worker reports it.
            let record = self.flows.records.find(nic, direction, view.tuple, self.now);
            if let Some(begun) = record.filter(|record| record.begun == self.now) {
                observer.flow(&FlowEvent::Begun(begun));
            }
        }
    }
}

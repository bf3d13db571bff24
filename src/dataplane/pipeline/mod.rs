//! One leg of a packet: from the NIC that sends it to the one NIC that receives it, in Azure's order.
//!
//! One idea: [`process`] reads aloud. Each stage is a function that answers or names the reason to drop; what one stage
//! found is an argument of the next. A leg leaves records only when it is delivered (NSG-22); a record that it follows
//! counts it at once, dropped later or not, as the host of a NIC in Azure does, which does not see what becomes of what it
//! sends. The packet's bytes, its TTL included, are not touched (FAB-05, UDR-13), except where it passes the edge of the
//! fabric. An appliance's guest starts the next leg;
//! nothing marks a packet, so nothing here breaks a loop (FAB-14).

mod admit;
mod balance;
mod check;
mod edge;
mod fast_path;
mod gateway;
mod idle_reset;
mod nsg;
mod packet_view;
mod platform;
mod route;
mod tunnel_nat;

use crate::wire::Packet;

use super::{
    Direction, DropReason, FlowEvent, FlowLimits, FlowRecord, FlowTable, FragmentTable, Ingress, LoopTable, NatLimits,
    NatTable, NicId, Observer, PortId, Room, Snapshot, Step, TableFull, Timestamp, Verdict,
};
use admit::Admitted;
use packet_view::Subject;
use route::{Hop, Way};

pub use fast_path::Paths;
pub use idle_reset::{End, part};
pub use nsg::judge;

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

/// Decides what becomes of a packet that came in on a port. One call is one leg: an appliance's guest starts the next.
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

/// Says what became of a leg.
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

/// A NIC that a packet passed, which way, and why.
type Passage = (NicId, Direction, Admitted);

/// A passage that lacks a record and begins a flow.
#[inline]
fn lacking<'a, 'p>(passage: Option<(Passage, &'a Subject<'p>)>) -> Option<(Passage, &'a Subject<'p>)> {
    passage.filter(|((_, _, admitted), subject)| !admitted.has_record() && subject.starts_flow())
}

/// What every stage may look at.
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
        let subject = Subject::of(packet, of_first.as_ref(), self.now);

        let admitted_out = self.admit(sender, Direction::Outbound, &subject, observer)?;
        let hop = match self.route((sender, admitted_out), subject.tuple, observer)? {
            Way::Within(hop) => hop,
            Way::Platform(nic) => {
                return self.reach_platform(nic, (sender, admitted_out), &subject, packet, observer);
            }
            Way::Internet(edge) => {
                let departure = self.depart(edge, (sender, admitted_out), &subject, packet, observer)?;
                return self.leave(edge, sender, departure, packet, observer);
            }
            Way::Frontend(frontend) => {
                let balanced = self.balance(frontend, sender, &subject, packet, observer)?;
                return self.to_backend((sender, admitted_out), balanced, packet, observer);
            }
            Way::Through(frontend) => Hop::Appliance(self.through(frontend, &subject, observer)?),
            Way::Gateway(gateway) => {
                let own = Hop::Endpoint(self.snapshot.gateway(gateway).nic);
                let answer = self.may_answer_far(sender).then(|| self.answer(sender, own, &subject, packet)).flatten();
                if let Some(answer) = answer {
                    answer.tell(subject.tuple, observer);
                }
                let named = answer.map(|answer| answer.rewritten(subject.tuple));
                let named = match (&answer, &named) {
                    (Some(answer), Some(tuple)) => subject.rewritten(tuple, |tuple| answer.rewritten(tuple)),
                    (None, _) | (_, None) => subject.rewritten(subject.tuple, |tuple| *tuple),
                };
                let asked = (&subject, &named);
                let passed = self.go_through(gateway, (sender, admitted_out), asked, packet, observer)?;
                return Ok(passed.write(answer, packet));
            }
        };
        if self.may_answer(sender, hop)
            && let Some(rewrite) = self.answer(sender, hop, &subject, packet)
        {
            return self.pass((sender, admitted_out), rewrite, packet, observer);
        }
        self.meet(hop, (sender, admitted_out), (&subject, &subject), packet, observer)
    }

    /// The far end of a leg: over the peering, through its filters, onto its device. The packet as its sender's NIC knows
    /// it, and as the receiver's does.
    #[inline]
    fn meet<O: Observer>(
        self,
        hop: Hop,
        (sender, admitted_out): (NicId, Admitted),
        (asked, subject): (&Subject<'_>, &Subject<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let receiver = hop.nic();
        let crossing = self.cross(sender, receiver, observer)?;
        crossing.access.leave(admitted_out)?;
        crossing.enter_from(&asked.tuple.src)?;
        observer.step(Step::Arrive { nic: receiver });
        self.deliver(hop, &subject.tuple.dst)?;
        let admitted_in = self.admit(receiver, Direction::Inbound, subject, observer)?;
        crossing.access.enter(admitted_in)?;
        self.arrive_at((sender, admitted_out, asked), (receiver, admitted_in, subject), packet, observer)
    }

    /// What is left once both NICs let a packet pass: whether it fits, and the records of a flow that begins.
    #[inline]
    fn arrive_at<O: Observer>(
        self,
        (sender, admitted_out, asked): (NicId, Admitted, &Subject<'_>),
        (receiver, admitted_in, subject): (NicId, Admitted, &Subject<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        if !admitted_out.has_record() || !admitted_in.has_record() {
            let out = (sender, Direction::Outbound, admitted_out);
            let inward = (receiver, Direction::Inbound, admitted_in);
            self.commit(Some((out, asked)), Some((inward, subject)), observer)?;
        }
        Ok(nic.port)
    }

    /// Makes the records that the leg lacks: all or none.
    #[inline(never)]
    fn commit<O: Observer>(
        self,
        sent: Option<(Passage, &Subject<'_>)>,
        received: Option<(Passage, &Subject<'_>)>,
        observer: &mut O,
    ) -> Result<(), DropReason> {
        let (sent, received) = (lacking(sent), lacking(received));
        if sent.is_none() && received.is_none() {
            return Ok(());
        }
        let outbound = sent.map(|((nic, ..), _)| self.reserve(nic, observer)).transpose()?;
        let inbound = received.map(|((nic, ..), _)| self.reserve(nic, observer)).transpose()?;
        for (room, passage) in [(outbound, sent), (inbound, received)] {
            if let (Some(room), Some((passage, subject))) = (room, passage) {
                self.begin(room, passage, subject, observer);
            }
        }
        Ok(())
    }

    /// Room for one more record of a NIC.
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

    /// Makes one NIC's record.
    fn begin<O: Observer>(
        self,
        room: Room<'_>,
        (nic, direction, admitted): Passage,
        subject: &Subject<'_>,
        observer: &mut O,
    ) {
        let Some(rules) = admitted.deciders() else { return };
        let terms = &self.snapshot.nic(nic).flows;
        let before = room.admit(direction, subject.tuple, rules, subject.passing, terms);
        if observer.wants_flows(terms) {
            if let Some(before) = before {
                observer.flow(&FlowEvent::Ended(before));
            }
            // One that another worker began a moment ago is its to tell.
            let record = self.flows.records.find(nic, direction, subject.tuple, self.now);
            if let Some(begun) = record.filter(|record| record.begun == self.now) {
                observer.flow(&FlowEvent::Begun(begun));
            }
        }
    }
}

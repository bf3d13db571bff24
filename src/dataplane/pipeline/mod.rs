//! One leg of a packet: from the NIC that sends it to the one NIC that receives it, in Azure's order.
//!
//! One idea: [`process`] reads aloud. Each stage is a function that answers or names the reason to drop; what one stage
//! found is an argument of the next. A leg leaves records only when it is delivered (NSG-22). The packet's bytes, its TTL
//! included, are not touched (FAB-05, UDR-13). An appliance's guest starts the next leg; nothing marks a packet, so
//! nothing here breaks a loop (FAB-14).

mod admit;
mod check;
mod route;
mod subject;

use self::admit::Admitted;
use self::subject::Subject;
use super::{
    Direction, DropReason, FlowLimits, FlowTable, FragmentTable, NicId, Observer, PortId, Snapshot, Step, Timestamp,
    Verdict,
};
use crate::wire::Packet;

/// The mutable state that workers share.
#[derive(Debug)]
pub struct Flows {
    pub records: FlowTable,
    pub fragments: FragmentTable,
}

impl Flows {
    pub fn new(limits: FlowLimits) -> Self {
        Self { records: FlowTable::new(limits), fragments: FragmentTable::new() }
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
    match (Leg { snapshot, flows, now }).forward(ingress, packet, observer) {
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

/// What every stage may look at.
#[derive(Clone, Copy)]
struct Leg<'a> {
    snapshot: &'a Snapshot,
    flows: &'a Flows,
    now: Timestamp,
}

impl Leg<'_> {
    #[inline]
    fn forward<O: Observer>(
        self,
        ingress: PortId,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        check::addresses(packet)?;
        check::protocol(packet)?;
        let sender = check::source(self.snapshot, ingress, &packet.tuple().src)?;
        observer.step(Step::Sent { nic: sender });
        let of_first = subject::tuple_of_first(packet, sender, &self.flows.fragments, self.now)?;
        let subject = Subject::of(packet, of_first.as_ref());

        let admitted_out = self.admit(sender, Direction::Outbound, &subject, observer)?;
        let hop = self.route(sender, subject.tuple, observer)?;
        let receiver = hop.nic();
        let crossing = self.cross(sender, receiver, observer)?;
        crossing.leave(admitted_out)?;
        crossing.enter_from(&subject.tuple.src)?;
        observer.step(Step::Arrive { nic: receiver });
        self.deliver(hop, &subject.tuple.dst)?;
        let admitted_in = self.admit(receiver, Direction::Inbound, &subject, observer)?;
        crossing.enter(admitted_in)?;

        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        self.commit((sender, admitted_out), (receiver, admitted_in), &subject)?;
        Ok(nic.port)
    }

    /// Makes the records that the leg lacks: both or none.
    #[inline]
    fn commit(
        self,
        (sender, admitted_out): (NicId, Admitted),
        (receiver, admitted_in): (NicId, Admitted),
        subject: &Subject<'_>,
    ) -> Result<(), DropReason> {
        if !subject.starts_flow() || (admitted_out.has_record() && admitted_in.has_record()) {
            return Ok(());
        }
        let room =
            |nic, admitted: Admitted| (!admitted.has_record()).then(|| self.flows.records.reserve(nic)).transpose();
        let outbound = room(sender, admitted_out).map_err(|_| DropReason::FlowLimit)?;
        let inbound = room(receiver, admitted_in).map_err(|_| DropReason::FlowLimit)?;
        for (room, nic, direction) in [(outbound, sender, Direction::Outbound), (inbound, receiver, Direction::Inbound)]
        {
            let Some(room) = room else { continue };
            let timeout_secs = self.snapshot.nic(nic).flow_timeout_secs;
            room.admit(direction, subject.tuple, timeout_secs, subject.traffic, self.now);
        }
        Ok(())
    }
}

//! One leg of a packet: from the NIC that sends it to the one NIC that receives it, in Azure's order.
//!
//! One idea: [`process`] reads aloud. Each stage is a function that answers or names the reason to drop; what one stage
//! found is an argument of the next. A leg leaves records only when it is delivered (NSG-22); a record that it follows
//! counts it at once, dropped later or not, as the host of a NIC in Azure does, which does not see what becomes of what it
//! sends. The packet's bytes, its TTL included, are not touched (FAB-05, UDR-13). An appliance's guest starts the next leg;
//! nothing marks a packet, so nothing here breaks a loop (FAB-14).

mod admit;
mod check;
mod judge;
mod route;
mod subject;

use self::admit::Admitted;
pub use self::judge::judge;
use self::subject::Subject;
use super::{
    Direction, DropReason, FlowEvent, FlowLimits, FlowTable, FragmentTable, NicId, Observer, PortId, Room, Snapshot,
    Step, Timestamp, Verdict,
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
        let subject = Subject::of(packet, of_first.as_ref(), self.now);

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
        self.commit((sender, admitted_out), (receiver, admitted_in), &subject, observer)?;
        Ok(nic.port)
    }

    /// Makes the records that the leg lacks: both or none.
    #[inline]
    fn commit<O: Observer>(
        self,
        (sender, admitted_out): (NicId, Admitted),
        (receiver, admitted_in): (NicId, Admitted),
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<(), DropReason> {
        if !subject.starts_flow() || (admitted_out.has_record() && admitted_in.has_record()) {
            return Ok(());
        }
        let room =
            |nic, admitted: Admitted| (!admitted.has_record()).then(|| self.flows.records.reserve(nic)).transpose();
        let outbound = room(sender, admitted_out).map_err(|_| DropReason::FlowLimit)?;
        let inbound = room(receiver, admitted_in).map_err(|_| DropReason::FlowLimit)?;
        self.begin(outbound, sender, Direction::Outbound, admitted_out, subject, observer);
        self.begin(inbound, receiver, Direction::Inbound, admitted_in, subject, observer);
        Ok(())
    }

    /// Makes one NIC's record, if it needs one.
    fn begin<O: Observer>(
        self,
        room: Option<Room<'_>>,
        nic: NicId,
        direction: Direction,
        admitted: Admitted,
        subject: &Subject<'_>,
        observer: &mut O,
    ) {
        let (Some(room), Some(rules)) = (room, admitted.deciders()) else { return };
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

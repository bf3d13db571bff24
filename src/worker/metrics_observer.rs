//! The worker's observer of the pipeline: it counts rules, reports flow events and logs drops.

use crate::dataplane::{
    Admission, DropReason, FlowEvent, FlowTerms, Followed, NicId, Observer, PortId, RuleId, Snapshot, Step, Timestamp,
};
use crate::wire::Packet;

use super::counters::Tally;
use super::drop_log::Dropped;
use super::flow_events::FlowEvents;
use super::leg::Leg;

/// The packet path's observer; for a packet that follows flow records it does nothing.
pub(super) struct Witness<'a> {
    snapshot: &'a Snapshot,
    tally: &'a Tally,
    events: &'a FlowEvents,
    /// A listener wants the events of all flows.
    followed: bool,
    /// The port of the packets, and the time.
    ingress: PortId,
    now: Timestamp,
    /// The NIC and rule that denied the packet; its drop follows.
    by: Option<(NicId, Option<RuleId>)>,
    /// The port of the NIC that had no port left for the packet's flow; its drop follows.
    exhausted: Option<PortId>,
    /// Whether the kernel may carry flows of this port, and the packet's leg if it went by tables and records
    /// alone.
    handing_over: bool,
    pub(super) leg: Option<Leg>,
}

impl<'a> Witness<'a> {
    /// For the packets of one batch, from this port at this time.
    pub(super) fn new(
        snapshot: &'a Snapshot,
        tally: &'a Tally,
        events: &'a FlowEvents,
        (ingress, now): (PortId, Timestamp),
        handing_over: bool,
    ) -> Self {
        let followed = events.followed();
        let (by, exhausted, leg) = (None, None, None);
        Self { snapshot, tally, events, followed, ingress, now, by, exhausted, handing_over, leg }
    }
}

impl Observer for Witness<'_> {
    #[inline]
    fn step(&mut self, step: Step) {
        match step {
            Step::Admit { nic, admission: Admission::Rule { acl, rule, allow, .. }, .. } => {
                let rule = self.snapshot.acl(acl).id(rule);
                if let Some(rule) = rule {
                    self.tally.rules().hit(rule);
                }
                if !allow {
                    self.by = Some((nic, rule));
                }
            }
            Step::Admit { nic, admission: Admission::Refused, .. } | Step::NoRoom { nic, .. } => {
                self.by = Some((nic, None));
            }
            Step::NoPort { nic } => {
                let own = self.snapshot.nic(nic).port;
                self.exhausted = Some(if own == PortId::NONE { self.ingress } else { own });
            }
            _ => {}
        }
    }

    #[cold]
    fn dropped(&mut self, packet: &Packet<'_>, reason: DropReason) {
        let (ingress, by, last) = (self.ingress, self.by.take(), self.now);
        let (tuple, packets) = (*packet.tuple(), packet.segments().into());
        if let Some(port) = self.exhausted.take() {
            self.tally.port(port).found_no_port(tuple.protocol, packets);
        }
        self.tally.dropped().note(Dropped { ingress, reason, by, tuple, packets, last });
    }

    #[inline]
    fn followed(&mut self, packet: &Packet<'_>, followed: &Followed<'_>) {
        if self.handing_over {
            self.leg = Some(Leg::of(packet, followed));
        }
    }

    #[inline]
    fn wants_flows(&self, terms: &FlowTerms) -> bool {
        terms.logged || self.followed
    }

    #[cold]
    fn flow(&mut self, event: &FlowEvent) {
        self.events.tell(*event, self.snapshot.nic(event.nic()).flows.logged);
    }
}

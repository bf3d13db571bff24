//! One leg of a packet. (interface; bodies to come)
use super::{FlowLimits, FlowTable, FragmentTable, Observer, PortId, Snapshot, Timestamp, Verdict};
use crate::wire::Packet;

/// The mutable state that workers share.
#[derive(Debug)]
pub struct Flows {
    pub records: FlowTable,
    pub fragments: FragmentTable,
}

#[allow(unused_variables, clippy::todo)]
impl Flows {
    pub fn new(limits: FlowLimits) -> Self {
        todo!()
    }
}

/// Decides what becomes of a packet that came in on a port. One call is one leg: an appliance's guest starts the next.
#[allow(clippy::todo)]
pub fn process<O: Observer>(
    _snapshot: &Snapshot,
    _flows: &Flows,
    _ingress: PortId,
    _now: Timestamp,
    _packet: &mut Packet<'_>,
    _observer: &mut O,
) -> Verdict {
    todo!()
}

//! What the pipeline reports of packets that followed records, mappings and tables alone: others carry their flows by that.

use vnet::dataplane::{Direction, Followed, FollowedMapping, MappingSide, NicId, Snapshot};

use super::*;

/// A packet that went so.
#[derive(Clone, Copy)]
pub(super) struct Report {
    sent: Tuple,
    delivered: Tuple,
    sender: NicId,
    receiver: NicId,
    mapping: Option<MappingSide>,
}

impl Report {
    pub(super) fn new(packet: &Packet<'_>, followed: &Followed<'_>) -> Self {
        let Followed { sent, sender, receiver, mapping } = *followed;
        Self { sent: *sent, delivered: *packet.tuple(), sender, receiver, mapping }
    }

    /// It must name the records and the mapping that there are, or what is carried by it would be lost to them.
    pub(super) fn check(&self, snapshot: &Snapshot, flows: &Flows, now: Timestamp, (before, after): (&Tuple, &Tuple)) {
        let Self { sent, delivered, sender, receiver, mapping } = self;
        assert_eq!((sent, delivered), (before, after));
        let internet = snapshot.edge.as_ref().map(|edge| edge.internet);
        for (nic, direction, tuple) in [(sender, Direction::Outbound, sent), (receiver, Direction::Inbound, delivered)]
        {
            let record = flows.records.find(*nic, direction, tuple, now);
            assert_eq!(record.is_some_and(|record| !record.refused), Some(*nic) != internet, "{direction:?} {tuple:?}");
        }
        // An address alone is translated without one.
        let ports = |tuple: &Tuple| (tuple.src_port, tuple.dst_port);
        assert!(mapping.is_some() || ports(sent) == ports(delivered), "{sent:?} as {delivered:?}");
        if let Some(side) = *mapping {
            let followed = FollowedMapping { side, sender: *sender, receiver: *receiver, sent, delivered };
            assert!(flows.mappings.idle_secs(&followed, now).is_some(), "{side:?}: {sent:?} as {delivered:?}");
        }
    }
}

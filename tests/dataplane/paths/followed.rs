//! What the pipeline reports of packets that followed records, mappings and tables alone: others carry their flows by that.

use std::iter::zip;

use vnet::dataplane::{Direction, Followed, FollowedMapping, NicId, UsedMapping};

use super::*;

/// A packet that went so.
#[derive(Clone, Copy)]
pub(super) struct Report {
    sent: Tuple,
    delivered: Tuple,
    sender: NicId,
    receiver: NicId,
    recorded: [bool; 2],
    mappings: [Option<UsedMapping>; 2],
    between: Option<Tuple>,
    hops: u8,
    /// As it is delivered.
    ttl: u8,
}

impl Report {
    pub(super) fn new(packet: &Packet<'_>, followed: &Followed<'_>) -> Self {
        let Followed { sent, sender, receiver, recorded, mappings, between, hops } = *followed;
        let (sent, delivered, ttl) = (*sent, *packet.tuple(), packet.ttl());
        Self { sent, delivered, sender, receiver, recorded, mappings, between, hops, ttl }
    }

    pub(super) const fn is_mapped(&self) -> bool {
        self.mappings[0].is_some() || self.mappings[1].is_some()
    }

    /// It must name the records and mappings that there are, or what is carried by it would be lost to them.
    pub(super) fn check(&self, flows: &Flows, now: Timestamp, (before, after): (&Tuple, &Tuple), ttl: u8) {
        let Self { sent, delivered, sender, receiver, recorded, mappings, between, hops, .. } = self;
        assert_eq!((sent, delivered, self.ttl + hops), (before, after, ttl));
        let ends = [(sender, Direction::Outbound, sent), (receiver, Direction::Inbound, delivered)];
        for ((nic, direction, tuple), recorded) in ends.into_iter().zip(recorded) {
            let record = flows.records.find(*nic, direction, tuple, now);
            assert_eq!(record.is_some_and(|record| !record.refused), *recorded, "{direction:?} {tuple:?}");
        }
        // Addresses alone are translated without one, and so are ports by a tunnel's rules.
        let ports = |tuple: &Tuple| (tuple.src_port, tuple.dst_port);
        let by_rules = *hops > 0;
        assert!(self.is_mapped() || by_rules || ports(sent) == ports(delivered), "{sent:?} as {delivered:?}");
        let ways = match between {
            Some(between) => [(sent, between), (between, delivered)],
            None => [(sent, delivered); 2],
        };
        for (used, (before, after)) in zip(mappings, ways) {
            let Some(used) = *used else { continue };
            let followed = FollowedMapping { used, before, after };
            assert!(flows.mappings.idle_secs(&followed, now).is_some(), "{used:?}: {before:?} as {after:?}");
        }
    }
}

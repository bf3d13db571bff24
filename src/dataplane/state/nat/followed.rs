//! Mappings of flows that the kernel carries: it asks how long a mapping lives, and reports the packets that used it.
//!
//! One idea: a packet before and after its translation names its mapping, so nothing else has to be kept.

use crate::dataplane::tables::balancer::sorted;
use crate::dataplane::{Signal, Timestamp, UsedMapping};
use crate::wire::Tuple;

use super::{Mapped, MappingLookup, NatTable, TcpSegment};

/// The side from which a packet met its mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingSide {
    /// From its NIC: the source is translated.
    Inside,
    /// From the far end: the destination is translated, or stays as it is (LB-20).
    Outside,
    /// From either end, through a balancer before appliances: nothing is translated (LB-32).
    Through,
}

/// A mapping, and a flow that follows it: before its translation, and after.
#[derive(Clone, Copy, Debug)]
pub struct FollowedMapping<'a> {
    pub used: UsedMapping,
    pub before: &'a Tuple,
    pub after: &'a Tuple,
}

impl FollowedMapping<'_> {
    /// Its mapping, and the flow as the mapping is looked up from that side.
    fn mapped(&self) -> (Mapped, Tuple) {
        let Self { used: UsedMapping { side, nic }, before, after } = *self;
        let source = |tuple: &Tuple| (tuple.src, tuple.src_port);
        let (private, public, flow) = match side {
            MappingSide::Inside => (source(before), source(after), *before),
            MappingSide::Outside => {
                let flow = before.mirrored();
                (source(&after.mirrored()), source(&flow), flow)
            }
            MappingSide::Through => {
                let flow = sorted(before);
                (source(&flow), source(&flow), flow)
            }
        };
        (Mapped { nic, private, public }, flow)
    }
}

impl NatTable {
    /// Seconds without a packet after which a flow's mapping ends; None if it has ended.
    pub fn idle_secs(&self, followed: &FollowedMapping<'_>, now: Timestamp) -> Option<u16> {
        let (mapped, flow) = followed.mapped();
        let lookup = self.lookup(followed.used.side, &mapped, &flow, (None, now))?;
        if flow.src.is_ipv4() {
            self.v4.idle_secs(followed.used.side, &mapped, &lookup)
        } else {
            self.v6.idle_secs(followed.used.side, &mapped, &lookup)
        }
    }

    /// Notes that a flow's packets went on, the last one at `last`, and the sequence number that their sender expects
    /// next. False if the mapping has ended.
    pub fn refresh(&self, followed: &FollowedMapping<'_>, last: Timestamp, expects: Option<u32>) -> bool {
        let (mapped, flow) = followed.mapped();
        let Some(lookup) = self.lookup(followed.used.side, &mapped, &flow, (expects, last)) else { return false };
        if flow.src.is_ipv4() {
            self.v4.refresh(followed.used.side, &mapped, &lookup)
        } else {
            self.v6.refresh(followed.used.side, &mapped, &lookup)
        }
    }

    fn lookup<'a>(
        &self,
        side: MappingSide,
        mapped: &Mapped,
        flow: &'a Tuple,
        (expects, now): (Option<u32>, Timestamp),
    ) -> Option<MappingLookup<'a>> {
        let segment = TcpSegment { signal: Signal::NONE, expects };
        match side {
            MappingSide::Inside => self.lookup_inside(mapped.nic, flow, segment, now),
            MappingSide::Outside | MappingSide::Through => self.lookup_outside(flow, segment, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{BalancedFlow, ExpiredConnection, IdleReset, NatLimits, NicId, Outbound, PortPool, Ports};
    use crate::wire::Protocol;

    const NIC: NicId = NicId(3);
    const ACK: u8 = 0x10;

    fn tuple(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Tuple {
        Tuple { src: src.into(), dst: dst.into(), protocol: Protocol::TCP, src_port, dst_port }
    }

    const fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn acknowledges() -> TcpSegment {
        TcpSegment { signal: Signal::from_flags(ACK), expects: None }
    }

    /// A mapping, and its flow in both directions: before and after.
    struct Case {
        table: NatTable,
        there: (MappingSide, [Tuple; 2]),
        back: (MappingSide, [Tuple; 2]),
    }

    impl Case {
        fn followed((side, [before, after]): &(MappingSide, [Tuple; 2])) -> FollowedMapping<'_> {
            FollowedMapping { used: UsedMapping { side: *side, nic: NIC }, before, after }
        }

        /// The connections that get a reset because their mappings have expired.
        fn expired(&self, now: u64) -> Vec<ExpiredConnection> {
            let mut expired = Vec::new();
            self.table.expire(at(now), usize::MAX, |connection| expired.push(*connection));
            expired
        }
    }

    /// From a machine to the Internet by a port of a pool.
    fn leaving() -> Case {
        let table = NatTable::new(NatLimits::default());
        let ports = Box::new([Ports::all([203, 0, 113, 1].into())]);
        let idle_reset = IdleReset::BothEnds;
        let pool = PortPool { ports, preallocated: false, echoes: false, tcp_idle_secs: 240, idle_reset };
        let sent = tuple([10, 0, 0, 4], 40_000, [198, 18, 0, 1], 443);
        let outbound = Outbound { nic: NIC, flow: &sent, pool: &pool, segment: acknowledges(), now: at(0) };
        let mapped = table.open(&outbound).and_then(Result::ok).expect("there is a port");
        let (src, src_port) = mapped.public;
        let delivered = Tuple { src, src_port, ..sent };
        let there = (MappingSide::Inside, [sent, delivered]);
        let back = (MappingSide::Outside, [delivered.mirrored(), sent.mirrored()]);
        Case { table, there, back }
    }

    /// From a client to a load balancer's backend.
    fn balanced() -> Case {
        let table = NatTable::new(NatLimits::default());
        let sent = tuple([10, 0, 1, 4], 40_000, [10, 0, 0, 100], 80);
        let delivered = Tuple { dst: [10, 0, 0, 4].into(), dst_port: 8080, ..sent };
        let (outside, private) = (&sent.mirrored(), (delivered.dst, delivered.dst_port));
        let flow = BalancedFlow {
            nic: NIC,
            outside,
            private,
            idle_secs: 240,
            resets: true,
            segment: acknowledges(),
            now: at(0),
        };
        assert_eq!(table.map_balanced(&flow), Ok(()));
        let there = (MappingSide::Outside, [sent, delivered]);
        let back = (MappingSide::Inside, [delivered.mirrored(), sent.mirrored()]);
        Case { table, there, back }
    }

    #[test]
    fn nat_04_lb_25_a_mapping_lives_as_long_as_its_packets_go_anywhere() {
        for case in [leaving, balanced] {
            for back in [false, true] {
                let case = case();
                let followed = Case::followed(if back { &case.back } else { &case.there });
                assert_eq!(case.table.idle_secs(&followed, at(240)), Some(240));
                assert!(case.table.refresh(&followed, at(200), None));
                assert!(case.table.refresh(&followed, at(100), None), "an earlier packet changes nothing");
                assert_eq!(case.table.idle_secs(&followed, at(440)), Some(240));
                assert_eq!(case.table.idle_secs(&followed, at(441)), None);
                let other = FollowedMapping { used: UsedMapping { nic: NicId(5), ..followed.used }, ..followed };
                assert_eq!(case.table.idle_secs(&other, at(1)), None, "another interface's");
                assert!(!case.table.refresh(&other, at(1), None));
            }
        }
    }

    #[test]
    fn lb_25_both_ends_get_the_numbers_that_they_acknowledged_last() {
        for (case, near) in [(leaving as fn() -> Case, true), (balanced, false)] {
            let case = case();
            assert!(case.table.refresh(&Case::followed(&case.there), at(1), Some(5)));
            assert!(case.table.refresh(&Case::followed(&case.back), at(2), Some(9)));
            let expired = case.expired(1000);
            let (there, back) = (Some(5), Some(9));
            let numbers = if near { (there, back) } else { (back, there) };
            let found: Vec<_> = expired.iter().map(|end| (end.near_expects, end.far_expects)).collect();
            assert_eq!(found, [numbers]);
        }
    }

    #[test]
    fn lb_32_a_flow_through_an_appliance_has_one_mapping_for_both_directions() {
        let table = NatTable::new(NatLimits::default());
        let sent = tuple([10, 0, 2, 4], 40_000, [10, 0, 1, 4], 80);
        let ends = sorted(&sent);
        let private = (ends.src, ends.src_port);
        let segment = acknowledges();
        let flow =
            BalancedFlow { nic: NIC, outside: &ends, private, idle_secs: 240, resets: false, segment, now: at(0) };
        assert_eq!(table.map_balanced(&flow), Ok(()));
        for sent in [sent, sent.mirrored()] {
            let way = (MappingSide::Through, [sent, sent]);
            assert_eq!(table.idle_secs(&Case::followed(&way), at(1)), Some(240));
        }
    }
}

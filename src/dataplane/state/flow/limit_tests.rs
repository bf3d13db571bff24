//! How many flow records interfaces and networks have, and which give way (NSG-26).

#![allow(clippy::unwrap_used, reason = "tests")]

use super::tests::{admit, at, flood, follows, of_network, plain, terms, tuple};
use super::*;

#[test]
fn nsg_26_a_full_nic_refuses_new_flows_and_harms_no_other() {
    let table = FlowTable::new(FlowLimits { per_nic: 3, total: 50 });
    for port in 1..=3 {
        admit(&table, NicId(0), port, 240, at(0)).unwrap();
    }
    assert_eq!(admit(&table, NicId(0), 4, 240, at(60)), Err(TableFull::Nic), "and no other gives way for it");
    admit(&table, NicId(1), 1, 240, at(0)).unwrap();
    assert!((1..=3).all(|port| follows(&table, NicId(0), port, at(1))), "established flows go on");
    assert_eq!(table.len(), 4);
}

#[test]
fn nsg_26_flows_that_there_is_room_for_get_their_records_at_both_ends() {
    for (per_nic, total, room) in [(10, 1_000, 10), (1_000, 400, 133)] {
        let table = FlowTable::new(FlowLimits { per_nic, total });
        let has_room = |flows| table.has_room(NicId(0), of_network(NicId(0), 240).share, flows);
        assert!((0..=room).all(has_room) && !(room + 1..room + 50).any(has_room));
        for port in 0..room as u16 {
            assert!([0, 1].iter().all(|nic| admit(&table, NicId(*nic), port, 240, at(0)).is_ok()));
        }
        assert!(!has_room(1));
    }
}

#[test]
fn nsg_26_no_nic_takes_the_last_quarter() {
    let table = FlowTable::new(FlowLimits { per_nic: 1_000, total: 400 });
    let [first, second, other] = [NicId(0), NicId(1), NicId(2)];
    let (gone, refused) = flood(&table, first, 0..1_000, at(0));
    assert!(gone.is_empty(), "a second has not gone by, so each may yet be answered");
    assert_eq!(table.len_of(first), 240, "3 of the 5 parts that leave a NIC as many as its network has beyond it");
    assert_eq!(refused, [TableFull::NicShare; 760]);
    admit(&table, second, 1, 240, at(0)).unwrap();
    flood(&table, second, 2..1_000, at(0));
    assert!(table.len_of(first) + table.len_of(second) <= 300, "three quarters");
    let (_, refused) = flood(&table, other, 0..50, at(0));
    assert!(refused.is_empty(), "another network finds room");
    // However many try.
    for nic in (0..100).map(|n| NicId(n % 4)) {
        flood(&table, nic, 1_000..1_100, at(0));
    }
    assert!(table.len() < 400 && (0..4).all(|nic| table.len_of(NicId(nic)) > 10), "each has something");
}

#[test]
fn nsg_26_a_network_at_its_limit_is_named_as_such() {
    let table = FlowTable::new(FlowLimits { per_nic: 1_000, total: 8 });
    let shared = FlowTerms::default();
    let reserve = |nic| table.reserve(NicId(nic), &shared, at(0), |_| {}).map(std::mem::forget);
    assert!((0..5).all(|nic| reserve(nic).is_ok()));
    assert_eq!(reserve(5), Err(TableFull::NetworkShare), "a NIC with none is not to blame");
}

#[test]
fn nsg_26_the_oldest_flow_without_an_answer_makes_room() {
    let table = FlowTable::new(FlowLimits { per_nic: 1_000, total: 400 });
    let [nic, other] = [NicId(0), NicId(2)];
    let (_, refused) = flood(&table, other, 0..20, at(0));
    assert!(refused.is_empty());
    let mut last = 0;
    for second in 0..10 {
        last = (second as u16 + 1) * 20;
        assert_eq!(flood(&table, nic, last - 20..last, at(second)), (vec![], vec![]));
    }
    // One was answered, and one goes on.
    let answer = table.follow(nic, Direction::Inbound, &tuple(3).mirrored(), plain(at(1)), &terms(240));
    assert_eq!(answer, Follow::Passes);
    assert!(follows(&table, nic, 5, at(10)));
    let (gone, refused) = flood(&table, nic, last..300, at(10));
    let ports: Vec<u16> = gone.iter().map(|record| record.tuple.src_port).collect();
    assert!(ports.len() > 60 && ports.is_sorted() && ports.iter().all(|port| *port < 200), "{ports:?}");
    assert!(refused.len() <= 3, "the hand passes other records: {}", refused.len());
    assert!(table.find(nic, Direction::Outbound, &tuple(0), at(10)).is_none(), "the oldest went");
    assert!(follows(&table, nic, 3, at(10)) && follows(&table, nic, 5, at(10)));
    assert_eq!(table.len_of(other), 20, "other networks lose nothing");
    assert!(table.find(nic, Direction::Outbound, &tuple(299), at(10)).is_some(), "the newest is there");
}

#[test]
fn nsg_26_a_flow_without_an_answer_gives_way_after_a_second_and_not_before() {
    let filled = || {
        let table = FlowTable::new(FlowLimits { per_nic: 1_000, total: 400 });
        let (gone, _) = flood(&table, NicId(0), 0..400, at(5));
        assert!(gone.is_empty());
        table
    };
    let pushed_out = |now| flood(&filled(), NicId(0), 400..401, now).0.len();
    assert_eq!(pushed_out(Timestamp(at(6).0 - 1)), 0);
    assert_eq!(pushed_out(at(6)), 1);
}

//! Mappings by hand: limits, idle times and hold-downs.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::wire::Protocol;

use super::family::{DRAWS, choose, draw};
use super::mapping::{End, Mapping, Remote};
use super::vacancy::{LOOKS, Range, Vacancies};
use super::*;

const NIC: NicId = NicId(3);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

fn pool(addresses: u8) -> PortPool {
    let ports = (1..=addresses).map(|n| Ports::all([203, 0, 113, n].into())).collect();
    PortPool { ports, preallocated: false, echoes: false, tcp_idle_secs: 240, idle_reset: IdleReset::OnNextPacket }
}

fn flow(protocol: Protocol, src_port: u16, dst: u8) -> Tuple {
    let (src, dst) = (IpAddr::from([10, 0, 0, 4]), IpAddr::from([198, 18, 0, dst]));
    Tuple { src, dst, protocol, src_port, dst_port: 443 }
}

fn segment(flags: u8) -> TcpSegment {
    TcpSegment { signal: Signal::from_flags(flags), expects: None }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

struct Lab {
    table: NatTable,
    pool: PortPool,
}

impl Lab {
    fn new(limits: NatLimits, addresses: u8) -> Self {
        Self { table: NatTable::new(limits), pool: pool(addresses) }
    }

    fn open(&self, flow: &Tuple, flags: u8, now: u64) -> Result<Mapped, PortsExhausted> {
        let segment = if flow.protocol == Protocol::TCP { segment(flags) } else { TcpSegment::NONE };
        self.table.open(&Outbound { nic: NIC, flow, pool: &self.pool, segment, now: at(now) }).unwrap()
    }

    fn leave(&self, flow: &Tuple, flags: u8, now: u64) -> Option<Mapped> {
        leave(&self.table, NIC, flow, segment(flags), at(now))
    }

    /// The answer to a mapped flow.
    fn enter(&self, flow: &Tuple, mapped: Mapped, flags: u8, now: u64) -> Option<Mapped> {
        let public = Tuple { src: mapped.public.0, src_port: mapped.public.1, ..*flow };
        self.table.enter(&self.table.lookup_outside(&public, segment(flags), at(now)).unwrap())
    }
}

fn leave(table: &NatTable, nic: NicId, flow: &Tuple, segment: TcpSegment, now: Timestamp) -> Option<Mapped> {
    table.leave(nic, &table.lookup_inside(nic, flow, segment, now).unwrap(), |_| true)
}

#[test]
fn a_mapping_is_found_from_both_sides_and_by_no_other_flow() {
    let lab = Lab::new(NatLimits::default(), 1);
    let web = flow(Protocol::TCP, 40_000, 1);
    let mapped = lab.open(&web, SYN, 0).unwrap();
    assert!(mapped.public.1 >= FIRST_PORT);
    assert_eq!(lab.leave(&web, ACK, 1), Some(mapped));
    assert_eq!(lab.enter(&web, mapped, ACK, 1), Some(mapped));
    let elsewhere = flow(Protocol::TCP, 40_000, 2);
    assert_eq!(lab.leave(&elsewhere, ACK, 1), None);
    assert_eq!(lab.enter(&elsewhere, mapped, ACK, 1), None, "unsolicited: another remote (NAT-03)");
    assert_eq!(leave(&lab.table, NicId(4), &web, TcpSegment::NONE, at(1)), None, "another NIC of the same address");
}

#[test]
fn nat_02_flows_to_one_destination_have_different_ports_until_none_is_left() {
    let lab = Lab::new(NatLimits { per_destination: 500, ..NatLimits::default() }, 2);
    let mut ports = std::collections::HashSet::new();
    for port in 0..1000 {
        let mapped = lab.open(&flow(Protocol::UDP, port, 1), 0, 0).unwrap();
        assert!(ports.insert(mapped.public), "{mapped:?} twice");
    }
    assert_eq!(lab.open(&flow(Protocol::UDP, 1000, 1), 0, 0), Err(PortsExhausted));
    assert!(lab.open(&flow(Protocol::UDP, 1000, 2), 0, 0).is_ok(), "another destination has all ports to itself");
}

#[test]
fn lim_25_the_real_limits_are_met_exactly() {
    let lab = Lab::new(NatLimits::default(), 1);
    for port in 0..50_000 {
        lab.open(&flow(Protocol::UDP, port, 1), 0, 0).unwrap();
    }
    assert_eq!(lab.open(&flow(Protocol::UDP, 50_000, 1), 0, 0), Err(PortsExhausted));
}

/// With as many in use as one destination may have (NAT-02), a few draws on average find a free one, and no more than
/// the bound are made.
#[test]
fn a_port_is_found_in_constant_time() {
    let range = Range { address: Ipv4Addr::new(203, 0, 113, 1), first: FIRST_PORT, count: u16::MAX - FIRST_PORT + 1 };
    let mut random = 1;
    let mut taken = std::collections::HashSet::new();
    while taken.len() < 50_000 {
        taken.extend(draw(range, DRAWS, &mut random, |end| !taken.contains(&end)));
    }
    let mut looks = 0_u32;
    for _ in 0..10_000 {
        let before = looks;
        let found = draw(range, DRAWS, &mut random, |end| {
            looks += 1;
            !taken.contains(&end)
        });
        assert!(found.is_some() && looks - before <= DRAWS);
    }
    assert!((30_000..60_000).contains(&looks), "{looks} for 10,000");
}

/// To the last of 64,000 and over again, and no flow ever takes more steps than the bounds say (SNAT-05).
#[test]
fn preallocated_ports_are_found_in_constant_time_to_the_last_one() {
    let range = Range { address: Ipv4Addr::new(203, 0, 113, 1), first: FIRST_PORT, count: 64_000 };
    let place = Remote::of(&flow(Protocol::TCP, 0, 1)).unwrap();
    let (mut vacancies, mut random) = (Vacancies::new(), 1);
    let mut taken = std::collections::HashSet::new();
    let mut choose = |vacancies: &mut Vacancies<Ipv4Addr>, taken: &std::collections::HashSet<u16>| {
        let mut looks = 0_u32;
        let chosen = choose(vacancies, range, place, &mut random, |port| {
            looks += 1;
            !taken.contains(&port)
        });
        assert!(looks <= LOOKS + 8, "{looks} looks with {} in use", taken.len());
        (chosen, looks)
    };
    let mut all = 0;
    while taken.len() < 64_000 {
        let (port, looks) = choose(&mut vacancies, &taken);
        all += looks;
        assert!(taken.insert(port.expect("a free one is found")));
    }
    assert!(all < 64_000 * 4, "{all} looks");
    assert_eq!(choose(&mut vacancies, &taken).0, None, "what still looked free is looked at");
    assert_eq!(choose(&mut vacancies, &taken), (None, 0), "that none is left is known");
    // One that is free is found at once.
    for port in [FIRST_PORT, FIRST_PORT + 63_999, 30_000] {
        taken.remove(&port);
        vacancies.give(End { address: range.address, port }, place);
        assert_eq!(choose(&mut vacancies, &taken), (Some(port), 1));
        taken.insert(port);
    }
    for port in taken {
        vacancies.give(End { address: range.address, port }, place);
    }
    assert!(vacancies.is_empty(), "no vacancies are left");
}

#[test]
fn snat_05_ports_come_back_when_their_flows_end() {
    let lab = some(1024);
    for round in 0..3 {
        let now = round * 1_000;
        for port in 0..1024 {
            lab.open(&flow(Protocol::UDP, port, 1), 0, now).unwrap();
        }
        assert_eq!(lab.open(&flow(Protocol::UDP, 1024, 1), 0, now), Err(PortsExhausted));
        assert_eq!(lab.table.expire(at(now + 310), usize::MAX, |_| ()), 1024);
    }
    assert!(lab.table.v4.is_at_ease(), "no vacancies are kept where ports are not scarce");
}

#[test]
fn a_full_table_refuses_and_makes_room_when_mappings_end() {
    let lab = Lab::new(NatLimits { total: 64, ..NatLimits::default() }, 1);
    for port in 0..48 {
        lab.open(&flow(Protocol::UDP, port, 1), 0, 0).unwrap();
    }
    assert_eq!(lab.open(&flow(Protocol::UDP, 64, 1), 0, 0), Err(PortsExhausted), "the last quarter is for others");
    let (other, segment) = (flow(Protocol::UDP, 65, 1), TcpSegment::NONE);
    let opened =
        lab.table.open(&Outbound { nic: NicId(NIC.0 + 1), flow: &other, pool: &lab.pool, segment, now: at(0) });
    assert!(opened.unwrap().is_ok());
    assert_eq!(lab.table.expire(at(304), usize::MAX, |_| ()), 0);
    assert_eq!(lab.table.expire(at(310), usize::MAX, |_| ()), 49);
    assert!(lab.table.is_empty());
    assert!(lab.open(&flow(Protocol::UDP, 64, 1), 0, 310).is_ok());
}

#[test]
fn nat_04_idle_times_and_hold_downs() {
    // What happens after the handshake, how long the mapping serves, and how long its port rests.
    type Segments = &'static [(bool, u8)];
    let cases: [(&str, Segments, u64, u64); 4] = [
        ("half-open", &[], 30, 30),
        ("established", &[(false, SYN | ACK), (true, ACK)], 240, 240),
        ("closed by FIN", &[(false, SYN | ACK), (true, FIN | ACK), (false, FIN | ACK)], 65, 65),
        ("reset", &[(false, SYN | ACK), (true, RST)], 16, 16),
    ];
    for (name, segments, live, held) in cases {
        let lab = Lab::new(NatLimits::default(), 1);
        let tcp = flow(Protocol::TCP, 40_000, 1);
        let mapped = lab.open(&tcp, SYN, 0).unwrap();
        for (out, flags) in segments {
            let met = if *out { lab.leave(&tcp, *flags, 0) } else { lab.enter(&tcp, mapped, *flags, 0) };
            assert_eq!(met, Some(mapped), "{name}");
        }
        assert_eq!(lab.leave(&tcp, ACK, live + 1), None, "{name}");
        assert_eq!(lab.enter(&tcp, mapped, ACK, live + 1), None, "{name}");
        assert_eq!(lab.table.expire(at(held), usize::MAX, |_| ()), 0, "{name}");
        assert_eq!(lab.table.expire(at(held + 20), usize::MAX, |_| ()), 1, "{name}");
    }
    let lab = Lab::new(NatLimits::default(), 1);
    let udp = flow(Protocol::UDP, 40_000, 1);
    let mapped = lab.open(&udp, 0, 0).unwrap();
    assert_eq!(leave(&lab.table, NIC, &udp, TcpSegment::NONE, at(240)), Some(mapped));
    assert_eq!(leave(&lab.table, NIC, &udp, TcpSegment::NONE, at(481)), None);
    assert_eq!(lab.table.expire(at(480 + 65), usize::MAX, |_| ()), 0, "its port rests");
    assert_eq!(lab.table.expire(at(480 + 67), usize::MAX, |_| ()), 1);
}

/// A load balancer's rule has an idle time of its own, for UDP as for TCP; a NAT gateway's is for TCP alone (NAT-04).
#[test]
fn lb_25_a_flow_to_a_load_balancer_lives_as_long_as_its_rule_says() {
    for (idle_secs, protocol) in
        [(240, Protocol::UDP), (600, Protocol::UDP), (1800, Protocol::UDP), (600, Protocol::TCP)]
    {
        let table = NatTable::new(NatLimits::default());
        let outside = flow(protocol, 80, 1);
        let private = ([10, 0, 0, 4].into(), 8080);
        let segment = if protocol == Protocol::TCP { segment(ACK) } else { TcpSegment::NONE };
        let flow = BalancedFlow { nic: NIC, outside: &outside, private, idle_secs, resets: false, segment, now: at(0) };
        table.map_balanced(&flow).unwrap();
        let balanced = |now| table.balanced(&table.lookup_outside(&outside, segment, at(now)).unwrap(), |_| true);
        let idle = u64::from(idle_secs);
        assert!(balanced(idle).is_some(), "{protocol:?} after {idle} s");
        assert!(balanced(2 * idle + 1).is_none(), "{protocol:?} after {idle} s more");
    }
    let pool = PortPool { tcp_idle_secs: 600, ..pool(1) };
    let lab = Lab { table: NatTable::new(NatLimits::default()), pool };
    let udp = flow(Protocol::UDP, 40_000, 1);
    lab.open(&udp, 0, 0).unwrap();
    assert_eq!(
        leave(&lab.table, NIC, &udp, TcpSegment::NONE, at(241)),
        None,
        "NAT-04: the pool's idle time is for TCP"
    );
}

#[test]
fn nat_04_a_connection_that_begins_again_takes_another_port() {
    let lab = Lab::new(NatLimits::default(), 1);
    let tcp = flow(Protocol::TCP, 40_000, 1);
    let first = lab.open(&tcp, SYN, 0).unwrap();
    lab.enter(&tcp, first, RST | ACK, 1);
    assert_eq!(lab.leave(&tcp, SYN, 2), None);
    let second = lab.open(&tcp, SYN, 2).unwrap();
    assert_ne!(first.public, second.public);
    assert_eq!(lab.leave(&tcp, ACK, 3).map(|mapped| mapped.public), Some(second.public));
}

#[test]
fn snat_08_only_tcp_and_udp_over_ipv4_are_mapped() {
    let lab = Lab::new(NatLimits::default(), 1);
    let open = |flow: &Tuple| {
        lab.table.open(&Outbound { nic: NIC, flow, pool: &lab.pool, segment: TcpSegment::NONE, now: at(0) })
    };
    assert_eq!(open(&flow(Protocol::ICMP, 7, 1)), None);
    assert_eq!(open(&flow(Protocol::ESP, 0, 1)), None);
    let v6 =
        Tuple { src: "fd00::4".parse().unwrap(), dst: "2001:db8::1".parse().unwrap(), ..flow(Protocol::TCP, 1, 1) };
    assert_eq!(open(&v6), None);
    assert!(lab.table.is_empty());
}

#[test]
fn a_mapping_is_as_large_as_documented() {
    assert_eq!((size_of::<Mapping<Ipv4Addr>>(), size_of::<Mapping<Ipv6Addr>>()), (48, 88));
}

/// As a load balancer gives to one of its backends.
fn some(count: u16) -> Lab {
    let ports = Box::new([Ports { address: [203, 0, 113, 1].into(), first: 2048, count }]);
    let pool = PortPool { ports, preallocated: true, echoes: false, tcp_idle_secs: 240, idle_reset: IdleReset::None };
    Lab { table: NatTable::new(NatLimits::default()), pool }
}

#[test]
fn snat_05_preallocated_ports_serve_to_the_last_one_and_other_destinations_again() {
    let lab = some(1024);
    let mut ports = std::collections::BTreeSet::new();
    for port in 0..1024 {
        assert!(ports.insert(lab.open(&flow(Protocol::TCP, port, 1), SYN, 0).unwrap().public.1));
    }
    assert_eq!((ports.first(), ports.last()), (Some(&2048), Some(&3071)));
    assert_eq!(lab.open(&flow(Protocol::TCP, 1024, 1), SYN, 0), Err(PortsExhausted));
    assert!(lab.open(&flow(Protocol::TCP, 1024, 2), SYN, 0).is_ok(), "another destination");
    let elsewhere = Tuple { dst_port: 80, ..flow(Protocol::TCP, 1024, 1) };
    assert!(lab.open(&elsewhere, SYN, 0).is_ok(), "another port of the same one");
}

#[test]
fn snat_05_a_port_of_udp_serves_one_flow_to_an_address() {
    let lab = some(8);
    for port in 0..8 {
        lab.open(&Tuple { dst_port: port, ..flow(Protocol::UDP, 7, 1) }, 0, 0).unwrap();
    }
    assert_eq!(lab.open(&Tuple { dst_port: 9, ..flow(Protocol::UDP, 7, 1) }, 0, 0), Err(PortsExhausted));
    assert!(lab.open(&flow(Protocol::UDP, 7, 2), 0, 0).is_ok(), "another address");
    assert!(lab.open(&flow(Protocol::TCP, 7, 1), SYN, 0).is_ok(), "TCP has its own");
}

//! What the fabric does under any rules and routes (FAB, NIC), and what routes do (UDR, RSEL).

use vnet::dataplane::DropReason::{
    BlockedProtocol, Fragment, GatewayUnavailable, Ipv6Control, LinkLocal, Multicast, NextHopNone, NextHopUnreachable,
    NoEndpoint, NoInternet, NoRoute, NotForwarding, SpoofedSource, TooBig,
};
use vnet::dataplane::{Direction, NextHop, NicId, VnetId};
use vnet::wire::{Offload, Protocol, Tuple, build};

use super::world::{Lab, World};
use super::{SYN, check, dropped, ip, ping, pong, tcp, to, udp};

const A: NicId = NicId(0);
const B: NicId = NicId(1);
const APPLIANCE: NicId = NicId(2);

/// One VNet with two guests and an appliance.
fn world() -> World {
    let mut world = World::new();
    let vnet = world.vnet(&["10.0.0.0/16", "fd00::/64"]);
    world.nic(vnet, &["10.0.0.4", "fd00::4"]);
    world.nic(vnet, &["10.0.0.5", "fd00::5"]);
    world.appliance(vnet, "10.0.9.4");
    world
}

fn lab() -> Lab {
    world().build()
}

#[test]
fn fab_03_the_gateway_never_answers() {
    check(&lab(), A, &ping("10.0.0.4", "10.0.0.1"), dropped(NoEndpoint));
    check(&lab(), A, &ping("10.0.0.4", "10.0.0.77"), dropped(NoEndpoint));
}

#[test]
fn fab_04_echo_works_both_ways() {
    let lab = lab();
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), to(B));
    check(&lab, B, &pong("10.0.0.5", "10.0.0.4"), to(A));
    check(&lab, A, &ping("fd00::4", "fd00::5"), to(B));
    check(&lab, B, &pong("fd00::5", "fd00::4"), to(A));
}

#[test]
fn fab_05_a_packet_on_its_last_hop_is_forwarded_as_it_is() {
    let mut packet = ping("fd00::4", "fd00::5");
    packet[7] = 1;
    check(&lab(), A, &packet, to(B));
}

#[test]
fn fab_06_and_07_protocols() {
    let lab = lab();
    let send = |protocol: u8| lab.send(A, &build::raw(ip("10.0.0.4"), ip("10.0.0.5"), protocol, &[0; 40]));
    for (protocol, name) in [(50, "ESP"), (51, "AH")] {
        assert_eq!(send(protocol), to(B), "{name}");
    }
    for (protocol, name) in [(2, "IGMP"), (4, "IPIP"), (41, "IPv6"), (47, "GRE"), (89, "OSPF"), (132, "SCTP")] {
        assert_eq!(send(protocol), dropped(BlockedProtocol), "{name}");
    }
}

#[test]
fn fab_07_unicast_only() {
    let lab = lab();
    for dst in ["224.0.0.1", "239.255.255.250", "255.255.255.255"] {
        check(&lab, A, &ping("10.0.0.4", dst), dropped(Multicast));
    }
    check(&lab, A, &ping("224.0.0.1", "10.0.0.5"), dropped(Multicast));
}

#[test]
fn fab_08_dhcp_and_the_hosts_port() {
    let lab = lab();
    check(&lab, A, &udp("10.0.0.4:68", "10.0.0.5:67"), dropped(BlockedProtocol));
    check(&lab, A, &udp("10.0.0.4:67", "10.0.0.5:68"), to(B));
    check(&lab, A, &udp("10.0.0.4:65330", "10.0.0.5:53"), dropped(BlockedProtocol));
    check(&lab, A, &udp("10.0.0.4:53", "10.0.0.5:65330"), to(B));
    check(&lab, A, &tcp("10.0.0.4:65330", "10.0.0.5:53", SYN), to(B));
}

#[test]
fn fab_11_a_packet_larger_than_the_receivers_mtu_is_dropped() {
    let mut world = world();
    world.at(B).mtu = 1400;
    let lab = world.build();
    let sized = |len: usize| build::raw(ip("10.0.0.4"), ip("10.0.0.5"), 50, &vec![0; len - 20]);
    check(&lab, A, &sized(1400), to(B));
    check(&lab, A, &sized(1401), dropped(TooBig));
}

#[test]
fn fab_11_a_super_packet_counts_by_its_segments() {
    let lab = lab();
    let packet = build::udp(super::at("10.0.0.4:1000"), super::at("10.0.0.5:2000"), &[0; 4000]);
    let in_segments_of =
        |gso_size| Offload { flags: 1, gso_type: 5, hdr_len: 28, gso_size, csum_start: 20, csum_offset: 6 };
    assert_eq!(lab.send_offloaded(A, &packet, in_segments_of(1472)), to(B));
    let record = lab.flows.records.find(A, Direction::Outbound, &tuple(), lab.now).unwrap();
    assert_eq!((record.sent.packets, record.sent.bytes), (3, 4084), "counted as on a wire");
    assert_eq!(lab.send_offloaded(A, &packet, in_segments_of(1473)), dropped(TooBig));
}

fn tuple() -> Tuple {
    let protocol = Protocol::UDP;
    Tuple { src: ip("10.0.0.4"), dst: ip("10.0.0.5"), protocol, src_port: 1000, dst_port: 2000 }
}

#[test]
fn fab_11_fragments_follow_their_first() {
    let lab = lab();
    let [first, last] = fragments(&udp("10.0.0.4:1000", "10.0.0.5:2000"));
    check(&lab, A, &last, dropped(Fragment));
    check(&lab, A, &first, to(B));
    check(&lab, A, &last, to(B));
    assert_eq!(lab.records(), 2, "all of one flow");
}

/// Cuts a datagram after the first eight bytes of its payload.
pub(crate) fn fragments(datagram: &[u8]) -> [Vec<u8>; 2] {
    build::fragments(datagram, 8, 7)
}

#[test]
fn fab_12_only_the_platform_sends_from_its_address() {
    let lab = lab();
    for nic in [A, APPLIANCE] {
        check(&lab, nic, &udp("168.63.129.16:53", "10.0.0.5:1000"), dropped(SpoofedSource));
    }
}

#[test]
fn fab_12_the_platform_is_in_reach_under_any_routes() {
    let mut world = world();
    world.route(A, "0.0.0.0/0", NextHop::None);
    check(&world.build(), A, &udp("10.0.0.4:1000", "168.63.129.16:53"), dropped(NoEndpoint));
    check(&world.build(), A, &udp("10.0.0.4:1000", "168.63.129.17:53"), dropped(NextHopNone));
    check(&world.build(), A, &tcp("10.0.0.4:1000", "169.254.169.254:80", SYN), dropped(NoEndpoint));
}

#[test]
fn fab_16_ipv6_stays_on_its_link_where_it_must() {
    let lab = lab();
    check(&lab, A, &ping("fe80::1", "ff02::1:ff00:5"), dropped(Multicast));
    check(&lab, A, &ping("::", "ff02::16"), dropped(Multicast));
    check(&lab, A, &udp("[fe80::1]:5353", "[ff02::fb]:5353"), dropped(Multicast));
    // What the guest's kernel says by itself is of a kind of its own, near misses are not.
    let message = |src: &str, dst: &str, kind: u8| {
        let mut bytes = build::icmp_echo(ip(src), ip(dst), 7, 1, false);
        let word = |at: usize, bytes: &[u8]| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (sum, before) = (word(42, &bytes), word(40, &bytes));
        bytes[40] = kind;
        // RFC 1624.
        let new = u32::from(!sum) + u32::from(!before) + u32::from(word(40, &bytes));
        let new = (new & 0xffff) + (new >> 16);
        bytes[42..44].copy_from_slice(&(!((new & 0xffff) + (new >> 16)) as u16).to_be_bytes());
        bytes
    };
    for (src, dst, kind) in [
        ("::", "ff02::16", 143),
        ("fe80::1", "ff02::1", 130),
        ("fe80::1", "ff02::1:ff00:5", 131),
        ("fe80::1", "ff02::2", 132),
        ("fe80::1", "ff02::2", 133),
        ("::", "ff02::1:ff00:5", 135),
        ("fe80::1", "fe80::2", 136),
        ("fd00::4", "fe80::2", 135),
    ] {
        check(&lab, A, &message(src, dst, kind), dropped(Ipv6Control));
    }
    check(&lab, A, &message("fe80::1", "ff02::2", 137), dropped(Multicast));
    check(&lab, A, &message("fe80::1", "ff02::2", 144), dropped(Multicast));
    check(&lab, A, &ping("fe80::1", "fe80::2"), dropped(LinkLocal));
    check(&lab, A, &ping("fd00::4", "fe80::2"), dropped(LinkLocal));
    check(&lab, A, &udp("169.254.7.7:1", "10.0.0.5:2"), dropped(LinkLocal));
    check(&lab, A, &build::raw(ip("fd00::4"), ip("fd00::5"), 1, &[0; 8]), dropped(BlockedProtocol));
}

#[test]
fn nic_02_a_forwarding_nic_sends_and_receives_for_others() {
    let mut world = world();
    world.route(A, "10.7.0.0/16", NextHop::Nic(APPLIANCE));
    let lab = world.build();
    check(&lab, A, &ping("10.0.0.4", "10.7.0.1"), to(APPLIANCE));
    check(&lab, APPLIANCE, &ping("10.7.0.1", "10.0.0.4"), to(A));
}

#[test]
fn nic_03_a_next_hop_without_forwarding_drops_before_its_rules() {
    let mut world = world();
    world.route(A, "10.0.0.5/32", NextHop::Nic(APPLIANCE));
    world.route(A, "10.0.9.4/32", NextHop::Nic(APPLIANCE));
    world.at(APPLIANCE).forwarding = false;
    let lab = world.build();
    assert_eq!(
        lab.trace(A, &ping("10.0.0.4", "10.0.0.5")),
        "sent 0, out 0: NoFilter, route Nic(NicId(2)), arrive 2, dropped NotForwarding"
    );
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), dropped(NotForwarding));
    check(&lab, A, &ping("10.0.0.4", "10.0.9.4"), to(APPLIANCE));
}

#[test]
fn nic_04_and_fab_13_a_foreign_source_is_dropped() {
    let lab = lab();
    check(&lab, A, &ping("10.0.0.5", "10.0.9.4"), dropped(SpoofedSource));
    check(&lab, A, &ping("10.0.0.99", "10.0.0.5"), dropped(SpoofedSource));
    check(&lab, A, &ping("192.0.2.1", "10.0.0.5"), dropped(SpoofedSource));
    assert_eq!(lab.trace(A, &ping("10.0.0.5", "10.0.9.4")), "dropped SpoofedSource");
}

#[test]
fn nic_04_in_an_attached_vnet_the_source_says_which_subnet_sends() {
    let mut world = World::new();
    let vnet = world.vnet(&["10.0.0.0/16"]);
    let web = world.attached_subnet(vnet, "10.0.1.0/24");
    let db = world.attached_subnet(vnet, "10.0.2.0/24");
    let lab = world.build();
    check(&lab, web, &ping("10.0.1.77", "10.0.2.88"), to(db));
    assert!(lab.trace(web, &ping("10.0.1.77", "10.0.2.88")).starts_with("sent 0, "));
    check(&lab, db, &ping("10.0.2.4", "10.0.1.4"), to(web));
    check(&lab, web, &ping("10.0.2.4", "10.0.1.4"), dropped(SpoofedSource));
    check(&lab, web, &ping("10.0.3.4", "10.0.1.4"), dropped(SpoofedSource));
    check(&lab, web, &ping("10.0.0.1", "10.0.2.4"), dropped(SpoofedSource));
}

#[test]
fn rsel_01_the_longest_prefix_decides_and_only_the_destination_counts() {
    let mut world = world();
    world.route(A, "10.0.0.0/24", NextHop::None);
    world.route(A, "10.0.0.5/32", NextHop::Nic(APPLIANCE));
    let lab = world.build();
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), to(APPLIANCE));
    check(&lab, A, &ping("10.0.0.4", "10.0.0.6"), dropped(NextHopNone));
    check(&lab, B, &ping("10.0.0.5", "10.0.0.4"), to(A));
}

#[test]
fn udr_12_and_14_next_hops_that_lead_nowhere() {
    let mut world = world();
    world.route(A, "10.7.0.0/16", NextHop::Unreachable);
    world.route(A, "10.8.0.0/16", NextHop::NoGateway);
    let lab = world.build();
    check(&lab, A, &ping("10.0.0.4", "10.7.0.1"), dropped(NextHopUnreachable));
    check(&lab, A, &ping("10.0.0.4", "10.8.0.1"), dropped(GatewayUnavailable));
    check(&lab, A, &ping("fd00::4", "2001:db8::1"), dropped(NoRoute));
}

/// The appliance is found by ownership: a default route to it does not apply to finding it.
#[test]
fn udr_12_no_recursion() {
    let mut world = world();
    world.route(A, "0.0.0.0/0", NextHop::Nic(APPLIANCE));
    world.route(A, "10.0.9.0/24", NextHop::None);
    check(&world.build(), A, &ping("10.0.0.4", "192.0.2.1"), to(APPLIANCE));
}

#[test]
fn udr_15_and_16_internet_and_none() {
    let mut world = world();
    world.route(A, "10.0.0.5/32", NextHop::Internet);
    let lab = world.build();
    check(&lab, A, &ping("10.0.0.4", "192.0.2.1"), dropped(NoInternet));
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), dropped(NoInternet));
    check(&lab, A, &ping("10.0.0.4", "10.200.0.1"), dropped(NextHopNone));
}

#[test]
fn udr_16_vnet_local_outside_the_vnet_is_dropped() {
    let mut world = world();
    world.route(A, "10.200.0.0/16", NextHop::Vnet(VnetId(0)));
    check(&world.build(), A, &ping("10.0.0.4", "10.200.0.1"), dropped(NoEndpoint));
}

/// An appliance in its clients' subnet uses the table that points to itself: the fabric does not break the loop.
#[test]
fn udr_17_and_fab_14_an_appliance_may_be_its_own_next_hop() {
    let mut world = world();
    world.route(A, "0.0.0.0/0", NextHop::Nic(APPLIANCE));
    world.route(APPLIANCE, "0.0.0.0/0", NextHop::Nic(APPLIANCE));
    let lab = world.build();
    let packet = ping("10.0.0.4", "192.0.2.1");
    check(&lab, A, &packet, to(APPLIANCE));
    for _ in 0..64 {
        check(&lab, APPLIANCE, &packet, to(APPLIANCE));
    }
    assert_eq!(lab.records(), 3, "the appliance's two, after any number of rounds");
}

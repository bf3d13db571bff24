//! Through an appliance in a hub: each leg on its own (CH), as in scenarios CS-12 to CS-14.

use vnet::dataplane::DropReason::{ForwardedTraffic, NextHopNone, NotForwarding, NsgInbound, NsgOutbound};
use vnet::dataplane::{NextHop, NicId, VnetId};

use super::world::{LinkSpec, World, allow, deny_all, net};
use super::{SYN, check, dropped, ip, ping, pong, tcp, to};
use vnet::wire::build;

const HUB: VnetId = VnetId(0);
const SPOKE1: VnetId = VnetId(1);
const SPOKE2: VnetId = VnetId(2);
const APPLIANCE: NicId = NicId(0);
const A: NicId = NicId(1);
const B: NicId = NicId(2);

const REQUEST: (&str, &str) = ("10.20.0.4", "10.30.0.4");

fn world() -> World {
    let mut world = World::new();
    for space in ["10.10.0.0/16", "10.20.0.0/16", "10.30.0.0/16"] {
        world.vnet(&[space]);
    }
    world.appliance(HUB, "10.10.0.4");
    world.nic(SPOKE1, &["10.20.0.4"]);
    world.nic(SPOKE2, &["10.30.0.4"]);
    world.peer(SPOKE1, HUB);
    world.peer(SPOKE2, HUB);
    world.route(A, "10.30.0.0/16", NextHop::Nic(APPLIANCE));
    world.route(B, "10.20.0.0/16", NextHop::Nic(APPLIANCE));
    world
}

fn request() -> Vec<u8> {
    ping(REQUEST.0, REQUEST.1)
}

fn reply() -> Vec<u8> {
    pong(REQUEST.1, REQUEST.0)
}

#[test]
fn ch_01_and_02_each_leg_crosses_its_own_peering() {
    let lab = world().build();
    assert_eq!(
        lab.trace(A, &request()),
        "sent 1, out 1: NoFilter, route Nic(NicId(0)), cross 1 to 0, arrive 0, in 0: NoFilter, delivered 0"
    );
    assert_eq!(
        lab.trace(APPLIANCE, &request()),
        "sent 0, out 0: NoFilter, route Vnet(VnetId(2)), cross 0 to 2, arrive 2, in 2: NoFilter, delivered 2"
    );
    check(&lab, B, &reply(), to(APPLIANCE));
    check(&lab, APPLIANCE, &reply(), to(A));
    assert_eq!(lab.records(), 4, "one at each end, two at the appliance");
}

#[test]
fn ch_03_without_a_route_back_the_reply_is_lost() {
    let mut world = world();
    world.at(B).routes.clear();
    let lab = world.build();
    check(&lab, A, &request(), to(APPLIANCE));
    check(&lab, APPLIANCE, &request(), to(B));
    check(&lab, B, &reply(), dropped(NextHopNone));
}

#[test]
fn cs_13_an_appliance_without_forwarding() {
    let mut world = world();
    world.at(APPLIANCE).forwarding = false;
    check(&world.build(), A, &request(), dropped(NotForwarding));
}

/// The record that let the packet in does not let it out: it is another flow, with another record.
#[test]
fn ch_05_an_appliance_is_filtered_inbound_and_outbound() {
    let mut world = world();
    let closed = world.acl([deny_all()]);
    world.at(APPLIANCE).outbound.subnet = Some(closed);
    let lab = world.build();
    check(&lab, A, &request(), to(APPLIANCE));
    check(&lab, APPLIANCE, &request(), dropped(NsgOutbound));

    world.at(APPLIANCE).outbound.subnet = None;
    world.at(APPLIANCE).inbound.subnet = Some(closed);
    check(&world.build(), A, &request(), dropped(NsgInbound));
}

/// Default rules know the VNets only: a foreign destination needs a rule of the user's.
#[test]
fn ch_05_and_cs_21_internet_bound_traffic_through_an_appliance() {
    let mut world = world();
    world.route(A, "0.0.0.0/0", NextHop::Nic(APPLIANCE));
    let (own, packet) = ("10.0.0.0/8", tcp("10.20.0.4:1000", "192.0.2.1:443", SYN));
    let vnets_only = world.acl([allow(own, own), deny_all()]);
    world.at(APPLIANCE).inbound.subnet = Some(vnets_only);
    check(&world.build(), A, &packet, dropped(NsgInbound));
    let opened = world.acl([allow("10.20.0.0/16", "0.0.0.0/0"), deny_all()]);
    world.at(APPLIANCE).inbound.subnet = Some(opened);
    check(&world.build(), A, &packet, to(APPLIANCE));
}

#[test]
fn nsg_20_the_reply_passes_an_appliance_by_its_records() {
    let mut world = world();
    let rules = world.acl([allow("10.20.0.0/16", "10.30.0.0/16"), deny_all()]);
    for nic in [APPLIANCE, A, B] {
        world.at(nic).inbound.subnet = Some(rules);
        world.at(nic).outbound.subnet = Some(rules);
    }
    let lab = world.build();
    check(&lab, B, &reply(), dropped(NsgOutbound));
    check(&lab, A, &request(), to(APPLIANCE));
    check(&lab, APPLIANCE, &request(), to(B));
    check(&lab, B, &reply(), to(APPLIANCE));
    check(&lab, APPLIANCE, &reply(), to(A));
}

/// The appliance answers in the middle of the path, as traceroute needs it.
#[test]
fn nsg_21_an_appliances_own_icmp_error_reaches_the_sender() {
    let mut world = world();
    let rules = world.acl([allow("10.20.0.0/16", "10.30.0.0/16"), deny_all()]);
    for nic in [APPLIANCE, A] {
        world.at(nic).inbound.subnet = Some(rules);
        world.at(nic).outbound.subnet = Some(rules);
    }
    let lab = world.build();
    check(&lab, A, &request(), to(APPLIANCE));
    check(&lab, APPLIANCE, &build::icmp_unreachable(ip("10.10.0.4"), &request()), to(A));
}

/// CS-12, mode enforce: the spokes' own links decide, the hub's may stay closed.
#[test]
fn peer_23_and_cs_12_forwarded_traffic_enforced() {
    let from_hub_only = || LinkSpec { sources: Some(vec![net("10.10.0.0/16")]), ..LinkSpec::default() };
    let mut world = world();
    world.link(SPOKE1, HUB, from_hub_only());
    world.link(SPOKE2, HUB, from_hub_only());
    world.link(HUB, SPOKE1, LinkSpec { sources: Some(vec![net("10.20.0.0/16")]), ..LinkSpec::default() });
    world.link(HUB, SPOKE2, LinkSpec { sources: Some(vec![net("10.30.0.0/16")]), ..LinkSpec::default() });
    let lab = world.build();
    check(&lab, A, &request(), to(APPLIANCE));
    check(&lab, APPLIANCE, &request(), dropped(ForwardedTraffic));

    world.link(SPOKE2, HUB, LinkSpec::default());
    let lab = world.build();
    check(&lab, APPLIANCE, &request(), to(B));
    check(&lab, B, &reply(), to(APPLIANCE));
    check(&lab, APPLIANCE, &reply(), dropped(ForwardedTraffic));

    world.link(SPOKE1, HUB, LinkSpec::default());
    check(&world.build(), APPLIANCE, &reply(), to(A));
}

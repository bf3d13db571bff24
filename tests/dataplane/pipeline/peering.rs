//! Across a peering (PEER).

use vnet::dataplane::DropReason::{ForwardedTraffic, NextHopNone, PeeringAccess, PeeringNotConnected, SubnetNotPeered};
use vnet::dataplane::{Action, NextHop, NicId, VnetId};

use super::world::{Lab, LinkSpec, World, allow, default, deny_all, net, rule};
use super::{SYN, check, dropped, ping, pong, tcp, to};

const LEFT: VnetId = VnetId(0);
const RIGHT: VnetId = VnetId(1);
const A: NicId = NicId(0);
const B: NicId = NicId(1);

fn world() -> World {
    let mut world = World::new();
    let left = world.vnet(&["10.1.0.0/16"]);
    let right = world.vnet(&["10.2.0.0/16"]);
    world.nic(left, &["10.1.0.4"]);
    world.nic(right, &["10.2.0.4"]);
    world.peer(left, right);
    world
}

fn needs_explicit_allow() -> LinkSpec {
    LinkSpec { explicit_allow: true, ..LinkSpec::default() }
}

#[test]
fn peer_02_a_connected_peering_carries_both_ways() {
    let lab = world().build();
    assert_eq!(
        lab.trace(A, &ping("10.1.0.4", "10.2.0.4")),
        "sent 0, out 0: NoFilter, route Vnet(VnetId(1)), cross 0 to 1, arrive 1, in 1: NoFilter, delivered 1"
    );
    check(&lab, B, &pong("10.2.0.4", "10.1.0.4"), to(A));
}

#[test]
fn peer_05_peerings_are_not_transitive() {
    let mut world = world();
    let far = world.vnet(&["10.3.0.0/16"]);
    world.nic(far, &["10.3.0.4"]);
    world.peer(RIGHT, far);
    let lab = world.build();
    check(&lab, A, &ping("10.1.0.4", "10.3.0.4"), dropped(NextHopNone));
    check(&lab, B, &ping("10.2.0.4", "10.3.0.4"), to(NicId(2)));
}

/// No snapshot that compile makes routes so; a packet must not pass all the same.
#[test]
fn peer_05_a_route_into_a_vnet_without_a_peering_drops() {
    let mut world = world();
    let far = world.vnet(&["10.3.0.0/16"]);
    let c = world.nic(far, &["10.3.0.4"]);
    world.route(A, "10.3.0.0/16", NextHop::Vnet(far));
    world.route(A, "10.4.0.0/16", NextHop::Nic(c));
    check(&world.build(), A, &ping("10.1.0.4", "10.3.0.4"), dropped(PeeringNotConnected));
    check(&world.build(), A, &ping("10.1.0.4", "10.4.0.4"), dropped(PeeringNotConnected));
    world.link(LEFT, far, LinkSpec::default());
    check(&world.build(), A, &ping("10.1.0.4", "10.3.0.4"), dropped(PeeringNotConnected));
}

#[test]
fn peer_22_without_any_nsg_nothing_passes() {
    for closed in [(LEFT, RIGHT), (RIGHT, LEFT)] {
        let mut world = world();
        world.link(closed.0, closed.1, needs_explicit_allow());
        let lab = world.build();
        check(&lab, A, &ping("10.1.0.4", "10.2.0.4"), dropped(PeeringAccess));
        check(&lab, B, &ping("10.2.0.4", "10.1.0.4"), dropped(PeeringAccess));
    }
}

/// An admin rule that has the last word is the administrator's explicit yes; one that goes on to the NSGs is none.
#[test]
fn peer_22_an_admin_rule_that_always_allows_is_explicit() {
    let mut world = world();
    world.link(LEFT, RIGHT, needs_explicit_allow());
    for (action, verdict) in [(Action::AlwaysAllow, to(B)), (Action::Allow, dropped(PeeringAccess))] {
        let admin = world.acl([rule(action, "0.0.0.0/0", "0.0.0.0/0")]);
        world.at(A).outbound.admin = Some(admin);
        check(&world.build(), A, &ping("10.1.0.4", "10.2.0.4"), verdict);
    }
}

#[test]
fn peer_22_a_default_rule_is_no_explicit_one() {
    let mut world = world();
    world.link(LEFT, RIGHT, needs_explicit_allow());
    let defaults = world.acl([default(allow("0.0.0.0/0", "0.0.0.0/0"))]);
    world.at(A).outbound.subnet = Some(defaults);
    world.at(A).inbound.subnet = Some(defaults);
    let lab = world.build();
    check(&lab, A, &ping("10.1.0.4", "10.2.0.4"), dropped(PeeringAccess));
    check(&lab, B, &ping("10.2.0.4", "10.1.0.4"), dropped(PeeringAccess));
}

/// CS-10: explicit rules on the closed side let flows of both directions start.
#[test]
fn peer_22_explicit_rules_let_it_through() {
    let lab = explicit_on_the_left().build();
    check(&lab, A, &tcp("10.1.0.4:1", "10.2.0.4:80", SYN), to(B));
    check(&lab, B, &tcp("10.2.0.4:2", "10.1.0.4:80", SYN), to(A));
}

fn explicit_on_the_left() -> World {
    let mut world = world();
    world.link(LEFT, RIGHT, needs_explicit_allow());
    let out = world.acl([allow("0.0.0.0/0", "10.2.0.0/16"), deny_all()]);
    let inbound = world.acl([allow("10.2.0.0/16", "0.0.0.0/0"), deny_all()]);
    world.at(A).outbound.subnet = Some(out);
    world.at(A).inbound.subnet = Some(inbound);
    world
}

#[test]
fn peer_22_every_nsg_that_is_there_must_say_so_itself() {
    let mut world = explicit_on_the_left();
    let defaults = world.acl([default(allow("0.0.0.0/0", "0.0.0.0/0"))]);
    world.at(A).outbound.nic = Some(defaults);
    check(&world.build(), A, &ping("10.1.0.4", "10.2.0.4"), dropped(PeeringAccess));
    let custom = world.acl([allow("10.1.0.0/16", "10.2.0.0/16")]);
    world.at(A).outbound.nic = Some(custom);
    check(&world.build(), A, &ping("10.1.0.4", "10.2.0.4"), to(B));
}

#[test]
fn peer_22_each_link_asks_on_its_own_side_only() {
    let mut world = explicit_on_the_left();
    world.link(RIGHT, LEFT, needs_explicit_allow());
    check(&world.build(), A, &ping("10.1.0.4", "10.2.0.4"), dropped(PeeringAccess));
    let open = world.acl([allow("10.1.0.0/16", "10.2.0.0/16")]);
    world.at(B).inbound.nic = Some(open);
    check(&world.build(), A, &ping("10.1.0.4", "10.2.0.4"), to(B));
}

#[test]
fn peer_22_a_flow_admitted_earlier_goes_on() {
    let mut world = world();
    let lab = world.build();
    check(&lab, A, &ping("10.1.0.4", "10.2.0.4"), to(B));
    world.link(LEFT, RIGHT, needs_explicit_allow());
    let lab = Lab { snapshot: world.snapshot(), ..lab };
    check(&lab, A, &ping("10.1.0.4", "10.2.0.4"), to(B));
    check(&lab, B, &pong("10.2.0.4", "10.1.0.4"), to(A));
    check(&lab, A, &tcp("10.1.0.4:1", "10.2.0.4:80", SYN), dropped(PeeringAccess));
}

/// The next hop's NIC counts, not the destination.
#[test]
fn peer_22_an_appliance_in_the_peer_is_across_the_link_too() {
    let mut world = world();
    world.link(LEFT, RIGHT, needs_explicit_allow());
    let appliance = world.appliance(RIGHT, "10.2.0.9");
    world.route(A, "10.3.0.0/16", NextHop::Nic(appliance));
    check(&world.build(), A, &ping("10.1.0.4", "10.3.0.4"), dropped(PeeringAccess));
    world.link(LEFT, RIGHT, LinkSpec::default());
    check(&world.build(), A, &ping("10.1.0.4", "10.3.0.4"), to(appliance));
}

#[test]
fn peer_23_enforced_a_foreign_source_does_not_enter() {
    let mut world = world();
    let appliance = world.appliance(RIGHT, "10.2.0.9");
    world.link(LEFT, RIGHT, LinkSpec { sources: Some(vec![net("10.2.0.0/16")]), ..LinkSpec::default() });
    let lab = world.build();
    check(&lab, appliance, &ping("10.3.0.4", "10.1.0.4"), dropped(ForwardedTraffic));
    check(&lab, appliance, &ping("10.2.0.4", "10.1.0.4"), to(A));
    check(&lab, A, &pong("10.1.0.4", "10.2.0.4"), to(B));
}

#[test]
fn peer_24_the_receiving_side_decides() {
    let mut world = world();
    let appliance = world.appliance(RIGHT, "10.2.0.9");
    world.link(RIGHT, LEFT, LinkSpec { sources: Some(vec![net("10.1.0.0/16")]), ..LinkSpec::default() });
    check(&world.build(), appliance, &ping("10.3.0.4", "10.1.0.4"), to(A));
}

fn only(subnets: &[u32]) -> LinkSpec {
    LinkSpec { participants: Some(subnets.to_vec()), ..LinkSpec::default() }
}

/// Beside A in subnet 0 and B in subnet 0: C in subnet 70 on the left, D in subnet 1 on the right.
fn subnets_peered(left: LinkSpec, right: LinkSpec) -> (World, NicId, NicId) {
    let mut world = world();
    let c = world.nic(LEFT, &["10.1.70.4"]);
    world.at(c).subnet = 70;
    let d = world.nic(RIGHT, &["10.2.1.4"]);
    world.at(d).subnet = 1;
    world.link(LEFT, RIGHT, left);
    world.link(RIGHT, LEFT, right);
    (world, c, d)
}

#[test]
fn peer_53_both_ends_are_in_peered_subnets() {
    let (world, c, d) = subnets_peered(only(&[70]), only(&[0]));
    let lab = world.build();
    check(&lab, c, &ping("10.1.70.4", "10.2.0.4"), to(B));
    check(&lab, B, &pong("10.2.0.4", "10.1.70.4"), to(c));
    check(&lab, A, &ping("10.1.0.4", "10.2.0.4"), dropped(SubnetNotPeered));
    check(&lab, c, &ping("10.1.70.4", "10.2.1.4"), dropped(SubnetNotPeered));
    check(&lab, d, &ping("10.2.1.4", "10.1.70.4"), dropped(SubnetNotPeered));
    check(&lab, A, &ping("10.1.0.4", "10.1.70.4"), to(c));
}

/// The NIC's subnet counts, not the packet's addresses: an appliance sends on what others sent.
#[test]
fn peer_53_an_appliance_counts_by_its_own_subnet() {
    let (mut world, c, d) = subnets_peered(only(&[70]), only(&[0]));
    world.at(c).forwarding = true;
    world.at(d).forwarding = true;
    world.route(c, "10.3.0.0/16", NextHop::Nic(d));
    let lab = world.build();
    check(&lab, c, &ping("10.1.0.4", "10.2.0.4"), to(B));
    check(&lab, c, &ping("10.1.70.4", "10.3.0.4"), dropped(SubnetNotPeered));
}

/// A flow's record does not outlive its peering.
#[test]
fn peer_53_a_subnet_that_is_taken_out_is_cut_off_at_once() {
    let (mut world, c, _) = subnets_peered(only(&[0, 70]), only(&[0]));
    let lab = world.build();
    check(&lab, A, &ping("10.1.0.4", "10.2.0.4"), to(B));
    world.link(LEFT, RIGHT, only(&[70]));
    let lab = Lab { snapshot: world.snapshot(), ..lab };
    check(&lab, B, &pong("10.2.0.4", "10.1.0.4"), dropped(SubnetNotPeered));
    check(&lab, B, &ping("10.2.0.4", "10.1.70.4"), to(c));
}

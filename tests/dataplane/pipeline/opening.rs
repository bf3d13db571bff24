//! Which connections the tables decide on alike, whatever their source port: the kernel may open those by itself.

use vnet::dataplane::{
    AclId, AclRule, BalancingRule, Deciders, Filters, Frontend, Ingress, Keyed, Member, NextHop, NicId, Opening,
    PortId, RuleId, Snapshot, Spread, SpreadId, Takes, VnetId, opening,
};
use vnet::wire::{Protocol, Tuple};

use super::ip;
use super::world::{World, allow_all, allow_port, default, deny_all};

const A: NicId = NicId(0);
const B: NicId = NicId(1);

/// Two machines; `a` may ask `b` at port 443 by its second rule, and by an admin rule of `b`'s network.
fn world() -> World {
    let mut world = World::new();
    let vnet = world.vnet(&["10.0.0.0/16", "fd00::/48"]);
    world.nic(vnet, &["10.0.1.4", "fd00::4"]);
    world.nic(vnet, &["10.0.2.4", "fd00::5"]);
    let out = world.acl([allow_port(Protocol::UDP, 53), allow_port(Protocol::TCP, 443), deny_all()]);
    world.at(A).outbound.nic = Some(out);
    let admin = world.acl([allow_port(Protocol::TCP, 443)]);
    let inward = world.acl([allow_port(Protocol::TCP, 443), default(deny_all())]);
    world.at(B).inbound = Filters { admin: Some(admin), nic: None, subnet: Some(inward) };
    world
}

fn first(src: &str, dst: &str) -> Tuple {
    Tuple { src: ip(src), dst: ip(dst), protocol: Protocol::TCP, src_port: 40_000, dst_port: 443 }
}

fn asked(snapshot: &Snapshot) -> Option<Opening> {
    opening(snapshot, PortId(A.0), &first("10.0.1.4", "10.0.2.4"))
}

/// The same with another world.
fn asked_of(change: impl FnOnce(&mut World)) -> Option<Opening> {
    let mut world = world();
    change(&mut world);
    asked(&world.snapshot())
}

#[test]
fn nsg_20_one_decision_is_for_all_source_ports() {
    let granted = asked(&world().snapshot()).expect("only tables decide");
    assert_eq!((granted.nics, granted.ports), ([A, B], [PortId(0), PortId(1)]));
    // Rules are numbered through all lists: the second one of three, an admin rule, and the first of the subnet's.
    assert_eq!(granted.rules().collect::<Vec<_>>(), [1, 3, 4].map(RuleId::new));
    let deciders = |rule| Deciders([Some(RuleId::new(rule)), None]);
    assert_eq!(granted.deciders, [deciders(1), deciders(4)], "an admin rule that lets NSGs decide is in no record");
    assert!(opening(&world().snapshot(), PortId(A.0), &first("fd00::4", "fd00::5")).is_some());
}

#[test]
fn only_connections_of_tcp_that_pass_are_granted() {
    let snapshot = world().snapshot();
    let ask = |ingress, tuple: &Tuple| opening(&snapshot, ingress, tuple);
    let good = first("10.0.1.4", "10.0.2.4");
    assert_eq!(ask(PortId(0), &Tuple { protocol: Protocol::UDP, dst_port: 53, ..good }), None, "no connection");
    assert_eq!(ask(PortId(0), &Tuple { dst_port: 80, ..good }), None, "a rule denies it");
    assert_eq!(ask(PortId(0), &Tuple { src: ip("10.0.1.9"), ..good }), None, "a spoofed source");
    assert_eq!(ask(PortId(0), &Tuple { dst: ip("10.0.2.9"), ..good }), None, "nobody has the address");
    assert_eq!(ask(PortId(9), &good), None, "there is no such port");
    assert_eq!(ask(PortId(0), &Tuple { dst: ip("169.254.169.254"), dst_port: 80, ..good }), None, "the platform's");
    let mut of_network = world().snapshot();
    of_network.ports[0] = Ingress::Vnet(VnetId(0));
    assert_eq!(asked(&of_network), None, "a whole network's port");
}

/// NSG-07: of any list that is asked, matching or not.
#[test]
fn nsg_07_a_rule_for_source_ports_is_asked_for_each_connection() {
    type Place = fn(&mut World, AclId);
    let places: [Place; 4] = [
        |world, acl| world.at(A).outbound.admin = Some(acl),
        |world, acl| world.at(A).outbound.subnet = Some(acl),
        |world, acl| world.at(B).inbound.admin = Some(acl),
        |world, acl| world.at(B).inbound.nic = Some(acl),
    ];
    for (n, place) in places.into_iter().enumerate() {
        let with = |rule: AclRule| {
            asked_of(|world| {
                let acl = world.acl([rule, allow_all()]);
                place(world, acl);
            })
        };
        assert_eq!(with(AclRule { src_ports: vec![0..=1023], ..deny_all() }), None, "list {n}");
        assert_eq!(with(AclRule { src_ports: vec![0..=1023], ..allow_port(Protocol::TCP, 1) }), None, "list {n}");
        assert!(with(allow_port(Protocol::TCP, 1)).is_some(), "list {n}: destination ports alone");
    }
    let other = asked_of(|world| {
        let acl = world.acl([AclRule { src_ports: vec![0..=1023], ..deny_all() }]);
        world.at(B).outbound.nic = Some(acl);
        world.at(A).inbound.nic = Some(acl);
    });
    assert!(other.is_some(), "lists that the first packet does not meet");
}

/// LB-41: an answer of a backend may be one of the frontend; mappings decide.
#[test]
fn lb_41_connections_to_a_backend_are_asked_one_by_one() {
    let to = |nic: NicId| {
        let mut snapshot = world().snapshot();
        let members: Box<[Member]> = [Member { nic, address: ip("10.0.2.4") }].into();
        let takes = Takes::Port { protocol: Protocol::UDP, frontend: 53, backend: 53 };
        let eligible = Box::default();
        let (keyed, floating, idle_secs, resets, tcp_stays) = (Keyed::FiveTuple, false, 240, false, false);
        let rule = BalancingRule { takes, keyed, floating, idle_secs, resets, tcp_stays, members, eligible };
        let (vnet, address) = (VnetId(0), ip("10.0.9.9"));
        snapshot.frontends.push(Frontend { vnet, address, rules: [rule].into() });
        asked(&snapshot)
    };
    assert_eq!(to(B), None, "a backend, healthy or not");
    assert!(to(A).is_some(), "of one that is a backend itself");
}

/// RSEL-06: among several next hops the flow decides, there and back.
#[test]
fn rsel_06_a_route_to_several_appliances_is_asked_for_each_connection() {
    for (from, prefix) in [(A, "10.0.2.0/24"), (B, "10.0.1.0/24")] {
        let by = |hop: fn() -> NextHop| {
            asked_of(|world| {
                let one = world.appliance(VnetId(0), "10.0.3.4");
                world.spreads.push(Spread::new([NextHop::Nic(if from == A { B } else { A }), NextHop::Nic(one)]));
                world.route(from, prefix, hop());
            })
        };
        assert_eq!(by(|| NextHop::Spread(SpreadId(0))), None, "{from:?}");
        assert_eq!(by(|| NextHop::None), None, "{from:?}: dropped");
        let through = by(|| NextHop::Nic(NicId(2))).map(|granted| granted.nics);
        let to_appliance = (from == A).then_some([A, NicId(2)]);
        assert_eq!(
            through, to_appliance,
            "{from:?}: an appliance is an end of the leg; answers by another way are not its"
        );
    }
}

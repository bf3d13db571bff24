//! Security rules and flow records (NSG).

use vnet::dataplane::DropReason::{AdminRule, FlowLimit, NoEndpoint, NoInternet, NsgInbound, NsgOutbound};
use vnet::dataplane::{AclRule, Action, Filters, NicId, VnetId};
use vnet::wire::{Protocol, build};

use super::fabric::fragments;
use super::world::{Lab, World, allow, allow_all, allow_port, default, deny_all, rule};
use super::{SYN, SYN_ACK, check, dropped, ip, ping, pong, tcp, to, udp};

const A: NicId = NicId(0);
const B: NicId = NicId(1);

fn world() -> World {
    let mut world = World::new();
    let vnet = world.vnet(&["10.0.0.0/16", "fd00::/64"]);
    world.nic(vnet, &["10.0.0.4", "fd00::4"]);
    world.nic(vnet, &["10.0.0.5", "fd00::5"]);
    world
}

/// B's subnet lets in only one TCP port.
fn web_server() -> World {
    let mut world = world();
    let web = world.acl([allow_port(Protocol::TCP, 443), default(deny_all())]);
    world.at(B).inbound.subnet = Some(web);
    world
}

#[test]
fn nsg_10_outbound_the_nic_then_the_subnet() {
    let mut world = world();
    let (nic, subnet) = (world.acl([allow_all()]), world.acl([deny_all()]));
    world.at(A).outbound = Filters { nic: Some(nic), subnet: Some(subnet), ..Filters::default() };
    assert_eq!(
        world.build().trace(A, &ping("10.0.0.4", "10.0.0.5")),
        "sent 0, out 0: Nic acl 0 rule 0 allow, out 0: Subnet acl 1 rule 0 deny, dropped NsgOutbound"
    );
    world.at(A).outbound = Filters { nic: Some(subnet), subnet: Some(nic), ..Filters::default() };
    assert_eq!(
        world.build().trace(A, &ping("10.0.0.4", "10.0.0.5")),
        "sent 0, out 0: Nic acl 1 rule 0 deny, dropped NsgOutbound",
        "the first deny ends it"
    );
}

#[test]
fn nsg_10_inbound_the_subnet_then_the_nic() {
    let mut world = world();
    let (allows, denies) = (world.acl([allow_all()]), world.acl([deny_all()]));
    world.at(B).inbound = Filters { nic: Some(denies), subnet: Some(allows), ..Filters::default() };
    assert_eq!(
        world.build().trace(A, &ping("10.0.0.4", "10.0.0.5")),
        "sent 0, out 0: NoFilter, route Vnet(VnetId(0)), arrive 1, in 1: Subnet acl 0 rule 0 allow, \
         in 1: Nic acl 1 rule 0 deny, dropped NsgInbound"
    );
    world.at(B).inbound = Filters { nic: Some(allows), subnet: Some(denies), ..Filters::default() };
    assert!(
        world
            .build()
            .trace(A, &ping("10.0.0.4", "10.0.0.5"))
            .ends_with("in 1: Subnet acl 1 rule 0 deny, dropped NsgInbound")
    );
}

/// Filters decide before routes: a destination without a route is still denied by its rule.
#[test]
fn rsel_10_outbound_rules_come_before_the_route() {
    let mut world = world();
    let denies = world.acl([deny_all()]);
    world.at(A).outbound.subnet = Some(denies);
    check(&world.build(), A, &ping("10.0.0.4", "10.200.0.1"), dropped(NsgOutbound));
}

#[test]
fn nsg_11_without_an_nsg_everything_passes() {
    assert_eq!(
        world().build().trace(A, &ping("10.0.0.4", "10.0.0.5")),
        "sent 0, out 0: NoFilter, route Vnet(VnetId(0)), arrive 1, in 1: NoFilter, delivered 1"
    );
}

/// An ACL without a rule for the packet says nothing, which is not a yes.
#[test]
fn nsg_11_an_empty_nsg_is_not_no_nsg() {
    let mut world = world();
    let empty = world.acl([]);
    world.at(B).inbound.nic = Some(empty);
    check(&world.build(), A, &ping("10.0.0.4", "10.0.0.5"), dropped(NsgInbound));
}

/// NSG-13 too: each end by its own groups.
#[test]
fn nsg_12_neighbours_are_filtered_at_both_ends() {
    let mut world = world();
    let denies = world.acl([rule(Action::Deny, "10.0.0.0/24", "10.0.0.0/24"), allow_all()]);
    world.at(A).outbound.subnet = Some(denies);
    check(&world.build(), A, &ping("10.0.0.4", "10.0.0.5"), dropped(NsgOutbound));
    check(&world.build(), B, &ping("10.0.0.5", "10.0.0.4"), to(A));
    world.at(A).outbound.subnet = None;
    world.at(A).inbound.subnet = Some(denies);
    check(&world.build(), A, &ping("10.0.0.4", "10.0.0.5"), to(B));
    check(&world.build(), B, &ping("10.0.0.5", "10.0.0.4"), dropped(NsgInbound));
}

/// The sender's inbound rules, the receiver's outbound ones and a neighbour's have no say.
#[test]
fn nsg_13_a_packet_meets_two_lists_and_no_others() {
    let mut world = world();
    let third = world.nic(VnetId(0), &["10.0.0.6"]);
    let (closed, open) = (world.acl([deny_all()]), world.acl([allow_all()]));
    let [shut, opened] = [closed, open].map(|acl| Filters { subnet: Some(acl), ..Filters::default() });
    for (nic, outbound, inbound) in [(A, opened, shut), (B, shut, opened), (third, shut, shut)] {
        world.at(nic).outbound = outbound;
        world.at(nic).inbound = inbound;
    }
    assert_eq!(
        world.build().trace(A, &ping("10.0.0.4", "10.0.0.5")),
        "sent 0, out 0: Subnet acl 1 rule 0 allow, route Vnet(VnetId(0)), arrive 1, in 1: Subnet acl 1 rule 0 allow, \
         delivered 1"
    );
}

#[test]
fn nsg_15_only_what_a_rule_allows_comes_in() {
    let lab = web_server().build();
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:443", SYN), to(B));
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:80", SYN), dropped(NsgInbound));
    check(&lab, A, &udp("10.0.0.4:1000", "10.0.0.5:443"), dropped(NsgInbound));
    check(&lab, A, &tcp("[fd00::4]:1000", "[fd00::5]:443", SYN), to(B));
    check(&lab, A, &tcp("[fd00::4]:1000", "[fd00::5]:80", SYN), dropped(NsgInbound));
}

#[test]
fn nsg_20_answers_follow_the_record() {
    let mut world = web_server();
    let closed = world.acl([deny_all()]);
    world.at(B).outbound.nic = Some(closed);
    let lab = world.build();
    let answer = tcp("10.0.0.5:443", "10.0.0.4:1000", SYN_ACK);
    check(&lab, B, &answer, dropped(NsgOutbound));
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:443", SYN), to(B));
    assert_eq!(
        lab.trace(B, &answer),
        "sent 1, out 1: Record, route Vnet(VnetId(0)), arrive 0, in 0: Record, delivered 0"
    );
    check(&lab, B, &tcp("10.0.0.5:443", "10.0.0.4:1001", SYN_ACK), dropped(NsgOutbound));
    assert_eq!(lab.records(), 2, "one at each NIC");
}

#[test]
fn nsg_21_echoes_are_known_by_their_identifier() {
    let mut world = world();
    let closed = world.acl([deny_all()]);
    world.at(A).inbound.nic = Some(closed);
    let lab = world.build();
    check(&lab, B, &pong("10.0.0.5", "10.0.0.4"), dropped(NsgInbound));
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), to(B));
    check(&lab, B, &pong("10.0.0.5", "10.0.0.4"), to(A));
    check(&lab, B, &build::icmp_echo(ip("10.0.0.5"), ip("10.0.0.4"), 8, 1, true), dropped(NsgInbound));
}

#[test]
fn nsg_21_a_packet_in_mid_stream_without_a_record_is_judged_as_new() {
    let lab = web_server().build();
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:443", 0x10), to(B));
}

#[test]
fn nsg_21_icmp_errors_follow_the_flow_that_they_quote() {
    let mut world = web_server();
    let closed = world.acl([deny_all()]);
    world.at(A).inbound.nic = Some(closed);
    world.at(B).outbound.nic = Some(closed);
    let lab = world.build();
    let request = tcp("10.0.0.4:1000", "10.0.0.5:443", SYN);
    let error = build::icmp_unreachable(ip("10.0.0.5"), &request);
    check(&lab, B, &error, dropped(NsgOutbound));
    check(&lab, A, &request, to(B));
    assert_eq!(
        lab.trace(B, &error),
        "sent 1, out 1: Record, route Vnet(VnetId(0)), arrive 0, in 0: Record, delivered 0"
    );
    let of_another = build::icmp_unreachable(ip("10.0.0.5"), &tcp("10.0.0.4:1001", "10.0.0.5:443", SYN));
    check(&lab, B, &of_another, dropped(NsgOutbound));
}

/// Else one admitted error would let in all that follow it.
#[test]
fn nsg_21_an_icmp_error_makes_no_record() {
    let lab = world().build();
    let error = build::icmp_unreachable(ip("10.0.0.5"), &tcp("10.0.0.4:1000", "10.0.0.5:443", SYN));
    check(&lab, B, &error, to(A));
    assert_eq!(lab.records(), 0);
}

/// An error that is forged for another machine than the quoted sender passes by no record.
#[test]
fn nsg_21_an_icmp_error_goes_to_the_source_that_it_quotes() {
    let mut world = world();
    let closed = world.acl([deny_all()]);
    world.nic(VnetId(0), &["10.0.0.6"]);
    world.at(B).outbound.nic = Some(closed);
    let lab = world.build();
    let flow = tcp("10.0.0.4:1000", "10.0.0.5:443", SYN);
    check(&lab, A, &flow, to(B));
    let mut error = build::icmp_unreachable(ip("10.0.0.5"), &flow);
    error = build::raw(ip("10.0.0.5"), ip("10.0.0.6"), 1, &error.split_off(20));
    check(&lab, B, &error, dropped(NsgOutbound));
}

#[test]
fn nsg_22_an_allowed_flow_survives_a_new_rule() {
    let mut world = web_server();
    let lab = world.build();
    let request = tcp("10.0.0.4:1000", "10.0.0.5:443", SYN);
    check(&lab, A, &request, to(B));
    let closed = world.acl([deny_all()]);
    world.at(B).inbound.subnet = Some(closed);
    let lab = Lab { snapshot: world.snapshot(), ..lab };
    check(&lab, A, &request, to(B));
    check(&lab, B, &tcp("10.0.0.5:443", "10.0.0.4:1000", SYN_ACK), to(A));
    check(&lab, A, &tcp("10.0.0.4:1001", "10.0.0.5:443", SYN), dropped(NsgInbound));
}

/// A flow allowed by one end only leaves no record at that end either: the harness checks the count at every drop.
#[test]
fn nsg_22_a_blocked_attempt_is_judged_again_each_time() {
    let mut world = web_server();
    let lab = world.build();
    let request = tcp("10.0.0.4:1000", "10.0.0.5:80", SYN);
    for _ in 0..3 {
        check(&lab, A, &request, dropped(NsgInbound));
    }
    let open = world.acl([allow_all()]);
    world.at(B).inbound.subnet = Some(open);
    check(&Lab { snapshot: world.snapshot(), ..lab }, A, &request, to(B));
}

#[test]
fn nsg_24_an_idle_record_ends() {
    let mut world = web_server();
    let closed = world.acl([deny_all()]);
    world.at(A).inbound.nic = Some(closed);
    let mut lab = world.build();
    let answer = tcp("10.0.0.5:443", "10.0.0.4:1000", SYN_ACK);
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:443", SYN), to(B));
    lab.pass(240);
    check(&lab, B, &answer, to(A));
    lab.pass(240);
    check(&lab, B, &answer, to(A));
    lab.pass(241);
    check(&lab, B, &answer, dropped(NsgInbound));
}

#[test]
fn nsg_26_a_full_nic_refuses_new_flows_only() {
    let mut world = world();
    world.limits.per_nic = 2;
    let third = world.nic(VnetId(0), &["10.0.0.6"]);
    let lab = world.build();
    check(&lab, A, &udp("10.0.0.4:1", "10.0.0.5:53"), to(B));
    check(&lab, A, &udp("10.0.0.4:2", "10.0.0.5:53"), to(B));
    check(&lab, A, &udp("10.0.0.4:3", "10.0.0.5:53"), dropped(FlowLimit));
    check(&lab, A, &udp("10.0.0.4:2", "10.0.0.5:53"), to(B));
    // The receiver is full: the sender's record is not made either, which the harness checks.
    check(&lab, third, &udp("10.0.0.6:1", "10.0.0.5:53"), dropped(FlowLimit));
    check(&lab, B, &udp("10.0.0.5:53", "10.0.0.4:1"), to(A));
}

#[test]
fn nsg_30_platform_services_bypass_rules() {
    let mut world = world();
    let closed = world.acl([deny_all()]);
    world.at(A).outbound.nic = Some(closed);
    let lab = world.build();
    assert_eq!(lab.trace(A, &udp("10.0.0.4:1000", "168.63.129.16:53")), "sent 0, out 0: Platform, dropped NoEndpoint");
    check(&lab, A, &udp("10.0.0.4:1000", "168.63.129.16:5353"), dropped(NsgOutbound));
    world.at(A).outbound.nic = None;
    check(&world.build(), A, &udp("10.0.0.4:1000", "168.63.129.16:5353"), dropped(NoEndpoint));
}

/// Metadata is asked for by HTTP, licences at three addresses: those, and nothing beside them.
#[test]
fn nsg_30_metadata_and_licensing_bypass_rules_too() {
    let mut world = world();
    let closed = world.acl([deny_all()]);
    world.at(A).outbound = Filters { admin: Some(closed), nic: Some(closed), subnet: Some(closed) };
    let lab = world.build();
    let metadata = tcp("10.0.0.4:1000", "169.254.169.254:80", SYN);
    assert_eq!(lab.trace(A, &metadata), "sent 0, out 0: Platform, dropped NoEndpoint");
    check(&lab, A, &tcp("10.0.0.4:1000", "20.118.99.224:1688", SYN), dropped(NoInternet));
    for other in ["169.254.169.254:443", "20.118.99.224:1687", "20.118.99.225:1688"] {
        check(&lab, A, &tcp("10.0.0.4:1000", other, SYN), dropped(AdminRule));
    }
}

#[test]
fn nsg_30_a_rule_that_names_the_service_denies_it() {
    let mut world = world();
    let dns = world.acl([rule(Action::Deny, "0.0.0.0/0", "168.63.129.16/32")]);
    let (query, metadata) = (udp("10.0.0.4:1000", "168.63.129.16:53"), tcp("10.0.0.4:1000", "169.254.169.254:80", SYN));
    for rules in [Filters { nic: Some(dns), ..Filters::default() }, Filters { subnet: Some(dns), ..Filters::default() }]
    {
        world.at(A).platform = rules;
        check(&world.build(), A, &query, dropped(NsgOutbound));
        check(&world.build(), A, &metadata, dropped(NoEndpoint));
    }
    // What an administrator allows for good, an NSG cannot deny.
    let always = world.acl([rule(Action::AlwaysAllow, "0.0.0.0/0", "168.63.129.16/32")]);
    world.at(A).platform = Filters { admin: Some(always), nic: Some(dns), subnet: None };
    check(&world.build(), A, &query, dropped(NoEndpoint));
    world.at(A).platform = Filters { admin: Some(dns), nic: Some(always), subnet: None };
    check(&world.build(), A, &query, dropped(AdminRule));
}

fn ssh(action: Action) -> AclRule {
    AclRule { action, ..allow_port(Protocol::TCP, 22) }
}

/// CS-52, at the receiver and at the sender.
#[test]
fn adm_01_admin_rules_come_before_the_nsgs() {
    let request = tcp("10.0.0.4:1000", "10.0.0.5:22", SYN);
    let cases = [
        (Action::Deny, allow_all(), dropped(AdminRule), dropped(AdminRule)),
        (Action::AlwaysAllow, deny_all(), to(B), to(B)),
        (Action::Allow, deny_all(), dropped(NsgInbound), dropped(NsgOutbound)),
        (Action::Allow, allow_all(), to(B), to(B)),
    ];
    for (action, nsg, received, sent) in cases {
        let mut world = world();
        let (admin, nsg) = (world.acl([ssh(action)]), world.acl([nsg]));
        let filters = Filters { admin: Some(admin), nic: Some(nsg), subnet: Some(nsg) };
        world.at(B).inbound = filters;
        check(&world.build(), A, &request, received);
        world.at(B).inbound = Filters::default();
        world.at(A).outbound = filters;
        check(&world.build(), A, &request, sent);
    }
}

#[test]
fn adm_01_the_steps_name_the_admin_rule_and_end_where_it_says() {
    let mut world = world();
    let (admin, nsg) = (world.acl([ssh(Action::AlwaysAllow), ssh(Action::Deny)]), world.acl([allow_all()]));
    world.at(B).inbound = Filters { admin: Some(admin), nic: Some(nsg), subnet: None };
    assert_eq!(
        world.build().trace(A, &tcp("10.0.0.4:1000", "10.0.0.5:22", SYN)),
        "sent 0, out 0: NoFilter, route Vnet(VnetId(0)), arrive 1, in 1: Admin acl 0 rule 0 allow, delivered 1"
    );
}

#[test]
fn adm_02_a_flow_that_admin_rules_let_in_is_answered_past_them() {
    let mut world = world();
    let (lets_in, closed) = (world.acl([ssh(Action::AlwaysAllow)]), world.acl([deny_all()]));
    world.at(B).inbound.admin = Some(lets_in);
    world.at(B).outbound.admin = Some(closed);
    let lab = world.build();
    let answer = tcp("10.0.0.5:22", "10.0.0.4:1000", SYN_ACK);
    check(&lab, B, &answer, dropped(AdminRule));
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:22", SYN), to(B));
    check(&lab, B, &answer, to(A));
}

#[test]
fn adm_03_what_no_admin_rule_matches_goes_on_to_the_nsgs() {
    let mut world = web_server();
    let admin = world.acl([ssh(Action::Deny)]);
    world.at(B).inbound.admin = Some(admin);
    let lab = world.build();
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:443", SYN), to(B));
    check(&lab, A, &tcp("10.0.0.4:1000", "10.0.0.5:80", SYN), dropped(NsgInbound));
}

/// A rule on ports decides for every fragment by the first one's.
#[test]
fn fab_11_fragments_are_judged_by_their_firsts_ports() {
    let mut world = world();
    let dns = world.acl([allow_port(Protocol::UDP, 53), deny_all()]);
    world.at(B).inbound.nic = Some(dns);
    let lab = world.build();
    for (port, verdict) in [(53, to(B)), (54, dropped(NsgInbound))] {
        let [first, last] = fragments(&udp("10.0.0.4:1000", &format!("10.0.0.5:{port}")));
        check(&lab, A, &first, verdict);
        check(&lab, A, &last, verdict);
    }
}

/// A user's allow names both ends; what it does not name falls to the deny behind it.
#[test]
fn nsg_02_the_first_matching_rule_decides() {
    let mut world = world();
    let rules = world.acl([allow("10.0.0.4/32", "10.0.0.5/32"), deny_all()]);
    world.at(B).inbound.nic = Some(rules);
    let third = world.nic(VnetId(0), &["10.0.0.6"]);
    let lab = world.build();
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), to(B));
    check(&lab, third, &ping("10.0.0.6", "10.0.0.5"), dropped(NsgInbound));
}

//! Routes among two, three and four speakers: what is learned, chosen, passed on and refused (BGP-08 to BGP-17).

use bytes::BytesMut;
use vnet::bgp::message::{Aggregator, Capabilities, Context, Message, Opaque, Open, Origin, write_announcements};
use vnet::bgp::{
    AsPath, Asn, Attributes, Community, Ending, Families, Group, Happening, Notification, Origination, PeerConfig,
    PeerId, Refusal, Side, Source, State,
};

use crate::codec::{EXTERNAL, messages};
use crate::memory::{World, address, net};

/// A chain of as many systems, 65001 and on, each node's place its number less 65001.
fn chain(count: usize) -> World {
    let mut world = World::new();
    for n in 0..count {
        world.node(65001 + n as u32);
    }
    for n in 1..count {
        world.join((n - 1, 65000 + n as u32), (n, 65001 + n as u32));
    }
    world
}

fn edit(world: &mut World, node: usize, peer: usize, asn: u32, edit: impl FnOnce(&mut vnet::bgp::Policy)) {
    let mut policy = World::peer_config(node, asn).policy;
    edit(&mut policy);
    let now = world.now;
    world.nodes[node].set_policy(PeerId(peer as u32), policy, now);
    world.settle();
}

#[test]
fn routes_of_both_families_come_and_go() {
    let mut world = chain(2);
    world.network(0, "10.1.0.0/16");
    world.run_secs(5);
    world.network(0, "fd01::/48");
    world.network(1, "10.2.0.0/16");
    world.settle();
    assert_eq!(world.best(1, "10.1.0.0/16")[0].next_hop, Some(address(0).into()));
    assert_eq!(world.best(1, "fd01::/48")[0].next_hop, Some("fd00::1".parse().unwrap()));
    assert_eq!(world.as_path(0, "10.2.0.0/16").unwrap(), "65002");
    let now = world.now;
    world.nodes[0].withdraw(net("10.1.0.0/16"), Source::Network, now);
    world.nodes[0].withdraw(net("fd01::/48"), Source::Network, now);
    world.settle();
    assert_eq!((world.best(1, "10.1.0.0/16"), world.best(1, "fd01::/48")), (vec![], vec![]));
}

/// BGP-20, BGP-21: A to C through B, the path as long as the way.
#[test]
fn transit() {
    let mut world = chain(4);
    world.network(0, "10.1.0.0/16");
    world.run_secs(5);
    assert_eq!(world.as_path(3, "10.1.0.0/16").unwrap(), "65003-65002-65001");
    assert_eq!(world.best(3, "10.1.0.0/16")[0].next_hop, Some(address(2).into()), "through us");
    world.reset(0);
    assert_eq!(world.best(1, "10.1.0.0/16"), []);
    world.settle();
    assert_eq!(world.best(3, "10.1.0.0/16"), [], "a lost session takes its routes along at once");
    world.run_secs(5);
    assert_eq!(world.best(3, "10.1.0.0/16").len(), 1);
}

/// A ring: each has two ways to the prefix opposite, and none through itself.
#[test]
fn a_ring_has_no_loops() {
    let mut world = chain(4);
    world.join((3, 65004), (0, 65001));
    world.network(0, "10.1.0.0/16");
    world.run_secs(10);
    assert_eq!(world.via(2, "10.1.0.0/16"), [1, 3], "BGP-14: equal lengths are used together");
    assert_eq!(world.via(0, "10.1.0.0/16"), [0]);
    world.cut(0, true);
    world.run_secs(200);
    assert_eq!(world.as_path(1, "10.1.0.0/16").unwrap(), "65003-65004-65001", "the other way round");
    let now = world.now;
    world.nodes[0].withdraw(net("10.1.0.0/16"), Source::Network, now);
    world.run_secs(1);
    assert!((0..4).all(|node| world.best(node, "10.1.0.0/16").is_empty()), "no ghost runs in circles");
}

/// BGP-13: two gateways that were left at 65515 refuse what passed the other.
#[test]
fn bgp_13_a_path_through_us_is_refused() {
    let mut world = World::new();
    let nodes = [world.node(65515), world.node(65001), world.node(65515)];
    world.join((nodes[0], 65515), (nodes[1], 65001));
    world.join((nodes[1], 65001), (nodes[2], 65515));
    world.network(0, "10.1.0.0/16");
    world.run_secs(5);
    assert_eq!(world.best(2, "10.1.0.0/16"), []);
    let learned: Vec<_> = world.nodes[2].learned(PeerId(1)).collect();
    assert_eq!(learned.len(), 1);
    assert_eq!(learned[0].2, Some(Refusal::OwnAsn), "kept, with the reason");
}

/// BGP-13: another system of our number is refused, and told so; within our own system the same number is right.
#[test]
fn bgp_13_two_systems_of_one_number() {
    let mut world = World::new();
    let (a, b, within) = (world.node(65515), world.node(65515), world.node(65515));
    let foreign = |node| PeerConfig { external: true, ..World::peer_config(node, 65515) };
    world.link((a, foreign(a)), (b, foreign(b)));
    world.join((a, 65515), (within, 65515));
    world.network(a, "10.1.0.0/16");
    world.run_secs(300);
    assert!([(a, b), (b, a)].iter().all(|(node, peer)| world.state(*node, *peer) < State::OpenConfirm));
    let endings =
        [(a, b), (b, a)].map(|(node, peer)| world.nodes[node].status(PeerId(peer as u32)).unwrap().last_ending);
    let bad_peer_as = Notification::new(2, 2);
    assert!(endings.contains(&Some(Ending::Sent(bad_peer_as))), "{endings:?}");
    assert_eq!((world.best(b, "10.1.0.0/16").len(), world.best(within, "10.1.0.0/16").len()), (0, 1));
}

/// A peer is not told those of our routes that are withheld from it.
#[test]
fn own_routes_can_be_withheld() {
    let mut world = chain(3);
    world.network(1, "10.1.0.0/16");
    world.network(1, "10.2.0.0/16");
    world.run_secs(5);
    edit(&mut world, 1, 0, 65001, |policy| policy.export.withheld = vec![net("10.1.0.0/16")]);
    assert_eq!(world.best(0, "10.1.0.0/16"), []);
    assert_eq!([world.best(0, "10.2.0.0/16").len(), world.best(2, "10.1.0.0/16").len()], [1, 1]);
}

/// BGP-11: equal to or inside a prefix of ours is refused, a larger one is not.
#[test]
fn bgp_11_our_own_space_is_not_learned() {
    let mut world = chain(2);
    for prefix in ["10.80.0.0/16", "10.80.4.0/24", "10.0.0.0/8"] {
        world.network(0, prefix);
    }
    world.run_secs(5);
    edit(&mut world, 1, 0, 65001, |policy| policy.import.refuse_within = vec![net("10.80.0.0/16")]);
    let usable: Vec<_> = world.nodes[1].prefixes().map(ToString::to_string).collect();
    assert_eq!(usable, ["10.0.0.0/8"]);
    assert_eq!(world.nodes[1].status(PeerId(0)).unwrap().routes_received, 3);
    // What was refused is still known: a space that goes away needs no word from the peer.
    edit(&mut world, 1, 0, 65001, |_| {});
    assert_eq!(world.nodes[1].prefixes().count(), 3);
}

/// BGP-12 and BGP-10: a default route is used and not passed on, nor what overlaps our space.
#[test]
fn bgp_12_a_learned_default_route_stays_here() {
    let mut world = chain(3);
    for prefix in ["0.0.0.0/0", "10.0.0.0/8", "192.168.0.0/16"] {
        world.network(0, prefix);
    }
    world.run_secs(5);
    assert_eq!(world.nodes[2].prefixes().count(), 3);
    edit(&mut world, 1, 2, 65003, |policy| {
        policy.export.default_route = false;
        policy.export.refuse_overlapping = vec![net("10.80.0.0/16")];
    });
    assert_eq!(world.nodes[1].prefixes().count(), 3);
    let passed_on: Vec<_> = world.nodes[2].prefixes().map(ToString::to_string).collect();
    assert_eq!(passed_on, ["192.168.0.0/16"]);
    let told: Vec<_> = world.nodes[1].advertised(PeerId(2)).map(|(prefix, _)| prefix.to_string()).collect();
    assert_eq!(told, ["192.168.0.0/16"]);
    // One of our own is told.
    world.network(1, "0.0.0.0/0");
    world.settle();
    assert_eq!(world.as_path(2, "0.0.0.0/0").unwrap(), "65002");
}

/// A gateway that learns 172.20.0.0/16 from two sites: the gateway, and the sites, AS 65001 and 65002.
fn two_ways() -> (World, [usize; 3]) {
    let mut world = World::new();
    let nodes = [65515, 65001, 65002].map(|asn| world.node(asn));
    let [gateway, one, other] = nodes;
    world.join((gateway, 65515), (one, 65001));
    world.join((gateway, 65515), (other, 65002));
    for site in [one, other] {
        world.network(site, "172.20.0.0/16");
    }
    world.run_secs(5);
    (world, nodes)
}

/// BGP-14 and CS-35: the shorter path alone, equal ones together.
#[test]
fn bgp_14_prepending_moves_traffic_away() {
    let (mut world, [gateway, one, other]) = two_ways();
    assert_eq!(world.via(gateway, "172.20.0.0/16"), [one, other]);
    edit(&mut world, other, gateway, 65515, |policy| policy.export.prepend = 2);
    assert_eq!(world.via(gateway, "172.20.0.0/16"), [one]);
    let longer = world.nodes[gateway].learned(PeerId(other as u32)).next().unwrap().1.clone();
    assert_eq!(longer.attributes.as_path.to_string(), "65002-65002-65002");
    edit(&mut world, other, gateway, 65515, |_| {});
    assert_eq!(world.via(gateway, "172.20.0.0/16"), [one, other]);
}

/// ER-13 and CS-41: weight before the length of the path.
#[test]
fn er_13_weight_comes_first() {
    let (mut world, [gateway, one, other]) = two_ways();
    edit(&mut world, other, gateway, 65515, |policy| policy.export.prepend = 2);
    edit(&mut world, gateway, other, 65002, |policy| policy.import.weight = 100);
    assert_eq!(world.via(gateway, "172.20.0.0/16"), [other]);
    edit(&mut world, gateway, other, 65002, |_| {});
    assert_eq!(world.via(gateway, "172.20.0.0/16"), [one]);
}

/// BGP-17: a local network gateway's prefix beats the same one learned; BGP-10: and is told to peers.
#[test]
fn bgp_17_static_routes_win() {
    let mut world = chain(3);
    world.network(0, "10.99.0.0/24");
    world.run_secs(5);
    let tunnel = "10.255.9.9".parse().unwrap();
    let origination = Origination { next_hop: Some(tunnel), ..Origination::default() };
    let now = world.now;
    world.nodes[1].originate(net("10.99.0.0/24"), Source::Static, origination, now);
    world.settle();
    assert_eq!(world.best(1, "10.99.0.0/24")[0].next_hop, Some(tunnel));
    assert_eq!(world.as_path(2, "10.99.0.0/24").unwrap(), "65002");
    world.nodes[1].withdraw(net("10.99.0.0/24"), Source::Static, now);
    world.settle();
    assert_eq!(world.as_path(2, "10.99.0.0/24").unwrap(), "65002-65001");
}

/// BGP-16: two instances exchange by iBGP what each has learned, once, and prefer what comes from outside.
#[test]
fn bgp_16_two_instances() {
    let mut world = World::new();
    let [first, second, site] = [65515, 65515, 65001].map(|asn| world.node(asn));
    world.join((first, 65515), (second, 65515));
    let to_first = world.join((first, 65515), (site, 65001));
    world.join((second, 65515), (site, 65001));
    world.network(site, "172.20.0.0/16");
    world.run_secs(5);
    assert_eq!((world.via(first, "172.20.0.0/16"), world.via(second, "172.20.0.0/16")), (vec![site], vec![site]));
    let internal = world.nodes[first].learned(PeerId(second as u32)).next().unwrap().1.clone();
    assert_eq!(internal.attributes.as_path.to_string(), "65001", "nothing is put in front within a system");
    assert_eq!(internal.attributes.local_pref, Some(100));
    world.cut(to_first, true);
    world.run_secs(200);
    assert_eq!(world.via(first, "172.20.0.0/16"), [second], "through the other instance");
    let told: Vec<_> = world.nodes[first].advertised(PeerId(second as u32)).collect();
    assert_eq!(told, [], "not back, nor on to a third");
}

/// ARS-07 and RFC 1997.
#[test]
fn communities_that_forbid() {
    let mut world = chain(3);
    let now = world.now;
    for (prefix, community) in [
        ("10.1.0.0/16", Community::NO_ADVERTISE),
        ("10.2.0.0/16", Community::NO_EXPORT),
        ("10.3.0.0/16", Community::new(12076, 51004)),
    ] {
        edit(&mut world, 0, 1, 65002, |policy| policy.export.communities = vec![]);
        let origination = Origination { communities: vec![community], ..Origination::default() };
        world.nodes[0].originate(net(prefix), Source::Network, origination, now);
    }
    world.run_secs(5);
    assert_eq!(world.nodes[0].advertised(PeerId(1)).count(), 1, "neither leaves its own system");
    let kept = &world.best(2, "10.3.0.0/16")[0].attributes.communities;
    assert_eq!(kept, &[Community::new(12076, 51004)], "others are kept");
    // From a peer that adds it on the way.
    world.network(0, "10.4.0.0/16");
    edit(&mut world, 0, 1, 65002, |policy| policy.export.communities = vec![Community::NO_ADVERTISE]);
    assert_eq!((world.best(1, "10.4.0.0/16").len(), world.best(2, "10.4.0.0/16").len()), (1, 0));
}

/// ER-05, BGP-22, ARS-06: what comes from some peers is not told to some others.
#[test]
fn split_rules() {
    let mut world = World::new();
    let [middle, one, two, three] = [65515, 65001, 65002, 65003].map(|asn| world.node(asn));
    for site in [one, two, three] {
        let mut config = World::peer_config(middle, 65000 + site as u32);
        config.policy.group = Group(u32::from(site != three));
        config.policy.export.refuse_from = if site == three { vec![] } else { vec![Group(1)] };
        let towards = World::peer_config(site, 65515);
        world.link((middle, config), (site, towards));
        world.network(site, &format!("10.{site}.0.0/16"));
    }
    world.run_secs(5);
    assert_eq!(world.best(two, "10.1.0.0/16"), [], "one circuit's routes are not the other's");
    assert_eq!(world.best(one, "10.3.0.0/16").len(), 1);
    assert_eq!(world.best(three, "10.1.0.0/16").len(), 1);
}

/// ARS-02: a route server is not on the way.
#[test]
fn a_next_hop_left_unchanged() {
    let mut world = chain(3);
    world.network(0, "10.1.0.0/16");
    world.run_secs(5);
    edit(&mut world, 1, 2, 65003, |policy| policy.export.next_hop_unchanged = true);
    assert_eq!(world.best(2, "10.1.0.0/16")[0].next_hop, Some(address(0).into()));
}

/// BGP-08, LIM-19: one more than allowed ends the session.
#[test]
fn bgp_08_too_many_prefixes() {
    let mut world = chain(3);
    edit(&mut world, 1, 0, 65001, |policy| policy.import.prefixes_max = Some(4000));
    world.run_secs(5);
    edit(&mut world, 1, 0, 65001, |policy| policy.import.prefixes_max = Some(4000));
    for n in 0..4000u32 {
        world.network(0, &format!("20.{}.{}.0/24", n >> 8, n & 255));
    }
    world.settle();
    assert_eq!(world.state(1, 0), State::Established);
    assert_eq!(world.nodes[1].status(PeerId(0)).unwrap().routes_received, 4000);
    assert_eq!(world.nodes[2].prefixes().count(), 4000);
    world.network(0, "30.0.0.0/8");
    world.settle();
    assert_ne!(world.state(1, 0), State::Established);
    assert_eq!(world.nodes[2].prefixes().count(), 0);
    let told = Notification::new(6, 1).with_data([0, 1, 1, 0, 0, 0x0f, 0xa0]);
    let down = Happening::Down(Ending::Received(told));
    assert!(world.events.iter().any(|(node, event)| *node == 0 && event.what == down));
    // It is tried again, ever more seldom, until there are fewer.
    world.run_secs(3600);
    let now = world.now;
    let established = world.nodes[1].status(PeerId(0)).unwrap().counters.established;
    assert!((30..100).contains(&established), "{established} times in an hour");
    world.nodes[0].withdraw(net("30.0.0.0/8"), Source::Network, now);
    world.run_secs(120);
    assert_eq!(world.state(1, 0), State::Established);
}

/// ER-03: too much to tell takes the session down until it is less.
#[test]
fn er_03_too_much_to_tell() {
    let mut world = chain(2);
    world.run_secs(5);
    edit(&mut world, 0, 1, 65002, |policy| policy.export.prefixes_max = Some(1000));
    for n in 0..1000u32 {
        world.network(0, &format!("20.{}.{}.0/24", n >> 8, n & 255));
    }
    world.settle();
    assert_eq!(world.nodes[1].prefixes().count(), 1000);
    world.network(0, "30.0.0.0/8");
    world.run_secs(300);
    assert_eq!((world.state(0, 1), world.nodes[1].prefixes().count()), (State::Idle, 0));
    let held = Happening::TooManyToTell { prefixes: 1001 };
    assert!(world.events.iter().any(|(_, event)| event.what == held));
    let now = world.now;
    world.nodes[0].withdraw(net("30.0.0.0/8"), Source::Network, now);
    world.run_secs(60);
    assert_eq!((world.state(0, 1), world.nodes[1].prefixes().count()), (State::Established, 1000));
}

/// Only what has changed is said, and 4,000 prefixes take a handful of messages.
#[test]
fn few_words() {
    let mut world = chain(2);
    for n in 0..4000u32 {
        world.network(0, &format!("20.{}.{}.0/24", n >> 8, n & 255));
    }
    world.run_secs(5);
    assert_eq!(world.nodes[1].prefixes().count(), 4000);
    let received = |world: &World| world.nodes[1].status(PeerId(0)).unwrap().counters.messages_received;
    let before = received(&world);
    assert!(before < 12, "{before} messages");
    world.network(0, "20.0.0.0/24");
    edit(&mut world, 0, 1, 65002, |_| {});
    assert_eq!(received(&world), before, "nothing new, nothing said");
    world.network(0, "30.0.0.0/8");
    world.settle();
    assert_eq!(received(&world), before + 1);
}

/// A prefix that comes and goes while the peer does not read is told once, as it is in the end.
#[test]
fn a_flapping_prefix_costs_a_slow_reader_one_message() {
    let mut world = chain(3);
    world.run_secs(5);
    world.cut(1, true);
    for n in 0..20_000u32 {
        world.network(0, &format!("20.{}.{}.0/24", n >> 8, n & 255));
    }
    for _ in 0..200 {
        world.network(0, "99.0.0.0/8");
        world.settle();
        let now = world.now;
        world.nodes[0].withdraw(net("99.0.0.0/8"), Source::Network, now);
        world.settle();
    }
    world.network(0, "99.0.0.0/8");
    world.settle();
    let waiting =
        world.nodes[1].outgoing(PeerId(2), Side::Local).len() + world.nodes[1].outgoing(PeerId(2), Side::Remote).len();
    assert!(waiting < 160 << 10, "{waiting} bytes");
    world.cut(1, false);
    world.settle();
    assert_eq!(world.nodes[2].prefixes().count(), 20_001);
    assert!(world.nodes[2].status(PeerId(1)).unwrap().counters.messages_received < 200);
}

/// RFC 2918.
#[test]
fn a_peer_advertises_everything_again() {
    let mut world = chain(2);
    world.network(0, "10.1.0.0/16");
    world.network(0, "fd01::/48");
    world.run_secs(5);
    let before = world.nodes[1].status(PeerId(0)).unwrap().counters.messages_received;
    let now = world.now;
    assert!(world.nodes[1].request_refresh(PeerId(0), vnet::bgp::Family::Ipv4, now));
    world.settle();
    assert_eq!(world.nodes[1].status(PeerId(0)).unwrap().counters.messages_received, before + 1);
    assert_eq!(world.best(1, "10.1.0.0/16").len(), 1);
}

/// Each change is reported once to its reader.
#[test]
fn changes_are_reported() {
    let mut world = chain(2);
    world.run_secs(5);
    world.network(0, "10.1.0.0/16");
    world.network(0, "10.2.0.0/16");
    world.settle();
    let changes = |world: &mut World| {
        std::iter::from_fn(|| world.nodes[1].poll_change()).map(|p| p.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(changes(&mut world), ["10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!(changes(&mut world), [""; 0]);
    world.reset(0);
    assert_eq!(changes(&mut world).len(), 2);
}

/// A path that does not begin with its peer is refused (RFC 4271 section 6.3), and so is our own address as next hop.
#[test]
fn paths_that_lie() {
    let mut world = World::new();
    let a = world.node(65001);
    let config = PeerConfig { passive: true, ..World::peer_config(a, 65002) };
    world.nodes[a].add_peer(PeerId(1), config, world.now);
    assert!(world.nodes[a].handle_connected(PeerId(1), Side::Remote, world.now));
    let mut said = BytesMut::from(&[0xff; 16][..]);
    said.extend_from_slice(&[0, 29, 1, 4, 0xfd, 0xea, 0, 180, 10, 9, 9, 9, 0]);
    vnet::bgp::message::write_keepalive(&mut said);
    let two_byte = vnet::bgp::message::Context { four_byte_asn: false, ..EXTERNAL };
    for (path, hop, prefix) in [
        (&[65009, 65002][..], [192, 0, 2, 1], "10.1.0.0/16"),
        (&[65002], address(a).octets(), "10.2.0.0/16"),
        (&[65002, 70000], [192, 0, 2, 1], "10.3.0.0/16"),
    ] {
        let attributes =
            Attributes { as_path: AsPath::sequence(path.iter().copied().map(Asn)), ..Attributes::default() };
        write_announcements(&attributes, hop.into(), &[net(prefix)], two_byte, &mut said).unwrap();
    }
    world.nodes[a].handle_bytes(PeerId(1), Side::Remote, &said, world.now);
    let judged: Vec<_> =
        world.nodes[a].learned(PeerId(1)).map(|(_, path, why)| (path.attributes.as_path.to_string(), why)).collect();
    let expected = [
        ("65009-65002".to_owned(), Some(Refusal::FirstAsn)),
        ("65002".to_owned(), Some(Refusal::OwnNextHop)),
        ("65002-70000".to_owned(), None),
    ];
    assert_eq!(judged, expected, "the last through a speaker of two bytes (BGP-03)");
    // What a two-byte speaker is told.
    world.network(a, "10.9.0.0/16");
    let out = world.nodes[a].outgoing(PeerId(1), Side::Remote).to_vec();
    let Some(Message::Update(update)) = messages(&out, two_byte).pop() else { panic!("an UPDATE") };
    assert_eq!(update.attributes.as_path.to_string(), "65001");
}

/// A peer that is spoken for by hand, with no limit on silence.
fn by_hand(world: &mut World, node: usize, config: PeerConfig) -> PeerId {
    let (id, asn) = (PeerId(9), config.asn);
    world.nodes[node].add_peer(id, PeerConfig { passive: true, ..config }, world.now);
    assert!(world.nodes[node].handle_connected(id, Side::Remote, world.now));
    let capabilities = Capabilities { families: Some(Families::BOTH), route_refresh: true, four_byte_asn: true };
    let mut said = BytesMut::new();
    Open { asn, hold_time: 0, identifier: [10, 9, 9, 9].into(), capabilities }.write(&mut said);
    vnet::bgp::message::write_keepalive(&mut said);
    world.nodes[node].handle_bytes(id, Side::Remote, &said, world.now);
    assert_eq!(world.nodes[node].status(id).unwrap().state, State::Established);
    id
}

/// Every attribute with a value that no default is.
fn unusual(path: &[u32]) -> Attributes {
    Attributes {
        origin: Origin::Incomplete,
        as_path: AsPath::sequence(path.iter().copied().map(Asn)),
        med: Some(50),
        local_pref: Some(250),
        atomic_aggregate: true,
        aggregator: Some(Aggregator { asn: Asn(65077), identifier: [192, 0, 2, 9].into() }),
        communities: vec![Community::new(65077, 9)],
        opaque: vec![Opaque { kind: 200, value: vec![7, 7] }],
    }
}

/// RFC 4271 sections 5.1.4 and 5.1.5: MED is for the neighbour that it was said to, and goes no further, not to our own system
/// either; LOCAL_PREF comes into being where a system is entered. All else goes on as it came.
#[test]
fn what_is_passed_on_of_attributes() {
    let mut world = chain(2);
    let within = world.node(65001);
    world.join((0, 65001), (within, 65001));
    world.run_secs(5);
    let peer = by_hand(&mut world, 0, World::peer_config(0, 65009));
    let mut said = BytesMut::new();
    write_announcements(&unusual(&[65009]), [192, 0, 2, 1].into(), &[net("10.9.0.0/16")], EXTERNAL, &mut said).unwrap();
    world.nodes[0].handle_bytes(peer, Side::Remote, &said, world.now);
    world.settle();
    let known = |node: usize| (*world.best(node, "10.9.0.0/16")[0].attributes).clone();
    assert_eq!((known(0).med, known(0).local_pref), (Some(50), None), "as the neighbour said it");
    assert_eq!(known(1), Attributes { med: None, local_pref: None, ..unusual(&[65001, 65009]) });
    assert_eq!(known(within), Attributes { med: None, local_pref: Some(100), ..unusual(&[65009]) });
}

/// RFC 4456: a reflector changes no attribute of its own system's routes, not even LOCAL_PREF.
#[test]
fn what_is_reflected_stays_as_it_was() {
    let mut world = World::new();
    let (reflector, client) = (world.node(65001), world.node(65001));
    let mut towards_client = World::peer_config(reflector, 65001);
    towards_client.policy.export.client = true;
    let towards_reflector = World::peer_config(client, 65001);
    world.link((reflector, towards_client), (client, towards_reflector));
    world.run_secs(5);
    let peer = by_hand(&mut world, reflector, World::peer_config(reflector, 65001));
    let mut said = BytesMut::new();
    let internal = Context { internal: true, ..EXTERNAL };
    write_announcements(&unusual(&[65009]), [192, 0, 2, 1].into(), &[net("10.9.0.0/16")], internal, &mut said).unwrap();
    world.nodes[reflector].handle_bytes(peer, Side::Remote, &said, world.now);
    world.settle();
    let known = (*world.best(client, "10.9.0.0/16")[0].attributes).clone();
    assert_eq!(known, Attributes { med: None, ..unusual(&[65009]) });
}

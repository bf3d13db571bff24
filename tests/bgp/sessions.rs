//! Sessions between two speakers: up, down, timers, collisions, and last words.

use std::time::Duration;

use proptest::prelude::*;
use vnet::bgp::message::{Context, Message};
use vnet::bgp::{Asn, Ending, Families, Happening, Notification, PeerConfig, PeerId, Side, State, Transport};

use crate::codec::messages;
use crate::memory::World;

const A: usize = 0;
const B: usize = 1;

fn two() -> World {
    let mut world = World::new();
    let (a, b) = (world.node(65001), world.node(65002));
    world.join((a, 65001), (b, 65002));
    world
}

fn happened(world: &World, node: usize) -> Vec<&Happening> {
    world.events.iter().filter(|(at, _)| *at == node).map(|(_, event)| &event.what).collect()
}

#[test]
fn both_connect_and_one_connection_stays() {
    let mut world = two();
    world.run_secs(10);
    assert_eq!((world.state(A, B), world.state(B, A)), (State::Established, State::Established));
    assert_eq!(
        (happened(&world, A), happened(&world, B)),
        (vec![&Happening::Established], vec![&Happening::Established])
    );
    // RFC 4271 section 6.8: the one that the higher identifier opened.
    assert_eq!(world.nodes[B].transport(PeerId(A as u32), Side::Local), Transport::Open);
    assert_eq!(world.nodes[B].transport(PeerId(A as u32), Side::Remote), Transport::Absent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// However bytes are cut, and whichever side connects first, both end up with the same connection.
    #[test]
    fn collisions(chunk in 1..200usize, seed in 0..3usize, passive in 0..3u8) {
        let mut world = World::new();
        world.chunk = chunk;
        for _ in 0..seed {
            world.node(1);
        }
        let (a, b) = (world.node(65001), world.node(65002));
        let (mut towards_b, mut towards_a) = (World::peer_config(a, 65002), World::peer_config(b, 65001));
        towards_b.passive = passive == 1;
        towards_a.passive = passive == 2;
        world.link((a, towards_b), (b, towards_a));
        world.run_secs(30);
        prop_assert_eq!((world.state(a, b), world.state(b, a)), (State::Established, State::Established));
        let open = |node: usize, peer: usize, side| world.nodes[node].transport(PeerId(peer as u32), side) == Transport::Open;
        prop_assert!(open(a, b, Side::Local) == open(b, a, Side::Remote));
        prop_assert!(open(a, b, Side::Remote) == open(b, a, Side::Local));
        prop_assert!(open(a, b, Side::Local) != open(a, b, Side::Remote));
    }
}

/// BGP-05: the peer of an APIPA address must connect; there is no session if both wait.
#[test]
fn two_that_wait_never_meet() {
    let mut world = World::new();
    let (a, b) = (world.node(65001), world.node(65002));
    let passive = |config: PeerConfig| PeerConfig { passive: true, ..config };
    let (towards_b, towards_a) = (World::peer_config(a, 65002), World::peer_config(b, 65001));
    world.link((a, passive(towards_b)), (b, passive(towards_a)));
    world.run_secs(600);
    assert_eq!((world.state(A, B), world.state(B, A)), (State::Active, State::Active));
}

/// BGP-07: 60 and 180 seconds.
#[test]
fn keepalives_keep_a_session() {
    let mut world = two();
    world.run_secs(3600);
    let status = world.nodes[A].status(PeerId(B as u32)).unwrap();
    assert_eq!((status.state, status.counters.established), (State::Established, 1));
    // One a minute, up to a quarter more often, and the few of the start.
    assert!((60..=85).contains(&status.counters.messages_sent), "{}", status.counters.messages_sent);
}

#[test]
fn silence_ends_a_session_after_the_hold_time() {
    let mut world = two();
    world.run_secs(10);
    world.cut(0, true);
    world.run_secs(100);
    assert_eq!(world.state(A, B), State::Established);
    world.run_secs(100);
    let expired = Happening::Down(Ending::Sent(Notification::new(4, 0)));
    assert!(happened(&world, A).contains(&&expired), "{:?}", happened(&world, A));
    world.cut(0, false);
    world.reset(0);
    world.run_secs(120);
    assert_eq!((world.state(A, B), world.state(B, A)), (State::Established, State::Established));
}

/// The smaller of both (RFC 4271 section 4.2).
#[test]
fn hold_time_is_negotiated() {
    let mut world = World::new();
    let (a, b) = (world.node(65001), world.node(65002));
    let (towards_b, towards_a) = (World::peer_config(a, 65002), World::peer_config(b, 65001));
    world.link((a, PeerConfig { hold_time: 9, ..towards_b }), (b, towards_a));
    world.run_secs(60);
    world.cut(0, true);
    world.run_secs(10);
    assert_ne!(world.state(b, a), State::Established, "B proposed 180 seconds and goes by 9");
}

#[test]
fn a_hold_time_of_zero_is_patience_for_ever() {
    let mut world = World::new();
    let (a, b) = (world.node(65001), world.node(65002));
    let (towards_b, towards_a) = (World::peer_config(a, 65002), World::peer_config(b, 65001));
    world.link((a, PeerConfig { hold_time: 0, ..towards_b }), (b, towards_a));
    world.run_secs(10);
    world.cut(0, true);
    world.run_secs(100_000);
    assert_eq!((world.state(a, b), world.state(b, a)), (State::Established, State::Established));
}

/// A lost connection is made again within seconds; each loss in a row makes the wait longer.
#[test]
fn a_lost_connection_is_made_again() {
    let mut world = two();
    world.run_secs(100);
    for _ in 0..3 {
        world.reset(0);
        assert_ne!(world.state(A, B), State::Established);
        world.run_secs(5);
        assert_eq!((world.state(A, B), world.state(B, A)), (State::Established, State::Established));
    }
    for _ in 0..10 {
        world.reset(0);
        world.run_secs(62);
    }
    assert_eq!(world.state(A, B), State::Established);
}

/// An address that is wrong looks like this: nobody takes the connection, at once or after the time that an attempt has.
#[test]
fn an_attempt_without_an_answer_is_the_last_error_until_the_session_is_up() {
    let mut world = two();
    let ending = |world: &World| world.nodes[A].status(PeerId(B as u32)).unwrap().last_ending;
    assert_eq!(ending(&world), None);
    world.nodes[A].handle_closed(PeerId(B as u32), Side::Local, world.now);
    assert_eq!(ending(&world), Some(Ending::Unanswered));
    assert_eq!(Ending::Unanswered.to_string(), "no BGP speaker answers at this address");
    world.run_secs(10);
    assert_eq!((world.state(A, B), ending(&world)), (State::Established, None));
    world.reset(0);
    assert_eq!(ending(&world), Some(Ending::Lost));

    let mut silent = World::new();
    silent.node(65001);
    let config = World::peer_config(A, 65002);
    silent.nodes[A].add_peer(PeerId(B as u32), config, silent.now);
    let patience = silent.nodes[A].poll_timeout().unwrap();
    silent.nodes[A].handle_timeout(patience);
    assert_eq!((silent.state(A, B), ending(&silent)), (State::Active, Some(Ending::Unanswered)));
}

#[test]
fn an_operators_last_words_arrive() {
    let mut world = two();
    world.run_secs(10);
    let now = world.now;
    let words = Notification::shutdown("maintenance");
    world.nodes[A].stop_peer(PeerId(B as u32), &words, now);
    world.settle();
    assert!(happened(&world, B).contains(&&Happening::Down(Ending::Received(words.clone()))));
    assert_eq!(world.nodes[B].status(PeerId(A as u32)).unwrap().last_ending, Some(Ending::Received(words)));
    world.run_secs(600);
    assert_eq!(world.state(A, B), State::Idle);
    assert!(world.nodes[A].status(PeerId(B as u32)).unwrap().stopped);
    let now = world.now;
    world.nodes[A].start_peer(PeerId(B as u32), now);
    world.run_secs(5);
    assert_eq!((world.state(A, B), world.state(B, A)), (State::Established, State::Established));
}

#[test]
fn an_unexpected_as_number_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.node(65001), world.node(65002));
    let (towards_b, towards_a) = (World::peer_config(a, 65009), World::peer_config(b, 65001));
    world.link((a, towards_b), (b, towards_a));
    world.run_secs(300);
    assert_ne!(world.state(a, b), State::Established);
    let endings = [world.nodes[a].status(PeerId(1)), world.nodes[b].status(PeerId(0))].map(|s| s.unwrap().last_ending);
    let bad_peer_as = Notification::new(2, 2);
    assert!(endings.contains(&Some(Ending::Received(bad_peer_as))), "{endings:?}");
    let sent = world.nodes[b].status(PeerId(0)).unwrap().counters.messages_sent;
    assert!(sent < 40, "{sent} messages in five minutes: it does not hurry");
}

#[test]
fn no_common_capability_is_reported() {
    let mut world = World::new();
    let (a, b) = (world.node(65001), world.node(65002));
    let (towards_b, towards_a) = (World::peer_config(a, 65002), World::peer_config(b, 65001));
    let ipv6 = Families { ipv4: false, ipv6: true };
    world.link(
        (a, PeerConfig { families: ipv6, ..towards_b }),
        (b, PeerConfig { families: Families::IPV4, ..towards_a }),
    );
    world.run_secs(5);
    let ending = world.nodes[a].status(PeerId(1)).unwrap().last_ending.unwrap();
    let (Ending::Sent(told) | Ending::Received(told)) = ending else { panic!("{ending:?}") };
    assert_eq!((told.code, told.subcode), (2, 7));
}

/// RFC 6286: the same identifier is one speaker's within a system, but may be two's of different ones.
#[test]
fn identifiers() {
    for (asn, state) in [(65001, false), (65002, true)] {
        let mut world = World::new();
        let a = world.node(65001);
        world.nodes.push(vnet::bgp::Speaker::new(Asn(asn), crate::memory::address(a), 9));
        world.join((a, 65001), (1, asn));
        world.run_secs(30);
        assert_eq!(world.state(a, 1) == State::Established, state, "AS {asn}");
    }
}

/// RFC 4271 section 6.8: no OPEN is sent on a second connection that would not stay. The peer could take it for the one to
/// keep, and give up what is established here.
#[test]
fn a_connection_that_comes_too_late_has_no_open() {
    let id = PeerId(1);
    // Ours is 10.255.0.1: the connection of the higher one stays.
    let higher = hand_made(1, &[4, 0xfd, 0xea, 0, 180, 11, 9, 9, 9, 0]);
    for (said, late) in [(vec![], false), (open(), false), (higher, true), ([open(), hand_made(4, &[])].concat(), true)]
    {
        let mut world = World::new();
        let a = world.node(65001);
        world.nodes[a].add_peer(id, World::peer_config(a, 65002), world.now);
        world.run_secs(60);
        assert_eq!(world.nodes[a].transport(id, Side::Local), Transport::Connecting);
        assert!(world.nodes[a].handle_connected(id, Side::Remote, world.now));
        world.nodes[a].handle_bytes(id, Side::Remote, &said, world.now);
        assert_eq!(world.nodes[a].handle_connected(id, Side::Local, world.now), !late);
        assert_eq!(world.nodes[a].transport(id, Side::Local) == Transport::Absent, late);
        assert_eq!(world.nodes[a].outgoing(id, Side::Local).is_empty(), late);
    }
}

/// RFC 4271 section 8.1.3: a socket that nobody asked for changes nothing about the one that is there.
#[test]
fn a_connection_that_is_not_wanted_leaves_the_session() {
    let mut world = two();
    let (peer, now) = (PeerId(A as u32), world.now);
    assert!(world.nodes[B].handle_connected(peer, Side::Remote, now));
    assert!(!world.nodes[B].handle_connected(peer, Side::Remote, now), "one from the peer is there");
    assert_eq!(world.nodes[B].transport(peer, Side::Remote), Transport::Open);
    let mut world = two();
    world.run_secs(10);
    for side in [Side::Local, Side::Local, Side::Remote] {
        let now = world.now;
        assert!(!world.nodes[B].handle_connected(peer, side, now) || side == Side::Remote);
        assert_eq!(world.state(B, A), State::Established);
        assert_eq!(world.nodes[B].transport(peer, Side::Local), Transport::Open);
    }
    world.nodes[B].stop_peer(peer, &Notification::new(6, 2), world.now);
    assert!(!world.nodes[B].handle_connected(peer, Side::Remote, world.now), "not while it is stopped");
}

/// What one side says by hand to a speaker; what it answers.
fn answers(said: &[u8]) -> (World, Vec<Message>) {
    let mut world = World::new();
    let a = world.node(65001);
    let config = PeerConfig { passive: true, ..World::peer_config(a, 65002) };
    world.nodes[a].add_peer(PeerId(1), config, world.now);
    assert!(world.nodes[a].handle_connected(PeerId(1), Side::Remote, world.now));
    world.nodes[a].handle_bytes(PeerId(1), Side::Remote, said, world.now);
    let out = world.nodes[a].outgoing(PeerId(1), Side::Remote).to_vec();
    (world, messages(&out, Context { four_byte_asn: true, internal: false }))
}

fn hand_made(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &(19 + body.len() as u16).to_be_bytes(), &[kind], body].concat()
}

fn open() -> Vec<u8> {
    hand_made(1, &[4, 0xfd, 0xea, 0, 180, 10, 9, 9, 9, 0])
}

/// RFC 4271 section 4.4: each UPDATE and KEEPALIVE begins the hold time anew, and a ROUTE-REFRESH does; silence does not.
#[test]
fn every_message_restarts_the_hold_timer() {
    let end_of_routes = hand_made(2, &[0; 4]);
    let reads = |world: &mut World| {
        let waiting = world.nodes[0].outgoing(PeerId(1), Side::Remote).len();
        world.nodes[0].handle_sent(PeerId(1), Side::Remote, waiting, world.now);
    };
    for said in [end_of_routes, hand_made(4, &[]), hand_made(5, &[0, 1, 0, 1])] {
        let (mut world, _) = answers(&[open(), hand_made(4, &[])].concat());
        for _ in 0..5 {
            world.run_secs(100);
            reads(&mut world);
            assert_eq!(world.state(0, 1), State::Established, "{said:02x?}");
            world.nodes[0].handle_bytes(PeerId(1), Side::Remote, &said, world.now);
        }
        world.run_secs(179);
        assert_eq!(world.state(0, 1), State::Established, "{said:02x?}");
        world.run_secs(2);
        let ending = world.nodes[0].status(PeerId(1)).unwrap().last_ending;
        assert_eq!(ending, Some(Ending::Sent(Notification::new(4, 0))), "{said:02x?}");
    }
}

/// The hold time runs from the peer's OPEN on, and from its KEEPALIVE.
#[test]
fn a_handshake_has_its_time() {
    let (mut world, _) = answers(&open());
    world.run_secs(179);
    assert_eq!(world.state(0, 1), State::OpenConfirm);
    world.nodes[0].handle_bytes(PeerId(1), Side::Remote, &hand_made(4, &[]), world.now);
    world.run_secs(179);
    assert_eq!(world.state(0, 1), State::Established);
    let (mut world, _) = answers(&open());
    world.run_secs(181);
    assert!(world.state(0, 1) < State::OpenSent);
}

/// RFC 6608: the code says in which state.
#[test]
fn messages_out_of_turn() {
    let keepalive = hand_made(4, &[]);
    let refresh = hand_made(5, &[0, 1, 0, 1]);
    let cases: [(&[&[u8]], u8); 4] =
        [(&[&keepalive], 1), (&[&open(), &refresh], 2), (&[&open(), &keepalive, &open()], 3), (&[&refresh], 1)];
    for (said, subcode) in cases {
        let (world, answers) = answers(&said.concat());
        let last = answers.last().unwrap();
        assert_eq!(*last, Message::Notification(Notification::new(5, subcode)), "{said:02x?}");
        assert_eq!(world.nodes[0].transport(PeerId(1), Side::Remote), Transport::Closing);
    }
}

/// A NOTIFICATION is not answered (RFC 4271 section 6.4).
#[test]
fn a_notification_ends_without_a_word() {
    let (world, answers) = answers(&[open(), hand_made(3, &[6, 2])].concat());
    assert_eq!(answers, [] as [Message; 0]);
    assert_eq!(world.nodes[0].transport(PeerId(1), Side::Remote), Transport::Closing);
    assert_eq!(world.state(0, 1), State::Active);
}

/// After a mistake of the peer's it may not connect for a while.
#[test]
fn who_errs_has_to_wait() {
    let (mut world, _) = answers(&[0; 19]);
    assert_eq!(world.state(0, 1), State::Idle);
    world.nodes[0].handle_closed(PeerId(1), Side::Remote, world.now);
    assert!(!world.nodes[0].handle_connected(PeerId(1), Side::Remote, world.now));
    world.run_secs(1);
    assert!(world.nodes[0].handle_connected(PeerId(1), Side::Remote, world.now));
}

/// A peer that reads nothing: what waits for it stays small, and in the end it is given up (RFC 9687).
#[test]
fn a_peer_that_does_not_read() {
    let (mut world, _) = answers(&[open(), hand_made(4, &[])].concat());
    assert_eq!(world.state(0, 1), State::Established);
    for n in 0..50_000u32 {
        world.network(0, &format!("20.{}.{}.0/24", n >> 8 & 255, n & 255));
    }
    let waiting = world.nodes[0].outgoing(PeerId(1), Side::Remote).len();
    assert!((64 << 10..160 << 10).contains(&waiting), "{waiting} bytes");
    let until = world.now + Duration::from_secs(490);
    while world.now < until {
        world.nodes[0].handle_bytes(PeerId(1), Side::Remote, &hand_made(4, &[]), world.now);
        world.run_secs(60);
    }
    let ending = world.nodes[0].status(PeerId(1)).unwrap().last_ending;
    assert_eq!(ending, Some(Ending::Sent(Notification::new(8, 0))));
}

/// Last words that nobody reads are dropped after five seconds, long before the hold time.
#[test]
fn last_words_wait_for_no_reader() {
    let (mut world, _) = answers(&[open(), hand_made(4, &[])].concat());
    let (peer, now, node) = (PeerId(1), world.now, &mut world.nodes[0]);
    node.stop_peer(peer, &Notification::shutdown("maintenance"), now);
    let at = now + Duration::from_secs(5);
    assert_eq!((node.transport(peer, Side::Remote), node.poll_timeout()), (Transport::Closing, Some(at)));
    assert!(!node.outgoing(peer, Side::Remote).is_empty());
    node.handle_timeout(at);
    assert!(node.outgoing(peer, Side::Remote).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Random bytes at any point of a session: never a panic, a NOTIFICATION of the right kind, and others unharmed.
    #[test]
    fn random_bytes_end_one_session_only(stage in 0..3usize, noise in proptest::collection::vec(any::<u8>(), 19..300), framed: bool) {
        let mut world = World::new();
        let (a, b) = (world.node(65001), world.node(65002));
        world.join((a, 65001), (b, 65002));
        world.run_secs(5);
        let id = PeerId(7);
        world.nodes[a].add_peer(id, PeerConfig { passive: true, ..PeerConfig::new(Asn(65002)) }, world.now);
        prop_assert!(world.nodes[a].handle_connected(id, Side::Remote, world.now));
        let said = [vec![], open(), [open(), hand_made(4, &[])].concat()][stage].clone();
        world.nodes[a].handle_bytes(id, Side::Remote, &said, world.now);
        let len = world.nodes[a].outgoing(id, Side::Remote).len();
        let bytes = if framed { hand_made(noise[0] % 7, &noise) } else { noise };
        world.nodes[a].handle_bytes(id, Side::Remote, &bytes, world.now);
        let answer = messages(world.nodes[a].outgoing(id, Side::Remote).get(len..).unwrap_or_default(), Context { four_byte_asn: true, internal: false });
        let closing = world.nodes[a].transport(id, Side::Remote) == Transport::Closing;
        if let Some(Message::Notification(notification)) = answer.last() {
            prop_assert!(closing);
            let expected: &[u8] = if framed { &[1, 2, 3, 5] } else { &[1] };
            prop_assert!(expected.contains(&notification.code), "{}", notification);
        } else {
            prop_assert!(framed, "noise is not a message");
        }
        prop_assert_eq!(world.state(a, b), State::Established);
        world.run_secs(5);
        prop_assert_eq!(world.state(b, a), State::Established);
    }
}

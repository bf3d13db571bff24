//! A peer that misbehaves on a real socket: it gets the right NOTIFICATION, and no other session is harmed.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use vnet::bgp::driver::{Neighbour, PORT};
use vnet::bgp::{Asn, Origination, PeerConfig, PeerId, Retry, Source};
use vnet::sys::socket::Origin;

use crate::ours::Ours;
use crate::router::{Brand, Router, SOON};
use crate::{OURS, both_ways, permitted};

/// Another address in the peer's namespace, which our router knows as AS 65003, and one that it does not know.
const HOSTILE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 4);

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

/// What is said after the connection is made, and the code and subcode that are heard (RFC 4271 section 4.5, RFC 6608).
fn cases() -> [(&'static str, Vec<u8>, [u8; 2]); 7] {
    let established = || [open(65003), message(KEEPALIVE, &[])].concat();
    let mut unmarked = message(KEEPALIVE, &[]);
    unmarked[3] = 0;
    let mut endless = message(KEEPALIVE, &[]);
    endless[16..18].copy_from_slice(&[0xff, 0xff]);
    [
        ("no marker", unmarked, [1, 1]),
        ("a message longer than any", endless, [1, 2]),
        ("no such type", message(9, &[]), [1, 3]),
        ("an OPEN of another AS", open(65009), [2, 2]),
        ("a KEEPALIVE before the OPEN", message(KEEPALIVE, &[]), [5, 1]),
        ("an UPDATE with inconsistent lengths", [established(), message(UPDATE, &[0xff; 4])].concat(), [3, 1]),
        ("silence", established(), [4, 0]),
    ]
}

#[test]
fn the_right_notification_and_no_other_session_harmed() {
    if !permitted(Some(Brand::Bird.program())) {
        return;
    }
    let mut router = Router::new(Brand::Bird);
    router.add_addresses(&[HOSTILE, STRANGER]);
    let ours = Ours::start(&router.ours, false, Some(crate::router::PASSWORD));
    let neighbour = Neighbour { local: OURS.into(), remote: HOSTILE.into(), device: None, password: None };
    let retry = Retry { first: Duration::from_millis(10), most: Duration::from_millis(10) };
    let config = PeerConfig { passive: true, hold_time: 3, retry, ..PeerConfig::new(Asn(65003)) };
    ours.router.add_peer(PeerId(2), neighbour, config);
    router.start();
    both_ways(&router, &ours);

    for (what, said, expected) in cases() {
        let heard = router.theirs.run(|| talk(HOSTILE, &said)).unwrap();
        assert_eq!(last_words(&heard), Some(expected), "{what}");
    }
    for seed in 1..=40 {
        let heard = router.theirs.run(|| talk(HOSTILE, &[open(65003), noise(seed)].concat())).unwrap();
        let words = last_words(&heard).unwrap_or_else(|| panic!("noise {seed} is answered"));
        assert!((1..=5).contains(&words[0]), "noise {seed}: {words:?}");
    }
    assert!(router.theirs.run(|| once(STRANGER, &open(65003))).unwrap().is_empty(), "no speaker answers strangers");

    assert!(ours.has("10.20.0.0/16") && router.has("10.1.0.0/16"));
    assert_eq!(ours.status().counters.established, 1, "the other session has not noticed");
}

/// Damaged UPDATEs without an end in sessions that are up, and again as soon as it is let in: RFC 7606. Another peer's session
/// stays, hears nothing that is damaged and is told of a change at once; memory is bounded; and nothing of the flood is left.
#[test]
fn a_flood_of_damaged_updates() {
    const PREFIXES_MAX: u32 = 1_000;
    if !permitted(Some(Brand::Bird.program())) {
        return;
    }
    let mut router = Router::new(Brand::Bird);
    router.add_addresses(&[HOSTILE]);
    let ours = Ours::start(&router.ours, false, Some(crate::router::PASSWORD));
    let neighbour = Neighbour { local: OURS.into(), remote: HOSTILE.into(), device: None, password: None };
    let retry = Retry { first: Duration::from_millis(10), most: Duration::from_millis(10) };
    let mut config = PeerConfig { passive: true, retry, ..PeerConfig::new(Asn(65003)) };
    config.policy.import.prefixes_max = Some(PREFIXES_MAX);
    ours.router.add_peer(PeerId(2), neighbour, config);
    router.start();
    both_ways(&router, &ours);
    let hostile = || ours.router.look(|speaker| speaker.status(PeerId(2))).unwrap();

    let before = resident();
    let (mut most, mut received, mut slowest) = (0, 0, Duration::ZERO);
    thread::scope(|scope| {
        let flood = scope.spawn(|| router.theirs.run(|| flood(Duration::from_secs(6))).unwrap());
        let network = "10.77.0.0/16".parse().unwrap();
        let mut there = false;
        while !flood.is_finished() {
            ours.drain();
            most = most.max(resident());
            received = received.max(hostile().routes_received);
            let asked = Instant::now();
            there = !there;
            ours.router.change(|speaker, now| {
                if there {
                    speaker.originate(network, Source::Network, Origination::default(), now);
                } else {
                    speaker.withdraw(network, Source::Network, now);
                }
            });
            while router.has("10.77.0.0/16") != there {
                assert!(asked.elapsed() < SOON, "the other peer hears of a change: {}", router.log());
                ours.drain();
            }
            slowest = slowest.max(asked.elapsed());
        }
        let sent = flood.join().unwrap();
        assert!(sent > 1_000, "{sent} UPDATEs are no flood");
    });
    let status = hostile();
    assert!(status.counters.established > 5, "it was let in again: {status:?}");
    assert!(status.counters.faults > 1_000, "mistakes that ended no session: {status:?}");
    assert!((1..=PREFIXES_MAX).contains(&received), "{received} routes");
    assert!(most < before + (32 << 20), "from {before} to {most} bytes");
    assert!(slowest < Duration::from_secs(2), "{slowest:?} until the other peer had heard of a change");
    assert!(ours.until(SOON, |_| hostile().routes_received == 0), "its routes have gone with it");
    assert_eq!(ours.status().counters.established, 1, "the other session has not noticed");
    assert!(ours.has("10.20.0.0/16") && router.has("10.1.0.0/16"));
    for complaint in ["Malformed", "malformed", "error", "Error"] {
        assert!(!router.log().contains(complaint), "{}", router.log());
    }
}

/// Sends damaged UPDATEs for so long, in any session it gets; how many.
fn flood(time: Duration) -> usize {
    let end = Instant::now() + time;
    let (mut sent, mut seed) = (0, 1);
    while Instant::now() < end {
        let Some(mut stream) = connected(HOSTILE) else { continue };
        stream.set_write_timeout(Some(SOON)).unwrap();
        let mut said = [open(65003), message(KEEPALIVE, &[])].concat();
        // Until it is hung up on.
        while Instant::now() < end && stream.write_all(&said).is_ok() {
            said = (0..50).flat_map(|_| damaged(&mut seed)).collect();
            sent += 50;
        }
    }
    sent
}

/// An UPDATE that is damaged more often than not.
fn damaged(seed: &mut u64) -> Vec<u8> {
    let mut random = |below: usize| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as usize % below
    };
    let mut attributes = [
        &[0x40, 1, 1, 0][..],
        &[0x40, 2, 8, 2, 3, 0xfd, 0xeb, 0xfd, 0xf0, 0xfd, 0xf1],
        &[0x40, 3, 4, 198, 51, 100, 3],
        &[0x80, 4, 4, 0, 0, 0, 9],
        &[0xc0, 8, 8, 0xfd, 0xeb, 0, 1, 0xfd, 0xeb, 0, 2],
        &[0xc0, 200, 3, 1, 2, 3],
    ]
    .concat();
    // ORIGIN, the kind and the length of the path, NEXT_HOP: the routes count as withdrawn.
    for at in [3, 7, 8, 18] {
        if random(6) == 0 {
            attributes[at] = random(256) as u8;
        }
    }
    // Anywhere: it may end the session.
    if random(500) == 0 {
        let at = random(attributes.len());
        attributes[at] = random(256) as u8;
    }
    let mut routes: Vec<_> = (0..100).flat_map(|_| [24, 20, random(3) as u8, random(256) as u8]).collect();
    if random(2_000) == 0 {
        routes[0] = 33;
    }
    let withdrawn = [24, 20, random(3) as u8, random(256) as u8];
    let body = [&[0, 4][..], &withdrawn, &(attributes.len() as u16).to_be_bytes(), &attributes, &routes].concat();
    message(UPDATE, &body)
}

/// Of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Says something until it is let in: a peer that has made a mistake is kept out for a while.
fn talk(from: Ipv4Addr, said: &[u8]) -> Vec<u8> {
    let end = Instant::now() + SOON;
    loop {
        let heard = once(from, said);
        if !heard.is_empty() {
            return heard;
        }
        assert!(Instant::now() < end, "never let in");
    }
}

/// A connection, if it is taken.
fn connected(from: Ipv4Addr) -> Option<TcpStream> {
    let origin = Origin { device: None, address: Some(IpAddr::V4(from)) };
    let connecting = origin.tcp_towards(SocketAddr::new(OURS.into(), PORT)).unwrap();
    connecting.wait(SOON).ok()??;
    let stream = connecting.into_stream();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    Some(stream)
}

/// Says something and listens until the other end hangs up.
fn once(from: Ipv4Addr, said: &[u8]) -> Vec<u8> {
    let mut stream = connected(from).expect("a connection");
    let mut heard = Vec::new();
    // A connection that is not wanted is reset.
    if stream.write_all(said).is_ok() {
        let _ = stream.read_to_end(&mut heard);
    }
    heard
}

/// The code and subcode of a NOTIFICATION at the end of whole messages.
fn last_words(heard: &[u8]) -> Option<[u8; 2]> {
    let mut rest = heard;
    let mut words = None;
    while let Some(length) = rest.get(16..18).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]]))) {
        words = (rest[18] == NOTIFICATION).then(|| [rest[19], rest[20]]);
        rest = &rest[length..];
    }
    words
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// Version 4, a hold time of 3 seconds, no capability.
fn open(asn: u16) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    message(OPEN, &[&[4, high, low, 0, 3][..], &HOSTILE.octets(), &[0]].concat())
}

/// An UPDATE of random bytes, and more that is no message at all.
fn noise(seed: u64) -> Vec<u8> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 32) as u8
    };
    let body: Vec<u8> = (0..seed * 20).map(|_| byte()).collect();
    [message(KEEPALIVE, &[]), message(UPDATE, &body), body].concat()
}

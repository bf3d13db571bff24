//! Any input from a BGP peer: raw bytes, or bodies of framed messages, before or after the session is up.
//!
//! A session that such input ends sends a NOTIFICATION first, and nothing panics, even if the clock jumps.

#![no_main]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use vnet::bgp::session::{Session, SessionConfig};
use vnet::bgp::{Asn, Families, Retry, Side, State, Transport};

const NOTIFICATION: u8 = 3;
/// A message's marker and length.
const LENGTH_AT: usize = 16;
const KIND_AT: usize = 18;

fn session(asn: u32, peer: u32, passive: bool) -> Session {
    Session::new(SessionConfig {
        asn: Asn(asn),
        // No two speakers have one identifier.
        identifier: if passive { Ipv4Addr::new(10, 0, 0, 1) } else { Ipv4Addr::new(10, 0, 0, 2) },
        peer_asn: Asn(peer),
        external: asn != peer,
        passive,
        hold_time: 180,
        families: Families::BOTH,
        retry: Retry::default(),
        seed: 1,
    })
}

/// Kinds of the whole messages that wait to be sent.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while bytes.len() > KIND_AT {
        kinds.push(bytes[KIND_AT]);
        let length = usize::from(u16::from_be_bytes([bytes[LENGTH_AT], bytes[LENGTH_AT + 1]]));
        assert!(length > KIND_AT, "we sent nonsense");
        bytes = bytes.get(length..).unwrap_or_default();
    }
    kinds
}

/// Brings the session to `Established` with a correct peer.
fn greet(ours: &mut Session, asn: u32, now: Instant) {
    let mut peer = session(asn, 65001, false);
    peer.start(now);
    peer.handle_connected(Side::Local, now);
    for _ in 0..4 {
        let said = peer.outgoing(Side::Local).to_vec();
        peer.handle_sent(Side::Local, said.len(), now);
        ours.handle_bytes(Side::Remote, &said, now);
        let answer = ours.outgoing(Side::Remote).to_vec();
        ours.handle_sent(Side::Remote, answer.len(), now);
        peer.handle_bytes(Side::Local, &answer, now);
    }
    assert_eq!(ours.state(), State::Established);
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (KIND_AT + 1 + body.len()) as u16;
    [&[0xff; LENGTH_AT][..], &length.to_be_bytes(), &[kind], body].concat()
}

fuzz_target!(|data: &[u8]| {
    let [setting, data @ ..] = data else { return };
    let mut now = Instant::now();
    let asn = if setting & 1 == 0 { 65002 } else { 65001 };
    let mut ours = session(65001, asn, true);
    ours.start(now);
    ours.handle_connected(Side::Remote, now);
    if setting & 2 != 0 {
        greet(&mut ours, asn, now);
    }
    let mut rest = data;
    // Bytes that are no message may begin one, a peer's NOTIFICATION among others: that is not answered.
    let mut is_framed = true;
    // Kind, length, body; the kind's high bit says that the body is no message.
    while let [kind, length, body @ ..] = rest {
        let (body, after) = body.split_at(body.len().min(usize::from(*length)));
        rest = after;
        is_framed &= kind & 0x80 == 0;
        let bytes = if kind & 0x80 == 0 { framed(kind & 0x0f, body) } else { body.to_vec() };
        let was_open = ours.transport(Side::Remote) == Transport::Open;
        ours.handle_bytes(Side::Remote, &bytes, now);
        while ours.poll_event().is_some() {}
        let said = kinds(ours.outgoing(Side::Remote));
        if was_open && ours.transport(Side::Remote) == Transport::Closing && kind & 0x8f != NOTIFICATION {
            assert!(said.contains(&NOTIFICATION) || !is_framed, "ended without a word by {bytes:?}");
        }
        let sent = ours.outgoing(Side::Remote).len();
        ours.handle_sent(Side::Remote, sent, now);
        if kind & 0x40 != 0 {
            now += Duration::from_secs(u64::from(*length));
            ours.handle_timeout(now);
        }
        if ours.transport(Side::Remote) != Transport::Open {
            break;
        }
    }
});

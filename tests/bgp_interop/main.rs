//! Our speaker on real sockets, with FRR, BIRD 2 and GoBGP in another namespace: sessions, routes of both families both ways,
//! restarts, last words, signed segments; and with a peer that misbehaves. Skips, saying why, where namespaces or a program
//! are not to be had.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it skips")]

mod hostile;
mod ours;
mod router;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use vnet::bgp::{Ending, Notification, Origination, Source, State};
use vnet::sys::caps::{self, CapabilitySet};

use ours::{Ours, PEER};
use router::{Brand, Router, SOON};

const OURS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

#[test]
fn frr() {
    check(Brand::Frr);
}

#[test]
fn bird() {
    check(Brand::Bird);
}

#[test]
fn gobgp() {
    check(Brand::GoBgp);
}

/// Whether namespaces and a program, if one is named, are to be had.
fn permitted(program: Option<&str>) -> bool {
    let missing = if !caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        "root".to_owned()
    } else if let Some(program) = program.filter(|program| !Path::new(program).exists()) {
        program.to_owned()
    } else {
        return true;
    };
    assert!(std::env::var("CI").is_err(), "CI runs every test: needs {missing}");
    eprintln!("skipped: needs {missing}");
    false
}

fn check(brand: Brand) {
    if !permitted(Some(brand.program())) {
        return;
    }
    // Either side may be the one that connects.
    for passive in [false, true] {
        let mut router = Router::new(brand);
        let ours = Ours::start(&router.ours, passive, Some(router::PASSWORD));
        life(&mut router, &ours);
    }
}

/// Up, routes both ways, held for longer than the hold time, cut, restarted, shut down.
fn life(router: &mut Router, ours: &Ours) {
    router.start();
    both_ways(router, ours);
    assert_eq!(ours.hop("10.20.0.0/16"), Some(IpAddr::V4(THEIRS)));
    assert_eq!(ours.hop("fd20::/48"), Some("2001:db8::2".parse().unwrap()));
    assert!(!ours.until(Duration::from_secs(12), |ours| ours.state() != State::Established), "it holds");

    let network = "10.1.0.0/16".parse().unwrap();
    ours.router.change(|speaker, now| speaker.withdraw(network, Source::Network, now));
    gone_there(router, ours, "10.1.0.0/16");
    ours.router.change(|speaker, now| speaker.originate(network, Source::Network, Origination::default(), now));

    ours.cut();
    both_ways(router, ours);

    router.stop();
    assert!(ours.until(SOON, |ours| ours.state() != State::Established), "it has gone");
    assert!(!ours.has("10.20.0.0/16") && !ours.has("fd20::/48"));
    let ending = ours.status().last_ending;
    assert!(matches!(&ending, Some(Ending::Received(Notification { code: 6, .. }) | Ending::Lost)), "{ending:?}");
    router.start();
    both_ways(router, ours);

    ours.router.change(|speaker, now| speaker.stop_peer(PEER, &Notification::shutdown("maintenance"), now));
    gone_there(router, ours, "10.1.0.0/16");
    let status = ours.status();
    assert_eq!((status.state, status.counters.faults), (State::Idle, 0));
}

fn both_ways(router: &Router, ours: &Ours) {
    let learned = ours.until(SOON, |ours| ours.has("10.20.0.0/16") && ours.has("fd20::/48"));
    assert!(learned, "{:?}: {}", ours.status(), router.log());
    for prefix in ["10.1.0.0/16", "fd01::/48"] {
        let there = ours.until(SOON, |_| router.has(prefix));
        assert!(there, "{prefix}: {}", router.log());
    }
}

fn gone_there(router: &Router, ours: &Ours, prefix: &str) {
    assert!(ours.until(SOON, |_| !router.has(prefix)), "{prefix} is still there: {}", router.log());
}

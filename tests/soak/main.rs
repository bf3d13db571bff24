//! Flows that a change does not concern, while everything around them changes for a minute and more: not one packet of
//! theirs is lost (CS-08, PEER-11).
//!
//! Two pairs of machines talk over UDP and TCP: one inside VNet a, with a peering to b that comes and goes while machines,
//! routes and address ranges of both change; the other across the peering of c and d, which no change touches. The senders
//! have credit for a few packets that were not seen to arrive, far fewer than a queue holds; so a machine that starves
//! slows the test down and loses nothing, and each missing packet was lost by the router. It ends once a minute has
//! passed (or as many as VNET_MINUTES says), a thousand changes of routes were made, and as many datagrams have arrived as
//! go into a minute at 10,000 a second.
//!
//! What it would see: a batch lost when tables change or a worker takes a new port (a gap in the numbers), a flow that
//! meets another's record or a route that is not there for a moment (a drop that is counted, and a gap), a queue that
//! changes hands (datagrams that change places), bytes that are not what was sent. TCP mends a loss by itself, so what its
//! kernels sent again is told beside a failure; they do so without a loss where a machine is slow, so it decides nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, reason = "shared with other tests, which use other parts")]
#[path = "../support/capture.rs"]
mod capture;
#[allow(dead_code, reason = "shared with other tests, which use other parts")]
#[path = "../support/lab.rs"]
mod lab;
mod stream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use vnet::daemon::api::client::ask;
use vnet::daemon::api::protocol::{Apply, Change, Request, Response};

use lab::Lab;
use stream::{Datagrams, Transfer};

const MINUTE: Duration = Duration::from_secs(60);
const ROUTE_CHANGES: u32 = 1_000;
const DATAGRAMS: u64 = 600_000;
/// Of the flow across the peering that no change touches.
const DATAGRAMS_ACROSS: u64 = 60_000;

/// How long the changes go on: a minute, or VNET_MINUTES.
fn span() -> Duration {
    let minutes = std::env::var("VNET_MINUTES").map_or(1, |minutes| minutes.parse().expect("a number in VNET_MINUTES"));
    MINUTE * minutes
}

/// What the file says in one step.
#[derive(Clone, Copy, Default)]
struct Step {
    a_b: bool,
    b_a: bool,
    forwarded: bool,
    grown: bool,
    visitor: bool,
    route: u32,
}

impl Step {
    fn topology(self) -> String {
        let Self { a_b, b_a, forwarded, grown, visitor, route } = self;
        let link = |present: bool, name: &str, remote: &str| {
            let text = format!("{{name: {name}, remoteVirtualNetwork: {remote}, allowForwardedTraffic: {forwarded}}}");
            if present { text } else { String::new() }
        };
        let visitor = if visitor { "  - {name: visitor, networkInterfaces: [{subnet: a/s}]}\n" } else { "" };
        format!(
            "
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16{}]
    subnets: [{{name: s, addressPrefix: 10.1.1.0/24, routeTable: t, networkSecurityGroup: g}}]
    virtualNetworkPeerings: [{}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.2.1.0/24, routeTable: t}}]
    virtualNetworkPeerings: [{}]
  - name: c
    location: westeurope
    addressSpace: [10.3.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.3.1.0/24, routeTable: t}}]
    virtualNetworkPeerings: [{{name: c-d, remoteVirtualNetwork: d}}]
  - name: d
    location: northeurope
    addressSpace: [10.4.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.4.1.0/24, networkSecurityGroup: g}}]
    virtualNetworkPeerings: [{{name: d-c, remoteVirtualNetwork: c}}]
networkSecurityGroups: [{{name: g}}]
routeTables:
  - name: t
    routes: [{{name: moving, addressPrefix: 10.{}.0.0/16, nextHopType: None}}]
virtualMachines:
{visitor}  - {{name: a1, networkInterfaces: [{{subnet: a/s, privateIPAddress: 10.1.1.11}}]}}
  - {{name: a2, networkInterfaces: [{{subnet: a/s, privateIPAddress: 10.1.1.12}}]}}
  - {{name: vb, networkInterfaces: [{{subnet: b/s}}]}}
  - {{name: vc, networkInterfaces: [{{subnet: c/s, privateIPAddress: 10.3.1.11}}]}}
  - {{name: vd, networkInterfaces: [{{subnet: d/s, privateIPAddress: 10.4.1.12}}]}}
",
            if grown { ", 10.9.0.0/16" } else { "" },
            link(a_b, "a-b", "b"),
            link(b_a, "b-a", "a"),
            100 + route % 100,
        )
    }
}

/// The life of a peering and of a neighbour, step by step.
const LIFE: [Step; 9] = {
    let none = Step { a_b: false, b_a: false, forwarded: false, grown: false, visitor: false, route: 0 };
    let peered = Step { a_b: true, b_a: true, ..none };
    [
        Step { visitor: true, ..none },
        Step { a_b: true, visitor: true, ..none },
        peered,
        Step { forwarded: true, ..peered },
        Step { forwarded: true, grown: true, ..peered },
        Step { grown: true, visitor: true, ..peered },
        Step { visitor: true, ..peered },
        Step { a_b: false, ..peered },
        none,
    ]
};

/// How many changes of routes there are to each step of that life.
const ROUTE_CHANGES_A_STEP: u32 = 20;

struct Changes<'a> {
    lab: &'a Lab,
    socket: PathBuf,
}

impl Changes<'_> {
    /// Creates, flags, syncs, deletes, machines that come and go, and between them changes of routes, until it is enough.
    fn make_all(&self, enough: impl Fn() -> bool) {
        let (begin, span) = (Instant::now(), span());
        let mut life = LIFE.into_iter().cycle();
        let mut now = Step::default();
        for route in 1_u32.. {
            now.route = route;
            self.apply(now, false);
            if route % ROUTE_CHANGES_A_STEP == 0 {
                let next = Step { route, ..life.next().unwrap() };
                // Grown ranges are synced by verb, shrunk ones by the same change.
                self.apply(next, now.grown && !next.grown);
                if next.grown && !now.grown {
                    self.make(Change::SyncPeering { link: Some("b-a".to_owned()) });
                }
                now = next;
            }
            if route >= ROUTE_CHANGES && begin.elapsed() >= span && enough() {
                break;
            }
            let due = MINUTE * route / ROUTE_CHANGES;
            thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }

    fn apply(&self, step: Step, sync: bool) {
        let text = self.lab.named(&step.topology());
        let apply = Apply {
            text,
            service_tags: None,
            nftables: std::collections::BTreeMap::new(),
            file: "soak.yaml".to_owned(),
            path: None,
            dry_run: false,
            sync,
            no_run: false,
            agreed: true,
        };
        self.make(Change::Apply(apply));
    }

    fn make(&self, change: Change) {
        let answer = ask(&self.socket, &Request::Change(change)).unwrap();
        assert!(matches!(&answer, Response::Changed(changed) if changed.applied), "{answer:?}");
    }
}

#[test]
fn cs_08_peer_11_unaffected_flows_lose_nothing() {
    let Some(lab) = Lab::up(&Step::default().topology()) else { return };
    let socket = Path::new("/run/vnet").join(&lab.name).join("control.sock");
    let changes = Changes { lab: &lab, socket };
    let (done, arrived) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let pairs = [("a1", "a2", "10.1.1.12"), ("vc", "vd", "10.4.1.12")];
    let datagrams = pairs.map(|(from, to, address)| Datagrams::open(&lab, from, to, address));
    let transfers = pairs.map(|(from, to, address)| Transfer::open(&lab, from, to, address));

    let (counted, received) = thread::scope(|scope| {
        let (done, arrived) = (&done, &arrived);
        let every = [Duration::from_micros(100), Duration::from_millis(1)];
        let streams: Vec<_> = datagrams.iter().zip(arrived).zip(every).collect();
        let streams: Vec<_> = streams
            .into_iter()
            .map(|((stream, arrived), every)| scope.spawn(move || stream.run(every, arrived, done)))
            .collect();
        let transfers: Vec<_> = transfers.iter().map(|transfer| scope.spawn(move || transfer.run(done))).collect();
        let enough = || {
            let [within, across] = [&arrived[0], &arrived[1]].map(|arrived| arrived.load(Ordering::Relaxed));
            within >= DATAGRAMS && across >= DATAGRAMS_ACROSS || streams.iter().any(ScopedJoinHandle::is_finished)
        };
        // Also when a change fails, or else the streams would go on for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| changes.make_all(enough)));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
        let counted: Vec<_> = streams.into_iter().map(|stream| stream.join().unwrap()).collect();
        (counted, transfers.into_iter().map(|transfer| transfer.join().unwrap()).collect::<Vec<_>>())
    });

    let explained = || {
        let again =
            pairs.iter().flat_map(|(from, to, _)| [*from, *to]).map(|node| (node, stream::sent_again(&lab, node)));
        format!("drops {}, TCP segments sent again {:?}", lab.data(&["drops"]), again.collect::<Vec<_>>())
    };
    for ((from, to, _), counted) in pairs.iter().zip(counted) {
        assert_eq!(counted.lost, 0, "of {} datagrams from {from} to {to}; {}", counted.sent, explained());
        assert_eq!(counted.out_of_order, 0, "of {} datagrams from {from} to {to}; {}", counted.sent, explained());
    }
    for ((from, to, _), bytes) in pairs.iter().zip(received) {
        assert!(bytes > 1 << 20, "only {bytes} bytes from {from} to {to} over TCP; {}", explained());
    }
    // The router itself says so, too; what a kernel on Ethernet says by itself (FAB-16) is not listed.
    let rows = lab.data(&["drops"]);
    for node in pairs.iter().flat_map(|(from, to, _)| [*from, *to]) {
        assert!(rows.as_array().unwrap().iter().all(|row| row["node"] != node), "{node}: {}", explained());
    }
}

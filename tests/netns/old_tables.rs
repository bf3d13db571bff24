//! Changes under traffic: once a change is reported, the old tables decide on no packet.
//!
//! `VNET_APPLIES=1000` makes as many changes.

use std::collections::BTreeMap;
use std::env;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use vnet::daemon::api::client::ask;
use vnet::daemon::api::protocol::{Apply, Change, Request, Response};

use crate::flow_cache::{A, B, DENY, NOWHERE, PORT, topology};
use crate::lab::{Lab, NEVER, eventually};

const APPLIES: usize = 100;
/// Datagrams that are sent between a change that refuses them and the next one.
const REFUSED: u64 = 64;

/// Numbered datagrams from one machine to the other, all the time.
struct Traffic {
    client: UdpSocket,
    server: UdpSocket,
    done: AtomicBool,
    /// How many numbers are given out, before they are sent.
    sent: AtomicU64,
    /// The highest that has arrived.
    seen: AtomicU64,
}

impl Traffic {
    fn new(lab: &Lab) -> Self {
        let bind = |node, address| lab.inside(node, || UdpSocket::bind(address).unwrap());
        let (client, server) = (bind("a", (A, 0)), bind("b", (B, PORT)));
        client.connect((B, PORT)).unwrap();
        server.set_read_timeout(Some(NEVER)).unwrap();
        Self { client, server, done: AtomicBool::new(false), sent: AtomicU64::new(1), seen: AtomicU64::new(0) }
    }

    fn send(&self) {
        while !self.done.load(Ordering::Relaxed) {
            for _ in 0..8 {
                let number = self.sent.fetch_add(1, Ordering::SeqCst);
                let _ = self.client.send(&number.to_be_bytes());
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn receive(&self) {
        let mut buffer = [0; 8];
        while !self.done.load(Ordering::Relaxed) {
            if matches!(self.server.recv(&mut buffer), Ok(8)) {
                self.seen.fetch_max(u64::from_be_bytes(buffer), Ordering::SeqCst);
            }
        }
    }
}

/// Ends the threads when a test fails, too.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_packet_goes_by_old_tables_after_many_changes_under_traffic() {
    let applies = env::var("VNET_APPLIES").map_or(APPLIES, |text| text.parse().unwrap());
    let open = topology("veth", "", "");
    let Some(lab) = Lab::up(&open) else { return };
    let socket = PathBuf::from("/run/vnet").join(&lab.name).join("control.sock");
    let apply = |text: &str| {
        let (text, file) = (lab.named(text), "lab.yaml".to_owned());
        let apply = Apply {
            text,
            service_tags: None,
            nftables: BTreeMap::new(),
            file,
            path: None,
            dry_run: false,
            sync: false,
            no_run: false,
            agreed: true,
        };
        let answer = ask(&socket, &Request::Change(Change::Apply(apply))).unwrap();
        assert!(matches!(answer, Response::Changed(_)), "{answer:?}");
    };
    let dropped = || match ask(&socket, &Request::Drops { by_flow: false }) {
        Ok(Response::Drops(rows)) => rows.iter().filter(|row| !row.harmless).map(|row| row.packets).sum::<u64>(),
        other => panic!("{other:?}"),
    };
    let carried = || match ask(&socket, &Request::Status) {
        Ok(Response::Status(status)) => status.carried_flows.unwrap(),
        other => panic!("{other:?}"),
    };
    let traffic = Traffic::new(&lab);
    thread::scope(|scope| {
        let _ending = Ending(&traffic.done);
        scope.spawn(|| traffic.send());
        scope.spawn(|| traffic.receive());
        for change in 0..applies / 2 {
            let from = traffic.sent.load(Ordering::SeqCst);
            eventually("the kernel carries the flow", || carried() > 0 && traffic.seen.load(Ordering::SeqCst) > from);
            let (rules, routes) = if change % 2 == 0 { (DENY, "") } else { ("", NOWHERE) };
            apply(&topology("veth", rules, routes));
            let reported = traffic.sent.load(Ordering::SeqCst);
            let before = dropped();
            eventually("datagrams are dropped", || dropped() >= before + REFUSED);
            let seen = traffic.seen.load(Ordering::SeqCst);
            assert!(seen < reported, "change {change} was reported before number {reported}; {seen} has arrived");
            apply(&open);
        }
    });
}

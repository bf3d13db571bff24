//! Flows that a change does not concern, while much changes: not one packet of theirs is lost (CS-08, PEER-11).
//!
//! Ten seconds here; `VNET_SOAK=1` makes it a minute, ten thousand datagrams a second and a thousand changes of routes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vnet::control::client::ask;
use vnet::control::protocol::{Apply, Change, Request, Response};

use crate::lab::{Lab, SOON};

/// How much is asked of the router.
struct Load {
    span: Duration,
    datagrams_per_ms: u32,
    route_changes: u32,
}

impl Load {
    fn chosen() -> Self {
        if std::env::var_os("VNET_SOAK").is_some() {
            Self { span: Duration::from_secs(60), datagrams_per_ms: 10, route_changes: 1000 }
        } else {
            Self { span: Duration::from_secs(10), datagrams_per_ms: 2, route_changes: 200 }
        }
    }
}

/// What the file says in one step: VNet a is where the flows are, everything around it changes.
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
networkSecurityGroups: [{{name: g}}]
routeTables:
  - name: t
    routes: [{{name: moving, addressPrefix: 10.{}.0.0/16, nextHopType: None}}]
virtualMachines:
{visitor}  - {{name: a1, networkInterfaces: [{{subnet: a/s, privateIPAddress: 10.1.1.11}}]}}
  - {{name: a2, networkInterfaces: [{{subnet: a/s, privateIPAddress: 10.1.1.12}}]}}
  - {{name: vb, networkInterfaces: [{{subnet: b/s}}]}}
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

struct Changes<'a> {
    lab: &'a Lab,
    socket: PathBuf,
}

impl Changes<'_> {
    fn apply(&self, step: Step, sync: bool) {
        let text = self.lab.named(&step.topology());
        let apply = Apply { text, file: "steady.yaml".to_owned(), path: None, dry_run: false, sync };
        self.make(Change::Apply(apply));
    }

    fn make(&self, change: Change) {
        let answer = ask(&self.socket, &Request::Change(change)).unwrap();
        assert!(matches!(&answer, Response::Changed(changed) if changed.applied), "{answer:?}");
    }
}

#[test]
fn cs_08_unaffected_flows_lose_nothing() {
    let Some(lab) = Lab::up(&Step::default().topology()) else { return };
    let load = Load::chosen();
    let socket = Path::new("/run/vnet").join(&lab.name).join("control.sock");
    let changes = Changes { lab: &lab, socket };
    let done = AtomicBool::new(false);
    let udp = UdpStream::open(&lab);
    let tcp = TcpFlow::open(&lab);

    let (udp, rounds) = thread::scope(|scope| {
        let udp = scope.spawn(|| udp.run(load.datagrams_per_ms, &done));
        let tcp = scope.spawn(|| tcp.run(&done));
        // Also when a change fails, or else the streams would go on for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| change_everything(&changes, &load)));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
        (udp.join().unwrap(), tcp.join().unwrap())
    });

    let Counted { sent, arrived, in_order } = udp;
    // A tenth of the rate on a machine that is busy.
    let least = load.span.as_millis() * u128::from(load.datagrams_per_ms) / 10;
    assert!(u128::from(sent) > least, "only {sent} datagrams");
    assert_eq!((arrived, in_order), (sent, true), "datagrams were lost or changed places");
    assert!(rounds > 100, "only {rounds} answers over TCP");
    for node in ["a1", "a2"] {
        let rows = lab.data(&["counters"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["node"] == node).unwrap().clone();
        assert_eq!(row["drops"], 0, "{}", lab.data(&["drops"]));
    }
}

/// Creates, flags, syncs, deletes, machines that come and go; and between them changes of routes, spread over the span.
fn change_everything(changes: &Changes<'_>, load: &Load) {
    let begin = Instant::now();
    let every = load.route_changes / (4 * LIFE.len() as u32);
    let mut life = LIFE.into_iter().cycle();
    let mut now = Step::default();
    for route in 1..=load.route_changes {
        now.route = route;
        changes.apply(now, false);
        if route % every == 0 {
            let next = Step { route: now.route, ..life.next().unwrap() };
            // Grown ranges are synced by verb, shrunk ones by the same change.
            changes.apply(next, now.grown && !next.grown);
            if next.grown && !now.grown {
                changes.make(Change::SyncPeering { link: Some("b-a".to_owned()) });
            }
            now = next;
        }
        let due = load.span * route / load.route_changes;
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
}

/// Numbered datagrams from a1 to a2.
struct UdpStream {
    client: UdpSocket,
    server: UdpSocket,
}

struct Counted {
    sent: u64,
    arrived: u64,
    in_order: bool,
}

impl UdpStream {
    fn open(lab: &Lab) -> Self {
        let server = lab.inside("a2", || UdpSocket::bind("10.1.1.12:7000").unwrap());
        let client = lab.inside("a1", || UdpSocket::bind("10.1.1.11:0").unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        // What waits for a reader that is slow is not the router's business.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&server, 64 << 20).unwrap();
        Self { client, server }
    }

    /// A few datagrams every millisecond until it is done; then waits for the last.
    fn run(&self, per_ms: u32, done: &AtomicBool) -> Counted {
        let sent = std::sync::atomic::AtomicU64::new(u64::MAX);
        thread::scope(|scope| {
            let receiver = scope.spawn(|| self.receive(&sent));
            let mut next: u64 = 0;
            while !done.load(Ordering::Relaxed) {
                for _ in 0..per_ms {
                    self.client.send(&next.to_be_bytes()).unwrap();
                    next += 1;
                }
                thread::sleep(Duration::from_millis(1));
            }
            sent.store(next, Ordering::Relaxed);
            let (arrived, in_order) = receiver.join().unwrap();
            Counted { sent: next, arrived, in_order }
        })
    }

    fn receive(&self, sent: &std::sync::atomic::AtomicU64) -> (u64, bool) {
        self.server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let (mut received, mut in_order) = (0, true);
        let mut buffer = [0; 8];
        let mut last = Instant::now();
        while received < sent.load(Ordering::Relaxed) {
            match self.server.recv(&mut buffer) {
                Ok(8) => {
                    in_order &= u64::from_be_bytes(buffer) == received;
                    received += 1;
                    last = Instant::now();
                }
                Ok(length) => panic!("a datagram of {length} bytes"),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if last.elapsed() > SOON {
                        break;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        (received, in_order)
    }
}

/// Questions and answers over one connection from a1 to a2.
struct TcpFlow {
    client: TcpStream,
    server: TcpStream,
}

impl TcpFlow {
    fn open(lab: &Lab) -> Self {
        let listener = lab.inside("a2", || TcpListener::bind("10.1.1.12:7000").unwrap());
        let at = listener.local_addr().unwrap();
        let client = lab.inside("a1", || TcpStream::connect_timeout(&at, SOON)).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(SOON)).unwrap();
        }
        Self { client, server }
    }

    /// How many blocks came back as they were.
    fn run(&self, done: &AtomicBool) -> usize {
        thread::scope(|scope| {
            let mut echo = &self.server;
            scope.spawn(move || {
                let mut block = [0; 4096];
                while echo.read_exact(&mut block).is_ok() {
                    echo.write_all(&block).unwrap();
                }
            });
            let mut client = &self.client;
            let mut rounds = 0_usize;
            while !done.load(Ordering::Relaxed) {
                let block: Vec<u8> = (0..4096).map(|i| (rounds + i) as u8).collect();
                client.write_all(&block).unwrap();
                let mut back = vec![0; 4096];
                client.read_exact(&mut back).unwrap();
                assert!(back == block, "block {rounds} came back changed");
                rounds += 1;
                thread::sleep(Duration::from_millis(2));
            }
            self.client.shutdown(std::net::Shutdown::Write).unwrap();
            rounds
        })
    }
}

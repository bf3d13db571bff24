//! A SYN flood with real packets: a machine that spoofs sources and ports, against a port that is closed and one that is
//! open, while another machine's connection goes on.
//!
//! A TUN drops what comes faster than it is read, so attempts are counted where the router has decided on them, and no
//! time is asserted.

use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, MMsgHdr, Protocol, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, sendmmsg,
    socket_with,
};
use serde_json::Value;
use vnet::wire::build;

use crate::lab::sockets::bound;
use crate::lab::{Lab, SOON, pattern, say};

const ATTEMPTS: u64 = 1_000_000;
/// Records of one interface.
const BOUND: u64 = 2_000;
/// Packets handed to the kernel in one call.
const BURST: usize = 64;
/// For one flood, on a machine that does much else besides.
const PATIENCE: Duration = Duration::from_secs(300);
const CHUNK: usize = 16 << 10;

const TOPOLOGY: &str = "
emulation: {flowsPerNic: 2000}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: out, addressPrefix: 10.1.1.0/24}
      - {name: in, addressPrefix: 10.1.2.0/24, networkSecurityGroup: web}
networkSecurityGroups:
  - name: web
    securityRules:
      - {name: http, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '80'}
      - {name: rest, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: attacker, networkInterfaces: [{subnet: v/out, privateIPAddress: 10.1.1.4, enableIPForwarding: true}]}
  - {name: friend, networkInterfaces: [{subnet: v/out, privateIPAddress: 10.1.1.5}]}
  - {name: server, networkInterfaces: [{subnet: v/in, privateIPAddress: 10.1.2.4}]}
";

#[test]
fn nsg_22_and_nsg_26_a_syn_flood_fills_no_more_than_its_bound_and_a_connection_goes_on() {
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    let friend = Friend::meets(&lab);
    let done = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let talking = scope.spawn(|| friend.talk(&done));
        // A failed assertion must not leave it talking.
        let _stop = Stop(&done);
        let before = records(&lab);
        flood(&lab, 81, &["NsgInbound"]);
        assert_eq!(records(&lab), before, "what is denied leaves no record");
        assert_eq!(lab.drops("attacker", "FlowLimit"), 0);

        flood(&lab, 80, &["FlowLimit"]);
        assert_eq!(records_of(&lab, "server"), BOUND, "its share, and no more");
        assert_eq!(records(&lab), 2 * BOUND, "each record has its other end");
        // A client that comes now gets no other answer than that the server is full.
        let late = lab.inside("friend", || TcpStream::connect_timeout(&server(80), Duration::from_secs(3)));
        assert!(late.is_err());
        lab.await_drop("friend", "FlowLimit");
        done.store(true, Ordering::Relaxed);
        talking.join().unwrap()
    });
    assert!(rounds > 10, "{rounds} exchanges are no conversation");
    // Both ends' own packets were let through all the time.
    assert_eq!(lab.drops("server", "FlowLimit"), 0);
}

/// About as many as two pairs of machines get: 4 in 17 parts of the 4.5 million that shares are taken from, so that new
/// flows push out old ones.
const MANY: u64 = 1_050_000;

const CROWDED: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24}]
virtualMachines:
  - {name: attacker, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.4}]}
  - {name: victim, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.5}]}
  - {name: helper, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.8}]}
  - {name: sufferer, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.9}]}
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.6}]}
  - {name: server, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.7}]}
";

#[test]
fn nsg_26_beside_a_flood_of_new_flows_machines_that_have_nothing_to_do_with_it_get_theirs() {
    let Some(lab) = Lab::up(CROWDED) else { return };
    let (done, begin) = (AtomicBool::new(false), Instant::now());
    let listener = lab.inside("server", || TcpListener::bind("10.1.1.7:80").unwrap());
    thread::scope(|scope| {
        let _stop = Stop(&done);
        for (node, from, to) in [("attacker", "10.1.1.4", "10.1.1.5"), ("helper", "10.1.1.8", "10.1.1.9")] {
            let (lab, done) = (&lab, &done);
            scope.spawn(move || lab.inside(node, || to_random_ports(from, to, done)));
        }
        scope.spawn(|| serve(&listener, &done));
        while records(&lab) < MANY {
            assert!(begin.elapsed() < PATIENCE, "{} records", records(&lab));
            thread::sleep(Duration::from_millis(100));
        }
        let (before, since) = (sent(&lab), Instant::now());
        let answered = lab.inside("client", || (0..100).take_while(|_| get("10.1.1.7:80".parse().unwrap())).count());
        let rate = u128::from(sent(&lab) - before) * 1000 / since.elapsed().as_millis();
        say(&format!("100 requests beside {rate} packets a second and {} records", records(&lab)));
        assert_eq!(answered, 100, "requests beside {} records", records(&lab));
    });
    assert_eq!(lab.drops("client", "FlowLimit") + lab.drops("client", "NetworkFlowLimit"), 0);
}

/// Packets of all machines so far.
fn sent(lab: &Lab) -> u64 {
    let rows = lab.data(&["counters"]);
    rows.as_array().unwrap().iter().map(|row| row["rxPackets"].as_u64().unwrap()).sum()
}

/// Datagrams that each begin a flow: from 60 sockets to every port.
fn to_random_ports(from: &str, to: &str, done: &AtomicBool) {
    let sockets: Vec<_> = (0..60).map(|_| UdpSocket::bind((from, 0)).unwrap()).collect();
    for port in (1024..60_000).cycle() {
        if done.load(Ordering::Relaxed) {
            return;
        }
        for socket in &sockets {
            // Its queue may be full for a moment.
            let _ = socket.send_to(b"?", (to, port));
        }
    }
}

/// Answers requests until all is done.
fn serve(listener: &TcpListener, done: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !done.load(Ordering::Relaxed) {
        let Ok((mut client, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        let _ = client.read(&mut [0; 1024]);
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

/// Whether a request on a connection of its own is answered.
fn get(server: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&server, SOON) else { return false };
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n");
    sent.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.ends_with("ok")
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn server(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 1, 2, 4], port))
}

/// A connection that was there before.
struct Friend {
    /// Answers attempts, too.
    _listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Friend {
    fn meets(lab: &Lab) -> Self {
        let listener = lab.inside("server", || bound(|| TcpListener::bind(server(80))));
        let client = lab.inside("friend", || TcpStream::connect_timeout(&server(80), SOON).unwrap());
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        }
        Self { _listener: listener, client, server }
    }

    /// Sends a piece, which arrives as it is and is answered, and so on; at least once more when all is done.
    fn talk(&self, done: &AtomicBool) -> usize {
        let sent = pattern(CHUNK);
        let mut heard = vec![0; CHUNK];
        for round in 1.. {
            let last = done.load(Ordering::Relaxed);
            (&self.client).write_all(&sent).unwrap();
            (&self.server).read_exact(&mut heard).unwrap();
            assert!(heard == sent, "round {round}: what arrived is not what was sent");
            (&self.server).write_all(b"!").unwrap();
            (&self.client).read_exact(&mut [0]).unwrap();
            if last {
                return round;
            }
            thread::sleep(Duration::from_millis(5));
        }
        unreachable!("the numbers do not run out")
    }
}

/// SYNs to a port of the server from addresses and ports that change every time, until the router has dropped a million
/// of them for one of these reasons.
fn flood(lab: &Lab, port: u16, reasons: &[&str]) {
    let socket = lab.inside("attacker", || raw_towards(server(port)));
    let counted = || reasons.iter().map(|reason| lab.drops("attacker", reason)).sum::<u64>();
    let (before, begin) = (counted(), Instant::now());
    let mut n = 0;
    while counted() - before < ATTEMPTS {
        assert!(begin.elapsed() < PATIENCE, "{} of {n} attempts were decided on", counted() - before);
        for _ in 0..500 {
            n += send(&socket, n, port);
        }
    }
}

/// A burst of attempts; each number has an address of its own in 10.1.128.0/17, or a port. Returns how many went out.
fn send(socket: &OwnedFd, first: u64, port: u16) -> u64 {
    let attempts: [Vec<u8>; BURST] = std::array::from_fn(|i| {
        let n = first + i as u64;
        let source = Ipv4Addr::new(10, 1, 128 + (n % 100) as u8, 4 + (n / 100 % 200) as u8);
        let source_port = 1024 + (n / 20_000 % 60_000) as u16;
        build::tcp(SocketAddr::from((source, source_port)), server(port), 0x02, &[])
    });
    let slices = attempts.each_ref().map(|packet| [IoSlice::new(packet)]);
    let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; BURST] = std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut messages: Vec<_> =
        slices.iter().zip(&mut nothing).map(|(slice, ancillary)| MMsgHdr::new(slice, ancillary)).collect();
    match sendmmsg(socket, &mut messages, SendFlags::empty()) {
        Ok(sent) => sent as u64,
        // The device's queue is full for a moment.
        Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => 0,
        Err(error) => panic!("sendmmsg: {error}"),
    }
}

/// For whole packets with any source, from the calling thread's namespace.
pub(crate) fn raw_towards(destination: SocketAddr) -> OwnedFd {
    let raw = Protocol::from_raw(std::num::NonZero::new(255).unwrap());
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(raw)).unwrap();
    connect(&socket, &destination).unwrap();
    socket
}

fn records(lab: &Lab) -> u64 {
    lab.data(&["status"])["flows"].as_u64().unwrap()
}

fn records_of(lab: &Lab, node: &str) -> u64 {
    let rows: Value = lab.data(&["flows", node, "--limit", "10000"]);
    rows.as_array().unwrap().len() as u64
}

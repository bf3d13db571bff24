//! The engine over real TUNs: an own namespace for each site, real sockets in it, counters that add up.
//!
//! The namespaces have no name and end with the test's last descriptor, so there is nothing to clean up. Where the system
//! does not permit them a test says so and passes, except with `CI=true`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it skips")]

mod hostile;
mod program;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use vnet::daemon::engine::Engine;
use vnet::daemon::engine::counters::Counters;
use vnet::dataplane::{DropReason, FlowLimits, Flows, Ingress, NicId, PortId, Snapshot};
use vnet::model::{Learned, NextHopType};
use vnet::sys::netlink::Netlink;
use vnet::sys::netns::Netns;
use vnet::sys::tun::{OffloadSupport, Tun};
use vnet::wire::build;
use vnet::worker::{Event, FlowEvents, Tables, Workers};
use vnet::{analysis, config};

const DEADLINE: Duration = Duration::from_secs(60);
const INTERFACE: &str = "tun0";

/// A namespace behind one port.
struct Site {
    namespace: Netns,
    v4: IpAddr,
    v6: IpAddr,
}

/// Three VNets, a site each: a is peered with b and with c.
struct Lab {
    engine: Engine,
    sites: [Site; 3],
}

impl Lab {
    fn start(emulation: &str) -> Option<Self> {
        match Self::try_start(emulation) {
            Ok(lab) => Some(lab),
            Err(error) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => panic!("not permitted: {error}"),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: namespaces and TUNs are not permitted here: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn try_start(emulation: &str) -> io::Result<Self> {
        let network = config::load(&topology(emulation), "engine.yaml").map_err(|errors| format!("{errors:?}"));
        let network = network.unwrap().network;
        let (queues, offload) = (Engine::workers(&network), network.emulation.offload);
        let sites = [1, 2, 3].map(|n| -> io::Result<_> {
            let site = Site {
                namespace: Netns::create()?,
                v4: IpAddr::from([10, n, 0, 4]),
                v6: IpAddr::from([0xfd00, u16::from(n), 0, 0, 0, 0, 0, 4]),
            };
            let tun = site.namespace.run(|| attach(&site, queues, offload))??;
            Ok((site, tun))
        });
        let [a, b, c] = sites;
        let ((a, tun_a), (b, tun_b), (c, tun_c)) = (a?, b?, c?);
        let engine = Engine::start(network, vec![tun_a, tun_b, tun_c], Learned::default())?;
        Ok(Self { engine, sites: [a, b, c] })
    }

    /// Polls the counters until they are as wanted.
    fn wait_for(&self, what: &str, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let started = Instant::now();
        loop {
            let counters = self.engine.counters();
            if wanted(&counters) {
                return counters;
            }
            assert!(started.elapsed() < DEADLINE, "{what} did not happen: {counters:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a datagram that must not pass, and waits until its port of entry has counted the drop.
    fn wait_for_drop_between(&self, port: usize, from: &Site, to: &Site) {
        let before = self.engine.counters().ports[port].dropped();
        from.udp(from.v4).send_to(b"anyone?", (to.v4, 9)).unwrap();
        self.wait_for("a drop", |counters| counters.ports[port].dropped() > before);
    }

    fn wait_until_counters_add_up(&self) -> Counters {
        self.wait_for("rx = tx + drops", |counters| {
            let received: u64 = counters.ports.iter().map(|port| port.rx_packets).sum();
            let ended: u64 = counters.ports.iter().map(|port| port.tx_packets + port.dropped()).sum();
            received == ended
        })
    }
}

fn topology(emulation: &str) -> String {
    let vnet = |name: &str, n: u8, peers: &[&str]| {
        let link = |peer: &&str| format!("{{name: {name}-{peer}, remoteVirtualNetwork: {peer}}}");
        let peerings = peers.iter().map(link).collect::<Vec<_>>().join(", ");
        format!(
            "
  - name: {name}
    location: westeurope
    addressSpace: [10.{n}.0.0/16, 'fd00:{n}::/48']
    subnets: [{{name: default, addressPrefixes: [10.{n}.0.0/16, 'fd00:{n}::/64'], networkSecurityGroup: open}}]
    virtualNetworkPeerings: [{peerings}]
    attach: {{namespace: site-{name}, interface: {INTERFACE}}}"
        )
    };
    let vnets = [vnet("a", 1, &["b", "c"]), vnet("b", 2, &["a"]), vnet("c", 3, &["a"])].concat();
    format!(
        "name: engine\nemulation: {{{emulation}}}\nvirtualNetworks:{vnets}\nnetworkSecurityGroups: [{{name: open}}]\n"
    )
}

fn attach(site: &Site, queues: usize, offload: bool) -> io::Result<Tun> {
    let most = if offload { OffloadSupport::TcpUdp } else { OffloadSupport::Off };
    let tun = Tun::open(INTERFACE, queues, most)?;
    let mut netlink = Netlink::open()?;
    let link = netlink.link(INTERFACE)?;
    netlink.up(link)?;
    netlink.add_address(link, IpNet::new(site.v4, 16).unwrap())?;
    netlink.add_address(link, IpNet::new(site.v6, 64).unwrap())?;
    netlink.add_default_device(link, false)?;
    netlink.add_default_device(link, true)?;
    wait_for_local_route(site.v6);
    Ok(tun)
}

/// The kernel installs the route to an own IPv6 address a little after the address; until then it does not answer.
fn wait_for_local_route(address: IpAddr) {
    let IpAddr::V6(v6) = address else { return };
    let local = format!("{:032x} 80 ", v6.to_bits());
    let started = Instant::now();
    while !std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap().contains(&local) {
        assert!(started.elapsed() < DEADLINE, "no local route to {address}");
        thread::sleep(Duration::from_millis(1));
    }
}

impl Site {
    fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(f).unwrap()
    }

    fn pings(&self, to: IpAddr) -> bool {
        let ping = self.run(|| Command::new("ping").args(["-n", "-c1", "-W20", &to.to_string()]).output().unwrap());
        if !ping.status.success() {
            eprintln!("{}{}", String::from_utf8_lossy(&ping.stdout), String::from_utf8_lossy(&ping.stderr));
        }
        ping.status.success()
    }

    fn udp(&self, address: IpAddr) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind((address, 0)).unwrap());
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    fn listen(&self, address: IpAddr) -> TcpListener {
        self.run(|| TcpListener::bind((address, 0)).unwrap())
    }

    fn connect(&self, to: SocketAddr) -> TcpStream {
        let stream = self.run(|| TcpStream::connect_timeout(&to, DEADLINE).unwrap());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// What the guest's kernel handed to its TUN's reader, in packets (`/proc/net/dev`).
    fn handed_over(&self) -> u64 {
        let table = self.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let line = table.lines().find_map(|line| line.trim().strip_prefix("tun0:")).unwrap();
        line.split_whitespace().nth(9).unwrap().parse().unwrap()
    }
}

/// Sends `count` bytes one way over TCP and checks them at the other end.
fn transfer(from: &Site, to: &Site, address: IpAddr, count: usize) {
    let listener = to.listen(address);
    let mut client = from.connect(listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let sent: Vec<u8> = (0..count).map(|i| (i % 251) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).unwrap();
            drop(client);
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} of {count} bytes, or other ones", received.len());
    });
}

fn exchange_datagrams(from: &Site, from_address: IpAddr, to: &Site, to_address: IpAddr) {
    let (client, server) = (from.udp(from_address), to.udp(to_address));
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2000];
    for size in [0, 1, 64, 1400] {
        client.send(&vec![7; size]).unwrap();
        let (received, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((received, peer), (size, client.local_addr().unwrap()));
        server.send_to(&buffer[..received], peer).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), size);
    }
}

fn check_traffic(emulation: &str) {
    let Some(lab) = Lab::start(emulation) else { return };
    let [a, b, c] = &lab.sites;
    assert!(a.pings(b.v4) && b.pings(a.v4), "ping");
    assert!(a.pings(c.v6) && c.pings(a.v6), "ping over IPv6: {:?}", lab.engine.counters());
    exchange_datagrams(a, a.v4, b, b.v4);
    exchange_datagrams(c, c.v6, a, a.v6);
    transfer(a, b, b.v4, 8 << 20);
    transfer(b, a, a.v6, 8 << 20);
    // Peering is not transitive (CS-03).
    lab.wait_for_drop_between(1, b, c);

    let counters = lab.wait_until_counters_add_up();
    // 8 MiB are at least 5,700 segments of 1460 bytes, however the kernel cut them.
    assert!(counters.ports[1].tx_packets > 5_700 && counters.ports[0].tx_packets > 5_700, "{counters:?}");
    assert!(counters.ports[1].tx_bytes > 8 << 20);
    assert!(counters.ports.iter().all(|port| port.alive));
    assert!(counters.flows > 0);
    let lost = [DropReason::QueueFull, DropReason::Malformed, DropReason::BadChecksum, DropReason::TooBig];
    for (port, reason) in counters.ports.iter().flat_map(|port| lost.map(|reason| (port, reason))) {
        assert_eq!(port.drops[reason as usize], 0, "{reason}: {counters:?}");
    }

    assert_eq!(counters.workers, Engine::workers(&lab.engine.network()));
    lab.engine.stop();
    lab.engine.stop();
    assert_eq!(lab.engine.counters().workers, 0);
}

#[test]
fn traffic_crosses_with_offloads() {
    check_traffic("");
}

#[test]
fn traffic_crosses_without_offloads() {
    check_traffic("offload: false");
}

#[test]
fn traffic_crosses_with_one_worker() {
    check_traffic("workers: 1");
}

#[test]
fn a_flood_of_datagrams_stays_whole_and_in_order() {
    const DATAGRAMS: u32 = 20_000;
    // Fewer than the TUN's queue holds.
    const AT_ONCE: u32 = 200;
    let Some(lab) = Lab::start("") else { return };
    let [a, b, _] = &lab.sites;
    for (from, to) in [(a.v4, b.v4), (a.v6, b.v6)] {
        let (client, server) = (a.udp(from), b.udp(to));
        client.connect(server.local_addr().unwrap()).unwrap();
        let datagram = |n: u32| [n.to_be_bytes(), (!n).to_be_bytes(), n.rotate_left(7).to_be_bytes()].concat();
        let received = thread::scope(|scope| {
            let receiver = scope.spawn(|| receive_until_silence(&server));
            let before = lab.engine.counters().ports[0].rx_packets;
            for n in 0..DATAGRAMS {
                client.send(&datagram(n)).unwrap();
                if n % AT_ONCE == 0 {
                    lab.wait_for("datagrams read", |now| now.ports[0].rx_packets > before + u64::from(n));
                }
            }
            receiver.join().unwrap()
        });
        // A queue that overflows drops; nothing else may happen to what a guest sends.
        assert!(received.len() > 1_000, "{} arrived", received.len());
        let numbers: Vec<_> = received.iter().map(|bytes| u32::from_be_bytes(*bytes.first_chunk().unwrap())).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice");
        assert!(received.iter().zip(&numbers).all(|(bytes, &n)| *bytes == datagram(n)), "as sent");
    }
    lab.wait_until_counters_add_up();
}

fn receive_until_silence(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    let mut buffer = [0; 2000];
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    while let Ok(len) = socket.recv(&mut buffer) {
        received.push(buffer[..len].to_vec());
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    }
    received
}

#[test]
fn a_vanished_interface_is_reported_once_and_counted_and_the_others_go_on() {
    let Some(lab) = Lab::start("workers: 2") else { return };
    let [a, b, c] = &lab.sites;
    let events = lab.engine.events().unwrap();
    assert!(lab.engine.events().is_none(), "the receiver is handed out once");
    assert!(a.pings(b.v4));

    let deleted = b.run(|| Command::new("ip").args(["link", "del", INTERFACE]).status().unwrap());
    assert!(deleted.success());
    assert!(matches!(events.recv_timeout(DEADLINE).unwrap(), Event::PortDown(PortId(1))));
    assert!(!lab.engine.counters().ports[1].alive);
    a.udp(a.v4).send_to(b"anyone?", (b.v4, 9)).unwrap();
    lab.wait_for("a drop as NodeDown", |counters| counters.ports[0].drops[DropReason::NodeDown as usize] == 1);

    assert!(a.pings(c.v4) && c.pings(a.v4));
    lab.wait_until_counters_add_up();
    assert!(events.try_recv().is_err(), "both workers saw it, one told");
}

#[test]
fn a_worker_that_panics_is_reported_and_the_others_take_over() {
    let Some(lab) = Lab::start("workers: 2") else { return };
    let [a, b, _] = &lab.sites;
    // Tables that no compilation makes: a port of an interface that is not there.
    let broken = Snapshot { ports: vec![Ingress::Nic(NicId(7))], ..Snapshot::default() };
    let whole = Arc::clone(&lab.engine.compiled().snapshot);
    let tables = Tables {
        snapshot: Arc::new(ArcSwap::from_pointee(broken)),
        flows: Arc::new(Flows::new(FlowLimits::default())),
        taps: Arc::default(),
        events: FlowEvents::default(),
        carried: None,
    };
    let site = Site { namespace: Netns::create().unwrap(), v4: a.v4, v6: a.v6 };
    let queues = site.run(|| attach(&site, 2, true)).unwrap().queues;
    let (sender, events) = crossbeam_channel::unbounded();
    let workers = Workers::start(&tables, vec![queues], 2, &sender).unwrap();
    site.udp(site.v4).send_to(b"anyone?", (b.v4, 9)).unwrap();
    let event = events.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(&event, Event::WorkerFailed { error, .. } if error.to_string().contains("panicked")), "{event:?}");
    let started = Instant::now();
    while workers.running() > 1 {
        assert!(started.elapsed() < DEADLINE);
        thread::yield_now();
    }
    // With good tables the other forwards all that its queue gets, and that is now everything.
    tables.snapshot.store(whole);
    let received = || workers.tallies().iter().map(|tally| tally.port(PortId(0)).rx_packets()).sum::<u64>();
    // A program that another test has just started may hold the closed queue for a moment more.
    let all_arrive = || {
        let (before, sent) = (received(), Instant::now());
        for _ in 0..20 {
            site.udp(site.v4).send_to(b"anyone?", (b.v4, 9)).unwrap();
        }
        while received() < before + 20 && sent.elapsed() < Duration::from_secs(1) {
            thread::yield_now();
        }
        received() >= before + 20
    };
    while !all_arrive() {
        assert!(started.elapsed() < DEADLINE, "some of 20 are missing, again and again");
    }
    assert!(events.try_recv().is_err());
}

/// The kernel takes about 10 ms to close a device: a worker that waited for it would not forward meanwhile.
#[test]
fn a_device_that_is_taken_away_closes_where_its_queues_are_dropped_and_on_no_worker() {
    let Some(lab) = Lab::start("") else { return };
    let tables = Tables {
        snapshot: Arc::new(ArcSwap::from(Arc::clone(&lab.engine.compiled().snapshot))),
        flows: Arc::new(Flows::new(FlowLimits::default())),
        taps: Arc::default(),
        events: FlowEvents::default(),
        carried: None,
    };
    let [a, ..] = &lab.sites;
    let site = Site { namespace: Netns::create().unwrap(), v4: a.v4, v6: a.v6 };
    let queues = site.run(|| attach(&site, 2, true)).unwrap().queues;
    let (sender, _events) = crossbeam_channel::unbounded();
    let workers = Workers::start(&tables, vec![queues], 2, &sender).unwrap();
    let is_there = || site.run(|| Netlink::open().unwrap().link(INTERFACE).is_ok());

    let unplugged = workers.unplug(&[PortId(0)]);
    assert!(is_there(), "a worker has closed it");
    assert!(!workers.is_alive(PortId(0)));
    drop(unplugged);
    // A program that another test has just started may hold the closed queue for a moment more.
    let started = Instant::now();
    while is_there() {
        assert!(started.elapsed() < DEADLINE);
        thread::yield_now();
    }
}

#[test]
fn an_interface_that_is_down_for_a_while_works_again() {
    let Some(lab) = Lab::start("") else { return };
    let [a, b, _] = &lab.sites;
    let set = |state: &str| b.run(|| Command::new("ip").args(["link", "set", INTERFACE, state]).status().unwrap());
    assert!(a.pings(b.v4));
    assert!(set("down").success());
    a.udp(a.v4).send_to(b"anyone?", (b.v4, 9)).unwrap();
    lab.wait_for("a drop as NodeDown", |counters| counters.ports[0].drops[DropReason::NodeDown as usize] == 1);
    assert!(set("up").success());
    b.run(|| {
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link(INTERFACE).unwrap();
        netlink.add_default_device(link, false).unwrap();
    });
    assert!(a.pings(b.v4) && lab.engine.counters().ports[1].alive);
}

#[test]
fn a_tun_name_in_use_is_refused_and_a_persistent_one_joined() {
    let Some(lab) = Lab::start("") else { return };
    let [a, ..] = &lab.sites;
    let error = a.run(|| Tun::open(INTERFACE, 1, OffloadSupport::TcpUdp)).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let error = a.run(|| Tun::open("lo", 1, OffloadSupport::TcpUdp)).unwrap_err();
    assert!(error.to_string().contains("no TUN"), "{error}");
    for (kind, queues) in [(&["multi_queue"][..], 2), (&[], 1)] {
        let add = ["tuntap", "add", "mode", "tun", "name", "kept"];
        assert!(a.run(|| Command::new("ip").args(add).args(kind).status().unwrap()).success());
        let tun = a.run(|| Tun::open("kept", 2, OffloadSupport::TcpUdp)).unwrap();
        assert_eq!(tun.queues.len(), queues, "{kind:?}");
        drop(tun);
        let deleted = a.run(|| Command::new("ip").args(["link", "del", "kept"]).status().unwrap());
        assert!(deleted.success(), "it outlives us");
    }
}

const WITH_BGP: &str = "
name: learning
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: app, addressPrefix: 10.1.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}]
    attach: {namespace: hub, interface: tun0}
publicIPAddresses: [{name: gw-ip, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, virtualNetwork: hub, publicIPAddress: gw-ip, sku: VpnGw1, enableBgp: true, bgpSettings: {asn: 65515}}
localNetworkGateways:
  - {name: dc, gatewayIpAddress: 198.51.100.50, bgpSettings: {asn: 65001, bgpPeeringAddress: 192.168.50.1}}
connections:
  - {name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc, sharedKey: k, enableBgp: true}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.50, addressSpace: [192.168.50.0/24], addresses: [192.168.50.1], sharedKey: k, bgpSettings: {asn: 65001, bgpPeeringAddress: 192.168.50.1}}
";

/// What BGP says changes the tables and nothing else, and a change of the file that was under way meanwhile keeps it.
#[test]
fn what_is_learnt_is_published_and_outlives_a_change() {
    if Lab::start("").is_none() {
        return;
    }
    let load = || config::load(WITH_BGP, "learning.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network;
    let network = load();
    let namespace = Netns::create().unwrap();
    let queues = Engine::workers(&network);
    let open = |n| namespace.run(|| Tun::open(&format!("tun{n}"), queues, OffloadSupport::TcpUdp)).unwrap().unwrap();
    let tuns = (0..network.attachments().len()).map(open).collect();
    let engine = Engine::start(network, tuns, Learned::default()).unwrap();
    let leads_to_gateway = |prefix: &str| {
        let published = engine.published();
        let app = analysis::subnet(&published.network, "hub/app").unwrap();
        let rows = analysis::routes(&published.network, &published.compiled, app);
        let gateway = |row: &&analysis::RouteRow| row.next_hop_type == NextHopType::VirtualNetworkGateway;
        rows.iter().filter(gateway).any(|row| row.address_prefix.iter().any(|shown| shown.to_string() == prefix))
    };
    let prepared = engine.prepare(load()).unwrap();
    assert!(!leads_to_gateway("172.16.0.0/12"));
    let generation = engine.published().generation();
    let says = |prefix: &str| BTreeMap::from([("hub-dc".to_owned(), vec![prefix.parse().unwrap()])]);
    assert!(engine.learn(|learned| learned.bgp.by_connection = says("172.16.0.0/12")));
    assert!(leads_to_gateway("172.16.0.0/12"));
    assert!(!engine.learn(|learned| learned.bgp.by_connection = says("172.16.0.0/12")), "nothing new");
    assert_eq!(engine.published().generation(), generation + 1);

    engine.publish(prepared, HashMap::new()).unwrap();
    assert!(leads_to_gateway("172.16.0.0/12"), "though it was not known when the change began");
    let stale = engine.prepare(load()).unwrap();
    engine.publish(engine.prepare(load()).unwrap(), HashMap::new()).unwrap();
    assert!(engine.publish(stale, HashMap::new()).is_err(), "another change came between");
    assert!(engine.learn(|learned| learned.bgp.by_connection.clear()));
    assert!(!leads_to_gateway("172.16.0.0/12"), "withdrawn");
}

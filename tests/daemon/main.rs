//! A whole daemon without the kernel's devices, so without root. Guests are sockets, and each datagram is a packet.
//! Questions go over its control socket, as clients ask them. Packets are counted one by one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod captures;
mod changes;
mod clients;
mod events;
mod far_ends;
mod flow_logs;
mod following;
mod listings;
mod names;
mod outages;
mod routers;
mod workers;

use std::net::SocketAddr;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tempfile::TempDir;
use vnet::config;
use vnet::daemon::api::LabFacts;
use vnet::daemon::api::client::{self, Following, Received};
use vnet::daemon::api::protocol::{Refusal, Request, Response, Topic};
use vnet::daemon::api::server::serve;
use vnet::daemon::engine::Engine;
use vnet::daemon::events::EventLog;
use vnet::daemon::flow_log::FlowLogger;
use vnet::daemon::lookout::Lookout;
use vnet::daemon::routers::Routers;
use vnet::model::{DeviceKind, Learned, Network};
use vnet::sys::tun::{OffloadSupport, Tun};
use vnet::wire::{Offload, build};

const DEADLINE: Duration = Duration::from_secs(60);
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Of IPv4 and UDP.
const HEADERS: usize = 28;

const LAB: &str = "
name: lab
emulation: {workers: 1, platformServices: false, flowLogRecordSeconds: 1, flowLogContinuationSeconds: 1}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: clients, addressPrefix: 10.0.1.0/24}
      - {name: servers, addressPrefix: 10.0.2.0/24, networkSecurityGroup: group}
networkSecurityGroups:
  - name: group
    securityRules:
      - {name: no, priority: 100, direction: Inbound, access: Deny, protocol: Udp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '9'}
loadBalancers:
  - name: first
    frontendIPConfigurations: [{name: in, subnet: v/servers, privateIPAddress: 10.0.2.100}]
    backendAddressPools: [{name: pool}]
    probes: [{name: alive, protocol: Tcp, port: 80}]
    loadBalancingRules:
      - {name: dns, frontendIPConfiguration: in, backendAddressPool: pool, probe: alive, protocol: Udp, frontendPort: 53, backendPort: 53}
      - {name: web, frontendIPConfiguration: in, backendAddressPool: pool, probe: alive, protocol: Tcp, frontendPort: 80, backendPort: 80}
  - name: second
    frontendIPConfigurations: [{name: in, subnet: v/servers, privateIPAddress: 10.0.2.101}]
    backendAddressPools: [{name: pool}]
    loadBalancingRules:
      - {name: dns, frontendIPConfiguration: in, backendAddressPool: pool, protocol: Udp, frontendPort: 53, backendPort: 53}
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: v/clients, privateIPAddress: 10.0.1.4}]}
  - {name: server, networkInterfaces: [{subnet: v/servers, privateIPAddress: 10.0.2.4, loadBalancerBackendAddressPools: [first/pool, second/pool]}]}
  - {name: spare, networkInterfaces: [{subnet: v/servers, privateIPAddress: 10.0.2.5, loadBalancerBackendAddressPools: [first/pool]}]}
flowLogs:
  - {name: net, targetResourceId: virtualNetworks/v, storagePath: logs}
";

fn network(text: &str) -> Network {
    config::load(text, "lab.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network
}

struct Lab {
    engine: Arc<Engine>,
    logger: FlowLogger,
    /// In file order.
    guests: Vec<UnixDatagram>,
    socket: PathBuf,
    directory: TempDir,
}

impl Lab {
    fn start() -> Self {
        Self::start_with(LAB)
    }

    fn start_with(text: &str) -> Self {
        Self::start_at(text, Vec::new())
    }

    /// With nodes whose namespaces stand at these paths.
    fn start_at(text: &str, places: Vec<(String, PathBuf)>) -> Self {
        let network = network(text);
        let (tuns, guests) = network.attachments().iter().map(|_| guest()).unzip();
        let engine = Arc::new(Engine::start(network, tuns, Learned::default()).unwrap());
        let (events, logger) = (Arc::new(EventLog::default()), FlowLogger::start(Arc::clone(&engine)).unwrap());
        let facts = LabFacts {
            file: "lab.yaml".to_owned(),
            offload: OffloadSupport::TcpUdp,
            device: DeviceKind::Tun,
            not_carried: None,
            namespaces: ["client", "nva", "internet", "vpn-a", "dc-b"]
                .map(|it| (it.to_owned(), format!("lab-{it}")))
                .into(),
            devices: [("nva", "back", "eth1"), ("internet", "eth0", "eth0"), ("dc-b", "to-b", "tun0")]
                .map(|(node, nic, device)| (node.to_owned(), [(nic.to_owned(), device.to_owned())].into()))
                .into(),
            alerts: vec!["look here".to_owned()],
            flow_logs: logger.report(),
            routers: Arc::new(Routers::new(Arc::clone(&engine), Arc::clone(&events))),
            events,
            places,
            lookout: Lookout::start().unwrap(),
            programs: Vec::new(),
            filters: Vec::new(),
        };
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let facts = Arc::new(ArcSwap::from_pointee(facts));
        let no_change = |_| Response::Refused(Refusal::new("no changes here"));
        let listener = UnixListener::bind(&socket).unwrap();
        serve(listener, Arc::clone(&engine), facts, no_change, || {}).unwrap();
        Self { engine, logger, guests, socket, directory }
    }

    /// A datagram from one guest to an address.
    fn send(&self, guest: usize, (from, to): (&str, &str), payload: &[u8]) {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let frame = [&Offload::default().encode(), &build::udp(from, to, payload)[..]].concat();
        assert_eq!(self.guests[guest].send(&frame).unwrap(), frame.len());
    }

    /// Sends a datagram from the client to the server, and has it arrive.
    fn exchange(&self, from_port: u16, payload: &[u8]) {
        self.send(CLIENT, (&format!("10.0.1.4:{from_port}"), "10.0.2.4:53"), payload);
        assert_eq!(received(&self.guests[SERVER]), payload);
    }

    fn ask(&self, request: &Request) -> Response {
        client::ask(&self.socket, request).unwrap()
    }

    fn follow(&self, topic: Topic) -> Following {
        client::follow(&self.socket, topic).unwrap()
    }

    /// Waits until all of so many packets are counted: the last of them may still be on its way.
    fn settle(&self, packets: u64) {
        eventually(|| {
            let ports = self.engine.counters().ports;
            let all: u64 = ports.iter().map(|port| port.rx_packets).sum();
            let done: u64 = ports.iter().map(|port| port.tx_packets + port.dropped()).sum();
            (all, done) == (packets, packets)
        });
    }
}

/// A device, and the guest behind it.
fn guest() -> (Tun, UnixDatagram) {
    let (own, guest) = UnixDatagram::pair().unwrap();
    guest.set_read_timeout(Some(DEADLINE)).unwrap();
    (Tun::of_sockets(vec![own]).unwrap(), guest)
}

/// The payload of the next datagram that a guest gets.
#[track_caller]
fn received(guest: &UnixDatagram) -> Vec<u8> {
    let mut frame = [0; 2000];
    let len = guest.recv(&mut frame).unwrap();
    frame[Offload::LEN + HEADERS..len].to_vec()
}

/// The next answer to who follows.
fn next(following: &mut Following) -> Response {
    match following.next(DEADLINE).unwrap() {
        Received::Answer(response) => response,
        other => panic!("{other:?}"),
    }
}

/// All that still comes to who has enough.
fn rest(mut following: Following) -> Vec<Response> {
    following.enough();
    let mut answers = Vec::new();
    while let Received::Answer(answer) = following.next(DEADLINE).unwrap() {
        answers.push(answer);
    }
    answers
}

#[track_caller]
fn eventually(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "it never happened");
        thread::sleep(Duration::from_millis(5));
    }
}

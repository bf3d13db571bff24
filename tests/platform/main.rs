//! What the platform serves, over real sockets: names and metadata in a namespace that the test makes (root), managers'
//! pages over loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forwarders;
mod managers;
mod messages;
mod services;
#[path = "../support/sockets.rs"]
mod sockets;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vnet::config;
use vnet::model::{Network, RecordType};
use vnet::platform::resolver::{self, NameAnswer};
use vnet::platform::{Directory, Served, Server};
use vnet::sys::netlink::Netlink;
use vnet::sys::netns::Netns;
use vnet::sys::socket::Origin;

const SOON: Duration = Duration::from_secs(10);
const PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const WEB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 4);
const DB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);

const LAB: &str = "
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets: [{name: s, addressPrefixes: [10.1.0.0/24, 'fd00:1::/64']}]
  - {name: b, location: uksouth, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24}]}
publicIPAddresses: [{name: standard, ipAddress: 203.0.113.1}]
virtualMachines:
  - {name: Web, networkInterfaces: [{subnet: a/s, privateIPAddress: 10.1.0.4, publicIPAddress: standard}]}
  - {name: db, networkInterfaces: [{ipConfigurations: [{subnet: a/s, privateIPAddress: 10.1.0.5}, {subnet: a/s, privateIPAddress: 'fd00:1::5'}]}]}
  - {name: idle, powerState: stopped, networkInterfaces: [{subnet: a/s, privateIPAddress: 10.1.0.6}]}
  - {name: other, networkInterfaces: [{subnet: b/s, privateIPAddress: 10.2.0.4}]}
";

fn network(text: &str) -> Arc<Network> {
    Arc::new(config::load(text, "lab.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network)
}

/// The directory of the first virtual network.
fn directory() -> Directory {
    Directory::of_all(&network(LAB)).into_values().next().unwrap()
}

/// A namespace with the platform's addresses and those of two machines; None where a test may not make one.
fn place() -> Option<Netns> {
    let namespace = Netns::create().ok()?;
    let set_up = || {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap();
        netlink.up(lo).unwrap();
        for address in [PLATFORM, METADATA, WEB, DB] {
            netlink.add_address(lo, format!("{address}/32").parse().unwrap()).unwrap();
        }
        fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
    };
    namespace.run(set_up).unwrap();
    Some(namespace)
}

/// Runs a test against a server that answers behind `lo`.
fn served(forwarders: &[IpAddr], test: impl FnOnce(&Server) + Send) {
    let Some(place) = place() else { return };
    let run = || {
        // Forwarders are asked from where it starts.
        let server = Server::start(&place).unwrap();
        server.apply(behind_lo(forwarders));
        test(&server);
    };
    place.run(run).unwrap();
}

fn behind_lo(forwarders: &[IpAddr]) -> Served {
    Served { behind: BTreeMap::from([("lo".to_owned(), directory())]), forwarders: forwarders.to_vec() }
}

/// A socket of a machine, towards the resolver.
fn towards_resolver(machine: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((machine, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect((PLATFORM, 53)).unwrap();
    socket
}

fn call(machine: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let origin = Origin { device: None, address: Some(machine.into()) };
    let connecting = origin.tcp_towards(to).unwrap();
    connecting.wait(SOON).unwrap().unwrap();
    let stream = connecting.into_stream();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn question(name: &str, record: RecordType) -> Vec<u8> {
    resolver::question(name, record).unwrap()
}

fn ask_by_datagram(machine: Ipv4Addr, question: &[u8]) -> Vec<u8> {
    let socket = towards_resolver(machine);
    socket.send(question).unwrap();
    received(&socket)
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 4096];
    let len = socket.recv(&mut bytes).unwrap();
    bytes[..len].to_vec()
}

fn ask_by_connection(machine: Ipv4Addr, question: &[u8]) -> Vec<u8> {
    let mut stream = call(machine, (PLATFORM, 53).into());
    let len = u16::try_from(question.len()).unwrap().to_be_bytes();
    // In pieces, as a slow guest sends it.
    for piece in [&len[..1], &len[1..], &question[..5], &question[5..]] {
        stream.write_all(piece).unwrap();
    }
    framed(&mut stream)
}

/// The one answer of a connection, which ends with it.
fn framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let (len, answer) = all.split_at(2);
    assert_eq!(usize::from(u16::from_be_bytes(len.try_into().unwrap())), answer.len());
    answer.to_vec()
}

fn said(answer: &[u8]) -> (String, Vec<String>) {
    let NameAnswer { code, records } = resolver::read(answer).unwrap();
    (code, records)
}

/// What a server sends back for these bytes until it closes.
fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8(all).unwrap()
}

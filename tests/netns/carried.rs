//! Translated flows, echoes, flows through balanced appliances and through gateways: the kernel carries them as well, without the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use vnet::sys::netlink::Netlink;
use vnet::sys::ping::Pinger;
use vnet::sys::process::{ProcessId, Signal};
use vnet::sys::sniffer::Sniffer;

use crate::capture_files::captured;
use crate::gateways::{self, Way};
use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, eventually};
use crate::translated::{TOPOLOGY, WAYS, unspecified};

fn up(topology: &str) -> Option<Lab> {
    Lab::up(&format!("emulation: {{device: veth}}\n{topology}"))
}

/// Stops the daemon until dropped.
pub(crate) struct Stopped(ProcessId);

impl Stopped {
    pub(crate) fn of(lab: &Lab) -> Self {
        let daemon = ProcessId::of(lab.data(&["status"])["pid"].as_u64().unwrap() as u32).unwrap();
        assert!(daemon.signal(Signal::STOP).unwrap());
        let stopped = Self(daemon);
        eventually("each of its threads has stopped", || {
            let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid)).unwrap();
            threads.flatten().all(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
            })
        });
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::CONT);
    }
}

/// Until exchanges succeed while the daemon is stopped, after some for which it was there.
fn eventually_carried(lab: &Lab, what: &str, mut exchange: impl FnMut(Duration) -> bool) {
    eventually(what, || {
        (0..4).for_each(|_| assert!(exchange(SOON), "{what}, with the daemon"));
        let _stopped = Stopped::of(lab);
        let carried = exchange(NEVER);
        assert!(!carried || (0..100).all(|_| exchange(SOON)), "{what}, for a while");
        carried
    });
}

/// One datagram there and back; late answers to others are passed over.
fn asked(client: &UdpSocket, server: &UdpSocket, number: &mut u32, patience: Duration) -> Option<SocketAddr> {
    let mut buffer = [0; 64];
    *number += 1;
    for socket in [client, server] {
        socket.set_read_timeout(Some(patience)).unwrap();
    }
    client.send(&number.to_be_bytes()).unwrap();
    let mut seen = None;
    while seen.is_none() {
        let (length, from) = server.recv_from(&mut buffer).ok()?;
        server.send_to(&buffer[..length], from).unwrap();
        seen = (buffer[..length] == number.to_be_bytes()).then_some(from);
    }
    while client.recv(&mut buffer).ok()? != 4 || buffer[..4] != number.to_be_bytes() {}
    seen
}

#[test]
fn snat_05_pip_01_lb_01_datagrams_of_translated_flows_need_no_daemon() {
    let Some(lab) = up(TOPOLOGY) else { return };
    for (from, to, receiver, at) in WAYS {
        let (to, at): (SocketAddr, SocketAddr) = (to.parse().unwrap(), at.parse().unwrap());
        let server = lab.inside(receiver, || bound(|| UdpSocket::bind(at)));
        let client = lab.inside(from, || UdpSocket::bind((unspecified(to), 0)).unwrap());
        client.connect(to).unwrap();
        let (mut number, mut names) = (0, BTreeSet::new());
        eventually_carried(&lab, &format!("UDP {from} -> {to}"), |patience| {
            let seen = asked(&client, &server, &mut number, patience);
            names.extend(seen);
            seen.is_some()
        });
        assert_eq!(names.len(), 1, "{from} -> {to} has one name there: {names:?}");
        let is_own = names.contains(&client.local_addr().unwrap());
        let enters_only = from == "internet" || to.ip() == IpAddr::from([10, 60, 1, 100]);
        assert_eq!(is_own, enters_only, "{from} -> {to}: {names:?}");
    }
    let flows = lab.data(&["flows", "--port", "82"]);
    let flow = &flows.as_array().unwrap()[0];
    assert_eq!(flow["packetsSent"], flow["packetsReceived"], "{flow}");
    assert!(flow["packetsSent"].as_u64().unwrap() > 100, "{flow}");
}

#[test]
fn snat_05_pip_01_lb_01_segments_of_translated_flows_need_no_daemon() {
    let Some(lab) = up(TOPOLOGY) else { return };
    for (from, to, receiver, at) in WAYS {
        let (to, at): (SocketAddr, SocketAddr) = (to.parse().unwrap(), at.parse().unwrap());
        let listener = lab.inside(receiver, || bound(|| TcpListener::bind(at)));
        let mut client = lab.inside(from, || TcpStream::connect_timeout(&to, SOON).unwrap());
        let (server, _) = listener.accept().unwrap();
        let mut number = 0_u64;
        thread::scope(|scope| {
            scope.spawn(move || io::copy(&mut &server, &mut &server));
            eventually_carried(&lab, &format!("TCP {from} -> {to}"), |patience| {
                number += 1;
                client.set_read_timeout(Some(patience)).unwrap();
                client.write_all(&number.to_be_bytes()).unwrap();
                let mut last = [0; 8];
                while last != number.to_be_bytes() {
                    if client.read_exact(&mut last).is_err() {
                        return false;
                    }
                }
                true
            });
            drop(client);
        });
    }
}

const APPLIANCES: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.61.0.0/16, 'fd00:61::/48']
    subnets:
      - {name: a, addressPrefixes: [10.61.1.0/24, 'fd00:61:0:1::/64'], routeTable: by-balancer}
      - {name: b, addressPrefixes: [10.61.2.0/24, 'fd00:61:0:2::/64'], routeTable: by-balancer}
      - {name: nva, addressPrefix: 10.61.9.0/24}
routeTables:
  - name: by-balancer
    routes:
      - {name: a, addressPrefix: 10.61.1.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.61.9.100}
      - {name: b, addressPrefix: 10.61.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.61.9.100}
loadBalancers:
  - name: ha
    frontendIPConfigurations: [{name: f, subnet: v/nva, privateIPAddress: 10.61.9.100}]
    backendAddressPools: [{name: nvas}]
    loadBalancingRules: [{name: all, frontendIPConfiguration: f, backendAddressPool: nvas, protocol: All, frontendPort: 0, backendPort: 0}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/a, privateIPAddress: 10.61.1.4}]}
  - {name: b, networkInterfaces: [{subnet: v/b, privateIPAddress: 10.61.2.4}]}
  - {name: nva1, guest: {forwarding: true}, networkInterfaces: [{subnet: v/nva, enableIPForwarding: true, loadBalancerBackendAddressPools: [ha/nvas]}]}
  - {name: nva2, guest: {forwarding: true}, networkInterfaces: [{subnet: v/nva, enableIPForwarding: true, loadBalancerBackendAddressPools: [ha/nvas]}]}
";

#[test]
fn lb_32_flows_through_balanced_appliances_need_no_daemon() {
    let Some(lab) = up(APPLIANCES) else { return };
    let server = lab.inside("b", || UdpSocket::bind("10.61.2.4:9").unwrap());
    for port in 5000..5006 {
        let client = lab.inside("a", || UdpSocket::bind(("10.61.1.4", port)).unwrap());
        client.connect("10.61.2.4:9").unwrap();
        let mut number = 0;
        eventually_carried(&lab, "through an appliance", |patience| {
            asked(&client, &server, &mut number, patience).is_some()
        });
    }
}

#[test]
fn echoes_need_no_daemon() {
    let Some(lab) = up(APPLIANCES) else { return };
    for to in ["10.61.9.4", "fd00:61:0:2::4"] {
        let to: IpAddr = to.parse().unwrap();
        let mut ping = lab.inside("a", || Pinger::towards(to).unwrap());
        eventually_carried(&lab, &format!("echoes to {to}"), |patience| ping.ask(64, patience).unwrap().is_some());
    }
}

#[test]
fn a_capture_has_every_packet_of_a_translated_flow() {
    const ASKED: usize = 30;
    let Some(lab) = up(TOPOLOGY) else { return };
    let server = lab.inside("web", || bound(|| UdpSocket::bind("0.0.0.0:8080")));
    let client = lab.inside("nat", || UdpSocket::bind("0.0.0.0:0").unwrap());
    client.connect("10.60.1.100:80").unwrap();
    let mut number = 0;
    let (file, _folder) = captured(&lab, &["nat,web", "udp"], || {
        let answered = (0..ASKED).filter(|_| asked(&client, &server, &mut number, SOON).is_some());
        assert_eq!(answered.count(), ASKED);
    });
    let packets = file["packets"].as_array().unwrap();
    let missed: u64 = file["faces"].as_array().unwrap().iter().map(|face| face["missed"].as_u64().unwrap()).sum();
    assert_eq!((packets.len(), missed), (2 * ASKED, 0), "there and back");
    let own = client.local_addr().unwrap().port();
    for (face, port) in [("nat/eth0", 80), ("web/eth0", own)] {
        let sent = packets.iter().filter(|one| one["face"] == face && one["way"] == 2 && one["port4"] == port);
        assert_eq!(sent.count(), ASKED, "as their senders sent them");
    }
    assert_eq!(came_to_web(&lab, &client, &server, ASKED), ASKED, "as they came");
}

/// How many of so many datagrams a capture has as they come to the backend.
fn came_to_web(lab: &Lab, client: &UdpSocket, server: &UdpSocket, times: usize) -> usize {
    let mut number = 1_000_000;
    let (file, _folder) = captured(lab, &["web", "udp"], || {
        let answered = (0..times).filter(|_| asked(client, server, &mut number, SOON).is_some());
        assert_eq!(answered.count(), times);
    });
    let packets = file["packets"].as_array().unwrap();
    let came = packets.iter().filter(|one| one["face"] == "web/eth0" && one["way"] == 1 && one["port4"] == 8080);
    came.count()
}

#[test]
fn lb_41_fab_05_a_capture_has_packets_through_a_gateway_as_they_come() {
    let Some(lab) = up(gateways::TOPOLOGY) else { return };
    let server = lab.inside("web", || bound(|| UdpSocket::bind("0.0.0.0:8080")));
    let client = lab.inside("dc", || UdpSocket::bind("192.168.1.10:0").unwrap());
    client.connect("10.1.0.100:80").unwrap();
    assert_eq!(came_to_web(&lab, &client, &server, 30), 30);
    // Not translated: the gateway's hop is all that is another at the receiver.
    let client = lab.inside("dc", || UdpSocket::bind("192.168.1.10:0").unwrap());
    client.connect("10.1.0.4:8080").unwrap();
    let mut number = 0;
    let (file, _folder) = captured(&lab, &["web", "udp"], || {
        (0..30).for_each(|_| assert!(asked(&client, &server, &mut number, SOON).is_some()));
    });
    let packets = file["packets"].as_array().unwrap();
    let came = packets.iter().filter(|one| one["face"] == "web/eth0" && one["way"] == 1);
    assert!(came.clone().count() == 30 && came.clone().all(|one| one["ttl"] == 63), "{packets:?}");
}

/// A client asks a backend itself, and then from the same port the frontend before it: the answers have another source.
#[test]
fn lb_01_a_flow_that_takes_over_ports_is_answered_by_the_frontend() {
    let Some(lab) = up(TOPOLOGY) else { return };
    let server = lab.inside("web", || bound(|| UdpSocket::bind("0.0.0.0:8080")));
    let client = lab.inside("nat", || bound(|| UdpSocket::bind("0.0.0.0:5005")));
    let mut number = 0;
    client.connect("10.60.1.4:8080").unwrap();
    eventually_carried(&lab, "asked itself", |patience| asked(&client, &server, &mut number, patience).is_some());
    // A socket takes answers of the address alone that it is connected to.
    client.connect("10.60.1.100:80").unwrap();
    eventually("the frontend answers", || asked(&client, &server, &mut number, NEVER).is_some());
    eventually_carried(&lab, "by the frontend", |patience| asked(&client, &server, &mut number, patience).is_some());
}

#[test]
fn fab_05_vpn_15_flows_through_gateways_need_no_daemon() {
    let Some(lab) = up(gateways::TOPOLOGY) else { return };
    for Way { from, src, dst, receiver, at, carried } in gateways::WAYS {
        let (src, dst): (IpAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let server = lab.inside(receiver, || bound(|| UdpSocket::bind(at)));
        let client = lab.inside(from, || UdpSocket::bind((src, 0)).unwrap());
        eventually(&format!("{from} has a route to {dst}"), || client.connect(dst).is_ok());
        let mut number = 0;
        let mut ask = |patience| asked(&client, &server, &mut number, patience).is_some();
        if carried {
            eventually_carried(&lab, &format!("{from} -> {dst}"), ask);
            continue;
        }
        (0..20).for_each(|_| assert!(ask(SOON), "{from} -> {dst}, with the daemon"));
        let _stopped = Stopped::of(&lab);
        assert!(!ask(NEVER), "{from} -> {dst}, without it");
    }
}

#[test]
fn fab_05_carried_packets_have_the_hops_of_gateways_less() {
    let Some(lab) = up(gateways::TOPOLOGY) else { return };
    let server = lab.inside("web", || bound(|| UdpSocket::bind("10.1.0.4:8080")));
    let client = lab.inside("dc", || UdpSocket::bind("192.168.1.10:0").unwrap());
    client.connect("10.1.0.4:8080").unwrap();
    let mut number = 0;
    eventually("a packet is carried", || {
        (0..4).for_each(|_| assert!(asked(&client, &server, &mut number, SOON).is_some()));
        let _stopped = Stopped::of(&lab);
        let sniffer = lab.inside("web", || Sniffer::open(NEVER).unwrap());
        let carried = asked(&client, &server, &mut number, NEVER).is_some();
        let mut buffer = [0; 2048];
        while let Ok(Some(packet)) = sniffer.read(&mut buffer) {
            if carried && packet.get(12..16) == Some(&[192, 168, 1, 10]) {
                assert_eq!(packet[8], 63);
                return true;
            }
        }
        false
    });
}

/// The kernel takes a while to remove the devices of a daemon that is killed. Here they stay, since another holds their
/// namespace.
#[test]
fn a_flow_is_not_carried_without_a_daemon() {
    let Some(lab) = up(APPLIANCES) else { return };
    let mut ping = lab.inside("a", || Pinger::towards([10, 61, 9, 4].into()).unwrap());
    eventually_carried(&lab, "an echo", |patience| ping.ask(64, patience).unwrap().is_some());
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| entry.path());
    let is_namespace = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("net:"));
    let held: Vec<_> = open.filter(is_namespace).map(|path| fs::File::open(path).unwrap()).collect();
    assert!(!held.is_empty());
    lab.crash();
    eventually("nothing is carried", || ping.ask(64, NEVER).unwrap().is_none());
    assert!(lab.inside("a", || Netlink::open().unwrap().link("eth0")).is_ok(), "its device is there");
}

//! What a receiver gets of translated flows: checksums that are right, whole or left to its device, of single packets and
//! of super-packets.
//!
//! One idea: a packet socket that also hands out offload headers shows what the kernel believes of each packet; a sum that
//! is left to the device must be that of the pseudo-header as it is now, any other must be right as it stands.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use vnet::wire::Offload;

use crate::lab::sockets::bound;
use crate::lab::{Lab, SOON};

pub(crate) const TOPOLOGY: &str = "
internet: {addresses: [198.18.0.1, '2001:db8:ffff::1']}
publicIPAddresses:
  - {name: front, ipAddress: 203.0.113.30}
  - {name: out, ipAddress: 203.0.113.10}
  - {name: own, ipAddress: 203.0.113.77}
  - {name: too, ipAddress: 203.0.113.78}
  - {name: six, publicIPAddressVersion: IPv6, ipAddress: '2001:db8:fe::30'}
natGateways: [{name: nat, publicIpAddresses: [out]}]
loadBalancers:
  - name: in
    frontendIPConfigurations: [{name: in, subnet: v/web, privateIPAddress: 10.60.1.100}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: tcp, frontendIPConfiguration: in, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080}
      - {name: udp, frontendIPConfiguration: in, backendAddressPool: web, protocol: Udp, frontendPort: 80, backendPort: 8080}
  - name: out
    frontendIPConfigurations: [{name: four, publicIPAddress: front}, {name: six, publicIPAddress: six}]
    backendAddressPools: [{name: web}, {name: six}]
    loadBalancingRules:
      - {name: tcp, frontendIPConfiguration: four, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080}
      - {name: udp, frontendIPConfiguration: four, backendAddressPool: web, protocol: Udp, frontendPort: 80, backendPort: 8080}
      - {name: tcp6, frontendIPConfiguration: six, backendAddressPool: six, protocol: Tcp, frontendPort: 80, backendPort: 8080}
      - {name: udp6, frontendIPConfiguration: six, backendAddressPool: six, protocol: Udp, frontendPort: 80, backendPort: 8080}
networkSecurityGroups:
  - name: open
    securityRules: [{name: all, priority: 100, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.60.0.0/16, 'fd00:60::/48']
    subnets:
      - {name: web, addressPrefixes: [10.60.1.0/24, 'fd00:60::/64'], networkSecurityGroup: open}
      - {name: nat, addressPrefix: 10.60.2.0/24, natGateway: nat, networkSecurityGroup: open}
      - {name: own, addressPrefix: 10.60.3.0/24, networkSecurityGroup: open}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/web, privateIPAddress: 10.60.1.4, loadBalancerBackendAddressPools: [in/web, out/web, out/six]}]}
  - {name: nat, networkInterfaces: [{subnet: v/nat, privateIPAddress: 10.60.2.4}]}
  - {name: own, networkInterfaces: [{subnet: v/own, privateIPAddress: 10.60.3.4, publicIPAddress: own}]}
  - {name: too, networkInterfaces: [{subnet: v/own, privateIPAddress: 10.60.3.5, publicIPAddress: too}]}
";

/// The sender, the address and port it sends to, the machine behind them, and its port: what is translated on the way.
pub(crate) const WAYS: [(&str, &str, &str, &str); 11] = [
    ("nat", "10.60.1.100:80", "web", "0.0.0.0:8080"),
    ("internet", "203.0.113.30:80", "web", "0.0.0.0:8080"),
    ("internet", "[2001:db8:fe::30]:80", "web", "[::]:8080"),
    ("web", "198.18.0.1:81", "internet", "0.0.0.0:81"),
    ("web", "[2001:db8:ffff::1]:81", "internet", "[::]:81"),
    ("nat", "198.18.0.1:82", "internet", "0.0.0.0:82"),
    ("internet", "203.0.113.77:83", "own", "0.0.0.0:83"),
    // Out of the network and in again (PIP-05): by two mappings, by one, and by none.
    ("nat", "203.0.113.30:80", "web", "0.0.0.0:8080"),
    ("own", "203.0.113.30:80", "web", "0.0.0.0:8080"),
    ("nat", "203.0.113.77:84", "own", "0.0.0.0:84"),
    ("too", "203.0.113.77:85", "own", "0.0.0.0:85"),
];

/// A packet socket that hands out each packet behind its offload header.
struct Capture(OwnedFd);

/// What was seen of one transport.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    packets: usize,
    super_packets: usize,
    wrong: Vec<String>,
}

impl Capture {
    /// Begins in the calling thread's namespace.
    fn open() -> Self {
        let all = std::num::NonZero::new(u32::from((libc::ETH_P_ALL as u16).to_be())).unwrap();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let all = Some(Protocol::from_raw(all));
        let capture = Self(socket_with(AddressFamily::PACKET, SocketType::RAW, flags, all).unwrap());
        capture.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20);
        capture.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1);
        capture
    }

    #[expect(unsafe_code, reason = "PACKET_VNET_HDR, SO_RCVBUFFORCE")]
    fn set(&self, level: i32, name: i32, value: i32) {
        // SAFETY: the pointer and the length are those of a live integer; the kernel copies it.
        let done = unsafe {
            let length = size_of::<i32>() as libc::socklen_t;
            libc::setsockopt(self.0.as_raw_fd(), level, name, (&raw const value).cast(), length)
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// What came to a port, or from it, since the last look.
    fn seen(&self, protocol: u8, port: u16) -> Seen {
        let mut seen = Seen::default();
        let mut buffer = vec![0; 70_000];
        while let Ok((length, _)) = recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
            let (header, packet) = buffer[..length].split_first_chunk::<{ Offload::LEN }>().unwrap();
            let link = link_header(packet);
            let packet = &packet[link..];
            let Some(at) = transport_at(packet, protocol) else { continue };
            let ports = [at, at + 2].map(|at| u16::from_be_bytes([packet[at], packet[at + 1]]));
            if !ports.contains(&port) {
                continue;
            }
            let mut offload = Offload::decode(header);
            offload.csum_start = offload.csum_start.saturating_sub(link as u16);
            seen.packets += 1;
            seen.super_packets += usize::from(offload.gso_size > 0);
            if !is_right(packet, at, protocol, &offload) {
                seen.wrong.push(format!("{offload:?} {:02x?}", &packet[..packet.len().min(80)]));
            }
        }
        seen
    }
}

/// Bytes in front of the IP header, of which a TUN has none. An Ethernet address may begin as such a header does, but where
/// that has the length of all, there is none in front.
fn link_header(frame: &[u8]) -> usize {
    let length = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let is_ip = match frame.first().map(|byte| byte >> 4) {
        Some(4) => frame.len() >= 20 && length(2) == frame.len(),
        Some(6) => frame.len() >= 40 && length(4) + 40 == frame.len(),
        _ => false,
    };
    if is_ip || frame.len() < 14 { 0 } else { 14 }
}

/// Where the transport header begins, of a packet of this protocol.
fn transport_at(packet: &[u8], protocol: u8) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => (packet[9] == protocol).then(|| usize::from(packet[0] & 15) * 4),
        6 => (packet[6] == protocol).then_some(40),
        _ => None,
    }
}

fn is_right(packet: &[u8], at: usize, protocol: u8, offload: &Offload) -> bool {
    let (addresses, length) = (if at == 40 { &packet[8..40] } else { &packet[12..20] }, packet.len() - at);
    let pseudo = words(addresses) + u64::from(protocol) + length as u64;
    let header_is_right = at == 40 || folded(words(&packet[..at])) == u16::MAX;
    let field = at + if protocol == 6 { 16 } else { 6 };
    let stands = u16::from_be_bytes([packet[field], packet[field + 1]]);
    header_is_right
        && if offload.flags & Offload::NEEDS_CSUM == 0 {
            folded(pseudo + words(&packet[at..])) == u16::MAX
        } else {
            (usize::from(offload.csum_start), usize::from(offload.csum_offset)) == (at, field - at)
                && stands == folded(pseudo)
        }
}

fn words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0))).sum()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[test]
fn snat_05_pip_01_lb_01_checksums_are_right_where_translated_packets_arrive() {
    const BULK: usize = 1 << 20;
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    for (from, to, receiver, at) in WAYS {
        let (to, at): (SocketAddr, SocketAddr) = (to.parse().unwrap(), at.parse().unwrap());
        let [near, far] = [from, receiver].map(|node| lab.inside(node, Capture::open));
        let listener = lab.inside(receiver, || bound(|| TcpListener::bind(at)));
        let mut client = lab.inside(from, || TcpStream::connect_timeout(&to, SOON).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || client.write_all(&vec![7; BULK]).unwrap());
            let mut received = Vec::new();
            server.read_to_end(&mut received).unwrap();
            assert_eq!(received.len(), BULK);
        });
        let seen = far.seen(6, at.port());
        assert_eq!(seen.wrong, [""; 0], "TCP {from} -> {to} at {receiver}");
        assert!(seen.super_packets > 0, "{from} -> {to}: {seen:?}");
        // The answers, under the name that was asked.
        assert_eq!(near.seen(6, to.port()).wrong, [""; 0], "TCP {from} -> {to}, answers");

        let server = lab.inside(receiver, || bound(|| UdpSocket::bind(at)));
        let client = lab.inside(from, || UdpSocket::bind((unspecified(to), 0)).unwrap());
        server.set_read_timeout(Some(SOON)).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        for length in [0, 1, 2, 3, 64, 999, 1400] {
            client.send_to(&vec![length as u8; length], to).unwrap();
            let (_, asks) = server.recv_from(&mut [0; 1500]).unwrap();
            server.send_to(&vec![0xa5; length], asks).unwrap();
            client.recv_from(&mut [0; 1500]).unwrap();
        }
        let seen = far.seen(17, at.port());
        assert_eq!(seen.wrong, [""; 0], "UDP {from} -> {to} at {receiver}");
        assert!(seen.packets >= 14, "{seen:?}");
        assert_eq!(near.seen(17, to.port()).wrong, [""; 0], "UDP {from} -> {to}, answers");
    }
}

pub(crate) fn unspecified(of: SocketAddr) -> std::net::IpAddr {
    if of.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() }
}

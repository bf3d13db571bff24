//! Which queue of a device a flow's packets take: the same one at both ends, on any device.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use vnet::sys::netlink::Netlink;
use vnet::sys::netns::Netns;
use vnet::sys::tun::{HEADER_LEN, OffloadSupport, Tun, TunQueue};
use vnet::wire::build;

use crate::lab::{eventually, has_program, permitted};

const QUEUES: usize = 4;
/// Where the other end listens.
const SERVICE: u16 = 7;
const LEFT: [&str; 2] = ["10.1.0.4", "fd00:1::4"];
const RIGHT: [&str; 2] = ["10.2.0.4", "fd00:2::4"];

/// A namespace with a device of four queues that leads everywhere.
struct End {
    namespace: Netns,
    queues: Vec<TunQueue>,
}

impl End {
    fn new(addresses: [&str; 2], tap: bool) -> Self {
        let namespace = Netns::create().unwrap();
        let made = namespace.run(|| {
            let opened = if tap {
                Tun::open_tap("eth0", None, QUEUES, OffloadSupport::TcpUdp)
            } else {
                Tun::open("eth0", QUEUES, OffloadSupport::TcpUdp)
            };
            let tun = opened.unwrap();
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.link("eth0").unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0").unwrap();
            netlink.up(link).unwrap();
            for (address, len) in addresses.iter().zip([32, 128]) {
                netlink.add_address(link, format!("{address}/{len}").parse().unwrap()).unwrap();
                netlink.add_default_device(link, len == 128).unwrap();
            }
            tun.queues
        });
        Self { namespace, queues: made.unwrap() }
    }

    /// On a TAP no ARP answer comes for the other end's addresses.
    fn knows(&self, addresses: [&str; 2]) {
        for address in addresses {
            let neighbour = ["neigh", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", "eth0"];
            let told = self.namespace.run(|| Command::new("ip").args(neighbour).status().unwrap()).unwrap();
            assert!(told.success());
        }
    }

    /// Sends a datagram that is `mark` so many times over; the queues it came by, and in how many packets.
    fn send(&self, from: SocketAddr, to: SocketAddr, mark: [u8; 8], times: usize) -> (BTreeSet<usize>, usize) {
        // The kernel takes a moment to make an IPv6 address usable.
        let bind = || self.namespace.run(|| UdpSocket::bind(from).ok()).unwrap();
        let mut bound = None;
        eventually("its address is usable", || {
            bound = bind();
            bound.is_some()
        });
        let socket = bound.unwrap();
        socket.send_to(&mark.repeat(times), to).unwrap();
        let (mut taken, mut bytes, mut packets) = (BTreeSet::new(), 0, 0);
        let mut frame = vec![0; 1 << 16];
        eventually("a datagram reaches its device", || {
            for (number, queue) in self.queues.iter().enumerate() {
                while let Ok(len) = queue.read(&mut frame) {
                    if frame[..len].ends_with(&mark) {
                        taken.insert(number);
                        packets += 1;
                        bytes += frame[..len].windows(mark.len()).filter(|at| *at == mark).count() * 8;
                    }
                }
            }
            bytes == 8 * times
        });
        (taken, packets)
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

fn both_ways_on_one_queue(tap: bool) {
    let (left, right) = (End::new(LEFT, tap), End::new(RIGHT, tap));
    if tap {
        left.knows(RIGHT);
        right.knows(LEFT);
    }
    for (here, there) in LEFT.into_iter().zip(RIGHT) {
        let mut used = BTreeSet::new();
        for port in 9000..9064 {
            let (client, server) = (address(here, port), address(there, SERVICE));
            let mark = |way: u8| [0xee, way, 0xbb, (port >> 8) as u8, port as u8, 0x77, 0x99, 0xdd];
            let (there_by, packets) = left.send(client, server, mark(1), 1);
            assert_eq!((there_by.len(), packets), (1, 1));
            let (back_by, _) = right.send(server, client, mark(2), 1);
            assert_eq!(there_by, back_by, "{client} and {server}");
            used.extend(there_by);
        }
        assert_eq!(used.len(), QUEUES, "flows of {here} spread over all queues");
    }
    // A datagram in pieces: only the first tells of ports, so all go by the addresses.
    for (here, there) in LEFT.into_iter().zip(RIGHT) {
        let queues: BTreeSet<_> = (9000..9016)
            .flat_map(|port| {
                let mark = [0xee, 3, 0xbb, (port >> 8) as u8, port as u8, 0x77, 0x99, 0xdd];
                let (queues, packets) = left.send(address(here, port), address(there, SERVICE), mark, 512);
                assert!(packets > 1, "4,096 bytes in one packet");
                queues
            })
            .collect();
        // The kernel cuts IPv6 behind a header of its own, which is neither TCP nor UDP.
        assert_eq!(queues.len(), 1, "{here}: pieces of one pair of addresses");
    }
}

#[test]
fn a_flow_takes_one_queue_at_both_ends() {
    if permitted() {
        both_ways_on_one_queue(false);
    }
}

#[test]
fn behind_an_ethernet_header_too() {
    if permitted() && has_program("ip") {
        both_ways_on_one_queue(true);
    }
}

#[test]
fn what_is_written_on_another_queue_moves_no_flow() {
    if !permitted() {
        return;
    }
    let end = End::new(LEFT, false);
    for port in 9000..9016 {
        let (client, server) = (address(LEFT[0], port), address(RIGHT[0], SERVICE));
        let (before, _) = end.send(client, server, *b"12345678", 1);
        let answer = [vec![0; HEADER_LEN], build::udp(server, client, b"answer")].concat();
        for queue in &end.queues {
            queue.write(&answer).unwrap();
            assert_eq!(end.send(client, server, *b"12345678", 1).0, before, "the kernel's own way");
        }
    }
}

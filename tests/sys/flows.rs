//! What the kernel says of flows and packets: tracked connections, captured packets, signed segments, handed-over packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use vnet::sys::conntrack::{self, Direction};
use vnet::sys::netlink::Netlink;
use vnet::sys::netns::Netns;
use vnet::sys::sniffer::Sniffer;
use vnet::sys::socket::{self, Origin};
use vnet::sys::veth;

use super::sockets::bound;
use super::{inside, run};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn loopback_up() {
    let mut netlink = Netlink::open().unwrap();
    let lo = netlink.link("lo").unwrap();
    netlink.up(lo).unwrap();
}

/// A datagram from one local port to another.
fn exchange(from: u16, to: u16) {
    let receiver = bound(|| UdpSocket::bind((LOCAL, to)));
    bound(|| UdpSocket::bind((LOCAL, from))).send_to(b"hello", (LOCAL, to)).unwrap();
    assert_eq!(receiver.recv(&mut [0; 10]).unwrap(), 5);
}

/// A flow is found by its first packet, not by its answers.
#[test]
fn a_tracked_flow_is_found_with_the_answers_that_it_waits_for() {
    inside(|_| {
        loopback_up();
        let flow = |from, to| Direction { protocol: 17, src: (LOCAL, from), dst: (LOCAL, to) };
        assert_eq!(conntrack::answers(&flow(1000, 53)).unwrap(), None);
        // Nothing is tracked where no rule asks for it.
        run("nft add table ip t");
        run("nft add chain ip t out { type filter hook output priority 0 ; }");
        run("nft add rule ip t out ct state new counter");
        exchange(1000, 53);
        assert_eq!(conntrack::answers(&flow(1000, 53)).unwrap(), Some(flow(53, 1000)));
        assert_eq!(conntrack::answers(&flow(53, 1000)).unwrap(), None, "that is its answer");
        assert_eq!(conntrack::answers(&flow(1001, 53)).unwrap(), None);
    });
}

#[test]
fn a_sniffer_reads_what_passes_and_counts_what_it_missed() {
    inside(|_| {
        loopback_up();
        let sniffer = Sniffer::open(Duration::from_millis(200)).unwrap();
        exchange(1000, 53);
        let mut buffer = [0; 100];
        let packet = sniffer.read(&mut buffer).unwrap().unwrap();
        assert_eq!((packet.len(), &packet[28..]), (33, &b"hello"[..]));
        assert_eq!(sniffer.lost().unwrap(), 0);
        while sniffer.read(&mut buffer).unwrap().is_some() {}
        let sender = UdpSocket::bind((LOCAL, 2000)).unwrap();
        let _receiver = UdpSocket::bind((LOCAL, 2001)).unwrap();
        for _ in 0..5000 {
            sender.send_to(b"hello", (LOCAL, 2001)).unwrap();
        }
        assert!(sniffer.lost().unwrap() > 0, "nobody has read them");
    });
}

/// RFC 2385: without the key not even a connection is made.
#[test]
fn a_listener_with_a_key_hears_nobody_without_it() {
    inside(|_| {
        loopback_up();
        let at = |port| SocketAddr::new(LOCAL, port);
        let made = |port| Origin::default().tcp_towards(at(port)).unwrap().wait(Duration::from_millis(300)).unwrap();
        let (open, signed) = (socket::listen(at(1790), None).unwrap(), socket::listen(at(1791), None).unwrap());
        // A kernel may have been built without.
        if socket::sign(&signed, LOCAL, "a key").is_ok() {
            assert_eq!((made(1790), made(1791)), (Some(()), None));
        }
        drop(open);
    });
}

#[test]
fn a_program_at_a_device_is_put_there_once_and_removed() {
    inside(|here| {
        let there = Netns::create().unwrap();
        let mut netlink = Netlink::open().unwrap();
        netlink.add_pair("a", "b", &there).unwrap();
        netlink.add_pair("c", "d", here).unwrap();
        let [a, c] = ["a", "c"].map(|name| netlink.link(name).unwrap());
        let shown = |device: &str| run(&format!("tc filter show dev {device} ingress"));
        netlink.remove_filter(c, "ours").unwrap();
        // Not everywhere may programs be loaded.
        let Ok(program) = veth::hand_to(a) else { return };
        netlink.filter_ingress(c, program.as_fd(), "ours").unwrap();
        assert!(shown("c").contains("ours") && shown("a").is_empty(), "{}", shown("c"));
        netlink.remove_filter(c, "another").unwrap();
        assert!(shown("c").contains("ours"));
        netlink.remove_filter(c, "ours").unwrap();
        assert_eq!(shown("c"), "");
        netlink.remove_filter(c, "ours").unwrap();
    });
}

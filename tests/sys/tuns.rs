//! TUNs and TAPs: their queues, what stands in front of a packet, which queue a flow takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};

use vnet::sys::netlink::Netlink;
use vnet::sys::socket::Origin;
use vnet::sys::tun::{Framing, OffloadSupport, Tun};
use vnet::wire::build;

use super::sockets::bound;
use super::{eventually, inside, ip, run};

/// Makes the device usable, with an address of its own.
fn begin(name: &str) {
    let mut netlink = Netlink::open().unwrap();
    let link = netlink.link(name).unwrap();
    netlink.add_address(link, "10.0.0.1/24".parse().unwrap()).unwrap();
    netlink.up(link).unwrap();
}

/// Sends a datagram into the device; returns the queue that it came to, and its bytes from the IP header on.
fn sent(tun: &Tun, header: usize, (from, to): (u16, u16)) -> (usize, Vec<u8>) {
    bound(|| UdpSocket::bind(("10.0.0.1", from))).send_to(b"hello", ("10.0.0.9", to)).unwrap();
    let mut frame = [0; 2000];
    let arrived = tun.queues.iter().enumerate().find_map(|(at, queue)| {
        // The kernel says things of its own, over IPv6.
        std::iter::from_fn(|| queue.read(&mut frame).ok().map(|len| frame[header..len].to_vec()))
            .find(|packet| packet[0] == 0x45 && packet[9] == 17)
            .map(|packet| (at, packet))
    });
    arrived.unwrap()
}

#[test]
fn what_stands_in_front_of_a_packet_is_as_it_was_asked_for() {
    inside(|_| {
        for (most, header, framing) in
            [(OffloadSupport::Off, 0, Framing::Nothing), (OffloadSupport::Tcp, 10, Framing::Header)]
        {
            let tun = Tun::open("t0", 1, most).unwrap();
            begin("t0");
            assert_eq!((tun.queues.len(), tun.offload), (1, most));
            let queue = &tun.queues[0];
            assert_eq!((queue.framing(), queue.offload(), queue.has_header()), (framing, most, header > 0));
            let (_, packet) = sent(&tun, header, (1000, 53));
            assert_eq!((packet.len(), &packet[28..]), (33, &b"hello"[..]));
            // It goes with its last queue.
            drop(tun);
            // A program that another test starts at this moment has the queue until its exec.
            eventually(|| Netlink::open().unwrap().link("t0").is_err());
        }
        let address = [2, 0, 0, 0, 0, 7];
        let tap = Tun::open_tap("t1", Some(address), 1, OffloadSupport::Off).unwrap();
        assert_eq!(tap.queues[0].framing(), Framing::Ethernet(address));
        assert_eq!(ip("link show t1")[0]["address"], "02:00:00:00:00:07");
        for name in ["", "a-name-of-sixteen", "a/b", "a%d"] {
            assert!(Tun::open(name, 1, OffloadSupport::Off).is_err(), "{name}");
        }
    });
}

/// All packets of a flow take one queue, in both directions, and flows use all queues.
#[test]
fn a_flow_has_one_queue_and_flows_have_all() {
    inside(|_| {
        let tun = Tun::open("t0", 2, OffloadSupport::TcpUdp).unwrap();
        begin("t0");
        assert_eq!(tun.queues.len(), 2);
        let mut flows = BTreeMap::<usize, usize>::new();
        for port in 1000..1064 {
            let (queue, _) = sent(&tun, 10, (port, 5353));
            assert_eq!(sent(&tun, 10, (port, 5353)).0, queue, "again");
            assert_eq!(sent(&tun, 10, (5353, port)).0, queue, "the ports the other way round");
            *flows.entry(queue).or_default() += 1;
        }
        assert!(flows.len() == 2 && flows.values().all(|count| *count > 8), "{flows:?}");
    });
}

/// By which queues packets come that something sends: TCP and UDP, whole or in fragments, over either version.
fn queues_of(tun: &Tun, send: impl FnOnce()) -> Vec<usize> {
    send();
    let mut frame = [0; 4000];
    let mut queues = Vec::new();
    for (at, queue) in tun.queues.iter().enumerate() {
        while let Ok(len) = queue.read(&mut frame) {
            let packet = &frame[10..len];
            let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
            queues.extend(matches!(protocol, 6 | 17 | 44).then_some(at));
        }
    }
    queues
}

fn datagram(from: &str, to: &str, length: usize) -> impl FnOnce() {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    move || assert_eq!(bound(|| UdpSocket::bind(from)).send_to(&vec![7; length], to).unwrap(), length)
}

/// Begins a connection that nobody accepts.
fn connection(to: &str) -> impl FnOnce() {
    let to: SocketAddr = to.parse().unwrap();
    move || drop(Origin::default().tcp_towards(to).unwrap())
}

/// The kernel's own method follows the queue that a flow's packets are written to; ours takes the packet alone.
#[test]
fn which_queue_a_flow_has_follows_from_its_packets_alone() {
    inside(|_| {
        let tun = Tun::open("t0", 2, OffloadSupport::Tcp).unwrap();
        begin("t0");
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link("t0").unwrap();
        netlink.add_address(link, "fd00::1/64".parse().unwrap()).unwrap();
        let one = |send: &mut dyn FnMut() -> Vec<usize>| {
            let queues = send();
            assert_eq!(queues.len(), 1);
            queues[0]
        };
        for [own, far] in [["10.0.0.1", "10.0.0.9"], ["[fd00::1]", "[fd00::9]"]] {
            let mut seen = BTreeSet::new();
            for port in 2000..2032 {
                let [from, to] = [format!("{own}:{port}"), format!("{far}:53")];
                let queue = one(&mut || queues_of(&tun, datagram(&from, &to, 100)));
                let back = build::udp(to.parse().unwrap(), from.parse().unwrap(), b"answer");
                tun.queues[1 - queue].write(&[&[0; 10], &back[..]].concat()).unwrap();
                let again = one(&mut || queues_of(&tun, datagram(&from, &to, 100)));
                assert_eq!(again, queue, "{from}: an answer came on the other queue");
                let [from, to] = [format!("{own}:53"), format!("{far}:{port}")];
                assert_eq!(one(&mut || queues_of(&tun, datagram(&from, &to, 100))), queue, "{from} to {to}");
                seen.insert(queue);
            }
            assert_eq!(seen.len(), 2, "{own}: ports of UDP tell flows apart");
            let connections: BTreeSet<_> =
                (3000..3032).flat_map(|port| queues_of(&tun, connection(&format!("{far}:{port}")))).collect();
            assert_eq!(connections.len(), 2, "{own}: ports of TCP do");
            // Only the first has the ports.
            let fragments: BTreeSet<_> = (4000..4016)
                .flat_map(|port| queues_of(&tun, datagram(&format!("{own}:{port}"), &format!("{far}:53"), 4000)))
                .collect();
            assert_eq!(fragments.len(), 1, "{own}: of fragments the addresses alone count");
            let far = &far.replace("9]", "").replace(".9", ".");
            let end = if far.starts_with('[') { "]" } else { "" };
            let hosts: BTreeSet<_> = (2..34)
                .flat_map(|host| {
                    queues_of(&tun, datagram(&format!("{own}:5000"), &format!("{far}{host}{end}:53"), 100))
                })
                .collect();
            assert_eq!(hosts.len(), 2, "{own}: addresses do");
        }
    });
}

/// What somebody made to stay keeps its queues and its address, and is there when we have gone.
#[test]
fn a_device_that_was_made_to_stay_is_joined_as_it_is() {
    inside(|_| {
        run("ip tuntap add dev one mode tun");
        run("ip tuntap add dev many mode tun multi_queue");
        run("ip tuntap add dev tap mode tap multi_queue");
        let address = ip("link show tap")[0]["address"].as_str().unwrap().to_owned();
        let one = Tun::open("one", 2, OffloadSupport::Off).unwrap();
        let many = Tun::open("many", 3, OffloadSupport::Off).unwrap();
        assert_eq!((one.queues.len(), many.queues.len()), (1, 3));
        let tap = Tun::open_tap("tap", Some([2, 0, 0, 0, 0, 7]), 2, OffloadSupport::Off).unwrap();
        let Framing::Ethernet(known) = tap.queues[0].framing() else { panic!("no Ethernet header") };
        assert_eq!((tap.queues.len(), known.map(|byte| format!("{byte:02x}")).join(":")), (2, address.clone()));
        drop((one, many, tap));
        assert_eq!(ip("link show tap")[0]["address"], address.as_str());
        assert!(["one", "many"].iter().all(|name| Netlink::open().unwrap().link(name).is_ok()));
    });
}

/// By the kernel's method a flow goes to the queue that its answers came from. It stays so where the device is not ours.
#[test]
fn a_device_that_was_made_to_stay_keeps_its_way_of_choosing_a_queue() {
    inside(|_| {
        run("ip tuntap add dev t0 mode tun multi_queue");
        let tun = Tun::open("t0", 2, OffloadSupport::Tcp).unwrap();
        begin("t0");
        let [own, far] = ["10.0.0.1:2000", "10.0.0.9:53"];
        let first = queues_of(&tun, datagram(own, far, 100))[0];
        for queue in [1 - first, first] {
            let back = build::udp(far.parse().unwrap(), own.parse().unwrap(), b"answer");
            tun.queues[queue].write(&[&[0; 10], &back[..]].concat()).unwrap();
            assert_eq!(queues_of(&tun, datagram(own, far, 100)), [queue]);
        }
    });
}

#[test]
fn a_name_that_another_has_is_refused_with_the_reason() {
    inside(|_| {
        let refused = |open: std::io::Result<Tun>| open.unwrap_err().to_string();
        let held = Tun::open("held", 2, OffloadSupport::Off).unwrap();
        let busy = refused(Tun::open("held", 1, OffloadSupport::Off));
        assert!(busy.starts_with("TUN interface held: the name is in use by another program;"), "{busy}");
        assert_eq!(held.queues.len(), 2);
        run("ip link add other type bridge");
        run("ip tuntap add dev tap mode tap");
        for name in ["other", "tap"] {
            let odd = refused(Tun::open(name, 1, OffloadSupport::Off));
            let why = "an interface of that name exists and is no TUN (or TAP, if that was asked for)";
            assert!(odd.starts_with(&format!("TUN interface {name}: {why}")), "{odd}");
        }
    });
}

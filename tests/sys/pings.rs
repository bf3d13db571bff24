//! Echoes: answered, refused by a router on the way, and not answered.

use std::net::IpAddr;
use std::time::Duration;

use vnet::sys::netlink::Netlink;
use vnet::sys::netns::Netns;
use vnet::sys::ping::Pinger;

use super::{inside, run};

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

/// From here over a router to a far end.
fn course() -> [Netns; 2] {
    let [router, far] = [Netns::create().unwrap(), Netns::create().unwrap()];
    let address = |name: &str, addresses: [&str; 2]| {
        // An address in use from the first moment: until it is known to be its holder's alone, nobody would answer for it.
        run(&format!("sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.{name}.accept_dad=0"));
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link(name).unwrap();
        netlink.up(link).unwrap();
        for address in addresses {
            netlink.add_address(link, address.parse().unwrap()).unwrap();
        }
        (netlink, link)
    };
    Netlink::open().unwrap().add_pair("near", "left", &router).unwrap();
    router.run(|| Netlink::open().unwrap().add_pair("right", "end", &far).unwrap()).unwrap();
    let (mut netlink, near) = address("near", ["10.0.0.4/24", "fd00::4/64"]);
    let lo = netlink.link("lo").unwrap();
    netlink.up(lo).unwrap();
    let route = || {
        run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        address("left", ["10.0.0.1/24", "fd00::1/64"]);
        address("right", ["10.0.1.1/24", "fd00:1::1/64"]);
    };
    router.run(route).unwrap();
    let end = || {
        let (mut netlink, link) = address("end", ["10.0.1.4/24", "fd00:1::4/64"]);
        netlink.add_default_route(link, "10.0.1.1".parse().unwrap()).unwrap();
        netlink.add_default_route(link, "fd00:1::1".parse().unwrap()).unwrap();
    };
    far.run(end).unwrap();
    for gateway in ["10.0.0.1", "fd00::1"] {
        netlink.add_default_route(near, gateway.parse().unwrap()).unwrap();
    }
    [router, far]
}

#[test]
fn a_ping_is_answered_by_its_destination_or_by_a_router() {
    inside(|_| {
        let _others = course();
        for (to, router) in [("10.0.1.4", "10.0.0.1"), ("fd00:1::4", "fd00::1")] {
            let (to, router): (IpAddr, IpAddr) = (to.parse().unwrap(), router.parse().unwrap());
            let mut pinger = Pinger::towards(to).unwrap();
            let mut other = Pinger::towards(to).unwrap();
            assert_ne!(pinger.id(), other.id());
            for (hops, from, arrived) in [(64, to, true), (1, router, false), (2, to, true)] {
                let answer = pinger.ask(hops, SOON).unwrap().unwrap();
                assert_eq!((answer.from, answer.arrived), (from, arrived), "{to} over {hops}");
                assert!(answer.after < SOON);
            }
            assert_eq!(other.ask(64, SOON).unwrap().map(|answer| answer.arrived), Some(true));
        }
    });
}

/// Of another's pings nothing is taken for an answer, and neither is our own request, which comes back to `lo`.
#[test]
fn silence_is_waited_for_and_no_longer() {
    inside(|_| {
        let [_router, far] = course();
        far.run(|| run("sysctl -q -w net.ipv4.icmp_echo_ignore_all=1")).unwrap();
        run("sysctl -q -w net.ipv4.icmp_echo_ignore_all=1");
        for to in ["10.0.1.4", "127.0.0.1"] {
            let mut silent = Pinger::towards(to.parse().unwrap()).unwrap();
            let began = std::time::Instant::now();
            // Meanwhile the router answers others.
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut other = Pinger::towards("10.0.1.4".parse().unwrap()).unwrap();
                    assert_eq!(other.ask(1, SOON).unwrap().map(|answer| answer.arrived), Some(false));
                });
                assert_eq!(silent.ask(64, SHORT).unwrap(), None, "{to}");
            });
            assert!(began.elapsed() >= SHORT);
        }
    });
}

//! Devices, addresses and routes over netlink, and veth pairs.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use vnet::sys::netlink::{Link, Netlink};
use vnet::sys::netns::Netns;
use vnet::sys::veth::OtherEnd;

use super::{inside, ip, run};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pair with both ends here, both up.
fn pair(namespace: &Netns) -> (Netlink, [Link; 2]) {
    let mut netlink = Netlink::open().unwrap();
    netlink.add_pair("a", "b", namespace).unwrap();
    let links = ["a", "b"].map(|name| netlink.link(name).unwrap());
    for link in links {
        netlink.up(link).unwrap();
    }
    (netlink, links)
}

/// The routes of all tables but the kernel's own, each as it would be written.
fn routes(family: &str) -> Vec<String> {
    let word = |route: &Value, key: &str| match &route[key] {
        Value::Null => String::new(),
        // What need not be said.
        Value::String(text) if ["main", "global"].contains(&text.as_str()) => String::new(),
        Value::String(text) => format!(" {key} {text}"),
        other => format!(" {key} {other}"),
    };
    let own = |route: &Value| {
        route["protocol"] == "kernel"
            || route["table"] == "local"
            || route["dst"].as_str().is_some_and(|to| to.starts_with("ff00"))
    };
    let routes = ip(&format!("{family} route show table all")).into_iter().filter(|route| !own(route));
    let text = |route: Value| {
        let hops = route["nexthops"].as_array().cloned().unwrap_or_default();
        let hops =
            hops.iter().map(|hop| [" [", &word(hop, "gateway"), &word(hop, "dev"), "]"].concat()).collect::<String>();
        let rest = ["gateway", "dev", "table", "metric", "scope"].map(|key| word(&route, key)).concat();
        format!("{}{rest}{hops}", route["dst"].as_str().unwrap())
    };
    let mut all: Vec<_> = routes.map(text).collect();
    all.sort();
    all
}

#[test]
fn a_device_is_as_it_was_set() {
    inside(|namespace| {
        let (mut netlink, [a, b]) = pair(namespace);
        assert_eq!((netlink.is_up("a").unwrap(), netlink.has_carrier("a").unwrap()), (true, Some(true)));
        netlink.down(b).unwrap();
        assert_eq!((netlink.is_up("b").unwrap(), netlink.is_up("a").unwrap()), (false, true));
        assert_eq!(netlink.has_carrier("a").unwrap(), Some(false), "the other end is down");
        assert_eq!(netlink.has_carrier("none").unwrap(), None);
        assert!(netlink.link("none").is_err() && netlink.mtu("none").is_err());
        assert_eq!(netlink.alias("a").unwrap(), None);
        netlink.set_alias(a, "what it is for").unwrap();
        assert_eq!(netlink.alias("a").unwrap().as_deref(), Some("what it is for"));
        netlink.set_mtu_and_queue(a, 1400, 77).unwrap();
        netlink.set_noqueue(a).unwrap();
        let listed = &ip("link show a")[0];
        assert_eq!(
            (&listed["mtu"], &listed["txqlen"], &listed["qdisc"]),
            (&1400.into(), &77.into(), &"noqueue".into())
        );
        assert_eq!(netlink.mtu("a").unwrap(), 1400);
        assert_eq!(listed["ifindex"], a.0);
        let written = netlink.hardware_address("a").unwrap().map(|byte| format!("{byte:02x}")).join(":");
        assert_eq!(listed["address"], written);
        netlink.add_pair_of("c", ("d", Some([2, 0, 0, 0, 0, 9])), namespace).unwrap();
        assert_eq!(netlink.hardware_address("d").unwrap(), [2, 0, 0, 0, 0, 9]);
        assert!(netlink.add_pair("c", "e", namespace).is_err(), "the name is taken");
        netlink.remove_link("c").unwrap();
        assert!(netlink.link("d").is_err(), "with one end the other");
        netlink.remove_link("c").unwrap();
    });
}

#[test]
fn addresses_come_and_go() {
    inside(|namespace| {
        let (mut netlink, [a, _]) = pair(namespace);
        assert!(!netlink.is_local(address("10.0.0.4")).unwrap(), "no route at all");
        for prefix in ["10.0.0.4/24", "fd00::4/64"] {
            netlink.add_address(a, net(prefix)).unwrap();
            netlink.add_address(a, net(prefix)).unwrap();
        }
        let listed = || {
            let all = ip("address show dev a scope global");
            let all = all.iter().flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
            let text = |one: Value| Some(format!("{}/{} {}", one["local"].as_str()?, one["prefixlen"], one["nodad"]));
            all.filter_map(text).collect::<Vec<_>>()
        };
        assert_eq!(listed(), ["10.0.0.4/24 null", "fd00::4/64 true"]);
        assert!(netlink.is_local(address("10.0.0.4")).unwrap() && !netlink.is_local(address("10.0.0.5")).unwrap());
        assert!(netlink.is_local(address("fd00::4")).unwrap() && !netlink.is_local(address("fd00::5")).unwrap());
        for prefix in ["10.0.0.4/24", "fd00::4/64", "10.0.0.4/24"] {
            netlink.remove_address(a, net(prefix)).unwrap();
        }
        assert!(listed().is_empty());
    });
}

#[test]
fn default_routes_are_those_of_the_main_table() {
    inside(|namespace| {
        let (mut netlink, [a, b]) = pair(namespace);
        netlink.add_address(a, net("10.0.0.4/24")).unwrap();
        netlink.add_address(a, net("fd00::4/64")).unwrap();
        let has = |netlink: &mut Netlink| [false, true].map(|ipv6| netlink.has_default_route(ipv6).unwrap());
        assert_eq!(has(&mut netlink), [false, false]);
        netlink.add_default_in_table(a, "10.0.0.1".parse().unwrap(), 7).unwrap();
        netlink.add_rule("b", 7).unwrap();
        netlink.add_rule("b", 7).unwrap();
        assert_eq!(has(&mut netlink), [false, false], "another table has one");
        assert_eq!(routes("-4"), ["default gateway 10.0.0.1 dev a table 7"]);
        let rules = ip("rule show iif b");
        assert_eq!((rules.len(), &rules[0]["table"]), (1, &"7".into()), "{rules:?}");
        netlink.add_default_route(a, address("10.0.0.1")).unwrap();
        assert_eq!(has(&mut netlink), [true, false]);
        netlink.add_default_route(a, address("fd00::1")).unwrap();
        assert_eq!(has(&mut netlink), [true, true]);
        for gateway in ["10.0.0.1", "fd00::1", "10.0.0.1"] {
            netlink.remove_default_route(a, address(gateway)).unwrap();
        }
        assert_eq!(has(&mut netlink), [false, false]);
        for ipv6 in [false, true] {
            netlink.add_default_device(b, ipv6).unwrap();
            assert!(netlink.add_default_device(b, ipv6).is_err(), "it is there");
        }
        assert_eq!(has(&mut netlink), [true, true]);
        assert_eq!(routes("-4")[0], "default dev b scope link");
    });
}

#[test]
fn routes_are_added_once_and_removed_once() {
    inside(|namespace| {
        let (mut netlink, [a, b]) = pair(namespace);
        netlink.add_address(a, net("10.0.0.4/24")).unwrap();
        netlink.add_address(b, net("10.0.1.4/24")).unwrap();
        for _ in 0..2 {
            netlink.add_device_route(a, net("10.9.0.0/16"), 5).unwrap();
            netlink.add_device_route(b, net("10.9.0.0/16"), 6).unwrap();
            netlink.add_route_via(a, net("10.8.0.0/16"), address("10.0.0.9")).unwrap();
            netlink.put_route(net("10.7.0.0/16"), &[(address("10.0.0.9"), None)]).unwrap();
        }
        let fixed = [
            "10.8.0.0/16 gateway 10.0.0.9 dev a",
            "10.9.0.0/16 dev a metric 5 scope link",
            "10.9.0.0/16 dev b metric 6 scope link",
        ];
        let all = |first: &str| std::iter::once(first).chain(fixed).map(str::to_owned).collect::<Vec<_>>();
        let shown = || routes("-4").into_iter().map(|route| route.replace(" metric 1024", "")).collect::<Vec<_>>();
        assert_eq!(shown().len(), 4, "{:?}", shown());
        assert!(shown()[0].starts_with("10.7.0.0/16 gateway 10.0.0.9 dev a"), "{:?}", shown());
        assert_eq!(shown()[1..], all("")[1..]);
        netlink
            .put_route(net("10.7.0.0/16"), &[(address("10.0.0.9"), Some(a)), (address("10.0.1.9"), Some(b))])
            .unwrap();
        assert!(shown()[0].ends_with(" [ gateway 10.0.0.9 dev a] [ gateway 10.0.1.9 dev b]"), "{:?}", shown());
        for _ in 0..2 {
            netlink.remove_route(net("10.7.0.0/16")).unwrap();
            netlink.remove_route_via(a, net("10.8.0.0/16"), address("10.0.0.9")).unwrap();
            netlink.remove_device_route(a, net("10.9.0.0/16"), 5).unwrap();
        }
        assert_eq!(shown(), [fixed[2]], "the other device's stays");
    });
}

#[test]
fn the_other_end_of_a_pair_is_found() {
    inside(|here| {
        let there = Netns::create().unwrap();
        let mut netlink = Netlink::open().unwrap();
        netlink.add_pair("a", "b", here).unwrap();
        netlink.add_pair("c", "d", &there).unwrap();
        assert!(matches!(OtherEnd::of(here, "lo").unwrap(), OtherEnd::NoPair));
        assert!(OtherEnd::of(here, "none").is_err());
        assert!(matches!(OtherEnd::of(here, "a").unwrap(), OtherEnd::Here(name) if name == "b"));
        let d = there.run(|| Netlink::open().unwrap().link("d").unwrap()).unwrap();
        assert_eq!(netlink.other_end("c").unwrap(), d);
        assert!(netlink.other_end("lo").is_err());
        // Where no process and no name leads to the namespace, it is not known.
        assert!(matches!(OtherEnd::of(here, "c").unwrap(), OtherEnd::Unknown));
        let seen = there.run(|| {
            let mut netlink = Netlink::open().unwrap();
            run("ip link add bridge1 type bridge");
            run("ip link set dev d master bridge1");
            netlink.up(d).unwrap();
            netlink.add_address(d, net("10.0.0.4/24")).unwrap();
            // A process that lives there leads to it.
            let mut resident = std::process::Command::new("sleep").arg("100").spawn().unwrap();
            let seen = OtherEnd::of(here, "c").unwrap();
            resident.kill().unwrap();
            resident.wait().unwrap();
            seen
        });
        let OtherEnd::There(end) = seen.unwrap() else { panic!("it is there") };
        assert_eq!((end.name.as_str(), end.link, end.is_up), ("d", d, true));
        assert_eq!((end.master.as_deref(), &end.addresses[..]), (Some("bridge1"), &[net("10.0.0.4/24")][..]));
    });
}

//! Interfaces in namespaces that stood before the lab: what is made there, what is left alone, and what is given back.

use std::process::Command;

use vnet::sys::netns::{self, Netns};

use crate::lab::{Lab, permitted, stderr, stdout, unique};

/// A namespace of the test's own, gone with its value.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        netns::prepare_names().unwrap();
        let name = unique(what);
        Netns::create().unwrap().bind(&netns::name_path(&name)).unwrap();
        Self(name)
    }

    fn ip(&self, words: &str) -> String {
        let output = Command::new("ip").arg("-n").arg(&self.0).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", stderr(&output));
        stdout(&output)
    }

    /// Devices with their IPv4 addresses, and routes.
    fn tables(&self) -> Vec<String> {
        let links = self.ip("-o link");
        let links = links.lines().filter_map(|line| Some(line.split(':').nth(1)?.trim().split('@').next()?.to_owned()));
        let addresses = self.ip("-o -4 address");
        let addresses = addresses.lines().filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            Some(format!("{} {}", words.get(1)?, words.get(3)?))
        });
        let routes = self.ip("route");
        let routes = routes.lines().map(|line| line.replace(" linkdown", "").trim().to_owned());
        let all = links.filter(|link| link != "lo").chain(addresses).chain(routes);
        all.collect()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = netns::unbind(&netns::name_path(&self.0));
    }
}

fn topology(device: &str, machines: &[(&str, u8, String)]) -> String {
    let machine = |(name, last, attach): &(&str, u8, String)| {
        let attach = if attach.is_empty() { String::new() } else { format!(", attach: {{{attach}}}") };
        format!("  - {{name: {name}, networkInterfaces: [{{subnet: v/s, privateIPAddress: 10.1.1.{last}{attach}}}]}}\n")
    };
    let machines: String = machines.iter().map(machine).collect();
    format!(
        "emulation: {{device: {device}}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}
virtualMachines:
{machines}"
    )
}

#[test]
fn an_interface_that_the_lab_makes_is_set_up_beside_what_is_there_and_goes_with_the_lab() {
    for device in ["tun", "tap", "veth"] {
        if !permitted() {
            return;
        }
        let (one, two) = (Named::new("one"), Named::new("two"));
        two.ip("link add own type veth peer name far");
        two.ip("link set own up");
        two.ip("link set far up");
        two.ip("route add default dev own");
        let own = two.tables();
        let attach = |namespace: &Named, more: &str| format!("namespace: {}, interface: eth7{more}", namespace.0);
        let machines = [("a", 10, attach(&one, "")), ("b", 11, attach(&two, "")), ("c", 12, String::new())];
        let Some(lab) = Lab::up(&topology(device, &machines)) else { return };
        let first = [
            "eth7",
            "eth7 10.1.1.10/24",
            "default dev eth7 scope link",
            "10.1.1.0/24 dev eth7 proto kernel scope link src 10.1.1.10",
        ];
        assert_eq!(one.tables(), first, "{device}");
        assert_eq!(
            two.tables(),
            [
                "far",
                "own",
                "eth7",
                "eth7 10.1.1.11/24",
                "default dev own scope link",
                "10.1.1.0/24 dev eth7 proto kernel scope link src 10.1.1.11"
            ],
            "{device}"
        );
        lab.assert_ping("c", "10.1.1.10");
        let moved = [machines[0].clone(), ("b", 13, attach(&two, "")), machines[2].clone()];
        lab.apply(&topology(device, &moved));
        assert!(two.tables().contains(&"eth7 10.1.1.13/24".to_owned()), "{:?}", two.tables());
        assert!(!two.tables().contains(&"eth7 10.1.1.11/24".to_owned()), "{:?}", two.tables());
        lab.apply(&topology(device, &machines[2..]));
        assert_eq!((one.tables(), two.tables()), (Vec::new(), own), "{device}");
    }
}

#[test]
fn a_pair_that_is_taken_is_as_it_was_once_the_lab_lets_go() {
    if !permitted() {
        return;
    }
    for (was, crashes) in [("up", false), ("down", false), ("up", true)] {
        let (inside, outside) = (Named::new("in"), Named::new("out"));
        let end = unique("e").replace('-', "x");
        inside.ip(&format!("link add eth7 type veth peer name {end} netns {}", outside.0));
        inside.ip("address add 10.1.1.10/24 dev eth7");
        inside.ip("link set eth7 up");
        outside.ip(&format!("link set {end} {was}"));
        let state = || {
            let tc =
                Command::new("tc").args(["-n", &outside.0, "filter", "show", "dev", &end, "ingress"]).output().unwrap();
            let up = outside.ip(&format!("-o link show {end}")).contains(",UP");
            (inside.tables(), outside.tables(), up, stdout(&tc))
        };
        let before = state();
        assert_eq!((before.2, before.3.as_str()), (was == "up", ""));
        let attach = format!("namespace: {}, interface: eth7, configure: false", inside.0);
        let machines = [("a", 10, attach), ("c", 12, String::new())];
        let Some(lab) = Lab::up(&topology("veth", &machines)) else { return };
        lab.assert_ping("c", "10.1.1.10");
        let taken = state();
        assert!(taken.2 && taken.3.contains(&format!("vnet lab {}", lab.name)), "{}", taken.3);
        assert_eq!(taken.1.len(), before.1.len() + 1, "one device leads on: {:?}", taken.1);
        if crashes {
            lab.crash();
            assert_eq!(lab.down().status.code(), Some(0));
        } else {
            lab.apply(&topology("veth", &machines[1..]));
        }
        assert_eq!(state(), before, "{was}");
    }
}

#[test]
fn what_cannot_be_attached_says_what_to_do() {
    if !permitted() {
        return;
    }
    let place = Named::new("place");
    place.ip("tuntap add plain mode tun");
    place.ip("link add near type veth peer name far");
    let refused = |device: &str, attach: String, words: &str| {
        let lab = Lab::prepared(&topology(device, &[("a", 10, attach)]));
        let output = lab.start();
        assert!(!output.status.success(), "{words}");
        assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
        assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new());
    };
    let name = &place.0;
    refused(
        "tun",
        "namespace: no-such-place, interface: eth7".to_owned(),
        "cannot open namespace no-such-place; `ip netns add no-such-place` makes it",
    );
    refused("tun", "namespace: /etc/hostname, interface: eth7".to_owned(), "/etc/hostname is no network namespace");
    let take = |interface: &str| format!("namespace: {name}, interface: {interface}, configure: false");
    refused("veth", take("none"), "there is no none; make a veth pair with that end");
    refused("veth", take("plain"), "takes one end of a veth pair, and it is none");
    refused(
        "veth",
        take("near"),
        "its other end, far, is in the same namespace: move that with `ip link set far netns NAME`",
    );
    refused(
        "veth",
        format!("namespace: {name}, interface: plain"),
        "it exists: `configure: false` takes a veth pair as it is",
    );
    assert_eq!(place.tables(), ["plain", "far", "near"]);
}

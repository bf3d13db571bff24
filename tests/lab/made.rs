//! What `vnet up` makes of a file.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use vnet::sys::process::ProcessId;

use crate::EVERYTHING;
use crate::kernel::{says, setting, tables};
use crate::lab::{Lab, stdout};

/// Every node's addresses and routes.
const TABLES: &[(&str, &[&str])] = &[
    (
        "nva",
        &[
            "eth0 inet 10.1.1.4/24",
            "eth0 inet6 fd00:1:0:1::4/64",
            "eth1 inet 10.1.2.4/24",
            "default via 10.1.1.1 dev eth0",
            "10.1.1.0/24 dev eth0 proto kernel scope link src 10.1.1.4",
            "10.1.2.0/24 dev eth1 proto kernel scope link src 10.1.2.4",
            "10.9.0.0/16 via 10.1.2.1 dev eth1 proto static",
            "fd00:1:0:1::/64 dev eth0 proto kernel metric 256 pref medium",
            "fe80::1234:5678:9abc dev eth0 metric 1024 pref medium",
            "default via fe80::1234:5678:9abc dev eth0 metric 1024 pref medium",
        ],
    ),
    (
        "web",
        &[
            "eth0 inet 10.1.1.5/24",
            "eth0 inet6 fd00:1:0:1::5/64",
            "default via 10.1.1.1 dev eth0",
            "10.1.1.0/24 dev eth0 proto kernel scope link src 10.1.1.5",
            "fd00:1:0:1::/64 dev eth0 proto kernel metric 256 pref medium",
            "fe80::1234:5678:9abc dev eth0 metric 1024 pref medium",
            "default via fe80::1234:5678:9abc dev eth0 metric 1024 pref medium",
        ],
    ),
    (
        "dc",
        &[
            "tun0 inet 192.168.50.10/32",
            "10.1.0.0/16 dev tun0 scope link",
            "fd00:1::/48 dev tun0 metric 1024 pref medium",
        ],
    ),
    (
        "office",
        &[
            "er0 inet 192.168.90.10/32",
            "er0 inet 172.30.0.1/32",
            "er1 inet 192.168.90.10/32",
            "er1 inet 172.30.0.5/32",
            "10.1.0.0/16 dev er0 scope link metric 10",
            "10.1.0.0/16 dev er1 scope link metric 11",
            "172.30.0.2 dev er0 scope link metric 10",
            "172.30.0.6 dev er1 scope link metric 11",
            "fd00:1::/48 dev er0 metric 10 pref medium",
            "fd00:1::/48 dev er1 metric 11 pref medium",
        ],
    ),
    ("gw", &["eth0 inet 10.1.255.4/32", "eth0 inet 10.1.255.5/32", "default dev eth0 scope link"]),
    ("er", &["eth0 inet 10.1.255.12/32", "eth0 inet 10.1.255.13/32", "default dev eth0 scope link"]),
    ("er-london", &["eth0 inet 172.30.0.2/32", "eth0 inet 172.30.0.6/32", "default dev eth0 scope link"]),
    ("internet", &["eth0 inet 198.51.100.7/32", "eth0 inet 198.51.100.8/32", "default dev eth0 scope link"]),
];

pub(crate) fn assert_tables(lab: &Lab) {
    for (node, expected) in TABLES {
        assert_eq!(tables(lab, node), *expected, "{node}");
    }
}

#[test]
fn each_node_has_its_addresses_and_routes_on_every_kind_of_device() {
    for (device, encapsulation) in [("veth", "link/ether"), ("tun", "link/none"), ("tap", "link/ether")] {
        let Some(lab) = Lab::up(&format!("emulation: {{device: {device}}}\n{EVERYTHING}")) else { return };
        assert_tables(&lab);
        assert_eq!(lab.data(&["status"])["device"], device);
        for (node, interface, mtu) in [("nva", "eth1", 1500), ("dc", "tun0", 1400), ("internet", "eth0", 1500)] {
            let link = says(&lab, node, &format!("ip link show {interface}"));
            for word in [&format!("mtu {mtu} "), "qdisc noqueue", "qlen 2000", ",UP", encapsulation] {
                assert!(link.contains(word), "no {word}: {link}");
            }
        }
        // Of a maker of cards; chance would give one that is marked as local.
        let card = says(&lab, "nva", "ip link show eth1");
        assert_eq!(card.contains("link/ether 00:"), device != "tun", "{card}");
        if device == "tun" {
            let all = says(&lab, "office", "ip -o -6 address show");
            assert!(!all.contains("fe80"), "on a TUN there is no link to be local on (FAB-16): {all}");
        }
    }
}

#[test]
fn guests_have_the_settings_of_azure_and_nodes_of_gateways_those_of_routers() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let of = |name: &str| ["nva", "web", "gw", "dc", "er-london", "internet"].map(|node| setting(&lab, node, name));
    assert_eq!(of("ipv4/ip_forward"), ["1", "0", "1", "1", "1", "0"]);
    assert_eq!(of("ipv6/conf/all/forwarding"), ["1", "0", "1", "1", "1", "0"]);
    for zero in ["ipv4/conf/all/rp_filter", "ipv4/conf/all/send_redirects", "ipv4/conf/all/accept_redirects"] {
        assert_eq!(of(zero), ["0"; 6], "{zero}");
    }
    assert_eq!(of("ipv6/conf/all/disable_ipv6"), ["0"; 6]);
    for zero in ["accept_ra", "autoconf", "router_solicitations", "accept_dad"] {
        assert_eq!(setting(&lab, "web", &format!("ipv6/conf/eth0/{zero}")), "0", "{zero}");
    }
    assert_eq!(of("ipv4/ping_group_range"), ["0\t2147483647"; 6]);
    assert_eq!(of("ipv4/fib_multipath_hash_policy"), ["0", "0", "1", "1", "1", "0"]);
    assert_eq!(of("ipv4/ip_unprivileged_port_start"), ["1024", "1024", "0", "0", "0", "1024"]);
    assert_eq!(of("ipv4/conf/all/ignore_routes_with_linkdown"), ["0", "0", "1", "1", "1", "0"]);
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    let daemon = ProcessId::of(u32::try_from(pid).unwrap()).unwrap();
    let mark = format!("alias vnet lab {} daemon {pid} {}", lab.name, daemon.start_time);
    for node in ["web", "gw", "internet"] {
        let loopback = says(&lab, node, "ip link show lo");
        assert!(loopback.contains(&mark) && loopback.contains("LOOPBACK,UP"), "{loopback}");
    }
}

#[test]
fn each_node_knows_all_names_and_its_name_servers() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let hosts = format!(
        "# The machines of lab {}, by vnet
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
10.1.1.4 nva
fd00:1:0:1::4 nva
10.1.1.5 web
fd00:1:0:1::5 web
10.1.1.6 off
fd00:1:0:1::6 off
192.168.50.10 dc
192.168.90.10 office
198.51.100.7 internet
",
        lab.name
    );
    let read = |path: String| fs::read_to_string(path).unwrap();
    for node in ["nva", "dc", "internet"] {
        assert_eq!(read(format!("/etc/netns/{}-{node}/hosts", lab.name)), hosts);
        assert_eq!(stdout(&lab.exec(node, &["cat", "/etc/hosts"])), hosts);
    }
    let servers = |node: &str| read(format!("/etc/netns/{}-{node}/resolv.conf", lab.name));
    assert_eq!(servers("nva"), "nameserver 10.1.1.5\noptions timeout:1 attempts:2\n");
    let of_interface = "nameserver 10.1.1.6\nnameserver 168.63.129.16\noptions timeout:1 attempts:2\n";
    assert_eq!(servers("web"), of_interface, "an interface's own come before its network's");
    assert_eq!(stdout(&lab.exec("web", &["cat", "/etc/resolv.conf"])), of_interface);
    assert!(!Path::new(&format!("/etc/netns/{}-dc/resolv.conf", lab.name)).exists());
}

/// What a node's user must read anybody may; all else is the lab's user's alone.
#[test]
fn files_have_the_modes_that_their_readers_need() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let directory = Path::new("/run/vnet").join(&lab.name);
    let mut modes: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().mode() & 0o777)
        })
        .collect();
    modes.sort();
    let expected = [
        ("applied.yaml", 0o600),
        ("control.sock", 0o600),
        ("daemon.log", 0o600),
        ("hosts", 0o644),
        ("journal.json", 0o600),
        ("lab.json", 0o600),
        ("nftables.json", 0o600),
        ("peerings.json", 0o600),
        ("programs", 0o700),
        ("resolv.conf.nva", 0o644),
        ("resolv.conf.off", 0o644),
        ("resolv.conf.web", 0o644),
        ("service-tags.json", 0o600),
    ];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), mode)));
    assert!(fs::metadata(directory.join("control.sock")).unwrap().file_type().is_socket());
    let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(directory.to_str().unwrap()), 0o700);
    let shown = format!("/etc/netns/{}-web", lab.name);
    assert_eq!([mode(&shown), mode(&format!("{shown}/hosts"))], [0o755, 0o644]);
    assert_eq!(fs::read_to_string(directory.join("applied.yaml")).unwrap(), lab.named(EVERYTHING));
}

#[test]
fn status_names_every_interface_with_its_device_and_namespace() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let table = stdout(&lab.vnet(&["status"]));
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let at = |node: &str| format!("{}-{node}", lab.name);
    for row in [
        format!("nva front eth0 hub/s 10.1.1.4 fd00:1:0:1::4 up {}", at("nva")),
        format!("nva back eth1 hub/back 10.1.2.4 up {}", at("nva")),
        format!("web nic eth0 hub/s 10.1.1.5 fd00:1:0:1::5 up {}", at("web")),
        format!("internet eth0 eth0 198.51.100.7 198.51.100.8 up {}", at("internet")),
        format!("gw gw eth0 hub/GatewaySubnet 10.1.255.4 10.1.255.5 up {}", at("gw")),
        format!("dc hub-dc tun0 192.168.50.10 up {}", at("dc")),
        format!("er-london er-london eth0 172.30.0.2 172.30.0.6 up {}", at("er-london")),
        format!("office er-london-primary er0 192.168.90.10 172.30.0.1 up {}", at("office")),
        format!("office er-london-secondary er1 192.168.90.10 172.30.0.5 up {}", at("office")),
        "off nic hub/s 10.1.1.6 fd00:1:0:1::6 stopped".to_owned(),
        "Program of web, `sleep 1000`, runs".to_owned(),
    ] {
        assert!(lines.contains(&row), "no `{row}` in {table}");
    }
    let events = stdout(&lab.vnet(&["events"]));
    assert_eq!(events.matches("LabStarted").count(), 1, "{events}");
    let stopped = lab.exec("off", &["true"]);
    assert_eq!(stopped.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("machine off is stopped"));
}

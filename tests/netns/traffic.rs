//! Ordinary traffic through the router: transfers, IPv6, spoofed and misdirected packets, other people's clients.

use std::net::UdpSocket;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use vnet::wire::build;

use crate::capture::send_raw;
use crate::lab::{Lab, NEVER, SOON, eventually, has_program, stderr, stdout};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

#[test]
fn transfers_arrive_whole_through_the_appliance() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let at_nva = lab.capture("nva");
    assert_eq!(lab.tcp("web", "db", "10.2.1.10", 9000, 8 << 20), Some(8 << 20));
    assert!(at_nva.count("10.1.1.4", "10.2.1.10", 2, SOON) == 2, "the chain passes the appliance");
    // One byte, one packet, one that is fragmented.
    assert_eq!(lab.udp("web", "db", "10.2.1.10", 9000, &[1, 1400, 6000]), 3);
}

#[test]
fn without_offload_the_same_arrives() {
    let Some(lab) = Lab::up(&format!("emulation: {{offload: false}}\n{HUB_SPOKE}")) else { return };
    assert_eq!(lab.tcp("web", "db", "10.2.1.10", 9000, 1 << 20), Some(1 << 20));
    assert_eq!(lab.udp("web", "db", "10.2.1.10", 9000, &[1, 1400, 6000]), 3);
}

/// Kernels before 6.2 do not know UDP segmentation.
#[test]
fn without_udp_segmentation_the_same_arrives() {
    for device in ["tun", "tap"] {
        let emulation = format!("emulation: {{udpSegmentation: false, device: {device}}}");
        let Some(lab) = Lab::up(&format!("{emulation}\n{HUB_SPOKE}")) else { return };
        assert_eq!(lab.data(&["status"])["offload"], "tcp", "{device}");
        assert_eq!(lab.tcp("web", "db", "10.2.1.10", 9000, 8 << 20), Some(8 << 20), "{device}");
        assert_eq!(lab.udp("web", "db", "10.2.1.10", 9000, &[1, 1400, 6000]), 3, "{device}");
        assert_eq!(train(&lab, 100), (0..100).collect::<Vec<_>>(), "{device}: whole and in order");
    }
}

/// The numbers of datagrams that are sent at once, far more than the sockets' own bounds would drop, as they arrive.
fn train(lab: &Lab, count: u64) -> Vec<u64> {
    let server = lab.inside("db", || UdpSocket::bind("10.2.1.10:9001").unwrap());
    // All of them may wait there before the first is taken, on a busy machine: more than the default holds.
    set_socket_recv_buffer_size(&server, 212_992).unwrap();
    let client = lab.inside("web", || UdpSocket::bind("0.0.0.0:0").unwrap());
    client.connect("10.2.1.10:9001").unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let mut datagram = [0; 1000];
    for n in 0..count {
        datagram[..8].copy_from_slice(&n.to_be_bytes());
        client.send(&datagram).unwrap();
    }
    let number = |_| {
        let mut datagram = [0; 2000];
        assert_eq!(server.recv(&mut datagram).unwrap(), 1000);
        u64::from_be_bytes(datagram[..8].try_into().unwrap())
    };
    (0..count).map(number).collect()
}

#[test]
fn programs_find_nodes_by_name() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    if has_program("ping") {
        let output = lab.exec("web", &["ping", "-c1", "-W10", "db"]);
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    }
    if has_program("iperf3") {
        let mut server = crate::lab::vnet();
        server.args(["-l", &lab.name, "exec", "db", "--", "iperf3", "-s", "-1"]);
        let mut server = server.stdout(std::process::Stdio::null()).spawn().unwrap();
        let client = || lab.exec("web", &["iperf3", "-c", "db", "-n", "16M", "--connect-timeout", "500"]);
        // The server needs a moment to listen.
        eventually("iperf3 transfers", || client().status.success());
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn both_families_cross_a_peering() {
    let Some(lab) = Lab::up(include_str!("../../config/dual-stack.yaml")) else { return };
    lab.assert_ping("left", "10.60.0.4");
    if has_program("ping") {
        let output = lab.exec("left", &["ping", "-6", "-c1", "-W10", "fd00:60::4"]);
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    }
    for address in ["10.60.0.4", "fd00:60::4"] {
        assert_eq!(lab.tcp("left", "right", address, 80, 1 << 20), Some(1 << 20), "{address}");
        assert_eq!(lab.tcp("left", "right", address, 81, 0), None, "{address}: only 80 is open");
        assert_eq!(lab.udp("left", "right", address, 80, &[10]), 0, "{address}: only TCP is");
    }
}

#[test]
fn rules_of_subnet_and_interface_both_count() {
    let Some(lab) = Lab::up(include_str!("../../config/nsg-tiers.yaml")) else { return };
    assert_eq!(lab.tcp("app", "db", "10.40.3.4", 5432, 1000), Some(1000));
    assert_eq!(lab.tcp("app", "db2", "10.40.3.5", 5432, 0), None, "db2 is in quarantine");
    assert_eq!(lab.tcp("web", "db", "10.40.3.4", 5432, 0), None, "only app may");
    lab.assert_ping("web", "10.40.2.4");
    lab.assert_dropped("web", "10.40.3.4", "web", "NsgInbound");
}

#[test]
fn a_foreign_source_needs_ip_forwarding() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let spoofed = build::icmp_echo("10.9.9.9".parse().unwrap(), "10.2.1.10".parse().unwrap(), 1, 1, false);
    lab.inside("web", || send_raw(&spoofed));
    eventually("the spoofed packet is counted", || lab.drops("web", "SpoofedSource") == 1);
    // The appliance may send with any source: db sees it.
    let at_db = lab.capture("db");
    lab.inside("nva", || send_raw(&spoofed));
    assert_eq!(at_db.count("10.9.9.9", "10.2.1.10", 1, SOON), 1);
}

#[test]
fn a_second_interface_has_its_network_and_no_default_route() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: front, addressPrefix: 10.1.1.0/24}
      - {name: back, addressPrefix: 10.1.2.0/24}
virtualMachines:
  - {name: both, networkInterfaces: [{subnet: v/front}, {subnet: v/back}]}
  - {name: other, networkInterfaces: [{subnet: v/back}]}
";
    let Some(lab) = Lab::up(topology) else { return };
    lab.assert_ping("both", "10.1.2.5");
    // In on eth1; out on it too, since the other end is in its network.
    lab.assert_ping("other", "10.1.2.4");
    let read = |file: &str| stdout(&lab.exec("both", &["cat", file]));
    let defaults = read("/proc/net/route").lines().filter(|line| line.split('\t').nth(1) == Some("00000000")).count();
    assert_eq!(defaults, 1);
    assert_eq!(lab.exec("both", &["cat", "/sys/class/net/eth1/mtu"]).stdout, b"1500\n");
}

#[test]
fn an_appliance_forwards_ipv6() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets:
      - {name: one, addressPrefixes: [10.1.1.0/24, 'fd00:1:0:1::/64'], routeTable: rt}
      - {name: two, addressPrefixes: [10.1.2.0/24, 'fd00:1:0:2::/64'], routeTable: rt}
      - {name: nva, addressPrefixes: [10.1.9.0/24, 'fd00:1:0:9::/64']}
routeTables:
  - name: rt
    routes:
      - {name: one, addressPrefix: 'fd00:1:0:1::/64', nextHopType: VirtualAppliance, nextHopIpAddress: 'fd00:1:0:9::4'}
      - {name: two, addressPrefix: 'fd00:1:0:2::/64', nextHopType: VirtualAppliance, nextHopIpAddress: 'fd00:1:0:9::4'}
virtualMachines:
  - {name: v1, networkInterfaces: [{subnet: v/one}]}
  - {name: v2, networkInterfaces: [{subnet: v/two}]}
  - {name: nva, networkInterfaces: [{subnet: v/nva, enableIPForwarding: true}]}
";
    let Some(lab) = Lab::up(topology) else { return };
    let at_nva = lab.capture("nva");
    assert_eq!(lab.tcp("v1", "v2", "fd00:1:0:2::4", 9000, 1 << 20), Some(1 << 20));
    assert_eq!(at_nva.count("fd00:1:0:1::4", "fd00:1:0:2::4", 2, SOON), 2);
    // The last one in fragments.
    assert_eq!(lab.udp("v1", "v2", "fd00:1:0:2::4", 9000, &[1, 1400, 6000]), 3);
}

#[test]
fn an_unused_address_does_not_answer() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let at_nva = lab.capture("nva");
    lab.assert_dropped("nva", "10.0.1.77", "nva", "NoEndpoint");
    assert_eq!(at_nva.count("10.0.1.1", "10.0.1.4", 1, NEVER), 0, "no error comes back (FAB-10)");
}

/// FAB-11: what a lab says instead of 1500 holds for its interfaces and between them, and not beyond.
#[test]
fn fab_11_a_lab_of_another_mtu() {
    for (mtu, device) in [(1280, "tun"), (9000, "tap"), (65_535, "tun")] {
        let emulation = format!("emulation: {{mtu: {mtu}, device: {device}}}\ninternet: {{addresses: [198.51.100.7]}}");
        let Some(lab) = Lab::up(&format!("{emulation}\n{HUB_SPOKE}")) else { return };
        assert_eq!(lab.exec("web", &["cat", "/sys/class/net/eth0/mtu"]).stdout, format!("{mtu}\n").into_bytes());
        assert_eq!(lab.exec("internet", &["cat", "/sys/class/net/eth0/mtu"]).stdout, b"1500\n");
        let largest = mtu - 28;
        assert_eq!(lab.udp("web", "db", "10.2.1.10", 9000, &[1, largest]), 2, "{mtu}");
        assert_eq!(lab.tcp("web", "db", "10.2.1.10", 9000, 8 << 20), Some(8 << 20), "{mtu}");
        // The Internet's end is what it is.
        assert_eq!(lab.tcp("web", "internet", "198.51.100.7", 9000, 1 << 20), Some(1 << 20), "{mtu}");
    }
}

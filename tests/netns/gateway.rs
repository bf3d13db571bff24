//! A VPN gateway, a site and the tunnel between them with real packets: there and back, hops counted, the tunnel's size,
//! what a spoke gets by gateway transit, and what keeps a tunnel down.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use vnet::sys::socket::Origin;

use crate::lab::{Lab, eventually, stderr};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/site-to-site.yaml");

fn up(edit: impl Fn(String) -> String) -> Option<Lab> {
    let text = fs::read_to_string(EXAMPLE).unwrap();
    Lab::up(&edit(text.replace("name: site-to-site\n", "")))
}

/// VPN-10, VPN-11, PEER-31, PEER-33, SYS-09a, SYS-10, FAB-05: the hub and a spoke that uses its gateway reach the site, and
/// the site both; a gateway is one hop, and answers for itself (VPN-06).
#[test]
fn vpn_10_a_site_is_reached_through_the_gateway() {
    let Some(lab) = up(|text| text) else { return };
    for machine in ["files", "app"] {
        lab.assert_ping(machine, "192.168.50.10");
        let answered = lab.exec(machine, &["ping", "-c1", "-W2", "192.168.50.10"]);
        let said = String::from_utf8_lossy(&answered.stdout).into_owned();
        assert!(said.contains("ttl=63"), "one gateway on the way: {said}");
    }
    lab.assert_ping("dc", "10.10.1.4");
    lab.assert_ping("dc", "10.20.1.4");
    lab.assert_ping("app", "10.10.255.4");
    assert_eq!(lab.tcp("app", "dc", "192.168.50.10", 5000, 1 << 20), Some(1 << 20), "a stream fits the tunnel");
    // The hop that a traceroute shows.
    let expired = lab.exec("app", &["ping", "-c1", "-t1", "-W2", "192.168.50.10"]);
    let said = String::from_utf8_lossy(&expired.stdout).into_owned();
    assert!(said.contains("From 10.10.255.4") && said.contains("Time to live exceeded"), "{said}");
    let routes = lab.data(&["routes", "app"]);
    let row = routes["value"].as_array().unwrap().iter().find(|row| row["addressPrefix"][0] == "192.168.50.0/24");
    let row = row.expect("a row for the site");
    assert_eq!([&row["source"], &row["nextHopType"]], ["VirtualNetworkGateway"; 2]);
    assert_eq!(row["nextHopIpAddress"][0], "203.0.113.4");
    for (from, to) in [("app", "dc"), ("dc", "app"), ("files", "dc")] {
        let explained = lab.vnet(&["explain", from, to, "--verify"]);
        assert!(explained.status.success(), "{from} to {to}: {}{}", crate::lab::stdout(&explained), stderr(&explained));
    }
}

/// FAB-14: what Azure sends to a site that has it in Azure goes round between the two, and ends when its hops do.
#[test]
fn fab_14_a_loop_between_a_gateway_and_a_site_is_reported() {
    let edited = |text: String| {
        let beyond = "localNetworkAddressSpace: [192.168.50.0/24, 192.168.60.0/24]";
        let text = text.replace("localNetworkAddressSpace: [192.168.50.0/24]", beyond);
        text.replace("addresses: [192.168.50.10]", "addresses: [192.168.50.10], routes: [10.0.0.0/8, 192.168.60.0/24]")
    };
    let Some(lab) = up(edited) else { return };
    lab.assert_ping("app", "192.168.50.10");
    assert_eq!(lab.drops("dc", "RoutingLoop"), 0, "{}", lab.data(&["drops"]));
    lab.inside("app", || crate::lab::ping("192.168.60.1", 64, Duration::from_secs(1)));
    eventually("the loop is told", || lab.drops("dc", "RoutingLoop") >= 1);
    let rows = lab.data(&["drops"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["reason"] == "RoutingLoop").unwrap();
    let ends = ["nic", "sourceAddress", "destinationAddress"].map(|key| row[key].as_str().unwrap());
    assert_eq!(ends, ["hub-dc", "10.20.1.4", "192.168.60.1"]);
}

/// PEER-35: without the flag on the spoke's link the site and the spoke know nothing of each other, and the hub goes on.
#[test]
fn peer_35_no_transit_without_the_flag() {
    let Some(lab) = up(|text| text.replace(", useRemoteGateways: true", "")) else { return };
    lab.assert_ping("files", "192.168.50.10");
    lab.assert_dropped("app", "192.168.50.10", "app", "NextHopNone");
    let asked = lab.exec("dc", &["ping", "-c1", "-W1", "10.20.1.4"]);
    assert!(stderr(&asked).contains("Network is unreachable"), "the site's device has no route there: {asked:?}");
}

/// UDR-34, CS-23: without propagation a subnet has no gateway rows, and a route of its own leads there all the same.
#[test]
fn cs_23_propagation_off_and_a_route_of_ones_own() {
    let table = "routeTables:\n  - {name: rt, disableBgpRoutePropagation: true, routes: [ROUTES]}\n";
    let with = |routes: &str| {
        let table = table.replace("ROUTES", routes);
        move |text: String| {
            text.replace(
                "{name: app, addressPrefix: 10.20.1.0/24}",
                "{name: app, addressPrefix: 10.20.1.0/24, routeTable: rt}",
            ) + &table
        }
    };
    let Some(lab) = up(with("")) else { return };
    lab.assert_dropped("app", "192.168.50.10", "app", "NextHopNone");
    let text = fs::read_to_string(EXAMPLE).unwrap().replace("name: site-to-site\n", "");
    let route = "{name: dc, addressPrefix: 192.168.50.0/24, nextHopType: VirtualNetworkGateway}";
    let applied = lab.apply(&with(route)(text));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_ping("app", "192.168.50.10");
}

/// VPN-10, VPN-13: with another key at the other end the route stays and the gateway drops; applying the right key brings
/// the tunnel up.
#[test]
fn vpn_13_a_tunnel_with_another_key_is_down() {
    let other = |text: String| {
        text.replace("addresses: [192.168.50.10], sharedKey: a-secret", "addresses: [192.168.50.10], sharedKey: b")
    };
    let Some(lab) = up(other) else { return };
    lab.assert_dropped("app", "192.168.50.10", "app", "GatewayUnavailable");
    lab.assert_dropped("dc", "10.20.1.4", "dc", "GatewayUnavailable");
    let applied = lab.apply(&fs::read_to_string(EXAMPLE).unwrap().replace("name: site-to-site\n", ""));
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_ping("app", "192.168.50.10");
}

/// UDR-10a: a route to a gateway's instance as an appliance leads into its tunnels, without any row for the site.
#[test]
fn udr_10a_a_gateways_instance_is_an_appliance() {
    let table = "routeTables:\n  - {name: rt, disableBgpRoutePropagation: true, routes: [{name: dc, addressPrefix: \
                 192.168.50.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.255.4}]}\n";
    let with = |text: String| {
        let subnet = "{name: app, addressPrefix: 10.20.1.0/24";
        text.replace(subnet, &format!("{subnet}, routeTable: rt")) + table
    };
    let Some(lab) = up(with) else { return };
    lab.assert_ping("app", "192.168.50.10");
    let explained = lab.vnet(&["explain", "app", "dc", "--verify"]);
    assert!(explained.status.success(), "{}{}", crate::lab::stdout(&explained), stderr(&explained));
}

const BETWEEN_NETWORKS: &str = "
virtualNetworks:
  - {name: a, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}]}
  - {name: b, location: eastus, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.2.255.0/27}]}
publicIPAddresses: [{name: gw-a, sku: Standard}, {name: gw-b, sku: Standard}]
virtualNetworkGateways:
  - {name: gw-a, virtualNetwork: a, publicIPAddress: gw-a}
  - {name: gw-b, virtualNetwork: b, publicIPAddress: gw-b}
connections:
  - {name: a-b, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-a, virtualNetworkGateway2: gw-b, sharedKey: k}
  - {name: b-a, connectionType: Vnet2Vnet, virtualNetworkGateway1: gw-b, virtualNetworkGateway2: gw-a, sharedKey: k}
virtualMachines:
  - {name: vm-a, networkInterfaces: [{subnet: a/s}]}
  - {name: vm-b, networkInterfaces: [{subnet: b/s}]}
";

/// VPN-20, FAB-05: between virtual networks there are two hops, and a tunnel needs a connection from each end.
#[test]
fn vpn_20_between_virtual_networks() {
    let Some(lab) = Lab::up(BETWEEN_NETWORKS) else { return };
    let answered = lab.exec("vm-a", &["ping", "-c1", "-W2", "10.2.1.4"]);
    let said = String::from_utf8_lossy(&answered.stdout).into_owned();
    assert!(said.contains("ttl=62"), "two gateways on the way: {said}");
    let expired = lab.exec("vm-a", &["ping", "-c1", "-t2", "-W2", "10.2.1.4"]);
    let said = String::from_utf8_lossy(&expired.stdout).into_owned();
    assert!(said.contains("From 10.2.255.4") && said.contains("Time to live exceeded"), "{said}");
    let explained = lab.vnet(&["explain", "vm-a", "vm-b", "--verify"]);
    assert!(explained.status.success(), "{}{}", crate::lab::stdout(&explained), stderr(&explained));
    let one_way: String = BETWEEN_NETWORKS
        .lines()
        .filter(|line| !line.contains("name: b-a"))
        .fold(String::new(), |text, line| text + line + "\n");
    let applied = lab.apply(&one_way);
    assert!(applied.status.success(), "{}", stderr(&applied));
    lab.assert_dropped("vm-a", "10.2.1.4", "vm-a", "GatewayUnavailable");
}

/// CS-32, VPN-31, VPN-32, VPN-38: 64 flows use all four tunnels of two instances and two devices, each flow one of them, and
/// without one device the two that are left.
#[test]
fn vpn_32_four_tunnels_share_64_flows() {
    const FLOWS: usize = 64;
    let example = include_str!("../../config/active-active.yaml");
    let Some(lab) = Lab::up(example) else { return };
    let ways = |wanted: usize| {
        eventually(&format!("{wanted} ways are known"), || {
            let rows = lab.data(&["bgp", "learned", "hub-gw"]);
            let rows = rows.as_array().unwrap().iter().filter(|row| row["origin"] == "EBgp");
            rows.filter(|row| row["network"] == "172.20.0.0/16").count() == wanted
        });
    };
    ways(4);
    let ends = ["dc1", "dc2"].into_iter().flat_map(|site| ["tun0", "tun1"].map(|device| (site, device)));
    let end = |(site, device): (&str, &str)| {
        let origin = Origin { device: Some(device.to_owned()), address: None };
        lab.inside(site, || origin.udp_at(5000).unwrap())
    };
    let ends: Vec<UdpSocket> = ends.map(end).collect();
    let clients: Vec<UdpSocket> = lab.inside("app", || {
        let client = || {
            let client = UdpSocket::bind("10.80.4.4:0").unwrap();
            client.connect("172.20.0.10:5000").unwrap();
            client
        };
        (0..FLOWS).map(|_| client()).collect()
    });
    let send = |text: &[u8]| clients.iter().for_each(|client| assert_eq!(client.send(text).unwrap(), text.len()));
    // Of the datagrams with this text, those that came out by now: (the client's port, the tunnel).
    let out = |text: &[u8]| {
        let mut seen = Vec::new();
        for (tunnel, end) in ends.iter().enumerate() {
            let mut buffer = [0; 8];
            while let Ok((length, from)) = end.recv_from(&mut buffer) {
                seen.extend((buffer[..length] == *text).then_some((from.port(), tunnel)));
            }
        }
        seen
    };
    // Ways are known a moment before flows take them.
    let taken = |tunnels: &[usize]| {
        eventually(&format!("flows take the tunnels {tunnels:?}"), || {
            send(b"which");
            thread::sleep(Duration::from_millis(100));
            let seen: BTreeSet<usize> = out(b"which").into_iter().map(|(_, tunnel)| tunnel).collect();
            seen.into_iter().eq(tunnels.iter().copied())
        });
    };
    // Where each flow's four datagrams come out.
    let spread = || {
        (0..4).for_each(|_| send(b"this"));
        let mut seen = Vec::new();
        eventually("every datagram has come out", || {
            seen.extend(out(b"this"));
            seen.len() == 4 * FLOWS
        });
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    let shares = |seen: &[(u16, usize)]| {
        let share = |tunnel: usize| seen.iter().filter(|(_, own)| *own == tunnel).count();
        [0, 1, 2, 3].map(share)
    };
    taken(&[0, 1, 2, 3]);
    let seen = spread();
    assert_eq!(seen.len(), FLOWS, "each flow is on one tunnel: {seen:?}");
    assert!(shares(&seen).iter().all(|share| *share >= 4), "all four are used: {:?}", shares(&seen));

    let (before, after) = example.split_once("  - {name: dc2, ").unwrap();
    let one_device = format!("{before}{}", after.split_once('\n').unwrap().1);
    lab.apply(&one_device);
    ways(2);
    taken(&[0, 1]);
    let seen = spread();
    assert_eq!(seen.len(), FLOWS, "each flow is on one tunnel: {seen:?}");
    let [first, second, ..] = shares(&seen);
    assert!(first >= 8 && second >= 8 && first + second == FLOWS, "{:?}", shares(&seen));
}

/// VPN-38: over two tunnels to one range, flows take one or the other, each its own.
#[test]
fn vpn_38_two_tunnels_to_one_range_share_the_flows() {
    let doubled = |text: String| {
        text.lines().fold(String::new(), |text, line| {
            let again = ["- {name: dc-lng", "- {name: hub-dc", "- {name: dc,"].iter().any(|entry| line.contains(entry));
            let other = again.then(|| {
                let renamed = line.replace("dc-lng", "dc2-lng").replace("hub-dc", "hub-dc2");
                renamed.replace("name: dc,", "name: dc2,").replace("198.51.100.50", "198.51.100.51") + "\n"
            });
            text + line + "\n" + &other.unwrap_or_default()
        })
    };
    let Some(lab) = up(doubled) else { return };
    let listen = || TcpListener::bind(("192.168.50.10", 5000)).unwrap();
    let sites = ["dc", "dc2"].map(|site| lab.inside(site, listen));
    let limit = Duration::from_secs(2);
    let at = sites[0].local_addr().unwrap();
    let flows: Vec<_> =
        (0..32).map(|_| lab.inside("app", || TcpStream::connect_timeout(&at, limit).unwrap())).collect();
    let mut taken = [0, 0];
    // A connection opens a moment before its listener has it.
    eventually("every flow is at one of the sites", || {
        for (site, taken) in sites.iter().zip(&mut taken) {
            site.set_nonblocking(true).unwrap();
            *taken += site.incoming().map_while(Result::ok).count();
        }
        taken.iter().sum::<usize>() == flows.len()
    });
    assert!(taken.iter().all(|flows| *flows > 0), "{taken:?}");
}

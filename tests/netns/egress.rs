//! Real access through the host: one namespace stands for the host, another for the world around it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output};

use vnet::sys::netlink::Netlink;
use vnet::sys::netns::Netns;
use vnet::sys::nftables;

use crate::lab::{Lab, NEVER, SOON, permitted, ping, stderr, stdout};

/// The host's address towards the world, and one of the world's.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

const TOPOLOGY: &str = "
internet: {addresses: [198.18.0.1], egress: host}
publicIPAddresses: [{name: own, ipAddress: 203.0.113.77}, {name: out, ipAddress: 203.0.113.10}]
natGateways: [{name: nat, publicIpAddresses: [out]}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}, {name: nat, addressPrefix: 10.1.1.0/24, natGateway: nat}]
virtualMachines:
  - {name: shared, networkInterfaces: [{subnet: v/s}]}
  - {name: own, networkInterfaces: [{subnet: v/s, publicIPAddress: own}]}
  - {name: nat, networkInterfaces: [{subnet: v/nat}]}
";

/// The two, and a wire between them.
struct World {
    host: Netns,
    outer: Netns,
}

/// What a lab may leave in the host: whether it forwards, and its devices.
#[derive(Debug, PartialEq, Eq)]
struct State {
    forwards: String,
    devices: Vec<String>,
}

impl World {
    fn new() -> Self {
        let (host, outer) = (Netns::create().unwrap(), Netns::create().unwrap());
        host.run(|| Netlink::open().unwrap().add_pair("up0", "down0", &outer).unwrap()).unwrap();
        for (namespace, device, address) in [(&host, "up0", HOST), (&outer, "down0", SERVER)] {
            let set_up = || {
                fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
                let mut netlink = Netlink::open().unwrap();
                let link = netlink.link(device).unwrap();
                netlink.add_address(link, format!("{address}/24").parse().unwrap()).unwrap();
                netlink.up(link).unwrap();
            };
            namespace.run(set_up).unwrap();
        }
        Self { host, outer }
    }

    fn state(&self) -> State {
        let look = || State {
            forwards: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned(),
            devices: fs::read_to_string("/proc/thread-self/net/dev")
                .unwrap()
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
                .filter(|name| name.starts_with("vnet"))
                .collect(),
        };
        self.host.run(look).unwrap()
    }

    fn start(&self, lab: &Lab) {
        let output = self.host.run(|| lab.start()).unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    fn listen(&self) -> TcpListener {
        self.outer.run(|| TcpListener::bind((SERVER, 0)).unwrap()).unwrap()
    }
}

/// Asks over a connection from a machine, and returns the source address that arrives out there.
fn connect(lab: &Lab, node: &str, listener: &TcpListener) -> SocketAddr {
    let to = listener.local_addr().unwrap();
    let mut client = lab.inside(node, || TcpStream::connect_timeout(&to, SOON).unwrap());
    let (mut server, from) = listener.accept().unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(b"ask").unwrap();
    server.read_exact(&mut [0; 3]).unwrap();
    server.write_all(&vec![7; 100_000]).unwrap();
    client.read_exact(&mut vec![0; 100_000]).unwrap();
    from
}

fn assert_fine(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

fn nothing() -> State {
    State { forwards: "0".to_owned(), devices: Vec::new() }
}

/// SNAT-01, SNAT-08, NAT-02: what stands for a machine stands for it out there as well.
#[test]
fn the_internet_of_a_lab_leads_through_the_host_and_nothing_is_left_of_that() {
    if !permitted() {
        return;
    }
    let world = World::new();
    let lab = Lab::prepared(TOPOLOGY);
    world.start(&lab);
    let listener = world.listen();
    for node in ["shared", "own", "nat"] {
        assert_eq!(connect(&lab, node, &listener).ip(), HOST, "{node} comes by the host's own address");
    }
    let server = world.outer.run(|| UdpSocket::bind((SERVER, 0)).unwrap()).unwrap();
    let client = lab.inside("nat", || UdpSocket::bind("0.0.0.0:0").unwrap());
    server.set_read_timeout(Some(SOON)).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.send_to(b"ask", server.local_addr().unwrap()).unwrap();
    let (_, from) = server.recv_from(&mut [0; 10]).unwrap();
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv_from(&mut [0; 10]).unwrap(), (6, server.local_addr().unwrap()));
    // ICMP leaves by an address of one's own, and by nothing else (SNAT-08).
    let far = SERVER.to_string();
    assert!(lab.inside("own", || ping(&far, 64, SOON)).is_some_and(|answer| answer.arrived));
    assert_eq!(lab.inside("nat", || ping(&far, 64, NEVER)), None);
    // The lab's own Internet is there as ever, and what no Internet carries stays in the fabric.
    lab.assert_ping("own", "198.18.0.1");
    lab.assert_dropped("own", "100.64.0.1", "own", "NextHopNone");
    // What the node says itself stays in the lab.
    assert_eq!(lab.inside("internet", || ping(&far, 64, NEVER)), None);
    let explained = stdout(&lab.vnet(&["explain", "nat", &format!("{far}:443")]));
    assert!(explained.contains("sent on to 192.0.2.80 through the host"), "{explained}");
    assert_eq!(world.state().forwards, "1");
    assert_eq!(world.state().devices.len(), 1);

    assert_fine(&lab.down());
    assert_eq!(world.state(), nothing());
}

#[test]
fn after_a_crash_down_and_up_remove_the_egress_device() {
    if !permitted() {
        return;
    }
    let world = World::new();
    let lab = Lab::prepared(TOPOLOGY);
    world.start(&lab);
    lab.crash();
    assert_ne!(world.state(), nothing());
    // A process in the host, which need not be the one that undoes it.
    let process = Program(world.host.run(|| Command::new("sleep").arg("60").spawn().unwrap()).unwrap());
    assert_fine(&lab.down());
    assert_eq!(world.state(), nothing());
    // And the one that starts it again.
    world.start(&lab);
    lab.crash();
    world.start(&lab);
    connect(&lab, "shared", &world.listen());
    assert_fine(&lab.down());
    assert_eq!(world.state(), nothing());
    drop(process);
}

/// Ends with its value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn two_labs_lead_out_of_one_host_and_the_last_one_puts_back_what_was() {
    if !permitted() {
        return;
    }
    let world = World::new();
    let listener = world.listen();
    let [first, second] = [Lab::prepared(TOPOLOGY), Lab::prepared(TOPOLOGY)];
    world.start(&first);
    world.start(&second);
    for lab in [&first, &second, &first] {
        assert_eq!(connect(lab, "own", &listener).ip(), HOST);
    }
    assert_fine(&first.down());
    assert_eq!(world.state().forwards, "1");
    connect(&second, "nat", &listener);
    assert_fine(&second.down());
    assert_eq!(world.state(), nothing());
    // A host that forwards already goes on with that.
    world.host.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap()).unwrap();
    world.start(&first);
    assert_fine(&first.down());
    assert_eq!(world.state(), State { forwards: "1".to_owned(), ..nothing() });
}

#[test]
fn an_apply_opens_and_closes_the_way_out() {
    if !permitted() {
        return;
    }
    let world = World::new();
    let listener = world.listen();
    let closed = TOPOLOGY.replace(", egress: host", "");
    let lab = Lab::prepared(&closed);
    world.start(&lab);
    let far = SERVER.to_string();
    lab.assert_dropped("own", &far, "own", "NoInternet");
    for _ in 0..2 {
        let opened = stdout(&lab.apply(TOPOLOGY));
        assert!(opened.contains("egress") && opened.contains("host"), "{opened}");
        connect(&lab, "own", &listener);
        lab.apply(&closed);
        lab.assert_dropped("own", &far, "own", "NoInternet");
        assert_eq!(world.state(), nothing());
    }
    // Where it cannot be made all stays as it was: a foreign device has the name.
    lab.apply(TOPOLOGY);
    let device = world.state().devices.remove(0);
    lab.apply(&closed);
    world.host.run(|| Netlink::open().unwrap().add_pair(&device, "theirs", &world.outer).unwrap()).unwrap();
    lab.write(TOPOLOGY);
    let refused = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(stderr(&refused).contains("`internet: {egress: host}`"), "{}", stderr(&refused));
    lab.assert_dropped("own", &far, "own", "NoInternet");
    assert_eq!(world.state(), State { devices: vec![device], ..nothing() });
    assert_fine(&lab.down());
}

/// The device, the rules and forwarding carry no path to a directory that was deleted.
#[test]
fn the_way_out_of_a_lab_without_a_directory_is_found() {
    if !permitted() {
        return;
    }
    let world = World::new();
    let lab = Lab::prepared(TOPOLOGY);
    for crashes in [false, true] {
        world.start(&lab);
        assert_ne!(world.state(), nothing());
        if crashes {
            lab.crash();
        }
        fs::remove_dir_all(std::path::Path::new("/run/vnet").join(&lab.name)).unwrap();
        assert_fine(&world.host.run(|| lab.down()).unwrap());
        assert_eq!(world.state(), nothing(), "after a crash: {crashes}");
        assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new());
        if let Ok(tables) = world.host.run(|| Command::new("nft").args(["list", "tables"]).output()).unwrap() {
            assert!(!stdout(&tables).contains("vnetout"), "{}", stdout(&tables));
        }
    }
}

/// A user's own rules beside ours stay as they are.
#[test]
fn a_table_of_the_hosts_own_is_left_alone() {
    if !permitted() {
        return;
    }
    let host = Netns::create().unwrap();
    let twice = || {
        nftables::set_masquerade(Some(&[])).unwrap();
        nftables::set_masquerade_from("vnetout0", true).unwrap();
        nftables::set_masquerade_from("vnetout0", true).unwrap();
        nftables::set_masquerade_from("vnetout0", false).unwrap();
        nftables::set_masquerade_from("vnetout0", false).unwrap();
        Command::new("nft").args(["list", "tables"]).output()
    };
    if let Ok(tables) = host.run(twice).unwrap() {
        assert_eq!(stdout(&tables).trim(), "table inet vnet");
    }
}

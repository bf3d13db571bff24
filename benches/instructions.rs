//! Instructions per packet or lookup, one case a run. `scripts/instructions.sh` runs it under callgrind, which counts
//! those of [`measured`]. Unlike times, these counts are the same on a busy machine.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at what it did not expect")]

#[path = "../tests/alloc/lab.rs"]
mod lab;

use std::env;
use std::hint::black_box;
use std::net::SocketAddr;

use vnet::dataplane::{PortId, Verdict};
use vnet::wire::{Offload, Packet, build};

use lab::{Lab, TRANSLATING};

/// How often the work is done while it is counted.
const TIMES: usize = 1_000;
const VOUCHED: Offload =
    Offload { flags: Offload::DATA_VALID, hdr_len: 0, gso_type: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;

fn main() {
    let cases: [(&str, fn()); 22] = [
        ("known-flow-ipv4", || known_flow(tcp("10.1.0.4:40000", "10.2.0.4:443", ACK))),
        ("known-flow-ipv4-vouched", known_flow_vouched),
        ("known-flow-ipv6", || known_flow(tcp("[fd00:1::4]:40000", "[fd00:2::4]:443", ACK))),
        ("known-flow-udp", || known_flow(build::udp(address("10.1.0.4:40000"), address("10.2.0.4:53"), &[0; 64]))),
        ("first-packet", || first_packets(0, 0)),
        ("first-packet-400-routes-100-rules", || first_packets(400, 100)),
        ("first-packet-400-routes-1000-rules", || first_packets(400, 1_000)),
        ("denied-400-routes-100-rules", denied),
        ("untranslated", || untranslated(&Lab::translating())),
        ("untranslated-with-probes", || untranslated(&probing())),
        ("balanced", || balanced(&Lab::translating())),
        ("balanced-with-probes", || balanced(&probing())),
        ("balanced-answer", balanced_answer),
        ("snat", || translated(&Lab::translating(), Lab::NATTED, &tcp(NATTED, FAR, SYN), Lab::INTERNET)),
        ("snat-first-packet", || first_mappings(0)),
        ("snat-first-packet-10000-in-use", || first_mappings(10_000)),
        ("snat-first-packet-40000-in-use", || first_mappings(40_000)),
        ("snat-preallocated-first-packet", || first_preallocated(0)),
        ("snat-preallocated-32000-of-64000", || first_preallocated(32_000)),
        ("snat-preallocated-63000-of-64000", || first_preallocated(63_000)),
        ("parse-ipv4", || parse(tcp("10.1.0.4:40000", "10.2.0.4:443", ACK))),
        ("parse-ipv6", || parse(tcp("[fd00:1::4]:40000", "[fd00:2::4]:443", ACK))),
    ];
    match env::args().nth(1).filter(|name| !name.starts_with('-')) {
        Some(name) => cases.iter().find(|(case, _)| *case == name).expect("one of the cases").1(),
        None => cases.iter().for_each(|(name, _)| println!("{name}")),
    }
}

/// One packet of a flow that has its records, again and again.
fn known_flow(mut packet: Vec<u8>) {
    let lab = Lab::new(400, 100);
    // The first packet creates the records, the second finds the path.
    for _ in 0..2 {
        lab.send(Lab::WEB, &mut packet);
    }
    measured(|_| assert_eq!(lab.send(Lab::WEB, &mut packet), Verdict::Forward(Lab::DB)));
}

/// The same for most packets: the kernel has verified the checksum.
fn known_flow_vouched() {
    let lab = Lab::new(400, 100);
    let mut packet = tcp("10.1.0.4:40000", "10.2.0.4:443", ACK);
    for _ in 0..2 {
        lab.send(Lab::WEB, &mut packet);
    }
    measured(|_| assert_eq!(lab.send_as(Lab::WEB, &mut packet, VOUCHED), Verdict::Forward(Lab::DB)));
}

/// Each packet begins a flow of its own, in memory that earlier flows have left: nothing is allocated.
fn first_packets(routes: u32, rules: u32) {
    let mut lab = Lab::new(routes, rules);
    let mut packets: Vec<_> =
        (0..TIMES).map(|n| tcp(&format!("10.1.0.4:{}", 20_000 + n), "10.2.0.4:443", SYN)).collect();
    for packet in &mut packets {
        lab.send(Lab::WEB, packet);
    }
    lab.forget_flows();
    lab.forget_paths();
    measured(|n| assert_eq!(lab.send(Lab::WEB, &mut packets[n]), Verdict::Forward(Lab::DB)));
}

fn denied() {
    let lab = Lab::new(400, 100);
    let mut packet = tcp("10.1.0.4:40000", "10.2.0.4:25", SYN);
    measured(|_| assert!(matches!(lab.send(Lab::WEB, &mut packet), Verdict::Drop(_))));
}

const CLIENT: &str = "10.1.0.4:40000";
const FRONTEND: &str = "10.1.0.100:80";
const BACKEND: &str = "10.1.0.5:8080";
const NATTED: &str = "10.1.1.4:40000";
const FAR: &str = "198.18.0.1:443";

/// The translating lab, with a probe at its load balancer.
fn probing() -> Lab {
    let by_probe =
        TRANSLATING.replace("backendAddressPool: web, protocol", "backendAddressPool: web, probe: up, protocol");
    let pools = "backendAddressPools: [{name: web}]";
    let added = format!("{pools}\n    probes: [{{name: up, protocol: Tcp, port: 8080}}]");
    assert!(by_probe.contains("probe: up") && by_probe.contains(pools));
    Lab::of(&by_probe.replace(pools, &added))
}

fn untranslated(lab: &Lab) {
    translated(lab, Lab::CLIENT, &tcp(CLIENT, BACKEND, ACK), Lab::BACKEND);
}

fn balanced(lab: &Lab) {
    translated(lab, Lab::CLIENT, &tcp(CLIENT, FRONTEND, ACK), Lab::BACKEND);
}

/// One packet of a flow that has its records and its mapping, again and again as its sender sends it.
fn translated(lab: &Lab, from: PortId, original: &[u8], to: PortId) {
    let mut packet = original.to_vec();
    if from == Lab::CLIENT {
        lab.send(from, &mut tcp(CLIENT, FRONTEND, SYN));
    }
    lab.send(from, &mut packet);
    measured(|_| {
        packet.copy_from_slice(original);
        assert_eq!(lab.send(from, &mut packet), Verdict::Forward(to));
    });
}

fn balanced_answer() {
    let lab = Lab::translating();
    lab.send(Lab::CLIENT, &mut tcp(CLIENT, FRONTEND, SYN));
    let original = tcp(BACKEND, CLIENT, ACK);
    let mut packet = original.clone();
    measured(|_| {
        packet.copy_from_slice(&original);
        assert_eq!(lab.send(Lab::BACKEND, &mut packet), Verdict::Forward(Lab::CLIENT));
    });
}

/// Each packet begins a flow that gets its own port of one address to one destination.
fn first_mappings(in_use: usize) {
    first_of(&Lab::translating(), ("10.1.1.4", Lab::NATTED), in_use, Lab::INTERNET);
}

/// A sender with a load balancer's outbound ports, and the Internet at the second port.
const PREALLOCATED: &str = "
name: preallocated
internet: {addresses: [198.18.0.1]}
publicIPAddresses: [{name: front}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: out, publicIPAddress: front}]
    backendAddressPools: [{name: web}]
    outboundRules:
      - {name: out, frontendIPConfigurations: [out], backendAddressPool: web, protocol: All, allocatedOutboundPorts: 64000}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}]}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.4, loadBalancerBackendAddressPools: [lb/web]}]}
";

/// The same with ports preallocated to the sender, up to the last.
fn first_preallocated(in_use: usize) {
    first_of(&Lab::of(PREALLOCATED), ("10.1.0.4", PortId(0)), in_use, PortId(1));
}

fn first_of(lab: &Lab, (sender, from): (&str, PortId), in_use: usize, to: PortId) {
    let packet = |n: usize| build::udp(address(&format!("{sender}:{}", 1_000 + n)), address(FAR), b"");
    for n in 0..in_use {
        lab.send(from, &mut packet(n));
    }
    let mut packets: Vec<_> = (0..TIMES).map(|n| packet(in_use + n)).collect();
    measured(|n| assert_eq!(lab.send(from, &mut packets[n]), Verdict::Forward(to)));
}

fn parse(mut packet: Vec<u8>) {
    measured(|_| _ = black_box(Packet::parse(black_box(&mut packet), VOUCHED).unwrap()).len());
}

/// Callgrind counts from the start of this function to its end.
#[inline(never)]
fn measured(mut work: impl FnMut(usize)) {
    for n in 0..TIMES {
        work(n);
    }
}

fn tcp(src: &str, dst: &str, flags: u8) -> Vec<u8> {
    build::tcp(address(src), address(dst), flags, &[0; 64])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

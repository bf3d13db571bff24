//! How many instructions a packet or a lookup takes, one case a run: `scripts/instructions.sh` runs it under callgrind,
//! which counts what [`measured`] takes. Unlike times, these counts mean the same on a busy machine.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at what it did not expect")]

#[path = "../tests/alloc/lab.rs"]
mod lab;

use std::env;
use std::hint::black_box;
use std::net::SocketAddr;

use vnet::dataplane::Verdict;
use vnet::wire::{Offload, Packet, build};

use lab::Lab;

/// How often the work is done while it is counted.
const TIMES: usize = 1_000;
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;

fn main() {
    let cases: [(&str, fn()); 9] = [
        ("known-flow-ipv4", || known_flow(tcp("10.1.0.4:40000", "10.2.0.4:443", ACK))),
        ("known-flow-ipv6", || known_flow(tcp("[fd00:1::4]:40000", "[fd00:2::4]:443", ACK))),
        ("known-flow-udp", || known_flow(build::udp(address("10.1.0.4:40000"), address("10.2.0.4:53"), &[0; 64]))),
        ("first-packet", || first_packets(0, 0)),
        ("first-packet-400-routes-100-rules", || first_packets(400, 100)),
        ("first-packet-400-routes-1000-rules", || first_packets(400, 1_000)),
        ("denied-400-routes-100-rules", denied),
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
    lab.send(Lab::WEB, &mut packet);
    measured(|_| assert_eq!(lab.send(Lab::WEB, &mut packet), Verdict::Forward(Lab::DB)));
}

/// Each packet begins a flow of its own, where others were before: nothing is allocated any more.
fn first_packets(routes: u32, rules: u32) {
    let mut lab = Lab::new(routes, rules);
    let mut packets: Vec<_> =
        (0..TIMES).map(|n| tcp(&format!("10.1.0.4:{}", 20_000 + n), "10.2.0.4:443", SYN)).collect();
    for packet in &mut packets {
        lab.send(Lab::WEB, packet);
    }
    lab.forget_flows();
    measured(|n| assert_eq!(lab.send(Lab::WEB, &mut packets[n]), Verdict::Forward(Lab::DB)));
}

fn denied() {
    let lab = Lab::new(400, 100);
    let mut packet = tcp("10.1.0.4:40000", "10.2.0.4:25", SYN);
    measured(|_| assert!(matches!(lab.send(Lab::WEB, &mut packet), Verdict::Drop(_))));
}

fn parse(mut packet: Vec<u8>) {
    let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    measured(|_| _ = black_box(Packet::parse(black_box(&mut packet), vouched).unwrap()).len());
}

/// Callgrind counts from here on, and no further than to its end.
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

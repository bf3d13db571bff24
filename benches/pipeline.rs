//! One leg of a packet, parsed and decided in memory: the cost of a packet without system calls.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at what it did not expect")]

#[path = "../tests/alloc/lab.rs"]
mod lab;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use vnet::dataplane::Verdict;
use vnet::wire::{Offload, build};

use lab::Lab;

criterion_main!(pipeline);
criterion_group! {
    name = pipeline;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = known_flows, translated_flows, first_packets
}

fn known_flows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("known flow");
    for (name, src, dst) in
        [("ipv4", "10.1.0.4:40000", "10.2.0.4:443"), ("ipv6", "[fd00:1::4]:40000", "[fd00:2::4]:443")]
    {
        let lab = Lab::new(400, 100);
        let mut packet = build::tcp(src.parse().unwrap(), dst.parse().unwrap(), 0x10, &[0; 64]);
        group.bench_function(name, |bench| bench.iter(|| lab.send(black_box(Lab::WEB), &mut packet)));
    }
    // Like nearly all packets: the kernel has verified the checksum.
    let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    let lab = Lab::new(400, 100);
    let mut packet = flows(1, 443).remove(0);
    group.bench_function("ipv4, vouched for", |bench| {
        bench.iter(|| lab.send_as(black_box(Lab::WEB), &mut packet, vouched));
    });
    let lab = Lab::new(400, 100);
    let mut packets = flows(10_000, 443);
    let mut next = 0;
    group.bench_function("ipv4, one of 10,000", |bench| {
        bench.iter(|| {
            next = (next + 1) % packets.len();
            lab.send(black_box(Lab::WEB), &mut packets[next])
        });
    });
}

/// Towards a load balancer, and out by a NAT gateway, beside the same without.
fn translated_flows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translated flow");
    let lab = Lab::translating();
    let ways = [
        ("none", Lab::CLIENT, "10.1.0.4:40000", "10.1.0.5:8080", Lab::BACKEND),
        ("balanced", Lab::CLIENT, "10.1.0.4:40000", "10.1.0.100:80", Lab::BACKEND),
        ("snat", Lab::NATTED, "10.1.1.4:40000", "198.18.0.1:443", Lab::INTERNET),
    ];
    for (name, from, src, dst, to) in ways {
        let original = build::udp(src.parse().unwrap(), dst.parse().unwrap(), &[0; 64]);
        let mut packet = original.clone();
        assert_eq!(lab.send(from, &mut packet), Verdict::Forward(to));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                packet.copy_from_slice(&original);
                lab.send(black_box(from), &mut packet)
            });
        });
    }
}

fn first_packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first packet");
    for (routes, rules) in [(0, 0), (400, 100), (400, 1_000)] {
        let mut lab = Lab::new(routes, rules);
        let mut admitted = flows(10_000, 443);
        group.bench_function(format!("admitted, {routes} routes, {rules} rules"), |bench| {
            bench.iter_custom(|count| rounds(&mut lab, &mut admitted, count));
        });
    }
    let lab = Lab::new(400, 100);
    let mut denied = flows(1, 25).remove(0);
    assert!(matches!(lab.send(Lab::WEB, &mut denied), Verdict::Drop(_)));
    group.bench_function("denied, 400 routes, 100 rules", |bench| {
        bench.iter(|| lab.send(black_box(Lab::WEB), &mut denied));
    });
}

/// The time of `count` first packets; the removal of flows in between is not counted.
fn rounds(lab: &mut Lab, packets: &mut [Vec<u8>], count: u64) -> Duration {
    let mut taken = Duration::ZERO;
    let mut left = count as usize;
    while left > 0 {
        let round = left.min(packets.len());
        let start = Instant::now();
        for packet in &mut packets[..round] {
            assert_eq!(lab.send(Lab::WEB, packet), Verdict::Forward(Lab::DB));
        }
        taken += start.elapsed();
        lab.forget_flows();
        lab.forget_paths();
        left -= round;
    }
    taken
}

/// Packets from web to a port of db, each of a flow of its own.
fn flows(count: u16, port: u16) -> Vec<Vec<u8>> {
    let dst = SocketAddr::new("10.2.0.4".parse().unwrap(), port);
    let src = |n| SocketAddr::new("10.1.0.4".parse().unwrap(), 20_000 + n);
    (0..count).map(|n| build::tcp(src(n), dst, 0x02, &[0; 64])).collect()
}

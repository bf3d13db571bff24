//! Times to parse and to edit a packet, with and without a kernel that vouches for its checksum.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vnet::wire::{Offload, Packet, build};

criterion_main!(wire);
criterion_group! {
    name = wire;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = parse, edit
}

const UNKNOWN: Offload = Offload { flags: 0, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };
const VOUCHED: Offload = Offload { flags: Offload::DATA_VALID, ..UNKNOWN };

/// Source and destination of each IP version.
fn families() -> [(&'static str, SocketAddr, SocketAddr); 2] {
    let v4 = |last| SocketAddr::from(([10, 0, 0, last], 443));
    let v6 = |last| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 443));
    [("ipv4", v4(1), v4(2)), ("ipv6", v6(1), v6(2))]
}

fn parse(criterion: &mut Criterion) {
    for (family, src, dst) in families() {
        for payload in [0, 1440] {
            let mut bytes = build::tcp(src, dst, 0x10, &vec![7; payload]);
            for (name, offload) in [("vouched", VOUCHED), ("verified", UNKNOWN)] {
                criterion.bench_function(&format!("parse/{family}/{payload}/{name}"), |bencher| {
                    bencher.iter(|| {
                        Packet::parse(black_box(&mut bytes), black_box(offload)).map(|packet| *packet.tuple())
                    });
                });
            }
        }
    }
}

fn edit(criterion: &mut Criterion) {
    for (family, src, dst) in families() {
        let mut bytes = build::tcp(src, dst, 0x10, b"");
        let mut packet = Packet::parse(&mut bytes, VOUCHED).expect("as built");
        let mut other = (dst, src);
        criterion.bench_function(&format!("edit/{family}/address and port"), |bencher| {
            bencher.iter(|| {
                other = (other.1, other.0);
                packet.set_dst(black_box(other.0.ip()));
                packet.set_dst_port(black_box(other.0.port()));
            });
        });
    }
}

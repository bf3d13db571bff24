//! What the program writes where a receiver sees other addresses or ports. It also checks the checksum of echoes itself.
//!
//! One idea: a translated packet must be, byte by byte, the one that a sender with those addresses and ports would have
//! sent. The sums that checksums change by are added up here once more, so they do not come from the code that is tested.

use vnet::wire::Transport;

use super::*;

/// Where the program's value says that a packet has ended it.
const ENDED: usize = 55;

/// Where it says by how many the receiver's TTL is less.
const HOPS: usize = 133;

/// Adds bytes up, as the machine reads them.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|two| u32::from(u16::from_ne_bytes([two[0], two.get(1).copied().unwrap_or(0)]))).sum()
}

/// What a checksum changes by (RFC 1624 section 3).
fn difference(before: &[u8], after: &[u8]) -> u32 {
    let removed: Vec<u8> = before.iter().map(|byte| !byte).collect();
    sum(&removed) + sum(after)
}

pub(super) fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Where a packet's addresses lie, its ports, and its transport's checksum.
fn fields(packet: &[u8]) -> [std::ops::Range<usize>; 3] {
    let (addresses, ports, protocol) =
        if packet[0] >> 4 == 6 { (8..40, 40..44, packet[6]) } else { (12..20, 20..24, packet[9]) };
    let checksum = ports.start + if protocol == 6 { 16 } else { 6 };
    [addresses, ports, checksum..checksum + 2]
}

/// The same packet between two other ends.
fn with_ends(ends: [SocketAddr; 2], tcp: bool) -> Vec<u8> {
    if tcp { build::tcp(ends[0], ends[1], 0x10, &[7; 99]) } else { build::udp(ends[0], ends[1], &[7; 99]) }
}

/// Another end, or the same; some of its words are those that a checksum does not notice.
fn other(end: SocketAddr, random: &mut Random) -> SocketAddr {
    let mut bytes = match end.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if random.below(3) > 0 {
        bytes.iter_mut().skip(1).for_each(|byte| *byte = [0, 255, random.below(256) as u8][random.below(3) as usize]);
    }
    let address = match *bytes.as_slice() {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        ref long => IpAddr::from(*long.first_chunk::<16>().unwrap()),
    };
    let port = if random.below(3) > 0 { random.below(65_536) as u16 } else { end.port() };
    SocketAddr::new(address, port)
}

/// Has the receiver see the flow of another packet. Returns what its addresses, and its ports, add to a checksum.
fn translate(loaded: &mut Loaded, before: &[u8], after: &mut [u8]) -> [u32; 2] {
    let received = key(&Packet::parse(after, Offload::default()).unwrap());
    let ends = &mut loaded.value[RECEIVED];
    ends[..32].copy_from_slice(&received[12..44]);
    ends[32..].copy_from_slice(&received[6..10]);
    let [addresses, ports, _] = fields(before);
    let sums = [addresses, ports].map(|part| difference(&before[part.clone()], &after[part]));
    loaded.value[SUMS].copy_from_slice(&sums.map(u32::to_ne_bytes).concat());
    loaded.value[TRANSLATED] = 1;
    sums
}

/// What a whole checksum becomes; that of UDP is never zero, which would be none.
fn changed(checksum: [u8; 2], by: u32, tcp: bool) -> [u8; 2] {
    let changed = !folded(u32::from(!u16::from_ne_bytes(checksum)) + by);
    (if changed == 0 && !tcp { u16::MAX } else { changed }).to_ne_bytes()
}

/// As each of so many routers does.
fn count_hops(packet: &mut [u8], hops: u8) {
    if packet[0] >> 4 == 6 {
        packet[7] -= hops;
        return;
    }
    packet[8] -= hops;
    packet[10..12].fill(0);
    let checksum = !folded(sum(&packet[..20]));
    packet[10..12].copy_from_slice(&checksum.to_ne_bytes());
}

/// FAB-05: of an echo too, which is never translated.
#[test]
fn fab_05_a_packet_through_gateways_has_their_hops_less() {
    inside(|| {
        for (mut sent, kind) in [
            (build::icmp_echo([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 7, 1, false), [8, 0]),
            (build::icmp_echo("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), 7, 1, false), [0x86, 0xdd]),
        ] {
            let mut loaded = Loaded::new(&mut sent);
            for hops in [0, 1, 2, 63] {
                loaded.value[HOPS] = hops;
                let mut received = sent.clone();
                count_hops(&mut received, hops);
                let mut frame = [&FORGED[..], &[0; 6], &kind, &sent].concat();
                assert!(loaded.carries(&mut frame, 0, 1500));
                assert_eq!(frame[14..], received, "{hops} hops");
            }
        }
    });
}

#[test]
fn a_translated_packet_is_the_one_that_the_other_ends_would_exchange() {
    inside(|| {
        let mut random = Random(0x5eed_0002);
        for ends in [["10.0.0.1:1000", "10.0.0.2:53"], ["[fd00::1]:1000", "[fd00::2]:53"]] {
            let ends = ends.map(|end| end.parse::<SocketAddr>().unwrap());
            for tcp in [false, true] {
                let mut loaded = Loaded::new(&mut with_ends(ends, tcp));
                loaded.value[52..54].copy_from_slice(&1500u16.to_ne_bytes());
                for round in 0..2000 {
                    let others = ends.map(|end| other(end, &mut random));
                    let (mut sent, mut received) = (with_ends(ends, tcp), with_ends(others, tcp));
                    let sums = translate(&mut loaded, &sent, &mut received);
                    let offload = left_undone(&sent, 0);
                    leave_checksum(&mut sent, &offload);
                    // In a run of this kind the kernel takes it for a whole one.
                    let [_, _, checksum] = fields(&received);
                    let mut whole: [u8; 2] = *sent[checksum.clone()].first_chunk().unwrap();
                    for sum in sums {
                        whole = changed(whole, sum, tcp);
                    }
                    received[checksum].copy_from_slice(&whole);
                    loaded.value[HOPS] = random.below(64) as u8;
                    count_hops(&mut received, loaded.value[HOPS]);
                    let kind: [u8; 2] = if sent[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
                    let mut frame = [&FORGED[..], &[0; 6], &kind, &sent].concat();
                    loaded.put();
                    loaded.run(&mut frame, 0);
                    assert_eq!(frame[..12], ETHERNET, "it is carried");
                    assert_eq!(frame[14..], received, "{round}: {ends:?} as {others:?}");
                }
            }
        }
    });
}

/// An echo of any size, with what may be wrong about it.
#[test]
fn echoes_are_carried_only_as_the_pipeline_reads_them() {
    inside(|| {
        let mut random = Random(0x5eed_0003);
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
            let mut loaded = Loaded::new(&mut build::icmp_echo(src, dst, 77, 1, false));
            let (mut carried, mut up) = (0, 0);
            for round in 0..20_000_u16 {
                let mut bytes = build::icmp_echo(src, dst, 77, round, round % 2 == 1);
                let payload = (0..random.below(1600)).map(|byte| byte as u8).collect::<Vec<_>>();
                let at = bytes.len() - 8;
                bytes = raw_again(&bytes, &[&bytes[at..], &payload].concat());
                if round % 3 == 0 {
                    mutate(&mut bytes, &mut random);
                }
                if round % 2 == 0 {
                    add_up(&mut bytes);
                }
                let kind: [u8; 2] = if bytes[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
                let mut frame = [&FORGED[..], &[0; 6], &kind, &bytes].concat();
                if !loaded.carries(&mut frame, 0, 1500) {
                    up += 1;
                    continue;
                }
                carried += 1;
                assert_eq!(frame[14..], bytes, "it stays as it is");
                let packet = Packet::parse(&mut bytes, Offload::default())
                    .unwrap_or_else(|error| panic!("{error:?}: {frame:02x?}"));
                assert!(matches!(packet.transport(), Transport::Echo { id: 77, .. }), "{frame:02x?}");
                assert_eq!((key(&packet), packet.ttl(), packet.fragment()), (loaded.key, loaded.value[54], None));
                assert!(packet.len() + 14 == frame.len() && packet.len() <= 1500, "{frame:02x?}");
            }
            assert!(carried > 5000 && up > 5000, "{carried} carried, {up} up");
        }
    });
}

/// The same IP header before another message of ICMP.
fn raw_again(packet: &[u8], message: &[u8]) -> Vec<u8> {
    let (src, dst, protocol) = {
        let mut packet = packet.to_vec();
        let parsed = Packet::parse(&mut packet, Offload::default()).unwrap();
        (parsed.src(), parsed.dst(), parsed.protocol())
    };
    let mut packet = build::raw(src, dst, protocol.0, message);
    add_up(&mut packet);
    packet
}

/// Makes the checksums right, as far as there are headers.
fn add_up(packet: &mut [u8]) {
    let v6 = packet[0] >> 4 == 6;
    let at = if v6 { 40 } else { 20 };
    if packet.len() < at + 8 {
        return;
    }
    packet[at + 2..at + 4].fill(0);
    let addresses = if v6 {
        sum(&packet[8..40]) + u32::from(u16::to_be(58)) + sum(&((packet.len() - at) as u32).to_be_bytes())
    } else {
        0
    };
    let message = !folded(addresses + sum(&packet[at..]));
    packet[at + 2..at + 4].copy_from_slice(&message.to_ne_bytes());
    if !v6 {
        packet[10..12].fill(0);
        let header = !folded(sum(&packet[..20]));
        packet[10..12].copy_from_slice(&header.to_ne_bytes());
    }
}

/// The sequence number that a connection's end expects is kept for the reset that it may get (LB-25).
#[test]
fn the_program_notes_what_a_sender_of_tcp_expects() {
    inside(|| {
        let ends = ["10.0.0.1:1000", "10.0.0.2:53"].map(|end| end.parse().unwrap());
        let mut segment = with_ends(ends, true);
        segment[28..32].copy_from_slice(&[1, 2, 3, 4]);
        let mut loaded = Loaded::new(&mut with_ends(ends, true));
        let offload = left_undone(&segment, 0);
        leave_checksum(&mut segment, &offload);
        assert!(loaded.carries(&mut [&FORGED[..], &[0; 6], &[8, 0], &segment].concat(), 0, 1500));
        assert_eq!(loaded.flow()[EXPECTS], [1, 2, 3, 4]);
    });
}

/// The packets that come back carry the names that the receiver knows.
#[test]
fn nsg_21_a_segment_that_ends_a_translated_connection_ends_both_directions() {
    inside(|| {
        let ends: [SocketAddr; 2] = ["10.0.0.1:1000", "10.0.0.2:80"].map(|end| end.parse().unwrap());
        let others: [SocketAddr; 2] = ["10.0.9.1:2000", "10.0.9.2:8080"].map(|end| end.parse().unwrap());
        let whole = with_ends(ends, true);
        let mut loaded = Loaded::new(&mut whole.clone());
        translate(&mut loaded, &whole, &mut with_ends(others, true));
        loaded.value[52..54].copy_from_slice(&1500u16.to_ne_bytes());
        loaded.put();
        let back = key(&Packet::parse(&mut with_ends([others[1], others[0]], true), Offload::default()).unwrap());
        let value = loaded.value;
        loaded.flows().insert(back, value, 0).unwrap();
        let mut last = build::tcp(ends[0], ends[1], 0x11, &[7; 99]);
        let offload = left_undone(&last, 0);
        leave_checksum(&mut last, &offload);
        loaded.run(&mut [&FORGED[..], &[0; 6], &[8, 0], &last].concat(), 0);
        assert_eq!([loaded.key, back].map(|key| loaded.flows().get(&key, 0).unwrap()[ENDED]), [1, 1]);
    });
}

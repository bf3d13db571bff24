//! What parsing refuses, one standard's clause at a time, and what super-packets look like.

use std::net::SocketAddr;

use vnet::wire::{Fragment, Offload, Packet, ParseError, Protocol, QuotedEnd, Transport, build};

const TCP: u8 = 6;
const UDP: u8 = 17;
const PAYLOAD: [u8; 64] = [0; 64];

fn a(v6: bool) -> SocketAddr {
    if v6 { ([0xfd00, 0, 0, 0, 0, 0, 0, 1], 1000).into() } else { ([10, 0, 0, 1], 1000).into() }
}

fn b(v6: bool) -> SocketAddr {
    if v6 { ([0xfd00, 0, 0, 0, 0, 0, 0, 2], 80).into() } else { ([10, 0, 0, 2], 80).into() }
}

/// With the IPv4 header checksum mended, so that nothing else is refused; transport checksums are vouched for.
fn refused(mut bytes: Vec<u8>) -> Option<ParseError> {
    if bytes[0] >> 4 == 4 {
        mend(&mut bytes);
    }
    Packet::parse(&mut bytes, Offload { flags: Offload::DATA_VALID, ..Offload::default() }).err()
}

fn mend(bytes: &mut [u8]) {
    bytes[10..12].fill(0);
    let header_len = usize::from(bytes[0] & 0x0f) * 4;
    let sum: u32 = bytes[..header_len].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// An IPv4 fragment: offset in eights.
fn fragment_v4(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = build::raw(a(false).ip(), b(false).ip(), protocol, payload);
    bytes[4..6].copy_from_slice(&7u16.to_be_bytes());
    bytes[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
    bytes
}

/// The same in IPv6.
fn fragment_v6(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    let header = [protocol, 0, high, low, 0, 0, 0, 7];
    build::raw(a(true).ip(), b(true).ip(), 44, &[&header, payload].concat())
}

#[test]
fn fragments_that_no_sender_makes_are_malformed() {
    let malformed = Some(ParseError::Malformed);
    for fragment in [fragment_v4, fragment_v6] {
        assert_eq!(refused(fragment(UDP, 3, true, &PAYLOAD)), None);
        assert_eq!(refused(fragment(UDP, 3, false, &PAYLOAD[..5])), None);
        assert_eq!(refused(fragment(UDP, 3, true, &PAYLOAD[..12])), malformed, "ragged");
        assert_eq!(refused(fragment(UDP, 3, false, &[])), malformed, "empty");
        assert_eq!(refused(fragment(UDP, 8191, false, &PAYLOAD)), malformed, "past the largest datagram");
        assert_eq!(refused(fragment(TCP, 0, true, &PAYLOAD[..16])), malformed, "RFC 1858: no whole header");
        assert_eq!(refused(fragment(UDP, 0, true, &[])), malformed, "RFC 7112: no header at all");
        assert_eq!(refused(fragment(TCP, 2, true, &PAYLOAD)), malformed, "RFC 3128: rewrites the header");
        assert_eq!(refused(fragment(TCP, 3, true, &PAYLOAD)), None);
    }
}

#[test]
fn a_later_fragment_has_no_ports() {
    for mut bytes in [fragment_v4(UDP, 185, true, &PAYLOAD), fragment_v6(UDP, 185, true, &PAYLOAD)] {
        if bytes[0] >> 4 == 4 {
            mend(&mut bytes);
        }
        let packet = Packet::parse(&mut bytes, Offload::default()).expect("valid");
        assert_eq!(packet.fragment(), Some(Fragment { id: 7, offset: 1480, more: true }));
        assert_eq!((packet.protocol(), packet.transport()), (Protocol::UDP, Transport::Other));
        assert_eq!((packet.tuple().src_port, packet.tuple().dst_port), (0, 0));
    }
}

#[test]
fn a_chain_of_extension_headers_is_bounded_and_in_order() {
    let chain = |kinds: &[u8]| {
        let mut bytes = vec![];
        for next in kinds.iter().skip(1).chain([&59]) {
            bytes.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
        }
        build::raw(a(true).ip(), b(true).ip(), kinds[0], &bytes)
    };
    assert_eq!(refused(chain(&[0, 60, 43, 44, 60])), None);
    assert_eq!(refused(chain(&[60; 8])), None);
    assert_eq!(refused(chain(&[60; 9])), Some(ParseError::Malformed));
    assert_eq!(refused(chain(&[60, 0])), Some(ParseError::Malformed), "hop-by-hop options come first");
    assert_eq!(refused(chain(&[44, 44])), Some(ParseError::Malformed), "a fragment of a fragment");
}

#[test]
fn lengths_must_agree() {
    let edit = |v6: bool, at: usize, value: u8| {
        let mut bytes = build::tcp(a(v6), b(v6), 2, b"1234");
        bytes[at] = value;
        refused(bytes)
    };
    let malformed = Some(ParseError::Malformed);
    assert_eq!(edit(false, 0, 0x44), malformed, "header shorter than itself");
    assert_eq!(edit(false, 3, 45), malformed, "total length past the buffer");
    assert_eq!(edit(false, 3, 0), malformed, "a total length of zero is for super-packets");
    assert_eq!(edit(true, 5, 25), malformed, "payload length past the buffer");
    assert_eq!(edit(false, 32, 0x40), malformed, "TCP header shorter than itself");
    assert_eq!(edit(true, 52, 0x70), malformed, "TCP header longer than the packet");
    let udp = |v6: bool, length: u8| {
        let mut bytes = build::udp(a(v6), b(v6), b"1234");
        let at = bytes.len() - 8;
        bytes[at + 1] = length;
        refused(bytes)
    };
    assert_eq!((udp(false, 12), udp(false, 9), udp(false, 13)), (None, None, malformed));
    assert_eq!((udp(false, 7), udp(true, 7)), (malformed, malformed));
    assert_eq!((udp(false, 0), udp(true, 0)), (malformed, None), "zero: RFC 2675, IPv6 alone");
}

/// A later fragment has no ports, so none are written over what it has in their place.
#[test]
fn a_quoted_later_fragment_keeps_all_behind_its_addresses() {
    for mut quoted in [fragment_v4(UDP, 1, false, &PAYLOAD), fragment_v6(UDP, 1, false, &PAYLOAD)] {
        let v6 = quoted[0] >> 4 == 6;
        if !v6 {
            mend(&mut quoted);
        }
        let mut error = build::icmp_unreachable(b(v6).ip(), &quoted);
        assert!(error.ends_with(&PAYLOAD));
        let mut packet = Packet::parse(&mut error, Offload::default()).expect("valid");
        packet.set_quoted(QuotedEnd::Src, b(v6).ip(), Some(7));
        assert!(Packet::parse(&mut error, Offload::default()).is_ok(), "its checksum is right");
        assert!(error.ends_with(&PAYLOAD));
        let at = error.len() - quoted.len() + if v6 { 8 } else { 12 };
        assert_eq!(error[at..][..4], build::raw(b(v6).ip(), a(v6).ip(), UDP, b"")[if v6 { 8 } else { 12 }..][..4]);
    }
}

/// Routers may quote just eight bytes of transport; less than ports is not enough to tell.
#[test]
fn a_short_quote_is_read_as_far_as_it_goes() {
    for v6 in [false, true] {
        let sent = build::tcp(a(v6), b(v6), 2, b"");
        let ip_len = sent.len() - 20;
        let icmp_type = if v6 { 3 } else { 11 };
        let quoted = |len: usize| {
            let message = [&[icmp_type, 0, 0, 0, 0, 0, 0, 0], &sent[..len]].concat();
            let mut error = build::raw(b(v6).ip(), a(v6).ip(), if v6 { 58 } else { 1 }, &message);
            let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
            match Packet::parse(&mut error, vouched).expect("valid").transport() {
                Transport::IcmpError { quoted } => quoted.map(|tuple| (tuple.src_port, tuple.dst_port)),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(quoted(ip_len + 8), Some((1000, 80)));
        assert_eq!(quoted(ip_len + 4), Some((1000, 80)));
        assert_eq!(quoted(ip_len + 3), None);
        assert_eq!(quoted(ip_len - 1), None);
    }
}

/// As Linux hands over what it has not cut: `hdr_len` is the linear part, the checksum partial.
fn super_packet(v6: bool, protocol: u8, payload: usize) -> (Vec<u8>, Offload) {
    let (bytes, gso_type, csum_offset) = match protocol {
        UDP => (build::udp(a(v6), b(v6), &vec![1; payload]), Offload::GSO_UDP_L4, 6),
        _ if v6 => (build::tcp(a(v6), b(v6), 0x10, &vec![1; payload]), Offload::GSO_TCPV6, 16),
        _ => (build::tcp(a(v6), b(v6), 0x10, &vec![1; payload]), Offload::GSO_TCPV4, 16),
    };
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        gso_type,
        hdr_len: (bytes.len() - payload) as u16,
        gso_size: 1000,
        csum_start: if v6 { 40 } else { 20 },
        csum_offset,
    };
    (bytes, offload)
}

#[test]
fn super_packets_count_as_their_segments() {
    for (v6, protocol, headers) in [(false, TCP, 40), (true, TCP, 60), (false, UDP, 28), (true, UDP, 48)] {
        for (payload, segments, largest) in
            [(0, 1, 0), (999, 1, 999), (1000, 1, 1000), (1001, 2, 1000), (60_000, 60, 1000)]
        {
            let (mut bytes, offload) = super_packet(v6, protocol, payload);
            let packet = Packet::parse(&mut bytes, offload).expect("valid");
            assert_eq!((packet.segments(), packet.largest_segment()), (segments, headers + largest));
            assert_eq!(packet.len(), headers + payload);
        }
    }
}

/// BIG TCP: more than 16 bits can say, so the length field is zero and the buffer's length counts.
#[test]
fn a_super_packet_past_64_kib_has_the_length_of_its_buffer() {
    for v6 in [false, true] {
        let (mut bytes, offload) = super_packet(v6, TCP, 1000);
        bytes.resize(150_040, 1);
        bytes[if v6 { 4..6 } else { 2..4 }].fill(0);
        if !v6 {
            mend(&mut bytes);
        }
        let packet = Packet::parse(&mut bytes, offload).expect("valid");
        assert_eq!((packet.len(), packet.segments()), (150_040, 150));
    }
}

#[test]
fn an_offload_header_must_fit_its_packet() {
    let refused = |protocol: u8, edit: fn(&mut Offload)| {
        let (mut bytes, mut offload) = super_packet(false, protocol, 3000);
        edit(&mut offload);
        Packet::parse(&mut bytes, offload).err()
    };
    let malformed = Some(ParseError::Malformed);
    assert_eq!(refused(TCP, |o| o.gso_type |= Offload::GSO_ECN), None);
    assert_eq!(refused(UDP, |o| o.gso_type |= Offload::GSO_ECN), malformed);
    assert_eq!(refused(TCP, |o| o.gso_type = Offload::GSO_ECN), malformed);
    assert_eq!(refused(TCP, |o| o.gso_type = Offload::GSO_TCPV6), malformed);
    assert_eq!(refused(UDP, |o| o.gso_type = Offload::GSO_TCPV4), malformed);
    assert_eq!(refused(UDP, |o| o.gso_type = 3), malformed, "UDP fragmentation offload is never enabled");
    assert_eq!(refused(TCP, |o| o.gso_size = 0), malformed);
    assert_eq!(refused(TCP, |o| o.hdr_len = 3041), malformed);
    assert_eq!(refused(TCP, |o| o.csum_start = 3023), malformed);
    assert_eq!(refused(TCP, |o| (o.csum_start, o.csum_offset) = (u16::MAX, u16::MAX)), malformed);
    let (mut fragment, offload) = super_packet(false, TCP, 3004);
    fragment[6] = 0x20;
    mend(&mut fragment);
    assert_eq!(Packet::parse(&mut fragment, offload).err(), malformed, "a fragment is not cut once more");
    assert_eq!(Packet::parse(&mut fragment, Offload { gso_type: 0, ..offload }).err(), None);
}

/// The kernel vouches by either flag; without it a wrong checksum is found, however long the packet.
#[test]
fn transport_checksums_are_verified_unless_vouched_for() {
    for v6 in [false, true] {
        for mut bytes in [
            build::tcp(a(v6), b(v6), 2, &PAYLOAD),
            build::udp(a(v6), b(v6), &PAYLOAD),
            build::icmp_echo(a(v6).ip(), b(v6).ip(), 1, 1, false),
        ] {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x10;
            let flagged = |flags| Offload { flags, ..Offload::default() };
            assert_eq!(Packet::parse(&mut bytes, flagged(0)).err(), Some(ParseError::BadChecksum));
            assert_eq!(Packet::parse(&mut bytes, flagged(Offload::DATA_VALID)).err(), None);
            assert_eq!(Packet::parse(&mut bytes, flagged(Offload::NEEDS_CSUM)).err(), None);
        }
    }
}

/// RFC 8200 section 8.1: with segments left the checksum covers the final destination, which only the guests know.
#[test]
fn a_source_routed_checksum_is_not_judged() {
    let parsed = |segments_left: u8| {
        let for_final_destination = build::udp(a(true), b(true), &PAYLOAD);
        let mut routing = [0; 8];
        (routing[0], routing[2], routing[3]) = (UDP, 4, segments_left);
        let elsewhere = a(true).ip();
        let mut bytes = build::raw(a(true).ip(), elsewhere, 43, &[&routing, &for_final_destination[40..]].concat());
        Packet::parse(&mut bytes, Offload::default()).err()
    };
    assert_eq!(parsed(1), None);
    assert_eq!(parsed(0), Some(ParseError::BadChecksum));
}

#[test]
fn an_option_that_leaves_the_header_is_malformed() {
    let with_option = |len: u8| {
        let mut bytes = build::udp(a(false), b(false), &PAYLOAD);
        bytes.splice(20..20, [148, len, 0, 0]);
        (bytes[0], bytes[3]) = (0x46, bytes.len() as u8);
        refused(bytes)
    };
    assert_eq!((with_option(4), with_option(5)), (None, Some(ParseError::Malformed)));
}

/// RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c): an error quotes as much as fits into 576 or 1,280 bytes.
#[test]
fn an_error_quotes_as_much_as_fits() {
    for (v6, most) in [(false, 576), (true, 1280)] {
        let quoted = build::udp(a(v6), b(v6), &[7; 1400]);
        let error = build::icmp_unreachable(b(v6).ip(), &quoted);
        assert_eq!(error.len(), most, "all that may be quoted, and no byte more");
        let small = build::udp(a(v6), b(v6), &[7; 8]);
        let headers = if v6 { 48 } else { 28 };
        assert_eq!(build::icmp_unreachable(b(v6).ip(), &small).len(), headers + small.len());
    }
}

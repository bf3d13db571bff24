//! Packets against an independent parser (etherparse), and edits against recomputation from scratch.

mod edits;
mod hostile;
mod limits;
mod sample;

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use proptest::prelude::*;
use vnet::wire::{Offload, Packet, ParseError, Protocol, Transport, build};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn parse(bytes: &mut [u8]) -> Result<Packet<'_>, ParseError> {
    Packet::parse(bytes, Offload::default())
}

#[test]
fn accessors_read_what_was_built() {
    let mut bytes = build::tcp(socket("10.0.0.1:1234"), socket("10.0.1.2:443"), 0x12, b"hello");
    assert_eq!(bytes[20..36], [4, 210, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0xff, 0xff], "the largest window");
    let packet = parse(&mut bytes).expect("valid");
    assert_eq!((packet.src(), packet.dst()), (ip("10.0.0.1"), ip("10.0.1.2")));
    assert_eq!((packet.protocol(), packet.ttl(), packet.len()), (Protocol::TCP, 64, 45));
    assert_eq!(packet.transport(), Transport::Ports { src: 1234, dst: 443, tcp_flags: 0x12 });
    assert_eq!((packet.segments(), packet.largest_segment(), packet.fragment()), (1, 45, None));
}

#[test]
fn echo_and_its_reply_are_one_flow() {
    for (a, b) in [("10.0.0.1", "10.0.1.2"), ("fd00::1", "fd00::2")] {
        let mut request = build::icmp_echo(ip(a), ip(b), 7, 1, false);
        let mut reply = build::icmp_echo(ip(b), ip(a), 7, 1, true);
        let request = parse(&mut request).expect("valid");
        let reply = parse(&mut reply).expect("valid");
        assert_eq!(request.transport(), Transport::Echo { id: 7, reply: false });
        assert_eq!(reply.transport(), Transport::Echo { id: 7, reply: true });
        assert_eq!(*request.tuple(), reply.tuple().mirrored());
    }
}

#[test]
fn an_error_names_the_flow_that_it_quotes() {
    for (a, b, router) in [("10.0.0.1:5", "10.0.1.2:6", "10.0.9.9"), ("[fd00::1]:5", "[fd00::2]:6", "fd00::9")] {
        let mut sent = build::udp(socket(a), socket(b), b"x");
        let mut error = build::icmp_unreachable(ip(router), &sent);
        let quoted = Some(*parse(&mut sent).expect("valid").tuple());
        let error = parse(&mut error).expect("valid");
        assert_eq!(error.transport(), Transport::IcmpError { quoted });
        assert_eq!((error.tuple().src_port, error.tuple().dst_port), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reads_what_another_library_wrote(sample in sample::sample()) {
        let mut bytes = sample.bytes();
        let len = bytes.len();
        bytes.extend([0xee; 3]);
        let packet = parse(&mut bytes).expect("valid");
        prop_assert_eq!(*packet.tuple(), sample.tuple());
        prop_assert_eq!((packet.ttl(), packet.fragment(), packet.len()), (sample.ttl, sample.fragment(), len));
        if let Some(transport) = sample.transport() {
            prop_assert_eq!(packet.transport(), transport);
        }
    }
}

/// Our own reading of what was built, and etherparse's, with every checksum recomputed.
#[test]
fn built_packets_are_valid_by_another_parser() {
    for (a, b) in [("10.0.0.1:5", "10.0.1.2:6"), ("[fd00::1]:5", "[fd00::2]:6")] {
        let (a, b) = (socket(a), socket(b));
        for packet in [
            build::udp(a, b, b"abc"),
            build::udp(a, b, b""),
            build::tcp(a, b, 2, b"abcd"),
            build::icmp_echo(a.ip(), b.ip(), 1, 2, false),
            build::icmp_unreachable(a.ip(), &build::udp(b, a, &[1; 2000])),
        ] {
            assert_valid(&packet);
        }
    }
}

fn assert_valid(packet: &[u8]) {
    let headers = PacketHeaders::from_ip_slice(packet).expect("etherparse takes it");
    let payload = headers.payload.slice();
    match (headers.net.expect("an IP header"), headers.transport.expect("a transport header")) {
        (NetHeaders::Ipv4(ip, _), transport) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            match transport {
                TransportHeader::Tcp(tcp) => assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv4(&ip, payload)),
                TransportHeader::Udp(udp) => assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv4(&ip, payload)),
                TransportHeader::Icmpv4(icmp) => assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload)),
                other => panic!("{other:?} over IPv4"),
            }
        }
        (NetHeaders::Ipv6(ip, _), transport) => match transport {
            TransportHeader::Tcp(tcp) => assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv6(&ip, payload)),
            TransportHeader::Udp(udp) => assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv6(&ip, payload)),
            TransportHeader::Icmpv6(icmp) => {
                assert_eq!(Ok(icmp.checksum), icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload));
            }
            other => panic!("{other:?} over IPv6"),
        },
        (NetHeaders::Arp(_), _) => panic!("ARP"),
    }
}

//! Setters against the same packet written afresh with the new values, with full and with partial checksums.

use proptest::prelude::*;
use vnet::wire::{Offload, Packet, Protocol};

use crate::sample::{Body, Sample, sample, word};

/// New values for one packet.
#[derive(Clone, Debug)]
struct Edit {
    words: [u16; 16],
    src_port: u16,
    dst_port: u16,
}

fn edit() -> impl Strategy<Value = Edit> {
    (proptest::collection::vec(word(), 16), word(), word()).prop_map(|(words, src_port, dst_port)| Edit {
        words: words.try_into().expect("sixteen"),
        src_port,
        dst_port,
    })
}

impl Edit {
    fn addresses(&self, like: &Sample) -> (std::net::IpAddr, std::net::IpAddr) {
        let mut octets = self.words.iter().flat_map(|word| word.to_be_bytes());
        let mut next = || octets.next().expect("32 octets");
        let mut address = || {
            if like.src.is_ipv4() {
                std::array::from_fn::<u8, 4, _>(|_| next()).into()
            } else {
                std::array::from_fn::<u8, 16, _>(|_| next()).into()
            }
        };
        (address(), address())
    }

    fn on_packet(&self, packet: &mut Packet<'_>, like: &Sample) {
        let (src, dst) = self.addresses(like);
        packet.set_src(src);
        packet.set_dst(dst);
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
    }

    fn on_sample(&self, sample: &Sample) -> Sample {
        let (src, dst) = self.addresses(sample);
        let body = match sample.body.clone() {
            Body::Tcp { flags, option_words, .. } => {
                Body::Tcp { src_port: self.src_port, dst_port: self.dst_port, flags, option_words }
            }
            Body::Udp { .. } => Body::Udp { src_port: self.src_port, dst_port: self.dst_port },
            Body::Echo { reply, .. } => Body::Echo { id: self.dst_port, reply },
            untouched @ (Body::Error { .. } | Body::Opaque(_)) => untouched,
        };
        let mut edited = sample.clone();
        (edited.src, edited.dst, edited.body) = (src, dst, body);
        edited
    }
}

/// Where a TCP or UDP checksum field is, and how much it covers, where that is in one packet.
fn checksum_field(sample: &Sample) -> Option<usize> {
    let at = sample.transport_at();
    match sample.body {
        _ if sample.is_later_fragment() => None,
        Body::Tcp { .. } => Some(at + 16),
        Body::Udp { .. } => Some(at + 6),
        Body::Echo { .. } | Body::Error { .. } | Body::Opaque(_) => None,
    }
}

/// As the kernel hands it over: the uninverted pseudo-header sum in the field, summed here the slow way.
fn with_partial_checksum(sample: &Sample) -> Option<(Vec<u8>, Offload)> {
    let field = checksum_field(sample)?;
    let mut bytes = sample.bytes();
    let at = sample.transport_at();
    let octets = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let protocol = [0, sample.tuple().protocol.0];
    let len = (bytes.len() as u32 - at as u32).to_be_bytes();
    let pseudo_header = [&octets(sample.src), &octets(sample.dst), &protocol[..], &len].concat();
    let mut sum = 0;
    for word in pseudo_header.chunks(2) {
        sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        csum_start: at as u16,
        csum_offset: (field - at) as u16,
        ..Offload::default()
    };
    Some((bytes, offload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn edits_equal_writing_afresh(sample in sample(), edit in edit()) {
        let mut bytes = sample.bytes();
        let mut packet = Packet::parse(&mut bytes, Offload::default()).expect("valid");
        edit.on_packet(&mut packet, &sample);
        let afresh = edit.on_sample(&sample);
        prop_assert_eq!(*packet.tuple(), afresh.tuple());
        prop_assert_eq!(bytes, afresh.bytes());
    }

    #[test]
    fn edits_of_partial_checksums_equal_writing_afresh(sample in sample(), edit in edit()) {
        let Some((mut bytes, offload)) = with_partial_checksum(&sample) else { return Ok(()) };
        let mut packet = Packet::parse(&mut bytes, offload).expect("valid");
        edit.on_packet(&mut packet, &sample);
        let (afresh, _) = with_partial_checksum(&edit.on_sample(&sample)).expect("as before");
        prop_assert_eq!(bytes, afresh);
    }

    /// RFC 768: a zero field is no checksum, and stays none.
    #[test]
    fn udp_without_checksum_stays_without(sample in sample(), edit in edit()) {
        let Some(field) = checksum_field(&sample).filter(|_| sample.tuple().protocol == Protocol::UDP) else {
            return Ok(());
        };
        let mut bytes = sample.bytes();
        bytes[field..field + 2].fill(0);
        let mut packet = Packet::parse(&mut bytes, Offload::default()).expect("valid");
        edit.on_packet(&mut packet, &sample);
        let mut afresh = edit.on_sample(&sample).bytes();
        afresh[field..field + 2].fill(0);
        prop_assert_eq!(bytes, afresh);
    }

    /// A tunnel's inner checksum is the partial one: the outer one is full and edited as such.
    #[test]
    fn an_inner_partial_checksum_leaves_the_outer_one_full(sample in sample(), edit in edit()) {
        let Some(field) = checksum_field(&sample) else { return Ok(()) };
        let mut bytes = sample.bytes();
        bytes.resize(bytes.len() + 8, 0);
        let inner = Offload { flags: Offload::NEEDS_CSUM, csum_start: field as u16 - 2, ..Offload::default() };
        let mut packet = Packet::parse(&mut bytes, inner).expect("valid");
        edit.on_packet(&mut packet, &sample);
        prop_assert_eq!(packet.bytes(), edit.on_sample(&sample).bytes());
    }
}

/// A sum that comes out as zero is written as all ones: zero would mean that there is no checksum.
#[test]
fn a_computed_udp_zero_becomes_all_ones() {
    let socket = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
    let zero = (0..=u16::MAX)
        .find(|port| {
            let bytes = vnet::wire::build::udp(socket(*port), socket(1), b"");
            bytes[26..28] == [0xff, 0xff]
        })
        .expect("one of all ports makes the sum zero");
    let mut bytes = vnet::wire::build::udp(socket(zero.wrapping_add(1)), socket(1), b"");
    let mut packet = Packet::parse(&mut bytes, Offload::default()).expect("valid");
    packet.set_src_port(zero);
    assert_eq!(bytes, vnet::wire::build::udp(socket(zero), socket(1), b""));
}

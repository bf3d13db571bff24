//! Ethernet for a fabric without a link layer: the fabric answers for every address (FAB-02).
//!
//! One idea: a guest's frame carries a packet, or asks for the Ethernet address of an IP address; all else is ignored.
//! The answer is written over the question, in place. All machines share one Ethernet address, so nothing is learnt and
//! nothing times out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::{Protocol, ipv6};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The address of every other machine that a guest in Azure sees.
pub const FABRIC: Mac = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc];

/// Destination, source, type.
pub const HEADER_LEN: usize = 14;

mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const IPV6: u16 = 0x86dd;
}

/// ARP for IPv4 over Ethernet (RFC 826): where its fields are.
mod arp {
    pub(super) const LEN: usize = 28;
    /// Hardware type, protocol type, their lengths, and the operation.
    pub(super) const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    pub(super) const OPERATION: usize = 7;
    pub(super) const REPLY: u8 = 2;
    pub(super) const SENDER_MAC: usize = 8;
    pub(super) const SENDER: usize = 14;
    pub(super) const TARGET_MAC: usize = 18;
    pub(super) const TARGET: usize = 24;
}

/// Neighbour discovery (RFC 4861), behind the IPv6 header.
mod nd {
    use super::ipv6;

    pub(super) const SOLICITATION: u8 = 135;
    pub(super) const ADVERTISEMENT: u8 = 136;
    pub(super) const CHECKSUM: usize = ipv6::HEADER_LEN + 2;
    pub(super) const FLAGS: usize = ipv6::HEADER_LEN + 4;
    /// Flags: solicited, and override what the receiver knows.
    pub(super) const SOLICITED_OVERRIDE: u8 = 0x60;
    pub(super) const TARGET: usize = ipv6::HEADER_LEN + 8;
    pub(super) const OPTION: usize = TARGET + 16;
    /// Type and length in units of eight bytes.
    pub(super) const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];
    pub(super) const LEN: usize = OPTION + 8;
    /// No router has forwarded it.
    pub(super) const HOP_LIMIT: u8 = 255;
}

/// The content of a guest's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Packet,
    /// A question for the Ethernet address of this IP address.
    Question(IpAddr),
    /// An unsolicited answer, or a protocol that no Azure network carries.
    Other,
}

impl Content {
    /// Parses a frame's header and payload.
    pub fn of(header: &[u8; HEADER_LEN], payload: &[u8]) -> Self {
        match u16::from_be_bytes([header[12], header[13]]) {
            ether_type::IPV4 => Self::Packet,
            ether_type::IPV6 => solicited(payload).map_or(Self::Packet, |target| Self::Question(target.into())),
            ether_type::ARP => requested(payload).map_or(Self::Other, |target| Self::Question(target.into())),
            _ => Self::Other,
        }
    }
}

/// Turns a [`Content::Question`] into its answer: the fabric has that address. Returns its length, and the header that
/// it needs; None if there is no such question, or no room.
pub fn answer(payload: &mut [u8], guest: Mac) -> Option<([u8; HEADER_LEN], usize)> {
    if requested(payload).is_some() {
        answer_arp(payload);
        return Some((header(guest, ether_type::ARP), arp::LEN));
    }
    let target = solicited(payload)?;
    advertise(payload.first_chunk_mut()?, target);
    Some((header(guest, ether_type::IPV6), nd::LEN))
}

/// The header in front of an IP packet for a guest.
pub fn packet_header(packet: &[u8], guest: Mac) -> [u8; HEADER_LEN] {
    let is_ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
    header(guest, if is_ipv6 { ether_type::IPV6 } else { ether_type::IPV4 })
}

fn header(to: Mac, ether_type: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..6].copy_from_slice(&to);
    header[6..12].copy_from_slice(&FABRIC);
    header[12..].copy_from_slice(&ether_type.to_be_bytes());
    header
}

fn requested(payload: &[u8]) -> Option<Ipv4Addr> {
    let request = payload.first_chunk::<{ arp::LEN }>()?;
    let target = request[arp::TARGET..].first_chunk::<4>()?;
    request.starts_with(&arp::REQUEST).then_some(Ipv4Addr::from(*target))
}

fn answer_arp(payload: &mut [u8]) {
    payload[arp::OPERATION] = arp::REPLY;
    // The sender of the question, with both addresses, becomes the target; the address asked for becomes the sender.
    let (asking, asked) = payload[arp::SENDER_MAC..arp::LEN].split_at_mut(arp::TARGET_MAC - arp::SENDER_MAC);
    asking.swap_with_slice(asked);
    payload[arp::SENDER_MAC..arp::SENDER].copy_from_slice(&FABRIC);
}

/// The target of a neighbour solicitation. One without a source asks whether an address is free to use: no machine
/// objects.
fn solicited(packet: &[u8]) -> Option<Ipv6Addr> {
    let fixed = ipv6::Fixed::new(packet)?;
    let message = packet.get(ipv6::HEADER_LEN..nd::OPTION)?;
    let asks = fixed.next_header() == Protocol::ICMPV6
        && packet[ipv6::field::HOP_LIMIT] == nd::HOP_LIMIT
        && message.starts_with(&[nd::SOLICITATION, 0])
        && !fixed.src().is_unspecified();
    let target = packet[nd::TARGET..].first_chunk::<16>()?;
    asks.then_some(Ipv6Addr::from(*target))
}

fn advertise(packet: &mut [u8; nd::LEN], target: Ipv6Addr) {
    let asking = std::array::from_fn(|i| packet[ipv6::field::SRC + i]);
    let message_len = nd::LEN - ipv6::HEADER_LEN;
    packet[ipv6::field::PAYLOAD_LEN..][..2].copy_from_slice(&(message_len as u16).to_be_bytes());
    packet[ipv6::field::SRC..][..16].copy_from_slice(&target.octets());
    packet[ipv6::field::DST..][..16].copy_from_slice(&asking);
    packet[ipv6::HEADER_LEN] = nd::ADVERTISEMENT;
    packet[nd::CHECKSUM..][..2].fill(0);
    packet[nd::FLAGS..][..4].copy_from_slice(&[nd::SOLICITED_OVERRIDE, 0, 0, 0]);
    packet[nd::OPTION..][..2].copy_from_slice(&nd::TARGET_LINK_ADDRESS);
    packet[nd::OPTION + 2..].copy_from_slice(&FABRIC);
    let asking = Ipv6Addr::from(asking);
    let pseudo = Sum::of_pseudo_header(target.into(), asking.into(), Protocol::ICMPV6, message_len);
    let sum = pseudo.plus(Sum::of(&packet[ipv6::HEADER_LEN..]));
    packet[nd::CHECKSUM..][..2].copy_from_slice(&sum.full().to_be_bytes());
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::{Offload, Packet};
    use super::*;

    const GUEST: Mac = [2, 0, 0, 0, 0, 7];

    fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, operation][..], &GUEST, &sender, &[0; 6], &target].concat()
    }

    fn solicitation(src: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
        let target: Ipv6Addr = "fd00::9".parse().unwrap();
        let group: Ipv6Addr = "ff02::1:ff00:9".parse().unwrap();
        let mut packet = vec![0x60, 0, 0, 0, 0, 32, 58, hop_limit];
        packet.extend(src.octets());
        packet.extend(group.octets());
        packet.extend([135, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend(target.octets());
        packet.extend([1, 1]);
        packet.extend(GUEST);
        packet
    }

    #[test]
    fn fab_02_an_arp_request_is_answered_with_the_fabrics_address() {
        let mut frame = arp(1, [10, 1, 0, 4], [10, 1, 0, 77]);
        let from_guest = [&[0xff; 6][..], &GUEST, &[8, 6]].concat();
        let question = Content::Question("10.1.0.77".parse().unwrap());
        assert_eq!(Content::of(from_guest.first_chunk().unwrap(), &frame), question);
        let (header, len) = answer(&mut frame, GUEST).unwrap();
        assert_eq!(header, *[&GUEST[..], &FABRIC, &[8, 6]].concat().first_chunk().unwrap());
        let reply = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &FABRIC, &[10, 1, 0, 77], &GUEST, &[10, 1, 0, 4]].concat();
        assert_eq!(frame[..len], reply);
        assert_eq!(answer(&mut frame, GUEST), None, "a reply is no question");
    }

    #[test]
    fn fab_16_a_neighbour_solicitation_is_answered_too() {
        let mut packet = solicitation("fd00::4".parse().unwrap(), 255);
        packet.resize(200, 0);
        let (header, len) = answer(&mut packet, GUEST).unwrap();
        assert_eq!(header[12..], [0x86, 0xdd]);
        // Its checksum is verified there.
        let advertisement = Packet::parse(&mut packet[..len], Offload::default()).unwrap();
        assert_eq!(advertisement.tuple().src, "fd00::9".parse::<IpAddr>().unwrap());
        assert_eq!(advertisement.tuple().dst, "fd00::4".parse::<IpAddr>().unwrap());
        assert_eq!(packet[40..45], [136, 0, packet[42], packet[43], 0x60]);
        assert_eq!(packet[64..72], [2, 1, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc]);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let header = |kind: u16| header(FABRIC, kind);
        assert_eq!(Content::of(&header(0x0800), &[0x45; 60]), Content::Packet);
        assert_eq!(Content::of(&header(0x8100), &[0; 60]), Content::Other, "a VLAN");
        assert_eq!(Content::of(&header(0x0806), &arp(1, [0; 4], [0; 4])[..27]), Content::Other, "cut short");
        for odd in [solicitation(Ipv6Addr::UNSPECIFIED, 255), solicitation("fd00::4".parse().unwrap(), 254)] {
            assert_eq!(Content::of(&header(0x86dd), &odd), Content::Packet);
        }
        // One with an answer longer than its buffer.
        let mut tight = solicitation("fd00::4".parse().unwrap(), 255);
        tight.truncate(64);
        assert_eq!(answer(&mut tight, GUEST), None);
    }
}

//! A super-packet cut into what would be on a wire, as its receiver's kernel would cut it.

use std::net::IpAddr;

use super::build::put_checksum;
use super::{Offload, Protocol, be16};

/// The packets of a super-packet, or the packet itself, each with full checksums. Bytes that are not whole, or no such
/// packet, come back as they are.
pub fn cut(bytes: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    pieces(bytes, offload).unwrap_or_else(|| vec![bytes.to_vec()])
}

const FIN_AND_PUSH: u8 = 0x09;

fn pieces(bytes: &[u8], offload: &Offload) -> Option<Vec<Vec<u8>>> {
    if offload.is_finished() {
        return None;
    }
    let needs_checksum = offload.flags & Offload::NEEDS_CSUM != 0;
    let is_ipv4 = bytes.first()? >> 4 == 4;
    let (ip_len, protocol) =
        if is_ipv4 { (usize::from(bytes.first()? & 15) * 4, *bytes.get(9)?) } else { (40, *bytes.get(6)?) };
    // Extension headers and tunnels are left whole.
    if needs_checksum && usize::from(offload.csum_start) != ip_len {
        return None;
    }
    let (headers, checksum_at) = match Protocol(protocol) {
        Protocol::TCP => (ip_len + usize::from(bytes.get(ip_len + 12)? >> 4) * 4, 16),
        Protocol::UDP => (ip_len + 8, 6),
        _ => return None,
    };
    let payload = bytes.get(headers..)?;
    let size = if offload.is_super_packet() { usize::from(offload.gso_size).max(1) } else { payload.len().max(1) };
    let count = payload.len().div_ceil(size).max(1);
    let piece = |at: usize| {
        let part = &payload[at * size..payload.len().min((at + 1) * size)];
        let mut packet = [&bytes[..headers], part].concat();
        if is_ipv4 {
            let id = be16(bytes, 4)?.wrapping_add(at as u16);
            let len = packet.len() as u16;
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            put_checksum(&mut packet[..ip_len], 10, None);
        } else {
            let len = (packet.len() - ip_len) as u16;
            packet[4..6].copy_from_slice(&len.to_be_bytes());
        }
        if Protocol(protocol) == Protocol::UDP {
            let len = (packet.len() - ip_len) as u16;
            packet[ip_len + 4..ip_len + 6].copy_from_slice(&len.to_be_bytes());
        } else {
            let number = u32::from_be_bytes(*bytes.get(ip_len + 4..)?.first_chunk()?);
            let number = number.wrapping_add((at * size) as u32);
            packet[ip_len + 4..ip_len + 8].copy_from_slice(&number.to_be_bytes());
            if at + 1 < count {
                packet[ip_len + 13] &= !FIN_AND_PUSH;
            }
        }
        let (src, dst) = ends(bytes, is_ipv4)?;
        put_checksum(&mut packet[ip_len..], checksum_at, Some((src, dst, Protocol(protocol))));
        Some(packet)
    };
    (0..count).map(piece).collect()
}

fn ends(bytes: &[u8], is_ipv4: bool) -> Option<(IpAddr, IpAddr)> {
    Some(if is_ipv4 {
        let at = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?));
        (at(12)?, at(16)?)
    } else {
        let at = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<16>()?));
        (at(8)?, at(24)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Packet, build};

    #[test]
    fn a_super_packet_is_cut_into_packets_that_are_right() {
        for (src, dst) in [("10.1.1.4:1000", "10.2.1.10:443"), ("[fd00::4]:1000", "[fd00::5]:443")] {
            let ends = (src.parse().expect("an address"), dst.parse().expect("an address"));
            let payload: Vec<u8> = (0..3000_u32).map(|byte| byte as u8).collect();
            let mut whole = build::tcp(ends.0, ends.1, 0x18, &payload);
            let ip_len = whole.len() - 3020;
            let kind = if ip_len == 20 { Offload::GSO_TCPV4 } else { Offload::GSO_TCPV6 };
            let offload = Offload {
                flags: Offload::NEEDS_CSUM,
                gso_type: kind,
                hdr_len: 0,
                gso_size: 1400,
                csum_start: ip_len as u16,
                csum_offset: 16,
            };
            let mut packets = cut(&whole, &offload);
            assert_eq!(packets.iter().map(|packet| packet.len() - ip_len - 20).collect::<Vec<_>>(), [1400, 1400, 200]);
            let joined: Vec<u8> = packets.iter().flat_map(|packet| &packet[ip_len + 20..]).copied().collect();
            assert_eq!(joined, payload);
            // A packet with a wrong checksum or length is refused.
            assert!(packets.iter_mut().all(|packet| Packet::parse(packet, Offload::default()).is_ok()));
            assert_eq!(packets.iter().map(|packet| packet[ip_len + 13]).collect::<Vec<_>>(), [0x10, 0x10, 0x18]);
            let numbers = packets.iter().map(|packet| u32::from_be_bytes([4, 5, 6, 7].map(|at| packet[ip_len + at])));
            let numbers: Vec<_> = numbers.collect();
            assert_eq!(numbers, [0, 1400, 2800].map(|at| numbers[0].wrapping_add(at)), "sequence numbers");
            // Not a super-packet: as it is.
            assert_eq!(cut(&whole, &Offload::default()), [whole.clone()]);
            whole.truncate(10);
            assert_eq!(cut(&whole, &offload), [whole]);
        }
    }
}

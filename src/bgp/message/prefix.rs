//! Prefixes as BGP writes them: a length in bits, then as many bytes as hold it (RFC 4271 section 4.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use ipnet::IpNet;

use super::family::Family;
use super::reader::Reader;

/// All prefixes of a field; None if one is too long for the family or the field ends within it.
/// Bits behind the length carry nothing (RFC 4271 section 4.3): they are cleared. A prefix of multicast addresses is no
/// unicast route and is passed over (RFC 4271 section 6.3).
pub(super) fn decode(field: &[u8], family: Family) -> Option<Vec<IpNet>> {
    let mut field = Reader::new(field);
    let mut prefixes = vec![];
    while !field.is_empty() {
        let len = field.u8().filter(|len| *len <= family.bits())?;
        let bytes = field.take(usize::from(len).div_ceil(8))?;
        let prefix = IpNet::new(address(bytes, family), len).ok()?.trunc();
        if !prefix.addr().is_multicast() {
            prefixes.push(prefix);
        }
    }
    Some(prefixes)
}

fn address(bytes: &[u8], family: Family) -> IpAddr {
    let mut octets = [0; 16];
    octets[..bytes.len()].copy_from_slice(bytes);
    match family {
        Family::Ipv4 => Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        Family::Ipv6 => Ipv6Addr::from(octets).into(),
    }
}

pub(super) fn encode(prefix: &IpNet, out: &mut BytesMut) {
    out.put_u8(prefix.prefix_len());
    let bytes = usize::from(prefix.prefix_len()).div_ceil(8);
    match prefix.network() {
        IpAddr::V4(address) => out.put_slice(&address.octets()[..bytes]),
        IpAddr::V6(address) => out.put_slice(&address.octets()[..bytes]),
    }
}

/// Bytes that [`encode`] writes.
pub(super) fn encoded_len(prefix: &IpNet) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}

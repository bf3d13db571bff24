//! IPv4 (RFC 791): the fixed header, options, fragmentation fields and the header checksum.

use std::net::{IpAddr, Ipv4Addr};

use super::checksum::Sum;
use super::{Fragment, IpHeader, ParseError, Protocol};

pub(super) const HEADER_LEN: usize = 20;

/// Where the fields are.
pub(super) mod field {
    pub(in crate::wire) const TTL: usize = 8;
    pub(in crate::wire) const CHECKSUM: usize = 10;
    pub(in crate::wire) const SRC: usize = 12;
    pub(in crate::wire) const DST: usize = 16;
}

/// The fixed header without checks of lengths or checksum: for packets quoted in ICMP errors, which are cut short.
pub(super) struct Fixed<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Fixed<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().filter(|fixed| fixed[0] >> 4 == 4).map(Self)
    }
    #[inline]
    pub(super) const fn header_len(&self) -> usize {
        (self.0[0] & 0x0f) as usize * 4
    }
    #[inline]
    const fn total_len(&self) -> usize {
        u16::from_be_bytes([self.0[2], self.0[3]]) as usize
    }
    #[inline]
    pub(super) fn fragment(&self) -> Fragment {
        let flags_and_offset = u16::from_be_bytes([self.0[6], self.0[7]]);
        Fragment {
            id: u32::from(u16::from_be_bytes([self.0[4], self.0[5]])),
            offset: u32::from(flags_and_offset & 0x1fff) * 8,
            more: flags_and_offset & 0x2000 != 0,
        }
    }
    #[inline]
    pub(super) const fn protocol(&self) -> Protocol {
        Protocol(self.0[9])
    }
    #[inline]
    pub(super) const fn src(&self) -> IpAddr {
        let [.., a, b, c, d, _, _, _, _] = *self.0;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }
    #[inline]
    pub(super) const fn dst(&self) -> IpAddr {
        let [.., a, b, c, d] = *self.0;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }
}

/// `super_packet`: the total length may be zero, as the kernel writes it when 16 bits do not hold it (BIG TCP).
#[expect(clippy::inline_always, reason = "the result then stays in registers")]
#[inline(always)]
pub(super) fn parse(bytes: &[u8], super_packet: bool) -> Result<IpHeader, ParseError> {
    let fixed = Fixed::new(bytes).ok_or(ParseError::Malformed)?;
    let header_len = fixed.header_len();
    let end = match fixed.total_len() {
        0 if super_packet => bytes.len(),
        total_len => total_len,
    };
    let options = bytes.get(HEADER_LEN..header_len).ok_or(ParseError::Malformed)?;
    if end < header_len || end > bytes.len() || !options_are_sound(options) {
        return Err(ParseError::Malformed);
    }
    let fragment = fixed.fragment().check(end - header_len)?;
    let sum = Sum::of(fixed.0);
    let sum = if options.is_empty() { sum } else { sum.plus(Sum::of(options)) };
    if sum != Sum::VALID {
        return Err(ParseError::BadChecksum);
    }
    Ok(IpHeader {
        src: fixed.src(),
        dst: fixed.dst(),
        protocol: fixed.protocol(),
        transport_at: header_len,
        end,
        fragment,
        source_routed: false,
    })
}

/// Whether each option ends within the header. The guests handle their contents.
fn options_are_sound(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            END => return true,
            NO_OPERATION => rest,
            _ => match rest.first() {
                Some(&len) if len >= 2 => match options.get(usize::from(len)..) {
                    Some(next) => next,
                    None => return false,
                },
                _ => return false,
            },
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_end_within_the_header() {
        assert!(options_are_sound(&[]));
        assert!(options_are_sound(&[1, 7, 3, 4]));
        assert!(options_are_sound(&[0, 9, 9, 9]), "bytes after the end of the list are padding");
        assert!(!options_are_sound(&[7, 5, 4, 0]));
        assert!(!options_are_sound(&[1, 1, 1, 7]), "no length");
        assert!(!options_are_sound(&[7, 1, 0, 0]), "shorter than itself");
    }
}

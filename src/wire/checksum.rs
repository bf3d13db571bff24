//! The Internet checksum: sums (RFC 1071), the pseudo-header, and edits without recomputation (RFC 1624).
//!
//! One idea: a [`Sum`] is a folded one's-complement sum, never inverted. A full checksum field holds the inverted sum,
//! a partial one (`NEEDS_CSUM`) the sum itself, so both are edited by the same addition.

use std::net::IpAddr;

use super::Protocol;

/// A folded one's-complement sum of big-endian 16-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum(u16);

impl Sum {
    /// What correct bytes sum up to, their own checksum field included.
    pub(super) const VALID: Self = Self(0xffff);

    /// Of bytes at an even offset; an odd last byte counts as padded with zero.
    ///
    /// One's-complement addition works in any byte order and width: four bytes at a time, swapped once at the end.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            total += u64::from(u32::from_ne_bytes(last));
        }
        Self(u16::from_be(fold(total)))
    }

    pub(super) const fn of_word(word: u16) -> Self {
        Self(word)
    }

    #[inline]
    pub(super) fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of(&v4.octets()),
            IpAddr::V6(v6) => Self::of(&v6.octets()),
        }
    }

    /// Of the pseudo-header that TCP, UDP and ICMPv6 checksums cover besides their own bytes.
    #[inline]
    pub(super) fn of_pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> Self {
        let words = [len as u64 >> 16, len as u64 & 0xffff, u64::from(protocol.0)];
        Self(fold(words.iter().sum())).plus(Self::of_address(src)).plus(Self::of_address(dst))
    }

    #[inline]
    pub(super) fn plus(self, other: Self) -> Self {
        Self(fold(u64::from(self.0) + u64::from(other.0)))
    }

    /// What to add to a sum when words that sum up to `old` become words that sum up to `new`.
    #[inline]
    pub(super) fn change(old: Self, new: Self) -> Self {
        Self(!old.0).plus(new)
    }

    /// The field of a complete checksum.
    pub(super) const fn full(self) -> u16 {
        !self.0
    }

    /// The field of a checksum that the device still has to complete.
    pub(super) const fn partial(self) -> u16 {
        self.0
    }

    pub(super) const fn from_full(field: u16) -> Self {
        Self(!field)
    }

    pub(super) const fn from_partial(field: u16) -> Self {
        Self(field)
    }
}

#[inline]
fn fold(total: u64) -> u16 {
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    ((total >> 16) + (total & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071's own example, and the odd byte that it pads.
    #[test]
    fn sums_as_in_rfc_1071() {
        assert_eq!(Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), Sum(0xddf2));
        assert_eq!(Sum::of(&[0x12, 0x34, 0x56]), Sum(0x1234 + 0x5600));
        assert_eq!(Sum::of(&[]), Sum(0));
    }

    #[test]
    fn long_runs_of_ones_carry_round() {
        assert_eq!(Sum::of(&vec![0xff; 65_535]), Sum::of(&[0xff, 0x00]));
        assert_eq!(Sum::of(&vec![0xff; 65_536]), Sum(0xffff));
    }

    /// RFC 1624 section 4: the example that the older equation gets wrong.
    #[test]
    fn edits_as_in_rfc_1624() {
        let change = Sum::change(Sum::of_word(0x5555), Sum::of_word(0x3285));
        assert_eq!(Sum::from_full(0xdd2f).plus(change).full(), 0x0000);
    }
}

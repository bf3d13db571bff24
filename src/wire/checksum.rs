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
    /// The sum of correct bytes, including their own checksum field.
    pub(super) const VALID: Self = Self(0xffff);

    /// The sum of no bytes: adding it changes nothing.
    pub(super) const NOTHING: Self = Self(0);

    /// The sum of bytes at an even offset; an odd last byte counts as padded with zero.
    ///
    /// One's-complement addition works in any byte order and width: eight bytes at a time, swapped once at the end.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let total: u128 = words.iter().map(|word| u128::from(u64::from_le_bytes(*word))).sum();
        let total = total + u128::from(last_word(bytes, rest));
        let (sum, carry) = (total as u64).overflowing_add((total >> 64) as u64);
        Self(fold(sum + u64::from(carry)).swap_bytes())
    }

    pub(super) const fn of_word(word: u16) -> Self {
        Self(word)
    }

    #[inline]
    pub(super) fn of_address(address: IpAddr) -> Self {
        Self(fold(word_of(address)))
    }

    /// The sum of the pseudo-header, which TCP, UDP and ICMPv6 checksums cover besides their own bytes.
    #[inline]
    pub(super) fn of_pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> Self {
        Self(fold(len as u64 + u64::from(protocol.0) + word_of(src) + word_of(dst)))
    }

    #[inline]
    pub(super) fn plus(self, other: Self) -> Self {
        Self(fold(u64::from(self.0) + u64::from(other.0)))
    }

    /// The difference to add to a sum when words with the sum `old` are replaced by words with the sum `new`.
    #[inline]
    pub(super) fn change(old: Self, new: Self) -> Self {
        Self(!old.0).plus(new)
    }

    /// The value of a complete checksum's field.
    pub(super) const fn full(self) -> u16 {
        !self.0
    }

    /// The value of a checksum field that the device still has to complete.
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

/// An address's part of a sum: no more than 35 bits.
#[inline]
fn word_of(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let (high, low) = ((v6.to_bits() >> 64) as u64, v6.to_bits() as u64);
            (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
        }
    }
}

/// The last bytes, padded with zeros.
#[inline]
fn last_word(bytes: &[u8], end: &[u8]) -> u64 {
    if end.is_empty() {
        return 0;
    }
    if let Some(last) = bytes.last_chunk() {
        return u64::from_le_bytes(*last) >> (8 * (8 - end.len()));
    }
    let mut padded = [0; 8];
    padded[..end.len()].copy_from_slice(end);
    u64::from_le_bytes(padded)
}

/// Folds a sum to sixteen bits. A number and its own halves exchanged add up to their sum in the upper half, including
/// the carry.
#[inline]
const fn fold(total: u64) -> u16 {
    let halves = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    (halves.wrapping_add(halves.rotate_left(16)) >> 16) as u16
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

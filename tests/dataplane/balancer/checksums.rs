//! Checksums that a guest's kernel leaves to its device.

use super::*;

/// Where a transport's checksum stands, in the packet and in its header.
fn checksum_at(bytes: &[u8]) -> (usize, usize) {
    let offset = if bytes[9] == 6 { 16 } else { 6 };
    (20 + offset, offset)
}

/// The sum of 16-bit words, folded.
fn folded(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum >> 16) as u16 + sum as u16
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0))).sum()
}

/// As a guest's kernel leaves it to its device: the field has the sum of the pseudo-header, not inverted.
pub(super) fn partial(mut bytes: Vec<u8>) -> (Vec<u8>, Offload) {
    let (at, offset) = checksum_at(&bytes);
    let pseudo = words(&bytes[12..20]) + u32::from(bytes[9]) + (bytes.len() as u32 - 20);
    bytes[at..at + 2].copy_from_slice(&folded(pseudo).to_be_bytes());
    (bytes, Offload { flags: Offload::NEEDS_CSUM, csum_start: 20, csum_offset: offset as u16, ..Offload::default() })
}

/// As the receiving device completes it.
pub(super) fn completed(mut bytes: Vec<u8>, offload: Offload) -> Vec<u8> {
    assert_eq!((offload.flags, offload.csum_start), (Offload::NEEDS_CSUM, 20));
    let (at, _) = checksum_at(&bytes);
    let sum = !folded(u32::from(folded(words(&bytes[20..]))));
    // UDP has no checksum of zero.
    let sum = if sum == 0 && bytes[9] == 17 { u16::MAX } else { sum };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

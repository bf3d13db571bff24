//! Where a fragment stands in its datagram, the same for both IP versions.

use super::ParseError;

/// Where a fragment stands in its datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// IPv4 identification (16 bits) or IPv6 fragment identification.
    pub id: u32,
    /// In bytes.
    pub offset: u32,
    pub more: bool,
}

impl Fragment {
    /// The largest datagram that fragments can form.
    const DATAGRAM_MAX: usize = 65_535;

    /// A whole datagram is no fragment, not even with an IPv6 fragment header (RFC 6946). A real one has a payload, in
    /// units of eight bytes unless it is the last, and does not reach past the largest datagram.
    #[inline]
    pub(super) fn check(self, payload_len: usize) -> Result<Option<Self>, ParseError> {
        if self.offset == 0 && !self.more {
            return Ok(None);
        }
        let ragged = self.more && !payload_len.is_multiple_of(8);
        if payload_len == 0 || ragged || self.offset as usize + payload_len > Self::DATAGRAM_MAX {
            return Err(ParseError::Malformed);
        }
        Ok(Some(self))
    }
}

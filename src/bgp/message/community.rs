//! Communities: marks on routes, some with a meaning of their own (RFC 1997).

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Not to leave our autonomous system.
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// Not to be passed on at all.
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not to leave our member of a confederation: we are in none, so as [`Self::NO_EXPORT`].
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);

    pub const fn new(high: u16, low: u16) -> Self {
        Self((high as u32) << 16 | low as u32)
    }

    /// None unless there are some, and whole ones (RFC 7606 section 7.8).
    pub(super) fn decode(value: &[u8]) -> Option<Vec<Self>> {
        let (chunks, rest) = value.as_chunks();
        (rest.is_empty() && !chunks.is_empty())
            .then(|| chunks.iter().map(|chunk| Self(u32::from_be_bytes(*chunk))).collect())
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

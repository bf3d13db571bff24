//! AS_PATH: which autonomous systems a route came through (RFC 4271 section 5.1.2), and how it passes speakers that
//! know two-byte numbers only (RFC 6793).

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::reader::Reader;

/// An autonomous system's number; 0 is reserved (RFC 7607).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// Stands for a number that two bytes do not hold.
    pub const TRANS: Self = Self(23456);

    pub(super) fn fits_two_bytes(self) -> bool {
        u16::try_from(self.0).is_ok()
    }

    pub(super) fn two_byte(self) -> u16 {
        u16::try_from(self.0).unwrap_or(Self::TRANS.0 as u16)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Members of one segment: their number has one byte.
const SEGMENT_MAX: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    Set = 1,
    Sequence = 2,
}

/// One to 255 systems.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Segment {
    kind: SegmentKind,
    asns: Vec<Asn>,
}

impl Segment {
    /// What it counts in [`AsPath::length`].
    const fn weight(&self) -> usize {
        match self.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => self.asns.len(),
        }
    }
}

/// Nearest first; empty for what the peer originates within our own system.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath(Vec<Segment>);

impl AsPath {
    /// One sequence, nearest first.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let mut path = Self::default();
        let asns: Vec<_> = asns.into_iter().collect();
        for chunk in asns.chunks(SEGMENT_MAX) {
            path.push(SegmentKind::Sequence, chunk.to_vec());
        }
        path
    }

    /// Appends a segment of 1 to 255 members; others are left out.
    pub fn push(&mut self, kind: SegmentKind, asns: Vec<Asn>) {
        if (1..=SEGMENT_MAX).contains(&asns.len()) {
            self.0.push(Segment { kind, asns });
        }
    }

    /// What route selection compares: a set counts as one (RFC 4271 section 9.1.2.2).
    pub fn length(&self) -> usize {
        self.0.iter().map(Segment::weight).sum()
    }

    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|member| member == asn)
    }

    /// All members, those of sets too.
    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.0.iter().flat_map(|segment| segment.asns.iter().copied())
    }

    /// The neighbour that it came from: None if empty or begun by a set.
    pub fn first(&self) -> Option<Asn> {
        let first = self.0.first()?;
        (first.kind == SegmentKind::Sequence).then(|| first.asns.first().copied()).flatten()
    }

    /// The path with `asn` in front, so many times.
    #[must_use]
    pub fn prepended(&self, asn: Asn, times: usize) -> Self {
        let mut asns = vec![asn; times];
        let mut rest = self.0.as_slice();
        if let Some((first, others)) = rest.split_first()
            && first.kind == SegmentKind::Sequence
        {
            asns.extend(&first.asns);
            rest = others;
        }
        let mut path = Self::sequence(asns);
        path.0.extend_from_slice(rest);
        path
    }

    /// The path without these numbers.
    #[must_use]
    pub fn without(mut self, left_out: &[Asn]) -> Self {
        for segment in &mut self.0 {
            segment.asns.retain(|asn| !left_out.contains(asn));
        }
        self.0.retain(|segment| !segment.asns.is_empty());
        self
    }

    /// None if malformed (RFC 7606 section 7.2): an unknown kind of segment, one without members or past the end, or
    /// the number 0 (RFC 7607). Confederations' segments are as unknown: we are in none (RFC 5065 section 5.3).
    pub(super) fn decode(value: &[u8], four_byte: bool) -> Option<Self> {
        let mut value = Reader::new(value);
        let mut path = Self::default();
        while !value.is_empty() {
            let kind = match value.u8()? {
                1 => SegmentKind::Set,
                2 => SegmentKind::Sequence,
                _ => return None,
            };
            let count = value.u8()?;
            let asn = |_| if four_byte { value.u32() } else { value.u16().map(u32::from) };
            let asns: Vec<_> = (0..count).map(asn).map(|asn| asn.map(Asn)).collect::<Option<_>>()?;
            if asns.is_empty() || asns.contains(&Asn(0)) {
                return None;
            }
            path.push(kind, asns);
        }
        Some(path)
    }

    pub(super) fn encode(&self, four_byte: bool, out: &mut BytesMut) {
        for segment in &self.0 {
            out.put_slice(&[segment.kind as u8, segment.asns.len() as u8]);
            for asn in &segment.asns {
                if four_byte {
                    out.put_u32(asn.0);
                } else {
                    out.put_u16(asn.two_byte());
                }
            }
        }
    }

    /// Whether two bytes hold every number.
    pub(super) fn fits_two_bytes(&self) -> bool {
        self.asns().all(Asn::fits_two_bytes)
    }

    /// The path as it was before two-byte speakers rewrote it: `self` is what they made of it, `four_byte` what
    /// AS4_PATH kept (RFC 6793 section 4.2.3). They prepend to the former only, so its surplus goes in front of the
    /// latter.
    pub(super) fn restored(&self, four_byte: &Self) -> Self {
        let Some(mut surplus) = self.length().checked_sub(four_byte.length()) else { return self.clone() };
        let mut path = Self::default();
        for segment in &self.0 {
            let kept = match segment.kind {
                _ if surplus == 0 => break,
                SegmentKind::Set => segment.asns.len(),
                SegmentKind::Sequence => segment.asns.len().min(surplus),
            };
            surplus -= segment.weight().min(surplus);
            path.push(segment.kind, segment.asns[..kept].to_vec());
        }
        path.0.extend_from_slice(&four_byte.0);
        path
    }
}

/// As Azure prints it: joined by `-`; a set in braces.
impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |asns: &[Asn], by| asns.iter().map(Asn::to_string).collect::<Vec<_>>().join(by);
        let segments = self.0.iter().map(|segment| match segment.kind {
            SegmentKind::Set => format!("{{{}}}", joined(&segment.asns, ",")),
            SegmentKind::Sequence => joined(&segment.asns, "-"),
        });
        f.write_str(&segments.collect::<Vec<_>>().join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(asns: &[u32]) -> AsPath {
        AsPath::sequence(asns.iter().copied().map(Asn))
    }

    #[test]
    fn a_set_counts_as_one() {
        let mut path = path(&[65001, 65002]);
        path.push(SegmentKind::Set, vec![Asn(1), Asn(2), Asn(3)]);
        assert_eq!(path.length(), 3);
        assert_eq!(path.to_string(), "65001-65002-{1,2,3}");
    }

    #[test]
    fn prepending_past_a_full_segment_begins_another() {
        let long = path(&[7; 255]).prepended(Asn(9), 2);
        assert_eq!(long.length(), 257);
        assert_eq!(long.first(), Some(Asn(9)));
        let mut bytes = BytesMut::new();
        long.encode(true, &mut bytes);
        assert_eq!(AsPath::decode(&bytes, true), Some(long));
    }

    /// RFC 6793 section 4.2.3.
    #[test]
    fn two_byte_speakers_on_the_way() {
        let seen = path(&[65010, 23456, 23456]);
        assert_eq!(seen.restored(&path(&[70000, 80000])), path(&[65010]).joined(&path(&[70000, 80000])));
        assert_eq!(seen.restored(&path(&[1, 2, 3, 4])), seen, "a longer AS4_PATH is not believed");
        assert_eq!(seen.restored(&seen).to_string(), seen.to_string());
    }

    impl AsPath {
        fn joined(&self, other: &Self) -> Self {
            Self([&self.0[..], &other.0].concat())
        }
    }
}

//! The translations of a packet on its way, in their order.
//!
//! One idea: a translation is known by the packet's tuple before and after it. So what a packet was between two of them is all
//! that has to be kept beside its two ends. Those that only the tables decide may count as one.

use crate::wire::Tuple;

use super::{MappingSide, NicId};

/// A mapping that a packet followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedMapping {
    /// From which side the packet met it.
    pub side: MappingSide,
    /// Whose mapping it is.
    pub nic: NicId,
}

/// What a packet was, and by which mappings it became another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Trail {
    /// As its sender sends it.
    pub(in crate::dataplane) sent: Tuple,
    /// After the first translation, if there is a second.
    pub(in crate::dataplane) between: Option<Tuple>,
    /// After all of them.
    now: Tuple,
    /// Of the first translation and of the second; None if the tables alone decide it.
    pub(in crate::dataplane) mappings: [Option<UsedMapping>; 2],
    is_translated: bool,
}

impl Trail {
    pub(in crate::dataplane) const fn of(sent: Tuple) -> Self {
        Self { sent, between: None, now: sent, mappings: [None; 2], is_translated: false }
    }

    /// After one more translation. None if that makes more than two which cannot count as one.
    pub(in crate::dataplane) fn then(self, now: Tuple, by: Option<UsedMapping>) -> Option<Self> {
        let Self { between, mappings: [first, second], .. } = self;
        let last = if between.is_some() { second } else { first };
        if by.is_none() && (now == self.now || last.is_none()) {
            return Some(Self { now, is_translated: self.is_translated || now != self.now, ..self });
        }
        if !self.is_translated {
            return Some(Self { now, mappings: [by, None], is_translated: true, ..self });
        }
        let fits = between.is_none();
        fits.then_some(Self { now, between: Some(self.now), mappings: [first, by], ..self })
    }

    /// After all of them.
    pub(in crate::dataplane) const fn now(&self) -> Tuple {
        self.now
    }

    /// Whether the tables alone decided what it became.
    pub(in crate::dataplane) fn is_by_tables(&self) -> bool {
        self.mappings == [None; 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;

    fn tuple(last: u8) -> Tuple {
        let (src, dst) = ([10, 0, 0, last].into(), [10, 0, 1, 4].into());
        Tuple { src, dst, protocol: Protocol::UDP, src_port: 1, dst_port: 2 }
    }

    const ONE: Option<UsedMapping> = Some(UsedMapping { side: MappingSide::Inside, nic: NicId(1) });
    const TWO: Option<UsedMapping> = Some(UsedMapping { side: MappingSide::Outside, nic: NicId(2) });

    /// Translations one after the other, each to another tuple; what is kept of them.
    fn kept(all: &[Option<UsedMapping>]) -> Option<([Option<UsedMapping>; 2], Option<Tuple>)> {
        let mut steps = (1..).map(tuple).zip(all);
        let trail = steps.try_fold(Trail::of(tuple(0)), |trail, (now, by)| trail.then(now, *by))?;
        assert_eq!(trail.sent, tuple(0));
        assert_eq!(trail.is_by_tables(), all.iter().all(Option::is_none));
        Some((trail.mappings, trail.between))
    }

    #[test]
    fn what_is_between_two_translations_is_kept() {
        assert_eq!(kept(&[]), Some(([None; 2], None)));
        assert_eq!(kept(&[None, None]), Some(([None; 2], None)), "tables may do all at once");
        assert_eq!(kept(&[ONE]), Some(([ONE, None], None)));
        assert_eq!(kept(&[ONE, TWO]), Some(([ONE, TWO], Some(tuple(1)))));
        assert_eq!(kept(&[ONE, None, None]), Some(([ONE, None], Some(tuple(1)))));
        assert_eq!(kept(&[None, None, TWO]), Some(([None, TWO], Some(tuple(2)))));
        for more in [[ONE, TWO, None], [None, ONE, None], [ONE, None, TWO], [ONE, TWO, ONE]] {
            assert_eq!(kept(&more), None, "{more:?}");
        }
    }

    /// LB-32: an appliance's mapping leaves a packet as it is.
    #[test]
    fn a_mapping_may_change_nothing() {
        let trail = Trail::of(tuple(0)).then(tuple(0), ONE).expect("one");
        assert_eq!((trail.mappings, trail.between), ([ONE, None], None));
        let trail = trail.then(tuple(0), None).and_then(|trail| trail.then(tuple(5), None)).expect("two");
        assert_eq!((trail.mappings, trail.between), ([ONE, None], Some(tuple(0))));
        assert_eq!(trail.then(tuple(5), None), Some(trail), "no translation");
    }
}

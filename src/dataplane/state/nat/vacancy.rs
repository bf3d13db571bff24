//! The ports of a range that may be free towards one destination, where random draws find few.
//!
//! One idea: a bit says that a port may be free, and summaries say where such bits are. So the next one after any port
//! is found in a fixed number of steps. Bits err one way only: a port that looks free may be taken, and the search that
//! finds it taken clears its bit. When a mapping ends, its port's bit is set. So no step ever has to go through all
//! ports. It costs a bit a port, and only while they are scarce.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::mapping::{Address, End, Remote};

/// Most bits that one shard keeps: 128 KiB. Beyond it ports are only drawn. A table of a million mappings that
/// exhausts all its ports keeps a million bits in all.
const BITS_MAX: usize = 1 << 20;
/// Ports tried for one flow. So few ports that look free are taken that all these tries fail less than once in a
/// million; each failed try improves the next.
pub(super) const LOOKS: u32 = 128;

const WORD: usize = u64::BITS as usize;

/// A range of ports of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range<A> {
    pub(super) address: A,
    pub(super) first: u16,
    pub(super) count: u16,
}

/// The vacancies of one shard, by public address and destination.
#[derive(Debug)]
pub(super) struct Vacancies<A> {
    scarce: HashMap<(A, Remote<A>), Vec<Vacant>, RandomState>,
    bits: usize,
    /// Kept for the next ones.
    spare: Vec<Bits>,
}

/// One range's.
#[derive(Debug)]
struct Vacant {
    first: u16,
    bits: Bits,
}

impl<A: Address> Vacancies<A> {
    pub(super) fn new() -> Self {
        Self { scarce: HashMap::default(), bits: 0, spare: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scarce.is_empty()
    }

    /// Whether the ports of a range are scarce towards a destination.
    pub(super) fn has(&self, range: Range<A>, place: Remote<A>) -> bool {
        let ranges = self.scarce.get(&(range.address, place));
        ranges.is_some_and(|ranges| ranges.iter().any(|vacant| vacant.is_of(range)))
    }

    /// Marks them as scarce. False if there is no room.
    pub(super) fn begin(&mut self, range: Range<A>, place: Remote<A>) -> bool {
        let count = usize::from(range.count);
        if self.bits + count > BITS_MAX {
            return false;
        }
        self.bits += count;
        let fits = |bits: &Bits| bits.count == range.count;
        let kept = self.spare.iter().position(fits).map(|index| self.spare.swap_remove(index));
        let mut bits = kept.unwrap_or_else(|| Bits::none(range.count));
        bits.set_all();
        self.scarce.entry((range.address, place)).or_default().push(Vacant { first: range.first, bits });
        true
    }

    /// Takes a port for which `is_free` holds, trying at most [`LOOKS`] of those that may be free.
    pub(super) fn take(
        &mut self,
        range: Range<A>,
        place: Remote<A>,
        random: u64,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let ranges = self.scarce.get_mut(&(range.address, place))?;
        let vacant = ranges.iter_mut().find(|vacant| vacant.is_of(range))?;
        let mut from = (((random >> 32) * u64::from(range.count)) >> 32) as usize;
        for _ in 0..LOOKS {
            from = vacant.bits.next_from(from)?;
            vacant.bits.clear(from);
            let port = range.first + from as u16;
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }

    /// A public port is free again towards a destination.
    pub(super) fn give(&mut self, public: End<A>, place: Remote<A>) {
        let Some(ranges) = self.scarce.get_mut(&(public.address, place)) else { return };
        for vacant in ranges.iter_mut() {
            if let Some(nth) = public.port.checked_sub(vacant.first).filter(|nth| *nth < vacant.bits.count) {
                vacant.bits.set(usize::from(nth));
            }
        }
        // All ports that were found taken are free again.
        for vacant in ranges.extract_if(.., |vacant| vacant.bits.is_full()) {
            self.bits -= usize::from(vacant.bits.count);
            self.spare.push(vacant.bits);
        }
        if ranges.is_empty() {
            self.scarce.remove(&(public.address, place));
        }
        self.spare.truncate(SPARE);
    }
}

/// Sets of bits kept for reuse.
const SPARE: usize = 4;

impl Vacant {
    fn is_of<A: Address>(&self, range: Range<A>) -> bool {
        (self.first, self.bits.count) == (range.first, range.count)
    }
}

/// A set of numbers below a count, in three levels: a bit of an upper level says that the word below has any.
#[derive(Debug)]
struct Bits {
    count: u16,
    left: u16,
    top: u64,
    middle: [u64; 16],
    low: Box<[u64]>,
}

impl Bits {
    fn none(count: u16) -> Self {
        let words = usize::from(count).div_ceil(WORD);
        Self { count, left: 0, top: 0, middle: [0; 16], low: vec![0; words].into() }
    }

    fn set_all(&mut self) {
        self.left = self.count;
        let words = self.low.len();
        fill(&mut self.low, self.count.into());
        fill(&mut self.middle, words);
        fill(std::slice::from_mut(&mut self.top), words.div_ceil(WORD));
    }

    fn is_full(&self) -> bool {
        self.left == self.count
    }

    fn set(&mut self, nth: usize) {
        let (word, bit) = (nth / WORD, 1 << (nth % WORD));
        self.left += u16::from(self.low[word] & bit == 0);
        self.low[word] |= bit;
        self.middle[word / WORD] |= 1 << (word % WORD);
        self.top |= 1 << (word / WORD);
    }

    fn clear(&mut self, nth: usize) {
        let (word, bit) = (nth / WORD, 1 << (nth % WORD));
        self.left -= u16::from(self.low[word] & bit != 0);
        self.low[word] &= !bit;
        if self.low[word] == 0 {
            self.middle[word / WORD] &= !(1 << (word % WORD));
        }
        if self.middle[word / WORD] == 0 {
            self.top &= !(1 << (word / WORD));
        }
    }

    /// The first number from here on, or else the first of all.
    fn next_from(&self, nth: usize) -> Option<usize> {
        self.at_least(nth).or_else(|| self.at_least(0))
    }

    fn at_least(&self, nth: usize) -> Option<usize> {
        let word = nth / WORD;
        if let Some(bit) = lowest(self.low[word], nth % WORD) {
            return Some(word * WORD + bit);
        }
        let next = self.word_after(word)?;
        lowest(self.low[next], 0).map(|bit| next * WORD + bit)
    }

    fn word_after(&self, word: usize) -> Option<usize> {
        let (group, from) = ((word + 1) / WORD, (word + 1) % WORD);
        if let Some(bit) = self.middle.get(group).and_then(|middle| lowest(*middle, from)) {
            return Some(group * WORD + bit);
        }
        let next = lowest(self.top, group + 1)?;
        lowest(self.middle[next], 0).map(|bit| next * WORD + bit)
    }
}

/// Sets the first bits, and no others.
fn fill(words: &mut [u64], bits: usize) {
    let (whole, part) = (bits / WORD, bits % WORD);
    words.fill(0);
    words[..whole].fill(u64::MAX);
    if part > 0 {
        words[whole] = (1 << part) - 1;
    }
}

/// The lowest set bit at or above one position.
const fn lowest(word: u64, from: usize) -> Option<usize> {
    let rest = if from < WORD { word & (u64::MAX << from) } else { 0 };
    if rest == 0 { None } else { Some(rest.trailing_zeros() as usize) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Compared with an ordered set that is searched one by one.
        #[test]
        fn bits_are_a_set(
            count in prop_oneof![1..200_u16, 4_000..4_200_u16, 64_000..=u16::MAX],
            cleared in prop::collection::vec((any::<u16>(), any::<bool>()), 0..400),
            asked in prop::collection::vec(any::<u16>(), 1..20),
        ) {
            let mut bits = Bits::none(count);
            bits.set_all();
            let mut all: BTreeSet<usize> = (0..usize::from(count)).collect();
            // Whole stretches, so that words and groups of them become empty.
            for (from, clears) in cleared {
                let from = usize::from(from % count);
                for nth in from..(from + 700).min(usize::from(count)) {
                    if clears { bits.clear(nth); all.remove(&nth); } else { bits.set(nth); all.insert(nth); }
                }
            }
            prop_assert_eq!(usize::from(bits.left), all.len());
            for nth in asked.into_iter().map(|nth| usize::from(nth % count)) {
                let expected = all.range(nth..).next().or(all.first()).copied();
                prop_assert_eq!(bits.next_from(nth), expected);
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_when_all_have_gone() {
        let place = |port| Remote { address: [198, 18, 0, 1].into(), port, protocol: crate::wire::Protocol::TCP };
        let range = Range { address: std::net::Ipv4Addr::new(203, 0, 113, 1), first: 1024, count: 64_000 };
        let mut vacancies = Vacancies::new();
        let begun = (0..1_000).take_while(|port| vacancies.begin(range, place(*port))).count();
        assert_eq!(begun, BITS_MAX / 64_000);
        let taken = vacancies.take(range, place(0), 7, |_| true).unwrap();
        assert!(vacancies.has(range, place(0)));
        vacancies.give(End { address: range.address, port: taken }, place(0));
        assert!(!vacancies.has(range, place(0)) && vacancies.has(range, place(1)));
        assert!(vacancies.begin(range, place(2_000)), "there is room again");
    }
}

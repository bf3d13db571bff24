//! When to try again: later each time, and never in step with others (RFC 4271 section 10).
//!
//! Chance comes from a seed, so that a run can be repeated.

use std::time::Duration;

/// Delays between attempts: from the first they double up to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub first: Duration,
    pub most: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

#[derive(Debug)]
pub(super) struct Backoff {
    retry: Retry,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(super) const fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, next: retry.first, random: seed }
    }

    /// Until the next attempt.
    pub(super) fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.retry.most);
        self.jittered(delay)
    }

    /// The session has stood long enough: the next loss is a new one.
    pub(super) const fn calm(&mut self) {
        self.next = self.retry.first;
    }

    pub(super) const fn most(&self) -> Duration {
        self.retry.most
    }

    /// Three quarters to all of it.
    pub(super) fn jittered(&mut self, duration: Duration) -> Duration {
        let share = (self.random() >> 32) as u32;
        duration * 3 / 4 + duration / 4 * (share >> 16) / 0xffff
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_differ() {
        let mut backoff = Backoff::new(Retry::default(), 7);
        let delays: Vec<_> = (0..9).map(|_| backoff.delay()).collect();
        for (delay, whole) in delays.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs)) {
            assert!((whole * 3 / 4..=whole).contains(delay), "{delay:?} of {whole:?}");
        }
        assert_ne!(delays[7], delays[8]);
        backoff.calm();
        assert!(backoff.delay() <= Duration::from_secs(1));
    }
}

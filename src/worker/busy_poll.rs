//! Whether to keep polling for a moment before sleeping, learnt from whether that helped before.
//!
//! Waking a sleeping thread costs more than forwarding a packet. So a worker that expects the next packet within
//! [`Spin::LIMIT`] stays awake for it. The length of lulls during sleep cannot decide that: it includes the time to
//! wake up, so a ping-pong would stay slow because it was slow. Instead, the worker tries from time to time.

/// Decides at the start of each lull: the time from an empty queue to the next packet.
#[derive(Debug)]
pub struct Spin {
    /// Lulls to stay awake in, even if no packet comes in time.
    credit: u32,
    /// Lulls slept through without credit.
    slept: u32,
}

impl Spin {
    /// Longest time awake without a packet, in nanoseconds.
    pub const LIMIT: u64 = 50_000;
    /// Credit for a lull that ended in time, and the most that can be saved.
    const GAIN: u32 = 4;
    const MOST: u32 = 16;
    /// Without credit, the worker stays awake in one of this many lulls. With 1,000 packets a second that never come in
    /// time, that costs 0.3 % of a core.
    const TRIAL: u32 = 16;

    pub fn new() -> Self {
        Self { credit: 0, slept: 0 }
    }

    /// A lull of `nanos` has ended with a packet.
    pub fn learn(&mut self, nanos: u64) {
        if nanos < Self::LIMIT {
            self.credit = (self.credit + Self::GAIN).min(Self::MOST);
        } else if self.credit > 0 {
            self.credit -= 1;
        } else {
            self.slept = (self.slept + 1) % Self::TRIAL;
        }
    }

    /// Whether to stay awake after `nanos` without a packet.
    pub fn goes_on(&self, nanos: u64) -> bool {
        nanos < Self::LIMIT && (self.credit > 0 || self.slept == Self::TRIAL - 1)
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In how many of `lulls` it would stay awake.
    fn awake(spin: &mut Spin, lulls: u32, nanos: u64) -> u32 {
        let stays = |_| {
            let stays = spin.goes_on(0);
            spin.learn(nanos);
            u32::from(stays)
        };
        (0..lulls).map(stays).sum()
    }

    #[test]
    fn sparse_traffic_is_slept_through_but_for_a_trial() {
        assert_eq!(awake(&mut Spin::new(), 1600, 1_000_000), 100);
    }

    #[test]
    fn a_trial_that_succeeds_keeps_it_awake() {
        let mut spin = Spin::new();
        // Asleep, a ping-pong's lulls are long; awake, they are short.
        for _ in 0..16 {
            let awake = spin.goes_on(0);
            spin.learn(if awake { 20_000 } else { 80_000 });
        }
        assert_eq!(awake(&mut spin, 100, 20_000), 100);
        assert_eq!(awake(&mut spin, 4, 3_600_000_000_000), 4, "pauses do not end that");
        assert!(!spin.goes_on(Spin::LIMIT));
    }

    #[test]
    fn it_stops_when_that_no_longer_helps() {
        let mut spin = Spin::new();
        awake(&mut spin, 100, 20_000);
        assert_eq!(awake(&mut spin, 16, 1_000_000), 16);
        assert!(!spin.goes_on(0));
    }

    /// Each lull in time is good for four more, and no more than sixteen are saved; the limit itself is too long.
    #[test]
    fn what_is_saved_is_used_up_one_by_one() {
        let saved = |lulls: u32, nanos: u64| {
            let mut spin = Spin::new();
            awake(&mut spin, lulls, nanos);
            awake(&mut spin, 15, 3_600_000_000_000)
        };
        assert_eq!([1, 2, 3].map(|lulls| saved(lulls, Spin::LIMIT - 1)), [4, 8, 12]);
        let mut spin = Spin::new();
        awake(&mut spin, 100, 0);
        assert_eq!(awake(&mut spin, 32, Spin::LIMIT), 16 + 1, "and then one in sixteen");
        assert_eq!(saved(1, Spin::LIMIT), 1);
        let mut spin = Spin::new();
        spin.learn(0);
        assert!(spin.goes_on(Spin::LIMIT - 1) && !spin.goes_on(Spin::LIMIT));
    }
}

//! Whether to poll on for a moment before sleeping, learnt from how long the last lulls were.
//!
//! Waking a sleeping thread costs more than forwarding a packet does, so a worker that expects the next packet within
//! [`Spin::LIMIT`] waits for it awake. One that is idle or sees sparse traffic sleeps at once.

/// Learns the length of lulls: the time from an empty queue to the next packet.
#[derive(Debug)]
pub struct Spin {
    /// Exponentially weighted mean of lulls, in nanoseconds.
    mean: u64,
}

impl Spin {
    /// Longest time awake without a packet, in nanoseconds.
    pub const LIMIT: u64 = 50_000;
    /// A long pause counts as no more than this, so that a few short lulls suffice to learn anew.
    const LONGEST: u64 = 4 * Self::LIMIT;
    const WEIGHT: u64 = 8;

    pub fn new() -> Self {
        Self { mean: Self::LONGEST }
    }

    /// A lull of `nanos` has ended with a packet.
    pub fn learn(&mut self, nanos: u64) {
        let lull = nanos.min(Self::LONGEST);
        self.mean = (self.mean * (Self::WEIGHT - 1) + lull) / Self::WEIGHT;
    }

    /// Whether to stay awake after `nanos` without a packet.
    pub fn goes_on(&self, nanos: u64) -> bool {
        self.mean <= Self::LIMIT && nanos < Self::LIMIT
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

    #[test]
    fn sparse_traffic_never_spins() {
        let mut spin = Spin::new();
        for _ in 0..100 {
            assert!(!spin.goes_on(0));
            spin.learn(1_000_000);
        }
    }

    #[test]
    fn a_steady_exchange_spins_soon_and_a_pause_does_not_end_that() {
        let mut spin = Spin::new();
        for _ in 0..14 {
            spin.learn(20_000);
        }
        assert!(spin.goes_on(0) && spin.goes_on(Spin::LIMIT - 1) && !spin.goes_on(Spin::LIMIT));
        spin.learn(3_600_000_000_000);
        for _ in 0..4 {
            spin.learn(20_000);
        }
        assert!(spin.goes_on(0));
    }
}

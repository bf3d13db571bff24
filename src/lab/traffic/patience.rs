//! How often a trial is repeated while nothing answers, and how long each attempt waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the first attempt waits; each later one waits twice as long.
const FIRST_ATTEMPT: Duration = Duration::from_millis(200);

/// How long each attempt may take: more and more, until the time is up.
pub(super) struct Patience<'a> {
    deadline: Instant,
    next: Duration,
    stop: &'a AtomicBool,
}

impl<'a> Patience<'a> {
    pub(super) fn new(total: Duration, stop: &'a AtomicBool) -> Self {
        Self { deadline: Instant::now() + total, next: FIRST_ATTEMPT, stop }
    }
}

impl Iterator for Patience<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.next.min(left);
        self.next *= 2;
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each attempt may take longer than the one before, and the last one has the rest of the time. After a stop there is none.
    #[test]
    fn attempts_take_longer_each_time_and_end_with_the_time_that_there_is() {
        let stop = AtomicBool::new(false);
        let mut patience = Patience::new(Duration::from_secs(3600), &stop);
        let waits: Vec<_> = patience.by_ref().take(4).collect();
        assert_eq!(waits, [1, 2, 4, 8].map(|times| FIRST_ATTEMPT * times));
        patience.deadline = Instant::now() + FIRST_ATTEMPT;
        assert!(patience.next().is_some_and(|wait| wait <= FIRST_ATTEMPT), "no longer than what is left");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(patience.next(), None, "stopped");
        assert_eq!(Patience::new(Duration::ZERO, &AtomicBool::new(false)).next(), None, "no time");
    }
}

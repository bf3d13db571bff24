//! What the workers' clock says, as time of day: workers count from an arbitrary start, people from 1970.

use std::time::{Duration, SystemTime};

use crate::dataplane::Timestamp;
use crate::sys::clock::monotonic_nanos;

/// Where the workers' clock began, as it looks now: a wall clock may be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    start: Duration,
}

impl WallClock {
    pub(super) fn now() -> Self {
        let since_start = Duration::from_nanos(monotonic_nanos());
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start: unix.saturating_sub(since_start) }
    }

    /// Nanoseconds since 1970.
    pub(super) fn unix_nanos(self, at: Timestamp) -> u64 {
        u64::try_from((self.start + Duration::from_nanos(at.0)).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Microseconds since 1970.
    pub(super) fn unix_micros(self, at: Timestamp) -> u64 {
        u64::try_from((self.start + Duration::from_nanos(at.0)).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_workers_is_so_long_after_their_start() {
        let clock = WallClock { start: Duration::from_secs(1_700_000_000) };
        let at = Timestamp(2_000_345_678);
        assert_eq!(clock.unix_nanos(at), 1_700_000_002_000_345_678);
        assert_eq!(clock.unix_micros(at), 1_700_000_002_000_345);
        let now = Duration::from_nanos(WallClock::now().unix_nanos(Timestamp(monotonic_nanos())));
        let people = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(people.abs_diff(now) < Duration::from_secs(60), "{now:?}");
    }
}

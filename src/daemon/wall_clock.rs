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

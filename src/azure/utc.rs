//! A moment as a date and a time of day in UTC, without leap seconds.

use std::fmt;

/// Displayed as in RFC 3339, with microseconds: `2026-11-21T09:12:13.123456Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    pub micros: u64,
}

impl Utc {
    /// From microseconds since 1970.
    pub const fn from_unix_micros(unix_micros: u64) -> Self {
        const DAY: u64 = 86_400;
        let (seconds, micros) = (unix_micros / 1_000_000, unix_micros % 1_000_000);
        // Days since 0000-03-01, in eras of 400 years, so that a leap day is a year's last.
        let days = seconds / DAY + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, in_next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let (hour, minute, second) = (seconds % DAY / 3600, seconds / 60 % 60, seconds % 60);
        Self { year: era * 400 + year + in_next_year, month, day, hour, minute, second, micros }
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, micros } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_as_rfc_3339_has_them() {
        let spelled = |seconds: u64| Utc::from_unix_micros(seconds * 1_000_000 + 42).to_string();
        assert_eq!(spelled(0), "1970-01-01T00:00:00.000042Z");
        assert_eq!(spelled(951_827_696), "2000-02-29T12:34:56.000042Z");
        assert_eq!(spelled(1_772_323_199), "2026-02-28T23:59:59.000042Z");
        assert_eq!(spelled(1_772_323_200), "2026-03-01T00:00:00.000042Z");
        assert_eq!(spelled(4_102_444_799), "2099-12-31T23:59:59.000042Z");
        assert_eq!(spelled(4_107_542_399), "2100-02-28T23:59:59.000042Z");
        assert_eq!(spelled(4_107_542_400), "2100-03-01T00:00:00.000042Z", "not a leap year");
    }
}

//! Dates and durations of ISO 8601. A clock is never read: the present is a stated moment.

use std::fmt::Write;

use crate::arm::Value;

use super::super::machine::{Outcome, fault};
use super::arguments::Arguments;

/// What `utcNow` returns: 2026-01-01T00:00:00Z.
pub(in crate::arm::template) const NOW: i64 = 1_767_225_600;

const DAY: i64 = 86_400;

pub(super) fn call(name: &str, given: &Arguments<'_>) -> Option<Outcome<Value>> {
    Some(match name {
        "datetimeadd" => added(given),
        "datetimetoepoch" => given.count(1, 1).and_then(|()| Ok(Value::Number(read(given.text(0)?)?.into()))),
        "datetimefromepoch" => given.count(1, 1).and_then(|()| Ok(Value::Text(shown(given.integer(0)?, "u")))),
        _ => return None,
    })
}

fn added(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 3)?;
    let moment = read(given.text(0)?)?;
    let form = if given.values.len() == 3 { given.text(2)? } else { "u" };
    Ok(Value::Text(shown(moment.saturating_add(duration(moment, given.text(1)?)?), form)))
}

/// Days since 1970 of a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Seconds since 1970 of `2026-01-31T12:30:00Z`, or of a date alone. A zone other than UTC is not read.
fn read(text: &str) -> Outcome<i64> {
    let wrong = || fault(format!("`{text:.40}` is not a moment such as 2026-01-31T12:30:00Z"));
    let numbers: Vec<i64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .take(6)
        .map(|part| part.parse().map_err(|_| wrong()))
        .collect::<Outcome<_>>()?;
    // Without separators: 20260131T123000Z.
    let numbers = match numbers.as_slice() {
        [date, rest @ ..] if *date >= 10_000_000 => {
            let time = rest.first().copied().unwrap_or(0);
            vec![date / 10_000, date / 100 % 100, date % 100, time / 10_000, time / 100 % 100, time % 100]
        }
        _ => numbers,
    };
    let part = |at: usize, least: i64, most: i64| {
        let number = numbers.get(at).copied().unwrap_or(least);
        if (least..=most).contains(&number) { Ok(number) } else { Err(wrong()) }
    };
    if numbers.len() < 3 {
        return Err(wrong());
    }
    let day = days(part(0, 1, 9999)?, part(1, 1, 12)?, part(2, 1, 31)?);
    Ok(day * DAY + part(3, 0, 24)? * 3_600 + part(4, 0, 59)? * 60 + part(5, 0, 60)?)
}

/// Seconds of `-P1Y2M3DT4H5M6S`, counted from a moment, for months differ in length.
fn duration(from: i64, text: &str) -> Outcome<i64> {
    let wrong = || fault(format!("`{text:.40}` is not a duration such as P1DT12H"));
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let rest = rest.strip_prefix('P').ok_or_else(wrong)?;
    let (mut months, mut seconds, mut number, mut in_time) = (0_i64, 0_i64, 0_i64, false);
    for letter in rest.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = number
                .checked_mul(10)
                .and_then(|it| it.checked_add(digit.into()))
                .filter(|it| *it < 10_000_000)
                .ok_or_else(wrong)?;
            continue;
        }
        match (letter, in_time) {
            ('T', false) => in_time = true,
            ('Y', false) => months += number * 12,
            ('M', false) => months += number,
            ('W', false) => seconds += number * 7 * DAY,
            ('D', false) => seconds += number * DAY,
            ('H', true) => seconds += number * 3_600,
            ('M', true) => seconds += number * 60,
            ('S', true) => seconds += number,
            _ => return Err(wrong()),
        }
        number = 0;
    }
    let (year, month, day) = civil(from.div_euclid(DAY));
    let total = year * 12 + month - 1 + sign * months;
    let moved = days(total.div_euclid(12), total.rem_euclid(12) + 1, day) - days(year, month, day);
    Ok(moved * DAY + sign * seconds)
}

/// A moment in one of .NET's forms: `u`, `s`, `R` is not known, or letters such as `yyyy-MM-dd`.
pub(in crate::arm::template) fn shown(moment: i64, form: &str) -> String {
    let (year, month, day) = civil(moment.div_euclid(DAY));
    let second = moment.rem_euclid(DAY);
    let form = match form {
        "" | "yyyyMMddTHHmmssZ" => "yyyyMMddTHHmmssZ",
        "u" => "yyyy-MM-dd HH:mm:ssZ",
        "s" => "yyyy-MM-ddTHH:mm:ss",
        "o" | "O" => "yyyy-MM-ddTHH:mm:ss.fffffffZ",
        "d" => "MM/dd/yyyy",
        form => form,
    };
    let mut made = String::new();
    let mut rest = form;
    while let Some(letter) = rest.chars().next() {
        let same = rest.chars().take_while(|it| *it == letter).count();
        let number = match letter {
            'y' if same <= 2 => Some(year % 100),
            'y' => Some(year),
            'M' => Some(month),
            'd' => Some(day),
            'H' => Some(second / 3_600),
            'h' => Some((second / 3_600 + 11) % 12 + 1),
            'm' => Some(second / 60 % 60),
            's' => Some(second % 60),
            'f' => Some(0),
            _ => None,
        };
        match number {
            Some(number) => {
                let _ = write!(made, "{number:0width$}", width = same.min(9));
            }
            None => made.extend(std::iter::repeat_n(letter, same)),
        }
        rest = &rest[letter.len_utf8() * same..];
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_goes_both_ways() {
        assert_eq!(shown(NOW, "s"), "2026-01-01T00:00:00");
        for day in (-800_000..800_000).step_by(97) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
        assert_eq!(read("2026-01-01T00:00:00Z").expect("valid"), NOW);
        assert_eq!(read("20260101T000000Z").expect("valid"), NOW);
        assert_eq!(read("2026-01-01").expect("valid"), NOW);
        assert!(["2026", "2026-01", "2026-13-01", "2026-01-32"].iter().all(|short| read(short).is_err()));
        assert_eq!(shown(read("2024-02-29 13:05:09Z").expect("valid"), "yyyyMMdd-hmm"), "20240229-105");
    }

    #[test]
    fn durations_are_added() {
        let after = |text: &str| shown(NOW + duration(NOW, text).expect("valid"), "u");
        assert_eq!(after("P3Y"), "2029-01-01 00:00:00Z");
        assert_eq!(after("-P9D"), "2025-12-23 00:00:00Z");
        assert_eq!(after("PT1H30M"), "2026-01-01 01:30:00Z");
        assert!(duration(NOW, "1D").is_err());
    }
}

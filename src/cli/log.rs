//! The daemon's own messages, on stderr: one line an event; no thread waits for them.
//!
//! One idea: a line that cannot be written, to a full disk, a closed pipe or a stopped terminal, is counted. The next
//! line that can be written reports the count. `VNET_LOG` sets the level.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;

use crate::model::counted;
use crate::sys::files;

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Prints all events of this process on stderr, without colours: the log is a file in the end.
pub(super) fn start() {
    let wanted = std::env::var("VNET_LOG").unwrap_or_default();
    let level = level(&wanted);
    let log = tracing_subscriber::fmt().with_writer(|| Line).with_target(false).with_ansi(false);
    log.log_internal_errors(false).with_max_level(level.unwrap_or(LevelFilter::INFO)).init();
    if level.is_none() {
        tracing::warn!("VNET_LOG is `{wanted}`; expected error, warn, info or debug");
    }
}

/// The level that a word names; None if it names none.
fn level(word: &str) -> Option<LevelFilter> {
    if word.is_empty() { Some(LevelFilter::INFO) } else { word.parse().ok() }
}

/// One event's line.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = LOST.swap(0, Ordering::Relaxed);
        let printed =
            lost == 0 || put(format!("{} of this log could not be written\n", counted(lost, "line")).as_bytes());
        let missed = if printed { 0 } else { lost } + u64::from(!(printed && put(line)));
        LOST.fetch_add(missed, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put(line: &[u8]) -> bool {
    files::write_ready(io::stderr(), line).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_in_any_case() {
        let levels = ["", "warn", "DEBUG", "off", "loud", "vnet=debug"].map(level);
        let [info, warn, debug, off] = [LevelFilter::INFO, LevelFilter::WARN, LevelFilter::DEBUG, LevelFilter::OFF];
        assert_eq!(levels, [Some(info), Some(warn), Some(debug), Some(off), None, None]);
    }
}

//! The daemon's own messages, on stderr: one line an event; no thread waits for them.
//!
//! One idea: a line that cannot be written, to a full disk, a closed pipe or a stopped terminal, is counted. The next
//! line that can be written reports the count. `VNET_LOG` sets the level.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::model::counted;
use crate::sys::files;

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Prints all events of this process on stderr, without colours: the log is a file in the end.
pub(super) fn start() {
    let filter = EnvFilter::builder().with_env_var("VNET_LOG").with_default_directive(LevelFilter::INFO.into());
    let log = tracing_subscriber::fmt().with_writer(|| Line).with_target(false).with_ansi(false);
    log.log_internal_errors(false).with_env_filter(filter.from_env_lossy()).init();
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

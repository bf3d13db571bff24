//! For tests that close something. Between its fork and its exec, a program that another test starts has copies of this
//! process's descriptors; what is closed meanwhile stays open until then.

use std::thread;
use std::time::{Duration, Instant};

/// Waits for what comes of a descriptor that has just been closed.
#[track_caller]
pub(crate) fn closed(mut comes: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !comes() {
        assert!(Instant::now() < deadline, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

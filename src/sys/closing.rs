//! For tests that close something. Between its fork and its exec, a program that another test starts has copies of this
//! process's descriptors; what is closed meanwhile stays open until then.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until the closing of a descriptor has its effect.
#[track_caller]
pub(crate) fn closed(mut has_effect: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !has_effect() {
        assert!(Instant::now() < deadline, "it has no effect");
        thread::sleep(Duration::from_millis(1));
    }
}

//! Sockets whose port another test held a moment ago.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// Opens a socket at a given address. A program that another test is just starting has copies of all descriptors of this
/// process, from its fork to its exec; a socket that is closed meanwhile keeps its port until then.
pub(crate) fn bound<T>(bind: impl Fn() -> io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            outcome => return outcome.unwrap(),
        }
    }
}

//! Opens sockets at stated ports, which a closed socket may still hold for a moment.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// Opens a socket at a stated address. Between its fork and its exec, a program that another test starts has copies of
/// this process's descriptors. A socket that is closed meanwhile keeps its port until then.
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

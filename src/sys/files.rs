//! Permissions and standard streams, where the standard library has no word for them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Whether this process may make files in a directory.
pub fn is_writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Leaves the terminal: nothing is read, messages go to the log.
pub fn redirect_standard_streams(log: &File) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(dup2_stderr(log)?)
}

/// Whether the other end of a pipe or socket is still there to read; a file always is.
pub fn has_reader(fd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::empty())];
    let gone = poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
    !gone
}

//! A namespace of processes for a program: it sees its own processes alone, and no call takes the number of another one.
//!
//! One idea: a program that knows no process outside cannot name another network by one, as `ip link set eth0 netns 1`
//! does. Process 1 of the namespace is a fork of this one, so that a program's signals and its orphans are as usual. It
//! ends when all the others have: it looks when a process that it can see the end of has ended, when [`reap`] says that
//! another one has, and often once it is asked to end.

#![expect(unsafe_code, reason = "fork(2), and what its child may call")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::UnshareFlags;

/// How often process 1 looks whether it is alone, where nothing tells it to: the program's parent is outside, and may have
/// ended.
const GLANCE: libc::timespec = libc::timespec { tv_sec: 30, tv_nsec: 0 };
/// The same once it is asked to end: the other processes are, too.
const GLANCE_AT_THE_END: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const NAME: &std::ffi::CStr = c"vnet-init";

/// First processes that have not been reaped.
static FIRST: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A namespace with its first process, which waits until this is let go of.
#[derive(Debug)]
pub struct PidNamespace {
    first: Pid,
    _hold: OwnedFd,
}

impl PidNamespace {
    /// Makes one for the processes that the calling thread starts, and shows them in `/proc`. The thread must have a view
    /// of its own already (`mount::private_view`); in that view `/proc` no longer has the thread itself.
    pub fn begin() -> io::Result<Self> {
        let ((wait, hold), (ready, tell)) = (pipe()?, pipe()?);
        super::unshare::unshare(UnshareFlags::NEWPID)?;
        // A handler of this process must not run in the other one.
        let mut before = MaybeUninit::uninit();
        // SAFETY: the sets are written before they are read.
        unsafe {
            let mut all = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        }
        // SAFETY: the child calls what a signal handler may call, and ends without running anything of this program.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            // SAFETY: this is the only thread of the new process.
            unsafe { serve(wait.as_raw_fd(), tell.as_raw_fd()) };
        }
        let error = io::Error::last_os_error();
        // SAFETY: the set was written above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut()) };
        let first = Pid::from_raw(forked).filter(|_| forked > 0).ok_or(error)?;
        FIRST.lock().unwrap_or_else(PoisonError::into_inner).push(first);
        drop((wait, tell));
        // It has something to say, or has ended.
        rustix::io::read(&ready, &mut [0; 1])?;
        Ok(Self { first, _hold: hold })
    }

    /// Ends all processes in it. The first goes once its maker has reaped those that it started.
    pub fn end(self) {
        let _ = kill_process(self.first, Signal::KILL);
    }
}

/// Reaps the first processes of namespaces that are empty, and has the others look whether theirs is. To be called when a
/// process that this one started has been reaped.
pub fn reap() {
    let runs = |first: &mut Pid| matches!(waitpid(Some(*first), WaitOptions::NOHANG), Ok(None));
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    first.retain_mut(runs);
    for first in first.iter() {
        let _ = kill_process(*first, Signal::CHILD);
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the call writes two descriptors, which no other value owns.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// What process 1 does: it reaps orphans until it is alone.
///
/// # Safety
/// The process must be a fork with one thread, and all signals blocked. It calls async-signal-safe functions alone, and
/// sigtimedwait, which is a system call and no more: signal-safety(7).
unsafe fn serve(wait: RawFd, tell: RawFd) -> ! {
    // SAFETY: these take numbers, and pointers to values that live as long as the process.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        // A container may refuse it: then the program sees others, and cannot name them.
        libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), flags, null());
        libc::write(tell, c"+".as_ptr().cast(), 1);
        // No socket, device or lock of this program stays open here.
        libc::dup2(wait, 0);
        libc::close_range(1, libc::c_uint::MAX, 0);
        let mut byte = 0_u8;
        while libc::read(0, (&raw mut byte).cast(), 1) > 0 {}
        let mut news = MaybeUninit::uninit();
        libc::sigemptyset(news.as_mut_ptr());
        libc::sigaddset(news.as_mut_ptr(), libc::SIGCHLD);
        libc::sigaddset(news.as_mut_ptr(), libc::SIGTERM);
        let mut glance = GLANCE;
        loop {
            while libc::waitpid(-1, null_mut(), libc::WNOHANG) > 0 {}
            // With its own group: -1 leaves out the caller alone.
            if libc::kill(-1, 0) != 0 {
                libc::_exit(0)
            }
            // Blocked signals wait until they are asked for, so none is missed.
            if libc::sigtimedwait(news.as_ptr(), null_mut(), &raw const glance) == libc::SIGTERM {
                glance = GLANCE_AT_THE_END;
            }
        }
    }
}

//! The two system calls that confine a thread and have no safe wrapper.

#![expect(unsafe_code, reason = "seccomp(2), pthread_sigmask(3)")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use seccompiler::BpfProgramRef;

/// What a thread that fails gets. Where they are blocked the kernel ends the process at once. A handler would have to make
/// calls that are refused, and the thread would fail again, forever.
const FAULTS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Which signals the calling thread does not handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    All,
    Faults,
}

/// Has the calling thread handle no such signal.
pub(super) fn block_signals(which: Blocked) -> io::Result<()> {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: the first call writes the whole set, and the others read or write that set alone.
    let failed = unsafe {
        match which {
            Blocked::All => libc::sigfillset(signals.as_mut_ptr()),
            Blocked::Faults => libc::sigemptyset(signals.as_mut_ptr()),
        };
        for fault in FAULTS {
            libc::sigaddset(signals.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), null_mut())
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

/// Whether the kernel's log has a line for each call that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Yes,
    No,
}

/// Filters the calling thread's system calls from now on.
pub(super) fn filter(program: BpfProgramRef<'_>, noted: Noted) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    let flags = if noted == Noted::Yes { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    // SAFETY: the kernel reads `len` instructions, whose layout is that of `sock_filter`, and copies them.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

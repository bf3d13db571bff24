//! How the kernel's scheduler treats the calling thread.

#![expect(unsafe_code, reason = "sched_setattr has no wrapper")]

use std::io;
use std::time::Duration;

use rustix::process::getpriority_process;

/// Asks for time slices of this length, 0.1 to 100 ms. EEVDF then lets the thread begin sooner, and other threads of
/// the processor wait less for it. Kernels before 6.12 ignore it.
pub fn set_slice(slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        // Set together with the rest, so it is set to what it is.
        sched_nice: getpriority_process(None)?,
        sched_priority: 0,
        sched_runtime: slice.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of `attributes`, which outlives the call; thread 0 is the calling one.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_set_and_the_niceness_left() {
        std::thread::spawn(|| {
            let before = getpriority_process(None).unwrap();
            set_slice(Duration::from_micros(100)).unwrap();
            assert_eq!(getpriority_process(None).unwrap(), before);
            let status = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            let slice = status.lines().find(|line| line.starts_with("se.slice"));
            // Not every kernel reports it.
            if let Some((_, slice)) = slice.and_then(|line| line.split_once(':')) {
                assert_eq!(slice.trim(), "100000");
            }
        })
        .join()
        .unwrap();
    }
}

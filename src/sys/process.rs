//! Processes that may be gone: known by number and start time, so that a reused number is never taken for the old one.
//!
//! One idea: a process number may be reused, but a number with its start time is unique. Signals go through a pidfd
//! opened before the start time is compared.

#![expect(unsafe_code, reason = "close_range(2)")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub use rustix::process::Signal;
use rustix::process::{
    Pid, PidfdFlags, geteuid, kill_process_group, pidfd_open, pidfd_send_signal, setsid, test_kill_process_group,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A process, or the one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Clock ticks after boot.
    pub start_time: u64,
}

/// The calling process's number; asked for once, so that no thread has to be allowed to ask.
pub fn own_id() -> u32 {
    static OWN: OnceLock<u32> = OnceLock::new();
    *OWN.get_or_init(std::process::id)
}

impl ProcessId {
    /// The calling process.
    pub fn current() -> io::Result<Self> {
        Self::of(own_id())
    }

    /// The process that has this number now.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start_time: start_time(pid)? })
    }

    /// Whether it still runs; one that ended and was not reaped does not.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid).is_ok_and(|stat| stat.start_time == self.start_time && !stat.ended)
    }

    /// Whether it runs, ends, or has ended and is not reaped.
    pub fn is_there(self) -> bool {
        start_time(self.pid).is_ok_and(|now| now == self.start_time)
    }

    /// Whether its number is another process's now.
    pub fn is_replaced(self) -> bool {
        start_time(self.pid).is_ok_and(|now| now != self.start_time)
    }

    /// Sends a signal; false if the process is gone.
    pub fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(fd) = self.open()? else { return Ok(false) };
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended; false if it still runs when the time is up.
    pub fn wait_end(self, limit: Duration) -> io::Result<bool> {
        let Some(fd) = self.open()? else { return Ok(true) };
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn open(self) -> io::Result<Option<rustix::fd::OwnedFd>> {
        let fd = match pidfd_open(raw(self.pid)?, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(self.is_alive().then_some(fd))
    }
}

/// A process as `/proc` lists it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub id: ProcessId,
    pub parent: u32,
    /// The leader of its process group.
    pub group: u32,
    /// Whether it hangs on a terminal.
    pub has_terminal: bool,
    /// Whether it computes or waits for a disk, rather than for something that may never come.
    pub is_busy: bool,
    /// Clock ticks that it has computed.
    pub ticks: u64,
}

/// All processes that run now, without those that have ended and are not reaped.
pub fn running() -> impl Iterator<Item = Listed> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(|pid| {
        let stat = Stat::of(pid).ok().filter(|stat| !stat.ended)?;
        let id = ProcessId { pid, start_time: stat.start_time };
        let Stat { parent, group, has_terminal, busy: is_busy, ticks, .. } = stat;
        Some(Listed { id, parent, group, has_terminal, is_busy, ticks })
    })
}

/// For how long a process sleeps, as `sleep 1` does: it goes on by itself. None where it does not, or may not be looked at.
pub fn sleeps_for(pid: u32) -> Option<Duration> {
    // The number of the system call and its arguments, unless it runs: proc_pid_syscall(5).
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split_ascii_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let arguments: Vec<u64> =
        words.map_while(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect();
    let (clock, flags, request) = match number {
        libc::SYS_nanosleep => (0, 0, *arguments.first()?),
        libc::SYS_clock_nanosleep => (*arguments.first()?, *arguments.get(1)?, *arguments.get(2)?),
        _ => return None,
    };
    let mut time = [[0; 8]; 2];
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(time.as_flattened_mut(), request).ok()?;
    let [seconds, nanos] = time.map(u64::from_ne_bytes);
    let wanted = Duration::new(seconds, u32::try_from(nanos).ok()?);
    if flags & u64::from(libc::TIMER_ABSTIME.unsigned_abs()) == 0 {
        return Some(wanted);
    }
    let clock =
        if clock == u64::from(libc::CLOCK_MONOTONIC.unsigned_abs()) { ClockId::Monotonic } else { ClockId::Realtime };
    Some(wanted.saturating_sub(clock_gettime(clock).try_into().ok()?))
}

/// How often a process has waited for something; None where it may not be looked at.
pub fn waits(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// What a process was started with: its program and arguments, each with a zero byte at its end.
pub fn command(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Whether a process was started with this variable in its environment, as far as one may look.
pub fn was_given(pid: u32, variable: &str, value: &str) -> bool {
    given(pid, variable).is_some_and(|given| given == value)
}

/// What a variable was in a process' environment when it started, as far as one may look.
pub fn given(pid: u32, variable: &str) -> Option<OsString> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"="))?;
    Some(OsString::from_vec(value.to_vec()))
}

/// The name of the program that a process runs.
pub fn program(pid: u32) -> Option<OsString> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_owned();
    // What the kernel adds once the file is replaced.
    Some(name.to_str().and_then(|name| name.strip_suffix(" (deleted)")).map_or(name.clone(), OsString::from))
}

/// Closes every descriptor above the standard streams that the parent process left open, so that its locks and pipes
/// do not live as long as this process. Must be called before this process opens any.
pub fn close_inherited() {
    // SAFETY: no value owns a descriptor above the standard streams yet: the caller has opened none.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    // A kernel before 5.9 has no such call: there they stay open, as they did.
    debug_assert!(closed == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS));
}

/// Signals a process group by its leader; false if it is gone. The group's number cannot be reused while a member lives,
/// so the group of a dead leader has only its own members; a leader with another start time is another process.
pub fn signal_group(leader: ProcessId, signal: Signal) -> io::Result<bool> {
    on_group(leader, |group| kill_process_group(group, signal))
}

/// Whether a process group has members, unreaped ones included.
pub fn group_exists(leader: ProcessId) -> io::Result<bool> {
    on_group(leader, test_kill_process_group)
}

fn on_group(leader: ProcessId, act: impl FnOnce(Pid) -> rustix::io::Result<()>) -> io::Result<bool> {
    if leader.is_replaced() {
        return Ok(false);
    }
    match act(raw(leader.pid)?) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The effective user of this process.
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// Leaves the terminal's session, so that its Ctrl-C is not ours. Fails for the leader of a process group.
pub fn leave_session() -> io::Result<()> {
    setsid()?;
    Ok(())
}

/// The fields used of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    group: u32,
    has_terminal: bool,
    start_time: u64,
    ticks: u64,
    /// It runs, or waits for a disk.
    busy: bool,
    /// A zombie, or dead.
    ended: bool,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&stat).ok_or_else(|| io::Error::other(format!("unexpected text in /proc/{pid}/stat")))
    }

    /// proc_pid_stat(5): field 2 is the program's name in parentheses and may contain any character.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        // Fields 4, 5, 7, 14, 15 and 22; `state` was field 3.
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let has_terminal = fields.nth(1)? != "0";
        let ticks = fields.nth(6)?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let start_time = fields.nth(6)?.parse().ok()?;
        let (busy, ended) = (matches!(state, "R" | "D"), matches!(state, "Z" | "X"));
        Some(Self { parent, group, has_terminal, start_time, ticks, busy, ended })
    }
}

fn start_time(pid: u32) -> io::Result<u64> {
    Ok(Stat::of(pid)?.start_time)
}

fn raw(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_end_is_waited_for_as_long_as_asked() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        assert!(!process.wait_end(Duration::from_millis(1)).unwrap(), "it waits for words");
        drop(child.stdin.take());
        assert!(process.wait_end(Duration::from_secs(10)).unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn how_long_a_process_sleeps_is_read_from_its_call() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let ends = Instant::now() + Duration::from_secs(10);
        let mut sleeps = None;
        while sleeps.is_none() && Instant::now() < ends {
            sleeps = sleeps_for(child.id());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Where a process may not look into its own child it knows nothing.
        assert!(sleeps.is_none_or(|time| time == Duration::from_secs(1000)), "{sleeps:?}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = Stat::parse("7 (a) b) S 1 8 9 0 -1 4 0 0 0 0 3 4 0 0 20 0 1 0 4242 1 1").unwrap();
        assert_eq!((stat.start_time, stat.group, stat.has_terminal, stat.ended), (4242, 8, false, false));
        assert_eq!((stat.parent, stat.ticks, stat.busy), (1, 7, false));
    }

    #[test]
    fn a_reused_number_is_a_stranger() {
        let own = ProcessId::current().unwrap();
        let stranger = ProcessId { start_time: own.start_time + 1, ..own };
        assert!(own.is_alive());
        assert!(!stranger.is_alive());
        assert!(!stranger.signal(Signal::TERM).unwrap());
        assert!(!signal_group(stranger, Signal::TERM).unwrap());
        assert_eq!((own.is_there(), own.is_replaced()), (true, false));
        assert_eq!((stranger.is_there(), stranger.is_replaced()), (false, true));
    }

    #[test]
    fn a_process_is_known_by_a_whole_variable() {
        let (input, output) = (Stdio::piped(), Stdio::piped());
        let mut child = Command::new("cat").env("VNET_TEST", "one").stdin(input).stdout(output).spawn().unwrap();
        // A process has its own environment a moment after it was spawned, and certainly once its program answers.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let given = ["one", "on", "two"].map(|value| was_given(child.id(), "VNET_TEST", value));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(given, [true, false, false]);
    }

    #[test]
    fn a_group_is_there_until_its_last_member_is_reaped() {
        use std::os::unix::process::CommandExt;

        let mut child = Command::new("cat").stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        let leader = ProcessId::of(child.id()).unwrap();
        assert!(group_exists(leader).unwrap());
        assert!(signal_group(leader, Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!group_exists(leader).unwrap());
        assert!(!signal_group(leader, Signal::KILL).unwrap());
    }

    #[test]
    fn an_ended_process_is_gone_before_it_is_reaped() {
        let mut child = Command::new("true").spawn().unwrap();
        let id = ProcessId::of(child.id());
        // It may have ended already; then it is a zombie and still has a start time.
        let id = id.unwrap();
        assert!(id.wait_end(Duration::from_secs(10)).unwrap());
        assert!(!id.is_alive());
        child.wait().unwrap();
    }
}

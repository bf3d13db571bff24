//! The seccomp filter of a role: its system calls pass, every other one fails with EPERM and is noted by the kernel.
//!
//! One idea: a call that is missing in a list by mistake is an error like any other, which its caller reports; nothing
//! that runs is lost. An attack gets the same error. The kernel writes a line for each refused call to its log
//! (`SECCOMP_FILTER_FLAG_LOG`), where it audits.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::kernel::Noted;
use super::{Role, calls, kernel};

/// The variable that weakens the filters, for looking into them.
pub const SWITCH: &str = "VNET_SECCOMP";

/// Requests of ioctl(2) that put characters into a terminal's input, or paste them: ioctl_tty(2), ioctl_console(2).
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// What happens to a call outside its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// It fails.
    Refuse,
    /// It is noted in the kernel's log, and works.
    Log,
    /// There are no filters.
    Off,
}

impl Enforcement {
    /// By the environment, as it was when this was first asked. Only the exact words weaken it.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Enforcement> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::of(std::env::var(SWITCH).as_deref().unwrap_or_default()))
    }

    fn of(word: &str) -> Self {
        match word {
            "log" => Self::Log,
            "off" => Self::Off,
            _ => Self::Refuse,
        }
    }

    const fn action(self) -> Option<SeccompAction> {
        match self {
            Self::Refuse => Some(SeccompAction::Errno(libc::EPERM as u32)),
            Self::Log => Some(SeccompAction::Log),
            Self::Off => None,
        }
    }
}

/// Allows the calling thread the calls of a role alone. A kernel without filters is left as it is.
pub(super) fn install(role: &Role) -> io::Result<()> {
    let Some(refuse) = Enforcement::current().action() else { return Ok(()) };
    if refuse != SeccompAction::Log {
        apply(
            &compile(calls::unneeded(role), SeccompAction::Allow, SeccompAction::Errno(libc::ENOMEM as u32))?,
            Noted::No,
        )?;
    }
    // The kernel takes the stricter answer of the two, so these pass here.
    let passing = [calls::allowed(role), calls::unneeded(role)].concat();
    apply(&compile(passing, refuse, SeccompAction::Allow)?, Noted::Yes)
}

/// Refuses the calling thread, and the program that it becomes or starts, the calls that reach past files and namespaces:
/// keys of its user, programs and modules in the kernel, files by handles, and words typed at a terminal. All others pass.
pub fn install_of_programs() -> io::Result<()> {
    let typed = |request: u64| {
        let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request);
        is.and_then(|is| SeccompRule::new(vec![is])).map_err(io::Error::other)
    };
    let mut rules = whole(calls::beyond_programs());
    rules.insert(libc::SYS_ioctl, vec![typed(TIOCSTI)?, typed(TIOCLINUX)?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    apply(&built(rules, SeccompAction::Allow, refuse)?, Noted::No)
}

fn apply(program: &BpfProgram, noted: Noted) -> io::Result<()> {
    match kernel::filter(program, noted) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
        applied => applied,
    }
}

fn compile(calls: Vec<i64>, otherwise: SeccompAction, these: SeccompAction) -> io::Result<BpfProgram> {
    built(whole(calls), otherwise, these)
}

/// Calls whatever their arguments are.
fn whole(calls: Vec<i64>) -> BTreeMap<i64, Vec<SeccompRule>> {
    calls.into_iter().map(|number| (number, Vec::new())).collect()
}

fn built(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    these: SeccompAction,
) -> io::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, these, arch);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[expect(unsafe_code, reason = "calls that programs are refused")]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_the_exact_words_weaken_the_filters() {
        let of = ["log", "off", "", "LOG", "0", "refuse"].map(Enforcement::of);
        let refuse = Enforcement::Refuse;
        assert_eq!(of, [Enforcement::Log, Enforcement::Off, refuse, refuse, refuse, refuse]);
    }

    /// Words typed at a terminal are refused before the kernel looks whether it is one; all else about it passes.
    #[test]
    fn a_program_types_nothing_at_a_terminal() {
        let number = |file: &File, request: u64| {
            let mut room = [0_u8; 64];
            // SAFETY: the requests read or write fewer bytes than there is room for.
            let done = unsafe { libc::ioctl(file.as_raw_fd(), request, room.as_mut_ptr()) };
            if done == 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(0) }
        };
        let tries = move || {
            let file = File::open("/dev/null").unwrap();
            let all = || [TIOCSTI, TIOCLINUX, libc::TIOCGWINSZ].map(|request| number(&file, request));
            let before = all();
            rustix::thread::set_no_new_privs(true).unwrap();
            install_of_programs().unwrap();
            (before, all(), File::open("/dev/null").is_ok())
        };
        let (before, after, opens) = std::thread::spawn(tries).join().unwrap();
        assert_eq!(before, [libc::ENOTTY; 3]);
        assert_eq!((after, opens), ([libc::EPERM, libc::EPERM, libc::ENOTTY], true));
    }
}

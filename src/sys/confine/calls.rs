//! The system calls of each role: those that its threads were seen to make, and those that a library or a kernel may use
//! in place of one of them.
//!
//! One idea: a list is short, so that it can be read: 14 calls for a worker, fewer than 60 for any thread.

use libc as nr;

use super::Role;

/// What any thread needs for its memory, its locks, its clock and its end.
const THREAD: &[i64] = &[
    // Never refused: what brk(2) returns in place of an address is taken for one.
    nr::SYS_brk,
    nr::SYS_clock_gettime,
    nr::SYS_close,
    nr::SYS_exit,
    nr::SYS_futex,
    nr::SYS_mmap,
    nr::SYS_mprotect,
    nr::SYS_munmap,
    nr::SYS_sched_yield,
    nr::SYS_write,
];
/// Frames, whole or in parts.
const FRAMES: &[i64] = &[nr::SYS_readv, nr::SYS_writev];
/// Readiness of descriptors, and the one that wakes a thread.
const READINESS: &[i64] = &[nr::SYS_epoll_ctl, nr::SYS_epoll_pwait, nr::SYS_readv];
/// What libraries ask for in passing: to give memory back early, to enlarge a block in place, to tidy a thread that ends,
/// to read how many processors there are. They do without.
const IN_PASSING: &[i64] = &[nr::SYS_fcntl, nr::SYS_madvise, nr::SYS_mremap, nr::SYS_sigaltstack];
const ALSO_IN_PASSING: &[i64] =
    &[nr::SYS_lseek, nr::SYS_openat, nr::SYS_rt_sigprocmask, nr::SYS_sched_getaffinity, nr::SYS_set_robust_list];
/// What a thread that does more than forward may ask for besides: random keys, pauses, other threads.
const LIFE: &[i64] = &[
    nr::SYS_clock_nanosleep,
    nr::SYS_clone3,
    nr::SYS_getrandom,
    nr::SYS_gettid,
    nr::SYS_ppoll,
    nr::SYS_prctl,
    nr::SYS_read,
    nr::SYS_restart_syscall,
    nr::SYS_rseq,
    nr::SYS_rt_sigprocmask,
    nr::SYS_rt_sigreturn,
];
/// Connections that are there.
const CONNECTIONS: &[i64] = &[
    nr::SYS_accept4,
    nr::SYS_geteuid,
    nr::SYS_getpeername,
    nr::SYS_getsockopt,
    nr::SYS_ioctl,
    nr::SYS_recvfrom,
    nr::SYS_recvmsg,
    nr::SYS_sendmsg,
    nr::SYS_sendto,
    nr::SYS_setsockopt,
    nr::SYS_shutdown,
    nr::SYS_writev,
];
/// Sockets of one's own.
const SOCKETS: &[i64] = &[nr::SYS_bind, nr::SYS_connect, nr::SYS_getsockname, nr::SYS_listen, nr::SYS_socket];
/// A connection with a time limit is waited for by the older call where there is one.
#[cfg(target_arch = "x86_64")]
const WAITS: &[i64] = &[nr::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const WAITS: &[i64] = &[];
/// Questions and orders to a kernel's network.
const NETLINK: &[i64] =
    &[nr::SYS_bind, nr::SYS_connect, nr::SYS_recvfrom, nr::SYS_sendto, nr::SYS_setsockopt, nr::SYS_socket];
/// Files that are made, replaced and removed.
const FILES: &[i64] = &[
    nr::SYS_fchmod,
    nr::SYS_ftruncate,
    nr::SYS_getdents64,
    nr::SYS_newfstatat,
    nr::SYS_openat,
    nr::SYS_pwrite64,
    nr::SYS_statx,
    nr::SYS_unlinkat,
];
/// The same by the calls of an older time, which x86-64 has and libraries use there.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[nr::SYS_mkdir, nr::SYS_readlink, nr::SYS_rename, nr::SYS_rmdir, nr::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[nr::SYS_mkdirat, nr::SYS_readlinkat, nr::SYS_renameat];
/// A copy of a file, by the kernel where it can.
const COPIES: &[i64] = &[nr::SYS_copy_file_range, nr::SYS_lseek, nr::SYS_pread64, nr::SYS_sendfile];
/// Maps of the kernel's programs, and the wait until none of them runs by an old one.
const FLOW_CACHE: &[i64] = &[nr::SYS_bpf, nr::SYS_membarrier];
/// Firewall rules in other namespaces, those of iptables among them.
const RULES: &[i64] = &[nr::SYS_getsockopt, nr::SYS_openat, nr::SYS_setns, nr::SYS_statx];
/// Namespaces, their names and devices, and the processes in them.
const LAB: &[i64] = &[
    nr::SYS_bpf,
    nr::SYS_capget,
    nr::SYS_capset,
    nr::SYS_epoll_ctl,
    nr::SYS_exit_group,
    nr::SYS_fcntl,
    nr::SYS_flock,
    nr::SYS_geteuid,
    nr::SYS_ioctl,
    nr::SYS_kill,
    nr::SYS_membarrier,
    nr::SYS_mount,
    nr::SYS_pidfd_open,
    nr::SYS_pidfd_send_signal,
    nr::SYS_setns,
    nr::SYS_statfs,
    nr::SYS_umount2,
    nr::SYS_unshare,
    nr::SYS_wait4,
];

/// What no program in a machine needs, and what reaches past its namespaces: the keys of its user, the kernel's own
/// programs, modules and clock, files by handles.
const BEYOND: &[i64] = &[
    nr::SYS_acct,
    nr::SYS_add_key,
    nr::SYS_bpf,
    nr::SYS_clock_settime,
    nr::SYS_delete_module,
    nr::SYS_finit_module,
    nr::SYS_init_module,
    nr::SYS_kexec_load,
    nr::SYS_keyctl,
    nr::SYS_open_by_handle_at,
    nr::SYS_perf_event_open,
    nr::SYS_quotactl,
    nr::SYS_reboot,
    nr::SYS_request_key,
    nr::SYS_settimeofday,
    nr::SYS_swapoff,
    nr::SYS_swapon,
    nr::SYS_userfaultfd,
];

/// The calls that programs of a file do not get.
pub(super) fn beyond_programs() -> Vec<i64> {
    // x86-64 has a second number for each, where the kernel has that ABI.
    const OTHER_ABI: i64 = 0x4000_0000;
    let other = BEYOND.iter().filter(|_| cfg!(target_arch = "x86_64")).map(|call| call | OTHER_ABI);
    BEYOND.iter().copied().chain(other).collect()
}

/// The calls that a role makes.
pub(super) fn allowed(role: &Role) -> Vec<i64> {
    let parts: &[&[i64]] = match role {
        Role::Worker => &[THREAD, READINESS, FRAMES],
        Role::Service => &[THREAD, IN_PASSING, READINESS, LIFE, CONNECTIONS, SOCKETS, WAITS],
        Role::Control => &[THREAD, IN_PASSING, READINESS, LIFE, CONNECTIONS],
        Role::FlowLogs(_) => &[THREAD, IN_PASSING, LIFE, FILES, OLDER, COPIES],
        Role::FlowCache => &[THREAD, IN_PASSING, FLOW_CACHE],
        Role::Routes => &[THREAD, IN_PASSING, LIFE, NETLINK],
        Role::Lookout => &[THREAD, IN_PASSING, LIFE, NETLINK, RULES],
        Role::Changes => &[THREAD, LIFE, NETLINK, FILES, OLDER, LAB],
    };
    let mut calls = parts.concat();
    calls.sort_unstable();
    calls.dedup();
    calls
}

/// The calls that a role does without: they fail, which is expected and not noted.
pub(super) fn unneeded(role: &Role) -> Vec<i64> {
    let allowed = allowed(role);
    let all = IN_PASSING.iter().chain(ALSO_IN_PASSING);
    all.copied().filter(|call| !allowed.contains(call)).collect()
}

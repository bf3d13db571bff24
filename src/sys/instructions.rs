//! Programs for the kernel of a few instructions, put together here: `bpf(2)` loads them.
//!
//! One idea: what is known only at run time, such as the number of a device, is in the program itself, so it needs no
//! map. Larger programs are written in C: see `bpf/`.

#![expect(unsafe_code, reason = "bpf(2)")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// What a program is for: the kernel's `enum bpf_prog_type`.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    SocketFilter = 1,
    Classifier = 3,
}

/// The part of the kernel's `union bpf_attr` that `BPF_PROG_LOAD` needs.
#[repr(C)]
struct LoadRequest {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    /// No log of the verifier's.
    log: [u32; 4],
}

pub(super) fn load(kind: Kind, program: &[u64]) -> io::Result<OwnedFd> {
    const PROG_LOAD: c_int = 5;
    let request = LoadRequest {
        kind: kind as u32,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log: [0; _],
    };
    // SAFETY: the kernel reads `size_of::<LoadRequest>()` bytes of `request`, and through it `count` instructions of eight
    // bytes and a string that ends; all outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const request, size_of::<LoadRequest>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// `struct bpf_insn`, as eight bytes of this machine's.
pub(super) const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, registers, o0, o1, i0, i1, i2, i3])
}

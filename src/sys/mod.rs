//! Every system call, and all `unsafe`. Nothing here knows another module.

pub mod caps;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod process;
mod unshare;
pub mod userns;

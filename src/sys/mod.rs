//! Every system call, and all `unsafe`. Nothing here knows another module.

pub mod caps;
pub mod clock;
pub mod crowd;
pub mod files;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod peer;
pub mod ping;
pub mod poll;
pub mod process;
pub mod schedule;
pub mod sniffer;
pub mod socket;
mod steering;
pub mod tun;
mod unshare;
pub mod userns;

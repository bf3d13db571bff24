//! Every system call, and all `unsafe`. This module uses no other module.

pub mod caps;
pub mod clock;
pub mod confine;
pub mod connection_limit;
pub mod conntrack;
pub mod files;
pub mod flow_cache;
mod ip_tables;
pub mod mailbox;
pub mod mount;
mod netfilter;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod packet_filter;
pub mod peer;
pub mod ping;
pub mod poll;
pub mod process;
pub mod sandbox;
pub mod schedule;
pub mod sniffer;
pub mod socket;
mod steering;
pub mod tun;
mod unshare;
pub mod userns;

//! Every system call, and all `unsafe`. This module uses no other module.

pub mod caps;
pub mod clock;
#[cfg(test)]
pub(crate) mod closing;
pub mod confine;
pub mod connection_limit;
pub mod conntrack;
pub mod files;
pub mod flow_cache;
pub mod flow_copies;
mod instructions;
mod ip_tables;
mod kernel_socket;
pub mod limits;
pub mod link_watch;
pub mod mailbox;
pub mod mount;
mod netfilter;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod opened_flows;
pub mod packet_filter;
pub mod peer;
pub mod pid_namespace;
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
pub mod veth;

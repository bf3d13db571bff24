//! Bytes and fields: IP, TCP, UDP, ICMP, checksums, the offload header of a TUN device, and a TAP's Ethernet.
//!
//! One idea: parse once, then be sure. [`Packet::parse`] checks every length; after it no accessor can fail or panic.
//! Setters keep checksums right incrementally, full or partial. It knows nothing of Azure, ports or tables.
//!
//! Each protocol is a file of the same shape: the places of its fields, then a `parse` from bytes to a small value.
//! [`Packet`] strings them together; [`build`] goes the other way, for tests and diagnosis.

pub mod build;
mod checksum;
pub mod ethernet;
mod fragment;
mod icmp;
mod ipv4;
mod ipv6;
mod offload;
mod packet;
mod quote;
mod reset;
mod summary;
mod train;
mod transport;
mod tuple;

pub use fragment::Fragment;
pub use offload::Offload;
pub use packet::{Packet, ParseError};
pub use quote::QuotedEnd;
pub use reset::Reset;
pub use summary::{Detail, Echo, Icmp, Summary, TcpFlags};
pub use train::{Frame, Train};
pub use transport::Transport;
pub use tuple::{Protocol, Tuple};

use std::net::IpAddr;

/// The fields that forwarding needs of both IP versions.
struct IpHeader {
    src: IpAddr,
    dst: IpAddr,
    /// After IPv6 extension headers.
    protocol: Protocol,
    /// Where the transport header starts: right after the IP headers.
    transport_at: usize,
    /// Where the packet ends; bytes beyond are padding.
    end: usize,
    fragment: Option<Fragment>,
    /// An IPv6 routing header has segments left: checksums cover a final destination that `dst` is not.
    source_routed: bool,
}

/// The big-endian field at `at`.
#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

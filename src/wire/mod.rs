//! Bytes and fields: IP, TCP, UDP, ICMP, checksums and the offload header of a TUN device.
//!
//! One idea: parse once, then be sure. [`Packet::parse`] checks every length; after it no accessor can fail or panic.
//! Setters keep checksums right incrementally, full or partial. It knows nothing of Azure, ports or tables.

mod packet;

pub use packet::{Fragment, Offload, Packet, ParseError, Protocol, Transport, Tuple};

//! (interface; bodies to come)
use std::net::IpAddr;

/// An IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const ICMP: Self = Self(1);
    pub const IPIP: Self = Self(4);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const GRE: Self = Self(47);
    pub const ESP: Self = Self(50);
    pub const AH: Self = Self(51);
    pub const ICMPV6: Self = Self(58);
}

/// What identifies a flow. For ICMP echo both ports are the identifier, so that a reply's tuple is the mirrored request's.
/// Protocols without ports, and later fragments, have zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub protocol: Protocol,
    pub src_port: u16,
    pub dst_port: u16,
}

impl Tuple {
    /// The same flow seen from the other end.
    pub fn mirrored(self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port, ..self }
    }
}

/// What follows the IP headers, as far as forwarding cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP or UDP.
    Ports { src: u16, dst: u16, tcp_flags: u8 },
    /// ICMP or ICMPv6 echo.
    Echo { id: u16, reply: bool },
    /// An ICMP error quoting a packet; `quoted` is that packet's tuple as it was sent. None when too short to tell.
    IcmpError { quoted: Option<Tuple> },
    /// No ports: other ICMP, ESP, AH, any other protocol, or a later fragment.
    Other,
}

/// Where a fragment stands in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// IPv4 identification (16 bits) or IPv6 fragment identification.
    pub id: u32,
    /// In bytes.
    pub offset: u32,
    pub more: bool,
}

/// The virtio-net header in front of a packet on a TUN with `IFF_VNET_HDR`: what the kernel left undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

/// Why bytes are not a packet this router forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    Malformed,
    BadChecksum,
}

/// One IP packet in a buffer, with its offload header.
pub struct Packet<'a> {
    bytes: &'a mut [u8],
    offload: Offload,
}

#[allow(unused_variables, clippy::todo, clippy::missing_const_for_fn)]
impl<'a> Packet<'a> {
    /// `bytes` starts at the IP header; trailing bytes beyond the IP length are cut off.
    pub fn parse(bytes: &'a mut [u8], offload: Offload) -> Result<Self, ParseError> {
        todo!()
    }
    pub fn src(&self) -> IpAddr {
        todo!()
    }
    pub fn dst(&self) -> IpAddr {
        todo!()
    }
    pub fn is_ipv4(&self) -> bool {
        todo!()
    }
    /// The upper protocol, after IPv6 extension headers.
    pub fn protocol(&self) -> Protocol {
        todo!()
    }
    pub fn ttl(&self) -> u8 {
        todo!()
    }
    pub fn transport(&self) -> Transport {
        todo!()
    }
    pub fn fragment(&self) -> Option<Fragment> {
        todo!()
    }
    pub fn tuple(&self) -> Tuple {
        todo!()
    }
    /// Length of the IP packet in bytes, super-packets whole.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    pub fn is_empty(&self) -> bool {
        false
    }
    /// How many packets this is on a wire: 1, or the number of segments of a super-packet.
    pub fn segments(&self) -> u32 {
        todo!()
    }
    /// Length of the largest IP packet after segmentation: what an MTU is compared with.
    pub fn largest_segment(&self) -> usize {
        todo!()
    }
    pub fn offload(&self) -> Offload {
        self.offload
    }
    /// From the IP header on.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }
    pub fn set_src(&mut self, address: IpAddr) {
        todo!()
    }
    pub fn set_dst(&mut self, address: IpAddr) {
        todo!()
    }
    pub fn set_src_port(&mut self, port: u16) {
        todo!()
    }
    pub fn set_dst_port(&mut self, port: u16) {
        todo!()
    }
}

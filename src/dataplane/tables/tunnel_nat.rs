//! The NAT rules of a tunnel (VPN-15).
//!
//! One idea: a map applies to a packet's source in one direction and to its destination in the other, so one list for
//! each side of a tunnel is all. It holds no flows: dynamic maps use port mappings like any other.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use crate::dataplane::PortPool;
use crate::wire::Protocol;

/// The lists of one tunnel; in each the first match applies.
#[derive(Debug, PartialEq, Eq)]
pub struct TunnelNat {
    /// The maps of addresses on this side.
    pub near: Box<[AddressMap]>,
    /// The maps of addresses on the other side.
    pub far: Box<[AddressMap]>,
}

/// A range of internal addresses, and its external addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressMap {
    pub internal: Ipv4Net,
    pub external: Ipv4Net,
    /// Applies to these ports only; None if it applies to all traffic of its addresses.
    pub ports: Option<PortMap>,
    /// Flows from inside share the external addresses by ports; None for a static map.
    pub pool: Option<PortPool>,
}

/// Internal ports of TCP and UDP, and their external ports. A static map has as many of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMap {
    pub internal: RangeInclusive<u16>,
    pub external: RangeInclusive<u16>,
}

/// An address and port that replace others; the port only where it changes.
pub(in crate::dataplane) type Name = (IpAddr, Option<u16>);

impl AddressMap {
    /// Whether it maps the internal end of a flow of this protocol.
    pub fn is_internal(&self, (address, port): (IpAddr, u16), protocol: Protocol) -> bool {
        holds(self.internal, address) && self.is_about(protocol, |ports| ports.internal.contains(&port))
    }

    /// Whether it maps the external end of a flow of this protocol.
    pub fn is_external(&self, (address, port): (IpAddr, u16), protocol: Protocol) -> bool {
        holds(self.external, address) && self.is_about(protocol, |ports| ports.external.contains(&port))
    }

    /// Whether flows from inside may get this address.
    pub(in crate::dataplane) fn lends(&self, address: IpAddr) -> bool {
        holds(self.external, address)
    }

    fn is_about(&self, protocol: Protocol, holds: impl Fn(&PortMap) -> bool) -> bool {
        let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
        self.ports.as_ref().is_none_or(|ports| has_ports && holds(ports))
    }

    /// The external end of an internal one.
    pub(in crate::dataplane) fn outward(&self, (address, port): (IpAddr, u16)) -> Name {
        let shifted = |ports: &PortMap| ports.external.start() + (port - ports.internal.start());
        (moved(address, self.external), self.ports.as_ref().map(shifted))
    }

    /// The internal end of an external one.
    pub(in crate::dataplane) fn inward(&self, (address, port): (IpAddr, u16)) -> Name {
        let shifted = |ports: &PortMap| ports.internal.start() + (port - ports.external.start());
        (moved(address, self.internal), self.ports.as_ref().map(shifted))
    }
}

fn holds(range: Ipv4Net, address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if range.contains(&address))
}

/// The address at the same offset of a range of the same size.
fn moved(address: IpAddr, range: Ipv4Net) -> IpAddr {
    let IpAddr::V4(address) = address else { return address };
    Ipv4Addr::from_bits(range.network().to_bits() | address.to_bits() & range.hostmask().to_bits()).into()
}

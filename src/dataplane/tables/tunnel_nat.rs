//! What the ends of a tunnel call each other's addresses (VPN-15).
//!
//! One idea: a map goes one way by a packet's source and the other way by its destination, so one list for each side of a
//! tunnel is all. It holds no flows: those of maps that are not one to one are port mappings like any other.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use crate::dataplane::PortPool;
use crate::wire::Protocol;

/// The lists of one tunnel; in each the first that fits.
#[derive(Debug, PartialEq, Eq)]
pub struct TunnelNat {
    /// Of addresses on this side.
    pub near: Box<[AddressMap]>,
    /// Of those on the other.
    pub far: Box<[AddressMap]>,
}

/// A range and what the other side calls it.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressMap {
    pub internal: Ipv4Net,
    pub external: Ipv4Net,
    /// It is about these alone; None for one of all that its addresses send and are sent.
    pub ports: Option<PortMap>,
    /// Flows from inside share the external addresses by ports; None where each address has its own.
    pub pool: Option<PortPool>,
}

/// Ports of TCP and UDP inside and what they are outside. Where each has its own, both are as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMap {
    pub internal: RangeInclusive<u16>,
    pub external: RangeInclusive<u16>,
}

/// An address and port that take the place of others; the port only where it changes.
pub(in crate::dataplane) type Name = (IpAddr, Option<u16>);

impl AddressMap {
    /// Whether it has the near end of a flow of this protocol.
    pub fn is_internal(&self, (address, port): (IpAddr, u16), protocol: Protocol) -> bool {
        holds(self.internal, address) && self.is_about(protocol, |ports| ports.internal.contains(&port))
    }

    /// Whether it has what the near end is called outside.
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

    /// What an internal end is called outside.
    pub(in crate::dataplane) fn outward(&self, (address, port): (IpAddr, u16)) -> Name {
        let shifted = |ports: &PortMap| ports.external.start() + (port - ports.internal.start());
        (moved(address, self.external), self.ports.as_ref().map(shifted))
    }

    /// Whose an external end is.
    pub(in crate::dataplane) fn inward(&self, (address, port): (IpAddr, u16)) -> Name {
        let shifted = |ports: &PortMap| ports.internal.start() + (port - ports.external.start());
        (moved(address, self.internal), self.ports.as_ref().map(shifted))
    }
}

fn holds(range: Ipv4Net, address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if range.contains(&address))
}

/// The address at the same place of a range as large.
fn moved(address: IpAddr, range: Ipv4Net) -> IpAddr {
    let IpAddr::V4(address) = address else { return address };
    Ipv4Addr::from_bits(range.network().to_bits() | address.to_bits() & range.hostmask().to_bits()).into()
}

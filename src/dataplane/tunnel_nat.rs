//! What the ends of a tunnel call each other's addresses (VPN-15).
//!
//! One idea: a map goes one way by a packet's source and the other way by its destination, so one list for each side of a
//! tunnel is all. It holds no flows: those of maps that are not one to one are port mappings like any other.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::PortPool;

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
    /// Flows from inside share the external addresses by ports; None where each address has its own.
    pub pool: Option<PortPool>,
}

impl AddressMap {
    pub fn is_internal(&self, address: IpAddr) -> bool {
        holds(self.internal, address)
    }

    pub fn is_external(&self, address: IpAddr) -> bool {
        holds(self.external, address)
    }

    /// What an internal address is called outside.
    pub(super) fn outward(&self, address: IpAddr) -> IpAddr {
        moved(address, self.external)
    }

    /// Whose an external address is.
    pub(super) fn inward(&self, address: IpAddr) -> IpAddr {
        moved(address, self.internal)
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

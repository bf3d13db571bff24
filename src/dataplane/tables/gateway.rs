//! A virtual network gateway as packets meet it.
//!
//! It stands in a GatewaySubnet by whose routes it forwards into virtual networks, and has a table of its own for what goes
//! out again. How far a connection is, and who spoke of which route, nobody here knows.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dataplane::{Fib, NicId, TunnelNat};

/// Index in [`Snapshot::gateways`](crate::dataplane::Snapshot::gateways).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u32);

#[derive(Debug)]
pub struct Gateway {
    /// Its own end in its subnet: what it is asked itself goes there, and what is too old to go on.
    pub nic: NicId,
    /// It goes by its subnet's routes first; the edge of a circuit stands in none.
    pub in_subnet: bool,
    /// Leads to tunnels, straight to the gateway at the other end of one, or to its own end.
    pub tunnels: Fib,
    /// Of the tunnels that do not carry all that is led into them.
    pub selectors: Box<[(NicId, Selectors)]>,
    /// Of the tunnels whose ends have other names for each other.
    pub nat: Box<[(NicId, TunnelNat)]>,
}

/// The pairs of ranges that a tunnel carries: each near one with each far one (VPN-16).
#[derive(Debug)]
pub struct Selectors {
    pub near: Box<[IpNet]>,
    pub far: Box<[IpNet]>,
}

impl Gateway {
    /// By what names a tunnel's packets go.
    pub fn nat(&self, tunnel: NicId) -> Option<&TunnelNat> {
        self.nat.iter().find(|(own, _)| *own == tunnel).map(|(_, nat)| nat)
    }

    /// Whether a tunnel carries packets between an address on this side and one on the other.
    pub fn carries(&self, tunnel: NicId, near: IpAddr, far: IpAddr) -> bool {
        let holds = |ranges: &[IpNet], address: &IpAddr| ranges.iter().any(|range| range.contains(address));
        let selectors = self.selectors.iter().find(|(own, _)| *own == tunnel);
        selectors.is_none_or(|(_, selectors)| holds(&selectors.near, &near) && holds(&selectors.far, &far))
    }
}

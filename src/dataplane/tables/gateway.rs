//! A virtual network gateway for the packet path.
//!
//! It is in a GatewaySubnet and uses that subnet's routes to forward into virtual networks, and it has its own table
//! for what leaves again. Distances and the origin of routes are not known here.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dataplane::{Fib, NicId, TunnelNat};

/// Index in [`Snapshot::gateways`](crate::dataplane::Snapshot::gateways).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u32);

#[derive(Debug)]
pub struct Gateway {
    /// Its own end in its subnet: it receives packets to the gateway itself, and those without hops left.
    pub nic: NicId,
    /// It uses its subnet's routes first. An edge router of a circuit is in no subnet.
    pub in_subnet: bool,
    /// Leads to tunnels, directly to the gateway at the other end of one, or to its own end.
    pub tunnels: Fib,
    /// Of the tunnels with traffic selectors.
    pub selectors: Box<[(NicId, Selectors)]>,
    /// Of the tunnels with NAT rules.
    pub nat: Box<[(NicId, TunnelNat)]>,
}

/// The pairs of ranges that a tunnel carries: each near one with each far one (VPN-16).
#[derive(Debug)]
pub struct Selectors {
    pub near: Box<[IpNet]>,
    pub far: Box<[IpNet]>,
}

impl Gateway {
    /// The NAT rules of a tunnel.
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

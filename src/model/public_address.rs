//! Access to the Internet: public addresses, NAT gateways, and the Internet itself as a lab has it.

use super::programs::Program;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

/// The address that default outbound access gives to all machines without another (SNAT-02). It has no owner, and no
/// public address may be it.
pub const DEFAULT_OUTBOUND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

/// Public addresses that Azure lends to many: no resource may have them.
pub const OWNERLESS: [Ipv4Addr; 2] = [DEFAULT_OUTBOUND, super::MANAGED_SNAT];

/// Index in [`Network::public_ip_addresses`](super::Network::public_ip_addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicIpIx(pub usize);

/// Index in [`Network::public_ip_prefixes`](super::Network::public_ip_prefixes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicPrefixIx(pub usize);

/// Index in [`Network::nat_gateways`](super::Network::nat_gateways).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NatGatewayIx(pub usize);

/// A public address. No two have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicIpAddress {
    pub name: String,
    pub address: IpAddr,
    pub sku: PublicIpSku,
}

/// What a public address may do. Basic is retired (PIP-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublicIpSku {
    Basic,
    #[default]
    Standard,
}

/// A range of public addresses in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicIpPrefix {
    pub name: String,
    pub prefix: IpNet,
}

/// What translates the flows that its subnets begin (NAT-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatGateway {
    pub name: String,
    pub addresses: Vec<PublicIpIx>,
    pub prefixes: Vec<PublicPrefixIx>,
    /// Of TCP; that of UDP is fixed (NAT-04).
    pub idle_timeout: Duration,
}

/// A public address in front of an interface's private one (PIP-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceAddress {
    pub private: IpAddr,
    pub public: PublicIpIx,
}

/// The Internet of a lab: one node, and the addresses that answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internet {
    pub addresses: Vec<IpAddr>,
    /// Program and arguments to start there when the lab is up; empty for none.
    pub run: Program,
    /// What it does not have itself is sought in the outer world, through the host (`egress: host`).
    pub host_egress: bool,
}

impl Internet {
    /// What the node is called.
    pub const NAME: &'static str = "internet";
    /// Its one interface.
    pub const INTERFACE: &'static str = "eth0";

    /// Whether it has an address, or seeks it through the host.
    pub fn has(&self, address: IpAddr) -> bool {
        let beyond = self.host_egress && address.is_ipv4() && is_routable(address);
        beyond || self.addresses.contains(&address)
    }
}

/// What the Internet does not carry over IPv4.
pub fn unroutable() -> impl Iterator<Item = IpNet> {
    UNROUTABLE_V4.iter().copied().map(IpNet::from)
}

/// Whether the Internet carries an address: not those of private networks, nor those of one link or host (UDR-15,
/// TAG-10).
pub fn is_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !UNROUTABLE_V4.iter().any(|range| range.contains(&address)),
        // Global unicast, of which all assigned addresses are (RFC 4291 section 2.4).
        IpAddr::V6(address) => address.segments()[0] >> 13 == 1,
    }
}

const UNROUTABLE_V4: [Ipv4Net; 8] = [
    range([0, 0, 0, 0], 8),
    range([10, 0, 0, 0], 8),
    range([100, 64, 0, 0], 10),
    range([127, 0, 0, 0], 8),
    range([169, 254, 0, 0], 16),
    range([172, 16, 0, 0], 12),
    range([192, 168, 0, 0], 16),
    range([224, 0, 0, 0], 3),
];

const fn range([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDR-15, TAG-10.
    #[test]
    fn the_internet_has_what_it_is_given_and_with_egress_what_is_routable() {
        let own = IpAddr::from([203, 0, 113, 5]);
        let alone = Internet { addresses: vec![own], run: Program::default(), host_egress: false };
        let with_egress = Internet { host_egress: true, ..alone.clone() };
        let private = [[10, 0, 0, 4], [172, 31, 255, 255], [192, 168, 0, 1], [100, 127, 0, 1], [224, 0, 0, 1]];
        let public = [[8, 8, 8, 8], [172, 32, 0, 1], [100, 128, 0, 1], [223, 255, 255, 255]];
        assert!(alone.has(own) && with_egress.has(own));
        assert!(public.iter().all(|address| with_egress.has((*address).into()) && !alone.has((*address).into())));
        assert!(!private.iter().any(|address| with_egress.has((*address).into()) || is_routable((*address).into())));
        // The host translates IPv4 alone.
        let six: IpAddr = "2001:4860:4860::8888".parse().expect("an address");
        assert!(is_routable(six) && !with_egress.has(six));
        assert!(!["fe80::1", "fd00::1", "::1"].iter().any(|six| is_routable(six.parse().expect("an address"))));
    }
}

//! Network security groups as users write them.

use ipnet::IpNet;

/// Index of an NSG in [`super::Network::network_security_groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NsgIx(pub usize);

/// A network security group: the user's rules; the default rules (NSG-06) are added by `compile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nsg {
    pub name: String,
    pub rules: Vec<SecurityRule>,
}

/// One rule (NSG-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityRule {
    pub name: String,
    /// 100–4096 for users' rules; lower is evaluated first.
    pub priority: u16,
    pub direction: Direction,
    pub access: Access,
    pub protocol: SecurityProtocol,
    /// Never empty.
    pub source: Vec<AddressPrefix>,
    /// Never empty; `*` is 0–65535.
    pub source_ports: Vec<PortRange>,
    pub destination: Vec<AddressPrefix>,
    pub destination_ports: Vec<PortRange>,
}

/// Seen from the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Inbound,
    Outbound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Allow,
    Deny,
}

/// A rule's protocol; `Icmp` covers ICMPv6 (FAB-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    Any,
    Tcp,
    Udp,
    Icmp,
    Esp,
    Ah,
}

/// What an address field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressPrefix {
    /// `*`: every IPv4 and IPv6 address.
    Any,
    Prefix(IpNet),
    Tag(ServiceTag),
}

/// Tags whose prefixes the fabric knows without a data file (TAG-01, TAG-10, TAG-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceTag {
    VirtualNetwork,
    Internet,
    AzureLoadBalancer,
}

/// Transport ports, both ends included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// Every port: `*`.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };
}

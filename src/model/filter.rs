//! Network security groups and application security groups as users write them.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{NicIx, ServiceTag};

/// Index of an NSG in [`super::Network::network_security_groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NsgIx(pub usize);

/// A network security group: the user's rules; the default rules (NSG-06) are added by `compile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nsg {
    pub name: String,
    pub rules: Vec<SecurityRule>,
    /// Running flows are judged anew when the rules change (NSG-23).
    pub flush_connection: bool,
}

/// Index of an application security group in [`super::Network::application_security_groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AsgIx(pub usize);

/// An application security group: interfaces of one VNet, for rules to name (ASG-01, ASG-02).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asg {
    pub name: String,
    /// In file order. All ipConfigurations of an interface are in the same groups.
    pub members: Vec<NicIx>,
}

/// One rule (NSG-01); an admin rule has another kind of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityRule<A = Access> {
    pub name: String,
    /// 100–4096 for users' rules of a security group; lower is evaluated first.
    pub priority: u16,
    pub direction: Direction,
    pub access: A,
    pub protocol: SecurityProtocol,
    /// Never empty.
    pub source: Vec<AddressPrefix>,
    /// Never empty; `*` is 0–65535.
    pub source_ports: Vec<PortRange>,
    pub destination: Vec<AddressPrefix>,
    pub destination_ports: Vec<PortRange>,
}

/// Seen from the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The addresses of its members (ASG-05); a field that names groups holds nothing else (ASG-07).
    Group(AsgIx),
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

impl AddressPrefix {
    pub fn group(&self) -> Option<AsgIx> {
        match self {
            Self::Group(group) => Some(*group),
            Self::Any | Self::Prefix(_) | Self::Tag(_) => None,
        }
    }
}

impl SecurityRule {
    /// The application groups in the field that faces the interface: only their members have the rule (ASG-04).
    pub fn facing_groups(&self) -> impl Iterator<Item = AsgIx> {
        let facing = match self.direction {
            Direction::Inbound => &self.destination,
            Direction::Outbound => &self.source,
        };
        facing.iter().filter_map(AddressPrefix::group)
    }
}

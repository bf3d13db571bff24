//! The distributed firewall of a private cloud's NSX-T: rules at the network adapter of each machine of a segment (AVS-12).
//!
//! One idea: a rule has ranges and ports here, where the file has names. What a rule leaves out matches everything.
//! `compile` decides which rules each machine gets.

use ipnet::Ipv4Net;

use super::{Access, CloudIx, Direction, Network, PortRange, SecurityProtocol};

/// The policies of a private cloud, in the order of evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistributedFirewall {
    pub policies: Vec<FirewallPolicy>,
}

/// NSX-T's `SecurityPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallPolicy {
    pub name: String,
    /// Its place in the file's list.
    pub place: usize,
    pub category: FirewallCategory,
    pub sequence_number: u32,
    /// In the order of evaluation.
    pub rules: Vec<FirewallRule>,
}

/// The categories for IP packets, in the order of evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FirewallCategory {
    Emergency,
    Infrastructure,
    Environment,
    #[default]
    Application,
}

/// NSX-T's `Rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallRule {
    pub name: String,
    /// None is `ANY`.
    pub sources: Option<Vec<Ipv4Net>>,
    pub destinations: Option<Vec<Ipv4Net>>,
    pub services: Option<Vec<FirewallService>>,
    pub action: Access,
    /// None is `IN_OUT`.
    pub direction: Option<Direction>,
    /// The machines that it is applied to, by index in [`super::PrivateCloud::segments`]. None is all.
    pub scope: Option<Vec<usize>>,
}

/// One protocol, and the ports of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallService {
    pub protocol: SecurityProtocol,
    /// Never empty.
    pub source_ports: Vec<PortRange>,
    pub destination_ports: Vec<PortRange>,
}

impl FirewallService {
    /// Every protocol.
    pub fn any() -> Self {
        Self {
            protocol: SecurityProtocol::Any,
            source_ports: vec![PortRange::ALL],
            destination_ports: vec![PortRange::ALL],
        }
    }
}

impl FirewallRule {
    /// Whether packets in a direction meet it at a machine.
    pub fn applies_to(&self, machine: usize, direction: Direction) -> bool {
        self.faces(direction) && self.scope.as_ref().is_none_or(|scope| scope.contains(&machine))
    }

    /// Whether packets in a direction meet it anywhere.
    pub fn faces(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|own| own == direction)
    }
}

impl DistributedFirewall {
    /// Whether the file has one. Without one no machine has a rule, and no flow a record.
    pub fn is_written(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Every rule with its policy, in the order of evaluation.
    pub fn rules(&self) -> impl Iterator<Item = (&FirewallPolicy, &FirewallRule)> {
        self.policies.iter().flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
    }
}

impl Network {
    /// The private clouds that have a distributed firewall.
    pub fn distributed_firewalls(&self) -> impl Iterator<Item = (CloudIx, &DistributedFirewall)> {
        self.clouds().map(|(ix, cloud)| (ix, &cloud.firewall)).filter(|(_, firewall)| firewall.is_written())
    }
}

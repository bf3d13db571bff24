//! How much of two virtual networks a peering joins: all of both, or the subnets that its links name (PEER-50).
//!
//! One idea: a link speaks for its own VNet. Its remote list says which ranges its VNet routes over it, its local list
//! which of its own subnets take part. A subnet takes part in the peering only if both links name it, so that two
//! links with different lists carry the subnets that both name. No connected group exists that a subnet peering could
//! win over (PEER-55).

use ipnet::IpNet;

use super::{LinkIx, Network, Peering, VirtualNetwork};

/// What a link joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeeringExtent {
    CompleteVnets,
    Subnets(PeeredSubnets),
}

/// The subnets of a subnet peering, as indices in their VNets' lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeeredSubnets {
    /// Never empty.
    pub local: Vec<usize>,
    /// Never empty.
    pub remote: Vec<usize>,
    /// Only their IPv6 ranges are joined.
    pub only_ipv6: bool,
}

impl PeeringExtent {
    /// What a link the other way says if it agrees.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        match self {
            Self::CompleteVnets => Self::CompleteVnets,
            Self::Subnets(PeeredSubnets { local, remote, only_ipv6 }) => {
                Self::Subnets(PeeredSubnets { local: remote.clone(), remote: local.clone(), only_ipv6: *only_ipv6 })
            }
        }
    }

    /// Of the link's own VNet.
    pub fn has_local(&self, subnet: usize) -> bool {
        match self {
            Self::CompleteVnets => true,
            Self::Subnets(subnets) => subnets.local.contains(&subnet),
        }
    }

    /// Of the other VNet.
    pub fn has_remote(&self, subnet: usize) -> bool {
        match self {
            Self::CompleteVnets => true,
            Self::Subnets(subnets) => subnets.remote.contains(&subnet),
        }
    }
}

impl Peering {
    /// The own ranges that this link joins, as they are now.
    pub fn local_ranges(&self, own: &VirtualNetwork) -> Vec<IpNet> {
        match &self.extent {
            PeeringExtent::CompleteVnets => own.address_space.clone(),
            PeeringExtent::Subnets(subnets) => subnets.ranges(own, &subnets.local),
        }
    }

    /// The remote's ranges that this link joins, as they are now (PEER-54).
    pub fn remote_ranges(&self, remote: &VirtualNetwork) -> Vec<IpNet> {
        match &self.extent {
            PeeringExtent::CompleteVnets => remote.address_space.clone(),
            PeeringExtent::Subnets(subnets) => subnets.ranges(remote, &subnets.remote),
        }
    }
}

impl PeeredSubnets {
    fn ranges(&self, vnet: &VirtualNetwork, subnets: &[usize]) -> Vec<IpNet> {
        let all = subnets.iter().flat_map(|&subnet| &vnet.subnets[subnet].prefixes);
        all.filter(|range| !self.only_ipv6 || matches!(range, IpNet::V6(_))).copied().collect()
    }
}

impl Network {
    /// The link's own subnets that take part in its peering (PEER-53); None where all do.
    pub fn participants(&self, at: LinkIx) -> Option<Vec<usize>> {
        let ours = &self.link(at).extent;
        // Then those of the other link do as well (PEER-52).
        if matches!(ours, PeeringExtent::CompleteVnets) {
            return None;
        }
        let theirs = self.counterpart(at).map(|other| &self.link(other).extent);
        let named = |&subnet: &usize| ours.has_local(subnet) && theirs.is_none_or(|theirs| theirs.has_remote(subnet));
        Some((0..self.vnet(at.vnet).subnets.len()).filter(named).collect())
    }
}

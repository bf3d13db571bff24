//! Network managers: the security admin rules that an organization puts before the security groups of its VNets.

use super::{SecurityRule, VnetIx};

/// A rule collection: its manager, that one's configuration, and its index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionIx {
    pub manager: usize,
    pub configuration: usize,
    pub collection: usize,
}

/// A network manager. Of several, the earlier in the file has the wider scope: its rules come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkManager {
    pub name: String,
    pub network_groups: Vec<NetworkGroup>,
    pub security_admin_configurations: Vec<SecurityAdminConfiguration>,
}

/// VNets that rules are given to together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkGroup {
    pub name: String,
    pub static_members: Vec<VnetIx>,
}

/// Deployed wherever its groups have members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAdminConfiguration {
    pub name: String,
    pub rule_collections: Vec<RuleCollection>,
}

/// Rules for the VNets of some groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCollection {
    pub name: String,
    /// Indices in [`NetworkManager::network_groups`].
    pub applies_to_groups: Vec<usize>,
    pub rules: Vec<AdminRule>,
}

/// A security admin rule; its priority is 1–4096, once in a collection (ADM-02).
pub type AdminRule = SecurityRule<AdminAccess>;

/// What an admin rule does (ADM-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdminAccess {
    /// The security groups are asked.
    Allow,
    /// The security groups are not asked.
    AlwaysAllow,
    Deny,
}

impl NetworkManager {
    /// Whether a collection's rules are for this VNet.
    pub fn covers(&self, collection: &RuleCollection, vnet: VnetIx) -> bool {
        collection.applies_to_groups.iter().any(|group| self.network_groups[*group].static_members.contains(&vnet))
    }
}

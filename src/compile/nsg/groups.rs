//! Application groups: their members' addresses (ASG-05), and which of a group's rules an interface has (ASG-04).

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use crate::model::{AsgIx, Direction, Network, NicIx, NsgIx};

/// The groups of a network.
pub(in crate::compile) struct Groups {
    /// By group: the addresses of its members, as the fewest prefixes.
    addresses: Vec<Vec<IpNet>>,
    memberships: HashMap<NicIx, HashSet<AsgIx>>,
    /// By NSG: whether it has rules for groups.
    facing: Vec<bool>,
}

impl Groups {
    pub(in crate::compile) fn of(network: &Network) -> Self {
        let mut memberships: HashMap<_, HashSet<_>> = HashMap::new();
        let mut addresses = Vec::new();
        for (group, asg) in network.application_security_groups.iter().enumerate() {
            let of_member = |nic: &NicIx| network.nic(*nic).addresses.iter().copied().map(IpNet::from);
            addresses.push(IpNet::aggregate(&asg.members.iter().flat_map(of_member).collect()));
            for nic in &asg.members {
                memberships.entry(*nic).or_default().insert(AsgIx(group));
            }
        }
        let nsgs = network.network_security_groups.iter();
        let facing = nsgs.map(|nsg| nsg.rules.iter().any(|rule| rule.facing_groups().next().is_some())).collect();
        Self { addresses, memberships, facing }
    }

    pub(in crate::compile) fn addresses(&self, group: AsgIx) -> &[IpNet] {
        &self.addresses[group.0]
    }

    /// The rules of an NSG that an interface does not have, since it is in none of the groups that they are for
    /// (ASG-04). No host behind a VNet's one TUN is in a group.
    pub(in crate::compile) fn withheld(
        &self,
        network: &Network,
        nsg: NsgIx,
        direction: Direction,
        nic: Option<NicIx>,
    ) -> Vec<usize> {
        if !self.facing[nsg.0] {
            return Vec::new();
        }
        let own = nic.and_then(|nic| self.memberships.get(&nic));
        let rules = network.network_security_groups[nsg.0].rules.iter().enumerate();
        let withheld = rules.filter(|(_, rule)| {
            let mut groups = rule.facing_groups().peekable();
            rule.direction == direction
                && groups.peek().is_some()
                && !groups.any(|group| own.is_some_and(|own| own.contains(&group)))
        });
        withheld.map(|(rule, _)| rule).collect()
    }
}

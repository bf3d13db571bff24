//! Security admin rules of a VNet as one list (ADM-01, ADM-02).

use crate::dataplane::Action;
use crate::model::{AdminAccess, AdminRule, CollectionIx, Direction, Network, VnetIx};

/// The collections that apply to a VNet, in file order.
pub(in crate::compile) fn collections(network: &Network, vnet: VnetIx) -> Vec<CollectionIx> {
    let covers = |at: CollectionIx| network.network_managers[at.manager].covers(network.rule_collection(at), vnet);
    network.rule_collections().map(|(at, _)| at).filter(|at| covers(*at)).collect()
}

/// Their rules in one direction, in the order of evaluation: a manager's before those of managers after it, then by
/// priority; of equal ones in two collections, the earlier collection's.
pub(in crate::compile) fn rules<'a>(
    network: &'a Network,
    collections: &[CollectionIx],
    direction: Direction,
) -> Vec<(CollectionIx, &'a AdminRule)> {
    let own = collections.iter().flat_map(|at| network.rule_collection(*at).rules.iter().map(move |rule| (*at, rule)));
    let mut own: Vec<_> = own.filter(|(_, rule)| rule.direction == direction).collect();
    own.sort_by_key(|(at, rule)| (at.manager, rule.priority));
    own
}

/// `ruleCollections/ssh/no-ssh`.
pub(in crate::compile) fn name(network: &Network, at: CollectionIx, rule: &AdminRule) -> String {
    format!("ruleCollections/{}/{}", network.rule_collection(at).name, rule.name)
}

impl From<AdminAccess> for Action {
    fn from(access: AdminAccess) -> Self {
        match access {
            AdminAccess::Allow => Self::Allow,
            AdminAccess::AlwaysAllow => Self::AlwaysAllow,
            AdminAccess::Deny => Self::Deny,
        }
    }
}

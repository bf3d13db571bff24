//! Prefixes that a peer knows by other addresses, because a gateway between us translates them.
//!
//! One idea: it sits between a session and the RIB, which knows every prefix by its address on our side alone.

use ipnet::IpNet;

use super::Update;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renaming {
    /// Pairs: the prefix that the peer advertises, and ours for it.
    pub inbound: Vec<(IpNet, IpNet)>,
    /// Pairs: our prefix, and the one that the peer receives.
    pub outbound: Vec<(IpNet, IpNet)>,
}

impl Renaming {
    /// Replaces the prefixes of an update that a peer has sent by ours.
    pub(super) fn inbound(&self, update: &mut Update) {
        if self.inbound.is_empty() {
            return;
        }
        let announced = update.announced.iter_mut().flat_map(|reach| &mut reach.prefixes);
        for prefix in update.withdrawn.iter_mut().chain(announced) {
            *prefix = renamed(&self.inbound, *prefix);
        }
    }

    /// The prefix that a peer receives for ours.
    pub fn outbound(&self, prefix: IpNet) -> IpNet {
        renamed(&self.outbound, prefix)
    }
}

/// Only exactly a listed prefix has another name.
fn renamed(names: &[(IpNet, IpNet)], prefix: IpNet) -> IpNet {
    names.iter().find(|(known, _)| *known == prefix).map_or(prefix, |(_, other)| *other)
}

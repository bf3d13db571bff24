//! Ranges that a peer knows by other names, as somebody between us translates addresses.
//!
//! One idea: it stands between a session and the table of routes, which knows every range by our name alone.

use ipnet::IpNet;

use super::Update;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renaming {
    /// What the peer says, and what it is to us.
    pub said: Vec<(IpNet, IpNet)>,
    /// What is ours, and what it is to the peer.
    pub told: Vec<(IpNet, IpNet)>,
}

impl Renaming {
    /// What a peer has said, by our names.
    pub(super) fn hear(&self, update: &mut Update) {
        if self.said.is_empty() {
            return;
        }
        let announced = update.announced.iter_mut().flat_map(|reach| &mut reach.prefixes);
        for prefix in update.withdrawn.iter_mut().chain(announced) {
            *prefix = renamed(&self.said, *prefix);
        }
    }

    /// What a range of ours is called there.
    pub fn tell(&self, prefix: IpNet) -> IpNet {
        renamed(&self.told, prefix)
    }
}

/// Exactly a range that has another name, or else the same.
fn renamed(names: &[(IpNet, IpNet)], prefix: IpNet) -> IpNet {
    names.iter().find(|(known, _)| *known == prefix).map_or(prefix, |(_, other)| *other)
}

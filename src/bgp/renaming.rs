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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::bgp::message::Reach;

    fn prefixes(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|prefix| prefix.parse().unwrap()).collect()
    }

    #[test]
    fn a_listed_prefix_has_its_other_name_in_each_direction_and_others_keep_theirs() {
        let pair = |known: &str, other: &str| (known.parse().unwrap(), other.parse().unwrap());
        let names = Renaming {
            inbound: vec![pair("10.0.1.0/24", "172.30.0.0/24"), pair("10.0.2.0/24", "172.30.1.0/24")],
            outbound: vec![pair("10.10.0.0/24", "192.168.0.0/24")],
        };
        let next_hop = "10.0.1.1".parse().unwrap();
        let announced = ["10.0.1.0/24", "10.0.0.0/16", "10.0.2.0/24"];
        let mut update = Update {
            withdrawn: prefixes(&["10.0.2.0/24", "10.0.1.128/25", "10.10.0.0/24"]),
            announced: vec![Reach { next_hop, prefixes: prefixes(&announced) }],
            ..Update::default()
        };
        names.inbound(&mut update);
        assert_eq!(update.withdrawn, prefixes(&["172.30.1.0/24", "10.0.1.128/25", "10.10.0.0/24"]));
        assert_eq!(update.announced[0].prefixes, prefixes(&["172.30.0.0/24", "10.0.0.0/16", "172.30.1.0/24"]));
        let told =
            ["10.10.0.0/24", "10.10.0.0/25", "10.0.1.0/24"].map(|prefix| names.outbound(prefix.parse().unwrap()));
        assert_eq!(told.to_vec(), prefixes(&["192.168.0.0/24", "10.10.0.0/25", "10.0.1.0/24"]));
    }
}

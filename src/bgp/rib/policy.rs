//! Import and export policies of a peer: as data, in BGP's words alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::bgp::message::{Asn, Attributes, Community, Family};

/// Peers that are alike to split rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub group: Group,
    pub import: Import,
    pub export: Export,
}

/// What is taken from a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Prefixes equal to these or inside them are refused (BGP-11).
    pub refuse_within: Vec<IpNet>,
    /// Higher wins before anything else is compared (ER-13).
    pub weight: u32,
    /// More prefixes than these end the session (BGP-08).
    pub prefixes_max: Option<u32>,
}

/// What is advertised to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Our own address towards the peer, by family; a family without one is not advertised.
    pub next_hops: NextHops,
    /// Leave the next hop of what we learned as it is, where it has one: packets do not pass through us (ARS-02).
    pub next_hop_unchanged: bool,
    /// Routes of ours that are not advertised.
    pub withheld: Vec<IpNet>,
    /// Pass on a learned default route (BGP-12: not by default).
    pub default_route: bool,
    /// Learned routes that overlap these are not passed on (BGP-10).
    pub refuse_overlapping: Vec<IpNet>,
    /// Nor those learned from peers of these groups (BGP-22, ER-05, ARS-06).
    pub refuse_from: Vec<Group>,
    /// These numbers are taken out of the path (ER-15).
    pub without: Vec<Asn>,
    /// Our AS number so many times more than once (BGP-14).
    pub prepend: u8,
    /// Added to all.
    pub communities: Vec<Community>,
    /// A client of route reflection (RFC 4456): routes of our own AS are advertised to it, and its routes to our AS.
    pub client: bool,
    /// More prefixes than these, and the session goes down until there are fewer (ER-03).
    pub prefixes_max: Option<u32>,
}

/// An ordinary router's: everything is passed on, through us.
impl Default for Export {
    fn default() -> Self {
        Self {
            next_hops: NextHops::default(),
            next_hop_unchanged: false,
            withheld: vec![],
            default_route: true,
            refuse_overlapping: vec![],
            refuse_from: vec![],
            without: vec![],
            prepend: 0,
            communities: vec![],
            client: false,
            prefixes_max: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

impl NextHops {
    pub fn of(self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4.map(IpAddr::V4),
            Family::Ipv6 => self.ipv6.map(IpAddr::V6),
        }
    }
}

/// Why a route of a peer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Equal to or inside a prefix of ours (BGP-11).
    OwnSpace,
    /// It came through us (BGP-13).
    OwnAsn,
    /// Its path does not begin with the peer (RFC 4271 section 6.3).
    FirstAsn,
    /// It leads back to us (RFC 4271 section 5.1.3).
    OwnNextHop,
}

/// A peer as far as routes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub asn: Asn,
    /// Of our own system.
    pub internal: bool,
    pub identifier: Ipv4Addr,
}

impl Policy {
    /// Whether a route from this peer may be used.
    pub(super) fn refusal(
        &self,
        own: Asn,
        neighbour: &Neighbour,
        prefix: &IpNet,
        next_hop: IpAddr,
        attributes: &Attributes,
    ) -> Option<Refusal> {
        let own_hop = self.export.next_hops.of(Family::of(prefix)) == Some(next_hop);
        if self.import.refuse_within.iter().any(|space| space.contains(prefix)) {
            Some(Refusal::OwnSpace)
        } else if attributes.as_path.contains(own) {
            Some(Refusal::OwnAsn)
        } else if !neighbour.internal && attributes.as_path.first() != Some(neighbour.asn) {
            Some(Refusal::FirstAsn)
        } else if own_hop {
            Some(Refusal::OwnNextHop)
        } else {
            None
        }
    }
}

impl Export {
    /// Whether a learned route may be passed on.
    pub(super) fn passes(&self, prefix: &IpNet, from: Group) -> bool {
        let overlaps = |space: &IpNet| space.contains(prefix) || prefix.contains(space);
        (self.default_route || prefix.prefix_len() > 0)
            && !self.refuse_from.contains(&from)
            && !self.refuse_overlapping.iter().any(overlaps)
    }
}

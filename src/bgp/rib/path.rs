//! One path to a prefix, and which of several is better.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::PeerId;
use crate::bgp::message::Attributes;

/// What a route without LOCAL_PREF counts as.
pub(super) const LOCAL_PREF: u32 = 100;

/// Where a path comes from. The order is that of preference: own networks, then static routes (BGP-17), then what peers
/// say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Network,
    Static,
    Peer(PeerId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub source: Source,
    /// None: it ends here.
    pub next_hop: Option<IpAddr>,
    pub attributes: Arc<Attributes>,
    /// Ours alone; higher wins first (ER-13).
    pub weight: u32,
    /// From a peer of our own system.
    pub internal: bool,
    /// The peer's.
    pub identifier: Ipv4Addr,
}

impl Path {
    /// Less is better; equal paths are used together (BGP-14). Neither origin nor MED is compared: Azure documents the
    /// length of the path alone.
    pub(super) fn preference(&self, other: &Self) -> Ordering {
        let local_pref = |path: &Self| path.attributes.local_pref.unwrap_or(LOCAL_PREF);
        self.rank()
            .cmp(&other.rank())
            .then(other.weight.cmp(&self.weight))
            .then_with(|| local_pref(other).cmp(&local_pref(self)))
            .then_with(|| self.attributes.as_path.length().cmp(&other.attributes.as_path.length()))
            // RFC 4271 section 9.1.2.2 (d): or two instances would hand packets to each other.
            .then(self.internal.cmp(&other.internal))
    }

    /// Which of equal paths is advertised: any, but always the same.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.preference(other).then((self.identifier, self.source).cmp(&(other.identifier, other.source)))
    }

    const fn rank(&self) -> u8 {
        match self.source {
            Source::Network => 0,
            Source::Static => 1,
            Source::Peer(_) => 2,
        }
    }
}

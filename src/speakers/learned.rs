//! From a speaker's routes to what goes by them: the fabric's tables, or a kernel's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Node;
use crate::bgp::{Path, PeerId, Source, Speaker};

/// By what leads there, the prefixes to which a node's peers are the best way, or one of several.
pub fn best_ways(node: &Node, speaker: &Speaker) -> BTreeMap<String, Vec<IpNet>> {
    let mut ways: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for prefix in speaker.prefixes() {
        // What the other instance says it says of its own tunnels.
        let outside = learned(speaker, prefix).filter(|(_, path)| !path.internal);
        for peer in outside.filter_map(|(peer, _)| node.peer(peer)) {
            let known = ways.entry(peer.over.clone()).or_default();
            if known.last() != Some(prefix) {
                known.push(*prefix);
            }
        }
    }
    ways
}

/// The next hops of what has been learned, the best ones alone.
pub fn kernel_routes(speaker: &Speaker) -> BTreeMap<IpNet, Vec<IpAddr>> {
    let hops = |prefix: &IpNet| {
        let mut hops: Vec<_> = learned(speaker, prefix).filter_map(|(_, path)| path.next_hop).collect();
        hops.sort_unstable();
        hops.dedup();
        hops
    };
    let routes = speaker.prefixes().map(|prefix| (*prefix, hops(prefix)));
    routes.filter(|(_, hops)| !hops.is_empty()).collect()
}

fn learned<'a>(speaker: &'a Speaker, prefix: &IpNet) -> impl Iterator<Item = (PeerId, &'a Path)> {
    speaker.best(prefix).filter_map(|path| match path.source {
        Source::Peer(peer) => Some((peer, path)),
        Source::Network | Source::Static => None,
    })
}

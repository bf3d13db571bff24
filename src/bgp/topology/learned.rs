//! From a speaker's routes to the tables that use them: the fabric's, or a kernel's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::bgp::{Asn, Path, PeerId, Source, Speaker, State};
use crate::model::{Advertisement, BgpLearned};

use super::{Node, Sink};

/// Adds the routes that a router has learned for the fabric's tables.
pub fn collect_learned(node: &Node, speaker: &Speaker, heard: &mut BgpLearned) {
    match node.sink {
        Sink::Fabric => {
            heard.by_connection.extend(best_paths(node, speaker));
            measure(node, speaker, heard);
        }
        Sink::Appliances => {
            measure(node, speaker, heard);
            let through = heard.by_route_server.entry(node.host.clone()).or_default();
            // The other instance reports its own, and the fabric knows gateways' routes.
            for (prefix, hops) in next_hops(speaker, |path| !path.internal) {
                let known: &mut Vec<_> = through.entry(prefix).or_default();
                known.extend(hops);
                known.sort_unstable();
                known.dedup();
            }
        }
        Sink::Edge => learned_best(node, speaker, heard.by_circuit.entry(node.host.clone()).or_default()),
        Sink::CloudEdge if node.peers.iter().any(|peer| has_spoken(speaker, peer.id)) => {
            learned_best(node, speaker, heard.by_circuit.entry(node.host.clone()).or_default());
        }
        Sink::Beside => learned_best(node, speaker, heard.by_gateway.entry(node.host.clone()).or_default()),
        Sink::CloudEdge | Sink::Kernel | Sink::Cloud => {}
    }
}

/// Whether a peer has advertised something, or has lost its session since.
fn has_spoken(speaker: &Speaker, peer: PeerId) -> bool {
    speaker.status(peer).is_some_and(|status| {
        let lost = status.counters.established > 0 && status.state != State::Established;
        lost || status.routes_received > 0
    })
}

/// Adds the AS path lengths of the best paths from outside.
fn measure(node: &Node, speaker: &Speaker, heard: &mut BgpLearned) {
    let known = heard.path_lengths.entry(node.host.clone()).or_default();
    for prefix in speaker.prefixes() {
        let outside = learned(speaker, prefix).filter(|(_, path)| !path.internal);
        if let Some(length) = outside.map(|(_, path)| path.attributes.as_path.asns().count()).min() {
            let shortest = known.entry(*prefix).or_insert(length);
            *shortest = length.min(*shortest);
        }
    }
}

/// What a node's peers advertise, and over what, by the shortest path: even if the node has a better path from
/// elsewhere.
fn learned_best(node: &Node, speaker: &Speaker, all: &mut BTreeMap<IpNet, Advertisement>) {
    for peer in &node.peers {
        for (prefix, path, _) in speaker.learned(peer.id).filter(|(_, _, refusal)| refusal.is_none()) {
            let as_path: Vec<_> = path.attributes.as_path.asns().map(|Asn(asn)| asn).collect();
            all.entry(*prefix).or_default().add(as_path, peer.over.clone());
        }
    }
}

/// By connection, the prefixes with a best path over a node's peers, or one of several.
fn best_paths(node: &Node, speaker: &Speaker) -> BTreeMap<String, Vec<IpNet>> {
    let mut paths: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for prefix in speaker.prefixes() {
        // The other instance reports its own tunnels' routes.
        let outside = learned(speaker, prefix).filter(|(_, path)| !path.internal);
        for peer in outside.filter_map(|(peer, _)| node.peer(peer)) {
            let known = paths.entry(peer.over.clone()).or_default();
            if known.last() != Some(prefix) {
                known.push(*prefix);
            }
        }
    }
    paths
}

/// The next hops of the best learned paths, and the peers that they are from.
pub fn kernel_routes(speaker: &Speaker) -> BTreeMap<IpNet, Vec<(IpAddr, PeerId)>> {
    let hops = |prefix| learned(speaker, prefix).filter_map(|(peer, path)| Some((path.next_hop?, peer))).collect();
    let routes = speaker.prefixes().map(|prefix| (*prefix, hops(prefix)));
    routes.filter(|(_, hops): &(_, Vec<_>)| !hops.is_empty()).collect()
}

/// The routers among next hops, each once.
pub fn routers<T>(hops: &[(IpAddr, T)]) -> Vec<IpAddr> {
    let mut routers: Vec<_> = hops.iter().map(|(router, _)| *router).collect();
    routers.sort_unstable();
    routers.dedup();
    routers
}

fn next_hops(speaker: &Speaker, counts: impl Fn(&Path) -> bool) -> impl Iterator<Item = (IpNet, Vec<IpAddr>)> {
    let hops = move |prefix: &IpNet| {
        let best = learned(speaker, prefix).map(|(_, path)| path).filter(|path| counts(path));
        let mut hops: Vec<_> = best.filter_map(|path| path.next_hop).collect();
        hops.sort_unstable();
        hops.dedup();
        hops
    };
    let routes = speaker.prefixes().map(move |prefix| (*prefix, hops(prefix)));
    routes.filter(|(_, hops)| !hops.is_empty())
}

fn learned<'a>(speaker: &'a Speaker, prefix: &IpNet) -> impl Iterator<Item = (PeerId, &'a Path)> {
    speaker.best(prefix).filter_map(|path| match path.source {
        Source::Peer(peer) => Some((peer, path)),
        Source::Network | Source::Static => None,
    })
}

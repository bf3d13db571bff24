//! BGP in memory: the routes of a network's routers once BGP has converged.
//!
//! Sessions are byte pipes between speakers, and no time passes. A program that speaks instead of us is taken for one
//! that says what the file says of it.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::bgp::{PeerId, Side, Speaker, Transport};
use crate::model::{BgpLearned, Learned, Network};

use super::{Node, collect_learned, kernel_routes, nodes, routers};

/// Messages that pass between two speakers in one go; far more than any network's routers send.
const ROUNDS_MAX: usize = 100_000;

/// How often routes learned at Azure's borders may change the routes advertised there: a route takes one wave a border that it
/// passes.
const WAVES_MAX: usize = 16;

/// The speakers of a network, and the routes that they have exchanged.
#[derive(Debug)]
pub struct Converged {
    nodes: Vec<(Node, Speaker)>,
}

/// Two ends of a session: a node's place, and its number for the peer.
type Session = [(usize, PeerId); 2];

/// Runs a network's routers until they have converged. `now` is any moment: no time passes.
pub fn converge(network: &Network, now: Instant) -> Converged {
    let mut learned = Learned::default();
    for _ in 0..WAVES_MAX {
        let nodes = nodes(network, &learned);
        let inland = !nodes.iter().any(Node::is_border);
        let converged = speak(nodes, now);
        let heard = converged.learned();
        if inland || heard == learned {
            return converged;
        }
        learned = heard;
    }
    speak(nodes(network, &learned), now)
}

/// What is learned once the file has changed: routes that the change touches are those that its routers then exchange,
/// and all others are as they were learned. None where it touches none.
pub fn relearned((before, after): (&Network, &Network), known: &Learned, now: Instant) -> Option<Learned> {
    if nodes(before, known) == nodes(after, known) {
        return None;
    }
    let [before, after] = [before, after].map(|network| converge(network, now).learned());
    let mut learned = known.clone();
    let (bgp, was, is) = (&mut learned.bgp, &before.bgp, &after.bgp);
    update(&mut bgp.by_connection, &was.by_connection, &is.by_connection);
    update(&mut bgp.by_route_server, &was.by_route_server, &is.by_route_server);
    update(&mut bgp.by_circuit, &was.by_circuit, &is.by_circuit);
    update(&mut bgp.by_gateway, &was.by_gateway, &is.by_gateway);
    update(&mut bgp.path_lengths, &was.path_lengths, &is.path_lengths);
    update(&mut learned.sites, &before.sites, &after.sites);
    Some(learned)
}

/// Takes over the entries that differ.
fn update<V: Clone + PartialEq>(known: &mut BTreeMap<String, V>, was: &BTreeMap<String, V>, is: &BTreeMap<String, V>) {
    for (name, value) in is.iter().filter(|(name, value)| was.get(*name) != Some(*value)) {
        known.insert(name.clone(), value.clone());
    }
    for name in was.keys().filter(|name| !is.contains_key(*name)) {
        known.remove(name);
    }
}

fn speak(nodes: Vec<Node>, now: Instant) -> Converged {
    let mut speakers: Vec<_> = (0..).zip(&nodes).map(|(seed, node)| node.speaker(seed, now)).collect();
    let sessions = sessions(&nodes);
    for ends in &sessions {
        for (place, id) in ends {
            let peer = nodes[*place].peer(*id).expect("a session is between peers");
            speakers[*place].add_peer(*id, peer.config.clone(), now);
        }
    }
    for _ in 0..ROUNDS_MAX {
        let moved = sessions.iter().filter(|ends| advance(&mut speakers, **ends, now)).count();
        if moved == 0 {
            break;
        }
    }
    Converged { nodes: nodes.into_iter().zip(speakers).collect() }
}

impl Converged {
    /// What the network's tables follow from.
    pub fn learned(&self) -> Learned {
        let mut heard = BgpLearned::default();
        self.nodes.iter().for_each(|(node, speaker)| collect_learned(node, speaker, &mut heard));
        let devices = self.nodes.iter().filter(|(node, _)| node.sink == super::Sink::Kernel);
        let routes = |speaker| -> BTreeMap<_, _> {
            kernel_routes(speaker).into_iter().map(|(prefix, hops)| (prefix, routers(&hops))).collect()
        };
        let sites = devices.map(|(node, speaker)| (node.host.clone(), routes(speaker).into()));
        Learned { bgp: heard, sites: sites.collect(), ..Learned::default() }
    }

    /// Every router with its speaker.
    pub fn nodes(&self) -> &[(Node, Speaker)] {
        &self.nodes
    }
}

/// The sessions with ends that know each other; the end that connects comes first.
fn sessions(nodes: &[Node]) -> Vec<Session> {
    let mut ends = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        for peer in node.peers.iter().filter(|peer| peer.up) {
            let Some(far) = &peer.node else { continue };
            let [local, remote] = peer.there;
            ends.insert([(&node.name, local), (far, remote)], (place, peer.id));
        }
    }
    let both = ends.iter().filter(|([near, far], _)| near < far);
    let both = both.filter_map(|([near, far], end)| Some([*end, *ends.get(&[*far, *near])?]));
    let passive = |(place, id): (usize, PeerId)| nodes[place].peer(id).is_some_and(|peer| peer.config.passive);
    both.map(|[a, b]| if passive(a) { [b, a] } else { [a, b] }).collect()
}

/// Whether something moved between two ends.
fn advance(speakers: &mut [Speaker], [opener, other]: Session, now: Instant) -> bool {
    let ((a, id_a), (b, id_b)) = (opener, other);
    if speakers[a].transport(id_a, Side::Local) == Transport::Connecting
        && speakers[b].transport(id_b, Side::Remote) == Transport::Absent
    {
        return speakers[b].handle_connected(id_b, Side::Remote, now)
            && speakers[a].handle_connected(id_a, Side::Local, now);
    }
    let there = pass(speakers, (a, id_a, Side::Local), (b, id_b, Side::Remote), now);
    let back = pass(speakers, (b, id_b, Side::Remote), (a, id_a, Side::Local), now);
    there || back
}

type End = (usize, PeerId, Side);

fn pass(speakers: &mut [Speaker], (from, id, side): End, (to, to_id, to_side): End, now: Instant) -> bool {
    let bytes = speakers[from].outgoing(id, side).to_vec();
    if !bytes.is_empty() {
        speakers[from].handle_sent(id, side, bytes.len(), now);
        speakers[to].handle_bytes(to_id, to_side, &bytes, now);
    }
    !bytes.is_empty()
}

//! The RIB: all paths to each prefix, the best of them, and what each peer is advertised.
//!
//! One table holds every path by prefix, best first; a peer's routes, the best ones and the local ones are views of it.
//! Routes are kept as peers advertise them, with the reason if it may not be used: a changed policy judges anew and
//! needs no peer. A change marks its prefix for [`Rib::poll_change`] and for every peer ([`outbound`]).

mod outbound;
mod path;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::BytesMut;
use ipnet::IpNet;

use super::message::{AsPath, Asn, Attributes, Community, Context, Family, Update};
pub use outbound::Announcement;
use outbound::Outbound;
pub use path::{Path, Source};
pub use policy::{Export, Group, Import, Neighbour, NextHops, Policy, Refusal};

/// A peer, as its owner numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// More prefixes than the peer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    pub family: Family,
    pub limit: u32,
}

/// A route that we make ourselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origination {
    /// None for an own network.
    pub next_hop: Option<IpAddr>,
    /// The AS path of earlier routers: empty for a route of ours.
    pub as_path: AsPath,
    pub communities: Vec<Community>,
}

#[derive(Debug)]
struct Candidate {
    path: Path,
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Peer {
    neighbour: Neighbour,
    policy: Policy,
    /// The number of prefixes received from it, refused ones too.
    received: u32,
    outbound: Outbound,
}

#[derive(Debug)]
pub struct Rib {
    own: Asn,
    /// By prefix, in order of preference, refused ones last; never empty.
    table: BTreeMap<IpNet, Vec<Candidate>>,
    /// The established ones.
    peers: BTreeMap<PeerId, Peer>,
    changed: BTreeSet<IpNet>,
}

impl Rib {
    pub const fn new(own: Asn) -> Self {
        Self { own, table: BTreeMap::new(), peers: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// A session is established: all routes are pending for the peer.
    pub fn peer_up(&mut self, id: PeerId, neighbour: Neighbour, policy: Policy) {
        let mut outbound = Outbound::default();
        self.table.keys().for_each(|prefix| outbound.mark(*prefix));
        self.peers.insert(id, Peer { neighbour, policy, received: 0, outbound });
    }

    /// A session has ended: its routes are gone.
    pub fn peer_down(&mut self, id: PeerId) {
        if self.peers.remove(&id).is_some() {
            for prefix in self.prefixes_of(Source::Peer(id)) {
                self.change(prefix, &mut |candidates| candidates.retain(|known| known.path.source != Source::Peer(id)));
            }
        }
    }

    /// Applies a peer's policy again, and marks what has changed for it.
    pub fn set_policy(&mut self, id: PeerId, policy: &Policy) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.policy = policy.clone();
        let neighbour = peer.neighbour;
        self.table.keys().for_each(|prefix| peer.outbound.mark(*prefix));
        let own = self.own;
        for prefix in self.prefixes_of(Source::Peer(id)) {
            self.change(prefix, &mut |candidates| {
                for Candidate { path, refusal } in
                    candidates.iter_mut().filter(|known| known.path.source == Source::Peer(id))
                {
                    path.weight = policy.import.weight;
                    *refusal =
                        path.next_hop.and_then(|hop| policy.refusal(own, &neighbour, &prefix, hop, &path.attributes));
                }
            });
        }
    }

    /// Takes in a peer's update. An error above the prefix limit: then its session has to end.
    pub fn update(&mut self, id: PeerId, update: &Update) -> Result<(), TooMany> {
        for prefix in &update.withdrawn {
            self.withdraw_learned(id, *prefix);
        }
        for reach in &update.announced {
            for prefix in &reach.prefixes {
                self.learn(id, *prefix, reach.next_hop, &update.attributes)?;
            }
        }
        Ok(())
    }

    fn withdraw_learned(&mut self, id: PeerId, prefix: IpNet) {
        if self.change(prefix, &mut |candidates| candidates.retain(|known| known.path.source != Source::Peer(id)))
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.received -= 1;
        }
    }

    fn learn(
        &mut self,
        id: PeerId,
        prefix: IpNet,
        next_hop: IpAddr,
        attributes: &Arc<Attributes>,
    ) -> Result<(), TooMany> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let source = Source::Peer(id);
        let known = self.table.get(&prefix).is_some_and(|known| known.iter().any(|known| known.path.source == source));
        if !known {
            if let Some(limit) = peer.policy.import.prefixes_max.filter(|limit| peer.received >= *limit) {
                return Err(TooMany { family: Family::of(&prefix), limit });
            }
            peer.received += 1;
        }
        let path = Path {
            source,
            next_hop: Some(next_hop),
            attributes: Arc::clone(attributes),
            weight: peer.policy.import.weight,
            internal: peer.neighbour.internal,
            identifier: peer.neighbour.identifier,
        };
        let refusal = peer.policy.refusal(self.own, &peer.neighbour, &prefix, next_hop, attributes);
        self.put(prefix, &path, refusal);
        Ok(())
    }

    /// Adds or replaces an own network ([`Source::Network`]) or a static route.
    pub fn originate(&mut self, prefix: IpNet, source: Source, origination: Origination) {
        let Origination { next_hop, as_path, communities } = origination;
        let attributes = Attributes { as_path, communities, ..Attributes::default() };
        let path = Path {
            source,
            next_hop,
            attributes: Arc::new(attributes),
            weight: 0,
            internal: false,
            identifier: Ipv4Addr::UNSPECIFIED,
        };
        self.put(prefix, &path, None);
    }

    /// Takes back what [`Self::originate`] added.
    pub fn withdraw(&mut self, prefix: IpNet, source: Source) {
        self.change(prefix, &mut |candidates| candidates.retain(|known| known.path.source != source));
    }

    fn put(&mut self, prefix: IpNet, path: &Path, refusal: Option<Refusal>) {
        self.change(prefix, &mut |candidates| {
            candidates.retain(|known| known.path.source != path.source);
            candidates.push(Candidate { path: path.clone(), refusal });
        });
    }

    /// The only place where the table changes: sorts, and marks the prefix if the best paths are others now. Whether
    /// there are fewer candidates than before.
    fn change(&mut self, prefix: IpNet, edit: &mut dyn FnMut(&mut Vec<Candidate>)) -> bool {
        let candidates = self.table.entry(prefix).or_default();
        let before: Vec<Path> = best(candidates).cloned().collect();
        let count = candidates.len();
        edit(candidates);
        candidates.sort_by(|a, b| a.refusal.is_some().cmp(&b.refusal.is_some()).then_with(|| a.path.order(&b.path)));
        let differs = !best(candidates).eq(&before);
        let fewer = candidates.len() < count;
        if candidates.is_empty() {
            self.table.remove(&prefix);
        }
        if differs {
            self.changed.insert(prefix);
            for peer in self.peers.values_mut() {
                peer.outbound.mark(prefix);
            }
        }
        fewer
    }

    fn prefixes_of(&self, source: Source) -> Vec<IpNet> {
        let of = |candidates: &[Candidate]| candidates.iter().any(|known| known.path.source == source);
        self.table.iter().filter(|(_, candidates)| of(candidates)).map(|(prefix, _)| *prefix).collect()
    }

    /// The next prefix with changed best paths; each is returned once, however often it changed. Call until None after
    /// every change.
    pub fn poll_change(&mut self) -> Option<IpNet> {
        self.changed.pop_first()
    }

    /// The best paths to a prefix, all equal; none if there is no usable one.
    pub fn best(&self, prefix: &IpNet) -> impl Iterator<Item = &Path> {
        self.table.get(prefix).into_iter().flat_map(|candidates| best(candidates))
    }

    /// Every prefix that has a usable path.
    pub fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.table.iter().filter(|(_, candidates)| best(candidates).next().is_some()).map(|(prefix, _)| prefix)
    }

    /// All routes that a peer has advertised, with the reason where one is not used.
    pub fn learned(&self, id: PeerId) -> impl Iterator<Item = (&IpNet, &Path, Option<Refusal>)> {
        self.table.iter().flat_map(move |(prefix, candidates)| {
            let of = move |known: &&Candidate| known.path.source == Source::Peer(id);
            candidates.iter().filter(of).map(move |known| (prefix, &known.path, known.refusal))
        })
    }

    /// The number of prefixes received from a peer, refused ones too.
    pub fn received(&self, id: PeerId) -> u32 {
        self.peers.get(&id).map_or(0, |peer| peer.received)
    }

    /// The routes advertised to a peer.
    pub fn advertised(&self, id: PeerId) -> impl Iterator<Item = (&IpNet, &Announcement)> {
        self.peers.get(&id).into_iter().flat_map(|peer| peer.outbound.advertised())
    }

    /// The number of routes not advertised to a peer because their attributes do not fit into one message.
    pub fn too_long(&self, id: PeerId) -> u64 {
        self.peers.get(&id).map_or(0, |peer| peer.outbound.too_long())
    }

    /// A peer asks for all routes of a family again.
    pub fn repeat(&mut self, id: PeerId, family: Family) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.outbound.repeat(family);
        }
    }

    /// Whether changes are pending for a peer.
    pub fn is_pending(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.outbound.is_pending())
    }

    /// Writes some of a peer's pending changes, and returns the number of messages.
    pub fn write(
        &mut self,
        id: PeerId,
        (families, renaming): (super::Families, &super::Renaming),
        context: Context,
        out: &mut BytesMut,
    ) -> u64 {
        // Out of the map meanwhile: its routes depend on the other peers too.
        let Some(mut peer) = self.peers.remove(&id) else { return 0 };
        let export = |prefix: &IpNet| {
            let wanted = families.has(Family::of(prefix));
            wanted.then(|| self.export(id, &peer.neighbour, &peer.policy.export, prefix)).flatten()
        };
        let messages = peer.outbound.write(export, renaming, context, out);
        self.peers.insert(id, peer);
        messages
    }

    /// The next pending change for a peer: a prefix with its new route, or None for a withdrawal. For a driver without
    /// messages; call until None.
    pub fn poll_announcement(&mut self, id: PeerId) -> Option<(IpNet, Option<Announcement>)> {
        let mut peer = self.peers.remove(&id)?;
        let export = |prefix: &IpNet| self.export(id, &peer.neighbour, &peer.policy.export, prefix);
        let change = peer.outbound.poll(export);
        self.peers.insert(id, peer);
        change
    }

    /// Our own system.
    pub const fn asn(&self) -> Asn {
        self.own
    }

    /// The number of prefixes that would be advertised to such a peer.
    pub fn exportable(&self, id: PeerId, neighbour: &Neighbour, export: &Export) -> usize {
        self.table.keys().filter(|prefix| self.export(id, neighbour, export, prefix).is_some()).count()
    }

    /// The route to advertise to a peer: the best path, if policy permits it, with the attributes that the peer
    /// receives.
    fn export(&self, id: PeerId, to: &Neighbour, export: &Export, prefix: &IpNet) -> Option<Announcement> {
        let path = best(self.table.get(prefix)?).next()?;
        let communities = &path.attributes.communities;
        let kept = [Community::NO_EXPORT, Community::NO_EXPORT_SUBCONFED];
        if communities.contains(&Community::NO_ADVERTISE)
            || !to.internal && communities.iter().any(|community| kept.contains(community))
        {
            return None;
        }
        match path.source {
            Source::Network | Source::Static if export.withheld.contains(prefix) => return None,
            Source::Network | Source::Static => {}
            Source::Peer(from) => {
                let from_policy = self.peers.get(&from).map(|peer| &peer.policy);
                let group = from_policy.map_or_else(Group::default, |policy| policy.group);
                // Not back, and not on within our own system (RFC 4271 section 9.2), unless we reflect.
                let reflected = export.client || from_policy.is_some_and(|policy| policy.export.client);
                let stays = path.internal && to.internal && !reflected;
                if from == id || stays || !export.passes(prefix, group) {
                    return None;
                }
            }
        }
        let own_hop = export.next_hops.of(Family::of(prefix));
        let next_hop = path.next_hop.filter(|_| export.next_hop_unchanged).or(own_hop)?;
        Some(Announcement { next_hop, attributes: Arc::new(self.exported(path, to, export)) })
    }

    fn exported(&self, path: &Path, to: &Neighbour, export: &Export) -> Attributes {
        let mut attributes = (*path.attributes).clone();
        // MED is for the neighbour that received it, LOCAL_PREF for our own system (RFC 4271 sections 5.1.4, 5.1.5).
        attributes.med = None;
        if to.internal {
            attributes.local_pref.get_or_insert(path::LOCAL_PREF);
        } else {
            attributes.local_pref = None;
            attributes.as_path =
                attributes.as_path.without(&export.without).prepended(self.own, 1 + usize::from(export.prepend));
        }
        for community in &export.communities {
            if !attributes.communities.contains(community) {
                attributes.communities.push(*community);
            }
        }
        attributes
    }
}

/// The leading ones, as good as the first.
fn best(candidates: &[Candidate]) -> impl Iterator<Item = &Path> {
    let usable = candidates.iter().take_while(|known| known.refusal.is_none()).map(|known| &known.path);
    let first = usable.clone().next();
    usable.take_while(move |path| first.is_some_and(|first| path.preference(first).is_eq()))
}

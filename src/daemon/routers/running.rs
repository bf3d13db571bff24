//! One router that runs, and the description that it runs by.
//!
//! One idea: a peer is known by its two addresses. While these stay its session stays, and other changes apply to the
//! open session where BGP permits it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{fmt, io};

use crate::bgp::driver::{Happened, Neighbour, Router};
use crate::bgp::topology::{self, Node, Peer, Route, Sink, collect_learned};
use crate::bgp::{self, PeerId, Speaker, State};
use crate::daemon::engine::BgpLearned;
use crate::daemon::events::{EventLog, Happening};
use crate::model::PrefixMap;
use crate::sys::confine::Role;
use crate::sys::netlink::Link;
use crate::sys::netns::Identity;

use super::kernel::{Hop, Kernel};
use super::{NodeNamespace, Shared, lock};

#[derive(Debug)]
pub(super) struct Running {
    node: Node,
    place: Option<Identity>,
    router: Router,
    reporter: Reporter,
    /// Of the number that the next peer gets.
    next: u32,
    /// Where its routes go, if it is not the fabric.
    kernel: Option<Kernel>,
    /// By connection, those that are alone for a session.
    devices: BTreeMap<String, Device>,
}

/// A device by name, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    name: String,
    link: Link,
}

/// Of peers.
type Addresses = Arc<Mutex<BTreeMap<PeerId, IpAddr>>>;

/// Tells what happens to a router's sessions.
#[derive(Clone, Debug)]
struct Reporter {
    node: String,
    addresses: Addresses,
    log: Arc<EventLog>,
}

impl Reporter {
    fn tell(&self, peer: PeerId, what: &bgp::Happening) {
        match what {
            bgp::Happening::Established => self.with(peer, |node, neighbor| Happening::BgpSessionUp { node, neighbor }),
            bgp::Happening::Down(ending) => self.down(peer, ending),
            bgp::Happening::TooManyToTell { prefixes } => {
                self.down(peer, format_args!("it would be told {prefixes} prefixes, more than it takes"));
            }
        }
    }

    fn deaf(&self, reason: &str) {
        let node = &self.node;
        let help = "`ownRouter: true` leaves a site's BGP to the program that `run` starts";
        tracing::warn!("{node} cannot take BGP sessions: {reason}; another program may listen there: {help}");
    }

    fn down(&self, peer: PeerId, reason: impl fmt::Display) {
        let reason = reason.to_string();
        self.with(peer, |node, neighbor| Happening::BgpSessionDown { node, neighbor, reason });
    }

    fn with(&self, peer: PeerId, happening: impl FnOnce(String, IpAddr) -> Happening) {
        if let Some(neighbor) = lock(&self.addresses).get(&peer) {
            self.log.tell(happening(self.node.clone(), *neighbor));
        }
    }
}

impl Running {
    pub(super) fn start(node: Node, place: &NodeNamespace, shared: Arc<Shared>) -> io::Result<Self> {
        let speaker = node.speaker(seed(&node), Instant::now());
        let addresses = Addresses::default();
        let reporter =
            Reporter { node: node.host.clone(), addresses: Arc::clone(&addresses), log: Arc::clone(&shared.log) };
        let tell = {
            let reporter = reporter.clone();
            move |happened| {
                match happened {
                    Happened::Peer(event) => reporter.tell(event.peer, &event.what),
                    Happened::Routes(_) => {}
                    Happened::Deaf(reason) => reporter.deaf(&reason),
                }
                shared.signal.raise();
            }
        };
        let kernel = match node.sink {
            Sink::Kernel => Some(Kernel::of(&place.namespace)?),
            Sink::Fabric | Sink::Appliances | Sink::Edge | Sink::CloudEdge | Sink::Beside | Sink::Cloud => None,
        };
        let router = Router::start("vnet-bgp", &place.namespace, speaker, Role::Service, tell)?;
        let bare = Node { peers: Vec::new(), ..node.clone() };
        let mut running =
            Self { node: bare, place: place.identity, router, reporter, next: 0, kernel, devices: BTreeMap::new() };
        running.apply(node, place);
        Ok(running)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.node.is(name)
    }

    /// Whether it can continue with another description.
    pub(super) fn stays(&self, node: &Node, place: &NodeNamespace) -> bool {
        let Node { name: _, host: _, asn, address, routes: _, peers: _, sink, foreign: _ } = node;
        (self.node.asn, self.node.address, self.node.sink) == (*asn, *address, *sink) && self.place == place.identity
    }

    /// Applies another description from now on.
    pub(super) fn apply(&mut self, mut node: Node, place: &NodeNamespace) {
        let devices = self.devices_of(&node, place);
        let devices_before = std::mem::replace(&mut self.devices, devices);
        let before = std::mem::take(&mut self.node.peers);
        let addresses = Arc::clone(&self.reporter.addresses);
        for peer in &mut node.peers {
            let known = before.iter().find(|known| (known.local, known.remote) == (peer.local, peer.remote));
            peer.id = known.map_or(PeerId(self.next), |known| known.id);
            self.next += u32::from(known.is_none());
            lock(&addresses).insert(peer.id, peer.remote);
            let same_device = |known: &&Peer| devices_before.get(&known.over) == self.devices.get(&peer.over);
            self.meet(peer, known, known.is_none_or(|known| same_device(&known)));
        }
        for gone in before.iter().filter(|known| node.peer(known.id).is_none()) {
            self.router.remove_peer(gone.id);
            lock(&addresses).remove(&gone.id);
        }
        self.originate(&node.routes);
        self.node = node;
        if let Some(kernel) = &mut self.kernel {
            kernel.doubt();
        }
    }

    /// The devices that sessions have alone.
    fn devices_of(&mut self, node: &Node, place: &NodeNamespace) -> BTreeMap<String, Device> {
        let Some(kernel) = &mut self.kernel else { return BTreeMap::new() };
        let alone = node.peers.iter().filter(|peer| peer.alone);
        let device = |peer: &Peer| {
            let name = place.devices.get(&peer.over.to_lowercase())?;
            Some((peer.over.clone(), Device { name: name.clone(), link: kernel.link(name).ok()? }))
        };
        alone.filter_map(device).collect()
    }

    /// Without a path for its packets a session ends, however long its timers; with another device it begins again.
    fn meet(&self, peer: &Peer, known: Option<&Peer>, same_device: bool) {
        let known = known.filter(|known| known.up);
        match known {
            Some(known) if !peer.up => {
                let status = self.router.look(|speaker| speaker.status(known.id));
                if status.is_some_and(|status| status.state == State::Established) {
                    self.reporter.down(known.id, "there is no tunnel any more");
                }
                self.router.remove_peer(known.id);
            }
            Some(known) if same_device && known.config == peer.config => {}
            Some(known) if same_device && known.config.agrees_but_for_policy(&peer.config) => {
                let policy = peer.config.policy.clone();
                self.router.change(|speaker, now| speaker.set_policy(peer.id, policy, now));
            }
            Some(_) | None if peer.up => {
                let neighbour = Neighbour {
                    local: peer.local,
                    remote: peer.remote,
                    device: self.devices.get(&peer.over).map(|device| device.name.clone()),
                    password: peer.config.password.clone(),
                };
                self.router.add_peer(peer.id, neighbour, peer.config.clone());
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn is_border(&self) -> bool {
        self.node.is_border()
    }

    /// Advertises these as its own from now on, and nothing else.
    pub(super) fn say(&mut self, routes: Vec<Route>) {
        if routes != self.node.routes {
            self.originate(&routes);
            self.node.routes = routes;
        }
    }

    fn originate(&self, routes: &[Route]) {
        self.router.change(|speaker, now| {
            for gone in self.node.routes.iter().filter(|known| !routes.contains(known)) {
                speaker.withdraw(gone.prefix, gone.source, now);
            }
            for route in routes.iter().filter(|route| !self.node.routes.contains(route)) {
                speaker.originate(route.prefix, route.source, route.origination.clone(), now);
            }
        });
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Node, &Speaker) -> T) -> T {
        self.router.look(|speaker| look(&self.node, speaker))
    }

    /// The routes in its host's kernel, if that is where its routes go.
    pub(super) fn told_kernel(&self) -> Option<(String, PrefixMap<Vec<IpAddr>>)> {
        let routes = self.kernel.as_ref()?.routes().iter();
        let routes: BTreeMap<_, _> = routes.map(|(prefix, hops)| (*prefix, topology::routers(hops))).collect();
        Some((self.node.host.clone(), routes.into()))
    }

    /// Adds what the fabric is to know, or tells the kernel.
    pub(super) fn collect(&mut self, fabric: &mut BgpLearned) {
        match &mut self.kernel {
            Some(kernel) => {
                let learned = self.router.look(topology::kernel_routes).into_iter();
                let link = |peer| self.devices.get(&self.node.peer(peer)?.over).map(|device| device.link);
                let hop = |(router, peer)| (router, link(peer));
                let routes = learned.map(|(prefix, hops)| (prefix, distinct(hops.into_iter().map(hop))));
                kernel.set(&self.node.name, routes.collect());
            }
            None => self.look(|node, speaker| collect_learned(node, speaker, fabric)),
        }
    }
}

fn distinct(hops: impl Iterator<Item = Hop>) -> Vec<Hop> {
    let mut hops: Vec<_> = hops.collect();
    hops.sort_unstable();
    hops.dedup();
    hops
}

/// Unlike other routers', so that they do not all try again at the same time.
fn seed(node: &Node) -> u64 {
    node.name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

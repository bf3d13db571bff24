//! A speaker: one autonomous system's sessions and the routes between them.
//!
//! It has the sessions' shape: the driver feeds what sockets and the clock say (`handle_*`), then does what
//! [`Speaker::transport`] and [`Speaker::outgoing`] ask, drains [`Speaker::poll_event`] and [`Speaker::poll_change`], and
//! waits no longer than [`Speaker::poll_timeout`]. What one peer says may give others something to write: after a
//! `handle_*` look at all of them.
//!
//! Memory is bounded by the peers' limits on prefixes and by [`EVENTS_MAX`].

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Instant;

use ipnet::IpNet;

use super::message::notification::{cease, code};
use super::message::{Asn, Families, Family, Notification};
use super::renaming::Renaming;
use super::rib::{Announcement, Neighbour, Origination, Path, PeerId, Policy, Refusal, Rib, Source};
use super::session::{self, Counters, Ending, Retry, Session, SessionConfig, Side, State, Transport};

/// Events that wait for a driver; older ones give way.
pub const EVENTS_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    pub asn: Asn,
    /// Of another system, so a peer with our number is refused (BGP-13).
    pub external: bool,
    /// Only the peer connects (BGP-05).
    pub passive: bool,
    /// Seconds that we propose (BGP-07: 180).
    pub hold_time: u16,
    pub families: Families,
    pub retry: Retry,
    /// TCP MD5's key, for the driver that opens the sockets (RFC 2385).
    pub password: Option<String>,
    pub policy: Policy,
    pub renaming: Renaming,
}

impl PeerConfig {
    /// Both sides connect, timers as Azure's, IPv4 alone, everything passed on.
    pub fn new(asn: Asn) -> Self {
        Self {
            asn,
            external: false,
            passive: false,
            hold_time: 180,
            families: Families::IPV4,
            retry: Retry::default(),
            password: None,
            policy: Policy::default(),
            renaming: Renaming::default(),
        }
    }

    /// Whether what differs between the two, if anything, needs no new session.
    pub fn agrees_but_for_policy(&self, other: &Self) -> bool {
        *self == Self { policy: self.policy.clone(), ..other.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub peer: PeerId,
    pub what: Happening,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    Established,
    Down(Ending),
    /// More prefixes than allowed would be advertised: the session is down until there are fewer (ER-03).
    TooManyToTell {
        prefixes: usize,
    },
}

/// How a peer is doing (BGP-15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub asn: Asn,
    pub state: State,
    /// An operator has stopped it.
    pub stopped: bool,
    pub established_since: Option<Instant>,
    pub routes_received: u32,
    pub counters: Counters,
    pub last_ending: Option<Ending>,
}

#[derive(Debug)]
struct Peer {
    config: PeerConfig,
    session: Session,
    /// Down because too many prefixes would be advertised.
    held: bool,
}

#[derive(Debug)]
pub struct Speaker {
    asn: Asn,
    identifier: Ipv4Addr,
    seed: u64,
    peers: BTreeMap<PeerId, Peer>,
    rib: Rib,
    events: VecDeque<Event>,
}

impl Speaker {
    /// `seed` decides all chance: the same seed and the same input give the same output.
    pub const fn new(asn: Asn, identifier: Ipv4Addr, seed: u64) -> Self {
        Self { asn, identifier, seed, peers: BTreeMap::new(), rib: Rib::new(asn), events: VecDeque::new() }
    }

    /// Adds a peer and starts its session; one of the same id is forgotten without a word, so remove it first.
    pub fn add_peer(&mut self, id: PeerId, config: PeerConfig, now: Instant) {
        self.rib.peer_down(id);
        let mut session = Session::new(SessionConfig {
            asn: self.asn,
            identifier: self.identifier,
            peer_asn: config.asn,
            external: config.external,
            passive: config.passive,
            hold_time: config.hold_time,
            families: config.families,
            retry: config.retry,
            seed: self.seed ^ u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        });
        session.start(now);
        self.peers.insert(id, Peer { config, session, held: false });
    }

    /// Ends a peer's session. It may be dropped with [`Self::remove_peer`] once its transports are absent.
    pub fn stop_peer(&mut self, id: PeerId, why: &Notification, now: Instant) {
        self.with_session(id, now, |session| session.stop(why, now));
    }

    /// Starts what [`Self::stop_peer`] has stopped.
    pub fn start_peer(&mut self, id: PeerId, now: Instant) {
        self.with_session(id, now, |session| session.start(now));
    }

    /// Forgets a peer and its routes.
    pub fn remove_peer(&mut self, id: PeerId, now: Instant) {
        self.peers.remove(&id);
        self.rib.peer_down(id);
        self.tell_all(now);
    }

    /// Changes a peer's import and export policy, without a new session.
    pub fn set_policy(&mut self, id: PeerId, policy: Policy, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            self.rib.set_policy(id, &policy);
            peer.config.policy = policy;
            self.tell_all(now);
        }
    }

    /// Adds or replaces an own network or a static route.
    pub fn originate(&mut self, prefix: IpNet, source: Source, origination: Origination, now: Instant) {
        self.rib.originate(prefix, source, origination);
        self.tell_all(now);
    }

    /// Takes back what [`Self::originate`] added.
    pub fn withdraw(&mut self, prefix: IpNet, source: Source, now: Instant) {
        self.rib.withdraw(prefix, source);
        self.tell_all(now);
    }

    /// A socket is connected; false if it is not wanted and should be closed.
    pub fn handle_connected(&mut self, id: PeerId, side: Side, now: Instant) -> bool {
        self.with_session(id, now, |session| session.handle_connected(side, now)).unwrap_or(false)
    }

    /// A socket is gone or could not be connected.
    pub fn handle_closed(&mut self, id: PeerId, side: Side, now: Instant) {
        self.with_session(id, now, |session| session.handle_closed(side, now));
    }

    /// Bytes from a socket, as they come.
    pub fn handle_bytes(&mut self, id: PeerId, side: Side, bytes: &[u8], now: Instant) {
        self.with_session(id, now, |session| session.handle_bytes(side, bytes, now));
    }

    /// So many bytes of [`Self::outgoing`] have been written.
    pub fn handle_sent(&mut self, id: PeerId, side: Side, bytes: usize, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.session.handle_sent(side, bytes, now);
            tell(&mut self.rib, id, peer, now);
        }
    }

    /// To be called when [`Self::poll_timeout`] says so; sooner does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            if self.peers[&id].session.poll_timeout().is_some_and(|at| at <= now) {
                self.with_session(id, now, |session| session.handle_timeout(now));
            }
        }
    }

    /// When to call [`Self::handle_timeout`]; ask again after every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.session.poll_timeout()).min()
    }

    /// The next thing that happened to a peer; call until None after every other call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next prefix with changed best paths; call until None after every other call.
    pub fn poll_change(&mut self) -> Option<IpNet> {
        self.rib.poll_change()
    }

    /// What to do about a socket; ask again after every other call.
    pub fn transport(&self, id: PeerId, side: Side) -> Transport {
        self.peers.get(&id).map_or(Transport::Absent, |peer| peer.session.transport(side))
    }

    /// What to write to a socket; say with [`Self::handle_sent`] how much of it was.
    pub fn outgoing(&self, id: PeerId, side: Side) -> &[u8] {
        self.peers.get(&id).map_or(&[], |peer| peer.session.outgoing(side))
    }

    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        let Peer { config, session, held } = self.peers.get(&id)?;
        Some(PeerStatus {
            asn: config.asn,
            state: session.state(),
            stopped: !session.is_enabled() && !held,
            established_since: session.established_since(),
            routes_received: self.rib.received(id),
            counters: session.counters(),
            last_ending: session.last_ending().cloned(),
        })
    }

    /// The best paths to a prefix, all equal.
    pub fn best(&self, prefix: &IpNet) -> impl Iterator<Item = &Path> {
        self.rib.best(prefix)
    }

    /// Every prefix that has a usable path.
    pub fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.rib.prefixes()
    }

    /// All routes that a peer has advertised, with the reason where one is not used.
    pub fn learned(&self, id: PeerId) -> impl Iterator<Item = (&IpNet, &Path, Option<Refusal>)> {
        self.rib.learned(id)
    }

    /// The routes advertised to a peer, by our prefixes ([`Self::name_to`]).
    pub fn advertised(&self, id: PeerId) -> impl Iterator<Item = (&IpNet, &Announcement)> {
        self.rib.advertised(id)
    }

    /// What a range of ours is called where a peer is.
    pub fn name_to(&self, id: PeerId, prefix: IpNet) -> IpNet {
        self.peers.get(&id).map_or(prefix, |peer| peer.config.renaming.outbound(prefix))
    }

    /// Asks a peer for all its routes of a family again; false if it cannot be asked.
    pub fn request_refresh(&mut self, id: PeerId, family: Family, now: Instant) -> bool {
        self.with_session(id, now, |session| session.request_refresh(family, now)).unwrap_or(false)
    }

    /// Feeds one session and lets what follows from it take place.
    fn with_session<T>(&mut self, id: PeerId, now: Instant, feed: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let peer = self.peers.get_mut(&id)?;
        let answer = feed(&mut peer.session);
        while let Some(event) = self.peers.get_mut(&id).and_then(|peer| peer.session.poll_event()) {
            self.handle_event(id, event, now);
        }
        self.tell_all(now);
        Some(answer)
    }

    fn handle_event(&mut self, id: PeerId, event: session::Event, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match event {
            session::Event::Established => {
                self.rib.peer_up(id, neighbour(self.asn, peer), peer.config.policy.clone());
                self.report(id, Happening::Established);
            }
            session::Event::Down(ending) => {
                self.rib.peer_down(id);
                self.report(id, Happening::Down(ending));
            }
            session::Event::Refresh(family) => self.rib.repeat(id, family),
            session::Event::Update(mut update) => {
                peer.config.renaming.inbound(&mut update);
                if let Err(excess) = self.rib.update(id, &update) {
                    peer.session.fail(&Notification::maximum_prefixes(excess.family, excess.limit), now);
                }
            }
        }
    }

    fn report(&mut self, peer: PeerId, what: Happening) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { peer, what });
    }

    /// Writes to every peer what there is room for.
    fn tell_all(&mut self, now: Instant) {
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.hold(id, now);
            if let Some(peer) = self.peers.get_mut(&id) {
                tell(&mut self.rib, id, peer, now);
            }
        }
    }

    /// Takes a session down while too many prefixes would be advertised, and up again afterwards (ER-03).
    fn hold(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let export = &peer.config.policy.export;
        let Some(max) = export.prefixes_max.filter(|_| peer.held || self.rib.is_pending(id)) else { return };
        let prefixes = self.rib.exportable(id, &neighbour(self.asn, peer), export);
        if prefixes <= max as usize {
            if std::mem::take(&mut peer.held) {
                peer.session.start(now);
            }
        } else if !peer.held {
            peer.held = true;
            peer.session.stop(&Notification::new(code::CEASE, cease::OUT_OF_RESOURCES), now);
            self.report(id, Happening::TooManyToTell { prefixes });
            while let Some(event) = self.peers.get_mut(&id).and_then(|peer| peer.session.poll_event()) {
                self.handle_event(id, event, now);
            }
        }
    }
}

fn tell(rib: &mut Rib, id: PeerId, peer: &mut Peer, now: Instant) {
    let families = peer.session.families();
    while peer.session.has_room() && rib.is_pending(id) {
        let renaming = &peer.config.renaming;
        peer.session.write(now, |context, out| rib.write(id, (families, renaming), context, out));
    }
}

fn neighbour(own: Asn, peer: &Peer) -> Neighbour {
    let identifier = peer.session.peer().map_or(Ipv4Addr::UNSPECIFIED, |open| open.identifier);
    Neighbour { asn: peer.config.asn, internal: peer.config.asn == own, identifier }
}

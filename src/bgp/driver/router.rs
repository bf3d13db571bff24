//! A speaker that runs: its thread, and the handle by which others look at it and change it.
//!
//! The speaker is behind a lock that its thread holds for one turn, never while it waits. A caller that changes
//! something wakes the thread, which then does what follows on the wire.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem};

use ipnet::IpNet;

use crate::bgp::{Event, Notification, PeerConfig, PeerId, Speaker};
use crate::sys::confine::{Role, Thread};
use crate::sys::netns::Netns;
use crate::sys::poll::{Poller, Ready, Waker};

use super::connections::{Connections, Neighbour, WAKER};

/// What is ready that one turn looks at; the rest waits for the next.
const BATCH: usize = 64;
/// How long until it tries again to listen where another program does.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// How long last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An event of a router. Its receiver must not wait for the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Peer(Event),
    /// These prefixes have other best paths now; each is reported once.
    Routes(Vec<IpNet>),
    /// It cannot listen, for this reason, and tries again every now and then; reported once.
    Deaf(String),
}

/// A speaker in its namespace, until dropped: then it notifies its peers, and its thread ends.
#[derive(Debug)]
pub struct Router {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    waker: Waker,
}

#[derive(Debug)]
struct State {
    speaker: Speaker,
    peers: BTreeMap<PeerId, Neighbour>,
    /// `peers` are others now.
    changed: bool,
    /// By when to be gone.
    ends: Option<Instant>,
}

impl Router {
    /// Starts a thread in a namespace in a role. Peers come later ([`Self::add_peer`]); an address
    /// of ours need not be there yet, but the namespace must permit listening at [`super::PORT`].
    pub fn start(
        name: &str,
        namespace: &Netns,
        speaker: Speaker,
        role: Role,
        tell: impl FnMut(Happened) + Send + 'static,
    ) -> io::Result<Self> {
        let state = State { speaker, peers: BTreeMap::new(), changed: false, ends: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), waker: Waker::new()? });
        let (ours, theirs) = (Arc::clone(&shared), Arc::clone(&shared));
        let thread =
            namespace.spawn(name, role, move || Turns::new(&ours.waker), move |turns| turns.run(&theirs, tell))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a peer, or replaces one and ends its session.
    pub fn add_peer(&self, id: PeerId, neighbour: Neighbour, mut config: PeerConfig) {
        config.password.clone_from(&neighbour.password);
        self.with(|state, now| {
            state.speaker.add_peer(id, config, now);
            state.peers.insert(id, neighbour);
            state.changed = true;
        });
    }

    /// Forgets a peer and its routes; its connections are cut.
    pub fn remove_peer(&self, id: PeerId) {
        self.with(|state, now| {
            state.speaker.remove_peer(id, now);
            state.peers.remove(&id);
            state.changed = true;
        });
    }

    /// Changes something of the speaker; what follows is done at once.
    pub fn change<T>(&self, change: impl FnOnce(&mut Speaker, Instant) -> T) -> T {
        self.with(|state, now| change(&mut state.speaker, now))
    }

    /// Looks at the speaker.
    pub fn look<T>(&self, look: impl FnOnce(&Speaker) -> T) -> T {
        look(&self.shared.lock().speaker)
    }

    /// How it reaches a peer.
    pub fn neighbour(&self, id: PeerId) -> Option<Neighbour> {
        self.shared.lock().peers.get(&id).cloned()
    }

    fn with<T>(&self, f: impl FnOnce(&mut State, Instant) -> T) -> T {
        let done = f(&mut self.shared.lock(), Instant::now());
        self.shared.waker.wake();
        done
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.with(|state, now| {
            for id in state.peers.keys() {
                state.speaker.stop_peer(*id, &Notification::shutdown("the router ends"), now);
            }
            state.ends = Some(now + LAST_WORDS);
        });
        if let Some(thread) = self.thread.take() {
            // One that panicked has reported it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread has for itself.
struct Turns {
    poller: Poller,
    connections: Connections,
    /// It does not listen where its peers expect it.
    deaf: bool,
}

impl Turns {
    fn new(waker: &Waker) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(waker, WAKER)?;
        Ok(Self { poller, connections: Connections::new(), deaf: false })
    }

    fn run(mut self, shared: &Shared, mut tell: impl FnMut(Happened)) {
        let mut ready = Ready::new(BATCH);
        loop {
            let mut events = Vec::new();
            let ControlFlow::Continue(timeout) = self.turn(shared, &ready, &mut events) else { return };
            events.into_iter().for_each(&mut tell);
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                tracing::error!("a BGP router ends: {error}");
                return;
            }
        }
    }

    /// Everything that can be done now, and how long to wait then, if all is not over.
    fn turn(
        &mut self,
        shared: &Shared,
        ready: &Ready,
        events: &mut Vec<Happened>,
    ) -> ControlFlow<(), Option<Duration>> {
        shared.waker.reset();
        let mut state = shared.lock();
        if mem::take(&mut state.changed) {
            let set = self.connections.set(state.peers.clone(), &self.poller);
            state.changed = set.is_err();
            let heard = !mem::replace(&mut self.deaf, set.is_err());
            events.extend(set.err().filter(|_| heard).map(|error| Happened::Deaf(error.to_string())));
        }
        let speaker = &mut state.speaker;
        for token in ready.tokens() {
            self.connections.handle_ready(token, speaker, &self.poller);
        }
        speaker.handle_timeout(Instant::now());
        self.connections.settle(speaker, &self.poller);
        events.extend(std::iter::from_fn(|| speaker.poll_event()).map(Happened::Peer));
        let changed: Vec<_> = std::iter::from_fn(|| speaker.poll_change()).collect();
        events.extend((!changed.is_empty()).then_some(Happened::Routes(changed)));
        let now = Instant::now();
        if state.ends.is_some_and(|ends| ends <= now || self.connections.is_empty()) {
            return ControlFlow::Break(());
        }
        let again = self.deaf.then(|| now + LISTEN_AGAIN);
        let next = state.speaker.poll_timeout().into_iter().chain(state.ends).chain(again).min();
        ControlFlow::Continue(next.map(|at| at.saturating_duration_since(now)))
    }
}

//! A lab's BGP routers: those that its network describes run, each in its namespace, and what they learn is published.
//!
//! One idea: a router only reports that something has changed. Then one thread looks at all of them, once for all
//! changes until then. It hands what it finds to the fabric ([`Engine::learn`]) or to a namespace's kernel. It rests
//! as long as it has worked, so that a flapping peer takes at most half of one core.

mod kernel;
mod running;
mod silent;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::analysis;
use crate::bgp::topology::expressroute_rib::Exchange;
use crate::bgp::topology::{self, Node, Peer, PeerRow, RouteRow, nodes};
use crate::model::{Learned, Network};
use crate::sys::confine::{self, Role, Thread};
use crate::sys::netns::{Identity, Netns};

use super::engine::{BgpLearned, Engine};
use super::events::{EventLog, Happening};
use running::Running;
use silent::Silent;

pub use silent::{SilentEnd, SilentLink};

/// Changes that come this fast one after the other are published together.
const PACE: Duration = Duration::from_millis(20);

/// The routers of one lab, until dropped.
#[derive(Debug)]
pub struct Routers {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    /// That of [`Shared::publish_forever`], once there are routers.
    thread: Mutex<Option<Thread>>,
}

/// The namespace of a lab's node.
#[derive(Debug)]
pub struct NodeNamespace {
    pub namespace: Netns,
    /// A new namespace has another identity.
    pub identity: Option<Identity>,
    /// What leads out of it: devices by the names of their connections, in lower case.
    pub devices: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Shared {
    /// By name.
    nodes: Mutex<BTreeMap<String, Running>>,
    /// Those that the user's own programs speak for.
    foreign: Mutex<Vec<Node>>,
    /// Ends of circuits' links without a BGP speaker.
    silent: Mutex<Vec<Silent>>,
    signal: Signal,
    log: Arc<EventLog>,
}

/// How a router tells that there is something to look at.
#[derive(Debug, Default)]
struct Signal {
    state: Mutex<Pending>,
    woken: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    changed: bool,
    ends: bool,
}

impl Routers {
    /// None yet: they come with [`Self::apply`].
    pub fn new(engine: Arc<Engine>, log: Arc<EventLog>) -> Self {
        let (nodes, foreign, silent) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Shared { nodes, foreign, silent, signal: Signal::default(), log };
        Self { engine, shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Applies a network from now on: routers that it no longer has end, new ones start, the others change what
    /// differs. `place` finds a node of the lab. Returns what did not work.
    pub fn apply(&self, network: &Network, place: impl Fn(&str) -> io::Result<NodeNamespace>) -> Vec<String> {
        let learned = self.engine.compiled().learned().clone();
        let (foreign, wanted): (Vec<_>, Vec<_>) = nodes(network, &learned).into_iter().partition(|node| node.foreign);
        *lock(&self.shared.foreign) = foreign;
        let mut running = lock(&self.shared.nodes);
        let mut before = std::mem::take(&mut *running);
        let mut complaints = Vec::new();
        for node in wanted {
            let name = node.name.clone();
            let placed = place(&node.host).and_then(|place| match before.remove(&name) {
                Some(mut router) if router.stays(&node, &place) => {
                    router.apply(node, &place);
                    Ok(router)
                }
                other => {
                    drop(other);
                    Running::start(node, &place, Arc::clone(&self.shared))
                }
            });
            match placed {
                Ok(router) => drop(running.insert(name, router)),
                Err(error) => complaints.push(format!("{name} does not speak BGP: {error}")),
            }
        }
        if !running.is_empty() {
            complaints.extend(self.publish().err().map(|error| format!("BGP routes are not published: {error}")));
        }
        drop(running);
        self.shared.signal.raise();
        end_all(before.into_values());
        complaints
    }

    /// Tells the kernels at these ends, and no others, what Azure has routes to, from now on. Returns what did not work.
    pub fn tell_silent(&self, links: Vec<SilentLink>) -> Vec<String> {
        let mut silent = lock(&self.shared.silent);
        let mut before = std::mem::take(&mut *silent);
        let mut complaints = Vec::new();
        for link in links {
            let device = link.device.clone();
            match Silent::of(link) {
                Ok(link) => silent.push(link.after(&mut before)),
                Err(error) => complaints.push(format!("{device} gets no routes: {error}")),
            }
        }
        before.into_iter().for_each(Silent::clear);
        drop(silent);
        complaints.extend(self.shared.tell_silent(&self.engine));
        complaints
    }

    /// Starts the thread that publishes what routers learn, once.
    fn publish(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_some() {
            return Ok(());
        }
        let (engine, shared) = (Arc::clone(&self.engine), Arc::clone(&self.shared));
        let run = move |()| shared.publish_forever(&engine);
        *thread = Some(confine::spawn("vnet-routes", Role::Routes, || Ok(()), run)?);
        Ok(())
    }

    /// The sessions of all routers, or of one.
    pub fn peers(&self, node: Option<&str>) -> Result<Vec<PeerRow>, String> {
        let now = Instant::now();
        let mut rows =
            self.each(node, |running| running.look(|node, speaker| topology::peer_rows(node, Some(speaker), now)));
        let foreign = lock(&self.shared.foreign).clone();
        let foreign = foreign.iter().filter(|known| node.is_none_or(|name| known.is(name)));
        rows.extend(foreign.map(|node| self.foreign_rows(node, now)));
        let now = self.engine.published();
        let inner = topology::gateway_peers(&now.network, now.compiled.learned()).into_iter();
        let inner: Vec<_> = inner.filter(|row| node.is_none_or(|name| row.node.eq_ignore_ascii_case(name))).collect();
        rows.extend((!inner.is_empty()).then_some(inner));
        self.known(node, rows)
    }

    /// The sessions of a user's own program: the other ends know their states.
    fn foreign_rows(&self, node: &Node, now: Instant) -> Vec<PeerRow> {
        let running = lock(&self.shared.nodes);
        let seen = |peer: &Peer| {
            let far = running.get(peer.node.as_ref()?)?;
            far.look(|far, speaker| topology::seen_from_the_other_end(node, peer, (far, speaker), now))
        };
        let unseen = topology::peer_rows(node, None, now).into_iter();
        node.peers.iter().zip(unseen).map(|(peer, unseen)| seen(peer).unwrap_or(unseen)).collect()
    }

    /// The routes that all routers know, or one.
    pub fn learned(&self, node: Option<&str>) -> Result<Vec<RouteRow>, String> {
        let mut rows = self.each(node, |running| running.look(topology::learned_rows));
        let now = self.engine.published();
        let inner = topology::gateway_rows(&now.network, now.compiled.learned()).into_iter();
        let inner: Vec<_> = inner.filter(|row| node.is_none_or(|name| row.node.eq_ignore_ascii_case(name))).collect();
        rows.extend((!inner.is_empty()).then_some(inner));
        self.known(node, rows)
    }

    /// Routes that peers have advertised and that are not used.
    pub fn refused(&self, node: Option<&str>) -> Result<Vec<RouteRow>, String> {
        self.known(node, self.each(node, |running| running.look(topology::refused_rows)))
    }

    /// Routes that routers advertise to their peers, or to one of them.
    pub fn advertised(&self, node: Option<&str>, to: Option<IpAddr>) -> Result<Vec<RouteRow>, String> {
        let told = |running: &Running| running.look(|node, speaker| topology::advertised_rows(node, speaker, to));
        self.known(node, self.each(node, told))
    }

    /// Ends all routers; their peers are told. Does nothing the second time.
    pub fn end(&self) {
        let nodes = std::mem::take(&mut *lock(&self.shared.nodes));
        end_all(nodes.into_values());
        self.shared.signal.end();
        if let Some(thread) = lock(&self.thread).take() {
            // One that panicked has reported it.
            let _ = thread.join();
        }
    }

    fn each<T>(&self, node: Option<&str>, look: impl Fn(&Running) -> T) -> Vec<T> {
        let nodes = lock(&self.shared.nodes);
        nodes.values().filter(|running| node.is_none_or(|name| running.is(name))).map(look).collect()
    }

    fn known<T>(&self, node: Option<&str>, rows: Vec<Vec<T>>) -> Result<Vec<T>, String> {
        match node {
            Some(name) if rows.is_empty() => {
                let known: Vec<_> = lock(&self.shared.nodes).keys().cloned().collect();
                Err(analysis::unknown("BGP speaker", name, known.iter().map(String::as_str)))
            }
            Some(_) | None => Ok(rows.into_iter().flatten().collect()),
        }
    }
}

impl Drop for Routers {
    fn drop(&mut self) {
        self.end();
    }
}

/// At the same time: each waits a little for its peers to receive it.
fn end_all(routers: impl Iterator<Item = Running>) {
    thread::scope(|scope| routers.for_each(|router| drop(scope.spawn(move || drop(router)))));
}

impl Shared {
    fn publish_forever(&self, engine: &Engine) {
        let mut published = BgpLearned::default();
        while self.signal.wait() {
            let begun = Instant::now();
            let (mut heard, mut sites) = (BgpLearned::default(), BTreeMap::new());
            for running in lock(&self.nodes).values_mut() {
                running.collect(&mut heard);
                sites.extend(running.told_kernel());
            }
            let told = |learned: &mut Learned| {
                learned.bgp.clone_from(&heard);
                learned.sites = sites;
            };
            if engine.learn(told) {
                self.pass_on(engine);
                self.tell_silent(engine).iter().for_each(|complaint| tracing::warn!("{complaint}"));
            }
            changes(&published, &heard).for_each(|change| self.log.tell(change));
            published = heard;
            thread::sleep(PACE.max(begun.elapsed()));
        }
    }

    /// Tells the kernels at silent ends what Azure has routes to now. Returns what did not work.
    fn tell_silent(&self, engine: &Engine) -> Vec<String> {
        let mut silent = lock(&self.silent);
        if silent.is_empty() {
            return Vec::new();
        }
        let now = engine.published();
        let (network, learned) = (&now.network, now.compiled.learned());
        let exchange = Exchange::of(network, learned);
        silent.iter_mut().filter_map(|link| link.apply(network, learned, &exchange)).collect()
    }

    /// Lets the routers at Azure's borders advertise what follows from the learned routes.
    fn pass_on(&self, engine: &Engine) {
        let mut running = lock(&self.nodes);
        if !running.values().any(Running::is_border) {
            return;
        }
        let now = engine.published();
        for node in nodes(&now.network, now.compiled.learned()) {
            if let Some(router) = running.get_mut(&node.name).filter(|router| router.is_border()) {
                router.say(node.routes);
            }
        }
    }
}

/// By connection, route server or circuit, how many routes have come and gone.
fn changes(before: &BgpLearned, after: &BgpLearned) -> impl Iterator<Item = Happening> {
    let (before, after) = (routes(before), routes(after));
    let connections: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let none = BTreeSet::new();
    let change = |connection: &str| {
        let [before, after] = [&before, &after].map(|routes| routes.get(connection).unwrap_or(&none));
        let (learned, withdrawn) = (after.difference(before).count(), before.difference(after).count());
        let happening = Happening::BgpRoutesChanged { connection: connection.to_owned(), learned, withdrawn };
        (learned + withdrawn > 0).then_some(happening)
    };
    connections.into_iter().filter_map(change).collect::<Vec<_>>().into_iter()
}

/// Prefixes, and where a route server has learned one, the peer that it came from.
fn routes(heard: &BgpLearned) -> BTreeMap<&str, BTreeSet<(IpNet, Option<IpAddr>)>> {
    let over = heard
        .by_connection
        .iter()
        .map(|(name, prefixes)| (name, prefixes.iter().map(|prefix| (*prefix, None)).collect()));
    let through = heard.by_route_server.iter().map(|(name, routes)| {
        let each = routes.iter().flat_map(|(prefix, hops)| hops.iter().map(|hop| (*prefix, Some(*hop))));
        (name, each.collect())
    });
    let learned = heard.by_circuit.iter().chain(&heard.by_gateway);
    let learned = learned.map(|(name, routes)| (name, routes.keys().map(|prefix| (*prefix, None)).collect()));
    over.chain(through).chain(learned).map(|(name, routes)| (name.as_str(), routes)).collect()
}

impl Signal {
    fn raise(&self) {
        lock(&self.state).changed = true;
        self.woken.notify_one();
    }

    fn end(&self) {
        lock(&self.state).ends = true;
        self.woken.notify_one();
    }

    /// Waits for a change; false when it is over.
    fn wait(&self) -> bool {
        let pending = lock(&self.state);
        let pending = self.woken.wait_while(pending, |pending| !pending.changed && !pending.ends);
        let mut pending = pending.unwrap_or_else(PoisonError::into_inner);
        pending.changed = false;
        !pending.ends
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::model::Advertisement;

    #[test]
    fn what_has_come_and_gone_is_counted_for_each_source() {
        let net = |text: &str| -> IpNet { text.parse().unwrap() };
        let (one, two, three) = (net("10.1.0.0/16"), net("10.2.0.0/16"), net("10.3.0.0/16"));
        let learned = |lists: &[(&str, &[IpNet])]| -> BTreeMap<String, Vec<IpNet>> {
            lists.iter().map(|(name, prefixes)| ((*name).to_owned(), prefixes.to_vec())).collect()
        };
        let hops = |hops: &[&str]| hops.iter().map(|hop| hop.parse().unwrap()).collect();
        let advertised = |prefixes: &[IpNet]| -> BTreeMap<IpNet, Advertisement> {
            prefixes.iter().map(|prefix| (*prefix, Advertisement::default())).collect()
        };
        let before = BgpLearned {
            by_connection: learned(&[("a", &[one, two]), ("same", &[one]), ("gone", &[one, two])]),
            by_route_server: BTreeMap::from([(
                "rs".to_owned(),
                BTreeMap::from([(one, hops(&["10.0.0.4", "10.0.0.5"])), (two, hops(&["10.0.0.4"]))]),
            )]),
            by_circuit: BTreeMap::from([("er".to_owned(), advertised(&[one]))]),
            ..BgpLearned::default()
        };
        let after = BgpLearned {
            by_connection: learned(&[("a", &[two, three]), ("same", &[one]), ("new", &[three])]),
            by_route_server: BTreeMap::from([(
                "rs".to_owned(),
                BTreeMap::from([(one, hops(&["10.0.0.5", "10.0.0.6", "10.0.0.7"])), (two, hops(&["10.0.0.4"]))]),
            )]),
            by_circuit: BTreeMap::from([("er".to_owned(), advertised(&[one, two]))]),
            by_gateway: BTreeMap::from([("gw".to_owned(), advertised(&[three]))]),
            ..BgpLearned::default()
        };
        let told = |happenings: &mut dyn Iterator<Item = Happening>| {
            let told = happenings.map(|happening| match happening {
                Happening::BgpRoutesChanged { connection, learned, withdrawn } => (connection, learned, withdrawn),
                other => panic!("{other:?}"),
            });
            told.collect::<Vec<_>>()
        };
        let expected = [("a", 1, 1), ("er", 1, 0), ("gone", 0, 2), ("gw", 1, 0), ("new", 1, 0), ("rs", 2, 1)];
        let expected = expected.map(|(name, learned, withdrawn)| (name.to_owned(), learned, withdrawn));
        assert_eq!(told(&mut changes(&before, &after)), expected);
        assert_eq!(told(&mut changes(&after, &after)), []);
    }

    #[test]
    fn a_router_that_reports_wakes_once_and_an_end_ends_all_waiting() {
        let signal = Signal::default();
        signal.raise();
        signal.raise();
        assert!(signal.wait() && !lock(&signal.state).changed, "both are one change");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| signal.wait());
            signal.raise();
            assert!(waiting.join().unwrap());
        });
        signal.end();
        assert!(!signal.wait() && !signal.wait());
    }
}

//! Devices that a user switches off and on inside the lab's own nodes, as `ip link set tun0 down` does.
//!
//! One idea: a tunnel with its device off at a site is down at both ends at once, without a hold timer, as a router's
//! session ends with its interface. The kernel reports that something has changed ([`LinkWatch`]). Then the daemon
//! asks which devices are off, so that it need not receive every report. One that was off for a moment has lost its routes
//! all the same: it is off for the tables and for BGP too, and then on again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use tracing::{error, warn};

use crate::daemon::events::Happening;
use crate::lab::error::{During, Result};
use crate::lab::namespaces::device::{DefaultRoute, Device};
use crate::lab::namespaces::router::Router;
use crate::model::{Attachment, Network};
use crate::sys::confine::{self, Role};
use crate::sys::link_watch::LinkWatch;
use crate::sys::netlink::{Link, Netlink};
use crate::sys::netns::{self, Identity, Netns};
use crate::sys::poll::{Poller, Ready};

use super::apply::Lab;
use super::daemon;
use super::events::Event;

/// Namespaces in which something has changed that one turn looks at; the rest waits for the next.
const BATCH: usize = 64;

/// The namespaces that are watched.
#[derive(Debug)]
pub(in crate::lab) struct Switches {
    shared: Arc<Shared>,
    places: HashMap<PathBuf, (Option<Identity>, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Shared {
    poller: Poller,
    /// By the token that the poller knows each by.
    watches: Mutex<BTreeMap<u64, LinkWatch>>,
    /// Devices that went down since the main thread looked, by the token of their namespace.
    went_down: Mutex<HashSet<(u64, Link)>>,
    /// The main thread knows of a change and has not looked yet.
    reported: AtomicBool,
}

impl Switches {
    /// None yet; tells of changes by [`Event::DevicesChanged`], one at a time.
    pub(in crate::lab) fn watch(events: Sender<Event>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            poller: Poller::new()?,
            watches: Mutex::default(),
            went_down: Mutex::default(),
            reported: AtomicBool::new(false),
        });
        let watcher = Arc::clone(&shared);
        let watch = move |()| watcher.watch_forever(&events);
        confine::spawn("vnet-devices", Role::Control, || Ok(()), watch)?;
        Ok(Self { shared, places: HashMap::new(), next: 0 })
    }

    /// Watches where guests' veth pairs end too.
    fn watch_router(&mut self, router: &Router) -> io::Result<()> {
        for watch in router.new_watches()? {
            self.shared.poller.add(&watch, self.next)?;
            self.shared.lock().insert(self.next, watch);
            self.next += 1;
        }
        router.follow_guests()
    }

    /// Watches these namespaces from now on and no others.
    fn apply(&mut self, places: &HashSet<PathBuf>) -> Result<()> {
        let stays = |path: &PathBuf, identity| places.contains(path) && netns::identity(path) == identity;
        let gone = self.places.iter().filter(|(path, (identity, _))| !stays(path, *identity));
        self.forget(&gone.map(|(path, _)| path.clone()).collect());
        for path in places.iter().filter(|path| !self.places.contains_key(*path)).collect::<Vec<_>>() {
            let opened = Netns::open(path).and_then(|namespace| namespace.run(LinkWatch::open));
            let watch = opened.and_then(|opened| opened);
            let added = watch.and_then(|watch| self.shared.poller.add(&watch, self.next).map(|()| watch));
            let watch = added.during(|| format!("cannot watch the devices of {}", path.display()))?;
            self.shared.lock().insert(self.next, watch);
            self.places.insert(path.clone(), (netns::identity(path), self.next));
            self.next += 1;
        }
        Ok(())
    }

    /// Stops watching these, and so releases them.
    pub(in crate::lab) fn forget(&mut self, places: &HashSet<PathBuf>) {
        let gone = places.iter().filter_map(|path| self.places.remove(path));
        let mut watches = self.shared.lock();
        gone.for_each(|(_, token)| drop(watches.remove(&token)));
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        self.shared.lock().clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, LinkWatch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is reported. False where that is nothing.
    fn take(&self, ready: &Ready) -> bool {
        let watches = self.lock();
        let taken = ready.tokens().filter_map(|token| Some((token, watches.get(&token)?.take()?)));
        let taken: Vec<_> = taken.collect();
        let down = taken.iter().flat_map(|(token, links)| links.iter().map(|link| (*token, *link)));
        self.went_down().extend(down);
        !taken.is_empty()
    }

    fn went_down(&self) -> MutexGuard<'_, HashSet<(u64, Link)>> {
        self.went_down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_forever(&self, events: &Sender<Event>) {
        let mut ready = Ready::new(BATCH);
        loop {
            if let Err(error) = self.poller.wait(&mut ready, None) {
                return error!("devices are not watched any more: {error}");
            }
            if self.take(&ready)
                && !self.reported.swap(true, Ordering::AcqRel)
                && events.send(Event::DevicesChanged).is_err()
            {
                return;
            }
        }
    }
}

impl Lab<'_> {
    /// Watches the nodes that the network has now. Returns what did not work.
    pub(in crate::lab) fn watch_switches(&mut self) -> Option<String> {
        let network = self.engine.network();
        let ends = watched(&network).filter_map(|at| self.site.place(&network, at));
        let ends = self.switches.apply(&ends.collect());
        let router = self.site.queues.router.as_ref().map_or(Ok(()), |router| self.switches.watch_router(router));
        let router = router.during(|| "cannot watch the router's devices".into());
        ends.and(router).err().map(|error| error.to_string())
    }

    /// Applies which devices are on: the others' tunnels and links are down, to the tables and to BGP.
    pub(in crate::lab) fn check_links(&mut self) {
        // What changes after this is reported again.
        self.switches.shared.reported.store(false, Ordering::Release);
        if let Some(Err(error)) = self.site.queues.router.as_ref().map(|router| router.follow_guests()) {
            warn!("cannot follow the guests' devices: {error}");
        }
        let network = self.engine.network();
        let went_down = std::mem::take(&mut *self.switches.shared.went_down());
        let off: HashSet<_> = watched(&network).filter(|at| self.is_off(&network, *at)).collect();
        let was_off = |at: &Attachment| off.contains(at) || self.went_down(&network, *at, &went_down);
        let was_off: HashSet<_> = watched(&network).filter(was_off).collect();
        self.switch_off(&network, was_off);
        self.switch_off(&network, off);
    }

    /// Applies that these devices are off and no others.
    fn switch_off(&mut self, network: &Network, off: HashSet<Attachment>) {
        let before = self.engine.compiled().learned().switched_off.clone();
        if before == off {
            return;
        }
        for at in before.difference(&off) {
            if let Err(error) = self.set_up_again(network, *at) {
                warn!("{error}");
            }
        }
        let tell = |interface: &Attachment, happening: fn(String) -> Happening| {
            self.history.tell(happening(daemon::name(network, *interface)));
        };
        off.difference(&before).for_each(|at| tell(at, |interface| Happening::DeviceOff { interface }));
        before.difference(&off).for_each(|at| tell(at, |interface| Happening::DeviceOn { interface }));
        self.engine.learn(|learned| learned.switched_off = off);
        self.route().iter().for_each(|complaint| warn!("{complaint}"));
    }

    /// A device that is gone is not off: another event reports it.
    fn is_off(&self, network: &Network, at: Attachment) -> bool {
        let Some((place, device)) = self.site.guests.far(network, at) else { return false };
        let is_up = |namespace: Netns| namespace.run(|| Netlink::open()?.is_up(&device.name));
        matches!(Netns::open(&place).and_then(is_up), Ok(Ok(false)))
    }

    /// Whether a device is among these.
    fn went_down(&self, network: &Network, at: Attachment, went_down: &HashSet<(u64, Link)>) -> bool {
        let Some((place, device)) = self.site.guests.far(network, at) else { return false };
        let Some((_, token)) = self.switches.places.get(&place) else { return false };
        if !went_down.iter().any(|(watch, _)| watch == token) {
            return false;
        }
        let link = |namespace: Netns| namespace.run(|| Netlink::open()?.link(&device.name));
        matches!(Netns::open(&place).and_then(link), Ok(Ok(link)) if went_down.contains(&(*token, link)))
    }

    /// With its device a kernel loses the routes over it, and addresses of IPv6.
    fn set_up_again(&self, network: &Network, at: Attachment) -> Result<()> {
        let Some((place, device)) = self.site.guests.far(network, at) else { return Ok(()) };
        let bare = Device {
            addresses: Vec::new(),
            default: DefaultRoute::Via(Vec::new()),
            routes: Vec::new(),
            ..device.clone()
        };
        inside(&place, || device.rearrange(&bare))
    }
}

fn inside(place: &Path, f: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let ran = Netns::open(place).and_then(|namespace| namespace.run(f));
    ran.during(|| format!("cannot enter {}", place.display()))?
}

/// The devices that decide about tunnels and links.
fn watched(network: &Network) -> impl Iterator<Item = Attachment> {
    let decides =
        |at: &Attachment| matches!(at, Attachment::Gateway(_) | Attachment::Tunnel(_) | Attachment::CircuitLink(..));
    network.attachments().into_iter().filter(decides)
}

//! The namespace of the router's devices, under `device: veth`: for each guest's interface the other end of its veth
//! pair, and the TAP by which its packets come to the workers.
//!
//! One idea: the kernel carries packets between these devices itself once their flow is known (`sys::flow_cache`). Only
//! the daemon holds the namespace, so the devices go with it, guests' ends too, however it ends.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::lab::error::{During, Result};
use crate::model::Mac;
use crate::sys::flow_cache::{FlowCache, Port};
use crate::sys::link_watch::LinkWatch;
use crate::sys::netlink::Netlink;
use crate::sys::netns::Netns;
use crate::sys::tun::Tun;

use super::device::{Device, QUEUE, Queues, set};
use super::taken::Taken;

/// What the kernel takes for these devices: packets are measured by the router, as on a TUN.
const MTU: u32 = 65_521;

/// Neither end of a pair sends anything of its own.
const SETTINGS: [(&str, &str); 2] = [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// Where guests' veth pairs end.
#[derive(Debug)]
pub(in crate::lab) struct Router {
    namespace: Netns,
    cache: Arc<FlowCache>,
    made: AtomicU32,
    /// By their TAPs' names.
    ports: Mutex<Vec<(String, Weak<Port>)>>,
    relays: Mutex<Vec<Relay>>,
    /// Namespaces of these devices that are not watched yet.
    unwatched: Mutex<Vec<Netns>>,
}

/// A pair between one that was taken and its port here.
#[derive(Debug)]
struct Relay {
    /// Where the taken pair's other end is, and this pair's.
    outside: Arc<Netns>,
    end: String,
    name: String,
    port: Weak<Port>,
}

impl Router {
    /// Fails where the kernel loads no programs for us.
    pub(in crate::lab) fn new() -> io::Result<Self> {
        let cache = Arc::new(FlowCache::load()?);
        let namespace = Netns::create()?;
        namespace.run(|| SETTINGS.iter().try_for_each(|(setting, value)| set(setting, value)))??;
        namespace.run(|| cache.probe())??;
        let unwatched = Mutex::new(vec![namespace.try_clone()?]);
        Ok(Self {
            namespace,
            cache,
            made: AtomicU32::new(0),
            ports: Mutex::default(),
            relays: Mutex::default(),
            unwatched,
        })
    }

    /// Makes an interface in a guest's namespace, and its port here.
    pub(in crate::lab) fn open(&self, guest: &Netns, device: &Device, queues: &Queues) -> Result<Tun> {
        let far = (guest, device.name.as_str(), device.mac);
        let inside = self.namespace.run(|| self.make(far, (guest, &device.name), queues));
        inside.and_then(|made| made).map(|(tun, _)| tun).during(|| format!("cannot make {}", device.name))
    }

    /// Makes a port here for an interface with a veth pair of its own.
    pub(super) fn take(
        &self,
        taken: &Taken,
        outside: Netns,
        guest: &Netns,
        device: &Device,
        queues: &Queues,
    ) -> io::Result<Tun> {
        let name = taken.relay();
        let far = (&outside, name.as_str(), None);
        let made = self.namespace.run(|| self.make(far, (guest, &device.name), queues))?;
        let (tun, port) = made.map_err(|error| taken.explain(error))?;
        let watched = outside.try_clone()?;
        // The port's pair goes with it if this fails.
        outside.run(|| taken.lead_on())?.map_err(|error| taken.explain(error))?;
        lock(&self.unwatched).push(watched);
        let (outside, end) = (Arc::new(outside), taken.name().to_owned());
        lock(&self.relays).push(Relay { outside, end, name, port: Arc::downgrade(&port) });
        Ok(tun)
    }

    /// A pair from here to the first place, for the interface at the second.
    fn make(
        &self,
        (far, name, mac): (&Netns, &str, Option<Mac>),
        interface: (&Netns, &str),
        queues: &Queues,
    ) -> io::Result<(Tun, Arc<Port>)> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (end, tap) = (format!("v{number}"), format!("t{number}"));
        let mut netlink = Netlink::open()?;
        netlink.add_pair_of(&end, (name, mac.map(|Mac(mac)| mac)), far)?;
        let made = self.make_tap(&mut netlink, (&end, &tap), interface, queues);
        if made.is_err() {
            netlink.remove_link(&end)?;
        }
        made
    }

    fn make_tap(
        &self,
        netlink: &mut Netlink,
        (end, tap): (&str, &str),
        (guest, interface): (&Netns, &str),
        queues: &Queues,
    ) -> io::Result<(Tun, Arc<Port>)> {
        // Packets that are written get the TAP's own address: the guest's.
        let address = guest.run(|| Netlink::open()?.hardware_address(interface))??;
        let mut tun = Tun::open_tap(tap, Some(address), queues.count, queues.offload)?;
        let port = self.cache.attach(&self.namespace, end, tap)?;
        for name in [end, tap] {
            let link = netlink.link(name)?;
            netlink.set_mtu_and_queue(link, MTU, QUEUE)?;
            // A kernel without this queueing discipline forwards as well, a little slower.
            let _ = netlink.set_noqueue(link);
            netlink.up(link)?;
        }
        let port = Arc::new(port);
        tun.stand_for(&port);
        lock(&self.ports).push((tap.to_owned(), Arc::downgrade(&port)));
        Ok((tun, port))
    }

    /// Reports changes of the devices here, and where taken pairs end: each namespace once.
    pub(in crate::lab) fn new_watches(&self) -> io::Result<Vec<LinkWatch>> {
        let mut unwatched = lock(&self.unwatched);
        let watches = unwatched.iter().map(|namespace| namespace.run(LinkWatch::open)?).collect::<io::Result<_>>()?;
        unwatched.clear();
        Ok(watches)
    }

    /// Has a guest's interface lose its carrier, or get it back: an end of a pair has none while the other is down.
    pub(in crate::lab) fn set_carrier(&self, guest: &Netns, interface: &str, carrier: bool) -> io::Result<()> {
        let end = guest.run(|| Netlink::open()?.other_end(interface))??;
        let set = || {
            let mut netlink = Netlink::open()?;
            if carrier { netlink.up(end) } else { netlink.down(end) }
        };
        self.namespace.run(set)??;
        self.follow_guests()
    }

    /// Has each TAP follow its guest's end: down where that is down, and gone where that is gone. Packets for it are
    /// then dropped and counted as those for a TUN.
    pub(in crate::lab) fn follow_guests(&self) -> io::Result<()> {
        lock(&self.relays).retain(|relay| relay.port.strong_count() > 0);
        for Relay { outside, end, name, .. } in &*lock(&self.relays) {
            outside.run(|| follow_end(end, name))??;
        }
        lock(&self.ports).retain(|(_, port)| port.strong_count() > 0);
        let ports = lock(&self.ports).clone();
        let follow = || {
            let mut netlink = Netlink::open()?;
            for (tap, port) in ports {
                if let Some(port) = port.upgrade() {
                    follow(&mut netlink, &tap, &port)?;
                }
            }
            Ok(())
        };
        self.namespace.run(follow)?
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the pair that leads on be as a taken pair is, in the calling thread's namespace.
fn follow_end(end: &str, relay: &str) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let carrier = netlink.has_carrier(end)?;
    let is_up = match netlink.has_carrier(relay)? {
        Some(_) => netlink.is_up(relay)?,
        None => return Ok(()),
    };
    match carrier {
        None => netlink.remove_link(relay),
        Some(carrier) if carrier == is_up => Ok(()),
        Some(carrier) => {
            let relay = netlink.link(relay)?;
            if carrier { netlink.up(relay) } else { netlink.down(relay) }
        }
    }
}

fn follow(netlink: &mut Netlink, tap: &str, port: &Port) -> io::Result<()> {
    let carrier = netlink.has_carrier(port.name())?;
    let up = carrier == Some(true);
    if port.is_up() == up && carrier.is_some() {
        return Ok(());
    }
    port.set_up(up);
    match carrier {
        Some(true) => {
            let tap = netlink.link(tap)?;
            return netlink.up(tap);
        }
        Some(false) => {
            let tap = netlink.link(tap)?;
            netlink.down(tap)?;
        }
        None => netlink.remove_link(tap)?,
    }
    // The kernel would go on to carry packets there, and lose them.
    port.cache().begin_epoch()
}

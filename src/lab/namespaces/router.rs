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
use crate::sys::netlink::{LinkWatch, Netlink};
use crate::sys::netns::Netns;
use crate::sys::tun::Tun;

use super::device::{Device, QUEUE, Queues, set};

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
}

impl Router {
    /// Fails where the kernel loads no programs for us.
    pub(in crate::lab) fn new() -> io::Result<Self> {
        let cache = Arc::new(FlowCache::load()?);
        let namespace = Netns::create()?;
        namespace.run(|| SETTINGS.iter().try_for_each(|(setting, value)| set(setting, value)))??;
        namespace.run(|| cache.probe())??;
        Ok(Self { namespace, cache, made: AtomicU32::new(0), ports: Mutex::default() })
    }

    /// Makes an interface in a guest's namespace, and its port here.
    pub(in crate::lab) fn open(&self, guest: &Netns, device: &Device, queues: &Queues) -> Result<Tun> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let inside = self.namespace.run(|| self.make(number, guest, device, queues));
        inside.and_then(|made| made).during(|| format!("cannot make {}", device.name))
    }

    fn make(&self, number: u32, guest: &Netns, device: &Device, queues: &Queues) -> io::Result<Tun> {
        let (end, tap) = (format!("v{number}"), format!("t{number}"));
        let mut netlink = Netlink::open()?;
        netlink.add_pair_of(&end, (&device.name, device.mac.map(|Mac(mac)| mac)), guest)?;
        let made = self.make_tap(&mut netlink, (&end, &tap), guest, device, queues);
        if made.is_err() {
            netlink.remove_link(&end)?;
        }
        made
    }

    fn make_tap(
        &self,
        netlink: &mut Netlink,
        (end, tap): (&str, &str),
        guest: &Netns,
        device: &Device,
        queues: &Queues,
    ) -> io::Result<Tun> {
        // Packets that are written get the TAP's own address: the guest's.
        let address = guest.run(|| Netlink::open()?.hardware_address(&device.name))??;
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
        self.ports().push((tap.to_owned(), Arc::downgrade(&port)));
        Ok(tun)
    }

    /// Reports changes of the devices here.
    pub(in crate::lab) fn watch(&self) -> io::Result<LinkWatch> {
        self.namespace.run(LinkWatch::open)?
    }

    /// Has each TAP follow its guest's end: down where that is down, and gone where that is gone. Packets for it are
    /// then dropped and counted as those for a TUN.
    pub(in crate::lab) fn follow_guests(&self) -> io::Result<()> {
        self.ports().retain(|(_, port)| port.strong_count() > 0);
        let ports = self.ports().clone();
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

    fn ports(&self) -> MutexGuard<'_, Vec<(String, Weak<Port>)>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
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

//! A TUN made and set up in the calling thread's namespace: what lab guests and attached namespaces have in common.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use ipnet::IpNet;

use crate::lab::error::{During, Result};
use crate::model::{Attachment, DeviceKind, Mac, Network};
use crate::sys::netlink::{Link, Netlink};
use crate::sys::tun::{OffloadSupport, Tun};

use super::router::Router;

/// Azure's, and what guests get (FAB-11).
const MTU: u32 = 1500;
/// Packets that may wait for a worker, in each queue of a device. The kernel's 500 overflow within a fraction of a
/// millisecond of small packets.
pub(in crate::lab) const QUEUE: u32 = 2000;

/// How long the kernel may take to make an address usable on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses need no router advertisement and no duplicate detection: no other owner exists.
const IPV6_SETTINGS: [(&str, &str); 4] =
    [("accept_ra", "0"), ("autoconf", "0"), ("router_solicitations", "0"), ("accept_dad", "0")];
/// On a TUN a link-local address would serve only to send what the fabric drops (FAB-16).
const NO_LINK_LOCAL: (&str, &str) = ("addr_gen_mode", "1");

/// What every device of a lab has in common.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Queues {
    /// One for each worker.
    pub(in crate::lab) count: usize,
    /// What may be left undone at most.
    pub(in crate::lab) offload: OffloadSupport,
    pub(in crate::lab) kind: DeviceKind,
    /// Under [`DeviceKind::Veth`], where guests' pairs end.
    pub(in crate::lab) router: Option<Arc<Router>>,
}

impl Queues {
    /// Of a device for an attachment: the kernel carries no flows of the router's own ends, which are gateways, circuits'
    /// edges and the platform.
    pub(in crate::lab) fn of(&self, network: &Network, attachment: Attachment) -> Self {
        let kind = network.device_kind(attachment, self.kind);
        let router = if kind == self.kind { self.router.clone() } else { None };
        Self { kind, router, ..*self }
    }
}

/// An interface as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Device {
    pub(in crate::lab) name: String,
    pub(in crate::lab) addresses: Vec<IpNet>,
    pub(in crate::lab) default: DefaultRoute,
    /// What goes to it beside the default route.
    pub(in crate::lab) routes: Vec<IpNet>,
    /// What goes to it by a router of its subnet.
    pub(in crate::lab) via: Vec<(IpNet, IpAddr)>,
    /// Of `routes`: among devices that have the same one the least wins.
    pub(in crate::lab) metric: u32,
    /// Largest packet, in bytes.
    pub(in crate::lab) mtu: u32,
    /// Of one that is made; without it the kernel's choice. A TUN has none.
    pub(in crate::lab) mac: Option<Mac>,
}

/// Whether packets for elsewhere go to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) enum DefaultRoute {
    /// By these of its subnet; without any, they go elsewhere.
    Via(Vec<IpAddr>),
    /// For each family of its addresses in which the namespace has no default route yet.
    IfNone,
}

impl Device {
    /// With the MTU that guests get unless the lab says otherwise, and no other routes.
    pub(in crate::lab) fn new(name: &str, addresses: Vec<IpNet>, default: DefaultRoute) -> Self {
        Self {
            name: name.to_owned(),
            addresses,
            default,
            routes: Vec::new(),
            via: Vec::new(),
            metric: 0,
            mtu: MTU,
            mac: None,
        }
    }

    /// Makes the device in the calling thread's namespace, or attaches to a persistent one of that name; leaves it as
    /// it is.
    pub(in crate::lab) fn open(&self, queues: &Queues) -> Result<Tun> {
        let Queues { count, offload, kind, .. } = *queues;
        let opened = match kind {
            DeviceKind::Tun | DeviceKind::Veth => Tun::open(&self.name, count, offload),
            DeviceKind::Tap => Tun::open_tap(&self.name, self.mac.map(|Mac(mac)| mac), count, offload),
        };
        opened.during(|| format!("cannot make {}", self.name))
    }

    /// Sets MTU, queue, addresses and routes, and brings it up. On a persistent device they stay when it is left.
    pub(in crate::lab) fn configure(&self, kind: DeviceKind) -> Result<()> {
        self.try_configure(kind).during(|| format!("cannot set up {}", self.name))
    }

    /// Makes another device of one that is set up as `before` says, touching only what differs. They have one name.
    pub(in crate::lab) fn rearrange(&self, before: &Self) -> Result<()> {
        self.try_rearrange(before).during(|| format!("cannot change {}", self.name))
    }

    fn try_rearrange(&self, before: &Self) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let link = netlink.link(&self.name)?;
        let gone: Vec<_> = before.addresses.iter().filter(|address| !self.addresses.contains(address)).collect();
        let same_default = before.default == self.default && gone.is_empty();
        if let (false, DefaultRoute::Via(gateways)) = (same_default, &before.default) {
            for gateway in gateways {
                netlink.remove_default_route(link, *gateway)?;
            }
        }
        for address in gone {
            netlink.remove_address(link, *address)?;
        }
        // Also those that stay: removing the first address of a subnet removes the others too.
        for address in &self.addresses {
            netlink.add_address(link, *address)?;
        }
        netlink.up(link)?;
        if !same_default {
            self.add_default(&mut netlink, link)?;
        }
        for route in before.routes.iter().filter(|route| before.metric != self.metric || !self.routes.contains(route)) {
            netlink.remove_device_route(link, *route, before.metric)?;
        }
        for route in &self.routes {
            netlink.add_device_route(link, *route, self.metric)?;
        }
        for (range, router) in before.via.iter().filter(|route| !self.via.contains(route)) {
            netlink.remove_route_via(link, *range, *router)?;
        }
        self.finish(&mut netlink, link)
    }

    fn try_configure(&self, kind: DeviceKind) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let link = netlink.link(&self.name)?;
        netlink.set_mtu_and_queue(link, self.mtu, QUEUE)?;
        // A kernel without this queueing discipline forwards as well, a little slower.
        let _ = netlink.set_noqueue(link);
        // On a TAP a guest that forwards has no other address to ask for its neighbours from.
        let link_local = (kind == DeviceKind::Tun).then_some(NO_LINK_LOCAL);
        for (setting, value) in IPV6_SETTINGS.into_iter().chain(link_local) {
            set(&format!("ipv6/conf/{}/{setting}", self.name), value)?;
        }
        netlink.up(link)?;
        for address in &self.addresses {
            netlink.add_address(link, *address)?;
        }
        self.add_default(&mut netlink, link)?;
        for route in &self.routes {
            netlink.add_device_route(link, *route, self.metric)?;
        }
        self.finish(&mut netlink, link)
    }

    /// What needs addresses that are usable already.
    fn finish(&self, netlink: &mut Netlink, link: Link) -> io::Result<()> {
        self.wait_for_addresses(netlink)?;
        self.via.iter().try_for_each(|(range, router)| netlink.add_route_via(link, *range, *router))
    }

    /// Until packets to them arrive: the kernel routes an IPv6 address from a work queue of its own.
    fn wait_for_addresses(&self, netlink: &mut Netlink) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for address in self.addresses.iter().map(IpNet::addr).filter(IpAddr::is_ipv6) {
            while !netlink.is_local(address)? {
                if Instant::now() > deadline {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("the kernel does not route {address}"),
                    ));
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn add_default(&self, netlink: &mut Netlink, link: Link) -> io::Result<()> {
        match &self.default {
            DefaultRoute::Via(gateways) => {
                for gateway in gateways {
                    netlink.add_default_route(link, *gateway)?;
                }
            }
            DefaultRoute::IfNone => {
                for ipv6 in [false, true] {
                    let ours = self.addresses.iter().any(|address| address.addr().is_ipv6() == ipv6);
                    if ours && !netlink.has_default_route(ipv6)? {
                        netlink.add_default_device(link, ipv6)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Changes a setting below `/proc/sys/net` of the calling thread's namespace.
pub(in crate::lab) fn set(setting: &str, value: &str) -> io::Result<()> {
    match fs::write(Path::new("/proc/sys/net").join(setting), value) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound && setting.starts_with("ipv6/") => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("/proc/sys/net/{setting}: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Largest packet of a device in the calling thread's namespace.
pub(in crate::lab) fn mtu(name: &str) -> Result<u16> {
    let mtu = Netlink::open().and_then(|mut netlink| netlink.mtu(name));
    let mtu = mtu.during(|| format!("cannot read the MTU of {name}"))?;
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

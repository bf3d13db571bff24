//! The routes of one namespace's kernel that BGP has set.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::sys::netlink::{Link, Netlink};
use crate::sys::netns::Netns;

/// A router, and the device that leads to it, where it is not the only one.
pub(super) type Hop = (IpAddr, Option<Link>);

#[derive(Debug)]
pub(super) struct Kernel {
    netlink: Netlink,
    routes: BTreeMap<IpNet, Vec<Hop>>,
    /// What it did not take, told once: a peer's routes may change many times in a second.
    refused: BTreeSet<IpNet>,
    /// Its devices were replaced, and their routes may be gone with them.
    doubtful: bool,
}

impl Kernel {
    pub(super) fn of(namespace: &Netns) -> io::Result<Self> {
        let netlink = namespace.run(Netlink::open).and_then(|opened| opened)?;
        Ok(Self { netlink, routes: BTreeMap::new(), refused: BTreeSet::new(), doubtful: false })
    }

    /// A device of its namespace as it is now; another of the same name is another one.
    pub(super) fn link(&mut self, device: &str) -> io::Result<Link> {
        self.netlink.link(device)
    }

    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    pub(super) const fn routes(&self) -> &BTreeMap<IpNet, Vec<Hop>> {
        &self.routes
    }

    /// Makes these the routes; what the kernel refuses is tried again with the next change.
    pub(super) fn set(&mut self, node: &str, wanted: BTreeMap<IpNet, Vec<Hop>>) {
        let before = std::mem::take(&mut self.routes);
        for prefix in before.keys().filter(|prefix| !wanted.contains_key(*prefix)) {
            if let Err(error) = self.netlink.remove_route(*prefix) {
                tracing::warn!("{node} keeps its route to {prefix}: {error}");
            }
        }
        let doubtful = std::mem::take(&mut self.doubtful);
        let refused = std::mem::take(&mut self.refused);
        for (prefix, hops) in wanted {
            let stands = !doubtful && before.get(&prefix) == Some(&hops);
            match if stands { Ok(()) } else { self.netlink.put_route(prefix, &hops) } {
                Ok(()) => drop(self.routes.insert(prefix, hops)),
                Err(error) => {
                    if !refused.contains(&prefix) {
                        tracing::warn!("{node} gets no route to {prefix}: {error}");
                    }
                    self.refused.insert(prefix);
                }
            }
        }
    }
}

//! Ends that speak no BGP: what Azure tells them of is set in their kernels, like static routes. They are customers of
//! circuits, whose edge advertises to them, and point-to-site clients of gateways that learn by BGP (VPN-44).
//!
//! One idea: what they are told depends on all that Azure has learned, so it is computed again whenever that changes. A
//! link that is down has no routes.

use std::collections::BTreeSet;
use std::io;

use ipnet::{IpNet, Ipv4Net};

use crate::bgp::topology::expressroute_rib::Exchange;
use crate::model::{CircuitIx, Customer, Learned, Network, Side, SiteIx};
use crate::sys::netlink::Netlink;
use crate::sys::netns::Identity;

use super::NodeNamespace;

/// What ends in a device that is told its routes.
#[derive(Clone, Debug)]
pub enum SilentEnd {
    /// One of a circuit's links, at its customer.
    Link { circuit: String, side: Side },
    /// The tunnel of a client, by the client's name.
    Client(String),
}

/// A device that is told its routes.
#[derive(Debug)]
pub struct SilentLink {
    pub end: SilentEnd,
    pub place: NodeNamespace,
    pub device: String,
    /// Of its routes: among links to one prefix the least wins.
    pub metric: u32,
}

/// One of these, and the routes that its kernel has.
#[derive(Debug)]
pub(super) struct Silent {
    end: SilentEnd,
    device: String,
    metric: u32,
    place: Option<Identity>,
    netlink: Netlink,
    routes: BTreeSet<IpNet>,
    /// The device may have lost its routes.
    doubtful: bool,
}

impl Silent {
    pub(super) fn of(link: SilentLink) -> io::Result<Self> {
        let SilentLink { end, place: NodeNamespace { namespace, identity, .. }, device, metric } = link;
        let netlink = namespace.run(Netlink::open).and_then(|opened| opened)?;
        Ok(Self { end, device, metric, place: identity, netlink, routes: BTreeSet::new(), doubtful: true })
    }

    /// Goes on from what another says of the same device.
    pub(super) fn after(self, before: &mut Vec<Self>) -> Self {
        let same = |known: &mut Self| {
            known.place.is_some()
                && (known.place, &known.device, known.metric) == (self.place, &self.device, self.metric)
        };
        let known = before.extract_if(.., same).next();
        Self { routes: known.map_or_else(BTreeSet::new, |known| known.routes), ..self }
    }

    /// Sets the routes in the kernel. Returns what did not work; that is tried again with the next
    /// change.
    pub(super) fn apply(&mut self, network: &Network, learned: &Learned, exchange: &Exchange) -> Option<String> {
        let wanted = match &self.end {
            SilentEnd::Link { circuit, side } => {
                let circuit = network.circuits().find(|(_, known)| known.name == *circuit).map(|(ix, _)| ix);
                circuit.map_or_else(BTreeSet::new, |ix| told((network, learned), exchange, ix, *side))
            }
            SilentEnd::Client(name) => {
                let client = network.sites.iter().position(|site| site.name == *name).map(SiteIx);
                client.map_or_else(BTreeSet::new, |client| heard(network, learned, client))
            }
        };
        if !self.doubtful && wanted == self.routes {
            return None;
        }
        let set = self.set(wanted);
        self.doubtful = set.is_err();
        let of = match &self.end {
            SilentEnd::Link { circuit, .. } => circuit,
            SilentEnd::Client(name) => name,
        };
        Some(format!("{} of {of} does not have the routes that Azure tells it of: {}", self.device, set.err()?))
    }

    /// Leaves nothing behind on a device that goes on without these routes.
    pub(super) fn clear(mut self) {
        // With its device or its namespace the routes are gone as well.
        let _ = self.set(BTreeSet::new());
    }

    fn set(&mut self, wanted: BTreeSet<IpNet>) -> io::Result<()> {
        let link = self.netlink.link(&self.device)?;
        for gone in self.routes.difference(&wanted) {
            self.netlink.remove_device_route(link, *gone, self.metric)?;
        }
        for prefix in wanted.iter().filter(|prefix| self.doubtful || !self.routes.contains(*prefix)) {
            self.netlink.add_device_route(link, *prefix, self.metric)?;
        }
        self.routes = wanted;
        Ok(())
    }
}

/// What a client's gateway has learned, beside what its file says.
fn heard(network: &Network, learned: &Learned, client: SiteIx) -> BTreeSet<IpNet> {
    let Some(gateway) = network.site(client).client_of else { return BTreeSet::new() };
    let fixed = network.client_routes(gateway, &Learned::default());
    network.client_routes(gateway, learned).into_iter().filter(|route| !fixed.contains(route)).collect()
}

/// What a customer has a route to over one of its circuit's links.
fn told(
    (network, learned): (&Network, &Learned),
    exchange: &Exchange,
    circuit: CircuitIx,
    side: Side,
) -> BTreeSet<IpNet> {
    let takes = |prefix: &IpNet| match network.customer(circuit) {
        Some(Customer::Cloud(cloud)) => network.cloud(cloud).takes(prefix),
        Some(Customer::Site(_) | Customer::Segment(..)) | None => true,
    };
    let up = learned.link_absence(network, circuit, side).is_none();
    let default = network.translated_cloud(circuit).map(|_| IpNet::V4(Ipv4Net::default()));
    let all = exchange.customer(circuit).into_keys().filter(takes);
    let all = all.chain(default).chain(network.segments_behind(circuit));
    all.filter(|_| up).collect()
}

//! Customers of circuits that speak no BGP: the edge's advertised routes are set in their kernels, like static routes.
//!
//! One idea: an edge's advertisements depend on all that Azure has learned, so they are computed again whenever that
//! changes. A link that is down has no routes.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use crate::bgp::topology::expressroute_rib::Exchange;
use crate::model::{CircuitIx, Customer, Learned, Network, Side};
use crate::sys::netlink::Netlink;
use crate::sys::netns::Identity;

use super::NodeNamespace;

/// The customer's end of one of a circuit's links.
#[derive(Debug)]
pub struct SilentLink {
    pub circuit: String,
    pub side: Side,
    pub place: NodeNamespace,
    pub device: String,
    /// Of its routes: among links to one prefix the least wins.
    pub metric: u32,
}

/// One of these, and the routes that its kernel has.
#[derive(Debug)]
pub(super) struct Silent {
    circuit: String,
    side: Side,
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
        let SilentLink { circuit, side, place: NodeNamespace { namespace, identity }, device, metric } = link;
        let netlink = namespace.run(Netlink::open).and_then(|opened| opened)?;
        Ok(Self { circuit, side, device, metric, place: identity, netlink, routes: BTreeSet::new(), doubtful: true })
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

    /// Sets the edge's advertised routes in the kernel. Returns what did not work; that is tried again with the next
    /// change.
    pub(super) fn apply(&mut self, network: &Network, learned: &Learned, exchange: &Exchange) -> Option<String> {
        let circuit = network.circuits().find(|(_, circuit)| circuit.name == self.circuit).map(|(ix, _)| ix);
        let wanted = circuit.map_or_else(BTreeSet::new, |ix| told((network, learned), exchange, ix, self.side));
        if !self.doubtful && wanted == self.routes {
            return None;
        }
        let set = self.set(wanted);
        self.doubtful = set.is_err();
        Some(format!("{} of {} does not have the routes of its edge: {}", self.device, self.circuit, set.err()?))
    }

    /// Leaves nothing behind on a device that goes on without an edge's routes.
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

/// What a customer has a route to over one of its circuit's links.
fn told(
    (network, learned): (&Network, &Learned),
    exchange: &Exchange,
    circuit: CircuitIx,
    side: Side,
) -> BTreeSet<IpNet> {
    let takes = |prefix: &IpNet| match network.customer(circuit) {
        Some(Customer::Cloud(cloud)) => network.cloud(cloud).takes(prefix),
        Some(Customer::Site(_)) | None => true,
    };
    let up = learned.link_absence(network, circuit, side).is_none();
    exchange.customer(circuit).into_keys().filter(|prefix| up && takes(prefix)).collect()
}

//! What the running system has learned, and which tunnels and links it has found down.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Attachment, CircuitIx, Connection, ConnectionIx, GatewayIx, Health, Network, PrefixMap, ProbeKey, Remote, Side,
};

/// The state that the running system learns, as opposed to what the file configures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// By attachment; a missing entry means 1500, and 1400 for a tunnel.
    pub mtu: HashMap<Attachment, u16>,
    pub bgp: BgpLearned,
    /// Routes learned by the devices of sites: by the name of a site, each prefix with its next hops. A device outside
    /// the lab has no entry.
    pub sites: BTreeMap<String, PrefixMap<Vec<IpAddr>>>,
    /// Failed gateway instances and circuit links (VPN-30, ER-02), by [`VirtualNetworkGateway::instance_name`] and
    /// [`Network::circuit_link_name`].
    ///
    /// [`VirtualNetworkGateway::instance_name`]: super::VirtualNetworkGateway::instance_name
    pub down: BTreeSet<String>,
    /// Devices that the user has set down in their namespaces: gateways, and the far ends of tunnels and links.
    pub switched_off: HashSet<Attachment>,
    /// The health of backends; None where no prober runs.
    pub health: Option<BTreeMap<ProbeKey, Health>>,
}

/// Routes learned by BGP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpLearned {
    /// By the name of a connection, the prefixes that have a best path over it (alone or among equals).
    pub by_connection: BTreeMap<String, Vec<IpNet>>,
    /// By the name of a route server, the equal next hops of each prefix (ARS-03).
    pub by_route_server: BTreeMap<String, BTreeMap<IpNet, Vec<IpAddr>>>,
    /// By the name of a circuit, what its customer advertises. A circuit without an entry uses what the file
    /// advertises.
    pub by_circuit: BTreeMap<String, BTreeMap<IpNet, Advertisement>>,
    /// By the name of an ExpressRoute gateway, what the route server of its virtual network advertises (ARS-06).
    pub by_gateway: BTreeMap<String, BTreeMap<IpNet, Advertisement>>,
    /// By the name of a gateway or a route server, the AS path length of its best path to each prefix.
    pub path_lengths: BTreeMap<String, BTreeMap<IpNet, usize>>,
}

/// How a prefix is advertised: the shortest AS path, and the connections or links that advertise it so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// Nearest first.
    pub as_path: Vec<u32>,
    /// The names of the equal connections or links.
    pub over: BTreeSet<String>,
}

impl Advertisement {
    /// Adds an advertisement of the same prefix: a shorter path replaces what is known, an equal one joins it.
    pub fn add(&mut self, as_path: Vec<u32>, over: String) {
        if self.over.is_empty() || as_path.len() < self.as_path.len() {
            *self = Self { as_path, over: BTreeSet::from([over]) };
        } else if as_path.len() == self.as_path.len() {
            self.over.insert(over);
        }
    }
}

/// Why a tunnel or a link that should be up is down at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    #[error("the gateway's instance does not work at the moment (VPN-30)")]
    Instance,
    #[error("the link has failed (ER-02)")]
    Link,
    #[error("its device at the far end is switched off")]
    Device,
}

impl Learned {
    /// Why a tunnel is down: a fault in the file, or a failure at the moment.
    pub fn why_down(&self, network: &Network, tunnel: ConnectionIx) -> Option<String> {
        let fault = network.tunnel_fault(tunnel).map(|fault| fault.to_string());
        fault.or_else(|| Some(self.absence(network, tunnel)?.to_string()))
    }

    /// Whether a tunnel forwards packets.
    pub fn tunnel_is_up(&self, network: &Network, tunnel: ConnectionIx) -> bool {
        network.tunnel_fault(tunnel).is_none() && self.absence(network, tunnel).is_none()
    }

    /// Whether a circuit's link forwards packets (ER-02).
    pub fn link_is_up(&self, network: &Network, circuit: CircuitIx, side: Side) -> bool {
        self.link_absence(network, circuit, side).is_none()
    }

    /// Why a tunnel is down at the moment.
    pub fn absence(&self, network: &Network, tunnel: ConnectionIx) -> Option<Absence> {
        let connection = network.connection(tunnel);
        let off = self.switched_off.contains(&Attachment::Tunnel(tunnel));
        if self.instance_is_down(network, connection.gateway, self.instance_of(network, tunnel)) {
            return Some(Absence::Instance);
        }
        match connection.remote {
            Remote::Local(_) | Remote::Client(_) => off.then_some(Absence::Device),
            Remote::Gateway(far) => {
                let mut instances = 0..network.gateway(far).active_instances();
                instances.all(|instance| self.instance_is_down(network, far, instance)).then_some(Absence::Instance)
            }
            Remote::Circuit(_) => None,
        }
    }

    /// The active instance that a tunnel ends at. A point-to-site client goes over to another one while its own is away
    /// (VPN-33).
    pub fn instance_of(&self, network: &Network, tunnel: ConnectionIx) -> usize {
        let Connection { gateway, instance, .. } = *network.connection(tunnel);
        let is_there = |instance: &usize| !self.instance_is_down(network, gateway, *instance);
        if !network.connection(tunnel).is_clients() || is_there(&instance) {
            return instance;
        }
        (0..network.gateway(gateway).active_instances()).find(is_there).unwrap_or(instance)
    }

    /// Whether an active instance of a gateway has failed or is switched off.
    pub fn instance_is_down(&self, network: &Network, gateway: GatewayIx, instance: usize) -> bool {
        let off = self.switched_off.contains(&Attachment::Gateway(gateway));
        off || self.down.contains(&network.gateway(gateway).instance_name(instance))
    }

    /// Why a circuit's link is down at the moment.
    pub fn link_absence(&self, network: &Network, circuit: CircuitIx, side: Side) -> Option<Absence> {
        if self.down.contains(&network.circuit_link_name(circuit, side)) {
            return Some(Absence::Link);
        }
        self.switched_off.contains(&Attachment::CircuitLink(circuit, side)).then_some(Absence::Device)
    }
}

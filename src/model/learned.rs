//! What the running system tells, and what of it keeps a tunnel or a link from carrying anything for a while.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Attachment, CircuitIx, ConnectionIx, GatewayIx, Health, Network, ProbeKey, Remote, Side};

/// What the running system tells, as opposed to what the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// By attachment; 1500 where it is missing, 1400 for a tunnel.
    pub mtu: HashMap<Attachment, u16>,
    pub bgp: Heard,
    /// What the devices of sites have learned: by the name of a site, the prefixes that it knows and their next hops. A
    /// device that is not ours has no entry.
    pub sites: BTreeMap<String, BTreeMap<IpNet, Vec<IpAddr>>>,
    /// Instances of gateways and links of circuits that do not work at the moment (VPN-30, ER-02), by
    /// [`VirtualNetworkGateway::instance_name`] and [`Network::circuit_link_name`].
    ///
    /// [`VirtualNetworkGateway::instance_name`]: super::VirtualNetworkGateway::instance_name
    pub down: BTreeSet<String>,
    /// Devices that somebody has switched off where they stand: a gateway's own, those of tunnels and links at their far ends.
    pub switched_off: HashSet<Attachment>,
    /// What probes have found out of the backends they ask; None where nobody probes.
    pub health: Option<BTreeMap<ProbeKey, Health>>,
}

/// What BGP says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// By the name of a connection, the prefixes to which it is the best way, or one of several.
    pub over: BTreeMap<String, Vec<IpNet>>,
    /// By the name of a route server, the next hops of each prefix, all equal (ARS-03).
    pub through: BTreeMap<String, BTreeMap<IpNet, Vec<IpAddr>>>,
    /// By the name of a gateway or a route server, how long the AS paths of its ways are.
    pub lengths: BTreeMap<String, BTreeMap<IpNet, usize>>,
    /// By the name of a circuit, what its customer says; of one that is not there counts what the file says of it.
    pub said: BTreeMap<String, BTreeMap<IpNet, Said>>,
    /// By the name of an ExpressRoute gateway, what the route server beside it says (ARS-06).
    pub beside: BTreeMap<String, BTreeMap<IpNet, Said>>,
}

/// What somebody says of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Nearest first.
    pub as_path: Vec<u32>,
    /// The names of what leads to those who say it, all equal.
    pub over: BTreeSet<String>,
}

impl Said {
    /// Another says it too: the shortest path counts, and all that have one as short.
    pub fn hear(&mut self, as_path: Vec<u32>, over: String) {
        if self.over.is_empty() || as_path.len() < self.as_path.len() {
            *self = Self { as_path, over: BTreeSet::from([over]) };
        } else if as_path.len() == self.as_path.len() {
            self.over.insert(over);
        }
    }
}

/// Why a tunnel or a link that should be up is not, for as long as it lasts.
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
    /// What keeps a tunnel down, by the file or at the moment.
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

    /// Of a tunnel.
    pub fn absence(&self, network: &Network, tunnel: ConnectionIx) -> Option<Absence> {
        let connection = network.connection(tunnel);
        let off = self.switched_off.contains(&Attachment::Tunnel(tunnel));
        if self.is_away(network, connection.gateway, connection.instance) {
            return Some(Absence::Instance);
        }
        match connection.remote {
            Remote::Local(_) => off.then_some(Absence::Device),
            Remote::Gateway(far) => {
                let mut instances = 0..network.gateway(far).active_instances();
                instances.all(|instance| self.is_away(network, far, instance)).then_some(Absence::Instance)
            }
            Remote::Circuit(_) => None,
        }
    }

    /// Whether an active instance of a gateway does not work.
    pub fn is_away(&self, network: &Network, gateway: GatewayIx, instance: usize) -> bool {
        let off = self.switched_off.contains(&Attachment::Gateway(gateway));
        off || self.down.contains(&network.gateway(gateway).instance_name(instance))
    }

    /// Of a circuit's link.
    pub fn link_absence(&self, network: &Network, circuit: CircuitIx, side: Side) -> Option<Absence> {
        if self.down.contains(&network.circuit_link_name(circuit, side)) {
            return Some(Absence::Link);
        }
        self.switched_off.contains(&Attachment::CircuitLink(circuit, side)).then_some(Absence::Device)
    }
}

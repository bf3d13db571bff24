//! The fabric's edge: between the NICs' private addresses and the Internet.
//!
//! One idea: two tables, one for each direction. A sender's NIC gives its outbound methods; the destination of a packet
//! that enters gives the owner of that public address. The pipeline decides which method a flow uses (SNAT-01); these
//! tables know no flows.

use std::net::IpAddr;

use crate::dataplane::{FrontendId, GatewayId, Lpm, NicId, PortPool};
use crate::wire::{Protocol, Tuple};

/// Index in [`Edge::pools`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// The edge of a network that has an Internet.
#[derive(Debug)]
pub struct Edge {
    /// Represents the Internet: it has a port and an MTU; no rules, no routes, no records.
    pub internet: NicId,
    /// Addresses that exist in the Internet: public ones, and none of this network's.
    pub hosts: Lpm<()>,
    /// The owner of each public address of this network.
    pub public: Lpm<PublicOwner>,
    pub pools: Vec<PortPool>,
    /// By [`NicId`].
    pub egress: Vec<Egress>,
}

/// The owner of a public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicOwner {
    /// One private address of one NIC (PIP-01).
    Instance { nic: NicId, private: IpAddr },
    /// The flows with a mapped port of it.
    Pool(PoolId),
    /// Those too, and the flows that a public load balancer's rules match.
    Frontend(FrontendId),
}

/// The outbound methods of a NIC's addresses, in order of preference (SNAT-01).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    pub nat_gateway: Option<PoolId>,
    /// Private and public address.
    pub instances: Box<[(IpAddr, IpAddr)]>,
    /// One for each IP version at most.
    pub balanced: Box<[Balanced]>,
    pub default_outbound: Option<PoolId>,
    /// Of a circuit's edge.
    pub cloud: Option<CloudEgress>,
}

/// How a private cloud's packets leave behind a circuit's edge (AVS-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudEgress {
    pub pool: PoolId,
    /// The edge, which knows the link to each of the cloud's addresses.
    pub gateway: GatewayId,
}

/// The frontend ports that a backend may use outbound: only its first IP configuration of an IP version has any
/// (SNAT-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balanced {
    pub private: IpAddr,
    pub tcp: Option<PoolId>,
    pub udp: Option<PoolId>,
}

impl Balanced {
    /// The pool for a flow. A protocol without ports is refused where ports are allocated.
    pub fn pool(&self, flow: &Tuple) -> Option<PoolId> {
        let pool = if flow.protocol == Protocol::UDP { self.udp } else { self.tcp.or(self.udp) };
        pool.filter(|_| flow.src == self.private && (flow.protocol != Protocol::TCP || self.tcp.is_some()))
    }
}

impl Edge {
    #[inline]
    pub fn pool(&self, id: PoolId) -> &PortPool {
        &self.pools[id.0 as usize]
    }

    #[inline]
    pub fn egress(&self, nic: NicId) -> &Egress {
        &self.egress[nic.0 as usize]
    }
}

impl Egress {
    /// The public address of a private one.
    pub fn instance(&self, private: IpAddr) -> Option<IpAddr> {
        self.instances.iter().find(|(own, _)| *own == private).map(|(_, public)| *public)
    }
}

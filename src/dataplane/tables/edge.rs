//! The fabric's edge: what lies between the NICs' private addresses and the Internet.
//!
//! One idea: two tables, one for each way. Who sends finds by its NIC what may stand for it outside; what comes in finds by
//! its destination whose that public address is. Which method a flow takes is decided by the pipeline (SNAT-01); nothing
//! here knows of flows.

use std::net::IpAddr;

use crate::dataplane::{FrontendId, Lpm, NicId, PortPool};
use crate::wire::{Protocol, Tuple};

/// Index in [`Edge::pools`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// The edge of a network that has an Internet.
#[derive(Debug)]
pub struct Edge {
    /// Stands for the Internet: it has a port and an MTU; no rules, no routes, no records.
    pub internet: NicId,
    /// Addresses that are somebody's in the Internet; public ones, and none of this network's.
    pub hosts: Lpm<()>,
    /// Whose a public address of this network is.
    pub public: Lpm<PublicOwner>,
    pub pools: Vec<PortPool>,
    /// By [`NicId`].
    pub egress: Vec<Egress>,
}

/// What a public address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicOwner {
    /// One private address of one NIC (PIP-01).
    Instance { nic: NicId, private: IpAddr },
    /// The flows that have a port of it.
    Pool(PoolId),
    /// Those too, and what a public load balancer's rules take.
    Frontend(FrontendId),
}

/// What may stand for a NIC's addresses, in the order asked (SNAT-01).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    pub nat_gateway: Option<PoolId>,
    /// Private and public.
    pub instances: Box<[(IpAddr, IpAddr)]>,
    /// One for each IP version at the most.
    pub balanced: Box<[Balanced]>,
    pub default_outbound: Option<PoolId>,
}

/// The ports that a backend has of load balancers' frontends, for the first IP configuration of an IP version alone
/// (SNAT-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balanced {
    pub private: IpAddr,
    pub tcp: Option<PoolId>,
    pub udp: Option<PoolId>,
}

impl Balanced {
    /// What may stand for a flow; what has no ports is refused where they are given.
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
    /// The public address in front of a private one.
    pub fn instance(&self, private: IpAddr) -> Option<IpAddr> {
        self.instances.iter().find(|(own, _)| *own == private).map(|(_, public)| *public)
    }
}

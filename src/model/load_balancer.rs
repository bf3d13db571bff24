//! Load balancers: frontends, the pools behind them, and the rules that join the two (LB).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{NicIx, SubnetIx};

/// A frontend: its load balancer, and its index in [`LoadBalancer::frontends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendIx {
    pub balancer: usize,
    pub frontend: usize,
}

/// An internal load balancer. Its frontends and everybody in its pools are in one virtual network (LB-05).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    pub name: String,
    /// Never empty.
    pub frontends: Vec<Frontend>,
    pub pools: Vec<BackendPool>,
    pub probes: Vec<HealthProbe>,
    pub rules: Vec<LoadBalancingRule>,
}

/// A private address in a subnet, which nobody else has (LB-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub name: String,
    pub subnet: SubnetIx,
    pub address: IpAddr,
}

/// Machines that do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPool {
    pub name: String,
    /// In file order of the interfaces.
    pub members: Vec<Backend>,
}

/// One IP configuration in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    pub nic: NicIx,
    pub address: Ipv4Addr,
}

/// How it is found out whether a backend is up (LB-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthProbe {
    pub name: String,
    pub protocol: ProbeProtocol,
    pub port: u16,
    pub interval: Duration,
    /// Successes or failures in a row that change a backend's state (LB-11).
    pub threshold: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeProtocol {
    /// Connects, then closes.
    Tcp,
    /// Asks for this path; only status 200 is up.
    Http(String),
    Https(String),
}

/// What becomes of the flows to one port of a frontend, or to all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancingRule {
    pub name: String,
    /// Index in [`LoadBalancer::frontends`].
    pub frontend: usize,
    /// Index in [`LoadBalancer::pools`].
    pub pool: usize,
    /// Index in [`LoadBalancer::probes`]; without one every backend is up (LB-09).
    pub probe: Option<usize>,
    pub ports: BalancedPorts,
    pub distribution: Distribution,
    /// The destination stays the frontend's address (LB-20).
    pub floating: bool,
    /// Of TCP (LB-25).
    pub idle_timeout: Duration,
}

/// Which flows a rule takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BalancedPorts {
    Tcp {
        frontend: u16,
        backend: u16,
    },
    Udp {
        frontend: u16,
        backend: u16,
    },
    /// HA ports: every port of both (LB-30).
    All,
}

/// What of a flow chooses its backend: `loadDistribution` (LB-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Addresses, ports and protocol.
    #[default]
    Default,
    SourceIp,
    SourceIpProtocol,
}

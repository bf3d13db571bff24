//! Load balancers: frontends, the pools behind them, and the rules that join the two (LB).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Network, NicIx, SubnetIx, VnetIx};

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

/// Who asks, as drops and captures name it: by the tag that rules know it by.
pub const PROBER: &str = "AzureLoadBalancer";

/// One backend as one probe asks it, by names in lower case: what was found out outlives a change of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeKey {
    pub balancer: String,
    pub probe: String,
    /// `machine/interface`.
    pub interface: String,
    pub address: IpAddr,
}

/// What a probe has found out of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub up: bool,
    /// When that began, in seconds since 1970.
    pub since: u64,
    /// What the last probe met that was not as the one before.
    pub reason: String,
}

/// Somebody to probe.
#[derive(Clone, Copy, Debug)]
pub struct Probed<'a> {
    pub vnet: VnetIx,
    pub balancer: &'a LoadBalancer,
    pub probe: &'a HealthProbe,
    pub backend: Backend,
}

impl Network {
    /// Every backend that a rule's probe asks; machines that are stopped are not asked (LB-17). One that several rules ask
    /// by the same probe comes as often.
    pub fn probed(&self) -> impl Iterator<Item = Probed<'_>> {
        let rules = self.load_balancers.iter().flat_map(|owner| owner.rules.iter().map(move |rule| (owner, rule)));
        rules.flat_map(move |(balancer, rule)| {
            let probe = rule.probe.map(|probe| &balancer.probes[probe]);
            probe.into_iter().flat_map(move |probe| {
                let members = balancer.pools[rule.pool].members.iter().copied();
                let running = members.filter(|backend| self.is_running(backend.nic));
                running.map(move |backend| Probed { vnet: self.nic(backend.nic).subnet.vnet, balancer, probe, backend })
            })
        })
    }

    /// The virtual networks that somebody is probed in.
    pub fn probed_vnets(&self) -> BTreeSet<VnetIx> {
        self.probed().map(|probed| probed.vnet).collect()
    }

    pub fn probe_key(&self, balancer: &LoadBalancer, probe: &HealthProbe, backend: Backend) -> ProbeKey {
        let nic = self.nic(backend.nic);
        ProbeKey {
            balancer: balancer.name.to_lowercase(),
            probe: probe.name.to_lowercase(),
            interface: format!("{}/{}", self.vm(nic.virtual_machine).name, nic.name).to_lowercase(),
            address: backend.address.into(),
        }
    }
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
    /// Where nobody is up, all get new flows: `noHealthyBackendsBehavior: AllProbedUp` (LB-14).
    pub all_where_none: bool,
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

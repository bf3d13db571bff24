//! Load balancers: frontends, the pools behind them, and the rules that join the two (LB).

use std::net::IpAddr;
use std::time::Duration;

use super::{Network, NicIx, PublicIpIx, SubnetIx, VnetIx};

/// A frontend: its load balancer, and its index in [`LoadBalancer::frontends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendIx {
    pub balancer: usize,
    pub frontend: usize,
}

/// A load balancer: all of its frontends are private, or all are public. Its frontends and its backends are in one
/// virtual network (LB-05).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    pub name: String,
    /// Never empty.
    pub frontends: Vec<Frontend>,
    pub pools: Vec<BackendPool>,
    pub probes: Vec<HealthProbe>,
    pub rules: Vec<LoadBalancingRule>,
    pub nat_rules: Vec<InboundNatRule>,
    pub outbound_rules: Vec<OutboundRule>,
}

/// An address of its own, of the IP version of its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub name: String,
    pub site: FrontendSite,
    pub address: IpAddr,
}

/// The network that has the frontend's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendSite {
    /// A subnet's (LB-06).
    Private(SubnetIx),
    Public(PublicIpIx),
}

impl Frontend {
    /// None for a public one.
    pub const fn subnet(&self) -> Option<SubnetIx> {
        match self.site {
            FrontendSite::Private(subnet) => Some(subnet),
            FrontendSite::Public(_) => None,
        }
    }
}

/// One thing that takes flows at a frontend.
#[derive(Clone, Copy, Debug)]
pub enum FrontendRule<'a> {
    Balance(&'a LoadBalancingRule),
    /// To one backend.
    Nat(&'a InboundNatRule, NatTarget),
}

impl FrontendRule<'_> {
    pub fn name(&self) -> &str {
        match self {
            Self::Balance(rule) => &rule.name,
            Self::Nat(rule, _) => &rule.name,
        }
    }
}

impl LoadBalancer {
    /// What takes flows at a frontend, in the order that packets meet it.
    pub fn rules_at(&self, frontend: usize) -> impl Iterator<Item = FrontendRule<'_>> {
        let balancing = self.rules.iter().filter(move |rule| rule.frontend == frontend).map(FrontendRule::Balance);
        let nat = self.nat_rules.iter().filter(move |rule| rule.frontend == frontend);
        let nat = nat.flat_map(|rule| rule.targets.iter().map(move |target| FrontendRule::Nat(rule, *target)));
        balancing.chain(nat)
    }

    /// Whether its frontends have public addresses: all of them or none.
    pub fn is_public(&self) -> bool {
        self.frontends.iter().any(|frontend| matches!(frontend.site, FrontendSite::Public(_)))
    }

    /// Its backends.
    pub fn backends(&self) -> impl Iterator<Item = Backend> {
        let targets = self.nat_rules.iter().flat_map(|rule| &rule.targets).map(|target| target.backend);
        self.pools.iter().flat_map(|pool| pool.members.iter().copied()).chain(targets)
    }
}

/// From ports of a frontend to one port of backends, each its own (LB-08).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundNatRule {
    pub name: String,
    /// Index in [`LoadBalancer::frontends`].
    pub frontend: usize,
    pub protocol: TransportProtocol,
    pub backend_port: u16,
    pub targets: Vec<NatTarget>,
    pub floating: bool,
    pub idle_timeout: Duration,
    pub resets: bool,
}

/// Where one port of a frontend leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTarget {
    pub frontend_port: u16,
    pub backend: Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    Tcp,
    Udp,
}

/// Ports of frontends for the flows that a pool's members begin (SNAT-05).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRule {
    pub name: String,
    /// Indices in [`LoadBalancer::frontends`].
    pub frontends: Vec<usize>,
    /// Index in [`LoadBalancer::pools`].
    pub pool: usize,
    /// None for both.
    pub protocol: Option<TransportProtocol>,
    /// For each member; None for as many as the pool's size gives.
    pub ports: Option<u16>,
    pub idle_timeout: Duration,
    pub resets: bool,
}

impl OutboundRule {
    pub fn takes(&self, protocol: TransportProtocol) -> bool {
        self.protocol.is_none_or(|own| own == protocol)
    }
}

/// Machines that do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPool {
    pub name: String,
    /// In file order of the interfaces.
    pub members: Vec<Backend>,
    /// The addresses in `loadBalancerBackendAddresses`, in file order.
    pub listed: Vec<IpAddr>,
}

/// One IP configuration in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    pub nic: NicIx,
    pub address: IpAddr,
    pub admin: AdminState,
}

/// A backend's administrative state, which overrides its probe (LB-16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdminState {
    /// Nothing: the probe decides.
    #[default]
    None,
    Up,
    Down,
}

/// One backend of one probe, by names in lower case: its health outlives a change of the file.
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

/// A target of health probes.
#[derive(Clone, Copy, Debug)]
pub struct Probed<'a> {
    pub vnet: VnetIx,
    pub balancer: &'a LoadBalancer,
    pub probe: &'a HealthProbe,
    pub backend: Backend,
}

impl Network {
    /// Every backend that a rule probes; stopped machines are not probed (LB-17). A backend that several rules
    /// probe in the same way comes as often.
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

    /// Whether it is its interface's first IP configuration of its IP version: others have no outbound ports and no
    /// floating addresses (LB-21, SNAT-09).
    pub fn is_primary(&self, backend: Backend) -> bool {
        let mut addresses = self.nic(backend.nic).addresses.iter();
        addresses.find(|address| address.is_ipv4() == backend.address.is_ipv4()) == Some(&backend.address)
    }

    pub fn probe_key(&self, balancer: &LoadBalancer, probe: &HealthProbe, backend: Backend) -> ProbeKey {
        let nic = self.nic(backend.nic);
        ProbeKey {
            balancer: balancer.name.to_lowercase(),
            probe: probe.name.to_lowercase(),
            interface: format!("{}/{}", self.vm(nic.virtual_machine).name, nic.name).to_lowercase(),
            address: backend.address,
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
    /// When no backend is up, all get new flows: `noHealthyBackendsBehavior: AllProbedUp` (LB-14).
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
    /// `enableTcpReset`: an idle timeout sends a TCP reset to both ends, and to a later sender.
    pub resets: bool,
    /// Whether its frontend serves what the pool begins, where no outbound rule does (SNAT-07).
    pub outbound: bool,
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

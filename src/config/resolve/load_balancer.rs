//! Load balancers (LB-01 to LB-31): their frontends want addresses, their pools get members, their rules join the two.
//!
//! One idea: what a rule takes is a claim on its frontend, and where it goes one on its pool; two rules must not want the
//! same of either.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::Scope;
use super::machine::{Holder, Wish};
use super::names::{Names, or_unnamed};
use crate::config::diagnostic::Report;
use crate::config::document::{Allocation, Document, IpVersion};
use crate::config::load_balancer::{self as written, Balanced, PartReference, ProbeWord};
use crate::model::{
    Backend, BackendPool, BalancedPorts, Frontend, FrontendIx, HealthProbe, LoadBalancer, LoadBalancingRule,
    ProbeProtocol, PublicIpSku, SubnetIx, VnetIx,
};

/// LB-11, where the file says nothing.
const INTERVAL_SECS: u64 = 15;
/// LB-25, where the file says nothing.
const IDLE_MINUTES: u64 = 4;
/// LB-12
const REFUSED_HTTP_PORTS: [u16; 9] = [19, 21, 25, 70, 110, 119, 143, 220, 993];

/// A frontend whose subnet is not known keeps its place: the report has an error, and the network will not be used.
const NOWHERE: SubnetIx = SubnetIx { vnet: VnetIx(usize::MAX), subnet: usize::MAX };

/// A pool: its load balancer, and its index there.
pub(super) type PoolIx = (usize, usize);

/// The load balancers of a file while they are put together.
pub(super) struct Balancers {
    names: Names,
    /// Of each load balancer.
    pools: Vec<Names>,
    all: Vec<LoadBalancer>,
}

impl Balancers {
    /// Without members and rules; and the addresses that the frontends want.
    pub(super) fn of(document: &Document, scope: &Scope, report: &mut Report) -> (Self, Vec<Wish>) {
        let balancers = &document.load_balancers;
        let names = Names::of("load balancer", balancers.iter().map(|balancer| &balancer.name), report);
        let mut pools = Vec::new();
        let (mut all, mut wishes) = (Vec::new(), Vec::new());
        for (ix, balancer) in balancers.iter().enumerate() {
            check(balancer, report);
            pools.push(Names::of("backend pool", balancer.pools.iter().map(|pool| &pool.name), report));
            let frontends = balancer.frontends.iter().enumerate().map(|(frontend, written)| {
                let (made, wish) = self::frontend(written, FrontendIx { balancer: ix, frontend }, scope, report);
                wishes.extend(wish);
                made
            });
            let frontends: Vec<_> = frontends.collect();
            check_vnets(balancer, &frontends, report);
            let members =
                |pool: &written::BackendPool| BackendPool { name: or_unnamed(&pool.name), members: Vec::new() };
            all.push(LoadBalancer {
                name: or_unnamed(&balancer.name),
                frontends,
                pools: balancer.pools.iter().map(members).collect(),
                probes: Vec::new(),
                rules: Vec::new(),
            });
        }
        (Self { names, pools, all }, wishes)
    }

    /// The pools that an IP configuration names, which is in this virtual network.
    pub(super) fn find_pools(&self, references: &[PartReference], vnet: VnetIx, report: &mut Report) -> Vec<PoolIx> {
        let mut found = Vec::new();
        for reference in references {
            let [balancer, pool] = &reference.value;
            let Some(balancer) = self.names.named(balancer, reference.at, report) else { continue };
            let Some(pool) = self.pools[balancer].named(pool, reference.at, report) else { continue };
            let home = self.all[balancer].frontends.first().map(|frontend| frontend.subnet.vnet);
            if home.is_some_and(|home| home != vnet && home != NOWHERE.vnet) {
                report
                    .error(
                        reference.at,
                        format!("load balancer `{}` is in another virtual network", self.all[balancer].name),
                    )
                    .code("NetworkInterfaceAndInternalLoadBalancerMustUseSameVnet")
                    .rule("LB-05")
                    .expected("a pool of a load balancer whose frontends are in the interface's own");
            }
            found.push((balancer, pool));
        }
        found
    }

    pub(super) fn join(&mut self, (balancer, pool): PoolIx, backend: Backend) {
        self.all[balancer].pools[pool].members.push(backend);
    }

    pub(super) fn frontend_mut(&mut self, at: FrontendIx) -> &mut Frontend {
        &mut self.all[at.balancer].frontends[at.frontend]
    }

    pub(super) fn frontend_name(&self, at: FrontendIx) -> (&str, &str) {
        let balancer = &self.all[at.balancer];
        (&balancer.name, &balancer.frontends[at.frontend].name)
    }

    /// With the rules, once everybody has an address.
    pub(super) fn finish(mut self, document: &Document, report: &mut Report) -> Vec<LoadBalancer> {
        for (balancer, written) in self.all.iter_mut().zip(&document.load_balancers) {
            let probes = Names::of("probe", written.probes.iter().map(|probe| &probe.name), report);
            balancer.probes = written.probes.iter().map(|written| probe(written, report)).collect();
            Names::of("load balancing rule", written.rules.iter().map(|rule| &rule.name), report);
            let frontends = Names::of("frontend", written.frontends.iter().map(|frontend| &frontend.name), report);
            let pools = &self.pools[self.names.index(&balancer.name).unwrap_or_default()];
            let parts = Parts { frontends, pools, probes };
            let rules = written.rules.iter().filter_map(|rule| Some((rule, parts.rule(rule, report)?)));
            let rules: Vec<_> = rules.collect();
            check_rules(&rules, report);
            balancer.rules = rules.into_iter().map(|(_, rule)| rule).collect();
        }
        self.all
    }
}

/// What the rules of one load balancer may name.
struct Parts<'a> {
    frontends: Names,
    pools: &'a Names,
    probes: Names,
}

impl Parts<'_> {
    fn rule(&self, rule: &written::Rule, report: &mut Report) -> Option<LoadBalancingRule> {
        let frontend = self.frontends.find(&rule.frontend, report);
        let pool = self.pools.find(&rule.pool, report);
        let probe = rule.probe.as_ref().map(|_| self.probes.find(&rule.probe, report));
        let ports = ports(rule, report)?;
        let minutes = rule.idle_minutes.as_ref().map_or(IDLE_MINUTES, |minutes| minutes.value);
        Some(LoadBalancingRule {
            name: or_unnamed(&rule.name),
            frontend: frontend?,
            pool: pool?,
            probe: probe.flatten(),
            ports,
            distribution: rule.distribution,
            floating: rule.floating,
            idle_timeout: Duration::from_secs(60 * minutes),
        })
    }
}

fn check(balancer: &written::LoadBalancer, report: &mut Report) {
    if let Some(sku) = balancer.sku.as_ref().filter(|sku| sku.value == PublicIpSku::Basic) {
        report
            .error(sku.at, "Basic load balancers were retired on 30 September 2025")
            .rule("LB-05")
            .expected("`sku: {name: Standard}`, or none");
    }
    if balancer.frontends.is_empty() {
        report
            .error(balancer.at, format!("load balancer `{}` needs a frontend", or_unnamed(&balancer.name)))
            .rule("LB-06")
            .expected("an entry in `frontendIPConfigurations`");
    }
}

fn frontend(
    frontend: &written::Frontend,
    at: FrontendIx,
    scope: &Scope,
    report: &mut Report,
) -> (Frontend, Option<Wish>) {
    let found = scope.subnet(&frontend.subnet, report);
    let is_six = frontend.address.as_ref().is_some_and(|address| address.value.is_ipv6())
        || frontend.version.as_ref().is_some_and(|version| version.value == IpVersion::V6);
    if is_six {
        report.error(frontend.at, "a frontend over IPv6 is not built yet").rule("LB-06").expected("an IPv4 address");
    }
    if let Some(method) = frontend.allocation.as_ref().filter(|method| method.value == Allocation::Static)
        && frontend.address.is_none()
    {
        report.error(method.at, "Static allocation needs a `privateIPAddress`").rule("ADR-09");
    }
    let wish = |subnet| Wish {
        holder: Holder::Frontend(at),
        subnet,
        version: IpVersion::V4,
        stated: frontend.address.clone().filter(|address| address.value.is_ipv4()),
        public: None,
        pools: Vec::new(),
        at: frontend.at,
    };
    let address = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let subnet = found.unwrap_or(NOWHERE);
    (Frontend { name: or_unnamed(&frontend.name), subnet, address }, found.map(wish))
}

/// LB-05
fn check_vnets(balancer: &written::LoadBalancer, frontends: &[Frontend], report: &mut Report) {
    let mut known = frontends.iter().zip(&balancer.frontends).filter(|(made, _)| made.subnet != NOWHERE);
    let Some((first, _)) = known.next() else { return };
    let elsewhere = known.find(|(made, _)| made.subnet.vnet != first.subnet.vnet);
    if let Some((_, written)) = elsewhere {
        report
            .error(written.at, "the frontends of one load balancer are in different virtual networks")
            .rule("LB-05")
            .expected("one virtual network");
    }
}

fn probe(probe: &written::HealthProbe, report: &mut Report) -> HealthProbe {
    let port = probe.port.as_ref().map_or(0, |port| port.value);
    let word = probe.protocol.as_ref().map_or(ProbeWord::Tcp, |word| word.value);
    if word != ProbeWord::Tcp
        && let Some(stated) = probe.port.as_ref().filter(|port| REFUSED_HTTP_PORTS.contains(&port.value))
    {
        report
            .error(stated.at, format!("an HTTP probe cannot use port {}", stated.value))
            .rule("LB-12")
            .expected("another port");
    }
    if word == ProbeWord::Tcp
        && let Some(path) = &probe.path
    {
        report
            .error(path.at, "a TCP probe has no path")
            .rule("LB-10")
            .expected("`protocol: Http`, or no `requestPath`");
    }
    let path = probe.path.as_ref().map_or_else(|| "/".to_owned(), |path| path.value.clone());
    let stated = probe.threshold.as_ref().or(probe.number.as_ref());
    HealthProbe {
        name: or_unnamed(&probe.name),
        protocol: match word {
            ProbeWord::Tcp => ProbeProtocol::Tcp,
            ProbeWord::Http => ProbeProtocol::Http(path),
            ProbeWord::Https => ProbeProtocol::Https(path),
        },
        port,
        interval: Duration::from_secs(probe.interval_secs.as_ref().map_or(INTERVAL_SECS, |secs| secs.value)),
        threshold: stated.map_or(1, |stated| stated.value),
        all_where_none: probe.all_where_none,
    }
}

/// LB-30: all ports are ports 0, and no others are.
fn ports(rule: &written::Rule, report: &mut Report) -> Option<BalancedPorts> {
    let (protocol, frontend, backend) =
        (rule.protocol.as_ref()?, rule.frontend_port.as_ref()?, rule.backend_port.as_ref()?);
    let is_all = protocol.value == Balanced::All;
    if let Some(port) = [frontend, backend].into_iter().find(|port| (port.value == 0) != is_all) {
        report
            .error(port.at, format!("port {} does not go with this protocol", port.value))
            .rule("LB-30")
            .expected("ports 0 with `protocol: All`, and others with Tcp and Udp");
        return None;
    }
    let (frontend, backend) = (frontend.value, backend.value);
    Some(match protocol.value {
        Balanced::Tcp => BalancedPorts::Tcp { frontend, backend },
        Balanced::Udp => BalancedPorts::Udp { frontend, backend },
        Balanced::All => BalancedPorts::All,
    })
}

/// What no two rules may have in common (LB-20, LB-31).
fn check_rules(rules: &[(&written::Rule, LoadBalancingRule)], report: &mut Report) {
    let (mut taken, mut served) = (HashSet::new(), HashSet::new());
    for (written, rule) in rules {
        let protocol = written.protocol.as_ref().map(|protocol| protocol.value);
        let (frontend_port, backend_port) = match rule.ports {
            BalancedPorts::Tcp { frontend, backend } | BalancedPorts::Udp { frontend, backend } => (frontend, backend),
            BalancedPorts::All => (0, 0),
        };
        if !taken.insert((rule.frontend, protocol, frontend_port)) {
            report
                .error(written.at, "another rule takes this port of the frontend")
                .rule("LB-01")
                .expected("a port for each rule");
        }
        let by = rule.floating.then_some(rule.frontend);
        if !served.insert((rule.pool, protocol, backend_port, by)) {
            report
                .error(written.at, "another rule leads to this port of the pool")
                .code("RulesUseSameBackendPortProtocolAndPool")
                .rule("LB-20")
                .expected("a port for each rule")
                .help("`enableFloatingIP` tells rules apart by their frontends");
        }
        let other = rules.iter().find(|(_, other)| {
            let one_has_all = (other.ports == BalancedPorts::All) != (rule.ports == BalancedPorts::All);
            one_has_all
                && (other.pool == rule.pool || (other.frontend == rule.frontend && !(other.floating && rule.floating)))
        });
        if rule.ports == BalancedPorts::All && other.is_some() {
            report
                .error(written.at, "a rule for all ports stands alone at its frontend and its pool")
                .rule("LB-31")
                .expected("a frontend and a pool of its own");
        }
    }
}

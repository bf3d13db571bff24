//! Flows that no rule of a frontend takes: a new rule, or one that is changed to take them (LB-01, LB-30, LB-32).
//!
//! One idea: a new rule closes nothing. Only where a rule has to be for all ports, which stands alone, one is changed.

use std::time::Duration;

use crate::analysis::change::{Change, Edit, unused};
use crate::analysis::query::Probe;
use crate::model::{
    BalancedPorts, Distribution, FrontendIx, InboundNatRule, LoadBalancer, LoadBalancingRule, ProbeProtocol,
    TransportProtocol,
};

use super::{Case, Diagnosis};

/// Of a new rule: the default (LB-25).
const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60);

impl Case<'_> {
    pub(super) fn unruled(&self, at: FrontendIx) -> Diagnosis {
        let balancer = &self.names.network.load_balancers[at.balancer];
        let rules = named_rules(balancer, at.frontend);
        let rules = if rules.is_empty() { "it has none".to_owned() } else { format!("it has {}", rules.join(", ")) };
        let frontend = &balancer.frontends[at.frontend];
        let cause = format!(
            "load balancer {}, frontend {}: no rule takes {}; {rules}",
            balancer.name, frontend.name, self.probe
        );
        if self.walk.last.dst != frontend.address {
            let text = format!("have load balancer {} take all ports: `protocol: All` (LB-30)", balancer.name);
            return match self.edit().balance_all_ports(at) {
                Some(edit) => Diagnosis::with_fix(cause, text, edit),
                None => self.prose(cause, text),
            };
        }
        let Some(asked) = asked(self.probe) else {
            return self.prose(cause, "ask a port of its rules: a frontend answers no ping".to_owned());
        };
        let fixes = self.new_rules(at, asked);
        let fixes = fixes.map(|(text, edit)| Diagnosis::with_fix(cause.clone(), text, edit));
        let none =
            || self.prose(cause.clone(), format!("add a rule for {} to load balancer {}", self.probe, balancer.name));
        fixes.reduce(Diagnosis::or).unwrap_or_else(none)
    }

    /// To the pools of the frontend's other rules, or to those that have members.
    fn new_rules(&self, at: FrontendIx, asked: Asked) -> impl Iterator<Item = (String, Edit)> {
        let balancer = &self.names.network.load_balancers[at.balancer];
        let mut pools: Vec<_> =
            balancer.rules.iter().filter(|rule| rule.frontend == at.frontend).map(|rule| rule.pool).collect();
        if pools.is_empty() {
            pools = (0..balancer.pools.len()).filter(|pool| !balancer.pools[*pool].members.is_empty()).collect();
        }
        pools.sort_unstable();
        pools.dedup();
        pools.into_iter().filter_map(move |pool| {
            let mut edit = self.edit();
            edit.balance_port(at, pool, asked)?;
            Some((format!("add a rule for {} to load balancer {}", self.probe, balancer.name), edit))
        })
    }
}

/// The protocol and port that a rule is wanted for.
type Asked = (TransportProtocol, u16);

const fn asked(probe: Probe) -> Option<Asked> {
    match probe {
        Probe::Ping => None,
        Probe::Tcp(port) => Some((TransportProtocol::Tcp, port)),
        Probe::Udp(port) => Some((TransportProtocol::Udp, port)),
    }
}

const fn word(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "Tcp",
        TransportProtocol::Udp => "Udp",
    }
}

/// The frontend's and the backends' port of a rule for this protocol.
fn ports_of(ports: BalancedPorts, protocol: TransportProtocol) -> Option<(u16, u16)> {
    match (ports, protocol) {
        (BalancedPorts::Tcp { frontend, backend }, TransportProtocol::Tcp)
        | (BalancedPorts::Udp { frontend, backend }, TransportProtocol::Udp) => Some((frontend, backend)),
        _ => None,
    }
}

/// `http (tcp/80)`, `ssh (tcp/2200-2201)`.
fn named_rules(balancer: &LoadBalancer, frontend: usize) -> Vec<String> {
    let balancing = balancer.rules.iter().filter(|rule| rule.frontend == frontend).map(|rule| match rule.ports {
        BalancedPorts::Tcp { frontend, .. } => format!("{} (tcp/{frontend})", rule.name),
        BalancedPorts::Udp { frontend, .. } => format!("{} (udp/{frontend})", rule.name),
        BalancedPorts::All => format!("{} (all ports)", rule.name),
    });
    let nat = balancer.nat_rules.iter().filter(|rule| rule.frontend == frontend).filter_map(|rule| {
        let InboundNatRule { name, protocol, targets, .. } = rule;
        let (first, last) = (targets.first()?.frontend_port, targets.last()?.frontend_port);
        let protocol = word(*protocol).to_lowercase();
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        Some(format!("{name} ({protocol}/{ports})"))
    });
    balancing.chain(nat).collect()
}

impl Edit {
    /// A rule that leads a port to the port that a page is probed at, or else to the same port. None where another rule
    /// leads there (LB-20, LB-31).
    fn balance_port(&mut self, at: FrontendIx, pool: usize, (protocol, port): Asked) -> Option<()> {
        let balancer = &self.network.load_balancers[at.balancer];
        let leads = |rule: &LoadBalancingRule, port: u16| {
            rule.ports == BalancedPorts::All
                || ports_of(rule.ports, protocol).is_some_and(|(_, backend)| backend == port && !rule.floating)
        };
        let is_free = |port: &u16| !balancer.rules.iter().any(|rule| rule.pool == pool && leads(rule, *port));
        let page = probe_for(balancer, pool)
            .map(|probe| &balancer.probes[probe])
            .filter(|probe| protocol == TransportProtocol::Tcp && !matches!(probe.protocol, ProbeProtocol::Tcp));
        let backend = page.map(|probe| probe.port).into_iter().chain([port]).find(is_free)?;
        let ports = match protocol {
            TransportProtocol::Tcp => BalancedPorts::Tcp { frontend: port, backend },
            TransportProtocol::Udp => BalancedPorts::Udp { frontend: port, backend },
        };
        self.add_rule(at, pool, ports);
        Some(())
    }

    /// A rule for all ports: the frontend's only rule changed into one, or a new one to a pool without rules. Such a
    /// rule stands alone at its frontend and its pool, which are private (LB-30, LB-31).
    fn balance_all_ports(mut self, at: FrontendIx) -> Option<Self> {
        let balancer = &self.network.load_balancers[at.balancer];
        let users = |pool: usize| balancer.rules.iter().filter(move |rule| rule.pool == pool).count();
        let mut here = balancer.rules.iter().enumerate().filter(|(_, rule)| rule.frontend == at.frontend);
        if balancer.is_public() {
            return None;
        }
        match (here.next(), here.next()) {
            (Some((ix, rule)), None) if users(rule.pool) == 1 => {
                self.network.load_balancers[at.balancer].rules[ix].ports = BalancedPorts::All;
                let path = rule_path(at.balancer, ix);
                let keys = [("protocol", "All"), ("frontendPort", "0"), ("backendPort", "0")];
                self.changes.extend(
                    keys.map(|(key, value)| Change { path: format!("{path}.{key}"), value: Some(value.to_owned()) }),
                );
            }
            (None, _) => {
                let mut pools = balancer.pools.iter().enumerate();
                let (pool, _) = pools.find(|(pool, one)| !one.members.is_empty() && users(*pool) == 0)?;
                self.add_rule(at, pool, BalancedPorts::All);
            }
            _ => return None,
        }
        Some(self)
    }

    fn add_rule(&mut self, at: FrontendIx, pool: usize, ports: BalancedPorts) {
        let balancer = &mut self.network.load_balancers[at.balancer];
        let (stem, protocol, frontend_port, backend_port) = match ports {
            BalancedPorts::Tcp { frontend, backend } => (format!("tcp-{frontend}"), "Tcp", frontend, backend),
            BalancedPorts::Udp { frontend, backend } => (format!("udp-{frontend}"), "Udp", frontend, backend),
            BalancedPorts::All => ("all".to_owned(), "All", 0, 0),
        };
        let name = unused(&stem, || balancer.rules.iter().map(|rule| rule.name.as_str()));
        let probe = probe_for(balancer, pool);
        let outbound = !balancer.is_public();
        let rule = LoadBalancingRule {
            name: name.clone(),
            frontend: at.frontend,
            pool,
            probe,
            ports,
            distribution: Distribution::Default,
            floating: false,
            idle_timeout: IDLE_TIMEOUT,
            resets: false,
            outbound,
        };
        let probe = probe.map_or_else(String::new, |probe| format!(", probe: {}", balancer.probes[probe].name));
        let outbound = if outbound { "" } else { ", disableOutboundSnat: true" };
        let value = format!(
            "{{name: {name}, frontendIPConfiguration: {}, backendAddressPool: {}{probe}, protocol: {protocol}, \
             frontendPort: {frontend_port}, backendPort: {backend_port}{outbound}}}",
            balancer.frontends[at.frontend].name, balancer.pools[pool].name
        );
        let path = rule_path(at.balancer, balancer.rules.len());
        balancer.rules.push(rule);
        self.changes.push(Change { path, value: Some(value) });
    }
}

/// What is found out of a pool for one rule is as good for another.
fn probe_for(balancer: &LoadBalancer, pool: usize) -> Option<usize> {
    let first = (!balancer.probes.is_empty()).then_some(0);
    balancer.rules.iter().find(|rule| rule.pool == pool).map_or(first, |sibling| sibling.probe)
}

fn rule_path(balancer: usize, rule: usize) -> String {
    format!("loadBalancers[{balancer}].loadBalancingRules[{rule}]")
}

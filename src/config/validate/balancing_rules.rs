//! What the rules of one load balancer say (LB-01 to LB-31, SNAT-05 to SNAT-07).
//!
//! One idea: what a rule takes is a claim on its frontend, and where it goes one on its pool; two rules must not want
//! the same of either.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::schema::load_balancer::{self as written, Balanced, ProbeWord};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    Backend, BalancedPorts, HealthProbe, InboundNatRule, LoadBalancer, LoadBalancingRule, NatTarget, NetworkInterface,
    OutboundRule, ProbeProtocol, TransportProtocol, counted,
};

use super::names::{Names, or_unnamed};

/// LB-11, where the file says nothing.
const INTERVAL_SECS: u64 = 15;
/// LB-25, where the file says nothing.
const IDLE_MINUTES: u64 = 4;
/// LB-12
const REFUSED_HTTP_PORTS: [u16; 9] = [19, 21, 25, 70, 110, 119, 143, 220, 993];
/// LIM-26: ports of one frontend that pools may have for what they begin.
const OUTBOUND_PORTS: usize = 64_000;

/// Gives a load balancer its probes and rules. `pools` has their names; `led` has, for each inbound NAT rule, the IP
/// configurations that name it.
pub(super) fn finish(
    balancer: &mut LoadBalancer,
    written: &written::LoadBalancer,
    (pools, led): (&Names, &[Vec<Backend>]),
    nics: &[NetworkInterface],
    report: &mut Report,
) {
    let probes = Names::of("probe", written.probes.iter().map(|probe| &probe.name), report);
    balancer.probes = written.probes.iter().map(|written| probe(written, report)).collect();
    Names::of("load balancing rule", written.rules.iter().map(|rule| &rule.name), report);
    Names::of("outbound rule", written.outbound_rules.iter().map(|rule| &rule.name), report);
    let frontends = Names::of("frontend", written.frontends.iter().map(|frontend| &frontend.name), report);
    let parts = Parts { frontends, pools, probes };
    let rules = written.rules.iter().filter_map(|rule| Some((rule, parts.rule(rule, report)?)));
    let rules: Vec<_> = rules.collect();
    check_rules(&rules, report);
    check_places(balancer, &rules, nics, report);
    balancer.rules = rules.iter().map(|(_, rule)| rule.clone()).collect();
    let nat_rules = written.nat_rules.iter().zip(led);
    let nat_rules: Vec<_> =
        nat_rules.filter_map(|(rule, led)| Some((rule, parts.nat_rule(rule, led, balancer, report)?))).collect();
    check_ports(balancer, &nat_rules, report);
    check_versions(balancer, &rules, &nat_rules, report);
    balancer.nat_rules = nat_rules.into_iter().map(|(_, rule)| rule).collect();
    let outbound: Vec<_> =
        written.outbound_rules.iter().filter_map(|rule| Some((rule, parts.outbound_rule(rule, report)?))).collect();
    check_outbound(balancer, &outbound, &rules, report);
    for (written, rule) in &outbound {
        let members = &balancer.pools[rule.pool].members;
        rule.frontends
            .iter()
            .for_each(|frontend| check_version(balancer, *frontend, members.iter(), written.at, report));
    }
    balancer.outbound_rules = outbound.into_iter().map(|(_, rule)| rule).collect();
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
        Some(LoadBalancingRule {
            name: or_unnamed(&rule.name),
            frontend: frontend?,
            pool: pool?,
            probe: probe.flatten(),
            ports,
            distribution: rule.distribution,
            floating: rule.floating,
            idle_timeout: idle(rule.idle_minutes.as_ref()),
            resets: rule.resets,
            outbound: !rule.no_outbound,
        })
    }

    fn nat_rule(
        &self,
        rule: &written::NatRule,
        led: &[Backend],
        balancer: &LoadBalancer,
        report: &mut Report,
    ) -> Option<InboundNatRule> {
        let frontend = self.frontends.find(&rule.frontend, report);
        let pool = rule.pool.as_ref().map(|_| self.pools.find(&rule.pool, report));
        let protocol = one_protocol(rule.protocol.as_ref()?, report)?;
        let targets = match (&rule.range, &rule.frontend_port, pool) {
            (Some((start, end)), None, Some(pool)) => range(start, end, &balancer.pools[pool?].members, report)?,
            (None, Some(port), None) => {
                if led.len() > 1 {
                    report
                        .error(rule.at, "more than one IP configuration names this rule")
                        .rule("LB-08")
                        .expected("one, or `frontendPortRangeStart`, `frontendPortRangeEnd` and `backendAddressPool`");
                }
                led.iter().take(1).map(|backend| NatTarget { frontend_port: port.value, backend: *backend }).collect()
            }
            _ => {
                report
                    .error(rule.at, "an inbound NAT rule has one port, or a range of them and a pool")
                    .rule("LB-08")
                    .expected(
                        "`frontendPort`, or `frontendPortRangeStart`, `frontendPortRangeEnd` and `backendAddressPool`",
                    );
                return None;
            }
        };
        Some(InboundNatRule {
            name: or_unnamed(&rule.name),
            frontend: frontend?,
            protocol,
            backend_port: rule.backend_port.as_ref()?.value,
            targets,
            floating: rule.floating,
            idle_timeout: idle(rule.idle_minutes.as_ref()),
            resets: rule.resets,
        })
    }

    fn outbound_rule(&self, rule: &written::OutboundRule, report: &mut Report) -> Option<OutboundRule> {
        let find = |reference: &Spanned<[String; 1]>| self.frontends.named(&reference.value[0], reference.at, report);
        let frontends: Vec<_> = rule.frontends.iter().map(find).collect();
        let pool = self.pools.find(&rule.pool, report);
        if let Some(ports) = rule.ports.as_ref().filter(|ports| ports.value % 8 != 0) {
            report
                .error(ports.at, format!("{} cannot be allocated", counted(ports.value, "port")))
                .rule("SNAT-06")
                .expected("a multiple of 8");
        }
        Some(OutboundRule {
            name: or_unnamed(&rule.name),
            frontends: frontends.into_iter().collect::<Option<_>>()?,
            pool: pool?,
            protocol: match rule.protocol.as_ref()?.value {
                Balanced::Tcp => Some(TransportProtocol::Tcp),
                Balanced::Udp => Some(TransportProtocol::Udp),
                Balanced::All => None,
            },
            ports: rule.ports.as_ref().map(|ports| ports.value).filter(|ports| *ports > 0),
            idle_timeout: idle(rule.idle_minutes.as_ref()),
            resets: rule.resets,
        })
    }
}

fn idle(minutes: Option<&Spanned<u64>>) -> Duration {
    Duration::from_secs(60 * minutes.map_or(IDLE_MINUTES, |minutes| minutes.value))
}

fn one_protocol(protocol: &Spanned<Balanced>, report: &mut Report) -> Option<TransportProtocol> {
    match protocol.value {
        Balanced::Tcp => Some(TransportProtocol::Tcp),
        Balanced::Udp => Some(TransportProtocol::Udp),
        Balanced::All => {
            report.error(protocol.at, "an inbound NAT rule is for one protocol").rule("LB-08").expected("Tcp or Udp");
            None
        }
    }
}

/// A port of the range for each member, in their order (LB-08).
fn range(start: &Spanned<u16>, end: &Spanned<u16>, members: &[Backend], report: &mut Report) -> Option<Vec<NatTarget>> {
    if start.value > end.value {
        report
            .error(end.at, format!("the range ends at {} and starts at {}", end.value, start.value))
            .rule("LB-08")
            .expected("an end behind its start");
        return None;
    }
    let ports = start.value..=end.value;
    if members.len() > ports.len() {
        report
            .error(start.at, format!("{} for {}", counted(ports.len(), "port"), counted(members.len(), "backend")))
            .rule("LB-08")
            .expected("a port for each");
        return None;
    }
    Some(ports.zip(members).map(|(frontend_port, backend)| NatTarget { frontend_port, backend: *backend }).collect())
}

/// What goes with the place of the frontends: all ports with private ones, outbound rules with public ones; and
/// floating addresses with first IP configurations (LB-21, LB-30).
fn check_places(
    balancer: &LoadBalancer,
    rules: &[(&written::Rule, LoadBalancingRule)],
    nics: &[NetworkInterface],
    report: &mut Report,
) {
    let secondary = |backend: &&Backend| {
        let mut addresses = nics[backend.nic.0].addresses.iter();
        addresses.find(|address| address.is_ipv4() == backend.address.is_ipv4()) != Some(&backend.address)
    };
    for (written, rule) in rules {
        let is_public = balancer.frontends[rule.frontend].subnet().is_none();
        if rule.ports == BalancedPorts::All && is_public {
            report
                .error(written.at, "a rule for all ports stands at a private frontend")
                .rule("LB-30")
                .expected("`protocol: Tcp` or `protocol: Udp`, and ports");
        }
        if let Some(backend) = balancer.pools[rule.pool].members.iter().find(secondary).filter(|_| rule.floating) {
            report
                .error(written.at, format!("{} is a secondary IP configuration's address", backend.address))
                .rule("LB-21")
                .expected("a pool of primary IP configurations, or no `enableFloatingIP`");
        }
    }
}

/// A frontend and its backends are of one IP version (LB-06).
fn check_versions(
    balancer: &LoadBalancer,
    rules: &[(&written::Rule, LoadBalancingRule)],
    nat_rules: &[(&written::NatRule, InboundNatRule)],
    report: &mut Report,
) {
    for (written, rule) in rules {
        check_version(balancer, rule.frontend, balancer.pools[rule.pool].members.iter(), written.at, report);
    }
    for (written, rule) in nat_rules {
        let targets = rule.targets.iter().map(|target| &target.backend);
        check_version(balancer, rule.frontend, targets, written.at, report);
    }
}

fn check_version<'a>(
    balancer: &LoadBalancer,
    frontend: usize,
    mut backends: impl Iterator<Item = &'a Backend>,
    at: At,
    report: &mut Report,
) {
    let is_six = balancer.frontends[frontend].address.is_ipv6();
    if let Some(other) = backends.find(|backend| backend.address.is_ipv6() != is_six) {
        let version = if is_six { "IPv6" } else { "IPv4" };
        report
            .error(
                at,
                format!("frontend `{}` is over {version}, {} is not", balancer.frontends[frontend].name, other.address),
            )
            .rule("LB-06")
            .expected(format!("a pool of {version} addresses"));
    }
}

/// Every port of a frontend leads to one place (LB-01, LB-08).
fn check_ports(balancer: &LoadBalancer, nat_rules: &[(&written::NatRule, InboundNatRule)], report: &mut Report) {
    let by_rules = balancer.rules.iter().filter_map(|rule| match rule.ports {
        BalancedPorts::Tcp { frontend, .. } => Some((rule.frontend, TransportProtocol::Tcp, frontend)),
        BalancedPorts::Udp { frontend, .. } => Some((rule.frontend, TransportProtocol::Udp, frontend)),
        BalancedPorts::All => None,
    });
    let mut taken: HashSet<_> = by_rules.collect();
    for (written, rule) in nat_rules {
        let mut targets = rule.targets.iter();
        if targets.any(|target| !taken.insert((rule.frontend, rule.protocol, target.frontend_port))) {
            report
                .error(written.at, "another rule takes this port of the frontend")
                .rule("LB-08")
                .expected("ports that no other rule has");
        }
    }
}

/// SNAT-05, SNAT-07: ports for all backends, and one source of them for each frontend and pool.
fn check_outbound(
    balancer: &LoadBalancer,
    outbound: &[(&written::OutboundRule, OutboundRule)],
    rules: &[(&written::Rule, LoadBalancingRule)],
    report: &mut Report,
) {
    let mut served = HashSet::new();
    for (written, rule) in outbound {
        if rule.frontends.iter().any(|frontend| balancer.frontends[*frontend].subnet().is_some()) {
            report
                .error(written.at, "an outbound rule needs public frontends")
                .rule("LB-44")
                .expected("frontends with `publicIPAddress`");
        }
        let protocols = [TransportProtocol::Tcp, TransportProtocol::Udp].into_iter().filter(|one| rule.takes(*one));
        let mut claims =
            protocols.flat_map(|protocol| rule.frontends.iter().map(move |frontend| (*frontend, protocol)));
        if claims.any(|claim| !served.insert(claim)) {
            report
                .error(written.at, "another outbound rule uses this frontend for the same protocol")
                .code("MoreThanOneOutboundRuleUsingSameFrontendIPConfigurationAndProtocolIsNotSupported")
                .rule("SNAT-05")
                .expected("a frontend for each rule");
        }
        let members = balancer.pools[rule.pool].members.len();
        let room = OUTBOUND_PORTS * rule.frontends.len();
        if let Some(ports) = written.ports.as_ref().filter(|ports| usize::from(ports.value) * members > room) {
            report
                .error(ports.at, format!("{} ports for each of {members} backends, of {room}", ports.value))
                .rule("SNAT-05")
                .expected(format!("{} at most", room / members.max(1) / 8 * 8))
                .help("another public frontend has 64,000 more");
        }
    }
    for (written, rule) in rules.iter().filter(|(_, rule)| rule.outbound) {
        if outbound.iter().any(|(_, outbound)| outbound.frontends.contains(&rule.frontend)) {
            report
                .error(written.at, "an outbound rule uses this frontend, so this rule must not")
                .code("LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule")
                .rule("SNAT-07")
                .expected("`disableOutboundSnat: true`");
        }
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

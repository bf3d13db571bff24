//! Load balancers whose backends cannot do their part: be probed, forward, answer, or begin enough flows.

use std::iter;

use crate::analysis::query::names::{Names, nic_name};
use crate::analysis::yaml_path;
use crate::dataplane::{FrontendId, NextHop};
use crate::model::{
    AdminState, Backend, FrontendIx, FrontendRule, LoadBalancer, LoadBalancingRule, NextHopType, PowerState,
};

use super::Finding;
use super::egress::default_route;
use super::routes::uses;

/// A backend with fewer ports than this soon runs out: what the smallest pools get by default (SNAT-05).
const FEW: u32 = 1024;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let balancers = names.network.load_balancers.iter().enumerate();
    let rules = balancers.flat_map(|(balancer, owner)| {
        let rules = owner.rules.iter().enumerate();
        rules.map(move |(index, rule)| Balancing { names, balancer, owner, index, rule })
    });
    let of_rules = rules.flat_map(Balancing::findings);
    of_rules.chain(few_ports(names)).collect()
}

/// A rule, and its place in the file.
#[derive(Clone, Copy)]
struct Balancing<'a> {
    names: Names<'a>,
    balancer: usize,
    owner: &'a LoadBalancer,
    index: usize,
    rule: &'a LoadBalancingRule,
}

impl Balancing<'_> {
    fn findings(self) -> Vec<Finding> {
        let backends = || self.owner.pools[self.rule.pool].members.iter().copied();
        let never_up = backends().filter(|backend| self.is_never_up(*backend)).map(|backend| self.never_up(backend));
        let answers = backends().filter_map(|backend| self.one_sided(backend));
        let idle = backends().filter_map(|backend| self.not_forwarding(backend));
        // One finding of a kind for a rule: its backends are alike.
        never_up.take(1).chain(answers.take(1)).chain(idle.take(1)).collect()
    }

    fn path(self) -> String {
        format!("loadBalancers[{}].loadBalancingRules[{}]", self.balancer, self.index)
    }

    fn frontend(self) -> FrontendId {
        let at = FrontendIx { balancer: self.balancer, frontend: self.rule.frontend };
        let place = self.names.network.frontends().position(|(ix, _)| ix == at);
        FrontendId(place.expect("a rule's frontend is one of the network's") as u32)
    }

    /// LB-42: the backend's own rules deny the probe.
    fn is_never_up(self, backend: Backend) -> bool {
        let network = self.names.network;
        let runs = network.vm(network.nic(backend.nic).virtual_machine).power_state == PowerState::Running;
        let frontend = self.names.compiled.snapshot.frontend(self.frontend());
        let is_this =
            |rule: &FrontendRule<'_>| matches!(rule, FrontendRule::Balance(rule) if std::ptr::eq(*rule, self.rule));
        let Some(place) = self.owner.rules_at(self.rule.frontend).position(|rule| is_this(&rule)) else { return false };
        let nic = self.names.compiled.nic_of(backend.nic);
        let is_up = frontend.rules[place].eligible.iter().any(|member| member.nic == nic);
        runs && self.rule.probe.is_some() && backend.admin == AdminState::None && !is_up
    }

    fn never_up(self, backend: Backend) -> Finding {
        let nic = nic_name(self.names.network, backend.nic);
        Finding {
            code: "backend-never-up",
            rule: "LB-42",
            message: format!(
                "the security rules of {nic} deny the probe of rule {}: it never gets a flow",
                self.rule.name
            ),
            path: self.path(),
            help: "allow AzureLoadBalancer inbound before the rule that denies everything".to_owned(),
        }
    }

    /// LB-46: the answers bypass the load balancer.
    fn one_sided(self, backend: Backend) -> Option<Finding> {
        let Names { network, compiled } = self.names;
        if self.owner.frontends[self.rule.frontend].subnet().is_some() {
            return None;
        }
        let route = default_route(compiled, network.nic(backend.nic).subnet, backend.address)?;
        if route.next_hop_type == NextHopType::Internet {
            return None;
        }
        let next_hops = route.next_hop_ip.iter().map(ToString::to_string);
        let next_hop = iter::once(route.next_hop_type.to_string()).chain(next_hops).collect::<Vec<_>>().join(" ");
        Some(Finding {
            code: "one-sided-public-balancer",
            rule: "LB-46",
            message: format!(
                "the Internet reaches {} by load balancer {}, and its answers go by the default route to {next_hop}: \
                 the device there has no record of the flow",
                nic_name(network, backend.nic),
                self.owner.name
            ),
            path: self.path(),
            help: "publish the servers at the appliance instead, or route the clients' addresses to Internet"
                .to_owned(),
        })
    }

    /// LB-32: a machine that a route leads through must forward.
    fn not_forwarding(self, backend: Backend) -> Option<Finding> {
        let network = self.names.network;
        let frontend = self.frontend();
        let is_next_hop = || {
            let mut hops = uses(self.names).flat_map(|route| route.appliances());
            hops.any(|appliance| appliance.hop == NextHop::Frontend(frontend))
        };
        let nic = network.nic(backend.nic);
        let forwards = nic.enable_ip_forwarding && network.vm(nic.virtual_machine).guest_forwarding;
        if forwards || !is_next_hop() {
            return None;
        }
        let what = if nic.enable_ip_forwarding { "its guest does not forward" } else { "it has no enableIPForwarding" };
        Some(Finding {
            code: "balanced-appliance-not-forwarding",
            rule: "LB-32",
            message: format!(
                "a route leads through load balancer {} to {}, and {what}: flows that it gets are dropped",
                self.owner.name,
                nic_name(network, backend.nic)
            ),
            path: yaml_path::nic(network, backend.nic),
            help: "set `enableIPForwarding: true`, and leave `guest.forwarding` on".to_owned(),
        })
    }
}

/// SNAT-05: backends that have fewer outbound ports than the smallest pools get.
fn few_ports(names: Names<'_>) -> Vec<Finding> {
    let Names { network, compiled } = names;
    let Some(edge) = &compiled.snapshot.edge else { return Vec::new() };
    let count = |backend: Backend| {
        let egress = edge.egress(compiled.nic_of(backend.nic));
        let balanced = egress.balanced.iter().find(|balanced| balanced.private == backend.address)?;
        let pool = edge.pool(balanced.tcp.filter(|_| egress.nat_gateway.is_none() || backend.address.is_ipv6())?);
        Some(pool.ports.iter().map(|ports| u32::from(ports.count)).sum::<u32>())
    };
    let balancers = network.load_balancers.iter().enumerate();
    let scarce = balancers.filter_map(|(index, balancer)| {
        let few = |backend: Backend| Some((backend, count(backend).filter(|count| *count < FEW)?));
        let (backend, count) = balancer.pools.iter().flat_map(|pool| &pool.members).find_map(|it| few(*it))?;
        Some(Finding {
            code: "few-outbound-ports",
            rule: "SNAT-05",
            message: format!(
                "{} has {count} ports for what it begins: to one destination, no more connections than that at a time",
                nic_name(network, backend.nic)
            ),
            path: format!("loadBalancers[{index}]"),
            help: "an outbound rule with more `allocatedOutboundPorts` or frontends, or a NAT gateway, which shares its ports"
                .to_owned(),
        })
    });
    scarce.collect()
}

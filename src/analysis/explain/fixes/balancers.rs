//! Packets that a load balancer drops: no rule matches, or no backend is healthy.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::analysis::views::load_balancers::load_balancers;
use crate::analysis::walk::Leg;
use crate::compile::Sender;
use crate::dataplane::{DropReason, NextHop, NicId};
use crate::model::{Backend, FrontendIx, FrontendRule, LoadBalancer, PowerState, Probe};

use super::{Case, Diagnosis};

impl Case<'_> {
    /// Each backend, and why it is down.
    pub(super) fn unbalanced(&self, leg: &Leg, reason: DropReason) -> Option<Diagnosis> {
        let names = self.names;
        let at = self.frontend(leg)?;
        let balancer = &names.network.load_balancers[at.balancer];
        let name = format!("load balancer {}, frontend {}", balancer.name, balancer.frontends[at.frontend].name);
        if reason == DropReason::NoBalancingRule {
            let rules: Vec<_> = balancer.rules_at(at.frontend).map(|rule| rule.name().to_owned()).collect();
            let rules =
                if rules.is_empty() { "it has none".to_owned() } else { format!("it has {}", rules.join(", ")) };
            let cause = format!("{name}: no rule takes {}; {rules}", self.probe);
            return Some(match self.probe {
                Probe::Ping => self.prose(cause, "ask a port of its rules: a frontend answers no ping".to_owned()),
                Probe::Tcp(_) | Probe::Udp(_) => {
                    self.prose(cause, format!("add a rule for {} to load balancer {}", self.probe, balancer.name))
                }
            });
        }
        // Of the rule that takes the flow: others may have other backends and probes.
        let (address, asked) = (balancer.frontends[at.frontend].address, self.walk.last);
        let takes = [address.to_string(), format!("{}/{}", SocketAddr::new(address, asked.dst_port), asked.protocol)];
        let rows = load_balancers(names.network, names.compiled, names.compiled.learned().health.as_ref(), None);
        let down = rows.iter().filter(|row| row.load_balancer == balancer.name && takes.contains(&row.frontend));
        let mut down: Vec<_> =
            down.filter(|row| !row.eligible).map(|row| format!("{} ({})", row.backend, row.reason)).collect();
        down.sort_unstable();
        down.dedup();
        let cause = if down.is_empty() { "its pool is empty".to_owned() } else { format!("down: {}", down.join(", ")) };
        let cause = format!("{name}: no backend is up; {cause}");
        Some(self.unprobed(at, &cause).or_else(|| self.all_stopped(at, &cause)).unwrap_or_else(|| {
            self.prose(cause, format!("have one backend of load balancer {} answer its probe", balancer.name))
        }))
    }

    /// One running backend is enough.
    fn all_stopped(&self, at: FrontendIx, cause: &str) -> Option<Diagnosis> {
        let network = self.names.network;
        let rules = network.load_balancers[at.balancer].rules_at(at.frontend);
        let backends = rules.flat_map(|rule| match rule {
            FrontendRule::Balance(rule) => network.load_balancers[at.balancer].pools[rule.pool].members.clone(),
            FrontendRule::Nat(_, target) => vec![target.backend],
        });
        let backends: Vec<_> = backends.collect();
        let machine = |backend: &Backend| network.nic(backend.nic).virtual_machine;
        let stopped = |backend: &Backend| network.vm(machine(backend)).power_state == PowerState::Stopped;
        let first = backends.first().filter(|_| backends.iter().all(stopped))?;
        let mut edit = self.edit();
        edit.start(machine(first));
        Some(Diagnosis::with_fix(cause.to_owned(), format!("start machine {}", network.vm(machine(first)).name), edit))
    }

    /// LB-40: the flow's hash chose the sending backend itself.
    pub(super) fn hairpin(&self, leg: &Leg) -> Option<Diagnosis> {
        let names = self.names;
        let frontend = self.frontend(leg)?;
        let (node, name) = (names.node(leg.from), names.frontend(frontend));
        let cause =
            format!("{node} is a backend of {name}, and its own flow comes back to it, which its guest drops (LB-40)");
        let address = names.network.load_balancers[frontend.balancer].frontends[frontend.frontend].address;
        let text = format!("give the guest of {node} the frontend's address, so that its own requests stay there");
        Some(self.commands(
            cause,
            text,
            vec![format!("vnet exec {node} -- ip address add {} dev lo", IpNet::from(address))],
        ))
    }

    /// The frontend that the packet is for, or that its next hop names.
    fn frontend(&self, leg: &Leg) -> Option<FrontendIx> {
        let mut frontends = self.names.network.frontends();
        match leg.route() {
            Some((_, _, NextHop::Frontend(id))) => frontends.nth(id.0 as usize).map(|(at, _)| at),
            _ => frontends.find(|(_, frontend)| frontend.address == self.walk.dst).map(|(at, _)| at),
        }
    }

    /// The load balancer of a sender that has no other outbound access (LB-44, SNAT-07).
    pub(super) fn behind(&self, sender: NicId) -> Option<&LoadBalancer> {
        let Sender::Nic(nic) = self.names.compiled.sender(sender) else { return None };
        self.names.balancer_of(nic)
    }
}

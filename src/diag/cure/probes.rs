//! Backends that are down because their own rules deny the platform's probes (NSG-31, LB-42).

use std::net::IpAddr;

use crate::compile::RuleOwner;
use crate::dataplane::platform::prober_of;
use crate::dataplane::{self, NicId, Recorder};
use crate::diag::change::Flow;
use crate::diag::masquerade::GuestStep;
use crate::diag::walk::{Denial, Leg};
use crate::model::{
    AdminState, Backend, BalancedPorts, FrontendIx, FrontendRule, HealthProbe, LoadBalancingRule, PowerState, Probe,
};
use crate::wire::{Protocol, Tuple};

use super::{Case, Cure};

/// Any port of the prober's own: no fix opens one of them alone.
const PROBING_PORT: u16 = 50_000;

/// A backend and the rule that denies its probe.
struct Unprobed {
    nic: NicId,
    address: IpAddr,
    denial: Denial,
}

impl Case<'_> {
    /// What keeps probes from the backends of a rule that takes the packet, and the rule that lets them in.
    pub(super) fn unprobed(&self, at: FrontendIx, down: &str) -> Option<Cure> {
        let balancer = &self.names.network.load_balancers[at.balancer];
        let rules = balancer.rules_at(at.frontend).filter_map(|rule| match rule {
            FrontendRule::Balance(rule) if self.is_for(rule) => Some(rule),
            FrontendRule::Balance(_) | FrontendRule::Nat(..) => None,
        });
        rules.into_iter().find_map(|rule| {
            let probe = &balancer.probes[rule.probe?];
            let members = &balancer.pools[rule.pool].members;
            let unprobed: Vec<_> = members.iter().filter_map(|backend| self.denied_probe(*backend, probe)).collect();
            self.admitting(probe, &unprobed, down)
        })
    }

    fn is_for(&self, rule: &LoadBalancingRule) -> bool {
        match (rule.ports, self.probe) {
            (BalancedPorts::All, _) => true,
            (BalancedPorts::Tcp { frontend, .. }, Probe::Tcp(port))
            | (BalancedPorts::Udp { frontend, .. }, Probe::Udp(port)) => frontend == port,
            (BalancedPorts::Tcp { .. } | BalancedPorts::Udp { .. }, _) => false,
        }
    }

    /// The packet that a prober sends, judged by the rules that the backend has.
    fn denied_probe(&self, backend: Backend, probe: &HealthProbe) -> Option<Unprobed> {
        let (network, compiled) = (self.names.network, self.names.compiled);
        let machine = network.vm(network.nic(backend.nic).virtual_machine);
        if machine.power_state == PowerState::Stopped || backend.admin != AdminState::None {
            return None;
        }
        let (nic, address) = (compiled.nic_of(backend.nic), backend.address);
        let src = prober_of(address);
        let tuple = Tuple { src, dst: address, protocol: Protocol::TCP, src_port: PROBING_PORT, dst_port: probe.port };
        let mut recorder = Recorder::default();
        dataplane::judge(&compiled.snapshot, nic, dataplane::Direction::Inbound, &tuple, &mut recorder).err()?;
        let leg = Leg { from: nic, guest: GuestStep::Unchanged, src, steps: recorder.steps().to_vec() };
        Some(Unprobed { nic, address, denial: leg.denial()? })
    }

    /// Lets in the probes of all backends that one group or collection denies; others are obstacles of their own.
    fn admitting(&self, probe: &HealthProbe, unprobed: &[Unprobed], down: &str) -> Option<Cure> {
        let names = self.names;
        let first = unprobed.first()?;
        let rule_of = |one: &Unprobed| names.compiled.rule(one.denial.acl, one.denial.rule);
        let rule = rule_of(first);
        let alike: Vec<_> = unprobed.iter().filter(|one| rule_of(one).owner == rule.owner).collect();
        let object = names.rule(first.nic, first.denial.place, first.denial.acl, first.denial.rule);
        let (prober, port) = (prober_of(first.address), probe.port);
        let cause = format!("{down}: {object} denies probe {}, tcp/{port} from {prober} (NSG-31)", probe.name);
        let mut edit = self.edit();
        let below = alike.iter().map(|one| rule_of(one).priority).min().unwrap_or(rule.priority);
        let done = match rule.owner {
            RuleOwner::Nsg(nsg) => {
                let addresses: Vec<_> = alike.iter().map(|one| one.address).collect();
                edit.admit_probes(nsg, below, port, prober, &addresses)
            }
            RuleOwner::Collection(at) => {
                let flow = Flow { src: prober, dst: first.address, probe: Probe::Tcp(port), answering: false };
                edit.permit(at, first.denial.direction, below, &flow)
            }
        };
        if !done {
            return Some(Cure::untreated(cause));
        }
        let text = format!("allow tcp/{port} from {prober} before {}", rule.name);
        Some(Cure::with(cause, text, edit))
    }
}

//! Backends that are down because their own rules deny the platform's probes (NSG-31, LB-42).

use crate::analysis::change::Flow;
use crate::analysis::walk::unprobed::Unprobed;
use crate::compile::RuleOwner;
use crate::dataplane::platform::prober_of;
use crate::model::{BalancedPorts, FrontendIx, HealthProbe, LoadBalancer, LoadBalancingRule, Probe};

use super::{Case, Diagnosis};

impl Case<'_> {
    /// The rule that denies probes of the backends of a matching rule, and the rule that would allow them.
    pub(super) fn unprobed(&self, at: FrontendIx, down: &str) -> Option<Diagnosis> {
        let balancer = &self.names.network.load_balancers[at.balancer];
        self.rules_for(at).find_map(|rule| {
            let probe = &balancer.probes[rule.probe?];
            let members = &balancer.pools[rule.pool].members;
            let unprobed: Vec<_> =
                members.iter().filter_map(|backend| Unprobed::of(self.names, *backend, probe)).collect();
            self.admitting((balancer, probe), &unprobed, down)
        })
    }

    /// The balancing rules of a frontend that take the flow.
    pub(super) fn rules_for(&self, at: FrontendIx) -> impl Iterator<Item = &LoadBalancingRule> {
        let rules = self.names.network.load_balancers[at.balancer].rules.iter();
        rules.filter(move |rule| rule.frontend == at.frontend && self.is_for(rule))
    }

    fn is_for(&self, rule: &LoadBalancingRule) -> bool {
        match (rule.ports, self.probe) {
            (BalancedPorts::All, _) => true,
            (BalancedPorts::Tcp { frontend, .. }, Probe::Tcp(port))
            | (BalancedPorts::Udp { frontend, .. }, Probe::Udp(port)) => frontend == port,
            (BalancedPorts::Tcp { .. } | BalancedPorts::Udp { .. }, _) => false,
        }
    }

    /// Allows the probes of all backends that one group or collection denies; other denials are obstacles of their own.
    fn admitting(
        &self,
        (balancer, probe): (&LoadBalancer, &HealthProbe),
        unprobed: &[Unprobed],
        down: &str,
    ) -> Option<Diagnosis> {
        let names = self.names;
        let first = unprobed.first()?;
        let rule_of = |one: &Unprobed| names.compiled.rule(one.denial.acl, one.denial.rule);
        let rule = rule_of(first);
        let alike: Vec<_> = unprobed.iter().filter(|one| rule_of(one).owner == rule.owner).collect();
        let object = first.rule(names);
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
            // Probes do not enter a private cloud.
            RuleOwner::Firewall { .. } => false,
        };
        if !done {
            return Some(Diagnosis::without_fix(cause));
        }
        let text = format!("allow tcp/{port} from {prober} before {}", rule.name);
        let mut diagnosis = Diagnosis::with_fix(cause, text, edit);
        for fix in &mut diagnosis.fixes {
            let keys = alike.iter().map(|one| names.network.probe_key(balancer, probe, one.backend));
            fix.probed = keys.collect();
        }
        Some(diagnosis)
    }
}

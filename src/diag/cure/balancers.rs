//! Packets that a load balancer has nobody for: no rule takes them, or nobody is up.

use crate::compile::Sender;
use crate::dataplane::{DropReason, NextHop, NicId};
use crate::diag::load_balancers::load_balancers;
use crate::diag::walk::Leg;
use crate::model::{FrontendIx, LoadBalancer};

use super::{Case, Cure};

impl Case<'_> {
    /// Each backend, and why it is down.
    pub(super) fn unbalanced(&self, leg: &Leg, reason: DropReason) -> Option<Cure> {
        let names = self.names;
        let at = self.frontend(leg)?;
        let balancer = &names.network.load_balancers[at.balancer];
        let name = format!("load balancer {}, frontend {}", balancer.name, balancer.frontends[at.frontend].name);
        if reason == DropReason::NoBalancingRule {
            let rules: Vec<_> = balancer.rules_at(at.frontend).map(|rule| rule.name().to_owned()).collect();
            let rules =
                if rules.is_empty() { "it has none".to_owned() } else { format!("it has {}", rules.join(", ")) };
            return Some(Cure::untreated(format!("{name}: no rule takes {}; {rules}", self.probe)));
        }
        let rows = load_balancers(names.network, names.compiled, names.compiled.learned().health.as_ref(), None);
        let down = rows.iter().filter(|row| row.load_balancer == balancer.name && !row.eligible);
        let mut down: Vec<_> = down.map(|row| format!("{} ({})", row.backend, row.reason)).collect();
        down.sort_unstable();
        down.dedup();
        let cause = if down.is_empty() { "its pool is empty".to_owned() } else { format!("down: {}", down.join(", ")) };
        Some(Cure::untreated(format!("{name}: nobody is up; {cause}")))
    }

    /// Whose frontend the packet is for, or goes through.
    fn frontend(&self, leg: &Leg) -> Option<FrontendIx> {
        let mut frontends = self.names.network.frontends();
        match leg.route() {
            Some((_, _, NextHop::Frontend(id))) => frontends.nth(id.0 as usize).map(|(at, _)| at),
            _ => frontends.find(|(_, frontend)| frontend.address == self.walk.dst).map(|(at, _)| at),
        }
    }

    /// Behind whom a sender is that has nothing else to leave by (LB-44, SNAT-07).
    pub(super) fn behind(&self, sender: NicId) -> Option<&LoadBalancer> {
        let Sender::Nic(nic) = self.names.compiled.sender(sender) else { return None };
        let mut balancers = self.names.network.load_balancers.iter();
        balancers.find(|balancer| balancer.backends().any(|backend| backend.nic == nic))
    }
}

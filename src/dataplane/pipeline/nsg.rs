//! Evaluates a NIC's rules for a packet that starts a flow: admin rules, then its NSGs, in Azure's order.
//!
//! A packet's rules are three steps deep: `admit` asks the flow's record, `evaluate` takes the NIC's lists in their order,
//! and `classify` finds the first rule of one list.

use crate::dataplane::platform::{DNS_PORT, LICENSING, LICENSING_PORT, METADATA, METADATA_PORT, PLATFORM};
use crate::dataplane::{
    Acl, AclId, AclMatch, Action, Admission, Deciders, Direction, DropReason, FilterPlace, NicId, Observer, RuleId,
    Snapshot, Step,
};
use crate::wire::{Protocol, Tuple};

use super::admit::Admitted;

/// Evaluates a NIC's rules for a packet that would start a flow. Neither routes nor the far end matter (DIAG-05).
pub fn evaluate<O: Observer>(
    snapshot: &Snapshot,
    nic: NicId,
    direction: Direction,
    tuple: &Tuple,
    observer: &mut O,
) -> Result<(), DropReason> {
    let outcome = Evaluation { snapshot, nic, direction, tuple, observer }.evaluate(Scope::All);
    outcome.map(|_| ()).map_err(|denied| denied.reason)
}

/// DNS and the guest agent's ports at the platform's address (FAB-12).
const PLATFORM_PORTS: [u16; 4] = [DNS_PORT, 80, 443, 32526];

/// One packet, and the NIC with the rules that decide on it.
pub(super) struct Evaluation<'a, O> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) nic: NicId,
    pub(super) direction: Direction,
    pub(super) tuple: &'a Tuple,
    pub(super) observer: &'a mut O,
}

/// Which NSGs are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Those with `flushConnection` (NSG-23).
    Flushing,
}

/// The denial: the reason to drop, and the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) reason: DropReason,
    pub(super) rule: Option<RuleId>,
}

impl<O: Observer> Evaluation<'_, O> {
    /// Whether this is traffic to the platform's services, which passes even if ordinary rules deny it (NSG-30).
    #[inline]
    pub(super) fn is_platform_service(&self) -> bool {
        self.direction == Direction::Outbound
            && is_platform_service(self.tuple)
            && self.snapshot.nic(self.nic).is_in_vnet()
    }

    /// The platform's services are always allowed, unless a rule names them by tag and denies them (NSG-30).
    fn evaluate_platform(&mut self) -> Result<Admitted, Denied> {
        let rules = self.snapshot.nic(self.nic).platform;
        let order =
            [(FilterPlace::Admin, rules.admin), (FilterPlace::Nic, rules.nic), (FilterPlace::Subnet, rules.subnet)];
        for (place, acl) in order {
            let Some(found) = acl.and_then(|acl| self.classify(place, acl)) else { continue };
            match found.action {
                Action::Deny => return Err(self.denied(place, found.id)),
                Action::AlwaysAllow => break,
                Action::Allow => {}
            }
        }
        self.report(Admission::Platform);
        Ok(Admitted::ByDefault(Deciders::default()))
    }

    /// An admin rule may decide alone (ADM-01). Otherwise every NSG must allow; the first one to deny decides (NSG-10).
    pub(super) fn evaluate(&mut self, scope: Scope) -> Result<Admitted, Denied> {
        if scope == Scope::All && self.is_platform_service() {
            return self.evaluate_platform();
        }
        let nic = self.snapshot.nic(self.nic);
        let filters = match self.direction {
            Direction::Outbound => nic.outbound,
            Direction::Inbound => nic.inbound,
        };
        let by_admin = filters.admin.and_then(|acl| self.classify(FilterPlace::Admin, acl));
        if let Some(found) = by_admin {
            match (found.action, scope) {
                (Action::Deny, Scope::All) => return Err(self.denied(FilterPlace::Admin, found.id)),
                (Action::AlwaysAllow, _) => return Ok(Admitted::CustomRules(found.id.into_iter().collect())),
                (Action::Deny, Scope::Flushing) | (Action::Allow, _) => {}
            }
        }
        let own = if nic.is_in_vnet() { FilterPlace::Nic } else { FilterPlace::Distributed };
        let mut order = [(own, filters.nic), (FilterPlace::Subnet, filters.subnet)];
        if self.direction == Direction::Inbound {
            order.reverse();
        }
        let mut rules = Deciders::default();
        let mut custom = None;
        for (place, acl) in order {
            let Some(acl) = acl.filter(|acl| scope == Scope::All || Acl::flushes(self.snapshot.acl(*acl))) else {
                continue;
            };
            // An NSG without a matching rule denies.
            let found = self.classify(place, acl).ok_or(self.denied(place, None))?;
            if !found.action.allows() {
                return Err(self.denied(place, found.id));
            }
            rules.push(found.id);
            // One default rule among them makes the whole admission a default one.
            custom = Some(custom.unwrap_or(true) && found.custom);
        }
        if custom.is_none() {
            self.report(Admission::NoFilter);
            // No NSG was evaluated after the admin rule that allowed it, so flow logs name that rule (ADM-04).
            rules.push(by_admin.and_then(|found| found.id));
        }
        Ok(if custom == Some(true) { Admitted::CustomRules(rules) } else { Admitted::ByDefault(rules) })
    }

    /// The first rule of a list that matches, reported.
    fn classify(&mut self, place: FilterPlace, acl: AclId) -> Option<AclMatch> {
        let found = self.snapshot.acl(acl).classify(self.tuple)?;
        self.report(Admission::Rule { place, acl, rule: found.rule, allow: found.action.allows() });
        Some(found)
    }

    fn denied(&self, place: FilterPlace, rule: Option<RuleId>) -> Denied {
        let reason = match place {
            FilterPlace::Admin => DropReason::AdminRule,
            FilterPlace::Distributed => DropReason::DistributedFirewall,
            FilterPlace::Nic | FilterPlace::Subnet => DropReason::denied(self.direction),
        };
        Denied { reason, rule }
    }

    fn report(&mut self, admission: Admission) {
        self.observer.step(Step::Admit { nic: self.nic, direction: self.direction, admission });
    }
}

impl DropReason {
    /// The drop reason of an NSG in this direction.
    pub(super) const fn denied(direction: Direction) -> Self {
        match direction {
            Direction::Outbound => Self::NsgOutbound,
            Direction::Inbound => Self::NsgInbound,
        }
    }
}

#[inline]
fn is_platform_service(tuple: &Tuple) -> bool {
    match tuple.protocol {
        Protocol::TCP | Protocol::UDP if tuple.dst == PLATFORM => PLATFORM_PORTS.contains(&tuple.dst_port),
        Protocol::TCP => {
            (tuple.dst == METADATA && tuple.dst_port == METADATA_PORT)
                || (tuple.dst_port == LICENSING_PORT && LICENSING.contains(&tuple.dst))
        }
        _ => false,
    }
}

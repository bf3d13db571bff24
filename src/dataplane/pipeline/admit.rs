//! Whether a NIC lets a packet pass in one direction: its flow record, else admin rules, then its NSGs in Azure's order.

use std::net::{IpAddr, Ipv4Addr};

use super::check::{METADATA, PLATFORM};
use super::{Leg, Subject};
use crate::dataplane::{AclId, Action, Admission, Direction, DropReason, FilterPlace, NicId, Observer, Step};
use crate::wire::{Protocol, Tuple};

/// DNS, and the guest agent's ports, at the platform's address (FAB-12).
const PLATFORM_PORTS: [u16; 4] = [53, 80, 443, 32526];
const METADATA_PORT: u16 = 80;
/// Where Windows guests activate their licence.
const LICENSING: [IpAddr; 3] = [v4(20, 118, 99, 224), v4(40, 83, 235, 53), v4(23, 102, 135, 246)];
const LICENSING_PORT: u16 = 1688;

/// Why a NIC let a packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// By its flow's record (NSG-20).
    Record,
    /// By the user's own rules: one at least, and no default rule; or by an admin rule that has the last word (PEER-22).
    CustomRules,
    /// By a default rule, by no rule, or because rules do not concern it.
    ByDefault,
}

impl Admitted {
    pub(super) const fn has_record(self) -> bool {
        matches!(self, Self::Record)
    }

    /// Good enough for a link without `allowVirtualNetworkAccess`, which asks when a flow is admitted (PEER-22).
    pub(super) const fn is_explicit(self) -> bool {
        matches!(self, Self::Record | Self::CustomRules)
    }
}

impl Leg<'_> {
    #[inline]
    pub(super) fn admit<O: Observer>(
        self,
        nic: NicId,
        direction: Direction,
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        let mut report = |admission| observer.step(Step::Admit { nic, direction, admission });
        if self.flows.records.follow(nic, direction, subject.flow(), subject.traffic, self.now) {
            report(Admission::Record);
            return Ok(Admitted::Record);
        }
        if direction == Direction::Outbound && is_platform_service(subject.tuple) {
            return self.serve(nic, subject.tuple, report);
        }
        self.judge(nic, direction, subject.tuple, report)
    }

    /// The platform's services are there for everyone, unless a rule names them to deny them (NSG-30).
    fn serve(self, nic: NicId, tuple: &Tuple, mut report: impl FnMut(Admission)) -> Result<Admitted, DropReason> {
        let rules = self.snapshot.nic(nic).platform;
        let order =
            [(FilterPlace::Admin, rules.admin), (FilterPlace::Nic, rules.nic), (FilterPlace::Subnet, rules.subnet)];
        for (place, acl) in order {
            let said = acl.and_then(|acl| self.ask(place, acl, tuple, &mut report)).map(|(action, _)| action);
            match (said, place) {
                (Some(Action::Deny), FilterPlace::Admin) => return Err(DropReason::AdminRule),
                (Some(Action::Deny), FilterPlace::Nic | FilterPlace::Subnet) => return Err(DropReason::NsgOutbound),
                (Some(Action::AlwaysAllow), _) => break,
                (Some(Action::Allow) | None, _) => {}
            }
        }
        report(Admission::Platform);
        Ok(Admitted::ByDefault)
    }

    /// The admin rules may end it (ADM-01); then every NSG that is there must allow, the first to deny ends it (NSG-10).
    fn judge(
        self,
        nic: NicId,
        direction: Direction,
        tuple: &Tuple,
        mut report: impl FnMut(Admission),
    ) -> Result<Admitted, DropReason> {
        let nic = self.snapshot.nic(nic);
        let (filters, denied) = match direction {
            Direction::Outbound => (nic.outbound, DropReason::NsgOutbound),
            Direction::Inbound => (nic.inbound, DropReason::NsgInbound),
        };
        if let Some(acl) = filters.admin {
            match self.ask(FilterPlace::Admin, acl, tuple, &mut report).map(|(action, _)| action) {
                Some(Action::Deny) => return Err(DropReason::AdminRule),
                Some(Action::AlwaysAllow) => return Ok(Admitted::CustomRules),
                Some(Action::Allow) | None => {}
            }
        }
        let mut order = [(FilterPlace::Nic, filters.nic), (FilterPlace::Subnet, filters.subnet)];
        if direction == Direction::Inbound {
            order.reverse();
        }
        let mut admitted = None;
        for (place, acl) in order {
            let Some(acl) = acl else { continue };
            let verdict = self.evaluate(place, acl, tuple, &mut report).ok_or(denied)?;
            // One default rule among them makes the whole a default.
            admitted = Some(if admitted.is_none_or(|so_far| so_far == Admitted::CustomRules) {
                verdict
            } else {
                Admitted::ByDefault
            });
        }
        Ok(admitted.unwrap_or_else(|| {
            report(Admission::NoFilter);
            Admitted::ByDefault
        }))
    }

    /// What one NSG says; `None` denies, as does an NSG that says nothing.
    fn evaluate(
        self,
        place: FilterPlace,
        acl: AclId,
        tuple: &Tuple,
        report: &mut impl FnMut(Admission),
    ) -> Option<Admitted> {
        let (action, custom) = self.ask(place, acl, tuple, report)?;
        action.allows().then_some(if custom { Admitted::CustomRules } else { Admitted::ByDefault })
    }

    /// The first rule that matches: what it does, and whether it is the user's.
    fn ask(
        self,
        place: FilterPlace,
        acl: AclId,
        tuple: &Tuple,
        report: &mut impl FnMut(Admission),
    ) -> Option<(Action, bool)> {
        let found = self.snapshot.acl(acl).classify(tuple)?;
        report(Admission::Rule { place, acl, rule: found.rule, allow: found.action.allows() });
        Some((found.action, found.custom))
    }
}

/// What a guest needs from the platform passes whatever ordinary rules say (NSG-30).
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

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

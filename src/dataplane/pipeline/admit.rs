//! Whether a NIC lets a packet pass in one direction: its flow record, else its NSGs in Azure's order.

use super::check::PLATFORM;
use super::{Leg, Subject};
use crate::dataplane::{AclId, Admission, Direction, DropReason, FilterPlace, NicId, Observer, Step};
use crate::wire::{Protocol, Tuple};

/// DNS, and the guest agent's ports, at the platform's address (FAB-12).
const PLATFORM_PORTS: [u16; 4] = [53, 80, 443, 32526];

/// Why a NIC let a packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// By its flow's record (NSG-20).
    Record,
    /// By the user's own rules: one at least, and no default rule (PEER-22).
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
            report(Admission::Platform);
            return Ok(Admitted::ByDefault);
        }
        self.judge(nic, direction, subject.tuple, report)
    }

    /// Every NSG that is there must allow; the first to deny ends it (NSG-10).
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
        let found = self.snapshot.acl(acl).classify(tuple)?;
        report(Admission::Rule { place, acl, rule: found.rule, allow: found.allow });
        found.allow.then_some(if found.custom { Admitted::CustomRules } else { Admitted::ByDefault })
    }
}

/// What a guest needs from the platform passes whatever rules say (NSG-30).
#[inline]
fn is_platform_service(tuple: &Tuple) -> bool {
    tuple.dst == PLATFORM
        && matches!(tuple.protocol, Protocol::TCP | Protocol::UDP)
        && PLATFORM_PORTS.contains(&tuple.dst_port)
}

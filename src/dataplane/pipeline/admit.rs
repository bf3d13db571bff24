//! Whether a NIC lets a packet pass in one direction: its flow's record says so, else the rules.

use crate::dataplane::state::flow::key::FlowKey;
use crate::dataplane::{
    Admission, Deciders, Denial, Direction, DropReason, FlowEvent, Follow, NicId, Observer, RuleId, Step,
};

use super::nsg::{Asked, Denied, Judge};
use super::{Leg, Subject};

/// Why a NIC let a packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// By its flow's record (NSG-20).
    Record,
    /// By the user's own rules: one at least, and no default rule; or by an admin rule that has the last word (PEER-22).
    CustomRules(Deciders),
    /// By a default rule, by no rule, or because rules do not concern it.
    ByDefault(Deciders),
}

impl Admitted {
    pub(super) const fn has_record(self) -> bool {
        matches!(self, Self::Record)
    }

    /// Good enough for a link without `allowVirtualNetworkAccess`, which asks when a flow is admitted (PEER-22).
    pub(super) const fn is_explicit(self) -> bool {
        matches!(self, Self::Record | Self::CustomRules(_))
    }

    /// The rules that a new record names; none if it needs none.
    pub(super) const fn deciders(self) -> Option<Deciders> {
        match self {
            Self::Record => None,
            Self::CustomRules(rules) | Self::ByDefault(rules) => Some(rules),
        }
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
        self.admit_key(&FlowKey::new(nic, direction, subject.flow()), nic, direction, subject, observer)
    }

    /// The same for one who knows by what the flow's record is found.
    #[expect(clippy::inline_always, reason = "what it answers then needs no place in memory")]
    #[inline(always)]
    pub(super) fn admit_key<O: Observer>(
        &self,
        key: &FlowKey,
        nic: NicId,
        direction: Direction,
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        let terms = &self.snapshot.nic(nic).flows;
        let follow = self.flows.records.follow_key(key, direction, &subject.passing, terms);
        if follow == Follow::Passes {
            observer.step(Step::Admit { nic, direction, admission: Admission::Record });
            return Ok(Admitted::Record);
        }
        self.judge(follow, nic, direction, subject, observer)
    }

    /// What becomes of a packet that no record lets pass.
    #[inline(never)]
    fn judge<O: Observer>(
        &self,
        follow: Follow,
        nic: NicId,
        direction: Direction,
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        match follow {
            Follow::Passes | Follow::PassesWithFewerHops => {
                if let Some(packet) = subject.packet {
                    self.flows.loops.watch(nic, packet, self.now);
                }
                observer.step(Step::Admit { nic, direction, admission: Admission::Record });
                Ok(Admitted::Record)
            }
            Follow::Refused(admitted) => {
                observer.step(Step::Admit { nic, direction, admission: Admission::Refused });
                Err(DropReason::denied(admitted))
            }
            Follow::Outdated(admitted) => self.review(nic, direction, admitted, subject, observer),
            Follow::Nothing => self.first(nic, direction, subject, observer),
        }
    }

    /// A packet that follows no record.
    #[inline]
    fn first<O: Observer>(
        self,
        nic: NicId,
        direction: Direction,
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        let snapshot = self.snapshot;
        let terms = &snapshot.nic(nic).flows;
        let mut judge = Judge { snapshot, nic, direction, tuple: subject.tuple, observer };
        if terms.strict_tcp && subject.is_mid_stream() && !judge.is_platform_service() {
            return Err(DropReason::TcpState);
        }
        judge.first().map_err(|Denied { reason, rule }| {
            if observer.wants_flows(terms) {
                observer.flow(&self.denial(nic, direction, subject, rule));
            }
            reason
        })
    }

    /// Judges a flow anew, as its first packet would be now, by the NSGs that flush: what the others said when it began
    /// still holds (NSG-22, NSG-23). A refused flow is kept as such: forgotten, the answers of its other end would begin it
    /// again.
    #[cold]
    fn review<O: Observer>(
        self,
        nic: NicId,
        direction: Direction,
        admitted: Direction,
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        let snapshot = self.snapshot;
        let terms = &snapshot.nic(nic).flows;
        let flow = subject.flow();
        let first = if direction == admitted { *flow } else { flow.mirrored() };
        let judged = Judge { snapshot, nic, direction: admitted, tuple: &first, observer }.ask(Asked::Flushing);
        let refused = judged.err().map(|denied| denied.rule.into_iter().collect());
        let ended = self.flows.records.review(nic, direction, flow, subject.passing, terms, refused);
        if let Some(record) = ended.filter(|_| observer.wants_flows(terms)) {
            observer.flow(&FlowEvent::Ended(record));
        }
        judged.map(|_| Admitted::Record).map_err(|denied| denied.reason)
    }

    fn denial(self, nic: NicId, direction: Direction, subject: &Subject<'_>, rule: Option<RuleId>) -> FlowEvent {
        FlowEvent::Denied(Denial { at: self.now, nic, direction, tuple: *subject.tuple, rule })
    }
}

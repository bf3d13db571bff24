//! Whether a NIC lets a packet pass in one direction: by the flow's record, else by the rules.

use crate::dataplane::state::flow::key::FlowKey;
use crate::dataplane::{
    Admission, Deciders, Denial, Direction, DropReason, FlowEvent, Follow, NicId, Observer, RuleId, Step,
};

use super::nsg::{Denied, Evaluation, Scope};
use super::{Leg, PacketView};

/// Why a NIC let a packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// By its flow's record (NSG-20).
    Record,
    /// By the user's own rules: at least one, and no default rule; or by an admin rule that decides alone (PEER-22).
    CustomRules(Deciders),
    /// By a default rule, by no rule, or because rules do not apply to it.
    ByDefault(Deciders),
}

impl Admitted {
    pub(super) const fn has_record(self) -> bool {
        matches!(self, Self::Record)
    }

    /// Whether this satisfies a link without `allowVirtualNetworkAccess`, which applies when a flow is admitted
    /// (PEER-22).
    pub(super) const fn is_explicit(self) -> bool {
        matches!(self, Self::Record | Self::CustomRules(_))
    }

    /// The rules that a new record names; None if a record exists.
    pub(super) const fn deciders(self) -> Option<Deciders> {
        match self {
            Self::Record => None,
            Self::CustomRules(rules) | Self::ByDefault(rules) => Some(rules),
        }
    }
}

impl Leg<'_> {
    /// Whether the NIC lets the packet pass: by the flow's record, else by [`Self::decide`]. `key` is the record's.
    #[expect(clippy::inline_always, reason = "the result then stays in registers")]
    #[inline(always)]
    pub(super) fn admit<O: Observer>(
        &self,
        key: &FlowKey,
        nic: NicId,
        direction: Direction,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        let terms = &self.snapshot.nic(nic).flows;
        let follow = self.flows.records.follow_key(key, direction, &view.passing, terms);
        if follow == Follow::Passes {
            observer.step(Step::Admit { nic, direction, admission: Admission::Record });
            return Ok(Admitted::Record);
        }
        self.decide(follow, nic, direction, view, observer)
    }

    /// The rest of [`Self::admit`], apart from the path of a known flow: first packets, and records that need a look.
    #[inline(never)]
    fn decide<O: Observer>(
        &self,
        follow: Follow,
        nic: NicId,
        direction: Direction,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        match follow {
            Follow::Passes | Follow::PassesWithFewerHops => {
                if let Some(packet) = view.packet {
                    self.flows.loops.watch(nic, packet, self.now);
                }
                observer.step(Step::Admit { nic, direction, admission: Admission::Record });
                Ok(Admitted::Record)
            }
            Follow::Refused(admitted) => {
                observer.step(Step::Admit { nic, direction, admission: Admission::Refused });
                Err(DropReason::denied(admitted))
            }
            Follow::Outdated(admitted) => self.review(nic, direction, admitted, view, observer),
            Follow::Nothing => {
                let snapshot = self.snapshot;
                let terms = &snapshot.nic(nic).flows;
                let mut rules = Evaluation { snapshot, nic, direction, tuple: view.tuple, observer };
                if terms.strict_tcp && view.is_mid_stream() && !rules.is_platform_service() {
                    return Err(DropReason::TcpState);
                }
                rules.evaluate(Scope::All).map_err(|Denied { reason, rule }| {
                    if observer.wants_flows(terms) {
                        observer.flow(&self.denial(nic, direction, view, rule));
                    }
                    reason
                })
            }
        }
    }

    /// Evaluates a flow again, as its first packet would be evaluated now, by the NSGs with `flushConnection` only.
    /// What the other NSGs decided when it began still holds (NSG-22, NSG-23). A refused flow keeps its record: without
    /// it, answers from the other end would start the flow again.
    #[cold]
    fn review<O: Observer>(
        self,
        nic: NicId,
        direction: Direction,
        admitted: Direction,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<Admitted, DropReason> {
        let snapshot = self.snapshot;
        let terms = &snapshot.nic(nic).flows;
        let flow = view.flow();
        let first = if direction == admitted { *flow } else { flow.mirrored() };
        let mut rules = Evaluation { snapshot, nic, direction: admitted, tuple: &first, observer };
        let outcome = rules.evaluate(Scope::Flushing);
        let verdict = outcome
            .map(|admitted| admitted.deciders().unwrap_or_default())
            .map_err(|denied| denied.rule.into_iter().collect());
        let ended = self.flows.records.review(nic, direction, flow, view.passing, terms, verdict);
        if let Some(record) = ended.filter(|_| observer.wants_flows(terms)) {
            observer.flow(&FlowEvent::Ended(record));
        }
        outcome.map(|_| Admitted::Record).map_err(|denied| denied.reason)
    }

    fn denial(self, nic: NicId, direction: Direction, view: &PacketView<'_>, rule: Option<RuleId>) -> FlowEvent {
        FlowEvent::Denied(Denial { at: self.now, nic, direction, tuple: *view.tuple, rule })
    }
}

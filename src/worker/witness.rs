//! What a worker takes note of while the pipeline decides: which rules decided, and what happens to flows.

use super::flow_events::FlowEvents;
use super::rule_hits::RuleHits;
use crate::dataplane::{Admission, FlowEvent, FlowTerms, Observer, Snapshot, Step};

/// The packet path's observer; for a packet that follows flow records it does nothing.
pub(super) struct Witness<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) hits: &'a RuleHits,
    pub(super) events: &'a FlowEvents,
    /// Somebody wants to hear of all flows.
    pub(super) followed: bool,
}

impl Observer for Witness<'_> {
    #[inline]
    fn step(&mut self, step: Step) {
        if let Step::Admit { admission: Admission::Rule { acl, rule, .. }, .. } = step
            && let Some(rule) = self.snapshot.acl(acl).id(rule)
        {
            self.hits.hit(rule);
        }
    }

    #[inline]
    fn wants_flows(&self, terms: &FlowTerms) -> bool {
        terms.logged || self.followed
    }

    #[cold]
    fn flow(&mut self, event: &FlowEvent) {
        self.events.tell(*event, self.snapshot.nic(event.nic()).flows.logged);
    }
}

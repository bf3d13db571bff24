//! What a worker takes note of while the pipeline decides: which rules decided, and the flows of NICs that are logged.

use super::flow_events::FlowEvents;
use super::rule_hits::RuleHits;
use crate::dataplane::{Admission, FlowEvent, Observer, Snapshot, Step};

/// The packet path's observer; for a packet that follows flow records it does nothing.
pub(super) struct Witness<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) hits: &'a RuleHits,
    pub(super) events: &'a FlowEvents,
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

    #[cold]
    fn flow(&mut self, event: &FlowEvent) {
        self.events.tell(*event);
    }
}

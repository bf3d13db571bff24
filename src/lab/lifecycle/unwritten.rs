//! State that a lab's directory does not have yet, since the disk is full: written once there is room.
//!
//! One idea: a change of the network does not depend on its record; the client is told that it is not recorded.

use crate::lab::error::Result;
use crate::model::Links;

use super::apply::Lab;

/// What could not be written.
#[derive(Debug, Default)]
pub(in crate::lab) struct Owed {
    /// What follows from the running network.
    state: bool,
    /// The topology that was applied last.
    topology: Option<String>,
}

impl Lab<'_> {
    /// Writes down what the running network is for others. Says what did not work: that is tried again.
    pub(in crate::lab) fn write_state(&mut self) -> Vec<String> {
        let network = self.engine.network();
        let dir = &self.site.claim.dir;
        let written =
            [self.site.write_names(&network), dir.write_links(&Links::of(&network)), dir.write_record(&self.record)];
        let complaints = complaints(written);
        self.owed.state = !complaints.is_empty();
        complaints
    }

    /// The same with the topology that it follows from.
    pub(in crate::lab) fn write_topology(&mut self, text: String) -> Vec<String> {
        let dir = &self.site.claim.dir;
        let written = dir.write_applied(&text, &self.engine.network());
        let complaints = complaints([written, dir.write_record(&self.record)]);
        self.owed.topology = (!complaints.is_empty()).then_some(text);
        complaints
    }

    /// Tries again what did not work.
    pub(in crate::lab) fn write_owed(&mut self) {
        self.site.claim.journal.mend();
        if self.owed.state {
            self.write_state();
        }
        if let Some(text) = self.owed.topology.take() {
            self.write_topology(text);
        }
    }
}

fn complaints(written: impl IntoIterator<Item = Result<()>>) -> Vec<String> {
    written.into_iter().filter_map(|written| Some(written.err()?.to_string())).collect()
}

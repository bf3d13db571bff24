//! The networks that were published last, for records of packets that were decided in one of them.
//!
//! A record's numbers mean something in the tables that decided on its packet. Records come a moment later, when the daemon
//! may have published other tables.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::daemon::engine::{Engine, Published};

/// Earlier networks kept for records that may still come.
const KEPT: usize = 4;

/// The newest first.
pub(super) struct RecentNetworks(VecDeque<Arc<Published>>);

impl RecentNetworks {
    pub(super) fn from(published: Arc<Published>) -> Self {
        Self(VecDeque::from([published]))
    }

    pub(super) fn newest_generation(&self) -> u64 {
        self.0.front().map_or(0, |network| network.generation())
    }

    /// The network with these tables, if it is still kept.
    pub(super) fn of(&self, generation: u64) -> Option<&Published> {
        self.0.iter().find(|network| network.generation() == generation).map(|network| &**network)
    }

    /// Takes in the network that is published now. Returns it if it is new.
    pub(super) fn advance(&mut self, engine: &Engine) -> Option<&Published> {
        let published = engine.published();
        if self.newest_generation() == published.generation() {
            return None;
        }
        self.0.push_front(published);
        self.0.truncate(KEPT);
        self.0.front().map(|network| &**network)
    }
}

//! Looks into guests' namespaces for rules of their own, for threads that may not enter any.
//!
//! One idea: one thread keeps the right to enter namespaces and does nothing else. It reads where rules stand and how many
//! there are, and changes nothing.

use std::io;
use std::path::PathBuf;

use crossbeam_channel::{Sender, bounded};
use tracing::warn;

use crate::analysis::{GuestRules, Hook, RulesThere};
use crate::sys::confine::{self, Role};
use crate::sys::netns::Netns;
use crate::sys::{nftables, packet_filter};

/// Questions that wait at a time; more callers wait for room.
const WAITING: usize = 16;

/// A node's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GuestNamespace {
    pub(super) node: String,
    pub(super) namespace: PathBuf,
    /// Whether the table by which it masquerades is the lab's.
    pub(super) masquerades: bool,
}

/// The thread, by what it is asked with. It ends with the last of these.
#[derive(Clone, Debug)]
pub struct Lookout(Sender<(Vec<GuestNamespace>, Sender<GuestRules>)>);

impl Lookout {
    /// Must be called from a thread that may enter the namespaces.
    pub fn start() -> io::Result<Self> {
        let (ask, asked) = bounded::<(Vec<GuestNamespace>, Sender<GuestRules>)>(WAITING);
        let look = move |()| {
            while let Ok((places, reply)) = asked.recv() {
                // The caller may have gone.
                let _ = reply.send(look(&places));
            }
        };
        confine::spawn("vnet-lookout", Role::Lookout, || Ok(()), look)?;
        Ok(Self(ask))
    }

    /// Adds to what files say what was found in these places.
    pub(super) fn look(&self, places: Vec<GuestNamespace>) -> GuestRules {
        let (reply, answer) = bounded(1);
        let asked = self.0.send((places, reply)).ok();
        asked.and_then(|()| answer.recv().ok()).unwrap_or_default()
    }
}

/// Leaves the calling thread wherever it was last.
fn look(places: &[GuestNamespace]) -> GuestRules {
    let mut found = GuestRules::default();
    for place in places {
        match rules_at(place) {
            Ok(rules) => found.found(&place.node, rules),
            Err(error) => warn!("cannot look for firewall rules of {}: {error}", place.node),
        }
    }
    found
}

fn rules_at(place: &GuestNamespace) -> io::Result<Vec<RulesThere>> {
    Netns::open(&place.namespace)?.enter()?;
    let rules = packet_filter::rules(place.masquerades.then_some(nftables::TABLE))?;
    Ok(rules.into_iter().map(rules_there).collect())
}

fn rules_there(rules: packet_filter::Rules) -> RulesThere {
    let packet_filter::Rules { ipv4, ipv6, hooks, count } = rules;
    let hook = |hook| match hook {
        packet_filter::Hook::Prerouting => Hook::Prerouting,
        packet_filter::Hook::Input => Hook::Input,
        packet_filter::Hook::Forward => Hook::Forward,
        packet_filter::Hook::Output => Hook::Output,
        packet_filter::Hook::Postrouting => Hook::Postrouting,
    };
    RulesThere { ipv4, ipv6, hooks: hooks.into_iter().map(hook).collect(), count: Some(count) }
}

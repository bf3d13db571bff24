//! What one peer has been told, and what it has to be told yet.
//!
//! One idea: a change only marks its prefix. What to say about it is found out when there is room to say it, so a peer that
//! reads slowly costs one mark a prefix and hears only of the last change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::bgp::Renaming;
use crate::bgp::message::{Attributes, Context, Family, write_announcements, write_withdrawals};

/// Prefixes handled in one go: as many of /24 as one message holds beside ordinary attributes.
const CHUNK: usize = 1000;

/// A route as it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub next_hop: IpAddr,
    pub attributes: Arc<Attributes>,
}

#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// None: told, but to be told again.
    told: BTreeMap<IpNet, Option<Told>>,
    pending: BTreeSet<IpNet>,
    /// Whose attributes fit into no message.
    too_long: u64,
}

impl Outbound {
    pub(super) fn mark(&mut self, prefix: IpNet) {
        self.pending.insert(prefix);
    }

    /// The peer wants to hear all of a family again.
    pub(super) fn repeat(&mut self, family: Family) {
        for (prefix, told) in self.told.iter_mut().filter(|(prefix, _)| Family::of(prefix) == family) {
            *told = None;
            self.pending.insert(*prefix);
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) const fn too_long(&self) -> u64 {
        self.too_long
    }

    pub(super) fn told(&self) -> impl Iterator<Item = (&IpNet, &Told)> {
        self.told.iter().filter_map(|(prefix, told)| Some((prefix, told.as_ref()?)))
    }

    /// One prefix of those that are pending whose state has changed, and what is told of it now.
    pub(super) fn poll(&mut self, export: impl Fn(&IpNet) -> Option<Told>) -> Option<(IpNet, Option<Told>)> {
        while let Some(prefix) = self.pending.pop_first() {
            let told = export(&prefix);
            let before = match &told {
                Some(told) => self.told.insert(prefix, Some(told.clone())),
                None => self.told.remove(&prefix),
            };
            if before.flatten() != told {
                return Some((prefix, told));
            }
        }
        None
    }

    /// Writes some of what is pending, and returns how many messages that took. `export` says what the peer is to be told
    /// of a prefix now.
    pub(super) fn write(
        &mut self,
        export: impl Fn(&IpNet) -> Option<Told>,
        renaming: &Renaming,
        context: Context,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut withdrawn = vec![];
        let mut announced: BTreeMap<Told, Vec<IpNet>> = BTreeMap::new();
        for _ in 0..CHUNK {
            let Some(prefix) = self.pending.pop_first() else { break };
            match export(&prefix) {
                Some(told) if self.told.get(&prefix).and_then(Option::as_ref) == Some(&told) => {}
                Some(told) => announced.entry(told).or_default().push(prefix),
                None => withdrawn.extend(self.told.remove(&prefix).map(|_| prefix)),
            }
        }
        let mut messages = 0;
        for (told, prefixes) in announced {
            let names: Vec<_> = prefixes.iter().map(|prefix| renaming.tell(*prefix)).collect();
            if let Ok(written) = write_announcements(&told.attributes, told.next_hop, &names, context, out) {
                messages += written;
                self.told.extend(prefixes.into_iter().map(|prefix| (prefix, Some(told.clone()))));
            } else {
                // RFC 4271 section 9.2: such a route is not told, nor does the one before stand.
                self.too_long += prefixes.len() as u64;
                withdrawn.extend(prefixes.into_iter().filter(|prefix| self.told.remove(prefix).is_some()));
            }
        }
        let withdrawn: Vec<_> = withdrawn.into_iter().map(|prefix| renaming.tell(prefix)).collect();
        messages + write_withdrawals(&withdrawn, out)
    }
}

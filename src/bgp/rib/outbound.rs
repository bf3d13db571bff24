//! What one peer has been advertised, and the changes that are still pending.
//!
//! One idea: a change only marks its prefix. The route is looked up when there is room to send it. So a peer that reads
//! slowly costs one mark per prefix, and receives the last change only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use ipnet::IpNet;

use crate::bgp::Renaming;
use crate::bgp::message::{Attributes, Context, Family, write_announcements, write_withdrawals};

/// Prefixes handled in one go: as many of /24 as one message holds beside ordinary attributes.
const CHUNK: usize = 1000;

/// A route as a peer receives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    pub next_hop: IpAddr,
    pub attributes: Arc<Attributes>,
}

#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// None: advertised, and due to be advertised again.
    advertised: BTreeMap<IpNet, Option<Announcement>>,
    pending: BTreeSet<IpNet>,
    /// Routes that were not advertised because their attributes do not fit into one message.
    too_long: u64,
}

impl Outbound {
    pub(super) fn mark(&mut self, prefix: IpNet) {
        self.pending.insert(prefix);
    }

    /// The peer asks for all routes of a family again.
    pub(super) fn repeat(&mut self, family: Family) {
        for (prefix, route) in self.advertised.iter_mut().filter(|(prefix, _)| Family::of(prefix) == family) {
            *route = None;
            self.pending.insert(*prefix);
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) const fn too_long(&self) -> u64 {
        self.too_long
    }

    pub(super) fn advertised(&self) -> impl Iterator<Item = (&IpNet, &Announcement)> {
        self.advertised.iter().filter_map(|(prefix, route)| Some((prefix, route.as_ref()?)))
    }

    /// The next pending prefix with a changed route, and that route; None is a withdrawal.
    pub(super) fn poll(
        &mut self,
        export: impl Fn(&IpNet) -> Option<Announcement>,
    ) -> Option<(IpNet, Option<Announcement>)> {
        while let Some(prefix) = self.pending.pop_first() {
            let route = export(&prefix);
            let before = match &route {
                Some(route) => self.advertised.insert(prefix, Some(route.clone())),
                None => self.advertised.remove(&prefix),
            };
            if before.flatten() != route {
                return Some((prefix, route));
            }
        }
        None
    }

    /// Writes some of the pending changes, and returns the number of messages. `export` gives the route to advertise.
    pub(super) fn write(
        &mut self,
        export: impl Fn(&IpNet) -> Option<Announcement>,
        renaming: &Renaming,
        context: Context,
        out: &mut BytesMut,
    ) -> u64 {
        let mut withdrawn = vec![];
        let mut announced: BTreeMap<Announcement, Vec<IpNet>> = BTreeMap::new();
        for _ in 0..CHUNK {
            let Some(prefix) = self.pending.pop_first() else { break };
            match export(&prefix) {
                Some(route) if self.advertised.get(&prefix).and_then(Option::as_ref) == Some(&route) => {}
                Some(route) => announced.entry(route).or_default().push(prefix),
                None => withdrawn.extend(self.advertised.remove(&prefix).map(|_| prefix)),
            }
        }
        let mut messages = 0;
        for (route, prefixes) in announced {
            let names: Vec<_> = prefixes.iter().map(|prefix| renaming.outbound(*prefix)).collect();
            if let Ok(written) = write_announcements(&route.attributes, route.next_hop, &names, context, out) {
                messages += written;
                self.advertised.extend(prefixes.into_iter().map(|prefix| (prefix, Some(route.clone()))));
            } else {
                // RFC 4271 section 9.2: such a route is not advertised, and the one before it is withdrawn.
                self.too_long += prefixes.len() as u64;
                withdrawn.extend(prefixes.into_iter().filter(|prefix| self.advertised.remove(prefix).is_some()));
            }
        }
        let withdrawn: Vec<_> = withdrawn.into_iter().map(|prefix| renaming.outbound(prefix)).collect();
        messages + write_withdrawals(&withdrawn, out)
    }
}

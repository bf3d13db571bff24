//! The ranges of published tags as rows list them: one list for all rows that are about the same.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::memo::{Kept, Pool, Same};
use crate::model::{Network, Prefixes, PublishedTagIx};

/// Which addresses a row can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) enum Families {
    V4,
    V6,
    Both,
}

/// Lists made so far, by what they are of.
pub(in crate::compile) struct Published<'a> {
    network: &'a Network,
    lists: HashMap<(Vec<PublishedTagIx>, Families), Same<Prefixes>>,
    pool: Pool<'a, Prefixes>,
}

impl<'a> Published<'a> {
    pub(in crate::compile) fn of(network: &'a Network, earlier: &'a Kept<Prefixes>) -> Self {
        Self { network, lists: HashMap::new(), pool: Pool::after(earlier) }
    }

    /// Every range of these tags, as published.
    pub(in crate::compile) fn ranges(&mut self, tags: &[PublishedTagIx], families: Families) -> Same<Prefixes> {
        let list = self.lists.entry((tags.to_vec(), families)).or_insert_with(|| {
            let all = tags.iter().flat_map(|tag| self.network.service_tag(*tag).prefixes.iter().copied());
            let mut ranges: Vec<_> = all.filter(|range| families.have(range)).collect();
            ranges.sort_unstable();
            ranges.dedup();
            self.pool.share(Prefixes::Many(ranges.into()))
        });
        list.clone()
    }

    pub(in crate::compile) fn into_kept(self) -> Kept<Prefixes> {
        self.pool.into_kept()
    }
}

impl Families {
    pub(in crate::compile) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn have(self, range: &IpNet) -> bool {
        match (self, range) {
            (Self::V4 | Self::Both, IpNet::V4(_)) | (Self::V6 | Self::Both, IpNet::V6(_)) => true,
            (Self::V4, IpNet::V6(_)) | (Self::V6, IpNet::V4(_)) => false,
        }
    }
}

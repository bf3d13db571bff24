//! Links with a remote virtual network that has been deleted (PEER-04): Azure keeps them, so a file may.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::schema::{Document, Peering};
use crate::model::{LinkWords, Links, LostLink, VnetIx};

use super::names::or_unnamed;

/// Takes the links out of a file that lead to no virtual network of it and are made already. Others that lead nowhere
/// are mistakes, and stay.
pub(super) fn take(document: &mut Document, existing: &Links) -> Vec<LostLink> {
    let names = document.virtual_networks.iter().map(|vnet| or_unnamed(&vnet.name).to_lowercase());
    let known: HashSet<String> = names.collect();
    let is_lost = |link: &Peering| remote(link).is_some_and(|remote| !known.contains(&remote.to_lowercase()));
    let mut lost = Vec::new();
    for (at, vnet) in document.virtual_networks.iter_mut().enumerate() {
        if !vnet.peerings.iter().any(is_lost) {
            continue;
        }
        let vnet = Arc::make_mut(vnet);
        let (name, location) = (or_unnamed(&vnet.name), vnet.location.as_ref().map_or("", |location| &location.value));
        let mut place = 0;
        vnet.peerings.retain(|link| {
            place += 1;
            let words = LinkWords {
                own: (&name, location),
                name: link.name.as_ref().map_or("", |name| &name.value),
                remote: remote(link).unwrap_or_default(),
                flags: [
                    link.allow_virtual_network_access,
                    link.allow_forwarded_traffic,
                    link.allow_gateway_transit,
                    link.use_remote_gateways.as_ref().is_some_and(|flag| flag.value),
                ],
            };
            let found = is_lost(link).then(|| LostLink::existing(existing, VnetIx(at), place - 1, &words)).flatten();
            let stays = found.is_none();
            lost.extend(found);
            stays
        });
    }
    lost
}

fn remote(link: &Peering) -> Option<&str> {
    link.remote.as_ref().map(|reference| reference.value[0].as_str())
}

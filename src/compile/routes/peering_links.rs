//! Peering links, reduced to what forwarding needs: the connected pairs, and the checks of each side's flags.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::compile::{subnet_id, vnet_id};
use crate::dataplane::{Link, VnetId};
use crate::model::{ForwardedMode, LinkIx, Network, Peering, PeeringAccessMode, PeeringState, VnetIx};

/// A VNet's own links with a counterpart that is connected too: only these carry routes and packets (PEER-02, SYS-09).
pub fn connected(network: &Network, vnet: VnetIx) -> impl Iterator<Item = &Peering> {
    let answered = move |link: &Peering| {
        let theirs = &network.vnet(link.remote).peerings;
        theirs.iter().any(|theirs| theirs.remote == vnet && is_connected(theirs))
    };
    network.vnet(vnet).peerings.iter().filter(move |link| is_connected(link) && answered(link))
}

fn is_connected(link: &Peering) -> bool {
    link.state == PeeringState::Connected
}

/// The same for every VNet at once: a hub has hundreds of links.
pub(in crate::compile) struct Connections<'a>(Vec<Vec<(LinkIx, &'a Peering)>>);

impl<'a> Connections<'a> {
    pub(in crate::compile) fn among(network: &'a Network) -> Self {
        let links = |vnet: VnetIx| network.vnet(vnet).peerings.iter().filter(|link| is_connected(link));
        let vnets = || (0..network.virtual_networks.len()).map(VnetIx);
        let ends = |vnet| links(vnet).map(move |link| (vnet, link.remote));
        let connected: HashSet<_, RandomState> = vnets().flat_map(ends).collect();
        let of = |vnet| {
            let links = (0..).map(|link| LinkIx { vnet, link }).zip(&network.vnet(vnet).peerings);
            links.filter(|(_, link)| is_connected(link) && connected.contains(&(link.remote, vnet))).collect()
        };
        Self(vnets().map(of).collect())
    }

    pub(in crate::compile) fn of(&self, vnet: VnetIx) -> impl Iterator<Item = (LinkIx, &'a Peering)> {
        self.0[vnet.0].iter().copied()
    }
}

/// The links of a VNet, sorted as the packet path searches them.
pub(in crate::compile) fn of(network: &Network, connections: &Connections<'_>, vnet: VnetIx) -> Vec<(VnetId, Link)> {
    let links = connections.of(vnet);
    let mut links: Vec<_> = links.map(|(at, link)| (vnet_id(link.remote), reduced(network, at))).collect();
    links.sort_by_key(|(remote, _)| *remote);
    links
}

fn reduced(network: &Network, at: LinkIx) -> Link {
    let link = network.link(at);
    let explicit_allow = match network.emulation.peering_access {
        PeeringAccessMode::ExplicitAllow => !link.allow_virtual_network_access,
        PeeringAccessMode::TagOnly => false,
    };
    let enforced = match network.emulation.forwarded {
        ForwardedMode::Enforce => !link.allow_forwarded_traffic,
        ForwardedMode::TagOnly => false,
    };
    let sources = enforced.then(|| link.remote_address_space.iter().map(|&prefix| (prefix, ())).collect());
    let participants = network.participants(at).map(|subnets| subnets.into_iter().map(subnet_id).collect());
    Link { explicit_allow, sources, participants }
}

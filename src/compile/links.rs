//! Peering links, reduced to what packets meet: which pairs are connected, and what each side's flags ask of a packet.

use crate::dataplane::{Link, VnetId};
use crate::model::{ForwardedMode, LinkIx, Network, Peering, PeeringAccessMode, PeeringState, VnetIx};

use super::{subnet_id, vnet_id};

/// A VNet's own links whose counterpart is connected too: only these carry routes and packets (PEER-02, SYS-09).
pub fn connected(network: &Network, vnet: VnetIx) -> impl Iterator<Item = &Peering> {
    numbered(network, vnet).map(|(_, link)| link)
}

fn numbered(network: &Network, vnet: VnetIx) -> impl Iterator<Item = (LinkIx, &Peering)> {
    let is_connected = |link: &Peering| link.state == PeeringState::Connected;
    let answered = move |link: &Peering| {
        let theirs = &network.vnet(link.remote).peerings;
        theirs.iter().any(|theirs| theirs.remote == vnet && is_connected(theirs))
    };
    let links = network.vnet(vnet).peerings.iter().enumerate();
    let links = links.filter(move |(_, link)| is_connected(link) && answered(link));
    links.map(move |(i, link)| (LinkIx { vnet, link: i }, link))
}

/// The links of a VNet, sorted as the packet path searches them.
pub(super) fn of(network: &Network, vnet: VnetIx) -> Vec<(VnetId, Link)> {
    let mut links: Vec<_> =
        numbered(network, vnet).map(|(at, link)| (vnet_id(link.remote), reduced(network, at))).collect();
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

//! The life of peering links: what a running network knows of them that its file does not say (PEER-01 to 04, 15 to
//! 19).
//!
//! One idea: a file lists the wanted links; what state each is in, and which ranges of the other side it has
//! seen, follows from what was there before. So a step is a pure function of the links before and the network wanted,
//! and Azure's verbs (put, delete, sync) are steps too. Nothing here compiles, publishes or stores.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{LinkWords, LostLink, Network, Peering, PeeringExtent, PeeringState, VirtualNetwork, VnetIx};

/// A link: its VNet, and its index in [`super::VirtualNetwork::peerings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkIx {
    pub vnet: VnetIx,
    pub link: usize,
}

/// All current links of a network, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links(Vec<Link>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) own: Side,
    pub(super) remote: Side,
    pub(super) name: String,
    pub(super) state: PeeringState,
    pub(super) remote_address_space: Vec<IpNet>,
    pub(super) flags: [bool; 4],
    /// None where complete virtual networks are peered.
    #[serde(default)]
    pub(super) subnets: Option<SubnetNames>,
}

/// What a subnet peering names, as a file writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetNames {
    pub local: Vec<String>,
    pub remote: Vec<String>,
    pub only_ipv6: bool,
}

/// A VNet. One that moves to another region is another one: Azure has to make it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) location: String,
}

/// The sides with an address space that changed since a link's two sides last agreed (PEER-15, PEER-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SyncLevel {
    FullyInSync,
    LocalNotInSync,
    RemoteNotInSync,
    LocalAndRemoteNotInSync,
}

/// Why Azure refuses a step. Links are named `VNET/LINK`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeeringError {
    /// PEER-03
    #[error(
        "RemotePeeringIsDisconnected: Cannot create or update peering {link} because remote peering {remote} referencing \
         parent virtual network {vnet} is in Disconnected state. Update or re-create the remote peering to get it back to \
         Initiated state. Peering gets Disconnected when remote vnet or remote peering is deleted and re-created"
    )]
    RemotePeeringIsDisconnected { link: String, remote: String, vnet: String },
    /// PEER-07
    #[error(
        "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet: {theirs}, which peering {link} still routes to {remote}, \
         overlaps {ours} of {other}"
    )]
    VnetAddressSpaceOverlapsWithAlreadyPeeredVnet {
        link: String,
        remote: String,
        theirs: IpNet,
        ours: IpNet,
        other: String,
    },
    /// PEER-52
    #[error(
        "cannot update peering {link}: a peering of complete virtual networks cannot become one of subnets, nor the \
         other way round (PEER-52)"
    )]
    TypeOfPeeringCannotChange { link: String, counterpart: Option<String> },
}

impl PeeringError {
    /// How to resolve it.
    pub fn help(&self) -> String {
        match self {
            Self::RemotePeeringIsDisconnected { remote, .. } => format!(
                "`vnet peering rm {remote}` and apply again: then both links are made; \
                 or `vnet peering sync {remote}` first, which puts it back to Initiated"
            ),
            Self::VnetAddressSpaceOverlapsWithAlreadyPeeredVnet { link, .. } => {
                format!("`vnet peering sync {link}` first, so that it forgets ranges that are gone")
            }
            Self::TypeOfPeeringCannotChange { link, counterpart } => {
                let both = counterpart.iter().map(|other| format!(" and `vnet peering rm {other}`"));
                format!("delete and create it: `vnet peering rm {link}`{}, then apply again", both.collect::<String>())
            }
        }
    }
}

impl Links {
    /// The links of a network.
    pub fn of(network: &Network) -> Self {
        let side = |vnet: VnetIx| {
            let vnet = network.vnet(vnet);
            Side { name: vnet.name.clone(), location: vnet.location.clone() }
        };
        let link = |at: LinkIx| {
            let link = network.link(at);
            Link {
                own: side(at.vnet),
                remote: side(link.remote),
                name: link.name.clone(),
                state: link.state,
                remote_address_space: link.remote_address_space.clone(),
                flags: flags(link),
                subnets: network.subnet_names(at),
            }
        };
        let lost = network.lost_links.iter().map(|lost| lost.link.clone());
        Self(network.links().map(link).chain(lost).collect())
    }

    /// The link that a file has, if it exists unchanged. A virtual network in another region is another one.
    pub(super) fn named(&self, LinkWords { own, name, remote, flags }: &LinkWords<'_>) -> Option<&Link> {
        self.0.iter().find(|link| {
            same_name(&link.own.name, own.0)
                && link.own.location == own.1
                && same_name(&link.name, name)
                && same_name(&link.remote.name, remote)
                && link.flags == *flags
        })
    }

    /// The ranges that a virtual network routes to another one that it is peered with.
    pub fn routed(&self, own: &str, remote: &str) -> Option<&[IpNet]> {
        let is =
            |link: &&Link| link.own.name.eq_ignore_ascii_case(own) && link.remote.name.eq_ignore_ascii_case(remote);
        let link = self.0.iter().find(is).filter(|link| link.state == PeeringState::Connected)?;
        Some(&link.remote_address_space)
    }

    /// Whether a link of a later file is here already and is the same, so that no write is needed.
    pub fn stays(&self, vnets: &[VirtualNetwork], at: LinkIx) -> bool {
        let (own, link) = (&vnets[at.vnet.0], &vnets[at.vnet.0].peerings[at.link]);
        let remote = &vnets[link.remote.0];
        let known = self.0.iter().find(|known| known.is(own, &link.name, remote));
        known.is_some_and(|known| !known.differs(link, remote, subnet_names(vnets, at).as_ref()))
    }

    /// The links that a later file has no more, not among those that lost their remote either, of virtual networks that
    /// it has: with their own VNets, by name.
    pub fn removed(&self, vnets: &[VirtualNetwork], lost: &[LostLink]) -> impl Iterator<Item = (VnetIx, &str)> {
        self.0.iter().filter_map(move |link| {
            let own = vnets.iter().position(|vnet| same_name(&vnet.name, &link.own.name))?;
            let mut links = vnets[own].peerings.iter();
            let stays = links
                .any(|other| vnets.get(other.remote.0).is_some_and(|remote| link.is(&vnets[own], &other.name, remote)));
            let is_lost = || lost.iter().any(|lost| lost.vnet == VnetIx(own) && same_name(lost.name(), &link.name));
            (!stays && !is_lost()).then_some((VnetIx(own), link.name.as_str()))
        })
    }

    /// Puts a file's network in place of the one with these links: links that are not in the file are deleted, those
    /// that say something else are put again, then the new ones are made. Returns the network with its links as they
    /// then stand, or why Azure refuses; it does not sync (PEER-18).
    pub fn advance(&self, mut network: Network) -> Result<Network, Vec<PeeringError>> {
        let staying = self.staying(&network);
        let mut outdated = Vec::new();
        for (&at, before) in &staying {
            let answered = network.counterpart(at).is_some_and(|counterpart| staying.contains_key(&counterpart));
            let (state, keeps_view) = before.after(&network, at, answered);
            let view = &before.remote_address_space;
            let link = network.link_mut(at);
            link.state = state;
            if keeps_view && link.remote_address_space != *view {
                link.remote_address_space.clone_from(view);
                outdated.push(at);
            }
        }
        network.answer_implied_links();
        let created = network.links().filter(|at| !staying.contains_key(at) && !network.link(*at).implied);
        let refused = created.filter_map(|at| network.disconnected_counterpart(at));
        let changed = staying.iter().filter_map(|(&at, before)| before.type_change(&network, at));
        let overlapping = outdated.iter().filter_map(|at| network.view_overlap(*at));
        let errors: Vec<_> = refused.chain(changed).chain(overlapping).collect();
        if errors.is_empty() { Ok(network) } else { Err(errors) }
    }

    /// The links of a later network that are here already: an object keeps its name and both its ends.
    fn staying(&self, network: &Network) -> BTreeMap<LinkIx, &Link> {
        let key = |own: &str, link: &str, remote: &str| [own, link, remote].map(str::to_lowercase);
        let by_name: HashMap<_, _> =
            self.0.iter().map(|link| (key(&link.own.name, &link.name, &link.remote.name), link)).collect();
        let same = |at: LinkIx| {
            let (own, link) = (network.vnet(at.vnet), network.link(at));
            let before = *by_name.get(&key(&own.name, &link.name, &network.vnet(link.remote).name))?;
            (before.own.location == own.location).then_some((at, before))
        };
        network.links().filter_map(same).collect()
    }
}

impl Link {
    /// The state of this link, which is in the file still, and whether it keeps its view of the other side. `answered`:
    /// its counterpart is there still too.
    fn after(&self, network: &Network, at: LinkIx, answered: bool) -> (PeeringState, bool) {
        let wanted = network.link(at);
        let remote = network.vnet(wanted.remote);
        let states_view = states_view(wanted, remote);
        let remade = remote.location != self.remote.location;
        let left = match self.state {
            PeeringState::Connected if !answered => PeeringState::Disconnected,
            _ if remade => PeeringState::Disconnected,
            state => state,
        };
        let names = network.subnet_names(at);
        let put = self.differs(wanted, remote, names.as_ref());
        // A link that names other subnets sees those as they are.
        let renamed = |names: &Option<SubnetNames>| names.as_ref().map(|names| (names.remote.clone(), names.only_ipv6));
        let keeps_view = !states_view && renamed(&self.subnets) == renamed(&names);
        match left {
            // Initiated, or Connected where the other side is made now.
            PeeringState::Disconnected if put => (wanted.state, false),
            PeeringState::Initiated => (wanted.state, keeps_view),
            PeeringState::Connected | PeeringState::Disconnected => (left, keeps_view),
        }
    }

    /// An object keeps its name and both its ends; a VNet that has moved is another one.
    fn is(&self, own: &VirtualNetwork, name: &str, remote: &VirtualNetwork) -> bool {
        let named = [(&*self.name, name), (&self.own.name, &own.name), (&self.remote.name, &remote.name)];
        named.into_iter().all(|(known, wanted)| same_name(known, wanted)) && self.own.location == own.location
    }

    /// Whether a link in its place has to be put again.
    fn differs(&self, wanted: &Peering, remote: &VirtualNetwork, names: Option<&SubnetNames>) -> bool {
        self.flags != flags(wanted)
            || self.subnets.as_ref() != names
            || states_view(wanted, remote) && wanted.remote_address_space != self.remote_address_space
    }

    fn type_change(&self, network: &Network, at: LinkIx) -> Option<PeeringError> {
        let changes = self.subnets.is_some() != network.subnet_names(at).is_some();
        changes.then(|| PeeringError::TypeOfPeeringCannotChange {
            link: network.link_name(at),
            counterpart: network.counterpart(at).map(|other| network.link_name(other)),
        })
    }
}

/// Azure's operations on existing links.
impl Network {
    /// Every link, by VNet.
    pub fn links(&self) -> impl Iterator<Item = LinkIx> + use<> {
        let counts: Vec<usize> = self.virtual_networks.iter().map(|vnet| vnet.peerings.len()).collect();
        let links = |(vnet, count)| (0..count).map(move |link| LinkIx { vnet: VnetIx(vnet), link });
        counts.into_iter().enumerate().flat_map(links)
    }

    pub fn link(&self, at: LinkIx) -> &Peering {
        &self.vnet(at.vnet).peerings[at.link]
    }

    /// `VNET/LINK`; for the side that Azure keeps, of the link that it answers.
    pub fn link_name(&self, at: LinkIx) -> String {
        let link = self.link(at);
        if link.implied {
            return format!("{}/{}", self.vnet(link.remote).name, link.name);
        }
        format!("{}/{}", self.vnet(at.vnet).name, self.link(at).name)
    }

    /// The other side's link.
    pub fn counterpart(&self, at: LinkIx) -> Option<LinkIx> {
        let remote = self.link(at).remote;
        let link = self.vnet(remote).peerings.iter().position(|link| link.remote == at.vnet)?;
        Some(LinkIx { vnet: remote, link })
    }

    /// The subnets that a subnet peering's link names; None where complete virtual networks are peered.
    pub fn subnet_names(&self, at: LinkIx) -> Option<SubnetNames> {
        subnet_names(&self.virtual_networks, at)
    }

    /// What the two sides know of each other (PEER-16). A link without a counterpart knows of the remote's change
    /// alone.
    pub fn sync_level(&self, at: LinkIx) -> SyncLevel {
        let sees = |at: LinkIx| {
            let link = self.link(at);
            same_ranges(&link.remote_address_space, &link.remote_ranges(self.vnet(link.remote)))
        };
        match (self.counterpart(at).is_none_or(sees), sees(at)) {
            (true, true) => SyncLevel::FullyInSync,
            (false, true) => SyncLevel::LocalNotInSync,
            (true, false) => SyncLevel::RemoteNotInSync,
            (false, false) => SyncLevel::LocalAndRemoteNotInSync,
        }
    }

    /// Puts a link again with the ranges that its remote has now (PEER-17): one that was left behind is Initiated then.
    /// The other side's link keeps its view, unless Azure keeps that link itself.
    pub fn sync_link(&mut self, at: LinkIx) -> Result<(), PeeringError> {
        let implied = self.counterpart(at).filter(|other| self.link(*other).implied);
        // Azure answers at once.
        let put = if implied.is_some() { PeeringState::Connected } else { PeeringState::Initiated };
        let links: Vec<LinkIx> = [Some(at), implied].into_iter().flatten().collect();
        for at in &links {
            let space = self.seen_now(*at);
            let link = self.link_mut(*at);
            link.remote_address_space = space;
            if link.state == PeeringState::Disconnected {
                link.state = put;
            }
        }
        links.iter().find_map(|at| self.view_overlap(*at)).map_or(Ok(()), Err)
    }

    /// Brings every peering up to date. A link that was left behind stays so: it has no other side.
    pub fn sync_all_links(&mut self) {
        for at in self.links() {
            let space = self.seen_now(at);
            let link = self.link_mut(at);
            if link.state != PeeringState::Disconnected {
                link.remote_address_space = space;
            }
        }
    }

    /// Deletes a link; the other side's is left behind (PEER-03).
    pub fn remove_link(&mut self, at: LinkIx) {
        if let Some(other) = self.counterpart(at) {
            if self.link(other).implied {
                self.virtual_networks[other.vnet.0].peerings.remove(other.link);
            } else {
                self.link_mut(other).state = PeeringState::Disconnected;
            }
        }
        self.virtual_networks[at.vnet.0].peerings.remove(at.link);
    }

    /// A link by `VNET/LINK`, or by its name alone where only one link has it.
    pub fn find_link(&self, name: &str) -> Result<LinkIx, String> {
        let matches = |at: &LinkIx| same_name(&self.link_name(*at), name) || same_name(&self.link(*at).name, name);
        let names =
            |links: &mut dyn Iterator<Item = LinkIx>| links.map(|at| self.link_name(at)).collect::<Vec<_>>().join(", ");
        let written = || self.links().filter(|at| !self.link(*at).implied);
        match written().filter(matches).collect::<Vec<_>>()[..] {
            [one] => Ok(one),
            [] if written().next().is_none() => Err(format!("unknown peering `{name}`: this network has none")),
            [] => Err(format!("unknown peering `{name}`: expected one of {}", names(&mut written()))),
            ref several => {
                Err(format!("several peerings are called `{name}`: {}", names(&mut several.iter().copied())))
            }
        }
    }

    fn seen_now(&self, at: LinkIx) -> Vec<IpNet> {
        let link = self.link(at);
        link.remote_ranges(self.vnet(link.remote))
    }

    /// A side that Azure keeps stands as the link that it answers.
    fn answer_implied_links(&mut self) {
        for at in self.links() {
            if let Some(answered) = self.counterpart(at).filter(|_| self.link(at).implied) {
                self.link_mut(at).state = self.link(answered).state;
            }
        }
    }

    fn link_mut(&mut self, at: LinkIx) -> &mut Peering {
        &mut self.virtual_networks[at.vnet.0].peerings[at.link]
    }

    fn disconnected_counterpart(&self, at: LinkIx) -> Option<PeeringError> {
        let other = self.counterpart(at).filter(|other| self.link(*other).state == PeeringState::Disconnected)?;
        let (link, remote) = (self.link_name(at), self.link_name(other));
        let vnet = self.vnet(at.vnet).name.clone();
        Some(PeeringError::RemotePeeringIsDisconnected { link, remote, vnet })
    }

    /// What a link's view of its remote has in common with the VNet itself or its other peers: two equal routes.
    fn view_overlap(&self, at: LinkIx) -> Option<PeeringError> {
        let (own, link) = (self.vnet(at.vnet), self.link(at));
        let others = own
            .peerings
            .iter()
            .filter(|other| other.remote != link.remote && other.state != PeeringState::Disconnected);
        let others = others.map(|other| (&self.vnet(other.remote).name, &other.remote_address_space));
        let parties = [(&own.name, &own.address_space)].into_iter().chain(others);
        let mut pairs = parties.flat_map(|(other, ranges)| ranges.iter().map(move |ours| (other, *ours)));
        let meets = |ours: &IpNet| {
            link.remote_address_space.iter().copied().find(|theirs| theirs.contains(ours) || ours.contains(theirs))
        };
        let (other, ours, theirs) = pairs.find_map(|(other, ours)| Some((other.clone(), ours, meets(&ours)?)))?;
        let remote = self.vnet(link.remote).name.clone();
        let link = self.link_name(at);
        Some(PeeringError::VnetAddressSpaceOverlapsWithAlreadyPeeredVnet { link, remote, theirs, ours, other })
    }
}

fn subnet_names(vnets: &[VirtualNetwork], at: LinkIx) -> Option<SubnetNames> {
    let link = &vnets[at.vnet.0].peerings[at.link];
    let PeeringExtent::Subnets(subnets) = &link.extent else { return None };
    let names = |vnet: VnetIx, subnets: &[usize]| {
        subnets.iter().map(|&subnet| vnets[vnet.0].subnets[subnet].name.clone()).collect()
    };
    let (local, remote) = (names(at.vnet, &subnets.local), names(link.remote, &subnets.remote));
    Some(SubnetNames { local, remote, only_ipv6: subnets.only_ipv6 })
}

/// Where a file leaves out a link's view, the view has the remote's own ranges.
fn states_view(wanted: &Peering, remote: &VirtualNetwork) -> bool {
    !same_ranges(&wanted.remote_address_space, &wanted.remote_ranges(remote))
}

/// As ARM compares names.
fn same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn same_ranges(a: &[IpNet], b: &[IpNet]) -> bool {
    a.len() == b.len() && a.iter().all(|range| b.contains(range))
}

fn flags(link: &Peering) -> [bool; 4] {
    [
        link.allow_virtual_network_access,
        link.allow_forwarded_traffic,
        link.allow_gateway_transit,
        link.use_remote_gateways,
    ]
}

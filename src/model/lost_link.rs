//! Peering links that remain after their remote virtual network was deleted (PEER-04).
//!
//! One idea: such a link joins nothing, so it is no link of its virtual network's list: routing and filtering never
//! meets it. It is listed, it can be removed, and when its remote is made anew it is there as it was, Disconnected.

use super::peering::Link;
use super::{Links, Network, PeeringState, SubnetNames, VnetIx};

/// A link to a virtual network that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLink {
    pub vnet: VnetIx,
    /// Its place among the links that the file has.
    pub place: usize,
    pub(super) link: Link,
}

/// A link as a file writes it.
#[derive(Clone, Copy, Debug)]
pub struct LinkWords<'a> {
    /// Name and location of the virtual network that has it.
    pub own: (&'a str, &'a str),
    pub name: &'a str,
    pub remote: &'a str,
    /// Access, forwarded traffic, gateway transit, remote gateways.
    pub flags: [bool; 4],
}

impl LostLink {
    /// The link of that name as it stands, if it says what the file says: one that changes is put again, and Azure puts
    /// no link without a remote.
    pub fn existing(links: &Links, vnet: VnetIx, place: usize, words: &LinkWords<'_>) -> Option<Self> {
        let link = links.named(words)?.clone();
        Some(Self { vnet, place, link: Link { state: PeeringState::Disconnected, ..link } })
    }

    /// `VNET/LINK`
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.link.own.name, self.link.name)
    }

    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// The virtual network that has gone.
    pub fn remote(&self) -> &str {
        &self.link.remote.name
    }

    /// Its ranges, as they were seen last.
    pub fn remote_address_space(&self) -> &[ipnet::IpNet] {
        &self.link.remote_address_space
    }

    /// Access, forwarded traffic, gateway transit, remote gateways.
    pub fn flags(&self) -> [bool; 4] {
        self.link.flags
    }

    pub fn subnets(&self) -> Option<&SubnetNames> {
        self.link.subnets.as_ref()
    }
}

impl Network {
    /// A lost link by `VNET/LINK`, or by its name alone where only one has it: its index in [`Network::lost_links`].
    pub fn find_lost_link(&self, name: &str) -> Option<usize> {
        let is =
            |lost: &LostLink| lost.full_name().eq_ignore_ascii_case(name) || lost.link.name.eq_ignore_ascii_case(name);
        let mut found = self.lost_links.iter().enumerate().filter(|(_, lost)| is(lost));
        let (only, _) = found.next()?;
        found.next().is_none().then_some(only)
    }
}

//! Ranges that may not overlap across a peering (PEER-07, PEER-51), reported in Azure's words.

use std::collections::HashSet;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::schema;
use crate::config::yaml::diagnostic::{At, Diagnostic, Report};
use crate::model::{Links, Peering, PeeringExtent, VirtualNetwork, VnetIx};

use super::address::{intersect, overlaps};

/// A range overlaps with that of a peer, or of two peers.
const ALREADY_PEERED: &str = "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet";

/// Pairs of virtual networks with an overlap that has been reported: it concerns both their links.
pub(super) type Reported = HashSet<(VnetIx, VnetIx)>;

/// A virtual network and its links, each with its site.
pub(super) struct Peered<'a> {
    pub own: VnetIx,
    pub links: Vec<(&'a Peering, At)>,
    pub vnets: &'a [VirtualNetwork],
    pub documents: &'a [Arc<schema::VirtualNetwork>],
    /// The links that are made already.
    pub existing: &'a Links,
}

impl Peered<'_> {
    pub(super) fn check(&self, reported: &mut Reported, report: &mut Report) {
        for (link, at) in &self.links {
            let overlapping = self.own_overlaps(link);
            let pair = (self.own.min(link.remote), self.own.max(link.remote));
            if !overlapping.is_empty() && reported.insert(pair) {
                match self.grown(link) {
                    Some(grown) => self.grew_into_peer(grown, link, &overlapping, report),
                    None => self.spaces_overlap(link, *at, &overlapping, report),
                }
            }
        }
        self.check_remotes(report);
    }

    /// The overlaps between the virtual network and one peer. In a subnet peering, what is taken by the ranges of the
    /// address spaces that hold the subnets: an unpeered subnet in such a range counts too (PEER-51).
    fn own_overlaps(&self, link: &Peering) -> Vec<IpNet> {
        let (own, remote) = (&self.vnets[self.own.0], &self.vnets[link.remote.0]);
        match link.extent {
            PeeringExtent::CompleteVnets => {
                let pairs = own.address_space.iter().flat_map(|a| remote.address_space.iter().map(move |b| [*a, *b]));
                pairs.filter(|[a, b]| intersect(a, b)).flatten().collect()
            }
            PeeringExtent::Subnets(_) => {
                let sides = [(link.local_ranges(own), own, remote), (link.remote_ranges(remote), remote, own)];
                let taken = |(ranges, vnet, other): (Vec<IpNet>, &VirtualNetwork, &VirtualNetwork)| {
                    let holder = |range: &IpNet| vnet.address_space.iter().find(|space| space.contains(range)).copied();
                    let unique = |space: IpNet| !other.address_space.iter().any(|other| intersect(other, &space));
                    ranges.into_iter().filter(|range| holder(range).is_some_and(|space| !unique(space))).collect()
                };
                sides.into_iter().flat_map(|side| -> Vec<IpNet> { taken(side) }).collect()
            }
        }
    }

    /// Two peers of one virtual network would be two equal routes in it.
    fn check_remotes(&self, report: &mut Report) {
        let joined = |(party, (link, _)): (usize, &(&Peering, At))| {
            link.remote_ranges(&self.vnets[link.remote.0]).into_iter().map(move |range| (range, party)).collect()
        };
        let owned: Vec<(IpNet, usize)> =
            self.links.iter().enumerate().flat_map(|link| -> Vec<(IpNet, usize)> { joined(link) }).collect();
        let ranges: Vec<IpNet> = owned.iter().map(|(range, _)| *range).collect();
        let mut clashes: Vec<((usize, usize), Vec<IpNet>)> = Vec::new();
        for (outer, inner) in overlaps(&ranges) {
            let pair = (owned[outer].1.min(owned[inner].1), owned[outer].1.max(owned[inner].1));
            if pair.0 == pair.1 {
                continue;
            }
            match clashes.iter_mut().find(|(other, _)| *other == pair) {
                Some((_, inside)) => inside.push(ranges[inner]),
                None => clashes.push((pair, vec![ranges[inner]])),
            }
        }
        for ((first, second), inside) in clashes {
            self.peers_overlap(self.links[first].0, self.links[second], &inside, report);
        }
    }

    /// Which of two complete virtual networks that are peered already has a range that it did not have then.
    fn grown(&self, link: &Peering) -> Option<VnetIx> {
        let complete = matches!(link.extent, PeeringExtent::CompleteVnets);
        let has_grown = |vnet: VnetIx, peer: VnetIx| {
            let (vnet, peer) = (&self.vnets[vnet.0], &self.vnets[peer.0]);
            let known = self.existing.routed(&peer.name, &vnet.name)?;
            Some(vnet.address_space.iter().any(|range| !known.contains(range)))
        };
        let sides = [(self.own, link.remote), (link.remote, self.own)];
        let mut grown = sides.into_iter().filter(|(vnet, peer)| has_grown(*vnet, *peer) == Some(true));
        grown.next().map(|(vnet, _)| vnet).filter(|_| complete)
    }

    fn grew_into_peer(&self, grown: VnetIx, link: &Peering, ranges: &[IpNet], report: &mut Report) {
        let peer = if grown == self.own { link.remote } else { self.own };
        let [grown_name, peer] = [grown, peer].map(|vnet| &self.vnets[vnet.0].name);
        let message = format!(
            "Cannot update virtual network {grown_name}. Its address space overlaps with address space of virtual network \
             {peer} already peered with it. Overlapping address prefixes: {}",
            list(ranges)
        );
        let document = &self.documents[grown.0];
        let at = document.address_space.as_ref().map_or(document.at, |space| space.at);
        overlap_rule(report.error(at, message).code(ALREADY_PEERED), "PEER-07");
    }

    fn spaces_overlap(&self, link: &Peering, at: At, ranges: &[IpNet], report: &mut Report) {
        let (own, remote) = (&self.vnets[self.own.0].name, &self.vnets[link.remote.0].name);
        let message = format!(
            "Cannot create or update peering {}. Virtual networks {own} and {remote} cannot be peered because their \
             address spaces overlap. Overlapping address prefixes: {}",
            self.link_name(link),
            list(ranges)
        );
        let diagnostic = report.error(at, message).code("VnetAddressSpacesOverlap");
        match link.extent {
            PeeringExtent::CompleteVnets => overlap_rule(diagnostic, "PEER-07"),
            PeeringExtent::Subnets(_) => {
                overlap_rule(diagnostic, "PEER-51").expected("subnets in ranges that only one of the two has")
            }
        };
    }

    /// `VNET/LINK`, of the link that a file has.
    fn link_name(&self, link: &Peering) -> String {
        let vnet = if link.implied { link.remote } else { self.own };
        format!("{}/{}", self.vnets[vnet.0].name, link.name)
    }

    fn peers_overlap(&self, first: &Peering, (second, at): (&Peering, At), ranges: &[IpNet], report: &mut Report) {
        let name = |vnet: VnetIx| &self.vnets[vnet.0].name;
        let (own, first_name, second_name) = (name(self.own), name(first.remote), name(second.remote));
        let message = format!(
            "Cannot create or update peering {}. Virtual networks {second_name} and {own} cannot be peered because \
             address space of the first virtual network overlaps with address space of virtual network {first_name} already \
             peered with the second virtual network. Overlapping address prefixes: {}",
            self.link_name(second),
            list(ranges)
        );
        overlap_rule(report.error(at, message).code(ALREADY_PEERED), "PEER-07");
    }
}

fn overlap_rule<'r>(diagnostic: &'r mut Diagnostic, rule: &'static str) -> &'r mut Diagnostic {
    diagnostic.rule(rule).help("give one of the two other ranges")
}

fn list(ranges: &[IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

//! Virtual networks that are connected only over others: peering is not transitive, so appliances must forward.
//!
//! One idea: each hop needs its own route (CH-04) to the appliance in the next network of the chain. The answer returns
//! through the same machines, each hop by its own route again (CH-03).

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::Edit;
use crate::analysis::query::names::{nic_name, subnet_name};
use crate::analysis::walk::{Leg, Walk};
use crate::compile::{Sender, connected};
use crate::dataplane::{NextHop, NicId};
use crate::model::VnetIx;

use super::forwarders::{Choice, Forwarder};
use super::{Case, Diagnosis};

impl Case<'_> {
    /// Two VNets without a link: others may connect them, perhaps with appliances that can forward the packet.
    pub(super) fn not_transitive(&self, leg: &Leg, own: VnetIx, home: VnetIx) -> Diagnosis {
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        let Some(between) = self.between(own, home) else {
            return self.peer(format!("VNet {a} and VNet {b} are not peered"), own, home);
        };
        let names: Vec<_> = between.iter().map(|vnet| self.vnet_name(*vnet)).collect();
        let linked = match &names[..] {
            [hub] => format!("both are peered with {hub}"),
            chain => format!("between them are {}", chain.join(" and ")),
        };
        let cause = format!("VNet {a} and VNet {b} are not peered: {linked}, but peering is not transitive");
        match self.choose(leg, between.first().copied()) {
            Choice::One(hop, why) => {
                let to = format!("{hop}{why}");
                self.route_through(leg, cause, home, &hop, &to)
            }
            Choice::Several(hops) => {
                let subnet = subnet_name(self.names.network, self.names.subnet(leg.router()));
                let (prefix, hops) = (self.range_of(home), Choice::list(&hops));
                self.prose(cause, format!("route {prefix} from subnet {subnet} to one of its appliances: {hops}"))
            }
            Choice::None => self.peer(cause, own, home),
        }
    }

    /// An appliance's own route leads packets back to it. Where networks are connected only over others, it gets a longer
    /// route to the next appliance.
    pub(super) fn onward(&self, leg: &Leg, cause: &str) -> Option<Diagnosis> {
        let (own, home) = (self.names.vnet(leg.router()), self.home(self.walk.dst)?);
        if own == home || connected(self.names.network, own).any(|link| link.remote == home) {
            return None;
        }
        let Choice::One(hop, why) = self.choose(leg, self.between(own, home)?.first().copied()) else { return None };
        Some(self.route_through(leg, cause.to_owned(), home, &hop, &format!("{hop}{why}")))
    }

    /// The networks of a shortest chain of connected peerings between two; one where each network has an appliance, if
    /// there is such a chain.
    fn between(&self, own: VnetIx, home: VnetIx) -> Option<Vec<VnetIx>> {
        let carries = |vnet: VnetIx| !self.forwarders(vnet).is_empty();
        self.chain(own, home, carries).or_else(|| self.chain(own, home, |_| true))
    }

    fn chain(&self, own: VnetIx, home: VnetIx, may: impl Fn(VnetIx) -> bool) -> Option<Vec<VnetIx>> {
        let (mut before, mut open) = (BTreeMap::from([(own, own)]), VecDeque::from([own]));
        while let Some(at) = open.pop_front().filter(|_| !before.contains_key(&home)) {
            for next in connected(self.names.network, at).map(|link| link.remote) {
                if !before.contains_key(&next) && (next == home || may(next)) {
                    before.insert(next, at);
                    open.push_back(next);
                }
            }
        }
        let step = |at: &VnetIx| before.get(at).copied().filter(|next| *next != own);
        let mut chain: Vec<_> = iter::successors(step(&home), step).collect();
        chain.reverse();
        Some(chain).filter(|chain| !chain.is_empty())
    }

    /// The next appliance or gateway according to the other direction, if it passes any.
    pub(super) fn expected(&self, leg: &Leg) -> Option<Forwarder> {
        match self.request {
            Some(request) => self.through_which_it_came(request, leg),
            None => self.on_the_answers_way(leg),
        }
    }

    /// What a fix says of a next hop that the other direction passes.
    pub(super) fn other_way(&self) -> &'static str {
        if self.request.is_some() { "the request's way" } else { "the answer's way" }
    }

    /// The request passed appliances or a gateway; here the answer has no route to the next one on the path back (CH-03).
    pub(super) fn no_way_back(&self, leg: &Leg, home: VnetIx) -> Option<Diagnosis> {
        let to = self.through_which_it_came(self.request?, leg)?;
        let subnet = subnet_name(self.names.network, self.names.subnet(leg.router()));
        let cause = format!(
            "no route back: the request came through {to}, but subnet {subnet} has no route to {} through it",
            self.walk.dst
        );
        Some(self.route_through(leg, cause, home, &to, &to.to_string()))
    }

    /// The next hop of a route to an appliance: its own address, or the frontend that the request used.
    pub(super) fn met_at(&self, request: &Walk, appliance: NicId) -> Option<(IpAddr, String)> {
        let Sender::Nic(nic) = self.names.compiled.sender(appliance) else { return None };
        let onward = request.legs.iter().position(|leg| leg.from == appliance)?;
        let came = request.legs[..onward].last()?;
        if let Some((fib, route, NextHop::Frontend(id))) = came.route() {
            let address = *self.names.compiled.route(fib, route).next_hop_ip.first()?;
            let (at, _) = self.names.network.frontends().nth(id.0 as usize)?;
            return Some((address, self.names.frontend(at)));
        }
        Some((self.address_of(nic)?, nic_name(self.names.network, nic)))
    }

    fn route_through(&self, leg: &Leg, cause: String, home: VnetIx, hop: &Forwarder, to: &str) -> Diagnosis {
        let (network, prefix) = (self.names.network, self.range_of(home));
        if let Some(diagnosis) = self.wrong_range(leg, home, hop).or_else(|| self.mistyped(leg, hop)) {
            return diagnosis;
        }
        let subnet = self.names.subnet(leg.router());
        let mut edit = self.edit();
        edit.route(subnet, &format!("to-{}", self.vnet_name(home)), prefix, &hop.next_hop);
        let lent = self.lend(&mut edit, subnet.vnet, hop);
        let text = format!("route {prefix} from subnet {} to {to}{lent}", subnet_name(network, subnet));
        let added = Diagnosis::with_fix(cause.clone(), text, edit);
        match self.table_meant(leg, hop) {
            Some((text, edit)) => Diagnosis::with_fix(cause, text, edit).meant().or(added),
            None => added,
        }
    }

    /// Has a virtual network use the gateway that its route leads to, and says so.
    pub(super) fn lend(&self, edit: &mut Edit, own: VnetIx, hop: &Forwarder) -> String {
        let Some(lender) = hop.lender else { return String::new() };
        edit.use_gateways(own, lender);
        format!(", and let VNet {} use it (PEER-30)", self.vnet_name(own))
    }

    /// The range of a network that contains the destination.
    pub(super) fn range_of(&self, home: VnetIx) -> IpNet {
        let mut space = self.names.network.vnet(home).address_space.iter();
        space.find(|prefix| prefix.contains(&self.walk.dst)).copied().unwrap_or_else(|| self.walk.dst.into())
    }
}

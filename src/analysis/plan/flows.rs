//! The interfaces whose flows a change affects: it compares the tables that decide their packets, before and after.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ptr;

use crate::analysis::query::names::Names;
use crate::compile::{Compiled, Sender};
use crate::dataplane::{AclId, Edge, Fib, FibId, Filters, Link, NextHop, NicId, PortId, SubnetId, VnetId};
use crate::model::{Network, NicIx};

use super::{Effect, TouchedFlows};

/// The affected interfaces of the network before the change, in its order.
pub(super) fn touched(before: (&Network, &Compiled), after: (&Network, &Compiled)) -> Vec<TouchedFlows> {
    let names = |(network, compiled)| Names { network, compiled };
    let mut change = Change {
        before: names(before),
        after: names(after),
        routes: HashMap::new(),
        rules: HashMap::new(),
        links: HashMap::new(),
        participation: HashMap::new(),
    };
    let senders = before.1.ids().senders();
    senders
        .filter_map(|(nic, sender)| {
            Some(TouchedFlows { nic: names(before).nic(nic), effect: change.effect(nic, sender)? })
        })
        .collect()
}

struct Change<'a> {
    before: Names<'a>,
    after: Names<'a>,
    /// Whether two tables decide packets alike: many interfaces share one.
    routes: HashMap<(FibId, FibId), bool>,
    rules: HashMap<(AclId, AclId), bool>,
    links: HashMap<(VnetId, VnetId), SameLinks>,
    participation: HashMap<(SubnetKey, SubnetKey), bool>,
}

/// A subnet, by its ids in the tables.
type SubnetKey = (VnetId, SubnetId);

/// Which properties of a VNet's links are unchanged.
#[derive(Clone, Copy)]
struct SameLinks {
    sources: bool,
    access: bool,
}

impl Change<'_> {
    fn effect(&mut self, nic: NicId, sender: Sender) -> Option<Effect> {
        let Some(now) = self.after.compiled.ids().sender(nic) else { return Some(Effect::End) };
        if !matches!(sender, Sender::Nic(_) | Sender::Subnet(_)) {
            return None;
        }
        let (old, new) = (self.before.compiled.snapshot.nic(nic), self.after.compiled.snapshot.nic(nic));
        match (old.port == PortId::NONE, new.port == PortId::NONE) {
            (true, _) => return None,
            (false, true) => return Some(Effect::End),
            (false, false) => {}
        }
        let stands = old.port == new.port
            && old.forwarding == new.forwarding
            && old.mtu == new.mtu
            && self.same_addresses(sender, now)
            && self.same_instances(nic)
            && self.same_vnet(old.vnet, new.vnet);
        let stands = stands && self.same_participation((old.vnet, old.subnet), (new.vnet, new.subnet));
        let links = self.same_links(old.vnet, new.vnet);
        // Under `flushConnection` running flows are evaluated again (NSG-23).
        let reviewed = |old, new: Option<_>| new.is_some() && old != new;
        let reviews = reviewed(old.flows.outbound_rules, new.flows.outbound_rules)
            || reviewed(old.flows.inbound_rules, new.flows.inbound_rules);
        if !stands || !self.same_routes((nic, old.fib), new.fib) || !links.sources || reviews {
            return Some(Effect::NextPacket);
        }
        let judged_alike = self.same_filters(old.outbound, new.outbound)
            && self.same_filters(old.inbound, new.inbound)
            && links.access
            && self.same_pools(nic);
        (!judged_alike).then_some(Effect::NewFlows)
    }

    fn same_addresses(&self, before: Sender, after: Sender) -> bool {
        match (before, after) {
            (Sender::Nic(before), Sender::Nic(after)) => addresses(self.before, before) == addresses(self.after, after),
            (Sender::Subnet(before), Sender::Subnet(after)) => {
                self.before.network.subnet(before).prefixes == self.after.network.subnet(after).prefixes
            }
            _ => false,
        }
    }

    /// The interface's own public addresses.
    fn same_instances(&self, nic: NicId) -> bool {
        let [old, new] =
            [self.before, self.after].map(|names| edge(names).map_or(&[][..], |edge| &edge.egress(nic).instances));
        old == new
    }

    /// The other sources of outbound translation for a new flow (NAT-05).
    fn same_pools(&self, nic: NicId) -> bool {
        let pools = |names| {
            let edge = edge(names)?;
            let egress = edge.egress(nic);
            Some([egress.nat_gateway, egress.default_outbound].map(|pool| pool.map(|pool| edge.pool(pool))))
        };
        pools(self.before) == pools(self.after)
    }

    fn same_vnet(&self, before: VnetId, after: VnetId) -> bool {
        self.before.vnet_name(before).eq_ignore_ascii_case(self.after.vnet_name(after))
    }

    fn same_routes(&mut self, (nic, before): (NicId, FibId), after: FibId) -> bool {
        if let Some(&known) = self.routes.get(&(before, after)) {
            return known;
        }
        let [old, new] = [self.before, self.after].map(|names| names.compiled.effective_routes(names.subnet(nic)));
        let (old_fib, new_fib) = (self.before.compiled.snapshot.fib(before), self.after.compiled.snapshot.fib(after));
        let mut hops = old_fib.next_hops.iter().zip(&*new_fib.next_hops);
        let same = old == new && hops.all(|(old, new)| self.same_hop((old_fib, *old), (new_fib, *new)));
        self.routes.insert((before, after), same);
        same
    }

    /// Interfaces keep their ids; VNets are numbered by their place in the file.
    fn same_hop(&self, (old, before): (&Fib, NextHop), (new, after): (&Fib, NextHop)) -> bool {
        match (before, after) {
            (NextHop::Vnet(before), NextHop::Vnet(after)) => self.same_vnet(before, after),
            (NextHop::Spread(before), NextHop::Spread(after)) => old.spread(before) == new.spread(after),
            _ => before == after,
        }
    }

    fn same_filters(&mut self, before: Filters, after: Filters) -> bool {
        self.same_rules(before.admin, after.admin)
            && self.same_rules(before.nic, after.nic)
            && self.same_rules(before.subnet, after.subnet)
    }

    fn same_rules(&mut self, before: Option<AclId>, after: Option<AclId>) -> bool {
        let (Some(before), Some(after)) = (before, after) else { return before == after };
        *self.rules.entry((before, after)).or_insert_with(|| {
            let [old, new] =
                [(self.before, before), (self.after, after)].map(|(names, acl)| names.compiled.effective_rules(acl));
            // A rule's name does not matter to a packet.
            ptr::eq(old, new) || old.iter().map(|rule| &rule.matches).eq(new.iter().map(|rule| &rule.matches))
        })
    }

    /// Whether the subnet is part of the same peerings (PEER-53).
    fn same_participation(&mut self, before: SubnetKey, after: SubnetKey) -> bool {
        if let Some(&known) = self.participation.get(&(before, after)) {
            return known;
        }
        let (old, new) = (links(self.before, before.0), links(self.after, after.0));
        let mut pairs = old.iter().filter_map(|(remote, link)| Some((*link, *new.get(remote)?)));
        let same = pairs.all(|(old, new)| old.joins(before.1) == new.joins(after.1));
        self.participation.insert((before, after), same);
        same
    }

    fn same_links(&mut self, before: VnetId, after: VnetId) -> SameLinks {
        if let Some(&known) = self.links.get(&(before, after)) {
            return known;
        }
        let (old, new) = (links(self.before, before), links(self.after, after));
        // A link that is added or removed shows in the routes.
        let pairs = || old.iter().filter_map(|(remote, link)| Some((*link, *new.get(remote)?)));
        let same = SameLinks {
            sources: pairs().all(|(before, after)| before.sources == after.sources),
            access: pairs().all(|(before, after)| before.explicit_allow == after.explicit_allow),
        };
        self.links.insert((before, after), same);
        same
    }
}

/// A VNet's links, by the remote's name.
fn links(names: Names<'_>, vnet: VnetId) -> HashMap<String, &Link> {
    let links = names.compiled.snapshot.vnet(vnet).links.iter();
    links.map(|(remote, link)| (names.vnet_name(*remote).to_lowercase(), link)).collect()
}

fn addresses(names: Names<'_>, nic: NicIx) -> &[IpAddr] {
    &names.network.nic(nic).addresses
}

fn edge(names: Names<'_>) -> Option<&Edge> {
    names.compiled.snapshot.edge.as_ref()
}

//! Possible next hops of a route: appliances, and the internal load balancers in front of several (CH-06).
//!
//! One idea: the file does not say which of several appliances is meant. A fix names one only where the answer's routes
//! or the sender's own table already lead to it; else it lists all of them for the user to choose from.

use std::fmt;
use std::net::IpAddr;

use crate::analysis::query::names::nic_name;
use crate::analysis::walk::{Leg, egress};
use crate::dataplane::{NextHop, NicId};
use crate::model::{BalancedPorts, LoadBalancer, NicIx, RouteNextHop, VmIx, VnetIx};

use super::Case;

/// Appliances followed at most: more than any design has in a row.
const MAX_HOPS: usize = 8;

/// One next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarder {
    /// The next hop address of a route to it.
    pub(super) address: IpAddr,
    pub(super) name: String,
    /// The machine, or the machines behind the frontend.
    machines: Vec<VmIx>,
}

/// `nva/eth0 (10.0.1.4)`.
impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

/// Which next hop to use.
pub(super) enum Choice {
    /// With the reason for this one, where there are others.
    One(Forwarder, &'static str),
    Several(Vec<Forwarder>),
    None,
}

impl Choice {
    /// `n1/eth0 (10.0.1.4) or n2/eth0 (10.0.1.5)`.
    pub(super) fn list(forwarders: &[Forwarder]) -> String {
        forwarders.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    }
}

impl Case<'_> {
    /// The next hop for the packet at this leg, among those in some virtual networks.
    pub(super) fn choose(&self, leg: &Leg, vnets: impl IntoIterator<Item = VnetIx>) -> Choice {
        let mut all: Vec<_> = vnets.into_iter().flat_map(|vnet| self.forwarders(vnet)).collect();
        all.retain(|one| !one.machines.iter().any(|vm| self.has_passed(*vm)));
        if all.len() < 2 {
            return all.pop().map_or(Choice::None, |only| Choice::One(only, ""));
        }
        let on_the_answers_way = self.mirrored(leg).and_then(|address| self.having(&all, address));
        let in_table = || self.named_by_table(leg, &all);
        match on_the_answers_way.map(|one| (one, ", the answer's way")) {
            Some((one, why)) => Choice::One(one, why),
            None => match in_table() {
                Some(one) => Choice::One(one, ", as other routes of the table do"),
                None => Choice::Several(all),
            },
        }
    }

    /// Every machine that forwards in a virtual network, guest included, with an address of the packet's family.
    /// Machines behind an internal load balancer for all ports are listed as its frontend.
    pub(super) fn forwarders(&self, vnet: VnetIx) -> Vec<Forwarder> {
        let network = self.names.network;
        let mut found: Vec<Forwarder> =
            network.load_balancers.iter().filter_map(|balancer| self.balanced(balancer, vnet)).collect();
        for (vm, machine) in network.virtual_machines.iter().enumerate() {
            let balanced = found.iter().any(|one| one.machines.contains(&VmIx(vm)));
            let forwards = |nic: &&NicIx| {
                let found = network.nic(**nic);
                found.subnet.vnet == vnet && found.enable_ip_forwarding && self.address_of(**nic).is_some()
            };
            // The guest sends from its primary interface, and answers must return there.
            let nics = || machine.network_interfaces.iter().filter(forwards);
            let nic = nics().find(|nic| network.nic(**nic).primary).or_else(|| nics().next());
            let Some(nic) = nic.filter(|_| machine.guest_forwarding && !balanced) else { continue };
            let Some(address) = self.address_of(*nic) else { continue };
            found.push(Forwarder { address, name: nic_name(network, *nic), machines: vec![VmIx(vm)] });
        }
        found
    }

    /// A private frontend in this network whose backends all forward.
    fn balanced(&self, balancer: &LoadBalancer, vnet: VnetIx) -> Option<Forwarder> {
        let network = self.names.network;
        let mut rules = balancer.rules.iter().filter(|rule| rule.ports == BalancedPorts::All);
        rules.find_map(|rule| {
            let frontend = &balancer.frontends[rule.frontend];
            let here = frontend.subnet().is_some_and(|subnet| subnet.vnet == vnet);
            let members = &balancer.pools[rule.pool].members;
            let forwards = members.iter().all(|member| {
                let nic = network.nic(member.nic);
                nic.enable_ip_forwarding && network.vm(nic.virtual_machine).guest_forwarding
            });
            let same_family = frontend.address.is_ipv4() == self.walk.dst.is_ipv4();
            (here && forwards && same_family && !members.is_empty()).then(|| Forwarder {
                address: frontend.address,
                name: format!("load balancer {}, frontend {}", balancer.name, frontend.name),
                machines: members.iter().map(|member| network.nic(member.nic).virtual_machine).collect(),
            })
        })
    }

    /// Whether the packet came from or through a machine: a route back to it would close a loop.
    fn has_passed(&self, vm: VmIx) -> bool {
        let target = self.target();
        let ends = self.walk.legs.iter().map(|leg| leg.from).chain(target);
        ends.into_iter().any(|nic| self.machine(nic) == Some(vm))
    }

    fn machine(&self, nic: NicId) -> Option<VmIx> {
        let nic = self.names.compiled.sender(nic).nic()?;
        Some(self.names.network.nic(nic).virtual_machine)
    }

    /// For a request: the next hop on the answer's path, with its name.
    pub(super) fn on_the_answers_way(&self, leg: &Leg) -> Option<(IpAddr, String)> {
        let address = self.mirrored(leg)?;
        let vnets = (0..self.names.network.virtual_networks.len()).map(VnetIx);
        let all: Vec<_> = vnets.flat_map(|vnet| self.forwarders(vnet)).collect();
        let found = self.having(&all, address)?;
        (!found.machines.iter().any(|vm| self.has_passed(*vm))).then(|| (found.address, found.to_string()))
    }

    fn having(&self, all: &[Forwarder], address: IpAddr) -> Option<Forwarder> {
        let network = self.names.network;
        let owner = network.network_interfaces.iter().find(|nic| nic.addresses.contains(&address));
        let owner = owner.map(|nic| nic.virtual_machine);
        let has = |one: &&Forwarder| one.address == address || owner.is_some_and(|vm| one.machines.contains(&vm));
        all.iter().find(has).cloned()
    }

    /// The next hop that takes the packet along the reversed path of the other direction.
    fn mirrored(&self, leg: &Leg) -> Option<IpAddr> {
        let passed = self.walk.legs.iter().position(|other| std::ptr::eq(other, leg))?;
        let way = self.led(self.target()?, self.walk.src);
        way.into_iter().rev().nth(passed)
    }

    /// The next hops on the path from an end to an address, by routes alone.
    fn led(&self, from: NicId, to: IpAddr) -> Vec<IpAddr> {
        let (network, compiled) = (self.names.network, self.names.compiled);
        let (mut at, mut way) = (from, Vec::new());
        while way.len() < MAX_HOPS && self.names.home(at).is_some() {
            let fib = compiled.snapshot.nic(at).fib;
            let Some(route) = compiled.snapshot.fib(fib).lpm.lookup(to) else { break };
            let hop = compiled.snapshot.fib(fib).next_hops[route.0 as usize];
            let (NextHop::Nic(_) | NextHop::Frontend(_)) = hop else { break };
            way.extend(compiled.route(fib, route).next_hop_ip.first());
            let NextHop::Nic(nic) = hop else { break };
            let Some(vm) = self.machine(nic) else { break };
            at = compiled.nic_of(egress(network, vm, to));
        }
        way
    }

    /// The one of them that routes of the sender's own table lead to.
    fn named_by_table(&self, leg: &Leg, all: &[Forwarder]) -> Option<Forwarder> {
        let network = self.names.network;
        let table = network.subnet(self.names.home(leg.router())?).route_table?;
        let named = network.route_tables[table.0].routes.iter().filter_map(|route| match route.next_hop {
            RouteNextHop::VirtualAppliance(address) => self.having(all, address),
            RouteNextHop::VirtualApplianceEcmp(_)
            | RouteNextHop::VirtualNetworkGateway
            | RouteNextHop::VnetLocal
            | RouteNextHop::Internet
            | RouteNextHop::None => None,
        });
        let mut named: Vec<_> = named.collect();
        named.dedup();
        if named.len() == 1 { named.pop() } else { None }
    }

    pub(super) fn address_of(&self, nic: NicIx) -> Option<IpAddr> {
        let addresses = &self.names.network.nic(nic).addresses;
        addresses.iter().copied().find(|address| address.is_ipv4() == self.walk.dst.is_ipv4())
    }
}

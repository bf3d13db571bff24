//! Possible next hops of a route: appliances, the internal load balancers in front of several (CH-06), and the gateway
//! that the other direction passes.
//!
//! One idea: the file does not say which of several appliances is meant. A fix names one only where the answer's routes
//! or the sender's own table already lead to it; else it lists all of them for the user to choose from.

use std::fmt;
use std::iter;
use std::net::IpAddr;

use crate::analysis::query::names::{holds, nic_name};
use crate::analysis::walk::{Leg, Walk, egress};
use crate::compile::{Sender, connected};
use crate::dataplane::{NextHop, NicId};
use crate::model::{BalancedPorts, GatewayIx, GatewayKind, LoadBalancer, NicIx, Route, RouteNextHop, VmIx, VnetIx};

use super::Case;

/// Appliances followed at most: more than any design has in a row.
const MAX_HOPS: usize = 8;

/// One next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarder {
    /// Of a route to it.
    pub(super) next_hop: RouteNextHop,
    pub(super) name: String,
    /// The machine, or the machines behind the frontend; none for a gateway.
    machines: Vec<VmIx>,
    /// For a gateway that the sender's virtual network does not use yet: the peer that has it.
    pub(super) lender: Option<VnetIx>,
}

impl Forwarder {
    fn at(address: IpAddr, name: String, machines: Vec<VmIx>) -> Self {
        Self { next_hop: RouteNextHop::VirtualAppliance(address), name, machines, lender: None }
    }

    /// An appliance, or a load balancer's frontend.
    pub(super) fn address(&self) -> Option<IpAddr> {
        if let RouteNextHop::VirtualAppliance(address) = self.next_hop { Some(address) } else { None }
    }
}

/// `nva/eth0 (10.0.1.4)`, or `gateway hub-gw of VNet hub`.
impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{} ({address})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A next hop on a path that routes lead.
enum Hop {
    /// The address that the route names.
    Appliance(IpAddr),
    Gateway(GatewayIx),
}

/// Which next hop to use.
pub(super) enum Choice {
    /// With the reason for this one, where there are others.
    One(Forwarder, String),
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
        all.retain(|one| !self.is_passed(one));
        let own = self.names.vnet(leg.router());
        let on_the_answers_way = self.on_the_answers_way(leg).filter(|one| self.in_reach(one, own));
        match (on_the_answers_way, &all[..]) {
            (Some(one), [only]) if one == *only => Choice::One(one, String::new()),
            (Some(one), _) => Choice::One(one, format!(", {}", self.other_way())),
            (None, []) => Choice::None,
            (None, [only]) => Choice::One(only.clone(), String::new()),
            (None, _) => match self.named_by_table(leg, &all) {
                Some(one) => Choice::One(one, ", as other routes of the table do".to_owned()),
                None => Choice::Several(all),
            },
        }
    }

    /// Whether a route of a virtual network can lead there (UDR-12).
    pub(super) fn in_reach(&self, forwarder: &Forwarder, own: VnetIx) -> bool {
        let Some(address) = forwarder.address() else { return true };
        let mut near = iter::once(own).chain(connected(self.names.network, own).map(|link| link.remote));
        near.any(|vnet| holds(self.names.network.vnet(vnet), address))
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
            found.push(Forwarder::at(address, nic_name(network, *nic), vec![VmIx(vm)]));
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
            (here && forwards && same_family && !members.is_empty()).then(|| {
                let name = format!("load balancer {}, frontend {}", balancer.name, frontend.name);
                let machines = members.iter().map(|member| network.nic(member.nic).virtual_machine);
                Forwarder::at(frontend.address, name, machines.collect())
            })
        })
    }

    /// Whether the packet came from or through this next hop.
    pub(super) fn is_passed(&self, forwarder: &Forwarder) -> bool {
        forwarder.machines.iter().any(|vm| self.has_passed(*vm))
    }

    /// Whether the packet came from or through a machine: a route back to it would close a loop.
    fn has_passed(&self, vm: VmIx) -> bool {
        let target = self.target();
        let ends = self.walk.legs.iter().map(|leg| leg.from).chain(target);
        ends.into_iter().any(|nic| self.machine(nic) == Some(vm))
    }

    pub(super) fn machine(&self, nic: NicId) -> Option<VmIx> {
        let nic = self.names.compiled.sender(nic).nic()?;
        Some(self.names.network.nic(nic).virtual_machine)
    }

    /// For a request: the next hop on the answer's path.
    pub(super) fn on_the_answers_way(&self, leg: &Leg) -> Option<Forwarder> {
        let address = match self.mirrored(leg)? {
            Hop::Appliance(address) => address,
            Hop::Gateway(gateway) => return self.shared_gateway(gateway, self.names.vnet(leg.router())),
        };
        let vnets = (0..self.names.network.virtual_networks.len()).map(VnetIx);
        let all: Vec<_> = vnets.flat_map(|vnet| self.forwarders(vnet)).collect();
        let found = self.having(&all, address)?;
        (!self.is_passed(&found)).then_some(found)
    }

    /// For an answer: the next hop through which the request came to this sender.
    pub(super) fn through_which_it_came(&self, request: &Walk, leg: &Leg) -> Option<Forwarder> {
        let router = leg.router();
        let passed: Vec<_> = request.appliances().collect();
        let own = passed.iter().position(|nic| self.names.same_machine(*nic, router)).unwrap_or(passed.len());
        if let (Some(gateway), Sender::Nic(_) | Sender::Subnet(_)) =
            (request.legs.get(own)?.gateway(), self.names.compiled.sender(router))
            && let Sender::Gateway(gateway) = self.names.compiled.sender(gateway)
            && let Some(gateway) = self.shared_gateway(gateway, self.names.vnet(router))
        {
            return Some(gateway);
        }
        let (address, name) = self.met_at(request, *passed[..own].last()?)?;
        Some(Forwarder::at(address, name, Vec::new()))
    }

    /// A VPN gateway that forwards between a virtual network and the destination's: both use it, or the first may
    /// (PEER-34). A user's route leads to no other kind (UDR-14).
    fn shared_gateway(&self, gateway: GatewayIx, own: VnetIx) -> Option<Forwarder> {
        let network = self.names.network;
        let home = self.home(self.walk.dst)?;
        let (in_use, hub) = (network.gateways_in_use(own), network.gateway(gateway).subnet.vnet);
        let lender = if in_use.is_empty() { Some(hub).filter(|hub| self.may_use_gateways(own, *hub)) } else { None };
        let kinds = in_use.iter().chain([&gateway]).map(|one| network.gateway(*one).kind);
        let leads = (in_use.contains(&gateway) || lender.is_some())
            && kinds.into_iter().all(|kind| kind == GatewayKind::Vpn)
            && network.gateways_in_use(home).contains(&gateway);
        let name = format!("gateway {} of VNet {}", network.gateway(gateway).name, self.vnet_name(hub));
        leads.then(|| Forwarder { next_hop: RouteNextHop::VirtualNetworkGateway, name, machines: Vec::new(), lender })
    }

    /// Whether a peer's gateways can be used: a network uses those of one peer at most (PEER-30).
    pub(super) fn may_use_gateways(&self, own: VnetIx, hub: VnetIx) -> bool {
        let network = self.names.network;
        let mut links = network.vnet(own).peerings.iter();
        connected(network, own).any(|link| link.remote == hub)
            && links.all(|link| link.remote == hub || !link.use_remote_gateways)
    }

    fn having(&self, all: &[Forwarder], address: IpAddr) -> Option<Forwarder> {
        let network = self.names.network;
        let owner = network.network_interfaces.iter().find(|nic| nic.addresses.contains(&address));
        let owner = owner.map(|nic| nic.virtual_machine);
        let has =
            |one: &&Forwarder| one.address() == Some(address) || owner.is_some_and(|vm| one.machines.contains(&vm));
        all.iter().find(has).cloned()
    }

    /// The next hop that takes the packet along the reversed path of the other direction.
    fn mirrored(&self, leg: &Leg) -> Option<Hop> {
        let at = self.walk.legs.iter().position(|other| std::ptr::eq(other, leg))?;
        // A gateway forwards within a leg.
        let passed = at + self.walk.legs[..=at].iter().filter(|leg| leg.gateway().is_some()).count();
        let way = self.led(self.target()?, self.walk.src);
        way.into_iter().rev().nth(passed)
    }

    /// The next hops on the path from an end to an address, by routes alone.
    fn led(&self, from: NicId, to: IpAddr) -> Vec<Hop> {
        let (network, compiled) = (self.names.network, self.names.compiled);
        let (mut at, mut way) = (from, Vec::new());
        // The gateway's routes decide on what a site sends.
        if let Sender::Tunnel(over) = compiled.sender(from) {
            let gateway = Sender::Gateway(network.connection(over).gateway);
            at = compiled.ids().nic(gateway).unwrap_or(from);
        }
        while way.len() < MAX_HOPS && self.names.home(at).is_some() {
            let fib = compiled.snapshot.nic(at).fib;
            let Some(route) = compiled.snapshot.fib(fib).lpm.lookup(to) else { break };
            let hop = compiled.snapshot.fib(fib).next_hops[route.0 as usize];
            if let NextHop::Gateway(id) = hop {
                let nic = compiled.snapshot.gateway(id).nic;
                // A gateway's own route to what is behind its tunnels leads to itself.
                let Sender::Gateway(gateway) = compiled.sender(nic) else { break };
                if nic == at {
                    break;
                }
                way.push(Hop::Gateway(gateway));
                at = nic;
                continue;
            }
            let (NextHop::Nic(_) | NextHop::Frontend(_)) = hop else { break };
            way.extend(compiled.route(fib, route).next_hop_ip.first().copied().map(Hop::Appliance));
            let NextHop::Nic(nic) = hop else { break };
            let Some(vm) = self.machine(nic) else { break };
            at = compiled.nic_of(egress(network, vm, to));
        }
        way
    }

    /// The one of them that routes of the sender's own table lead to.
    pub(super) fn named_by_table(&self, leg: &Leg, all: &[Forwarder]) -> Option<Forwarder> {
        let network = self.names.network;
        let table = network.subnet(self.names.home(leg.router())?).route_table?;
        self.named_by_routes(&network.route_tables[table.0].routes, all)
    }

    /// The one of them that routes lead to.
    pub(super) fn named_by_routes<'r>(
        &self,
        routes: impl IntoIterator<Item = &'r Route>,
        all: &[Forwarder],
    ) -> Option<Forwarder> {
        let named = routes.into_iter().filter_map(|route| match route.next_hop {
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

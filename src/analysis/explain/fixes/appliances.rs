//! Packets that an appliance or the destination did not accept.

use ipnet::IpNet;

use crate::analysis::query::names::{holds, subnet_name};
use crate::analysis::walk::Leg;
use crate::compile::{Sender, connected};
use crate::dataplane::NicId;
use crate::model::{RouteTable, is_routable};

use super::{Case, Diagnosis};

impl Case<'_> {
    pub(super) fn guest(&self, nic: NicId) -> Diagnosis {
        let node = self.names.node(nic);
        let cause =
            format!("machine {node} does not forward: its NIC lets the packet in, its kernel drops it (NIC-05)");
        self.led_elsewhere_than(nic, self.guest_forwarding(nic, cause))
    }

    fn guest_forwarding(&self, nic: NicId, cause: String) -> Diagnosis {
        let node = self.names.node(nic);
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Diagnosis::without_fix(cause) };
        let mut edit = self.edit();
        edit.forward_in_guest(self.names.network.nic(ix).virtual_machine);
        Diagnosis::with_fix(cause, format!("let the guest of {node} forward"), edit)
    }

    /// For a machine that is stopped; why a running machine's device is down is unknown.
    pub(super) fn stopped(&self, nic: NicId) -> Option<Diagnosis> {
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return None };
        if self.names.network.is_running(ix) {
            return None;
        }
        let node = self.names.node(nic);
        let mut edit = self.edit();
        edit.start(self.names.network.nic(ix).virtual_machine);
        Some(Diagnosis::with_fix(
            format!("machine {node} is stopped (powerState)"),
            format!("start machine {node}"),
            edit,
        ))
    }

    pub(super) fn not_forwarding(&self, nic: NicId) -> Diagnosis {
        let cause =
            format!("NIC {} without enableIPForwarding: {} is not its address", self.names.nic(nic), self.walk.dst);
        self.led_elsewhere_than(nic, self.forwarding(nic, cause))
    }

    /// Where the route is wrong, the machine that it leads to forwards only if nothing else helps.
    fn led_elsewhere_than(&self, nic: NicId, forwarding: Diagnosis) -> Diagnosis {
        match self.wrong_machine(self.walk.last(), nic) {
            Some(wrong) => wrong.or(forwarding),
            None => forwarding,
        }
    }

    pub(super) fn spoofed(&self, nic: NicId) -> Diagnosis {
        let name = self.names.nic(nic);
        let target = self.request.and(self.ends.destination.nic);
        if target.is_some_and(|target| self.names.node(target) == self.names.node(nic)) {
            let cause = format!("the guest answers from NIC {name}, which does not own {}", self.walk.src);
            let text = "add a route in the guest that answers from the NIC that was asked".to_owned();
            let command = self.answering_route(target);
            return self.commands(cause, text, command.into_iter().collect());
        }
        self.forwarding(nic, format!("NIC {name} without enableIPForwarding: {} is not its address", self.walk.src))
    }

    /// A guest's devices have the order of its interfaces.
    fn answering_route(&self, target: Option<NicId>) -> Option<String> {
        let Sender::Nic(ix) = self.names.compiled.sender(target?) else { return None };
        let network = self.names.network;
        let vm = network.vm(network.nic(ix).virtual_machine);
        let device = vm.network_interfaces.iter().position(|nic| *nic == ix)?;
        Some(format!("vnet exec {} -- ip route add {} dev eth{device}", vm.name, IpNet::from(self.walk.dst)))
    }

    fn forwarding(&self, nic: NicId, cause: String) -> Diagnosis {
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Diagnosis::without_fix(cause) };
        let mut edit = self.edit();
        edit.enable_ip_forwarding(ix);
        Diagnosis::with_fix(cause, format!("set enableIPForwarding on NIC {}", self.names.nic(nic)), edit)
    }

    /// An appliance whose own subnet routes back to it (UDR-17), or several that route to each other.
    pub(super) fn circle(&self, nic: NicId) -> Diagnosis {
        let from = self.walk.legs.iter().position(|leg| leg.from == nic).unwrap_or(0);
        let circle: Vec<_> = self.walk.legs[from..].iter().map(|leg| self.names.nic(leg.from)).collect();
        let leg = self.walk.last();
        let object =
            leg.route().map(|(fib, route, hop)| self.names.route(leg.from, fib, route, hop)).unwrap_or_default();
        let subnet = subnet_name(self.names.network, self.names.subnet(leg.from));
        if circle.len() == 1 {
            let node = self.names.node(nic);
            let cause = format!("loop at {node}: its own subnet {subnet} uses {object}, which leads back to it");
            let (onward, without) = (self.onward(leg, &cause), self.without_loop(leg, cause));
            return match onward {
                Some(onward) => onward.or(without),
                None => without,
            };
        }
        let cause = format!("loop through {}: {object} closes it", circle.join(", "));
        // An appliance in a network that is peered with the destination's needs no route to another one.
        let direct = self.walk.legs[from..].iter().filter(|leg| self.is_next_to_destination(leg));
        let without = direct.flat_map(|leg| self.without_loop(leg, cause.clone()).fixes);
        let mut fixes: Vec<_> = without.filter(|fix| !fix.changes.is_empty()).collect();
        let text = format!("take the route for {} that closes the loop out of subnet {subnet}", self.walk.dst);
        let prose = self.prose(cause, text);
        fixes.extend(prose.fixes);
        Diagnosis { fixes, ..prose }
    }

    fn is_next_to_destination(&self, leg: &Leg) -> bool {
        let (Some(own), Some(home)) = (self.names.home(leg.from), self.home(self.walk.dst)) else { return false };
        own.vnet == home || connected(self.names.network, own.vnet).any(|link| link.remote == home)
    }

    /// Takes away the route that leads an appliance's packets back to it. Where other machines use it, in the subnet or
    /// in another with the same table, this is described in words.
    fn without_loop(&self, leg: &Leg, cause: String) -> Diagnosis {
        let network = self.names.network;
        let (subnet, node) = (self.names.subnet(leg.from), self.names.node(leg.from));
        let mut here = network.network_interfaces.iter().filter(|other| other.subnet == subnet);
        let alone = here.all(|one| network.vm(one.virtual_machine).name == node);
        let Some((table, at)) = self.user_route(leg).filter(|_| alone) else {
            return self.prose(cause, format!("move {node} to a subnet of its own, without that route"));
        };
        let subnets = network.virtual_networks.iter().flat_map(|vnet| &vnet.subnets);
        let users = subnets.filter(|subnet| subnet.route_table == Some(table)).count();
        let RouteTable { name, routes, disable_bgp_route_propagation, disable_peering_route } =
            &*network.route_tables[table.0];
        let (route, subnet_name) = (&routes[at].name, subnet_name(network, subnet));
        let does_more = routes.len() > 1 || *disable_bgp_route_propagation || *disable_peering_route;
        let mut edit = self.edit();
        let text = match (does_more, users) {
            (false, _) => {
                edit.detach_table(subnet);
                format!("take route table {name} off subnet {subnet_name}")
            }
            (true, 1) => {
                edit.remove_route(table, at);
                format!("remove route {route} from route table {name}")
            }
            (true, _) => {
                let text = format!("give subnet {subnet_name} a route table of its own, without route {route}");
                return self.prose(cause, text);
            }
        };
        Diagnosis::with_fix(cause, text, edit)
    }

    /// A route keeps a packet in its virtual network, and the destination is in another.
    fn in_another_network(&self, leg: &Leg, owner: NicId) -> Diagnosis {
        let (dst, owner) = (self.walk.dst, self.names.nic(owner));
        let Some(((fib, route, hop), at)) = leg.route().zip(self.user_route(leg)) else {
            return Diagnosis::without_fix(format!(
                "the route leads to a VNet where no machine has {dst}: {owner} has it"
            ));
        };
        let object = self.names.route(leg.router(), fib, route, hop);
        let vnet = self.vnet_name(self.names.vnet(leg.router()));
        let cause = format!("{object} keeps {dst} in VNet {vnet}, where no machine has it: {owner} has it");
        self.kept_inside(leg, cause, at)
    }

    /// A virtual network with a public range: only Azure's own networks reach it.
    fn public_range(&self) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let vnet = network.virtual_networks.iter().find(|vnet| holds(vnet, dst)).filter(|_| is_routable(dst))?;
        let from_outside = matches!(self.names.compiled.sender(self.walk.last().from), Sender::Internet);
        let cause = format!(
            "{dst} is a public address that VNet {} has in its range: it is one inside of Azure's networks alone, and the \
             Internet does not reach it (ADR-04)",
            vnet.name
        );
        let target = self.ends.destination.nic.map_or_else(|| dst.to_string(), |nic| self.names.nic(nic));
        from_outside.then(|| self.prose(cause, format!("give {target} a publicIPAddress, and ask that")))
    }

    pub(super) fn no_owner(&self) -> Diagnosis {
        let dst = self.walk.dst;
        let prefixes = self.names.network.virtual_networks.iter().flat_map(|vnet| {
            vnet.subnets.iter().flat_map(move |subnet| subnet.prefixes.iter().map(move |prefix| (vnet, subnet, prefix)))
        });
        let subnet = prefixes.into_iter().find(|(_, _, prefix)| prefix.contains(&dst));
        if let Some(diagnosis) = self.public_range().or_else(|| self.hidden()) {
            return diagnosis;
        }
        Diagnosis::without_fix(match (self.target(), subnet) {
            (None, Some((vnet, subnet, _))) => {
                format!(
                    "no machine has the address {dst}: it is in subnet {}/{}, free or reserved",
                    vnet.name, subnet.name
                )
            }
            (None, None) => format!("no machine in this network has the address {dst}"),
            (Some(nic), _) => return self.in_another_network(self.walk.last(), nic),
        })
    }
}

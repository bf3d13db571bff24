//! Packets that an appliance or an end did not take.

use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::diag::names::subnet_name;

use super::{Case, Cure, Remedy};

impl Case<'_> {
    pub(super) fn guest(&self, nic: NicId) -> Cure {
        let node = self.names.node(nic);
        let cause =
            format!("machine {node} does not forward: its NIC lets the packet in, its kernel drops it (NIC-05)");
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Cure::untreated(cause) };
        let mut edit = self.edit();
        edit.forward_in_guest(self.names.network.nic(ix).virtual_machine);
        Cure::with(cause, format!("let the guest of {node} forward"), edit)
    }

    /// Of a machine that runs nobody knows why its device does not.
    pub(super) fn stopped(&self, nic: NicId) -> Option<Cure> {
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return None };
        if self.names.network.is_running(ix) {
            return None;
        }
        let node = self.names.node(nic);
        let mut edit = self.edit();
        edit.start(self.names.network.nic(ix).virtual_machine);
        Some(Cure::with(format!("machine {node} is stopped (powerState)"), format!("start machine {node}"), edit))
    }

    pub(super) fn not_forwarding(&self, nic: NicId) -> Cure {
        let cause =
            format!("NIC {} without enableIPForwarding: {} is not its address", self.names.nic(nic), self.walk.dst);
        self.forwarding(nic, cause)
    }

    pub(super) fn spoofed(&self, nic: NicId) -> Cure {
        let name = self.names.nic(nic);
        let target = self.request.and(self.ends.destination.nic);
        if target.is_some_and(|target| self.names.node(target) == self.names.node(nic)) {
            let cause = format!("the guest answers from NIC {name}, which does not own {}", self.walk.src);
            let text = "add a route in the guest that answers from the NIC that was asked".to_owned();
            let remedy = Remedy { text, changes: Vec::new(), network: self.names.network.clone() };
            return Cure { cause, remedy: Some(remedy) };
        }
        self.forwarding(nic, format!("NIC {name} without enableIPForwarding: {} is not its address", self.walk.src))
    }

    fn forwarding(&self, nic: NicId, cause: String) -> Cure {
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Cure::untreated(cause) };
        let mut edit = self.edit();
        edit.enable_ip_forwarding(ix);
        Cure::with(cause, format!("set enableIPForwarding on NIC {}", self.names.nic(nic)), edit)
    }

    /// An appliance whose own subnet routes back to it (UDR-17), or several that route to each other.
    pub(super) fn circle(&self, nic: NicId) -> Cure {
        let from = self.walk.legs.iter().position(|leg| leg.from == nic).unwrap_or(0);
        let circle: Vec<_> = self.walk.legs[from..].iter().map(|leg| self.names.nic(leg.from)).collect();
        let leg = self.walk.last();
        let object =
            leg.route().map(|(fib, route, hop)| self.names.route(leg.from, fib, route, hop)).unwrap_or_default();
        let subnet = subnet_name(self.names.network, self.names.subnet(leg.from));
        let (cause, text) = if circle.len() == 1 {
            let node = self.names.node(nic);
            let cause = format!("loop at {node}: its own subnet {subnet} uses {object}, which leads back to it");
            (cause, format!("move {node} to a subnet of its own, without that route"))
        } else {
            let cause = format!("loop through {}: {object} closes it", circle.join(", "));
            (cause, format!("take the route for {} that closes the loop out of subnet {subnet}", self.walk.dst))
        };
        Cure { cause, remedy: Some(Remedy { text, changes: Vec::new(), network: self.names.network.clone() }) }
    }

    pub(super) fn nobody(&self) -> Cure {
        let dst = self.walk.dst;
        let prefixes = self.names.network.virtual_networks.iter().flat_map(|vnet| {
            vnet.subnets.iter().flat_map(move |subnet| subnet.prefixes.iter().map(move |prefix| (vnet, subnet, prefix)))
        });
        let subnet = prefixes.into_iter().find(|(_, _, prefix)| prefix.contains(&dst));
        if let Some(cure) = self.hidden() {
            return cure;
        }
        Cure::untreated(match (self.target(), subnet) {
            (None, Some((vnet, subnet, _))) => {
                format!("nobody has the address {dst}: it is in subnet {}/{}, free or reserved", vnet.name, subnet.name)
            }
            (None, None) => format!("nobody in this network has the address {dst}"),
            (Some(nic), _) => {
                format!("the route leads to a VNet where nobody has {dst}: {} has it", self.names.nic(nic))
            }
        })
    }
}

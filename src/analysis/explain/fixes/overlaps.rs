//! Packets for an address that two machines have, delivered to the wrong one.
//!
//! Networks that are not connected may overlap (ADR-07). A route leads to one of them at most. No route and no rule
//! lets a machine reach both, so the overlapping ranges are the cause.

use ipnet::IpNet;

use crate::analysis::query::Meant;
use crate::analysis::walk::outside;
use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::Customer;

use super::{Case, Diagnosis, premises};

impl Case<'_> {
    pub(super) fn wrong_host(&self, nic: NicId, meant: Meant) -> Diagnosis {
        let (names, dst) = (self.names, self.walk.last.dst);
        let led =
            self.walk.last().route().map(|(fib, route, hop)| names.route(self.walk.last().router(), fib, route, hop));
        let led = led.map_or_else(String::new, |route| format!(", and {route} leads to the former"));
        if let Some(diagnosis) = self.sent_to_the_internet(nic) {
            return diagnosis;
        }
        let own = match meant {
            Meant::Anyone => None,
            Meant::Machine(own) => Some(own),
            Meant::Customer(customer) => outside::sender(names.network, names.compiled, customer, None),
        };
        let Some(meant) = own else { return self.unconnected(nic, meant) };
        let (here, there) = (self.range(nic), self.range(meant));
        let cause = format!(
            "wrong host: {} has the address {dst} too, and the packet is delivered there: {here} overlaps {there}{led} \
             (ADR-07)",
            names.nic(nic)
        );
        let (here, there) = (self.place(nic), self.place(meant));
        self.prose(cause, format!("give {there} or {here} another range: no route leads to both"))
    }

    /// A private cloud's managed SNAT took what its circuit has no route for (AVS-11).
    fn sent_to_the_internet(&self, nic: NicId) -> Option<Diagnosis> {
        let (network, compiled) = (self.names.network, self.names.compiled);
        let gateway = self.walk.last().gateway().filter(|_| compiled.sender(nic) == Sender::Internet)?;
        let Sender::Edge(circuit) = compiled.sender(gateway) else { return None };
        let who = format!("circuit {}", network.circuit(circuit).name);
        self.not_joined_to(circuit, &who, premises::at(network, self.walk.dst))
    }

    /// A site that nothing leads to was asked for, and a machine has the same address.
    fn unconnected(&self, nic: NicId, meant: Meant) -> Diagnosis {
        let (names, dst) = (self.names, self.walk.last.dst);
        Diagnosis::without_fix(format!(
            "wrong host: {} has the address {dst} too, and the packet is delivered there: {} has the range, and nothing \
             leads to {} (ADR-07)",
            names.nic(nic),
            self.range(nic),
            names.meant(meant)
        ))
    }

    /// `VNet two (10.1.0.0/16)`: the network of an interface, and its range that contains the destination.
    fn range(&self, nic: NicId) -> String {
        let dst = self.walk.last.dst;
        let holds = |ranges: &[IpNet]| ranges.iter().copied().find(|range| range.contains(&dst));
        let network = self.names.network;
        let range = match (self.names.home(nic), self.names.customer(self.names.compiled.sender(nic))) {
            (Some(subnet), _) => holds(&network.vnet(subnet.vnet).address_space),
            (None, Some(Customer::Site(site))) => holds(&network.site(site).address_space),
            (None, _) => None,
        };
        let place = self.place(nic);
        range.map_or_else(|| place.clone(), |range| format!("{place} ({range})"))
    }

    fn place(&self, nic: NicId) -> String {
        match (self.names.home(nic), self.names.compiled.sender(nic)) {
            (Some(subnet), _) => format!("VNet {}", self.vnet_name(subnet.vnet)),
            (None, Sender::Internet) => "the Internet".to_owned(),
            (None, _) => self.names.node(nic),
        }
    }
}

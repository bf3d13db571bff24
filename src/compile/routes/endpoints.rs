//! The owner of an address of a VNet: an interface, a subnet of an attached VNet, or the platform.
//!
//! One idea: ownership is itself a longest-prefix match. An attached VNet's subnets are the background, reserved
//! addresses and interfaces are host prefixes in front of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::compile::gateways::gateway_id;
use crate::compile::memo::{Known, Memo};
use crate::compile::nat::balancer;
use crate::compile::{Ids, Sender};
use crate::dataplane::{Lpm, NextHop, Owner};
use crate::model::{Network, VirtualNetwork, VnetIx};

/// The owner tables of all VNets.
pub(in crate::compile) struct Owners(Vec<Lpm<Owner>>);

/// Tables made before, by what is in them.
pub(in crate::compile) type KnownOwners = Known<Vec<(IpNet, Owner)>, Lpm<Owner>>;

impl Owners {
    pub(in crate::compile) fn new(network: &Network, ids: &Ids, earlier: &KnownOwners) -> (Self, KnownOwners) {
        let mut owned: Vec<Vec<(IpNet, Owner)>> = network.virtual_networks.iter().map(reservations).collect();
        for (nic, sender) in ids.senders() {
            let (vnet, prefixes) = match sender {
                Sender::Nic(ix) => {
                    let interface = network.nic(ix);
                    (interface.subnet.vnet, interface.addresses.iter().copied().map(IpNet::from).collect())
                }
                Sender::Subnet(subnet) => (subnet.vnet, network.subnet(subnet).prefixes.clone()),
                Sender::Gateway(ix) => {
                    let gateway = network.gateway(ix);
                    (gateway.subnet.vnet, gateway.addresses().into_iter().map(IpNet::from).collect())
                }
                Sender::RouteServer(ix) => {
                    let server = network.route_server(ix);
                    (server.subnet.vnet, server.instances.into_iter().map(IpNet::from).collect())
                }
                _ => continue,
            };
            owned[vnet.0].extend(prefixes.into_iter().map(|prefix| (prefix, Owner::Nic(nic))));
        }
        for (id, at) in balancer::numbered(network) {
            let frontend = &network.load_balancers[at.balancer].frontends[at.frontend];
            if let Some(subnet) = frontend.subnet() {
                owned[subnet.vnet.0].push((frontend.address.into(), Owner::Frontend(id)));
            }
        }
        for endpoint in &network.private_endpoints {
            owned[endpoint.subnet.vnet.0].push((endpoint.address.into(), Owner::Service));
        }
        let mut tables = Memo::after(earlier);
        let table = |owned| tables.recall(owned, |owned: &Vec<_>| owned.iter().copied().collect());
        (Self(owned.into_iter().map(table).collect()), tables.into_known())
    }

    /// The appliance that receives packets at an address.
    pub(in crate::compile) fn appliance(&self, ids: &Ids, vnet: VnetIx, address: IpAddr) -> Option<NextHop> {
        match self.0[vnet.0].lookup(address)? {
            Owner::Nic(nic) => {
                let gateway = ids.sender(nic).and_then(Sender::gateway);
                Some(gateway.map_or(NextHop::Nic(nic), |gateway| NextHop::Gateway(gateway_id(gateway))))
            }
            Owner::Frontend(frontend) => Some(NextHop::Frontend(frontend)),
            Owner::Reserved | Owner::Service => None,
        }
    }

    /// By VNet.
    pub(in crate::compile) fn into_tables(self) -> Vec<Lpm<Owner>> {
        self.0
    }
}

fn reservations(vnet: &VirtualNetwork) -> Vec<(IpNet, Owner)> {
    let prefixes = vnet.subnets.iter().flat_map(|subnet| &subnet.prefixes);
    prefixes.flat_map(reserved).map(|address| (address.into(), Owner::Reserved)).collect()
}

/// The platform's addresses of a subnet prefix: the first four, and the last of an IPv4 prefix (ADR-01).
fn reserved(prefix: &IpNet) -> Vec<IpAddr> {
    match prefix {
        IpNet::V4(prefix) => {
            let first = (0..4).map(|i| Ipv4Addr::from_bits(prefix.network().to_bits() + i));
            first.chain([prefix.broadcast()]).map(IpAddr::from).collect()
        }
        IpNet::V6(prefix) => {
            (0..4).map(|i| IpAddr::from(Ipv6Addr::from_bits(prefix.network().to_bits() + i))).collect()
        }
    }
}

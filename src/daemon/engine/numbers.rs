//! Numbers of the senders and TUNs of a running network, by their names.
//!
//! One idea: a number belongs to a name while the network has the name, wherever the file puts it. So the flow records
//! and devices of names that stay keep their meaning while others come and go. A number is free again once no name has
//! it and no record mentions it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::compile::{Ids, RuleIds, Sender, senders};
use crate::dataplane::{FlowTable, NicId, Share};
use crate::model::{Attach, AttachNamespace, Attachment, Network, Side};

/// The numbers of one network.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Numbers {
    senders: HashMap<SenderName, u32>,
    ports: HashMap<PortName, u32>,
    /// Of virtual networks; each counts its flow records together.
    shares: HashMap<String, u32>,
}

/// Compared as ARM compares names: lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SenderName {
    Nic {
        machine: String,
        nic: String,
    },
    Subnet {
        vnet: String,
        subnet: String,
    },
    Internet,
    Gateway(String),
    Tunnel(String),
    Platform(String),
    Edge(String),
    CircuitLink(String, Side),
    RouteServer(String),
    /// A private cloud's router or segment, by its node.
    CloudNode(String),
}

/// A TUN that was found is known by its namespace and device, under any owner; one that the lab made by its interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PortName {
    Nic {
        machine: String,
        nic: String,
    },
    Device {
        namespace: AttachNamespace,
        interface: String,
    },
    Internet,
    Gateway(String),
    Tunnel {
        site: String,
        connection: String,
    },
    /// By its virtual network.
    Platform(String),
    Edge(String),
    CircuitLink {
        customer: String,
        circuit: String,
        side: Side,
    },
    RouteServer(String),
    /// A private cloud's router or segment, by its node.
    CloudNode(String),
}

impl Numbers {
    /// The numbers of a network that replaces this one: names that stay keep theirs, new ones get the lowest that are
    /// free. With records given, a number that a record mentions is not free.
    pub(in crate::daemon) fn next(
        &self,
        network: &Network,
        rules: RuleIds,
        records: Option<&FlowTable>,
    ) -> (Self, Ids) {
        let is_free = |count: &dyn Fn(&FlowTable) -> usize| records.is_none_or(|records| count(records) == 0);
        let listed = senders(network);
        let sender_names: Vec<_> = listed.iter().map(|sender| sender_name(network, *sender)).collect();
        let senders = assign(&self.senders, &sender_names, |number| is_free(&|records| records.len_of(NicId(number))));
        let attachments = network.attachments();
        let port_names: Vec<_> = attachments.iter().map(|at| port_name(network, *at)).collect();
        let ports = assign(&self.ports, &port_names, |_| true);
        let vnet_names: Vec<_> = network.virtual_networks.iter().map(|vnet| vnet.name.to_lowercase()).collect();
        let shares =
            assign(&self.shares, &vnet_names, |number| is_free(&|records| records.len_of_share(Share(number as u16))));
        let ids = Ids::new(by_number(&listed, &senders), by_number(&attachments, &ports), rules)
            .sharing(shares.iter().map(|number| Share(*number as u16)).collect());
        let next = Self {
            senders: sender_names.into_iter().zip(senders).collect(),
            ports: port_names.into_iter().zip(ports).collect(),
            shares: vnet_names.into_iter().zip(shares).collect(),
        };
        (next, ids)
    }
}

/// A number for each name, in their order.
fn assign<N: Hash + Eq>(taken: &HashMap<N, u32>, names: &[N], is_free: impl Fn(u32) -> bool) -> Vec<u32> {
    // A name that leaves has its number until the new tables are published.
    let used: HashSet<u32> = taken.values().copied().collect();
    let mut free = (0..).filter(|number| !used.contains(number) && is_free(*number));
    let number = |name| taken.get(name).copied().or_else(|| free.next());
    names.iter().map(number).map(|number| number.expect("there are more numbers than records and names")).collect()
}

fn by_number<T: Copy>(things: &[T], numbers: &[u32]) -> Vec<Option<T>> {
    let highest = numbers.iter().max().map_or(0, |highest| *highest as usize + 1);
    let mut slots = vec![None; highest];
    numbers.iter().zip(things).for_each(|(number, thing)| slots[*number as usize] = Some(*thing));
    slots
}

fn sender_name(network: &Network, sender: Sender) -> SenderName {
    match sender {
        Sender::Nic(nic) => {
            let nic = network.nic(nic);
            let machine = network.vm(nic.virtual_machine).name.to_lowercase();
            SenderName::Nic { machine, nic: nic.name.to_lowercase() }
        }
        Sender::Subnet(subnet) => SenderName::Subnet {
            vnet: network.vnet(subnet.vnet).name.to_lowercase(),
            subnet: network.subnet(subnet).name.to_lowercase(),
        },
        Sender::Internet => SenderName::Internet,
        Sender::Gateway(gateway) => SenderName::Gateway(network.gateway(gateway).name.to_lowercase()),
        Sender::Tunnel(tunnel) => SenderName::Tunnel(network.connection(tunnel).name.to_lowercase()),
        Sender::Platform(vnet) => SenderName::Platform(network.vnet(vnet).name.to_lowercase()),
        Sender::Edge(circuit) => SenderName::Edge(network.circuit(circuit).name.to_lowercase()),
        Sender::CircuitLink(circuit, side) => {
            SenderName::CircuitLink(network.circuit(circuit).name.to_lowercase(), side)
        }
        Sender::RouteServer(server) => SenderName::RouteServer(network.route_server(server).name.to_lowercase()),
        Sender::CloudRouter(cloud, tier) => {
            SenderName::CloudNode(network.cloud(cloud).router_name(tier).to_lowercase())
        }
        Sender::Segment(cloud, segment) => SenderName::CloudNode(network.segment(cloud, segment).node.to_lowercase()),
    }
}

fn port_name(network: &Network, attachment: Attachment) -> PortName {
    let place = |Attach { namespace, interface, .. }: &Attach| PortName::Device {
        namespace: namespace.clone(),
        interface: interface.clone(),
    };
    match attachment {
        Attachment::Nic(nic) => {
            let nic = network.nic(nic);
            let own = || PortName::Nic {
                machine: network.vm(nic.virtual_machine).name.to_lowercase(),
                nic: nic.name.to_lowercase(),
            };
            nic.attach.as_ref().map_or_else(own, place)
        }
        Attachment::Vnet(vnet) => {
            let attach = network.vnet(vnet).attach.as_ref();
            place(attach.expect("only an attached VNet has a TUN"))
        }
        Attachment::Internet => PortName::Internet,
        Attachment::Gateway(gateway) => PortName::Gateway(network.gateway(gateway).name.to_lowercase()),
        Attachment::Tunnel(tunnel) => {
            let site = network.site_of(tunnel).map_or_else(String::new, |site| network.site(site).name.to_lowercase());
            PortName::Tunnel { site, connection: network.connection(tunnel).name.to_lowercase() }
        }
        Attachment::Platform(vnet) => PortName::Platform(network.vnet(vnet).name.to_lowercase()),
        Attachment::Edge(circuit) => PortName::Edge(network.circuit(circuit).name.to_lowercase()),
        Attachment::CircuitLink(circuit, side) => PortName::CircuitLink {
            customer: network.customer_name(circuit).map_or_else(String::new, str::to_lowercase),
            circuit: network.circuit(circuit).name.to_lowercase(),
            side,
        },
        Attachment::RouteServer(server) => PortName::RouteServer(network.route_server(server).name.to_lowercase()),
        Attachment::CloudRouter(cloud, tier) => {
            PortName::CloudNode(network.cloud(cloud).router_name(tier).to_lowercase())
        }
        Attachment::Segment(cloud, segment) => PortName::CloudNode(network.segment(cloud, segment).node.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_that_stays_keeps_its_number() {
        let taken = HashMap::from([("web".to_owned(), 0), ("db".to_owned(), 1), ("nva".to_owned(), 2)]);
        assert_eq!(assign(&taken, &names(&["new", "nva", "web"]), |_| true), [3, 2, 0]);
    }

    #[test]
    fn a_number_is_free_once_no_name_has_it_and_no_record_mentions_it() {
        let taken = HashMap::from([("web".to_owned(), 0), ("db".to_owned(), 4)]);
        assert_eq!(assign(&taken, &names(&["web", "a", "b", "c"]), |number| number != 2), [0, 1, 3, 5]);
    }
}

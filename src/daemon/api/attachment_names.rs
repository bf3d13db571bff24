//! The names of an attachment, as listings and captures print them.

use std::net::IpAddr;

use crate::dataplane::platform::PLATFORM;
use crate::model::{Attachment, Customer, Internet, Network, PLATFORM_NODE, SubnetIx};

/// An attachment's names: a machine and its interface, or a VNet and the device it hangs on.
pub(super) struct AttachmentNames {
    pub(super) node: String,
    pub(super) nic: String,
    pub(super) subnet: String,
    pub(super) addresses: Vec<IpAddr>,
}

impl AttachmentNames {
    pub(super) fn of(network: &Network, attachment: Attachment) -> Self {
        match attachment {
            Attachment::Vnet(vnet) => {
                let vnet = network.vnet(vnet);
                let attach = vnet.attach.as_ref();
                Self {
                    node: vnet.name.clone(),
                    nic: attach.map(|attach| attach.interface.clone()).unwrap_or_default(),
                    subnet: vnet.name.clone(),
                    addresses: attach.iter().flat_map(|attach| &attach.addresses).map(ipnet::IpNet::addr).collect(),
                }
            }
            Attachment::Nic(nic) => {
                let nic = network.nic(nic);
                let (vnet, subnet) = (network.vnet(nic.subnet.vnet), network.subnet(nic.subnet));
                Self {
                    node: network.vm(nic.virtual_machine).name.clone(),
                    nic: nic.name.clone(),
                    subnet: format!("{}/{}", vnet.name, subnet.name),
                    addresses: nic.addresses.clone(),
                }
            }
            Attachment::Internet => Self {
                node: Internet::NAME.to_owned(),
                nic: Internet::INTERFACE.to_owned(),
                subnet: String::new(),
                addresses: network.internet.iter().flat_map(|internet| internet.addresses.clone()).collect(),
            },
            Attachment::Gateway(gateway) => {
                let gateway = network.gateway(gateway);
                Self::alone(network, &gateway.name, gateway.subnet, gateway.addresses())
            }
            Attachment::RouteServer(server) => {
                let server = network.route_server(server);
                Self::alone(network, &server.name, server.subnet, server.instances.to_vec())
            }
            Attachment::Tunnel(tunnel) => {
                let site = network.site_of(tunnel).map(|site| network.site(site));
                Self {
                    node: site.map(|site| site.name.clone()).unwrap_or_default(),
                    nic: network.connection(tunnel).name.clone(),
                    subnet: String::new(),
                    addresses: site.map(|site| site.addresses.clone()).unwrap_or_default(),
                }
            }
            Attachment::Platform(vnet) => Self {
                node: PLATFORM_NODE.to_owned(),
                nic: network.vnet(vnet).name.clone(),
                subnet: String::new(),
                addresses: vec![PLATFORM],
            },
            Attachment::Edge(circuit) => Self {
                node: network.circuit(circuit).name.clone(),
                nic: network.circuit(circuit).name.clone(),
                subnet: String::new(),
                addresses: network.edge_addresses(circuit),
            },
            Attachment::CircuitLink(circuit, side) => Self {
                node: network.customer_name(circuit).map(str::to_owned).unwrap_or_default(),
                nic: network.circuit_link_name(circuit, side),
                subnet: String::new(),
                addresses: network.customer_addresses(circuit, side),
            },
            Attachment::CloudRouter(cloud, tier) => {
                let cloud = network.cloud(cloud);
                let addresses = cloud.router_addresses(tier).into_iter().map(|it| it.addr().into()).collect();
                let name = cloud.router_name(tier).to_owned();
                Self { node: name.clone(), nic: name, subnet: String::new(), addresses }
            }
            Attachment::Segment(cloud, segment) => Self {
                node: network.segment(cloud, segment).node.clone(),
                nic: network.segment(cloud, segment).name.clone(),
                subnet: format!("{}/{}", network.cloud(cloud).name, network.segment(cloud, segment).name),
                addresses: network.addresses_of_customer(Customer::Segment(cloud, segment)),
            },
        }
    }

    /// Of what is the only one in a node, and has its name.
    fn alone(network: &Network, name: &str, at: SubnetIx, addresses: Vec<IpAddr>) -> Self {
        let (vnet, subnet) = (network.vnet(at.vnet), network.subnet(at));
        Self {
            node: name.to_owned(),
            nic: name.to_owned(),
            subnet: format!("{}/{}", vnet.name, subnet.name),
            addresses,
        }
    }
}

//! The boxes of a network: virtual networks with their subnets and all that has an address in them, and what is
//! outside.

use std::net::IpAddr;

use crate::analysis::query::names::nic_name;
use crate::model::{
    Attach, CircuitIx, Customer, FrontendSite, GatewayKind, Network, NicIx, PowerState, SubnetIx, VirtualNetwork,
    VnetIx, counted,
};

use super::links::{self, Places};
use super::{Graph, MarkKind, Node, NodeKind};

/// Boxes that a subnet shows; what is more is counted.
const SHOWN: usize = 12;

/// A network as boxes and links; `folded`: each virtual network is one box.
pub fn graph(network: &Network, folded: bool) -> Graph {
    let mut nodes = Vec::new();
    let mut places = Places::default();
    if network.internet.is_some() {
        places.internet = Some(nodes.len());
        nodes.push(internet(network));
    }
    // A private cloud's box lists its segments.
    for customer in network.customers().filter(|customer| customer.at_circuit() == *customer) {
        places.customers.push((customer, nodes.len()));
        nodes.push(outside(network, customer));
    }
    for (circuit, _) in network.circuits() {
        places.circuits.push(nodes.len());
        nodes.push(circuit_box(network, circuit));
    }
    for vnet in (0..network.virtual_networks.len()).map(VnetIx) {
        places.vnets.push(nodes.len());
        nodes.push(if folded { folded_vnet(network, vnet) } else { unfolded_vnet(network, vnet) });
    }
    let mut graph = Graph { title: network.name.clone(), nodes, ..Graph::default() };
    links::add(network, &places, &mut graph);
    graph
}

fn internet(network: &Network) -> Node {
    let addresses = network.internet.iter().flat_map(|internet| &internet.addresses);
    Node { lines: few(addresses.map(ToString::to_string)), ..Node::new(NodeKind::Internet, "internet") }
}

fn outside(network: &Network, customer: Customer) -> Node {
    let name = network.name_of_customer(customer);
    match customer {
        Customer::Site(ix) => {
            let site = network.site(ix);
            let lines = few(site.address_space.iter().map(ToString::to_string));
            if site.client_of.is_some() {
                return Node { lines, ..Node::new(NodeKind::Client, name) }.line("point-to-site client");
            }
            let node = Node { lines, ..Node::new(NodeKind::Site, name) };
            let node = if site.run.is_none() { node } else { node.line("own router") };
            match &site.bgp {
                Some(bgp) => node.line(format!("AS {}", bgp.asn)),
                None => node,
            }
        }
        Customer::Cloud(ix) | Customer::Segment(ix, _) => {
            let cloud = network.cloud(ix);
            let segments = cloud.ranges().map(|segment| format!("{} {}", segment.name, segment.prefix));
            let lines = few(std::iter::once(cloud.block.to_string()).chain(segments));
            Node { lines, ..Node::new(NodeKind::PrivateCloud, name) }
        }
    }
}

fn circuit_box(network: &Network, at: CircuitIx) -> Node {
    let circuit = network.circuit(at);
    let node = Node::new(NodeKind::Circuit, &circuit.name);
    match network.circuit_fault(at) {
        Some(_) => node.line("down"),
        None if circuit.peering_location.is_empty() => node,
        None => node.line(&circuit.peering_location),
    }
}

fn vnet_box(vnet: &VirtualNetwork) -> Node {
    let lines = few(vnet.address_space.iter().map(ToString::to_string));
    Node { lines, ..Node::new(NodeKind::VirtualNetwork, &vnet.name) }
}

/// One box, with what is in it counted.
fn folded_vnet(network: &Network, at: VnetIx) -> Node {
    let vnet = network.vnet(at);
    let nics = network.network_interfaces.iter().filter(|nic| nic.subnet.vnet == at);
    let mut machines: Vec<_> = nics.map(|nic| nic.virtual_machine).collect();
    machines.dedup();
    let mut node = vnet_box(vnet);
    node.lines.push(format!(
        "{}, {}",
        counted(vnet.subnets.len() as u64, "subnet"),
        counted(machines.len() as u64, "machine")
    ));
    for gateway in network.gateways_of(at) {
        node.lines.push(format!("gateway {}", network.gateway(gateway).name));
    }
    if let Some(server) = network.route_server_of(at) {
        node.lines.push(format!("route server {}", network.route_server(server).name));
    }
    node
}

fn unfolded_vnet(network: &Network, at: VnetIx) -> Node {
    let vnet = network.vnet(at);
    let mut node = vnet_box(vnet);
    let subnets = (0..vnet.subnets.len()).map(|subnet| SubnetIx { vnet: at, subnet });
    node.inner = subnets.map(|at| subnet(network, at)).collect();
    if let Some(attach) = &vnet.attach {
        node.inner.push(attached(attach));
    }
    node.inner.extend(public_balancers(network, at));
    node
}

fn subnet(network: &Network, at: SubnetIx) -> Node {
    let subnet = network.subnet(at);
    let lines = few(subnet.prefixes.iter().map(ToString::to_string));
    let mut node = Node { lines, ..Node::new(NodeKind::Subnet, &subnet.name) };
    if let Some(table) = subnet.route_table {
        node = node.mark(MarkKind::RouteTable, &network.route_tables[table.0].name);
    }
    if let Some(nsg) = subnet.network_security_group {
        node = node.mark(MarkKind::SecurityGroup, &network.network_security_groups[nsg.0].name);
    }
    if let Some(nat) = subnet.nat_gateway {
        node = node.mark(MarkKind::NatGateway, &network.nat_gateway(nat).name);
    }
    let mut inner = services(network, at);
    let nics = (0..network.network_interfaces.len()).map(NicIx).filter(|nic| network.nic(*nic).subnet == at);
    inner.extend(nics.map(|nic| machine(network, nic)));
    let more = inner.len().saturating_sub(SHOWN);
    if more > 1 {
        inner.truncate(SHOWN);
        node.lines.push(format!("and {more} more, not shown"));
    }
    Node { inner, ..node }
}

/// What has an address in a subnet beside machines.
fn services(network: &Network, at: SubnetIx) -> Vec<Node> {
    let gateways = network.gateways().filter(|(_, gateway)| gateway.subnet == at).map(|(_, gateway)| {
        let kind = match gateway.kind {
            GatewayKind::Vpn if gateway.is_active_active() => "VPN, active-active",
            GatewayKind::Vpn => "VPN",
            GatewayKind::ExpressRoute { .. } => "ExpressRoute",
        };
        let node = Node::new(NodeKind::Gateway, &gateway.name).line(kind);
        match &gateway.bgp {
            Some(bgp) => node.line(format!("AS {}", bgp.asn)),
            None => node,
        }
    });
    let servers = network.route_servers.iter().filter(|server| server.subnet == at);
    let servers = servers.map(|server| Node {
        lines: server.instances.iter().map(ToString::to_string).collect(),
        ..Node::new(NodeKind::RouteServer, &server.name)
    });
    let endpoints = network.private_endpoints.iter().filter(|endpoint| endpoint.subnet == at);
    let endpoints = endpoints
        .map(|endpoint| Node::new(NodeKind::PrivateEndpoint, &endpoint.name).line(endpoint.address.to_string()));
    let frontends = network.frontends().filter(|(_, frontend)| frontend.subnet() == Some(at));
    let frontends = frontends.map(|(ix, frontend)| {
        Node::new(NodeKind::LoadBalancer, &network.load_balancers[ix.balancer].name).line(frontend.address.to_string())
    });
    gateways.chain(servers).chain(endpoints).chain(frontends).collect()
}

fn machine(network: &Network, at: NicIx) -> Node {
    let nic = network.nic(at);
    let vm = network.vm(nic.virtual_machine);
    let name = if vm.network_interfaces.len() > 1 { nic_name(network, at) } else { vm.name.clone() };
    let mut node =
        Node { lines: few(nic.addresses.iter().map(ToString::to_string)), ..Node::new(NodeKind::Machine, name) };
    let public = nic.public_addresses.iter().map(|one| network.public_ip(one.public).address);
    node.lines.extend(public.map(|address: IpAddr| format!("public {address}")));
    if nic.enable_ip_forwarding {
        node.lines.push("forwards".to_owned());
    }
    if vm.power_state == PowerState::Stopped {
        node.lines.push("stopped".to_owned());
    }
    if let Some(nsg) = nic.network_security_group {
        node = node.mark(MarkKind::SecurityGroup, &network.network_security_groups[nsg.0].name);
    }
    for group in network.application_security_groups.iter().filter(|group| group.members.contains(&at)) {
        node = node.mark(MarkKind::ApplicationGroup, &group.name);
    }
    node
}

fn attached(attach: &Attach) -> Node {
    Node::new(NodeKind::Attached, &attach.interface)
}

/// Those with public frontends are in the network of their backends.
fn public_balancers(network: &Network, at: VnetIx) -> impl Iterator<Item = Node> {
    let here = move |nic: NicIx| network.nic(nic).subnet.vnet == at;
    let balancers = network.load_balancers.iter().filter(move |owner| owner.backends().any(|one| here(one.nic)));
    balancers.filter_map(|owner| {
        let public = owner.frontends.iter().filter(|one| matches!(one.site, FrontendSite::Public(_)));
        let lines = few(public.map(|frontend| format!("public {}", frontend.address)));
        (!lines.is_empty()).then(|| Node { lines, ..Node::new(NodeKind::LoadBalancer, &owner.name) })
    })
}

/// The first few of many.
fn few(all: impl Iterator<Item = String>) -> Vec<String> {
    const FEW: usize = 4;
    let mut all: Vec<_> = all.collect();
    let more = all.len().saturating_sub(FEW);
    if more > 1 {
        all.truncate(FEW);
        all.push(format!("and {more} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_tells_how_many_more_there_are_stands_for_two_at_least() {
        let told = |count: u32| few((0..count).map(|n| n.to_string())).join(" ");
        assert_eq!((told(0), told(4), told(5)), (String::new(), "0 1 2 3".into(), "0 1 2 3 4".into()));
        assert_eq!((told(6), told(40)), ("0 1 2 3 and 2 more".into(), "0 1 2 3 and 36 more".into()));
    }
}

//! The links between the outermost boxes: peerings, tunnels, circuits and the Internet.

use std::collections::BTreeSet;

use crate::model::{
    ConnectionIx, Customer, LinkIx, Network, NicIx, PeeringExtent, PeeringState, Remote, SubnetIx, SyncLevel, VnetIx,
};

use super::{Graph, Link, LinkKind, LinkState, Node, NodeKind, Tone};

/// Where the boxes of a network are in [`Graph::nodes`].
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) internet: Option<usize>,
    pub(super) customers: Vec<(Customer, usize)>,
    /// By circuit.
    pub(super) circuits: Vec<usize>,
    /// By virtual network.
    pub(super) vnets: Vec<usize>,
}

impl Places {
    fn customer(&self, customer: Customer) -> Option<usize> {
        self.customers.iter().find(|(one, _)| *one == customer).map(|(_, at)| *at)
    }
}

/// Adds every link, and a box for each end that is not there.
pub(super) fn add(network: &Network, places: &Places, graph: &mut Graph) {
    internet(network, places, graph);
    circuits(network, places, graph);
    tunnels(network, places, graph);
    peerings(network, places, graph);
}

fn link(kind: LinkKind, ends: [usize; 2], state: LinkState, label: Option<String>) -> Link {
    Link { kind, names: Vec::new(), ends, state, label, tone: Tone::Plain }
}

fn missing(graph: &mut Graph, name: &str) -> usize {
    let known = |node: &Node| node.kind == NodeKind::Missing && node.name == name;
    graph.nodes.iter().position(known).unwrap_or_else(|| {
        graph.nodes.push(Node::new(NodeKind::Missing, name));
        graph.nodes.len() - 1
    })
}

/// A network with public addresses, or with machines that have the address of default outbound access.
fn internet(network: &Network, places: &Places, graph: &mut Graph) {
    let Some(internet) = places.internet else { return };
    for vnet in (0..network.virtual_networks.len()).map(VnetIx) {
        if has_public(network, vnet) {
            graph.links.push(link(LinkKind::Internet, [internet, places.vnets[vnet.0]], LinkState::Up, None));
        } else if has_default(network, vnet) {
            let label = Some("default outbound".to_owned());
            graph.links.push(link(LinkKind::Internet, [internet, places.vnets[vnet.0]], LinkState::OneSided(1), label));
        }
    }
}

fn has_public(network: &Network, vnet: VnetIx) -> bool {
    let here = |nic: NicIx| network.nic(nic).subnet.vnet == vnet;
    let instances =
        network.network_interfaces.iter().any(|nic| nic.subnet.vnet == vnet && !nic.public_addresses.is_empty());
    let nat = network.vnet(vnet).subnets.iter().any(|subnet| subnet.nat_gateway.is_some());
    let mut public = network.load_balancers.iter().filter(|balancer| balancer.is_public());
    let balanced = public.any(|balancer| balancer.backends().any(|backend| here(backend.nic)));
    instances || nat || balanced
}

fn has_default(network: &Network, vnet: VnetIx) -> bool {
    let open = |at: SubnetIx| network.subnet(at).has_default_outbound_access();
    network.network_interfaces.iter().any(|nic| nic.subnet.vnet == vnet && open(nic.subnet))
}

/// Customers at their circuits, and circuits joined by Global Reach.
fn circuits(network: &Network, places: &Places, graph: &mut Graph) {
    let state = |up: bool| if up { LinkState::Up } else { LinkState::Down };
    for (at, circuit) in network.circuits() {
        let here = places.circuits[at.0];
        let fault = network.circuit_fault(at);
        if let Some(customer) = network.customer(at).and_then(|customer| places.customer(customer)) {
            let label = fault.map(|_| "down".to_owned());
            graph.links.push(link(LinkKind::ExpressRoute, [customer, here], state(fault.is_none()), label));
        }
        for reach in &circuit.reach {
            let up = network.reach_fault(at, reach).is_none();
            let label = Some(if up { "Global Reach" } else { "Global Reach, down" }.to_owned());
            let ends = [here, places.circuits[reach.peer.0]];
            graph.links.push(link(LinkKind::GlobalReach, ends, state(up), label));
        }
    }
}

/// Connections of gateways. Two that join the same ends are one line.
fn tunnels(network: &Network, places: &Places, graph: &mut Graph) {
    let mut drawn: Vec<Joined> = Vec::new();
    for (at, connection) in network.connections.iter().enumerate() {
        let near = places.vnets[network.gateway(connection.gateway).subnet.vnet.0];
        let (kind, far) = match connection.remote {
            Remote::Local(local) => {
                let site = network.site_of(ConnectionIx(at)).and_then(|site| places.customer(Customer::Site(site)));
                let far = site.unwrap_or_else(|| missing(graph, &network.local_gateway(local).name));
                (LinkKind::Tunnel, far)
            }
            Remote::Client(client) => match places.customer(Customer::Site(client)) {
                Some(place) => (LinkKind::Tunnel, place),
                None => continue,
            },
            Remote::Gateway(far) => (LinkKind::Tunnel, places.vnets[network.gateway(far).subnet.vnet.0]),
            Remote::Circuit(circuit) => (LinkKind::ExpressRoute, places.circuits[circuit.0]),
        };
        let up = usize::from(network.tunnel_fault(ConnectionIx(at)).is_none());
        let same = |one: &&mut Joined| one.kind == kind && (one.ends == [far, near] || one.ends == [near, far]);
        match drawn.iter_mut().find(same) {
            Some(one) => {
                one.up += up;
                one.names.push(connection.name.clone());
            }
            None => drawn.push(Joined { kind, ends: [far, near], up, names: vec![connection.name.clone()] }),
        }
    }
    for Joined { kind, ends, up, names } in drawn {
        let (state, label) = standing(kind, up, names.len());
        graph.links.push(Link { names, ..link(kind, ends, state, Some(label)) });
    }
}

/// How the connections between two boxes are, of which so many are up.
fn standing(kind: LinkKind, up: usize, all: usize) -> (LinkState, String) {
    let what = if kind == LinkKind::Tunnel { "VPN" } else { "ExpressRoute" };
    match (up, all) {
        (0, _) => (LinkState::Down, format!("{what}, down")),
        (1, 1) => (LinkState::Up, what.to_owned()),
        (up, all) if up == all => (LinkState::Up, format!("{what}, {all} connections")),
        (up, all) => (LinkState::Up, format!("{what}, {up} of {all} up")),
    }
}

/// Marks what is down in a running lab, though its file has no fault: connections by their names, one for each row, and
/// circuits.
pub fn with_down(graph: &mut Graph, connections: &[String], circuits: &[String]) {
    let down = |name: &String| connections.iter().filter(|one| *one == name).count();
    let broken: Vec<_> =
        graph.nodes.iter().map(|node| node.kind == NodeKind::Circuit && circuits.contains(&node.name)).collect();
    for link in &mut graph.links {
        let [a, b] = link.ends;
        if matches!(link.kind, LinkKind::Tunnel | LinkKind::ExpressRoute) && !link.names.is_empty() {
            let names: BTreeSet<_> = link.names.iter().collect();
            let up = link.names.len().saturating_sub(names.into_iter().map(down).sum());
            let (state, label) = standing(link.kind, up, link.names.len());
            (link.state, link.label) = (state, Some(label));
        } else if link.kind == LinkKind::ExpressRoute && (broken[a] || broken[b]) {
            (link.state, link.label) = (LinkState::Down, Some("down".to_owned()));
        }
    }
}

/// Connections that join the same two boxes.
struct Joined {
    kind: LinkKind,
    ends: [usize; 2],
    up: usize,
    names: Vec<String>,
}

/// Each pair of links is one line; a link without its other side is one too, and looks it.
fn peerings(network: &Network, places: &Places, graph: &mut Graph) {
    for at in network.links() {
        let own = network.link(at);
        let other = network.counterpart(at);
        // Drawn where the other side comes by.
        if other.is_some_and(|other| other < at) {
            continue;
        }
        let ends = [places.vnets[at.vnet.0], places.vnets[own.remote.0]];
        let states = [Some(own.state), other.map(|other| network.link(other).state)];
        let (state, words) = match states {
            [Some(PeeringState::Connected), Some(PeeringState::Connected)] => (LinkState::Up, None),
            [Some(PeeringState::Disconnected), _] | [_, Some(PeeringState::Disconnected)] => {
                (LinkState::Down, Some("Disconnected".to_owned()))
            }
            [_, None] => (LinkState::OneSided(0), Some("Initiated, one side".to_owned())),
            _ => (LinkState::OneSided(0), Some("Initiated".to_owned())),
        };
        let label = words.or_else(|| remarks(network, at, other));
        let names = [Some(at), other].into_iter().flatten();
        let names = names.filter(|at| !network.link(*at).implied).map(|at| network.link_name(at)).collect();
        graph.links.push(Link { names, ..link(LinkKind::Peering, ends, state, label) });
    }
    for lost in &network.lost_links {
        let gone = missing(graph, lost.remote());
        let label = Some("Disconnected".to_owned());
        let line = link(LinkKind::Peering, [places.vnets[lost.vnet.0], gone], LinkState::Down, label);
        graph.links.push(Link { names: vec![lost.full_name()], ..line });
    }
}

/// What is unusual about a peering that is up.
fn remarks(network: &Network, at: LinkIx, other: Option<LinkIx>) -> Option<String> {
    let links: Vec<_> = [Some(at), other].into_iter().flatten().map(|at| network.link(at)).collect();
    let any = |is: &dyn Fn(&crate::model::Peering) -> bool| links.iter().any(|link| is(link));
    let mut words = Vec::new();
    if any(&|link| !link.allow_virtual_network_access) {
        words.push("no access");
    }
    if any(&|link| link.use_remote_gateways) {
        words.push("gateway transit");
    }
    if any(&|link| matches!(link.extent, PeeringExtent::Subnets(_))) {
        words.push("subnets");
    }
    if network.sync_level(at) != SyncLevel::FullyInSync {
        words.push("not in sync");
    }
    (!words.is_empty()).then(|| words.join(", "))
}

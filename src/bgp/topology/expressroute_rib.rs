//! The routes that Azure's routers exchange over ExpressRoute: gateways, edges of circuits and circuits' customers.
//!
//! One idea: each router is a [`Rib`], and they exchange routes until no change is pending. The advertised routes
//! follow from the policy of each session; the RIBs pick best paths and prevent loops. No
//! sockets: what a customer's own router advertises comes in as [`Learned`], and its BGP session advertises to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::bgp::message::Reach;
use crate::bgp::rib::{Neighbour, Rib};
use crate::bgp::{AsPath, Asn, Export, Group, Import, NextHops, Origination, PeerId, Policy, Source, Update};
use crate::model::{
    AZURE_ASN, CircuitIx, CircuitTransit, ConnectionIx, EDGE_ASN, GatewayIx, GatewayKind, Learned, Network, Remote,
};

use super::circuits::{advertisements, customer_asn};

/// Groups of peers: the export policy of an edge depends on them alone.
const CUSTOMER: Group = Group(1);
const GATEWAY: Group = Group(2);
const EDGE: Group = Group(3);

/// The router that a route forwards to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRouter {
    /// To the circuit's customer.
    Customer(CircuitIx),
    /// To the gateway that a connection is of.
    Gateway(GatewayIx),
    /// To another circuit's edge: of a connection, or by Global Reach.
    Edge { circuit: CircuitIx, over: Option<ConnectionIx> },
}

/// One path to a prefix in a router's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressRoutePath {
    pub next: NextRouter,
    /// Nearest first.
    pub as_path: Vec<u32>,
    pub weight: u32,
}

/// The owner of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Router {
    Gateway(GatewayIx),
    Edge(CircuitIx),
    Customer(CircuitIx),
}

/// A session from one end.
#[derive(Debug)]
struct Session {
    /// Index of the other router.
    with: usize,
    next: NextRouter,
}

#[derive(Debug)]
struct Node {
    router: Router,
    rib: Rib,
    /// By [`PeerId`].
    sessions: Vec<Session>,
}

/// The routes of all routers, after all exchanges.
#[derive(Debug, Default)]
pub struct Exchange(Vec<Node>);

impl Exchange {
    pub fn of(network: &Network, learned: &Learned) -> Self {
        let mut all = Self::default();
        if network.express_route_circuits.is_empty() {
            return all;
        }
        all.routers(network);
        all.customers(network, learned);
        all.connections(network, learned);
        all.global_reach(network);
        all.talk();
        all.learn_from_route_servers(network, learned);
        all.talk();
        all
    }

    /// The best paths of a gateway, all equal, by prefix.
    pub fn gateway(&self, gateway: GatewayIx) -> BTreeMap<IpNet, Vec<ExpressRoutePath>> {
        self.paths(Router::Gateway(gateway))
    }

    /// The same of a circuit's edge.
    pub fn edge(&self, circuit: CircuitIx) -> BTreeMap<IpNet, Vec<ExpressRoutePath>> {
        self.paths(Router::Edge(circuit))
    }

    /// The routes advertised to a circuit's customer.
    pub fn customer(&self, circuit: CircuitIx) -> BTreeMap<IpNet, Vec<ExpressRoutePath>> {
        self.paths(Router::Customer(circuit))
    }

    fn paths(&self, router: Router) -> BTreeMap<IpNet, Vec<ExpressRoutePath>> {
        let Some(node) = self.0.iter().find(|node| node.router == router) else { return BTreeMap::new() };
        let paths = |prefix: &IpNet| {
            let learned = node.rib.best(prefix).filter_map(|path| {
                let Source::Peer(PeerId(peer)) = path.source else { return None };
                let next = node.sessions[peer as usize].next;
                let as_path = path.attributes.as_path.asns().map(|Asn(asn)| asn).collect();
                Some(ExpressRoutePath { next, as_path, weight: path.weight })
            });
            learned.collect::<Vec<_>>()
        };
        let all = node.rib.prefixes().map(|prefix| (*prefix, paths(prefix)));
        all.filter(|(_, paths)| !paths.is_empty()).collect()
    }

    fn routers(&mut self, network: &Network) {
        for (ix, gateway) in network.gateways() {
            if matches!(gateway.kind, GatewayKind::ExpressRoute { .. }) {
                self.add(Router::Gateway(ix), AZURE_ASN, network.advertised_space(ix));
            }
        }
        for (ix, _) in network.circuits().filter(|(ix, _)| network.circuit_fault(*ix).is_none()) {
            self.add(Router::Edge(ix), EDGE_ASN, Vec::new());
        }
    }

    fn customers(&mut self, network: &Network, learned: &Learned) {
        for (ix, circuit) in network.circuits() {
            let (Some(asn), Some(_)) = (customer_asn(network, ix), &circuit.peering) else { continue };
            let Some(edge) = self.find(Router::Edge(ix)) else { continue };
            let customer = self.add(Router::Customer(ix), asn, Vec::new());
            for (prefix, advertised) in advertisements(network, learned, ix).iter() {
                // Its own number is put in front of it again.
                self.originate(customer, *prefix, advertised.as_path.get(1..).unwrap_or_default());
            }
            let next = NextRouter::Customer(ix);
            // ER-05: one customer's routes are not advertised to another. Azure's own numbers stay inside.
            let to_customer =
                Export { refuse_from: vec![CUSTOMER], without: vec![Asn(AZURE_ASN)], ..Export::default() };
            let from_customer = Policy { group: CUSTOMER, import: Import::default(), export: to_customer };
            let of_edge = Policy { group: EDGE, import: Import::default(), export: Export::default() };
            self.peer((edge, next, from_customer), (customer, NextRouter::Edge { circuit: ix, over: None }, of_edge));
        }
    }

    fn connections(&mut self, network: &Network, learned: &Learned) {
        for (ix, connection) in (0..).map(ConnectionIx).zip(&network.connections) {
            let Remote::Circuit(circuit) = connection.remote else { continue };
            let ends = (self.find(Router::Gateway(connection.gateway)), self.find(Router::Edge(circuit)));
            let (Some(gateway), Some(edge)) = ends else { continue };
            // A failed instance has no session (VPN-30).
            if !learned.tunnel_is_up(network, ix) {
                continue;
            }
            let takes_vnets = match (network.emulation.er_vnet_to_vnet, network.gateway(connection.gateway).kind) {
                (CircuitTransit::Always, _) => true,
                (CircuitTransit::Property, GatewayKind::ExpressRoute { remote_vnets }) => remote_vnets,
                (CircuitTransit::Property, GatewayKind::Vpn) => false,
            };
            // GR-04: routes over Global Reach are for the customer alone. ER-15: other networks, where it wants them.
            let refused = if takes_vnets { vec![EDGE] } else { vec![EDGE, GATEWAY] };
            let to_gateway = Export { refuse_from: refused, without: vec![Asn(AZURE_ASN)], ..Export::default() };
            let from_gateway = Policy { group: GATEWAY, import: Import::default(), export: to_gateway };
            // BGP-11; ER-13; and a gateway carries nothing from circuit to circuit (ER-05).
            let import = Import {
                refuse_within: network.gateway_space(connection.gateway),
                weight: connection.routing_weight,
                prefixes_max: None,
            };
            let to_edge = Export { refuse_from: vec![EDGE], ..Export::default() };
            let of_edge = Policy { group: EDGE, import, export: to_edge };
            self.peer(
                (edge, NextRouter::Gateway(connection.gateway), from_gateway),
                (gateway, NextRouter::Edge { circuit, over: Some(ix) }, of_edge),
            );
        }
    }

    fn global_reach(&mut self, network: &Network) {
        for (near, _) in network.circuits() {
            for far in network.reached_from(near).into_iter().filter(|far| near < *far) {
                let ends = (self.find(Router::Edge(near)), self.find(Router::Edge(far)));
                let (Some(at_near), Some(at_far)) = ends else { continue };
                // GR-04, GR-06: the customer's routes, and nothing else.
                let export = Export { refuse_from: vec![GATEWAY, EDGE], ..Export::default() };
                let policy = Policy { group: EDGE, import: Import::default(), export };
                let next = |circuit| NextRouter::Edge { circuit, over: None };
                self.peer((at_near, next(far), policy.clone()), (at_far, next(near), policy));
            }
        }
    }

    /// The routes of gateways from the route server of their VNet, where no circuit leads there (ARS-06, BGP-23).
    fn learn_from_route_servers(&mut self, network: &Network, learned: &Learned) {
        for (ix, gateway) in network.gateways() {
            let heard = learned.bgp.by_gateway.get(&gateway.name).into_iter().flatten();
            let Some(node) = self.find(Router::Gateway(ix)) else { continue };
            for (prefix, advertised) in heard.filter(|(_, advertised)| !advertised.as_path.contains(&EDGE_ASN)) {
                if self.0[node].rib.best(prefix).next().is_none() {
                    self.originate(node, *prefix, &advertised.as_path);
                }
            }
        }
    }

    fn find(&self, router: Router) -> Option<usize> {
        self.0.iter().position(|node| node.router == router)
    }

    fn add(&mut self, router: Router, asn: u32, networks: Vec<IpNet>) -> usize {
        let mut rib = Rib::new(Asn(asn));
        for network in networks {
            rib.originate(network, Source::Network, Origination::default());
        }
        self.0.push(Node { router, rib, sessions: Vec::new() });
        self.0.len() - 1
    }

    /// Adds a route that a router has from outside this exchange.
    fn originate(&mut self, node: usize, prefix: IpNet, as_path: &[u32]) {
        let as_path = AsPath::sequence(as_path.iter().copied().map(Asn));
        self.0[node].rib.originate(prefix, Source::Static, Origination { as_path, ..Origination::default() });
    }

    /// Opens a session. Each end: its router, the next router that the other end is, and its policy.
    fn peer(&mut self, near: (usize, NextRouter, Policy), far: (usize, NextRouter, Policy)) {
        let ends = [near.0, far.0];
        for ((own, next, mut policy), other) in [near, far].into_iter().zip([ends[1], ends[0]]) {
            policy.export.next_hops = next_hops(own);
            let asn = self.0[other].rib.asn();
            let node = &mut self.0[own];
            let internal = node.rib.asn() == asn;
            let neighbour = Neighbour { asn, internal, identifier: identifier(other) };
            node.rib.peer_up(PeerId(node.sessions.len() as u32), neighbour, policy);
            node.sessions.push(Session { with: other, next });
        }
    }

    /// Exchanges routes until none is pending. A round takes a route one router further, and no path is longer than the
    /// number of routers.
    fn talk(&mut self) {
        for _ in 0..=self.0.len() {
            let mut silent = true;
            for from in 0..self.0.len() {
                for peer in 0..self.0[from].sessions.len() {
                    let to = self.0[from].sessions[peer].with;
                    let heard = self.0[to].sessions.iter().position(|session| session.with == from);
                    let heard = PeerId(heard.expect("a session has two ends") as u32);
                    while let Some((prefix, route)) = self.0[from].rib.poll_announcement(PeerId(peer as u32)) {
                        silent = false;
                        let update = match route {
                            None => Update { withdrawn: vec![prefix], ..Update::default() },
                            Some(route) => Update {
                                announced: vec![Reach { next_hop: route.next_hop, prefixes: vec![prefix] }],
                                attributes: Arc::clone(&route.attributes),
                                ..Update::default()
                            },
                        };
                        self.0[to].rib.update(heard, &update).expect("sessions in here have no prefix limit");
                    }
                }
            }
            if silent {
                return;
            }
        }
    }
}

/// Numbers that tell routers apart, in the form that BGP has for them.
fn identifier(node: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(node as u32 + 1)
}

fn next_hops(node: usize) -> NextHops {
    let number = node as u32 + 1;
    NextHops { ipv4: Some(identifier(node)), ipv6: Some(Ipv6Addr::from_bits(number.into())) }
}

/// The address that listings show for one of an edge's links (SYS-09a): of Azure's underlay.
pub fn underlay(circuit: CircuitIx) -> [IpAddr; 2] {
    let first = Ipv4Addr::new(10, 3, 129, 92).to_bits() + 2 * circuit.0 as u32;
    [first, first + 1].map(|bits| Ipv4Addr::from_bits(bits).into())
}

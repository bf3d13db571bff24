//! The BGP sessions of a network, and what each router advertises, accepts and passes on.
//!
//! One idea: a network describes routers, [`nodes`] writes down each as BGP knows it, and nothing else turns Azure's
//! rules into BGP's words. A driver with sockets runs them; [`converge`] runs them in memory, for answers from a file
//! alone. What they have learned becomes [`BgpLearned`](crate::model::BgpLearned) in one way for both
//! ([`collect_learned`]).

pub mod circuits;
mod converge;
mod express_route;
pub mod expressroute_rib;
mod inner;
mod learned;
mod route_server;
mod view;
mod vpn;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::model::{Learned, Network};

use super::{Asn, Group, NextHops, Origination, PeerConfig, PeerId, Retry, Source, Speaker};

pub use converge::{Converged, converge, relearned};
pub use inner::{gateway_peers, gateway_rows};
pub use learned::{collect_learned, kernel_routes, routers};
pub use view::{
    Origin, PeerRow, PeerState, RouteRow, advertised_rows, learned_rows, peer_rows, refused_rows,
    seen_from_the_other_end,
};

/// A lab's routers come up together, and those that others start a little later.
const RETRY: Retry = Retry { first: Duration::from_millis(500), most: Duration::from_secs(10) };

/// What a site learns over its circuits and over its tunnels.
const CIRCUIT: Group = Group(1);
const TUNNEL: Group = Group(2);

/// A router that speaks BGP under one number from one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unlike any other's.
    pub name: String,
    /// The lab's node that has its namespace.
    pub host: String,
    pub asn: Asn,
    /// Its own, and by IPv4 its identifier.
    pub address: IpAddr,
    /// The prefixes that it originates; each once.
    pub routes: Vec<Route>,
    pub peers: Vec<Peer>,
    pub sink: Sink,
    /// A program in its namespace speaks instead of us.
    pub foreign: bool,
}

/// A route that a node makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub prefix: IpNet,
    pub source: Source,
    pub origination: Origination,
}

/// What becomes of what a node learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// It is a gateway's: the fabric's tables, by what leads to the peer.
    Fabric,
    /// It is a route server's: the fabric's tables, by next hop (ARS-02).
    Appliances,
    /// It is a circuit's edge: what its customer advertises (ER-01).
    Edge,
    /// It is the edge of a private cloud's circuit. Azure makes it with its sessions: until one of them has brought
    /// something, what the cloud has counts as advertised (AVS-07).
    CloudEdge,
    /// It is an ExpressRoute gateway: what the route server of its virtual network advertises (ARS-06).
    Beside,
    /// The kernel of its namespace, by next hop.
    Kernel,
    /// Nothing: it is a private cloud's, and the cloud's kernel has the routes that the edge advertises.
    Cloud,
}

/// One session of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its index among the node's peers, until a driver that keeps them numbers them otherwise.
    pub id: PeerId,
    /// What leads to it: a connection's name.
    pub over: String,
    /// The name of the node at the other end, if there is one.
    pub node: Option<String>,
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Both as the peer knows them: it may be behind a tunnel that translates (VPN-15).
    pub there: [IpAddr; 2],
    /// Whether anything gets there.
    pub up: bool,
    /// Of the paths to its address the session has this one alone: its packets leave by the device of `over`.
    pub alone: bool,
    pub config: PeerConfig,
}

impl Node {
    /// Whether this is its name or its gateway's, as ARM compares names.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.host.eq_ignore_ascii_case(name)
    }

    /// Whether the prefixes that it originates follow from what others have learned.
    pub const fn is_border(&self) -> bool {
        matches!(self.sink, Sink::Edge | Sink::CloudEdge | Sink::Beside)
    }

    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    /// A router without sessions yet. `seed` decides all random choices.
    pub fn speaker(&self, seed: u64, now: Instant) -> Speaker {
        let identifier = match self.address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let mut speaker = Speaker::new(self.asn, identifier, seed);
        for Route { prefix, source, origination } in &self.routes {
            speaker.originate(*prefix, *source, origination.clone(), now);
        }
        speaker
    }
}

/// Every router of a network that speaks BGP, those that are not ours too. What some of them say follows from what
/// others have advertised.
pub fn nodes(network: &Network, learned: &Learned) -> Vec<Node> {
    let servers = route_server::servers(network);
    let clouds = express_route::clouds(network, learned);
    let borders = express_route::borders(network, learned).into_iter().chain(clouds);
    let mut nodes: Vec<_> =
        vpn::gateways(network, learned).chain(vpn::sites(network, learned)).chain(servers).chain(borders).collect();
    for Node { name, peers, .. } in &mut nodes {
        let mut known = HashSet::new();
        // Two paths to one address carry one session.
        peers.retain(|peer| known.insert((peer.local, peer.remote)));
        for (place, peer) in (0..).zip(peers) {
            peer.id = PeerId(place);
            // Nothing gets to or from nodes that do not work.
            peer.up &= !learned.down.contains(name) && peer.node.as_ref().is_none_or(|far| !learned.down.contains(far));
        }
    }
    nodes
}

/// An own network or static route without further words.
fn route(prefix: IpNet, source: Source) -> Route {
    Route { prefix, source, origination: Origination::default() }
}

/// Its own address, and for IPv6 beside IPv4 another.
const fn next_hops(own: IpAddr, ipv6: Option<Ipv6Addr>) -> NextHops {
    match own {
        IpAddr::V4(address) => NextHops { ipv4: Some(address), ipv6 },
        IpAddr::V6(address) => NextHops { ipv4: None, ipv6: Some(address) },
    }
}

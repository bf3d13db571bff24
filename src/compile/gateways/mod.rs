//! The routes of each gateway, and the routes that its virtual networks learn from it (VPN-12, SYS-10).
//!
//! One idea: to a subnet all of a gateway's routes look alike, they lead to the gateway; which tunnel takes a packet is
//! the gateway's own table.

pub(super) mod express_route;
pub(super) mod private_cloud;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::bgp::topology::circuits::CustomerLinks;
use crate::bgp::topology::expressroute_rib::Exchange;
use crate::dataplane::{
    AddressMap, Fib, Gateway, GatewayId, IdleReset, NextHop, NicId, PortMap, PortPool, Ports, RouteId, Selectors,
    Spread, SpreadId, TunnelNat,
};
use crate::model::{
    ConnectionIx, GatewayIx, GatewayKind, Learned, NatKind, NatMode, NatRule, Network, PortRange, Remote, RouteServer,
    RoutingPreference, Site, VnetIx,
};

use super::{Ids, Sender};
use express_route::edge_id;

/// Of a rule's external range so many addresses are shared by ports: 64,512 flows to one destination each.
const POOL_MAX: usize = 256;
/// As long as a NAT gateway keeps an idle connection by itself (NAT-04).
const TCP_IDLE_SECS: u16 = 240;

/// The routes of a virtual network from the gateways that it uses, its own or a peer's (PEER-31).
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct InUse {
    /// By prefix.
    pub(super) routes: Vec<GatewayRoute>,
    /// By prefix, none of which is among `routes`: the appliances that a route server has heard of it (ARS-08).
    pub(super) appliances: Vec<(IpNet, Vec<IpAddr>)>,
    /// Where a user's own route to the gateway leads: to a VPN gateway that is alone (UDR-14).
    pub(super) for_users: Option<GatewayRoute>,
    /// By prefix, none of which is among `routes`: to BGP peers themselves, from where the gateway stands alone
    /// (BGP-14a).
    pub(super) to_peers: Vec<GatewayRoute>,
}

/// One prefix that a gateway has a route to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GatewayRoute {
    pub(super) prefix: IpNet,
    pub(super) gateway: GatewayId,
    /// What listings show (SYS-09a).
    pub(super) next_hops: Vec<IpAddr>,
}

/// Every gateway's routes: by prefix, the connections that lead there, all equal.
pub(super) struct Gateways {
    routes: Vec<BTreeMap<IpNet, Vec<ConnectionIx>>>,
    /// Of `routes`, those to BGP peers themselves.
    peers: Vec<BTreeSet<IpNet>>,
    links: CustomerLinks,
    /// Of each route server.
    through: Vec<BTreeMap<IpNet, Vec<IpAddr>>>,
    exchange: Exchange,
    /// The AS path lengths of ExpressRoute gateways' routes, and by name those of others'.
    express: BTreeMap<GatewayIx, BTreeMap<IpNet, usize>>,
    lengths: BTreeMap<String, BTreeMap<IpNet, usize>>,
}

/// A route to one prefix, among those to choose from.
enum Candidate<'a> {
    Gateway(GatewayIx, &'a [ConnectionIx]),
    Appliances(&'a Vec<IpAddr>),
}

/// The kind of a candidate, in the order of preference where nothing else decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Circuit,
    Vpn,
    Appliance,
}

/// The key that candidates are compared by: the least wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(usize, Family);

impl Rank {
    fn of(preference: RoutingPreference, family: Family, length: usize) -> Self {
        Self(
            match preference {
                RoutingPreference::ExpressRoute => 0,
                RoutingPreference::VpnGateway => usize::from(family == Family::Circuit),
                RoutingPreference::AsPath => length,
            },
            family,
        )
    }
}

fn prefer<'a>(best: &mut BTreeMap<IpNet, (Rank, Candidate<'a>)>, prefix: IpNet, (rank, way): (Rank, Candidate<'a>)) {
    if best.get(&prefix).is_none_or(|(known, _)| rank < *known) {
        best.insert(prefix, (rank, way));
    }
}

impl Gateways {
    pub(super) fn of(network: &Network, learned: &Learned) -> Self {
        let exchange = Exchange::of(network, learned);
        let routes = network.gateways().map(|(ix, gateway)| match gateway.kind {
            GatewayKind::Vpn => routes(network, learned, ix),
            GatewayKind::ExpressRoute { .. } => express_route::routes(&exchange, ix),
        });
        let peers = network.gateways().map(|(ix, _)| peers(network, learned, ix)).collect();
        let through = |server: &RouteServer| learned.bgp.by_route_server.get(&server.name).cloned().unwrap_or_default();
        let through = network.route_servers.iter().map(through);
        // For a route server that compares them.
        let compares = network.route_servers.iter().any(|server| server.preference == RoutingPreference::AsPath);
        let lengths = |ix| {
            let paths = exchange.gateway(ix).into_iter();
            paths.filter_map(|(prefix, paths)| Some((prefix, paths.first()?.as_path.len()))).collect()
        };
        let express = network.gateways().filter(|(_, gateway)| compares && gateway.kind != GatewayKind::Vpn);
        let express = express.map(|(ix, _)| (ix, lengths(ix))).collect();
        let (routes, through) = (routes.collect(), through.collect());
        let lengths = if compares { learned.bgp.path_lengths.clone() } else { BTreeMap::new() };
        let links = CustomerLinks::of(network, learned, &exchange);
        Self { routes, peers, links, through, exchange, express, lengths }
    }

    /// For one prefix ExpressRoute wins (BGP-23) unless a route server prefers another. A route that loses is not even
    /// listed (RSEL-08).
    pub(super) fn in_use(&self, network: &Network, learned: &Learned, vnet: VnetIx) -> InUse {
        let mut gateways = network.gateways_in_use(vnet);
        gateways.sort_by_key(|gateway| network.gateway(*gateway).kind == GatewayKind::Vpn);
        let server = network.route_server_in_use(vnet);
        let mut best: BTreeMap<IpNet, (Rank, Candidate<'_>)> = BTreeMap::new();
        let preference = server.map_or_else(RoutingPreference::default, |ix| network.route_server(ix).preference);
        // BGP-14a: a VPN gateway's peers are listed where there is no other gateway.
        let vpn_alone = gateways.iter().all(|gateway| network.gateway(*gateway).kind == GatewayKind::Vpn);
        for ix in &gateways {
            for (prefix, over) in &self.routes[ix.0] {
                if !vpn_alone && self.peers[ix.0].contains(prefix) {
                    continue;
                }
                let rank = self.rank(network, preference, *ix, prefix);
                prefer(&mut best, *prefix, (rank, Candidate::Gateway(*ix, over)));
            }
        }
        if let Some(ix) = server {
            for (prefix, hops) in &self.through[ix.0] {
                let length = self.length(&network.route_server(ix).name, prefix);
                prefer(
                    &mut best,
                    *prefix,
                    (Rank::of(preference, Family::Appliance, length), Candidate::Appliances(hops)),
                );
            }
        }
        let (mut routes, mut appliances) = (Vec::new(), Vec::new());
        for (prefix, (_, way)) in best {
            match way {
                Candidate::Gateway(ix, over) => {
                    let next_hops = self.listed((network, learned), ix, &prefix, over);
                    routes.push(GatewayRoute { prefix, gateway: gateway_id(ix), next_hops });
                }
                Candidate::Appliances(hops) => appliances.push((prefix, hops.clone())),
            }
        }
        let alone = gateways.first().filter(|_| gateways.len() == 1);
        let vpn = alone.filter(|gateway| network.gateway(**gateway).kind == GatewayKind::Vpn);
        let for_users = vpn.map(|gateway| GatewayRoute {
            prefix: IpNet::V4(Ipv4Net::default()),
            gateway: gateway_id(*gateway),
            next_hops: instances((network, learned), *gateway, &[]),
        });
        let known = |prefix: &IpNet| routes.iter().any(|route| route.prefix == *prefix);
        let peers = gateways.iter().filter(|_| !vpn_alone).flat_map(|ix| self.to_peers((network, learned), *ix));
        let to_peers = peers.filter(|route| !known(&route.prefix)).collect();
        InUse { routes, appliances, for_users, to_peers }
    }

    /// What a gateway speaks BGP by.
    fn to_peers(&self, (network, learned): (&Network, &Learned), ix: GatewayIx) -> impl Iterator<Item = GatewayRoute> {
        let routes = self.routes[ix.0].iter().filter(move |(prefix, _)| self.peers[ix.0].contains(prefix));
        routes.map(move |(prefix, over)| {
            let next_hops = self.listed((network, learned), ix, prefix, over);
            GatewayRoute { prefix: *prefix, gateway: gateway_id(ix), next_hops }
        })
    }

    /// The addresses that a row to a gateway has: those of the edges beyond an ExpressRoute gateway, over links that
    /// lead there; of a VPN gateway those of its instances (SYS-09a).
    fn listed(
        &self,
        (network, learned): (&Network, &Learned),
        gateway: GatewayIx,
        prefix: &IpNet,
        over: &[ConnectionIx],
    ) -> Vec<IpAddr> {
        let circuits = over.iter().filter_map(|ix| match network.connection(*ix).remote {
            Remote::Circuit(circuit) => Some(circuit),
            Remote::Local(_) | Remote::Gateway(_) | Remote::Client(_) => None,
        });
        match network.gateway(gateway).kind {
            GatewayKind::ExpressRoute { .. } => {
                circuits.flat_map(|circuit| self.links.underlay(circuit, prefix)).collect()
            }
            GatewayKind::Vpn => instances((network, learned), gateway, over),
        }
    }

    fn rank(&self, network: &Network, preference: RoutingPreference, ix: GatewayIx, prefix: &IpNet) -> Rank {
        let gateway = network.gateway(ix);
        match gateway.kind {
            GatewayKind::ExpressRoute { .. } => {
                let paths = self.express.get(&ix).and_then(|paths| paths.get(prefix));
                Rank::of(preference, Family::Circuit, paths.copied().unwrap_or_default())
            }
            GatewayKind::Vpn => Rank::of(preference, Family::Vpn, self.length(&gateway.name, prefix)),
        }
    }

    /// The length of an AS path; zero for a prefix that BGP has not learned.
    fn length(&self, name: &str, prefix: &IpNet) -> usize {
        self.lengths.get(name).and_then(|lengths| lengths.get(prefix)).copied().unwrap_or_default()
    }

    /// The tables by which gateways choose their tunnels, then those of circuits' edges, by [`GatewayId`].
    pub(super) fn tables(&self, network: &Network, learned: &Learned, ids: &Ids) -> Vec<Gateway> {
        let tables = network.gateways().zip(&self.routes);
        let table = |((ix, _), routes): ((GatewayIx, _), &BTreeMap<IpNet, Vec<ConnectionIx>>)| Gateway {
            nic: ids.nic(Sender::Gateway(ix)).expect("every gateway has a number"),
            in_subnet: true,
            tunnels: table((network, learned), ids, ix, (routes, self.across(network, ix))),
            selectors: selectors(network, ids, ix),
            nat: nat(network, ids, ix),
        };
        let edges = network.circuits().map(|(ix, _)| express_route::edge((network, learned), ids, &self.exchange, ix));
        let routers =
            network.clouds().flat_map(|cloud| private_cloud::routers((network, learned), ids, &self.exchange, cloud));
        tables.map(table).chain(edges).chain(routers).collect()
    }

    /// What the other gateways of its virtual network know, where a route server exchanges their routes (ARS-06,
    /// BGP-22).
    fn across(&self, network: &Network, ix: GatewayIx) -> BTreeMap<IpNet, GatewayIx> {
        let gateway = network.gateway(ix);
        let heard = network.route_server_beside(gateway).is_some();
        let others = network.gateways_of(gateway.subnet.vnet).filter(|other| heard && *other != ix);
        others.flat_map(|other| self.routes[other.0].keys().map(move |prefix| (*prefix, other))).collect()
    }
}

/// A VPN gateway's address for each tunnel that leads there, equal ones beside each other; for each active instance
/// where no tunnel is named. What is away is left out while anything else is there (VPN-33).
fn instances((network, learned): (&Network, &Learned), gateway: GatewayIx, over: &[ConnectionIx]) -> Vec<IpAddr> {
    let own = network.gateway(gateway);
    let up = preferred(over, |tunnel| learned.tunnel_is_up(network, *tunnel));
    let mut leading: Vec<_> = up.into_iter().map(|tunnel| learned.instance_of(network, tunnel)).collect();
    if over.is_empty() {
        leading = (0..own.active_instances()).collect();
    }
    let mut there = preferred(&leading, |instance| !learned.instance_is_down(network, gateway, *instance));
    there.sort_unstable();
    let addresses = network.gateway_addresses(gateway);
    there.into_iter().filter_map(|instance| addresses.get(instance).copied()).collect()
}

/// Those for which it holds, or all if it holds for none.
fn preferred<T: Copy>(all: &[T], holds: impl Fn(&T) -> bool) -> Vec<T> {
    let some: Vec<_> = all.iter().copied().filter(holds).collect();
    if some.is_empty() { all.to_vec() } else { some }
}

pub(super) const fn gateway_id(gateway: GatewayIx) -> GatewayId {
    GatewayId(gateway.0 as u32)
}

/// Static routes hide learned ones of the same prefix (BGP-17), and stay while their tunnel is down (VPN-13).
fn routes(network: &Network, learned: &Learned, gateway: GatewayIx) -> BTreeMap<IpNet, Vec<ConnectionIx>> {
    // A pool is one route to the gateway; which client has an address, its own table knows (VPN-43).
    let lent = network.gateway(gateway).client_prefixes();
    let mut routes: BTreeMap<IpNet, Vec<ConnectionIx>> = BTreeMap::new();
    routes.extend(lent.iter().map(|pool| (*pool, Vec::new())));
    for (ix, connection) in network.connections_of(gateway) {
        let bgp = network.bgp_over(ix);
        let fixed = match connection.remote {
            Remote::Local(_) => network.local_space(ix),
            Remote::Gateway(far) if bgp.is_none() => {
                network.vnet(network.gateway(far).subnet.vnet).address_space.clone()
            }
            Remote::Gateway(_) | Remote::Circuit(_) | Remote::Client(_) => Vec::new(),
        };
        // The peer itself (VPN-11, BGP-14a).
        let peers = network.bgp_ends(ix).into_iter().map(|(_, far)| IpNet::from(far.address));
        for prefix in fixed.into_iter().chain(peers) {
            let over = routes.entry(prefix).or_default();
            if !over.contains(&ix) {
                over.push(ix);
            }
        }
    }
    let mut spoken: BTreeMap<IpNet, Vec<ConnectionIx>> = BTreeMap::new();
    for (ix, connection) in network.connections_of(gateway).filter(|(ix, _)| network.bgp_over(*ix).is_some()) {
        for prefix in learned.bgp.by_connection.get(&connection.name).into_iter().flatten() {
            spoken.entry(*prefix).or_default().push(ix);
        }
    }
    for (prefix, over) in spoken {
        routes.entry(prefix).or_insert(over);
    }
    routes
}

/// A gateway's BGP peers, where no other route leads to just them.
fn peers(network: &Network, learned: &Learned, gateway: GatewayIx) -> BTreeSet<IpNet> {
    let ends = network.connections_of(gateway).flat_map(|(ix, _)| network.bgp_ends(ix));
    let mut peers: BTreeSet<_> = ends.map(|(_, far)| IpNet::from(far.address)).collect();
    for (ix, connection) in network.connections_of(gateway) {
        let advertised = learned.bgp.by_connection.get(&connection.name).into_iter().flatten();
        for prefix in network.local_space(ix).iter().chain(advertised) {
            peers.remove(prefix);
        }
    }
    peers
}

/// A peer's own address passes: the gateway has a route to it by itself (VPN-11).
fn selectors(network: &Network, ids: &Ids, gateway: GatewayIx) -> Box<[(NicId, Selectors)]> {
    let tunnels = network.connections_of(gateway).filter(|(_, connection)| connection.policy_based);
    let selectors = tunnels.filter_map(|(ix, connection)| {
        let Remote::Local(local) = connection.remote else { return None };
        let peers = network.bgp_ends(ix).into_iter().map(|(_, far)| IpNet::from(far.address));
        let far = network.local_gateway(local).address_space.iter().copied().chain(peers).collect();
        Some((ids.nic(Sender::Tunnel(ix))?, Selectors { near: network.gateway_space(gateway).into(), far }))
    });
    selectors.collect()
}

/// By what names tunnels' packets go (VPN-15).
fn nat(network: &Network, ids: &Ids, gateway: GatewayIx) -> Box<[(NicId, TunnelNat)]> {
    let tunnels = network.connections_of(gateway).filter(|(ix, _)| network.nat_over(*ix).next().is_some());
    let nat = tunnels.filter_map(|(ix, _)| {
        let maps = |mode| network.nat_over(ix).filter(|rule| rule.mode == mode).map(map).collect();
        let nat = TunnelNat { near: maps(NatMode::EgressSnat), far: maps(NatMode::IngressSnat) };
        Some((ids.nic(Sender::Tunnel(ix))?, nat))
    });
    nat.collect()
}

fn map(rule: &NatRule) -> AddressMap {
    let NatRule { internal, external, internal_ports, external_ports, .. } = *rule;
    let lent = |address: IpAddr| match external_ports {
        Some(PortRange { first, last }) => Ports { address, first, count: last - first + 1 },
        None => Ports::all(address),
    };
    let pool = || {
        let addresses = (external.network().to_bits()..=external.broadcast().to_bits()).take(POOL_MAX);
        let ports = addresses.map(|bits| lent(Ipv4Addr::from_bits(bits).into())).collect();
        let echoes = internal_ports.is_none();
        PortPool { ports, preallocated: false, echoes, tcp_idle_secs: TCP_IDLE_SECS, idle_reset: IdleReset::None }
    };
    let pool = match rule.kind {
        NatKind::Static => None,
        NatKind::Dynamic { .. } => Some(pool()),
    };
    let range = |ports: Option<PortRange>| ports.map_or(0..=u16::MAX, |ports| ports.first..=ports.last);
    let stated = internal_ports.is_some() || external_ports.is_some();
    let ports = stated.then(|| PortMap { internal: range(internal_ports), external: range(external_ports) });
    AddressMap { internal, external, ports, pool }
}

fn table(
    (network, learned): (&Network, &Learned),
    ids: &Ids,
    gateway: GatewayIx,
    (routes, across): (&BTreeMap<IpNet, Vec<ConnectionIx>>, BTreeMap<IpNet, GatewayIx>),
) -> Fib {
    // While some tunnels are up the others take nothing (VPN-33).
    let hops = |over: &[ConnectionIx]| -> Vec<NextHop> {
        let up: Vec<_> = over.iter().filter(|one| learned.tunnel_is_up(network, **one)).collect();
        if up.is_empty() {
            vec![NextHop::NoGateway]
        } else {
            up.into_iter().map(|one| hop(network, ids, *one)).collect()
        }
    };
    let mut all: Vec<(IpNet, Vec<NextHop>)> = routes.iter().map(|(prefix, over)| (*prefix, hops(over))).collect();
    let client = |(tunnel, client): (ConnectionIx, &Site)| (client.address_space[0], hops(&[tunnel]));
    all.extend(network.clients_of(gateway).map(client));
    let across = across.into_iter().filter(|(prefix, _)| !routes.contains_key(prefix));
    all.extend(across.map(|(prefix, other)| (prefix, vec![NextHop::Gateway(gateway_id(other))])));
    // The default site takes the rest (VPN-40).
    let site = network.gateway(gateway).default_site;
    let leads_there = |remote: Remote| site.is_some_and(|site| remote == Remote::Local(site));
    let over: Vec<_> =
        network.connections_of(gateway).filter(|(_, one)| leads_there(one.remote)).map(|(ix, _)| ix).collect();
    if !over.is_empty() && !all.iter().any(|(prefix, _)| prefix.prefix_len() == 0) {
        all.push((IpNet::V4(Ipv4Net::default()), hops(&over)));
    }
    fib(&all)
}

/// A table of these prefixes, each with one hop or several that share its flows.
pub(super) fn fib(routes: &[(IpNet, Vec<NextHop>)]) -> Fib {
    let mut spreads: Vec<Spread> = Vec::new();
    let mut hop_over = |over: &[NextHop]| match over {
        [one] => *one,
        several => {
            let spread = Spread::new(several.iter().copied());
            let known = spreads.iter().position(|known| *known == spread);
            NextHop::Spread(SpreadId(known.unwrap_or_else(|| {
                spreads.push(spread);
                spreads.len() - 1
            }) as u32))
        }
    };
    let next_hops = routes.iter().map(|(_, over)| hop_over(over)).collect();
    let lpm = routes.iter().map(|(prefix, _)| *prefix).zip((0..).map(RouteId)).collect();
    Fib { lpm, next_hops, spreads: spreads.into() }
}

/// The other end of a tunnel.
fn hop(network: &Network, ids: &Ids, tunnel: ConnectionIx) -> NextHop {
    match network.connection(tunnel).remote {
        Remote::Local(_) | Remote::Client(_) => {
            ids.nic(Sender::Tunnel(tunnel)).map_or(NextHop::NoGateway, NextHop::Tunnel)
        }
        Remote::Gateway(far) => NextHop::Gateway(gateway_id(far)),
        Remote::Circuit(circuit) => NextHop::Gateway(edge_id(network, circuit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VPN-15: a dynamic rule shares its addresses by their ports, all or those that it has; without ports of its own it
    /// carries pings.
    #[test]
    fn vpn_15_a_dynamic_rule_has_the_ports_that_it_says() {
        let external: Ipv4Net = "172.30.3.8/31".parse().unwrap_or_default();
        let rule = |kind, internal_ports, external_ports| NatRule {
            name: "n".to_owned(),
            mode: NatMode::IngressSnat,
            kind,
            internal: Ipv4Net::default(),
            external,
            internal_ports,
            external_ports,
        };
        let range = |first, last| Some(PortRange { first, last });
        let dynamic = NatKind::Dynamic { instance: 0 };
        let pool = |rule: NatRule| {
            let pool = map(&rule).pool?;
            let ports = pool.ports.iter().map(|ports| (ports.address.to_string(), ports.first, ports.count));
            Some((ports.collect::<Vec<_>>(), pool.echoes))
        };
        let of = |first, count| ["172.30.3.8", "172.30.3.9"].map(|address| (address.to_owned(), first, count)).to_vec();
        let all = Ports::all(IpAddr::from([172, 30, 3, 8]));
        assert_eq!(pool(rule(dynamic, None, None)), Some((of(all.first, all.count), true)));
        assert_eq!(pool(rule(dynamic, None, range(5000, 5009))), Some((of(5000, 10), true)));
        assert_eq!(pool(rule(dynamic, range(80, 80), range(5000, 5000))), Some((of(5000, 1), false)));
        assert_eq!(pool(rule(NatKind::Static, range(80, 81), range(90, 91))), None, "each has its own");
        let ports = |rule: NatRule| map(&rule).ports.map(|ports| (ports.internal, ports.external));
        assert_eq!(ports(rule(NatKind::Static, range(80, 81), range(90, 91))), Some((80..=81, 90..=91)));
        assert_eq!(ports(rule(dynamic, None, range(90, 91))), Some((0..=u16::MAX, 90..=91)));
        assert_eq!(ports(rule(dynamic, None, None)), None);
    }
}

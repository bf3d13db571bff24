//! What each gateway knows of the way to where, and what its virtual networks are told of it (VPN-12, SYS-10).
//!
//! One idea: to a subnet all of a gateway's routes look alike, they lead to the gateway; which tunnel takes a packet is the
//! gateway's own table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::dataplane::{Fib, Gateway, GatewayId, NextHop, RouteId, Spread, SpreadId};
use crate::model::{ConnectionIx, GatewayIx, Network, Remote, VnetIx};

use super::{Ids, Learned, Sender};

/// A gateway as a virtual network that uses it sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InUse {
    pub(super) id: GatewayId,
    /// What listings show (SYS-09a).
    pub(super) address: IpAddr,
    pub(super) prefixes: Vec<IpNet>,
}

/// Every gateway's routes: by prefix, the connections that lead there, all equal.
pub(super) struct Gateways(Vec<BTreeMap<IpNet, Vec<ConnectionIx>>>);

impl Gateways {
    pub(super) fn of(network: &Network, learned: &Learned) -> Self {
        Self(network.gateways().map(|(gateway, _)| routes(network, learned, gateway)).collect())
    }

    /// The gateway that a virtual network uses, its own or a peer's (PEER-31).
    pub(super) fn in_use(&self, network: &Network, vnet: VnetIx) -> Option<InUse> {
        let gateway = network.gateway_in_use(vnet)?;
        let prefixes = self.0[gateway.0].keys().copied().collect();
        Some(InUse { id: gateway_id(gateway), address: network.gateway_address(gateway), prefixes })
    }

    /// The tables by which gateways choose their tunnels, by [`GatewayId`].
    pub(super) fn tables(&self, network: &Network, ids: &Ids) -> Vec<Gateway> {
        let tables = network.gateways().zip(&self.0);
        let table = |((ix, _), routes): ((GatewayIx, _), &BTreeMap<IpNet, Vec<ConnectionIx>>)| Gateway {
            nic: ids.nic(Sender::Gateway(ix)).expect("every gateway has a number"),
            tunnels: table(network, ids, ix, routes),
        };
        tables.map(table).collect()
    }
}

pub(super) const fn gateway_id(gateway: GatewayIx) -> GatewayId {
    GatewayId(gateway.0 as u32)
}

/// Static routes hide learned ones of the same prefix (BGP-17), and stay while their tunnel is down (VPN-13).
fn routes(network: &Network, learned: &Learned, gateway: GatewayIx) -> BTreeMap<IpNet, Vec<ConnectionIx>> {
    let mut routes: BTreeMap<IpNet, Vec<ConnectionIx>> = BTreeMap::new();
    for (ix, connection) in network.connections_of(gateway) {
        let bgp = network.bgp_over(ix);
        let fixed = match connection.remote {
            Remote::Local(local) => network.local_gateway(local).address_space.clone(),
            Remote::Gateway(far) if bgp.is_none() => {
                network.vnet(network.gateway(far).subnet.vnet).address_space.clone()
            }
            Remote::Gateway(_) => Vec::new(),
        };
        // The peer itself (VPN-11, BGP-14a).
        let peer = bgp.map(|(_, far)| IpNet::from(far.address));
        for prefix in fixed.into_iter().chain(peer) {
            let over = routes.entry(prefix).or_default();
            if !over.contains(&ix) {
                over.push(ix);
            }
        }
    }
    let mut spoken: BTreeMap<IpNet, Vec<ConnectionIx>> = BTreeMap::new();
    for (ix, connection) in network.connections_of(gateway).filter(|(ix, _)| network.bgp_over(*ix).is_some()) {
        for prefix in learned.routes.get(&connection.name).into_iter().flatten() {
            spoken.entry(*prefix).or_default().push(ix);
        }
    }
    for (prefix, over) in spoken {
        routes.entry(prefix).or_insert(over);
    }
    routes
}

fn table(network: &Network, ids: &Ids, gateway: GatewayIx, routes: &BTreeMap<IpNet, Vec<ConnectionIx>>) -> Fib {
    let mut spreads: Vec<Spread> = Vec::new();
    let mut hop_over = |over: &[ConnectionIx]| match over {
        [one] => hop(network, ids, *one),
        several => {
            let spread = Spread::new(several.iter().map(|one| hop(network, ids, *one)));
            let known = spreads.iter().position(|known| *known == spread);
            NextHop::Spread(SpreadId(known.unwrap_or_else(|| {
                spreads.push(spread);
                spreads.len() - 1
            }) as u32))
        }
    };
    let mut prefixes: Vec<IpNet> = routes.keys().copied().collect();
    let mut next_hops: Vec<NextHop> = routes.values().map(|over| hop_over(over)).collect();
    // What nobody else takes (VPN-40).
    let site = network.gateway(gateway).default_site;
    let leads_there = |remote: Remote| site.is_some_and(|site| remote == Remote::Local(site));
    if let Some((ix, _)) = network.connections_of(gateway).find(|(_, connection)| leads_there(connection.remote))
        && !prefixes.iter().any(|prefix| prefix.prefix_len() == 0)
    {
        prefixes.push(IpNet::V4(ipnet::Ipv4Net::default()));
        next_hops.push(hop(network, ids, ix));
    }
    let lpm = prefixes.into_iter().zip((0..).map(RouteId)).collect();
    Fib { lpm, next_hops: next_hops.into(), spreads: spreads.into() }
}

/// The other end of a tunnel; nowhere while it is down.
fn hop(network: &Network, ids: &Ids, connection: ConnectionIx) -> NextHop {
    if network.tunnel_fault(connection).is_some() {
        return NextHop::NoGateway;
    }
    match network.connection(connection).remote {
        Remote::Local(_) => ids.nic(Sender::Tunnel(connection)).map_or(NextHop::NoGateway, NextHop::Tunnel),
        Remote::Gateway(far) => NextHop::Gateway(gateway_id(far)),
    }
}

//! Forwarding tables out of effective routes.
//!
//! One idea: the n-th row of a subnet's listing is route n of its table, so a trace names its row without a map. Rows
//! that are Invalid keep their number and are never looked up. Subnets with the same rows and hops share one table.

use std::collections::HashMap;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::compile::memo::{Known, Memo, Same};
use crate::compile::{Ids, routes, vnet_id};
use crate::dataplane::{Fib, FibId, Lpm, NextHop, RouteId, Spread, SpreadId};
use crate::model::{EffectiveRoute, Network, SubnetIx, VnetIx};

use super::endpoints::Owners;
use super::peering_links::Connections;
use super::published::Published;
use super::user_routes::Tables;
use super::vnet_context::Surroundings;
use super::{Row, Sources, Target};

/// All tables of a network.
#[derive(Default)]
pub(in crate::compile) struct Fibs {
    pub(in crate::compile) tables: Vec<Fib>,
    /// By VNet, then by subnet.
    pub(in crate::compile) subnets: Vec<Vec<FibId>>,
    /// The same of what is no TCP, which service endpoints do not carry (SYS-11).
    pub(in crate::compile) beside_tcp: Vec<Vec<FibId>>,
    /// By [`FibId`].
    pub(in crate::compile) listings: Vec<Same<Listing>>,
}

/// What is known of tables made before.
#[derive(Debug, Default)]
pub(in crate::compile) struct KnownFibs {
    listings: Known<Sources, Same<Listing>>,
    fibs: Known<Located, Fib>,
}

/// A subnet's effective routes, before the owners of its appliances' addresses are known.
#[derive(Debug)]
pub(in crate::compile) struct Listing {
    /// By [`RouteId`].
    pub(in crate::compile) routes: Vec<Arc<EffectiveRoute>>,
    lpm: Lpm<RouteId>,
    targets: Vec<Target>,
    /// The VNet that [`Target::Own`] means.
    own: VnetIx,
    /// Sorted, each once.
    appliances: Vec<IpAddr>,
}

/// A listing, and the owners of its appliances' addresses.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Located {
    listing: Same<Listing>,
    /// In the order of [`Listing::appliances`].
    owners: Vec<Option<NextHop>>,
}

impl Fibs {
    pub(in crate::compile) fn new(
        network: &Network,
        (owners, ids): (&Owners, &Ids),
        connections: &Connections<'_>,
        rows: &mut Rows<'_>,
        known: &KnownFibs,
    ) -> (Self, KnownFibs) {
        let mut all = Self::default();
        let mut listings = Memo::after(&known.listings);
        let mut fibs = Memo::after(&known.fibs);
        // Two VNets never have the same listing: it has where their own ranges lead.
        let mut numbered: HashMap<_, _, RandomState> = HashMap::default();
        let mut tables = Vec::new();
        for own in (0..network.virtual_networks.len()).map(VnetIx) {
            let mut reach = Reach { owners, ids, connections, own, found: HashMap::default() };
            let mut table = |sources| {
                let listing = listings.recall(sources, |sources| Same::new(Listing::of(sources, own)));
                *numbered.entry(listing).or_insert_with_key(|listing| {
                    let owners = listing.appliances.iter().map(|address| reach.appliance(*address)).collect();
                    all.tables.push(fibs.recall(Located { listing: listing.clone(), owners }, Located::fib));
                    all.listings.push(listing.clone());
                    FibId(all.tables.len() as u32 - 1)
                })
            };
            let of_subnet = |subnet| {
                let sources = rows.sources(network, SubnetIx { vnet: own, subnet });
                let beside = (!sources.services.is_empty()).then(|| sources.beside_tcp());
                let of_tcp = table(sources);
                (of_tcp, beside.map_or(of_tcp, &mut table))
            };
            let (of_tcp, beside_tcp) = (0..network.vnet(own).subnets.len()).map(of_subnet).unzip();
            tables.push((of_tcp, beside_tcp));
        }
        (all.subnets, all.beside_tcp) = tables.into_iter().unzip();
        (all, KnownFibs { listings: listings.into_known(), fibs: fibs.into_known() })
    }

    pub(in crate::compile) fn of(&self, subnet: SubnetIx) -> FibId {
        self.subnets[subnet.vnet.0][subnet.subnet]
    }

    pub(in crate::compile) fn beside_tcp(&self, subnet: SubnetIx) -> FibId {
        self.beside_tcp[subnet.vnet.0][subnet.subnet]
    }
}

/// What the rows of a network's subnets follow from.
pub(in crate::compile) struct Rows<'a> {
    /// By VNet.
    pub(in crate::compile) surroundings: &'a [Same<Surroundings>],
    pub(in crate::compile) tables: Tables<'a>,
    pub(in crate::compile) published: Published<'a>,
}

impl Rows<'_> {
    pub(in crate::compile) fn sources(&mut self, network: &Network, at: SubnetIx) -> Sources {
        let Self { surroundings, tables, published } = self;
        let (surroundings, subnet) = (&surroundings[at.vnet.0], network.subnet(at));
        let families = surroundings.families();
        let endpoints = subnet.service_endpoints.iter();
        let has_gateway = || network.gateways_of(at.vnet).any(|gateway| network.gateway(gateway).subnet == at);
        Sources {
            to_peers: !surroundings.gateways.to_peers.is_empty() && has_gateway(),
            surroundings: surroundings.clone(),
            services: endpoints.map(|endpoint| published.ranges(&endpoint.tags, families)).collect(),
            table: subnet.route_table.map(|table| tables.seen(table, families, published)),
        }
    }
}

impl Listing {
    fn of(sources: &Sources, own: VnetIx) -> Self {
        let rows: Vec<Row> = routes::of(sources);
        let numbered = rows.iter().zip((0..).map(RouteId));
        let lpm = numbered.flat_map(|(row, id)| row.in_force.iter().map(move |&prefix| (prefix, id))).collect();
        let by_address = rows.iter().filter(|row| matches!(row.target, Target::Appliance(_) | Target::Spread));
        let mut appliances: Vec<_> = by_address.flat_map(|row| row.route.next_hop_ip.iter().copied()).collect();
        appliances.sort_unstable();
        appliances.dedup();
        let targets = rows.iter().map(|row| row.target).collect();
        Self { lpm, targets, own, appliances, routes: rows.into_iter().map(|row| row.route).collect() }
    }
}

impl Located {
    fn fib(&self) -> Fib {
        let mut spreads = Vec::new();
        let Listing { routes, lpm, targets, own, .. } = &*self.listing;
        let hop = |(target, route): (&Target, &Arc<EffectiveRoute>)| match *target {
            Target::Own => NextHop::Vnet(vnet_id(*own)),
            Target::Vnet(vnet) => NextHop::Vnet(vnet_id(vnet)),
            Target::Appliance(address) => self.hop(address),
            Target::Spread => {
                let spread = Spread::new(route.next_hop_ip.iter().map(|member| self.hop(*member)));
                let known = spreads.iter().position(|known| *known == spread);
                NextHop::Spread(SpreadId(known.unwrap_or_else(|| {
                    spreads.push(spread);
                    spreads.len() - 1
                }) as u32))
            }
            Target::Gateway(gateway) => gateway.map_or(NextHop::NoGateway, NextHop::Gateway),
            Target::Internet => NextHop::Internet,
            Target::Service => NextHop::Service,
            Target::None => NextHop::None,
        };
        let next_hops = targets.iter().zip(routes).map(hop).collect();
        Fib { lpm: lpm.clone(), next_hops, spreads: spreads.into() }
    }

    /// The owner of an appliance's address.
    fn hop(&self, address: IpAddr) -> NextHop {
        let owner = self.listing.appliances.binary_search(&address).ok().and_then(|index| self.owners[index]);
        owner.unwrap_or(NextHop::Unreachable)
    }
}

/// What a VNet's routes can lead to.
struct Reach<'a> {
    owners: &'a Owners,
    ids: &'a Ids,
    connections: &'a Connections<'a>,
    own: VnetIx,
    /// Many tables name one appliance, and a hub has hundreds of peers.
    found: HashMap<IpAddr, Option<NextHop>, RandomState>,
}

impl Reach<'_> {
    /// An appliance is found by the owner of its address, never by routing: in the own VNet, or in the ranges that a
    /// connected peer's link knows; not behind a second peering (UDR-11, UDR-12, PEER-18).
    /// A gateway's instance forwards as an appliance does (UDR-10a).
    fn appliance(&mut self, address: IpAddr) -> Option<NextHop> {
        let Self { owners, ids, connections, own, found } = self;
        *found.entry(address).or_insert_with(|| {
            let peers = connections
                .of(*own)
                .filter(|(_, link)| link.remote_address_space.iter().any(|prefix| prefix.contains(&address)))
                .map(|(_, link)| link.remote);
            iter::once(*own).chain(peers).find_map(|vnet| owners.appliance(ids, vnet, address))
        })
    }
}

//! Forwarding tables out of effective routes.
//!
//! One idea: the n-th row of a subnet's listing is route n of its table, so a trace names its row without a map. Rows
//! that are Invalid keep their number and are never looked up. Subnets with the same rows and hops share one table.

use std::collections::HashMap;
use std::iter;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::dataplane::{Fib, FibId, NextHop, RouteId, Spread, SpreadId};
use crate::model::{EffectiveRoute, Network, SubnetIx, VnetIx};

use super::links::connected;
use super::owners::Owners;
use super::published::Published;
use super::routes::{self, Row, Target};
use super::vnet_id;

/// All tables of a network.
#[derive(Default)]
pub(super) struct Fibs {
    pub(super) tables: Vec<Fib>,
    pub(super) spreads: Spreads,
    /// By VNet, then by subnet.
    pub(super) subnets: Vec<Vec<FibId>>,
    /// By [`FibId`].
    pub(super) routes: Vec<Vec<EffectiveRoute>>,
}

impl Fibs {
    pub(super) fn new(network: &Network, owners: &Owners) -> Self {
        let mut all = Self::default();
        let mut known = HashMap::<_, _, RandomState>::default();
        let published = Published::of(network);
        for (i, vnet) in network.virtual_networks.iter().enumerate() {
            let mut fibs = Vec::new();
            let mut reach = Reach { network, owners, own: VnetIx(i), found: HashMap::new() };
            for subnet in 0..vnet.subnets.len() {
                let rows = routes::of(network, SubnetIx { vnet: VnetIx(i), subnet }, &published);
                let hops: Vec<_> = rows.iter().map(|row| reach.next_hop(row, &mut all.spreads)).collect();
                let next = FibId(known.len() as u32);
                fibs.push(*known.entry((rows, hops)).or_insert(next));
            }
            all.subnets.push(fibs);
        }
        let mut tables: Vec<_> = known.into_iter().collect();
        tables.sort_by_key(|(_, fib)| *fib);
        for ((rows, hops), _) in tables {
            all.add(rows, hops);
        }
        all
    }

    pub(super) fn of(&self, subnet: SubnetIx) -> FibId {
        self.subnets[subnet.vnet.0][subnet.subnet]
    }

    fn add(&mut self, rows: Vec<Row>, next_hops: Vec<NextHop>) {
        let numbered = rows.iter().zip((0..).map(RouteId));
        let lpm = numbered.flat_map(|(row, id)| row.in_force.iter().map(move |&prefix| (prefix, id))).collect();
        self.tables.push(Fib { lpm, next_hops });
        self.routes.push(rows.into_iter().map(|row| row.route).collect());
    }
}

/// The different sets of members that routes spread over.
#[derive(Default)]
pub(super) struct Spreads {
    pub(super) all: Vec<Spread>,
    known: HashMap<Spread, SpreadId>,
}

impl Spreads {
    fn number(&mut self, spread: Spread) -> SpreadId {
        *self.known.entry(spread).or_insert_with_key(|spread| {
            self.all.push(spread.clone());
            SpreadId(self.all.len() as u32 - 1)
        })
    }
}

/// What a VNet's routes can lead to.
struct Reach<'a> {
    network: &'a Network,
    owners: &'a Owners,
    own: VnetIx,
    /// Many routes name one appliance, and a hub has hundreds of peers.
    found: HashMap<IpAddr, NextHop>,
}

impl Reach<'_> {
    fn next_hop(&mut self, row: &Row, spreads: &mut Spreads) -> NextHop {
        match row.target {
            Target::Vnet(vnet) => NextHop::Vnet(vnet_id(vnet)),
            Target::Appliance(address) => self.appliance(address),
            Target::Spread => {
                let members = row.route.next_hop_ip.iter().map(|&address| self.appliance(address));
                NextHop::Spread(spreads.number(Spread::new(members)))
            }
            Target::Gateway => NextHop::Gateway,
            Target::Internet => NextHop::Internet,
            Target::Service => NextHop::Service,
            Target::None => NextHop::None,
        }
    }

    /// An appliance is found by who owns its address, never by routing: in the own VNet, or in the ranges that a
    /// connected peer's link knows; not behind a second peering (UDR-11, UDR-12, PEER-18).
    fn appliance(&mut self, address: IpAddr) -> NextHop {
        if let Some(known) = self.found.get(&address) {
            return *known;
        }
        let peers = connected(self.network, self.own)
            .filter(|link| link.remote_address_space.iter().any(|prefix| prefix.contains(&address)))
            .map(|link| link.remote);
        let found = iter::once(self.own).chain(peers).find_map(|vnet| self.owners.nic(vnet, address));
        let hop = found.map_or(NextHop::Unreachable, NextHop::Nic);
        self.found.insert(address, hop);
        hop
    }
}

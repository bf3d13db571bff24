//! Forwarding tables out of effective routes.
//!
//! One idea: the n-th row of a subnet's listing is route n of its table, so a trace names its row without a map. Rows
//! that are Invalid keep their number and are never looked up. Subnets with the same rows and hops share one table.

use std::collections::HashMap;
use std::iter;
use std::net::IpAddr;

use crate::dataplane::{Fib, FibId, NextHop, RouteId};
use crate::model::{EffectiveRoute, Network, SubnetIx, VnetIx};

use super::links::connected;
use super::owners::Owners;
use super::routes::{self, Row, Target};
use super::vnet_id;

/// All tables of a network.
#[derive(Default)]
pub(super) struct Fibs {
    tables: Vec<Fib>,
    /// By VNet, then by subnet.
    subnets: Vec<Vec<FibId>>,
    /// By [`FibId`].
    routes: Vec<Vec<EffectiveRoute>>,
}

impl Fibs {
    pub(super) fn new(network: &Network, owners: &Owners) -> Self {
        let mut all = Self::default();
        let mut known = HashMap::new();
        for (i, vnet) in network.virtual_networks.iter().enumerate() {
            let mut fibs = Vec::new();
            for subnet in 0..vnet.subnets.len() {
                let rows = routes::of(network, SubnetIx { vnet: VnetIx(i), subnet });
                let hops: Vec<_> = rows.iter().map(|row| next_hop(network, owners, VnetIx(i), row.target)).collect();
                let fib = known.entry((rows, hops)).or_insert_with_key(|(rows, hops)| all.add(rows, hops));
                fibs.push(*fib);
            }
            all.subnets.push(fibs);
        }
        all
    }

    pub(super) fn of(&self, subnet: SubnetIx) -> FibId {
        self.subnets[subnet.vnet.0][subnet.subnet]
    }

    /// The tables, each subnet's table, and each table's rows.
    pub(super) fn into_parts(self) -> (Vec<Fib>, Vec<Vec<FibId>>, Vec<Vec<EffectiveRoute>>) {
        (self.tables, self.subnets, self.routes)
    }

    fn add(&mut self, rows: &[Row], hops: &[NextHop]) -> FibId {
        let numbered = rows.iter().zip((0..).map(RouteId));
        let lpm = numbered.flat_map(|(row, id)| row.in_force.iter().map(move |&prefix| (prefix, id))).collect();
        self.tables.push(Fib { lpm, next_hops: hops.to_vec() });
        self.routes.push(rows.iter().map(|row| row.route.clone()).collect());
        FibId(self.tables.len() as u32 - 1)
    }
}

fn next_hop(network: &Network, owners: &Owners, own: VnetIx, target: Target) -> NextHop {
    match target {
        Target::Vnet(vnet) => NextHop::Vnet(vnet_id(vnet)),
        Target::Appliance(address) => appliance(network, owners, own, address),
        Target::Gateway => NextHop::Gateway,
        Target::Internet => NextHop::Internet,
        Target::None => NextHop::None,
    }
}

/// An appliance is found by who owns its address, never by routing: in the own VNet, or in the ranges that a connected
/// peer's link knows; not behind a second peering (UDR-11, UDR-12, PEER-18).
fn appliance(network: &Network, owners: &Owners, own: VnetIx, address: IpAddr) -> NextHop {
    let peers = connected(network, own)
        .filter(|link| link.remote_address_space.iter().any(|prefix| prefix.contains(&address)))
        .map(|link| link.remote);
    let found = iter::once(own).chain(peers).find_map(|vnet| owners.nic(vnet, address));
    found.map_or(NextHop::Unreachable, NextHop::Nic)
}

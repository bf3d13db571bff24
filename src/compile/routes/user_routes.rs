//! A route table as its subnets see it: the same rows in each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::memo::{Known, Memo, Same};
use crate::model::{
    EffectiveRoute, Network, NextHopType, Prefixes, PublishedTag, Route, RouteDestination, RouteNextHop, RouteSource,
    RouteState, RouteTable, RouteTableIx, TagScope,
};

use super::published::{Families, Published};
use super::{Row, Target};

/// What a route table brings to a subnet's routes.
#[derive(Debug)]
pub(in crate::compile) struct UserRoutes {
    /// In the table's order.
    pub(in crate::compile) rows: Vec<Row>,
    /// Keeps the peering routes out of its subnets.
    pub(in crate::compile) disable_peering_route: bool,
    /// Keeps a gateway's routes out of its subnets (UDR-34, UDR-35).
    pub(in crate::compile) disable_gateway_routes: bool,
}

/// All that the rows of a table follow from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Table {
    table: Arc<RouteTable>,
    /// Of its routes that name one, in their order.
    tags: Vec<Tag>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Tag {
    name: String,
    scope: TagScope,
    ranges: Same<Prefixes>,
}

/// The tables of a network, made on demand.
pub(in crate::compile) struct Tables<'a> {
    network: &'a Network,
    /// With the families that a table's tags are seen in.
    made: HashMap<(RouteTableIx, Families), Same<UserRoutes>>,
    memo: Memo<'a, Table, Same<UserRoutes>>,
}

impl<'a> Tables<'a> {
    pub(in crate::compile) fn of(network: &'a Network, earlier: &'a Known<Table, Same<UserRoutes>>) -> Self {
        Self { network, made: HashMap::new(), memo: Memo::after(earlier) }
    }

    /// A table in a VNet of these families.
    pub(in crate::compile) fn seen(
        &mut self,
        table: RouteTableIx,
        families: Families,
        published: &mut Published<'_>,
    ) -> Same<UserRoutes> {
        if let Some(made) = self.made.get(&(table, families)) {
            return made.clone();
        }
        let inputs = Table::of(self.network, table, families, published);
        let made = self.memo.recall(inputs, |table| Same::new(user_routes(table)));
        self.made.insert((table, families), made.clone());
        made
    }

    pub(in crate::compile) fn into_known(self) -> Known<Table, Same<UserRoutes>> {
        self.memo.into_known()
    }
}

impl Table {
    fn of(network: &Network, at: RouteTableIx, families: Families, published: &mut Published<'_>) -> Self {
        let table = &network.route_tables[at.0];
        let tag = |route: &Route| {
            let RouteDestination::Tag(tag) = route.destination else { return None };
            let ranges = published.ranges(&[tag], of_appliance(route).unwrap_or(families));
            let tag = network.service_tag(tag);
            Some(Tag { name: tag.name.clone(), scope: PublishedTag::scope(tag), ranges })
        };
        Self { tags: table.routes.iter().filter_map(tag).collect(), table: Arc::clone(table) }
    }
}

/// An appliance can take packets of its own family alone.
fn of_appliance(route: &Route) -> Option<Families> {
    let appliance = match &route.next_hop {
        RouteNextHop::VirtualAppliance(address) => Some(address),
        RouteNextHop::VirtualApplianceEcmp(addresses) => addresses.first(),
        RouteNextHop::VirtualNetworkGateway | RouteNextHop::VnetLocal | RouteNextHop::Internet | RouteNextHop::None => {
            None
        }
    };
    appliance.map(|address| Families::of(*address))
}

fn user_routes(Table { table, tags }: &Table) -> UserRoutes {
    let mut tags = tags.iter();
    let rows = table.routes.iter().map(|route| match route.destination {
        RouteDestination::Prefix(prefix) => row(route, prefix.into(), None),
        RouteDestination::Tag(_) => {
            let tag = tags.next().expect("every route to a tag has one");
            row(route, Prefixes::clone(&tag.ranges), Some(tag))
        }
    });
    UserRoutes {
        rows: rows.collect(),
        disable_peering_route: table.disable_peering_route,
        disable_gateway_routes: table.disable_bgp_route_propagation,
    }
}

fn row(route: &Route, prefixes: Prefixes, tag: Option<&Tag>) -> Row {
    let (next_hop_type, target, next_hop_ip) = match &route.next_hop {
        // Without a gateway the row is listed all the same, with an empty next hop (UDR-14).
        RouteNextHop::VirtualNetworkGateway => (NextHopType::VirtualNetworkGateway, Target::Gateway(None), Vec::new()),
        // A destination outside the VNet's space has no owner there, so it drops (UDR-16).
        RouteNextHop::VnetLocal => (NextHopType::VnetLocal, Target::Own, Vec::new()),
        RouteNextHop::Internet => (NextHopType::Internet, Target::Internet, Vec::new()),
        RouteNextHop::VirtualAppliance(address) => {
            (NextHopType::VirtualAppliance, Target::Appliance(*address), vec![*address])
        }
        // Listings show it as an ordinary appliance with several addresses.
        RouteNextHop::VirtualApplianceEcmp(addresses) => {
            (NextHopType::VirtualAppliance, Target::Spread, addresses.clone())
        }
        RouteNextHop::None => (NextHopType::None, Target::None, Vec::new()),
    };
    let in_force = prefixes.clone();
    let route = EffectiveRoute {
        name: Some(route.name.clone()),
        service_tag: tag.map(|tag| tag.name.clone()),
        source: RouteSource::User,
        state: RouteState::Active,
        prefixes,
        next_hop_type,
        next_hop_ip,
    };
    Row { route: Arc::new(route), target, tag: tag.map(|tag| tag.scope), in_force }
}

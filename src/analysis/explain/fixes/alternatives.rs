//! Changes that are tried where all others would close a path or make it asymmetric.
//!
//! One idea: the other direction shows which next hop was meant. A route is led there or put right, for the destination's
//! subnet alone where more does harm, or it is taken away.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::model::{Customer, RouteNextHop, SubnetIx};

use super::forwarders::Forwarder;
use super::{Case, ProposedFix, premises};

impl Case<'_> {
    pub(super) fn alternatives(&self, leg: &Leg) -> Vec<ProposedFix> {
        let Some(subnet) = self.names.home(leg.router()) else { return Vec::new() };
        let to = self.expected(leg).filter(|to| self.in_reach(to, subnet.vnet));
        let led = to.iter().flat_map(|to| {
            let repointed = self.repointed(leg, to);
            let mistyped = self.mistyped(leg, to).into_iter();
            let routed = self.ranges().into_iter().map(|range| self.routed(subnet, range, to));
            let all = repointed.into_iter().chain(mistyped.flat_map(|diagnosis| diagnosis.fixes)).chain(routed);
            all.collect::<Vec<_>>()
        });
        led.chain(self.without_own_route(leg)).collect()
    }

    /// The ranges that a route to the destination may be for: its network's or site's, and its subnet's.
    fn ranges(&self) -> Vec<IpNet> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let within = |ranges: &[IpNet]| ranges.iter().find(|range| range.contains(&dst)).copied();
        if let Some(home) = self.home(dst) {
            let subnet = network.vnet(home).subnets.iter().find_map(|subnet| within(&subnet.prefixes));
            return [self.range_of(home)].into_iter().chain(subnet).collect();
        }
        match premises::at(network, dst) {
            Some(Customer::Site(site)) => within(&network.site(site).address_space).into_iter().collect(),
            Some(Customer::Cloud(_) | Customer::Segment(..)) => vec![dst.into()],
            None => Vec::new(),
        }
    }

    /// The user's own route to another appliance leads to this next hop.
    fn repointed(&self, leg: &Leg, to: &Forwarder) -> Option<ProposedFix> {
        let (table, at) = self.user_route(leg)?;
        let route = &self.names.network.route_tables[table.0].routes[at];
        let RouteNextHop::VirtualAppliance(address) = route.next_hop else { return None };
        let meant = to.address().filter(|meant| *meant != address)?;
        let mut edit = self.edit();
        edit.move_next_hop(table, at, meant);
        let text = format!("point route {} at {to}, {}", route.name, self.other_way());
        Some(ProposedFix { is_meant: true, ..ProposedFix::of(text, edit) })
    }

    fn routed(&self, subnet: SubnetIx, range: IpNet, to: &Forwarder) -> ProposedFix {
        let mut edit = self.edit();
        edit.route(subnet, &format!("to-{}", self.place_of(self.walk.dst)), range, &to.next_hop);
        let lent = self.lend(&mut edit, subnet.vnet, to);
        let from = subnet_name(self.names.network, subnet);
        ProposedFix::of(format!("route {range} from subnet {from} to {to}, {}{lent}", self.other_way()), edit)
    }

    /// The user's own route gives way to others.
    fn without_own_route(&self, leg: &Leg) -> Option<ProposedFix> {
        let (table, at) = self.user_route(leg)?;
        let name = &self.names.network.route_tables[table.0].routes[at].name;
        let mut edit = self.edit();
        edit.remove_route(table, at);
        Some(ProposedFix::of(format!("remove route {name}"), edit))
    }

    /// A virtual network or a site by its name.
    fn place_of(&self, address: IpAddr) -> &str {
        let customer = || premises::at(self.names.network, address);
        match self.home(address) {
            Some(home) => self.vnet_name(home),
            None => customer().map_or("there", |customer| self.names.network.name_of_customer(customer)),
        }
    }
}

//! Routes that the rest of the file shows to be mistakes: to a wrong machine, for a wrong range, in a table that the
//! subnet does not have.
//!
//! One idea: what was meant is in the file, and is put right where it is. Nothing is added beside it, and a server does
//! not become a router.

use std::iter;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::Edit;
use crate::analysis::query::names::{holds, subnet_name};
use crate::analysis::walk::Leg;
use crate::compile::connected;
use crate::dataplane::NicId;
use crate::model::{Network, PrivateCloud, Route, RouteNextHop, RouteTable, RouteTableIx, SubnetIx, VnetIx};

use super::forwarders::Forwarder;
use super::{Case, Diagnosis};

impl Case<'_> {
    /// The route that the packet took is the only one to a machine that does not forward, while the other direction or
    /// other routes name one that does.
    pub(super) fn wrong_machine(&self, leg: &Leg, nic: NicId) -> Option<Diagnosis> {
        let network = self.names.network;
        let (fib, route, hop) = leg.route()?;
        let (table, at) = self.user_route(leg)?;
        let vm = self.machine(nic)?;
        let leads = |route: &&Route| match route.next_hop {
            RouteNextHop::VirtualAppliance(address) => {
                let mut nics = network.vm(vm).network_interfaces.iter();
                nics.any(|nic| network.nic(*nic).addresses.contains(&address))
            }
            RouteNextHop::VirtualApplianceEcmp(_)
            | RouteNextHop::VirtualNetworkGateway
            | RouteNextHop::VnetLocal
            | RouteNextHop::Internet
            | RouteNextHop::None => false,
        };
        let taken = &network.route_tables[table.0].routes[at];
        let leading = network.route_tables.iter().flat_map(|table| &table.routes).filter(leads).count();
        if leading != 1 || !leads(&taken) {
            return None;
        }
        let (to, why) = self.meant(leg)?;
        let mut edit = self.edit();
        match to.address() {
            Some(address) => edit.move_next_hop(table, at, address),
            None => edit.lead_to(table, at, to.next_hop.clone()),
        }
        let lent = self.lend(&mut edit, self.names.vnet(leg.router()), &to);
        let object = self.names.route(leg.router(), fib, route, hop);
        let cause = format!("{object} leads to {}, which does not forward", self.names.node(nic));
        let text = format!("point route {} at {to}, {why}{lent}", taken.name);
        Some(Diagnosis::with_fix(cause, text, edit).meant())
    }

    /// The next hop that the other direction passes, else the one that all other routes to appliances in reach name.
    fn meant(&self, leg: &Leg) -> Option<(Forwarder, &'static str)> {
        let own = self.names.vnet(leg.router());
        if let Some(one) = self.expected(leg).filter(|one| self.in_reach(one, own)) {
            return Some((one, self.other_way()));
        }
        let routes = self.names.network.route_tables.iter().flat_map(|table| &table.routes);
        Some((self.named_by_routes(routes, &self.near(leg))?, "as other routes do"))
    }

    /// The next hop in reach that all other routes of the sender's own table to appliances name.
    pub(super) fn meant_by_table(&self, leg: &Leg) -> Option<Forwarder> {
        self.named_by_table(leg, &self.near(leg))
    }

    fn near(&self, leg: &Leg) -> Vec<Forwarder> {
        let own = self.names.vnet(leg.router());
        let vnets = iter::once(own).chain(connected(self.names.network, own).map(|link| link.remote));
        vnets.flat_map(|vnet| self.forwarders(vnet)).filter(|one| !self.is_passed(one)).collect()
    }

    /// A route to this next hop is for a part of the network's range that has no subnet.
    pub(super) fn wrong_range(&self, leg: &Leg, home: VnetIx, hop: &Forwarder) -> Option<Diagnosis> {
        let (network, range) = (self.names.network, self.range_of(home));
        let table = network.subnet(self.names.subnet(leg.router())).route_table?;
        let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let is_empty = |prefix: &IpNet| {
            let mut subnets = network.vnet(home).subnets.iter().flat_map(|subnet| &subnet.prefixes);
            range.contains(prefix) && range != *prefix && !subnets.any(|subnet| overlaps(subnet, prefix))
        };
        let mut routes = network.route_tables[table.0].routes.iter().enumerate();
        let (at, route, prefix) = routes.find_map(|(at, route)| {
            let prefix = route.prefix().filter(is_empty).filter(|_| route.next_hop == hop.next_hop)?;
            Some((at, route, prefix))
        })?;
        let (table_name, vnet, dst) = (&network.route_tables[table.0].name, self.vnet_name(home), self.walk.dst);
        let cause = format!(
            "route table {table_name}, route {} leads {prefix} to {hop}: VNet {vnet} has no subnet there, and {dst} is outside",
            route.name
        );
        let mut edit = self.edit();
        edit.widen(table, at, range);
        Some(Diagnosis::with_fix(cause, format!("set addressPrefix of route {} to {range}", route.name), edit))
    }

    /// A route to this next hop is for a range that nothing in the file has. It would lead to the destination if one part
    /// of its address were another.
    pub(super) fn mistyped(&self, leg: &Leg, hop: &Forwarder) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let table = network.subnet(self.names.home(leg.router())?).route_table?;
        let RouteTable { name, routes, .. } = &*network.route_tables[table.0];
        let meant = |route: &Route| {
            let prefix =
                route.prefix().filter(|prefix| route.next_hop == hop.next_hop && !is_known(network, *prefix))?;
            let meant = IpNet::new(dst, prefix.prefix_len()).ok()?.trunc();
            let is_taken = routes.iter().any(|other| other.prefix() == Some(meant));
            (differ_in_one_part(prefix, meant) && !is_taken).then_some((prefix, meant))
        };
        let (at, (prefix, range)) = routes.iter().enumerate().find_map(|(at, route)| Some((at, meant(route)?)))?;
        let route = &routes[at].name;
        let cause = format!(
            "route table {name}, route {route} leads {prefix} to {hop}: nothing in this network has that range, and {dst} is outside"
        );
        let mut edit = self.edit();
        edit.widen(table, at, range);
        Some(Diagnosis::with_fix(cause, format!("set addressPrefix of route {route} to {range}"), edit))
    }

    /// A table with routes that lead there through this next hop. It is the only one that no subnet has, else the only one
    /// that subnets like this have. The subnet has no table, or one that other kinds of subnets have too.
    pub(super) fn table_meant(&self, leg: &Leg, hop: &Forwarder) -> Option<(String, Edit)> {
        let (network, subnet) = (self.names.network, self.names.subnet(leg.router()));
        let own = network.subnet(subnet).route_table;
        if own.is_some_and(|own| self.users(own).count() < 2) {
            return None;
        }
        let tables = (0..network.route_tables.len()).map(RouteTableIx).filter(|table| Some(*table) != own);
        let (unused, used): (Vec<_>, Vec<_>) = tables
            .filter(|table| self.leads_through(*table, hop))
            .partition(|table| self.users(*table).next().is_none());
        let alike = |table: &RouteTableIx| self.users(*table).all(|user| self.are_alike(user, subnet, hop));
        let fitting = match own {
            None if unused.is_empty() => used.into_iter().filter(alike).collect(),
            _ => unused,
        };
        let [table] = fitting[..] else { return None };
        let mut edit = self.edit();
        edit.attach_table(subnet, table);
        let (name, subnet) = (&network.route_tables[table.0].name, subnet_name(network, subnet));
        Some((format!("attach route table {name} to subnet {subnet}: it leads there through {hop}"), edit))
    }

    fn users(&self, table: RouteTableIx) -> impl Iterator<Item = SubnetIx> {
        let all = self.names.network.virtual_networks.iter().enumerate().flat_map(|(vnet, found)| {
            found.subnets.iter().enumerate().map(move |(at, subnet)| (VnetIx(vnet), at, subnet.route_table))
        });
        all.filter(move |(.., used)| *used == Some(table)).map(|(vnet, subnet, _)| SubnetIx { vnet, subnet })
    }

    /// Whether a table's longest route to the destination has this next hop.
    fn leads_through(&self, table: RouteTableIx, hop: &Forwarder) -> bool {
        let routes = self.names.network.route_tables[table.0].routes.iter();
        let holding = routes.filter_map(|route| {
            let prefix = route.prefix().filter(|prefix| prefix.contains(&self.walk.dst))?;
            Some((prefix.prefix_len(), route))
        });
        holding.max_by_key(|(length, _)| *length).is_some_and(|(_, route)| route.next_hop == hop.next_hop)
    }

    /// Whether one table fits both subnets: no gateway and no appliance is in them, and the next hop is in the networks of
    /// both or of neither.
    fn are_alike(&self, one: SubnetIx, other: SubnetIx, hop: &Forwarder) -> bool {
        let network = self.names.network;
        let is_plain = |subnet: SubnetIx| {
            let mut nics = network.network_interfaces.iter().filter(|nic| nic.subnet == subnet);
            let mut gateways = network.gateways();
            !nics.any(|nic| nic.enable_ip_forwarding) && !gateways.any(|(_, gateway)| gateway.subnet == subnet)
        };
        let has_hop = |subnet: SubnetIx| hop.address().is_some_and(|hop| holds(network.vnet(subnet.vnet), hop));
        is_plain(one) && is_plain(other) && has_hop(one) == has_hop(other)
    }
}

/// Whether one octet of several differs, or one group of an IPv6 address.
fn differ_in_one_part(one: IpNet, other: IpNet) -> bool {
    let differing =
        |a: &[u8], b: &[u8], size: usize| a.chunks(size).zip(b.chunks(size)).filter(|(a, b)| a != b).count();
    let (differing, bits) = match (one.addr(), other.addr()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (differing(&a.octets(), &b.octets(), 1), 8),
        (IpAddr::V6(a), IpAddr::V6(b)) => (differing(&a.octets(), &b.octets(), 2), 16),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing == 1 && one.prefix_len() > bits
}

/// Whether a virtual network, a local network gateway, a site or a private cloud has part of a range.
fn is_known(network: &Network, range: IpNet) -> bool {
    let vnets = network.virtual_networks.iter().flat_map(|vnet| &vnet.address_space);
    let locals = network.local_network_gateways.iter().flat_map(|local| &local.address_space);
    let sites = network.sites.iter().flat_map(|site| &site.address_space);
    let clouds = network.private_clouds.iter().flat_map(PrivateCloud::ranges).map(|segment| IpNet::V4(segment.prefix));
    let all = vnets.chain(locals).chain(sites).copied().chain(clouds);
    all.into_iter().any(|known| known.contains(&range) || range.contains(&known))
}

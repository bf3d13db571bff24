//! Packets for what is behind a gateway that leave elsewhere: to the Internet, or to the wrong site (UDR-30, VPN-12,
//! VPN-40).
//!
//! One idea: the file says which site has the destination. Of what leads elsewhere, a route, a default site or a range of
//! a local network gateway, the one that took the packet is changed.

use ipnet::IpNet;

use crate::analysis::change::{Change, Edit};
use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::dataplane::Step;
use crate::model::{
    ConnectionIx, Customer, GatewayIx, GatewayKind, Internet, LocalGatewayIx, RouteNextHop, RouteTableIx, SiteIx,
    SubnetIx, is_routable,
};

use super::{Case, Diagnosis, premises};

/// The user's route that the sender of a leg used.
pub(super) struct UserRoute {
    pub(super) table: RouteTableIx,
    pub(super) at: usize,
}

impl Case<'_> {
    /// The first route of a leg, which is the sender's own.
    pub(super) fn route_of_sender(&self, leg: &Leg) -> Option<UserRoute> {
        let mut routes = leg.steps.iter();
        let row = routes.find_map(|step| match *step {
            Step::Route { fib, route, .. } => Some(self.names.compiled.route(fib, route)),
            _ => None,
        })?;
        let table = self.names.network.subnet(self.names.home(leg.from)?).route_table?;
        let at = self.names.network.route_tables[table.0].named(row.name.as_deref()?)?;
        Some(UserRoute { table, at })
    }

    fn is_default(&self, route: &UserRoute) -> bool {
        let prefix = self.names.network.route_tables[route.table.0].routes[route.at].prefix();
        prefix.is_some_and(|prefix| prefix.prefix_len() == 0)
    }

    /// Whether a default route sends a public address into a gateway.
    pub(super) fn is_forced(&self, leg: &Leg) -> bool {
        is_routable(self.walk.dst) && self.route_of_sender(leg).is_some_and(|route| self.is_default(&route))
    }

    /// A default route of the user leads into a gateway, and the destination is an address of the Internet node.
    pub(super) fn back_to_the_internet(&self, leg: &Leg) -> Option<(String, Edit)> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let has = |internet: &Internet| internet.addresses.contains(&dst);
        network.internet.as_ref().filter(|internet| has(internet))?;
        let route = self.route_of_sender(leg).filter(|route| self.is_default(route))?;
        let name = &network.route_tables[route.table.0].routes[route.at].name;
        let mut edit = self.edit();
        edit.lead_to(route.table, route.at, RouteNextHop::Internet);
        Some((format!("point route {name} at the Internet"), edit))
    }

    /// The packet leaves for the Internet, and a site or private cloud has the destination: the sender's routes are to
    /// lead to the VPN gateway that its network uses.
    pub(super) fn past_the_gateway(&self, leg: &Leg) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.last.dst);
        let customer = premises::at(network, dst)?;
        let subnet = self.names.home(leg.router())?;
        let in_use = network.gateways_in_use(subnet.vnet);
        let [gateway] = in_use[..] else { return None };
        if network.gateway(gateway).kind != GatewayKind::Vpn {
            return None;
        }
        let (fib, route, hop) = leg.route()?;
        let taken = self.names.route(leg.router(), fib, route, hop);
        let there = network.name_of_customer(customer);
        let cause = format!("{dst} is at {there}, but {taken} leads to the Internet");
        let name = &network.gateway(gateway).name;
        let routed = Diagnosis::of(cause.clone(), Some(self.routed_to_gateway(subnet, customer, name)));
        let meant = match self.route_of_sender(leg) {
            Some(UserRoute { table, at }) => {
                let mut edit = self.edit();
                edit.lead_to(table, at, RouteNextHop::VirtualNetworkGateway);
                let route = &network.route_tables[table.0].routes[at].name;
                Some((format!("point route {route} at gateway {name}"), edit))
            }
            None => self.attached(subnet),
        };
        Some(Diagnosis::of(cause, meant).or(routed))
    }

    fn routed_to_gateway(&self, subnet: SubnetIx, customer: Customer, gateway: &str) -> (String, Edit) {
        let (network, dst) = (self.names.network, self.walk.last.dst);
        let own = match customer {
            Customer::Site(site) => network.site(site).address_space.clone(),
            Customer::Cloud(_) | Customer::Segment(..) => Vec::new(),
        };
        let range = own.into_iter().find(|range| range.contains(&dst)).unwrap_or_else(|| dst.into());
        let name = format!("to-{}", network.name_of_customer(customer));
        let mut edit = self.edit();
        edit.route(subnet, &name, range, &RouteNextHop::VirtualNetworkGateway);
        (format!("route {range} from subnet {} to gateway {gateway}", subnet_name(network, subnet)), edit)
    }

    /// The subnet has no route table, and one that no subnet has leads into the gateway.
    fn attached(&self, subnet: SubnetIx) -> Option<(String, Edit)> {
        let (network, dst) = (self.names.network, self.walk.last.dst);
        if network.subnet(subnet).route_table.is_some() {
            return None;
        }
        let subnets = || network.virtual_networks.iter().flat_map(|vnet| &vnet.subnets);
        let mut free = (0..network.route_tables.len())
            .map(RouteTableIx)
            .filter(|table| subnets().all(|subnet| subnet.route_table != Some(*table)));
        let leads = |table: &RouteTableIx| {
            network.route_tables[table.0].routes.iter().any(|route| {
                route.next_hop == RouteNextHop::VirtualNetworkGateway
                    && route.prefix().is_some_and(|prefix| prefix.contains(&dst))
            })
        };
        let table = free.find(leads)?;
        let name = &network.route_tables[table.0].name;
        let mut edit = self.edit();
        edit.attach_table(subnet, table);
        Some((format!("attach route table {name} to subnet {}", subnet_name(network, subnet)), edit))
    }

    /// A gateway led to the wrong site. None where no other site of its connections has the destination.
    pub(super) fn to_the_right_site(&self, over: ConnectionIx) -> Option<(String, (String, Edit))> {
        let network = self.names.network;
        let gateway = network.connection(over).gateway;
        self.redefaulted(gateway).or_else(|| self.moved_ranges(over))
    }

    /// The site that has the destination, with the local network gateway over which a gateway leads there.
    fn meant_at(&self, gateway: GatewayIx) -> Option<(SiteIx, LocalGatewayIx)> {
        let network = self.names.network;
        let Some(Customer::Site(site)) = premises::at(network, self.walk.dst) else { return None };
        let mut tunnels = network.tunnels_of(site).map(|over| network.connection(over));
        let local = tunnels.find(|one| one.gateway == gateway)?.remote.local_gateway()?;
        Some((site, local))
    }

    /// The gateway's default site took the packet, and another site has the destination (VPN-40).
    pub(super) fn redefaulted(&self, at: GatewayIx) -> Option<(String, (String, Edit))> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let gateway = network.gateway(at);
        let (old, (site, meant)) = (gateway.default_site?, self.meant_at(at)?);
        let is_named = |(over, _)| network.local_space(over).iter().any(|range| range.contains(&dst));
        if old == meant || network.connections_of(at).any(is_named) {
            return None;
        }
        let [old, new] = [old, meant].map(|local| &network.local_gateway(local).name);
        let mut edit = self.edit();
        edit.default_to(at, meant);
        let says = format!(
            "{dst} is at {}, but the default site of gateway {} is {old} (VPN-40)",
            network.site(site).name,
            gateway.name
        );
        Some((says, (format!("make {new} the default site of gateway {}", gateway.name), edit)))
    }

    /// The local network gateway of one site names ranges of another (VPN-12): these go there, and others come back.
    fn moved_ranges(&self, over: ConnectionIx) -> Option<(String, (String, Edit))> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let connection = network.connection(over);
        let (here, wrong) = (connection.remote.local_gateway()?, network.site_of(over)?);
        let (right, there) = self.meant_at(connection.gateway)?;
        let is_at =
            |site: SiteIx, range: &IpNet| network.site(site).address_space.iter().any(|own| own.contains(range));
        let spaces = [here, there].map(|local| &network.local_gateway(local).address_space);
        let astray = |space: &[IpNet], own: SiteIx, other: SiteIx| {
            let astray = space.iter().copied().filter(|range| is_at(other, range) && !is_at(own, range));
            astray.collect::<Vec<_>>()
        };
        let (there_go, here_go) = (astray(spaces[0], wrong, right), astray(spaces[1], right, wrong));
        if here == there || !there_go.iter().any(|range| range.contains(&dst)) {
            return None;
        }
        let with = |space: &[IpNet], gone: &[IpNet], come: &[IpNet]| {
            let mut left: Vec<_> = space.iter().copied().filter(|range| !gone.contains(range)).collect();
            let new = come.iter().copied().filter(|range| !left.iter().any(|own| own.contains(range)));
            let new: Vec<_> = new.collect();
            left.extend(new);
            left
        };
        let mut edit = self.edit();
        edit.name_ranges(here, with(spaces[0], &there_go, &here_go));
        edit.name_ranges(there, with(spaces[1], &here_go, &there_go));
        let [a, b] = [here, there].map(|local| &network.local_gateway(local).name);
        let list = |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let says = format!(
            "{dst} is at {}, but local network gateway {a} names its range, and {} is there (VPN-12)",
            network.site(right).name,
            network.site(wrong).name
        );
        let text = match (&here_go[..], &edit.changes[..]) {
            ([], [_]) => format!("take {} out of local network gateway {a}", list(&there_go)),
            ([], _) => format!("move {} from local network gateway {a} to {b}", list(&there_go)),
            _ => {
                format!("move {} from local network gateway {a} to {b}, and {} back", list(&there_go), list(&here_go))
            }
        };
        Some((says, (text, edit)))
    }
}

impl Edit {
    /// All ranges of a local network gateway, where they differ from what it has.
    fn name_ranges(&mut self, at: LocalGatewayIx, ranges: Vec<IpNet>) {
        if self.network.local_gateway(at).address_space == ranges {
            return;
        }
        let listed = ranges.iter().map(|range| format!("'{range}'")).collect::<Vec<_>>().join(", ");
        self.network.local_network_gateways[at.0].address_space = ranges;
        let path = format!("localNetworkGateways[{}].localNetworkAddressSpace", at.0);
        self.changes.push(Change { path, value: Some(format!("[{listed}]")) });
    }
}

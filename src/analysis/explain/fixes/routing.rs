//! Packets that a route led nowhere, or that a peering dropped.
//!
//! One idea: first check whether the two VNets are peered. A missing, one-sided or stale link is the cause of most
//! routes to nowhere.

use std::iter;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::Edit;
use crate::analysis::query::names::subnet_name;
use crate::analysis::walk::Leg;
use crate::compile::connected;
use crate::dataplane::{DropReason, FibId, NextHop, RouteId};
use crate::model::{
    DeploymentModel, GatewayIx, GatewayKind, Peering, PeeringState, RouteNextHop, RouteTable, RouteTableIx, VnetIx,
    is_routable,
};

use super::forwarders::{Choice, Forwarder};
use super::{Case, Diagnosis};

impl Case<'_> {
    /// The chosen route leads nowhere: the cause is the user's own route, or a missing better one.
    pub(super) fn unrouted(&self, leg: &Leg) -> Option<Diagnosis> {
        let Some((table, at)) = self.user_route(leg) else { return Some(self.apart(leg)) };
        let (fib, route, hop) = leg.route()?;
        let prefixes = self.names.compiled.route(fib, route).prefixes.iter().copied();
        let prefix = prefixes.filter(|prefix| prefix.contains(&self.walk.dst)).max_by_key(IpNet::prefix_len)?;
        if !matches!(hop, NextHop::NoGateway) && self.is_last_resort(leg, prefix) {
            return Some(self.apart(leg));
        }
        let object = self.names.route(leg.router(), fib, route, hop);
        let circuits = self.express_route(self.names.vnet(leg.router()));
        let what = match hop {
            NextHop::None => "drops",
            NextHop::NoGateway if circuits.is_some() => "leads to a VPN gateway, and no route leads to what is there:",
            NextHop::NoGateway => "leads to a gateway, and this network has none:",
            NextHop::Internet => "leads to the Internet, where this network has nothing:",
            _ => "leads away",
        };
        let cause = format!("{object} {what} {}", self.walk.dst);
        let Some(gateway) = circuits.filter(|_| matches!(hop, NextHop::NoGateway)) else {
            if matches!(hop, NextHop::NoGateway)
                && let Some((text, edit)) = self.gateway_of_peer(leg)
            {
                let other = self.led_elsewhere(leg, cause.clone(), (table, at), prefix);
                return Some(Diagnosis::with_fix(cause, text, edit).or(other));
            }
            return Some(self.led_elsewhere(leg, cause, (table, at), prefix));
        };
        let mut edit = self.edit();
        edit.remove_route(table, at);
        let name = &self.names.network.route_tables[table.0].routes[at].name;
        Some(Diagnosis::with_fix(
            format!("{cause}; {gateway} (UDR-14)"),
            format!("remove route {name}: what a circuit leads to is learned by BGP, without a route of yours"),
            edit,
        ))
    }

    /// A user's route is the cause. It is led where the other direction passes, else where the table's other routes lead.
    fn led_elsewhere(&self, leg: &Leg, cause: String, route: (RouteTableIx, usize), prefix: IpNet) -> Diagnosis {
        if let Some(to) = self.expected(leg) {
            return self.led_to(leg, cause, (route, prefix), &to, self.other_way());
        }
        let taken_away = self.taken_away(leg, cause.clone(), route, prefix);
        let is_inside = self.home(self.walk.dst).is_some() || self.is_outside();
        match self.meant_by_table(leg).filter(|_| is_inside) {
            Some(to) => self.led_to(leg, cause, (route, prefix), &to, "as other routes of the table do").or(taken_away),
            None => taken_away,
        }
    }

    /// The change is as small as the question needs: a route for more than the destination's network stays, and a longer
    /// one is added before it; a route for that network alone is changed.
    fn led_to(
        &self,
        leg: &Leg,
        cause: String,
        ((table, at), prefix): ((RouteTableIx, usize), IpNet),
        to: &Forwarder,
        why: &str,
    ) -> Diagnosis {
        let subnet = self.names.subnet(leg.router());
        let name = &self.names.network.route_tables[table.0].routes[at].name;
        let range = self.home(self.walk.dst).map(|home| self.range_of(home));
        let mut edit = self.edit();
        let text = if let Some(range) = range.filter(|range| prefix.prefix_len() < range.prefix_len()) {
            edit.route(subnet, &format!("{name}-except"), range, &to.next_hop);
            format!("add a route for {range} to {to}, {why}")
        } else {
            edit.lead_to(table, at, to.next_hop.clone());
            format!("point route {name} at {to}, {why}")
        };
        let lent = self.lend(&mut edit, subnet.vnet, to);
        Diagnosis::with_fix(cause, format!("{text}{lent}"), edit)
    }

    /// A route to VnetLocal gives way to others, or leads where the other direction passes.
    pub(super) fn kept_inside(&self, leg: &Leg, cause: String, (table, at): (RouteTableIx, usize)) -> Diagnosis {
        let Some(prefix) = self.names.network.route_tables[table.0].routes[at].prefix() else {
            return Diagnosis::without_fix(cause);
        };
        let led = self.led_elsewhere(leg, cause.clone(), (table, at), prefix);
        self.taken_away(leg, cause, (table, at), prefix).or(led)
    }

    /// No next hop is known that was meant: the route gives way to others.
    fn taken_away(&self, leg: &Leg, cause: String, (table, at): (RouteTableIx, usize), prefix: IpNet) -> Diagnosis {
        let dst = self.walk.dst;
        let name = &self.names.network.route_tables[table.0].routes[at].name;
        let mut edit = self.edit();
        if self.home(dst).is_none() && prefix.prefix_len() == 0 && is_routable(dst) {
            let subnet = self.names.subnet(leg.router());
            edit.route(subnet, &format!("{name}-except"), dst.into(), &RouteNextHop::Internet);
            return Diagnosis::with_fix(cause, format!("add a route for {} to the Internet", IpNet::from(dst)), edit);
        }
        edit.remove_route(table, at);
        Diagnosis::with_fix(cause, format!("remove route {name}, or give it another next hop"), edit)
    }

    /// Whether a wider route took the packet only because no other route leads there: the missing route is then the
    /// cause.
    fn is_last_resort(&self, leg: &Leg, prefix: IpNet) -> bool {
        let (network, own) = (self.names.network, self.names.vnet(leg.router()));
        match self.home(self.walk.dst) {
            Some(home) if home == own => false,
            Some(home) => {
                let linked = connected(network, own).any(|link| link.remote == home);
                !linked && prefix.prefix_len() < self.range_of(home).prefix_len()
            }
            None => prefix.prefix_len() == 0 && self.is_outside(),
        }
    }

    /// The route leads to a gateway, and a peer alone has one that the sender's network does not use (PEER-30).
    fn gateway_of_peer(&self, leg: &Leg) -> Option<(String, Edit)> {
        let (network, own) = (self.names.network, self.names.vnet(leg.router()));
        if !network.gateways_in_use(own).is_empty() {
            return None;
        }
        let peers = connected(network, own).map(|link| link.remote).filter(|peer| self.may_use_gateways(own, *peer));
        let mut gateways = peers.flat_map(|peer| network.gateways_of(peer));
        let (one, None) = (gateways.next()?, gateways.next()) else { return None };
        let gateway = network.gateway(one);
        if gateway.kind != GatewayKind::Vpn {
            return None;
        }
        let hub = gateway.subnet.vnet;
        let mut edit = self.edit();
        edit.use_gateways(own, hub);
        let (own, hub) = (self.vnet_name(own), self.vnet_name(hub));
        Some((format!("let VNet {own} use gateway {} of VNet {hub} (PEER-30)", gateway.name), edit))
    }

    /// An ExpressRoute gateway that a virtual network uses, alone or beside a VPN gateway: user routes lead to neither
    /// (UDR-14).
    fn express_route(&self, own: VnetIx) -> Option<String> {
        let network = self.names.network;
        let gateways = network.gateways_in_use(own);
        let circuits = |gateway: &&GatewayIx| network.gateway(**gateway).kind != GatewayKind::Vpn;
        let one = network.gateway(*gateways.iter().find(circuits)?);
        let vnet = self.vnet_name(one.subnet.vnet);
        Some(format!("gateway {} of VNet {vnet} is an ExpressRoute gateway", one.name))
    }

    /// An Azure service: there is no fix.
    pub(super) fn no_service(&self, leg: &Leg) -> Diagnosis {
        let dst = self.walk.dst;
        if let Some(endpoint) = self.names.private_endpoint(dst, leg) {
            return Diagnosis::without_fix(format!(
                "{dst} is private endpoint {endpoint}: no lab has the service behind it"
            ));
        }
        let subnet = self.names.subnet(leg.router());
        let service = self.names.service(subnet, dst).unwrap_or("an Azure service");
        Diagnosis::without_fix(format!(
            "{dst} is an address of {service}, to which subnet {} has a service endpoint: no lab has the service itself",
            subnet_name(self.names.network, subnet)
        ))
    }

    /// The sender's subnet has no route to the destination: its VNet and the destination's are not connected.
    pub(super) fn apart(&self, leg: &Leg) -> Diagnosis {
        let own = self.names.vnet(leg.router());
        let dst = self.walk.dst;
        let Some(home) = self.home(dst).filter(|home| *home != own) else {
            return self.unlearned_there(leg);
        };
        if let Some(diagnosis) = self.no_way_back(leg, home) {
            return diagnosis;
        }
        let network = self.names.network;
        let (ours, theirs) = (self.names.link(own, home), self.names.link(home, own));
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        let cause = match (ours, theirs) {
            (Some(ours), Some(_)) if connected(network, own).any(|link| link.remote == home) => {
                if let Some(diagnosis) = self.not_joined(self.names.subnet(leg.router()), home, dst) {
                    return diagnosis;
                }
                if let Some(diagnosis) = self.peering_routes_disabled(leg, ours) {
                    return diagnosis;
                }
                return self.stale(own, ours, dst);
            }
            (Some(ours), Some(_)) => {
                let state = match ours.state {
                    PeeringState::Initiated => "Initiated",
                    PeeringState::Connected => "Connected on one side only",
                    PeeringState::Disconnected => "Disconnected",
                };
                format!("peering {} is {state}", ours.name)
            }
            (Some(left), None) | (None, Some(left)) if left.state == PeeringState::Disconnected => {
                return self.left_behind(own, home);
            }
            (Some(ours), None) => format!("peering {} is only Initiated: VNet {b} has no link back to {a}", ours.name),
            (None, Some(theirs)) => {
                format!("peering {} is only Initiated: VNet {a} has no link back to {b}", theirs.name)
            }
            (None, None) => {
                return self.tunnel_between(leg, own, home).unwrap_or_else(|| self.not_transitive(leg, own, home));
            }
        };
        self.peer(cause, own, home)
    }

    /// A link whose other side was deleted: Azure creates no other side until the link is put again (PEER-03).
    fn left_behind(&self, own: VnetIx, home: VnetIx) -> Diagnosis {
        let (left, gone) = if self.names.link(own, home).is_some() { (own, home) } else { (home, own) };
        let name = self.names.link(left, gone).map_or("?", |link| &link.name);
        let (left, gone) = (self.vnet_name(left), self.vnet_name(gone));
        let cause =
            format!("peering {left}/{name} is Disconnected: its other side in VNet {gone} was deleted (PEER-03)");
        let mut diagnosis = self.peer(cause, own, home);
        for fix in &mut diagnosis.fixes {
            "sync the link first, which makes it Initiated; then add the missing link".clone_into(&mut fix.text);
            fix.commands = vec![format!("vnet peering sync {left}/{name}")];
        }
        diagnosis
    }

    /// A link that does not know its peer's present ranges (PEER-17).
    fn stale(&self, own: VnetIx, link: &Peering, address: IpAddr) -> Diagnosis {
        let remote = self.vnet_name(link.remote);
        let cause =
            format!("peering {} does not know the range of {address}: VNet {remote} changed its space", link.name);
        let mut edit = self.edit();
        edit.sync(own, link.remote);
        let text =
            format!("sync peering {0}; in a running lab, `vnet peering sync {1}/{0}`", link.name, self.vnet_name(own));
        Diagnosis::with_fix(cause, text, edit)
    }

    /// The sender's own table disables the peering's routes, and has none in their place.
    fn peering_routes_disabled(&self, leg: &Leg, link: &Peering) -> Option<Diagnosis> {
        let network = self.names.network;
        let subnet = self.names.subnet(leg.router());
        let table = network.subnet(subnet).route_table?;
        let RouteTable { name, disable_peering_route: true, .. } = &*network.route_tables[table.0] else { return None };
        let cause = format!(
            "route table {name} of subnet {} disables the routes of peering {}, and has no other to {}",
            subnet_name(network, subnet),
            link.name,
            self.walk.dst
        );
        let mut edit = self.edit();
        edit.enable_peering_routes(table);
        Some(Diagnosis::with_fix(
            cause,
            format!("enable the peering routes in {name}, or route {} yourself", self.walk.dst),
            edit,
        ))
    }

    /// No reachable interface owns the next hop (UDR-11, UDR-12).
    pub(super) fn unreachable(&self, leg: &Leg) -> Option<Diagnosis> {
        let (fib, route, hop) = leg.route()?;
        let (table, at) = self.user_route(leg)?;
        let (address, several) = match &self.names.network.route_tables[table.0].routes[at].next_hop {
            RouteNextHop::VirtualAppliance(address) => (*address, false),
            RouteNextHop::VirtualApplianceEcmp(addresses) => (self.missing(fib, route, addresses)?, true),
            RouteNextHop::VirtualNetworkGateway
            | RouteNextHop::VnetLocal
            | RouteNextHop::Internet
            | RouteNextHop::None => return None,
        };
        let own = self.names.vnet(leg.router());
        let object = self.names.route(leg.router(), fib, route, hop);
        let network = self.names.network;
        let owner = network.network_interfaces.iter().find(|nic| nic.addresses.contains(&address));
        if let Some(vnet) = owner.map(|nic| nic.subnet.vnet).filter(|vnet| *vnet != own) {
            if let Some(diagnosis) = self.not_joined(self.names.subnet(leg.router()), vnet, address) {
                return Some(diagnosis);
            }
            if let Some(link) = connected(network, own).find(|link| link.remote == vnet) {
                return Some(self.stale(own, link, address));
            }
            let cause = format!(
                "{object}: the next hop is in VNet {}, which VNet {} is not directly peered with",
                self.vnet_name(vnet),
                self.vnet_name(own)
            );
            return Some(self.peer(cause, own, vnet));
        }
        let cause = format!("{object}: no machine has the next hop's address {address}");
        if several {
            let mut edit = self.edit();
            edit.drop_next_hop(table, at, address);
            return Some(Diagnosis::with_fix(cause, format!("take {address} out of the route"), edit));
        }
        let near = iter::once(own).chain(connected(network, own).map(|link| link.remote));
        Some(match self.choose(leg, near) {
            Choice::One(hop, why) => {
                let mut edit = self.edit();
                match hop.address() {
                    Some(address) => edit.move_next_hop(table, at, address),
                    None => edit.lead_to(table, at, hop.next_hop.clone()),
                }
                let why = format!("{why}{}", self.lend(&mut edit, own, &hop));
                Diagnosis::with_fix(cause, format!("point it at {hop}{why}"), edit)
            }
            Choice::Several(hops) => {
                self.prose(cause, format!("point it at one of the appliances in reach: {}", Choice::list(&hops)))
            }
            Choice::None => Diagnosis::without_fix(cause),
        })
    }

    /// The first of several next hops that no reachable interface owns.
    fn missing(&self, fib: FibId, route: RouteId, addresses: &[IpAddr]) -> Option<IpAddr> {
        let fib = self.names.compiled.snapshot.fib(fib);
        let NextHop::Spread(spread) = fib.next_hops[route.0 as usize] else { return None };
        let mut members = addresses.iter().zip(fib.spread(spread).members());
        members.find(|(_, hop)| **hop == NextHop::Unreachable).map(|(address, _)| *address)
    }

    pub(super) fn flag(&self, leg: &Leg, reason: DropReason) -> Option<Diagnosis> {
        let (own, remote) = leg.refusing_link(reason)?;
        if reason == DropReason::PeeringAccess {
            return Some(self.access_off(own, remote));
        }
        let link = self.names.link(own, remote)?;
        let cause = format!(
            "peering {}, flag allowForwardedTraffic is off: {} is not an address of VNet {}",
            link.name,
            self.walk.src,
            self.vnet_name(remote)
        );
        let mut edit = self.edit();
        edit.allow_forwarded(own, remote);
        Some(Diagnosis::with_fix(cause, format!("set allowForwardedTraffic on peering {}", link.name), edit))
    }

    pub(super) fn access_off(&self, own: VnetIx, remote: VnetIx) -> Diagnosis {
        let name = self.names.link(own, remote).map_or("?", |link| &link.name);
        let cause = format!(
            "peering {name}, flag allowVirtualNetworkAccess is off, and no custom rule on the side of VNet {} allows the flow",
            self.vnet_name(own)
        );
        let mut edit = self.edit();
        edit.allow_access(own, remote);
        Diagnosis::with_fix(cause, format!("set allowVirtualNetworkAccess on peering {name}"), edit)
    }

    /// Peers two VNets, unless their ranges overlap, or one of them is already peered with a network that overlaps the
    /// other (PEER-07).
    pub(super) fn peer(&self, cause: String, own: VnetIx, remote: VnetIx) -> Diagnosis {
        let network = self.names.network;
        let (ours, theirs) = (&network.vnet(own).address_space, &network.vnet(remote).address_space);
        if ours.iter().any(|a| theirs.iter().any(|b| a.contains(b) || b.contains(a))) {
            return Diagnosis::without_fix(format!("{cause}; their address spaces overlap, so they cannot be"));
        }
        if let Some((vnet, peer)) = self.rival(own, remote).or_else(|| self.rival(remote, own)) {
            return Diagnosis::without_fix(format!(
                "{cause}; VNet {} is peered with {}, which overlaps, so they cannot be",
                self.vnet_name(vnet),
                self.vnet_name(peer)
            ));
        }
        if [own, remote].iter().all(|vnet| network.vnet(*vnet).deployment_model == DeploymentModel::Classic) {
            return Diagnosis::without_fix(format!("{cause}; both are classic, so they cannot be"));
        }
        let mut edit = self.edit();
        edit.link(own, remote);
        edit.link(remote, own);
        let text = match edit.changes.len() {
            1 => "add the missing link".to_owned(),
            2 => format!("peer VNet {} and VNet {}, a link each way", self.vnet_name(own), self.vnet_name(remote)),
            _ => "delete both links and create them again".to_owned(),
        };
        Diagnosis::with_fix(cause, text, edit)
    }

    /// A network that the first is peered with and that overlaps the other.
    fn rival(&self, own: VnetIx, other: VnetIx) -> Option<(VnetIx, VnetIx)> {
        let network = self.names.network;
        let overlaps = |peer: VnetIx| {
            let (theirs, others) = (&network.vnet(peer).address_space, &network.vnet(other).address_space);
            theirs.iter().any(|a| others.iter().any(|b| a.contains(b) || b.contains(a)))
        };
        let mut peers = network.vnet(own).peerings.iter().map(|link| link.remote).filter(|peer| *peer != other);
        peers.find(|peer| overlaps(*peer)).map(|peer| (own, peer))
    }

    /// The user-defined route that the leg took.
    pub(super) fn user_route(&self, leg: &Leg) -> Option<(RouteTableIx, usize)> {
        let (fib, route, _) = leg.route()?;
        let row = self.names.compiled.route(fib, route);
        let table = self.names.network.subnet(self.names.subnet(leg.router())).route_table?;
        Some((table, self.names.network.route_tables[table.0].named(row.name.as_deref()?)?))
    }
}

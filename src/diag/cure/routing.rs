//! Packets that a route led nowhere, or that a peering did not let pass.
//!
//! One idea: ask first whether the two VNets know each other at all. A link that is missing, one-sided or out of date is
//! behind most routes to nowhere.

use std::iter;
use std::net::IpAddr;

use crate::compile::{Sender, connected};
use crate::dataplane::{DropReason, FibId, NextHop, RouteId};
use crate::diag::names::{nic_name, subnet_name};
use crate::diag::walk::Leg;
use crate::model::{
    DeploymentModel, GatewayIx, GatewayKind, NicIx, Peering, PeeringState, RouteNextHop, RouteTable, RouteTableIx,
    VnetIx,
};

use super::{Case, Cure};

impl Case<'_> {
    /// The chosen route leads to nothing: the user's own route is to blame, or the lack of a better one.
    pub(super) fn unrouted(&self, leg: &Leg) -> Option<Cure> {
        let Some((table, at)) = self.user_route(leg) else { return Some(self.apart(leg)) };
        let (fib, route, hop) = leg.route()?;
        let object = self.names.route(leg.router(), fib, route, hop);
        let circuits = self.express_route(self.names.vnet(leg.router()));
        let what = match hop {
            NextHop::None => "drops",
            NextHop::NoGateway if circuits.is_some() => "leads to a VPN gateway, and no route leads to what is there:",
            NextHop::NoGateway => "leads to a gateway, and this network has none:",
            NextHop::Internet => "leads to the Internet, where this network has nothing:",
            NextHop::Vnet(_)
            | NextHop::Nic(_)
            | NextHop::Spread(_)
            | NextHop::Frontend(_)
            | NextHop::Unreachable
            | NextHop::Gateway(_)
            | NextHop::Tunnel(_)
            | NextHop::Service => "leads away",
        };
        let cause = format!("{object} {what} {}", self.walk.dst);
        let mut edit = self.edit();
        edit.remove_route(table, at);
        let name = &self.names.network.route_tables[table.0].routes[at].name;
        if let Some(gateway) = circuits.filter(|_| matches!(hop, NextHop::NoGateway)) {
            let cause = format!("{cause}; {gateway} (UDR-14)");
            return Some(Cure::with(
                cause,
                format!("remove route {name}: what a circuit leads to is learned by BGP, without a route of yours"),
                edit,
            ));
        }
        Some(Cure::with(cause, format!("remove route {name}, or give it another next hop"), edit))
    }

    /// An ExpressRoute gateway that a virtual network uses, alone or beside another: user routes lead to neither (UDR-14).
    fn express_route(&self, own: VnetIx) -> Option<String> {
        let network = self.names.network;
        let gateways = network.gateways_in_use(own);
        let circuits = |gateway: &&GatewayIx| network.gateway(**gateway).kind != GatewayKind::Vpn;
        let one = network.gateway(*gateways.iter().find(circuits)?);
        let vnet = self.vnet_name(one.subnet.vnet);
        Some(format!("gateway {} of VNet {vnet} is an ExpressRoute gateway", one.name))
    }

    /// An Azure service: there is nothing to mend.
    pub(super) fn no_service(&self, leg: &Leg) -> Cure {
        let dst = self.walk.dst;
        if let Some(endpoint) = self.names.private_endpoint(dst, leg) {
            return Cure::untreated(format!("{dst} is private endpoint {endpoint}: no lab has the service behind it"));
        }
        let subnet = self.names.subnet(leg.router());
        let service = self.names.service(subnet, dst).unwrap_or("an Azure service");
        Cure::untreated(format!(
            "{dst} is an address of {service}, to which subnet {} has a service endpoint: no lab has the service itself",
            subnet_name(self.names.network, subnet)
        ))
    }

    /// Nobody told the sender's subnet where the destination is: the sender's VNet and the destination's are apart.
    pub(super) fn apart(&self, leg: &Leg) -> Cure {
        let own = self.names.vnet(leg.router());
        let dst = self.walk.dst;
        let Some(home) = self.home(dst).filter(|home| *home != own) else {
            return self.unlearned_there(leg);
        };
        if let Some(cure) = self.no_way_back(leg, home) {
            return cure;
        }
        let network = self.names.network;
        let (ours, theirs) = (self.names.link(own, home), self.names.link(home, own));
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        let cause = match (ours, theirs) {
            (Some(ours), Some(_)) if connected(network, own).any(|link| link.remote == home) => {
                if let Some(cure) = self.not_joined(self.names.subnet(leg.router()), home, dst) {
                    return cure;
                }
                if let Some(cure) = self.peering_routes_disabled(leg, ours) {
                    return cure;
                }
                let cause =
                    format!("peering {} does not know the range of {dst}: VNet {b} changed its space", ours.name);
                let mut edit = self.edit();
                edit.sync(own, home);
                return Cure::with(cause, format!("sync peering {}", ours.name), edit);
            }
            (Some(ours), Some(_)) => {
                let state = match ours.state {
                    PeeringState::Initiated => "Initiated",
                    PeeringState::Connected => "Connected on one side only",
                    PeeringState::Disconnected => "Disconnected",
                };
                format!("peering {} is {state}", ours.name)
            }
            (Some(ours), None) => format!("peering {} is only Initiated: VNet {b} has no link back to {a}", ours.name),
            (None, Some(theirs)) => {
                format!("peering {} is only Initiated: VNet {a} has no link back to {b}", theirs.name)
            }
            (None, None) => return self.not_transitive(leg, own, home),
        };
        self.peer(cause, own, home)
    }

    /// The sender's own table keeps the peering's routes out, and has none in their place.
    fn peering_routes_disabled(&self, leg: &Leg, link: &Peering) -> Option<Cure> {
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
        Some(Cure::with(
            cause,
            format!("enable the peering routes in {name}, or route {} yourself", self.walk.dst),
            edit,
        ))
    }

    /// Two VNets without links: perhaps a hub between them, perhaps with an appliance that could carry the packet.
    fn not_transitive(&self, leg: &Leg, own: VnetIx, home: VnetIx) -> Cure {
        let network = self.names.network;
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        let is_hub = |hub: VnetIx| connected(network, hub).any(|link| link.remote == home);
        let Some(hub) = connected(network, own).map(|link| link.remote).find(|&hub| is_hub(hub)) else {
            return self.peer(format!("VNet {a} and VNet {b} are not peered"), own, home);
        };
        let cause = format!(
            "VNet {a} and VNet {b} are not peered: both are peered with {}, but peering is not transitive",
            self.vnet_name(hub)
        );
        match self.appliance(hub) {
            Some((nic, address)) => self.route_through(leg, cause, home, nic, address),
            None => self.peer(cause, own, home),
        }
    }

    /// The question passed an appliance; the answer has no route to it (CH-03).
    fn no_way_back(&self, leg: &Leg, home: VnetIx) -> Option<Cure> {
        let through = self.request?.appliances().next_back()?;
        let Sender::Nic(nic) = self.names.compiled.sender(through) else { return None };
        let address = self.address_of(nic)?;
        let subnet = subnet_name(self.names.network, self.names.subnet(leg.router()));
        let cause = format!(
            "no route back: the request came through {} ({address}), but subnet {subnet} has no route to {} through it",
            nic_name(self.names.network, nic),
            self.walk.dst
        );
        Some(self.route_through(leg, cause, home, nic, address))
    }

    fn route_through(&self, leg: &Leg, cause: String, home: VnetIx, nic: NicIx, address: IpAddr) -> Cure {
        let network = self.names.network;
        let space = network.vnet(home).address_space.iter().find(|prefix| prefix.contains(&self.walk.dst));
        let prefix = space.copied().unwrap_or_else(|| self.walk.dst.into());
        let subnet = self.names.subnet(leg.router());
        let mut edit = self.edit();
        edit.route(subnet, &format!("to-{}", self.vnet_name(home)), prefix, address);
        let text = format!(
            "route {prefix} from subnet {} to {} ({address})",
            subnet_name(network, subnet),
            nic_name(network, nic)
        );
        Cure::with(cause, text, edit)
    }

    /// Nobody in reach owns the next hop (UDR-11, UDR-12).
    pub(super) fn unreachable(&self, leg: &Leg) -> Option<Cure> {
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
            if let Some(cure) = self.not_joined(self.names.subnet(leg.router()), vnet, address) {
                return Some(cure);
            }
            let cause = format!(
                "{object}: the next hop is in VNet {}, which VNet {} is not directly peered with",
                self.vnet_name(vnet),
                self.vnet_name(own)
            );
            return Some(self.peer(cause, own, vnet));
        }
        let cause = format!("{object}: nobody has the next hop's address {address}");
        if several {
            let mut edit = self.edit();
            edit.drop_next_hop(table, at, address);
            return Some(Cure::with(cause, format!("take {address} out of the route"), edit));
        }
        let near = iter::once(own).chain(connected(network, own).map(|link| link.remote));
        let mut appliances = near.filter_map(|vnet| self.appliance(vnet));
        let (Some((nic, to)), None) = (appliances.next(), appliances.next()) else {
            return Some(Cure::untreated(cause));
        };
        let mut edit = self.edit();
        edit.move_next_hop(table, at, to);
        Some(Cure::with(cause, format!("point it at {} ({to})", nic_name(network, nic)), edit))
    }

    /// The first of several next hops that nobody in reach owns.
    fn missing(&self, fib: FibId, route: RouteId, addresses: &[IpAddr]) -> Option<IpAddr> {
        let fib = self.names.compiled.snapshot.fib(fib);
        let NextHop::Spread(spread) = fib.next_hops[route.0 as usize] else { return None };
        let mut members = addresses.iter().zip(fib.spread(spread).members());
        members.find(|(_, hop)| **hop == NextHop::Unreachable).map(|(address, _)| *address)
    }

    pub(super) fn flag(&self, leg: &Leg, reason: DropReason) -> Option<Cure> {
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
        Some(Cure::with(cause, format!("set allowForwardedTraffic on peering {}", link.name), edit))
    }

    pub(super) fn access_off(&self, own: VnetIx, remote: VnetIx) -> Cure {
        let name = self.names.link(own, remote).map_or("?", |link| &link.name);
        let cause = format!(
            "peering {name}, flag allowVirtualNetworkAccess is off, and no custom rule on the side of VNet {} allows the flow",
            self.vnet_name(own)
        );
        let mut edit = self.edit();
        edit.allow_access(own, remote);
        Cure::with(cause, format!("set allowVirtualNetworkAccess on peering {name}"), edit)
    }

    /// Peers two VNets; not where their ranges overlap (PEER-07).
    fn peer(&self, cause: String, own: VnetIx, remote: VnetIx) -> Cure {
        let network = self.names.network;
        let (ours, theirs) = (&network.vnet(own).address_space, &network.vnet(remote).address_space);
        if ours.iter().any(|a| theirs.iter().any(|b| a.contains(b) || b.contains(a))) {
            return Cure::untreated(format!("{cause}; their address spaces overlap, so they cannot be"));
        }
        if [own, remote].iter().all(|vnet| network.vnet(*vnet).deployment_model == DeploymentModel::Classic) {
            return Cure::untreated(format!("{cause}; both are classic, so they cannot be"));
        }
        let mut edit = self.edit();
        edit.link(own, remote);
        edit.link(remote, own);
        let text = match edit.changes.len() {
            1 => "add the missing link".to_owned(),
            2 => format!("peer VNet {} and VNet {}, a link each way", self.vnet_name(own), self.vnet_name(remote)),
            _ => "delete both links and create them again".to_owned(),
        };
        Cure::with(cause, text, edit)
    }

    /// The user-defined route that the leg took.
    fn user_route(&self, leg: &Leg) -> Option<(RouteTableIx, usize)> {
        let (fib, route, _) = leg.route()?;
        let row = self.names.compiled.route(fib, route);
        let table = self.names.network.subnet(self.names.subnet(leg.router())).route_table?;
        Some((table, self.names.network.route_tables[table.0].named(row.name.as_deref()?)?))
    }

    /// An interface of this VNet that forwards, guest and all, with its address of the packet's family.
    fn appliance(&self, vnet: VnetIx) -> Option<(NicIx, IpAddr)> {
        let network = self.names.network;
        let mut nics = network.network_interfaces.iter().enumerate().filter(|(_, nic)| {
            nic.subnet.vnet == vnet && nic.enable_ip_forwarding && network.vm(nic.virtual_machine).guest_forwarding
        });
        nics.find_map(|(i, _)| Some((NicIx(i), self.address_of(NicIx(i))?)))
    }

    fn address_of(&self, nic: NicIx) -> Option<IpAddr> {
        let addresses = &self.names.network.nic(nic).addresses;
        addresses.iter().copied().find(|address| address.is_ipv4() == self.walk.dst.is_ipv4())
    }
}

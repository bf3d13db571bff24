//! Missing routes between virtual networks and on-premises sites, in either direction (PEER-31, PEER-32, UDR-34,
//! BGP-13, BGP-20).
//!
//! One idea: a route goes from the tunnel to the gateway, and over peerings to each network that uses the gateway; back
//! the same path. The first place where it stops is the cause.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::query::names::{holds, subnet_name};
use crate::analysis::walk::{Leg, outside};
use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::{
    CloudInternet, Connection, ConnectionIx, Customer, GatewayIx, GatewayKind, LocalGatewayIx, Network, PeeringState,
    Remote, RouteTable, SiteIx, VnetIx,
};

use super::relays::Router;
use super::sessions::Fault;
use super::{Case, Diagnosis};

impl Case<'_> {
    /// The sender's virtual network has no route to a destination outside of all virtual networks.
    pub(super) fn unlearned_there(&self, leg: &Leg) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let Some(customer) = at(network, dst) else {
            let found = self.deleted_there(leg).or_else(|| self.by_unnamed_nat_rule());
            return found.unwrap_or_else(|| Diagnosis::without_fix(self.unknown(leg)));
        };
        let there = network.name_of_customer(customer);
        let leading: Vec<_> = leading(network, customer).collect();
        let own = self.names.vnet(leg.router());
        let in_use = network.gateways_in_use(own);
        let Some((first, _)) = leading.first() else {
            let cause = format!("{dst} is at {there}, and no gateway has a connection to there");
            return self.connected_to_customer(cause, &in_use, customer);
        };
        match leading.iter().find(|(gateway, _)| in_use.contains(gateway)) {
            Some((gateway, over)) => self.not_told(leg, there, *gateway, *over),
            None => self.without_transit(own, there, *first, &Router::of_customer(network, customer)),
        }
    }

    /// A customer that no gateway has a connection to; None where one has.
    pub(in crate::analysis) fn unconnected_to(&self, customer: Customer) -> Option<Diagnosis> {
        let network = self.names.network;
        if leading(network, customer).next().is_some() {
            return None;
        }
        let own = self.names.home(self.walk.legs[0].from)?.vnet;
        let there = network.name_of_customer(customer);
        let cause = format!("{there} cannot send: no gateway has a connection to there");
        Some(self.connected_to_customer(cause, &network.gateways_in_use(own), customer))
    }

    fn connected_to_customer(&self, cause: String, in_use: &[GatewayIx], customer: Customer) -> Diagnosis {
        match customer {
            Customer::Site(site) => self.connected_to(cause, in_use, site),
            Customer::Cloud(_) | Customer::Segment(..) => {
                Diagnosis::of(cause, self.connected_to_circuit(in_use, customer))
            }
        }
    }

    /// The destination was in a deleted virtual network: a link to it remains (PEER-04).
    fn deleted_there(&self, leg: &Leg) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let own = self.names.vnet(leg.router());
        let had = |range: &IpNet| range.contains(&dst);
        let mut lost = network.lost_links.iter().filter(|lost| lost.vnet == own);
        let lost = lost.find(|lost| lost.remote_address_space().iter().any(had))?;
        let (link, remote) = (lost.full_name(), lost.remote());
        Some(self.commands(
            format!("{dst} was in VNet {remote}, which has been deleted: peering {link} is Disconnected (PEER-04)"),
            format!(
                "to have {remote} again, remove the link that is left, then apply a file with {remote} and both links"
            ),
            vec![format!("vnet peering rm {link}")],
        ))
    }

    /// Whether the destination is at a site or a private cloud.
    pub(super) fn is_outside(&self) -> bool {
        at(self.names.network, self.walk.dst).is_some()
    }

    /// The on-premises address is also in a range of a virtual network.
    pub(super) fn hidden(&self) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let there = network.name_of_customer(at(network, dst)?);
        let vnet = network.virtual_networks.iter().find(|vnet| holds(vnet, dst))?;
        Some(Diagnosis::without_fix(format!(
            "{dst} is at {there}, but VNet {} has its range: what a gateway learns there is hidden by the routes of virtual \
             networks and peerings (RSEL-03, BGP-11)",
            vnet.name
        )))
    }

    /// The gateway in use has a connection to the site.
    fn not_told(&self, leg: &Leg, there: &str, gateway: GatewayIx, over: ConnectionIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        if let Some(diagnosis) = self.kept_out(leg, there) {
            return diagnosis;
        }
        let (name, connection) = (&network.gateway(gateway).name, network.connection(over));
        if let Some(fault) = self.names.compiled.learned().why_down(network, over) {
            let cause = format!("gateway {name} cannot reach {there}: connection {}: {fault}", connection.name);
            return self.mend_tunnel(cause, [over]);
        }
        let unlearned = format!(
            "{dst} is at {there}, but gateway {name} has learned no route to it over connection {}",
            connection.name
        );
        match (self.unadvertised_over(over), network.bgp_over(over), connection.remote) {
            (Some(Fault { says, fix }), ..) => Diagnosis::of(format!("{unlearned}: {says}"), fix),
            (None, None, Remote::Local(local)) => self.unnamed_range(there, local),
            (None, Some(_) | None, _) => {
                Diagnosis::without_fix(format!("{unlearned}: its session is down, or {there} does not say it"))
            }
        }
    }

    /// The subnet's route table keeps out what gateways learn, so also the routes to this place.
    pub(super) fn kept_out(&self, leg: &Leg, there: &str) -> Option<Diagnosis> {
        let network = self.names.network;
        let subnet = self.names.subnet(leg.router());
        let table = network.subnet(subnet).route_table?;
        let RouteTable { name, disable_bgp_route_propagation, .. } = &*network.route_tables[table.0];
        if !disable_bgp_route_propagation {
            return None;
        }
        let cause = format!(
            "route table {name} of subnet {} keeps the routes of gateways out, {there}'s too (UDR-34)",
            subnet_name(network, subnet)
        );
        let mut edit = self.edit();
        edit.enable_propagation(table);
        Some(Diagnosis::with_fix(cause, format!("let route table {name} have them"), edit))
    }

    /// A route leads to a gateway that has no route onward, perhaps to a site of a static local network gateway.
    pub(super) fn named_by(&self, gateway: GatewayIx, cause: String) -> Diagnosis {
        let network = self.names.network;
        let Some(Customer::Site(site)) = at(network, self.walk.dst) else { return Diagnosis::without_fix(cause) };
        let mut over = network.tunnels_of(site).filter(|over| network.connection(*over).gateway == gateway);
        let Some(over) = over.next() else {
            let far = Router::of_customer(network, Customer::Site(site));
            return match self.unrelayed(&[Router::Gateway(gateway)], &far) {
                Some(Fault { says, fix }) => Diagnosis::of(format!("{cause}: {says}"), fix),
                None => self.connected_to(cause, &[gateway], site),
            };
        };
        match (self.unadvertised_over(over), network.connection(over).remote, network.bgp_over(over)) {
            (Some(Fault { says, fix }), ..) => Diagnosis::of(format!("{cause}: {says}"), fix),
            (None, Remote::Local(local), None) => self.unnamed_range(&network.site(site).name, local),
            (None, ..) => Diagnosis::without_fix(cause),
        }
    }

    /// A static local network gateway leads only to the ranges that it names (VPN-12).
    fn unnamed_range(&self, there: &str, local: LocalGatewayIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let name = &network.local_gateway(local).name;
        let cause = format!("{dst} is at {there}, but local network gateway {name} does not name its range (VPN-12)");
        let Some(Customer::Site(site)) = at(network, dst) else { return Diagnosis::without_fix(cause) };
        let Some(range) = network.site(site).address_space.iter().find(|range| range.contains(&dst)) else {
            return Diagnosis::without_fix(cause);
        };
        let mut edit = self.edit();
        edit.name_range(local, *range);
        Diagnosis::with_fix(cause, format!("add {range} to local network gateway {name}"), edit)
    }

    /// The virtual network does not use the gateway that leads there, to these routers.
    pub(super) fn without_transit(&self, own: VnetIx, there: &str, gateway: GatewayIx, far: &[Router]) -> Diagnosis {
        let network = self.names.network;
        let (name, hub) = (&network.gateway(gateway).name, network.gateway(gateway).subnet.vnet);
        let (vnet, hub_name) = (self.vnet_name(own), self.vnet_name(hub));
        let in_use = network.gateways_in_use(own);
        if let Some(other) = in_use.first() {
            let uses = format!("VNet {vnet} uses gateway {}", network.gateway(*other).name);
            let near = Router::gateways(&in_use);
            if let Some(Fault { says, fix }) = self.unrelayed(&near, far) {
                return Diagnosis::of(format!("{uses}, which has no route to {there}: {says}"), fix);
            }
            let cause = format!("{uses}, which has no way to {there}; gateway {name} of VNet {hub_name} has one");
            let may_connect = in_use.iter().any(|one| network.gateway(*one).kind == GatewayKind::Vpn);
            if let Some(Fault { says, fix }) = self.without_route_server(&near, far) {
                return Diagnosis::of(format!("{cause}: {says}"), fix);
            }
            return match far.first() {
                Some(Router::Site(site)) if may_connect && !self.are_joined(&near, far) => {
                    self.connected_to(cause, &in_use, *site)
                }
                Some(_) | None => Diagnosis::without_fix(cause),
            };
        }
        let lacking = self.lacking_flags(own, hub);
        if lacking.is_empty() {
            let cause =
                format!("gateway {name} leads to {there}, and VNet {vnet} is not peered with its VNet {hub_name}");
            return self.peer(cause, own, hub);
        }
        let mut edit = self.edit();
        edit.use_gateways(own, hub);
        Diagnosis::with_fix(
            format!("VNet {vnet} does not use gateway {name}, which leads to {there}: {lacking} (PEER-30)"),
            format!("let VNet {vnet} use the gateway of VNet {hub_name}"),
            edit,
        )
    }

    /// The flags that a connected peering needs for one side to use the other's gateway.
    fn lacking_flags(&self, own: VnetIx, hub: VnetIx) -> String {
        let (Some(ours), Some(theirs)) = (self.names.link(own, hub), self.names.link(hub, own)) else {
            return String::new();
        };
        if ours.state != PeeringState::Connected {
            return String::new();
        }
        let flags = [
            (ours.use_remote_gateways, &ours.name, "useRemoteGateways"),
            (theirs.allow_gateway_transit, &theirs.name, "allowGatewayTransit"),
        ];
        let lacking = flags.into_iter().filter(|(set, ..)| !set);
        let lacking: Vec<_> = lacking.map(|(_, link, flag)| format!("peering {link} has no {flag}")).collect();
        lacking.join(", ")
    }

    /// A site's own device has no route to a destination.
    pub(super) fn unadvertised(&self, from: NicId) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        if let Some(cloud) = outside::offline(network, self.names.compiled, from, dst) {
            if let Some(diagnosis) = self.not_joined_to(cloud.circuit, &cloud.name, at(network, dst)) {
                return diagnosis;
            }
            let because = match cloud.internet {
                CloudInternet::Enabled => "managed SNAT leads to the Internet, and the file has no `internet`",
                CloudInternet::Disabled => "its circuit brings no default route, and it has no managed SNAT",
            };
            return Diagnosis::without_fix(format!("{} has no route to {dst}: {because} (AVS-11)", cloud.name));
        }
        let Sender::Tunnel(tunnel) = self.names.compiled.sender(from) else { return self.no_host(from) };
        let Some(at) = network.site_of(tunnel) else { return self.no_host(from) };
        let site = network.site(at);
        let name = &site.name;
        let faults = network.tunnels_of(at).filter_map(|over| {
            let fault = self.names.compiled.learned().why_down(network, over)?;
            Some((over, format!("connection {}: {fault}", network.connection(over).name)))
        });
        let (down, faults): (Vec<_>, Vec<_>) = faults.unzip();
        if faults.len() == network.tunnels_of(at).count() {
            return self.mend_tunnel(format!("{name} has no route to {dst}: {}", faults.join("; ")), down);
        }
        if let Some(gateway) = site.client_of.filter(|_| self.home(dst).is_none()) {
            return self.untold(site, gateway);
        }
        let Some(home) = self.home(dst) else { return self.unadvertised_by_site(at) };
        let gateways: Vec<_> = network.tunnels_of(at).map(|over| network.connection(over).gateway).collect();
        let in_use = network.gateways_in_use(home);
        if gateways.iter().any(|gateway| in_use.contains(gateway)) {
            if site.routes.is_empty() {
                let unlearned = format!("{name} has no route to {dst}");
                let mut tunnels = network.tunnels_of(at);
                let unrelayed = self.unrelayed(&[Router::Site(at)], &Router::gateways(&in_use));
                return match unrelayed.or_else(|| tunnels.find_map(|over| self.no_session(over))) {
                    Some(Fault { says, fix }) => Diagnosis::of(format!("{unlearned}: {says}"), fix),
                    None => {
                        Diagnosis::without_fix(format!("{unlearned}: its BGP session is down, or does not take it"))
                    }
                };
            }
            let range = self.range_of(home);
            let mut edit = self.edit();
            edit.route_at_site(at, range);
            let cause = format!("{name} has no route to {dst}: its `routes` leave out VNet {}", self.vnet_name(home));
            return Diagnosis::with_fix(cause, format!("add {range} to the routes of {name}"), edit);
        }
        self.without_transit(home, name, network.connection(tunnel).gateway, &[Router::Site(at)])
    }

    /// A destination at another site.
    fn unadvertised_by_site(&self, from: SiteIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let name = &network.site(from).name;
        let silent = |site: SiteIx| network.tunnels_of(site).find(|over| network.bgp_over(*over).is_none());
        let Some(Customer::Site(far)) = at(network, dst) else {
            return Diagnosis::without_fix(format!("{name} has no route to {dst}: no machine in this network has it"));
        };
        let there = &network.site(far).name;
        let [near, ends] = [from, far].map(|site| Router::of_customer(network, Customer::Site(site)));
        let unrelayed = self.unrelayed(&near, &ends).filter(|fault| fault.fix.is_some());
        if let Some(Fault { says, fix }) = unrelayed.or_else(|| self.without_route_server(&near, &ends)) {
            return Diagnosis::of(format!("{name} has no route to {dst} at {there}: {says}"), fix);
        }
        Diagnosis::without_fix(match silent(from).or_else(|| silent(far)) {
            Some(over) => format!(
                "{name} has no route to {dst} at {there}: connection {} has no BGP, so the route is not advertised (BGP-20)",
                network.connection(over).name
            ),
            None => format!("{name} has no route to {dst} at {there}: no gateway that it speaks with has learned it"),
        })
    }
}

/// The site or private cloud whose ranges contain an address.
pub(super) fn at(network: &Network, address: IpAddr) -> Option<Customer> {
    let holds = |customer: &Customer| match *customer {
        Customer::Site(site) => network.site(site).address_space.iter().any(|range| range.contains(&address)),
        Customer::Cloud(_) | Customer::Segment(..) => network.addresses_of_customer(*customer).contains(&address),
    };
    network.customers().find(holds)
}

/// The gateways that have a connection to a site or private cloud, VPN gateways last (BGP-23).
fn leading(network: &Network, customer: Customer) -> impl Iterator<Item = (GatewayIx, ConnectionIx)> {
    let leads = move |over: ConnectionIx, connection: &Connection| match connection.remote {
        Remote::Local(_) | Remote::Client(_) => network.site_of(over).map(Customer::Site) == Some(customer),
        Remote::Circuit(circuit) => network.customer(circuit) == Some(customer.at_circuit()),
        Remote::Gateway(_) => false,
    };
    let all = (0..).map(ConnectionIx).zip(&network.connections);
    let mut leading: Vec<_> =
        all.filter(|(over, one)| leads(*over, one)).map(|(over, one)| (one.gateway, over)).collect();
    leading.sort_by_key(|(gateway, _)| network.gateway(*gateway).kind == GatewayKind::Vpn);
    leading.into_iter()
}

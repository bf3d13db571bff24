//! Virtual network gateways, and all that hangs on them (VPN, UDR-30, LIM-18).
//!
//! What a file leaves out follows from the rest: a gateway's addresses from its GatewaySubnet.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::schema::gateway::{self as written, GatewayType, VpnType};
use crate::config::schema::{Document, Reference};
use crate::config::yaml::diagnostic::{At, Report};
use crate::model::{
    AZURE_ASN, BgpSettings, Connection, ExpressRouteCircuit, GatewayIx, GatewayKind, GatewaySku, Internet,
    LocalGatewayIx, LocalNetworkGateway, PrivateCloud, PublicIpIx, Remote, RouteServer, RouteTable, Site, Subnet,
    SubnetIx, VirtualNetwork, VirtualNetworkGateway, counted, is_link_local,
};

use super::connection::{Remotes, connection};
use super::express_route::{Circuits, own_circuit};
use super::gateway_addresses::{self, Addresses};
use super::links::Links;
use super::names::{Names, or_unnamed};
use super::premises::{Ends, local_gateway, sites};
use super::public_address::Public;
use super::route_server::route_servers;
use super::vpn_client::{self, Surroundings};
use super::{Scope, bgp, vpn_nat};

/// Everything about gateways.
pub(super) struct Gateways {
    pub(super) vpn: Vec<VirtualNetworkGateway>,
    pub(super) local: Vec<LocalNetworkGateway>,
    pub(super) connections: Vec<Connection>,
    pub(super) sites: Vec<Site>,
    pub(super) circuits: Vec<ExpressRouteCircuit>,
    pub(super) clouds: Vec<PrivateCloud>,
    pub(super) servers: Vec<RouteServer>,
}

impl Gateways {
    pub(super) fn of(
        document: &Document,
        vnets: &[VirtualNetwork],
        (scope, public): (&Scope, &mut Public<'_>),
        report: &mut Report,
    ) -> Self {
        let names = document.virtual_network_gateways.iter().map(|gateway| &gateway.name);
        let gateway_names = Names::of("virtual network gateway", names, report);
        let names = document.local_network_gateways.iter().map(|gateway| &gateway.name);
        let local_names = Names::of("local network gateway", names, report);
        let names = document.connections.iter().map(|connection| &connection.name);
        let connection_names = Names::of("connection", names, report);
        let all = &document.virtual_network_gateways;
        let mut made = Vec::new();
        for (at, gateway) in all.iter().enumerate() {
            let beside = gateway_addresses::stated_beside(all, at);
            made.extend(self::gateway(gateway, (&made, &beside), vnets, (scope, public), &local_names, report));
        }
        let local: Vec<_> = document.local_network_gateways.iter().map(|local| local_gateway(local, report)).collect();
        // A gateway that could not be made has shifted the others: the report has an error then.
        let whole = made.len() == document.virtual_network_gateways.len();
        let circuits = Circuits::of(document, vnets, report);
        let names = Remotes { gateways: &gateway_names, locals: &local_names, circuits: &circuits };
        let connections = document.connections.iter().filter(|_| whole);
        let connections: Vec<_> =
            connections.filter_map(|one| connection(one, document, &names, &made, &local, report)).collect();
        check_nodes(document, report);
        let ends = Ends { names: &connection_names, connections: &connections, gateways: &made, local: &local };
        let mut sites = sites(document, &circuits, &ends, report);
        check_between(document, &connections, &made, report);
        check_peers(document, vnets, &connections, (&made, &local), report);
        let linked = Links { document, vnets, gateways: &made, connections: &connections, circuits: &circuits };
        linked.check(report);
        let mut connections: Vec<_> =
            connections.into_iter().flat_map(|one| tunnels(&made[one.gateway.0], one)).collect();
        let around = Surroundings { document, vnets, gateways: &made, names: &gateway_names };
        around.add(&mut sites, &mut connections, report);
        let Circuits { made: circuits, clouds, .. } = circuits;
        let servers = route_servers(document, (vnets, &made), (scope, public), report);
        let gateways = Self { vpn: made, local, connections, sites, circuits, clouds, servers };
        gateways.check_tunnels(document, report);
        gateways
    }

    /// LIM-18.
    fn check_tunnels(&self, document: &Document, report: &mut Report) {
        for (ix, gateway) in (0..).map(GatewayIx).zip(&self.vpn).filter(|(_, one)| one.kind == GatewayKind::Vpn) {
            let most = gateway.sku.tunnels();
            let beyond = self.connections.iter().filter(|one| one.gateway == ix && !one.is_clients()).nth(most);
            let is_it = |written: &&written::Connection, tunnel: &Connection| {
                written.name.as_ref().is_some_and(|name| tunnel.name.split('#').next() == Some(&name.value))
            };
            if let Some(at) = beyond
                .and_then(|tunnel| document.connections.iter().find(|written| is_it(written, tunnel)))
                .map(|written| written.at)
            {
                report
                    .error(
                        at,
                        format!("virtual network gateway `{}` has {} already", gateway.name, counted(most, "tunnel")),
                    )
                    .rule("VPN-04")
                    .expected(format!("at most {} with sku {:?}", counted(most, "connection"), gateway.sku));
            }
        }
    }

    /// UDR-30: a table that is not allowed where a gateway stands.
    pub(super) fn check_tables(
        &self,
        document: &Document,
        vnets: &[VirtualNetwork],
        tables: &[std::sync::Arc<RouteTable>],
        report: &mut Report,
    ) {
        for gateway in &self.vpn {
            let SubnetIx { vnet, subnet } = gateway.subnet;
            let Some(table) = vnets[vnet.0].subnets[subnet].route_table else { continue };
            let table = &tables[table.0];
            let is_default = |prefix: &IpNet| prefix.prefix_len() == 0;
            let written = document.virtual_networks[vnet.0].subnets[subnet].route_table.as_ref();
            let Some(at) = written.map(|written| written.at) else { continue };
            if table.routes.iter().filter_map(crate::model::Route::prefix).any(|prefix| is_default(&prefix)) {
                report
                    .error(
                        at,
                        format!("route table `{}` has a route to 0.0.0.0/0, and this is GatewaySubnet", table.name),
                    )
                    .rule("UDR-30")
                    .expected("routes to narrower ranges, or no route table");
            }
            if table.disable_bgp_route_propagation {
                report
                    .warning(at, format!("without route propagation gateway `{}` does not work", gateway.name))
                    .rule("UDR-31")
                    .expected("a table without `disableBgpRoutePropagation`");
            }
        }
    }
}

/// The tunnels that a connection describes (VPN-31).
fn tunnels(gateway: &VirtualNetworkGateway, first: Connection) -> impl Iterator<Item = Connection> + use<> {
    let name = format!("{}#2", first.name);
    let second = gateway.is_active_active().then(|| Connection { name, instance: 1, ..first.clone() });
    std::iter::once(first).chain(second)
}

/// VPN-25: a second connection between two gateways of one active instance each makes no second tunnel.
fn check_between(
    document: &Document,
    connections: &[Connection],
    gateways: &[VirtualNetworkGateway],
    report: &mut Report,
) {
    // One that could not be made has shifted the others: the report has an error then.
    if connections.len() != document.connections.len() {
        return;
    }
    for (place, (connection, written)) in connections.iter().zip(&document.connections).enumerate() {
        let Remote::Gateway(far) = connection.remote else { continue };
        let ends = |one: &Connection| (one.gateway, one.remote);
        let several = [connection.gateway, far].iter().any(|end| gateways[end.0].is_active_active());
        if !several && connections[..place].iter().any(|other| ends(other) == ends(connection)) {
            let names = [connection.gateway, far].map(|end| &gateways[end.0].name);
            report
                .error(written.at, format!("gateways `{}` and `{}` are connected already", names[0], names[1]))
                .rule("VPN-25")
                .expected("one connection from each end, or a gateway with `activeActive: true`");
        }
    }
}

/// BGP-05, VPN-34: where a site's device speaks BGP.
fn check_peers(
    document: &Document,
    vnets: &[VirtualNetwork],
    connections: &[Connection],
    (gateways, others): (&[VirtualNetworkGateway], &[LocalNetworkGateway]),
    report: &mut Report,
) {
    let mut known: HashMap<(GatewayIx, IpAddr), LocalGatewayIx> = HashMap::new();
    for connection in connections.iter().filter(|one| one.enable_bgp) {
        let Remote::Local(ix) = connection.remote else { continue };
        let (gateway, local) = (&gateways[connection.gateway.0], &others[ix.0]);
        let written = document.local_network_gateways[ix.0].bgp.as_ref().and_then(|bgp| bgp.value.addresses.as_ref());
        let (Some(bgp), Some(written)) = (local.bgp, written) else { continue };
        let first = *known.entry((connection.gateway, bgp.address)).or_insert(ix);
        if first != ix {
            let message =
                format!("local network gateway `{}` has the BGP address {} too", others[first.0].name, bgp.address);
            report
                .error(written.at, message)
                .rule("VPN-34")
                .expected("an address for each device that a gateway speaks with");
            continue;
        }
        let space = &vnets[gateway.subnet.vnet.0].address_space;
        let (message, expected) = if bgp.address == local.gateway_ip {
            (format!("{} is the device's public address", bgp.address), "an address behind the device")
        } else if space.iter().any(|range| range.contains(&bgp.address)) {
            let vnet = &vnets[gateway.subnet.vnet.0].name;
            (format!("{} is in virtual network `{vnet}`", bgp.address), "an address behind the device")
        } else if is_link_local(bgp.address) && gateway.bgp.is_some() && gateway.custom_bgp[0].is_empty() {
            let message =
                format!("gateway `{}` has no link-local address to speak with {} from", gateway.name, bgp.address);
            (message, "`bgpSettings: {bgpPeeringAddresses: [{customBgpIpAddresses: [169.254.21.1]}]}` on the gateway")
        } else {
            continue;
        };
        report.error(written.at, message).rule("BGP-05").expected(expected);
    }
}

/// Machines, gateways, circuits, sites, private clouds, route servers and clients are nodes of one lab.
fn check_nodes(document: &Document, report: &mut Report) {
    let machines = document.virtual_machines.iter().map(|machine| &machine.name);
    let mut known: Vec<String> = machines.flatten().map(|name| name.value.to_lowercase()).collect();
    known.extend(document.internet.as_ref().map(|_| Internet::NAME.to_owned()));
    let gateways = document.virtual_network_gateways.iter().map(|gateway| &gateway.name);
    let sites = document.sites.iter().map(|site| &site.name);
    let clouds: Vec<_> =
        document.private_clouds.iter().flat_map(|one| [one.name.clone(), own_circuit(&one.name)]).collect();
    let inside: Vec<_> = document.private_clouds.iter().flat_map(super::private_cloud::nodes).collect();
    let files = document.express_route_circuits.iter().map(|circuit| &circuit.name);
    let servers = document.route_servers.iter().map(|server| &server.name);
    let clients = document.vpn_clients.iter().map(|client| &client.name);
    for name in gateways.chain(sites).chain(files).chain(&clouds).chain(&inside).chain(servers).chain(clients).flatten()
    {
        if known.contains(&name.value.to_lowercase()) {
            report.error(name.at, format!("there is another node `{}`", name.value)).expected("a name of its own");
        }
        known.push(name.value.to_lowercase());
    }
}

fn gateway(
    written: &written::VirtualNetworkGateway,
    (before, beside): (&[VirtualNetworkGateway], &[IpAddr]),
    vnets: &[VirtualNetwork],
    (scope, public): (&Scope, &mut Public<'_>),
    local_names: &Names,
    report: &mut Report,
) -> Option<VirtualNetworkGateway> {
    check_kind(written, report);
    let name = or_unnamed(&written.name);
    let kind = kind(written);
    let (subnet, address, second) = place(written, vnets, scope, report)?;
    let alike = |other: &&VirtualNetworkGateway| {
        other.subnet.vnet == subnet.vnet && (other.kind == GatewayKind::Vpn) == (kind == GatewayKind::Vpn)
    };
    if let Some(other) = before.iter().find(alike) {
        second_of_a_kind(written, other, &vnets[subnet.vnet.0], report);
    }
    let (range, ipv6) = ranges(&vnets[subnet.vnet.0].subnets[subnet.subnet]);
    let range = range?;
    let address = match kind {
        GatewayKind::ExpressRoute { .. } if address.is_none() => None,
        GatewayKind::ExpressRoute { .. } | GatewayKind::Vpn => {
            Some(public_address(address, &name, written.at, public, report)?)
        }
    };
    let second_public = match second {
        Some(second) if kind == GatewayKind::Vpn => Some(public_address(second, &name, written.at, public, report)?),
        Some(_) | None => None,
    };
    let sku = sku(written, kind, report);
    let addresses = Addresses::of(written, (kind, second_public.is_some()), range, beside, report);
    for other in before.iter().filter(|other| other.subnet == subnet && !alike(other)) {
        gateway_addresses::check_other(written, other, beside, report);
    }
    let ipv6 = ipv6.map(|range| [4, 5].map(|n| Ipv6Addr::from_bits(range.network().to_bits() + n)));
    let speaks = written.enable_bgp.as_ref().is_some_and(|flag| flag.value);
    check_size(written, sku, report);
    let asn = written.bgp.as_ref().and_then(|bgp| bgp.value.asn.as_ref());
    if let Some(asn) = asn.filter(|asn| asn.value != AZURE_ASN) {
        bgp::check_asn(asn, report);
    }
    let settings = BgpSettings { asn: asn.map_or(AZURE_ASN, |asn| asn.value), address: addresses.bgp };
    Some(VirtualNetworkGateway {
        name,
        kind,
        subnet,
        sku,
        public: address,
        second_public,
        instances: addresses.instances,
        instances_ipv6: ipv6.filter(|_| kind == GatewayKind::Vpn),
        bgp: (speaks && kind == GatewayKind::Vpn).then_some(settings),
        custom_bgp: gateway_addresses::custom(written, second_public.is_some(), report),
        default_site: local_names.find(&written.default_site, report).map(LocalGatewayIx),
        nat_rules: vpn_nat::rules(written, sku, &vnets[subnet.vnet.0].address_space, report),
        translates_bgp: written.translates_bgp.as_ref().is_some_and(|flag| flag.value),
        clients: vpn_client::pool(written, kind, sku, report),
    })
}

fn second_of_a_kind(
    written: &written::VirtualNetworkGateway,
    other: &VirtualNetworkGateway,
    vnet: &VirtualNetwork,
    report: &mut Report,
) {
    report
        .error(written.at, format!("virtual network `{}` has gateway `{}` already", vnet.name, other.name))
        .rule("VPN-01")
        .expected("one VPN gateway and one ExpressRoute gateway in a virtual network");
}

/// A subnet's first range of each family.
fn ranges(subnet: &Subnet) -> (Option<Ipv4Net>, Option<Ipv6Net>) {
    let v4 = subnet.prefixes.iter().find_map(|prefix| match prefix {
        IpNet::V4(range) => Some(*range),
        IpNet::V6(_) => None,
    });
    let v6 = subnet.prefixes.iter().find_map(|prefix| match prefix {
        IpNet::V6(range) => Some(*range),
        IpNet::V4(_) => None,
    });
    (v4, v6)
}

fn kind(written: &written::VirtualNetworkGateway) -> GatewayKind {
    match written.gateway_type.as_ref().map(|kind| kind.value) {
        Some(GatewayType::ExpressRoute) => {
            GatewayKind::ExpressRoute { remote_vnets: written.remote_vnets.as_ref().is_some_and(|flag| flag.value) }
        }
        Some(GatewayType::Vpn) | None => GatewayKind::Vpn,
    }
}

/// One that its kind has (VPN-04, ER-11).
fn sku(written: &written::VirtualNetworkGateway, kind: GatewayKind, report: &mut Report) -> GatewaySku {
    let (default, fits, those): (_, fn(GatewaySku) -> usize, _) = match kind {
        GatewayKind::Vpn => (GatewaySku::VpnGw1, GatewaySku::tunnels, "Basic, VpnGw1 to VpnGw5"),
        GatewayKind::ExpressRoute { .. } => {
            let those = "Standard, HighPerformance, UltraPerformance, ErGw1AZ to ErGw3AZ";
            (GatewaySku::ErGw1, GatewaySku::circuits, those)
        }
    };
    let Some(sku) = &written.sku else { return default };
    if fits(sku.value) == 0 {
        report.error(sku.at, "a gateway of this type has no such SKU").rule("VPN-02").expected(those);
    }
    sku.value
}

/// What a gateway of its size does not have, and what none does.
fn check_size(written: &written::VirtualNetworkGateway, sku: GatewaySku, report: &mut Report) {
    if let Some(flag) = written.enable_bgp.as_ref().filter(|flag| flag.value && sku == GatewaySku::Basic) {
        report
            .error(flag.at, "a gateway of SKU Basic speaks no BGP")
            .rule("VPN-05")
            .expected("`sku: VpnGw1` or larger");
    }
    if let Some(flag) = written.active_active.as_ref().filter(|flag| flag.value && !sku.has_active_active()) {
        report
            .error(flag.at, format!("a gateway of SKU {sku:?} has one active instance"))
            .rule("VPN-37")
            .expected("`sku: VpnGw1` or larger");
    }
}

/// What this router does not have.
fn check_kind(written: &written::VirtualNetworkGateway, report: &mut Report) {
    if let Some(kind) = written.vpn_type.as_ref().filter(|kind| kind.value == VpnType::PolicyBased) {
        report
            .error(kind.at, "there are no policy-based gateways here")
            .rule("VPN-02")
            .expected("`vpnType: RouteBased`");
    }
}

/// The GatewaySubnet, in the short form or in ARM's, and the references to the public addresses: two where both
/// instances are active.
fn place<'a>(
    written: &'a written::VirtualNetworkGateway,
    vnets: &[VirtualNetwork],
    scope: &Scope,
    report: &mut Report,
) -> Option<(SubnetIx, &'a Reference, Option<&'a Reference>)> {
    let both = written.active_active.as_ref().is_some_and(|flag| flag.value);
    if both != (written.configurations.len() == 2) && written.configurations.len() < 3 {
        let at = written.active_active.as_ref().map_or(written.at, |flag| flag.at);
        let message = if both {
            "two active instances with one public address"
        } else {
            "a second public address, and one active instance"
        };
        report
            .error(at, message)
            .rule("VPN-31")
            .expected("`activeActive: true` and two entries of `ipConfigurations`, or neither");
        return None;
    }
    let second = written.configurations.get(1).map(|second| &second.public);
    let (subnet, at, public) = match (&written.virtual_network, &written.configurations[..]) {
        (Some(reference), []) => {
            let vnet = scope.vnet(&written.virtual_network, report)?;
            let subnet = vnets[vnet.0].subnets.iter().position(|subnet| subnet.name == "GatewaySubnet");
            (subnet.map(|subnet| SubnetIx { vnet, subnet }), reference.at, &written.public)
        }
        (None, [one] | [one, _]) => {
            let subnet = scope.subnet(&one.subnet, report)?;
            let named = vnets[subnet.vnet.0].subnets[subnet.subnet].name == "GatewaySubnet";
            (named.then_some(subnet), one.at, &one.public)
        }
        (Some(reference), [_, ..]) => {
            report
                .error(reference.at, "`virtualNetwork` and `ipConfigurations` both say where the gateway stands")
                .rule("VPN-01")
                .expected("one of them: two active instances need `ipConfigurations`");
            return None;
        }
        (None, []) => {
            report
                .error(written.at, "nothing says where the virtual network gateway stands")
                .rule("VPN-01")
                .expected("`virtualNetwork: NAME`, or `ipConfigurations` with an entry for each active instance");
            return None;
        }
        (None, [_, _, third, ..]) => {
            report
                .error(third.at, "a virtual network gateway has two instances")
                .rule("VPN-31")
                .expected("at most two entries of `ipConfigurations`");
            return None;
        }
    };
    if subnet.is_none() {
        report
            .error(at, "a virtual network gateway stands in a subnet of the name GatewaySubnet")
            .rule("VPN-01")
            .expected("a virtual network that has one")
            .help("add `{name: GatewaySubnet, addressPrefix: …/27}` to its subnets");
    }
    Some((subnet?, public, second))
}

fn public_address(
    reference: &Reference,
    name: &str,
    at: At,
    public: &mut Public<'_>,
    report: &mut Report,
) -> Option<PublicIpIx> {
    let Some(reference) = reference else {
        report
            .error(at, format!("virtual network gateway `{name}` has no public address"))
            .rule("VPN-30")
            .expected("`publicIPAddress`, the name of one in `publicIPAddresses`");
        return None;
    };
    public.find_named(reference, &format!("virtual network gateway `{name}`"), report)
}

//! Point-to-site: what a gateway may lend to clients, and the client that gets each address (VPN-42, VPN-45).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::schema::Document;
use crate::config::schema::gateway as written;
use crate::config::schema::vpn_client::{ClientConfiguration, VpnClient};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    ClientPool, ClientProtocol, Connection, GatewayIx, GatewayKind, GatewaySku, Site, SiteIx, VirtualNetwork,
    VirtualNetworkGateway, counted,
};

use super::address::intersect;
use super::names::{Names, or_unnamed};

/// LIM-27: root certificates and revoked ones.
const CERTIFICATES: [usize; 2] = [20, 300];

/// What a gateway lends; none without a configuration.
pub(super) fn pool(
    written: &written::VirtualNetworkGateway,
    kind: GatewayKind,
    sku: GatewaySku,
    report: &mut Report,
) -> Option<ClientPool> {
    let Some(configuration) = &written.clients else {
        if let Some(routes) = &written.custom_routes {
            report
                .warning(
                    routes.at,
                    "`customRoutes` are advertised to point-to-site clients, and this gateway takes none",
                )
                .rule("VPN-41")
                .help("add `vpnClientConfiguration`; a site learns routes by its local network gateway or by BGP");
        }
        return None;
    };
    if kind != GatewayKind::Vpn {
        report
            .error(configuration.at, "an ExpressRoute gateway takes no point-to-site clients")
            .rule("VPN-42")
            .expected("`vpnClientConfiguration` on a gateway of `gatewayType: Vpn`");
        return None;
    }
    let values = |list: &Option<Spanned<Vec<Spanned<IpNet>>>>| {
        list.iter().flat_map(|list| &list.value).map(|range| range.value).collect::<Vec<_>>()
    };
    let both = written.active_active.as_ref().is_some_and(|flag| flag.value);
    check_size(&configuration.value, if both { 28 } else { 29 }, report);
    check_protocols(&configuration.value, sku, report);
    check_certificates(&configuration.value, report);
    Some(ClientPool { prefixes: values(&configuration.value.pool), routes: values(&written.custom_routes) })
}

fn check_size(configuration: &ClientConfiguration, longest: u8, report: &mut Report) {
    for range in configuration.pool.iter().flat_map(|pool| &pool.value) {
        if range.value.addr().is_ipv6() {
            report
                .error(range.at, format!("{} cannot be a client address pool", range.value))
                .rule("VPN-45")
                .expected("ranges of IPv4");
        } else if range.value.prefix_len() > longest {
            let instances = if longest == 28 { "two active instances" } else { "one active instance" };
            report
                .error(range.at, format!("{} is too small for a client address pool", range.value))
                .rule("VPN-45")
                .expected(format!("a /{longest} or larger, of a gateway with {instances}"));
        }
    }
}

fn check_protocols(configuration: &ClientConfiguration, sku: GatewaySku, report: &mut Report) {
    let unknown = configuration.protocols.iter().find(|one| !sku.speaks(one.value));
    if let Some(protocol) = unknown {
        report
            .error(protocol.at, format!("a gateway of SKU {sku:?} takes no point-to-site clients over OpenVPN"))
            .rule("VPN-45")
            .expected("`vpnClientProtocols: [IkeV2]`, or `sku: VpnGw1` or larger");
    }
}

fn check_certificates(configuration: &ClientConfiguration, report: &mut Report) {
    let kinds = ["root certificate", "revoked certificate"].into_iter().zip(CERTIFICATES);
    for (written, (what, most)) in configuration.certificates.iter().zip(kinds) {
        if let Some(list) = written.as_ref().filter(|list| list.value > most) {
            report
                .error(list.at, format!("{} are too many", counted(list.value, what)))
                .rule("LIM-27")
                .expected(format!("at most {most}"));
        }
    }
}

/// Everything that a client may not share an address with.
pub(super) struct Surroundings<'a> {
    pub(super) document: &'a Document,
    pub(super) vnets: &'a [VirtualNetwork],
    pub(super) gateways: &'a [VirtualNetworkGateway],
    pub(super) names: &'a Names,
}

impl Surroundings<'_> {
    /// Adds the clients of the file behind its sites, each with a tunnel.
    pub(super) fn add(&self, sites: &mut Vec<Site>, connections: &mut Vec<Connection>, report: &mut Report) {
        self.check_pools(sites, report);
        Names::of("VPN client", self.document.vpn_clients.iter().map(|client| &client.name), report);
        let mut made: Vec<Site> = Vec::new();
        let mut places = Vec::new();
        // Static addresses are reserved before dynamic ones are taken, as of interfaces.
        let stated: Vec<IpAddr> =
            self.document.vpn_clients.iter().filter_map(|one| Some(one.address.as_ref()?.value)).collect();
        for client in &self.document.vpn_clients {
            let Some((gateway, pool)) = self.gateway_of(client, report) else { continue };
            let Some(address) = address(client, pool, (&made, &stated), report) else { continue };
            places.push(client.at);
            made.push(Site::client(or_unnamed(&client.name), gateway, address, client.run.clone()));
        }
        self.check_numbers(&made, report);
        for (client, at) in made.into_iter().zip(places) {
            let Some(gateway) = client.client_of else { continue };
            let own = &self.gateways[gateway.0];
            // Azure's clients are shared between the active instances.
            let before = sites.iter().filter(|site| site.client_of == Some(gateway)).count();
            let instance = before % own.active_instances();
            let name = format!("{}-{}", own.name, client.name);
            if connections.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                report
                    .error(at, format!("connection `{name}` has the name of this client's tunnel"))
                    .rule("VPN-42")
                    .expected("another name for one of the two");
            }
            connections.push(Connection::of_client(name, gateway, instance, SiteIx(sites.len())));
            sites.push(client);
        }
    }

    fn gateway_of(&self, client: &VpnClient, report: &mut Report) -> Option<(GatewayIx, &ClientPool)> {
        let found = self.names.find(&client.gateway, report)?;
        // One with a mistake has had its error, and has shifted the others.
        let gateway =
            self.gateways.get(found).filter(|_| self.gateways.len() == self.document.virtual_network_gateways.len())?;
        let Some(pool) = &gateway.clients else {
            let at = client.gateway.as_ref().map_or(client.at, |reference| reference.at);
            report
                .error(at, format!("gateway `{}` takes no point-to-site clients", gateway.name))
                .rule("VPN-42")
                .expected("`vpnClientConfiguration: {vpnClientAddressPool: [172.16.201.0/24]}` on that gateway");
            return None;
        };
        Some((GatewayIx(found), pool))
    }

    /// VPN-45: how many clients a gateway of its size takes.
    fn check_numbers(&self, made: &[Site], report: &mut Report) {
        for (ix, gateway) in (0..).map(GatewayIx).zip(self.gateways) {
            let Some((at, protocols)) = self.configured(gateway) else { continue };
            let most = gateway.sku.clients(&protocols);
            let number = made.iter().filter(|client| client.client_of == Some(ix)).count();
            if number > most {
                report
                    .error(at, format!("gateway `{}` has {}", gateway.name, counted(number, "point-to-site client")))
                    .rule("VPN-45")
                    .expected(format!("at most {most} with sku {:?} and these protocols", gateway.sku));
            }
        }
    }

    fn configured(&self, gateway: &VirtualNetworkGateway) -> Option<(At, Vec<ClientProtocol>)> {
        let all = &self.document.virtual_network_gateways;
        let written = all.iter().find(|written| or_unnamed(&written.name) == gateway.name)?;
        let configuration = written.clients.as_ref()?;
        let protocols = configuration.value.protocols.iter().map(|one| one.value).collect();
        Some((configuration.at, protocols))
    }

    /// VPN-45: a pool lies apart from everything that packets of its clients may meet.
    fn check_pools(&self, sites: &[Site], report: &mut Report) {
        let vnets = self.vnets.iter().map(|vnet| (format!("virtual network `{}`", vnet.name), &vnet.address_space));
        let sites = sites.iter().map(|site| (format!("site `{}`", site.name), &site.address_space));
        let others: Vec<_> = vnets.chain(sites).collect();
        let mut before: Vec<(IpNet, &str)> = Vec::new();
        for gateway in &self.document.virtual_network_gateways {
            let Some(name) = &gateway.name else { continue };
            let pool = gateway.clients.iter().filter_map(|configuration| configuration.value.pool.as_ref());
            for range in pool.flat_map(|pool| &pool.value) {
                let meets = |space: &IpNet| intersect(space, &range.value);
                let owner = others.iter().find(|(_, space)| space.iter().any(meets)).map(|(owner, _)| owner.clone());
                let lent = || before.iter().find(|(other, _)| meets(other));
                let owner = owner.or_else(|| lent().map(|(_, name)| format!("the clients of gateway `{name}`")));
                if let Some(owner) = owner {
                    report
                        .error(
                            range.at,
                            format!("client address pool {} overlaps the addresses of {owner}", range.value),
                        )
                        .rule("VPN-45")
                        .expected("a range that is not in use");
                }
                before.push((range.value, &name.value));
            }
        }
    }
}

/// The stated address, or else the lowest that is free.
fn address(
    client: &VpnClient,
    pool: &ClientPool,
    (made, stated): (&[Site], &[IpAddr]),
    report: &mut Report,
) -> Option<IpAddr> {
    let taken = |address: IpAddr| made.iter().find(|other| other.addresses.contains(&address));
    let Some(own) = &client.address else {
        let free = pool.addresses().find(|address| taken(*address).is_none() && !stated.contains(address));
        if free.is_none() {
            report
                .error(client.at, "the client address pool has no address left")
                .rule("VPN-45")
                .expected("a larger `vpnClientAddressPool`, or fewer clients");
        }
        return free;
    };
    if let Some(other) = taken(own.value) {
        report
            .error(own.at, format!("client `{}` has {} already", other.name, own.value))
            .rule("VPN-42")
            .expected("an address of its own");
    } else if !pool.addresses().any(|address| address == own.value) {
        let ranges: Vec<_> = pool.prefixes.iter().map(ToString::to_string).collect();
        report
            .error(own.at, format!("{} is no address that the gateway lends", own.value))
            .rule("VPN-42")
            .expected(format!("one of {}, but not the first two or the last", ranges.join(" or ")));
    } else {
        return Some(own.value);
    }
    None
}

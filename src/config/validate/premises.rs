//! What stands on-premises: sites, and local network gateways, which are what Azure knows of them (VPN-11, VPN-34).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::config::schema::{Document, gateway as written};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{Advertised, Connection, LocalNetworkGateway, Remote, Site, TunnelEnd, VirtualNetworkGateway};

use super::bgp;
use super::express_route::Circuits;
use super::names::{Names, or_unnamed};

/// What a site's tunnels may be of.
pub(super) struct Ends<'a> {
    pub(super) names: &'a Names,
    pub(super) connections: &'a [Connection],
    pub(super) gateways: &'a [VirtualNetworkGateway],
    pub(super) local: &'a [LocalNetworkGateway],
}

pub(super) fn local_gateway(written: &written::LocalNetworkGateway, report: &mut Report) -> LocalNetworkGateway {
    let bgp = bgp::settings(written.bgp.as_ref(), report);
    if written.address_space.is_none() && written.bgp.is_none() {
        report
            .error(written.at, "a local network gateway without an address space and without BGP leads nowhere")
            .rule("VPN-11")
            .expected("`localNetworkAddressSpace` or `bgpSettings`");
    }
    LocalNetworkGateway {
        name: or_unnamed(&written.name),
        gateway_ip: written.gateway_ip.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.value),
        address_space: prefixes(written.address_space.as_ref()),
        bgp,
    }
}

pub(super) fn sites(document: &Document, circuits: &Circuits, ends: &Ends<'_>, report: &mut Report) -> Vec<Site> {
    Names::of("site", document.sites.iter().map(|site| &site.name), report);
    let mut known: Vec<IpAddr> = Vec::new();
    let mut made = Vec::new();
    for written in &document.sites {
        if let Some(address) = &written.gateway_ip {
            if known.contains(&address.value) {
                report
                    .error(address.at, format!("another site has the public address {}", address.value))
                    .rule("VPN-34")
                    .expected("a public address for each device");
            }
            known.push(address.value);
        }
        let mut site = site(written, circuits, report);
        site.tunnels = written.tunnels.iter().filter_map(|end| ends.tunnels(end, &site, document, report)).collect();
        check_ends(&site, &made, written.at, circuits, report);
        made.push(site);
    }
    made
}

/// A circuit has one customer, and no customer has a circuit twice.
fn check_ends(site: &Site, before: &[Site], at: At, circuits: &Circuits, report: &mut Report) {
    if site.gateway_ip.is_none() && site.circuits.is_empty() {
        report
            .error(at, format!("nothing leads to site `{}`", site.name))
            .expected("`gatewayIpAddress`, its VPN device's public address, or `expressRouteCircuits`");
    }
    for (index, end) in site.circuits.iter().enumerate() {
        let name = &circuits.made[end.circuit.0].name;
        let mut others = before.iter().flat_map(|site| &site.circuits).chain(&site.circuits[..index]);
        if circuits.is_clouds(end.circuit) || others.any(|other| other.circuit == end.circuit) {
            report.error(at, format!("circuit `{name}` has another customer")).rule("ER-01").expected("one site");
        }
    }
}

fn site(written: &written::Site, circuits: &Circuits, report: &mut Report) -> Site {
    let address_space = prefixes(written.address_space.as_ref());
    let bgp = bgp::settings(written.bgp.as_ref(), report);
    for address in written.addresses.iter().flat_map(|addresses| &addresses.value) {
        if !address_space.iter().any(|range| range.contains(&address.value)) {
            report
                .error(address.at, format!("{} is not in the site's address space", address.value))
                .expected("an address of its `addressSpace`");
        }
    }
    let mut addresses: Vec<_> =
        written.addresses.iter().flat_map(|addresses| &addresses.value).map(|address| address.value).collect();
    if addresses.is_empty() {
        addresses = address_space.iter().filter_map(|range| range.hosts().next()).collect();
    }
    let advertises = written.advertises.as_ref().map_or_else(|| address_space.clone(), |own| prefixes(Some(own)));
    Site {
        name: or_unnamed(&written.name),
        client_of: None,
        gateway_ip: written.gateway_ip.as_ref().map(|address| address.value),
        circuits: circuits.ends(&written.circuits, report),
        address_space,
        addresses,
        bgp,
        advertises,
        prepend: written.prepend.as_ref().map_or(0, |times| times.value),
        tunnels: Vec::new(),
        routes: prefixes(written.routes.as_ref()),
        shared_key: written.shared_key.as_ref().map(|key| key.value.clone()),
        mode: written.mode,
        run: written.run.clone(),
        own_router: written.own_router,
    }
}

pub(super) fn advertised(written: &written::Advertised) -> Advertised {
    let own = written.advertises.as_ref();
    Advertised { prefixes: own.map(|own| prefixes(Some(own))), prepend: written.prepend }
}

impl Ends<'_> {
    /// The tunnels that a site says something of its own over.
    fn tunnels(
        &self,
        written: &written::TunnelEnd,
        site: &Site,
        document: &Document,
        report: &mut Report,
    ) -> Option<TunnelEnd> {
        let ix = self.names.find(&written.connection, report)?;
        let connection = or_unnamed(&document.connections[ix].name);
        // One with a mistake has had its error.
        let found = self.connections.iter().find(|known| known.name == connection)?;
        let leads_here = match found.remote {
            Remote::Local(local) => site.gateway_ip == Some(self.local[local.0].gateway_ip),
            Remote::Gateway(_) | Remote::Circuit(_) | Remote::Client(_) => false,
        };
        if !leads_here {
            report
                .error(written.at, format!("connection `{connection}` does not lead to site `{}`", site.name))
                .rule("VPN-11")
                .expected("one to a local network gateway with the site's `gatewayIpAddress`");
            return None;
        }
        if site.bgp.is_none() || !found.enable_bgp {
            report
                .error(written.at, format!("connection `{connection}` has no BGP: nothing is advertised over it"))
                .rule("BGP-09")
                .expected("`bgpSettings` of the site, and `enableBgp` of the connection");
        }
        let instance = written.instance.as_ref();
        let active = self.gateways[found.gateway.0].active_instances();
        if let Some(number) = instance.filter(|number| usize::from(number.value) > active) {
            report
                .error(
                    number.at,
                    format!("connection `{connection}` has one tunnel: its gateway has one active instance"),
                )
                .rule("VPN-31")
                .expected("no `instance`, or `activeActive: true` of the gateway");
        }
        let instance = instance.map(|number| usize::from(number.value) - 1);
        Some(TunnelEnd { connection, instance, advertised: advertised(&written.advertised) })
    }
}

fn prefixes(written: Option<&Spanned<Vec<Spanned<IpNet>>>>) -> Vec<IpNet> {
    written.iter().flat_map(|prefixes| &prefixes.value).map(|prefix| prefix.value).collect()
}

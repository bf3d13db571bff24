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
        let mut own: Vec<IpAddr> = Vec::new();
        let links = written.tunnels.iter().filter_map(|end| end.gateway_ip.as_ref());
        for address in written.gateway_ip.iter().chain(links) {
            if known.contains(&address.value) {
                report
                    .error(address.at, format!("another site has the public address {}", address.value))
                    .rule("VPN-34")
                    .expected("a public address for each device");
            }
            own.push(address.value);
        }
        known.append(&mut own);
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
        self.check_place(written, found, site, report)?;
        let about_bgp = written.gateway_ip.is_none() || written.peering_address.is_some() || says_something(written);
        if about_bgp && (site.bgp.is_none() || !found.enable_bgp) {
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
        let advertised = advertised(&written.advertised);
        let [gateway_ip, peering_address] = [&written.gateway_ip, &written.peering_address]
            .map(|address| address.as_ref().map(|address| address.value));
        Some(TunnelEnd { connection, instance, gateway_ip, peering_address, advertised })
    }

    /// Whether a connection leads to the site, at the public address of this link or at that of the site itself (VPN-11,
    /// VPN-34).
    fn check_place(
        &self,
        written: &written::TunnelEnd,
        found: &Connection,
        site: &Site,
        report: &mut Report,
    ) -> Option<()> {
        let there = match found.remote {
            Remote::Local(local) => Some(self.local[local.0].gateway_ip),
            Remote::Gateway(_) | Remote::Circuit(_) | Remote::Client(_) => None,
        };
        let own = written.gateway_ip.as_ref().map(|address| address.value).or(site.gateway_ip);
        if there.is_none() || there != own {
            let message = format!("connection `{}` does not lead to site `{}`", found.name, site.name);
            let at = written.gateway_ip.as_ref().map_or(written.at, |address| address.at);
            report.error(at, message).rule("VPN-11").expected(if written.gateway_ip.is_some() {
                "that of the connection's local network gateway"
            } else {
                "one to a local network gateway with the site's `gatewayIpAddress`; for another link state its `gatewayIpAddress`"
            });
            return None;
        }
        let stated = written.gateway_ip.as_ref().or(written.peering_address.as_ref());
        if let (Some(address), Some(_)) = (stated, &written.instance) {
            report
                .error(address.at, "a link's addresses are for all tunnels of its connection")
                .rule("VPN-11")
                .expected("an entry without `instance`");
        }
        Some(())
    }
}

/// Whether what is advertised over it is stated.
const fn says_something(written: &written::TunnelEnd) -> bool {
    written.advertised.advertises.is_some() || written.advertised.prepend > 0
}

fn prefixes(written: Option<&Spanned<Vec<Spanned<IpNet>>>>) -> Vec<IpNet> {
    written.iter().flat_map(|prefixes| &prefixes.value).map(|prefix| prefix.value).collect()
}

//! What a site advertises by BGP where that differs: over one circuit, one link, one tunnel.
//!
//! One idea: the settings of a link refine those of its circuit, and these refine those of the device.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{BgpSettings, CircuitIx, Connection, ConnectionIx, Customer, Network, Side, Site};

/// The advertisement settings of a circuit, a link or a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// The prefixes to advertise instead of the wider setting's.
    pub prefixes: Option<Vec<IpNet>>,
    /// The site's AS number at least so many times more than once.
    pub prepend: u8,
}

/// A site's tunnels of one connection, or one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelEnd {
    /// The connection's name.
    pub connection: String,
    /// Of the gateway's active ones; none is both.
    pub instance: Option<usize>,
    /// The device's public address on this link, if it is not that of the site.
    pub gateway_ip: Option<IpAddr>,
    /// Where the device speaks BGP over this link, if it is not where the site does.
    pub peering_address: Option<IpAddr>,
    pub advertised: Advertised,
}

impl Advertised {
    fn refine(&self, (prefixes, prepend): (Vec<IpNet>, u8)) -> (Vec<IpNet>, u8) {
        (self.prefixes.clone().unwrap_or(prefixes), prepend.max(self.prepend))
    }
}

impl Site {
    /// All that it advertises, over any link or tunnel.
    pub fn all_advertised(&self) -> Vec<IpNet> {
        let circuits = self.circuits.iter().flat_map(|end| [&end.advertised].into_iter().chain(&end.links));
        let settings = circuits.chain(self.tunnels.iter().map(|end| &end.advertised));
        let more = settings.filter_map(|setting| setting.prefixes.as_ref()).flatten();
        let mut seen = HashSet::new();
        self.advertises.iter().chain(more).copied().filter(|prefix| seen.insert(*prefix)).collect()
    }
}

impl Site {
    /// The public addresses of its device: one for each of its links.
    pub fn public_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.gateway_ip.into_iter().chain(self.tunnels.iter().filter_map(|end| end.gateway_ip))
    }

    /// Where its device speaks BGP, each address once.
    pub fn peering_addresses(&self) -> Vec<IpAddr> {
        let Some(BgpSettings { address, .. }) = self.bgp else { return Vec::new() };
        let mut seen = HashSet::from([address]);
        let others = self.tunnels.iter().filter_map(|end| end.peering_address).filter(|other| seen.insert(*other));
        std::iter::once(address).chain(others).collect()
    }

    /// What its device speaks BGP as over a connection's tunnels.
    pub fn speaker_over(&self, connection: &Connection) -> Option<BgpSettings> {
        let BgpSettings { asn, address } = self.bgp?;
        let own = self.tunnels.iter().filter(|end| end.is_of(connection)).find_map(|end| end.peering_address);
        Some(BgpSettings { asn, address: own.unwrap_or(address) })
    }
}

impl TunnelEnd {
    pub fn is_of(&self, connection: &Connection) -> bool {
        connection.written_name() == self.connection
    }
}

impl Network {
    /// What a site advertises over a tunnel, and how often it prepends its AS number.
    pub fn advertised_over_tunnel(&self, tunnel: ConnectionIx) -> Option<(Vec<IpNet>, u8)> {
        let site = self.site(self.site_of(tunnel)?);
        let connection = self.connection(tunnel);
        let about = |end: &&TunnelEnd| {
            end.is_of(connection) && end.instance.is_none_or(|instance| instance == connection.instance)
        };
        // What is about one tunnel comes after what is about both.
        let mut ends: Vec<_> = site.tunnels.iter().filter(about).collect();
        ends.sort_by_key(|end| end.instance.is_some());
        let all = (site.advertises.clone(), site.prepend);
        Some(ends.into_iter().fold(all, |wider, end| end.advertised.refine(wider)))
    }

    /// The same of a circuit's customer over one of the links.
    pub fn advertised_over_link(&self, circuit: CircuitIx, side: Side) -> Option<(Vec<IpNet>, u8)> {
        Some(match self.customer(circuit)? {
            Customer::Site(ix) => {
                let device = self.site(ix);
                let end = device.circuits.iter().find(|end| end.circuit == circuit)?;
                let [primary, secondary] = &end.links;
                let link = match side {
                    Side::Primary => primary,
                    Side::Secondary => secondary,
                };
                link.refine(end.advertised.refine((device.advertises.clone(), device.prepend)))
            }
            Customer::Cloud(cloud) | Customer::Segment(cloud, _) => (self.cloud(cloud).prefixes(), 0),
        })
    }

    /// What a circuit's customer advertises, over any link.
    pub fn customer_routes(&self, circuit: CircuitIx) -> Vec<IpNet> {
        let advertised = Side::BOTH.into_iter().filter_map(|side| self.advertised_over_link(circuit, side));
        let mut seen = HashSet::new();
        advertised.flat_map(|(prefixes, _)| prefixes).filter(|prefix| seen.insert(*prefix)).collect()
    }
}

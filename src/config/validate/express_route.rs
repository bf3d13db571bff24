//! ExpressRoute circuits: their peerings and keys, and Global Reach between them (ER-01, ER-10, GR-02, GR-03).
//!
//! A private cloud has a circuit of its own, behind those of the file in every list.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::config::schema::express_route::{self as written, PeeringType, is_of_length};
use crate::config::schema::{Document, Name};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    Authorization, CircuitEnd, CircuitIx, CircuitTier, EDGE_ASN, ExpressRouteCircuit, GlobalReach, PrivateCloud,
    PrivatePeering, ProviderState, VirtualNetwork,
};

use super::address::intersect;
use super::geography;
use super::names::{Names, or_unnamed};
use super::premises::advertised;

/// LIM-22: by a Premium circuit's Mbit/s, and of every other.
const PREMIUM_LINKS: [(u32, usize); 8] =
    [(50, 20), (100, 25), (200, 25), (500, 40), (1_000, 50), (2_000, 60), (5_000, 75), (10_000, 100)];
const LINKS: usize = 10;
/// What a circuit has where the file does not say: in Mbit/s.
const BANDWIDTH: u32 = 1_000;

/// The circuits of the file and of private clouds, and their names.
pub(super) struct Circuits {
    pub(super) names: Names,
    pub(super) made: Vec<ExpressRouteCircuit>,
    pub(super) clouds: Vec<PrivateCloud>,
}

impl Circuits {
    pub(super) fn of(document: &Document, vnets: &[VirtualNetwork], report: &mut Report) -> Self {
        let files = &document.express_route_circuits;
        let of_clouds: Vec<Name> = document.private_clouds.iter().map(|cloud| own_circuit(&cloud.name)).collect();
        let names = files.iter().map(|circuit| &circuit.name).chain(&of_clouds);
        let names = Names::of("ExpressRoute circuit", names, report);
        Names::of("private cloud", document.private_clouds.iter().map(|cloud| &cloud.name), report);
        let made = files.iter().map(|circuit| self::circuit(circuit, vnets, report)).collect();
        let mut all = Self { names, made, clouds: Vec::new() };
        super::private_cloud::add(document, vnets, &mut all, report);
        all.reach(document, report);
        check_keys(document, report);
        all
    }

    /// A site's ends of circuits.
    pub(super) fn ends(&self, ends: &[written::CircuitEnd], report: &mut Report) -> Vec<CircuitEnd> {
        let end = |end: &written::CircuitEnd| {
            let circuit = self.names.find(&end.circuit, report).map(CircuitIx)?;
            Some(CircuitEnd {
                circuit,
                advertised: advertised(&end.advertised),
                links: [advertised(&end.primary), advertised(&end.secondary)],
            })
        };
        ends.iter().filter_map(end).collect()
    }

    pub(super) fn is_clouds(&self, circuit: CircuitIx) -> bool {
        self.clouds.iter().any(|cloud| cloud.circuit == circuit)
    }

    /// Fills in Global Reach: all circuits are known now.
    fn reach(&mut self, document: &Document, report: &mut Report) {
        let of_files = document.express_route_circuits.iter().map(|circuit| {
            let private = circuit.peerings.iter().find(|peering| is_private(peering));
            private.map_or(&[][..], |peering| &peering.connections)
        });
        let of_clouds = document.private_clouds.iter().map(|cloud| &cloud.reach[..]);
        for (near, written) in of_files.chain(of_clouds).enumerate() {
            for one in written {
                let Some(peer) = self.names.find(&one.peer, report).map(CircuitIx) else { continue };
                self.check_reach(CircuitIx(near), peer, one, report);
                let reach = GlobalReach {
                    name: or_unnamed(&one.name),
                    peer,
                    address_prefix: one.address_prefix.as_ref().and_then(|prefix| v4(&prefix.value)),
                    authorization_key: one.authorization_key.as_ref().map(|key| key.value.clone()),
                };
                self.made[near].reach.push(reach);
            }
        }
    }

    /// GR-02, GR-03.
    fn check_reach(&self, near: CircuitIx, far: CircuitIx, written: &written::GlobalReach, report: &mut Report) {
        let [one, other] = [near, far].map(|circuit| &self.made[circuit.0]);
        if near == far {
            report.error(written.at, "a circuit reaches itself").rule("GR-01").expected("another circuit");
            return;
        }
        if let Some(local) = [one, other].into_iter().find(|circuit| circuit.tier == CircuitTier::Local) {
            report
                .error(written.at, format!("circuit `{}` is of tier Local, which has no Global Reach", local.name))
                .rule("GR-03")
                .expected("circuits of tier Standard or Premium");
        }
        // A private cloud's circuit is at no location of a provider's.
        let places = [one, other].map(|circuit| circuit.peering_location.to_lowercase());
        if !places[0].is_empty() && places[0] == places[1] {
            report
                .error(written.at, format!("both circuits are at {}", one.peering_location))
                .rule("GR-03")
                .expected("circuits at two peering locations")
                .help("within one location the provider joins them");
        }
        let regions = places.each_ref().map(|place| geography::of_location(place));
        let is_standard = |circuit: &&ExpressRouteCircuit| circuit.tier != CircuitTier::Premium;
        if let [Some(a), Some(b)] = regions
            && a != b
            && let Some(standard) = [one, other].into_iter().find(is_standard)
        {
            report
                .error(written.at, format!("from {a} to {b} circuit `{}` has to be of tier Premium", standard.name))
                .rule("GR-03")
                .expected("`sku: Premium` on both circuits");
        }
        if let Some(range) = written.address_prefix.as_ref().filter(|range| !is_of_length(&range.value, 29)) {
            report
                .error(range.at, format!("{} is no /29 of IPv4", range.value))
                .rule("GR-02")
                .expected("a /29, for the links between the two edges");
        }
        let foreign = matches!((&one.subscription, &other.subscription), (Some(a), Some(b)) if a != b);
        if (foreign || self.is_clouds(near)) && written.authorization_key.is_none() {
            report
                .error(written.at, format!("circuit `{}` is of another subscription", other.name))
                .rule("GR-02")
                .expected("an `authorizationKey` that was issued there");
        }
        if let Some(key) = &written.authorization_key
            && other.authorizations.iter().all(|authorization| authorization.key != key.value)
        {
            let message = format!("circuit `{}` has no authorization with this key: no connection", other.name);
            report.warning(key.at, message).rule("GR-02").expected("a key of its `authorizations`");
        }
    }

    /// LIM-22: connections of gateways and Global Reach together.
    pub(super) fn check_links(&self, connected: &[(CircuitIx, At)], report: &mut Report) {
        for (ix, circuit) in (0..).map(CircuitIx).zip(&self.made) {
            let most = links(circuit);
            let reach = self.made.iter().flat_map(|other| &other.reach).filter(|reach| reach.peer == ix).count();
            let room = most.saturating_sub(reach + circuit.reach.len());
            if let Some((_, at)) = connected.iter().filter(|(circuit, _)| *circuit == ix).nth(room) {
                report
                    .error(*at, format!("circuit `{}` has {most} links already", circuit.name))
                    .rule("LIM-22")
                    .expected(format!(
                        "at most {most} connections, Global Reach included, with tier {:?}",
                        circuit.tier
                    ));
            }
        }
    }
}

/// One key, one connection (ER-10).
fn check_keys(document: &Document, report: &mut Report) {
    let of_files = document.express_route_circuits.iter().map(|circuit| &circuit.authorizations);
    let mut known: Vec<&str> = Vec::new();
    for one in of_files.chain(document.private_clouds.iter().map(|cloud| &cloud.authorizations)).flatten() {
        let Some(key) = &one.key else { continue };
        if known.contains(&key.value.as_str()) {
            report.error(key.at, "another authorization has this key").rule("ER-10").expected("a key of its own");
        }
        known.push(&key.value);
    }
}

/// How many links a circuit may have (LIM-22).
fn links(circuit: &ExpressRouteCircuit) -> usize {
    let mut sizes = PREMIUM_LINKS.iter().rev();
    match circuit.tier {
        CircuitTier::Local | CircuitTier::Standard => LINKS,
        CircuitTier::Premium => {
            sizes.find(|(bandwidth, _)| circuit.bandwidth >= *bandwidth).map_or(PREMIUM_LINKS[0].1, |(_, most)| *most)
        }
    }
}

/// The name of a private cloud's circuit.
pub(super) fn own_circuit(cloud: &Name) -> Name {
    cloud.as_ref().map(|name| Spanned { value: format!("{}-circuit", name.value), at: name.at })
}

fn circuit(
    written: &written::ExpressRouteCircuit,
    vnets: &[VirtualNetwork],
    report: &mut Report,
) -> ExpressRouteCircuit {
    let private: Vec<_> = written.peerings.iter().enumerate().filter(|(_, peering)| is_private(peering)).collect();
    for other in written.peerings.iter().filter(|peering| !is_private(peering)) {
        report.warning(other.at, "only AzurePrivatePeering is emulated").expected("`peeringType: AzurePrivatePeering`");
    }
    if let [_, (_, second), ..] = private[..] {
        report.error(second.at, "a circuit has one AzurePrivatePeering").rule("ER-01").expected("one entry");
    }
    let location = written.provider.peering_location.as_ref();
    ExpressRouteCircuit {
        name: or_unnamed(&written.name),
        tier: written.tier.as_ref().map_or(CircuitTier::Standard, |tier| tier.value),
        peering_location: location.map_or_else(String::new, |location| location.value.clone()),
        bandwidth: written.provider.bandwidth.as_ref().map_or(BANDWIDTH, |bandwidth| bandwidth.value),
        provider_state: written.provider_state,
        peering: private.first().and_then(|(place, written)| peering((*place, written), vnets, report)),
        authorizations: authorizations(&written.authorizations),
        reach: Vec::new(),
        subscription: written.subscription.as_ref().map(|name| name.value.clone()),
    }
}

pub(super) fn authorizations(written: &[written::Authorization]) -> Vec<Authorization> {
    let authorization = |one: &written::Authorization| {
        Some(Authorization { name: or_unnamed(&one.name), key: one.key.as_ref()?.value.clone() })
    };
    written.iter().filter_map(authorization).collect()
}

fn is_private(peering: &written::Peering) -> bool {
    peering.kind.as_ref().is_none_or(|kind| kind.value == PeeringType::Private)
}

/// ER-01.
fn peering(
    (place, written): (usize, &written::Peering),
    vnets: &[VirtualNetwork],
    report: &mut Report,
) -> Option<PrivatePeering> {
    let asn = written.peer_asn.as_ref()?;
    if asn.value == EDGE_ASN || (65515..=65520).contains(&asn.value) {
        report
            .error(asn.at, format!("AS number {} is Azure's", asn.value))
            .rule("ER-01")
            .expected("a number of your own, such as 64512 to 65514");
    }
    for range in written.prefixes.iter().flatten() {
        if !is_of_length(&range.value, 30) {
            report
                .error(range.at, format!("{} is no /30 of IPv4", range.value))
                .rule("ER-01")
                .expected("a /30: you have its first address, Microsoft the second");
        }
        let inside = |vnet: &&VirtualNetwork| vnet.address_space.iter().any(|space| intersect(space, &range.value));
        if let Some(vnet) = vnets.iter().find(inside) {
            report
                .error(range.at, format!("{} is in the address space of virtual network `{}`", range.value, vnet.name))
                .rule("ER-01")
                .expected("a range that no virtual network has");
        }
    }
    let [Some(primary), Some(secondary)] = &written.prefixes else { return None };
    if intersect(&primary.value, &secondary.value) {
        report.error(secondary.at, "both links have one range").rule("ER-01").expected("a /30 for each");
    }
    Some(PrivatePeering {
        place,
        enabled: written.enabled,
        peer_asn: asn.value,
        prefixes: [v4(&primary.value)?, v4(&secondary.value)?],
        vlan: written.vlan.as_ref().map_or(0, |vlan| vlan.value),
        shared_key: written.shared_key.as_ref().map(|key| key.value.clone()),
    })
}

/// One for a private cloud: Microsoft's own.
pub(super) fn of_cloud(name: String, links: [Ipv4Net; 2], authorizations: Vec<Authorization>) -> ExpressRouteCircuit {
    ExpressRouteCircuit {
        name,
        tier: CircuitTier::Premium,
        peering_location: String::new(),
        bandwidth: 10_000,
        provider_state: ProviderState::Provisioned,
        peering: Some(PrivatePeering {
            place: 0,
            enabled: true,
            peer_asn: crate::model::CLOUD_ASN,
            prefixes: links,
            vlan: 1,
            shared_key: None,
        }),
        authorizations,
        reach: Vec::new(),
        subscription: None,
    }
}

pub(super) fn v4(range: &IpNet) -> Option<Ipv4Net> {
    match (range, range.addr()) {
        (IpNet::V4(range), IpAddr::V4(_)) => Some(*range),
        (IpNet::V4(_) | IpNet::V6(_), _) => None,
    }
}

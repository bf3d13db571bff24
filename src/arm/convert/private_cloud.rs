//! Private clouds of Azure VMware Solution, and the circuit that each has of its own.
//!
//! A connection names that circuit by an id which only Azure knows. In a dump the cloud says it; in a template it is the
//! one that `reference(…).circuit.expressRouteID` returned.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, ancestor};
use crate::arm::template::circuit_of_cloud;

use super::names::Rule;
use super::table::{Table, Use, deep, items, property, reference, scalar, text};
use super::text::Out;
use super::{Converter, entry};

pub(super) const KIND: &str = "Microsoft.AVS/privateClouds";

static CLOUD: Table = Table {
    what: "a private cloud",
    rows: &[
        ("networkBlock", Use::Copy),
        ("internet", Use::Unless("Disabled")),
        ("workloadNetworks", Use::Taken),
        ("authorizations", Use::Read(&AUTHORIZATION)),
        ("globalReachConnections", Use::Taken),
        ("circuit", Use::Cosmetic),
        ("secondaryCircuit", Use::Gap),
        ("extendedNetworkBlocks", Use::Gap),
        ("sku", Use::Cosmetic),
        ("managementCluster", Use::Cosmetic),
        ("managementNetwork", Use::Cosmetic),
        ("provisioningNetwork", Use::Cosmetic),
        ("vmotionNetwork", Use::Cosmetic),
        ("endpoints", Use::Cosmetic),
        ("availability", Use::Cosmetic),
        ("identitySources", Use::Cosmetic),
        ("encryption", Use::Cosmetic),
        ("dnsZoneType", Use::Cosmetic),
        ("externalCloudLinks", Use::Cosmetic),
        ("nsxPublicIpQuotaRaised", Use::Cosmetic),
        ("nsxtPassword", Use::Cosmetic),
        ("vcenterPassword", Use::Cosmetic),
        ("nsxtCertificateThumbprint", Use::Cosmetic),
        ("vcenterCertificateThumbprint", Use::Cosmetic),
        ("virtualNetworkId", Use::Gap),
    ],
};

static AUTHORIZATION: Table = Table {
    what: "an authorization of a private cloud",
    rows: &[
        ("expressRouteAuthorizationKey", Use::Taken),
        ("authorizationKey", Use::Taken),
        ("expressRouteAuthorizationId", Use::Cosmetic),
        ("expressRouteId", Use::Cosmetic),
    ],
};

static REACH: Table = Table {
    what: "a Global Reach connection",
    rows: &[
        ("peerExpressRouteCircuit", Use::Taken),
        ("authorizationKey", Use::Copy),
        ("addressPrefix", Use::Copy),
        ("expressRouteId", Use::Cosmetic),
        ("circuitConnectionStatus", Use::Cosmetic),
    ],
};

static SEGMENT: Table = Table {
    what: "a segment",
    rows: &[
        ("subnet", Use::Taken),
        ("displayName", Use::Cosmetic),
        ("connectedGateway", Use::Taken),
        ("portVif", Use::Cosmetic),
        ("revision", Use::Cosmetic),
        ("status", Use::Cosmetic),
    ],
};

/// The private cloud that has a circuit of its own.
pub(super) fn of_circuit<'a>(converter: &Converter<'a>, circuit: &str) -> Option<&'a Entry> {
    let mut clouds = converter.store.of_kind(KIND).filter(|cloud| !cloud.resource.existing);
    clouds.find(|cloud| {
        let known = deep(&cloud.resource.body, &["circuit", "expressRouteID"]).and_then(scalar);
        let own = known.unwrap_or_else(|| circuit_of_cloud(cloud.resource.id.as_str()));
        own.eq_ignore_ascii_case(circuit)
    })
}

/// The name of a circuit in the file: that of a private cloud is called after the cloud.
pub(super) fn circuit(converter: &Converter<'_>, id: &str) -> Option<String> {
    let cloud = of_circuit(converter, id).and_then(|cloud| converter.names.of(cloud.resource.id.as_str()));
    cloud.map(|cloud| format!("{cloud}-circuit")).or_else(|| converter.reference(id))
}

/// The key of a cloud's first authorization: of a connection that says none.
pub(super) fn first_key(cloud: &Entry) -> Option<String> {
    items(&cloud.resource.body, "authorizations").first().map(key)
}

fn known_key(authorization: &Node) -> Option<String> {
    ["expressRouteAuthorizationKey", "authorizationKey"].iter().find_map(|key| text(authorization, key))
}

/// A key that only Azure knows is made up of the authorization's name.
fn key(authorization: &Node) -> String {
    let name = || text(authorization, "name").unwrap_or_default();
    known_key(authorization).unwrap_or_else(|| format!("made-up-key-{}", name().rsplit('/').next().unwrap_or_default()))
}

pub(super) fn private_cloud(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    if property(body, "networkBlock").is_none() {
        let message = format!("private cloud `{}` has no `networkBlock`: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(body, &CLOUD));
    let networks = items(body, "workloadNetworks").iter().flat_map(|network| items(network, "segments"));
    let mut routers = HashMap::new();
    let segments: Vec<_> = networks.filter_map(|node| segment(converter, node, &mut routers)).collect();
    if !segments.is_empty() {
        map.push(entry("segments", Out::list(segments)));
    }
    let keys: Vec<_> = items(body, "authorizations").iter().map(|node| authorization(converter, node)).collect();
    if !keys.is_empty() {
        map.push(entry("authorizations", Out::list(keys)));
    }
    let links = items(body, "globalReachConnections").iter().filter_map(|node| reach(converter, node));
    let links: Vec<_> = links.collect();
    if !links.is_empty() {
        map.push(entry("globalReachConnections", Out::list(links)));
    }
    Some(Out::map(map).at(&one.resource.at))
}

fn authorization(converter: &mut Converter<'_>, node: &Node) -> Out {
    let key = key(node);
    if known_key(node).is_none() {
        let message = format!("the key of this authorization is not known: it is `{key}` here");
        converter.note(&node.at, NoteKind::MadeUp, message);
    }
    Out::map(vec![entry("name", converter.child_name(node)), entry("authorizationKey", Out::scalar(key))]).at(&node.at)
}

/// The name of a Tier-1 router, which is a node of the lab: two clouds may have routers of one name. `known` are those of
/// the cloud.
fn router(converter: &mut Converter<'_>, node: &Node, own: &str, known: &mut HashMap<String, String>) -> String {
    if let Some(name) = known.get(&own.to_lowercase()) {
        return name.clone();
    }
    let name = converter.names.free("virtualMachines", own, None, Rule::Label(63));
    if name != own {
        let message = format!("router `{own}` is called `{name}` here: each node of a lab has a name of its own");
        converter.note(&node.at, NoteKind::MadeUp, message);
    }
    known.insert(own.to_lowercase(), name.clone());
    name
}

/// A segment's range is that of its gateway.
fn segment(converter: &mut Converter<'_>, node: &Node, routers: &mut HashMap<String, String>) -> Option<Out> {
    let gateway = deep(node, &["subnet", "gatewayAddress"]);
    let range = gateway.and_then(scalar).and_then(|gateway| gateway.parse::<IpNet>().ok());
    let Some((gateway, range)) = gateway.zip(range) else {
        let message = "a segment without a gateway address is left out".to_owned();
        converter.note(&node.at, NoteKind::NotEmulated, message);
        return None;
    };
    let mut map = vec![entry("name", converter.child_name(node))];
    map.push(entry("addressPrefix", Out::scalar(range.trunc().to_string()).at(&gateway.at)));
    // The path of a router in NSX-T ends in its name.
    if let Some(router) = text(node, "connectedGateway").as_deref().and_then(|path| path.rsplit('/').next())
        && !router.is_empty()
    {
        let name = self::router(converter, node, router, routers);
        map.push(entry("connectedGateway", Out::scalar(name)));
    }
    map.extend(converter.object(node, &SEGMENT));
    Some(Out::map(map).at(&node.at))
}

fn reach(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let peer = property(node, "peerExpressRouteCircuit")?;
    let id = reference(node, "peerExpressRouteCircuit")?;
    // The peering of a circuit may be named instead of the circuit.
    let own = circuit(converter, id).or_else(|| circuit(converter, ancestor(id, 1)?));
    let Some(own) = own else {
        let message = "the other circuit is not among the resources: the connection is left out".to_owned();
        converter.note(&peer.at, NoteKind::NotEmulated, message);
        return None;
    };
    let mut map = vec![entry("name", converter.child_name(node))];
    map.push(entry("peerExpressRouteCircuit", Out::scalar(own).at(&peer.at)));
    map.extend(converter.object(node, &REACH));
    Some(Out::map(map).at(&node.at))
}

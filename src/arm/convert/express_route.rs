//! ExpressRoute circuits.

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, ancestor};

use super::private_cloud::circuit as circuit_name;
use super::table::{Table, Use, deep, id_of, items, property, scalar, text};
use super::text::Out;
use super::{Converter, entry};

static CIRCUIT: Table = Table {
    what: "an ExpressRoute circuit",
    rows: &[
        ("sku", Use::Taken),
        ("serviceProviderProperties", Use::Inside(&PROVIDER)),
        ("serviceProviderProvisioningState", Use::Copy),
        ("peerings", Use::Taken),
        ("authorizations", Use::Read(&AUTHORIZATION)),
        ("circuitProvisioningState", Use::Cosmetic),
        ("serviceKey", Use::Cosmetic),
        ("allowClassicOperations", Use::Cosmetic),
        ("globalReachEnabled", Use::Cosmetic),
        ("serviceProviderNotes", Use::Cosmetic),
        ("gatewayManagerEtag", Use::Cosmetic),
        ("stag", Use::Cosmetic),
        ("authorizationStatus", Use::Cosmetic),
        ("enableDirectPortRateLimit", Use::Cosmetic),
        ("bandwidthInGbps", Use::Cosmetic),
        ("expressRoutePort", Use::Gap),
    ],
};

static AUTHORIZATION: Table = Table {
    what: "an authorization of a circuit",
    rows: &[
        ("authorizationKey", Use::Taken),
        ("authorizationUseStatus", Use::Cosmetic),
        ("connectionResourceUri", Use::Cosmetic),
    ],
};

static PROVIDER: Table = Table {
    what: "a service provider",
    rows: &[("peeringLocation", Use::Copy), ("bandwidthInMbps", Use::Copy), ("serviceProviderName", Use::Cosmetic)],
};

static PEERING: Table = Table {
    what: "a circuit's peering",
    rows: &[
        ("peeringType", Use::Copy),
        ("state", Use::Unless("Enabled")),
        ("peerASN", Use::Copy),
        ("primaryPeerAddressPrefix", Use::Copy),
        ("secondaryPeerAddressPrefix", Use::Copy),
        ("vlanId", Use::Copy),
        ("sharedKey", Use::Copy),
        ("connections", Use::Taken),
        ("azureASN", Use::Cosmetic),
        ("peeredConnections", Use::Cosmetic),
        ("primaryAzurePort", Use::Cosmetic),
        ("secondaryAzurePort", Use::Cosmetic),
        ("gatewayManagerEtag", Use::Cosmetic),
        ("lastModifiedBy", Use::Cosmetic),
        ("stats", Use::Cosmetic),
        ("microsoftPeeringConfig", Use::Cosmetic),
        ("ipv6PeeringConfig", Use::Gap),
        ("routeFilter", Use::Gap),
        ("expressRouteConnection", Use::Cosmetic),
    ],
};

static REACH: Table = Table {
    what: "a Global Reach connection",
    rows: &[
        ("addressPrefix", Use::Copy),
        ("authorizationKey", Use::Copy),
        ("expressRouteCircuitPeering", Use::Cosmetic),
        ("peerExpressRouteCircuitPeering", Use::Taken),
        ("circuitConnectionStatus", Use::Cosmetic),
        ("ipv6CircuitConnectionConfig", Use::Gap),
    ],
};

pub(super) fn circuit(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    if let Some(tier) = deep(body, &["sku", "tier"])
        && let Some(written) = scalar(tier).filter(|tier| !tier.eq_ignore_ascii_case("Basic"))
    {
        map.push(entry("sku", Out::map(vec![entry("tier", Out::scalar(written).at(&tier.at))])));
    }
    map.extend(converter.object(body, &CIRCUIT));
    let peerings: Vec<_> = items(body, "peerings").iter().filter_map(|node| peering(converter, node)).collect();
    if !peerings.is_empty() {
        map.push(entry("peerings", Out::list(peerings)));
    }
    let keys: Vec<_> = items(body, "authorizations").iter().filter_map(|node| authorization(converter, node)).collect();
    if !keys.is_empty() {
        map.push(entry("authorizations", Out::list(keys)));
    }
    Out::map(map).at(&one.resource.at)
}

fn peering(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let kind = text(node, "peeringType").or_else(|| text(node, "name"))?;
    let mut map = converter.object(node, &PEERING);
    if !kind.eq_ignore_ascii_case("AzurePrivatePeering") {
        let message = format!("the peering `{kind}` of a circuit is not emulated: it is left out");
        converter.note(&node.at, NoteKind::NotEmulated, message);
        return None;
    }
    let links: Vec<_> = items(node, "connections").iter().filter_map(|link| reach(converter, link)).collect();
    if !links.is_empty() {
        map.push(entry("connections", Out::list(links)));
    }
    Some(Out::map(map).at(&node.at))
}

fn reach(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let mut map = vec![entry("name", converter.child_name(node))];
    let peer = property(node, "peerExpressRouteCircuitPeering")?;
    let circuit = id_of(peer).and_then(|id| ancestor(id, 1)).and_then(|id| circuit_name(converter, id));
    let Some(circuit) = circuit else {
        let message = "the other circuit is not among the resources: the connection is left out".to_owned();
        converter.note(&peer.at, NoteKind::NotEmulated, message);
        return None;
    };
    map.push(entry("peerExpressRouteCircuitPeering", Out::scalar(circuit).at(&peer.at)));
    map.extend(converter.object(node, &REACH));
    Some(Out::map(map).at(&node.at))
}

/// One with its key: without it no connection can use it.
fn authorization(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let Some(key) = property(node, "authorizationKey") else {
        let message = "the key of this authorization is not known: the authorization is left out".to_owned();
        converter.note(&node.at, NoteKind::MadeUp, message);
        return None;
    };
    let mut map = vec![entry("name", converter.child_name(node))];
    map.push(entry("authorizationKey", Out::scalar(scalar(key)?).at(&key.at)));
    Some(Out::map(map).at(&node.at))
}

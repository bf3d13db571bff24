//! The schema of ExpressRoute circuits.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::yaml::decode::{Fields, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{prefix, reference, resource_name};
use crate::model::{CircuitTier, ProviderState};

use super::gateway::{Advertised, advertised};
use super::public_address::ignore;
use super::{Name, Reference};

pub(in crate::config) struct ExpressRouteCircuit {
    pub name: Name,
    pub subscription: Name,
    pub tier: Option<Spanned<CircuitTier>>,
    pub provider: Provider,
    pub provider_state: ProviderState,
    pub peerings: Vec<Peering>,
    pub authorizations: Vec<Authorization>,
}

/// `serviceProviderProperties`
#[derive(Default)]
pub(in crate::config) struct Provider {
    pub peering_location: Name,
    pub bandwidth: Option<Spanned<u32>>,
}

pub(in crate::config) struct Peering {
    pub at: At,
    pub kind: Option<Spanned<PeeringType>>,
    pub enabled: bool,
    pub peer_asn: Option<Spanned<u32>>,
    pub prefixes: [Option<Spanned<IpNet>>; 2],
    pub vlan: Option<Spanned<u16>>,
    pub shared_key: Name,
    pub connections: Vec<GlobalReach>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum PeeringType {
    Private,
    /// Microsoft's and the public one, which no lab has.
    Other,
}

pub(in crate::config) struct Authorization {
    pub name: Name,
    pub key: Name,
}

pub(in crate::config) struct GlobalReach {
    pub at: At,
    pub name: Name,
    /// The circuit, by its name or by the id of its peering.
    pub peer: Reference,
    pub address_prefix: Option<Spanned<IpNet>>,
    pub authorization_key: Name,
}

/// A site's end of a circuit: its name, or a mapping.
pub(in crate::config) struct CircuitEnd {
    pub circuit: Reference,
    pub advertised: Advertised,
    pub primary: Advertised,
    pub secondary: Advertised,
}

pub(in crate::config) fn express_route_circuit(node: &Node, report: &mut Report) -> Option<ExpressRouteCircuit> {
    record(node, report, "an ExpressRoute circuit", |f| {
        ignore(f, &["circuitProvisioningState", "serviceKey", "allowClassicOperations", "globalReachEnabled"]);
        ExpressRouteCircuit {
            name: f.required("name", resource_name(80)),
            subscription: f.optional("subscription", text),
            tier: f.optional("sku", sku),
            provider: f
                .optional("serviceProviderProperties", provider)
                .map_or_else(Provider::default, |provider| provider.value),
            provider_state: f
                .optional("serviceProviderProvisioningState", provider_state)
                .map_or_else(ProviderState::default, |state| state.value),
            peerings: f.list("peerings", peering),
            authorizations: f.list("authorizations", authorization),
        }
    })
}

/// `{tier: Premium}`, or the word alone.
fn sku(node: &Node, report: &mut Report) -> Option<CircuitTier> {
    let tier =
        word(&[("Local", CircuitTier::Local), ("Standard", CircuitTier::Standard), ("Premium", CircuitTier::Premium)]);
    match &node.value {
        Value::Map(_) => record(node, report, "a SKU", |f| {
            ignore(f, &["name", "family"]);
            f.required("tier", tier)
        })?
        .map(|tier| tier.value),
        Value::Null | Value::Scalar { .. } | Value::List(_) => tier(node, report),
    }
}

fn provider(node: &Node, report: &mut Report) -> Option<Provider> {
    record(node, report, "a service provider", |f| {
        ignore(f, &["serviceProviderName"]);
        Provider {
            peering_location: f.optional("peeringLocation", text),
            bandwidth: f.optional("bandwidthInMbps", number(50..=100_000)),
        }
    })
}

fn provider_state(node: &Node, report: &mut Report) -> Option<ProviderState> {
    word(&[
        ("NotProvisioned", ProviderState::NotProvisioned),
        ("Provisioning", ProviderState::Provisioning),
        ("Provisioned", ProviderState::Provisioned),
        ("Deprovisioning", ProviderState::Deprovisioning),
    ])(node, report)
}

fn peering(node: &Node, report: &mut Report) -> Option<Peering> {
    let kinds = word(&[
        ("AzurePrivatePeering", PeeringType::Private),
        ("MicrosoftPeering", PeeringType::Other),
        ("AzurePublicPeering", PeeringType::Other),
    ]);
    record(node, report, "a circuit's peering", |f| {
        ignore(f, &["name", "azureASN", "peeredConnections", "primaryAzurePort", "secondaryAzurePort"]);
        Peering {
            at: f.at,
            kind: f.optional("peeringType", kinds),
            enabled: f
                .optional("state", word(&[("Enabled", true), ("Disabled", false)]))
                .is_none_or(|state| state.value),
            peer_asn: f.required("peerASN", number(1..=u32::MAX)),
            prefixes: ["primaryPeerAddressPrefix", "secondaryPeerAddressPrefix"].map(|key| f.required(key, prefix)),
            vlan: f.required("vlanId", number(1..=4094)),
            shared_key: f.optional("sharedKey", text),
            connections: f.list("connections", global_reach),
        }
    })
}

pub(in crate::config) fn authorization(node: &Node, report: &mut Report) -> Option<Authorization> {
    record(node, report, "an authorization", |f| {
        ignore(f, &["authorizationUseStatus", "expressRouteAuthorizationId", "expressRouteId"]);
        let key =
            if f.has("expressRouteAuthorizationKey") { "expressRouteAuthorizationKey" } else { "authorizationKey" };
        Authorization { name: f.required("name", resource_name(80)), key: f.required(key, text) }
    })
}

fn global_reach(node: &Node, report: &mut Report) -> Option<GlobalReach> {
    record(node, report, "a Global Reach connection", |f| {
        ignore(f, &["expressRouteCircuitPeering", "circuitConnectionStatus"]);
        reach(f, "peerExpressRouteCircuitPeering")
    })
}

/// A private cloud's.
pub(in crate::config) fn cloud_reach(node: &Node, report: &mut Report) -> Option<GlobalReach> {
    record(node, report, "a Global Reach connection", |f| {
        ignore(f, &["expressRouteId", "circuitConnectionStatus"]);
        reach(f, "peerExpressRouteCircuit")
    })
}

fn reach(f: &mut Fields<'_>, peer: &'static str) -> GlobalReach {
    GlobalReach {
        at: f.at,
        name: f.required("name", resource_name(80)),
        peer: f.required(peer, circuit),
        address_prefix: f.optional("addressPrefix", prefix),
        authorization_key: f.optional("authorizationKey", text),
    }
}

/// A circuit by its name, its ARM id, or the id of its private peering.
pub(in crate::config) fn circuit(node: &Node, report: &mut Report) -> Option<[String; 1]> {
    let peering = match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.value == "id").map_or(node, |(_, id)| id),
        Value::Null | Value::Scalar { .. } | Value::List(_) => node,
    };
    if let Value::Scalar { .. } = &peering.value
        && let Some(id) = text(peering, report).filter(|id| id.to_ascii_lowercase().contains("/peerings/"))
        && let Some([circuit, _]) = crate::config::yaml::values::parts_of_id(&id, ["expressRouteCircuits", "peerings"])
    {
        return Some([circuit]);
    }
    reference(["expressRouteCircuits"])(node, report)
}

pub(in crate::config) fn circuit_end(node: &Node, report: &mut Report) -> Option<CircuitEnd> {
    if !matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.value == "circuit")) {
        let named = circuit(node, report)?;
        let circuit = Some(Spanned { value: named, at: node.at });
        let [advertised, primary, secondary] = Default::default();
        return Some(CircuitEnd { circuit, advertised, primary, secondary });
    }
    let link = |node: &Node, report: &mut Report| record(node, report, "a circuit's link", advertised);
    record(node, report, "a site's end of a circuit", |f| CircuitEnd {
        circuit: f.required("circuit", circuit),
        advertised: advertised(f),
        primary: f.optional("primary", link).map(|link| link.value).unwrap_or_default(),
        secondary: f.optional("secondary", link).map(|link| link.value).unwrap_or_default(),
    })
}

/// Whether a range is of IPv4, and of this length.
pub(in crate::config) fn is_of_length(range: &IpNet, length: u8) -> bool {
    range.prefix_len() == length && matches!(range.addr(), IpAddr::V4(_))
}

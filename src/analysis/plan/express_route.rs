//! ExpressRoute circuits and private clouds as objects that a plan can compare.

use crate::model::{Authorization, ExpressRouteCircuit, GlobalReach, Network, PrivateCloud, Segment, Tier};

use super::gateways::key;
use super::objects::{Object, list, or_none};

/// A private cloud's own circuit is a part of it.
pub(super) fn of(network: &Network) -> Vec<Object> {
    let own = |circuit| network.private_clouds.iter().any(|cloud| cloud.circuit == circuit);
    let circuits = network.circuits().filter(|(ix, _)| !own(*ix)).map(|(_, one)| circuit(network, one));
    circuits.chain(network.private_clouds.iter().map(|one| cloud(network, one))).collect()
}

fn circuit(network: &Network, circuit: &ExpressRouteCircuit) -> Object {
    let peering = circuit.peering.as_ref();
    let mut properties = vec![
        ("sku", format!("{:?}", circuit.tier)),
        ("peeringLocation", circuit.peering_location.clone()),
        ("bandwidthInMbps", circuit.bandwidth.to_string()),
        ("serviceProviderProvisioningState", format!("{:?}", circuit.provider_state)),
        ("subscription", or_none(circuit.subscription.as_ref())),
        ("state", peering.map_or("none", |peering| if peering.enabled { "Enabled" } else { "Disabled" }).to_owned()),
        ("peerASN", or_none(peering.map(|peering| peering.peer_asn))),
        ("peerAddressPrefixes", or_none(peering.map(|peering| list(&peering.prefixes)))),
        ("vlanId", or_none(peering.map(|peering| peering.vlan))),
        ("sharedKey", key(peering.and_then(|peering| peering.shared_key.as_deref()))),
    ];
    properties.extend(joined(network, circuit));
    Object { kind: "expressRouteCircuits", name: circuit.name.clone(), properties }
}

/// Its authorizations and Global Reach connections.
fn joined(network: &Network, circuit: &ExpressRouteCircuit) -> [(&'static str, String); 2] {
    let authorization = |one: &Authorization| format!("{} {}", one.name, key(Some(&one.key)));
    let authorizations: Vec<_> = circuit.authorizations.iter().map(authorization).collect();
    let reach = |one: &GlobalReach| {
        let key = key(one.authorization_key.as_deref());
        format!("{} to {} {} {key}", one.name, network.circuit(one.peer).name, or_none(one.address_prefix))
    };
    let reach: Vec<_> = circuit.reach.iter().map(reach).collect();
    [("authorizations", list(&authorizations)), ("connections", list(&reach))]
}

fn cloud(network: &Network, cloud: &PrivateCloud) -> Object {
    let segment = |segment: &Segment| {
        let router = cloud.router_name(Tier::One(segment.router));
        let program = if segment.run.is_none() { String::new() } else { format!(" run {}", segment.run) };
        format!("{} {} {} at {router}{program}", segment.name, segment.prefix, list(&segment.addresses))
    };
    let mut properties = vec![
        ("networkBlock", cloud.block.to_string()),
        ("segments", list(&cloud.segments.iter().map(segment).collect::<Vec<_>>())),
        ("internet", cloud.internet.to_string()),
        ("run", cloud.run.to_string()),
    ];
    properties.extend(joined(network, network.circuit(cloud.circuit)));
    Object { kind: "privateClouds", name: cloud.name.clone(), properties }
}

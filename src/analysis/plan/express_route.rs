//! ExpressRoute circuits and private clouds as objects that a plan can compare.

use crate::model::{
    Authorization, ExpressRouteCircuit, FirewallPolicy, FirewallRule, FirewallService, GlobalReach, Network, PortRange,
    PrivateCloud, Segment, Tier,
};

use super::gateways::key;
use super::objects::{Object, list, or_none};

/// A private cloud's own circuit is a part of it.
pub(super) fn of(network: &Network) -> Vec<Object> {
    let own = |circuit| network.private_clouds.iter().any(|cloud| cloud.circuit == circuit);
    let circuits = network.circuits().filter(|(ix, _)| !own(*ix)).map(|(_, one)| circuit(network, one));
    let clouds = network.private_clouds.iter();
    circuits.chain(clouds.flat_map(|one| std::iter::once(cloud(network, one)).chain(firewall(one)))).collect()
}

/// The rules of a private cloud's distributed firewall. Each says what comes before it, since their order counts.
fn firewall(cloud: &PrivateCloud) -> impl Iterator<Item = Object> {
    let mut before = None;
    cloud.firewall.rules().map(move |(policy, rule)| {
        let name = format!("{}/{}/{}", cloud.name, policy.name, rule.name);
        let after = before.replace(format!("{}/{}", policy.name, rule.name));
        let properties = vec![("rule", firewall_rule(cloud, policy, rule)), ("after", or_none(after))];
        Object { kind: "distributedFirewall", name, properties }
    })
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
        let name = segment.machine.as_ref().map_or_else(String::new, |machine| format!("/{machine}"));
        format!("{}{name} {} {} at {router}{program}", segment.name, segment.prefix, list(&segment.addresses))
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

/// In the words of the file; `ANY` and `IN_OUT` are left out.
fn firewall_rule(cloud: &PrivateCloud, policy: &FirewallPolicy, rule: &FirewallRule) -> String {
    let ports = |ranges: &[PortRange]| {
        let all: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
        all.join(",")
    };
    let service = |one: &FirewallService| {
        format!("{:?} {} to {}", one.protocol, ports(&one.source_ports), ports(&one.destination_ports))
    };
    let services = rule.services.iter().flatten().map(service).collect::<Vec<_>>();
    let machines = rule.scope.iter().flatten().map(|at| cloud.segments[*at].node.clone()).collect::<Vec<_>>();
    let mut words = vec![format!("{:?} {}", policy.category, policy.sequence_number), format!("{:?}", rule.action)];
    words.extend(rule.direction.map(|direction| format!("{direction:?}")));
    words.extend(rule.sources.as_ref().map(|ranges| format!("from {}", list(ranges))));
    words.extend(rule.destinations.as_ref().map(|ranges| format!("to {}", list(ranges))));
    words.extend((!services.is_empty()).then(|| format!("services {}", list(&services))));
    words.extend((!machines.is_empty()).then(|| format!("scope {}", list(&machines))));
    words.join(" ")
}

//! The same with gateways: a hub with tunnels and circuits to sites, to another virtual network and to a private cloud,
//! and one mistake in what joins them.

use serde_json::{Value, json};

use super::applied::File;
use super::planted::{Mistake, Random, assert_mended, machine, vnet};

/// Few: BGP has to converge in each of them, again and again.
const NETWORKS: u64 = 5;

#[test]
fn a_fix_mends_a_planted_mistake_of_a_tunnel_or_session() {
    assert_mended(NETWORKS, network, TUNNELS);
}

#[test]
fn a_fix_mends_a_planted_mistake_of_a_circuit() {
    assert_mended(NETWORKS, network, CIRCUITS);
}

/// One mistake each. A network without the object has no room for it.
const TUNNELS: &[(&str, Mistake)] = &[
    ("a local network gateway has another AS number", |file, _| {
        set(&mut local(file)?["bgpSettings"], "asn", json!(65_099))
    }),
    ("a local network gateway has another peering address", |file, _| {
        set(&mut local(file)?["bgpSettings"], "bgpPeeringAddress", json!("192.168.50.9"))
    }),
    ("a local network gateway has another public address", |file, _| {
        local(file)?["gatewayIpAddress"] = json!("198.51.100.99");
        Some(())
    }),
    ("a site has no BGP settings", |file, _| remove(site(file, "dc")?, "bgpSettings")),
    ("a site advertises something else", |file, random| {
        let name = if random.chance(50) { "dc" } else { "plant" };
        site(file, name)?["advertises"] = json!(["192.168.77.0/24"]);
        Some(())
    }),
    ("a connection has no BGP", |file, _| remove(connection(file, "hub-dc")?, "enableBgp")),
    ("a gateway has the AS number of a site", |file, _| {
        site(file, "dc")?["bgpSettings"].as_object()?;
        file["virtualNetworkGateways"][0]["bgpSettings"] = json!({"asn": 65_010});
        Some(())
    }),
    ("two gateways have one AS number", |file, _| {
        let asn = file["virtualNetworkGateways"][0]["bgpSettings"]["asn"].clone();
        let other = gateway(file, "other-gw")?;
        let asn = if asn.is_null() { json!(65_515) } else { asn };
        set(&mut other["bgpSettings"], "asn", asn)
    }),
    ("a tunnel's keys differ", |file, _| {
        site(file, "dc")?["sharedKey"] = json!("other");
        Some(())
    }),
];

/// The same for circuits.
const CIRCUITS: &[(&str, Mistake)] = &[
    ("a circuit is not provisioned", |file, _| {
        file["expressRouteCircuits"][0]["serviceProviderProvisioningState"] = json!("NotProvisioned");
        Some(())
    }),
    ("a circuit's peering is Disabled", |file, _| {
        let peerings = file["expressRouteCircuits"][0]["peerings"].as_array_mut()?;
        set(peerings.last_mut()?, "state", json!("Disabled"))
    }),
    ("a circuit's peering has another AS number", |file, _| {
        site(file, "plant")?["bgpSettings"].as_object()?;
        let peerings = file["expressRouteCircuits"][0]["peerings"].as_array_mut()?;
        set(peerings.last_mut()?, "peerASN", json!(65_099))
    }),
    ("no connection leads to a circuit", |file, random| {
        let name = if random.chance(50) { "hub-plant" } else { "hub-sddc" };
        connection(file, name)?;
        file["connections"].as_array_mut()?.retain(|one| one["name"] != name);
        Some(())
    }),
    ("a connection has a key that its circuit has not", |file, _| {
        set(connection(file, "hub-sddc")?, "authorizationKey", json!("other"))
    }),
    ("no Global Reach joins two circuits", |file, _| {
        remove(file["privateClouds"].get_mut(0)?, "globalReachConnections")
    }),
    ("Global Reach has a key that its circuit has not", |file, _| {
        set(&mut file["privateClouds"].get_mut(0)?["globalReachConnections"][0], "authorizationKey", json!("other"))
    }),
];

fn named<'a>(file: &'a mut Value, list: &str, name: &str) -> Option<&'a mut Value> {
    file.get_mut(list)?.as_array_mut()?.iter_mut().find(|one| one["name"] == name)
}

fn site<'a>(file: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    named(file, "sites", name)
}

fn gateway<'a>(file: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    named(file, "virtualNetworkGateways", name)
}

fn connection<'a>(file: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    named(file, "connections", name)
}

fn local(file: &mut Value) -> Option<&mut Value> {
    named(file, "localNetworkGateways", "dc-lng")
}

/// Changes what is there; None where the object is missing.
fn set(object: &mut Value, key: &str, value: Value) -> Option<()> {
    object.as_object_mut()?.insert(key.to_owned(), value);
    Some(())
}

fn remove(object: &mut Value, key: &str) -> Option<()> {
    object.as_object_mut()?.remove(key).map(|_| ())
}

/// A hub with spokes; a VPN gateway with a site that speaks BGP and with another virtual network's gateway; an
/// ExpressRoute gateway with a circuit to another site, and one to a private cloud, which reaches that site.
fn network(random: &mut Random) -> File {
    let spokes = 1 + random.below(2).unwrap();
    let (own_number, speaks) = (random.chance(50), random.chance(80));
    let (vnets, machines) = networks(spokes);
    let gateways = gateways(own_number);
    let publics = gateways.iter().map(|gateway| json!({"name": gateway["publicIPAddress"], "sku": "Standard"}));
    let speaker = json!({"asn": 65_010, "bgpPeeringAddress": "192.168.50.1"});
    let mut plant = json!({
        "name": "plant", "expressRouteCircuits": ["er-plant"], "addressSpace": ["192.168.90.0/24"],
        "addresses": ["192.168.90.10"],
    });
    if speaks {
        plant["bgpSettings"] = json!({"asn": 65_011, "bgpPeeringAddress": "192.168.90.1"});
    }
    let dc = json!({
        "name": "dc", "gatewayIpAddress": "198.51.100.50", "addressSpace": ["192.168.50.0/24"],
        "addresses": ["192.168.50.10"], "sharedKey": "a-secret", "bgpSettings": speaker,
    });
    File(json!({
        "virtualNetworks": vnets,
        "publicIPAddresses": publics.collect::<Vec<_>>(),
        "virtualNetworkGateways": gateways,
        "localNetworkGateways": [{"name": "dc-lng", "gatewayIpAddress": "198.51.100.50", "bgpSettings": speaker}],
        "expressRouteCircuits": [circuit()],
        "connections": connections(),
        "sites": [dc, plant],
        "privateClouds": [cloud()],
        "virtualMachines": machines,
    }))
}

/// The virtual networks and a machine in each.
fn networks(spokes: usize) -> (Vec<Value>, Vec<Value>) {
    let link = |own: &str, remote: &str, flag: &str| {
        let name = format!("{own}-{remote}");
        json!({"name": name, "remoteVirtualNetwork": remote, flag: true})
    };
    let subnets = |number: usize| {
        let subnet = |name, end| json!({"name": name, "addressPrefix": format!("10.{number}.{end}")});
        [subnet("app", "1.0/24"), subnet("GatewaySubnet", "255.0/27")]
    };
    let links: Vec<_> = (1..=spokes).map(|spoke| link("hub", &format!("s{spoke}"), "allowGatewayTransit")).collect();
    let mut vnets =
        vec![vnet("hub", "10.1.0.0/16", &subnets(1), &links), vnet("other", "10.2.0.0/16", &subnets(2), &[])];
    let mut machines = vec![machine("vm", "hub/app", None), machine("vm-other", "other/app", None)];
    for spoke in 1..=spokes {
        let (name, number) = (format!("s{spoke}"), 10 + spoke);
        let back = link(&name, "hub", "useRemoteGateways");
        vnets.push(vnet(&name, &format!("10.{number}.0.0/16"), &subnets(number)[..1], &[back]));
        machines.push(machine(&format!("vm{spoke}"), &format!("{name}/app"), None));
    }
    (vnets, machines)
}

fn gateways(own_number: bool) -> Vec<Value> {
    let vpn = |name: &str, vnet: &str| json!({"name": name, "virtualNetwork": vnet, "publicIPAddress": name, "sku": "VpnGw1", "enableBgp": true});
    let (mut hub, mut other) = (vpn("hub-gw", "hub"), vpn("other-gw", "other"));
    if own_number {
        hub["bgpSettings"] = json!({"asn": 65_020});
    }
    other["bgpSettings"] = json!({"asn": 65_030});
    let circuits = json!({
        "name": "hub-er", "gatewayType": "ExpressRoute", "virtualNetwork": "hub", "publicIPAddress": "hub-er",
        "sku": "ErGw1AZ",
    });
    vec![hub, circuits, other]
}

fn connections() -> Vec<Value> {
    let connection = |name: &str, kind: &str, (near, end, far): (&str, &str, &str)| json!({"name": name, "connectionType": kind, "virtualNetworkGateway1": near, end: far});
    let mut tunnels = vec![
        connection("hub-dc", "IPsec", ("hub-gw", "localNetworkGateway2", "dc-lng")),
        connection("hub-other", "Vnet2Vnet", ("hub-gw", "virtualNetworkGateway2", "other-gw")),
        connection("other-hub", "Vnet2Vnet", ("other-gw", "virtualNetworkGateway2", "hub-gw")),
    ];
    for tunnel in &mut tunnels {
        tunnel["sharedKey"] = json!("a-secret");
        tunnel["enableBgp"] = json!(true);
    }
    let mut to_cloud = connection("hub-sddc", "ExpressRoute", ("hub-er", "peer", "sddc-circuit"));
    to_cloud["authorizationKey"] = json!("of-the-hub");
    let to_plant = connection("hub-plant", "ExpressRoute", ("hub-er", "peer", "er-plant"));
    tunnels.into_iter().chain([to_plant, to_cloud]).collect()
}

/// Its private peering is not its first one.
fn circuit() -> Value {
    let peering = |kind: &str, number: u8| {
        json!({
            "name": kind, "peeringType": kind, "peerASN": 65_011, "vlanId": 100 + number,
            "primaryPeerAddressPrefix": format!("172.30.{number}.0/30"),
            "secondaryPeerAddressPrefix": format!("172.30.{number}.4/30"),
        })
    };
    json!({
        "name": "er-plant", "sku": {"tier": "Premium", "family": "MeteredData"},
        "authorizations": [{"name": "for-sddc", "authorizationKey": "of-the-cloud"}],
        "peerings": [peering("MicrosoftPeering", 1), peering("AzurePrivatePeering", 0)],
    })
}

fn cloud() -> Value {
    json!({
        "name": "sddc", "networkBlock": "10.175.0.0/22",
        "segments": [{"name": "web", "addressPrefix": "10.176.1.0/24", "addresses": ["10.176.1.10"]}],
        "authorizations": [{"name": "for-hub", "authorizationKey": "of-the-hub"}],
        "globalReachConnections": [
            {"name": "to-plant", "peerExpressRouteCircuit": "er-plant", "authorizationKey": "of-the-cloud"},
        ],
    })
}

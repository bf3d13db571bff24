//! What of each type is otherwise in a template than in a file.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::others::{CLOUD, REACH, ROUTE_SERVER};
use super::{Exporter, id, is_nothing, last, names, text};

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Give {
    /// It is the same.
    Same,
    /// Ranges, which ARM has as `{addressPrefixes: […]}`.
    Space,
    /// A SKU's name, which ARM has as `{name: …}`.
    Name,
    /// What it names, by the type of that.
    Ref(&'static str),
    Refs(&'static str),
    /// What it names in the same resource.
    Part(&'static str),
    Parts(&'static str),
    /// Objects with names, in the parent.
    Items(&'static Table),
    /// The same as resources of their own.
    Apart(&'static Table),
    /// Beside the properties.
    Beside,
    /// Azure has nothing like it.
    Lab,
    /// Something that no template reaches has it.
    Elsewhere(&'static str),
    /// Azure makes it.
    Made,
    /// A circuit, or that of a private cloud.
    Circuit,
}

/// The keys of a type that are otherwise.
pub(super) struct Table {
    pub keys: &'static [(&'static str, Give)],
    /// Adds what Azure asks for and a file takes for granted.
    pub complete: fn(&mut Exporter<'_>, &Value) -> Value,
}

impl Table {
    pub(super) const fn of(keys: &'static [(&'static str, Give)]) -> Self {
        Self { keys, complete: same }
    }

    pub(super) fn give(&self, key: &str) -> Give {
        let found = self.keys.iter().find(|(known, _)| *known == key);
        found.map_or(if key == "location" || key == "id" { Give::Beside } else { Give::Same }, |(_, give)| *give)
    }
}

const SUBNETS: &str = "Microsoft.Network/virtualNetworks/subnets";
const VNETS: &str = "Microsoft.Network/virtualNetworks";
const NSGS: &str = "Microsoft.Network/networkSecurityGroups";
const ASGS: &str = "Microsoft.Network/applicationSecurityGroups";
const TABLES: &str = "Microsoft.Network/routeTables";
const PUBLIC: &str = "Microsoft.Network/publicIPAddresses";
const PREFIXES: &str = "Microsoft.Network/publicIPPrefixes";
const NATS: &str = "Microsoft.Network/natGateways";
const GATEWAYS: &str = "Microsoft.Network/virtualNetworkGateways";
const LOCALS: &str = "Microsoft.Network/localNetworkGateways";
const CIRCUITS: &str = "Microsoft.Network/expressRouteCircuits";
const CONFIGURATIONS: &str = "Microsoft.Network/virtualNetworkGateways/ipConfigurations";
const NAT_RULES: &str = "Microsoft.Network/virtualNetworkGateways/natRules";
const FRONTENDS: &str = "Microsoft.Network/loadBalancers/frontendIPConfigurations";
const POOLS: &str = "Microsoft.Network/loadBalancers/backendAddressPools";
const PROBES: &str = "Microsoft.Network/loadBalancers/probes";
const LB_NAT: &str = "Microsoft.Network/loadBalancers/inboundNatRules";

/// The lists of a file, in the order in which Azure would make them, and their types.
pub(super) const LISTS: [(&str, &str, &Table); 15] = [
    ("applicationSecurityGroups", ASGS, &PLAIN),
    ("networkSecurityGroups", NSGS, &NSG),
    ("routeTables", TABLES, &ROUTE_TABLE),
    ("publicIPPrefixes", PREFIXES, &PUBLIC_PREFIX),
    ("publicIPAddresses", PUBLIC, &PUBLIC_ADDRESS),
    ("natGateways", NATS, &NAT),
    ("virtualNetworks", VNETS, &VNET),
    ("privateEndpoints", "Microsoft.Network/privateEndpoints", &ENDPOINT),
    ("loadBalancers", "Microsoft.Network/loadBalancers", &BALANCER),
    ("expressRouteCircuits", CIRCUITS, &CIRCUIT),
    ("routeServers", "Microsoft.Network/virtualHubs", &ROUTE_SERVER),
    ("privateClouds", "Microsoft.AVS/privateClouds", &CLOUD),
    ("virtualNetworkGateways", GATEWAYS, &GATEWAY),
    ("localNetworkGateways", LOCALS, &LOCAL),
    ("connections", "Microsoft.Network/connections", &CONNECTION),
];

pub(super) static PLAIN: Table = Table::of(&[]);
static NSG: Table =
    Table { keys: &[("securityRules", Give::Items(&RULE)), ("flushConnection", Give::Same)], complete: same };
static RULE: Table = Table {
    keys: &[
        ("sourceApplicationSecurityGroups", Give::Refs(ASGS)),
        ("destinationApplicationSecurityGroups", Give::Refs(ASGS)),
    ],
    complete: ports,
};
static ROUTE_TABLE: Table = Table { keys: &[("routes", Give::Items(&PLAIN))], complete: same };
static VNET: Table = Table {
    keys: &[
        ("addressSpace", Give::Space),
        ("summarizedGatewayPrefixes", Give::Space),
        ("subnets", Give::Items(&SUBNET)),
        ("virtualNetworkPeerings", Give::Apart(&PEERING)),
        ("subscription", Give::Lab),
        ("tenant", Give::Lab),
        ("deploymentModel", Give::Lab),
        ("attach", Give::Lab),
    ],
    complete: same,
};
static SUBNET: Table = Table {
    keys: &[
        ("networkSecurityGroup", Give::Ref(NSGS)),
        ("routeTable", Give::Ref(TABLES)),
        ("natGateway", Give::Ref(NATS)),
    ],
    complete: same,
};
static PEERING: Table =
    Table { keys: &[("remoteVirtualNetwork", Give::Ref(VNETS)), ("remoteAddressSpace", Give::Space)], complete: link };
static PUBLIC_ADDRESS: Table = Table { keys: &[("sku", Give::Beside)], complete: standard_static };
static PUBLIC_PREFIX: Table = Table { keys: &[("sku", Give::Beside)], complete: prefix };
static NAT: Table = Table {
    keys: &[
        ("sku", Give::Beside),
        ("publicIpAddresses", Give::Refs(PUBLIC)),
        ("publicIpPrefixes", Give::Refs(PREFIXES)),
    ],
    complete: standard,
};
static ENDPOINT: Table = Table { keys: &[("subnet", Give::Ref(SUBNETS))], complete: endpoint };
static BALANCER: Table = Table {
    keys: &[
        ("sku", Give::Beside),
        ("frontendIPConfigurations", Give::Items(&FRONTEND)),
        ("backendAddressPools", Give::Items(&POOL)),
        ("probes", Give::Items(&PLAIN)),
        ("loadBalancingRules", Give::Items(&LB_RULE)),
        ("inboundNatRules", Give::Items(&LB_RULE)),
        ("outboundRules", Give::Items(&LB_RULE)),
    ],
    complete: standard,
};
static FRONTEND: Table =
    Table { keys: &[("subnet", Give::Ref(SUBNETS)), ("publicIPAddress", Give::Ref(PUBLIC))], complete: allocation };
static POOL: Table = Table { keys: &[], complete: same };
static LB_RULE: Table = Table {
    keys: &[
        ("frontendIPConfiguration", Give::Part(FRONTENDS)),
        ("frontendIPConfigurations", Give::Parts(FRONTENDS)),
        ("backendAddressPool", Give::Part(POOLS)),
        ("probe", Give::Part(PROBES)),
    ],
    complete: same,
};
static CIRCUIT: Table =
    Table { keys: &[("sku", Give::Beside), ("peerings", Give::Items(&CIRCUIT_PEERING))], complete: circuit };
static CIRCUIT_PEERING: Table = Table::of(&[("connections", Give::Items(&REACH))]);
static GATEWAY: Table = Table {
    keys: &[
        ("sku", Give::Name),
        ("ipConfigurations", Give::Items(&GATEWAY_CONFIGURATION)),
        ("gatewayDefaultSite", Give::Ref(LOCALS)),
        ("customRoutes", Give::Space),
        ("natRules", Give::Items(&PLAIN)),
    ],
    complete: gateway,
};
static GATEWAY_CONFIGURATION: Table =
    Table { keys: &[("subnet", Give::Ref(SUBNETS)), ("publicIPAddress", Give::Ref(PUBLIC))], complete: same };
static LOCAL: Table = Table { keys: &[("localNetworkAddressSpace", Give::Space)], complete: same };
static CONNECTION: Table = Table {
    keys: &[
        ("virtualNetworkGateway1", Give::Ref(GATEWAYS)),
        ("virtualNetworkGateway2", Give::Ref(GATEWAYS)),
        ("localNetworkGateway2", Give::Ref(LOCALS)),
        ("peer", Give::Circuit),
        ("ingressNatRules", Give::Refs(NAT_RULES)),
        ("egressNatRules", Give::Refs(NAT_RULES)),
    ],
    complete: nat_rules,
};
/// Of a machine's interface; `machine` takes the rest of it apart.
pub(super) static CONFIGURATION: Table = Table {
    keys: &[
        ("subnet", Give::Ref(SUBNETS)),
        ("publicIPAddress", Give::Ref(PUBLIC)),
        ("applicationSecurityGroups", Give::Refs(ASGS)),
        ("loadBalancerBackendAddressPools", Give::Refs(POOLS)),
        ("loadBalancerInboundNatRules", Give::Refs(LB_NAT)),
    ],
    complete: allocation,
};
pub(super) static INTERFACE: Table = Table {
    keys: &[
        ("ipConfigurations", Give::Items(&CONFIGURATION)),
        ("networkSecurityGroup", Give::Ref(NSGS)),
        ("attach", Give::Lab),
        ("tags", Give::Beside),
    ],
    complete: same,
};

/// A link that Azure makes anew is in sync with its peer (PEER-16).
fn link(exporter: &mut Exporter<'_>, item: &Value) -> Value {
    let remote = last(&item["remoteVirtualNetwork"]);
    let peers = exporter.items("virtualNetworks");
    let space =
        peers.iter().find(|vnet| text(&vnet["name"]).eq_ignore_ascii_case(&remote)).map(|vnet| &vnet["addressSpace"]);
    let view = &item["remoteAddressSpace"];
    if !is_nothing(view) && space.is_some_and(|space| ranges(space) != ranges(view)) {
        let message = "a new link has the present address space of its peer: one that is out of sync in the file is in sync in Azure";
        exporter.omit("virtualNetworkPeerings", message);
    }
    item.clone()
}

/// The ranges of an address space, in whatever order.
fn ranges(space: &Value) -> BTreeSet<String> {
    space.as_array().into_iter().flatten().map(text).collect()
}

pub(super) fn same(_: &mut Exporter<'_>, item: &Value) -> Value {
    item.clone()
}

fn with(item: &Value, key: &str, value: Value) -> Value {
    let mut item = item.clone();
    if item[key].is_null() {
        item[key] = value;
    }
    item
}

/// A SKU in ARM's form, Standard if there is none.
fn standard(_: &mut Exporter<'_>, item: &Value) -> Value {
    let name = item["sku"].as_str().or_else(|| item["sku"]["name"].as_str()).unwrap_or("Standard");
    let mut item = item.clone();
    item["sku"] = json!({ "name": name });
    item
}

fn standard_static(exporter: &mut Exporter<'_>, item: &Value) -> Value {
    with(&standard(exporter, item), "publicIPAllocationMethod", json!("Static"))
}

fn prefix(exporter: &mut Exporter<'_>, item: &Value) -> Value {
    let length = item["ipPrefix"].as_str().and_then(|range| range.rsplit_once('/')?.1.parse::<u8>().ok());
    with(&standard(exporter, item), "prefixLength", length.map_or(Value::Null, Value::from))
}

/// Ports are texts in a rule.
fn ports(_: &mut Exporter<'_>, item: &Value) -> Value {
    let written = |value: &Value| if value.is_number() { Value::String(value.to_string()) } else { value.clone() };
    let mut item = item.clone();
    for key in ["sourcePortRange", "destinationPortRange", "sourcePortRanges", "destinationPortRanges"] {
        let Some(value) = item.get_mut(key) else { continue };
        *value = value.as_array().map_or_else(|| written(value), |all| all.iter().map(written).collect());
    }
    item
}

/// An address is static where the file says it.
fn allocation(_: &mut Exporter<'_>, item: &Value) -> Value {
    let is_public = item["subnet"].is_null();
    let method = if item["privateIPAddress"].is_null() { "Dynamic" } else { "Static" };
    if is_public { item.clone() } else { with(item, "privateIPAllocationMethod", json!(method)) }
}

fn endpoint(_: &mut Exporter<'_>, item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(address) = item["privateIPAddress"].as_str().map(str::to_owned)
        && let Some(object) = item.as_object_mut()
    {
        object.remove("privateIPAddress");
        let configuration = json!({ "name": "default", "properties": { "privateIPAddress": address } });
        object.insert("ipConfigurations".to_owned(), json!([configuration]));
    }
    item
}

fn circuit(_: &mut Exporter<'_>, item: &Value) -> Value {
    let tier = item["sku"].as_str().or_else(|| item["sku"]["tier"].as_str()).unwrap_or("Standard").to_owned();
    let mut item = item.clone();
    item["sku"] = json!({ "name": format!("{tier}_MeteredData"), "tier": tier, "family": "MeteredData" });
    let peerings = item["peerings"].as_array_mut().into_iter().flatten();
    for peering in peerings {
        let peering: &mut Value = peering;
        *peering =
            with(&with(peering, "name", json!("AzurePrivatePeering")), "peeringType", json!("AzurePrivatePeering"));
    }
    item
}

/// Rules are named without their gateway.
fn nat_rules(_: &mut Exporter<'_>, item: &Value) -> Value {
    let gateway = last(&item["virtualNetworkGateway1"]);
    let mut item = item.clone();
    for key in ["ingressNatRules", "egressNatRules"] {
        for rule in item.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            *rule = json!(format!("{gateway}/{}", last(rule)));
        }
    }
    item
}

/// The IP configuration that the short form stands for.
fn gateway(_: &mut Exporter<'_>, item: &Value) -> Value {
    let mut item = with(item, "gatewayType", json!("Vpn"));
    let is_vpn = text(&item["gatewayType"]).eq_ignore_ascii_case("Vpn");
    item = with(&item, "sku", json!(if is_vpn { "VpnGw1" } else { "ErGw1AZ" }));
    if is_vpn {
        item = with(&item, "vpnType", json!("RouteBased"));
    }
    if let Some(pool) = item.pointer_mut("/vpnClientConfiguration/vpnClientAddressPool").filter(|pool| pool.is_array())
    {
        *pool = json!({ "addressPrefixes": *pool });
    }
    let name = item["name"].as_str().unwrap_or_default().to_owned();
    let instances = item.pointer_mut("/bgpSettings/bgpPeeringAddresses").and_then(Value::as_array_mut);
    for instance in instances.into_iter().flatten().filter(|one| !one["ipconfigurationId"].is_null()) {
        instance["ipconfigurationId"] = json!(id(CONFIGURATIONS, &[&name, &last(&instance["ipconfigurationId"])]));
    }
    in_subnet(item, "default", "GatewaySubnet")
}

/// ARM has the place of a gateway or route server as an IP configuration, in the subnet that is theirs.
pub(super) fn in_subnet(mut item: Value, name: &str, subnet: &str) -> Value {
    let Some(vnet) = item.get("virtualNetwork").map(|vnet| names(VNETS, vnet).join("/")) else { return item };
    let mut configuration = json!({ "name": name, "subnet": format!("{vnet}/{subnet}") });
    configuration["publicIPAddress"] = item["publicIPAddress"].clone();
    if let Some(object) = item.as_object_mut() {
        object.remove("virtualNetwork");
        object.remove("publicIPAddress");
        object.insert("ipConfigurations".to_owned(), json!([configuration]));
    }
    item
}

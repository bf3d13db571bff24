//! Virtual network gateways and connections.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, Source, Store, ancestor};
use crate::arm::{Node, ResourceId};

use super::site::made_up_key;
use super::table::{Table, Use, deep, id_of, is, items, property, reference, scalar, text, words};
use super::text::{Map, Out};
use super::virtual_network::{SPACE, vnet_of};
use super::{Converter, entry, part, private_cloud, virtual_hub};

pub(super) const KIND: &str = "Microsoft.Network/virtualNetworkGateways";

static GATEWAY: Table = Table {
    what: "a virtual network gateway",
    rows: &[
        ("gatewayType", Use::Unless("Vpn")),
        ("vpnType", Use::Harmless(&["RouteBased"])),
        ("sku", Use::Read(&SKU)),
        ("ipConfigurations", Use::Read(&CONFIGURATION)),
        ("activeActive", Use::Flag(false)),
        ("active", Use::Flag(false)),
        ("enableBgp", Use::Flag(false)),
        ("bgpSettings", Use::Read(&BGP)),
        ("gatewayDefaultSite", Use::Ref),
        ("allowRemoteVnetTraffic", Use::Flag(false)),
        ("customRoutes", Use::Read(&SPACE)),
        ("natRules", Use::Each(&NAT_RULE)),
        ("enableBgpRouteTranslationForNat", Use::Flag(false)),
        ("vpnGatewayGeneration", Use::Cosmetic),
        ("inboundDnsForwardingEndpoint", Use::Cosmetic),
        ("vNetExtendedLocationResourceId", Use::Cosmetic),
        ("resiliencyModel", Use::Cosmetic),
        ("allowVirtualWanTraffic", Use::Cosmetic),
        ("disableIPSecReplayProtection", Use::Cosmetic),
        ("autoScaleConfiguration", Use::Cosmetic),
        ("enableDnsForwarding", Use::Cosmetic),
        ("adminState", Use::Cosmetic),
        ("enableHighBandwidthVpnGateway", Use::Cosmetic),
        ("enablePrivateIpAddress", Use::Harmless(&["false"])),
        ("vpnClientConfiguration", Use::Inside(&CLIENTS)),
        ("virtualNetworkGatewayPolicyGroups", Use::Gap),
    ],
};

static SKU: Table = Table { what: "a gateway's size", rows: &[("tier", Use::Cosmetic), ("capacity", Use::Cosmetic)] };

pub(super) static CONFIGURATION: Table = Table {
    what: "a gateway's IP configuration",
    rows: &[
        ("subnet", Use::Taken),
        ("publicIPAddress", Use::Taken),
        ("privateIPAddress", Use::Cosmetic),
        ("privateIPAllocationMethod", Use::Cosmetic),
    ],
};

pub(super) static BGP: Table = Table {
    what: "BGP settings",
    rows: &[
        ("asn", Use::Taken),
        ("bgpPeeringAddress", Use::Taken),
        ("bgpPeeringAddresses", Use::Read(&PEERING_ADDRESS)),
        ("peerWeight", Use::Cosmetic),
    ],
};

static PEERING_ADDRESS: Table = Table {
    what: "a BGP peering address",
    rows: &[
        ("ipconfigurationId", Use::Taken),
        ("defaultBgpIpAddresses", Use::Taken),
        ("tunnelIpAddresses", Use::Cosmetic),
        ("customBgpIpAddresses", Use::Taken),
    ],
};

static CLIENTS: Table = Table {
    what: "a VPN client configuration",
    rows: &[
        ("vpnClientAddressPool", Use::Inside(&CLIENT_POOL)),
        ("vpnClientProtocols", Use::Words),
        ("vpnAuthenticationTypes", Use::Cosmetic),
        ("vpnClientRootCertificates", Use::Cosmetic),
        ("vpnClientRevokedCertificates", Use::Cosmetic),
        ("vpnClientIpsecPolicies", Use::Cosmetic),
        ("vngClientConnectionConfigurations", Use::Gap),
        ("radiusServerAddress", Use::Cosmetic),
        ("radiusServerSecret", Use::Cosmetic),
        ("radiusServers", Use::Cosmetic),
        ("aadTenant", Use::Cosmetic),
        ("aadAudience", Use::Cosmetic),
        ("aadIssuer", Use::Cosmetic),
    ],
};

static CLIENT_POOL: Table = Table {
    what: "a client address pool",
    rows: &[("addressPrefixes", Use::Words), ("ipamPoolPrefixAllocations", Use::Gap)],
};

static NAT_RULE: Table = Table {
    what: "a NAT rule",
    rows: &[
        ("type", Use::Copy),
        ("mode", Use::Copy),
        ("internalMappings", Use::Taken),
        ("externalMappings", Use::Taken),
        ("ipConfigurationId", Use::Taken),
        ("ingressVpnSiteLinkConnections", Use::Cosmetic),
        ("egressVpnSiteLinkConnections", Use::Cosmetic),
    ],
};

static CONNECTION: Table = Table {
    what: "a connection",
    rows: &[
        ("connectionType", Use::Word(&["IPsec", "Vnet2Vnet", "ExpressRoute"])),
        ("virtualNetworkGateway1", Use::Ref),
        ("virtualNetworkGateway2", Use::Taken),
        ("localNetworkGateway2", Use::Taken),
        ("peer", Use::Taken),
        ("sharedKey", Use::Taken),
        ("enableBgp", Use::Flag(false)),
        ("connectionMode", Use::Unless("Default")),
        ("usePolicyBasedTrafficSelectors", Use::Flag(false)),
        ("routingWeight", Use::Unless("0")),
        ("authorizationKey", Use::Copy),
        ("expressRouteGatewayBypass", Use::Flag(false)),
        ("ingressNatRules", Use::Taken),
        ("egressNatRules", Use::Taken),
        ("ipsecPolicies", Use::Cosmetic),
        ("connectionProtocol", Use::Cosmetic),
        ("connectionStatus", Use::Cosmetic),
        ("tunnelConnectionStatus", Use::Cosmetic),
        ("ingressBytesTransferred", Use::Cosmetic),
        ("egressBytesTransferred", Use::Cosmetic),
        ("dpdTimeoutSeconds", Use::Cosmetic),
        ("authenticationType", Use::Cosmetic),
        ("tunnelProperties", Use::Cosmetic),
        ("enablePrivateLinkFastPath", Use::Cosmetic),
        ("useLocalAzureIpAddress", Use::Harmless(&["false"])),
        ("trafficSelectorPolicies", Use::Gap),
        ("gatewayCustomBgpIpAddresses", Use::Gap),
    ],
};

/// Sizes that a file knows.
const SIZES: [&str; 17] = [
    "Basic",
    "Standard",
    "HighPerformance",
    "VpnGw1",
    "VpnGw1AZ",
    "VpnGw2",
    "VpnGw2AZ",
    "VpnGw3",
    "VpnGw3AZ",
    "VpnGw4",
    "VpnGw4AZ",
    "VpnGw5",
    "VpnGw5AZ",
    "UltraPerformance",
    "ErGw1AZ",
    "ErGw2AZ",
    "ErGw3AZ",
];

/// The virtual networks that gateways and route servers are in.
pub(super) fn homes(store: &Store) -> HashSet<ResourceId, RandomState> {
    let all = [KIND, virtual_hub::KIND].into_iter().flat_map(|kind| store.of_kind(kind));
    let configurations = all.flat_map(|entry| items(&entry.resource.body, "ipConfigurations"));
    configurations.filter_map(vnet_of).map(ResourceId::new).collect()
}

pub(super) fn gateway(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    if is(body, "gatewayType", "LocalGateway") {
        return None;
    }
    let written = items(body, "ipConfigurations");
    map.extend(home(converter, written)?);
    map.extend(converter.object(body, &GATEWAY));
    // Without a pool no client can connect.
    let pool = deep(body, &["vpnClientConfiguration", "vpnClientAddressPool", "addressPrefixes"]);
    if pool.is_none_or(|pool| pool.items().is_empty()) {
        map.retain(|(key, _)| key != "vpnClientConfiguration");
    }
    // The older spelling of `activeActive`.
    map.iter_mut().filter(|(key, _)| key == "active").for_each(|(key, _)| "activeActive".clone_into(key));
    if let Some(size) = deep(body, &["sku", "name"]) {
        map.extend(self::size(converter, size).map(|size| entry("sku", size)));
    }
    if let Some(settings) = property(body, "bgpSettings") {
        let settings = bgp_settings(settings);
        if !settings.is_empty() && (is(body, "enableBgp", "true") || one.source == Source::Template) {
            map.push(entry("bgpSettings", Out::map(settings)));
        }
    }
    if let Some(routes) = deep(body, &["customRoutes", "addressPrefixes"]).filter(|routes| !routes.items().is_empty()) {
        map.push(entry("customRoutes", Out::list(words(routes))));
    }
    nat_mappings(body, &mut map);
    Some(Out::map(map).at(&one.resource.at))
}

/// Where a gateway is: its virtual network and public address, or each instance's.
pub(super) fn home(converter: &mut Converter<'_>, written: &[Node]) -> Option<Map> {
    let first = written.first()?;
    if let [one] = written {
        let subnet = property(one, "subnet")?;
        let id = id_of(subnet).and_then(|id| ancestor(id, 1))?;
        let Some(vnet) = converter.reference(id) else {
            let message = format!("`{id}` is not among the resources: the gateway in it is left out");
            converter.note(&subnet.at, NoteKind::NotEmulated, message);
            return None;
        };
        let mut map = vec![entry("virtualNetwork", Out::scalar(vnet).at(&subnet.at))];
        let public = property(one, "publicIPAddress").and_then(|public| converter.named(public));
        map.extend(public.map(|public| entry("publicIPAddress", public)));
        return Some(map);
    }
    let mut list = Vec::new();
    for node in written {
        let mut item = vec![entry("name", converter.child_name(node))];
        item.push(entry("subnet", converter.named(property(node, "subnet")?)?));
        let public = property(node, "publicIPAddress").and_then(|public| converter.named(public));
        item.extend(public.map(|public| entry("publicIPAddress", public)));
        list.push(Out::map(item).at(&node.at));
    }
    Some(vec![entry("ipConfigurations", Out::list(list).at(&first.at))])
}

fn size(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let written = scalar(node)?;
    if SIZES.iter().any(|known| known.eq_ignore_ascii_case(&written)) {
        return Some(Out::scalar(written).at(&node.at));
    }
    let message = format!("the gateway size `{written}` is not known here: the default is used");
    converter.note(&node.at, NoteKind::MadeUp, message);
    None
}

/// AS number and addresses. Those of each instance stand where they say more than `bgpPeeringAddress` does.
pub(super) fn bgp_settings(node: &Node) -> Map {
    let mut map = Map::new();
    for key in ["asn", "bgpPeeringAddress"] {
        if let Some(value) = property(node, key)
            && let Some(written) = scalar(value)
        {
            map.push(entry(key, Out::scalar(written).at(&value.at)));
        }
    }
    let instances: Vec<_> = items(node, "bgpPeeringAddresses").iter().map(instance_bgp).collect();
    let says = |key: &str| instances.iter().filter(|one| one.iter().any(|(known, _)| known == key)).count();
    let (default, custom) = (says("defaultBgpIpAddresses"), says("customBgpIpAddresses"));
    let is_known = map.iter().any(|(key, _)| key == "bgpPeeringAddress");
    if custom > 0 || default > usize::from(is_known) {
        map.push(entry("bgpPeeringAddresses", Out::list(instances.into_iter().map(Out::map).collect())));
    }
    map
}

fn instance_bgp(node: &Node) -> Map {
    let mut map = Map::new();
    map.extend(property(node, "ipconfigurationId").and_then(part).map(|name| entry("ipconfigurationId", name)));
    for key in ["defaultBgpIpAddresses", "customBgpIpAddresses"] {
        let addresses = property(node, key).filter(|addresses| !addresses.items().is_empty());
        map.extend(addresses.map(|addresses| entry(key, Out::list(words(addresses)))));
    }
    map
}

/// The ranges of NAT rules, which are objects without a name.
fn nat_mappings(body: &Node, map: &mut Map) {
    let rules = items(body, "natRules");
    let Some((_, list)) = map.iter_mut().find(|(key, _)| key == "natRules") else { return };
    let super::text::Value::List(made) = &mut list.value else { return };
    for (rule, made) in rules.iter().zip(made) {
        let super::text::Value::Map(made) = &mut made.value else { continue };
        for key in ["internalMappings", "externalMappings"] {
            let ranges = items(rule, key).iter().filter_map(|range| {
                let keys = ["addressSpace", "portRange"].map(|key| Some(entry(key, Out::scalar(text(range, key)?))));
                Some(Out::map(keys.into_iter().flatten().collect())).filter(|_| text(range, "addressSpace").is_some())
            });
            made.push(entry(key, Out::list(ranges.collect())));
        }
        // `type` stands in the properties as the rule's, and beside them as the resource's.
        let own = rule.get("properties").and_then(|inner| inner.get("type")).or_else(|| rule.get("type"));
        made.retain(|(key, _)| key != "type");
        let own = own.and_then(scalar).filter(|own| !own.contains('/'));
        made.extend(own.map(|own| entry("type", Out::scalar(own))));
        let configuration = property(rule, "ipConfigurationId").and_then(part);
        made.extend(configuration.map(|name| entry("ipConfigurationId", name)));
    }
}

pub(super) fn connection(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    let (to, list) = match text(body, "connectionType")?.to_ascii_lowercase().as_str() {
        "ipsec" => ("localNetworkGateway2", "local network gateway"),
        "vnet2vnet" => ("virtualNetworkGateway2", "virtual network gateway"),
        "expressroute" => ("peer", "circuit"),
        other => {
            let message = format!("a connection of type `{other}` is not emulated: it is left out");
            converter.note(&one.resource.at, NoteKind::NotEmulated, message);
            return None;
        }
    };
    let near = reference(body, "virtualNetworkGateway1").and_then(|id| converter.reference(id));
    let far = reference(body, to).and_then(|id| private_cloud::circuit(converter, id));
    let (Some(_), Some(far)) = (near, far) else {
        let message = format!("connection `{}` needs a gateway and a {list}: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    };
    let mut said = converter.object(body, &CONNECTION);
    // `az` writes a weight of 10 for VPN connections, too, where it has no effect.
    said.retain(|(key, _)| key != "routingWeight" || to == "peer");
    map.extend(said);
    if let Some(end) = property(body, to) {
        map.push(entry(to, Out::scalar(far).at(&end.at)));
    }
    let cloud = reference(body, "peer").and_then(|id| private_cloud::of_circuit(converter, id));
    if let Some(key) = cloud.filter(|_| text(body, "authorizationKey").is_none()).and_then(private_cloud::first_key) {
        let message = format!("connection `{}` says no key: it has the private cloud's first", one.resource.name);
        converter.note(&one.resource.at, NoteKind::MadeUp, message);
        map.push(entry("authorizationKey", Out::scalar(key)));
    }
    if to != "peer" {
        let written = property(body, "sharedKey").and_then(|key| Some(Out::scalar(scalar(key)?).at(&key.at)));
        map.push(entry("sharedKey", written.unwrap_or_else(|| made_up_key(converter, one))));
    }
    for key in ["ingressNatRules", "egressNatRules"] {
        let rules: Vec<_> = items(body, key).iter().filter_map(part).collect();
        if !rules.is_empty() {
            map.push(entry(key, Out::list(rules)));
        }
    }
    Some(Out::map(map).at(&one.resource.at))
}

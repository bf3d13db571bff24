//! Virtual networks, their subnets and peerings.

use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, Source, ancestor, parts};
use crate::arm::{Node, ResourceId};

use super::names::Rule;
use super::table::{Table, Use, deep, flag, id_of, is, items, property, reference, scalar, text, words};
use super::text::{Map, Out, Value};
use super::virtual_hub::is_hidden_peering;
use super::{Converter, entry};

static VNET: Table = Table {
    what: "a virtual network",
    rows: &[
        ("addressSpace", Use::Read(&SPACE)),
        ("subnets", Use::Taken),
        ("virtualNetworkPeerings", Use::Taken),
        ("dhcpOptions", Use::Read(&DHCP)),
        ("flowTimeoutInMinutes", Use::Unless("0")),
        ("summarizedGatewayPrefixes", Use::Taken),
        ("enableDdosProtection", Use::Cosmetic),
        ("ddosProtectionPlan", Use::Cosmetic),
        ("enableVmProtection", Use::Cosmetic),
        ("ipAllocations", Use::Cosmetic),
        ("flowLogs", Use::Cosmetic),
        ("defaultPublicNatGateway", Use::Cosmetic),
        ("privateEndpointVNetPolicies", Use::Harmless(&["Disabled"])),
        ("encryption", Use::Taken),
        ("bgpCommunities", Use::Gap),
    ],
};

pub(super) static SPACE: Table = Table {
    what: "an address space",
    rows: &[("addressPrefixes", Use::Taken), ("ipamPoolPrefixAllocations", Use::Gap)],
};

static DHCP: Table = Table { what: "DHCP options", rows: &[("dnsServers", Use::Taken)] };

static SUBNET: Table = Table {
    what: "a subnet",
    rows: &[
        ("addressPrefix", Use::Taken),
        ("addressPrefixes", Use::Taken),
        ("networkSecurityGroup", Use::Ref),
        ("routeTable", Use::Ref),
        ("natGateway", Use::Ref),
        ("defaultOutboundAccess", Use::Copy),
        ("serviceEndpoints", Use::Taken),
        ("privateEndpointNetworkPolicies", Use::Unless("Disabled")),
        ("privateLinkServiceNetworkPolicies", Use::Cosmetic),
        ("delegations", Use::Cosmetic),
        ("ipConfigurations", Use::Cosmetic),
        ("ipConfigurationProfiles", Use::Cosmetic),
        ("ipAllocations", Use::Cosmetic),
        ("privateEndpoints", Use::Cosmetic),
        ("purpose", Use::Cosmetic),
        ("resourceNavigationLinks", Use::Cosmetic),
        ("serviceAssociationLinks", Use::Cosmetic),
        ("applicationGatewayIPConfigurations", Use::Cosmetic),
        ("sharingScope", Use::Cosmetic),
        ("serviceEndpointPolicies", Use::Gap),
        ("ipamPoolPrefixAllocations", Use::Gap),
        ("serviceGateway", Use::Gap),
    ],
};

static PEERING: Table = Table {
    what: "a peering",
    rows: &[
        ("remoteVirtualNetwork", Use::Taken),
        ("remoteAddressSpace", Use::Cosmetic),
        ("remoteVirtualNetworkAddressSpace", Use::Cosmetic),
        ("remoteVirtualNetworkEncryption", Use::Cosmetic),
        ("remoteBgpCommunities", Use::Cosmetic),
        ("remoteGateways", Use::Cosmetic),
        ("localAddressSpace", Use::Cosmetic),
        ("localVirtualNetworkAddressSpace", Use::Cosmetic),
        ("routeServiceVips", Use::Cosmetic),
        ("peeringState", Use::Cosmetic),
        ("peeringSyncLevel", Use::Cosmetic),
        ("doNotVerifyRemoteGateways", Use::Cosmetic),
        ("allowVirtualNetworkAccess", Use::Flag(true)),
        ("allowForwardedTraffic", Use::Flag(false)),
        ("allowGatewayTransit", Use::Flag(false)),
        ("useRemoteGateways", Use::Taken),
        ("peerCompleteVnets", Use::Flag(true)),
        ("localSubnetNames", Use::Words),
        ("remoteSubnetNames", Use::Words),
        ("enableOnlyIPv6Peering", Use::Flag(false)),
    ],
};

/// Services that have endpoints here.
const SERVICES: [&str; 12] = [
    "Microsoft.Storage",
    "Microsoft.Storage.Global",
    "Microsoft.Sql",
    "Microsoft.AzureCosmosDB",
    "Microsoft.KeyVault",
    "Microsoft.EventHub",
    "Microsoft.ServiceBus",
    "Microsoft.ContainerRegistry",
    "Microsoft.Web",
    "Microsoft.AzureActiveDirectory",
    "Microsoft.CognitiveServices",
    "Microsoft.Monitor",
];

/// A virtual network that only peerings name, with what they say of it.
pub(super) struct Remote {
    id: ResourceId,
    name: String,
    space: Vec<Out>,
    location: Out,
    /// The networks that are peered with it.
    links: Vec<String>,
}

pub(super) fn virtual_network(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one)), entry("location", location(converter, one))];
    let space = property(body, "addressSpace").map_or(&[][..], |space| items(space, "addressPrefixes"));
    let space: Vec<_> = space.iter().flat_map(words).collect();
    if space.is_empty() {
        let message = format!("virtual network `{}` has no address space: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    map.push(entry("addressSpace", Out::list(space)));
    if let Some(servers) = deep(body, &["dhcpOptions", "dnsServers"]).filter(|servers| !servers.items().is_empty()) {
        let servers = Out::list(words(servers)).at(&servers.at);
        map.push(entry("dhcpOptions", Out::map(vec![entry("dnsServers", servers)])));
    }
    encryption(converter, body);
    let summaries =
        property(body, "summarizedGatewayPrefixes").map_or(&[][..], |inner| items(inner, "addressPrefixes"));
    if !summaries.is_empty() {
        map.push(entry("summarizedGatewayPrefixes", Out::list(summaries.iter().flat_map(words).collect())));
    }
    map.extend(converter.object(body, &VNET));
    let subnets = subnets(converter, body);
    if !subnets.is_empty() {
        map.push(entry("subnets", Out::list(subnets)));
    }
    let links: Vec<_> = items(body, "virtualNetworkPeerings").iter().collect();
    let links: Vec<_> = links.into_iter().filter_map(|link| peering(converter, one, link)).collect();
    if !links.is_empty() {
        map.push(entry("virtualNetworkPeerings", Out::list(links)));
    }
    Some(Out::map(map).at(&one.resource.at))
}

fn encryption(converter: &mut Converter<'_>, body: &Node) {
    let Some(encryption) = property(body, "encryption") else { return };
    if flag(encryption, "enabled") == Some(true) {
        let message = "`encryption` of a virtual network is not emulated".to_owned();
        converter.note(&encryption.at, NoteKind::NotEmulated, message);
    }
}

/// A region; where the document has none that can be one, a made-up one.
pub(super) fn location(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let written = one.resource.body.get("location");
    let region = written.and_then(scalar).map(|region| region.replace(' ', "").to_lowercase());
    let region = region.filter(|region| region.chars().all(|c| c.is_ascii_alphanumeric()));
    if let (Some(written), Some(region)) = (written, region) {
        return Out::scalar(region).at(&written.at);
    }
    let message = format!("`{}` says no region: it is westeurope here", one.resource.name);
    converter.note(&one.resource.at, NoteKind::MadeUp, message);
    Out::scalar("westeurope")
}

/// The subnets, each name once.
fn subnets(converter: &mut Converter<'_>, body: &Node) -> Vec<Out> {
    let mut known: Vec<String> = Vec::new();
    let mut made = Vec::new();
    for node in items(body, "subnets") {
        let name = text(node, "name").unwrap_or_default().to_lowercase();
        if known.contains(&name) {
            let message = format!("subnet `{name}` is declared twice: the first one counts");
            converter.note(&node.at, NoteKind::MadeUp, message);
            continue;
        }
        known.push(name);
        made.extend(subnet(converter, node));
    }
    made
}

fn subnet(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let mut map = vec![entry("name", converter.child_name(node))];
    let several = property(node, "addressPrefixes").map(words).filter(|several| !several.is_empty());
    let one = property(node, "addressPrefix").map(words).filter(|one| !one.is_empty());
    let Some(mut prefixes) = several.or(one) else {
        let message = "a subnet without an address range is left out".to_owned();
        converter.note(&node.at, NoteKind::NotEmulated, message);
        return None;
    };
    match &mut prefixes[..] {
        [one] => map.push(entry("addressPrefix", one.clone())),
        _ => map.push(entry("addressPrefixes", Out::list(prefixes))),
    }
    map.extend(converter.object(node, &SUBNET));
    let services: Vec<_> = items(node, "serviceEndpoints").iter().collect();
    let mut names = Vec::new();
    let services: Vec<_> = services.into_iter().filter_map(|one| service(converter, one, &mut names)).collect();
    if !services.is_empty() {
        map.push(entry("serviceEndpoints", Out::list(services)));
    }
    Some(Out::map(map).at(&node.at))
}

/// A service endpoint, for the regions that the list of tags knows.
fn service(converter: &mut Converter<'_>, node: &Node, names: &mut Vec<String>) -> Option<Out> {
    let name = text(node, "service")?;
    let Some(known) = SERVICES.iter().find(|known| known.eq_ignore_ascii_case(&name)) else {
        let message = format!("the service endpoint of `{name}` is not emulated");
        converter.note(&node.at, NoteKind::NotEmulated, message);
        return None;
    };
    if names.contains(&name.to_lowercase()) {
        return None;
    }
    names.push(name.to_lowercase());
    let tag = known.trim_start_matches("Microsoft.").trim_end_matches(".Global");
    let regions: Vec<String> = items(node, "locations").iter().filter_map(scalar).collect();
    let is_known = |region: &String| (converter.options.is_service_tag)(&format!("{tag}.{}", region.replace(' ', "")));
    // `*` is none that is known.
    let all = !regions.iter().all(is_known);
    let mut map = vec![entry("service", Out::scalar(*known).at(&node.at))];
    if !all && !regions.is_empty() {
        map.push(entry("locations", Out::list(regions.into_iter().map(Out::scalar).collect())));
    }
    Some(Out::map(map).at(&node.at))
}

fn peering(converter: &mut Converter<'_>, one: &Entry, node: &Node) -> Option<Out> {
    let remote = property(node, "remoteVirtualNetwork")?;
    let id = id_of(remote)?;
    if text(node, "name").is_some_and(|name| is_hidden_peering(converter, &name)) {
        return None;
    }
    let state = state_of(one, node);
    if state == LinkState::Disconnected {
        let message = "this peering is Disconnected: it is left out, since nothing passes it".to_owned();
        converter.note(&node.at, NoteKind::MadeUp, message);
        return None;
    }
    let mut map = vec![entry("name", converter.child_name(node))];
    let known = converter.reference(id);
    let is_here = known.is_some();
    let Some(name) = known.or_else(|| self::remote(converter, one, node, id)) else {
        let message = format!("`{id}` is not among the resources: the peering is left out");
        converter.note(&remote.at, NoteKind::NotEmulated, message);
        return None;
    };
    map.push(entry("remoteVirtualNetwork", Out::scalar(name).at(&remote.at)));
    map.extend(stale_view(one, node).map(|space| entry("remoteAddressSpace", space)));
    map.extend(converter.object(node, &PEERING));
    if is(node, "useRemoteGateways", "true")
        && let Some(flag) = property(node, "useRemoteGateways")
    {
        if is_here && converter.with_gateway.contains(&ResourceId::new(id)) {
            map.push(entry("useRemoteGateways", Out::scalar("true").at(&flag.at)));
        } else {
            let message = "the remote gateway is not among the resources: `useRemoteGateways` is left out".to_owned();
            converter.note(&flag.at, NoteKind::MadeUp, message);
        }
    }
    Some(Out::map(map).at(&node.at))
}

/// What a dump says of a link; a template decides nothing by these words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Connected,
    /// The other side has no link.
    Initiated,
    Disconnected,
}

fn state_of(one: &Entry, node: &Node) -> LinkState {
    let says = |state: &str| one.source == Source::Dump && is(node, "peeringState", state);
    match () {
        () if says("Disconnected") => LinkState::Disconnected,
        () if says("Initiated") => LinkState::Initiated,
        () => LinkState::Connected,
    }
}

/// The other side's ranges as a link still sees them, where it waits for a sync (PEER-17).
fn stale_view(one: &Entry, node: &Node) -> Option<Out> {
    let waits = ["LocalNotInSync", "LocalAndRemoteNotInSync"].iter().any(|level| is(node, "peeringSyncLevel", level));
    let space = deep(node, &["remoteAddressSpace", "addressPrefixes"]).filter(|space| !space.items().is_empty())?;
    (one.source == Source::Dump && waits).then(|| Out::list(words(space)).at(&space.at))
}

/// The name of a virtual network that is not among the resources, if the peering says its ranges.
fn remote(converter: &mut Converter<'_>, one: &Entry, node: &Node, id: &str) -> Option<String> {
    let space = ["remoteVirtualNetworkAddressSpace", "remoteAddressSpace"].iter();
    let space =
        space.filter_map(|key| deep(node, &[key, "addressPrefixes"])).find(|space| !space.items().is_empty())?;
    let id = ResourceId::new(id);
    let own = converter.names.of(one.resource.id.as_str()).unwrap_or_default().to_owned();
    let message =
        format!("`{}` is not among the resources: a network of the peering's ranges stands for it", id.as_str());
    converter.note(&space.at, NoteKind::MadeUp, message);
    let links = if state_of(one, node) == LinkState::Connected { vec![own] } else { Vec::new() };
    if let Some(known) = converter.remotes.iter_mut().find(|known| known.id == id) {
        known.links.extend(links);
        return Some(known.name.clone());
    }
    let last = parts(id.as_str())?.names.last().copied()?.to_owned();
    let name = converter.names.free("virtualNetworks", &last, None, Rule::Resource(64));
    let location = location(converter, one);
    converter.remotes.push(Remote { id, name: name.clone(), space: words(space), location, links });
    Some(name)
}

/// Adds the virtual networks that stand for those that only peerings name.
pub(super) fn remotes(converter: &mut Converter<'_>) {
    for remote in std::mem::take(&mut converter.remotes) {
        let Remote { name, space, location, links, .. } = remote;
        let link = |to: &String| {
            let flags = ["allowForwardedTraffic", "allowGatewayTransit"].map(|flag| entry(flag, Out::scalar("true")));
            let names = [("name", format!("{name}-{to}")), ("remoteVirtualNetwork", to.clone())];
            let names = names.map(|(key, value)| entry(key, Out::scalar(value)));
            Out::map(names.into_iter().chain(flags).collect())
        };
        let links: Vec<_> = links.iter().map(link).collect();
        let mut map: Map = vec![
            entry("name", Out::scalar(name.clone())),
            entry("location", Out { at: None, ..location }),
            entry("addressSpace", Out { at: None, comment: None, value: Value::List(space) }),
        ];
        if !links.is_empty() {
            map.push(entry("virtualNetworkPeerings", Out::list(links)));
        }
        let comment = "Not among the resources: made up from what its peerings say of it.";
        converter.push("virtualNetworks", Out::map(map).comment(comment));
    }
}

/// The virtual network of the subnet that a property names.
pub(super) fn vnet_of(node: &Node) -> Option<&str> {
    ancestor(reference(node, "subnet")?, 1)
}

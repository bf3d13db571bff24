//! Virtual hubs of a virtual WAN, which this program does not have: a network and a machine that forwards stand for each.
//!
//! A hub's router advertises to each connected network the ranges of the others. Here the hub is a network of its own, peered
//! with those that are connected, and user routes lead from these to its machine ([`super::hub_routes`]). Route tables count
//! by what is associated with them and propagated to them. Static routes, routing intent and gateways in the hub are reported.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::arm::Node;
use crate::arm::notes::{Fate, NoteKind};
use crate::arm::store::{Entry, Source, ancestor};

use super::names::Rule;
use super::table::{Table, Use, deep, id_of, items, property, reference, scalar, text};
use super::text::{Map, Out};
use super::virtual_network::location;
use super::{Converter, entry, hub_routes, route_server};

pub(super) const KIND: &str = "Microsoft.Network/virtualHubs";
pub(super) const WAN: &str = "Microsoft.Network/virtualWans";
pub(super) const CONNECTIONS: &str = "Microsoft.Network/virtualHubs/hubVirtualNetworkConnections";
pub(super) const TABLES: &str = "Microsoft.Network/virtualHubs/hubRouteTables";
const FIREWALL: &str = "Microsoft.Network/azureFirewalls";
/// How Azure names the peering by which a connected network knows a hub.
const HIDDEN_PEERING: &str = "RemoteVnetToHubPeering_";
/// Addresses that Azure reserves at the start of a subnet.
const RESERVED: u32 = 4;

static HUB: Table = Table {
    what: "a virtual hub",
    rows: &[
        ("addressPrefix", Use::Taken),
        ("virtualWan", Use::Taken),
        ("virtualNetworkConnections", Use::Taken),
        ("routeTable", Use::Taken),
        ("sku", Use::Cosmetic),
        ("virtualRouterIps", Use::Taken),
        ("virtualRouterAsn", Use::Cosmetic),
        ("virtualRouterAutoScaleConfiguration", Use::Cosmetic),
        ("routingState", Use::Cosmetic),
        ("allowBranchToBranchTraffic", Use::Cosmetic),
        ("hubRoutingPreference", Use::Cosmetic),
        ("preferredRoutingGateway", Use::Cosmetic),
        ("securityPartnerProvider", Use::Gap),
        ("securityProviderName", Use::Gap),
        ("azureFirewall", Use::Cosmetic),
        ("vpnGateway", Use::Cosmetic),
        ("p2SVpnGateway", Use::Cosmetic),
        ("expressRouteGateway", Use::Cosmetic),
        ("ipConfigurations", Use::Cosmetic),
        ("bgpConnections", Use::Gap),
        ("routeMaps", Use::Gap),
        ("virtualHubRouteTableV2s", Use::Gap),
    ],
};

static WIDE: Table = Table {
    what: "a virtual WAN",
    rows: &[
        ("type", Use::Taken),
        ("allowBranchToBranchTraffic", Use::Cosmetic),
        ("allowVnetToVnetTraffic", Use::Cosmetic),
        ("disableVpnEncryption", Use::Cosmetic),
        ("office365LocalBreakoutCategory", Use::Cosmetic),
        ("virtualHubs", Use::Cosmetic),
        ("vpnSites", Use::Cosmetic),
    ],
};

static CONNECTION: Table = Table {
    what: "a connection of a virtual hub",
    rows: &[
        ("remoteVirtualNetwork", Use::Taken),
        ("routingConfiguration", Use::Inside(&ROUTING)),
        ("allowHubToRemoteVnetTransit", Use::Cosmetic),
        ("allowRemoteVnetToUseHubVnetGateways", Use::Cosmetic),
        ("enableInternetSecurity", Use::Cosmetic),
    ],
};

static ROUTING: Table = Table {
    what: "a connection's routing",
    rows: &[
        ("associatedRouteTable", Use::Taken),
        ("propagatedRouteTables", Use::Taken),
        ("vnetRoutes", Use::Taken),
        ("inboundRouteMap", Use::Gap),
        ("outboundRouteMap", Use::Gap),
    ],
};

static ROUTE_TABLE: Table = Table {
    what: "a hub's route table",
    rows: &[
        ("labels", Use::Taken),
        ("routes", Use::Taken),
        ("associatedConnections", Use::Cosmetic),
        ("propagatingConnections", Use::Cosmetic),
    ],
};

/// A hub, and the networks that are connected to it.
pub(super) struct Hub<'a> {
    pub one: &'a Entry,
    /// Its network in the file.
    pub name: String,
    /// Its machine's address.
    pub address: IpAddr,
    /// The hubs of one virtual WAN reach each other; those of a Basic one only what is on-premises.
    pub wan: Option<&'a str>,
    pub transits: bool,
    pub spokes: Vec<Spoke<'a>>,
}

/// A network that is connected to a hub.
pub(super) struct Spoke<'a> {
    pub connection: &'a Node,
    /// In the file.
    pub name: String,
    /// The hub's route table that it learns from.
    pub associated: String,
    /// The route tables, by id, and labels that learn its ranges.
    pub propagated: Vec<String>,
    pub labels: Vec<String>,
}

/// Whether a peering is the one that Azure makes for a connection, of a hub that is here.
pub(super) fn is_hidden_peering(converter: &Converter<'_>, name: &str) -> bool {
    name.starts_with(HIDDEN_PEERING) && converter.store.of_kind(KIND).any(is_hub)
}

/// Whether it is a hub of a virtual WAN that has addresses.
pub(super) fn is_hub(one: &Entry) -> bool {
    let resource = &one.resource;
    let is_one = resource.kind.eq_ignore_ascii_case(KIND) && !resource.existing;
    is_one && !route_server::is_one(&resource.body) && range(&resource.body).is_some()
}

fn range(body: &Node) -> Option<IpNet> {
    text(body, "addressPrefix")?.parse::<IpNet>().ok().map(|range| range.trunc())
}

/// Adds what stands for all hubs; the networks and machines of the documents are in the file already.
pub(super) fn all(converter: &mut Converter<'_>) {
    let store = converter.store;
    let mut hubs: Vec<_> =
        store.of_kind(KIND).filter(|one| is_hub(one)).filter_map(|one| hub(converter, one)).collect();
    for connection in store.of_kind(CONNECTIONS).filter(|one| !one.resource.existing) {
        let resource = &connection.resource;
        let own = ancestor(resource.id.as_str(), 1).unwrap_or_default();
        let own = hubs.iter_mut().find(|hub| hub.one.resource.id.as_str().eq_ignore_ascii_case(own));
        let found = own.and_then(|hub| Some((spoke(converter, hub.one, &resource.body)?, hub)));
        converter.summary.count(&resource.kind, if found.is_some() { Fate::Used } else { Fate::NotEmulated });
        if let Some((spoke, hub)) = found {
            hub.spokes.push(spoke);
        } else {
            let message = format!("connection `{}` needs a hub and a network: it is left out", resource.name);
            converter.note(&resource.at, NoteKind::NotEmulated, message);
        }
    }
    for hub in &mut hubs {
        // The form of the first versions: connections stand in the hub.
        for inline in items(&hub.one.resource.body, "virtualNetworkConnections") {
            hub.spokes.extend(spoke(converter, hub.one, inline));
        }
        let mut known = HashSet::new();
        hub.spokes.retain(|spoke| known.insert(spoke.name.clone()));
    }
    for wan in store.of_kind(WAN).filter(|one| !one.resource.existing) {
        converter.object(&wan.resource.body, &WIDE);
        converter.summary.count(&wan.resource.kind, Fate::Used);
    }
    let tables: Vec<_> = store.of_kind(TABLES).filter(|one| !one.resource.existing).collect();
    for table in &tables {
        route_table(converter, table);
    }
    for hub in &hubs {
        network(converter, hub, &hubs);
    }
    hub_routes::all(converter, &hubs, &tables);
}

/// A hub without its connections; its network has the hub's name.
fn hub<'a>(converter: &mut Converter<'_>, one: &'a Entry) -> Option<Hub<'a>> {
    let (resource, body) = (&one.resource, &one.resource.body);
    let name = converter.names.of(resource.id.as_str())?.to_owned();
    converter.object(body, &HUB);
    if let Some(routes) = property(body, "routeTable").filter(|table| !items(table, "routes").is_empty()) {
        let message = format!("the static routes of virtual hub `{}` are not emulated", resource.name);
        converter.note(&routes.at, NoteKind::NotEmulated, message);
    }
    let [router, _] = subnets(range(body)?)?;
    let known = items(body, "virtualRouterIps").iter().filter_map(|address| scalar(address)?.parse().ok());
    let known = known.filter(|_| one.source == Source::Dump).find(|address| router.contains(address));
    let address = known.or_else(|| router.hosts().nth(RESERVED as usize - 1))?;
    let wan = reference(body, "virtualWan");
    let is_basic = |node: &Node, key| text(node, key).is_some_and(|kind| kind.eq_ignore_ascii_case("Basic"));
    let stated = wan.and_then(|id| converter.store.find(id));
    let transits = !is_basic(body, "sku") && !stated.is_some_and(|wan| is_basic(&wan.resource.body, "type"));
    Some(Hub { one, name, address, wan, transits, spokes: Vec::new() })
}

/// The router's half of a hub's range, and a quarter for a firewall.
fn subnets(range: IpNet) -> Option<[IpNet; 2]> {
    let length = range.prefix_len();
    let mut halves = range.subnets(length + 1).ok()?;
    let router = halves.next()?;
    let firewall = halves.next()?.subnets(length + 2).ok()?.next()?;
    Some([router, firewall])
}

fn spoke<'a>(converter: &mut Converter<'_>, hub: &Entry, connection: &'a Node) -> Option<Spoke<'a>> {
    let remote = property(connection, "remoteVirtualNetwork")?;
    let name = converter.reference(id_of(remote)?)?;
    converter.object(connection, &CONNECTION);
    if let Some(routes) = deep(connection, &["routingConfiguration", "vnetRoutes", "staticRoutes"])
        && !routes.items().is_empty()
    {
        let message = format!("the static routes of the connection to `{name}` are not emulated");
        converter.note(&routes.at, NoteKind::NotEmulated, message);
    }
    let default = format!("{}/hubRouteTables/defaultRouteTable", hub.resource.id.as_str());
    let routing = property(connection, "routingConfiguration");
    let associated = routing.and_then(|routing| reference(routing, "associatedRouteTable")).unwrap_or(&default);
    let propagated = routing.and_then(|routing| property(routing, "propagatedRouteTables"));
    let ids = propagated.map_or(&[][..], |tables| items(tables, "ids"));
    let labels = propagated.map_or(&[][..], |tables| items(tables, "labels"));
    let mut spoke = Spoke {
        connection,
        name,
        associated: associated.to_lowercase(),
        propagated: ids.iter().filter_map(|table| Some(id_of(table)?.to_lowercase())).collect(),
        labels: labels.iter().filter_map(|label| Some(scalar(label)?.to_lowercase())).collect(),
    };
    if spoke.propagated.is_empty() && spoke.labels.is_empty() {
        spoke.propagated.push(default.to_lowercase());
        spoke.labels.push("default".to_owned());
    }
    Some(spoke)
}

fn route_table(converter: &mut Converter<'_>, table: &Entry) {
    let resource = &table.resource;
    converter.object(&resource.body, &ROUTE_TABLE);
    converter.summary.count(&resource.kind, Fate::Used);
    let routes = property(&resource.body, "routes").filter(|routes| !routes.items().is_empty());
    if let Some(routes) = routes {
        let message = format!("the static routes of hub route table `{}` are not emulated", resource.name);
        converter.note(&routes.at, NoteKind::NotEmulated, message);
    }
}

/// The network that stands for a hub, with its machine.
fn network(converter: &mut Converter<'_>, hub: &Hub<'_>, all: &[Hub<'_>]) {
    let (resource, body) = (&hub.one.resource, &hub.one.resource.body);
    let Some((range, [router, firewall])) = range(body).and_then(|range| Some((range, subnets(range)?))) else {
        return;
    };
    let own = format!("{}-virtual-hub", Rule::Label(50).fit(&hub.name));
    let machine = converter.names.free("virtualMachines", &own, None, Rule::Label(63));
    let does = if hub.transits {
        "forwards between the connected networks"
    } else {
        "forwards nothing between networks, for its virtual WAN is Basic"
    };
    let message = format!(
        "virtual hub `{}` is not emulated: network `{}` stands for it, and its machine `{machine}` {does}",
        resource.name, hub.name
    );
    converter.note(&resource.at, NoteKind::NotEmulated, message);
    let mut made = vec![subnet("router", router)];
    let firewalls = self::firewalls(converter, hub, firewall);
    if firewalls > 0 {
        made.push(subnet("firewall", firewall));
    }
    let prefix = property(body, "addressPrefix").map_or(&resource.at, |prefix| &prefix.at);
    let others = all.iter().filter(|other| other.name != hub.name && joined(hub, other)).map(|other| &other.name);
    let spokes = hub.spokes.iter().map(|spoke| &spoke.name);
    let links: Vec<_> = spokes.chain(others).map(|remote| peering(&hub.name, remote)).collect();
    let mut map: Map = vec![
        entry("name", converter.own_name(hub.one)),
        entry("location", location(converter, hub.one)),
        entry("addressSpace", Out::list(vec![Out::scalar(range.to_string()).at(prefix)])),
        entry("subnets", Out::list(made)),
    ];
    if !links.is_empty() {
        map.push(entry("virtualNetworkPeerings", Out::list(links)));
    }
    let comment = format!("Stands for virtual hub {}.", resource.name);
    converter.push("virtualNetworks", Out::map(map).at(&resource.at).comment(comment));
    let nic = vec![
        entry("subnet", Out::scalar(format!("{}/router", hub.name))),
        entry("privateIPAddress", Out::scalar(hub.address.to_string())),
        entry("enableIPForwarding", Out::scalar("true")),
    ];
    let comment = format!("Stands for the router of virtual hub {}: it {does}.", resource.name);
    self::machine(converter, &machine, nic, &comment, hub.one);
}

/// The machines that stand for the firewalls of a hub; how many there are.
fn firewalls(converter: &mut Converter<'_>, hub: &Hub<'_>, subnet: IpNet) -> usize {
    let store = converter.store;
    let is_own = |one: &&Entry| {
        let id = reference(&one.resource.body, "virtualHub");
        !one.resource.existing && id.is_some_and(|id| id.eq_ignore_ascii_case(hub.one.resource.id.as_str()))
    };
    let mut count = 0;
    for one in store.of_kind(FIREWALL).filter(is_own) {
        let resource = &one.resource;
        let own = format!("{}-azure-firewall", Rule::Label(40).fit(&resource.name));
        let name = converter.names.free("virtualMachines", &own, None, Rule::Label(63));
        let mut nic = vec![entry("subnet", Out::scalar(format!("{}/firewall", hub.name)))];
        let known = deep(&resource.body, &["hubIPAddresses", "privateIPAddress"]).and_then(scalar);
        let known = known.filter(|address| address.parse().is_ok_and(|address: IpAddr| subnet.contains(&address)));
        nic.extend(known.map(|address| entry("privateIPAddress", Out::scalar(address))));
        nic.push(entry("enableIPForwarding", Out::scalar("true")));
        let does = "forwards everything, and no route leads to it";
        let message = format!(
            "Azure Firewall `{}` of a virtual hub is not emulated: machine `{name}` stands for it and {does}",
            resource.name
        );
        converter.note(&resource.at, NoteKind::NotEmulated, message);
        let comment = format!("Stands for Azure Firewall {}: it {does}.", resource.name);
        machine(converter, &name, nic, &comment, one);
        count += 1;
    }
    count
}

/// Whether an Azure Firewall is in a hub that is here.
pub(super) fn is_in_hub(converter: &Converter<'_>, one: &Entry) -> bool {
    let hub = reference(&one.resource.body, "virtualHub").and_then(|id| converter.store.find(id));
    one.resource.kind.eq_ignore_ascii_case(FIREWALL) && hub.is_some_and(is_hub)
}

/// Whether what is connected to one hub reaches what is connected to the other.
pub(super) fn joined(one: &Hub<'_>, other: &Hub<'_>) -> bool {
    let same = one.wan.zip(other.wan).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other));
    one.transits && other.transits && (same || one.name == other.name)
}

fn machine(converter: &mut Converter<'_>, name: &str, nic: Map, comment: &str, one: &Entry) {
    let map: Map = vec![entry("name", Out::scalar(name)), entry("networkInterfaces", Out::list(vec![Out::map(nic)]))];
    converter.push("virtualMachines", Out::map(map).at(&one.resource.at).comment(comment));
}

fn subnet(name: &str, range: IpNet) -> Out {
    Out::map(vec![entry("name", Out::scalar(name)), entry("addressPrefix", Out::scalar(range.to_string()))])
}

/// One end of a peering over which the hub's machine forwards.
pub(super) fn peering(name: &str, remote: &str) -> Out {
    Out::map(vec![
        entry("name", Out::scalar(Rule::Resource(80).fit(&format!("{name}-{remote}")))),
        entry("remoteVirtualNetwork", Out::scalar(remote)),
        entry("allowForwardedTraffic", Out::scalar("true")),
    ])
}

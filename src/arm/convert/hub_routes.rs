//! The routes by which networks that are connected to virtual hubs reach each other.
//!
//! A network learns the ranges of those that propagate to the hub's route table that it is associated with. What Azure's hub
//! advertises are routes of a gateway; here they are user routes to the hub's machine. So a subnet's own route to the same
//! range wins, a network that is peered directly is reached directly, and a route table without propagation gets none.

use std::collections::HashMap;

use crate::arm::Node;
use crate::arm::store::Entry;

use super::names::Rule;
use super::table::{items, scalar};
use super::text::{Map, Out, Value};
use super::virtual_hub::{Hub, Spoke, joined, peering};
use super::{Converter, entry};

/// Subnets that get no routes to a hub: one takes no route table, and the traffic of the other stays apart.
const APART: [&str; 2] = ["RouteServerSubnet", "GatewaySubnet"];

/// A range that a hub advertises, and the network that has it.
struct Advertised {
    to: String,
    range: String,
    via: String,
}

/// What the subnets of a network learn.
struct Learned {
    list: Vec<Advertised>,
    /// Of the route table, if one is made.
    name: String,
    comment: String,
}

/// Adds peerings and routes of all hubs to the networks of the file.
pub(super) fn all(converter: &mut Converter<'_>, hubs: &[Hub<'_>], tables: &[&Entry]) {
    let ranges: HashMap<String, Vec<String>> = all_of(converter, "virtualNetworks")
        .iter()
        .map(|vnet| (word(vnet, "name"), words(vnet, "addressSpace")))
        .collect();
    for hub in hubs {
        for spoke in &hub.spokes {
            connect(converter, hub, spoke);
            let learned = Learned {
                list: learned(hub, spoke, hubs, tables, &ranges),
                name: format!("{}-by-{}", spoke.name, hub.name),
                comment: format!("Has what virtual hub {} advertises; in Azure the next hop is a gateway.", hub.name),
            };
            route(converter, &spoke.name, &learned);
        }
        let others = hubs.iter().filter(|other| other.name != hub.name && joined(hub, other));
        let beyond = others.flat_map(|other| {
            let spokes = other.spokes.iter().filter(|spoke| hub.spokes.iter().all(|own| own.name != spoke.name));
            spokes.flat_map(|spoke| advertised(spoke, &other.address.to_string(), &ranges))
        });
        let beyond = Learned {
            list: beyond.collect(),
            name: format!("{}-router", hub.name),
            comment: format!("How the router of virtual hub {} reaches what other hubs connect.", hub.name),
        };
        route(converter, &hub.name, &beyond);
    }
}

/// What a network learns of its hub.
fn learned(
    hub: &Hub<'_>,
    spoke: &Spoke<'_>,
    hubs: &[Hub<'_>],
    tables: &[&Entry],
    ranges: &HashMap<String, Vec<String>>,
) -> Vec<Advertised> {
    let labels = labels(&spoke.associated, tables);
    let hears = |other: &&Spoke<'_>| {
        let by_label = other.labels.iter().any(|label| labels.contains(label));
        other.name != spoke.name && (by_label || other.propagated.contains(&spoke.associated))
    };
    let reached = hubs.iter().filter(|other| joined(hub, other)).flat_map(|other| &other.spokes).filter(hears);
    reached.flat_map(|other| advertised(other, &hub.address.to_string(), ranges)).collect()
}

fn advertised(spoke: &Spoke<'_>, via: &str, ranges: &HashMap<String, Vec<String>>) -> Vec<Advertised> {
    let own = ranges.get(&spoke.name).map_or(&[][..], Vec::as_slice);
    // A hub's route is of one family, as its machine's address is.
    let own = own.iter().filter(|range| range.contains(':') == via.contains(':'));
    own.map(|range| Advertised { to: spoke.name.clone(), range: range.clone(), via: via.to_owned() }).collect()
}

/// The labels of a hub's route table, by its id in small letters.
fn labels(table: &str, tables: &[&Entry]) -> Vec<String> {
    let own = tables.iter().find(|one| one.resource.id.as_str().eq_ignore_ascii_case(table));
    let written = own.map_or(&[][..], |one| items(&one.resource.body, "labels"));
    let mut labels: Vec<_> = written.iter().filter_map(|label: &Node| Some(scalar(label)?.to_lowercase())).collect();
    if table.ends_with("/defaultroutetable") {
        labels.push("default".to_owned());
    }
    labels
}

/// The network's end of the peering.
fn connect(converter: &mut Converter<'_>, hub: &Hub<'_>, spoke: &Spoke<'_>) {
    let Some(vnet) = named(converter, "virtualNetworks", &spoke.name) else { return };
    let link = peering(&spoke.name, &hub.name).at(&spoke.connection.at);
    push(vnet, "virtualNetworkPeerings", link);
}

/// Gives the subnets of a network the routes: in a copy of their route table, if other networks use that too.
fn route(converter: &mut Converter<'_>, vnet: &str, learned: &Learned) {
    let Some(own) = all_of(converter, "virtualNetworks").iter().find(|one| word(one, "name") == vnet) else { return };
    let peered: Vec<_> =
        inner(own, "virtualNetworkPeerings").iter().map(|link| word(link, "remoteVirtualNetwork")).collect();
    let list: Vec<_> = learned.list.iter().filter(|one| !peered.contains(&one.to)).collect();
    if list.is_empty() {
        return;
    }
    let subnets = inner(own, "subnets").iter();
    let wanted: Vec<_> =
        subnets.filter(|subnet| !APART.contains(&&*word(subnet, "name"))).map(|one| word(one, "routeTable")).collect();
    let mut made: HashMap<String, String> = HashMap::new();
    for table in wanted {
        if !made.contains_key(&table)
            && let Some(name) = self::table(converter, vnet, &table, learned, &list)
        {
            made.insert(table, name);
        }
    }
    let Some(own) = named(converter, "virtualNetworks", vnet) else { return };
    for subnet in inner_mut(own, "subnets") {
        if !APART.contains(&&*word(subnet, "name"))
            && let Some(name) = made.get(&word(subnet, "routeTable"))
        {
            set(subnet, "routeTable", name);
        }
    }
}

/// The name of a table with these routes; none if the table that is there learns nothing.
fn table(
    converter: &mut Converter<'_>,
    vnet: &str,
    table: &str,
    learned: &Learned,
    list: &[&Advertised],
) -> Option<String> {
    let known = all_of(converter, "routeTables").iter().find(|one| !table.is_empty() && word(one, "name") == table);
    if known.is_some_and(|known| word(known, "disableBgpRoutePropagation") == "true") {
        return None;
    }
    let mut map = known.map_or_else(Map::new, |known| entries(known).clone());
    let at = known.and_then(|known| known.at.clone());
    let is_shared = known.is_none_or(|_| {
        let uses = |one: &&Out| inner(one, "subnets").iter().any(|subnet| word(subnet, "routeTable") == table);
        all_of(converter, "virtualNetworks").iter().filter(uses).any(|one| word(one, "name") != vnet)
    });
    let name = if is_shared {
        converter.names.free("routeTables", &learned.name, None, Rule::Resource(80))
    } else {
        table.to_owned()
    };
    map.retain(|(key, _)| key != "name");
    map.insert(0, entry("name", Out::scalar(name.clone())));
    let mut made = Out { at, ..Out::map(map) };
    let taken: Vec<_> = inner(&made, "routes").iter().map(|route| word(route, "addressPrefix")).collect();
    for one in list.iter().filter(|one| !taken.contains(&one.range)) {
        let own = format!("{}-{}", one.to, one.range.replace(['.', ':', '/'], "-"));
        let route = vec![
            entry("name", Out::scalar(Rule::Resource(80).fit(&own))),
            entry("addressPrefix", Out::scalar(one.range.clone())),
            entry("nextHopType", Out::scalar("VirtualAppliance")),
            entry("nextHopIpAddress", Out::scalar(one.via.clone())),
        ];
        push(&mut made, "routes", Out::map(route));
    }
    made.comment = Some(learned.comment.clone());
    match named(converter, "routeTables", &name) {
        Some(known) => *known = made,
        None => converter.push("routeTables", made),
    }
    Some(name)
}

fn all_of<'a>(converter: &'a Converter<'_>, name: &str) -> &'a [Out] {
    converter.lists.get(name).map_or(&[], Vec::as_slice)
}

/// The item of a list of the file with a name.
fn named<'a>(converter: &'a mut Converter<'_>, list: &str, name: &str) -> Option<&'a mut Out> {
    converter.lists.get_mut(list)?.iter_mut().find(|one| word(one, "name") == name)
}

fn entries(out: &Out) -> &Map {
    static NONE: Map = Map::new();
    if let Value::Map(entries) = &out.value { entries } else { &NONE }
}

fn inner<'a>(out: &'a Out, key: &str) -> &'a [Out] {
    let found = entries(out).iter().find(|(own, _)| own == key).map(|(_, value)| &value.value);
    if let Some(Value::List(items)) = found { items } else { &[] }
}

fn inner_mut<'a>(out: &'a mut Out, key: &str) -> &'a mut [Out] {
    let Value::Map(entries) = &mut out.value else { return &mut [] };
    let found = entries.iter_mut().find(|(own, _)| own == key).map(|(_, value)| &mut value.value);
    if let Some(Value::List(items)) = found { items } else { &mut [] }
}

/// The text of a scalar; empty where there is none.
fn word(out: &Out, key: &str) -> String {
    let found = entries(out).iter().find(|(own, _)| own == key).map(|(_, value)| &value.value);
    if let Some(Value::Scalar(text)) = found { text.clone() } else { String::new() }
}

fn words(out: &Out, key: &str) -> Vec<String> {
    let scalars = inner(out, key).iter().filter_map(|item| match &item.value {
        Value::Scalar(text) => Some(text.clone()),
        Value::List(_) | Value::Map(_) => None,
    });
    scalars.collect()
}

fn set(out: &mut Out, key: &str, value: &str) {
    let Value::Map(entries) = &mut out.value else { return };
    match entries.iter_mut().find(|(own, _)| own == key) {
        Some((_, known)) => known.value = Value::Scalar(value.to_owned()),
        None => entries.push(entry(key, Out::scalar(value))),
    }
}

/// Adds an item to a list, which is made where there is none.
fn push(out: &mut Out, key: &str, item: Out) {
    let Value::Map(entries) = &mut out.value else { return };
    if !entries.iter().any(|(own, _)| own == key) {
        entries.push(entry(key, Out::list(Vec::new())));
    }
    if let Some((_, Out { value: Value::List(items), .. })) = entries.iter_mut().find(|(own, _)| own == key) {
        items.push(item);
    }
}

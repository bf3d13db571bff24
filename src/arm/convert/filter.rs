//! Network security groups, application security groups and route tables.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, parts};

use super::names::Rule;
use super::table::{Table, Use, deep, id_of, items, property, scalar, words};
use super::text::{Map, Out};
use super::{Converter, entry};

/// What a route may lead to.
const HOPS: &[&str] = &["VirtualNetworkGateway", "VnetLocal", "Internet", "VirtualAppliance", "None"];

static NSG: Table = Table {
    what: "a network security group",
    rows: &[
        ("securityRules", Use::Taken),
        ("flushConnection", Use::Flag(false)),
        ("defaultSecurityRules", Use::Cosmetic),
        ("networkInterfaces", Use::Cosmetic),
        ("subnets", Use::Cosmetic),
        ("flowLogs", Use::Cosmetic),
    ],
};

static RULE: Table = Table {
    what: "a security rule",
    rows: &[
        ("priority", Use::Copy),
        ("direction", Use::Word(&["Inbound", "Outbound"])),
        ("access", Use::Word(&["Allow", "Deny"])),
        ("protocol", Use::Word(&["Tcp", "Udp", "Icmp", "Esp", "Ah"])),
        ("description", Use::Cosmetic),
        ("sourceAddressPrefix", Use::Taken),
        ("sourceAddressPrefixes", Use::Taken),
        ("sourceApplicationSecurityGroups", Use::Groups),
        ("sourcePortRange", Use::Taken),
        ("sourcePortRanges", Use::Taken),
        ("destinationAddressPrefix", Use::Taken),
        ("destinationAddressPrefixes", Use::Taken),
        ("destinationApplicationSecurityGroups", Use::Groups),
        ("destinationPortRange", Use::Taken),
        ("destinationPortRanges", Use::Taken),
    ],
};

static ASG: Table = Table { what: "an application security group", rows: &[] };

static ROUTE_TABLE: Table = Table {
    what: "a route table",
    rows: &[
        ("routes", Use::Taken),
        ("disableBgpRoutePropagation", Use::Flag(false)),
        ("disablePeeringRoute", Use::Unless("None")),
        ("subnets", Use::Cosmetic),
    ],
};

static ROUTE: Table = Table {
    what: "a route",
    rows: &[
        ("addressPrefix", Use::Taken),
        ("nextHopType", Use::Word(HOPS)),
        ("nextHopIpAddress", Use::Taken),
        ("nextHop", Use::Taken),
        ("hasBgpOverride", Use::Cosmetic),
    ],
};

/// Tags that the network itself gives a meaning, besides those of the list.
const OWN_TAGS: [&str; 6] =
    ["VirtualNetwork", "Internet", "AzureLoadBalancer", "AzurePlatformDNS", "AzurePlatformIMDS", "AzurePlatformLKM"];

pub(super) fn nsg(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(body, &NSG));
    let rules: Vec<_> = items(body, "securityRules").iter().filter_map(|rule| self::rule(converter, rule)).collect();
    if !rules.is_empty() {
        map.push(entry("securityRules", Out::list(rules)));
    }
    Out::map(map).at(&one.resource.at)
}

pub(super) fn asg(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(&one.resource.body, &ASG));
    Out::map(map).at(&one.resource.at)
}

impl Converter<'_> {
    /// The name of an application security group; one that is not among the resources gets one of its name.
    pub(super) fn group(&mut self, node: &Node) -> Option<Out> {
        const LIST: &str = "applicationSecurityGroups";
        let id = id_of(node)?;
        if let Some(known) = self.names.of(id) {
            return Some(Out::scalar(known).at(&node.at));
        }
        let own = parts(id)?.names.last().copied()?.to_owned();
        let name = self.names.assign(LIST, id, &own, Rule::Resource(80));
        let message = format!("`{id}` is not among the resources: group `{name}` is made up for it");
        self.note(&node.at, NoteKind::MadeUp, message);
        let comment = "Not among the resources: made up for those that refer to it.";
        self.push(LIST, Out::map(vec![entry("name", Out::scalar(name.clone()))]).comment(comment));
        Some(Out::scalar(name).at(&node.at))
    }
}

fn rule(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let mut map = vec![entry("name", converter.child_name(node))];
    map.extend(converter.object(node, &RULE));
    for side in ["source", "destination"] {
        let groups = format!("{side}ApplicationSecurityGroups");
        if !map.iter().any(|(key, _)| *key == groups) {
            let written = field(node, &format!("{side}AddressPrefix"), &format!("{side}AddressPrefixes"));
            let wanted = written.len();
            let prefixes: Vec<_> = written.into_iter().filter_map(|prefix| address(converter, prefix)).collect();
            if prefixes.is_empty() && wanted > 0 {
                let message = "no address of this rule is known here: the rule is left out".to_owned();
                converter.note(&node.at, NoteKind::NotEmulated, message);
                return None;
            }
            one_or_many(&mut map, &format!("{side}AddressPrefix"), &format!("{side}AddressPrefixes"), prefixes);
        }
        let ports = field(node, &format!("{side}PortRange"), &format!("{side}PortRanges"));
        one_or_many(&mut map, &format!("{side}PortRange"), &format!("{side}PortRanges"), ports);
    }
    Some(Out::map(map).at(&node.at))
}

/// The values of a pair of keys such as `sourcePortRange` and `sourcePortRanges`; `*` where neither says anything.
fn field(node: &Node, one: &str, many: &str) -> Vec<Out> {
    let values: Vec<_> = [many, one].iter().filter_map(|key| property(node, key)).flat_map(words).collect();
    if values.is_empty() { vec![Out::scalar("*")] } else { values }
}

fn one_or_many(map: &mut Map, one: &str, many: &str, mut values: Vec<Out>) {
    if values.len() == 1 {
        map.extend(values.pop().map(|value| entry(one, value)));
    } else {
        map.push(entry(many, Out::list(values)));
    }
}

/// A range without bits beyond its length, or a tag that is known; one that is not is reported.
fn address(converter: &mut Converter<'_>, mut prefix: Out) -> Option<Out> {
    let super::text::Value::Scalar(text) = &prefix.value else { return Some(prefix) };
    let text = text.clone();
    if text.eq_ignore_ascii_case("any") {
        return Some(Out { value: super::text::Value::Scalar("*".to_owned()), ..prefix });
    }
    if text == "*" || text.parse::<IpAddr>().is_ok() {
        return Some(prefix);
    }
    if let Ok(range) = text.parse::<IpNet>() {
        prefix.value = super::text::Value::Scalar(range.trunc().to_string());
        return Some(prefix);
    }
    // Anything else that begins as a number is a mistake of the document's own.
    let is_tag = text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains([':', '/']);
    let own = OWN_TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(&text));
    if !is_tag || own || (converter.options.is_service_tag)(&text) {
        return Some(prefix);
    }
    if let Some(at) = &prefix.at {
        let message = format!("the service tag `{text}` is not in the list of tags: it is left out");
        converter.note(&at.clone(), NoteKind::NotEmulated, message);
    }
    None
}

pub(super) fn route_table(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(body, &ROUTE_TABLE));
    let routes: Vec<_> = items(body, "routes").iter().filter_map(|route| self::route(converter, route)).collect();
    if !routes.is_empty() {
        map.push(entry("routes", Out::list(routes)));
    }
    Out::map(map).at(&one.resource.at)
}

fn route(converter: &mut Converter<'_>, node: &Node) -> Option<Out> {
    let mut map = vec![entry("name", converter.child_name(node))];
    let prefix = converter.range(property(node, "addressPrefix")?)?;
    map.push(entry("addressPrefix", address(converter, prefix)?));
    map.extend(converter.object(node, &ROUTE));
    // Exports have the address as an empty text where there is none.
    if let Some(hop) = property(node, "nextHopIpAddress").filter(|hop| scalar(hop).is_some()) {
        map.extend(words(hop).pop().map(|hop| entry("nextHopIpAddress", hop)));
    }
    if let Some(hops) = deep(node, &["nextHop", "nextHopIpAddresses"]).filter(|hops| !hops.items().is_empty()) {
        map.push(entry("nextHop", Out::map(vec![entry("nextHopIpAddresses", Out::list(words(hops)))])));
    }
    Some(Out::map(map).at(&node.at))
}

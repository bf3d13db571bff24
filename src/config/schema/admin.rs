//! Network managers as they were written: groups of VNets, and the security admin rules that are given to them.

use crate::config::yaml::decode::{Fields, list_of, number, objects, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{AddressField, address_field, port_range, reference, resource_name};
use crate::model::{AdminAccess, Direction, PortRange, SecurityProtocol};

use super::filter::direction;
use super::{Name, Reference};

pub(in crate::config) struct NetworkManager {
    pub name: Name,
    pub network_groups: Vec<NetworkGroup>,
    pub configurations: Vec<Configuration>,
}

pub(in crate::config) struct NetworkGroup {
    pub name: Name,
    pub static_members: Vec<Reference>,
}

pub(in crate::config) struct Configuration {
    pub at: At,
    pub name: Name,
    pub rule_collections: Vec<RuleCollection>,
}

pub(in crate::config) struct RuleCollection {
    pub at: At,
    pub name: Name,
    pub applies_to_groups: Vec<Reference>,
    pub rules: Vec<AdminRule>,
}

/// Without a field there is no restriction.
pub(in crate::config) struct AdminRule {
    pub name: Name,
    pub priority: Option<Spanned<u16>>,
    pub direction: Option<Spanned<Direction>>,
    pub access: Option<Spanned<AdminAccess>>,
    pub protocol: Option<Spanned<SecurityProtocol>>,
    pub sources: Vec<Spanned<AddressField>>,
    pub source_ports: Vec<Spanned<PortRange>>,
    pub destinations: Vec<Spanned<AddressField>>,
    pub destination_ports: Vec<Spanned<PortRange>>,
}

pub(in crate::config) fn network_manager(node: &Node, report: &mut Report) -> Option<NetworkManager> {
    record(node, report, "a network manager", |f| NetworkManager {
        name: f.required("name", resource_name(64)),
        network_groups: f.list("networkGroups", network_group),
        configurations: f.list("securityAdminConfigurations", configuration),
    })
}

fn network_group(node: &Node, report: &mut Report) -> Option<NetworkGroup> {
    record(node, report, "a network group", |f| {
        f.optional("description", text);
        NetworkGroup {
            name: f.required("name", resource_name(64)),
            static_members: references(f, "staticMembers", member),
        }
    })
}

/// A VNet, or ARM's `{name, resourceId}`.
fn member(node: &Node, report: &mut Report) -> Option<[String; 1]> {
    named_by(node, report, "a static member", "resourceId", "virtualNetworks")
}

/// A group, or ARM's `{networkGroupId}`.
fn applies_to(node: &Node, report: &mut Report) -> Option<[String; 1]> {
    named_by(node, report, "a network group item", "networkGroupId", "networkGroups")
}

fn named_by(
    node: &Node,
    report: &mut Report,
    what: &'static str,
    key: &'static str,
    kind: &'static str,
) -> Option<[String; 1]> {
    match &node.value {
        Value::Map(_) => record(node, report, what, |f| {
            f.optional("name", text);
            f.required(key, reference([kind]))
        })?
        .map(|found| found.value),
        Value::Null | Value::Scalar { .. } | Value::List(_) => reference([kind])(node, report),
    }
}

fn references(
    f: &mut Fields<'_>,
    key: &'static str,
    read: impl Fn(&Node, &mut Report) -> Option<[String; 1]>,
) -> Vec<Reference> {
    f.optional(key, many(read)).map_or_else(Vec::new, |list| list.value.into_iter().map(Some).collect())
}

/// A list that may be empty.
fn many<T>(read: impl Fn(&Node, &mut Report) -> Option<T>) -> impl Fn(&Node, &mut Report) -> Option<Vec<Spanned<T>>> {
    move |node, report| match &node.value {
        Value::List(items) if items.is_empty() => Some(Vec::new()),
        Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => list_of(&read)(node, report),
    }
}

fn configuration(node: &Node, report: &mut Report) -> Option<Configuration> {
    record(node, report, "a security admin configuration", |f| {
        f.optional("description", text);
        Configuration {
            at: f.at,
            name: f.required("name", resource_name(64)),
            rule_collections: f.list("ruleCollections", rule_collection),
        }
    })
}

fn rule_collection(node: &Node, report: &mut Report) -> Option<RuleCollection> {
    record(node, report, "a rule collection", |f| {
        f.optional("description", text);
        RuleCollection {
            at: f.at,
            name: f.required("name", resource_name(64)),
            applies_to_groups: references(f, "appliesToGroups", applies_to),
            rules: f.required("rules", objects(admin_rule)).map_or_else(Vec::new, |rules| rules.value),
        }
    })
}

fn admin_rule(node: &Node, report: &mut Report) -> Option<AdminRule> {
    let access =
        word(&[("Allow", AdminAccess::Allow), ("AlwaysAllow", AdminAccess::AlwaysAllow), ("Deny", AdminAccess::Deny)]);
    let protocols = word(&[
        ("Tcp", SecurityProtocol::Tcp),
        ("Udp", SecurityProtocol::Udp),
        ("Icmp", SecurityProtocol::Icmp),
        ("Esp", SecurityProtocol::Esp),
        ("Ah", SecurityProtocol::Ah),
        ("Any", SecurityProtocol::Any),
    ]);
    record(node, report, "a security admin rule", |f| {
        f.optional("description", text);
        f.optional("kind", word(&[("Custom", ())]));
        AdminRule {
            name: f.required("name", resource_name(64)),
            priority: f.required("priority", number(1..=4096)),
            direction: f.required("direction", direction),
            access: f.required("access", access),
            protocol: f.required("protocol", protocols),
            sources: values(f, "sources", address_item),
            source_ports: values(f, "sourcePortRanges", port_range),
            destinations: values(f, "destinations", address_item),
            destination_ports: values(f, "destinationPortRanges", port_range),
        }
    })
}

fn values<T>(f: &mut Fields<'_>, key: &'static str, read: impl Fn(&Node, &mut Report) -> Option<T>) -> Vec<Spanned<T>> {
    f.optional(key, many(read)).map_or_else(Vec::new, |list| list.value)
}

/// A range or a tag, or ARM's `{addressPrefix, addressPrefixType}`.
fn address_item(node: &Node, report: &mut Report) -> Option<AddressField> {
    match &node.value {
        Value::Map(_) => record(node, report, "an address prefix item", |f| {
            f.optional("addressPrefixType", word(&[("IPPrefix", ()), ("ServiceTag", ())]));
            f.required("addressPrefix", address_field)
        })?
        .map(|found| found.value),
        Value::Null | Value::Scalar { .. } | Value::List(_) => address_field(node, report),
    }
}

//! Network security groups and application security groups as they were written.

use crate::config::yaml::decode::{Fields, list_of, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{AddressField, address_field, port_range, reference, resource_name};
use crate::model::{Access, Direction, PortRange, SecurityProtocol};

use super::{Name, flag};

pub(in crate::config) struct Nsg {
    pub at: At,
    pub name: Name,
    pub rules: Vec<SecurityRule>,
    pub flush_connection: bool,
}

pub(in crate::config) struct SecurityRule {
    pub at: At,
    pub name: Name,
    pub priority: Option<Spanned<u16>>,
    pub direction: Option<Spanned<Direction>>,
    pub access: Option<Spanned<Access>>,
    pub protocol: Option<Spanned<SecurityProtocol>>,
    pub source: Addresses,
    pub source_ports: Option<Spanned<Vec<Spanned<PortRange>>>>,
    pub destination: Addresses,
    pub destination_ports: Option<Spanned<Vec<Spanned<PortRange>>>>,
}

/// An address field: ranges and tags, or application groups.
pub(in crate::config) struct Addresses {
    pub ranges: Option<Spanned<Vec<Spanned<AddressField>>>>,
    pub groups: Option<Groups>,
}

/// References to application groups.
pub(in crate::config) type Groups = Spanned<Vec<Spanned<[String; 1]>>>;

pub(in crate::config) struct Asg {
    pub at: At,
    pub name: Name,
}

pub(in crate::config) fn asg(node: &Node, report: &mut Report) -> Option<Asg> {
    record(node, report, "an application security group", |f| Asg {
        at: f.at,
        name: f.required("name", resource_name(80)),
    })
}

/// A list of application groups; exported templates have it empty where there is none.
pub(in crate::config) fn groups(f: &mut Fields<'_>, key: &'static str) -> Option<Groups> {
    let groups = f.optional(key, |node, report| match &node.value {
        Value::List(items) if items.is_empty() => Some(Vec::new()),
        Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
            list_of(reference(["applicationSecurityGroups"]))(node, report)
        }
    });
    groups.filter(|groups| !groups.value.is_empty())
}

pub(in crate::config) fn nsg(node: &Node, report: &mut Report) -> Option<Nsg> {
    record(node, report, "a network security group", |f| Nsg {
        at: f.at,
        name: f.required("name", resource_name(80)),
        rules: f.list("securityRules", security_rule),
        flush_connection: flag(f, "flushConnection", false),
    })
}

fn security_rule(node: &Node, report: &mut Report) -> Option<SecurityRule> {
    let protocols = word(&[
        ("Tcp", SecurityProtocol::Tcp),
        ("Udp", SecurityProtocol::Udp),
        ("Icmp", SecurityProtocol::Icmp),
        ("Esp", SecurityProtocol::Esp),
        ("Ah", SecurityProtocol::Ah),
        ("*", SecurityProtocol::Any),
    ]);
    record(node, report, "a security rule", |f| {
        f.optional("description", description);
        SecurityRule {
            at: f.at,
            name: f.required("name", resource_name(80)),
            priority: f.required("priority", number(100..=4096)),
            direction: f.required("direction", direction),
            access: f.required("access", word(&[("Allow", Access::Allow), ("Deny", Access::Deny)])),
            protocol: f.required("protocol", protocols),
            source: addresses(f, ["sourceAddressPrefix", "sourceAddressPrefixes", "sourceApplicationSecurityGroups"]),
            source_ports: f.one_or_many("sourcePortRange", "sourcePortRanges", port_range),
            destination: addresses(
                f,
                ["destinationAddressPrefix", "destinationAddressPrefixes", "destinationApplicationSecurityGroups"],
            ),
            destination_ports: f.one_or_many("destinationPortRange", "destinationPortRanges", port_range),
        }
    })
}

fn addresses(f: &mut Fields<'_>, [one, many, groups]: [&'static str; 3]) -> Addresses {
    let named = self::groups(f, groups);
    Addresses { ranges: f.one_or_many_or(one, many, Some((groups, named.is_some())), address_field), groups: named }
}

pub(in crate::config) fn direction(node: &Node, report: &mut Report) -> Option<Direction> {
    word(&[("Inbound", Direction::Inbound), ("Outbound", Direction::Outbound)])(node, report)
}

/// Checked and left out: nothing uses it.
fn description(node: &Node, report: &mut Report) -> Option<()> {
    let text = text(node, report)?;
    if text.chars().count() > 140 {
        report.error(node.at, "this description is too long").rule("NSG-01").expected("at most 140 characters");
    }
    Some(())
}

//! Network security groups as they were written.

use super::decode::{number, record, text, word};
use super::diagnostic::{At, Report, Spanned};
use super::document::Name;
use super::tree::Node;
use super::values::{address_prefix, port_range, resource_name};
use crate::model::{Access, AddressPrefix, Direction, PortRange, SecurityProtocol};

pub(super) struct Nsg {
    pub at: At,
    pub name: Name,
    pub rules: Vec<SecurityRule>,
}

pub(super) struct SecurityRule {
    pub name: Name,
    pub priority: Option<Spanned<u16>>,
    pub direction: Option<Spanned<Direction>>,
    pub access: Option<Spanned<Access>>,
    pub protocol: Option<Spanned<SecurityProtocol>>,
    pub source: Option<Spanned<Vec<Spanned<AddressPrefix>>>>,
    pub source_ports: Option<Spanned<Vec<Spanned<PortRange>>>>,
    pub destination: Option<Spanned<Vec<Spanned<AddressPrefix>>>>,
    pub destination_ports: Option<Spanned<Vec<Spanned<PortRange>>>>,
}

pub(super) fn nsg(node: &Node, report: &mut Report) -> Option<Nsg> {
    record(node, report, "a network security group", |f| Nsg {
        at: f.at,
        name: f.required("name", resource_name(80)),
        rules: f.list("securityRules", security_rule),
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
            name: f.required("name", resource_name(80)),
            priority: f.required("priority", number(100..=4096)),
            direction: f
                .required("direction", word(&[("Inbound", Direction::Inbound), ("Outbound", Direction::Outbound)])),
            access: f.required("access", word(&[("Allow", Access::Allow), ("Deny", Access::Deny)])),
            protocol: f.required("protocol", protocols),
            source: f.one_or_many("sourceAddressPrefix", "sourceAddressPrefixes", address_prefix),
            source_ports: f.one_or_many("sourcePortRange", "sourcePortRanges", port_range),
            destination: f.one_or_many("destinationAddressPrefix", "destinationAddressPrefixes", address_prefix),
            destination_ports: f.one_or_many("destinationPortRange", "destinationPortRanges", port_range),
        }
    })
}

/// Checked and left out: nothing uses it.
fn description(node: &Node, report: &mut Report) -> Option<()> {
    let text = text(node, report)?;
    if text.chars().count() > 140 {
        report.error(node.at, "this description is too long").rule("NSG-01").expected("at most 140 characters");
    }
    Some(())
}

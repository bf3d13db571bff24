//! The schema of a private cloud's distributed firewall, in the words of NSX-T's policy API.

use crate::config::yaml::decode::{Fields, list_of, mismatch, number, record, text, word};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{port_range, resource_name};
use crate::model::{Access, Direction, FirewallCategory, FirewallService, PortRange, SecurityProtocol};

use super::Name;
use super::public_address::ignore;

pub(in crate::config) struct Policy {
    pub name: Name,
    pub category: FirewallCategory,
    pub sequence_number: u32,
    pub rules: Vec<Rule>,
}

/// What is absent is `ANY`.
pub(in crate::config) struct Rule {
    pub name: Name,
    pub sources: Option<Words>,
    pub destinations: Option<Words>,
    pub services: Option<Spanned<Vec<Spanned<Service>>>>,
    pub action: Option<Spanned<Access>>,
    pub direction: Option<Direction>,
    pub scope: Option<Words>,
}

/// Names, addresses and ranges.
pub(in crate::config) type Words = Spanned<Vec<Spanned<String>>>;

#[derive(Clone)]
pub(in crate::config) enum Service {
    Any,
    Of(FirewallService),
}

/// What NSX-T has by itself: name, protocol and port.
const KNOWN: [(&str, SecurityProtocol, Option<u16>); 14] = [
    ("DNS-TCP", SecurityProtocol::Tcp, Some(53)),
    ("DNS-UDP", SecurityProtocol::Udp, Some(53)),
    ("HTTP", SecurityProtocol::Tcp, Some(80)),
    ("HTTPS", SecurityProtocol::Tcp, Some(443)),
    ("ICMPv4-ALL", SecurityProtocol::Icmp, None),
    ("IMAP", SecurityProtocol::Tcp, Some(143)),
    ("LDAP", SecurityProtocol::Tcp, Some(389)),
    ("MySQL", SecurityProtocol::Tcp, Some(3306)),
    ("NTP", SecurityProtocol::Udp, Some(123)),
    ("POP3", SecurityProtocol::Tcp, Some(110)),
    ("RDP", SecurityProtocol::Tcp, Some(3389)),
    ("SMTP", SecurityProtocol::Tcp, Some(25)),
    ("SSH", SecurityProtocol::Tcp, Some(22)),
    ("TFTP", SecurityProtocol::Udp, Some(69)),
];

pub(in crate::config) fn policy(node: &Node, report: &mut Report) -> Option<Policy> {
    let categories = word(&[
        ("Emergency", FirewallCategory::Emergency),
        ("Infrastructure", FirewallCategory::Infrastructure),
        ("Environment", FirewallCategory::Environment),
        ("Application", FirewallCategory::Application),
    ]);
    record(node, report, "a security policy", |f| {
        ignore(f, &["description", "stateful"]);
        Policy {
            name: f.required("name", resource_name(255)),
            category: f.optional("category", categories).map_or_else(FirewallCategory::default, |it| it.value),
            sequence_number: f.optional("sequenceNumber", number(0..=999_999)).map_or(0, |number| number.value),
            rules: f.list("rules", rule),
        }
    })
}

fn rule(node: &Node, report: &mut Report) -> Option<Rule> {
    let directions = word(&[("IN", Some(Direction::Inbound)), ("OUT", Some(Direction::Outbound)), ("IN_OUT", None)]);
    record(node, report, "a rule of the distributed firewall", |f| {
        ignore(f, &["description", "logged", "notes", "tag"]);
        Rule {
            name: f.required("name", resource_name(255)),
            sources: f.optional("sources", list_of(text)),
            destinations: f.optional("destinations", list_of(text)),
            services: f.optional("services", list_of(service)),
            action: f.required("action", action),
            direction: f.optional("direction", directions).and_then(|direction| direction.value),
            scope: f.optional("scope", list_of(text)),
        }
    })
}

/// NSX-T answers for REJECT with a reset or an ICMP error. Nothing here sends one in a machine's place.
fn action(node: &Node, report: &mut Report) -> Option<Access> {
    if let Value::Scalar { text, .. } = &node.value
        && text.eq_ignore_ascii_case("REJECT")
    {
        report
            .error(node.at, "REJECT is not emulated: no machine gets a reset or an ICMP error from this firewall")
            .rule("AVS-12")
            .expected("ALLOW or DROP")
            .help("write DROP, which lets the same packets pass; a connection then ends by its timeout");
        return None;
    }
    word(&[("ALLOW", Access::Allow), ("DROP", Access::Deny)])(node, report)
}

/// `HTTPS`, or `{protocol: TCP, destinationPorts: [8000-8010]}`.
fn service(node: &Node, report: &mut Report) -> Option<Service> {
    match &node.value {
        Value::Map(_) => record(node, report, "a service", entry).map(Service::Of),
        Value::Null | Value::Scalar { .. } | Value::List(_) => known_service(node, report),
    }
}

fn known_service(node: &Node, report: &mut Report) -> Option<Service> {
    let name = text(node, report)?;
    if name.eq_ignore_ascii_case("ANY") {
        return Some(Service::Any);
    }
    let found = KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(&name));
    if found.is_none() {
        let names: Vec<_> = KNOWN.iter().map(|(known, ..)| *known).collect();
        let expected =
            format!("ANY, one of {}, or a mapping: {{protocol: TCP, destinationPorts: [8443]}}", names.join(", "));
        mismatch(node, report, "a service that is known here", &expected).rule("AVS-12").did_you_mean(&name, names);
    }
    found.map(|(_, protocol, port)| {
        let ports = port.map_or(PortRange::ALL, |port| PortRange { first: port, last: port });
        Service::Of(FirewallService { protocol: *protocol, destination_ports: vec![ports], ..FirewallService::any() })
    })
}

/// NSX-T's `L4PortSetServiceEntry`, or one of a protocol without ports.
fn entry(f: &mut Fields<'_>) -> FirewallService {
    let protocols = word(&[
        ("TCP", SecurityProtocol::Tcp),
        ("UDP", SecurityProtocol::Udp),
        ("ICMP", SecurityProtocol::Icmp),
        ("ANY", SecurityProtocol::Any),
    ]);
    let protocol = f.required("protocol", protocols);
    let has_ports =
        |one: &Spanned<SecurityProtocol>| matches!(one.value, SecurityProtocol::Tcp | SecurityProtocol::Udp);
    let [source_ports, destination_ports] = ["sourcePorts", "destinationPorts"].map(|key| {
        let ports = f.optional(key, list_of(port_range));
        if let (Some(ports), Some(protocol)) = (&ports, &protocol)
            && !has_ports(protocol)
        {
            let message = format!("`{key}` of a protocol that has no ports");
            f.report.error(ports.at, message).rule("AVS-12").expected("protocol TCP or UDP, or no ports");
        }
        ports.map_or_else(|| vec![PortRange::ALL], |ports| ports.value.into_iter().map(|range| range.value).collect())
    });
    FirewallService {
        protocol: protocol.map_or(SecurityProtocol::Any, |protocol| protocol.value),
        source_ports,
        destination_ports,
    }
}

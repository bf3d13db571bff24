//! `tests:` as written: each field typed and with its site. `validate` resolves the names.

use std::net::IpAddr;

use crate::config::yaml::decode::{Fields, boolean, list_of, mismatch, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::patch::{Edit, edits};
use crate::config::yaml::tree::Node;
use crate::model::Verdict;

use super::Name;

/// What a rule's name begins with, as Azure spells it.
pub(in crate::config) const RULE_KINDS: [&str; 3] = ["securityRules", "defaultSecurityRules", "ruleCollections"];
/// A name is one line of a report.
const LONGEST_NAME: usize = 200;

pub(in crate::config) struct TestCase {
    pub at: At,
    pub name: Name,
    pub from: Option<Spanned<EndpointName>>,
    pub to: Option<Spanned<EndpointName>>,
    pub protocol: Option<Spanned<Protocol>>,
    pub port: Option<Spanned<u16>>,
    pub expect: Option<Spanned<Verdict>>,
    pub via: Vec<Spanned<String>>,
    pub via_return: Vec<Spanned<String>>,
    pub not_via: Vec<Spanned<String>>,
    /// Kind and name.
    pub rule: Option<Spanned<[String; 2]>>,
    pub packets_only: bool,
    pub without: Vec<Edit>,
}

/// Where a packet starts or ends.
#[derive(Clone)]
pub(in crate::config) enum EndpointName {
    Node { name: String, nic: Option<String> },
    Address(IpAddr),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// What a file may expect: a path that depends on a flow's hash cannot be expected.
const EXPECTED: [(&str, Verdict); 3] =
    [("reachable", Verdict::Reachable), ("blocked", Verdict::Blocked), ("wrongHost", Verdict::WrongHost)];

pub(in crate::config) fn test_case(node: &Node, report: &mut Report) -> Option<TestCase> {
    record(node, report, "a test", |f| TestCase {
        at: f.at,
        name: f.optional("name", test_name),
        from: f.required("from", endpoint),
        to: f.required("to", endpoint),
        protocol: f
            .optional("protocol", word(&[("Tcp", Protocol::Tcp), ("Udp", Protocol::Udp), ("Icmp", Protocol::Icmp)])),
        port: f.optional("port", number(1..=u16::MAX)),
        expect: f.required("expect", word(&EXPECTED)),
        via: machines(f, "via"),
        via_return: machines(f, "viaReturn"),
        not_via: machines(f, "notVia"),
        rule: f.optional("rule", rule),
        packets_only: f.optional("packetsOnly", boolean).is_some_and(|flag| flag.value),
        without: f.optional("without", edits).map_or_else(Vec::new, |edits| edits.value),
    })
}

fn machines(f: &mut Fields<'_>, key: &'static str) -> Vec<Spanned<String>> {
    f.optional(key, list_of(text)).map_or_else(Vec::new, |list| list.value)
}

fn test_name(node: &Node, report: &mut Report) -> Option<String> {
    let name = text(node, report)?;
    let fits = !name.trim().is_empty() && name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control);
    if !fits {
        mismatch(node, report, "a test's name", &format!("one line of 1 to {LONGEST_NAME} characters"));
    }
    fits.then_some(name)
}

fn endpoint(node: &Node, report: &mut Report) -> Option<EndpointName> {
    let written = text(node, report)?;
    if let Ok(address) = written.parse() {
        return Some(EndpointName::Address(address));
    }
    let (name, nic) = written.split_once('/').map_or((written.as_str(), None), |(name, nic)| (name, Some(nic)));
    let words = [Some(name), nic].into_iter().flatten().all(|word| !word.is_empty() && !word.contains(['/', ':']));
    if !words {
        let diagnostic = mismatch(node, report, "an end of a test", "a machine, MACHINE/INTERFACE or an address");
        if let Some((_, port)) = written.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
            diagnostic.help(format!("the port is a field of its own: `port: {port}`"));
        }
        return None;
    }
    Some(EndpointName::Node { name: name.to_owned(), nic: nic.map(str::to_owned) })
}

fn rule(node: &Node, report: &mut Report) -> Option<[String; 2]> {
    let written = text(node, report)?;
    let parts = written.split_once('/').and_then(|(kind, name)| {
        let kind = RULE_KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind))?;
        Some([(*kind).to_owned(), name.to_owned()])
    });
    if parts.is_none() {
        let diagnostic = mismatch(
            node,
            report,
            "a rule's name",
            "securityRules/NAME, defaultSecurityRules/NAME or ruleCollections/COLLECTION/NAME",
        );
        if !written.contains('/') {
            diagnostic.help(format!("did you mean `securityRules/{written}`?"));
        }
    }
    parts
}

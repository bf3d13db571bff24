//! `tests:` as written: each field typed and with its site. `validate` resolves the names.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::yaml::decode::{Fields, boolean, list_of, mismatch, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::patch::{Edit, edits};
use crate::config::yaml::tree::{Node, Value};
use crate::model::{TestSeverity, Verdict};

use super::Name;
use super::test_questions::{self, Question, duration, one_of};

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
    /// Every question beside reachability, under its key; a test has one at most.
    pub questions: Vec<(&'static str, Spanned<Question>)>,
    pub packets_only: bool,
    pub retry: Option<Spanned<u32>>,
    pub timeout: Option<Spanned<Duration>>,
    pub after: Option<Spanned<Duration>>,
    pub severity: Option<Spanned<TestSeverity>>,
    /// The reason; empty where it is asked after all.
    pub skip: Option<Spanned<String>>,
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

pub(in crate::config) const PROTOCOLS: &[(&str, Protocol)] =
    &[("Tcp", Protocol::Tcp), ("Udp", Protocol::Udp), ("Icmp", Protocol::Icmp)];
const SEVERITIES: &[(&str, TestSeverity)] = &[("error", TestSeverity::Error), ("warning", TestSeverity::Warning)];

type Reader = fn(&Node, &mut Report) -> Option<Question>;

/// The keys that say what a test asks; without any of them it asks for reachability.
const QUESTIONS: [(&str, Reader); 10] = [
    ("http", test_questions::http),
    ("dns", test_questions::dns),
    ("exec", test_questions::exec),
    ("routes", test_questions::routes),
    ("rules", test_questions::rules),
    ("bgp", test_questions::bgp),
    ("flows", test_questions::flows),
    ("latency", test_questions::latency),
    ("throughput", test_questions::throughput),
    ("during", test_questions::during),
];

pub(in crate::config) fn test_case(node: &Node, report: &mut Report) -> Option<TestCase> {
    record(node, report, "a test", |f| {
        let asks_more = QUESTIONS.iter().any(|(key, _)| f.has(key));
        let name = f.optional("name", test_name);
        if !asks_more && !f.has("on") {
            f.require("from");
        }
        let from = one_of(f, "from", "on");
        if !asks_more {
            f.require("to");
        }
        let to = f.optional("to", endpoint);
        TestCase {
            at: f.at,
            name,
            from,
            to,
            protocol: f.optional("protocol", word(PROTOCOLS)),
            port: f.optional("port", number(1..=u16::MAX)),
            expect: if asks_more {
                f.optional("expect", word(&EXPECTED))
            } else {
                f.required("expect", word(&EXPECTED))
            },
            via: machines(f, "via"),
            via_return: machines(f, "viaReturn"),
            not_via: machines(f, "notVia"),
            rule: f.optional("rule", rule),
            questions: QUESTIONS
                .iter()
                .filter_map(|(key, read)| f.optional(key, read).map(|question| (*key, question)))
                .collect(),
            packets_only: f.optional("packetsOnly", boolean).is_some_and(|flag| flag.value),
            retry: f.optional("retry", number(0..=100)),
            timeout: f.optional("timeout", duration),
            after: f.optional("after", duration),
            severity: f.optional("severity", word(SEVERITIES)),
            skip: f.optional("skip", skip),
            without: f.optional("without", edits).map_or_else(Vec::new, |edits| edits.value),
        }
    })
}

/// `true`, `false`, or the reason.
fn skip(node: &Node, report: &mut Report) -> Option<String> {
    let written = text(node, report)?;
    let plain = matches!(node.value, Value::Scalar { plain: true, .. });
    Some(match (plain, written.as_str()) {
        (true, "true") => "the file says so".to_owned(),
        (true, "false") => String::new(),
        _ => written,
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

pub(super) fn endpoint(node: &Node, report: &mut Report) -> Option<EndpointName> {
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

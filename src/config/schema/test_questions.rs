//! What a test may ask beside reachability, as written. Each has a short form and a mapping.
//!
//! A mapping may name the ends itself (`on`, `from`, `to`, `port`), or the test does beside it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::yaml::decode::{Fields, boolean, command, list_of, mismatch, number, record, text, word};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{address, prefix};
use crate::model::{BitRate, Direction, NextHopType, PeerState, RecordType, RouteSource, RouteState, RuleAccess};

use super::test_case::{EndpointName, Protocol, endpoint};

/// The ends that a question names itself.
#[derive(Default)]
pub(in crate::config) struct Ends {
    pub from: Option<Spanned<EndpointName>>,
    pub to: Option<Spanned<EndpointName>>,
    pub protocol: Option<Spanned<Protocol>>,
    pub port: Option<Spanned<u16>>,
}

pub(in crate::config) enum Asked {
    Http(Http),
    Dns(Dns),
    Exec(Exec),
    Routes(Patterns<RoutePattern>),
    Rules(Patterns<RulePattern>),
    Bgp(Bgp),
    Flows(Flows),
    Latency(Latency),
    Throughput(Option<Spanned<BitRate>>),
    During(During),
}

pub(in crate::config) struct Http {
    pub url: Option<Spanned<String>>,
    pub status: Option<Spanned<u16>>,
    pub body: Option<Spanned<String>>,
}

pub(in crate::config) struct Dns {
    pub name: Option<Spanned<String>>,
    pub record: Option<Spanned<RecordType>>,
    pub answer: Vec<Spanned<String>>,
    pub absent: Option<Spanned<bool>>,
}

pub(in crate::config) struct Exec {
    pub command: Option<Spanned<Vec<String>>>,
    pub exit: Option<Spanned<u8>>,
    pub stdout: Option<Spanned<String>>,
}

/// What must be there, and what must not.
pub(in crate::config) struct Patterns<T> {
    pub contains: Vec<Spanned<T>>,
    pub absent: Vec<Spanned<T>>,
    /// Whether there is any, right or wrong.
    pub given: bool,
}

#[derive(Clone)]
pub(in crate::config) struct RoutePattern {
    pub prefix: Option<IpNet>,
    pub next_hop_type: Option<NextHopType>,
    pub next_hop_ip: Option<IpAddr>,
    pub source: Option<RouteSource>,
    pub state: Option<RouteState>,
}

#[derive(Clone)]
pub(in crate::config) struct RulePattern {
    pub name: Option<Spanned<String>>,
    pub access: Option<RuleAccess>,
    pub direction: Option<Direction>,
    pub priority: Option<u16>,
}

pub(in crate::config) struct Bgp {
    pub peer: Option<Spanned<String>>,
    pub state: Option<Spanned<PeerState>>,
    pub prefixes: Vec<Spanned<IpNet>>,
    pub absent: Vec<Spanned<IpNet>>,
}

pub(in crate::config) struct Flows {
    pub at_least: Option<Spanned<u16>>,
    pub count: Option<Spanned<u16>>,
    pub over: Vec<Spanned<String>>,
}

pub(in crate::config) struct Latency {
    pub below: Option<Spanned<Duration>>,
    pub p99: Option<Spanned<Duration>>,
}

pub(in crate::config) struct During {
    pub apply: Option<Spanned<String>>,
    pub loss: Option<Spanned<u32>>,
    pub span: Option<Spanned<Duration>>,
}

/// A question and the ends that it names.
pub(in crate::config) type Question = (Asked, Ends);

/// Where it is asked.
fn on(f: &mut Fields<'_>) -> Ends {
    Ends { from: f.optional("on", endpoint), ..Ends::default() }
}

/// Where packets start.
fn start(f: &mut Fields<'_>) -> Ends {
    Ends { from: f.optional("from", endpoint), ..Ends::default() }
}

/// Where packets start and end.
fn between(f: &mut Fields<'_>) -> Ends {
    Ends { to: f.optional("to", endpoint), ..start(f) }
}

/// The same with the port at the end.
fn to_port(f: &mut Fields<'_>) -> Ends {
    Ends { port: f.optional("port", number(1..=u16::MAX)), ..between(f) }
}

/// Two keys that mean the same.
pub(super) fn one_of(f: &mut Fields<'_>, usual: &'static str, other: &'static str) -> Option<Spanned<EndpointName>> {
    if f.has(usual) && f.has(other) {
        let at = f.key(other);
        f.report.error(at, format!("`{usual}` and `{other}` mean the same here")).help(format!("remove `{other}`"));
    }
    let first = f.optional(usual, endpoint);
    let second = f.optional(other, endpoint);
    first.or(second)
}

/// `URL`, or a mapping.
pub(in crate::config) fn http(node: &Node, report: &mut Report) -> Option<Question> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of a page", |f| {
            let asked = Http {
                url: f.required("url", text),
                status: f.optional("status", number(100..=599)),
                body: f.optional("body", text),
            };
            (Asked::Http(asked), start(f))
        });
    }
    let url = Spanned { value: text(node, report)?, at: node.at };
    Some((Asked::Http(Http { url: Some(url), status: None, body: None }), Ends::default()))
}

/// `NAME`, or a mapping.
pub(in crate::config) fn dns(node: &Node, report: &mut Report) -> Option<Question> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of a name", |f| {
            let types = word(&[("A", RecordType::A), ("AAAA", RecordType::Aaaa), ("PTR", RecordType::Ptr)]);
            let asked = Dns {
                name: f.required("name", text),
                record: f.optional("type", types),
                answer: f.optional("answer", one_or_more(text)).map_or_else(Vec::new, |list| list.value),
                absent: f.optional("absent", boolean),
            };
            (Asked::Dns(asked), on(f))
        });
    }
    let name = Spanned { value: text(node, report)?, at: node.at };
    Some((Asked::Dns(Dns { name: Some(name), record: None, answer: Vec::new(), absent: None }), Ends::default()))
}

/// A script, a program with its arguments, or a mapping.
pub(in crate::config) fn exec(node: &Node, report: &mut Report) -> Option<Question> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of a program", |f| {
            let asked = Exec {
                command: f.required("command", command),
                exit: f.optional("exit", number(0..=u8::MAX)),
                stdout: f.optional("stdout", text),
            };
            (Asked::Exec(asked), on(f))
        });
    }
    let command = Spanned { value: command(node, report)?, at: node.at };
    Some((Asked::Exec(Exec { command: Some(command), exit: None, stdout: None }), Ends::default()))
}

/// The routes that must be there, or a mapping.
pub(in crate::config) fn routes(node: &Node, report: &mut Report) -> Option<Question> {
    let (patterns, ends) = patterns(node, report, "a test of routes", route_pattern)?;
    Some((Asked::Routes(patterns), ends))
}

/// The rules that must be there, or a mapping.
pub(in crate::config) fn rules(node: &Node, report: &mut Report) -> Option<Question> {
    let (patterns, ends) = patterns(node, report, "a test of rules", rule_pattern)?;
    Some((Asked::Rules(patterns), ends))
}

fn patterns<T>(
    node: &Node,
    report: &mut Report,
    what: &'static str,
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> Option<(Patterns<T>, Ends)> {
    if let Value::Map(_) = node.value {
        let list = |f: &mut Fields<'_>, key| {
            f.optional(key, one_or_more(&read)).map_or_else(Vec::new, |list: Spanned<_>| list.value)
        };
        return record(node, report, what, |f| {
            let given = f.has("contains") || f.has("absent");
            (Patterns { contains: list(f, "contains"), absent: list(f, "absent"), given }, on(f))
        });
    }
    let contains = one_or_more(read)(node, report)?;
    Some((Patterns { contains, absent: Vec::new(), given: true }, Ends::default()))
}

/// `10.0.0.0/16`, with its next hop: `10.0.0.0/16 VirtualAppliance 10.0.1.4`; or a mapping with ARM's names.
fn route_pattern(node: &Node, report: &mut Report) -> Option<RoutePattern> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a route of a test", |f| RoutePattern {
            prefix: f.required("addressPrefix", prefix).map(|prefix| prefix.value),
            next_hop_type: f.optional("nextHopType", word(NEXT_HOPS)).map(|hop| hop.value),
            next_hop_ip: f.optional("nextHopIpAddress", address).map(|address| address.value),
            source: f.optional("source", word(SOURCES)).map(|source| source.value),
            state: f.optional("state", word(STATES)).map(|state| state.value),
        });
    }
    let written = text(node, report)?;
    let words: Vec<&str> = written.split_ascii_whitespace().filter(|word| *word != "via").collect();
    let hop = |word: &str| NEXT_HOPS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, hop)| *hop);
    let pattern = match words[..] {
        [prefix] => prefix.parse().ok().map(|prefix| (prefix, None, None)),
        [prefix, last] => prefix
            .parse()
            .ok()
            .zip(last.parse().map(Ok).or_else(|_| hop(last).map(Err).ok_or(())).ok())
            .map(|(prefix, last): (IpNet, Result<IpAddr, NextHopType>)| (prefix, last.err(), last.ok())),
        [prefix, kind, address] => {
            let address = address.parse().ok().map(Some);
            prefix
                .parse()
                .ok()
                .zip(hop(kind))
                .zip(address)
                .map(|((prefix, kind), address)| (prefix, Some(kind), address))
        }
        _ => None,
    };
    let Some((prefix, next_hop_type, next_hop_ip)) = pattern else {
        mismatch(
            node,
            report,
            "a route",
            "a range such as 10.0.0.0/16, and behind it a next hop's type, address or both",
        );
        return None;
    };
    Some(RoutePattern { prefix: Some(prefix), next_hop_type, next_hop_ip, source: None, state: None })
}

const NEXT_HOPS: &[(&str, NextHopType)] = &[
    ("VnetLocal", NextHopType::VnetLocal),
    ("VNetPeering", NextHopType::VnetPeering),
    ("VNetGlobalPeering", NextHopType::VnetGlobalPeering),
    ("Internet", NextHopType::Internet),
    ("VirtualAppliance", NextHopType::VirtualAppliance),
    ("VirtualNetworkGateway", NextHopType::VirtualNetworkGateway),
    ("None", NextHopType::None),
    ("VirtualNetworkServiceEndpoint", NextHopType::VirtualNetworkServiceEndpoint),
    ("InterfaceEndpoint", NextHopType::InterfaceEndpoint),
];
const SOURCES: &[(&str, RouteSource)] = &[
    ("Default", RouteSource::Default),
    ("VirtualNetworkGateway", RouteSource::VirtualNetworkGateway),
    ("User", RouteSource::User),
];
const STATES: &[(&str, RouteState)] = &[("Active", RouteState::Active), ("Invalid", RouteState::Invalid)];

/// `securityRules/NAME`, the name alone, or a mapping.
fn rule_pattern(node: &Node, report: &mut Report) -> Option<RulePattern> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a rule of a test", |f| RulePattern {
            name: f.required("name", text),
            access: f.optional("access", word(ACCESSES)).map(|access| access.value),
            direction: f.optional("direction", word(DIRECTIONS)).map(|direction| direction.value),
            priority: f.optional("priority", number(1..=u16::MAX)).map(|priority| priority.value),
        });
    }
    let name = Spanned { value: text(node, report)?, at: node.at };
    Some(RulePattern { name: Some(name), access: None, direction: None, priority: None })
}

const ACCESSES: &[(&str, RuleAccess)] =
    &[("Allow", RuleAccess::Allow), ("Deny", RuleAccess::Deny), ("AlwaysAllow", RuleAccess::AlwaysAllow)];
const DIRECTIONS: &[(&str, Direction)] = &[("Inbound", Direction::Inbound), ("Outbound", Direction::Outbound)];

/// A peer's address or name, or a mapping.
pub(in crate::config) fn bgp(node: &Node, report: &mut Report) -> Option<Question> {
    const PEER_STATES: &[(&str, PeerState)] = &[
        ("Unknown", PeerState::Unknown),
        ("Stopped", PeerState::Stopped),
        ("Idle", PeerState::Idle),
        ("Connecting", PeerState::Connecting),
        ("Connected", PeerState::Connected),
    ];
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of a BGP session", |f| {
            let asked = Bgp {
                peer: f.required("peer", text),
                state: f.optional("state", word(PEER_STATES)),
                prefixes: f.optional("prefixes", one_or_more(prefix)).map_or_else(Vec::new, |list| list.value),
                absent: f.optional("absent", one_or_more(prefix)).map_or_else(Vec::new, |list| list.value),
            };
            (Asked::Bgp(asked), on(f))
        });
    }
    let peer = Spanned { value: text(node, report)?, at: node.at };
    Some((Asked::Bgp(Bgp { peer: Some(peer), state: None, prefixes: Vec::new(), absent: Vec::new() }), Ends::default()))
}

/// How many machines must have some, or a mapping.
pub(in crate::config) fn flows(node: &Node, report: &mut Report) -> Option<Question> {
    let machines = number(1..=1000_u16);
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of flows", |f| {
            let asked = Flows {
                at_least: f.required("atLeast", &machines),
                count: f.optional("count", number(1..=1000)),
                over: f.optional("over", list_of(text)).map_or_else(Vec::new, |list| list.value),
            };
            (Asked::Flows(asked), to_port(f))
        });
    }
    let at_least = Some(Spanned { value: machines(node, report)?, at: node.at });
    Some((Asked::Flows(Flows { at_least, count: None, over: Vec::new() }), Ends::default()))
}

/// `5ms`, or a mapping.
pub(in crate::config) fn latency(node: &Node, report: &mut Report) -> Option<Question> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of latency", |f| {
            let asked = Latency { below: f.optional("below", duration), p99: f.optional("p99", duration) };
            (Asked::Latency(asked), between(f))
        });
    }
    let below = Some(Spanned { value: duration(node, report)?, at: node.at });
    Some((Asked::Latency(Latency { below, p99: None }), Ends::default()))
}

/// `1Gbit/s`, or a mapping.
pub(in crate::config) fn throughput(node: &Node, report: &mut Report) -> Option<Question> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a test of throughput", |f| {
            (Asked::Throughput(f.required("above", bit_rate)), between(f))
        });
    }
    let above = Some(Spanned { value: bit_rate(node, report)?, at: node.at });
    Some((Asked::Throughput(above), Ends::default()))
}

/// `apply FILE`, or a mapping.
pub(in crate::config) fn during(node: &Node, report: &mut Report) -> Option<Question> {
    if let Value::Map(_) = node.value {
        return record(node, report, "a change during a test", |f| {
            let asked = During {
                apply: f.required("apply", text),
                loss: f.optional("loss", number(0..=100_000)),
                span: f.optional("for", duration),
            };
            (Asked::During(asked), to_port(f))
        });
    }
    let written = text(node, report)?;
    let file = written.strip_prefix("apply ").map(str::trim).filter(|file| !file.is_empty());
    let Some(file) = file else {
        let diagnostic = mismatch(node, report, "a change", "`apply FILE`, or a mapping with `apply` and `loss`");
        if !written.contains(' ') {
            diagnostic.help(format!("did you mean `apply {written}`?"));
        }
        return None;
    };
    let apply = Some(Spanned { value: file.to_owned(), at: node.at });
    Some((Asked::During(During { apply, loss: None, span: None }), Ends::default()))
}

/// One value, or a list of them.
fn one_or_more<T>(
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> impl Fn(&Node, &mut Report) -> Option<Vec<Spanned<T>>> {
    move |node, report| match &node.value {
        Value::List(_) => list_of(&read)(node, report),
        Value::Null | Value::Scalar { .. } | Value::Map(_) => {
            let value = read(node, report)?;
            Some(vec![Spanned { value, at: node.at }])
        }
    }
}

/// `5ms`, `2s`, `1.5 s` or `100us`.
pub(in crate::config) fn duration(node: &Node, report: &mut Report) -> Option<Duration> {
    const UNITS: [(&str, f64); 4] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0)];
    const MOST: f64 = 3600.0;
    let written = text(node, report)?;
    let fits = quantity(&written, &UNITS).filter(|seconds| (0.0..=MOST).contains(seconds));
    if fits.is_none() {
        let diagnostic =
            mismatch(node, report, "a time", "a number with us, ms, s or min, such as 5ms; an hour at most");
        if written.parse::<f64>().is_ok_and(|number| number >= 0.0) {
            diagnostic.help(format!("did you mean `{written}s`?"));
        }
    }
    fits.map(Duration::from_secs_f64)
}

/// `1Gbit/s`, `100 Mbit/s` or `64kbit/s`.
#[expect(clippy::cast_sign_loss, reason = "it is above one")]
fn bit_rate(node: &Node, report: &mut Report) -> Option<BitRate> {
    const UNITS: [(&str, f64); 8] = [
        ("bit/s", 1.0),
        ("kbit/s", 1e3),
        ("Mbit/s", 1e6),
        ("Gbit/s", 1e9),
        ("bps", 1.0),
        ("kbps", 1e3),
        ("Mbps", 1e6),
        ("Gbps", 1e9),
    ];
    let bits = quantity(&text(node, report)?, &UNITS).filter(|bits| (1.0..1e15).contains(bits));
    if bits.is_none() {
        mismatch(node, report, "a rate", "a number with kbit/s, Mbit/s or Gbit/s, such as 1Gbit/s");
    }
    bits.map(|bits| BitRate(bits as u64))
}

/// A number and its unit.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<f64>().ok()?, text[end..].trim());
    units.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit)).map(|(_, factor)| number * factor)
}

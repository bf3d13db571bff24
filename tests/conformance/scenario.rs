//! A scenario file, read into typed steps: each word that is not understood is an error here, before anything runs.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::expect::Expect;
use crate::probe::{Ask, Kind};
use crate::raw::Protocol;

/// A file's contents.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) topology: Value,
    pub(crate) steps: Vec<Written>,
}

/// A step and how the file says it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) step: Step,
}

#[derive(Debug)]
pub(crate) enum Step {
    Probe {
        ask: Ask,
        expect: Expect,
    },
    /// Opens a TCP connection that later steps know by this name.
    Open {
        flow: String,
        ask: Ask,
    },
    Flow {
        flow: String,
        expect: Expect,
    },
    Send {
        packet: Packet,
        expect: Expect,
    },
    /// The routers that answer on the way, and the destination.
    Hops {
        from: String,
        to: String,
        hops: Vec<String>,
    },
    Exec {
        node: String,
        command: Vec<String>,
        says: String,
    },
    Routes {
        of: String,
        rows: Vec<String>,
    },
    /// Effective rules, among others: `NAME SOURCE-PREFIX..`.
    Rules {
        of: String,
        expanded: Vec<String>,
    },
    NextHop {
        from: String,
        to: String,
        answer: String,
    },
    /// `ACCESS [RULE]`, of `NODE DIRECTION PROTOCOL LOCAL REMOTE`.
    FlowVerify {
        question: [String; 5],
        answer: String,
    },
    Peerings(Vec<String>),
    Explain {
        question: [String; 2],
        answer: ExplainAnswer,
    },
    /// Backends of a load balancer by their machines, and whether they are up.
    Backends {
        balancer: String,
        health: Vec<(String, bool)>,
    },
    /// `PREFIX AS-PATH`, of all that BGP peers say and a node uses.
    Learned {
        node: String,
        rows: Vec<String>,
    },
    /// `PREFIX` or `PREFIX NEXT-HOP..`, of all rows that lead to a gateway.
    GatewayRows {
        of: String,
        rows: Vec<String>,
    },
    Drops {
        node: String,
        reason: String,
        packets: u64,
    },
    /// `RULE DIRECTION DECISION PORT`, of every flow that a security group's log has.
    FlowLog {
        log: String,
        lines: Vec<String>,
    },
    Lint(Vec<String>),
    Apply(Value),
    /// With Azure's code, or the rule's id, unless there is none.
    Refused {
        code: Option<String>,
        patch: Value,
    },
    /// A word to the command that removes a link or brings it up to date.
    Peering {
        verb: String,
        link: String,
    },
    /// Takes an instance of a gateway away for so many seconds.
    Failover {
        gateway: String,
        instance: String,
        seconds: u64,
    },
    /// Breaks a link of a circuit for so many seconds, or both.
    Circuit {
        circuit: String,
        side: Option<String>,
        seconds: u64,
    },
    /// What the last change, or its refusal, told the user.
    Says(String),
}

/// A packet as it is put on the wire.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) from: String,
    pub(crate) source: Option<String>,
    pub(crate) to: String,
    pub(crate) protocol: Protocol,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainAnswer {
    pub(crate) verdict: String,
    #[serde(default)]
    pub(crate) cause: Option<String>,
    #[serde(default)]
    pub(crate) fix: Option<String>,
    #[serde(default)]
    pub(crate) warning: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    rules: Vec<String>,
    topology: Map<String, Value>,
    steps: Vec<Value>,
}

impl Scenario {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if file.title.is_empty() || file.rules.is_empty() || file.steps.is_empty() {
            return Err("a title, at least one rule and at least one step are expected".to_owned());
        }
        if let Some(rule) = file.rules.iter().find(|rule| !is_rule(rule)) {
            return Err(format!("`{rule}` is no rule's id, such as PEER-05"));
        }
        let steps = file
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| Written::parse(step).map_err(|error| format!("step {}: {error}", index + 1)));
        Ok(Self { topology: Value::Object(file.topology), steps: steps.collect::<Result<_, _>>()? })
    }
}

/// `PEER-05`, `SYS-06a`.
fn is_rule(id: &str) -> bool {
    let Some((family, number)) = id.split_once('-') else { return false };
    let digits = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
    family.chars().all(|c| c.is_ascii_uppercase())
        && digits.len() >= 2
        && digits.chars().all(|c| c.is_ascii_digit())
        && number.len() <= digits.len() + 1
}

impl Written {
    /// `- WORDS: VALUE`, or only `- WORDS`.
    pub(crate) fn parse(written: &Value) -> Result<Self, String> {
        let (text, value) = match written {
            Value::String(text) => (text, &Value::Null),
            Value::Object(one) if one.len() == 1 => one.iter().next().expect("it has one"),
            _ => return Err(format!("a step is one line, `WORDS: VALUE`: {written}")),
        };
        let step = step(text, value).map_err(|error| format!("{text}: {error}"))?;
        Ok(Self { text: text.clone(), step })
    }
}

fn step(text: &str, value: &Value) -> Result<Step, String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "ping" | "tcp" | "udp" | "open" | "flow" | "send" | "hops" | "exec" => packets(verb, rest, value),
        "routes" | "rules" | "next-hop" | "flow-verify" | "peerings" | "explain" | "lint" | "drops" | "flow-log"
        | "backends" | "learned" | "gateway-rows" => answers(verb, rest, value),
        "apply" | "refused" | "peering" | "failover" | "circuit" | "says" => changes(verb, rest, value),
        _ => Err("no such step".to_owned()),
    }
}

fn packets(verb: &str, rest: &str, value: &Value) -> Result<Step, String> {
    if let Some(kind) = Kind::named(verb) {
        return Ok(Step::Probe { ask: ask(kind, rest)?, expect: Expect::parse(string(value)?)? });
    }
    Ok(match (verb, rest) {
        ("open", flow) if is_word(flow) => {
            let ask = string(value)?.strip_prefix("tcp ").ok_or("`tcp A -> B:PORT` is expected")?;
            Step::Open { flow: flow.to_owned(), ask: self::ask(Kind::Tcp, ask)? }
        }
        ("flow", flow) if is_word(flow) => Step::Flow { flow: flow.to_owned(), expect: Expect::parse(string(value)?)? },
        ("send", rest) => Step::Send { packet: packet(rest)?, expect: Expect::parse(string(value)?)? },
        ("hops", rest) => {
            let (from, to) = ends(rest)?;
            Step::Hops { from, to, hops: strings(value)? }
        }
        ("exec", rest) => {
            let (node, command) = rest.split_once(" -- ").ok_or("`exec NODE -- COMMAND` is expected")?;
            let command = command.split_whitespace().map(str::to_owned).collect();
            Step::Exec { node: node.to_owned(), command, says: string(value)?.to_owned() }
        }
        _ => return Err(format!("`{verb} NAME: ..` is expected")),
    })
}

fn answers(verb: &str, rest: &str, value: &Value) -> Result<Step, String> {
    Ok(match (verb, rest) {
        ("routes", of) if is_word(of) => Step::Routes { of: of.to_owned(), rows: strings(value)? },
        ("rules", of) if is_word(of) => Step::Rules { of: of.to_owned(), expanded: strings(value)? },
        ("next-hop", rest) => {
            let (from, to) = ends(rest)?;
            Step::NextHop { from, to, answer: string(value)?.to_owned() }
        }
        ("flow-verify", rest) => {
            let words: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
            let question =
                words.try_into().map_err(|_| "`flow-verify NODE DIRECTION PROTOCOL LOCAL REMOTE` is expected")?;
            Step::FlowVerify { question, answer: string(value)?.to_owned() }
        }
        ("peerings", "") => Step::Peerings(links(value)?),
        ("explain", rest) => {
            let (from, to) = ends(rest)?;
            let answer = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
            Step::Explain { question: [from, to], answer }
        }
        ("lint", "") => Step::Lint(strings(value)?),
        ("flow-log", log) if is_word(log) => Step::FlowLog { log: log.to_owned(), lines: strings(value)? },
        ("learned", node) if is_word(node) => Step::Learned { node: node.to_owned(), rows: strings(value)? },
        ("gateway-rows", of) if is_word(of) => Step::GatewayRows { of: of.to_owned(), rows: strings(value)? },
        ("backends", balancer) if is_word(balancer) => {
            let health = value.as_object().ok_or("`{NODE: up | down}` is expected")?.iter();
            let health = health.map(|(node, health)| match string(health)? {
                health @ ("up" | "down") => Ok((node.clone(), health == "up")),
                other => Err(format!("`{other}` is neither up nor down")),
            });
            Step::Backends { balancer: balancer.to_owned(), health: health.collect::<Result<_, _>>()? }
        }
        ("drops", rest) => {
            let Expect::Drop { node, reason, .. } = Expect::parse(&format!("drop@{rest}"))? else {
                return Err("`drops NODE REASON` is expected".to_owned());
            };
            Step::Drops { node, reason, packets: value.as_u64().ok_or("a number of packets is expected")? }
        }
        ("routes", _) => return Err("`routes NODE` or `routes VNET/SUBNET` is expected".to_owned()),
        _ => return Err(format!("`{verb}:` is expected")),
    })
}

fn changes(verb: &str, rest: &str, value: &Value) -> Result<Step, String> {
    Ok(match (verb, rest) {
        ("apply", "") if value.is_object() => Step::Apply(value.clone()),
        ("failover", rest) => {
            let (gateway, instance) = rest.split_once(' ').unwrap_or((rest, "1"));
            let seconds = value.as_u64().ok_or("a number of seconds is expected")?;
            Step::Failover { gateway: gateway.to_owned(), instance: instance.to_owned(), seconds }
        }
        ("circuit", rest) => {
            let (circuit, side) = rest.split_once(' ').unwrap_or((rest, ""));
            let side = Some(side.to_owned()).filter(|side| !side.is_empty());
            let seconds = value.as_u64().ok_or("a number of seconds is expected")?;
            Step::Circuit { circuit: circuit.to_owned(), side, seconds }
        }
        ("refused", code) if value.is_object() && (code.is_empty() || is_word(code)) => {
            let code = Some(code.to_owned()).filter(|code| !code.is_empty());
            Step::Refused { code, patch: value.clone() }
        }
        ("peering", rest) if value.is_null() => match rest.split_once(' ') {
            Some((verb @ ("rm" | "sync"), link)) if is_word(link) => {
                Step::Peering { verb: verb.to_owned(), link: link.to_owned() }
            }
            _ => return Err("`peering rm LINK` or `peering sync LINK` is expected".to_owned()),
        },
        ("says", "") => Step::Says(string(value)?.to_owned()),
        _ => return Err(format!("`{verb}: PATCH` is expected")),
    })
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// `A -> B`.
fn ends(text: &str) -> Result<(String, String), String> {
    match text.split_once(" -> ") {
        Some((from, to)) if is_word(from) && is_word(to) => Ok((from.to_owned(), to.to_owned())),
        _ => Err("`A -> B` is expected".to_owned()),
    }
}

/// `A [as ADDRESS] -> B`, the middle part split off.
fn ends_and_source(text: &str) -> Result<(String, Option<String>, String), String> {
    let (from, to) = text.split_once(" -> ").ok_or("`A -> B` or `A as ADDRESS -> B` is expected")?;
    let (from, source) = from.split_once(" as ").map_or((from, None), |(from, source)| (from, Some(source.to_owned())));
    let source_is_fine = source.as_deref().is_none_or(is_word);
    if !is_word(from) || !source_is_fine {
        return Err(format!("`{from}` is no node's name"));
    }
    Ok((from.to_owned(), source, to.to_owned()))
}

/// `A -> B` for a ping, `A -> B:PORT` for the others, each perhaps from a chosen address.
fn ask(kind: Kind, text: &str) -> Result<Ask, String> {
    let (from, source, to) = ends_and_source(text)?;
    let (to, port) = match kind {
        Kind::Ping => (to, 0),
        Kind::Tcp | Kind::Udp => {
            let (to, port) = to.rsplit_once(':').ok_or("`B:PORT` is expected")?;
            let to = to.trim_start_matches('[').trim_end_matches(']').to_owned();
            (to, port.parse().map_err(|_| format!("`{port}` is no port"))?)
        }
    };
    if !is_word(&to) {
        return Err(format!("`{to}` is neither a node nor an address"));
    }
    Ok(Ask { kind, from, source, to, port })
}

/// `A -> B PROTOCOL`.
fn packet(text: &str) -> Result<Packet, String> {
    let (from, source, rest) = ends_and_source(text)?;
    let (to, protocol) = rest.split_once(' ').ok_or("`A -> B PROTOCOL` is expected")?;
    Ok(Packet { from, source, to: to.to_owned(), protocol: Protocol::named(protocol)? })
}

/// `{vnet/link: State Level}` as `vnet/link State Level`.
fn links(value: &Value) -> Result<Vec<String>, String> {
    let links = value.as_object().ok_or("`{VNET/LINK: STATE LEVEL}` is expected")?;
    links.iter().map(|(link, state)| Ok(format!("{link} {}", string(state)?))).collect()
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("text is expected, not {value}"))
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| format!("a list is expected, not {value}"))?;
    // One space between the columns, however they are aligned.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    list.iter().map(|row| Ok(words(string(row)?))).collect()
}

//! What the commands must answer.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use vnet::sys::ping::Pinger;

use crate::Outcome;
use crate::expect::{Expect, Lost};
use crate::lab::{has_program, stderr, stdout};
use crate::probe::{Ask, Kind, Question};
use crate::scenario::ExplainAnswer;
use crate::stage::Stage;
use crate::watch::way;

/// A traceroute gives up here.
const MOST_HOPS: u8 = 16;

/// All that a command said, if it did what it was told, with warnings or without.
pub(crate) fn must_succeed(output: &Output) -> Outcome<String> {
    let said = stdout(output) + &stderr(output);
    if matches!(output.status.code(), Some(0 | 3)) { Ok(said) } else { Err(said.into()) }
}

/// All that a command said, if it refused with this code of Azure's, or by this rule, if it is given.
pub(crate) fn must_be_refused(output: &Output, code: Option<&str>) -> Outcome<String> {
    let said = stdout(output) + &stderr(output);
    let words = || said.split(|c: char| !c.is_alphanumeric() && c != '-');
    if output.status.code() == Some(2) && code.is_none_or(|code| words().any(|word| word == code)) {
        Ok(said)
    } else {
        Err(format!("exit code {:?}:\n{said}", output.status.code()).into())
    }
}

/// A command's answer as data, of which it may be the point that it is no.
pub(crate) fn data(stage: &Stage, arguments: &[&str]) -> Outcome<Value> {
    let output = stage.lab.vnet(&[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).map_err(|_| stderr(&output).into())
}

/// Effective routes, in any order (DIAG-02): `Source State Prefix NextHopType [NextHopIP]`.
pub(crate) fn routes(stage: &Stage, of: &str, rows: &[String]) -> Outcome {
    let answer = data(stage, &["routes", of])?;
    let list = |value: &Value| value.as_array().unwrap().iter().map(word).collect::<Vec<_>>().join(",");
    let found = answer["value"].as_array().unwrap().iter().map(|row| {
        let columns = [word(&row["source"]), word(&row["state"]), list(&row["addressPrefix"])];
        let next_hop = [word(&row["nextHopType"]), list(&row["nextHopIpAddress"])];
        [columns.join(" "), next_hop.join(" ")].join(" ").trim_end().to_owned()
    });
    same(found.collect(), rows.to_vec())
}

/// Effective rules, among others: `Name SourcePrefix..`, the prefixes expanded, exactly these.
pub(crate) fn rules(stage: &Stage, of: &str, expected: &[String]) -> Outcome {
    let answer = data(stage, &["rules", of])?;
    let rules = answer["value"].as_array().unwrap().iter().flat_map(|group| {
        let rules = group["effectiveSecurityRules"].as_array().unwrap();
        rules.iter().map(|rule| {
            let written = &rule["sourceAddressPrefixes"];
            let expanded = &rule["expandedSourceAddressPrefix"];
            let prefixes = expanded.as_array().or(written.as_array()).unwrap();
            [&rule["name"]].into_iter().chain(prefixes).map(word).collect::<Vec<_>>().join(" ")
        })
    });
    let found: Vec<_> = rules.collect();
    match expected.iter().find(|rule| !found.contains(rule)) {
        Some(missing) => Err(format!("no `{missing}` among {found:#?}").into()),
        None => Ok(()),
    }
}

/// `NextHopType [NextHopIP] RouteTable`.
pub(crate) fn next_hop(stage: &Stage, from: &str, to: &str, expected: &str) -> Outcome {
    let answer = data(stage, &["next-hop", from, to])?;
    let columns = ["nextHopType", "nextHopIpAddress", "routeTableId"].map(|field| word(&answer[field]));
    let found = columns.into_iter().filter(|column| !column.is_empty()).collect::<Vec<_>>().join(" ");
    if found == expected { Ok(()) } else { Err(format!("it is {found}").into()) }
}

/// `ACCESS [RULE]`.
pub(crate) fn flow_verify(stage: &Stage, question: &[String; 5], expected: &str) -> Outcome {
    let [node, direction, protocol, local, remote] = question;
    let ends = ["--local", local, "--remote", remote];
    let answer =
        data(stage, &[&["flow-verify", node, "--direction", direction, "--protocol", protocol], &ends[..]].concat())?;
    let found = [&answer["access"], &answer["ruleName"]].map(word).join(" ");
    if found.trim_end() == expected { Ok(()) } else { Err(format!("it is {found}").into()) }
}

/// `VNET/LINK State Level`, of every link.
pub(crate) fn peerings(stage: &Stage, links: &[String]) -> Outcome {
    let answer = data(stage, &["peering", "ls"])?;
    let found = answer.as_array().unwrap().iter().map(|row| {
        let columns = [&row["name"], &row["peeringState"], &row["peeringSyncLevel"]].map(word).join(" ");
        format!("{}/{columns}", word(&row["virtualNetwork"]["id"]))
    });
    same(found.collect(), links.to_vec())
}

/// The findings of `validate`, among others: `CODE RULE PATH`.
pub(crate) fn lint(stage: &Stage, expected: &[String]) -> Outcome {
    let answer = data(stage, &["validate", stage.file()])?;
    let found = answer.as_array().unwrap().iter();
    let found: Vec<_> = found.map(|row| [&row["code"], &row["rule"], &row["path"]].map(word).join(" ")).collect();
    match expected.iter().find(|row| !found.contains(row)) {
        Some(missing) => Err(format!("no `{missing}` among {found:#?}").into()),
        None => Ok(()),
    }
}

/// A probe that must be sent once more, and one that waits for its answer in vain, at the shortest interval.
const HEALTH: Duration = Duration::from_secs(12);

/// The backends that are up and down, as soon as probes have found it out.
pub(crate) fn backends(stage: &Stage, balancer: &str, expected: &[(String, bool)]) -> Outcome {
    let deadline = Instant::now() + HEALTH;
    loop {
        let answer = data(stage, &["lb", balancer])?;
        let rows = answer.as_array().ok_or("there is no such load balancer")?.iter();
        // The target of an inbound NAT rule is not probed.
        let rows: Vec<_> = rows.filter(|row| row["backendPool"] != "").collect();
        let machine = |row: &Value| word(&row["backend"]).split('/').next().map(str::to_owned);
        let is_so = |(node, up): &(String, bool)| {
            let mut of_node = rows.iter().copied().filter(|row| machine(row).as_ref() == Some(node)).peekable();
            of_node.peek().is_some() && of_node.all(|row| (row["health"] == "Up") == *up)
        };
        if expected.iter().all(is_so) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("they are {answer:#}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn explain(stage: &Stage, question: &[String; 2], expected: &ExplainAnswer) -> Outcome {
    let [from, to] = question;
    let answer = data(stage, &["explain", from, to])?;
    if answer["verdict"] != expected.verdict.as_str() {
        return Err(format!("it is {}: {:#}", answer["verdict"], answer["cause"]).into());
    }
    let warnings = answer["warnings"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join("\n");
    let texts = [
        (&expected.cause, word(&answer["cause"])),
        (&expected.fix, word(&answer["fix"]["text"])),
        (&expected.warning, warnings),
    ];
    for (expected, found) in texts {
        if let Some(expected) = expected.as_ref().filter(|expected| !found.contains(*expected)) {
            return Err(format!("no `{expected}` in `{found}`").into());
        }
    }
    Ok(())
}

/// What real packets have proven, the model must foretell: verdict, way, and place and reason of a drop.
pub(crate) fn foretold(stage: &Stage, ask: &Ask, question: &Question, expect: &Expect) -> Outcome {
    let from = ask.source.as_ref().unwrap_or(&ask.from);
    let to = match ask.kind {
        Kind::Ping => question.peer.ip().to_string(),
        Kind::Tcp => format!("{}/tcp", question.peer),
        Kind::Udp => format!("{}/udp", question.peer),
    };
    let answer = data(stage, &["explain", from, &to])?;
    let walk = |name: &str| Walk::of(&answer[name], |node| stage.is_gateway(node));
    let agrees = match expect {
        Expect::Ok { via, back, from: _ } => {
            let went = |name: &str, nodes: &Option<Vec<String>>| nodes.as_ref().is_none_or(|it| *it == walk(name).via);
            answer["verdict"] == "reachable" && went("forward", via) && went("return", back)
        }
        Expect::Drop { what, node, reason } => {
            let path = match what {
                Lost::Request => walk("forward"),
                Lost::Answer => walk("return"),
            };
            answer["verdict"] == "blocked" && path.dropped == Some((node.clone(), reason.clone()))
        }
        Expect::LostAt(node) => {
            let forward = &answer["forward"];
            let last = forward["hops"].as_array().and_then(|hops| hops.last()).map(|hop| word(&hop["node"]));
            answer["verdict"] == "blocked" && forward["delivered"] == false && last.as_deref() == Some(node)
        }
    };
    if agrees {
        return Ok(());
    }
    let [forward, back] = ["forward", "return"].map(|name| walk(name).to_string());
    Err(format!("so it is, but explain says {}: forward {forward}, return {back}", answer["verdict"]).into())
}

/// A way as `explain` tells it.
struct Walk {
    via: Vec<String>,
    /// The sender of the packet that was dropped, and the reason.
    dropped: Option<(String, String)>,
}

impl Walk {
    /// Gateways forward within the leg of the sender.
    fn of(path: &Value, is_gateway: impl Fn(&str) -> bool) -> Self {
        let hops = path["hops"].as_array().map(Vec::as_slice).unwrap_or_default();
        let sends = |hop: &&Value| {
            let mut steps = hop["steps"].as_array().unwrap().iter();
            steps.any(|step| step["what"] == "send" || step["what"] == "forward")
        };
        let senders = hops.iter().filter(sends).map(|hop| word(&hop["node"]));
        let senders: Vec<_> = senders.filter(|node| !is_gateway(node)).collect();
        let dropped = path["dropped"].as_str().zip(senders.last());
        Self {
            via: senders.iter().skip(1).cloned().collect(),
            dropped: dropped.map(|(reason, node)| (node.clone(), reason.to_owned())),
        }
    }
}

impl std::fmt::Display for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&way(&self.via))?;
        self.dropped.iter().try_for_each(|(node, reason)| write!(f, ", drop@{node} {reason}"))
    }
}

/// The hops that answer on the path, each with the smallest hop limit that reaches it.
pub(crate) fn hops(stage: &Stage, from: &str, to: &str, expected: &[String]) -> Outcome {
    let peer = stage.address(to)?;
    stage.node(from)?;
    let mut pinger = stage.lab.inside(from, || Pinger::towards(peer))?;
    let mut found = Vec::new();
    for hop_limit in 1..=MOST_HOPS {
        let Some(answer) = patient(stage, |wait| pinger.ask(hop_limit, wait))? else { break };
        found.push(answer.from.to_string());
        if answer.arrived {
            break;
        }
    }
    if found == expected { Ok(()) } else { Err(format!("they are {found:?}").into()) }
}

/// Asks again, more and more patiently.
fn patient<T>(stage: &Stage, mut ask: impl FnMut(Duration) -> std::io::Result<Option<T>>) -> Outcome<Option<T>> {
    let began = Instant::now();
    let mut wait = Duration::from_millis(50);
    while began.elapsed() < stage.patience {
        if let Some(answer) = ask(wait)? {
            return Ok(Some(answer));
        }
        wait *= 2;
    }
    Ok(None)
}

/// A program in a guest, and a part of what it writes.
pub(crate) fn exec(stage: &Stage, node: &str, command: &[String], says: &str) -> Outcome {
    stage.node(node)?;
    let program = command.first().ok_or("there is no command")?;
    if !has_program(program) {
        return Ok(());
    }
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let output = stage.lab.exec(node, &command);
    let written = stdout(&output) + &stderr(&output);
    if written.contains(says) { Ok(()) } else { Err(format!("it writes:\n{written}").into()) }
}

/// Text as it is; nothing for null.
pub(crate) fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The same rows, in any order.
pub(crate) fn same(mut found: Vec<String>, mut expected: Vec<String>) -> Outcome {
    found.sort();
    expected.sort();
    if found == expected {
        return Ok(());
    }
    let without = |from: &[String], other: &[String]| {
        let mut rest = from.to_vec();
        for row in other {
            if let Some(at) = rest.iter().position(|left| left == row) {
                rest.remove(at);
            }
        }
        rest
    };
    Err(format!("missing: {:#?}\nnot expected: {:#?}", without(&expected, &found), without(&found, &expected)).into())
}

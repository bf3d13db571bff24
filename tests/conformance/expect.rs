//! What must become of a packet, and of its answer: `ok via nva, back direct`, `drop@va NextHopNone`.

use std::net::IpAddr;

use vnet::dataplane::DropReason;

/// The fate of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// It arrives and is answered. Where a way is named, the packets were seen to take it; where a source, to have it on
    /// arrival.
    Ok { via: Option<Vec<String>>, back: Option<Vec<String>>, from: Option<IpAddr> },
    /// The fabric drops it, or its answer.
    Drop { what: Lost, node: String, reason: String },
    /// A guest takes it and does not send it on.
    LostAt(String),
}

/// Which of the two is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The destination never sees anything.
    Request,
    /// The destination sees the request.
    Answer,
}

impl Expect {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(node) = text.strip_prefix("lost@") {
            return Ok(Self::LostAt(one_word(node)?));
        }
        let (what, rest) = text.strip_prefix("answer ").map_or((Lost::Request, text), |rest| (Lost::Answer, rest));
        if let Some(rest) = rest.strip_prefix("drop@") {
            let (node, reason) = rest.split_once(' ').ok_or("after drop@NODE a reason is expected")?;
            // What goes round is counted beside what is dropped.
            if reason != "RoutingLoop" && !DropReason::ALL.iter().any(|known| known.name() == reason) {
                return Err(format!("there is no drop reason `{reason}`"));
            }
            return Ok(Self::Drop { what, node: one_word(node)?, reason: reason.to_owned() });
        }
        match text.strip_prefix("ok") {
            Some(ways) => ok(ways).ok_or_else(|| unknown(text)),
            None => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> String {
    format!(
        "`{text}` is none of: ok [direct|via NODE..][, back direct|via NODE..], ok from ADDRESS, [answer ]drop@NODE REASON, lost@NODE"
    )
}

/// What follows `ok`: nothing, one way, or two.
fn ok(ways: &str) -> Option<Expect> {
    if ways.is_empty() {
        return Some(Expect::Ok { via: None, back: None, from: None });
    }
    let ways = ways.strip_prefix(' ')?;
    if let Some(from) = ways.strip_prefix("from ") {
        return Some(Expect::Ok { via: None, back: None, from: Some(from.parse().ok()?) });
    }
    let from = None;
    Some(match (ways.strip_prefix("back "), ways.split_once(", back ")) {
        (Some(back), _) => Expect::Ok { via: None, back: Some(way(back)?), from },
        (None, Some((via, back))) => Expect::Ok { via: Some(way(via)?), back: Some(way(back)?), from },
        (None, None) => Expect::Ok { via: Some(way(ways)?), back: None, from },
    })
}

fn way(text: &str) -> Option<Vec<String>> {
    if text == "direct" {
        return Some(Vec::new());
    }
    let nodes: Vec<String> = text.strip_prefix("via ")?.split_whitespace().map(str::to_owned).collect();
    (!nodes.is_empty() && nodes.iter().all(|node| !node.contains(','))).then_some(nodes)
}

fn one_word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("`{text}` is no node's name"));
    }
    Ok(text.to_owned())
}

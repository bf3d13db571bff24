//! Who reaches whom, on a graph: how many others each box reaches, or what one of them reaches.

use crate::analysis::{Pair, Reach, Verdict};

use super::{Graph, Mark, MarkKind, NodeKind, Note, NoteLine, Tone};

/// Pairs that are named below a picture.
const NAMED: usize = 40;

/// Marks each box with how many it reaches, and names the pairs that do not reach each other.
pub fn with_reach(graph: &mut Graph, reach: &Reach) {
    for place in graph.places() {
        let Some(name) = graph.node(&place).and_then(|node| asked(graph, reach, &place, node.kind)) else { continue };
        let pairs = || reach.pairs.iter().filter(|pair| pair.source == name);
        let (all, reached) = (pairs().count(), pairs().filter(|pair| pair.verdict == Verdict::Reachable).count());
        let tone = match reached {
            _ if reached == all => Tone::Yes,
            0 => Tone::No,
            _ => Tone::Depends,
        };
        answer(graph, &place, tone, format!("reaches {reached} of {all}"));
    }
    let blocked: Vec<_> = reach.pairs.iter().filter(|pair| pair.verdict != Verdict::Reachable).collect();
    let traffic: Vec<_> = reach.traffic.iter().map(ToString::to_string).collect();
    let title = match blocked.len() {
        0 => format!("All reach each other, {}", traffic.join(", ")),
        count => format!("{count} of {} do not reach each other, {}", reach.pairs.len(), traffic.join(", ")),
    };
    let mut lines: Vec<_> = blocked.iter().take(NAMED).map(|pair| line(pair)).collect();
    if blocked.len() > NAMED {
        let text = format!("and {} more", blocked.len() - NAMED);
        lines.push(NoteLine { badge: None, tone: Tone::Plain, text });
    }
    graph.notes.push(Note { title, lines });
}

/// Marks each box with whether one of them reaches it.
pub fn with_reach_from(graph: &mut Graph, reach: &Reach, source: &str) {
    for place in graph.places() {
        let Some(name) = graph.node(&place).and_then(|node| asked(graph, reach, &place, node.kind)) else { continue };
        if name == source {
            answer(graph, &place, Tone::Plain, "asks".to_owned());
        } else if let Some(pair) = reach.pairs.iter().find(|pair| pair.source == source && pair.destination == name) {
            answer(graph, &place, tone(pair), words(pair));
        }
    }
    let traffic: Vec<_> = reach.traffic.iter().map(ToString::to_string).collect();
    let lines = reach.pairs.iter().filter(|pair| pair.source == source).map(line).collect();
    graph.notes.push(Note { title: format!("What {source} reaches, {}", traffic.join(", ")), lines });
}

fn answer(graph: &mut Graph, place: &[usize], tone: Tone, name: String) {
    if let Some(node) = graph.node_mut(place) {
        node.marks.push(Mark { kind: MarkKind::Answer, name, tone });
        node.tone = tone;
    }
}

fn tone(pair: &Pair) -> Tone {
    match pair.verdict {
        Verdict::Reachable => Tone::Yes,
        Verdict::Blocked | Verdict::WrongHost => Tone::No,
        Verdict::Depends => Tone::Depends,
    }
}

fn words(pair: &Pair) -> String {
    match pair.verdict {
        Verdict::Reachable => format!("yes, {pair}"),
        Verdict::Depends => "depends".to_owned(),
        Verdict::Blocked | Verdict::WrongHost if pair.back.is_some() => "no answer".to_owned(),
        Verdict::Blocked | Verdict::WrongHost => "no".to_owned(),
    }
}

fn line(pair: &Pair) -> NoteLine {
    let text = format!("{} to {}: {pair}", pair.source, pair.destination);
    NoteLine { badge: None, tone: tone(pair), text }
}

/// What the answer calls a box, if it was asked about.
fn asked(graph: &Graph, reach: &Reach, place: &[usize], kind: NodeKind) -> Option<String> {
    let node = graph.node(place)?;
    let name = match kind {
        NodeKind::Machine => node.name.split('/').next()?.to_owned(),
        NodeKind::Site | NodeKind::Client | NodeKind::PrivateCloud | NodeKind::Internet => node.name.clone(),
        NodeKind::Subnet => format!("{}/{}", graph.nodes[place[0]].name, node.name),
        _ => return None,
    };
    reach.nodes.contains(&name).then_some(name)
}

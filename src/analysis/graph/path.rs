//! A packet's way there and back on a graph: a number at each box where it comes by, and below the picture what
//! decided there, in the words of `explain`.

use crate::analysis::{Explanation, Hop, Path, StepKind, Verdict};
use crate::model::Network;

use super::{Badge, Graph, NodeKind, Note, NoteLine, Stop, Tone, Way};

/// Adds both ways of an explanation.
pub fn with_path(graph: &mut Graph, network: &Network, explanation: &Explanation) {
    let mut number = 1;
    for (path, back) in [(Some(&explanation.forward), false), (explanation.back.as_ref(), true)] {
        let Some(path) = path else { continue };
        let title = if back { "way back" } else { "way there" };
        let mut stops = Vec::new();
        let mut lines = Vec::new();
        for (at, hop) in path.hops.iter().enumerate() {
            let badge = Badge { number, back, cross: !path.delivered && at + 1 == path.hops.len() };
            number += 1;
            lines.extend(decisions(hop, badge));
            let Some(place) = place(graph, network, hop) else { continue };
            if let Some(node) = graph.node_mut(&place) {
                node.badges.push(badge);
            }
            stops.push(Stop { place, number: badge.number });
        }
        let title = format!("{title}: {}", if path.delivered { "arrives" } else { "does not arrive" });
        graph.ways.push(Way { title: title.clone(), back, stops, arrives: path.delivered });
        graph.notes.push(Note { title: sentence(&title, path), lines });
    }
    graph.notes.push(verdict(explanation));
}

fn sentence(title: &str, path: &Path) -> String {
    let reason = path.dropped.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut letters = title.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default() + &reason
}

fn verdict(explanation: &Explanation) -> Note {
    let Explanation { source, destination, probe, verdict, cause, fix, .. } = explanation;
    let (tone, word) = match verdict {
        Verdict::Reachable => (Tone::Yes, "reachable"),
        Verdict::Blocked => (Tone::No, "blocked"),
        Verdict::WrongHost => (Tone::No, "wrong host"),
        Verdict::Depends => (Tone::Depends, "depends"),
    };
    let plain = |text: String| NoteLine { badge: None, tone: Tone::Plain, text };
    let mut lines = vec![NoteLine { badge: None, tone, text: format!("{source} to {destination}, {probe}: {word}") }];
    lines.extend(cause.iter().map(|cause| plain(format!("cause: {cause}"))));
    lines.extend(fix.iter().map(|fix| plain(format!("fix: {}", fix.text))));
    Note { title: String::new(), lines }
}

/// The rules, routes and translations that decided at a hop.
fn decisions(hop: &Hop, badge: Badge) -> Vec<NoteLine> {
    let mut lines = vec![NoteLine { badge: Some(badge), tone: Tone::Plain, text: hop.nic.clone() }];
    for step in &hop.steps {
        let (tone, text) = match step.what {
            StepKind::Filter | StepKind::Route | StepKind::Peering | StepKind::Balance | StepKind::Translate => {
                (Tone::Plain, format!("{}: {}", step.object, step.text))
            }
            StepKind::Drop => (Tone::No, format!("dropped, {}: {}", step.object, step.text)),
            StepKind::Deliver => (Tone::Yes, step.text.clone()),
            StepKind::Send | StepKind::Arrive | StepKind::Forward => continue,
        };
        lines.push(NoteLine { badge: None, tone, text });
    }
    lines
}

/// The box of a hop: the interface's own, or in a folded picture that of its network.
fn place(graph: &Graph, network: &Network, hop: &Hop) -> Option<Vec<usize>> {
    let places = graph.places();
    let find = |wanted: &dyn Fn(NodeKind) -> bool, name: &str| {
        places
            .iter()
            .find(|place| graph.node(place).is_some_and(|node| wanted(node.kind) && node.name == name))
            .cloned()
    };
    let in_network = |kind: NodeKind| !matches!(kind, NodeKind::Subnet | NodeKind::VirtualNetwork | NodeKind::Missing);
    let whole = |name: &str| name.split(['#', '/']).next().unwrap_or_default().to_owned();
    find(&in_network, &hop.nic)
        .or_else(|| find(&in_network, &hop.node))
        .or_else(|| find(&in_network, &whole(&hop.node)))
        .or_else(|| find(&|kind| kind == NodeKind::VirtualNetwork, vnet_of(network, hop)?))
        .or_else(|| find(&|kind| kind == NodeKind::VirtualNetwork, &hop.node))
}

/// The network that an interface or a gateway is in.
fn vnet_of<'a>(network: &'a Network, hop: &Hop) -> Option<&'a str> {
    let is = |name: &str| name == hop.node || hop.node.split('#').next() == Some(name);
    let machine = network.network_interfaces.iter().find(|nic| {
        let name = &network.vm(nic.virtual_machine).name;
        hop.nic == format!("{name}/{}", nic.name)
    });
    let gateway = network.virtual_network_gateways.iter().find(|gateway| is(&gateway.name));
    let subnet = machine.map(|nic| nic.subnet).or_else(|| gateway.map(|gateway| gateway.subnet))?;
    Some(&network.vnet(subnet.vnet).name)
}

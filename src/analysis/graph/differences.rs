//! Two graphs in one: what a change adds, removes and changes.

use std::collections::HashMap;

use crate::analysis::{Action, ObjectChange, Plan};

use super::{Graph, Link, LinkKind, Mark, MarkKind, Node, NodeKind, Note, NoteLine, Tone};

/// Changes that are named below a picture.
const NAMED: usize = 40;

/// What is in either, each thing once; the plan says which objects differ.
pub fn compared(before: &Graph, after: &Graph, plan: &Plan) -> Graph {
    let nodes = merged(&before.nodes, &after.nodes);
    let by_name: HashMap<_, _> = nodes.iter().enumerate().map(|(at, node)| (key(node), at)).collect();
    let links = |graph: &Graph| -> Vec<Link> {
        let at = |end: usize| by_name[&key(&graph.nodes[end])];
        graph.links.iter().map(|link| Link { ends: link.ends.map(at), ..link.clone() }).collect()
    };
    let links = merged_links(&links(before), links(after));
    let mut graph = Graph { title: after.title.clone(), nodes, links, ..Graph::default() };
    for change in &plan.changes {
        graph.nodes.iter_mut().for_each(|node| touch(node, None, change));
        let names = |link: &Link| link.tone == Tone::Plain && link.names.contains(&change.name);
        if matches!(change.kind.as_str(), "virtualNetworkPeerings" | "connections") {
            graph.links.iter_mut().filter(|link| names(link)).for_each(|link| link.tone = Tone::Changed);
        }
    }
    graph.notes.push(note(plan));
    graph
}

fn key(node: &Node) -> (NodeKind, String) {
    (node.kind, node.name.to_lowercase())
}

fn merged(before: &[Node], after: &[Node]) -> Vec<Node> {
    let find = |nodes: &[Node], node: &Node| nodes.iter().find(|other| key(other) == key(node)).cloned();
    let mut nodes: Vec<Node> = after
        .iter()
        .map(|node| match find(before, node) {
            None => toned(node.clone(), Tone::Added),
            Some(old) => both(&old, node),
        })
        .collect();
    let gone = before.iter().filter(|node| find(after, node).is_none());
    nodes.extend(gone.map(|node| toned(node.clone(), Tone::Removed)));
    nodes
}

fn both(old: &Node, new: &Node) -> Node {
    let mut node = new.clone();
    node.inner = merged(&old.inner, &new.inner);
    if old.lines != new.lines {
        node.tone = Tone::Changed;
    }
    for mark in node.marks.iter_mut().filter(|mark| !old.marks.contains(mark)) {
        mark.tone = Tone::Added;
    }
    let gone = old.marks.iter().filter(|mark| !new.marks.contains(mark));
    node.marks.extend(gone.map(|mark| Mark { tone: Tone::Removed, ..mark.clone() }));
    node
}

fn toned(node: Node, tone: Tone) -> Node {
    let inner = node.inner.into_iter().map(|inner| toned(inner, tone)).collect();
    Node { tone, inner, ..node }
}

fn merged_links(before: &[Link], mut after: Vec<Link>) -> Vec<Link> {
    let joins = |a: &Link, b: &Link| {
        let reversed = [b.ends[1], b.ends[0]];
        a.kind == b.kind && (a.ends == b.ends || a.ends == reversed)
    };
    for link in &mut after {
        match before.iter().find(|old| joins(old, link)) {
            None => link.tone = Tone::Added,
            Some(old) if (old.state, &old.label) != (link.state, &link.label) => link.tone = Tone::Changed,
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|old| !after.iter().any(|link| joins(old, link)));
    let gone: Vec<_> = gone.map(|link| Link { tone: Tone::Removed, ..link.clone() }).collect();
    after.extend(gone);
    for link in after.iter_mut().filter(|link| link.tone == Tone::Removed && link.kind != LinkKind::Internet) {
        link.label = Some("removed".to_owned());
    }
    after
}

/// Marks what a changed object is drawn as.
fn touch(node: &mut Node, vnet: Option<&str>, change: &ObjectChange) {
    let within =
        |name: &str| change.name == name || change.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    for mark in node.marks.iter_mut().filter(|mark| mark.tone == Tone::Plain) {
        let kinds: &[&str] = match mark.kind {
            MarkKind::RouteTable => &["routeTables", "routes"],
            MarkKind::SecurityGroup => &["networkSecurityGroups", "securityRules"],
            MarkKind::ApplicationGroup => &["applicationSecurityGroups"],
            MarkKind::NatGateway => &["natGateways"],
            MarkKind::Answer => &[],
        };
        if kinds.contains(&change.kind.as_str()) && within(&mark.name) {
            mark.tone = Tone::Changed;
        }
    }
    let is_it = match (node.kind, change.kind.as_str()) {
        (NodeKind::VirtualNetwork, "virtualNetworks")
        | (NodeKind::Site, "sites")
        | (NodeKind::Client, "vpnClients")
        | (NodeKind::PrivateCloud, "privateClouds")
        | (NodeKind::Circuit, "expressRouteCircuits")
        | (NodeKind::Gateway, "virtualNetworkGateways")
        | (NodeKind::RouteServer, "routeServers") => change.name == node.name,
        (NodeKind::LoadBalancer, _) => change.kind.starts_with("load") && within(&node.name),
        (NodeKind::Subnet, "subnets") => vnet.is_some_and(|vnet| change.name == format!("{vnet}/{}", node.name)),
        (NodeKind::Machine, "virtualMachines" | "networkInterfaces") => within(&node.name),
        _ => false,
    };
    if is_it && node.tone == Tone::Plain {
        node.tone = Tone::Changed;
    }
    let NodeKind::VirtualNetwork = node.kind else {
        node.inner.iter_mut().for_each(|inner| touch(inner, vnet, change));
        return;
    };
    let name = node.name.clone();
    node.inner.iter_mut().for_each(|inner| touch(inner, Some(&name), change));
}

/// The plan in lines.
fn note(plan: &Plan) -> Note {
    let mut lines: Vec<_> = plan.changes.iter().take(NAMED).map(line).collect();
    if plan.changes.len() > NAMED {
        let text = format!("and {} more", plan.changes.len() - NAMED);
        lines.push(NoteLine { badge: None, tone: Tone::Plain, text });
    }
    let title = if lines.is_empty() { "No difference" } else { "What changes" };
    Note { title: title.to_owned(), lines }
}

fn line(change: &ObjectChange) -> NoteLine {
    let tone = match change.action {
        Action::Create => Tone::Added,
        Action::Update => Tone::Changed,
        Action::Delete => Tone::Removed,
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let properties = change.properties.iter().filter(|_| change.action == Action::Update);
    let properties: Vec<_> = properties
        .map(|one| format!("{} {} becomes {}", one.property, value(&one.before), value(&one.after)))
        .collect();
    let more = if properties.is_empty() { String::new() } else { format!(": {}", properties.join(", ")) };
    NoteLine { badge: None, tone, text: format!("{} {}{more}", change.kind, change.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_plan_is_counted_and_not_listed_whole() {
        let change = |nth: usize| ObjectChange {
            action: Action::Create,
            kind: "subnets".into(),
            name: format!("s{nth}"),
            properties: Vec::new(),
        };
        let plan = |count| Plan { changes: (0..count).map(change).collect(), ..Plan::default() };
        let lines = |count| note(&plan(count)).lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(lines(NAMED).len(), NAMED);
        assert!(lines(NAMED).iter().all(|line| !line.contains("more")));
        assert_eq!(lines(NAMED + 3).last().map(String::as_str), Some("and 3 more"));
        assert_eq!(note(&plan(0)).title, "No difference");
    }
}

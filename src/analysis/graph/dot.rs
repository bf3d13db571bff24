//! A graph for Graphviz, which places everything itself.

use std::fmt::Write;

use super::{Graph, LinkKind, LinkState, Node, NodeKind, Tone};

/// The graph in the DOT language: networks and subnets are clusters.
pub fn dot(graph: &Graph) -> String {
    let mut text = format!("graph {} {{\n  compound=true\n  node [shape=box]\n", quoted(&graph.title));
    for (at, node) in graph.nodes.iter().enumerate() {
        write_node(&mut text, node, &format!("n{at}"), 1);
    }
    for link in &graph.links {
        let [a, b] = link.ends;
        let style = match (link.state, link.kind) {
            (LinkState::Up, LinkKind::Tunnel | LinkKind::GlobalReach) => "dashed",
            (LinkState::Up, _) => "solid",
            (LinkState::OneSided(_) | LinkState::Down, _) => "dotted",
        };
        let label = link.label.clone().unwrap_or_default();
        let label = format!("{}{}", link.tone.sign(), label);
        let ends = [(a, "ltail"), (b, "lhead")].map(|(end, attribute)| {
            let cluster = is_cluster(&graph.nodes[end]);
            let attribute = if cluster { format!(" {attribute}=cluster_n{end}") } else { String::new() };
            (anchor(&graph.nodes[end], end), attribute)
        });
        let _ = writeln!(
            text,
            "  {} -- {} [style={style} label={}{}{}{}]",
            ends[0].0,
            ends[1].0,
            quoted(label.trim_end()),
            ends[0].1,
            ends[1].1,
            colour(link.tone)
        );
    }
    text + "}\n"
}

fn is_cluster(node: &Node) -> bool {
    !node.inner.is_empty()
}

/// The invisible box inside a cluster that lines end at: Graphviz draws lines between boxes only.
fn anchor(node: &Node, at: usize) -> String {
    if is_cluster(node) { format!("n{at}_") } else { format!("n{at}") }
}

fn write_node(text: &mut String, node: &Node, id: &str, depth: usize) {
    let indent = "  ".repeat(depth);
    let label = quoted(&words(node));
    if !is_cluster(node) {
        let shape = match node.kind {
            NodeKind::Internet => " shape=ellipse",
            NodeKind::Subnet => " style=dashed",
            NodeKind::Missing => " style=dotted",
            _ => "",
        };
        let _ = writeln!(text, "{indent}{id} [label={label}{shape}{}]", colour(node.tone));
        return;
    }
    let _ = writeln!(text, "{indent}subgraph cluster_{id} {{\n{indent}  label={label}{}", colour(node.tone));
    if depth == 1 {
        let _ = writeln!(text, "{indent}  {id}_ [shape=point style=invis]");
    }
    for (at, inner) in node.inner.iter().enumerate() {
        write_node(text, inner, &format!("{id}_{at}"), depth + 1);
    }
    let _ = writeln!(text, "{indent}}}");
}

/// All that a box says.
pub(super) fn words(node: &Node) -> String {
    let name = match node.kind {
        NodeKind::Machine | NodeKind::Subnet | NodeKind::Internet => node.name.clone(),
        kind => format!("{} {}", kind.word(), node.name),
    };
    let marks = node.marks.iter().map(|mark| format!("{}{}", mark.tone.sign(), mark.text()));
    let badges = node.badges.iter().map(|badge| format!("({}{})", badge.number, if badge.cross { " X" } else { "" }));
    let name = format!("{}{name}", node.tone.sign());
    std::iter::once(name).chain(node.lines.iter().cloned()).chain(marks).chain(badges).collect::<Vec<_>>().join("\n")
}

fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Added => " color=\"#009e73\" penwidth=2",
        Tone::Removed | Tone::No => " color=\"#d55e00\" penwidth=2",
        Tone::Changed | Tone::Depends => " color=\"#e69f00\" penwidth=2",
        Tone::Yes => " color=\"#0072b2\" penwidth=2",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

//! A graph for Mermaid, which README pages of GitHub draw themselves.

use std::fmt::Write;

use super::dot::words;
use super::{Graph, LinkKind, LinkState, Node, Tone};

/// The graph as a flowchart.
pub fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart TB\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        write_node(&mut text, node, &format!("n{at}"), 1);
    }
    for link in &graph.links {
        let arrow = match (link.state, link.kind) {
            (LinkState::Up, LinkKind::ExpressRoute) => "===",
            (LinkState::Up, LinkKind::Tunnel | LinkKind::GlobalReach) => "-.-",
            (LinkState::Up, LinkKind::Peering | LinkKind::Internet) => "---",
            (LinkState::OneSided(_), _) => "-.-o",
            (LinkState::Down, _) => "-.-x",
        };
        let label = format!("{}{}", link.tone.sign(), link.label.clone().unwrap_or_default());
        let label = if label.is_empty() { String::new() } else { format!("|{}|", quoted(label.trim_end())) };
        let _ = writeln!(text, "  n{} {arrow}{label} n{}", link.ends[0], link.ends[1]);
    }
    let tones = [
        (Tone::Added, "added", "stroke:#009e73,stroke-width:3px"),
        (Tone::Removed, "removed", "stroke:#d55e00,stroke-width:3px,stroke-dasharray:5 4"),
        (Tone::Changed, "changed", "stroke:#e69f00,stroke-width:3px"),
        (Tone::Yes, "yes", "stroke:#0072b2,stroke-width:3px"),
        (Tone::No, "no", "stroke:#d55e00,stroke-width:3px,stroke-dasharray:6 3"),
        (Tone::Depends, "depends", "stroke:#e69f00,stroke-width:3px,stroke-dasharray:2 2"),
    ];
    for (tone, class, style) in tones {
        if text.contains(&format!(":::{}\n", name_of(tone))) {
            let _ = writeln!(text, "  classDef {class} {style}");
        }
    }
    text
}

fn write_node(text: &mut String, node: &Node, id: &str, depth: usize) {
    let indent = "  ".repeat(depth);
    let label = quoted(&words(node));
    if node.inner.is_empty() {
        let class = if node.tone == Tone::Plain { String::new() } else { format!(":::{}", name_of(node.tone)) };
        let _ = writeln!(text, "{indent}{id}[{label}]{class}");
        return;
    }
    let _ = writeln!(text, "{indent}subgraph {id} [{label}]");
    for (at, inner) in node.inner.iter().enumerate() {
        write_node(text, inner, &format!("{id}_{at}"), depth + 1);
    }
    let _ = writeln!(text, "{indent}end");
}

fn name_of(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Added => "added",
        Tone::Removed => "removed",
        Tone::Changed => "changed",
        Tone::Yes => "yes",
        Tone::No => "no",
        Tone::Depends => "depends",
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    format!("\"{}\"", escaped.replace('\n', "<br>"))
}

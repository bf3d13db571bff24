//! What stands below the picture: what its lines mean, then texts with the numbers of hops.

use std::collections::BTreeMap;

use super::super::drawing::{Drawing, Label, LabelStyle, Line, LineKind, Rect};
use super::super::metrics::Metrics;
use super::super::{Graph, LinkKind, LinkState, Tone};
use super::inside;

/// Adds them below `bottom`, within the breadth; returns where they end.
pub(super) fn put(graph: &Graph, drawing: &mut Drawing, (width, bottom): (i32, i32), metrics: &Metrics) -> i32 {
    let mut y = legend(graph, drawing, bottom + metrics.gap.1.max(1), metrics);
    for note in &graph.notes {
        y += metrics.line / 2;
        let mut say = |text: String, x: i32, y: i32, style: LabelStyle, tone: Tone| {
            let w = metrics.width(&text, style != LabelStyle::Body);
            drawing.labels.push(Label { rect: Rect { x, y, w, h: metrics.line }, text, style, tone });
        };
        if !note.title.is_empty() {
            say(note.title.clone(), metrics.margin, y, LabelStyle::Name, Tone::Plain);
            y += metrics.line;
        }
        for line in &note.lines {
            let x = metrics.margin + metrics.badge;
            let text = format!("{}{}", line.tone.sign(), line.text);
            for (at, part) in metrics.wrapped(&text, width - x).into_iter().enumerate() {
                if let (0, Some(badge)) = (at, &line.badge) {
                    let rect = Rect { x: metrics.margin, y, w: metrics.badge, h: metrics.line };
                    drawing.labels.push(inside::badge(badge, rect));
                }
                let w = metrics.width(&part, false);
                let rect = Rect { x, y, w, h: metrics.line };
                drawing.labels.push(Label { rect, text: part, style: LabelStyle::Body, tone: line.tone });
                y += metrics.line;
            }
        }
    }
    y
}

/// The legend: a sample of each kind of line in the picture, and its meaning.
fn legend(graph: &Graph, drawing: &mut Drawing, y: i32, metrics: &Metrics) -> i32 {
    let mut kinds: BTreeMap<(LinkKind, u8), LinkState> = BTreeMap::new();
    for link in &graph.links {
        let rank = match link.state {
            LinkState::Up => 0,
            LinkState::OneSided(_) => 1,
            LinkState::Down => 2,
        };
        kinds.entry((link.kind, rank)).or_insert(link.state);
    }
    let mut entries: Vec<(LineKind, String)> = kinds
        .into_iter()
        .map(|((kind, _), state)| {
            let words = match (kind, state) {
                (LinkKind::Internet, LinkState::OneSided(_)) => "default outbound access",
                (LinkKind::Internet, _) => "public addresses",
                (_, LinkState::Up) => "",
                (_, LinkState::OneSided(_)) => ", of one side alone",
                (_, LinkState::Down) => ", down",
            };
            let word = if kind == LinkKind::Internet { "" } else { kind.word() };
            (LineKind::Link(kind, state), format!("{word}{words}"))
        })
        .collect();
    entries.extend(
        graph
            .ways
            .iter()
            .filter(|_| metrics.ways)
            .map(|way| (LineKind::Way { back: way.back, arrives: way.arrives }, way.title.clone())),
    );
    let (mut x, mut y) = (metrics.margin, y);
    let piece = 4 * metrics.pin.max(metrics.gap.0 / 2);
    let used = !entries.is_empty();
    for (kind, text) in entries {
        let w = metrics.width(&text, false);
        if x > metrics.margin && x + piece + metrics.pin + w > metrics.page {
            (x, y) = (metrics.margin, y + metrics.line);
        }
        let middle = y + metrics.line / 2;
        let cross = matches!(kind, LineKind::Link(_, LinkState::Down)).then_some((x + piece / 2, middle));
        let points = vec![(x, middle), (x + piece, middle)];
        drawing.lines.push(Line { points, kind, cross, tone: Tone::Plain });
        let rect = Rect { x: x + piece + 2 * metrics.pin, y, w, h: metrics.line };
        x = rect.right() + metrics.gap.0.max(3);
        drawing.labels.push(Label { rect, text, style: LabelStyle::Body, tone: Tone::Plain });
    }
    if used { y + metrics.line } else { y }
}

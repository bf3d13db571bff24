//! The inside of a box: its words from the top, then the boxes in it, row by row.

use super::super::drawing::{Drawing, Label, LabelStyle, Rect, Shape};
use super::super::metrics::Metrics;
use super::super::{Badge, Node, NodeKind, Tone};
use super::Placed;

/// A box's size, and where in it everything is.
#[derive(Clone, Debug)]
pub(super) struct Size {
    pub(super) w: i32,
    pub(super) h: i32,
    words: Vec<Label>,
    /// By the boxes in it: their corners.
    corners: Vec<(i32, i32)>,
    inner: Vec<Size>,
}

/// The room that a box takes.
pub(super) fn sized(node: &Node, metrics: &Metrics) -> Size {
    let words = words(node, metrics);
    let inner: Vec<_> = node.inner.iter().map(|node| sized(node, metrics)).collect();
    let head = words.iter().map(|word| word.rect.bottom()).max().unwrap_or(metrics.pad.1);
    let top = head + metrics.gap.1;
    let (corners, (w, h)) = flow(&inner, metrics);
    let corners: Vec<_> = corners.into_iter().map(|(x, y)| (x + metrics.pad.0, y + top)).collect();
    let wide = words.iter().map(|word| word.rect.right() + metrics.pad.0).max().unwrap_or_default();
    let w = wide.max(if inner.is_empty() { 0 } else { w + 2 * metrics.pad.0 });
    let h = if inner.is_empty() { head } else { top + h } + metrics.pad.1;
    Size { w, h, words, corners, inner }
}

/// Puts a box and all in it at its place.
pub(super) fn put(
    node: &Node,
    size: &Size,
    (x, y): (i32, i32),
    place: &[usize],
    drawing: &mut Drawing,
    placed: &mut Placed,
    metrics: &Metrics,
) {
    let rect = Rect { x, y, w: size.w, h: size.h };
    placed.push((place.to_vec(), rect));
    drawing.shapes.push(Shape {
        rect,
        kind: node.kind,
        tone: node.tone,
        marked: !node.badges.is_empty(),
        tip: format!("{} {}", node.kind.word(), node.name),
    });
    drawing.labels.extend(
        size.words
            .iter()
            .map(|word| Label { rect: Rect { x: word.rect.x + x, y: word.rect.y + y, ..word.rect }, ..word.clone() }),
    );
    // A box that was made wider has what is in it in its middle.
    let used = size.corners.iter().zip(&size.inner).map(|(corner, inner)| corner.0 + inner.w).max();
    let shift = used.map_or(0, |used| (size.w - metrics.pad.0 - used) / 2);
    for (at, (inner, (own, corner))) in node.inner.iter().zip(size.inner.iter().zip(&size.corners)).enumerate() {
        let corner = (x + corner.0 + shift, y + corner.1);
        put(inner, own, corner, &[place, &[at]].concat(), drawing, placed, metrics);
    }
}

/// What a box says, with places from its corner on.
fn words(node: &Node, metrics: &Metrics) -> Vec<Label> {
    let (x, mut y) = metrics.pad;
    let mut words = Vec::new();
    let mut say = |text: String, style: LabelStyle, tone: Tone, w: i32| {
        words.push(Label { rect: Rect { x, y, w, h: metrics.line }, text, style, tone });
        y += metrics.line;
    };
    let name = heading(node);
    let width = metrics.width(&name, true);
    say(name, LabelStyle::Name, node.tone, width);
    for line in &node.lines {
        say(line.clone(), LabelStyle::Body, Tone::Plain, metrics.width(line, false));
    }
    for mark in &node.marks {
        let text = format!("{}{}", mark.tone.sign(), mark.text());
        let w = metrics.width(&text, false) + metrics.mark;
        say(text, LabelStyle::Mark(mark.kind), mark.tone, w);
    }
    for (at, badge) in node.badges.iter().enumerate() {
        let rect = Rect { x: x + metrics.badge * at as i32, y, w: metrics.badge, h: metrics.line };
        words.push(self::badge(badge, rect));
    }
    words
}

/// The number of a hop.
pub(super) fn badge(badge: &Badge, rect: Rect) -> Label {
    let Badge { number, back, cross } = *badge;
    Label { rect, text: number.to_string(), style: LabelStyle::Badge { back, cross }, tone: Tone::Plain }
}

fn heading(node: &Node) -> String {
    let sign = node.tone.sign();
    match node.kind {
        NodeKind::Machine | NodeKind::Subnet | NodeKind::Internet => format!("{sign}{}", node.name),
        NodeKind::Missing => format!("{sign}{} ({})", node.name, node.kind.word()),
        kind => format!("{sign}{} {}", kind.word(), node.name),
    }
}

/// Boxes in rows of as many as makes the whole a little wider than high: their corners, and the whole's size.
fn flow(sizes: &[Size], metrics: &Metrics) -> (Vec<(i32, i32)>, (i32, i32)) {
    let room = metrics.page - 2 * metrics.margin - 4 * metrics.pad.0;
    let grids = (1..=sizes.len()).map(|columns| grid(sizes, columns, metrics));
    let fitting = grids.enumerate().filter(|(at, (_, (w, _)))| *at == 0 || *w <= room);
    let lopsided = |(w, h): (i32, i32)| {
        let (w, h) = (i64::from(w).max(1) * 2, i64::from(h * metrics.tallness).max(1) * 3);
        w.max(h) * 1000 / w.min(h)
    };
    fitting.map(|(_, grid)| grid).min_by_key(|(_, size)| lopsided(*size)).unwrap_or_default()
}

fn grid(sizes: &[Size], columns: usize, metrics: &Metrics) -> (Vec<(i32, i32)>, (i32, i32)) {
    let widths: Vec<i32> = (0..columns)
        .map(|column| sizes.iter().skip(column).step_by(columns).map(|size| size.w).max().unwrap_or_default())
        .collect();
    let mut corners = Vec::with_capacity(sizes.len());
    let mut y = 0;
    for row in sizes.chunks(columns) {
        let mut x = 0;
        for (size, width) in row.iter().zip(&widths) {
            corners.push((if columns == 1 { x + (width - size.w) / 2 } else { x }, y));
            x += width + metrics.gap.0;
        }
        y += row.iter().map(|size| size.h).max().unwrap_or_default() + metrics.gap.1;
    }
    let w = widths.iter().sum::<i32>() + metrics.gap.0 * (columns as i32 - 1);
    (corners, (w, y - metrics.gap.1))
}

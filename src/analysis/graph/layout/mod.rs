//! Where everything is drawn.
//!
//! One idea: nothing is placed and then looked at for overlaps; room is given out, and each piece of it once. A box
//! gets the room that its words and the boxes in it take. The outermost boxes stand in rows. Lines run in the
//! channels between rows, and through a row in a column of their own. What a line says stands above or below the box
//! where it ends, within that box's own breadth.

mod channels;
mod inside;
mod notes;
mod place;
mod rows;
mod ways;

use super::drawing::{Drawing, Label, LabelStyle, Rect};
use super::metrics::Metrics;
use super::{Graph, Tone};

/// A box of the whole picture, by its place in the graph.
pub(super) type Placed = Vec<(Vec<usize>, Rect)>;

/// Draws a graph.
pub fn draw(graph: &Graph, metrics: &Metrics) -> Drawing {
    let mut sizes: Vec<_> = graph.nodes.iter().map(|node| inside::sized(node, metrics)).collect();
    let rows = rows::rows(graph, &mut sizes, metrics);
    let plan = place::plan(graph, &rows, &sizes, metrics);
    let mut drawing = Drawing { title: graph.title.clone(), ..Drawing::default() };
    heading(&mut drawing, graph, metrics);
    let top = metrics.margin + metrics.line + metrics.gap.1.max(1);
    let channels = channels::channels(graph, &rows, &plan, &sizes, top, metrics);
    let mut placed = Placed::new();
    for (at, (node, size)) in graph.nodes.iter().zip(&sizes).enumerate() {
        let corner = (plan.x[at], channels.tops[rows.row[at]]);
        inside::put(node, size, corner, &[at], &mut drawing, &mut placed, metrics);
    }
    drawing.lines = channels.lines.iter().map(|line| line.line.clone()).collect();
    drawing.labels.extend(channels.labels.iter().cloned());
    if metrics.ways {
        ways::draw(graph, &placed, &channels, &mut drawing);
    }
    let extent = |drawing: &Drawing| drawing.labels.iter().map(|label| label.rect.right()).max().unwrap_or_default();
    let width = drawing.shapes.iter().map(|shape| shape.rect.right()).max().unwrap_or_default();
    let width = width.max(extent(&drawing)).max(metrics.page.min(560) - metrics.margin);
    let bottom = notes::put(graph, &mut drawing, (width, channels.bottom), metrics);
    let lines = drawing.lines.iter().flat_map(|line| &line.points).map(|point| point.0).max().unwrap_or_default();
    drawing.width = width.max(extent(&drawing)).max(lines) + metrics.margin;
    drawing.height = bottom + metrics.margin;
    drawing
}

fn heading(drawing: &mut Drawing, graph: &Graph, metrics: &Metrics) {
    if graph.title.is_empty() {
        return;
    }
    let rect = Rect { x: metrics.margin, y: metrics.margin, w: metrics.width(&graph.title, true) + 2, h: metrics.line };
    drawing.labels.push(Label { rect, text: graph.title.clone(), style: LabelStyle::Heading, tone: Tone::Plain });
}

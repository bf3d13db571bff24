//! The channels between rows: where lines leave boxes, the height at which each runs, and what is written beside it.
//!
//! One idea: it is the channel of a printed circuit. A line comes down from the row above, runs across at a height
//! that no other line has there, and goes down to the row below. No two lines run on top of each other, because those
//! from above stand on even places of a grid, and those from below give way.

use std::collections::HashMap;

use super::super::drawing::{Label, LabelStyle, Line, LineKind, Rect, tidied};
use super::super::metrics::Metrics;
use super::super::{Graph, Link, LinkState};
use super::inside::Size;
use super::place::Plan;
use super::rows::{Rows, Slot, slot};

/// The heights of rows, and the lines between boxes.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// By row.
    pub(super) tops: Vec<i32>,
    pub(super) bottom: i32,
    /// By link, in the graph's order of the first mention by nets.
    pub(super) lines: Vec<Drawn>,
    pub(super) labels: Vec<Label>,
}

/// A link's line, from its upper end.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) link: usize,
    /// The box where the line begins.
    pub(super) from: usize,
    pub(super) line: Line,
}

/// Where lines end at boxes, in pixels from the left.
#[derive(Debug, Default)]
struct Ports {
    /// By net, at the box that it comes from.
    down: HashMap<usize, i32>,
    /// By link, at its lower end; of a line within a row at its second end.
    ends: HashMap<usize, i32>,
}

/// One channel: by net, its ends above and below.
#[derive(Debug, Default)]
struct Channel {
    nets: Vec<Crossing>,
}

#[derive(Debug)]
struct Crossing {
    net: usize,
    above: Vec<i32>,
    below: Vec<i32>,
    /// Counted from above.
    track: usize,
}

pub(super) fn channels(
    graph: &Graph,
    rows: &Rows,
    plan: &Plan,
    sizes: &[Size],
    top: i32,
    metrics: &Metrics,
) -> Channels {
    let mut ports = ports(graph, rows, plan, sizes, metrics);
    let mut crossings: Vec<Channel> = (0..rows.slots.len()).map(|row| channel(rows, plan, &ports, row)).collect();
    for (row, channel) in crossings.iter_mut().enumerate() {
        give_way(rows, channel, &mut ports, row, metrics);
        tracks(channel, metrics);
    }
    let (mut done, begins) = heights(graph, rows, sizes, &crossings, top, metrics);
    let tracer = Tracer {
        graph,
        rows,
        plan,
        sizes,
        ports: &ports,
        channels: &crossings,
        begins: &begins,
        tops: &done.tops,
        metrics,
    };
    (done.lines, done.labels) = tracer.trace();
    done
}

/// Where each row begins; and where its boxes end, and the first line below them runs.
fn heights(
    graph: &Graph,
    rows: &Rows,
    sizes: &[Size],
    channels: &[Channel],
    top: i32,
    metrics: &Metrics,
) -> (Channels, Vec<(i32, i32)>) {
    let (mut done, mut begins) = (Channels::default(), Vec::new());
    let mut y = top;
    for (row, (slots, channel)) in rows.slots.iter().zip(channels).enumerate() {
        let boxes = slots.iter().filter_map(|slot| if let Slot::Box(node) = slot { Some(*node) } else { None });
        let bottom = y + boxes.map(|node| sizes[node].h).max().unwrap_or_default();
        done.tops.push(y);
        let worded = |level: bool| {
            let nets = channel.nets.iter().map(|one| &rows.nets[one.net]).filter(|net| net.level == level);
            let mut links = nets.flat_map(|net| &net.links);
            let words =
                links.any(|(link, to)| graph.links[*link].label.is_some() && (level || rows.row[*to] == row + 1));
            if words { metrics.line } else { 0 }
        };
        let first = bottom + metrics.track + worded(true);
        begins.push((bottom, first));
        if channel.nets.is_empty() {
            done.bottom = bottom;
            y = bottom + metrics.gap.1 + metrics.track;
        } else {
            let tracks = channel.nets.iter().map(|one| one.track as i32 + 1).max().unwrap_or_default();
            y = first + tracks * metrics.track + metrics.track.min(8) + worded(false);
            done.bottom = y;
        }
    }
    (done, begins)
}

/// Spreads the ends of lines over the breadth of each box, in the order of where they lead.
fn ports(graph: &Graph, rows: &Rows, plan: &Plan, sizes: &[Size], metrics: &Metrics) -> Ports {
    enum End {
        Down(usize),
        Link(usize),
    }
    let centre = |node: usize| plan.x[node] + sizes[node].w / 2;
    let mut upper: Vec<Vec<(i32, i32, End)>> = sizes.iter().map(|_| Vec::new()).collect();
    let mut lower: Vec<Vec<(i32, i32, End)>> = sizes.iter().map(|_| Vec::new()).collect();
    for (index, net) in rows.nets.iter().enumerate() {
        let first = net.links.first().map(|(link, _)| &graph.links[*link]);
        let towards: i64 = net.links.iter().map(|(_, to)| i64::from(centre(*to))).sum();
        let towards = (towards / net.links.len().max(1) as i64) as i32;
        lower[net.from].push((towards, slot(first.filter(|_| net.level), metrics), End::Down(index)));
        for (link, to) in &net.links {
            if net.level {
                lower[*to].push((centre(net.from), slot(None, metrics), End::Link(*link)));
            } else {
                // From the column next above.
                let row = rows.row[*to] - 1;
                let from = if rows.row[net.from] == row {
                    centre(net.from)
                } else {
                    plan.pass(index, row).unwrap_or_default()
                };
                upper[*to].push((from, slot(Some(&graph.links[*link]), metrics), End::Link(*link)));
            }
        }
    }
    let mut ports = Ports::default();
    for ends in [upper, lower] {
        for (node, mut ends) in ends.into_iter().enumerate() {
            ends.sort_by_key(|(towards, _, _)| *towards);
            let slots: Vec<i32> = ends.iter().map(|(_, slot, _)| *slot).collect();
            for ((_, _, end), x) in ends.into_iter().zip(spread(plan.x[node], sizes[node].w, &slots, metrics)) {
                match end {
                    End::Down(net) => ports.down.insert(net, x),
                    End::Link(link) => ports.ends.insert(link, x),
                };
            }
        }
    }
    ports
}

/// Places on even steps of the grid: what is to spare is shared out before, between and behind them.
fn spread(x: i32, w: i32, slots: &[i32], metrics: &Metrics) -> Vec<i32> {
    let even = |x: i32| x - x.rem_euclid(2 * metrics.pin);
    let (first, last) = (x + 2 * metrics.pin, x + w - metrics.pin);
    if let [slot] = slots {
        // In the middle, unless its words need the room.
        return vec![even((x + w / 2 + metrics.pin / 2).min(last - slot + metrics.pin).max(first))];
    }
    let spare = (last - first - slots.iter().sum::<i32>()).max(0) / (slots.len() as i32 + 1);
    let mut next = first + spare;
    let place = |slot: &i32| {
        let at = even(next);
        next += slot + spare;
        at
    };
    slots.iter().map(place).collect()
}

fn channel(rows: &Rows, plan: &Plan, ports: &Ports, row: usize) -> Channel {
    let mut channel = Channel::default();
    for (index, net) in rows.nets.iter().enumerate() {
        let from = rows.row[net.from];
        let last = net.links.iter().map(|(_, to)| rows.row[*to]).max().unwrap_or_default();
        let port = ports.down[&index];
        if net.level && from == row {
            let above = std::iter::once(port).chain(net.links.iter().map(|(link, _)| ports.ends[link])).collect();
            channel.nets.push(Crossing { net: index, above, below: Vec::new(), track: 0 });
        } else if !net.level && from <= row && row < last {
            let above = if from == row { Some(port) } else { plan.pass(index, row) };
            let ends = net.links.iter().filter(|(_, to)| rows.row[*to] == row + 1).map(|(link, _)| ports.ends[link]);
            let below = ends.chain(plan.pass(index, row + 1)).collect();
            channel.nets.push(Crossing { net: index, above: above.into_iter().collect(), below, track: 0 });
        }
    }
    channel
}

/// Moves each end below that stands under another line's end above to the next place of the grid, which is odd.
fn give_way(rows: &Rows, channel: &mut Channel, ports: &mut Ports, row: usize, metrics: &Metrics) {
    let above: HashMap<i32, usize> =
        channel.nets.iter().flat_map(|one| one.above.iter().map(|x| (*x, one.net))).collect();
    for one in &mut channel.nets {
        let collides = |x: i32| above.get(&x).is_some_and(|other| *other != one.net);
        for x in &mut one.below {
            if collides(*x) {
                *x += metrics.pin;
            }
        }
        for (link, to) in &rows.nets[one.net].links {
            if rows.row[*to] == row + 1
                && !rows.nets[one.net].level
                && let Some(x) = ports.ends.get_mut(link)
                && collides(*x)
            {
                *x += metrics.pin;
            }
        }
    }
}

/// Gives each line that runs across the first height that is free there.
fn tracks(channel: &mut Channel, metrics: &Metrics) {
    let span = |one: &Crossing| {
        let all = || one.above.iter().chain(&one.below).copied();
        (all().min().unwrap_or_default(), all().max().unwrap_or_default())
    };
    let mut order: Vec<usize> = (0..channel.nets.len()).collect();
    order.sort_by_key(|one| span(&channel.nets[*one]));
    let mut ends: Vec<i32> = Vec::new();
    for one in order {
        let (first, last) = span(&channel.nets[one]);
        if first == last {
            continue;
        }
        let free = ends.iter().position(|end| end + metrics.pin < first);
        let track = free.unwrap_or(ends.len());
        if track == ends.len() {
            ends.push(last);
        } else {
            ends[track] = last;
        }
        channel.nets[one].track = track;
    }
}

/// Draws the lines, once every height is known.
struct Tracer<'a> {
    graph: &'a Graph,
    rows: &'a Rows,
    plan: &'a Plan,
    sizes: &'a [Size],
    ports: &'a Ports,
    channels: &'a [Channel],
    /// By row: where its boxes end, and where its first line runs across.
    begins: &'a [(i32, i32)],
    tops: &'a [i32],
    metrics: &'a Metrics,
}

impl Tracer<'_> {
    /// All lines, with what they say.
    fn trace(&self) -> (Vec<Drawn>, Vec<Label>) {
        let (mut lines, mut labels) = (Vec::new(), Vec::new());
        for (index, net) in self.rows.nets.iter().enumerate() {
            for &(link, to) in &net.links {
                let points = tidied(if net.level { self.level(index, link, to) } else { self.down(index, link, to) });
                let Link { kind, state, tone, .. } = self.graph.links[link];
                let cross = (state == LinkState::Down).then(|| cross(&points));
                labels.extend(self.label(index, link, to));
                let line = Line { points, kind: LineKind::Link(kind, state), cross, tone };
                lines.push(Drawn { link, from: net.from, line });
            }
        }
        (lines, labels)
    }

    /// The height at which a net runs across below a row.
    fn track(&self, row: usize, net: usize) -> i32 {
        let crossing = self.crossing(row, net);
        self.begins[row].1 + crossing.map_or(0, |one| one.track as i32) * self.metrics.track
    }

    fn crossing(&self, row: usize, net: usize) -> Option<&Crossing> {
        self.channels[row].nets.iter().find(|one| one.net == net)
    }

    /// From a box to another one of its row, below both.
    fn level(&self, net: usize, link: usize, to: usize) -> Vec<(i32, i32)> {
        let from = self.rows.nets[net].from;
        let row = self.rows.row[from];
        let bottom = |node: usize| self.tops[row] + self.sizes[node].h;
        let (port, end, y) = (self.ports.down[&net], self.ports.ends[&link], self.track(row, net));
        vec![(port, bottom(from)), (port, y), (end, y), (end, bottom(to))]
    }

    /// From a box to one of a lower row.
    fn down(&self, net: usize, link: usize, to: usize) -> Vec<(i32, i32)> {
        let from = self.rows.nets[net].from;
        let (first, last) = (self.rows.row[from], self.rows.row[to]);
        let mut x = self.ports.down[&net];
        let mut points = vec![(x, self.tops[first] + self.sizes[from].h)];
        for row in first..last {
            let y = self.track(row, net);
            let pass = self.plan.pass(net, row + 1).filter(|_| row + 1 < last);
            let Some(pass) = pass else {
                points.extend([(x, y), (self.ports.ends[&link], y)]);
                break;
            };
            // One that gave way goes back to its column within it.
            let odd = pass + self.metrics.pin;
            let gave_way = |one: &Crossing| one.below.contains(&odd) && !one.below.contains(&pass);
            let below = if self.crossing(row, net).is_some_and(gave_way) { odd } else { pass };
            let step = self.tops[row + 1] + self.metrics.pin;
            points.extend([(x, y), (below, y), (below, step), (pass, step)]);
            x = pass;
        }
        points.push((self.ports.ends[&link], self.tops[last]));
        points
    }

    /// What a line says: right of its end, in the part of the channel that has only such words.
    fn label(&self, net: usize, link: usize, to: usize) -> Option<Label> {
        let Link { label, tone, .. } = &self.graph.links[link];
        let text = label.clone()?;
        let metrics = self.metrics;
        let (x, y) = if self.rows.nets[net].level {
            (self.ports.down[&net], self.begins[self.rows.row[to]].0 + metrics.track / 2)
        } else {
            (self.ports.ends[&link], self.tops[self.rows.row[to]] - metrics.line - metrics.track / 4)
        };
        let rect = Rect { x: x + metrics.pin, y, w: metrics.width(&text, false), h: metrics.line };
        Some(Label { rect, text, style: LabelStyle::Link, tone: *tone })
    }
}

/// A broken line has its cross in the last piece before its end.
fn cross(points: &[(i32, i32)]) -> (i32, i32) {
    match points {
        [.., a, b] => (i32::midpoint(a.0, b.0), i32::midpoint(a.1, b.1)),
        _ => points.first().copied().unwrap_or_default(),
    }
}

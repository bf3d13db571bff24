//! The ways of packets: from box to box over the lines of links, and within a box through the room around the boxes
//! in it, where no words are. The way there keeps left, the way back keeps right.

use std::collections::VecDeque;

use super::super::drawing::{Drawing, Line, LineKind, Rect, tidied};
use super::super::{Graph, Tone, Way};
use super::Placed;
use super::channels::Channels;

/// From a box's border to a way beside it.
const BESIDE: i32 = 5;
/// From a link's line to a way along it.
const ASIDE: i32 = 2;

type Points = Vec<(i32, i32)>;

pub(super) fn draw(graph: &Graph, placed: &Placed, channels: &Channels, drawing: &mut Drawing) {
    for way in &graph.ways {
        let drawer = Drawer { graph, placed, channels, back: way.back };
        let mut points = Points::new();
        for pair in way.stops.windows(2) {
            drawer.between(&mut points, &pair[0].place, &pair[1].place);
        }
        let points = tidied(points);
        if points.len() > 1 {
            drawing.lines.push(line(way, points));
        }
    }
}

fn line(way: &Way, points: Points) -> Line {
    let cross = points.last().copied().filter(|_| !way.arrives);
    Line { points, kind: LineKind::Way { back: way.back, arrives: way.arrives }, cross, tone: Tone::Plain }
}

struct Drawer<'a> {
    graph: &'a Graph,
    placed: &'a Placed,
    channels: &'a Channels,
    back: bool,
}

impl Drawer<'_> {
    fn rect(&self, place: &[usize]) -> Rect {
        self.placed.iter().find(|(at, _)| at == place).map(|(_, rect)| *rect).unwrap_or_default()
    }

    /// Where ways run up and down in a box.
    fn lane(&self, rect: Rect) -> i32 {
        if self.back { rect.right() - BESIDE } else { rect.x + BESIDE }
    }

    fn aside(&self, (x, y): (i32, i32)) -> (i32, i32) {
        if self.back { (x + ASIDE, y + ASIDE) } else { (x - ASIDE, y - ASIDE) }
    }

    /// From a box out to the lane of the box around it that has so many steps in its place.
    fn out(&self, place: &[usize], depth: usize) -> Points {
        let own = self.rect(place);
        let middle = own.x + own.w / 2 + if self.back { 2 * ASIDE } else { -2 * ASIDE };
        let mut points = vec![(middle, own.y)];
        let mut x = middle;
        for level in (depth..place.len()).rev() {
            let y = self.rect(&place[..=level]).y - BESIDE;
            let next = self.lane(self.rect(&place[..level]));
            points.extend([(x, y), (next, y)]);
            x = next;
        }
        points
    }

    /// Goes on from one box to another.
    fn between(&self, points: &mut Points, from: &[usize], to: &[usize]) {
        let reversed = |mut points: Points| {
            points.reverse();
            points
        };
        if from[0] == to[0] {
            let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            let common = common.min(from.len() - 1).min(to.len() - 1).max(1);
            if from.len() > common && to.len() > common {
                points.extend(self.out(from, common));
                points.extend(reversed(self.out(to, common)));
            }
            return;
        }
        let Some(links) = self.route(from[0], to[0]) else { return };
        if from.len() > 1 {
            points.extend(self.out(from, 1));
        }
        let mut at = from[0];
        for index in links {
            let drawn = &self.channels.lines[index];
            let mut along: Points = drawn.line.points.iter().map(|point| self.aside(*point)).collect();
            let [a, b] = self.graph.links[drawn.link].ends;
            if drawn.from != at {
                along.reverse();
            }
            self.cross_box(points, at, along[0]);
            points.extend(along);
            at = if a == at { b } else { a };
        }
        if to.len() > 1 {
            let into = reversed(self.out(to, 1));
            let port = points.last().copied().unwrap_or_default();
            points.extend(reversed(self.edge(at, port, into[0])));
            points.extend(into);
        }
    }

    /// From the lane of a box, or from where a way came in, to where a line begins at its border.
    fn cross_box(&self, points: &mut Points, node: usize, port: (i32, i32)) {
        if let Some(last) = points.last().copied() {
            points.extend(self.edge(node, port, last));
        }
    }

    /// Along the inside of a box's border: from a point in its lane to a line's end on the border.
    fn edge(&self, node: usize, port: (i32, i32), from: (i32, i32)) -> Points {
        let rect = self.rect(&[node]);
        let lane = self.lane(rect);
        let inside = |y: i32| if y <= rect.y + rect.h / 2 { rect.y + BESIDE } else { rect.bottom() - BESIDE };
        let y = inside(port.1);
        let start = if from.0 == lane { vec![] } else { vec![(from.0, inside(from.1)), (lane, inside(from.1))] };
        [start, vec![(lane, y), (port.0, y), port]].concat()
    }

    /// The fewest lines from one of the outermost boxes to another.
    fn route(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut came: Vec<Option<(usize, usize)>> = vec![None; self.graph.nodes.len()];
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            if at == to {
                break;
            }
            for (index, drawn) in self.channels.lines.iter().enumerate() {
                let [a, b] = self.graph.links[drawn.link].ends;
                let other = if a == at { b } else { a };
                if (a == at || b == at) && other != from && came[other].is_none() {
                    came[other] = Some((at, index));
                    next.push_back(other);
                }
            }
        }
        let mut links = Vec::new();
        let mut at = to;
        while at != from {
            let (before, line) = came[at]?;
            links.push(line);
            at = before;
        }
        links.reverse();
        Some(links)
    }
}

//! The rows in which the outermost boxes stand, from outside to inside: sites and the Internet, circuits, the
//! networks with gateways or the most peers, then their peers, and these ones' peers.

use std::collections::{BTreeMap, VecDeque};

use super::super::metrics::Metrics;
use super::super::{Graph, Link, LinkKind, LinkState, NodeKind};
use super::inside::Size;

/// Rows of boxes, and what runs between them.
#[derive(Debug)]
pub(super) struct Rows {
    /// By box: its row.
    pub(super) row: Vec<usize>,
    /// From left to right.
    pub(super) slots: Vec<Vec<Slot>>,
    pub(super) nets: Vec<Net>,
}

/// What has a column of a row to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Box(usize),
    /// A net that goes through, by its index.
    Pass(usize),
}

/// Lines of one kind that leave a box downwards together, or one line between two boxes of a row.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub(super) from: usize,
    /// Each link with its lower end.
    pub(super) links: Vec<(usize, usize)>,
    /// Within one row.
    pub(super) level: bool,
}

/// Puts the boxes in rows; each gets as broad as the lines that end there need.
pub(super) fn rows(graph: &Graph, sizes: &mut [Size], metrics: &Metrics) -> Rows {
    let ranks = ranks(graph);
    let neighbours = neighbours(graph);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); ranks.iter().max().map_or(0, |most| most + 1)];
    for (at, rank) in ranks.iter().enumerate() {
        layers[*rank].push(at);
    }
    layers.retain(|layer| !layer.is_empty());
    sort(&mut layers, &neighbours);
    let area = sizes.iter().map(|size| i64::from(size.w + metrics.gap.0) * i64::from(size.h + 4 * metrics.gap.1)).sum();
    // Labels of lines may make a box broader: as if each had one row.
    let mut row = vec![0; graph.nodes.len()];
    number(&layers, &mut row);
    widen(&nets(graph, &row), graph, sizes, metrics);
    let layers = wrapped(layers, sizes, metrics, metrics.page_for(area) - 2 * metrics.margin);
    number(&layers, &mut row);
    let nets = nets(graph, &row);
    widen(&nets, graph, sizes, metrics);
    let mut rows: Vec<Vec<Slot>> = layers.into_iter().map(|layer| layer.into_iter().map(Slot::Box).collect()).collect();
    for (index, net) in nets.iter().enumerate() {
        let last = net.links.iter().map(|(_, to)| row[*to]).max().unwrap_or_default();
        for through in rows.iter_mut().take(last).skip(row[net.from] + 1) {
            // In the middle to begin with; `place` moves it.
            through.insert(through.len() / 2, Slot::Pass(index));
        }
    }
    Rows { row, slots: rows, nets }
}

fn number(layers: &[Vec<usize>], row: &mut [usize]) {
    for (at, layer) in layers.iter().enumerate() {
        for node in layer {
            row[*node] = at;
        }
    }
}

fn neighbours(graph: &Graph) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); graph.nodes.len()];
    for Link { ends: [a, b], .. } in &graph.links {
        neighbours[*a].push(*b);
        neighbours[*b].push(*a);
    }
    neighbours
}

/// How far inside each box is.
fn ranks(graph: &Graph) -> Vec<usize> {
    const OUTSIDE: usize = 0;
    const CIRCUITS: usize = 1;
    const NETWORKS: usize = 2;
    let mut ranks: Vec<Option<usize>> = graph
        .nodes
        .iter()
        .map(|node| match node.kind {
            NodeKind::Internet | NodeKind::Site | NodeKind::Client | NodeKind::PrivateCloud => Some(OUTSIDE),
            NodeKind::Circuit => Some(CIRCUITS),
            _ => None,
        })
        .collect();
    let mut inner = vec![Vec::new(); graph.nodes.len()];
    let mut roots = Vec::new();
    for Link { ends: [a, b], kind, .. } in &graph.links {
        match (ranks[*a], ranks[*b]) {
            (None, None) => {
                inner[*a].push(*b);
                inner[*b].push(*a);
            }
            (Some(_), None) if *kind != LinkKind::Internet => roots.push(*b),
            (None, Some(_)) if *kind != LinkKind::Internet => roots.push(*a),
            _ => {}
        }
    }
    // Networks with gateways, then of each part of the rest the one with the most peers.
    let mut next: VecDeque<usize> = VecDeque::new();
    for root in roots {
        if ranks[root].is_none() {
            ranks[root] = Some(NETWORKS);
            next.push_back(root);
        }
    }
    let mut rest: Vec<usize> = (0..graph.nodes.len()).collect();
    rest.sort_by_key(|node| std::cmp::Reverse(inner[*node].len()));
    let mut rest = rest.into_iter();
    loop {
        while let Some(at) = next.pop_front() {
            let below = ranks[at].unwrap_or(NETWORKS) + 1;
            for other in &inner[at] {
                if ranks[*other].is_none() {
                    ranks[*other] = Some(below);
                    next.push_back(*other);
                }
            }
        }
        let Some(root) = rest.find(|node| ranks[*node].is_none()) else { break };
        ranks[root] = Some(NETWORKS);
        next.push_back(root);
    }
    ranks.into_iter().map(|rank| rank.unwrap_or(NETWORKS)).collect()
}

/// Orders each layer so that boxes are near those that they are joined to. Equal ones keep the file's order.
fn sort(layers: &mut [Vec<usize>], neighbours: &[Vec<usize>]) {
    const SWEEPS: usize = 6;
    const SCALE: usize = 1 << 20;
    let mut position = vec![0; neighbours.len()];
    let place = |layer: &[usize], position: &mut [usize]| {
        for (at, node) in layer.iter().enumerate() {
            position[*node] = (2 * at + 1) * SCALE / (2 * layer.len());
        }
    };
    for layer in layers.iter() {
        place(layer, &mut position);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        for step in 0..layers.len() {
            let at = if down { step } else { layers.len() - 1 - step };
            let layer = &mut layers[at];
            let centre = |node: &usize| {
                let near = &neighbours[*node];
                if near.is_empty() {
                    position[*node]
                } else {
                    near.iter().map(|one| position[*one]).sum::<usize>() / near.len()
                }
            };
            layer.sort_by_cached_key(centre);
            place(layer, &mut position);
        }
    }
}

/// Cuts layers that are too broad, into rows of about one breadth.
fn wrapped(layers: Vec<Vec<usize>>, sizes: &[Size], metrics: &Metrics, page: i32) -> Vec<Vec<usize>> {
    let mut rows = Vec::new();
    for layer in layers {
        let breadth = |layer: &[usize]| layer.iter().map(|node| sizes[*node].w + metrics.gap.0).sum::<i32>();
        let parts = (breadth(&layer) / page.max(1) + 1).max(1);
        let most = if parts == 1 { i32::MAX } else { page.min(breadth(&layer) / parts + breadth(&layer) / 20) };
        let mut row: Vec<usize> = Vec::new();
        for node in layer {
            if !row.is_empty() && breadth(&row) + sizes[node].w > most {
                rows.push(std::mem::take(&mut row));
            }
            row.push(node);
        }
        rows.push(row);
    }
    rows
}

/// What leaves each box downwards, by kind and state; and the lines within rows.
fn nets(graph: &Graph, row: &[usize]) -> Vec<Net> {
    let mut nets: Vec<Net> = Vec::new();
    let mut known: BTreeMap<(usize, LinkKind, u8), usize> = BTreeMap::new();
    for (index, link) in graph.links.iter().enumerate() {
        let [a, b] = link.ends;
        if row[a] == row[b] {
            nets.push(Net { from: a, links: vec![(index, b)], level: true });
            continue;
        }
        let (from, to) = if row[a] < row[b] { (a, b) } else { (b, a) };
        let state = match link.state {
            LinkState::Up => 0,
            LinkState::OneSided(_) => 1,
            LinkState::Down => 2,
        };
        let net = *known.entry((from, link.kind, state)).or_insert_with(|| {
            nets.push(Net { from, links: Vec::new(), level: false });
            nets.len() - 1
        });
        nets[net].links.push((index, to));
    }
    nets
}

/// The breadth that a line's end takes at a box, with what the line says.
pub(super) fn slot(link: Option<&Link>, metrics: &Metrics) -> i32 {
    let label = link.and_then(|link| link.label.as_deref());
    let words = label.map_or(0, |label| metrics.width(label, false) + metrics.gap.0 / 2);
    3 * metrics.pin + words
}

fn widen(nets: &[Net], graph: &Graph, sizes: &mut [Size], metrics: &Metrics) {
    let mut upper = vec![0; sizes.len()];
    let mut lower = vec![0; sizes.len()];
    for net in nets {
        let link = net.links.first().map(|(link, _)| &graph.links[*link]);
        lower[net.from] += slot(link.filter(|_| net.level), metrics);
        for (link, to) in &net.links {
            if net.level {
                lower[*to] += slot(None, metrics);
            } else {
                upper[*to] += slot(Some(&graph.links[*link]), metrics);
            }
        }
    }
    for (size, (upper, lower)) in sizes.iter_mut().zip(upper.into_iter().zip(lower)) {
        size.w = size.w.max(upper + 4 * metrics.pin).max(lower + 4 * metrics.pin);
    }
}

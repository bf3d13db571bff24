//! How far to the right each box of a row stands: as near as there is room to the middle of what it is joined to.

use super::super::Graph;
use super::super::metrics::Metrics;
use super::inside::Size;
use super::rows::{Rows, Slot};

/// Left edges.
#[derive(Debug)]
pub(super) struct Plan {
    /// By box.
    pub(super) x: Vec<i32>,
    /// By net and row: the column that it goes through.
    pub(super) passes: Vec<(usize, usize, i32)>,
}

impl Plan {
    /// Where a net goes through a row.
    pub(super) fn pass(&self, net: usize, row: usize) -> Option<i32> {
        self.passes.iter().find(|(of, at, _)| (*of, *at) == (net, row)).map(|(_, _, x)| *x)
    }
}

/// A column of a row.
struct Column {
    slot: Slot,
    w: i32,
    centre: i32,
}

/// Gives every box its place in its row.
pub(super) fn plan(graph: &Graph, rows: &Rows, sizes: &[Size], metrics: &Metrics) -> Plan {
    const SWEEPS: usize = 8;
    let mut columns: Vec<Vec<Column>> = rows.slots.iter().map(|row| first(row, sizes, metrics)).collect();
    let mut centres = vec![0; sizes.len()];
    let record = |columns: &[Column], centres: &mut [i32]| {
        for column in columns {
            if let Slot::Box(node) = column.slot {
                centres[node] = column.centre;
            }
        }
    };
    for row in &columns {
        record(row, &mut centres);
    }
    let near = near(graph, rows);
    for sweep in 0..SWEEPS {
        for step in 0..columns.len() {
            let at = if sweep % 2 == 0 { step } else { columns.len() - 1 - step };
            let row = &mut columns[at];
            let mut wanted: Vec<i32> = row.iter().map(|column| wish(column, rows, &near, &centres)).collect();
            sort_passes(row, &mut wanted);
            settle(row, &wanted, metrics.gap.0);
            record(row, &mut centres);
        }
    }
    let left = columns.iter().flatten().map(|column| column.centre - column.w / 2).min().unwrap_or_default();
    let shift = metrics.margin - left;
    let mut plan = Plan { x: vec![0; sizes.len()], passes: Vec::new() };
    let even = |x: i32| x - x.rem_euclid(2 * metrics.pin);
    for (at, row) in columns.iter().enumerate() {
        for column in row {
            match column.slot {
                Slot::Box(node) => plan.x[node] = column.centre - column.w / 2 + shift,
                Slot::Pass(net) => plan.passes.push((net, at, even(column.centre + shift + metrics.pin))),
            }
        }
    }
    plan
}

/// Side by side around 0.
fn first(row: &[Slot], sizes: &[Size], metrics: &Metrics) -> Vec<Column> {
    let breadth = |slot: &Slot| match slot {
        Slot::Box(node) => sizes[*node].w,
        Slot::Pass(_) => 5 * metrics.pin,
    };
    let whole: i32 = row.iter().map(|slot| breadth(slot) + metrics.gap.0).sum();
    let mut x = -whole / 2;
    let column = |slot: &Slot| {
        let w = breadth(slot);
        let column = Column { slot: *slot, w, centre: x + w / 2 };
        x += w + metrics.gap.0;
        column
    };
    row.iter().map(column).collect()
}

/// By box: those that it is joined to in other rows.
fn near(graph: &Graph, rows: &Rows) -> Vec<Vec<usize>> {
    let mut near = vec![Vec::new(); graph.nodes.len()];
    for link in &graph.links {
        let [a, b] = link.ends;
        if rows.row[a] != rows.row[b] {
            near[a].push(b);
            near[b].push(a);
        }
    }
    near
}

/// Where a column would be best.
fn wish(column: &Column, rows: &Rows, near: &[Vec<usize>], centres: &[i32]) -> i32 {
    match column.slot {
        Slot::Pass(net) => centres[rows.nets[net].from],
        Slot::Box(node) if near[node].is_empty() => column.centre,
        Slot::Box(node) => {
            let sum: i64 = near[node].iter().map(|one| i64::from(centres[*one])).sum();
            (sum / near[node].len() as i64) as i32
        }
    }
}

/// Moves nets that go through to where they would be best among the boxes, which keep their order.
fn sort_passes(row: &mut Vec<Column>, wanted: &mut Vec<i32>) {
    if row.iter().all(|column| matches!(column.slot, Slot::Box(_))) {
        return;
    }
    let mut boxes = Vec::new();
    let mut passes = Vec::new();
    for (column, wish) in row.drain(..).zip(wanted.drain(..)) {
        if matches!(column.slot, Slot::Box(_)) { boxes.push((column, wish)) } else { passes.push((column, wish)) }
    }
    passes.sort_by_key(|(_, wish)| *wish);
    let mut passes = passes.into_iter().peekable();
    for (column, wish) in boxes {
        while let Some((pass, at)) = passes.next_if(|(_, at)| *at < column.centre) {
            row.push(pass);
            wanted.push(at);
        }
        row.push(column);
        wanted.push(wish);
    }
    for (pass, at) in passes {
        row.push(pass);
        wanted.push(at);
    }
}

/// Centres as near to the wanted ones as order and gaps allow: the least sum of squares, by pooling what is in the
/// wrong order.
fn settle(row: &mut [Column], wanted: &[i32], gap: i32) {
    // Each column's own offset in a row without gaps to spare.
    let mut offsets = Vec::with_capacity(row.len());
    let mut x = 0;
    for column in row.iter() {
        offsets.push(x + column.w / 2);
        x += column.w + gap;
    }
    let mut pools: Vec<(i64, i64)> = Vec::new();
    for (wish, offset) in wanted.iter().zip(&offsets) {
        pools.push((i64::from(wish - offset), 1));
        while let [.., (a, n), (b, m)] = pools[..]
            && a * m > b * n
        {
            pools.truncate(pools.len() - 2);
            pools.push((a + b, n + m));
        }
    }
    let starts = pools.iter().flat_map(|(sum, count)| {
        std::iter::repeat_n((sum / count) as i32, usize::try_from(*count).unwrap_or_default())
    });
    for ((column, offset), start) in row.iter_mut().zip(&offsets).zip(starts) {
        column.centre = start + offset;
    }
}

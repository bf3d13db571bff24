//! A drawing in characters, for terminals and for what has no pictures. ASCII alone: it survives every font.

use super::drawing::{Drawing, LabelStyle, Line, LineKind, Shape};
use super::{LinkKind, LinkState, MarkKind, NodeKind, Tone};

/// The lines of the drawing, which was laid out in characters.
pub fn text(drawing: &Drawing) -> String {
    let mut canvas = Canvas { cells: vec![vec![' '; length(drawing.width) + 1]; length(drawing.height)] };
    drawing.shapes.iter().for_each(|shape| canvas.shape(shape));
    // What is broken first: where lines share their way, the whole one is seen.
    let is_up = |line: &&Line| matches!(line.kind, LineKind::Link(_, LinkState::Up));
    drawing.lines.iter().filter(|line| !is_up(line)).for_each(|line| canvas.line(line));
    drawing.lines.iter().filter(is_up).for_each(|line| canvas.line(line));
    drawing.lines.iter().filter_map(|line| line.cross).for_each(|at| canvas.put(at, 'x'));
    for label in &drawing.labels {
        let words = match label.style {
            LabelStyle::Mark(MarkKind::Answer) => format!("* {}", label.text),
            LabelStyle::Mark(_) => format!("[{}]", label.text),
            LabelStyle::Badge { cross, .. } => format!("({}{})", label.text, if cross { "X" } else { "" }),
            LabelStyle::Heading | LabelStyle::Name | LabelStyle::Body | LabelStyle::Link => label.text.clone(),
        };
        canvas.words((label.rect.x, label.rect.y), &words);
    }
    let lines = canvas.cells.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned() + "\n");
    lines.collect::<String>().trim_end().to_owned() + "\n"
}

fn length(units: i32) -> usize {
    usize::try_from(units).unwrap_or_default()
}

struct Canvas {
    cells: Vec<Vec<char>>,
}

impl Canvas {
    fn put(&mut self, (x, y): (i32, i32), character: char) {
        let row = usize::try_from(y).ok().and_then(|y| self.cells.get_mut(y));
        if let Some(cell) = row.and_then(|row| row.get_mut(usize::try_from(x).ok()?)) {
            *cell = character;
        }
    }

    fn at(&self, (x, y): (i32, i32)) -> char {
        let row = usize::try_from(y).ok().and_then(|y| self.cells.get(y));
        row.and_then(|row| row.get(usize::try_from(x).ok()?)).copied().unwrap_or(' ')
    }

    fn words(&mut self, (x, y): (i32, i32), text: &str) {
        for (at, character) in (0..).zip(text.chars()) {
            self.put((x + at, y), character);
        }
    }

    fn shape(&mut self, shape: &Shape) {
        let (left, right) = (shape.rect.x, shape.rect.right() - 1);
        let (top, bottom) = (shape.rect.y, shape.rect.bottom() - 1);
        let (across, down) = match (shape.kind, shape.tone) {
            (_, Tone::Removed) | (NodeKind::Missing, _) => ('.', ':'),
            (_, Tone::Added) => ('+', '+'),
            (NodeKind::VirtualNetwork, _) => ('=', '|'),
            _ => ('-', '|'),
        };
        for x in left..=right {
            self.put((x, top), across);
            self.put((x, bottom), across);
        }
        for y in top..=bottom {
            self.put((left, y), down);
            self.put((right, y), down);
        }
        for corner in [(left, top), (right, top), (left, bottom), (right, bottom)] {
            self.put(corner, '+');
        }
    }

    fn line(&mut self, line: &Line) {
        let (across, down) = match line.kind {
            // Numbers in the boxes tell the way.
            LineKind::Way { .. } => return,
            LineKind::Link(_, LinkState::OneSided(_) | LinkState::Down) => ('.', ':'),
            LineKind::Link(LinkKind::ExpressRoute, _) => ('=', 'H'),
            LineKind::Link(LinkKind::Tunnel | LinkKind::GlobalReach, _) => ('~', '!'),
            LineKind::Link(LinkKind::Peering | LinkKind::Internet, _) => ('-', '|'),
        };
        for piece in line.points.windows(2) {
            let ((x, y), (to_x, to_y)) = (piece[0], piece[1]);
            if y == to_y {
                (x.min(to_x)..=x.max(to_x)).for_each(|x| self.draw((x, y), across));
            } else {
                // A line ends beside the border of its box, not on it.
                (y.min(to_y)..y.max(to_y) + i32::from(y > to_y)).for_each(|y| self.draw((x, y), down));
            }
        }
        for corner in line.points.iter().skip(1).take(line.points.len().saturating_sub(2)) {
            self.put(*corner, '+');
        }
    }

    fn draw(&mut self, at: (i32, i32), character: char) {
        let crossing = !matches!(self.at(at), ' ') && self.at(at) != character;
        self.put(at, if crossing { '+' } else { character });
    }
}

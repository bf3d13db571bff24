//! A drawing: boxes, words and lines, each with its place. The writers need to know no more.

use super::{LinkKind, LinkState, MarkKind, NodeKind, Tone};

/// Everything with its place; later boxes lie in earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    pub title: String,
    pub width: i32,
    pub height: i32,
    pub shapes: Vec<Shape>,
    pub lines: Vec<Line>,
    pub labels: Vec<Label>,
}

/// A rectangle: `x` and `y` are its left upper corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    pub x: i32,
    pub y: i32,
    pub w: i32,
    pub h: i32,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rect: Rect,
    pub kind: NodeKind,
    pub tone: Tone,
    /// A way comes by.
    pub marked: bool,
    /// What a pointer over it shows.
    pub tip: String,
}

/// Words, and the room that they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub rect: Rect,
    pub text: String,
    pub style: LabelStyle,
    pub tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelStyle {
    /// The picture's own.
    Heading,
    /// A box's name.
    Name,
    Body,
    Mark(MarkKind),
    Link,
    /// A hop's number; of the answer's way, and where the packet ends.
    Badge {
        back: bool,
        cross: bool,
    },
}

/// A line of straight pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub points: Vec<(i32, i32)>,
    pub kind: LineKind,
    /// Where it is broken.
    pub cross: Option<(i32, i32)>,
    pub tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    Link(LinkKind, LinkState),
    /// A packet's way there or back, and whether it arrives.
    Way {
        back: bool,
        arrives: bool,
    },
}

impl Rect {
    pub const fn right(&self) -> i32 {
        self.x + self.w
    }

    pub const fn bottom(&self) -> i32 {
        self.y + self.h
    }

    /// Whether two have room in common.
    pub const fn meets(&self, other: &Self) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }

    /// Whether all of another is in it.
    pub const fn holds(&self, other: &Self) -> bool {
        self.x <= other.x && other.right() <= self.right() && self.y <= other.y && other.bottom() <= self.bottom()
    }
}

/// The line without points that make no corner.
pub(super) fn tidied(points: Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    let mut tidy: Vec<(i32, i32)> = Vec::with_capacity(points.len());
    for point in points {
        if tidy.last() == Some(&point) {
            continue;
        }
        let straight = |a: (i32, i32), b: (i32, i32)| {
            let between = |a: i32, b: i32, c: i32| (a <= b && b <= c) || (a >= b && b >= c);
            (a.0 == b.0 && b.0 == point.0 && between(a.1, b.1, point.1))
                // A way to a lane and back again needs no visit there.
                || (a.1 == b.1 && b.1 == point.1)
        };
        if let [.., a, b] = tidy[..]
            && straight(a, b)
        {
            tidy.pop();
        }
        tidy.push(point);
    }
    tidy
}

//! A document's text, and where its lines begin.
//!
//! A dump may have many megabytes, even on one line, and many findings. So marks are made once, at every line and within
//! long lines, and a place is found from the nearest mark instead of from the start.

use std::sync::OnceLock;

/// Within a line, there is a mark after so many bytes.
const APART: usize = 4096;

pub(super) struct SourceText {
    text: String,
    /// In the order of the text; most texts have no finding, and need none.
    marks: OnceLock<Vec<Mark>>,
}

/// A place in the text; line and column count from 1, in characters.
#[derive(Clone, Copy)]
struct Mark {
    line: usize,
    column: usize,
    byte: usize,
}

impl SourceText {
    pub(super) fn new(text: String) -> Self {
        Self { text, marks: OnceLock::new() }
    }

    /// A line from some column on, not later than the one that is asked for: the rest of the line, and that column.
    pub(super) fn line_from(&self, line: usize, column: usize) -> (&str, usize) {
        let marks = self.marks.get_or_init(|| marks(&self.text));
        let after = marks.partition_point(|mark| (mark.line, mark.column) <= (line, column));
        let Some(mark) = after.checked_sub(1).map(|before| marks[before]).filter(|mark| mark.line == line) else {
            return ("", 1);
        };
        let end = marks[after..].iter().find(|other| other.line > line).map_or(self.text.len(), |other| other.byte);
        let rest = &self.text[mark.byte..end];
        let rest = rest.strip_suffix('\n').unwrap_or(rest);
        (rest.strip_suffix('\r').unwrap_or(rest), mark.column)
    }
}

fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut byte = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (mut rest, mut column) = (line, 1);
        loop {
            marks.push(Mark { line: index + 1, column, byte });
            if rest.len() <= APART {
                break;
            }
            let at = (0..=APART).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            let (part, others) = rest.split_at(at);
            column += part.chars().count();
            byte += at;
            rest = others;
        }
        byte += rest.len();
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_from_the_nearest_mark() {
        let long = "é".repeat(3 * APART);
        let source = SourceText::new(format!("a\r\n\n{long}x\nlast"));
        assert_eq!(source.line_from(1, 1), ("a", 1));
        assert_eq!(source.line_from(2, 1), ("", 1));
        assert_eq!(source.line_from(4, 3), ("last", 1));
        assert_eq!(source.line_from(5, 1), ("", 1));
        for column in [1, 2048, 2049, 2050, 3 * APART + 1] {
            let (rest, from) = source.line_from(3, column);
            assert!(from <= column && column - from <= APART, "{column} from {from}");
            assert_eq!(rest.chars().count(), 3 * APART + 1 - (from - 1));
            assert!(rest.ends_with('x'));
        }
    }
}

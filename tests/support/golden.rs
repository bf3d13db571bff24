//! Texts and the files that they must equal, their twins: how they are compared, rewritten (`UPDATE_GOLDEN=1`) and told
//! apart, by the lines that differ.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// Lines around a difference.
const AROUND: usize = 2;

/// Whether twins are rewritten instead of compared.
pub(crate) fn rewrites() -> bool {
    env::var_os("UPDATE_GOLDEN").is_some()
}

/// Fails with the lines that differ from the twin, or rewrites it.
pub(crate) fn check(twin: &Path, actual: &str) {
    if rewrites() {
        return fs::write(twin, actual).unwrap();
    }
    let wrong = match fs::read_to_string(twin) {
        Ok(expected) if expected == actual => return,
        Ok(expected) => format!("--- {}\n{}", twin.display(), difference(&expected, actual)),
        Err(_) => format!("--- {} is not there; it would be:\n{actual}", twin.display()),
    };
    panic!("-: the twin, +: what is given. UPDATE_GOLDEN=1 rewrites.\n{wrong}");
}

/// The lines that only one of two texts has, with those around them.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let lines = marked(&old, &new);
    let differs: Vec<_> = (0..lines.len()).filter(|at| lines[*at].0 != ' ').collect();
    let near = |at: &usize| differs.iter().any(|line| line.abs_diff(*at) <= AROUND);
    let (mut text, mut number, mut last) = (String::new(), 1, None);
    for (at, (mark, line)) in lines.iter().enumerate() {
        if near(&at) {
            if last.is_none_or(|last| last + 1 != at) {
                writeln!(text, "@@ line {number}").unwrap();
            }
            writeln!(text, "{mark}{line}").unwrap();
            last = Some(at);
        }
        number += usize::from(*mark != '+');
    }
    if text.is_empty() { "the end of the last line differs\n".to_owned() } else { text }
}

/// All lines of both texts: those of the first alone (`-`), of the second alone (`+`), and of both.
fn marked<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let start = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let same = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_middle, new_middle) = (&old[start..old.len() - same], &new[start..new.len() - same]);
    let mut lines: Vec<_> = old[..start].iter().map(|line| (' ', *line)).collect();
    let (mut old_at, mut new_at) = (0, 0);
    for (old_next, new_next) in common(old_middle, new_middle) {
        lines.extend(old_middle[old_at..old_next].iter().map(|line| ('-', *line)));
        lines.extend(new_middle[new_at..new_next].iter().map(|line| ('+', *line)));
        lines.push((' ', old_middle[old_next]));
        (old_at, new_at) = (old_next + 1, new_next + 1);
    }
    lines.extend(old_middle[old_at..].iter().map(|line| ('-', *line)));
    lines.extend(new_middle[new_at..].iter().map(|line| ('+', *line)));
    lines.extend(old[old.len() - same..].iter().map(|line| (' ', *line)));
    lines
}

/// A longest common subsequence, as the places of its lines in both. None of it where that would take too long.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    if old.len() * new.len() > 4_000_000 {
        return Vec::new();
    }
    let width = new.len() + 1;
    let mut longest = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[test]
fn a_difference_is_shown_with_the_lines_around_it() {
    let text = |lines: &[&str]| lines.join("\n") + "\n";
    let old = text(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let changed = text(&["1", "2", "3", "4", "five", "6", "7", "8", "9"]);
    assert_eq!(difference(&old, &changed), "@@ line 3\n 3\n 4\n-5\n+five\n 6\n 7\n");
    let added = text(&["0", "1", "2", "3", "4", "5", "6", "7", "9"]);
    assert_eq!(difference(&old, &added), "@@ line 1\n+0\n 1\n 2\n@@ line 6\n 6\n 7\n-8\n 9\n");
    assert_eq!(difference("", "1\n"), "@@ line 1\n+1\n");
    assert_eq!(difference("1", "1\n"), "the end of the last line differs\n");
}

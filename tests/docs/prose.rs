//! How pages are written: short sentences, and a README that fits on two screens.

use crate::page::{self, Page};

/// What a reader with another first language understands at once.
const WORDS: usize = 25;

/// What a stranger reads before the first try.
const README_BYTES: usize = 10 * 1024;

#[test]
fn the_readme_is_short() {
    let length = Page::read("README.md").text.len();
    assert!(length <= README_BYTES, "README.md has {length} bytes; the rest belongs into docs");
}

/// The README's figures are rows of the page that `scripts/bench.sh` writes.
#[test]
fn figures_of_the_readme_are_those_of_their_page() {
    let (readme, page) = (Page::read("README.md"), Page::read("docs/internals/performance.md"));
    let figures = readme.text.split("## How fast").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: Vec<_> = figures.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 4, "{rows:?}");
    let wrong: Vec<_> = rows.iter().filter(|row| !page.text.lines().any(|line| line == **row)).collect();
    assert!(wrong.is_empty(), "docs/internals/performance.md has other figures: {wrong:#?}");
}

#[test]
fn sentences_have_at_most_25_words() {
    let (mut long, mut seen) = (Vec::new(), 0);
    for page in page::ours() {
        for (number, passage) in passages(page.written()) {
            for sentence in sentences(&passage) {
                seen += 1;
                let words = sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
                if words > WORDS {
                    long.push(format!("{}:{number}: {words} words: {sentence}", page.path.display()));
                }
            }
        }
    }
    assert!(seen > 500, "only {seen} sentences were found");
    assert!(long.is_empty(), "{} sentences are too long:\n{}", long.len(), long.join("\n"));
}

/// Paragraphs, items of lists, headings and cells of tables, each with the number of its first line.
fn passages(text: &str) -> Vec<(usize, String)> {
    let mut passages: Vec<(usize, String)> = Vec::new();
    let mut ended = 0;
    for (number, line) in Page::prose(text) {
        let line = line.trim();
        let begins = |marks: &[&str]| marks.iter().any(|mark| line.starts_with(mark));
        if line.starts_with('|') {
            passages.extend(line.split('|').map(|cell| (number, readable(cell))));
        } else if line.is_empty() {
            ended = number;
        } else if passages.is_empty() || ended + 1 == number || begins(&["- ", "* ", "#", "1. "]) || is_item(line) {
            passages.push((number, readable(line)));
        } else {
            let (_, passage) = passages.last_mut().unwrap();
            passage.push(' ');
            passage.push_str(&readable(line));
        }
    }
    passages
}

fn is_item(line: &str) -> bool {
    line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// Code is one word, a link is its text.
fn readable(line: &str) -> String {
    let mut plain = String::new();
    for (n, part) in line.split('`').enumerate() {
        if n % 2 == 0 { plain.push_str(part) } else { plain.push_str("code") }
    }
    let mut text = String::new();
    for (n, part) in plain.split("](").enumerate() {
        text.push_str(if n == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) });
    }
    text.replace(['[', '*'], "")
}

fn sentences(passage: &str) -> Vec<&str> {
    let mut sentences = vec![passage];
    for end in [". ", "? ", "! "] {
        sentences = sentences.into_iter().flat_map(|text| text.split(end)).collect();
    }
    sentences
}

#[test]
fn a_sentence_is_counted_as_it_is_read() {
    let text = "# One two\n\nA [b c](d.md) `e f g`. H?\ni\n- j k\n\n```\nnot this\n```\n| l | m. n |\n";
    let read: Vec<_> = passages(text)
        .into_iter()
        .flat_map(|(_, passage)| {
            sentences(&passage)
                .into_iter()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(read, ["# One two", "A b c code", "H", "i", "- j k", "l", "m", "n"]);
}

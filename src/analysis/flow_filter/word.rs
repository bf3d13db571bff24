//! A filter's words and their places.

use std::ops::Range;

use crate::wire::Protocol;

/// One word, or a parenthesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// In bytes.
    pub(super) at: Range<usize>,
}

/// The protocols that have a name.
const PROTOCOLS: [(&str, Protocol); 6] = [
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("icmp", Protocol::ICMP),
    ("icmp6", Protocol::ICMPV6),
    ("esp", Protocol::ESP),
    ("ah", Protocol::AH),
];

/// The words that may begin a term, for "did you mean".
pub(super) const WORDS: [&str; 22] = [
    "host",
    "net",
    "port",
    "src",
    "dst",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "esp",
    "ah",
    "proto",
    "ip",
    "ip6",
    "node",
    "nic",
    "dropped",
    "reason",
    "not",
    "and",
    "or",
    "portrange",
];

pub(super) fn protocol(word: &str) -> Option<Protocol> {
    PROTOCOLS.into_iter().find(|(name, _)| *name == word).map(|(_, protocol)| protocol)
}

pub(super) fn of_protocol(protocol: Protocol) -> Option<&'static str> {
    PROTOCOLS.into_iter().find(|(_, number)| *number == protocol).map(|(name, _)| name)
}

/// Words end at white space; parentheses and `!` are words by themselves, and so are `&&` and `||`.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = 0;
    while let Some(start) = text[rest..].find(|c: char| !c.is_whitespace()).map(|skip| rest + skip) {
        let alone = |c: char| matches!(c, '(' | ')' | '!');
        let first = text[start..].chars().next().expect("a place in the text was found");
        let len = if alone(first) {
            first.len_utf8()
        } else {
            text[start..].find(|c: char| c.is_whitespace() || alone(c)).unwrap_or(text.len() - start)
        };
        words.push(Word { text: &text[start..start + len], at: start..start + len });
        rest = start + len;
    }
    words
}

//! A filter's text to a [`Filter`]: a descent over its words.
//!
//! ```text
//! filter = [ terms ]
//! terms  = unary { "and" unary } | unary { "or" unary }
//! unary  = ( "not" | "!" ) unary | "(" terms ")" | term
//! term   = ["src"|"dst"] ( "host" (ADDRESS|NODE) | "net" PREFIX | "port" N[-M] | ADDRESS )
//!        | PROTOCOL [ ["src"|"dst"] "port" N[-M] ] | "proto" N | "ip" | "ip6"
//!        | "node" NODE | "nic" NODE/NIC | "dropped" | "reason" REASON
//! ```

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use crate::dataplane::{DropReason, Side};
use crate::wire::Protocol;

use super::word::{self, WORDS, Word, words};
use super::{Filter, Host};

/// More words than people write; workers evaluate the filter for each packet.
const MOST_WORDS: usize = 256;
const DEEPEST: usize = 32;

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    text: String,
    /// In bytes; empty after the end.
    at: Range<usize>,
    message: String,
    help: Option<String>,
}

impl FilterError {
    fn new(message: impl Into<String>, at: Range<usize>) -> Self {
        Self { text: String::new(), at, message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// The message, then the filter with a mark below the place.
impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let before = self.text[..self.at.start].chars().count();
        let marked = self.text[self.at.clone()].chars().count().max(1);
        let text: String = self.text.chars().map(printable).collect();
        write!(f, "{}\n  {text}\n  {:before$}{:^>marked$}", self.message, "", "")
    }
}

impl std::error::Error for FilterError {}

/// Reads a filter; an empty one wants every packet.
pub fn parse_filter(text: &str) -> Result<Filter, FilterError> {
    parse(text).map_err(|error| FilterError { text: text.to_owned(), ..error })
}

fn parse(text: &str) -> Result<Filter, FilterError> {
    let words = words(text);
    if let Some(word) = words.get(MOST_WORDS) {
        return Err(FilterError::new(format!("a filter has at most {MOST_WORDS} words"), word.at.clone()));
    }
    let mut parser = Parser { words: &words, next: 0, end: text.len(), depth: 0 };
    if words.is_empty() {
        return Ok(Filter::All(Vec::new()));
    }
    let filter = parser.terms()?;
    match parser.peek() {
        None => Ok(filter),
        Some(word) if word.text == ")" => Err(FilterError::new("this parenthesis was not opened", word.at.clone())),
        Some(word) => Err(unexpected(word, "`and` or `or`")
            .help("terms are joined by `and` or `or`, a protocol and a port are one term")),
    }
}

struct Parser<'a> {
    words: &'a [Word<'a>],
    next: usize,
    /// Of the text.
    end: usize,
    depth: usize,
}

type Parsed = Result<Filter, FilterError>;

/// What joins terms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    And,
    Or,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Word<'a>> {
        self.words.get(self.next)
    }

    fn advance(&mut self, expected: &str) -> Result<&'a Word<'a>, FilterError> {
        let word = self.peek().ok_or_else(|| self.incomplete(expected))?;
        self.next += 1;
        Ok(word)
    }

    /// Takes the next word if it is one of these.
    fn take(&mut self, texts: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| texts.contains(&word.text));
        self.next += usize::from(found);
        found
    }

    fn terms(&mut self) -> Parsed {
        let mut parts = vec![self.unary()?];
        let mut joint = None;
        while let Some(word) = self.peek() {
            let found = match word.text {
                "and" | "&&" => Joint::And,
                "or" | "||" => Joint::Or,
                _ => break,
            };
            if *joint.get_or_insert(found) != found {
                let error = FilterError::new("`and` and `or` side by side: which comes first?", word.at.clone());
                return Err(error.help("say it with parentheses: `(A and B) or C`, or `A and (B or C)`"));
            }
            self.next += 1;
            parts.push(self.unary()?);
        }
        Ok(match joint {
            None => parts.remove(0),
            Some(Joint::And) => Filter::All(parts),
            Some(Joint::Or) => Filter::Any(parts),
        })
    }

    fn unary(&mut self) -> Parsed {
        let Some(word) = self.peek() else { return Err(self.incomplete("a term")) };
        let nests = matches!(word.text, "not" | "!" | "(");
        if !nests {
            return self.term();
        }
        if self.depth == DEEPEST {
            return Err(FilterError::new(
                format!("more than {DEEPEST} parentheses and `not` inside each other"),
                word.at.clone(),
            ));
        }
        self.next += 1;
        self.depth += 1;
        let inside = if word.text == "(" {
            let inside = self.terms()?;
            if !self.take(&[")"]) {
                return Err(match self.peek() {
                    Some(word) => unexpected(word, "`and`, `or` or `)`"),
                    None => FilterError::new("this parenthesis is not closed", word.at.clone()),
                });
            }
            inside
        } else {
            Filter::Not(Box::new(self.unary()?))
        };
        self.depth -= 1;
        Ok(inside)
    }

    fn term(&mut self) -> Parsed {
        let word = self.advance("a term")?;
        if let Some(protocol) = word::protocol(word.text) {
            return self.protocol(protocol);
        }
        match word.text {
            "src" => self.end_of(Side::Src),
            "dst" => self.end_of(Side::Dst),
            "host" | "net" | "port" | "portrange" => {
                self.next -= 1;
                self.end_of(Side::Either)
            }
            "proto" => self.number("a protocol number from 0 to 255").map(|number| Filter::Protocol(Protocol(number))),
            "ip" => Ok(Filter::Ipv4),
            "ip6" => Ok(Filter::Ipv6),
            "node" => self.name("the name of a machine").map(Filter::Node),
            "nic" => self.nic(),
            "dropped" => Ok(Filter::Dropped),
            "reason" => self.reason(),
            _ => Err(Self::no_term(word)),
        }
    }

    /// `tcp`, or `tcp port 443`.
    fn protocol(&mut self, protocol: Protocol) -> Parsed {
        let side = match self.peek().map(|word| word.text) {
            Some("src") => Side::Src,
            Some("dst") => Side::Dst,
            _ => Side::Either,
        };
        let ahead = self.next + usize::from(side != Side::Either);
        let is_port = |word: &Word<'_>| matches!(word.text, "port" | "portrange");
        if !self.words.get(ahead).is_some_and(is_port) {
            return Ok(Filter::Protocol(protocol));
        }
        self.next = ahead + 1;
        let port = self.ports(side)?;
        Ok(Filter::All(vec![Filter::Protocol(protocol), port]))
    }

    fn end_of(&mut self, side: Side) -> Parsed {
        let expected = "`host`, `net`, `port` or an address";
        let word = self.advance(expected)?;
        match word.text {
            "host" => self.host(side),
            "net" => {
                let word = self.advance("a prefix such as 10.1.0.0/16")?;
                let net = word.text.parse::<IpNet>().map(|net| net.trunc());
                net.map(|net| Filter::Net(side, net)).map_err(|_| unexpected(word, "a prefix such as 10.1.0.0/16"))
            }
            "port" | "portrange" => self.ports(side),
            text => match text.parse() {
                Ok(address) => Ok(Filter::Host(side, Host::Address(address))),
                Err(_) => Err(unexpected(word, expected)),
            },
        }
    }

    fn host(&mut self, side: Side) -> Parsed {
        let expected = "an address or the name of a machine";
        let word = self.advance(expected)?;
        if let Ok(address) = word.text.parse::<IpAddr>() {
            return Ok(Filter::Host(side, Host::Address(address)));
        }
        if word.text.parse::<IpNet>().is_ok() {
            let error = FilterError::new("a prefix is no host", word.at.clone());
            return Err(error.help(format!("`net {}` means every address in it", word.text)));
        }
        if word.text.starts_with(|c: char| c.is_ascii_digit()) && word.text.contains(['.', ':']) {
            return Err(unexpected(word, "a whole address"));
        }
        if is_name(word.text) {
            Ok(Filter::Host(side, Host::Node(word.text.to_owned())))
        } else {
            Err(unexpected(word, expected))
        }
    }

    fn ports(&mut self, side: Side) -> Parsed {
        let expected = "a port from 0 to 65535, or a range such as 8000-8100";
        let word = self.advance(expected)?;
        let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Filter::Port(side, first, last)),
            (Ok::<u16, _>(_), Ok::<u16, _>(_)) => {
                Err(FilterError::new("this range ends before it begins", word.at.clone()))
            }
            _ => Err(unexpected(word, expected)),
        }
    }

    fn number(&mut self, expected: &str) -> Result<u8, FilterError> {
        let word = self.advance(expected)?;
        word.text.parse().map_err(|_| unexpected(word, expected))
    }

    fn name(&mut self, expected: &str) -> Result<String, FilterError> {
        let word = self.advance(expected)?;
        if is_name(word.text) { Ok(word.text.to_owned()) } else { Err(unexpected(word, expected)) }
    }

    fn nic(&mut self) -> Parsed {
        let expected = "an interface such as web/eth0";
        let word = self.advance(expected)?;
        match word.text.split_once('/') {
            Some((node, nic)) if is_name(node) && is_name(nic) => {
                Ok(Filter::Nic { node: node.to_owned(), nic: nic.to_owned() })
            }
            _ => Err(unexpected(word, expected)),
        }
    }

    fn reason(&mut self) -> Parsed {
        let expected = "why a packet was dropped, such as NsgInbound";
        let word = self.advance(expected)?;
        let reasons = DropReason::ALL;
        let found = reasons.into_iter().find(|reason| reason.name().eq_ignore_ascii_case(word.text));
        found.map(Filter::Reason).ok_or_else(|| {
            let error = unexpected(word, expected);
            match near(word.text, reasons.iter().map(|reason| reason.name())) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("`vnet drops` shows the reasons that there were"),
            }
        })
    }

    fn no_term(word: &Word<'_>) -> FilterError {
        let error = unexpected(word, "a term such as `host 10.1.1.4`, `tcp port 443`, `node web` or `dropped`");
        if word.text.parse::<IpAddr>().is_ok() {
            return error.help(format!("`host {}`", word.text));
        }
        if let Some(advice) = of_pcap(word.text) {
            return error.help(advice);
        }
        match near(word.text, WORDS.into_iter()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        }
    }

    fn incomplete(&self, expected: &str) -> FilterError {
        FilterError::new(format!("expected {expected}, but the filter ends"), self.end..self.end)
    }
}

fn unexpected(word: &Word<'_>, expected: &str) -> FilterError {
    FilterError::new(format!("expected {expected}, found `{}`", clip(word.text)), word.at.clone())
}

/// What to write for a term that only pcap's filters have.
fn of_pcap(word: &str) -> Option<&'static str> {
    let word = word.split(['[', ':']).next().unwrap_or_default();
    Some(match word {
        "ether" | "link" | "vlan" | "arp" | "rarp" | "wlan" | "mpls" | "gateway" => {
            "packets have no link layer here: `host 10.1.1.4` or `node web` names an end"
        }
        "greater" | "less" | "len" => "lengths cannot be asked for: capture all, and filter where the file is read",
        "inbound" => "`dst host web` means packets to web",
        "outbound" => "`src host web` means packets from web",
        "broadcast" | "multicast" => "`net 224.0.0.0/4` means addresses of groups, `host 255.255.255.255` everyone",
        "sctp" | "igmp" | "pim" | "vrrp" => "`proto 132` means a protocol by its number",
        "iface" | "ifname" | "on" => "`nic web/eth0` means one interface",
        "icmp6-type" | "icmptype" | "tcpflags" | "tcp-syn" | "tcp-rst" | "tcp-fin" => {
            "bytes of a header cannot be asked for: capture the protocol, and filter where the file is read"
        }
        _ => return None,
    })
}

/// A valid name for a machine or an interface that is not one of the language's operators.
fn is_name(text: &str) -> bool {
    let letters = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.chars().all(letters) && !matches!(text, "and" | "or" | "not")
}

fn near<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |word: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &wrong.to_lowercase());
    let scored = words.map(|word| (distance(word), word));
    scored.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= 2).map(|(_, word)| word)
}

fn clip(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

//! DNS messages, as far as a resolver of one zone needs them: one question in, its answer out (RFC 1035, section 4).

use std::net::{IpAddr, Ipv4Addr};

/// Longest name, its dots included.
const NAME_MAX: usize = 253;
const HEADER_LEN: usize = 12;
/// Seconds that an answer may be kept: a lab changes while people watch.
const TTL: u32 = 5;

/// Types of records (RFC 1035, section 3.2.2; RFC 3596).
const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const ANY: u16 = 255;
/// The class of the Internet.
const IN: u16 = 1;

/// Bits of the header's third and fourth byte.
mod flag {
    pub(super) const RESPONSE: u8 = 0x80;
    pub(super) const OPCODE: u8 = 0x78;
    pub(super) const AUTHORITATIVE: u8 = 0x04;
    pub(super) const RECURSION_DESIRED: u8 = 0x01;
    pub(super) const RECURSION_AVAILABLE: u8 = 0x80;
}

/// What somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) asked: Asked,
    /// Where it ends in its message.
    end: usize,
}

/// Names are in lower case and do not end with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The addresses of a name, of these families.
    Addresses { name: String, ipv4: bool, ipv6: bool },
    /// The name of an address.
    NameOf(IpAddr),
    /// Something else about a name.
    Other { name: String },
}

/// What is said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name is there, with these addresses or with nothing of what was asked.
    Addresses(Vec<IpAddr>),
    Name(String),
    NoSuchName,
    /// It is about somebody else's names.
    Refused,
}

impl Question {
    /// The one question of a query; none for anything else.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let header = message.first_chunk::<HEADER_LEN>()?;
        let is_query = header[2] & (flag::RESPONSE | flag::OPCODE) == 0;
        if !is_query || header[4..6] != [0, 1] {
            return None;
        }
        let (name, after) = name(message)?;
        let [kind, class] = fields(message, after)?;
        let asked = match kind {
            _ if class != IN => Asked::Other { name },
            A | AAAA | ANY => Asked::Addresses { name, ipv4: kind != AAAA, ipv6: kind != A },
            PTR => address(&name).map_or(Asked::Other { name }, Asked::NameOf),
            _ => Asked::Other { name },
        };
        Some(Self { asked, end: after + 4 })
    }

    /// The message that answers it; `query` is what it was read of.
    pub(super) fn reply(&self, query: &[u8], answer: &Answer) -> Vec<u8> {
        let records: Vec<(u16, Vec<u8>)> = match answer {
            Answer::Addresses(addresses) => addresses.iter().map(|address| record(*address)).collect(),
            Answer::Name(name) => vec![(PTR, labels(name))],
            Answer::NoSuchName | Answer::Refused => Vec::new(),
        };
        let code = match answer {
            Answer::Addresses(_) | Answer::Name(_) => 0,
            Answer::NoSuchName => 3,
            Answer::Refused => 5,
        };
        let mut reply = query[..self.end].to_vec();
        reply[2] = query[2] & flag::RECURSION_DESIRED | flag::RESPONSE | flag::AUTHORITATIVE;
        reply[3] = flag::RECURSION_AVAILABLE | code;
        reply[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        // Nothing beyond: what a query has behind its question is not answered.
        reply[8..HEADER_LEN].fill(0);
        for (kind, data) in records {
            // The name of the question, where that stands.
            reply.extend([0xc0, HEADER_LEN as u8]);
            reply.extend(kind.to_be_bytes());
            reply.extend(IN.to_be_bytes());
            reply.extend(TTL.to_be_bytes());
            reply.extend((data.len() as u16).to_be_bytes());
            reply.extend(data);
        }
        reply
    }
}

/// The question's name, and where it ends. Nothing stands before it that it could refer to.
fn name(message: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), HEADER_LEN);
    loop {
        let length = usize::from(*message.get(at)?);
        let label = message.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((name, at));
        }
        if length > 63 || name.len() + length >= NAME_MAX || !label.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
}

/// Two numbers of two bytes.
fn fields(message: &[u8], at: usize) -> Option<[u16; 2]> {
    let [a, b, c, d] = *message.get(at..)?.first_chunk()?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

/// `4.1.0.10.in-addr.arpa`: 10.0.1.4.
fn address(name: &str) -> Option<IpAddr> {
    let reversed: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = reversed.octets();
    Some(Ipv4Addr::new(d, c, b, a).into())
}

fn record(address: IpAddr) -> (u16, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (A, address.octets().to_vec()),
        IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
    }
}

fn labels(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [label.len() as u8].into_iter().chain(label.bytes()));
    labels.chain([0]).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0x12, 0x34, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend(labels(name));
        query.extend(kind.to_be_bytes());
        query.extend(IN.to_be_bytes());
        // What EDNS adds.
        query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        query
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let query = query("Web.internal.cloudapp.net", A);
        let question = Question::read(&query).unwrap();
        let name = "web.internal.cloudapp.net".to_owned();
        assert_eq!(question.asked, Asked::Addresses { name, ipv4: true, ipv6: false });
        let reply = question.reply(&query, &Answer::Addresses(vec!["10.0.1.4".parse().unwrap()]));
        assert_eq!(reply[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(reply[question.end..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 1, 4]);
        assert_eq!(question.reply(&query, &Answer::NoSuchName)[2..8], [0x85, 0x83, 0, 1, 0, 0]);
    }

    #[test]
    fn an_address_is_asked_for_backwards() {
        let asked = |name| Question::read(&query(name, PTR)).unwrap().asked;
        assert_eq!(asked("4.1.0.10.in-addr.arpa"), Asked::NameOf("10.0.1.4".parse().unwrap()));
        assert_eq!(asked("1.0.10.in-addr.arpa"), Asked::Other { name: "1.0.10.in-addr.arpa".to_owned() });
    }

    #[test]
    fn what_is_no_query_is_not_read() {
        let good = query("a.b", A);
        // The last of the question itself.
        let whole = good.len() - 11;
        assert!(Question::read(&good[..whole]).is_some());
        assert!((0..whole).all(|length| Question::read(&good[..length]).is_none()));
        let with = |at: usize, byte: u8| {
            let mut other = good.clone();
            other[at] = byte;
            Question::read(&other)
        };
        assert!(with(2, 0x81).is_none(), "an answer");
        assert!(with(2, 0x29).is_none(), "an update");
        assert!(with(5, 2).is_none(), "two questions");
        assert!(with(12, 0xc0).is_none(), "a name that is elsewhere");
        assert!(with(13, b' ').is_none(), "a name that cannot be told");
    }
}

//! The resolver at 168.63.129.16: the names of the asking virtual network's machines, and nothing else.
//!
//! One idea: it is the authority for [`DOMAIN`] and for its machines' addresses. It refuses other questions at once,
//! so that a guest does not wait for an answer that cannot come, or it passes them on to the forwarders in the file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::AnswerBuilder;
use domain::base::{Message, MessageBuilder, Name, Rtype, Ttl};
use domain::rdata::{A, Aaaa, Ptr};

use super::directory::{DOMAIN, Directory};

/// How long an answer may be kept: Azure's own answers have the same time to live.
const TTL: Ttl = Ttl::from_secs(10);

/// What a name stands for.
enum Found<'a> {
    /// A machine, with its addresses.
    Machine(&'a [IpAddr]),
    /// An address, with its machine's name.
    Address(&'a str),
    /// The domain itself, or a name above addresses: it exists and has no records.
    Nothing,
    /// A name in our domain that does not exist.
    NoName,
    /// A name outside our domain.
    Foreign,
}

/// The answer to a question.
#[derive(Debug)]
pub enum Reply {
    Answer(Vec<u8>),
    /// The name is outside our domain; this is the answer if there is no forwarder.
    Foreign(Vec<u8>),
}

/// The answer that no forwarder gave one (SERVFAIL).
pub fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_octets(question).ok()?;
    Some(MessageBuilder::new_vec().start_answer(&message, Rcode::SERVFAIL).ok()?.finish())
}

/// Whether a message answers this question, ignoring their ids.
pub fn is_about(answer: &[u8], question: &[u8]) -> bool {
    let (Ok(answer), Ok(question)) = (Message::from_octets(answer), Message::from_octets(question)) else {
        return false;
    };
    let (Ok(about), Ok(asked)) = (answer.sole_question(), question.sole_question()) else { return false };
    answer.header().qr() && about == asked
}

/// Whether an answer is truncated.
pub fn is_truncated(answer: &[u8]) -> bool {
    Message::from_octets(answer).is_ok_and(|message| message.header().tc())
}

/// The answer to a question, if the message is a question.
pub fn answer(question: &[u8], directory: &Directory) -> Option<Reply> {
    let message = Message::from_octets(question).ok()?;
    // Messages that are answers get no answer.
    if message.header().qr() {
        return None;
    }
    let refuse = |rcode| Some(Reply::Answer(MessageBuilder::new_vec().start_answer(&message, rcode).ok()?.finish()));
    if message.header().opcode() != Opcode::QUERY {
        return refuse(Rcode::NOTIMP);
    }
    let Ok(asked) = message.sole_question() else { return refuse(Rcode::FORMERR) };
    if asked.qclass() != Class::IN {
        return refuse(Rcode::REFUSED);
    }
    let name = asked.qname().to_string();
    let rcode = |found: &Found<'_>| match found {
        Found::Machine(_) | Found::Address(_) | Found::Nothing => Rcode::NOERROR,
        Found::NoName => Rcode::NXDOMAIN,
        Found::Foreign => Rcode::REFUSED,
    };
    let found = find(name.trim_end_matches('.'), directory);
    let mut builder = MessageBuilder::new_vec().start_answer(&message, rcode(&found)).ok()?;
    builder.header_mut().set_aa(!matches!(found, Found::Foreign));
    let owner = asked.qname();
    let any = asked.qtype() == Rtype::ANY;
    match found {
        Found::Machine(addresses) => {
            for address in addresses {
                match address {
                    IpAddr::V4(ipv4) if any || asked.qtype() == Rtype::A => push(&mut builder, owner, A::new(*ipv4))?,
                    IpAddr::V6(ipv6) if any || asked.qtype() == Rtype::AAAA => {
                        push(&mut builder, owner, Aaaa::new(*ipv6))?;
                    }
                    IpAddr::V4(_) | IpAddr::V6(_) => {}
                }
            }
        }
        Found::Address(machine) if any || asked.qtype() == Rtype::PTR => {
            let target: Name<Vec<u8>> = format!("{machine}.{DOMAIN}").parse().ok()?;
            push(&mut builder, owner, Ptr::new(target))?;
        }
        Found::Address(_) | Found::Nothing | Found::NoName | Found::Foreign => {}
    }
    let is_foreign = matches!(found, Found::Foreign);
    let bytes = builder.finish();
    Some(if is_foreign { Reply::Foreign(bytes) } else { Reply::Answer(bytes) })
}

fn push(
    builder: &mut AnswerBuilder<Vec<u8>>,
    owner: impl domain::base::ToName,
    data: impl domain::base::rdata::ComposeRecordData,
) -> Option<()> {
    builder.push((owner, TTL, data)).ok()
}

fn find<'a>(name: &str, directory: &'a Directory) -> Found<'a> {
    let name = name.to_ascii_lowercase();
    if let Some(reverse) = reverse(&name) {
        return match reverse {
            Reverse::Whole(address) => directory.name_of(address).map_or(Found::Foreign, Found::Address),
            Reverse::Part => Found::Nothing,
        };
    }
    if name == DOMAIN {
        return Found::Nothing;
    }
    let label = name.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.'));
    match (label, name.contains('.')) {
        (Some(machine), _) => directory.addresses(machine).map_or(Found::NoName, Found::Machine),
        // As a guest without a search list asks.
        (None, false) => directory.addresses(&name).map_or(Found::Foreign, Found::Machine),
        (None, true) => Found::Foreign,
    }
}

/// A name under which addresses are looked up.
enum Reverse {
    Whole(IpAddr),
    Part,
}

/// `4.1.168.192.in-addr.arpa`, and the nibbles of an IPv6 address below `ip6.arpa` (RFC 1035 section 3.5, RFC 3596 section
/// 2.5).
fn reverse(name: &str) -> Option<Reverse> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = labels.rsplit('.').map(str::parse::<u8>);
        let mut address = [0; 4];
        for octet in &mut address {
            match octets.next() {
                Some(label) => *octet = label.ok()?,
                None => return Some(Reverse::Part),
            }
        }
        return octets.next().is_none().then(|| Reverse::Whole(Ipv4Addr::from(address).into()));
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits: u128 = 0;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let nibble = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        bits = bits << 4 | nibble;
        count += 1;
        if count > 32 {
            return None;
        }
    }
    Some(if count == 32 { Reverse::Whole(Ipv6Addr::from(bits).into()) } else { Reverse::Part })
}

#[cfg(test)]
mod tests {
    use super::{Reverse, reverse};

    #[test]
    fn names_of_addresses_are_whole_or_a_part_or_no_names() {
        let nibbles = |count: usize| format!("{}ip6.arpa", "1.".repeat(count));
        let found = |name: &str| match reverse(name) {
            Some(Reverse::Whole(address)) => address.to_string(),
            Some(Reverse::Part) => "part".to_owned(),
            None => "none".to_owned(),
        };
        assert_eq!(found("4.1.168.192.in-addr.arpa"), "192.168.1.4");
        assert_eq!(found("168.192.in-addr.arpa"), "part");
        assert_eq!(found("9.4.1.168.192.in-addr.arpa"), "none");
        assert_eq!(found("256.1.168.192.in-addr.arpa"), "none");
        assert_eq!(found(&nibbles(31)), "part");
        assert_eq!(found(&nibbles(32)), "1111:1111:1111:1111:1111:1111:1111:1111");
        assert_eq!(found(&nibbles(33)), "none");
        assert_eq!(found("11.ip6.arpa"), "none", "a nibble has one digit");
    }
}

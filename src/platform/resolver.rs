//! Questions to a name server, what its answers say, and the answer that the platform must give to a machine.
//!
//! One idea: a question is bytes. A real server answers the same bytes as the platform's own resolver, so the two answers
//! can be compared. Sockets are the caller's.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::AllRecordData;

use crate::azure::address;
use crate::model::{Network, RecordType, VmIx};

use super::directory::Directory;
use super::dns::{self, Reply};

/// What a server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAnswer {
    /// `NOERROR`, `NXDOMAIN` and so on.
    pub code: String,
    /// In lower case and without a dot at the end, sorted.
    pub records: Vec<String>,
}

/// Whether a datagram answers a question: both its id and what is asked.
pub fn is_answer(answer: &[u8], question: &[u8]) -> bool {
    answer.get(..2) == question.get(..2) && dns::is_about(answer, question)
}

/// The bytes of a question.
pub fn question(name: &str, record: RecordType) -> Result<Vec<u8>, String> {
    let name = match name.parse::<IpAddr>() {
        Ok(address) => reverse(address),
        Err(_) => name.to_owned(),
    };
    let owner: Name<Vec<u8>> = name.parse().map_err(|_| format!("`{name}` cannot be a name of DNS"))?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    builder.header_mut().set_id(fresh_id());
    let mut builder = builder.question();
    builder.push((&owner, Rtype::from_int(record.number()))).map_err(|error| error.to_string())?;
    Ok(builder.finish())
}

/// Tells an answer to this question from one to an earlier question of the same machine.
fn fresh_id() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What an answer says: its records of the kind that was asked for.
pub fn read(answer: &[u8]) -> Result<NameAnswer, String> {
    let broken = |_| "its answer is not DNS".to_owned();
    let message = Message::from_octets(answer).map_err(broken)?;
    let asked = message.sole_question().map_err(|_| "its answer has no question".to_owned())?;
    let section = message.answer().map_err(|_| "its answer is broken".to_owned())?;
    let mut records = Vec::new();
    for record in section.limit_to::<AllRecordData<_, _>>() {
        let record = record.map_err(|_| "its answer is broken".to_owned())?;
        if record.rtype() == asked.qtype() {
            records.push(record.data().to_string().trim_end_matches('.').to_lowercase());
        }
    }
    records.sort();
    Ok(NameAnswer { code: code(message.header().rcode()), records })
}

fn code(rcode: Rcode) -> String {
    rcode.to_string()
}

/// What the platform answers to a machine; None where other servers decide.
pub fn foretold(network: &Network, machine: VmIx, question: &[u8]) -> Option<Result<NameAnswer, String>> {
    let primary = network.vm(machine).network_interfaces.iter().find(|nic| network.nic(**nic).primary)?;
    let nic = network.nic(*primary);
    let own = if nic.dns_servers.is_empty() { &network.vnet(nic.subnet.vnet).dns_servers } else { &nic.dns_servers };
    let platform_alone = own.iter().all(|server| *server == IpAddr::V4(address::PLATFORM));
    if !platform_alone || !network.emulation.platform_services {
        return None;
    }
    let directories = Directory::of_all(&Arc::new(network.clone()));
    match dns::answer(question, directories.get(&nic.subnet.vnet)?)? {
        Reply::Answer(answer) => Some(read(&answer)),
        Reply::Foreign(answer) => network.dns_forwarders.is_empty().then(|| read(&answer)),
    }
}

/// The name under which an address is looked up.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            let labels = nibbles.map(|nibble| format!("{nibble:x}")).chain(["ip6".to_owned(), "arpa".to_owned()]);
            labels.collect::<Vec<_>>().join(".")
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Servers answer in any order, with other records between, and in any case.
    #[test]
    fn an_answer_says_its_records_of_the_kind_in_order() {
        let asked = question("www.example.org", RecordType::A).unwrap();
        let message = Message::from_octets(&asked[..]).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&message, Rcode::NOERROR).unwrap();
        let name: Name<Vec<u8>> = "www.example.org".parse().unwrap();
        let other: Name<Vec<u8>> = "Web.example.org".parse().unwrap();
        answer.push((&name, 60, domain::rdata::Cname::new(other.clone()))).unwrap();
        for last in [9, 1, 5] {
            answer.push((&other, 60, domain::rdata::A::from_octets(10, 0, 0, last))).unwrap();
        }
        let said = read(&answer.finish()).unwrap();
        assert_eq!(
            (said.code.as_str(), said.records),
            ("NOERROR", vec!["10.0.0.1".into(), "10.0.0.5".into(), "10.0.0.9".into()])
        );
        let asked = question("10.0.0.1", RecordType::Ptr).unwrap();
        let message = Message::from_octets(&asked[..]).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&message, Rcode::NXDOMAIN).unwrap();
        let owner = message.sole_question().unwrap();
        answer.push((owner.qname(), 60, domain::rdata::Ptr::new(other))).unwrap();
        let said = read(&answer.finish()).unwrap();
        assert_eq!((said.code.as_str(), said.records), ("NXDOMAIN", vec!["web.example.org".into()]));
    }

    /// One to an earlier question has another number, and one about another name is none, whatever its number.
    #[test]
    fn an_answer_is_told_from_those_to_other_questions() {
        let asked = question("www.example.org", RecordType::A).unwrap();
        let answer_to = |question: &[u8]| {
            let message = Message::from_octets(question).unwrap();
            MessageBuilder::new_vec().start_answer(&message, Rcode::NOERROR).unwrap().finish()
        };
        assert!(is_answer(&answer_to(&asked), &asked));
        let earlier = question("www.example.org", RecordType::A).unwrap();
        assert!(!is_answer(&answer_to(&earlier), &asked), "another number");
        let mut other = question("web.example.org", RecordType::A).unwrap();
        other[..2].copy_from_slice(&asked[..2]);
        assert!(!is_answer(&answer_to(&other), &asked), "another name");
    }

    #[test]
    fn an_address_is_asked_by_its_reverse_name() {
        assert_eq!(reverse("10.1.2.3".parse().unwrap()), "3.2.1.10.in-addr.arpa");
        assert!(reverse("fd00::1".parse().unwrap()).starts_with("1.0.0.0.0."));
        let asked = question("10.1.2.3", RecordType::Ptr).unwrap();
        let message = Message::from_octets(&asked[..]).unwrap();
        assert_eq!(message.sole_question().unwrap().qname().to_string(), "3.2.1.10.in-addr.arpa");
        assert!(question(&"a".repeat(64), RecordType::A).is_err(), "no label is that long");
        assert!(read(b"no answer").is_err());
    }
}

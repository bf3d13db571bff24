//! Single messages, without a socket: every word of what is answered.

use domain::base::iana::{Class, Opcode};
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::AllRecordData;
use serde_json::{Value, json};
use vnet::platform::dns::{self, Reply};
use vnet::platform::metadata;

use super::*;

fn name(name: &str) -> Name<Vec<u8>> {
    name.parse().unwrap()
}

fn ask(name_asked: &str, kind: Rtype, class: Class) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    builder.push((name(name_asked), kind, class)).unwrap();
    builder.finish()
}

/// Its code, whether it speaks with authority, and its records with their times to live.
fn told(question: &[u8]) -> (u8, bool, Vec<String>) {
    let answer = match dns::answer(question, &directory()).unwrap() {
        Reply::Answer(answer) => answer,
        Reply::Foreign(answer) => {
            assert!(!Message::from_octets(&answer[..]).unwrap().header().aa());
            answer
        }
    };
    let message = Message::from_octets(&answer[..]).unwrap();
    assert!(message.header().qr());
    let records = message.answer().unwrap().limit_to::<AllRecordData<_, _>>();
    let records = records.map(|record| {
        let record = record.unwrap();
        format!("{} {} {} {}", record.owner(), record.ttl().as_secs(), record.rtype(), record.data())
    });
    (message.header().rcode().to_int(), message.header().aa(), records.collect())
}

#[test]
fn an_answer_has_authority_and_ten_seconds() {
    let records = |records: &[&str]| records.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (v4, v6) = ("db.internal.cloudapp.net 10 A 10.1.0.5", "db.internal.cloudapp.net 10 AAAA fd00:1::5");
    for (kind, all) in [(Rtype::A, &[v4][..]), (Rtype::AAAA, &[v6]), (Rtype::ANY, &[v4, v6]), (Rtype::MX, &[])] {
        assert_eq!(told(&ask("db.internal.cloudapp.net", kind, Class::IN)), (0, true, records(all)), "{kind}");
    }
    let pointer = "5.0.1.10.in-addr.arpa 10 PTR db.internal.cloudapp.net.";
    for (kind, all) in [(Rtype::PTR, &[pointer][..]), (Rtype::ANY, &[pointer]), (Rtype::A, &[])] {
        assert_eq!(told(&ask("5.0.1.10.in-addr.arpa", kind, Class::IN)), (0, true, records(all)), "{kind}");
    }
    assert_eq!(told(&ask("0.1.10.in-addr.arpa", Rtype::PTR, Class::IN)), (0, true, Vec::new()), "a part of names");
    assert_eq!(told(&ask("dbinternal.cloudapp.net", Rtype::A, Class::IN)).0, 5, "no name of ours");
    assert_eq!(told(&ask("x.db.internal.cloudapp.net", Rtype::A, Class::IN)).0, 3);
}

#[test]
fn other_questions_are_refused_by_their_kind() {
    let asked = ask("db", Rtype::A, Class::IN);
    let mut update = asked.clone();
    update[2] = Opcode::UPDATE.to_int() << 3;
    assert_eq!(told(&update).0, 4, "NOTIMP");
    assert_eq!(told(&ask("db", Rtype::A, Class::CH)).0, 5, "REFUSED");
    let mut two = MessageBuilder::new_vec().question();
    for _ in 0..2 {
        two.push((name("db"), Rtype::A)).unwrap();
    }
    assert_eq!(told(&two.finish()).0, 1, "FORMERR");
    assert_eq!(told(&MessageBuilder::new_vec().question().finish()).0, 1, "FORMERR");
    assert!(dns::answer(b"short", &directory()).is_none());
    let foreign =
        |name: &str| matches!(dns::answer(&ask(name, Rtype::A, Class::IN), &directory()), Some(Reply::Foreign(_)));
    assert!(foreign("www.example.org") && foreign("nothing") && !foreign("db") && !foreign("no.internal.cloudapp.net"));
}

#[test]
fn an_answer_is_about_its_question_alone() {
    let (asked, other) = (ask("a.example", Rtype::A, Class::IN), ask("b.example", Rtype::A, Class::IN));
    let answer = |question: &[u8]| dns::failure(question).unwrap();
    assert!(dns::is_about(&answer(&asked), &asked) && !dns::is_about(&answer(&other), &asked));
    assert!(!dns::is_about(&asked, &asked), "a question is no answer");
    assert!(!dns::is_about(b"x", &asked) && dns::failure(b"x").is_none());
    let mut truncated = answer(&asked);
    assert!(!dns::is_truncated(&truncated) && !dns::is_truncated(b"x"));
    truncated[2] |= 2;
    assert!(dns::is_truncated(&truncated));
    assert_eq!(Message::from_octets(&answer(&asked)[..]).unwrap().header().rcode().to_int(), 2, "SERVFAIL");
}

fn metadata_of(request: &str, from: Ipv4Addr) -> (u16, String, String) {
    let answer = metadata::reply(request.as_bytes(), &directory(), from.into()).unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let header =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(header("Content-Length:"), body.len().to_string());
    (status, header("Content-Type:"), body.to_owned())
}

#[test]
fn every_refusal_of_metadata_says_why() {
    let ask = |request: &str| metadata_of(request, WEB);
    let get = |target: &str| ask(&format!("GET {target} HTTP/1.1\r\nMetadata: true\r\n\r\n"));
    let json = "application/json; charset=utf-8".to_owned();
    let error = |message: &str| json!({"error": message});
    let right = "/metadata/instance?api-version=2021-02-01";
    for (answer, status, said) in [
        (ask(&format!("POST {right} HTTP/1.1\r\nMetadata: true\r\n\r\n")), 405, error("Method not allowed")),
        (
            ask(&format!("GET {right} HTTP/1.1\r\nMetadata: false\r\n\r\n")),
            400,
            error("Bad request. Required metadata header not specified"),
        ),
        (
            ask(&format!("GET {right} HTTP/1.1\r\nMetadata: true\r\nX-Forwarded-For: x\r\n\r\n")),
            400,
            error("Bad request. X-Forwarded-For header is not allowed"),
        ),
        (get("/metadata?api-version=2021-02-01"), 404, error("Not found")),
        (get("/other/instance?api-version=2021-02-01"), 404, error("Not found")),
        (get("/metadata/instance/compute/none?api-version=2021-02-01"), 404, error("Not found")),
        (get("/metadata/instance/compute/name/more?api-version=2021-02-01"), 404, error("Not found")),
        (
            get("/metadata/instance/compute/name?api-version=2021-02-01&format=json"),
            400,
            error("Bad request. json format is not supported for a single value"),
        ),
        (
            get("/metadata/instance?api-version=2021-02-01&format=xml"),
            400,
            error("Bad request. format is json or text"),
        ),
    ] {
        let body: Value = serde_json::from_str(&answer.2).unwrap();
        assert_eq!((answer.0, answer.1, body), (status, json.clone(), said));
    }
    for (query, message) in [
        ("", "Bad request. api-version was not specified in the request"),
        ("?format=text", "Bad request. api-version was not specified in the request"),
        ("?api-version=2017-04-01", "Bad request. api-version is invalid or not supported"),
        ("?api-version=2017-4-002", "Bad request. api-version is invalid or not supported"),
        ("?api-version=2021-02-01x", "Bad request. api-version is invalid or not supported"),
        ("?api-version=2021x02-01", "Bad request. api-version is invalid or not supported"),
        ("?api-version=2021-02x01", "Bad request. api-version is invalid or not supported"),
        ("?api-version=2021-xx-01", "Bad request. api-version is invalid or not supported"),
        ("?api-version=2021-02-xx", "Bad request. api-version is invalid or not supported"),
    ] {
        let body: Value = serde_json::from_str(&get(&format!("/metadata/instance{query}")).2).unwrap();
        let newest = json!(["2021-12-13", "2021-11-15", "2021-02-01", "2020-10-01"]);
        assert_eq!((&body["error"], &body["newest-versions"]), (&json!(message), &newest), "{query}");
    }
    let (status, kind, body) = get("/metadata/instance?format=text&api-version=2017-04-02");
    assert_eq!((status, kind.as_str(), body.as_str()), (200, "text/plain; charset=utf-8", "compute/\nnetwork/"));
    let (_, kind, body) = get("/metadata//instance/network/interface/?api-version=2021-02-01&format=text");
    assert_eq!((kind.as_str(), body.as_str()), ("text/plain; charset=utf-8", "0/"));
    assert_eq!(get("/metadata/instance/compute/name?api-version=2021-02-01").2, "Web", "a single value is text");
    assert_eq!(metadata_of(&format!("GET {right} HTTP/1.1\r\nMetadata: true\r\n\r\n"), PLATFORM).0, 404);
}

#[test]
fn a_request_is_waited_for_up_to_its_longest() {
    let reply = |bytes: &[u8]| metadata::reply(bytes, &directory(), WEB.into());
    assert_eq!(reply(b"GET / HTTP/1.1\r\nA: b\r\n"), Ok(None));
    assert!(reply(b"nonsense\r\n\r\n").is_err());
    let longest = vnet::platform::http::LONGEST;
    let long = |len: usize| format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(len - 19)).into_bytes();
    assert_eq!(long(longest).len(), longest);
    assert_eq!(reply(&long(longest - 1)), Ok(None));
    assert!(reply(&long(longest)).is_err());
}

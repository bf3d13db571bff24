//! The resolver and instance metadata, as guests ask them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use serde_json::Value;
use vnet::model::RecordType::{A, Aaaa, Ptr};
use vnet::platform::Served;

use super::*;

#[test]
fn peer_12_machines_are_known_by_name_and_by_address() {
    served(&[], |_| {
        for ask in [ask_by_datagram, ask_by_connection] {
            for (name, record, code, records) in [
                ("web.internal.cloudapp.net", A, "NOERROR", vec!["10.1.0.4"]),
                ("WEB", A, "NOERROR", vec!["10.1.0.4"]),
                ("web", Aaaa, "NOERROR", vec!["fd00:1::4"]),
                ("db", A, "NOERROR", vec!["10.1.0.5"]),
                ("db", Aaaa, "NOERROR", vec!["fd00:1::5"]),
                ("10.1.0.4", Ptr, "NOERROR", vec!["web.internal.cloudapp.net"]),
                ("fd00:1::5", Ptr, "NOERROR", vec!["db.internal.cloudapp.net"]),
                ("idle.internal.cloudapp.net", A, "NXDOMAIN", vec![]),
                ("other.internal.cloudapp.net", A, "NXDOMAIN", vec![]),
                ("internal.cloudapp.net", A, "NOERROR", vec![]),
                ("10.2.0.4", Ptr, "REFUSED", vec![]),
                ("www.example.org", A, "REFUSED", vec![]),
                ("other", A, "REFUSED", vec![]),
            ] {
                let asked = question(name, record);
                let answer = ask(WEB, &asked);
                assert_eq!(answer[..2], asked[..2], "{name}");
                let (told, all) = said(&answer);
                assert_eq!((told.as_str(), all), (code, records.iter().map(ToString::to_string).collect()), "{name}");
            }
        }
    });
}

#[test]
fn what_is_no_question_gets_no_answer_and_others_get_theirs() {
    served(&[], |_| {
        let socket = towards_resolver(WEB);
        let asked = question("web", A);
        let mut answer = asked.clone();
        answer[2] |= 0x80;
        for bytes in [&b""[..], b"x", &answer, &asked] {
            socket.send(bytes).unwrap();
        }
        assert_eq!(said(&received(&socket)).1, ["10.1.0.4"], "the one question");
        for bytes in [&b"\0\x01x"[..], &[&[0, u8::try_from(answer.len()).unwrap()], &answer[..]].concat()] {
            assert_eq!(exchange(call(WEB, (PLATFORM, 53).into()), bytes), "");
        }
        // A question that never ends is cut off at some length.
        let mut endless = call(WEB, (PLATFORM, 53).into());
        let cut = (0..100).find_map(|_| endless.write_all(&[0xff; 1024]).err());
        let ended = cut.map_or_else(|| endless.read(&mut [0]).map_or(true, |len| len == 0), |_| true);
        assert!(ended);
        assert_eq!(said(&ask_by_connection(DB, &asked)).1, ["10.1.0.4"]);
    });
}

fn get(machine: Ipv4Addr, target: &str, headers: &str) -> (String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: m\r\n{headers}\r\n");
    let answer = exchange(call(machine, (METADATA, 80).into()), request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_machine_is_told_of_itself() {
    served(&[], |_| {
        const INSTANCE: &str = "/metadata/instance?api-version=2021-02-01";
        const HEADER: &str = "Metadata: true\r\n";
        let ask = |machine, target| serde_json::from_str::<Value>(&get(machine, target, HEADER).1).unwrap();
        let web = ask(WEB, INSTANCE);
        let subnet = serde_json::json!([{"address": "10.1.0.0", "prefix": "24"}]);
        let compute = serde_json::json!({"azEnvironment": "AzurePublicCloud", "location": "westeurope", "name": "Web"});
        assert_eq!(web["compute"], compute);
        let [interface] = &web["network"]["interface"].as_array().unwrap()[..] else { panic!("{web}") };
        let ipv4 = serde_json::json!({
            "ipAddress": [{"privateIpAddress": "10.1.0.4", "publicIpAddress": ""}], "subnet": subnet,
        });
        assert_eq!(
            (&interface["ipv4"], &interface["ipv6"]),
            (&ipv4, &serde_json::json!({"ipAddress": [{"privateIpAddress": "fd00:1::4"}]}))
        );
        assert_eq!(interface["macAddress"].as_str().map(str::len), Some(12));
        let balanced = ask(WEB, "/metadata/loadbalancer?api-version=2020-10-01");
        let public = serde_json::json!([{"frontendIpAddress": "203.0.113.1", "privateIpAddress": "10.1.0.4"}]);
        assert_eq!(balanced["loadbalancer"]["publicIpAddresses"], public);
        let db = ask(DB, INSTANCE);
        assert_eq!(db["compute"]["name"], "db");
        let ipv6 = serde_json::json!({"ipAddress": [{"privateIpAddress": "fd00:1::5"}]});
        assert_eq!(db["network"]["interface"][0]["ipv6"], ipv6);
        assert_eq!(
            ask(DB, "/metadata/loadbalancer?api-version=2020-10-01")["loadbalancer"]["publicIpAddresses"],
            serde_json::json!([])
        );

        let (status, body) = get(WEB, INSTANCE, "");
        assert!(status.contains(" 400 ") && body.contains("Required metadata header"), "{status} {body}");
        let (status, _) = get(PLATFORM, INSTANCE, HEADER);
        assert!(status.contains(" 404 "), "no machine has that address: {status}");
        let (_, body) = get(WEB, "/metadata/instance/compute/name?api-version=2021-02-01&format=text", HEADER);
        assert_eq!(body, "Web");
        let slow = call(WEB, (METADATA, 80).into());
        for piece in [
            "GET /metadata/instance/compute/name?api-version=2021-02-01&for",
            "mat=text HTTP/1.1\r\nMetadata: ",
            "true\r\n",
        ] {
            (&slow).write_all(piece.as_bytes()).unwrap();
        }
        assert!(exchange(slow, b"\r\n").ends_with("\r\n\r\nWeb"));
        assert_eq!(exchange(call(WEB, (METADATA, 80).into()), b"\x16\x03\x01\r\n\r\n"), "", "no HTTP");
        assert_eq!(exchange(call(WEB, (METADATA, 80).into()), b"GET / HTTP/1.1\r\n"), "", "half a request");
    });
}

pub(crate) fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut stream = stream;
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// FAB-12: a machine has a share of the connections; with more it loses its own oldest, and others lose none.
#[test]
fn fab_12_a_machine_with_many_connections_loses_its_own() {
    served(&[], |_| {
        let other = call(DB, (METADATA, 80).into());
        let mut all: Vec<_> = (0..17).map(|_| call(WEB, (METADATA, 80).into())).collect();
        let mut first = all.remove(0);
        assert_eq!(first.read(&mut [0]).unwrap(), 0, "its oldest is closed");
        assert!(is_open(&other) && all.iter().all(is_open));
        // One that has ended does not count any more.
        all.truncate(12);
        for _ in 0..20 {
            let answer = exchange(call(WEB, (METADATA, 80).into()), b"GET / HTTP/1.1\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert_eq!(said(&ask_by_connection(WEB, &question("db", A))).1, ["10.1.0.5"]);
        }
        assert!(all.iter().all(is_open));
        drop(all.pop());
        let mut more = call(WEB, (PLATFORM, 53).into());
        more.write_all(&[0]).unwrap();
        drop(all.pop());
        assert_eq!(said(&ask_by_connection(WEB, &question("db", A))).1, ["10.1.0.5"]);
        assert!(is_open(&more) && is_open(&other));
    });
}

/// FAB-12: a connection that has ended makes room for the next one, however busy the server is. No open one is closed.
#[test]
fn fab_12_an_end_is_seen_before_the_next_connection() {
    served(&[], |_| {
        let call = || call(WEB, (METADATA, 80).into());
        let all: Vec<_> = (0..15).map(|_| call()).collect();
        for _ in 0..20 {
            drop(call());
        }
        assert!(exchange(call(), b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "), "all are seen");
        assert!(all.iter().all(is_open));
    });
}

/// Devices come and go; what is asked behind one that goes ends, and the others answer by what they are given.
#[test]
fn a_device_is_served_as_long_as_it_is_listed() {
    served(&[], |server| {
        let mut open = call(WEB, (METADATA, 80).into());
        server.apply(behind_lo(&[]));
        assert!(is_open(&open), "it goes on");
        open.set_nonblocking(false).unwrap();
        server.apply(Served::default());
        let _ = open.shutdown(Shutdown::Write);
        assert_eq!(open.read(&mut [0]).unwrap(), 0);
        let refused = std::net::TcpStream::connect((METADATA, 80)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let moved = LAB.replace("name: db", "name: moved");
        let directory = vnet::platform::Directory::of_all(&network(&moved)).into_values().next().unwrap();
        // A device that is not there is left out.
        let behind = BTreeMap::from([("lo".to_owned(), directory.clone()), ("nothing".to_owned(), directory)]);
        server.apply(Served { behind, forwarders: Vec::new() });
        assert_eq!(said(&ask_by_datagram(WEB, &question("moved", A))).1, ["10.1.0.5"]);
        assert_eq!(said(&ask_by_datagram(WEB, &question("db", A))).0, "REFUSED");
        server.apply(behind_lo(&[]));
        assert_eq!(said(&ask_by_datagram(WEB, &question("db", A))).1, ["10.1.0.5"], "the doors stay, the names change");
    });
}

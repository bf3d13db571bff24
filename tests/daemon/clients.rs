//! Clients of the control socket that say nothing, or read late.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vnet::daemon::api::protocol::{Request, VERSION};

use crate::{DEADLINE, LAB, Lab};

/// Of one process's silent connections the oldest goes, without a word; the others have their time.
#[test]
fn one_silent_connection_too_many_ends_the_oldest() {
    let lab = Lab::start();
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        let round = Instant::now();
        let mut clients: Vec<_> = (0..=128).map(|_| UnixStream::connect(&lab.socket).unwrap()).collect();
        let mut answer = Vec::new();
        clients[0].read_to_end(&mut answer).unwrap();
        let others = clients[1..].iter().filter(|client| waits(client)).count();
        // In time: silence for two seconds is answered.
        if round.elapsed() < Duration::from_secs(1) {
            assert_eq!((answer.len(), others), (0, 128));
            return;
        }
    }
    panic!("never in time");
}

fn waits(mut client: &UnixStream) -> bool {
    client.set_nonblocking(true).unwrap();
    client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn an_end_is_seen_before_the_next_connection() {
    let lab = Lab::start();
    let connect = || UnixStream::connect(&lab.socket).unwrap();
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        let round = Instant::now();
        let clients: Vec<_> = (0..127).map(|_| connect()).collect();
        for _ in 0..200 {
            drop(connect());
        }
        let mut last = connect();
        last.write_all(b"nonsense\n").unwrap();
        assert!(last.read(&mut [0]).unwrap() > 0, "all are seen");
        let open = clients.iter().filter(|client| waits(client)).count();
        // In time: after two seconds of silence the daemon closes a connection.
        if round.elapsed() < Duration::from_secs(1) {
            assert_eq!(open, clients.len());
            return;
        }
    }
    panic!("never in time");
}

/// The socket has room for some 200 KB, and the daemon waits with what is left.
#[test]
fn a_long_answer_waits_for_a_client_that_reads_late() {
    let (named, mut rules) = ("    securityRules:\n", String::new());
    for n in 0..900 {
        let name = format!("rule-{n}-{}", "x".repeat(60));
        writeln!(
            rules,
            "      - {{name: {name}, priority: {}, direction: Inbound, access: Deny, protocol: Tcp, sourcePortRange: '*',
         sourceAddressPrefixes: [192.0.2.{}, 198.51.100.{}], destinationAddressPrefix: '*', destinationPortRange: '{}'}}",
            200 + n,
            n % 250,
            n % 250,
            1000 + n
        )
        .unwrap();
    }
    let lab = Lab::start_with(&LAB.replacen(named, &format!("{named}{rules}"), 1));
    let mut client = UnixStream::connect(&lab.socket).unwrap();
    let request = json!({"version": VERSION, "body": Request::Rules { target: "server".to_owned() }});
    client.write_all(format!("{request}\n").as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(300));
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > 300_000, "{} bytes", answer.len());
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["body"]["rules"].is_array());
}

//! Clients of the control socket that say nothing.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::{DEADLINE, Lab};

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
        let waits = |mut client: &UnixStream| {
            client.set_nonblocking(true).unwrap();
            client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        let others = clients[1..].iter().filter(|client| waits(client)).count();
        // In time: silence for two seconds is answered.
        if round.elapsed() < Duration::from_secs(1) {
            assert_eq!((answer.len(), others), (0, 128));
            return;
        }
    }
    panic!("never in time");
}

//! Asks a machine's name server, from the machine.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::lab::error::{During, Result};
use crate::lab::programs::exec::{Node, open};
use crate::model::RecordType;
use crate::platform::resolver::{self, NameAnswer};
use crate::sys::files;
use crate::sys::socket::Origin;

pub use crate::platform::resolver::{NameAnswer as Answer, foretold, question};

const PORT: u16 = 53;
/// A server is asked again after this long: a datagram may be lost.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest file of name servers.
const LONGEST: u64 = 64 << 10;

/// Asks the first server of a machine; the inner error says why there is no answer.
pub fn ask(
    node: Node<'_>,
    name: &str,
    record: RecordType,
    limit: Duration,
) -> Result<std::result::Result<NameAnswer, String>> {
    let question = match resolver::question(name, record) {
        Ok(question) => question,
        Err(error) => return Ok(Err(error)),
    };
    let machine = &node.node.name;
    let servers = match &node.node.resolver {
        Some(file) => {
            files::read_text(file, LONGEST).during(|| format!("cannot read the name servers of {machine}"))?
        }
        None => String::new(),
    };
    let Some(server) = servers.lines().find_map(server) else {
        return Ok(Err(format!("{machine} has no name server")));
    };
    let answer = open(node)?.run(|| exchange(SocketAddr::new(server, PORT), &question, limit));
    let answer = answer.and_then(|answer| answer).during(|| format!("cannot ask from {machine}"))?;
    Ok(match answer {
        Some(answer) => resolver::read(&answer),
        None => Err(format!("the name server {server} does not answer")),
    })
}

fn server(line: &str) -> Option<IpAddr> {
    line.strip_prefix("nameserver")?.trim().parse().ok()
}

fn exchange(server: SocketAddr, question: &[u8], limit: Duration) -> io::Result<Option<Vec<u8>>> {
    let socket = Origin::default().udp_towards(server)?;
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        let again = deadline.min(Instant::now() + AGAIN);
        socket.send(question).or_else(refused)?;
        loop {
            let left = again.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(length) if resolver::is_answer(&buffer[..length], question) => {
                    return Ok(Some(buffer[..length].to_vec()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => drop(refused(error)?),
            }
        }
    }
    Ok(None)
}

/// Nothing listens there yet, or nothing leads there: the question is asked again until the time is over.
fn refused(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Ok(0),
        _ => Err(error),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use super::*;

    #[test]
    fn a_name_server_is_read_from_its_line() {
        assert_eq!(server("nameserver 10.0.0.5"), Some([10, 0, 0, 5].into()));
        assert_eq!(["search example", "# nameserver 10.0.0.5", "nameserver x"].map(server), [None; 3]);
    }

    #[test]
    fn a_question_without_an_answer_is_asked_again_and_other_answers_are_ignored() {
        let question = resolver::question("web", RecordType::A).unwrap();
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut expected = question.clone();
        expected[2] |= 0x80;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 512];
                listener.recv_from(&mut buffer).unwrap();
                let (length, client) = listener.recv_from(&mut buffer).unwrap();
                buffer[2] |= 0x80;
                buffer[1] ^= 1;
                listener.send_to(&buffer[..length], client).unwrap();
                buffer[1] ^= 1;
                listener.send_to(&buffer[..length], client).unwrap();
            });
            let began = Instant::now();
            assert_eq!(exchange(at, &question, Duration::from_secs(20)).unwrap(), Some(expected));
            assert!((AGAIN..20 * AGAIN).contains(&began.elapsed()), "{:?}", began.elapsed());
        });
    }

    #[test]
    fn nobody_answers_until_the_time_is_over() {
        let question = resolver::question("web", RecordType::A).unwrap();
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let limit = Duration::from_millis(300);
        for silent in [Some(listener), None] {
            let began = Instant::now();
            assert_eq!(exchange(at, &question, limit).unwrap(), None);
            assert!(began.elapsed() >= limit);
            drop(silent);
        }
        assert!(refused(io::ErrorKind::PermissionDenied.into()).is_err());
    }
}

//! Asks for a page from a node: one connection, one request, one answer. Any certificate is accepted.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::lab::error::Result;
use crate::lab::journal::record::Record;
use crate::model::Network;
use crate::platform::health_probe::tls::{self, Wire};
use crate::sys::socket::Origin;

use super::{Ground, Trial};

/// The part of an answer that is read.
const LONGEST: u64 = 1 << 20;

/// A page to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub secure: bool,
    /// As the URL names the server.
    pub host: &'a str,
    /// From the first `/` on.
    pub path: &'a str,
    /// How long all of it may take.
    pub limit: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    Page {
        status: u16,
        body: String,
    },
    /// The connection was refused: the machine answers, and nothing listens.
    Refused,
    /// No connection was made.
    Silence,
    /// A connection was made, and no page came over it.
    Failed(String),
}

/// Fetches a page. Must be called from a thread that may enter the lab's namespaces.
pub fn fetch(lab: &Record, network: &Network, trial: &Trial, page: Page<'_>) -> Result<Fetched> {
    let ground = Ground { lab, network };
    let (origin, at) = (ground.origin(trial), SocketAddr::new(trial.destination, trial.port()));
    let fetched = ground.namespace(trial.from)?.run(|| get(&origin, at, page));
    Ok(fetched.and_then(|fetched| fetched).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Fetched::Refused,
        _ => Fetched::Silence,
    }))
}

fn get(origin: &Origin, at: SocketAddr, page: Page<'_>) -> io::Result<Fetched> {
    let deadline = Instant::now() + page.limit;
    let connecting = origin.tcp_towards(at)?;
    if connecting.wait(page.limit)?.is_none() {
        return Ok(Fetched::Silence);
    }
    let stream = connecting.into_stream();
    stream.set_nonblocking(false)?;
    // A page that trickles in is cut off by the deadline between two reads.
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    let wire = if page.secure {
        let secured = tls::config().and_then(|config| Wire::secure(stream, at.ip(), &config));
        match secured {
            Ok(wire) => wire,
            Err(error) => return Ok(Fetched::Failed(error.to_string())),
        }
    } else {
        Wire::Plain(stream)
    };
    Ok(converse(wire, page, deadline).unwrap_or_else(|error| Fetched::Failed(words(&error))))
}

fn converse(mut wire: Wire, page: Page<'_>, deadline: Instant) -> io::Result<Fetched> {
    let Page { host, path, .. } = page;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: vnet\r\nConnection: close\r\n\r\n");
    wire.write_all(request.as_bytes())?;
    wire.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    let whole = loop {
        match wire.read(&mut buffer) {
            Ok(0) => break true,
            Ok(more) => answer.extend_from_slice(&buffer[..more]),
            // A server that closes a TLS connection without a word has said all.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break true,
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => break false,
        }
        if is_complete(&answer) || answer.len() as u64 > LONGEST || Instant::now() > deadline {
            break true;
        }
    };
    Ok(parse(&answer, whole))
}

/// Whether the length that the head states has come.
fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.filter_map(|(_, value)| value.trim().parse::<usize>().ok()).any(|length| body.len() >= length)
}

fn parse(answer: &[u8], whole: bool) -> Fetched {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((&text, ""));
    let mut words = head.split_ascii_whitespace();
    let status = match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/") => status.parse().ok(),
        _ => None,
    };
    match status {
        Some(status) => Fetched::Page { status, body: body.to_owned() },
        None if whole => Fetched::Failed("its answer is not HTTP".to_owned()),
        None => Fetched::Failed("it did not answer in time".to_owned()),
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it did not answer in time".to_owned(),
        io::ErrorKind::ConnectionReset => "it reset the connection".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let page = |status, body: &str| Fetched::Page { status, body: body.to_owned() };
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", true), page(200, "hello"));
        assert_eq!(parse(b"HTTP/1.0 404\r\n\r\n", true), page(404, ""));
        assert_eq!(parse(b"SSH-2.0", true), Fetched::Failed("its answer is not HTTP".to_owned()));
        assert_eq!(parse(b"HT", false), Fetched::Failed("it did not answer in time".to_owned()));
        assert!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"));
    }

    const SOON: Duration = Duration::from_secs(10);

    /// What is fetched from a server that says these pieces, and then closes or waits.
    fn served(pieces: &[&[u8]], closes: bool, limit: Duration) -> (Fetched, String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let page = Page { secure: false, host: "web:80", path: "/a?b", limit };
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut stream = listener.accept().unwrap().0;
                let mut asked = [0; 1000];
                let len = stream.read(&mut asked).unwrap();
                for piece in pieces {
                    // A client that has enough goes.
                    let _ = stream.write_all(piece);
                }
                if !closes {
                    let _ = stream.read(&mut [0]);
                }
                String::from_utf8_lossy(&asked[..len]).into_owned()
            });
            let began = Instant::now();
            let fetched = get(&Origin::default(), at, page).unwrap();
            let took = began.elapsed();
            (fetched, server.join().unwrap(), took)
        })
    }

    #[test]
    fn a_page_is_asked_for_and_read_to_its_end() {
        let page = |body: &str| Fetched::Page { status: 200, body: body.to_owned() };
        let (fetched, asked, _) = served(&[b"HTTP/1.1 200 OK\r\n\r\n", b"hel", b"lo"], true, SOON);
        assert_eq!(fetched, page("hello"));
        let request = "GET /a?b HTTP/1.1\r\nHost: web:80\r\nUser-Agent: vnet\r\nConnection: close\r\n\r\n";
        assert_eq!(asked, request);
        let (fetched, _, took) =
            served(&[b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 5\r\n\r\nhel", b"lo"], false, SOON);
        assert_eq!(fetched, page("hello"));
        assert!(took < SOON, "it is not waited for longer");
        let long = vec![b'a'; (LONGEST as usize) * 2];
        let (fetched, _, took) = served(&[b"HTTP/1.1 200 OK\r\n\r\n", &long], false, SOON);
        assert!(
            matches!(fetched, Fetched::Page { status: 200, body } if (body.len() as u64) < 2 * LONGEST),
            "it is cut off"
        );
        assert!(took < SOON);
    }

    #[test]
    fn a_page_that_does_not_come_says_why() {
        let short = Duration::from_millis(300);
        let failed = |why: &str| Fetched::Failed(why.to_owned());
        let (fetched, _, took) = served(&[], false, short);
        assert_eq!(fetched, failed("it did not answer in time"));
        assert!(took >= short);
        assert_eq!(served(&[b"HTT"], false, short).0, failed("it did not answer in time"));
        assert_eq!(served(&[b"SSH-2.0"], true, SOON).0, failed("its answer is not HTTP"));
        assert_eq!(served(&[], true, SOON).0, failed("its answer is not HTTP"));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let page = Page { secure: false, host: "web", path: "/", limit: SOON };
        assert_eq!(get(&Origin::default(), nobody, page).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

//! One running probe: a connection, and for HTTP a request and the first line of its answer (LB-10).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::sys::socket::{Connecting, Origin};

use super::answer::{self, LINE_MAX};
use super::tls::Wire;

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Connects, then closes.
    Connect,
    /// Requests this path; only status 200 counts as up.
    Get { path: String, secure: bool },
}

/// A probe that has not ended.
#[derive(Debug)]
pub(super) struct Attempt {
    stage: Stage,
    /// The request to send once it is connected.
    request: Vec<u8>,
    /// The TLS name and settings, if it speaks TLS.
    secure: Option<(IpAddr, Arc<ClientConfig>)>,
}

#[derive(Debug)]
enum Stage {
    Connecting(Connecting),
    /// How many bytes of the request are written.
    Asking(Wire, usize),
    Hearing(Wire, Vec<u8>),
    Over,
}

/// The result of a probe: None while it runs, or else why it failed.
pub(super) type Outcome = Option<Result<(), String>>;

impl Attempt {
    pub(super) fn begin(origin: &Origin, peer: SocketAddr, ask: &Ask, tls: &Arc<ClientConfig>) -> Result<Self, String> {
        let connecting = origin.tcp_towards(peer).map_err(|error| words(&error))?;
        let (request, secure) = match ask {
            Ask::Connect => (Vec::new(), None),
            Ask::Get { path, secure } => (request(peer, path), secure.then(|| (peer.ip(), Arc::clone(tls)))),
        };
        Ok(Self { stage: Stage::Connecting(connecting), request, secure })
    }

    /// Whether it waits for its socket to become writable, not readable.
    pub(super) fn wants_write(&self) -> bool {
        match &self.stage {
            Stage::Connecting(_) => true,
            Stage::Asking(wire, _) => !wire.wants_read(),
            Stage::Hearing(wire, _) => wire.wants_write(),
            Stage::Over => false,
        }
    }

    /// Proceeds as far as it can without waiting.
    pub(super) fn advance(&mut self) -> Outcome {
        loop {
            match self.step() {
                Ok(true) => return Some(Ok(())),
                Ok(false) => {}
                Err(Stop::Waits) => return None,
                Err(Stop::Failed(why)) => return Some(Err(why)),
            }
        }
    }

    /// One stage; true at the end.
    fn step(&mut self) -> Result<bool, Stop> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Connecting(connecting) => match connecting.wait(Duration::ZERO)? {
                None => return self.wait(Stage::Connecting(connecting)),
                Some(()) if self.request.is_empty() => return Ok(true),
                Some(()) => Stage::Asking(self.wire(connecting.into_stream())?, 0),
            },
            Stage::Asking(mut stream, sent) => match stream.write(&self.request[sent..]) {
                Ok(more) if sent + more == self.request.len() => Stage::Hearing(stream, Vec::new()),
                Ok(more) => Stage::Asking(stream, sent + more),
                Err(error) if waits(&error) => return self.wait(Stage::Asking(stream, sent)),
                Err(error) => return Err(error.into()),
            },
            Stage::Hearing(mut stream, mut heard) => {
                let mut buffer = [0; LINE_MAX];
                match stream.read(&mut buffer) {
                    Ok(0) => return Err(Stop::Failed("it closed the connection before it answered".to_owned())),
                    Ok(more) => heard.extend_from_slice(&buffer[..more]),
                    Err(error) if waits(&error) => return self.wait(Stage::Hearing(stream, heard)),
                    Err(error) => return Err(error.into()),
                }
                match answer::judge(&heard) {
                    Some(verdict) => return verdict.map(|()| true).map_err(Stop::Failed),
                    None => Stage::Hearing(stream, heard),
                }
            }
            Stage::Over => return Err(Stop::Waits),
        };
        Ok(false)
    }

    fn wire(&self, stream: TcpStream) -> Result<Wire, Stop> {
        match &self.secure {
            None => Ok(Wire::Plain(stream)),
            Some((peer, tls)) => Wire::secure(stream, *peer, tls).map_err(|error| Stop::Failed(error.to_string())),
        }
    }

    fn wait(&mut self, stage: Stage) -> Result<bool, Stop> {
        self.stage = stage;
        Err(Stop::Waits)
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stage {
            Stage::Connecting(connecting) => connecting.as_fd(),
            Stage::Asking(stream, _) | Stage::Hearing(stream, _) => stream.as_fd(),
            Stage::Over => unreachable!("an attempt that is over is dropped at once"),
        }
    }
}

/// Why an attempt does not proceed.
enum Stop {
    Waits,
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(words(&error))
    }
}

/// The user agent of Azure's own prober.
fn request(peer: SocketAddr, path: &str) -> Vec<u8> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    format!("GET {path} HTTP/1.1\r\nHost: {peer}\r\nUser-Agent: Load Balancer Agent\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Instant;

    use super::super::tls;
    use super::*;

    /// Who waits for the wrong side of its socket never proceeds, or never sleeps.
    #[test]
    fn it_waits_for_its_socket_as_its_stage_needs() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (at, tls) = (listener.local_addr().unwrap(), tls::config().unwrap());
        let asking = |path: &str, secure| {
            let ask = Ask::Get { path: path.to_owned(), secure };
            let mut attempt = Attempt::begin(&Origin::default(), at, &ask, &tls).unwrap();
            let ends = Instant::now() + Duration::from_secs(20);
            while matches!(attempt.stage, Stage::Connecting(_)) && Instant::now() < ends {
                assert!(attempt.wants_write(), "it is not connected");
                assert_eq!(attempt.advance(), None, "no answer has come");
            }
            let stage = match attempt.stage {
                Stage::Asking(..) => "asking",
                Stage::Hearing(..) => "hearing",
                Stage::Connecting(_) | Stage::Over => "another",
            };
            (stage, attempt.wants_write())
        };
        assert_eq!(asking("/", false), ("hearing", false), "its request is sent");
        assert_eq!(asking("/", true), ("asking", false), "it has greeted, and the server has not");
        assert_eq!(asking(&"x".repeat(64 << 20), false), ("asking", true), "not all of it has room");
    }

    #[test]
    fn lb_10_a_probe_asks_as_azures_does() {
        let text = |path: &str| String::from_utf8(request("10.1.0.4:8080".parse().unwrap(), path)).unwrap();
        assert_eq!(
            text("/health"),
            "GET /health HTTP/1.1\r\nHost: 10.1.0.4:8080\r\nUser-Agent: Load Balancer Agent\r\nConnection: close\r\n\r\n"
        );
        assert!(text("health").starts_with("GET /health HTTP/1.1\r\n"));
    }
}

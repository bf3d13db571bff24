//! Asks a running router one question, or follows a topic.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::framing::{self, Lines, Unreadable};
use super::protocol::{Captured, Refusal, Request, Response, Topic, VERSION};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A change may make many machines, and wait for programs to end.
const PATIENCE_FOR_CHANGES: Duration = Duration::from_secs(120);
/// The effective routes of a very large network fit many times.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("nothing answers on {}", .0.display())]
    NoDaemon(PathBuf),
    #[error("{} belongs to another user", .0.display())]
    Denied(PathBuf),
    #[error("the daemon speaks protocol version {0}, this program {VERSION}")]
    Version(u32),
    #[error("the daemon does not answer in time")]
    Silent,
    #[error("the daemon's answer makes no sense: {0}")]
    Garbled(String),
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("{}", .0.message)]
    Failed(Refusal),
    #[error("cannot talk to the daemon: {0}")]
    Io(io::Error),
}

/// Asks the router of this control socket. A refusal comes back as an error.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let patience = if matches!(request, Request::Change(_)) { PATIENCE_FOR_CHANGES } else { PATIENCE };
    let deadline = Instant::now() + patience;
    let stream = asked(socket, request, deadline)?;
    answer(framing::receive(&stream, LONGEST_ANSWER, deadline)?)
}

/// Connects and sends the whole request. The daemon closes a connection on which nothing comes for a while, and on a busy
/// machine a client can be that slow. The daemon does nothing for a part of a request, so it is sent once more.
fn asked(socket: &Path, request: &Request, deadline: Instant) -> Result<UnixStream, ClientError> {
    let ask = || {
        let stream = connect(socket)?;
        framing::send(&stream, request, deadline).map_err(ClientError::Io)?;
        Ok(stream)
    };
    match ask() {
        Err(ClientError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ask(),
        asked => asked,
    }
}

/// Begins to follow a topic: once this returns, the router has been asked.
pub fn follow(socket: &Path, topic: Topic) -> Result<Following, ClientError> {
    let stream = asked(socket, &Request::Follow(topic), Instant::now() + PATIENCE)?;
    Ok(Following { lines: Lines::new(stream, LONGEST_ANSWER), piece: None })
}

/// A router that goes on answering, until this is dropped.
#[derive(Debug)]
pub struct Following {
    lines: Lines,
    /// An incomplete piece of a capture file.
    piece: Option<Captured>,
}

/// What came next.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    Answer(Response),
    /// Nothing in that time, or a signal came.
    Nothing,
    /// Nothing more will come.
    End,
}

impl Following {
    /// Waits so long for the next answer.
    pub fn next(&mut self, patience: Duration) -> Result<Received, ClientError> {
        match self.receive(Instant::now() + patience) {
            Ok(response) => answer(response).map(Received::Answer),
            Err(Unreadable::TooSlow) => Ok(Received::Nothing),
            Err(Unreadable::Silence) => Ok(Received::End),
            // It ended without reading all of our request.
            Err(Unreadable::Io(error)) if error.kind() == ErrorKind::ConnectionReset => Ok(Received::End),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Response, Unreadable> {
        let piece = match self.piece.take() {
            Some(piece) => piece,
            None => match self.lines.receive(deadline)? {
                Response::Captured(piece) => piece,
                other => return Ok(other),
            },
        };
        let [len, end] = piece.lengths;
        match self.lines.receive_bytes(len.saturating_add(end), deadline) {
            Ok(mut bytes) => {
                let end = bytes.split_off(len);
                Ok(Response::Captured(Captured { bytes, end, ..piece }))
            }
            Err(error) => {
                self.piece = Some(piece);
                Err(error)
            }
        }
    }

    /// Asks for the end: what is new until now still comes.
    pub fn enough(&self) {
        // Fails only where the router has ended the connection itself.
        let _ = self.lines.stream().shutdown(Shutdown::Write);
    }
}

fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoDaemon(socket.to_owned()),
        ErrorKind::PermissionDenied => ClientError::Denied(socket.to_owned()),
        _ => ClientError::Io(error),
    })
}

fn answer(response: Response) -> Result<Response, ClientError> {
    match response {
        Response::Refused(refusal) => Err(ClientError::Refused(refusal)),
        Response::Failed(refusal) => Err(ClientError::Failed(refusal)),
        response => Ok(response),
    }
}

impl From<Unreadable> for ClientError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Version(theirs) => Self::Version(theirs),
            Unreadable::TooSlow => Self::Silent,
            Unreadable::Io(error) => Self::Io(error),
            Unreadable::Silence | Unreadable::Cut | Unreadable::TooLong(_) | Unreadable::Malformed(_) => {
                Self::Garbled(error.to_string())
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_request_that_was_not_taken_whole_is_sent_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        // More than a socket keeps: what has gone before all is sent takes nothing of it.
        let request = Request::Explain { source: "x".repeat(16 << 20), destination: String::new() };
        let daemon = thread::spawn(move || {
            drop(listener.accept().unwrap());
            let stream = listener.accept().unwrap().0;
            let read = BufReader::new(&stream).read_until(b'\n', &mut Vec::new()).unwrap();
            framing::send(&stream, &Response::Stopping, Instant::now() + PATIENCE).unwrap();
            drop(listener.accept().unwrap());
            drop(listener.accept().unwrap());
            read
        });
        assert_eq!(ask(&socket, &request).unwrap(), Response::Stopping);
        assert!(ask(&socket, &request).is_err(), "it asks twice at most");
        assert!(daemon.join().unwrap() > 16 << 20);
    }
}

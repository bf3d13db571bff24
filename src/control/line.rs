//! One message on the control socket: a version and a body, one line of JSON, bounded in length and in time.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::protocol::VERSION;

#[derive(Serialize, Deserialize)]
struct Message<T> {
    version: u32,
    body: T,
}

/// What any version's message has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Why a message was not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the other side closed the connection without a word")]
    Silence,
    #[error("a message longer than {0} bytes")]
    TooLong(u64),
    #[error("the message took too long")]
    TooSlow,
    #[error("protocol version {0} is spoken there, {VERSION} here")]
    Version(u32),
    #[error("not a message of this protocol: {0}")]
    Malformed(serde_json::Error),
    #[error(transparent)]
    Io(io::Error),
}

/// Sends one message before the deadline.
pub(super) fn send<T: Serialize>(stream: &UnixStream, body: &T, deadline: Instant) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Message { version: VERSION, body })?;
    line.push(b'\n');
    Timed { stream, deadline }.write_all(&line)
}

/// Receives one message of at most `limit` bytes before the deadline.
pub(super) fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
    limit: u64,
    deadline: Instant,
) -> Result<T, Unreadable> {
    let mut line = Vec::new();
    let read = BufReader::new(Timed { stream, deadline }.take(limit)).read_until(b'\n', &mut line);
    read.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Unreadable::TooSlow,
        _ => Unreadable::Io(error),
    })?;
    if line.is_empty() {
        return Err(Unreadable::Silence);
    }
    if line.len() as u64 == limit && !line.ends_with(b"\n") {
        return Err(Unreadable::TooLong(limit));
    }
    // Another version may lack what we look for, so its number is looked at even when the rest makes no sense.
    match serde_json::from_slice::<Message<T>>(&line) {
        Ok(message) if message.version == VERSION => Ok(message.body),
        Ok(message) => Err(Unreadable::Version(message.version)),
        Err(error) => match serde_json::from_slice::<Versioned>(&line) {
            Ok(other) if other.version != VERSION => Err(Unreadable::Version(other.version)),
            Ok(_) | Err(_) => Err(Unreadable::Malformed(error)),
        },
    }
}

/// A stream that gives up at a deadline, however slowly the other side drips.
struct Timed<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.remaining()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

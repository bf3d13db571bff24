//! Messages on the control socket: a version and a body, one line of JSON, bounded in length and in time. A piece of a
//! capture file follows its message as it is.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::protocol::VERSION;

/// What a reader of many messages takes from its socket at once: as much as that holds by default.
const BUFFER: usize = 208 << 10;

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
pub(in crate::daemon) enum Unreadable {
    #[error("the other side closed the connection without a word")]
    Silence,
    #[error("the other side closed the connection within a message")]
    Cut,
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

impl Unreadable {
    /// What silence means where more had to come.
    fn within_message(self) -> Self {
        if matches!(self, Self::Silence) { Self::Cut } else { self }
    }
}

/// A message's line.
pub(in crate::daemon) fn encode<T: Serialize>(body: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Message { version: VERSION, body })?;
    line.push(b'\n');
    Ok(line)
}

/// Sends one message before the deadline.
pub(in crate::daemon) fn send<T: Serialize>(stream: &UnixStream, body: &T, deadline: Instant) -> io::Result<()> {
    Timed { stream, deadline }.write_all(&encode(body)?)
}

/// Receives one message of at most `limit` bytes before the deadline.
pub(in crate::daemon) fn receive<T: DeserializeOwned>(
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
    decode(&line)
}

/// Decodes a message's line. Another version may have other fields, so its number is read even when the rest fails.
pub(in crate::daemon) fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, Unreadable> {
    match serde_json::from_slice::<Message<T>>(line) {
        Ok(message) if message.version == VERSION => Ok(message.body),
        Ok(message) => Err(Unreadable::Version(message.version)),
        Err(error) => match serde_json::from_slice::<Versioned>(line) {
            Ok(other) if other.version != VERSION => Err(Unreadable::Version(other.version)),
            Ok(_) | Err(_) => Err(Unreadable::Malformed(error)),
        },
    }
}

/// Many messages, one after another.
#[derive(Debug)]
pub(in crate::daemon) struct Lines {
    reader: BufReader<UnixStream>,
    limit: usize,
    /// As much of the next one as has come.
    line: Vec<u8>,
}

impl Lines {
    pub(in crate::daemon) fn new(stream: UnixStream, limit: u64) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, stream), limit: limit as usize, line: Vec::new() }
    }

    pub(in crate::daemon) fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// So many bytes that follow a message, under the same conditions as a message.
    pub(in crate::daemon) fn receive_bytes(&mut self, len: usize, deadline: Instant) -> Result<Vec<u8>, Unreadable> {
        if len > self.limit {
            return Err(Unreadable::TooLong(self.limit as u64));
        }
        while self.line.len() < len {
            let missing = len - self.line.len();
            self.fill(deadline).map_err(Unreadable::within_message)?;
            let Self { reader, line, .. } = self;
            let taken = reader.buffer().len().min(missing);
            line.extend_from_slice(&reader.buffer()[..taken]);
            reader.consume(taken);
        }
        Ok(std::mem::take(&mut self.line))
    }

    /// The next message: [`Unreadable::TooSlow`] if it has not come by the deadline or a signal, but may yet, and
    /// [`Unreadable::Silence`] if none is to come.
    pub(in crate::daemon) fn receive<T: DeserializeOwned>(&mut self, deadline: Instant) -> Result<T, Unreadable> {
        loop {
            let filled = self.fill(deadline);
            if self.line.is_empty() { filled } else { filled.map_err(Unreadable::within_message) }?;
            let Self { reader, line, limit } = self;
            let bytes = reader.buffer();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..taken]);
            reader.consume(taken);
            if line.len() > *limit {
                return Err(Unreadable::TooLong(*limit as u64));
            }
            if end.is_some() {
                return decode(&std::mem::take(line));
            }
        }
    }

    /// Waits for something to read.
    fn fill(&mut self, deadline: Instant) -> Result<(), Unreadable> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        // Zero would mean for ever.
        let timeout = remaining.max(Duration::from_micros(1));
        self.reader.get_ref().set_read_timeout(Some(timeout)).map_err(Unreadable::Io)?;
        match self.reader.fill_buf() {
            Ok([]) => Err(Unreadable::Silence),
            Ok(_) => Ok(()),
            // A signal may end the wait.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                Err(Unreadable::TooSlow)
            }
            Err(error) => Err(Unreadable::Io(error)),
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// What is received of these bytes, after which the other side closes.
    fn received(bytes: &[u8], limit: u64) -> Result<String, Unreadable> {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(bytes).unwrap();
        drop(far);
        receive(&near, limit, soon())
    }

    #[test]
    fn a_message_may_have_as_many_bytes_as_the_limit() {
        let line = encode(&"hello").unwrap();
        let len = line.len() as u64;
        assert_eq!(received(&line, len).unwrap(), "hello");
        assert!(matches!(received(&line, len - 1), Err(Unreadable::TooLong(limit)) if limit == len - 1));
    }

    #[test]
    fn a_message_that_is_cut_short_is_malformed_and_none_is_silence() {
        let line = encode(&"hello").unwrap();
        assert!(matches!(received(&line[..line.len() - 3], 1_000), Err(Unreadable::Malformed(_))));
        assert!(matches!(received(b"", 1_000), Err(Unreadable::Silence)));
    }

    /// A client that asked for the end tells by this whether all has come.
    #[test]
    fn an_end_between_messages_is_silence_and_one_within_is_not() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(near, 1_000);
        let line = encode(&"hello").unwrap();
        far.write_all(&line).unwrap();
        assert_eq!(lines.receive::<String>(soon()).unwrap(), "hello");
        far.write_all(&line[..4]).unwrap();
        drop(far);
        assert!(matches!(lines.receive::<String>(soon()), Err(Unreadable::Cut)));

        let (near, mut far) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(near, 1_000);
        far.write_all(&line).unwrap();
        drop(far);
        assert_eq!(lines.receive::<String>(soon()).unwrap(), "hello");
        assert!(matches!(lines.receive::<String>(soon()), Err(Unreadable::Silence)));
        assert!(matches!(lines.receive_bytes(3, soon()), Err(Unreadable::Cut)));
    }

    #[test]
    fn a_message_that_does_not_come_is_too_slow() {
        let (near, _far) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(matches!(receive::<String>(&near, 1_000, deadline), Err(Unreadable::TooSlow)));
    }

    #[test]
    fn another_version_is_named_even_if_its_fields_are_unknown() {
        let other = VERSION + 1;
        let line = format!("{{\"version\":{other},\"new\":1}}\n");
        assert!(matches!(received(line.as_bytes(), 1_000), Err(Unreadable::Version(version)) if version == other));
    }

    /// The next of several messages, of which these bytes have come; the other side stays.
    fn next(bytes: &[u8], limit: u64) -> Result<String, Unreadable> {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(bytes).unwrap();
        Lines::new(near, limit).receive(Instant::now() + Duration::from_millis(20))
    }

    #[test]
    fn each_of_several_messages_may_have_as_many_bytes_as_the_limit() {
        let line = encode(&"hello").unwrap();
        let len = line.len() as u64;
        assert_eq!(next(&line, len).unwrap(), "hello");
        assert!(matches!(next(&line, len - 1), Err(Unreadable::TooLong(limit)) if limit == len - 1));
        assert!(matches!(next(&line[..line.len() - 1], len), Err(Unreadable::TooSlow)), "it may yet come");
        assert!(matches!(next(&vec![b' '; line.len() + 1], len), Err(Unreadable::TooLong(_))), "without an end");
    }

    #[test]
    fn bytes_follow_a_message_to_the_number() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(near, 1_000);
        let all = [&encode(&"one").unwrap()[..], b"12345", &encode(&"two").unwrap(), b"", &[7; 1_000]].concat();
        for piece in all.chunks(50) {
            far.write_all(piece).unwrap();
        }
        assert_eq!(lines.receive::<String>(soon()).unwrap(), "one");
        assert_eq!(lines.receive_bytes(5, soon()).unwrap(), b"12345");
        assert_eq!(lines.receive::<String>(soon()).unwrap(), "two");
        assert_eq!(lines.receive_bytes(0, soon()).unwrap(), b"");
        assert_eq!(lines.receive_bytes(1_000, soon()).unwrap(), [7; 1_000]);
        assert!(matches!(lines.receive_bytes(1_001, soon()), Err(Unreadable::TooLong(1_000))));
        let late = Instant::now() + Duration::from_millis(20);
        assert!(matches!(lines.receive_bytes(1, late), Err(Unreadable::TooSlow)));
        far.write_all(b"1").unwrap();
        drop(far);
        assert!(matches!(lines.receive_bytes(2, soon()), Err(Unreadable::Cut)));
    }

    /// However slowly the other side drips or reads, the deadline is kept.
    #[test]
    fn a_deadline_is_for_the_whole_message() {
        let (near, far) = UnixStream::pair().unwrap();
        let began = Instant::now();
        let limit = Duration::from_millis(100);
        let error = send(&near, &"x".repeat(10 << 20), began + limit).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert!(began.elapsed() >= limit);
        assert!(send(&near, &"x", began).is_err(), "it is over");
        drop(far);
    }
}

//! Sends a client what is new, again and again, in a thread of its own.
//!
//! One idea: a [`Feed`] returns what is new when it is called, and is called only once the client has read the last
//! answer. So a slow client makes nothing grow, and the feed counts what it misses. A client that leaves, in any way,
//! is noticed at the next tick.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::framing;
use super::protocol::{Captured, Response};
use super::slots::{Slot, Slots};

/// Says what is new since it was asked last.
pub type Feed = Box<dyn FnMut(Look) -> Vec<Response> + Send>;

/// A question to a [`Feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It will be asked again.
    Next,
    /// The client has enough: what happened before that is wanted, and nothing later.
    Last,
}

/// How often a feed is asked.
pub(in crate::daemon) const TICK: Duration = Duration::from_millis(50);
/// Clients that may follow at a time.
const MOST: usize = 16;
/// How long a client that has enough may read nothing of the rest.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many clients follow.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Followers(Slots);

/// One of them.
#[derive(Debug)]
pub(in crate::daemon) struct Follower(Slot);

impl Default for Followers {
    fn default() -> Self {
        Self(Slots::new(MOST))
    }
}

impl Followers {
    /// Takes a slot for one more, if one is free.
    pub(in crate::daemon) fn admit(&self) -> Option<Follower> {
        self.0.enter().map(Follower)
    }
}

impl Follower {
    /// Feeds the client from now on.
    pub(in crate::daemon) fn follow(self, stream: UnixStream, mut feed: Feed) -> io::Result<()> {
        let follow = move || {
            // A client that goes without a word is no error.
            let _ = tell(&stream, &mut feed);
            // Before the feed: a client that sees another one end finds a free slot.
            drop(self.0);
        };
        thread::Builder::new().name("vnet-follow".into()).spawn(follow).map(drop)
    }
}

fn tell(mut stream: &UnixStream, feed: &mut Feed) -> io::Result<()> {
    stream.set_write_timeout(Some(TICK))?;
    let mut unsent = BytesMut::new();
    // When a client that has enough must have read more.
    let mut last: Option<Instant> = None;
    let mut all_sent = false;
    let mut asked = Instant::now();
    while !(all_sent && unsent.is_empty()) {
        if unsent.is_empty() {
            asked = Instant::now();
            let look = if last.is_some() { Look::Last } else { Look::Next };
            for response in feed(look) {
                unsent.extend_from_slice(&framing::encode(&response)?);
                if let Response::Captured(Captured { bytes, end, .. }) = &response {
                    unsent.extend_from_slice(bytes);
                    unsent.extend_from_slice(end);
                }
            }
            // Everything from before the client had enough.
            all_sent = last.is_some();
        }
        match stream.write(&unsent) {
            Ok(written) => {
                unsent.advance(written);
                last = last.map(|_| Instant::now() + PATIENCE);
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        match last {
            Some(deadline) if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
            None if has_enough(stream, asked + TICK)? => last = Some(Instant::now() + PATIENCE),
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Whether the client has closed its half; waits for that until the feed is to be asked again.
fn has_enough(mut stream: &UnixStream, until: Instant) -> io::Result<bool> {
    // Zero would mean for ever.
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    match stream.read(&mut [0; 1]) {
        Ok(0) => Ok(true),
        // There is nothing that a follower may say.
        Ok(_) => Err(ErrorKind::InvalidData.into()),
        Err(error) if is_timeout(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::net::Shutdown;

    use super::*;

    /// All that a client reads that has enough at once, and pauses so long before each of its reads.
    fn read(len: usize, pause: Duration) -> usize {
        let (near, mut far) = UnixStream::pair().unwrap();
        let piece = move |_: Look| {
            let captured = Captured {
                lengths: [len, 0],
                bytes: vec![7; len],
                end: Vec::new(),
                packets: 0,
                missed: 0,
                full: false,
            };
            vec![Response::Captured(captured)]
        };
        far.shutdown(Shutdown::Write).unwrap();
        let told = thread::spawn(move || {
            let mut feed: Feed = Box::new(piece);
            let _ = tell(&near, &mut feed);
        });
        let (mut all, mut some) = (0, vec![0; 100_000]);
        loop {
            thread::sleep(pause);
            match far.read(&mut some).unwrap() {
                0 => break,
                count => all += count,
            }
        }
        told.join().unwrap();
        all
    }

    /// The last piece may be large, and the client's disk slow.
    #[test]
    fn a_client_that_goes_on_reading_gets_all_however_long_that_takes() {
        let len = 1_500_000;
        assert!(read(len, PATIENCE / 10) > len);
    }

    #[test]
    fn a_client_that_stops_reading_is_given_up() {
        let len = 1_500_000;
        assert!(read(len, PATIENCE * 3 / 2) < len);
    }
}

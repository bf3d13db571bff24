//! Receives requests on the control socket: one thread waits for all clients, and hands on those that have sent one.
//!
//! One idea: a silent client costs a descriptor and no thread, so that a thousand idle ones delay no other. Each has
//! [`PATIENCE`] to send at most [`LONGEST_REQUEST`] bytes. A process that has too many connections loses the oldest of
//! them. Where all incomplete requests take too much memory, the longest one goes.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::sys::connection_limit::ConnectionLimit;
use crate::sys::peer;
use crate::sys::poll::{Poller, Ready};
use crate::sys::socket::peer_process;

use super::framing::Unreadable;

/// How long a client has to ask.
const PATIENCE: Duration = Duration::from_secs(2);
/// A topology as large as Azure's limits allow fits.
const LONGEST_REQUEST: usize = 16 << 20;
/// Clients at a time that have not asked yet, and those of one process.
const MOST: usize = 512;
const SHARE: usize = 128;
/// Bytes of all requests that are not whole yet.
const ROOM: usize = 4 * LONGEST_REQUEST;
/// Ready connections that one turn looks at.
const BATCH: usize = 64;
const CHUNK: usize = 64 << 10;
const LISTENER: u64 = u64::MAX;

/// A request that has arrived, or has failed to.
pub(in crate::daemon) struct ReceivedRequest {
    pub(in crate::daemon) stream: UnixStream,
    pub(in crate::daemon) line: Result<Vec<u8>, Unreadable>,
}

/// A client that is still sending.
struct Arriving {
    stream: UnixStream,
    process: u32,
    line: Vec<u8>,
    deadline: Instant,
}

/// The state of a client after a read.
enum Turn {
    /// There is more to come.
    Waits,
    Left,
    Asked(Result<Vec<u8>, Unreadable>),
}

pub(in crate::daemon) struct Reception {
    poller: Poller,
    listener: UnixListener,
    arriving: HashMap<u64, Arriving>,
    limit: ConnectionLimit<u32>,
    next_token: u64,
    heard: Sender<ReceivedRequest>,
    chunk: Box<[u8]>,
}

impl Reception {
    pub(in crate::daemon) fn open(listener: UnixListener, heard: Sender<ReceivedRequest>) -> io::Result<Self> {
        let poller = Poller::new()?;
        listener.set_nonblocking(true)?;
        poller.add(&listener, LISTENER)?;
        let limit = ConnectionLimit::new(MOST, SHARE);
        let chunk = vec![0; CHUNK].into_boxed_slice();
        Ok(Self { poller, listener, arriving: HashMap::new(), limit, next_token: 0, heard, chunk })
    }

    /// Receives requests until the process ends.
    pub(in crate::daemon) fn run(mut self) {
        let mut ready = Ready::new(BATCH);
        loop {
            let next = self.arriving.values().map(|arriving| arriving.deadline).min();
            let timeout = next.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                tracing::error!("the control socket is not served any more: {error}");
                return;
            }
            self.turn_to_all(&ready);
            self.end_the_late();
        }
    }

    fn turn_to_all(&mut self, ready: &Ready) {
        for token in ready.listeners_last(|token| token == LISTENER) {
            if token == LISTENER {
                self.accept();
            } else {
                self.turn_to(token);
            }
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            // The socket's mode keeps others out; this check holds where the mode was changed.
            Ok((stream, _)) if !peer::is_trusted(&stream) => {}
            Ok((stream, _)) => drop(self.admit(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Out of descriptors or memory: others may give some back. Do not spin meanwhile.
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }

    /// Fails where there is no room for it in the poller; the connection ends then.
    fn admit(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let token = self.next_token;
        self.next_token += 1;
        self.poller.add(&stream, token)?;
        let process = peer_process(&stream).unwrap_or(0);
        self.arriving
            .insert(token, Arriving { stream, process, line: Vec::new(), deadline: Instant::now() + PATIENCE });
        if let Some(oldest) = self.limit.enter(process, token) {
            self.take(oldest);
        }
        Ok(())
    }

    fn turn_to(&mut self, token: u64) {
        let Some(arriving) = self.arriving.get_mut(&token) else { return };
        match arriving.hear(&mut self.chunk) {
            Turn::Waits => self.keep_to_the_room(),
            Turn::Left => drop(self.take(token)),
            Turn::Asked(line) => self.hand_on(token, line),
        }
    }

    fn end_the_late(&mut self) {
        let now = Instant::now();
        let late = self.arriving.iter().filter(|(_, arriving)| arriving.deadline <= now).map(|(token, _)| *token);
        for token in late.collect::<Vec<_>>() {
            self.hand_on(token, Err(Unreadable::TooSlow));
        }
    }

    fn keep_to_the_room(&mut self) {
        while self.arriving.values().map(|arriving| arriving.line.len()).sum::<usize>() > ROOM {
            let longest = self.arriving.iter().max_by_key(|(_, arriving)| arriving.line.len());
            let Some(token) = longest.map(|(token, _)| *token) else { return };
            self.take(token);
        }
    }

    fn hand_on(&mut self, token: u64, line: Result<Vec<u8>, Unreadable>) {
        let Some(Arriving { stream, .. }) = self.take(token) else { return };
        if stream.set_nonblocking(false).is_ok() {
            // Where too many have asked already it ends without an answer.
            let _ = self.heard.try_send(ReceivedRequest { stream, line });
        }
    }

    fn take(&mut self, token: u64) -> Option<Arriving> {
        let arriving = self.arriving.remove(&token)?;
        self.limit.leave(&arriving.process, token);
        // Fails only for one that is not there.
        let _ = self.poller.remove(&arriving.stream);
        Some(arriving)
    }
}

impl Arriving {
    /// Takes what has come, at most a chunk.
    fn hear(&mut self, chunk: &mut [u8]) -> Turn {
        let came = match self.stream.read(chunk) {
            Ok(0) if self.line.is_empty() => return Turn::Left,
            Ok(0) => return Turn::Asked(Ok(std::mem::take(&mut self.line))),
            Ok(len) => &chunk[..len],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Turn::Waits,
            Err(_) => return Turn::Left,
        };
        let end = came.iter().position(|byte| *byte == b'\n');
        self.line.extend_from_slice(&came[..end.map_or(came.len(), |end| end + 1)]);
        if self.line.len() > LONGEST_REQUEST {
            Turn::Asked(Err(Unreadable::TooLong(LONGEST_REQUEST as u64)))
        } else if end.is_some() {
            Turn::Asked(Ok(std::mem::take(&mut self.line)))
        } else {
            Turn::Waits
        }
    }
}

//! Answering the control socket: a few threads that take turns, so that nobody can make the router wait or grow.
//!
//! A client gets one answer, has [`PATIENCE`] to ask and to read it, and may ask with at most [`LONGEST_REQUEST`] bytes.
//! Whatever is wrong with a request becomes a [`Refusal`]; a bug in an answer becomes one too. Who may connect is the
//! business of the socket's directory.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::answer::Answers;
use super::engine::Engine;
use super::line::{self, Unreadable};
use super::protocol::{Change, Refusal, Request, Response};

pub use super::answer::LabFacts;

/// More clients than this wait in the socket's backlog.
const THREADS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(2);
/// A topology as large as Azure's limits allow fits.
const LONGEST_REQUEST: u64 = 16 << 20;

/// Answers for a running engine until the process ends. `change` makes changes, one at a time; `shutdown` is called after
/// a request to stop was answered.
pub fn serve(
    listener: UnixListener,
    engine: Arc<Engine>,
    lab: Arc<ArcSwap<LabFacts>>,
    change: impl Fn(Change) -> Response + Send + Sync + 'static,
    shutdown: impl Fn() + Send + Sync + 'static,
) -> io::Result<()> {
    let answers = Answers { engine, lab, since: Instant::now() };
    let answer = move |request| match request {
        Request::Change(wanted) => change(wanted),
        question => answers.to(question),
    };
    listen(listener, answer, shutdown)
}

/// The same with any answers.
pub fn listen(
    listener: UnixListener,
    answer: impl Fn(Request) -> Response + Send + Sync + 'static,
    shutdown: impl Fn() + Send + Sync + 'static,
) -> io::Result<()> {
    let server = Arc::new((listener, answer, shutdown));
    for number in 0..THREADS {
        let server = Arc::clone(&server);
        let turns = move || {
            let (listener, answer, shutdown) = &*server;
            loop {
                match listener.accept() {
                    Ok((stream, _)) => converse(&stream, answer, shutdown),
                    // Out of descriptors or memory: others may give some back. Do not spin meanwhile.
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            }
        };
        thread::Builder::new().name(format!("vnet-control{number}")).spawn(turns)?;
    }
    Ok(())
}

fn converse(stream: &UnixStream, answer: impl Fn(Request) -> Response, shutdown: impl Fn()) {
    let deadline = Instant::now() + PATIENCE;
    let request = line::receive(stream, LONGEST_REQUEST, deadline);
    let stops = matches!(request, Ok(Request::Shutdown));
    let response = match request {
        // The answer only reads; a half-made one leaves nothing broken behind.
        Ok(request) => catch_unwind(AssertUnwindSafe(|| answer(request)))
            .unwrap_or_else(|_| Response::Refused(Refusal::new("the daemon failed to answer: this is a bug in vnet"))),
        Err(Unreadable::Silence | Unreadable::Io(_)) => return,
        Err(
            error @ (Unreadable::TooLong(_) | Unreadable::TooSlow | Unreadable::Version(_) | Unreadable::Malformed(_)),
        ) => Response::Refused(Refusal::new(error)),
    };
    // A client that has left, or does not read, misses its answer; that is all.
    let _ = line::send(stream, &response, Instant::now() + PATIENCE);
    if stops {
        shutdown();
    }
}

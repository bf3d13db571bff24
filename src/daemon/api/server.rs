//! Answers the control socket: a few threads take turns, so that no client can make the router wait or grow.
//!
//! The [`Reception`] hands over a client once it has sent a request; it gets one answer and has [`PATIENCE`] to read
//! it. One that wants to follow something gets a thread of its own. A mistake in a request becomes a [`Refusal`], and
//! so does a bug in an answer. Only the lab's own user and root are served.

use std::fmt::Display;
use std::io;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::bounded;

use crate::daemon::engine::Engine;
use crate::sys::confine::{self, Role};

use super::Answers;
use super::follow::Followers;
use super::framing::{self, Unreadable};
use super::protocol::{Change, Refusal, Request, Response};
use super::reception::{ReceivedRequest, Reception};
use super::slots::Slots;

pub use super::LabFacts;
pub use super::follow::{Feed, Look};

/// More clients than this wait for one that is free, [`WAITING`] at most.
const THREADS: usize = 4;
/// Changes wait for each other; there is always a thread left for questions.
const CHANGES: usize = THREADS - 1;
const WAITING: usize = 512;
const PATIENCE: Duration = Duration::from_secs(2);

/// What a request is answered with.
pub enum Answer {
    Once(Response),
    Follow(Feed),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::Once(response)
    }
}

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
    let changing = Slots::new(CHANGES);
    let answer = move |request| match request {
        Request::Change(wanted) => Answer::Once(match changing.enter() {
            Some(_place) => change(wanted),
            None => Response::Refused(in_progress()),
        }),
        question => answers.to(question),
    };
    listen(listener, answer, shutdown)
}

/// The same with any answers.
pub fn listen<A: Into<Answer>>(
    listener: UnixListener,
    answer: impl Fn(Request) -> A + Send + Sync + 'static,
    shutdown: impl Fn() + Send + Sync + 'static,
) -> io::Result<()> {
    let (hand_on, heard) = bounded(WAITING);
    let reception = Reception::open(listener, hand_on)?;
    let server = Arc::new((heard, answer, shutdown, Followers::default()));
    for number in 0..THREADS {
        let server = Arc::clone(&server);
        let turns = move |()| {
            let (heard, answer, shutdown, followers) = &*server;
            for client in heard {
                converse(client, |request| answer(request).into(), shutdown, followers);
            }
        };
        confine::spawn(&format!("vnet-control{number}"), Role::Control, || Ok(()), turns)?;
    }
    confine::spawn("vnet-reception", Role::Control, || Ok(()), move |()| reception.run())?;
    Ok(())
}

fn converse(client: ReceivedRequest, answer: impl Fn(Request) -> Answer, shutdown: impl Fn(), followers: &Followers) {
    let ReceivedRequest { stream, line } = client;
    let request = line.and_then(|line| framing::decode(&line));
    let stops = matches!(request, Ok(Request::Shutdown));
    let answer = match request {
        // The answer only reads; a half-made one leaves nothing broken behind.
        Ok(request) => catch_unwind(AssertUnwindSafe(|| answer(request)))
            .unwrap_or_else(|_| refused("the daemon failed to answer: this is a bug in vnet")),
        Err(Unreadable::Silence | Unreadable::Cut | Unreadable::Io(_)) => return,
        Err(
            error @ (Unreadable::TooLong(_) | Unreadable::TooSlow | Unreadable::Version(_) | Unreadable::Malformed(_)),
        ) => refused(error),
    };
    let response = match answer {
        Answer::Once(response) => response,
        Answer::Follow(feed) => match followers.admit() {
            // Without a thread for it the connection ends, which says as much.
            Some(follower) => return drop(follower.follow(stream, feed)),
            None => Response::Refused(Refusal::new("too many clients follow this lab already")),
        },
    };
    // A client that has left, or does not read, misses its answer; that is all.
    let _ = framing::send(&stream, &response, Instant::now() + PATIENCE);
    if stops {
        shutdown();
    }
}

fn in_progress() -> Refusal {
    Refusal {
        message: "AnotherOperationInProgress: other changes of this lab are under way".to_owned(),
        help: Some("wait for them, then try again".to_owned()),
    }
}

fn refused(message: impl Display) -> Answer {
    Answer::Once(Response::Refused(Refusal::new(message)))
}

//! The thread that starts the daemon's other threads, and the programs of machines.
//!
//! One idea: threads and programs inherit what their maker may do. So their maker is a thread that does nothing else: it
//! takes orders of this process alone, reads nothing from outside, and keeps the rights that any of them begins with. A
//! thread that it starts prepares itself with these, takes its role, and only then runs.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};

use crate::sys::caps::{self, CapabilitySet};
use crate::sys::sandbox;

use super::{Role, enter};

/// Orders that wait at a time.
const ORDERS: usize = 4;

/// What a thread does. Boxed, so that starting one is compiled once: there are dozens of kinds.
type Work = Box<dyn FnOnce() + Send>;

static ORDERED: OnceLock<Sender<Work>> = OnceLock::new();

/// What a thread hands back at its end.
type Said<T> = Arc<Mutex<Option<T>>>;

/// A thread that has taken its role.
#[derive(Debug)]
pub struct Thread<T = ()> {
    thread: JoinHandle<()>,
    said: Said<T>,
}

impl<T> Thread<T> {
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end; None if it panicked, which it has reported.
    pub fn join(self) -> Option<T> {
        self.thread.join().ok()?;
        self.said.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Starts it, once in a process. Before that, and in a process without it, threads are started by their callers.
pub fn begin() -> io::Result<()> {
    if ORDERED.get().is_some() {
        return Ok(());
    }
    let (orders, taken) = bounded::<Work>(ORDERS);
    let run = move || {
        // SYS_ADMIN and SYS_PTRACE enter namespaces. SETPCAP confines programs, and what those keep must be there to be
        // kept. A program outside the sandbox has what its user has: so this thread may still gain privileges.
        let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE | CapabilitySet::SETPCAP | sandbox::KEPT;
        if caps::keep(kept).is_ok() {
            taken.iter().for_each(|order| order());
        }
    };
    thread::Builder::new().name("vnet-starter".into()).spawn(run)?;
    // Lost only to another call at the same time, whose thread serves as well.
    let _ = ORDERED.set(orders);
    Ok(())
}

/// Runs a function on a new thread with the starter's rights.
pub fn run<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let said = Said::default();
    let says = said.clone();
    let work = move || *says.lock().unwrap_or_else(PoisonError::into_inner) = Some(f());
    let thread = start("vnet-starts", Box::new(work))?;
    let started = Thread { thread, said }.join();
    started.ok_or_else(|| io::Error::other("a thread that starts something panicked"))
}

/// Starts a thread that prepares itself, takes a role, and runs with what it has prepared. Returns once it runs, or why
/// it does not.
pub fn spawn<P, T: Send + 'static>(
    name: &str,
    role: Role,
    prepare: impl FnOnce() -> io::Result<P> + Send + 'static,
    run: impl FnOnce(P) -> T + Send + 'static,
) -> io::Result<Thread<T>> {
    let (tell, ready) = bounded(1);
    let said = Said::default();
    let says = said.clone();
    let work = move || match prepare().and_then(|made| enter(&role).map(|()| made)) {
        Ok(made) => {
            let _ = tell.send(Ok(()));
            let end = run(made);
            *says.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        }
        Err(error) => drop(tell.send(Err(error))),
    };
    let thread = start(name, Box::new(work))?;
    ready.recv().map_err(|_| io::Error::other(format!("thread {name} panicked")))??;
    Ok(Thread { thread, said })
}

fn start(name: &str, work: Work) -> io::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.into());
    let Some(orders) = ORDERED.get() else { return builder.spawn(work) };
    let (tell, started) = bounded(1);
    let order = move || drop(tell.send(builder.spawn(work)));
    let ended = || io::Error::other("the thread that starts others has ended");
    orders.send(Box::new(order)).map_err(|_| ended())?;
    started.recv().map_err(|_| ended())?
}

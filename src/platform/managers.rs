//! What answers in a private cloud by itself: the pages of vCenter and NSX-T Manager over TLS, and of its hosts' vMotion
//! (AVS-04, AVS-10).
//!
//! One idea: a page names the manager or host that it emulates, so that a test knows what it has reached. No page asks for
//! credentials. As
//! for the platform's [`Server`](super::Server), a connection carries one question and has [`PATIENCE`] for it, and each
//! client has a share of the connections. An answer fits into a socket's buffer: it is written at once, or not at all.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::sys::confine::{Role, Thread};
use crate::sys::connection_limit::ConnectionLimit;
use crate::sys::mailbox::{Inbox, Mailbox, mailbox};
use crate::sys::netns::Netns;
use crate::sys::poll::{Poller, Ready};
use crate::sys::socket::Origin;

use super::certificate::self_signed;
use super::http::{LONGEST, Malformed, Request, Response};

/// How long a question may take, its answer included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at a time: of all clients, and of one.
const MOST: usize = 64;
const SHARE: usize = 8;
/// Ready sockets handled in one turn.
const BATCH: usize = 16;
const WAKER: u64 = u64::MAX;

/// A page and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub at: SocketAddrV4,
    pub secure: bool,
    /// The manager or host that it emulates: `vCenter of private cloud sddc`.
    pub title: String,
}

/// Answers in one namespace until it is dropped.
#[derive(Debug)]
pub struct Managers {
    pages: Vec<Page>,
    end: Mailbox<()>,
    thread: Option<Thread>,
}

impl Managers {
    /// Starts a thread in the cloud's namespace, without capabilities: unprivileged programs must be allowed to listen on
    /// low ports there. `name` is that of its certificate.
    pub fn start(namespace: &Netns, name: String, pages: Vec<Page>) -> io::Result<Self> {
        let (end, inbox) = mailbox(1)?;
        let served = pages.clone();
        let begin = move || Desk::new(inbox, &name, served);
        let thread = namespace.spawn("vnet-managers", Role::Service, begin, Desk::run)?;
        Ok(Self { pages, end, thread: Some(thread) })
    }

    pub fn pages(&self) -> &[Page] {
        &self.pages
    }
}

impl Drop for Managers {
    fn drop(&mut self) {
        self.end.send(());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// A connection, over TLS or not.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

struct Caller {
    wire: Box<dyn Wire>,
    page: usize,
    from: IpAddr,
    heard: Vec<u8>,
    deadline: Instant,
}

/// The thread's own state.
struct Desk {
    end: Inbox<()>,
    poller: Poller,
    tls: Arc<ServerConfig>,
    pages: Vec<Page>,
    /// By their token, which is that of their page.
    listeners: Vec<TcpListener>,
    /// By their token, which is higher.
    callers: HashMap<u64, Caller>,
    limit: ConnectionLimit<IpAddr>,
    next_token: u64,
}

impl Desk {
    fn new(end: Inbox<()>, name: &str, pages: Vec<Page>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&end, WAKER)?;
        let secure = pages.iter().filter(|page| page.secure).map(|page| *page.at.ip());
        let tls = Arc::new(tls(name, &secure.collect::<Vec<_>>())?);
        let mut listeners = Vec::new();
        for (token, page) in (0..).zip(&pages) {
            let origin = Origin { device: None, address: Some(IpAddr::V4(*page.at.ip())) };
            let listener = origin.listen_at(page.at.port());
            let listener = listener
                .map_err(|error| io::Error::new(error.kind(), format!("{} at {}: {error}", page.title, page.at)))?;
            poller.add(&listener, token)?;
            listeners.push(listener);
        }
        let next_token = pages.len() as u64;
        let (callers, limit) = (HashMap::new(), ConnectionLimit::new(MOST, SHARE));
        Ok(Self { end, poller, tls, pages, listeners, callers, limit, next_token })
    }

    fn run(mut self) {
        let mut ready = Ready::new(BATCH);
        loop {
            if self.end.drain().next().is_some() {
                return;
            }
            self.turn_to_all(&ready);
            let timeout = self.send_away_the_slow(Instant::now());
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                tracing::error!("the managers of a private cloud have stopped: {error}");
                return;
            }
        }
    }

    fn turn_to_all(&mut self, ready: &Ready) {
        let listeners = self.listeners.len() as u64;
        for token in ready.listeners_last(|token| token < listeners) {
            self.turn_to(token);
        }
    }

    /// Ignores a token that belongs to no caller, such as that of the end.
    fn turn_to(&mut self, token: u64) {
        if let Some(listener) = usize::try_from(token).ok().and_then(|at| self.listeners.get(at)) {
            if let Ok((stream, from)) = listener.accept() {
                // Without room in the poller, it is closed.
                let _ = self.admit(stream, token as usize, from.ip());
            }
            return;
        }
        let Some(mut caller) = self.callers.remove(&token) else { return };
        if caller.advance(&self.pages[caller.page]) {
            self.callers.insert(token, caller);
        } else {
            self.limit.leave(&caller.from, token);
        }
    }

    fn admit(&mut self, stream: TcpStream, page: usize, from: IpAddr) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let token = self.next_token;
        self.next_token += 1;
        self.poller.add(&stream, token)?;
        let wire: Box<dyn Wire> = if self.pages[page].secure {
            let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, stream))
        } else {
            Box::new(stream)
        };
        if let Some(oldest) = self.limit.enter(from, token) {
            self.callers.remove(&oldest);
        }
        self.callers.insert(token, Caller { wire, page, from, heard: Vec::new(), deadline: Instant::now() + PATIENCE });
        Ok(())
    }

    /// Returns how long the next one has.
    fn send_away_the_slow(&mut self, now: Instant) -> Option<Duration> {
        let late: Vec<_> = self.callers.iter().filter(|(_, caller)| caller.deadline <= now).collect();
        let late: Vec<_> = late.into_iter().map(|(token, caller)| (*token, caller.from)).collect();
        for (token, from) in late {
            self.callers.remove(&token);
            self.limit.leave(&from, token);
        }
        self.callers.values().map(|caller| caller.deadline.saturating_duration_since(now)).min()
    }
}

impl Caller {
    /// Reads what there is, and answers a whole question. False where the connection is over.
    fn advance(&mut self, page: &Page) -> bool {
        let mut buffer = [0; 2048];
        loop {
            match self.wire.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            let answer = match Request::parse(&self.heard) {
                Ok(None) if self.heard.len() < LONGEST => continue,
                Ok(None) | Err(Malformed) => Response::text(400, "this is no request\n".to_owned()),
                Ok(Some(request)) if request.method == "GET" => Response::html(&page.title),
                Ok(Some(_)) => Response::text(405, "only GET is answered\n".to_owned()),
            };
            // A client that has gone needs no answer.
            let _ = self.wire.write_all(&answer.encode()).and_then(|()| self.wire.flush());
            return false;
        }
    }
}

fn tls(name: &str, addresses: &[Ipv4Addr]) -> io::Result<ServerConfig> {
    let (certificate, key) =
        self_signed(name, addresses).map_err(|_| io::Error::other("cannot make a certificate: no random numbers"))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    builder.with_no_client_auth().with_single_cert(vec![certificate], key).map_err(io::Error::other)
}

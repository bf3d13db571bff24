//! The thread that answers guests, and the handle that gives it the directory behind each device.
//!
//! One idea: every socket is bound to one virtual network's device, so the socket decides which directory answers. The
//! thread never waits for one client, and nothing grows: a datagram is answered at once or passed on. A connection
//! carries one question and has [`PATIENCE`] for it. Each machine has a share of the connections, so that none keeps
//! others waiting.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::azure::address;
use crate::sys::confine::{Role, Thread};
use crate::sys::connection_limit::ConnectionLimit;
use crate::sys::mailbox::{Inbox, Mailbox, mailbox};
use crate::sys::netns::Netns;
use crate::sys::poll::{Poller, Ready};
use crate::sys::socket::Origin;

use super::directory::Directory;
use super::dns::{self, Reply};
use super::http::{LONGEST, Malformed};
use super::metadata;
use super::upstream::{Asker, Upstream};

const PLATFORM: IpAddr = IpAddr::V4(address::PLATFORM);
const METADATA: IpAddr = IpAddr::V4(address::METADATA);
const DNS_PORT: u16 = 53;
const METADATA_PORT: u16 = 80;

/// How long a question over a connection may take, its answer included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at a time: of all virtual networks, and of one address in one of them.
const MOST: usize = 256;
const SHARE: usize = 16;
/// The largest datagram that is accepted: a question has a name of at most 255 bytes.
const DATAGRAM: usize = 1232;
/// Ready sockets handled in one turn, and datagrams taken from each.
const BATCH: usize = 64;
/// Orders that wait at a time.
const ORDERS: usize = 4;
const WAKER: u64 = u64::MAX;
/// The token of the sockets to forwarders.
const UPSTREAM: u64 = u64::MAX - 1;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    orders: Mailbox<Order>,
    thread: Option<Thread>,
}

/// The directories to answer from, and the forwarders.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// By the device of the virtual network.
    pub behind: BTreeMap<String, Directory>,
    /// Forwarders for names outside our domain, in this order; none by default.
    pub forwarders: Vec<IpAddr>,
}

#[derive(Debug)]
enum Order {
    /// The settings to use, and the channel that waits for them.
    Apply(Served, Sender<()>),
    End,
}

impl Server {
    /// Starts a thread in the platform's namespace, without capabilities: unprivileged programs must be allowed to
    /// listen on low ports there. Questions are forwarded from the calling thread's own namespace.
    pub fn start(namespace: &Netns) -> io::Result<Self> {
        let (orders, inbox) = mailbox(ORDERS)?;
        let waker = inbox.waker();
        let upstream = Upstream::open(move || waker.wake())?;
        let thread = namespace.spawn("vnet-service", Role::Service, move || Desk::new(inbox, upstream), Desk::run)?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// Answers from these directories from now on, each on its own device, and on no other device. Once this returns,
    /// guests get answers.
    pub fn apply(&self, served: Served) {
        let (applied, waits) = bounded(1);
        self.orders.send(Order::Apply(served, applied));
        // A thread that has ended has reported it.
        let _ = waits.recv();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// The protocol of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Dns,
    Metadata,
}

/// A socket that takes questions. By its token; closed with its device.
#[derive(Debug)]
enum Door {
    Datagrams(UdpSocket),
    Connections(TcpListener, Language),
    Caller(Caller),
}

/// One connection.
#[derive(Debug)]
struct Caller {
    stream: TcpStream,
    from: IpAddr,
    language: Language,
    heard: Vec<u8>,
    /// Its question was forwarded.
    waits: bool,
    /// The rest of the answer to send; empty until the question is complete.
    answer: Option<Vec<u8>>,
    deadline: Instant,
}

/// The thread's own state.
struct Desk {
    orders: Inbox<Order>,
    poller: Poller,
    behind: BTreeMap<String, Directory>,
    doors: HashMap<u64, (String, Door)>,
    /// Of connections, by the device and the address that they come from.
    callers: ConnectionLimit<(String, IpAddr)>,
    next_token: u64,
    upstream: Upstream,
}

impl Desk {
    fn new(orders: Inbox<Order>, upstream: Upstream) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&orders, WAKER)?;
        upstream.sockets().try_for_each(|socket| poller.add(socket, UPSTREAM))?;
        let (behind, doors, callers) = (BTreeMap::new(), HashMap::new(), ConnectionLimit::new(MOST, SHARE));
        Ok(Self { orders, poller, behind, doors, callers, next_token: 0, upstream })
    }

    fn run(mut self) {
        let mut ready = Ready::new(BATCH);
        loop {
            for order in self.orders.drain().collect::<Vec<_>>() {
                let Order::Apply(served, applied) = order else { return };
                self.upstream.apply(&served.forwarders);
                self.apply(served.behind);
                // The caller may have gone.
                let _ = applied.send(());
            }
            self.turn_to_all(&ready);
            let now = Instant::now();
            let answers = self.upstream.hear().into_iter().chain(self.upstream.give_up(now));
            for (asker, answer) in answers.collect::<Vec<_>>() {
                self.pass_back(asker, &answer);
            }
            let slow = self.send_away_the_slow(now);
            let late = self.upstream.deadline().map(|deadline| deadline.saturating_duration_since(now));
            let timeout = slow.into_iter().chain(late).min();
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                tracing::error!("the platform's services at {PLATFORM} have stopped: {error}");
                return;
            }
        }
    }

    fn apply(&mut self, behind: BTreeMap<String, Directory>) {
        self.close_those(|device, _| !behind.contains_key(device));
        let new: Vec<_> = behind.keys().filter(|device| !self.behind.contains_key(*device)).cloned().collect();
        self.behind = behind;
        for device in new {
            if let Err(error) = self.open(&device) {
                tracing::error!("the platform's services at {PLATFORM} are not available behind {device}: {error}");
            }
        }
    }

    fn open(&mut self, device: &str) -> io::Result<()> {
        let at = |address| Origin { device: Some(device.to_owned()), address: Some(address) };
        let doors = [
            Door::Datagrams(at(PLATFORM).udp_at(DNS_PORT)?),
            Door::Connections(at(PLATFORM).listen_at(DNS_PORT)?, Language::Dns),
            Door::Connections(at(METADATA).listen_at(METADATA_PORT)?, Language::Metadata),
        ];
        doors.into_iter().try_for_each(|door| self.admit(device.to_owned(), door))
    }

    fn admit(&mut self, device: String, door: Door) -> io::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        match &door {
            Door::Datagrams(socket) => self.poller.add(socket, token)?,
            Door::Connections(listener, _) => self.poller.add(listener, token)?,
            Door::Caller(caller) => {
                self.poller.add(&caller.stream, token)?;
                if let Some(oldest) = self.callers.enter((device.clone(), caller.from), token) {
                    self.doors.remove(&oldest);
                }
            }
        }
        self.doors.insert(token, (device, door));
        Ok(())
    }

    /// Closes the doors for which `is_so` holds.
    fn close_those(&mut self, is_so: impl Fn(&str, &Door) -> bool) {
        self.doors.retain(|token, (device, door)| {
            let closes = is_so(device, door);
            if let (true, Door::Caller(caller)) = (closes, door) {
                self.callers.leave(&(device.clone(), caller.from), *token);
            }
            !closes
        });
    }

    fn turn_to_all(&mut self, ready: &Ready) {
        let is_listener = |token| matches!(self.doors.get(&token), Some((_, Door::Connections(..))));
        for token in ready.listeners_last(is_listener) {
            self.turn_to(token);
        }
    }

    /// Ignores a token that belongs to no door, such as that of orders.
    fn turn_to(&mut self, token: u64) {
        let Some((device, mut door)) = self.doors.remove(&token) else { return };
        let directory = self.behind.get(&device).expect("doors are those of known devices");
        match &mut door {
            Door::Datagrams(socket) => answer_datagrams(token, socket, directory, &mut self.upstream),
            Door::Connections(listener, language) => {
                if let Some(caller) = arrived(listener, *language) {
                    // Without room in the poller, it is closed.
                    let _ = self.admit(device.clone(), Door::Caller(caller));
                }
            }
            Door::Caller(caller) => {
                if !caller.advance(token, directory, &mut self.upstream) {
                    self.callers.leave(&(device, caller.from), token);
                    return;
                }
                // Fails for a socket that has failed: the next wait reports it.
                let _ = self.poller.also_writable(&caller.stream, token, caller.answer.is_some());
            }
        }
        self.doors.insert(token, (device, door));
    }

    /// Sends a forwarder's answer to the client that asked, if it is still there.
    fn pass_back(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            Asker::Datagram(token, from) => {
                if let Some((_, Door::Datagrams(socket))) = self.doors.get(&token) {
                    // A guest with a full queue asks again.
                    let _ = socket.send_to(answer, from);
                }
            }
            Asker::Caller(token) => {
                if let Some((_, Door::Caller(caller))) = self.doors.get_mut(&token) {
                    caller.answer = framed(answer);
                    self.turn_to(token);
                }
            }
        }
    }

    /// Closes connections past their deadline; returns how long the next one has.
    fn send_away_the_slow(&mut self, now: Instant) -> Option<Duration> {
        if self.callers.is_empty() {
            return None;
        }
        let deadline = |door: &Door| match door {
            Door::Caller(caller) => Some(caller.deadline),
            Door::Datagrams(_) | Door::Connections(..) => None,
        };
        self.close_those(|_, door| deadline(door).is_some_and(|deadline| deadline <= now));
        let next = self.doors.values().filter_map(|(_, door)| deadline(door)).min();
        next.map(|deadline| deadline.saturating_duration_since(now))
    }
}

fn answer_datagrams(token: u64, socket: &UdpSocket, directory: &Directory, upstream: &mut Upstream) {
    let mut question = [0; DATAGRAM];
    for _ in 0..BATCH {
        let Ok((len, from)) = socket.recv_from(&mut question) else { return };
        let Some(reply) = dns::answer(&question[..len], directory) else { continue };
        let asker = Asker::Datagram(token, from);
        if let Some(answer) = settle(reply, asker, &question[..len], upstream) {
            // A guest with a full queue asks again.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to send at once; none for a question that was forwarded.
fn settle(reply: Reply, asker: Asker, question: &[u8], upstream: &mut Upstream) -> Option<Vec<u8>> {
    match reply {
        Reply::Answer(answer) => Some(answer),
        Reply::Foreign(refusal) if !upstream.has_forwarders() => Some(refusal),
        Reply::Foreign(_) if upstream.ask(asker, question, Instant::now()) => None,
        Reply::Foreign(_) => dns::failure(question),
    }
}

/// RFC 1035 section 4.2.2: two bytes of length before a message. None for one that is too long.
fn framed(answer: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(answer.len()).ok()?;
    Some([&len.to_be_bytes()[..], answer].concat())
}

/// Accepts one connection. The poller reports the listener again if more wait.
fn arrived(listener: &TcpListener, language: Language) -> Option<Caller> {
    let (stream, from) = listener.accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    let (from, deadline) = (from.ip(), Instant::now() + PATIENCE);
    Some(Caller { stream, from, language, heard: Vec::new(), waits: false, answer: None, deadline })
}

impl Caller {
    /// Reads and writes what it can without waiting; false once the conversation is over.
    fn advance(&mut self, token: u64, directory: &Directory, upstream: &mut Upstream) -> bool {
        if self.answer.is_none() {
            let mut bytes = [0; 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(len) => self.heard.extend_from_slice(&bytes[..len]),
                Err(error) => return waits(&error),
            }
            if self.waits {
                // It has asked once: further bytes are ignored.
                return self.heard.len() <= LONGEST;
            }
            let Ok(answer) = self.reply(token, directory, upstream) else { return false };
            self.answer = answer;
        }
        let Some(answer) = &mut self.answer else { return true };
        match self.stream.write(answer) {
            Ok(len) => drop(answer.drain(..len)),
            Err(error) => return waits(&error),
        }
        !answer.is_empty()
    }

    /// None until the question is complete, and where it was forwarded.
    fn reply(
        &mut self,
        token: u64,
        directory: &Directory,
        upstream: &mut Upstream,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        match self.language {
            Language::Dns => {
                let Some((len, rest)) = self.heard.split_first_chunk() else { return Ok(None) };
                let Some(question) = rest.get(..u16::from_be_bytes(*len).into()) else {
                    return if self.heard.len() < LONGEST { Ok(None) } else { Err(Malformed) };
                };
                let reply = dns::answer(question, directory).ok_or(Malformed)?;
                let answer = settle(reply, Asker::Caller(token), question, upstream);
                self.waits = answer.is_none();
                answer.map(|answer| framed(&answer).ok_or(Malformed)).transpose()
            }
            Language::Metadata => metadata::reply(&self.heard, directory, self.from),
        }
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// FAB-12: a connection has until its deadline, and no longer; those with more time stay, and the thread knows when to
    /// look again.
    #[test]
    fn fab_12_a_connection_is_closed_at_its_deadline() {
        let (_orders, inbox) = mailbox(ORDERS).unwrap();
        let mut desk = Desk::new(inbox, Upstream::open(|| {}).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut call = |more: Duration| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.set_nonblocking(true).unwrap();
            let mut caller = arrived(&listener, Language::Metadata).unwrap();
            caller.deadline += more;
            let deadline = caller.deadline;
            desk.admit("vnet".to_owned(), Door::Caller(caller)).unwrap();
            (client, deadline)
        };
        let began = Instant::now();
        let second = Duration::from_secs(1);
        let (mut slow, first) = call(Duration::ZERO);
        let (mut other, last) = call(second);
        assert!(first >= began + PATIENCE && last >= first + second);
        let is_open =
            |client: &mut TcpStream| client.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);

        let just_before = first.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(desk.send_away_the_slow(just_before), Some(Duration::from_nanos(1)));
        assert!(is_open(&mut slow) && is_open(&mut other));
        assert_eq!(desk.send_away_the_slow(first), Some(last - first));
        assert!(!is_open(&mut slow) && is_open(&mut other));
        assert_eq!(desk.send_away_the_slow(last), None);
        assert!(!is_open(&mut other));
        assert!(desk.callers.is_empty(), "their shares are free again");
    }
}

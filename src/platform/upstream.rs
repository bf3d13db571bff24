//! Forwards questions about other names to the forwarders in the file, and returns their answers.
//!
//! One idea: a question waits under an id of our own until its answer comes or its time is over. Then the next
//! forwarder is asked; after the last one, the guest gets SERVFAIL. The sockets are those of the daemon's namespace: a
//! lab's routes do not affect them. A truncated answer to a question over a connection is asked for again over TCP. At
//! most [`MOST`] questions wait; one more fails at once.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::dns;
use super::tcp_fallback::{Again, Whole};

/// The time limit of one forwarder.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions that wait at a time.
const MOST: usize = 256;
/// Questions of one machine, so that none keeps others from asking.
const SHARE: usize = 64;
/// The largest answer that is accepted.
const DATAGRAM: usize = 4096;
/// Answers that one turn takes from a socket.
const BATCH: usize = 64;
const PORT: u16 = 53;

/// The client that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// On this socket, from this address.
    Datagram(u64, SocketAddr),
    /// Over a connection.
    Caller(u64),
}

impl Asker {
    /// The socket and address that asked; connections are few already, and each is counted by itself.
    const fn machine(self) -> (u64, Option<IpAddr>) {
        match self {
            Self::Datagram(door, from) => (door, Some(from.ip())),
            Self::Caller(connection) => (connection, None),
        }
    }
}

/// The forwarders, and the questions that wait for them.
#[derive(Debug)]
pub(super) struct Upstream {
    v4: UdpSocket,
    /// None where the daemon has no IPv6.
    v6: Option<UdpSocket>,
    forwarders: Vec<SocketAddr>,
    waiting: HashMap<u16, Waiting>,
    whole: Whole,
    random: RandomState,
    asked: u64,
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    question: Vec<u8>,
    /// The forwarder that is asked now, by its index.
    at: usize,
    until: Instant,
}

impl Upstream {
    /// Asks from the calling thread's namespace, and calls `wake` when [`Self::hear`] has work.
    pub(super) fn open(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let bind = |address: IpAddr| {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_nonblocking(true)?;
            io::Result::Ok(socket)
        };
        Ok(Self {
            v4: bind(Ipv4Addr::UNSPECIFIED.into())?,
            v6: bind(Ipv6Addr::UNSPECIFIED.into()).ok(),
            forwarders: Vec::new(),
            waiting: HashMap::new(),
            whole: Whole::start(wake)?,
            random: RandomState::new(),
            asked: 0,
        })
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        [&self.v4].into_iter().chain(&self.v6)
    }

    /// Asks these forwarders from now on, in this order. With none, no question is forwarded.
    pub(super) fn apply(&mut self, forwarders: &[IpAddr]) {
        self.forwarders = forwarders.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
    }

    pub(super) fn has_forwarders(&self) -> bool {
        !self.forwarders.is_empty()
    }

    /// Forwards a question. False where too many wait, or the message is too short.
    pub(super) fn ask(&mut self, asker: Asker, question: &[u8], now: Instant) -> bool {
        let own = self.waiting.values().filter(|waiting| waiting.asker.machine() == asker.machine()).count();
        if self.waiting.len() >= MOST || own >= SHARE || question.len() < 2 {
            return false;
        }
        let Some(number) = self.free_number() else { return false };
        let waiting = Waiting { asker, question: question.to_vec(), at: 0, until: now + PATIENCE };
        self.send(number, &waiting);
        self.waiting.insert(number, waiting);
        true
    }

    /// The answers that have arrived, under the ids that the clients used.
    pub(super) fn hear(&mut self) -> Vec<(Asker, Vec<u8>)> {
        let mut bytes = [0; DATAGRAM];
        let mut heard: Vec<_> = self.whole.heard().collect();
        for socket in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            for _ in 0..BATCH {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else { break };
                let Some((number, rest)) = bytes[..len].split_first_chunk() else { continue };
                let number = u16::from_be_bytes(*number);
                // Only the forwarder that is asked may answer, and only that question.
                let fits = |waiting: &Waiting| {
                    self.forwarders.get(waiting.at) == Some(&from) && dns::is_about(&bytes[..len], &waiting.question)
                };
                if !self.waiting.get(&number).is_some_and(fits) {
                    continue;
                }
                let Some(Waiting { asker, question, .. }) = self.waiting.remove(&number) else { continue };
                let answer = [&question[..2], rest].concat();
                let in_part = dns::is_truncated(&answer) && matches!(asker, Asker::Caller(_));
                if in_part {
                    heard.extend(self.whole.ask(Again { asker, question, to: from, truncated: answer }));
                } else {
                    heard.push((asker, answer));
                }
            }
        }
        heard
    }

    /// Asks the next forwarder where one has had its time; returns SERVFAIL for questions that no forwarder answered.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<(Asker, Vec<u8>)> {
        let late: Vec<u16> =
            self.waiting.iter().filter(|(_, waiting)| waiting.until <= now).map(|(number, _)| *number).collect();
        let mut failed = Vec::new();
        for number in late {
            let Some(mut waiting) = self.waiting.remove(&number) else { continue };
            waiting.at += 1;
            waiting.until = now + PATIENCE;
            if waiting.at < self.forwarders.len() {
                self.send(number, &waiting);
                self.waiting.insert(number, waiting);
            } else if let Some(failure) = dns::failure(&waiting.question) {
                failed.push((waiting.asker, failure));
            }
        }
        failed
    }

    /// When [`Self::give_up`] has work next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// What cannot be sent counts as lost: the next forwarder is asked in time.
    fn send(&self, number: u16, waiting: &Waiting) {
        let Some(to) = self.forwarders.get(waiting.at) else { return };
        let message = [&number.to_be_bytes()[..], &waiting.question[2..]].concat();
        let socket = if to.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        if let Some(socket) = socket {
            let _ = socket.send_to(&message, to);
        }
    }

    /// An id that an attacker cannot guess (RFC 5452 section 4.3).
    fn free_number(&mut self) -> Option<u16> {
        (0..MOST).find_map(|_| {
            self.asked += 1;
            let number = self.random.hash_one(self.asked) as u16;
            (!self.waiting.contains_key(&number)).then_some(number)
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// A question waits for an answer that never comes.
    #[test]
    fn a_machine_has_its_share_and_all_have_no_more_than_there_is() {
        let mut upstream = Upstream::open(|| {}).unwrap();
        let asker = |machine: u8, port| Asker::Datagram(1, SocketAddr::from(([10, 0, 0, machine], port)));
        let now = Instant::now();
        let mut accepted = |machine| (0..1000).filter(|port| upstream.ask(asker(machine, *port), b"12?", now)).count();
        assert_eq!([1, 1, 2, 3, 4, 5].map(&mut accepted), [SHARE, 0, SHARE, SHARE, MOST - 3 * SHARE, 0]);
        assert!(!Upstream::open(|| {}).unwrap().ask(asker(1, 1), b"1", now), "too short for a number");
    }

    /// Whether a question has come here, and under which number.
    fn asked(forwarder: &UdpSocket) -> Option<[u8; 2]> {
        let mut bytes = [0; DATAGRAM];
        let (len, _) = forwarder.recv_from(&mut bytes).ok()?;
        (len > 2).then_some([bytes[0], bytes[1]])
    }

    #[test]
    fn forwarders_are_asked_in_order_and_the_guest_hears_of_the_last_failure() {
        let mut upstream = Upstream::open(|| {}).unwrap();
        let forwarder = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let (first, second) = (forwarder(), forwarder());
        upstream.forwarders = [&first, &second].map(|socket| socket.local_addr().unwrap()).into();
        let asker = Asker::Datagram(1, SocketAddr::from(([10, 0, 0, 4], 1)));
        let mut question = *b"ab\x01\0\0\x01\0\0\0\0\0\0\x01x\0\0\x01\0\x01";
        let began = Instant::now();
        assert!(upstream.ask(asker, &question, began));
        assert!(asked(&first).is_some() && asked(&second).is_none(), "the first alone");
        assert_eq!(upstream.deadline(), Some(began + PATIENCE));
        assert!(upstream.give_up(began + PATIENCE / 2).is_empty());
        assert!(upstream.give_up(began + PATIENCE).is_empty());
        assert!(asked(&first).is_none(), "it had its time");
        let number = asked(&second).unwrap();
        // An answer counts from the one that is being asked now.
        question[2] |= 0x80;
        let answer = [&number, &question[2..]].concat();
        let ours = (Ipv4Addr::LOCALHOST, upstream.v4.local_addr().unwrap().port());
        first.send_to(&answer, ours).unwrap();
        assert_eq!(upstream.hear(), []);
        second.send_to(&answer, ours).unwrap();
        assert_eq!(upstream.hear(), [(asker, question.to_vec())], "under the guest's number");
        assert_eq!(upstream.deadline(), None);

        question[2] &= 0x7f;
        assert!(upstream.ask(asker, &question, began));
        assert!(upstream.give_up(began + PATIENCE).is_empty());
        let failed = upstream.give_up(began + 2 * PATIENCE);
        let [(to, failure)] = &failed[..] else { panic!("{failed:?}") };
        assert_eq!((*to, &failure[..2], failure[3] & 0xf), (asker, &question[..2], 2), "SERVFAIL");
        assert_eq!(upstream.deadline(), None);
    }
}

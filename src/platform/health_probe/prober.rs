//! The thread that probes, and the handle that gives it its targets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::model::ProbeKey;
use crate::sys::confine::{Role, Thread};
use crate::sys::mailbox::{Inbox, Mailbox, mailbox};
use crate::sys::netns::Netns;
use crate::sys::poll::{Poller, Ready};
use crate::sys::socket::Origin;

use super::attempt::{Ask, Attempt};
use super::health::BackendHealth;
use super::tls;

/// The time limit of a probe, however long the interval is (LB-10).
const TIMEOUT: Duration = Duration::from_secs(30);
/// The first pause before a backend that never succeeded is probed again. The pause doubles up to the interval. In
/// Azure, backends have had minutes to start before anyone looks.
const FIRST_AGAIN: Duration = Duration::from_millis(250);
/// How long a change waits for others, so that the tables are compiled once for all of them.
const GATHER: Duration = Duration::from_millis(20);
/// Ready sockets handled in one turn.
const BATCH: usize = 64;
/// Orders that wait at a time.
const ORDERS: usize = 4;
const WAKER: u64 = u64::MAX;

/// The backend to probe, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub origin: Origin,
    pub peer: SocketAddr,
    pub ask: Ask,
    pub interval: Duration,
    pub threshold: u32,
}

/// A change of a target's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Up or down, and the result of its last probe.
    Health { up: bool, reason: String },
    /// It is not probed any more.
    Gone,
}

/// Probes until it is dropped.
#[derive(Debug)]
pub struct Prober {
    orders: Mailbox<Order>,
    thread: Option<Thread>,
}

#[derive(Debug)]
enum Order {
    /// The targets to probe from now on.
    Probe(BTreeMap<ProbeKey, Target>),
    End,
}

impl Prober {
    /// Starts a thread in a namespace, without capabilities. `tell` gets changes at most 20 ms after they happen.
    pub fn start(namespace: &Netns, tell: impl FnMut(BTreeMap<ProbeKey, Report>) + Send + 'static) -> io::Result<Self> {
        let (orders, inbox) = mailbox(ORDERS)?;
        let thread =
            namespace.spawn("vnet-probe", Role::Service, move || Rounds::new(inbox), move |rounds| rounds.run(tell))?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// Probes these targets from now on, and no others. What is known of targets that stay is kept.
    pub fn apply(&self, targets: BTreeMap<ProbeKey, Target>) {
        // A thread that has ended has reported it.
        self.orders.send(Order::Probe(targets));
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// The thread's own state.
struct Rounds {
    orders: Inbox<Order>,
    poller: Poller,
    tls: Arc<ClientConfig>,
    asked: BTreeMap<ProbeKey, Asked>,
    /// By the token of its socket: the target of that attempt.
    attempts: BTreeMap<u64, ProbeKey>,
    next_token: u64,
    news: BTreeMap<ProbeKey, Report>,
    /// When the changes are reported.
    tell_at: Option<Instant>,
}

/// One target.
struct Asked {
    target: Target,
    health: BackendHealth,
    /// Why it is down; empty if it is up.
    reason: String,
    /// When it is probed next; during a probe, its deadline.
    due: Instant,
    /// When it was probed last.
    begun: Instant,
    /// The pause before the next probe of a target that never succeeded.
    pause: Duration,
    attempt: Option<(u64, Attempt)>,
}

impl Rounds {
    fn new(orders: Inbox<Order>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&orders, WAKER)?;
        let (asked, attempts, news) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let tls = tls::config().map_err(io::Error::other)?;
        Ok(Self { orders, poller, tls, asked, attempts, next_token: 0, news, tell_at: None })
    }

    fn run(mut self, mut tell: impl FnMut(BTreeMap<ProbeKey, Report>)) {
        let mut ready = Ready::new(BATCH);
        loop {
            let now = Instant::now();
            for order in self.orders.drain().collect::<Vec<_>>() {
                let Order::Probe(targets) = order else { return };
                self.apply(targets, now);
            }
            for token in ready.tokens().filter(|token| *token != WAKER).collect::<Vec<_>>() {
                self.advance(token, now);
            }
            self.come_due(now);
            if self.tell_at.is_some_and(|at| at <= now) {
                self.tell_at = None;
                tell(std::mem::take(&mut self.news));
            }
            let next = self.asked.values().map(|asked| asked.due).chain(self.tell_at).min();
            let timeout = next.map(|at| at.saturating_duration_since(now));
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                tracing::error!("health probes have stopped: {error}");
                return;
            }
        }
    }

    fn apply(&mut self, targets: BTreeMap<ProbeKey, Target>, now: Instant) {
        let gone: Vec<_> = self.asked.keys().filter(|key| !targets.contains_key(key)).cloned().collect();
        for key in gone {
            self.forget(&key);
            self.announce(key, Report::Gone, now);
        }
        for (key, target) in targets {
            if self.asked.get(&key).is_some_and(|asked| asked.target == target) {
                continue;
            }
            // The settings changed: what is known stays until the first new results.
            self.forget_attempt(&key);
            let before = self.asked.remove(&key);
            let (health, reason) = before.map_or_else(Default::default, |asked| (asked.health, asked.reason));
            let fresh = Asked { target, health, reason, due: now, begun: now, pause: FIRST_AGAIN, attempt: None };
            self.asked.insert(key, fresh);
        }
    }

    /// A socket is ready.
    fn advance(&mut self, token: u64, now: Instant) {
        let Some(key) = self.attempts.get(&token).cloned() else { return };
        let Some(asked) = self.asked.get_mut(&key) else { return };
        let Some((_, attempt)) = &mut asked.attempt else { return };
        match attempt.advance() {
            Some(outcome) => self.note(&key, outcome, now),
            None => {
                // Fails for a socket that has failed: the next wait reports it.
                let _ = self.poller.also_writable(&*attempt, token, attempt.wants_write());
            }
        }
    }

    /// Starts probes that are due, and ends those past their deadline.
    fn come_due(&mut self, now: Instant) {
        let due: Vec<_> = self.asked.iter().filter(|(_, it)| it.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let asked = &self.asked[&key];
            if asked.attempt.is_some() {
                self.note(&key, Err("no answer in time".to_owned()), now);
            } else {
                self.begin(&key, now);
            }
        }
    }

    fn begin(&mut self, key: &ProbeKey, now: Instant) {
        let Some(asked) = self.asked.get_mut(key) else { return };
        let Target { origin, peer, ask, interval, .. } = &asked.target;
        asked.begun = now;
        asked.due = now + TIMEOUT.min(*interval);
        let token = self.next_token;
        self.next_token += 1;
        let begun = Attempt::begin(origin, *peer, ask, &self.tls).and_then(|attempt| {
            let added =
                self.poller.add(&attempt, token).and_then(|()| self.poller.also_writable(&attempt, token, true));
            added.map(|()| attempt).map_err(|error| error.to_string())
        });
        match begun {
            Ok(attempt) => {
                asked.attempt = Some((token, attempt));
                self.attempts.insert(token, key.clone());
            }
            Err(why) => self.note(key, Err(why), now),
        }
    }

    /// Records the result of a probe.
    fn note(&mut self, key: &ProbeKey, outcome: Result<(), String>, now: Instant) {
        self.forget_attempt(key);
        let Some(asked) = self.asked.get_mut(key) else { return };
        let changes = asked.health.note(outcome.is_ok(), asked.target.threshold);
        let reason = outcome.err().unwrap_or_default();
        let differs = changes || asked.reason != reason;
        asked.reason.clone_from(&reason);
        let pause =
            if asked.health.is_known() { asked.target.interval } else { asked.pause.min(asked.target.interval) };
        asked.pause = asked.pause.saturating_mul(2);
        asked.due = (asked.begun + pause).max(now);
        if differs {
            let up = asked.health.is_up();
            self.announce(key.clone(), Report::Health { up, reason }, now);
        }
    }

    fn announce(&mut self, key: ProbeKey, report: Report, now: Instant) {
        self.news.insert(key, report);
        self.tell_at.get_or_insert(now + GATHER);
    }

    fn forget(&mut self, key: &ProbeKey) {
        self.forget_attempt(key);
        self.asked.remove(key);
    }

    /// Its socket leaves the poller when it is closed.
    fn forget_attempt(&mut self, key: &ProbeKey) {
        if let Some((token, _)) = self.asked.get_mut(key).and_then(|asked| asked.attempt.take()) {
            self.attempts.remove(&token);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use crossbeam_channel::unbounded;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn key(name: &str) -> ProbeKey {
        let [balancer, probe, interface] = ["lb", name, "vm/eth0"].map(str::to_owned);
        ProbeKey { balancer, probe, interface, address: Ipv4Addr::LOCALHOST.into() }
    }

    fn target(peer: SocketAddr, ask: Ask) -> Target {
        Target { origin: Origin::default(), peer, ask, interval: Duration::from_millis(50), threshold: 2 }
    }

    fn listener() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    /// Answers once over TLS, with a self-signed certificate for another name.
    fn answer_securely(listener: &TcpListener) {
        let certificate = CertificateDer::from(&include_bytes!("../../../tests/probe/certificate.der")[..]);
        let key = PrivateKeyDer::try_from(&include_bytes!("../../../tests/probe/key.der")[..]).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate], key).unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
        let mut request = [0; 512];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /health HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    }

    #[test]
    fn lb_10_https_takes_any_certificate_and_wants_tls() {
        let (sender, reports) = unbounded();
        let prober = Prober::start(&Netns::current().unwrap(), move |news| drop(sender.send(news))).unwrap();
        let (secure, plain) = (listener(), listener());
        let ask = || Ask::Get { path: "/health".to_owned(), secure: true };
        let targets = [
            (key("secure"), target(secure.local_addr().unwrap(), ask())),
            (key("plain"), target(plain.local_addr().unwrap(), ask())),
        ];
        prober.apply(targets.into());
        let servers =
            [thread::spawn(move || answer_securely(&secure)), thread::spawn(move || answer(&plain, "200 OK", 1))];
        let mut news = BTreeMap::new();
        while !news.contains_key(&key("plain"))
            || !matches!(news.get(&key("secure")), Some(Report::Health { up: true, .. }))
        {
            news.extend(reports.recv_timeout(SOON).unwrap());
        }
        assert!(matches!(&news[&key("plain")], Report::Health { up: false, .. }));
        drop(prober);
        for server in servers {
            server.join().unwrap();
        }
    }

    /// Answers this many times.
    fn answer(listener: &TcpListener, status: &str, times: usize) {
        for _ in 0..times {
            let mut stream = listener.accept().unwrap().0;
            let length = stream.read(&mut [0; 512]).unwrap();
            assert!(length > 0);
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
        }
    }

    /// LB-11: a backend that stays down for one reason is reported when that becomes known, and not with every probe.
    #[test]
    fn lb_11_the_same_failure_is_not_told_again() {
        let (sender, reports) = unbounded();
        let prober = Prober::start(&Netns::current().unwrap(), move |news| drop(sender.send(news))).unwrap();
        let (closed, open) = (listener().local_addr().unwrap(), listener());
        let health = Ask::Get { path: "/health".to_owned(), secure: false };
        let open_at = open.local_addr().unwrap();
        prober.apply([(key("closed"), target(closed, Ask::Connect)), (key("open"), target(open_at, health))].into());
        // Both are probed equally often.
        answer(&open, "200 OK", 10);
        prober.apply(BTreeMap::new());
        let mut times = 0;
        loop {
            match reports.recv_timeout(SOON).unwrap().get(&key("closed")) {
                Some(Report::Health { up, .. }) => {
                    assert!(!up);
                    times += 1;
                }
                Some(Report::Gone) => break,
                _ => {}
            }
        }
        assert!((1..=2).contains(&times), "reported {times} times");
    }

    #[test]
    fn lb_10_lb_11_what_changes_is_told() {
        let (sender, reports) = unbounded();
        let prober = Prober::start(&Netns::current().unwrap(), move |news| drop(sender.send(news))).unwrap();
        // The last of several changes in one report.
        let wait_for = |wanted: &ProbeKey, such: &dyn Fn(&Report) -> bool| {
            while !reports.recv_timeout(SOON).unwrap().get(wanted).is_some_and(such) {}
        };
        let is = |wanted: bool| move |report: &Report| matches!(report, Report::Health { up, .. } if *up == wanted);
        let (tcp, http) = (listener(), listener());
        let targets = [
            (key("tcp"), target(tcp.local_addr().unwrap(), Ask::Connect)),
            (key("http"), target(http.local_addr().unwrap(), Ask::Get { path: "/health".to_owned(), secure: false })),
        ];
        prober.apply(targets.into());
        let server = thread::spawn(move || {
            answer(&http, "503 Service Unavailable", 1);
            answer(&http, "200 OK", 1);
            http
        });
        wait_for(&key("http"), &is(true));
        let http = server.join().unwrap();
        drop(tcp);
        wait_for(&key("tcp"), &is(false));
        // The listeners are gone: no port accepts or answers.
        wait_for(&key("http"), &is(false));
        drop(http);
        prober.apply(BTreeMap::new());
        wait_for(&key("tcp"), &|reports| *reports == Report::Gone);
    }

    /// LB-10: a probe that is asked otherwise, or no more, closes the connection of its attempt.
    #[test]
    fn lb_10_an_abandoned_attempt_is_closed() {
        let prober = Prober::start(&Netns::current().unwrap(), drop).unwrap();
        let (first, second) = (listener(), listener());
        let slow = |listener: &TcpListener| {
            let ask = Ask::Get { path: "/".to_owned(), secure: false };
            Target { interval: 6 * SOON, ..target(listener.local_addr().unwrap(), ask) }
        };
        // It asks, and waits for an answer.
        let asked = |listener: &TcpListener| {
            let mut stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(SOON)).unwrap();
            assert!(stream.read(&mut [0; 512]).unwrap() > 0);
            stream
        };
        prober.apply([(key("web"), slow(&first))].into());
        let mut stream = asked(&first);
        prober.apply([(key("web"), slow(&second))].into());
        assert_eq!(stream.read(&mut [0; 512]).unwrap(), 0, "asked otherwise");
        let mut stream = asked(&second);
        prober.apply(BTreeMap::new());
        assert_eq!(stream.read(&mut [0; 512]).unwrap(), 0, "asked no more");
    }
    /// Rounds with one target that accepts and says nothing, at this interval.
    fn rounds(silent: &TcpListener, interval: u64, now: Instant) -> Rounds {
        let (_orders, inbox) = mailbox(ORDERS).unwrap();
        let mut rounds = Rounds::new(inbox).unwrap();
        rounds.apply([(key("web"), silent_target(silent, interval))].into(), now);
        rounds
    }

    fn silent_target(silent: &TcpListener, interval: u64) -> Target {
        let ask = Ask::Get { path: "/".to_owned(), secure: false };
        Target { interval: Duration::from_secs(interval), ..target(silent.local_addr().unwrap(), ask) }
    }

    /// LB-11: it is probed again after pauses that double up to the interval, and after the first success once an interval.
    #[test]
    fn lb_11_pauses_double_until_the_first_success() {
        let mut now = Instant::now();
        let silent = listener();
        let mut rounds = rounds(&silent, 1, now);
        let mut pause = |ends: Result<(), String>| {
            rounds.come_due(now);
            rounds.note(&key("web"), ends, now);
            let due = rounds.asked[&key("web")].due;
            rounds.come_due(due.checked_sub(Duration::from_nanos(1)).unwrap());
            assert!(rounds.attempts.is_empty(), "before its time");
            due - std::mem::replace(&mut now, due)
        };
        let fails = || Err("refused".to_owned());
        let pauses = [fails(), fails(), fails(), fails(), Ok(()), fails()].map(|ends| pause(ends).as_millis());
        assert_eq!(pauses, [250, 500, 1000, 1000, 1000, 1000]);
    }
    /// LB-10: a probe has its interval for an answer, and half a minute if the interval is longer.
    #[test]
    fn lb_10_no_answer_in_time_is_a_failure() {
        let silent = listener();
        for (interval, limit) in [(5, 5), (30, 30), (60, 30)] {
            let now = Instant::now();
            let mut rounds = rounds(&silent, interval, now);
            rounds.come_due(now);
            let late = now + Duration::from_secs(limit);
            rounds.come_due(late.checked_sub(Duration::from_nanos(1)).unwrap());
            assert_eq!((rounds.attempts.len(), rounds.news.len()), (1, 0), "an interval of {interval} s");
            rounds.come_due(late);
            let failed = Report::Health { up: false, reason: "no answer in time".to_owned() };
            assert_eq!((rounds.attempts.len(), rounds.news.get(&key("web"))), (0, Some(&failed)));
            assert_eq!(rounds.tell_at, Some(late + GATHER));
        }
    }

    /// LB-10: a target that is no longer wanted is forgotten; one that is asked otherwise keeps what is known of it.
    #[test]
    fn lb_10_what_is_known_stays_with_other_settings_and_goes_with_the_target() {
        let now = Instant::now();
        let silent = listener();
        let mut rounds = rounds(&silent, 5, now);
        rounds.come_due(now);
        rounds.note(&key("web"), Ok(()), now);
        let known =
            |rounds: &Rounds| rounds.asked.get(&key("web")).map(|asked| (asked.health.is_up(), asked.due - now));
        assert_eq!(known(&rounds), Some((true, Duration::from_secs(5))));
        let same = rounds.asked[&key("web")].target.clone();
        rounds.apply([(key("web"), same)].into(), now);
        assert_eq!(known(&rounds), Some((true, Duration::from_secs(5))), "the same goes on");
        rounds.apply([(key("web"), silent_target(&silent, 1))].into(), now);
        assert_eq!(known(&rounds), Some((true, Duration::ZERO)), "with other settings at once");
        rounds.come_due(now);
        rounds.apply(BTreeMap::new(), now);
        assert_eq!((known(&rounds), rounds.attempts.len()), (None, 0));
        assert_eq!(rounds.news.get(&key("web")), Some(&Report::Gone));
    }
}

//! Load between two nodes of a lab, without any program in them: what `vnet bench` measures.
//!
//! One idea: senders and receivers are threads of this process with ordinary sockets, each made in its own namespace.
//! So the result is what any program there would get from its kernel and the router. They share the machine with the
//! router: numbers hold for this lab on this machine, and are for comparing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::error::{During, Error, Result};
use crate::lab::journal::record::Record;
use crate::model::{Attachment, Network};
use crate::sys::netns::Netns;
use crate::sys::process::ProcessId;
use crate::sys::socket::limit_accept;

use super::Ground;

/// How long an answer may take, and how long a sender may wait for room.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a load checks that the lab still runs.
const LOOK: Duration = Duration::from_millis(100);
/// A receiver takes a silence this long as the end.
const SILENCE: Duration = Duration::from_millis(200);
/// A sender that is ahead of its rate sleeps so long, and the kernel adds about as much.
const BREATH: Duration = Duration::from_micros(50);
/// Exchanges before the first that counts.
const WARM_UP: u32 = 100;
/// More unanswered exchanges than this are no measurement.
const LOST_MAX: u32 = 10;

/// Where load goes from and to.
#[derive(Debug)]
pub struct Course {
    from: Netns,
    to: Netns,
    address: IpAddr,
    lab: String,
    daemon: ProcessId,
}

/// How long load goes on: its time, or less if the lab ends.
#[derive(Clone, Copy, Debug)]
struct Term {
    begin: Instant,
    span: Duration,
    look: Instant,
    daemon: ProcessId,
}

impl Term {
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now - self.begin >= self.span {
            return true;
        }
        if now < self.look {
            return false;
        }
        self.look = now + LOOK;
        !self.daemon.is_alive()
    }
}

/// Bytes of TCP that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub bytes: u64,
    pub took: Duration,
}

/// How many datagrams arrived, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams {
    pub sent: u64,
    pub received: u64,
    pub took: Duration,
}

/// A kind of UDP load.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Payload of a datagram, in bytes.
    pub size: usize,
    /// From as many ports, which take turns.
    pub flows: usize,
    /// Datagrams a second; none for as many as go.
    pub rate: Option<u32>,
}

/// How long exchanges of a small datagram took.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    pub count: usize,
    pub lost: u32,
    pub median: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

/// TCP connections with one exchange each, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Connects {
    pub count: u32,
    pub took: Duration,
}

impl Course {
    /// `address` is an address of `to`. The process must have joined the lab.
    pub fn open(lab: &Record, network: &Network, from: Attachment, to: Attachment, address: IpAddr) -> Result<Self> {
        let ground = Ground { lab, network };
        let (from, to) = (ground.namespace(from)?, ground.namespace(to)?);
        Ok(Self { from, to, address, lab: lab.lab.clone(), daemon: lab.daemon })
    }

    fn term(&self, span: Duration) -> Term {
        let begin = Instant::now();
        Term { begin, span, look: begin + LOOK, daemon: self.daemon }
    }

    /// The result, if the lab ran all the time.
    fn whole<T>(&self, measured: Result<T>) -> Result<T> {
        if self.daemon.is_alive() { measured } else { Err(Error::Ended(self.lab.clone())) }
    }

    /// Some TCP connections at once, each as fast as it goes.
    pub fn tcp(&self, streams: usize, span: Duration) -> Result<Transfer> {
        self.whole(self.try_tcp(streams, span))
    }

    fn try_tcp(&self, streams: usize, span: Duration) -> Result<Transfer> {
        let (listener, at) = self.listener()?;
        let clients = (0..streams).map(|_| self.connect(at)).collect::<io::Result<Vec<_>>>();
        let clients = clients.through_the_lab(|| format!("cannot connect to {at}"))?;
        let servers = (0..streams).map(|_| listener.accept().map(|(server, _)| server)).collect::<io::Result<Vec<_>>>();
        let servers = servers.through_the_lab(|| "cannot accept a connection".into())?;
        let start = Instant::now();
        let received: io::Result<Vec<u64>> = thread::scope(|scope| {
            let receivers: Vec<_> = servers.into_iter().map(|server| scope.spawn(|| receive_all(server))).collect();
            for client in clients {
                scope.spawn(move || send_for(client, self.term(span)));
            }
            receivers.into_iter().map(|thread| thread.join().expect("receiving does not panic")).collect()
        });
        let bytes = received.through_the_lab(|| "a transfer broke off".into())?.iter().sum();
        Ok(Transfer { bytes, took: start.elapsed() })
    }

    pub fn udp(&self, stream: Stream, span: Duration) -> Result<Datagrams> {
        self.whole(self.try_udp(stream, span))
    }

    fn try_udp(&self, stream: Stream, span: Duration) -> Result<Datagrams> {
        let (server, at) = self.datagrams()?;
        let clients = (0..stream.flows).map(|_| self.towards(at)).collect::<io::Result<Vec<_>>>();
        let clients = clients.through_the_lab(|| format!("cannot send to {at}"))?;
        let over = AtomicBool::new(false);
        let ((sent, took), received) = thread::scope(|scope| {
            let receiver = scope.spawn(|| count(&server, &over));
            let sent = offer(&clients, stream, self.term(span));
            over.store(true, Ordering::Relaxed);
            (sent, receiver.join().expect("counting does not panic"))
        });
        let received = received.through_the_lab(|| format!("cannot receive at {at}"))?;
        Ok(Datagrams { sent, received, took })
    }

    /// A small datagram there and back, again and again.
    pub fn round_trips(&self, span: Duration) -> Result<RoundTrips> {
        self.whole(self.try_round_trips(span))
    }

    fn try_round_trips(&self, span: Duration) -> Result<RoundTrips> {
        let (server, at) = self.datagrams()?;
        let client = self.towards(at).through_the_lab(|| format!("cannot send to {at}"))?;
        let over = AtomicBool::new(false);
        let times = thread::scope(|scope| {
            scope.spawn(|| echo(&server, &over));
            let times = exchange(&client, self.term(span));
            over.store(true, Ordering::Relaxed);
            times
        });
        let (times, lost) = times.through_the_lab(|| format!("no answer from {at}"))?;
        Ok(RoundTrips::of(times, lost))
    }

    pub fn connects(&self, span: Duration) -> Result<Connects> {
        self.whole(self.try_connects(span))
    }

    fn try_connects(&self, span: Duration) -> Result<Connects> {
        let (listener, at) = self.listener()?;
        let over = AtomicBool::new(false);
        let start = Instant::now();
        let count = thread::scope(|scope| {
            scope.spawn(|| answer(&listener, &over));
            let count = self.from.run(|| connect_for(at, self.term(span))).and_then(|done| done);
            over.store(true, Ordering::Relaxed);
            // Wakes the server, over its own loopback; without that it looks by itself.
            let _ = self.to.run(|| TcpStream::connect_timeout(&at, PATIENCE));
            count
        });
        Ok(Connects { count: count.through_the_lab(|| format!("cannot connect to {at}"))?, took: start.elapsed() })
    }

    fn listener(&self) -> Result<(TcpListener, SocketAddr)> {
        let listener = self.to.run(|| TcpListener::bind((self.address, 0))).and_then(|bound| bound);
        let listener = listener.and_then(|bound| limit_accept(&bound, PATIENCE).map(|()| bound));
        let listener = listener.and_then(|bound| bound.local_addr().map(|at| (bound, at)));
        listener.during(|| format!("cannot listen on {}", self.address))
    }

    fn datagrams(&self) -> Result<(UdpSocket, SocketAddr)> {
        let socket = self.to.run(|| UdpSocket::bind((self.address, 0))).and_then(|bound| bound);
        let socket = socket.and_then(|bound| bound.set_read_timeout(Some(SILENCE)).map(|()| bound));
        let socket = socket.and_then(|bound| bound.local_addr().map(|at| (bound, at)));
        socket.during(|| format!("cannot listen on {}", self.address))
    }

    fn connect(&self, at: SocketAddr) -> io::Result<TcpStream> {
        self.from.run(|| TcpStream::connect_timeout(&at, PATIENCE)).and_then(|connected| connected)
    }

    fn towards(&self, at: SocketAddr) -> io::Result<UdpSocket> {
        let any: IpAddr = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = self.from.run(|| UdpSocket::bind((any, 0))).and_then(|bound| bound)?;
        socket.connect(at)?;
        Ok(socket)
    }
}

impl RoundTrips {
    fn of(mut times: Vec<Duration>, lost: u32) -> Self {
        times.sort_unstable();
        let at = |percent| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        Self { count: times.len(), lost, median: at(50), p99: at(99) }
    }
}

/// The receiver reports a connection that breaks.
fn send_for(mut client: TcpStream, mut term: Term) {
    let chunk = vec![0; 128 << 10];
    let limited = client.set_write_timeout(Some(PATIENCE)).is_ok();
    while limited && !term.is_over() && client.write_all(&chunk).is_ok() {}
}

fn receive_all(mut server: TcpStream) -> io::Result<u64> {
    server.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        match server.read(&mut buffer)? {
            0 => return Ok(received),
            length => received += length as u64,
        }
    }
}

/// Sends for a while; how many the kernel took, and how long that was.
fn offer(clients: &[UdpSocket], Stream { size, rate, .. }: Stream, mut term: Term) -> (u64, Duration) {
    let payload = vec![0; size];
    let rate = rate.map_or(f64::INFINITY, f64::from);
    let start = term.begin;
    let mut sent = 0_u32;
    while !term.is_over() {
        if f64::from(sent) > start.elapsed().as_secs_f64() * rate {
            thread::sleep(BREATH);
            continue;
        }
        for client in clients {
            sent += u32::from(client.send(&payload).is_ok());
        }
    }
    (sent.into(), start.elapsed())
}

fn count(server: &UdpSocket, over: &AtomicBool) -> io::Result<u64> {
    let mut buffer = [0; 2048];
    let mut received = 0;
    loop {
        match server.recv(&mut buffer) {
            Ok(_) => received += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock && over.load(Ordering::Relaxed) => return Ok(received),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

fn echo(server: &UdpSocket, over: &AtomicBool) {
    let mut buffer = [0; 64];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, client)) = server.recv_from(&mut buffer) {
            // The receiver counts a lost answer.
            let _ = server.send_to(&buffer[..length], client);
        }
    }
}

/// How long each exchange took, and how many had no answer.
fn exchange(client: &UdpSocket, mut term: Term) -> io::Result<(Vec<Duration>, u32)> {
    client.set_read_timeout(Some(PATIENCE))?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for number in 0_u32.. {
        if term.is_over() {
            break;
        }
        let sent = Instant::now();
        match ask(client, number) {
            Ok(()) if number >= WARM_UP => times.push(sent.elapsed()),
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && lost < LOST_MAX => lost += 1,
            Err(error) => return Err(error),
        }
    }
    Ok((times, lost))
}

/// An answer to an exchange that was given up is ignored.
fn ask(client: &UdpSocket, number: u32) -> io::Result<()> {
    client.send(&number.to_be_bytes())?;
    let mut answer = [0; 4];
    while client.recv(&mut answer)? != 4 || answer != number.to_be_bytes() {}
    Ok(())
}

fn connect_for(at: SocketAddr, mut term: Term) -> io::Result<u32> {
    let mut count = 0;
    while !term.is_over() {
        let mut client = TcpStream::connect_timeout(&at, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        // The exchange keeps the client from running ahead of the server.
        client.write_all(&[1])?;
        // The server closes first and remembers: this side's ports are free at once.
        while client.read(&mut [0; 2])? > 0 {}
        count += 1;
    }
    Ok(count)
}

fn answer(listener: &TcpListener, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that has gone has reported its error.
            Ok((server, _)) => drop(answer_one(server)),
            // No client came for a while.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn answer_one(mut server: TcpStream) -> io::Result<()> {
    server.set_read_timeout(Some(PATIENCE))?;
    server.read_exact(&mut [0])?;
    server.write_all(&[1])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::lab::tests::Place;

    const MOMENT: Duration = Duration::from_millis(200);
    /// Far more than a busy machine needs.
    const SOON: Duration = Duration::from_secs(20);
    const HOUR: Duration = Duration::from_secs(3600);

    /// From a namespace to itself, in a lab that this process runs.
    fn course(place: &Place) -> Course {
        let [from, to] = [(); 2].map(|()| place.namespace.try_clone().unwrap());
        let daemon = ProcessId::current().unwrap();
        Course { from, to, address: Ipv4Addr::LOCALHOST.into(), lab: "lab".to_owned(), daemon }
    }

    fn gone() -> ProcessId {
        ProcessId { start_time: 1, ..ProcessId::current().unwrap() }
    }

    #[test]
    fn load_ends_with_its_time_and_soon_after_its_lab() {
        let Some(now) = Instant::now().checked_sub(MOMENT) else { return };
        let alive = ProcessId::current().unwrap();
        let term = |span, look, daemon| Term { begin: now, span, look, daemon };
        assert!(term(MOMENT, now + HOUR, alive).is_over(), "its time is up");
        assert!(!term(HOUR, now + HOUR, gone()).is_over(), "not looked yet");
        assert!(term(HOUR, now, gone()).is_over(), "the lab is gone");
        let mut going_on = term(HOUR, now, alive);
        assert!(!going_on.is_over());
        let next = going_on.look.saturating_duration_since(Instant::now());
        assert!(next > Duration::ZERO && next <= LOOK, "{next:?}: it looks again and not all the time");
    }

    #[test]
    fn half_of_the_round_trips_took_no_longer_than_the_median_and_99_of_100_no_longer_than_p99() {
        let ms = Duration::from_millis;
        let trips = RoundTrips::of((0..200).rev().map(ms).collect(), 3);
        assert_eq!((trips.count, trips.lost, trips.median, trips.p99), (200, 3, ms(100), ms(198)));
        let none = RoundTrips::of(Vec::new(), 1);
        assert_eq!((none.count, none.median, none.p99), (0, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn each_load_is_counted_at_its_receiver_and_takes_its_time() {
        let Some(place) = Place::new() else { return };
        let course = course(&place);
        let tcp = course.tcp(2, MOMENT).unwrap();
        assert!(tcp.bytes > 128 << 10, "{tcp:?}");
        let connects = course.connects(MOMENT).unwrap();
        assert!(connects.count > 1, "{connects:?}");
        let udp = course.udp(Stream { size: 100, flows: 3, rate: Some(1000) }, MOMENT).unwrap();
        assert_eq!(udp.received, udp.sent, "nothing is lost here");
        assert!((3..=1000).contains(&udp.sent), "{udp:?}: at most a thousand a second");
        // Each turn of all flows begins only once the rate allows it.
        assert!(u128::from(udp.sent) <= udp.took.as_millis() + 4, "{udp:?}");
        assert_eq!(udp.sent % 3, 0, "{udp:?}: flows take turns");
        for took in [tcp.took, connects.took, udp.took] {
            assert!((MOMENT..SOON).contains(&took), "{took:?}");
        }
        let trips = course.round_trips(MOMENT).unwrap();
        assert_eq!(trips.lost, 0);
        assert!(trips.count == 0 || trips.median > Duration::ZERO && trips.p99 >= trips.median, "{trips:?}");
    }

    #[test]
    fn what_was_measured_while_the_lab_ended_is_no_result() {
        let Some(place) = Place::new() else { return };
        let course = Course { daemon: gone(), ..course(&place) };
        let began = Instant::now();
        assert!(matches!(course.connects(HOUR), Err(Error::Ended(lab)) if lab == "lab"));
        assert!(matches!(course.udp(Stream { size: 1, flows: 1, rate: Some(10) }, HOUR), Err(Error::Ended(_))));
        assert!(began.elapsed() < SOON);
    }

    fn pair() -> (UdpSocket, UdpSocket) {
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.connect(one.local_addr().unwrap()).unwrap();
        other.set_read_timeout(Some(SILENCE)).unwrap();
        (one, other)
    }

    fn term(span: Duration) -> Term {
        let begin = Instant::now();
        Term { begin, span, look: begin + LOOK, daemon: ProcessId::current().unwrap() }
    }

    /// The first exchanges fill caches.
    #[test]
    fn the_first_hundred_exchanges_do_not_count() {
        let (client, server) = pair();
        let over = AtomicBool::new(false);
        let (times, answered) = thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut answered = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut buffer = [0; 64];
                    if let Ok(length) = server.recv(&mut buffer) {
                        // An answer to another question comes first, and is ignored.
                        server.send(&u32::MAX.to_be_bytes()).unwrap();
                        server.send(&buffer[..length]).unwrap();
                        answered += 1;
                    }
                }
                answered
            });
            let (times, lost) = exchange(&client, term(Duration::from_millis(500))).unwrap();
            over.store(true, Ordering::Relaxed);
            assert_eq!(lost, 0);
            (times.len(), server.join().unwrap())
        });
        assert!(answered > 100, "{answered}");
        assert_eq!(times, answered - 100);
    }

    #[test]
    fn an_exchange_without_an_answer_is_lost_after_a_second() {
        let (client, _silent) = pair();
        let began = Instant::now();
        let (times, lost) = exchange(&client, term(MOMENT)).unwrap();
        assert_eq!((times.len(), lost), (0, 1));
        assert!(began.elapsed() >= PATIENCE);
    }
}

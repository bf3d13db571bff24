//! Numbered datagrams and a pattern over TCP, each sent no faster than it is seen to arrive.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, SOON};

/// Datagrams under way at a time: a quarter of what one queue of a device holds.
const CREDIT: u64 = 500;
/// Bytes of a connection under way at a time: fewer than 200 packets, however they are cut.
const WINDOW: usize = 256 << 10;
/// After this without an arrival, one datagram is sent beyond the credit: behind it a loss shows.
const STALLED: Duration = Duration::from_secs(2);

/// Datagrams from one machine to another.
pub(crate) struct Datagrams {
    client: UdpSocket,
    server: UdpSocket,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
}

impl Datagrams {
    pub(crate) fn open(lab: &Lab, from: &str, to: &str, address: &str) -> Self {
        let server = lab.inside(to, || UdpSocket::bind((address, 7000)).unwrap());
        let client = lab.inside(from, || UdpSocket::bind("0.0.0.0:0").unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        // What waits for a reader that is slow is not the router's business.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&server, 16 << 20).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { client, server }
    }

    /// One after another until it is done, and then until the last has arrived or time is up.
    pub(crate) fn run(&self, every: Duration, arrived: &AtomicU64, done: &AtomicBool) -> Counted {
        let (sent, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let receiver = scope.spawn(|| self.receive(&sent, &seen, arrived, done));
            let begin = Instant::now();
            let mut last = (0, Instant::now());
            while !done.load(Ordering::Relaxed) {
                let (next, now) = (sent.load(Ordering::Relaxed), seen.load(Ordering::Relaxed));
                if last.0 != now {
                    last = (now, Instant::now());
                }
                let due = u64::try_from(begin.elapsed().as_nanos() / every.as_nanos()).unwrap();
                let stalled = last.1.elapsed() > STALLED;
                if next >= due || (next - now >= CREDIT && !stalled) {
                    thread::sleep(Duration::from_micros(500));
                    continue;
                }
                // Announced before it is under way.
                sent.store(next + 1, Ordering::Release);
                self.client.send(&next.to_be_bytes()).unwrap();
                if stalled {
                    last.1 = Instant::now();
                }
            }
            receiver.join().unwrap()
        })
    }

    /// `seen` is the number up to which each has arrived or is lost.
    fn receive(&self, sent: &AtomicU64, seen: &AtomicU64, arrived: &AtomicU64, done: &AtomicBool) -> Counted {
        let mut counted = Counted::default();
        let mut next = 0;
        let mut buffer = [0; 8];
        let mut last = Instant::now();
        loop {
            match self.server.recv(&mut buffer) {
                Ok(8) => {
                    let number = u64::from_be_bytes(buffer);
                    counted.out_of_order += u64::from(number < next);
                    counted.lost += number.saturating_sub(next);
                    next = next.max(number + 1);
                    seen.store(next, Ordering::Relaxed);
                    arrived.fetch_add(1, Ordering::Relaxed);
                    last = Instant::now();
                }
                Ok(length) => panic!("a datagram of {length} bytes"),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
            let all = sent.load(Ordering::Acquire);
            if done.load(Ordering::Relaxed) && (next == all || last.elapsed() > SOON) {
                counted.sent = all;
                counted.lost += all - next;
                return counted;
            }
        }
    }
}

/// Bytes from one machine to another over one connection.
pub(crate) struct Transfer {
    client: TcpStream,
    server: TcpStream,
}

impl Transfer {
    pub(crate) fn open(lab: &Lab, from: &str, to: &str, address: &str) -> Self {
        let listener = lab.inside(to, || TcpListener::bind((address, 7000)).unwrap());
        let at: SocketAddr = listener.local_addr().unwrap();
        let client = lab.inside(from, || TcpStream::connect_timeout(&at, SOON)).unwrap();
        let (server, _) = listener.accept().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&client, WINDOW / 2).unwrap();
        // Some machines use BBR: it remembers the shortest round trip, and where a machine then starves it sends four
        // packets in each of far longer ones, so that a write may wait for longer than any limit though nothing is lost.
        rustix::net::sockopt::set_tcp_congestion(&client, "reno").unwrap();
        client.set_write_timeout(Some(SOON)).unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        Self { client, server }
    }

    /// How many bytes arrived, each as it was sent, from before until after everything changed.
    pub(crate) fn run(&self, done: &AtomicBool) -> usize {
        thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (mut received, mut buffer) = (0, vec![0; 1 << 16]);
                loop {
                    let length = (&self.server).read(&mut buffer).unwrap();
                    if length == 0 {
                        return received;
                    }
                    let as_sent = buffer[..length].iter().zip(received..).all(|(byte, at)| *byte == pattern(at));
                    assert!(as_sent, "other bytes arrived near {received}");
                    received += length;
                }
            });
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                let block: Vec<u8> = (sent..sent + 16_384).map(pattern).collect();
                (&self.client).write_all(&block).unwrap();
                sent += block.len();
                // Enough to be seen, and time for the others on two cores.
                thread::sleep(Duration::from_millis(2));
            }
            self.client.shutdown(std::net::Shutdown::Write).unwrap();
            let arrived = receiver.join().unwrap();
            assert_eq!(arrived, sent, "bytes over TCP");
            arrived
        })
    }
}

/// Bytes in which a lost or doubled piece shows.
fn pattern(at: usize) -> u8 {
    (at * 31 + at / 251) as u8
}

/// Segments that a machine's kernel sent again, for any reason.
pub(crate) fn sent_again(lab: &Lab, node: &str) -> u64 {
    let text = lab.inside(node, || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    columns.find(|(name, _)| *name == "RetransSegs").unwrap().1.parse().unwrap()
}

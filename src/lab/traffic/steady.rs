//! A steady flow of packets between two nodes while something changes, and how many of them are lost.
//!
//! One idea: pings, or numbered messages over one TCP connection, go one after another at a fixed pace. They begin before
//! the change, and its first answer is waited for; they go on for a while after it. A message of a connection that breaks
//! is lost, and so are all that would have followed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::error::{During, Result};
use crate::lab::journal::record::Record;
use crate::model::{Network, Probe};
use crate::sys::ping::Pinger;
use crate::sys::socket::{Origin, limit_accept};

use super::{Ground, Trial};

/// Packets are this far apart.
const PACE: Duration = Duration::from_millis(20);
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(250);
/// TCP sends again what was lost: a connection is given up after this long.
const PATIENCE_OF_TCP: Duration = Duration::from_secs(5);
const HOPS: u8 = 64;

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: u32,
    pub lost: u32,
    /// The longest time without an answer.
    pub longest_gap: Duration,
    /// Whether the connection ended; pings have none.
    pub broken: bool,
}

/// Sends while `change` runs, and for `span` after it. None where nothing is answered even before the change.
pub fn during<T>(
    lab: &Record,
    network: &Network,
    trial: &Trial,
    span: Duration,
    change: impl FnOnce() -> T,
) -> Result<Option<(T, Tally)>> {
    let ground = Ground { lab, network };
    let (origin, peer) = (ground.origin(trial), trial.destination);
    let namespace = ground.namespace(trial.from)?;
    let cannot = || format!("cannot send from {}", ground.name(trial.from));
    let mut messages = match trial.probe {
        Probe::Ping => {
            let pinger = namespace.run(|| Pinger::from(&origin, peer)).and_then(|pinger| pinger);
            Messages::Pings(pinger.during(cannot)?)
        }
        Probe::Tcp(port) | Probe::Udp(port) => {
            let listener = ground.echo_listener(trial, port)?;
            let at = SocketAddr::new(peer, port);
            let connected = namespace.run(|| connect(&origin, at, trial.patience)).and_then(|connected| connected);
            let Some(stream) = connected.during(cannot)? else { return Ok(None) };
            // It ends with the connection.
            thread::spawn(move || listener.accept().map(|(server, _)| echo(server)));
            Messages::Stream(stream)
        }
    };
    let begun = Instant::now();
    while !messages.exchange(0).unwrap_or(false) {
        if begun.elapsed() > trial.patience {
            return Ok(None);
        }
        thread::sleep(PACE);
    }
    let over = AtomicBool::new(false);
    Ok(Some(thread::scope(|scope| {
        let sending = scope.spawn(|| messages.go_on(&over));
        let changed = change();
        thread::sleep(span);
        over.store(true, Ordering::Relaxed);
        (changed, sending.join().expect("sending does not panic"))
    })))
}

impl Ground<'_> {
    fn echo_listener(self, trial: &Trial, port: u16) -> Result<TcpListener> {
        let no_machine = || io::Error::other("only a machine's own address can answer a stream of packets");
        let to = trial.to.ok_or_else(no_machine).during(|| format!("cannot listen on {}", trial.listener))?;
        let listener = self.namespace(to)?.run(|| TcpListener::bind((trial.listener, port)));
        let listener = listener.and_then(|listener| listener);
        let listener = listener.and_then(|bound| limit_accept(&bound, PATIENCE_OF_TCP).map(|()| bound));
        listener.during(|| format!("cannot listen on port {port} of {}", self.name(to)))
    }
}

/// What goes, one after another.
enum Messages {
    Pings(Pinger),
    Stream(TcpStream),
}

impl Messages {
    fn go_on(&mut self, over: &AtomicBool) -> Tally {
        let mut tally = Tally::default();
        let mut answered = Instant::now();
        let mut next = Instant::now();
        while !over.load(Ordering::Relaxed) {
            tally.sent += 1;
            match self.exchange(tally.sent) {
                Ok(true) => {
                    tally.longest_gap = tally.longest_gap.max(answered.elapsed());
                    answered = Instant::now();
                }
                Ok(false) => tally.lost += 1,
                Err(_) => {
                    tally.lost += 1;
                    // A ping that no route takes is lost; a connection that ends takes all others with it.
                    tally.broken |= matches!(self, Self::Stream(_));
                }
            }
            next = (next + PACE).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        tally.longest_gap = tally.longest_gap.max(answered.elapsed());
        tally
    }

    /// Whether the next message is answered.
    fn exchange(&mut self, number: u32) -> io::Result<bool> {
        match self {
            Self::Pings(pinger) => Ok(pinger.ask(HOPS, PATIENCE)?.is_some_and(|answer| answer.arrived)),
            Self::Stream(stream) => {
                stream.write_all(&number.to_be_bytes())?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer)?;
                Ok(answer == number.to_be_bytes())
            }
        }
    }
}

fn connect(origin: &Origin, at: SocketAddr, patience: Duration) -> io::Result<Option<TcpStream>> {
    let connecting = origin.tcp_towards(at)?;
    let made = match connecting.wait(patience) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        made => made?,
    };
    if made.is_none() {
        return Ok(None);
    }
    let stream = connecting.into_stream();
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE_OF_TCP))?;
    stream.set_write_timeout(Some(PATIENCE_OF_TCP))?;
    Ok(Some(stream))
}

/// Sends everything back until the other end closes.
fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    let _ = stream.set_nodelay(true);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sys::closing::closed;

    const SOON: Duration = Duration::from_secs(10);

    /// A connection to something that sends back so many messages, and then closes.
    fn answered(most: usize) -> Messages {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            for _ in 0..most {
                let mut message = [0; 4];
                if server.read_exact(&mut message).and_then(|()| server.write_all(&message)).is_err() {
                    return;
                }
            }
        });
        Messages::Stream(connect(&Origin::default(), at, SOON).unwrap().unwrap())
    }

    fn gone_on(messages: &mut Messages, span: Duration) -> Tally {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let sending = scope.spawn(|| messages.go_on(&over));
            thread::sleep(span);
            over.store(true, Ordering::Relaxed);
            sending.join().unwrap()
        })
    }

    #[test]
    fn messages_go_at_a_fixed_pace_and_none_is_lost_where_all_are_answered() {
        let span = 10 * PACE;
        let began = Instant::now();
        let tally = gone_on(&mut answered(usize::MAX), span);
        let most = began.elapsed().as_millis() / PACE.as_millis() + 1;
        assert!(tally.sent > 1 && u128::from(tally.sent) <= most, "{tally:?} of {most}");
        assert_eq!((tally.lost, tally.broken), (0, false));
        assert!(tally.longest_gap > PACE / 2 && tally.longest_gap <= began.elapsed(), "{tally:?}");
    }

    #[test]
    fn all_messages_after_a_connection_has_ended_are_lost() {
        let tally = gone_on(&mut answered(2), 20 * PACE);
        assert!(tally.broken && tally.sent > 2, "{tally:?}");
        assert_eq!(tally.lost, tally.sent - 2);
        assert!(tally.longest_gap >= 10 * PACE, "{tally:?}: until the end");
    }

    #[test]
    fn an_answer_to_another_message_is_none() {
        let mut messages = answered(1);
        assert!(messages.exchange(7).unwrap());
        assert!(messages.exchange(8).is_err(), "it has closed");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut messages = Messages::Stream(connect(&Origin::default(), at, SOON).unwrap().unwrap());
        listener.accept().unwrap().0.write_all(&9_u32.to_be_bytes()).unwrap();
        assert!(!messages.exchange(8).unwrap());
        drop(listener);
        // It is refused.
        closed(|| connect(&Origin::default(), at, SOON).unwrap().is_none());
    }
}

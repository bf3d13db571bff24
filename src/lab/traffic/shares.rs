//! Many TCP connections at once from one node to one address, kept open while the caller looks at where they are.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::lab::error::{During, Result};
use crate::lab::journal::record::Record;
use crate::model::Network;
use crate::sys::socket::{Connecting, Origin};

use super::{Ground, Trial};

/// Connections that are open.
#[derive(Debug)]
pub struct Connections {
    _held: Vec<Connecting>,
    /// The source ports of those that were made.
    pub ports: Vec<u16>,
    /// How many were tried and not made.
    pub failed: usize,
}

/// Opens connections and calls `look` while they are there. Where nothing listens at the destination, vnet does.
pub fn with_connections<T>(
    lab: &Record,
    network: &Network,
    (trial, count): (&Trial, u16),
    limit: Duration,
    look: impl FnOnce(&Connections) -> T,
) -> Result<T> {
    let ground = Ground { lab, network };
    let _listeners = ground.listeners(trial.place().into_iter())?;
    let (origin, at) = (ground.origin(trial), SocketAddr::new(trial.destination, trial.port()));
    let opened = ground.namespace(trial.from)?.run(|| open(&origin, at, count, limit)).and_then(|opened| opened);
    let connections = opened.through_the_lab(|| format!("cannot connect from {}", ground.name(trial.from)))?;
    Ok(look(&connections))
}

fn open(origin: &Origin, at: SocketAddr, count: u16, limit: Duration) -> io::Result<Connections> {
    let begun: Vec<_> = (0..count).map(|_| origin.tcp_towards(at)).collect::<io::Result<_>>()?;
    let deadline = Instant::now() + limit;
    let (mut held, mut ports) = (Vec::new(), Vec::new());
    for connecting in begun {
        let left = deadline.saturating_duration_since(Instant::now());
        if matches!(connecting.wait(left), Ok(Some(()))) {
            ports.push(connecting.local_addr()?.port());
            held.push(connecting);
        }
    }
    let failed = usize::from(count) - ports.len();
    Ok(Connections { _held: held, ports, failed })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn connections_are_counted_by_whether_they_were_made_and_stay_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let connections = open(&Origin::default(), at, 8, Duration::from_secs(10)).unwrap();
        let seen: Vec<_> = (0..8).map(|_| listener.accept().unwrap()).collect();
        assert_eq!((connections.ports.len(), connections.failed), (8, 0));
        let ports: BTreeSet<_> = seen.iter().map(|(_, client)| client.port()).collect();
        assert_eq!(ports, connections.ports.iter().copied().collect());
        for (stream, _) in &seen {
            stream.set_nonblocking(true).unwrap();
            assert_eq!(io::Read::read(&mut &*stream, &mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        drop((seen, listener));
        let refused = open(&Origin::default(), at, 3, Duration::from_secs(10)).unwrap();
        assert_eq!((refused.ports.len(), refused.failed), (0, 3));
    }
}

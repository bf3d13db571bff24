//! Which ports programs listen on in the calling thread's namespace, from `/proc/net`; no program notices.

use std::collections::BTreeSet;
use std::{fs, io};

/// States of sockets.
const LISTENS: &str = "0A";
const UNCONNECTED: &str = "07";

/// TCP, or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::lab) enum Transport {
    Tcp,
    Udp,
}

/// Whether a program has this port, on any address.
pub(in crate::lab) fn is_taken(transport: Transport, port: u16) -> io::Result<bool> {
    let number = |local: &str| local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    let sockets = sockets(transport)?;
    // Connections of a listener that has ended keep their port, too.
    let has = |(local, state): &(String, String)| {
        number(local) == Some(port) && (transport == Transport::Udp || state == LISTENS)
    };
    Ok(sockets.iter().any(has))
}

/// Addresses and ports that programs listen on, as the kernel writes them.
pub(in crate::lab) fn listening() -> io::Result<BTreeSet<(Transport, String)>> {
    let mut all = BTreeSet::new();
    for (transport, waits) in [(Transport::Tcp, LISTENS), (Transport::Udp, UNCONNECTED)] {
        let waiting = sockets(transport)?.into_iter().filter(|(_, state)| state == waits);
        all.extend(waiting.map(|(local, _)| (transport, local)));
    }
    Ok(all)
}

/// Local ends and states.
fn sockets(transport: Transport) -> io::Result<Vec<(String, String)>> {
    let tables = match transport {
        Transport::Tcp => ["tcp", "tcp6"],
        Transport::Udp => ["udp", "udp6"],
    };
    let mut sockets = Vec::new();
    for table in tables {
        match fs::read_to_string(format!("/proc/thread-self/net/{table}")) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => sockets.extend(text?.lines().skip(1).filter_map(socket)),
        }
    }
    Ok(sockets)
}

/// A line is `slot: address:PORT peer:port STATE …`, the numbers in hexadecimal.
fn socket(line: &str) -> Option<(String, String)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    Some((local.to_owned(), state.to_owned()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;
    use crate::sys::closing::closed;

    #[test]
    fn a_port_is_taken_while_a_program_listens() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(is_taken(Transport::Tcp, port).unwrap());
        drop(tcp);
        closed(|| !is_taken(Transport::Tcp, port).unwrap());
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_taken(Transport::Udp, udp.local_addr().unwrap().port()).unwrap());
    }
}

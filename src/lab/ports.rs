//! Who listens in the calling thread's namespace, as `/proc/net` tells; asking disturbs nobody.

use std::fs;
use std::io;

/// TCP, or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// Whether a program has this port, on whatever address.
pub(super) fn is_taken(transport: Transport, port: u16) -> io::Result<bool> {
    let tables = match transport {
        Transport::Tcp => ["tcp", "tcp6"],
        Transport::Udp => ["udp", "udp6"],
    };
    for table in tables {
        let text = match fs::read_to_string(format!("/proc/thread-self/net/{table}")) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        if text.lines().skip(1).any(|line| listens(line, transport, port)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A line is `slot: address:PORT peer:port STATE …`, the numbers in hexadecimal.
fn listens(line: &str, transport: Transport, port: u16) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (Some(local), Some(_), Some(state)) = (fields.next(), fields.next(), fields.next()) else { return false };
    let number = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    // Connections of a listener that has ended keep their port, too.
    number == Some(port) && (transport == Transport::Udp || state == "0A")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_port_is_taken_while_somebody_listens() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(is_taken(Transport::Tcp, port).unwrap());
        drop(tcp);
        assert!(!is_taken(Transport::Tcp, port).unwrap());
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_taken(Transport::Udp, udp.local_addr().unwrap().port()).unwrap());
    }
}

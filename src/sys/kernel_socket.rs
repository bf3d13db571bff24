//! Sockets for questions to the kernel (netlink(7)), of the calling thread's network namespace.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{self, Timeout};

/// How long an answer may take. The kernel makes it while it takes the request, so a longer wait means that it was lost.
/// A daemon may wait with the lock on /run/netns held, and then all labs of the computer wait.
const LIMIT: Duration = Duration::from_secs(10);

/// A socket for requests of a protocol such as `NETLINK_ROUTE`.
pub(super) fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    limit(&socket, LIMIT)?;
    Ok(socket)
}

/// The next datagram of an answer. An error of the kind `TimedOut` if there is none in time.
pub(super) fn answer(socket: &Socket) -> io::Result<Vec<u8>> {
    match socket.recv_from_full() {
        Ok((datagram, _)) => Ok(datagram),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer a netlink request"))
        }
        Err(error) => Err(error),
    }
}

fn limit(socket: impl AsFd, limit: Duration) -> io::Result<()> {
    Ok(sockopt::set_socket_timeout(socket, Timeout::Recv, Some(limit))?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use netlink_sys::protocols::NETLINK_ROUTE;

    use super::*;

    #[test]
    fn an_answer_that_does_not_come_is_an_error() {
        let socket = open(NETLINK_ROUTE).unwrap();
        assert_eq!(sockopt::socket_timeout(&socket, Timeout::Recv).unwrap(), Some(LIMIT));
        limit(&socket, Duration::from_millis(1)).unwrap();
        assert_eq!(answer(&socket).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

//! The user at the other end of a Unix socket, as the kernel reports it.

use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

/// Whether the other end belongs to this process's own user, or to root. In a user namespace root outside is not known.
pub fn is_trusted(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid == geteuid() || peer.uid.is_root())
}

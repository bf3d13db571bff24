//! Changes of a namespace's network devices, as the kernel reports them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::netlink::Link;

/// The group of `RTNLGRP_LINK`.
const LINKS: u32 = 1;
/// Bytes of a report that are read: `nlmsghdr` and `ifinfomsg`.
const REPORT: usize = 32;
/// Datagrams that one look takes at most.
const TAKEN_MAX: usize = 64;

/// Reports that devices of its namespace have changed, but not how: the reader asks. It names only devices that went
/// down, which may be up again by then. Readable when there is something to report.
#[derive(Debug)]
pub struct LinkWatch(Socket);

impl LinkWatch {
    /// Begins in the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(LINKS)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes a bounded number of reports, of which the rest stays readable, and returns the devices that went down. `None`
    /// where there was no report.
    pub fn take(&self) -> Option<Vec<Link>> {
        let mut buffer = [0_u8; REPORT];
        // Datagrams are cut to the buffer and still count as taken. One that the kernel had no room for was a change
        // too.
        let taken = (0..TAKEN_MAX).map_while(|_| match self.0.recv(&mut &mut buffer[..], 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(_) => Some(went_down(&buffer)),
            Err(_) => Some(None),
        });
        let mut taken = taken.peekable();
        taken.peek().is_some().then(|| taken.flatten().collect())
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The device that a report says went down. A new device is not up either, but its report marks all flags as changed.
fn went_down(report: &[u8; REPORT]) -> Option<Link> {
    let word = |at: usize| u32::from_ne_bytes([report[at], report[at + 1], report[at + 2], report[at + 3]]);
    let (kind, index, flags, changed) = (u16::from_ne_bytes([report[4], report[5]]), word(20), word(24), word(28));
    let up = libc::IFF_UP as u32;
    (kind == libc::RTM_NEWLINK && flags & up == 0 && changed & up != 0 && changed != u32::MAX).then_some(Link(index))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sys::caps;
    use crate::sys::netlink::Netlink;
    use crate::sys::netns::Netns;

    #[test]
    fn a_watch_tells_what_went_down_and_not_what_is_new() {
        if !caps::permit_namespaces() {
            return;
        }
        let namespace = Netns::create().unwrap();
        let inside = || {
            let (watch, mut netlink) = (LinkWatch::open().unwrap(), Netlink::open().unwrap());
            assert_eq!(watch.take(), None);
            netlink.add_pair("a", "b", &namespace).unwrap();
            assert_eq!(watch.take(), Some(Vec::new()), "new and not up");
            let [a, b] = ["a", "b"].map(|name| netlink.link(name).unwrap());
            for link in [a, b] {
                netlink.up(link).unwrap();
            }
            assert_eq!(watch.take(), Some(Vec::new()), "up");
            netlink.down(a).unwrap();
            netlink.up(a).unwrap();
            assert_eq!(watch.take(), Some(vec![a]), "up again");
            // The kernel reports a carrier on its own, and late.
            assert!(watch.take().is_none_or(|down| down.is_empty()), "nothing went down since");
        };
        namespace.run(inside).unwrap();
    }
}

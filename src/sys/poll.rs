//! Readiness of many descriptors in one thread: epoll, level-triggered, and an eventfd to wake it from elsewhere.
//!
//! Level-triggered, so that a reader may stop after a bounded batch: the rest is reported again, after the others.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::confine::on_starter;

/// Descriptors to watch, each with a token of the caller's choice.
#[derive(Debug)]
pub struct Poller(OwnedFd);

/// What one [`Poller::wait`] found.
pub struct Ready(Vec<epoll::Event>);

impl Ready {
    /// Room for `batch` tokens; what does not fit is reported next time.
    pub fn new(batch: usize) -> Self {
        Self(Vec::with_capacity(batch))
    }

    pub fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(|event| event.data.u64())
    }

    /// The same tokens, with those of listeners last. A thread that accepts one connection in each turn then sees first
    /// which connections ended before it came. So it closes no open connection where an ended one makes room.
    pub fn listeners_last(&self, is_listener: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut tokens: Vec<_> = self.tokens().collect();
        tokens.sort_by_key(|token| is_listener(*token));
        tokens
    }
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Reports `token` whenever `fd` is readable or has failed.
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?)
    }

    /// Also reports when the descriptor is writable, or stops doing so.
    pub fn also_writable(&self, fd: impl AsFd, token: u64, writable: bool) -> io::Result<()> {
        let more = if writable { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        Ok(epoll::modify(&self.0, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN | more)?)
    }

    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, fd)?)
    }

    /// Waits until something is ready, `timeout` has passed (rounded up to milliseconds) or a signal came.
    pub fn wait(&self, ready: &mut Ready, timeout: Option<Duration>) -> io::Result<()> {
        ready.0.clear();
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs().cast_signed(), tv_nsec: t.subsec_nanos().into() });
        match epoll::wait(&self.0, spare_capacity(&mut ready.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Wakes a thread out of [`Poller::wait`]. Stays readable until [`Waker::reset`]; the reason is stored elsewhere
/// before the call.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    pub fn new() -> io::Result<Self> {
        // One is made while a lab runs, too, by a thread that may.
        Ok(Self(on_starter(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))??))
    }

    pub fn wake(&self) {
        // Fails only when the count would overflow: then it is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Clears the wake-up. A wake after this is reported again.
    pub fn reset(&self) {
        // Fails only when there was no wake-up. As frames are read: a worker makes few different calls.
        let _ = rustix::io::readv(&self.0, &mut [IoSliceMut::new(&mut [0_u8; 8])]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn reports_what_is_ready_until_it_is_removed() {
        let (poller, mut ready) = (Poller::new().unwrap(), Ready::new(4));
        let mut look = |poller: &Poller, timeout| {
            poller.wait(&mut ready, timeout).unwrap();
            ready.tokens().collect::<Vec<_>>()
        };
        let (quiet, woken) = (Waker::new().unwrap(), Waker::new().unwrap());
        poller.add(&quiet, 1).unwrap();
        poller.add(&woken, 2).unwrap();
        assert!(look(&poller, Some(Duration::ZERO)).is_empty());
        woken.wake();
        assert_eq!(look(&poller, None), [2]);
        assert_eq!(look(&poller, None), [2], "level-triggered");
        woken.reset();
        assert!(look(&poller, Some(Duration::ZERO)).is_empty());
        poller.also_writable(&quiet, 1, true).unwrap();
        assert_eq!(look(&poller, None), [1], "a count has room");
        poller.also_writable(&quiet, 1, false).unwrap();
        woken.wake();
        poller.remove(&woken).unwrap();
        assert!(look(&poller, Some(Duration::from_millis(1))).is_empty());
    }

    #[test]
    fn listeners_come_last_and_all_else_as_it_was_reported() {
        let (poller, mut ready) = (Poller::new().unwrap(), Ready::new(4));
        let wakers = [5, 6, 2, 1].map(|token| (Waker::new().unwrap(), token));
        for (waker, token) in &wakers {
            poller.add(waker, *token).unwrap();
            waker.wake();
        }
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready.tokens().collect::<Vec<_>>(), [5, 6, 2, 1]);
        assert_eq!(ready.listeners_last(|token| token > 4), [2, 1, 5, 6]);
    }
}

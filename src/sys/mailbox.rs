//! Commands to a thread that waits in a [`Poller`](super::poll::Poller): a bounded channel, and an eventfd that wakes it.
//!
//! A channel alone wakes only a thread that waits on the channel. A thread that waits for sockets needs a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::poll::Waker;

/// The senders' end.
#[derive(Debug)]
pub struct Mailbox<T> {
    commands: Sender<T>,
    waker: Arc<Waker>,
}

/// The thread's end; it is readable while commands wait, or a sender woke it.
#[derive(Debug)]
pub struct Inbox<T> {
    commands: Receiver<T>,
    waker: Arc<Waker>,
}

/// Creates both ends, with room for this many commands.
pub fn mailbox<T>(room: usize) -> io::Result<(Mailbox<T>, Inbox<T>)> {
    let (sender, receiver) = crossbeam_channel::bounded(room);
    let waker = Arc::new(Waker::new()?);
    Ok((Mailbox { commands: sender, waker: Arc::clone(&waker) }, Inbox { commands: receiver, waker }))
}

impl<T> Mailbox<T> {
    /// Sends a command, and waits while there is no room. False if the thread has ended.
    pub fn send(&self, command: T) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.waker.wake();
        sent
    }

    /// Wakes the thread without a command.
    pub fn wake(&self) {
        self.waker.wake();
    }
}

impl<T> Inbox<T> {
    /// Wakes this thread out of its poller.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Takes the commands that have arrived. A command that arrives meanwhile wakes the thread again.
    pub fn drain(&self) -> impl Iterator<Item = T> + use<'_, T> {
        self.waker.reset();
        self.commands.try_iter()
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::super::poll::{Poller, Ready};
    use super::*;

    #[test]
    fn a_command_wakes_the_thread_that_polls_and_is_taken_once() {
        let (mailbox, inbox) = mailbox(2).unwrap();
        let (poller, mut ready) = (Poller::new().unwrap(), Ready::new(1));
        poller.add(&inbox, 7).unwrap();
        assert!(mailbox.send('a') && mailbox.send('b'));
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready.tokens().collect::<Vec<_>>(), [7]);
        assert_eq!(inbox.drain().collect::<String>(), "ab");
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert_eq!(ready.tokens().count(), 0, "nothing waits");
        drop(inbox);
        assert!(!mailbox.send('c'), "the thread has ended");
    }
}

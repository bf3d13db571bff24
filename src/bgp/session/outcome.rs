//! The words of a session: its sides, its state, what it asks of the driver, and what it reports.

use std::fmt;

#[cfg(doc)]
use super::Session;
use crate::bgp::message::{Family, Notification, Update};

/// The end that opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// We did.
    Local,
    /// The peer did.
    Remote,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Local, Self::Remote];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
}

/// What a side's socket should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// None: drop what there is.
    Absent,
    /// Connecting: connect if that is not tried yet, and report to [`Session::handle_connected`] or
    /// [`Session::handle_closed`].
    Connecting,
    /// Read and written.
    Open,
    /// Written until [`Session::outgoing`] is empty, then closed and reported to [`Session::handle_closed`].
    Closing,
}

/// RFC 4271's, in order of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Idle,
    /// Waits for the peer or for the next attempt.
    Active,
    Connect,
    OpenSent,
    OpenConfirm,
    Established,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Established,
    Update(Update),
    /// All routes of a family are wanted again.
    Refresh(Family),
    /// An established session has ended.
    Down(Ending),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a notification of ours.
    Sent(Notification),
    /// By a notification of the peer's.
    Received(Notification),
    /// TCP did, without a word.
    Lost,
    /// The peer accepted none.
    Unanswered,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "sent {notification}"),
            Self::Received(notification) => write!(f, "received {notification}"),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Unanswered => f.write_str("no BGP speaker answers at this address"),
        }
    }
}

/// Since the session was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub messages_sent: u64,
    pub messages_received: u64,
    /// Times that it was established.
    pub established: u64,
    /// Mistakes in attributes that ended no session (RFC 7606).
    pub faults: u64,
}

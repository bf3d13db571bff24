//! One TCP connection of a session: how far it has come, what waits to be read and to be written, and its timers.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use crate::bgp::message::{self, Context, Families, MESSAGE_MAX, Message, Notification, Open};

/// From OPEN to OPEN (RFC 4271 section 8.2.2 suggests it).
const OPEN_HOLD: Duration = Duration::from_secs(240);
/// How long a peer may leave unread what we write (RFC 9687 section 3), where twice the hold time is not longer.
const SEND_HOLD: Duration = Duration::from_secs(480);
/// How long last words may take to leave.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// TCP is connecting.
    Connecting,
    OpenSent,
    OpenConfirm,
    Established,
    /// Ours no more: what is written still leaves.
    Closing,
}

/// The result of both OPENs.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) context: Context,
    pub(super) families: Families,
    pub(super) peer: Open,
    /// None: neither keepalives nor a limit on silence.
    pub(super) hold_time: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// Less than a whole message.
    inbox: BytesMut,
    outbox: BytesMut,
    pub(super) agreed: Option<Agreed>,
    /// The end of patience: with TCP, with the peer's silence, or with last words.
    pub(super) deadline: Option<Instant>,
    pub(super) keepalive_at: Option<Instant>,
    /// Since when nothing of the outbox has left.
    stalled_since: Option<Instant>,
}

impl Connection {
    pub(super) fn connecting(until: Instant) -> Self {
        Self {
            phase: Phase::Connecting,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            agreed: None,
            deadline: Some(until),
            keepalive_at: None,
            stalled_since: None,
        }
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::OpenSent | Phase::OpenConfirm | Phase::Established)
    }

    pub(super) fn open(&mut self, open: &Open, now: Instant) {
        self.phase = Phase::OpenSent;
        self.deadline = Some(now + OPEN_HOLD);
        self.write(now, |out| open.write(out));
    }

    /// The peer was heard.
    pub(super) fn heard(&mut self, now: Instant) {
        self.deadline = self.agreed.as_ref().and_then(|agreed| agreed.hold_time).map(|hold_time| now + hold_time);
    }

    /// Says why, if there is something to say, and lets nothing in any more.
    pub(super) fn close(&mut self, why: Option<&Notification>, now: Instant) {
        if let Some(notification) = why {
            self.write(now, |out| notification.write(out));
        } else {
            self.outbox.clear();
        }
        self.phase = Phase::Closing;
        self.inbox = BytesMut::new();
        self.keepalive_at = None;
        self.stalled_since = None;
        self.deadline = Some(now + LINGER);
    }

    pub(super) fn write(&mut self, now: Instant, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.outbox);
        if !self.outbox.is_empty() {
            self.stalled_since.get_or_insert(now);
        }
    }

    pub(super) fn outbox(&self) -> &[u8] {
        &self.outbox
    }

    pub(super) fn sent(&mut self, bytes: usize, now: Instant) {
        self.outbox.advance(bytes.min(self.outbox.len()));
        self.stalled_since = (!self.outbox.is_empty()).then_some(now);
    }

    /// The peer did not read the last message in time: it is dropped.
    pub(super) fn give_up(&mut self) {
        self.outbox = BytesMut::new();
        self.deadline = None;
    }

    pub(super) fn send_deadline(&self) -> Option<Instant> {
        let hold_time = self.agreed.as_ref().and_then(|agreed| agreed.hold_time).unwrap_or_default();
        self.stalled_since.filter(|_| self.is_live()).map(|since| since + SEND_HOLD.max(hold_time * 2))
    }

    pub(super) fn timeouts(&self) -> impl Iterator<Item = Instant> {
        [self.deadline, self.keepalive_at, self.send_deadline()].into_iter().flatten()
    }

    /// Takes bytes up to the end of the next message and reads that; what is left stays in `bytes`. None if it does not
    /// end there. The inbox never holds more than one message, and its length is checked before its body is kept.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Notification> {
        let context =
            self.agreed.as_ref().map_or(Context { four_byte_asn: true, internal: false }, |agreed| agreed.context);
        self.fetch(message::HEADER_LEN, bytes);
        let Some(len) = message::length(&self.inbox)? else { return Ok(None) };
        self.fetch(len, bytes);
        if self.inbox.len() < len {
            return Ok(None);
        }
        let message = message::decode(&self.inbox, context);
        self.inbox.clear();
        message.map(Some)
    }

    fn fetch(&mut self, len: usize, bytes: &mut &[u8]) {
        debug_assert!(len <= MESSAGE_MAX);
        let missing = len.saturating_sub(self.inbox.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(missing);
        self.inbox.extend(head);
        *bytes = rest;
    }
}

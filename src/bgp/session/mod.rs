//! A session with one peer: RFC 4271's state machine, fed with events and bytes, without sockets or a clock.
//!
//! The driver owns the sockets, at most one for each [`Side`]. It feeds what happens (`handle_*`), and after every such
//! call does what [`Session::transport`] says about either side's socket, writes [`Session::outgoing`], drains
//! [`Session::poll_event`] and waits no longer than [`Session::poll_timeout`].
//!
//! A mistake that we find ends the connection with the right NOTIFICATION; then nothing is tried or accepted for a
//! while that doubles with each failure. What another ends is tried again after such a while, but accepted at once.

mod backoff;
mod connection;
mod opening;
mod outcome;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::message::{self, Asn, Context, Families, Family, Message, Notification, Open, Update, notification};
use backoff::Backoff;
pub use backoff::Retry;
use connection::{Connection, Phase};
pub use outcome::{Counters, Ending, Event, Side, State, Transport};

/// RFC 4271 section 8 suggests longer; a lab's peers are near.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// With so much unsent no more is written: 16 full messages.
const OUTBOX_HIGH: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub asn: Asn,
    pub identifier: Ipv4Addr,
    pub peer_asn: Asn,
    /// The peer is of another system, so one with our number is refused (BGP-13).
    pub external: bool,
    /// Only the peer connects (BGP-05: APIPA addresses).
    pub passive: bool,
    /// Seconds that we propose: 0 for no limit, or at least 3 (BGP-07: 180).
    pub hold_time: u16,
    pub families: Families,
    pub retry: Retry,
    /// Of all chance.
    pub seed: u64,
}

#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    enabled: bool,
    local: Option<Connection>,
    remote: Option<Connection>,
    /// Of the next attempt.
    connect_at: Option<Instant>,
    /// Until then no connection is opened.
    idle_until: Option<Instant>,
    established_since: Option<Instant>,
    backoff: Backoff,
    events: VecDeque<Event>,
    counters: Counters,
    ending: Option<Ending>,
}

impl Session {
    /// Stopped, until [`Self::start`].
    pub fn new(config: SessionConfig) -> Self {
        let backoff = Backoff::new(config.retry, config.seed);
        Self {
            config,
            enabled: false,
            local: None,
            remote: None,
            connect_at: None,
            idle_until: None,
            established_since: None,
            backoff,
            events: VecDeque::new(),
            counters: Counters::default(),
            ending: None,
        }
    }

    /// An operator starts it; connects at once unless passive. No effect on one that is started.
    pub fn start(&mut self, now: Instant) {
        if !self.enabled {
            self.enabled = true;
            self.idle_until = None;
            self.backoff.calm();
            self.connect_at = (!self.config.passive).then_some(now);
            self.handle_timeout(now);
        }
    }

    /// An operator ends it for good, with these last words.
    pub fn stop(&mut self, why: &Notification, now: Instant) {
        self.enabled = false;
        self.close_all(why, now);
        self.connect_at = None;
        self.idle_until = None;
    }

    /// A mistake was found above: ends the connections, and tries again after a while.
    pub fn fail(&mut self, why: &Notification, now: Instant) {
        self.close_all(why, now);
        self.hold_off(now);
    }

    /// A socket is connected: the local one that [`Self::transport`] asked for, or one that the peer opened. False if
    /// it is not wanted and should be closed.
    pub fn handle_connected(&mut self, side: Side, now: Instant) -> bool {
        let expected = match side {
            Side::Local => self.phase(side) == Some(Phase::Connecting),
            Side::Remote => self.enabled && self.idle_until.is_none() && self.remote.is_none(),
        };
        let welcome = expected && !self.is_late(side);
        if expected && !welcome {
            *self.slot(side) = None;
        }
        if welcome {
            let open = self.open();
            self.slot(side).get_or_insert_with(|| Connection::connecting(now)).open(&open, now);
            self.counters.messages_sent += 1;
        }
        welcome
    }

    /// A socket is gone or could not be connected.
    pub fn handle_closed(&mut self, side: Side, now: Instant) {
        let Some(connection) = self.slot(side).take() else { return };
        match connection.phase {
            Phase::Closing => {}
            Phase::Connecting => self.unanswered(now),
            Phase::OpenSent | Phase::OpenConfirm | Phase::Established => {
                self.ended(connection.phase, Ending::Lost, now);
                self.retry(now);
            }
        }
    }

    /// Bytes from a socket, as they come; events follow.
    pub fn handle_bytes(&mut self, side: Side, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            let Some(connection) = self.slot(side).as_mut().filter(|connection| connection.is_live()) else { return };
            match connection.read(&mut bytes) {
                Ok(Some(message)) => {
                    self.counters.messages_received += 1;
                    self.handle_message(side, message, now);
                }
                Ok(None) => return,
                Err(notification) => self.refuse(side, notification, now),
            }
        }
    }

    /// So many bytes of [`Self::outgoing`] have been written.
    pub fn handle_sent(&mut self, side: Side, bytes: usize, now: Instant) {
        if let Some(connection) = self.slot(side) {
            connection.sent(bytes, now);
        }
    }

    /// To be called when [`Self::poll_timeout`] says so; sooner does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.idle_until) {
            self.idle_until = None;
        }
        for side in Side::BOTH {
            self.handle_connection_timeout(side, now);
        }
        if due(self.connect_at) {
            self.connect_at = None;
            let busy = self.local.is_some() || self.remote.as_ref().is_some_and(Connection::is_live);
            if !busy {
                self.local = Some(Connection::connecting(now + CONNECT_PATIENCE));
            } else if !self.is_live() {
                // The socket of before is not closed yet.
                self.retry(now);
            }
        }
    }

    fn handle_connection_timeout(&mut self, side: Side, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Some(connection) = self.slot(side) else { return };
        if due(connection.deadline) {
            match connection.phase {
                Phase::Connecting => {
                    *self.slot(side) = None;
                    self.unanswered(now);
                }
                Phase::Closing => connection.give_up(),
                Phase::OpenSent | Phase::OpenConfirm | Phase::Established => {
                    self.refuse(side, Notification::new(notification::code::HOLD_TIMER, 0), now);
                }
            }
        } else if due(connection.send_deadline()) {
            self.refuse(side, Notification::new(notification::code::SEND_HOLD_TIMER, 0), now);
        } else if due(connection.keepalive_at) {
            self.keepalive(side, now);
        }
    }

    /// When to call [`Self::handle_timeout`]; ask again after every `handle_*`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = [&self.local, &self.remote].into_iter().flatten().flat_map(Connection::timeouts);
        connections.chain(self.connect_at).chain(self.idle_until).min()
    }

    /// The next thing that happened; call until None after every `handle_*`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What to do about a side's socket; ask again after every `handle_*`.
    pub fn transport(&self, side: Side) -> Transport {
        match self.phase(side) {
            None => Transport::Absent,
            Some(Phase::Connecting) => Transport::Connecting,
            Some(Phase::OpenSent | Phase::OpenConfirm | Phase::Established) => Transport::Open,
            Some(Phase::Closing) => Transport::Closing,
        }
    }

    /// What to write to a side's socket; say with [`Self::handle_sent`] how much of it was.
    pub fn outgoing(&self, side: Side) -> &[u8] {
        self.connection(side).map_or(&[], Connection::outbox)
    }

    pub fn state(&self) -> State {
        let states = Side::BOTH.into_iter().filter_map(|side| match self.phase(side)? {
            Phase::Connecting => Some(State::Connect),
            Phase::OpenSent => Some(State::OpenSent),
            Phase::OpenConfirm => Some(State::OpenConfirm),
            Phase::Established => Some(State::Established),
            Phase::Closing => None,
        });
        let waiting = if self.enabled && self.idle_until.is_none() { State::Active } else { State::Idle };
        states.max().unwrap_or(waiting)
    }

    /// Whether it is administratively up.
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub const fn counters(&self) -> Counters {
        self.counters
    }

    pub const fn established_since(&self) -> Option<Instant> {
        self.established_since
    }

    /// How the last connection ended, collisions apart; an attempt without an answer is forgotten once established.
    pub const fn last_ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The peer's OPEN, while established.
    pub fn peer(&self) -> Option<&Open> {
        self.established().and_then(|connection| connection.agreed.as_ref()).map(|agreed| &agreed.peer)
    }

    /// What both carry, while established.
    pub fn families(&self) -> Families {
        let agreed = self.established().and_then(|connection| connection.agreed.as_ref());
        agreed.map(|agreed| agreed.families).unwrap_or_default()
    }

    /// Whether more may be written now; if not, ask again after [`Self::handle_sent`].
    pub fn has_room(&self) -> bool {
        self.established().is_some_and(|connection| connection.outbox().len() < OUTBOX_HIGH)
    }

    /// Appends messages, of which `write` returns the number. No effect unless established.
    pub fn write(&mut self, now: Instant, write: impl FnOnce(Context, &mut BytesMut) -> u64) {
        let Some(side) = Side::BOTH.into_iter().find(|side| self.phase(*side) == Some(Phase::Established)) else {
            return;
        };
        let Some(connection) = self.slot(side) else { return };
        let Some(context) = connection.agreed.as_ref().map(|agreed| agreed.context) else { return };
        let mut messages = 0;
        connection.write(now, |out| messages = write(context, out));
        self.counters.messages_sent += messages;
    }

    /// Asks the peer for all its routes of a family again (RFC 2918). False if it cannot be asked.
    pub fn request_refresh(&mut self, family: Family, now: Instant) -> bool {
        let able = self.families().has(family) && self.peer().is_some_and(|peer| peer.capabilities.route_refresh);
        if able {
            self.write(now, |_, out| {
                message::write_route_refresh(family, out);
                1
            });
        }
        able
    }

    fn handle_message(&mut self, side: Side, message: Message, now: Instant) {
        let Some(phase) = self.phase(side) else { return };
        match (phase, message) {
            (_, Message::Notification(notification)) => self.end(side, Ending::Received(notification), now),
            (Phase::OpenSent, Message::Open(open)) => self.handle_open(side, open, now),
            (Phase::OpenConfirm, Message::Keepalive) => self.establish(side, now),
            (Phase::Established, Message::Keepalive) => self.heard(side, now),
            (Phase::Established, Message::Update(update)) => {
                self.heard(side, now);
                self.counters.faults += update.faults.len() as u64;
                self.events.push_back(Event::Update(self.within_families(update)));
            }
            (Phase::Established, Message::RouteRefresh(family)) => {
                self.heard(side, now);
                let families = self.families();
                self.events.extend(family.filter(|family| families.has(*family)).map(Event::Refresh));
            }
            (phase, Message::Open(_) | Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_)) => {
                self.refuse(side, unexpected(phase), now);
            }
        }
    }

    /// Routes of families that were not agreed on are passed over (RFC 4760 section 6).
    fn within_families(&self, update: Update) -> Update {
        let families = self.families();
        let mut update = update;
        update.withdrawn.retain(|prefix| families.has(Family::of(prefix)));
        for reach in &mut update.announced {
            reach.prefixes.retain(|prefix| families.has(Family::of(prefix)));
        }
        update
    }

    fn establish(&mut self, side: Side, now: Instant) {
        if let Some(connection) = self.slot(side) {
            connection.phase = Phase::Established;
        }
        self.heard(side, now);
        self.connect_at = None;
        if self.phase(side.other()) == Some(Phase::Connecting) {
            *self.slot(side.other()) = None;
        }
        self.established_since = Some(now);
        if self.ending == Some(Ending::Unanswered) {
            self.ending = None;
        }
        self.counters.established += 1;
        self.events.push_back(Event::Established);
    }

    fn heard(&mut self, side: Side, now: Instant) {
        if let Some(connection) = self.slot(side) {
            connection.heard(now);
        }
    }

    /// Sends a KEEPALIVE and sets the time of the next: a third of the hold time, less some chance.
    fn keepalive(&mut self, side: Side, now: Instant) {
        let slot = match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        };
        let Some(connection) = slot else { return };
        connection.write(now, message::write_keepalive);
        self.counters.messages_sent += 1;
        let hold_time = connection.agreed.as_ref().and_then(|agreed| agreed.hold_time);
        connection.keepalive_at = hold_time.map(|hold_time| now + self.backoff.jittered(hold_time / 3));
    }

    /// The peer made an error: sends the notification, and waits before the next connection.
    fn refuse(&mut self, side: Side, notification: Notification, now: Instant) {
        self.end(side, Ending::Sent(notification), now);
        if !self.is_live() {
            self.hold_off(now);
        }
    }

    /// Ends one connection.
    fn end(&mut self, side: Side, ending: Ending, now: Instant) {
        let Some(connection) = self.slot(side) else { return };
        let phase = connection.phase;
        match &ending {
            Ending::Sent(notification) => {
                connection.close(Some(notification), now);
                self.counters.messages_sent += 1;
            }
            Ending::Received(_) | Ending::Lost | Ending::Unanswered => connection.close(None, now),
        }
        self.ended(phase, ending, now);
        self.retry(now);
    }

    fn close_all(&mut self, why: &Notification, now: Instant) {
        for side in Side::BOTH {
            match self.phase(side) {
                Some(Phase::OpenSent | Phase::OpenConfirm | Phase::Established) => {
                    self.end(side, Ending::Sent(why.clone()), now);
                }
                Some(Phase::Connecting) => *self.slot(side) = None,
                Some(Phase::Closing) | None => {}
            }
        }
    }

    fn ended(&mut self, phase: Phase, ending: Ending, now: Instant) {
        if phase == Phase::Established {
            let stood = self.established_since.take().map_or(Duration::ZERO, |since| now - since);
            if stood >= self.backoff.most() {
                self.backoff.calm();
            }
            self.events.push_back(Event::Down(ending.clone()));
        }
        self.ending = Some(ending);
    }

    /// An attempt to connect failed. It says nothing if the peer has connected meanwhile. A peer that ended the last connection
    /// with a reason may refuse others for a while: the reason stays.
    fn unanswered(&mut self, now: Instant) {
        if !self.is_live() && matches!(self.ending, None | Some(Ending::Lost)) {
            self.ending = Some(Ending::Unanswered);
        }
        self.retry(now);
    }

    /// Sets the time of the next attempt, unless some connection is left or attempts are not ours to make.
    fn retry(&mut self, now: Instant) {
        if self.enabled && !self.config.passive && !self.is_live() && self.connect_at.is_none() {
            self.connect_at = Some(now + self.backoff.delay());
        }
    }

    /// As [`Self::retry`], and until then the peer may not connect either.
    fn hold_off(&mut self, now: Instant) {
        self.retry(now);
        self.idle_until = self.enabled.then(|| self.connect_at.unwrap_or_else(|| now + self.backoff.delay()));
    }

    fn is_live(&self) -> bool {
        [&self.local, &self.remote].into_iter().flatten().any(Connection::is_live)
    }

    fn established(&self) -> Option<&Connection> {
        let connections = [&self.local, &self.remote].into_iter().flatten();
        connections.into_iter().find(|connection| connection.phase == Phase::Established)
    }

    fn phase(&self, side: Side) -> Option<Phase> {
        self.connection(side).map(|connection| connection.phase)
    }

    const fn connection(&self, side: Side) -> Option<&Connection> {
        match side {
            Side::Local => self.local.as_ref(),
            Side::Remote => self.remote.as_ref(),
        }
    }

    const fn slot(&mut self, side: Side) -> &mut Option<Connection> {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }
}

/// RFC 6608.
const fn unexpected(phase: Phase) -> Notification {
    let subcode = match phase {
        Phase::Connecting | Phase::OpenSent | Phase::Closing => notification::fsm::OPEN_SENT,
        Phase::OpenConfirm => notification::fsm::OPEN_CONFIRM,
        Phase::Established => notification::fsm::ESTABLISHED,
    };
    Notification::new(notification::code::FSM, subcode)
}

//! Flow records of a running router, under the names of its file, a page at a time; and what happens to them.
//!
//! One idea: a page looks at a bounded number of records, wanted or not, so no answer grows and no lock is held for
//! long; the client continues from where the page ended. A client that follows gets beginnings and ends from the first
//! answer on. Between two answers it gets a page, until it has all flows that ran before.

use std::sync::Arc;
use std::time::Duration;

use crate::analysis;
use crate::azure::Utc;
use crate::compile::Sender;
use crate::daemon::engine::{Engine, Published};
use crate::daemon::wall_clock::WallClock;
use crate::dataplane::{Cursor, Direction, FlowEvent, FlowRecord, FlowState, NicId, Timestamp};
use crate::worker::{FlowScope, FlowWatch};

use super::flow_ends::FlowEnds;
use super::follow::{Feed, Look};
use super::protocol::{FlowChange, FlowChanges, FlowEventKind, FlowFilter, FlowPage, FlowRow, Refusal, Response};

/// Rows of one answer, about 200 bytes each, and records looked at for them.
const ROWS: usize = 1_000;
const LOOKED_AT: usize = 64_000;
/// Events of one answer; what is left waits for the next.
const EVENTS: usize = 4_000;

const PROTOCOLS: [(u8, &str); 6] = [(1, "Icmp"), (6, "Tcp"), (17, "Udp"), (50, "Esp"), (51, "Ah"), (58, "Icmpv6")];

/// A parsed filter.
struct Wanted<'a> {
    filter: &'a FlowFilter,
    nodes: Vec<NicId>,
    state: Option<WantedState>,
    protocol: Option<u8>,
}

/// A word of the column State.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WantedState {
    /// A rule refuses its packets, here or at the other end.
    Denied,
    Is(FlowState),
}

/// The flows that a filter wants, from where an earlier page ended.
pub(in crate::daemon) fn page(engine: &Engine, filter: &FlowFilter, from: Option<u64>) -> Result<FlowPage, String> {
    let published = engine.published();
    let wanted = Wanted::new(&published, filter)?;
    let now = engine.now();
    let mut records = Vec::new();
    let from = from.map_or_else(Cursor::default, Cursor::from);
    let next = look(engine, from, |record| {
        records.extend(Some(*record).filter(|record| wanted.matches(record)));
        records.len() < ROWS
    });
    let ends = FlowEnds::of(engine, &published, &records);
    let rows = records.iter().filter_map(|record| row(&published, record, now).map(|row| ends.add(record, row)));
    let flows = rows.filter(|row| wanted.has_state(row)).collect();
    Ok(FlowPage { flows, next: next.map(u64::from) })
}

/// Looks at some records, until it is shown enough, and says where to go on.
fn look(engine: &Engine, from: Cursor, mut show: impl FnMut(&FlowRecord) -> bool) -> Option<Cursor> {
    let (mut cursor, mut records, mut looked_at, mut more) = (Some(from), Vec::new(), 0, true);
    while let Some(at) = cursor.filter(|_| more && looked_at < LOOKED_AT) {
        cursor = engine.flow_records(at, &mut records);
        looked_at += records.len().max(1);
        // All of what was read: the cursor stands behind it.
        records.drain(..).for_each(|record| more &= show(&record));
    }
    cursor
}

/// What happens to the flows that a filter wants.
pub(in crate::daemon) fn follow(engine: Arc<Engine>, filter: FlowFilter) -> Result<Feed, Refusal> {
    Wanted::new(&engine.published(), &filter).map_err(Refusal::new)?;
    let watch = engine.flow_events(FlowScope::Every).map_err(Refusal::new)?;
    let since = engine.now();
    let mut follower = Follower { engine, filter, watch, since, running: Some(Cursor::default()) };
    let mut begun = false;
    Ok(Box::new(move |look| {
        let changes = follower.drain(look);
        let is_news = !begun || !changes.changes.is_empty() || changes.missed > 0;
        begun = true;
        if is_news { vec![Response::FlowChanges(changes)] } else { Vec::new() }
    }))
}

struct Follower {
    engine: Arc<Engine>,
    filter: FlowFilter,
    watch: FlowWatch,
    since: Timestamp,
    /// Where to go on with those that ran before.
    running: Option<Cursor>,
}

impl Follower {
    fn drain(&mut self, asked: Look) -> FlowChanges {
        if asked == Look::Last {
            self.engine.finish_batches();
        }
        let published = self.engine.published();
        let teller = Teller { published: &published, clock: WallClock::now(), now: self.engine.now() };
        let missed = self.watch.missed();
        let mut changes = Vec::new();
        // A machine that has left has no flows.
        let Ok(wanted) = Wanted::new(&published, &self.filter) else { return FlowChanges { changes, missed } };
        self.running = self.running.and_then(|from| {
            look(&self.engine, from, |record| {
                if record.begun < self.since {
                    changes.extend(teller.change(record, (record.begun, FlowEventKind::Running), &wanted));
                }
                changes.len() < ROWS
            })
        });
        changes.extend(self.watch.events().take(EVENTS).filter_map(|event| teller.event(&event, &wanted)));
        FlowChanges { changes, missed }
    }
}

/// Puts names and times on what happened.
struct Teller<'a> {
    published: &'a Published,
    clock: WallClock,
    now: Timestamp,
}

impl Teller<'_> {
    fn event(&self, event: &FlowEvent, wanted: &Wanted<'_>) -> Option<FlowChange> {
        let (record, at, kind) = match event {
            FlowEvent::Begun(record) => (*record, record.begun, FlowEventKind::Begun),
            // It ends when that is found out: idle for its timeout, or a while after its last segment.
            FlowEvent::Ended(record) => (*record, self.now, FlowEventKind::Ended),
            FlowEvent::Denied(denial) => (denial.unbegun(), denial.at, FlowEventKind::Denied),
        };
        self.change(&record, (at, kind), wanted)
    }

    /// None for a flow that is not wanted.
    fn change(
        &self,
        record: &FlowRecord,
        (at, event): (Timestamp, FlowEventKind),
        wanted: &Wanted<'_>,
    ) -> Option<FlowChange> {
        if !wanted.matches(record) {
            return None;
        }
        let flow = row(self.published, record, self.now).filter(|row| wanted.has_state(row))?;
        let time = Utc::from_unix_micros(self.clock.unix_micros(at)).to_string();
        Some(FlowChange { time, event, flow })
    }
}

impl<'a> Wanted<'a> {
    fn new(published: &Published, filter: &'a FlowFilter) -> Result<Self, String> {
        let nodes = filter.node.as_ref().map_or_else(|| Ok(Vec::new()), |node| nics(published, node))?;
        let state = filter.state.as_ref().map(|word| state(word)).transpose()?;
        let protocol = filter.protocol.as_ref().map(|word| protocol(word)).transpose()?;
        Ok(Self { filter, nodes, state, protocol })
    }

    fn matches(&self, record: &FlowRecord) -> bool {
        let tuple = &record.tuple;
        let has = |wanted: &Option<_>, values: [_; 2]| wanted.is_none_or(|wanted| values.contains(&wanted));
        (self.filter.node.is_none() || self.nodes.contains(&record.nic))
            && has(&self.filter.address, [tuple.src, tuple.dst])
            && self.filter.port.is_none_or(|port| [tuple.src_port, tuple.dst_port].contains(&port))
            && self
                .state
                .is_none_or(|state| matches!(state, WantedState::Denied) || state == WantedState::Is(record.state))
            && self.protocol.is_none_or(|protocol| protocol == tuple.protocol.0)
    }

    /// What the record alone does not tell.
    fn has_state(&self, row: &FlowRow) -> bool {
        self.state != Some(WantedState::Denied) || row.access == "Deny"
    }
}

/// The interfaces of `NODE` or `NODE/NIC`, or behind the one TUN of a VNet.
fn nics(published: &Published, node: &str) -> Result<Vec<NicId>, String> {
    let named = |nic: NicId| {
        place(published, nic).is_some_and(|(machine, interface)| {
            machine.eq_ignore_ascii_case(node) || format!("{machine}/{interface}").eq_ignore_ascii_case(node)
        })
    };
    let nics: Vec<NicId> = published.compiled.ids().senders().map(|(nic, _)| nic).filter(|nic| named(*nic)).collect();
    if nics.is_empty() {
        let mut known: Vec<_> =
            published.compiled.ids().senders().filter_map(|(nic, _)| place(published, nic)).collect();
        known.dedup_by_key(|(machine, _)| *machine);
        return Err(analysis::unknown("node or interface", node, known.into_iter().map(|(machine, _)| machine)));
    }
    Ok(nics)
}

fn state(word: &str) -> Result<WantedState, String> {
    const DENIED: &str = "Denied";
    if DENIED.eq_ignore_ascii_case(word) {
        return Ok(WantedState::Denied);
    }
    let found = FlowState::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(word));
    found.map(WantedState::Is).ok_or_else(|| {
        let names: Vec<_> = FlowState::ALL.into_iter().map(FlowState::name).chain([DENIED]).collect();
        format!("`{word}` is no state of a flow: expected one of {}", names.join(", "))
    })
}

fn protocol(word: &str) -> Result<u8, String> {
    let known = PROTOCOLS.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(number, _)| number);
    known.or_else(|| word.parse().ok()).ok_or_else(|| {
        let names = PROTOCOLS.map(|(_, name)| name).join(", ");
        format!("`{word}` is no protocol: expected one of {names}, or a number")
    })
}

pub(in crate::daemon) fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.into_iter().find(|(known, _)| *known == number).map(|(_, name)| name.to_owned());
    known.unwrap_or_else(|| number.to_string())
}

/// A machine and its interface or its segment, or a VNet and its subnet; none for an interface that has gone.
pub(in crate::daemon) fn place(published: &Published, nic: NicId) -> Option<(&str, &str)> {
    let network = &published.network;
    let sender = published.compiled.ids().sender(nic)?;
    if let Sender::Segment(cloud, machine) = sender {
        let machine = network.segment(cloud, machine);
        return Some((&machine.node, &machine.name));
    }
    let (subnet, nic) = sender.guest(network)?;
    Some(match nic.map(|nic| network.nic(nic)) {
        Some(nic) => (&network.vm(nic.virtual_machine).name, &nic.name),
        None => (&network.vnet(subnet.vnet).name, &network.subnet(subnet).name),
    })
}

fn row(published: &Published, record: &FlowRecord, now: Timestamp) -> Option<FlowRow> {
    let (node, nic) = place(published, record.nic)?;
    let since = |then: Timestamp| Duration::from_nanos(now.0.saturating_sub(then.0)).as_secs_f64();
    let rule = |rule| published.rule(rule).map(|label| format!("{} {}", label.owner, label.name));
    Some(FlowRow {
        node: node.to_owned(),
        nic: nic.to_owned(),
        direction: match record.admitted {
            Direction::Inbound => "Inbound".to_owned(),
            Direction::Outbound => "Outbound".to_owned(),
        },
        protocol: protocol_name(record.tuple.protocol.0),
        source_address: record.tuple.src,
        source_port: record.tuple.src_port,
        destination_address: record.tuple.dst,
        destination_port: record.tuple.dst_port,
        state: record.state.name().to_owned(),
        access: if record.refused { "Deny" } else { "Allow" }.to_owned(),
        denied_at: None,
        translated_address: None,
        translated_port: None,
        age_seconds: since(record.begun),
        idle_seconds: since(record.last),
        packets_sent: record.sent.packets,
        bytes_sent: record.sent.bytes,
        packets_received: record.received.packets,
        bytes_received: record.received.bytes,
        rules: record.rules.iter().filter_map(rule).collect(),
    })
}

//! Flow logs: flow events, as the records that Azure's Network Watcher writes (DIAG-07, DIAG-08, DIAG-09).
//!
//! One idea: a flow needs no memory here until it is reported as continuing. Its first tuple has no counters and its
//! last one has the flow record's, so only flows that last for minutes are remembered, with what was already reported.
//! The reported total is exact even where that memory was full. Time is an argument, and the caller writes the files:
//! each [`FlowLogs::cut`] returns whole records and where they belong.

pub(crate) mod files;
mod identity;
mod log;
mod record;
mod tuple;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::azure::Utc;
use crate::compile::{Compiled, flow_logs, senders};
use crate::dataplane::{Direction, FlowEvent, FlowRecord, FlowState, NicId, RuleId, Timestamp};
use crate::model::Network;
use crate::wire::Tuple;

use identity::Identities;
use log::{Line, Log};
use record::Groups;
use tuple::{Exchange, Moment, State};

pub use identity::target_name;

/// Continuing flows remembered at a time: 32 MiB at most.
const CONTINUING: usize = 1 << 18;
/// Tuples of one cut: about 8 MiB.
const TUPLES: usize = 100_000;

/// The flow logs of one running network.
#[derive(Debug, Default)]
pub struct FlowLogs {
    /// By index in [`Network::flow_logs`].
    logs: Vec<Log>,
    interfaces: HashMap<NicId, Interface>,
    pending: BTreeMap<(usize, NicId), Groups>,
    tuples: usize,
    /// Flows refused since the last cut: repeated attempts are reported once.
    refused: HashSet<(NicId, Direction, Tuple)>,
    continuing: HashMap<Flow, Reported>,
    looks: u64,
    omitted: u64,
}

#[derive(Debug)]
struct Interface {
    mac: String,
    logs: Vec<usize>,
}

/// A flow's identity: another one may have the same tuple later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    nic: NicId,
    admitted: Direction,
    tuple: Tuple,
    begun: Timestamp,
}

/// What was reported of a continuing flow.
#[derive(Clone, Copy, Debug)]
struct Reported {
    at: Timestamp,
    exchange: Exchange,
    /// The last scan of all records that found it.
    look: u64,
}

/// A rule's names, as the file spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleNames<'a> {
    /// The security group, or the network manager.
    pub owner: &'a str,
    /// `securityRules/x`, `defaultSecurityRules/x`, or of a manager `ruleCollections/c/x`.
    pub name: &'a str,
}

/// A whole record, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRecord {
    /// Index in [`Network::flow_logs`].
    pub log: usize,
    /// Of the log, below its storage path.
    pub directory: PathBuf,
    /// `y=2026/m=11/d=21/h=12`
    pub hour: String,
    pub mac: String,
    /// JSON, on one line.
    pub text: String,
}

impl LoggedRecord {
    /// The record's file, below the log's directory: Azure writes one for each hour and interface.
    pub fn file(&self) -> PathBuf {
        Path::new(&self.hour).join("m=00").join(format!("macAddress={}", self.mac)).join("PT1H.json")
    }
}

/// `y=2026/m=11/d=21/h=12`: sorts in the order of time.
pub fn hour(unix_micros: u64) -> String {
    let Utc { year, month, day, hour, .. } = Utc::from_unix_micros(unix_micros);
    format!("y={year:04}/m={month:02}/d={day:02}/h={hour:02}")
}

impl FlowLogs {
    /// Uses another network from now on. Pending records belong to the logs before: cut first. Flows of interfaces that
    /// stay in a log continue in it.
    pub fn keep_to(&mut self, network: &Network, compiled: &Compiled) {
        let identities = Identities(network);
        self.logs = network.flow_logs.iter().map(|log| Log::new(identities, log)).collect();
        self.interfaces.clear();
        if network.flow_logs.iter().any(|log| log.enabled) {
            let macs = identities.macs(senders(network).into_iter());
            let interface = |(sender, mac)| {
                let logs = flow_logs(network, sender);
                (!logs.is_empty()).then_some((compiled.ids().nic(sender)?, Interface { mac, logs }))
            };
            self.interfaces = macs.into_iter().filter_map(interface).collect();
        }
        self.continuing.retain(|flow, _| self.interfaces.contains_key(&flow.nic));
    }

    /// Whether no interface is logged.
    pub fn is_idle(&self) -> bool {
        self.interfaces.is_empty()
    }

    /// Adds an event. The caller passes `now` and the clock that turns the workers' time into microseconds since 1970.
    pub fn note<'a>(
        &mut self,
        event: &FlowEvent,
        now: Timestamp,
        clock: impl Fn(Timestamp) -> u64,
        names: impl Fn(RuleId) -> Option<RuleNames<'a>>,
    ) {
        let (record, at, state) = match event {
            FlowEvent::Begun(record) => (*record, record.begun, State::Begun),
            FlowEvent::Ended(record) => {
                let before = self.continuing.remove(&Flow::of(record)).map(|reported| reported.exchange);
                let exchange = Exchange::of(record).since(before.unwrap_or_default());
                // A closed connection's record lingers; any other flow ends when it is found to have been idle for too
                // long.
                let at = if record.state == FlowState::Closed { record.last } else { now };
                (*record, at, State::Ended(exchange))
            }
            FlowEvent::Denied(denial) => {
                if !self.is_first_attempt(denial.nic, denial.direction, denial.tuple) {
                    return;
                }
                (denial.unbegun(), denial.at, State::Denied)
            }
        };
        self.add(&record, state, clock(at), names);
    }

    /// Begins a scan of all records, which forgets flows that are gone.
    pub fn look(&mut self) {
        self.looks += 1;
        let oldest = self.looks.saturating_sub(2);
        // Two scans: the end event of a flow that was not found may still come.
        self.continuing.retain(|_, reported| reported.look >= oldest);
    }

    /// Adds a record that a scan found: it is reported as continuing once `every` has passed since its last report.
    pub fn go_on<'a>(
        &mut self,
        record: &FlowRecord,
        every: Duration,
        now: Timestamp,
        clock: impl Fn(Timestamp) -> u64,
        names: impl Fn(RuleId) -> Option<RuleNames<'a>>,
    ) {
        // A closed flow ends soon, with its counters.
        let over = record.refused || record.state == FlowState::Closed;
        if over || !self.interfaces.contains_key(&record.nic) {
            return;
        }
        let flow = Flow::of(record);
        let look = self.looks;
        let before = self.continuing.get_mut(&flow).map(|reported| {
            reported.look = look;
            *reported
        });
        let since = before.map_or(record.begun, |reported| reported.at);
        if u128::from(now.0.saturating_sub(since.0)) < every.as_nanos() {
            return;
        }
        if before.is_none() && self.continuing.len() >= CONTINUING {
            self.omitted += 1;
            return;
        }
        let exchange = Exchange::of(record);
        self.continuing.insert(flow, Reported { at: now, exchange, look });
        let news = exchange.since(before.map(|reported| reported.exchange).unwrap_or_default());
        self.add(record, State::Continuing(news), clock(now), names);
    }

    /// The records of everything added since the last cut.
    pub fn cut(&mut self, unix_micros: u64) -> Vec<LoggedRecord> {
        self.tuples = 0;
        self.refused.clear();
        let hour = hour(unix_micros);
        let time = Utc::from_unix_micros(unix_micros).to_string();
        let pending = std::mem::take(&mut self.pending).into_iter();
        let record = |((log, nic), groups): ((usize, NicId), Groups)| {
            let (log_of, interface) = (self.logs.get(log)?, self.interfaces.get(&nic)?);
            let text = log_of.record(&time, &interface.mac, &groups);
            let directory = log_of.directory.clone();
            Some(LoggedRecord { log, directory, hour: hour.clone(), mac: interface.mac.clone(), text })
        };
        pending.filter_map(record).collect()
    }

    /// The number of tuples without space that are in no log, since the start.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    fn is_first_attempt(&mut self, nic: NicId, direction: Direction, tuple: Tuple) -> bool {
        // With the set full, every attempt counts as the first: tuples are bounded, too.
        self.refused.len() >= TUPLES || self.refused.insert((nic, direction, tuple))
    }

    fn add<'a>(
        &mut self,
        record: &FlowRecord,
        state: State,
        unix_micros: u64,
        names: impl Fn(RuleId) -> Option<RuleNames<'a>>,
    ) {
        let Some(interface) = self.interfaces.get(&record.nic) else { return };
        // The last rule that allowed it, or the only one that denied it (NSG-10).
        let rule = record.rules.iter().last().and_then(names);
        let moment = Moment { unix_micros, direction: record.admitted, tuple: record.tuple, state };
        for log in &interface.logs {
            let Some(Line { acl, rule, tuple }) = self.logs[*log].line(rule, &moment) else { continue };
            if self.tuples >= TUPLES {
                self.omitted += 1;
                continue;
            }
            self.tuples += 1;
            let groups = self.pending.entry((*log, record.nic)).or_default();
            groups.entry(acl).or_default().entry(rule).or_default().push(tuple);
        }
    }
}

impl Flow {
    const fn of(record: &FlowRecord) -> Self {
        Self { nic: record.nic, admitted: record.admitted, tuple: record.tuple, begun: record.begun }
    }
}

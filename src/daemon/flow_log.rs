//! The thread that keeps flow logs: takes the workers' events, makes records, and files them by log.
//!
//! One idea: no worker waits for it. It takes the events a few times a second, looks at all flow records when it makes
//! log records, and counts what it missed. [`FlowLogs`] decides what is written. While no interface is logged it
//! sleeps and gets no events.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, mem};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};

use crate::dataplane::{Cursor, RuleId};
use crate::flow_log::files::LogFiles;
use crate::flow_log::{FlowLogs, RuleNames, target_name};
use crate::sys::confine::{self, Role, Thread};
use crate::worker::{FlowScope, FlowWatch};

use super::api::protocol::FlowLogStatus;
use super::engine::{Engine, Published};
use super::wall_clock::WallClock;

/// How often events are taken: there is room for 300,000 a second.
const TICK: Duration = Duration::from_millis(50);

/// Orders that wait at a time.
const ORDERS: usize = 4;

/// Keeps a lab's flow logs until it is stopped or dropped.
#[derive(Debug)]
pub struct FlowLogger {
    orders: Sender<Order>,
    taken: Receiver<Order>,
    writer: Mutex<Option<Writer>>,
    report: Arc<ArcSwap<FlowLogReport>>,
}

/// The thread, and where it may write: it cannot open files elsewhere.
#[derive(Debug)]
struct Writer {
    places: Vec<Place>,
    thread: Thread<Keeper>,
}

/// A directory, with the number that tells it from one of the same name that was made later.
type Place = (PathBuf, u64);

/// How the flow logs are doing.
#[derive(Clone, Debug, Default)]
pub struct FlowLogReport {
    pub logs: Vec<FlowLogStatus>,
    /// What happened to flows and is in no log: it came faster than it could be taken down.
    pub lost: u64,
}

impl FlowLogReport {
    /// What a user should know.
    pub(super) fn complaints(&self) -> impl Iterator<Item = String> {
        let failing =
            self.logs.iter().filter_map(|log| Some(format!("flow log {}: {}", log.name, log.error.as_ref()?)));
        let lost = (self.lost > 0).then(|| {
            format!(
                "{} things that happened to flows are in no flow log: they came faster than they are written",
                self.lost
            )
        });
        failing.chain(lost)
    }
}

#[derive(Debug)]
enum Order {
    /// Writes what is pending.
    Cut,
    /// Uses what is published now, with the storage path of each flow log.
    Apply(Vec<PathBuf>, Sender<()>),
    /// Another thread goes on with what this one has.
    HandOver,
    Stop,
}

#[derive(Debug)]
struct Keeper {
    engine: Arc<Engine>,
    published: Arc<Published>,
    logs: FlowLogs,
    files: Vec<LogFiles>,
    watch: Option<FlowWatch>,
    missed: u64,
    /// None comes while no interface is logged.
    ticks: Receiver<Instant>,
    next_cut: Instant,
    report: Arc<ArcSwap<FlowLogReport>>,
}

impl FlowLogger {
    /// Starts the thread, which does nothing before [`Self::apply`].
    pub fn start(engine: Arc<Engine>) -> io::Result<Self> {
        let (orders, taken) = bounded(ORDERS);
        let report = Arc::new(ArcSwap::from_pointee(FlowLogReport::default()));
        let keeper = Keeper {
            published: engine.published(),
            engine,
            logs: FlowLogs::default(),
            files: Vec::new(),
            watch: None,
            missed: 0,
            ticks: never(),
            next_cut: Instant::now(),
            report: Arc::clone(&report),
        };
        let writer = Mutex::new(Some(Writer::start(keeper, Vec::new(), taken.clone())?));
        Ok(Self { orders, taken, writer, report })
    }

    /// Uses what is published now; `storage` has the directory of each flow log of that network, in its order; those of
    /// enabled logs are there. Once it returns, flows that begin are logged.
    pub fn apply(&self, storage: Vec<PathBuf>) {
        // The next thread may write in the new directories alone. This fails only where the thread has ended.
        let _ = self.orders.send(Order::Cut);
        self.write_in(&storage);
        let (done, applied) = bounded(1);
        if self.orders.send(Order::Apply(storage, done)).is_ok() {
            // Fails only where the thread has ended.
            let _ = applied.recv();
        }
    }

    /// Its state, for `status`.
    pub fn report(&self) -> Arc<ArcSwap<FlowLogReport>> {
        Arc::clone(&self.report)
    }

    /// Writes what is pending, and ends. Does nothing the second time.
    pub fn stop(&self) {
        if let Some(Writer { thread, .. }) = self.writer().take() {
            // It may have ended.
            let _ = self.orders.send(Order::Stop);
            thread.join();
        }
    }

    /// Makes directories that a user has removed meanwhile, so that records go on.
    pub fn mend(&self) {
        let places = self.writer().as_ref().map(|writer| writer.places.clone()).unwrap_or_default();
        let paths: Vec<_> = places.iter().map(|(path, _)| path.clone()).collect();
        if places_of(&paths) == places {
            return;
        }
        for path in &paths {
            if let Err(error) = fs::create_dir_all(path) {
                return tracing::warn!("flow logs cannot be written: cannot make {}: {error}", path.display());
            }
        }
        self.write_in(&paths);
    }

    /// Has a thread write that may write there. What a thread may do never grows, so that is another one.
    fn write_in(&self, storage: &[PathBuf]) {
        let mut running = self.writer();
        let places = places_of(storage);
        let Some(writer) = running.take_if(|writer| writer.places != places) else { return };
        // Fails only where the thread has ended.
        let _ = self.orders.send(Order::HandOver);
        let Some(keeper) = writer.thread.join() else { return };
        match Writer::start(keeper, places, self.taken.clone()) {
            Ok(writer) => *running = Some(writer),
            Err(error) => tracing::error!("flow logs are not written any more: {error}"),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn start(keeper: Keeper, places: Vec<Place>, orders: Receiver<Order>) -> io::Result<Self> {
        let directories = places.iter().map(|(path, _)| path.clone()).collect();
        let keep = move |()| keeper.keep(&orders);
        let thread = confine::spawn("vnet-flow-logs", Role::FlowLogs(directories), || Ok(()), keep)?;
        Ok(Self { places, thread })
    }
}

/// Those of the directories that are there.
fn places_of(storage: &[PathBuf]) -> Vec<Place> {
    let places = storage.iter().filter_map(|path| Some((path.clone(), fs::metadata(path).ok()?.ino())));
    let places: BTreeSet<_> = places.collect();
    places.into_iter().collect()
}

impl Drop for FlowLogger {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Keeper {
    /// Follows orders until one ends this thread or hands the logs to another.
    fn keep(mut self, orders: &Receiver<Order>) -> Self {
        loop {
            let order = select! {
                recv(orders) -> order => Some(order.unwrap_or(Order::Stop)),
                recv(self.ticks) -> _ => None,
            };
            self.take();
            match order {
                Some(Order::Cut) => self.cut(),
                Some(Order::Apply(storage, done)) => {
                    self.change(storage);
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
                None if Instant::now() < self.next_cut => {}
                None => {
                    self.look();
                    self.cut();
                }
                Some(Order::HandOver) => return self,
                Some(Order::Stop) => {
                    self.cut();
                    return self;
                }
            }
        }
    }

    /// Takes down what has happened.
    fn take(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        self.missed += watch.missed();
        let (now, clock) = (self.engine.now(), WallClock::now());
        let published = &self.published;
        for event in watch.events() {
            self.logs.note(&event, now, |at| clock.unix_micros(at), |rule| names(published, rule));
        }
    }

    /// Looks for flows that go on.
    fn look(&mut self) {
        let (now, clock) = (self.engine.now(), WallClock::now());
        let every = self.published.network.emulation.flow_log_pace.continuation;
        let published = &self.published;
        self.logs.look();
        let mut cursor = Some(Cursor::default());
        let mut records = Vec::new();
        while let Some(from) = cursor {
            cursor = self.engine.flow_records(from, &mut records);
            for record in records.drain(..) {
                self.logs.go_on(&record, every, now, |at| clock.unix_micros(at), |rule| names(published, rule));
            }
        }
    }

    /// Writes the records into their files.
    fn cut(&mut self) {
        let now = WallClock::now().unix_micros(self.engine.now());
        for record in self.logs.cut(now) {
            if let Some(file) = self.files.get_mut(record.log) {
                file.put(&record, now);
            }
        }
        self.files.iter_mut().for_each(LogFiles::end_cut);
        self.next_cut = Instant::now() + self.published.network.emulation.flow_log_pace.record;
        self.tell();
    }

    fn change(&mut self, storage: Vec<PathBuf>) {
        self.published = self.engine.published();
        let Published { network, compiled, .. } = &*self.published;
        self.logs.keep_to(network, compiled);
        let mut before = mem::take(&mut self.files);
        let logs = network.flow_logs.iter().zip(storage);
        self.files = logs.map(|(log, path)| LogFiles::new(log, path, network.emulation.flow_log_pace.room)).collect();
        for file in &mut self.files {
            if let Some(old) = before.iter_mut().find(|old| old.continues_in(file)) {
                file.take_over(old);
            }
        }
        if self.logs.is_idle() {
            (self.watch, self.ticks) = (None, never());
        } else if self.watch.is_none() {
            self.ticks = tick(TICK);
            // Fails only where a worker does not answer, which is reported as an event of its own.
            self.watch = self.engine.flow_events(FlowScope::Logged).ok();
        }
        self.tell();
    }

    fn tell(&self) {
        let network = &self.published.network;
        let logs = network.flow_logs.iter().zip(&self.files).map(|(log, file)| FlowLogStatus {
            name: log.name.clone(),
            target: target_name(network, log.target),
            enabled: log.enabled,
            storage_path: file.storage().to_owned(),
            records: file.records(),
            error: file.error(),
        });
        let lost = self.missed + self.logs.omitted() + self.files.iter().map(LogFiles::lost).sum::<u64>();
        self.report.store(Arc::new(FlowLogReport { logs: logs.collect(), lost }));
    }
}

fn names(published: &Published, rule: RuleId) -> Option<RuleNames<'_>> {
    published.rule(rule).map(|label| RuleNames { owner: &label.owner, name: &label.name })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn diag_09_a_log_that_fails_is_named_and_what_is_in_none_is_counted() {
        let log = |name: &str, error: Option<&str>| FlowLogStatus {
            name: name.to_owned(),
            target: "web".to_owned(),
            enabled: true,
            storage_path: PathBuf::new(),
            records: 0,
            error: error.map(str::to_owned),
        };
        let complaints = |logs: Vec<FlowLogStatus>, lost| FlowLogReport { logs, lost }.complaints().collect::<Vec<_>>();
        assert!(complaints(vec![log("a", None)], 0).is_empty());
        assert_eq!(
            complaints(vec![log("a", Some("it is full")), log("b", None), log("c", Some("it is gone"))], 1),
            [
                "flow log a: it is full",
                "flow log c: it is gone",
                "1 things that happened to flows are in no flow log: they came faster than they are written"
            ]
        );
    }

    /// A directory that was made anew has another number.
    #[test]
    fn places_are_the_directories_that_are_there_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b", "a"] {
            fs::create_dir(at(name)).unwrap();
        }
        let places = places_of(&[at("b"), at("none"), at("a"), at("b")]);
        assert_eq!(places.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), [at("a"), at("b")]);
        assert_eq!(places_of(&[at("b"), at("a")]), places);
        fs::rename(at("a"), at("old")).unwrap();
        fs::create_dir(at("a")).unwrap();
        assert_ne!(places_of(&[at("b"), at("a")]), places);
    }
}

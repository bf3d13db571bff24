//! A running network: its tables compiled and published, a worker on each core forwarding between its TUNs.
//!
//! Configuration reaches the workers by one pointer: a whole new snapshot is compiled and swapped in; no table is
//! edited. A change is first prepared, which does nothing, then published. A name that stays keeps its number, so that
//! its flow records and its device go on. The caller makes TUNs and ends namespaces.

pub mod counters;
mod numbers;
pub(super) mod rule_numbers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{io, mem, thread};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, unbounded};

use crate::analysis::{self, FlowCounts, Plan};
use crate::compile::{Compiled, Ids, compile_next, compile_numbered};
use crate::dataplane::{
    Cursor, FlowLimits, FlowRecord, FlowTable, Flows, Held, Pattern, PortId, RoutingLoop, RuleId, Timestamp,
};
use crate::model::{Attachment, Emulation, Health, Network, ProbeKey};
use crate::sys::clock::monotonic_nanos;
use crate::sys::tun::{OffloadSupport, Tun, TunQueue};
use crate::worker::{CaptureWatch, Carried, Dropped, FlowEvents, FlowScope, FlowWatch, Tables, Watch, Workers};

use counters::{Counters, PortCounters};
use numbers::Numbers;
use rule_numbers::{NextRules, RuleNumbers};

pub use crate::model::{BgpLearned, Learned};
pub use crate::worker::Event;
pub use rule_numbers::RuleLabel;

const FIRST_GENERATION: u64 = 1;

/// Flow events that may wait for their reader: 3 MiB.
const FLOW_EVENTS: usize = 1 << 14;

/// Forwards between the TUNs of one network until it is stopped or dropped.
#[derive(Debug)]
pub struct Engine {
    published: ArcSwap<Published>,
    /// Held while publishing.
    writer: Mutex<()>,
    tables: Tables,
    workers: Workers,
    events: Mutex<Option<Receiver<Event>>>,
}

/// The published tables, and what their numbers mean. Its parts belong together.
#[derive(Debug)]
pub struct Published {
    pub network: Arc<Network>,
    pub compiled: Arc<Compiled>,
    numbers: Arc<Numbers>,
    rules: Arc<RuleNumbers>,
    learned: Learned,
    /// Of all TUNs; none before the first.
    offload: Option<OffloadSupport>,
}

/// A network that could take the published one's place. Nothing has been done yet.
#[derive(Debug)]
pub struct Next {
    /// The network that it replaces.
    before: Arc<Network>,
    pub network: Network,
    pub compiled: Compiled,
    numbers: Arc<Numbers>,
    rules: Arc<RuleNumbers>,
    fresh_rules: Vec<RuleId>,
    learned: Learned,
    /// What keeps its TUN: as the published network has it, and as this one does.
    pub staying: Vec<(Attachment, Attachment)>,
    /// TUNs that publishing it needs.
    pub missing: Vec<Attachment>,
    /// Of these, those that had a device which is gone.
    pub restored: Vec<Attachment>,
    /// Ports that it leaves without a TUN.
    gone: Vec<PortId>,
}

/// The numbers of a network's names.
struct Numbered {
    numbers: Arc<Numbers>,
    rules: Arc<RuleNumbers>,
    ids: Ids,
    fresh_rules: Vec<RuleId>,
}

/// A property that workers or devices were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("emulation.{0} cannot change while the lab runs")]
pub struct NeedsRestart(pub &'static str);

impl Engine {
    /// Starts forwarding. The n-th TUN is what hangs on `network.attachments()[n]`; open each with
    /// [`Engine::workers`] queues.
    pub fn start(network: Network, tuns: Vec<Tun>, learned: Learned) -> io::Result<Self> {
        let attachments = network.attachments();
        if tuns.len() != attachments.len() {
            return invalid(format!("{} TUNs for {} attachments", tuns.len(), attachments.len()));
        }
        let offload = check(&tuns, None)?;
        let NextRules { numbers: rules, ids: rule_ids, .. } = RuleNumbers::default().next(&network, HashSet::new);
        let (numbers, ids) = Numbers::default().next(&network, rule_ids, None);
        let compiled = compile_numbered(&network, &learned, ids, FIRST_GENERATION);
        let flows = Flows::new(FlowLimits::of_nic(network.emulation.flows_per_nic));
        let snapshot = Arc::new(ArcSwap::new(Arc::clone(&compiled.snapshot)));
        let events = FlowEvents::default();
        let flows = Arc::new(flows);
        let port = tuns.iter().flat_map(|tun| &tun.queues).find_map(TunQueue::port);
        let taps = Arc::default();
        let carried = port.map(|port| {
            let (cache, snapshot, flows) = (Arc::clone(port.cache()), Arc::clone(&snapshot), Arc::clone(&flows));
            Carried::start(cache, snapshot, flows, Arc::clone(&taps), events.clone())
        });
        let carried = carried.transpose()?.map(Arc::new);
        let tables = Tables { snapshot, flows, taps, events, carried };
        // A port or a worker reports its end once, so their number bounds what waits.
        let (sender, events) = unbounded();
        // Numbered in file order to begin with: the n-th attachment is port n.
        let queues = tuns.into_iter().map(|tun| tun.queues).collect();
        let workers = Workers::start(&tables, queues, Self::workers(&network), &sender)?;
        workers.tallies().iter().for_each(|tally| tally.rules().make_room(rules.end()));
        let (network, compiled) = (Arc::new(network), Arc::new(compiled));
        let (numbers, rules) = (Arc::new(numbers), Arc::new(rules));
        let published = ArcSwap::from_pointee(Published { network, compiled, numbers, rules, learned, offload });
        let events = Mutex::new(Some(events));
        Ok(Self { published, writer: Mutex::default(), tables, workers, events })
    }

    /// How many workers a network gets: what it says, or one a core.
    pub fn workers(network: &Network) -> usize {
        // Asked for once, so that no thread has to be allowed to ask.
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get));
        network.emulation.workers.unwrap_or(cores).max(1)
    }

    /// Prepares a change: its numbers, the TUNs that come and go, and its tables.
    pub fn prepare(&self, mut network: Network) -> Result<Next, NeedsRestart> {
        let now = self.published.load();
        check_emulation(&now.network.emulation, &network.emulation)?;
        let Numbered { numbers, rules, ids, fresh_rules } = self.number(&now, &mut network);
        let attachments = network.attachments();
        let before = now.compiled.ids();
        let held = |attachment: &Attachment| Some((ids.port(*attachment)?, before.attachment(ids.port(*attachment)?)?));
        // What was learned about a device stays with it, wherever the file has it now.
        let known =
            |attachment: &Attachment| Some(held(attachment).filter(|(port, _)| self.workers.is_alive(*port))?.1);
        let learned = attachments.iter().filter_map(|at| Some((*at, *now.learned.mtu.get(&known(at)?)?)));
        let off = attachments.iter().filter(|at| known(at).is_some_and(|was| now.learned.switched_off.contains(&was)));
        let learned = Learned {
            mtu: learned.collect(),
            switched_off: off.copied().collect(),
            bgp: now.learned.bgp.clone(),
            sites: now.learned.sites.clone(),
            down: now.learned.down.clone(),
            health: now.learned.health.clone(),
        };
        let staying = attachments.iter().filter_map(|at| Some((known(at)?, *at))).collect();
        let missing: Vec<_> = attachments.iter().copied().filter(|at| known(at).is_none()).collect();
        let restored = missing.iter().copied().filter(|at| held(at).is_some()).collect();
        let ports = now.network.attachments().into_iter().filter_map(|at| before.port(at));
        let gone = ports.filter(|port| ids.attachment(*port).is_none()).collect();
        let generation = now.compiled.snapshot.generation + 1;
        let compiled = compile_next(&network, &learned, ids, generation, &now.compiled);
        let before = Arc::clone(&now.network);
        Ok(Next { before, network, compiled, numbers, rules, fresh_rules, learned, staying, missing, restored, gone })
    }

    fn number(&self, now: &Published, network: &mut Network) -> Numbered {
        // Numbers go by names, and none of a route.
        if differ_in_routes_alone(&now.network, network) {
            let (numbers, rules) = (Arc::clone(&now.numbers), Arc::clone(&now.rules));
            return Numbered { numbers, rules, ids: now.compiled.ids().clone(), fresh_rules: Vec::new() };
        }
        let records = &self.tables.flows.records;
        let NextRules { numbers: rules, ids, fresh } = now.rules.next(network, || self.rules_in_records());
        let (numbers, ids) = now.numbers.next(network, ids, Some(records));
        Numbered { numbers: Arc::new(numbers), rules: Arc::new(rules), ids, fresh_rules: fresh }
    }

    /// Puts a prepared network in place of the published one, all or nothing: every worker gets its queues of the new
    /// TUNs, then the tables change, then the TUNs that are left over go. Needs a TUN, and its MTU if it is known, for
    /// each of [`Next::missing`].
    pub fn publish(&self, next: Next, mut tuns: HashMap<Attachment, (Tun, Option<u16>)>) -> io::Result<()> {
        let _one_writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.published.load_full();
        let Next {
            before,
            network,
            mut compiled,
            numbers,
            rules,
            fresh_rules,
            mut learned,
            staying: _,
            missing,
            restored: _,
            gone,
        } = next;
        if !Arc::ptr_eq(&before, &now.network) {
            return Err(io::Error::other("the network changed while this change was being prepared"));
        }
        let generation = now.generation() + 1;
        let mut new = Vec::new();
        let known = learned.mtu.len();
        for attachment in &missing {
            let Some((tun, mtu)) = tuns.remove(attachment) else {
                return invalid(format!("no TUN for {attachment:?}"));
            };
            learned.mtu.extend(mtu.map(|mtu| (*attachment, mtu)));
            new.push(tun);
        }
        let offload = check(&new, now.offload)?;
        let missed = generation != compiled.snapshot.generation;
        if missed {
            learned.bgp.clone_from(&now.learned.bgp);
            learned.down.clone_from(&now.learned.down);
            learned.health.clone_from(&now.learned.health);
        }
        if missed || learned.mtu.len() > known {
            compiled = compile_next(&network, &learned, compiled.ids().clone(), generation, &compiled);
        }
        let port = |attachment| port_of(compiled.ids(), attachment);
        self.workers.plug(missing.iter().map(|at| port(*at)).zip(new.into_iter().map(|tun| tun.queues)).collect())?;
        for hits in self.workers.tallies().iter().map(|tally| tally.rules()) {
            hits.make_room(rules.end());
            for rule in &fresh_rules {
                hits.reset(*rule);
            }
        }
        self.tables.snapshot.store(Arc::clone(&compiled.snapshot));
        let (network, compiled) = (Arc::new(network), Arc::new(compiled));
        self.published.store(Arc::new(Published { network, compiled, numbers, rules, learned, offload }));
        self.end_carrying();
        // The change is made. Devices that are gone close on this thread.
        drop(self.workers.unplug(&gone));
        self.read_carried();
        // No worker uses the old tables any more, so that they are freed here and not between two packets.
        drop(now);
        Ok(())
    }

    /// Changes the learned state, and publishes the tables that follow: the same network, ports and flows. False where
    /// nothing changed.
    pub fn learn(&self, change: impl FnOnce(&mut Learned)) -> bool {
        let _one_writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.published.load_full();
        let mut learned = now.learned.clone();
        change(&mut learned);
        if learned == now.learned {
            return false;
        }
        let (network, ids) = (Arc::clone(&now.network), now.compiled.ids().clone());
        let compiled = Arc::new(compile_next(&network, &learned, ids, now.generation() + 1, &now.compiled));
        self.tables.snapshot.store(Arc::clone(&compiled.snapshot));
        let (numbers, rules, offload) = (Arc::clone(&now.numbers), Arc::clone(&now.rules), now.offload);
        self.published.store(Arc::new(Published { network, compiled, numbers, rules, learned, offload }));
        self.end_carrying();
        // The tables are in place. A worker that does not answer now has ended, and an event reports that.
        let _ = self.workers.refresh();
        // No worker uses the old tables any more, so that they are freed here and not between two packets.
        drop(now);
        true
    }

    /// Lets go of devices. What goes to them is dropped, until a later network finds them missing and brings others.
    pub fn disconnect(&self, attachments: &[Attachment]) {
        let _one_writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.published.load();
        let ports: Vec<_> = attachments.iter().filter_map(|at| now.compiled.ids().port(*at)).collect();
        self.end_carrying();
        drop(self.workers.unplug(&ports));
        self.read_carried();
    }

    /// From now on each flow's next packet comes up to the workers, and the kernel carries it again by what they decide.
    fn end_carrying(&self) {
        if let Some(carried) = &self.tables.carried {
            carried.invalidate();
        }
    }

    /// Counts what the kernel carried until now.
    pub fn read_carried(&self) {
        if let Some(carried) = &self.tables.carried {
            carried.read();
        }
    }

    /// How many flows the kernel carries, each direction by itself; None where it carries none.
    pub fn carried(&self) -> Option<usize> {
        self.read_carried();
        self.tables.carried.as_ref().map(|carried| carried.flows())
    }

    /// The published state, as one consistent whole.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    pub fn network(&self) -> Arc<Network> {
        Arc::clone(&self.published.load().network)
    }

    pub fn compiled(&self) -> Arc<Compiled> {
        Arc::clone(&self.published.load().compiled)
    }

    /// Totals; the n-th port is that of the published network's n-th attachment.
    pub fn counters(&self) -> Counters {
        self.counters_of(&self.published.load())
    }

    /// The same for what was published when the caller looked.
    pub fn counters_of(&self, published: &Published) -> Counters {
        let Published { network, compiled, .. } = published;
        self.read_carried();
        let ports = network.attachments().into_iter().map(|attachment| port_of(compiled.ids(), attachment));
        Counters {
            ports: ports.map(|port| PortCounters::of(&self.workers, port)).collect(),
            flows: self.tables.flows.records.len(),
            workers: self.workers.running(),
            generation: compiled.snapshot.generation,
        }
    }

    /// The flow records, to look at.
    pub fn records(&self) -> &FlowTable {
        &self.tables.flows.records
    }

    /// Shows packets: once this returns, no wanted packet is missed.
    pub fn watch(&self, pattern: Pattern) -> io::Result<Watch> {
        let watch = Watch::new(Arc::clone(&self.tables.taps), pattern);
        self.end_carrying();
        self.workers.refresh()?;
        Ok(watch)
    }

    /// The same with the packets' bytes, so many of each at most.
    pub fn capture(&self, pattern: Pattern, snap: usize) -> io::Result<CaptureWatch> {
        let watch = CaptureWatch::new(&self.tables, pattern, snap);
        self.end_carrying();
        self.workers.refresh()?;
        Ok(watch)
    }

    /// Returns once watches and captures have every packet that has left by now. A worker hands packets to them at the
    /// end of a batch; the receiver of a packet may be faster.
    pub fn finish_batches(&self) {
        // Workers that have ended tell no more.
        let _ = self.workers.refresh();
    }

    /// Shows the packets of flows that the kernel carries as well, after a watch or capture has got another pattern.
    pub fn show_again(&self) {
        self.end_carrying();
    }

    /// The workers' reports: the first caller gets the receiver.
    pub fn events(&self) -> Option<Receiver<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reports what happens to flows: once this returns, every event in this scope is reported or counted.
    pub fn flow_events(&self, scope: FlowScope) -> io::Result<FlowWatch> {
        let watch = self.tables.events.listen(scope, FLOW_EVENTS);
        self.workers.refresh()?;
        Ok(watch)
    }

    /// Some flow records, and where to go on: see [`FlowTable::page`](crate::dataplane::FlowTable::page).
    pub fn flow_records(&self, from: Cursor, records: &mut Vec<FlowRecord>) -> Option<Cursor> {
        if from == Cursor::default() {
            self.read_carried();
        }
        self.tables.flows.records.page(from, self.now(), records)
    }

    /// What workers remember of packets that they dropped.
    pub fn dropped(&self) -> Vec<Dropped> {
        self.workers.tallies().iter().flat_map(|tally| tally.dropped().list()).collect()
    }

    /// Flows that go round.
    pub fn loops(&self) -> Vec<RoutingLoop> {
        self.tables.flows.loops.found()
    }

    /// How many flows of load balancers each backend has.
    pub fn balanced_flows(&self) -> FlowCounts {
        let mut counts = FlowCounts::new(&self.published.load().compiled.snapshot);
        self.look_at_mappings(|held| {
            if held.balanced {
                counts.count(&held.mapped, held.protocol);
            }
        });
        counts
    }

    /// What load balancers' flows and those that leave go by.
    pub fn look_at_mappings(&self, look: impl FnMut(&Held)) {
        self.tables.flows.mappings.look(self.now(), look);
    }

    /// On the workers' clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(monotonic_nanos())
    }

    /// How often a rule has decided since the network came up, or the rule; on what the kernel carried when that was read
    /// last: [`Self::read_carried`].
    pub fn hits(&self, rule: RuleId) -> u64 {
        self.workers.tallies().iter().map(|tally| tally.rules().get(rule)).sum()
    }

    /// The rules that a user wrote and that have decided nothing since the network came up, or they were written.
    pub fn unused_rules(&self) -> Vec<RuleLabel> {
        self.read_carried();
        let published = self.published();
        let written = published.rules.written(&published.network);
        written.filter(|(id, _)| self.hits(*id) == 0).map(|(_, label)| label.clone()).collect()
    }

    /// Rules that flow records name.
    fn rules_in_records(&self) -> HashSet<RuleId> {
        let mut rules = HashSet::new();
        let mut records = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            cursor = self.flow_records(at, &mut records);
            rules.extend(records.drain(..).flat_map(|record| record.rules.0).flatten());
        }
        rules
    }

    /// Ends the workers and waits for them; they close the TUNs. Does nothing the second time.
    pub fn stop(&self) {
        self.workers.stop();
    }
}

impl Next {
    /// The effects of publishing it.
    pub fn plan(&self, published: &Published) -> Plan {
        analysis::plan((&published.network, &published.compiled), (&self.network, &self.compiled))
    }
}

impl Published {
    /// A rule's names, though it may have gone since a record named it.
    pub fn rule(&self, rule: RuleId) -> Option<&RuleLabel> {
        self.rules.label(rule)
    }

    /// The effects of its having replaced an earlier one.
    pub fn plan_since(&self, earlier: &Self) -> Plan {
        analysis::plan((&earlier.network, &earlier.compiled), (&self.network, &self.compiled))
    }

    /// The results of health probes; None where there are no probes.
    pub fn health(&self) -> Option<&BTreeMap<ProbeKey, Health>> {
        self.learned.health.as_ref()
    }

    /// Rises with every network that is published.
    pub fn generation(&self) -> u64 {
        self.compiled.snapshot.generation
    }

    /// The attachment of a port.
    pub fn attachment(&self, port: PortId) -> Option<Attachment> {
        self.compiled.ids().attachment(port)
    }
}

/// Whether two networks are one but for what route tables say.
fn differ_in_routes_alone(before: &Network, after: &mut Network) -> bool {
    let tables = mem::replace(&mut after.route_tables, before.route_tables.clone());
    let is_same = before == after;
    after.route_tables = tables;
    is_same
}

fn port_of(ids: &Ids, attachment: Attachment) -> PortId {
    ids.port(attachment).expect("every attachment has a number")
}

/// Threads and devices are made with these, so they cannot change.
fn check_emulation(before: &Emulation, after: &Emulation) -> Result<(), NeedsRestart> {
    let same = [
        ("workers", before.workers == after.workers),
        ("offload", before.offload == after.offload),
        ("udpSegmentation", before.udp_segmentation == after.udp_segmentation),
        ("device", before.device == after.device),
        ("mtu", before.mtu == after.mtu),
        ("platformServices", before.platform_services == after.platform_services),
        ("flowsPerNic", before.flows_per_nic == after.flows_per_nic),
    ];
    same.into_iter().find(|(_, same)| !same).map_or(Ok(()), |(property, _)| Err(NeedsRestart(property)))
}

/// The offload that TUNs have in common with those there are.
fn check(tuns: &[Tun], others: Option<OffloadSupport>) -> io::Result<Option<OffloadSupport>> {
    let offload = others.or(tuns.first().map(|tun| tun.offload));
    // A super-packet cannot be written to a device without the header that describes it.
    if let Some(odd) = tuns.iter().position(|tun| Some(tun.offload) != offload) {
        return invalid(format!("TUN {odd} has offload {:?}, the others {offload:?}", tuns[odd].offload));
    }
    if let Some(empty) = tuns.iter().position(|tun| tun.queues.is_empty()) {
        return invalid(format!("TUN {empty} has no queue"));
    }
    Ok(offload)
}

fn invalid<T>(message: String) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

//! A change of a running lab, all or nothing: new things are made beside the old, then the tables change, then what is
//! left over goes.
//!
//! One idea: until the engine has published the new tables, everything can be undone, and packets see no change. After
//! that nothing can fail that matters to a packet, and other failures are reported. The daemon's main thread makes one
//! change at a time.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::config::{self, Loaded, Named};
use crate::daemon::api::protocol::{Apply, Change, Changed, Refusal, Response};
use crate::daemon::api::server::LabFacts;
use crate::daemon::change;
use crate::daemon::engine::{Engine, Next, Published};
use crate::daemon::events::{self, EventLog, Happening};
use crate::daemon::flow_log::FlowLogger;
use crate::daemon::routers::{NodeNamespace, Routers};
use crate::lab::consent::{Code, directory_of, stays_inside};
use crate::lab::containers;
use crate::lab::demand::Demand;
use crate::lab::error::{During, Error, Result};
use crate::lab::journal::record::Record;
use crate::lab::namespaces::filters::Filters;
use crate::lab::namespaces::reconfigure::rearrange;
use crate::lab::namespaces::{Guests, Site};
use crate::lab::programs::{self, Program};
use crate::lab::relative_files::{LARGEST_TOPOLOGY, beside};
use crate::model::{Network, RunPolicy, counted};
use crate::sys::netns::{self, Netns};
use crate::sys::{caps, files};

use super::events::Events;
use super::failover::Absences;
use super::link_state::Switches;
use super::unwritten::Owed;
use super::{daemon, flow_logs};

/// A lab that runs, as its daemon's main thread holds it.
pub(in crate::lab) struct Lab<'a> {
    pub(in crate::lab) site: Site<'a>,
    pub(in crate::lab) engine: Arc<Engine>,
    pub(in crate::lab) logger: FlowLogger,
    pub(in crate::lab) routers: Arc<Routers>,
    pub(in crate::lab) absences: Absences,
    pub(in crate::lab) switches: Switches,
    pub(in crate::lab) record: Record,
    pub(in crate::lab) facts: Arc<ArcSwap<LabFacts>>,
    pub(in crate::lab) history: Arc<EventLog>,
    pub(in crate::lab) programs: Vec<Program>,
    pub(in crate::lab) filters: Filters,
    /// Where the topology can be read again.
    pub(in crate::lab) path: Option<PathBuf>,
    pub(in crate::lab) events: Events,
    /// What was read of the file that was applied last.
    pub(in crate::lab) memory: config::Memory,
    pub(in crate::lab) owed: Owed,
}

/// Why nothing was changed.
enum Unchanged {
    Refused(Refusal),
    Failed(Error),
}

impl From<Refusal> for Unchanged {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Lab<'_> {
    /// Makes a change that a client asks for.
    pub(in crate::lab) fn change(&mut self, change: Change) -> Response {
        match self.try_change(change) {
            Ok(response) => response,
            Err(Unchanged::Refused(refusal)) => Response::Refused(refusal),
            Err(Unchanged::Failed(error)) => Response::Failed(Refusal::new(error)),
        }
    }

    /// Applies the last applied file as it is now, and logs the result.
    pub(in crate::lab) fn read_again(&mut self) {
        let Some(path) = self.path.clone() else {
            return warn!("SIGHUP: the topology was piped in, there is no file to read again");
        };
        let text = match files::read_text(&path, LARGEST_TOPOLOGY) {
            Ok(text) => text,
            Err(error) => return warn!("SIGHUP: cannot read {}: {error}", path.display()),
        };
        let file = self.record.file.clone();
        let apply = Apply {
            text,
            service_tags: None,
            nftables: BTreeMap::new(),
            file,
            path: Some(path),
            dry_run: false,
            sync: false,
            no_run: self.record.policy == RunPolicy::Never,
            agreed: self.record.policy == RunPolicy::Always,
        };
        match self.change(Change::Apply(apply)) {
            Response::Changed(changed) => {
                info!("SIGHUP: {}, generation {}", counted(changed.plan.changes.len(), "change"), changed.generation);
                changed.warnings.iter().for_each(|warning| warn!("{warning}"));
            }
            Response::Refused(refusal) | Response::Failed(refusal) => {
                warn!("SIGHUP: nothing was changed: {}", refusal.message);
                self.history.tell(Happening::ChangeRefused { lab: self.record.lab.clone(), reason: refusal.message });
            }
            _ => {}
        }
    }

    /// Gives up devices in namespaces that have lost their name or process: they can no longer be
    /// entered.
    pub(in crate::lab) fn let_go_of_lost(&mut self) {
        let network = self.engine.network();
        let attachments = network.attachments().into_iter();
        let places: Vec<_> = attachments.filter_map(|at| Some((self.site.place(&network, at)?, at))).collect();
        let lost = self.site.lost();
        if lost.is_empty() {
            return;
        }
        let gone: Vec<_> = places.into_iter().filter(|(path, _)| lost.contains(path)).collect();
        for (path, at) in &gone {
            let (name, path) = (daemon::name(&network, *at), path.display());
            warn!("the namespace of {name} has gone, {path}: so has {name}, until `vnet apply` or SIGHUP");
            self.history.tell(Happening::DeviceLost { interface: name });
        }
        let gone: Vec<_> = gone.into_iter().map(|(_, at)| at).collect();
        self.engine.disconnect(&gone);
        self.switches.forget(&lost);
        let nodes = self.record.nodes.iter().filter(|node| lost.contains(&node.namespace));
        let nodes: Vec<_> = nodes.map(|node| node.name.clone()).collect();
        let ended = self.programs.extract_if(.., |program| nodes.contains(&program.node));
        programs::stop(ended.collect(), &mut self.site.claim.journal);
        self.record.programs.retain(|program| !nodes.contains(&program.node));
        self.filters.forget(&nodes);
        self.tell_filters();
        self.tell_programs(|programs| programs.retain(|program| !nodes.contains(&program.node)));
        if let Err(error) = self.site.claim.dir.write_record(&self.record) {
            warn!("{error}");
        }
    }

    /// The router itself has a fault: `status` shows it from now on.
    pub(in crate::lab) fn alert(&self, what: String) {
        warn!("{what}");
        self.update_facts(|mut facts| {
            facts.alerts.push(what);
            facts
        });
    }

    fn try_change(&mut self, change: Change) -> std::result::Result<Response, Unchanged> {
        self.let_go_of_lost();
        let published = self.engine.published();
        let running = &published.network;
        let mut left = Vec::new();
        let (network, source, memory) = match change {
            Change::Apply(apply) => {
                // What a client sends is read on a thread without capabilities.
                let read = || caps::renounce().map_err(Refusal::new).and_then(|()| self.wanted(&apply, running));
                let read = thread::scope(|scope| scope.spawn(read).join());
                let (mut network, memory) =
                    read.map_err(|_| Refusal::new("the file cannot be read: a bug in vnet"))??;
                containers::locate(&mut network, &self.site.base).map_err(Unchanged::Failed)?;
                (network, Some(apply), Some(memory))
            }
            Change::SyncPeering { link } => {
                let network = change::sync(running, link.as_deref())?;
                left = match link {
                    Some(link) => Vec::from_iter(change::left_to_sync(&network, &link)),
                    None => change::left_behind(&network),
                };
                (network, None, None)
            }
            Change::RemovePeering { link } => (change::remove_peering(running, &link)?, None, None),
            Change::FailCircuit { circuit, side, seconds } => {
                return Ok(Response::Outage(self.fail_circuit(&circuit, side, seconds)?));
            }
            Change::FailOver { gateway, instance, seconds } => {
                return Ok(Response::Outage(self.fail_over(&gateway, instance, seconds)?));
            }
        };
        let next = self.engine.prepare(network).map_err(|error| Refusal {
            message: error.to_string(),
            help: Some("`vnet down`, then `vnet up` with this file".to_owned()),
        })?;
        // Verbs are about one peering, a file is about all.
        let mut warnings = source.as_ref().map_or(left, |_| change::warnings(&next.network));
        let dry_run = source.as_ref().is_some_and(|apply| apply.dry_run);
        let restored: Vec<_> = next.restored.iter().map(|at| daemon::name(&next.network, *at)).collect();
        let applied = !dry_run && (next.network != **running || !restored.is_empty());
        // The effects are computed afterwards: packets need not wait for them.
        let plan = if applied {
            let topology = source.as_ref().map_or(&self.path, |apply| &apply.path).as_deref();
            let demand = |network: &Network| Demand::of(network, Engine::workers(network));
            let running = demand(running);
            demand(&next.network).check(Some(&running), "the change").map_err(Unchanged::Failed)?;
            let storage =
                flow_logs::storage(&next.network, topology, &self.site.claim.dir).map_err(Unchanged::Failed)?;
            let guests = self.make(&published, next).map_err(Unchanged::Failed)?;
            if let Some(topology) = source.as_ref().and_then(|apply| apply.path.as_deref()) {
                self.record.directory = directory_of(topology);
            }
            self.logger.apply(storage);
            warnings.extend(self.finish(guests));
            self.engine.published().plan_since(&published)
        } else {
            next.plan(&published)
        };
        if let Some(memory) = memory.filter(|_| !dry_run) {
            self.memory = memory.followed_by(self.engine.network());
        }
        if let Some(apply) = source.filter(|_| !dry_run) {
            warnings.extend(self.note_source(apply));
        }
        let generation = self.engine.counters().generation;
        let changed = Changed { lab: self.record.lab.clone(), applied, generation, plan, restored, warnings };
        if applied {
            let network = self.engine.network();
            events::of_change(&changed, running, &network).for_each(|happening| self.history.tell(happening));
        }
        Ok(Response::Changed(changed))
    }

    /// The network that a file asks for, and what was read of it. A file without a name is about this lab.
    fn wanted(&self, apply: &Apply, running: &Arc<Network>) -> std::result::Result<(Network, config::Memory), Refusal> {
        let files = |named: Named<'_>| {
            let given = match named {
                Named::ServiceTags(_) => apply.service_tags.as_ref(),
                Named::Nftables(file) => apply.nftables.get(file),
            };
            match (given, &apply.path) {
                (Some(text), _) => Ok(text.clone()),
                (None, Some(path)) => beside(path)(named),
                (None, None) => Err("the topology was piped in".to_owned()),
            }
        };
        let file = format!("{}.yaml", self.record.lab);
        // A switch from or to `--no-run` changes more than the text says.
        let fresh = config::Memory::default();
        let switched = apply.no_run != (self.record.policy == RunPolicy::Never);
        let earlier = if switched { &fresh } else { &self.memory };
        let next = config::Next { text: &apply.text, file: &file, running, files: &files, earlier };
        let (mut network, memory) = config::follow(&next, |loaded| self.accept(apply, loaded, running))?;
        if apply.sync {
            network.sync_all_links();
        }
        Ok((network, memory))
    }

    /// The file's network, if it may take the running one's place.
    fn accept(
        &self,
        apply: &Apply,
        loaded: std::result::Result<Loaded, config::Errors>,
        running: &Network,
    ) -> std::result::Result<Network, Refusal> {
        let Apply { text, file, .. } = apply;
        let lab = &self.record.lab;
        let drawn = |errors: config::Errors| {
            Refusal::new(format_args!("{file} is not applied\n{}", errors.render(text, file, false).trim_end()))
        };
        let mut loaded = loaded.map_err(drawn)?;
        if self.record.renamed {
            loaded.network.name.clone_from(lab);
        }
        if loaded.network.name != *lab {
            let other = &loaded.network.name;
            let help = Some(format!("`vnet up {file}` starts {other} beside it"));
            return Err(Refusal { message: format!("{file} describes lab {other}, this is lab {lab}"), help });
        }
        loaded.check_update(running).map_err(drawn)?;
        let network = if apply.no_run {
            stays_inside(&loaded.network).map_err(Refusal::new)?;
            loaded.network.without_code()
        } else {
            self.check_consent(apply, &loaded.network, running)?;
            loaded.network
        };
        change::apply(running, network, false)
    }

    /// A client asks its user. Here the file alone is known, and what was agreed to before.
    fn check_consent(&self, apply: &Apply, network: &Network, running: &Network) -> std::result::Result<(), Refusal> {
        let directory = apply.path.as_deref().map_or_else(|| self.record.directory.clone(), directory_of);
        let code = Code::of(network, &apply.text, &directory);
        if apply.agreed || code.is_none_or(|code| code.runs_in(running) || code.is_agreed()) {
            return Ok(());
        }
        let file = &apply.file;
        let help = Some(format!("look at it with `vnet trust {file}`, then send SIGHUP again"));
        Err(Refusal { message: format!("{file} runs code that its user has not agreed to"), help })
    }

    /// Everything up to the new tables; what was made is removed again if that does not work out.
    fn make(&mut self, published: &Published, next: Next) -> Result<Guests> {
        let mark = self.site.claim.journal.mark();
        let made = self.try_make(published, next);
        if made.is_err()
            && let Err(error) = self.site.claim.journal.undo_beyond(mark)
        {
            warn!("cannot take back all of a change that failed: {error}");
        }
        made
    }

    fn try_make(&mut self, published: &Published, next: Next) -> Result<Guests> {
        let (guests, tuns) = self.site.make(&next.network, &next.missing)?;
        // Azure takes seconds to configure every interface; until then the old tables are in use (FAB-15).
        if !self.events.pause(next.network.emulation.programming_delay) {
            return Err(Error::Ending);
        }
        let (before, after) = ((&*published.network, &self.site.guests), (&next.network, &guests));
        let rearranged = rearrange(before, after, &next.staying)?;
        let published = self.engine.publish(next, tuns).during(|| "cannot publish the new tables".into());
        rearranged.confirm(published).map(|()| guests)
    }

    /// The end of a change that is made: what is left over goes, and the change is reported. Returns what did not
    /// work.
    fn finish(&mut self, guests: Guests) -> Vec<String> {
        let network = self.engine.network();
        let before = self.record.clone();
        self.record.describe(&network, &guests, &self.site.claim.dir);
        let leaving = self.programs.extract_if(.., |program| !self.record.keeps_program(&before, &program.node));
        programs::stop(leaving.collect(), &mut self.site.claim.journal);
        let mut complaints = self.site.keep_only(guests, &network);
        let (namespaces, devices, places) = (self.record.namespaces(), self.record.devices(), self.record.places());
        self.update_facts(|facts| LabFacts { namespaces, devices, places, ..facts });
        complaints.extend(self.filter());
        complaints.extend(self.write_state());
        complaints.extend(self.route());
        complaints.extend(self.watch_switches());
        // A program may take the place of a cloud's pages.
        let pages = self.site.clouds.apply(&network, &self.site.guests);
        complaints.extend(pages.err().map(|error| error.to_string()));
        complaints.extend(self.start_programs(Some(&before)));
        complaints.extend(self.site.platform.apply(&self.engine, &self.history).err().map(|error| error.to_string()));
        complaints
    }

    /// Applies the network to the routers that speak BGP. Returns what did not work.
    pub(in crate::lab) fn route(&self) -> Vec<String> {
        let place = |host: &str| {
            let path = self.site.guests.namespace(host).ok_or(io::ErrorKind::NotFound)?;
            let devices = self.site.guests.devices(host);
            Ok(NodeNamespace { namespace: Netns::open(path)?, identity: netns::identity(path), devices })
        };
        let mut complaints = self.routers.apply(&self.engine.network(), place);
        complaints.extend(self.lead_around());
        complaints.extend(self.tell_silent());
        complaints
    }

    pub(in crate::lab) fn update_facts(&self, update: impl FnOnce(LabFacts) -> LabFacts) {
        self.facts.store(Arc::new(update(LabFacts::clone(&self.facts.load()))));
    }

    fn note_source(&mut self, apply: Apply) -> Vec<String> {
        self.path = apply.path;
        self.record.policy = match (apply.no_run, self.record.policy) {
            (true, _) => RunPolicy::Never,
            (false, RunPolicy::Never) => RunPolicy::Agreed,
            (false, policy) => policy,
        };
        self.record.file.clone_from(&apply.file);
        self.update_facts(|facts| LabFacts { file: apply.file, ..facts });
        self.write_topology(apply.text)
    }
}

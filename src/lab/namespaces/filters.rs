//! Packet filter rules that a file gives to its machines (`guest: {nftables: …}`): loaded, replaced, removed.
//!
//! One idea: the tables that a rule set made are those that were not there before it. They go in the same transaction
//! that brings the next rule set, so that every packet meets one of them. Tables of scripts and of vnet itself stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::api::protocol::ProgramStatus;
use crate::lab::error::{During, Result};
use crate::lab::journal::record::Record;
use crate::lab::journal::state::LabDir;
use crate::lab::lifecycle::apply::Lab;
use crate::lab::programs::exec::{Entrance, Node, RESOLVER, enter, environment};
use crate::model::{GuestFilter, Masquerade, Network, VirtualMachine};
use crate::sys::confine::on_starter;
use crate::sys::files;
use crate::sys::netns::Netns;
use crate::sys::process::{ProcessId, Signal};
use crate::sys::sandbox::confine;

use super::guest;

/// The time limit of `nft`, which may resolve names.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of its output.
const MOST: u64 = 1 << 20;

/// The rules that machines were given.
#[derive(Debug, Default)]
pub(in crate::lab) struct Filters {
    loaded: BTreeMap<String, Loaded>,
    status: BTreeMap<String, ProgramStatus>,
}

/// What a machine has.
#[derive(Debug, Default)]
struct Loaded {
    text: String,
    /// The tables that the rule set made, as `inet filter`.
    tables: BTreeSet<String>,
}

/// A machine, entered to load rules.
struct Loader<'a> {
    node: Node<'a>,
    dir: &'a LabDir,
    masquerade: Masquerade,
}

impl Filters {
    /// Gives every machine that runs the rules that its network has for it. Returns what did not work.
    pub(in crate::lab) fn apply(&mut self, network: &Network, record: &Record, dir: &LabDir) -> Vec<String> {
        let is_there = |name: &str| record.nodes.iter().any(|node| node.name == name);
        self.loaded.retain(|name, _| is_there(name));
        let mut complaints = Vec::new();
        let mut status = BTreeMap::new();
        for vm in network.virtual_machines.iter().filter(|vm| is_there(&vm.name)) {
            let Ok(node) = Node::find(record, &vm.name) else { continue };
            let loader = Loader { node, dir, masquerade: vm.guest_masquerade };
            match (&vm.guest_filter, self.loaded.get(&vm.name)) {
                (None, None) => {}
                (None, Some(old)) => {
                    complaints.extend(loader.remove(old).err().map(|error| error.to_string()));
                    self.loaded.remove(&vm.name);
                }
                (Some(filter), Some(old)) if old.text == filter.text => {
                    status.extend(self.status.remove_entry(&vm.name));
                }
                (Some(filter), old) => {
                    let nothing = Loaded::default();
                    let done = loader.load(filter, old.unwrap_or(&nothing));
                    let error = done.as_ref().err().map(ToString::to_string);
                    match done {
                        Ok(new) => drop(self.loaded.insert(vm.name.clone(), new)),
                        Err(error) => complaints.push(format!("{}: {error}", vm.name)),
                    }
                    status.insert(vm.name.clone(), loader.status(vm, filter, error));
                }
            }
        }
        self.status = status;
        complaints
    }

    /// The state of each, for `status`.
    pub(in crate::lab) fn status(&self) -> Vec<ProgramStatus> {
        self.status.values().cloned().collect()
    }

    /// Machines without a namespace have none.
    pub(in crate::lab) fn forget(&mut self, nodes: &[String]) {
        self.loaded.retain(|name, _| !nodes.contains(name));
        self.status.retain(|name, _| !nodes.contains(name));
    }
}

impl Lab<'_> {
    /// Gives machines the rules that the network has for them now. Returns what did not work.
    pub(in crate::lab) fn filter(&mut self) -> Vec<String> {
        let complaints = self.filters.apply(&self.engine.network(), &self.record, &self.site.claim.dir);
        self.tell_filters();
        complaints
    }

    pub(in crate::lab) fn tell_filters(&self) {
        self.update_facts(|mut facts| {
            facts.filters = self.filters.status();
            facts
        });
    }
}

impl Loader<'_> {
    /// Puts a rule set in the place of an earlier one. Where `nft` refuses it, the earlier one stays.
    fn load(&self, filter: &GuestFilter, old: &Loaded) -> Result<Loaded> {
        // On the first line: the others keep the numbers by which `nft` names them.
        let text = deletions(&old.tables) + &filter.text;
        let before = self.tables()?;
        self.nft(&text, Some(filter.name()))?;
        let kept: BTreeSet<_> = before.difference(&old.tables).cloned().collect();
        let tables = self.tables()?.difference(&kept).cloned().collect();
        // A rule set may begin with `flush ruleset`, and means its own rules.
        if self.masquerade != Masquerade::Off {
            let namespace = Netns::open(&self.node.node.namespace).during(|| "cannot enter the guest".to_owned())?;
            guest::set_masquerade(&namespace, self.masquerade)?;
        }
        Ok(Loaded { text: filter.text.clone(), tables })
    }

    fn remove(&self, old: &Loaded) -> Result<()> {
        self.nft(&deletions(&old.tables), None).map(drop)
    }

    fn tables(&self) -> Result<BTreeSet<String>> {
        let output = self.nft("list tables\n", None)?;
        Ok(output.lines().filter_map(|line| line.strip_prefix("table ")).map(str::to_owned).collect())
    }

    /// Runs `nft` on a text and returns its output. Its errors are reported with the name of the file that the text
    /// comes from, and logged.
    fn nft(&self, text: &str, name: Option<&str>) -> Result<String> {
        let machine = &self.node.node.name;
        let cannot = || format!("cannot load firewall rules of {machine}");
        let rules = self.dir.rules(machine);
        // A query leaves no trace in the log.
        let log = if name.is_some() { self.dir.rules_log(machine) } else { rules.with_extension("answer") };
        files::rewrite(&rules, text.as_bytes()).during(cannot)?;
        let (entrance, output) = (Entrance::from(self.node), files::create(&log, files::OWN).during(cannot)?);
        let file = rules.clone();
        let cannot_run = || format!("cannot run `nft` for {machine}");
        // A child is born into the namespaces of the thread that makes it, and has no more rights than that.
        let ran = on_starter(move || -> Result<io::Result<bool>> {
            enter(&entrance)?;
            confine(&[&file, Path::new(RESOLVER)])
                .during(|| format!("cannot confine `nft` for {}", entrance.name()))?;
            Ok(run(&entrance, &file, output))
        });
        let succeeded = ran.during(cannot_run)??.during(cannot_run)?;
        let output = File::open(&log).and_then(|log| files::read_bounded(log, MOST)).during(cannot_run)?;
        let output = String::from_utf8_lossy(&output);
        let output = output.replace(&rules.display().to_string(), name.unwrap_or("nft"));
        if name.is_some() {
            files::rewrite(&log, output.as_bytes()).during(cannot)?;
        }
        let first = output.lines().next().unwrap_or("nft does not end").to_owned();
        if succeeded { Ok(output) } else { Err(io::Error::other(first)).during(|| "nft".to_owned()) }
    }

    fn status(&self, vm: &VirtualMachine, filter: &GuestFilter, error: Option<String>) -> ProgramStatus {
        let (node, log) = (vm.name.clone(), self.dir.rules_log(&vm.name));
        let (failed, ended) = (error.is_some(), error.unwrap_or_else(|| "exit status: 0".to_owned()));
        ProgramStatus { node, command: format!("nft -f {}", filter.name()), ended: Some(ended), failed, log }
    }
}

/// Runs `nft` on a file of rules; whether it succeeded.
fn run(entrance: &Entrance, rules: &Path, output: File) -> io::Result<bool> {
    let mut child = Command::new("nft")
        .arg("-f")
        .arg(rules)
        .envs(environment(entrance))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let process = ProcessId::of(child.id())?;
    if !process.wait_end(PATIENCE)? {
        process.signal(Signal::KILL)?;
    }
    Ok(child.wait()?.success())
}

/// One line that deletes tables, whether they are there still or not.
fn deletions(tables: &BTreeSet<String>) -> String {
    tables.iter().flat_map(|table| ["add table ", table.as_str(), "; delete table ", table.as_str(), "; "]).collect()
}

//! The public description of a running lab: which process its daemon is, and how its nodes are entered.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::config::Named;
use crate::daemon::events::first_line;
use crate::lab::namespaces::{Guests, attach, gateway, guest};
use crate::model::{Existing, Internet, Leases, Network, PowerState, RunPolicy, Sandbox, VirtualMachine};
use crate::sys::netns;
use crate::sys::process::ProcessId;

use super::state::{APPLIED, LINKS, LabDir, NFTABLES, SERVICE_TAGS};

/// What others need to know of a running lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub lab: String,
    pub daemon: ProcessId,
    /// The topology file as it was given.
    pub file: String,
    /// Seconds since 1970.
    pub since: u64,
    /// Whether the user gave it another name than the file's.
    #[serde(default)]
    pub renamed: bool,
    /// Whether an earlier daemon had crashed, and what it had left was removed first.
    #[serde(default)]
    pub after_crash: bool,
    pub rootless: bool,
    pub socket: PathBuf,
    pub hosts: PathBuf,
    pub nodes: Vec<RecordedNode>,
    /// Machines that have no namespace, since they do not run.
    #[serde(default)]
    pub stopped: Vec<String>,
    /// What the interfaces have: the file need not say it.
    pub addresses: Leases,
    /// What the file starts on its machines.
    pub programs: Vec<RecordedProgram>,
    /// The topology's directory: programs start there.
    #[serde(default)]
    pub directory: PathBuf,
    /// Whether they may run.
    #[serde(default)]
    pub policy: RunPolicy,
}

/// A program of the file, and where its output goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedProgram {
    pub node: String,
    pub command: Vec<String>,
    #[serde(default)]
    pub sandbox: Sandbox,
    pub log: PathBuf,
}

impl RecordedProgram {
    pub fn in_one_line(&self) -> String {
        first_line(&self.command.join(" "))
    }
}

/// A node and the path of its namespace, as the daemon sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedNode {
    pub name: String,
    /// Whether it is one of the file's virtual machines.
    #[serde(default)]
    pub machine: bool,
    pub namespace: PathBuf,
    /// The name servers that its resolver uses, where the platform answers it.
    #[serde(default)]
    pub resolver: Option<PathBuf>,
    /// What a guest calls its interfaces, by their names in lower case.
    pub devices: BTreeMap<String, String>,
}

impl RecordedNode {
    /// As `ip netns` names it, or its path.
    pub fn name_of_namespace(&self) -> String {
        let path = self.namespace.strip_prefix(netns::NAMES).unwrap_or(&self.namespace);
        path.display().to_string()
    }
}

impl Record {
    pub fn is_running(&self) -> bool {
        self.daemon.is_alive()
    }

    /// The topology as it was applied.
    pub fn topology(&self) -> io::Result<String> {
        fs::read_to_string(self.socket.with_file_name(APPLIED))
    }

    /// The service tags that its network has, in place of the file that the topology names.
    fn service_tags(&self) -> Result<String, String> {
        fs::read_to_string(self.socket.with_file_name(SERVICE_TAGS)).map_err(|error| error.to_string())
    }

    /// What its topology names beside itself, as it was when that was applied.
    pub fn files(&self) -> impl Fn(Named<'_>) -> Result<String, String> + use<> {
        let (tags, rules) = (self.service_tags(), fs::read(self.socket.with_file_name(NFTABLES)));
        let rules: BTreeMap<PathBuf, String> =
            rules.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        move |named| match named {
            Named::ServiceTags(_) => tags.clone(),
            Named::Nftables(file) => rules.get(file).cloned().ok_or_else(|| "the lab does not know it".to_owned()),
        }
    }

    /// What its file does not say, as far as it can be read.
    pub fn existing(&self) -> Existing {
        let links = fs::read(self.socket.with_file_name(LINKS)).ok();
        let links = links.and_then(|text| serde_json::from_slice(&text).ok());
        Existing { leases: self.addresses.clone(), links: links.unwrap_or_default() }
    }

    /// Records which nodes a network has: its machines, and the programs that run in them.
    pub(in crate::lab) fn describe(&mut self, network: &Network, guests: &Guests, dir: &LabDir) {
        let node = |vm: &VirtualMachine| {
            let attached = vm.network_interfaces.iter().find_map(|nic| network.nic(*nic).attach.as_ref());
            let made = || guests.namespace(&vm.name).cloned().unwrap_or_default();
            RecordedNode {
                name: vm.name.clone(),
                machine: true,
                namespace: attached.map_or_else(made, |to| attach::path(&to.namespace)),
                resolver: guest::resolver(network, vm).map(|_| dir.resolver(&vm.name)),
                devices: guests.devices(&vm.name),
            }
        };
        let (machines, stopped): (Vec<_>, Vec<_>) =
            network.virtual_machines.iter().partition(|vm| vm.power_state == PowerState::Running);
        self.stopped = stopped.into_iter().map(|vm| vm.name.clone()).collect();
        let internet = network.internet.as_ref().map(|_| RecordedNode {
            name: Internet::NAME.to_owned(),
            machine: false,
            namespace: guests.namespace(Internet::NAME).cloned().unwrap_or_default(),
            resolver: None,
            devices: BTreeMap::from([(Internet::INTERFACE.to_owned(), Internet::INTERFACE.to_owned())]),
        });
        let far = gateway::nodes(network).map(|(name, _)| RecordedNode {
            name: name.to_owned(),
            machine: false,
            namespace: guests.namespace(name).cloned().unwrap_or_default(),
            resolver: None,
            devices: guests.devices(name),
        });
        self.nodes = machines.into_iter().map(node).chain(internet).chain(far).collect();
        self.addresses = Leases::of(network);
        let programs = network.programs().map(|(node, program)| RecordedProgram {
            node: node.to_owned(),
            command: program.command.clone(),
            sandbox: program.sandbox,
            log: dir.program_log(node),
        });
        self.programs = programs.collect();
    }

    /// By machine: its namespace, as users name it.
    pub(in crate::lab) fn namespaces(&self) -> HashMap<String, String> {
        self.nodes.iter().map(|node| (node.name.clone(), node.name_of_namespace())).collect()
    }

    /// By machine and interface: what the guest calls it.
    pub(in crate::lab) fn devices(&self) -> HashMap<String, BTreeMap<String, String>> {
        self.nodes.iter().map(|node| (node.name.clone(), node.devices.clone())).collect()
    }

    /// Nodes and their namespaces, those alone that have one.
    pub(in crate::lab) fn places(&self) -> Vec<(String, PathBuf)> {
        let places = self.nodes.iter().map(|node| (node.name.clone(), node.namespace.clone()));
        places.filter(|(_, namespace)| !namespace.as_os_str().is_empty()).collect()
    }

    /// Whether a machine has here the program, in the namespace, that it had before.
    pub(in crate::lab) fn keeps_program(&self, before: &Self, node: &str) -> bool {
        let entry = |record: &Self| {
            let program = record.programs.iter().find(|program| program.node.eq_ignore_ascii_case(node))?;
            let place = record.nodes.iter().find(|other| other.name.eq_ignore_ascii_case(node))?;
            Some((program.command.clone(), program.sandbox, place.namespace.clone()))
        };
        entry(self).is_some_and(|entry_now| Some(entry_now) == entry(before))
    }
}

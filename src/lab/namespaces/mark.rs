//! A mark in each namespace that a lab makes, for when no journal names its lab any more: the alias of its loopback
//! device.
//!
//! One idea: a mark is found with the namespace, and goes with it. It counts only under a name that the lab gives, so
//! that a mark written by a guest cannot affect others.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::lab::journal::Made;
use crate::sys::netlink::Netlink;
use crate::sys::netns::{self, Netns};
use crate::sys::process::{self, ProcessId};

use super::egress::Egress;
use super::{HOSTS, NETNS_ETC, RESOLVER};

const LOOPBACK: &str = "lo";

/// What a namespace says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Mark {
    pub(in crate::lab) lab: String,
    pub(in crate::lab) daemon: ProcessId,
}

impl Mark {
    /// Of a lab that this process makes.
    pub(in crate::lab) fn own(lab: &str) -> io::Result<Self> {
        Ok(Self { lab: lab.to_owned(), daemon: ProcessId::current()? })
    }

    /// Marks the calling thread's namespace.
    pub(in crate::lab) fn set(&self) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let loopback = netlink.link(LOOPBACK)?;
        netlink.set_alias(loopback, &self.text())
    }

    /// The mark of the namespace of that name, if it is a namespace and has one.
    pub(in crate::lab) fn read(path: &Path) -> Option<Self> {
        netns::identity(path)?;
        let namespace = Netns::open(path).ok()?;
        let alias = namespace.run(|| Netlink::open().and_then(|mut netlink| netlink.alias(LOOPBACK)));
        Self::parse(&alias.and_then(|alias| alias).ok()??)
    }

    fn text(&self) -> String {
        format!("vnet lab {} daemon {} {}", self.lab, self.daemon.pid, self.daemon.start_time)
    }

    fn parse(text: &str) -> Option<Self> {
        let (lab, daemon) = text.strip_prefix("vnet lab ")?.rsplit_once(" daemon ")?;
        let (pid, start_time) = daemon.split_once(' ')?;
        let daemon = ProcessId { pid: pid.parse().ok()?, start_time: start_time.parse().ok()? };
        Some(Self { lab: lab.to_owned(), daemon })
    }
}

/// The first line of a lab's `hosts`.
pub(in crate::lab) fn title(lab: &str) -> String {
    format!("# The machines of lab {lab}, by vnet")
}

/// The marked namespaces of a lab, by their names, and the daemons that made them.
pub(in crate::lab) fn namespaces(lab: &str) -> Vec<(PathBuf, ProcessId)> {
    let marked = |path: PathBuf| {
        let mark = Mark::read(&path).filter(|mark| mark.lab == lab)?;
        Some((path, mark.daemon))
    };
    entries(netns::NAMES, lab).filter_map(marked).collect()
}

/// The living daemons of a lab, by its namespaces' marks. A guest may have written another number there: only a
/// process that runs this program counts.
pub(in crate::lab) fn daemons(lab: &str) -> Vec<ProcessId> {
    let own = process::program(process::own_id());
    let is_daemon = |daemon: &ProcessId| {
        daemon.pid != process::own_id() && daemon.is_alive() && process::program(daemon.pid) == own
    };
    let mut daemons: Vec<_> = namespaces(lab).into_iter().map(|(_, daemon)| daemon).filter(is_daemon).collect();
    daemons.sort_by_key(|daemon| daemon.pid);
    daemons.dedup();
    daemons
}

/// Everything of a lab that stands outside its directory, in the order in which it is made.
pub(in crate::lab) fn remains(lab: &str) -> io::Result<Vec<Made>> {
    let mut made: Vec<_> = namespaces(lab).into_iter().map(|(path, _)| Made::Namespace(path)).collect();
    for dir in entries(NETNS_ETC, lab) {
        let hosts = dir.join(HOSTS);
        if fs::read_to_string(&hosts).is_ok_and(|text| text.lines().next() == Some(&title(lab))) {
            made.extend([Made::Directory(dir.clone()), Made::File(hosts), Made::File(dir.join(RESOLVER))]);
        }
    }
    let egress = Egress::of(lab)?;
    if egress.stands() {
        made.push(Made::Egress(egress));
    }
    Ok(made)
}

/// What is in a directory under a name that a lab gives.
fn entries(dir: &str, lab: &str) -> impl Iterator<Item = PathBuf> {
    let prefix = format!("{lab}-");
    let paths = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(move |path| is_under(path, &prefix))
}

fn is_under(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_the_lab_of_a_namespace() {
        let mark = Mark { lab: "a daemon b".into(), daemon: ProcessId { pid: 7, start_time: 4242 } };
        assert_eq!(Mark::parse(&mark.text()), Some(mark));
        for other in ["", "vnet lab a", "vnet lab a daemon 7", "vnet lab a daemon x 7", "eth0"] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
    }
}

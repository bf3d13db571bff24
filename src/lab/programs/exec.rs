//! Runs a program in a node: with its network, its host names and its own host name.
//!
//! One idea: a thread or a single-threaded process changes itself and then executes the program. So the program's end
//! is its own: no process stands between it and the caller's shell.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use crate::lab::error::{During, Error, Result};
use crate::lab::journal::record::{Record, RecordedNode};
use crate::sys::netns::Netns;
use crate::sys::{mount, userns};

use super::processes::{NAMESPACE, VARIABLE};

/// Where programs look up their name servers.
pub(in crate::lab) const RESOLVER: &str = "/etc/resolv.conf";

/// A node of a running lab.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub lab: &'a Record,
    pub node: &'a RecordedNode,
}

impl<'a> Node<'a> {
    /// Finds a node by name, as ARM compares names.
    pub fn find(lab: &'a Record, name: &str) -> Result<Self> {
        let node = lab.nodes.iter().find(|node| node.name.eq_ignore_ascii_case(name));
        let stopped = || lab.stopped.iter().any(|stopped| stopped.eq_ignore_ascii_case(name));
        match node {
            Some(node) => Ok(Self { lab, node }),
            None if stopped() => Err(Error::Stopped(name.to_owned())),
            None => Err(Error::NoNode {
                lab: lab.lab.clone(),
                node: name.to_owned(),
                nodes: lab.nodes.iter().map(|node| node.name.clone()).collect(),
            }),
        }
    }
}

/// Replaces this process by a program in a node. Returns only if that fails.
pub fn execute(node: Node<'_>, program: &OsString, arguments: &[OsString]) -> Result<std::convert::Infallible> {
    let here = env::current_dir();
    join(node.lab)?;
    let entrance = Entrance::from(node);
    enter(&entrance)?;
    // Entering another view of the file system leaves a process at its root.
    if let Ok(here) = here {
        let _ = env::set_current_dir(here);
    }
    let error = Command::new(program).args(arguments).envs(environment(&entrance)).exec();
    Err(Error::Program { program: program.display().to_string(), error })
}

/// Enters a lab's user namespace, if it has one. The process must have a single thread.
pub fn join(lab: &Record) -> Result<()> {
    if !lab.rootless {
        return Ok(());
    }
    userns::join(lab.daemon.pid).during(|| format!("cannot enter the user namespace of lab {}", lab.lab))
}

/// What it takes to enter a node, for a thread that outlives the caller's record.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Entrance {
    lab: String,
    hosts: PathBuf,
    node: RecordedNode,
}

impl Entrance {
    pub(in crate::lab) fn name(&self) -> &str {
        &self.node.name
    }
}

impl From<Node<'_>> for Entrance {
    fn from(Node { lab, node }: Node<'_>) -> Self {
        Self { lab: lab.lab.clone(), hosts: lab.hosts.clone(), node: node.clone() }
    }
}

/// Moves the calling thread into a node, for good.
pub(in crate::lab) fn enter(Entrance { hosts, node, .. }: &Entrance) -> Result<()> {
    let namespace = opened(node)?;
    settle(&namespace, hosts, node).during(|| format!("cannot enter {}", node.name))
}

/// Opens a node's namespace. Without root, the process must have joined the lab.
pub(in crate::lab) fn open(node: Node<'_>) -> Result<Netns> {
    opened(node.node)
}

fn opened(node: &RecordedNode) -> Result<Netns> {
    Netns::open(&node.namespace).during(|| format!("cannot open the namespace of {}", node.name))
}

/// Tells a program where it runs; a shell's prompt and further `vnet` commands use it. In a node of their own lab,
/// users are administrators and find administrators' programs.
pub(in crate::lab) fn environment(Entrance { lab, node, .. }: &Entrance) -> [(&'static str, OsString); 4] {
    let path = with_administrators(env::var_os("PATH").unwrap_or_default());
    let namespace = node.namespace.clone().into_os_string();
    [(VARIABLE, lab.into()), ("VNET_NODE", node.name.clone().into()), (NAMESPACE, namespace), ("PATH", path)]
}

/// A search path with the directories of `ip`, `nft` and `sysctl`, which that of other users may lack.
fn with_administrators(mut path: OsString) -> OsString {
    for directory in ["/usr/local/sbin", "/usr/sbin", "/sbin"] {
        if !env::split_paths(&path).any(|known| known == Path::new(directory)) {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(directory);
        }
    }
    path
}

fn settle(namespace: &Netns, hosts: &Path, node: &RecordedNode) -> io::Result<()> {
    namespace.enter()?;
    mount::private_view()?;
    // Conveniences: a locked-down system may refuse them, and packets flow without.
    let _ = mount::cover(Path::new("/etc/hosts"), hosts);
    if let Some(resolver) = &node.resolver {
        let _ = mount::cover(Path::new(RESOLVER), resolver);
    }
    let _ = mount::fresh_sysfs();
    let _ = mount::set_host_name(&node.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administrators_programs_are_found_last() {
        let path = |path: &str| with_administrators(path.into()).into_string().expect("it is text");
        assert_eq!(path("/home/u/bin:/usr/bin"), "/home/u/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin");
        assert_eq!(path("/usr/sbin:/usr/bin:/sbin/"), "/usr/sbin:/usr/bin:/sbin/:/usr/local/sbin");
        assert_eq!(path(""), "/usr/local/sbin:/usr/sbin:/sbin");
    }

    #[test]
    fn a_node_is_found_by_its_name_in_any_case_and_one_that_is_stopped_is_told_of() {
        use crate::lab::tests::{node, record};
        let mut lab = record(vec![node("Web", Path::new("/a")), node("db", Path::new("/b"))]);
        lab.stopped = vec!["Off".to_owned()];
        assert_eq!(Node::find(&lab, "wEB").map(|node| node.node.name.clone()).ok(), Some("Web".to_owned()));
        assert!(matches!(Node::find(&lab, "off"), Err(Error::Stopped(name)) if name == "off"));
        let unknown = Node::find(&lab, "wep").map(drop).map_err(|error| error.to_string());
        assert_eq!(unknown, Err("lab lab has no node wep; it has Web, db".to_owned()));
    }
}

//! Ends the processes of a lab: its programs' groups, and all processes in its namespaces.
//!
//! One idea: `exec` replaces its own process, and a program may leave its group, so there is no list of all processes.
//! The namespace of a process tells to which lab it belongs. All get SIGTERM at once, and all have the same time.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::sys::netns::{self, Identity, Recognised};
use crate::sys::process::{self, Listed, ProcessId, Signal};

/// How long a program may take to end after SIGTERM.
pub(in crate::lab) const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel may take after SIGKILL.
const INSISTENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(3);

/// The variable that tells a program in which lab it runs.
pub(in crate::lab) const VARIABLE: &str = "VNET_LAB";
/// The one that tells it the path of its node's namespace, which without root is in the lab's own directory.
pub(in crate::lab) const NAMESPACE: &str = "VNET_NAMESPACE";

/// The processes to end.
#[derive(Debug, Default)]
pub(in crate::lab) struct Residents<'a> {
    /// Process groups, by their leaders.
    pub(in crate::lab) groups: Vec<ProcessId>,
    /// Namespaces, held open: another lab's may get the number of one that goes meanwhile.
    pub(in crate::lab) places: Vec<Recognised>,
    /// The directory of a lab without root that has crashed: its namespaces have no names any more, but its processes have
    /// their paths in their environment. Another lab may have its name, in another directory.
    pub(in crate::lab) directory: Option<&'a Path>,
}

impl Residents<'_> {
    /// Asks all to end, and kills the rest after a while.
    pub(in crate::lab) fn end(&self) -> io::Result<()> {
        if self.groups.is_empty() && self.places.is_empty() && self.directory.is_none() {
            return Ok(());
        }
        let found = self.find();
        for process in &found {
            process.id.signal(Signal::TERM)?;
            // An interactive shell ignores SIGTERM and ends with its terminal.
            if process.has_terminal {
                process.id.signal(Signal::HUP)?;
            }
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && found.iter().any(|process| process.id.is_alive()) {
            thread::sleep(GLANCE);
        }
        self.kill(&found)
    }

    /// Those that are left, and what they started meanwhile. One that is ending is in no namespace any more for as long as
    /// the kernel takes down its mounts; it is waited for, too.
    fn kill(&self, found: &[Listed]) -> io::Result<()> {
        let deadline = Instant::now() + INSISTENCE;
        loop {
            let mut left = self.find();
            left.extend(found.iter().filter(|process| process.id.is_alive()));
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{} processes of the lab do not end", left.len())));
            }
            for process in &left {
                process.id.signal(Signal::KILL)?;
            }
            thread::sleep(GLANCE);
        }
    }

    fn find(&self) -> Vec<Listed> {
        let groups: Vec<_> =
            self.groups.iter().filter(|leader| !leader.is_replaced()).map(|leader| leader.pid).collect();
        let own = process::own_id();
        let here = place(own);
        let is_wanted = |process: &Listed| {
            let pid = process.id.pid;
            pid != own && (groups.contains(&process.group) || self.has(pid, here))
        };
        process::running().filter(is_wanted).collect()
    }

    fn has(&self, pid: u32, here: Option<Identity>) -> bool {
        if self.places.is_empty() && self.directory.is_none() {
            return false;
        }
        // A process that may not be inspected is not ours.
        let Some(place) = place(pid) else { return false };
        let is_told = |directory: &Path| {
            let namespace = process::given(pid, NAMESPACE).filter(|_| Some(place) != here);
            namespace.is_some_and(|path| Path::new(&path).parent() == Some(directory))
        };
        self.places.iter().any(|own| own.is(place)) || self.directory.is_some_and(is_told)
    }
}

/// Whether a lab started a process group, as far as its members show: their environment has the lab's name.
pub(in crate::lab) fn is_of_lab(leader: ProcessId, lab: &str) -> bool {
    let is_member = |process: &Listed| process.group == leader.pid && process::was_given(process.id.pid, VARIABLE, lab);
    !leader.is_replaced() && process::running().any(|process| is_member(&process))
}

/// The namespace that a process is in, as far as one may look.
pub(in crate::lab) fn place(pid: u32) -> Option<Identity> {
    netns::identity(Path::new(&format!("/proc/{pid}/ns/net")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{self, Command};

    use super::*;
    use crate::lab::tests::Place;

    /// Its namespaces may have gone, and their names.
    #[test]
    fn processes_of_a_crashed_lab_without_root_are_found_by_what_they_were_given() {
        let Some(place) = Place::new() else { return };
        let [ours, other] = ["gone", "other"].map(|base| format!("/run/{base}-{}/vnet/lab", process::id()));
        let sleeper = |directory: &str| {
            let namespace = format!("{directory}/web.netns");
            Command::new("sleep").arg("1000").env(VARIABLE, "lab").env(NAMESPACE, namespace).spawn().unwrap()
        };
        let [mut inside, mut others] = [&ours, &other].map(|lab| place.namespace.run(|| sleeper(lab)).unwrap());
        // What has not left this namespace is the caller's.
        let mut outside = sleeper(&ours);
        Residents { directory: Some(Path::new(&ours)), ..Residents::default() }.end().unwrap();
        // Ends one that was not found, too, though not by this signal.
        inside.kill().unwrap();
        let ended = inside.wait().unwrap().signal();
        let stayed = [&mut others, &mut outside].map(|child| {
            let stayed = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            stayed
        });
        assert_eq!((ended, stayed), (Some(15), [true, true]));
    }
}

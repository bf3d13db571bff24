//! Changes to devices and guests that stay: other addresses on a device, a guest that forwards or no longer does.
//!
//! One idea: each step knows the earlier state, so a change that fails half-way is undone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::lab::error::{During, Result};
use crate::model::{Attachment, Masquerade, Network, VirtualMachine};
use crate::sys::netns::Netns;

use super::device::{DefaultRoute, Device};
use super::{Guests, attach, guest};

/// Steps that were made.
#[derive(Debug)]
#[must_use = "they are taken back if the change does not come off"]
pub(in crate::lab) struct Rearranged(Vec<Step>);

#[derive(Debug)]
enum Step {
    Device { namespace: PathBuf, before: Box<Device>, after: Box<Device> },
    Forwarding { namespace: PathBuf, on: bool },
    Masquerade { namespace: PathBuf, before: Masquerade, after: Masquerade },
}

/// Makes what stays as another network has it: all of it, or what was done is taken back. `staying` has the TUNs of
/// both, as each names them.
pub(in crate::lab) fn rearrange(
    (before, old): (&Network, &Guests),
    (after, new): (&Network, &Guests),
    staying: &[(Attachment, Attachment)],
) -> Result<Rearranged> {
    let devices = staying.iter().filter_map(|(was, is)| {
        let (namespace, after) = place(after, new, *is)?;
        // What was left alone until now is taken as it is, and set up.
        let bare = || Device::new(&after.name, Vec::new(), DefaultRoute::IfNone);
        let before = place(before, old, *was).map_or_else(bare, |(_, before)| before);
        (before != after).then(|| Step::Device { namespace, before: before.into(), after: after.into() })
    });
    let machines: HashMap<_, _> = before.virtual_machines.iter().map(|vm| (vm.name.to_lowercase(), vm)).collect();
    let guests = after.virtual_machines.iter().filter_map(|vm| {
        let was = machines.get(&vm.name.to_lowercase())?;
        let namespace = old.namespace(&vm.name).filter(|_| new.namespace(&vm.name).is_some())?;
        Some(settings(was, vm, namespace))
    });
    let mut done = Rearranged(Vec::new());
    for step in devices.chain(guests.flatten()) {
        let made = step.make();
        done.0.push(step);
        if let Err(error) = made {
            done.undo();
            return Err(error);
        }
    }
    Ok(done)
}

impl Rearranged {
    /// Stays if what follows it has come off, and is taken back if not.
    pub(in crate::lab) fn confirm<T>(self, following: Result<T>) -> Result<T> {
        following.inspect_err(|_| self.undo())
    }

    /// Takes everything back, the last step first.
    fn undo(self) {
        for step in self.0.into_iter().rev() {
            // What cannot be taken back now could be only by removing it.
            let _ = step.reversed().make();
        }
    }
}

impl Step {
    fn make(&self) -> Result<()> {
        let enter = |namespace: &Path| Netns::open(namespace).during(|| format!("cannot open {}", namespace.display()));
        match self {
            Self::Device { namespace, before, after } => {
                let inside = enter(namespace)?.run(|| after.rearrange(before));
                inside.during(|| format!("cannot enter {}", namespace.display()))?
            }
            Self::Forwarding { namespace, on } => guest::set_forwarding(&enter(namespace)?, *on),
            Self::Masquerade { namespace, after, .. } => guest::set_masquerade(&enter(namespace)?, *after),
        }
    }

    fn reversed(self) -> Self {
        match self {
            Self::Device { namespace, before, after } => Self::Device { namespace, before: after, after: before },
            Self::Forwarding { namespace, on } => Self::Forwarding { namespace, on: !on },
            Self::Masquerade { namespace, before, after } => {
                Self::Masquerade { namespace, before: after, after: before }
            }
        }
    }
}

/// What a guest's kernel is to do differently.
fn settings(was: &VirtualMachine, is: &VirtualMachine, namespace: &Path) -> impl Iterator<Item = Step> + use<> {
    let namespace = namespace.to_owned();
    let forwarding = (was.guest_forwarding != is.guest_forwarding)
        .then(|| Step::Forwarding { namespace: namespace.clone(), on: is.guest_forwarding });
    let (before, after) = (was.guest_masquerade, is.guest_masquerade);
    let masquerade = (before != after).then_some(Step::Masquerade { namespace, before, after });
    forwarding.into_iter().chain(masquerade)
}

/// Where a TUN stands and how it is set up; none where that is not our business.
fn place(network: &Network, guests: &Guests, attachment: Attachment) -> Option<(PathBuf, Device)> {
    match (attach::place(network, attachment), attachment) {
        (Some(to), _) => {
            let ours = to.configure.then(|| attach::device(network, attachment, to))?;
            Some((attach::path(&to.namespace), ours))
        }
        (None, Attachment::Nic(nic)) => guests.device(network, nic),
        (None, Attachment::Internet) => guests.internet(network),
        (
            None,
            Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..),
        ) => guests.far(network, attachment),
        (None, Attachment::Vnet(_) | Attachment::Platform(_)) => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::lab::error::During;
    use crate::sys::caps;

    #[test]
    fn what_was_rearranged_for_a_change_that_fails_is_taken_back() {
        if !caps::permit_namespaces() {
            return;
        }
        let namespace = Netns::create().unwrap();
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd()));
        let forwards = || namespace.run(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()).unwrap();
        namespace.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap()).unwrap();
        let rearranged = || {
            let step = Step::Forwarding { namespace: path.clone(), on: true };
            step.make().unwrap();
            assert_eq!(forwards(), "1\n");
            Rearranged(vec![step])
        };
        let failed = Err::<(), _>(io::Error::other("no")).during(|| "cannot publish".into());
        assert!(rearranged().confirm(failed).is_err());
        assert_eq!(forwards(), "0\n");
        rearranged().confirm(Ok(())).unwrap();
        assert_eq!(forwards(), "1\n");
    }
}

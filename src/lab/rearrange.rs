//! Changes to what stands and stays: other addresses on a device, a guest that forwards or does so no more.
//!
//! One idea: each step knows what was before, so a change that fails half-way is taken back.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::attach;
use super::device::{DefaultRoute, Device};
use super::error::{During, Result};
use super::guest;
use super::site::Guests;
use crate::model::{Attachment, Masquerade, Network, VirtualMachine};
use crate::sys::netns::Netns;

/// Steps that were made.
#[derive(Debug)]
pub(super) struct Rearranged(Vec<Step>);

#[derive(Debug)]
enum Step {
    Device { namespace: PathBuf, before: Box<Device>, after: Box<Device> },
    Forwarding { namespace: PathBuf, on: bool },
    Masquerade { namespace: PathBuf, before: Masquerade, after: Masquerade },
}

/// Makes what stays as another network has it: all of it, or what was done is taken back. `staying` has the TUNs of
/// both, as each names them.
pub(super) fn rearrange(
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
    /// Takes everything back, the last step first.
    pub(super) fn undo(self) {
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
            | Attachment::RouteServer(_),
        ) => guests.far(network, attachment),
        (None, Attachment::Vnet(_) | Attachment::Platform(_)) => None,
    }
}

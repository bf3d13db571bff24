//! Everything a topology needs from the system, made in order and written down: namespaces, names, TUNs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use tracing::warn;

use super::attach;
use super::device::Queues;
use super::error::{During, Result};
use super::guest;
use super::journal::Made;
use super::state::{Base, Claim};
use crate::control::engine::{Engine, Learned};
use crate::model::{Attachment, Network, VmIx};
use crate::sys::netns::{self, Netns};
use crate::sys::tun::Tun;

/// Where `ip netns exec` looks for files to show in place of those in `/etc`.
const NETNS_ETC: &str = "/etc/netns";

/// The ports of an engine: the n-th TUN is that of `network.attachments()[n]`.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) tuns: Vec<Tun>,
    pub(super) learned: Learned,
}

/// Makes the guests and finds the attachments.
pub(super) fn make(claim: &mut Claim, base: &Base, network: &Network) -> Result<Ports> {
    let queues = Queues { count: Engine::workers(network), offload: network.emulation.offload };
    let mut guests = make_guests(claim, base, network, queues)?;
    let mut tuns = Vec::new();
    let mut learned = Learned::default();
    for attachment in network.attachments() {
        if let Some(to) = attach::place(network, attachment) {
            let (tun, mtu) = attach::attach(network, attachment, to, queues)?;
            learned.mtu.insert(attachment, mtu);
            tuns.push(tun);
        } else {
            let made = guests.remove(&attachment);
            tuns.push(made.expect("a guest was made for each interface that is not attached"));
        }
    }
    Ok(Ports { tuns, learned })
}

fn make_guests(claim: &mut Claim, base: &Base, network: &Network, queues: Queues) -> Result<HashMap<Attachment, Tun>> {
    let machines: Vec<VmIx> = (0..network.virtual_machines.len()).map(VmIx).collect();
    let ours = |vm: &VmIx| network.vm(*vm).network_interfaces.iter().all(|nic| network.nic(*nic).attach.is_none());
    let machines: Vec<VmIx> = machines.into_iter().filter(ours).collect();
    if !machines.is_empty() && !base.rootless {
        netns::prepare_names().during(|| format!("cannot make {}", netns::NAMES))?;
    }
    let mut devices = HashMap::new();
    for vm in machines {
        let namespace = make_namespace(claim, &network.vm(vm).name)?;
        if !base.rootless {
            show_hosts(claim, &format!("{}-{}", network.name, network.vm(vm).name))?;
        }
        let made = guest::make(network, vm, &namespace, queues)?;
        devices.extend(made.into_iter().map(|(nic, tun)| (Attachment::Nic(nic), tun)));
    }
    Ok(devices)
}

fn make_namespace(claim: &mut Claim, node: &str) -> Result<Netns> {
    let path = claim.dir.namespace(node);
    let made = claim.journal.make(Made::Namespace(path.clone()), || {
        let namespace = Netns::create()?;
        namespace.bind(&path)?;
        Ok(namespace)
    });
    made.during(|| format!("cannot make namespace {}", path.display()))
}

/// Lets `ip netns exec` show the lab's names as `vnet exec` does.
fn show_hosts(claim: &mut Claim, namespace: &str) -> Result<()> {
    let dir = Path::new(NETNS_ETC).join(namespace);
    let hosts = dir.join("hosts");
    let source = claim.dir.hosts();
    let made = claim.journal.make(Made::Directory(dir.clone()), || make_directory(&dir));
    let made =
        made.and_then(|()| claim.journal.make(Made::File(hosts.clone()), || fs::copy(&source, &hosts).map(drop)));
    match made {
        // A convenience; everything else works on a system that cannot be written to.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            warn!("{} is not written, `ip netns exec` will not know the nodes' names: {error}", hosts.display());
            Ok(())
        }
        made => made.during(|| format!("cannot write {}", hosts.display())),
    }
}

/// Makes a directory, and the one it is in, which another lab may be removing.
fn make_directory(path: &Path) -> io::Result<()> {
    loop {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(NETNS_ETC)?,
            made => return made,
        }
    }
}

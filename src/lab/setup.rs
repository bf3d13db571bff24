//! Everything a topology needs from the system, made in order and written down: namespaces, names, TUNs.

use std::fs;
use std::path::{Path, PathBuf};

use super::attach;
use super::device::Queues;
use super::error::{During, Result};
use super::guest;
use super::journal::Made;
use super::state::{Base, Claim};
use crate::control::engine::{Engine, Learned};
use crate::model::{Attachment, Network, NicIx, VmIx};
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
    let guests = make_guests(claim, base, network, queues)?;
    let mut guests: Vec<Option<(NicIx, Tun)>> = guests.into_iter().map(Some).collect();

    let mut tuns = Vec::new();
    let mut learned = Learned::default();
    for attachment in network.attachments() {
        if let Some(to) = attach::place(network, attachment) {
            let (tun, mtu) = attach::attach(network, attachment, to, queues)?;
            learned.mtu.insert(attachment, mtu);
            tuns.push(tun);
        } else {
            let ours = |made: &&mut Option<(NicIx, Tun)>| {
                made.as_ref().is_some_and(|(nic, _)| Attachment::Nic(*nic) == attachment)
            };
            let made = guests.iter_mut().find(ours).and_then(Option::take);
            tuns.push(made.expect("a guest was made for each interface that is not attached").1);
        }
    }
    Ok(Ports { tuns, learned })
}

fn make_guests(claim: &mut Claim, base: &Base, network: &Network, queues: Queues) -> Result<Vec<(NicIx, Tun)>> {
    let machines: Vec<VmIx> = (0..network.virtual_machines.len()).map(VmIx).collect();
    let ours = |vm: &VmIx| network.vm(*vm).network_interfaces.iter().all(|nic| network.nic(*nic).attach.is_none());
    let machines: Vec<VmIx> = machines.into_iter().filter(ours).collect();
    if !machines.is_empty() && !base.rootless {
        netns::prepare_names().during(|| format!("cannot make {}", netns::NAMES))?;
    }
    let mut devices = Vec::new();
    for vm in machines {
        let namespace = make_namespace(claim, &network.vm(vm).name)?;
        if !base.rootless {
            show_hosts(claim, &format!("{}-{}", network.name, network.vm(vm).name))?;
        }
        devices.extend(guest::make(network, vm, &namespace, queues)?);
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
    let base = Path::new(NETNS_ETC);
    let dir = base.join(namespace);
    let hosts = dir.join("hosts");
    let source = claim.dir.hosts();
    let mut directory = |path: PathBuf| {
        if path.exists() {
            return Ok(());
        }
        claim.journal.make(Made::Directory(path.clone()), || fs::create_dir(path))
    };
    let made = directory(base.to_owned())
        .and_then(|()| directory(dir))
        .and_then(|()| claim.journal.make(Made::File(hosts.clone()), || fs::copy(&source, &hosts).map(drop)));
    made.during(|| format!("cannot write {}", hosts.display()))
}

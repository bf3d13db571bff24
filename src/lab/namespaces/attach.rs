//! A TUN in a namespace that exists already, or one end of a veth pair.

use std::io;
use std::path::{Path, PathBuf};

use crate::lab::containers;
use crate::lab::error::{During, Error, Result};
use crate::lab::journal::Made;
use crate::lab::journal::state::Claim;
use crate::model::{Attach, AttachNamespace, Attachment, Network};
use crate::sys::netlink::Netlink;
use crate::sys::netns::{self, Netns};
use crate::sys::tun::Tun;
use crate::sys::veth::End;

use super::device::{self, DefaultRoute, Device, Queues};
use super::guest;
use super::router::Router;
use super::taken::Taken;

/// In the place of the namespace of a container that was not looked for.
const NO_PROCESS: &str = "/proc/0/ns/net";

/// Where an attachment of the file stands; None for a lab's own guests.
pub(in crate::lab) fn place(network: &Network, attachment: Attachment) -> Option<&Attach> {
    match attachment {
        Attachment::Vnet(vnet) => network.vnet(vnet).attach.as_ref(),
        Attachment::Nic(nic) => network.nic(nic).attach.as_ref(),
        _ => None,
    }
}

/// Makes the device and sets it up, unless the file says not to. Then it is a persistent TUN, or where pairs are asked for
/// the end of one that stands. Returns its MTU too.
pub(in crate::lab) fn attach(
    claim: &mut Claim,
    lab: &str,
    device: &Device,
    to: &Attach,
    queues: &Queues,
) -> Result<(Tun, u16)> {
    let path = path(&to.namespace);
    // Anything else is not opened: a pipe would wait, and a device may do more than that.
    if path.exists() && netns::identity(&path).is_none() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput))
            .during(|| format!("{} is no network namespace", path.display()));
    }
    let namespace = Netns::open(&path).during(|| missing(&to.namespace))?;
    let made = match &queues.router {
        Some(router) if to.configure => Some(pair(router, &namespace, device, queues)?),
        Some(router) => Some(take(claim, router, (lab, &path), &namespace, device, queues)?),
        None => None,
    };
    let inside = namespace.run(|| {
        let tun = made.map_or_else(|| device.open(queues), Ok)?;
        if to.configure {
            device.configure(queues.kind)?;
        }
        Ok((tun, device::mtu(&to.interface)?))
    });
    inside.during(|| format!("cannot enter {}", path.display()))?
}

/// A new pair: the router makes both ends.
fn pair(router: &Router, namespace: &Netns, device: &Device, queues: &Queues) -> Result<Tun> {
    let name = &device.name;
    let is_taken = namespace.run(|| Netlink::open()?.link(name).map(drop)).is_ok_and(|found| found.is_ok());
    if is_taken {
        let advice = "it exists: `configure: false` takes a veth pair as it is, another `interface` makes a new one";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, advice)).during(|| format!("cannot make {name}"));
    }
    router.open(namespace, device, queues)
}

/// A pair that stands.
fn take(
    claim: &mut Claim,
    router: &Router,
    (lab, path): (&str, &Path),
    namespace: &Netns,
    device: &Device,
    queues: &Queues,
) -> Result<Tun> {
    let cannot = || format!("cannot take {} of {}", device.name, path.display());
    // One that it had before its device was lost.
    claim.journal.give_back(|at| at == &(path.to_owned(), device.name.clone())).during(cannot)?;
    let is_attached = |end: &End| claim.journal.has_taken(|other| other.is_at(end));
    let (taken, outside) = Taken::find(lab, path, &device.name, namespace, is_attached).during(cannot)?;
    let take = || router.take(&taken, outside, namespace, device, queues);
    claim.journal.make(Made::Taken(taken.clone()), take).during(cannot)
}

/// How the device is set up, if the file does not say to leave it alone.
pub(in crate::lab) fn device(network: &Network, attachment: Attachment, to: &Attach) -> Device {
    let in_vnet = matches!(attachment, Attachment::Nic(_) | Attachment::Vnet(_));
    let addresses = match attachment {
        Attachment::Nic(nic) if to.addresses.is_empty() => guest::addresses(network, network.nic(nic)),
        _ => to.addresses.clone(),
    };
    let device = Device::new(&to.interface, addresses, DefaultRoute::IfNone);
    if in_vnet { Device { mtu: network.emulation.mtu.into(), ..device } } else { device }
}

/// What an attachment may have taken: the namespace, and the interface in it. A file that says `configure` only later
/// keeps what it has.
pub(in crate::lab) fn taken(network: &Network, attachment: Attachment) -> Option<(PathBuf, String)> {
    let to = place(network, attachment)?;
    Some((path(&to.namespace), to.interface.clone()))
}

/// The file that stands for a namespace.
pub(in crate::lab) fn path(namespace: &AttachNamespace) -> PathBuf {
    match namespace {
        AttachNamespace::Name(name) => netns::name_path(name),
        AttachNamespace::Path(path) => path.clone(),
        AttachNamespace::Pid(pid) | AttachNamespace::Container { process: Some(pid), .. } => {
            format!("/proc/{pid}/ns/net").into()
        }
        // Nothing stands there.
        AttachNamespace::Container { name, process: None } => Path::new(NO_PROCESS).join(name),
    }
}

/// The same for a network that was read from a file: its containers are looked for.
pub(in crate::lab) fn find(namespace: &AttachNamespace) -> Result<PathBuf> {
    match namespace {
        AttachNamespace::Container { name, process: None } => {
            let found = containers::find(name).map_err(|why| Error::Containers(vec![why]))?;
            Ok(path(&AttachNamespace::Pid(found)))
        }
        found => Ok(path(found)),
    }
}

fn missing(namespace: &AttachNamespace) -> String {
    match namespace {
        AttachNamespace::Name(name) => format!("cannot open namespace {name}; `ip netns add {name}` makes it"),
        AttachNamespace::Path(path) => format!("cannot open namespace {}", path.display()),
        AttachNamespace::Pid(pid) => format!("cannot open the namespace of process {pid}"),
        AttachNamespace::Container { name, .. } => format!("cannot open the namespace of container {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::network;
    use crate::model::{NicIx, VnetIx};

    const FOUND: &str = "
name: lab
emulation: {mtu: 1400}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16, 'fd00:1::/48'], subnets: [{name: s, addressPrefixes: [10.1.1.0/24, 'fd00:1:0:1::/64']}]}
  - {name: w, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}],
     attach: {namespace: left, interface: eth5, addresses: [10.2.1.4/16]}}
virtualMachines:
  - {name: ours, networkInterfaces: [{subnet: v/s}]}
  - {name: named, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.9, attach: {namespace: left, interface: eth6}}]}
  - {name: at, networkInterfaces: [{subnet: v/s, attach: {namespace: /run/mine, interface: eth7}}]}
  - {name: running, networkInterfaces: [{subnet: v/s, attach: {namespace: 'pid:77', interface: eth8}}]}
  - {name: boxed, networkInterfaces: [{subnet: v/s, attach: {container: box, interface: eth9}}]}
";

    #[test]
    fn an_interface_is_looked_for_where_the_file_says_and_one_that_is_not_there_is_named() {
        let network = network(FOUND);
        let told = |attachment| {
            let to = place(&network, attachment)?;
            Some((
                taken(&network, attachment)?.0.display().to_string(),
                taken(&network, attachment)?.1,
                missing(&to.namespace),
            ))
        };
        let expected = |path: &str, interface: &str, missing: &str| {
            Some((path.to_owned(), interface.to_owned(), missing.to_owned()))
        };
        let named = "cannot open namespace left; `ip netns add left` makes it";
        assert_eq!(told(Attachment::Vnet(VnetIx(1))), expected("/run/netns/left", "eth5", named));
        let nics = [
            None,
            expected("/run/netns/left", "eth6", named),
            expected("/run/mine", "eth7", "cannot open namespace /run/mine"),
            expected("/proc/77/ns/net", "eth8", "cannot open the namespace of process 77"),
            expected("/proc/0/ns/net/box", "eth9", "cannot open the namespace of container box"),
        ];
        for (nic, expected) in nics.into_iter().enumerate() {
            assert_eq!(told(Attachment::Nic(NicIx(nic))), expected);
        }
        for other in [Attachment::Vnet(VnetIx(0)), Attachment::Internet, Attachment::Platform(VnetIx(0))] {
            assert_eq!(told(other), None, "{other:?}");
        }
        let found = AttachNamespace::Container { name: "box".to_owned(), process: Some(9) };
        assert_eq!((path(&found), find(&found).ok()), ("/proc/9/ns/net".into(), Some("/proc/9/ns/net".into())));
    }

    /// An interface has the addresses of its ipConfigurations, with the length of their subnets; a VNet's device those that
    /// the file names.
    #[test]
    fn a_found_device_has_the_addresses_that_the_file_gives_it_and_the_labs_mtu() {
        let network = network(FOUND);
        let described = |attachment| {
            let device = device(&network, attachment, place(&network, attachment).expect("it is attached"));
            let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
            (device.name, addresses.join(" "), device.mtu)
        };
        assert_eq!(described(Attachment::Vnet(VnetIx(1))), ("eth5".to_owned(), "10.2.1.4/16".to_owned(), 1400));
        let nic = described(Attachment::Nic(NicIx(1)));
        assert_eq!(nic, ("eth6".to_owned(), "10.1.1.9/24 fd00:1:0:1::5/64".to_owned(), 1400));
        let made = place(&network, Attachment::Nic(NicIx(1))).expect("it is attached");
        assert_eq!(device(&network, Attachment::Internet, made).mtu, 1500, "one that is in no virtual network");
    }
}

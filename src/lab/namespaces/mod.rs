//! Everything a topology needs from the system, made in order and written down: namespaces, names, TUNs.
//!
//! One idea: a lab that starts and one that changes make things alike: what is missing is made beside what is there,
//! and only once all of that has worked does what is left over go. A guest's devices keep their names while they
//! exist.

pub(super) mod attach;
pub(super) mod device;
pub(super) mod egress;
mod express_route;
pub(super) mod filters;
pub(super) mod gateway;
pub(super) mod guest;
pub(super) mod managers;
pub(super) mod mark;
pub(super) mod platform;
pub(super) mod reconfigure;
pub(super) mod router;
pub(super) mod taken;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::model::{
    AttachNamespace, Attachment, DeviceKind, Internet, Mac, Masquerade, Network, NicIx, PowerState, VirtualMachine,
};
use crate::sys::files;
use crate::sys::netns::{self, Identity, Netns};
use crate::sys::process::ProcessId;
use crate::sys::tun::Tun;

use super::error::{During, Error, Result};
use super::journal::Made;
use super::journal::state::{Base, Claim};
use device::{Device, Queues};
use egress::Egress;
use managers::CloudPages;
use mark::Mark;
use platform::Platform;

/// Where `ip netns exec` looks for files to show in place of those in `/etc`.
pub(super) const NETNS_ETC: &str = "/etc/netns";
/// Of these.
pub(super) const HOSTS: &str = "hosts";
pub(super) const RESOLVER: &str = "resolv.conf";

const NO_HOST: &str = "`internet: {egress: host}` needs this machine's network, which only root may use: run as root, or leave `egress` out";

/// Where a lab's things are made.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) claim: &'a mut Claim,
    pub(super) base: Base,
    pub(super) queues: Queues,
    pub(super) guests: Guests,
    pub(super) platform: Platform,
    pub(super) clouds: CloudPages,
    /// The namespaces that TUNs stand in, by the names they had.
    pub(super) places: HashMap<PathBuf, Holder>,
}

/// What a namespace's name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holder {
    Namespace(Identity),
    /// The namespace of a process, while that runs: to identify it takes more privileges than the daemon keeps.
    Process(ProcessId),
}

impl Holder {
    fn of(path: &Path, namespace: Option<&AttachNamespace>) -> Option<Self> {
        match namespace {
            Some(AttachNamespace::Pid(pid) | AttachNamespace::Container { process: Some(pid), .. }) => {
                ProcessId::of(*pid).ok().map(Self::Process)
            }
            Some(AttachNamespace::Container { process: None, .. }) => None,
            Some(AttachNamespace::Name(_) | AttachNamespace::Path(_)) | None => {
                netns::identity(path).map(Self::Namespace)
            }
        }
    }

    fn stands(self, path: &Path) -> bool {
        match self {
            Self::Namespace(identity) => netns::identity(path) == Some(identity),
            Self::Process(process) => process.is_alive(),
        }
    }
}

/// The machines that the lab made, by their names in lower case: ARM compares them so.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests {
    namespaces: BTreeMap<String, PathBuf>,
    /// What a machine calls its interfaces, by both their names.
    devices: BTreeMap<(String, String), String>,
}

/// New TUNs by what hangs on them, with the MTU of those that were set up by others.
pub(super) type Tuns = HashMap<Attachment, (Tun, Option<u16>)>;

impl<'a> Site<'a> {
    /// Where nothing has been made yet.
    pub(super) fn new(claim: &'a mut Claim, base: Base, queues: Queues) -> Self {
        let (platform, clouds) = (Platform::default(), CloudPages::default());
        Self { claim, base, queues, guests: Guests::default(), platform, clouds, places: HashMap::new() }
    }

    /// Makes the guests that a network has beyond those that stand, and TUNs for what is missing. Returns its guests.
    pub(super) fn make(&mut self, network: &Network, missing: &[Attachment]) -> Result<(Guests, Tuns)> {
        let mut guests = self.guests.staying(network, missing);
        self.make_guests(network, &mut guests)?;
        let mut tuns = HashMap::new();
        let macs = if self.queues.kind == DeviceKind::Tun { Vec::new() } else { network.macs() };
        for attachment in missing {
            let mac = match attachment {
                Attachment::Nic(nic) => macs.get(nic.0).copied(),
                _ => None,
            };
            let made = match (attach::place(network, *attachment), attachment) {
                (Some(to), _) => {
                    let device = Device { mac, ..attach::device(network, *attachment, to) };
                    let queues = self.queues.of(network, *attachment);
                    let (tun, mtu) = attach::attach(self.claim, &network.name, &device, to, &queues)?;
                    (tun, Some(mtu))
                }
                (None, Attachment::Nic(nic)) => (self.make_interface(network, *nic, mac, &mut guests)?, None),
                (None, Attachment::Internet) => (self.make_internet(network, &guests)?, None),
                (None, Attachment::Platform(vnet)) => {
                    (self.platform.plug(network, *vnet, &self.queues.of(network, *attachment))?, None)
                }
                (
                    None,
                    Attachment::Gateway(_)
                    | Attachment::Tunnel(_)
                    | Attachment::Edge(_)
                    | Attachment::CircuitLink(..)
                    | Attachment::RouteServer(_)
                    | Attachment::CloudRouter(..)
                    | Attachment::Segment(..),
                ) => (self.make_far(network, *attachment, &mut guests)?, None),
                (None, Attachment::Vnet(_)) => continue,
            };
            tuns.insert(*attachment, made);
        }
        self.lead_out(network, &guests)?;
        Ok((guests, tuns))
    }

    /// Has the Internet's node send on through the host what the file wants there.
    fn lead_out(&mut self, network: &Network, guests: &Guests) -> Result<()> {
        if !network.internet.as_ref().is_some_and(|internet| internet.host_egress) {
            return Ok(());
        }
        if self.base.rootless {
            return Err(Error::NotPermitted(NO_HOST.to_owned()));
        }
        let what = || "cannot lead out through the host (`internet: {egress: host}`)".to_owned();
        let egress = Egress::of(&network.name).during(what)?;
        let made = Made::Egress(egress.clone());
        let stands = self.claim.journal.has(&made);
        if stands && self.guests.namespace(Internet::NAME).is_some() {
            return Ok(());
        }
        if stands {
            // It led to a node that has lost its namespace.
            self.claim.journal.remove(&made).during(what)?;
        }
        let place = guests.namespace(Internet::NAME).expect("the Internet's node is made before its way out");
        let node = Netns::open(place).during(what)?;
        self.claim.journal.make(made, || egress.make(&node)).during(what)
    }

    /// Takes the way out away again if a network does not want it.
    fn close(&mut self, network: &Network) -> io::Result<()> {
        let wanted = network.internet.as_ref().is_some_and(|internet| internet.host_egress);
        let made = Made::Egress(Egress::of(&network.name)?);
        if wanted || !self.claim.journal.has(&made) { Ok(()) } else { self.claim.journal.remove(&made) }
    }

    /// Removes the guests that are not among these, and goes by these from now on. Says what could not be removed.
    pub(super) fn keep_only(&mut self, guests: Guests, network: &Network) -> Vec<String> {
        let gone = self.guests.namespaces.iter().filter(|(name, _)| !guests.namespaces.contains_key(*name));
        let gone: Vec<PathBuf> = gone.map(|(_, path)| path.clone()).collect();
        let mut made = Vec::new();
        for namespace in gone {
            let hosts = files_directory(&namespace);
            made.extend([HOSTS, RESOLVER].map(|file| Made::File(hosts.join(file))));
            made.extend([Made::Directory(hosts), Made::Namespace(namespace)]);
        }
        let left = if made.is_empty() { Vec::new() } else { self.claim.journal.remove_all(&made) };
        let mut complaints: Vec<_> = left.iter().map(|(made, error)| format!("{made} is left: {error}")).collect();
        let wanted: HashSet<_> = network.attachments().iter().filter_map(|at| attach::taken(network, *at)).collect();
        if let Err(error) = self.claim.journal.give_back(|at| !wanted.contains(at)) {
            complaints.push(format!("a veth pair is not as it was: {error}"));
        }
        if let Err(error) = self.close(network) {
            complaints.push(format!("the way out through the host is left: {error}"));
        }
        self.guests = guests;
        self.note_places(network);
        complaints
    }

    /// Records where a network's TUNs are; known ones stay.
    pub(super) fn note_places(&mut self, network: &Network) {
        let holder = |at: Attachment| {
            let path = self.place(network, at)?;
            let namespace = attach::place(network, at).map(|to| &to.namespace);
            let holder = self.places.get(&path).copied().or_else(|| Holder::of(&path, namespace))?;
            Some((path, holder))
        };
        self.places = network.attachments().into_iter().filter_map(holder).collect();
    }

    /// The name of the namespace that a TUN stands in.
    pub(super) fn place(&self, network: &Network, attachment: Attachment) -> Option<PathBuf> {
        match (attach::place(network, attachment), attachment) {
            (None, Attachment::Vnet(_) | Attachment::Platform(_)) => None,
            (Some(to), _) => Some(attach::path(&to.namespace)),
            (None, Attachment::Internet) => self.guests.namespace(Internet::NAME).cloned(),
            (
                None,
                Attachment::Gateway(_)
                | Attachment::Tunnel(_)
                | Attachment::Edge(_)
                | Attachment::CircuitLink(..)
                | Attachment::RouteServer(_)
                | Attachment::CloudRouter(..)
                | Attachment::Segment(..),
            ) => self.guests.namespace(&gateway::names(network, attachment)?.0).cloned(),
            (None, Attachment::Nic(nic)) => {
                let machine = network.vm(network.nic(nic).virtual_machine);
                self.guests.namespace(&machine.name).cloned()
            }
        }
    }

    /// Names that were deleted, or name something else now, since they were recorded. They are returned once; the lab
    /// forgets what it made under them.
    pub(super) fn lost(&mut self) -> HashSet<PathBuf> {
        let lost = self.places.iter().filter(|(path, holder)| !holder.stands(path));
        let lost: HashSet<_> = lost.map(|(path, _)| path.clone()).collect();
        self.places.retain(|path, _| !lost.contains(path));
        for path in &lost {
            let made = Made::Namespace(path.clone());
            if self.claim.journal.has(&made) {
                self.claim.journal.forget(&made);
            }
        }
        self.guests.forget(&lost);
        lost
    }

    /// Gives every guest the names of all machines, and its resolvers.
    pub(super) fn write_names(&self, network: &Network) -> Result<()> {
        let text = guest::hosts(network);
        // In place: programs that run in a node see this very file.
        let write = |path: &Path, text: &str| {
            files::rewrite(path, text.as_bytes()).during(|| format!("cannot write {}", path.display()))
        };
        let is_shown = |path: &Path| self.claim.journal.has(&Made::File(path.to_owned()));
        write(&self.claim.dir.hosts(), &text)?;
        for namespace in self.guests.namespaces.values() {
            let shown = files_directory(namespace).join(HOSTS);
            if is_shown(&shown) {
                write(&shown, &text)?;
            }
        }
        for machine in &network.virtual_machines {
            let Some(text) = guest::resolver(network, machine) else { continue };
            write(&self.claim.dir.resolver(&machine.name), &text)?;
            let shown = self.guests.namespace(&machine.name).map(|namespace| files_directory(namespace).join(RESOLVER));
            if let Some(shown) = shown.filter(|path| is_shown(path)) {
                write(&shown, &text)?;
            }
        }
        Ok(())
    }

    fn make_guests(&mut self, network: &Network, guests: &mut Guests) -> Result<()> {
        let machines = network.virtual_machines.iter().filter(|vm| is_ours(network, vm));
        let machines = machines.map(|vm| (vm.name.as_str(), vm.guest_forwarding, vm.guest_masquerade));
        let internet = network.internet.as_ref().map(|_| (Internet::NAME, false, Masquerade::Off));
        let far = gateway::nodes(network).map(|(name, forwarding)| (name, forwarding, Masquerade::Off));
        let new: Vec<_> =
            machines.chain(internet).chain(far).filter(|(name, ..)| guests.namespace(name).is_none()).collect();
        if !new.is_empty() && !self.base.rootless {
            netns::prepare_names().during(|| format!("cannot make {}", netns::NAMES))?;
        }
        let mark = Mark::own(&network.name).during(|| "cannot mark a namespace".into())?;
        for (name, forwarding, masquerade) in new {
            let path = self.claim.dir.namespace(name);
            let namespace = make_namespace(self.claim, &path)?;
            if !self.base.rootless {
                let machine = network.virtual_machines.iter().find(|vm| vm.name == name);
                let resolver = machine.and_then(|machine| guest::resolver(network, machine));
                show_files(self.claim, &files_directory(&path), resolver.as_deref())?;
            }
            guest::settle(&namespace, &mark, forwarding, masquerade)?;
            if gateway::nodes(network).any(|(far, _)| far == name) {
                gateway::settle(&namespace)?;
            }
            guests.namespaces.insert(name.to_lowercase(), path);
        }
        Ok(())
    }

    /// Under the first free name of its machine: one that goes with this change still has its own.
    fn make_interface(&self, network: &Network, nic: NicIx, mac: Option<Mac>, guests: &mut Guests) -> Result<Tun> {
        let (machine, name) = names(network, nic);
        let taken = |device: &String| {
            let here = |guests: &Guests| guests.devices_of(&machine).any(|(_, other)| other == device);
            here(guests) || here(&self.guests)
        };
        let device = (0..=u16::MAX).map(|index| format!("eth{index}")).find(|device| !taken(device));
        let device = device.expect("a machine has fewer interfaces than there are numbers");
        let place = guests.namespaces.get(&machine).expect("a machine is made before its interfaces");
        let namespace = Netns::open(place).during(|| format!("cannot open {}", place.display()))?;
        let set_up = Device { mac, ..guest::device(network, network.nic(nic), &device) };
        let tun = guest::plug(&namespace, &set_up, &self.queues)?;
        guests.devices.insert((machine, name), device);
        Ok(tun)
    }

    /// A gateway's own device, or one of a site's, under the first free name.
    fn make_far(&self, network: &Network, attachment: Attachment, guests: &mut Guests) -> Result<Tun> {
        let names = gateway::names(network, attachment).expect("a tunnel ends in a site");
        let taken = |device: &String| {
            let here = |guests: &Guests| guests.devices_of(&names.0).any(|(_, other)| other == device);
            here(guests) || here(&self.guests)
        };
        let device = gateway::device_name(attachment, taken);
        guests.devices.insert(names, device);
        let (place, device) = guests.far(network, attachment).expect("a node is made before its devices");
        let namespace = Netns::open(&place).during(|| format!("cannot open {}", place.display()))?;
        guest::plug(&namespace, &device, &self.queues.of(network, attachment))
    }

    /// The Internet's one interface.
    fn make_internet(&self, network: &Network, guests: &Guests) -> Result<Tun> {
        let (place, device) = guests.internet(network).expect("the Internet's node is made before its interface");
        let namespace = Netns::open(&place).during(|| format!("cannot open {}", place.display()))?;
        guest::plug(&namespace, &device, &self.queues)
    }
}

impl Guests {
    /// The namespace of a machine, if the lab made one for it.
    pub(super) fn namespace(&self, machine: &str) -> Option<&PathBuf> {
        self.namespaces.get(&machine.to_lowercase())
    }

    /// How an interface of a guest is set up, and where; none if it is not in a guest.
    pub(super) fn device(&self, network: &Network, nic: NicIx) -> Option<(PathBuf, Device)> {
        let (machine, name) = names(network, nic);
        let namespace = self.namespaces.get(&machine)?.clone();
        let device = self.devices.get(&(machine, name))?;
        Some((namespace, guest::device(network, network.nic(nic), device)))
    }

    /// How the Internet's node is set up, and where; none if there is none.
    pub(super) fn internet(&self, network: &Network) -> Option<(PathBuf, Device)> {
        let namespace = self.namespaces.get(Internet::NAME)?.clone();
        Some((namespace, guest::internet(network.internet.as_ref()?)))
    }

    /// How a gateway's or a site's device is set up, and where.
    pub(super) fn far(&self, network: &Network, attachment: Attachment) -> Option<(PathBuf, Device)> {
        let names = gateway::names(network, attachment)?;
        let namespace = self.namespaces.get(&names.0)?.clone();
        Some((namespace, gateway::device(network, attachment, self.devices.get(&names)?)?))
    }

    /// What a guest calls its interfaces, by their names in lower case.
    pub(super) fn devices(&self, machine: &str) -> BTreeMap<String, String> {
        let machine = machine.to_lowercase();
        self.devices_of(&machine).map(|(nic, device)| (nic.clone(), device.clone())).collect()
    }

    /// Leaves out the machines of these namespaces.
    fn forget(&mut self, lost: &HashSet<PathBuf>) {
        self.namespaces.retain(|_, path| !lost.contains(path));
        self.devices.retain(|(machine, _), _| self.namespaces.contains_key(machine));
    }

    /// Those that a network has still, with those of their interfaces that are not to be made anew.
    fn staying(&self, network: &Network, missing: &[Attachment]) -> Self {
        let ours: Vec<_> = network.virtual_machines.iter().filter(|vm| is_ours(network, vm)).collect();
        let namespace = |vm: &&VirtualMachine| Some((vm.name.to_lowercase(), self.namespace(&vm.name)?.clone()));
        let nics = ours.iter().flat_map(|vm| &vm.network_interfaces);
        let missing: HashSet<_> = missing.iter().collect();
        let nics = nics.filter(|nic| !missing.contains(&Attachment::Nic(**nic)));
        let device = |nic: &NicIx| {
            let key = names(network, *nic);
            let device = self.devices.get(&key)?.clone();
            Some((key, device))
        };
        let internet = network.internet.as_ref().and_then(|_| self.namespace(Internet::NAME));
        let internet = internet.map(|path| (Internet::NAME.to_owned(), path.clone()));
        let far =
            gateway::nodes(network).filter_map(|(name, _)| Some((name.to_lowercase(), self.namespace(name)?.clone())));
        let namespaces = ours.iter().filter_map(namespace).chain(internet).chain(far).collect();
        let far = network.attachments().into_iter().filter(|attachment| !missing.contains(attachment));
        let far = far.filter_map(|attachment| {
            let key = gateway::names(network, attachment)?;
            let device = self.devices.get(&key)?.clone();
            Some((key, device))
        });
        Self { namespaces, devices: nics.filter_map(device).chain(far).collect() }
    }

    /// By interface.
    fn devices_of<'a>(&'a self, machine: &'a str) -> impl Iterator<Item = (&'a String, &'a String)> {
        let from = self.devices.range((machine.to_owned(), String::new())..);
        from.take_while(move |((owner, _), _)| owner == machine).map(|((_, nic), device)| (nic, device))
    }
}

/// Whether the lab makes the machine: it runs, and all its interfaces hang in a namespace of its own.
pub(super) fn is_ours(network: &Network, vm: &VirtualMachine) -> bool {
    let runs = vm.power_state == PowerState::Running;
    runs && vm.network_interfaces.iter().all(|nic| network.nic(*nic).attach.is_none())
}

/// An interface's machine and its own name, in lower case.
fn names(network: &Network, nic: NicIx) -> (String, String) {
    let nic = network.nic(nic);
    (network.vm(nic.virtual_machine).name.to_lowercase(), nic.name.to_lowercase())
}

fn make_namespace(claim: &mut Claim, path: &Path) -> Result<Netns> {
    let made = claim.journal.make(Made::Namespace(path.to_owned()), || {
        let namespace = Netns::create()?;
        namespace.bind(path)?;
        Ok(namespace)
    });
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let owner = Mark::read(path).map(|mark| mark.lab);
            Err(Error::NameTaken { path: path.to_owned(), owner })
        }
        made => made.during(|| format!("cannot make namespace {}", path.display())),
    }
}

/// Where `ip netns exec` looks for a namespace's files.
fn files_directory(namespace: &Path) -> PathBuf {
    Path::new(NETNS_ETC).join(namespace.file_name().unwrap_or_default())
}

/// Lets `ip netns exec` show the lab's names, and where to ask for others, as `vnet exec` does.
fn show_files(claim: &mut Claim, dir: &Path, resolver: Option<&str>) -> Result<()> {
    if claim.journal.has(&Made::File(dir.join(HOSTS))) {
        return Ok(()); // The namespace was deleted.
    }
    let hosts = fs::read_to_string(claim.dir.hosts()).during(|| "cannot read the hosts file".into())?;
    let mut made = claim.journal.make(Made::Directory(dir.to_owned()), || make_directory(dir));
    for (name, text) in [(HOSTS, Some(hosts.as_str())), (RESOLVER, resolver)] {
        let Some(text) = text else { continue };
        let shown = dir.join(name);
        let write = || files::create_new(&shown, files::SHOWN)?.write_all(text.as_bytes());
        made = made.and_then(|()| claim.journal.make(Made::File(shown.clone()), write));
    }
    match made {
        // A convenience; everything else works on a system that cannot be written to.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            warn!("{} is not written, `ip netns exec` will not know the nodes' names: {error}", dir.display());
            Ok(())
        }
        made => made.during(|| format!("cannot write to {}", dir.display())),
    }
}

/// Makes a directory, and the one it is in, which another lab may be removing.
fn make_directory(path: &Path) -> io::Result<()> {
    loop {
        match files::make_directory(path, 0o755) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                unless_there(files::make_directory(Path::new(NETNS_ETC), 0o755))?;
            }
            made => return made,
        }
    }
}

/// Another process may make it at the same time.
fn unless_there(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

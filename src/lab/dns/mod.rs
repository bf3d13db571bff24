//! The platform's resolver, one for each virtual network: it knows the machines in it by name and asks nobody else.
//!
//! One idea: a question comes in by the device of its virtual network, so each has a socket and a thread of its own, which
//! looks at the network as it is when it is asked. Azure's own names do not resolve across a peering (PEER-12).

mod message;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use self::message::{Answer, Asked, Question};
use crate::control::engine::Engine;
use crate::model::{Network, VirtualMachine, VnetIx};
use crate::sys::caps::{self, CapabilitySet};
use crate::sys::netns::Netns;
use crate::sys::socket::Origin;

/// What every virtual network calls itself.
pub(super) const ZONE: &str = "internal.cloudapp.net";
const PORT: u16 = 53;
/// Longest question that is read: more than one can have.
const QUESTION_MAX: usize = 512;
/// How soon it ends when nobody wants it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers until it is dropped.
#[derive(Debug)]
pub(super) struct Resolver(Arc<AtomicBool>);

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Resolver {
    /// For a virtual network, on its device in the platform's namespace.
    pub(super) fn start(
        namespace: &Netns,
        device: &str,
        address: Ipv4Addr,
        vnet: &str,
        engine: &Arc<Engine>,
    ) -> io::Result<Self> {
        let origin = Origin { device: Some(device.to_owned()), address: Some(address.into()) };
        let socket = namespace.run(|| origin.udp_at(PORT))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (ends, vnet, engine) = (Arc::new(AtomicBool::new(false)), vnet.to_owned(), Arc::clone(engine));
        let ended = Arc::clone(&ends);
        let turns = move || {
            // It reads what guests write.
            if caps::keep(CapabilitySet::empty()).is_ok() {
                while !ended.load(Ordering::Relaxed) && serve(&socket, &vnet, &engine) {}
            }
        };
        thread::Builder::new().name("vnet-dns".to_owned()).spawn(turns)?;
        Ok(Self(ends))
    }
}

/// Answers one question, if one comes. False if none will.
fn serve(socket: &UdpSocket, vnet: &str, engine: &Engine) -> bool {
    let mut buffer = [0; QUESTION_MAX];
    let (length, guest) = match socket.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) => {
            return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted);
        }
    };
    let query = &buffer[..length];
    if let Some(question) = Question::read(query) {
        let network = engine.network();
        let found = network.virtual_networks.iter().position(|own| own.name.eq_ignore_ascii_case(vnet));
        if let Some(vnet) = found {
            // One that is lost is asked again.
            let _ = socket.send_to(&question.reply(query, &answer(&network, VnetIx(vnet), &question.asked)), guest);
        }
    }
    true
}

/// What a virtual network's resolver says.
fn answer(network: &Network, vnet: VnetIx, asked: &Asked) -> Answer {
    match asked {
        Asked::Addresses { name, ipv4, ipv6 } => about(network, vnet, name, |mut addresses| {
            addresses.retain(|address| if address.is_ipv4() { *ipv4 } else { *ipv6 });
            addresses
        }),
        Asked::Other { name } => about(network, vnet, name, |_| Vec::new()),
        Asked::NameOf(address) => {
            let mut machines = network.virtual_machines.iter();
            match machines.find(|vm| addresses(network, vnet, vm).contains(address)) {
                Some(machine) => Answer::Name(format!("{}.{ZONE}", machine.name.to_lowercase())),
                None if network.vnet(vnet).address_space.iter().any(|space| space.contains(address)) => {
                    Answer::NoSuchName
                }
                None => Answer::Refused,
            }
        }
    }
}

/// Some of the addresses of a machine that is called by its name alone, or by its name in the zone.
fn about(network: &Network, vnet: VnetIx, name: &str, some: impl FnOnce(Vec<IpAddr>) -> Vec<IpAddr>) -> Answer {
    let own = name.strip_suffix(ZONE).and_then(|rest| rest.strip_suffix('.')).unwrap_or(name);
    if own.contains('.') || own.is_empty() {
        return Answer::Refused;
    }
    let machine = network.virtual_machines.iter().find(|vm| vm.name.eq_ignore_ascii_case(own));
    match machine.map(|vm| addresses(network, vnet, vm)) {
        Some(addresses) if !addresses.is_empty() => Answer::Addresses(some(addresses)),
        Some(_) | None => Answer::NoSuchName,
    }
}

/// Those that a machine has in a virtual network.
fn addresses(network: &Network, vnet: VnetIx, machine: &VirtualMachine) -> Vec<IpAddr> {
    let nics = machine.network_interfaces.iter().map(|nic| network.nic(*nic));
    nics.filter(|nic| nic.subnet.vnet == vnet).flat_map(|nic| nic.addresses.iter().copied()).collect()
}

//! The daemon: makes what a topology needs, forwards until told to stop, removes what it made.
//!
//! One idea: `up`'s lab and the plain `run FILE` are the same process; guests are made, attachments are found, and both
//! end as ports of one engine. Threads that meet packets or requests hold no capability; only the thread below, which
//! waits for signals, keeps two. It decides nothing about packets.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use super::error::{During, Error, Result};
use super::notify::notify;
use super::program::{self, Program};
use super::setup::{self, Ports};
use super::state::{Base, Claim, Record, RecordedNode, RecordedProgram};
use super::{attach, guest};
use crate::control::engine::{self, Engine};
use crate::control::server::{self, LabFacts};
use crate::model::{Attachment, Network};
use crate::sys::caps::{self, CapabilitySet};
use crate::sys::process::{self, ProcessId};
use crate::sys::tun::OffloadSupport;
use crate::sys::{files, netns, userns};

/// How often the namespaces' names are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug)]
pub struct Topology {
    pub network: Network,
    /// The file's text and name, kept for whoever asks what was applied.
    pub text: String,
    pub file: String,
}

/// Where the daemon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    Foreground,
    /// Leaves the terminal once it is ready.
    Background,
}

/// Runs a topology until a signal or a request ends it. Calls `ready` once packets flow. Must be called before the
/// process has a second thread: without root it moves into a user namespace.
pub fn run(topology: &Topology, stand: Stand, ready: impl FnOnce(&Record) -> io::Result<()>) -> Result<()> {
    if stand == Stand::Background {
        process::leave_session().during(|| "cannot leave the session".into())?;
    }
    check_tun()?;
    let base = Base::detect();
    if base.rootless {
        userns::enter_new().map_err(|error| no_user_namespace(&error))?;
    }
    let mut claim = base.lab(&topology.network.name).claim()?;
    let outcome = serve(&mut claim, &base, topology, stand, ready);
    let cleaned = claim.clean();
    outcome.and(cleaned)
}

/// What wakes the daemon's main thread.
enum Event {
    /// Why to stop.
    Stop(&'static str),
    ProgramEnded,
    Forwarding(engine::Event),
}

fn serve(
    claim: &mut Claim,
    base: &Base,
    topology: &Topology,
    stand: Stand,
    ready: impl FnOnce(&Record) -> io::Result<()>,
) -> Result<()> {
    let network = &topology.network;
    let (events, wake) = mpsc::channel();
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD]).during(|| "cannot watch signals".into())?;

    let dir = claim.dir.clone();
    let record = describe(claim, base, topology).during(|| "cannot describe the lab".into())?;
    dir.write_record(&record)?;
    fs::write(dir.applied(), &topology.text).during(|| "cannot keep the topology".into())?;
    fs::write(dir.hosts(), guest::hosts(network)).during(|| "cannot write the hosts file".into())?;
    let ports = setup::make(claim, base, network)?;

    let engine = powerless(|| start(network.clone(), ports, &record, signals, &events))?;
    let programs = Program::start_all(network, &record, &dir, &mut claim.journal)?;
    // SYS_ADMIN unmounts the namespaces' names in the end, KILL ends programs that became another user.
    let kept = caps::keep(CapabilitySet::SYS_ADMIN | CapabilitySet::KILL);
    kept.during(|| "cannot drop capabilities".into())?;

    // `up` reads this; if it has gone away, nobody wants the lab.
    ready(&record).during(|| "nobody waits for the lab any more".into())?;
    if stand == Stand::Background {
        let log = File::create(dir.log()).and_then(|log| files::redirect_standard_streams(&log));
        log.during(|| "cannot leave the terminal".into())?;
    }
    tell_systemd("READY=1");
    let why = watch(&wake, &record, network, programs);
    info!("stopping: {why}");
    tell_systemd("STOPPING=1");
    engine.stop();
    Ok(())
}

/// Starts everything that deals with packets and requests.
fn start(
    network: Network,
    ports: Ports,
    record: &Record,
    signals: Signals,
    events: &Sender<Event>,
) -> Result<Arc<Engine>> {
    let facts = LabFacts {
        file: record.file.clone(),
        offload: ports.tuns.first().map_or(OffloadSupport::Off, |tun| tun.offload),
        namespaces: record.nodes.iter().map(RecordedNode::name_of_namespace).collect(),
    };
    let engine = Engine::start(network, ports.tuns, ports.learned).during(|| "cannot start the workers".into())?;
    let engine = Arc::new(engine);
    forward_signals(signals, events.clone())?;
    if let Some(told) = engine.events() {
        let sender = events.clone();
        spawn("vnet-events", move || {
            told.iter().try_for_each(|event| sender.send(Event::Forwarding(event)).ok()).unwrap_or_default();
        })?;
    }
    let listener = UnixListener::bind(&record.socket).during(|| "cannot make the control socket".into())?;
    let sender = events.clone();
    let shutdown = move || drop(sender.send(Event::Stop("a client asked for it")));
    server::serve(listener, Arc::clone(&engine), facts, shutdown)
        .during(|| "cannot answer on the control socket".into())?;
    Ok(engine)
}

fn forward_signals(mut signals: Signals, sender: Sender<Event>) -> Result<()> {
    spawn("vnet-signals", move || {
        signals
            .forever()
            .map(|signal| if signal == SIGCHLD { Event::ProgramEnded } else { Event::Stop("a signal came") })
            .try_for_each(|event| sender.send(event).ok())
            .unwrap_or_default();
    })
}

/// Waits for the end, and says what happens meanwhile.
fn watch(wake: &Receiver<Event>, record: &Record, network: &Network, mut programs: Vec<Program>) -> &'static str {
    let mut named: Vec<&RecordedNode> = record.nodes.iter().collect();
    let why = loop {
        match wake.recv_timeout(WATCH) {
            Ok(Event::Stop(why)) => break why,
            Ok(Event::ProgramEnded) => program::reap(&mut programs).iter().for_each(|ending| info!("{ending}")),
            Ok(Event::Forwarding(engine::Event::PortDown(port))) => {
                let name = name(network, network.attachments()[port.0 as usize]);
                warn!("{name} is gone: packets for it are dropped");
            }
            Ok(Event::Forwarding(engine::Event::WorkerFailed { worker, error })) => {
                warn!("worker {worker} ended: {error}");
            }
            Err(RecvTimeoutError::Timeout) => named.retain(|node| {
                let there = !node.namespace.starts_with(netns::NAMES) || netns::is_bound(&node.namespace);
                if !there {
                    warn!("the namespace of {} was deleted under us: {}", node.name, node.namespace.display());
                }
                there
            }),
            Err(RecvTimeoutError::Disconnected) => break "nobody is left to ask",
        }
    };
    program::stop(programs);
    why
}

fn describe(claim: &Claim, base: &Base, topology: &Topology) -> io::Result<Record> {
    let network = &topology.network;
    let nodes = network.virtual_machines.iter().map(|vm| {
        let attached = vm.network_interfaces.iter().find_map(|nic| network.nic(*nic).attach.as_ref());
        let namespace = attached.map_or_else(|| claim.dir.namespace(&vm.name), |to| attach::path(&to.namespace));
        RecordedNode { name: vm.name.clone(), namespace }
    });
    let machines = network.virtual_machines.iter().filter(|vm| !vm.run.is_empty());
    let programs = machines.map(|vm| RecordedProgram {
        node: vm.name.clone(),
        command: vm.run.clone(),
        log: claim.dir.program_log(&vm.name),
    });
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Record {
        lab: network.name.clone(),
        daemon: ProcessId::current()?,
        file: topology.file.clone(),
        since: since.as_secs(),
        rootless: base.rootless,
        socket: claim.dir.socket(),
        hosts: claim.dir.hosts(),
        nodes: nodes.collect(),
        programs: programs.collect(),
    })
}

fn name(network: &Network, attachment: Attachment) -> String {
    match attachment {
        Attachment::Vnet(vnet) => format!("the interface of VNet {}", network.vnet(vnet).name),
        Attachment::Nic(nic) => {
            let nic = network.nic(nic);
            format!("interface {} of {}", nic.name, network.vm(nic.virtual_machine).name)
        }
    }
}

/// Runs a function on a thread without capabilities; the threads it makes inherit that.
fn powerless<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let renounced = || caps::renounce().during(|| "cannot drop capabilities".into()).and_then(|()| f());
    thread::scope(|scope| scope.spawn(renounced).join()).expect("starting threads does not panic")
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.into()).spawn(f).map(drop).during(|| format!("cannot start thread {name}"))
}

fn tell_systemd(state: &str) {
    if let Err(error) = notify(state) {
        warn!("cannot notify systemd: {error}");
    }
}

/// Fails early, with what to do about it, where no TUN can be made.
fn check_tun() -> Result<()> {
    let device = Path::new("/dev/net/tun");
    let opened = File::options().read(true).write(true).open(device);
    opened.map(drop).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "run as root, or let users make TUN devices in their own namespaces: chmod 0666 /dev/net/tun"
            }
            _ => "load the driver with `modprobe tun`; in a container pass the device with --device /dev/net/tun",
        };
        Error::NotPermitted(format!("cannot open {}: {error}; {advice}", device.display()))
    })
}

fn no_user_namespace(error: &io::Error) -> Error {
    Error::NotPermitted(format!(
        "cannot make a user namespace: {error}; run as root, or allow user namespaces \
         (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
    ))
}

//! The daemon: makes what a topology needs, forwards until told to stop, removes what it made.
//!
//! One idea: `up`'s lab and the plain `run FILE` are the same process. Guests are made, attachments are found, and
//! both become ports of one engine. Each thread takes its role ([`confine`]) when it starts; the one below, which makes
//! changes, does so once the lab runs.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, bounded, never};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use crate::config::Memory;
use crate::daemon::api::protocol::{Change, Refusal, Response};
use crate::daemon::api::server::{self, LabFacts};
use crate::daemon::engine::{self, Engine, Learned};
use crate::daemon::events::{EventLog, Happening};
use crate::daemon::flow_log::FlowLogger;
use crate::daemon::lookout::Lookout;
use crate::daemon::routers::Routers;
use crate::lab::consent::{directory_of, stays_inside};
use crate::lab::containers;
use crate::lab::demand::Demand;
use crate::lab::error::{During, Error, Result};
use crate::lab::journal::record::Record;
use crate::lab::journal::state::{Base, Claim};
use crate::lab::namespaces::attach;
use crate::lab::namespaces::device::Queues;
use crate::lab::namespaces::filters::Filters;
use crate::lab::namespaces::router::Router;
use crate::lab::namespaces::{Site, guest};
use crate::lab::programs;
use crate::model::{
    Attachment, ConnectionIx, DeviceKind, Emulation, Internet, Leases, Links, Network, PLATFORM_NODE, RunPolicy,
};
use crate::sys::confine::{self, Role};
use crate::sys::process::{self, ProcessId};
use crate::sys::tun::{OffloadSupport, Tun};
use crate::sys::{files, limits, userns};

use super::apply::Lab;
use super::events::{Event, Events};
use super::failover::Absences;
use super::flow_logs;
use super::link_state::Switches;
use super::notify::notify;
use super::unwritten::Owed;

/// How often the namespaces' names are checked.
const WATCH: Duration = Duration::from_secs(1);

/// Events that wait for the main thread at a time; their senders wait for room.
const WAITING: usize = 64;

/// What to run.
#[derive(Debug)]
pub struct Topology {
    pub network: Network,
    /// Of the file, for its next version.
    pub memory: Memory,
    /// The file's text and name, kept for clients that ask what was applied.
    pub text: String,
    pub file: String,
    /// Where to read it again on SIGHUP; none for one that was piped in.
    pub path: Option<PathBuf>,
    /// Whether the network has another name than the file's.
    pub renamed: bool,
    /// Whether code of a later version of the file runs.
    pub policy: RunPolicy,
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
pub fn run(topology: Topology, stand: Stand, ready: impl FnOnce(&Record) -> io::Result<()>) -> Result<()> {
    files::restrict_umask();
    if stand == Stand::Background {
        process::leave_session().during(|| "cannot leave the session".into())?;
    }
    check_tun()?;
    limits::raise_open_files().during(|| "cannot raise the number of open files".into())?;
    let base = Base::detect();
    if base.rootless {
        userns::enter_new().map_err(|error| no_user_namespace(&error))?;
    }
    if topology.policy == RunPolicy::Never {
        stays_inside(&topology.network)?;
    }
    Demand::of(&topology.network, Engine::workers(&topology.network)).check(None, &topology.file)?;
    confine::start_starter().during(|| "cannot start a thread".into())?;
    let mut claim = base.lab(&topology.network.name).claim()?;
    claim.ignored.iter().for_each(|what| warn!("{what}"));
    // Peerings continue from where a crashed daemon left them. Its records are kept for another try, or for `down`.
    let links = claim.links.take().unwrap_or_default();
    let network = links.advance(topology.network).map_err(Error::Peering)?;
    let outcome = serve(&mut claim, base, Topology { network, ..topology }, stand, ready);
    let cleaned = claim.clean();
    outcome.and(cleaned)
}

fn serve(
    claim: &mut Claim,
    base: Base,
    topology: Topology,
    stand: Stand,
    ready: impl FnOnce(&Record) -> io::Result<()>,
) -> Result<()> {
    let Topology { mut network, memory, text, file, path, renamed, policy } = topology;
    containers::locate(&mut network, &base)?;
    // It is read again where the working directory can no longer be asked for.
    let path = path.map(|path| std::path::absolute(&path).unwrap_or(path));
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD]).during(|| "cannot watch signals".into())?;

    let dir = claim.dir.clone();
    let mut record = record(claim, &base, &network, file).during(|| "cannot describe the lab".into())?;
    record.renamed = renamed;
    record.policy = policy;
    record.directory = directory_of(path.as_deref().unwrap_or(Path::new(&record.file)));
    dir.write_record(&record)?;
    dir.write_applied(&text, &network)?;
    dir.write_links(&Links::of(&network))?;
    // Guests see these two, under any user.
    files::rewrite(&dir.hosts(), guest::hosts(&network).as_bytes()).during(|| "cannot write the hosts file".into())?;
    for machine in &network.virtual_machines {
        if let Some(text) = guest::resolver(&network, machine) {
            let written = files::rewrite(&dir.resolver(&machine.name), text.as_bytes());
            written.during(|| "cannot write a resolver's file".into())?;
        }
    }
    let mut lab = begin(claim, base, network, record, path, signals)?;
    lab.memory = memory.followed_by(lab.engine.network());
    dir.write_record(&lab.record)?;
    lab.start_programs(None).iter().for_each(|complaint| warn!("{complaint}"));
    lab.site.platform.apply(&lab.engine, &lab.history)?;
    lab.site.clouds.apply(&lab.engine.network(), &lab.site.guests)?;
    let started = Happening::LabStarted { lab: lab.record.lab.clone(), file: lab.record.file.clone() };
    lab.history.tell(started);
    // `up` reads this; if it has gone away, the lab is not wanted.
    ready(&lab.record).during(|| "the process that started the lab is gone".into())?;
    if stand == Stand::Background {
        let log = files::create(&dir.log(), files::OWN).and_then(|log| files::redirect_standard_streams(&log));
        log.during(|| "cannot leave the terminal".into())?;
    }
    confine::enter(&Role::Changes).during(|| "cannot drop capabilities".into())?;
    tell_systemd("READY=1");
    let why = watch(&mut lab);
    info!("stopping: {why}");
    tell_systemd("STOPPING=1");
    let Lab { engine, logger, routers, programs, site, events, .. } = lab;
    // A client that waits for a change learns that there will be none.
    drop(events);
    programs::stop(programs, &mut site.claim.journal);
    routers.end();
    engine.stop();
    logger.stop();
    Ok(())
}

/// The offloads that a file permits.
const fn most_offload(emulation: &Emulation) -> OffloadSupport {
    match (emulation.offload, emulation.udp_segmentation) {
        (false, _) => OffloadSupport::Off,
        (true, false) => OffloadSupport::Tcp,
        (true, true) => OffloadSupport::TcpUdp,
    }
}

/// What devices a network gets. Where the kernel loads no programs, guests get TUNs, or TAPs if they were to have
/// Ethernet: also returns why.
fn queues(network: &Network) -> (Queues, Option<String>) {
    let (count, offload) = (Engine::workers(network), most_offload(&network.emulation));
    let asked = network.emulation.device;
    let of_guest = |at: &Attachment| matches!(at, Attachment::Nic(_)) && attach::place(network, *at).is_none();
    let makes_guests = network.attachments().iter().any(of_guest);
    let plain = |kind| Queues { count, offload, kind, router: None };
    let without = match asked {
        None if makes_guests => DeviceKind::Tun,
        None => return (plain(DeviceKind::Tun), None),
        Some(DeviceKind::Veth) => DeviceKind::Tap,
        Some(kind) => return (plain(kind), None),
    };
    match Router::new() {
        Ok(router) => (Queues { router: Some(Arc::new(router)), ..plain(DeviceKind::Veth) }, None),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::PermissionDenied => "programs in the kernel need root (CAP_BPF)".to_owned(),
                // A verifier's answer has many lines.
                _ => {
                    format!(
                        "programs in the kernel need Linux 5.12 or newer: {}",
                        error.to_string().lines().next().unwrap_or("")
                    )
                }
            };
            (plain(without), Some(why))
        }
    }
}

/// Makes everything and starts to forward.
fn begin(
    claim: &mut Claim,
    base: Base,
    network: Network,
    mut record: Record,
    path: Option<PathBuf>,
    signals: Signals,
) -> Result<Lab<'_>> {
    let (events, wake) = bounded(WAITING);
    let (queues, not_carried) = queues(&network);
    let device = queues.kind;
    let mut site = Site::new(claim, base, queues);
    let attachments = network.attachments();
    let (guests, mut made) = site.make(&network, &attachments)?;
    record.describe(&network, &guests, &site.claim.dir);
    site.guests = guests;
    site.note_places(&network);
    // Before any packet can come.
    let mut filters = Filters::default();
    filters.apply(&network, &record, &site.claim.dir).iter().for_each(|complaint| warn!("{complaint}"));
    let mut learned = Learned { health: Some(BTreeMap::new()), ..Learned::default() };
    let mut tuns = Vec::new();
    for attachment in attachments {
        let (tun, mtu) = made.remove(&attachment).expect("a TUN was made for each attachment");
        learned.mtu.extend(mtu.map(|mtu| (attachment, mtu)));
        tuns.push(tun);
    }
    let storage = flow_logs::storage(&network, path.as_deref(), &site.claim.dir)?;
    let offload = tuns.first().map_or(OffloadSupport::Off, |tun| tun.offload);
    let (engine, logger) = start(network, tuns, learned)?;
    logger.apply(storage);
    let history: Arc<EventLog> = Arc::default();
    let routers = Arc::new(Routers::new(Arc::clone(&engine), Arc::clone(&history)));
    let facts = LabFacts {
        file: record.file.clone(),
        offload,
        device,
        not_carried,
        namespaces: record.namespaces(),
        devices: record.devices(),
        alerts: Vec::new(),
        flow_logs: logger.report(),
        events: Arc::clone(&history),
        routers: Arc::clone(&routers),
        places: record.places(),
        lookout: Lookout::start().during(|| "cannot start a thread".into())?,
        programs: Vec::new(),
        filters: filters.status(),
    };
    let facts = Arc::new(ArcSwap::from_pointee(facts));
    listen(&engine, &record, &facts, signals, &events)?;
    let switches = Switches::watch(events).during(|| "cannot watch devices".into())?;
    let (programs, events) = (Vec::new(), Events::new(wake, engine.events().unwrap_or_else(never)));
    let absences = Absences::default();
    let owed = Owed::default();
    let mut lab = Lab {
        site,
        engine,
        logger,
        routers,
        absences,
        switches,
        record,
        facts,
        history,
        programs,
        filters,
        path,
        events,
        memory: Memory::default(),
        owed,
    };
    lab.route().into_iter().chain(lab.watch_switches()).for_each(|complaint| warn!("{complaint}"));
    Ok(lab)
}

/// Starts everything that deals with packets.
fn start(network: Network, tuns: Vec<Tun>, learned: Learned) -> Result<(Arc<Engine>, FlowLogger)> {
    let engine = Engine::start(network, tuns, learned).during(|| "cannot start the workers".into())?;
    let engine = Arc::new(engine);
    let logger = FlowLogger::start(Arc::clone(&engine)).during(|| "cannot keep flow logs".into())?;
    Ok((engine, logger))
}

/// Starts everything that deals with signals and requests.
fn listen(
    engine: &Arc<Engine>,
    record: &Record,
    facts: &Arc<ArcSwap<LabFacts>>,
    signals: Signals,
    events: &Sender<Event>,
) -> Result<()> {
    forward_signals(signals, events.clone())?;
    let listener = UnixListener::bind(&record.socket).and_then(|listener| {
        fs::set_permissions(&record.socket, Permissions::from_mode(files::OWN))?;
        Ok(listener)
    });
    let listener = listener.during(|| "cannot make the control socket".into())?;
    let (changes, sender) = (events.clone(), events.clone());
    let change = move |change| ask_for(change, &changes);
    let shutdown = move || drop(sender.send(Event::Stop("a client asked for it")));
    server::serve(listener, Arc::clone(engine), Arc::clone(facts), change, shutdown)
        .during(|| "cannot answer on the control socket".into())
}

/// Has the main thread make a change, and waits for what comes of it.
fn ask_for(change: Change, events: &Sender<Event>) -> Response {
    let (reply, answer) = bounded(1);
    let asked = events.send(Event::Change(change, reply)).ok();
    let answered = asked.and_then(|()| answer.recv().ok());
    answered.unwrap_or_else(|| Response::Failed(Refusal::new("the lab is ending")))
}

fn forward_signals(mut signals: Signals, sender: Sender<Event>) -> Result<()> {
    let event = |signal| match signal {
        SIGCHLD => Event::ProgramEnded,
        SIGHUP => Event::ReadAgain,
        _ => Event::Stop("a signal came"),
    };
    let forward = move |()| signals.forever().map(event).try_for_each(|event| sender.send(event).ok());
    let started = confine::spawn("vnet-signals", Role::Control, || Ok(()), forward);
    started.map(drop).during(|| "cannot start a thread".into())
}

/// Handles events until the end; returns the reason for the end.
fn watch(lab: &mut Lab<'_>) -> &'static str {
    let mut look = Instant::now() + WATCH;
    loop {
        lab.come_back();
        let now = Instant::now();
        if now >= look {
            if !lab.site.claim.stands() {
                return "its directory was deleted: it can no longer be reached";
            }
            lab.let_go_of_lost();
            lab.write_owed();
            lab.logger.mend();
            look = now + WATCH;
        }
        match lab.events.next(lab.absences.patience(look - now)) {
            Some(Event::Stop(why)) => return why,
            Some(Event::ReadAgain) => lab.read_again(),
            // The client may have gone meanwhile.
            Some(Event::Change(change, reply)) => drop(reply.send(lab.change(change))),
            Some(Event::ProgramEnded) => lab.reap_programs(),
            Some(Event::Forwarding(engine::Event::PortDown(port))) => {
                let published = lab.engine.published();
                if let Some(attachment) = published.attachment(port) {
                    let name = name(&published.network, attachment);
                    warn!("the device of {name} is gone: packets for it are dropped until `vnet apply` or SIGHUP");
                    lab.history.tell(Happening::DeviceLost { interface: name });
                }
            }
            Some(Event::Forwarding(engine::Event::WorkerFailed { worker, error })) => {
                lab.history.tell(Happening::WorkerFailed { worker, reason: error.to_string() });
                lab.alert(format!("worker {worker} ended: {error}; `vnet down` and `vnet up` start it again"));
            }
            Some(Event::DevicesChanged) => lab.check_links(),
            None => {}
        }
    }
}

/// The lab before anything of it is made.
fn record(claim: &Claim, base: &Base, network: &Network, file: String) -> io::Result<Record> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Record {
        lab: network.name.clone(),
        daemon: ProcessId::current()?,
        file,
        since: since.as_secs(),
        after_crash: claim.was_left,
        renamed: false,
        rootless: base.rootless,
        socket: claim.dir.socket(),
        hosts: claim.dir.hosts(),
        nodes: Vec::new(),
        stopped: Vec::new(),
        addresses: Leases::of(network),
        programs: Vec::new(),
        directory: PathBuf::new(),
        policy: RunPolicy::default(),
    })
}

/// The site at the end of a tunnel.
pub(in crate::lab) fn tunnel_site(network: &Network, tunnel: ConnectionIx) -> &str {
    network.site_of(tunnel).map_or("", |site| &network.site(site).name)
}

/// The name for users of what is attached to a TUN.
pub(in crate::lab) fn name(network: &Network, attachment: Attachment) -> String {
    match attachment {
        Attachment::Vnet(vnet) => format!("virtual network {}", network.vnet(vnet).name),
        Attachment::Nic(nic) => {
            let nic = network.nic(nic);
            format!("{}/{}", network.vm(nic.virtual_machine).name, nic.name)
        }
        Attachment::Internet => format!("{}/{}", Internet::NAME, Internet::INTERFACE),
        Attachment::Gateway(gateway) => network.gateway(gateway).name.clone(),
        Attachment::Tunnel(tunnel) => format!("{}/{}", tunnel_site(network, tunnel), network.connection(tunnel).name),
        Attachment::Platform(vnet) => format!("{PLATFORM_NODE}/{}", network.vnet(vnet).name),
        Attachment::Edge(circuit) => network.circuit(circuit).name.clone(),
        Attachment::RouteServer(server) => network.route_server(server).name.clone(),
        Attachment::CloudRouter(cloud, tier) => network.cloud(cloud).router_name(tier).to_owned(),
        Attachment::Segment(cloud, segment) => {
            let segment = network.segment(cloud, segment);
            format!("{}/{}", segment.node, segment.name)
        }
        Attachment::CircuitLink(circuit, side) => {
            let customer = network.customer_name(circuit).unwrap_or_default();
            format!("{customer}/{}", network.circuit_link_name(circuit, side))
        }
    }
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

//! A network as large as Azure lets one be: how long it takes to read, compile and change, and how much memory.
//!
//! 1,000 VNets as three hubs and their spokes (LIM-01, LIM-03), 5,000 interfaces, 24 tables of 400 routes (LIM-15). The
//! first part is the library alone; the second, as root, a real daemon with a TUN for each interface, all in one
//! namespace, whose file changes by one route. Prints medians, as they passed and as a processor was busy: on a machine
//! that others use only the second means much.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at what it did not expect, and prints")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vnet::compile::{Ids, Learned, compile, compile_next};
use vnet::config::{Loaded, Memory, load_next, no_files};
use vnet::control::client::ask;
use vnet::control::protocol::{Apply, Change, Changed, Request, Response};
use vnet::diag::plan;
use vnet::model::{Links, Standing};
use vnet::sys::caps::{self, CapabilitySet};
use vnet::sys::netns::{self, Netns};

const HUBS: usize = 3;
const SPOKES: usize = 997;
const NICS: usize = 5 * (HUBS + SPOKES);
const TABLES: usize = 24;
const ROUTES: usize = 400;
const ROUNDS: usize = 7;

fn main() {
    // `cargo test --benches` and `cargo bench` pass options that are not for us.
    let text = topology("scale", 0, None);
    println!(
        "{} VNets, {NICS} interfaces, {TABLES} tables of {ROUTES} routes: {} KiB",
        HUBS + SPOKES,
        text.len() >> 10
    );
    library(&text);
    if caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        daemon();
    } else {
        println!("no daemon: needs root");
    }
}

fn library(text: &str) {
    let Loaded { network, memory, .. } = read(text, &Memory::default());
    report("read and check", || drop(black_box(read(text, &Memory::default()))));
    let other = topology("scale", 1, None);
    report("the same, one route changed", || drop(black_box(read(&other, &memory))));
    println!("{:>32} {:>8} MiB", "peak memory", peak("self"));
    let before = compile(&network, &Learned::default(), 1);
    report("compile", || drop(black_box(compile(&network, &Learned::default(), 2))));
    println!("{:>32} {:>8} MiB", "peak memory", peak("self"));
    let changed = read(&other, &memory);
    report("what Azure refuses of a change", || changed.check_update(&network).unwrap());
    let changed = changed.network;
    report("how its peerings stand", || drop(black_box(Links::of(&network).advance(changed.clone()))));
    let next = || compile_next(&changed, &Learned::default(), Ids::in_file_order(&changed), 2, &before);
    report("compile, one route changed", || drop(black_box(next())));
    let after = next();
    report("plan of a changed route", || drop(black_box(plan((&network, &before), (&changed, &after)))));
    learned();
}

fn read(text: &str, memory: &Memory) -> Loaded {
    let loaded = load_next(text, "scale.yaml", &Standing::default(), &no_files, memory);
    loaded.unwrap_or_else(|errors| panic!("{errors}"))
}

/// What the running system tells reaches the tables of 100 VNets.
fn learned() {
    let network = read(&of_size("scale", 100, 0, None), &Memory::default()).network;
    let before = compile(&network, &Learned::default(), 1);
    let told = Learned { mtu: network.attachments().into_iter().map(|at| (at, 1400)).collect(), ..Learned::default() };
    let next = || compile_next(&network, &told, before.ids().clone(), 2, &before);
    report("compile 100 VNets, MTUs learned", || drop(black_box(next())));
}

/// Through the daemon's socket, from the request to its answer.
fn daemon() {
    netns::prepare_names().unwrap();
    let name = format!("scale{}", std::process::id());
    let place = netns::name_path(&name);
    Netns::create().unwrap().bind(&place).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scale.yaml");
    fs::write(&file, topology(&name, 0, Some(&name))).unwrap();
    let started = Instant::now();
    let mut running = Running(run(&file));
    let mut ready = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    println!("{:>32} {:>8} ms", "up, with a TUN each", started.elapsed().as_millis());
    if !ready.is_empty() {
        let socket = Path::new("/run/vnet").join(&name).join("control.sock");
        let mut step = 0;
        report_of(Of::Process(running.0.id()), "apply one route", || {
            step += 1;
            change(&socket, topology(&name, step, Some(&name)), false);
        });
        report_of(Of::Process(running.0.id()), "apply one route, dry run", || {
            change(&socket, topology(&name, step + 1, Some(&name)), true);
        });
        println!("{:>32} {:>8} MiB", "peak memory of the daemon", peak(&running.0.id().to_string()));
    }
    drop(running);
    netns::unbind(&place).unwrap();
}

fn change(socket: &Path, text: String, dry_run: bool) -> Changed {
    let apply = Apply { text, file: "scale.yaml".to_owned(), path: None, dry_run, sync: false, service_tags: None };
    match ask(socket, &Request::Change(Change::Apply(apply))).unwrap() {
        Response::Changed(changed) if changed.applied != dry_run && changed.plan.changes.len() == 1 => changed,
        other => panic!("{other:?}"),
    }
}

fn run(file: &Path) -> Child {
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    vnet.arg("run").arg(file).env_remove("VNET_LAB").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Asked to end when it goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Whose processor time counts.
#[derive(Clone, Copy)]
enum Of {
    ThisThread,
    Process(u32),
}

impl Of {
    fn busy(self) -> Duration {
        match self {
            Self::ThisThread => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
            }
            Self::Process(pid) => {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
                // User and system time, in hundredths of a second.
                let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
                Duration::from_millis(10 * (ticks(11) + ticks(12)))
            }
        }
    }
}

fn report(what: &str, f: impl FnMut()) {
    report_of(Of::ThisThread, what, f);
}

fn report_of(of: Of, what: &str, mut f: impl FnMut()) {
    let mut passed = Vec::new();
    let mut busy = Vec::new();
    for _ in 0..ROUNDS {
        let (started, before) = (Instant::now(), of.busy());
        f();
        passed.push(started.elapsed());
        busy.push(of.busy().saturating_sub(before));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64() * 1e3
    };
    println!("{what:>32} {:>8.1} ms, {:.1} ms busy", median(passed), median(busy));
}

/// The most memory that a process ever had, in MiB.
fn peak(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// The network in a given step: one route differs. With a namespace, every interface hangs on a TUN in it.
fn topology(name: &str, step: usize, namespace: Option<&str>) -> String {
    of_size(name, HUBS + SPOKES, step, namespace)
}

/// The same with so many VNets.
fn of_size(name: &str, vnets: usize, step: usize, namespace: Option<&str>) -> String {
    let mut text = format!("name: {name}\nemulation: {{workers: 2}}\nvirtualNetworks:\n");
    for vnet in 0..vnets {
        virtual_network(&mut text, vnets, vnet);
    }
    text += "routeTables:\n";
    for table in 0..TABLES {
        let _ = writeln!(text, "  - name: t{table}\n    routes:");
        for route in 0..ROUTES {
            // The appliance of the table's hub, and for the last route of the first table this step's.
            let last = if (table, route) == (0, ROUTES - 1) { 4 + step % 8 } else { 4 };
            let prefix = format!("{}.{}.{}.0/24", 20 + table, route / 256, route % 256);
            let hop = format!("10.{}.{}.{last}", table % HUBS / 64, table % HUBS % 64 * 4);
            let _ = writeln!(
                text,
                "      - {{name: r{route}, addressPrefix: {prefix}, nextHopType: VirtualAppliance, nextHopIpAddress: {hop}}}"
            );
        }
    }
    text += "networkSecurityGroups:\n";
    for nsg in 0..20 {
        let _ = writeln!(text, "  - name: g{nsg}\n    securityRules:");
        for rule in 0..20 {
            let _ = writeln!(
                text,
                "      - {{name: r{rule}, priority: {}, direction: Inbound, access: Allow, protocol: Tcp, \
                 sourceAddressPrefix: VirtualNetwork, sourcePortRange: '*', destinationAddressPrefix: '*', \
                 destinationPortRange: {}}}",
                100 + rule,
                1000 + nsg * 20 + rule
            );
        }
    }
    text += "virtualMachines:\n";
    for nic in 0..5 * vnets {
        let (vnet, attach) = (nic % vnets, namespace.map(|namespace| attach(namespace, nic)));
        let subnet = if (nic / vnets).is_multiple_of(2) { "app" } else { "db" };
        let _ = writeln!(
            text,
            "  - {{name: m{nic}, networkInterfaces: [{{subnet: v{vnet}/{subnet}{}}}]}}",
            attach.unwrap_or_default()
        );
    }
    text
}

fn attach(namespace: &str, nic: usize) -> String {
    format!(", attach: {{namespace: {namespace}, interface: t{nic}, configure: false}}")
}

fn virtual_network(text: &mut String, vnets: usize, vnet: usize) {
    let range = |third: usize, length: u8| format!("10.{}.{}.0/{length}", vnet / 64, vnet % 64 * 4 + third);
    let hub = vnet % HUBS;
    let peers: Vec<usize> = if vnet < HUBS {
        (0..HUBS).filter(|other| *other != vnet).chain((HUBS..vnets).filter(|spoke| spoke % HUBS == vnet)).collect()
    } else {
        vec![hub]
    };
    let _ = writeln!(
        text,
        "  - name: v{vnet}\n    location: westeurope\n    addressSpace: [{}]\n    subnets:\n      \
         - {{name: app, addressPrefix: {}, routeTable: t{}, networkSecurityGroup: g{}}}\n      \
         - {{name: db, addressPrefix: {}, routeTable: t{}, networkSecurityGroup: g{}}}\n    virtualNetworkPeerings:",
        range(0, 22),
        range(0, 24),
        vnet % TABLES,
        vnet % 20,
        range(1, 24),
        vnet % TABLES,
        (vnet + 1) % 20
    );
    for peer in peers {
        let _ = writeln!(
            text,
            "      - {{name: v{vnet}-v{peer}, remoteVirtualNetwork: v{peer}, allowForwardedTraffic: true}}"
        );
    }
}

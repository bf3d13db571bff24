//! A network as large as Azure allows: how long it takes to read, compile and change, and how much memory.
//!
//! 1,000 VNets as three hubs and their spokes (LIM-01, LIM-03), 5,000 interfaces, 24 tables of 400 routes (LIM-15). The
//! first part is the library alone. The second, as root, is a real daemon with a TUN for each interface: its file
//! changes by one route while packets use it. It prints medians, of elapsed and of processor time: on a machine with
//! other load only the second is reliable.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at what it did not expect, and prints")]

mod live;
mod topology;

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use vnet::analysis::plan;
use vnet::compile::{Ids, compile, compile_next};
use vnet::config::{Loaded, Memory, load_next, no_files};
use vnet::model::{Existing, Learned, Links};
use vnet::sys::caps::{self, CapabilitySet};

use topology::{HUBS, NICS, ROUTES, SPOKES, TABLES};

const ROUNDS: usize = 7;

fn main() {
    // `cargo test --benches` and `cargo bench` pass options that are not for us.
    let text = topology::whole("scale", 0, None);
    println!(
        "{} VNets, {NICS} interfaces, {TABLES} tables of {ROUTES} routes: {} KiB",
        HUBS + SPOKES,
        text.len() >> 10
    );
    library(&text);
    if caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        live::daemon();
    } else {
        println!("no daemon: needs root");
    }
}

fn library(text: &str) {
    let Loaded { network, memory, .. } = read(text, &Memory::default());
    report("read and check", || drop(black_box(read(text, &Memory::default()))));
    let other = topology::whole("scale", 1, None);
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
    let loaded = load_next(text, "scale.yaml", &Existing::default(), &no_files, memory);
    loaded.unwrap_or_else(|errors| panic!("{errors}"))
}

/// MTUs learned from the running system change the tables of 100 VNets.
fn learned() {
    let network = read(&topology::of_size("scale", 100, 0, None), &Memory::default()).network;
    let before = compile(&network, &Learned::default(), 1);
    let told = Learned { mtu: network.attachments().into_iter().map(|at| (at, 1400)).collect(), ..Learned::default() };
    let next = || compile_next(&network, &told, before.ids().clone(), 2, &before);
    report("compile 100 VNets, MTUs learned", || drop(black_box(next())));
}

/// The process to measure.
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
    println!("{what:>32} {:>8.1} ms, {:.1} ms busy", median(passed), median(busy));
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// The most memory that a process ever had, in MiB.
fn peak(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

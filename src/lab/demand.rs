//! What a topology takes from the system at least, and whether that is there.
//!
//! One idea: a lab that cannot fit is refused before anything of it is made, with all that is too little. The numbers
//! are the least that was measured, so that no lab is refused that would have come up; docs/reference/limits.md has them. Azure's own
//! limits are mistakes of a file, and `config` reports these.

use crate::model::{Network, counted};
use crate::sys::limits::Limits;

use super::error::{Error, Result};
use super::namespaces::{gateway, is_ours};

/// Files that a daemon holds open without any device: its socket, clients, journal, threads.
const FILES: u64 = 64;
/// The program, its threads and stacks.
const MEMORY: u64 = 32 << 20;
/// Of the kernel.
const MEMORY_OF_NODE: u64 = 100 << 10;
const MEMORY_OF_QUEUE: u64 = 32 << 10;
/// In the model and the tables.
const MEMORY_OF_RULE: u64 = 4 << 10;
const MEMORY_OF_LINK: u64 = 1 << 10;
const MEMORY_OF_ROUTE: u64 = 512;

/// What one network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    nodes: u64,
    devices: u64,
    workers: u64,
    programs: u64,
    rules: u64,
    links: u64,
    routes: u64,
}

impl Demand {
    /// With so many workers, each of which has a queue of every device.
    pub(super) fn of(network: &Network, workers: usize) -> Self {
        let machines = network.virtual_machines.iter().filter(|vm| is_ours(network, vm)).count();
        let nodes = machines + gateway::nodes(network).count() + usize::from(network.internet.is_some());
        let sum = |numbers: &mut dyn Iterator<Item = usize>| numbers.sum::<usize>() as u64;
        Self {
            nodes: nodes as u64,
            devices: network.attachments().len() as u64,
            workers: workers as u64,
            programs: network.programs().count() as u64,
            rules: sum(&mut network.network_security_groups.iter().map(|group| group.rules.len())),
            links: sum(&mut network.virtual_networks.iter().map(|vnet| vnet.peerings.len())),
            routes: sum(&mut network.route_tables.iter().map(|table| table.routes.len())),
        }
    }

    /// Fails with all that is too little for this network, which takes the place of another one, if one runs.
    pub(super) fn check(&self, running: Option<&Self>, file: &str) -> Result<()> {
        let too_much = self.beyond(&Limits::now(), running);
        if too_much.is_empty() { Ok(()) } else { Err(Error::TooMuch { file: file.to_owned(), too_much }) }
    }

    fn files(&self) -> u64 {
        FILES + self.devices * self.workers
    }

    fn memory(&self) -> u64 {
        MEMORY
            + self.nodes * MEMORY_OF_NODE
            + self.devices * self.workers * MEMORY_OF_QUEUE
            + self.rules * MEMORY_OF_RULE
            + self.links * MEMORY_OF_LINK
            + self.routes * MEMORY_OF_ROUTE
    }

    /// A sentence for each limit that it exceeds. What runs holds its share of memory and processes already.
    fn beyond(&self, limits: &Limits, running: Option<&Self>) -> Vec<String> {
        let held = |what: fn(&Self) -> u64| running.map_or(0, what);
        let memory = self.memory().saturating_sub(held(Self::memory));
        let programs = self.programs.saturating_sub(held(|running| running.programs));
        let mut too_much = Vec::new();
        let mut compare = |asks: u64, limit: Option<u64>, say: &dyn Fn(u64) -> String| {
            too_much.extend(limit.filter(|limit| asks > *limit).map(say));
        };
        compare(self.files(), limits.open_files, &|limit| {
            let fewer = if self.workers > 1 {
                "write `emulation: {workers: 1}`, or take fewer interfaces"
            } else {
                "take fewer interfaces"
            };
            format!(
                "{} open files for {}, with {} each; this process may open {limit}; {fewer}, or raise the limit: `ulimit -Hn {}`",
                self.files(),
                counted(self.devices, "device"),
                counted(self.workers, "queue"),
                self.files()
            )
        });
        compare(self.nodes, limits.namespaces, &|limit| {
            format!(
                "{}; the kernel permits {limit}; take fewer machines, or raise the limit: `sysctl user.max_net_namespaces={}`",
                counted(self.nodes, "network namespace"),
                self.nodes * 2
            )
        });
        compare(programs, limits.processes, &|limit| {
            format!(
                "{}; {} more may run in this control group; start with --no-run, or raise its pids.max",
                counted(programs, "program"),
                counted(limit, "process")
            )
        });
        compare(memory, limits.memory, &|limit| {
            format!(
                "{} MiB of memory for {}, {} and {}; {} MiB are available; take a smaller file, or end other labs with `vnet down`",
                memory >> 20,
                counted(self.nodes, "machine"),
                counted(self.devices, "device"),
                counted(self.rules, "rule"),
                limit >> 20
            )
        });
        too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Limits =
        Limits { open_files: Some(20_000), namespaces: Some(1_000), processes: Some(50), memory: Some(1 << 30) };

    fn said(demand: Demand, running: Option<&Demand>) -> Vec<String> {
        demand.beyond(&ROOMY, running)
    }

    #[test]
    fn the_last_that_fits_and_the_first_that_does_not() {
        let demand =
            Demand { nodes: 1_000, devices: 4_984, workers: 4, programs: 50, rules: 1_000, ..Demand::default() };
        assert_eq!(said(demand, None), [""; 0]);
        let files = said(Demand { devices: 4_985, ..demand }, None);
        let expected = "20004 open files for 4985 devices, with 4 queues each; this process may open 20000; write \
                        `emulation: {workers: 1}`, or take fewer interfaces, or raise the limit: `ulimit -Hn 20004`";
        assert_eq!(files, [expected]);
        let namespaces = said(Demand { nodes: 1_001, ..demand }, None);
        assert!(namespaces[0].starts_with("1001 network namespaces; the kernel permits 1000; "), "{namespaces:?}");
        let programs = said(Demand { programs: 51, ..demand }, None);
        assert!(programs[0].starts_with("51 programs; 50 processes more may run"), "{programs:?}");
        let memory = said(Demand { rules: 1 << 18, ..demand }, None);
        assert!(memory[0].contains("and 262144 rules; 1024 MiB are available"), "{memory:?}");
    }

    #[test]
    fn all_that_is_too_little_is_said_at_once_and_nothing_of_what_is_unknown() {
        let demand = Demand { nodes: 1 << 20, devices: 1 << 20, workers: 1, programs: 1 << 20, ..Demand::default() };
        assert_eq!(said(demand, None).len(), 4);
        assert_eq!(demand.beyond(&Limits::default(), None), [""; 0]);
    }

    #[test]
    fn a_change_asks_for_what_it_adds() {
        let running = Demand { programs: 40, rules: 1 << 18, workers: 1, ..Demand::default() };
        let next = Demand { programs: 80, rules: running.rules + 10, ..running };
        assert_eq!(said(next, Some(&running)), [""; 0]);
        assert_eq!(said(next, None).len(), 2);
    }

    /// What each part of a file costs: a lab that does not fit is refused for what it asks, and no other is.
    #[test]
    fn each_part_of_a_file_counts() {
        let network = crate::lab::tests::network(
            "
name: lab
internet: {addresses: [198.51.100.7]}
virtualNetworks:
  - {name: a, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}],
     virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]}
  - {name: b, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}]}
routeTables:
  - {name: r, routes: [{name: one, addressPrefix: 10.8.0.0/16, nextHopType: None}, {name: two, addressPrefix: 10.9.0.0/16, nextHopType: None}]}
emulation: {platformServices: false}
virtualMachines:
  - {name: web, run: serve, networkInterfaces: [{subnet: a/s}, {subnet: a/s}]}
  - {name: off, powerState: stopped, networkInterfaces: [{subnet: b/s}]}
  - {name: there, networkInterfaces: [{subnet: a/s, attach: {namespace: elsewhere, interface: eth7}}]}
",
        );
        let demand = Demand::of(&network, 3);
        let expected = Demand { nodes: 2, devices: 4, workers: 3, programs: 1, rules: 0, links: 1, routes: 2 };
        assert_eq!(demand, expected);
        assert_eq!(demand.files(), 64 + 4 * 3);
        assert_eq!(demand.memory(), (32 << 20) + 2 * (100 << 10) + 12 * (32 << 10) + (1 << 10) + 2 * 512);
        assert_eq!(Demand { rules: 3, ..demand }.memory() - demand.memory(), 3 * (4 << 10));
    }
}

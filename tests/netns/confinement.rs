//! What the daemon's threads may still do: each thread of a lab with everything in it, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use vnet::sys::caps::CapabilitySet;
use vnet::sys::confine::Role;
use vnet::sys::sandbox;

use crate::lab::{Lab, eventually, stdout, vnet};

const SITE: &str = include_str!("../../config/site-to-site-bgp.yaml");
/// Beside a gateway with BGP: a probed balancer with servers, packet filter rules, a flow log, and a private cloud.
const BESIDE: &str = "
loadBalancers:
  - name: web
    frontendIPConfigurations: [{name: web, subnet: spoke/app, privateIPAddress: 10.20.1.100}]
    backendAddressPools: [{name: servers}]
    probes: [{name: up, protocol: Tcp, port: 8080, intervalInSeconds: 5}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: web, backendAddressPool: servers, probe: up, protocol: Tcp, frontendPort: 80, backendPort: 8080}
flowLogs:
  - {name: all, targetResourceId: virtualNetworks/spoke, storagePath: logs}
privateClouds: [{name: sddc, networkBlock: 10.175.0.0/22, segments: [{name: s, addressPrefix: 10.176.1.0/24}]}]
emulation: {device: veth, flowLogRecordSeconds: 1, flowLogContinuationSeconds: 1, workers: 2}
";
const SERVER: &str = "  - {name: app, networkInterfaces: [{subnet: spoke/app, loadBalancerBackendAddressPools: [web/servers]}], run: [python3, -m, http.server, '8080']}";
const LATER: &str = "  - {name: later, networkInterfaces: [{subnet: spoke/app}], run: [sleep, '1000'], guest: {nftables: \"add table inet mine\\n\"}}\n";

/// The lab with everything, and with another machine.
fn topologies() -> [String; 2] {
    let app = "  - {name: app, networkInterfaces: [{subnet: spoke/app}]}";
    let full = SITE.replace(app, SERVER) + BESIDE;
    let more = full.replace("tests:\n", &format!("{LATER}tests:\n")).replace("storagePath: logs", "storagePath: other");
    [full, more]
}

/// In a set of signals, as the kernel prints it: SIGILL, SIGBUS, SIGFPE and SIGSEGV. A thread that fails ends the process.
const FAULTS: u64 = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 10;
/// SIGHUP, SIGINT, SIGTERM and SIGCHLD: handlers run on a thread that has a handler's calls.
const HANDLED: u64 = 1 << 0 | 1 << 1 | 1 << 14 | 1 << 16;

/// One thread, as the kernel describes it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rights {
    capabilities: u64,
    no_new_privileges: bool,
    filtered: bool,
    /// Which of the signals above it does not handle.
    blocks: u64,
}

/// The rights of each thread of a daemon, by its name without a number.
fn threads(lab: &Lab) -> BTreeMap<String, BTreeSet<Rights>> {
    let pid = &lab.data(&["status"])["pid"];
    let mut threads: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // One that has just ended.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let fields: BTreeMap<_, _> = status.lines().filter_map(|line| line.split_once(":\t")).collect();
        let rights = Rights {
            capabilities: u64::from_str_radix(fields["CapPrm"], 16).unwrap(),
            no_new_privileges: fields["NoNewPrivs"] == "1",
            filtered: fields["Seccomp"] == "2",
            blocks: u64::from_str_radix(fields["SigBlk"], 16).unwrap() & (FAULTS | HANDLED),
        };
        assert_eq!(fields["CapPrm"], fields["CapEff"], "{status}");
        assert_eq!(fields["CapInh"], "0000000000000000", "{status}");
        let name = fields["Name"].trim_end_matches(|letter: char| letter.is_ascii_digit());
        threads.entry(name.to_owned()).or_default().insert(rights);
    }
    threads
}

/// Every name, with the rights of its role.
fn expected() -> BTreeMap<String, BTreeSet<Rights>> {
    let of = |role: Role| {
        let capabilities = role.capabilities().bits();
        let blocks = if role == Role::Changes { FAULTS } else { FAULTS | HANDLED };
        Rights { capabilities, no_new_privileges: true, filtered: true, blocks }
    };
    let starts = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE | CapabilitySet::SETPCAP | sandbox::KEPT;
    let starter = Rights { capabilities: starts.bits(), no_new_privileges: false, filtered: false, blocks: 0 };
    let roles = [
        ("vnet", of(Role::Changes)),
        ("vnet-w", of(Role::Worker)),
        ("vnet-bgp", of(Role::Service)),
        ("vnet-service", of(Role::Service)),
        ("vnet-names", of(Role::Service)),
        ("vnet-managers", of(Role::Service)),
        ("vnet-probe", of(Role::Service)),
        ("vnet-control", of(Role::Control)),
        ("vnet-reception", of(Role::Control)),
        ("vnet-follow", of(Role::Control)),
        ("vnet-signals", of(Role::Control)),
        ("vnet-devices", of(Role::Control)),
        ("vnet-flow-logs", of(Role::FlowLogs(Vec::new()))),
        ("vnet-routes", of(Role::Routes)),
        ("vnet-carried", of(Role::FlowCache)),
        ("vnet-lookout", of(Role::Lookout)),
        ("vnet-starter", starter),
    ];
    roles.into_iter().map(|(name, rights)| (name.to_owned(), BTreeSet::from([rights]))).collect()
}

/// A client that follows, for the thread that serves it.
struct Follower(Child);

impl Follower {
    fn of(lab: &Lab) -> Self {
        let events = vnet().args(["-l", &lab.name, "events", "-f"]).stdout(Stdio::null()).spawn();
        Self(events.unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_thread_has_the_rights_of_its_role_and_everything_works() {
    let [first, second] = topologies();
    let Some(lab) = Lab::up(&first) else { return };
    let _follower = Follower::of(&lab);
    eventually("every thread is there, with its rights", || threads(&lab) == expected());

    // Packets, BGP, probes, names, metadata, flow logs and rules of guests.
    lab.assert_ping("app", "10.10.1.4");
    eventually("the routes of the site are learned", || stdout(&lab.exec("dc", &["ip", "route"])).contains("10.20"));
    lab.assert_ping("app", "192.168.50.10");
    eventually("the backend is up", || lab.data(&["lb"])[0]["health"] == "Up");
    let logged = |at: &str| {
        let found = Command::new("find").arg(lab.file.with_file_name(at)).args(["-name", "PT1H.json"]).output();
        !stdout(&found.unwrap()).is_empty()
    };
    eventually("flows are logged", || logged("logs"));
    lab.apply(&second);
    lab.assert_ping("later", "10.10.1.4");
    eventually("flows are logged in another directory", || logged("other"));
    fs::remove_dir_all(lab.file.with_file_name("other")).unwrap();
    eventually("flows are logged in a directory that was removed", || {
        lab.assert_ping("later", "10.10.1.4");
        logged("other")
    });
    assert!(stdout(&lab.exec("later", &["nft", "list", "tables"])).contains("mine"));
    eventually("every thread still has its rights", || threads(&lab) == expected());
    lab.apply(&first);
    lab.assert_ping("app", "10.10.1.4");
    assert!(lab.down().status.success());
    assert_eq!(lab.remains(), [""; 0].map(Path::new));
}

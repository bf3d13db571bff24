//! A running lab that changes: what is new comes, what is left over goes, and what stays does not notice.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};
use serde_json::Value;
use vnet::sys::netlink::Netlink;
use vnet::sys::process;

use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, eventually, stderr, stdout, vnet};
use crate::life::process_of;

pub(crate) const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// The example with more machines.
pub(crate) fn with_machines(lines: &[&str]) -> String {
    // First in the list, so that all others have another place in it now.
    HUB_SPOKE.replace("virtualMachines:\n", &format!("virtualMachines:\n  - {}\n", lines.join("\n  - ")))
}

/// A TCP connection that stays open, and asks and answers.
pub(crate) struct Session {
    client: TcpStream,
    server: TcpStream,
}

impl Session {
    pub(crate) fn open(lab: &Lab, from: &str, to: &str, address: &str, port: u16) -> Option<Self> {
        let listener = lab.inside(to, || bound(|| TcpListener::bind((address, port))));
        let at = listener.local_addr().unwrap();
        let client = lab.inside(from, || TcpStream::connect_timeout(&at, NEVER)).ok()?;
        let (server, _) = listener.accept().unwrap();
        Some(Self { client, server })
    }

    /// Whether a byte gets there and back in time.
    pub(crate) fn answers(&mut self, limit: std::time::Duration) -> bool {
        self.server.set_read_timeout(Some(limit)).unwrap();
        self.client.set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0];
        self.client.write_all(b"?").unwrap();
        let there = self.server.read_exact(&mut byte).is_ok();
        there && self.server.write_all(b"!").is_ok() && self.client.read_exact(&mut byte).is_ok()
    }
}

pub(crate) fn generation(lab: &Lab) -> u64 {
    lab.data(&["status"])["generation"].as_u64().unwrap()
}

pub(crate) fn assert_code(output: &std::process::Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(output), stderr(output));
}

#[test]
fn machines_come_and_go_while_a_session_lives() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut session = Session::open(&lab, "web", "db", "10.2.1.10", 9000).unwrap();
    let run = "{name: web2, networkInterfaces: [{subnet: spoke1/app}], run: [sh, -c, 'hostname; echo $$; sleep 1000']}";
    let output = lab.apply(&with_machines(&[run]));
    assert!(stdout(&output).contains("+ virtualMachines          web2"), "{}", stdout(&output));
    lab.assert_ping("web2", "10.2.1.10");
    lab.assert_ping("web", "10.1.1.5");
    assert!(session.answers(SOON));
    // All machines resolve its name, however a program enters them.
    for node in ["web", "db", "web2"] {
        let hosts = stdout(&lab.exec(node, &["cat", "/etc/hosts"]));
        assert!(hosts.lines().any(|line| line == "10.1.1.5 web2"), "{node}: {hosts}");
        assert_eq!(fs::read_to_string(format!("/etc/netns/{}-{node}/hosts", lab.name)).unwrap(), hosts);
    }
    let log = Path::new("/run/vnet").join(&lab.name).join("programs/web2.log");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("its program writes its log", || lines().len() == 2);
    assert_eq!(lines()[0], "web2");
    let group = process_of(&lab, "web2", &lines()[1]).unwrap();
    assert!(test_kill_process_group(group).is_ok());

    lab.apply(HUB_SPOKE);
    assert!(session.answers(SOON));
    let runs = || process::running().any(|listed| listed.group == group.as_raw_nonzero().get().cast_unsigned());
    assert!(!runs(), "its program is gone");
    assert!(!Path::new("/run/netns").join(format!("{}-web2", lab.name)).exists());
    assert!(!Path::new("/etc/netns").join(format!("{}-web2", lab.name)).exists());
    assert!(!fs::read_to_string(format!("/etc/netns/{}-web/hosts", lab.name)).unwrap().contains("web2"));
    assert_code(&lab.exec("web2", &["true"]), 2);
    lab.assert_dropped("web", "10.1.1.5", "web", "NoEndpoint");
    assert_code(&lab.down(), 0);
    assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn another_machine_in_the_same_place_shares_nothing_with_the_last() {
    let Some(lab) = Lab::up(&with_machines(&["{name: a, networkInterfaces: [{subnet: spoke1/app}]}"])) else { return };
    // `a` has the lowest address. Once it is gone, the next machine gets that address.
    let at = |lab: &Lab, node: &str| {
        let status = lab.data(&["status"]);
        let nodes = status["nodes"].as_array().unwrap().clone();
        let found = nodes.into_iter().find(|found| found["name"] == node).unwrap();
        found["networkInterfaces"][0]["addresses"][0].as_str().unwrap().to_owned()
    };
    let address = at(&lab, "a");
    let pings = ["-f", "-c100", "10.2.1.10"];
    assert_code(&lab.exec("a", &[&["ping"][..], &pings].concat()), 0);
    eventually("all answers are counted", || {
        lab.data(&["counters"]).as_array().unwrap().iter().any(|row| row["node"] == "a" && row["txPackets"] == 100)
    });
    lab.apply(&with_machines(&["{name: b, networkInterfaces: [{subnet: spoke1/app}]}"]));
    assert_eq!(at(&lab, "b"), address);
    let counters = lab.data(&["counters"]);
    let row = counters.as_array().unwrap().iter().find(|row| row["node"] == "b").unwrap();
    // A kernel announces its groups by itself as soon as it has a link.
    let of_its_own = row["rxPackets"].as_u64().unwrap();
    assert!(of_its_own < 10 && row["txPackets"] == 0, "counters begin anew: {row}");
    lab.assert_ping("b", "10.2.1.10");
}

pub(crate) const THREE_SUBNETS: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: front, addressPrefix: 10.1.1.0/24}
      - {name: back, addressPrefix: 10.1.2.0/24}
      - {name: far, addressPrefix: 10.1.3.0/24}
virtualMachines:
  - {name: other, networkInterfaces: [{subnet: v/far, privateIPAddress: 10.1.3.20}]}
  - {name: both, networkInterfaces: NICS}
";

#[test]
fn interfaces_come_and_go_in_a_machine_that_stays() {
    let with = |nics: &str| THREE_SUBNETS.replace("NICS", nics);
    let front = "{name: front, subnet: v/front, privateIPAddress: 10.1.1.10, primary: true}";
    let back = "{name: back, subnet: v/back, privateIPAddress: 10.1.2.10}";
    let Some(lab) = Lab::up(&with(&format!("[{front}]"))) else { return };
    let device = |name: &str| lab.inside("both", || Netlink::open().unwrap().link(name).ok());
    let eth0 = device("eth0").unwrap();
    let mut session = Session::open(&lab, "other", "both", "10.1.1.10", 9000).unwrap();

    lab.apply(&with(&format!("[{back}, {front}]")));
    assert!(session.answers(SOON), "the one that was there goes on, wherever the file has it now");
    assert_eq!(device("eth0"), Some(eth0), "and its machine knows it by the same name");
    assert!(device("eth1").is_some());

    // The first one goes; the second keeps its name and takes the default route over.
    lab.apply(&with(&format!("[{back}]")));
    assert_eq!((device("eth0"), device("eth1").is_some()), (None, true));
    lab.assert_ping("both", "10.1.3.20");
    lab.assert_ping("other", "10.1.2.10");
    let routes = stdout(&lab.exec("both", &["cat", "/proc/net/route"]));
    assert!(routes.lines().any(|line| line.starts_with("eth1\t00000000\t0102010A")), "{routes}");
    // The next one takes the name that is free.
    lab.apply(&with(&format!("[{back}, {front}]")));
    assert!(device("eth0").is_some());
    lab.assert_ping("other", "10.1.1.10");
}

#[test]
fn addresses_change_in_place() {
    let with = |address: &str| THREE_SUBNETS.replace("NICS", &format!("[{{subnet: v/front, {address}}}]"));
    let Some(lab) = Lab::up(&with("privateIPAddress: 10.1.1.10")) else { return };
    let index = || lab.inside("both", || Netlink::open().unwrap().link("eth0").unwrap());
    let before = index();
    lab.apply(&with("privateIPAddress: 10.1.1.77"));
    assert_eq!(index(), before, "it is the same device");
    lab.assert_ping("other", "10.1.1.77");
    lab.assert_ping("both", "10.1.3.20");
    lab.assert_dropped("other", "10.1.1.10", "other", "NoEndpoint");
    // More addresses beside it, then only one of them.
    let more = "name: eth0, ipConfigurations: [{name: one, subnet: v/front, privateIPAddress: 10.1.1.77}, \
                {name: two, subnet: v/front, privateIPAddress: 10.1.1.78}]";
    lab.apply(&with(more).replace("subnet: v/front, name: eth0", "name: eth0"));
    lab.assert_ping("other", "10.1.1.77");
    lab.assert_ping("other", "10.1.1.78");
    lab.apply(&with("privateIPAddress: 10.1.1.78"));
    lab.assert_ping("other", "10.1.1.78");
    lab.assert_ping("both", "10.1.3.20");
    assert_eq!(lab.ping("other", "10.1.1.77"), None);
}

#[test]
fn a_guest_forwards_or_does_not_as_the_file_says() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.assert_ping("web", "10.2.1.10");
    let forgetful =
        HUB_SPOKE.replace("enableIPForwarding: true}]}", "enableIPForwarding: true}], guest: {forwarding: false}}");
    assert_ne!(forgetful, HUB_SPOKE);
    lab.apply(&forgetful);
    assert_eq!(lab.ping("web", "10.2.1.10"), None);
    lab.apply(HUB_SPOKE);
    lab.assert_ping("web", "10.2.1.10");
}

/// A VNet with one rule or route more or less.
fn one_vnet(rules: &str, routes: &str) -> String {
    format!(
        "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {{name: s, addressPrefix: 10.1.1.0/24, networkSecurityGroup: g, routeTable: t}}
      - {{name: d, addressPrefix: 10.1.2.0/24}}
networkSecurityGroups: [{{name: g, securityRules: [{rules}]}}]
routeTables: [{{name: t, routes: [{routes}]}}]
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: b, networkInterfaces: [{{subnet: v/d}}]}}
"
    )
}

#[test]
fn nsg_22_a_rule_changes_new_flows_only() {
    let deny = "{name: no, priority: 100, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*', \
                sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}";
    let Some(lab) = Lab::up(&one_vnet("", "")) else { return };
    let mut session = Session::open(&lab, "a", "b", "10.1.2.4", 9000).unwrap();
    assert!(session.answers(SOON));
    let output = lab.apply(&one_vnet(deny, ""));
    assert!(stdout(&output).contains("flows of a/eth0 go on, new ones meet new rules"), "{}", stdout(&output));
    // CS-50: the session lives by its record, a new one is refused.
    assert!(session.answers(SOON));
    assert!(Session::open(&lab, "a", "b", "10.1.2.4", 9001).is_none());
    lab.await_drop("a", "NsgOutbound");
    lab.apply(&one_vnet("", ""));
    assert!(Session::open(&lab, "a", "b", "10.1.2.4", 9002).is_some());
}

#[test]
fn rsel_07_a_route_changes_the_next_packet() {
    let none = "{name: no, addressPrefix: 10.1.2.0/24, nextHopType: None}";
    let Some(lab) = Lab::up(&one_vnet("", "")) else { return };
    let mut session = Session::open(&lab, "a", "b", "10.1.2.4", 9000).unwrap();
    assert!(session.answers(SOON));
    let output = lab.apply(&one_vnet("", none));
    assert!(stdout(&output).contains("flows of a/eth0 follow with their next packet"), "{}", stdout(&output));
    assert!(!session.answers(NEVER));
    lab.await_drop("a", "NextHopNone");
    // Its records were not touched: back on the way, TCP goes on where it was.
    lab.apply(&one_vnet("", ""));
    session.server.set_read_timeout(Some(SOON)).unwrap();
    session.server.read_exact(&mut [0]).unwrap();
}

#[test]
fn fab_15_a_change_takes_as_long_as_the_file_says() {
    let none = "{name: no, addressPrefix: 10.1.2.0/24, nextHopType: None}";
    let slow = |routes: &str| format!("emulation: {{programmingDelayMs: 700}}\n{}", one_vnet("", routes));
    let Some(lab) = Lab::up(&slow("")) else { return };
    lab.assert_ping("a", "10.1.2.4");
    let started = Instant::now();
    lab.apply(&slow(none));
    assert!(started.elapsed().as_millis() >= 700);
    lab.assert_dropped("a", "10.1.2.4", "a", "NextHopNone");
}

#[test]
fn fab_15_a_slow_change_does_not_delay_other_requests() {
    let slow = |routes: &str| format!("emulation: {{programmingDelayMs: 60000}}\n{}", one_vnet("", routes));
    let Some(lab) = Lab::up(&one_vnet("", "")) else { return };
    lab.write(&slow(""));
    let apply = || vnet().args(["-l", &lab.name, "apply"]).arg(&lab.file).stderr(Stdio::piped()).spawn().unwrap();
    let changes = [apply(), apply(), apply()];
    // There is room for three; which of them the next one finds waiting is not known: one that gets in before them all
    // waits as well.
    let sync = || vnet().args(["-l", &lab.name, "peering", "sync"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut more = Vec::new();
    eventually("one more is refused", || {
        more.push(sync());
        let ended = more.extract_if(.., |child| child.try_wait().unwrap().is_some()).collect::<Vec<_>>();
        let told: Vec<_> = ended.into_iter().map(|child| stderr(&child.wait_with_output().unwrap())).collect();
        told.iter().any(|told| told.contains("AnotherOperationInProgress"))
    });
    assert_eq!(generation(&lab), 1);
    lab.assert_ping("a", "10.1.2.4");
    // Nor does the end wait: the daemon removes what it made, and is not killed for being slow.
    let started = Instant::now();
    let down = lab.down();
    assert_code(&down, 0);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
    let outputs: Vec<_> = changes.into_iter().chain(more).map(|change| change.wait_with_output().unwrap()).collect();
    assert!(outputs[..3].iter().all(|output| !output.status.success()));
    assert!(outputs.iter().any(|output| stderr(output).contains("the lab is ending")), "{outputs:?}");
}

/// Of several labs it is the one that the file names, and the file is read as that one would.
#[test]
fn peer_07_a_file_is_read_with_its_labs_history_whichever_labs_run() {
    let hub = |spoke: &str| {
        format!(
            "virtualNetworks:
  - {{name: h, location: westeurope, addressSpace: [10.0.0.0/16], virtualNetworkPeerings: [{{name: h-s, remoteVirtualNetwork: s}}]}}
  - {{name: s, location: westeurope, addressSpace: [{spoke}], virtualNetworkPeerings: [{{name: s-h, remoteVirtualNetwork: h}}]}}"
        )
    };
    let Some(lab) = Lab::up(&hub("10.5.0.0/16")) else { return };
    let Some(_other) = Lab::up(&hub("10.5.0.0/16")) else { return };
    lab.write(&hub("10.5.0.0/16, 10.0.128.0/17"));
    let refused = vnet().arg("apply").arg(&lab.file).output().unwrap();
    assert_code(&refused, 2);
    assert!(stderr(&refused).contains("VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"), "{}", stderr(&refused));
    lab.write(&hub("10.5.0.0/16, 10.6.0.0/16"));
    assert_code(&vnet().arg("apply").arg(&lab.file).output().unwrap(), 3);
    assert_eq!(generation(&lab), 2);
    // One that is no topology is said to be none.
    fs::write(&lab.file, "virtualNetworks: [").unwrap();
    let broken = vnet().arg("apply").arg(&lab.file).output().unwrap();
    assert_code(&broken, 2);
    assert!(stderr(&broken).contains("lab.yaml:1:"), "{}", stderr(&broken));
}

/// What goes is closed: a second coming and going leaves no more open than the first.
#[test]
fn what_came_and_went_leaves_nothing_open() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let network = "virtualNetworks:\n  - {name: more, location: westeurope, addressSpace: [10.9.0.0/16], subnets: [{name: s, addressPrefix: 10.9.0.0/24}]}\n";
    let machine = "{name: guest, networkInterfaces: [{subnet: more/s}]}";
    let more = with_machines(&[machine]).replace("virtualNetworks:\n", network);
    let mut counts = [0, 0].map(|_| {
        lab.apply(&more);
        lab.apply(HUB_SPOKE);
        open()
    });
    eventually("as much is open as before", || {
        counts[1] = open();
        counts[1] <= counts[0]
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let file = lab.file.to_str().unwrap().to_owned();
    lab.write(&with_machines(&["{name: new, networkInterfaces: [{subnet: spoke1/app}]}"]));
    let output = lab.vnet(&["apply", &file, "--dry-run"]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("dry run: lab"), "{}", stdout(&output));
    let plan = lab.data(&["apply", &file, "--dry-run"]);
    assert_eq!((&plan["applied"], &plan["generation"]), (&Value::from(false), &Value::from(1)));
    let names: Vec<_> = plan["changes"].as_array().unwrap().iter().map(|change| change["name"].clone()).collect();
    assert_eq!(names, ["new", "new/eth0"]);
    assert_eq!(generation(&lab), 1);
    assert!(!Path::new("/run/netns").join(format!("{}-new", lab.name)).exists());
    // What is so already is not done again.
    let output = lab.apply(HUB_SPOKE);
    assert!(stdout(&output).contains("nothing to change"), "{}", stdout(&output));
    assert_eq!(generation(&lab), 1);
}

#[test]
fn sighup_applies_the_file_anew() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let pid = lab.data(&["status"])["pid"].as_i64().unwrap();
    let daemon = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    lab.write(&with_machines(&["{name: new, networkInterfaces: [{subnet: spoke1/app}]}"]));
    kill_process(daemon, Signal::HUP).unwrap();
    eventually("the file is applied", || generation(&lab) == 2);
    lab.assert_ping("new", "10.2.1.10");
    // A broken one is said to be broken, and nothing happens.
    lab.write("virtualNetworks: [");
    kill_process(daemon, Signal::HUP).unwrap();
    let log = Path::new("/run/vnet").join(&lab.name).join("daemon.log");
    eventually("the daemon says so", || fs::read_to_string(&log).unwrap().contains("nothing was changed"));
    lab.assert_ping("new", "10.2.1.10");
}

#[test]
fn a_file_without_a_name_is_about_the_lab_that_is_asked_for() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let body = lab.named(&with_machines(&["{name: new, networkInterfaces: [{subnet: spoke1/app}]}"]));
    let nameless = body.replace(&format!("name: {}\n", lab.name), "");
    fs::write(&lab.file, nameless).unwrap();
    assert_code(&lab.vnet(&["apply", lab.file.to_str().unwrap()]), 0);
    lab.assert_ping("new", "10.2.1.10");
}

/// `name address` of machines in three subnets of one VNet.
fn machines(list: &[(&str, &str)]) -> String {
    let machine = |(name, address): &(&str, &str)| {
        let subnet = ["front", "back", "far"][usize::from(address.as_bytes()[5] - b'1')];
        format!("  - {{name: {name}, networkInterfaces: [{{subnet: v/{subnet}, privateIPAddress: {address}}}]}}\n")
    };
    let (networks, _) = THREE_SUBNETS.split_once("virtualMachines:").unwrap();
    format!("{networks}virtualMachines:\n{}", list.iter().map(machine).collect::<String>())
}

#[test]
fn two_machines_change_addresses_and_a_third_its_subnet() {
    let Some(lab) = Lab::up(&machines(&[("one", "10.1.1.11"), ("two", "10.1.1.12"), ("mover", "10.1.2.13")])) else {
        return;
    };
    lab.assert_ping("one", "10.1.2.13");
    lab.apply(&machines(&[("one", "10.1.1.12"), ("two", "10.1.1.11"), ("mover", "10.1.3.13")]));
    let owns = |node: &str, address: &str| lab.inside(node, || UdpSocket::bind((address, 0)).is_ok());
    assert!(owns("one", "10.1.1.12") && owns("two", "10.1.1.11") && owns("mover", "10.1.3.13"));
    assert!(!owns("one", "10.1.1.11") && !owns("mover", "10.1.2.13"));
    for (from, to) in [("one", "10.1.1.11"), ("two", "10.1.1.12"), ("mover", "10.1.1.11"), ("one", "10.1.3.13")] {
        lab.assert_ping(from, to);
    }
    lab.assert_dropped("one", "10.1.2.13", "one", "NoEndpoint");
}

#[test]
fn two_interfaces_of_one_machine_change_addresses() {
    let with = |one: &str, two: &str| {
        let nics = format!(
            "[{{name: x, subnet: v/front, privateIPAddress: {one}, primary: true}}, \
             {{name: y, subnet: v/front, privateIPAddress: {two}}}]"
        );
        THREE_SUBNETS.replace("NICS", &nics)
    };
    let Some(lab) = Lab::up(&with("10.1.1.11", "10.1.1.12")) else { return };
    // What comes in at an interface; answers leave by the first, and only with its address (NIC-06).
    let arrives = |address: &str| {
        let server = lab.inside("both", || bound(|| UdpSocket::bind((address, 7000))));
        server.set_read_timeout(Some(SOON)).unwrap();
        lab.inside("other", || UdpSocket::bind("10.1.3.20:0").unwrap().send_to(b"?", (address, 7000)).unwrap());
        server.recv(&mut [0]).is_ok()
    };
    lab.assert_ping("other", "10.1.1.11");
    assert!(arrives("10.1.1.12"));
    lab.apply(&with("10.1.1.12", "10.1.1.11"));
    lab.assert_ping("other", "10.1.1.12");
    lab.assert_ping("both", "10.1.3.20");
    assert!(arrives("10.1.1.11"));
    lab.apply(&with("10.1.1.12", "10.1.1.13"));
    lab.assert_ping("other", "10.1.1.12");
    assert!(arrives("10.1.1.13"));
    lab.assert_dropped("other", "10.1.1.11", "other", "NoEndpoint");
}

#[test]
fn a_machine_with_another_name_is_another_machine() {
    let Some(lab) = Lab::up(&machines(&[("old", "10.1.1.11"), ("peer", "10.1.2.12")])) else { return };
    let mut session = Session::open(&lab, "peer", "old", "10.1.1.11", 9000).unwrap();
    assert!(session.answers(SOON));
    let output = lab.apply(&machines(&[("new", "10.1.1.11"), ("peer", "10.1.2.12")]));
    assert!(stdout(&output).contains("flows of old/eth0 end"), "{}", stdout(&output));
    assert!(!session.answers(NEVER), "it went with its machine");
    lab.assert_ping("peer", "10.1.1.11");
    lab.assert_ping("new", "10.1.2.12");
    assert!(!Path::new("/run/netns").join(format!("{}-old", lab.name)).exists());
    // It comes back under its own name, and nothing of before comes with it.
    lab.apply(&machines(&[("peer", "10.1.2.12"), ("old", "10.1.1.11")]));
    lab.assert_ping("peer", "10.1.1.11");
    assert!(Session::open(&lab, "peer", "old", "10.1.1.11", 9000).unwrap().answers(SOON));
}

#[test]
fn peer_04_a_virtual_network_goes_with_its_machines() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.assert_ping("web", "10.2.1.10");
    // Everything up to the next network, and everything that speaks of it.
    let (before, rest) = HUB_SPOKE.split_once("  - name: spoke2\n").unwrap();
    let (_, after) = rest.split_once("\nrouteTables:").unwrap();
    let without = format!("{before}\nrouteTables:{after}");
    let lines = without.lines().filter(|line| !line.contains("spoke2") && !line.contains("db"));
    lab.apply(&lines.collect::<Vec<_>>().join("\n"));
    lab.assert_ping("web", "10.0.1.4");
    assert_code(&lab.exec("db", &["true"]), 2);
    lab.assert_dropped("web", "10.2.1.10", "nva", "NextHopNone");
    lab.apply(HUB_SPOKE);
    lab.assert_ping("web", "10.2.1.10");
}

/// PEER-04: after its remote is deleted a link has one event, with its new state.
#[test]
fn peer_04_events_say_that_a_link_is_disconnected() {
    const PAIR: &str = "
virtualNetworks:
  - name: a
    location: x
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24}]
    virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]
";
    const OTHER: &str = "  - name: b
    location: x
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.1.0/24}]
    virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]
";
    let machine = "virtualMachines: [{name: m, networkInterfaces: [{subnet: a/s}]}]\n";
    let Some(lab) = Lab::up(&format!("{PAIR}{OTHER}{machine}")) else { return };
    lab.apply(&format!("{PAIR}{machine}"));
    lab.apply(&format!("{PAIR}{machine}routeTables: [{{name: t}}]\n"));
    let events = lab.data(&["events"]);
    let of_link = |event: &&Value| event["peering"] == "a/a-b";
    let told: Vec<_> = events.as_array().unwrap().iter().filter(of_link).map(|event| &event["event"]).collect();
    assert_eq!(told, ["PeeringChanged"], "{events:#}");
}

const TWO_NICS: &str = "
virtualNetworks:
  - name: v
    location: x
    addressSpace: [10.1.0.0/16, 10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24}, {name: t, addressPrefix: 10.1.2.0/24}, {name: far, addressPrefix: 10.2.0.0/24}]
virtualMachines:
  - name: m
    networkInterfaces: [{subnet: v/s}, {subnet: v/t}]
    guest: {routes: [{addressPrefix: 10.2.0.0/24, nextHopIpAddress: 10.1.2.1}]}
  - {name: far, networkInterfaces: [{subnet: v/far}]}
";

/// NIC-08: a guest's own routes choose the interface that it sends from, in the kernel and in the model, from the start
/// and as they change.
#[test]
fn nic_08_a_guests_own_routes_are_in_its_kernel_and_in_the_model() {
    let Some(lab) = Lab::up(TWO_NICS) else { return };
    let source = || {
        lab.inside("m", || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect("10.2.0.4:9").unwrap();
            socket.local_addr().unwrap().ip().to_string()
        })
    };
    let check = |address: &str| {
        assert_eq!(source(), address);
        lab.assert_ping("m", "10.2.0.4");
        let explained = lab.data(&["explain", "m", "far"]);
        assert!(explained.to_string().contains(address), "{explained:#}");
    };
    check("10.1.2.4");
    lab.apply(&TWO_NICS.replace("nextHopIpAddress: 10.1.2.1", "nextHopIpAddress: 10.1.1.1"));
    check("10.1.1.4");
    lab.apply(&TWO_NICS.replace("10.2.0.0/24, nextHopIpAddress", "10.2.0.4/32, nextHopIpAddress"));
    check("10.1.2.4");
    lab.apply(
        &TWO_NICS.replace("    guest: {routes: [{addressPrefix: 10.2.0.0/24, nextHopIpAddress: 10.1.2.1}]}\n", ""),
    );
    check("10.1.1.4");
}

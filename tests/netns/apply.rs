//! A running lab that changes: what is new comes, what is left over goes, and what stays does not notice.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};
use serde_json::Value;
use vnet::sys::netlink::Netlink;
use vnet::sys::netns::{self, Netns};

use crate::lab::{Lab, NEVER, SOON, eventually, permitted, stderr, stdout, unique, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// The example with more machines.
fn with_machines(lines: &[&str]) -> String {
    // First in the list, so that whoever was there before is somewhere else in it now.
    HUB_SPOKE.replace("virtualMachines:\n", &format!("virtualMachines:\n  - {}\n", lines.join("\n  - ")))
}

/// A TCP connection that stays open, and asks and answers.
struct Session {
    client: TcpStream,
    server: TcpStream,
}

impl Session {
    fn open(lab: &Lab, from: &str, to: &str, address: &str, port: u16) -> Option<Self> {
        let listener = lab.inside(to, || TcpListener::bind((address, port)).unwrap());
        let at = listener.local_addr().unwrap();
        let client = lab.inside(from, || TcpStream::connect_timeout(&at, NEVER)).ok()?;
        let (server, _) = listener.accept().unwrap();
        Some(Self { client, server })
    }

    /// Whether a byte gets there and back in time.
    fn answers(&mut self, limit: std::time::Duration) -> bool {
        self.server.set_read_timeout(Some(limit)).unwrap();
        self.client.set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0];
        self.client.write_all(b"?").unwrap();
        let there = self.server.read_exact(&mut byte).is_ok();
        there && self.server.write_all(b"!").is_ok() && self.client.read_exact(&mut byte).is_ok()
    }
}

fn generation(lab: &Lab) -> u64 {
    lab.data(&["status"])["generation"].as_u64().unwrap()
}

fn assert_code(output: &std::process::Output, code: i32) {
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
    // Everybody knows its name, in whatever way they enter.
    for node in ["web", "db", "web2"] {
        let hosts = stdout(&lab.exec(node, &["cat", "/etc/hosts"]));
        assert!(hosts.lines().any(|line| line == "10.1.1.5 web2"), "{node}: {hosts}");
        assert_eq!(fs::read_to_string(format!("/etc/netns/{}-{node}/hosts", lab.name)).unwrap(), hosts);
    }
    let log = Path::new("/run/vnet").join(&lab.name).join("web2.log");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("its program writes its log", || lines().len() == 2);
    assert_eq!(lines()[0], "web2");
    let group = Pid::from_raw(lines()[1].parse().unwrap()).unwrap();
    assert!(test_kill_process_group(group).is_ok());

    lab.apply(HUB_SPOKE);
    assert!(session.answers(SOON));
    assert!(test_kill_process_group(group).is_err(), "its program is gone");
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
    // `a` has the lowest address, and with it whoever comes next.
    let at = |lab: &Lab, node: &str| {
        let status = lab.data(&["status"]);
        let nodes = status["nodes"].as_array().unwrap().clone();
        let found = nodes.into_iter().find(|found| found["name"] == node).unwrap();
        found["networkInterfaces"][0]["addresses"][0].as_str().unwrap().to_owned()
    };
    let address = at(&lab, "a");
    lab.assert_ping("a", "10.2.1.10");
    assert!(lab.data(&["counters"]).as_array().unwrap().iter().any(|row| row["node"] == "a" && row["rxPackets"] != 0));
    lab.apply(&with_machines(&["{name: b, networkInterfaces: [{subnet: spoke1/app}]}"]));
    assert_eq!(at(&lab, "b"), address);
    let counters = lab.data(&["counters"]);
    let row = counters.as_array().unwrap().iter().find(|row| row["node"] == "b").unwrap();
    assert_eq!((&row["rxPackets"], &row["txPackets"]), (&Value::from(0), &Value::from(0)), "counters begin anew");
    lab.assert_ping("b", "10.2.1.10");
}

const THREE_SUBNETS: &str = "
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
    assert!(lab.drops("a", "NsgOutbound") > 0);
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
    assert!(lab.drops("a", "NextHopNone") > 0);
    // Its records were not touched: back on the way, TCP goes on where it was.
    lab.apply(&one_vnet("", ""));
    session.server.set_read_timeout(Some(SOON)).unwrap();
    session.server.read_exact(&mut [0]).unwrap();
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
fn a_file_that_cannot_be_applied_leaves_everything() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut session = Session::open(&lab, "web", "db", "10.2.1.10", 9000).unwrap();
    let file = lab.file.to_str().unwrap().to_owned();
    let refused = |text: String, what: &str| {
        fs::write(&lab.file, text).unwrap();
        let output = lab.vnet(&["apply", &file]);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    };
    refused("virtualNetworks: [".to_owned(), "lab.yaml:1:");
    refused(lab.named(&HUB_SPOKE.replace("routeTable: via-nva", "routeTable: nowhere")), "no route table `nowhere`");
    refused(format!("emulation: {{workers: 1}}\n{}", lab.named(HUB_SPOKE)), "emulation.workers cannot change");
    refused(HUB_SPOKE.to_owned(), "describes lab hub-spoke");
    let resized = lab.named(&HUB_SPOKE.replace("addressPrefix: 10.2.1.0/24", "addressPrefix: 10.2.1.0/25"));
    refused(resized, "error[InUsePrefixCannotBeDeleted]: IpPrefix 10.2.1.0/24 on Subnet spoke2/db");
    let missing = lab.vnet(&["apply", "/no/such/file"]);
    assert_code(&missing, 2);
    assert_eq!(generation(&lab), 1);
    assert!(session.answers(SOON));
    let applied = fs::read_to_string(Path::new("/run/vnet").join(&lab.name).join("applied.yaml")).unwrap();
    assert_eq!(applied, lab.named(HUB_SPOKE));
    lab.write(HUB_SPOKE);
    assert_code(&vnet().args(["-l", "no-such-lab", "apply", &file]).output().unwrap(), 5);
}

#[test]
fn what_fails_half_way_is_taken_back() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut session = Session::open(&lab, "web", "db", "10.2.1.10", 9000).unwrap();
    // Somebody else's file stands where the second machine's namespace would.
    let theirs = netns::name_path(&format!("{}-second", lab.name));
    fs::write(&theirs, "theirs").unwrap();
    let before = lab.remains();
    let moved = with_machines(&[
        "{name: first, networkInterfaces: [{subnet: spoke1/app}]}",
        "{name: second, networkInterfaces: [{subnet: spoke1/app}]}",
    ]);
    lab.write(&moved.replace("10.2.1.10", "10.2.1.99"));
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    let (after, text) = (lab.remains(), fs::read_to_string(&theirs));
    fs::remove_file(&theirs).unwrap();
    assert_code(&output, 1);
    assert!(stderr(&output).contains(theirs.to_str().unwrap()), "{}", stderr(&output));
    assert_eq!(text.unwrap(), "theirs");
    let sorted = |mut paths: Vec<std::path::PathBuf>| {
        paths.sort();
        paths
    };
    assert_eq!(sorted(after), sorted(before), "the first machine is gone again");
    assert_eq!(generation(&lab), 1);
    assert!(session.answers(SOON));
    lab.assert_ping("web", "10.2.1.10");
    // The next one works.
    lab.apply(&with_machines(&["{name: first, networkInterfaces: [{subnet: spoke1/app}]}"]));
    lab.assert_ping("first", "10.2.1.10");
}

#[test]
fn a_device_that_is_taken_takes_everything_back() {
    if !permitted() {
        return;
    }
    // The last step before the tables change is the one that fails: a TUN that another lab holds.
    netns::prepare_names().unwrap();
    let name = unique("n");
    Netns::create().unwrap().bind(&netns::name_path(&name)).unwrap();
    let attached = |vnet: &str, n: u8| {
        format!(
            "  - {{name: {vnet}, location: westeurope, addressSpace: [10.{n}.0.0/16], \
             subnets: [{{name: s, addressPrefix: 10.{n}.0.0/24}}], attach: {{namespace: {name}, interface: tun0, \
             addresses: [10.{n}.0.4/16]}}}}\n"
        )
    };
    let holder = Lab::up(&format!("virtualNetworks:\n{}", attached("theirs", 8))).unwrap();
    let lab =
        Lab::up(THREE_SUBNETS.replace("NICS", "[{subnet: v/front, privateIPAddress: 10.1.1.10}]").as_str()).unwrap();
    let wanted = THREE_SUBNETS.replace("NICS", "[{subnet: v/front, privateIPAddress: 10.1.1.11}]");
    lab.write(&wanted.replace("virtualNetworks:\n", &format!("virtualNetworks:\n{}", attached("mine", 9))));
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    drop(holder);
    // Nobody holds it now: an attached VNet comes to a lab that runs, and goes.
    lab.assert_ping("other", "10.1.1.10");
    let again = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    let inside = Netns::named(&name).unwrap();
    let made = inside.run(|| Netlink::open().unwrap().link("tun0").is_ok()).unwrap();
    lab.apply(&wanted);
    let left = inside.run(|| Netlink::open().unwrap().link("tun0").is_ok()).unwrap();
    netns::unbind(&netns::name_path(&name)).unwrap();
    assert_code(&output, 1);
    assert!(stderr(&output).contains("in use by another program"), "{}", stderr(&output));
    assert_code(&again, 0);
    assert_eq!((made, left), (true, false));
    lab.assert_ping("other", "10.1.1.11");
}

#[test]
fn a_crash_after_a_change_leaves_nothing_behind() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.apply(&with_machines(&["{name: new, networkInterfaces: [{subnet: spoke1/app}], run: [sleep, '1000']}"]));
    lab.apply(&with_machines(&["{name: newer, networkInterfaces: [{subnet: spoke1/app}], run: [sleep, '1000']}"]));
    // Somebody else may have the name of a machine that went.
    let theirs = netns::name_path(&format!("{}-new", lab.name));
    fs::write(&theirs, "theirs").unwrap();
    lab.crash();
    let output = lab.down();
    let (left, text) = (lab.remains(), fs::read_to_string(&theirs));
    let _ = fs::remove_file(&theirs);
    assert_code(&output, 0);
    assert_eq!((left, text.unwrap()), (vec![theirs], "theirs".to_owned()));
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

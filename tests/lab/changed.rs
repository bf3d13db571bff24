//! What `vnet apply` does to what stands, and that a change that fails does nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use vnet::sys::netns;

use crate::EVERYTHING;
use crate::kernel::{says, setting, tables};
use crate::lab::{Lab, eventually, saw, stderr, stdout};
use crate::made::assert_tables;

/// Other addresses, routes and settings on what stays; machines that come, go, stop and start.
fn otherwise() -> String {
    let edits = [
        (
            "routes: [{addressPrefix: 10.9.0.0/16, nextHopIpAddress: 10.1.2.1}]",
            "routes: [{addressPrefix: 10.8.0.0/16, nextHopIpAddress: 10.1.1.1}]",
        ),
        ("guest: {forwarding: true,", "guest: {forwarding: false, masquerade: all,"),
        (
            "{name: front, primary: true, subnet: hub/s, enable",
            "{name: front, primary: true, subnet: hub/s, privateIPAddress: 10.1.1.44, enable",
        ),
        ("addresses: [192.168.50.10]", "addresses: [192.168.50.11]"),
        ("addresses: [198.51.100.7, 198.51.100.8]", "addresses: [198.51.100.7, 198.51.100.9]"),
        ("{name: off, powerState: stopped,", "{name: off,"),
        ("{name: web, run: [sleep, '1000'], ", "{name: other, run: [sleep, '1001'], "),
        ("dnsServers: [10.1.1.5]", "dnsServers: [10.1.1.9]"),
    ];
    edits.iter().fold(EVERYTHING.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

#[test]
fn what_stays_is_set_up_anew_and_a_change_back_restores_all() {
    for device in ["veth", "tun"] {
        let of = |text: &str| format!("emulation: {{device: {device}}}\n{text}");
        let Some(lab) = Lab::up(&of(EVERYTHING)) else { return };
        let namespace = fs::metadata(format!("/run/netns/{}-nva", lab.name)).unwrap();
        lab.apply(&of(&otherwise()));
        let nva = tables(&lab, "nva");
        for line in [
            "eth0 inet 10.1.1.44/24",
            "default via 10.1.1.1 dev eth0",
            "10.1.1.0/24 dev eth0 proto kernel scope link src 10.1.1.44",
            "10.8.0.0/16 via 10.1.1.1 dev eth0 proto static",
        ] {
            assert!(nva.iter().any(|found| found == line), "no `{line}` in {nva:#?}");
        }
        assert!(!nva.iter().any(|line| line.contains("10.1.1.4/24") || line.contains("10.9.0.0")), "{nva:#?}");
        assert_eq!(setting(&lab, "nva", "ipv4/ip_forward"), "0");
        assert!(says(&lab, "nva", "nft list ruleset").contains("masquerade"));
        assert!(tables(&lab, "dc").contains(&"tun0 inet 192.168.50.11/32".to_owned()));
        assert_eq!(
            tables(&lab, "internet"),
            ["eth0 inet 198.51.100.7/32", "eth0 inet 198.51.100.9/32", "default dev eth0 scope link"]
        );
        assert!(Path::new(&format!("/run/netns/{}-off", lab.name)).exists());
        for gone in [format!("/run/netns/{}-web", lab.name), format!("/etc/netns/{}-web", lab.name)] {
            assert!(!Path::new(&gone).exists(), "{gone}");
        }
        let hosts = fs::read_to_string(format!("/etc/netns/{}-nva/hosts", lab.name)).unwrap();
        assert!(
            hosts.contains("10.1.1.44 nva\n") && hosts.contains(" other\n") && !hosts.contains(" web\n"),
            "{hosts}"
        );
        assert_eq!(stdout(&lab.exec("nva", &["cat", "/etc/hosts"])), hosts);
        let servers = fs::read_to_string(format!("/etc/netns/{}-nva/resolv.conf", lab.name)).unwrap();
        assert!(servers.starts_with("nameserver 10.1.1.9\n"), "{servers}");
        let status = lab.data(&["status"]);
        let nodes = status["nodes"].as_array().unwrap().iter();
        let place = nodes.map(|node| (node["name"].as_str().unwrap(), node["namespace"].as_str().unwrap_or_default()));
        let place: BTreeMap<_, _> = place.collect();
        assert_eq!((place.get("other"), place.get("web")), (Some(&&*format!("{}-other", lab.name)), None), "{place:?}");
        let programs = status["programs"].clone();
        assert_eq!(programs.as_array().unwrap().len(), 1, "{programs}");
        assert_eq!(programs[0]["command"], "sleep 1001");

        lab.apply(&of(&EVERYTHING
            .replace(
                "{name: front, primary: true, subnet: hub/s, enable",
                "{name: front, primary: true, subnet: hub/s, privateIPAddress: 10.1.1.4, enable",
            )
            .replace(
                "{name: nic, subnet: hub/s, dnsSettings",
                "{name: nic, subnet: hub/s, privateIPAddress: 10.1.1.5, dnsSettings",
            )));
        assert_tables(&lab);
        assert_eq!(setting(&lab, "nva", "ipv4/ip_forward"), "1");
        assert!(!says(&lab, "nva", "nft list ruleset").contains("masquerade"));
        assert_eq!(fs::metadata(format!("/run/netns/{}-nva", lab.name)).unwrap().ino_of(), namespace.ino_of());
        assert!(!Path::new(&format!("/run/netns/{}-off", lab.name)).exists());
    }
}

/// What a change opens and another no longer needs is closed.
#[test]
fn changes_there_and_back_leave_the_daemon_the_descriptors_that_it_had() {
    for device in ["veth", "tun"] {
        let of = |text: &str| format!("emulation: {{device: {device}}}\n{text}");
        let Some(lab) = Lab::up(&of(EVERYTHING)) else { return };
        let descriptors = format!("/proc/{}/fd", lab.data(&["status"])["pid"]);
        let open = || fs::read_dir(&descriptors).unwrap().count();
        let there_and_back = || [&otherwise(), EVERYTHING].map(|text| lab.apply(&of(text)));
        there_and_back();
        let before = open();
        (0..3).for_each(|_| drop(there_and_back()));
        eventually("what was opened is closed", || {
            let now = open();
            saw(format!("{now} where there were {before}"));
            now <= before
        });
    }
}

trait Numbered {
    fn ino_of(&self) -> u64;
}

impl Numbered for fs::Metadata {
    fn ino_of(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(self)
    }
}

#[test]
fn a_change_that_fails_half_way_leaves_every_table_as_it_was() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    // A foreign file has the name of a new machine's namespace; another new machine comes before it.
    let theirs = netns::name_path(&format!("{}-zoo", lab.name));
    fs::write(&theirs, "theirs").unwrap();
    let mut before = lab.remains();
    let more = "  - {name: first, networkInterfaces: [{subnet: hub/s}]}\n  - {name: zoo, networkInterfaces: [{subnet: hub/s}]}\n";
    lab.write(&format!("{}{more}", otherwise()));
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    let mut after = lab.remains();
    fs::remove_file(&theirs).unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    before.sort();
    after.sort();
    assert_eq!(after, before);
    assert_tables(&lab);
    let status = lab.data(&["status"]);
    assert_eq!((&status["generation"], &status["programs"][0]["command"]), (&1.into(), &"sleep 1000".into()));
}

#[test]
fn a_file_is_read_again_on_sighup_and_a_bad_one_changes_nothing() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let pid = lab.data(&["status"])["pid"].to_string();
    let read_again = || assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let happened = |what: &str| stdout(&lab.vnet(&["events"])).contains(what);
    lab.write(&EVERYTHING.replace("addresses: [198.51.100.7, 198.51.100.8]", "addresses: [198.51.100.9]"));
    read_again();
    eventually("the other address is there", || {
        tables(&lab, "internet").contains(&"eth0 inet 198.51.100.9/32".to_owned())
    });
    eventually("it is logged", || {
        let log = fs::read_to_string(format!("/run/vnet/{}/daemon.log", lab.name)).unwrap();
        crate::lab::saw(&log);
        log.contains("SIGHUP: 1 change, generation 2")
    });
    lab.write("virtualNetworks: [");
    read_again();
    eventually("it is refused", || happened("ChangeRefused"));
    assert_eq!(lab.data(&["status"])["generation"], 2);
    // Code that nobody has agreed to does not come by a signal, where it did not run before.
    fs::remove_file(&lab.file).unwrap();
    read_again();
    eventually("that it is gone is logged", || {
        fs::read_to_string(format!("/run/vnet/{}/daemon.log", lab.name)).unwrap().contains("SIGHUP: cannot read ")
    });
}

#[test]
fn a_dry_run_says_the_same_and_does_nothing() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let text = otherwise();
    lab.write(&text);
    let file = lab.file.to_str().unwrap().to_owned();
    let dry = lab.data(&["apply", "--dry-run", &file]);
    assert_eq!(dry["applied"], false);
    assert_tables(&lab);
    let applied = fs::read_to_string(format!("/run/vnet/{}/applied.yaml", lab.name)).unwrap();
    assert_eq!(applied, lab.named(EVERYTHING), "a dry run is not noted");
    let done = lab.data(&["apply", &file]);
    assert_eq!((&done["applied"], &done["generation"]), (&true.into(), &2.into()));
    assert_eq!(done["plan"]["changes"], dry["plan"]["changes"]);
    let again = lab.data(&["apply", &file]);
    assert_eq!((&again["applied"], &again["generation"]), (&false.into(), &2.into()), "there is nothing to do");
    assert_eq!(fs::read_to_string(format!("/run/vnet/{}/applied.yaml", lab.name)).unwrap(), lab.named(&text));
}

/// As on a full disk: what is in the way of a draft keeps its file from being replaced.
#[test]
fn what_could_not_be_written_is_written_once_it_can_be() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let at = |name: &str| format!("/run/vnet/{}/{name}", lab.name);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    let drafts = ["applied.new", "lab.new", "peerings.new"];
    for draft in drafts {
        fs::create_dir(at(draft)).unwrap();
    }
    let before = ["lab.json", "applied.yaml"].map(read);
    let applied = lab.apply(&otherwise());
    assert_eq!(applied.status.code(), Some(3), "{}", stderr(&applied));
    for file in ["applied.yaml", "lab.json", "peerings.json"] {
        let complaint = format!("cannot write {}", at(file));
        assert!(stderr(&applied).contains(&complaint), "no `{complaint}` in {}", stderr(&applied));
    }
    assert_eq!(["lab.json", "applied.yaml"].map(read), before);
    assert!(tables(&lab, "internet").contains(&"eth0 inet 198.51.100.9/32".to_owned()), "the change is made");
    for draft in drafts {
        fs::remove_dir(at(draft)).unwrap();
    }
    eventually("the topology is written", || read("applied.yaml") == lab.named(&otherwise()));
    eventually("so is the record", || read("lab.json").contains("sleep") && read("lab.json").contains("1001"));
}

/// Someone deletes a namespace: what stood in it is gone until the file is applied again.
#[test]
fn a_namespace_that_was_deleted_is_missed_and_made_again() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    netns::unbind(&netns::name_path(&format!("{}-web", lab.name))).unwrap();
    eventually("it is missed", || stdout(&lab.vnet(&["events"])).contains("DeviceLost"));
    eventually("its program has ended", || lab.data(&["status"])["programs"].as_array().unwrap().is_empty());
    let again = lab.data(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!((&again["applied"], &again["restored"][0]), (&true.into(), &"web/nic".into()), "{again}");
    assert_tables(&lab);
    lab.assert_ping("nva", "10.1.1.5");
}

/// A guest that switches its interface off gets nothing: neither kind of device loses packets without a word.
#[test]
fn packets_for_an_interface_that_is_off_are_dropped_and_counted_until_it_is_on() {
    for device in ["veth", "tun"] {
        let Some(lab) = Lab::up(&format!("emulation: {{device: {device}}}\n{EVERYTHING}")) else { return };
        let dropped = || {
            let drops = lab.data(&["drops"]);
            let rows = drops.as_array().unwrap().iter().filter(|row| row["reason"] == "NodeDown");
            rows.map(|row| row["packets"].as_u64().unwrap()).sum::<u64>()
        };
        lab.assert_ping("dc", "10.1.1.5");
        assert_eq!(dropped(), 0);
        lab.switch("web", "eth0", "down");
        eventually("a packet is dropped", || lab.ping("dc", "10.1.1.5").is_none() && dropped() > 0);
        lab.switch("web", "eth0", "up");
        eventually("none is dropped", || {
            let before = dropped();
            lab.ping("dc", "10.1.1.5");
            dropped() == before
        });
    }
}

/// What cannot be set up after the tables have changed is said, and the change stands.
#[test]
fn a_change_says_which_of_a_clouds_pages_cannot_be_served() {
    let cloud = |run: &str, machines: &[&str]| {
        let machine = |name: &&str| format!("  - {{name: {name}, networkInterfaces: [{{subnet: v/s}}]}}\n");
        let machines: String = machines.iter().map(machine).collect();
        format!(
            "virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}
privateClouds: [{{name: sddc, networkBlock: 10.175.0.0/22{run}}}]
virtualMachines:
{machines}"
        )
    };
    let Some(lab) = Lab::up(&cloud(", run: [sleep, '1000']", &["a"])) else { return };
    let taken = lab.inside("sddc", || TcpListener::bind("0.0.0.0:443").unwrap());
    let output = lab.apply(&cloud("", &["a"]));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let why = "cannot answer for the managers of private cloud sddc";
    assert!(said.contains(why), "{said}");
    // The same of a file that is read again: there is nobody to tell, so it is logged.
    let log = || fs::read_to_string(format!("/run/vnet/{}/daemon.log", lab.name)).unwrap();
    assert!(!log().contains(why), "{}", log());
    lab.write(&cloud("", &["a", "b"]));
    let pid = lab.data(&["status"])["pid"].to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    eventually("it is logged", || {
        crate::lab::saw(log());
        log().contains("SIGHUP: 2 changes") && log().contains(why)
    });
    drop(taken);
    // A program that another test starts at this moment has the socket until its exec.
    eventually("the port is closed", || lab.inside("sddc", || TcpStream::connect("127.0.0.1:443").is_err()));
    let output = lab.apply(&cloud("", &["a", "b", "c"]));
    assert_eq!(output.status.code(), Some(0), "it is tried with each change: {}", stderr(&output));
}

/// DIAG-08: the daemon looks after the directories of its flow logs by itself.
#[test]
fn diag_08_a_directory_of_flow_logs_that_was_removed_is_made_anew() {
    let topology = "virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]}]
flowLogs: [{name: net, targetResourceId: virtualNetworks/v, storagePath: logs}]
";
    let Some(lab) = Lab::up(topology) else { return };
    let logs = lab.file.with_file_name("logs");
    assert!(logs.is_dir());
    fs::remove_dir_all(&logs).unwrap();
    eventually("it is there again", || logs.is_dir());
}

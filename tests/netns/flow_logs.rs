//! Flow logs of real packets, in files that are whole whenever they are read.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, eventually, permitted, saw, stderr, stdout};
use crate::schema;

const LAB: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: clients, addressPrefix: 10.0.1.0/24}
      - {name: servers, addressPrefix: 10.0.2.0/24, networkSecurityGroup: group}
networkSecurityGroups:
  - name: group
    securityRules: [{name: no, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: '*',
      sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '81'}]
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: v/clients}]}
  - {name: server, networkInterfaces: [{subnet: v/servers}]}
emulation: {flowLogRecordSeconds: 1, flowLogContinuationSeconds: 1}
";

const GROUP: &str = "  - {name: group, targetResourceId: networkSecurityGroups/group, storagePath: logs}\n";
const NET: &str = "  - {name: net, targetResourceId: virtualNetworks/v, storagePath: logs}\n";

fn with_logs(logs: &[&str]) -> String {
    format!("{LAB}flowLogs: {}\n{}", if logs.is_empty() { "[]" } else { "" }, logs.concat())
}

/// The log files in the container of this name, each as a value that its schema accepts.
fn files(storage: &Path, container: &str, schema: &str) -> Vec<(PathBuf, Value)> {
    let mut pending = vec![storage.join(container)];
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        if path.extension().is_some_and(|extension| extension == "next") {
            continue;
        }
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.exists() {
            let text = fs::read_to_string(&path).unwrap();
            saw(format!("{}\n{text}", path.display()));
            let value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text:?}", path.display()));
            schema::check(schema, &value);
            files.push((path, value));
        }
    }
    files
}

/// Every string in it that is a tuple.
fn tuples(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if text.matches(',').count() >= 7 => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(tuples).collect(),
        Value::Object(fields) => fields.values().flat_map(tuples).collect(),
        _ => Vec::new(),
    }
}

fn group_tuples(lab: &Lab) -> Vec<String> {
    let storage = lab.file.with_file_name("logs");
    let files = files(&storage, "insights-logs-networksecuritygroupflowevent", schema::NSG);
    files.iter().flat_map(|(_, value)| tuples(value)).collect()
}

fn net_tuples(lab: &Lab) -> Vec<String> {
    let storage = lab.file.with_file_name("logs");
    let files = files(&storage, "insights-logs-flowlogflowevent", schema::FLOW);
    files.iter().flat_map(|(_, value)| tuples(value)).collect()
}

#[test]
fn diag_07_and_08_real_packets_are_in_the_logs_within_a_record() {
    let Some(lab) = Lab::up(&with_logs(&[GROUP, NET])) else { return };
    assert_eq!(lab.tcp("client", "server", "10.0.2.4", 80, 5_000), Some(5_000));
    assert_eq!(lab.tcp("client", "server", "10.0.2.4", 81, 0), None);
    lab.assert_ping("client", "10.0.2.4");
    let has = |tuples: Vec<String>, end: &str| tuples.iter().any(|tuple| tuple.contains(end));
    eventually("the group logs the flow and the refusal", || {
        has(group_tuples(&lab), ",80,T,I,A,B,,,,") && has(group_tuples(&lab), ",81,T,I,D,B,,,,")
    });
    assert!(!has(group_tuples(&lab), ",0,0,"), "no ICMP");
    eventually("the network logs both ends and the ping", || {
        let tuples = net_tuples(&lab);
        [",80,6,I,B,", ",80,6,O,B,", ",81,6,I,D,", ",0,0,1,O,B,"].iter().all(|end| has(tuples.clone(), end))
    });
    let status = lab.data(&["status"]);
    assert_eq!(status["flowEventsLost"], 0);
    assert_eq!(status["flowLogs"][0]["target"], "networkSecurityGroups/group");
    let (path, _) = files(&lab.file.with_file_name("logs"), "insights-logs-flowlogflowevent", schema::FLOW).remove(0);
    assert!(path.ends_with("PT1H.json") && path.to_str().unwrap().contains("/m=00/macAddress=00"), "{path:?}");
    lab.crash();
    assert!(has(net_tuples(&lab), ",80,6,I,B,"), "a file is whole after a crash, too");
}

#[test]
fn diag_08_a_change_turns_a_log_on_for_running_flows_and_off_without_loss_to_others() {
    let Some(lab) = Lab::up(&with_logs(&[GROUP])) else { return };
    lab.assert_ping("client", "10.0.2.4");
    lab.apply(&with_logs(&[GROUP, NET]));
    eventually("a flow that ran before goes on in the log", || {
        net_tuples(&lab).iter().any(|t| t.contains(",0,0,1,O,C,"))
    });
    lab.apply(&with_logs(&[GROUP]));
    let before = net_tuples(&lab).len();
    assert_eq!(lab.udp("client", "server", "10.0.2.4", 53, &[100]), 1);
    eventually("the other log goes on", || group_tuples(&lab).iter().any(|t| t.contains(",53,U,I,A,B")));
    assert_eq!(net_tuples(&lab).len(), before, "nothing is added to the one that is off");
    lab.apply(&with_logs(&[]));
    assert_eq!(lab.data(&["status"])["flowLogs"], json!([]));
}

#[test]
fn adr_15_a_guest_on_ethernet_has_the_address_that_its_log_names() {
    let topology = with_logs(&[NET]).replace("emulation: {", "emulation: {device: tap, ");
    let Some(lab) = Lab::up(&topology) else { return };
    let own = |node| {
        let link = stdout(&lab.exec(node, &["cat", "/sys/class/net/eth0/address"]));
        format!("/macAddress={}/", link.trim().replace(':', "").to_uppercase())
    };
    let own = [own("client"), own("server")];
    lab.assert_ping("client", "10.0.2.4");
    eventually("each end's file is called after its address", || {
        let files = files(&lab.file.with_file_name("logs"), "insights-logs-flowlogflowevent", schema::FLOW);
        own.iter().all(|mac| files.iter().any(|(path, _)| path.to_str().unwrap().contains(mac)))
    });
}

/// A file system with little room, until it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(at).output().unwrap();
        assert!(mounted.status.success(), "mount: {}", stderr(&mounted));
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn diag_08_files_are_whole_while_they_grow_and_while_the_disk_is_full() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&with_logs(&[NET]));
    let storage = lab.file.with_file_name("logs");
    let _disk = Small::mount(&storage);
    let up = lab.start();
    assert!(up.status.success(), "vnet up: {}", stderr(&up));
    // Each asks from a port of its own, which its record names.
    let ask = |count: u16| {
        lab.inside("client", || {
            for _ in 0..count {
                UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"ask", "10.0.2.4:53").unwrap();
            }
        });
    };
    let records = || lab.data(&["status"])["flowLogs"][0]["records"].as_u64().unwrap();
    let error = || lab.data(&["status"])["flowLogs"][0]["error"].clone();
    ask(1);
    // Read all the time: a reader finds the file whole, whenever it looks.
    eventually("three cuts are written", || {
        ask(1);
        net_tuples(&lab);
        records() >= 6
    });
    let filler = storage.join("filler");
    let _ = fs::write(&filler, vec![0; 1 << 20]);
    let before = net_tuples(&lab).len();
    eventually("the log says that there is no room", || {
        ask(1);
        net_tuples(&lab);
        error().as_str().is_some_and(|error| error.contains("No space left"))
    });
    let full = records();
    ask(20);
    thread::sleep(Duration::from_millis(2_500));
    assert!(net_tuples(&lab).len() >= before, "what was written stays");
    fs::remove_file(filler).unwrap();
    eventually("it goes on when there is room", || {
        ask(1);
        net_tuples(&lab);
        records() > full && error().is_null()
    });
    let log = fs::read_to_string(format!("/run/vnet/{}/daemon.log", lab.name)).unwrap_or_default();
    assert_eq!(log.matches("loses records").count(), 1, "it is said once: {log}");
    assert_eq!(log.matches("is written again").count(), 1, "{log}");
}

#[test]
fn a_link_does_not_lead_a_flow_log_out_of_the_directory() {
    if !permitted() {
        return;
    }
    let outside = tempfile::TempDir::new().unwrap();
    for target in [outside.path().to_owned(), outside.path().join("new"), "/proc/1/root/etc".into()] {
        let lab = Lab::prepared(&with_logs(&[NET]));
        std::os::unix::fs::symlink(target, lab.file.with_file_name("logs")).unwrap();
        let up = lab.start();
        assert!(!up.status.success(), "it starts");
        let said = stderr(&up);
        assert!(said.contains("a symbolic link leads out of the topology's directory"), "{said}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

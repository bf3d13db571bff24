//! The ways to start a lab: in the foreground, from a pipe, under another name, with and without its programs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use vnet::sys::process::{ProcessId, Signal};

use crate::lab::{ALLOW_RUN, Lab, SOON, eventually, permitted, stderr, stdout, unique, vnet};

const QUIET: &str = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/s}]}
";

fn busy() -> String {
    QUIET.replace("{name: web,", "{name: web, run: [sleep, '1000'],")
}

fn log(lab: &Lab) -> String {
    fs::read_to_string(format!("/run/vnet/{}/daemon.log", lab.name)).unwrap_or_default()
}

fn hang_up(lab: &Lab) {
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    assert!(ProcessId::of(u32::try_from(pid).unwrap()).unwrap().signal(Signal::HUP).unwrap());
}

#[test]
fn in_the_foreground_it_says_when_it_is_ready_also_to_systemd() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(QUIET);
    let socket = lab.file.with_file_name("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(SOON)).unwrap();
    let message = || {
        let mut buffer = [0; 100];
        let length = told.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut run = vnet();
    run.arg("run").arg(&lab.file).env("NOTIFY_SOCKET", &socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains(&lab.name) && line.contains("is ready"), "{line}");
    assert_eq!(message(), "READY=1");
    lab.assert_ping("web", "10.1.1.4");
    assert!(ProcessId::of(run.id()).unwrap().signal(Signal::TERM).unwrap());
    assert_eq!(message(), "STOPPING=1");
    assert!(run.wait().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line");
    assert!(lab.remains().is_empty());
}

fn piped(arguments: &[&str], text: &str) -> Output {
    let mut up =
        vnet().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    up.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    up.wait_with_output().unwrap()
}

#[test]
fn a_topology_from_a_pipe_cannot_be_read_again() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(QUIET);
    let up = piped(&["up", "-"], &lab.named(QUIET));
    assert!(up.status.success(), "{}", stderr(&up));
    hang_up(&lab);
    eventually("it says so", || {
        log(&lab).contains("SIGHUP: the topology was piped in, there is no file to read again")
    });
    assert_eq!(lab.data(&["status"])["generation"], 1);
    let relative = format!(
        "{}\nflowLogs: [{{name: f, targetResourceId: virtualNetworks/v, storagePath: logs}}]\n",
        lab.named(QUIET)
    );
    let refused = piped(&["-l", &lab.name, "apply", "-"], &relative);
    assert!(!refused.status.success());
    assert!(
        stderr(&refused).contains("storagePath logs is relative, and the topology was piped in"),
        "{}",
        stderr(&refused)
    );
    // From a file it has one again.
    lab.apply(&QUIET.replace("[10.1.0.0/16]", "[10.1.0.0/16, 10.2.0.0/16]"));
    lab.write(&QUIET.replace("[10.1.0.0/16]", "[10.1.0.0/16, 10.3.0.0/16]"));
    hang_up(&lab);
    eventually("it is read", || lab.data(&["status"])["generation"] == 3);
}

#[test]
fn under_another_name_it_keeps_that_name() {
    let Some(lab) = Lab::up(QUIET) else { return };
    let name = unique("other");
    let by_name = |arguments: &[&str]| vnet().args(["-l", &name]).args(arguments).output().unwrap();
    let file = lab.file.to_str().unwrap();
    let up = by_name(&["up", file]);
    assert!(stdout(&up).contains(&format!("lab {name} is up")), "{}{}", stdout(&up), stderr(&up));
    lab.write(&QUIET.replace("location: westeurope", "location: westeurope, dhcpOptions: {dnsServers: [10.1.1.9]}"));
    let applied = by_name(&["apply", file]);
    let resolver = fs::read_to_string(format!("/etc/netns/{name}-web/resolv.conf")).unwrap_or_default();
    assert_eq!(by_name(&["down"]).status.code(), Some(0));
    assert!(stdout(&applied).contains(&format!("lab {name} is changed")), "{}{}", stdout(&applied), stderr(&applied));
    assert!(resolver.starts_with("nameserver 10.1.1.9\n"), "{resolver}");
    assert!(lab.vnet(&["status"]).status.success(), "the file's own lab runs on");
}

/// Code that comes by a signal asks nobody.
#[test]
fn programs_run_where_their_user_agrees_and_not_otherwise() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&busy());
    let start = |arguments: &[&str]| {
        vnet().env_remove(ALLOW_RUN).arg("up").args(arguments).arg(&lab.file).stdin(Stdio::null()).output().unwrap()
    };
    let refused = start(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(lab.remains().is_empty());
    let without = start(&["--no-run"]);
    assert!(without.status.success(), "{}", stderr(&without));
    assert_eq!(lab.data(&["status"])["programs"].as_array().unwrap().len(), 0);
    hang_up(&lab);
    eventually("it is read again", || log(&lab).contains("SIGHUP: 0 changes, generation 1"));
    assert_eq!(lab.data(&["status"])["programs"].as_array().unwrap().len(), 0, "still without");
    assert_eq!(lab.down().status.code(), Some(0));
    lab.write(QUIET);
    assert!(start(&[]).status.success());
    lab.write(&busy());
    hang_up(&lab);
    eventually("it is refused", || log(&lab).contains("runs code that its user has not agreed to"));
    assert_eq!(lab.data(&["status"])["programs"].as_array().unwrap().len(), 0);
    assert!(stdout(&lab.vnet(&["events"])).contains("ChangeRefused"));
}

/// Azure takes seconds until interfaces have a change (FAB-15); the end of a lab does not wait for it.
#[test]
fn fab_15_a_change_takes_its_time_and_is_given_up_when_the_lab_ends() {
    let slow = |millis: u64, text: &str| format!("emulation: {{programmingDelayMs: {millis}}}\n{text}");
    let Some(lab) = Lab::up(&slow(700, QUIET)) else { return };
    let with = |name: &str| {
        QUIET.replace(
            "  - {name: web,",
            &format!("  - {{name: {name}, networkInterfaces: [{{subnet: v/s}}]}}\n  - {{name: web,"),
        )
    };
    let began = Instant::now();
    lab.apply(&slow(700, &with("more")));
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    let file = lab.file.to_str().unwrap().to_owned();
    lab.write(&slow(60_000, &with("third")));
    let mut change = vnet();
    let change = change.args(["-l", &lab.name, "apply", &file]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let change = change.spawn().unwrap();
    // It is made before the tables change.
    let made = format!("/run/netns/{}-third", lab.name);
    eventually("the change is under way", || Path::new(&made).exists());
    let began = Instant::now();
    let down = lab.down();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(down.status.code(), Some(0), "{}", stderr(&down));
    let given_up = change.wait_with_output().unwrap();
    assert!(!given_up.status.success());
    assert!(stderr(&given_up).contains("the lab is ending"), "{}", stderr(&given_up));
    assert!(lab.remains().is_empty());
}

#[test]
fn interfaces_and_their_offloads_are_as_the_file_asks() {
    for (emulation, device, offload) in [
        ("device: tun", "tun", "tcp+udp"),
        ("device: tap", "tap", "tcp+udp"),
        ("device: veth", "veth", "tcp+udp"),
        ("device: tun, udpSegmentation: false", "tun", "tcp"),
        ("device: tap, offload: false", "tap", "off"),
        ("device: tun, offload: false, udpSegmentation: false", "tun", "off"),
    ] {
        let Some(lab) = Lab::up(&format!("emulation: {{{emulation}}}\n{QUIET}")) else { return };
        let status = lab.data(&["status"]);
        assert_eq!((&status["device"], &status["offload"]), (&device.into(), &offload.into()), "{emulation}: {status}");
        assert_eq!(status["carriedFlows"].is_number(), device == "veth", "{emulation}: {status}");
        assert!(status["notCarried"].is_null() && status["alerts"].as_array().unwrap().is_empty(), "{status}");
    }
}

#[test]
fn how_peerings_stood_outlives_a_crash() {
    let peered = "
virtualNetworks:
  - {name: a, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}],
     virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]}
  - {name: b, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}],
     virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]}
virtualMachines: [{name: x, networkInterfaces: [{subnet: a/s}]}, {name: y, networkInterfaces: [{subnet: b/s}]}]
";
    let Some(lab) = Lab::up(peered) else { return };
    lab.assert_ping("x", "10.2.1.4");
    let grown = peered.replace("addressSpace: [10.2.0.0/16]", "addressSpace: [10.2.0.0/16, 10.3.0.0/16]");
    let applied = lab.apply(&grown);
    assert_eq!(applied.status.code(), Some(3), "the peer does not know the new range: {}", stderr(&applied));
    let state = || {
        let links = lab.data(&["peering", "ls"]);
        let link = links
            .as_array()
            .unwrap()
            .iter()
            .find(|link| link["name"].as_str().unwrap().ends_with("a-b"))
            .unwrap()
            .clone();
        link["peeringSyncLevel"].as_str().unwrap_or_default().to_owned()
    };
    let before = state();
    assert_ne!(before, "FullyInSync");
    hang_up(&lab);
    eventually("the file is read again", || log(&lab).contains("SIGHUP: "));
    assert_eq!(state(), before, "nobody has asked to sync");
    lab.crash();
    let again = lab.start();
    assert!(matches!(again.status.code(), Some(0 | 3)), "{}", stderr(&again));
    assert_eq!(state(), before);
    let synced = lab.vnet(&["peering", "sync", "a-b"]);
    assert!(synced.status.success(), "{}{}", stdout(&synced), stderr(&synced));
    assert_eq!(state(), "FullyInSync");
    assert_eq!(lab.down().status.code(), Some(0));
    // One that was ended begins anew.
    assert!(lab.start().status.success());
    assert_eq!(state(), "FullyInSync");
}

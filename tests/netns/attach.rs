//! Attach mode: namespaces that exist already, as a script would make them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vnet::sys::netlink::Netlink;
use vnet::sys::netns::{self, Netns};

use crate::lab::{Lab, SOON, eventually, has_program, pattern, permitted, ping, stderr, stdout, unique, vnet};

const TWO_VNETS: &str = include_str!("../../config/two-vnets.yaml");

/// A namespace of the script's own, gone with its value.
pub(crate) struct Named(pub(crate) String);

impl Named {
    pub(crate) fn new(what: &str) -> Self {
        netns::prepare_names().unwrap();
        let name = unique(what);
        Netns::create().unwrap().bind(&netns::name_path(&name)).unwrap();
        Self(name)
    }

    pub(crate) fn open(&self) -> Netns {
        Netns::named(&self.0).unwrap()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = netns::unbind(&netns::name_path(&self.0));
    }
}

/// `vnet run` in the foreground, past its ready line.
pub(crate) struct Run {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Run {
    fn start(file: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut command = vnet();
        command.arg("run").arg(file).envs(environment.iter().copied());
        let (mut run, line) = Self::spawn(command);
        assert!(line.contains("is ready"), "not ready: {line}{}", run.errors_after_end());
        run
    }

    /// And its first line.
    pub(crate) fn spawn(mut command: Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        (Self { child, stdout }, line)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a supervisor does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line on stdout");
    }

    fn errors_after_end(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example with namespaces of this test's own.
fn two_vnets(left: &Named, right: &Named) -> Lab {
    let topology = TWO_VNETS.replace("namespace: left", &format!("namespace: {}", left.0));
    Lab::prepared(&topology.replace("namespace: right", &format!("namespace: {}", right.0)))
}

#[test]
fn two_namespaces_two_vnets_one_peering() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let mut run = Run::start(&lab.file, &[]);
    left.open().run(|| assert!(ping("10.2.0.4", 64, SOON).unwrap().arrived)).unwrap();
    right.open().run(|| assert!(ping("10.1.0.4", 64, SOON).unwrap().arrived)).unwrap();
    if has_program("iperf3") {
        let inside = |namespace: &Named, arguments: &[&str]| {
            let mut iperf3 = Command::new("iperf3");
            iperf3.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            namespace.open().run(|| iperf3.spawn()).unwrap().unwrap()
        };
        let mut server = inside(&right, &["-s", "-1"]);
        let transfer = || inside(&left, &["-c", "10.2.0.4", "-n", "16M", "--connect-timeout", "500"]).wait().unwrap();
        eventually("iperf3 transfers", || transfer().success());
        assert!(server.wait().unwrap().success());
    }
    run.stop();
    // The TUNs go with the daemon, the namespaces are the script's.
    left.open().run(|| assert!(Netlink::open().unwrap().link("tun0").is_err())).unwrap();
    assert!(!Path::new("/run/vnet").join(&lab.name).exists());
}

/// For programs the ready line is json, and what is doubtful is in it.
#[test]
fn that_it_is_ready_is_data_for_programs() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let topology = std::fs::read_to_string(&lab.file).unwrap();
    lab.write(&format!("{topology}\nrouteTables: [{{name: idle, routes: []}}]\n"));
    let mut command = vnet();
    command.arg("run").arg(&lab.file).args(["-o", "json"]);
    let (mut run, line) = Run::spawn(command);
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&ready["lab"], &ready["interfaces"]), (&json!(lab.name), &json!(2)));
    assert_eq!(ready["findings"], lab.data(&["validate", lab.file.to_str().unwrap()]));
    assert_eq!(ready["findings"][0]["code"], "unused-route-table");
    run.stop();
}

/// Between addresses behind the TUN of a whole VNet, in a lab that the tests start and end.
#[test]
fn a_files_tests_reach_attached_namespaces() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let tests = "tests:\n  - {from: 10.1.0.4, to: 10.2.0.4, expect: reachable}\n  \
                 - {from: 10.2.0.4, to: 10.1.0.4, port: 80, expect: reachable}\n  \
                 - {from: 10.1.0.4, to: 10.2.0.4, protocol: Udp, port: 53, expect: reachable}\n  \
                 - {from: 10.1.0.4, to: 10.3.0.4, expect: blocked}\n";
    let text = std::fs::read_to_string(&lab.file).unwrap();
    let (network, _) = text.split_once("tests:\n").expect("the file has tests of its own");
    std::fs::write(&lab.file, format!("{network}{tests}")).unwrap();
    let output = vnet().arg("test").arg(&lab.file).output().unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains("4 passed, 0 failed"), "{}", stderr(&output));
    left.open().run(|| assert!(Netlink::open().unwrap().link("tun0").is_err())).unwrap();
}

#[test]
fn systemd_is_notified() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let socket = lab.file.with_file_name("notify.sock");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(SOON)).unwrap();
    let mut run = Run::start(&lab.file, &[("NOTIFY_SOCKET", &socket)]);
    let heard = || {
        let mut buffer = [0; 64];
        let length = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    run.stop();
    assert_eq!(heard(), "STOPPING=1");
}

#[test]
fn a_namespace_with_a_default_route_keeps_it() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let default = |namespace: &Named| {
        let routes = namespace.open().run(|| std::fs::read_to_string("/proc/thread-self/net/route").unwrap()).unwrap();
        routes.lines().filter(|line| line.split('\t').nth(1) == Some("00000000")).map(str::to_owned).collect::<Vec<_>>()
    };
    left.open()
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap();
            netlink.up(lo).unwrap();
            netlink.add_default_device(lo, false).unwrap();
        })
        .unwrap();
    let lab = two_vnets(&left, &right);
    let mut run = Run::start(&lab.file, &[]);
    assert!(default(&left)[0].starts_with("lo\t"), "{:?}", default(&left));
    assert!(default(&right)[0].starts_with("tun0\t"), "{:?}", default(&right));
    run.stop();
}

#[test]
fn fab_11_a_persistent_interface_is_found_with_its_mtu_and_left() {
    if !permitted() || !has_program("ip") {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let ip = |arguments: &str| {
        let words = arguments.split(' ').map(|word| if word == "LEFT" { &left.0 } else { word });
        let output = Command::new("ip").arg("-n").args(words).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let mode = std::env::var("VNET_DEVICE").ok().filter(|kind| kind == "tap").unwrap_or_else(|| "tun".to_owned());
    ip(&format!("LEFT tuntap add dev tun0 mode {mode} multi_queue"));
    ip("LEFT address add 10.1.0.4/16 dev tun0");
    ip("LEFT link set tun0 mtu 1400 up");
    ip("LEFT route add default dev tun0");
    let lab = two_vnets(&left, &right);
    // What the script has set up stays as it is; the other side is found by its path.
    let text = std::fs::read_to_string(&lab.file).unwrap();
    let text = text.replace("addresses: [10.1.0.4/16]", "addresses: [10.1.0.4/16], configure: false");
    let path = netns::name_path(&right.0);
    let text = text.replace(&format!("namespace: {}", right.0), &format!("namespace: {}", path.display()));
    std::fs::write(&lab.file, text).unwrap();
    let mut run = Run::start(&lab.file, &[]);
    left.open().run(|| assert!(ping("10.2.0.4", 64, SOON).unwrap().arrived)).unwrap();
    // 28 bytes of headers, and no fragments: the sender's own device would take 1500.
    let sender = right.open().run(|| UdpSocket::bind("10.2.0.4:0").unwrap()).unwrap();
    sender.send_to(&[0; 1400 - 28 + 1], "10.1.0.4:7").unwrap();
    eventually("what does not fit is dropped", || lab.drops("b", "TooBig") == 1);
    sender.send_to(&[0; 1400 - 28], "10.1.0.4:7").unwrap();
    // A connection agrees on what fits, cut by its sender or by the receiver's device.
    let listener = left.open().run(|| TcpListener::bind("10.1.0.4:9000").unwrap()).unwrap();
    let mut client = right.open().run(|| TcpStream::connect("10.1.0.4:9000").unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let sending = thread::spawn(move || client.write_all(&pattern(4 << 20)).unwrap());
    let mut received = Vec::new();
    server.read_to_end(&mut received).unwrap();
    sending.join().unwrap();
    assert!(received == pattern(4 << 20), "what arrived is not what was sent");
    assert_eq!(lab.drops("b", "TooBig"), 1, "nothing else was too big");
    run.stop();
    left.open().run(|| assert_eq!(Netlink::open().unwrap().mtu("tun0").unwrap(), 1400)).unwrap();
}

#[test]
fn a_namespace_that_comes_back_is_attached_again() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let mut run = Run::start(&lab.file, &[]);
    let file = lab.file.to_str().unwrap().to_owned();
    let alive = |vnet: &str| {
        let status = lab.data(&["status"]);
        let node = status["nodes"].as_array().unwrap().iter().find(|found| found["name"] == vnet).unwrap().clone();
        node["networkInterfaces"][0]["alive"].as_bool().unwrap()
    };
    netns::unbind(&netns::name_path(&right.0)).unwrap();
    eventually("its TUN is let go of", || !alive("b"));
    let missing = lab.vnet(&["apply", &file]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(stderr(&missing).contains(&format!("ip netns add {}", right.0)), "{}", stderr(&missing));
    Netns::create().unwrap().bind(&netns::name_path(&right.0)).unwrap();
    run.signal(Signal::HUP);
    eventually("it is attached again", || alive("b"));
    left.open().run(|| assert!(ping("10.2.0.4", 64, SOON).unwrap().arrived)).unwrap();
    run.stop();
}

#[test]
fn a_process_ends_with_its_namespace() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let mut process = right.open().run(|| Command::new("sleep").arg("1000").spawn().unwrap()).unwrap();
    let lab = two_vnets(&left, &right);
    let text = std::fs::read_to_string(&lab.file).unwrap();
    let text = text.replace(&format!("namespace: {}", right.0), &format!("namespace: pid:{}", process.id()));
    std::fs::write(&lab.file, text).unwrap();
    let mut run = Run::start(&lab.file, &[]);
    left.open().run(|| assert!(ping("10.2.0.4", 64, SOON).unwrap().arrived)).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let state = || {
        let status = stdout(&lab.vnet(&["status"]));
        status.lines().find(|line| line.starts_with("b ")).unwrap().to_owned()
    };
    eventually("its TUN is let go of", || state().contains("gone"));
    // The namespace is there still, by its name; the file does not know that.
    let is_gone = || right.open().run(|| Netlink::open().unwrap().link("tun0").is_err()).unwrap();
    eventually("the device is gone", is_gone);
    let missing = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(stderr(&missing).contains(&format!("the namespace of process {}", process.id())), "{}", stderr(&missing));
    run.stop();
}

#[test]
fn another_virtual_network_takes_a_tun_over() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let mut run = Run::start(&lab.file, &[]);
    let device = || right.open().run(|| Netlink::open().unwrap().link("tun0").unwrap()).unwrap();
    let before = device();
    let text = std::fs::read_to_string(&lab.file).unwrap();
    let renamed =
        text.replace("- name: b\n", "- name: c\n").replace("remoteVirtualNetwork: b", "remoteVirtualNetwork: c");
    let renamed =
        renamed.replace("name: b-a", "name: c-a").replace("name: a-b", "name: a-c").replace("10.2.0", "10.3.0");
    assert_ne!(renamed, text);
    std::fs::write(&lab.file, &renamed).unwrap();
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(device(), before, "it is the same device, which no other program could have opened meanwhile");
    left.open().run(|| assert!(ping("10.3.0.4", 64, SOON).unwrap().arrived)).unwrap();
    run.stop();
}

/// FAB-02: an interface in a namespace that exists already is a TUN, whatever the lab's own machines have.
#[test]
fn fab_02_status_names_interfaces_of_another_kind() {
    if !permitted() {
        return;
    }
    let theirs = Named::new("a");
    let machines = format!(
        "virtualMachines:\n  - {{name: own, networkInterfaces: [{{subnet: v/s}}]}}\n  - {{name: web, networkInterfaces: \
         [{{subnet: v/s, attach: {{namespace: {}, interface: eth1}}}}]}}\n",
        theirs.0
    );
    let network = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/24], subnets: [{name: s, addressPrefix: 10.0.0.0/24}]}]\n";
    let Some(lab) = Lab::up(&format!("{network}{machines}")) else { return };
    let (status, said) = (lab.data(&["status"]), stdout(&lab.vnet(&["status"])));
    if status["device"] == "veth" {
        assert_eq!(status["tunInterfaces"], json!(["web/eth0"]));
        assert!(said.contains("Devices veth, tun of web/eth0"), "{said}");
    } else {
        assert_eq!(status["tunInterfaces"], Value::Null);
    }
    let kinds =
        theirs.open().run(|| Command::new("ip").args(["-d", "link", "show", "eth1"]).output().unwrap()).unwrap();
    let kind = if status["device"] == "tap" { "tun type tap" } else { "tun type tun" };
    assert!(stdout(&kinds).contains(kind), "{}", stdout(&kinds));
}

#[test]
fn the_fabric_is_quiet_until_a_guest_sends() {
    if !permitted() {
        return;
    }
    let (left, right) = (Named::new("l"), Named::new("r"));
    let lab = two_vnets(&left, &right);
    let mut run = Run::start(&lab.file, &[]);
    left.open().run(|| assert!(ping("10.2.0.4", 64, SOON).unwrap().arrived)).unwrap();
    assert_eq!(lab.data(&["drops"]), serde_json::json!([]));
    run.stop();
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    if !permitted() {
        return;
    }
    let left = Named::new("l");
    let topology = TWO_VNETS.replace("namespace: left", &format!("namespace: {}", left.0));
    let lab = Lab::prepared(&topology.replace("namespace: right", "namespace: no-such"));
    let output = vnet().arg("run").arg(&lab.file).output().unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains("ip netns add no-such"), "{}", stderr(&output));
    left.open().run(|| assert!(Netlink::open().unwrap().link("tun0").is_err())).unwrap();
    assert!(!Path::new("/run/vnet").join(&lab.name).exists());
}

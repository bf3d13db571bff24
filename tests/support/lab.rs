//! A lab under test: brought up by the built binary, watched with ordinary sockets, gone with its value.

#[path = "sockets.rs"]
pub(crate) mod sockets;

use std::cell::RefCell;
use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vnet::sys::caps::{self, CapabilitySet};
use vnet::sys::netns::Netns;
use vnet::sys::ping::{Answer, Pinger};
use vnet::sys::process::{ProcessId, Signal};

use crate::capture::Capture;
use sockets::bound;

/// How long something that must happen may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long to wait for what must not happen: an answer to a dropped packet.
pub(crate) const NEVER: Duration = Duration::from_millis(300);

/// Whether this process may make namespaces. Says so where not, and fails where everything must be tested.
pub(crate) fn permitted() -> bool {
    let permitted =
        caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) && Path::new("/dev/net/tun").exists();
    if !permitted {
        assert!(std::env::var("CI").is_err(), "CI runs every test: needs root and /dev/net/tun");
        say("skipped: needs root and /dev/net/tun");
    }
    permitted
}

/// Whether a client program is there; in CI it must be.
pub(crate) fn has_program(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).exists());
    if !found {
        assert!(std::env::var("CI").is_err(), "CI runs every test: {program} is not installed");
        say(&format!("skipped: {program} is not installed"));
    }
    found
}

pub(crate) fn vnet() -> Command {
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    vnet.env_remove("VNET_LAB").env("NO_COLOR", "1").env(ALLOW_RUN, "1");
    vnet
}

/// Consents to the programs of every file here; a test of consent itself takes it out.
pub(crate) const ALLOW_RUN: &str = "VNET_ALLOW_RUN";

/// A name no other test and no other test run uses.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Gives a topology that asks for no kind of device the one that `VNET_DEVICE` names.
fn with_device(mut body: Vec<&str>) -> Vec<String> {
    let kind = std::env::var("VNET_DEVICE").unwrap_or_default();
    let asks = body.iter().any(|line| line.contains("device:") || line.contains("\"device\":"));
    if kind.is_empty() || asks {
        return body.into_iter().map(str::to_owned).collect();
    }
    if !body.iter().any(|line| line.starts_with("emulation:")) {
        // Not at the end, which tests add to.
        body.insert(0, "emulation: {}");
    }
    let with = |line: &str| match line.strip_prefix("emulation:").map(str::trim) {
        Some("") => format!("emulation:\n  device: {kind}"),
        Some(rest) => rest.replacen('{', &format!("emulation: {{device: {kind}, "), 1),
        None => line.to_owned(),
    };
    body.into_iter().map(with).collect()
}

/// A running lab of a name of its own.
pub(crate) struct Lab {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    _dir: TempDir,
}

impl Lab {
    /// Starts a topology; None, with a word on stderr, where that is not permitted.
    pub(crate) fn up(topology: &str) -> Option<Self> {
        if !permitted() {
            return None;
        }
        let lab = Self::prepared(topology);
        let output = lab.start();
        assert!(output.status.success(), "vnet up: {}", stderr(&output));
        Some(lab)
    }

    /// Writes the topology to a file without starting it.
    pub(crate) fn prepared(topology: &str) -> Self {
        let name = unique("t");
        let dir = TempDir::new().unwrap();
        let lab = Self { name, file: dir.path().join("lab.yaml"), _dir: dir };
        lab.write(topology);
        lab
    }

    /// Puts the examples beside the lab's file: some name others.
    pub(crate) fn among_examples(self) -> Self {
        for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), self.file.with_file_name(file.file_name())).unwrap();
        }
        self
    }

    /// Replaces the lab's file.
    pub(crate) fn write(&self, topology: &str) {
        fs::write(&self.file, self.named(topology)).unwrap();
    }

    /// A topology with this lab's name: the examples bring one of their own.
    pub(crate) fn named(&self, topology: &str) -> String {
        let body: Vec<_> = topology.lines().filter(|line| !line.starts_with("name:")).collect();
        format!("name: {}\n{}\n", self.name, with_device(body).join("\n"))
    }

    /// Replaces the lab's file and applies it; it must work, with warnings or without.
    pub(crate) fn apply(&self, topology: &str) -> Output {
        self.write(topology);
        let output = self.vnet(&["apply", self.file.to_str().unwrap()]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "vnet apply: {}", stderr(&output));
        output
    }

    pub(crate) fn start(&self) -> Output {
        vnet().arg("up").arg(&self.file).output().unwrap()
    }

    /// Runs a subcommand about this lab.
    pub(crate) fn vnet(&self, arguments: &[&str]) -> Output {
        let output = vnet().args(["-l", &self.name]).args(arguments).output().unwrap();
        saw(format!("vnet {}\n{}{}", arguments.join(" "), stdout(&output), stderr(&output)));
        output
    }

    /// Runs the tests of its file: in this lab if it runs as the file says, else in a copy.
    pub(crate) fn test(&self, arguments: &[&str]) -> Output {
        vnet().arg("test").arg(&self.file).args(arguments).output().unwrap()
    }

    /// What a subcommand says as data.
    pub(crate) fn data(&self, arguments: &[&str]) -> Value {
        let output = self.vnet(&[arguments, &["-o", "json"]].concat());
        assert!(!output.stdout.is_empty(), "vnet {arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a program in a node.
    pub(crate) fn exec(&self, node: &str, command: &[&str]) -> Output {
        self.vnet(&[&["exec", node, "--"], command].concat())
    }

    /// Switches a device of a node off (`down`) or on (`up`), as a person in there would.
    pub(crate) fn switch(&self, node: &str, device: &str, to: &str) {
        let done = self.exec(node, &["ip", "link", "set", device, to]);
        assert!(done.status.success(), "{device} of {node}: {}", stderr(&done));
    }

    /// Switches a device off and on again, faster than the daemon may look.
    pub(crate) fn flap(&self, node: &str, device: &str) {
        let done = self.exec(node, &["sh", "-c", &format!("ip link set {device} down; ip link set {device} up")]);
        assert!(done.status.success(), "{device} of {node}: {}", stderr(&done));
    }

    /// The daemon, killed without a chance to clean up.
    pub(crate) fn crash(&self) {
        let pid = self.data(&["status"])["pid"].as_u64().unwrap();
        let daemon = ProcessId::of(u32::try_from(pid).unwrap()).unwrap();
        assert!(daemon.signal(Signal::KILL).unwrap());
        assert!(daemon.wait_end(SOON).unwrap());
    }

    /// Everything of this lab that is left in the file system.
    pub(crate) fn remains(&self) -> Vec<PathBuf> {
        let named = |dir: &str| {
            let entries = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
            let ours = entries.filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name == self.name || name.starts_with(&format!("{}-", self.name))
            });
            ours.collect::<Vec<_>>()
        };
        [named("/run/vnet"), named("/run/netns"), named("/etc/netns")].concat()
    }

    pub(crate) fn down(&self) -> Output {
        vnet().args(["down", &self.name]).output().unwrap()
    }

    /// The namespace of a node.
    pub(crate) fn node(&self, node: &str) -> Netns {
        Netns::named(&format!("{}-{node}", self.name)).unwrap()
    }

    /// Runs a function inside a node.
    pub(crate) fn inside<T: Send>(&self, node: &str, f: impl FnOnce() -> T + Send) -> T {
        self.node(node).run(f).unwrap()
    }

    pub(crate) fn ping(&self, from: &str, to: &str) -> Option<Answer> {
        self.inside(from, || ping(to, 64, NEVER))
    }

    /// A reachable address answers; a busy machine may take its time.
    pub(crate) fn assert_ping(&self, from: &str, to: &str) {
        let answer = self.inside(from, || ping(to, 64, SOON));
        assert!(answer.is_some_and(|answer| answer.arrived), "no answer to a ping from {from} to {to}");
    }

    /// Expects no answer, and one more drop of this reason at this node.
    pub(crate) fn assert_dropped(&self, from: &str, to: &str, at: &str, reason: &str) {
        let before = self.drops(at, reason);
        assert_eq!(self.ping(from, to), None, "a ping from {from} to {to} was answered");
        eventually(&format!("a drop for {reason} at {at}"), || self.drops(at, reason) > before);
    }

    /// Waits until a packet from a node was dropped for this reason; its sender may be done before the router has met it.
    pub(crate) fn await_drop(&self, node: &str, reason: &str) {
        eventually(&format!("a drop for {reason} at {node}"), || self.drops(node, reason) > 0);
    }

    /// Packets that came from a node and were dropped for this reason.
    pub(crate) fn drops(&self, node: &str, reason: &str) -> u64 {
        let rows = self.data(&["drops"]);
        let rows = rows.as_array().unwrap().iter().filter(|row| row["node"] == node && row["reason"] == reason);
        rows.map(|row| row["packets"].as_u64().unwrap()).sum()
    }

    pub(crate) fn capture(&self, node: &str) -> Capture {
        self.inside(node, Capture::open)
    }

    /// Bytes sent over TCP from one node to another, as they arrived; None if no connection opens.
    pub(crate) fn tcp(&self, from: &str, to: &str, address: &str, port: u16, length: usize) -> Option<usize> {
        let address: IpAddr = address.parse().unwrap();
        let listener = self.inside(to, || bound(|| TcpListener::bind((address, port))));
        let at = listener.local_addr().unwrap();
        let limit = if length == 0 { NEVER } else { SOON };
        let client = self.inside(from, || TcpStream::connect_timeout(&at, limit)).ok()?;
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        let sender = thread::spawn(move || (&client).write_all(&pattern(length)).unwrap());
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        assert!(received == pattern(length), "what arrived is not what was sent");
        Some(received.len())
    }

    /// Sends datagrams one after another and counts those that come back.
    pub(crate) fn udp(&self, from: &str, to: &str, address: &str, port: u16, sizes: &[usize]) -> usize {
        let address: IpAddr = address.parse().unwrap();
        let server = self.inside(to, || UdpSocket::bind((address, port)).unwrap());
        let at = server.local_addr().unwrap();
        let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
        let client = self.inside(from, || UdpSocket::bind(any).unwrap());
        client.connect(at).unwrap();
        let mut echoed = 0;
        for size in sizes {
            let mut buffer = vec![0; 65_536];
            client.send(&pattern(*size)).unwrap();
            server.set_read_timeout(Some(NEVER)).unwrap();
            let Ok((length, peer)) = server.recv_from(&mut buffer) else { continue };
            assert!(buffer[..length] == pattern(*size), "what arrived is not what was sent");
            server.send_to(&buffer[..length], peer).unwrap();
            client.set_read_timeout(Some(SOON)).unwrap();
            echoed += usize::from(client.recv(&mut buffer).is_ok_and(|length| length == *size));
        }
        echoed
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = self.down();
        // 5: the test has ended it.
        if !matches!(output.status.code(), Some(0 | 5)) {
            say(&format!("vnet down {}: {}", self.name, stderr(&output)));
        }
    }
}

/// Asks from the calling thread's namespace.
pub(crate) fn ping(to: &str, hop_limit: u8, limit: Duration) -> Option<Answer> {
    Pinger::towards(to.parse().unwrap()).unwrap().ask(hop_limit, limit).unwrap()
}

/// Bytes in which a lost or doubled piece shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A line in the test's output.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

thread_local! {
    /// What `vnet` has said to this thread since [`eventually`] asked last.
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps something for the message of an [`eventually`] that never comes true.
pub(crate) fn saw(what: impl Display) {
    SEEN.with_borrow_mut(|seen| seen.push(what.to_string()));
}

/// Polls until something holds. Where it never does, what was seen last is told.
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(SOON, what, holds);
}

/// The same with a patience of its own.
pub(crate) fn within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    loop {
        SEEN.take();
        if holds() {
            return;
        }
        assert!(Instant::now() < deadline, "never came true: {what}\nlast seen: {}", SEEN.take().join("\n"));
        thread::sleep(Duration::from_millis(10));
    }
}

//! The same network on a real daemon: how long until packets use a changed route.
//!
//! A spoke sends numbered datagrams to an address behind an appliance, one each 200 microseconds, while the next hop of
//! that prefix's route changes between two appliances. The result is the time from the request until the first datagram
//! arrives at the new one. Those three have a namespace each; all other interfaces share one.

use std::io::{self, BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use vnet::daemon::api::client::ask;
use vnet::daemon::api::protocol::{Apply, Change, Changed, Request, Response};
use vnet::sys::netns::{self, Netns};

use crate::topology::{self, APPLIANCES, BEHIND, SENDER};
use crate::{Of, median, peak, report_of};

const PORT: u16 = 7;

pub(crate) fn daemon() {
    let name = format!("scale{}", std::process::id());
    let [crowd, sender, even, odd] = ["", "s", "e", "o"].map(|suffix| Space::new(format!("{name}{suffix}")));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scale.yaml");
    let text = |step| {
        let place = |nic| match nic {
            SENDER => attach(&sender.name, nic, true),
            _ if nic == APPLIANCES[0] => attach(&even.name, nic, true),
            _ if nic == APPLIANCES[1] => attach(&odd.name, nic, true),
            _ => attach(&crowd.name, nic, false),
        };
        topology::whole(&name, step, Some(&place))
    };
    fs::write(&file, text(0)).unwrap();
    let started = Instant::now();
    let mut running = Running(run(&file));
    let mut ready = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(!ready.is_empty(), "no lab");
    println!("{:>32} {:>8} ms", "up, with a TUN each", started.elapsed().as_millis());
    let socket = Path::new("/run/vnet").join(&name).join("control.sock");
    let daemon = Of::Process(running.0.id());
    let mut step = 0;
    let mut live = Vec::new();
    let appliances = [even.listen(), odd.listen()];
    let ended = AtomicBool::new(false);
    let from = sender.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    thread::scope(|scope| {
        scope.spawn(|| send(&from, &ended));
        report_of(daemon, "apply one route", || {
            step += 1;
            let text = text(step);
            live.push(arrival(&appliances[step % 2], || drop(change(&socket, text, false))));
        });
        ended.store(true, Ordering::Relaxed);
    });
    let each: Vec<_> = live.iter().map(|time| format!("{:.0}", time.as_secs_f64() * 1e3)).collect();
    println!("{:>32} {:>8.1} ms ({})", "live after", median(live), each.join(" "));
    report_of(daemon, "apply one route, dry run", || drop(change(&socket, text(step + 1), true)));
    println!("{:>32} {:>8} MiB", "peak memory of the daemon", peak(&running.0.id().to_string()));
}

/// The time until the first packet comes, from the start of the change that causes it.
fn arrival(appliance: &UdpSocket, change: impl FnOnce() + Send) -> Duration {
    let mut buffer = [0; 64];
    // Datagrams from its last time as the next hop.
    while appliance.recv(&mut buffer).is_ok() {}
    appliance.set_nonblocking(false).unwrap();
    appliance.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let started = Instant::now();
    let came = thread::scope(|scope| {
        let came = scope.spawn(|| appliance.recv(&mut buffer).map(|_| started.elapsed()));
        change();
        came.join().unwrap().unwrap()
    });
    appliance.set_nonblocking(true).unwrap();
    came
}

fn send(from: &UdpSocket, ended: &AtomicBool) {
    // A minute of them, unless told to stop.
    for number in 0..300_000_u32 {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        from.send_to(&number.to_be_bytes(), (BEHIND, PORT)).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
}

fn attach(namespace: &str, nic: usize, configure: bool) -> String {
    format!(", enableIPForwarding: true, attach: {{namespace: {namespace}, interface: t{nic}, configure: {configure}}}")
}

fn change(socket: &Path, text: String, dry_run: bool) -> Changed {
    let apply = Apply {
        text,
        file: "scale.yaml".to_owned(),
        path: None,
        dry_run,
        sync: false,
        no_run: false,
        agreed: true,
        service_tags: None,
        nftables: std::collections::BTreeMap::new(),
    };
    match ask(socket, &Request::Change(Change::Apply(apply))).unwrap() {
        Response::Changed(changed) if changed.applied != dry_run && changed.plan.changes.len() == 1 => changed,
        other => panic!("{other:?}"),
    }
}

fn run(file: &Path) -> Child {
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    vnet.arg("run").arg(file).env_remove("VNET_LAB").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Asked to end when it goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A named namespace, deleted when this is dropped.
struct Space {
    name: String,
    path: PathBuf,
    netns: Netns,
}

impl Space {
    fn new(name: String) -> Self {
        netns::prepare_names().unwrap();
        let (path, netns) = (netns::name_path(&name), Netns::create().unwrap());
        netns.bind(&path).unwrap();
        Self { name, path, netns }
    }

    fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.netns.run(f).unwrap()
    }

    /// A socket at the address behind the appliance, which is the appliance itself.
    fn listen(&self) -> UdpSocket {
        self.run(|| {
            let ip = |words: &str| assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success());
            ip("link set lo up");
            ip(&format!("address add {BEHIND}/32 dev lo"));
            let socket = UdpSocket::bind((BEHIND, PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _: io::Result<()> = netns::unbind(&self.path);
    }
}

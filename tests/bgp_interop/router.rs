//! Another project's router in a namespace of its own, joined to ours by a veth pair.
//!
//! It is AS 65002 at 198.51.100.2, has 10.20.0.0/16 and fd20::/48, and peers with AS 65001 at 198.51.100.1 for both families,
//! with a hold time of 9 seconds and segments signed by [`PASSWORD`].

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vnet::sys::netns::Netns;
use vnet::sys::process::{ProcessId, Signal};

/// How long something that must happen may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// As the configurations have it.
pub(crate) const PASSWORD: &str = "correct-horse";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brand {
    Frr,
    Bird,
    GoBgp,
}

impl Brand {
    /// The program that shows by its presence that all are installed.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Frr => "/usr/lib/frr/bgpd",
            Self::Bird => "/usr/sbin/bird",
            Self::GoBgp => "/usr/bin/gobgpd",
        }
    }

    const fn configuration(self) -> &'static str {
        match self {
            Self::Frr => include_str!("frr.conf"),
            Self::Bird => include_str!("bird.conf"),
            Self::GoBgp => include_str!("gobgp.toml"),
        }
    }
}

pub(crate) struct Router {
    pub(crate) brand: Brand,
    pub(crate) ours: Netns,
    pub(crate) theirs: Netns,
    dir: TempDir,
    running: Vec<Child>,
}

impl Router {
    /// Two namespaces and a wire between them; nothing runs yet.
    pub(crate) fn new(brand: Brand) -> Self {
        let (ours, theirs) = (Netns::create().unwrap(), Netns::create().unwrap());
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("conf"), brand.configuration()).unwrap();
        let router = Self { brand, ours, theirs, dir, running: vec![] };
        // ip(8) knows a namespace by a process in it.
        let mut holder = router.command("sleep", &["60"]);
        let mut holder = router.theirs.run(|| holder.spawn().unwrap()).unwrap();
        ip(&router.ours, &format!("link add name eth0 type veth peer name eth0 netns {}", holder.id()));
        holder.kill().unwrap();
        holder.wait().unwrap();
        for (space, host) in [(&router.ours, 1), (&router.theirs, 2)] {
            ip(space, "link set dev lo up");
            ip(space, "link set dev eth0 up");
            ip(space, &format!("address add 198.51.100.{host}/24 dev eth0"));
            ip(space, &format!("address add 2001:db8::{host}/64 dev eth0 nodad"));
        }
        router
    }

    /// More of them, next to the router's.
    pub(crate) fn add_addresses(&self, addresses: &[Ipv4Addr]) {
        for address in addresses {
            ip(&self.theirs, &format!("address add {address}/24 dev eth0"));
        }
    }

    pub(crate) fn start(&mut self) {
        let root = self.dir.path().to_owned();
        let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let (conf, dir, zebra) = (at("conf"), at("."), at("zserv"));
        match self.brand {
            Brand::Frr => {
                let common = ["-S", "-P", "0", "--vty_socket", &dir, "-f", &conf];
                self.spawn("/usr/lib/frr/zebra", &[&common[..], &["-i", &at("zebra.pid"), "-z", &zebra]].concat());
                self.spawn("/usr/lib/frr/bgpd", &[&common[..], &["-i", &at("bgpd.pid"), "-z", &zebra]].concat());
            }
            Brand::Bird => self.spawn("/usr/sbin/bird", &["-f", "-c", &conf, "-s", &at("ctl"), "-P", &at("pid")]),
            Brand::GoBgp => {
                self.spawn("/usr/bin/gobgpd", &["-f", &conf, "--api-hosts", "127.0.0.1:50051", "-p"]);
                for route in ["-a ipv4 add 10.20.0.0/16", "-a ipv6 add fd20::/48 nexthop 2001:db8::2"] {
                    let add: Vec<_> = ["global", "rib"].into_iter().chain(route.split(' ')).collect();
                    self.until(|router| router.run("/usr/bin/gobgp", &add).status.success());
                }
            }
        }
    }

    /// Ends it as a service manager would: it may say good-bye.
    pub(crate) fn stop(&mut self) {
        for mut child in self.running.drain(..).rev() {
            ProcessId::of(child.id()).unwrap().signal(Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether it has learned a prefix from us.
    pub(crate) fn has(&self, prefix: &str) -> bool {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let output = match self.brand {
            Brand::Frr => {
                let show = format!("show bgp {family} unicast {prefix}");
                self.run("/usr/bin/vtysh", &["--vty_socket", self.dir.path().to_str().unwrap(), "-c", &show])
            }
            Brand::Bird => {
                let show = format!("show route {prefix} all");
                self.run("/usr/sbin/birdc", &["-s", self.path("ctl").to_str().unwrap(), &show])
            }
            Brand::GoBgp => self.run("/usr/bin/gobgp", &["global", "rib", "-a", family, prefix]),
        };
        String::from_utf8_lossy(&output.stdout).contains("65001")
    }

    pub(crate) fn until(&self, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + SOON;
        while !so(self) {
            assert!(Instant::now() < end, "{:?} does not come round: {}", self.brand, self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the programs have said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn spawn(&mut self, program: &str, arguments: &[&str]) {
        let mut command = self.command(program, arguments);
        self.running.push(self.theirs.run(|| command.spawn().unwrap()).unwrap());
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(program, arguments);
        command.stdout(Stdio::piped());
        self.theirs.run(|| command.output().unwrap()).unwrap()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let log = || fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log()).stderr(log());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ip(space: &Netns, words: &str) {
    let output = space.run(|| Command::new("ip").args(words.split(' ')).output().unwrap()).unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

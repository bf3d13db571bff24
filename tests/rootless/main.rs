//! Labs without root: the same life, inside a user namespace.
//!
//! Run by root, the test makes a TUN device node that all users may open, shows it in a private view of the file system,
//! and becomes the user `nobody` there. Run by another user, it uses the machine's own node.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use vnet::sys::process::{self, ProcessId, Signal};

const NOBODY: u32 = 65_534;
const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// An unprivileged user with a directory for its labs, and a `vnet` it can execute.
struct User {
    dir: TempDir,
    /// Whether the test runs as root and has to become another user.
    becomes: bool,
}

impl User {
    /// None, with a word on stderr, where labs without root are not possible.
    fn new() -> Option<Self> {
        let becomes = process::user() == 0;
        let dir = TempDir::new().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_vnet"), dir.path().join("vnet")).unwrap();
        for name in ["run", "dev"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.path().join("run"), Permissions::from_mode(0o700)).unwrap();
        if becomes {
            chown(dir.path().join("run"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let user = Self { dir, becomes };
        let able = user.run(&["sh", "-c", "unshare -Urn true && : <>/dev/net/tun"]);
        if !able.status.success() {
            let why = String::from_utf8_lossy(&able.stderr).into_owned();
            assert!(std::env::var("CI").is_err(), "CI runs every test, also without root: {why}");
            let _ = writeln!(std::io::stderr(), "skipped: no TUN in a user namespace: {why}");
            return None;
        }
        Some(user)
    }

    /// Runs a program as this user.
    fn run(&self, command: &[&str]) -> Output {
        self.run_with("0666", command)
    }

    /// The same with a device node of this mode.
    fn run_with(&self, mode: &str, command: &[&str]) -> Output {
        let shell = "mount -t tmpfs -o dev,mode=755 tmpfs dev && mknod -m $0 dev/tun c 10 200 \
                     && mount --bind dev/tun /dev/net/tun && exec \
                     setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all -- \"$@\"";
        let become_user = ["unshare", "-m", "sh", "-c", shell, mode];
        let words = [if self.becomes { &become_user[..] } else { &[] }, command].concat();
        let mut wrapped = Command::new(words[0]);
        wrapped.args(&words[1..]).current_dir(self.dir.path());
        wrapped.env_remove("VNET_LAB").env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        wrapped.env("VNET_ALLOW_RUN", "1");
        wrapped.output().unwrap()
    }

    fn vnet(&self, arguments: &[&str]) -> Output {
        self.run(&[&["./vnet"], arguments].concat())
    }

    fn labs(&self) -> PathBuf {
        self.dir.path().join("run/vnet")
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.vnet(&["down", "--all"]);
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_fine(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

#[test]
fn the_demo_shows_the_main_job() {
    let Some(user) = User::new() else { return };
    let demo = user.vnet(&["demo"]);
    assert_fine(&demo);
    for part in ["lab hub-spoke is up in 0.", "web -> nva -> db", "Gbit/s", "vnet explain web db", "vnet down"] {
        assert!(said(&demo).contains(part), "no `{part}` in {}", said(&demo));
    }
    let again = user.vnet(&["demo"]);
    assert_fine(&again);
    assert!(said(&again).contains("is up already") && said(&again).contains("vnet down"), "{}", said(&again));
    assert_fine(&user.vnet(&["down"]));
    assert!(!user.labs().exists());
}

/// Also once another lab runs beside it.
#[test]
fn what_a_named_demo_says_to_try_names_it() {
    let Some(user) = User::new() else { return };
    let demo = user.vnet(&["demo", "-l", "mine"]);
    assert_fine(&demo);
    let text = said(&demo);
    let commands: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("./vnet ")).collect();
    assert_eq!(commands.len(), 7, "{text}");
    assert_eq!(commands.iter().filter(|command| command.contains(" -l mine")).count(), 7, "{text}");
}

#[test]
fn nodes_are_entered_and_nothing_is_left() {
    let Some(user) = User::new() else { return };
    let topology = format!("{HUB_SPOKE}\nemulation: {{device: auto}}\n");
    fs::write(user.dir.path().join("lab.vnet.yaml"), topology).unwrap();
    // Without a name `up` takes the one topology here.
    assert_fine(&user.vnet(&["up"]));
    let status = said(&user.vnet(&["status"]));
    assert!(
        status.contains("Devices tun, the kernel carries no flows: programs in the kernel need root (CAP_BPF)\n"),
        "{status}"
    );
    let hosts = user.vnet(&["exec", "db", "--", "cat", "/etc/hosts"]);
    assert!(said(&hosts).contains("10.1.1.4 web"), "{}", said(&hosts));
    let name = user.vnet(&["exec", "db", "--", "sh", "-c", "cat /proc/sys/kernel/hostname; ls /sys/class/net; pwd"]);
    assert_eq!(said(&name), format!("db\neth0\nlo\n{}\n", user.dir.path().display()));
    assert_eq!(user.vnet(&["exec", "web", "--", "sh", "-c", "exit 3"]).status.code(), Some(3));
    let ping = user.vnet(&["exec", "web", "--", "ping", "-c1", "-W10", "db"]);
    if ping.status.code() != Some(127) || std::env::var("CI").is_ok() {
        assert_fine(&ping);
    }
    let routes = user.vnet(&["routes", "web"]);
    assert!(said(&routes).contains("VirtualAppliance"), "{}", said(&routes));
    assert_fine(&user.vnet(&["down"]));
    assert_fine(&user.vnet(&["down"]));
    assert!(!user.labs().exists());
}

#[test]
fn down_cleans_after_a_crash() {
    let Some(user) = User::new() else { return };
    let file = user.dir.path().join("lab.yaml");
    let topology = HUB_SPOKE.replace("{name: web,", "{name: web, run: [sh, -c, 'sleep 1000 & wait'],");
    fs::write(&file, &topology).unwrap();
    assert_fine(&user.vnet(&["up", "lab.yaml"]));
    // The same user's, of the same name, in another directory.
    let Some(other) = User::new() else { return };
    fs::write(other.dir.path().join("lab.yaml"), topology).unwrap();
    assert_fine(&other.vnet(&["up", "lab.yaml"]));
    let record = user.labs().join("hub-spoke/lab.json");
    let record: serde_json::Value = serde_json::from_reader(File::open(&record).unwrap()).unwrap();
    let daemon: ProcessId = serde_json::from_value(record["daemon"].clone()).unwrap();
    assert!(daemon.signal(Signal::KILL).unwrap());
    assert!(daemon.wait_end(Duration::from_secs(10)).unwrap());
    let down = user.vnet(&["down"]);
    assert_fine(&down);
    assert!(said(&down).contains("crashed"), "{}", said(&down));
    assert!(!user.labs().exists());
    assert!(!is_running("sleep", user.dir.path()));
    assert!(is_running("sleep", other.dir.path()));
    assert_fine(&user.vnet(&["down"]));
}

#[test]
fn a_files_tests_pass_and_leave_nothing() {
    let Some(user) = User::new() else { return };
    fs::write(user.dir.path().join("lab.yaml"), HUB_SPOKE).unwrap();
    let output = user.vnet(&["test", "lab.yaml"]);
    assert_fine(&output);
    assert!(said(&output).contains("4 passed, 0 failed, in the model and with real packets"), "{}", said(&output));
    assert!(!user.labs().exists());

    // In a lab that runs already, too; it stays.
    assert_fine(&user.vnet(&["up", "lab.yaml"]));
    assert_fine(&user.vnet(&["test"]));
    assert_fine(&user.vnet(&["exec", "web", "--", "true"]));

    let output = user.run_with("0600", &["./vnet", "test", "lab.yaml"]);
    assert_fine(&output);
    assert_fine(&user.vnet(&["down"]));
    let output = user.run_with("0600", &["./vnet", "test", "lab.yaml"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
}

#[test]
fn without_the_device_it_says_what_to_do() {
    let Some(user) = User::new() else { return };
    if !user.becomes {
        return; // The machine's own node is open to all users.
    }
    fs::write(user.dir.path().join("lab.yaml"), HUB_SPOKE).unwrap();
    let denied = user.run_with("0600", &["./vnet", "up", "lab.yaml"]);
    assert_eq!(denied.status.code(), Some(4), "{}", said(&denied));
    assert!(said(&denied).contains("chmod 0666 /dev/net/tun"), "{}", said(&denied));
    assert!(!user.labs().exists());
}

/// Whether a program runs in this working directory.
fn is_running(program: &str, dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = processes.filter(|process| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let at = fs::read_link(process.join("cwd"));
        name.trim() == program && at.is_ok_and(|at| at.as_os_str() == OsStr::new(dir))
    });
    found.next().is_some()
}

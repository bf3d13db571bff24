//! What a program of a file sees and may do: processes of its own, files that it may read, few rights.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use vnet::sys::mount;
use vnet::sys::pid_namespace::{self, PidNamespace};
use vnet::sys::process::ProcessId;
use vnet::sys::sandbox::confine;

use super::{inside, run};

/// First processes of namespaces are children of this process, whichever test has made them.
static ALONE: Mutex<()> = Mutex::new(());

/// Also those that have ended and are not reaped.
fn first_processes() -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_first = |pid: &u32| {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        // `1234 (vnet-init) S 1233 …`: proc_pid_stat(5).
        let (name, rest) = stat.split_once(") ").unwrap();
        let parent = rest.split(' ').nth(1).unwrap().parse();
        name.ends_with("(vnet-init") && parent == Ok(std::process::id())
    };
    pids.filter(is_first).collect()
}

/// Reaps until no first process is left.
fn reap_all() {
    let began = Instant::now();
    while !first_processes().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", first_processes());
        pid_namespace::reap();
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_sees_its_own_processes_and_they_end_together() {
    let _alone = ALONE.lock();
    inside(|_| {
        mount::private_view().unwrap();
        let processes = PidNamespace::begin().unwrap();
        assert_eq!(run("cat /proc/1/comm"), "vnet-init\n");
        assert_eq!(run("ls /proc/1/fd"), "0\n", "nothing of this program stays open there");
        let shown: Vec<u32> = run("ls /proc").lines().filter_map(|name| name.parse().ok()).collect();
        assert!(shown.len() == 2 && shown.contains(&1), "the first, and `ls` itself: {shown:?}");
        // What a program leaves behind goes on, and ends with the namespace.
        let mut sleeper = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"]).spawn().unwrap();
        processes.end();
        assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    });
    reap_all();
}

/// The first process waits for orphans, and no longer.
#[test]
fn an_empty_namespace_ends_by_itself() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("late");
    let mut made = false;
    inside(|_| {
        mount::private_view().unwrap();
        let processes = PidNamespace::begin().unwrap();
        let script = format!("(sleep 0.3; echo late > {}) &", file.display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        drop(processes);
        made = true;
    });
    if !made {
        return;
    }
    let first = first_processes().pop_first().expect("it waits for the orphan");
    let first = ProcessId::of(first).unwrap();
    pid_namespace::reap();
    assert!(first.is_alive() || file.exists(), "an orphan runs in it");
    reap_all();
    assert_eq!(fs::read_to_string(file).unwrap(), "late\n");
}

#[test]
fn a_confined_program_reads_what_it_may_and_writes_to_its_own() {
    let (kept, hidden) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [&kept, &hidden] {
        fs::write(directory.path().join("file"), "text").unwrap();
    }
    let scope = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::Signal);
    // Linux 6.12 and later keep signals from others.
    let signals = if scope.is_ok() { "no" } else { "yes" };
    let one = hidden.path().join("one");
    fs::write(&one, "one").unwrap();
    inside(|_| {
        mount::private_view().unwrap();
        confine(&[kept.path(), &one, Path::new("/etc/hostname"), Path::new("/tmp")]).unwrap();
        let says = |script: &str| {
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let tries = |script: &str| says(&format!("{{ {script}; }} > /dev/null 2>&1 && echo yes || echo no"));
        assert_eq!(fs::read_to_string(kept.path().join("file")).unwrap(), "text");
        assert_eq!(fs::read_to_string(&one).unwrap(), "one");
        for (script, works) in [
            (format!("cat {}/file", hidden.path().display()), "no"),
            (format!("echo x > {}/new", kept.path().display()), "no"),
            (format!("echo x > {}", one.display()), "no"),
            ("echo x > /etc/vnet-test".to_owned(), "no"),
            ("echo x > /proc/sys/kernel/domainname".to_owned(), "no"),
            ("echo 64 > /proc/sys/net/ipv4/ip_default_ttl".to_owned(), "yes"),
            (
                "echo x > /tmp/own && echo x > /run/own && echo x > /var/lib/own && echo x > /dev/shm/own".to_owned(),
                "yes",
            ),
            ("echo x > /dev/null && head -c 1 /dev/urandom && head -c 1 /dev/zero".to_owned(), "yes"),
            ("ip link add br0 type bridge".to_owned(), "yes"),
            ("mount -t tmpfs none /mnt".to_owned(), "no"),
            ("mknod /tmp/disk b 8 0".to_owned(), "no"),
            ("chown 1 /tmp/own".to_owned(), "yes"),
            (format!("kill -0 {}", std::process::id()), signals),
            ("sleep 100 & kill $!".to_owned(), "yes"),
        ] {
            assert_eq!(tries(&script), works, "{script}");
        }
        let devices = "fd full net null ptmx pts random shm stderr stdin stdout tty urandom zero";
        let there: Vec<_> =
            devices.split(' ').filter(|name| *name != "net" || Path::new("/dev/net/tun").exists()).collect();
        assert_eq!(says("ls /dev").split_whitespace().collect::<Vec<_>>(), there);
        let status = says("cat /proc/self/status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
        // CHOWN, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN, NET_RAW.
        assert_eq!(field("CapBnd:"), format!("{:016x}", 1 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 12 | 1 << 13));
    });
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 1);
}

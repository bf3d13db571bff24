//! The sandbox of a file's programs: ways out that fail, what still works inside, and that `sandbox: none` has none of it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};
use vnet::sys::caps::CapabilitySet;
use vnet::sys::netns;
use vnet::sys::process::{self, ProcessId, Signal};

use crate::lab::{Lab, eventually, has_program, permitted};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// Ways out. `$OUT` is a directory outside, with a file, and with `private` of another user. `$DAEMON` is the process that
/// runs the lab, `$TEMP` and `$LASTING` are files in `/tmp` and `/var/tmp`, `$KEYCTL` is a system call's number, and `$IPC`
/// the namespace of messages outside.
const WAYS_OUT: [&str; 48] = [
    "touch $OUT/new",
    "echo x >> $OUT/file",
    "truncate -s 0 $OUT/file",
    "rm $OUT/file",
    "mv $OUT/file $OUT/moved",
    "chmod 777 $OUT/file",
    "chown 1 $OUT/file",
    "ln $OUT/file $OUT/linked",
    "ln -s /etc $OUT/etc",
    "mkdir $OUT/directory",
    "mkfifo $OUT/pipe",
    "ln -s $OUT /tmp/out && touch /tmp/out/new",
    "touch beside",
    "cp tries.sh copy.sh",
    "touch /proc/self/root$OUT/new",
    "touch /proc/1/root$OUT/new",
    "ls /proc/$DAEMON/root/",
    "readlink /proc/$DAEMON/fd/0",
    "cat /proc/$DAEMON/environ",
    "head -c1 /proc/$DAEMON/mem",
    "cat /proc/1/environ",
    "test -e $TEMP",
    "ls /run/vnet",
    "ls /var/lib/dpkg",
    "ip netns exec $LAB-db true",
    "nsenter --net=/proc/$DAEMON/ns/net true",
    "nsenter --mount=/proc/1/ns/mnt true",
    "unshare --mount true",
    "unshare --net true",
    "mount -o remount,bind,rw /",
    "mount -t tmpfs none /mnt",
    "mount --bind /tmp $OUT",
    "umount -l /run",
    "unshare -Urm mount -o remount,bind,rw /",
    "unshare -Urm touch $OUT/new",
    "mknod /tmp/disk b 8 0",
    "ls /dev | grep -E '^(vd|sd|nvme|mem|kmsg|loop)'",
    "kill -0 $DAEMON",
    "kill -0 1",
    "chroot / true",
    "cat $OUT/private",
    "test -e $LASTING",
    "test $(readlink /proc/self/ns/ipc) = $IPC",
    "python3 -c 'import ctypes, os; exit(ctypes.CDLL(None).syscall(int(os.environ[\"KEYCTL\"]), 0, -3, 1) < 0)'",
    "setsid -w python3 -c 'import fcntl, pty; s = pty.openpty()[1]; fcntl.ioctl(s, 0x540e, 0); fcntl.ioctl(s, 0x5412, b\"x\")'",
    "hostname other",
    "echo 60 > /proc/sys/vm/swappiness",
    "echo h > /proc/sysrq-trigger",
];

/// Those that a program sees.
const DEVICES: [&str; 7] =
    ["/dev/full", "/dev/net/tun", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// The owner of `private`.
const ANOTHER_USER: u32 = 65534;

/// What programs do.
const INSIDE: [&str; 14] = [
    "echo x > /tmp/new",
    "echo x > /run/new",
    "echo x > /var/lib/new",
    "echo x > /dev/shm/new",
    "echo x > /dev/null",
    "head -c1 /dev/urandom",
    "cat tries.sh",
    "grep -w db /etc/hosts",
    "ip address add 192.0.2.1/32 dev lo",
    "ip route add 192.0.2.8/29 dev eth0",
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "ping -c1 db",
    "sleep 100 & kill $!",
    "setpriv --reuid 65534 --clear-groups true",
];

/// Of the ways out, those that change nothing where they succeed.
const HARMLESS: [&str; 13] = [
    "touch $OUT/new",
    "touch beside",
    "cat /proc/$DAEMON/environ",
    "test -e $TEMP",
    "ls /run/vnet",
    "unshare --mount true",
    "kill -0 $DAEMON",
    "ip netns exec $LAB-db true",
    "cat $OUT/private",
    "test -e $LASTING",
    "test $(readlink /proc/self/ns/ipc) = $IPC",
    "python3 -c 'import ctypes, os; exit(ctypes.CDLL(None).syscall(int(os.environ[\"KEYCTL\"]), 0, -3, 1) < 0)'",
    "setsid -w python3 -c 'import fcntl, pty; s = pty.openpty()[1]; fcntl.ioctl(s, 0x540e, 0); fcntl.ioctl(s, 0x5412, b\"x\")'",
];

/// The lines that a machine's program could run, of these. None where no lab can be made.
fn done(tries: &[&str], sandbox: &str) -> Option<Vec<String>> {
    if !permitted() {
        return None;
    }
    let web = format!("{{name: web, sandbox: {sandbox}, run: [sh, tries.sh],");
    let lab = Lab::prepared(&HUB_SPOKE.replace("{name: web,", &web));
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [temp, lasting] = ["/tmp", "/var/tmp"].map(|directory| NamedTempFile::new_in(directory).unwrap());
    for name in ["file", "private"] {
        fs::write(out.path().join(name), "text").unwrap();
    }
    fs::set_permissions(out.path().join("private"), Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(out.path().join("private"), Some(ANOTHER_USER), None).unwrap();
    let (at, temp, lasting) = (out.path().display(), temp.path().display(), lasting.path().display());
    let ipc = fs::read_link("/proc/self/ns/ipc").unwrap();
    let (name, keyctl, ipc) = (&lab.name, libc::SYS_keyctl, ipc.display());
    let mut script = format!("export OUT={at} TEMP={temp} LASTING={lasting} LAB={name} KEYCTL={keyctl} IPC={ipc}\n");
    // A program knows the numbers of its own processes alone.
    script += "until test -s daemon; do sleep 0.01; done; export DAEMON=$(cat daemon)\n";
    script += "try() { if sh -c \"$1\" >/tmp/said.$$ 2>&1; then echo \"$1\"; fi; }\n";
    for line in tries {
        let line = line.replace('\'', "'\\''");
        script.extend(["try '", &line, "'\n"]);
    }
    fs::write(lab.file.with_file_name("tries.sh"), script + "rm -f /tmp/said.$$\necho end\n").unwrap();
    assert!(lab.start().status.success());
    let pid = lab.file.with_file_name("pid");
    fs::write(&pid, lab.data(&["status"])["pid"].to_string()).unwrap();
    fs::rename(&pid, pid.with_file_name("daemon")).unwrap();
    let log = PathBuf::from("/run/vnet").join(&lab.name).join("programs/web.log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    eventually("all is tried", || said().ends_with("end\n"));
    if sandbox == "machine" {
        assert_eq!(fs::read_to_string(out.path().join("file")).unwrap(), "text");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 2);
    }
    Some(said().lines().filter(|line| *line != "end").map(str::to_owned).collect())
}

#[test]
fn no_way_out_of_the_sandbox_works() {
    assert_eq!(done(&WAYS_OUT, "machine").unwrap_or_default(), [""; 0]);
}

#[test]
fn what_programs_do_works_inside() {
    let Some(done) = done(&INSIDE, "machine") else { return };
    assert_eq!(done, INSIDE);
}

#[test]
fn without_a_sandbox_the_same_ways_are_open() {
    let Some(done) = done(&HARMLESS, "none") else { return };
    assert_eq!(done, HARMLESS);
}

#[test]
fn servers_run_in_the_sandbox_also_those_that_a_change_brings() {
    if !permitted() || !["bird", "iperf3", "python3"].into_iter().all(has_program) {
        return;
    }
    let with = |program: &str| HUB_SPOKE.replace("{name: db, network", &format!("{{name: db, run: {program}, network"));
    let bird = "'echo \"router id 10.2.1.10; protocol device {} protocol bgp {local 10.2.1.10 as 65001; \
                neighbor 10.1.1.4 as 65002; multihop; ipv4 {import none; export none;};}\" > /run/conf; \
                exec bird -f -c /run/conf -s /run/ctl'";
    let servers = [
        ("[iperf3, -s]".to_owned(), 5201),
        (format!("[sh, -c, {bird}]"), 179),
        ("[python3, -m, http.server, '80']".to_owned(), 80),
    ];
    let mut running: Option<Lab> = None;
    for (program, port) in servers {
        match &running {
            Some(lab) => drop(lab.apply(&with(&program))),
            None => running = Lab::up(&with(&program)),
        }
        let Some(lab) = &running else { return };
        let answers = || lab.inside("db", || TcpStream::connect(("10.2.1.10", port)).is_ok());
        eventually(&format!("{program} answers"), answers);
        let status = lab.data(&["status"]);
        assert_eq!(status["programs"][0]["ended"], serde_json::Value::Null, "{status}");
    }
    assert!(!Path::new("/run/conf").exists());
}

/// The processes in a machine's network.
fn inside(lab: &Lab, machine: &str) -> impl Iterator<Item = ProcessId> {
    let network = netns::identity(&PathBuf::from(format!("/run/netns/{}-{machine}", lab.name))).unwrap();
    let of = |id: &ProcessId| netns::identity(&PathBuf::from(format!("/proc/{}/ns/net", id.pid)));
    process::running().map(|listed| listed.id).filter(move |id| of(id) == Some(network))
}

/// The `sleep` in a machine, and process 1 beside it, once there is nothing else.
fn processes(lab: &Lab, machine: &str) -> (Vec<ProcessId>, Vec<ProcessId>) {
    let sleeps = |id: &ProcessId| process::command(id.pid).starts_with(b"sleep");
    let parted = || inside(lab, machine).partition::<Vec<_>, _>(sleeps);
    eventually("process 1 and `sleep` are left", || {
        let (programs, others) = parted();
        (programs.len(), others.len()) == (1, 1)
    });
    parted()
}

/// Process 1 of a program's processes ends with the last of them, whichever that is and whether the daemon lives or not; by
/// itself it looks only twice a minute.
#[test]
fn the_first_process_of_a_program_ends_with_the_last() {
    let ends =
        [("[sleep, infinity]", false), ("[sh, -c, 'sleep infinity & exit 0']", false), ("[sleep, infinity]", true)];
    for (program, crashed) in ends {
        let machine = format!("{{name: web, run: {program},");
        let Some(lab) = Lab::up(&HUB_SPOKE.replace("{name: web,", &machine)) else { return };
        let (sleeps, first) = processes(&lab, "web");
        if crashed {
            lab.crash();
            // As `down` does.
            assert!(first[0].signal(Signal::TERM).unwrap());
        }
        assert!(sleeps[0].signal(Signal::KILL).unwrap());
        eventually("process 1 ends", || inside(&lab, "web").next().is_none());
    }
}

/// The lines of a file in `/proc` of a process, by what is before the colon.
fn status(id: ProcessId) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{}/status", id.pid)).unwrap();
    text.lines().filter_map(|line| line.split_once(":\t")).map(|(key, value)| (key.into(), value.into())).collect()
}

/// Where a process may write, with how much fits there, but for single devices. No program elsewhere runs as its owner.
fn writable(id: ProcessId) -> BTreeMap<String, String> {
    let mut writable = BTreeMap::new();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", id.pid)).unwrap();
    // Names of namespaces come and go with other labs, below what covers /run. They hold no files.
    for line in mounts.lines().filter(|line| !line.contains(" - nsfs ")) {
        // proc_pid_mountinfo(5): the place and its options are fields 5 and 6, those of the file system come last.
        let fields: Vec<_> = line.split(' ').collect();
        let (place, options, whole) = (fields[4], fields[5], fields[fields.len() - 1]);
        let size = whole.split(',').find_map(|option| option.strip_prefix("size=")).unwrap_or_default();
        let has = |wanted| options.split(',').any(|option| option == wanted);
        if has("ro") {
            assert!(has("nosuid"), "{line}");
        } else if !DEVICES.contains(&place) {
            writable.insert(place.to_owned(), size.to_owned());
        }
    }
    writable
}

#[test]
fn a_program_has_few_rights_and_few_places_to_write() {
    let web = "{name: web, run: [sleep, infinity],";
    let Some(lab) = Lab::up(&HUB_SPOKE.replace("{name: web,", web)) else { return };
    let (programs, first) = processes(&lab, "web");
    let program = status(programs[0]);
    let kept = CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_RAW
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::CHOWN;
    for (set, wanted) in [("CapBnd", kept), ("CapPrm", kept), ("CapEff", kept)] {
        assert_eq!(program[set], format!("{:016x}", wanted.bits()), "{set}");
    }
    let no_more = ["CapInh", "CapAmb", "NoNewPrivs", "Seccomp"].map(|key| program[key].trim_start_matches('0'));
    assert_eq!(no_more, ["", "", "1", "2"]);
    let open = fs::read_dir(format!("/proc/{}/fd", first[0].pid)).unwrap();
    assert_eq!(open.count(), 1, "process 1 has a pipe and nothing of the daemon");
    for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        let is_own = of(&programs[0].pid.to_string()) != of("self");
        assert_eq!(is_own, !["cgroup", "user"].contains(&namespace), "{namespace}");
    }
    let own = ["/dev/shm", "/run", "/tmp", "/var/lib", "/var/tmp"].map(|place| (place, "262144k"));
    let kernel = [("/dev", "1024k"), ("/dev/pts", ""), ("/proc/sys/net", "")];
    let expected = own.into_iter().chain(kernel).map(|(place, size)| (place.to_owned(), size.to_owned()));
    assert_eq!(writable(programs[0]), expected.collect());
}

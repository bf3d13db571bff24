//! A lab's directory: full, deleted, damaged, open to others, written to by another program.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, Uid, kill_process};
use rustix::thread::set_thread_res_uid;
use vnet::sys::mount::private_view;
use vnet::sys::netns::{self, Netns};
use vnet::sys::process::ProcessId;

use crate::lab::{ALLOW_RUN, Lab, SOON, eventually, permitted, stderr, stdout, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

fn directory(lab: &Lab) -> PathBuf {
    Path::new("/run/vnet").join(&lab.name)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn with_machine(name: &str) -> String {
    HUB_SPOKE.replace(
        "virtualMachines:\n",
        &format!("virtualMachines:\n  - {{name: {name}, networkInterfaces: [{{subnet: spoke1/app}}]}}\n"),
    )
}

/// With another name for `web`.
fn without_tests(web: &str) -> String {
    HUB_SPOKE.split("\ntests:").next().unwrap().replace("name: web", &format!("name: {web}")) + "\n"
}

fn daemon(lab: &Lab) -> ProcessId {
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    ProcessId::of(u32::try_from(pid).unwrap()).unwrap()
}

fn nothing_left(lab: &Lab) {
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
}

fn start_with_umask(lab: &Lab, umask: &str) -> Output {
    let script = format!("umask {umask}; exec \"$@\"");
    let mut up = Command::new("sh");
    up.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_vnet"), "up"]).arg(&lab.file).env_remove("VNET_LAB");
    up.env(ALLOW_RUN, "1").output().unwrap()
}

/// A program that does not belong to the lab.
fn stranger() -> Child {
    Command::new("sleep").arg("1000").process_group(0).spawn().unwrap()
}

#[test]
fn a_full_disk_ends_no_lab_and_apply_says_so() {
    if !permitted() {
        return;
    }
    // What is mounted on a directory goes with it, and other tests' last lab takes it along unless it is used.
    let keep = Path::new("/run/vnet").join(crate::lab::unique("keep"));
    fs::create_dir_all(&keep).unwrap();
    // In a view of its own, where the directory of all labs is on a small disk.
    let test = || {
        private_view().unwrap();
        mount("tmpfs", "/run/vnet", "tmpfs", MountFlags::empty(), Some(c"size=256k,mode=755")).unwrap();
        let lab = Lab::prepared(HUB_SPOKE);
        assert!(lab.start().status.success());
        let filler = fs::write("/run/vnet/filler", vec![7; 1 << 20]);
        assert!(filler.is_err(), "the disk is full");
        let hosts = fs::read_to_string(directory(&lab).join("hosts")).unwrap();

        // One that only changes tables, one that makes a machine.
        let mended = HUB_SPOKE.replace("10.0.0.0/8", "10.0.0.0/9");
        assert_ne!(mended, HUB_SPOKE);
        for topology in [mended, with_machine("new")] {
            lab.write(&topology);
            let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
            assert!(stderr(&output).contains("No space left on device"), "{}{}", stdout(&output), stderr(&output));
            assert_ne!(output.status.code(), Some(0));
            lab.assert_ping("web", "10.2.1.10");
        }
        // Its own log is on that disk too.
        kill_process(Pid::from_raw(daemon(&lab).pid.cast_signed()).unwrap(), Signal::HUP).unwrap();
        lab.assert_ping("web", "10.2.1.10");
        let now = fs::read_to_string(directory(&lab).join("hosts")).unwrap();
        assert!(hosts.lines().all(|line| now.lines().any(|other| other == line)), "what cannot grow is whole: {now}");

        fs::remove_file("/run/vnet/filler").unwrap();
        let is_written = |file: &str, what: &str| {
            fs::read_to_string(directory(&lab).join(file)).is_ok_and(|text| text.contains(what))
        };
        eventually("what was owed is written", || {
            is_written("applied.yaml", "10.0.0.0/9") || is_written("lab.json", "new")
        });
        lab.apply(&with_machine("newer"));
        lab.assert_ping("newer", "10.2.1.10");
        assert!(lab.down().status.success());
        nothing_left(&lab);
    };
    let ended = thread::spawn(test).join();
    fs::remove_dir(keep).unwrap();
    ended.unwrap();
}

#[test]
fn a_log_without_a_reader_ends_no_daemon() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    let mut run = vnet();
    let mut run = run.arg("run").arg(&lab.file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
    // The pipe is closed, then a guest causes a line by deleting its device.
    drop(run.stderr.take());
    let gone = lab.exec("db", &["ip", "link", "delete", "eth0"]);
    assert!(gone.status.success(), "{}", stderr(&gone));
    eventually("the device is let go of", || {
        let events = lab.data(&["events"]);
        events.as_array().unwrap().iter().any(|event| event["event"] == "DeviceLost")
    });
    lab.assert_ping("web", "10.0.1.4");
    assert_eq!(run.try_wait().unwrap(), None);
    assert!(lab.down().status.success());
    assert!(run.wait().unwrap().success(), "it ended as it was told to");
    nothing_left(&lab);
}

#[test]
fn a_lab_is_private_to_its_user_under_any_umask() {
    if !permitted() {
        return;
    }
    for umask in ["0", "0077"] {
        let logs = "flowLogs: [{name: log, targetResourceId: virtualNetworks/hub, storagePath: logs}]\n";
        let file = HUB_SPOKE.replace("{name: web,", "{name: web, run: [sleep, '1000'],") + logs;
        let lab = Lab::prepared(&file);
        let output = start_with_umask(&lab, umask);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(mode(&directory(&lab)), 0o700);
        for entry in fs::read_dir(directory(&lab)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let expected = match name {
                "programs" => 0o700,
                // Shown to every user in a guest.
                "hosts" => 0o644,
                _ if name.starts_with("resolv.conf") => 0o644,
                _ => 0o600,
            };
            assert_eq!(mode(&path), expected, "{} with umask {umask}", path.display());
        }
        assert_eq!(mode(&directory(&lab).join("programs/web.log")), 0o600);
        let shown = Path::new("/etc/netns").join(format!("{}-web", lab.name));
        assert_eq!((mode(&shown), mode(&shown.join("hosts"))), (0o755, 0o644), "umask {umask}");
        assert_eq!(mode(Path::new("/run/netns")) & 0o022, 0);
        // What the lab writes for its user, only they may change.
        lab.assert_ping("web", "10.2.1.10");
        assert!(lab.down().status.success());
        let logs = below(&lab.file.with_file_name("logs"));
        assert!(logs.iter().any(|path| path.ends_with("PT1H.json")), "{logs:?}");
        for path in logs {
            assert_eq!(mode(&path) & 0o022, 0, "{} with umask {umask}", path.display());
        }
    }
}

/// All directories and files below one, itself among them.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        found.extend(entries.flat_map(|entry| below(&entry.unwrap().path())));
    }
    found
}

/// A lab of a user with a narrow umask does not keep other users from the directory of all labs, and of namespaces.
#[test]
fn the_directories_of_all_labs_have_their_modes_under_any_umask() {
    if !permitted() {
        return;
    }
    // In a view of its own, where no lab has made them before.
    let test = || {
        private_view().unwrap();
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), Some(c"mode=755")).unwrap();
        let lab = Lab::prepared(HUB_SPOKE);
        let output = start_with_umask(&lab, "0077");
        assert!(output.status.success(), "{}", stderr(&output));
        for shown in ["/run/vnet", "/run/netns"] {
            assert_eq!(mode(Path::new(shown)), 0o755, "{shown}");
        }
    };
    thread::spawn(test).join().unwrap();
}

/// A request of another user on the socket is refused.
#[test]
fn only_the_labs_user_is_answered() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let socket = directory(&lab).join("control.sock");
    fs::set_permissions(directory(&lab), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let ask = |user: u32| {
        let nobody = Uid::from_raw(user);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = std::io::Write::write_all(&mut stream, b"{\"version\":0,\"body\":\"status\"}\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer.len()
    };
    thread::scope(|scope| {
        let [root, other] = [0, 65_534].map(|user| scope.spawn(move || ask(user)).join().unwrap());
        assert!(root > 0, "root is told what is wrong with the question");
        assert_eq!(other, 0, "another user gets no answer");
    });
    assert!(lab.vnet(&["status"]).status.success());
}

#[test]
fn hostile_lines_in_a_journal_remove_nothing() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.crash();
    let theirs = tempfile::tempdir().unwrap();
    let (file, dir) = (theirs.path().join("hosts"), theirs.path().join("empty"));
    fs::write(&file, "theirs").unwrap();
    fs::create_dir(&dir).unwrap();
    let mut process = stranger();
    let id = ProcessId::of(process.id()).unwrap();
    let namespace = netns::name_path(&crate::lab::unique("x"));
    Netns::create().unwrap().bind(&namespace).unwrap();
    let around = format!("/etc/netns/{}-web/../../hostname", lab.name);
    let hostname = fs::read("/etc/hostname").ok();
    let lines = [
        format!("{{\"making\":{{\"file\":\"{}\"}}}}", file.display()),
        format!("{{\"making\":{{\"file\":\"{around}\"}}}}"),
        format!("{{\"making\":{{\"directory\":\"{}\"}}}}", dir.display()),
        format!("{{\"making\":{{\"namespace\":\"{}\"}}}}", namespace.display()),
        format!("{{\"making\":{{\"program\":{{\"pid\":{},\"start_time\":{}}}}}}}", id.pid, id.start_time),
    ];
    let journal = directory(&lab).join("journal.json");
    let text = fs::read_to_string(&journal).unwrap() + &lines.join("\n") + "\n";
    fs::write(&journal, text).unwrap();
    let down = lab.down();
    let left = (file.exists(), dir.exists(), netns::identity(&namespace).is_some(), process.try_wait().unwrap());
    netns::unbind(&namespace).unwrap();
    let _ = process.kill();
    process.wait().unwrap();
    assert_eq!(left, (true, true, true, None));
    assert_eq!(fs::read("/etc/hostname").ok(), hostname);
    assert_eq!(down.status.code(), Some(3), "{}", stderr(&down));
    assert!(stderr(&down).contains(&format!("{} is not the lab's and stays", file.display())), "{}", stderr(&down));
    nothing_left(&lab);
}

/// Its namespaces are called as this lab's own could be: the mark in each says whose it is.
#[test]
fn a_lab_with_a_longer_name_keeps_its_namespaces() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let longer = format!("{}-a", lab.name);
    let run = |words: &[&str]| assert!(vnet().args(words).status().unwrap().success(), "{words:?}");
    let named = lab.named(HUB_SPOKE).replacen(&lab.name, &longer, 1);
    let file = lab.file.with_file_name("longer.yaml");
    fs::write(&file, named).unwrap();
    run(&["up", file.to_str().unwrap()]);
    let namespace = netns::name_path(&format!("{longer}-web"));
    lab.crash();
    let journal = directory(&lab).join("journal.json");
    let line = format!("{{\"making\":{{\"namespace\":\"{}\"}}}}\n", namespace.display());
    fs::write(&journal, fs::read_to_string(&journal).unwrap() + &line).unwrap();
    let down = lab.down();
    let is_there = netns::identity(&namespace).is_some();
    run(&["-l", &longer, "down"]);
    assert!(is_there && stderr(&down).contains("is not the lab's and stays"), "{}", stderr(&down));
    assert!(netns::identity(&namespace).is_none());
    nothing_left(&lab);
}

/// What others may have written is not read at all; what the lab made is found by its mark.
#[test]
fn state_files_that_others_may_write_to_are_ignored() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.crash();
    let mut process = stranger();
    let id = ProcessId::of(process.id()).unwrap();
    let record = directory(&lab).join("lab.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["daemon"] = serde_json::json!({"pid": id.pid, "start_time": id.start_time});
    fs::write(&record, value.to_string()).unwrap();
    for file in ["lab.json", "journal.json"] {
        fs::set_permissions(directory(&lab).join(file), Permissions::from_mode(0o666)).unwrap();
    }
    let down = lab.down();
    let ended = process.try_wait().unwrap();
    let _ = process.kill();
    process.wait().unwrap();
    assert_eq!(ended, None, "the record named a stranger");
    assert_eq!(down.status.code(), Some(3), "{}", stderr(&down));
    assert!(stderr(&down).contains("journal.json is ignored"), "{}", stderr(&down));
    nothing_left(&lab);
}

#[test]
fn a_daemon_whose_directory_is_deleted_ends() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let daemon = daemon(&lab);
    fs::remove_dir_all(directory(&lab)).unwrap();
    assert!(daemon.wait_end(SOON).unwrap(), "it can no longer be reached");
    nothing_left(&lab);
    assert!(lab.start().status.success());
    lab.assert_ping("web", "10.2.1.10");
}

#[test]
fn down_finds_a_lab_whose_directory_is_deleted() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    // At once, and when no process of the lab is left.
    let first = daemon(&lab);
    fs::remove_dir_all(directory(&lab)).unwrap();
    let down = lab.down();
    assert!(down.status.success() && stdout(&down).contains("is down"), "{}{}", stdout(&down), stderr(&down));
    assert!(!first.is_alive());
    nothing_left(&lab);

    assert!(lab.start().status.success());
    let other = Lab::up(HUB_SPOKE).unwrap();
    lab.crash();
    fs::remove_dir_all(directory(&lab)).unwrap();
    let down = lab.down();
    assert!(down.status.success() && stdout(&down).contains("had crashed"), "{}{}", stdout(&down), stderr(&down));
    nothing_left(&lab);
    other.assert_ping("web", "10.2.1.10");
    assert!(stderr(&lab.down()).contains("does not run"));
}

#[test]
fn damaged_state_files_prevent_neither_up_nor_down() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    let damage = |text: &[u8]| {
        for file in ["lab.json", "peerings.json"] {
            fs::write(directory(&lab).join(file), text).unwrap();
        }
        let journal = directory(&lab).join("journal.json");
        let whole = fs::read(&journal).unwrap();
        fs::write(&journal, [&whole[..whole.len() / 2], text].concat()).unwrap();
        fs::create_dir_all(directory(&lab).join("stray/deep")).unwrap();
        fs::create_dir_all("/run/vnet/stray").unwrap();
    };
    for text in [&b"\xff\xfe{"[..], b"{\"lab\": 7}", b""] {
        // Killed, damaged, started anew; killed, damaged, ended; alive, damaged, ended.
        assert!(lab.start().status.success());
        lab.crash();
        damage(text);
        let up = lab.start();
        assert!(up.status.success(), "{}", stderr(&up));
        lab.assert_ping("web", "10.2.1.10");
        lab.crash();
        damage(text);
        assert!(lab.down().status.success());
        nothing_left(&lab);
        assert!(lab.start().status.success());
        let daemon = daemon(&lab);
        damage(text);
        let list = stdout(&vnet().arg("ls").output().unwrap());
        let row = list.lines().find(|line| line.starts_with(&lab.name)).unwrap().to_owned();
        assert!(row.contains("running") && !list.contains("stray"), "{list}");
        assert!(lab.down().status.success());
        assert!(!daemon.is_alive());
        nothing_left(&lab);
    }
    let _ = fs::remove_dir("/run/vnet/stray");
}

#[test]
fn after_a_crash_all_commands_report_the_same() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.crash();
    let list = stdout(&vnet().arg("ls").output().unwrap());
    assert!(list.lines().any(|line| line.starts_with(&lab.name) && line.contains("crashed")), "{list}");
    let status = lab.vnet(&["status"]);
    assert_eq!(status.status.code(), Some(5));
    assert!(stderr(&status).contains(&format!("lab {} has crashed", lab.name)), "{}", stderr(&status));
    let up = lab.start();
    assert!(up.status.success());
    assert!(stderr(&up).contains(&format!("lab {} had crashed", lab.name)), "{}", stderr(&up));
    assert!(lab.vnet(&["status"]).status.success());
}

/// A program that leaves its process group, one that ignores SIGTERM, and one that `exec` started.
#[test]
fn down_ends_every_process_in_the_labs_namespaces() {
    if !permitted() {
        return;
    }
    let daemonizes = "setsid sleep 1000 & (trap '' TERM HUP; while :; do sleep 1; done) & wait";
    let topology = HUB_SPOKE.replace("{name: web,", &format!("{{name: web, run: [sh, -c, \"{daemonizes}\"],"));
    let inside = |lab: &Lab, node: &str| -> Vec<ProcessId> {
        let place = netns::identity(&netns::name_path(&format!("{}-{node}", lab.name)));
        let is_inside = |id: &ProcessId| netns::identity(Path::new(&format!("/proc/{}/ns/net", id.pid))) == place;
        vnet::sys::process::running().map(|listed| listed.id).filter(is_inside).collect()
    };
    for crashes in [false, true] {
        let lab = Lab::up(&topology).unwrap();
        let mut entered = vnet();
        let entered = entered.args(["-l", &lab.name, "exec", "db", "--", "sleep", "1000"]).spawn();
        let mut entered = entered.unwrap();
        eventually("all run", || inside(&lab, "web").len() >= 4 && inside(&lab, "db").len() == 1);
        let all = [inside(&lab, "web"), inside(&lab, "db")].concat();
        if crashes {
            lab.crash();
        }
        let down = lab.down();
        let alive = all.iter().filter(|process| process.is_alive()).count();
        let _ = entered.kill();
        entered.wait().unwrap();
        assert_eq!(alive, 0, "of {} processes, after a crash: {crashes}", all.len());
        assert!(down.status.success(), "{}", stderr(&down));
        nothing_left(&lab);
    }
}

/// What goes with a machine that a change removes.
#[test]
fn a_machine_that_goes_takes_its_processes_along() {
    let Some(lab) = Lab::up(&with_machine("new")) else { return };
    let mut entered = vnet();
    let mut entered = entered.args(["-l", &lab.name, "exec", "new", "--", "sleep", "1000"]).spawn().unwrap();
    let new = netns::name_path(&format!("{}-new", lab.name));
    let place = netns::identity(&new);
    eventually("it is inside", || netns::identity(Path::new(&format!("/proc/{}/ns/net", entered.id()))) == place);
    lab.apply(HUB_SPOKE);
    let ended = entered.try_wait().unwrap();
    let _ = entered.kill();
    entered.wait().unwrap();
    assert!(ended.is_some(), "it would live on in the dark");
    lab.assert_ping("web", "10.2.1.10");
}

/// A lab does not keep descriptors of the program that starts it: a lock is free again once that program ends.
#[test]
fn a_lab_holds_no_lock_of_its_starters() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    let lock = lab.file.with_extension("lock");
    let script = "exec 9> \"$0\"; flock -n 9 || exit 7; exec \"$@\"";
    let mut up = Command::new("sh");
    up.args(["-c", script, lock.to_str().unwrap(), env!("CARGO_BIN_EXE_vnet"), "up"]).arg(&lab.file);
    let output = up.env_remove("VNET_LAB").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::File::open(&lock).unwrap().try_lock().is_ok(), "the daemon holds it");
}

#[test]
fn a_machine_called_daemon_has_a_log_of_its_own() {
    let topology = without_tests("daemon").replace("{name: daemon,", "{name: daemon, run: [echo, hello],");
    let Some(lab) = Lab::up(&topology) else { return };
    let said = || fs::read_to_string(directory(&lab).join("programs/daemon.log")).unwrap_or_default();
    eventually("it says so", || said() == "hello\n");
    let log = fs::read_to_string(directory(&lab).join("daemon.log")).unwrap();
    assert!(!log.contains("hello\n"), "{log}");
}

#[test]
fn the_journal_does_not_grow_with_every_change() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let lines = || fs::read_to_string(directory(&lab).join("journal.json")).unwrap().lines().count();
    for _ in 0..30 {
        lab.apply(&with_machine("new"));
        lab.apply(HUB_SPOKE);
    }
    assert!(lines() < 150, "{} lines", lines());
    lab.crash();
    assert!(lab.down().status.success());
    nothing_left(&lab);
}

/// `a-b` with a machine `c`, and `a` with a machine `b-c`.
#[test]
fn two_labs_of_one_name_are_an_error() {
    if !permitted() {
        return;
    }
    let one = Lab::prepared(HUB_SPOKE);
    let long = format!("{}-x", one.name);
    fs::write(&one.file, format!("name: {long}\n{}", one.named(HUB_SPOKE).split_once('\n').unwrap().1)).unwrap();
    assert!(one.start().status.success());
    one.write(&without_tests("x-web"));
    let refused = one.start();
    let ended = vnet().args(["down", &long]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&format!("lab {long} has one of that name")), "{}", stderr(&refused));
    assert!(ended.status.success());
    assert!(one.start().status.success(), "now it is free");
}

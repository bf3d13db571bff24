//! A lab's directory: whose it is, what outlives a crash, and what a record says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::record::{Record, RecordedProgram};
use super::state::{Base, LabDir};
use super::{Journal, Made};
use crate::config::Named;
use crate::lab::error::Error;
use crate::lab::namespaces::Guests;
use crate::lab::namespaces::egress::Egress;
use crate::lab::tests::{network, node, record};
use crate::model::{Links, Sandbox};
use crate::sys::closing::closed;
use crate::sys::process::{self, ProcessId};

const PEERED: &str = "
name: lab
virtualNetworks:
  - {name: a, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}],
     virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]}
  - {name: b, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.1.0/24}],
     virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]}
virtualMachines:
  - {name: web, run: [serve, '--all'], networkInterfaces: [{name: nic1, subnet: a/s}]}
  - {name: off, powerState: stopped, run: rest, networkInterfaces: [{subnet: b/s}]}
  - {name: there, networkInterfaces: [{subnet: a/s, attach: {namespace: elsewhere, interface: eth7}}]}
internet: {addresses: [198.51.100.7]}
";

/// The labs of a user without root, in a directory that goes with it.
struct Labs {
    _dir: TempDir,
    base: Base,
    name: String,
}

impl Labs {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let base = Base { dir: dir.path().join("run/vnet"), rootless: true };
        let name = format!("unit{}-{}", process::own_id(), dir.path().file_name().unwrap().len());
        Self { _dir: dir, base, name }
    }

    fn lab(&self) -> LabDir {
        self.base.lab(&self.name)
    }

    fn path(&self) -> PathBuf {
        self.base.dir.join(&self.name)
    }

    /// What a daemon that runs, or has ended, left in the directory.
    fn left(&self, record: &Record) {
        fs::create_dir_all(self.path()).unwrap();
        for dir in [self.base.dir.clone(), self.path()] {
            fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
        }
        self.lab().write_record(record).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn gone() -> Record {
    Record { daemon: ProcessId { start_time: 1, ..ProcessId::current().unwrap() }, ..record(Vec::new()) }
}

#[test]
fn a_labs_directory_is_its_users_alone_and_goes_with_the_last_lab() {
    let labs = Labs::new();
    let claim = labs.lab().claim().unwrap();
    assert!(!claim.was_left && claim.ignored.is_empty() && claim.links.is_none());
    assert_eq!([&labs.base.dir, &labs.path(), &labs.path().join("programs")].map(|path| mode(path)), [0o700; 3]);
    assert_eq!(entries(&labs.path()), ["journal.json", "programs"]);
    assert_eq!(mode(&labs.path().join("journal.json")), 0o600);
    assert!(!claim.stands(), "it has no socket");
    fs::write(labs.lab().socket(), "").unwrap();
    assert!(claim.stands());
    claim.clean().unwrap();
    assert!(!labs.base.dir.exists());
}

#[test]
fn a_directory_that_was_deleted_is_not_the_labs_any_more() {
    let labs = Labs::new();
    let claim = labs.lab().claim().unwrap();
    fs::write(labs.lab().socket(), "").unwrap();
    fs::rename(labs.path(), labs.base.dir.join("other")).unwrap();
    fs::create_dir(labs.path()).unwrap();
    fs::write(labs.lab().socket(), "theirs").unwrap();
    assert!(!claim.stands(), "another directory has its name");
    claim.clean().unwrap();
    assert!(labs.lab().socket().exists(), "and is left alone");
}

#[test]
fn what_outlives_a_crash_is_how_peerings_stand_and_flow_logs() {
    let labs = Labs::new();
    labs.left(&gone());
    let path = labs.path();
    let links = Links::of(&network(PEERED));
    labs.lab().write_links(&links).unwrap();
    for dir in ["flow-logs/web", "programs/old"] {
        fs::create_dir_all(path.join(dir)).unwrap();
    }
    fs::write(path.join("programs/web.log"), "").unwrap();
    fs::write(path.join("daemon.log"), "").unwrap();
    let foreign = Made::Namespace("/run/netns/theirs".into());
    Journal::begin(&path.join("journal.json")).unwrap().note(foreign).unwrap();
    let claim = labs.lab().claim().unwrap();
    assert!(claim.was_left);
    assert_eq!(claim.links, Some(links));
    assert_eq!(claim.ignored, ["namespace /run/netns/theirs is not the lab's and stays, though its journal names it"]);
    assert_eq!(entries(&path), ["flow-logs", "journal.json", "peerings.json", "programs"]);
    assert_eq!(entries(&path.join("flow-logs")), ["web"]);
    assert_eq!(entries(&path.join("programs")), [""; 0]);
}

#[test]
fn a_lab_that_runs_is_not_started_a_second_time() {
    let labs = Labs::new();
    let claim = labs.lab().claim().unwrap();
    labs.left(&record(Vec::new()));
    let again = labs.lab().claim().unwrap_err();
    assert!(matches!(again, Error::RunsAlready { lab, pid } if lab == labs.name && pid == process::own_id()));
    drop(claim);
    // No process holds the lock.
    closed(|| labs.lab().claim().is_ok());
}

/// Of a daemon that starts or ends nothing is recorded.
#[test]
fn a_lab_that_is_being_ended_is_waited_for() {
    let labs = Labs::new();
    let claim = labs.lab().claim().unwrap();
    let began = Instant::now();
    let moment = Duration::from_millis(300);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(moment);
            claim.clean().unwrap();
        });
        let next = labs.lab().claim().unwrap();
        assert!((moment..20 * moment).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!(next.dir.path.exists() && !next.was_left);
    });
}

#[test]
fn a_directory_that_is_open_to_others_is_refused() {
    for mode in [0o770, 0o707, 0o711] {
        let labs = Labs::new();
        fs::create_dir_all(&labs.base.dir).unwrap();
        fs::set_permissions(&labs.base.dir, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(labs.lab().claim(), Err(Error::UnsafeDirectory { .. })), "{mode:o}");
        assert_eq!(entries(&labs.base.dir), [""; 0]);
    }
    let labs = Labs::new();
    fs::create_dir_all(labs.base.dir.parent().unwrap()).unwrap();
    fs::write(&labs.base.dir, "").unwrap();
    assert!(matches!(labs.lab().claim(), Err(Error::UnsafeDirectory { .. })), "a file");
    let labs = Labs::new();
    fs::create_dir_all(&labs.base.dir).unwrap();
    fs::set_permissions(&labs.base.dir, Permissions::from_mode(0o700)).unwrap();
    // None but root can give a directory to another user.
    if chown(&labs.base.dir, Some(process::user() + 1), None).is_ok() {
        assert!(matches!(labs.lab().claim(), Err(Error::UnsafeDirectory { .. })), "another user's");
    }
}

#[test]
fn labs_are_directories_that_a_lab_has_written_in() {
    let labs = Labs::new();
    labs.left(&gone());
    fs::create_dir(labs.base.dir.join("empty")).unwrap();
    fs::create_dir(labs.base.dir.join("another")).unwrap();
    fs::write(labs.base.dir.join("another/journal.json"), "").unwrap();
    assert_eq!(labs.base.names(), ["another", &labs.name]);
    assert!(!labs.base.lab("empty").exists());
    assert_eq!(labs.base.entries().len(), 3);
    assert!(labs.base.lab("another").record().is_none());
    assert_eq!(labs.lab().record().unwrap().lab, "lab");
    fs::set_permissions(labs.path().join("lab.json"), Permissions::from_mode(0o666)).unwrap();
    assert!(labs.lab().record().is_none(), "another user may have written it");
}

#[test]
fn a_record_is_replaced_whole_and_is_its_users_alone() {
    let labs = Labs::new();
    labs.left(&gone());
    labs.left(&record(Vec::new()));
    assert_eq!(entries(&labs.path()), ["lab.json"], "no draft is left");
    assert_eq!(mode(&labs.path().join("lab.json")), 0o600);
    fs::remove_dir_all(labs.path()).unwrap();
    let refused = labs.lab().write_record(&gone()).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot write {}", labs.path().join("lab.json").display())), "{refused}");
}

/// Names that a journal may have by damage or by malice.
#[test]
fn a_journal_names_nothing_but_what_a_lab_makes() {
    let labs = Labs::new();
    labs.left(&gone());
    let victim = labs.path().join("../victim.netns");
    let files = [victim.clone(), labs.base.dir.join("hosts"), labs.path().join("flow-logs")];
    for file in &files[..2] {
        fs::write(file, "theirs").unwrap();
    }
    fs::create_dir(&files[2]).unwrap();
    let mut journal = Journal::begin(&labs.path().join("journal.json")).unwrap();
    journal.note(Made::Namespace(files[0].clone())).unwrap();
    journal.note(Made::File(files[1].clone())).unwrap();
    journal.note(Made::Directory(files[2].clone())).unwrap();
    let claim = labs.lab().claim().unwrap();
    assert_eq!(claim.ignored.len(), 3, "{:?}", claim.ignored);
    assert!(files.iter().all(|file| file.exists()));
}

/// A lab of that name makes these things and no others, whatever its journal says.
#[test]
fn each_kind_of_thing_is_a_labs_by_its_name_and_its_place() {
    let namespace = |path: &str| Made::Namespace(path.into());
    let (file, directory) = (|path: &str| Made::File(path.into()), |path: &str| Made::Directory(path.into()));
    let taken = |lab: &str| -> Made {
        let there = serde_json::json!({"device": 1, "inode": 2});
        let taken = serde_json::json!({"lab": lab, "at": ["/run/netns/x", "eth7"], "namespace": there, "index": 3, "name": "e", "wasUp": true});
        serde_json::from_value(serde_json::json!({"taken": taken})).unwrap()
    };
    let roots = Base { dir: "/run/vnet".into(), rootless: false }.lab("unit-t");
    for (made, is_its) in [
        (namespace("/run/netns/unit-t-web"), true),
        (namespace("/run/netns/unit-tweb"), false),
        (namespace("/run/netns/web"), false),
        (namespace("/run/elsewhere/unit-t-web"), false),
        (file("/etc/netns/unit-t-web/hosts"), true),
        (file("/etc/netns/unit-t-web/resolv.conf"), true),
        (file("/etc/netns/unit-t-web/passwd"), false),
        (file("/etc/netns/other-web/hosts"), false),
        (file("/etc/unit-t-web/hosts"), false),
        (file("/etc/hosts"), false),
        (directory("/etc/netns/unit-t-web"), true),
        (directory("/etc/netns/other-web"), false),
        (directory("/etc/netns"), false),
        (directory("/etc/unit-t-web"), false),
        (Made::Egress(Egress::of("unit-t").unwrap()), true),
        (Made::Egress(Egress::of("unit-u").unwrap()), false),
        (taken("unit-t"), true),
        (taken("unit-u"), false),
    ] {
        assert_eq!(roots.makes(&made), is_its, "{made:?}");
    }
    let users = Base { dir: "/tmp/labs".into(), rootless: true }.lab("unit-t");
    for (path, is_its) in
        [("unit-t/web.netns", true), ("unit-t/web.log", false), ("web.netns", false), ("unit-u/web.netns", false)]
    {
        assert_eq!(users.makes(&namespace(&format!("/tmp/labs/{path}"))), is_its, "{path}");
    }
    assert!(!users.makes(&namespace("/run/netns/unit-t-web")), "that is root's");
}

/// A process group is known by the lab that its programs were told: a number may be another's by now.
#[test]
fn a_program_is_a_labs_that_it_was_started_for() {
    let mut programs = ["unit-t", "unit-u"].map(|lab| {
        let (input, output) = (Stdio::piped(), Stdio::piped());
        let mut program = Command::new("cat");
        let mut program = program.env("VNET_LAB", lab).process_group(0).stdin(input).stdout(output).spawn().unwrap();
        // Once it answers, its environment is its own.
        program.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        program.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        program
    });
    let leaders = programs.each_ref().map(|program| Made::Program(ProcessId::of(program.id()).unwrap()));
    let lab = |rootless| Base { dir: "/run/vnet".into(), rootless }.lab("unit-t");
    let found = [false, true].map(|rootless| leaders.each_ref().map(|leader| lab(rootless).makes(leader)));
    for program in &mut programs {
        program.kill().unwrap();
        program.wait().unwrap();
    }
    assert_eq!(found, [[true, false], [true, true]], "without root none can be looked at");
    assert!(!lab(false).makes(&leaders[0]), "it has ended");
}

#[test]
fn what_was_applied_is_read_back() {
    let labs = Labs::new();
    labs.left(&gone());
    let applied = network(PEERED);
    labs.lab().write_applied(PEERED, &applied).unwrap();
    labs.lab().write_links(&Links::of(&applied)).unwrap();
    let record = Record { socket: labs.lab().socket(), ..gone() };
    assert_eq!(record.topology().unwrap(), PEERED);
    let files = record.files();
    assert_eq!(files(Named::Nftables(Path::new("x.nft"))), Err("the lab does not know it".to_owned()));
    assert!(files(Named::ServiceTags(Path::new("tags.json"))).is_ok());
    assert_eq!(record.existing().links, Links::of(&applied));
}

#[test]
fn a_record_describes_the_machines_that_run_and_their_programs() {
    let labs = Labs::new();
    let mut described = gone();
    described.describe(&network(PEERED), &Guests::default(), &labs.lab());
    let nodes: Vec<_> = described.nodes.iter().map(|node| (node.name.as_str(), node.machine)).collect();
    assert_eq!(nodes, [("web", true), ("there", true), ("internet", false)]);
    assert_eq!(described.stopped, ["off"]);
    assert_eq!(described.nodes[1].namespace, Path::new("/run/netns/elsewhere"));
    assert_eq!(described.nodes[1].name_of_namespace(), "elsewhere");
    assert_eq!(node("x", "/proc/7/ns/net".as_ref()).name_of_namespace(), "/proc/7/ns/net");
    assert_eq!(described.nodes[0].resolver, Some(labs.path().join("resolv.conf.web")));
    let programs: Vec<_> = described.programs.iter().map(|one| (one.node.as_str(), one.in_one_line())).collect();
    assert_eq!(programs, [("web", "serve --all".to_owned())], "one that is stopped runs nothing");
    assert_eq!(described.programs[0].log, labs.path().join("programs/web.log"));
    assert_eq!(described.places(), [("there".to_owned(), "/run/netns/elsewhere".into())], "those that have one");
    assert_eq!(described.namespaces()["there"], "elsewhere");
    assert_eq!(described.devices()["internet"]["eth0"], "eth0");
}

#[test]
fn a_program_goes_on_where_it_is_the_same_in_the_same_place() {
    let running = |command: &str, sandbox, place: &str| {
        let mut record = record(vec![node("Web", place.as_ref())]);
        let command = vec![command.to_owned()];
        record.programs = vec![RecordedProgram { node: "web".to_owned(), command, sandbox, log: PathBuf::new() }];
        record
    };
    let before = running("serve", Sandbox::Machine, "/a");
    assert!(running("serve", Sandbox::Machine, "/a").keeps_program(&before, "WEB"));
    for other in [
        running("other", Sandbox::Machine, "/a"),
        running("serve", Sandbox::None, "/a"),
        running("serve", Sandbox::Machine, "/b"),
    ] {
        assert!(!other.keeps_program(&before, "web"));
    }
    let without = Record { programs: Vec::new(), ..before.clone() };
    assert!(!without.keeps_program(&before, "web") && !before.keeps_program(&without, "web"));
    assert!(!without.keeps_program(&without, "web"), "none is no program");
}

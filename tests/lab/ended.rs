//! How labs end, and that nothing is left of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vnet::sys::netns;
use vnet::sys::process::ProcessId;

use crate::EVERYTHING;
use crate::lab::{Lab, SOON, eventually, stderr, stdout, unique, vnet};

fn daemon(lab: &Lab) -> ProcessId {
    let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
    ProcessId::of(u32::try_from(pid).unwrap()).unwrap()
}

fn assert_nothing_left(lab: &Lab) {
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
}

/// Whatever tells what there is may be missing or damaged.
#[test]
fn a_crashed_lab_is_found_by_its_journal_or_by_its_marks() {
    for lost in ["", "lab.json", "journal.json", "control.sock"] {
        let Some(lab) = Lab::up(EVERYTHING) else { return };
        let directory = Path::new("/run/vnet").join(&lab.name);
        lab.crash();
        let listed = stdout(&vnet().arg("ls").output().unwrap());
        let line = listed.lines().find(|line| line.starts_with(&format!("{} ", lab.name))).unwrap();
        assert!(line.contains("crashed"), "{line}");
        if !lost.is_empty() {
            fs::write(directory.join(lost), "damaged").ok();
        }
        let asked = lab.vnet(&["status"]);
        assert_eq!(asked.status.code(), Some(5), "{}", stderr(&asked));
        let down = lab.down();
        assert_eq!(down.status.code(), Some(0), "{lost}: {}", stderr(&down));
        assert_nothing_left(&lab);
        let again = lab.down();
        assert_eq!(again.status.code(), Some(5));
        assert!(stderr(&again).contains(&format!("lab {} does not run", lab.name)), "{}", stderr(&again));
    }
}

/// A journal may be damaged, or written by someone else.
#[test]
fn what_a_journal_names_and_no_lab_makes_stays_and_is_told_of() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let theirs = netns::name_path(&unique("theirs"));
    let journal = format!("/run/vnet/{}/journal.json", lab.name);
    let told = format!("namespace {} is not the lab's and stays, though its journal names it", theirs.display());
    fs::write(&theirs, "").unwrap();
    let forge = || {
        lab.crash();
        let line = format!("{{\"making\":{{\"namespace\":\"{}\"}}}}\n", theirs.display());
        fs::write(&journal, fs::read_to_string(&journal).unwrap() + &line).unwrap();
    };
    forge();
    let up = lab.start();
    let status = lab.data(&["status"]);
    forge();
    let down = lab.down();
    let stays = theirs.exists();
    fs::remove_file(&theirs).unwrap();
    assert!(stays && up.status.success() && status["name"] == lab.name.as_str());
    for output in [up, down] {
        assert!(stderr(&output).contains(&told), "{}{}", stdout(&output), stderr(&output));
    }
    assert_nothing_left(&lab);
}

#[test]
fn a_lab_without_a_directory_ends_by_itself_and_down_removes_what_a_crash_left() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let running = daemon(&lab);
    fs::remove_dir_all(Path::new("/run/vnet").join(&lab.name)).unwrap();
    assert!(running.wait_end(SOON).unwrap(), "it can no longer be reached");
    assert_nothing_left(&lab);

    assert!(lab.start().status.success());
    lab.crash();
    fs::remove_dir_all(Path::new("/run/vnet").join(&lab.name)).unwrap();
    assert_eq!(lab.down().status.code(), Some(0));
    assert_nothing_left(&lab);

    // One that has not noticed yet is waited for.
    assert!(lab.start().status.success());
    let running = daemon(&lab);
    fs::remove_dir_all(Path::new("/run/vnet").join(&lab.name)).unwrap();
    let down = lab.down();
    assert_eq!(down.status.code(), Some(0), "{}", stderr(&down));
    assert!(running.wait_end(SOON).unwrap());
    assert_nothing_left(&lab);
}

#[test]
fn a_signal_ends_a_lab_and_its_programs() {
    for signal in ["-TERM", "-INT"] {
        let Some(lab) = Lab::up(EVERYTHING) else { return };
        let running = daemon(&lab);
        let sent = Command::new("kill").args([signal, &running.pid.to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(running.wait_end(SOON).unwrap());
        eventually("nothing is left", || lab.remains().is_empty());
    }
}

/// A shell that ignores what it is asked is killed; a program of another owner in there is not the lab's alone.
#[test]
fn whatever_runs_in_a_node_ends_with_the_lab() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let mut shell = vnet();
    let shell =
        shell.args(["-l", &lab.name, "exec", "web", "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    let mut shell = shell.spawn().unwrap();
    eventually("it runs", || lab.inside("web", || true) && shell.try_wait().unwrap().is_none());
    let down = lab.down();
    let ended = shell.try_wait().unwrap();
    if ended.is_none() {
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
    assert_eq!(down.status.code(), Some(0), "{}", stderr(&down));
    assert!(ended.is_some(), "it goes on without its lab");
    assert_nothing_left(&lab);
}

#[test]
fn a_lab_that_runs_is_neither_started_nor_taken_over() {
    let Some(lab) = Lab::up(EVERYTHING) else { return };
    let pid = daemon(&lab).pid;
    let again = lab.start();
    assert_eq!(again.status.code(), Some(2));
    let expected = format!("lab {} runs already (pid {pid}); `vnet down {}` ends it", lab.name, lab.name);
    assert!(stderr(&again).contains(&expected), "{}", stderr(&again));
    assert_eq!(daemon(&lab).pid, pid);
}

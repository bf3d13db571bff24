//! `vnet trust`: what it shows, and what it keeps.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const MACHINE: &str = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16], \
    subnets: [{name: s, addressPrefix: 10.0.0.0/24}]}]\n\
    virtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]RUN}]\n";

/// Exit code and stdout of `vnet trust` for a machine with this key, with consents in `state`.
fn trust(run: &str, state: &TempDir) -> (i32, String) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("lab.yaml");
    fs::write(&file, MACHINE.replace("RUN", run)).unwrap();
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    vnet.arg("trust").arg(&file).env("XDG_STATE_HOME", state.path()).stdin(Stdio::null());
    let output = vnet.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn kept(state: &TempDir) -> Vec<fs::DirEntry> {
    fs::read_dir(state.path().join("vnet/trusted")).map(|kept| kept.map(Result::unwrap).collect()).unwrap_or_default()
}

#[test]
fn a_file_without_code_needs_no_consent() {
    let state = TempDir::new().unwrap();
    let (code, said) = trust("", &state);
    assert!(code == 0 && said.contains("runs no code"), "{said}");
    assert!(kept(&state).is_empty());
}

#[test]
fn what_is_shown_is_what_runs() {
    let state = TempDir::new().unwrap();
    // A terminal would show `ls` alone.
    let (code, said) = trust(r#", run: [sh, -c, "rm x\r\e[2Kls"]"#, &state);
    assert!(code == 0 && said.contains(r"  a               sh -c rm x\r\u{1b}[2Kls"), "{said}");
    let kept = kept(&state);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(state.path().join("vnet/trusted").metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn the_same_contents_in_another_directory_are_the_same_consent() {
    let state = TempDir::new().unwrap();
    for _ in 0..2 {
        assert_eq!(trust(", run: ['true']", &state).0, 0);
    }
    assert_eq!(kept(&state).len(), 1);
    assert_eq!(trust(", run: ['false']", &state).0, 0);
    assert_eq!(kept(&state).len(), 2);
}

#[test]
fn a_consent_does_not_follow_a_link() {
    let (state, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    assert_eq!(trust(", run: ['true']", &state).0, 0);
    let entry = kept(&state).remove(0).path();
    let target = elsewhere.path().join("target");
    fs::rename(&entry, &target).unwrap();
    symlink(&target, &entry).unwrap();
    assert_eq!(trust(", run: ['true']", &state).0, 0);
    assert!(entry.symlink_metadata().unwrap().is_file(), "the link is replaced");
}

#[test]
fn a_flow_log_outside_the_directory_needs_consent() {
    let state = TempDir::new().unwrap();
    let log =
        |path: &str| format!("]\nflowLogs: [{{name: all, targetResourceId: virtualNetworks/v, storagePath: {path}}}");
    let shown = |path: &str| {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("lab.yaml");
        let text = MACHINE.replace("RUN}]", &format!("}}{}]", log(path)));
        fs::write(&file, text).unwrap();
        let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
        let output = vnet.arg("trust").arg(&file).env("XDG_STATE_HOME", state.path()).stdin(Stdio::null()).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    for outside in ["/etc/cron.d", "../logs", "logs/../../other", "/proc/self/cwd", "./../x"] {
        let text = shown(outside);
        assert!(text.contains(&format!("flow log all    writes flow logs below {outside}")), "{outside}: {text}");
    }
    for inside in ["logs", "./logs", "a/b/c", "..logs"] {
        assert!(shown(inside).contains("runs no code"), "{inside}");
    }
}

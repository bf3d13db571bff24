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

/// Of a long rule set the beginning is shown, and how much more there is; each machine is named once.
#[test]
fn long_rules_are_cut_and_say_so() {
    let state = TempDir::new().unwrap();
    let dir = TempDir::new().unwrap();
    let shown = |lines: usize| {
        fs::write(dir.path().join("rules.nft"), "# rule\n".repeat(lines)).unwrap();
        let file = dir.path().join("lab.yaml");
        fs::write(&file, MACHINE.replace("RUN", ", guest: {nftables: rules.nft}, run: ['true']")).unwrap();
        let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
        vnet.arg("trust").arg(&file).env("XDG_STATE_HOME", state.path()).stdin(Stdio::null());
        let output = vnet.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (fits, long) = (shown(39), shown(50));
    assert_eq!((fits.matches("# rule").count(), fits.contains("more lines")), (39, false), "{fits}");
    assert_eq!(long.matches("# rule").count(), 39, "the first line is the file's name: {long}");
    assert!(long.contains("                  and 11 more lines\n"), "{long}");
    // No answer can come: what would run is refused, by machine.
    let file = dir.path().join("lab.yaml");
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    fs::write(dir.path().join("rules.nft"), "# another\n").unwrap();
    vnet.args(["test", file.to_str().unwrap()]).env("XDG_STATE_HOME", state.path()).stdin(Stdio::null());
    let text = fs::read_to_string(&file).unwrap() + "tests: [{from: a, to: a, expect: reachable}]\n";
    fs::write(&file, text).unwrap();
    let output = vnet.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("runs code in a: that needs your consent"), "{stderr}");
}

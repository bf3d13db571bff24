//! Consent to the code of a file: without it no program of a file runs, and what was agreed to is what runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::apply::assert_code;
use crate::lab::{ALLOW_RUN, Lab, eventually, permitted, stderr, stdout, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

/// A user who has said nothing yet of the programs of a lab's file.
struct User {
    lab: Lab,
    state: TempDir,
}

impl User {
    fn new(topology: &str) -> Option<Self> {
        permitted().then(|| Self { lab: Lab::prepared(topology), state: TempDir::new().unwrap() })
    }

    fn command(&self) -> Command {
        let mut vnet = vnet();
        vnet.env_remove(ALLOW_RUN).env("XDG_STATE_HOME", self.state.path()).stdin(Stdio::null());
        vnet
    }

    /// A subcommand about the lab's file, where there is no terminal.
    fn vnet(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).arg(&self.lab.file).output().unwrap()
    }

    fn apply(&self, topology: &str, arguments: &[&str]) -> Output {
        self.lab.write(topology);
        self.vnet(&[&["-l", &self.lab.name, "apply"], arguments].concat())
    }

    /// `up` at a terminal, where this is typed.
    fn up_at_a_terminal(&self, typed: &str) -> Output {
        let up = format!("printf '{typed}\\n' | script -qec \"$0 up '$1'\" /dev/null");
        let mut shell = Command::new("sh");
        shell.args(["-c", &up, env!("CARGO_BIN_EXE_vnet"), self.lab.file.to_str().unwrap()]);
        shell.env_remove(ALLOW_RUN).env_remove("VNET_LAB").env("XDG_STATE_HOME", self.state.path());
        shell.output().unwrap()
    }

    /// The programs and rule sets that the lab was given.
    fn programs(&self) -> Vec<String> {
        let status = self.lab.data(&["status"]);
        let given = status["programs"].as_array().into_iter().flatten();
        given.map(|program| program["command"].as_str().unwrap().to_owned()).collect()
    }

    fn consents(&self) -> Vec<PathBuf> {
        let kept = fs::read_dir(self.state.path().join("vnet/trusted")).into_iter().flatten();
        kept.map(|entry| entry.unwrap().path()).collect()
    }

    fn hang_up(&self) {
        let pid = self.lab.data(&["status"])["pid"].as_i64().unwrap();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::HUP).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(PathBuf::from("/run/vnet").join(&self.lab.name).join("daemon.log")).unwrap_or_default()
    }
}

fn with_program(seconds: u32) -> String {
    HUB_SPOKE.replace("{name: web,", &format!("{{name: web, run: [sleep, '{seconds}'],"))
}

fn with_rules() -> String {
    HUB_SPOKE.replace("{name: web,", "{name: web, guest: {nftables: \"table inet mine {}\\n\"},")
}

#[test]
fn without_consent_a_file_with_code_does_not_start() {
    for topology in [with_program(1000), with_rules()] {
        let Some(user) = User::new(&topology) else { return };
        for arguments in [&["up"][..], &["run"], &["test"]] {
            let refused = user.vnet(arguments);
            assert_code(&refused, 2);
            let said = stderr(&refused);
            assert!(said.contains("runs code in web: that needs your consent"), "{said}");
            assert!(["--allow-run", "--no-run", "vnet trust"].iter().all(|way| said.contains(way)), "{said}");
        }
        assert_eq!(user.lab.remains(), [""; 0].map(PathBuf::from));
        // What sends no packet runs nothing.
        assert_code(&user.vnet(&["test", "--model-only"]), 0);
        assert_code(&user.vnet(&["validate"]), 0);
    }
}

#[test]
fn a_daemon_does_not_rely_on_the_consent_of_its_caller() {
    // A key that the caller does not recognise, and what a user may do by hand.
    let Some(user) = User::new(&with_program(1000).replace("run:", "\"r\\u0075n\":")) else { return };
    assert_code(&user.vnet(&["up"]), 2);
    assert_code(&user.vnet(&["run", "--lab-daemon"]), 2);
    assert_code(&user.command().args(["up", "--allow-run"]).arg(&user.lab.file).output().unwrap(), 0);
    assert_eq!(user.programs(), ["sleep 1000"]);
}

#[test]
fn programs_are_left_out_until_a_change_brings_them() {
    let Some(user) = User::new(&with_program(1000)) else { return };
    assert_code(&user.vnet(&["up", "--no-run"]), 0);
    user.lab.assert_ping("web", "10.2.1.10");
    assert_eq!(user.programs(), [""; 0]);
    // The option is stronger than the environment.
    let mut same = user.command();
    same.env(ALLOW_RUN, "1").args(["-l", &user.lab.name, "apply", "--no-run"]).arg(&user.lab.file);
    let said = stdout(&same.output().unwrap());
    assert!(said.contains("nothing to change"), "{said}");
    user.hang_up();
    assert_code(&user.apply(&with_program(1000), &[]), 2);
    assert_eq!(user.programs(), [""; 0]);
    assert_code(&user.apply(&with_program(1000), &["--allow-run"]), 0);
    assert_eq!(user.programs(), ["sleep 1000"]);
    assert_code(&user.apply(&with_program(1000), &["--no-run"]), 0);
    assert_eq!(user.programs(), [""; 0]);
}

#[test]
fn a_consent_is_for_a_file_as_it_is() {
    let Some(user) = User::new(&with_program(1000)) else { return };
    let trusted = user.vnet(&["trust"]);
    assert_code(&trusted, 0);
    assert!(stdout(&trusted).contains("  web             sleep 1000\n"), "{}", stdout(&trusted));
    let modes = user.consents().iter().map(|path| path.metadata().unwrap().mode() & 0o777).collect::<Vec<_>>();
    assert_eq!(modes, [0o600]);
    user.lab.write(&with_program(1001));
    assert_code(&user.vnet(&["up"]), 2);
    user.lab.write(&with_program(1000));
    assert_code(&user.vnet(&["up"]), 0);
    assert_eq!(user.programs(), ["sleep 1000"]);
    // A change around the programs that run asks for nothing, another program does.
    let moved = |seconds| with_program(seconds).replace("10.2.1.10", "10.2.1.11");
    assert_code(&user.apply(&moved(1000), &[]), 0);
    assert_code(&user.apply(&moved(1001), &["--dry-run"]), 0);
    assert_code(&user.apply(&moved(1001), &[]), 2);
    assert_eq!(user.programs(), ["sleep 1000"]);
    assert_code(&user.vnet(&["trust"]), 0);
    assert_code(&user.apply(&moved(1001), &[]), 0);
    assert_eq!(user.programs(), ["sleep 1001"]);
}

#[test]
fn sighup_runs_no_program_that_was_not_agreed_to() {
    let Some(user) = User::new(&with_program(1000)) else { return };
    assert_code(&user.vnet(&["trust"]), 0);
    assert_code(&user.vnet(&["up"]), 0);
    user.lab.write(&with_program(1001));
    user.hang_up();
    eventually("the daemon refuses", || user.log().contains("runs code that its user has not agreed to"));
    assert_eq!(user.programs(), ["sleep 1000"]);
    assert_code(&user.vnet(&["trust"]), 0);
    user.hang_up();
    eventually("the daemon starts it", || user.programs() == ["sleep 1001"]);
}

#[test]
fn at_a_terminal_the_answer_decides_and_a_yes_is_remembered() {
    let Some(user) = User::new(&with_program(1000)) else { return };
    for answer in ["n", ""] {
        let refused = user.up_at_a_terminal(answer);
        let said = stdout(&refused);
        assert_code(&refused, 2);
        assert!(said.contains("sleep 1000") && said.contains("Run it? [y/N]"), "{said}");
        assert!(said.contains("you did not agree"), "{said}");
    }
    assert_eq!(user.consents().len(), 0);
    assert_code(&user.up_at_a_terminal("y"), 0);
    assert_eq!(user.programs(), ["sleep 1000"]);
    assert_eq!(user.consents().len(), 1);
    assert_code(&user.lab.down(), 0);
    assert_code(&user.vnet(&["up"]), 0);
}

#[test]
fn a_program_starts_in_the_directory_of_its_file_and_its_script_is_part_of_the_consent() {
    let topology = HUB_SPOKE.replace("{name: web,", "{name: web, run: [sh, start.sh],");
    let Some(user) = User::new(&topology) else { return };
    let script = user.lab.file.with_file_name("start.sh");
    fs::write(&script, "pwd\n").unwrap();
    assert_code(&user.vnet(&["trust"]), 0);
    fs::write(&script, "id\n").unwrap();
    assert_code(&user.vnet(&["up"]), 2);
    fs::write(&script, "pwd\n").unwrap();
    let up = user.command().current_dir("/").arg("up").arg(&user.lab.file).output().unwrap();
    assert_code(&up, 0);
    let log = PathBuf::from("/run/vnet").join(&user.lab.name).join("programs/web.log");
    let expected = format!("{}\n", script.parent().unwrap().canonicalize().unwrap().display());
    eventually("it says where it is", || fs::read_to_string(&log).unwrap_or_default() == expected);
}

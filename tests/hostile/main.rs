//! Hostile topology files: each tries one way to read or write outside, and is a test of its own.
//!
//! A file is given all that a careless user could give it: root, and consent where it is not consent that stops it. It
//! stands in a directory beside another one that is not its own. Afterwards nothing outside has changed, no answer and no
//! file of the lab has a word of the secret there, and the refusal is a sentence with a place.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod files;

#[path = "../support/capture.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod capture;
#[path = "../support/lab.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod lab;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

use files::{Hostile, Try};
use lab::{ALLOW_RUN, Lab, eventually, stderr, stdout};

/// Files that are tried at the same time: they wait more than they work.
const AT_ONCE: usize = 4;
/// What is in the file outside, and must be nowhere else.
const SECRET: &str = "a-word-that-stays-outside";
/// What tries write, wherever they can.
const MARK: &str = "vnet-hostile";
/// Where a mark would show that a program came out.
const PLACES: [&str; 9] = ["/", "/etc", "/root", "/tmp", "/run", "/run/vnet", "/var/lib", "/dev", "/dev/shm"];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let permitted = arguments.list || lab::permitted();
    let trials = files::all().into_iter().map(|file| {
        let name = file.name;
        Trial::test(name, move || tried(&file)).with_ignored_flag(!permitted)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Directories side by side: the topology's, and another one.
struct Stage {
    lab: Lab,
    /// On the disk, where a program sees it.
    outside: TempDir,
}

fn tried(file: &Hostile) -> Result<(), Failed> {
    let lab = Lab::prepared(&file.topology);
    let outside = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(outside.path().join("secret"), format!("{SECRET}\n{{\"{SECRET}\": [\n")).unwrap();
    fs::create_dir(outside.path().join("directory")).unwrap();
    let stage = Stage { lab, outside };
    stage.write_topology(&file.topology);
    stage.shell(file.before)?;
    let before = stage.outside_now();
    let said = match &file.tries {
        Try::Command(arguments) => stage.refused(arguments, file.says)?,
        Try::Program(script) => stage.contained(script)?,
    };
    let leaks = said.contains(SECRET) || stage.lab_files().iter().any(|text| text.contains(SECRET));
    let marks: Vec<_> = PLACES.iter().map(|place| Path::new(place).join(MARK)).filter(|path| path.exists()).collect();
    if leaks || stage.outside_now() != before || !marks.is_empty() {
        return Err(format!("it came out: {said}\n{:?}\n{:?}\n{marks:?}", before, stage.outside_now()).into());
    }
    Ok(())
}

impl Stage {
    fn directory(&self) -> &Path {
        self.lab.file.parent().unwrap()
    }

    /// A file knows where the other directory is, absolutely and from its own.
    fn write_topology(&self, topology: &str) {
        let out = self.outside.path().display().to_string();
        let up = format!("../../../../../../../../../..{out}");
        let topology = topology.replace("$OUT", &out).replace("$UP", &up);
        match topology.as_bytes() {
            [b'{', ..] => fs::write(self.directory().join("main.json"), topology).unwrap(),
            // It brings a name of its own.
            [b'n', b'a', ..] => fs::write(&self.lab.file, topology).unwrap(),
            _ => self.lab.write(&topology),
        }
    }

    /// What the topology's author prepares beside it.
    fn shell(&self, script: &str) -> Result<(), Failed> {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(self.directory()).env("OUT", self.outside.path());
        let output = shell.output().unwrap();
        if output.status.success() { Ok(()) } else { Err(stderr(&output).into()) }
    }

    /// A command about the file that must fail soon, with these words and nothing made.
    fn refused(&self, arguments: &[&str], says: &str) -> Result<String, Failed> {
        let asks_consent = says.contains("consent");
        let mut command = Command::new("timeout");
        command.args(["20", env!("CARGO_BIN_EXE_vnet")]).args(arguments).current_dir(self.directory());
        command.env_remove("VNET_LAB").env("XDG_STATE_HOME", self.directory()).stdin(Stdio::null());
        if asks_consent {
            command.env_remove(ALLOW_RUN);
        } else {
            command.env(ALLOW_RUN, "1");
        }
        let output = command.output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        if !matches!(output.status.code(), Some(1 | 2 | 4)) || !said.contains(says) {
            return Err(format!("{:?}, expected `{says}`: {said}", output.status).into());
        }
        if !self.lab.remains().is_empty() {
            return Err(format!("it left {:?}", self.lab.remains()).into());
        }
        Ok(said)
    }

    /// A lab whose first machine runs a script of tries: it prints those that succeed, and then that it has ended.
    fn contained(&self, script: &str) -> Result<String, Failed> {
        let quoted = |line: &str| line.replace('\'', "'\\''");
        let tries = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let tries = tries.map(|line| format!("try '{}'\n", quoted(line))).collect::<Vec<_>>().concat();
        let try_one = "try() { if timeout 5 sh -c \"$1\" >/tmp/said 2>&1; then echo \"$1\"; fi; }";
        let lab = &self.lab.name;
        let (out, made) = (self.outside.path().display(), MARK);
        let head = format!(
            "export OUT={out} LAB={lab} MARK={made}\n{try_one}\nuntil test -s daemon; do sleep 0.01; done; export DAEMON=$(cat daemon)\n"
        );
        fs::write(self.directory().join("tries.sh"), format!("{head}{tries}echo end\n")).unwrap();
        let started = self.lab.start();
        if !started.status.success() {
            return Err(stderr(&started).into());
        }
        // A program knows the numbers of its own processes alone.
        let daemon = self.lab.data(&["status"])["pid"].to_string();
        fs::write(self.directory().join("pid"), daemon).unwrap();
        fs::rename(self.directory().join("pid"), self.directory().join("daemon")).unwrap();
        let log = PathBuf::from("/run/vnet").join(lab).join("programs/web.log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        eventually("all is tried", || said().ends_with("end\n"));
        let all = said();
        if all == "end\n" { Ok(all) } else { Err(format!("these worked: {all}").into()) }
    }

    /// The other directory's files: their owners, modes and texts.
    fn outside_now(&self) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.outside.path().to_owned()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let text = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                if meta.is_dir() {
                    left.push(path.clone());
                }
                found.insert(path, (meta.mode(), meta.uid(), text));
            }
        }
        found
    }

    /// Texts that the lab keeps.
    fn lab_files(&self) -> Vec<String> {
        let lab = Path::new("/run/vnet").join(&self.lab.name);
        let directories = [lab.clone(), lab.join("programs")];
        let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).into_iter().flatten());
        let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file());
        files.filter_map(|path| fs::read(path).ok()).map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
    }
}

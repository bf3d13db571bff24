//! Commands about a running lab, as scripts meet them. The lab is a socket with fixed answers: what is printed is known to
//! the letter, and what was asked is known too. No namespaces, no root.

mod answers;
mod changes;
mod flows;
mod listings;
mod packets;

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use vnet::daemon::api::protocol::{Request, Response};
use vnet::daemon::api::server::{Answer, Look, listen};
use vnet::lab::{Record, RecordedNode};
use vnet::model::{Leases, RunPolicy};
use vnet::sys::process::{self, ProcessId};

use crate::commands;

/// None of them prints so much that it would wait for a reader.
const DEADLINE: Duration = Duration::from_secs(20);

/// How a lab answers.
enum Told {
    Once(Response),
    /// One after the other; what is left comes once the client has enough.
    Follow(Vec<Response>),
}

/// An answer as it crosses the socket.
fn once(answer: Value) -> Told {
    Told::Once(response(answer))
}

fn response(answer: Value) -> Response {
    serde_json::from_value(answer).unwrap()
}

fn follow(answers: impl IntoIterator<Item = Value>) -> Told {
    Told::Follow(answers.into_iter().map(response).collect())
}

/// What a command said and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

struct Lab {
    /// The user's directory for what runs.
    home: TempDir,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Lab {
    fn start(answer: impl Fn(&Request) -> Told + Send + Sync + 'static) -> Self {
        let lab = Self { home: tempfile::tempdir().unwrap(), asked: Arc::default() };
        let directory = lab.directory("lab");
        let record = Record {
            lab: "lab".to_owned(),
            daemon: ProcessId::current().unwrap(),
            file: "lab.vnet.yaml".to_owned(),
            since: 1,
            renamed: false,
            after_crash: false,
            rootless: true,
            socket: directory.join("control.sock"),
            hosts: directory.join("hosts"),
            nodes: vec![node("web"), node("db")],
            stopped: vec!["idle".to_owned()],
            addresses: Leases::default(),
            programs: Vec::new(),
            directory: directory.clone(),
            policy: RunPolicy::default(),
        };
        lab.write("lab", "lab.json", &serde_json::to_string(&record).unwrap());
        let asked = Arc::clone(&lab.asked);
        let answer = move |request| {
            let told = answer(&request);
            asked.lock().unwrap().push(request);
            match told {
                Told::Once(response) => Answer::Once(response),
                Told::Follow(answers) => {
                    let mut left = VecDeque::from(answers);
                    Answer::Follow(Box::new(move |look| {
                        let now = if look == Look::Last { left.len() } else { left.len().min(1) };
                        left.drain(..now).collect()
                    }))
                }
            }
        };
        listen(UnixListener::bind(&record.socket).unwrap(), answer, || {}).unwrap();
        lab
    }

    /// A lab's directory, private to its user.
    fn directory(&self, name: &str) -> PathBuf {
        let directory = self.home.path().join("vnet").join(name);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn write(&self, lab: &str, file: &str, text: &str) {
        let path = self.directory(lab).join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = commands::command(arguments);
        if process::user() == 0 {
            // Without that right root's labs are its own, as any user's are.
            let plain = command;
            command = Command::new("setpriv");
            command.args(["--inh-caps=-net_admin", "--bounding-set=-net_admin", "--"]);
            command.arg(plain.get_program()).args(plain.get_args());
            command.stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
            for (name, value) in plain.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
        }
        command.env("XDG_RUNTIME_DIR", self.home.path());
        command
    }

    fn run(&self, line: &str) -> Ended {
        self.run_words(&line.split(' ').collect::<Vec<_>>())
    }

    fn run_words(&self, words: &[&str]) -> Ended {
        ended(self.spawn(words))
    }

    fn spawn(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What a command prints that ends well and says nothing beside it.
    fn prints(&self, line: &str) -> String {
        let Ended { code, stdout, stderr } = self.run(line);
        assert_eq!((code, stderr.as_str()), (0, ""), "{line}");
        stdout
    }

    /// What was asked since this was called last.
    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Waits until a command has ended by itself.
fn ended(mut child: Child) -> Ended {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn node(name: &str) -> RecordedNode {
    serde_json::from_value(
        json!({"name": name, "machine": true, "namespace": format!("/nowhere/{name}"), "devices": {}}),
    )
    .unwrap()
}

fn refused(request: &Request) -> Told {
    once(json!({"refused": {"message": format!("asked for {request:?}"), "help": null}}))
}

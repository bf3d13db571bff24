//! Containers as guests: an engine that answers as Docker and Podman do, and processes in namespaces of their own in the
//! place of containers.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::attach::{Named, Run};
use crate::lab::{ALLOW_RUN, Lab, SOON, eventually, permitted, ping, stderr, stdout, unique, vnet};

/// A container's answer: its status line, and its body.
type Answers = Arc<Mutex<HashMap<String, (&'static str, String)>>>;

/// An engine's API, at its socket.
struct Engine {
    socket: PathBuf,
    answers: Answers,
}

impl Engine {
    fn start(lab: &Lab) -> Self {
        let socket = lab.file.with_file_name("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = Answers::default();
        let known = Arc::clone(&answers);
        thread::spawn(move || listener.incoming().for_each(|stream| answer(&stream.unwrap(), &known)));
        Self { socket, answers }
    }

    /// From now on this container has this state.
    fn says(&self, name: &str, running: bool, pid: u32) {
        let status = if running { "running" } else { "exited" };
        let state = json!({"Status": status, "Running": running, "Paused": false, "Pid": pid, "ExitCode": 0});
        let body = json!({"Id": "1f".repeat(32), "Name": format!("/{name}"), "State": state}).to_string();
        self.answers.lock().unwrap().insert(name.to_owned(), ("200 OK", body));
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

/// `GET /containers/NAME/json`
fn answer(mut stream: &UnixStream, known: &Answers) {
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let name = head[0].strip_prefix("GET /containers/").and_then(|rest| rest.split('/').next()).unwrap();
    let none = || ("404 Not Found", json!({"message": format!("No such container: {name}")}).to_string());
    let (status, body) = known.lock().unwrap().get(name).cloned().unwrap_or_else(none);
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

/// A process in a namespace, in the place of a container.
struct Container(Child);

impl Container {
    fn start(namespace: &Named) -> Self {
        Self(namespace.open().run(|| Command::new("sleep").arg("1000").spawn().unwrap()).unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A virtual network with a container and a namespace.
fn topology(container: &str, namespace: &Named) -> Lab {
    Lab::prepared(&format!(
        "virtualNetworks: [{{name: v, location: westeurope, addressSpace: [10.0.0.0/24], subnets: [{{name: s, addressPrefix: 10.0.0.0/24}}]}}]
virtualMachines:
  - {{name: web, networkInterfaces: [{{subnet: v/s, privateIPAddress: 10.0.0.4, attach: {{container: {container}, interface: eth1}}}}]}}
  - {{name: client, networkInterfaces: [{{subnet: v/s, privateIPAddress: 10.0.0.5, attach: {{namespace: {}, interface: eth1}}}}]}}
",
        namespace.0
    ))
}

fn run(lab: &Lab, engine: &str) -> Command {
    let mut command = vnet();
    command.arg("run").arg(&lab.file).arg("--allow-run").env("DOCKER_HOST", engine);
    command
}

#[test]
fn a_container_gets_a_device_and_another_one_after_a_restart() {
    if !permitted() {
        return;
    }
    let (client, first, second) = (Named::new("l"), Named::new("f"), Named::new("s"));
    let lab = topology("web", &client);
    let engine = Engine::start(&lab);
    let container = Container::start(&first);
    engine.says("web", true, container.0.id());
    let (mut run, line) = Run::spawn(run(&lab, &engine.host()));
    assert!(line.contains("is ready"), "{line}");
    let reaches = || client.open().run(|| ping("10.0.0.4", 64, SOON).unwrap().arrived).unwrap();
    assert!(reaches());
    first.open().run(|| assert!(ping("10.0.0.5", 64, SOON).unwrap().arrived)).unwrap();
    let interface = || {
        let status = lab.data(&["status"]);
        let node = status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "web").unwrap().clone();
        node["networkInterfaces"][0].clone()
    };
    assert_eq!(interface()["alive"], true, "{}", interface());
    drop(container);
    eventually("its device is let go of", || interface()["alive"] == false);
    engine.says("web", false, 0);
    let apply = || lab.vnet(&["apply", lab.file.to_str().unwrap(), "--allow-run"]);
    let stopped = apply();
    assert_eq!(stopped.status.code(), Some(4));
    assert!(stderr(&stopped).contains("it does not run (exited); `docker start web`"), "{}", stderr(&stopped));
    let container = Container::start(&second);
    engine.says("web", true, container.0.id());
    let again = apply();
    assert!(again.status.success(), "{}{}", stdout(&again), stderr(&again));
    assert!(stdout(&again).contains("container:web"), "{}", stdout(&again));
    assert!(reaches());
    second.open().run(|| assert!(ping("10.0.0.5", 64, SOON).unwrap().arrived)).unwrap();
    run.stop();
}

#[test]
fn without_a_service_podmans_monitor_knows_the_container() {
    if !permitted() {
        return;
    }
    let (client, inside) = (Named::new("l"), Named::new("c"));
    let name = unique("web");
    let lab = topology(&name, &client);
    let container = Container::start(&inside);
    let file = lab.file.with_file_name("pidfile");
    fs::write(&file, container.0.id().to_string()).unwrap();
    // A shell ignores what follows its script, and ends with its standard input.
    let mut monitor = Command::new("sh");
    let monitor = monitor.arg0("conmon").args(["-c", "read word", "-n", &name, "-p"]).arg(&file).stdin(Stdio::piped());
    let mut monitor = monitor.spawn().unwrap();
    let (mut run, line) = Run::spawn(run(&lab, "unix:///no-such.sock"));
    assert!(line.contains("is ready"), "{line}");
    client.open().run(|| assert!(ping("10.0.0.4", 64, SOON).unwrap().arrived)).unwrap();
    run.stop();
    drop(monitor.stdin.take());
    monitor.wait().unwrap();
}

#[test]
fn why_there_is_no_such_network_is_said() {
    if !permitted() {
        return;
    }
    let client = Named::new("l");
    let lab = topology("web", &client);
    let engine = Engine::start(&lab);
    let says = |host: &str, why: &str| {
        let output = run(&lab, host).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("cannot attach to container web: ") && said.contains(why), "{why}: {said}");
        assert!(!PathBuf::from("/run/vnet").join(&lab.name).exists(), "{why}: something is left");
    };
    says(&engine.host(), "has no container of that name; `docker ps -a`");
    engine.says("web", false, 0);
    says(&engine.host(), "it does not run (exited)");
    engine.says("web", true, std::process::id());
    says(&engine.host(), "its network is this computer's own");
    engine.says("web", true, u32::MAX);
    says(&engine.host(), "cannot be seen from here");
    engine.answers.lock().unwrap().insert("web".to_owned(), ("500 Internal Server Error", "{}".to_owned()));
    says(&engine.host(), "does not tell: it answers with status 500");
    says("unix:///no-such.sock", "no engine answers at /no-such.sock");
    says("tcp://192.0.2.1:2375", "DOCKER_HOST is tcp://192.0.2.1:2375; expected unix://PATH");
}

#[test]
fn a_container_is_part_of_the_question() {
    if !permitted() {
        return;
    }
    let client = Named::new("l");
    let lab = topology("web", &client);
    let refused = vnet().arg("run").arg(&lab.file).env_remove(ALLOW_RUN).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("reaches out of its lab in web/eth0: that needs your consent"),
        "{}",
        stderr(&refused)
    );
    let withheld = vnet().arg("run").arg(&lab.file).arg("--no-run").output().unwrap();
    assert!(
        stderr(&withheld).contains("web/eth0 makes a device in the network of container web"),
        "{}",
        stderr(&withheld)
    );
}

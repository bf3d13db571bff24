//! Containers of Docker and Podman: finds by name the process of a container, and with it the network namespace.
//!
//! One idea: an engine answers at its API's socket, and both engines know one request for that. Podman needs no service:
//! then its monitors (`conmon`) are looked through, which have a container's name, id and process among their arguments.
//! Nothing else is asked of an engine, and nothing of a container is changed but its network.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use serde::Deserialize;

use crate::model::Network;
use crate::sys::{files, netns, process};

use super::error::{Error, Result};
use super::journal::state::Base;

/// Where engines listen if the environment names none.
const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];
/// Variables that name an engine's socket.
const VARIABLES: [&str; 2] = ["DOCKER_HOST", "CONTAINER_HOST"];
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read; a container's description has some 10 KB.
const LARGEST: u64 = 1 << 20;
const MOST_HEADERS: usize = 64;
/// From this length on the start of an id is taken for the id.
const SHORT_ID: usize = 12;

/// What an engine says of a container.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    pid: u32,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: State,
}

/// Notes the processes of the containers that a network names, as they are now.
pub(super) fn locate(network: &mut Network, base: &Base) -> Result<()> {
    let mut complaints = Vec::new();
    for (name, process) in network.containers() {
        let found =
            if base.rootless { Err("only root may enter its network; run as root".to_owned()) } else { find(name) };
        match found {
            Ok(pid) => *process = Some(pid),
            Err(why) => complaints.push(format!("cannot attach to container {name}: {why}")),
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(Error::Containers(complaints)) }
}

/// The first process of a container that runs, or why there is none.
pub(super) fn find(name: &str) -> std::result::Result<u32, String> {
    let sockets = sockets()?;
    let (mut answered, mut stopped) = (false, None);
    for socket in &sockets {
        match ask(socket, name) {
            Ok(Some(state)) if state.running => return in_its_own_network(state.pid),
            Ok(Some(state)) => stopped = Some(state.status),
            Ok(None) => answered = true,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(format!("the engine at {} does not tell: {error}", socket.display())),
        }
    }
    if let Some(pid) = monitored(name) {
        return in_its_own_network(pid);
    }
    if let Some(status) = stopped {
        return Err(format!("it does not run ({status}); `docker start {name}` or `podman start {name}` starts it"));
    }
    let sockets: Vec<_> = sockets.iter().map(|socket| socket.display().to_string()).collect();
    let sockets = sockets.join(" or ");
    Err(if answered {
        format!("the engine at {sockets} has no container of that name; `docker ps -a` or `podman ps -a` lists them")
    } else {
        format!(
            "no engine answers at {sockets}, and no `conmon` of Podman has that name; \
             start the engine, or set DOCKER_HOST to unix://PATH"
        )
    })
}

/// The sockets of engines on this computer.
fn sockets() -> std::result::Result<Vec<PathBuf>, String> {
    let given: Vec<_> = VARIABLES.iter().filter_map(|name| Some((name, env::var(name).ok()?))).collect();
    if given.is_empty() {
        return Ok(SOCKETS.iter().map(PathBuf::from).collect());
    }
    let socket = |(name, value): (&&str, String)| {
        let path = value.strip_prefix("unix://").map(PathBuf::from);
        path.ok_or_else(|| format!("{name} is {value}; expected unix://PATH, an engine on this computer"))
    };
    given.into_iter().map(socket).collect()
}

/// What an engine says of a container; None if it has none of that name.
fn ask(socket: &Path, name: &str) -> io::Result<Option<State>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Of version 1.0, so that the answer is in one piece and ends with the connection. A name needs no escapes.
    write!(stream, "GET /containers/{name}/json HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    understood(&files::read_bounded(stream, LARGEST)?).map_err(io::Error::other)
}

fn understood(answer: &[u8]) -> std::result::Result<Option<State>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else {
        return Err("its answer is not HTTP".to_owned());
    };
    match response.code {
        Some(200) => match serde_json::from_slice::<Inspected>(&answer[head..]) {
            Ok(inspected) => Ok(Some(inspected.state)),
            Err(error) => Err(format!("its answer does not describe a container: {error}")),
        },
        Some(404) => Ok(None),
        code => Err(format!("it answers with status {}", code.unwrap_or_default())),
    }
}

/// The first process of a container of Podman's, as its monitor knows it.
fn monitored(name: &str) -> Option<u32> {
    process::running().find_map(|monitor| {
        let directory = PathBuf::from(format!("/proc/{}", monitor.id.pid));
        // Any user may call a process so, and give it any arguments.
        fs::metadata(&directory).ok().filter(|it| it.uid() == process::user())?;
        let line = fs::read(directory.join("cmdline")).ok()?;
        let pid = fs::read_to_string(process_file(&line, name)?).ok()?;
        pid.trim().parse().ok()
    })
}

/// The file with the number of a container's first process, from its monitor's arguments.
fn process_file(line: &[u8], name: &str) -> Option<PathBuf> {
    let arguments: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let after = |flag| arguments.iter().skip_while(|argument| **argument != flag).nth(1);
    let is_monitor = Path::new(arguments.first()?.as_ref()).file_name()? == "conmon";
    // What `podman exec` starts has a monitor of its own.
    let is_of_exec = arguments.iter().any(|argument| argument == "-e" || argument == "--exec");
    let is_id = |id: &str| name.len() >= SHORT_ID && id.starts_with(name);
    let is_named = after("-n").is_some_and(|it| it == name) || after("-c").is_some_and(|id| is_id(id));
    if is_monitor && !is_of_exec && is_named { after("-p").map(|path| PathBuf::from(path.as_ref())) } else { None }
}

/// The process, unless its network is this computer's own: a device there would take the computer's own packets.
fn in_its_own_network(pid: u32) -> std::result::Result<u32, String> {
    let network = netns::identity(Path::new(&format!("/proc/{pid}/ns/net")));
    if network.is_none() {
        return Err(format!(
            "its process {pid} cannot be seen from here; run vnet on the computer itself, not in a container"
        ));
    }
    let ours = [netns::CURRENT, "/proc/1/ns/net"].map(|path| netns::identity(Path::new(path)));
    if ours.contains(&network) {
        return Err(
            "its network is this computer's own; start it with `--network none` or a network of its own".to_owned()
        );
    }
    Ok(pid)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_engine_is_asked_for_one_container_at_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> =
                lines.by_ref().map_while(std::result::Result::ok).take_while(|line| !line.is_empty()).collect();
            let body = r#"{"State": {"Status": "exited", "Running": false, "Pid": 0}}"#;
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            head
        });
        let state = State { running: false, pid: 0, status: "exited".to_owned() };
        assert_eq!(ask(&socket, "web").unwrap(), Some(state));
        assert_eq!(asked.join().unwrap(), ["GET /containers/web/json HTTP/1.0", "Host: localhost"]);
        assert_eq!(ask(&socket, "web").unwrap_err().kind(), ErrorKind::ConnectionRefused, "nobody listens any more");
    }

    #[test]
    fn a_container_in_this_computers_own_network_is_refused() {
        let own = in_its_own_network(process::own_id()).unwrap_err();
        assert!(own.starts_with("its network is this computer's own; "), "{own}");
        let gone = in_its_own_network(u32::MAX).unwrap_err();
        assert!(gone.contains("cannot be seen from here"), "{gone}");
    }

    #[test]
    fn an_engines_answer_is_understood() {
        let of = |head: &str, body: &str| understood(format!("HTTP/1.0 {head}\r\nA: b\r\n\r\n{body}").as_bytes());
        let body = r#"{"Id": "1f", "Name": "/web", "State": {"Status": "running", "Running": true, "Pid": 42, "ExitCode": 0}}"#;
        let state = State { running: true, pid: 42, status: "running".to_owned() };
        assert_eq!(of("200 OK", body), Ok(Some(state)));
        assert_eq!(of("404 Not Found", r#"{"message": "No such container: web"}"#), Ok(None));
        for (answer, why) in [
            (of("500 Oops", "{}"), "status 500"),
            (of("200 OK", "[]"), "does not describe a container"),
            (of("200 OK", r#"{"State": {"Running": true, "Pid": -1, "Status": ""}}"#), "does not describe a container"),
            (understood(b"SSH-2.0"), "not HTTP"),
        ] {
            assert!(answer.as_ref().is_err_and(|said| said.contains(why)), "{answer:?}");
        }
    }

    #[test]
    fn a_monitor_is_known_by_name_or_id() {
        let id = "1f".repeat(32);
        let file = |words: &str, name: &str| process_file(words.replace(' ', "\0").as_bytes(), name);
        let line =
            format!("/usr/bin/conmon --api-version 1 -c {id} -u {id} -r crun -p /run/pidfile -n web --exit-dir /x");
        let found = Some(PathBuf::from("/run/pidfile"));
        assert_eq!(file(&line, "web"), found);
        assert_eq!(file(&line, &id[..12]), found);
        assert_eq!(file(&line, &id[..11]), None, "too short for an id");
        assert_eq!(file(&line, "db"), None);
        assert_eq!(file(&line.replace(" -r", " -e -r"), "web"), None, "of `podman exec`");
        assert_eq!(file(&line.replace("conmon", "sleep"), "web"), None);
    }
}

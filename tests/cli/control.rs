//! The control socket against clients that are broken, slow, greedy or many.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vnet::daemon::api::client::{ClientError, Following, Received, ask, follow};
use vnet::daemon::api::protocol::{DropCount, Refusal, Request, Response, Topic};
use vnet::daemon::api::server::{Answer, listen};

/// A server that answers with what it was asked for, and panics when asked for the routes of `panic`. Followers of drops
/// get one numbered row after another, those of counters a flood.
struct Server {
    socket: PathBuf,
    stopped: mpsc::Receiver<()>,
    /// Rows told to followers.
    told: Arc<AtomicUsize>,
    _directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let (stop, stopped) = mpsc::channel();
        let listener = UnixListener::bind(&socket).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let answer = move |request| match request {
            Request::Follow(topic) => numbers(&topic, &count),
            other => Answer::Once(echo(other)),
        };
        listen(listener, answer, move || stop.send(()).unwrap()).unwrap();
        Self { socket, stopped, told, _directory: directory }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// What comes back for these bytes, to the end of the connection.
    fn answer_to(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ask_for(&self, target: &str) -> Result<Response, ClientError> {
        ask(&self.socket, &Request::Routes { target: target.to_owned() })
    }

    fn check_alive(&self) {
        assert_eq!(self.ask_for("alive").unwrap(), echoed("alive"));
    }
}

fn echo(request: Request) -> Response {
    match request {
        Request::Routes { target } if target == "panic" => panic!("on purpose"),
        Request::Routes { target } => echoed(&target),
        Request::Shutdown => Response::Stopping,
        other => Response::Refused(Refusal { message: format!("{other:?}"), help: Some("ask for routes".to_owned()) }),
    }
}

/// Ends, as its feed is dropped, with a count beyond all others.
fn numbers(topic: &Topic, told: &Arc<AtomicUsize>) -> Answer {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(ENDED, Ordering::SeqCst);
        }
    }
    let rows = if matches!(topic, Topic::Drops { .. }) { 1 } else { 1000 };
    let told = Ends(Arc::clone(told));
    Answer::Follow(Box::new(move |_| {
        (0..rows).map(|_| echoed(&told.0.fetch_add(1, Ordering::SeqCst).to_string())).collect()
    }))
}

/// What the end of a feed adds to the rows told.
const ENDED: usize = 1 << 32;

fn echoed(target: &str) -> Response {
    let (nic, reason, explanation) = (String::new(), String::new(), String::new());
    Response::Drops(vec![DropCount {
        node: target.to_owned(),
        nic,
        reason,
        packets: 1,
        harmless: false,
        flow: None,
        explanation,
    }])
}

#[test]
fn a_request_gets_its_answer() {
    Server::start().check_alive();
}

#[test]
fn a_refusal_is_an_error_with_its_help() {
    let server = Server::start();
    let Err(ClientError::Refused(refusal)) = ask(&server.socket, &Request::Drops { by_flow: false }) else {
        panic!("not refused")
    };
    assert_eq!(refusal.help.as_deref(), Some("ask for routes"));
}

#[test]
fn malformed_requests_are_refused() {
    let server = Server::start();
    for bytes in [
        &b"\n"[..],
        b"hello\n",
        b"{}\n",
        b"{\"version\":1}\n",
        b"{\"version\":1,\"body\":\"nonsense\"}\n",
        b"{\"version\":1,\"body\":{\"routes\":{}}}\n",
        b"{\"version\":-1,\"body\":\"status\"}\n",
        b"\xff\xfe\x00\n",
        &[b'['; 10_000],
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("refused") && answer.contains("not a message"), "{bytes:?}: {answer}");
    }
    server.check_alive();
}

#[test]
fn another_version_is_named_even_if_its_body_is_unknown() {
    let server = Server::start();
    let answer = server.answer_to(b"{\"version\":7,\"body\":{\"teleport\":1}}\n");
    assert!(answer.contains("protocol version 7"), "{answer}");
    let answer = server.answer_to(b"{\"version\":7,\"body\":\"status\"}\n");
    assert!(answer.contains("protocol version 7"), "{answer}");
}

#[test]
fn a_daemon_of_another_version_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Closed with the request unread, the socket would reset the client before it has read the answer.
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(b"{\"version\":7}\n").unwrap();
    });
    assert!(matches!(ask(&socket, &Request::Status), Err(ClientError::Version(7))));
    daemon.join().unwrap();
}

#[test]
fn an_oversized_request_is_refused_without_being_read_to_its_end() {
    let server = Server::start();
    let mut stream = server.connect();
    // The server stops reading at its limit, so the rest of the write may fail.
    let _ = stream.write_all(&vec![b' '; 20 << 20]);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.contains("longer than 16777216 bytes"), "{answer}");
    server.check_alive();
}

#[test]
fn slow_clients_do_not_keep_others_out() {
    let server = Server::start();
    let started = Instant::now();
    // More than there are threads, each holding one without ever finishing its request.
    let slow: Vec<UnixStream> = (0..10)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"{").unwrap();
            stream
        })
        .collect();
    server.check_alive();
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    for mut stream in slow {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("took too long"), "{answer}");
    }
}

/// As a script that leaks, or an attacker: neither clients that say nothing nor those that begin a request keep
/// a question waiting.
#[test]
fn a_thousand_idle_connections_do_not_delay_others() {
    let server = Server::start();
    for begins in [&b""[..], b"{\"version\""] {
        let idle: Vec<UnixStream> = (0..1000)
            .map(|_| {
                let mut stream = server.connect();
                // It may have been closed for others of this process by now.
                let _ = stream.write_all(begins);
                stream
            })
            .collect();
        let started = Instant::now();
        for _ in 0..20 {
            server.check_alive();
        }
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        let started = Instant::now();
        for mut stream in idle {
            let _ = stream.read_to_string(&mut String::new());
        }
        assert!(started.elapsed() < Duration::from_secs(4), "each has its deadline: {:?}", started.elapsed());
    }
}

/// Requests that are not whole yet take a bounded room, and a small one passes beside them.
#[test]
fn unfinished_requests_do_not_fill_the_memory() {
    let server = Server::start();
    let large: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            let _ = stream.write_all(&vec![b' '; 15 << 20]);
            stream
        })
        .collect();
    let closed = |stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream = stream;
        !matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    server.check_alive();
    assert!(large.iter().filter(|stream| closed(stream)).count() >= 4, "4 of 16 MiB fit");
}

#[test]
fn a_dripping_client_is_cut_off() {
    let server = Server::start();
    let mut stream = server.connect();
    let started = Instant::now();
    // Each byte comes well within any timeout of a single read.
    while stream.write_all(b" ").is_ok() {
        assert!(started.elapsed() < Duration::from_secs(6), "still being listened to");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let server = Server::start();
    thread::scope(|scope| {
        for client in 0..100 {
            let socket = &server.socket;
            scope.spawn(move || {
                let name = format!("node{client}");
                assert_eq!(ask(socket, &Request::Routes { target: name.clone() }).unwrap(), echoed(&name));
            });
        }
    });
}

#[test]
fn clients_that_leave_early_are_forgotten() {
    let server = Server::start();
    for _ in 0..50 {
        server.connect();
        server.connect().write_all(b"{\"version\":1,\"body\":\"status\"}\n").unwrap();
    }
    server.check_alive();
}

#[test]
fn an_answer_that_panics_is_a_refusal_and_costs_no_thread() {
    let server = Server::start();
    for _ in 0..10 {
        let Err(ClientError::Refused(refusal)) = server.ask_for("panic") else { panic!("not refused") };
        assert!(refusal.message.contains("bug"), "{refusal:?}");
    }
    server.check_alive();
}

#[test]
fn shutdown_is_answered_before_it_happens() {
    let server = Server::start();
    assert_eq!(ask(&server.socket, &Request::Shutdown).unwrap(), Response::Stopping);
    server.stopped.recv_timeout(Duration::from_secs(5)).unwrap();
}

#[test]
fn without_a_daemon_the_error_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    assert!(matches!(ask(&socket, &Request::Status), Err(ClientError::NoDaemon(_))));
    // A socket file left over from a crash.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(ask(&socket, &Request::Status), Err(ClientError::NoDaemon(_))));
}

// ---- Following ----

const SOON: Duration = Duration::from_secs(10);

impl Server {
    fn follow(&self, topic: Topic) -> Following {
        follow(&self.socket, topic).unwrap()
    }

    fn ended(&self) -> usize {
        self.told.load(Ordering::SeqCst) / ENDED
    }

    fn await_ended(&self, count: usize) {
        let deadline = Instant::now() + SOON;
        while self.ended() < count {
            assert!(Instant::now() < deadline, "a client that is gone is still being told things");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_follower_receives_everything_in_order() {
    let server = Server::start();
    let mut following = server.follow(Topic::Drops { by_flow: false });
    for number in 0..5 {
        assert_eq!(following.next(SOON).unwrap(), Received::Answer(echoed(&number.to_string())));
    }
    server.check_alive();
}

#[test]
fn a_follower_that_has_enough_gets_the_rest_and_the_end() {
    let server = Server::start();
    let mut following = server.follow(Topic::Drops { by_flow: false });
    following.next(SOON).unwrap();
    following.enough();
    let mut last = 0;
    while let Received::Answer(_) = following.next(SOON).unwrap() {
        last += 1;
    }
    assert_eq!(following.next(SOON).unwrap(), Received::End);
    server.await_ended(1);
    assert_eq!(server.told.load(Ordering::SeqCst), ENDED + 1 + last, "a row was made and not told");
}

/// As `kill -9` leaves it: the socket closes without a word.
#[test]
fn a_follower_that_vanishes_is_noticed() {
    let server = Server::start();
    for count in 1..=3 {
        let mut following = server.follow(Topic::Drops { by_flow: false });
        following.next(SOON).unwrap();
        drop(following);
        server.await_ended(count);
    }
}

#[test]
fn a_follower_that_does_not_read_makes_nothing_grow() {
    let server = Server::start();
    let mut following = server.follow(Topic::Counters);
    // Until the socket is full, and no more is made.
    let deadline = Instant::now() + SOON;
    let mut before = usize::MAX;
    while before != server.told.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "it grows and grows");
        before = server.told.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(500));
    }
    server.check_alive();
    for number in 0..before {
        assert_eq!(following.next(SOON).unwrap(), Received::Answer(echoed(&number.to_string())));
    }
    drop(following);
    server.await_ended(1);
}

#[test]
fn followers_have_a_limit_and_take_no_turns_from_others() {
    let server = Server::start();
    let mut followers: Vec<_> = (0..16).map(|_| server.follow(Topic::Drops { by_flow: false })).collect();
    for follower in &mut followers {
        assert!(matches!(follower.next(SOON).unwrap(), Received::Answer(_)));
    }
    let Err(ClientError::Refused(refusal)) = server.follow(Topic::Drops { by_flow: false }).next(SOON) else {
        panic!("not refused")
    };
    assert!(refusal.message.contains("too many"), "{refusal:?}");
    server.check_alive();
    // The feed of the refused client has ended as well, before the refusal was sent.
    assert_eq!(server.ended(), 1);
    followers.truncate(15);
    server.await_ended(2);
    assert!(matches!(server.follow(Topic::Drops { by_flow: false }).next(SOON).unwrap(), Received::Answer(_)));
}

#[test]
fn a_follower_that_talks_is_left_alone() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"{\"version\":1,\"body\":{\"follow\":{\"drops\":{\"by_flow\":false}}}}\n").unwrap();
    BufReader::new(&stream).read_line(&mut String::new()).unwrap();
    stream.write_all(b"and more").unwrap();
    server.await_ended(1);
    server.check_alive();
}

//! Connections that the kernel opens by itself, since the tables decide on all of their kind alike: without the daemon, and
//! with the same records, counts and ends as others.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, bind, connect, send, shutdown, socket_with,
};
use serde_json::Value;
use vnet::wire::build;

use crate::carried::Stopped;
use crate::flood::raw_towards;
use crate::flow_cache::{A, B, NOWHERE, counted, topology};
use crate::flows::Flows;
use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, eventually, saw};
use crate::trace::Trace;

const A6: &str = "fd00:1:0:1::4";
const B6: &str = "fd00:1:0:1::5";
const SERVER: u16 = 7000;

/// How a client ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// Listens in `b`, and sends back what it gets.
fn listen(lab: &Lab, address: &str) -> SocketAddr {
    serve(lab, address).0
}

/// The same, until the socket is shut down.
fn serve(lab: &Lab, address: &str) -> (SocketAddr, TcpListener) {
    let at = SocketAddr::new(address.parse().unwrap(), SERVER);
    let listener = lab.inside("b", || bound(|| TcpListener::bind(at)));
    let accepting = listener.try_clone().unwrap();
    thread::spawn(move || {
        for mut stream in accepting.incoming().map_while(Result::ok) {
            // A thread for each connection: one that loses its client's last packet never ends here.
            thread::spawn(move || {
                let mut word = [0; 4];
                while stream.read_exact(&mut word).is_ok() && stream.write_all(&word).is_ok() {}
            });
        }
    });
    (at, listener)
}

/// A connection from `a`, from this port if it is not 0: one word there and back.
fn exchange(lab: &Lab, to: SocketAddr, port: u16, end: End, patience: Duration) -> bool {
    let client = client(lab, to, port, patience);
    let ask = || -> std::io::Result<()> {
        connected(&client, &to)?;
        (&client).write_all(b"word")?;
        (&client).read_exact(&mut [0; 4])
    };
    let answered = ask().is_ok();
    if end == End::Reset {
        set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }
    answered
}

/// A socket in `a`, at this port if it is not 0.
fn client(lab: &Lab, to: SocketAddr, port: u16, patience: Duration) -> TcpStream {
    let from = SocketAddr::new(if to.is_ipv4() { A } else { A6 }.parse().unwrap(), port);
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    // Without it, a program that another test starts keeps the socket open for as long as it runs.
    let flags = SocketFlags::CLOEXEC;
    let client = lab.inside("a", || socket_with(family, SocketType::STREAM, flags, None).unwrap());
    set_socket_reuseaddr(&client, true).unwrap();
    bind(&client, &from).unwrap();
    let client = TcpStream::from(client);
    // `connect` waits for as long as a write may.
    client.set_write_timeout(Some(patience)).unwrap();
    client.set_read_timeout(Some(patience)).unwrap();
    client
}

/// A program that another test is starting has this process' sockets until it runs. So one that was closed may still have
/// its port.
fn connected(client: &TcpStream, to: &SocketAddr) -> std::io::Result<()> {
    let began = Instant::now();
    loop {
        match connect(client.as_fd(), to) {
            Err(Errno::ADDRNOTAVAIL) if began.elapsed() < SOON => thread::sleep(Duration::from_millis(1)),
            answer => return Ok(answer?),
        }
    }
}

/// Until connections need no daemon. Ports that are named are not used.
fn settle(lab: &Lab, to: SocketAddr) {
    eventually("the kernel opens connections by itself", || {
        assert!((0..6).all(|_| exchange(lab, to, 0, End::Fin, SOON)));
        let _stopped = Stopped::of(lab);
        exchange(lab, to, 0, End::Fin, NEVER)
    });
}

/// The flows from these ports at both ends, by end and port: all that does not depend on time.
fn flows(lab: &Lab, ports: std::ops::Range<u16>) -> BTreeMap<(String, u64), BTreeMap<String, Value>> {
    const KEPT: [&str; 7] =
        ["direction", "protocol", "sourceAddress", "destinationAddress", "destinationPort", "state", "access"];
    let rows = lab.data(&["flows", "--both", "--limit", "100000"]);
    let of_ports = |flow: &&Value| ports.contains(&(flow["sourcePort"].as_u64().unwrap() as u16));
    let kept = |flow: &Value| {
        let fields = flow.as_object().unwrap().iter();
        fields
            .filter(|(key, _)| KEPT.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let key = |flow: &Value| (flow["node"].as_str().unwrap().to_owned(), flow["sourcePort"].as_u64().unwrap());
    rows.as_array().unwrap().iter().filter(of_ports).map(|flow| (key(flow), kept(flow))).collect()
}

/// How often rules have decided, by their names.
fn hits(lab: &Lab, node: &str) -> BTreeMap<String, u64> {
    let rules = lab.data(&["rules", node]);
    let text = rules.to_string();
    let all = all_objects(&rules).into_iter().filter(|rule| rule["hits"].is_u64()).collect::<Vec<_>>();
    assert!(!all.is_empty(), "{text}");
    all.iter().map(|rule| (rule["name"].as_str().unwrap().to_owned(), rule["hits"].as_u64().unwrap())).collect()
}

/// The same, once they no longer change: a SYN of a client that gave up may still be in a queue.
fn settled_hits(lab: &Lab, node: &str) -> BTreeMap<String, u64> {
    let mut last = hits(lab, node);
    eventually("no rule decides any more", || {
        thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut last, hits(lab, node));
        before == last
    });
    last
}

fn all_objects(value: &Value) -> Vec<&Value> {
    let inside = match value {
        Value::Array(values) => values.iter().flat_map(all_objects).collect(),
        Value::Object(fields) => fields.values().flat_map(all_objects).collect(),
        _ => Vec::new(),
    };
    [vec![value], inside].concat()
}

#[test]
fn nsg_20_connections_without_the_daemon_are_recorded_and_counted_as_others() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    for (address, first) in [(B, 20_000), (B6, 21_000)] {
        let to = listen(&lab, address);
        settle(&lab, to);
        let before = settled_hits(&lab, "b");
        let counts = || ["a", "b"].map(|node| counted(&lab, node));
        let sent = counts();
        let ends = [End::Fin, End::Reset];
        {
            let _stopped = Stopped::of(&lab);
            for port in first..first + 20 {
                assert!(exchange(&lab, to, port, ends[usize::from(port) % 2], SOON), "{port}");
            }
        }
        eventually("all are recorded, and closed", || {
            let all = flows(&lab, first..first + 20);
            all.len() == 40 && all.values().all(|flow| flow["state"] == "Closed")
        });
        for ((node, port), flow) in flows(&lab, first..first + 20) {
            assert_eq!(flow["direction"], if node == "a" { "Outbound" } else { "Inbound" }, "{port}");
            assert_eq!((&flow["access"], &flow["destinationPort"]), (&"Allow".into(), &SERVER.into()), "{port}");
        }
        let after = hits(&lab, "b");
        let more: BTreeMap<_, _> = after
            .iter()
            .map(|(rule, count)| (rule.clone(), count - before[rule]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let names: Vec<_> = more.iter().map(|(rule, count)| (rule.rsplit('/').next().unwrap(), *count)).collect();
        assert_eq!(names, [("AllowVnetInBound", 20), ("AllowVnetOutBound", 20)]);
        eventually("what one machine sent, the other received", || {
            // From the lab's start: what came before may still have been on its way.
            let [a, b] = counts();
            // At least: SYN, ACK, word, and what ends it.
            a[0] - a[2] == b[1] && b[0] - b[2] == a[1] && a[0] - sent[0][0] >= 80
        });
    }
}

/// SYN, ACK and RST there; SYN with ACK back.
#[test]
fn nsg_20_each_packet_of_an_opened_connection_is_counted_once() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    let stopped = Stopped::of(&lab);
    let client = lab.inside("a", || TcpStream::connect_timeout(&to, SOON)).unwrap();
    let port = client.local_addr().unwrap().port();
    set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    drop(stopped);
    let rows = lab.data(&["flows", "--both", "--port", &port.to_string()]);
    let counts = |node: &str| {
        let flow = rows.as_array().unwrap().iter().find(|flow| flow["node"] == node).unwrap();
        ["packetsSent", "packetsReceived"].map(|field| flow[field].as_u64().unwrap())
    };
    assert_eq!([counts("a"), counts("b")], [[3, 1], [1, 3]], "{rows}");
}

/// A kernel without a socket computes its reset's checksum itself.
#[test]
fn nsg_21_a_refused_connection_needs_no_daemon_either() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    for (address, port) in [(B, 30_000), (B6, 30_001)] {
        let (to, listener) = serve(&lab, address);
        settle(&lab, to);
        shutdown(&listener, Shutdown::Both).unwrap();
        let stopped = Stopped::of(&lab);
        assert!(!exchange(&lab, to, port, End::Fin, SOON), "nobody listens");
        drop(stopped);
        let rows = lab.data(&["flows", "--both", "--port", &port.to_string()]);
        let ends = rows.as_array().unwrap().iter();
        let ends: Vec<_> = ends.map(|flow| (&flow["state"], &flow["packetsSent"], &flow["packetsReceived"])).collect();
        assert_eq!(ends, [(&"Closed".into(), &1.into(), &1.into()); 2], "{rows}");
    }
}

/// A reset with a byte in it, whose checksum no kernel has left to its device, comes up; here before the daemon has entered what the
/// kernel opened.
#[test]
fn nsg_20_a_reset_that_comes_up_ends_one_connection_and_leaves_its_kind_to_the_kernel() {
    const RST: u8 = 0x04;
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    for _ in 0..10 {
        let stopped = Stopped::of(&lab);
        let client = lab.inside("a", || TcpStream::connect_timeout(&to, SOON)).unwrap();
        let from = client.local_addr().unwrap();
        // Of no window that the server has: to it, this is nothing.
        lab.inside("a", || send(raw_towards(to), &build::tcp(from, to, RST, b"x"), SendFlags::empty()).unwrap());
        drop(stopped);
        let flow = |node: &str| {
            let rows = lab.data(&["flows", "--both", "--port", &from.port().to_string()]);
            rows.as_array().unwrap().iter().find(|flow| flow["node"] == node).cloned().unwrap_or_default()
        };
        eventually("the reset closes it", || flow("b")["state"] == "Closed");
        let ends = ["a", "b"].map(flow);
        let counts = ends.each_ref().map(|flow| [&flow["packetsSent"], &flow["packetsReceived"]]);
        assert_eq!(counts, [[3, 1], [1, 3]], "SYN, ACK and RST there; SYN with ACK back: {ends:?}");
        let _stopped = Stopped::of(&lab);
        let next = lab.inside("a", || TcpStream::connect_timeout(&to, SOON));
        assert!(next.is_ok(), "it is opened without the daemon");
    }
}

/// NSG-21: rules decide on each, count each, and none of them passes by the record of the one before.
#[test]
fn nsg_21_a_port_that_is_used_again_at_once_has_a_new_connection() {
    const CONNECTIONS: u64 = 200;
    const DENY: &str = "{name: no, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, \
                        sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', \
                        destinationPortRange: '*'}";
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    let before = settled_hits(&lab, "b");
    let port = |n: u64| 40_000 + (n % 4) as u16;
    for n in 0..CONNECTIONS {
        assert!(exchange(&lab, to, port(n), End::Reset, SOON), "{n}");
    }
    eventually("all are counted", || {
        let after = hits(&lab, "b");
        let more = |name: &str| {
            let of =
                |hits: &BTreeMap<String, u64>| hits.iter().find(|(rule, _)| rule.ends_with(name)).unwrap().1.to_owned();
            of(&after) - of(&before)
        };
        let more = ["AllowVnetInBound", "AllowVnetOutBound"].map(more);
        saw(format!("{more:?}"));
        more == [CONNECTIONS; 2]
    });
    lab.apply(&topology("veth", DENY, ""));
    for n in 0..4 {
        assert!(!exchange(&lab, to, port(n), End::Fin, NEVER), "{n}: a rule denies it now");
    }
}

/// NSG-21: a reset goes through the daemon, and the next connection from its port does not overtake it. If it did, the
/// server would take its SYN for one of the connection before, and the client would begin anew: a second decision.
#[test]
fn nsg_21_a_reset_on_its_way_is_not_overtaken_by_the_next_connection() {
    const PORT: u16 = 40_000;
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    for round in 0..3 {
        // While the entries of the first are there, the second is the daemon's. A moment later, there are none.
        assert!(exchange(&lab, to, PORT, End::Reset, SOON));
        let second = client(&lab, to, PORT, SOON);
        connected(&second, &to).unwrap();
        let before = settled_hits(&lab, "b");
        thread::sleep(NEVER);
        let third = {
            let _stopped = Stopped::of(&lab);
            set_socket_linger(&second, Some(Duration::ZERO)).unwrap();
            drop(second);
            let third = client(&lab, to, PORT, NEVER);
            assert!(
                connected(&third, &to).is_err(),
                "{round}: the reset waits for the daemon, and the SYN for the reset"
            );
            third
        };
        third.set_write_timeout(Some(SOON)).unwrap();
        eventually("it is made", || connected(&third, &to).is_ok());
        let after = settled_hits(&lab, "b");
        assert_eq!(after.values().sum::<u64>() - before.values().sum::<u64>(), 2, "{round}: decided once at both ends");
    }
}

#[test]
fn a_change_decides_on_the_next_connection() {
    const DENY_TCP: &str = "{name: no, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, \
                            sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', \
                            destinationPortRange: '*'}";
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    for (rules, routes, reason) in [(DENY_TCP, "", "NsgInbound"), ("", NOWHERE, "NextHopNone")] {
        for _ in 0..3 {
            lab.apply(&topology("veth", "", ""));
            settle(&lab, to);
            lab.apply(&topology("veth", rules, routes));
            assert!(!exchange(&lab, to, 0, End::Fin, NEVER), "{reason}");
            lab.await_drop("a", reason);
        }
    }
}

/// NSG-07: a rule that asks for the source port is asked for each connection.
#[test]
fn nsg_07_a_source_port_that_a_rule_denies_is_denied() {
    const LOW: &str = "{name: low, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, \
                       sourceAddressPrefix: '*', sourcePortRange: '100-200', destinationAddressPrefix: '*', \
                       destinationPortRange: '*'}";
    let Some(lab) = Lab::up(&topology("veth", LOW, "")) else { return };
    let to = listen(&lab, B);
    for port in 20_000..20_020 {
        assert!(exchange(&lab, to, port, End::Reset, SOON), "{port}");
    }
    assert!(!exchange(&lab, to, 150, End::Fin, NEVER));
    assert!(lab.drops("a", "NsgInbound") > 0);
    let _stopped = Stopped::of(&lab);
    assert!(!exchange(&lab, to, 0, End::Fin, NEVER), "each needs the daemon");
}

#[test]
fn a_trace_sees_the_first_packets_of_granted_connections() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    let mut trace = Trace::start(&lab, &["--count", "1", "tcp", "and", "src", "port", "23456"]);
    assert!(exchange(&lab, to, 23_456, End::Fin, SOON));
    let (seen, code) = trace.rest();
    assert_eq!((seen.len(), code), (1, 0));
    assert!(seen[0].to_string().contains("AllowVnetInBound"), "a rule decided: {}", seen[0]);
    drop(trace);
    settle(&lab, to);
}

#[test]
fn nsg_22_a_follower_hears_of_connections_that_the_kernel_opened() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    for (node, direction, rule) in [("a", "Outbound", "AllowVnetOutBound"), ("b", "Inbound", "AllowVnetInBound")] {
        let mut told = Flows::follow(&lab, &[node]);
        let port = if node == "a" { 22_222 } else { 22_223 };
        let stopped = Stopped::of(&lab);
        assert!(exchange(&lab, to, port, End::Fin, SOON));
        drop(stopped);
        let begun = std::iter::repeat_with(|| told.next("Begun")).find(|begun| begun["sourcePort"] == port).unwrap();
        assert_eq!((&begun["state"], &begun["direction"]), (&"SynSent".into(), &direction.into()), "{begun}");
        let packets = [&begun["packetsSent"], &begun["packetsReceived"]].map(|count| count.as_u64().unwrap());
        assert_eq!(packets, if node == "a" { [1, 0] } else { [0, 1] }, "{begun}");
        assert!(begun["rules"][0].as_str().unwrap().contains(rule), "{begun}");
    }
}

/// Connections that the daemon has not heard of take all of the credit. It comes back, and meanwhile the daemon decides.
#[test]
fn a_flood_of_connections_takes_no_more_than_the_credit_and_fills_nothing_for_good() {
    /// As src/sys/flow_cache.rs has it.
    const CREDIT: usize = 8192;
    /// A closed record stays for 10 seconds, as src/dataplane/state/flow/record.rs has it, and its last second has begun.
    const LINGER: Duration = Duration::from_secs(9);
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    eventually("the credit is whole again", || lab.data(&["status"])["carriedFlows"] == 0);
    let stopped = Stopped::of(&lab);
    // Each from another port: a port that is used again goes up. The last one waits for less than closed records stay.
    let ports = 10_000..10_000 + 2 * CREDIT as u16;
    // On a busy machine a single one may be answered late.
    let (mut opened, mut unanswered) = (Vec::new(), 0);
    for port in ports {
        let begun = Instant::now();
        let answered = exchange(&lab, to, port, End::Reset, 5 * NEVER);
        opened.extend(answered.then_some(begun));
        unanswered = if answered { 0 } else { unanswered + 1 };
        if unanswered == 3 {
            break;
        }
    }
    drop(stopped);
    let both = lab.data(&["flows", "--both", "--limit", "100000"]).as_array().unwrap().len();
    let fresh = opened.iter().filter(|begun| begun.elapsed() < LINGER).count();
    assert!(both >= 2 * fresh, "each has its records: {both} of {fresh}, and {}", opened.len());
    // A busy machine may have had the daemon's last reading before.
    assert!((CREDIT - 20..=CREDIT).contains(&opened.len()), "{}", opened.len());
    assert!(exchange(&lab, to, 0, End::Fin, SOON), "with the daemon");
    settle(&lab, to);
}

/// Other connections may have its credit then: a flood of first packets takes no more than it takes in a second.
#[test]
fn a_connection_that_nobody_answers_leaves_the_kernel_after_a_second() {
    const SYN: u8 = 0x02;
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    eventually("the others are over", || lab.data(&["status"])["carriedFlows"] == 0);
    assert!(lab.exec("b", &["ip", "route", "add", "blackhole", A]).status.success());
    let stopped = Stopped::of(&lab);
    let from = format!("{A}:33333").parse().unwrap();
    lab.inside("a", || send(raw_towards(to), &build::tcp(from, to, SYN, b""), SendFlags::empty()).unwrap());
    drop(stopped);
    let rows = lab.data(&["flows", "--both", "--port", "33333"]);
    let states: Vec<_> = rows.as_array().unwrap().iter().map(|flow| &flow["state"]).collect();
    assert_eq!(states, ["SynSent", "SynSent"], "{rows}");
    eventually("the kernel carries it no more", || lab.data(&["status"])["carriedFlows"] == 0);
}

/// The kernel opens none where it might open more than there is room for.
#[test]
fn nsg_26_an_interface_gets_no_more_connections_than_its_limit() {
    let Some(lab) = Lab::up(&topology("veth, flowsPerNic: 60", "", "")) else { return };
    let to = listen(&lab, B);
    let mut held = Vec::new();
    eventually("a connection is refused", || {
        let opened = lab.inside("a", || TcpStream::connect_timeout(&to, NEVER));
        let is_refused = opened.is_err();
        held.extend(opened.ok());
        is_refused
    });
    assert!((50..=60).contains(&held.len()), "{}", held.len());
    lab.await_drop("a", "FlowLimit");
}

#[test]
fn nsg_26_where_room_is_scarce_connections_come_up_again() {
    /// Beside what the kernel may open at once, as src/sys/flow_cache.rs has it.
    const ROOM: usize = 50;
    let Some(lab) = Lab::up(&topology(&format!("veth, flowsPerNic: {}", 8192 + ROOM), "", "")) else { return };
    let to = listen(&lab, B);
    settle(&lab, to);
    let connect = || lab.inside("a", || TcpStream::connect_timeout(&to, NEVER)).ok();
    let mut held: Vec<_> = std::iter::repeat_with(connect).take(ROOM).collect();
    eventually("the kernel opens none", || {
        let _stopped = Stopped::of(&lab);
        let opened = connect();
        let is_up_to_the_daemon = opened.is_none();
        held.push(opened);
        is_up_to_the_daemon
    });
    held.push(connect());
    assert!(held.last().unwrap().is_some(), "the daemon has room for it");
    assert!(lab.data(&["flows", "a", "--limit", "100000"]).as_array().unwrap().len() >= ROOM);
}

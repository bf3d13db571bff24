//! Flows that the kernel carries (`device: veth`): they are seen, counted and ended as any others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use vnet::sys::netlink::Netlink;
use vnet::sys::netns;
use vnet::sys::process::{ProcessId, Signal};

use crate::capture_files::captured;
use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, eventually, stdout};

pub(crate) const A: &str = "10.1.1.4";
pub(crate) const B: &str = "10.1.1.5";
pub(crate) const PORT: u16 = 9;

/// Two machines with a rule set that has room for one more rule, and a route table for more routes.
pub(crate) fn topology(device: &str, rules: &str, routes: &str) -> String {
    format!(
        "emulation: {{device: {device}}}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets:
      - {{name: s, addressPrefixes: [10.1.1.0/24, 'fd00:1:0:1::/64'], networkSecurityGroup: g, routeTable: r}}
networkSecurityGroups: [{{name: g, flushConnection: true, securityRules: [{rules}]}}]
routeTables: [{{name: r, routes: [{routes}]}}]
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: b, networkInterfaces: [{{subnet: v/s}}]}}
"
    )
}

pub(crate) const DENY: &str = "{name: no, priority: 100, direction: Inbound, access: Deny, protocol: Udp, \
                    sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', \
                    destinationPortRange: '*'}";
pub(crate) const NOWHERE: &str = "{name: b, addressPrefix: 10.1.1.5/32, nextHopType: None}";

/// One flow of datagrams that are sent back.
pub(crate) struct Echo {
    client: UdpSocket,
    pub(crate) server: UdpSocket,
}

impl Echo {
    /// From `a` to `b`; port 0 is any.
    pub(crate) fn new(lab: &Lab, port: u16) -> Self {
        let bind = |node, address: SocketAddr| lab.inside(node, || bound(|| UdpSocket::bind(address)));
        let (client, server) = (
            bind("a", SocketAddr::new(A.parse().unwrap(), port)),
            bind("b", SocketAddr::new(B.parse().unwrap(), PORT)),
        );
        client.connect((B, PORT)).unwrap();
        client.set_read_timeout(Some(NEVER)).unwrap();
        Self { client, server }
    }

    /// How many of these datagrams reach the server.
    fn arrive(&self, count: usize, patience: Duration) -> usize {
        self.server.set_read_timeout(Some(patience)).unwrap();
        (0..count).for_each(|_| drop(self.client.send(b"out")));
        let mut buffer = [0; 64];
        (0..count).take_while(|_| self.server.recv_from(&mut buffer).is_ok()).count()
    }

    /// How many of these datagrams come back, one after another.
    pub(crate) fn exchange(&self, count: usize, patience: Duration) -> usize {
        let mut buffer = [0; 64];
        self.server.set_read_timeout(Some(patience)).unwrap();
        self.client.set_read_timeout(Some(patience)).unwrap();
        let back = |_: &usize| {
            self.client.send(b"there").unwrap();
            let Ok((length, peer)) = self.server.recv_from(&mut buffer) else { return false };
            self.server.send_to(&buffer[..length], peer).unwrap();
            self.client.recv(&mut buffer).is_ok()
        };
        (0..count).filter(back).count()
    }

    /// Until the kernel carries both directions.
    pub(crate) fn settle(&self, lab: &Lab) {
        eventually("the kernel carries the flow", || {
            assert_eq!(self.exchange(4, SOON), 4);
            carried(lab) >= 2
        });
    }
}

fn carried(lab: &Lab) -> u64 {
    lab.data(&["status"])["carriedFlows"].as_u64().unwrap()
}

fn daemon(lab: &Lab) -> ProcessId {
    ProcessId::of(lab.data(&["status"])["pid"].as_u64().unwrap() as u32).unwrap()
}

/// Packets that came from a node's interface, that went to it, and that were dropped.
pub(crate) fn counted(lab: &Lab, node: &str) -> [u64; 3] {
    let rows = lab.data(&["counters"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["node"] == node).unwrap().clone();
    ["rxPackets", "txPackets", "drops"].map(|field| row[field].as_u64().unwrap())
}

#[test]
fn a_known_flow_goes_on_without_the_daemon_and_is_counted() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 5000);
    echo.settle(&lab);
    let other = lab.inside("a", || UdpSocket::bind((A, 5001)).unwrap());
    let before = [counted(&lab, "a"), counted(&lab, "b")];
    let daemon = daemon(&lab);
    assert!(daemon.signal(Signal::STOP).unwrap());
    let through = echo.exchange(1000, NEVER);
    other.send_to(b"new", (B, PORT)).unwrap();
    let new = echo.server.recv_from(&mut [0; 8]).is_ok();
    assert!(daemon.signal(Signal::CONT).unwrap());
    assert_eq!((through, new), (1000, false), "the kernel alone carries what is known, and nothing else");
    echo.server.set_read_timeout(Some(SOON)).unwrap();
    assert!(echo.server.recv_from(&mut [0; 8]).is_ok(), "the daemon decides on the new flow");

    // What the daemon sends is counted once it is sent.
    eventually("the new flow is counted", || counted(&lab, "b")[1] - before[1][1] >= 1001);
    let after = [counted(&lab, "a"), counted(&lab, "b")];
    let forwarded = |[from, _, dropped]: [u64; 3]| from - dropped;
    assert_eq!(forwarded(after[0]) - forwarded(before[0]), 1001, "from a, with that of the new flow");
    assert_eq!(after[1][1] - before[1][1], 1001, "to b, with that of the new flow");
    assert_eq!(forwarded(after[1]) - forwarded(before[1]), 1000, "from b");
    let flows = lab.data(&["flows", "--port", "5000"]);
    let flow = &flows.as_array().unwrap()[0];
    let sent = flow["packetsSent"].as_u64().unwrap();
    assert!(sent >= 1004, "{flow}");
    assert_eq!(flow["packetsReceived"], sent, "{flow}");
    // Headers, and a word of five letters.
    assert_eq!(flow["bytesSent"], sent * 33, "{flow}");
}

#[test]
fn no_packet_goes_by_old_tables_once_a_change_is_reported() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 0);
    for change in [("", NOWHERE), (DENY, "")] {
        for _ in 0..3 {
            lab.apply(&topology("veth", "", ""));
            echo.settle(&lab);
            lab.apply(&topology("veth", change.0, change.1));
            assert_eq!(echo.arrive(20, NEVER), 0, "{change:?}");
        }
    }
    eventually("all are counted", || lab.drops("a", "NextHopNone") >= 60 && lab.drops("a", "NsgInbound") >= 60);
}

/// Each change sends the flow up again, and then it moves: while datagrams come in bursts, so that some are on their way up.
#[test]
fn no_packet_overtakes_another_when_a_flow_moves() {
    const BURST: u64 = 32;
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 0);
    echo.settle(&lab);
    let done = AtomicBool::new(false);
    let (sent, seen, overtaken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // No more than a queue holds.
                if sent.load(Ordering::Relaxed) < seen.load(Ordering::Relaxed) + 500 {
                    for _ in 0..BURST {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        echo.client.send(&number.to_be_bytes()).unwrap();
                    }
                }
                // Now and then the router must have forwarded all: a flow that never empties its queue moves all the same. A
                // receiver that is late loses datagrams.
                let pause = sent.load(Ordering::Relaxed) / BURST % 11;
                thread::sleep(Duration::from_micros(100 * pause));
                let began = Instant::now();
                while pause == 0
                    && seen.load(Ordering::Relaxed) + 1 < sent.load(Ordering::Relaxed)
                    && began.elapsed() < Duration::from_millis(50)
                {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        });
        scope.spawn(|| {
            let mut buffer = [0; 8];
            echo.server.set_read_timeout(Some(NEVER)).unwrap();
            while !done.load(Ordering::Relaxed) {
                if matches!(echo.server.recv(&mut buffer), Ok(8)) {
                    let number = u64::from_be_bytes(buffer);
                    overtaken.fetch_add(u64::from(number < seen.load(Ordering::Relaxed)), Ordering::Relaxed);
                    seen.fetch_max(number, Ordering::Relaxed);
                }
            }
        });
        for change in 0..60 {
            lab.apply(&topology(
                "veth",
                "",
                &format!("{{name: n, addressPrefix: 10.9.{change}.0/24, nextHopType: None}}"),
            ));
            eventually("the kernel carries the flow", || carried(&lab) >= 1);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(seen.into_inner() > 10_000);
    assert_eq!(overtaken.into_inner(), 0, "of {}", sent.into_inner());
}

#[test]
fn what_the_daemon_has_made_goes_with_it() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 0);
    echo.settle(&lab);
    lab.crash();
    let guest = lab.node("a");
    eventually("the device is gone", || guest.run(|| Netlink::open().unwrap().link("eth0").is_err()).unwrap());
    assert_eq!(echo.arrive(5, NEVER), 0);
    assert!(lab.down().status.success());
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
}

#[test]
fn a_trace_sees_the_packets_of_known_flows() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 0);
    echo.settle(&lab);
    let mut trace = crate::trace::Trace::start(&lab, &["--count", "20", "udp"]);
    assert_eq!(echo.exchange(10, SOON), 10);
    let (seen, code) = trace.rest();
    assert_eq!((seen.len(), code), (20, 0));
    drop(trace);
    echo.settle(&lab);
}

/// Packets of a flow that are in a file or counted as missed there; and all that were sent, with those that came back.
fn in_file(lab: &Lab, file: &Value) -> ([u64; 2], u64) {
    let flows = lab.data(&["flows", "--port", "5000"]);
    let flow = &flows.as_array().unwrap()[0];
    let [sent, back] = ["packetsSent", "packetsReceived"].map(|field| flow[field].as_u64().unwrap());
    let missed = file["faces"].as_array().unwrap().iter().map(|face| face["missed"].as_u64().unwrap()).sum();
    ([file["packets"].as_array().unwrap().len() as u64, missed], sent + back)
}

#[test]
fn a_capture_has_the_packets_of_known_flows() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 5000);
    let before = mappings(&lab);
    let (file, _folder) = captured(&lab, &["a", "udp"], || {
        echo.settle(&lab);
        assert!(mappings(&lab) > before);
        let daemon = daemon(&lab);
        assert!(daemon.signal(Signal::STOP).unwrap());
        let through = echo.exchange(100, NEVER);
        assert!(daemon.signal(Signal::CONT).unwrap());
        assert_eq!(through, 100, "they stay with the kernel");
    });
    eventually("the memory for copies is given back", || mappings(&lab) == before);
    let ([written, missed], all) = in_file(&lab, &file);
    assert_eq!((written, missed), (all, 0));
    let mut packets: Vec<_> = file["packets"].as_array().unwrap().iter().collect();
    // A packet's time is before its answer's. A worker may still write it into the file after the answer.
    packets.sort_by_key(|packet| packet["time"].as_u64());
    for (at, packet) in packets.iter().enumerate() {
        // There and back again.
        assert_eq!(packet["way"], if at % 2 == 0 { 2 } else { 1 }, "{packet}");
        // Headers, and a word of five letters.
        assert_eq!((&packet["kept"], &packet["whole"]), (&33.into(), &33.into()), "{packet}");
        assert!(packet["comment"].as_str().unwrap().starts_with("delivered\n"), "{packet}");
    }
    let (file, _folder) = captured(&lab, &["a", "tcp"], || assert_eq!(echo.exchange(100, SOON), 100));
    assert_eq!(file["packets"].as_array().unwrap().len(), 0, "of another flow");
    let (file, _folder) = captured(&lab, &["a", "--snap", "64", "udp"], || {
        echo.settle(&lab);
        (0..10).for_each(|_| drop(echo.client.send(&[7; 500])));
    });
    let long: Vec<_> = file["packets"].as_array().unwrap().iter().filter(|packet| packet["whole"] == 528).collect();
    assert!(long.len() == 10 && long.iter().all(|packet| packet["kept"] == 64), "{long:?}");
}

/// How many parts of maps the daemon has in its memory.
fn mappings(lab: &Lab) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon(lab).pid)).unwrap();
    maps.lines().filter(|line| line.contains("bpf-map")).count()
}

/// Of some flows workers take the packets, of others the kernel sends copies.
/// Open sockets keep the namespace for a while, but no packet reaches them any more.
#[test]
fn a_flow_is_carried_no_more_where_the_namespace_of_a_machine_was_deleted() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 5000);
    echo.settle(&lab);
    netns::unbind(&netns::name_path(&format!("{}-b", lab.name))).unwrap();
    eventually("nothing arrives", || echo.arrive(1, NEVER) == 0);
    lab.await_drop("a", "NodeDown");
    assert_eq!((echo.arrive(100, NEVER), carried(&lab)), (0, 0));
}

#[test]
fn captured_packets_are_in_the_order_in_which_they_came() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 5000);
    let (file, _folder) = captured(&lab, &["a", "udp"], || {
        echo.settle(&lab);
        let before = counted(&lab, "a")[0];
        for port in 6000..6200 {
            let new = lab.inside("a", || bound(|| UdpSocket::bind((A, port))));
            new.send_to(b"new", (B, PORT + 1)).unwrap();
            assert_eq!(echo.exchange(1, SOON), 1);
        }
        // New ones wait for a worker, while the kernel carries the others past them.
        eventually("a worker has taken the last", || counted(&lab, "a")[0] >= before + 400);
    });
    let packets = file["packets"].as_array().unwrap();
    let new = packets.iter().filter(|packet| packet["whole"] == 31).count();
    assert!(new == 200 && packets.len() >= 600, "{new} of {}, {}", packets.len(), file["faces"]);
    let times: Vec<_> = packets.iter().map(|packet| packet["time"].as_u64().unwrap()).collect();
    let mut latest = 0;
    let mut is_late = |time: u64| {
        latest = latest.max(time);
        time < latest
    };
    let late: Vec<_> = times.iter().map(|time| is_late(*time)).collect();
    // A worker that is interrupted between a packet's time and its place in the file is late, with a whole batch.
    let batches = late.chunk_by(|one, other| one == other).filter(|batch| batch[0]).count();
    assert!(batches < 20, "{batches} batches of {} packets are late", times.len());
}

#[test]
fn copies_that_find_no_room_are_counted_and_no_packet_waits_for_them() {
    const SENT: usize = 20_000;
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 5000);
    let (file, _folder) = captured(&lab, &["a,b", "udp"], || {
        echo.settle(&lab);
        let before = counted(&lab, "b")[1];
        let daemon = daemon(&lab);
        assert!(daemon.signal(Signal::STOP).unwrap());
        (0..SENT).for_each(|_| drop(echo.client.send(&[7; 1200])));
        assert!(daemon.signal(Signal::CONT).unwrap());
        assert_eq!(counted(&lab, "b")[1] - before, SENT as u64, "all are carried");
    });
    let ([written, missed], all) = in_file(&lab, &file);
    assert_eq!(written + missed, all);
    assert!(missed > 1000 && written > 5000, "{written} written, {missed} missed");
}

#[test]
fn flows_that_no_trace_wants_stay_with_the_kernel() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 0);
    // One that can be told from other packets before they are decided, and one that cannot.
    for filter in [&["tcp"][..], &["dropped"]] {
        let _trace = crate::trace::Trace::start(&lab, filter);
        echo.settle(&lab);
        let daemon = daemon(&lab);
        assert!(daemon.signal(Signal::STOP).unwrap());
        let through = echo.exchange(100, NEVER);
        assert!(daemon.signal(Signal::CONT).unwrap());
        assert_eq!(through, 100, "{filter:?}");
    }
}

#[test]
fn packets_to_a_device_that_is_off_are_dropped_and_counted() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, 0);
    echo.settle(&lab);
    lab.switch("b", "eth0", "down");
    eventually("packets are dropped", || {
        let before = lab.drops("a", "NodeDown");
        echo.arrive(5, NEVER);
        lab.drops("a", "NodeDown") == before + 5
    });
    lab.switch("b", "eth0", "up");
    eventually("packets arrive", || echo.exchange(1, NEVER) == 1);
    echo.settle(&lab);
}

#[test]
fn a_connection_ends_in_its_record() {
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let mut ended = BTreeMap::new();
    for to in [B, B, B, "fd00:1:0:1::5"] {
        thread::scope(|scope| {
            let transfer = scope.spawn(|| lab.tcp("a", "b", to, 8080, 20_000_000));
            // The last segments may be under way at its end. A closed flow is not kept for long.
            eventually("all are closed", || {
                let is_over = transfer.is_finished();
                let flows = lab.data(&["flows", "--port", "8080"]).as_array().unwrap().clone();
                let sent = |flow: &Value| (flow["sourcePort"].as_u64(), flow["bytesSent"].as_u64().unwrap());
                ended.extend(flows.iter().map(sent));
                is_over && flows.iter().all(|flow| flow["state"] == "Closed")
            });
            assert_eq!(transfer.join().unwrap(), Some(20_000_000));
        });
    }
    assert_eq!(ended.len(), 4, "{ended:?}");
    assert!(ended.values().all(|bytes| *bytes > 20_000_000), "{ended:?}");
    eventually("what came from a and was not dropped went to b", || {
        let [from, to] = ["a", "b"].map(|node| counted(&lab, node));
        from[0] - from[2] == to[1]
    });
}

#[test]
fn status_tells_what_devices_are() {
    // What machines get by themselves, where there is root.
    let Some(lab) = Lab::up(&topology("auto", "", "")) else { return };
    assert_eq!(lab.data(&["status"])["device"], "veth");
    let said = stdout(&lab.vnet(&["status"]));
    assert!(said.contains("Devices veth, the kernel carries 0 flows"), "{said}");
    let Some(lab) = Lab::up(&topology("tap", "", "")) else { return };
    let status = lab.data(&["status"]);
    assert_eq!((&status["device"], &status["carriedFlows"]), (&Value::from("tap"), &Value::Null));
}

/// What one lab has made of the same traffic as another.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Datagrams that arrived, step by step.
    arrived: Vec<usize>,
    /// By step at which they were read: flows without their times.
    flows: Vec<Vec<Value>>,
    /// By node: packets that came from it and went on, packets to it, and drops by reason.
    counters: BTreeMap<String, (u64, u64, BTreeMap<String, u64>)>,
}

/// Random datagrams between two machines, with changes of rules and routes in between.
fn outcome(device: &str, seed: u64) -> Option<Outcome> {
    const CHANGES: [(&str, &str); 4] = [("", ""), (DENY, ""), ("", NOWHERE), ("", "")];
    const NODES: [(&str, &str); 2] = [("a", A), ("b", B)];
    let lab = Lab::up(&topology(device, "", ""))?;
    let bind = |node, address: &str, port| {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        let socket = lab.inside(node, || bound(|| UdpSocket::bind(address)));
        socket.set_read_timeout(Some(NEVER)).unwrap();
        socket
    };
    let sockets: Vec<_> = NODES
        .iter()
        .map(|(node, address)| (0..4).map(|n| bind(*node, address, 6000 + n)).collect::<Vec<_>>())
        .collect();
    let mut random = seed;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut outcome, mut lost) = (Outcome::default(), [0; 2]);
    for step in 0..100 {
        if step % 20 == 19 {
            outcome.flows.push(timeless(&lab));
            let (rules, routes) = CHANGES[next(4) as usize];
            lab.apply(&topology(device, rules, routes));
        }
        let (from, source, target) = (next(2) as usize, next(4) as usize, next(4) as usize);
        let to = SocketAddr::new(NODES[1 - from].1.parse().unwrap(), 6000 + target as u16);
        let (count, length) = (1 + next(8) as usize, next(1400) as usize);
        let receiver = &sockets[1 - from][target];
        let came = |from: usize| counted(&lab, NODES[from].0)[0];
        let before = came(from);
        for _ in 0..count {
            sockets[from][source].send_to(&vec![7; length], to).unwrap();
        }
        // On a busy machine they take longer than a datagram is waited for.
        eventually("the router has all", || came(from) >= before + count as u64);
        let mut buffer = [0; 1500];
        let mut take = |most: usize| (0..most).take_while(|_| receiver.recv_from(&mut buffer).is_ok()).count();
        let mut arrived = take(count);
        // On a busy machine they may be late, and which of them are dropped is known then.
        eventually("each arrives or is dropped", || {
            let dropped = || dropped(&lab, NODES[from].0).values().sum::<u64>() - lost[from];
            let decided = arrived == count || dropped() >= (count - arrived) as u64;
            arrived += if decided { 0 } else { take(count - arrived) };
            decided
        });
        lost[from] += (count - arrived) as u64;
        outcome.arrived.push(arrived);
    }
    outcome.flows.push(timeless(&lab));
    for (node, _) in NODES {
        let [from, to, dropped] = counted(&lab, node);
        outcome.counters.insert(node.to_owned(), (from - dropped, to, self::dropped(&lab, node)));
    }
    Some(outcome)
}

/// By reason; without what a kernel sends on its link by itself, which depends on the link.
fn dropped(lab: &Lab, node: &str) -> BTreeMap<String, u64> {
    let rows = lab.data(&["drops"]);
    let rows = rows.as_array().unwrap().iter().filter(|row| row["node"] == node);
    let mut reasons = BTreeMap::new();
    for row in rows.filter(|row| row["reason"] != "Ipv6Control" && row["reason"] != "Multicast") {
        *reasons.entry(row["reason"].as_str().unwrap().to_owned()).or_default() += row["packets"].as_u64().unwrap();
    }
    reasons
}

fn timeless(lab: &Lab) -> Vec<Value> {
    let flows = lab.data(&["flows"]);
    let mut flows = flows.as_array().unwrap().clone();
    flows.retain(|flow| flow["protocol"] == "Udp");
    for flow in &mut flows {
        let flow = flow.as_object_mut().unwrap();
        flow.retain(|key, _| !key.to_lowercase().contains("seconds") && !key.to_lowercase().contains("millis"));
    }
    flows.sort_by_key(ToString::to_string);
    flows
}

#[test]
fn the_kernel_and_the_workers_do_the_same() {
    const SEED: u64 = 1;
    let Some(tun) = outcome("tun", SEED) else { return };
    let veth = outcome("veth", SEED).unwrap();
    assert_eq!(tun.arrived, veth.arrived);
    assert_eq!(tun.counters, veth.counters);
    for (reading, (one, other)) in tun.flows.iter().zip(&veth.flows).enumerate() {
        let only = |these: &[Value], those: &[Value]| {
            these.iter().filter(|flow| !those.contains(flow)).map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert!(one == other, "reading {reading}\n{}\n{}", only(one, other), only(other, one));
    }
    assert!(tun.arrived.contains(&0) && tun.arrived.contains(&8), "{:?}", tun.arrived);
}

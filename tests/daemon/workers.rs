//! Worker threads by themselves, between devices that are sockets: which of them reads and writes what, and how ports come
//! and go.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, unbounded};
use vnet::compile::compile;
use vnet::dataplane::{DropReason, FlowLimits, Flows, Ingress, NicId, PortId, Snapshot};
use vnet::model::Learned;
use vnet::sys::tun::{Tun, TunQueue};
use vnet::wire::{Offload, build};
use vnet::worker::{Event, FlowEvents, MAX_PORTS, PortTally, Tables, Workers};

use crate::{DEADLINE, eventually, network, received};

/// Two machines, which are the ports 0 and 1.
const PAIR: &str = "
name: pair
emulation: {platformServices: false}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.0.4}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.0.5}]}
";
const A: PortId = PortId(0);
const B: PortId = PortId(1);

struct Threads {
    workers: Workers,
    tables: Tables,
    events: Receiver<Event>,
}

impl Threads {
    fn start(snapshot: Arc<Snapshot>, ports: Vec<Vec<TunQueue>>, workers: usize) -> Self {
        let tables = Tables {
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            flows: Arc::new(Flows::new(FlowLimits::default())),
            taps: Arc::default(),
            events: FlowEvents::default(),
            carried: None,
        };
        let (sender, events) = unbounded();
        Self { workers: Workers::start(&tables, ports, workers, &sender).unwrap(), tables, events }
    }

    /// What each worker counted at a port: packets read, packets written, packets dropped.
    fn counted(&self, port: PortId) -> Vec<[u64; 3]> {
        let ports = self.workers.tallies().iter().map(|tally| tally.port(port));
        ports.map(|port| [port.rx_packets(), port.tx_packets(), dropped(port)]).collect()
    }
}

fn dropped(port: &PortTally) -> u64 {
    DropReason::ALL.into_iter().map(|reason| port.drops(reason)).sum()
}

fn pair() -> Arc<Snapshot> {
    compile(&network(PAIR), &Learned::default(), 1).snapshot
}

/// A device with so many queues, and the guest behind each.
fn device(queues: usize) -> (Vec<TunQueue>, Vec<UnixDatagram>) {
    let (own, guests): (Vec<_>, Vec<UnixDatagram>) = (0..queues).map(|_| UnixDatagram::pair().unwrap()).unzip();
    for guest in &guests {
        guest.set_read_timeout(Some(DEADLINE)).unwrap();
        guest.set_write_timeout(Some(DEADLINE)).unwrap();
    }
    (Tun::of_sockets(own).unwrap().queues, guests)
}

fn send(guest: &UnixDatagram, (from, to): (&str, &str), payload: &[u8]) -> io::Result<usize> {
    let packet = build::udp(from.parse().unwrap(), to.parse().unwrap(), payload);
    guest.send(&[&Offload::default().encode(), &packet[..]].concat())
}

/// Waits until the queue behind a guest is closed. A program that another test starts at this moment keeps it open until its
/// exec. No worker reads what is sent until then.
fn closes(guest: &UnixDatagram) {
    eventually(|| send(guest, TO_B, b"unread").is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock));
}

const TO_B: (&str, &str) = ("10.0.0.4:1000", "10.0.0.5:53");
const NOWHERE: (&str, &str) = ("10.0.0.4:1000", "10.9.9.9:53");

/// Each worker reads its own queue and writes to it; one without a queue writes to the last.
#[test]
fn a_worker_has_its_queue_of_each_port_and_queues_beyond_them_close() {
    let ((a, from), (b, to)) = (device(4), device(2));
    let threads = Threads::start(pair(), vec![a, b], 3);
    for (worker, queue) in [(0, 0), (1, 1), (2, 1)] {
        let payload = format!("by {worker}");
        send(&from[worker], TO_B, payload.as_bytes()).unwrap();
        assert_eq!(received(&to[queue]), payload.as_bytes());
    }
    closes(&from[3]);
    eventually(|| threads.counted(B) == [[0, 1, 0]; 3]);
    assert_eq!(threads.counted(A), [[1, 0, 0]; 3]);
    assert_eq!(threads.workers.running(), 3);
    threads.workers.stop();
    threads.workers.stop();
    assert_eq!(threads.workers.running(), 0);
    closes(&from[0]);
}

#[test]
fn another_port_of_a_number_counts_from_zero_and_others_go_on() {
    let ((a, from), (b, _old)) = (device(1), device(1));
    let threads = Threads::start(pair(), vec![a, b], 1);
    let workers = &threads.workers;
    send(&from[0], TO_B, b"to the first").unwrap();
    send(&from[0], NOWHERE, b"to nobody").unwrap();
    eventually(|| threads.counted(A) == [[2, 0, 1]] && threads.counted(B) == [[0, 1, 0]]);
    drop(workers.unplug(&[B]));
    assert!(workers.is_alive(A) && !workers.is_alive(B));
    assert_eq!(threads.counted(B), [[0, 1, 0]], "it can still be asked");
    let (b, to) = device(1);
    workers.plug(vec![(B, b)]).unwrap();
    assert!(workers.is_alive(B));
    assert_eq!((threads.counted(A), threads.counted(B)), (vec![[2, 0, 1]], vec![[0, 0, 0]]));
    let remembered = || workers.tallies().iter().flat_map(|tally| tally.dropped().list()).count();
    assert_eq!(remembered(), 1, "of the port that stays");
    send(&from[0], TO_B, b"to the second").unwrap();
    assert_eq!(received(&to[0]), b"to the second");
    // The same for the port that dropped a packet.
    drop(workers.unplug(&[A]));
    let (a, from) = device(1);
    workers.plug(vec![(A, a)]).unwrap();
    assert_eq!((threads.counted(A), remembered()), (vec![[0, 0, 0]], 0));
    send(&from[0], TO_B, b"again").unwrap();
    assert_eq!(received(&to[0]), b"again");
}

#[test]
fn a_port_has_a_number_below_the_most_and_no_other_has_its_flag() {
    let threads = Threads::start(pair(), Vec::new(), 1);
    let workers = &threads.workers;
    assert!([A, B, PortId(u32::MAX)].iter().all(|port| !workers.is_alive(*port)));
    let most = u32::try_from(MAX_PORTS).unwrap();
    let refused = workers.plug(vec![(A, device(1).0), (PortId(most), device(1).0)]).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string()),
        (io::ErrorKind::InvalidInput, "port 65536: at most 65536".to_owned())
    );
    assert!(!workers.is_alive(A), "all or none");
    workers.plug(vec![(PortId(most - 1), device(1).0), (PortId(2), device(1).0)]).unwrap();
    let alive = || [0, 1, 2, 3, most - 2, most - 1].map(|port| workers.is_alive(PortId(port)));
    assert_eq!(alive(), [false, false, true, false, false, true]);
    let unplugged = workers.unplug(&[PortId(most - 1)]);
    assert_eq!(alive(), [false, false, true, false, false, false]);
    drop(unplugged);
}

/// What a worker lets go closes where the caller drops it.
#[test]
fn queues_are_open_until_they_are_dropped() {
    let ((a, guests), (b, to)) = (device(2), device(2));
    let threads = Threads::start(pair(), vec![a, b], 2);
    let unplugged = threads.workers.unplug(&[A]);
    assert!(guests.iter().all(|guest| send(guest, TO_B, b"waits").is_ok()));
    drop(unplugged);
    guests.iter().for_each(closes);
    assert!(to.iter().all(|guest| send(guest, ("10.0.0.5:1", "10.0.0.4:2"), b"is dropped").is_ok()));
    eventually(|| threads.counted(B) == [[1, 0, 1]; 2]);
    assert_eq!(threads.counted(A), [[0; 3]; 2]);
}

/// Orders are followed by the others.
#[test]
fn a_worker_that_panics_is_named_and_is_asked_no_more() {
    let broken = Snapshot { ports: vec![Ingress::Nic(NicId(7))], ..Snapshot::default() };
    let (a, from) = device(2);
    let threads = Threads::start(Arc::new(broken), vec![a], 2);
    send(&from[1], TO_B, b"a port of an interface that is not there").unwrap();
    let event = threads.events.recv_timeout(DEADLINE).unwrap();
    let Event::WorkerFailed { worker: 1, error } = event else { panic!("{event:?}") };
    assert_eq!(error.to_string(), "it panicked: this is a bug in vnet");
    eventually(|| threads.workers.running() == 1);
    threads.tables.snapshot.store(pair());
    threads.workers.refresh().unwrap();
    let (b, to) = device(2);
    threads.workers.plug(vec![(B, b)]).unwrap();
    send(&from[0], TO_B, b"by the other").unwrap();
    assert_eq!(received(&to[0]), b"by the other");
    closes(&from[1]);
    assert!(threads.events.try_recv().is_err(), "told once");
}

const BALANCED: &str = "
name: balanced
emulation: {platformServices: false}
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: f, subnet: v/s, privateIPAddress: 10.0.0.100}]
    backendAddressPools: [{name: p}]
    loadBalancingRules:
      - {name: r, frontendIPConfiguration: f, backendAddressPool: p, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.0.4}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.0.5, loadBalancerBackendAddressPools: [lb/p]}]}
";

/// Sends a segment, and returns the flags of the next one that the other guest gets.
fn segment(from: &UnixDatagram, (src, dst): (&str, &str), flags: u8, to: &UnixDatagram) -> u8 {
    let mut packet = build::tcp(src.parse().unwrap(), dst.parse().unwrap(), flags, b"");
    // It acknowledges all before this number, which a reset needs; the device vouches for its checksum.
    packet[31] = 1;
    let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    from.send(&[&vouched.encode(), &packet[..]].concat()).unwrap();
    flags_of_next(to)
}

fn flags_of_next(guest: &UnixDatagram) -> u8 {
    let mut frame = [0; 2000];
    let len = guest.recv(&mut frame).unwrap();
    frame[Offload::LEN..len][33]
}

/// A worker looks for idle connections by itself. A mapping notes a packet once in 16 seconds, so this test takes as long.
#[test]
fn lb_25_workers_reset_an_idle_connection_by_themselves() {
    let mut network = network(BALANCED);
    // A file says minutes.
    network.load_balancers[0].rules[0].idle_timeout = Duration::from_secs(1);
    let snapshot = compile(&network, &Learned::default(), 1).snapshot;
    let ((a, client), (b, backend)) = (device(1), device(1));
    let (client, backend) = (&client[0], &backend[0]);
    let _threads = Threads::start(snapshot, vec![a, b], 2);
    let to = ("10.0.0.4:7", "10.0.0.100:80");
    assert_eq!(segment(client, to, 0x02, backend), 0x02);
    assert_eq!(segment(backend, ("10.0.0.5:8080", "10.0.0.4:7"), 0x12, client), 0x12);
    assert_eq!(segment(client, to, 0x10, backend), 0x10);
    assert_eq!([client, backend].map(|guest| flags_of_next(guest) & 0x04), [0x04, 0x04], "RST");
}

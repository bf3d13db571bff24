//! One worker's forwarding with devices in memory: what is counted where, and how failures of a device show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use vnet::compile::compile;
use vnet::config;
use vnet::dataplane::{
    Direction, DropReason, FlowEvent, FlowLimits, Flows, NicId, Pattern, PortId, RuleId, Snapshot, Step, Timestamp,
};
use vnet::model::Learned;
use vnet::wire::{Offload, Packet, build};
use vnet::worker::{
    Batch, Device, FlowEvents, FlowScope, Forwarder, Received, RecvError, SendError, Tables, Tally, Watch,
};

pub(crate) const A: PortId = PortId(0);
pub(crate) const B: PortId = PortId(1);

/// A queue in memory: frames to be read, frames written, and what the next calls fail with.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) incoming: Mutex<VecDeque<Vec<u8>>>,
    pub(crate) outgoing: Mutex<Vec<Vec<u8>>>,
    recv_error: Mutex<Option<RecvError>>,
    pub(crate) send_error: Mutex<Option<SendError>>,
    answers: AtomicUsize,
}

impl Device for Memory {
    fn recv(&self, frame: &mut [u8]) -> Result<Received, RecvError> {
        let Some(next) = self.incoming.lock().unwrap().pop_front() else {
            return Err(self.recv_error.lock().unwrap().unwrap_or(RecvError::Empty));
        };
        frame[..next.len()].copy_from_slice(&next);
        Ok(next.len().into())
    }

    fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        self.send_error.lock().unwrap().map_or_else(
            || {
                self.outgoing.lock().unwrap().push(frame.to_vec());
                Ok(())
            },
            Err,
        )
    }

    fn takes_udp_super_packets(&self) -> bool {
        true
    }

    fn answer(&self, _frame: &mut [u8]) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two peered VNets, one TUN each.
pub(crate) struct Bench {
    pub(crate) a: Arc<Memory>,
    pub(crate) b: Arc<Memory>,
    pub(crate) tables: Tables,
    tally: Arc<Tally>,
    forwarder: Forwarder<Memory>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::telling(FlowEvents::default())
    }

    fn telling(events: FlowEvents) -> Self {
        Self::with(FlowLimits::default(), events)
    }

    fn with(limits: FlowLimits, events: FlowEvents) -> Self {
        let flows = Arc::new(Flows::new(limits));
        let snapshot = Arc::new(ArcSwap::new(snapshot("", 1)));
        let tables = Tables { snapshot, flows, taps: Arc::default(), events, carried: None };
        let (a, b) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
        let tally = Arc::new(Tally::new(2));
        let forwarder = Forwarder::new(&tables, vec![Arc::clone(&a), Arc::clone(&b)], Arc::clone(&tally));
        Self { a, b, tables, tally, forwarder }
    }

    /// The guest on `a` sends; one batch from its port follows.
    pub(crate) fn send(&mut self, frame: Vec<u8>) -> Batch {
        self.a.incoming.lock().unwrap().push_back(frame);
        self.batch()
    }

    pub(crate) fn batch(&mut self) -> Batch {
        self.forwarder.batch(A, Timestamp(0))
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.tally.port(A).drops(reason)
    }

    pub(crate) fn assert_counters_add_up(&self) {
        let ports = [A, B].map(|port| self.tally.port(port));
        let received: u64 = ports.iter().map(|port| port.rx_packets()).sum();
        let sent: u64 = ports.iter().map(|port| port.tx_packets()).sum();
        let dropped: u64 = ports.iter().flat_map(|port| DropReason::ALL.map(|reason| port.drops(reason))).sum();
        assert_eq!(received, sent + dropped);
    }
}

pub(crate) fn snapshot(subnet_b: &str, generation: u64) -> Arc<Snapshot> {
    let text = format!(
        "
name: two
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{{name: default, addressPrefix: 10.1.0.0/16}}]
    virtualNetworkPeerings: [{{name: a-b, remoteVirtualNetwork: b}}]
    attach: {{namespace: a, interface: tun0}}
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{{name: default, addressPrefix: 10.2.0.0/16{subnet_b}}}]
    virtualNetworkPeerings: [{{name: b-a, remoteVirtualNetwork: a}}]
    attach: {{namespace: b, interface: tun0}}
networkSecurityGroups:
  - name: closed
    securityRules:
      - {{name: deny, priority: 100, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}}
"
    );
    let network = config::load(&text, "two.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network;
    compile(&network, &Learned::default(), generation).snapshot
}

/// A frame with no work left undone.
pub(crate) fn whole(packet: &[u8]) -> Vec<u8> {
    [&Offload::default().encode(), packet].concat()
}

fn datagram() -> Vec<u8> {
    datagram_from_port(5000)
}

pub(crate) fn datagram_from_port(port: u16) -> Vec<u8> {
    let src = format!("10.1.0.4:{port}").parse().unwrap();
    whole(&build::udp(src, "10.2.0.4:53".parse().unwrap(), b"hello"))
}

#[test]
fn fab_02_the_fabric_answers_for_all_addresses_but_the_guests_own() {
    let mut bench = Bench::new();
    for (address, answered) in [("10.1.0.1", true), ("10.2.0.4", true), ("fd00::1", true), ("10.1.0.4", false)] {
        *bench.a.recv_error.lock().unwrap() = Some(RecvError::Question(address.parse().unwrap()));
        // It is as bounded as what is forwarded.
        let Batch { frames, gone } = bench.batch();
        assert!(!gone);
        let answers = bench.a.answers.swap(0, Ordering::Relaxed);
        assert_eq!(answers, if answered { frames } else { 0 }, "{address}");
        assert!((2..1000).contains(&frames), "{frames}");
    }
    assert_eq!(bench.tally.port(A).rx_packets(), 0, "a question is no packet");
}

#[test]
fn fab_01_what_is_no_ip_packet_is_dropped_and_counted() {
    let mut bench = Bench::new();
    *bench.a.recv_error.lock().unwrap() = Some(RecvError::Foreign);
    let Batch { frames, .. } = bench.batch();
    assert_eq!(bench.drops(DropReason::Malformed), frames as u64);
    bench.assert_counters_add_up();
}

#[test]
fn a_frame_is_written_on_as_it_came_and_counted_on_both_ports() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(datagram()), Batch { frames: 1, gone: false });
    assert_eq!(*bench.b.outgoing.lock().unwrap(), [datagram()]);
    let (a, b) = (bench.tally.port(A), bench.tally.port(B));
    let bytes = (datagram().len() - Offload::LEN) as u64;
    assert_eq!((a.rx_packets(), a.rx_bytes(), a.tx_packets()), (1, bytes, 0));
    assert_eq!((b.tx_packets(), b.tx_bytes(), b.rx_packets()), (1, bytes, 0));
    bench.assert_counters_add_up();
}

#[test]
fn bytes_beyond_the_packet_are_not_passed_on() {
    let mut bench = Bench::new();
    bench.send([datagram(), vec![0; 7]].concat());
    assert_eq!(*bench.b.outgoing.lock().unwrap(), [datagram()]);
}

#[test]
fn a_super_packet_stays_whole_and_counts_as_its_segments() {
    let mut bench = Bench::new();
    let (src, dst) = ("10.1.0.4:5000".parse().unwrap(), "10.2.0.4:80".parse().unwrap());
    let packet = build::tcp(src, dst, 0x10, &[7; 2500]);
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        gso_type: Offload::GSO_TCPV4,
        hdr_len: 40,
        gso_size: 1000,
        csum_start: 20,
        csum_offset: 16,
    };
    let frame = [&offload.encode(), &packet[..]].concat();
    bench.send(frame.clone());
    assert_eq!(*bench.b.outgoing.lock().unwrap(), [frame]);
    // Three segments; each has the 40 bytes of headers.
    assert_eq!(bench.tally.port(A).rx_packets(), 3);
    assert_eq!(bench.tally.port(A).rx_bytes(), 2500 + 3 * 40);
    assert_eq!(bench.tally.port(B).tx_packets(), 3);
}

#[test]
fn a_batch_is_bounded_so_that_other_ports_have_their_turn() {
    let mut bench = Bench::new();
    bench.a.incoming.lock().unwrap().extend((0..100).map(|_| datagram()));
    assert_eq!(bench.batch(), Batch { frames: 64, gone: false });
    assert_eq!(bench.batch(), Batch { frames: 36, gone: false });
    assert_eq!(bench.batch(), Batch { frames: 0, gone: false });
    assert_eq!(bench.b.outgoing.lock().unwrap().len(), 100);
}

#[test]
fn what_is_no_packet_is_counted_by_what_is_wrong_with_it() {
    let mut bench = Bench::new();
    bench.send(vec![0; 3]);
    bench.send(whole(&[]));
    bench.send(whole(&[0x45; 12]));
    assert_eq!(bench.drops(DropReason::Malformed), 3);
    let mut damaged = datagram();
    damaged[Offload::LEN + 10] ^= 1;
    bench.send(damaged);
    assert_eq!(bench.drops(DropReason::BadChecksum), 1);
    assert!(bench.b.outgoing.lock().unwrap().is_empty());
    bench.assert_counters_add_up();
}

#[test]
fn a_refused_write_is_a_drop_at_the_port_of_entry() {
    let mut bench = Bench::new();
    for (error, reason) in [
        (SendError::Full, DropReason::QueueFull),
        (SendError::Down, DropReason::NodeDown),
        (SendError::Refused, DropReason::Malformed),
    ] {
        *bench.b.send_error.lock().unwrap() = Some(error);
        bench.send(datagram());
        assert_eq!(bench.drops(reason), 1, "{reason}");
    }
    assert_eq!(bench.tally.port(B).tx_packets(), 0);
    bench.assert_counters_add_up();
}

#[test]
fn a_device_that_is_gone_is_neither_read_nor_written_again() {
    let mut bench = Bench::new();
    *bench.b.recv_error.lock().unwrap() = Some(RecvError::Gone);
    let gone = Batch { frames: 0, gone: true };
    assert_eq!(bench.forwarder.batch(B, Timestamp(0)), gone);
    bench.b.incoming.lock().unwrap().push_back(datagram());
    assert_eq!(bench.forwarder.batch(B, Timestamp(0)), gone);
    bench.send(datagram());
    assert_eq!(bench.drops(DropReason::NodeDown), 1);
    assert!(bench.b.outgoing.lock().unwrap().is_empty());
    bench.assert_counters_add_up();
}

#[test]
fn a_batch_after_a_publication_sees_the_new_tables() {
    let mut bench = Bench::new();
    bench.send(datagram_from_port(1000));
    bench.tables.snapshot.store(snapshot(", networkSecurityGroup: closed", 2));
    bench.send(datagram_from_port(1001));
    assert_eq!(bench.drops(DropReason::NsgInbound), 1);
    bench.tables.snapshot.store(snapshot("", 3));
    bench.send(datagram_from_port(1002));
    assert_eq!(*bench.b.outgoing.lock().unwrap(), [datagram_from_port(1000), datagram_from_port(1002)]);
}

/// A datagram of a guest with offloads: its checksum is still to be completed.
pub(crate) fn unfinished(src_port: u16, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (format!("10.1.0.4:{src_port}").parse().unwrap(), "10.2.0.4:53".parse().unwrap());
    let offload = Offload { flags: Offload::NEEDS_CSUM, csum_start: 20, csum_offset: 6, ..Offload::default() };
    let mut packet = build::udp(src, dst, payload);
    // May not be fragmented, so its identification does not matter; the header checksum knows.
    packet[6] = 0x40;
    let sum = u16::from_be_bytes([packet[10], packet[11]]);
    packet[10..12].copy_from_slice(&sum.wrapping_sub(0x4000).to_be_bytes());
    [&offload.encode(), &packet[..]].concat()
}

/// Source port and payload of each datagram of a frame, super-packets cut apart.
fn datagrams(frame: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let (header, packet) = frame.split_first_chunk().unwrap();
    let gso_size = usize::from(Offload::decode(header).gso_size);
    let (port, payload) = (u16::from_be_bytes([packet[20], packet[21]]), &packet[28..]);
    if gso_size == 0 {
        return vec![(port, payload.to_vec())];
    }
    payload.chunks(gso_size).map(|segment| (port, segment.to_vec())).collect()
}

#[test]
fn under_load_a_run_of_datagrams_leaves_as_one_super_packet() {
    let mut bench = Bench::new();
    let run: Vec<_> = (0..64).map(|n| unfinished(5000, &[n; 100])).collect();
    bench.a.incoming.lock().unwrap().extend(run.iter().cloned());
    bench.batch();
    assert_eq!(bench.b.outgoing.lock().unwrap().len(), 64, "nothing is held before there is load");
    bench.b.outgoing.lock().unwrap().clear();

    bench.a.incoming.lock().unwrap().extend(run.iter().cloned());
    bench.batch();
    let outgoing = bench.b.outgoing.lock().unwrap().clone();
    assert_eq!(outgoing.len(), 1);
    let expected = Offload {
        flags: Offload::NEEDS_CSUM,
        gso_type: Offload::GSO_UDP_L4,
        hdr_len: 28,
        gso_size: 100,
        csum_start: 20,
        csum_offset: 6,
    };
    assert_eq!(Offload::decode(outgoing[0].first_chunk().unwrap()), expected);
    assert_eq!(datagrams(&outgoing[0]), run.iter().flat_map(|frame| datagrams(frame)).collect::<Vec<_>>());
    assert_eq!(bench.tally.port(B).tx_packets(), 128);
    assert_eq!(bench.tally.port(B).tx_bytes(), 128 * 128);
    assert_eq!(bench.tally.port(A).rx_bytes(), 128 * 128);
}

#[test]
fn datagrams_lost_together_are_counted_singly() {
    let mut bench = Bench::new();
    *bench.b.send_error.lock().unwrap() = Some(SendError::Full);
    bench.a.incoming.lock().unwrap().extend((0..128).map(|_| unfinished(5000, b"x")));
    bench.batch();
    bench.batch();
    assert_eq!(bench.drops(DropReason::QueueFull), 128);
    bench.assert_counters_add_up();
}

#[test]
fn order_within_a_flow_never_changes() {
    let mut bench = Bench::new();
    let mut state = 1_u32;
    let mut random = |bound: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % bound
    };
    let mut sent = Vec::new();
    for n in 0..20_000_u32 {
        // Few flows in long runs, then many: trains that fill, end, collide and give up.
        let port = 1000 + random(if n % 8_000 < 4_000 { 3 } else { 100 }) as u16;
        let size = if random(4) == 0 { random(9) as usize } else { 8 };
        let payload = [&n.to_be_bytes()[..], &[0; 8]].concat()[..4 + size].to_vec();
        // Some guests complete their checksums: such a datagram must not overtake those that are held.
        let finished = || {
            let src = format!("10.1.0.4:{port}").parse().unwrap();
            whole(&build::udp(src, "10.2.0.4:53".parse().unwrap(), &payload))
        };
        let frame = if random(20) == 0 { finished() } else { unfinished(port, &payload) };
        bench.a.incoming.lock().unwrap().push_back(frame);
        sent.push((port, payload));
    }
    while bench.batch().frames > 0 {}
    let outgoing = bench.b.outgoing.lock().unwrap().clone();
    assert!(outgoing.len() < 15_000, "{} frames: few were joined", outgoing.len());
    let mut received: Vec<_> = outgoing.iter().flat_map(|frame| datagrams(frame)).collect();
    // Stable: what stays in order is exactly the order within each flow.
    received.sort_by_key(|(port, _)| *port);
    sent.sort_by_key(|(port, _)| *port);
    assert!(received == sent);
    bench.assert_counters_add_up();
}

#[test]
fn each_decision_of_a_rule_is_counted_and_followers_of_records_meet_none() {
    let mut bench = Bench::new();
    let closed = snapshot(", networkSecurityGroup: closed", 1);
    bench.tables.snapshot.store(Arc::clone(&closed));
    bench.tally.rules().make_room(100);
    let hits = |bench: &Bench| (0..100).map(|n| bench.tally.rules().get(RuleId::new(n))).collect::<Vec<_>>();
    bench.send(datagram());
    bench.send(datagram());
    let filter = closed.nic(NicId(1)).inbound.subnet.unwrap();
    let deny = closed.acl(filter).id(0).unwrap();
    assert_eq!(bench.tally.rules().get(deny), 2, "each refused packet counts");
    assert_eq!(hits(&bench).iter().sum::<u64>(), 2);
    bench.tables.snapshot.store(snapshot("", 2));
    bench.send(datagram());
    assert_eq!(hits(&bench).iter().sum::<u64>(), 2, "without an NSG no rule decides");
    bench.tally.rules().reset(deny);
    assert_eq!(hits(&bench).iter().sum::<u64>(), 0);
}

/// The drop of one packet says nothing about the next.
#[test]
fn a_dropped_packet_is_logged_with_the_interface_and_the_rule_that_denied_it() {
    let mut bench = Bench::new();
    let closed = snapshot(", networkSecurityGroup: closed", 1);
    bench.tables.snapshot.store(Arc::clone(&closed));
    bench.send(datagram());
    bench.send(datagram());
    let nowhere = "10.9.0.4:53".parse().unwrap();
    bench.send(whole(&build::udp("10.1.0.4:5000".parse().unwrap(), nowhere, b"x")));
    let mut logged = bench.tally.dropped().list();
    logged.sort_by_key(|dropped| std::cmp::Reverse(dropped.packets));
    let deny = closed.acl(closed.nic(NicId(1)).inbound.subnet.unwrap()).id(0);
    let [first, other] = logged[..] else { panic!("{logged:?}") };
    assert_eq!((first.ingress, first.reason, first.packets), (A, DropReason::NsgInbound, 2));
    assert_eq!((first.by, first.tuple.dst_port, first.last), (Some((NicId(1), deny)), 53, Timestamp(0)));
    assert_eq!((other.by, other.packets), (None, 1), "no rule has denied it");
}

/// Each network has half of the records here. The fourth flow is one too many for an interface's share of nine, and for
/// its network's share of eight. Answered flows are not pushed out.
#[test]
fn nsg_26_a_drop_says_whose_records_are_too_many() {
    let limits = |per_nic, total| FlowLimits { per_nic, total };
    let cases = [
        (limits(3, 100), DropReason::FlowLimit),
        (limits(100, 9), DropReason::FlowLimit),
        (limits(100, 8), DropReason::NetworkFlowLimit),
    ];
    for (limits, reason) in cases {
        let mut bench = Bench::with(limits, FlowEvents::default());
        for port in 1..=3 {
            bench.send(datagram_from_port(port));
            let (server, client) = ("10.2.0.4:53".parse().unwrap(), format!("10.1.0.4:{port}").parse().unwrap());
            bench.b.incoming.lock().unwrap().push_back(whole(&build::udp(server, client, b"answer")));
            bench.forwarder.batch(B, Timestamp(0));
        }
        assert_eq!((bench.a.outgoing.lock().unwrap().len(), bench.tally.dropped().list().len()), (3, 0), "{limits:?}");
        bench.send(datagram_from_port(4));
        let logged = bench.tally.dropped().list();
        assert_eq!(
            logged.iter().map(|dropped| (dropped.reason, dropped.by)).collect::<Vec<_>>(),
            [(reason, Some((NicId(0), None)))]
        );
    }
}

#[test]
fn only_logged_interfaces_report_flow_events_and_packets_do_not_wait_for_them() {
    let events = FlowEvents::default();
    let mut told = events.listen(FlowScope::Logged, 2);
    let mut bench = Bench::telling(events.clone());
    bench.send(datagram_from_port(1));
    assert_eq!(told.events().count(), 0, "no interface is logged");

    let mut logging = snapshot("", 2);
    Arc::get_mut(&mut logging).unwrap().nics[1].flows.logged = true;
    bench.tables.snapshot.store(logging);
    bench.send(datagram_from_port(2));
    let [FlowEvent::Begun(begun)] = told.events().collect::<Vec<_>>()[..] else { panic!("a flow has begun") };
    assert_eq!((begun.nic, begun.admitted, begun.tuple.src_port), (NicId(1), Direction::Inbound, 2));
    assert_eq!(begun.received.packets, 1);
    bench.send(datagram_from_port(2));
    assert_eq!(told.events().count(), 0, "a packet that follows is no event");

    (10..15).for_each(|port| assert_eq!(bench.send(datagram_from_port(port)).frames, 1));
    assert_eq!(told.events().count(), 2);
    assert_eq!((told.missed(), told.missed()), (3, 0));
}

#[test]
fn while_a_client_follows_all_interfaces_report_and_flow_logs_get_no_more_than_before() {
    let events = FlowEvents::default();
    let mut bench = Bench::telling(events.clone());
    let logging = events.listen(FlowScope::Logged, 8);
    let mut following = events.listen(FlowScope::Every, 8);
    bench.send(datagram_from_port(1));
    let nics: Vec<_> = following.events().map(|event| event.nic()).collect();
    assert_eq!(nics, [NicId(0), NicId(1)], "both ends have begun one");
    assert_eq!((logging.events().count(), following.missed()), (0, 0));
    let another = events.listen(FlowScope::Every, 8);
    drop(following);
    bench.send(datagram_from_port(2));
    assert_eq!(another.events().count(), 2);
    drop(another);
    let mut late = events.listen(FlowScope::Logged, 8);
    bench.send(datagram_from_port(3));
    assert_eq!((late.events().count(), late.missed()), (0, 0));
}

/// A client and a backend of a load balancer with a rule that resets both ends of an idle connection.
const BALANCED: &str = "
name: balanced
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: f, subnet: v/s, privateIPAddress: 10.1.0.100}]
    backendAddressPools: [{name: p}]
    loadBalancingRules:
      - {name: r, frontendIPConfiguration: f, backendAddressPool: p, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}]}
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.4}]}
  - {name: backend, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.5, loadBalancerBackendAddressPools: [lb/p]}]}
";

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// A segment that acknowledges all before the sequence number 1, its checksum left to the device.
fn acknowledging(src: SocketAddr, dst: SocketAddr, flags: u8) -> Vec<u8> {
    let mut segment = build::tcp(src, dst, flags, b"");
    segment[31] = 1;
    let vouched = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    [&vouched.encode(), &segment[..]].concat()
}

/// With a connection of a client on A to a backend on B, by a load balancer. It idles.
fn balanced() -> Bench {
    let mut bench = Bench::new();
    let network = config::load(BALANCED, "balanced.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network;
    bench.tables.snapshot.store(compile(&network, &Learned::default(), 2).snapshot);
    let (client, frontend, backend) = (at("10.1.0.4", 7), at("10.1.0.100", 80), at("10.1.0.5", 8080));
    bench.send(whole(&build::tcp(client, frontend, 0x02, b"")));
    bench.b.incoming.lock().unwrap().push_back(acknowledging(backend, client, 0x12));
    bench.forwarder.batch(B, Timestamp(0));
    bench.send(acknowledging(client, frontend, 0x10));
    bench
}

const fn after(secs: u64) -> Timestamp {
    Timestamp(secs * 1_000_000_000)
}

#[test]
fn lb_25_both_ends_of_an_idle_connection_get_a_reset_and_the_counters_add_up() {
    let mut bench = balanced();
    let (client, frontend, backend) = (at("10.1.0.4", 7), at("10.1.0.100", 80), at("10.1.0.5", 8080));
    let sent = |bench: &Bench| [&bench.a, &bench.b].map(|device| device.outgoing.lock().unwrap().len());
    let counted = |bench: &Bench| {
        let [a, b] = [A, B].map(|port| bench.tally.port(port));
        let received = (a.rx_packets() + b.rx_packets(), a.rx_bytes() + b.rx_bytes());
        (received, [a, b].map(|port| (port.tx_packets(), port.tx_bytes())))
    };
    assert_eq!((sent(&bench), counted(&bench)), ([1, 2], ((3, 120), [(1, 40), (2, 80)])));

    bench.forwarder.reset_idle(after(239), usize::MAX);
    assert_eq!(sent(&bench), [1, 2], "not yet");
    let watch = Watch::new(Arc::clone(&bench.tables.taps), Pattern::All(Vec::new()));
    bench.forwarder.reset_idle(after(260), usize::MAX);
    assert_eq!((sent(&bench), counted(&bench)), ([2, 3], ((5, 200), [(2, 80), (3, 120)])));
    let seen: BTreeMap<_, _> = watch
        .records()
        .map(|traced| (traced.leg.packet().unwrap().to_string(), format!("{:?}", traced.leg.steps().last().unwrap())))
        .collect();
    let delivered = |port: PortId| format!("{:?}", Step::Delivered { port });
    assert_eq!(seen.into_values().collect::<BTreeSet<_>>(), BTreeSet::from([delivered(A), delivered(B)]));
    for (device, src, dst) in [(&bench.a, frontend, client), (&bench.b, client, backend)] {
        let mut reset = device.outgoing.lock().unwrap().last().unwrap()[Offload::LEN..].to_vec();
        assert_eq!((&reset[24..28], reset[33]), (&[0, 0, 0, 1][..], 0x04), "RST, and the number that it expects");
        let packet = Packet::parse(&mut reset, Offload::default()).unwrap();
        let tuple = packet.tuple();
        assert_eq!((tuple.src, tuple.src_port), (src.ip(), src.port()));
        assert_eq!((tuple.dst, tuple.dst_port), (dst.ip(), dst.port()));
    }
    bench.assert_counters_add_up();
    bench.forwarder.reset_idle(after(600), usize::MAX);
    assert_eq!(sent(&bench), [2, 3], "once");
}

#[test]
fn lb_25_a_reset_that_cannot_be_sent_is_a_drop() {
    for (error, reason) in [(SendError::Full, DropReason::QueueFull), (SendError::Down, DropReason::NodeDown)] {
        let mut bench = balanced();
        *bench.b.send_error.lock().unwrap() = Some(error);
        bench.forwarder.reset_idle(after(260), usize::MAX);
        let sent = [&bench.a, &bench.b].map(|device| device.outgoing.lock().unwrap().len());
        assert_eq!(sent, [2, 2], "the other end gets its reset");
        assert_eq!([A, B].map(|port| bench.tally.port(port).drops(reason)).iter().sum::<u64>(), 1);
        bench.assert_counters_add_up();
    }
}

/// A route that came since then leads the reset for the client nowhere: the same drop as of any packet there.
#[test]
fn lb_25_a_reset_that_a_route_drops_is_counted() {
    let mut bench = balanced();
    let table = "routeTables: [{name: t, routes: [{name: no, addressPrefix: 10.1.0.4/32, nextHopType: None}]}]";
    let routed = BALANCED
        .replace("{name: s, addressPrefix: 10.1.0.0/24}", "{name: s, addressPrefix: 10.1.0.0/24, routeTable: t}");
    let network = config::load(&format!("{routed}{table}\n"), "balanced.yaml").unwrap().network;
    bench.tables.snapshot.store(compile(&network, &Learned::default(), 3).snapshot);
    let dropped = |bench: &Bench| [A, B].map(|port| bench.tally.port(port).drops(DropReason::NextHopNone));
    bench.forwarder.reset_idle(after(260), usize::MAX);
    let sent = [&bench.a, &bench.b].map(|device| device.outgoing.lock().unwrap().len());
    assert_eq!((sent, dropped(&bench).iter().sum::<u64>()), ([1, 3], 1), "its backend gets one");
    bench.assert_counters_add_up();
}

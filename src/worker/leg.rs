//! A leg that the kernel may carry: its ends, what its packets look like at each, and the state that it stands on.
//!
//! One idea: a leg is known by two tuples, as its sender sends it and as its receiver gets it. Records, the mapping and the
//! kernel's entry all follow from these.

use std::iter::zip;
use std::net::IpAddr;

use crate::dataplane::{
    Direction, FlowState, Flows, Followed, FollowedMapping, NicId, PortId, Signal, Snapshot, Standing, Timestamp,
    Traffic, UsedMapping,
};
use crate::sys::flow_cache::{Flow, FlowKey};
use crate::wire::ethernet::FABRIC;
use crate::wire::{Packet, Tuple};

use super::device::KernelPort;

/// Flags of TCP that begin or end a connection: FIN, SYN, RST.
const TURNS: u8 = 7;
/// Flags of the answer to a connection's first packet: SYN and ACK.
const ANSWERS: u8 = 0x12;

/// The leg of a packet that went by records, mappings and tables alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    sent: Tuple,
    /// Between two translations.
    between: Option<Tuple>,
    delivered: Tuple,
    mappings: [Option<UsedMapping>; 2],
    /// As it is sent, and by how many hops less it is delivered.
    ttl: u8,
    hops: u8,
    /// The packet begins or ends a connection.
    turns: bool,
    /// It answers the first one of a connection.
    answers: bool,
    ends: [NicId; 2],
    /// Whether each end keeps records.
    recorded: [bool; 2],
    ports: [PortId; 2],
}

/// What a leg stands on. If it is another one later, so is the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    /// When each end's record began.
    begun: [Timestamp; 2],
    /// Seconds without a packet after which one of its mappings ends.
    idle_secs: u16,
}

/// A packet of a known flow, and its ports as the kernel knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) leg: Leg,
    pub(super) from: KernelPort,
    pub(super) to: KernelPort,
    /// Read before the tables that decided.
    pub(super) epoch: u64,
    /// The kernel carried the flow until this packet.
    pub(super) ended: bool,
}

impl Leg {
    /// Its ports are set once they are known.
    pub(super) fn of(packet: &Packet<'_>, followed: &Followed<'_>) -> Self {
        let Followed { sent, sender, receiver, recorded, mappings, between, hops } = *followed;
        Self {
            sent: *sent,
            between,
            delivered: *packet.tuple(),
            mappings,
            // Its hops are counted already.
            ttl: packet.ttl() + hops,
            hops,
            turns: packet.tcp_flags().is_some_and(|flags| flags & TURNS != 0),
            answers: packet.tcp_flags().is_some_and(|flags| flags & (TURNS | ANSWERS) == ANSWERS),
            ends: [sender, receiver],
            recorded,
            ports: [PortId(0); 2],
        }
    }

    pub(super) fn between(self, ingress: PortId, egress: PortId) -> Self {
        Self { ports: [ingress, egress], ..self }
    }

    /// The flow as its sender sends it.
    pub(super) const fn sent(&self) -> &Tuple {
        &self.sent
    }

    /// Whether its receiver gets other bytes than its sender sends: a copy of a packet is of those alone.
    pub(super) fn is_rewritten(&self) -> bool {
        self.is_translated() || self.hops > 0
    }

    /// Whether its receiver sees another tuple.
    fn is_translated(&self) -> bool {
        self.sent != self.delivered
    }

    /// Each end's NIC, if it keeps records, and how its records know the flow.
    fn passages(&self) -> [(Option<NicId>, Direction, &Tuple); 2] {
        let nic = |end: usize| self.recorded[end].then_some(self.ends[end]);
        [(nic(0), Direction::Outbound, &self.sent), (nic(1), Direction::Inbound, &self.delivered)]
    }

    /// Of a connection that was opened between two machines: its legs there and back. `ends` and `ports` are those of who
    /// opened it, and of the other.
    pub(super) fn of_opened(sent: Tuple, ends: [NicId; 2], ports: [PortId; 2], ttls: [u8; 2]) -> [Self; 2] {
        let leg = |sent: Tuple, ends: [NicId; 2], ports: [PortId; 2], ttl: u8| Self {
            sent,
            between: None,
            delivered: sent,
            mappings: [None; 2],
            ttl,
            hops: 0,
            turns: false,
            answers: false,
            ends,
            recorded: [true; 2],
            ports,
        };
        let reversed = |[one, other]: [NicId; 2]| [other, one];
        let back = leg(sent.mirrored(), reversed(ends), [ports[1], ports[0]], ttls[1]);
        [leg(sent, ends, ports, ttls[0]), back]
    }

    /// Whether the packet answers the first one of a connection between two machines, which nothing translates.
    pub(super) fn answers_plainly(&self) -> bool {
        self.answers && !self.is_rewritten() && self.mappings == [None; 2] && self.recorded == [true; 2]
    }

    /// Whether another leg is its packets' way back.
    pub(super) fn is_answered_by(&self, back: &Self) -> bool {
        back.delivered == self.sent.mirrored()
    }

    /// Whether another leg's packets come to the same receiver in the same form.
    pub(super) fn arrives_as(&self, other: &Self) -> bool {
        self.delivered == other.delivered
    }

    fn followed(&self) -> impl Iterator<Item = FollowedMapping<'_>> {
        let Self { sent, between, delivered, mappings, .. } = self;
        let ways = [(sent, between.as_ref().unwrap_or(delivered)), (between.as_ref().unwrap_or(sent), delivered)];
        let used = zip(mappings, ways).filter_map(|(used, way)| Some((used.as_ref()?, way)));
        used.map(|(used, (before, after))| FollowedMapping { used: *used, before, after })
    }

    /// Where its packets come in and go out.
    pub(super) const fn ports(&self) -> [PortId; 2] {
        self.ports
    }

    /// Whether the packet begins or ends a connection.
    pub(super) const fn turns(&self) -> bool {
        self.turns
    }

    /// None unless records and mapping let packets of an open flow pass.
    pub(super) fn basis(&self, flows: &Flows, now: Timestamp) -> Option<Basis> {
        let mut begun = [Timestamp(0); 2];
        for (begun, (nic, direction, tuple)) in begun.iter_mut().zip(self.passages()) {
            if let Some(nic) = nic {
                let record = flows.records.find(nic, direction, tuple, now)?;
                if record.refused || record.state == FlowState::Closed {
                    return None;
                }
                *begun = record.begun;
            }
        }
        let mut idle_secs = u16::MAX;
        for followed in self.followed() {
            idle_secs = idle_secs.min(flows.mappings.idle_secs(&followed, now)?);
        }
        Some(Basis { begun, idle_secs })
    }

    /// What a connection of [`Leg::of_opened`] stands on, if its first packet came `at` that time, and what became of its
    /// records since.
    pub(super) fn basis_of_opened(&self, flows: &Flows, at: Timestamp) -> (Basis, Standing) {
        let mut basis = Basis { begun: [at; 2], idle_secs: u16::MAX };
        let mut standing = Standing::Open;
        for (begun, (nic, direction, tuple)) in basis.begun.iter_mut().zip(self.passages()) {
            let record = nic.and_then(|nic| flows.records.find(nic, direction, tuple, at));
            standing = standing.max(match record {
                None => Standing::Gone,
                Some(record) if record.refused || record.state == FlowState::Closed => Standing::Closed,
                Some(_) => Standing::Open,
            });
            *begun = record.map_or(at, |record| record.begun);
        }
        (basis, standing)
    }

    /// Adds traffic that was carried, as `carried` says of the last packet; returns what became of what it stands on.
    pub(super) fn add(&self, flows: &Flows, basis: &Basis, traffic: Traffic, carried: &Flow) -> Standing {
        let last = Timestamp(carried.last);
        let passing = (traffic, Signal::of_bits(carried.signals as u8), last);
        let mut standing = Standing::Open;
        for (begun, (nic, direction, tuple)) in basis.begun.iter().zip(self.passages()) {
            if let Some(nic) = nic {
                standing = standing.max(flows.records.count(nic, direction, tuple, *begun, passing));
            }
        }
        let expects = Some(u32::from_be_bytes(carried.expects)).filter(|expects| *expects != 0);
        for followed in self.followed().filter(|_| traffic.packets > 0) {
            if standing == Standing::Gone || !flows.mappings.refresh(&followed, last, expects) {
                standing = Standing::Gone;
            }
        }
        standing
    }
}

impl Offer {
    /// The kernel's key of its packets.
    pub(super) fn key(&self) -> FlowKey {
        key(self.from.index, &self.leg.sent)
    }

    /// The key of the packets that come back.
    pub(super) fn key_of_answers(&self) -> FlowKey {
        key(self.to.index, &self.leg.delivered.mirrored())
    }

    /// What the kernel does with its packets.
    pub(super) fn decided(&self, snapshot: &Snapshot, now: Timestamp) -> Flow {
        let Self { leg, to, epoch, .. } = self;
        let [sender, receiver] = leg.ends.map(|nic| snapshot.nic(nic));
        let (before, after) = (key(0, &leg.sent), key(0, &leg.delivered));
        Flow {
            epoch: *epoch,
            timeout: nanos(sender.flows.timeout_secs.min(receiver.flows.timeout_secs)),
            last: now.0,
            out: to.index,
            mtu: receiver.mtu,
            ttl: leg.ttl,
            ethernet: ethernet(to),
            src: after.src,
            dst: after.dst,
            src_port: after.src_port,
            dst_port: after.dst_port,
            address_sum: difference([&before.src, &before.dst], [&after.src, &after.dst]),
            port_sum: difference([&before.src_port, &before.dst_port], [&after.src_port, &after.dst_port]),
            translated: leg.is_translated().into(),
            hops: leg.hops,
            ..Flow::default()
        }
    }
}

impl Basis {
    /// No entry outlives its mapping.
    pub(super) fn limit(&self, flow: Flow) -> Flow {
        Flow { timeout: flow.timeout.min(nanos(self.idle_secs)), ..flow }
    }
}

/// The Ethernet addresses of a packet to a port's guest.
pub(super) fn ethernet(to: &KernelPort) -> [u8; 12] {
    let mut ethernet = [0; 12];
    ethernet[..6].copy_from_slice(&to.guest);
    ethernet[6..].copy_from_slice(&FABRIC);
    ethernet
}

pub(super) const fn nanos(secs: u16) -> u64 {
    secs as u64 * 1_000_000_000
}

/// What a checksum changes by where `before` becomes `after` (RFC 1624 section 3), added up as the machine reads it: zero
/// where it stays.
fn difference(before: [&[u8]; 2], after: [&[u8]; 2]) -> u32 {
    if before == after {
        return 0;
    }
    let word = |two: &[u8]| u16::from_ne_bytes([two[0], two[1]]);
    let added = after.iter().flat_map(|part| part.chunks_exact(2)).map(word);
    let removed = before.iter().flat_map(|part| part.chunks_exact(2)).map(|two| !word(two));
    added.chain(removed).map(u32::from).sum()
}

/// A flow as it comes from a port.
pub(super) fn key(port: u32, tuple: &Tuple) -> FlowKey {
    let octets = |address: IpAddr| {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        octets
    };
    FlowKey {
        port,
        version: if tuple.src.is_ipv4() { 4 } else { 6 },
        protocol: tuple.protocol.0,
        src_port: tuple.src_port.to_be_bytes(),
        dst_port: tuple.dst_port.to_be_bytes(),
        zero: [0; 2],
        src: octets(tuple.src),
        dst: octets(tuple.dst),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::dataplane::{
        BalancedFlow, Deciders, FlowLimits, FlowTerms, IdleReset, MappingSide, Nic, Outbound, Passing, PortPool, Ports,
        Signal, TcpSegment,
    };
    use crate::wire::{Offload, Protocol, build};

    const fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    /// A connection to the Internet by a NAT gateway; of the records, those of the Internet's side: none.
    fn leg(flows: &Flows) -> Leg {
        let ports = Box::new([Ports::all([203, 0, 113, 1].into())]);
        let idle_reset = IdleReset::BothEnds;
        let pool = PortPool { ports, preallocated: false, echoes: false, tcp_idle_secs: 240, idle_reset };
        let sent = Tuple {
            src: [10, 0, 0, 4].into(),
            dst: [198, 18, 0, 1].into(),
            protocol: Protocol::TCP,
            src_port: 40_000,
            dst_port: 443,
        };
        let segment = TcpSegment { signal: Signal::from_flags(0x10), expects: None };
        let outbound = Outbound { nic: NicId(3), flow: &sent, pool: &pool, segment, now: at(0) };
        let mapped = flows.mappings.open(&outbound).and_then(Result::ok).expect("there is a port");
        let (src, src_port) = mapped.public;
        Leg {
            sent,
            delivered: Tuple { src, src_port, ..sent },
            between: None,
            mappings: [Some(UsedMapping { side: MappingSide::Inside, nic: NicId(3) }), None],
            ttl: 64,
            hops: 0,
            turns: false,
            answers: false,
            ends: [NicId(3), NicId(9)],
            recorded: [false; 2],
            ports: [PortId(0); 2],
        }
    }

    #[test]
    fn nat_04_an_entry_lasts_no_longer_than_its_mapping_and_that_as_long_as_packets_are_carried() {
        let flows = Flows::new(FlowLimits::default());
        let leg = leg(&flows);
        let basis = leg.basis(&flows, at(1)).expect("it has a mapping");
        assert_eq!(basis.limit(Flow { timeout: nanos(300), ..Flow::default() }).timeout, nanos(240));
        assert_eq!(basis.limit(Flow { timeout: nanos(200), ..Flow::default() }).timeout, nanos(200));
        let carried = |seconds| Flow { last: at(seconds).0, expects: [0, 0, 0, 1], ..Flow::default() };
        let traffic = |packets| Traffic { packets, bytes: 100 };
        assert_eq!(leg.add(&flows, &basis, traffic(0), &carried(100)), Standing::Open);
        assert_eq!(leg.basis(&flows, at(241)), None, "nothing was carried");
        assert_eq!(leg.add(&flows, &basis, traffic(1), &carried(200)), Standing::Open);
        assert_eq!(leg.basis(&flows, at(440)), Some(basis));
        assert_eq!(leg.basis(&flows, at(441)), None);
        let mut near = None;
        flows.mappings.expire(at(1000), usize::MAX, |expired| near = expired.near_expects);
        assert_eq!(near, Some(1), "what the sender acknowledged, for its reset (LB-25)");
        assert_eq!(leg.add(&flows, &basis, traffic(2), &carried(1001)), Standing::Gone, "the mapping is gone");
    }

    #[test]
    fn nsg_20_a_leg_without_its_record_is_none_to_carry() {
        let flows = Flows::new(FlowLimits::default());
        for recorded in [[true, false], [false, true]] {
            let leg = Leg { recorded, ..leg(&flows) };
            assert_eq!(leg.basis(&flows, at(1)), None);
        }
    }

    #[test]
    fn a_checksum_that_stays_is_left_alone() {
        assert_eq!(difference([&[1, 2], &[3, 4]], [&[1, 2], &[3, 4]]), 0);
        let word = |two: [u8; 2]| u32::from(u16::from_ne_bytes(two));
        assert_eq!(
            difference([&[1, 2], &[3, 4]], [&[1, 2], &[5, 6]]) % 0xffff,
            (word([5, 6]) + word([0xfc, 0xfb])) % 0xffff
        );
    }

    /// A NIC with records that end after so many seconds idle.
    fn nic(timeout_secs: u16, mtu: u16) -> Nic {
        Nic { mtu, flows: FlowTerms { timeout_secs, ..FlowTerms::default() }, ..Nic::at_port(PortId(0)) }
    }

    /// A segment as a leg: by a gateway's hop from 10.0.0.4 to 10.1.0.4, which it knows as 192.0.2.1.
    fn segment(flags: u8) -> Leg {
        let (client, server) = ("10.0.0.4:40000".parse().unwrap(), "10.1.0.4:443".parse().unwrap());
        let mut bytes = build::tcp(client, server, flags, b"data");
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        let sent = *packet.tuple();
        packet.count_hop();
        packet.set_src_end(([192, 0, 2, 1].into(), 50_000));
        let followed = Followed {
            sent: &sent,
            sender: NicId(0),
            receiver: NicId(1),
            recorded: [true, false],
            mappings: [None; 2],
            between: None,
            hops: 1,
        };
        Leg::of(&packet, &followed).between(PortId(5), PortId(6))
    }

    const ACK: u8 = 0x10;

    #[test]
    fn a_leg_is_what_its_sender_sends_and_its_receiver_gets() {
        let leg = segment(ACK);
        assert_eq!((leg.ttl, leg.hops, leg.turns(), leg.ports()), (64, 1, false, [PortId(5), PortId(6)]));
        assert_eq!((leg.sent.src_port, leg.delivered.src_port), (40_000, 50_000));
        for turning in [0x01, 0x02, 0x04, 0x12, 0x11] {
            assert!(segment(turning).turns(), "{turning:#x}");
        }
        assert!(!segment(0x18).turns(), "pushed data goes on");
        let answer = Leg { sent: leg.delivered.mirrored(), delivered: leg.sent.mirrored(), ..leg };
        assert!(leg.is_answered_by(&answer) && answer.is_answered_by(&leg) && !leg.is_answered_by(&leg));
        assert!(leg.arrives_as(&Leg { sent: answer.sent, ..leg }) && !leg.arrives_as(&answer));
        let plain = Leg { delivered: leg.sent, hops: 0, ..leg };
        assert!(leg.is_rewritten() && !plain.is_rewritten());
        assert!(Leg { hops: 1, ..plain }.is_rewritten() && Leg { hops: 0, ..leg }.is_rewritten());
    }

    #[test]
    fn an_entry_says_what_the_receiver_gets() {
        let snapshot = Snapshot { nics: vec![nic(240, 9000), nic(100, 1400)], ..Snapshot::default() };
        let (from, to) = (KernelPort { index: 11, guest: [1; 6] }, KernelPort { index: 12, guest: [2; 6] });
        let offer = Offer { leg: segment(ACK), from, to, epoch: 7, ended: false };
        let flow = offer.decided(&snapshot, at(3));
        assert_eq!((flow.epoch, flow.out, flow.mtu, flow.last), (7, 12, 1400, at(3).0));
        assert_eq!((flow.timeout, flow.ttl, flow.hops, flow.translated), (nanos(100), 64, 1, 1));
        assert_eq!((&flow.ethernet[..6], &flow.ethernet[6..]), (&[2; 6][..], &FABRIC[..]));
        assert_eq!((&flow.src[..5], &flow.dst[..5]), (&[192, 0, 2, 1, 0][..], &[10, 1, 0, 4, 0][..]));
        assert_eq!((flow.src_port, flow.dst_port), (50_000_u16.to_be_bytes(), 443_u16.to_be_bytes()));
        assert!(flow.address_sum != 0 && flow.port_sum != 0);
        let plain = Leg { delivered: offer.leg.sent, ..offer.leg };
        let flow = Offer { leg: plain, ..offer }.decided(&snapshot, at(3));
        assert_eq!((flow.translated, flow.address_sum, flow.port_sum), (0, 0, 0));
        let back = Snapshot { nics: vec![nic(90, 9000), nic(100, 1400)], ..Snapshot::default() };
        assert_eq!(offer.decided(&back, at(3)).timeout, nanos(90), "of two times the shorter");

        let (key, answers) = (offer.key(), offer.key_of_answers());
        assert_eq!((key.port, key.version, key.protocol, key.zero), (11, 4, 6, [0; 2]));
        assert_eq!((&key.src[..5], key.src_port), (&[10, 0, 0, 4, 0][..], 40_000_u16.to_be_bytes()));
        assert_eq!((answers.port, &answers.dst[..5]), (12, &[192, 0, 2, 1, 0][..]));
        assert_eq!((answers.src_port, answers.dst_port), (443_u16.to_be_bytes(), 50_000_u16.to_be_bytes()));
        let six = Tuple { src: "fd00::1".parse().unwrap(), dst: "fd00::2".parse().unwrap(), ..offer.leg.sent };
        let key = super::key(1, &six);
        assert_eq!((key.version, key.src[0], key.src[15], key.dst[15]), (6, 0xfd, 1, 2));
    }

    /// PIP-05, VPN-15: of two mappings the one that ends sooner counts, and both last as long as packets are carried.
    #[test]
    fn a_leg_by_two_mappings_needs_both() {
        let flows = Flows::new(FlowLimits::default());
        let first = leg(&flows);
        let (nic, outside) = (NicId(5), first.delivered.mirrored());
        let segment = TcpSegment { signal: Signal::from_flags(ACK), expects: None };
        let private = (IpAddr::from([10, 2, 0, 4]), 8443);
        let balanced =
            BalancedFlow { nic, outside: &outside, private, idle_secs: 300, resets: false, segment, now: at(0) };
        assert_eq!(flows.mappings.map_balanced(&balanced), Ok(()));
        let second = UsedMapping { side: MappingSide::Outside, nic };
        let delivered = Tuple { dst: private.0, dst_port: private.1, ..first.delivered };
        let both = Leg {
            between: Some(first.delivered),
            delivered,
            mappings: [first.mappings[0], Some(second)],
            ends: [NicId(3), nic],
            ..first
        };
        let basis = both.basis(&flows, at(1)).expect("it has both");
        assert_eq!(basis.idle_secs, 240);
        let carried = |seconds| Flow { last: at(seconds).0, ..Flow::default() };
        assert_eq!(both.add(&flows, &basis, Traffic { packets: 1, bytes: 1 }, &carried(200)), Standing::Open);
        assert_eq!(both.basis(&flows, at(430)), Some(basis), "neither has ended");
        assert_eq!(both.basis(&flows, at(441)), None, "the first has");
        flows.mappings.expire(at(441), usize::MAX, |_| {});
        assert_eq!(both.add(&flows, &basis, Traffic { packets: 1, bytes: 1 }, &carried(441)), Standing::Gone);
        let only = Leg { mappings: [None, Some(second)], ..both };
        assert_eq!(only.basis(&flows, at(441)).map(|basis| basis.idle_secs), Some(300));
        let other = Leg { between: Some(first.sent), ..both };
        assert_eq!(other.basis(&flows, at(1)), None, "no mapping has this between");
    }

    /// NSG-20: a record may be gone, or another's, while packets are still carried.
    #[test]
    fn what_is_carried_is_added_to_the_records_that_it_began_with() {
        let flows = Flows::new(FlowLimits::default());
        let leg = Leg { mappings: [None; 2], recorded: [true, false], ..segment(ACK) };
        assert_eq!(leg.basis(&flows, at(1)), None, "there is no record");
        let terms = FlowTerms::default();
        let room = flows.records.reserve(NicId(0), &terms, at(1), |_| {}).unwrap();
        let traffic = Traffic { packets: 1, bytes: 40 };
        let passing = Passing { traffic, signal: Signal::from_flags(0x02), ttl: 64, at: at(1) };
        room.admit(Direction::Outbound, &leg.sent, Deciders::default(), passing, &terms);
        let basis = leg.basis(&flows, at(2)).expect("it has its record");
        let carried = |seconds| Flow { last: at(seconds).0, ..Flow::default() };
        assert_eq!(leg.add(&flows, &basis, Traffic { packets: 2, bytes: 100 }, &carried(3)), Standing::Open);
        let record = flows.records.find(NicId(0), Direction::Outbound, &leg.sent, at(3)).unwrap();
        assert_eq!((record.last, record.sent), (at(3), Traffic { packets: 3, bytes: 140 }));
        let other = Basis { begun: [at(9), at(0)], ..basis };
        let gone = leg.add(&flows, &other, Traffic { packets: 2, bytes: 100 }, &carried(4));
        assert_eq!(gone, Standing::Gone, "it began at another time");
    }

    /// The flags of carried packets are read later than those of packets that came to a worker.
    #[test]
    fn nsg_21_packets_that_were_carried_before_a_reset_do_not_take_it_back() {
        let flows = Flows::new(FlowLimits::default());
        let leg = Leg { mappings: [None; 2], recorded: [true, false], ..segment(ACK) };
        let (nic, terms) = (NicId(0), FlowTerms::default());
        let traffic = Traffic { packets: 1, bytes: 40 };
        let passing = |flags, at| Passing { traffic, signal: Signal::from_flags(flags), ttl: 64, at };
        let room = flows.records.reserve(nic, &terms, at(1), |_| {}).unwrap();
        room.admit(Direction::Outbound, &leg.sent, Deciders::default(), passing(0x02, at(1)), &terms);
        let [there, back] = Leg::of_opened(leg.sent, leg.ends, leg.ports, [64, 63]);
        assert!(!there.is_rewritten() && !back.is_rewritten() && there.is_answered_by(&back));
        let (basis, standing) = leg.basis_of_opened(&flows, at(1));
        assert_eq!((basis.begun[0], standing), (at(1), Standing::Gone), "the other end has no record");
        flows.records.follow(nic, Direction::Outbound, &leg.sent, passing(0x04, at(5)), &terms);
        let spoke = |seconds| Flow { last: at(seconds).0, signals: 1 | 8, ..Flow::default() };
        let add = |seconds| leg.add(&flows, &basis, traffic, &spoke(seconds));
        assert_eq!([3, 5].map(add), [Standing::Closed; 2], "before it, or in a moment that is not told from its own");
        assert_eq!(add(6), Standing::Open, "its sender goes on: it was forged");
        let record = flows.records.find(nic, Direction::Outbound, &leg.sent, at(6)).unwrap();
        assert_eq!((record.last, record.sent.packets), (at(6), 5));
    }
}

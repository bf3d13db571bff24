//! One worker's forwarding, without threads or descriptors: a bounded batch from one port. Each packet is read, decided
//! and written before the next is read.
//!
//! One frame buffer serves all packets, so it stays in the cache and nothing is allocated or copied. Each packet is
//! counted and, if it matches, traced. Over all ports rx = tx + drops holds after every batch.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};

use crate::dataplane::{
    DropReason, End, ExpiredConnection, Flows, Observer, Paths, PortId, Recorder, Snapshot, Step, Timestamp, Verdict,
    process, reset_end,
};
use crate::sys::clock::monotonic_nanos;
use crate::wire::{Frame, Offload, Packet, ParseError, Protocol};

use super::capture::{Head, Offered};
use super::carried::Carried;
use super::coalescer::{Coalescer, Slot};
use super::counters::{PortTally, Tally};
use super::device::{Device, KernelPort, Received, RecvError, SendError};
use super::flow_events::FlowEvents;
use super::handover::Handover;
use super::leg::Offer;
use super::metrics_observer::Witness;
use super::tapped::Tapped;
use super::trace::{Interest, Taps, Traced};

/// Frames taken from one port before the next port has its turn.
const BATCH: usize = 64;

/// The largest IPv6 super-packet and its offload header.
const FRAME_LEN: usize = Offload::LEN + 40 + 65_535;

/// What all workers share.
#[derive(Clone, Debug)]
pub struct Tables {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub flows: Arc<Flows>,
    pub taps: Arc<ArcSwap<Taps>>,
    pub events: FlowEvents,
    /// Where ports are veth pairs.
    pub carried: Option<Arc<Carried>>,
}

/// Forwards between the ports of one worker.
pub struct Forwarder<D> {
    snapshot: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    flows: Arc<Flows>,
    taps: Cache<Arc<ArcSwap<Taps>>, Arc<Taps>>,
    events: FlowEvents,
    /// By [`PortId`]; none for a device that is gone.
    devices: Vec<Option<Arc<D>>>,
    tally: Arc<Tally>,
    frame: Box<[u8]>,
    paths: Paths,
    coalescer: Coalescer,
    tapped: Tapped,
    handover: Option<Handover>,
}

/// The result of [`Forwarder::batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub frames: usize,
    /// The device is gone; it will not be read or written again.
    pub gone: bool,
}

/// The decision on a frame.
struct Decision {
    verdict: Verdict,
    size: Size,
    protocol: Protocol,
    /// Where the frame ends once trailing bytes are cut off.
    end: usize,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Sent(PortId),
    /// In this train.
    Held(PortId, u32),
    /// It could not be written.
    Lost(DropReason),
    Dropped,
}

/// A packet's size on a wire.
#[derive(Clone, Copy)]
struct Size {
    packets: u64,
    bytes: u64,
}

/// Where the packets of one batch go.
struct Exit<'a, D> {
    devices: &'a [Option<Arc<D>>],
    tally: &'a Tally,
    ingress: &'a PortTally,
}

impl<D: Device> Forwarder<D> {
    /// `devices` by [`PortId`]; counts into `tally`, and becomes its only writer.
    pub fn new(tables: &Tables, devices: Vec<Arc<D>>, tally: Arc<Tally>) -> Self {
        Self {
            snapshot: Cache::new(Arc::clone(&tables.snapshot)),
            flows: Arc::clone(&tables.flows),
            taps: Cache::new(Arc::clone(&tables.taps)),
            events: tables.events.clone(),
            devices: devices.into_iter().map(Some).collect(),
            tally,
            frame: vec![0; FRAME_LEN].into_boxed_slice(),
            paths: Paths::new(),
            coalescer: Coalescer::new(),
            tapped: Tapped::new(BATCH),
            handover: tables.carried.clone().map(|carried| Handover::new(carried, BATCH)),
        }
    }

    /// From now on packets for this port go to the device, and [`Self::batch`] reads from it.
    pub fn plug(&mut self, port: PortId, device: Arc<D>) {
        let slot = port.0 as usize;
        if self.devices.len() <= slot {
            self.devices.resize_with(slot + 1, || None);
        }
        self.devices[slot] = Some(device);
    }

    /// Removes a port's device; packets for it are dropped.
    pub fn unplug(&mut self, port: PortId) -> Option<Arc<D>> {
        self.devices.get_mut(port.0 as usize)?.take()
    }

    /// Loads the published tables, and releases older ones.
    pub fn refresh(&mut self) {
        self.snapshot.load();
        self.taps.load();
    }

    /// Forwards the packets that wait on one port, under one snapshot and at most [`BATCH`] frames.
    pub fn batch(&mut self, port: PortId, now: Timestamp) -> Batch {
        let slot = port.0 as usize;
        let Some(device) = self.devices.get(slot).cloned().flatten() else { return Batch { frames: 0, gone: true } };
        let (frames, last) = self.forward(&device, port, now);
        let gone = last == Err(RecvError::Gone);
        if gone {
            self.devices[slot] = None;
        }
        Batch { frames, gone }
    }

    /// Removes expired mappings, looking at no more than `budget`, and sends a reset to both ends of the connections
    /// with a rule that requires it (LB-25). Call on one worker, a few times a second.
    pub fn reset_idle(&mut self, now: Timestamp, budget: usize) {
        let Self { snapshot, flows, taps, devices, tally, frame, .. } = self;
        let (snapshot, taps) = (snapshot.load(), taps.load());
        flows.mappings.expire(now, budget, |expired| {
            let Some(near) = snapshot.nics.get(expired.mapped.nic.0 as usize).map(|nic| nic.port) else { return };
            // The reset to one end counts as a packet of the other, since it has that end's source address.
            let mut ingress = near;
            for end in [End::Far, End::Near] {
                let exit = Exit { devices, tally, ingress: tally.port(ingress) };
                let reached = exit.send_reset((snapshot, flows), (expired, end), now, frame, (taps, ingress));
                ingress = reached.unwrap_or(near);
            }
        });
    }

    fn forward(&mut self, device: &D, port: PortId, now: Timestamp) -> (usize, Result<(), RecvError>) {
        let epoch = self.handover.as_ref().map_or(0, Handover::epoch);
        let from = device.kernel_port().filter(|_| self.handover.is_some());
        let snapshot = self.snapshot.load();
        let taps = self.taps.load();
        let ingress = self.tally.port(port);
        let exit = Exit { devices: &self.devices, tally: &self.tally, ingress };
        let mut witness = Witness::new(snapshot, &self.tally, &self.events, (port, now), from.is_some());
        let (mut frames, mut last) = (0, Ok(()));
        while frames < BATCH {
            let received @ Received { len, mark, ended, renews } = match device.recv(&mut self.frame) {
                Ok(received) => received,
                Err(error @ (RecvError::Empty | RecvError::Gone)) => {
                    last = Err(error);
                    break;
                }
                Err(error) => {
                    frames += 1;
                    match error {
                        // The guest itself answers for its own address.
                        RecvError::Question(address) if snapshot.is_behind(port, address) => {}
                        RecvError::Question(_) => device.answer(&mut self.frame),
                        _ => exit.refuse(),
                    }
                    continue;
                }
            };
            frames += 1;
            if let Some(handover) = &mut self.handover {
                handover.begin(mark);
            }
            let now = received.at(now);
            let (frame, mut interest) = (&mut self.frame[..len], Interest::None);
            let fate = if taps.is_empty() {
                let decision = decide(frame, renews, &mut witness, |packet, witness| {
                    self.paths.process(snapshot, &self.flows, port, now, packet, witness)
                });
                exit.settle(&mut self.coalescer, true, &decision, frame)
            } else {
                let at = Timestamp(monotonic_nanos());
                self.tapped.begin(taps, frame, (at, snapshot.generation, port));
                let mut wanted = true;
                let observers = &mut (&mut witness, &mut self.tapped.traced().leg);
                let decision = decide(frame, renews, observers, |packet, observers| {
                    wanted = taps.may_match(port, packet);
                    if wanted {
                        process(snapshot, &self.flows, port, now, packet, observers)
                    } else {
                        self.paths.process(snapshot, &self.flows, port, now, packet, observers.0)
                    }
                });
                let hold = !wanted || !taps.time_packets();
                let fate = exit.settle(&mut self.coalescer, hold, &decision, frame);
                if wanted {
                    let traced = self.tapped.traced();
                    fate.record(traced, taps.time_packets());
                    if witness.leg.is_some() {
                        interest = taps.interest(traced);
                    }
                    self.tapped.keep(taps, fate.train(), decision.left(frame));
                }
                fate
            };
            if let (Some(leg), Some(from), Some(handover)) = (witness.leg.take(), from, &mut self.handover)
                && interest != Interest::Packets
                && (interest == Interest::None || !leg.is_rewritten())
                && let Some((egress, to)) = fate.egress().and_then(|egress| exit.kernel_port(egress))
            {
                let copies = interest.copies().map(|most| (self.tapped.last(), most));
                let offer = Offer { leg: leg.between(port, egress), from, to, epoch, ended };
                handover.offer(&offer, copies, snapshot, now);
            }
        }
        self.coalescer.end_batch(frames, |slot| exit.depart(slot));
        self.tapped.offer(taps, |train| self.coalescer.lost(train));
        if let Some(handover) = &mut self.handover {
            handover.end_batch();
        }
        (frames, last)
    }
}

impl<D: Device> Exit<'_, D> {
    /// Counts a frame, and sends it if the verdict says so: later, if it may be held.
    fn settle(&self, coalescer: &mut Coalescer, hold: bool, decision: &Decision, frame: &[u8]) -> Fate {
        let Decision { verdict, size, protocol, end } = *decision;
        self.ingress.received(size.packets, size.bytes);
        match verdict {
            Verdict::Drop(reason) => {
                self.ingress.dropped(reason, size.packets);
                Fate::Dropped
            }
            Verdict::Forward(egress) if protocol == Protocol::UDP && coalescer.active() => {
                self.coalesce(coalescer, hold, egress, &frame[..end], size)
            }
            Verdict::Forward(egress) => self.write(egress, &frame[..end], size),
        }
    }

    /// Counts a frame that is no packet.
    fn refuse(&self) {
        self.ingress.received(1, 0);
        self.ingress.dropped(DropReason::Malformed, 1);
    }

    fn kernel_port(&self, egress: PortId) -> Option<(PortId, KernelPort)> {
        let device = self.devices.get(egress.0 as usize)?.as_ref()?;
        Some((egress, device.kernel_port()?))
    }

    /// Sends one end of a connection its reset; returns that end's port.
    fn send_reset(
        &self,
        (snapshot, flows): (&Snapshot, &Flows),
        expired: (&ExpiredConnection, End),
        now: Timestamp,
        frame: &mut [u8],
        (taps, ingress): (&Taps, PortId),
    ) -> Option<PortId> {
        let (header, bytes) = frame.split_first_chunk_mut::<{ Offload::LEN }>()?;
        *header = Offload::default().encode();
        let mut leg = Recorder::new();
        let (packet, verdict) = reset_end(snapshot, flows, expired, now, bytes.first_chunk_mut()?, &mut leg)?;
        let size = Size { packets: 1, bytes: packet.len() as u64 };
        let end = Offload::LEN + packet.len();
        self.ingress.received(size.packets, size.bytes);
        let (fate, reached) = match verdict {
            Verdict::Forward(egress) => (self.write(egress, &frame[..end], size), Some(egress)),
            Verdict::Drop(reason) => {
                self.ingress.dropped(reason, size.packets);
                (Fate::Dropped, None)
            }
        };
        if !taps.is_empty() {
            let mut traced = Traced::new(now, snapshot.generation, ingress, leg);
            fate.record(&mut traced, true);
            let frame = &frame[..end];
            let mut head = Head::new();
            head.keep(frame);
            taps.offer(&std::iter::once(Offered::whole(&traced, &head, frame)));
        }
        reached
    }

    fn write(&self, egress: PortId, frame: &[u8], size: Size) -> Fate {
        match self.send(egress, frame) {
            Ok(()) => {
                self.tally.port(egress).sent(size.packets, size.bytes);
                Fate::Sent(egress)
            }
            Err(reason) => {
                self.ingress.dropped(reason, size.packets);
                Fate::Lost(reason)
            }
        }
    }

    fn send(&self, egress: PortId, frame: &[u8]) -> Result<(), DropReason> {
        let device = self.devices.get(egress.0 as usize).and_then(Option::as_ref).ok_or(DropReason::NodeDown)?;
        device.send(frame).map_err(|error| match error {
            SendError::Full => DropReason::QueueFull,
            SendError::Down => DropReason::NodeDown,
            SendError::Refused => DropReason::Malformed,
        })
    }

    /// Holds a datagram, or writes it behind those of its flow that are held.
    fn coalesce(&self, coalescer: &mut Coalescer, hold: bool, egress: PortId, frame: &[u8], size: Size) -> Fate {
        let device = self.devices.get(egress.0 as usize).and_then(Option::as_ref);
        if hold
            && let Some(datagram) = Frame::new(frame)
            && device.is_some_and(|device| device.takes_udp_super_packets())
        {
            let train = coalescer.hold(egress, datagram, size.bytes, |slot| self.depart(slot));
            Fate::Held(egress, train)
        } else {
            coalescer.release(|slot| self.depart(slot));
            self.write(egress, frame, size)
        }
    }

    fn depart(&self, slot: &mut Slot) -> Option<DropReason> {
        let size = Size { packets: slot.train.packets().into(), bytes: slot.bytes };
        self.write(slot.egress, slot.train.finish(), size).lost()
    }
}

/// Decides on a frame, and leaves it in the form to be sent.
#[inline]
fn decide<O: Observer>(
    frame: &mut [u8],
    renews: bool,
    observer: &mut O,
    process: impl FnOnce(&mut Packet<'_>, &mut O) -> Verdict,
) -> Decision {
    let mut drop = |reason, len| {
        observer.step(Step::Dropped { reason });
        Decision {
            verdict: Verdict::Drop(reason),
            size: Size { packets: 1, bytes: len as u64 },
            protocol: Protocol(0),
            end: 0,
        }
    };
    let Some((header, bytes)) = frame.split_first_chunk_mut::<{ Offload::LEN }>() else {
        return drop(DropReason::Malformed, 0);
    };
    let len = bytes.len();
    // Not moved: a copy of what was just written in pieces would wait for all of them.
    let mut parsed = Packet::parse(bytes, Offload::decode(header));
    let packet = match &mut parsed {
        Ok(packet) => packet,
        Err(ParseError::Malformed) => return drop(DropReason::Malformed, len),
        Err(ParseError::BadChecksum) => return drop(DropReason::BadChecksum, len),
    };
    if renews {
        packet.renew();
    }
    let (size, protocol) = (Size::of(packet), packet.protocol());
    let verdict = process(packet, observer);
    if let Verdict::Drop(reason) = verdict {
        observer.dropped(packet, reason);
    }
    let end = Offload::LEN + packet.len();
    *header = packet.offload().encode();
    Decision { verdict, size, protocol, end }
}

impl Decision {
    /// The frame as it leaves. Where it was refused early, its end is not known.
    fn left<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        if self.end == 0 { frame } else { &frame[..self.end] }
    }
}

impl Fate {
    const fn egress(self) -> Option<PortId> {
        match self {
            Self::Sent(egress) | Self::Held(egress, _) => Some(egress),
            Self::Lost(_) | Self::Dropped => None,
        }
    }

    const fn train(self) -> Option<u32> {
        match self {
            Self::Held(_, train) => Some(train),
            Self::Sent(_) | Self::Lost(_) | Self::Dropped => None,
        }
    }

    const fn lost(self) -> Option<DropReason> {
        match self {
            Self::Lost(reason) => Some(reason),
            Self::Sent(_) | Self::Held(..) | Self::Dropped => None,
        }
    }

    /// Completes what a tap is told; with the time that it took, if one asks for it.
    fn record(self, traced: &mut Traced, timed: bool) {
        if timed {
            traced.took = Duration::from_nanos(monotonic_nanos().saturating_sub(traced.at.0));
        }
        if let Some(reason) = self.lost() {
            traced.leg.step(Step::Dropped { reason });
        }
    }
}

impl Size {
    fn of(packet: &Packet<'_>) -> Self {
        Self { packets: packet.segments().into(), bytes: packet.wire_len() }
    }
}

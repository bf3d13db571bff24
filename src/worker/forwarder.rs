//! One worker's share of forwarding, without threads or descriptors: a bounded batch from one port, each packet read,
//! decided and written on before the next is read.
//!
//! One frame buffer serves all packets, so it stays in the cache and nothing is allocated or copied. What happens to a
//! packet is counted and nothing else; over all ports rx = tx + drops holds after every batch.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::device::{Device, RecvError, SendError};
use super::tally::Tally;
use crate::dataplane::{DropReason, Flows, PortId, Quiet, Snapshot, Timestamp, Verdict, process};
use crate::wire::{Offload, Packet, ParseError};

/// Frames taken from one port before the next port has its turn.
const BATCH: usize = 64;

/// The largest IPv6 super-packet and its offload header.
const FRAME_LEN: usize = Offload::LEN + 40 + 65_535;

/// What all workers read and write.
#[derive(Clone, Debug)]
pub struct Tables {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub flows: Arc<Flows>,
}

/// Forwards between the ports of one worker.
pub struct Forwarder<D> {
    snapshot: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    flows: Arc<Flows>,
    /// By [`PortId`]; none for a device that is gone.
    devices: Vec<Option<Arc<D>>>,
    tally: Arc<Tally>,
    frame: Box<[u8]>,
}

/// What came of [`Forwarder::batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub frames: usize,
    /// The device is gone; it will not be read or written again.
    pub gone: bool,
}

/// A packet's size on a wire.
#[derive(Clone, Copy)]
struct Size {
    packets: u64,
    bytes: u64,
}

impl<D: Device> Forwarder<D> {
    /// `devices` by [`PortId`]; counts into `tally`, whose only writer this becomes.
    pub fn new(tables: &Tables, devices: Vec<Arc<D>>, tally: Arc<Tally>) -> Self {
        Self {
            snapshot: Cache::new(Arc::clone(&tables.snapshot)),
            flows: Arc::clone(&tables.flows),
            devices: devices.into_iter().map(Some).collect(),
            tally,
            frame: vec![0; FRAME_LEN].into_boxed_slice(),
        }
    }

    /// Forwards what waits on one port, under one snapshot and at most [`BATCH`] frames.
    pub fn batch(&mut self, port: PortId, now: Timestamp) -> Batch {
        let snapshot = self.snapshot.load();
        let slot = port.0 as usize;
        let Some(device) = self.devices[slot].clone() else { return Batch { frames: 0, gone: true } };
        for frames in 0..BATCH {
            let len = match device.recv(&mut self.frame) {
                Ok(len) => len,
                Err(RecvError::Empty) => return Batch { frames, gone: false },
                Err(RecvError::Gone) => {
                    self.devices[slot] = None;
                    return Batch { frames, gone: true };
                }
            };
            let (verdict, size, end) = decide(snapshot, &self.flows, port, now, &mut self.frame[..len]);
            let ingress = self.tally.port(port);
            ingress.received(size.packets, size.bytes);
            let sent = match verdict {
                Verdict::Forward(egress) => send(&self.devices, egress, &self.frame[..end]).map(|()| egress),
                Verdict::Drop(reason) => Err(reason),
            };
            match sent {
                Ok(egress) => self.tally.port(egress).sent(size.packets, size.bytes),
                Err(reason) => ingress.dropped(reason, size.packets),
            }
        }
        Batch { frames: BATCH, gone: false }
    }
}

/// The verdict on a frame, the packet's size, and where the frame ends once trailing bytes are cut off. The frame is
/// left as it is to be sent.
fn decide(
    snapshot: &Snapshot,
    flows: &Flows,
    ingress: PortId,
    now: Timestamp,
    frame: &mut [u8],
) -> (Verdict, Size, usize) {
    let Some((header, bytes)) = frame.split_first_chunk_mut::<{ Offload::LEN }>() else {
        return (Verdict::Drop(DropReason::Malformed), Size { packets: 1, bytes: 0 }, 0);
    };
    let unparsed = Size { packets: 1, bytes: bytes.len() as u64 };
    let mut packet = match Packet::parse(bytes, Offload::decode(header)) {
        Ok(packet) => packet,
        Err(ParseError::Malformed) => return (Verdict::Drop(DropReason::Malformed), unparsed, 0),
        Err(ParseError::BadChecksum) => return (Verdict::Drop(DropReason::BadChecksum), unparsed, 0),
    };
    let size = Size::of(&packet);
    let verdict = process(snapshot, flows, ingress, now, &mut packet, &mut Quiet);
    let end = Offload::LEN + packet.len();
    *header = packet.offload().encode();
    (verdict, size, end)
}

fn send<D: Device>(devices: &[Option<Arc<D>>], egress: PortId, frame: &[u8]) -> Result<(), DropReason> {
    let device = devices.get(egress.0 as usize).and_then(Option::as_ref).ok_or(DropReason::NodeDown)?;
    device.send(frame).map_err(|error| match error {
        SendError::Full => DropReason::QueueFull,
        SendError::Down => DropReason::NodeDown,
        SendError::Refused => DropReason::Malformed,
    })
}

impl Size {
    /// Each segment of a super-packet repeats the headers.
    fn of(packet: &Packet<'_>) -> Self {
        let packets = u64::from(packet.segments());
        let headers = packet.largest_segment().saturating_sub(usize::from(packet.offload().gso_size));
        let repeated = if packets > 1 { (packets - 1) * headers as u64 } else { 0 };
        Self { packets, bytes: packet.len() as u64 + repeated }
    }
}

//! Packets of one batch that taps may want.
//!
//! One idea: what became of a packet is known once it is written, and a datagram that is held back is written later. So
//! packets wait for the end of their batch, and taps get them in the order in which they came. A leg is recorded where it
//! waits: it is larger than most packets.

use std::ops::Range;

use super::capture::{Head, Offered};
use super::trace::{Taps, Traced};
use crate::dataplane::{DropReason, Observer, PortId, Recorder, Step, Timestamp};

/// One worker's.
#[derive(Debug)]
pub(super) struct Tapped {
    packets: Box<[Waiting]>,
    /// How many of them wait.
    len: usize,
    /// As they left, for captures.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    traced: Traced,
    /// The train that it is held in.
    train: Option<u32>,
    head: Head,
    left: Range<usize>,
}

impl Tapped {
    /// For batches of so many packets.
    pub(super) fn new(batch: usize) -> Self {
        let traced = || Traced::new(Timestamp(0), 0, PortId(0), Recorder::new());
        let waiting = || Waiting { traced: traced(), train: None, head: Head::new(), left: 0..0 };
        Self { packets: (0..batch).map(|_| waiting()).collect(), len: 0, bytes: Vec::new() }
    }

    /// Begins to record a packet's leg; where there are captures, with its beginning as it came. It waits once it is
    /// [kept](Self::keep).
    pub(super) fn begin(&mut self, taps: &Taps, frame: &[u8], (at, generation, ingress): (Timestamp, u64, PortId)) {
        let Waiting { traced, head, .. } = &mut self.packets[self.len];
        (traced.at, traced.generation, traced.ingress) = (at, generation, ingress);
        traced.leg.clear();
        if taps.capture() {
            head.keep(frame);
        }
    }

    /// The packet that was begun.
    pub(super) fn traced(&mut self) -> &mut Traced {
        &mut self.packets[self.len].traced
    }

    /// Lets the packet wait; where there are captures, with all as it left.
    pub(super) fn keep(&mut self, taps: &Taps, train: Option<u32>, frame: &[u8]) {
        let waiting = &mut self.packets[self.len];
        let start = self.bytes.len();
        if taps.capture() {
            self.bytes.extend_from_slice(frame);
        }
        (waiting.train, waiting.left) = (train, start..self.bytes.len());
        self.len += 1;
    }

    /// The packet that was [kept](Self::keep) last.
    pub(super) fn last(&self) -> &Traced {
        &self.packets[self.len - 1].traced
    }

    /// Offers all to each tap that matches. `lost` is the reason why a train was not written.
    pub(super) fn offer(&mut self, taps: &Taps, lost: impl Fn(u32) -> Option<DropReason>) {
        let Self { packets, len, bytes } = self;
        let waiting = &mut packets[..*len];
        for Waiting { traced, train, .. } in waiting.iter_mut() {
            if let Some(reason) = train.and_then(&lost) {
                traced.leg.step(Step::Dropped { reason });
            }
        }
        taps.offer(&waiting.iter().map(|Waiting { traced, head, left, .. }| {
            let left = &bytes[left.clone()];
            Offered::whole(traced, head, left)
        }));
        *len = 0;
        bytes.clear();
    }
}

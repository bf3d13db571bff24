//! Packets of one batch that taps may want.
//!
//! One idea: what became of a packet is known once it is written, and a datagram that is held back is written later. So
//! packets wait for the end of their batch, and taps get them in the order in which they came.

use std::ops::Range;

use super::capture::Head;
use super::trace::{Taps, Traced};
use crate::dataplane::{DropReason, Observer, Step};

/// One worker's.
#[derive(Debug)]
pub(super) struct Tapped {
    packets: Vec<Waiting>,
    /// As they left, for captures.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    traced: Traced,
    /// The train that it is held in.
    train: Option<u32>,
    head: Option<Head>,
    left: Range<usize>,
}

impl Tapped {
    /// For batches of so many packets.
    pub(super) fn new(batch: usize) -> Self {
        Self { packets: Vec::with_capacity(batch), bytes: Vec::new() }
    }

    /// Notes a packet; where there are captures, with its beginning as it came and all as it left.
    pub(super) fn push(&mut self, traced: Traced, train: Option<u32>, head: Option<Head>, frame: &[u8]) {
        let start = self.bytes.len();
        if head.is_some() {
            self.bytes.extend_from_slice(frame);
        }
        self.packets.push(Waiting { traced, train, head, left: start..self.bytes.len() });
    }

    /// Offers all to each tap that matches. `lost` is the reason why a train was not written.
    pub(super) fn offer(&mut self, taps: &Taps, lost: impl Fn(u32) -> Option<DropReason>) {
        if self.packets.is_empty() {
            return;
        }
        for Waiting { mut traced, train, head, left } in self.packets.drain(..) {
            if let Some(reason) = train.and_then(&lost) {
                traced.leg.step(Step::Dropped { reason });
            }
            taps.offer(&traced, head.as_ref().map(|head| (head, &self.bytes[left])));
        }
        self.bytes.clear();
    }
}

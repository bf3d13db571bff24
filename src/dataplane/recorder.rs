//! Records a packet's leg in a fixed space, so that another thread can print it later.

use super::{DropReason, NicId, Observer, Step};
use crate::wire::{Packet, Summary};

/// Most steps of one leg; the longest has about a dozen.
const ROOM: usize = 16;

/// One leg: the packet and the decisions on it.
#[derive(Clone, Debug)]
pub struct Recorder {
    packet: Option<Summary>,
    steps: [Step; ROOM],
    len: usize,
}

impl Recorder {
    pub const fn new() -> Self {
        const NONE: Step = Step::Sent { nic: NicId(0) };
        Self { packet: None, steps: [NONE; ROOM], len: 0 }
    }

    /// Forgets the leg: the next one is recorded here.
    pub fn clear(&mut self) {
        (self.packet, self.len) = (None, 0);
    }

    /// None if the bytes were not a valid packet.
    pub fn packet(&self) -> Option<&Summary> {
        self.packet.as_ref()
    }

    /// In the order taken.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    /// The reason for the drop, if the packet was dropped.
    pub fn dropped(&self) -> Option<DropReason> {
        match self.steps().last() {
            Some(Step::Dropped { reason }) => Some(*reason),
            _ => None,
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Recorder {
    fn packet(&mut self, packet: &Packet<'_>) {
        self.packet = Some(packet.summary());
    }

    fn step(&mut self, step: Step) {
        debug_assert!(self.len < ROOM, "a leg has more steps than there is room for");
        // The verdict comes last and matters more than the step before it.
        let slot = self.len.min(ROOM - 1);
        self.steps[slot] = step;
        self.len = slot + 1;
    }
}

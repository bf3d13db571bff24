//! Remembers a packet's leg in a fixed space, so that it can be told later by somebody who has the time.

use super::{DropReason, NicId, Observer, Step};
use crate::wire::{Packet, Summary};

/// Steps of one leg: the longest has about a dozen.
const ROOM: usize = 16;

/// One leg: the packet and what was decided.
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

    /// None for bytes that are no packet.
    pub fn packet(&self) -> Option<&Summary> {
        self.packet.as_ref()
    }

    /// In the order taken.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    /// Why it was dropped, if it was.
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
        // The verdict comes last and is worth more than the step before it.
        let slot = self.len.min(ROOM - 1);
        self.steps[slot] = step;
        self.len = slot + 1;
    }
}

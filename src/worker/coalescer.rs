//! Holds UDP datagrams back within a batch, to write those of one flow as one super-packet.
//!
//! A write costs three times a read, so writes limit a flood. Holding pays only under load and only where a batch has
//! runs of one flow. So nothing is held while batches are short, and after a batch without runs the next ones are left
//! alone. Order within a flow is kept: a flow has one slot, and leaves it before another takes it.
//!
//! TCP is never held. Held and joined in the same way, segments of a guest that cuts its stream itself got 1.45 times
//! the rate (1.28 with four streams). But streams of guests that leave the cutting to the kernel, the default, fell to
//! 0.88 of theirs (medians of five rounds, three and four times).

use crate::dataplane::{DropReason, PortId};
use crate::wire::{Frame, Train};

/// Trains that one batch may have, as it has frames.
const BATCH: usize = 64;
/// Flows held at a time; two that meet in one slot evict each other.
const SLOTS: usize = 32;
/// After a batch of at least this many frames, the next one is held.
const BUSY: usize = 16;
/// Batches without holding after one with few runs.
const PAUSE: u32 = 64;

/// The trains of one worker.
#[derive(Debug)]
pub(super) struct Coalescer {
    slots: Box<[Slot]>,
    busy: bool,
    pause: u32,
    held: usize,
    joined: usize,
    /// The next train's number.
    next: u32,
    /// Trains of this batch that could not be written.
    lost: Vec<(u32, DropReason)>,
}

/// Datagrams of one flow that leave together.
#[derive(Debug)]
pub(super) struct Slot {
    number: u32,
    pub(super) train: Train,
    pub(super) egress: PortId,
    /// Bytes of all its datagrams, as they came.
    pub(super) bytes: u64,
}

impl Coalescer {
    pub(super) fn new() -> Self {
        let slot = || Slot { number: 0, train: Train::new(), egress: PortId(0), bytes: 0 };
        let slots = std::iter::repeat_with(slot).take(SLOTS).collect();
        Self { slots, busy: false, pause: 0, held: 0, joined: 0, next: 0, lost: Vec::with_capacity(BATCH) }
    }

    /// Whether to offer frames to [`Self::hold`] in this batch.
    pub(super) fn active(&self) -> bool {
        self.busy && self.pause == 0
    }

    /// Holds a frame, and returns the number of its train. A train that has to leave for it goes to `depart` first, which
    /// returns the reason if it could not be written.
    pub(super) fn hold(
        &mut self,
        egress: PortId,
        frame: Frame<'_>,
        bytes: u64,
        depart: impl FnOnce(&mut Slot) -> Option<DropReason>,
    ) -> u32 {
        if self.held == 0 {
            self.lost.clear();
        }
        self.held += 1;
        let slot = &mut self.slots[(frame.spread() ^ egress.0 as usize) % SLOTS];
        if slot.egress == egress && slot.train.join(frame) {
            self.joined += 1;
            slot.bytes += bytes;
            return slot.number;
        }
        if slot.train.packets() > 0 {
            self.lost.extend(depart(slot).map(|reason| (slot.number, reason)));
        }
        slot.train.start(frame);
        slot.number = self.next;
        slot.egress = egress;
        slot.bytes = bytes;
        self.next = self.next.wrapping_add(1);
        slot.number
    }

    /// Sends all trains, before a packet that must not overtake them.
    pub(super) fn release(&mut self, mut depart: impl FnMut(&mut Slot) -> Option<DropReason>) {
        if self.held > 0 {
            for slot in self.slots.iter_mut().filter(|slot| slot.train.packets() > 0) {
                self.lost.extend(depart(slot).map(|reason| (slot.number, reason)));
            }
        }
    }

    /// Why a train of this batch could not be written.
    pub(super) fn lost(&self, train: u32) -> Option<DropReason> {
        self.lost.iter().find(|(number, _)| *number == train).map(|(_, reason)| *reason)
    }

    /// Sends all trains, and learns from a batch of `frames` whether to hold in the next.
    pub(super) fn end_batch(&mut self, frames: usize, depart: impl FnMut(&mut Slot) -> Option<DropReason>) {
        self.release(depart);
        self.pause = self.pause.saturating_sub(1);
        // Fewer than a quarter of the frames saved a write.
        if self.held >= BUSY && self.joined * 4 < self.held {
            self.pause = PAUSE;
        }
        self.busy = frames >= BUSY;
        self.held = 0;
        self.joined = 0;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::wire::{Offload, build};

    /// A datagram of a flow that the kernel has left a checksum to.
    fn datagram(port: u16, payload: usize) -> Vec<u8> {
        let (from, to) = (format!("10.0.0.4:{port}").parse().unwrap(), "10.0.0.5:53".parse().unwrap());
        let mut packet = build::udp(from, to, &vec![7; payload]);
        // Never cut: such packets need no numbers.
        packet[6] = 0x40;
        let offload = Offload { flags: Offload::NEEDS_CSUM, csum_start: 20, csum_offset: 6, ..Offload::default() };
        [&offload.encode()[..], &packet].concat()
    }

    /// What leaves: ports, datagrams and bytes.
    type Left = Vec<(u32, u32, u64)>;

    fn leave(left: &mut Left, slot: &mut Slot) {
        left.push((slot.egress.0, slot.train.packets(), slot.bytes));
        slot.train.finish();
    }

    /// Holds these datagrams, of so many bytes as they came; returns their trains' numbers.
    fn numbers(held: &mut Coalescer, left: &mut Left, egress: u32, datagrams: &[Vec<u8>]) -> Vec<u32> {
        let one = |frame: &Vec<u8>| {
            held.hold(PortId(egress), Frame::new(frame).unwrap(), frame.len() as u64, |slot| {
                leave(left, slot);
                None
            })
        };
        datagrams.iter().map(one).collect()
    }

    #[test]
    fn datagrams_of_one_flow_leave_together_in_their_order() {
        let (mut held, mut left) = (Coalescer::new(), Left::new());
        let [long, short] = [datagram(1, 100), datagram(1, 50)];
        let (all, some) = (long.len() as u64, short.len() as u64);
        let trains = numbers(&mut held, &mut left, 3, &[long.clone(), long.clone(), short.clone(), long.clone()]);
        assert_eq!(trains, [0, 0, 0, 1], "a shorter one ends it");
        assert_eq!(left, [(3, 3, 2 * all + some)]);
        held.release(|slot| {
            leave(&mut left, slot);
            None
        });
        assert_eq!(left[1..], [(3, 1, all)]);
        held.release(|_| panic!("nothing is left"));
        let one = [long];
        assert_eq!(numbers(&mut held, &mut left, 3, &one), [2]);
        assert_eq!(numbers(&mut held, &mut left, 4, &one), [3], "another port");
    }

    #[test]
    fn a_train_that_is_lost_is_known_until_the_batch_after() {
        let mut held = Coalescer::new();
        let frame = datagram(1, 100);
        let lose = |_: &mut Slot| Some(DropReason::NoRoute);
        let number = |held: &mut Coalescer| {
            held.hold(PortId(0), Frame::new(&frame).unwrap(), 1, |slot| {
                slot.train.finish();
                None
            })
        };
        assert_eq!(number(&mut held), 0);
        held.end_batch(1, |slot| {
            slot.train.finish();
            lose(slot)
        });
        assert_eq!((held.lost(0), held.lost(1)), (Some(DropReason::NoRoute), None));
        assert_eq!(number(&mut held), 1);
        assert_eq!(held.lost(0), None, "a new batch has begun");
        held.end_batch(1, |slot| {
            slot.train.finish();
            None
        });
        assert_eq!(held.lost(1), None);
    }

    /// It is active after a batch of sixteen frames or more, and rests for 64 batches after one with few runs.
    #[test]
    fn it_holds_where_there_are_many_frames_in_runs() {
        let mut held = Coalescer::new();
        let end = |held: &mut Coalescer, frames: usize| {
            held.end_batch(frames, |slot| {
                slot.train.finish();
                None
            });
            held.active()
        };
        assert!(!held.active());
        assert!(!end(&mut held, BUSY - 1) && end(&mut held, BUSY) && !end(&mut held, 1) && end(&mut held, BUSY));
        // A quarter of the frames saved a write: that is enough.
        for (joins, is_enough) in [(4, true), (3, false)] {
            let mut held = Coalescer::new();
            let mut left = Left::new();
            let singles = (1..16 - joins).map(|port| datagram(port, 100));
            let all: Vec<_> = singles.chain((0..=joins).map(|_| datagram(16, 100))).collect();
            numbers(&mut held, &mut left, 0, &all);
            assert_eq!((held.held, held.joined), (16, usize::from(joins)));
            assert_eq!(end(&mut held, BUSY), is_enough, "{joins}");
            if !is_enough {
                let rests = (0..100).take_while(|_| !end(&mut held, BUSY)).count();
                assert_eq!(rests, PAUSE as usize - 1);
            }
        }
        // Fewer than sixteen say nothing.
        let mut held = Coalescer::new();
        numbers(&mut held, &mut Left::new(), 0, &(1..16).map(|port| datagram(port, 100)).collect::<Vec<_>>());
        assert!(end(&mut held, BUSY));
    }
}

//! The counters of one worker. Each cell has one writer, so adding is a plain load and store; a reader sums the
//! workers' tallies. Ports may be added while the worker counts: memory grows a chunk at a time, and nothing moves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::dataplane::{DropReason, MAPPED, PortId};
use crate::wire::Protocol;

use super::drop_log::DropLog;
use super::rule_hits::RuleHits;

/// The most ports: as many interfaces as Azure has in a region and subscription.
pub const MAX_PORTS: usize = 1 << 16;
/// Ports in a chunk: 24 KiB.
const CHUNK: usize = 64;

/// One worker's counters of every port and rule.
#[derive(Debug)]
pub struct Tally {
    ports: Box<[OnceLock<Chunk>]>,
    rules: RuleHits,
    dropped: DropLog,
}

type Chunk = Box<[CachePadded<PortTally>]>;

/// One worker's counters of one port. Packets are counted as on a wire: a super-packet as its segments, each with its
/// own headers. A drop is counted at the port the packet came in on, so that over all ports rx = tx + drops.
#[derive(Debug)]
pub struct PortTally {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
    /// Packets that found no port for their flow among those that this port's NIC may use, by [`MAPPED`].
    no_port: [AtomicU64; MAPPED.len()],
}

impl Tally {
    /// With room for this many ports.
    pub fn new(ports: usize) -> Self {
        let chunks: Box<[OnceLock<Chunk>]> = (0..MAX_PORTS / CHUNK).map(|_| OnceLock::new()).collect();
        chunks.iter().take(ports.div_ceil(CHUNK)).for_each(|chunk| _ = chunk.get_or_init(new_chunk));
        Self { ports: chunks, rules: RuleHits::new(), dropped: DropLog::new() }
    }

    pub fn rules(&self) -> &RuleHits {
        &self.rules
    }

    /// The packets dropped recently.
    pub fn dropped(&self) -> &DropLog {
        &self.dropped
    }

    /// Allocates when the port's chunk is used for the first time.
    pub fn port(&self, port: PortId) -> &PortTally {
        let slot = port.0 as usize;
        &self.ports[slot / CHUNK].get_or_init(new_chunk)[slot % CHUNK]
    }
}

fn new_chunk() -> Chunk {
    (0..CHUNK).map(|_| CachePadded::new(PortTally::default())).collect()
}

impl PortTally {
    pub fn rx_packets(&self) -> u64 {
        self.rx_packets.load(Ordering::Relaxed)
    }

    pub fn rx_bytes(&self) -> u64 {
        self.rx_bytes.load(Ordering::Relaxed)
    }

    pub fn tx_packets(&self) -> u64 {
        self.tx_packets.load(Ordering::Relaxed)
    }

    pub fn tx_bytes(&self) -> u64 {
        self.tx_bytes.load(Ordering::Relaxed)
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    /// By [`MAPPED`].
    pub fn no_port(&self) -> [u64; MAPPED.len()] {
        self.no_port.each_ref().map(|cell| cell.load(Ordering::Relaxed))
    }

    /// Resets the counters for another port of the same number. Call only while no worker has a port of that number.
    pub(super) fn reset(&self) {
        let cells = [&self.rx_packets, &self.rx_bytes, &self.tx_packets, &self.tx_bytes];
        cells.into_iter().chain(&self.drops).chain(&self.no_port).for_each(|cell| cell.store(0, Ordering::Relaxed));
    }

    /// From the guest.
    pub(super) fn received(&self, packets: u64, bytes: u64) {
        add(&self.rx_packets, packets);
        add(&self.rx_bytes, bytes);
    }

    /// Towards the guest.
    pub(super) fn sent(&self, packets: u64, bytes: u64) {
        add(&self.tx_packets, packets);
        add(&self.tx_bytes, bytes);
    }

    pub(super) fn dropped(&self, reason: DropReason, packets: u64) {
        add(&self.drops[reason as usize], packets);
    }

    pub(super) fn found_no_port(&self, protocol: Protocol, packets: u64) {
        if let Some(at) = MAPPED.iter().position(|mapped| *mapped == protocol) {
            add(&self.no_port[at], packets);
        }
    }
}

impl Default for PortTally {
    fn default() -> Self {
        let [rx_packets, rx_bytes, tx_packets, tx_bytes] = [const { AtomicU64::new(0) }; 4];
        let (drops, no_port) = ([const { AtomicU64::new(0) }; _], [const { AtomicU64::new(0) }; _]);
        Self { rx_packets, rx_bytes, tx_packets, tx_bytes, drops, no_port }
    }
}

/// Without a lock prefix: the calling worker is the only writer.
fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

//! Copies of packets that the kernel carries, as its program makes them in a ring of memory.
//!
//! One idea: its reader takes all that wait, without a call of the kernel. Nothing wakes it.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData, RingBuf};

/// One copy: `struct copy` of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCopy<'a> {
    /// Monotonic nanoseconds.
    pub at: u64,
    /// The flow's [`copies`](super::flow_cache::Flow::copies).
    pub flow: u32,
    /// Bytes of the whole packet.
    pub len: usize,
    /// An offload header, and the packet's first bytes.
    pub frame: &'a [u8],
}

/// Where the offload header begins; the packet begins ten bytes later.
const HEADER: usize = 22;
const PACKET: usize = 32;
/// Copies that one call takes at most: more than there is room for.
const MOST: usize = 1 << 17;

/// The ring, and its only reader.
pub(super) struct FlowCopies {
    map: OwnedFd,
    /// In this process's memory while it is read.
    ring: Option<RingBuf<MapData>>,
}

impl FlowCopies {
    pub(super) fn new(map: OwnedFd) -> Self {
        Self { map, ring: None }
    }

    /// From now on there is something to take.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.ring.is_none() {
            let map = MapData::from_fd(self.map.try_clone()?).map_err(io::Error::other)?;
            self.ring = Some(RingBuf::try_from(Map::RingBuf(map)).map_err(io::Error::other)?);
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.ring = None;
    }

    pub(super) fn take(&mut self, mut take: impl FnMut(&FlowCopy<'_>)) {
        let Some(ring) = &mut self.ring else { return };
        for _ in 0..MOST {
            let Some(bytes) = ring.next() else { return };
            if let Some(copy) = FlowCopy::decode(&bytes) {
                take(&copy);
            }
        }
    }
}

impl Debug for FlowCopies {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("FlowCopies")
    }
}

impl<'a> FlowCopy<'a> {
    /// None for bytes that the program does not write.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
        let at = u64::from_ne_bytes(*bytes.first_chunk()?);
        let (flow, len, kept) = (word(8)?, word(12)? as usize, word(16)? as usize);
        Some(Self { at, flow, len, frame: bytes.get(HEADER..PACKET + kept)? })
    }
}

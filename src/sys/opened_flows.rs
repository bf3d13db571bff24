//! Connections that the kernel's program has opened by a grant, as it announces them in a ring of memory.
//!
//! One idea: its reader takes all that wait, without a call of the kernel. Nothing wakes it.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData, RingBuf};

/// One connection: `struct opened` of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedFlow {
    /// Monotonic nanoseconds.
    pub at: u64,
    /// The number of its grant.
    pub grant: u32,
    pub src_port: u16,
    /// Bytes of its first packet.
    pub len: u16,
}

/// The ring, and its only reader.
pub struct OpenedFlows(RingBuf<MapData>);

impl OpenedFlows {
    pub(super) fn new(map: &OwnedFd) -> io::Result<Self> {
        let map = MapData::from_fd(map.try_clone()?).map_err(io::Error::other)?;
        Ok(Self(RingBuf::try_from(Map::RingBuf(map)).map_err(io::Error::other)?))
    }
}

impl Iterator for OpenedFlows {
    type Item = OpenedFlow;

    /// None if none waits.
    fn next(&mut self) -> Option<OpenedFlow> {
        let bytes = self.0.next()?;
        Some(OpenedFlow::decode(&bytes).expect("the program writes records of this size"))
    }
}

impl Debug for OpenedFlows {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("OpenedFlows")
    }
}

impl OpenedFlow {
    /// None for bytes that the program does not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (grant, rest) = rest.split_first_chunk()?;
        let (src_port, rest) = rest.split_first_chunk()?;
        let (at, grant) = (u64::from_ne_bytes(*at), u32::from_ne_bytes(*grant));
        let (src_port, len) = (u16::from_be_bytes(*src_port), u16::from_ne_bytes(*rest.first_chunk()?));
        Some(Self { at, grant, src_port, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_as_the_program_writes_it() {
        let at = 0x0102_0304_0506_0708_u64.to_ne_bytes();
        let bytes = [&at[..], &7_u32.to_ne_bytes(), &[0xc0, 0x01], &60_u16.to_ne_bytes()].concat();
        let read = OpenedFlow::decode(&bytes);
        assert_eq!(read, Some(OpenedFlow { at: 0x0102_0304_0506_0708, grant: 7, src_port: 0xc001, len: 60 }));
        assert_eq!(OpenedFlow::decode(&bytes[..15]), None);
    }
}

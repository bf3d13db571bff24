//! Capture files as pcapng has them (draft-ietf-opsawg-pcapng): the few blocks that a writer needs.
//!
//! One idea: a block is built in one buffer and its length is written at both ends when it is done. Everything is
//! little-endian, which the first block says; times are in nanoseconds, which each interface says.

/// Packets behind a header that says which way they went and what they are, and nothing of a link layer. The type for
/// bare packets (101) would do, but libpcap refuses files where several interfaces have it.
const LINKTYPE_LINUX_SLL: u16 = 113;
/// That header's length.
const COOKED: usize = 16;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

const COMMENT: u16 = 1;
const END: u16 = 0;

/// Which way a packet passed its interface, as the machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketWay {
    In,
    Out,
}

/// One packet of a file.
#[derive(Clone, Copy, Debug)]
pub struct PacketBlock<'a> {
    /// In the order of the interface blocks.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub at: u64,
    /// One after the other.
    pub bytes: [&'a [u8]; 2],
    /// Of the whole packet.
    pub len: usize,
    pub way: PacketWay,
    pub comment: &'a str,
}

impl PacketBlock<'_> {
    /// So many bytes of the packet at most.
    #[must_use]
    pub fn kept(self, snap: usize) -> Self {
        let [first, rest] = self.bytes;
        let first = &first[..first.len().min(snap)];
        Self { bytes: [first, &rest[..rest.len().min(snap - first.len())]], ..self }
    }
}

/// The first block of a file.
pub fn section(file: &mut Vec<u8>, program: &str) {
    block(file, SECTION, |block| {
        block.extend(0x1a2b_3c4d_u32.to_le_bytes());
        block.extend([1, 0, 0, 0]);
        // How long the section is, is not known.
        block.extend(u64::MAX.to_le_bytes());
        option(block, 4, program.as_bytes());
        option(block, END, &[]);
    });
}

/// An interface; packets name them by their order.
pub fn interface(file: &mut Vec<u8>, (name, description): (&str, &str), snap: u32, filter: &str) {
    block(file, INTERFACE, |block| {
        block.extend(LINKTYPE_LINUX_SLL.to_le_bytes());
        block.extend([0, 0]);
        block.extend((snap + COOKED as u32).to_le_bytes());
        option(block, 2, name.as_bytes());
        option(block, 3, description.as_bytes());
        // Ten to the power of minus nine.
        option(block, 9, &[9]);
        if !filter.is_empty() {
            option(block, 11, &[&[0], filter.as_bytes()].concat());
        }
        option(block, END, &[]);
    });
}

/// A packet with what is to say of it.
pub fn packet(file: &mut Vec<u8>, packet: &PacketBlock<'_>) {
    block(file, PACKET, |block| {
        block.extend(packet.interface.to_le_bytes());
        time(block, packet.at);
        block.extend(((packet.bytes.iter().map(|bytes| bytes.len()).sum::<usize>() + COOKED) as u32).to_le_bytes());
        block.extend(((packet.len + COOKED) as u32).to_le_bytes());
        block.extend(cooked(packet));
        packet.bytes.iter().for_each(|bytes| block.extend_from_slice(bytes));
        pad(block);
        option(block, COMMENT, packet.comment.as_bytes());
        let flags: u32 = match packet.way {
            PacketWay::In => 1,
            PacketWay::Out => 2,
        };
        option(block, 2, &flags.to_le_bytes());
        option(block, END, &[]);
    });
}

/// In front of a packet, in network byte order: its way, no hardware, no address, its protocol.
fn cooked(packet: &PacketBlock<'_>) -> [u8; COOKED] {
    let way = match packet.way {
        PacketWay::In => 0,
        PacketWay::Out => 4,
    };
    let [high, low] = if packet.bytes[0].first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
    [0, way, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
}

/// What became of an interface's packets: how many are in the file, and how many found no room.
pub fn statistics(file: &mut Vec<u8>, interface: u32, (from, until): (u64, u64), (written, missed): (u64, u64)) {
    block(file, STATISTICS, |block| {
        block.extend(interface.to_le_bytes());
        time(block, until);
        for (code, at) in [(2, from), (3, until)] {
            let mut bytes = Vec::with_capacity(8);
            time(&mut bytes, at);
            option(block, code, &bytes);
        }
        option(block, 4, &(written + missed).to_le_bytes());
        option(block, 5, &missed.to_le_bytes());
        option(block, 8, &written.to_le_bytes());
        option(block, END, &[]);
    });
}

/// The upper half first.
fn time(block: &mut Vec<u8>, at: u64) {
    block.extend(((at >> 32) as u32).to_le_bytes());
    block.extend((at as u32).to_le_bytes());
}

fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(u16::MAX.into())];
    block.extend(code.to_le_bytes());
    block.extend((value.len() as u16).to_le_bytes());
    block.extend_from_slice(value);
    pad(block);
}

/// To a multiple of four. Blocks begin at one.
fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}

fn block(file: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = file.len();
    file.extend(kind.to_le_bytes());
    file.extend([0; 4]);
    body(file);
    let len = ((file.len() - start) as u32 + 4).to_le_bytes();
    file[start + 4..start + 8].copy_from_slice(&len);
    file.extend(len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_length_at_both_ends_and_end_on_four_bytes() {
        let mut file = Vec::new();
        section(&mut file, "vnet");
        interface(&mut file, ("web/eth0", "web"), 100, "tcp");
        let bytes = [0x45; 21];
        let one = PacketBlock {
            interface: 0,
            at: (7 << 32) + 9,
            bytes: [&bytes, &[]],
            len: 40,
            way: PacketWay::In,
            comment: "hi",
        };
        packet(&mut file, &one);
        statistics(&mut file, 0, (1, 2), (3, 4));
        let word = |at: usize| u32::from_le_bytes(file[at..].first_chunk().copied().unwrap_or_default());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let len = word(at + 4) as usize;
            assert_eq!((len % 4, word(at + len - 4) as usize), (0, len));
            kinds.push(word(at));
            if word(at) == PACKET {
                assert_eq!([12, 16, 20, 24].map(|field| word(at + field)), [7, 9, 37, 56]);
            }
            if word(at) == STATISTICS {
                // Codes 4, 5 and 8, each of eight bytes: what came, what is missing, what is written.
                let number = |code: u8, of: u8| [code, 0, 8, 0, of, 0, 0, 0, 0, 0, 0, 0];
                let told = [number(4, 7), number(5, 4), number(8, 3)].concat();
                assert_eq!(file[at + 20 + 2 * 12..][..told.len()], told);
            }
            at += len;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, STATISTICS]);
    }
    /// The first block says how its numbers are written, that the section's length is unknown, and which program wrote it.
    #[test]
    fn a_file_begins_with_its_byte_order_and_its_program() {
        let mut file = Vec::new();
        section(&mut file, "vnet 1");
        let (fixed, options) = file.split_at(24);
        assert_eq!(fixed[8..12], [0x4d, 0x3c, 0x2b, 0x1a]);
        assert_eq!(fixed[12..16], [1, 0, 0, 0]);
        assert_eq!(fixed[16..], [0xff; 8]);
        // Code 4, six bytes and two that fill up; the end of options; the block's length once more.
        assert_eq!(options, b"\x04\0\x06\0vnet 1\0\0\0\0\0\0\x2c\0\0\0");
    }

    /// Linux's cooked header names the way and the family: LINKTYPE_LINUX_SLL has 0 for a packet to this host, 4 for one from it.
    #[test]
    fn a_packet_says_its_way_and_its_family() {
        for (way, byte, [kind, flag]) in [(PacketWay::In, 0x45, [0, 1]), (PacketWay::Out, 0x60, [4, 2])] {
            let bytes = [byte; 20];
            let one = PacketBlock { interface: 2, at: 0, bytes: [&bytes, &[]], len: 20, way, comment: "" };
            let family = if byte == 0x60 { [0x86, 0xdd] } else { [8, 0] };
            let header = [&[0, kind, 0xff, 0xfe][..], &[0; 10], &family].concat();
            assert_eq!(cooked(&one)[..], header);
            let mut file = Vec::new();
            packet(&mut file, &one);
            assert_eq!(file[8..12], [2, 0, 0, 0], "its interface");
            assert_eq!(file[28..44], header);
            // The flags are the last option: code 2, four bytes; then the end of options and the block's length.
            assert_eq!(file[file.len() - 16..file.len() - 4], [2, 0, 4, 0, flag, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}

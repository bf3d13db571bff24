//! Headers that add up, with one thing about them that is not plain: the program must see that thing.
//!
//! One idea: a random bit in a header is seen by its checksum. So here each change is made good in the checksums, and is
//! known to matter or not: whatever matters goes up, and everything else is carried as it is.

use super::translation::{folded, sum};
use super::*;

type Make = Box<dyn Fn(&mut Vec<u8>, &mut Random)>;

/// A change of a packet. Harmless ones are carried.
struct Change {
    name: &'static str,
    is_harmless: bool,
    make: Make,
}

/// Where things are in the packets here, which have no options.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) v6: bool,
    pub(super) tcp: bool,
}

impl Layout {
    const ALL: [Self; 4] = [
        Self { v6: false, tcp: false },
        Self { v6: false, tcp: true },
        Self { v6: true, tcp: false },
        Self { v6: true, tcp: true },
    ];

    const fn transport(self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    /// A whole packet.
    pub(super) fn built(self, payload: usize) -> Vec<u8> {
        let ends = if self.v6 { ["[fd00::1]:1000", "[fd00::2]:53"] } else { ["10.0.0.1:1000", "10.0.0.2:53"] };
        let [src, dst] = ends.map(|end| end.parse().unwrap());
        let payload = vec![7; payload];
        if self.tcp { build::tcp(src, dst, 0x10, &payload) } else { build::udp(src, dst, &payload) }
    }

    /// The same as a kernel leaves it to its device.
    pub(super) fn packet(self, payload: usize) -> Vec<u8> {
        let mut packet = self.built(payload);
        self.add_up(&mut packet);
        packet
    }

    pub(super) fn frame(self, packet: &[u8]) -> Vec<u8> {
        let kind: [u8; 2] = if self.v6 { [0x86, 0xdd] } else { [8, 0] };
        [&FORGED[..], &[0; 6], &kind, packet].concat()
    }

    /// Makes the checksums right: the header's, and what a kernel leaves of the transport's.
    fn add_up(self, packet: &mut [u8]) {
        let protocol = if self.tcp { 6 } else { 17 };
        if !self.v6 {
            let end = usize::from(packet[0] & 15) * 4;
            packet[10..12].fill(0);
            let header = !folded(sum(&packet[..end.clamp(20, packet.len())]));
            packet[10..12].copy_from_slice(&header.to_ne_bytes());
        }
        let (at, addresses) = (self.transport(), if self.v6 { 8..40 } else { 12..20 });
        let length = (packet.len() - at) as u16;
        let pseudo = sum(&packet[addresses]) + sum(&length.to_be_bytes()) + sum(&[0, protocol]);
        let field = at + if self.tcp { 16 } else { 6 };
        packet[field..field + 2].copy_from_slice(&folded(pseudo).to_ne_bytes());
    }

    /// Has the IP header say how long the packet is, or so many bytes more.
    fn set_length(self, packet: &mut [u8], more: i16) {
        let length = packet.len().checked_add_signed(more.into()).unwrap();
        let (field, length) = if self.v6 { (4, length - 40) } else { (2, length) };
        packet[field..field + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }

    fn changes(self) -> Vec<Change> {
        let mut changes = if self.v6 { self.of_ipv6() } else { self.of_ipv4() };
        changes.extend(if self.tcp { self.of_tcp() } else { self.of_udp() });
        changes.extend(self.of_both());
        changes
    }

    fn of_ipv4(self) -> Vec<Change> {
        vec![
            harmless("type of service", |packet, random| packet[1] = random.below(256) as u8),
            harmless("identification", |packet, random| packet[4] = random.below(256) as u8),
            harmless("do not fragment", |packet, _| packet[6] ^= 0x40),
            matters("more fragments", |packet, _| packet[6] |= 0x20),
            matters("a fragment's offset", |packet, random| packet[7] = 1 << random.below(8)),
            matters("a far fragment's offset", |packet, random| packet[6] |= 1 << random.below(5)),
            matters("the reserved bit", |packet, _| packet[6] |= 0x80),
            matters("time to live", |packet, random| packet[8] ^= 1 << random.below(8)),
            matters("another version", |packet, _| packet[0] = 0x55),
            matters("a short header", |packet, _| packet[0] = 0x44),
            matters("another protocol", |packet, random| {
                packet[9] = [1, 4, 41, 47, 50, 58, 132, 136][random.below(8) as usize];
            }),
            // With the bytes that a transport's header would have there.
            matters("options", move |packet, _| {
                let options = packet[20..20 + if self.tcp { 20 } else { 8 }].to_vec();
                packet[0] = 0x45 + (options.len() / 4) as u8;
                packet.splice(20..20, options);
                self.set_length(packet, 0);
                if !self.tcp {
                    let length = (packet.len() - 20) as u16;
                    packet[24..26].copy_from_slice(&length.to_be_bytes());
                }
            }),
            matters("another source", |packet, random| packet[12 + random.below(4) as usize] ^= 1),
            matters("another destination", |packet, random| packet[16 + random.below(4) as usize] ^= 1),
        ]
    }

    fn of_ipv6(self) -> Vec<Change> {
        vec![
            harmless("traffic class", |packet, random| packet[0] = 0x60 | random.below(16) as u8),
            harmless("flow label", |packet, random| packet[2] = random.below(256) as u8),
            matters("hop limit", |packet, random| packet[7] ^= 1 << random.below(8)),
            matters("another version", |packet, _| packet[0] = 0x50),
            matters("an extension header", move |packet, random| {
                let kind = [0, 43, 44, 51, 60, 135][random.below(6) as usize];
                let (next, rest) = (packet[6], [0, 0, 0, 0, 0, 0, 0]);
                packet[6] = kind;
                packet.splice(40..40, [&[next][..], &rest].concat());
                self.set_length(packet, 0);
            }),
            matters("another protocol", |packet, random| {
                packet[6] = [1, 4, 41, 47, 50, 58, 59, 132][random.below(8) as usize];
            }),
            matters("another source", |packet, random| packet[8 + random.below(16) as usize] ^= 1),
            matters("another destination", |packet, random| packet[24 + random.below(16) as usize] ^= 1),
        ]
    }

    fn of_tcp(self) -> Vec<Change> {
        let at = self.transport();
        vec![
            harmless("sequence", move |packet, random| packet[at + 4] = random.below(256) as u8),
            harmless("acknowledgement", move |packet, random| packet[at + 8] = random.below(256) as u8),
            harmless("window", move |packet, random| packet[at + 14] = random.below(256) as u8),
            harmless("push, urgent and ECN", move |packet, random| {
                packet[at + 13] = 0x10 | (random.below(32) as u8) << 3;
            }),
            harmless("options", move |packet, random| {
                let words = 1 + random.below(10) as usize;
                packet[at + 12] = (5 + words as u8) << 4;
                packet.splice(at + 20..at + 20, vec![1; 4 * words]);
                self.set_length(packet, 0);
            }),
            matters("begins or ends", move |packet, random| packet[at + 13] |= 1 << random.below(3)),
            matters("a short header", move |packet, random| packet[at + 12] = (random.below(5) as u8) << 4),
            matters("a header beyond the end", move |packet, _| {
                packet.truncate(at + 32);
                packet[at + 12] = 0xf0;
                self.set_length(packet, 0);
            }),
        ]
    }

    fn of_udp(self) -> Vec<Change> {
        let at = self.transport();
        let by = move |packet: &mut Vec<u8>, by: i16| {
            let length = i16::from_be_bytes([packet[at + 4], packet[at + 5]]) + by;
            packet[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        };
        vec![
            matters("a short datagram", move |packet, random| by(packet, -1 - random.below(8) as i16)),
            matters("a long datagram", move |packet, random| by(packet, 1 + random.below(8) as i16)),
        ]
    }

    fn of_both(self) -> Vec<Change> {
        let at = self.transport();
        vec![
            harmless("payload", |packet, random| *packet.last_mut().unwrap() = random.below(256) as u8),
            matters("another port", move |packet, random| packet[at + random.below(4) as usize] ^= 1),
            matters("bytes behind", |packet, random| packet.extend(vec![0; 1 + random.below(9) as usize])),
            matters("bytes missing", |packet, random| packet.truncate(packet.len() - 1 - random.below(9) as usize)),
            matters("a length that is short", move |packet, random| {
                self.set_length(packet, -1 - random.below(9) as i16);
            }),
            matters("a length that is long", move |packet, random| {
                self.set_length(packet, 1 + random.below(9) as i16);
            }),
        ]
    }
}

fn harmless(name: &'static str, make: impl Fn(&mut Vec<u8>, &mut Random) + 'static) -> Change {
    Change { name, is_harmless: true, make: Box::new(make) }
}

fn matters(name: &'static str, make: impl Fn(&mut Vec<u8>, &mut Random) + 'static) -> Change {
    Change { name, is_harmless: false, make: Box::new(make) }
}

#[test]
fn whatever_is_not_plain_goes_up_and_everything_else_is_carried() {
    const ROUNDS: usize = 200;
    inside(|| {
        let mut random = Random(0x5eed_0004);
        for layout in Layout::ALL {
            let whole = layout.packet(100);
            let mut loaded = Loaded::new(&mut layout.built(100));
            let changes = layout.changes();
            for change in &changes {
                for round in 0..ROUNDS {
                    let mut packet = whole.clone();
                    // Beside some that do not matter.
                    for other in changes.iter().filter(|other| other.is_harmless) {
                        if random.below(4) == 0 && other.name != "options" {
                            (other.make)(&mut packet, &mut random);
                        }
                    }
                    (change.make)(&mut packet, &mut random);
                    layout.add_up(&mut packet);
                    let mut frame = layout.frame(&packet);
                    let carried = loaded.carries(&mut frame, 0, 1500);
                    assert_eq!(carried, change.is_harmless, "{}, {round}: {packet:02x?}", change.name);
                    if carried {
                        assert_eq!((&frame[..12], &frame[14..]), (&ETHERNET[..], &packet[..]), "{}", change.name);
                    } else {
                        assert!(went_up(&frame), "a guest's own destination does not go up: {frame:02x?}");
                    }
                }
            }
        }
    });
}

/// A wrong checksum of either header is seen, whatever else is right.
#[test]
fn checksums_that_do_not_add_up_go_up() {
    inside(|| {
        for layout in Layout::ALL {
            let whole = layout.packet(100);
            let mut loaded = Loaded::new(&mut layout.built(100));
            let transport = layout.transport() + if layout.tcp { 16 } else { 6 };
            let header = if layout.v6 { None } else { Some(10) };
            for at in header.into_iter().chain([transport]).flat_map(|at| [at, at + 1]) {
                for bit in 0..8 {
                    let mut packet = whole.clone();
                    packet[at] ^= 1 << bit;
                    assert!(!loaded.carries(&mut layout.frame(&packet), 0, 1500), "byte {at}, bit {bit}");
                }
            }
        }
    });
}

/// Behind an Ethernet header of another kind, with a VLAN's tag among these.
#[test]
fn only_frames_of_ip_are_carried() {
    inside(|| {
        for layout in Layout::ALL {
            let whole = layout.packet(100);
            let mut loaded = Loaded::new(&mut layout.built(100));
            let frame = layout.frame(&whole);
            let is_carried = |loaded: &mut Loaded, frame: &[u8]| loaded.carries(&mut frame.to_vec(), 0, 1500);
            assert!(is_carried(&mut loaded, &frame));
            for tag in [[0x81, 0, 0, 5], [0x88, 0xa8, 0, 5], [0x81, 0, 0, 0]] {
                let tagged = [&frame[..12], &tag, &frame[12..]].concat();
                assert!(!is_carried(&mut loaded, &tagged), "{tag:02x?}");
            }
            for kind in [[8, 6], [0x88, 0x47], [0, 110], if layout.v6 { [8, 0] } else { [0x86, 0xdd] }] {
                let other = [&frame[..12], &kind, &frame[14..]].concat();
                assert!(!is_carried(&mut loaded, &other), "{kind:02x?}");
            }
        }
    });
}

/// Of a super-packet each segment is counted, with headers of its own, and the largest must fit.
#[test]
fn segments_of_super_packets_are_measured_and_counted() {
    inside(|| {
        for layout in Layout::ALL {
            let headers = layout.transport() + if layout.tcp { 20 } else { 8 };
            for (payload, size) in [(1000, 100), (1000, 999), (1000, 1000), (1001, 1000), (100, 1000), (1, 1), (0, 100)]
            {
                let whole = layout.packet(payload);
                let mut loaded = Loaded::new(&mut layout.built(100));
                let largest = headers + size.min(payload);
                let fits = |loaded: &mut Loaded, mtu: usize| {
                    loaded.carries(&mut layout.frame(&whole), size as u16, mtu as u16)
                };
                assert!(!fits(&mut loaded, largest - 1), "{payload} bytes in segments of {size}");
                // Those of datagrams may be a tunnel's.
                assert_eq!(fits(&mut loaded, largest), layout.tcp, "{payload} bytes in segments of {size}");
                if layout.tcp {
                    let segments = payload.div_ceil(size).max(1);
                    let counted = [segments, whole.len() + (segments - 1) * headers];
                    let found = [24, 32].map(|at| u64::from_ne_bytes(*loaded.flow()[at..].first_chunk().unwrap()));
                    assert_eq!(found, counted.map(|count| count as u64), "{payload} bytes in segments of {size}");
                }
            }
        }
    });
}

/// An entry of another epoch, one that has ended, and one that was idle for too long carry nothing.
#[test]
fn entries_that_are_over_carry_nothing() {
    inside(|| {
        let layout = Layout::ALL[0];
        let whole = layout.packet(100);
        let mut loaded = Loaded::new(&mut layout.built(100));
        let plain = loaded.value;
        let with = |loaded: &mut Loaded, at: usize, bytes: &[u8]| {
            loaded.value = plain;
            loaded.value[at..at + bytes.len()].copy_from_slice(bytes);
            loaded.carries(&mut layout.frame(&whole), 0, 1500)
        };
        let ago = |secs: u64| (monotonic_nanos() - secs * 1_000_000_000).to_ne_bytes();
        let secs = |secs: u64| (secs * 1_000_000_000).to_ne_bytes();
        assert!(with(&mut loaded, 0, &EPOCH.to_ne_bytes()));
        for other in [0, EPOCH - 1, EPOCH + 1, u64::MAX] {
            assert!(!with(&mut loaded, 0, &other.to_ne_bytes()), "epoch {other}");
        }
        assert!(!with(&mut loaded, 55, &[1]), "it has ended");
        assert!(with(&mut loaded, 8, &[secs(20), ago(10)].concat()));
        assert!(!with(&mut loaded, 8, &[secs(10), ago(20)].concat()), "it was idle for too long");
        // The clock of the program is a little behind that of the daemon.
        let ahead = (monotonic_nanos() + 1_000_000_000).to_ne_bytes();
        assert!(with(&mut loaded, 8, &[secs(20), ahead].concat()));
    });
}

/// The daemon sees it first: until then nothing is carried in either direction.
#[test]
fn a_segment_that_begins_or_ends_a_connection_ends_both_entries() {
    inside(|| {
        let layout = Layout { v6: false, tcp: true };
        let (there, mut back) = (layout.packet(10), layout.packet(10));
        let [src, dst, ports] = [12..16, 16..20, 20..24];
        back[src.clone()].copy_from_slice(&there[dst.clone()]);
        back[dst].copy_from_slice(&there[src]);
        back[ports].copy_from_slice(&[there[22], there[23], there[20], there[21]]);
        layout.add_up(&mut back);
        for flag in [1, 2, 4] {
            let mut loaded = Loaded::new(&mut layout.built(10));
            let received = loaded.key;
            loaded.value[RECEIVED][..32].copy_from_slice(&received[12..44]);
            loaded.value[RECEIVED][32..].copy_from_slice(&received[6..10]);
            loaded.value[52..54].copy_from_slice(&1500u16.to_ne_bytes());
            loaded.put();
            let (answers, value) =
                (key(&Packet::parse(&mut back.clone(), left_undone(&back, 0)).unwrap()), loaded.value);
            loaded.flows().insert(answers, value, 0).unwrap();
            let mut turn = there.clone();
            turn[33] |= flag;
            for packet in [&turn, &there, &back] {
                let mut frame = layout.frame(packet);
                loaded.run(&mut frame, 0);
                assert!(went_up(&frame), "flag {flag}");
                assert_eq!(has_ended(&frame), packet == &turn, "flag {flag}: it says so");
            }
            let ended = [loaded.key, answers].map(|key| loaded.flows().get(&key, 0).unwrap()[55]);
            assert_eq!(ended, [1, 1], "flag {flag}");
        }
    });
}

//! Connections that the program opens by itself: which first packets do, what it writes and announces, and what becomes of
//! the connection.

use aya::maps::MapError;
use vnet::sys::opened_flows::OpenedFlow;

use super::headers::Layout;
use super::*;

/// Flags of TCP.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const CREDIT: u32 = 0;
const COUNT: u32 = 1;
const LEFT: u64 = 100;
const NUMBER: u32 = 77;
/// Where the program's value has these.
const LAST: std::ops::Range<usize> = 16..24;
const MTU: std::ops::Range<usize> = 52..54;
const TTL: usize = 54;
const ENDED: usize = 55;
const GRANTED: usize = 134;
const SIGNALS: usize = 140;
const BACK: [u8; 12] = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4];

type Grant = [u8; 64];
type Change = (&'static str, fn(&mut Grant));

/// A program that may open connections to one port, and a first packet of one.
struct Granted {
    loaded: Loaded,
    opened: RingBuf<MapData>,
    layout: Layout,
    /// What a kernel leaves of a checksum does not depend on flags.
    packet: Vec<u8>,
    key: Key,
    back: Key,
    grant: Grant,
}

impl Granted {
    fn new(v6: bool) -> Self {
        let layout = Layout { v6, tcp: true };
        let (packet, mut built) = (layout.packet(0), layout.built(0));
        let mut loaded = Loaded::new(&mut built);
        let key = loaded.key;
        let mut back = key;
        back[6..8].copy_from_slice(&key[8..10]);
        back[8..10].copy_from_slice(&key[6..8]);
        back[12..28].copy_from_slice(&key[28..44]);
        back[28..44].copy_from_slice(&key[12..28]);
        let mut grant = [0; 64];
        for (at, number) in [(0, EPOCH), (8, 3_600_000_000_000)] {
            grant[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        }
        grant[24..28].copy_from_slice(&NUMBER.to_ne_bytes());
        grant[28..32].copy_from_slice(&PORT.to_ne_bytes());
        grant[32..34].copy_from_slice(&1400_u16.to_ne_bytes());
        grant[34..36].copy_from_slice(&1300_u16.to_ne_bytes());
        (grant[36], grant[37]) = (loaded.value[TTL], 33);
        grant[40..52].copy_from_slice(&ETHERNET);
        grant[52..64].copy_from_slice(&BACK);
        let opened = RingBuf::try_from(loaded.ebpf.take_map("OPENED").unwrap()).unwrap();
        let mut granted = Self { loaded, opened, layout, packet, key, back, grant };
        granted.allow();
        granted.set(CREDIT, LEFT);
        granted
    }

    fn allow(&mut self) {
        let mut kind = self.key;
        kind[6..8].fill(0);
        let mut grants: BpfMap<_, Key, Grant> = self.loaded.ebpf.map_mut("GRANTS").unwrap().try_into().unwrap();
        grants.insert(kind, self.grant, 0).unwrap();
    }

    fn set(&mut self, word: u32, to: u64) {
        let mut openings: Array<_, u64> = self.loaded.ebpf.map_mut("OPENINGS").unwrap().try_into().unwrap();
        openings.set(word, to, 0).unwrap();
    }

    fn word(&mut self, word: u32) -> u64 {
        let openings: Array<_, u64> = self.loaded.ebpf.map_mut("OPENINGS").unwrap().try_into().unwrap();
        openings.get(&word, 0).unwrap()
    }

    /// Runs the program on a segment with these flags; returns where it went: its Ethernet addresses.
    fn send(&mut self, flags: u8) -> [u8; 12] {
        self.send_as(flags, |_| {})
    }

    fn send_as(&mut self, flags: u8, change: impl FnOnce(&mut Vec<u8>)) -> [u8; 12] {
        let ethernet = self.leave_up(flags, change);
        if went_up(&ethernet)
            && let Some(mark) = Mark::of(*ethernet.first_chunk().unwrap())
        {
            self.loaded.pass(mark);
        }
        ethernet
    }

    /// The same; but if it goes up, it is not passed on.
    fn leave_up(&mut self, flags: u8, change: impl FnOnce(&mut Vec<u8>)) -> [u8; 12] {
        let mut packet = self.packet.clone();
        let at = packet.len() - 20 + 13;
        packet[at] = flags;
        change(&mut packet);
        let mut frame = self.layout.frame(&packet);
        self.loaded.run(&mut frame, 0);
        *frame.first_chunk().unwrap()
    }

    fn entry(&mut self, key: Key) -> Option<Value> {
        match self.loaded.flows().get(&key, 0) {
            Ok(value) => Some(value),
            Err(MapError::KeyNotFound) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn announced(&mut self) -> Vec<OpenedFlow> {
        let mut announced = Vec::new();
        while let Some(item) = self.opened.next() {
            announced.push(OpenedFlow::decode(&item).unwrap());
        }
        announced
    }

    /// Nothing was opened, and the packet went up.
    fn assert_up(&mut self, ethernet: [u8; 12], why: &str) {
        assert!(went_up(&ethernet), "{why}");
        assert_eq!(self.entry(self.key), None, "{why}");
        assert_eq!((self.word(CREDIT), self.word(COUNT), self.announced().len()), (LEFT, 0, 0), "{why}");
    }
}

#[test]
fn a_first_packet_of_a_granted_kind_opens_both_ways() {
    inside(|| {
        for v6 in [false, true] {
            let mut granted = Granted::new(v6);
            let before = monotonic_nanos();
            assert_eq!(granted.send(SYN), ETHERNET, "it is carried");
            let length = granted.packet.len() as u64;
            let announced = granted.announced();
            let [opened] = announced[..] else { panic!("{announced:?}") };
            assert!((before..monotonic_nanos()).contains(&opened.at));
            let src_port = u16::from_be_bytes([granted.key[6], granted.key[7]]);
            assert_eq!((opened.grant, opened.src_port, u64::from(opened.len)), (NUMBER, src_port, length));
            assert_eq!((granted.word(CREDIT), granted.word(COUNT)), (LEFT - 1, 1));
            let number = |value: &Value, at: usize| u64::from_ne_bytes(*value[at..].first_chunk().unwrap());
            let ways = [(granted.key, ETHERNET, 1400_u16, granted.grant[36], 1), (granted.back, BACK, 1300, 33, 0)];
            for (key, ethernet, mtu, ttl, packets) in ways {
                let value = granted.entry(key).expect("it is there");
                assert_eq!((number(&value, 0), number(&value, 8)), (EPOCH, 3_600_000_000_000));
                assert!(number(&value, LAST.start) > before - 1_000_000_000, "from now on");
                assert_eq!((number(&value, 24), number(&value, 32)), (packets, packets * length));
                assert_eq!(value[48..52], PORT.to_ne_bytes(), "both ends are this device here");
                assert_eq!((&value[MTU], value[TTL], &value[56..68]), (&mtu.to_ne_bytes()[..], ttl, &ethernet[..]));
                assert_eq!((value[ENDED], value[TRANSLATED], value[GRANTED]), (0, 0, 1));
                assert_eq!(value[SIGNALS], packets as u8, "a SYN there, nothing back");
                let mut received = [0; 36];
                received[..32].copy_from_slice(&key[12..44]);
                received[32..].copy_from_slice(&key[6..10]);
                assert_eq!(value[RECEIVED], received);
            }
        }
    });
}

#[test]
fn what_no_grant_is_for_goes_up_and_opens_nothing() {
    inside(|| {
        let mut granted = Granted::new(false);
        for flags in [SYN | ACK, SYN | FIN, SYN | RST, ACK, FIN | ACK, RST] {
            let went = granted.send(flags);
            granted.assert_up(went, &format!("flags {flags}"));
        }
        let went = granted.send_as(SYN, |packet| packet[22] ^= 1);
        granted.assert_up(went, "another port");
        let given = granted.grant;
        let changes: [Change; 4] = [
            ("another epoch", |grant| grant[0] ^= 1),
            ("another TTL", |grant| grant[36] ^= 1),
            ("a smaller MTU", |grant| grant[32..34].copy_from_slice(&39_u16.to_ne_bytes())),
            ("answers to an entry that is there", |_| {}),
        ];
        for (why, change) in changes {
            change(&mut granted.grant);
            granted.allow();
            if granted.grant == given {
                let (back, value) = (granted.back, granted.loaded.value);
                granted.loaded.flows().insert(back, value, 0).unwrap();
            }
            let went = granted.send(SYN);
            granted.assert_up(went, why);
            granted.grant = given;
        }
        granted.allow();
        let back = granted.back;
        granted.loaded.flows().remove(&back).unwrap();
        for left in [0, u64::MAX] {
            granted.set(CREDIT, left);
            assert!(went_up(&granted.send(SYN)), "no credit is left");
            assert_eq!((granted.word(CREDIT), granted.word(COUNT)), (left, 0));
        }
        granted.set(CREDIT, 1);
        assert_eq!(granted.send(SYN), ETHERNET);
        assert_eq!((granted.word(CREDIT), granted.word(COUNT)), (0, 1), "the last of it");
    });
}

/// NSG-21: a reset that comes behind the next connection's SYN would leave the receiver with the connection before.
#[test]
fn nsg_21_nothing_is_opened_while_a_segment_from_its_port_is_on_its_way_up() {
    inside(|| {
        for v6 in [false, true] {
            let mut granted = Granted::new(v6);
            let source_port = if v6 { 41 } else { 21 };
            for flags in [RST | ACK, FIN | ACK, ACK] {
                let mark = |ethernet: [u8; 12]| Mark::of(*ethernet.first_chunk().unwrap()).unwrap();
                let first = granted.leave_up(flags, |_| {});
                assert!(went_up(&granted.leave_up(RST, |packet| packet[source_port] ^= 1)), "from another port");
                let second = granted.leave_up(SYN, |_| {});
                granted.assert_up(second, "one has not been passed on");
                granted.loaded.pass(mark(first));
                let third = granted.leave_up(SYN, |_| {});
                granted.assert_up(third, "another has not");
                let marks = [first, second, third].map(mark);
                assert!(marks.iter().all(|mark| mark.slot == marks[0].slot), "{marks:?}");
                assert_eq!(marks.map(|mark| mark.number.wrapping_sub(marks[0].number)), [0, 4, 8]);
                granted.loaded.pass(marks[2]);
            }
            assert_eq!(granted.leave_up(SYN, |_| {}), ETHERNET, "all have");
            assert_eq!(granted.word(COUNT), 1);
        }
    });
}

/// NSG-21: so does a segment that met the entry of the connection before, whatever its mark says.
#[test]
fn nsg_21_nothing_is_opened_while_a_segment_that_met_an_entry_is_on_its_way_up() {
    inside(|| {
        let mut granted = Granted::new(false);
        let mark = |ethernet: [u8; 12]| Mark::of(*ethernet.first_chunk().unwrap()).unwrap();
        let forget = |granted: &mut Granted| {
            for key in [granted.key, granted.back] {
                granted.loaded.flows().remove(&key).unwrap();
            }
        };
        assert_eq!(granted.send(SYN), ETHERNET);
        let [ended, after] = [SYN, ACK].map(|flags| mark(granted.leave_up(flags, |_| {})));
        assert_eq!([ended, after].map(Mark::has_ended), [true, false]);
        forget(&mut granted);
        granted.loaded.pass(ended);
        assert!(went_up(&granted.send(SYN)), "one has not been passed on");
        assert_eq!(granted.send(SYN), ETHERNET);
        let ended = mark(granted.leave_up(SYN, |_| {}));
        assert!(ended.has_ended());
        forget(&mut granted);
        granted.loaded.pass(ended);
        assert_eq!(granted.send(SYN), ETHERNET);
    });
}

/// NSG-21: over is a connection with a reset from either end, or a FIN from both.
#[test]
fn nsg_21_a_new_connection_from_a_port_says_whether_the_one_before_was_over() {
    inside(|| {
        const FINS: u8 = 1 | 2 | 8;
        for (there, back, over) in [(FINS, 0, false), (0, FINS, false), (FINS, FINS, true), (4, 0, true), (0, 4, true)]
        {
            let mut granted = Granted::new(false);
            assert_eq!(granted.send(SYN), ETHERNET);
            for (key, signals) in [(granted.key, there), (granted.back, back)] {
                let mut value = granted.entry(key).unwrap();
                value[SIGNALS] = signals;
                granted.loaded.flows().insert(key, value, 0).unwrap();
            }
            let again = Mark::of(*granted.send(SYN).first_chunk().unwrap()).unwrap();
            assert_eq!([again.has_ended(), again.has_renewed()], [true, over], "{there} there, {back} back");
        }
    });
}

/// A connection's two entries are removed one after the other. The next one from its port comes up meanwhile, and all of it.
#[test]
fn nsg_21_an_entry_that_is_left_carries_no_answers_to_another_connection() {
    inside(|| {
        let mut granted = Granted::new(false);
        granted.grant[37] = granted.grant[36];
        granted.allow();
        let answer = |packet: &mut Vec<u8>| {
            let (from, to) = packet[12..20].split_at_mut(4);
            from.swap_with_slice(to);
            let (from, to) = packet[20..24].split_at_mut(2);
            from.swap_with_slice(to);
        };
        assert_eq!((granted.send(SYN), granted.send_as(SYN | ACK, answer)), (ETHERNET, BACK), "both ways are carried");
        let (key, back) = (granted.key, granted.back);
        granted.loaded.flows().remove(&key).unwrap();
        assert!(went_up(&granted.send(SYN)), "there is no room for its answers' entry");
        assert!(has_ended(&granted.send_as(SYN | ACK, answer)));
        assert_eq!(granted.entry(back).unwrap()[ENDED], 1);
        assert!(went_up(&granted.send_as(FIN | ACK, answer)));
        assert_eq!((granted.entry(key), granted.word(COUNT)), (None, 1));
    });
}

/// A segment without payload or options is added up, whoever computed its checksum.
#[test]
fn a_bare_segment_is_carried_if_it_adds_up() {
    inside(|| {
        for v6 in [false, true] {
            let mut granted = Granted::new(v6);
            assert_eq!(granted.send(SYN), ETHERNET);
            let (address, len) = if v6 { (8, 32) } else { (12, 8) };
            let complete = |packet: &mut Vec<u8>| {
                let tcp = packet.len() - 20;
                packet[tcp + 16..tcp + 18].fill(0);
                let pseudo = [0, 6, 0, 20];
                let parts = [&packet[address..address + len], &pseudo, &packet[tcp..]].concat();
                let sum: u32 = parts.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
                let folded = (sum & 0xffff) + (sum >> 16);
                packet[tcp + 16..tcp + 18].copy_from_slice(&(!(folded as u16)).to_be_bytes());
            };
            assert_eq!(granted.send_as(RST | ACK, complete), ETHERNET, "of IPv6: {v6}");
            let wrong = |packet: &mut Vec<u8>| {
                complete(packet);
                *packet.last_mut().unwrap() ^= 1;
            };
            assert!(went_up(&granted.send_as(RST | ACK, wrong)), "of IPv6: {v6}");
        }
    });
}

/// NSG-21: the record learns of all flags.
#[test]
fn nsg_21_what_ends_an_opened_connection_is_carried_and_noted() {
    inside(|| {
        let mut granted = Granted::new(false);
        let key = granted.key;
        for (flags, noted) in [(SYN, 1), (ACK, 1 | 8), (FIN | ACK, 1 | 2 | 8), (RST, 1 | 2 | 4 | 8), (ACK, 1 | 2 | 8)] {
            assert_eq!(granted.send(flags), ETHERNET, "flags {flags}");
            assert_eq!(granted.entry(key).unwrap()[SIGNALS], noted, "flags {flags}");
        }
        assert_eq!(granted.word(COUNT), 1, "one connection");
        let again = Mark::of(*granted.send(SYN).first_chunk().unwrap()).unwrap();
        assert!(again.has_ended(), "a new one from this port goes up, and says what it ends");
        assert!(!again.has_renewed(), "it was not over");
        let ended = [granted.key, granted.back].map(|key| granted.entry(key).unwrap()[ENDED]);
        assert_eq!(ended, [1, 1]);
        assert!(went_up(&granted.send(ACK)), "until the daemon has decided");
        assert_eq!(granted.word(COUNT), 1);
    });
}

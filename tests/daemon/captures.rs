//! What a capture's file says: interfaces, the side that a packet is seen from, what was decided, and counts.

use std::collections::BTreeMap;

use vnet::daemon::api::protocol::{Capture, Response, Topic};

use crate::{CLIENT, HEADERS, Lab, next, rest};

/// In front of each packet in the file.
const COOKED: usize = 16;

/// A file of a capture, as a reader of pcapng has it.
#[derive(Debug, Default)]
struct File {
    interfaces: Vec<String>,
    packets: Vec<Packet>,
    /// By interface: packets that came, found no room, and were written.
    statistics: Vec<[u64; 3]>,
}

#[derive(Debug)]
struct Packet {
    interface: usize,
    /// Of what is in the file, and of the whole packet.
    lengths: [usize; 2],
    comment: String,
    /// 1 in, 2 out.
    way: u32,
}

impl File {
    fn parse(mut bytes: &[u8]) -> Self {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut file = Self::default();
        while !bytes.is_empty() {
            let (kind, len) = (word(bytes, 0), word(bytes, 4) as usize);
            let body = &bytes[8..len - 4];
            match kind {
                1 => file.interfaces.push(text(&options(&body[8..])[&2])),
                5 => {
                    let options = options(&body[12..]);
                    let number = |code| u64::from_le_bytes(options[&code][..].try_into().unwrap());
                    file.statistics.push([number(4), number(5), number(8)]);
                }
                6 => {
                    let lengths = [12, 16].map(|at| word(body, at) as usize);
                    let options = options(&body[20 + lengths[0].next_multiple_of(4)..]);
                    let (comment, way) = (text(&options[&1]), word(&options[&2], 0));
                    file.packets.push(Packet { interface: word(body, 0) as usize, lengths, comment, way });
                }
                _ => {}
            }
            bytes = &bytes[len..];
        }
        file
    }

    /// Each packet's interface by name, and which way it went there.
    fn places(&self) -> Vec<(&str, u32)> {
        self.packets.iter().map(|packet| (self.interfaces[packet.interface].as_str(), packet.way)).collect()
    }
}

fn options(mut bytes: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut all = BTreeMap::new();
    loop {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (code, len) = (half(0), usize::from(half(2)));
        if code == 0 {
            return all;
        }
        all.insert(code, bytes[4..4 + len].to_vec());
        bytes = &bytes[4 + len.next_multiple_of(4)..];
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is in the file of these machines, or of all, after some packets.
fn captured(lab: &Lab, nodes: &[&str], (count, snap): (Option<u64>, u32), send: impl FnOnce()) -> File {
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    let mut capture = lab.follow(Topic::Capture(Capture { nodes, filter: String::new(), count, snap, cut: false }));
    let Response::Captured(first) = next(&mut capture) else { panic!("no file") };
    send();
    let mut file = first.bytes;
    let mut end = first.end;
    for answer in rest(capture) {
        let Response::Captured(piece) = answer else { panic!("{answer:?}") };
        file.extend(piece.bytes);
        end = piece.end;
    }
    File::parse(&[file, end].concat())
}

const ALL: (Option<u64>, u32) = (None, 1000);

/// A packet stands once in the file: where it left, or where it came to if only its receiver is wanted.
#[test]
fn a_packet_is_seen_from_the_machine_that_is_wanted() {
    let lab = Lab::start();
    let exchange = || lab.exchange(1000, b"hello");
    let file = captured(&lab, &[], ALL, exchange);
    assert_eq!(file.interfaces, ["client/eth0", "server/eth0", "spare/eth0", "AzurePlatform/v"]);
    assert_eq!(file.places(), [("client/eth0", 2)]);
    assert_eq!(file.statistics, [[1, 0, 1], [0; 3], [0; 3], [0; 3]]);
    assert_eq!(file.packets[0].lengths, [COOKED + HEADERS + 5; 2]);
    for (nodes, interfaces, places) in [
        (&["server"][..], &["server/eth0"][..], &[("server/eth0", 1)][..]),
        (&["SERVER/ETH0"], &["server/eth0"], &[("server/eth0", 1)]),
        (&["client"], &["client/eth0"], &[("client/eth0", 2)]),
        (&["server", "client"], &["client/eth0", "server/eth0"], &[("client/eth0", 2)]),
    ] {
        let file = captured(&lab, nodes, ALL, exchange);
        assert_eq!((file.interfaces.join(" "), &file.places()[..]), (interfaces.join(" "), places), "{nodes:?}");
    }
}

/// The comment has what was decided, and not what every packet goes through.
#[test]
fn a_comment_says_what_was_decided() {
    let lab = Lab::start();
    let file = captured(&lab, &[], ALL, || {
        lab.exchange(1000, b"one");
        lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:9"), b"two");
        lab.settle(2);
        lab.exchange(1000, b"three");
    });
    let [first, denied, again] = &file.packets[..] else { panic!("{file:?}") };
    let (sent, routed) = (
        "NIC client/eth0: outbound: no NSG on NIC or subnet, everything is allowed",
        "system route 10.0.0.0/16 -> VnetLocal: to 10.0.2.4 in VNet v",
    );
    let (group, allows) = ("NSG group on subnet v/servers, rule", "inbound: allows, priority 65000");
    let comment = format!("delivered\n{sent}\n{routed}\n{group} defaultSecurityRules/AllowVnetInBound: {allows}");
    assert_eq!(first.comment, comment, "how it is sent and delivered is no decision");
    assert!(denied.comment.starts_with(&format!("dropped: NsgInbound\n{sent}\n")), "{}", denied.comment);
    assert!(denied.comment.contains("securityRules/no"), "{}", denied.comment);
    // A flow that has its record meets no rule any more.
    assert!(again.comment.starts_with("delivered\n") && !again.comment.contains(allows), "{}", again.comment);
}

/// So many packets, and of each so many bytes; its whole length is told.
#[test]
fn a_capture_keeps_what_it_is_asked_to_keep() {
    let lab = Lab::start();
    let file = captured(&lab, &[], (Some(2), 30), || {
        for payload in [b"one", b"two", b"six"] {
            lab.exchange(1000, payload);
        }
    });
    assert_eq!(file.packets.iter().map(|packet| packet.lengths).collect::<Vec<_>>(), [[COOKED + 30, COOKED + 31]; 2]);
    assert_eq!(file.statistics[0], [2, 0, 2]);
    let file = captured(&lab, &[], (None, 28), || lab.exchange(1000, b""));
    assert_eq!(file.packets[0].lengths, [COOKED + 28; 2]);
}

/// Where the client does not read, what finds no room is counted: in all, and at its interface.
#[test]
fn a_capture_counts_what_it_missed() {
    /// More than a worker keeps for a capture and a socket holds.
    const MANY: u64 = 40_000;
    let lab = Lab::start();
    let capture = Capture { nodes: Vec::new(), filter: String::new(), count: None, snap: 1000, cut: false };
    let mut following = lab.follow(Topic::Capture(capture));
    let Response::Captured(first) = next(&mut following) else { panic!("no file") };
    for _ in 0..MANY {
        lab.send(CLIENT, ("10.0.1.4:1000", "10.0.2.4:9"), b"denied");
    }
    lab.settle(MANY);
    let (mut file, mut end, mut packets, mut missed) = (first.bytes, first.end, first.packets, first.missed);
    for answer in rest(following) {
        let Response::Captured(piece) = answer else { panic!("{answer:?}") };
        file.extend(piece.bytes);
        (end, packets, missed) = (piece.end, packets + piece.packets, piece.missed);
    }
    assert!(missed > 0, "{packets} packets");
    assert_eq!(packets + missed, MANY);
    assert_eq!(File::parse(&[file, end].concat()).statistics[0], [MANY, missed, packets]);
}

//! Mistakes, each with the remedy that RFC 4271, 7606 and their kin ask for; and bytes that no speaker should send.

use bytes::BytesMut;
use proptest::prelude::*;
use vnet::bgp::Notification;
use vnet::bgp::message::{self, Context, Fault, MESSAGE_MAX, Message, Remedy, Update};

use crate::codec::EXTERNAL;
use crate::sample;

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
const ROUTE: &[u8] = &[24, 10, 0, 1];

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend((19 + body.len() as u16).to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

fn update(attributes: &[&[u8]], routes: &[u8], context: Context) -> Result<Update, Notification> {
    let list = attributes.concat();
    let body = [&[0, 0], &(list.len() as u16).to_be_bytes()[..], &list, routes].concat();
    match message::decode(&framed(2, &body), context)? {
        Message::Update(update) => Ok(update),
        other => panic!("{other:?} from an UPDATE"),
    }
}

/// The sound three and one more.
fn with(attribute: &[u8]) -> Result<Update, Notification> {
    update(&[ORIGIN, AS_PATH, NEXT_HOP, attribute], ROUTE, EXTERNAL)
}

fn withdraws(update: Result<Update, Notification>, attribute: u8) {
    let update = update.unwrap();
    assert_eq!(update.faults, [Fault { attribute, remedy: Remedy::TreatAsWithdraw }]);
    assert_eq!(update.announced, []);
    assert_eq!(update.withdrawn, ["10.0.1.0/24".parse().unwrap()], "RFC 7606 section 2: as though withdrawn");
}

fn discards(update: Result<Update, Notification>, attribute: u8) {
    let update = update.unwrap();
    assert_eq!(update.faults, [Fault { attribute, remedy: Remedy::AttributeDiscard }]);
    assert_eq!((update.announced.len(), update.withdrawn.len()), (1, 0));
}

#[track_caller]
fn resets(update: Result<Update, Notification>, code: u8, subcode: u8) {
    let notification = update.unwrap_err();
    assert_eq!((notification.code, notification.subcode), (code, subcode), "{notification}");
}

#[test]
fn a_sound_one_has_no_faults() {
    let update = with(&[]).unwrap();
    assert_eq!((update.faults.len(), update.announced.len()), (0, 1));
}

/// RFC 7606 section 7.
#[test]
fn treat_as_withdraw() {
    let replaced = |origin, path, hop| update(&[origin, path, hop], ROUTE, EXTERNAL);
    withdraws(replaced(&[0x40, 1, 1, 9], AS_PATH, NEXT_HOP), 1);
    withdraws(replaced(&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP), 1);
    withdraws(replaced(ORIGIN, &[0x40, 2, 6, 9, 1, 0, 0, 0xfd, 0xe8], NEXT_HOP), 2);
    withdraws(replaced(ORIGIN, &[0x40, 2, 6, 2, 5, 0, 0, 0xfd, 0xe8], NEXT_HOP), 2);
    withdraws(replaced(ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP), 2);
    withdraws(replaced(ORIGIN, &[0x40, 2, 6, 3, 1, 0, 0, 0xfd, 0xe8], NEXT_HOP), 2); // RFC 5065 section 5.3
    withdraws(replaced(ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0, 0], NEXT_HOP), 2); // RFC 7607
    withdraws(replaced(ORIGIN, AS_PATH, &[0x40, 3, 5, 192, 0, 2, 1, 0]), 3);
    withdraws(replaced(ORIGIN, AS_PATH, &[0x40, 3, 4, 224, 0, 0, 1]), 3);
    withdraws(replaced(ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]), 3);
    withdraws(with(&[0x80, 4, 3, 0, 0, 0]), 4);
    withdraws(with(&[0xc0, 8, 3, 0, 0, 0]), 8);
    withdraws(with(&[0xc0, 8, 0]), 8);
    withdraws(with(&[0x80, 4, 40, 0]), 0); // section 4: longer than the list
    withdraws(with(&[0x80]), 0);
    let internal = Context { internal: true, ..EXTERNAL };
    withdraws(update(&[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 5, 3, 0, 0, 0]], ROUTE, internal), 5);
}

/// RFC 7606 section 3 (c): optional and transitive bits that are not the attribute's.
#[test]
fn wrong_flags() {
    withdraws(update(&[&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP], ROUTE, EXTERNAL), 1);
    withdraws(with(&[0x40, 4, 4, 0, 0, 0, 1]), 4);
    withdraws(with(&[0x80, 7, 8, 0, 0, 0, 1, 1, 1, 1, 1]), 7);
}

/// RFC 7606 section 3 (d).
#[test]
fn missing_attributes() {
    withdraws(update(&[AS_PATH, NEXT_HOP], ROUTE, EXTERNAL), 1);
    withdraws(update(&[ORIGIN, NEXT_HOP], ROUTE, EXTERNAL), 2);
    withdraws(update(&[ORIGIN, AS_PATH], ROUTE, EXTERNAL), 3);
    assert_eq!(update(&[], &[], EXTERNAL).unwrap(), Update::default(), "the end of the first routes has none");
}

#[test]
fn attribute_discard() {
    discards(with(&[0x40, 6, 1, 0]), 6);
    discards(with(&[0xc0, 7, 3, 0, 0, 0]), 7);
    discards(with(&[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1]), 7); // RFC 7607
    discards(with(&[0x40, 5, 4, 0, 0, 0, 100]), 5); // from another system
    discards(with(ORIGIN), 1); // section 3 (g): all but the first
    discards(with(&[0xc0, 17, 6, 2, 1, 0, 0, 0xfd, 0xe8]), 17); // RFC 6793 section 4.1
    let two_byte = Context { four_byte_asn: false, ..EXTERNAL };
    let path: &[u8] = &[0x40, 2, 4, 2, 1, 0xfd, 0xe8];
    discards(update(&[ORIGIN, path, NEXT_HOP, &[0xc0, 17, 3, 2, 1, 0]], ROUTE, two_byte), 17); // RFC 6793 section 6
    discards(update(&[ORIGIN, path, NEXT_HOP, &[0xc0, 18, 4, 0, 0, 0, 1]], ROUTE, two_byte), 18);
}

#[test]
fn unknown_attributes() {
    let passed_on = with(&[0xc0, 99, 2, 7, 7]).unwrap();
    assert_eq!(passed_on.attributes.opaque.len(), 1);
    let ignored = with(&[0x80, 99, 2, 7, 7]).unwrap();
    assert_eq!((ignored.attributes.opaque.len(), ignored.faults.len()), (0, 0));
    let refused = with(&[0x40, 99, 2, 7, 7]).unwrap_err();
    assert_eq!((refused.code, refused.subcode), (3, 2));
    assert_eq!(refused.data, [0x40, 99, 2, 7, 7], "with the attribute as data");
}

/// Where routes cannot be told apart.
#[test]
fn session_reset() {
    resets(update(&[ORIGIN, AS_PATH, NEXT_HOP], &[33, 10, 0, 0, 0, 0], EXTERNAL), 3, 10);
    resets(update(&[ORIGIN, AS_PATH, NEXT_HOP], &[24, 10, 0], EXTERNAL), 3, 10);
    let update = |body: &[u8]| message::decode(&framed(2, body), EXTERNAL).map(|_| Update::default());
    resets(update(&[0, 9, 0, 0]), 3, 1);
    resets(update(&[0, 0, 0, 9]), 3, 1);
    resets(update(&[0, 1, 40, 0, 0]), 3, 10);
    let unreach: &[u8] = &[0x80, 15, 3, 0, 2, 1];
    resets(with(&[unreach, unreach].concat()), 3, 1);
    resets(with(&[0x80, 14, 3, 0, 2, 1]), 3, 9);
    resets(with(&[0x80, 14, 9, 0, 2, 1, 4, 1, 2, 3, 4, 0]), 3, 9); // a next hop of the wrong length
    resets(with(&[0x80, 15, 4, 0, 2, 1, 129]), 3, 9);
}

/// RFC 4271 sections 6.1 and 6.2.
#[test]
fn headers_and_opens() {
    let decoded = |bytes: &[u8]| message::decode(bytes, EXTERNAL).map(|_| Update::default());
    let mut marker = framed(4, &[]);
    marker[3] = 0;
    resets(decoded(&marker), 1, 1);
    resets(decoded(&framed(9, &[])), 1, 3);
    resets(decoded(&framed(4, &[0])), 1, 2);
    resets(decoded(&framed(5, &[0, 1, 0])), 1, 2);
    resets(decoded(&framed(1, &[4, 0, 1])), 1, 2);
    for len in [0, 18, 4097] {
        let mut bytes = framed(2, &[0; 4]);
        bytes[16..18].copy_from_slice(&u16::to_be_bytes(len));
        let refused = message::length(&bytes).unwrap_err();
        assert_eq!((refused.code, refused.subcode, refused.data), (1, 2, len.to_be_bytes().to_vec()));
    }
    let open = |version, asn: u16, hold: u16, identifier: [u8; 4], parameters: &[u8]| {
        let head = [&[version][..], &asn.to_be_bytes(), &hold.to_be_bytes(), &identifier].concat();
        decoded(&framed(1, &[&head, parameters].concat()))
    };
    let id = [10, 0, 0, 1];
    assert_eq!(open(4, 65001, 180, id, &[0]), Ok(Update::default()));
    resets(open(3, 65001, 180, id, &[0]), 2, 1);
    resets(open(4, 0, 180, id, &[0]), 2, 2);
    resets(open(4, 65001, 180, [0; 4], &[0]), 2, 3);
    resets(open(4, 65001, 180, id, &[3, 1, 1, 0]), 2, 4);
    resets(open(4, 65001, 2, id, &[0]), 2, 6);
    resets(open(4, 65001, 180, id, &[9]), 2, 0);
    resets(open(4, 65001, 180, id, &[4, 2, 2, 65, 4]), 2, 0);
    resets(open(4, 65001, 180, id, &[8, 2, 6, 65, 4, 0, 0, 0, 0]), 2, 2);
    let extended = [255, 255, 0, 5, 2, 0, 2, 2, 0]; // RFC 9072
    assert_eq!(open(4, 65001, 180, id, &extended), Ok(Update::default()));
    // 255 bytes of the plain form: one unknown capability.
    let plain = [&[255, 2, 253, 200, 251][..], &[0; 251]].concat();
    assert_eq!(open(4, 65001, 180, id, &plain), Ok(Update::default()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Damaged messages are read or refused; what is read is no longer than what was sent.
    #[test]
    fn mutations(
        attributes in sample::attributes(),
        (next_hop, prefixes) in sample::reach(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        four_byte_asn: bool,
        internal: bool,
    ) {
        let context = Context { four_byte_asn, internal };
        let mut bytes = BytesMut::new();
        message::write_announcements(&attributes, next_hop, &prefixes, context, &mut bytes).unwrap();
        bytes.truncate(message::length(&bytes).unwrap().unwrap());
        for (at, byte) in damage {
            // Behind the header, and mostly in the attributes.
            let at = 19 + at.index(bytes.len() - 19) % 200.min(bytes.len() - 19);
            bytes[at] = byte;
        }
        match message::decode(&bytes, context) {
            Ok(Message::Update(update)) => {
                let routes: usize = update.announced.iter().map(|reach| reach.prefixes.len()).sum();
                prop_assert!(routes + update.withdrawn.len() <= MESSAGE_MAX);
                prop_assert!(update.announced.is_empty() || !update.is_faulty());
            }
            Ok(other) => panic!("{other:?} from an UPDATE"),
            Err(notification) => prop_assert_eq!(notification.code, 3),
        }
    }

    #[test]
    fn random_bodies(kind in 0..7u8, body in proptest::collection::vec(any::<u8>(), 0..200), internal: bool) {
        let context = Context { four_byte_asn: body.len().is_multiple_of(2), internal };
        if let Err(notification) = message::decode(&framed(kind, &body), context) {
            prop_assert!((1..=3).contains(&notification.code), "{}", notification);
        }
    }

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(bytes.len() < 19 || message::length(&bytes).is_err());
        prop_assert!(message::decode(&bytes, EXTERNAL).is_err());
    }
}

//! What is written is read as it was; and an independent parser reads the same.

use bytes::BytesMut;
use ipnet::IpNet;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::community::Community;
use netgauze_bgp_pkt::path_attribute::PathAttributeValue;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use vnet::bgp::message::{
    self, Attributes, Context, Family, MESSAGE_MAX, Message, write_announcements, write_withdrawals,
};

use crate::sample;

pub(crate) const EXTERNAL: Context = Context { four_byte_asn: true, internal: false };

/// All messages in a row of bytes.
pub(crate) fn messages(mut bytes: &[u8], context: Context) -> Vec<Message> {
    let mut messages = vec![];
    while let Some(len) = message::length(bytes).unwrap() {
        assert!(len <= MESSAGE_MAX);
        messages.push(message::decode(&bytes[..len], context).unwrap());
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty());
    messages
}

fn as_others_read(bytes: &[u8], four_byte_asn: bool) -> BgpMessage {
    let mut context = BgpParsingContext::default();
    context.set_asn4(four_byte_asn);
    let mut reader = SliceReader::new(bytes);
    BgpMessage::parse(&mut reader, &mut context).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn opens(open in sample::open()) {
        let mut bytes = BytesMut::new();
        open.write(&mut bytes);
        let BgpMessage::Open(theirs) = as_others_read(&bytes, true) else { panic!("an OPEN") };
        prop_assert_eq!(theirs.my_asn4(), open.asn.0);
        prop_assert_eq!((theirs.bgp_id(), theirs.hold_time()), (open.identifier, open.hold_time));
        prop_assert_eq!(messages(&bytes, EXTERNAL), [Message::Open(open)]);
    }

    #[test]
    fn notifications(notification in sample::notification()) {
        let mut bytes = BytesMut::new();
        notification.write(&mut bytes);
        prop_assert_eq!(messages(&bytes, EXTERNAL), [Message::Notification(notification)]);
    }

    #[test]
    fn announcements(
        attributes in sample::attributes(),
        (next_hop, prefixes) in sample::reach(),
        four_byte_asn: bool,
        internal: bool,
    ) {
        let context = Context { four_byte_asn, internal };
        let mut bytes = BytesMut::new();
        let count = write_announcements(&attributes, next_hop, &prefixes, context, &mut bytes).unwrap();
        let messages = messages(&bytes, context);
        prop_assert_eq!(messages.len() as u64, count);
        let mut announced: Vec<IpNet> = vec![];
        for message in messages {
            let Message::Update(update) = message else { panic!("an UPDATE") };
            prop_assert_eq!(&update.faults, &[]);
            let expected = sample::as_seen(&attributes, internal);
            // Between two-byte speakers sequences grow together: the numbers count.
            prop_assert_eq!(
                update.attributes.as_path.asns().collect::<Vec<_>>(),
                expected.as_path.asns().collect::<Vec<_>>()
            );
            prop_assert_eq!(update.attributes.as_path.length(), expected.as_path.length());
            if four_byte_asn || attributes.as_path.asns().all(|asn| asn.0 <= 0xffff) {
                prop_assert_eq!(&update.attributes, &expected);
            }
            prop_assert_eq!(update.announced.len(), 1);
            prop_assert_eq!(update.announced[0].next_hop, next_hop);
            announced.extend(&update.announced[0].prefixes);
        }
        prop_assert_eq!(announced, prefixes);
    }

    /// As far as that parser reports them singly.
    #[test]
    fn others_read_our_announcements(
        attributes in sample::attributes(),
        prefixes in proptest::collection::vec(sample::ipv4_prefix(), 1..200),
        four_byte_asn: bool,
    ) {
        let mut attributes = attributes;
        attributes.opaque.clear();
        let context = Context { four_byte_asn, internal: true };
        let mut bytes = BytesMut::new();
        write_announcements(&attributes, [192, 0, 2, 1].into(), &prefixes, context, &mut bytes).unwrap();
        let len = message::length(&bytes).unwrap().unwrap();
        let BgpMessage::Update(theirs) = as_others_read(&bytes[..len], four_byte_asn) else { panic!("an UPDATE") };
        let nlri: Vec<_> = theirs.nlri().iter().map(|nlri| IpNet::V4(nlri.network().address())).collect();
        prop_assert_eq!(&nlri[..], &prefixes[..nlri.len()]);
        for attribute in theirs.path_attributes() {
            match attribute.value() {
                PathAttributeValue::MultiExitDiscriminator(med) => prop_assert_eq!(Some(med.metric()), attributes.med),
                PathAttributeValue::LocalPreference(pref) => prop_assert_eq!(Some(pref.metric()), attributes.local_pref),
                PathAttributeValue::NextHop(hop) => prop_assert_eq!(hop.next_hop().octets(), [192, 0, 2, 1]),
                PathAttributeValue::Communities(theirs) => {
                    let theirs: Vec<_> = theirs.communities().iter().map(Community::value).collect();
                    let ours: Vec<_> = attributes.communities.iter().map(|community| community.0).collect();
                    prop_assert_eq!(theirs, ours);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn withdrawals(
        ipv4 in proptest::collection::vec(sample::ipv4_prefix(), 0..2000),
        ipv6 in proptest::collection::vec(sample::ipv6_prefix(), 0..600),
    ) {
        let prefixes = [ipv4, ipv6].concat();
        let mut bytes = BytesMut::new();
        let count = write_withdrawals(&prefixes, &mut bytes);
        let mut withdrawn = vec![];
        for message in messages(&bytes, EXTERNAL) {
            let Message::Update(update) = message else { panic!("an UPDATE") };
            prop_assert!(update.announced.is_empty() && update.faults.is_empty());
            withdrawn.extend(update.withdrawn);
        }
        prop_assert_eq!(withdrawn, prefixes);
        prop_assert!(count <= 2 + bytes.len() as u64 / 4000, "{} messages", count);
    }
}

/// As many routes a message as fit: 4,000 of /24 take 4 bytes each.
#[test]
fn messages_are_full() {
    let prefixes: Vec<IpNet> =
        (0..4000u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255).parse().unwrap()).collect();
    let mut bytes = BytesMut::new();
    let count = write_announcements(&Attributes::default(), [192, 0, 2, 1].into(), &prefixes, EXTERNAL, &mut bytes);
    assert_eq!(count, Ok(4));
    assert_eq!(write_withdrawals(&prefixes, &mut bytes), 4);
}

#[test]
fn keepalives_and_refreshes() {
    let mut bytes = BytesMut::new();
    message::write_keepalive(&mut bytes);
    message::write_route_refresh(Family::Ipv6, &mut bytes);
    let expected = [Message::Keepalive, Message::RouteRefresh(Some(Family::Ipv6))];
    assert_eq!(messages(&bytes, EXTERNAL), expected);
}

/// Messages are as full as they may be: so many routes of one length, and one more makes one message more.
#[test]
fn a_message_has_room_for_so_many_routes_and_no_more() {
    const FRAME: usize = 23;
    let routes = |count: usize, length: u8, first: &str| -> Vec<IpNet> {
        let first: IpNet = format!("{first}/{length}").parse().unwrap();
        vec![first; count]
    };
    for (length, first, taken) in [
        (24, "10.0.0.0", FRAME),
        (32, "10.0.0.0", FRAME),
        (0, "0.0.0.0", FRAME),
        // A long attribute with a family and a subsequent one.
        (64, "fd00::", FRAME + 4 + 3),
        (128, "fd00::", FRAME + 4 + 3),
    ] {
        let each = 1 + usize::from(length) / 8;
        let most = (MESSAGE_MAX - taken) / each;
        let withdrawn = |count| {
            let mut bytes = BytesMut::new();
            let count = write_withdrawals(&routes(count, length, first), &mut bytes);
            (count, messages(&bytes, EXTERNAL).len(), bytes.len())
        };
        assert_eq!(withdrawn(most), (1, 1, taken + most * each), "/{length}");
        let (count, read, _) = withdrawn(most + 1);
        assert_eq!((count, read), (2, 2), "/{length}");
    }
}

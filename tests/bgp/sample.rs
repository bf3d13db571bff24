//! Messages drawn at random, all of them sound.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vnet::bgp::message::{
    Aggregator, AsPath, Asn, Attributes, Capabilities, Community, Families, Notification, Opaque, Open, Origin,
    SegmentKind,
};

pub(crate) fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![64512..65535u32, 1..=u32::MAX].prop_map(Asn)
}

fn segment() -> impl Strategy<Value = (SegmentKind, Vec<Asn>)> {
    (prop_oneof![3 => Just(SegmentKind::Sequence), 1 => Just(SegmentKind::Set)], vec(asn(), 1..20))
}

fn as_path() -> impl Strategy<Value = AsPath> {
    vec(segment(), 0..4).prop_map(|segments| {
        let mut path = AsPath::default();
        for (kind, asns) in segments {
            path.push(kind, asns);
        }
        path
    })
}

fn aggregator() -> impl Strategy<Value = Aggregator> {
    (asn(), any::<Ipv4Addr>()).prop_map(|(asn, identifier)| Aggregator { asn, identifier })
}

/// Of kinds that are not read: 16 and 32 are extended and large communities.
fn opaque() -> impl Strategy<Value = Vec<Opaque>> {
    let kinds = Just([16, 32, 200]).prop_shuffle();
    (kinds, vec(vec(any::<u8>(), 0..300), 0..3))
        .prop_map(|(kinds, values)| kinds.into_iter().zip(values).map(|(kind, value)| Opaque { kind, value }).collect())
}

pub(crate) fn attributes() -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let numbers = (option::of(any::<u32>()), option::of(any::<u32>()), any::<bool>());
    let communities = vec(any::<u32>().prop_map(Community), 0..20);
    (origin, as_path(), numbers, option::of(aggregator()), communities, opaque()).prop_map(
        |(origin, as_path, (med, local_pref, atomic_aggregate), aggregator, communities, opaque)| Attributes {
            origin,
            as_path,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities,
            opaque,
        },
    )
}

pub(crate) fn ipv4_prefix() -> impl Strategy<Value = IpNet> {
    (any::<u32>(), 0..=32u8)
        .prop_map(|(address, len)| Ipv4Net::new(address.into(), len).unwrap().trunc())
        .prop_filter("unicast", |prefix| !prefix.network().is_multicast())
        .prop_map(IpNet::V4)
}

pub(crate) fn ipv6_prefix() -> impl Strategy<Value = IpNet> {
    (any::<u128>(), 0..=128u8)
        .prop_map(|(address, len)| Ipv6Net::new(address.into(), len).unwrap().trunc())
        .prop_filter("unicast", |prefix| !prefix.network().is_multicast())
        .prop_map(IpNet::V6)
}

/// Prefixes of one family with a next hop of the same.
pub(crate) fn reach() -> impl Strategy<Value = (IpAddr, Vec<IpNet>)> {
    prop_oneof![
        (Just(Ipv4Addr::new(192, 0, 2, 1).into()), vec(ipv4_prefix(), 1..2000)),
        (Just(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()), vec(ipv6_prefix(), 1..600)),
    ]
}

pub(crate) fn open() -> impl Strategy<Value = Open> {
    let families = option::of((any::<bool>(), any::<bool>()).prop_filter("some", |(a, b)| *a || *b));
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX];
    (asn(), hold_time, 1..0xe000_0000u32, families, any::<bool>(), any::<bool>()).prop_map(
        |(asn, hold_time, identifier, families, route_refresh, four_byte_asn)| Open {
            // A speaker without four-byte numbers has none that needs them.
            asn: if four_byte_asn { asn } else { Asn(asn.0 & 0xffff | 1) },
            hold_time,
            identifier: identifier.into(),
            capabilities: Capabilities {
                families: families.map(|(ipv4, ipv6)| Families { ipv4, ipv6 }),
                route_refresh,
                four_byte_asn,
            },
        },
    )
}

pub(crate) fn notification() -> impl Strategy<Value = Notification> {
    (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..300))
        .prop_map(|(code, subcode, data)| Notification::new(code, subcode).with_data(data))
}

/// As a session of such a kind would carry them.
pub(crate) fn as_seen(attributes: &Attributes, internal: bool) -> Arc<Attributes> {
    let local_pref = attributes.local_pref.filter(|_| internal);
    Arc::new(Attributes { local_pref, ..attributes.clone() })
}

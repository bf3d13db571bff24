//! Public addresses, their prefixes, and NAT gateways.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, Source};

use super::table::{Table, Use, deep, is, items, property, scalar, text};
use super::text::Out;
use super::{Converter, entry};

static ADDRESS: Table = Table {
    what: "a public IP address",
    rows: &[
        ("ipAddress", Use::Taken),
        ("sku", Use::Taken),
        ("publicIPAddressVersion", Use::Unless("IPv4")),
        ("publicIPAllocationMethod", Use::Cosmetic),
        ("idleTimeoutInMinutes", Use::Cosmetic),
        ("dnsSettings", Use::Cosmetic),
        ("ipConfiguration", Use::Cosmetic),
        ("publicIPPrefix", Use::Cosmetic),
        ("ipTags", Use::Cosmetic),
        ("ddosSettings", Use::Cosmetic),
        ("natGateway", Use::Cosmetic),
        ("deleteOption", Use::Cosmetic),
        ("linkedPublicIPAddress", Use::Cosmetic),
        ("servicePublicIPAddress", Use::Cosmetic),
        ("migrationPhase", Use::Cosmetic),
    ],
};

static PREFIX: Table = Table {
    what: "a public IP prefix",
    rows: &[
        ("prefixLength", Use::Cosmetic),
        ("ipPrefix", Use::Taken),
        ("sku", Use::Cosmetic),
        ("publicIPAddressVersion", Use::Cosmetic),
        ("publicIPAddresses", Use::Cosmetic),
        ("natGateway", Use::Cosmetic),
        ("ipTags", Use::Cosmetic),
        ("customIPPrefix", Use::Cosmetic),
        ("loadBalancerFrontendIpConfiguration", Use::Cosmetic),
    ],
};

static NAT_GATEWAY: Table = Table {
    what: "a NAT gateway",
    rows: &[
        ("publicIpAddresses", Use::Refs),
        ("publicIpPrefixes", Use::Refs),
        ("idleTimeoutInMinutes", Use::Unless("4")),
        ("sku", Use::Cosmetic),
        ("subnets", Use::Cosmetic),
        ("publicIpAddressesV6", Use::Gap),
        ("publicIpPrefixesV6", Use::Gap),
        ("sourceVirtualNetwork", Use::Gap),
    ],
};

pub(super) fn public_address(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    if let Some(address) = property(body, "ipAddress")
        .filter(|_| one.source == Source::Dump || is(body, "publicIPAllocationMethod", "Static"))
        && let Some(written) = scalar(address)
    {
        if in_prefix(converter, &written) {
            let message =
                format!("{written} is of a public IP prefix, which has it here: another address stands for it");
            converter.note(&address.at, NoteKind::MadeUp, message);
        } else {
            map.push(entry("ipAddress", Out::scalar(written).at(&address.at)));
        }
    }
    map.extend(converter.object(body, &ADDRESS));
    basic(converter, body, "a public IP address");
    Out::map(map).at(&one.resource.at)
}

/// Says that a Basic SKU, which Azure has retired, is used as a Standard one.
pub(super) fn basic(converter: &mut Converter<'_>, body: &Node, what: &str) {
    let Some(sku) = property(body, "sku").filter(|sku| is(sku, "name", "Basic")) else { return };
    let message = format!("{what} of SKU Basic is used as Standard");
    converter.note(&sku.at, NoteKind::MadeUp, message);
}

fn prefixes<'a>(converter: &Converter<'a>) -> impl Iterator<Item = &'a Entry> {
    let prefixes = converter.store.of_kind("Microsoft.Network/publicIPPrefixes");
    let store = converter.store;
    // One that no NAT gateway has is not in the file.
    prefixes.filter(move |prefix| {
        let id = prefix.resource.id.as_str();
        let mut gateways = store.of_kind("Microsoft.Network/natGateways");
        gateways.any(|gateway| {
            let named = items(&gateway.resource.body, "publicIpPrefixes").iter();
            named.filter_map(super::table::id_of).any(|named| named.eq_ignore_ascii_case(id))
        })
    })
}

fn in_prefix(converter: &Converter<'_>, address: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let ranges = prefixes(converter).filter_map(|prefix| text(&prefix.resource.body, "ipPrefix"));
    ranges.filter_map(|range| range.parse::<IpNet>().ok()).any(|range| range.contains(&address))
}

pub(super) fn public_prefix(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(body, &PREFIX));
    let stated = property(body, "ipPrefix").and_then(|range| Some(Out::scalar(scalar(range)?).at(&range.at)));
    let range = stated.unwrap_or_else(|| {
        // Sixteen ranges of up to sixteen addresses, of those for documentation.
        let number = converter.made_up.wrapping_mul(16);
        let length = text(body, "prefixLength").and_then(|length| length.parse::<u8>().ok());
        let range = if is(body, "publicIPAddressVersion", "IPv6") {
            format!("2001:db8:c633:{number:x}::/{}", length.unwrap_or(124).clamp(124, 127))
        } else {
            format!("198.51.100.{number}/{}", length.unwrap_or(28).clamp(28, 31))
        };
        converter.made_up = converter.made_up.wrapping_add(1);
        let message = format!("the range of public IP prefix `{}` is not known: it is {range} here", one.resource.name);
        converter.note(&one.resource.at, NoteKind::MadeUp, message);
        Out::scalar(range)
    });
    map.push(entry("ipPrefix", range));
    Out::map(map).at(&one.resource.at)
}

pub(super) fn nat_gateway(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(&one.resource.body, &NAT_GATEWAY));
    if let Some(sku) =
        deep(&one.resource.body, &["sku", "name"]).filter(|sku| scalar(sku).is_some_and(|sku| sku == "StandardV2"))
    {
        let message = "a NAT gateway of SKU StandardV2 is used as Standard".to_owned();
        converter.note(&sku.at, NoteKind::MadeUp, message);
    }
    Out::map(map).at(&one.resource.at)
}

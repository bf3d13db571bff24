//! Private endpoints.

use crate::arm::Node;
use crate::arm::store::{Entry, Source};

use super::table::{Table, Use, deep, id_of, items, property, scalar};
use super::text::Out;
use super::{Converter, entry};

static ENDPOINT: Table = Table {
    what: "a private endpoint",
    rows: &[
        ("subnet", Use::Taken),
        ("ipConfigurations", Use::Taken),
        ("networkInterfaces", Use::Taken),
        ("customDnsConfigs", Use::Cosmetic),
        ("privateLinkServiceConnections", Use::Cosmetic),
        ("manualPrivateLinkServiceConnections", Use::Cosmetic),
        ("customNetworkInterfaceName", Use::Cosmetic),
        ("privateDnsZoneGroups", Use::Cosmetic),
        ("applicationSecurityGroups", Use::Gap),
    ],
};

pub(super) fn private_endpoint(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    map.push(entry("subnet", converter.named(property(body, "subnet")?)?));
    let stated = items(body, "ipConfigurations").first().and_then(|first| property(first, "privateIPAddress"));
    let address = stated.or_else(|| allocated(converter, one));
    if let Some(address) = address
        && let Some(written) = scalar(address)
    {
        map.push(entry("privateIPAddress", Out::scalar(written).at(&address.at)));
    }
    map.extend(converter.object(body, &ENDPOINT));
    Some(Out::map(map).at(&one.resource.at))
}

/// The address of its interface, in a dump that has it, or of its name.
fn allocated<'a>(converter: &Converter<'a>, one: &'a Entry) -> Option<&'a Node> {
    if one.source == Source::Template {
        return None;
    }
    let body = &one.resource.body;
    let interface = items(body, "networkInterfaces").first().and_then(id_of);
    let interface = interface.and_then(|id| converter.store.find(id)).map(|entry| &entry.resource.body);
    let own = interface.and_then(|interface| items(interface, "ipConfigurations").first());
    let own = own.and_then(|own| property(own, "privateIPAddress"));
    let named = || items(body, "customDnsConfigs").first().and_then(|names| deep(names, &["ipAddresses"]));
    own.or_else(|| named().and_then(|addresses| addresses.items().first()))
}

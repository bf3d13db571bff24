//! Local network gateways, and the sites that stand behind them: a document says nothing of these, so they are made of what
//! the local network gateway says.

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::Entry;

use super::gateway::{BGP, bgp_settings};
use super::names::Rule;
use super::table::{Table, Use, deep, is, property, reference, scalar, text};
use super::text::{Map, Out, Value};
use super::virtual_network::SPACE;
use super::{Converter, entry};

static LOCAL: Table = Table {
    what: "a local network gateway",
    rows: &[
        ("gatewayIpAddress", Use::Taken),
        ("fqdn", Use::Taken),
        ("localNetworkAddressSpace", Use::Read(&SPACE)),
        ("localNetworkSiteAddressSpace", Use::Cosmetic),
        ("bgpSettings", Use::Read(&BGP)),
    ],
};

/// The shared key of connections that say none: it is the same at both ends.
const KEY: &str = "made-up-key";

pub(super) fn made_up_key(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let message = format!("the shared key of connection `{}` is not known: both ends have `{KEY}`", one.resource.name);
    converter.note(&one.resource.at, NoteKind::MadeUp, message);
    Out::scalar(KEY)
}

pub(super) fn local_gateway(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let name = converter.own_name(one);
    let mut map = vec![entry("name", name)];
    let address = device(converter, one);
    map.push(entry("gatewayIpAddress", address.clone()));
    let written = deep(body, &["localNetworkAddressSpace", "addressPrefixes"]).map_or(&[][..], Node::items);
    let space: Vec<_> = written.iter().filter_map(|range| converter.range(range)).collect();
    if !space.is_empty() {
        map.push(entry("localNetworkAddressSpace", Out::list(space.clone())));
    }
    let bgp = property(body, "bgpSettings").map(bgp_settings);
    let bgp = bgp.filter(|settings| settings.iter().any(|(key, _)| key == "bgpPeeringAddress"));
    map.extend(bgp.clone().map(|settings| entry("bgpSettings", Out::map(settings))));
    map.extend(converter.object(body, &LOCAL));
    if space.is_empty() && bgp.is_none() {
        let message =
            format!("local network gateway `{}` has neither ranges nor BGP: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    site(converter, one, address, space, bgp);
    Some(Out::map(map).at(&one.resource.at))
}

/// The device's public address; for a name, one of those for documentation.
fn device(converter: &mut Converter<'_>, one: &Entry) -> Out {
    let body = &one.resource.body;
    if let Some(address) = property(body, "gatewayIpAddress")
        && let Some(written) = scalar(address)
    {
        return Out::scalar(written).at(&address.at);
    }
    converter.made_up = converter.made_up.wrapping_add(1);
    let address = format!("192.0.2.{}", converter.made_up);
    let name = text(body, "fqdn").unwrap_or_default();
    let message = format!("the address of `{name}` is not known: `{}` has {address} here", one.resource.name);
    converter.note(&one.resource.at, NoteKind::MadeUp, message);
    Out::scalar(address)
}

fn site(converter: &mut Converter<'_>, one: &Entry, address: Out, mut space: Vec<Out>, bgp: Option<Map>) {
    let speaks = bgp.as_ref().and_then(|bgp| bgp.iter().find(|(key, _)| key == "bgpPeeringAddress"));
    if let Some((_, Out { value: Value::Scalar(own), .. })) = speaks
        && !space.iter().any(|range| contains(range, own))
    {
        let length = if own.contains(':') { 128 } else { 32 };
        space.push(Out::scalar(format!("{own}/{length}")));
    }
    // Two gateways with one device are one site, with the ranges of both.
    if let Some(known) =
        converter.lists.get_mut("sites").and_then(|sites| sites.iter_mut().find_map(|site| space_at(site, &address)))
    {
        let new: Vec<_> = space.into_iter().filter(|range| known.iter().all(|own| own.value != range.value)).collect();
        known.extend(new);
        return;
    }
    let name = converter.names.free("virtualMachines", &one.resource.name, None, Rule::Label(32));
    let mut map = vec![entry("name", Out::scalar(name.clone())), entry("gatewayIpAddress", address)];
    map.push(entry("addressSpace", Out::list(space)));
    map.extend(bgp.map(|bgp| entry("bgpSettings", Out::map(bgp))));
    let key = shared_key(converter, one).unwrap_or_else(|| Out::scalar(KEY));
    map.push(entry("sharedKey", key));
    let message = format!("site `{name}` is made up from what local network gateway `{}` says", one.resource.name);
    converter.note(&one.resource.at, NoteKind::MadeUp, message);
    let comment = format!("Made up from what local network gateway {} says.", one.resource.name);
    converter.push("sites", Out::map(map).at(&one.resource.at).comment(comment));
}

/// The ranges of a site, if its device has this address.
fn space_at<'a>(site: &'a mut Out, address: &Out) -> Option<&'a mut Vec<Out>> {
    let Value::Map(map) = &mut site.value else { return None };
    let is_it = map.iter().any(|(key, value)| key == "gatewayIpAddress" && value.value == address.value);
    let (_, space) = map.iter_mut().find(|(key, _)| is_it && key == "addressSpace")?;
    let Value::List(ranges) = &mut space.value else { return None };
    Some(ranges)
}

fn contains(range: &Out, address: &str) -> bool {
    let Value::Scalar(range) = &range.value else { return false };
    let (Ok(range), Ok(address)) = (range.parse::<ipnet::IpNet>(), address.parse::<std::net::IpAddr>()) else {
        return false;
    };
    range.contains(&address)
}

/// That of the first connection which leads here.
fn shared_key(converter: &Converter<'_>, one: &Entry) -> Option<Out> {
    let mut connections = converter.store.of_kind("Microsoft.Network/connections").map(|entry| &entry.resource.body);
    let leads = |body: &&Node| {
        let to = reference(body, "localNetworkGateway2");
        is(body, "connectionType", "IPsec") && to.is_some_and(|to| to.eq_ignore_ascii_case(one.resource.id.as_str()))
    };
    let key = property(connections.find(leads)?, "sharedKey")?;
    Some(Out::scalar(scalar(key)?).at(&key.at))
}

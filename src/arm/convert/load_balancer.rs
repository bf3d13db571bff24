//! Load balancers.

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::{Entry, Source};

use super::public_address::basic;
use super::table::{Table, Use, deep, id_of, is, items, property, scalar, text};
use super::text::{Map, Out};
use super::{Converter, entry, is_allocated, part};

static BALANCER: Table = Table {
    what: "a load balancer",
    rows: &[
        ("frontendIPConfigurations", Use::Taken),
        ("backendAddressPools", Use::Taken),
        ("probes", Use::Taken),
        ("loadBalancingRules", Use::Taken),
        ("inboundNatRules", Use::Taken),
        ("outboundRules", Use::Taken),
        ("inboundNatPools", Use::Gap),
        ("sku", Use::Taken),
    ],
};

static FRONTEND: Table = Table {
    what: "a frontend",
    rows: &[
        ("subnet", Use::Taken),
        ("publicIPAddress", Use::Taken),
        ("privateIPAddress", Use::Taken),
        ("privateIPAllocationMethod", Use::Cosmetic),
        ("privateIPAddressVersion", Use::Taken),
        ("publicIPPrefix", Use::Gap),
        ("gatewayLoadBalancer", Use::Gap),
        ("loadBalancingRules", Use::Cosmetic),
        ("inboundNatRules", Use::Cosmetic),
        ("inboundNatPools", Use::Cosmetic),
        ("outboundRules", Use::Cosmetic),
    ],
};

static POOL: Table = Table {
    what: "a backend pool",
    rows: &[
        ("backendIPConfigurations", Use::Cosmetic),
        ("loadBalancerBackendAddresses", Use::Read(&POOL_ADDRESS)),
        ("loadBalancingRules", Use::Cosmetic),
        ("inboundNatRules", Use::Cosmetic),
        ("outboundRule", Use::Cosmetic),
        ("outboundRules", Use::Cosmetic),
        ("virtualNetwork", Use::Cosmetic),
        ("syncMode", Use::Cosmetic),
        ("drainPeriodInSeconds", Use::Gap),
        ("tunnelInterfaces", Use::Gap),
    ],
};

static POOL_ADDRESS: Table = Table {
    what: "an address of a backend pool",
    rows: &[
        ("ipAddress", Use::Taken),
        ("adminState", Use::Taken),
        ("virtualNetwork", Use::Cosmetic),
        ("subnet", Use::Cosmetic),
        ("networkInterfaceIPConfiguration", Use::Cosmetic),
        ("inboundNatRulesPortMapping", Use::Cosmetic),
        ("loadBalancerFrontendIPConfiguration", Use::Gap),
    ],
};

static PROBE: Table = Table {
    what: "a probe",
    rows: &[
        ("protocol", Use::Copy),
        ("port", Use::Copy),
        ("requestPath", Use::Taken),
        ("intervalInSeconds", Use::Copy),
        ("probeThreshold", Use::Copy),
        ("numberOfProbes", Use::Taken),
        ("noHealthyBackendsBehavior", Use::Unless("AllProbedDown")),
        ("loadBalancingRules", Use::Cosmetic),
    ],
};

static RULE: Table = Table {
    what: "a load balancing rule",
    rows: &[
        ("frontendIPConfiguration", Use::Taken),
        ("backendAddressPool", Use::Taken),
        ("backendAddressPools", Use::Cosmetic),
        ("probe", Use::Taken),
        ("protocol", Use::Copy),
        ("frontendPort", Use::Copy),
        ("backendPort", Use::Copy),
        ("enableFloatingIP", Use::Flag(false)),
        ("loadDistribution", Use::Unless("Default")),
        ("idleTimeoutInMinutes", Use::Unless("4")),
        ("enableTcpReset", Use::Flag(false)),
        ("disableOutboundSnat", Use::Flag(false)),
        ("enableConnectionTracking", Use::Cosmetic),
        ("enableDestinationServiceEndpoint", Use::Cosmetic),
        ("allowBackendPortConflict", Use::Cosmetic),
    ],
};

static NAT_RULE: Table = Table {
    what: "an inbound NAT rule",
    rows: &[
        ("frontendIPConfiguration", Use::Taken),
        ("backendAddressPool", Use::Taken),
        ("protocol", Use::Copy),
        ("frontendPort", Use::Unless("0")),
        ("frontendPortRangeStart", Use::Unless("0")),
        ("frontendPortRangeEnd", Use::Unless("0")),
        ("backendPort", Use::Copy),
        ("enableFloatingIP", Use::Flag(false)),
        ("idleTimeoutInMinutes", Use::Unless("4")),
        ("enableTcpReset", Use::Flag(false)),
        ("backendIPConfiguration", Use::Cosmetic),
    ],
};

static OUTBOUND: Table = Table {
    what: "an outbound rule",
    rows: &[
        ("frontendIPConfigurations", Use::Taken),
        ("backendAddressPool", Use::Taken),
        ("protocol", Use::Copy),
        ("allocatedOutboundPorts", Use::Copy),
        ("idleTimeoutInMinutes", Use::Unless("4")),
        ("enableTcpReset", Use::Flag(false)),
    ],
};

/// Reads an object of a list, without its name.
type Read = fn(&mut Converter<'_>, &Node) -> Map;

pub(super) fn load_balancer(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(converter.object(body, &BALANCER));
    basic(converter, body, "a load balancer");
    if deep(body, &["sku", "tier"]).and_then(scalar).is_some_and(|tier| tier.eq_ignore_ascii_case("Global")) {
        let message = "a load balancer of several regions is not emulated: it is left out".to_owned();
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    let frontends = items(body, "frontendIPConfigurations").iter();
    let frontends: Vec<_> = frontends.filter_map(|node| frontend(converter, node, one.source)).collect();
    if frontends.is_empty() {
        let message = format!("load balancer `{}` has no frontend here: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    map.push(entry("frontendIPConfigurations", Out::list(frontends)));
    let lists: [(&str, Read); 5] = [
        ("backendAddressPools", pool),
        ("probes", probe),
        ("loadBalancingRules", |converter, node| rule(converter, node, &RULE)),
        ("inboundNatRules", |converter, node| rule(converter, node, &NAT_RULE)),
        ("outboundRules", outbound),
    ];
    for (list, read) in lists {
        let mut made = Vec::new();
        for node in items(body, list) {
            let mut item = vec![entry("name", converter.child_name(node))];
            item.extend(read(converter, node));
            made.push(Out::map(item).at(&node.at));
        }
        if !made.is_empty() {
            map.push(entry(list, Out::list(made)));
        }
    }
    Some(Out::map(map).at(&one.resource.at))
}

fn frontend(converter: &mut Converter<'_>, node: &Node, source: Source) -> Option<Out> {
    let mut map = vec![entry("name", converter.child_name(node))];
    for key in ["subnet", "publicIPAddress"] {
        let named = property(node, key).filter(|named| id_of(named).is_some());
        map.extend(named.and_then(|named| converter.named(named)).map(|name| entry(key, name)));
    }
    map.extend(converter.object(node, &FRONTEND));
    if !map.iter().any(|(key, _)| key == "subnet" || key == "publicIPAddress") {
        return None;
    }
    if is(node, "privateIPAddressVersion", "IPv6") {
        map.push(entry("privateIPAddressVersion", Out::scalar("IPv6")));
    }
    if let Some(address) = property(node, "privateIPAddress").filter(|_| is_allocated(source, node))
        && let Some(written) = scalar(address)
    {
        map.push(entry("privateIPAddress", Out::scalar(written).at(&address.at)));
    }
    Some(Out::map(map).at(&node.at))
}

fn pool(converter: &mut Converter<'_>, node: &Node) -> Map {
    let mut map = converter.object(node, &POOL);
    let addresses = items(node, "loadBalancerBackendAddresses").iter();
    let in_use = |address: &&Node| !is(address, "adminState", "None");
    let addresses = addresses.filter(in_use).filter_map(|address| {
        let keys = ["ipAddress", "adminState"].map(|key| Some(entry(key, Out::scalar(text(address, key)?))));
        Some(Out::map(keys.into_iter().collect::<Option<Vec<_>>>()?).at(&address.at))
    });
    let addresses: Vec<_> = addresses.collect();
    if !addresses.is_empty() {
        map.push(entry("loadBalancerBackendAddresses", Out::list(addresses)));
    }
    map
}

fn probe(converter: &mut Converter<'_>, node: &Node) -> Map {
    let mut map = converter.object(node, &PROBE);
    let is_tcp = is(node, "protocol", "Tcp");
    // Only where the newer of the two is not there, which Azure follows.
    let keys = [("requestPath", !is_tcp), ("numberOfProbes", text(node, "probeThreshold").is_none())];
    for (key, _) in keys.iter().filter(|(_, used)| *used) {
        if let Some(value) = property(node, key)
            && let Some(written) = scalar(value)
        {
            map.push(entry(key, Out::scalar(written).at(&value.at)));
        }
    }
    map
}

fn rule(converter: &mut Converter<'_>, node: &Node, table: &'static Table) -> Map {
    let mut map = Map::new();
    for key in ["frontendIPConfiguration", "backendAddressPool", "probe"] {
        let named = property(node, key).and_then(part);
        map.extend(named.map(|name| entry(key, name)));
    }
    // The plural form has one pool, unless the balancer is a gateway's.
    if !map.iter().any(|(key, _)| key == "backendAddressPool") {
        let named = items(node, "backendAddressPools").first().and_then(part);
        map.extend(named.map(|name| entry("backendAddressPool", name)));
    }
    map.extend(converter.object(node, table));
    map
}

fn outbound(converter: &mut Converter<'_>, node: &Node) -> Map {
    let frontends = items(node, "frontendIPConfigurations").iter().filter_map(part);
    let mut map = vec![entry("frontendIPConfigurations", Out::list(frontends.collect()))];
    let pool = property(node, "backendAddressPool").and_then(part);
    map.extend(pool.map(|name| entry("backendAddressPool", name)));
    map.extend(converter.object(node, &OUTBOUND));
    map
}

//! Private clouds: where their block may lie, and the circuit that each has (AVS-01, AVS-05).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::config::schema::express_route::is_of_length;
use crate::config::schema::{Document, Name, private_cloud as written};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::model::{CircuitIx, PrivateCloud, Segment, VirtualNetwork};

use super::address::intersect;
use super::distributed_firewall;
use super::express_route::{Circuits, authorizations, of_cloud, own_circuit, v4};
use super::names::or_unnamed;

/// What containers on the cloud's own hosts use.
const FORBIDDEN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);
/// RFC 1918.
const PRIVATE: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// Adds the private clouds and their circuits. One with an unreadable block still takes its place.
pub(super) fn add(document: &Document, vnets: &[VirtualNetwork], all: &mut Circuits, report: &mut Report) {
    for written in &document.private_clouds {
        let block = written.block.as_ref();
        if let Some(block) = block {
            check_block(block, document, vnets, &all.clouds, report);
        }
        if written.segments.is_empty() {
            let name = or_unnamed(&written.name);
            report
                .warning(written.at, format!("private cloud `{name}` has no segment: no workload can run in it"))
                .rule("AVS-06")
                .help("add for instance `segments: [{name: web, addressPrefix: 10.176.1.0/24}]`");
        }
        let usable = block.filter(|block| is_of_length(&block.value, 22)).and_then(|block| v4(&block.value));
        let block = usable.unwrap_or(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 22));
        let name = or_unnamed(&own_circuit(&written.name));
        let cloud = or_unnamed(&written.name);
        let (tier1, segments) = segments(written, block, report);
        all.made.push(of_cloud(name, PrivateCloud::links(block), authorizations(&written.authorizations)));
        let firewall = distributed_firewall::firewall(&written.firewall, (&cloud, &segments), report);
        all.clouds.push(PrivateCloud {
            tier0: tier0(&cloud),
            name: cloud,
            block,
            circuit: CircuitIx(all.made.len() - 1),
            tier1,
            segments,
            firewall,
            internet: written.internet,
            run: written.run.clone(),
        });
    }
}

/// AVS-01.
fn check_block(
    block: &Spanned<IpNet>,
    document: &Document,
    vnets: &[VirtualNetwork],
    before: &[PrivateCloud],
    report: &mut Report,
) {
    let range = block.value;
    let private = |net: &Ipv4Net| IpNet::V4(*net).contains(&range);
    if !is_of_length(&range, 22) || !PRIVATE.iter().any(private) || intersect(&IpNet::V4(FORBIDDEN), &range) {
        report
            .error(block.at, format!("{range} cannot be a private cloud's"))
            .rule("AVS-01")
            .expected("a /22 of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, and not of 172.17.0.0/16");
    }
    let vnets = vnets.iter().map(|vnet| (format!("virtual network `{}`", vnet.name), vnet.address_space.clone()));
    let sites = document.sites.iter().map(|site| {
        let space = site.address_space.iter().flat_map(|space| &space.value).map(|range| range.value);
        (format!("site `{}`", or_unnamed(&site.name)), space.collect())
    });
    let clouds = before.iter().map(|cloud| (format!("private cloud `{}`", cloud.name), vec![IpNet::V4(cloud.block)]));
    for (owner, space) in vnets.chain(sites).chain(clouds) {
        if space.iter().any(|other| intersect(other, &range)) {
            report
                .error(block.at, format!("{range} overlaps the addresses of {owner}"))
                .rule("AVS-01")
                .expected("a range that is not in use");
        }
    }
}

/// The nodes that a private cloud's segments need beside its own: routers and segments (AVS-06).
pub(super) fn nodes(cloud: &written::PrivateCloud) -> Vec<Name> {
    let Some(name) = &cloud.name else { return Vec::new() };
    let at = |value: String, at| Some(Spanned { value, at });
    let mut routers: Vec<Name> = Vec::new();
    for segment in &cloud.segments {
        let router = segment.gateway.clone().or_else(|| at(tier1(&name.value), name.at));
        let known = |one: &Name| one.as_ref().zip(router.as_ref()).is_some_and(|(a, b)| is_same(&a.value, &b.value));
        if !routers.iter().any(known) {
            routers.push(router);
        }
    }
    let own = |one: &written::Segment| {
        if one.machines.is_empty() { vec![one.name.clone()] } else { machine_names(one) }
    };
    let segments = cloud.segments.iter().flat_map(own).flatten();
    let segments = segments.map(|one| at(node(&name.value, &one.value), one.at));
    let edge = (!cloud.segments.is_empty()).then(|| at(tier0(&name.value), name.at));
    edge.into_iter().chain(routers).chain(segments).collect()
}

fn machine_names(segment: &written::Segment) -> Vec<Name> {
    segment.machines.iter().map(|machine| machine.name.clone()).collect()
}

fn tier0(cloud: &str) -> String {
    format!("{cloud}-T0")
}

/// The router of segments without `connectedGateway`.
fn tier1(cloud: &str) -> String {
    format!("{cloud}-T1")
}

fn node(cloud: &str, segment: &str) -> String {
    format!("{cloud}-{segment}")
}

fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// A cloud's Tier-1 routers, in the order in which segments name them, and its segments.
fn segments(written: &written::PrivateCloud, block: Ipv4Net, report: &mut Report) -> (Vec<String>, Vec<Segment>) {
    let cloud = or_unnamed(&written.name);
    let (mut routers, mut made): (Vec<String>, Vec<Segment>) = (Vec::new(), Vec::new());
    for one in &written.segments {
        let Some((prefix, addresses)) = range(one, (block, &made), report) else { continue };
        let router = one.gateway.as_ref().map_or_else(|| tier1(&cloud), |name| name.value.clone());
        let known = routers.iter().position(|known| is_same(known, &router));
        let name = or_unnamed(&one.name);
        let all = Segment {
            node: node(&cloud, &name),
            name,
            machine: None,
            prefix,
            router: known.unwrap_or(routers.len()),
            addresses,
            run: one.run.clone(),
        };
        if one.machines.is_empty() {
            made.push(all);
        } else {
            made.extend(machines(one, (&cloud, &all), report));
        }
        if known.is_none() {
            routers.push(router);
        }
    }
    (routers, made)
}

/// A segment that lists its machines, once for each.
fn machines(written: &written::Segment, (cloud, segment): (&str, &Segment), report: &mut Report) -> Vec<Segment> {
    let mut taken: Vec<Ipv4Addr> = Vec::new();
    let machine = |machine: &written::Machine| {
        let name = or_unnamed(&machine.name);
        let address = machine.address.as_ref();
        let host = address.and_then(|address| host(address, segment.prefix, report));
        if let Some((host, at)) = host.zip(address.map(|address| address.at)) {
            if taken.contains(&host) {
                report
                    .error(at, format!("another machine of segment `{}` has {host}", segment.name))
                    .rule("AVS-06")
                    .expected("an address of its own for each machine");
            }
            taken.push(host);
        }
        Segment {
            node: node(cloud, &name),
            machine: Some(name),
            addresses: host.into_iter().collect(),
            run: machine.run.clone(),
            ..segment.clone()
        }
    };
    written.machines.iter().map(machine).collect()
}

/// An address of a segment that a machine may have.
fn host(address: &Spanned<IpAddr>, prefix: Ipv4Net, report: &mut Report) -> Option<Ipv4Addr> {
    let router = Ipv4Addr::from_bits(prefix.network().to_bits() + 1);
    match address.value {
        IpAddr::V4(host) if prefix.contains(&host) && host != router => Some(host),
        other => {
            let is_router = other == IpAddr::V4(router);
            let what = if is_router { "the address of the segment's Tier-1 router" } else { "not in the segment" };
            report
                .error(address.at, format!("{other} is {what}"))
                .rule("AVS-06")
                .expected(format!("an address of {prefix} other than {router}"));
            None
        }
    }
}

/// A segment's range and the addresses that answer in it. A host without an address is the first after its router.
fn range(
    written: &written::Segment,
    (block, before): (Ipv4Net, &[Segment]),
    report: &mut Report,
) -> Option<(Ipv4Net, Vec<Ipv4Addr>)> {
    let range = written.prefix.as_ref()?;
    let outside = |prefix: &Ipv4Net| !intersect(&IpNet::V4(block), &IpNet::V4(*prefix));
    let Some(prefix) = v4(&range.value).filter(|prefix| outside(prefix) && prefix.prefix_len() <= 30) else {
        report
            .error(range.at, format!("{} cannot be a segment's", range.value))
            .rule("AVS-03")
            .expected("a range of IPv4, a /30 or larger, outside the cloud's own block, which Azure splits itself");
        return None;
    };
    let overlaps = |other: &&Segment| intersect(&IpNet::V4(other.prefix), &IpNet::V4(prefix));
    if let Some(other) = before.iter().find(overlaps) {
        report
            .error(range.at, format!("{prefix} overlaps {} of segment `{}`", other.prefix, other.name))
            .rule("AVS-06")
            .expected("a range of its own for each segment");
        return None;
    }
    let listed = written.addresses.iter().flat_map(|addresses| &addresses.value);
    let mut addresses: Vec<_> = listed.filter_map(|address| host(address, prefix, report)).collect();
    if written.addresses.is_none() {
        addresses.extend(prefix.hosts().nth(1));
    }
    Some((prefix, addresses))
}

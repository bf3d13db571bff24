//! Private clouds: where their block may lie, and the circuit that each has (AVS-01, AVS-05).

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::config::schema::express_route::is_of_length;
use crate::config::schema::{Document, private_cloud as written};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::model::{CircuitIx, PrivateCloud, Segment, VirtualNetwork};

use super::address::intersect;
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
        all.made.push(of_cloud(name, PrivateCloud::links(block), authorizations(&written.authorizations)));
        all.clouds.push(PrivateCloud {
            name: or_unnamed(&written.name),
            block,
            circuit: CircuitIx(all.made.len() - 1),
            segments: written.segments.iter().filter_map(|one| segment(one, block, report)).collect(),
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

/// A host without an address is the first of the segment after its router.
fn segment(written: &written::Segment, block: Ipv4Net, report: &mut Report) -> Option<Segment> {
    let range = written.prefix.as_ref()?;
    let Some(prefix) = v4(&range.value).filter(|prefix| !intersect(&IpNet::V4(block), &IpNet::V4(*prefix))) else {
        report
            .error(range.at, format!("{} cannot be a segment's", range.value))
            .rule("AVS-03")
            .expected("a range of IPv4 outside the cloud's own block, which Azure splits itself");
        return None;
    };
    let mut addresses = Vec::new();
    for address in written.addresses.iter().flat_map(|addresses| &addresses.value) {
        match address.value {
            std::net::IpAddr::V4(host) if prefix.contains(&host) => addresses.push(host),
            _ => {
                report
                    .error(address.at, format!("{} is not in the segment", address.value))
                    .rule("AVS-06")
                    .expected(format!("an address of {prefix}"));
            }
        }
    }
    if written.addresses.is_none() {
        addresses.extend(prefix.hosts().nth(1));
    }
    Some(Segment { name: or_unnamed(&written.name), prefix, addresses })
}

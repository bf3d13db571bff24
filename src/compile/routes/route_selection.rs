//! Which row of a listing routes which prefix.
//!
//! One idea: rows claim prefixes, one row gets each, and what a row gets is in force. A row that gets nothing is listed
//! as Invalid (RSEL-08), so a reader need not know the order of precedence.

use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{NextHopType, Prefixes, RouteSource, RouteState, TagScope};

use super::Row;

/// Among claims of one prefix the least gets it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    /// RSEL-04
    ServiceEndpoint,
    /// RSEL-02; a range that is written beats the same range in a tag, and of tags the narrower wins (UDR-06).
    User(Option<TagScope>),
    Gateway,
    /// Two default rows of one prefix arise only from a stale view of a peer: the VNet's own row wins.
    Default(NextHopType),
}

/// Settles every claim.
pub(in crate::compile) fn settle(rows: &mut [Row]) {
    let claims = rows.iter().enumerate().flat_map(|(i, row)| row.in_force.iter().map(move |&prefix| (prefix, i)));
    let mut claims: Vec<_> = claims.collect();
    claims.sort_by(|(a, i), (b, j)| a.cmp(b).then_with(|| precedence(&rows[*i]).cmp(&precedence(&rows[*j]))));
    claims.dedup_by_key(|(prefix, _)| *prefix);
    let direct = to_services(rows);
    claims.retain(|(prefix, i)| is_endpoint(&rows[*i]) || !is_inside(&direct, *prefix));
    // By row now, and within it by prefix still.
    claims.sort_by_key(|(_, i)| *i);
    let mut claims = &claims[..];
    for (i, row) in rows.iter_mut().enumerate() {
        let (held, rest) = claims.split_at(claims.partition_point(|(_, holder)| *holder <= i));
        claims = rest;
        if held.is_empty() {
            Arc::make_mut(&mut row.route).state = RouteState::Invalid;
        }
        if held.len() < row.in_force.len() {
            row.in_force = Prefixes::Many(held.iter().map(|(prefix, _)| *prefix).collect());
        }
    }
}

fn precedence(row: &Row) -> Precedence {
    match row.route.source {
        _ if is_endpoint(row) => Precedence::ServiceEndpoint,
        RouteSource::User => Precedence::User(row.tag),
        RouteSource::VirtualNetworkGateway => Precedence::Gateway,
        RouteSource::Default => Precedence::Default(row.route.next_hop_type),
    }
}

fn is_endpoint(row: &Row) -> bool {
    row.route.next_hop_type == NextHopType::VirtualNetworkServiceEndpoint
}

/// What service endpoints take, as the fewest ranges: not even a longer route gets a part of it (RSEL-04).
fn to_services(rows: &[Row]) -> Vec<IpNet> {
    let ranges = rows.iter().filter(|row| is_endpoint(row)).flat_map(|row| row.in_force.iter().copied());
    let mut ranges = IpNet::aggregate(&ranges.collect());
    ranges.sort_unstable();
    ranges
}

/// Whether one of these sorted ranges, which are apart from each other, holds the prefix.
fn is_inside(ranges: &[IpNet], prefix: IpNet) -> bool {
    let after = ranges.partition_point(|range| *range <= prefix);
    after > 0 && ranges[after - 1].contains(&prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_found_in_the_range_before_it() {
        let ranges = ["10.0.0.0/8", "11.0.0.0/24", "2001:db8::/32"].map(|range| range.parse().expect("a range"));
        let inside = |prefix: &str| is_inside(&ranges, prefix.parse().expect("a prefix"));
        for prefix in ["10.0.0.0/8", "10.0.0.0/9", "10.255.255.255/32", "11.0.0.9/32", "2001:db8:1::/48"] {
            assert!(inside(prefix), "{prefix}");
        }
        for prefix in ["0.0.0.0/0", "10.0.0.0/7", "9.0.0.0/8", "11.0.0.0/23", "11.0.1.0/24", "::/0", "2001:db9::/32"] {
            assert!(!inside(prefix), "{prefix}");
        }
    }
}

//! The DNS servers of guests, as written: the servers of a virtual network, and those of an interface in their place.

use std::net::IpAddr;

use crate::azure::address::PLATFORM;
use crate::config::yaml::decode::{list_of, list_or_none, record};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::address;

use super::public_address::ignore;
use super::values;

/// What an interface says to be served as if its virtual network had no servers.
const PROVIDED: &str = "AzureProvidedDNS";

/// A virtual network's.
pub(in crate::config) fn dhcp_options(node: &Node, report: &mut Report) -> Option<Vec<Spanned<IpAddr>>> {
    record(node, report, "`dhcpOptions`", |f| {
        f.optional("dnsServers", list_or_none(address)).map_or_else(Vec::new, |servers| servers.value)
    })
}

/// Servers of an interface's own. What else ARM says there follows from them.
pub(in crate::config) fn dns_settings(node: &Node, report: &mut Report) -> Option<Vec<IpAddr>> {
    record(node, report, "`dnsSettings`", |f| {
        ignore(f, &["appliedDnsServers", "internalDnsNameLabel", "internalDomainNameSuffix", "internalFqdn"]);
        f.optional("dnsServers", dns_servers).map_or_else(Vec::new, |servers| servers.value)
    })
}

fn dns_servers(node: &Node, report: &mut Report) -> Option<Vec<IpAddr>> {
    let Value::List(items) = &node.value else { return list_of(address)(node, report).map(|_| Vec::new()) };
    let is_provided =
        |item: &&Node| matches!(&item.value, Value::Scalar { text, .. } if text.eq_ignore_ascii_case(PROVIDED));
    match (items.iter().find(is_provided), &items[..]) {
        (Some(_), [_]) => Some(vec![PLATFORM.into()]),
        (Some(provided), _) => {
            let wrong = format!("`{PROVIDED}` stands beside other servers");
            report.error(provided.at, wrong).rule("FAB-12").expected("it alone, or addresses alone");
            None
        }
        // As an export has it.
        (None, []) => Some(Vec::new()),
        (None, _) => list_of(address)(node, report).map(values),
    }
}

//! The tag VirtualNetwork widened to every address by a default route: a user's, or one that a gateway has (TAG-07).

use ipnet::IpNet;

use crate::analysis::query::names::{Names, subnet_name};
use crate::analysis::region::{Regions, cover};
use crate::analysis::yaml_path;
use crate::compile::RuleOwner;
use crate::dataplane::{AclId, NicId};
use crate::model::{Connection, ConnectionIx, Customer, Network, NsgIx, Remote, Route, RouteNextHop, SiteIx, SubnetIx};

use super::Finding;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let nics = names.compiled.snapshot.nics.iter().zip((0..).map(NicId));
    let acls = nics.flat_map(|(nic, id)| [nic.inbound.subnet, nic.inbound.nic].map(|acl| (id, acl)));
    let boundless = acls.filter_map(|(nic, acl)| Some((nic, admits_every_source(names, acl?)?)));
    boundless.filter_map(|(nic, (nsg, everything))| finding(names, nic, nsg, everything)).collect()
}

/// The security group whose default rule allows every source by the tag, and decides packets.
fn admits_every_source(names: Names<'_>, acl: AclId) -> Option<(NsgIx, IpNet)> {
    let rules = names.compiled.effective_rules(acl);
    let default = rules.iter().position(|rule| rule.rule.name == "defaultSecurityRules/AllowVnetInBound")?;
    let everything = rules[default].matches.src.iter().find(|prefix| prefix.prefix_len() == 0)?;
    let RuleOwner::Nsg(nsg) = rules[default].rule.owner else { return None };
    let matched = Regions::default().of(&rules[..=default]);
    cover(&matched[..default], &matched[default]).is_none().then_some((nsg, *everything))
}

fn finding(names: Names<'_>, nic: NicId, nsg: NsgIx, everything: IpNet) -> Option<Finding> {
    let subnet = names.subnet(nic);
    let Source { by, path, .. } = source(names.network, subnet, everything)?;
    let nsg = &names.network.network_security_groups[nsg.0].name;
    Some(Finding {
        code: "boundless-tag",
        rule: "TAG-07",
        message: format!(
            "by {by} the tag VirtualNetwork means {everything} in subnet {}: AllowVnetInBound of {nsg} admits every source",
            subnet_name(names.network, subnet)
        ),
        path,
        help: format!(
            "in {nsg}, deny all inbound after rules that allow by range, so that the default rule is not reached"
        ),
    })
}

/// A range that the file adds to the tag.
struct Source {
    range: IpNet,
    by: String,
    path: String,
}

/// The largest range in the tag, the subnet's own route table first: two halves count as a whole.
fn source(network: &Network, subnet: SubnetIx, everything: IpNet) -> Option<Source> {
    let connections =
        network.gateways_in_use(subnet.vnet).into_iter().flat_map(|gateway| network.connections_of(gateway));
    let learned = connections.flat_map(|(at, connection)| behind(network, at, connection));
    let all = of_table(network, subnet).into_iter().chain(learned);
    let family = |source: &Source| source.range.addr().is_ipv4() == everything.addr().is_ipv4();
    all.filter(family).min_by_key(|source| source.range.prefix_len())
}

/// User-defined routes add their ranges to the tag, unless they lead to the Internet or nowhere (TAG-05).
fn of_table(network: &Network, subnet: SubnetIx) -> Vec<Source> {
    let Some(table) = network.subnet(subnet).route_table else { return Vec::new() };
    let stays = |hop: &RouteNextHop| !matches!(hop, RouteNextHop::Internet | RouteNextHop::None);
    let routes = network.route_tables[table.0].routes.iter().enumerate().filter(|(_, route)| stays(&route.next_hop));
    let source = |(at, route): (usize, &Route)| {
        let range = route.prefix()?;
        let (by, path) = match range.prefix_len() {
            0 => ("this route", yaml_path::route(table, at)),
            _ => ("this table's routes", yaml_path::table(table)),
        };
        Some(Source { range, by: by.to_owned(), path })
    };
    routes.filter_map(source).collect()
}

/// The ranges that a gateway has over a connection (TAG-04).
fn behind(network: &Network, at: ConnectionIx, connection: &Connection) -> Vec<Source> {
    let sources = |ranges: &[IpNet], by: String, path: String| -> Vec<Source> {
        ranges.iter().map(|range| Source { range: *range, by: by.clone(), path: path.clone() }).collect()
    };
    match connection.remote {
        Remote::Local(local) => {
            let by = format!("this range of local network gateway {}", network.local_gateway(local).name);
            let path = format!("localNetworkGateways[{}].localNetworkAddressSpace", local.0);
            let mut all = sources(&network.local_space(at), by, path);
            if let Some(site) = network.site_of(at).filter(|_| network.bgp_over(at).is_some()) {
                let by = format!("what site {} says over BGP", network.site(site).name);
                let (advertised, _) = network.advertised_over_tunnel(at).unwrap_or_default();
                all.extend(sources(&advertised, by, said_at(network, site)));
            }
            all
        }
        Remote::Circuit(circuit) => {
            let ranges = network.customer_routes(circuit);
            let path = match network.customer(circuit) {
                Some(Customer::Site(site)) => said_at(network, site),
                Some(Customer::Cloud(cloud) | Customer::Segment(cloud, _)) => format!("privateClouds[{}]", cloud.0),
                None => return Vec::new(),
            };
            let customer = network.customer_name(circuit).unwrap_or_default();
            let by = format!("what {customer} says over circuit {}", network.circuit(circuit).name);
            sources(&ranges, by, path)
        }
        Remote::Gateway(_) | Remote::Client(_) => Vec::new(),
    }
}

/// The place in the file of the prefixes that a site advertises.
fn said_at(network: &Network, site: SiteIx) -> String {
    let own = network.site(site);
    let key = if own.advertises == own.address_space { "addressSpace" } else { "advertises" };
    format!("sites[{}].{key}", site.0)
}

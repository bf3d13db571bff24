//! The tag VirtualNetwork, grown to every address by a default route (TAG-07).

use ipnet::IpNet;

use crate::compile::RuleOwner;
use crate::dataplane::{AclId, NicId};
use crate::diag::names::{Names, subnet_name};
use crate::diag::yaml_path;
use crate::model::NsgIx;

use super::Finding;
use super::region::{Regions, cover};

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let nics = names.compiled.snapshot.nics.iter().zip((0..).map(NicId));
    let acls = nics.flat_map(|(nic, id)| [nic.inbound.subnet, nic.inbound.nic].map(|acl| (id, acl)));
    let boundless = acls.filter_map(|(nic, acl)| Some((nic, admits_everyone(names, acl?)?)));
    boundless.filter_map(|(nic, (nsg, everything))| finding(names, nic, nsg, everything)).collect()
}

/// The security group whose default rule for the tag takes every source, and gets its packets.
fn admits_everyone(names: Names<'_>, acl: AclId) -> Option<(NsgIx, IpNet)> {
    let rules = names.compiled.effective_rules(acl);
    let default = rules.iter().position(|rule| rule.rule.name == "defaultSecurityRules/AllowVnetInBound")?;
    let everything = rules[default].matches.src.iter().find(|prefix| prefix.prefix_len() == 0)?;
    let RuleOwner::Nsg(nsg) = rules[default].rule.owner else { return None };
    let matched = Regions::default().of(&rules[..=default]);
    cover(&matched[..default], &matched[default]).is_none().then_some((nsg, *everything))
}

fn finding(names: Names<'_>, nic: NicId, nsg: NsgIx, everything: IpNet) -> Option<Finding> {
    let subnet = names.subnet(nic);
    let table = names.network.subnet(subnet).route_table?;
    let routes = &names.network.route_tables[table.0].routes;
    let route = routes.iter().position(|route| route.prefix() == Some(everything));
    let nsg = &names.network.network_security_groups[nsg.0].name;
    Some(Finding {
        code: "boundless-tag",
        rule: "TAG-07",
        message: format!(
            "by this route the tag VirtualNetwork means {everything} in subnet {}: AllowVnetInBound of {nsg} admits everyone",
            subnet_name(names.network, subnet)
        ),
        // Two halves make a whole, too: then the table is the place.
        path: route.map_or_else(|| yaml_path::table(table), |route| yaml_path::route(table, route)),
        help: format!(
            "in {nsg}, deny all inbound after rules that allow by range, so that the default rule is not reached"
        ),
    })
}

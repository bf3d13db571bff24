//! Network security groups (NSG-01 to NSG-04).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::schema::filter as document;
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::values::{AddressField, RangeOrTag};
use crate::model::{Access, AddressPrefix, Nsg, SecurityRule, ServiceTag};

use super::Scope;
use super::groups::{self, Groups};
use super::names::{Names, or_unnamed, within};
use super::tags::Tags;

/// LIM-13: addresses in one field of a rule.
const MAX_ADDRESSES: usize = 4_000;

pub(super) fn nsgs(
    nsgs: &[Arc<document::Nsg>],
    groups: &Groups,
    scope: &Scope,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Vec<Nsg> {
    nsgs.iter().map(|nsg| self::nsg(nsg, groups, scope, tags, report)).collect()
}

fn nsg(nsg: &document::Nsg, groups: &Groups, scope: &Scope, tags: &mut Tags<'_>, report: &mut Report) -> Nsg {
    let name = or_unnamed(&nsg.name);
    within(nsg.rules.len(), 1_000, "rules in one network security group", "LIM-12", nsg.at, report);
    Names::of("security rule", nsg.rules.iter().map(|rule| &rule.name), report);
    let mut priorities = HashMap::new();
    for rule in &nsg.rules {
        let (Some(priority), Some(direction)) = (&rule.priority, &rule.direction) else { continue };
        if let Some(first) = priorities.insert((direction.value, priority.value), or_unnamed(&rule.name)) {
            report
                .error(
                    priority.at,
                    format!(
                        "rule `{first}` of `{name}` has priority {} for {:?} already",
                        priority.value, direction.value
                    ),
                )
                .code("SecurityRuleConflict")
                .rule("NSG-02")
                .expected("every priority once for each direction");
        }
    }
    let rules: Vec<_> = nsg.rules.iter().filter_map(|rule| security_rule(rule, groups, scope, tags, report)).collect();
    let named = rules.iter().flat_map(|rule: &SecurityRule| [&rule.source, &rule.destination]);
    let named: BTreeSet<_> = named.flatten().filter_map(AddressPrefix::group).collect();
    let what = "application security groups in the rules of one network security group";
    within(named.len(), 100, what, "LIM-14", nsg.at, report);
    Nsg { name, rules, flush_connection: nsg.flush_connection }
}

fn security_rule(
    rule: &document::SecurityRule,
    groups: &Groups,
    scope: &Scope,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Option<SecurityRule> {
    let mut addresses = |field: &document::Addresses| {
        let named = groups::named(field, scope, report);
        let ranges = addresses(field.ranges.as_ref(), tags, report);
        named.or(ranges)
    };
    let (source, destination) = (addresses(&rule.source), addresses(&rule.destination));
    if let (Some(source), Some(destination)) = (&source, &destination) {
        groups.check_homes(source, destination, rule.at, report);
    }
    if let (Some(access), Some(destination)) = (&rule.access, &destination) {
        check_platform(access, destination, report);
    }
    Some(SecurityRule {
        name: or_unnamed(&rule.name),
        priority: rule.priority.as_ref()?.value,
        direction: rule.direction.as_ref()?.value,
        access: rule.access.as_ref()?.value,
        protocol: rule.protocol.as_ref()?.value,
        source: source?,
        source_ports: values(rule.source_ports.as_ref()?),
        destination: destination?,
        destination_ports: values(rule.destination_ports.as_ref()?),
    })
}

/// NSG-30: what passes anyway can only be denied.
fn check_platform(access: &Spanned<Access>, destination: &[AddressPrefix], report: &mut Report) {
    let service = destination.iter().find_map(|address| match address {
        AddressPrefix::Tag(ServiceTag::Platform(service)) => Some(service),
        AddressPrefix::Any | AddressPrefix::Prefix(_) | AddressPrefix::Tag(_) | AddressPrefix::Group(_) => None,
    });
    if let Some(service) = service.filter(|_| access.value == Access::Allow) {
        report
            .error(access.at, format!("a rule for {service} cannot allow"))
            .code("SecurityRuleInvalidAccessType")
            .rule("NSG-30")
            .expected("Deny: the service passes every rule but one that denies it by this tag");
    }
}

fn addresses(
    field: Option<&Spanned<Vec<Spanned<AddressField>>>>,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Option<Vec<AddressPrefix>> {
    let field = field?;
    within(field.value.len(), MAX_ADDRESSES, "addresses in one field", "LIM-13", field.at, report);
    let mut named = field.value.iter().filter(|field| matches!(field.value, AddressField::Some(RangeOrTag::Tag(_))));
    if let Some(second) = named.nth(1) {
        report
            .warning(second.at, "more than one service tag in a field: Azure's portal refuses this, newer APIs take it")
            .rule("NSG-04")
            .help("one rule for each tag works everywhere");
    }
    tags.addresses(&field.value, report)
}

fn values<T: Copy>(field: &Spanned<Vec<Spanned<T>>>) -> Vec<T> {
    field.value.iter().map(|item| item.value).collect()
}

//! Security groups as ordered rules with every tag expanded.
//!
//! One idea: an NSG means something else in each subnet, since tags do; so an ACL is an NSG in one direction seen
//! through one subnet's tags, and interfaces that see the same share it. It ends with Azure's default rules.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::dataplane::{Acl, AclId, AclRule, Action, Filters, ProtocolMatch};
use crate::model::{
    Access, AddressPrefix, Direction, Network, NsgIx, PortRange, SecurityProtocol, SecurityRule, ServiceTag, SubnetIx,
};
use crate::wire::Protocol;

use super::tags::Tags;

/// A rule's name and outcome, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    pub nsg: NsgIx,
    /// `securityRules/x` or `defaultSecurityRules/DenyAllInBound`, as Azure's diagnostics print it.
    pub name: String,
    pub priority: u16,
    pub action: Action,
}

/// A rule with its tags expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRule {
    pub rule: RuleRef,
    pub matches: AclRule,
}

/// All ACLs of a network, made on demand.
#[derive(Default)]
pub(super) struct Acls {
    known: HashMap<(NsgIx, Direction, Tags), AclId>,
    tags: HashMap<SubnetIx, Tags>,
    tables: Vec<Acl>,
    rules: Vec<Vec<EffectiveRule>>,
}

impl Acls {
    /// The ACLs of an interface in this subnet, its own NSG given.
    pub(super) fn filters(
        &mut self,
        network: &Network,
        subnet: SubnetIx,
        nic: Option<NsgIx>,
        direction: Direction,
    ) -> Filters {
        let mut of = |nsg: Option<NsgIx>| nsg.map(|nsg| self.acl(network, subnet, nsg, direction));
        Filters { admin: None, nic: of(nic), subnet: of(network.subnet(subnet).network_security_group) }
    }

    /// The tables and the rules each was built from.
    pub(super) fn into_parts(self) -> (Vec<Acl>, Vec<Vec<EffectiveRule>>) {
        (self.tables, self.rules)
    }

    fn acl(&mut self, network: &Network, subnet: SubnetIx, nsg: NsgIx, direction: Direction) -> AclId {
        let tags = self.tags.entry(subnet).or_insert_with(|| Tags::of(network, subnet));
        *self.known.entry((nsg, direction, tags.clone())).or_insert_with(|| {
            let rules = effective_rules(network, nsg, direction, tags);
            self.tables.push(Acl::new(rules.iter().map(|rule| rule.matches.clone()).collect()));
            self.rules.push(rules);
            AclId(self.tables.len() as u32 - 1)
        })
    }
}

/// The user's rules by priority, then the default rules (NSG-02, NSG-06).
fn effective_rules(network: &Network, nsg: NsgIx, direction: Direction, tags: &Tags) -> Vec<EffectiveRule> {
    let mut custom: Vec<_> =
        network.network_security_groups[nsg.0].rules.iter().filter(|rule| rule.direction == direction).collect();
    custom.sort_by_key(|rule| rule.priority);
    let custom = custom.into_iter().map(|rule| effective(nsg, "securityRules", rule, true, tags));
    let defaults = default_rules(direction);
    let defaults = defaults.iter().map(|rule| effective(nsg, "defaultSecurityRules", rule, false, tags));
    custom.chain(defaults).collect()
}

fn effective(nsg: NsgIx, collection: &str, rule: &SecurityRule, custom: bool, tags: &Tags) -> EffectiveRule {
    let name = format!("{collection}/{}", rule.name);
    let action = match rule.access {
        Access::Allow => Action::Allow,
        Access::Deny => Action::Deny,
    };
    let matches = AclRule {
        protocol: protocol(rule.protocol),
        src: tags.expand(&rule.source),
        dst: tags.expand(&rule.destination),
        src_ports: ports(&rule.source_ports),
        dst_ports: ports(&rule.destination_ports),
        action,
        custom,
    };
    EffectiveRule { rule: RuleRef { nsg, name, priority: rule.priority, action }, matches }
}

/// The three rules below every NSG, with the spelling of the REST interface (NSG-06).
fn default_rules(direction: Direction) -> [SecurityRule; 3] {
    use ServiceTag::{AzureLoadBalancer, Internet, VirtualNetwork};
    let any = AddressPrefix::Any;
    let tag = AddressPrefix::Tag;
    let rule = |name: &str, priority, source, destination, access| SecurityRule {
        name: name.to_owned(),
        priority,
        direction,
        access,
        protocol: SecurityProtocol::Any,
        source: vec![source],
        source_ports: vec![PortRange::ALL],
        destination: vec![destination],
        destination_ports: vec![PortRange::ALL],
    };
    match direction {
        Direction::Inbound => [
            rule("AllowVnetInBound", 65000, tag(VirtualNetwork), tag(VirtualNetwork), Access::Allow),
            rule("AllowAzureLoadBalancerInBound", 65001, tag(AzureLoadBalancer), any, Access::Allow),
            rule("DenyAllInBound", 65500, any, any, Access::Deny),
        ],
        Direction::Outbound => [
            rule("AllowVnetOutBound", 65000, tag(VirtualNetwork), tag(VirtualNetwork), Access::Allow),
            rule("AllowInternetOutBound", 65001, any, tag(Internet), Access::Allow),
            rule("DenyAllOutBound", 65500, any, any, Access::Deny),
        ],
    }
}

fn protocol(protocol: SecurityProtocol) -> ProtocolMatch {
    match protocol {
        SecurityProtocol::Any => ProtocolMatch::Any,
        SecurityProtocol::Tcp => ProtocolMatch::Only(Protocol::TCP),
        SecurityProtocol::Udp => ProtocolMatch::Only(Protocol::UDP),
        SecurityProtocol::Icmp => ProtocolMatch::Icmp,
        SecurityProtocol::Esp => ProtocolMatch::Only(Protocol::ESP),
        SecurityProtocol::Ah => ProtocolMatch::Only(Protocol::AH),
    }
}

fn ports(ranges: &[PortRange]) -> Vec<RangeInclusive<u16>> {
    ranges.iter().map(|range| range.first..=range.last).collect()
}

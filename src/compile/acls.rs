//! Security groups as ordered rules with every tag expanded.
//!
//! One idea: an NSG means something else in each subnet, since tags do; so an ACL is an NSG in one direction seen
//! through one subnet's tags, without the rules for application groups that the interface is not in (ASG-04); and
//! interfaces that see the same share it. It ends with Azure's default rules. The admin rules of a VNet are an ACL too.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZero;
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;

use crate::dataplane::{Acl, AclId, AclRule, Action, Filters, ProtocolMatch, RuleId, RulesMark};
use crate::model::{
    Access, AddressPrefix, AdminRule, CollectionIx, Direction, Network, NsgIx, PortRange, SecurityProtocol,
    SecurityRule, ServiceTag, SubnetIx,
};
use crate::wire::Protocol;

use super::Sender;
use super::admin;
use super::rule_ids::RuleIds;
use super::tags::{AddressLists, Tags};

/// A rule's name and outcome, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    pub owner: RuleOwner,
    /// `securityRules/x` or `defaultSecurityRules/DenyAllInBound`, as Azure's diagnostics print it; of an admin rule
    /// `ruleCollections/ssh/no-ssh`.
    pub name: String,
    pub priority: u16,
    pub action: Action,
    /// What counters and flow records call it.
    pub id: RuleId,
}

/// What a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleOwner {
    Nsg(NsgIx),
    Collection(CollectionIx),
}

/// A rule with its tags expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRule {
    pub rule: RuleRef,
    pub matches: AclRule,
}

/// All ACLs of a network, made on demand.
pub(super) struct Acls<'a> {
    network: &'a Network,
    ids: &'a RuleIds,
    lists: AddressLists<'a>,
    tags: HashMap<SubnetIx, Tags>,
    known: HashMap<View, AclId, RandomState>,
    tables: Vec<Acl>,
    rules: Vec<Vec<EffectiveRule>>,
    /// Of those that flush.
    marks: HashMap<AclId, RulesMark>,
}

/// Rules as an interface sees them.
#[derive(PartialEq, Eq, Hash)]
struct View {
    source: Source,
    direction: Direction,
    tags: Tags,
}

/// Where rules come from.
#[derive(PartialEq, Eq, Hash)]
enum Source {
    Nsg {
        nsg: NsgIx,
        /// Rules for others than this interface.
        withheld: Vec<usize>,
    },
    Admin(Vec<CollectionIx>),
}

impl Source {
    fn flushes(&self, network: &Network) -> bool {
        match self {
            Self::Nsg { nsg, .. } => network.network_security_groups[nsg.0].flush_connection,
            Self::Admin(_) => false,
        }
    }
}

impl<'a> Acls<'a> {
    pub(super) fn new(network: &'a Network, ids: &'a RuleIds) -> Self {
        Self {
            network,
            ids,
            lists: AddressLists::new(network),
            tags: HashMap::new(),
            known: HashMap::default(),
            tables: Vec::new(),
            rules: Vec::new(),
            marks: HashMap::new(),
        }
    }

    pub(super) fn filters(&mut self, sender: Sender, direction: Direction) -> Filters {
        let (subnet, nic) = match sender {
            Sender::Nic(nic) => (self.network.nic(nic).subnet, Some(nic)),
            Sender::Subnet(subnet) => (subnet, None),
            Sender::Internet => return Filters::default(),
        };
        let of_nic = nic.and_then(|nic| self.network.nic(nic).network_security_group);
        let of_subnet = self.network.subnet(subnet).network_security_group;
        let mut of = |nsg: Option<NsgIx>| {
            let nsg = nsg?;
            let withheld = self.lists.groups.withheld(self.network, nsg, direction, nic);
            Some(self.acl(Source::Nsg { nsg, withheld }, direction, subnet))
        };
        let (nic, of_subnet) = (of(of_nic), of(of_subnet));
        let collections = admin::collections(self.network, subnet.vnet);
        let admin = (!collections.is_empty()).then(|| self.acl(Source::Admin(collections), direction, subnet));
        Filters { admin, nic, subnet: of_subnet }
    }

    /// Stands for the rules of those that flush (NSG-23).
    pub(super) fn mark(&self, filters: Filters) -> Option<RulesMark> {
        let mark = |acl: Option<AclId>| self.marks.get(&acl?);
        match (mark(filters.nic), mark(filters.subnet)) {
            (None, None) => None,
            marks => Some(mark_of(marks)),
        }
    }

    /// The tables and the rules each was built from.
    pub(super) fn into_parts(self) -> (Vec<Acl>, Vec<Vec<EffectiveRule>>) {
        (self.tables, self.rules)
    }

    fn acl(&mut self, source: Source, direction: Direction, subnet: SubnetIx) -> AclId {
        let network = self.network;
        let tags = self.tags.entry(subnet).or_insert_with(|| Tags::of(network, subnet)).clone();
        let view = View { source, direction, tags };
        if let Some(known) = self.known.get(&view) {
            return *known;
        }
        let rules = Reader { network, ids: self.ids, lists: &mut self.lists, tags: &view.tags }.rules(&view);
        let flushes = view.source.flushes(network);
        let id = self.push(rules, flushes);
        self.known.insert(view, id);
        id
    }

    /// A list of its own.
    pub(super) fn push(&mut self, rules: Vec<EffectiveRule>, flushes: bool) -> AclId {
        let table = Acl::new(rules.iter().map(|rule| rule.matches.clone()).collect());
        self.tables.push(table.numbered(rules.iter().map(|rule| rule.rule.id)).flushing(flushes));
        let id = AclId(self.tables.len() as u32 - 1);
        if flushes {
            self.marks.insert(id, mark_of(rules.iter().map(|rule| &rule.matches).collect::<Vec<_>>()));
        }
        self.rules.push(rules);
        id
    }

    pub(super) fn rules(&self, acl: AclId) -> &[EffectiveRule] {
        &self.rules[acl.0 as usize]
    }
}

/// Reads rules as one view shows them.
struct Reader<'r, 'a> {
    network: &'a Network,
    ids: &'a RuleIds,
    lists: &'r mut AddressLists<'a>,
    tags: &'r Tags,
}

impl Reader<'_, '_> {
    fn rules(&mut self, View { source, direction, .. }: &View) -> Vec<EffectiveRule> {
        match source {
            Source::Nsg { nsg, withheld } => self.nsg(*nsg, *direction, withheld),
            Source::Admin(collections) => {
                let rules = admin::rules(self.network, collections, *direction).into_iter();
                let effective = |(at, rule): (CollectionIx, &AdminRule)| {
                    self.rule(RuleOwner::Collection(at), admin::name(self.network, at, rule), rule, true)
                };
                rules.map(effective).collect()
            }
        }
    }

    /// The user's rules by priority, then the default rules (NSG-02, NSG-06).
    fn nsg(&mut self, nsg: NsgIx, direction: Direction, withheld: &[usize]) -> Vec<EffectiveRule> {
        let own = self.network.network_security_groups[nsg.0].rules.iter().enumerate();
        let own = own.filter(|(i, rule)| rule.direction == direction && !withheld.contains(i));
        let mut custom: Vec<_> = own.map(|(_, rule)| rule).collect();
        custom.sort_by_key(|rule| rule.priority);
        let defaults = default_rules(direction);
        let all = custom.into_iter().map(|own| (own, true)).chain(defaults.iter().map(|default| (default, false)));
        all.map(|(rule, custom)| self.rule(RuleOwner::Nsg(nsg), rule_name(rule, custom), rule, custom)).collect()
    }

    fn rule<A: Copy + Into<Action>>(
        &mut self,
        owner: RuleOwner,
        name: String,
        rule: &SecurityRule<A>,
        custom: bool,
    ) -> EffectiveRule {
        let action = rule.access.into();
        let id = self.ids.of(owner, rule.direction, &name);
        let matches = AclRule {
            protocol: protocol(rule.protocol),
            src: self.lists.expand(&rule.source, self.tags),
            dst: self.lists.expand(&rule.destination, self.tags),
            src_ports: ports(&rule.source_ports),
            dst_ports: ports(&rule.destination_ports),
            action,
            custom,
        };
        EffectiveRule { rule: RuleRef { owner, name, priority: rule.priority, action, id }, matches }
    }
}

/// `securityRules/x`, or `defaultSecurityRules/DenyAllInBound`.
pub(super) fn rule_name(rule: &SecurityRule, custom: bool) -> String {
    format!("{}/{}", if custom { "securityRules" } else { "defaultSecurityRules" }, rule.name)
}

/// Equal for equal things, in every run of the same program.
fn mark_of(thing: impl Hash) -> RulesMark {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    RulesMark(NonZero::new(hasher.finish() as u32).unwrap_or(NonZero::<u32>::MIN))
}

/// The three rules below every NSG, with the spelling of the REST interface (NSG-06).
pub(super) fn default_rules(direction: Direction) -> [SecurityRule; 3] {
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

impl From<Access> for Action {
    fn from(access: Access) -> Self {
        match access {
            Access::Allow => Self::Allow,
            Access::Deny => Self::Deny,
        }
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

//! Security groups as ordered rules with every tag expanded.
//!
//! One idea: an NSG means something else in each subnet, since tags do; so an ACL is an NSG in one direction seen
//! through one subnet's tags, without the rules for application groups that the interface is not in (ASG-04); and
//! interfaces that see the same share it. It ends with Azure's default rules. The admin rules of a VNet are an ACL too, and
//! so is what a private cloud's distributed firewall says at one machine.

mod admin;
mod distributed;
mod groups;
pub(super) mod platform;
pub(super) mod rule_ids;
mod tags;
pub(super) mod written;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZero;
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;

use crate::dataplane::{Acl, AclId, AclRule, Action, Filters, ProtocolMatch, RuleId, RulesMark};
use crate::model::{
    Access, AddressPrefix, AdminRule, CloudIx, CollectionIx, Direction, Network, NsgIx, PortRange, SecurityProtocol,
    SecurityRule, ServiceTag, SubnetIx,
};
use crate::wire::Protocol;

use super::Sender;
use super::memo::{Kept, Known, Memo, Pool, Same};
use super::routes::Sources;
use super::routes::fib::Rows;
use rule_ids::RuleIds;
use tags::{AddressLists, Field, TagSources, Tags};

/// A rule's name and outcome, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// The NSG, the collection or the private cloud that has a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleOwner {
    Nsg(NsgIx),
    Collection(CollectionIx),
    Firewall {
        cloud: CloudIx,
        /// Its place in the file. None has the default rule.
        policy: Option<usize>,
    },
}

/// A rule with its tags expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRule {
    pub rule: RuleRef,
    pub matches: AclRule,
}

/// All ACLs of a network, made on demand.
pub(super) struct Acls<'a, 'r> {
    network: &'a Network,
    ids: &'a RuleIds,
    rows: &'r mut Rows<'a>,
    lists: AddressLists<'a>,
    subnets: HashMap<SubnetIx, Same<Tags>, RandomState>,
    sources: HashMap<(Source, Direction), Same<Written>, RandomState>,
    numbered: HashMap<View, AclId, RandomState>,
    lists_made: Vec<Same<List>>,
    tags: Memo<'r, TagSources, Same<Tags>>,
    distinct_tags: Pool<'r, Tags>,
    written: Pool<'r, Written>,
    views: Memo<'r, View, Same<List>>,
}

/// What is known of lists made before.
#[derive(Debug, Default)]
pub(super) struct KnownAcls {
    tags: Known<TagSources, Same<Tags>>,
    distinct_tags: Kept<Tags>,
    written: Kept<Written>,
    views: Known<View, Same<List>>,
}

/// The rules of one list, and what packets are asked by.
#[derive(Debug)]
pub(super) struct List {
    pub(super) rules: Vec<EffectiveRule>,
    pub(super) table: Acl,
    /// If it flushes.
    mark: Option<RulesMark>,
}

/// Rules as the interfaces of some subnets see them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct View {
    written: Same<Written>,
    tags: Same<Tags>,
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

/// Rules in the order of evaluation, not yet resolved for a subnet.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Written {
    rules: Vec<WrittenRule>,
    flushes: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WrittenRule {
    rule: RuleRef,
    src: Field,
    dst: Field,
    /// Without addresses.
    matches: AclRule,
}

impl<'a, 'r> Acls<'a, 'r> {
    pub(super) fn new(network: &'a Network, ids: &'a RuleIds, rows: &'r mut Rows<'a>, earlier: &'r KnownAcls) -> Self {
        Self {
            network,
            ids,
            rows,
            lists: AddressLists::new(network),
            subnets: HashMap::default(),
            sources: HashMap::default(),
            numbered: HashMap::default(),
            lists_made: Vec::new(),
            tags: Memo::after(&earlier.tags),
            distinct_tags: Pool::after(&earlier.distinct_tags),
            written: Pool::after(&earlier.written),
            views: Memo::after(&earlier.views),
        }
    }

    pub(super) fn filters(&mut self, sender: Sender, direction: Direction) -> Filters {
        if let Sender::Segment(cloud, machine) = sender {
            return self.distributed(cloud, machine, direction);
        }
        let Some((subnet, nic)) = sender.guest(self.network) else { return Filters::default() };
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

    /// Of a machine of a private cloud: what its firewall has, if any is written.
    fn distributed(&mut self, cloud: CloudIx, machine: usize, direction: Direction) -> Filters {
        let is_written = self.network.cloud(cloud).firewall.is_written();
        let rules = || distributed::rules(self.network, self.ids, (cloud, machine), direction);
        let nic = is_written.then(rules).map(|rules| self.push(rules));
        Filters { nic, ..Filters::default() }
    }

    /// Stands for the rules of those that flush (NSG-23).
    pub(super) fn mark(&self, filters: Filters) -> Option<RulesMark> {
        let mark = |acl: Option<AclId>| self.lists_made[acl?.0 as usize].mark.as_ref();
        match (mark(filters.nic), mark(filters.subnet)) {
            (None, None) => None,
            marks => Some(mark_of(marks)),
        }
    }

    /// The lists by their numbers, and what to remember of them.
    pub(super) fn into_parts(self) -> (Vec<Same<List>>, KnownAcls) {
        let known = KnownAcls {
            tags: self.tags.into_known(),
            distinct_tags: self.distinct_tags.into_kept(),
            written: self.written.into_kept(),
            views: self.views.into_known(),
        };
        (self.lists_made, known)
    }

    fn acl(&mut self, source: Source, direction: Direction, subnet: SubnetIx) -> AclId {
        let view = View { written: self.written(source, direction), tags: self.tags(subnet) };
        if let Some(known) = self.numbered.get(&view) {
            return *known;
        }
        let lists = &mut self.lists;
        let list = self.views.recall(view.clone(), |view| Same::new(view.list(lists)));
        let id = self.number(list);
        self.numbered.insert(view, id);
        id
    }

    fn tags(&mut self, subnet: SubnetIx) -> Same<Tags> {
        let Self { network, rows, subnets, tags, distinct_tags, .. } = self;
        let known = subnets.entry(subnet).or_insert_with(|| {
            let Sources { surroundings, table, .. } = rows.sources(network, subnet);
            // Other routes often say nothing else about what is inside.
            let own = tags.recall(TagSources { surroundings, table }, |sources| distinct_tags.share(Tags::of(sources)));
            distinct_tags.keep(&own);
            own
        });
        known.clone()
    }

    fn written(&mut self, source: Source, direction: Direction) -> Same<Written> {
        let key = (source, direction);
        if let Some(known) = self.sources.get(&key) {
            return known.clone();
        }
        let reader = Reader { network: self.network, ids: self.ids, lists: &mut self.lists };
        let written = self.written.share(reader.written(&key.0, direction));
        self.sources.insert(key, written.clone());
        written
    }

    /// A list of its own.
    pub(super) fn push(&mut self, rules: Vec<EffectiveRule>) -> AclId {
        self.number(Same::new(List::new(rules, false)))
    }

    fn number(&mut self, list: Same<List>) -> AclId {
        self.lists_made.push(list);
        AclId(self.lists_made.len() as u32 - 1)
    }

    pub(super) fn rules(&self, acl: AclId) -> &[EffectiveRule] {
        &self.lists_made[acl.0 as usize].rules
    }
}

impl List {
    fn new(rules: Vec<EffectiveRule>, flushes: bool) -> Self {
        let table = Acl::new(rules.iter().map(|rule| rule.matches.clone()).collect());
        let table = table.numbered(rules.iter().map(|rule| rule.rule.id)).flushing(flushes);
        let mark = flushes.then(|| mark_of(rules.iter().map(|rule| &rule.matches).collect::<Vec<_>>()));
        Self { rules, table, mark }
    }
}

impl View {
    fn list(&self, lists: &mut AddressLists<'_>) -> List {
        let rules = self.written.rules.iter().map(|written| EffectiveRule {
            rule: written.rule.clone(),
            matches: AclRule {
                src: lists.expand(&written.src, &self.tags),
                dst: lists.expand(&written.dst, &self.tags),
                ..written.matches.clone()
            },
        });
        List::new(rules.collect(), self.written.flushes)
    }
}

/// Reads rules out of a network.
struct Reader<'l, 'a> {
    network: &'a Network,
    ids: &'a RuleIds,
    lists: &'l mut AddressLists<'a>,
}

impl Reader<'_, '_> {
    fn written(mut self, source: &Source, direction: Direction) -> Written {
        match source {
            Source::Nsg { nsg, withheld } => {
                let flushes = self.network.network_security_groups[nsg.0].flush_connection;
                Written { rules: self.nsg(*nsg, direction, withheld), flushes }
            }
            Source::Admin(collections) => {
                let rules = admin::rules(self.network, collections, direction).into_iter();
                let written = |(at, rule): (CollectionIx, &AdminRule)| {
                    self.rule(RuleOwner::Collection(at), admin::name(self.network, at, rule), rule, true)
                };
                Written { rules: rules.map(written).collect(), flushes: false }
            }
        }
    }

    /// The user's rules by priority, then the default rules (NSG-02, NSG-06).
    fn nsg(&mut self, nsg: NsgIx, direction: Direction, withheld: &[usize]) -> Vec<WrittenRule> {
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
    ) -> WrittenRule {
        let action = rule.access.into();
        let id = self.ids.of(owner, rule.direction, &name);
        let matches = AclRule {
            protocol: protocol(rule.protocol),
            src: [].into(),
            dst: [].into(),
            src_ports: ports(&rule.source_ports),
            dst_ports: ports(&rule.destination_ports),
            action,
            custom,
        };
        let (src, dst) = (self.lists.field(&rule.source), self.lists.field(&rule.destination));
        WrittenRule { rule: RuleRef { owner, name, priority: rule.priority, action, id }, src, dst, matches }
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

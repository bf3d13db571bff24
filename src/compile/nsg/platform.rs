//! The rules that may deny the platform's services to an interface: those that name one by its tag (NSG-30).
//!
//! One idea: no other rule concerns the services, so these have lists of their own, each rule reduced to what its tags
//! mean: a deny of AzurePlatformDNS takes DNS away, and not what else is at the same address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::compile::RuleOwner;
use crate::dataplane::platform::{DNS_PORT, LICENSING, LICENSING_PORT, METADATA, METADATA_PORT, PLATFORM};
use crate::dataplane::{AclId, AclRule, Filters};
use crate::model::{AddressPrefix, Direction, Network, NsgIx, PlatformService, SecurityRule, ServiceTag};

use super::{Acls, EffectiveRule, admin, rule_name};

/// Which rules name which services, and the lists made of them.
pub(in crate::compile) struct Platform {
    named: HashMap<(RuleOwner, String), Vec<PlatformService>>,
    /// By the list that has the rule.
    known: HashMap<AclId, Option<AclId>>,
}

impl Platform {
    pub(in crate::compile) fn of(network: &Network) -> Self {
        let nsgs = network.network_security_groups.iter().enumerate();
        let of_nsgs = nsgs.flat_map(|(nsg, group)| {
            let owner = RuleOwner::Nsg(NsgIx(nsg));
            let named = group.rules.iter().map(|rule| (rule, services(rule)));
            let named = named.filter(|(_, services)| !services.is_empty());
            named.map(move |(rule, services)| ((owner, rule_name(rule, true)), services))
        });
        let of_managers = network.rule_collections().flat_map(|(at, collection)| {
            let owner = RuleOwner::Collection(at);
            collection.rules.iter().map(move |rule| ((owner, admin::name(network, at, rule)), services(rule)))
        });
        Self {
            named: of_nsgs.chain(of_managers).filter(|(_, services)| !services.is_empty()).collect(),
            known: HashMap::new(),
        }
    }

    /// The lists for an interface with these outbound.
    pub(in crate::compile) fn filters(&mut self, acls: &mut Acls<'_, '_>, outbound: Filters) -> Filters {
        let mut of = |acl: Option<AclId>| self.list(acls, acl?);
        Filters { admin: of(outbound.admin), nic: of(outbound.nic), subnet: of(outbound.subnet) }
    }

    fn list(&mut self, acls: &mut Acls<'_, '_>, acl: AclId) -> Option<AclId> {
        if self.named.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(&acl) {
            return *known;
        }
        let reduced: Vec<_> = acls.rules(acl).iter().flat_map(|rule| self.reduced(rule)).collect();
        let list = (!reduced.is_empty()).then(|| acls.push(reduced));
        self.known.insert(acl, list);
        list
    }

    /// The rule once for each service that it names.
    fn reduced(&self, rule: &EffectiveRule) -> Vec<EffectiveRule> {
        let key = (rule.rule.owner, rule.rule.name.clone());
        let services = self.named.get(&key).into_iter().flatten();
        services
            .map(|service| {
                let (_, port) = place(*service);
                let ports = rule.matches.dst_ports.iter().filter(|range| range.contains(&port));
                let dst_ports: Vec<RangeInclusive<u16>> = ports.map(|_| port..=port).take(1).collect();
                let matches = AclRule { dst: addresses(*service).into(), dst_ports, ..rule.matches.clone() };
                EffectiveRule { rule: rule.rule.clone(), matches }
            })
            .collect()
    }
}

/// What a tag of the platform's covers.
pub(in crate::compile) fn addresses(service: PlatformService) -> Vec<IpNet> {
    place(service).0.iter().copied().map(IpNet::from).collect()
}

fn place(service: PlatformService) -> (&'static [IpAddr], u16) {
    match service {
        PlatformService::Dns => (&[PLATFORM], DNS_PORT),
        PlatformService::Imds => (&[METADATA], METADATA_PORT),
        PlatformService::Lkm => (&LICENSING, LICENSING_PORT),
    }
}

/// The services at a rule's other end.
fn services<A>(rule: &SecurityRule<A>) -> Vec<PlatformService> {
    let named = rule.destination.iter().filter(|_| rule.direction == Direction::Outbound);
    named
        .filter_map(|field| match field {
            AddressPrefix::Tag(ServiceTag::Platform(service)) => Some(*service),
            AddressPrefix::Any | AddressPrefix::Prefix(_) | AddressPrefix::Tag(_) | AddressPrefix::Group(_) => None,
        })
        .collect()
}

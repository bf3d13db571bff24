//! Effective security rules with ARM's field names (DIAG-03): one entry for each security group of an interface, and
//! one for each network manager whose admin rules apply to its virtual network.
//!
//! Rules are listed in the order in which they are evaluated, with the prefixes that tags and application groups have
//! here. As in ARM, several values or ranges use only the plural field.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::analysis::query::names::{Names, address_field, subnet_name};
use crate::analysis::query::stand_in::{self, StandIn};
use crate::analysis::query::{nic_of, primary, target, vm};
use crate::compile::{Compiled, EffectiveRule, RuleOwner, Sender, written_addresses};
use crate::dataplane::{Action, NicId, ProtocolMatch, RuleId};
use crate::model::{AddressPrefix, Customer, Direction, Network, NicIx};
use crate::wire::Protocol;

use super::peerings::Reference;

/// One entry of `az network nic list-effective-nsg`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveGroup {
    /// None for the rules of a network manager.
    pub network_security_group: Option<Reference>,
    pub association: Association,
    pub effective_security_rules: Vec<RuleRow>,
    /// Tags that are alone in a field, and their prefixes for this interface.
    pub tag_map: BTreeMap<String, Vec<IpNet>>,
}

/// What a group is associated with: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Association {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_manager: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface: Option<Reference>,
    /// Of its distributed firewall (AVS-12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_cloud: Option<Reference>,
}

/// One effective rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleRow {
    pub name: String,
    /// `All`, `Tcp`, `Udp`, `Icmp`, `Esp` or `Ah`.
    pub protocol: String,
    pub source_port_range: Option<String>,
    pub source_port_ranges: Vec<String>,
    pub destination_port_range: Option<String>,
    pub destination_port_ranges: Vec<String>,
    pub source_address_prefix: Option<String>,
    pub source_address_prefixes: Vec<String>,
    pub destination_address_prefix: Option<String>,
    pub destination_address_prefixes: Vec<String>,
    /// None where there is nothing to expand.
    pub expanded_source_address_prefix: Option<Vec<IpNet>>,
    pub expanded_destination_address_prefix: Option<Vec<IpNet>>,
    /// `Allow`, `Deny`, or an admin rule's `AlwaysAllow`.
    pub access: String,
    pub priority: u16,
    pub direction: Direction,
    /// How often it decided, at all interfaces that have it; None without a running lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<u64>,
}

/// The rules of `NODE`, `NODE/NIC` or `VNET/SUBNET`, inbound before outbound; none for a gateway or site. `hits`
/// returns how often a rule decided.
pub fn rules(
    network: &Network,
    compiled: &Compiled,
    target: &str,
    hits: impl Fn(RuleId) -> Option<u64>,
) -> Result<Vec<EffectiveGroup>, String> {
    let names = Names { network, compiled };
    if let Some(Customer::Segment(cloud, machine)) = network.customer_named(target) {
        let machine = compiled.ids().nic(Sender::Segment(cloud, machine));
        return Ok(machine.map_or_else(Vec::new, |machine| distributed(names, machine, hits)));
    }
    if stand_in::has_no_rules(network, target) {
        return Ok(Vec::new());
    }
    let subnet = match interface(network, compiled, target) {
        Ok(nic) => return Ok(groups(names, nic, true, hits)),
        Err(error) => target::subnet(network, target).map_err(|_| error)?,
    };
    // A subnet's rules are those of all its interfaces.
    if let Some(nic) = network.network_interfaces.iter().position(|nic| nic.subnet == subnet) {
        return Ok(groups(names, compiled.nic_of(NicIx(nic)), false, hits));
    }
    if network.gateways().any(|(_, gateway)| gateway.subnet == subnet) {
        return Ok(Vec::new());
    }
    let StandIn { network, compiled, nics } = StandIn::put(network, compiled, &[subnet])?;
    let names = Names { network: &network, compiled: &compiled };
    Ok(groups(names, compiled.nic_of(nics[0]), false, |_| None))
}

/// An interface's entries, with or without its own group's rules.
fn groups(names: Names<'_>, nic: NicId, own: bool, hits: impl Fn(RuleId) -> Option<u64>) -> Vec<EffectiveGroup> {
    let Names { network, compiled } = names;
    let tables = compiled.snapshot.nic(nic);
    let (inbound, outbound) = (tables.inbound, tables.outbound);
    let mut groups: Vec<EffectiveGroup> = Vec::new();
    let subnet = subnet_name(network, names.subnet(nic));
    let reference = |id: &str| Some(Reference { id: id.to_owned() });
    let manager = |owner: RuleOwner| Association { network_manager: reference(owner_name(network, owner)), ..none() };
    let of_subnet = |_| Association { subnet: reference(&subnet), ..none() };
    let of_nic = |_| Association { network_interface: reference(&names.nic(nic)), ..none() };
    let places: [(_, _, &dyn Fn(RuleOwner) -> Association); 3] = [
        (inbound.admin, outbound.admin, &manager),
        (inbound.subnet, outbound.subnet, &of_subnet),
        (inbound.nic.filter(|_| own), outbound.nic.filter(|_| own), &of_nic),
    ];
    for (inbound, outbound, association) in places {
        let both = [(inbound, Direction::Inbound), (outbound, Direction::Outbound)];
        for (acl, direction) in both.into_iter().filter_map(|(acl, direction)| Some((acl?, direction))) {
            for rule in compiled.effective_rules(acl) {
                let association = association(rule.rule.owner);
                let at = groups.iter().position(|group| group.association == association).unwrap_or_else(|| {
                    groups.push(EffectiveGroup::of(network, rule.rule.owner, association));
                    groups.len() - 1
                });
                groups[at].push(network, rule, direction, hits(rule.rule.id));
            }
        }
    }
    groups
}

/// A machine's entry of its cloud's distributed firewall, if one is written.
fn distributed(names: Names<'_>, nic: NicId, hits: impl Fn(RuleId) -> Option<u64>) -> Vec<EffectiveGroup> {
    let Names { network, compiled } = names;
    let tables = compiled.snapshot.nic(nic);
    let mut groups: Vec<EffectiveGroup> = Vec::new();
    for (acl, direction) in [(tables.inbound.nic, Direction::Inbound), (tables.outbound.nic, Direction::Outbound)] {
        for rule in acl.into_iter().flat_map(|acl| compiled.effective_rules(acl)) {
            let cloud = Some(Reference { id: owner_name(network, rule.rule.owner).to_owned() });
            let association = Association { private_cloud: cloud, ..none() };
            if groups.is_empty() {
                groups.push(EffectiveGroup::of(network, rule.rule.owner, association));
            }
            groups[0].push(network, rule, direction, hits(rule.rule.id));
        }
    }
    groups
}

fn none() -> Association {
    Association::default()
}

/// The NSG, or the network manager.
fn owner_name(network: &Network, owner: RuleOwner) -> &str {
    match owner {
        RuleOwner::Nsg(nsg) => &network.network_security_groups[nsg.0].name,
        RuleOwner::Collection(at) => &network.network_managers[at.manager].name,
        RuleOwner::Firewall { cloud, .. } => &network.cloud(cloud).name,
    }
}

/// The target's interface: a machine stands for its primary one.
fn interface(network: &Network, compiled: &Compiled, target: &str) -> Result<NicId, String> {
    let (name, nic) = target.split_once('/').map_or((target, None), |(name, nic)| (name, Some(nic)));
    let of_machine = vm(network, name).and_then(|vm| {
        let nic = nic.map_or_else(|| Ok(primary(network, vm)), |nic| nic_of(network, vm, nic))?;
        Ok(compiled.nic_of(nic))
    });
    of_machine.or_else(|error| {
        let subnet = target::subnet(network, target).map_err(|_| error)?;
        compiled.subnet_nic(subnet).ok_or_else(|| format!("nothing stands in `{target}` by itself"))
    })
}

impl EffectiveGroup {
    fn of(network: &Network, owner: RuleOwner, association: Association) -> Self {
        let network_security_group = match owner {
            RuleOwner::Nsg(_) => Some(Reference { id: owner_name(network, owner).to_owned() }),
            RuleOwner::Collection(_) | RuleOwner::Firewall { .. } => None,
        };
        let (effective_security_rules, tag_map) = Default::default();
        Self { network_security_group, association, effective_security_rules, tag_map }
    }

    fn push(&mut self, network: &Network, rule: &EffectiveRule, direction: Direction, hits: Option<u64>) {
        let (source, destination) =
            written_addresses(network, &rule.rule, direction).expect("an effective rule stands in its network");
        for (field, prefixes) in [(&source, &rule.matches.src), (&destination, &rule.matches.dst)] {
            if let [tag @ AddressPrefix::Tag(_)] = &field[..] {
                self.tag_map.entry(address_field(network, tag)).or_insert_with(|| prefixes.to_vec());
            }
        }
        self.effective_security_rules.push(row(network, rule, direction, (&source, &destination), hits));
    }
}

fn row(
    network: &Network,
    EffectiveRule { rule, matches }: &EffectiveRule,
    direction: Direction,
    (source, destination): (&[AddressPrefix], &[AddressPrefix]),
    hits: Option<u64>,
) -> RuleRow {
    let (source_port_ranges, destination_port_ranges) = (ports(&matches.src_ports), ports(&matches.dst_ports));
    RuleRow {
        name: rule.name.clone(),
        protocol: protocol(matches.protocol),
        source_port_range: only(&source_port_ranges),
        source_port_ranges,
        destination_port_range: only(&destination_port_ranges),
        destination_port_ranges,
        source_address_prefix: only(&fields(network, source)),
        source_address_prefixes: fields(network, source),
        destination_address_prefix: only(&fields(network, destination)),
        destination_address_prefixes: fields(network, destination),
        expanded_source_address_prefix: expanded(source, &matches.src),
        expanded_destination_address_prefix: expanded(destination, &matches.dst),
        access: match rule.action {
            Action::Allow => "Allow",
            Action::AlwaysAllow => "AlwaysAllow",
            Action::Deny => "Deny",
        }
        .to_owned(),
        priority: rule.priority,
        direction,
        hits,
    }
}

/// As in effective rules: with `0.0.0.0/0` for `*`.
fn fields(network: &Network, fields: &[AddressPrefix]) -> Vec<String> {
    let field = |field: &AddressPrefix| match field {
        AddressPrefix::Any => "0.0.0.0/0".to_owned(),
        AddressPrefix::Prefix(_) | AddressPrefix::Tag(_) | AddressPrefix::Group(_) => address_field(network, field),
    };
    fields.iter().map(field).collect()
}

fn expanded(fields: &[AddressPrefix], prefixes: &[IpNet]) -> Option<Vec<IpNet>> {
    let expands = |field: &AddressPrefix| match field {
        AddressPrefix::Tag(_) | AddressPrefix::Group(_) => true,
        AddressPrefix::Any | AddressPrefix::Prefix(_) => false,
    };
    fields.iter().any(expands).then(|| prefixes.to_vec())
}

fn ports(ranges: &[RangeInclusive<u16>]) -> Vec<String> {
    ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect()
}

fn only(values: &[String]) -> Option<String> {
    match values {
        [one] => Some(one.clone()),
        [] | [_, _, ..] => None,
    }
}

fn protocol(protocol: ProtocolMatch) -> String {
    match protocol {
        ProtocolMatch::Any => "All".to_owned(),
        ProtocolMatch::Icmp => "Icmp".to_owned(),
        ProtocolMatch::Only(Protocol::TCP) => "Tcp".to_owned(),
        ProtocolMatch::Only(Protocol::UDP) => "Udp".to_owned(),
        ProtocolMatch::Only(Protocol::ESP) => "Esp".to_owned(),
        ProtocolMatch::Only(Protocol::AH) => "Ah".to_owned(),
        ProtocolMatch::Only(Protocol(number)) => number.to_string(),
    }
}

//! Application security groups: their members, and what rules name (ASG-01 to ASG-07, LIM-14).

use std::collections::BTreeSet;

use crate::config::schema::{Document, NetworkInterface, filter};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{self, AddressPrefix, Asg, AsgIx, NicIx, VirtualNetwork, VnetIx};

use super::Scope;
use super::names::{or_unnamed, within};

/// The groups of a file, each with the VNet of its first member.
pub(super) struct Groups {
    all: Vec<Asg>,
    homes: Vec<Option<VnetIx>>,
    /// Of VNets, for messages.
    names: Vec<String>,
}

impl Groups {
    pub(super) fn of(
        document: &Document,
        nics: &[model::NetworkInterface],
        vnets: &[VirtualNetwork],
        scope: &Scope,
        report: &mut Report,
    ) -> Self {
        let all: Vec<_> = document
            .application_security_groups
            .iter()
            .map(|group| Asg { name: or_unnamed(&group.name), members: Vec::new() })
            .collect();
        let names = vnets.iter().map(|vnet| vnet.name.clone()).collect();
        let mut groups = Self { homes: vec![None; all.len()], all, names };
        let written = document.virtual_machines.iter().flat_map(|vm| &vm.network_interfaces);
        for (nic, (written, known)) in written.zip(nics).enumerate() {
            for (group, at) in membership(written, scope, report) {
                groups.join(group, NicIx(nic), known.subnet.vnet, at, report);
            }
        }
        for (group, written) in groups.all.iter().zip(&document.application_security_groups) {
            let members = group.members.iter().map(|nic| nics[nic.0].addresses.len()).sum();
            let what = "IP configurations in one application security group";
            within(members, 4_000, what, "LIM-14", written.at, report);
        }
        groups
    }

    pub(super) fn into_groups(self) -> Vec<Asg> {
        self.all
    }

    /// ASG-02: wherever the first member is, the others are too.
    fn join(&mut self, group: AsgIx, nic: NicIx, vnet: VnetIx, at: At, report: &mut Report) {
        let home = *self.homes[group.0].get_or_insert(vnet);
        self.all[group.0].members.push(nic);
        // An interface without a known subnet has been reported.
        let (Some(own), Some(first)) = (self.names.get(vnet.0), self.names.get(home.0)) else { return };
        if home != vnet {
            report
                .error(at, format!("an interface in virtual network `{own}` cannot join `{}`", self.all[group.0].name))
                .rule("ASG-02")
                .expected(format!("an interface in virtual network `{first}`, as the group's first member"))
                .help("make a group for each virtual network");
        }
    }

    /// ASG-03: the groups of both fields have their members in one virtual network.
    pub(super) fn check_homes(
        &self,
        source: &[AddressPrefix],
        destination: &[AddressPrefix],
        at: At,
        report: &mut Report,
    ) {
        let homes = |field: &[AddressPrefix]| -> BTreeSet<VnetIx> {
            field.iter().filter_map(AddressPrefix::group).filter_map(|group| self.homes[group.0]).collect()
        };
        let homes: BTreeSet<_> = homes(source).union(&homes(destination)).copied().collect();
        let names: Vec<_> =
            homes.iter().filter_map(|home| self.names.get(home.0)).map(|name| format!("`{name}`")).collect();
        if names.len() > 1 {
            report
                .error(
                    at,
                    format!("the rule names application security groups of virtual networks {}", names.join(", ")),
                )
                .code("AllApplicationSecurityGroupsInSecurityRuleMustBeFromSameVnet")
                .rule("ASG-03")
                .expected("groups with all members in one virtual network");
        }
    }
}

/// The groups that a field names (ASG-06, ASG-07).
pub(super) fn named(field: &filter::Addresses, scope: &Scope, report: &mut Report) -> Option<Vec<AddressPrefix>> {
    let groups = field.groups.as_ref()?;
    if field.ranges.is_some() {
        report
            .error(groups.at, "application security groups stand beside address prefixes")
            .rule("ASG-07")
            .expected("one of the two in one field")
            .help("write two rules");
    }
    within(groups.value.len(), 10, "application security groups in one field of a rule", "LIM-14", groups.at, report);
    let named = groups.value.iter().filter_map(|group| scope.asg(group, report));
    Some(named.map(AddressPrefix::Group).collect())
}

/// The groups of an interface, each once. All its configurations must say the same (ASG-01).
fn membership(nic: &NetworkInterface, scope: &Scope, report: &mut Report) -> Vec<(AsgIx, At)> {
    let mut first: Option<Vec<(AsgIx, At)>> = None;
    for configuration in &nic.ip_configurations {
        let written = &configuration.application_security_groups;
        let what = "application security groups of one IP configuration";
        let at = written.first().map_or(configuration.at, |group: &Spanned<_>| group.at);
        within(written.len(), 20, what, "LIM-14", at, report);
        let mut own: Vec<_> = written.iter().filter_map(|group| Some((scope.asg(group, report)?, group.at))).collect();
        own.sort_by_key(|(group, _)| *group);
        own.dedup_by_key(|(group, _)| *group);
        let Some(first) = &first else {
            first = Some(own);
            continue;
        };
        if !own.iter().map(|(group, _)| group).eq(first.iter().map(|(group, _)| group)) {
            report
                .error(at, "the IP configurations of one interface are in different application security groups")
                .code("AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups")
                .rule("ASG-01")
                .expected("the same groups in each of them");
        }
    }
    first.unwrap_or_default()
}

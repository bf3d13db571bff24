//! Flow logs: what each watches, and no target twice (DIAG-07, DIAG-08).

use std::collections::HashMap;

use crate::config::schema::flow_log::{self, Target};
use crate::config::yaml::diagnostic::{At, Report, Spanned, clip};
use crate::model::{
    FlowLog, FlowLogTarget, NetworkInterface, NicIx, NsgIx, NsgLogVersion, SubnetIx, VirtualMachine, VnetIx,
};

use super::Scope;
use super::names::{Names, or_unnamed};

/// The machines with interfaces that may be named.
pub(super) struct Interfaces<'a> {
    pub(super) machines: &'a [VirtualMachine],
    pub(super) all: &'a [NetworkInterface],
}

pub(super) fn flow_logs(
    logs: &[flow_log::FlowLog],
    scope: &Scope,
    interfaces: &Interfaces<'_>,
    report: &mut Report,
) -> Vec<FlowLog> {
    Names::of("flow log", logs.iter().map(|log| &log.name), report);
    let mut watched = HashMap::new();
    let mut resolved = Vec::new();
    for log in logs {
        let Some(target) = log.target.as_ref().and_then(|target| resolve(log, target, scope, interfaces, report))
        else {
            continue;
        };
        let same = match target {
            FlowLogTarget::Nsg(nsg, _) => FlowLogTarget::Nsg(nsg, NsgLogVersion::V2),
            FlowLogTarget::Vnet(_) | FlowLogTarget::Subnet(_) | FlowLogTarget::Nic(_) => target,
        };
        let name = or_unnamed(&log.name);
        if let Some(other) = watched.insert(same, name.clone()) {
            let at = log.target.as_ref().map_or(log.at, |target| target.at);
            report
                .error(at, format!("flow log `{other}` has this target already"))
                .rule("DIAG-08")
                .expected("one flow log a target");
        }
        let (storage_path, retention_days) = (log.storage_path.clone(), log.retention_days);
        resolved.push(FlowLog { name, target, enabled: log.enabled, storage_path, retention_days });
    }
    resolved
}

fn resolve(
    log: &flow_log::FlowLog,
    target: &Spanned<Target>,
    scope: &Scope,
    interfaces: &Interfaces<'_>,
    report: &mut Report,
) -> Option<FlowLogTarget> {
    let at = target.at;
    let version = log.version.as_ref().filter(|version| version.value == 1);
    if let Some(version) = version
        && !matches!(target.value, Target::Nsg(_))
    {
        report
            .error(version.at, "version 1 is a format of security groups' logs")
            .rule("DIAG-08")
            .help("leave `version` out, or write 2: these logs have a format of their own");
    }
    Some(match &target.value {
        Target::Nsg(nsg) => {
            let version = if version.is_some() { NsgLogVersion::V1 } else { NsgLogVersion::V2 };
            FlowLogTarget::Nsg(NsgIx(scope.nsgs.named(nsg, at, report)?), version)
        }
        Target::Vnet(vnet) => FlowLogTarget::Vnet(VnetIx(scope.virtual_networks.named(vnet, at, report)?)),
        Target::Subnet([vnet, subnet]) => {
            let vnet = scope.virtual_networks.named(vnet, at, report)?;
            let subnet = scope.subnets[vnet].named(subnet, at, report)?;
            FlowLogTarget::Subnet(SubnetIx { vnet: VnetIx(vnet), subnet })
        }
        Target::Nic(machine, nic) => FlowLogTarget::Nic(interfaces.find(machine.as_deref(), nic, at, report)?),
    })
}

impl Interfaces<'_> {
    fn find(&self, machine: Option<&str>, nic: &str, at: At, report: &mut Report) -> Option<NicIx> {
        let machine_of = |own: &NetworkInterface| &self.machines[own.virtual_machine.0].name;
        let mut found = self.all.iter().enumerate().filter(|(_, own)| {
            own.name.eq_ignore_ascii_case(nic)
                && machine.is_none_or(|machine| machine_of(own).eq_ignore_ascii_case(machine))
        });
        let first = found.next();
        let written = clip(nic);
        match (first, found.next()) {
            (Some((index, _)), None) => Some(NicIx(index)),
            (None, _) => {
                let of = machine.map_or_else(String::new, |machine| format!(" of `{}`", clip(machine)));
                report.error(at, format!("there is no network interface `{written}`{of}"));
                None
            }
            (Some((_, first)), Some((_, second))) => {
                let (first, second) = (machine_of(first), machine_of(second));
                report
                    .error(at, format!("{first} and {second} both have a network interface `{written}`"))
                    .help(format!("did you mean `virtualMachines/{first}/networkInterfaces/{written}`?"));
                None
            }
        }
    }
}

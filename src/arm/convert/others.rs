//! What has no list of its own in a file: types that say nothing about packets, and types that are not emulated.

use crate::arm::notes::{Fate, NoteKind};
use crate::arm::store::{Entry, parts};

use super::machine::{interface_name, interfaces};
use super::stand_in::stand_in;
use super::table::{Table, Use, deep, id_of, is, property, reference, scalar};
use super::text::Out;
use super::{Converter, entry as pair, virtual_hub};

static FLOW_LOG: Table = Table {
    what: "a flow log",
    rows: &[
        ("targetResourceId", Use::Taken),
        ("enabled", Use::Flag(true)),
        ("retentionPolicy", Use::Taken),
        ("format", Use::Taken),
        ("storageId", Use::Cosmetic),
        ("targetResourceGuid", Use::Cosmetic),
        ("flowAnalyticsConfiguration", Use::Cosmetic),
        ("enabledFilteringCriteria", Use::Gap),
        ("recordTypes", Use::Cosmetic),
    ],
};

/// Types that say nothing about a packet's way; one that ends with `/` stands for all that begin so.
const COSMETIC: [&str; 47] = [
    "Microsoft.Storage/",
    "Microsoft.Insights/",
    "Microsoft.OperationalInsights/",
    "Microsoft.OperationsManagement/",
    "Microsoft.Authorization/",
    "Microsoft.ManagedIdentity/",
    "Microsoft.KeyVault/",
    "Microsoft.RecoveryServices/",
    "Microsoft.Automation/",
    "Microsoft.DevTestLab/",
    "Microsoft.Maintenance/",
    "Microsoft.Security/",
    "Microsoft.Advisor/",
    "Microsoft.AlertsManagement/",
    "Microsoft.GuestConfiguration/",
    "Microsoft.Resources/",
    "Microsoft.SqlVirtualMachine/",
    "Microsoft.Logic/",
    "Microsoft.ContainerRegistry/",
    "Microsoft.Compute/availabilitySets",
    "Microsoft.Compute/disks",
    "Microsoft.Compute/images",
    "Microsoft.Compute/galleries",
    "Microsoft.Compute/galleries/images",
    "Microsoft.Compute/galleries/images/versions",
    "Microsoft.Compute/snapshots",
    "Microsoft.Compute/sshPublicKeys",
    "Microsoft.Compute/diskEncryptionSets",
    "Microsoft.Compute/proximityPlacementGroups",
    "Microsoft.Compute/hostGroups",
    "Microsoft.Compute/hostGroups/hosts",
    "Microsoft.Compute/restorePointCollections",
    "Microsoft.Compute/virtualMachines/extensions",
    "Microsoft.Compute/virtualMachines/runCommands",
    "Microsoft.Compute/virtualMachineScaleSets/extensions",
    "Microsoft.Network/networkWatchers",
    "Microsoft.Network/networkWatchers/connectionMonitors",
    "Microsoft.Network/networkIntentPolicies",
    "Microsoft.Network/ddosProtectionPlans",
    "Microsoft.Network/dnsZones",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Network/trafficManagerProfiles",
    "Microsoft.Network/trafficManagerProfiles/azureEndpoints",
    "Microsoft.Network/ipGroups",
    "Microsoft.Network/applicationGatewayWebApplicationFirewallPolicies",
];

/// What is a part of something else, or made where that is made.
const ELSEWHERE: [&str; 5] = [
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Compute/virtualMachineScaleSets",
    virtual_hub::WAN,
    virtual_hub::CONNECTIONS,
    virtual_hub::TABLES,
];

/// Takes account of a resource that has no list of its own.
pub(super) fn entry(converter: &mut Converter<'_>, one: &Entry) {
    let (kind, at) = (&one.resource.kind, &one.resource.at);
    if ELSEWHERE.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return;
    }
    if is_cosmetic(kind) {
        return converter.summary.count(kind, Fate::Cosmetic);
    }
    converter.summary.count(kind, Fate::NotEmulated);
    if !virtual_hub::is_in_hub(converter, one) && !stand_in(converter, one) {
        let message = format!("resources of type {kind} are not emulated: `{}` is left out", one.resource.name);
        converter.note(at, NoteKind::NotEmulated, message);
    }
}

fn is_cosmetic(kind: &str) -> bool {
    let begins = |known: &str| kind.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
    let inner = kind.to_ascii_lowercase().contains("/providers/");
    inner
        || COSMETIC
            .iter()
            .any(|known| if known.ends_with('/') { begins(known) } else { known.eq_ignore_ascii_case(kind) })
}

pub(super) fn flow_log(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let mut map = vec![pair("name", converter.own_name(one))];
    let target = property(body, "targetResourceId")?;
    let Some(named) = target.text().and_then(|id| self::target(converter, id)) else {
        let message = "what this flow log is of is not among the resources: it is left out".to_owned();
        converter.note(&target.at, NoteKind::NotEmulated, message);
        return None;
    };
    map.push(pair("targetResourceId", Out::scalar(named).at(&target.at)));
    map.extend(converter.object(body, &FLOW_LOG));
    if let Some(days) = deep(body, &["retentionPolicy", "days"]).and_then(scalar)
        && property(body, "retentionPolicy").is_some_and(|policy| is(policy, "enabled", "true"))
    {
        let policy = vec![pair("days", Out::scalar(days)), pair("enabled", Out::scalar("true"))];
        map.push(pair("retentionPolicy", Out::map(policy)));
    }
    if let Some(version) = deep(body, &["format", "version"]).and_then(scalar) {
        map.push(pair("format", Out::map(vec![pair("version", Out::scalar(version))])));
    }
    Some(Out::map(map).at(&one.resource.at))
}

/// The end of an id, with the names that the file has.
fn target(converter: &Converter<'_>, id: &str) -> Option<String> {
    let parts = parts(id)?;
    let types: Vec<&str> = parts.kind.split('/').skip(1).collect();
    if types[0].eq_ignore_ascii_case("networkInterfaces") {
        let nic = converter.store.find(id)?;
        let machine = holder(converter, nic).map_or_else(String::new, |machine| format!("virtualMachines/{machine}/"));
        return Some(format!("{machine}networkInterfaces/{}", interface_name(&nic.resource)));
    }
    let names = converter.reference(id)?;
    let pairs: Vec<_> = types.iter().zip(names.split('/')).map(|(kind, name)| format!("{kind}/{name}")).collect();
    Some(pairs.join("/"))
}

/// The machine of an interface, by what either of them says.
fn holder<'c>(converter: &'c Converter<'_>, nic: &Entry) -> Option<&'c str> {
    let own = reference(&nic.resource.body, "virtualMachine").and_then(|id| converter.names.of(id));
    own.or_else(|| {
        let mut machines = converter.store.of_kind("Microsoft.Compute/virtualMachines");
        let has = |machine: &&Entry| {
            let mut ids = interfaces(&machine.resource.body).iter().filter_map(id_of);
            ids.any(|id| id.eq_ignore_ascii_case(nic.resource.id.as_str()))
        };
        converter.names.of(machines.find(has)?.resource.id.as_str())
    })
}

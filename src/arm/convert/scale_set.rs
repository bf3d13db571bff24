//! Scale sets: as many machines as their capacity says.

use crate::arm::Node;
use crate::arm::notes::{Fate, NoteKind};
use crate::arm::store::Entry;

use super::machine::interface;
use super::names::Rule;
use super::table::{Table, Use, deep, items, property, reference, scalar, text};
use super::text::{Map, Out};
use super::{Converter, entry};

const KIND: &str = "Microsoft.Compute/virtualMachineScaleSets";
/// Without a capacity.
const INSTANCES: usize = 2;
/// More than Azure's own limit is a mistake of the document.
const MOST: usize = 1_000;

static SET: Table = Table {
    what: "a scale set",
    rows: &[
        ("virtualMachineProfile", Use::Taken),
        ("sku", Use::Taken),
        ("additionalCapabilities", Use::Cosmetic),
        ("automaticRepairsPolicy", Use::Cosmetic),
        ("constrainedMaximumCapacity", Use::Cosmetic),
        ("doNotRunExtensionsOnOverprovisionedVMs", Use::Cosmetic),
        ("highSpeedInterconnectPlacement", Use::Cosmetic),
        ("hostGroup", Use::Cosmetic),
        ("orchestrationMode", Use::Cosmetic),
        ("overprovision", Use::Cosmetic),
        ("platformFaultDomainCount", Use::Cosmetic),
        ("priorityMixPolicy", Use::Cosmetic),
        ("proximityPlacementGroup", Use::Cosmetic),
        ("resiliencyPolicy", Use::Cosmetic),
        ("scaleInPolicy", Use::Cosmetic),
        ("scheduledEventsPolicy", Use::Cosmetic),
        ("singlePlacementGroup", Use::Cosmetic),
        ("skuProfile", Use::Cosmetic),
        ("spotRestorePolicy", Use::Cosmetic),
        ("timeCreated", Use::Cosmetic),
        ("uniqueId", Use::Cosmetic),
        ("upgradePolicy", Use::Cosmetic),
        ("zonalPlatformFaultDomainAlignMode", Use::Cosmetic),
        ("zoneBalance", Use::Cosmetic),
    ],
};

/// Adds the machines of all scale sets.
pub(super) fn all(converter: &mut Converter<'_>) {
    let store = converter.store;
    for entry in store.of_kind(KIND).filter(|entry| !entry.resource.existing) {
        let is_used = instances(converter, entry);
        converter.summary.count(&entry.resource.kind, if is_used { Fate::Used } else { Fate::NotEmulated });
    }
}

fn instances(converter: &mut Converter<'_>, one: &Entry) -> bool {
    let (resource, store) = (&one.resource, converter.store);
    // A dump has the instances of a flexible set as machines of their own.
    let mut machines = store.of_kind("Microsoft.Compute/virtualMachines");
    let is_own = |set: &str| set.eq_ignore_ascii_case(resource.id.as_str());
    if machines.any(|machine| reference(&machine.resource.body, "virtualMachineScaleSet").is_some_and(is_own)) {
        return true;
    }
    let inner = ["virtualMachineProfile", "networkProfile", "networkInterfaceConfigurations"];
    let nics = deep(&resource.body, &inner).map_or(&[][..], Node::items);
    let capacity = deep(&resource.body, &["sku", "capacity"]);
    let capacity = capacity.and_then(scalar).and_then(|number| number.parse().ok()).unwrap_or(INSTANCES).min(MOST);
    let mut made: Vec<Map> = Vec::new();
    for nic in nics {
        let name = converter.child_name(nic);
        made.extend(interface(converter, name, nic, one.source));
    }
    if made.is_empty() {
        let message = format!("scale set `{}` has no interface here: it is left out", resource.name);
        converter.note(&resource.at, NoteKind::NotEmulated, message);
        return false;
    }
    converter.object(&resource.body, &SET);
    for instance in 0..capacity {
        let own = Rule::Label(58).fit(&resource.name);
        let name = converter.names.free("virtualMachines", &format!("{own}-{instance}"), None, Rule::Label(63));
        let nics = made.iter().zip(nics).map(|(map, nic)| {
            let mut map = map.clone();
            map.extend(public_address(nic, &name).map(|public| entry("publicIPAddress", public)));
            Out::map(map).at(&nic.at)
        });
        let map = vec![entry("name", Out::scalar(name.clone())), entry("networkInterfaces", Out::list(nics.collect()))];
        let machine = Out::map(map).at(&resource.at);
        let comment = format!("The instances of scale set {}.", resource.name);
        converter.push("virtualMachines", if instance == 0 { machine.comment(comment) } else { machine });
    }
    true
}

/// The public address of an instance.
fn public_address(nic: &Node, machine: &str) -> Option<Out> {
    let [configuration] = items(nic, "ipConfigurations") else { return None };
    let public = property(configuration, "publicIPAddressConfiguration")?;
    let name = Rule::Resource(80).fit(&format!("{machine}-{}", text(public, "name")?));
    Some(Out::map(vec![entry("name", Out::scalar(name))]).at(&public.at))
}

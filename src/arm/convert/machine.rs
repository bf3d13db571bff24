//! Virtual machines with their interfaces, and interfaces that no machine has.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::arm::notes::{Fate, NoteKind};
use crate::arm::store::{Entry, Source, Store, parts};
use crate::arm::{Node, Resource, ResourceId};

use super::names::Rule;
use super::table::{Table, Use, deep, flag, id_of, is, items, property, reference, scalar, text, words};
use super::text::{Map, Out};
use super::{Converter, entry, is_allocated};

const NIC: &str = "Microsoft.Network/networkInterfaces";
const VM: &str = "Microsoft.Compute/virtualMachines";
/// The tag with an interface's name in its machine.
const NAME_TAG: &str = "vnetName";

/// In any form: REST's, that of `az vm list -d`, Resource Graph's.
static MACHINE: Table = Table {
    what: "a virtual machine",
    rows: &[
        ("networkProfile", Use::Read(&NETWORK_PROFILE)),
        ("instanceView", Use::Taken),
        ("extended", Use::Taken),
        ("powerState", Use::Taken),
        ("additionalCapabilities", Use::Cosmetic),
        ("applicationProfile", Use::Cosmetic),
        ("availabilitySet", Use::Cosmetic),
        ("billingProfile", Use::Cosmetic),
        ("capacityReservation", Use::Cosmetic),
        ("diagnosticsProfile", Use::Cosmetic),
        ("evictionPolicy", Use::Cosmetic),
        ("extensionsTimeBudget", Use::Cosmetic),
        ("fqdns", Use::Cosmetic),
        ("hardwareProfile", Use::Cosmetic),
        ("host", Use::Cosmetic),
        ("hostGroup", Use::Cosmetic),
        ("licenseType", Use::Cosmetic),
        ("macAddresses", Use::Cosmetic),
        ("osProfile", Use::Cosmetic),
        ("placement", Use::Cosmetic),
        ("platformFaultDomain", Use::Cosmetic),
        ("priority", Use::Cosmetic),
        ("privateIps", Use::Cosmetic),
        ("proximityPlacementGroup", Use::Cosmetic),
        ("publicIps", Use::Cosmetic),
        ("scheduledEventsPolicy", Use::Cosmetic),
        ("scheduledEventsProfile", Use::Cosmetic),
        ("securityProfile", Use::Cosmetic),
        ("storageProfile", Use::Cosmetic),
        ("userData", Use::Cosmetic),
        ("virtualMachineScaleSet", Use::Cosmetic),
        ("vmId", Use::Cosmetic),
    ],
};

static NETWORK_PROFILE: Table = Table {
    what: "a machine's network profile",
    rows: &[
        ("networkInterfaces", Use::Read(&REFERENCE)),
        ("networkInterfaceConfigurations", Use::Taken),
        ("networkApiVersion", Use::Cosmetic),
    ],
};

static REFERENCE: Table = Table {
    what: "a virtual machine's network interface",
    rows: &[("primary", Use::Taken), ("deleteOption", Use::Cosmetic)],
};

static DNS: Table = Table {
    what: "DNS settings",
    rows: &[
        ("dnsServers", Use::Taken),
        ("appliedDnsServers", Use::Cosmetic),
        ("internalDnsNameLabel", Use::Cosmetic),
        ("internalDomainNameSuffix", Use::Cosmetic),
        ("internalFqdn", Use::Cosmetic),
    ],
};

pub(super) static INTERFACE: Table = Table {
    what: "a network interface",
    rows: &[
        ("ipConfigurations", Use::Taken),
        ("enableIPForwarding", Use::Flag(false)),
        ("disableTcpStateTracking", Use::Flag(false)),
        ("networkSecurityGroup", Use::Ref),
        ("dnsSettings", Use::Read(&DNS)),
        ("primary", Use::Taken),
        ("enableAcceleratedNetworking", Use::Cosmetic),
        ("enableFpga", Use::Cosmetic),
        ("virtualMachine", Use::Cosmetic),
        ("macAddress", Use::Cosmetic),
        ("hostedWorkloads", Use::Cosmetic),
        ("tapConfigurations", Use::Cosmetic),
        ("vnetEncryptionSupported", Use::Cosmetic),
        ("defaultOutboundConnectivityEnabled", Use::Cosmetic),
        ("privateEndpoint", Use::Cosmetic),
        ("privateLinkService", Use::Cosmetic),
        ("dscpConfiguration", Use::Cosmetic),
        ("workloadType", Use::Cosmetic),
        ("nicType", Use::Cosmetic),
        ("auxiliaryMode", Use::Cosmetic),
        ("auxiliarySku", Use::Cosmetic),
        ("allowPort25Out", Use::Cosmetic),
        ("migrationPhase", Use::Cosmetic),
        ("deleteOption", Use::Cosmetic),
    ],
};

pub(super) static CONFIGURATION: Table = Table {
    what: "an IP configuration",
    rows: &[
        ("subnet", Use::Taken),
        ("privateIPAddress", Use::Taken),
        ("privateIPAddressPrefixLength", Use::Cosmetic),
        ("privateIPAllocationMethod", Use::Cosmetic),
        ("privateIPAddressVersion", Use::Taken),
        ("publicIPAddress", Use::Taken),
        ("publicIPAddressConfiguration", Use::Taken),
        ("applicationSecurityGroups", Use::Groups),
        ("loadBalancerBackendAddressPools", Use::Refs),
        ("loadBalancerInboundNatRules", Use::Refs),
        ("loadBalancerInboundNatPools", Use::Gap),
        ("primary", Use::Taken),
        ("applicationGatewayBackendAddressPools", Use::Cosmetic),
        ("privateLinkConnectionProperties", Use::Cosmetic),
        ("virtualNetworkTaps", Use::Gap),
        ("gatewayLoadBalancer", Use::Gap),
    ],
};

/// The interfaces that a machine of the documents has.
pub(super) fn held(store: &Store) -> HashSet<ResourceId, RandomState> {
    let machines = store.of_kind(VM).filter(|entry| !entry.resource.existing);
    machines.flat_map(|entry| interfaces(&entry.resource.body)).filter_map(id_of).map(ResourceId::new).collect()
}

pub(super) fn interfaces(machine: &Node) -> &[Node] {
    deep(machine, &["networkProfile", "networkInterfaces"]).map_or(&[], Node::items)
}

pub(super) fn machine(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    let store = converter.store;
    let mut map = vec![entry("name", converter.own_name(one))];
    // Nothing of it stands in the file as it is.
    converter.object(body, &MACHINE);
    let references = interfaces(body);
    let mut nics = Vec::new();
    for reference in references {
        let found = id_of(reference).and_then(|id| store.find(id)).filter(|entry| !entry.resource.existing);
        let Some(nic) = found else {
            let message = format!("an interface of `{}` is not among the resources: it is left out", one.resource.name);
            converter.note(&reference.at, NoteKind::NotEmulated, message);
            continue;
        };
        let several = references.len() > 1;
        let own = own_interface(converter, nic);
        converter.summary.count(&nic.resource.kind, if own.is_some() { Fate::Used } else { Fate::NotEmulated });
        let Some(mut own) = own else { continue };
        if several && (is(reference, "primary", "true") || is(&nic.resource.body, "primary", "true")) {
            own.push(entry("primary", Out::scalar("true")));
        }
        nics.push(Out::map(own).at(&nic.resource.at));
    }
    for inline in deep(body, &["networkProfile", "networkInterfaceConfigurations"]).map_or(&[][..], Node::items) {
        let name = converter.child_name(inline);
        nics.extend(interface(converter, name, inline, one.source).map(|own| Out::map(own).at(&inline.at)));
    }
    if nics.is_empty() {
        let message = format!("virtual machine `{}` has no interface here: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    map.push(entry("networkInterfaces", Out::list(nics)));
    if is_stopped(body) {
        map.push(entry("powerState", Out::scalar("stopped")));
    }
    Some(Out::map(map).at(&one.resource.at))
}

/// As `az vm list -d`, REST's instance view and Resource Graph say it.
fn is_stopped(body: &Node) -> bool {
    let codes = deep(body, &["instanceView", "statuses"]).map_or(&[][..], Node::items);
    let codes = codes.iter().filter_map(|status| text(status, "code"));
    let graph = deep(body, &["extended", "instanceView", "powerState", "code"]).and_then(scalar);
    let mut states = codes.chain(graph).chain(text(body, "powerState"));
    states.any(|state| {
        ["PowerState/stopped", "PowerState/deallocated", "VM stopped", "VM deallocated"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&state))
    })
}

/// Interfaces without a machine: those of one machine that is not here get it by its name, another gets its own.
pub(super) fn lone_interfaces(converter: &mut Converter<'_>) {
    let store = converter.store;
    let mut machines: Vec<(Option<ResourceId>, Vec<&Entry>)> = Vec::new();
    for nic in store.of_kind(NIC).filter(|entry| !entry.resource.existing) {
        let resource = &nic.resource;
        if converter.held.contains(&resource.id) {
            continue;
        }
        let serves =
            ["privateEndpoint", "privateLinkService"].iter().any(|key| property(&resource.body, key).is_some());
        if serves {
            converter.summary.count(&resource.kind, Fate::Cosmetic);
            continue;
        }
        let machine = reference(&resource.body, "virtualMachine").map(ResourceId::new);
        match machines.iter_mut().find(|(known, _)| known.is_some() && *known == machine) {
            Some((_, nics)) => nics.push(nic),
            None => machines.push((machine, vec![nic])),
        }
    }
    for (machine, nics) in machines {
        lone_machine(converter, machine.as_ref(), &nics);
    }
}

fn lone_machine(converter: &mut Converter<'_>, machine: Option<&ResourceId>, nics: &[&Entry]) {
    let Some(first) = nics.first() else { return };
    let named =
        machine.and_then(|id| parts(id.as_str())).and_then(|parts| parts.names.last().map(|name| (*name).to_owned()));
    let own = named.unwrap_or_else(|| first.resource.name.clone());
    let mut made = Vec::new();
    for nic in nics {
        let own = own_interface(converter, nic);
        converter.summary.count(&nic.resource.kind, if own.is_some() { Fate::Used } else { Fate::NotEmulated });
        let Some(mut own) = own else { continue };
        if nics.len() > 1 && is(&nic.resource.body, "primary", "true") {
            own.push(entry("primary", Out::scalar("true")));
        }
        made.push(Out::map(own).at(&nic.resource.at));
    }
    if made.is_empty() {
        return;
    }
    let name = converter.names.free("virtualMachines", &own, None, Rule::Label(63));
    let message =
        format!("interface `{}` has no machine among the resources: it gets machine `{name}`", first.resource.name);
    converter.note(&first.resource.at, NoteKind::MadeUp, message);
    let map = vec![entry("name", Out::scalar(name)), entry("networkInterfaces", Out::list(made))];
    let comment = "Not among the resources: made up for its interface.";
    converter.push("virtualMachines", Out::map(map).at(&first.resource.at).comment(comment));
}

/// The name that an interface has in the file.
pub(super) fn interface_name(resource: &Resource) -> String {
    Rule::Resource(80).fit(&written_name(resource))
}

fn written_name(resource: &Resource) -> String {
    let tagged = resource.body.get("tags").and_then(|tags| text(tags, NAME_TAG));
    tagged.unwrap_or_else(|| resource.name.clone())
}

/// An interface that is a resource. An export tags it with its name in the machine.
fn own_interface(converter: &mut Converter<'_>, nic: &Entry) -> Option<Map> {
    let resource = &nic.resource;
    let own = written_name(resource);
    let name = interface_name(resource);
    if name != own {
        let message = format!("`{own}` is called `{name}` here: a file does not have the name as it is");
        converter.note(&resource.at, NoteKind::MadeUp, message);
    }
    let at = resource.body.get("name").map_or(&resource.at, |name| &name.at);
    interface(converter, Out::scalar(name).at(at), &resource.body, nic.source)
}

/// An interface in the short form where it has one address, and with its list where it has several.
pub(super) fn interface(converter: &mut Converter<'_>, name: Out, body: &Node, source: Source) -> Option<Map> {
    let mut map = vec![entry("name", name)];
    let written = items(body, "ipConfigurations");
    let several = written.len() > 1;
    let mut made = Vec::new();
    for one in written {
        let Some(configuration) = configuration(converter, one, source, several) else { continue };
        made.push((one, configuration));
    }
    if made.is_empty() {
        let message = "an interface that is in no subnet here is left out".to_owned();
        converter.note(&body.at, NoteKind::NotEmulated, message);
        return None;
    }
    if several {
        let list = made.into_iter().map(|(one, configuration)| Out::map(configuration).at(&one.at));
        map.push(entry("ipConfigurations", Out::list(list.collect())));
    } else {
        map.extend(made.into_iter().flat_map(|(_, configuration)| configuration));
    }
    map.extend(converter.object(body, &INTERFACE));
    if let Some(servers) = deep(body, &["dnsSettings", "dnsServers"]).filter(|servers| !servers.items().is_empty()) {
        let servers = Out::list(words(servers)).at(&servers.at);
        map.push(entry("dnsSettings", Out::map(vec![entry("dnsServers", servers)])));
    }
    Some(map)
}

fn configuration(converter: &mut Converter<'_>, node: &Node, source: Source, several: bool) -> Option<Map> {
    let subnet = property(node, "subnet")?;
    let mut map = Map::new();
    if several {
        map.push(entry("name", converter.child_name(node)));
    }
    map.push(entry("subnet", converter.named(subnet)?));
    let is_v6 = is(node, "privateIPAddressVersion", "IPv6");
    if is_v6 && several {
        map.push(entry("privateIPAddressVersion", Out::scalar("IPv6")));
    }
    if let Some(address) = property(node, "privateIPAddress").filter(|_| is_allocated(source, node))
        && let Some(written) = scalar(address)
    {
        map.push(entry("privateIPAddress", Out::scalar(written).at(&address.at)));
    }
    if let Some(public) = property(node, "publicIPAddress").filter(|public| id_of(public).is_some()) {
        map.extend(converter.named(public).map(|name| entry("publicIPAddress", name)));
    }
    map.extend(converter.object(node, &CONFIGURATION));
    if several && flag(node, "primary") == Some(true) {
        map.push(entry("primary", Out::scalar("true")));
    }
    Some(map)
}

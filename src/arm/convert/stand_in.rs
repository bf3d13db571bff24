//! Machines in the place of what is not emulated but stands in the way: firewalls, application gateways, Bastion hosts.
//!
//! Routes lead to their addresses, so something must be there. Azure Firewall forwards, and its rules are not evaluated;
//! the others are called and answer nothing. The name of the machine says what it stands for.

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::Entry;

use super::names::Rule;
use super::table::{items, property, scalar};
use super::text::{Map, Out};
use super::{Converter, entry, is_allocated};

/// A type that a machine stands for.
struct StandIn {
    kind: &'static str,
    /// In words, and behind the machine's name.
    what: &'static str,
    suffix: &'static str,
    /// The lists that have a subnet, in the order in which they are asked for it.
    lists: &'static [&'static str],
    forwards: bool,
}

const ALL: [StandIn; 5] = [
    StandIn {
        kind: "Microsoft.Network/azureFirewalls",
        what: "Azure Firewall",
        suffix: "azure-firewall",
        lists: &["ipConfigurations"],
        forwards: true,
    },
    StandIn {
        kind: "Microsoft.Network/applicationGateways",
        what: "application gateway",
        suffix: "application-gateway",
        lists: &["frontendIPConfigurations", "gatewayIPConfigurations"],
        forwards: false,
    },
    StandIn {
        kind: "Microsoft.Network/bastionHosts",
        what: "Bastion host",
        suffix: "bastion",
        lists: &["ipConfigurations"],
        forwards: false,
    },
    StandIn {
        kind: "Microsoft.Network/privateLinkServices",
        what: "private link service",
        suffix: "private-link-service",
        lists: &["ipConfigurations"],
        forwards: false,
    },
    StandIn {
        kind: "Microsoft.Network/dnsResolvers/inboundEndpoints",
        what: "DNS resolver",
        suffix: "dns-resolver",
        lists: &["ipConfigurations"],
        forwards: false,
    },
];

/// Adds the machine that stands for a resource; whether there is such a machine.
pub(super) fn stand_in(converter: &mut Converter<'_>, one: &Entry) -> bool {
    let (resource, body) = (&one.resource, &one.resource.body);
    let Some(known) = ALL.iter().find(|known| known.kind.eq_ignore_ascii_case(&resource.kind)) else { return false };
    let configurations: Vec<_> = known.lists.iter().flat_map(|list| items(body, list)).collect();
    let Some(configuration) = configurations.iter().copied().find(|one| property(one, "subnet").is_some()) else {
        return false;
    };
    let Some(subnet) = property(configuration, "subnet").and_then(|subnet| converter.named(subnet)) else {
        return false;
    };
    let own = resource.name.rsplit('/').next().unwrap_or(&resource.name);
    let own = format!("{}-{}", Rule::Label(40).fit(own), known.suffix);
    let name = converter.names.free("virtualMachines", &own, None, Rule::Label(63));
    let mut nic = vec![entry("subnet", subnet)];
    nic.extend(address(configuration, one).map(|address| entry("privateIPAddress", address)));
    nic.extend(public_address(converter, &configurations, &resource.name));
    if known.forwards {
        nic.push(entry("enableIPForwarding", Out::scalar("true")));
    }
    let does = if known.forwards { "forwards everything, its rules are not evaluated" } else { "answers nothing" };
    let message =
        format!("{} `{}` is not emulated: machine `{name}` stands for it and {does}", known.what, resource.name);
    converter.note(&resource.at, NoteKind::NotEmulated, message);
    let map: Map = vec![
        entry("name", Out::scalar(name)),
        entry("networkInterfaces", Out::list(vec![Out::map(nic).at(&configuration.at)])),
    ];
    let comment = format!("Stands for {} {}: it {does}.", known.what, resource.name);
    converter.push("virtualMachines", Out::map(map).at(&resource.at).comment(comment));
    true
}

/// The machine has the first public address: an application gateway's stands apart from its subnet.
fn public_address(converter: &mut Converter<'_>, configurations: &[&Node], name: &str) -> Option<(String, Out)> {
    let mut all = configurations.iter().filter_map(|one| property(one, "publicIPAddress"));
    let first = all.next().and_then(|public| converter.named(public))?;
    if let Some(second) = all.next() {
        let message =
            format!("the machine that stands for `{name}` has one public address, its first; this one is left out");
        converter.note(&second.at, NoteKind::NotEmulated, message);
    }
    Some(entry("publicIPAddress", first))
}

fn address(configuration: &Node, one: &Entry) -> Option<Out> {
    let address = property(configuration, "privateIPAddress").filter(|_| is_allocated(one.source, configuration))?;
    Some(Out::scalar(scalar(address)?).at(&address.at))
}

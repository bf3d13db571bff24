//! Machines and their interfaces as they were written, in the short form or with `ipConfigurations`.

use std::net::IpAddr;

use crate::config::yaml::decode::{Fields, boolean, record, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{address, dns_label, reference, resource_name, subscription_of};
use crate::model::{PowerState, Program};

use super::attach::{Attach, attach};
use super::dns::dns_settings;
use super::filter::groups;
use super::guest::{Guest, guest};
use super::load_balancer::{PartReference, nat_rules, pools};
use super::program::program;
use super::public_address::{InstanceAddress, instance_address};
use super::{Name, Reference, SubnetReference, flag};

pub(in crate::config) struct VirtualMachine {
    pub at: At,
    pub name: Name,
    pub network_interfaces: Vec<NetworkInterface>,
    pub run: Program,
    pub power_state: PowerState,
    pub guest: Guest,
}

pub(in crate::config) struct NetworkInterface {
    pub at: At,
    pub name: Name,
    /// True where the file has ARM's list: then each entry is one address, and none is added.
    pub full_form: bool,
    pub ip_configurations: Vec<IpConfiguration>,
    pub primary: Option<Spanned<bool>>,
    pub enable_ip_forwarding: bool,
    pub disable_tcp_state_tracking: bool,
    pub network_security_group: Reference,
    /// The platform's own address for `AzureProvidedDNS`.
    pub dns_servers: Vec<IpAddr>,
    pub attach: Option<Attach>,
}

pub(in crate::config) struct IpConfiguration {
    pub at: At,
    pub name: Name,
    pub subnet: SubnetReference,
    /// Where the reference is an ARM id.
    pub subscription: Option<String>,
    pub address: Option<Spanned<IpAddr>>,
    pub version: Option<Spanned<IpVersion>>,
    pub allocation: Option<Spanned<Allocation>>,
    pub public: Option<Spanned<InstanceAddress>>,
    pub application_security_groups: Vec<Spanned<[String; 1]>>,
    pub backend_pools: Vec<PartReference>,
    pub nat_rules: Vec<PartReference>,
    pub primary: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum IpVersion {
    V4,
    V6,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Allocation {
    Static,
    Dynamic,
}

pub(in crate::config) fn virtual_machine(node: &Node, report: &mut Report) -> Option<VirtualMachine> {
    record(node, report, "a virtual machine", |f| VirtualMachine {
        at: f.at,
        name: f.required("name", dns_label(63)),
        network_interfaces: f.list("networkInterfaces", network_interface),
        run: program(f),
        power_state: f.optional("powerState", power_state).map_or(PowerState::Running, |state| state.value),
        guest: f.optional("guest", guest).map_or_else(Guest::default, |guest| guest.value),
    })
}

/// The short words, or the codes of ARM's instance view.
fn power_state(node: &Node, report: &mut Report) -> Option<PowerState> {
    word(&[
        ("running", PowerState::Running),
        ("stopped", PowerState::Stopped),
        ("PowerState/running", PowerState::Running),
        ("PowerState/stopped", PowerState::Stopped),
        ("PowerState/deallocated", PowerState::Stopped),
    ])(node, report)
}

fn network_interface(node: &Node, report: &mut Report) -> Option<NetworkInterface> {
    record(node, report, "a network interface", |f| {
        let full_form = f.has("ipConfigurations");
        let mut ip_configurations = f.list("ipConfigurations", ip_configuration);
        if full_form {
            refuse_short_form(f);
        } else {
            ip_configurations.push(short_ip_configuration(f));
        }
        NetworkInterface {
            at: f.at,
            name: f.optional("name", resource_name(80)),
            full_form,
            ip_configurations,
            primary: f.optional("primary", boolean),
            enable_ip_forwarding: flag(f, "enableIPForwarding", false),
            disable_tcp_state_tracking: flag(f, "disableTcpStateTracking", false),
            network_security_group: f.optional("networkSecurityGroup", reference(["networkSecurityGroups"])),
            dns_servers: f.optional("dnsSettings", dns_settings).map_or_else(Vec::new, |settings| settings.value),
            attach: f.optional("attach", attach).map(|attach| attach.value),
        }
    })
}

/// One configuration, written directly on the interface.
fn short_ip_configuration(f: &mut Fields<'_>) -> IpConfiguration {
    IpConfiguration {
        at: f.at,
        name: None,
        subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
        subscription: subscription_of(f.node("subnet")),
        address: f.optional("privateIPAddress", address),
        version: None,
        allocation: None,
        public: f.optional("publicIPAddress", instance_address),
        application_security_groups: groups(f, "applicationSecurityGroups").map_or_else(Vec::new, |list| list.value),
        backend_pools: pools(f),
        nat_rules: nat_rules(f),
        primary: None,
    }
}

fn refuse_short_form(f: &mut Fields<'_>) {
    for key in [
        "subnet",
        "privateIPAddress",
        "publicIPAddress",
        "applicationSecurityGroups",
        "loadBalancerBackendAddressPools",
        "loadBalancerInboundNatRules",
    ] {
        if f.optional(key, |_, _| Some(())).is_some() {
            let at = f.key(key);
            f.report
                .error(at, format!("`{key}` stands beside `ipConfigurations`"))
                .help("move it into an entry of `ipConfigurations`, or leave that list out");
        }
    }
}

fn ip_configuration(node: &Node, report: &mut Report) -> Option<IpConfiguration> {
    record(node, report, "an IP configuration", |f| IpConfiguration {
        at: f.at,
        name: f.optional("name", resource_name(80)),
        subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
        subscription: subscription_of(f.node("subnet")),
        address: f.optional("privateIPAddress", address),
        version: f.optional("privateIPAddressVersion", ip_version),
        allocation: f.optional("privateIPAllocationMethod", allocation),
        public: f.optional("publicIPAddress", instance_address),
        application_security_groups: groups(f, "applicationSecurityGroups").map_or_else(Vec::new, |list| list.value),
        backend_pools: pools(f),
        nat_rules: nat_rules(f),
        primary: f.optional("primary", boolean),
    })
}

pub(in crate::config) fn ip_version(node: &Node, report: &mut Report) -> Option<IpVersion> {
    word(&[("IPv4", IpVersion::V4), ("IPv6", IpVersion::V6)])(node, report)
}

pub(in crate::config) fn allocation(node: &Node, report: &mut Report) -> Option<Allocation> {
    word(&[("Static", Allocation::Static), ("Dynamic", Allocation::Dynamic)])(node, report)
}

//! Virtual machines and scale sets.

use super::super::shape::As::{Each, Id, Ids, Listed, One, Same};
use super::super::shape::Rule;
use super::{Family, Named};

const MACHINE: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("zone", "zones", Listed),
    ("zones", "zones", Same),
    ("size", "properties.hardwareProfile.vmSize", Same),
    ("vm_size", "properties.hardwareProfile.vmSize", Same),
    ("computer_name", "properties.osProfile.computerName", Same),
    ("os_profile", "properties.osProfile", One(&[("computer_name", "computerName", Same)])),
    ("availability_set_id", "properties.availabilitySet", Id),
    ("virtual_machine_scale_set_id", "properties.virtualMachineScaleSet", Id),
    ("network_interface_ids", "properties.networkProfile.networkInterfaces", Ids),
];

const IP_CONFIGURATION: &[Rule] = &[
    ("name", "name", Same),
    ("primary", "properties.primary", Same),
    ("subnet_id", "properties.subnet", Id),
    ("version", "properties.privateIPAddressVersion", Same),
    ("load_balancer_backend_address_pool_ids", "properties.loadBalancerBackendAddressPools", Ids),
    ("load_balancer_inbound_nat_rules_ids", "properties.loadBalancerInboundNatPools", Ids),
    ("application_security_group_ids", "properties.applicationSecurityGroups", Ids),
    (
        "public_ip_address",
        "properties.publicIPAddressConfiguration",
        One(&[
            ("name", "name", Same),
            ("idle_timeout_in_minutes", "properties.idleTimeoutInMinutes", Same),
            ("public_ip_prefix_id", "properties.publicIPPrefix", Id),
        ]),
    ),
];

const INTERFACE: &[Rule] = &[
    ("name", "name", Same),
    ("primary", "properties.primary", Same),
    ("ip_forwarding", "properties.enableIPForwarding", Same),
    ("enable_ip_forwarding", "properties.enableIPForwarding", Same),
    ("ip_forwarding_enabled", "properties.enableIPForwarding", Same),
    ("network_security_group_id", "properties.networkSecurityGroup", Id),
    ("dns_servers", "properties.dnsSettings.dnsServers", Same),
    ("ip_configuration", "properties.ipConfigurations", Each(IP_CONFIGURATION)),
];

const INTERFACES: &str = "properties.virtualMachineProfile.networkProfile.networkInterfaceConfigurations";

const SCALE_SET: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("zones", "zones", Same),
    ("sku", "sku.name", Same),
    ("sku_name", "sku.name", Same),
    ("instances", "sku.capacity", Same),
    ("computer_name_prefix", "properties.virtualMachineProfile.osProfile.computerNamePrefix", Same),
    ("network_interface", INTERFACES, Each(INTERFACE)),
];

/// The older type has its size in a block.
const OLD_SCALE_SET: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("zones", "zones", Same),
    ("sku", "sku", One(&[("name", "name", Same), ("tier", "tier", Same), ("capacity", "capacity", Same)])),
    (
        "os_profile",
        "properties.virtualMachineProfile.osProfile",
        One(&[("computer_name_prefix", "computerNamePrefix", Same)]),
    ),
    ("network_profile", INTERFACES, Each(INTERFACE)),
];

const fn machine(terraform: &'static str) -> Family {
    Family { terraform, arm: "Microsoft.Compute/virtualMachines", named: Named::Own, rules: MACHINE, fixed: &[] }
}

const fn scale_set(terraform: &'static str, rules: &'static [Rule]) -> Family {
    Family { terraform, arm: "Microsoft.Compute/virtualMachineScaleSets", named: Named::Own, rules, fixed: &[] }
}

pub(super) const FAMILIES: &[Family] = &[
    machine("azurerm_linux_virtual_machine"),
    machine("azurerm_windows_virtual_machine"),
    machine("azurerm_virtual_machine"),
    scale_set("azurerm_linux_virtual_machine_scale_set", SCALE_SET),
    scale_set("azurerm_windows_virtual_machine_scale_set", SCALE_SET),
    scale_set("azurerm_orchestrated_virtual_machine_scale_set", SCALE_SET),
    scale_set("azurerm_virtual_machine_scale_set", OLD_SCALE_SET),
];

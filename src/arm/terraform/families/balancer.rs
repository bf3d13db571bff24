//! Load balancers, whose rules, probes and pools stand apart in Terraform.

use crate::arm::Node;

use super::super::instances::Instance;
use super::super::shape::As::{Each, Id, Same};
use super::super::shape::{Rule, append, keyed, set, text};
use super::{Family, Named};

const PARENT: Named = Named::Of("loadbalancer_id");

const FRONTEND: &[Rule] = &[
    ("name", "name", Same),
    ("zones", "zones", Same),
    ("subnet_id", "properties.subnet", Id),
    ("private_ip_address", "properties.privateIPAddress", Same),
    ("private_ip_address_allocation", "properties.privateIPAllocationMethod", Same),
    ("private_ip_address_version", "properties.privateIPAddressVersion", Same),
    ("public_ip_address_id", "properties.publicIPAddress", Id),
    ("public_ip_prefix_id", "properties.publicIPPrefix", Id),
    ("gateway_load_balancer_frontend_ip_configuration_id", "properties.gatewayLoadBalancer", Id),
];

/// A rule, an inbound NAT rule, an outbound rule: what they have in common, and what is one's own.
const RULE: &[Rule] = &[
    ("protocol", "properties.protocol", Same),
    ("frontend_port", "properties.frontendPort", Same),
    ("frontend_port_start", "properties.frontendPortRangeStart", Same),
    ("frontend_port_end", "properties.frontendPortRangeEnd", Same),
    ("backend_port", "properties.backendPort", Same),
    ("backend_address_pool_id", "properties.backendAddressPool", Id),
    ("probe_id", "properties.probe", Id),
    ("enable_floating_ip", "properties.enableFloatingIP", Same),
    ("floating_ip_enabled", "properties.enableFloatingIP", Same),
    ("enable_tcp_reset", "properties.enableTcpReset", Same),
    ("tcp_reset_enabled", "properties.enableTcpReset", Same),
    ("idle_timeout_in_minutes", "properties.idleTimeoutInMinutes", Same),
    ("load_distribution", "properties.loadDistribution", Same),
    ("disable_outbound_snat", "properties.disableOutboundSnat", Same),
    ("allocated_outbound_ports", "properties.allocatedOutboundPorts", Same),
];

const PROBE: &[Rule] = &[
    ("protocol", "properties.protocol", Same),
    ("port", "properties.port", Same),
    ("request_path", "properties.requestPath", Same),
    ("interval_in_seconds", "properties.intervalInSeconds", Same),
    ("number_of_probes", "properties.numberOfProbes", Same),
    ("probe_threshold", "properties.probeThreshold", Same),
];

const POOL: &[Rule] = &[("virtual_network_id", "properties.virtualNetwork", Id)];

const NAT_POOL: &[Rule] = &[
    ("protocol", "properties.protocol", Same),
    ("frontend_port_start", "properties.frontendPortRangeStart", Same),
    ("frontend_port_end", "properties.frontendPortRangeEnd", Same),
    ("backend_port", "properties.backendPort", Same),
];

const fn part(terraform: &'static str, arm: &'static str, rules: &'static [Rule]) -> Family {
    Family { terraform, arm, named: PARENT, rules, fixed: &[] }
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        terraform: "azurerm_lb",
        arm: "Microsoft.Network/loadBalancers",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("sku", "sku.name", Same),
            ("sku_tier", "sku.tier", Same),
            ("frontend_ip_configuration", "properties.frontendIPConfigurations", Each(FRONTEND)),
        ],
        fixed: &[],
    },
    part("azurerm_lb_backend_address_pool", "Microsoft.Network/loadBalancers/backendAddressPools", POOL),
    part("azurerm_lb_probe", "Microsoft.Network/loadBalancers/probes", PROBE),
    part("azurerm_lb_rule", "Microsoft.Network/loadBalancers/loadBalancingRules", RULE),
    part("azurerm_lb_nat_rule", "Microsoft.Network/loadBalancers/inboundNatRules", RULE),
    part("azurerm_lb_nat_pool", "Microsoft.Network/loadBalancers/inboundNatPools", NAT_POOL),
    part("azurerm_lb_outbound_rule", "Microsoft.Network/loadBalancers/outboundRules", RULE),
];

/// Terraform names frontends; ARM has their IDs, which are the balancer's and the name. One pool is no list in ARM.
pub(super) fn frontends_and_pools(instance: &Instance, body: &mut Node) {
    match instance.values.get("backend_address_pool_ids").map(Node::items) {
        Some([pool]) => set(body, "properties.backendAddressPool", keyed(pool, "id")),
        Some(pools) => pools.iter().for_each(|pool| append(body, "properties.backendAddressPools", keyed(pool, "id"))),
        None => {}
    }
    let Some(balancer) = instance.text("loadbalancer_id") else { return };
    let id = |name: &Node| {
        let id = format!("{balancer}/frontendIPConfigurations/{}", name.text().unwrap_or_default());
        keyed(&text(&name.at, id), "id")
    };
    if let Some(name) = instance.values.get("frontend_ip_configuration_name").filter(|name| name.text().is_some()) {
        set(body, "properties.frontendIPConfiguration", id(name));
    }
    for block in instance.values.get("frontend_ip_configuration").map(Node::items).unwrap_or_default() {
        if let Some(name) = block.get("name") {
            append(body, "properties.frontendIPConfigurations", id(name));
        }
    }
}

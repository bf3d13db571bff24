//! Terraform's plans and states: what becomes of each family of resources in ARM.

use serde_json::{Value, json};
use vnet::arm::terraform::{self, Plan};
use vnet::arm::{Node, Place, Resource};

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg";

pub(crate) fn network(path: &str) -> String {
    format!("{GROUP}/providers/Microsoft.Network/{path}")
}

pub(crate) fn read(document: &Value) -> Plan {
    let at = Place { file: "tf.json".into(), line: 1, column: 1 };
    terraform::read(&Node::from_json(&at, document)).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
}

/// One managed resource of a state.
pub(crate) fn managed(kind: &str, name: &str, values: Value) -> Value {
    let mut values = values;
    values["resource_group_name"] = json!("rg");
    if values.get("name").is_none() {
        values["name"] = json!(name);
    }
    json!({"address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name, "values": values})
}

fn state(resources: impl IntoIterator<Item = Value>) -> Plan {
    let resources: Vec<_> = resources.into_iter().collect();
    read(
        &json!({"format_version": "1.0", "terraform_version": "1.11.4", "values": {"root_module": {"resources": resources}}}),
    )
}

fn body<'a>(resources: &'a [Resource], name: &str) -> &'a Node {
    let found = resources.iter().find(|resource| resource.name == name);
    &found.unwrap_or_else(|| panic!("no {name} among {:?}", names(resources))).body
}

pub(crate) fn properties(resources: &[Resource], name: &str) -> Value {
    body(resources, name).to_json()["properties"].clone()
}

pub(crate) fn names(resources: &[Resource]) -> Vec<&str> {
    resources.iter().map(|resource| resource.name.as_str()).collect()
}

pub(crate) fn id(path: &str) -> Value {
    json!({"id": network(path)})
}

#[test]
fn networks_with_what_stands_apart() {
    let plan = state(vec![
        managed(
            "azurerm_virtual_network",
            "hub",
            json!({"location": "eastus", "address_space": ["10.0.0.0/16"], "dns_servers": [], "tags": null,
                "subnet": [{"name": "app", "address_prefixes": ["10.0.1.0/24"], "security_group": ""},
                    {"name": "inline", "address_prefixes": ["10.0.9.0/24"], "security_group": network("networkSecurityGroups/g")}]}),
        ),
        managed(
            "azurerm_subnet",
            "app",
            json!({"virtual_network_name": "hub", "address_prefixes": ["10.0.1.0/24"], "service_endpoints": ["Microsoft.Storage"],
                "private_endpoint_network_policies": "Disabled", "default_outbound_access_enabled": false,
                "delegation": [{"name": "d", "service_delegation": [{"name": "Microsoft.Web/serverFarms", "actions": []}]}]}),
        ),
        managed(
            "azurerm_route_table",
            "t",
            json!({"bgp_route_propagation_enabled": false, "route": [
            {"name": "inline", "address_prefix": "10.9.0.0/16", "next_hop_type": "None", "next_hop_in_ip_address": ""}]}),
        ),
        managed(
            "azurerm_route",
            "r",
            json!({"route_table_name": "t", "address_prefix": "0.0.0.0/0",
            "next_hop_type": "VirtualAppliance", "next_hop_in_ip_address": "10.0.0.4"}),
        ),
        managed("azurerm_network_security_group", "g", json!({"security_rule": []})),
        managed(
            "azurerm_network_security_rule",
            "ssh",
            json!({"network_security_group_name": "g", "priority": 100, "direction": "Inbound",
            "access": "Allow", "protocol": "Tcp", "source_port_range": "*", "destination_port_ranges": ["22", "443"],
            "source_application_security_group_ids": [network("applicationSecurityGroups/a")], "destination_address_prefix": "*"}),
        ),
        managed(
            "azurerm_subnet_route_table_association",
            "x",
            json!({"subnet_id": network("virtualNetworks/hub/subnets/app"),
            "route_table_id": network("routeTables/t")}),
        ),
        managed(
            "azurerm_subnet_nat_gateway_association",
            "y",
            json!({"subnet_id": network("virtualNetworks/hub/subnets/inline"),
            "nat_gateway_id": network("natGateways/n")}),
        ),
        managed(
            "azurerm_virtual_network_peering",
            "p",
            json!({"virtual_network_name": "hub",
            "remote_virtual_network_id": network("virtualNetworks/spoke"), "allow_forwarded_traffic": true, "use_remote_gateways": false}),
        ),
    ]);
    assert_eq!(names(&plan.after), ["hub", "t", "g"]);
    let hub = properties(&plan.after, "hub");
    assert_eq!(hub["addressSpace"], json!({"addressPrefixes": ["10.0.0.0/16"]}));
    assert!(hub.get("dhcpOptions").is_none());
    assert_eq!(
        hub["subnets"][0],
        json!({"name": "app", "properties": {"addressPrefixes": ["10.0.1.0/24"], "serviceEndpoints": [{"service": "Microsoft.Storage"}],
            "privateEndpointNetworkPolicies": "Disabled", "defaultOutboundAccess": false, "routeTable": id("routeTables/t"),
            "delegations": [{"name": "d", "properties": {"serviceName": "Microsoft.Web/serverFarms"}}]}})
    );
    assert_eq!(hub["subnets"][1]["properties"]["natGateway"], id("natGateways/n"));
    assert_eq!(hub["subnets"][1]["properties"]["networkSecurityGroup"], id("networkSecurityGroups/g"));
    assert_eq!(hub["subnets"].as_array().unwrap().len(), 2);
    assert_eq!(hub["virtualNetworkPeerings"][0]["properties"]["remoteVirtualNetwork"], id("virtualNetworks/spoke"));
    let table = properties(&plan.after, "t");
    assert_eq!(table["disableBgpRoutePropagation"], true);
    assert_eq!(
        table["routes"][0],
        json!({"name": "inline", "properties": {"addressPrefix": "10.9.0.0/16", "nextHopType": "None"}})
    );
    assert_eq!(table["routes"][1]["properties"]["nextHopIpAddress"], "10.0.0.4");
    let rule = &properties(&plan.after, "g")["securityRules"][0];
    assert_eq!(rule["properties"]["destinationPortRanges"], json!(["22", "443"]));
    assert_eq!(rule["properties"]["sourceApplicationSecurityGroups"], json!([id("applicationSecurityGroups/a")]));
}

#[test]
fn interfaces_addresses_and_machines() {
    let nic = network("networkInterfaces/nic");
    let plan = machines_on(&nic);
    let interface = properties(&plan.after, "nic");
    assert_eq!(interface["enableIPForwarding"], true);
    assert_eq!(interface["networkSecurityGroup"], id("networkSecurityGroups/g"));
    let [first, second] = [0, 1].map(|at| interface["ipConfigurations"][at]["properties"].clone());
    assert_eq!(first["privateIPAddress"], "10.0.0.5");
    assert_eq!(first["publicIPAddress"], id("publicIPAddresses/ip"));
    assert_eq!(first["loadBalancerBackendAddressPools"], json!([id("loadBalancers/lb/backendAddressPools/p")]));
    assert!(second.get("loadBalancerBackendAddressPools").is_none());
    assert_eq!(second["applicationSecurityGroups"], json!([id("applicationSecurityGroups/asg")]));
    let address = body(&plan.after, "ip").to_json();
    assert_eq!(
        (&address["sku"]["name"], &address["properties"]["ipAddress"], &address["zones"]),
        (&json!("Standard"), &json!("20.0.0.1"), &json!(["1"]))
    );
    assert_eq!(properties(&plan.after, "n")["publicIpAddresses"], json!([id("publicIPAddresses/ip")]));
    let machine = body(&plan.after, "vm").to_json();
    assert_eq!(machine["zones"], json!(["2"]));
    assert_eq!(machine["properties"]["networkProfile"]["networkInterfaces"], json!([{"id": nic}]));
    let set = body(&plan.after, "set").to_json();
    assert_eq!(set["sku"], json!({"name": "Standard_B1s", "capacity": 3}));
    let of_set = &set["properties"]["virtualMachineProfile"]["networkProfile"]["networkInterfaceConfigurations"][0];
    assert_eq!(of_set["properties"]["ipConfigurations"][0]["properties"]["subnet"], id("virtualNetworks/v/subnets/s"));
}

/// A machine with this interface, and what joins it: a group, a pool, an address; and a scale set.
fn machines_on(nic: &str) -> Plan {
    state(vec![
        managed(
            "azurerm_network_interface",
            "nic",
            json!({"ip_forwarding_enabled": true, "accelerated_networking_enabled": false,
            "ip_configuration": [{"name": "a", "subnet_id": network("virtualNetworks/v/subnets/s"), "private_ip_address": "10.0.0.5",
                "private_ip_address_allocation": "Static", "private_ip_address_version": "IPv4", "primary": true,
                "public_ip_address_id": network("publicIPAddresses/ip")}, {"name": "b", "subnet_id": network("virtualNetworks/v/subnets/s"),
                "private_ip_address_allocation": "Dynamic"}]}),
        ),
        managed(
            "azurerm_network_interface_security_group_association",
            "x",
            json!({"network_interface_id": nic,
            "network_security_group_id": network("networkSecurityGroups/g")}),
        ),
        managed(
            "azurerm_network_interface_application_security_group_association",
            "x",
            json!({"network_interface_id": nic,
            "application_security_group_id": network("applicationSecurityGroups/asg")}),
        ),
        managed(
            "azurerm_network_interface_backend_address_pool_association",
            "x",
            json!({"network_interface_id": nic,
            "ip_configuration_name": "a", "backend_address_pool_id": network("loadBalancers/lb/backendAddressPools/p")}),
        ),
        managed(
            "azurerm_public_ip",
            "ip",
            json!({"sku": "Standard", "allocation_method": "Static", "ip_version": "IPv4",
            "ip_address": "20.0.0.1", "zones": ["1"], "domain_name_label": "web"}),
        ),
        managed("azurerm_nat_gateway", "n", json!({"sku_name": "Standard", "idle_timeout_in_minutes": 10})),
        managed(
            "azurerm_nat_gateway_public_ip_association",
            "x",
            json!({"nat_gateway_id": network("natGateways/n"),
            "public_ip_address_id": network("publicIPAddresses/ip")}),
        ),
        managed(
            "azurerm_linux_virtual_machine",
            "vm",
            json!({"size": "Standard_B1s", "zone": "2", "network_interface_ids": [nic],
            "admin_username": "someone", "os_disk": [{"caching": "None"}]}),
        ),
        managed(
            "azurerm_linux_virtual_machine_scale_set",
            "set",
            json!({"sku": "Standard_B1s", "instances": 3,
            "network_interface": [{"name": "n", "primary": true, "ip_forwarding_enabled": true, "ip_configuration": [{"name": "i", "primary": true,
                "subnet_id": network("virtualNetworks/v/subnets/s"),
                "load_balancer_backend_address_pool_ids": [network("loadBalancers/lb/backendAddressPools/p")]}]}]}),
        ),
    ])
}

#[test]
fn a_load_balancer_is_put_together() {
    let balancer = network("loadBalancers/lb");
    let pool = network("loadBalancers/lb/backendAddressPools/p");
    let plan = state(vec![
        managed(
            "azurerm_lb",
            "lb",
            json!({"sku": "Standard", "frontend_ip_configuration": [{"name": "front",
            "subnet_id": network("virtualNetworks/v/subnets/s"), "private_ip_address": "10.0.0.9", "private_ip_address_allocation": "Static"}]}),
        ),
        managed("azurerm_lb_backend_address_pool", "p", json!({"loadbalancer_id": balancer})),
        managed(
            "azurerm_lb_backend_address_pool_address",
            "one",
            json!({"backend_address_pool_id": pool, "ip_address": "10.0.0.7",
            "virtual_network_id": network("virtualNetworks/v")}),
        ),
        managed(
            "azurerm_lb_probe",
            "alive",
            json!({"loadbalancer_id": balancer, "protocol": "Http", "port": 80, "request_path": "/", "interval_in_seconds": 5}),
        ),
        managed(
            "azurerm_lb_rule",
            "web",
            json!({"loadbalancer_id": balancer, "protocol": "Tcp", "frontend_port": 80, "backend_port": 8080,
            "frontend_ip_configuration_name": "front", "backend_address_pool_ids": [pool], "probe_id": network("loadBalancers/lb/probes/alive"),
            "floating_ip_enabled": true, "load_distribution": "SourceIP"}),
        ),
        managed(
            "azurerm_lb_outbound_rule",
            "out",
            json!({"loadbalancer_id": balancer, "protocol": "All", "backend_address_pool_id": pool,
            "frontend_ip_configuration": [{"name": "front"}]}),
        ),
        managed(
            "azurerm_lb_nat_rule",
            "ssh",
            json!({"loadbalancer_id": balancer, "protocol": "Tcp", "frontend_port": 2222, "backend_port": 22,
            "frontend_ip_configuration_name": "front"}),
        ),
    ]);
    assert_eq!(names(&plan.after), ["lb"]);
    let it = properties(&plan.after, "lb");
    let front = id("loadBalancers/lb/frontendIPConfigurations/front");
    assert_eq!(it["frontendIPConfigurations"][0]["properties"]["privateIPAddress"], "10.0.0.9");
    assert_eq!(
        it["backendAddressPools"][0]["properties"]["loadBalancerBackendAddresses"][0]["properties"]["ipAddress"],
        "10.0.0.7"
    );
    assert_eq!(it["probes"][0]["properties"]["requestPath"], "/");
    let rule = &it["loadBalancingRules"][0]["properties"];
    assert_eq!((&rule["frontendIPConfiguration"], &rule["enableFloatingIP"]), (&front, &json!(true)));
    assert_eq!(
        (&rule["backendAddressPool"], &rule["probe"]),
        (&json!({"id": pool}), &id("loadBalancers/lb/probes/alive"))
    );
    assert_eq!(it["outboundRules"][0]["properties"]["frontendIPConfigurations"], json!([front]));
    assert_eq!(it["inboundNatRules"][0]["properties"]["backendPort"], 22);
}

/// VPN-42
#[test]
fn point_to_site_of_a_gateway() {
    let clients = json!([{"address_space": ["172.16.0.0/24"], "vpn_client_protocols": ["OpenVPN"], "vpn_auth_types": ["Certificate"]}]);
    let id = network("virtualNetworkGateways/gw");
    let gateway = json!({"id": id, "type": "Vpn", "vpn_client_configuration": clients});
    let plan = state(vec![managed("azurerm_virtual_network_gateway", "gw", gateway)]);
    assert_eq!(
        properties(&plan.after, "gw")["vpnClientConfiguration"],
        json!({"vpnClientAddressPool": {"addressPrefixes": ["172.16.0.0/24"]}, "vpnClientProtocols": ["OpenVPN"],
               "vpnAuthenticationTypes": ["Certificate"]})
    );
}

#[test]
fn gateways_sites_circuits_and_route_servers() {
    let gateway = network("virtualNetworkGateways/gw");
    let plan = state(vec![
        managed(
            "azurerm_virtual_network_gateway",
            "gw",
            json!({"id": gateway, "type": "Vpn", "vpn_type": "RouteBased", "sku": "VpnGw1", "active_active": false,
            "enable_bgp": true, "ip_configuration": [{"name": "c", "subnet_id": network("virtualNetworks/v/subnets/GatewaySubnet"),
                "public_ip_address_id": network("publicIPAddresses/ip"), "private_ip_address_allocation": "Dynamic"}],
            "bgp_settings": [{"asn": 65010, "peer_weight": 0, "peering_addresses": [{"ip_configuration_name": "c", "apipa_addresses": ["169.254.21.2"]}]}]}),
        ),
        managed(
            "azurerm_virtual_network_gateway_connection",
            "cn",
            json!({"type": "IPsec", "virtual_network_gateway_id": gateway,
            "local_network_gateway_id": network("localNetworkGateways/site"), "shared_key": "k", "bgp_enabled": true,
            "traffic_selector_policy": [{"local_address_cidrs": ["10.0.0.0/16"], "remote_address_cidrs": ["10.9.0.0/16"]}]}),
        ),
        managed(
            "azurerm_local_network_gateway",
            "site",
            json!({"gateway_address": "203.0.113.9", "address_space": ["10.9.0.0/16"],
            "bgp_settings": [{"asn": 65020, "bgp_peering_address": "10.9.0.1", "peer_weight": 0}]}),
        ),
        managed(
            "azurerm_express_route_circuit",
            "er",
            json!({"service_provider_name": "P", "peering_location": "L", "bandwidth_in_mbps": 50,
            "sku": [{"tier": "Standard", "family": "MeteredData"}]}),
        ),
        managed(
            "azurerm_express_route_circuit_peering",
            "AzurePrivatePeering",
            json!({"name": null, "express_route_circuit_name": "er",
            "peering_type": "AzurePrivatePeering", "peer_asn": 65030, "vlan_id": 100, "primary_peer_address_prefix": "192.168.0.0/30"}),
        ),
        managed(
            "azurerm_route_server",
            "rs",
            json!({"subnet_id": network("virtualNetworks/v/subnets/RouteServerSubnet"),
            "public_ip_address_id": network("publicIPAddresses/rs"), "branch_to_branch_traffic_enabled": true, "sku": "Standard"}),
        ),
        managed(
            "azurerm_route_server_bgp_connection",
            "nva",
            json!({"route_server_id": network("virtualHubs/rs"), "peer_asn": 65001, "peer_ip": "10.0.0.4"}),
        ),
        managed(
            "azurerm_vmware_private_cloud",
            "avs",
            json!({"sku_name": "av36", "network_subnet_cidr": "192.168.48.0/22",
            "internet_connection_enabled": false, "management_cluster": [{"size": 3}]}),
        ),
    ]);
    let it = properties(&plan.after, "gw");
    assert_eq!(
        (&it["gatewayType"], &it["enableBgp"], &it["sku"]),
        (&json!("Vpn"), &json!(true), &json!({"name": "VpnGw1", "tier": "VpnGw1"}))
    );
    assert_eq!(
        it["bgpSettings"],
        json!({"asn": 65010, "peerWeight": 0, "bgpPeeringAddresses": [
            {"customBgpIpAddresses": ["169.254.21.2"], "ipconfigurationId": format!("{gateway}/ipConfigurations/c")}]})
    );
    let connection = properties(&plan.after, "cn");
    assert_eq!(
        (&connection["connectionType"], &connection["virtualNetworkGateway1"]),
        (&json!("IPsec"), &json!({"id": gateway}))
    );
    assert_eq!(connection["trafficSelectorPolicies"][0]["remoteAddressRanges"], json!(["10.9.0.0/16"]));
    assert_eq!(properties(&plan.after, "site")["bgpSettings"]["bgpPeeringAddress"], "10.9.0.1");
    let peering = &properties(&plan.after, "er")["peerings"][0];
    assert_eq!((&peering["name"], &peering["properties"]["peerASN"]), (&json!("AzurePrivatePeering"), &json!(65030)));
    assert_eq!(body(&plan.after, "rs").to_json()["kind"], "RouteServer");
    assert_eq!(properties(&plan.after, "rs/ipConfig1")["subnet"], id("virtualNetworks/v/subnets/RouteServerSubnet"));
    assert_eq!(properties(&plan.after, "rs/nva"), json!({"peerAsn": 65001, "peerIp": "10.0.0.4"}));
    assert_eq!(properties(&plan.after, "avs")["managementCluster"], json!({"clusterSize": 3}));
    assert_eq!(properties(&plan.after, "avs")["internet"], "Disabled");
}

#[test]
fn hubs_of_a_virtual_wan() {
    let (hub, table) = (network("virtualHubs/hub"), network("virtualHubs/hub/hubRouteTables/red"));
    let plan = state(vec![
        managed("azurerm_virtual_wan", "wan", json!({"location": "eastus", "type": "Standard"})),
        managed(
            "azurerm_virtual_hub",
            "hub",
            json!({"location": "eastus", "address_prefix": "10.9.0.0/24", "virtual_wan_id": network("virtualWans/wan")}),
        ),
        managed("azurerm_virtual_hub_route_table", "red", json!({"virtual_hub_id": hub, "labels": ["warm"]})),
        managed(
            "azurerm_virtual_hub_connection",
            "to-v",
            json!({"virtual_hub_id": hub, "remote_virtual_network_id": network("virtualNetworks/v"),
                "internet_security_enabled": false, "routing": [{"associated_route_table_id": table,
                "propagated_route_table": [{"labels": ["none"], "route_table_ids": [table]}]}]}),
        ),
        managed("azurerm_firewall", "fw", json!({"virtual_hub": [{"virtual_hub_id": hub, "public_ip_count": 1}]})),
    ]);
    assert_eq!(
        properties(&plan.after, "hub"),
        json!({"addressPrefix": "10.9.0.0/24", "virtualWan": id("virtualWans/wan")})
    );
    assert_eq!(properties(&plan.after, "hub/red"), json!({"labels": ["warm"]}));
    assert_eq!(
        properties(&plan.after, "hub/to-v"),
        json!({"remoteVirtualNetwork": id("virtualNetworks/v"), "enableInternetSecurity": false,
            "routingConfiguration": {"associatedRouteTable": {"id": table},
                "propagatedRouteTables": {"labels": ["none"], "ids": [{"id": table}]}}})
    );
    assert_eq!(properties(&plan.after, "fw"), json!({"virtualHub": {"id": hub}}));
}

#[test]
fn endpoints_azapi_and_what_is_not_known() {
    let plan = state(vec![
        managed(
            "azurerm_private_endpoint",
            "pe",
            json!({"subnet_id": network("virtualNetworks/v/subnets/s"),
            "private_service_connection": [{"name": "c", "private_connection_resource_id": "/x", "subresource_names": ["blob"]}]}),
        ),
        managed(
            "azapi_resource",
            "as_object",
            json!({"type": "Microsoft.Network/virtualNetworks/subnets@2024-05-01", "name": "z",
            "parent_id": network("virtualNetworks/v"), "body": {"properties": {"addressPrefix": "10.0.5.0/24"}}}),
        ),
        managed(
            "azapi_resource",
            "as_text",
            json!({"type": "Microsoft.Network/routeTables@2024-05-01", "name": "rt", "parent_id": GROUP,
            "location": "eastus", "body": "{\"properties\": {\"routes\": []}}"}),
        ),
        managed("azurerm_kubernetes_cluster", "aks", json!({"location": "eastus"})),
        managed("random_pet", "p", json!({})),
        managed("azurerm_resource_group", "rg", json!({"location": "eastus"})),
        managed(
            "azurerm_subnet_route_table_association",
            "lost",
            json!({"subnet_id": "/none", "route_table_id": "/t"}),
        ),
    ]);
    assert_eq!(names(&plan.after), ["pe", "v/z", "rt", "aks"]);
    assert_eq!(
        properties(&plan.after, "pe")["privateLinkServiceConnections"][0]["properties"]["groupIds"],
        json!(["blob"])
    );
    assert_eq!(plan.after[1].id.as_str(), network("virtualNetworks/v/subnets/z"));
    assert_eq!(plan.after[2].id.as_str(), network("routeTables/rt"));
    assert_eq!(plan.after[2].body.to_json(), json!({"location": "eastus", "properties": {"routes": []}}));
    assert_eq!(plan.after[3].kind, "terraform/azurerm_kubernetes_cluster");
    assert_eq!(
        plan.notes[0].message,
        "`azurerm_subnet_route_table_association.lost` joins nothing that is known here, so it was left out."
    );
}

#[test]
fn a_state_file_is_read_too() {
    let plan = read(&json!({"version": 4, "terraform_version": "1.11.4", "serial": 1, "resources": [
        {"module": "module.hub", "mode": "managed", "type": "azurerm_subnet", "name": "s", "instances": [
            {"index_key": "a", "attributes": {"id": network("virtualNetworks/v/subnets/a"), "name": "a", "address_prefixes": ["10.0.0.0/24"]}},
            {"index_key": "b", "attributes": {"id": network("virtualNetworks/v/subnets/b"), "name": "b", "address_prefixes": ["10.0.1.0/24"]}}]},
        {"mode": "data", "type": "azurerm_route_table", "name": "t", "instances": [
            {"attributes": {"id": network("routeTables/t"), "name": "t", "resource_group_name": "rg"}}]}]}));
    assert_eq!(names(&plan.after), ["v/a", "v/b", "t"]);
    let exist: Vec<_> = plan.after.iter().map(|resource| resource.existing).collect();
    assert_eq!(exist, [false, false, true]);
    assert!(plan.before.is_none());
    let at = Place { file: "f".into(), line: 1, column: 1 };
    let empty = Node::from_json(&at, &json!({"format_version": "1.0"}));
    assert!(terraform::read(&empty).expect_err("nothing")[0].to_string().contains("has no resources"));
}

//! How much longer a network takes from a Resource Graph dump than from a topology file: read and compiled.
//!
//! 1,000 virtual networks as three hubs and their spokes, with all that Azure prints of them. The topology file is the one
//! that `vnet import` makes of the dump. It prints medians of processor time, which other load hardly changes, and their
//! ratio. With an argument it writes both files there instead, for a profiler: `cargo bench --bench import -- DIR`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at what it did not expect, and prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use vnet::arm::{self, Options, Source, Store};
use vnet::compile::compile;
use vnet::config;
use vnet::model::Learned;

const VNETS: usize = 1_000;
const HUBS: usize = 3;
/// NSGs, and route tables.
const SHARED: usize = 20;
/// Rules of an NSG, and routes of a table.
const ENTRIES: usize = 20;
const ROUNDS: usize = 5;

fn main() {
    let dump = serde_json::to_string_pretty(&graph()).unwrap();
    let file = import(&dump);
    if let Some(directory) = env::args().nth(1).filter(|argument| !argument.starts_with('-')) {
        fs::write(format!("{directory}/graph.json"), &dump).unwrap();
        fs::write(format!("{directory}/graph.vnet.yaml"), &file).unwrap();
        return;
    }
    println!("{VNETS} virtual networks: dump of {} KiB, file of {} KiB", dump.len() >> 10, file.len() >> 10);
    report("dump to file", || drop(black_box(import(&dump))));
    let from_dump = report("dump to tables", || tables(&import(&dump)));
    let from_file = report("file to tables", || tables(&file));
    println!("{:>16} {:>8.2}", "ratio", from_dump.as_secs_f64() / from_file.as_secs_f64());
}

/// The topology file of a dump.
fn import(dump: &str) -> String {
    let document = arm::parse_json(&Arc::from("graph.json"), dump).unwrap();
    let resources = arm::dump::read(document).unwrap().0.into_iter().map(|resource| (Source::Dump, resource));
    let store = Store::of(resources);
    let options =
        Options { input: "graph.json", name: Some("graph"), head: &[], is_service_tag: &config::is_service_tag };
    arm::convert(&store, &options).unwrap().text
}

fn tables(file: &str) {
    let loaded = config::load(file, "graph.vnet.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    black_box(compile(&loaded.network, &Learned::default(), 1));
}

/// Does the work and prints the median of its processor time.
fn report(what: &str, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let before = processor_time();
            work();
            processor_time().saturating_sub(before)
        })
        .collect();
    times.sort();
    println!("{what:>16} {:>8.1} ms", times[ROUNDS / 2].as_secs_f64() * 1e3);
    times[ROUNDS / 2]
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// What Resource Graph answers.
fn graph() -> Value {
    let vnets = (0..VNETS).map(virtual_network);
    let shared = (0..SHARED).flat_map(|at| [security_group(at), route_table(at)]);
    let all: Vec<_> = vnets.chain(shared).chain((0..VNETS).map(interface)).collect();
    json!({ "count": all.len(), "total_records": all.len(), "skip_token": null, "data": all })
}

fn id(kind: &str, name: &str) -> String {
    format!(
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/net/providers/Microsoft.Network/{kind}/{name}"
    )
}

/// A resource with what Resource Graph prints beside its properties.
fn resource(kind: &str, name: &str, properties: &Value) -> Value {
    json!({
        "id": id(kind, name),
        "name": name,
        "type": format!("microsoft.network/{}", kind.to_lowercase()),
        "tenantId": "66666666-7777-8888-9999-000000000000",
        "kind": "",
        "location": "westeurope",
        "resourceGroup": "net",
        "subscriptionId": "11111111-2222-3333-4444-555555555555",
        "managedBy": "",
        "sku": null,
        "plan": null,
        "properties": properties,
        "tags": { "owner": "network" },
        "identity": null,
        "zones": null,
        "extendedLocation": null,
    })
}

/// An object of a resource's list.
fn part(parent: &str, list: &str, name: &str, properties: &Value) -> Value {
    json!({
        "properties": properties,
        "id": format!("{parent}/{list}/{name}"),
        "name": name,
        "type": format!("Microsoft.Network/virtualNetworks/{list}"),
        "etag": "W/\"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\"",
        "resourceGroup": "net",
    })
}

fn range(vnet: usize) -> String {
    format!("10.{}.{}.0/22", vnet / 64, vnet % 64 * 4)
}

fn virtual_network(vnet: usize) -> Value {
    let own = id("virtualNetworks", &format!("vnet-{vnet}"));
    let subnets: Vec<_> = (0..4)
        .map(|subnet| {
            let group =
                json!({ "id": id("networkSecurityGroups", &format!("nsg-{}", vnet % SHARED)), "resourceGroup": "net" });
            let table = json!({ "id": id("routeTables", &format!("table-{}", vnet % SHARED)), "resourceGroup": "net" });
            let properties = json!({
                "provisioningState": "Succeeded",
                "addressPrefix": format!("10.{}.{}.0/24", vnet / 64, vnet % 64 * 4 + subnet),
                "networkSecurityGroup": if subnet < 2 { group } else { Value::Null },
                "routeTable": if subnet == 0 { table } else { Value::Null },
                "delegations": [],
                "privateEndpointNetworkPolicies": "Disabled",
                "privateLinkServiceNetworkPolicies": "Enabled",
            });
            part(&own, "subnets", &format!("s{subnet}"), &properties)
        })
        .collect();
    let remotes: Vec<_> = if vnet < HUBS { (HUBS + vnet..VNETS).step_by(HUBS).collect() } else { vec![vnet % HUBS] };
    let peerings: Vec<_> = remotes.into_iter().map(|remote| peering(&own, remote, vnet < HUBS)).collect();
    resource(
        "virtualNetworks",
        &format!("vnet-{vnet}"),
        &json!({
            "provisioningState": "Succeeded",
            "resourceGuid": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "addressSpace": { "addressPrefixes": [range(vnet)] },
            "dhcpOptions": { "dnsServers": [] },
            "subnets": subnets,
            "virtualNetworkPeerings": peerings,
            "enableDdosProtection": false,
        }),
    )
}

fn peering(own: &str, remote: usize, is_hub: bool) -> Value {
    let space = json!({ "addressPrefixes": [range(remote)] });
    let properties = json!({
        "provisioningState": "Succeeded",
        "resourceGuid": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "peeringState": "Connected",
        "peeringSyncLevel": "FullyInSync",
        "remoteVirtualNetwork": { "id": id("virtualNetworks", &format!("vnet-{remote}")), "resourceGroup": "net" },
        "allowVirtualNetworkAccess": true,
        "allowForwardedTraffic": true,
        "allowGatewayTransit": is_hub,
        "useRemoteGateways": false,
        "doNotVerifyRemoteGateways": false,
        "peerCompleteVnets": true,
        "remoteAddressSpace": space,
        "remoteVirtualNetworkAddressSpace": space,
    });
    part(own, "virtualNetworkPeerings", &format!("to-{remote}"), &properties)
}

/// The subnets that have a table or group in common.
fn users(at: usize, subnets: usize) -> Vec<Value> {
    let vnets = (at..VNETS).step_by(SHARED).map(|vnet| id("virtualNetworks", &format!("vnet-{vnet}")));
    vnets
        .flat_map(|vnet| (0..subnets).map(move |subnet| json!({ "id": format!("{vnet}/subnets/s{subnet}") })))
        .collect()
}

fn security_group(at: usize) -> Value {
    let own = id("networkSecurityGroups", &format!("nsg-{at}"));
    let rules: Vec<_> = (0..ENTRIES)
        .map(|rule| {
            let properties = json!({
                "provisioningState": "Succeeded",
                "protocol": "Tcp",
                "sourcePortRange": "*",
                "destinationPortRange": (1000 + rule).to_string(),
                "sourceAddressPrefix": "VirtualNetwork",
                "destinationAddressPrefix": "*",
                "access": "Allow",
                "priority": 100 + rule,
                "direction": "Inbound",
                "sourcePortRanges": [],
                "destinationPortRanges": [],
                "sourceAddressPrefixes": [],
                "destinationAddressPrefixes": [],
            });
            part(&own, "securityRules", &format!("rule-{rule}"), &properties)
        })
        .collect();
    let properties = json!({ "provisioningState": "Succeeded", "securityRules": rules, "subnets": users(at, 2) });
    resource("networkSecurityGroups", &format!("nsg-{at}"), &properties)
}

fn route_table(at: usize) -> Value {
    let own = id("routeTables", &format!("table-{at}"));
    let routes: Vec<_> = (0..ENTRIES)
        .map(|route| {
            let properties = json!({
                "provisioningState": "Succeeded",
                "addressPrefix": format!("{}.0.{route}.0/24", 20 + at),
                "nextHopType": "VirtualAppliance",
                "nextHopIpAddress": "10.0.0.4",
                "hasBgpOverride": false,
            });
            part(&own, "routes", &format!("route-{route}"), &properties)
        })
        .collect();
    let properties = json!({ "disableBgpRoutePropagation": false, "routes": routes, "subnets": users(at, 1) });
    resource("routeTables", &format!("table-{at}"), &properties)
}

fn interface(vnet: usize) -> Value {
    let (name, subnet) = (format!("nic-{vnet}"), format!("vnet-{vnet}/subnets/s0"));
    let own = id("networkInterfaces", &name);
    let configuration = json!({
        "provisioningState": "Succeeded",
        "privateIPAddress": format!("10.{}.{}.4", vnet / 64, vnet % 64 * 4),
        "privateIPAllocationMethod": "Dynamic",
        "subnet": { "id": id("virtualNetworks", &subnet), "resourceGroup": "net" },
        "primary": true,
        "privateIPAddressVersion": "IPv4",
    });
    let properties = json!({
        "provisioningState": "Succeeded",
        "ipConfigurations": [part(&own, "ipConfigurations", "ipconfig1", &configuration)],
        "dnsSettings": { "dnsServers": [], "appliedDnsServers": [] },
        "macAddress": "00-0D-3A-00-00-00",
        "enableAcceleratedNetworking": false,
        "enableIPForwarding": false,
        "primary": true,
        "virtualMachine": { "id": id("virtualMachines", &format!("vm-{vnet}")).replace("Network/", "Compute/") },
    });
    resource("networkInterfaces", &name, &properties)
}

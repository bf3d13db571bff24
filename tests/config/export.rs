//! `arm::export`: the template of a topology file is the same network.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use vnet::arm::{self, Options, Source, Store, template};
use vnet::config;
use vnet::model::{Network, PowerState};

/// The network of a file, and that of the template that it is exported to.
fn both(text: &str) -> (Network, Network) {
    let file = Arc::from("exported.json");
    let exported = arm::export(text).unwrap().template.to_string();
    let document = arm::parse_json(&file, &exported).unwrap();
    let none = |_: &str, _: &str| Err("nothing is linked".to_owned());
    let evaluated = template::evaluate(&document, &template::Context::new(&none)).unwrap();
    let store = Store::of(evaluated.resources.into_iter().map(|resource| (Source::Template, resource)));
    let options = Options { name: Some("lab"), head: &[], is_service_tag: &config::is_service_tag };
    let made = arm::convert(&store, &options).unwrap().text;
    let network = |text: &str| {
        let loaded = config::load(text, "lab.yaml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        // What Azure has nothing like.
        let mut network = Network { name: "lab".to_owned(), internet: None, tests: Vec::new(), ..loaded.network };
        for machine in &mut network.virtual_machines {
            machine.run = vnet::model::Program::default();
            machine.power_state = PowerState::Running;
        }
        network
    };
    (network(text), network(&made))
}

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn random(seed: u64) -> String {
    let mut random = Random(seed);
    let mut text = String::from("name: lab\n");
    let (vnets, tables, nsgs) = (1 + random.below(4), 1 + random.below(3), 1 + random.below(3));
    route_tables(&mut random, tables, &mut text);
    security_groups(&mut random, nsgs, &mut text);
    text.push_str("publicIPAddresses:\n  - {name: out, ipAddress: 203.0.113.9}\n  - {name: front}\n  - {name: own}\n");
    text.push_str("natGateways: [{name: out, publicIpAddresses: [out], idleTimeoutInMinutes: 10}]\nvirtualNetworks:\n");
    networks(&mut random, (vnets, tables, nsgs), &mut text);
    text.push_str("loadBalancers:\n  - name: lb\n    frontendIPConfigurations: [{name: f, publicIPAddress: front}]\n    backendAddressPools: [{name: p}]\n    probes: [{name: h, protocol: Tcp, port: 80}]\n    loadBalancingRules: [{name: r, frontendIPConfiguration: f, backendAddressPool: p, probe: h, protocol: Tcp, frontendPort: 80, backendPort: 8080}]\n");
    machines(&mut random, vnets, &mut text);
    text
}

fn route_tables(random: &mut Random, tables: u64, text: &mut String) {
    text.push_str("routeTables:\n");
    for table in 0..tables {
        let propagation = random.chance(30);
        writeln!(text, "  - name: t{table}\n    disableBgpRoutePropagation: {propagation}\n    routes:").unwrap();
        for route in 0..=random.below(4) {
            let hop = ["Internet", "None", "VnetLocal", "VirtualAppliance, nextHopIpAddress: 10.0.0.9"]
                [random.below(4) as usize];
            writeln!(text, "      - {{name: r{route}, addressPrefix: 10.{route}.0.0/16, nextHopType: {hop}}}").unwrap();
        }
    }
}

fn security_groups(random: &mut Random, nsgs: u64, text: &mut String) {
    text.push_str("applicationSecurityGroups: [{name: web}]\nnetworkSecurityGroups:\n");
    for nsg in 0..nsgs {
        writeln!(text, "  - name: n{nsg}\n    securityRules:").unwrap();
        for rule in 0..=random.below(5) {
            let access = ["Allow", "Deny"][random.below(2) as usize];
            let direction = ["Inbound", "Outbound"][random.below(2) as usize];
            let protocol = ["Tcp", "Udp", "'*'", "Icmp"][random.below(4) as usize];
            let source = ["Internet", "'*'", "10.0.0.0/8", "VirtualNetwork", "Storage"][random.below(5) as usize];
            let ports =
                ["destinationPortRange: 443", "destinationPortRanges: [80, 1000-2000]", "destinationPortRange: '*'"];
            let ports = ports[random.below(3) as usize];
            let priority = 100 + rule;
            writeln!(text, "      - {{name: r{rule}, priority: {priority}, direction: {direction}, access: {access}, protocol: {protocol}, sourceAddressPrefix: {source}, sourcePortRange: '*', destinationAddressPrefix: '*', {ports}}}").unwrap();
        }
    }
}

fn networks(random: &mut Random, (vnets, tables, nsgs): (u64, u64, u64), text: &mut String) {
    for vnet in 0..vnets {
        let location = ["westeurope", "eastus"][random.below(2) as usize];
        writeln!(
            text,
            "  - name: v{vnet}\n    location: {location}\n    addressSpace: [10.{vnet}.0.0/16]\n    subnets:"
        )
        .unwrap();
        for subnet in 0..=random.below(3) {
            let mut rest = String::new();
            for (chance, key, count) in [(40, "routeTable: t", tables), (50, "networkSecurityGroup: n", nsgs)] {
                if random.chance(chance) {
                    write!(rest, ", {key}{}", random.below(count)).unwrap();
                }
            }
            if random.chance(20) {
                rest.push_str(", natGateway: out");
            }
            if random.chance(20) {
                rest.push_str(", defaultOutboundAccess: false");
            }
            writeln!(text, "      - {{name: s{subnet}, addressPrefix: 10.{vnet}.{subnet}.0/24{rest}}}").unwrap();
        }
        text.push_str("    virtualNetworkPeerings:\n");
        for remote in (0..vnets).filter(|remote| *remote != vnet) {
            let flags = [random.chance(70), random.chance(50)];
            writeln!(text, "      - {{name: to{remote}, remoteVirtualNetwork: v{remote}, allowVirtualNetworkAccess: {}, allowForwardedTraffic: {}}}", flags[0], flags[1]).unwrap();
        }
    }
}

fn machines(random: &mut Random, vnets: u64, text: &mut String) {
    text.push_str("virtualMachines:\n");
    for machine in 0..=random.below(6) {
        let vnet = random.below(vnets);
        let mut rest = String::new();
        if random.chance(40) {
            write!(rest, ", privateIPAddress: 10.{vnet}.0.{}", 20 + machine).unwrap();
        }
        if random.chance(30) {
            rest.push_str(", enableIPForwarding: true");
        }
        if random.chance(30) && vnet == 0 {
            rest.push_str(", loadBalancerBackendAddressPools: [lb/p]");
        }
        if random.chance(30) && vnet == 0 {
            rest.push_str(", applicationSecurityGroups: [web]");
        }
        if machine == 0 {
            rest.push_str(", publicIPAddress: own");
        }
        writeln!(text, "  - {{name: m{machine}, networkInterfaces: [{{subnet: v{vnet}/s0{rest}}}]}}").unwrap();
    }
}

#[test]
fn random_networks_come_back() {
    for seed in 0..150 {
        let text = random(seed);
        let (before, after) = both(&text);
        assert_eq!(before, after, "seed {seed}\n{text}");
    }
}

/// Those of the examples that Azure could have as they are.
/// References by name, by ARM id, as objects with an id.
#[test]
fn references_by_id_are_the_same_as_by_name() {
    let id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network";
    let by = |table: &str, subnet: &str| {
        format!(
            "name: lab
routeTables: [{{name: t, routes: []}}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.0.0.0/24, routeTable: {table}}}]
virtualMachines: [{{name: m, networkInterfaces: [{{subnet: {subnet}}}]}}]
"
        )
    };
    let (named, exported) = both(&by("t", "v/s"));
    assert_eq!(exported, named);
    let with_ids = by(&format!("{{id: {id}/routeTables/t}}"), &format!("{{id: {id}/virtualNetworks/v/subnets/s}}"));
    assert_eq!(both(&with_ids), (named.clone(), named));
}

#[test]
fn examples_come_back() {
    for name in [
        "hub-spoke",
        "contoso-fabrikam",
        "nsg-tiers",
        "internet",
        "load-balancer",
        "public-load-balancer",
        "private-access",
    ] {
        let (before, after) = both(&fs::read_to_string(format!("config/{name}.yaml")).unwrap());
        assert_eq!(before, after, "{name}");
    }
}

/// Bicep has a symbol for each resource, and refers by it.
#[test]
fn bicep_refers_by_symbols() {
    let text = fs::read_to_string("config/contoso-fabrikam.yaml").unwrap();
    let bicep = arm::bicep(&arm::export(&text).unwrap().template);
    for line in [
        "resource virtualNetwork_Contoso 'Microsoft.Network/virtualNetworks@2024-05-01' = {",
        "  parent: virtualNetwork_Contoso",
        "      id: virtualNetwork_Fabrikam.id",
    ] {
        assert!(bicep.lines().any(|own| own == line), "{line}\n{bicep}");
    }
}

/// VPN-42: a gateway's client address pool is in the template; the clients are computers elsewhere.
#[test]
fn a_client_address_pool_comes_back() {
    let text = "
name: lab
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: GatewaySubnet, addressPrefix: 10.0.255.0/27}]}
publicIPAddresses: [{name: ip, sku: Standard, ipAddress: 203.0.113.9}]
virtualNetworkGateways:
  - {name: gw, virtualNetwork: v, publicIPAddress: ip, customRoutes: [10.9.0.0/16],
     vpnClientConfiguration: {vpnClientAddressPool: [172.16.0.0/24], vpnClientProtocols: [IkeV2]}}
";
    let (named, exported) = both(text);
    assert_eq!(exported.virtual_network_gateways, named.virtual_network_gateways);
    assert_eq!(named.virtual_network_gateways[0].client_prefixes().len(), 1);
    let with_client = format!("{text}vpnClients: [{{name: laptop, virtualNetworkGateway: gw}}]\n");
    let notes = arm::export(&with_client).unwrap().notes.join("\n");
    assert!(notes.contains("a client is a computer elsewhere"), "{notes}");
}

//! `arm::export`: the template of a topology file is the same network.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use vnet::arm::{self, Export, Options, Source, Store, template};
use vnet::config;
use vnet::model::{Emulation, Masquerade, Network, PowerState, Program, Remote};

fn export(text: &str) -> Export {
    arm::export(&config::as_json(text).unwrap())
}

/// The network of a file, and that of the template that it is exported to.
fn both(text: &str) -> (Network, Network) {
    let file = Arc::from("exported.json");
    let exported = export(text).template.to_string();
    let document = arm::parse_json(&file, &exported).unwrap();
    let none = |_: &str, _: &str| Err("nothing is linked".to_owned());
    let evaluated = template::evaluate(&document, &template::Context::new(&none)).unwrap();
    let store = Store::of(evaluated.resources.into_iter().map(|resource| (Source::Template, resource)));
    let options =
        Options { input: "template.json", name: Some("lab"), head: &[], is_service_tag: &config::is_service_tag };
    let made = arm::convert(&store, &options).unwrap().text;
    let network = |text: &str| {
        let loaded = config::load(text, "lab.yaml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        // What Azure has nothing like, and the keys that it makes itself.
        let mut network = Network {
            name: "lab".to_owned(),
            internet: None,
            tests: Vec::new(),
            emulation: Emulation::default(),
            ..loaded.network
        };
        for machine in &mut network.virtual_machines {
            machine.run = Program::default();
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
    text.push_str("publicIPAddresses:\n  - {name: out, ipAddress: 203.0.113.9}\n  - {name: front}\n  - {name: own}\n  - {name: gw0}\n  - {name: gw1}\n  - {name: rs}\n");
    text.push_str("natGateways: [{name: out, publicIpAddresses: [out], idleTimeoutInMinutes: 10}]\nvirtualNetworks:\n");
    networks(&mut random, (vnets, tables, nsgs), &mut text);
    text.push_str("loadBalancers:\n  - name: lb\n    frontendIPConfigurations: [{name: f, publicIPAddress: front}]\n    backendAddressPools: [{name: p}]\n    probes: [{name: h, protocol: Tcp, port: 80}]\n    loadBalancingRules: [{name: r, frontendIPConfiguration: f, backendAddressPool: p, probe: h, protocol: Tcp, frontendPort: 80, backendPort: 8080}]\n");
    machines(&mut random, vnets, &mut text);
    branches(&mut random, &mut text);
    flow_logs(&mut random, (vnets, nsgs), &mut text);
    text
}

/// A hub of its own, with a VPN gateway and the sites behind it, a route server and a circuit, each perhaps.
fn branches(random: &mut Random, text: &mut String) {
    let (vpn, circuit) = (random.chance(60), random.chance(40));
    // Azure takes both only with an active-active gateway of AS 65515.
    let server = !vpn && random.chance(70);
    let sites = if vpn { 1 + random.below(3) } else { 0 };
    if vpn {
        let bgp = random.chance(50);
        text.push_str("virtualNetworkGateways:\n");
        let active_active = random.chance(40);
        let active = if active_active {
            ", activeActive: true, ipConfigurations: [{name: a, subnet: hub/GatewaySubnet, publicIPAddress: gw0}, {name: b, subnet: hub/GatewaySubnet, publicIPAddress: gw1}]"
        } else {
            ", virtualNetwork: hub, publicIPAddress: gw0"
        };
        let addresses = bgp_addresses(random, active_active);
        let settings =
            if bgp { format!(", enableBgp: true, bgpSettings: {{asn: 65010{addresses}}}") } else { String::new() };
        writeln!(text, "  - {{name: gw, sku: VpnGw1{settings}{active}}}").unwrap();
        text.push_str("localNetworkGateways:\n");
        let speaks = |site: u64| {
            let peer = format!(", bgpSettings: {{asn: {}, bgpPeeringAddress: 172.16.{site}.1}}", 65020 + site);
            if bgp { peer } else { String::new() }
        };
        for site in 0..sites {
            writeln!(text, "  - {{name: site{site}, gatewayIpAddress: 198.51.100.{}, localNetworkAddressSpace: [172.16.{site}.0/24]{}}}", 10 + site, speaks(site)).unwrap();
        }
        text.push_str("connections:\n");
        for site in 0..sites {
            let bgp = if bgp { ", enableBgp: true" } else { "" };
            writeln!(text, "  - {{name: to{site}, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: site{site}, sharedKey: k{site}{bgp}}}").unwrap();
        }
        text.push_str("sites:\n");
        for site in 0..sites {
            writeln!(text, "  - {{name: site{site}, gatewayIpAddress: 198.51.100.{}, addressSpace: [172.16.{site}.0/24], sharedKey: k{site}{}}}", 10 + site, speaks(site)).unwrap();
        }
    }
    if server {
        let exchanges = random.chance(50);
        let preference = ["ExpressRoute", "VpnGateway", "ASPath"][random.below(3) as usize];
        writeln!(text, "routeServers:\n  - name: rs\n    virtualNetwork: hub\n    publicIPAddress: rs\n    allowBranchToBranchTraffic: {exchanges}\n    hubRoutingPreference: {preference}\n    bgpConnections: [{{name: nva, peerIp: 10.200.2.9, peerAsn: 65001}}]").unwrap();
    }
    if circuit {
        let keys = if random.chance(50) { "\n    authorizations: [{name: far, authorizationKey: kk}]" } else { "" };
        writeln!(text, "expressRouteCircuits:\n  - name: er\n    sku: {{tier: Premium}}\n    serviceProviderProperties: {{peeringLocation: London, bandwidthInMbps: 100}}{keys}\n    peerings: [{{name: AzurePrivatePeering, peeringType: AzurePrivatePeering, peerASN: 65030, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 100}}]").unwrap();
    }
}

/// Where a gateway speaks BGP: where Azure puts it, or as a dump says it, with or without addresses of its own.
fn bgp_addresses(random: &mut Random, active_active: bool) -> String {
    let custom = |instance: u64| format!("customBgpIpAddresses: [169.254.21.{instance}]");
    match (random.below(4), active_active) {
        (0, _) => String::new(),
        (1, false) => ", bgpPeeringAddress: 10.200.0.9".to_owned(),
        (1, true) => ", bgpPeeringAddress: '10.200.0.9,10.200.0.8'".to_owned(),
        (2, false) => format!(", bgpPeeringAddresses: [{{defaultBgpIpAddresses: [10.200.0.20], {}}}]", custom(5)),
        (_, false) => format!(", bgpPeeringAddresses: [{{ipconfigurationId: default, {}}}]", custom(9)),
        (2, true) => ", bgpPeeringAddress: '10.200.0.20,10.200.0.21', bgpPeeringAddresses: [{ipconfigurationId: b, defaultBgpIpAddresses: [10.200.0.20]}, {ipconfigurationId: a, defaultBgpIpAddresses: [10.200.0.21]}]".to_owned(),
        (_, true) => format!(", bgpPeeringAddresses: [{{ipconfigurationId: b, {}}}, {{ipconfigurationId: a, {}}}]", custom(5), custom(9)),
    }
}

fn flow_logs(random: &mut Random, (vnets, nsgs): (u64, u64), text: &mut String) {
    if random.chance(50) {
        return;
    }
    let (vnet, nsg) = (random.below(vnets), random.below(nsgs));
    writeln!(text, "flowLogs:\n  - {{name: ofnsg, targetResourceId: networkSecurityGroups/n{nsg}, enabled: {}, format: {{type: JSON, version: {}}}}}", random.chance(50), 1 + random.below(2)).unwrap();
    writeln!(
        text,
        "  - {{name: ofvnet, targetResourceId: virtualNetworks/v{vnet}, retentionPolicy: {{days: {}, enabled: true}}}}",
        1 + random.below(30)
    )
    .unwrap();
    writeln!(text, "  - {{name: ofsubnet, targetResourceId: virtualNetworks/v{vnet}/subnets/s0}}").unwrap();
    writeln!(text, "  - {{name: ofnic, targetResourceId: virtualMachines/m0/networkInterfaces/eth0}}").unwrap();
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
    text.push_str("  - name: hub\n    location: westeurope\n    addressSpace: [10.200.0.0/16]\n    subnets:\n      - {name: GatewaySubnet, addressPrefix: 10.200.0.0/26}\n      - {name: RouteServerSubnet, addressPrefix: 10.200.1.0/26}\n      - {name: nva, addressPrefix: 10.200.2.0/24}\n");
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

/// Azure makes the keys of a private cloud itself: which one is used is what counts.
fn name_keys(network: &mut Network) {
    let circuits = &mut network.express_route_circuits;
    let known = circuits.iter_mut().flat_map(|circuit| &mut circuit.authorizations);
    let names: HashMap<_, _> =
        known.map(|one| (std::mem::replace(&mut one.key, one.name.clone()), one.name.clone())).collect();
    let reaching = circuits.iter_mut().flat_map(|circuit| &mut circuit.reach).map(|one| &mut one.authorization_key);
    let connecting = network.connections.iter_mut().map(|one| &mut one.authorization_key);
    for key in reaching.chain(connecting).flatten() {
        key.clone_from(&names[key]);
    }
}

/// What a template does not have is said with its place.
#[test]
fn what_is_left_out_has_a_place() {
    let text = fs::read_to_string("config/private-cloud-basic.yaml").unwrap();
    let omissions = export(&text).omissions;
    let said: Vec<_> = omissions.iter().map(|one| (one.path.as_str(), one.message.as_str())).collect();
    for (path, words) in [
        ("privateClouds[0].run", "`run` is of the lab alone"),
        ("privateClouds[0].addresses", "`addresses` is of the lab alone"),
        ("privateClouds[0].authorizationKey", "Azure makes `authorizationKey` itself"),
        ("sites", "sites stand on-premises"),
        ("tests", "`tests` are of the lab alone"),
    ] {
        assert!(said.iter().any(|(own, message)| *own == path && message.starts_with(words)), "{path}: {said:?}");
    }
}

/// AVS-12: no template has the rules of NSX-T or the machines of a segment.
/// PEER-16: a deployment cannot make a link that is out of sync.
#[test]
fn peer_16_a_link_is_in_sync_once_it_is_deployed() {
    let file = |space: &str| {
        format!(
            "virtualNetworks:\n  - {{name: a, location: x, addressSpace: [10.1.0.0/16], virtualNetworkPeerings: [{{name: ab, remoteVirtualNetwork: B{space}}}]}}\n  - {{name: b, location: x, addressSpace: [10.2.0.0/16]}}\n"
        )
    };
    let file = |space: &str| file(space).replace("[10.2.0.0/16]}\n", "[10.2.0.0/16, 10.3.0.0/16]}\n");
    let whole =
        ["", ", remoteAddressSpace: [10.2.0.0/16, 10.3.0.0/16]", ", remoteAddressSpace: [10.3.0.0/16, 10.2.0.0/16]"];
    for in_sync in whole {
        assert_eq!(export(&file(in_sync)).omissions, []);
    }
    let omissions = export(&file(", remoteAddressSpace: [10.2.0.0/16]")).omissions;
    let said: Vec<_> = omissions.iter().map(|one| (one.path.as_str(), one.message.as_str())).collect();
    let message =
        "a new link has the present address space of its peer: one that is out of sync in the file is in sync in Azure";
    assert_eq!(said, [("virtualNetworks[0].virtualNetworkPeerings", message)]);
}

/// Only machines ask for a password, and only flow logs for an account.
#[test]
fn a_template_has_the_parameters_that_it_uses() {
    let vnet = "virtualNetworks:\n  - {name: v, location: x, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}]}\n";
    let machine = "virtualMachines: [{name: m, networkInterfaces: [{subnet: v/s}]}]\n";
    let group = "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Network";
    let logs = |target: &str| format!("flowLogs: [{{name: l, targetResourceId: {target}}}]\n");
    let parameters = |text: &str| {
        let template = export(text).template;
        let keys = template["parameters"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
        (keys.unwrap_or_default(), template.to_string())
    };
    assert_eq!(parameters(vnet).0, [""; 0]);
    let of_machine = parameters(&format!("{vnet}{machine}")).0;
    assert!(!of_machine.is_empty() && !of_machine.contains(&"storageId".to_owned()), "{of_machine:?}");
    let kept = format!(
        "{vnet}flowLogs:\n  - {{name: l, targetResourceId: virtualNetworks/v}}\n  - {{name: m, targetResourceId: virtualNetworks/v, storagePath: there}}\n"
    );
    let omissions: Vec<_> = export(&kept).omissions.into_iter().map(|one| one.path).collect();
    assert_eq!(omissions, ["flowLogs[1].storagePath"]);
    for target in ["virtualNetworks/v".to_owned(), format!("{group}/virtualNetworks/v")] {
        let (keys, template) = parameters(&format!("{vnet}{}", logs(&target)));
        assert_eq!(keys, ["storageId"], "{target}");
        assert!(template.contains("[resourceId('Microsoft.Network/virtualNetworks', 'v')]"), "{target}: {template}");
    }
}

#[test]
fn a_distributed_firewall_is_left_out_with_a_word() {
    let text = fs::read_to_string("config/distributed-firewall.yaml").unwrap();
    let said = export(&text).omissions;
    for message in [
        "`virtualMachines` is of the lab alone",
        "NSX-T Manager keeps `distributedFirewall`, and no template reaches it",
    ] {
        assert!(said.iter().any(|one| one.path.starts_with("privateClouds[0]") && one.message == message), "{said:?}");
    }
}

/// Bicep has a symbol for each resource, and refers by it.
#[test]
fn bicep_quotes_keys_that_are_no_words() {
    let resource = serde_json::json!({"type": "A.B/c", "apiVersion": "1", "name": "n", "tags": {"plain1": "a", "a-b": "b", "1st": "c", "é": "d", "": "e"}});
    let text = arm::bicep(&serde_json::json!({"resources": [resource]}));
    for line in ["plain1: 'a'", "'a-b': 'b'", "'1st': 'c'", "'é': 'd'", "'': 'e'"] {
        assert!(text.lines().any(|own| own.trim() == line), "{line} in {text}");
    }
}

#[test]
fn bicep_refers_by_symbols() {
    let text = fs::read_to_string("config/contoso-fabrikam.yaml").unwrap();
    let bicep = arm::bicep(&export(&text).template);
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
    let omissions = export(&with_client).omissions;
    let notes = omissions.into_iter().map(|one| one.message).collect::<Vec<_>>().join("\n");
    assert!(notes.contains("a client is a computer elsewhere"), "{notes}");
}

/// What no template has: of the lab alone, or of the moment.
fn without_the_lab(network: &mut Network) {
    network.sites.clear();
    network.network_managers.clear();
    network.service_tags.clear();
    // A site's clients are computers elsewhere.
    network.connections.retain(|one| !matches!(one.remote, Remote::Client(_)));
    for vnet in &mut network.virtual_networks {
        vnet.attach = None;
        // A link that is written is in sync (PEER-17).
        vnet.peerings.iter_mut().for_each(|link| link.remote_address_space.clear());
    }
    for machine in &mut network.virtual_machines {
        (machine.guest_masquerade, machine.guest_filter) = (Masquerade::default(), None);
        machine.guest_routes.clear();
    }
    for cloud in &mut network.private_clouds {
        cloud.run = Program::default();
        cloud.segments.retain(|segment| segment.machine.is_none());
        for segment in &mut cloud.segments {
            segment.addresses.clear();
            segment.run = Program::default();
        }
    }
    network.express_route_circuits.iter_mut().for_each(|circuit| circuit.subscription = None);
    // Where an address stands in the file.
    network.network_interfaces.iter_mut().for_each(|nic| nic.ip_configurations.clear());
    network.flow_logs.iter_mut().for_each(|log| log.storage_path = None);
    name_keys(network);
}

/// What an export of this file leaves behind: its other files, classic networks, workloads of a segment by name.
const NOT_THE_SAME: [&str; 6] = [
    "config/machines.yaml",
    "config/classic.yaml",
    "config/distributed-firewall.yaml",
    "tests/conformance/avs-12-distributed-firewall.yaml",
    "tests/golden/compile/avs-12-no-rule.yaml",
    "tests/golden/speakers/avs-12-no-rule.yaml",
];

/// Every network that the tests and the examples have.
#[test]
fn networks_of_all_tests_come_back() {
    let folders =
        ["config", "tests/golden/compile", "tests/golden/speakers", "tests/golden/export", "tests/conformance"];
    let files = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut tried = 0;
    for file in
        files.map(|file| file.unwrap().path()).filter(|file| file.extension().is_some_and(|kind| kind == "yaml"))
    {
        let name = file.to_str().unwrap();
        if NOT_THE_SAME.contains(&name) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let of_a_case = config::as_json(&text).ok().and_then(|case| case.get("topology").map(ToString::to_string));
        let (mut before, mut after) = both(&of_a_case.unwrap_or(text));
        for network in [&mut before, &mut after] {
            without_the_lab(network);
        }
        assert_eq!(format!("{before:#?}"), format!("{after:#?}"), "{name}");
        tried += 1;
    }
    assert!(tried > 150, "{tried}");
}

/// A public address that is written where it is used is a resource of its own in Azure.
#[test]
fn a_public_address_may_stand_where_it_is_used() {
    let file = |interface: &str| {
        format!(
            "virtualNetworks:\n  - {{name: v, location: x, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.0.0/24}}]}}\n\
             virtualMachines: [{{name: m, networkInterfaces: [{interface}]}}]\n"
        )
    };
    let own = "publicIPAddress: {name: own, ipAddress: 203.0.113.7}";
    for interface in [
        format!("{{subnet: v/s, {own}}}"),
        format!("{{name: n, ipConfigurations: [{{name: a, subnet: v/s, {own}}}, {{subnet: v/s}}]}}"),
    ] {
        let template = export(&file(&interface)).template;
        let resources = template["resources"].as_array().unwrap();
        let kind = "Microsoft.Network/publicIPAddresses";
        let public = resources.iter().find(|one| one["type"] == kind).unwrap_or_else(|| panic!("{template:#}"));
        assert_eq!((&public["name"], &public["properties"]["ipAddress"]), (&"own".into(), &"203.0.113.7".into()));
        let nic = resources.iter().find(|one| one["type"] == "Microsoft.Network/networkInterfaces").unwrap();
        let id = format!("[resourceId('{kind}', 'own')]");
        let configurations = nic["properties"]["ipConfigurations"].as_array().unwrap();
        assert_eq!(configurations[0]["properties"]["publicIPAddress"]["id"], id, "{nic:#}");
        assert!(configurations.iter().all(|one| one["name"].is_string()), "{nic:#}");
        let order = |kind: &str| resources.iter().position(|one| one["type"] == kind);
        assert!(nic["dependsOn"].as_array().unwrap().contains(&id.into()), "{nic:#} {:?}", order(kind));
    }
}

/// What flow logs need is named once, and a private cloud's segments stand under their own key alone.
#[test]
fn a_template_names_what_it_needs_once() {
    let file = "virtualNetworks:\n  - {name: v, location: x, addressSpace: [10.1.0.0/16]}\n\
        flowLogs:\n  - {name: l, targetResourceId: virtualNetworks/v}\n  - {name: m, targetResourceId: virtualNetworks/v}\n";
    let template = export(file).template;
    let logs = template["resources"].as_array().unwrap().iter().find(|one| one["name"] == "flowLogs").unwrap();
    assert_eq!(logs["dependsOn"].as_array().unwrap().len(), 1, "{logs:#}");
    let cloud = fs::read_to_string("config/private-cloud-full.yaml").unwrap();
    assert!(!export(&cloud).template.to_string().contains("\"segments\":"));
}

//! What `vnet apply --dry-run` says of a change: the objects that come, change and go, and the flows that notice.

use std::fmt::Write as _;

use vnet::analysis::plan;
use vnet::compile::compile;
use vnet::config::load;
use vnet::model::{Learned, Network};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

fn network(topology: &str) -> Network {
    load(topology, "lab.yaml").unwrap_or_else(|errors| panic!("{}", errors.render(topology, "lab.yaml", false))).network
}

/// The plan of a change, a line for each object and each interface. Machines keep their places, and so their numbers.
fn planned(before: &str, after: &str) -> Vec<String> {
    let [before, after] = [before, after].map(network);
    let [old, new] = [&before, &after].map(|network| compile(network, &Learned::default(), 1));
    let plan = plan((&before, &old), (&after, &new));
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let objects = plan.changes.iter().map(|change| {
        let mut line =
            format!("{} {} {}", word(serde_json::to_value(change.action).unwrap()), change.kind, change.name);
        for property in change.properties.iter().filter(|property| property.before.is_some()) {
            let [before, after] = [&property.before, &property.after].map(|value| value.as_deref().unwrap_or("none"));
            write!(line, ", {}: {before} -> {after}", property.property).unwrap();
        }
        line
    });
    let flows = plan.flows.iter();
    let flows = flows.map(|flows| format!("{} {}", flows.nic, word(serde_json::to_value(flows.effect).unwrap())));
    objects.chain(flows).collect()
}

/// The plan of the example with some words in the place of others.
fn with(changes: &[(&str, &str)]) -> Vec<String> {
    let after = changes.iter().fold(HUB_SPOKE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no `{from}`");
        text.replace(from, to)
    });
    planned(HUB_SPOKE, &after)
}

#[test]
fn what_stays_is_no_change() {
    assert_eq!(with(&[("# 10.1.1.4, the lowest free", "")]), Vec::<String>::new());
}

#[test]
fn nsg_22_new_rules_are_for_new_flows() {
    assert_eq!(
        with(&[("destinationPortRange: '443'", "destinationPortRange: '8443'")]),
        ["update securityRules app/https, destinationPortRanges: [443] -> [8443]", "web/eth0 newFlows",]
    );
}

#[test]
fn rsel_07_running_flows_follow_their_routes() {
    assert_eq!(
        with(&[("nextHopIpAddress: 10.0.1.4", "nextHopIpAddress: 10.0.1.5")]),
        [
            "update routes via-nva/to-spokes, nextHop: VirtualAppliance 10.0.1.4 -> VirtualAppliance 10.0.1.5",
            "web/eth0 nextPacket",
            "db/eth0 nextPacket",
        ]
    );
}

/// The hub's own routes read the same afterwards, and its appliance's packets go to the other spoke.
#[test]
fn rsel_07_ranges_that_change_places_lead_elsewhere() {
    let plan = with(&[("10.1.", "10.x."), ("10.2.", "10.1."), ("10.x.", "10.2.")]);
    assert_eq!(plan[plan.len() - 3..], ["web/eth0 nextPacket", "db/eth0 nextPacket", "nva/eth0 nextPacket"]);
}

/// NSG-23: under `flushConnection` running flows are judged anew.
#[test]
fn nsg_23_flows_that_are_flushed_meet_new_rules_at_once() {
    let flushed = HUB_SPOKE
        .replace("  - name: app\n    securityRules", "  - name: app\n    flushConnection: true\n    securityRules");
    let plan = planned(&flushed, &flushed.replace("destinationPortRange: '443'", "destinationPortRange: '8443'"));
    assert_eq!(plan.last().unwrap(), "web/eth0 nextPacket");
}

#[test]
fn lists_are_printed_as_lists() {
    assert_eq!(
        with(&[("addressSpace: [10.0.0.0/16]", "addressSpace: [10.0.0.0/16, 10.9.0.0/16]")]),
        [
            "update virtualNetworks hub, addressSpace: [10.0.0.0/16] -> [10.0.0.0/16, 10.9.0.0/16]",
            "update virtualNetworkPeerings spoke1/spoke1-hub, remoteAddressSpace: [10.0.0.0/16] -> [10.0.0.0/16, 10.9.0.0/16]",
            "update virtualNetworkPeerings spoke2/spoke2-hub, remoteAddressSpace: [10.0.0.0/16] -> [10.0.0.0/16, 10.9.0.0/16]",
            "web/eth0 nextPacket",
            "db/eth0 nextPacket",
            "nva/eth0 nextPacket",
        ]
    );
}

/// BGP-04: Azure shows one address for BGP of a gateway with one active instance, and two where both are active.
#[test]
fn bgp_04_a_gateway_that_is_made_has_the_bgp_addresses_that_azure_shows() {
    let addresses = |gateway: &str| {
        let network = "publicIPAddresses: [{name: a}, {name: b}]\nvirtualNetworks: [{name: v, location: x, addressSpace: [10.1.0.0/16], \
            subnets: [{name: GatewaySubnet, addressPrefix: 10.1.255.0/27}]}]\n";
        let [before, after] = ["", gateway].map(|gateway| {
            let loaded = load(&format!("{network}{gateway}"), "lab.yaml");
            let network =
                loaded.unwrap_or_else(|errors| panic!("{}", errors.render(gateway, "lab.yaml", false))).network;
            let compiled = compile(&network, &Learned::default(), 1);
            (network, compiled)
        });
        let plan = plan((&before.0, &before.1), (&after.0, &after.1));
        let made = plan.changes.into_iter().find(|change| change.kind == "virtualNetworkGateways").unwrap();
        let property =
            |name: &str| made.properties.iter().find(|one| one.property == name).unwrap().after.clone().unwrap();
        [property("gatewayType"), property("defaultBgpIpAddresses")]
    };
    let one = "virtualNetworkGateways: [{name: g, virtualNetwork: v, publicIPAddress: a, enableBgp: true}]\n";
    assert_eq!(addresses(one), ["Vpn", "[10.1.255.30]"]);
    let two = "virtualNetworkGateways: [{name: g, activeActive: true, enableBgp: true, sku: VpnGw2, ipConfigurations: [\
        {subnet: v/GatewaySubnet, publicIPAddress: a}, {subnet: v/GatewaySubnet, publicIPAddress: b}]}]\n";
    assert_eq!(addresses(two), ["Vpn", "[10.1.255.4, 10.1.255.5]"]);
    let none = "virtualNetworkGateways: [{name: g, virtualNetwork: v, gatewayType: ExpressRoute}]\n";
    assert_eq!(addresses(none)[0], "ExpressRoute");
}

/// A key that changes is a change, of which nobody reads either key.
#[test]
fn keys_are_compared_and_not_shown() {
    let site = include_str!("../../config/site-to-site.yaml");
    let key = site.split("sharedKey: ").nth(1).unwrap().split([',', '}', '\n', ' ']).next().unwrap();
    let plan = planned(site, &site.replace(key, "another"));
    let changed: Vec<_> = plan.iter().filter(|line| line.contains("sharedKey: ")).collect();
    assert!(!changed.is_empty(), "{plan:?}");
    for line in changed {
        assert!(!line.contains(key) && !line.contains("another"), "{line}");
    }
}

/// AVS-12: a change of a distributed firewall is reported rule by rule: the new rule, and the one after it.
#[test]
fn avs_12_a_rule_of_a_distributed_firewall_is_an_object() {
    let before = include_str!("../../config/distributed-firewall.yaml");
    let at = before.find("distributedFirewall:").unwrap();
    let first = at + before[at..].find("rules:\n").unwrap() + "rules:\n".len();
    let indent: String = before[first..].chars().take_while(|letter| *letter == ' ').collect();
    let after = format!("{}{indent}- {{name: extra, action: DROP}}\n{}", &before[..first], &before[first..]);
    let objects = planned(before, &after);
    let told: Vec<_> = objects.iter().filter(|line| line.contains("rivate") || line.contains("irewall")).collect();
    assert_eq!(told.len(), 2, "{objects:#?}");
    assert!(told[0].starts_with("create distributedFirewall ") && told[0].ends_with("/extra"), "{told:?}");
    assert!(told[1].starts_with("update distributedFirewall ") && told[1].ends_with("/extra"), "{told:?}");
}

//! What has a number in a running lab keeps it with its name, wherever the file has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vnet::compile::Sender;
use vnet::daemon::api::protocol::{Request, Response};

use crate::{Lab, eventually, guest, network};

/// By property of a file, its items: some of each kind that has a device.
const KINDS: &[(&str, &[&str])] = &[
    (
        "virtualNetworks",
        &[
            "{name: hub, location: westeurope, addressSpace: [10.90.0.0/16], subnets: [{name: app, addressPrefix: 10.90.1.0/24}, {name: RouteServerSubnet, addressPrefix: 10.90.2.0/27}, {name: GatewaySubnet, addressPrefix: 10.90.255.0/26}]}",
            "{name: two, location: westeurope, addressSpace: [10.91.0.0/16], subnets: [{name: app, addressPrefix: 10.91.1.0/24}, {name: RouteServerSubnet, addressPrefix: 10.91.2.0/27}, {name: GatewaySubnet, addressPrefix: 10.91.255.0/26}]}",
            "{name: old, location: westeurope, addressSpace: [10.92.0.0/16], subnets: [{name: s, addressPrefix: 10.92.1.0/24}, {name: t, addressPrefix: 10.92.2.0/24}], attach: {namespace: left, interface: eth5, addresses: [10.92.1.4/24]}}",
            "{name: odd, location: westeurope, addressSpace: [10.93.0.0/16], subnets: [{name: s, addressPrefix: 10.93.1.0/24}], attach: {namespace: left, interface: eth6}}",
        ],
    ),
    ("publicIPAddresses", &["{name: ip-a, sku: Standard}", "{name: ip-b, sku: Standard}"]),
    ("routeServers", &["{name: rs-a, virtualNetwork: hub}", "{name: rs-b, virtualNetwork: two}"]),
    (
        "virtualNetworkGateways",
        &[
            "{name: vpn-a, virtualNetwork: hub, publicIPAddress: ip-a, sku: VpnGw1}",
            "{name: vpn-b, virtualNetwork: two, publicIPAddress: ip-b, sku: VpnGw1}",
            "{name: er, gatewayType: ExpressRoute, virtualNetwork: hub, sku: ErGw1AZ}",
        ],
    ),
    (
        "localNetworkGateways",
        &[
            "{name: lng-a, gatewayIpAddress: 198.51.100.50, localNetworkAddressSpace: [192.168.50.0/24]}",
            "{name: lng-b, gatewayIpAddress: 198.51.100.51, localNetworkAddressSpace: [192.168.51.0/24]}",
        ],
    ),
    (
        "connections",
        &[
            "{name: to-a, connectionType: IPsec, virtualNetworkGateway1: vpn-a, localNetworkGateway2: lng-a, sharedKey: k}",
            "{name: to-b, connectionType: IPsec, virtualNetworkGateway1: vpn-b, localNetworkGateway2: lng-b, sharedKey: k}",
            "{name: to-one, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: one}",
            "{name: to-two, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: two}",
        ],
    ),
    (
        "expressRouteCircuits",
        &[
            "{name: one, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65011, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 100}]}",
            "{name: two, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65012, primaryPeerAddressPrefix: 172.30.1.0/30, secondaryPeerAddressPrefix: 172.30.1.4/30, vlanId: 101}]}",
        ],
    ),
    (
        "sites",
        &[
            "{name: dc-a, gatewayIpAddress: 198.51.100.50, expressRouteCircuits: [one], addressSpace: [192.168.50.0/24], addresses: [192.168.50.10], sharedKey: k}",
            "{name: dc-b, gatewayIpAddress: 198.51.100.51, expressRouteCircuits: [two], addressSpace: [192.168.51.0/24], addresses: [192.168.51.10, 192.168.51.11], sharedKey: k}",
        ],
    ),
    (
        "privateClouds",
        &[
            "{name: sddc, networkBlock: 10.175.0.0/22, internet: Disabled, segments: [{name: web, addressPrefix: 10.176.1.0/24, addresses: [10.176.1.10], connectedGateway: T1}, {name: db, addressPrefix: 10.176.2.0/24, addresses: [10.176.2.10], connectedGateway: T1}]}",
        ],
    ),
    (
        "virtualMachines",
        &[
            "{name: nva, networkInterfaces: [{name: front, primary: true, subnet: hub/app, privateIPAddress: 10.90.1.9}, {name: back, subnet: hub/app}]}",
            "{name: web, networkInterfaces: [{name: nic, subnet: two/app}]}",
            "{name: there, networkInterfaces: [{name: nic, subnet: hub/app, attach: {namespace: elsewhere, interface: eth7}}]}",
            "{name: off, powerState: stopped, networkInterfaces: [{name: nic, subnet: hub/app}]}",
        ],
    ),
];

/// The file with each list in its order, or the other way round.
fn file(backwards: bool) -> String {
    let kinds = KINDS.iter().map(|(kind, items)| {
        let mut items: Vec<_> = items.iter().map(|item| format!("  - {item}\n")).collect();
        if backwards {
            items.reverse();
        }
        format!("{kind}:\n{}", items.concat())
    });
    format!(
        "name: lab\nemulation: {{workers: 1}}\ninternet: {{addresses: [198.51.100.7]}}\n{}",
        kinds.collect::<String>()
    )
}

/// By node and interface, the packets that came from there.
fn counted(lab: &Lab) -> BTreeMap<String, u64> {
    match lab.ask(&Request::Counters) {
        Response::Counters(rows) => {
            rows.into_iter().map(|row| (format!("{} {}", row.node, row.nic), row.rx_packets)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// By number, who sends by it.
fn senders(lab: &Lab) -> BTreeSet<(u32, String)> {
    let published = lab.engine.published();
    let attachments = published.network.attachments();
    let Response::Counters(rows) = lab.ask(&Request::Counters) else { panic!("no counters") };
    let name = |sender: Sender| {
        let at = attachments.iter().position(|at| *at == sender.attachment());
        let subnet = sender.guest(&published.network).map(|(subnet, _)| &published.network.subnet(subnet).name);
        let place = at.map_or("off", |at| &rows[at].node);
        format!("{place} {} {}", at.map_or("", |at| &rows[at].nic), subnet.map_or("", |name| name))
    };
    published.compiled.ids().senders().map(|(nic, sender)| (nic.0, name(sender))).collect()
}

#[test]
fn all_that_has_a_device_keeps_its_numbers_in_another_order() {
    let lab = Lab::start_with(&file(false));
    // Each device has another count: what is no packet is counted where it came from.
    for (guest, packets) in lab.guests.iter().zip(1..) {
        (0..packets).for_each(|_| assert_eq!(guest.send(b"no packet").unwrap(), 9));
    }
    let all = lab.guests.len() as u64;
    eventually(|| counted(&lab).values().sum::<u64>() == all * (all + 1) / 2);
    let (before, numbered) = (counted(&lab), senders(&lab));
    assert_eq!(before.len(), lab.guests.len(), "no two have one name: {before:?}");
    assert_eq!(numbered.iter().map(|(_, name)| name).collect::<BTreeSet<_>>().len(), numbered.len(), "{numbered:?}");
    let next = lab.engine.prepare(network(&file(true))).unwrap();
    assert_eq!(next.missing, []);
    lab.engine.publish(next, HashMap::new()).unwrap();
    assert_eq!((counted(&lab), senders(&lab)), (before, numbered));
    // Names are compared as Azure does: without regard to case.
    let loud = file(false)
        .replace("name: nva", "name: NVA")
        .replace("name: vpn-a,", "name: VPN-A,")
        .replace("Gateway1: vpn-a", "Gateway1: VPN-A");
    let next = lab.engine.prepare(network(&loud)).unwrap();
    assert_eq!(next.missing, []);
}

/// A device that was found belongs to its namespace, whoever has it; one that the lab makes, to its owner.
#[test]
fn a_found_device_stays_with_another_owner_and_a_made_one_does_not() {
    let lab = Lab::start_with(&file(false));
    let missing = |from: &str, to: &str| {
        let text = file(false).replace(from, to);
        assert_ne!(text, file(false), "{from}");
        lab.engine.prepare(network(&text)).unwrap().missing.len()
    };
    assert_eq!(missing("name: there,", "name: here,"), 0);
    assert_eq!(missing("name: odd,", "name: even,"), 0);
    assert_eq!(missing("interface: eth7", "interface: eth8"), 1);
    assert_eq!(missing("namespace: elsewhere", "namespace: left"), 1);
    assert_eq!(missing("name: web, net", "name: site, net"), 1);
    assert_eq!(missing("name: back,", "name: other,"), 1);
    assert_eq!(missing("name: rs-a,", "name: rs-c,"), 1);
    assert_eq!(missing("name: to-a,", "name: to-c,"), 1);
}

/// A device comes after those that there are, until one of them has gone.
#[test]
fn a_new_device_gets_a_number_that_is_free() {
    let lab = Lab::start_with(&file(false));
    let engine = &lab.engine;
    let port = |name: &str| {
        let at = engine.network().attachments();
        let Response::Counters(rows) = lab.ask(&Request::Counters) else { panic!("no counters") };
        let row = rows.iter().position(|row| row.node == name).unwrap();
        engine.compiled().ids().port(at[row]).unwrap().0
    };
    let apply = |text: &str| {
        let next = engine.prepare(network(text)).unwrap();
        let tuns = next.missing.iter().map(|at| (*at, (guest().0, None))).collect();
        engine.publish(next, tuns).unwrap();
    };
    let web = port("web");
    apply(&file(false).replace("name: web, net", "name: next, net"));
    assert_eq!(port("next") as usize, lab.guests.len(), "the other is there until then");
    apply(&file(false).replace("name: web, net", "name: third, net"));
    assert_eq!(port("third"), web);
}

/// Each node once, with all its interfaces; what stood before the lab by its own names, and machines that do not run last.
#[test]
fn the_status_lists_nodes_with_their_interfaces() {
    let lab = Lab::start_with(&file(false));
    let Response::Status(status) = lab.ask(&Request::Status) else { panic!("no status") };
    let told = status.nodes.iter().map(|node| {
        let interfaces = node.network_interfaces.iter().map(|it| {
            let addresses: Vec<_> = it.addresses.iter().map(ToString::to_string).collect();
            let alive = if it.alive { "" } else { " down" };
            format!("; {} `{}` {} [{}]{alive}", it.name, it.device, it.subnet, addresses.join(" "))
        });
        format!("{} `{}` {:?}{}", node.name, node.namespace, node.power_state, interfaces.collect::<String>())
    });
    assert_eq!(told.collect::<Vec<_>>(), NODES);
}

const NODES: &[&str] = &[
    "old `left` Running; eth5 `eth5` old [10.92.1.4]",
    "odd `left` Running; eth6 `eth6` odd []",
    "nva `lab-nva` Running; front `` hub/app [10.90.1.9]; back `eth1` hub/app [10.90.1.4]",
    "web `` Running; nic `` two/app [10.91.1.4]",
    "there `elsewhere` Running; nic `eth7` hub/app [10.90.1.5]",
    "internet `lab-internet` Running; eth0 `eth0`  [198.51.100.7]",
    "vpn-a `lab-vpn-a` Running; vpn-a `` hub/GatewaySubnet [10.90.255.4 10.90.255.5]",
    "vpn-b `` Running; vpn-b `` two/GatewaySubnet [10.91.255.4 10.91.255.5]",
    "er `` Running; er `` hub/GatewaySubnet [10.90.255.12 10.90.255.13]",
    "dc-a `` Running; to-a ``  [192.168.50.10]; one-primary ``  [192.168.50.10 172.30.0.1]; one-secondary ``  [192.168.50.10 172.30.0.5]",
    "dc-b `lab-dc-b` Running; to-b `tun0`  [192.168.51.10 192.168.51.11]; two-primary ``  [192.168.51.10 192.168.51.11 172.30.1.1]; two-secondary ``  [192.168.51.10 192.168.51.11 172.30.1.5]",
    "one `` Running; one ``  [172.30.0.2 172.30.0.6]",
    "two `` Running; two ``  [172.30.1.2 172.30.1.6]",
    "sddc-circuit `` Running; sddc-circuit ``  [10.175.0.226 10.175.0.230]",
    "sddc `` Running; sddc-circuit-primary ``  [10.175.0.2 10.175.0.3 10.175.1.4 10.175.1.5 10.175.1.6 10.175.1.132 10.175.1.133 10.175.1.134 10.175.0.225]; sddc-circuit-secondary ``  [10.175.0.2 10.175.0.3 10.175.1.4 10.175.1.5 10.175.1.6 10.175.1.132 10.175.1.133 10.175.1.134 10.175.0.229]",
    "rs-a `` Running; rs-a `` hub/RouteServerSubnet [10.90.2.4 10.90.2.5]",
    "rs-b `` Running; rs-b `` two/RouteServerSubnet [10.91.2.4 10.91.2.5]",
    "sddc-T0 `` Running; sddc-T0 ``  [100.64.0.0]",
    "T1 `` Running; T1 ``  [100.64.0.1 10.176.1.1 10.176.2.1]",
    "sddc-web `` Running; web `` sddc/web [10.176.1.10]",
    "sddc-db `` Running; db `` sddc/db [10.176.2.10]",
    "off `` Stopped; nic `` hub/app [10.90.1.6] down",
];

//! What compiled tables share, and what they make of the state that a running lab learns. The tables of single topologies are
//! in `tests/golden/compile`.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use vnet::compile::{Sender, compile};
use vnet::config;
use vnet::daemon::outage::outage;
use vnet::dataplane::{AclId, IdleReset, PortPool};
use vnet::model::{
    Advertisement, Attachment, CircuitIx, CloudIx, ConnectionIx, GatewayIx, Learned, Network, NicIx, RouteServerIx,
    Side, SubnetIx, TunnelFault, VnetIx,
};

/// Subnets with the same routes share a table, interfaces that see the same rules an ACL.
#[test]
fn equal_tables_are_shared() {
    let network = load(Path::new("tests/golden/compile/shared.yaml"));
    let compiled = compile(&network, &Learned::default(), 1);
    assert_eq!((compiled.snapshot.fibs.len(), compiled.snapshot.acls.len()), (2, 4));
}

/// Rules that name the same addresses share one list of prefixes, whichever groups they stand in: a tag may have thousands.
#[test]
fn equal_lists_of_prefixes_are_shared() {
    let network = load(Path::new("tests/golden/compile/shared.yaml"));
    let compiled = compile(&network, &Learned::default(), 1);
    let acls = (0..compiled.snapshot.acls.len() as u32).map(AclId);
    let rules = acls.flat_map(|acl| compiled.effective_rules(acl));
    let lists: Vec<_> = rules.flat_map(|rule| [&rule.matches.src, &rule.matches.dst]).collect();
    let in_memory: HashSet<_> = lists.iter().map(|list| list.as_ptr()).collect();
    let different: HashSet<_> = lists.iter().collect();
    assert!(different.len() < lists.len(), "{different:?}");
    assert_eq!(in_memory.len(), different.len());
}

/// NSG-30: the lists for the platform's services are made once for each NSG, however many interfaces it guards.
#[test]
fn nsg_30_lists_for_the_platform_are_shared() {
    let text = include_str!("../golden/compile/nsg-30-platform-tags.yaml");
    let more = text.replace("  - {name: b,", "  - {name: c, networkInterfaces: [{subnet: v/s}]}\n  - {name: b,");
    let lists = |text: &str| {
        let network = config::load(text, "nsg-30.yaml").unwrap().network;
        compile(&network, &Learned::default(), 1).snapshot.acls.len()
    };
    assert_eq!(lists(&more), lists(text));
}

/// NIC-02, NIC-03, ARS-02: an interface forwards where the file says so, a gateway always, a route server never.
#[test]
fn nic_02_ars_02_gateways_forward_and_route_servers_do_not() {
    let text = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: s, addressPrefix: 10.1.0.0/24}
      - {name: GatewaySubnet, addressPrefix: 10.1.1.0/27}
      - {name: RouteServerSubnet, addressPrefix: 10.1.2.0/27}
publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways: [{name: gw, virtualNetwork: v, publicIPAddress: p}]
routeServers: [{name: rs, virtualNetwork: v}]
virtualMachines:
  - {name: nva, networkInterfaces: [{subnet: v/s, enableIPForwarding: true}]}
  - {name: vm, networkInterfaces: [{subnet: v/s}]}
emulation: {tcpStateTracking: 'on'}
";
    let network = config::load(text, "forwarding.yaml").unwrap_or_else(|errors| panic!("{errors:?}")).network;
    let compiled = compile(&network, &Learned::default(), 1);
    let senders = [
        Sender::Nic(NicIx(0)),
        Sender::Nic(NicIx(1)),
        Sender::Gateway(GatewayIx(0)),
        Sender::RouteServer(RouteServerIx(0)),
    ];
    let nics = senders.map(|sender| compiled.snapshot.nic(compiled.ids().nic(sender).unwrap()));
    assert_eq!(nics.map(|nic| nic.forwarding), [true, false, true, false]);
    assert_eq!(nics.map(|nic| nic.flows.strict_tcp), [true, true, false, false], "what guests send is tracked");
}

/// What the running system learned about an attachment reaches every sender behind it.
#[test]
fn a_learned_mtu_is_used_and_1500_where_none_is_known() {
    let network = load(Path::new("tests/golden/compile/attach.yaml"));
    let learned = Learned { mtu: [(Attachment::Vnet(VnetIx(0)), 9000)].into(), ..Learned::default() };
    let compiled = compile(&network, &learned, 7);
    let mtus: Vec<_> = compiled.snapshot.nics.iter().map(|nic| nic.mtu).collect();
    let nics = network.network_interfaces.len();
    let behind = network.virtual_networks[0].subnets.len();
    // And the platform's.
    assert_eq!(mtus, [vec![1500; nics], vec![9000; behind], vec![1500]].concat());
    assert_eq!(compiled.snapshot.generation, 7);
}

/// The next hops of the rows to a prefix, or to where a user's own route leads.
fn next_hops(network: &Network, learned: &Learned, prefix: &str) -> String {
    let compiled = compile(network, learned, 1);
    let rows = compiled.effective_routes(SubnetIx { vnet: VnetIx(0), subnet: 0 }).iter();
    let own = rows.filter(|row| row.prefixes.to_string() == prefix && !row.next_hop_ip.is_empty());
    let hops = own.map(|row| row.next_hop_ip.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    hops.collect::<Vec<_>>().join(", ")
}

fn down(names: &[&str]) -> Learned {
    Learned { down: names.iter().map(|name| (*name).to_owned()).collect(), ..Learned::default() }
}

/// What is on-premises behind a gateway with two active instances: one range by BGP, one that stands in a file.
const TWO_INSTANCES: &str = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.80.0.0/16], subnets: [{name: s, addressPrefix: 10.80.4.0/24, routeTable: rt}, {name: GatewaySubnet, addressPrefix: 10.80.255.0/27}]}
routeTables: [{name: rt, routes: [{name: own, addressPrefix: 172.31.0.0/16, nextHopType: VirtualNetworkGateway}]}]
publicIPAddresses: [{name: p1, sku: Standard}, {name: p2, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, activeActive: true, enableBgp: true, ipConfigurations: [{subnet: v/GatewaySubnet, publicIPAddress: p1}, {subnet: v/GatewaySubnet, publicIPAddress: p2}]}
localNetworkGateways:
  - {name: a, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
  - {name: b, gatewayIpAddress: 198.51.100.2, localNetworkAddressSpace: [172.21.0.0/16]}
connections:
  - {name: v-a, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: a, sharedKey: k, enableBgp: true}
  - {name: v-b, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: b, sharedKey: k}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [172.20.0.0/16], bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
  - {name: old, gatewayIpAddress: 198.51.100.2, addressSpace: [172.21.0.0/16]}
";

/// VPN-33, VPN-13, SYS-09a: a row has the instances with tunnels that lead there. One that is away is no next hop, and
/// neither is one that has heard of a range from the other alone (BGP-16). Where nothing leads any more a static row
/// stays as it was.
#[test]
fn vpn_33_an_instance_without_a_way_is_no_next_hop() {
    let network = config::load(TWO_INSTANCES, "two-instances.yaml").unwrap().network;
    let heard = |over: &[&str], learned: Learned| {
        let mut learned = learned;
        let ways = over.iter().map(|name| ((*name).to_owned(), vec!["172.20.0.0/16".parse().unwrap()]));
        learned.bgp.by_connection = ways.collect();
        learned
    };
    let own = "172.31.0.0/16";
    for (over, away, learned, fixed, to_gateway) in [
        (
            &["v-a", "v-a#2"][..],
            &[][..],
            "10.80.255.4 10.80.255.5",
            "10.80.255.4 10.80.255.5",
            "10.80.255.4 10.80.255.5",
        ),
        (&["v-a#2"], &[], "10.80.255.5", "10.80.255.4 10.80.255.5", "10.80.255.4 10.80.255.5"),
        // A session takes a moment to end.
        (&["v-a", "v-a#2"], &["gw"], "10.80.255.5", "10.80.255.5", "10.80.255.5"),
        (&["v-a"], &["gw#2"], "10.80.255.4", "10.80.255.4", "10.80.255.4"),
        (&[], &["gw", "gw#2"], "", "10.80.255.4 10.80.255.5", "10.80.255.4 10.80.255.5"),
    ] {
        let known = heard(over, down(away));
        let found = ["172.20.0.0/16", "172.21.0.0/16", own].map(|prefix| next_hops(&network, &known, prefix));
        assert_eq!(found, [learned, fixed, to_gateway], "over {over:?}, without {away:?}");
    }
    // The second tunnel to the site without BGP: its device is switched off.
    let tunnel = network.connections.iter().position(|tunnel| tunnel.name == "v-b#2").unwrap();
    let off = Learned { switched_off: [Attachment::Tunnel(ConnectionIx(tunnel))].into(), ..Learned::default() };
    assert_eq!(next_hops(&network, &off, "172.21.0.0/16"), "10.80.255.4");
    // And while it is, the instance of the other goes away: nothing leads there, and the one that is there is listed.
    let off = Learned { down: down(&["gw"]).down, ..off };
    assert_eq!(next_hops(&network, &off, "172.21.0.0/16"), "10.80.255.5");
}

/// VPN-33: a client goes over to the other instance of its gateway, and not to one that is away too.
#[test]
fn vpn_33_a_client_goes_over_only_to_what_is_there() {
    let clients = TWO_INSTANCES.replace(
        "enableBgp: true, ip",
        "enableBgp: true, vpnClientConfiguration: {vpnClientAddressPool: {addressPrefixes: [172.16.201.0/24]}}, ip",
    ) + "vpnClients: [{name: laptop, virtualNetworkGateway: gw}, {name: tablet, virtualNetworkGateway: gw}]\n";
    let network = config::load(&clients, "clients.yaml").unwrap().network;
    let by = |now: &[&str], away: &str| -> Vec<Vec<String>> {
        let (_, detours) = outage(&network, &down(now), &[away.to_owned()]);
        let of_clients = detours.into_iter().filter(|detour| ["laptop", "tablet"].contains(&detour.to.as_str()));
        of_clients.map(|detour| detour.by).collect()
    };
    for (away, other, moved) in [("gw", "gw#2", "instance 2 of gw"), ("gw#2", "gw", "instance 1 of gw")] {
        assert!(by(&[away], away).concat().iter().all(|by| by == moved), "{away}");
        let nothing = by(&[away, other], away);
        assert_eq!(nothing.concat(), Vec::<String>::new(), "{away}, and before it {other}");
        assert_eq!(nothing.len(), 2, "each is reported once: {nothing:?}");
    }
    assert_eq!(
        [by(&["gw"], "gw"), by(&["gw#2"], "gw#2")].concat().concat().len(),
        2,
        "each has an instance of its own"
    );
}

/// VPN-33, ER-02: what an outage takes down, and for each place, named once, the paths that remain.
#[test]
fn vpn_33_er_02_each_place_is_told_what_remains() {
    let with_circuit = TWO_INSTANCES
        .replace("localNetworkGateways:", "  - {name: er, gatewayType: ExpressRoute, virtualNetwork: v}
expressRouteCircuits:
  - name: london
    peerings: [{peeringType: AzurePrivatePeering, peerASN: 65020, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]
localNetworkGateways:")
        .replace("sites:", "  - {name: v-london, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: london}
sites:
  - {name: office, expressRouteCircuits: [london], addressSpace: [192.168.90.0/24]}");
    let network = config::load(&with_circuit, "circuit.yaml").unwrap().network;
    for (away, lost, remains) in [
        (&["gw"][..], &["v-a", "v-b"][..], &[("dc", "v-a#2"), ("old", "v-b#2")][..]),
        (&["gw", "gw#2"], &["v-a", "v-a#2", "v-b", "v-b#2"], &[("dc", ""), ("old", "")]),
        (&["london-primary"], &["london-primary"], &[("office", "london-secondary")]),
        (
            &["london-primary", "london-secondary"],
            &["v-london", "london-primary", "london-secondary"],
            &[("office", "")],
        ),
    ] {
        let away_now: Vec<_> = away.iter().map(|name| (*name).to_owned()).collect();
        let (down, detours) = outage(&network, &down(away), &away_now);
        assert_eq!(down, lost, "without {away:?}");
        let detours: Vec<_> = detours.iter().map(|detour| (detour.to.as_str(), detour.by.join(" "))).collect();
        let remains: Vec<_> = remains.iter().map(|(to, by)| (*to, (*by).to_owned())).collect();
        assert_eq!(detours, remains, "without {away:?}");
    }
}

/// SYS-09a: of two tunnels over one instance each is a row, of equal address.
#[test]
fn sys_09a_two_tunnels_over_one_instance_are_two_equal_rows() {
    let second = TWO_INSTANCES
        .replace("  - {name: b, ", "  - {name: c, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [172.21.0.0/16]}\n  - {name: b, ")
        .replace("  - {name: v-b, ", "  - {name: v-c, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: c, sharedKey: k}\n  - {name: v-b, ");
    let network = config::load(&second, "two-tunnels.yaml").unwrap().network;
    let listed = |learned| next_hops(&network, &learned, "172.21.0.0/16");
    assert_eq!(listed(Learned::default()), "10.80.255.4 10.80.255.4 10.80.255.5 10.80.255.5");
    assert_eq!(listed(down(&["gw"])), "10.80.255.5 10.80.255.5");
    let standby =
        second.replace("activeActive: true, ", "").replace(", {subnet: v/GatewaySubnet, publicIPAddress: p2}", "");
    let network = config::load(&standby, "standby.yaml").unwrap().network;
    assert_eq!(next_hops(&network, &Learned::default(), "172.21.0.0/16"), "203.0.113.4 203.0.113.4");
}

/// Two circuits that reach one range, and another network on the first.
const TWO_CIRCUITS: &str = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.90.0.0/16], subnets: [{name: s, addressPrefix: 10.90.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.90.255.0/27}]}
  - {name: w, location: westeurope, addressSpace: [10.91.0.0/16], subnets: [{name: s, addressPrefix: 10.91.1.0/24}, {name: GatewaySubnet, addressPrefix: 10.91.255.0/27}]}
virtualNetworkGateways:
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: v, allowRemoteVnetTraffic: true}
  - {name: wer, gatewayType: ExpressRoute, virtualNetwork: w, allowRemoteVnetTraffic: true}
expressRouteCircuits:
  - {name: x, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]}
  - {name: y, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.1.0/30, secondaryPeerAddressPrefix: 172.30.1.4/30, vlanId: 10}]}
connections:
  - {name: v-x, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: x}
  - {name: v-y, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: y}
  - {name: w-x, connectionType: ExpressRoute, virtualNetworkGateway1: wer, peer: x}
sites:
  - {name: dcx, expressRouteCircuits: [x], addressSpace: [192.168.90.0/24]}
  - {name: dcy, expressRouteCircuits: [y], addressSpace: [192.168.90.0/24]}
";

/// ER-02, SYS-09a: a row has the links that lead there: one that has failed, or over which the site does not say the range, is
/// no next hop. What another network is reached by stays: no customer's link is on that way.
#[test]
fn er_02_a_link_without_a_way_is_no_next_hop() {
    let network = config::load(TWO_CIRCUITS, "two-circuits.yaml").unwrap().network;
    let [site, other] = ["192.168.90.0/24", "10.91.0.0/16"];
    for (away, expected) in [
        (&[][..], "10.3.129.92 10.3.129.93 10.3.129.94 10.3.129.95"),
        (&["x-primary"], "10.3.129.93 10.3.129.94 10.3.129.95"),
        (&["x-secondary", "y-primary"], "10.3.129.92 10.3.129.95"),
        (&["x-primary", "x-secondary"], "10.3.129.94 10.3.129.95"),
        (&["x-primary", "x-secondary", "y-primary", "y-secondary"], ""),
        // The gateway itself.
        (&["er"], ""),
    ] {
        assert_eq!(next_hops(&network, &down(away), site), expected, "without {away:?}");
        let over = if away == ["er"] { "" } else { "10.3.129.92 10.3.129.93" };
        assert_eq!(next_hops(&network, &down(away), other), over, "without {away:?}");
    }
    let off =
        Learned { switched_off: [Attachment::CircuitLink(CircuitIx(0), Side::Primary)].into(), ..Learned::default() };
    assert_eq!(next_hops(&network, &off, site), "10.3.129.93 10.3.129.94 10.3.129.95");
    // By sessions of its own, over the secondary link alone.
    let over = BTreeSet::from(["x-secondary".to_owned()]);
    let mut said = Learned::default();
    said.bgp
        .by_circuit
        .insert("x".into(), [(site.parse().unwrap(), Advertisement { as_path: vec![65010], over })].into());
    assert_eq!(next_hops(&network, &said, site), "10.3.129.93 10.3.129.94 10.3.129.95");
    // Its session ends a moment after the link.
    said.down = down(&["x-secondary"]).down;
    assert_eq!(next_hops(&network, &said, site), "10.3.129.94 10.3.129.95");
    // What the file says of one link alone, for a site that does not speak itself: nothing, or a longer path.
    for (link, away, expected) in [
        ("primary: {advertises: []}", &[][..], "10.3.129.93 10.3.129.94 10.3.129.95"),
        ("secondary: {prepend: 1}", &[], "10.3.129.92 10.3.129.94 10.3.129.95"),
        ("secondary: {prepend: 1}", &["x-primary"], "10.3.129.94 10.3.129.95"),
        ("secondary: {prepend: 1}", &["x-primary", "y-primary", "y-secondary"], "10.3.129.93"),
        ("prepend: 2", &[], "10.3.129.94 10.3.129.95"),
    ] {
        let text = TWO_CIRCUITS
            .replace("expressRouteCircuits: [x]", &format!("expressRouteCircuits: [{{circuit: x, {link}}}]"));
        let network = config::load(&text, "two-circuits.yaml").unwrap().network;
        assert_eq!(next_hops(&network, &down(away), site), expected, "{link}, without {away:?}");
    }
}

/// LIM-21, ER-03: a gateway advertises as many prefixes over a connection to a circuit as it may, and with one more none.
#[test]
fn lim_21_prefixes_of_a_gateway() {
    let mut network = config::load(TWO_CIRCUITS, "two-circuits.yaml").unwrap().network;
    for (count, fault) in [(1_000, None), (1_001, Some(TunnelFault::TooManyPrefixes))] {
        let range = |i: u32| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0a5a_0000 + i), 32));
        network.virtual_networks[0].address_space = (0..count).map(range).collect();
        let faults = [0, 1, 2].map(|connection| network.tunnel_fault(ConnectionIx(connection)));
        assert_eq!(faults, [fault, fault, None], "{count} prefixes");
    }
}

/// VPN-44: the pool, the spaces that the gateway leads to, what it has learned but for a default route, and custom routes; each
/// once.
#[test]
fn vpn_44_a_client_has_each_route_once() {
    let text = include_str!("../golden/config/vpn-42-point-to-site.yaml");
    let text = text
        .replace("[192.168.0.0/16]", "[192.168.0.0/16, 10.1.0.0/16, 172.16.1.0/28]")
        .replace("vpnClients:", "localNetworkGateways: [{name: b, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65010, bgpPeeringAddress: 10.9.0.1}}]\nconnections: [{name: a-b, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: b, enableBgp: true, sharedKey: k}]\nvpnClients:")
        .replace("    activeActive: true", "    enableBgp: true\n    activeActive: true");
    let network = config::load(&text, "clients.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
    let mut learned = Learned::default();
    let heard = ["0.0.0.0/0", "10.9.0.0/16", "192.168.0.0/16"].map(|prefix| prefix.parse().unwrap());
    learned.bgp.by_connection.insert("a-b".into(), heard.into());
    let routes = |learned: &Learned| {
        let routes = network.client_routes(GatewayIx(0), learned);
        routes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(routes(&Learned::default()), "172.16.1.0/28 172.16.2.0/28 10.1.0.0/16 192.168.0.0/16");
    assert_eq!(routes(&learned), "172.16.1.0/28 172.16.2.0/28 10.1.0.0/16 10.9.0.0/16 192.168.0.0/16");
}

/// NSG-26: each virtual network and each private cloud has a share of the flow table of its own.
#[test]
fn nsg_26_networks_and_clouds_have_shares_of_their_own() {
    let text = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}]}
  - {name: w, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24}]}
privateClouds:
  - {name: one, networkBlock: 10.175.0.0/22, segments: [{name: a, addressPrefix: 10.176.1.0/24, addresses: [10.176.1.10]}, {name: b, addressPrefix: 10.176.2.0/24, addresses: [10.176.2.10]}]}
  - {name: two, networkBlock: 10.185.0.0/22, segments: [{name: a, addressPrefix: 10.186.1.0/24, addresses: [10.186.1.10]}]}
virtualMachines:
  - {name: v, networkInterfaces: [{subnet: v/s}, {subnet: v/s}]}
  - {name: w, networkInterfaces: [{subnet: w/s}]}
";
    let network = config::load(text, "shares.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
    let compiled = compile(&network, &Learned::default(), 1);
    let share = |sender| compiled.snapshot.nic(compiled.ids().nic(sender).unwrap()).flows.share;
    let nics = [0, 1, 2].map(|nic| share(Sender::Nic(NicIx(nic))));
    let [a, b, c] = [(0, 0), (0, 1), (1, 0)].map(|(cloud, segment)| share(Sender::Segment(CloudIx(cloud), segment)));
    assert!(nics[0] == nics[1] && a == b, "one network, one share");
    let different: HashSet<_> = [nics[0].0, nics[2].0, a.0, c.0].into();
    assert_eq!(different.len(), 4, "{different:?}");
}

/// Each backend has a share of the ports of the frontends, without the blocks that rules use.
#[test]
fn snat_06_no_backend_has_a_port_of_a_rules_block() {
    let tcp = "protocol: Tcp, frontendIPConfigurations: [one], allocatedOutboundPorts: 1000";
    for (frontend, ports, expected) in [
        ("one", &[][..], ["30:1024+1000", "30:2024+1000", "30:3024+1000"]),
        // Several rules in one block.
        ("one", &[2007, 2000, 2003], ["30:1024+976 30:2008+16", "30:2024+1000", "30:3024+1000"]),
        // The first and the last block of a share.
        ("one", &[1024, 2023], ["30:1032+984", "30:2024+1000", "30:3024+1000"]),
        ("one", &[2032, 2031, 2024], ["30:1024+1000", "30:2040+984", "30:3024+1000"]),
        // The ports beside all shares.
        ("one", &[80, 1023, 4024, 4023], ["30:1024+1000", "30:2024+1000", "30:3024+992"]),
        ("two", &[2000], ["30:1024+1000", "30:2024+1000", "30:3024+1000"]),
    ] {
        assert_eq!(outbound_shares(tcp, frontend, ports), expected, "{ports:?} at {frontend}");
    }
}

/// What a rule says is a backend's share of all frontends together; by default it has a share of each.
#[test]
fn snat_05_shares_of_two_frontends() {
    let udp = "protocol: Udp, frontendIPConfigurations: [one, two]";
    let stated = outbound_shares(&format!("{udp}, allocatedOutboundPorts: 40000"), "one", &[]);
    assert_eq!(stated, ["30:1024+40000", "30:41024+24000 31:1024+16000", "31:17024+40000"]);
    let by_default = outbound_shares(udp, "one", &[2050]);
    assert_eq!(by_default, ["30:1024+1024 31:1024+1024", "30:2056+1016 31:2048+1024", "30:3072+1024 31:3072+1024"]);
}

/// The ports of three backends by an outbound rule, each range as `ADDRESS:FIRST+COUNT`; inbound rules use these ports of a
/// frontend.
fn outbound_shares(rule: &str, frontend: &str, used: &[u16]) -> Vec<String> {
    let inbound = used.iter().map(|port| {
        format!("      - {{name: p{port}, frontendIPConfiguration: {frontend}, protocol: Tcp, frontendPort: {port}, backendPort: 22}}\n")
    });
    let inbound: String =
        ["    inboundNatRules:\n".to_owned()].into_iter().filter(|_| !used.is_empty()).chain(inbound).collect();
    let named: Vec<_> = used.iter().map(|port| format!("lb/p{port}")).collect();
    let named =
        if used.is_empty() { String::new() } else { format!(", loadBalancerInboundNatRules: [{}]", named.join(", ")) };
    let text = format!(
        "
internet: {{}}
publicIPAddresses: [{{name: one, ipAddress: 203.0.113.30}}, {{name: two, ipAddress: 203.0.113.31}}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{{name: one, publicIPAddress: one}}, {{name: two, publicIPAddress: two}}]
    backendAddressPools: [{{name: web}}]
{inbound}    outboundRules: [{{name: out, backendAddressPool: web, idleTimeoutInMinutes: 10, enableTcpReset: true, {rule}}}]
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s, loadBalancerBackendAddressPools: [lb/web]{named}}}]}}
  - {{name: b, networkInterfaces: [{{subnet: v/s, loadBalancerBackendAddressPools: [lb/web]}}]}}
  - {{name: c, networkInterfaces: [{{subnet: v/s, loadBalancerBackendAddressPools: [lb/web]}}]}}
"
    );
    let network = config::load(&text, "outbound.yaml").unwrap_or_else(|errors| panic!("{errors}\n{text}")).network;
    let compiled = compile(&network, &Learned::default(), 1);
    let pools = compiled.snapshot.edge.as_ref().unwrap().pools.iter().filter(|pool| pool.preallocated);
    let share = |pool: &PortPool| {
        assert_eq!((pool.tcp_idle_secs, pool.idle_reset, pool.echoes), (600, IdleReset::BothEnds, false));
        let last = |address: IpAddr| address.to_string().replace("203.0.113.", "");
        let ranges = pool.ports.iter().map(|ports| format!("{}:{}+{}", last(ports.address), ports.first, ports.count));
        ranges.collect::<Vec<_>>().join(" ")
    };
    pools.map(share).collect()
}

fn load(path: &Path) -> Network {
    let text = fs::read_to_string(path).unwrap();
    let loaded = config::load(&text, &path.display().to_string());
    loaded.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display())).network
}

//! Compilation against golden listings: each topology of `tests/compile` and `config` has a twin in `tests/compile` with
//! every subnet's effective routes, where each leads, and every security rule with its tags expanded.
//! `UPDATE_GOLDEN=1` rewrites the twins.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "golden/mod.rs"]
mod golden;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ipnet::IpNet;
use vnet::bgp::topology::converge;
use vnet::compile::{Compiled, EffectiveRule, RuleOwner, Sender, compile};
use vnet::config;
use vnet::dataplane::{AclId, Fib, Filters, NextHop, NicId, ProtocolMatch, RouteId};
use vnet::model::{
    Advertisement, Attachment, CircuitIx, ConnectionIx, Internet, Learned, Network, NicIx, Side, SubnetIx, VnetIx,
};

use golden::Golden;

#[test]
fn topologies_compile_to_their_golden_twins() {
    let cases = yaml_files("tests/compile").into_iter().chain(yaml_files("config"));
    let mut golden = Golden::default();
    for case in cases {
        let twin = Path::new("tests/compile").join(case.with_extension("txt").file_name().unwrap());
        golden.check(&twin, &listing(&load(&case)));
    }
    golden.end();
}

/// Subnets with the same routes share a table, interfaces that see the same rules an ACL.
#[test]
fn equal_tables_are_shared() {
    let network = load(Path::new("tests/compile/shared.yaml"));
    let compiled = compile(&network, &Learned::default(), 1);
    assert_eq!((compiled.snapshot.fibs.len(), compiled.snapshot.acls.len()), (2, 4));
}

/// Rules that name the same addresses share one list of prefixes, whichever groups they stand in: a tag may have thousands.
#[test]
fn equal_lists_of_prefixes_are_shared() {
    let network = load(Path::new("tests/compile/shared.yaml"));
    let compiled = compile(&network, &Learned::default(), 1);
    let acls = (0..compiled.snapshot.acls.len() as u32).map(AclId);
    let rules = acls.flat_map(|acl| compiled.effective_rules(acl));
    let lists: Vec<_> = rules.flat_map(|rule| [&rule.matches.src, &rule.matches.dst]).collect();
    let in_memory: HashSet<_> = lists.iter().map(|list| list.as_ptr()).collect();
    let different: HashSet<_> = lists.iter().collect();
    assert!(different.len() < lists.len(), "{different:?}");
    assert_eq!(in_memory.len(), different.len());
}

/// What the running system learned about an attachment reaches every sender behind it.
/// NSG-30: the lists for the platform's services are made once for each NSG, however many interfaces it guards.
#[test]
fn nsg_30_lists_for_the_platform_are_shared() {
    let text = include_str!("compile/nsg-30-platform-tags.yaml");
    let more = text.replace("  - {name: b,", "  - {name: c, networkInterfaces: [{subnet: v/s}]}\n  - {name: b,");
    let lists = |text: &str| {
        let network = config::load(text, "nsg-30.yaml").unwrap().network;
        compile(&network, &Learned::default(), 1).snapshot.acls.len()
    };
    assert_eq!(lists(&more), lists(text));
}

#[test]
fn a_learned_mtu_is_used_and_1500_where_none_is_known() {
    let network = load(Path::new("tests/compile/attach.yaml"));
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

/// VPN-33, VPN-13, SYS-09a: a row has the instances whose tunnels lead there. One that is away is no next hop, and neither is
/// one that has heard of a range from the other alone (BGP-16). Where nothing leads any more a static row stays as it was.
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

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort();
    files
}

fn load(path: &Path) -> Network {
    let text = fs::read_to_string(path).unwrap();
    let loaded = config::load(&text, &path.display().to_string());
    loaded.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display())).network
}

fn listing(network: &Network) -> String {
    let compiled = compile(network, &converge(network, Instant::now()).learned(), 1);
    let mut text = String::new();
    for (v, vnet) in network.virtual_networks.iter().enumerate() {
        for subnet in 0..vnet.subnets.len() {
            routes(&mut text, network, &compiled, SubnetIx { vnet: VnetIx(v), subnet });
        }
    }
    for nic in 0..compiled.snapshot.nics.len() {
        filters(&mut text, network, &compiled, NicId(nic as u32));
    }
    for acl in 0..compiled.snapshot.acls.len() {
        writeln!(text, "\nacl {acl}").unwrap();
        for rule in compiled.effective_rules(AclId(acl as u32)) {
            writeln!(text, "{}", rule_line(network, rule)).unwrap();
        }
    }
    text
}

fn routes(text: &mut String, network: &Network, compiled: &Compiled, subnet: SubnetIx) {
    writeln!(text, "routes of {}", subnet_name(network, subnet)).unwrap();
    let fib = &compiled.snapshot.fibs[compiled.fib(subnet).0 as usize];
    for (i, route) in compiled.effective_routes(subnet).iter().enumerate() {
        assert_eq!(compiled.route(compiled.fib(subnet), RouteId(i as u32)), &**route);
        let ips = route.next_hop_ip.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let line = format!(
            "  {:<7} {:<7} {:<18} {:<21} {ips:<15} {:<10} => {}",
            route.source,
            route.state,
            route.prefixes.to_string(),
            route.next_hop_type,
            route.name.as_deref().unwrap_or(""),
            hop_name(network, compiled, fib, fib.next_hops[i])
        );
        writeln!(text, "{line}").unwrap();
    }
}

fn filters(text: &mut String, network: &Network, compiled: &Compiled, nic: NicId) {
    // The platform is in every virtual network and has no rules of its own.
    if matches!(compiled.sender(nic), Sender::Platform(_)) {
        return;
    }
    let name = sender_name(network, compiled.sender(nic));
    let acl = |acl: Option<AclId>| acl.map_or("-".to_owned(), |acl| acl.0.to_string());
    let pair = |filters: Filters| (acl(filters.nic), acl(filters.subnet));
    let nic = &compiled.snapshot.nics[nic.0 as usize];
    let ((out_nic, out_subnet), (in_nic, in_subnet)) = (pair(nic.outbound), pair(nic.inbound));
    writeln!(text, "acls of {name}: out {out_nic} {out_subnet}, in {in_subnet} {in_nic}").unwrap();
    if nic.platform != Filters::default() {
        let (of_nic, of_subnet) = pair(nic.platform);
        writeln!(text, "platform of {name}: {of_nic} {of_subnet}").unwrap();
    }
    if let (Some(outbound), Some(inbound)) = (nic.outbound.admin, nic.inbound.admin) {
        writeln!(text, "admin rules of {name}: out {}, in {}", outbound.0, inbound.0).unwrap();
    }
}

fn rule_line(network: &Network, rule: &EffectiveRule) -> String {
    let EffectiveRule { rule, matches } = rule;
    let protocol = match matches.protocol {
        ProtocolMatch::Any => "*".to_owned(),
        ProtocolMatch::Icmp => "icmp".to_owned(),
        ProtocolMatch::Only(protocol) => protocol.0.to_string(),
    };
    let ports = |ranges: &[std::ops::RangeInclusive<u16>]| {
        let ranges: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
        ranges.join(",").replace("0-65535", "*")
    };
    format!(
        "  {} {:<5} {} {} {protocol} {}:{} > {}:{}",
        rule.priority,
        format!("{:?}", rule.action),
        match rule.owner {
            RuleOwner::Nsg(nsg) => network.network_security_groups[nsg.0].name.as_str(),
            RuleOwner::Collection(at) => network.network_managers[at.manager].name.as_str(),
        },
        rule.name,
        set(&matches.src),
        ports(&matches.src_ports),
        set(&matches.dst),
        ports(&matches.dst_ports)
    )
}

fn set(prefixes: &[IpNet]) -> String {
    let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    format!("[{}]", prefixes.join(" ").replace("0.0.0.0/0 ::/0", "*"))
}

fn hop_name(network: &Network, compiled: &Compiled, fib: &Fib, hop: NextHop) -> String {
    match hop {
        NextHop::Vnet(vnet) => format!("VNet {}", network.virtual_networks[vnet.0 as usize].name),
        NextHop::Nic(nic) => sender_name(network, compiled.sender(nic)),
        NextHop::Spread(spread) => {
            let members = fib.spread(spread).members();
            let members: Vec<_> = members.iter().map(|member| hop_name(network, compiled, fib, *member)).collect();
            format!("one of {}", members.join(", "))
        }
        NextHop::Frontend(frontend) => format!("a backend of frontend {}", frontend.0),
        NextHop::Unreachable
        | NextHop::Gateway(_)
        | NextHop::Tunnel(_)
        | NextHop::NoGateway
        | NextHop::Internet
        | NextHop::Service
        | NextHop::None => {
            format!("{hop:?}")
        }
    }
}

fn sender_name(network: &Network, sender: Sender) -> String {
    match sender {
        Sender::Nic(NicIx(nic)) => {
            let nic = &network.network_interfaces[nic];
            format!("{}/{}", network.vm(nic.virtual_machine).name, nic.name)
        }
        Sender::Subnet(subnet) => format!("whoever in {}", subnet_name(network, subnet)),
        Sender::Internet => Internet::NAME.to_owned(),
        Sender::Gateway(gateway) => network.gateway(gateway).name.clone(),
        Sender::Tunnel(tunnel) => network.connection(tunnel).name.clone(),
        Sender::Platform(vnet) => format!("the platform in {}", network.vnet(vnet).name),
        Sender::Edge(circuit) => network.circuit(circuit).name.clone(),
        Sender::CircuitLink(circuit, side) => network.circuit_link_name(circuit, side),
        Sender::RouteServer(server) => network.route_server(server).name.clone(),
    }
}

fn subnet_name(network: &Network, subnet: SubnetIx) -> String {
    format!("{}/{}", network.vnet(subnet.vnet).name, network.subnet(subnet).name)
}

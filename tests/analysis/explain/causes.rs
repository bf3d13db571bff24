//! Causes with a device on the way, and what mends them: load balancers, NAT gateways, circuits, loops.

use std::time::Instant;

use vnet::analysis::load_balancers;
use vnet::model::Health;

use super::applied::File;
use super::*;

fn fix(answer: &Explanation) -> &Fix {
    answer.fix.as_ref().unwrap_or_else(|| panic!("no fix: {:?}", answer.cause))
}

fn cause(answer: &Explanation) -> &str {
    answer.cause.as_deref().unwrap()
}

const NAT_RULE: &str = "
name: c
internet: {}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24, networkSecurityGroup: g}]}
networkSecurityGroups: [{name: g}]
publicIPAddresses: [{name: front, ipAddress: 203.0.113.5}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: web, publicIPAddress: front}]
    inboundNatRules: [{name: ssh, frontendIPConfiguration: web, protocol: Tcp, frontendPort: 50001, backendPort: 22}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, ipConfigurations: [{subnet: v/s, loadBalancerInboundNatRules: [lb/ssh]}]}]}
";

/// NSG-05, LB-08: rules see the backend's address and port.
#[test]
fn nsg_05_the_rule_behind_a_load_balancer_has_the_backends_port() {
    let file = NAT_RULE.replace("{subnet: v/s, ipConfigurations", "{ipConfigurations");
    let answer = ask(&file, "internet", "203.0.113.5:50001");
    assert_eq!(answer.verdict, Verdict::Blocked);
    assert!(cause(&answer).contains("tcp/22") && !cause(&answer).contains("50001"), "{}", cause(&answer));
    let [(path, rule)] = changes(fix(&answer))[..] else { panic!("{:?}", fix(&answer)) };
    assert_eq!(path, "networkSecurityGroups[0].securityRules[0]");
    assert!(
        rule.contains("destinationPortRange: '22'") && rule.contains("destinationAddressPrefix: 10.0.0.4"),
        "{rule}"
    );
    assert!(fix(&answer).checked);
}

fn probed(rules: &str, second: &str) -> String {
    format!(
        "
name: c
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{{name: s, addressPrefix: 10.0.0.0/24, networkSecurityGroup: g}}, {{name: c, addressPrefix: 10.0.1.0/24}}]}}
networkSecurityGroups: [{{name: g, securityRules: [{rules}]}}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{{name: in, subnet: v/c, privateIPAddress: 10.0.1.100}}]
    backendAddressPools: [{{name: web}}]
    probes: [{{name: health, protocol: Tcp, port: 8080}}]
    loadBalancingRules:
      - {{name: http, frontendIPConfiguration: in, backendAddressPool: web, probe: health, protocol: Tcp, frontendPort: 80, backendPort: 80}}
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s, loadBalancerBackendAddressPools: [lb/web]}}]}}
  - {{name: b{second}, networkInterfaces: [{{subnet: v/s, loadBalancerBackendAddressPools: [lb/web]}}]}}
  - {{name: client, networkInterfaces: [{{subnet: v/c}}]}}
"
    )
}

const NO_PROBES: &str = "{name: no-probes, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: AzureLoadBalancer, sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}";

#[test]
fn nsg_31_a_probe_that_is_denied_is_named_with_the_rule_that_lets_it_in() {
    let answer = ask(&probed(NO_PROBES, ""), "client", "10.0.1.100:80");
    for word in ["NSG g on subnet v/s", "rule securityRules/no-probes", "probe health", "tcp/8080 from 168.63.129.16"] {
        assert!(cause(&answer).contains(word), "{word}: {}", cause(&answer));
    }
    let [(path, rule)] = changes(fix(&answer))[..] else { panic!("{:?}", fix(&answer)) };
    assert_eq!(path, "networkSecurityGroups[0].securityRules[1]");
    assert_eq!(
        rule,
        "{name: allow-probes, priority: 199, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: \
         168.63.129.16, sourcePortRange: '*', destinationAddressPrefixes: [10.0.0.4, 10.0.0.5], destinationPortRange: '8080'}"
    );
    assert!(fix(&answer).checked);
    // A name and a priority that are taken are left alone.
    let taken = format!(
        "{NO_PROBES}, {{name: allow-probes, priority: 199, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: 10.9.9.9, sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: 9}}"
    );
    let answer = ask(&probed(&taken, ""), "client", "10.0.1.100:80");
    let (_, rule) = changes(fix(&answer))[0];
    assert!(rule.contains("name: allow-probes-2, priority: 198"), "{rule}");
}

/// NSG-06: where no priority is free before the rule that denies, it moves back.
#[test]
fn nsg_31_probes_find_room_before_a_rule_that_comes_first() {
    let file = File::parse(&probed(&NO_PROBES.replace("priority: 200", "priority: 100"), ""));
    let answer = file.ask("client", "10.0.1.100:80");
    let [(path, priority), (_, rule)] = changes(fix(&answer))[..] else { panic!("{:?}", fix(&answer)) };
    assert_eq!((path, priority), ("networkSecurityGroups[0].securityRules[0].priority", "101"));
    assert!(rule.contains("name: allow-probes, priority: 100"), "{rule}");
    assert_eq!(file.with(fix(&answer)).ask("client", "10.0.1.100:80").verdict, Verdict::Reachable);
}

const NOTHING: &str = "{name: nothing, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}";

/// What a running lab's probes have found out: no backend answers.
fn all_down(network: &Network) -> Learned {
    let down = Health { up: false, since: 0, reason: "no answer in time".to_owned() };
    let keys = network.probed().map(|one| network.probe_key(one.balancer, one.probe, one.backend));
    Learned { health: Some(keys.map(|key| (key, down.clone())).collect()), ..Learned::default() }
}

/// A rule that keeps out both probes and clients needs a rule for each, and the answer of a running lab has both.
#[test]
fn nsg_31_behind_the_probe_that_is_let_in_the_clients_are_let_in_too() {
    let file = File::parse(&probed(NOTHING, ""));
    let network = file.network();
    for learned in [Learned::default(), all_down(&network)] {
        let compiled = compile(&network, &learned, 1);
        let answer =
            explain(&network, &compiled, &parse_query("client", "10.0.1.100:80").unwrap(), Instant::now()).unwrap();
        assert!(cause(&answer).contains("denies probe health"), "{}", cause(&answer));
        let further: Vec<_> = answer.further.iter().map(|one| one.cause.as_str()).collect();
        assert!(further[0].contains("a rule denies tcp/80 from 10.0.1.4"), "{further:?}");
        let fixes = answer.further.iter().map(|one| one.fix.as_ref().unwrap());
        let mended = std::iter::once(fix(&answer)).chain(fixes).fold(file.clone(), |file, fix| {
            assert!(fix.checked, "{fix:?}");
            file.with(fix)
        });
        assert_eq!(mended.ask("client", "10.0.1.100:80").verdict, Verdict::Reachable, "{further:?}");
    }
}

/// LB-42: a backend that is down names the rule that keeps its probe out; one that merely does not answer names none.
#[test]
fn lb_42_a_backend_that_is_down_names_the_rule_that_denies_its_probe() {
    let rows = |rules: &str, live: bool| {
        let network = load(&probed(rules, ""));
        let learned = if live { all_down(&network) } else { Learned::default() };
        let compiled = compile(&network, &learned, 1);
        load_balancers(&network, &compiled, learned.health.as_ref(), None)
    };
    let rule = Some("NSG g on subnet v/s, rule securityRules/no-probes".to_owned());
    let told: Vec<_> = rows(NO_PROBES, true).into_iter().map(|row| (row.reason, row.denied_by)).collect();
    assert_eq!(told, vec![("no answer in time".to_owned(), rule.clone()); 2]);
    let told: Vec<_> = rows(NO_PROBES, false).into_iter().map(|row| (row.reason, row.denied_by)).collect();
    assert_eq!(told, vec![("down by its rules".to_owned(), rule); 2]);
    assert!(rows("", true).iter().all(|row| row.denied_by.is_none()));
}

#[test]
fn lb_17_a_pool_that_is_stopped_is_started() {
    let file = probed("", ", powerState: stopped").replace("{name: a,", "{name: a, powerState: stopped,");
    let answer = ask(&file, "client", "10.0.1.100:80");
    assert!(cause(&answer).contains("a/eth0 (the machine is stopped)"), "{}", cause(&answer));
    assert_eq!(fix(&answer).changes[0].path, "virtualMachines[0].powerState");
    assert!(fix(&answer).checked);
}

#[test]
fn lb_33_a_port_without_a_rule_has_its_fix() {
    let answer = ask(&probed("", ""), "client", "10.0.1.100:81");
    assert!(fix(&answer).text.contains("add a rule for tcp/81 to load balancer lb"), "{:?}", fix(&answer));
    let answer = ask(&probed("", ""), "client", "10.0.1.100");
    assert!(fix(&answer).text.contains("ask a port of its rules"), "{:?}", fix(&answer));
    let (_, object) = drop_object(&answer.forward);
    assert_eq!(object, "load balancer lb, frontend in");
}

/// LB-40: the only backend asks itself.
#[test]
fn lb_40_a_hairpin_has_its_cause_and_a_command() {
    let file = probed("", "").replace(
        "{subnet: v/s, loadBalancerBackendAddressPools: [lb/web]}]}\n  - {name: client",
        "{subnet: v/s}]}\n  - {name: client",
    );
    let answer = ask(&file, "a", "10.0.1.100:80");
    assert!(cause(&answer).contains("a is a backend of load balancer lb, frontend in"), "{}", cause(&answer));
    assert_eq!(fix(&answer).commands, ["vnet exec a -- ip address add 10.0.1.100/32 dev lo"]);
    assert_eq!(fix(&answer).changes, []);
}

fn nat_gateway(other: &str) -> String {
    format!(
        "
name: c
internet: {{addresses: [198.18.0.1]}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{{name: s, addressPrefix: 10.0.0.0/24, natGateway: out}}]}}
publicIPAddresses: [{{name: nat}}, {{name: own}}]
natGateways: [{{name: out, publicIpAddresses: [nat]}}]
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s, publicIPAddress: own}}]}}
{other}"
    )
}

/// SNAT-01, NAT-02: both ways out are told.
#[test]
fn snat_01_a_nat_gateway_comes_before_an_own_address() {
    let answer = ask(&nat_gateway(""), "a", "internet");
    assert!(
        cause(&answer).contains("NAT gateway out of subnet v/s carries TCP and UDP over IPv4 only"),
        "{}",
        cause(&answer)
    );
    assert!(cause(&answer).contains("it comes before public IP own"), "{}", cause(&answer));
    assert_eq!(drop_object(&answer.forward).1, "NAT gateway out");
    assert!(fix(&answer).text.contains("to leave by own, take natGateway off subnet v/s; to leave by the NAT gateway"));
    assert_eq!(fix(&answer).changes[0].path, "virtualNetworks[0].subnets[0].natGateway");
    assert!(fix(&answer).checked, "{:?}", answer.further);
    // Where others would lose their only way out nothing is taken from them.
    let answer = ask(&nat_gateway("  - {name: b, networkInterfaces: [{subnet: v/s}]}\n"), "a", "internet");
    assert_eq!(fix(&answer).changes, []);
    assert!(fix(&answer).text.contains("others in the subnet have no other way out"));
    // What it carries is told of, too.
    let answer = ask(&nat_gateway(""), "a", "internet:443");
    let steps = answer.forward.hops.iter().flat_map(|hop| &hop.steps);
    let said: Vec<_> = steps.filter(|step| step.what == StepKind::Translate).map(|step| step.text.as_str()).collect();
    assert!(said[0].ends_with("before public IP own of its own (SNAT-01)"), "{said:?}");
}

/// NAT-02, SNAT-08: what translates the source is named, and is no NAT gateway where there is none.
#[test]
fn snat_08_the_device_on_the_way_is_named() {
    let file = nat_gateway("").replace(", natGateway: out", "").replace(", publicIPAddress: own", "");
    let answer = ask(&file, "a", "internet");
    assert!(cause(&answer).starts_with("default outbound access translates 10.0.0.4"), "{}", cause(&answer));
    assert_eq!(drop_object(&answer.forward).1, "default outbound access");
    let balanced = file.replace(
        "virtualMachines:",
        "loadBalancers: [{name: lb, frontendIPConfigurations: [{name: out, publicIPAddress: own}], backendAddressPools: [{name: p}], outboundRules: [{name: o, frontendIPConfigurations: [out], backendAddressPool: p, protocol: All}]}]\nvirtualMachines:",
    );
    let balanced = balanced.replace("[{subnet: v/s}]", "[{subnet: v/s, loadBalancerBackendAddressPools: [lb/p]}]");
    let answer = ask(&balanced, "a", "internet");
    assert!(cause(&answer).starts_with("load balancer lb translates 10.0.0.4"), "{}", cause(&answer));
    assert_eq!(drop_object(&answer.forward).1, "load balancer lb");
}

const CIRCUIT: &str = "
name: c
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24, routeTable: rt}, {name: GatewaySubnet, addressPrefix: 10.0.255.0/27}]}
routeTables: [{name: rt, routes: [{name: to-dc, addressPrefix: 192.168.0.0/16, nextHopType: VirtualNetworkGateway}]}]
publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways: [{name: er-gw, gatewayType: ExpressRoute, virtualNetwork: v, publicIPAddress: p}]
virtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]}]
";

/// UDR-14: user routes lead to VPN gateways alone.
#[test]
fn udr_14_a_gateway_of_the_wrong_kind_is_named() {
    let answer = ask(CIRCUIT, "a", "192.168.1.10");
    assert!(cause(&answer).contains("gateway er-gw of VNet v is an ExpressRoute gateway"), "{}", cause(&answer));
    assert!(fix(&answer).text.starts_with("remove route to-dc: what a circuit leads to is learned by BGP"));
    assert_eq!(fix(&answer).changes[0].path, "routeTables[0].routes[0]");
    let none = CIRCUIT.replace(
        "virtualNetworkGateways: [{name: er-gw, gatewayType: ExpressRoute, virtualNetwork: v, publicIPAddress: p}]\n",
        "",
    );
    let answer = ask(&none, "a", "192.168.1.10");
    assert!(cause(&answer).contains("this network has none"), "{}", cause(&answer));
}

fn circling(more: &str) -> String {
    format!(
        "
name: c
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{{name: s, addressPrefix: 10.0.0.0/24, routeTable: rt}}, {{name: nva, addressPrefix: 10.0.9.0/24, routeTable: rt}}, {{name: t, addressPrefix: 10.0.2.0/24}}]}}
routeTables: [{{name: rt, routes: [{{name: all, addressPrefix: 10.0.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.9.4}}]}}]
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: nva, networkInterfaces: [{{subnet: v/nva, privateIPAddress: 10.0.9.4, enableIPForwarding: true}}]}}
  - {{name: b, networkInterfaces: [{{subnet: v/t}}]}}
{more}"
    )
}

/// UDR-17, FAB-14: a table that only the appliance goes by is taken off.
#[test]
fn udr_17_an_appliance_alone_in_its_subnet_needs_no_table() {
    let answer = ask(&circling(""), "a", "b");
    assert!(cause(&answer).starts_with("loop at nva"), "{}", cause(&answer));
    assert_eq!(fix(&answer).text, "take route table rt off subnet v/nva");
    assert_eq!(fix(&answer).changes[0].path, "virtualNetworks[0].subnets[1].routeTable");
    assert!(fix(&answer).checked);
    // A second route of the table is another matter: where a second subnet uses it too, neither can be taken away.
    let second =
        with(&circling(""), "routes: [", "routes: [{name: no, addressPrefix: 192.0.2.0/24, nextHopType: None}, ");
    let answer = ask(&second, "a", "b");
    assert_eq!(fix(&answer).text, "give subnet v/nva a route table of its own, without route all");
    assert!(fix(&answer).changes.is_empty());
    let beside = circling("  - {name: c, networkInterfaces: [{subnet: v/nva}]}\n");
    let answer = ask(&beside, "a", "b");
    assert_eq!(fix(&answer).text, "move nva to a subnet of its own, without that route");
}

/// ADR-04: a public range in a virtual network is not the Internet's.
#[test]
fn adr_04_a_public_range_inside_is_explained() {
    let file = "
name: c
internet: {}
virtualNetworks:
  - {name: pub, location: westeurope, addressSpace: [20.1.0.0/16], subnets: [{name: s, addressPrefix: 20.1.1.0/24}]}
  - {name: w, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines:
  - {name: q, networkInterfaces: [{subnet: pub/s}]}
  - {name: r, networkInterfaces: [{subnet: w/s}]}
";
    let answer = ask(file, "internet", "20.1.1.4:80");
    assert!(cause(&answer).contains("VNet pub") && cause(&answer).contains("(ADR-04)"), "{}", cause(&answer));
    assert!(fix(&answer).text.contains("give q/eth0 a publicIPAddress"));
    let private = ask(file, "internet", "10.1.1.4:80");
    assert!(!cause(&private).contains("ADR-04"), "{}", cause(&private));
    assert!(try_ask(file, "internet", "q:80").unwrap_err().contains("ADR-04"));
    assert!(!try_ask(file, "internet", "r:80").unwrap_err().contains("ADR-04"));
}

fn forwarded(flags: &str, more: &str) -> String {
    format!(
        "
name: c
virtualNetworks:
  - name: h
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{{name: nva, addressPrefix: 10.0.9.0/24}}, {{name: s, addressPrefix: 10.0.1.0/24}}]
    virtualNetworkPeerings: [{{name: h-a, remoteVirtualNetwork: a}}, {{name: h-b, remoteVirtualNetwork: b}}]
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.1.0.0/24, routeTable: to-b}}]
    virtualNetworkPeerings: [{{name: a-h, remoteVirtualNetwork: h{flags}}}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.2.0.0/24, routeTable: to-a, networkSecurityGroup: g}}]
    virtualNetworkPeerings: [{{name: b-h, remoteVirtualNetwork: h{flags}}}]
networkSecurityGroups: [{{name: g{more}}}]
routeTables:
  - {{name: to-b, routes: [{{name: b, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.9.4}}]}}
  - {{name: to-a, routes: [{{name: a, addressPrefix: 10.1.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.9.4}}]}}
virtualMachines:
  - {{name: va, networkInterfaces: [{{subnet: a/s}}]}}
  - {{name: vb, networkInterfaces: [{{subnet: b/s}}]}}
  - {{name: vh, networkInterfaces: [{{subnet: h/s}}]}}
  - {{name: nva, networkInterfaces: [{{subnet: h/nva, privateIPAddress: 10.0.9.4, enableIPForwarding: true}}]}}
"
    )
}

/// PEER-23: the flag is spoken of where the packet is one that it is about, and nowhere else.
#[test]
fn peer_23_the_warning_is_about_this_packet() {
    let warned = |yaml: &str, from: &str, to: &str| {
        let warnings = ask(yaml, from, to).warnings;
        warnings.iter().filter(|warning| warning.contains("allowForwardedTraffic")).count()
    };
    let off = forwarded("", "");
    assert_eq!(warned(&off, "va", "vb"), 2, "there and back");
    assert_eq!(warned(&off, "va", "vh"), 0, "no machine forwards");
    assert_eq!(warned(&forwarded(", allowForwardedTraffic: true", ""), "va", "vb"), 0);
    let denied = ", securityRules: [{name: none, priority: 100, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]";
    assert_eq!(warned(&forwarded("", denied), "va", "vb"), 0, "a rule stops it, and the flag would change nothing");
    // PEER-18: a range that the other side has not seen is not forwarded.
    let stale = off.replace("addressSpace: [10.0.0.0/16]", "addressSpace: [10.0.0.0/16, 10.5.0.0/16]").replace(
        "{name: a-h, remoteVirtualNetwork: h}",
        "{name: a-h, remoteVirtualNetwork: h, remoteAddressSpace: [10.0.0.0/16]}",
    );
    let stale = stale.replace("{name: s, addressPrefix: 10.0.1.0/24}", "{name: s, addressPrefix: 10.5.1.0/24}");
    assert_eq!(warned(&stale, "vh", "va"), 0);
}

/// NIC-08: what is done in a guest is a command.
#[test]
fn nic_08_an_answer_from_the_other_interface_is_mended_by_a_command() {
    let file = "
name: c
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24}, {name: t, addressPrefix: 10.0.1.0/24}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s}]}
  - {name: two, networkInterfaces: [{name: first, subnet: v/s, primary: true}, {name: second, subnet: v/t}]}
";
    let answer = ask(file, "a", "two/second");
    assert!(cause(&answer).contains("answers from NIC two/first"), "{}", cause(&answer));
    assert_eq!(fix(&answer).commands, ["vnet exec two -- ip route add 10.0.0.4/32 dev eth1"]);
}

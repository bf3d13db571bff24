//! `vnet show load-balancers`: the state of each backend of each rule, why, and the flows that it has (LB-42).

use std::net::IpAddr;

use vnet::analysis::{BackendRow, FlowCounts, HealthState, load_balancers};
use vnet::compile::{Sender, compile};
use vnet::config;
use vnet::dataplane::Mapped;
use vnet::model::{Health, Learned, Network, NicIx};
use vnet::wire::Protocol;

/// A public load balancer with probed backends, each in another state; and a private one before two appliances.
const FILE: &str = "
internet: {addresses: [198.18.0.1]}
publicIPAddresses: [{name: p, ipAddress: 203.0.113.30}]
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}, {name: nva, addressPrefix: 10.1.1.0/24}]}
networkSecurityGroups:
  - name: g
    securityRules:
      - {name: no-probes, priority: 100, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: AzureLoadBalancer, sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
loadBalancers:
  - name: web
    frontendIPConfigurations: [{name: f, publicIPAddress: p}]
    backendAddressPools:
      - {name: pool, loadBalancerBackendAddresses: [{ipAddress: 10.1.0.7, adminState: Up}, {ipAddress: 10.1.0.8, adminState: Down}]}
    probes: [{name: health, protocol: Tcp, port: 8080}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: f, backendAddressPool: pool, probe: health, protocol: Tcp, frontendPort: 80, backendPort: 8080}
    inboundNatRules: [{name: ssh, frontendIPConfiguration: f, protocol: Tcp, frontendPort: 2222, backendPort: 22}]
  - name: nvas
    frontendIPConfigurations: [{name: f, subnet: v/nva, privateIPAddress: 10.1.1.100}]
    backendAddressPools: [{name: pool}]
    loadBalancingRules: [{name: all, frontendIPConfiguration: f, backendAddressPool: pool, protocol: All, frontendPort: 0, backendPort: 0}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.4, loadBalancerBackendAddressPools: [web/pool], loadBalancerInboundNatRules: [web/ssh]}]}
  - {name: denied, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.5, networkSecurityGroup: g, loadBalancerBackendAddressPools: [web/pool]}]}
  - {name: off, powerState: stopped, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.6, loadBalancerBackendAddressPools: [web/pool]}]}
  - {name: up, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.7, networkSecurityGroup: g, loadBalancerBackendAddressPools: [web/pool]}]}
  - {name: down, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.8, loadBalancerBackendAddressPools: [web/pool]}]}
  - {name: nva1, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.1.1.4, enableIPForwarding: true, loadBalancerBackendAddressPools: [nvas/pool]}]}
  - {name: nva2, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.1.1.5, enableIPForwarding: true, loadBalancerBackendAddressPools: [nvas/pool]}]}
";

fn network() -> Network {
    config::load(FILE, "balancers.yaml").unwrap_or_else(|errors| panic!("{errors}")).network
}

/// What probes have found out: these backends are up, those down.
fn probed(network: &Network, up: &[&str], down: &[&str]) -> Learned {
    let key = |one: &vnet::model::Probed<'_>| network.probe_key(one.balancer, one.probe, one.backend);
    let found = network.probed().filter_map(|one| {
        let machine = &network.vm(network.nic(one.backend.nic).virtual_machine).name;
        let is = |some: &[&str]| some.contains(&machine.as_str());
        let (found, reason) = if is(up) { (true, "answered") } else { (false, "no answer in time") };
        let health = Health { up: found, since: 1_700_000_000, reason: reason.to_owned() };
        (found || is(down)).then(|| (key(&one), health))
    });
    Learned { health: Some(found.collect()), ..Learned::default() }
}

fn rows(network: &Network, learned: &Learned) -> Vec<BackendRow> {
    load_balancers(network, &compile(network, learned, 1), learned.health.as_ref(), None)
}

/// `RULE at FRONTEND to BACKEND: HEALTH, [not] eligible: REASON`.
fn words(row: &BackendRow) -> String {
    let state = if row.health == HealthState::Up { "up" } else { "down" };
    let eligible = if row.eligible { "eligible" } else { "not eligible" };
    let by = row.denied_by.as_ref().map_or_else(String::new, |rule| format!(" ({rule})"));
    let since = row.since.as_ref().map_or_else(String::new, |since| format!(", since {since}"));
    format!("{} at {} to {}: {state}, {eligible}: {}{by}{since}", row.rule, row.frontend, row.backend, row.reason)
}

#[test]
fn lb_42_a_backends_state_is_told_with_its_reason() {
    let network = network();
    let others = [
        "ssh at 203.0.113.30:2222/tcp to a/eth0: up, eligible: no probe",
        "all at 10.1.1.100 to nva1/eth0: up, eligible: no probe",
        "all at 10.1.1.100 to nva2/eth0: up, eligible: no probe",
    ];
    let told = |learned: &Learned| rows(&network, learned).iter().map(words).collect::<Vec<_>>();
    let rule = "http at 203.0.113.30:80/tcp to";
    let by = "NSG g on NIC denied/eth0, rule securityRules/no-probes";
    let overridden = [
        format!("{rule} off/eth0: down, not eligible: the machine is stopped"),
        format!("{rule} up/eth0: up, eligible: adminState Up"),
        format!("{rule} down/eth0: down, not eligible: adminState Down"),
    ];
    let whole = |first: [String; 2]| {
        let rest = others.map(str::to_owned);
        first.into_iter().chain(overridden.clone()).chain(rest).collect::<Vec<_>>()
    };
    // Without probes, rules alone decide.
    let by_rules = [
        format!("{rule} a/eth0: up, eligible: its rules admit the probe"),
        format!("{rule} denied/eth0: down, not eligible: down by its rules ({by})"),
    ];
    assert_eq!(told(&Learned::default()), whole(by_rules));
    let found = [
        format!("{rule} a/eth0: up, eligible: answered, since 2023-11-14T22:13:20Z"),
        format!("{rule} denied/eth0: down, not eligible: no answer in time ({by}), since 2023-11-14T22:13:20Z"),
    ];
    let strip = |told: Vec<String>| told.into_iter().map(|line| line.replace(".000000Z", "Z")).collect::<Vec<_>>();
    let said = strip(told(&probed(&network, &["a"], &["denied"])));
    assert_eq!(said[..2], found);
    assert_eq!(said[5..], others);
    let not_yet = strip(told(&probed(&network, &[], &["denied"])));
    assert_eq!(not_yet[0], format!("{rule} a/eth0: down, not eligible: not probed yet"));
}

/// Flows count by backend, and by the port and protocol of the frontend; what an appliance only forwards counts for its rule of all
/// ports.
#[test]
fn lb_42_flows_count_for_the_rule_that_they_came_by() {
    let network = network();
    let compiled = compile(&network, &Learned::default(), 1);
    let mut counts = FlowCounts::new(&compiled.snapshot);
    let mut count = |machine: &str, public: &str, protocol: Protocol, times: usize| {
        let is_its = |nic: &usize| network.vm(network.network_interfaces[*nic].virtual_machine).name == machine;
        let ix = (0..network.network_interfaces.len()).find(is_its).unwrap();
        let nic = compiled.ids().nic(Sender::Nic(NicIx(ix))).unwrap();
        let public: std::net::SocketAddr = public.parse().unwrap();
        let private = (IpAddr::from([10, 1, 0, 4]), 8080);
        for _ in 0..times {
            counts.count(&Mapped { nic, private, public: (public.ip(), public.port()) }, protocol);
        }
    };
    count("a", "203.0.113.30:80", Protocol::TCP, 3);
    count("a", "203.0.113.30:80", Protocol::UDP, 50);
    count("a", "203.0.113.30:81", Protocol::TCP, 50);
    count("a", "203.0.113.30:2222", Protocol::TCP, 2);
    count("up", "203.0.113.30:80", Protocol::TCP, 7);
    count("nva1", "172.16.0.9:80", Protocol::TCP, 4);
    count("nva1", "10.1.1.100:22", Protocol::TCP, 1);
    count("nva2", "203.0.113.30:80", Protocol::TCP, 50);
    let rows = load_balancers(&network, &compiled, None, Some(&counts));
    let flows: Vec<_> = rows.iter().map(|row| (row.rule.as_str(), row.backend.as_str(), row.flows.unwrap())).collect();
    let expected = [
        ("http", "a/eth0", 3),
        ("http", "denied/eth0", 0),
        ("http", "off/eth0", 0),
        ("http", "up/eth0", 7),
        ("http", "down/eth0", 0),
        ("ssh", "a/eth0", 2),
        ("all", "nva1/eth0", 5),
        ("all", "nva2/eth0", 0),
    ];
    assert_eq!(flows, expected);
    assert!(load_balancers(&network, &compiled, None, None).iter().all(|row| row.flows.is_none()));
}

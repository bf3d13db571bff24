//! `reach` against `explain`: the matrix says of every pair what a question about that pair alone says.

use std::fs;
use std::time::Instant;

use vnet::analysis::{self, Reach, Shift, Verdict, differences, explain, parse_query, reach};
use vnet::compile::compile;
use vnet::model::{Learned, Network};

fn load(file: &str) -> Network {
    let text = fs::read_to_string(file).unwrap();
    vnet::config::load(&text, file).unwrap_or_else(|errors| panic!("{errors}")).network
}

fn ask(network: &Network, boundaries: impl Iterator<Item = u16>) -> Reach {
    let compiled = compile(network, &Learned::default(), 1);
    reach(network, &compiled, &analysis::traffic(network, None, boundaries.collect())).unwrap()
}

/// Thousands of trips over the same tables, so that what one leaves behind would be seen in the next.
#[test]
fn every_pair_fares_as_explain_says() {
    for file in ["config/hub-spoke.yaml", "config/nsg-tiers.yaml", "config/dual-stack.yaml"] {
        let network = load(file);
        let compiled = compile(&network, &Learned::default(), 1);
        let matrix = ask(&network, (1..400).map(|i| i * 150));
        assert!(matrix.pairs.len() > 1_600, "{file}: {}", matrix.pairs.len());
        for pair in matrix.pairs.iter().step_by(31) {
            let traffic = pair.traffic.to_string();
            let probe = match traffic.split_once('/') {
                Some((protocol, ports)) => format!(":{}/{protocol}", ports.split('-').next().unwrap()),
                None => String::new(),
            };
            let query = parse_query(&pair.source, &format!("{}{probe}", pair.destination)).unwrap();
            let told = explain(&network, &compiled, &query, Instant::now()).unwrap();
            assert_eq!(
                (told.verdict, &told.forward.dropped),
                (pair.verdict, &pair.forward.dropped),
                "{file}: {query:?}"
            );
            assert_eq!(told.back.map(|back| back.dropped), pair.back.as_ref().map(|back| back.dropped.clone()));
        }
    }
}

/// What one change opens its reverse closes.
#[test]
fn a_difference_turned_round_is_its_opposite() {
    let before = load("config/nsg-tiers.yaml");
    let mut after = before.clone();
    for group in &mut after.network_security_groups {
        group.rules.remove(0);
    }
    let ports = || analysis::boundaries(&before).into_iter();
    let (old, new) = (ask(&before, ports()), ask(&after, ports()));
    let there = differences(&old, &new);
    let back = differences(&new, &old);
    assert!(there.iter().any(|difference| difference.shift == Shift::Closes));
    assert_eq!(there.len(), back.len());
    for (there, back) in there.iter().zip(&back) {
        assert_eq!((&there.before, &there.after), (&back.after, &back.before));
        let verdict = |pair: &Option<analysis::Pair>| pair.as_ref().unwrap().verdict;
        match there.shift {
            Shift::Opens => assert_eq!((verdict(&there.before), back.shift), (Verdict::Blocked, Shift::Closes)),
            Shift::Closes => assert_eq!((verdict(&there.before), back.shift), (Verdict::Reachable, Shift::Opens)),
            Shift::Reroutes => assert_eq!(back.shift, Shift::Reroutes),
        }
    }
    assert_eq!(differences(&old, &old), []);
}

/// A port that one rule of a distributed firewall has is told from those beside it (AVS-12).
#[test]
fn avs_12_a_distributed_firewalls_ports_are_asked_one_by_one() {
    let before = load("config/distributed-firewall.yaml");
    let mut after = before.clone();
    let policies = after.private_clouds[0].firewall.policies.iter_mut();
    let mut rules = policies.flat_map(|policy| &mut policy.rules);
    let rule = rules.find(|rule| rule.name == "web-to-data").unwrap();
    rule.services.as_mut().unwrap()[0].destination_ports[0].last += 1;
    drop(rules);
    let ports = || analysis::boundaries(&before).into_iter().chain(analysis::boundaries(&after));
    let found = differences(&ask(&before, ports()), &ask(&after, ports()));
    let found: Vec<_> = found
        .iter()
        .map(|difference| {
            let pair = difference.after.as_ref().unwrap();
            (difference.shift, pair.source.as_str(), pair.destination.as_str(), pair.traffic.to_string())
        })
        .collect();
    let opens = |source| (Shift::Opens, source, "sddc-data", "tcp/5433".to_owned());
    assert_eq!(found, [opens("sddc-web1"), opens("sddc-web2")]);
}

/// SYS-11: a service endpoint takes TCP to a service's ranges, and a ping to the same addresses goes by the gateway.
#[test]
fn sys_11_a_pair_fares_by_ping_as_it_does_not_by_tcp() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: with, addressPrefix: 10.1.0.0/24, serviceEndpoints: [{service: Microsoft.Storage}]}
      - {name: without, addressPrefix: 10.1.1.0/24}
      - {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}
publicIPAddresses: [{name: gw-ip, sku: Standard}]
virtualNetworkGateways: [{name: gw, virtualNetwork: v, publicIPAddress: gw-ip}]
localNetworkGateways: [{name: lng, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [203.0.113.0/28]}]
connections: [{name: c, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: lng, sharedKey: k}]
sites: [{name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [203.0.113.0/28], addresses: [203.0.113.4]}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/with}]}
  - {name: b, networkInterfaces: [{subnet: v/without}]}
";
    let network =
        vnet::config::load(topology, "test.yaml").unwrap_or_else(|errors| panic!("{errors}\n{topology}")).network;
    let matrix = ask(&network, [443].into_iter());
    let found = matrix.pairs.iter().filter(|pair| pair.destination == "dc");
    let dropped = |pair: &analysis::Pair| pair.forward.dropped.clone().unwrap_or_default();
    let found: Vec<_> = found.map(|pair| (pair.source.as_str(), pair.traffic.to_string(), dropped(pair))).collect();
    for (source, traffic, dropped) in &found {
        let expected = if *source == "a" && traffic.starts_with("tcp/") { "NoService" } else { "" };
        assert_eq!(dropped, expected, "{source}, {traffic}");
    }
    assert!(found.len() >= 6, "{found:?}");
}

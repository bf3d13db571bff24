//! Topology files: limits, the addresses that interfaces keep, places of values, and files that are damaged. What single
//! files give is in `tests/golden/config`.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vnet::config::{Severity, load, load_with, no_files};
use vnet::lab::beside;
use vnet::model::{CircuitFault, CircuitIx, Existing, Network};

/// The YAML files of a directory below the package, sorted.
fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no YAML file in {}", directory.display());
    files
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn adr_09_interfaces_keep_their_dynamic_addresses_while_the_file_around_them_changes() {
    let file = |machines: &str| {
        format!(
            "name: l\nvirtualNetworks: [{{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, \
             addressPrefix: 10.1.1.0/24}}, {{name: t, addressPrefix: 10.1.2.0/24}}]}}]\nvirtualMachines: [{machines}]"
        )
    };
    let machine = |name: &str, rest: &str| format!("{{name: {name}, networkInterfaces: [{{{rest}}}]}}");
    let addresses = |network: &Network| {
        let nics = network.network_interfaces.iter();
        nics.map(|nic| format!("{} {}", network.vm(nic.virtual_machine).name, nic.addresses[0])).collect::<Vec<_>>()
    };
    let (web, db) = (machine("web", "subnet: v/s"), machine("db", "subnet: v/s"));
    let before = load(&file(&format!("{web}, {db}")), "l.yaml").unwrap().network;
    assert_eq!(addresses(&before), ["web 10.1.1.4", "db 10.1.1.5"]);
    let existing = Existing::of(&before);
    let again = |machines: &str| addresses(&load_with(&file(machines), "l", &existing, &no_files).unwrap().network);
    // A new machine gets a free address, wherever it is in the file.
    let new = machine("new", "subnet: v/s");
    assert_eq!(again(&format!("{new}, {db}, {web}")), ["new 10.1.1.6", "db 10.1.1.5", "web 10.1.1.4"]);
    assert_eq!(again(&format!("{new}, {db}")), ["new 10.1.1.4", "db 10.1.1.5"]);
    // A stated address comes first; the machine that had it gets another, as does one that moves to another subnet.
    let stated = machine("new", "subnet: v/s, privateIPAddress: 10.1.1.5");
    assert_eq!(again(&format!("{stated}, {db}")), ["new 10.1.1.5", "db 10.1.1.4"]);
    assert_eq!(again(&format!("{}, {web}", machine("db", "subnet: v/t"))), ["db 10.1.2.4", "web 10.1.1.4"]);
}

#[test]
fn every_example_loads_without_error_or_warning() {
    for path in yaml_files("config") {
        let text = fs::read_to_string(&path).unwrap();
        let file = file_name(&path);
        let loaded = load_with(&text, &file, &Existing::default(), &beside(&path));
        let loaded = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(&text, &file, false)));
        assert!(loaded.warnings.is_empty(), "{file}: {:?}", loaded.warnings);
    }
}

/// What a stranger's file would run, or write where it likes, is left out as a whole: of machines and their guests' rules, the
/// internet, sites, private clouds, tests and logs.
#[test]
fn a_network_without_code_runs_nothing() {
    let mut left_out = Vec::new();
    for path in yaml_files("config") {
        let text = fs::read_to_string(&path).unwrap();
        let network = load_with(&text, &file_name(&path), &Existing::default(), &beside(&path)).unwrap().network;
        let does = |network: &Network| {
            let filters = network.virtual_machines.iter().filter(|machine| machine.guest_filter.is_some()).count();
            let logs = network.flow_logs.iter().filter(|log| log.outside().is_some()).count();
            [network.programs().count(), network.programs_of_tests().count(), filters, logs]
        };
        left_out.push(does(&network));
        let without = network.without_code();
        assert_eq!(does(&without), [0; 4], "{}", path.display());
        assert_eq!(without.clone().without_code(), without, "{}", path.display());
    }
    for kind in 0..4 {
        assert!(left_out.iter().any(|found| found[kind] > 0), "no example has kind {kind}: {left_out:?}");
    }
}

const ONE_NETWORK: &str = "name: l\nvirtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16]}]\n";

/// UDR-05, LIM-15 and the bounds of a file: the last that fits, and the first that does not.
#[test]
fn limits_hold_exactly() {
    let routes = |count: usize| {
        let route =
            |i| format!("  - {{name: r{i}, addressPrefix: 10.{}.{}.0/24, nextHopType: None}}\n", i / 256, i % 256);
        format!("{ONE_NETWORK}routeTables:\n- name: t\n  routes:\n{}", (0..count).map(route).collect::<String>())
    };
    let tables = |count: usize| {
        let table = |i| format!("- {{name: t{i}, routes: []}}\n");
        format!("{ONE_NETWORK}routeTables:\n{}", (0..count).map(table).collect::<String>())
    };
    let padded = |bytes: usize| format!("{ONE_NETWORK}#{}", "x".repeat(bytes - ONE_NETWORK.len() - 1));
    for (fits, too_much, rule) in [
        (routes(400), routes(401), Some("UDR-05")),
        (tables(200), tables(201), Some("LIM-15")),
        (padded(12 << 20), padded((12 << 20) + 1), None),
    ] {
        holds_exactly(&fits, &too_much, rule);
    }
}

/// VPN-15, LIM-20: five hundred NAT rules of a gateway, and one more.
#[test]
fn lim_20_nat_rules_of_a_gateway() {
    let with = |count: u32| {
        let address = |network: u32, n: u32| std::net::Ipv4Addr::from_bits(network + n);
        let rule = |n| {
            let (inside, outside) = (address(0x0a01_0000, n), address(0xac10_0000, n));
            format!(
                "{{name: r{n}, mode: EgressSnat, internalMappings: [{{addressSpace: {inside}/32}}], externalMappings: \
                 [{{addressSpace: {outside}/32}}]}}"
            )
        };
        let rules: Vec<_> = (0..count).map(rule).collect();
        format!(
            "name: l\nvirtualNetworks: [{{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: \
             GatewaySubnet, addressPrefix: 10.1.255.0/27}}]}}]\npublicIPAddresses: [{{name: p, sku: Standard}}]\n\
             virtualNetworkGateways: [{{name: g, virtualNetwork: v, publicIPAddress: p, sku: VpnGw2, natRules: [{}]}}]\n",
            rules.join(", ")
        )
    };
    assert_eq!(load(&with(500), "l.yaml").unwrap().network.virtual_network_gateways[0].nat_rules.len(), 500);
    let text = with(501);
    let errors = load(&text, "l.yaml").unwrap_err();
    assert!(errors.render(&text, "l.yaml", false).contains("LIM-20"));
}

/// LIM-22, LIM-23, ER-11: links of a circuit, and circuits of a gateway.
#[test]
fn limits_of_circuits_hold_exactly() {
    // So many virtual networks, each with a gateway of this SKU, and so many circuits; all are connected.
    let world = |vnets: usize, circuits: usize, sku: &str, location: &str| {
        let list = |key: &str, items: Vec<String>| format!("{key}:\n{}", items.join(""));
        let vnet = |v| {
            format!(
                "- {{name: v{v}, location: westeurope, addressSpace: [10.{v}.0.0/16], \
                 subnets: [{{name: GatewaySubnet, addressPrefix: 10.{v}.0.0/27}}]}}\n"
            )
        };
        let gateway = |v| {
            format!(
                "- {{name: g{v}, gatewayType: ExpressRoute, virtualNetwork: v{v}, publicIPAddress: ip{v}, sku: {sku}}}\n"
            )
        };
        let circuit = |c: usize| {
            let place = location.replace('N', &c.to_string());
            format!("- {{name: c{c}, serviceProviderProperties: {{peeringLocation: {place}}}}}\n")
        };
        let connection = |(v, c)| {
            format!("- {{name: x{v}-{c}, connectionType: ExpressRoute, virtualNetworkGateway1: g{v}, peer: c{c}}}\n")
        };
        let pairs = (0..vnets).flat_map(|v| (0..circuits).map(move |c| (v, c)));
        [
            list("virtualNetworks", (0..vnets).map(vnet).collect()),
            list("publicIPAddresses", (0..vnets).map(|v| format!("- {{name: ip{v}, sku: Standard}}\n")).collect()),
            list("virtualNetworkGateways", (0..vnets).map(gateway).collect()),
            list("expressRouteCircuits", (0..circuits).map(circuit).collect()),
            list("connections", pairs.map(connection).collect()),
        ]
        .concat()
    };
    let apart = "London N";
    for (fits, too_much, rule) in [
        (world(10, 1, "ErGw1AZ", apart), world(11, 1, "ErGw1AZ", apart), "LIM-22"),
        (world(1, 4, "Standard", apart), world(1, 5, "Standard", apart), "LIM-23"),
        (world(1, 8, "HighPerformance", apart), world(1, 9, "HighPerformance", apart), "LIM-23"),
        (world(1, 16, "ErGw3AZ", apart), world(1, 17, "ErGw3AZ", apart), "LIM-23"),
        (world(1, 4, "ErGw3AZ", "London"), world(1, 5, "ErGw3AZ", "London"), "LIM-23"),
    ] {
        holds_exactly(&fits, &too_much, Some(rule));
    }
}

/// LIM-21, ER-03: a circuit is down while its customer says too much.
#[test]
fn lim_21_prefixes_of_a_circuit() {
    let world = |tier: &str, prefixes: usize| {
        let prefix = |i| format!("172.{}.{}.{}/32", 16 + i / 65_536, i / 256 % 256, i % 256);
        let prefixes: Vec<_> = (0..prefixes).map(prefix).collect();
        format!(
            "{ONE_NETWORK}expressRouteCircuits:\n- {{name: c, sku: {tier}, peerings: [{{peerASN: 65010, \
             primaryPeerAddressPrefix: 192.168.0.0/30, secondaryPeerAddressPrefix: 192.168.0.4/30, vlanId: 1}}]}}\n\
             sites:\n- {{name: dc, addressSpace: [172.16.0.0/12], advertises: [{}], expressRouteCircuits: [c]}}\n",
            prefixes.join(", ")
        )
    };
    for (tier, most) in [("Standard", 4_000), ("Premium", 10_000)] {
        for (count, fault) in [(most, None), (most + 1, Some(CircuitFault::TooManyPrefixes))] {
            let network = load(&world(tier, count), "er.yaml").unwrap().network;
            assert_eq!(network.circuit_fault(CircuitIx(0)), fault, "{count} prefixes, {tier}");
        }
    }
}

/// LIM-15 with UDR-05: as many routes in as many tables as Azure has, written over several lines and on one.
#[test]
fn lim_15_as_many_tables_as_there_may_be_are_full() {
    let forms: [fn(usize) -> String; 2] = [
        |i| {
            let (a, b) = (i / 256, i % 256);
            format!(
                "  - {{name: to-some-place-{i}, addressPrefix: 10.{a}.{b}.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.0.4}}\n"
            )
        },
        |i| {
            format!(
                "  - name: r{i}\n    properties:\n      addressPrefix: 10.{}.{}.0/24\n      nextHopType: None\n",
                i / 256,
                i % 256
            )
        },
    ];
    for route in forms {
        let routes: String = (0..400).map(route).collect();
        let tables = (0..200).map(|i| format!("- name: t{i}\n  routes:\n{routes}"));
        let text = format!("{ONE_NETWORK}routeTables:\n{}", tables.collect::<String>());
        let network = load(&text, "l.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
        assert_eq!(network.route_tables.iter().map(|table| table.routes.len()).sum::<usize>(), 80_000);
    }
}

/// LIM-11, LIM-12, LIM-13: the last that fits, and the first that does not.
#[test]
fn limits_of_security_groups_hold_exactly() {
    let groups = |count: usize| {
        let group = |i| format!("- {{name: n{i}, securityRules: []}}\n");
        format!("{ONE_NETWORK}networkSecurityGroups:\n{}", (0..count).map(group).collect::<String>())
    };
    let rule = |i: usize, source: &str| {
        format!(
            "  - {{name: r{i}, priority: {}, direction: Inbound, access: Allow, protocol: Tcp, {source}, \
             sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: {i}}}\n",
            100 + i
        )
    };
    let of = |rules: String| format!("{ONE_NETWORK}networkSecurityGroups:\n- name: n\n  securityRules:\n{rules}");
    let rules = |count: usize| of((0..count).map(|i| rule(i, "sourceAddressPrefix: '*'")).collect());
    let addresses = |count: usize| {
        let ranges: Vec<_> = (0..count).map(|i| format!("10.0.{}.{}/32", i / 256, i % 256)).collect();
        of(rule(1, &format!("sourceAddressPrefixes: [{}]", ranges.join(", "))))
    };
    for (fits, too_much, rule) in [
        (groups(5_000), groups(5_001), "LIM-11"),
        (rules(1_000), rules(1_001), "LIM-12"),
        (addresses(4_000), addresses(4_001), "LIM-13"),
    ] {
        holds_exactly(&fits, &too_much, Some(rule));
    }
}

/// One file is good, the other breaks this rule and no other.
#[track_caller]
fn holds_exactly(fits: &str, too_much: &str, rule: Option<&'static str>) {
    assert!(load(fits, "l.yaml").is_ok(), "{rule:?}: {}", load(fits, "l.yaml").unwrap_err());
    let errors = load(too_much, "l.yaml").unwrap_err();
    assert_eq!(errors.0.iter().map(|error| error.rule).collect::<Vec<_>>(), [rule], "{errors}");
}

/// ADR-14, LIM-01, LIM-02, LIM-03, LIM-06, LIM-07, LIM-10, LIM-17 and PEER-45: the last that fits, and the first that does not.
#[test]
fn limits_of_networks_hold_exactly() {
    let vnet = |i: usize, location: &str, rest: &str| {
        let (a, b) = (i / 250, i % 250);
        format!("- {{name: v{i}, location: {location}, addressSpace: [10.{a}.{b}.0/24]{rest}}}\n")
    };
    let vnets = |count: usize| {
        let vnets = (0..count).map(|i| vnet(i, "westeurope", "")).collect::<String>();
        // Another region, and another subscription, have their own.
        let others = [vnet(1001, "eastus", ""), vnet(1002, "westeurope", ", subscription: other")];
        format!("virtualNetworks:\n{vnets}{}", others.concat())
    };
    let subnets = |count: usize| {
        let subnet = |i| format!("{{name: s{i}, addressPrefix: 10.{}.{}.0/29}}, ", i / 250, i % 250);
        let subnets = (0..count).map(subnet).collect::<String>();
        format!("virtualNetworks: [{{name: v, location: w, addressSpace: [10.0.0.0/8], subnets: [{subnets}]}}]")
    };
    let links = |count: usize| {
        let link = |i| format!("{{name: l{i}, remoteVirtualNetwork: v{i}}}, ");
        let links = (1..=count).map(link).collect::<String>();
        let hub = vnet(0, "westeurope", &format!(", virtualNetworkPeerings: [{links}]"));
        format!("virtualNetworks:\n{hub}{}", (1..=count).map(|i| vnet(i, "westeurope", "")).collect::<String>())
    };
    let peered = |count: usize| {
        let list = |range: std::ops::Range<usize>| range.map(|i| format!("s{i}")).collect::<Vec<_>>().join(", ");
        let subnets = |net: u8| {
            let subnet = |i| format!("{{name: s{i}, addressPrefix: 10.{net}.{i}.0/24}}, ");
            (0..150).map(subnet).collect::<String>()
        };
        let link = format!(
            "{{name: l, remoteVirtualNetwork: b, peerCompleteVnets: false, localSubnetNames: [{}], remoteSubnetNames: [{}]}}",
            list(0..100),
            list(0..count - 100)
        );
        format!(
            "virtualNetworks:\n- {{name: a, location: w, addressSpace: [10.1.0.0/16], subnets: [{}], \
             virtualNetworkPeerings: [{link}]}}\n- {{name: b, location: w, addressSpace: [10.2.0.0/16], subnets: [{}]}}",
            subnets(1),
            subnets(2)
        )
    };
    // Machines with this many addresses each.
    let addresses = |per_nic: &[usize]| {
        let nic = |count: &usize| "{subnet: v/s}, ".repeat(*count);
        let machines = per_nic.iter().enumerate().map(|(i, count)| {
            format!("- {{name: m{i}, networkInterfaces: [{{ipConfigurations: [{}]}}]}}\n", nic(count))
        });
        format!(
            "virtualNetworks: [{{name: v, location: w, addressSpace: [10.0.0.0/8], subnets: [{{name: s, addressPrefix: \
             10.0.0.0/8}}]}}]\nvirtualMachines:\n{}",
            machines.collect::<String>()
        )
    };
    let full = vec![256; 256];
    for (fits, too_much, rule) in [
        (vnets(1_000), vnets(1_001), "LIM-01"),
        (subnets(3_000), subnets(3_001), "LIM-02"),
        (links(500), links(501), "LIM-03"),
        (addresses(&full), addresses(&[full.clone(), vec![1]].concat()), "LIM-06"),
        (addresses(&[256]), addresses(&[257]), "ADR-14"),
        (peered(200), peered(201), "LIM-17"),
    ] {
        holds_exactly(&fits, &too_much, Some(rule));
    }
}

/// VPN-04, LIM-18: the tunnels that a gateway of each size may have.
#[test]
fn limits_of_gateways_hold_exactly() {
    let network = |sku: &str, count: usize| {
        let entries = |entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<String>();
        let locals = |i: usize| {
            format!(
                "- {{name: l{i}, gatewayIpAddress: 198.51.100.{i}, localNetworkAddressSpace: [192.168.{i}.0/24]}}\n"
            )
        };
        let connection = |i: usize| {
            format!("- {{name: c{i}, connectionType: IPsec, virtualNetworkGateway1: g, localNetworkGateway2: l{i}}}\n")
        };
        format!(
            "virtualNetworks: [{{name: v, location: w, addressSpace: [10.0.0.0/16], subnets: [{{name: GatewaySubnet, \
             addressPrefix: 10.0.0.0/24}}]}}]\npublicIPAddresses: [{{name: p, sku: Standard}}]\nvirtualNetworkGateways: \
             [{{name: g, virtualNetwork: v, publicIPAddress: p, sku: {sku}}}]\nlocalNetworkGateways:\n{}connections:\n{}",
            entries(&locals),
            entries(&connection)
        )
    };
    for (sku, most) in
        [("Basic", 10), ("Standard", 10), ("HighPerformance", 30), ("VpnGw1", 30), ("VpnGw3AZ", 30), ("VpnGw4", 100)]
    {
        holds_exactly(&network(sku, most), &network(sku, most + 1), Some("VPN-04"));
    }
}

/// With the exact words, and where: the table, not one of its routes.
#[test]
fn udr_05_and_lim_15_a_table_has_400_routes() {
    let network = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16]}]\nrouteTables:\n";
    let routes = (0..401)
        .map(|i| format!("    - {{name: r{i}, addressPrefix: 10.{}.{}.0/24, nextHopType: None}}\n", i / 256, i % 256));
    let text = format!("{network}  - name: t\n    routes:\n{}", routes.collect::<String>());
    let errors = load(&text, "l.vnet.yaml").unwrap_err();
    let rendered = errors.render(&text, "l.vnet.yaml", false);
    let expected = "\
l.vnet.yaml:3:5: error: 401 routes in one table are too many (UDR-05)
  |
3 |   - name: t
  |     ^
  = at: routeTables[0]
  = expected: at most 400

l.vnet.yaml: 1 error
";
    assert_eq!(rendered, expected);
}

/// ASG-06, LIM-14: the last that fits, and the first that does not.
#[test]
fn limits_of_application_groups_hold_exactly() {
    const NETWORK: &str = "name: l\nvirtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16], \
                           subnets: [{name: s, addressPrefix: 10.0.0.0/16}]}]\n";
    let list = |range: std::ops::Range<usize>| range.map(|i| format!("a{i}")).collect::<Vec<_>>().join(", ");
    let groups = |count: usize| {
        let groups: Vec<_> = (0..count).map(|i| format!("{{name: a{i}}}")).collect();
        format!("{NETWORK}applicationSecurityGroups: [{}]\n", groups.join(", "))
    };
    let member = |count: usize| {
        let nic = format!("{{subnet: v/s, applicationSecurityGroups: [{}]}}", list(0..count));
        format!("{}virtualMachines: [{{name: m, networkInterfaces: [{nic}]}}]\n", groups(30))
    };
    let machines = |count: usize| {
        let machine =
            |i| format!("- {{name: m{i}, networkInterfaces: [{{subnet: v/s, applicationSecurityGroups: [a0]}}]}}\n");
        format!("{}virtualMachines:\n{}", groups(1), (0..count).map(machine).collect::<String>())
    };
    // Rules that name so many groups each, no group twice.
    let rules = |count: usize, each: usize| {
        let rule = |first: usize| {
            let named = list(first..count.min(first + each));
            format!(
                "  - {{name: r{first}, priority: {}, direction: Inbound, access: Allow, protocol: Tcp, sourcePortRange: '*', \
                 sourceApplicationSecurityGroups: [{named}], destinationAddressPrefix: '*', destinationPortRange: 80}}\n",
                100 + first
            )
        };
        let rules: String = (0..count).step_by(each).map(rule).collect();
        format!("{}networkSecurityGroups:\n- name: n\n  securityRules:\n{rules}", groups(120))
    };
    for (fits, too_much) in [
        (groups(3_000), groups(3_001)),
        (member(20), member(21)),
        (machines(4_000), machines(4_001)),
        (rules(10, 10), rules(11, 11)),
        (rules(100, 10), rules(101, 10)),
    ] {
        holds_exactly(&fits, &too_much, Some("LIM-14"));
    }
}

#[test]
fn the_lab_is_named_after_its_file() {
    let text = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16]}]";
    let name = |file: &str| load(text, file).map(|loaded| loaded.network.name).map_err(|errors| errors.to_string());
    assert_eq!(name("some/where/lab.vnet.yaml"), Ok("lab".to_owned()));
    assert_eq!(name("lab.yaml"), Ok("lab".to_owned()));
    assert_eq!(name("lab"), Ok("lab".to_owned()));
    assert!(name("a lab.yaml").is_err());
    assert!(name("").is_err());
}

/// A file's text may hold anything, a terminal must not obey it.
#[test]
fn messages_show_no_control_characters() {
    let text = "name: \"\\e[2J\"\nvirtualNetworks: \"\u{7f}\"\n";
    let errors = load(text, "\u{1b}x.yaml").unwrap_err();
    let shown = errors.render(text, "\u{1b}x.yaml", false);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(errors.render(text, "x.yaml", true).contains("\u{1b}[1;31merror\u{1b}[0m"));
}

/// What a slip of hand or a broken tool does to a file.
#[derive(Clone, Debug)]
enum Damage {
    Delete(usize),
    Insert(&'static str),
    DeleteLine,
    DoubleLine,
    Indent,
    Truncate,
}

fn damage() -> impl Strategy<Value = (Damage, usize)> {
    const JUNK: &[&str] = &[
        "{", "}", "[", "]", ":", "-", "?", "&a ", "*a ", "'", "\"", "\n", "\t", " ", "#", "|", ">", "!!x ", "~", ",",
        "\0", "\u{feff}", "é", "0", "/33", "<<: ", "- ", "null", "1e9", "---\n", "%", "\r", "*",
    ];
    let kind = prop_oneof![
        (1..20_usize).prop_map(Damage::Delete),
        prop::sample::select(JUNK).prop_map(Damage::Insert),
        Just(Damage::DeleteLine),
        Just(Damage::DoubleLine),
        Just(Damage::Indent),
        Just(Damage::Truncate),
    ];
    (kind, any::<usize>())
}

fn apply(text: &str, damage: &Damage, at: usize) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = at % (chars.len() + 1);
    let line = chars[..at].iter().rposition(|c| *c == '\n').map_or(0, |newline| newline + 1);
    let end = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |newline| at + newline + 1);
    match damage {
        Damage::Delete(len) => drop(chars.drain(at..chars.len().min(at + len))),
        Damage::Insert(junk) => drop(chars.splice(at..at, junk.chars())),
        Damage::DeleteLine => drop(chars.drain(line..end)),
        Damage::DoubleLine => drop(chars.splice(line..line, chars[line..end].to_vec())),
        Damage::Indent => chars.insert(line, ' '),
        Damage::Truncate => chars.truncate(at),
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Any file loads or has an error; every message has a place inside the text and can be shown.
    #[test]
    fn damaged_files_never_panic(file in any::<prop::sample::Index>(), damages in prop::collection::vec(damage(), 1..6)) {
        let files: Vec<PathBuf> = yaml_files("config").into_iter().chain(yaml_files("tests/golden/config")).collect();
        let text = fs::read_to_string(file.get(&files)).unwrap();
        let text = damages.iter().fold(text, |text, (damage, at)| apply(&text, damage, *at));
        let shown = match load(&text, "lab.yaml") {
            Ok(loaded) => loaded.warnings,
            Err(errors) => {
                prop_assert!(errors.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
                prop_assert!(errors.0.is_sorted_by_key(|diagnostic| diagnostic.location));
                errors.0
            }
        };
        for diagnostic in shown {
            let place = diagnostic.location;
            prop_assert!(place.line >= 1 && place.column >= 1 && place.len >= 1);
            prop_assert!(place.line <= text.chars().filter(|c| matches!(c, '\n' | '\r')).count() + 1, "{diagnostic:?}");
            diagnostic.render(&text, "lab.yaml", true);
        }
    }
}

/// For later checks that report a value with its place.
#[test]
fn every_value_has_a_place() {
    let text = "\
virtualNetworks:
  - name: a
    location: westeurope
    properties:
      addressSpace: {addressPrefixes: [10.1.0.0/16]}
      subnets: &subnets
        - {name: s, addressPrefix: 10.1.0.0/24}
  - {name: b, location: westeurope, addressSpace: [10.1.0.0/16], subnets: *subnets}
";
    let loaded = load(text, "places.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let at = |path| (loaded.location(path).line, loaded.location(path).column);
    assert_eq!(at("virtualNetworks[0].name"), (2, 11));
    assert_eq!(at("virtualNetworks[0].subnets[0].addressPrefix"), (7, 36), "behind `properties`");
    assert_eq!(at("virtualNetworks[0].subnets[0].routeTable"), (7, 11), "not there: its subnet is");
    assert_eq!(at("virtualNetworks[1].subnets[0].name"), (8, 66), "an alias: where it stands");
    assert_eq!(at("routeTables[3]"), (1, 1));
    assert_eq!(at(""), (1, 1));
}

/// VPN-45: the size of a gateway limits the number of its clients.
#[test]
fn vpn_45_too_many_clients() {
    use std::fmt::Write;
    let with = |number: usize| {
        let mut text = "
name: lab
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: GatewaySubnet, addressPrefix: 10.0.255.0/27}]}
publicIPAddresses: [{name: ip, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, sku: Basic, virtualNetwork: v, publicIPAddress: ip, vpnClientConfiguration: {vpnClientAddressPool: [172.16.0.0/23]}}
vpnClients:
"
        .to_owned();
        for client in 0..number {
            writeln!(text, "  - {{name: c{client}, virtualNetworkGateway: gw}}").unwrap();
        }
        vnet::config::load(&text, "lab.yaml").map(|_| ()).map_err(|errors| errors.to_string())
    };
    assert_eq!(with(128), Ok(()));
    let refused = with(129).unwrap_err();
    assert!(refused.contains("gateway `gw` has 129 point-to-site clients"), "{refused}");
}

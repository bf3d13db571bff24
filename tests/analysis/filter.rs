//! The filter of `trace`: what it reads, what it refuses and where it points, and what it means for packets.

use std::sync::LazyLock;

use ipnet::IpNet;
use proptest::prelude::*;
use vnet::analysis::{Filter, Host, parse_filter, pattern};
use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::dataplane::{
    Admission, DropReason, FlowLimits, Flows, NicId, Observer, Pattern, PortId, Recorder, Side, Step, Timestamp,
    process,
};
use vnet::model::{Learned, Network};
use vnet::wire::{Offload, Packet, Protocol, build};

// ---- Reading ----

fn port(port: u16) -> Filter {
    Filter::Port(Side::Either, port, port)
}

#[test]
fn filters_are_parsed() {
    let read = |text: &str| parse_filter(text).unwrap_or_else(|error| panic!("{error}"));
    let tcp = Filter::Protocol(Protocol::TCP);
    let host = Filter::Host(Side::Either, Host::Address("10.1.1.4".parse().unwrap()));
    assert_eq!(read(""), Filter::All(vec![]));
    assert_eq!(read(" tcp "), tcp);
    let tcp_443 = Filter::All(vec![tcp.clone(), port(443)]);
    assert_eq!(read("tcp port 443"), tcp_443);
    assert_eq!(read("host 10.1.1.4 and tcp port 443"), Filter::All(vec![host.clone(), tcp_443.clone()]));
    assert_eq!(read("tcp port 443 or udp"), Filter::Any(vec![tcp_443.clone(), Filter::Protocol(Protocol::UDP)]));
    assert_eq!(read("tcp && (port 1 || port 2)"), Filter::All(vec![tcp, Filter::Any(vec![port(1), port(2)])]));
    assert_eq!(read("not not dropped"), Filter::Not(Box::new(Filter::Not(Box::new(Filter::Dropped)))));
    assert_eq!(read("!(dropped)"), Filter::Not(Box::new(Filter::Dropped)));
    assert_eq!(read("src 10.1.1.4"), Filter::Host(Side::Src, Host::Address("10.1.1.4".parse().unwrap())));
    assert_eq!(read("dst net 10.1.2.3/16"), Filter::Net(Side::Dst, "10.1.0.0/16".parse().unwrap()));
    assert_eq!(read("udp src portrange 8000-8100").to_string(), "udp and src port 8000-8100");
    assert_eq!(read("nic web/eth0"), Filter::Nic { node: "web".into(), nic: "eth0".into() });
    assert_eq!(read("reason nsginbound"), Filter::Reason(DropReason::NsgInbound));
    assert_eq!(read("proto 132"), Filter::Protocol(Protocol(132)));
    assert_eq!(read("host db"), Filter::Host(Side::Either, Host::Node("db".into())));
}

/// The message, a mark below the words it is about, and what to do.
#[test]
fn mistakes_are_pointed_at() {
    for (text, message, mark, help) in [
        (
            "tpc port 3",
            "expected a term such as `host 10.1.1.4`, `tcp port 443`, `node web` or `dropped`, found `tpc`",
            "^^^",
            "did you mean `tcp`?",
        ),
        ("host 10.1.1", "expected a whole address, found `10.1.1`", "     ^^^^^^", ""),
        ("host 10.1.1.0/24", "a prefix is no host", "     ^^^^^^^^^^^", "`net 10.1.1.0/24` means every address in it"),
        (
            "10.1.1.4",
            "expected a term such as `host 10.1.1.4`, `tcp port 443`, `node web` or `dropped`, found `10.1.1.4`",
            "^^^^^^^^",
            "`host 10.1.1.4`",
        ),
        ("tcp and", "expected a term, but the filter ends", "       ^", ""),
        ("host", "expected an address or the name of a machine, but the filter ends", "    ^", ""),
        (
            "tcp and udp or icmp",
            "`and` and `or` side by side: which comes first?",
            "            ^^",
            "say it with parentheses: `(A and B) or C`, or `A and (B or C)`",
        ),
        ("(tcp or udp", "this parenthesis is not closed", "^", ""),
        ("tcp)", "this parenthesis was not opened", "   ^", ""),
        (
            "port 70000",
            "expected a port from 0 to 65535, or a range such as 8000-8100, found `70000`",
            "     ^^^^^",
            "",
        ),
        ("(tcp node web)", "expected `and`, `or` or `)`, found `node`", "     ^^^^", ""),
        (
            "reason Whatever",
            "expected why a packet was dropped, such as NsgInbound, found `Whatever`",
            "       ^^^^^^^^",
            "`vnet drops` shows the reasons that there were",
        ),
        ("port 90-80", "this range ends before it begins", "     ^^^^^", ""),
        (
            "host 10.1.1.4 port 80",
            "expected `and` or `or`, found `port`",
            "              ^^^^",
            "terms are joined by `and` or `or`, a protocol and a port are one term",
        ),
        (
            "reason NsgInbuond",
            "expected why a packet was dropped, such as NsgInbound, found `NsgInbuond`",
            "       ^^^^^^^^^^",
            "did you mean `NsgInbound`?",
        ),
        ("nic web", "expected an interface such as web/eth0, found `web`", "    ^^^", ""),
        ("proto 300", "expected a protocol number from 0 to 255, found `300`", "      ^^^", ""),
        ("src tcp", "expected `host`, `net`, `port` or an address, found `tcp`", "    ^^^", ""),
        ("net 10.1.0.0", "expected a prefix such as 10.1.0.0/16, found `10.1.0.0`", "    ^^^^^^^^", ""),
        ("node größe and hots x", "expected `and` or `or`, found", "", ""),
    ] {
        let Err(error) = parse_filter(text) else { panic!("{text} was read") };
        if mark.is_empty() {
            continue;
        }
        assert_eq!(error.to_string(), format!("{message}\n  {text}\n  {mark}"));
        assert_eq!(error.advice().unwrap_or_default(), help, "{text}");
    }
}

/// A term that only pcap has is told with what says the same here.
#[test]
fn terms_of_pcap_have_another_word_here() {
    let bytes = "bytes of a header cannot be asked for: capture the protocol, and filter where the file is read";
    for (text, help) in [
        ("arp", "packets have no link layer here: `host 10.1.1.4` or `node web` names an end"),
        ("len", "lengths cannot be asked for: capture all, and filter where the file is read"),
        ("inbound", "`dst host web` means packets to web"),
        ("outbound", "`src host web` means packets from web"),
        ("multicast", "`net 224.0.0.0/4` means addresses of groups, `host 255.255.255.255` everyone"),
        ("sctp", "`proto 132` means a protocol by its number"),
        ("tcpflags", bytes),
    ] {
        assert_eq!(parse_filter(text).unwrap_err().advice(), Some(help), "{text}");
    }
}

#[test]
fn filters_are_bounded() {
    let deep = format!("{}tcp{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(parse_filter(&deep).unwrap_err().to_string().contains("at most 256 words"));
    let deep = format!("{}tcp{}", "(".repeat(100), ")".repeat(100));
    assert!(parse_filter(&deep).unwrap_err().to_string().contains("more than 32"));
    assert!(parse_filter(&"not ".repeat(200)).unwrap_err().to_string().contains("more than 32"));
    let long = vec!["tcp"; 128].join(" or ");
    assert!(parse_filter(&long).is_ok());
}

fn filters() -> impl Strategy<Value = Filter> {
    let side = prop_oneof![Just(Side::Src), Just(Side::Dst), Just(Side::Either)];
    let name =
        "[a-z][a-z0-9-]{0,8}".prop_filter("no word of the language", |name| !["and", "or", "not"].contains(&&name[..]));
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
        any::<[u16; 8]>().prop_map(std::net::IpAddr::from)
    ];
    let leaf = prop_oneof![
        (side.clone(), address.clone()).prop_map(|(side, address)| Filter::Host(side, Host::Address(address))),
        (side.clone(), name.clone()).prop_map(|(side, name)| Filter::Host(side, Host::Node(name))),
        (side.clone(), address, 0..=32_u8)
            .prop_map(|(side, address, length)| Filter::Net(side, IpNet::new(address, length).unwrap().trunc())),
        (side, any::<(u16, u16)>()).prop_map(|(side, (a, b))| Filter::Port(side, a.min(b), a.max(b))),
        any::<u8>().prop_map(|number| Filter::Protocol(Protocol(number))),
        Just(Filter::Ipv4),
        Just(Filter::Ipv6),
        name.clone().prop_map(Filter::Node),
        (name.clone(), name).prop_map(|(node, nic)| Filter::Nic { node, nic }),
        Just(Filter::Dropped),
        (0..DropReason::COUNT).prop_map(|reason| Filter::Reason(DropReason::ALL[reason])),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Any),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_spelled_can_be_read(filter in filters()) {
        prop_assert_eq!(parse_filter(&filter.to_string()), Ok(filter));
    }

    /// Any text is parsed or refused, with a mark within the text.
    #[test]
    fn nothing_typed_panics(words in prop::collection::vec(prop_oneof![
        prop::sample::select(vec!["host", "net", "port", "src", "dst", "tcp", "and", "or", "not", "(", ")", "!", "&&", "||",
            "10.1.1.4", "::1", "10.0.0.0/8", "80", "1-2", "node", "nic", "web/eth0", "reason", "dropped", "proto", "ip6"])
            .prop_map(str::to_owned),
        "\\PC{0,6}",
    ], 0..20)) {
        for text in [words.join(" "), words.concat()] {
            if let Err(error) = parse_filter(&text) {
                let shown = error.to_string();
                let lines: Vec<&str> = shown.lines().rev().take(2).collect();
                prop_assert!(lines[0].trim_start().chars().all(|c| c == '^'), "{}", shown);
            }
        }
    }
}

// ---- Meaning ----

fn network() -> (Network, Compiled) {
    let text = include_str!("../../config/hub-spoke.yaml");
    let network = config::load(text, "hub-spoke.yaml").unwrap().network;
    let compiled = compile(&network, &Learned::default(), 1);
    (network, compiled)
}

/// A packet on its first leg.
fn leg(compiled: &Compiled, from: PortId, mut bytes: Vec<u8>) -> (PortId, Recorder) {
    let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
    let mut leg = Recorder::new();
    let flows = Flows::new(FlowLimits { per_nic: 100, total: 100 });
    process(&compiled.snapshot, &flows, from, Timestamp(1), &mut packet, &mut leg);
    (from, leg)
}

#[test]
fn filters_pick_packets() {
    let (network, compiled) = network();
    let [web, db, nva] = [0, 1, 2].map(PortId);
    let ends = |src: &str, dst: &str| (src.parse().unwrap(), dst.parse().unwrap());
    let (src, dst) = ends("10.1.1.4:50000", "10.2.1.10:443");
    let https = leg(&compiled, web, build::tcp(src, dst, 2, b""));
    let onward = leg(&compiled, nva, build::tcp(src, dst, 2, b""));
    let query = leg(&compiled, web, build::udp(src, ends("1.1.1.1:1", "10.2.1.10:53").1, b""));
    let ping = leg(&compiled, db, build::icmp_echo(dst.ip(), src.ip(), 443, 1, false));
    let spoofed = leg(&compiled, db, build::udp(src, dst, b""));
    let legs = [&https, &onward, &query, &ping, &spoofed];
    let picked = |text: &str| {
        let pattern = pattern(&parse_filter(text).unwrap(), &network, &compiled).unwrap();
        legs.map(|(ingress, leg)| pattern.matches(*ingress, leg))
    };
    let possible = |text: &str| {
        let pattern = pattern(&parse_filter(text).unwrap(), &network, &compiled).unwrap();
        legs.map(|(ingress, leg)| pattern.may_match(*ingress, leg.packet().unwrap()))
    };
    let (yes, no) = (true, false);
    for (text, expected) in [
        ("", [yes; 5]),
        ("tcp", [yes, yes, no, no, no]),
        // An echo's identifier is no port.
        ("port 443", [yes, yes, no, no, yes]),
        ("src port 443", [no; 5]),
        ("udp port 50-60", [no, no, yes, no, no]),
        ("src host 10.1.1.4", [yes, yes, yes, no, yes]),
        ("host 10.1.1.4", [yes; 5]),
        ("src host db", [no, no, no, yes, no]),
        ("dst net 10.2.0.0/16", [yes, yes, yes, no, yes]),
        ("ip6", [no; 5]),
        ("not ip", [no; 5]),
        // It comes from there, or goes there next; not what only passes it later.
        ("node web", [yes, no, yes, no, no]),
        ("nic nva/eth0", [yes, yes, yes, yes, no]),
        ("node db", [no, yes, no, yes, yes]),
        ("node DB and dropped", [no, no, no, no, yes]),
        ("reason SpoofedSource", [no, no, no, no, yes]),
        ("reason NsgInbound", [no; 5]),
        ("not dropped and not icmp", [yes, yes, yes, no, no]),
        ("proto 1 or tcp src port 50000", [yes, yes, no, yes, no]),
    ] {
        assert_eq!(picked(text), expected, "{text}");
    }
    // Before anything is decided: an address, a protocol and the sender are known, where the leg ends is not.
    for (text, expected) in [
        ("tcp", [yes, yes, no, no, no]),
        ("not tcp", [no, no, yes, yes, yes]),
        ("not src host 10.1.1.4", [no, no, no, yes, no]),
        ("dropped", [yes; 5]),
        ("not dropped", [yes; 5]),
        ("udp and dropped", [no, no, yes, no, yes]),
        ("udp or dropped", [yes; 5]),
        ("reason NsgInbound and ip6", [no; 5]),
        ("node web and tcp", [yes, yes, no, no, no]),
        ("not node web", [no, yes, no, yes, yes]),
        ("not node web and tcp", [no, yes, no, no, no]),
    ] {
        assert_eq!(possible(text), expected, "{text}");
    }
    let unknown = pattern(&parse_filter("node wbe").unwrap(), &network, &compiled).unwrap_err();
    assert_eq!(unknown, "unknown node `wbe`: did you mean `web`?");
}

static NETWORK: LazyLock<(Network, Compiled)> = LazyLock::new(network);

proptest! {
    /// What cannot match before the decision does not match after it.
    #[test]
    fn a_packet_is_passed_over_only_if_it_does_not_match(filter in filters(), seeds in prop::collection::vec(any::<[u8; 6]>(), 1..20)) {
        let (network, compiled) = &*NETWORK;
        let addresses = ["10.1.1.4", "10.2.1.10", "10.0.1.4", "9.9.9.9"].map(|address| address.parse().unwrap());
        let names = ["web", "db", "nva"];
        let filter = known(filter, &addresses, &names);
        let pattern = pattern(&filter, network, compiled).unwrap();
        for [from, src, dst, src_port, dst_port, kind] in seeds {
            let [src, dst] = [src, dst].map(|at| addresses[usize::from(at) % 4]);
            let ends = ((src, src_port.into()).into(), (dst, dst_port.into()).into());
            let bytes = match kind % 3 {
                0 => build::tcp(ends.0, ends.1, 2, b""),
                1 => build::udp(ends.0, ends.1, b""),
                _ => build::icmp_echo(src, dst, 1, 1, false),
            };
            let (ingress, leg) = leg(compiled, PortId(u32::from(from) % 3), bytes);
            let possible = pattern.may_match(ingress, leg.packet().unwrap());
            prop_assert!(possible || !pattern.matches(ingress, &leg), "{filter}: {:?}", leg.steps());
        }
    }
}

/// The same filter over names, addresses and ports that packets have.
fn known(filter: Filter, addresses: &[std::net::IpAddr; 4], names: &[&str; 3]) -> Filter {
    let all = |filters: Vec<Filter>| filters.into_iter().map(|filter| known(filter, addresses, names)).collect();
    let name = |name: &str| names[name.len() % 3].to_owned();
    match filter {
        Filter::All(filters) => Filter::All(all(filters)),
        Filter::Any(filters) => Filter::Any(all(filters)),
        Filter::Not(filter) => Filter::Not(Box::new(known(*filter, addresses, names))),
        Filter::Host(side, Host::Node(node)) => Filter::Host(side, Host::Node(name(&node))),
        Filter::Host(side, Host::Address(_)) => Filter::Host(side, Host::Address(addresses[1])),
        Filter::Node(node) => Filter::Node(name(&node)),
        Filter::Nic { node, .. } => Filter::Nic { node: name(&node), nic: "eth0".into() },
        Filter::Port(side, first, last) => Filter::Port(side, first % 256, last % 256),
        Filter::Protocol(protocol) => {
            Filter::Protocol([Protocol::TCP, Protocol::UDP, Protocol::ICMP][usize::from(protocol.0) % 3])
        }
        other => other,
    }
}

#[test]
fn what_is_no_machine_is_a_node_too() {
    let text = include_str!("../../config/distributed-firewall.yaml");
    let network = config::load(text, "distributed-firewall.yaml").unwrap().network;
    let compiled = compile(&network, &Learned::default(), 1);
    let pattern = |text: &str| pattern(&parse_filter(text).unwrap(), &network, &compiled);
    for node in ["app", "sddc-web1", "SDDC-data", "hub-er", "sddc-circuit", "internet"] {
        let Ok(Pattern::At(nics, ports)) = pattern(&format!("node {node}")) else { panic!("no node {node}") };
        assert!(!nics.is_empty() && !ports.is_empty(), "{node}");
    }
    for (node, address) in [("sddc-web1", "10.176.1.11"), ("internet", "198.51.100.10"), ("app", "10.90.1.4")] {
        assert_eq!(pattern(&format!("host {node}")), pattern(&format!("host {address}")), "{node}");
    }
    let unknown = pattern("node sddc-web7").unwrap_err();
    assert_eq!(unknown, "unknown node `sddc-web7`: did you mean `sddc-web1`?");
    assert!(pattern("host sddc-circuit").unwrap_err().contains("`node sddc-circuit` has its packets"));
}

#[test]
fn a_vnet_behind_one_tun_is_a_node() {
    let network = config::load(include_str!("../../config/two-vnets.yaml"), "two.yaml").unwrap().network;
    let compiled = compile(&network, &Learned::default(), 1);
    let name = &network.virtual_networks[0].name;
    let Ok(Pattern::At(nics, ports)) = pattern(&Filter::Node(name.clone()), &network, &compiled) else {
        panic!("no node {name}")
    };
    assert_eq!(ports, [PortId(0)]);
    assert!(!nics.is_empty());
    let mut leg = Recorder::new();
    assert!(Pattern::At(nics.clone(), vec![]).matches(PortId(1), &{
        leg.step(Step::Arrive { nic: nics[0] });
        leg.clone()
    }));
    let other =
        Step::Admit { nic: NicId(99), direction: vnet::dataplane::Direction::Inbound, admission: Admission::NoFilter };
    let mut elsewhere = Recorder::new();
    elsewhere.step(other);
    assert!(!Pattern::At(nics, ports).matches(PortId(1), &elsewhere));
}

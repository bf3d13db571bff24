//! Why a rule did or did not match, said beside the cause.

use super::{Verdict, ask, with};

fn guarded(rules: &str) -> String {
    let subnet = "{name: s, addressPrefix: 10.2.0.0/24}";
    with(super::PAIR, subnet, "{name: s, addressPrefix: 10.2.0.0/24, networkSecurityGroup: g}")
        + &format!("networkSecurityGroups:\n  - name: g\n    securityRules:\n{rules}")
}

/// `name, priority, access, protocol, source, destination port`.
fn rule(fields: [&str; 6]) -> String {
    let [name, priority, access, protocol, source, port] = fields;
    format!(
        "      - {{name: {name}, priority: {priority}, direction: Inbound, access: {access}, protocol: '{protocol}', \
         sourceAddressPrefix: '{source}', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '{port}'}}\n"
    )
}

#[test]
fn nsg_02_a_rule_that_nearly_matched_is_named_with_what_it_lacks() {
    let yaml = guarded(
        &[
            rule(["from-peers", "110", "Allow", "Tcp", "10.1.0.0/16", "*"]),
            rule(["from-afar", "120", "Allow", "*", "10.9.0.0/16", "*"]),
            rule(["web", "130", "Allow", "Tcp", "*", "443"]),
            rule(["dns", "135", "Allow", "Udp", "10.9.0.0/16", "53"]),
            rule(["nothing", "150", "Deny", "*", "*", "*"]),
            rule(["ping", "200", "Allow", "Icmp", "*", "*"]),
        ]
        .concat(),
    );
    let answer = ask(&yaml, "va", "vb");
    // `dns` lacks two things; a ping has no port that `web` could be for.
    assert_eq!(
        answer.reasons,
        [
            "rule from-peers is Tcp only",
            "rule from-afar is for source 10.9.0.0/16, and 10.1.0.4 is not in it",
            "rule web is Tcp only",
            "rule ping would allow it: priority 200 after deny nothing at 150",
        ]
    );
    let other = with(
        &yaml,
        "Tcp', sourceAddressPrefix: '10.1.0.0/16', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'",
        "Tcp', sourceAddressPrefix: '10.1.0.0/16', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '8080-8090'",
    );
    let answer = ask(&other, "va", "vb:80");
    assert_eq!(answer.reasons[0], "rule from-peers is for port 8080-8090");
    assert!(answer.reasons.contains(&"rule web is for port 443".to_owned()), "{:?}", answer.reasons);
    // What is allowed as it is meant has nothing to say (near miss).
    assert_eq!(ask(&yaml, "va", "vb:443").reasons, [""; 0]);
    assert_eq!(ask(super::PAIR, "va", "vb").reasons, [""; 0]);
}

/// TAG-06: a default route to an appliance makes everything part of the virtual network.
#[test]
fn tag_06_a_tag_that_a_route_widened_is_reported_with_the_route() {
    let chain =
        with(super::CHAIN, "{name: to-s1, addressPrefix: 10.20.0.0/16,", "{name: default, addressPrefix: 0.0.0.0/0,");
    let subnet = "{name: s, addressPrefix: 10.30.0.0/24, routeTable: rt-s2";
    let yaml =
        with(&chain, subnet, &format!("{subnet}, networkSecurityGroup: g")) + "networkSecurityGroups: [{name: g}]\n";
    let answer = ask(&yaml, "v1", "v2");
    assert_eq!(answer.verdict, Verdict::Reachable);
    let reason = "rule AllowVnetInBound matches: `VirtualNetwork` is 0.0.0.0/0 here because of route default in table rt-s2 \
                  (TAG-06)";
    assert_eq!(answer.reasons, [reason]);
    // A peer is in it anyway.
    assert_eq!(ask(&yaml, "nva", "v2").reasons, [""; 0]);
    // Without the route the packet is denied, and the rule that let it in is the near miss.
    let narrow = with(
        &yaml,
        "addressPrefix: 0.0.0.0/0, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4",
        "addressPrefix: 0.0.0.0/0, nextHopType: None",
    );
    let answer = ask(&narrow, "v1", "v2");
    assert_eq!(answer.reasons, ["rule AllowVnetInBound is for source VirtualNetwork, and 10.20.0.4 is not in it"]);
}

/// UDR-26: that the sender's own route does not take the packet is said, also where it arrives.
#[test]
fn udr_26_a_route_that_does_not_take_the_packet_is_reported() {
    let yaml =
        with(super::CHAIN, "{name: to-s2, addressPrefix: 10.30.0.0/16,", "{name: all, addressPrefix: 10.0.0.0/8,");
    let yaml = yaml + "  - {name: vh, networkInterfaces: [{subnet: h/s}]}\n";
    let answer = ask(&yaml, "v1", "vh");
    let reason = "route table rt-s1, route all: 10.0.0.0/8 -> VirtualAppliance 10.10.0.4 does not take 10.10.0.5: system route \
                  10.10.0.0/16 -> VNetPeering (peering s1-h) is longer (UDR-26); a route for 10.10.0.0/16 in that table to the \
                  same next hop takes it";
    assert_eq!((answer.verdict, answer.reasons), (Verdict::Reachable, vec![reason.to_owned()]));
    // The route that is offered leads it there.
    let to_hub = "{name: all, addressPrefix: 10.0.0.0/8,";
    let steered = with(&yaml, to_hub, &to_hub.replace("10.0.0.0/8", "10.10.0.0/16").replace("all", "hub"));
    assert_eq!(super::nodes(&ask(&steered, "v1", "vh").forward), ["v1", "nva", "vh"]);
    // No packet to the appliance itself goes through it.
    assert_eq!(ask(&yaml, "v1", "nva").reasons, [""; 0]);
}

//! NAT rules of VPN gateways, and the connections that they are for (VPN-15, LIM-20).

use ipnet::{IpNet, Ipv4Net};

use crate::config::schema::gateway::{Connection, VirtualNetworkGateway};
use crate::config::schema::vpn_nat::{self as written, Mapping, NatType};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::model::{
    self, GatewaySku, LocalNetworkGateway, NatKind, NatMode, NatRule, PortRange, Remote, is_link_local,
};

use super::names::{Names, or_unnamed, within};

/// LIM-20.
const RULES_MAX: usize = 500;
const RULE: &str = "VPN-15";

/// Each takes its place, or else a later connection's would be another.
pub(super) fn rules(
    gateway: &VirtualNetworkGateway,
    sku: GatewaySku,
    space: &[IpNet],
    report: &mut Report,
) -> Vec<NatRule> {
    let all = &gateway.nat_rules;
    let Some(first) = all.first() else { return Vec::new() };
    Names::of("NAT rule", all.iter().map(|rule| &rule.name), report);
    within(all.len(), RULES_MAX, "NAT rules of a gateway", "LIM-20", first.at, report);
    if !sku.has_nat() {
        report
            .error(first.at, format!("a gateway of SKU {sku:?} has no NAT rules"))
            .rule(RULE)
            .expected("`sku: VpnGw2` or larger");
    }
    let mut made: Vec<NatRule> = Vec::new();
    for written in all {
        let rule = rule(written, gateway, report);
        let alike = |other: &&NatRule| {
            overlap(other.external, rule.external) && share(other.external_ports, rule.external_ports)
        };
        if let (Some(at), Some(other)) = (external_at(written), made.iter().find(alike)) {
            report
                .error(at, format!("{} is the other name of rule `{}`'s addresses, too", rule.external, other.name))
                .rule(RULE)
                .expected("an external range that overlaps no other rule's");
        }
        let ingress = rule.mode == NatMode::IngressSnat;
        let taken = space.iter().find(|range| matches!(range, IpNet::V4(range) if overlap(*range, rule.external)));
        if let (Some(at), Some(taken), true) = (external_at(written), taken, ingress) {
            report
                .error(at, format!("a site cannot be known as {}: {taken} is the virtual network's", rule.external))
                .rule(RULE)
                .expected("an external range outside the virtual network");
        }
        made.push(rule);
    }
    made
}

fn external_at(rule: &written::NatRule) -> Option<At> {
    rule.external.first().and_then(|mapping| mapping.range.as_ref()).map(|range| range.at)
}

/// What could not be read is everything, and overlaps nothing.
fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.prefix_len() > 0 && b.prefix_len() > 0 && (a.contains(&b) || b.contains(&a))
}

/// Whether two rules share ports; a rule without ports translates all of them.
fn share(a: Option<PortRange>, b: Option<PortRange>) -> bool {
    a.zip(b).is_none_or(|(a, b)| a.first <= b.last && b.first <= a.last)
}

fn rule(written: &written::NatRule, gateway: &VirtualNetworkGateway, report: &mut Report) -> NatRule {
    let internal = range(written, &written.internal, "internalMappings", report);
    let external = range(written, &written.external, "externalMappings", report);
    let dynamic = written.kind.as_ref().filter(|kind| kind.value == NatType::Dynamic);
    let (internal, external) = match (internal, external) {
        (Some(internal), Some(external)) => {
            check_sizes(&internal, &external, dynamic.is_some(), report);
            (internal.value, external.value)
        }
        (internal, external) => {
            let nothing = Ipv4Net::default();
            (internal.map_or(nothing, |range| range.value), external.map_or(nothing, |range| range.value))
        }
    };
    let kind =
        dynamic.map_or(NatKind::Static, |at| NatKind::Dynamic { instance: instance(written, at, gateway, report) });
    let mode = written.mode.as_ref().map_or(NatMode::EgressSnat, |mode| mode.value);
    let (internal_ports, external_ports) = ports(written, kind, report);
    NatRule { name: or_unnamed(&written.name), mode, kind, internal, external, internal_ports, external_ports }
}

/// Which ports it is about, and what they are outside.
fn ports(rule: &written::NatRule, kind: NatKind, report: &mut Report) -> (Option<PortRange>, Option<PortRange>) {
    let [internal, external] = [&rule.internal, &rule.external].map(|mappings| match mappings.as_slice() {
        [Mapping { ports: Some(ports), .. }] => Some(ports),
        _ => None,
    });
    for none in [internal, external].into_iter().flatten().filter(|ports| ports.value.first == 0) {
        report.error(none.at, "no packet has port 0").rule(RULE).expected("ports from 1 to 65535, or no `portRange`");
    }
    let count = |ports: &Spanned<PortRange>| u32::from(ports.value.last - ports.value.first) + 1;
    let alike = internal.map(count) == external.map(count);
    if let (NatKind::Static, false, Some(stated)) = (kind, alike, external.or(internal)) {
        report
            .error(stated.at, "a static rule gives each port another one, and the two sides are not as many")
            .rule(RULE)
            .expected("`portRange` in both mappings, of as many ports");
    }
    let usable = |ports: &Spanned<PortRange>| Some(ports.value).filter(|ports| ports.first > 0);
    (internal.and_then(usable), external.and_then(usable))
}

/// The one range of a side.
fn range(rule: &written::NatRule, mappings: &[Mapping], key: &str, report: &mut Report) -> Option<Spanned<Ipv4Net>> {
    let [Mapping { range, ports: _ }] = mappings else {
        report
            .error(rule.at, format!("a NAT rule is about one range, and this has {} in `{key}`", mappings.len()))
            .rule(RULE)
            .expected(format!("`{key}: [{{addressSpace: 10.0.0.0/24}}]`, and a rule for each range"));
        return None;
    };
    let range = range.as_ref()?;
    match range.value {
        IpNet::V4(value) => Some(Spanned { value, at: range.at }),
        IpNet::V6(_) => {
            report.error(range.at, "a VPN gateway translates IPv4 addresses only").rule(RULE).expected("an IPv4 range");
            None
        }
    }
}

fn check_sizes(internal: &Spanned<Ipv4Net>, external: &Spanned<Ipv4Net>, dynamic: bool, report: &mut Report) {
    let (inside, outside) = (internal.value.prefix_len(), external.value.prefix_len());
    let expected = if dynamic && outside < inside {
        format!("a range that is no larger than {}", internal.value)
    } else if !dynamic && outside != inside {
        format!("a /{inside}, as a static rule gives each address one; `type: Dynamic` shares fewer")
    } else {
        return;
    };
    let message = format!("{} cannot stand for {}", external.value, internal.value);
    report.error(external.at, message).rule(RULE).expected(expected);
}

/// The instance of a dynamic rule: the only active instance, or the one that is named.
fn instance(
    rule: &written::NatRule,
    kind: &Spanned<NatType>,
    gateway: &VirtualNetworkGateway,
    report: &mut Report,
) -> usize {
    let Some(reference) = &rule.configuration else {
        if gateway.configurations.len() > 1 {
            report
                .error(kind.at, "a dynamic rule is one instance's, and the gateway has two active ones")
                .rule(RULE)
                .expected("`ipConfigurationId`, the name of one of its `ipConfigurations`");
        }
        return 0;
    };
    let [name] = &reference.value;
    // Azure's default names.
    let known = gateway
        .configurations
        .iter()
        .zip(["default", "activeActive"])
        .map(|(configuration, name)| configuration.name.as_ref().map_or(name, |name| name.value.as_str()));
    let known: Vec<_> = known.collect();
    let found = known.iter().position(|own| own.eq_ignore_ascii_case(name));
    if found.is_none() && !(known.is_empty() && name.eq_ignore_ascii_case("default")) {
        report
            .error(reference.at, format!("there is no IP configuration `{name}`"))
            .rule(RULE)
            .expected("the name of one of the gateway's `ipConfigurations`");
    }
    found.unwrap_or(0)
}

/// The rules that a connection names, by their places in its gateway's list.
pub(super) fn named(
    connection: &Connection,
    gateway: &model::VirtualNetworkGateway,
    (remote, local): (Remote, &[LocalNetworkGateway]),
    report: &mut Report,
) -> Vec<usize> {
    let lists = [(&connection.ingress_nat, NatMode::IngressSnat), (&connection.egress_nat, NatMode::EgressSnat)];
    let Some(first) = lists.iter().find_map(|(rules, _)| rules.first()) else { return Vec::new() };
    check_connection(connection, first.at, (remote, local), report);
    let mut all = Vec::new();
    for (rules, mode) in lists {
        for rule in rules {
            let [name] = &rule.value;
            let known = gateway.nat_rules.iter();
            let Some(place) = known.clone().position(|known| known.name.eq_ignore_ascii_case(name)) else {
                let error = report.error(rule.at, format!("gateway `{}` has no NAT rule `{name}`", gateway.name));
                error.rule(RULE).did_you_mean(name, known.map(|known| known.name.as_str()));
                continue;
            };
            if gateway.nat_rules[place].mode != mode {
                report
                    .error(rule.at, format!("NAT rule `{name}` is none of mode {mode:?}"))
                    .rule(RULE)
                    .expected("rules of mode IngressSnat in `ingressNatRules`, of EgressSnat in `egressNatRules`");
            }
            all.push(place);
        }
    }
    all
}

fn check_connection(
    connection: &Connection,
    at: At,
    (remote, local): (Remote, &[LocalNetworkGateway]),
    report: &mut Report,
) {
    let Remote::Local(far) = remote else {
        report
            .error(at, "NAT rules are for connections to sites")
            .rule(RULE)
            .expected("`connectionType: IPsec`, or no NAT rules");
        return;
    };
    if connection.policy_based.as_ref().is_some_and(|flag| flag.value) {
        report
            .error(at, "NAT rules and policy-based traffic selectors exclude each other")
            .rule(RULE)
            .expected("a connection without `usePolicyBasedTrafficSelectors`");
    }
    let speaks = connection.enable_bgp.as_ref().is_some_and(|flag| flag.value);
    if let Some(bgp) = local[far.0].bgp.filter(|bgp| speaks && is_link_local(bgp.address)) {
        report
            .error(at, format!("the site speaks BGP at {}, and NAT knows no link-local peers", bgp.address))
            .rule(RULE)
            .expected("a peer with another address, or no NAT rules");
    }
}

//! What is wrong at a load balancer, and the change of the file that mends it.

use super::applied::File;
use super::{Verdict, changes, with};

const FILE: &str = include_str!("../../../config/load-balancer.yaml");
const PUBLIC: &str = include_str!("../../../config/public-load-balancer.yaml");
const ON_PREMISES: &str = include_str!("../../../config/balancer-from-on-premises.yaml");

/// The cause and the changes of the first fix; with that fix made the packet arrives.
pub(super) fn mended(yaml: &str, (source, destination): (&str, &str), cause: &str, expected: &[(&str, &str)]) {
    let file = File::parse(yaml);
    let answer = file.ask(source, destination);
    assert_eq!(answer.verdict, Verdict::Blocked);
    let fix = answer.fix.unwrap_or_else(|| panic!("no fix: {:?}", answer.cause));
    assert!(answer.cause.as_ref().is_some_and(|found| found.contains(cause)), "{:?}", answer.cause);
    assert_eq!(changes(&fix), expected, "{}", fix.text);
    assert!(fix.checked, "{}", fix.text);
    assert_eq!(file.with(&fix).ask(source, destination).verdict, Verdict::Reachable);
}

/// NSG-05, LB-46: a gateway rewrites a packet once it is admitted, and rules see it rewritten all the same.
#[test]
fn nsg_05_a_rule_behind_a_load_balancer_has_the_backends_port_for_a_site_too() {
    let subnet = "{name: web, addressPrefix: 10.20.1.0/24";
    let yaml = with(ON_PREMISES, subnet, &format!("{subnet}, networkSecurityGroup: g"))
        + "networkSecurityGroups: [{name: g, securityRules: [{name: none, priority: 4096, direction: Inbound, access: Deny, \
           protocol: Tcp, sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRanges: ['22', '8443']}]}]\n";
    let file = File::parse(&with(&yaml, "probe: page, ", ""));
    let answer = file.ask("dc", "10.20.1.100:443");
    let (cause, fix) = (answer.cause.unwrap(), answer.fix.unwrap());
    assert!(cause.contains("tcp/8443 from 192.168.50.10 to 10.20.1.1"), "{cause}");
    assert!(changes(&fix)[0].1.contains("destinationPortRange: '8443'"), "{fix:?}");
    assert!(fix.checked);
}

/// LB-01: a new rule leads to the pool of the frontend's other rule, by the same probe.
#[test]
fn lb_01_a_rule_for_the_port_is_printed() {
    let yaml = with(FILE, "frontendPort: 80, backendPort: 8080", "frontendPort: 8080, backendPort: 8080");
    mended(
        &yaml,
        ("client", "10.70.0.100:80"),
        "no rule takes tcp/80; it has http (tcp/8080)",
        &[(
            "loadBalancers[0].loadBalancingRules[1]",
            "{name: tcp-80, frontendIPConfiguration: web, backendAddressPool: servers, probe: http, protocol: Tcp, \
             frontendPort: 80, backendPort: 80}",
        )],
    );
}

/// LB-10: where no rule leads to the port of a probe that asks for a page, that is the port of the service.
#[test]
fn lb_10_a_rule_leads_to_the_port_that_a_page_is_probed_at() {
    let rules = "    loadBalancingRules:
      - {name: http, frontendIPConfiguration: web, backendAddressPool: servers, probe: http, protocol: Tcp, frontendPort: 80, backendPort: 8080}
";
    let rule = "{name: tcp-80, frontendIPConfiguration: web, backendAddressPool: servers, probe: http, protocol: Tcp, \
                frontendPort: 80, backendPort: 8080}";
    let added = [("loadBalancers[0].loadBalancingRules[0]", rule)];
    mended(&with(FILE, rules, ""), ("client", "10.70.0.100:80"), "it has none", &added);
}

/// LB-30, LB-32: a route's next hop needs a rule for all ports.
#[test]
fn lb_30_a_next_hop_gets_a_rule_for_all_ports() {
    let yaml = with(
        FILE,
        "protocol: All, frontendPort: 0, backendPort: 0",
        "protocol: Tcp, frontendPort: 443, backendPort: 443",
    );
    let rule = "loadBalancers[1].loadBalancingRules[0]";
    let [protocol, frontend, backend] = ["protocol", "frontendPort", "backendPort"].map(|key| format!("{rule}.{key}"));
    let expected = [(protocol.as_str(), "All"), (&frontend, "0"), (&backend, "0")];
    mended(&yaml, ("client", "db:5432"), "no rule takes tcp/5432; it has all (tcp/443)", &expected);

    let rules = "    loadBalancingRules:                       # HA ports: every port of TCP and UDP\n      - {name: all, frontendIPConfiguration: in, backendAddressPool: pair, probe: alive, protocol: All, frontendPort: 0, backendPort: 0}\n";
    let added = "{name: all, frontendIPConfiguration: in, backendAddressPool: pair, probe: alive, protocol: All, frontendPort: 0, backendPort: 0}";
    mended(&with(FILE, rules, ""), ("client", "db:5432"), "it has none", &[(rule, added)]);
}

/// LB-08, LB-44: an inbound NAT rule is named once, with its ports; nothing that works is taken away, and a public
/// frontend's new rule is not for outbound flows.
#[test]
fn lb_08_an_inbound_nat_rule_is_named_once() {
    let yaml = with(PUBLIC, "frontendPortRangeStart: 2200", "frontendPortRangeStart: 2201");
    let answer = File::parse(&yaml).ask("internet", "203.0.113.30:2200");
    let (cause, fix) = (answer.cause.unwrap(), answer.fix.unwrap());
    assert!(cause.ends_with("it has http (tcp/80), ssh (tcp/2201-2202)"), "{cause}");
    let [(path, rule)] = changes(&fix)[..] else { panic!("{fix:?}") };
    assert_eq!(path, "loadBalancers[0].loadBalancingRules[1]");
    assert!(rule.contains("frontendPort: 2200, backendPort: 2200, disableOutboundSnat: true"), "{rule}");
}

/// LB-16: what an administrator set down is not for a probe to mend.
#[test]
fn lb_16_a_backend_that_is_set_down_is_left_to_its_probe() {
    let yaml = with(
        ON_PREMISES,
        "[{name: one, ipAddress: 10.20.1.10, adminState: Up}]",
        "[{name: one, ipAddress: 10.20.1.10, adminState: Down}]",
    );
    let path = "loadBalancers[0].backendAddressPools[1].loadBalancerBackendAddresses[0].adminState";
    mended(&yaml, ("dc", "10.20.1.100:8022"), "web1/eth0 (adminState Down)", &[(path, "")]);
}

/// LB-02: an empty pool gets a machine that runs a program, or that forwards where a route leads through it. An entry of
/// `ipConfigurations` has a list of its own.
#[test]
fn lb_02_an_empty_pool_gets_a_member() {
    let servers = ", loadBalancerBackendAddressPools: [web/servers]";
    let path = "virtualMachines[0].networkInterfaces[0].loadBalancerBackendAddressPools";
    let empty = with(FILE, servers, "");
    mended(&empty, ("client", "10.70.0.100:80"), "its pool is empty", &[(path, "[web/servers]")]);

    let entries = "ipConfigurations: [{name: one, subnet: hub/web}, {name: two, subnet: hub/web, primary: true}]";
    let listed = with(
        &empty,
        "{name: web1, networkInterfaces: [{subnet: hub/web}]",
        &format!("{{name: web1, networkInterfaces: [{{{entries}}}]"),
    )
    .replace("{name: one, subnet: hub/web}", "{name: one, subnet: hub/web, primary: false}");
    let path = "virtualMachines[0].networkInterfaces[0].ipConfigurations[1].loadBalancerBackendAddressPools";
    mended(&listed, ("client", "10.70.0.100:80"), "its pool is empty", &[(path, "[web/servers]")]);

    let appliances = with(FILE, ", loadBalancerBackendAddressPools: [appliances/pair]", "");
    let path = "virtualMachines[4].networkInterfaces[0].loadBalancerBackendAddressPools";
    mended(&appliances, ("client", "db:5432"), "its pool is empty", &[(path, "[appliances/pair]")]);
}

/// LB-32: only what is so is said of each direction's choice.
#[test]
fn lb_32_a_warning_says_which_direction_chooses_by_a_hash() {
    let asymmetric = |yaml: &str| {
        let answer = File::parse(yaml).ask("client", "db:5432");
        answer.warnings.into_iter().find(|warning| warning.starts_with("asymmetric")).unwrap()
    };
    let no_table = asymmetric(&with(FILE, "10.71.0.0/24, routeTable: to-hub", "10.71.0.0/24"));
    assert!(no_table.contains("every answer passes no appliance") && !no_table.contains("hash"), "{no_table}");
    let route = "10.70.1.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.70.9";
    let fixed = asymmetric(&with(FILE, &format!("{route}.100"), &format!("{route}.4")));
    assert!(fixed.contains("every answer passes nva1") && !fixed.contains("hash"), "{fixed}");
}

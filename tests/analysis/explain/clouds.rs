//! What keeps packets from machines of a private cloud, and from the Internet that they ask.

use super::balancers::mended;
use super::with;

const FIREWALL: &str = include_str!("../../../config/distributed-firewall.yaml");
const CLOUD: &str = include_str!("../../../config/private-cloud-full.yaml");

/// AVS-12: a policy before the one that drops the flow, since rules of one list are evaluated from top to bottom.
#[test]
fn avs_12_a_policy_that_allows_a_flow_comes_before_the_one_that_drops_it() {
    let yaml = with(FIREWALL, "destinationPorts: [5432], sourcePorts: [1024-65535]", "destinationPorts: [5433]");
    let policy = "{name: allow-tcp-5432, category: Application, sequenceNumber: 19, rules: [{name: allow-tcp-5432, \
                  sources: [10.176.1.11], destinations: [10.176.3.10], services: [{protocol: TCP, \
                  destinationPorts: [5432]}], action: ALLOW}]}";
    let dropped = "rule securityPolicies/three-tier/data-closed: it drops tcp/5432";
    let path = "privateClouds[0].distributedFirewall[3]";
    mended(&yaml, ("sddc-web1", "sddc-data:5432"), dropped, &[(path, policy)]);

    // No number is left before it: the category before has room.
    let first = with(FIREWALL, "sequenceNumber: 10", "sequenceNumber: 0");
    let ping = "{name: allow-ping, category: Environment, sequenceNumber: 999999, rules: [{name: allow-ping, \
                sources: [10.90.1.4], destinations: [10.176.1.11], services: [ICMPv4-ALL], action: ALLOW}]}";
    let no_ping = with(&first, "[HTTP, ICMPv4-ALL]", "[HTTP]");
    mended(&no_ping, ("app", "sddc-web1"), "securityPolicies/clients/clients-not: it drops", &[(path, ping)]);
}

/// AVS-11: the switch that leads a private cloud's machines to the Internet.
#[test]
fn avs_11_managed_snat_is_switched_on() {
    let yaml = with(CLOUD, "internet: Enabled ", "internet: Disabled ");
    let change = ("privateClouds[0].internet", "Enabled");
    mended(&yaml, ("10.176.1.10", "198.51.100.10:443"), "has no managed SNAT (AVS-11)", &[change]);
}

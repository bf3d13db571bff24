//! `explain` where a flag of a peering or a rule refuses: access off, a denial by name.

use super::*;

#[test]
fn cs_10_access_off_behind_default_rules() {
    let yaml = with(
        PAIR,
        "{name: a-b, remoteVirtualNetwork: b}",
        "{name: a-b, remoteVirtualNetwork: b, allowVirtualNetworkAccess: false}",
    );
    let yaml = with(&yaml, "addressPrefix: 10.1.0.0/24", "addressPrefix: 10.1.0.0/24, networkSecurityGroup: d");
    let yaml = with(&yaml, "addressPrefix: 10.2.0.0/24", "addressPrefix: 10.2.0.0/24, networkSecurityGroup: d");
    let yaml = yaml + "networkSecurityGroups: [{name: d}]\n";
    let answer = ask(&yaml, "va", "vb:80");
    let rule = "NSG d on subnet a/s, rule defaultSecurityRules/DenyAllOutBound";
    assert_eq!(drop_object(&answer.forward), ("va", rule));
    assert!(answer.cause.unwrap().starts_with("peering a-b, flag allowVirtualNetworkAccess is off"));
    let fix = answer.fix.unwrap();
    assert_eq!(changes(&fix), [("virtualNetworks[0].virtualNetworkPeerings[0].allowVirtualNetworkAccess", "true")]);
    assert!(fix.checked && answer.further.is_empty());

    // From the other side the packet gets as far as a's inbound rules.
    let other = ask(&yaml, "vb", "va:80");
    let rule = "NSG d on subnet a/s, rule defaultSecurityRules/DenyAllInBound";
    assert_eq!(drop_object(&other.forward), ("va", rule));
    assert!(other.cause.unwrap().starts_with("peering a-b, flag allowVirtualNetworkAccess is off"));
}

#[test]
fn cs_11_access_off_without_any_nsg() {
    let yaml = with(
        PAIR,
        "{name: a-b, remoteVirtualNetwork: b}",
        "{name: a-b, remoteVirtualNetwork: b, allowVirtualNetworkAccess: false}",
    );
    let answer = ask(&yaml, "va", "vb:80");
    assert_eq!(drop_object(&answer.forward), ("va", "peering a-b, flag allowVirtualNetworkAccess"));
    assert!(answer.fix.unwrap().checked && answer.further.is_empty());
    let other = ask(&yaml, "vb", "va:80");
    assert_eq!(drop_object(&other.forward), ("va", "peering a-b, flag allowVirtualNetworkAccess"));
    let tag_only = format!("emulation: {{peeringAccess: tag-only}}{yaml}");
    assert_eq!(ask(&tag_only, "va", "vb:80").verdict, Verdict::Reachable);
}

#[test]
fn nsg_10_a_denying_rule_is_named_with_its_place_and_the_fix_is_one_rule() {
    let yaml =
        with(PAIR, "networkInterfaces: [{subnet: b/s}]", "networkInterfaces: [{subnet: b/s, networkSecurityGroup: g}]")
            + "
networkSecurityGroups:
  - name: g
    securityRules:
      - {name: no-ssh, priority: 300, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '22'}
      - {name: taken, priority: 299, direction: Inbound, access: Allow, protocol: Udp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '53'}
";
    assert_eq!(ask(&yaml, "va", "vb:80").verdict, Verdict::Reachable);
    let answer = ask(&yaml, "va", "vb:22");
    assert_eq!(drop_object(&answer.forward), ("vb", "NSG g on NIC vb/eth0, rule securityRules/no-ssh"));
    let cause = "NSG g on NIC vb/eth0, rule securityRules/no-ssh: a rule denies tcp/22 from 10.1.0.4 to 10.2.0.4";
    assert_eq!(answer.cause.unwrap(), cause);
    let fix = answer.fix.unwrap();
    let rule = "{name: allow-tcp-22, priority: 298, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: \
                10.1.0.4, sourcePortRange: '*', destinationAddressPrefix: 10.2.0.4, destinationPortRange: '22'}";
    assert_eq!(changes(&fix), [("networkSecurityGroups[0].securityRules[2]", rule)]);
    assert!(fix.checked && answer.further.is_empty());
}

/// A rule in the form that these tests need.
fn rule(name: &str, priority: u16, access: &str, source: &str, port: &str) -> String {
    let port = format!("sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '{port}'");
    format!(
        "{{name: {name}, priority: {priority}, direction: Inbound, access: {access}, protocol: Tcp, \
         sourceAddressPrefix: {source}, {port}}}"
    )
}

fn guarded(yaml: &str, rules: &[String]) -> String {
    let yaml = with(yaml, "addressPrefix: 10.2.0.0/24", "addressPrefix: 10.2.0.0/24, networkSecurityGroup: g");
    format!("{yaml}networkSecurityGroups: [{{name: g, securityRules: [{}]}}]\n", rules.join(", "))
}

/// NSG-02: a rule behind one that matches all its packets is without effect; it is moved, and none is added.
#[test]
fn nsg_02_an_allow_rule_behind_a_deny_is_moved_before_it() {
    let allow = |priority| rule("https", priority, "Allow", "10.1.0.0/16", "443");
    let deny = |priority| rule("rest", priority, "Deny", "VirtualNetwork", "0-65535");
    let answer = ask(&guarded(PAIR, &[allow(300), deny(200)]), "va", "vb:443");
    assert!(answer.cause.unwrap().ends_with("; rule https allows it, but comes later (priority 300)"));
    let fix = answer.fix.unwrap();
    assert_eq!((fix.text.as_str(), fix.checked), ("give rule https of NSG g priority 199, before rest", true));
    let path = "networkSecurityGroups[0].securityRules";
    assert_eq!(changes(&fix), [(format!("{path}[0].priority").as_str(), "199")]);
    // Without a free priority before it the other rule makes room.
    let fix = ask(&guarded(PAIR, &[allow(101), deny(100)]), "va", "vb:443").fix.unwrap();
    let moved = [(format!("{path}[1].priority"), "101"), (format!("{path}[0].priority"), "100")];
    assert_eq!(changes(&fix), moved.each_ref().map(|(path, value)| (path.as_str(), *value)));
    assert!(fix.checked);
}

/// Near misses: a rule that allows more than the deny before it matches has an exception, and one for another port
/// does not help.
#[test]
fn nsg_02_an_exception_before_an_allow_rule_stays() {
    let wide = rule("all", 300, "Allow", "'*'", "0-65535");
    let other = rule("ssh", 310, "Allow", "10.1.0.0/16", "22");
    let deny = rule("no-https", 200, "Deny", "'*'", "443");
    let answer = ask(&guarded(PAIR, &[wide, other, deny]), "va", "vb:443");
    assert_eq!(answer.fix.unwrap().text, "add an allow rule to NSG g, before securityRules/no-https");
}

/// ADM-02: the same among administrators' rules.
#[test]
fn adm_02_an_admin_rule_behind_a_deny_is_moved_before_it() {
    let managers = "
networkManagers:
  - name: m
    networkGroups: [{name: all, staticMembers: [a, b]}]
    securityAdminConfigurations:
      - name: c
        ruleCollections:
          - name: ssh
            appliesToGroups: [all]
            rules:
              - {name: jump, priority: 30, direction: Inbound, access: Allow, protocol: Tcp, sources: [10.1.0.4], destinationPortRanges: ['22']}
              - {name: no-ssh, priority: 20, direction: Inbound, access: Deny, protocol: Tcp, destinationPortRanges: ['22']}
";
    let fix = ask(&format!("{PAIR}{managers}"), "va", "vb:22").fix.unwrap();
    assert_eq!(fix.text, "give rule jump of rule collection ssh priority 19, before no-ssh");
    assert!(fix.checked);
}

/// PEER-22: rules for the peer's addresses say what may pass a link that allows no access. One more is added, and the
/// link stays shut for the rest.
#[test]
fn peer_22_a_link_that_is_shut_on_purpose_stays_shut() {
    let shut = "{name: b-a, remoteVirtualNetwork: a, allowVirtualNetworkAccess: false}";
    let yaml = format!(
        "emulation: {{peeringAccess: explicit-allow}}{}",
        with(PAIR, "{name: b-a, remoteVirtualNetwork: a}", shut)
    );
    let fix = ask(&guarded(&yaml, &[rule("web", 100, "Allow", "10.1.0.0/24", "4443")]), "va", "vb:443").fix.unwrap();
    assert_eq!(fix.text, "add an allow rule to NSG g, before defaultSecurityRules/DenyAllInBound");
    assert!(fix.checked);
    // A rule for everybody says nothing of the peer (near miss).
    let fix = ask(&guarded(&yaml, &[rule("web", 100, "Allow", "'*'", "4443")]), "va", "vb:443").fix.unwrap();
    assert_eq!(fix.text, "set allowVirtualNetworkAccess on peering b-a");
}

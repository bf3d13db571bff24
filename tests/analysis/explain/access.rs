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

//! Scenarios of Azure's rules that tests/conformance does not have, each by its id.

use crate::lab::Lab;

#[test]
fn cs_49_deny_all_between_machines_of_one_subnet() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24, networkSecurityGroup: closed}]
networkSecurityGroups:
  - name: closed
    securityRules:
      - {name: in, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
      - {name: out, priority: 4096, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: v4, networkInterfaces: [{subnet: v/s}]}
  - {name: v5, networkInterfaces: [{subnet: v/s}]}
";
    let Some(lab) = Lab::up(topology) else { return };
    lab.assert_dropped("v4", "10.1.1.5", "v4", "NsgOutbound");
}

/// The half that needs no change of a running lab: a session lives by its record while new ones are refused.
#[test]
fn cs_50_a_session_lives_by_its_record() {
    let Some(lab) = Lab::up(include_str!("../../config/nsg-tiers.yaml")) else { return };
    // web -> app:8080 is allowed inbound at app; nothing is allowed inbound at web but 80 and 443, and app's answers pass.
    assert_eq!(lab.tcp("web", "app", "10.40.2.4", 8080, 200_000), Some(200_000));
    // The same pair the other way round, as a new flow: web's rules let VirtualNetwork in, app's do not.
    assert_eq!(lab.tcp("web", "app", "10.40.2.4", 8081, 0), None);
    lab.await_drop("web", "NsgInbound");
    // db may not begin anything, but answers what app begins.
    assert_eq!(lab.tcp("app", "db", "10.40.3.4", 5432, 200_000), Some(200_000));
    assert_eq!(lab.tcp("db", "app", "10.40.2.4", 8080, 0), None);
    lab.await_drop("db", "NsgOutbound");
}

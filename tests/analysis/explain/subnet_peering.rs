//! `explain` on peerings of subnets (PEER-50 to PEER-54).

use super::*;

/// Two VNets with two subnets and a machine in each; lists as given: the left's own, its remote's, the right's likewise.
fn subnet_peering(lists: [&str; 4], nsg: &str) -> String {
    let link = |name: &str, remote: &str, local: &str, far: &str| {
        format!(
            "{{name: {name}, remoteVirtualNetwork: {remote}, peerCompleteVnets: false, localSubnetNames: [{local}], \
             remoteSubnetNames: [{far}]}}"
        )
    };
    let vnet = |name: &str, net: u8, link: String| {
        format!(
            "  - name: {name}\n    location: westeurope\n    addressSpace: [10.{net}.0.0/16]\n    subnets:\n      \
             - {{name: s1, addressPrefix: 10.{net}.1.0/24{nsg}}}\n      - {{name: s2, addressPrefix: 10.{net}.2.0/24}}\n    \
             virtualNetworkPeerings: [{link}]\n"
        )
    };
    let machines = ["a/s1", "a/s2", "b/s1", "b/s2"]
        .map(|at| format!("  - {{name: {}, networkInterfaces: [{{subnet: {at}}}]}}\n", at.replace('/', "")));
    format!(
        "virtualNetworks:\n{}{}networkSecurityGroups: [{{name: d}}]\nvirtualMachines:\n{}",
        vnet("a", 1, link("a-b", "b", lists[0], lists[1])),
        vnet("b", 2, link("b-a", "a", lists[2], lists[3])),
        machines.concat()
    )
}

const A_LINK: &str = "virtualNetworks[0].virtualNetworkPeerings[0]";

const B_LINK: &str = "virtualNetworks[1].virtualNetworkPeerings[0]";

#[test]
fn peer_53_a_subnet_that_takes_no_part_is_added_to_both_links() {
    let yaml = subnet_peering(["s1", "s1", "s1", "s1"], "");
    assert_eq!(ask(&yaml, "as1", "bs1").verdict, Verdict::Reachable);
    let answer = ask(&yaml, "as2", "bs1");
    assert_eq!(drop_object(&answer.forward), ("as2", "peering a-b"));
    assert_eq!(
        answer.cause.unwrap(),
        "peering a-b, localSubnetNames does not name subnet a/s2; peering b-a, remoteSubnetNames does not name subnet a/s2"
    );
    let fix = answer.fix.unwrap();
    let (local, remote) = (format!("{A_LINK}.localSubnetNames[1]"), format!("{B_LINK}.remoteSubnetNames[1]"));
    assert_eq!(changes(&fix), [(local.as_str(), "s2"), (remote.as_str(), "s2")]);
    assert!(fix.checked && answer.further.is_empty());
}

#[test]
fn peer_53_two_links_that_name_different_subnets() {
    // The left knows the way to b/s2, which the right keeps out.
    let answer = ask(&subnet_peering(["s1", "s1, s2", "s1", "s1"], ""), "as1", "bs2");
    assert_eq!(drop_object(&answer.forward), ("as1", "peering a-b"));
    assert_eq!(answer.cause.unwrap(), "peering b-a, localSubnetNames does not name subnet b/s2");
    assert!(answer.fix.unwrap().checked);
}

#[test]
fn peer_54_no_route_to_a_subnet_that_takes_no_part() {
    for nsg in ["", ", networkSecurityGroup: d"] {
        let answer = ask(&subnet_peering(["s1", "s1", "s1", "s1"], nsg), "as1", "bs2");
        let cause = answer.cause.unwrap();
        assert!(cause.contains("peering a-b, remoteSubnetNames does not name subnet b/s2"), "{cause}");
        assert!(answer.fix.unwrap().checked && answer.further.is_empty());
    }
}

#[test]
fn udr_11_an_appliance_is_in_reach_if_its_subnet_is_peered() {
    let yaml = subnet_peering(["s1", "s1", "s1", "s1"], ", routeTable: rt")
        + "  - {name: far, networkInterfaces: [{subnet: b/s2, privateIPAddress: 10.2.2.9, enableIPForwarding: true}]}\n"
        + "routeTables: [{name: rt, routes: [{name: r, addressPrefix: 10.9.0.0/16, nextHopType: VirtualAppliance, "
        + "nextHopIpAddress: 10.2.2.9}]}]\n";
    let answer = ask(&yaml, "as1", "10.9.0.1");
    let cause = answer.cause.unwrap();
    assert!(cause.contains("remoteSubnetNames does not name subnet b/s2"), "{cause}");
}

/// A link that is missing is proposed with the lists that answer the other's.
#[test]
fn peer_50_the_missing_link_of_a_subnet_peering() {
    let yaml = subnet_peering(["s1", "s1", "s1", "s1"], "");
    let cut = yaml.rfind("virtualNetworkPeerings").unwrap();
    let end = cut + yaml[cut..].find('\n').unwrap();
    let yaml = format!("{}virtualNetworkPeerings: []{}", &yaml[..cut], &yaml[end..]);
    let fix = ask(&yaml, "as1", "bs1").fix.unwrap();
    let link = "{name: b-a, remoteVirtualNetwork: a, peerCompleteVnets: false, localSubnetNames: [s1], remoteSubnetNames: [s1]}";
    assert_eq!(changes(&fix), [(B_LINK, link)]);
    assert!(fix.checked);
}

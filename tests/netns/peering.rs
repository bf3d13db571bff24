//! The life cycle of a peering in a running lab: by file and by verb, with packets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::lab::{Lab, NEVER, SOON, stderr, stdout};

/// Two VNets, each with its links, the first with these further ranges and machines.
fn topology(a_b: bool, b_a: bool, more: bool) -> String {
    let link = |present: bool, name: &str, remote: &str| {
        if present { format!("[{{name: {name}, remoteVirtualNetwork: {remote}}}]") } else { "[]".to_owned() }
    };
    let (space, subnet, machine) = if more {
        (
            ", 10.9.0.0/16",
            ", {name: new, addressPrefix: 10.9.0.0/24}",
            "  - {name: vn, networkInterfaces: [{subnet: a/new}]}\n",
        )
    } else {
        ("", "", "")
    };
    format!(
        "
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16{space}]
    subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}{subnet}]
    virtualNetworkPeerings: {}
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.2.1.0/24}}]
    virtualNetworkPeerings: {}
virtualMachines:
{machine}  - {{name: va, networkInterfaces: [{{subnet: a/s}}]}}
  - {{name: vb, networkInterfaces: [{{subnet: b/s}}]}}
",
        link(a_b, "a-b", "b"),
        link(b_a, "b-a", "a")
    )
}

/// `name state level` of every link.
fn links(lab: &Lab) -> Vec<String> {
    let rows = lab.data(&["peering", "ls"]);
    let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let row = |row: &Value| {
        format!("{} {} {}", field(row, "name"), field(row, "peeringState"), field(row, "peeringSyncLevel"))
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

fn connection(lab: &Lab) -> (TcpStream, TcpStream) {
    let listener = lab.inside("vb", || TcpListener::bind("10.2.1.4:9000").unwrap());
    let at = listener.local_addr().unwrap();
    let client = lab.inside("va", || TcpStream::connect_timeout(&at, SOON)).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Whether a byte arrives in time.
fn passes((client, server): &mut (TcpStream, TcpStream), limit: std::time::Duration) -> bool {
    client.write_all(b"x").unwrap();
    server.set_read_timeout(Some(limit)).unwrap();
    server.read_exact(&mut [0]).is_ok()
}

fn refused(lab: &Lab, topology: &str, code: &str) -> String {
    lab.write(topology);
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains(code), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn cs_04_a_half_deleted_peering() {
    let Some(lab) = Lab::up(&topology(true, true, false)) else { return };
    let mut session = connection(&lab);
    assert!(passes(&mut session, SOON));
    let output = lab.apply(&topology(false, true, false));
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stderr(&output).contains("b/b-a is Disconnected"), "{}", stderr(&output));
    assert_eq!(links(&lab), ["b-a Disconnected FullyInSync"]);
    assert!(!passes(&mut session, NEVER), "an open session stops");
    lab.await_drop("va", "NextHopNone");
    lab.assert_dropped("vb", "10.1.1.4", "vb", "NextHopNone");

    let why = refused(&lab, &topology(true, true, false), "RemotePeeringIsDisconnected");
    assert!(why.contains("vnet peering rm b/b-a"), "{why}");
    assert_eq!(links(&lab), ["b-a Disconnected FullyInSync"]);

    // Delete the other, create both.
    lab.apply(&topology(false, false, false));
    assert_eq!(links(&lab), Vec::<String>::new());
    lab.apply(&topology(true, true, false));
    assert_eq!(links(&lab), ["a-b Connected FullyInSync", "b-a Connected FullyInSync"]);
    lab.assert_ping("va", "10.2.1.4");
}

#[test]
fn peer_03_by_verb() {
    let Some(lab) = Lab::up(&topology(true, true, false)) else { return };
    let removed = lab.vnet(&["peering", "rm", "a/a-b"]);
    assert!(removed.status.success(), "{}", stderr(&removed));
    assert_eq!(links(&lab), ["b-a Disconnected FullyInSync"]);
    lab.assert_dropped("va", "10.2.1.4", "va", "NextHopNone");
    refused(&lab, &topology(true, true, false), "RemotePeeringIsDisconnected");
    // A sync of all does not: it says what does.
    let output = lab.vnet(&["peering", "sync"]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stderr(&output).contains("`vnet peering sync b/b-a`"), "{}", stderr(&output));
    assert_eq!(links(&lab), ["b-a Disconnected FullyInSync"]);
    let answer = lab.data(&["explain", "va", "vb"]);
    assert!(answer["cause"].as_str().unwrap().contains("peering b/b-a is Disconnected"), "{answer}");
    assert_eq!(answer["fix"]["commands"], json!(["vnet peering sync b/b-a"]));
    // Putting what is left again makes it wait for the other side.
    assert!(lab.vnet(&["peering", "sync", "b-a"]).status.success());
    assert_eq!(links(&lab), ["b-a Initiated FullyInSync"]);
    lab.apply(&topology(true, true, false));
    lab.assert_ping("va", "10.2.1.4");

    let unknown = lab.vnet(&["peering", "rm", "a-c"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("a/a-b, b/b-a"), "{}", stderr(&unknown));
}

/// What `apply` advises works, to the letter.
#[test]
fn peer_04_a_deleted_virtual_network_comes_back() {
    let full = topology(true, true, false);
    let without = full.split("  - name: b\n").next().unwrap().to_owned()
        + "virtualMachines:\n  - {name: va, networkInterfaces: [{subnet: a/s}]}\n";
    let Some(lab) = Lab::up(&full) else { return };
    let output = lab.apply(&without);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stderr(&output).contains("`vnet peering rm a/a-b`, then apply a file"), "{}", stderr(&output));
    let answer = lab.data(&["explain", "va", "10.2.1.4"]);
    assert!(answer["cause"].as_str().unwrap().contains("peering a/a-b is Disconnected"), "{answer}");
    let output = lab.vnet(&["peering", "sync"]);
    assert!(stderr(&output).contains("`vnet peering rm a/a-b`"), "{}", stderr(&output));

    assert!(lab.vnet(&["peering", "rm", "a/a-b"]).status.success());
    assert!(lab.apply(&full).status.success());
    assert_eq!(links(&lab), ["a-b Connected FullyInSync", "b-a Connected FullyInSync"]);
    lab.assert_ping("va", "10.2.1.4");
}

#[test]
fn cs_07_address_changes_wait_for_a_sync() {
    let Some(lab) = Lab::up(&topology(true, true, false)) else { return };
    let mut session = connection(&lab);
    let output = lab.apply(&topology(true, true, true));
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stderr(&output).contains("vnet peering sync b/b-a"), "{}", stderr(&output));
    assert_eq!(links(&lab), ["a-b Connected LocalNotInSync", "b-a Connected RemoteNotInSync"]);
    lab.assert_dropped("vb", "10.9.0.4", "vb", "NextHopNone");
    lab.assert_ping("vn", "10.1.1.4");
    assert!(passes(&mut session, SOON), "the old range is not interrupted");

    let synced = lab.vnet(&["peering", "sync", "b/b-a"]);
    assert!(synced.status.success(), "{}", stderr(&synced));
    assert_eq!(links(&lab), ["a-b Connected FullyInSync", "b-a Connected FullyInSync"]);
    lab.assert_ping("vb", "10.9.0.4");
    assert!(passes(&mut session, SOON));

    // PEER-19: removing needs a sync too; until then the old range leads to a drop. Here apply does it at once.
    lab.apply(&topology(true, true, false));
    lab.assert_dropped("vb", "10.9.0.4", "vb", "NoEndpoint");
    let output = lab.vnet(&["apply", "--sync", lab.file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    lab.assert_dropped("vb", "10.9.0.4", "vb", "NextHopNone");
    assert!(passes(&mut session, SOON));
}

#[test]
fn diag_11_links_have_azures_fields() {
    let Some(lab) = Lab::up(&topology(true, true, true)) else { return };
    lab.apply(&topology(true, true, false));
    let rows = lab.data(&["peering", "ls", "b"]);
    let expected = json!([{
        "name": "b-a",
        "virtualNetwork": {"id": "b"},
        "remoteVirtualNetwork": {"id": "a"},
        "peeringState": "Connected",
        "peeringSyncLevel": "RemoteNotInSync",
        "allowVirtualNetworkAccess": true,
        "allowForwardedTraffic": false,
        "allowGatewayTransit": false,
        "useRemoteGateways": false,
        "peerCompleteVnets": true,
        "enableOnlyIPv6Peering": false,
        "localAddressSpace": {"addressPrefixes": ["10.2.0.0/16"]},
        "localVirtualNetworkAddressSpace": {"addressPrefixes": ["10.2.0.0/16"]},
        "remoteAddressSpace": {"addressPrefixes": ["10.1.0.0/16", "10.9.0.0/16"]},
        "remoteVirtualNetworkAddressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "provisioningState": "Succeeded",
    }]);
    assert_eq!(rows, expected);
    assert!(stdout(&lab.vnet(&["peering", "ls"])).lines().next().unwrap().contains("PeeringSyncLevel"));
}

#[test]
fn links_outlive_a_crash_of_the_daemon() {
    let Some(lab) = Lab::up(&topology(true, true, true)) else { return };
    lab.apply(&topology(true, true, false));
    let stale = ["a-b Connected LocalNotInSync", "b-a Connected RemoteNotInSync"];
    assert_eq!(links(&lab), stale);
    lab.crash();
    assert!(lab.start().status.success());
    assert_eq!(links(&lab), stale);
    lab.assert_dropped("vb", "10.9.0.4", "vb", "NoEndpoint");

    assert!(lab.vnet(&["peering", "rm", "a-b"]).status.success());
    lab.crash();
    // The file has the removed link still.
    let output = lab.start();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("RemotePeeringIsDisconnected"), "{}", stderr(&output));
    lab.write(&topology(false, true, false));
    assert!(lab.start().status.success());
    assert_eq!(links(&lab), ["b-a Disconnected RemoteNotInSync"]);

    // A lab that was ended begins in sync.
    assert!(lab.down().status.success());
    lab.write(&topology(true, true, false));
    assert!(lab.start().status.success());
    assert_eq!(links(&lab), ["a-b Connected FullyInSync", "b-a Connected FullyInSync"]);
}

#[test]
fn down_forgets_how_the_peerings_of_a_crashed_lab_stood() {
    let Some(lab) = Lab::up(&topology(true, true, false)) else { return };
    assert!(lab.vnet(&["peering", "rm", "a-b"]).status.success());
    lab.crash();
    assert_eq!(lab.start().status.code(), Some(2));
    assert!(lab.down().status.success());
    assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new());
    assert!(lab.start().status.success());
    lab.assert_ping("va", "10.2.1.4");
}

/// CS-28's two VNets: sn1 and, if wanted, sn2 are peered with sn3.
fn subnets(peered: &str, both: bool) -> String {
    let link = |name: &str, remote: &str, local: &str, far: &str| {
        let lists = format!(", peerCompleteVnets: false, localSubnetNames: [{local}], remoteSubnetNames: [{far}]");
        format!("[{{name: {name}, remoteVirtualNetwork: {remote}{}}}]", if both { "" } else { &lists })
    };
    format!(
        "
virtualNetworks:
  - name: v1
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{{name: sn1, addressPrefix: 10.0.1.0/24}}, {{name: sn2, addressPrefix: 10.0.2.0/24}}]
    virtualNetworkPeerings: {}
  - name: v2
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{{name: sn3, addressPrefix: 10.1.1.0/24}}]
    virtualNetworkPeerings: {}
virtualMachines:
  - {{name: one, networkInterfaces: [{{subnet: v1/sn1}}]}}
  - {{name: two, networkInterfaces: [{{subnet: v1/sn2}}]}}
  - {{name: three, networkInterfaces: [{{subnet: v2/sn3}}]}}
",
        link("v1-v2", "v2", peered, "sn3"),
        link("v2-v1", "v1", "sn3", peered)
    )
}

#[test]
fn cs_28_subnets_are_peered() {
    let Some(lab) = Lab::up(&subnets("sn1", false)) else { return };
    lab.assert_ping("one", "10.1.1.4");
    let routes = lab.data(&["routes", "v1/sn2"]);
    let prefixes: Vec<_> =
        routes["value"].as_array().unwrap().iter().map(|row| row["addressPrefix"].to_string()).collect();
    assert!(prefixes.contains(&"[\"10.1.1.0/24\"]".to_owned()), "PEER-53: listed all the same: {prefixes:?}");
    lab.assert_dropped("two", "10.1.1.4", "two", "SubnetNotPeered");
    lab.assert_dropped("three", "10.0.2.4", "three", "NextHopNone");
    let rows = lab.data(&["peering", "ls", "v2"]);
    for (field, expected) in [
        ("peerCompleteVnets", json!(false)),
        ("localSubnetNames", json!(["sn3"])),
        ("remoteSubnetNames", json!(["sn1"])),
        ("enableOnlyIPv6Peering", json!(false)),
        ("localAddressSpace", json!({"addressPrefixes": ["10.1.1.0/24"]})),
        ("remoteAddressSpace", json!({"addressPrefixes": ["10.0.1.0/24"]})),
        ("remoteVirtualNetworkAddressSpace", json!({"addressPrefixes": ["10.0.1.0/24"]})),
    ] {
        assert_eq!(rows[0][field], expected, "{field}");
    }

    // PEER-52: subnets join and leave by an update of both links; its type a peering keeps.
    lab.apply(&subnets("sn1, sn2", false));
    lab.assert_ping("two", "10.1.1.4");
    let why = refused(&lab, &subnets("", true), "cannot become one of subnets");
    assert!(why.contains("vnet peering rm v1/v1-v2"), "{why}");
    lab.assert_ping("two", "10.1.1.4");
    lab.apply(&subnets("sn2", false));
    lab.assert_dropped("one", "10.1.1.4", "one", "SubnetNotPeered");
    for link in ["v1-v2", "v2-v1"] {
        assert!(lab.vnet(&["peering", "rm", link]).status.success());
    }
    lab.apply(&subnets("", true));
    lab.assert_ping("one", "10.1.1.4");
}

/// One link on the Resource Manager's side carries both ways, is synced from there, and leaves nothing behind.
#[test]
fn peer_44_a_classic_network_is_peered_by_one_link() {
    let topology = |more: &str| {
        format!(
            "
virtualNetworks:
  - name: new
    location: westeurope
    addressSpace: [10.1.0.0/16{more}]
    subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]
    virtualNetworkPeerings: [{{name: new-old, remoteVirtualNetwork: old}}]
  - name: old
    location: westeurope
    deploymentModel: classic
    addressSpace: [10.2.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.2.1.0/24}}]
virtualMachines:
  - {{name: va, networkInterfaces: [{{subnet: new/s}}]}}
  - {{name: vb, networkInterfaces: [{{subnet: old/s}}]}}
"
        )
    };
    let Some(lab) = Lab::up(&topology("")) else { return };
    assert_eq!(links(&lab), ["new-old Connected FullyInSync"]);
    lab.assert_ping("va", "10.2.1.4");
    lab.assert_ping("vb", "10.1.1.4");

    let output = lab.apply(&topology(", 10.9.0.0/16"));
    assert!(stderr(&output).contains("vnet peering sync new/new-old"), "{}", stderr(&output));
    assert_eq!(links(&lab), ["new-old Connected LocalNotInSync"]);
    let synced = lab.vnet(&["peering", "sync", "new-old"]);
    assert!(stdout(&synced).contains("localAddressSpace: [10.1.0.0/16] -> [10.1.0.0/16, 10.9.0.0/16]"), "{synced:?}");
    assert_eq!(links(&lab), ["new-old Connected FullyInSync"]);

    assert!(lab.vnet(&["peering", "rm", "new-old"]).status.success());
    lab.assert_dropped("vb", "10.1.1.4", "vb", "NextHopNone");
    lab.apply(&topology(", 10.9.0.0/16"));
    lab.assert_ping("vb", "10.1.1.4");
}

//! `reach`: who is reachable, what a change opens and closes.

use super::*;

#[test]
fn reach_shows_each_pair_of_machines() {
    let answer = run("reach -t config/nsg-tiers.yaml --port 5432");
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    assert_eq!(
        answer.stdout,
        "\
tcp/5432    web    app    db    db2
----------  -----  -----  ----  -----
web         -      no     no    no
app         yes    -      yes   no
db          no     no     -     no
db2         no     no     no    -

yes: there and back    no: the question is dropped    2 of 12 reachable
"
    );
    let rows = run("reach -t config/nsg-tiers.yaml --port 5432 -o tsv").stdout;
    assert_eq!(rows.lines().count(), 12);
    assert!(rows.lines().any(|row| row == "web\tdb\ttcp/5432\tblocked\tNsgInbound at db/eth0"), "{rows}");
}

#[test]
fn reach_is_data_and_knows_the_way() {
    let answer = json("reach -t config/hub-spoke.yaml");
    assert_eq!(answer["nodes"], serde_json::json!(["web", "db", "nva"]));
    assert_eq!(answer["traffic"], serde_json::json!(["ping"]));
    let pairs = answer["pairs"].as_array().unwrap();
    let pair = pairs.iter().find(|pair| pair["source"] == "web" && pair["destination"] == "db").unwrap();
    assert_eq!(pair["verdict"], "reachable");
    let nva = serde_json::json!(["nva"]);
    assert_eq!((&pair["forward"]["via"], &pair["return"]["via"]), (&nva, &nva));
    assert!(run("reach -t config/hub-spoke.yaml").stdout.contains("via nva"));
}

/// Behind one TUN a subnet stands for all machines in it.
#[test]
fn reach_knows_virtual_networks_on_one_tun() {
    assert_eq!(json("reach -t config/two-vnets.yaml")["nodes"], serde_json::json!(["a/default", "b/default"]));
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/two-vnets.yaml")).unwrap();
    let one_link = text.replace("      - {name: b-to-a, remoteVirtualNetwork: a}\n", "      []\n");
    assert_ne!(text, one_link);
    let answer = about(&one_link, "reach -t FILE");
    assert!(answer.stdout.contains("0 of 2 reachable"), "{}{}", answer.stdout, answer.stderr);
}

#[test]
fn reach_distinguishes_an_unanswered_packet_from_a_dropped_one() {
    let hole = "  - {name: hole, routes: [{name: r, addressPrefix: 10.1.1.0/24, nextHopType: None}]}\n";
    let text = ASYMMETRIC
        .replace("addressPrefix: 10.1.2.0/24}\n", "addressPrefix: 10.1.2.0/24, routeTable: hole}\n")
        .replace("virtualMachines:", &format!("{hole}virtualMachines:"));
    let answer = about(&text, "reach -t FILE");
    assert!(answer.stdout.contains("no answer: the answer is dropped"), "{}{}", answer.stdout, answer.stderr);
}

#[test]
fn reach_diff_says_what_a_change_opens_and_closes() {
    let same = run("reach -t config/nsg-tiers.yaml --diff config/nsg-tiers.yaml");
    assert_eq!((same.code, same.stdout.as_str()), (0, "no difference\n"));

    let before = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/nsg-tiers.yaml")).unwrap();
    let after = before.replace("destinationPortRange: 8080", "destinationPortRange: 9090");
    assert_ne!(before, after);
    let answer = about(&after, "reach -t config/nsg-tiers.yaml --diff FILE");
    assert_eq!(answer.code, 1);
    assert_eq!(
        answer.stdout,
        "\
Change    Source    Destination    Traffic    Before                  After
--------  --------  -------------  ---------  ----------------------  ----------------------
closes    web       app            tcp/8080   directly                NsgInbound at app/eth0
opens     web       app            tcp/9090   NsgInbound at app/eth0  directly
"
    );
    let rows = about(&after, "reach -t config/nsg-tiers.yaml --diff FILE -o json").stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!((&rows[1]["shift"], &rows[1]["traffic"]), (&"opens".into(), &"tcp/9090".into()));
    // Only what was asked.
    let other = about(&after, "reach -t config/nsg-tiers.yaml --diff FILE --port 22");
    assert_eq!(other.code, 0, "{}", other.stdout);
}

#[test]
fn reach_diff_notices_a_bypassed_appliance() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.yaml");
    fs::write(&old, ASYMMETRIC).unwrap();
    let bypass = ASYMMETRIC.replace(", routeTable: via-nva", "");
    let answer = about(&bypass, &format!("reach -t {} --diff FILE", old.display()));
    assert_eq!(answer.code, 1);
    let rows: Vec<Vec<&str>> = answer.stdout.lines().map(|line| line.split("  ").collect()).collect();
    let row = rows.iter().find(|row| row[0] == "reroutes").unwrap();
    let words: Vec<_> = row.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(words, ["reroutes", "web", "db", "everything", "through nva, back directly", "directly"]);
}

/// Traffic of a pair is in one row where it fares alike: the same change for another reason has a row of its own.
#[test]
fn reach_diff_has_a_row_for_each_reason() {
    let rule = |name: &str, priority: u32, direction: &str, port: u32| {
        format!(
            "{{name: {name}, priority: {priority}, direction: {direction}, access: Deny, protocol: Tcp, \
             sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '{port}'}}"
        )
    };
    let network = |outbound: &[String], inbound: &[String]| {
        format!(
            "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.0.1.0/24}}]
networkSecurityGroups:
  - {{name: out, securityRules: [{}]}}
  - {{name: in, securityRules: [{}]}}
virtualMachines:
  - {{name: web, networkInterfaces: [{{subnet: v/s, networkSecurityGroup: out}}]}}
  - {{name: db, networkInterfaces: [{{subnet: v/s, networkSecurityGroup: in}}]}}
",
            outbound.join(", "),
            inbound.join(", ")
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.yaml");
    fs::write(&old, network(&[], &[])).unwrap();
    let outbound = [rule("a", 100, "Outbound", 80), rule("c", 102, "Outbound", 82)];
    let new = network(&outbound, &[rule("b", 101, "Inbound", 81)]);
    let answer = about(&new, &format!("reach web db -t {} --diff FILE -o tsv", old.display()));
    let rows: Vec<Vec<&str>> = answer.stdout.lines().map(|line| line.split('\t').collect()).collect();
    let from_web: Vec<_> = rows.iter().filter(|row| row[1] == "web").map(|row| [row[0], row[3], row[5]]).collect();
    let expected =
        [["closes", "tcp/80 tcp/82", "NsgOutbound at web/eth0"], ["closes", "tcp/81", "NsgInbound at db/eth0"]];
    assert_eq!(from_web, expected, "{}{}", answer.stdout, answer.stderr);
}

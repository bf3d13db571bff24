//! Effective routes and rules, next hops and verdicts, with the fields of Network Watcher and ARM.

use super::*;

#[test]
fn cs_01_both_tables_of_the_peering() {
    // DIAG-14: the columns of `az network nic show-effective-route-table -o table`. One region: `VNetPeering`.
    let contoso = run("routes contoso-vm -t config/contoso-fabrikam.yaml");
    assert_eq!(
        contoso.stdout,
        "\
Source    State    Address Prefix    Next Hop Type     Next Hop IP
--------  -------  ----------------  ----------------  -------------
Default   Active   0.0.0.0/0         Internet
Default   Active   10.0.0.0/8        None
Default   Active   10.1.26.0/25      VnetLocal
Default   Active   10.10.26.0/24     VNetPeering
Default   Active   100.64.0.0/10     None
Default   Active   172.16.0.0/12     None
Default   Active   192.168.0.0/16    None
User      Active   10.10.26.192/26   VirtualAppliance  10.10.26.68
"
    );
    // In two regions the same row has the other type.
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/contoso-fabrikam.yaml")).unwrap();
    let text = text.replacen("location: westus", "location: eastus", 1);
    let fabrikam = about(&text, "routes fabrikam-vm -t FILE");
    assert_eq!(
        fabrikam.stdout,
        "\
Source    State    Address Prefix    Next Hop Type      Next Hop IP
--------  -------  ----------------  -----------------  -------------
Default   Active   0.0.0.0/0         Internet
Default   Active   10.0.0.0/8        None
Default   Active   10.1.26.0/25      VNetGlobalPeering
Default   Active   10.10.26.0/24     VnetLocal
Default   Active   100.64.0.0/10     None
Default   Active   172.16.0.0/12     None
Default   Active   192.168.0.0/16    None
"
    );
    assert_eq!((contoso.code, fabrikam.code), (0, 0));
}

/// VPN-44, AVS-06: what is beyond a gateway. A client has what its gateway tells it of; a segment has its Tier-1 router, a site
/// a router of its own.
#[test]
fn vpn_44_routes_of_what_is_no_machine() {
    let client = run("routes laptop -t config/point-to-site.yaml").stdout;
    for prefix in ["10.1.0.0/16", "10.2.0.0/16", "10.99.0.0/16", "172.16.201.0/24", "192.168.50.0/24"] {
        assert!(
            client.lines().any(|row| row.contains(prefix) && row.ends_with("VirtualNetworkGateway  20.1.1.1")),
            "{client}"
        );
    }
    assert!(!client.contains("10.3.0.0/16"), "no peer without the gateway: {client}");
    for target in ["sddc-web", "sddc/web"] {
        let segment = run(&format!("routes {target} -t config/private-cloud-full.yaml"));
        let words = "`sddc-web` is segment web of private cloud sddc";
        assert!(
            segment.stderr.contains(words) && segment.stderr.contains("sddc-T1, 10.176.1.1 (AVS-06)"),
            "{}",
            segment.stderr
        );
        assert_eq!(segment.code, 2);
    }
    let site = run("routes dc -t config/private-cloud-full.yaml");
    assert!(
        site.stderr.contains("`dc` is a site") && site.stderr.contains("`vnet exec dc -- ip route`"),
        "{}",
        site.stderr
    );
    let cloud = run("routes sddc -t config/private-cloud-full.yaml");
    assert!(cloud.stderr.contains("`sddc` is a private cloud"), "{}", cloud.stderr);
}

/// AVS-07, GR-04: before any session a cloud's routes have its four-byte number, at the edge and beyond it.
#[test]
fn avs_07_a_clouds_number_is_in_the_path() {
    let told = run("explain app sddc-web -t config/private-cloud-full.yaml").stdout;
    for path in ["AS path 12076 398656]", "AS path 398656]"] {
        assert!(told.contains(&format!("[BGP 10.176.1.0/24, {path}")), "{told}");
    }
}

#[test]
fn diag_01_routes_have_arms_fields() {
    let table = json("routes web -t config/hub-spoke.yaml");
    let rows = table["value"].as_array().unwrap();
    let user = rows.iter().find(|row| row["source"] == "User").unwrap();
    let expected = serde_json::json!({
        "name": "to-spokes", "disableBgpRoutePropagation": false, "source": "User", "state": "Active",
        "addressPrefix": ["10.0.0.0/8"], "nextHopIpAddress": ["10.0.1.4"], "nextHopType": "VirtualAppliance",
    });
    assert_eq!(user, &expected);
    assert_eq!(table.as_object().unwrap().len(), 1, "nothing beside `value`");
}

#[test]
fn routes_have_one_content_in_every_format() {
    let rows = json("routes web -t config/hub-spoke.yaml")["value"].as_array().unwrap().len();
    let tsv = run("routes web -t config/hub-spoke.yaml -o tsv").stdout;
    assert_eq!(tsv.lines().count(), rows);
    assert!(tsv.lines().any(|line| line == "User\tActive\t10.0.0.0/8\tVirtualAppliance\t10.0.1.4"), "{tsv}");
    let table = run("routes web -t config/hub-spoke.yaml").stdout;
    assert_eq!(table.lines().count(), rows + 2);
    let yaml = run("routes web -t config/hub-spoke.yaml -o yaml").stdout;
    assert!(yaml.starts_with("value:\n") && yaml.matches("nextHopType:").count() == rows, "{yaml}");
}

#[test]
fn a_machine_its_interface_and_its_subnet_have_the_same_routes() {
    let [machine, interface, subnet] =
        ["web", "WEB/eth0", "spoke1/app"].map(|target| json(&format!("routes {target} -t config/hub-spoke.yaml")));
    assert!(machine == interface && interface == subnet);
    // One subnet: the VNet's name says which.
    assert_eq!(json("routes spoke1 -t config/hub-spoke.yaml"), subnet);
}

#[test]
fn a_misspelt_target_gets_a_suggestion() {
    for (line, suggestion) in [
        ("routes wbe -t config/hub-spoke.yaml", "did you mean `web`?"),
        ("routes hub/nvaa -t config/hub-spoke.yaml", "did you mean `nva`?"),
        ("routes web/eth1 -t config/hub-spoke.yaml", "did you mean `eth0`?"),
        ("routes spok1/app -t config/hub-spoke.yaml", "did you mean `spoke1`?"),
        ("next-hop wbe db -t config/hub-spoke.yaml", "did you mean `web`?"),
        ("next-hop web dbb -t config/hub-spoke.yaml", "did you mean `db`?"),
        ("routes shop -t config/nsg-tiers.yaml", "name one of its subnets: shop/web, shop/app, shop/db"),
        ("explain web dbb -t config/hub-spoke.yaml", "did you mean `db`?"),
        ("reach wbe nva -t config/hub-spoke.yaml", "unknown node `wbe`: did you mean `web`?"),
        ("reach web nva web -t config/hub-spoke.yaml", "`web` is named twice"),
        ("lb wbe -t config/load-balancer.yaml", "did you mean `web`?"),
        ("lb web -t config/hub-spoke.yaml", "unknown load balancer with a rule and a backend `web`: there is none"),
        ("explain web db:https -t config/hub-spoke.yaml", "expected a number from 1 to 65535"),
    ] {
        let answer = run(line);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line}");
        assert!(answer.stderr.contains(suggestion), "{line}: {}", answer.stderr);
    }
}

#[test]
fn diag_03_effective_rules_have_arms_fields() {
    let answer = json("rules db2 -t config/nsg-tiers.yaml");
    let [subnet, nic] = &answer["value"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!(subnet["networkSecurityGroup"], serde_json::json!({"id": "db-tier"}));
    assert_eq!(subnet["association"], serde_json::json!({"subnet": {"id": "shop/db"}}));
    assert_eq!(nic["association"], serde_json::json!({"networkInterface": {"id": "db2/eth0"}}));
    let names = |group: &Value| -> Vec<String> {
        let rules = group["effectiveSecurityRules"].as_array().unwrap().iter();
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    };
    let defaults = |direction: &str, second: &str| {
        [format!("AllowVnet{direction}"), format!("{second}{direction}"), format!("DenyAll{direction}")]
            .map(|name| format!("defaultSecurityRules/{name}"))
    };
    let (inbound, outbound) = (defaults("InBound", "AllowAzureLoadBalancer"), defaults("OutBound", "AllowInternet"));
    let own = |name: &str| vec![format!("securityRules/{name}")];
    let all = [own("from-app"), own("deny-vnet"), inbound.to_vec(), own("deny-out"), outbound.to_vec()];
    assert_eq!(names(subnet), all.concat());
    let expected = serde_json::json!({
        "name": "securityRules/deny-vnet", "protocol": "All", "access": "Deny", "priority": 4096, "direction": "Inbound",
        "sourcePortRange": "0-65535", "sourcePortRanges": ["0-65535"],
        "destinationPortRange": "0-65535", "destinationPortRanges": ["0-65535"],
        "sourceAddressPrefix": "VirtualNetwork", "sourceAddressPrefixes": ["VirtualNetwork"],
        "destinationAddressPrefix": "0.0.0.0/0", "destinationAddressPrefixes": ["0.0.0.0/0"],
        "expandedSourceAddressPrefix": ["10.40.0.0/16", "168.63.129.16/32"],
        "expandedDestinationAddressPrefix": null,
    });
    assert_eq!(subnet["effectiveSecurityRules"][1], expected);
    assert_eq!(subnet["tagMap"]["VirtualNetwork"], serde_json::json!(["10.40.0.0/16", "168.63.129.16/32"]));
    assert_eq!(json("rules nva -t config/hub-spoke.yaml")["value"], serde_json::json!([]));
    let admin = json("rules web -t config/guardrails.yaml");
    assert!(admin["value"][0]["association"]["networkManager"]["id"].is_string(), "admin rules come first: {admin}");
    let table = run("rules db2 -t config/nsg-tiers.yaml").stdout;
    assert!(table.starts_with("NSG db-tier on subnet shop/db\n"), "{table}");
    assert!(table.contains("\nVirtualNetwork = 10.40.0.0/16 168.63.129.16/32\n"), "{table}");
}

#[test]
fn diag_04_next_hop_has_network_watchers_fields() {
    let answer = json("next-hop web 10.2.1.10 -t config/hub-spoke.yaml");
    let expected = serde_json::json!({
        "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.0.1.4", "routeTableId": "via-nva",
    });
    assert_eq!(answer, expected);
    let peer = json("next-hop web nva --source 10.1.1.4 -t config/hub-spoke.yaml");
    let expected = serde_json::json!({
        "nextHopType": "VNetPeering", "nextHopIpAddress": null, "routeTableId": "System Route",
    });
    assert_eq!(peer, expected);
    let table = run("next-hop web db -t config/hub-spoke.yaml");
    assert_eq!(
        table.stdout,
        "\
Next Hop Type     Next Hop IP    Route Table
----------------  -------------  -------------
VirtualAppliance  10.0.1.4       via-nva
"
    );
    let foreign = run("next-hop web db --source 10.9.9.9 -t config/hub-spoke.yaml");
    assert_eq!((foreign.code, foreign.stdout.as_str()), (2, ""));
    assert!(foreign.stderr.contains("SourceIpDoesNotMatchNicIp: 10.9.9.9"), "{}", foreign.stderr);
}

#[test]
fn diag_05_flow_verify_has_network_watchers_fields() {
    let ask = |rest: &str| run(&format!("flow-verify db2 -t config/nsg-tiers.yaml --direction Inbound {rest}"));
    let denied = ask("--protocol TCP --local 10.40.3.5:5432 --remote app:50000");
    let table = "Access    Rule Name\n--------  ----------------------\nDeny      securityRules/deny-all\n";
    assert_eq!((denied.code, denied.stdout.as_str(), denied.stderr.as_str()), (1, table, ""));
    let data = ask("--protocol TCP --local 5432 --remote app:50000 -o json");
    let answer: Value = serde_json::from_str(&data.stdout).unwrap();
    assert_eq!(answer, serde_json::json!({"access": "Deny", "ruleName": "securityRules/deny-all"}));
    // Of two groups the last is named; where none is asked, there is no name.
    let question = "--direction outbound --protocol udp --local 50000 --remote 8.8.8.8:53";
    let allowed = json(&format!("flow-verify nva -t config/hub-spoke.yaml {question}"));
    assert_eq!(allowed, serde_json::json!({"access": "Allow"}));
    for (rest, error) in [
        ("--protocol icmp --local 1 --remote app:1", "IP flow verify knows no others, `vnet explain` asks with a ping"),
        ("--protocol esp --local 1 --remote app:1", "expected tcp or udp"),
        ("--protocol tcp --local 0 --remote app:1", "port `0`: expected a number from 1 to 65535"),
        ("--protocol tcp --local app:1 --remote app:1", "expected one of the interface's addresses, or a port alone"),
        ("--protocol tcp --local 1 --remote app", "`app`: expected a port behind it, as `app:443`"),
        ("--protocol tcp --local 10.9.9.9:1 --remote app:1", "SourceIpDoesNotMatchNicIp: 10.9.9.9"),
        ("--protocol tcp --local 1 --remote ap:1", "did you mean `app`?"),
    ] {
        let answer = ask(rest);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{rest}");
        assert!(answer.stderr.contains(error), "{rest}: {}", answer.stderr);
    }
}

/// PIP-01: every public address, and its owner.
#[test]
fn pip_01_public_addresses_are_listed_with_their_users() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.yaml");
    fs::write(
        &file,
        "name: l
publicIPAddresses: [{name: a, ipAddress: 203.0.113.1}, {name: b, ipAddress: 203.0.113.2}, {name: c, ipAddress: 203.0.113.3},
  {name: d, ipAddress: 203.0.113.4}, {name: e, ipAddress: 203.0.113.5}, {name: r, ipAddress: 203.0.113.6}]
publicIPPrefixes: [{name: p, ipPrefix: 203.0.113.64/29}]
natGateways: [{name: out, publicIpAddresses: [b], publicIpPrefixes: [p]}]
loadBalancers: [{name: lb, frontendIPConfigurations: [{name: one, publicIPAddress: c}]}]
virtualNetworkGateways:
  - {name: gw, gatewayType: Vpn, sku: {name: VpnGw1}, ipConfigurations: [{subnet: v/GatewaySubnet, publicIPAddress: d}]}
virtualNetworks: [{name: v, location: x, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24},
  {name: GatewaySubnet, addressPrefix: 10.1.2.0/24}, {name: RouteServerSubnet, addressPrefix: 10.1.3.0/24}]}]
routeServers: [{name: rs, virtualNetwork: v, publicIPAddress: r}]
virtualMachines: [{name: m, networkInterfaces: [{subnet: v/s, publicIPAddress: a}]}]
",
    )
    .unwrap();
    let answer = vnet(&["public-ips", "-t", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let rows: Value = serde_json::from_str(&answer.stdout).unwrap();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (
            text("name"),
            text("ipAddress"),
            row["usedBy"].as_array().unwrap().iter().map(|by| by.as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
    let expected = [
        ("a", "203.0.113.1", vec!["m/eth0 (10.1.1.4)"]),
        ("b", "203.0.113.2", vec!["NAT gateway out"]),
        ("c", "203.0.113.3", vec!["load balancer lb, frontend one"]),
        ("d", "203.0.113.4", vec!["gateway gw"]),
        ("e", "203.0.113.5", vec![]),
        ("r", "203.0.113.6", vec!["route server rs"]),
        ("p", "203.0.113.64/29", vec!["NAT gateway out"]),
    ];
    let expected = expected.map(|(name, address, users)| {
        (name.to_owned(), address.to_owned(), users.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(rows, expected);
    let table = vnet(&["public-ips", "-t", file.to_str().unwrap()]).stdout;
    assert!(table.contains("load balancer lb, frontend one") && table.contains("Used By"), "{table}");
}

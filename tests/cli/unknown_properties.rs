//! Nothing of a dump is lost in silence: a property that is not known is reported wherever it stands.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Resources that are left out whole, and how many there are: without a parent, a range or a user, of a type that is not emulated
/// or says nothing about a packet's way, or peerings that are Disconnected or that Azure makes itself.
const LEFT_OUT: [(&str, usize); 23] = [
    ("Microsoft.AVS/privateClouds", 1),
    ("Microsoft.AVS/privateClouds/globalReachConnections", 1),
    ("Microsoft.AVS/privateClouds/hcxEnterpriseSites", 1),
    ("Microsoft.AVS/privateClouds/workloadNetworks/segments", 1),
    ("Microsoft.Compute/virtualMachineScaleSets", 1),
    ("Microsoft.ContainerService/managedClusters", 1),
    ("Microsoft.Network/azureFirewalls", 2),
    ("Microsoft.Network/azureFirewalls ipConfigurations", 1),
    ("Microsoft.Network/connections", 2),
    ("Microsoft.Network/expressRouteCircuits peerings connections", 1),
    ("Microsoft.Network/networkInterfaces", 1),
    ("Microsoft.Network/networkInterfaces ipConfigurations", 1),
    ("Microsoft.Network/networkSecurityGroups/securityRules", 1),
    ("Microsoft.Network/networkWatchers/flowLogs", 1),
    ("Microsoft.Network/virtualHubs", 3),
    ("Microsoft.Network/virtualHubs/bgpConnections", 1),
    ("Microsoft.Network/virtualHubs/hubVirtualNetworkConnections", 1),
    ("Microsoft.Network/virtualNetworkGateways", 1),
    ("Microsoft.Network/virtualNetworkGateways ipConfigurations", 1),
    ("Microsoft.Network/virtualNetworks subnets", 1),
    ("Microsoft.Network/virtualNetworks virtualNetworkPeerings", 7),
    ("Microsoft.Network/virtualNetworks/subnets", 2),
    ("Microsoft.Storage/storageAccounts", 1),
];

/// Adds a property that Azure does not have to the properties of each resource, and of each object in one. Each has a number,
/// and stands at its place: the resource's type, and the keys from there.
fn add(node: &mut Value, way: &str, places: &mut Vec<String>) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| add(item, way, places)),
        Value::Object(entries) => {
            let kind = entries.get("type").and_then(Value::as_str).filter(|kind| kind.contains('/')).map(str::to_owned);
            let way = kind.as_deref().unwrap_or(way);
            for (key, value) in entries.iter_mut() {
                add(value, &if key == "properties" { way.to_owned() } else { format!("{way} {key}") }, places);
            }
            if let Some(Value::Object(properties)) = entries.get_mut("properties") {
                properties.insert(format!("colour{}", places.len()), json!("blue"));
                places.push(way.to_owned());
            }
        }
        _ => {}
    }
}

/// The numbers of the properties that `vnet import` says are not known.
fn told(document: &Path) -> HashSet<usize> {
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    let output = vnet.arg("import").arg(document).env_remove("VNET_LAB").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let number = |said: &str| said.split_once(" warning: `colour")?.1.split_once("` is not known here")?.0.parse().ok();
    said.lines().filter_map(number).collect()
}

#[test]
fn a_property_that_is_not_known_is_reported_wherever_it_stands() {
    let directory = TempDir::new().unwrap();
    let mut silent: BTreeMap<String, usize> = BTreeMap::new();
    for golden in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import")).unwrap() {
        let golden = golden.unwrap().path();
        let name = golden.file_name().unwrap().to_str().unwrap().to_owned();
        if golden.extension().is_none_or(|it| it != "json")
            || !["rest-", "graph-"].iter().any(|form| name.starts_with(form))
        {
            continue;
        }
        let mut document: Value = serde_json::from_str(&fs::read_to_string(&golden).unwrap()).unwrap();
        let mut places = Vec::new();
        add(&mut document, "", &mut places);
        fs::write(directory.path().join(&name), document.to_string()).unwrap();
        let told = told(&directory.path().join(&name));
        for (_, place) in places.into_iter().enumerate().filter(|(number, _)| !told.contains(number)) {
            *silent.entry(place).or_insert(0) += 1;
        }
    }
    let silent: Vec<_> = silent.iter().map(|(place, count)| (place.as_str(), *count)).collect();
    assert_eq!(silent, LEFT_OUT);
}

//! One topology in another's place: what Azure refuses, and what it lets pass.
//!
//! Every `tests/update/NAME.yaml` holds the topology that runs and, after each `---`, one that is applied. Its twin
//! `NAME.stderr` has the refusal of the last one, and is empty where there is none. The first lines of a case name the
//! rules that it proves. `UPDATE_GOLDEN=1` rewrites the twins; read the diff.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "golden/mod.rs"]
mod golden;

use std::fs;
use std::path::Path;

use vnet::analysis;
use vnet::compile::compile;
use vnet::config::{load, load_with, no_files};
use vnet::daemon::api::protocol::Refusal;
use vnet::daemon::change;
use vnet::model::{Existing, Learned, Network};

use golden::Golden;

/// What is said to the last topology.
fn refusal(case: &str) -> String {
    let mut topologies = case.split("\n---\n");
    let first = topologies.next().expect("a case begins with what runs");
    let running =
        load(first, "lab.yaml").unwrap_or_else(|errors| panic!("{}", errors.render(first, "lab.yaml", false)));
    let (mut running, mut said) = (running.network, None);
    for topology in topologies {
        assert!(said.is_none_or(|said: String| said.is_empty()), "only the last topology may be refused");
        said = Some(put(topology, &mut running));
    }
    said.expect("a case has two topologies")
}

/// Puts a topology in place of the network that runs, or says why not.
fn put(topology: &str, running: &mut Network) -> String {
    let wanted = load_with(topology, "lab.yaml", &Existing::of(running), &no_files);
    let loaded = match wanted.and_then(|wanted| wanted.check_update(running).map(|()| wanted)) {
        Ok(loaded) => loaded,
        Err(errors) => return errors.render(topology, "lab.yaml", false),
    };
    match change::apply(running, loaded.network, false) {
        Ok(network) => {
            *running = network;
            String::new()
        }
        Err(Refusal { message, help }) => {
            format!("error: {message}\n{}", help.map_or_else(String::new, |help| format!("help: {help}\n")))
        }
    }
}

#[test]
fn every_case_is_refused_as_its_twin_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/update");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 10, "only {files:?}");
    let mut golden = Golden::default();
    for path in files {
        golden.check(&path.with_extension("stderr"), &refusal(&fs::read_to_string(&path).unwrap()));
    }
    golden.end();
}

/// BGP-04: Azure shows one address for BGP of a gateway with one active instance, and two where both are active.
#[test]
fn bgp_04_a_gateway_that_is_made_has_the_bgp_addresses_that_azure_shows() {
    let addresses = |gateway: &str| {
        let network = "publicIPAddresses: [{name: a}, {name: b}]\nvirtualNetworks: [{name: v, location: x, addressSpace: [10.1.0.0/16], \
            subnets: [{name: GatewaySubnet, addressPrefix: 10.1.255.0/27}]}]\n";
        let [before, after] = ["", gateway].map(|gateway| {
            let loaded = load(&format!("{network}{gateway}"), "lab.yaml");
            let network =
                loaded.unwrap_or_else(|errors| panic!("{}", errors.render(gateway, "lab.yaml", false))).network;
            let compiled = compile(&network, &Learned::default(), 1);
            (network, compiled)
        });
        let plan = analysis::plan((&before.0, &before.1), (&after.0, &after.1));
        let made = plan.changes.into_iter().find(|change| change.kind == "virtualNetworkGateways").unwrap();
        let property =
            |name: &str| made.properties.iter().find(|one| one.property == name).unwrap().after.clone().unwrap();
        [property("gatewayType"), property("defaultBgpIpAddresses")]
    };
    let one = "virtualNetworkGateways: [{name: g, virtualNetwork: v, publicIPAddress: a, enableBgp: true}]\n";
    assert_eq!(addresses(one), ["Vpn", "[10.1.255.30]"]);
    let two = "virtualNetworkGateways: [{name: g, activeActive: true, enableBgp: true, sku: VpnGw2, ipConfigurations: [\
        {subnet: v/GatewaySubnet, publicIPAddress: a}, {subnet: v/GatewaySubnet, publicIPAddress: b}]}]\n";
    assert_eq!(addresses(two), ["Vpn", "[10.1.255.4, 10.1.255.5]"]);
    let none = "virtualNetworkGateways: [{name: g, virtualNetwork: v, gatewayType: ExpressRoute}]\n";
    assert_eq!(addresses(none)[0], "ExpressRoute");
}

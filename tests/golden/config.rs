//! Topology files and what becomes of them: `NAME.stderr` has the messages of a file that is wrong, `NAME.model` the network
//! (and warnings) of a good one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vnet::config::{Loaded, Named, load_with};
use vnet::model::{Existing, Network};

use super::golden;

/// A topology makes the network, or the messages, of its twin.
pub(crate) fn check(case: &Path) {
    let text = fs::read_to_string(case).unwrap();
    let file = case.file_name().unwrap().to_string_lossy();
    let beside = |named: Named<'_>| {
        let (Named::ServiceTags(file) | Named::Nftables(file)) = named;
        fs::read_to_string(case.with_file_name(file)).map_err(|_| "no such file".to_owned())
    };
    let (actual, extension, other) = match load_with(&text, &file, &Existing::default(), &beside) {
        Ok(loaded) => (dump(&loaded, &text, &file), "model", "stderr"),
        Err(errors) => (errors.render(&text, &file, false), "stderr", "model"),
    };
    let (twin, stale) = (case.with_extension(extension), case.with_extension(other));
    golden::check(&twin, &actual);
    if golden::rewrites() {
        let _ = fs::remove_file(&stale);
    }
    assert!(!stale.exists(), "{} is of another outcome than {}", stale.display(), twin.display());
}

/// A network, one object a line.
fn dump(loaded: &Loaded, text: &str, file: &str) -> String {
    let Network {
        name,
        virtual_networks,
        lost_links: _,
        route_tables,
        network_security_groups,
        application_security_groups,
        network_managers,
        virtual_machines,
        network_interfaces,
        private_endpoints,
        load_balancers,
        public_ip_addresses,
        public_ip_prefixes,
        nat_gateways,
        virtual_network_gateways,
        local_network_gateways,
        connections,
        sites,
        express_route_circuits,
        private_clouds,
        route_servers,
        internet,
        flow_logs,
        service_tags,
        emulation,
        dns_forwarders,
        tests,
    } = &loaded.network;
    let mut out = format!("name {name}\n");
    for vnet in virtual_networks {
        let (space, timeout) = (&vnet.address_space, vnet.flow_timeout);
        writeln!(out, "vnet {} {} {space:?} {timeout:?} {:?}", vnet.name, vnet.location, vnet.attach).unwrap();
        if !vnet.dns_servers.is_empty() {
            writeln!(out, "  names from {:?}", vnet.dns_servers).unwrap();
        }
        vnet.subnets.iter().for_each(|subnet| writeln!(out, "  {subnet:?}").unwrap());
        vnet.peerings.iter().for_each(|link| writeln!(out, "  {link:?}").unwrap());
    }
    for table in route_tables {
        writeln!(out, "table {} disable propagation: {}", table.name, table.disable_bgp_route_propagation).unwrap();
        table.routes.iter().for_each(|route| writeln!(out, "  {route:?}").unwrap());
    }
    for nsg in network_security_groups {
        writeln!(out, "nsg {}{}", nsg.name, if nsg.flush_connection { " flush" } else { "" }).unwrap();
        nsg.rules.iter().for_each(|rule| writeln!(out, "  {rule:?}").unwrap());
    }
    list(&mut out, application_security_groups);
    list(&mut out, network_managers);
    list(&mut out, virtual_machines);
    list(&mut out, network_interfaces);
    list(&mut out, private_endpoints);
    for balancer in load_balancers {
        writeln!(out, "{balancer:#?}").unwrap();
    }
    list(&mut out, public_ip_addresses);
    list(&mut out, public_ip_prefixes);
    list(&mut out, nat_gateways);
    list(&mut out, virtual_network_gateways);
    list(&mut out, local_network_gateways);
    list(&mut out, connections);
    list(&mut out, sites);
    list(&mut out, express_route_circuits);
    list(&mut out, private_clouds);
    list(&mut out, route_servers);
    if let Some(internet) = internet {
        writeln!(out, "{internet:?}").unwrap();
    }
    list(&mut out, flow_logs);
    list(&mut out, service_tags);
    writeln!(out, "{emulation:?}").unwrap();
    if !dns_forwarders.is_empty() {
        writeln!(out, "names of others from {dns_forwarders:?}").unwrap();
    }
    list(&mut out, tests);
    loaded.warnings.iter().for_each(|warning| out.push_str(&warning.render(text, file, false)));
    out
}

fn list(out: &mut String, objects: &[impl std::fmt::Debug]) {
    for object in objects {
        writeln!(out, "{object:?}").unwrap();
    }
}

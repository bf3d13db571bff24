//! Compilation against golden listings.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use vnet::compile::{Learned, compile};
use vnet::model::{Emulation, Network, Peering, PeeringState, Subnet, SubnetIx, VirtualNetwork, VnetIx};

fn vnet(name: &str, location: &str, prefix: &str, remote: usize, remote_prefix: &str) -> VirtualNetwork {
    let peering = Peering {
        name: "peering".to_owned(),
        remote: VnetIx(remote),
        state: PeeringState::Connected,
        remote_address_space: vec![remote_prefix.parse().unwrap()],
        allow_virtual_network_access: true,
        allow_forwarded_traffic: false,
        allow_gateway_transit: false,
        use_remote_gateways: false,
    };
    let subnet = Subnet {
        name: "default".to_owned(),
        prefixes: vec![prefix.parse().unwrap()],
        route_table: None,
        network_security_group: None,
        default_outbound_access: true,
    };
    VirtualNetwork {
        name: name.to_owned(),
        location: location.to_owned(),
        address_space: vec![prefix.parse().unwrap()],
        subnets: vec![subnet],
        peerings: vec![peering],
        attach: None,
        flow_timeout: Duration::from_secs(240),
    }
}

#[test]
fn cs_01_two_globally_peered_vnets_list_each_other() {
    let network = Network {
        name: "contoso-fabrikam".to_owned(),
        virtual_networks: vec![
            vnet("contoso", "westus", "10.1.26.0/25", 1, "10.10.26.0/24"),
            vnet("fabrikam", "eastus", "10.10.26.0/24", 0, "10.1.26.0/25"),
        ],
        route_tables: vec![],
        network_security_groups: vec![],
        virtual_machines: vec![],
        network_interfaces: vec![],
        emulation: Emulation::default(),
    };
    let compiled = compile(&network, &Learned::default(), 1);
    let routes = compiled.effective_routes(SubnetIx { vnet: VnetIx(0), subnet: 0 });
    let rows: Vec<_> = routes.iter().map(|row| format!("{} {} {}", row.state, row.prefix, row.next_hop_type)).collect();
    assert_eq!(
        rows,
        [
            "Active 0.0.0.0/0 Internet",
            "Active 10.0.0.0/8 None",
            "Active 10.1.26.0/25 VnetLocal",
            "Active 10.10.26.0/24 VNetGlobalPeering",
            "Active 100.64.0.0/10 None",
            "Active 172.16.0.0/12 None",
            "Active 192.168.0.0/16 None",
        ]
    );
}

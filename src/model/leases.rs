//! Which addresses the interfaces, private endpoints and public addresses of a running network have: what a dynamic one
//! keeps when the file around it changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Network;

/// By machine and interface, in lower case as ARM compares names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases(BTreeMap<String, Vec<IpAddr>>);

impl Leases {
    pub fn of(network: &Network) -> Self {
        let nics = network.network_interfaces.iter();
        let nics = nics.map(|nic| (key(&network.vm(nic.virtual_machine).name, &nic.name), nic.addresses.clone()));
        let endpoints = network.private_endpoints.iter();
        let endpoints = endpoints.map(|endpoint| (key(PRIVATE_ENDPOINT, &endpoint.name), vec![endpoint.address]));
        let public = network.public_ip_addresses.iter();
        let public = public.map(|public| (key(PUBLIC_ADDRESS, &public.name), vec![public.address]));
        let frontends = network.load_balancers.iter().flat_map(|balancer| {
            let frontends = balancer.frontends.iter().filter(|frontend| frontend.subnet().is_some());
            frontends.map(|frontend| (frontend_key(&balancer.name, &frontend.name), vec![frontend.address]))
        });
        Self(nics.chain(endpoints).chain(public).chain(frontends).collect())
    }

    /// The addresses of an interface, the primary first; none if there was no such interface.
    pub fn held(&self, machine: &str, nic: &str) -> &[IpAddr] {
        self.0.get(&key(machine, nic)).map_or(&[], Vec::as_slice)
    }

    pub fn held_by_private_endpoint(&self, name: &str) -> &[IpAddr] {
        self.held(PRIVATE_ENDPOINT, name)
    }

    pub fn held_by_frontend(&self, balancer: &str, frontend: &str) -> &[IpAddr] {
        self.0.get(&frontend_key(balancer, frontend)).map_or(&[], Vec::as_slice)
    }

    pub fn held_by_public_address(&self, name: &str) -> Option<IpAddr> {
        self.held(PUBLIC_ADDRESS, name).first().copied()
    }
}

/// In the place of a machine, and no machine's names.
const PRIVATE_ENDPOINT: &str = "/privateEndpoints";
const PUBLIC_ADDRESS: &str = "/publicIPAddresses";

fn frontend_key(balancer: &str, frontend: &str) -> String {
    key("/loadBalancers", &format!("{balancer}/{frontend}"))
}

/// Neither name can have a slash.
fn key(machine: &str, nic: &str) -> String {
    format!("{machine}/{nic}").to_lowercase()
}

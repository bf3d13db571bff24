//! Which addresses the interfaces and private endpoints of a running network have: what a dynamic one keeps when the file around it changes.

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
        Self(nics.chain(endpoints).collect())
    }

    /// The addresses of an interface, the primary first; none if there was no such interface.
    pub fn held(&self, machine: &str, nic: &str) -> &[IpAddr] {
        self.0.get(&key(machine, nic)).map_or(&[], Vec::as_slice)
    }

    pub fn held_by_private_endpoint(&self, name: &str) -> &[IpAddr] {
        self.held(PRIVATE_ENDPOINT, name)
    }
}

/// In the place of a machine, and no machine's name.
const PRIVATE_ENDPOINT: &str = "/privateEndpoints";

/// Neither name can have a slash.
fn key(machine: &str, nic: &str) -> String {
    format!("{machine}/{nic}").to_lowercase()
}

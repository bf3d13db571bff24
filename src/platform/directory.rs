//! Names, addresses and instance metadata of one virtual network's machines.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{Mac, Network, NetworkInterface, NicIx, PowerState, PublicIpSku, VnetIx};

/// The domain of a virtual network's machines, which guests have as search domain.
pub const DOMAIN: &str = "internal.cloudapp.net";

/// One virtual network's names and machines.
#[derive(Clone, Debug)]
pub struct Directory {
    /// By a machine's name in lower case.
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
    /// By address.
    interfaces: HashMap<IpAddr, NicIx>,
    /// Instance metadata is built from it on request: few of thousands of machines ever ask.
    network: Arc<Network>,
    macs: Arc<[Mac]>,
}

/// What instance metadata answers to one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// Its `/metadata/instance`.
    pub(super) instance: Value,
    /// Its `/metadata/loadbalancer`.
    pub(super) load_balancer: Value,
}

impl Directory {
    /// The directory of each virtual network in which a machine runs. Names end at its border: those of a peered one
    /// are not known (PEER-12).
    pub fn of_all(network: &Arc<Network>) -> BTreeMap<VnetIx, Self> {
        let macs = Arc::from(network.macs());
        let empty = || Self {
            addresses: HashMap::new(),
            names: HashMap::new(),
            interfaces: HashMap::new(),
            network: Arc::clone(network),
            macs: Arc::clone(&macs),
        };
        let mut directories = BTreeMap::<_, Self>::new();
        for (ix, nic) in network.network_interfaces.iter().enumerate().map(|(ix, nic)| (NicIx(ix), nic)) {
            let machine = network.vm(nic.virtual_machine);
            if machine.power_state == PowerState::Stopped {
                continue;
            }
            let directory = directories.entry(nic.subnet.vnet).or_insert_with(empty);
            if nic.primary {
                directory.name(&machine.name, nic);
            }
            directory.interfaces.extend(nic.addresses.iter().map(|address| (*address, ix)));
        }
        directories
    }

    /// The addresses of a machine, if the name is a machine's.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        Some(self.addresses.get(&name.to_lowercase())?)
    }

    /// The machine at an address.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<&str> {
        Some(self.names.get(&address)?)
    }

    /// The instance metadata of the machine with this address.
    pub(super) fn instance_at(&self, address: IpAddr) -> Option<Instance> {
        let (network, asking) = (&self.network, *self.interfaces.get(&address)?);
        Some(Instance {
            instance: instance(network, &self.macs, asking),
            load_balancer: load_balancer(network, asking),
        })
    }

    /// The primary address of each family is the machine's address.
    fn name(&mut self, name: &str, nic: &NetworkInterface) {
        let primary = [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|family| nic.addresses.iter().copied().find(family));
        let primary: Vec<_> = primary.into_iter().flatten().collect();
        self.names.extend(primary.iter().map(|address| (*address, name.to_owned())));
        self.addresses.insert(name.to_lowercase(), primary);
    }
}

fn instance(network: &Network, macs: &[Mac], asking: NicIx) -> Value {
    let machine = network.vm(network.nic(asking).virtual_machine);
    let interfaces = machine.network_interfaces.iter();
    let interfaces: Vec<_> = interfaces.map(|ix| interface(network, network.nic(*ix), macs[ix.0])).collect();
    let location = &network.vnet(network.nic(asking).subnet.vnet).location;
    json!({
        "compute": {"azEnvironment": "AzurePublicCloud", "location": location, "name": machine.name},
        "network": {"interface": interfaces},
    })
}

fn interface(network: &Network, nic: &NetworkInterface, mac: Mac) -> Value {
    let subnet = network.subnet(nic.subnet);
    let family = |is_family: fn(&IpAddr) -> bool| {
        let addresses = nic.addresses.iter().filter(|address| is_family(address));
        let addresses: Vec<_> = addresses.map(|address| ip_address(network, nic, *address)).collect();
        let prefixes = subnet.prefixes.iter().filter(|prefix| is_family(&prefix.addr()));
        let prefixes = prefixes
            .map(|prefix| json!({"address": prefix.network().to_string(), "prefix": prefix.prefix_len().to_string()}));
        json!({"ipAddress": addresses, "subnet": prefixes.collect::<Vec<_>>()})
    };
    let mut ipv6 = family(IpAddr::is_ipv6);
    if let Some(ipv6) = ipv6.as_object_mut() {
        ipv6.remove("subnet");
    }
    json!({"ipv4": family(IpAddr::is_ipv4), "ipv6": ipv6, "macAddress": mac.to_string()})
}

/// A public address of the Standard SKU is listed at `/metadata/loadbalancer` only.
fn ip_address(network: &Network, nic: &NetworkInterface, private: IpAddr) -> Value {
    let basic = publics(network, nic).find(|public| public.private == private && public.sku == PublicIpSku::Basic);
    let public = basic.map(|public| public.address.to_string()).unwrap_or_default();
    match private {
        IpAddr::V4(private) => json!({"privateIpAddress": private.to_string(), "publicIpAddress": public}),
        IpAddr::V6(private) => json!({"privateIpAddress": private.to_string()}),
    }
}

fn load_balancer(network: &Network, asking: NicIx) -> Value {
    let machine = network.vm(network.nic(asking).virtual_machine);
    let publics = machine.network_interfaces.iter().flat_map(|ix| publics(network, network.nic(*ix)));
    let publics = publics.filter(|public| public.sku == PublicIpSku::Standard).map(|public| {
        json!({"frontendIpAddress": public.address.to_string(), "privateIpAddress": public.private.to_string()})
    });
    json!({"loadbalancer": {"publicIpAddresses": publics.collect::<Vec<_>>(), "inboundRules": [], "outboundRules": []}})
}

struct Public {
    private: IpAddr,
    address: IpAddr,
    sku: PublicIpSku,
}

fn publics<'a>(network: &'a Network, nic: &'a NetworkInterface) -> impl Iterator<Item = Public> + 'a {
    nic.public_addresses.iter().map(|of| {
        let public = network.public_ip(of.public);
        Public { private: of.private, address: public.address, sku: public.sku }
    })
}

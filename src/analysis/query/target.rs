//! The target of `routes`: `NODE`, `NODE/NIC` or `VNET/SUBNET`, found in the network.

use crate::model::{Network, SubnetIx, VnetIx};

use super::{nic_of, primary, unknown, vm};

/// The subnet of a target; a machine stands for its primary interface. Names compare as ARM's do.
pub fn subnet(network: &Network, target: &str) -> Result<SubnetIx, String> {
    let Some((owner, name)) = target.split_once('/') else {
        return vm(network, target)
            .map(|vm| network.nic(primary(network, vm)).subnet)
            .or_else(|unknown| vnet(network, target).ok_or(unknown).and_then(|vnet| only_subnet(network, vnet)));
    };
    match (vm(network, owner), vnet(network, owner)) {
        // A machine and a VNet may share a name.
        (Ok(vm), vnet) => nic_of(network, vm, name)
            .map(|nic| network.nic(nic).subnet)
            .or_else(|error| vnet.and_then(|vnet| subnet_of(network, vnet, name).ok()).ok_or(error)),
        (Err(_), Some(vnet)) => subnet_of(network, vnet, name),
        (Err(_), None) => {
            let vms = network.virtual_machines.iter().map(|vm| vm.name.as_str());
            let vnets = network.virtual_networks.iter().map(|vnet| vnet.name.as_str());
            Err(unknown("node or virtual network", owner, vms.chain(vnets)))
        }
    }
}

fn vnet(network: &Network, name: &str) -> Option<VnetIx> {
    network.virtual_networks.iter().position(|vnet| vnet.name.eq_ignore_ascii_case(name)).map(VnetIx)
}

fn subnet_of(network: &Network, vnet: VnetIx, name: &str) -> Result<SubnetIx, String> {
    let names = || network.vnet(vnet).subnets.iter().map(|subnet| subnet.name.as_str());
    let found = names().position(|candidate| candidate.eq_ignore_ascii_case(name));
    let what = || format!("subnet of {}", network.vnet(vnet).name);
    found.map(|subnet| SubnetIx { vnet, subnet }).ok_or_else(|| unknown(&what(), name, names()))
}

fn only_subnet(network: &Network, vnet: VnetIx) -> Result<SubnetIx, String> {
    let found = network.vnet(vnet);
    if found.subnets.len() == 1 {
        return Ok(SubnetIx { vnet, subnet: 0 });
    }
    let names: Vec<_> = found.subnets.iter().map(|subnet| format!("{}/{}", found.name, subnet.name)).collect();
    Err(format!("`{}` is a virtual network: name one of its subnets: {}", found.name, names.join(", ")))
}

//! Random steps from one network to the next, as a file's edits are: one property of one object at a time.

use std::sync::Arc;

use vnet::model::{
    Network, Peering, PeeringState, PublishedTag, Route, RouteDestination, RouteNextHop, RouteTableIx, SubnetIx, VnetIx,
};

use super::topology::Random;

impl Random {
    /// The network with one thing changed, if there is such a thing in it.
    pub(crate) fn step(&mut self, network: &mut Network) {
        match self.below(12) {
            0..=2 => self.step_of_a_table(network),
            3 | 4 => self.step_of_a_link(network),
            5 => self.step_of_a_group(network),
            6 => self.step_of_a_tag(network),
            7 => self.step_of_an_endpoint(network),
            8 => self.step_of_a_space(network),
            9 => network.emulation.extra_none_routes ^= true,
            10 => self.step_of_an_interface(network),
            _ => self.step_of_a_subnet(network),
        }
    }

    fn some<'a, T>(&mut self, from: &'a mut [T]) -> Option<&'a mut T> {
        if from.is_empty() { None } else { from.get_mut(self.below(from.len())) }
    }

    fn step_of_a_table(&mut self, network: &mut Network) {
        let nics = network.network_interfaces.clone();
        let Some(table) = self.some(&mut network.route_tables) else { return };
        let table = Arc::make_mut(table);
        if self.chance(20) {
            table.disable_peering_route ^= true;
            return;
        }
        let hop = self.pick(&nics).addresses[0];
        let next_hop = RouteNextHop::VirtualAppliance(hop);
        match self.some(&mut table.routes) {
            Some(route) if self.chance(70) => route.next_hop = next_hop,
            Some(_) if self.chance(50) => drop(table.routes.pop()),
            Some(_) | None => {
                let prefix = format!("10.{}.{}.0/24", self.below(4), self.below(8)).parse().unwrap();
                let destination = RouteDestination::Prefix(prefix);
                if table.routes.iter().all(|route| route.destination != destination) {
                    table.routes.push(Route { name: format!("r{}", table.routes.len()), destination, next_hop });
                }
            }
        }
    }

    fn step_of_a_link(&mut self, network: &mut Network) {
        let vnet = self.below(network.virtual_networks.len());
        let links = &mut network.virtual_networks[vnet].peerings;
        let state = *self.pick(&[PeeringState::Connected, PeeringState::Initiated, PeeringState::Disconnected]);
        let which = self.below(5);
        let Some(link) = self.some(links) else { return };
        let Peering { allow_virtual_network_access, allow_forwarded_traffic, remote_address_space, .. } = link;
        match which {
            0 => *allow_virtual_network_access ^= true,
            1 => *allow_forwarded_traffic ^= true,
            2 => drop(remote_address_space.pop()),
            3 => link.state = state,
            _ => drop(links.pop()),
        }
    }

    fn step_of_a_group(&mut self, network: &mut Network) {
        let Some(group) = self.some(&mut network.network_security_groups) else { return };
        group.flush_connection ^= self.chance(20);
        let priority = 100 + self.below(3000) as u16;
        if group.rules.iter().any(|rule| rule.priority == priority) {
            return;
        }
        match self.some(&mut group.rules) {
            Some(rule) if self.chance(60) => rule.priority = priority,
            Some(_) => drop(group.rules.pop()),
            None => {}
        }
    }

    fn step_of_a_tag(&mut self, network: &mut Network) {
        let Some(PublishedTag { prefixes, .. }) = self.some(&mut network.service_tags) else { return };
        *prefixes = prefixes.iter().skip(1).copied().collect();
    }

    fn step_of_an_endpoint(&mut self, network: &mut Network) {
        if self.chance(50) {
            network.private_endpoints.pop();
        } else if let Some(endpoint) = self.some(&mut network.private_endpoints) {
            endpoint.subnet.subnet = 0;
        }
    }

    fn step_of_a_space(&mut self, network: &mut Network) {
        let Some(vnet) = self.some(&mut network.virtual_networks) else { return };
        if self.chance(50) {
            vnet.location = self.pick(&["westeurope", "eastus"]).to_string();
        } else {
            vnet.address_space.rotate_left(1);
        }
    }

    /// The next interface gets the address of another: appliances move.
    fn step_of_an_interface(&mut self, network: &mut Network) {
        let nics = &mut network.network_interfaces;
        let (a, b) = (self.below(nics.len()), self.below(nics.len()));
        if nics[a].subnet == nics[b].subnet && a != b {
            let addresses = nics[b].addresses.clone();
            nics[b].addresses = std::mem::replace(&mut nics[a].addresses, addresses);
        }
        nics[a].enable_ip_forwarding ^= true;
    }

    fn step_of_a_subnet(&mut self, network: &mut Network) {
        let tables = network.route_tables.len();
        let vnet = VnetIx(self.below(network.virtual_networks.len()));
        let subnet = SubnetIx { vnet, subnet: self.below(network.vnet(vnet).subnets.len()) };
        let subnet = &mut network.virtual_networks[vnet.0].subnets[subnet.subnet];
        subnet.route_table = (tables > 0 && self.chance(70)).then(|| RouteTableIx(self.below(tables)));
        if self.chance(30) {
            subnet.service_endpoints.pop();
        }
    }
}

//! Point-to-site clients: addresses of the pool without a client (VPN-43), and routes that clients are not told of (VPN-44).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::{Change, Edit};
use crate::model::{ClientPool, Customer, GatewayIx, Site};

use super::{Case, Diagnosis};

impl Case<'_> {
    /// The gateway would lend the address, and no client has it.
    pub(super) fn not_lent(&self, gateway: GatewayIx) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let own = network.gateway(gateway);
        let lends = own.clients.as_ref().is_some_and(|pool| pool.contains(dst));
        let taken = network.clients_of(gateway).any(|(_, client)| client.addresses.contains(&dst));
        (lends && !taken).then(|| {
            let name = &own.name;
            let cause = format!("{dst} is in the client address pool of gateway {name}, and no client has it (VPN-43)");
            Diagnosis::without_fix(cause)
        })
    }

    /// A client sends a destination outside of Azure elsewhere, because its gateway has not told it of a route.
    pub(super) fn untold(&self, client: &Site, gateway: GatewayIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let (name, own) = (&client.name, &network.gateway(gateway).name);
        let known =
            "a client gets routes to what is in Azure, to what its gateway learns by BGP, and to `customRoutes`";
        let cause = format!("{name} has no route to {dst}: {known} (VPN-44)");
        let Some((there, range)) = self.range_outside(dst) else { return Diagnosis::without_fix(cause) };
        let mut edit = self.edit();
        match edit.custom_route(gateway, range) {
            Some(()) => {
                Diagnosis::with_fix(cause, format!("add {range} of {there} to the custom routes of {own}"), edit)
            }
            None => Diagnosis::without_fix(cause),
        }
    }

    /// The site that has an address, and the range of it.
    fn range_outside(&self, address: IpAddr) -> Option<(String, IpNet)> {
        let network = self.names.network;
        network.customers().find_map(|customer| {
            let Customer::Site(at) = customer else { return None };
            let site = network.site(at);
            let range = site.address_space.iter().find(|range| range.contains(&address))?;
            Some((site.name.clone(), *range))
        })
    }
}

impl Edit {
    fn custom_route(&mut self, at: GatewayIx, range: IpNet) -> Option<()> {
        let ClientPool { routes, .. } = self.network.virtual_network_gateways[at.0].clients.as_mut()?;
        routes.push(range);
        let all: Vec<_> = routes.iter().map(ToString::to_string).collect();
        let value = format!("{{addressPrefixes: [{}]}}", all.join(", "));
        self.changes
            .push(Change { path: format!("virtualNetworkGateways[{}].customRoutes", at.0), value: Some(value) });
        Some(())
    }
}

//! Packets that a gateway cannot forward: its tunnel is down, or none leads there (VPN-12, VPN-13). And circuits' edges
//! that have learned no route (ER-10, ER-18, GR-04).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::Edit;
use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::{
    CircuitIx, CloudInternet, CloudIx, ConnectionIx, Customer, GatewayIx, LocalGatewayIx, Remote, Segment, Side,
    is_routable,
};

use super::{Case, Diagnosis, premises};

impl Case<'_> {
    pub(super) fn no_tunnel(&self, gateway: NicId) -> Option<Diagnosis> {
        let ix = match self.names.compiled.sender(gateway) {
            Sender::Gateway(ix) => ix,
            Sender::Edge(circuit) => return Some(self.unlearned(circuit)),
            Sender::CloudRouter(cloud, _) => return Some(self.not_brought(cloud)),
            _ => return None,
        };
        let network = self.names.network;
        let (name, dst) = (&network.gateway(ix).name, self.walk.dst);
        if let Some(diagnosis) = self.not_lent(ix) {
            return Some(diagnosis);
        }
        if let Some(diagnosis) = self.not_let_in(name) {
            return Some(diagnosis);
        }
        let leading = network.connections_of(ix).filter(|(at, _)| self.may_lead(*at));
        let faults = leading.filter_map(|(at, connection)| {
            let fault = self.names.compiled.learned().why_down(network, at)?;
            Some((at, format!("connection {}: {fault}", connection.name)))
        });
        let (down, faults): (Vec<_>, Vec<_>) = faults.unzip();
        if faults.is_empty() {
            let cause = format!(
                "gateway {name} has no connection that leads to {dst}: neither a local network gateway nor BGP names it"
            );
            return Some(self.not_led_on(ix, cause));
        }
        let place = self.behind_local_gateway(dst).map_or_else(String::new, |place| format!("{dst} is {place}; "));
        let cause = format!("{place}gateway {name} cannot send to {dst}: {}", faults.join("; "));
        Some(self.mend_tunnel(cause, down))
    }

    /// Nothing leads from the gateway to the destination, or the packet should not have come there.
    fn not_led_on(&self, at: GatewayIx, cause: String) -> Diagnosis {
        let named = self.named_by(at, cause.clone());
        let found = match self.defaulted(at, &cause) {
            Some(defaulted) => defaulted.or(named),
            None => named,
        };
        match self.back_to_the_internet(self.walk.last()) {
            Some((text, edit)) => Diagnosis::with_fix(cause, text, edit).or(found),
            None => found,
        }
    }

    /// The packet comes from a site over a tunnel that is down.
    fn not_let_in(&self, gateway: &str) -> Option<Diagnosis> {
        let (network, compiled) = (self.names.network, self.names.compiled);
        let Sender::Tunnel(over) = compiled.sender(self.walk.last().from) else { return None };
        let fault = compiled.learned().why_down(network, over)?;
        let (site, connection) = (self.names.node(self.walk.last().from), &network.connection(over).name);
        let cause = format!("{site} cannot send to gateway {gateway}: connection {connection}: {fault}");
        Some(self.mend_tunnel(cause, [over]))
    }

    /// Whether a connection would lead to the destination if its tunnel were up. What BGP would bring is not known.
    fn may_lead(&self, over: ConnectionIx) -> bool {
        let (network, dst) = (self.names.network, self.walk.dst);
        let connection = network.connection(over);
        let holds = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&dst));
        let site = network.site_of(over).map(|site| network.site(site));
        match connection.remote {
            Remote::Local(local) => {
                let is_default = network.gateway(connection.gateway).default_site == Some(local);
                let by_bgp =
                    || network.bgp_over(over).is_some() && site.is_none_or(|site| holds(&site.all_advertised()));
                is_default || holds(&network.local_space(over)) || by_bgp()
            }
            Remote::Gateway(far) => network.bgp_over(over).is_some() || holds(&network.gateway_space(far)),
            Remote::Circuit(_) => true,
            Remote::Client(_) => site.is_some_and(|site| holds(&site.address_space)),
        }
    }

    /// Nothing in the file has the destination: the one site that the gateway has a tunnel to may take it (VPN-40). Of
    /// what a default route sends to the gateway, public addresses of a site are its too.
    fn defaulted(&self, at: GatewayIx, cause: &str) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let gateway = network.gateway(at);
        if gateway.default_site.is_some() || !dst.is_ipv4() || self.home(dst).is_some() {
            return None;
        }
        let meant = premises::at(network, dst);
        if meant.is_some() && !self.is_forced(self.walk.last()) {
            return None;
        }
        let learned = self.names.compiled.learned();
        let up = network.connections_of(at).filter(|(over, _)| learned.tunnel_is_up(network, *over));
        let has = |over| meant.is_none() || network.site_of(over).map(Customer::Site) == meant;
        let up = up.filter(|(over, _)| has(*over));
        let mut sites: Vec<_> = up.filter_map(|(_, one)| one.remote.local_gateway()).collect();
        sites.dedup();
        let cause = format!("{cause}, and it has no `gatewayDefaultSite` (VPN-40)");
        let name = |local: &LocalGatewayIx| network.local_gateway(*local).name.as_str();
        match sites[..] {
            [] => None,
            [only] => {
                let mut edit = self.edit();
                edit.default_to(at, only);
                let text = format!("make {} the default site of gateway {}", name(&only), gateway.name);
                Some(Diagnosis::with_fix(cause, text, edit))
            }
            [..] => {
                let names: Vec<_> = sites.iter().map(name).collect();
                Some(self.prose(
                    cause,
                    format!("make one of them the default site of gateway {}: {}", gateway.name, names.join(", ")),
                ))
            }
        }
    }

    /// A private cloud's Tier-0 router has no route: its circuit is down, or brings none.
    fn not_brought(&self, at: CloudIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let cloud = network.cloud(at);
        let (name, circuit) = (&cloud.tier0, &network.circuit(cloud.circuit).name);
        let within = |segment: &&Segment| matches!(dst, IpAddr::V4(dst) if segment.prefix.contains(&dst));
        if let Some(segment) = cloud.ranges().find(within) {
            return Diagnosis::without_fix(format!("no machine of {} has {dst} (AVS-12)", segment.name));
        }
        if let Some(diagnosis) = self.not_joined_to(cloud.circuit, name, premises::at(network, dst)) {
            return diagnosis;
        }
        let learned = self.names.compiled.learned();
        let absent = |side| learned.link_absence(network, cloud.circuit, side);
        let down = Side::BOTH.map(absent).into_iter().collect::<Option<Vec<_>>>();
        let no_route = match (network.circuit_fault(cloud.circuit), down.as_deref()) {
            (Some(fault), _) => format!("{name} has no route to {dst}: circuit {circuit}: {fault}"),
            (None, Some([first, ..])) => {
                format!("{name} has no route to {dst}: both links of {circuit} are down: {first}")
            }
            (None, _) => {
                let because = match cloud.internet {
                    CloudInternet::Enabled => "managed SNAT leads to the Internet, and the file has no `internet`",
                    CloudInternet::Disabled => "nor a default route, and the cloud has no managed SNAT",
                };
                let cause = format!("{name} has no route to {dst}: circuit {circuit} brings none, {because} (AVS-11)");
                return self.managed_snat(cause, at);
            }
        };
        Diagnosis::without_fix(no_route)
    }

    /// A private cloud without managed SNAT: it may be what leads to a public address (AVS-11).
    fn managed_snat(&self, cause: String, at: CloudIx) -> Diagnosis {
        let cloud = self.names.network.cloud(at);
        let has_internet = self.names.network.internet.is_some() && is_routable(self.walk.dst);
        if cloud.internet == CloudInternet::Enabled || !has_internet {
            return Diagnosis::without_fix(cause);
        }
        let mut edit = self.edit();
        edit.network.private_clouds[at.0].internet = CloudInternet::Enabled;
        edit.change(format!("privateClouds[{}].internet", at.0), Some("Enabled".to_owned()));
        Diagnosis::with_fix(cause, format!("give private cloud {} managed SNAT", cloud.name), edit)
    }

    /// A circuit's edge has learned no route: neither a gateway nor, by Global Reach, another circuit's customer
    /// advertises one.
    fn unlearned(&self, circuit: CircuitIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let name = &network.circuit(circuit).name;
        if let Some(diagnosis) = self.not_joined_to(circuit, &format!("circuit {name}"), premises::at(network, dst)) {
            return diagnosis;
        }
        let down = network.circuit_fault(circuit).map(|fault| fault.to_string());
        let connections = network.connections_to(circuit).filter_map(|(at, connection)| {
            let fault = self.names.compiled.learned().why_down(network, at)?;
            Some(format!("connection {}: {fault}", connection.name))
        });
        let reach = network.circuit(circuit).reach.iter().filter_map(|reach| {
            let fault = network.reach_fault(circuit, reach)?;
            Some(format!("Global Reach {}: {fault}", reach.name))
        });
        let faults: Vec<_> = down.map_or_else(|| connections.chain(reach).collect(), |down| vec![down]);
        Diagnosis::without_fix(if faults.is_empty() {
            format!(
                "circuit {name} has learned no route to {dst}: it passes on what its gateways have, and what the circuits say \
                 that it has Global Reach to (ER-05, GR-04)"
            )
        } else {
            format!("circuit {name} knows no way to {dst}: {}", faults.join("; "))
        })
    }
}

impl Edit {
    pub(super) fn default_to(&mut self, at: GatewayIx, site: LocalGatewayIx) {
        self.network.virtual_network_gateways[at.0].default_site = Some(site);
        let name = self.network.local_gateway(site).name.clone();
        self.change(format!("virtualNetworkGateways[{}].gatewayDefaultSite", at.0), Some(name));
    }
}

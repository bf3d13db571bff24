//! BGP sessions that do not come up, and routes that a session does not bring (BGP-09, BGP-13, VPN-11, ER-01).
//!
//! One idea: each end of a session says what the other is. Where the two differ, the object in Azure that describes the
//! far end is changed to what the far end is. No edit mends a session with a router that the file does not run.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::Edit;
use crate::model::{
    BgpSettings, CircuitIx, Connection, ConnectionIx, Customer, GatewayIx, LocalGatewayIx, Network, Remote, Site,
    SiteIx,
};

use super::Case;

/// AS numbers for private use below Azure's own (BGP-02).
const PRIVATE_ASNS: std::ops::RangeInclusive<u32> = 64_512..=65_514;

/// What is wrong, and the edit that mends it with a text.
pub(super) struct Fault {
    pub(super) says: String,
    pub(super) fix: Option<(String, Edit)>,
}

impl Fault {
    fn mended(says: String, text: String, edit: Edit) -> Self {
        Self { says, fix: Some((text, edit)) }
    }
}

impl Case<'_> {
    /// Why no session comes up over a tunnel or a circuit, or why it does not bring the route that is asked about.
    pub(super) fn unadvertised_over(&self, over: ConnectionIx) -> Option<Fault> {
        self.no_session(over).or_else(|| self.range_left_out(over))
    }

    /// Why no session comes up over a tunnel or a circuit.
    pub(super) fn no_session(&self, over: ConnectionIx) -> Option<Fault> {
        let network = self.names.network;
        match network.connection(over).remote {
            Remote::Local(local) => self.no_session_with_site(over, local),
            Remote::Gateway(_) => {
                let Some((near, far)) = network.bgp_over(over) else { return self.not_enabled_between(over) };
                (near.asn == far.asn).then(|| self.one_asn(over, near.asn))
            }
            Remote::Circuit(circuit) => self.no_session_on_circuit(circuit),
            Remote::Client(_) => None,
        }
    }

    fn no_session_with_site(&self, over: ConnectionIx, local: LocalGatewayIx) -> Option<Fault> {
        let network = self.names.network;
        let connection = network.connection(over);
        let at = network.site_of(over)?;
        let (site, local_name) = (network.site(at), &network.local_gateway(local).name);
        let name = &site.name;
        let Some((near, far)) = network.bgp_over(over) else { return self.not_enabled(over, local, site) };
        let far = BgpSettings { address: network.address_behind(over, far.address), ..far };
        let mut edit = self.edit();
        let Some(own) = site.speaker_over(connection) else {
            edit.speak_at_site(at, far);
            let BgpSettings { asn, address } = far;
            return Some(Fault::mended(
                format!(
                    "{name} has no `bgpSettings`, and local network gateway {local_name} says AS {asn} at {address} (BGP-09)"
                ),
                format!("let {name} speak BGP as AS {asn} at {address}"),
                edit,
            ));
        };
        if own.asn != far.asn {
            edit.set_local_asn(local, own.asn);
            return Some(Fault::mended(
                format!(
                    "local network gateway {local_name} has `asn` {}, and {name} is AS {} (VPN-11)",
                    far.asn, own.asn
                ),
                format!("set `asn` of local network gateway {local_name} to {}", own.asn),
                edit,
            ));
        }
        if own.address != far.address {
            let known = network.address_known(over, own.address);
            edit.set_local_peering_address(local, known);
            return Some(Fault::mended(
                format!(
                    "local network gateway {local_name} has `bgpPeeringAddress` {}, and {name} speaks BGP at {} (VPN-11)",
                    far.address, own.address
                ),
                format!("set `bgpPeeringAddress` of local network gateway {local_name} to {known}"),
                edit,
            ));
        }
        (near.asn == far.asn).then(|| self.one_asn(over, near.asn))
    }

    /// Both ends have BGP settings that fit, and the connection has no `enableBgp` (BGP-09). A local network gateway
    /// with ranges is meant to be static.
    fn not_enabled(&self, over: ConnectionIx, local: LocalGatewayIx, site: &Site) -> Option<Fault> {
        let network = self.names.network;
        let connection = network.connection(over);
        let (known, own) = (network.local_gateway(local), site.speaker_over(connection)?);
        let far = known.bgp.filter(|far| far.asn == own.asn && known.address_space.is_empty())?;
        network.gateway(connection.gateway).bgp.filter(|near| near.asn != far.asn)?;
        let name = connection.written_name();
        let mut edit = self.edit();
        edit.enable_bgp(over);
        Some(Fault::mended(
            format!("connection {name} has no `enableBgp`, and both its ends have BGP settings (BGP-09)"),
            format!("enable BGP on connection {name}"),
            edit,
        ))
    }

    /// Two gateways have BGP settings that fit, and a connection between them has no `enableBgp` (BGP-09).
    fn not_enabled_between(&self, over: ConnectionIx) -> Option<Fault> {
        let network = self.names.network;
        let Connection { gateway, remote, .. } = *network.connection(over);
        let far = remote.gateway()?;
        let (near_bgp, far_bgp) = (network.gateway(gateway).bgp?, network.gateway(far).bgp?);
        let back = network.connections_of(far).find(|(_, back)| back.remote == Remote::Gateway(gateway))?.0;
        let silent = || [over, back].into_iter().filter(|at| !network.connection(*at).enable_bgp);
        let mut edit = self.edit();
        silent().for_each(|at| edit.enable_bgp(at));
        let names: Vec<_> = silent().map(|at| network.connection(at).written_name()).collect();
        let (s, have) = if names.len() > 1 { ("s", "have") } else { ("", "has") };
        let names = names.join(" and ");
        (near_bgp.asn != far_bgp.asn && !names.is_empty()).then(|| {
            Fault::mended(
                format!("connection{s} {names} {have} no `enableBgp`, and both gateways have BGP settings (BGP-09)"),
                format!("enable BGP on connection{s} {names}"),
                edit,
            )
        })
    }

    /// Two ends with one AS number (BGP-13): a gateway gets another, for a site's number is that of its whole network.
    fn one_asn(&self, over: ConnectionIx, asn: u32) -> Fault {
        let network = self.names.network;
        let connection = network.connection(over);
        let says = format!("both ends of connection {} are AS {asn}, so no session comes up (BGP-13)", connection.name);
        let ends = [Some(connection.gateway), connection.remote.gateway()].into_iter().flatten();
        Fault { says, fix: self.gateway_renumbered(ends) }
    }

    /// Another AS number for the gateway with the fewest other sessions. One beside a route server has to keep Azure's
    /// (ARS-06).
    pub(super) fn gateway_renumbered(&self, of: impl Iterator<Item = GatewayIx>) -> Option<(String, Edit)> {
        let network = self.names.network;
        let free = of.filter(|gateway| network.route_server_beside(network.gateway(*gateway)).is_none());
        let sessions = |gateway: &GatewayIx| {
            let all = network.connections_of(*gateway);
            all.filter(|(over, one)| one.instance == 0 && network.bgp_over(*over).is_some()).count()
        };
        let (gateway, unused) = (free.min_by_key(sessions)?, unused_asn(network)?);
        let mut edit = self.edit();
        edit.set_gateway_asn(gateway, unused);
        Some((
            format!("give gateway {} an AS number of its own, such as {unused}", network.gateway(gateway).name),
            edit,
        ))
    }

    fn no_session_on_circuit(&self, circuit: CircuitIx) -> Option<Fault> {
        let network = self.names.network;
        let site = network.site(network.speaker_on(circuit)?);
        let (own, peering) = (site.bgp?, network.circuit(circuit).peering.as_ref()?);
        let mut edit = self.edit();
        (own.asn != peering.peer_asn && edit.set_peer_asn(circuit, own.asn)).then(|| {
            let name = &network.circuit(circuit).name;
            Fault::mended(
                format!(
                    "circuit {name} has `peerASN` {}, and {} is AS {} (ER-01)",
                    peering.peer_asn, site.name, own.asn
                ),
                format!("set `peerASN` of circuit {name} to {}", own.asn),
                edit,
            )
        })
    }

    /// The site does not advertise the range of the destination, by its own settings or by those for this connection.
    fn range_left_out(&self, over: ConnectionIx) -> Option<Fault> {
        let network = self.names.network;
        let dst = network.address_behind(over, self.walk.dst);
        let holds = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&dst));
        let (at, advertised) = match network.connection(over).remote {
            Remote::Local(_) => (network.site_of(over)?, network.advertised_over_tunnel(over)?.0),
            Remote::Circuit(circuit) => match network.customer(circuit)? {
                Customer::Site(site) => (site, network.customer_routes(circuit)),
                Customer::Cloud(_) | Customer::Segment(..) => return None,
            },
            Remote::Gateway(_) | Remote::Client(_) => return None,
        };
        let site = network.site(at);
        if site.own_router || holds(&advertised) {
            return None;
        }
        let range = *site.address_space.iter().find(|range| range.contains(&dst))?;
        let mut edit = self.edit();
        edit.advertise(at, over, range)?;
        let name = &site.name;
        Some(Fault::mended(
            format!("`advertises` of {name} leaves {range} out"),
            format!("let {name} advertise {range}"),
            edit,
        ))
    }
}

/// A private AS number that nothing in the file has.
pub(super) fn unused_asn(network: &Network) -> Option<u32> {
    let gateways = network.virtual_network_gateways.iter().filter_map(|gateway| gateway.bgp);
    let locals = network.local_network_gateways.iter().filter_map(|local| local.bgp);
    let sites = network.sites.iter().filter_map(|site| site.bgp);
    let circuits = network.express_route_circuits.iter().filter_map(|circuit| circuit.peering.as_ref());
    let servers = network.route_servers.iter().flat_map(|server| server.connections.iter().map(|one| one.peer.asn));
    let speakers = gateways.chain(locals).chain(sites).map(|settings| settings.asn);
    let taken: Vec<u32> = speakers.chain(circuits.map(|peering| peering.peer_asn)).chain(servers).collect();
    PRIVATE_ASNS.into_iter().find(|asn| !taken.contains(asn))
}

impl Edit {
    fn speak_at_site(&mut self, at: SiteIx, settings: BgpSettings) {
        self.network.sites[at.0].bgp = Some(settings);
        let value = format!("{{asn: {}, bgpPeeringAddress: '{}'}}", settings.asn, settings.address);
        self.change(format!("sites[{}].bgpSettings", at.0), Some(value));
    }

    pub(super) fn set_local_asn(&mut self, at: LocalGatewayIx, asn: u32) {
        self.network.local_network_gateways[at.0].bgp.iter_mut().for_each(|bgp| bgp.asn = asn);
        self.change(format!("localNetworkGateways[{}].bgpSettings.asn", at.0), Some(asn.to_string()));
    }

    fn set_local_peering_address(&mut self, at: LocalGatewayIx, address: IpAddr) {
        self.network.local_network_gateways[at.0].bgp.iter_mut().for_each(|bgp| bgp.address = address);
        let path = format!("localNetworkGateways[{}].bgpSettings.bgpPeeringAddress", at.0);
        self.change(path, Some(format!("'{address}'")));
    }

    fn set_gateway_asn(&mut self, at: GatewayIx, asn: u32) {
        self.network.virtual_network_gateways[at.0].bgp.iter_mut().for_each(|bgp| bgp.asn = asn);
        self.change(format!("virtualNetworkGateways[{}].bgpSettings.asn", at.0), Some(asn.to_string()));
    }

    /// False for a private cloud's circuit, which the file does not write.
    fn set_peer_asn(&mut self, at: CircuitIx, asn: u32) -> bool {
        let Some(path) = self.peering_path(at) else { return false };
        self.network.express_route_circuits[at.0].peering.iter_mut().for_each(|peering| peering.peer_asn = asn);
        self.change(format!("{path}.peerASN"), Some(asn.to_string()));
        true
    }

    /// Adds a range to the narrowest of the site's settings that decides over a connection; None where a circuit's two
    /// links have settings of their own.
    fn advertise(&mut self, at: SiteIx, over: ConnectionIx, range: IpNet) -> Option<()> {
        let connection = self.network.connection(over).clone();
        let site = &mut self.network.sites[at.0];
        let mut own = None;
        for (place, end) in site.tunnels.iter_mut().enumerate().filter(|(_, end)| end.is_of(&connection)) {
            let here = end.instance.is_none_or(|instance| instance == connection.instance);
            own = end
                .advertised
                .prefixes
                .as_mut()
                .filter(|_| here)
                .map(|all| (format!(".tunnels[{place}]"), all))
                .or(own);
        }
        for (place, end) in site.circuits.iter_mut().enumerate() {
            if connection.remote != Remote::Circuit(end.circuit) {
                continue;
            }
            if end.links.iter().any(|link| link.prefixes.is_some()) {
                return None;
            }
            own = end.advertised.prefixes.as_mut().map(|all| (format!(".expressRouteCircuits[{place}]"), all));
        }
        let (setting, all) = own.unwrap_or((String::new(), &mut site.advertises));
        let path = format!("sites[{}]{setting}.advertises[{}]", at.0, all.len());
        all.push(range);
        self.change(path, Some(range.to_string()));
        Some(())
    }
}

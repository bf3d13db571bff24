//! Tunnels that an edit of the file can mend: keys, modes, a far end that is missing or is elsewhere, selectors that
//! exclude a packet.
//!
//! One idea: the model names each fault, so each fault has one edit. No edit mends an instance or a device that is down
//! now.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::{Change, Edit, unused};
use crate::analysis::walk::Leg;
use crate::compile::Sender;
use crate::model::{
    Connection, ConnectionIx, ConnectionMode, Customer, GatewayIx, GatewayKind, LocalGatewayIx, LocalNetworkGateway,
    Program, Remote, Site, SiteIx, TunnelFault, VnetIx,
};

use super::relays::Router;
use super::sessions::Fault;
use super::{Case, Diagnosis};

impl Case<'_> {
    /// Mends the first of these tunnels that an edit can mend.
    pub(super) fn mend_tunnel(&self, cause: String, tunnels: impl IntoIterator<Item = ConnectionIx>) -> Diagnosis {
        let mended = tunnels.into_iter().find_map(|at| self.mended(at));
        Diagnosis::of(cause, mended)
    }

    pub(super) fn mended(&self, at: ConnectionIx) -> Option<(String, Edit)> {
        let network = self.names.network;
        let connection = network.connection(at);
        let (name, mut edit) = (&connection.name, self.edit());
        let text = match network.tunnel_fault(at)? {
            TunnelFault::SharedKey => edit.share_key(at),
            TunnelFault::Responders => {
                edit.let_begin(at);
                format!("let connection {name} begin the tunnel")
            }
            TunnelFault::Propagation => {
                let ends = [Some(connection.gateway), connection.remote.gateway()];
                let tables = ends.into_iter().flatten();
                let mut tables =
                    tables.filter_map(|gateway| network.subnet(network.gateway(gateway).subnet).route_table);
                let table = tables.find(|table| network.route_tables[table.0].disable_bgp_route_propagation)?;
                edit.enable_propagation(table);
                format!("let route table {} take the routes of gateways", network.route_tables[table.0].name)
            }
            TunnelFault::NoWayBack => {
                let far = connection.remote.gateway()?;
                edit.connect_back(at, far);
                format!("add the connection back from gateway {}", network.gateway(far).name)
            }
            TunnelFault::NoSite => {
                let Remote::Local(local) = connection.remote else { return None };
                let moved = self.unconnected_site().and_then(|site| self.moved_to(local, site));
                if moved.is_some() {
                    return moved;
                }
                edit.add_site(local, self.walk.dst)?;
                format!("add a site at {}", network.local_gateway(local).gateway_ip)
            }
            TunnelFault::Circuit(fault) => return self.mended_circuit(connection.remote.circuit()?, fault),
            TunnelFault::Authorization => return self.authorized(at, connection.remote.circuit()?),
            TunnelFault::TooManyPrefixes => return None,
        };
        Some((text, edit))
    }

    /// Two virtual networks that a tunnel between their gateways would connect, but the tunnel is down (VPN-20), or its
    /// routes are kept out of the subnet (UDR-34).
    pub(super) fn tunnel_between(&self, leg: &Leg, own: VnetIx, home: VnetIx) -> Option<Diagnosis> {
        let network = self.names.network;
        let (ours, theirs) = (network.gateways_in_use(own), network.gateways_in_use(home));
        let joins = |one: &Connection| {
            one.remote.gateway().is_some_and(|far| {
                ours.contains(&one.gateway) && theirs.contains(&far)
                    || theirs.contains(&one.gateway) && ours.contains(&far)
            })
        };
        let tunnels = || (0..).map(ConnectionIx).zip(&network.connections).filter(|(_, one)| joins(one));
        let Some((joining, _)) = tunnels().next() else { return self.relayed_between(own, home) };
        let down =
            tunnels().find_map(|(at, one)| Some((at, one, self.names.compiled.learned().why_down(network, at)?)));
        let Some((at, connection, fault)) = down else {
            let kept_out = self.kept_out(leg, &format!("VNet {}", self.vnet_name(home)));
            return kept_out.or_else(|| self.not_exchanged(own, home, joining));
        };
        let (a, b, name) = (self.vnet_name(own), self.vnet_name(home), &connection.name);
        let cause = format!("VNet {a} and VNet {b} meet over connection {name}, which is down: {fault}");
        Some(self.mend_tunnel(cause, [at]))
    }

    /// Other gateways are between those of two virtual networks, and something on the way keeps routes back.
    fn relayed_between(&self, own: VnetIx, home: VnetIx) -> Option<Diagnosis> {
        let network = self.names.network;
        let [near, far] = [own, home].map(|vnet| Router::gateways(&network.gateways_in_use(vnet)));
        let Fault { says, fix: fix @ Some(_) } = self.unrelayed(&near, &far)? else { return None };
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        Some(Diagnosis::of(format!("VNet {a} and VNet {b} exchange no routes over their gateways: {says}"), fix))
    }

    /// The tunnel between the gateways of two virtual networks is up, and no session brings its routes (BGP-13).
    fn not_exchanged(&self, own: VnetIx, home: VnetIx, over: ConnectionIx) -> Option<Diagnosis> {
        let Fault { says, fix } = self.no_session(over)?;
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        Some(Diagnosis::of(format!("VNet {a} and VNet {b} exchange no routes: {says}"), fix))
    }

    /// A tunnel with policy-based traffic selectors carries pairs of ranges (VPN-16).
    pub(super) fn not_selected(&self, leg: &Leg) -> Diagnosis {
        let gateway = leg.gateway().map_or_else(String::new, |nic| self.names.node(nic));
        let (src, dst) = (self.walk.src, self.walk.dst);
        let cause = format!(
            "a connection of gateway {gateway} with usePolicyBasedTrafficSelectors does not carry {src} to {dst}: only what \
             is between its virtual networks' ranges and those of the local network gateway"
        );
        let network = self.names.network;
        let senders = [leg.gateway(), Some(leg.from)].into_iter().flatten().map(|nic| self.names.compiled.sender(nic));
        let of = |sender: Sender| match sender {
            Sender::Gateway(gateway) => Some(gateway),
            Sender::Tunnel(tunnel) => Some(network.connection(tunnel).gateway),
            _ => None,
        };
        let Some(gateway) = senders.into_iter().find_map(of) else { return Diagnosis::without_fix(cause) };
        let redefaulted = self.redefaulted(gateway);
        if let Some((says, fix)) = redefaulted {
            return Diagnosis::of(format!("{says}; {cause}"), Some(fix));
        }
        let selecting: Vec<_> =
            network.connections_of(gateway).filter(|(_, one)| one.policy_based && one.instance == 0).collect();
        let [(at, connection)] = selecting[..] else { return Diagnosis::without_fix(cause) };
        let mut edit = self.edit();
        edit.select_any(at);
        Diagnosis::with_fix(cause, format!("let connection {} carry what routes lead into it", connection.name), edit)
    }

    /// The site that has the destination and that no connection leads to.
    fn unconnected_site(&self) -> Option<SiteIx> {
        let network = self.names.network;
        let has = |site: &SiteIx| network.site(*site).address_space.iter().any(|range| range.contains(&self.walk.dst));
        (0..network.sites.len()).map(SiteIx).find(|site| has(site) && network.tunnels_of(*site).next().is_none())
    }

    /// A local network gateway that describes a site, at an address that no site has (VPN-11): it gets the site's.
    fn moved_to(&self, at: LocalGatewayIx, site: SiteIx) -> Option<(String, Edit)> {
        let network = self.names.network;
        let (local, site) = (network.local_gateway(at), network.site(site));
        let gateway_ip = site.gateway_ip?;
        let taken = network.sites.iter().any(|site| site.public_addresses().any(|own| own == local.gateway_ip));
        let used = network.connections.iter().any(|one| one.remote == Remote::Local(at));
        let within = |address: &IpAddr| site.address_space.iter().any(|range| range.contains(address));
        let overlaps =
            |range: &IpNet| within(&range.addr()) || site.address_space.iter().any(|own| range.contains(own));
        let describes = local.address_space.iter().any(overlaps) || local.bgp.is_some_and(|bgp| within(&bgp.address));
        if taken || !used || !describes {
            return None;
        }
        let mut edit = self.edit();
        edit.move_local_gateway(at, gateway_ip);
        let text = format!(
            "set gatewayIpAddress of local network gateway {} to {gateway_ip}, which {} has",
            local.name, site.name
        );
        Some((text, edit))
    }

    /// A local network gateway that describes a site at a wrong address, the cause of it, and what mends it.
    fn misplaced(&self, site: SiteIx) -> Option<(String, (String, Edit))> {
        let network = self.names.network;
        let mut locals = (0..network.local_network_gateways.len()).map(LocalGatewayIx);
        let (at, fix) = locals.find_map(|at| Some((at, self.moved_to(at, site)?)))?;
        let local = network.local_gateway(at);
        let says = format!(
            "local network gateway {} has gatewayIpAddress {}, which no site has (VPN-11)",
            local.name, local.gateway_ip
        );
        Some((says, fix))
    }

    /// A local network gateway describes the site, and no connection leads to it; one leads to another, which no site is
    /// behind.
    fn led_astray(&self, site: SiteIx) -> Option<(String, (String, Edit))> {
        let network = self.names.network;
        let mut locals = (0..network.local_network_gateways.len()).map(LocalGatewayIx);
        let is_sites = |at: &LocalGatewayIx| {
            network.site(site).public_addresses().any(|own| own == network.local_gateway(*at).gateway_ip)
        };
        let meant = locals.find(is_sites)?;
        let mut astray = (0..).map(ConnectionIx).zip(&network.connections);
        let (at, connection) = astray.find(|(at, _)| network.tunnel_fault(*at) == Some(TunnelFault::NoSite))?;
        let (name, [old, new]) = (
            connection.written_name(),
            [connection.remote.local_gateway()?, meant].map(|local| &network.local_gateway(local).name),
        );
        let mut edit = self.edit();
        let value = new.clone();
        edit.with_connection(at, "localNetworkGateway2", &value, |one| one.remote = Remote::Local(meant));
        Some((
            format!(
                "connection {name} leads to local network gateway {old}, and no site has its gatewayIpAddress (VPN-11)"
            ),
            (format!("lead connection {name} to local network gateway {new}"), edit),
        ))
    }

    /// No gateway has a connection to a site: connects a VPN gateway that the sender uses, or the only one there is. A
    /// connection that is meant for the site is led there.
    pub(super) fn connected_to(&self, cause: String, in_use: &[GatewayIx], site: SiteIx) -> Diagnosis {
        let network = self.names.network;
        if let Some((says, fix)) = self.misplaced(site) {
            return Diagnosis::of(format!("{cause}: {says}"), Some(fix));
        }
        if let Some(fix) = self.connected_to_circuit(in_use, Customer::Site(site)) {
            return Diagnosis::of(cause, Some(fix));
        }
        if let Some((says, fix)) = self.led_astray(site) {
            return Diagnosis::of(format!("{cause}: {says}"), Some(fix));
        }
        let is_vpn = |at: &GatewayIx| network.gateway(*at).kind == GatewayKind::Vpn;
        let all: Vec<_> = network.gateways().map(|(at, _)| at).filter(is_vpn).collect();
        let used = in_use.iter().copied().find(is_vpn);
        let only = if let [only] = all[..] { Some(only) } else { None };
        let mut edit = self.edit();
        match used.or(only).and_then(|gateway| edit.connect(gateway, site).map(|()| gateway)) {
            Some(gateway) => {
                let (gateway, site) = (&network.gateway(gateway).name, &network.site(site).name);
                Diagnosis::with_fix(cause, format!("connect gateway {gateway} to {site}"), edit)
            }
            None => Diagnosis::without_fix(cause),
        }
    }
}

impl Edit {
    /// Gives both ends of a tunnel one key, and says how.
    fn share_key(&mut self, at: ConnectionIx) -> String {
        match self.network.site_of(at) {
            Some(site) => self.share_key_with_site(at, site),
            None => self.share_key_with_gateway(at),
        }
    }

    /// The connection gets the site's key if it has none, or if another connection of the site has that key. Else the
    /// site's own is removed: no answer then has a key in it.
    fn share_key_with_site(&mut self, at: ConnectionIx, site: SiteIx) -> String {
        let (network, end) = (&self.network, self.network.site(site).name.clone());
        let (name, own) = (network.connection(at).written_name().to_owned(), &network.connection(at).shared_key);
        let key = network.site(site).shared_key.clone();
        let is_others = network.tunnels_of(site).any(|over| network.connection(over).shared_key == key);
        if let Some(key) = key.filter(|_| own.is_none() || is_others) {
            self.set_key(at, &key);
            return format!("set sharedKey of connection {name} to that of {end}");
        }
        self.network.sites[site.0].shared_key = None;
        self.change(format!("sites[{}].sharedKey", site.0), None);
        format!("remove sharedKey of {end}, so that it uses that of connection {name}")
    }

    /// The connection back gets the same key, or gives its own if it alone has one.
    fn share_key_with_gateway(&mut self, at: ConnectionIx) -> String {
        let network = &self.network;
        let Connection { gateway: near, remote, .. } = *network.connection(at);
        let far = remote.gateway();
        let is_back = |one: &Connection| Some(one.gateway) == far && one.remote == Remote::Gateway(near);
        let back = network.connections.iter().position(is_back).map_or(at, ConnectionIx);
        let (to, from) = if network.connection(at).shared_key.is_some() { (back, at) } else { (at, back) };
        let names = [to, from].map(|one| network.connection(one).written_name().to_owned());
        if let Some(key) = network.connection(from).shared_key.clone() {
            self.set_key(to, &key);
        }
        format!("set sharedKey of connection {} to that of connection {}", names[0], names[1])
    }

    fn set_key(&mut self, at: ConnectionIx, key: &str) {
        self.with_connection(at, "sharedKey", &format!("'{key}'"), |one| one.shared_key = Some(key.to_owned()));
    }

    fn let_begin(&mut self, at: ConnectionIx) {
        self.with_connection(at, "connectionMode", "Default", |one| one.mode = ConnectionMode::Default);
    }

    pub(super) fn enable_bgp(&mut self, at: ConnectionIx) {
        self.with_connection(at, "enableBgp", "true", |one| one.enable_bgp = true);
    }

    fn move_local_gateway(&mut self, at: LocalGatewayIx, gateway_ip: IpAddr) {
        self.network.local_network_gateways[at.0].gateway_ip = gateway_ip;
        self.change(format!("localNetworkGateways[{}].gatewayIpAddress", at.0), Some(format!("'{gateway_ip}'")));
    }

    fn select_any(&mut self, at: ConnectionIx) {
        self.with_connection(at, "usePolicyBasedTrafficSelectors", "false", |one| one.policy_based = false);
    }

    /// Changes all tunnels of a connection.
    pub(super) fn with_connection(&mut self, at: ConnectionIx, key: &str, value: &str, set: impl Fn(&mut Connection)) {
        let path = self.connection_path(at);
        let Connection { gateway, remote, .. } = *self.network.connection(at);
        let all = self.network.connections.iter_mut();
        all.filter(|one| one.gateway == gateway && one.remote == remote).for_each(set);
        self.change(format!("{path}.{key}"), Some(value.to_owned()));
    }

    fn connect_back(&mut self, at: ConnectionIx, far: GatewayIx) {
        let near = self.network.connection(at).clone();
        let remote = Remote::Gateway(near.gateway);
        let name = |gateway: GatewayIx| self.network.gateway(gateway).name.clone();
        let ends = format!(
            "connectionType: Vnet2Vnet, virtualNetworkGateway1: {}, virtualNetworkGateway2: {}",
            name(far),
            name(near.gateway)
        );
        let stem = format!("{}-{}", name(far), name(near.gateway));
        let back = Connection { gateway: far, instance: 0, remote, nat_rules: Vec::new(), ..near };
        self.add_connection(&stem, &ends, back);
    }

    /// Connects by an existing local network gateway or a new one; None for a site without a public address.
    fn connect(&mut self, gateway: GatewayIx, site: SiteIx) -> Option<()> {
        let Site { name, gateway_ip, address_space, shared_key, .. } = self.network.site(site).clone();
        let gateway_ip = gateway_ip?;
        let known = self.network.local_network_gateways.iter().position(|local| local.gateway_ip == gateway_ip);
        let local = known.map_or_else(|| self.add_local_gateway(&name, gateway_ip, address_space), LocalGatewayIx);
        let (own, peer) = (self.network.gateway(gateway), self.network.local_gateway(local));
        // A local network gateway with ranges is meant to be static.
        let both = own.bgp.zip(peer.bgp.filter(|_| peer.address_space.is_empty()));
        let enable_bgp = both.is_some_and(|(near, far)| near.asn != far.asn);
        let (near, far) = (own.name.clone(), &peer.name);
        let ends = format!("connectionType: IPsec, virtualNetworkGateway1: {near}, localNetworkGateway2: {far}");
        let connection = Connection { shared_key, enable_bgp, ..unnamed(gateway, Remote::Local(local)) };
        self.add_connection(&format!("{near}-{name}"), &ends, connection);
        Some(())
    }

    fn add_local_gateway(&mut self, site: &str, gateway_ip: IpAddr, ranges: Vec<IpNet>) -> LocalGatewayIx {
        let locals = &mut self.network.local_network_gateways;
        let name = unused(&format!("{site}-lng"), || locals.iter().map(|local| local.name.as_str()));
        let listed = ranges.iter().map(|range| format!("'{range}'")).collect::<Vec<_>>().join(", ");
        let value = format!("{{name: {name}, gatewayIpAddress: {gateway_ip}, localNetworkAddressSpace: [{listed}]}}");
        let at = locals.len();
        locals.push(LocalNetworkGateway { name, gateway_ip, address_space: ranges, bgp: None });
        self.change(format!("localNetworkGateways[{at}]"), Some(value));
        LocalGatewayIx(at)
    }

    pub(super) fn add_connection(&mut self, stem: &str, ends: &str, connection: Connection) {
        let name = unused(stem, || self.network.connections.iter().map(|one| one.name.as_str()));
        let key = connection.shared_key.as_ref().map_or_else(String::new, |key| format!(", sharedKey: '{key}'"));
        let bgp = if connection.enable_bgp { ", enableBgp: true" } else { "" };
        let value = format!("{{name: {name}, {ends}{key}{bgp}}}");
        let at = self.network.connections.iter().filter(|one| one.instance == 0 && !one.is_clients()).count();
        self.network.connections.push(Connection { name, ..connection });
        self.change(format!("connections[{at}]"), Some(value));
    }

    /// Adds a site at the far end of a static local network gateway, with one address that answers; None for one that
    /// uses BGP.
    fn add_site(&mut self, local: LocalGatewayIx, address: IpAddr) -> Option<()> {
        let LocalNetworkGateway { gateway_ip, address_space, bgp: None, .. } =
            self.network.local_gateway(local).clone()
        else {
            return None;
        };
        address_space.iter().find(|range| range.contains(&address))?;
        let sites = &mut self.network.sites;
        let name = unused("site", || sites.iter().map(|site| site.name.as_str()));
        let ranges = address_space.iter().map(|range| format!("'{range}'")).collect::<Vec<_>>().join(", ");
        let value = format!(
            "{{name: {name}, gatewayIpAddress: {gateway_ip}, addressSpace: [{ranges}], addresses: ['{address}']}}"
        );
        let path = format!("sites[{}]", sites.len());
        sites.push(Site {
            name,
            client_of: None,
            gateway_ip: Some(gateway_ip),
            circuits: Vec::new(),
            advertises: address_space.clone(),
            address_space,
            addresses: vec![address],
            bgp: None,
            prepend: 0,
            tunnels: Vec::new(),
            routes: Vec::new(),
            shared_key: None,
            mode: ConnectionMode::Default,
            run: Program::default(),
            own_router: false,
        });
        self.change(path, Some(value));
        Some(())
    }

    /// The file lists a connection once, however many tunnels it has.
    fn connection_path(&self, at: ConnectionIx) -> String {
        let Connection { gateway, remote, .. } = self.network.connection(at);
        let written = self.network.connections.iter().filter(|one| one.instance == 0);
        let at = written.into_iter().position(|one| one.gateway == *gateway && one.remote == *remote);
        format!("connections[{}]", at.unwrap_or(0))
    }

    pub(super) fn change(&mut self, path: String, value: Option<String>) {
        self.changes.push(Change { path, value });
    }
}

/// A connection with Azure's defaults, without keys. It gets its name when it is added.
pub(super) const fn unnamed(gateway: GatewayIx, remote: Remote) -> Connection {
    Connection {
        name: String::new(),
        gateway,
        instance: 0,
        remote,
        shared_key: None,
        enable_bgp: false,
        mode: ConnectionMode::Default,
        policy_based: false,
        routing_weight: 0,
        authorization_key: None,
        nat_rules: Vec::new(),
    }
}

//! Virtual network gateways, what they are connected to, sites and route servers as objects that a plan can compare.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::{
    Advertised, BgpConnection, BgpSettings, Connection, GatewayIx, GatewayKind, LocalNetworkGateway, NatRule, Network,
    PortRange, Remote, RouteServer, Site, SubnetIx, VirtualNetworkGateway,
};

use super::objects::{Object, list, or_none};

pub(super) fn of(network: &Network) -> Vec<Object> {
    let gateways = network.virtual_network_gateways.iter().map(|one| gateway(network, one));
    let locals = network.local_network_gateways.iter().map(local_gateway);
    // A second tunnel is part of the first one's description.
    let written = network.connections.iter().filter(|one| one.instance == 0 && !one.is_clients());
    let connections = written.map(|one| connection(network, one));
    let sites = network.sites.iter().map(|one| match one.client_of {
        Some(gateway) => client(network, gateway, one),
        None => site(network, one),
    });
    let servers = network.route_servers.iter().map(|one| route_server(network, one));
    gateways.chain(locals).chain(connections).chain(sites).chain(servers).collect()
}

fn gateway(network: &Network, gateway: &VirtualNetworkGateway) -> Object {
    let SubnetIx { vnet, .. } = gateway.subnet;
    let (kind, remote_vnets) = match gateway.kind {
        GatewayKind::Vpn => ("Vpn", false),
        GatewayKind::ExpressRoute { remote_vnets } => ("ExpressRoute", remote_vnets),
    };
    let speaks_at: Vec<_> = gateway.speakers().into_iter().map(|speaker| speaker.address).collect();
    let custom: Vec<_> = gateway.custom_bgp.iter().flatten().collect();
    let properties = vec![
        ("virtualNetwork", network.vnet(vnet).name.clone()),
        ("gatewayType", kind.to_owned()),
        ("allowRemoteVnetTraffic", remote_vnets.to_string()),
        ("sku", format!("{:?}", gateway.sku)),
        ("publicIPAddress", or_none(gateway.public.map(|public| &network.public_ip(public).name))),
        ("activeActive", gateway.is_active_active().to_string()),
        ("bgpSettings", bgp(gateway.bgp)),
        ("privateIPAddresses", list(&gateway.addresses())),
        ("defaultBgpIpAddresses", list(&speaks_at)),
        ("customBgpIpAddresses", list(&custom)),
        ("natRules", list(&gateway.nat_rules.iter().map(nat_rule).collect::<Vec<_>>())),
        ("enableBgpRouteTranslationForNat", gateway.translates_bgp.to_string()),
        ("gatewayDefaultSite", or_none(gateway.default_site.map(|site| &network.local_gateway(site).name))),
        ("vpnClientAddressPool", list(gateway.client_prefixes())),
        ("customRoutes", list(gateway.clients.as_ref().map_or(&[], |clients| &clients.routes[..]))),
    ];
    Object { kind: "virtualNetworkGateways", name: gateway.name.clone(), properties }
}

fn local_gateway(gateway: &LocalNetworkGateway) -> Object {
    let properties = vec![
        ("gatewayIpAddress", gateway.gateway_ip.to_string()),
        ("localNetworkAddressSpace", list(&gateway.address_space)),
        ("bgpSettings", bgp(gateway.bgp)),
    ];
    Object { kind: "localNetworkGateways", name: gateway.name.clone(), properties }
}

fn nat_rule(rule: &NatRule) -> String {
    let NatRule { name, mode, kind, internal, external, internal_ports, external_ports } = rule;
    let ports =
        |ports: &Option<PortRange>| ports.map_or_else(String::new, |ports| format!(":{}-{}", ports.first, ports.last));
    format!("{name} {mode:?} {kind:?} {internal}{} {external}{}", ports(internal_ports), ports(external_ports))
}

fn connection(network: &Network, connection: &Connection) -> Object {
    let (kind, far) = match connection.remote {
        Remote::Local(local) => ("IPsec", &network.local_gateway(local).name),
        Remote::Gateway(far) => ("Vnet2Vnet", &network.gateway(far).name),
        Remote::Circuit(circuit) => ("ExpressRoute", &network.circuit(circuit).name),
        Remote::Client(client) => ("VPNClient", &network.site(client).name),
    };
    let rules = connection.nat_rules.iter().map(|rule| &network.gateway(connection.gateway).nat_rules[*rule].name);
    let properties = vec![
        ("virtualNetworkGateway1", network.gateway(connection.gateway).name.clone()),
        ("connectionType", format!("{kind} to {far}")),
        ("sharedKey", key(connection.shared_key.as_deref())),
        ("enableBgp", connection.enable_bgp.to_string()),
        ("connectionMode", format!("{:?}", connection.mode)),
        ("routingWeight", connection.routing_weight.to_string()),
        ("authorizationKey", key(connection.authorization_key.as_deref())),
        ("natRules", list(&rules.collect::<Vec<_>>())),
    ];
    Object { kind: "connections", name: connection.name.clone(), properties }
}

fn site(network: &Network, site: &Site) -> Object {
    let circuits = site.circuits.iter().map(|end| {
        let [primary, secondary] = &end.links;
        let scopes = [("", &end.advertised), ("primary ", primary), ("secondary ", secondary)];
        let settings: Vec<_> = scopes.into_iter().flat_map(|(scope, advertised)| about(scope, advertised)).collect();
        let name = &network.circuit(end.circuit).name;
        if settings.is_empty() { name.clone() } else { format!("{name} ({})", settings.join(", ")) }
    });
    let tunnels = site.tunnels.iter().map(|end| {
        let instance = end.instance.map_or_else(String::new, |instance| format!(" instance {}", instance + 1));
        let public = end.gateway_ip.map(|address| format!("at {address}"));
        let peering = end.peering_address.map(|address| format!("BGP at {address}"));
        let settings: Vec<_> = public.into_iter().chain(peering).chain(about("", &end.advertised)).collect();
        format!("{}{instance} ({})", end.connection, settings.join(", "))
    });
    let properties = vec![
        ("gatewayIpAddress", or_none(site.gateway_ip)),
        ("expressRouteCircuits", list(&circuits.collect::<Vec<_>>())),
        ("addressSpace", list(&site.address_space)),
        ("addresses", list(&site.addresses)),
        ("routes", list(&site.routes)),
        ("advertises", list(&site.advertises)),
        ("prepend", site.prepend.to_string()),
        ("tunnels", list(&tunnels.collect::<Vec<_>>())),
        ("bgpSettings", bgp(site.bgp)),
        ("sharedKey", key(site.shared_key.as_deref())),
        ("connectionMode", format!("{:?}", site.mode)),
        ("run", site.run.to_string()),
        ("ownRouter", site.own_router.to_string()),
    ];
    Object { kind: "sites", name: site.name.clone(), properties }
}

fn client(network: &Network, gateway: GatewayIx, client: &Site) -> Object {
    let properties = vec![
        ("virtualNetworkGateway", network.gateway(gateway).name.clone()),
        ("address", list(&client.addresses)),
        ("run", client.run.to_string()),
    ];
    Object { kind: "vpnClients", name: client.name.clone(), properties }
}

/// The file's text for one of a site's tunnels or links.
fn about(scope: &str, advertised: &Advertised) -> Vec<String> {
    let prefixes = advertised.prefixes.as_ref().map(|prefixes| format!("{scope}advertises {}", list(prefixes)));
    let prepend = (advertised.prepend > 0).then(|| format!("{scope}prepend {}", advertised.prepend));
    prefixes.into_iter().chain(prepend).collect()
}

fn route_server(network: &Network, server: &RouteServer) -> Object {
    let connection = |one: &BgpConnection| format!("{} {}", one.name, bgp(Some(one.peer)));
    let properties = vec![
        ("virtualNetwork", network.vnet(server.subnet.vnet).name.clone()),
        ("virtualRouterIps", list(&server.instances)),
        ("allowBranchToBranchTraffic", server.branch_to_branch.to_string()),
        ("hubRoutingPreference", format!("{:?}", server.preference)),
        ("bgpConnections", list(&server.connections.iter().map(connection).collect::<Vec<_>>())),
    ];
    Object { kind: "routeServers", name: server.name.clone(), properties }
}

fn bgp(settings: Option<BgpSettings>) -> String {
    settings.map_or_else(|| "none".to_owned(), |BgpSettings { asn, address }| format!("AS {asn} at {address}"))
}

/// Compared by a fingerprint: a plan's reader may not be allowed to know the key.
pub(super) fn key(key: Option<&str>) -> String {
    key.map_or_else(
        || "none".to_owned(),
        |key| {
            let mut fingerprint = DefaultHasher::new();
            key.hash(&mut fingerprint);
            format!("{:08x}", fingerprint.finish() as u32)
        },
    )
}

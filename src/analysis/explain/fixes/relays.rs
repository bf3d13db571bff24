//! Routes that several routers pass on: gateways, circuits and the route servers between them (BGP-10, BGP-13, BGP-20,
//! ARS-06).
//!
//! One idea: what the file joins is a graph. The way with the fewest faults is the one that is meant, and its first
//! fault is the cause.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::analysis::change::{Edit, unused};
use crate::model::{
    AZURE_ASN, CircuitIx, ConnectionIx, Customer, GatewayIx, GatewayKind, Network, Remote, RouteServer, RouteServerIx,
    RoutingPreference, SiteIx, SubnetIx, VnetIx,
};

use super::Case;
use super::sessions::{Fault, unused_asn};

/// A router that may pass routes on. A site only begins or ends a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Router {
    Gateway(GatewayIx),
    Circuit(CircuitIx),
    Site(SiteIx),
}

impl Router {
    /// Where the routes of a site or a private cloud begin.
    pub(super) fn of_customer(network: &Network, customer: Customer) -> Vec<Self> {
        let circuits = network.circuits().map(|(circuit, _)| circuit);
        let own = circuits.filter(|circuit| network.customer(*circuit) == Some(customer.at_circuit()));
        let site = if let Customer::Site(site) = customer { Some(Self::Site(site)) } else { None };
        site.into_iter().chain(own.map(Self::Circuit)).collect()
    }

    pub(super) fn gateways(gateways: &[GatewayIx]) -> Vec<Self> {
        gateways.iter().copied().map(Self::Gateway).collect()
    }

    /// Its AS number, where it is one of its own. Azure's is that of routers that are one system.
    fn asn(self, network: &Network) -> Option<u32> {
        let bgp = match self {
            Self::Gateway(at) if network.gateway(at).kind == GatewayKind::Vpn => network.gateway(at).bgp,
            Self::Site(at) => network.site(at).bgp,
            Self::Gateway(_) | Self::Circuit(_) => None,
        };
        bgp.map(|bgp| bgp.asn).filter(|asn| *asn != AZURE_ASN)
    }

    fn name(self, network: &Network) -> String {
        match self {
            Self::Gateway(at) => format!("gateway {}", network.gateway(at).name),
            Self::Circuit(at) => format!("circuit {}", network.circuit(at).name),
            Self::Site(at) => network.site(at).name.clone(),
        }
    }
}

/// What makes two routers exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Join {
    Connection(ConnectionIx),
    /// Beside both gateways (ARS-06).
    RouteServer(RouteServerIx),
}

/// A join, and the router that it leads to.
type Step = (Join, Router);

impl Case<'_> {
    /// The first fault on the way between two sets of routers; one that no edit mends comes before. None where nothing
    /// joins them, or the way has no fault.
    pub(super) fn unrelayed(&self, near: &[Router], far: &[Router]) -> Option<Fault> {
        let (from, way) = self.way(near, far)?;
        let faults = way.iter().filter_map(|(join, _)| self.fault_of(*join));
        faults.min_by_key(|fault| fault.fix.is_some()).or_else(|| {
            let routers: Vec<_> = [from].into_iter().chain(way.iter().map(|(_, to)| *to)).collect();
            self.refused_as_loop(&routers)
        })
    }

    /// Whether the file joins two sets of routers, with or without faults.
    pub(super) fn are_joined(&self, near: &[Router], far: &[Router]) -> bool {
        self.way(near, far).is_some()
    }

    /// The way with the fewest faults; of several the shortest.
    fn way(&self, near: &[Router], far: &[Router]) -> Option<(Router, Vec<Step>)> {
        let joins = joins(self.names.network);
        let faults: Vec<_> = joins.iter().map(|(join, _)| usize::from(self.fault_of(*join).is_some())).collect();
        let mut open: BTreeSet<_> = near.iter().map(|from| (0, 0, *from, *from, Vec::<Step>::new())).collect();
        let mut seen = BTreeSet::new();
        while let Some((faulty, length, at, from, way)) = open.pop_first() {
            if far.contains(&at) {
                return Some((from, way));
            }
            if !seen.insert(at) || length > 0 && matches!(at, Router::Site(_)) {
                continue;
            }
            for ((join, ends), fault) in joins.iter().zip(&faults) {
                let Some(to) = other_end(ends, at) else { continue };
                let onward = way.iter().copied().chain([(*join, to)]).collect();
                open.insert((faulty + fault, length + 1, to, from, onward));
            }
        }
        None
    }

    fn fault_of(&self, join: Join) -> Option<Fault> {
        let network = self.names.network;
        let over = match join {
            Join::Connection(over) => over,
            Join::RouteServer(server) => return self.not_exchanging(server),
        };
        let connection = network.connection(over);
        if let Some(fault) = self.names.compiled.learned().why_down(network, over) {
            return Some(Fault { says: format!("connection {}: {fault}", connection.name), fix: self.mended(over) });
        }
        let is_silent = match connection.remote {
            // What a local network gateway names is advertised to others.
            Remote::Local(_) => !network.local_space(over).iter().any(|range| range.contains(&self.walk.dst)),
            Remote::Gateway(_) => true,
            Remote::Circuit(_) | Remote::Client(_) => false,
        } && network.bgp_over(over).is_none();
        self.unadvertised_over(over).or_else(|| {
            let says = format!("connection {} has no BGP, so the route is not advertised (BGP-20)", connection.name);
            is_silent.then_some(Fault { says, fix: None })
        })
    }

    /// The route server beside two gateways does not pass their routes on. It takes only gateways of its own system.
    fn not_exchanging(&self, at: RouteServerIx) -> Option<Fault> {
        let network = self.names.network;
        let server = network.route_server(at);
        let name = &server.name;
        let fix = self.is_one_system(server.subnet.vnet).then(|| {
            let mut edit = self.edit();
            edit.exchange_branches(at);
            (format!("set allowBranchToBranchTraffic on route server {name}"), edit)
        });
        let says = format!("route server {name} has no allowBranchToBranchTraffic (ARS-06)");
        (!server.branch_to_branch).then_some(Fault { says, fix })
    }

    /// Whether the gateways of a virtual network have Azure's AS number, as a route server beside them needs (ARS-01).
    fn is_one_system(&self, vnet: VnetIx) -> bool {
        let network = self.names.network;
        let mut speakers = network.gateways_of(vnet).filter_map(|gateway| network.gateway(gateway).bgp);
        speakers.all(|bgp| bgp.asn == AZURE_ASN)
    }

    /// A VPN gateway and an ExpressRoute gateway of one virtual network are on the way, and no route server exchanges their
    /// routes (ARS-06).
    pub(super) fn without_route_server(&self, near: &[Router], far: &[Router]) -> Option<Fault> {
        let network = self.names.network;
        let is_joined = |ends: &[Router], at: &GatewayIx| self.are_joined(ends, &[Router::Gateway(*at)]);
        let served: Vec<_> = network.route_servers.iter().map(|server| server.subnet.vnet).collect();
        let vnets = (0..network.virtual_networks.len()).map(VnetIx).filter(|vnet| !served.contains(vnet));
        let (vnet, [one, other]) = vnets.into_iter().find_map(|vnet| {
            let beside: Vec<_> = network.gateways_of(vnet).collect();
            let [one, other] = beside[..] else { return None };
            let leads = |from, to| is_joined(near, from) && is_joined(far, to);
            (leads(&one, &other) || leads(&other, &one)).then_some((vnet, [one, other]))
        })?;
        let [a, b] = [one, other].map(|at| &network.gateway(at).name);
        let name = self.vnet_name(vnet);
        let says = format!("no route server passes on the routes of gateways {a} and {b} of VNet {name} (ARS-06)");
        let mut edit = self.edit();
        let added = self.is_one_system(vnet).then(|| edit.add_route_server(vnet)).flatten();
        let needs =
            if added.is_some() { "" } else { ": it needs a RouteServerSubnet, and gateways of AS 65515 (ARS-01)" };
        Some(Fault {
            says,
            fix: Some((format!("add a route server with allowBranchToBranchTraffic to VNet {name}{needs}"), edit)),
        })
    }

    /// Two routers on a way have one AS number: a route that has passed one is refused by the other (BGP-13).
    fn refused_as_loop(&self, way: &[Router]) -> Option<Fault> {
        let network = self.names.network;
        let numbered: Vec<_> = way.iter().filter_map(|at| Some((*at, at.asn(network)?))).collect();
        let (i, (far, asn)) =
            numbered.iter().enumerate().find(|(i, (_, asn))| numbered[..*i].iter().any(|(_, one)| one == asn))?;
        let (near, _) = numbered[..i].iter().find(|(_, one)| one == asn)?;
        let (a, b) = (near.name(network), far.name(network));
        let says = format!("{a} and {b} are both AS {asn}, so each refuses what has passed the other (BGP-13)");
        Some(Fault { says, fix: self.renumbered([*near, *far]) })
    }

    /// One of two routers with one AS number gets another: a gateway before a site.
    fn renumbered(&self, ends: [Router; 2]) -> Option<(String, Edit)> {
        let network = self.names.network;
        let gateways = ends.into_iter().filter_map(|one| if let Router::Gateway(at) = one { Some(at) } else { None });
        if let Some(fix) = self.gateway_renumbered(gateways) {
            return Some(fix);
        }
        let Router::Site(site) = ends[1] else { return None };
        let (unused, mut edit) = (unused_asn(network)?, self.edit());
        edit.set_site_asn(site, unused);
        let name = &network.site(site).name;
        let text = format!("give {name} and its local network gateways an AS number of its own, such as {unused}");
        Some((text, edit))
    }
}

/// All that the file joins.
fn joins(network: &Network) -> Vec<(Join, [Router; 2])> {
    let connections = (0..).map(ConnectionIx).zip(&network.connections).filter_map(|(at, connection)| {
        let far = match connection.remote {
            Remote::Local(_) => Router::Site(network.site_of(at)?),
            Remote::Gateway(far) => Router::Gateway(far),
            Remote::Circuit(circuit) => Router::Circuit(circuit),
            Remote::Client(_) => return None,
        };
        Some((Join::Connection(at), [Router::Gateway(connection.gateway), far]))
    });
    let servers = (0..).map(RouteServerIx).zip(&network.route_servers).filter_map(|(at, server)| {
        let mut beside = network.gateways_of(server.subnet.vnet).map(Router::Gateway);
        Some((Join::RouteServer(at), [beside.next()?, beside.next()?]))
    });
    connections.chain(servers).collect()
}

fn other_end([a, b]: &[Router; 2], at: Router) -> Option<Router> {
    if *a == at {
        Some(*b)
    } else if *b == at {
        Some(*a)
    } else {
        None
    }
}

impl Edit {
    fn exchange_branches(&mut self, at: RouteServerIx) {
        self.network.route_servers[at.0].branch_to_branch = true;
        self.change(format!("routeServers[{}].allowBranchToBranchTraffic", at.0), Some("true".to_owned()));
    }

    /// None where the virtual network has no subnet for it.
    fn add_route_server(&mut self, vnet: VnetIx) -> Option<()> {
        let network = &mut self.network;
        let place = network.vnet(vnet).subnets.iter().position(|subnet| subnet.name == RouteServer::SUBNET)?;
        let subnet = SubnetIx { vnet, subnet: place };
        let range = network.subnet(subnet).prefixes.iter().find_map(|prefix| match prefix {
            IpNet::V4(range) => Some(*range),
            IpNet::V6(_) => None,
        })?;
        let public = network.unused_public_ips().find(|ix| network.public_ip(*ix).address.is_ipv4());
        let vnet_name = network.vnet(vnet).name.clone();
        let name = unused(&format!("{vnet_name}-rs"), || network.route_servers.iter().map(|one| one.name.as_str()));
        let address = public.map(|ix| format!(", publicIPAddress: {}", network.public_ip(ix).name)).unwrap_or_default();
        let written =
            format!("{{name: {name}, virtualNetwork: {vnet_name}{address}, allowBranchToBranchTraffic: true}}");
        let path = format!("routeServers[{}]", network.route_servers.len());
        network.route_servers.push(RouteServer {
            name,
            subnet,
            instances: RouteServer::instances_in(range),
            public,
            branch_to_branch: true,
            preference: RoutingPreference::default(),
            connections: Vec::new(),
        });
        self.change(path, Some(written));
        Some(())
    }

    /// Also where local network gateways describe the site (VPN-11).
    fn set_site_asn(&mut self, at: SiteIx, asn: u32) {
        self.network.sites[at.0].bgp.iter_mut().for_each(|bgp| bgp.asn = asn);
        self.change(format!("sites[{}].bgpSettings.asn", at.0), Some(asn.to_string()));
        let network = &self.network;
        let locals = network.tunnels_of(at).filter_map(|over| network.connection(over).remote.local_gateway());
        let locals: BTreeSet<_> = locals.collect();
        for local in locals {
            self.set_local_asn(local, asn);
        }
    }
}

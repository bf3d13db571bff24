//! ExpressRoute circuits, what joins them to each other and to gateways, and the customers at their far ends.
//!
//! One idea: a circuit is a pair of links from a customer, a site or a private cloud, to an edge of Microsoft's
//! network. Whether it forwards packets follows from the states of its provider, its peering and its connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::programs::Program;
use super::{Advertised, Attachment, CloudIx, Connection, ConnectionIx, Network, Remote, SiteIx, TunnelFault};

/// Index of a circuit in [`Network::express_route_circuits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitIx(pub usize);

/// The AS number of Microsoft's edges (ER-01).
pub const EDGE_ASN: u32 = 12076;

/// Prefixes that a gateway may advertise over one connection (LIM-21).
const GATEWAY_PREFIXES: usize = 1_000;

/// A circuit with its private peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressRouteCircuit {
    pub name: String,
    pub tier: CircuitTier,
    pub peering_location: String,
    /// In Mbit/s.
    pub bandwidth: u32,
    /// The provider's state.
    pub provider_state: ProviderState,
    pub peering: Option<PrivatePeering>,
    pub authorizations: Vec<Authorization>,
    /// Those that are written here; each is of the other circuit as well.
    pub reach: Vec<GlobalReach>,
    /// A gateway of the same subscription needs no key (ER-10); nothing is checked where one of them is unknown.
    pub subscription: Option<String>,
}

/// ER-19, GR-03.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitTier {
    Local,
    Standard,
    Premium,
}

impl CircuitTier {
    /// Prefixes that a customer may advertise (LIM-21).
    pub const fn prefixes(self) -> usize {
        match self {
            Self::Local | Self::Standard => 4_000,
            Self::Premium => 10_000,
        }
    }
}

/// ARM's `serviceProviderProvisioningState` (ER-18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProviderState {
    NotProvisioned,
    Provisioning,
    #[default]
    Provisioned,
    Deprovisioning,
}

/// `AzurePrivatePeering` (ER-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivatePeering {
    /// Its index among the peerings that the file gives its circuit.
    pub place: usize,
    /// `state: Enabled`
    pub enabled: bool,
    /// The customer's AS number.
    pub peer_asn: u32,
    /// Of the primary link and the secondary.
    pub prefixes: [Ipv4Net; 2],
    pub vlan: u16,
    pub shared_key: Option<String>,
}

/// One of a circuit's two links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    Primary,
    Secondary,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}

impl PrivatePeering {
    /// The customer's address on a link: the first of its range.
    pub fn customer(&self, side: Side) -> Ipv4Addr {
        self.host(side, 1)
    }

    /// Microsoft's: the second.
    pub fn microsoft(&self, side: Side) -> Ipv4Addr {
        self.host(side, 2)
    }

    fn host(&self, side: Side, number: u32) -> Ipv4Addr {
        let [primary, secondary] = self.prefixes;
        let link = match side {
            Side::Primary => primary,
            Side::Secondary => secondary,
        };
        Ipv4Addr::from_bits(link.network().to_bits() + number)
    }
}

/// A key that lets one gateway of another subscription use the circuit (ER-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub name: String,
    pub key: String,
}

/// A Global Reach connection to another circuit (GR-02).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalReach {
    pub name: String,
    pub peer: CircuitIx,
    pub address_prefix: Option<Ipv4Net>,
    pub authorization_key: Option<String>,
}

/// How a site is joined to a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitEnd {
    pub circuit: CircuitIx,
    /// What it advertises there alone (ER-13).
    pub advertised: Advertised,
    /// Of the primary link and the secondary.
    pub links: [Advertised; 2],
}

/// What is beyond a circuit: the customer at its end, or one of a private cloud's segments behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Customer {
    Site(SiteIx),
    /// The managers and hosts of a private cloud.
    Cloud(CloudIx),
    /// The workloads of a segment.
    Segment(CloudIx, usize),
}

impl Customer {
    /// The customer that has the circuits to this one: for a segment, its private cloud.
    #[must_use]
    pub fn at_circuit(self) -> Self {
        match self {
            Self::Segment(cloud, _) => Self::Cloud(cloud),
            Self::Site(_) | Self::Cloud(_) => self,
        }
    }
}

/// Why a circuit carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitFault {
    #[error("the provider has not provisioned the circuit (ER-18)")]
    NotProvisioned,
    #[error("the circuit has no AzurePrivatePeering (ER-18)")]
    NoPeering,
    #[error("the circuit's AzurePrivatePeering is Disabled (ER-18)")]
    Disabled,
    #[error("the customer advertises more prefixes than the circuit takes (ER-03)")]
    TooManyPrefixes,
}

impl Network {
    pub fn circuit(&self, circuit: CircuitIx) -> &ExpressRouteCircuit {
        &self.express_route_circuits[circuit.0]
    }

    /// Every circuit with its index: those of the file, then those of private clouds.
    pub fn circuits(&self) -> impl Iterator<Item = (CircuitIx, &ExpressRouteCircuit)> {
        (0..).map(CircuitIx).zip(&self.express_route_circuits)
    }

    /// Its edge's own TUN, and the two of its customer; none for a circuit without link addresses.
    pub(super) fn circuit_attachments(&self, circuit: CircuitIx) -> Vec<Attachment> {
        if self.circuit(circuit).peering.is_none() {
            return Vec::new();
        }
        let links = Side::BOTH.map(|side| Attachment::CircuitLink(circuit, side));
        let joined = links.into_iter().filter(|_| self.customer(circuit).is_some());
        [Attachment::Edge(circuit)].into_iter().chain(joined).collect()
    }

    /// The customer of a circuit.
    pub fn customer(&self, circuit: CircuitIx) -> Option<Customer> {
        let joined = |site: &super::Site| site.circuits.iter().any(|end| end.circuit == circuit);
        let site = self.sites.iter().position(joined).map(|site| Customer::Site(SiteIx(site)));
        let owns = |cloud: &super::PrivateCloud| cloud.circuit == circuit;
        let cloud = || self.private_clouds.iter().position(owns).map(|cloud| Customer::Cloud(CloudIx(cloud)));
        site.or_else(cloud)
    }

    /// A site or private cloud by its name, as ARM compares names.
    pub fn customer_named(&self, name: &str) -> Option<Customer> {
        let site = self.sites.iter().position(|site| site.name.eq_ignore_ascii_case(name));
        let cloud = || self.private_clouds.iter().position(|cloud| cloud.name.eq_ignore_ascii_case(name));
        let of_cloud = || {
            let segments = |cloud: CloudIx| (0..self.cloud(cloud).segments.len()).map(move |at| (cloud, at));
            let mut segments = self.clouds().flat_map(|(cloud, _)| segments(cloud));
            let named = |(cloud, at): &(CloudIx, usize)| self.segment(*cloud, *at).node.eq_ignore_ascii_case(name);
            let segment = || segments.find(named).map(|(cloud, at)| Customer::Segment(cloud, at));
            cloud().map(|cloud| Customer::Cloud(CloudIx(cloud))).or_else(segment)
        };
        site.map(|site| Customer::Site(SiteIx(site))).or_else(of_cloud)
    }

    /// What a site or private cloud is called, which is what its node is called.
    pub fn name_of_customer(&self, customer: Customer) -> &str {
        match customer {
            Customer::Site(site) => &self.site(site).name,
            Customer::Cloud(cloud) => &self.cloud(cloud).name,
            Customer::Segment(cloud, segment) => &self.segment(cloud, segment).node,
        }
    }

    /// The addresses that answer at a site or in a private cloud.
    pub fn addresses_of_customer(&self, customer: Customer) -> Vec<IpAddr> {
        match customer {
            Customer::Site(site) => self.site(site).addresses.clone(),
            Customer::Cloud(cloud) => self.cloud(cloud).addresses(),
            Customer::Segment(cloud, segment) => {
                self.segment(cloud, segment).addresses.iter().copied().map(IpAddr::V4).collect()
            }
        }
    }

    /// Every site, then every private cloud, each with its segments.
    pub fn customers(&self) -> impl Iterator<Item = Customer> {
        let sites = (0..self.sites.len()).map(|site| Customer::Site(SiteIx(site)));
        let clouds = self.clouds().flat_map(|(ix, cloud)| {
            let segments = (0..cloud.segments.len()).map(move |segment| Customer::Segment(ix, segment));
            [Customer::Cloud(ix)].into_iter().chain(segments)
        });
        sites.chain(clouds)
    }

    /// The name of a circuit's customer, which is that of a node.
    pub fn customer_name(&self, circuit: CircuitIx) -> Option<&str> {
        self.customer(circuit).map(|customer| self.name_of_customer(customer))
    }

    /// What runs in a customer's namespace.
    pub fn program(&self, customer: Customer) -> &Program {
        match customer {
            Customer::Site(site) => &self.site(site).run,
            Customer::Cloud(cloud) => &self.cloud(cloud).run,
            Customer::Segment(cloud, segment) => &self.segment(cloud, segment).run,
        }
    }

    /// `er-london-primary`
    pub fn circuit_link_name(&self, circuit: CircuitIx, side: Side) -> String {
        format!("{}-{side}", self.circuit(circuit).name)
    }

    /// The addresses that answer at a circuit's far end, on this link.
    pub fn customer_addresses(&self, circuit: CircuitIx, side: Side) -> Vec<IpAddr> {
        let own = self.circuit(circuit).peering.as_ref().map(|peering| peering.customer(side).into());
        let hosts = self.customer(circuit).map_or_else(Vec::new, |customer| self.addresses_of_customer(customer));
        hosts.into_iter().chain(own).collect()
    }

    /// Microsoft's own addresses of a circuit: what its edge answers for.
    pub fn edge_addresses(&self, circuit: CircuitIx) -> Vec<IpAddr> {
        let peering = self.circuit(circuit).peering.as_ref();
        peering.into_iter().flat_map(|peering| Side::BOTH.map(|side| peering.microsoft(side).into())).collect()
    }

    /// What keeps a circuit down.
    pub fn circuit_fault(&self, ix: CircuitIx) -> Option<CircuitFault> {
        let circuit = self.circuit(ix);
        match &circuit.peering {
            _ if circuit.provider_state != ProviderState::Provisioned => Some(CircuitFault::NotProvisioned),
            None => Some(CircuitFault::NoPeering),
            Some(peering) if !peering.enabled => Some(CircuitFault::Disabled),
            Some(_) => {
                // A customer with its own router is bound by its BGP sessions.
                let silent = self.speaker_on(ix).is_none();
                let advertised = if silent { self.customer_routes(ix).len() } else { 0 };
                (advertised > circuit.tier.prefixes()).then_some(CircuitFault::TooManyPrefixes)
            }
        }
    }

    /// The connections of gateways to a circuit.
    pub fn connections_to(&self, circuit: CircuitIx) -> impl Iterator<Item = (ConnectionIx, &Connection)> {
        let all = (0..).map(ConnectionIx).zip(&self.connections);
        all.filter(move |(_, connection)| connection.remote == Remote::Circuit(circuit))
    }

    /// Whether a connection uses a circuit's authorization: ARM's `authorizationUseStatus` is `InUse` then (ER-10).
    pub fn is_in_use(&self, circuit: CircuitIx, authorization: &Authorization) -> bool {
        let uses = |key: Option<&String>| key == Some(&authorization.key);
        self.connections_to(circuit).any(|(_, connection)| uses(connection.authorization_key.as_ref()))
            || self.reaching(circuit).any(|(_, reach)| uses(reach.authorization_key.as_ref()))
    }

    /// Global Reach connections that others have to a circuit.
    fn reaching(&self, circuit: CircuitIx) -> impl Iterator<Item = (CircuitIx, &GlobalReach)> {
        let all = self.circuits().flat_map(|(from, one)| one.reach.iter().map(move |reach| (from, reach)));
        all.filter(move |(_, reach)| reach.peer == circuit)
    }

    /// What keeps a connection to a circuit down.
    pub(super) fn link_fault(&self, connection: &Connection, circuit: CircuitIx) -> Option<TunnelFault> {
        if let Some(fault) = self.circuit_fault(circuit) {
            return Some(TunnelFault::Circuit(fault));
        }
        if self.advertised_space(connection.gateway).len() > GATEWAY_PREFIXES {
            return Some(TunnelFault::TooManyPrefixes);
        }
        let known = |key: &String| self.circuit(circuit).authorizations.iter().any(|one| one.key == *key);
        let unknown = connection.authorization_key.as_ref().is_some_and(|key| !known(key));
        unknown.then_some(TunnelFault::Authorization)
    }

    /// The circuits that a circuit's customers reach by Global Reach, written on either of the two, and up.
    pub fn reached_from(&self, circuit: CircuitIx) -> Vec<CircuitIx> {
        let pairs = self.circuits().flat_map(|(from, one)| one.reach.iter().map(move |reach| (from, reach)));
        let up = pairs.filter(|(from, reach)| self.reach_fault(*from, reach).is_none());
        let mut reached: Vec<_> = up
            .filter_map(|(from, reach)| match (from, reach.peer) {
                (from, peer) if from == circuit => Some(peer),
                (from, peer) if peer == circuit => Some(from),
                _ => None,
            })
            .collect();
        reached.sort_unstable();
        reached.dedup();
        reached
    }

    /// What keeps a Global Reach connection down.
    pub fn reach_fault(&self, from: CircuitIx, reach: &GlobalReach) -> Option<TunnelFault> {
        let down = [from, reach.peer].into_iter().find_map(|circuit| self.circuit_fault(circuit));
        if let Some(fault) = down {
            return Some(TunnelFault::Circuit(fault));
        }
        let known = |key: &String| self.circuit(reach.peer).authorizations.iter().any(|one| one.key == *key);
        let unknown = reach.authorization_key.as_ref().is_some_and(|key| !known(key));
        unknown.then_some(TunnelFault::Authorization)
    }

    /// The site that speaks BGP over a circuit by itself.
    pub fn speaker_on(&self, circuit: CircuitIx) -> Option<SiteIx> {
        match self.customer(circuit)? {
            Customer::Site(site) => self.site(site).bgp.map(|_| site),
            Customer::Cloud(_) | Customer::Segment(..) => None,
        }
    }
}

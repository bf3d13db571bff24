//! Service tags as one subnet's interfaces see them (TAG-02): the same tag means other addresses elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::{AddressPrefix, Network, Route, RouteNextHop, ServiceTag, SubnetIx};

use super::groups::Groups;
use super::links::connected;
use super::platform;
use super::prefixes::difference;

/// The platform's address (FAB-12): part of VirtualNetwork, and the source of health probes.
const PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const PLATFORM_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x1234, 0x5678, 0x9abc);

/// What tag(Internet) never holds, whatever the VNet (TAG-10).
const NOT_PUBLIC: [Ipv4Net; 9] = [
    v4(0, 0, 8),
    v4(10, 0, 8),
    v4(100, 64, 10),
    v4(127, 0, 8),
    v4(169, 254, 16),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(224, 0, 3),
    Ipv4Net::new_assert(PLATFORM, 32),
];

/// All public IPv6.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The tags of one subnet, expanded to the fewest prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tags {
    virtual_network: Arc<[IpNet]>,
    internet: Arc<[IpNet]>,
}

impl Tags {
    pub(super) fn of(network: &Network, subnet: SubnetIx) -> Self {
        let virtual_network = virtual_network(network, subnet);
        let everything = [IpNet::from(Ipv4Net::default()), GLOBAL_UNICAST.into()];
        let excluded: Vec<_> = NOT_PUBLIC.map(IpNet::from).into_iter().chain(virtual_network.iter().copied()).collect();
        Self { internet: difference(&everything, &excluded).into(), virtual_network: virtual_network.into() }
    }
}

/// What the address fields of rules mean. Fields that mean the same share one list, since a tag may have ten thousand
/// prefixes and many rules may name it.
pub(super) struct AddressLists<'a> {
    network: &'a Network,
    pub(super) groups: Groups,
    known: HashMap<Fields, Arc<[IpNet]>, RandomState>,
}

/// Address fields that mean one thing: with the subnet's tags if that depends on them.
type Fields = (Vec<AddressPrefix>, Option<Tags>);

impl<'a> AddressLists<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        Self { network, groups: Groups::of(network), known: HashMap::default() }
    }

    /// The fewest prefixes that cover what the fields name.
    pub(super) fn expand(&mut self, fields: &[AddressPrefix], tags: &Tags) -> Arc<[IpNet]> {
        let of_subnet = |field: &AddressPrefix| {
            matches!(field, AddressPrefix::Tag(ServiceTag::VirtualNetwork | ServiceTag::Internet))
        };
        let key = (fields.to_vec(), fields.iter().any(of_subnet).then(|| tags.clone()));
        let named = |field| named(self.network, &self.groups, field, tags);
        let list = self.known.entry(key);
        let list = list.or_insert_with(|| IpNet::aggregate(&fields.iter().flat_map(named).collect()).into());
        Arc::clone(list)
    }
}

/// The prefixes that a field names.
fn named(network: &Network, groups: &Groups, field: &AddressPrefix, tags: &Tags) -> Vec<IpNet> {
    match field {
        AddressPrefix::Any => vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
        AddressPrefix::Prefix(prefix) => vec![*prefix],
        AddressPrefix::Group(group) => groups.addresses(*group).to_vec(),
        AddressPrefix::Tag(ServiceTag::VirtualNetwork) => tags.virtual_network.to_vec(),
        AddressPrefix::Tag(ServiceTag::Internet) => tags.internet.to_vec(),
        AddressPrefix::Tag(ServiceTag::AzureLoadBalancer) => azure_load_balancer(),
        AddressPrefix::Tag(ServiceTag::Published(tag)) => network.service_tag(*tag).prefixes.to_vec(),
        AddressPrefix::Tag(ServiceTag::Platform(service)) => platform::addresses(*service),
    }
}

/// The VNet's space, the peers that access is allowed to, the platform, and what the subnet's routes say belongs to the
/// network (TAG-01, TAG-03, TAG-04, TAG-06). A peer's own peers are not in it (TAG-08).
fn virtual_network(network: &Network, subnet: SubnetIx) -> Vec<IpNet> {
    let own = network.vnet(subnet.vnet).address_space.iter().copied();
    let peers = connected(network, subnet.vnet).filter(|link| link.allow_virtual_network_access);
    let peers = peers.flat_map(|link| link.remote_address_space.iter().copied());
    let table = network.subnet(subnet).route_table.map(|table| &network.route_tables[table.0]);
    let routes = table.into_iter().flat_map(|table| &table.routes).filter(|route| match route.next_hop {
        RouteNextHop::VirtualAppliance(_)
        | RouteNextHop::VirtualApplianceEcmp(_)
        | RouteNextHop::VirtualNetworkGateway
        | RouteNextHop::VnetLocal => true,
        RouteNextHop::Internet | RouteNextHop::None => false,
    });
    let all = own.chain(peers).chain(routes.filter_map(Route::prefix)).chain([IpAddr::from(PLATFORM).into()]);
    IpNet::aggregate(&all.collect())
}

/// The load balancer's probes, not its clients (TAG-12).
fn azure_load_balancer() -> Vec<IpNet> {
    vec![IpAddr::from(PLATFORM).into(), IpAddr::from(PLATFORM_V6).into()]
}

const fn v4(a: u8, b: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length)
}
